/*-------------------------------------------------------------------------
 *
 * operate/stats.c
 *	  What views show: workers, backlogs, segments.
 *
 *	1. Nothing is counted while events flow: all of this is worked out when
 *	   somebody looks, from the cursors, the log's index and the slots in
 *	   shared memory.
 *	2. EdaShared->lock is held (shared) while the slots are copied, and no
 *	   other lock is taken: a reader stops nobody.
 *	3. A backlog is counted as far as BACKLOG_SAMPLE events that may be pending
 *	   by the index, which are read: entries of what was rolled back, and other
 *	   topics, are not in it.  Of more than those the same share counts, and past
 *	   BACKLOG_SCAN index entries the ids that were taken since stand for entries.
 *	4. These are called by whoever reads a view, and whoever may name them: each leaves out what the
 *	   current user does not see (base/visible.c).
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/operate/stats.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/args.h"
#include "base/clock.h"
#include "base/security.h"
#include "base/shmem.h"
#include "base/visible.h"
#include "dispatch/dispatch.h"
#include "log/log.h"
#include "subscription/subscription.h"

PG_FUNCTION_INFO_V1(eda_preloaded);
PG_FUNCTION_INFO_V1(eda_workers);
PG_FUNCTION_INFO_V1(eda_waits);
PG_FUNCTION_INFO_V1(eda_not_delivering);
PG_FUNCTION_INFO_V1(eda_backlog);
PG_FUNCTION_INFO_V1(eda_segments);

/* The work for a backlog: events that are read, index entries that are looked at. */
#define BACKLOG_SAMPLE	10000
#define BACKLOG_SCAN	1000000

/* Who waits for less than this, in ms, is about to be served. */
#define WAITS_SHOWN_MS	1000

/*
 * eda._preloaded(): can this server deliver at all?
 */
Datum
eda_preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(EdaIsPreloaded());
}

/*
 * Workers
 */

static const char *
database_state_name(EdaDatabaseState state)
{
	switch (state)
	{
		case EDA_DB_WANTED:
			return "wanted";
		case EDA_DB_STARTING:
			return "starting";
		case EDA_DB_RUNNING:
			return "running";
		case EDA_DB_FREE:
		case EDA_DB_IDLE:
			break;
	}
	return NULL;
}

/* Past its timeout for this long it has been told to end, and has not: it heeds no interrupts. */
#define UNRESPONSIVE_MS		6000

static const char *
executor_state_name(EdaExecutor *executor)
{
	TimestampTz since = (TimestampTz) pg_atomic_read_u64(&executor->item_since);

	switch (executor->state)
	{
		case EDA_EXEC_STARTING:
			return "starting";
		case EDA_EXEC_IDLE:
			return "idle";
		case EDA_EXEC_ASSIGNED:
			return "assigned";
		case EDA_EXEC_RUNNING:
			if (since != 0)
			{
				TimestampTz limit = since + (TimestampTz) pg_atomic_read_u64(&executor->limit_ms) * 1000;
				TimestampTz now = EdaMonotonicNow();

				if (now > limit + UNRESPONSIVE_MS * INT64CONST(1000))
					return "unresponsive";
				if (now > limit)
					return "overdue";
			}
			return "running";
		case EDA_EXEC_FREE:
			break;
	}
	return NULL;
}

