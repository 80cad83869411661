/*-------------------------------------------------------------------------
 *
 * jobs/run.c
 *	  A run of a job: CALL eda.run_job, and CALL eda._start_job.
 *
 *	1. A run holds a session-level object lock on (eda.job, job id, 0), across its
 *	   transactions, so that a job never overlaps itself.  Whoever has it knows
 *	   that a run that still says 'running' is one that died, and says so.
 *	   Released on every way out; a FATAL error releases it with the session,
 *	   and so does a commit that fails: it is taken again to record that.
 *	   Where another run was quicker, that one closes this run's row as one that
 *	   died, and then the error of this one is written over that.
 *	2. A run is one attempt, or, with retries, several, each with a row of its own.
 *	   An attempt is three transactions: the row that says 'running'; the query, its
 *	   events and the outcome, together, with the query in a subtransaction so
 *	   that its error can be caught; and where that or its commit fails, the
 *	   error's row, and the event that tells of it or the row of the next attempt,
 *	   which waits before it begins.  Then old rows of the job are deleted, in one
 *	   more, and then the error of the last attempt goes on to the caller.
 *	3. The query runs as the job's owner whoever calls, security-restricted
 *	   where that is somebody else, and under the job's settings (jobs/settings.c).
 *	4. A run's due_at is the latest instant of the job's schedule that no run was
 *	   for.  It is part of the run's row, so it counts if and only if the run's own
 *	   transaction, or that of its error, commits.  eda._start_job does nothing where there
 *	   is none: pg_cron calls it more often than the job is due.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jobs/run.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/args.h"
#include "base/at_commit.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/condition.h"
#include "base/security.h"
#include "base/shmem.h"
#include "jobs/cron.h"
#include "jobs/crontab.h"
#include "jobs/job.h"
#include "publish/publish.h"
#include "subscription/subscription.h"

#define MAX_REFUSALS	1000	/* refused rows that are kept with a run */

/* What waits before an attempt that is not the first: 1 s, doubling up to this. */
#define MAX_BACKOFF_MS	(60 * 1000)

/* A run: the job, and for what it was started. */
typedef struct Run
{
	const EdaJob *job;
	LOCKTAG		tag;
	TimestampTz due_at;			/* DT_NOBEGIN: it was not due */
	int64		run_id;			/* of the attempt */
	int			attempt;		/* from 1 */
	bool		timed_out;		/* it took longer than the job's timeout */
} Run;

PG_FUNCTION_INFO_V1(eda_run_job);
PG_FUNCTION_INFO_V1(eda_start_job);

static Datum
text_datum(const char *s)
{
	return s != NULL ? CStringGetTextDatum(s) : (Datum) 0;
}

/* Insert an attempt's row; returns its id. */
static int64
insert_run(const Run *run, const char *outcome, const char *message)
{
	static const Oid types[] = {INT4OID, TEXTOID, OIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID,
	INT4OID};
	Datum		values[lengthof(types)];
	char		nulls[] = "       ";
	EdaSecurityContext ctx;
	int64		run_id;
	bool		isnull;

	values[0] = Int32GetDatum(run->job->id);
	values[1] = text_datum(run->job->name);
	values[2] = ObjectIdGetDatum(run->job->owner);
	values[3] = text_datum(outcome);
	values[4] = text_datum(message);
	if (message == NULL)
		nulls[4] = 'n';
	values[5] = TimestampTzGetDatum(run->due_at);
	if (run->due_at == DT_NOBEGIN)
		nulls[5] = 'n';
	values[6] = Int32GetDatum(run->attempt);
	EdaSpiBegin(&ctx);
	EdaSpiExecute("INSERT INTO eda.job_run (job_id, job, owner, outcome, message, finished_at,"
				  "                         due_at, attempt)"
				  " VALUES ($1, $2, $3, $4, $5,"
				  "         CASE WHEN $4 <> 'running' THEN clock_timestamp() END, $6, $7)"
				  " RETURNING run_id",
				  lengthof(types), types, values, nulls, SPI_OK_INSERT_RETURNING);
	run_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										 SPI_tuptable->tupdesc, 1, &isnull));
	EdaSpiEnd(&ctx);

	/* the dispatcher looks after it, in case that its session dies */
	if (strcmp(outcome, "running") == 0)
		EdaWakeAtCommit(EDA_WAKE_JOBS);
	return run_id;
}

