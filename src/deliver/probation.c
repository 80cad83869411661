/*-------------------------------------------------------------------------
 *
 * deliver/probation.c
 *	  What is done about events that crash the server.
 *
 *	1. Who did it is found in the map of events in flight (workers/inflight.c)
 *	   after the restart.  The first executor that takes up a lane of the
 *	   subscription, before any of its lanes runs, writes it to eda.suspect
 *	   and raises eda.subscription.crashes, in a transaction of its own that is flushed; then
 *	   the map forgets it.  A crash in between has it written once more:
 *	   the row keeps which crash it counted last, so it is not counted again.
 *	2. While `crashes` is above 0 each step reads eda.suspect; at 0, which is always but after
 *	   a crash, none does.
 *	3. Probation is mode SINGLE, one event a transaction, with the WAL flushed
 *	   before the handler is called and at the commit: a crash loses nothing
 *	   but the event at hand, and names it.  A lane is on probation until one of its events was
 *	   handled, and no suspect is left that could have its turn in the log.
 *	4. A suspect is an event, or a batch (event_id 0) of which one event did it: at its
 *	   commit, where deferred triggers run, or in a set-wise handler.  A
 *	   batch is off the list when its last event has had its turn.
 *	5. A suspected event does not run when its turn comes in the log, but is
 *	   put off to eda.retry, with a back-off; attempts are not counted.  There
 *	   it is the first of its key (of its lane, with `strict`), and all
 *	   others go on.  When it is due it runs alone; handled, its row goes.
 *	6. At the third crash (EDA_MAX_EVENT_CRASHES) it is a dead letter, `crash`,
 *	   when its turn comes.
 *	7. Six crashes (EDA_MAX_CRASHES) of a subscription without a success block it as
 *	   `crashing`, until somebody resumes it or changes its definition: the
 *	   server is not restarted for ever for a broken handler.  A success
 *	   puts `crashes` to 0, or to 1 for as long as there are suspects.
 *	8. Suspects that do not wait in eda.retry, and were on record before the
 *	   window began that their lane has come to, were skipped or moved away
 *	   from: they go.
 *
 * eda.suspect is written as the extension's owner, under the subscription's lock.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/probation.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/at_commit.h"
#include "base/catalog.h"
#include "base/security.h"
#include "base/wal.h"
#include "deliver/lane.h"
#include "deliver/probation.h"
#include "deliver/state.h"
#include "deliver/turn.h"
#include "publish/publish.h"
#include "workers/workers.h"

/* A row of eda.suspect. */
typedef struct Suspect
{
	int64		event_id;
	int64		until_id;
	uint64		xid;			/* of the transaction that wrote it */
	int32		crashes;
	bool		mine;			/* of this lane */
	bool		waits;			/* in eda.retry */
} Suspect;

static uint64
execute(const char *sql, int32 subscription_id, int64 arg, int expected)
{
	static const Oid types[] = {INT4OID, INT8OID};
	EdaSecurityContext ctx;
	Datum		values[2];
	uint64		n;

	values[0] = Int32GetDatum(subscription_id);
	values[1] = Int64GetDatum(arg);
	EdaSpiBegin(&ctx);
	n = EdaSpiExecute(sql, 2, types, values, NULL, expected);
	EdaSpiEnd(&ctx);
	return n;
}

/* The same for a statement that returns one integer; -1: no row. */
static int32
execute_returning(const char *sql, int nargs, const Oid *types, Datum *values, int expected)
{
	EdaSecurityContext ctx;
	int32		result = -1;

	EdaSpiBegin(&ctx);
	if (EdaSpiExecute(sql, nargs, types, values, NULL, expected) > 0)
	{
		bool		isnull;

		result = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
											 SPI_tuptable->tupdesc, 1, &isnull));
	}
	EdaSpiEnd(&ctx);
	return result;
}


/* ---- after a crash ------------------------------------------------------ */

bool
EdaProbationIsDue(const EdaSubscription *sub)
{
	int			pos = 0;

	return EdaInflightCulprit(EdaSubscriptionRelId(), sub->id, &pos) != NULL;
}

