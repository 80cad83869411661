/*-------------------------------------------------------------------------
 *
 * workers/worker.h
 *	  What the three kinds of worker share: launching, attaching to a slot,
 *	  signals, waiting, error context.
 *
 *	launcher	one a server; static (workers/launcher.c)
 *	dispatcher	one a database; started by the launcher (dispatch/dispatcher.c)
 *	executor	one a role and lane at a time; started by a dispatcher
 *				(deliver/executor.c)
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/worker.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_WORKER_H
#define EDA_WORKER_H

#include "postmaster/bgworker.h"

#include "base/shmem.h"

/* bgw_type of each, as pg_stat_activity.backend_type shows it. */
#define EDA_LAUNCHER_TYPE	"eda launcher"
#define EDA_DISPATCHER_TYPE "eda dispatcher"
#define EDA_EXECUTOR_TYPE	"eda executor"

/*
 * Handlers for SIGTERM (die), SIGHUP, and SIGINT: cancels the statement where
 * cancelable, else is ignored.  Unblocks signals.  The attach functions call it.
 */
extern void EdaWorkerSignals(bool cancelable);

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

/* How long to wait after that many failures in a row (from 1): 1 s doubling to 60 s, in ms. */
extern int64 EdaWorkerBackoffMs(int failures);

/*
 * Settings of a worker's session that those of the server, the database or its
 * role may not break: READ COMMITTED, not read-only, not deferrable, no statement,
 * transaction, lock or idle timeouts; application_name; no role but who connected.  They become what RESET
 * goes back to.
 *
 * A launcher or dispatcher waits for nobody, so not for the disk or a standby either:
 * synchronous_commit is off.  What it commits is lost together or kept together.
 *
 * An executor's synchronous_commit is as eda.synchronous_commit says.  The attach
 * function and EdaWorkerReload() call it; call it again after the session was reset,
 * so that a role's eda.synchronous_commit counts.
 */
extern void EdaWorkerForceSettings(const char *application_name);
extern void EdaExecutorForceSettings(void);

/*
 * Reload the configuration if a SIGHUP came, and in an executor force its
 * settings again.  True when one came.
 */
extern bool EdaWorkerReload(void);

/*
 * Sleep until the latch is set or timeout_ms (-1: no limit) have passed;
 * then reset the latch and serve interrupts and SIGHUP.  Returns the WL_*
 * bits that woke it.  Check for work between this and the next call: a wake
 * bit that came before ResetLatch is not signalled again.  A cancel request
 * that comes outside a transaction is forgotten.  Statistics of finished
 * transactions are reported.  wait_event: from eda_wait_event() (base/compat.h),
 * asked for once and kept.
 */
extern int	EdaWorkerWait(long timeout_ms, uint32 wait_event);

/*
 * Put the worker's own line (kind, database, role) at the outer end of the
 * error context.  The attach functions do it; whoever resets
 * error_context_stack does it again.  Handlers are best called with the
 * stack cut off, so that a dead letter's error_context is only theirs.
 */
extern void EdaWorkerPushErrorContext(void);

/*
 * WARNING for "no free background worker slot"; what: which worker could not
 * be started.  At most once a minute in the whole server.
 */
extern void EdaReportNoWorkerSlot(const char *what);

/* What a worker is started with: bgw_extra. */
typedef struct EdaWorkerArgs
{
	int			slot;			/* index in EdaShared->databases or ->executors */
	uint32		generation;		/* EdaDatabase.launch_no, EdaExecutor.generation */
	Oid			dbid;
	Oid			roleid;			/* of executors, else InvalidOid */
} EdaWorkerArgs;

/*
 * Register a dynamic worker, never restarted, that signals this process when
 * it starts and ends.  function is the entry point's name.  False: the server
 * has no free worker slot.
 */
extern bool EdaWorkerRegister(const char *type, const char *function, const char *name,
							  const EdaWorkerArgs *args, BackgroundWorkerHandle **handle);

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
 * What the end of this dispatcher by proc_exit(0) means: that there is nothing to do for now, its executors go on, and
 * that it comes back as soon as there is a worker slot, respectively; see workers/rest.c.
 */
extern void EdaDispatcherLeaves(bool comes_back);

/* And that there is no extension: another database may have the slot. */
extern void EdaDispatcherFoundNoEda(void);

/*
 * A dispatcher failed: WANTED again, after a back-off.  The caller holds
 * EdaShared->lock exclusively.
 */
extern void EdaDispatcherFailed(EdaDatabase *db);

#endif							/* EDA_WORKER_H */
