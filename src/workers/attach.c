/*-------------------------------------------------------------------------
 *
 * workers/attach.c
 *	  Slots of dispatchers and executors, taken when a process begins and given back when it ends.
 *
 *	1. A worker gets its slot and the slot's launch number when it is registered; if
 *	   the number is another one when it attaches, the slot was taken back and it leaves.
 *	2. A worker gives its slot back in an on_shmem_exit callback, however it
 *	   ends: one registered before InitPostgres(), so it runs after the
 *	   process has left the ProcArray, and who waits for the slot to be clear
 *	   (DROP DATABASE) finds no backend there any more.  Only a crash skips it,
 *	   and then shared memory begins anew.
 *	3. A worker that was registered and could not be started is found by its
 *	   starter through the handle, else by its age (workers/pool.c, workers/launcher.c).
 *	4. Who sends a signal holds the lock while it does: the process that owns
 *	   the pid cannot have ended, for it needs the lock to clear the slot.
 *	5. An executor that ends in an orderly way asks what an event has to do with it, after its
 *	   transaction and before its slot is free.  Who knows that has registered
 *	   (EdaOnExecutorExit).
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/attach.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include <signal.h>

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/clock.h"
#include "workers/attach.h"
#include "workers/inflight.h"
#include "workers/pool.h"
#include "workers/refused.h"
#include "workers/room.h"
#include "workers/worker.h"

/* A dispatcher that ran this long was healthy: the next failure is a first one. */
#define HEALTHY_MS				(60 * 1000)

/* How long a lane waits for another executor whose last one ended while it ran an event. */
#define AFTER_TERMINATION_MS	100

#define DRAIN_TIMEOUT_MS		(60 * 1000)
#define DRAIN_RESEND_MS			1000

StaticAssertDecl(sizeof(EdaWorkerArgs) <= BGW_EXTRALEN,
				 "EdaWorkerArgs does not fit into bgw_extra");

static EdaExecutorExitCallback at_executor_exit = NULL;

/* Of this process, set once. */
static EdaWorkerArgs worker_args;
static bool worker_stays_wanted = false;	/* exit 0, but start it again */
static bool worker_leaves = false;	/* exit 0, as there is nothing to do: a dispatcher */
static bool worker_found_no_eda = false;	/* exit 0, as there is no extension: a dispatcher */

/* In an executor: it got SIGTERM, which is not its own time limit. */
static volatile sig_atomic_t told_to_end = false;

void
EdaOnExecutorExit(EdaExecutorExitCallback callback)
{
	at_executor_exit = callback;
}

static void
get_args(void)
{
	memcpy(&worker_args, MyBgworkerEntry->bgw_extra, sizeof(worker_args));

	/* a server that was restarted without the library in its list has none */
	if (EdaShared == NULL)
		proc_exit(0);
}

/* An executor's SIGTERM. */
static void
executor_die(SIGNAL_ARGS)
{
	told_to_end = true;
	die(postgres_signal_arg);
}

/* An executor's SIGINT: somebody cancels the event at hand, or others need the process. */
static void
executor_cancel(SIGNAL_ARGS)
{
	int			save_errno = errno;

	if (pg_atomic_read_u32(&EdaShared->executors[worker_args.slot].preempt) != 0)
		EdaTimeLimitNow();
	else
		StatementCancelHandler(postgres_signal_arg);
	errno = save_errno;
}

/* As EdaWorkerSignals(), for an executor. */
static void
executor_signals(void)
{
	pqsignal(SIGTERM, executor_die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, executor_cancel);
	BackgroundWorkerUnblockSignals();
}

/*
 * SIGTERM to the executors of a database, and take back the slots of those that have not attached
 * yet.  True where some are left.  The caller holds EdaShared->lock exclusively.
 */
static bool
terminate_executors(Oid dbid)
{
	bool		left = false;

	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		EdaExecutor *executor = &EdaShared->executors[i];

		if (executor->state == EDA_EXEC_FREE || executor->dbid != dbid ||
			executor->pid == MyProcPid)
			continue;

		if (executor->pid == 0)
			EdaPoolFree(executor);
		else
		{
			executor->drained = true;
			(void) kill(executor->pid, SIGTERM);
			left = true;
		}
	}

	return left;
}

/*
 * A dispatcher ended in an error, or did not start: have the launcher try
 * again after a while.  The caller holds EdaShared->lock exclusively.
 */
void
EdaDispatcherFailed(EdaDatabase *db)
{
	db->failures++;
	db->state = EDA_DB_WANTED;
	db->restart_at = EdaMonotonicAfter(EdaWorkerBackoffMs(db->failures));
}

/*
 * The dispatcher is about to leave its database, in which it is needed; see
 * workers/rest.c.  comes_back: it has work, and another one is to be started.
 */
void
EdaDispatcherLeaves(bool comes_back)
{
	worker_leaves = !comes_back;
	worker_stays_wanted = comes_back;
}