/* An event that was tried from eda.retry waits there, with another due time. */
static void
put_off_waiting(const EdaSubscription *sub, int64 event_id, int crashes, const char *message)
{
	static const Oid types[] = {INT4OID, INT8OID, TIMESTAMPTZOID, TEXTOID};
	EdaSecurityContext ctx;
	Datum		values[4];

	values[0] = Int32GetDatum(sub->id);
	values[1] = Int64GetDatum(event_id);
	values[2] = TimestampTzGetDatum(crashes >= EDA_MAX_EVENT_CRASHES ? GetCurrentTimestamp() :
									EdaBackoffFromNow(sub, crashes));
	values[3] = CStringGetTextDatum(message);
	EdaSpiBegin(&ctx);
	EdaSpiExecute("UPDATE eda.retry SET next_attempt_at = $3, deliveries = deliveries + 1,"
				  " attempt_history = attempt_history OPERATOR(pg_catalog.||) pg_catalog.clock_timestamp(),"
				  " reason = 'crash', error_code = '57P02', error_message = $4,"
				  " error_detail = NULL, error_context = NULL"
				  " WHERE subscription_id = $1 AND event_id = $2 AND next_attempt_at IS NOT NULL",
				  4, types, values, NULL, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);
	EdaWakeAtCommit(EDA_WAKE_RETRIES);
}

/* How often this culprit has crashed the server by now; -1: this crash is counted already. */
static int32
count_crash(const EdaCulprit *culprit)
{
	static const Oid types[] = {INT4OID, INT2OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID};
	Datum		values[6];
	int32		crashes;

	values[0] = Int32GetDatum(culprit->subscription_id);
	values[1] = Int16GetDatum(culprit->lane);
	values[2] = Int64GetDatum(culprit->event_id);
	values[3] = Int64GetDatum(culprit->last_id);
	values[4] = Int64GetDatum(culprit->crash_id);
	values[5] = TimestampTzGetDatum(culprit->at);

	/* an event counts for itself, whatever its lane is now */
	crashes = execute_returning("UPDATE eda.suspect SET crashes = crashes + 1, lane = $2, until_id = $4,"
								" crash_id = $5, last_at = $6, xid = pg_catalog.pg_current_xact_id()"
								" WHERE subscription_id = $1 AND event_id = $3"
								" AND ($3 <> 0 OR lane = $2) AND crash_id <> $5 RETURNING crashes",
								6, types, values, SPI_OK_UPDATE_RETURNING);
	if (crashes < 0)
		crashes = execute_returning("INSERT INTO eda.suspect"
									" (subscription_id, lane, event_id, until_id, crashes, crash_id, last_at)"
									" VALUES ($1, $2, $3, $4, 1, $5, $6)"
									" ON CONFLICT DO NOTHING RETURNING crashes",
									6, types, values, SPI_OK_INSERT_RETURNING);
	return crashes;
}

bool
EdaProbationRecord(const EdaSubscription *sub)
{
	Oid			relid = EdaSubscriptionRelId();
	const EdaCulprit *culprit;
	int			pos = 0;

	/* one lane at a time: the count is the same for all */
	if (!EdaSubscriptionTryLock(sub->id, ShareUpdateExclusiveLock))
		return false;
	while ((culprit = EdaInflightCulprit(relid, sub->id, &pos)) != NULL)
	{
		static const Oid types[] = {INT4OID};
		Datum		values[1];
		int32		crashes = count_crash(culprit);
		int32		total;
		char	   *message;
		ErrorData	edata = {0};

		if (crashes < 0)
			continue;
		values[0] = Int32GetDatum(sub->id);
		total = execute_returning("UPDATE eda.subscription SET crashes = crashes + 1"
								  " WHERE subscription_id = $1 RETURNING crashes",
								  1, types, values, SPI_OK_UPDATE_RETURNING);
		if (culprit->event_id != 0)
			message = psprintf("the server crashed while event %lld was handled",
							   (long long) culprit->event_id);
		else
			message = psprintf("the server crashed while a batch up to event %lld was handled",
							   (long long) culprit->last_id);
		if (culprit->event_id != 0)
			put_off_waiting(sub, culprit->event_id, crashes, message);
		edata.sqlerrcode = ERRCODE_CRASH_SHUTDOWN;
		edata.message = message;
		EdaSubscriptionNoteError(sub->id, &edata);
		ereport(LOG,
				(errmsg("%s by subscription \"%s\"", message, sub->name),
				 errdetail("Crash number %d of this %s, number %d of the subscription since an event was handled.",
						   crashes, culprit->event_id != 0 ? "event" : "lane's batches", total)));
		if (total >= EDA_MAX_CRASHES)
			EdaSubscriptionBlock(sub->id, EDA_BLOCK_CRASHING,
								 psprintf("its handler crashed the server %d times in a row; eda.resume() lets it go on",
										  total),
								 0, NULL, NULL);
	}
	EdaSubscriptionsChanged();
	ForceSyncCommit();
	return true;
}

