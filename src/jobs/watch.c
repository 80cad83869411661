/*-------------------------------------------------------------------------
 *
 * jobs/watch.c
 *	  Sees to it that jobs were run: what nobody ran is a run with outcome
 *	  'missed', and is published, as a run that failed is.
 *
 *	1. Only the job's own schedule says when a run is to be there: pg_cron's tables
 *	   may be in another database, and where its own start fails, that is all
 *	   that there is of it.  From the last run, or from when the job was scheduled,
 *	   the next instant follows (jobs/crontab.c); when that has passed, there is
 *	   a newer run, or one was missed.
 *	2. The dispatcher looks SOON_MS after each such instant, and then every now and then for
 *	   GRACE_MS: pg_cron may be slow, or busy.  It need not wait where pg_cron's history tells
 *	   that the start failed, or where the server, or pg_cron's launcher, was not running at that
 *	   time. As long as the job's own previous run is going on, pg_cron puts the next one off:
 *	   that is not missed.
 *	3. Several in a row are one row, which says how many.  Its started_at and due_at
 *	   are those of the last one, from where the next look goes on.
 *	4. A run whose session or server died leaves a row that says 'running', and a
 *	   lock that nobody holds: a run has the lock before it has the row, and until the row
 *	   says something else.  It is closed as an error, and published.
 *	5. A copy of a database has its jobs, and pg_cron does not run them there:
 *	   a job is looked after in the database where it was scheduled.
 *	6. An error while looking is logged, and leaves delivery alone.
 *
 * The state here is the dispatcher's own.  eda.job and eda.job_run are read and
 * written by SPI, as the extension's owner.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jobs/watch.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/clock.h"
#include "base/security.h"
#include "base/transaction.h"
#include "jobs/cron.h"
#include "jobs/crontab.h"
#include "jobs/job.h"
#include "workers/workers.h"

/* When to look after an instant has passed, and how long to wait for pg_cron. */
#define SOON_MS			3000
#define AGAIN_MS		5000
#define GRACE_MS		(2 * 60 * 1000)
/* How often to look whether a run that is going on has died. */
#define RUNNING_MS		10000
/* And after an error. */
#define ERROR_MS		60000

/* More runs than that are not counted one by one. */
#define MAX_COUNTED		100000

static TimestampTz next_look = DT_NOBEGIN;	/* by the system's clock */

/* A job, as the watch sees it. */
typedef struct Watched
{
	int32		id;
	char	   *name;
	char	   *schedule;
	char	   *timezone;		/* NULL: pg_cron's */
	Oid			owner;
	int64		cron_jobid;
	TimestampTz since;			/* the runs that were due up to here are accounted for */
	int64		cron_runid;		/* the last start of pg_cron's that is known to have failed */
	TimestampTz finished_at;	/* when its last run ended; DT_NOBEGIN: none */
	int64		running;		/* the last run that says that it is going on; 0: none */
} Watched;

static TimestampTz
after_ms(TimestampTz t, int64 ms)
{
	return t + ms * 1000;
}

/* A column of a row as a time, or what stands for none. */
static TimestampTz
time_column(HeapTuple tuple, TupleDesc desc, int col)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, col, &isnull);

	return isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
}

static int64
int64_column(HeapTuple tuple, TupleDesc desc, int col)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, col, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

/* All jobs of this database, in the current context; *n: how many. */
static Watched *
load_watched(int *n)
{
	static const Oid types[] = {OIDOID};
	Datum		values[1] = {ObjectIdGetDatum(MyDatabaseId)};
	MemoryContext cxt = CurrentMemoryContext;
	MemoryContext before;
	EdaSecurityContext ctx;
	Watched    *watched;

	EdaSpiBegin(&ctx);
	*n = (int) EdaSpiExecute("SELECT j.job_id, j.name, j.schedule, j.timezone, j.owner, j.cron_jobid,"
							 "       greatest(j.scheduled_at, (SELECT max(r.started_at) FROM eda.job_run r WHERE r.job_id = j.job_id)),"
							 "       (SELECT max(r.cron_runid) FROM eda.job_run r"
							 "         WHERE r.job_id = j.job_id AND r.cron_runid IS NOT NULL),"
							 "       (SELECT r.finished_at FROM eda.job_run r WHERE r.job_id = j.job_id"
							 "         ORDER BY r.run_id DESC LIMIT 1),"
							 "       (SELECT max(r.run_id) FROM eda.job_run r"
							 "         WHERE r.job_id = j.job_id AND r.outcome = 'running')"
							 "  FROM eda.job j WHERE j.database = $1",
							 1, types, values, NULL, SPI_OK_SELECT);
	before = MemoryContextSwitchTo(cxt);
	watched = palloc0((*n + 1) * sizeof(Watched));
	for (int i = 0; i < *n; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Watched    *w = &watched[i];
		bool		isnull;

		w->id = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull));
		w->name = SPI_getvalue(tuple, desc, 2);
		w->schedule = SPI_getvalue(tuple, desc, 3);
		w->timezone = SPI_getvalue(tuple, desc, 4);
		w->owner = DatumGetObjectId(SPI_getbinval(tuple, desc, 5, &isnull));
		w->cron_jobid = int64_column(tuple, desc, 6);
		w->since = time_column(tuple, desc, 7);
		w->cron_runid = int64_column(tuple, desc, 8);
		w->finished_at = time_column(tuple, desc, 9);
		w->running = int64_column(tuple, desc, 10);
	}
	MemoryContextSwitchTo(before);
	EdaSpiEnd(&ctx);
	return watched;
}

