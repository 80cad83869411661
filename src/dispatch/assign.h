/*-------------------------------------------------------------------------
 *
 * dispatch/assign.h
 *	  Which executor runs which lane; only the dispatcher's process uses it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/dispatch/assign.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_ASSIGN_H
#define EDA_ASSIGN_H

#include "dispatch/lanes.h"

/* Which executors have which lanes now?  Those that they laid down with work left are marked. */
extern void EdaAssignLook(void);

/*
 * Was a lane laid down with work left in it, by any of the looks?  For a dispatcher that has just
 * begun: it does not know which one that was.
 */
extern bool EdaAssignLeftWork(void);

/*
 * Find executors for the runnable lanes.  Outside of a transaction.  True where some are left
 * without: a slot is to be looked for again soon.
 */
extern bool EdaAssignServe(void);

/*
 * Is a lane held back that takes long, although there may be a place?  To be looked at again soon.
 */
extern bool EdaAssignHoldsBack(void);

/*
 * Until when (monotonic) no lane can be given to an executor, whatever happens in this database;
 * DT_NOEND: there is none to be given.  wanting: what EdaAssignServe() returned.
 */
extern TimestampTz EdaAssignIdleUntil(bool wanting);

/* Was this time, by the monotonic clock, over when lanes were served last? */
extern bool EdaAssignServed(TimestampTz t);

#endif							/* EDA_ASSIGN_H */
