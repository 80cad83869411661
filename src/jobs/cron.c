/*-------------------------------------------------------------------------
 *
 * jobs/cron.c
 *	  pg_cron, in this database or in another one.
 *
 *	1. pg_cron keeps its jobs in one database, cron.database_name, and runs
 *	   each in the database that the job names.  From that database we call
 *	   it by SPI, in our transaction.
 *	2. From any other one a background worker does the call: it connects to
 *	   pg_cron's database as the job's role, with that role's rights and no
 *	   more, calls, commits, and leaves the answer in a DSM segment that both
 *	   have mapped.  The caller waits for the process to end and raises the
 *	   error that it met, if any.  The answer needs no lock: it is written
 *	   before the process ends, and read after.
 *	3. A database's copy holds the ids of the original's jobs.  So an id alone
 *	   says nothing: the job must also run in this database, or in none that
 *	   exists, which is what a renamed database leaves.
 *	4. That pg_cron takes a job does not say that it can run it.  What keeps it from
 *	   that shows in its settings and among the server's processes (EdaCronWarn),
 *	   and afterwards in its own history (EdaCronLastStart).
 *	5. Schema cron is believed only where the extension pg_cron exists, and
 *	   its functions are called by their exact signatures under a pinned
 *	   search_path.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jobs/cron.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/security.h"
#include "jobs/cron.h"
#include "workers/workers.h"

typedef enum CronOutcome
{
	CRON_NO_ANSWER = 0,			/* what a zeroed segment says */
	CRON_DONE,
	CRON_FAILED
} CronOutcome;

#define CRON_TEXT_LEN	1024	/* an error's texts are clipped to this */

/* One call of pg_cron; lives in a DSM segment when a worker does it. */
typedef struct CronCall
{
	/* what to do */
	bool		schedule;		/* else unschedule */
	Oid			cron_dbid;		/* pg_cron's database */
	Oid			role;
	bool		any_role;		/* unschedule: of whichever role */
	char		database[NAMEDATALEN];	/* where the job runs */

	/* in: id it is known by, or 0; out: id scheduled, or the number unscheduled */
	int64		jobid;

	/* answer */
	CronOutcome outcome;
	int			sqlerrcode;
	char		message[CRON_TEXT_LEN];
	char		detail[CRON_TEXT_LEN];
	char		hint[CRON_TEXT_LEN];

	/* offsets in data[] of the strings */
	Size		name;
	Size		schedule_text;
	Size		command;
	Size		role_name;
	char		data[FLEXIBLE_ARRAY_MEMBER];
} CronCall;

static void
report_missing(const char *detail)
{
	const char *home = GetConfigOption("cron.database_name", true, false);

	ereport(ERROR,
			(errcode(ERRCODE_EDA_PG_CRON_MISSING),
			 errmsg("pg_cron is not available"),
			 errdetail_internal("%s", detail),
			 errhint("Install it (Debian: package postgresql-%s-cron), add pg_cron to shared_preload_libraries, restart the server, and run CREATE EXTENSION pg_cron in database \"%s\".  Everything else of eda works without it.",
					 PG_MAJORVERSION, home != NULL ? home : "postgres")));
}

/* A string parameter of a call. */
#define CALL_TEXT(call, field)	CStringGetTextDatum((call)->data + (call)->field)

/* Run one statement that gives one bigint; sql may have fewer parameters than these. */
static int64
cron_statement(const char *sql, int nargs, Datum *values, const char *nulls)
{
	Oid			types[5] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID};
	bool		isnull;

	if (SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0) != SPI_OK_SELECT ||
		SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_EDA_PG_CRON_MISSING),
				 errmsg("pg_cron gave no answer")));
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * Unschedule what has the id, and with by_name also what has the name.
 * Returns how many that were.
 */