void
EdaJobCloseDeadRuns(int32 job_id, int64 up_to)
{
	static const Oid types[] = {INT4OID, TEXTOID, INT8OID};
	Datum		values[3];
	char	   *code = pstrdup(unpack_sql_state(ERRCODE_CRASH_SHUTDOWN));
	MemoryContext cxt = CurrentMemoryContext;
	EdaSecurityContext ctx;
	SPITupleTable *rows;
	uint64		n;

	values[0] = Int32GetDatum(job_id);
	values[1] = CStringGetTextDatum(code);
	values[2] = Int64GetDatum(up_to);
	EdaSpiBegin(&ctx);
	n = EdaSpiExecute("UPDATE eda.job_run SET outcome = 'error', error_code = $2,"
					  "       message = 'the server or its session ended during the run',"
					  "       finished_at = clock_timestamp()"
					  " WHERE job_id = $1 AND outcome = 'running' AND run_id <= $3"
					  " RETURNING job, run_id, owner",
					  3, types, values, NULL, SPI_OK_UPDATE_RETURNING);
	rows = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;
		Oid			owner = DatumGetObjectId(SPI_getbinval(rows->vals[i], rows->tupdesc, 3, &isnull));
		int64		run_id = DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &isnull));
		MemoryContext spi_cxt = MemoryContextSwitchTo(cxt);

		EdaJobPublishFailure(SPI_getvalue(rows->vals[i], rows->tupdesc, 1), run_id, owner, code, NULL);
		MemoryContextSwitchTo(spi_cxt);
	}
	EdaSpiEnd(&ctx);
}

/*
 * Forget the job's runs that are older than 30 days, but for
 * the last 100.  From the oldest, and no more than the LIMIT at once, so that
 * it takes no longer where there is nothing to forget; that still is more than
 * come into being from one run to the next.
 */
void
EdaJobPruneRuns(int32 job_id)
{
	static const Oid types[] = {INT4OID};
	Datum		values[1] = {Int32GetDatum(job_id)};
	EdaSecurityContext ctx;

	EdaSpiBegin(&ctx);
	EdaSpiExecute("DELETE FROM eda.job_run WHERE run_id IN"
				  " (SELECT o.run_id"
				  "    FROM (SELECT r.run_id, r.started_at FROM eda.job_run r"
				  "           WHERE r.job_id = $1"
				  "             AND r.run_id < (SELECT k.run_id FROM eda.job_run k"
				  "                              WHERE k.job_id = $1"
				  "                              ORDER BY k.run_id DESC OFFSET 99 LIMIT 1)"
				  "           ORDER BY r.run_id LIMIT 1000) o"
				  "   WHERE o.started_at < clock_timestamp() - interval '30 days')",
				  1, types, values, NULL, SPI_OK_DELETE);
	EdaSpiEnd(&ctx);
}

/* Keep the rows that were refused with the run. */
static void
keep_refusals(int64 run_id, const List *refusals)
{
	static const Oid types[] = {INT8OID, INT8OID, JSONBOID, TEXTOID};
	EdaSecurityContext ctx;
	ListCell   *lc;

	EdaSpiBegin(&ctx);
	foreach(lc, refusals)
	{
		const EdaRefusal *refusal = lfirst(lc);
		Datum		values[4];
		char		nulls[] = "    ";

		values[0] = Int64GetDatum(run_id);
		values[1] = Int64GetDatum(refusal->row);
		values[2] = JsonbPGetDatum(refusal->payload);
		if (refusal->payload == NULL)
			nulls[2] = 'n';
		values[3] = CStringGetTextDatum(refusal->reason);
		EdaSpiExecute("INSERT INTO eda.job_refusal (run_id, row, payload, violations)"
					  " VALUES ($1, $2, $3, $4)", 4, types, values, nulls, SPI_OK_INSERT);
	}
	EdaSpiEnd(&ctx);
}