/* One row of eda._workers(); zero stands for NULL, but in in_flight. */
static void
put_worker(ReturnSetInfo *rsinfo, const char *kind, pid_t pid, Oid dbid,
		   Oid roleid, int32 subscription_id, const char *state,
		   int32 in_flight, TimestampTz since, int16 lane)
{
	Datum		values[9];
	bool		nulls[9] = {0};

	values[0] = CStringGetTextDatum(kind);
	values[1] = Int32GetDatum((int32) pid);
	nulls[1] = pid == 0;
	values[2] = ObjectIdGetDatum(dbid);
	nulls[2] = !OidIsValid(dbid);
	values[3] = ObjectIdGetDatum(roleid);
	nulls[3] = !OidIsValid(roleid);
	values[4] = Int32GetDatum(subscription_id);
	nulls[4] = subscription_id == 0;
	values[5] = CStringGetTextDatum(state);
	values[6] = Int32GetDatum(in_flight);
	nulls[6] = in_flight < 0;
	values[7] = TimestampTzGetDatum(since);
	nulls[7] = since == 0;
	values[8] = Int32GetDatum(lane);
	nulls[8] = subscription_id == 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * eda._workers(): the launcher, and who has a slot; no rows when the library
 * is not preloaded.  Other databases' and other roles' are for pg_monitor.
 */
Datum
eda_workers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		sees_all = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) || EdaReadsAll();
	EdaDatabase *databases;
	EdaExecutor *executors;
	pid_t		launcher_pid;
	int			ndatabases;

	InitMaterializedSRF(fcinfo, 0);
	if (EdaShared == NULL)
		return (Datum) 0;

	/* copies, so that the lock is held for a moment */
	databases = palloc(mul_size(sizeof(EdaDatabase), EdaShared->ndatabases));
	executors = palloc(mul_size(sizeof(EdaExecutor), EdaShared->nexecutors));
	LWLockAcquire(EdaShared->lock, LW_SHARED);
	launcher_pid = EdaShared->launcher_pid;
	ndatabases = EdaShared->nknown;
	memcpy(databases, EdaShared->databases, ndatabases * sizeof(EdaDatabase));
	memcpy(executors, EdaShared->executors, EdaShared->nexecutors * sizeof(EdaExecutor));
	LWLockRelease(EdaShared->lock);

	put_worker(rsinfo, "launcher", launcher_pid, InvalidOid, InvalidOid,
			   0, launcher_pid == 0 ? "wanted" : "running", -1, 0, 0);
	for (int i = 0; i < ndatabases; i++)
	{
		EdaDatabase *db = &databases[i];
		const char *state = database_state_name(db->state);

		if (state != NULL && (sees_all || db->dbid == MyDatabaseId))
			put_worker(rsinfo, "dispatcher", db->dispatcher_pid, db->dbid,
					   InvalidOid, 0, state, -1,
					   db->state == EDA_DB_RUNNING ? db->started_at : 0, 0);
	}
	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		EdaExecutor *executor = &executors[i];
		const char *state = executor_state_name(executor);

		if (state != NULL && (sees_all || (executor->dbid == MyDatabaseId && EdaMaySee(executor->roleid))))
			put_worker(rsinfo, "executor", executor->pid, executor->dbid,
					   executor->roleid, executor->subscription_id, state,
					   (int32) pg_atomic_read_u32(&executor->in_flight),
					   executor->since, executor->lane_no);
	}
	pfree(databases);
	pfree(executors);
	return (Datum) 0;
}

/*
 * What a database waits for, and since when by the monotonic clock; NULL: nothing.  With
 * EdaShared->lock.
 */
static const char *
waits_for(const EdaDatabase *db, TimestampTz *since)
{
	bool		at_work = db->state == EDA_DB_WANTED || db->state == EDA_DB_STARTING ||
		db->state == EDA_DB_RUNNING;

	if (at_work && db->slot_wait_since != 0)
	{
		*since = db->slot_wait_since;
		return "worker slot";
	}
	if (db->state == EDA_DB_RUNNING && db->starved_since != 0)
	{
		*since = db->starved_since;
		return "executor slot";
	}
	return NULL;
}

/* The time of the day that it was then. */
static TimestampTz
to_clock(TimestampTz monotonic)
{
	return GetCurrentTimestamp() - (EdaMonotonicNow() - monotonic);
}

/*
 * eda._waits(): the databases that wait for a worker slot of the server, or for one of
 * eda.max_executors; who does not see all, of this one.
 */