static int64
unschedule_here(CronCall *call, bool by_name, int64 jobid)
{
	Datum		values[5];
	char		nulls[] = "     ";

	values[0] = CALL_TEXT(call, name);
	values[1] = CALL_TEXT(call, command);
	values[2] = CALL_TEXT(call, role_name);
	values[3] = CStringGetTextDatum(call->database);
	values[4] = Int64GetDatum(jobid);
	if (!by_name)
		nulls[0] = 'n';
	if (call->any_role)
		nulls[2] = 'n';

	/*
	 * By id too: the name has this database's in it, which may have been
	 * another.  With a time zone or without, it is the same job.
	 */
	return cron_statement("SELECT pg_catalog.count(cron.unschedule(j.jobid))"
						  "  FROM cron.job j"
						  " WHERE (j.jobname::text = $1"
						  "        OR (j.jobid = $5 AND pg_catalog.replace(j.command, '_start_job', 'run_job')"
						  "                          = pg_catalog.replace($2, '_start_job', 'run_job')"
						  "            AND (j.database = $4"
						  "                 OR NOT EXISTS (SELECT FROM pg_catalog.pg_database d"
						  "                                 WHERE d.datname::text = j.database))))"
						  "   AND (j.username = $3 OR $3 IS NULL)",
						  5, values, nulls);
}

/*
 * Do the call in this database, which is pg_cron's, as the current user.
 * Needs a transaction and an active snapshot.
 */
static void
call_here(CronCall *call)
{
	Oid			nsp;
	int64		known_jobid = call->jobid;
	Datum		values[4];
	const char *sql;
	int			nestlevel;
	bool		isnull;
	bool		elsewhere = strcmp(call->database, get_database_name(MyDatabaseId)) != 0;

	nsp = get_namespace_oid("cron", true);
	if (!OidIsValid(get_extension_oid("pg_cron", true)) || !OidIsValid(nsp))
	{
		if (!call->schedule)
		{
			call->jobid = 0;
			return;
		}
		report_missing(psprintf("Database \"%s\" has no extension pg_cron.",
								get_database_name(MyDatabaseId)));
	}

	if (eda_namespace_aclcheck(nsp, GetUserId(), ACL_USAGE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not use pg_cron",
						GetUserNameFromId(GetUserId(), false)),
				 errhint("In database \"%s\": GRANT USAGE ON SCHEMA cron TO %s;",
						 get_database_name(MyDatabaseId),
						 quote_identifier(GetUserNameFromId(GetUserId(), false)))));

	nestlevel = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();

	if (call->schedule)
	{
		values[0] = CALL_TEXT(call, name);
		values[1] = CALL_TEXT(call, schedule_text);
		values[2] = CALL_TEXT(call, command);
		values[3] = CStringGetTextDatum(call->database);
		if (elsewhere)
		{
			sql = "SELECT pg_catalog.has_function_privilege("
				"'cron.schedule_in_database(text,text,text,text,text,boolean)', 'EXECUTE')";
			if (SPI_execute(sql, true, 1) != SPI_OK_SELECT || SPI_processed != 1 ||
				!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)))
				ereport(ERROR,
						(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						 errmsg("role \"%s\" may not schedule pg_cron jobs for another database",
								GetUserNameFromId(GetUserId(), false)),
						 errhint("In database \"%s\": GRANT EXECUTE ON FUNCTION cron.schedule_in_database(text, text, text, text, text, boolean) TO %s;",
								 get_database_name(MyDatabaseId),
								 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
			call->jobid = cron_statement("SELECT cron.schedule_in_database($1::text, $2::text, $3::text, $4::text)",
										 4, values, NULL);
		}
		else
			call->jobid = cron_statement("SELECT cron.schedule($1::text, $2::text, $3::text)",
										 3, values, NULL);

		/* What it was to pg_cron before this database was renamed. */
		if (known_jobid != 0 && known_jobid != call->jobid)
			(void) unschedule_here(call, false, known_jobid);
	}
	else
		call->jobid = unschedule_here(call, true, known_jobid);

	SPI_finish();
	AtEOXact_GUC(false, nestlevel);
}

static void
clip(char *dst, const char *src)
{
	int			len;

	if (src == NULL)
		src = "";
	len = pg_mbcliplen(src, strlen(src), CRON_TEXT_LEN - 1);
	memcpy(dst, src, len);
	dst[len] = '\0';
}

