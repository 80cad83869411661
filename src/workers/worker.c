/*-------------------------------------------------------------------------
 *
 * workers/worker.c
 *	  What launcher, dispatchers and executors share.
 *
 *	1. Who starts a worker marks its slot STARTING under EdaShared->lock,
 *	   raises the slot's launch number and registers the worker after the lock
 *	   is released.  The worker gets slot and number; if the number is another
 *	   one when it attaches, the slot was taken back and it leaves.
 *	2. A worker gives its slot back in an on_shmem_exit callback, however it
 *	   ends: one registered before InitPostgres(), so it runs after the
 *	   process has left the ProcArray, and who waits for the slot to be clear
 *	   (DROP DATABASE) finds no backend there any more.  Only a crash skips it,
 *	   and then shared memory begins anew.
 *	3. A worker that was registered and could not be started is found by its
 *	   starter through the handle, else by its age.
 *	4. Who sends a signal holds the lock while it does: the process that owns
 *	   the pid cannot have ended, for it needs the lock to clear the slot.
 *	5. Signal handlers only set flags; everything happens at
 *	   CHECK_FOR_INTERRUPTS() or in EdaWorkerWait().
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/worker.c
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
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/clock.h"
#include "deliver/deliver.h"
#include "workers/inflight.h"
#include "workers/pool.h"
#include "workers/refused.h"
#include "workers/room.h"
#include "workers/worker.h"

/* A dispatcher that ran this long was healthy: the next failure is a first one. */
#define HEALTHY_MS				(60 * 1000)

#define MIN_RESTART_DELAY_MS	1000
#define MAX_RESTART_DELAY_MS	(60 * 1000)

/* How long a lane waits for another executor whose last one ended while it ran an event. */
#define AFTER_TERMINATION_MS	100

#define DRAIN_TIMEOUT_MS		(60 * 1000)
#define DRAIN_RESEND_MS			1000

#define NO_SLOT_LOG_INTERVAL_MS (60 * 1000)

StaticAssertDecl(sizeof(EdaWorkerArgs) <= BGW_EXTRALEN,
				 "EdaWorkerArgs does not fit into bgw_extra");

static bool is_executor = false;
static EdaWorkerArgs worker_args;
static bool worker_stays_wanted = false;	/* exit 0, but start it again */
static bool worker_leaves = false;	/* exit 0, as there is nothing to do: a dispatcher */
static bool worker_found_no_eda = false;	/* exit 0, as there is no extension: a dispatcher */
static char worker_database[NAMEDATALEN];
static char worker_role[NAMEDATALEN];
static ErrorContextCallback worker_context;

/* In an executor: it got SIGTERM, which is not its own time limit. */
static volatile sig_atomic_t told_to_end = false;

/* The server's or role's own synchronous_commit, as it was at connect. */
static char *configured_synchronous_commit = NULL;

static void eda_worker_get_args(void);
static void eda_worker_load_names(void);
static void eda_worker_error_context(void *arg);
static void eda_dispatcher_exit(int code, Datum arg);
static void eda_executor_exit(int code, Datum arg);
static bool eda_terminate_executors(Oid dbid);


/* ---- launching ------------------------------------------------------- */

/*
 * Register a dynamic worker.  Never call it with EdaShared->lock held.
 */
bool
EdaWorkerRegister(const char *type, const char *function, const char *name,
				  const EdaWorkerArgs *args, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = Int32GetDatum(args->slot);
	strlcpy(worker.bgw_library_name, EDA_LIBRARY_NAME, BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, function, BGW_MAXLEN);
	strlcpy(worker.bgw_name, name, BGW_MAXLEN);
	strlcpy(worker.bgw_type, type, BGW_MAXLEN);
	memcpy(worker.bgw_extra, args, sizeof(EdaWorkerArgs));

	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/*
 * Log that the server has no free worker slot, unless somebody did within
 * the last minute.
 */
void
EdaReportNoWorkerSlot(const char *what)
{
	TimestampTz now = EdaMonotonicNow();
	bool		report = false;

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	if (EdaShared->no_slot_logged_at == 0 ||
		TimestampDifferenceExceeds(EdaShared->no_slot_logged_at, now,
								   NO_SLOT_LOG_INTERVAL_MS))
	{
		EdaShared->no_slot_logged_at = now;
		report = true;
	}
	LWLockRelease(EdaShared->lock);

	if (report)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no free background worker slot for an %s", what),
				 errdetail("Events are delivered later, or by fewer processes."),
				 errhint("You might need to increase %s, which the launcher, a dispatcher for each database and up to eda.max_executors executors share with everybody else.",
						 "max_worker_processes")));
}