/* The run's outcome where the query did not fail. */
static void
finish_run(int64 run_id, const EdaPublishResult *result)
{
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID, INT8OID, INT8OID,
	INT8OID, INT8OID, INT8OID};
	int64		before = result->total - result->published - result->invalid;
	Datum		values[8];
	char		nulls[] = "        ";
	StringInfoData message;
	EdaSecurityContext ctx;

	initStringInfo(&message);
	if (result->total == 0)
		appendStringInfoString(&message, "no records to process");
	else if (before == result->total)
		appendStringInfo(&message, before == 1 ? "%lld row, published before" :
						 "%lld rows, all published before", (long long) before);
	else
	{
		if (before > 0)
			appendStringInfo(&message, "%lld of %lld rows were published before",
							 (long long) before, (long long) result->total);
		if (result->invalid > 0)
			appendStringInfo(&message, "%s%lld of %lld rows were refused",
							 before > 0 ? ", " : "",
							 (long long) result->invalid, (long long) result->total);
	}

	values[0] = Int64GetDatum(run_id);
	values[1] = text_datum(result->total == 0 ? "no_records" : "published");
	values[2] = text_datum(message.data);
	if (message.len == 0)
		nulls[2] = 'n';
	values[3] = Int64GetDatum(result->total);
	values[4] = Int64GetDatum(result->published);
	values[5] = Int64GetDatum(result->invalid);
	values[6] = Int64GetDatum(result->first_id);
	values[7] = Int64GetDatum(result->last_id);
	if (result->published == 0)
		nulls[6] = nulls[7] = 'n';
	EdaSpiBegin(&ctx);
	EdaSpiExecute("UPDATE eda.job_run SET outcome = $2, message = $3, total = $4,"
				  "       published = $5, invalid = $6, first_id = $7, last_id = $8,"
				  "       finished_at = clock_timestamp()"
				  " WHERE run_id = $1",
				  8, types, values, nulls, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);
}

/*
 * Publish eda.job.failed as the job's owner, or as eda's where that is gone.
 */
void
EdaJobPublishFailure(const char *job, int64 run_id, Oid owner, const char *error_code, const char *where)
{
	static const Oid types[] = {TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID};
	const char *condition = EdaConditionName(error_code);
	Datum		values[5];
	char		nulls[] = "     ";
	MemoryContext cxt = CurrentMemoryContext;
	MemoryContext spi_cxt;
	EdaSecurityContext ctx;
	Jsonb	   *payload;
	bool		isnull;

	values[0] = text_datum(job);
	values[1] = Int64GetDatum(run_id);
	values[2] = text_datum(error_code);
	values[3] = text_datum(condition);
	values[4] = text_datum(where);
	nulls[2] = error_code == NULL ? 'n' : ' ';
	nulls[3] = condition == NULL ? 'n' : ' ';
	nulls[4] = where == NULL ? 'n' : ' ';
	EdaSpiBegin(&ctx);
	/*
	 * who reads it need not be one who may see the rows: nor a message, which may hold values of
	 * them
	 */
	EdaSpiExecute("SELECT jsonb_build_object('job', $1, 'run', $2, 'error_code', $3,"
				  "       'error_condition', $4, 'error_where', $5)",
				  5, types, values, nulls, SPI_OK_SELECT);
	spi_cxt = MemoryContextSwitchTo(cxt);
	payload = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0],
											   SPI_tuptable->tupdesc, 1, &isnull));
	MemoryContextSwitchTo(spi_cxt);
	EdaSpiEnd(&ctx);

	if (GetUserNameFromId(owner, true) == NULL)
		owner = GetUserId();
	EdaBeginAsRole(&ctx, owner);
	(void) EdaPublishInternal(EDA_JOB_FAILED_TOPIC, payload, job, NULL, 0);
	EdaEndAsRole(&ctx);
}