/*
 * The worker: does the one call that its DSM segment holds, and ends.
 */
void
EdaCronWorkerMain(Datum main_arg)
{
	dsm_segment *seg;
	CronCall   *call;
	MemoryContext cxt;

	EdaWorkerSignals();

	seg = dsm_attach(DatumGetUInt32(main_arg));
	if (seg == NULL)
		proc_exit(0);			/* the caller gave up */
	dsm_pin_mapping(seg);
	call = dsm_segment_address(seg);

	BackgroundWorkerInitializeConnectionByOid(call->cron_dbid, call->role, 0);
	/* The role's own setting is no reason to fail. */
	SetConfigOption("default_transaction_read_only", "off", PGC_USERSET, PGC_S_SESSION);
	cxt = AllocSetContextCreate(TopMemoryContext, "eda cron call", ALLOCSET_DEFAULT_SIZES);

	StartTransactionCommand();
	PG_TRY();
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		call_here(call);
		PopActiveSnapshot();
		CommitTransactionCommand();
		call->outcome = CRON_DONE;
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();

		call->sqlerrcode = edata->sqlerrcode;
		clip(call->message, edata->message);
		clip(call->detail, edata->detail);
		clip(call->hint, edata->hint);
		call->outcome = CRON_FAILED;
	}
	PG_END_TRY();

	proc_exit(0);
}

/* Have a worker in pg_cron's database do the call; call is copied back. */
static void
call_there(CronCall *call, Size size)
{
	dsm_segment *seg;
	CronCall   *shared;
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;
	char	   *home = get_database_name(call->cron_dbid);

	if (eda_database_aclcheck(call->cron_dbid, call->role, ACL_CONNECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" cannot connect to database \"%s\", where pg_cron is",
						GetUserNameFromId(call->role, false), home),
				 errhint("GRANT CONNECT ON DATABASE %s TO %s;", quote_identifier(home),
						 quote_identifier(GetUserNameFromId(call->role, false)))));

	seg = dsm_create(size, 0);
	shared = dsm_segment_address(seg);
	memcpy(shared, call, size);

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, EDA_LIBRARY_NAME, sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "EdaCronWorkerMain", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "eda pg_cron call", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "eda pg_cron call", sizeof(worker.bgw_type));
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(seg));
	worker.bgw_notify_pid = MyProcPid;

	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker is free to reach pg_cron in database \"%s\"", home),
				 errhint("Raise max_worker_processes.")));

	PG_TRY();
	{
		if (WaitForBackgroundWorkerShutdown(handle) == BGWH_POSTMASTER_DIED)
			ereport(FATAL,
					(errcode(ERRCODE_ADMIN_SHUTDOWN),
					 errmsg("terminating connection because the postmaster ended")));
	}
	PG_CATCH();
	{
		/* cancelled: it has no reason to go on */
		TerminateBackgroundWorker(handle);
		PG_RE_THROW();
	}
	PG_END_TRY();

	pg_read_barrier();
	memcpy(call, shared, size);
	dsm_detach(seg);

	if (call->outcome == CRON_FAILED)
		ereport(ERROR,
				(errcode(call->sqlerrcode),
				 errmsg_internal("%s", call->message),
				 call->detail[0] ? errdetail_internal("%s", call->detail) : 0,
				 call->hint[0] ? errhint("%s", call->hint) : 0,
				 errcontext("pg_cron call in database \"%s\"", home)));
	if (call->outcome != CRON_DONE)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("pg_cron in database \"%s\" could not be reached as role \"%s\"",
						home, GetUserNameFromId(call->role, false)),
				 errhint("See the server's log for the reason.")));
}

/* Append s, terminated, to data; returns its offset. */
static Size
add_text(StringInfo data, const char *s)
{
	Size		offset = data->len;

	appendBinaryStringInfo(data, s, strlen(s) + 1);
	return offset;
}