/*
 * How long to wait after that many failures in a row, from 1.
 */
int64
EdaWorkerBackoffMs(int failures)
{
	int64		delay = MIN_RESTART_DELAY_MS;

	while (--failures > 0 && delay < MAX_RESTART_DELAY_MS)
		delay *= 2;
	return Min(delay, MAX_RESTART_DELAY_MS);
}


/* ---- attaching and ending -------------------------------------------- */

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

/*
 * Handlers for SIGTERM, SIGHUP and SIGINT; unblocks signals.
 */
void
EdaWorkerSignals(bool cancelable)
{
	pqsignal(SIGTERM, cancelable ? executor_die : die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	if (cancelable)
		pqsignal(SIGINT, executor_cancel);
	else
		pqsignal(SIGINT, SIG_IGN);

	BackgroundWorkerUnblockSignals();
}

static void
eda_worker_get_args(void)
{
	memcpy(&worker_args, MyBgworkerEntry->bgw_extra, sizeof(worker_args));

	/* a server that was restarted without the library in its list has none */
	if (EdaShared == NULL)
		proc_exit(0);
}

/*
 * Remember what the error context says.  In a transaction.
 */
static void
eda_worker_load_names(void)
{
	char	   *name;

	name = get_database_name(MyDatabaseId);
	strlcpy(worker_database, name ? name : "?", NAMEDATALEN);
	name = GetUserNameFromId(GetSessionUserId(), true);
	strlcpy(worker_role, name ? name : "?", NAMEDATALEN);
}

static void
eda_worker_error_context(void *arg)
{
	if (worker_database[0] == '\0')
		errcontext("%s", MyBgworkerEntry->bgw_name);
	else
		errcontext("%s of database \"%s\", role \"%s\"",
				   MyBgworkerEntry->bgw_type, worker_database, worker_role);
}

/*
 * Make the worker's line the outermost of the error context.
 */
void
EdaWorkerPushErrorContext(void)
{
	worker_context.callback = eda_worker_error_context;
	worker_context.arg = NULL;
	worker_context.previous = NULL;
	error_context_stack = &worker_context;
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
eda_dispatcher_exit(int code, Datum arg)
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
			(void) eda_terminate_executors(db->dbid);

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
 * First call of a dispatcher; see workers/worker.h.
 */
EdaDatabase *
EdaDispatcherAttach(Datum main_arg)
{
	EdaDatabase *db;
	Latch	   *launcher_latch;
	bool		mine;
	bool		needed;

	eda_worker_get_args();
	EdaWorkerPushErrorContext();

	db = &EdaShared->databases[worker_args.slot];
	on_shmem_exit(eda_dispatcher_exit, Int32GetDatum(worker_args.slot));

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

	EdaWorkerSignals(false);
	BackgroundWorkerInitializeConnectionByOid(worker_args.dbid, InvalidOid, 0);
	EdaWorkerForceSettings(EDA_DISPATCHER_TYPE);

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	eda_worker_load_names();
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
eda_executor_exit(int code, Datum arg)
{
	EdaExecutor *executor = &EdaShared->executors[DatumGetInt32(arg)];
	bool		preempted = pg_atomic_read_u32(&executor->preempt) != 0;
	int			alone = 0;
	bool		noted;

	noted = (code == 0 || code == 1) && executor->pid == MyProcPid &&
		EdaTerminationNote(executor->drained || preempted, &alone);
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
 * First call of an executor; see workers/worker.h.
 */
EdaExecutor *
EdaExecutorAttach(Datum main_arg)
{
	EdaExecutor *executor;
	EdaDatabase *db;
	bool		mine;
	bool		held = false;

	eda_worker_get_args();
	is_executor = true;
	EdaWorkerPushErrorContext();

	executor = &EdaShared->executors[worker_args.slot];
	on_shmem_exit(eda_executor_exit, Int32GetDatum(worker_args.slot));

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
	EdaWorkerSignals(true);
	BackgroundWorkerInitializeConnectionByOid(worker_args.dbid, worker_args.roleid, 0);
	EdaExecutorForceSettings();

	StartTransactionCommand();
	eda_worker_load_names();
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

static void
force_setting(const char *name, const char *value)
{
	/* not every version has each of them */
	if (GetConfigOption(name, true, false) != NULL)
		SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * Settings that no server's, database's or role's may break; see workers/worker.h.
 */
static void
force_settings(const char *application_name, const char *synchronous_commit)
{
	static const char *const forced[][2] = {
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"statement_timeout", "0"},
		{"transaction_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
		/* as ALTER ROLE ... SET role could have it: a worker is who it connected as */
		{"role", "none"},
	};

	for (int i = 0; i < lengthof(forced); i++)
		force_setting(forced[i][0], forced[i][1]);
	force_setting("application_name", application_name);
	force_setting("synchronous_commit", synchronous_commit);
}

void
EdaWorkerForceSettings(const char *application_name)
{
	force_settings(application_name, "off");
}

void
EdaExecutorForceSettings(void)
{
	const char *commit = "off";

	/* before it is forced for the first time: as server and role have it */
	if (configured_synchronous_commit == NULL)
		configured_synchronous_commit =
			MemoryContextStrdup(TopMemoryContext,
								GetConfigOption("synchronous_commit", false, false));

	if (eda_synchronous_commit)
	{
		/* stronger than "on" stays */
		commit = configured_synchronous_commit;
		if (strcmp(commit, "off") == 0)
			commit = "on";
	}

	force_settings(EDA_EXECUTOR_TYPE, commit);
}


/* ---- main loop ------------------------------------------------------- */

/*
 * Reload the configuration if a SIGHUP came.
 */
bool
EdaWorkerReload(void)
{
	if (!ConfigReloadPending)
		return false;

	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	if (is_executor)
		EdaExecutorForceSettings();
	return true;
}

/*
 * Sleep until the latch is set or the time is over; see workers/worker.h.
 */
int
EdaWorkerWait(long timeout_ms, uint32 wait_event)
{
	bool		idle = !IsTransactionOrTransactionBlock();
	long		stats_ms = 0;
	int			rc;

	/* reports now, or says in how many ms it wants to; 0: nothing is left */
	if (idle)
		stats_ms = pgstat_report_stat(false);

	for (;;)
	{
		long		wait_ms = timeout_ms;
		int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;

		if (stats_ms > 0 && (timeout_ms < 0 || stats_ms < timeout_ms))
			wait_ms = stats_ms;
		else
			stats_ms = 0;
		if (wait_ms >= 0)
			events |= WL_TIMEOUT;

		rc = WaitLatch(MyLatch, events, wait_ms, wait_event);
		if ((rc & WL_LATCH_SET) || stats_ms == 0)
			break;

		/* woke for the statistics only */
		pgstat_report_stat(true);
		if (timeout_ms >= 0)
			timeout_ms -= stats_ms;
		stats_ms = 0;
	}

	if (rc & WL_LATCH_SET)
		ResetLatch(MyLatch);

	/* there is nothing to cancel */
	if (idle)
		QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
	EdaWorkerReload();

	return rc;
}


/* ---- making workers go away ------------------------------------------ */

/*
 * SIGTERM to the workers of a database; see workers/worker.h.
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

	if (eda_terminate_executors(dbid))
		left = true;

	LWLockRelease(EdaShared->lock);

	return left;
}

/*
 * The executors' part of it.  The caller holds EdaShared->lock exclusively.
 */
static bool
eda_terminate_executors(Oid dbid)
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
 * Terminate the workers of a database and wait until they are gone; see
 * workers/worker.h.
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
