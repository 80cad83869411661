/*-------------------------------------------------------------------------
 *
 * subscription/copy.h
 *	  A copy of a database does not deliver by itself.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/subscription/copy.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_COPY_H
#define EDA_COPY_H

/*
 * For a dispatcher that starts, in a transaction: if this database was made
 * as a copy of another one, block its subscriptions (reason `copied`), once.
 */
extern void EdaBlockIfCopied(void);

#endif							/* EDA_COPY_H */