/* There is no extension in the dispatcher's database. */
void
EdaDispatcherFoundNoEda(void)
{
	worker_found_no_eda = true;
}

/*
 * Give the slot back: IDLE where the dispatcher found that it is not needed,
 * or not needed now, else WANTED with a time before which the launcher does not start another.
 */
static void
dispatcher_exit(int code, Datum arg)
{
	EdaDatabase *db = &EdaShared->databases[DatumGetInt32(arg)];
	Latch	   *latch = NULL;

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	if (db->dbid == worker_args.dbid && db->dispatcher_pid == MyProcPid)
	{
		db->dispatcher_pid = 0;
		db->dispatcher_latch = NULL;
		db->starved_since = 0;
		db->idle_since = 0;
		db->leave_asked = false;
		if (code != 0 || !worker_stays_wanted)
			EdaRoomServed(db);

		/* one that is not needed needs no executors either */
		if (code == 0 && !worker_stays_wanted && !worker_leaves)
			(void) terminate_executors(db->dbid);

		if (code == 0 && worker_leaves && !db->requested &&
			pg_atomic_read_u32(&db->wake) == 0)
		{
			db->state = EDA_DB_IDLE;
			db->failures = 0;
		}
		else if (code == 0 && !worker_stays_wanted && !worker_leaves && !db->requested)
		{
			db->state = EDA_DB_IDLE;
			db->failures = 0;
			db->has_eda = false;
			if (worker_found_no_eda)
				EdaDatabaseWithoutEda(db);
			else if (!db->used && db->holds == 0)
				EdaFreeDatabase(db);
		}
		else if (code == 0 || db->holds > 0 || db->requested)
		{
			/* told to end, or asked for again: no failure */
			db->state = EDA_DB_WANTED;
			db->restart_at = 0;
		}
		else
		{
			if (TimestampDifferenceExceeds(db->launched_at, EdaMonotonicNow(), HEALTHY_MS))
				db->failures = 0;
			EdaDispatcherFailed(db);
		}
		latch = EdaShared->launcher_latch;
	}
	LWLockRelease(EdaShared->lock);

	if (latch != NULL)
		SetLatch(latch);
	ConditionVariableBroadcast(&EdaShared->gone);
}

/*
 * First call of a dispatcher; see workers/attach.h.
 */
EdaDatabase *
EdaDispatcherAttach(Datum main_arg)
{
	EdaDatabase *db;
	Latch	   *launcher_latch;
	bool		mine;
	bool		needed;

	get_args();
	EdaWorkerPushErrorContext();

	db = &EdaShared->databases[worker_args.slot];
	on_shmem_exit(dispatcher_exit, Int32GetDatum(worker_args.slot));

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	mine = (db->state == EDA_DB_STARTING &&
			db->dbid == worker_args.dbid &&
			db->launch_no == worker_args.generation &&
			db->dispatcher_pid == 0);
	if (mine)
	{
		/* from here on a utility command that wants us away finds us */
		db->dispatcher_pid = MyProcPid;
		db->dispatcher_latch = MyLatch;
		if (db->holds > 0)
			worker_stays_wanted = true;
	}
	LWLockRelease(EdaShared->lock);

	if (!mine || worker_stays_wanted)
		proc_exit(0);

	EdaWorkerSignals();
	BackgroundWorkerInitializeConnectionByOid(worker_args.dbid, InvalidOid, 0);
	EdaWorkerForceSettings(EDA_DISPATCHER_TYPE);

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	EdaWorkerLoadNames();
	needed = eda_enabled && EdaExtensionFits();
	worker_found_no_eda = !needed && !EdaExtensionExists();
	PopActiveSnapshot();
	CommitTransactionCommand();

	if (!needed)
		proc_exit(0);

	pgstat_report_activity(STATE_IDLE, NULL);

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	db->state = EDA_DB_RUNNING;
	db->used = true;
	db->has_eda = true;
	db->started_at = GetCurrentTimestamp();
	/* the launcher goes on with the next database */
	launcher_latch = EdaShared->launcher_latch;
	LWLockRelease(EdaShared->lock);
	if (launcher_latch != NULL)
		SetLatch(launcher_latch);

	return db;
}

/*
 * Free the slot and tell who may want it.
 */