/* The attempt's outcome where it failed, and the event that tells of it where no other follows. */
static void
fail_run(const Run *run, const ErrorData *edata, bool publish)
{
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	char	   *code = pstrdup(unpack_sql_state(edata->sqlerrcode));
	char	   *where = EdaErrorWhere(edata->context);
	Datum		values[5];
	char		nulls[] = "     ";
	EdaSecurityContext ctx;

	values[0] = Int64GetDatum(run->run_id);
	values[1] = text_datum(code);
	values[2] = text_datum(edata->message != NULL ? edata->message : "");
	values[3] = text_datum(edata->detail);
	values[4] = text_datum(where);
	nulls[3] = edata->detail == NULL ? 'n' : ' ';
	nulls[4] = where == NULL ? 'n' : ' ';
	EdaSpiBegin(&ctx);
	EdaSpiExecute("UPDATE eda.job_run SET outcome = 'error', error_code = $2,"
				  "       message = $3, error_detail = $4, error_where = $5,"
				  "       finished_at = clock_timestamp()"
				  " WHERE run_id = $1",
				  5, types, values, nulls, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);

	if (publish)
		EdaJobPublishFailure(run->job->name, run->run_id, run->job->owner, code, where);
}

/* In a subtransaction that failed: its error, in that context, with nothing of it left. */
static ErrorData *
take_error(MemoryContext cxt, ResourceOwner owner)
{
	ErrorData  *edata;

	MemoryContextSwitchTo(cxt);
	edata = CopyErrorData();
	FlushErrorState();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	return edata;
}

/* The query and its events, in a subtransaction; the error that it ended in, or NULL. */
static ErrorData *
publish_rows(const EdaJob *job, EdaPublishResult *result)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	EdaPublishQueryArgs args = {.topic = job->topic, .query = job->query, .key_column = job->key_column,
								.idempotency_key_column = job->idempotency_key_column,
								.skip_invalid = job->skip_invalid, .keep_refusals = MAX_REFUSALS};
	ErrorData  *volatile edata = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		EdaSecurityContext ctx;

		EdaJobApplySettings(job);
		PushActiveSnapshot(GetTransactionSnapshot());
		EdaBeginAsRoleRestricted(&ctx, job->owner);
		EdaPublishQuery(&args, result);
		EdaEndAsRole(&ctx);
		PopActiveSnapshot();

		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(cxt);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		edata = take_error(cxt, owner);
	}
	PG_END_TRY();
	return edata;
}

/*
 * The query, its events and the outcome in one transaction, committed.
 * Returns the error that any of it ended in, in the current context, with
 * nothing of it left and a fresh transaction begun; NULL: all is well.
 */
static ErrorData *
publish_run(const Run *run)
{
	MemoryContext cxt = CurrentMemoryContext;
	EdaPublishResult result;
	ErrorData  *volatile edata;

	EdaJobSetIsolation(run->job);
	edata = publish_rows(run->job, &result);
	if (edata != NULL)
		return edata;

	PushActiveSnapshot(GetTransactionSnapshot());
	finish_run(run->run_id, &result);
	if (result.refusals != NIL)
		keep_refusals(run->run_id, result.refusals);
	PopActiveSnapshot();

	/* Deferred constraints are checked here, so this fails like the query. */
	PG_TRY();
	{
		SPI_commit();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();

	/* The transaction that was aborted took the session's lock with it. */
	if (edata != NULL)
		(void) LockAcquire(&run->tag, ExclusiveLock, true, true);

	return edata;
}

/*
 * Wait before an attempt that is not the first; the error that this ended in, or NULL.
 */
static ErrorData *
wait_before_retry(const Run *run)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile edata = NULL;
	TimestampTz until = EdaMonotonicAfter(Min(INT64CONST(1000) << Min(run->attempt - 2, 10),
											  MAX_BACKOFF_MS));

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		long		ms;

		while ((ms = TimestampDifferenceMilliseconds(EdaMonotonicNow(), until)) > 0)
		{
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
							 eda_wait_event("EdaJobRetry"));
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(cxt);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		edata = take_error(cxt, owner);
	}
	PG_END_TRY();

	/* a new transaction, whose time is now */
	if (edata == NULL)
		SPI_commit();
	return edata;
}

