/*-------------------------------------------------------------------------
 *
 * base/guard.h
 *	  Who may write to eda's tables past its functions, and who watches them.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/guard.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_GUARD_H
#define EDA_GUARD_H

#include "nodes/parsenodes.h"
#include "utils/rel.h"

/* Look at triggers that are created on eda's tables; from _PG_init, once a process. */
extern void EdaGuardInit(void);

/*
 * Does somebody watch this table of eda's by a trigger (but for eda's own), so that it has to be
 * written through the executor?  A look at the relcache: ask whenever the table was opened, with
 * the lock that is held to write.
 */
extern bool EdaTableIsWatched(Relation rel);

/* ERROR: a trigger has kept a row of eda's from being written. */
pg_noreturn extern void EdaWriteSuppressed(const char *table);

/*
 * Before LOCK TABLE: ERROR where it is about a table of eda's, or a view on one, and not by its
 * owner.
 */
extern void EdaGuardLock(LockStmt *stmt);

#endif							/* EDA_GUARD_H */
