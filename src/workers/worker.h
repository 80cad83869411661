/*-------------------------------------------------------------------------
 *
 * workers/worker.h
 *	  What the three kinds of worker share: launching, signals, settings, waiting,
 *	  error context.
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

/* Handlers for SIGTERM (die) and SIGHUP; SIGINT is ignored.  Unblocks signals. */
extern void EdaWorkerSignals(void);

/* How long to wait after that many failures in a row (from 1): 1 s doubling to 60 s, in ms. */
extern int64 EdaWorkerBackoffMs(int failures);

/*
 * Settings of a worker's session that those of the server, the database or its role may not
 * break: READ COMMITTED, not read-only, not deferrable, no statement, transaction, lock or idle
 * timeouts; application_name; no role but who connected.  They become what RESET goes back to.
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
/* What that line says, once the process is connected.  In a transaction. */
extern void EdaWorkerLoadNames(void);

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

#endif							/* EDA_WORKER_H */