Datum
eda_waits(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		sees_all = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) || EdaReadsAll();
	EdaDatabase *databases;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	if (EdaShared == NULL)
		return (Datum) 0;

	databases = palloc(mul_size(sizeof(EdaDatabase), EdaShared->ndatabases));
	LWLockAcquire(EdaShared->lock, LW_SHARED);
	n = EdaShared->nknown;
	memcpy(databases, EdaShared->databases, n * sizeof(EdaDatabase));
	LWLockRelease(EdaShared->lock);

	for (int i = 0; i < n; i++)
	{
		TimestampTz since;
		const char *what = waits_for(&databases[i], &since);
		Datum		values[3];
		bool		nulls[3] = {0};

		if (what == NULL || (!sees_all && databases[i].dbid != MyDatabaseId))
			continue;
		values[0] = ObjectIdGetDatum(databases[i].dbid);
		values[1] = CStringGetTextDatum(what);
		values[2] = TimestampTzGetDatum(to_clock(since));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	pfree(databases);
	return (Datum) 0;
}

/* What this database has waited for for a while; NULL: nothing.  *since: by the monotonic clock. */
static const char *
this_database_waits_for(TimestampTz *since)
{
	EdaDatabase *db = EdaMyDatabase(false);
	const char *what = NULL;

	if (db == NULL)
		return NULL;
	LWLockAcquire(EdaShared->lock, LW_SHARED);
	what = waits_for(db, since);
	LWLockRelease(EdaShared->lock);
	if (what != NULL && !TimestampDifferenceExceeds(*since, EdaMonotonicNow(), WAITS_SHOWN_MS))
		what = NULL;
	return what;
}

/*
 * eda._not_delivering(OUT reason, OUT detail, OUT waiting): why nothing is delivered in this
 * database, or no executor comes for what is pending (waiting); NULLs where all is well.
 */
Datum
eda_not_delivering(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[3] = {0};
	bool		nulls[3] = {true, true, true};
	const char *reason = NULL;
	const char *detail = NULL;
	const char *what;
	TimestampTz since;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("function returning record called in context that cannot accept type record")));
	desc = BlessTupleDesc(desc);

	if (!EdaIsPreloaded())
	{
		reason = "library not preloaded";
		detail = "add eda to shared_preload_libraries and restart the server";
	}
	else if (EdaDatabaseHasNoSlot())
	{
		reason = "no database slot";
		detail = psprintf("all %d are taken: drop the extension where it is not needed, or raise eda.max_databases and restart the server",
						  EdaShared->ndatabases);
	}
	else if (!eda_enabled)
	{
		reason = "not enabled";
		detail = "eda.enabled is off in this database or on this server";
	}
	else if ((what = this_database_waits_for(&since)) != NULL)
	{
		reason = psprintf("waiting for %s %s", what[0] == 'e' ? "an" : "a", what);
		detail = psprintf("since %s: %s", timestamptz_to_str(to_clock(since)),
						  what[0] == 'e' ? "others have all of eda.max_executors" :
						  "others have all of max_worker_processes");
		values[2] = BoolGetDatum(true);
		nulls[2] = false;
	}
	if (reason != NULL)
	{
		values[0] = CStringGetTextDatum(reason);
		values[1] = CStringGetTextDatum(detail);
		nulls[0] = nulls[1] = false;
		if (nulls[2])
			values[2] = BoolGetDatum(false);
		nulls[2] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/*
 * Backlog
 */

typedef struct BacklogCount
{
	const EdaSubscription *sub;
	const EdaCursor *cursors;	/* by lane */
	EdaLogReader *reader;
	Snapshot	snapshot;
	int64		scanned;		/* entries looked at */
	int64		last_id;		/* the highest among them */
	bool		cut_short;		/* there are more of them */
	int64		candidates;		/* entries that may be pending */
	int64		sampled;		/* of those, read */
	int64		matched;		/* of those, pending */
	int64		oldest_id;		/* lowest id known to be pending; 0: none yet */
	TimestampTz oldest;			/* when it was published */
} BacklogCount;

static bool
count_entry(const EdaLogEntry *entry, void *arg)
{
	BacklogCount *count = arg;
	const EdaSubscription *sub = count->sub;
	ItemPointerData tid = entry->tid;
	EdaEvent	ev;

	if (count->scanned == BACKLOG_SCAN)
	{
		count->cut_short = true;
		return false;
	}
	count->scanned++;
	count->last_id = Max(count->last_id, entry->id);	/* a delayed one has an old id */

	if (!EdaCursorsMayGet(sub, count->cursors, entry))
		return true;
	count->candidates++;

	if (count->sampled == BACKLOG_SAMPLE)
		return true;
	count->sampled++;
	if (EdaLogFetch(count->reader, entry->id, entry->segment, &tid,
					count->snapshot, &ev) &&
		EdaSubscriptionGets(sub, &ev))
	{
		count->matched++;
		if (count->oldest_id == 0 || entry->id < count->oldest_id)
		{
			count->oldest_id = entry->id;
			count->oldest = ev.published_at;
		}
	}
	return true;
}

/* How many ids were given out after those of the entries looked at, about. */
static int64
ids_after(const BacklogCount *count)
{
	EdaSecurityContext ctx;
	bool		isnull;
	int64		last;

	EdaSpiBegin(&ctx);
	EdaSpiQuery("SELECT last_value FROM eda.event_id_seq",
				0, NULL, NULL, NULL, count->snapshot);
	last = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull));
	EdaSpiEnd(&ctx);
	return Max(last - count->last_id, 0);
}