/*
 * Why a run was missed, where pg_cron's history tells; NULL: it does not.  *runid: which start of
 * it.
 */
static const char *
cron_reason(const Watched *w, TimestampTz due, int64 *runid)
{
	EdaCronStart start;

	*runid = 0;
	EdaCronLastStart(w->cron_jobid, &start);
	if (!start.known)
		return NULL;
	if (start.gone)
		return psprintf("pg_cron has no job %lld any more: schedule it again",
						(long long) w->cron_jobid);
	if (start.inactive)
		return psprintf("pg_cron's job %lld is not active", (long long) w->cron_jobid);
	if (!start.failed || start.runid <= w->cron_runid ||
		(start.started_at != DT_NOBEGIN && start.started_at < due))
		return NULL;
	*runid = start.runid;
	return psprintf("pg_cron could not start it: %s",
					start.message != NULL ? start.message : "it does not say why");
}

/* The row, unless a run is there by now, and the event. */
static void
insert_missed(const Watched *w, TimestampTz first, TimestampTz last, const char *message,
			  int64 cron_runid)
{
	static const Oid types[] = {INT4OID, TEXTOID, OIDOID, TIMESTAMPTZOID, TEXTOID, TEXTOID,
	INT8OID, TIMESTAMPTZOID};
	char	   *code = pstrdup(unpack_sql_state(ERRCODE_EDA_JOB_MISSED));
	Datum		values[lengthof(types)];
	char		nulls[] = "        ";
	EdaSecurityContext ctx;
	int64		run_id = 0;

	values[0] = Int32GetDatum(w->id);
	values[1] = CStringGetTextDatum(w->name);
	values[2] = ObjectIdGetDatum(w->owner);
	values[3] = TimestampTzGetDatum(last);
	values[4] = CStringGetTextDatum(message);
	values[5] = CStringGetTextDatum(code);
	values[6] = Int64GetDatum(cron_runid);
	if (cron_runid == 0)
		nulls[6] = 'n';
	values[7] = TimestampTzGetDatum(first);
	EdaSpiBegin(&ctx);
	if (EdaSpiExecute("INSERT INTO eda.job_run (job_id, job, owner, started_at, due_at, finished_at,"
					  "                         outcome, message, error_code, cron_runid)"
					  " SELECT $1, $2, $3, $4, $4, clock_timestamp(), 'missed', $5, $6, $7"
					  "  WHERE NOT EXISTS (SELECT FROM eda.job_run WHERE job_id = $1 AND started_at >= $8)"
					  " RETURNING run_id",
					  lengthof(types), types, values, nulls, SPI_OK_INSERT_RETURNING) > 0)
		run_id = int64_column(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	EdaSpiEnd(&ctx);

	if (run_id != 0)
	{
		EdaJobPublishFailure(w->name, run_id, w->owner, code, NULL);
		EdaJobPruneRuns(w->id);
	}
}

/* All runs from the one that was due at `first` up to `until` were missed. */
static void
miss(const Watched *w, const EdaCrontab *c, pg_tz *zone, TimestampTz first, TimestampTz until,
	 const char *reason, int64 cron_runid)
{
	TimestampTz last = first;
	int64		n = 1;
	const char *message = reason;

	while (n < MAX_COUNTED)
	{
		TimestampTz next = EdaCrontabNext(c, zone, last);

		if (next > until)
			break;
		last = next;
		n++;
	}
	if (n > 1)
		message = psprintf("%s%lld runs, the first one due at %s: %s", n < MAX_COUNTED ? "" : "at least ",
						   (long long) n, timestamptz_to_str(first), reason);
	insert_missed(w, first, n < MAX_COUNTED ? last : until, message, cron_runid);
}

/*
 * Does somebody hold the lock of a run?  It is not taken to find that out: a run
 * that began just then would be skipped.
 */
static bool
run_is_going_on(const Watched *w)
{
	static const Oid types[] = {OIDOID, OIDOID, OIDOID};
	Datum		values[3];
	EdaSecurityContext ctx;
	bool		held;

	values[0] = ObjectIdGetDatum(MyDatabaseId);
	values[1] = ObjectIdGetDatum(EdaRelationId("job"));
	values[2] = ObjectIdGetDatum((Oid) w->id);
	EdaSpiBegin(&ctx);
	held = EdaSpiExecute("SELECT FROM pg_locks WHERE locktype = 'object' AND database = $1"
						 "   AND classid = $2 AND objid = $3 AND objsubid = 0 AND granted",
						 3, types, values, NULL, SPI_OK_SELECT) > 0;
	EdaSpiEnd(&ctx);
	return held;
}

/* Was a run of it missed?  Returns when to look at it again. */
static TimestampTz
look_at(const Watched *w, TimestampTz now)
{
	pg_tz	   *zone = w->timezone != NULL ? EdaCrontabZone(w->timezone) : EdaCronZone();
	TimestampTz due = DT_NOEND;
	TimestampTz running_since;
	EdaCrontab	c;
	const char *reason;
	int64		cron_runid;

	if (zone == NULL || !EdaCrontabParse(w->schedule, &c))
		return DT_NOEND;
	if (!c.reboot)
		due = EdaCrontabNext(&c, zone, w->since);
	else if (PgStartTime > w->since)
		due = PgStartTime;
	if (due == DT_NOEND)
		return DT_NOEND;
	if (after_ms(due, SOON_MS) > now)
		return after_ms(due, SOON_MS);

	running_since = EdaCronRunningSince();
	if (!c.reboot && due <= Max(PgStartTime, running_since))
	{
		miss(w, &c, zone, due, Max(PgStartTime, running_since),
			 due <= PgStartTime ? "the server was not running" : "pg_cron was not running", 0);
		return after_ms(now, AGAIN_MS);
	}
	if (run_is_going_on(w))
		return after_ms(now, RUNNING_MS);

	/* pg_cron waits for the end of the previous run, and may have begun long after the server */
	reason = cron_reason(w, due, &cron_runid);
	if (reason == NULL &&
		after_ms(Max(due, Max(w->finished_at, running_since)), GRACE_MS) > now)
		return after_ms(now, AGAIN_MS);
	if (reason == NULL)
		reason = running_since == DT_NOBEGIN ? "pg_cron is not running" : "pg_cron did not start it";
	miss(w, &c, zone, due, c.reboot ? due : Max(due, after_ms(now, -GRACE_MS)), reason, cron_runid);
	return after_ms(now, AGAIN_MS);
}

/* One transaction of the dispatcher's. */
static void
serve(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = DT_NOEND;

	EdaTransactionBegin();
	if (EdaExtensionExists())
	{
		int			n;
		MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "eda job watch",
												   ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(mcxt);
		Watched    *watched = load_watched(&n);

		for (int i = 0; i < n; i++)
		{
			/* who was running when this was loaded, and still is, has had the lock all the time */
			if (watched[i].running != 0 && run_is_going_on(&watched[i]))
				next = Min(next, after_ms(now, RUNNING_MS));
			else if (watched[i].running != 0)
				EdaJobCloseDeadRuns(watched[i].id, watched[i].running);
			next = Min(next, look_at(&watched[i], now));
		}
		MemoryContextSwitchTo(old);
		MemoryContextDelete(mcxt);
	}
	EdaTransactionCommit();
	next_look = next;
}

void
EdaJobWatchServe(bool look)
{
	if (!look && next_look > GetCurrentTimestamp())
		return;

	PG_TRY();
	{
		serve();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(TopMemoryContext);
		HOLD_INTERRUPTS();
		errcontext("looking for jobs that were not run");
		EmitErrorReport();
		AbortOutOfAnyTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
		MemoryContextSwitchTo(TopMemoryContext);
		next_look = after_ms(GetCurrentTimestamp(), ERROR_MS);
	}
	PG_END_TRY();
}

long
EdaJobWatchSleep(void)
{
	if (next_look == DT_NOEND)
		return -1;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next_look);
}
