/*-------------------------------------------------------------------------
 *
 * workers/pool.h
 *	  The pool of executors: who gets a slot, and who has to wait.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/pool.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_POOL_H
#define EDA_POOL_H

#include "base/shmem.h"

/* An event that has run for this long is a long one, in ms (see dispatch/assign.c). */
#define EDA_LONG_MS			3000

/*
 * For dispatchers: take a free executor slot and register an executor for
 * (dbid, roleid); *slot is its index in EdaShared->executors.  Returns at once,
 * the executor attaches later, or never, when the slot is freed again.
 *
 * False where every executor slot is taken, the server has no free worker
 * slot (which is logged, once a minute at most, naming
 * max_worker_processes), or the role's last executor could not connect and a
 * back-off has not passed (1 s doubling to 60 s).  The dispatcher is then
 * woken with EDA_WAKE_EXECUTOR when it is worth another try: when an executor
 * of any database ends, or, by EdaPoolSleep() and EdaPoolAwake(), after the time that fits.
 */
#define EDA_ROLE_REFUSED	(-2)	/* *slot where it is false for the third reason, else -1 */
extern bool EdaExecutorLaunch(Oid dbid, Oid roleid, int *slot);

/*
 * Free the slots of executors which this dispatcher launched and which the
 * postmaster could not start, and of those of anybody that did not attach
 * within 30 s, and wake the dispatchers concerned.  Cheap where there are
 * none.  True when any was freed.  EdaExecutorLaunch() and EdaPoolAwake() call it.
 */
extern bool EdaExecutorReap(void);

/* For a dispatcher that wants no more executors than it has. */
extern void EdaExecutorEnough(EdaDatabase *db);

/* For an executor that has become idle: wake the dispatchers that wait for one. */
extern void EdaExecutorSpare(void);

/*
 * For the processes' attaching and ending (workers/attach.c); the caller holds EdaShared->lock
 * exclusively.
 */
extern void EdaPoolFree(EdaExecutor *executor);
extern void EdaPoolWakeStarved(Oid dbid);

/*
 * For a dispatcher that is about to sleep: for how long at most (ms, -1: no limit), so that a
 * launch that failed is tried again in time.  And once it has slept: sees to executors that never
 * came, and sets its wake bit where a launch that failed is worth another try.  latch_set: it was
 * woken by its latch.
 */
extern long EdaPoolSleep(long timeout_ms);
extern void EdaPoolAwake(EdaDatabase *db, bool latch_set);
/* For a dispatcher: when (monotonic) a launch that failed is to be tried again; 0: none is. */
extern TimestampTz EdaPoolRetryAt(void);

/* Does it have this lane of this database, or get it next?  The caller holds EdaShared->lock. */
extern bool EdaExecutorHolds(const EdaExecutor *executor, int32 subscription_id, int16 lane_no);

#endif							/* EDA_POOL_H */