void
EdaProbationRecorded(const EdaSubscription *sub)
{
	EdaInflightForget(EdaSubscriptionRelId(), sub->id);
}


/* The rows of an event, unless it is to be tried again; of a batch.  True: there was one. */
static bool
forget_event(int32 subscription_id, int64 event_id)
{
	return execute("DELETE FROM eda.suspect WHERE subscription_id = $1 AND event_id = $2"
				   " AND NOT EXISTS (SELECT FROM eda.retry r"
				   " WHERE r.subscription_id = $1 AND r.event_id = $2)",
				   subscription_id, event_id, SPI_OK_DELETE) > 0;
}

static bool
forget_batch(int32 subscription_id, int64 until_id)
{
	return execute("DELETE FROM eda.suspect WHERE subscription_id = $1 AND event_id = 0 AND until_id = $2",
				   subscription_id, until_id, SPI_OK_DELETE) > 0;
}

/* ---- a step on probation -------------------------------------------------- */

/* The subscription's suspects, in lane->suspects; the step's memory. */
static void
load_suspects(EdaLane *lane)
{
	static const Oid types[] = {INT4OID, INT4OID, INT4OID};
	MemoryContext mcxt = CurrentMemoryContext;
	EdaSecurityContext ctx;
	Datum		values[3];

	lane->suspects = NIL;
	values[0] = Int32GetDatum(lane->subscription_id);
	values[1] = Int32GetDatum(lane->lane_no);
	values[2] = Int32GetDatum(lane->sub->lanes);
	EdaSpiBegin(&ctx);
	EdaSpiExecute("SELECT event_id, until_id, crashes, lane % $3 = $2, xid,"
				  " EXISTS (SELECT FROM eda.retry r WHERE r.subscription_id = s.subscription_id"
				  " AND r.event_id = s.event_id)"
				  " FROM eda.suspect s WHERE subscription_id = $1",
				  3, types, values, NULL, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Suspect    *suspect = MemoryContextAlloc(mcxt, sizeof(Suspect));
		MemoryContext old;
		bool		isnull;

		suspect->event_id = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
		suspect->until_id = DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull));
		suspect->crashes = DatumGetInt32(SPI_getbinval(tuple, desc, 3, &isnull));
		suspect->mine = DatumGetBool(SPI_getbinval(tuple, desc, 4, &isnull));
		suspect->xid = U64FromFullTransactionId(DatumGetFullTransactionId(SPI_getbinval(tuple, desc, 5, &isnull)));
		suspect->waits = DatumGetBool(SPI_getbinval(tuple, desc, 6, &isnull));
		old = MemoryContextSwitchTo(mcxt);
		lane->suspects = lappend(lane->suspects, suspect);
		MemoryContextSwitchTo(old);
	}
	EdaSpiEnd(&ctx);
}

/* The lane has passed the event, which waits for nothing. */
static bool
is_stale(const EdaLane *lane, const Suspect *suspect)
{
	return suspect->mine && !suspect->waits && EdaSnapshotSees(lane->cursor.from, suspect->xid);
}

static void
remove_stale(EdaLane *lane)
{
	ListCell   *lc;

	foreach(lc, lane->suspects)
	{
		Suspect    *suspect = lfirst(lc);

		if (!is_stale(lane, suspect))
			continue;
		if (suspect->event_id != 0)
			forget_event(lane->subscription_id, suspect->event_id);
		else
			forget_batch(lane->subscription_id, suspect->until_id);
		lane->suspects = foreach_delete_current(lane->suspects, lc);
	}
}

void
EdaProbationBegin(EdaLane *lane, bool from_retry)
{
	bool		alone = !lane->vouched;
	ListCell   *lc;

	lane->suspects = NIL;
	if (lane->sub->crashes == 0)
		return;
	load_suspects(lane);
	remove_stale(lane);
	foreach(lc, lane->suspects)
	{
		Suspect    *suspect = lfirst(lc);

		/* one that waits does not run from the log, an unknown one only in its lane */
		if (suspect->event_id == 0 ? suspect->mine : (!suspect->waits || from_retry))
			alone = true;
	}
	if (!alone)
		return;
	lane->mode = EDA_LANE_SINGLE;
	EdaFlushWal();
	ForceSyncCommit();
}