/* One attempt, within the job's time; the error that it ended in, or NULL. */
static ErrorData *
attempt(Run *run)
{
	const EdaJob *job = run->job;
	ErrorData  *edata;

	run->timed_out = false;
	if (run->attempt > 1 && (edata = wait_before_retry(run)) != NULL)
		return edata;

	if (job->timeout_ms > 0)
		EdaTimeLimitBegin(job->timeout_ms, EdaMonotonicNow());
	edata = publish_run(run);
	if (job->timeout_ms > 0)
	{
		run->timed_out = EdaTimeLimitEnd();
		EdaTimeLimitsOff();
	}
	if (!run->timed_out)
		return edata;

	/* it came too late to cancel anything */
	if (edata == NULL)
		QueryCancelPending = false;
	else if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
	{
		edata->message = psprintf("job \"%s\" was canceled after its timeout of %lld ms",
								  job->name, (long long) job->timeout_ms);
		edata->detail = NULL;
	}
	return edata;
}

/* Is it of use to run it again?  Who cancels it from outside does not want that. */
static bool
may_retry(const Run *run, const ErrorData *edata)
{
	return run->attempt <= run->job->retries &&
		(edata->sqlerrcode != ERRCODE_QUERY_CANCELED || run->timed_out);
}

/* All of a run that happens under the job's lock. */
static void
run_locked(Run *run)
{
	ErrorData  *edata;

	PushActiveSnapshot(GetTransactionSnapshot());
	EdaJobCloseDeadRuns(run->job->id, PG_INT64_MAX);
	run->run_id = insert_run(run, "running", NULL);
	PopActiveSnapshot();
	SPI_commit();

	for (;;)
	{
		bool		again;

		edata = attempt(run);
		if (edata == NULL)
			break;
		again = may_retry(run, edata);
		PushActiveSnapshot(GetTransactionSnapshot());
		fail_run(run, edata, !again);
		if (again)
		{
			run->attempt++;
			run->run_id = insert_run(run, "running", NULL);
		}
		PopActiveSnapshot();
		SPI_commit();
		if (!again)
			break;
	}

	/* On its own: no trouble with old runs is to undo this one. */
	PushActiveSnapshot(GetTransactionSnapshot());
	EdaJobPruneRuns(run->job->id);
	PopActiveSnapshot();
	SPI_commit();

	if (edata != NULL)
		ReThrowError(edata);
}

/* An aborted transaction, as of a failed commit, has released it already. */
static void
release_run_lock(const LOCKTAG *tag)
{
	if (eda_lock_held(tag, ExclusiveLock))
		LockRelease(tag, ExclusiveLock, true);
}

/* The job of that name, which must be there and which the caller may run. */
static EdaJob *
job_to_run(const char *name)
{
	EdaJob	   *job = EdaJobLoad(name);

	if (job == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EDA_UNDEFINED_JOB),
				 errmsg("job \"%s\" does not exist", name),
				 errhint("eda.jobs lists the jobs.  If pg_cron still runs it, cron.unschedule(%s) in pg_cron's database ends that.",
						 quote_literal_cstr(EdaJobCronName(name)))));
	EdaJobCheckOwner(job, false);
	EdaJobCheckOwnerExists(job);
	return job;
}

