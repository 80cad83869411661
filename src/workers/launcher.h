/*-------------------------------------------------------------------------
 *
 * workers/launcher.h
 *	  The launcher: keeps one dispatcher running in each database that has
 *	  the extension.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/launcher.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_LAUNCHER_H
#define EDA_LAUNCHER_H

/* From _PG_init while preloading: register the static worker. */
extern void EdaLauncherRegister(void);

#endif							/* EDA_LAUNCHER_H */