/* False: no pg_cron to call, which only unschedule accepts. */
static bool
cron_call(bool schedule, Oid role, const char *role_name, const char *name,
		  const char *schedule_text, const char *command, int64 *jobid)
{
	const char *home = GetConfigOption("cron.database_name", true, false);
	StringInfoData data;
	CronCall   *call;
	CronCall	head;
	Size		size;

	memset(&head, 0, sizeof(head));
	head.schedule = schedule;
	head.role = role;
	head.any_role = (role_name == NULL);
	head.jobid = *jobid;
	strlcpy(head.database, get_database_name(MyDatabaseId), NAMEDATALEN);

	if (home == NULL)
	{
		if (!schedule)
			return false;
		report_missing("The server has not loaded it.");
	}
	head.cron_dbid = get_database_oid(home, true);
	if (!OidIsValid(head.cron_dbid))
	{
		if (!schedule)
			return false;
		report_missing(psprintf("Database \"%s\", where cron.database_name puts it, does not exist.",
								home));
	}

	initStringInfo(&data);
	head.name = add_text(&data, name);
	head.schedule_text = add_text(&data, schedule_text);
	head.command = add_text(&data, command);
	head.role_name = add_text(&data, role_name != NULL ? role_name : "");
	size = add_size(offsetof(CronCall, data), data.len);
	call = palloc(size);
	memcpy(call, &head, offsetof(CronCall, data));
	memcpy(call->data, data.data, data.len);

	if (head.cron_dbid == MyDatabaseId)
	{
		EdaSecurityContext ctx;

		EdaBeginAsRole(&ctx, role);
		call_here(call);
		EdaEndAsRole(&ctx);
	}
	else
		call_there(call, size);

	*jobid = call->jobid;
	return true;
}

int64
EdaCronSchedule(Oid role, const char *name, const char *schedule,
				const char *command, int64 known_jobid)
{
	int64		jobid = known_jobid;

	(void) cron_call(true, role, GetUserNameFromId(role, false), name, schedule,
					 command, &jobid);
	return jobid;
}

bool
EdaCronUnschedule(Oid role, const char *role_name, const char *name,
				  int64 cron_jobid, const char *command)
{
	return cron_call(false, role, role_name, name, "", command, &cron_jobid) &&
		cron_jobid > 0;
}

pg_tz *
EdaCronZone(void)
{
	const char *name = GetConfigOption("cron.timezone", true, false);
	pg_tz	   *zone = name != NULL && name[0] != '\0' ? pg_tzset(name) : NULL;

	return zone != NULL ? zone : pg_tzset("GMT");
}

/* Has a setting of pg_cron's that value?  Not where this pg_cron does not have it. */
static bool
cron_setting(const char *name, const char *value)
{
	const char *setting = GetConfigOption(name, true, false);

	return setting != NULL && strcmp(setting, value) == 0;
}

TimestampTz
EdaCronRunningSince(void)
{
	EdaSecurityContext ctx;
	TimestampTz since = DT_NOBEGIN;
	bool		isnull = true;
	Datum		value;

	EdaSpiBegin(&ctx);
	EdaSpiExecute("SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'pg_cron launcher'",
				  0, NULL, NULL, NULL, SPI_OK_SELECT);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		since = DatumGetTimestampTz(value);
	EdaSpiEnd(&ctx);
	return since;
}

/*
 * Worker processes that the server needs for all that eda, pg_cron and itself may want to run at
 * once.
 */
static int
workers_needed(void)
{
	const char *subscriptions = GetConfigOption("max_logical_replication_workers", true, false);

	/* eda's launcher, a dispatcher, the executors; pg_cron's launcher, and a job */
	return 2 + eda_max_executors + 2 + (subscriptions != NULL && atoi(subscriptions) > 0 ? 1 : 0);
}

