/*-------------------------------------------------------------------------
 *
 * workers/attach.h
 *	  Slots of dispatchers and executors, taken when a process begins and given back when it ends.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/attach.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_ATTACH_H
#define EDA_ATTACH_H

#include "base/shmem.h"

/*
 * First call of a dispatcher.  Marks its database slot, connects as the
 * bootstrap superuser, and returns the slot once it is certain that the
 * extension is there and eda.enabled is on.  Does not return otherwise:
 * proc_exit(0).  Must be called outside a transaction; leaves none open.
 *
 * From here on the way the process ends decides what the launcher does:
 * proc_exit(0) means "not needed any more" (extension gone, eda.enabled
 * off) and it is not restarted until somebody asks, unless EdaDispatcherLeaves()
 * was called; any other end (ERROR,
 * FATAL, SIGTERM) means that it is started again, after 1 s doubling to
 * 60 s, or when the utility command that sent the SIGTERM is over.
 */
extern EdaDatabase *EdaDispatcherAttach(Datum main_arg);

/*
 * First call of an executor.  Marks its slot, connects as the role it was
 * launched for, forces its settings (EdaExecutorForceSettings()), sets the
 * slot from STARTING to IDLE and wakes the database's dispatcher with
 * EDA_WAKE_EXECUTOR.  Does not return where the slot was taken away
 * meanwhile (proc_exit(0)) or the role cannot connect (FATAL).  However the
 * process ends, its slot is freed and the dispatcher woken again.
 */
extern EdaExecutor *EdaExecutorAttach(Datum main_arg);

/*
 * Have this called by an executor that is ending in an orderly way, its transaction over; from
 * _PG_init while preloading.  True: the code of an event was running, and it was rolled back;
 * *alone events of the lane are to be run alone.  excused: one of eda's own processes told it
 * to end.
 */
typedef bool (*EdaExecutorExitCallback) (bool excused, int *alone);
extern void EdaOnExecutorExit(EdaExecutorExitCallback callback);

/*
 * Send SIGTERM to the dispatcher and the executors of a database, and take
 * back the slots of those that have not attached yet; not to this process.
 * True where some are still there.  Raises nothing.
 */
extern bool EdaTerminateWorkers(Oid dbid);

/*
 * EdaTerminateWorkers() and wait until they are gone, at most 60 s; then
 * WARNING.  False on that timeout.  Serves interrupts.  The caller holds the
 * database (EdaDatabase.holds), or they are started again.
 */
extern bool EdaDrainWorkers(Oid dbid);

/*
 * What the end of this dispatcher by proc_exit(0) means: that there is nothing to do for now
 * and its executors go on, or that it comes back as soon as there is a worker slot; see
 * workers/rest.c.
 */
extern void EdaDispatcherLeaves(bool comes_back);

/* And that there is no extension: another database may have the slot. */
extern void EdaDispatcherFoundNoEda(void);

/*
 * A dispatcher failed: WANTED again, after a back-off.  The caller holds
 * EdaShared->lock exclusively.
 */
extern void EdaDispatcherFailed(EdaDatabase *db);

#endif							/* EDA_ATTACH_H */