/*
 * The latest instant up to now at which the job was due, for which there was no run
 * and which is not too long ago; DT_NOBEGIN: none.  A run that died does not count.
 */
static TimestampTz
due_instant(const EdaJob *job)
{
	static const Oid types[] = {INT4OID, TIMESTAMPTZOID};
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz after = Max(job->scheduled_at, now - EDA_JOB_LATEST_US);
	EdaSecurityContext ctx;
	EdaCrontab	c;
	Datum		values[2];
	Datum		done;
	bool		isnull;

	if (!EdaCrontabParse(job->schedule, &c) || c.seconds > 0)
		return DT_NOBEGIN;

	values[0] = Int32GetDatum(job->id);
	values[1] = TimestampTzGetDatum(after);
	EdaSpiBegin(&ctx);
	EdaSpiExecute("SELECT max(due_at) FROM eda.job_run"
				  " WHERE job_id = $1 AND started_at > $2 AND outcome <> 'missed'"
				  "   AND (outcome <> 'running' AND error_code IS DISTINCT FROM '57P02')",
				  2, types, values, NULL, SPI_OK_SELECT);
	done = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	EdaSpiEnd(&ctx);
	if (!isnull)
		after = Max(after, DatumGetTimestampTz(done));
	return EdaCrontabLatest(&c, job->timezone != NULL ? EdaCrontabZone(job->timezone) : EdaCronZone(),
							after, now);
}

/* only_due: not unless it is due. */
static void
run_job(const char *name, bool only_due)
{
	EdaJob	   *job = job_to_run(name);
	Run			run = {.job = job, .attempt = 1};

	EdaJobRunTag(&run.tag, job->id);
	if (LockAcquire(&run.tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		run.due_at = due_instant(job);
		if (run.due_at != DT_NOBEGIN || !only_due)
			(void) insert_run(&run, "skipped", "the previous run is still going");
		PopActiveSnapshot();
		return;
	}

	PG_TRY();
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		run.due_at = due_instant(job);
		PopActiveSnapshot();
		if (run.due_at != DT_NOBEGIN || !only_due)
			run_locked(&run);
	}
	PG_CATCH();
	{
		release_run_lock(&run.tag);
		PG_RE_THROW();
	}
	PG_END_TRY();
	release_run_lock(&run.tag);
}

/*
 * What the two procedures have in common.  They commit on their way, so not inside a transaction
 * block.
 */
static void
call_job(FunctionCallInfo fcinfo, const char *procedure, bool only_due)
{
	char	   *name = EdaTextArg(fcinfo, 0, "job");

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot run inside a transaction block", procedure),
				 errhint("It commits on its way.  Call it on its own; inside a transaction, eda.publish_query() publishes a query's rows.")));
	PreventCommandIfReadOnly(procedure);
	PreventCommandDuringRecovery(procedure);

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	/* from here on in SPI's own memory, which outlives the commits */
	run_job(pstrdup(name), only_due);
	SPI_finish();
}

/* CALL eda.run_job(job): now. */
Datum
eda_run_job(PG_FUNCTION_ARGS)
{
	call_job(fcinfo, "CALL eda.run_job", false);
	PG_RETURN_VOID();
}

/* CALL eda._start_job(job): if it is due.  Who may run jobs may call it, by whatever way. */
Datum
eda_start_job(PG_FUNCTION_ARGS)
{
	Oid			run_job_oid = DatumGetObjectId(DirectFunctionCall1(regprocedurein,
																   CStringGetDatum("eda.run_job(pg_catalog.text)")));

	if (eda_proc_aclcheck(run_job_oid, GetUserId(), ACL_EXECUTE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_PROCEDURE, "eda.run_job");
	call_job(fcinfo, "CALL eda._start_job", true);
	PG_RETURN_VOID();
}