static int64
estimated_backlog(const BacklogCount *count)
{
	double		backlog = (double) count->matched;

	if (count->candidates > count->sampled)
		backlog *= (double) count->candidates / count->sampled;
	if (count->cut_short)
		backlog *= 1 + (double) ids_after(count) / count->scanned;
	return (int64) backlog;
}

/*
 * eda._backlog(subscription_id, OUT backlog, OUT oldest): about how many
 * events a subscription has not got to, retries aside, and when the oldest
 * of them was published.  NULL where there is no such subscription that the
 * current user sees, and on a standby, whose snapshots don't tell transactions from savepoints.
 */
Datum
eda_backlog(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[2] = {0};
	bool		nulls[2] = {true, true};
	EdaSubscription *sub;
	EdaCursor  *cursors = NULL;
	int			ncursors;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("function returning record called in context that cannot accept type record")));
	desc = BlessTupleDesc(desc);

	EdaRequireArg(fcinfo, 0, "subscription_id");
	sub = RecoveryInProgress() ? NULL : EdaSubscriptionLoad(PG_GETARG_INT32(0));
	if (sub != NULL && EdaMaySee(sub->owner))
		cursors = EdaCursorLoadAll(sub->id, &ncursors);
	if (cursors != NULL)
	{
		BacklogCount count = {0};
		EdaXidRange *ranges;
		int			nranges;

		count.sub = sub;
		count.cursors = cursors;
		count.snapshot = GetActiveSnapshot();

		nranges = EdaSnapshotWindow(EdaCursorOldest(cursors, ncursors),
									EdaSnapshotFrom(count.snapshot, true),
									&ranges);
		count.reader = EdaLogReaderOpen();
		EdaLogScan(ranges, nranges, count_entry, &count);
		EdaLogReaderClose(count.reader);

		values[0] = Int64GetDatum(estimated_backlog(&count));
		nulls[0] = false;
		values[1] = TimestampTzGetDatum(count.oldest);
		nulls[1] = count.oldest_id == 0;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/*
 * Segments
 */

/* Names of those of the subscriptions that keep a segment, as text[]; null: none does. */
static Datum
pinned_by(const EdaSegment *segment, List *subs, List *cursors, bool *isnull)
{
	ArrayBuildState *names = NULL;
	List	   *ids;
	ListCell   *lc;

	*isnull = true;
	if (segment->state == EDA_SEGMENT_OPEN)
		return (Datum) 0;
	ids = EdaSegmentNeededBy(segment, cursors);
	foreach(lc, subs)
	{
		EdaSubscription *sub = lfirst(lc);

		if (list_member_int(ids, sub->id))
			names = accumArrayResult(names, CStringGetTextDatum(sub->name), false, TEXTOID,
									 CurrentMemoryContext);
	}
	if (names == NULL)
		return (Datum) 0;
	*isnull = false;
	return makeArrayResult(names, CurrentMemoryContext);
}

/*
 * eda._segments(): the segments of the log.  First and last id and the oldest
 * time are those of the first and last thousand rows in transaction order,
 * for which the whole segment need not be read.  pinned_by is empty for the
 * current one: nobody keeps it from being retired; and it names only what the
 * current user sees.
 */
Datum
eda_segments(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EdaSecurityContext ctx;
	SPITupleTable *segments;
	uint64		nsegments;
	EdaSegment *rows;
	int			nrows;
	List	   *subs;
	List	   *cursors;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);

	nrows = EdaSegments(&rows);
	subs = EdaSubscriptionLoadAll();
	/* asked before we are the extension's owner */
	foreach(lc, subs)
	{
		if (!EdaMaySee(((EdaSubscription *) lfirst(lc))->owner))
			subs = foreach_delete_current(subs, lc);
	}
	cursors = EdaCursorLoadEvery();

	EdaSpiBegin(&ctx);
	nsegments = EdaSpiQuery("SELECT s.segment, n.nspname::text,"
							" c.relname::text, pg_catalog.pg_total_relation_size(c.oid)"
							" FROM eda.segment s"
							" JOIN pg_catalog.pg_class c ON c.oid = s.relation"
							" JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
							" WHERE s.state IN ('o', 'c', 's')"
							" ORDER BY s.segment",
							0, NULL, NULL, NULL, GetActiveSnapshot());
	segments = SPI_tuptable;
	for (uint64 i = 0; i < nsegments; i++)
	{
		HeapTuple	tup = segments->vals[i];
		Datum		values[6] = {0};
		bool		nulls[6] = {0};
		char	   *relname;
		char	   *sql;
		HeapTuple	ends;
		TupleDesc	desc;

		values[0] = SPI_getbinval(tup, segments->tupdesc, 1, &nulls[0]);
		values[3] = SPI_getbinval(tup, segments->tupdesc, 4, &nulls[3]);
		relname = quote_qualified_identifier(SPI_getvalue(tup, segments->tupdesc, 2),
											 SPI_getvalue(tup, segments->tupdesc, 3));

		/* The table is another one each time: no plan to keep. */
		sql = psprintf("SELECT min(id), max(id), min(published_at)"
					   " FROM ((SELECT id, published_at FROM %s"
					   " ORDER BY xid, id LIMIT 1000)"
					   " UNION ALL (SELECT id, published_at FROM %s"
					   " ORDER BY xid DESC, id DESC LIMIT 1000)) ends",
					   relname, relname);
		if (SPI_execute_snapshot(SPI_prepare(sql, 0, NULL), NULL, NULL,
								 GetActiveSnapshot(), InvalidSnapshot,
								 true, false, 0) != SPI_OK_SELECT ||
			SPI_processed != 1)
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not read segment %s", relname)));
		ends = SPI_tuptable->vals[0];
		desc = SPI_tuptable->tupdesc;
		values[1] = SPI_getbinval(ends, desc, 1, &nulls[1]);
		values[2] = SPI_getbinval(ends, desc, 2, &nulls[2]);
		values[4] = SPI_getbinval(ends, desc, 3, &nulls[4]);
		nulls[5] = true;
		for (int j = 0; j < nrows; j++)
		{
			if (rows[j].number == DatumGetInt32(values[0]))
				values[5] = pinned_by(&rows[j], subs, cursors, &nulls[5]);
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	EdaSpiEnd(&ctx);
	return (Datum) 0;
}
