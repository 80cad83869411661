/*-------------------------------------------------------------------------
 *
 * hooks.h
 *	  Utility commands that the workers have to hear of.
 *
 * Prepared transactions
 *
 *	COMMIT PREPARED runs no callback of ours: hooks.c wakes the dispatcher for it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/hooks.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_HOOKS_H
#define EDA_HOOKS_H

/*
 * From _PG_init while preloading: installs the ProcessUtility hook and the
 * callbacks for the end of transactions.
 */
extern void EdaHooksInit(void);

#endif							/* EDA_HOOKS_H */