static void
executor_exit(int code, Datum arg)
{
	EdaExecutor *executor = &EdaShared->executors[DatumGetInt32(arg)];
	bool		preempted = pg_atomic_read_u32(&executor->preempt) != 0;
	int			alone = 0;
	bool		noted;

	noted = (code == 0 || code == 1) && executor->pid == MyProcPid &&
		at_executor_exit != NULL && at_executor_exit(executor->drained || preempted, &alone);
	EdaInflightDetach(code);
	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	if (executor->generation == worker_args.generation &&
		executor->pid == MyProcPid)
	{
		EdaDatabase *db = EdaFindDatabase(worker_args.dbid, false);

		/* it is known why: the lane need not be left alone for that */
		if (noted && executor->subscription_id != 0)
		{
			executor->released.turn = executor->turn;
			executor->released.more_work = true;
			executor->released.busy = false;
			executor->released.resume_at = EdaMonotonicAfter(AFTER_TERMINATION_MS);
			memset(&executor->released.laid_down, 0, sizeof(EdaLaidDown));
			executor->released.laid_down.alone = alone;
			executor->released.preempted = preempted;
		}

		/* never got as far as to work: its role cannot connect, so don't hurry */
		if (code != 0 && executor->state == EDA_EXEC_STARTING &&
			db != NULL && db->holds == 0)
		{
			EdaRefusedNote(worker_args.dbid, worker_args.roleid);
		}

		EdaPoolFree(executor);
		/* the lane that it leaves behind is to be looked at */
		if (executor->died && db != NULL)
		{
			db->left_work = true;
			EdaWakeDispatcherLocked(db, EDA_WAKE_EXECUTOR);
		}
		EdaPoolWakeStarved(worker_args.dbid);
	}
	LWLockRelease(EdaShared->lock);

	ConditionVariableBroadcast(&EdaShared->gone);
}

/*
 * First call of an executor; see workers/attach.h.
 */
EdaExecutor *
EdaExecutorAttach(Datum main_arg)
{
	EdaExecutor *executor;
	EdaDatabase *db;
	bool		mine;
	bool		held = false;

	get_args();
	EdaWorkerPushErrorContext();

	executor = &EdaShared->executors[worker_args.slot];
	on_shmem_exit(executor_exit, Int32GetDatum(worker_args.slot));

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	mine = (executor->state == EDA_EXEC_STARTING &&
			executor->generation == worker_args.generation &&
			executor->pid == 0);
	if (mine)
	{
		executor->pid = MyProcPid;
		executor->latch = MyLatch;
		db = EdaFindDatabase(worker_args.dbid, false);
		held = (db == NULL || db->holds > 0);
	}
	LWLockRelease(EdaShared->lock);

	if (!mine || held)
		proc_exit(0);

	EdaInflightAttach(worker_args.slot);
	EdaTimeLimitMayEnd(&told_to_end);
	executor_signals();
	BackgroundWorkerInitializeConnectionByOid(worker_args.dbid, worker_args.roleid, 0);
	EdaExecutorForceSettings();

	StartTransactionCommand();
	EdaWorkerLoadNames();
	CommitTransactionCommand();

	pgstat_report_activity(STATE_IDLE, NULL);

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	if (executor->state == EDA_EXEC_STARTING)
	{
		executor->state = EDA_EXEC_IDLE;
		executor->since = GetCurrentTimestamp();
	}
	db = EdaFindDatabase(worker_args.dbid, false);
	EdaRefusedForget(worker_args.dbid, worker_args.roleid);
	LWLockRelease(EdaShared->lock);

	EdaTellDispatcher(db, EDA_WAKE_EXECUTOR);

	return executor;
}

/*
 * SIGTERM to the workers of a database; see workers/attach.h.
 */
bool
EdaTerminateWorkers(Oid dbid)
{
	EdaDatabase *db;
	bool		left = false;

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);

	db = EdaFindDatabase(dbid, false);
	if (db != NULL)
	{
		if (db->dispatcher_pid != 0)
		{
			if (db->dispatcher_pid != MyProcPid)
			{
				(void) kill(db->dispatcher_pid, SIGTERM);
				left = true;
			}
		}
		else if (db->state == EDA_DB_STARTING)
		{
			/* the one on its way will see that it is not meant any more */
			db->launch_no++;
			db->state = EDA_DB_WANTED;
			db->restart_at = 0;
		}
	}

	if (terminate_executors(dbid))
		left = true;

	LWLockRelease(EdaShared->lock);

	return left;
}

/*
 * Terminate the workers of a database and wait until they are gone; see
 * workers/attach.h.
 */
bool
EdaDrainWorkers(Oid dbid)
{
	static uint32 wait_event = 0;
	TimestampTz start = EdaMonotonicNow();
	bool		drained = true;

	if (wait_event == 0)
		wait_event = eda_wait_event("EdaDrainWorkers");

	ConditionVariablePrepareToSleep(&EdaShared->gone);
	while (EdaTerminateWorkers(dbid))
	{
		if (TimestampDifferenceExceeds(start, EdaMonotonicNow(), DRAIN_TIMEOUT_MS))
		{
			drained = false;
			break;
		}
		(void) ConditionVariableTimedSleep(&EdaShared->gone, DRAIN_RESEND_MS, wait_event);
	}
	ConditionVariableCancelSleep();

	if (!drained)
	{
		char	   *name = get_database_name(dbid);

		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("eda's workers in database \"%s\" did not end within %d seconds",
						name ? name : "?", DRAIN_TIMEOUT_MS / 1000),
				 errhint("They do not serve interrupts, or wait for a synchronous standby.")));
	}
	return drained;
}