void
EdaCronWarn(const char *job, const char *role)
{
	const char *host = GetConfigOption("cron.host", true, false);

	if (EdaCronRunningSince() == DT_NOBEGIN)
		ereport(WARNING,
				(errcode(ERRCODE_EDA_CRON_CANNOT_RUN),
				 errmsg("job \"%s\" will not be run: pg_cron's launcher is not running", job),
				 errhint("The server's log says why.  It needs database \"%s\" (cron.database_name), and a free process of max_worker_processes.",
						 GetConfigOption("cron.database_name", false, false))));
	if (cron_setting("cron.launch_active_jobs", "off"))
		ereport(WARNING,
				(errcode(ERRCODE_EDA_CRON_CANNOT_RUN),
				 errmsg("job \"%s\" will not be run: cron.launch_active_jobs is off", job),
				 errhint("In postgresql.conf: cron.launch_active_jobs = on")));
	if (cron_setting("cron.use_background_workers", "off"))
		ereport(WARNING,
				(errcode(ERRCODE_EDA_CRON_CANNOT_RUN),
				 errmsg("job \"%s\" will not be run unless pg_cron can log in as role \"%s\" without a password",
						job, role),
				 errdetail("cron.use_background_workers is off: pg_cron connects to host \"%s\" (cron.host) like a client, and pg_hba.conf decides.",
						   host != NULL ? host : ""),
				 errhint("In postgresql.conf, and restart the server:\ncron.use_background_workers = on\nmax_worker_processes = %d",
						 Max(max_worker_processes, Max(workers_needed(), 16)))));
	else if (max_worker_processes < workers_needed())
		ereport(WARNING,
				(errcode(ERRCODE_EDA_CRON_CANNOT_RUN),
				 errmsg("job \"%s\" will not be run while all of max_worker_processes, %d, are in use",
						job, max_worker_processes),
				 errdetail("The processes of eda and pg_cron may be %d.", workers_needed()),
				 errhint("In postgresql.conf, and restart the server:\nmax_worker_processes = %d",
						 Max(workers_needed(), 16))));
}

/* A table of pg_cron's, which nobody keeps from being read; InvalidOid: there is none. */
static Oid
cron_table(const char *name)
{
	Oid			nsp = get_namespace_oid("cron", true);
	Oid			extension = get_extension_oid("pg_cron", true);
	Oid			relid = OidIsValid(nsp) ? get_relname_relid(name, nsp) : InvalidOid;

	if (!OidIsValid(relid) || !OidIsValid(extension) ||
		getExtensionOfObject(RelationRelationId, relid) != extension ||
		!ConditionalLockRelationOid(relid, AccessShareLock))
		return InvalidOid;
	return relid;
}

void
EdaCronLastStart(int64 cron_jobid, EdaCronStart *start)
{
	static const Oid types[] = {INT8OID};
	const char *home = GetConfigOption("cron.database_name", true, false);
	Datum		values[1] = {Int64GetDatum(cron_jobid)};
	MemoryContext cxt = CurrentMemoryContext;
	bool		isnull;

	memset(start, 0, sizeof(*start));
	start->started_at = DT_NOBEGIN;
	if (cron_jobid == 0 || home == NULL || get_database_oid(home, true) != MyDatabaseId ||
		!OidIsValid(cron_table("job")) || !OidIsValid(cron_table("job_run_details")))
		return;

	start->known = true;
	SPI_connect();
	if (EdaSpiExecute("SELECT active FROM cron.job WHERE jobid = $1",
					  1, types, values, NULL, SPI_OK_SELECT) == 0)
		start->gone = true;
	else
		start->inactive = !DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
													  SPI_tuptable->tupdesc, 1, &isnull));
	if (EdaSpiExecute("SELECT runid, status = 'failed', start_time, return_message"
					  "  FROM cron.job_run_details WHERE jobid = $1 ORDER BY runid DESC LIMIT 1",
					  1, types, values, NULL, SPI_OK_SELECT) > 0)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *message = SPI_getvalue(tuple, desc, 4);
		Datum		value;

		start->runid = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
		value = SPI_getbinval(tuple, desc, 2, &isnull);
		start->failed = !isnull && DatumGetBool(value);
		value = SPI_getbinval(tuple, desc, 3, &isnull);
		if (!isnull)
			start->started_at = DatumGetTimestampTz(value);
		start->message = message != NULL ? MemoryContextStrdup(cxt, message) : NULL;
	}
	SPI_finish();
}