static Suspect *
find_suspect(const EdaLane *lane, int64 event_id)
{
	ListCell   *lc;

	foreach(lc, lane->suspects)
	{
		Suspect    *suspect = lfirst(lc);

		if (suspect->event_id == event_id)
			return suspect;
	}
	return NULL;
}

bool
EdaProbationSuspects(const EdaLane *lane, int64 event_id)
{
	return lane->suspects != NIL && find_suspect(lane, event_id) != NULL;
}

bool
EdaProbationHolds(EdaLane *lane, EdaItem *item)
{
	Suspect    *suspect = find_suspect(lane, item->ev.id);
	ErrorData  *edata;
	TimestampTz due;

	if (suspect == NULL || (item->from_retry && suspect->crashes < EDA_MAX_EVENT_CRASHES))
		return false;

	EdaWakeAtCommit(EDA_WAKE_RETRIES);
	edata = MemoryContextAllocZero(lane->step_mcxt, sizeof(ErrorData));
	edata->sqlerrcode = ERRCODE_CRASH_SHUTDOWN;
	if (suspect->crashes >= EDA_MAX_EVENT_CRASHES)
	{
		edata->message = MemoryContextStrdup(lane->step_mcxt,
											 psprintf("the server crashed %d times while this event was handled",
													  suspect->crashes));
		EdaLaneNoteDue(lane, EdaRetryCrashed(lane->sub, lane->lane_no, item, edata, 0));
		lane->cursor.failed++;
		lane->step.last_error = edata;
		if (item->from_retry)
			EdaLaneNoteGone(lane, &item->ev);
		return true;
	}

	edata->message = psprintf("the server crashed while event %lld was handled",
							  (long long) item->ev.id);
	due = EdaBackoffFromNow(lane->sub, suspect->crashes);
	EdaLaneNoteDue(lane, EdaRetryCrashed(lane->sub, lane->lane_no, item, edata, due));
	EdaLaneNoteWaiting(lane, &item->ev);
	return true;
}

/*
 * `crashes` of a subscription that works: 0, or 1 while there are suspects, so that
 * they are looked at.
 */
static void
lower_crashes(EdaLane *lane)
{
	int32		target = lane->suspects != NIL ? 1 : 0;

	if (lane->sub->crashes != target &&
		execute("UPDATE eda.subscription SET crashes = $2"
				" WHERE subscription_id = $1 AND crashes > $2",
				lane->subscription_id, target, SPI_OK_UPDATE) > 0)
		EdaSubscriptionsChanged();
}

void
EdaProbationEnd(EdaLane *lane)
{
	ListCell   *lc;
	bool		gone = false;

	/* a probe that failed leaves its event where it is */
	if (lane->sub->crashes == 0 || lane->step.probe_failed)
		return;
	foreach(lc, lane->suspects)
	{
		Suspect    *suspect = lfirst(lc);
		bool		over;

		if (suspect->event_id == 0)
			over = suspect->mine && suspect->until_id == lane->turn_id &&
				forget_batch(lane->subscription_id, lane->turn_id);
		else
			over = suspect->event_id == lane->turn_id &&
				forget_event(lane->subscription_id, lane->turn_id);
		if (over)
		{
			lane->suspects = foreach_delete_current(lane->suspects, lc);
			gone = true;
		}
	}
	if (lane->cursor.handled != lane->step.saved.handled || (gone && lane->sub->crashes == 1))
		lower_crashes(lane);
}

/* ---- commands --------------------------------------------------------------- */

void
EdaProbationPardon(const EdaSubscription *sub)
{
	if (sub->crashes == 0)
		return;
	EdaProbationForget(sub->id);
	execute("UPDATE eda.subscription SET crashes = $2 WHERE subscription_id = $1",
			sub->id, 0, SPI_OK_UPDATE);
	if (sub->block == EDA_BLOCK_CRASHING)
		EdaSubscriptionUnblock(sub->id);
}

void
EdaProbationForget(int32 subscription_id)
{
	execute("DELETE FROM eda.suspect WHERE subscription_id = $1 AND event_id >= $2",
			subscription_id, 0, SPI_OK_DELETE);
}

void
EdaProbationSkipped(int32 subscription_id, int64 event_id)
{
	(void) forget_event(subscription_id, event_id);
}

void
EdaProbationNewLanes(int32 subscription_id)
{
	/* a batch's events may be in several lanes now */
	execute("DELETE FROM eda.suspect WHERE subscription_id = $1 AND event_id = $2",
			subscription_id, 0, SPI_OK_DELETE);
}
