/*-------------------------------------------------------------------------
 *
 * workers/worker.c
 *	  What launcher, dispatchers and executors share.
 *
 *	1. Who starts a worker marks its slot STARTING under EdaShared->lock, and
 *	   registers the worker after the lock is released.  The worker takes the
 *	   slot when it begins (workers/attach.c).
 *	2. Its session has settings that nothing may break, and its own line at the outer
 *	   end of the error context.
 *	3. Signal handlers only set flags; everything happens at
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

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "workers/worker.h"

#define MIN_RESTART_DELAY_MS	1000
#define MAX_RESTART_DELAY_MS	(60 * 1000)

#define NO_SLOT_LOG_INTERVAL_MS (60 * 1000)

/* Of this process, from the time when it is known. */
static bool is_executor = false;
static char worker_database[NAMEDATALEN];
static char worker_role[NAMEDATALEN];
static ErrorContextCallback worker_context;

/* The server's or role's own synchronous_commit, as it was at connect. */
static char *configured_synchronous_commit = NULL;

static void eda_worker_error_context(void *arg);


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


/* ---- the session ----------------------------------------------------- */

/*
 * Handlers for SIGTERM, SIGHUP and SIGINT; unblocks signals.
 */
void
EdaWorkerSignals(void)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();
}

/*
 * Remember what the error context says.  In a transaction.
 */
void
EdaWorkerLoadNames(void)
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

	is_executor = true;

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
