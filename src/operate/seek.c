/*-------------------------------------------------------------------------
 *
 * operate/seek.c
 *	  Where a subscription is in the log: its start, eda.seek, eda.replay.
 *
 *	1. eda.seek moves the position in the log.  It holds the subscription's
 *	   lock in AccessExclusiveLock, so no batch is at hand, and puts the
 *	   cursors of all lanes to one place.  Executors read them anew, as the
 *	   epoch has moved; a batch that relied on what they said before cannot store its own.
 *	2. 'latest' is a finished window that ends at a snapshot taken here, in which this transaction
 *	   counts as in progress: what commits from now on is after it, own events included.  Those
 *	   that this transaction published before have a lower id than start_id and are skipped. Any
 *	   other place is a window that ends at the same snapshot.  Its beginning may be a snapshot
 *	   that nobody took: all that had ended by now below some xid.  Who is in progress now is in
 *	   progress in both, so what commits later comes, whatever its id or its xid.
 *	3. What waits in eda.retry stays and goes on, but for events that are
 *	   ahead of the new position: these come again from the log, as new ones.
 *	   Dead letters stay.
 *	4. The log's hold lock, taken before the position is determined, keeps the
 *	   segments that it needs from being retired until others can see it; those that
 *	   eda.replay reads, until it has.
 *	5. eda.replay puts copies of events that do not come by themselves any more
 *	   at the end of the waiting ones, in id order.  It takes the lowest ids first,
 *	   so many at a time, and lets SQL sort who is first of its key.
 *	6. Neither can be called by a handler of that subscription: the batch at
 *	   hand has read what they change.
 *	7. Both look at everything as of now, also in a transaction at REPEATABLE
 *	   READ, whose snapshot is older than the lock.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/operate/seek.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/args.h"
#include "base/at_commit.h"
#include "base/security.h"
#include "base/shmem.h"
#include "deliver/deliver.h"
#include "log/log.h"
#include "operate/seek.h"
#include "publish/publish.h"
#include "subscription/subscription.h"

PG_FUNCTION_INFO_V1(eda_seek_word);
PG_FUNCTION_INFO_V1(eda_seek_time);
PG_FUNCTION_INFO_V1(eda_seek_id);
PG_FUNCTION_INFO_V1(eda_replay);

/* Events that eda.replay has in memory at once, some thirty bytes each. */
#define REPLAY_AT_ONCE	(256 * 1024)

/*
 * Positions
 */

/* What is visible now; this transaction, which gets an xid, is in progress. */
static EdaSnapshot *
now_without_own(void)
{
	(void) GetTopFullTransactionId();
	return EdaSnapshotFrom(GetLatestSnapshot(), true);
}

void
EdaPositionEarliest(EdaPosition *pos)
{
	memset(pos, 0, sizeof(EdaPosition));
	pos->from = pos->to = EdaSnapshotEmpty();
	pos->pos_id = EDA_WINDOW_DONE;
}

/* What commits from now on, this transaction as a whole included. */
static void
position_now(EdaPosition *pos)
{
	memset(pos, 0, sizeof(EdaPosition));
	pos->from = pos->to = now_without_own();
	pos->pos_id = EDA_WINDOW_DONE;
}

void
EdaPositionLatest(EdaPosition *pos)
{
	position_now(pos);
	pos->start_snapshot = pos->to;
	EdaLogLock();
	EdaTakeIds(&pos->start_id, 1);
	pos->start_xid = U64FromFullTransactionId(GetTopFullTransactionId());
}

void
EdaPositionNotBefore(EdaPosition *pos, TimestampTz time)
{
	pos->has_start_at = true;
	pos->start_at = time;
	/* a clock that is set back later must not make new events old ones */
	if (time <= GetCurrentTimestamp())
		pos->start_bound = now_without_own();
}

static Datum
snapshot_or_null(const EdaSnapshot *s, char *null_flag)
{
	*null_flag = s == NULL ? 'n' : ' ';
	return s == NULL ? (Datum) 0 : PointerGetDatum(EdaSnapshotEncode(s));
}

void
EdaPositionStore(int32 subscription_id, const EdaPosition *pos)
{
	static const Oid types[] = {
		INT4OID, TIMESTAMPTZOID, XID8OID, INT8OID, BYTEAOID, BYTEAOID
	};
	EdaSecurityContext ctx;
	Datum		values[6];
	char		nulls[6] = {' ', ' ', ' ', ' ', ' ', ' '};

	values[0] = Int32GetDatum(subscription_id);
	values[1] = TimestampTzGetDatum(pos->start_at);
	if (!pos->has_start_at)
		nulls[1] = 'n';
	values[2] = FullTransactionIdGetDatum(FullTransactionIdFromU64(pos->start_xid));
	values[3] = Int64GetDatum(pos->start_id);
	if (pos->start_xid == 0)
		nulls[2] = nulls[3] = 'n';
	values[4] = snapshot_or_null(pos->start_snapshot, &nulls[4]);
	values[5] = snapshot_or_null(pos->start_bound, &nulls[5]);

	EdaSpiBegin(&ctx);
	EdaSpiExecute("UPDATE eda.subscription SET start_at = $2, start_xid = $3, start_id = $4,"
				  " start_snapshot = $5, start_bound = $6, fence = NULL, fence_pos = NULL"
				  " WHERE subscription_id = $1",
				  6, types, values, nulls, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);
}

/* All that `s` sees of the xids below xmax. */
static EdaSnapshot *
cut_snapshot(const EdaSnapshot *s, uint64 xmax)
{
	EdaSnapshot *cut = EdaSnapshotCopy(s);

	if (xmax >= s->xmax)
		return cut;
	while (cut->nxip > 0 && cut->xip[cut->nxip - 1] >= xmax)
		cut->nxip--;
	cut->xmax = xmax;
	cut->xmin = cut->nxip > 0 ? Min(cut->xmin, cut->xip[0]) : xmax;
	return cut;
}

/* What both see. */
static EdaSnapshot *
common_snapshot(const EdaSnapshot *a, const EdaSnapshot *b)
{
	uint64		xmax = Min(a->xmax, b->xmax);
	EdaSnapshot *s = palloc(offsetof(EdaSnapshot, xip) + (a->nxip + b->nxip) * sizeof(uint64));
	int			i = 0;
	int			j = 0;

	s->xmax = xmax;
	s->nxip = 0;
	while (i < a->nxip || j < b->nxip)
	{
		uint64		x = i < a->nxip ? a->xip[i] : PG_UINT64_MAX;
		uint64		y = j < b->nxip ? b->xip[j] : PG_UINT64_MAX;

		if (Min(x, y) >= xmax)
			break;
		s->xip[s->nxip++] = Min(x, y);
		if (x <= y)
			i++;
		if (y <= x)
			j++;
	}
	s->xmin = s->nxip > 0 ? s->xip[0] : xmax;
	return s;
}

/* Whatever is there that `from` does not see, transactions in progress and this one included. */
static uint64
scan_since(const EdaSnapshot *from, EdaLogEntryCallback callback, void *arg)
{
	EdaSnapshot *all = EdaSnapshotEmpty();
	EdaXidRange *ranges;
	int			nranges;

	all->xmin = all->xmax = PG_UINT64_MAX;
	nranges = EdaSnapshotWindow(from, all, &ranges);
	return EdaLogScan(ranges, nranges, callback, arg);
}

/*
 * Seek
 */

typedef struct Seek
{
	const EdaSubscription *sub; /* as it was */
	const EdaCursor *cursors;	/* where it was, by lane */
	EdaSubscription after;		/* as it will be */
	EdaCursor	place;			/* where all its lanes will be */
	EdaLogReader *reader;
	HTAB	   *waiting;		/* ids of the events in eda.retry */
	bool		removed;		/* of which some were removed */
	bool		again;			/* events come that were passed before */
	int64		skipped;		/* pending before, not after; less the other way round */

	/* to find the lowest xid of what the place is to be before */
	bool		by_id;
	int64		min_id;
	uint64		lowest;
} Seek;

static void
set_position(Seek *seek, const EdaPosition *pos)
{
	seek->after.has_start_at = pos->has_start_at;
	seek->after.start_at = pos->start_at;
	seek->after.start_bound = pos->start_bound;
	seek->after.start_xid = pos->start_xid;
	seek->after.start_id = pos->start_id;
	seek->place.from = pos->from;
	seek->place.to = pos->to;
	seek->place.pos_id = pos->pos_id;
}

static bool
find_lowest(const EdaLogEntry *entry, void *arg)
{
	Seek	   *seek = arg;
	ItemPointerData tid = entry->tid;
	EdaEvent	ev;

	if (entry->xid >= seek->lowest || (seek->by_id && entry->id < seek->min_id) ||
		!EdaSubscriptionMayGet(&seek->after, EDA_ANY_LANE, entry))
		return true;
	if (EdaLogFetch(seek->reader, entry->id, entry->segment, &tid, GetActiveSnapshot(), &ev) &&
		EdaSubscriptionGets(&seek->after, &ev))
		seek->lowest = entry->xid;
	return true;
}

/* Count an event that is pending only before or only after; let none be there twice. */
static bool
compare_event(const EdaLogEntry *entry, void *arg)
{
	Seek	   *seek = arg;
	ItemPointerData tid = entry->tid;
	EdaEvent	ev;
	bool		before = EdaCursorsMayGet(seek->sub, seek->cursors, entry);
	bool		after = !EdaCursorPassed(&seek->place, entry->xid, entry->id) &&
		EdaSubscriptionMayGet(&seek->after, EDA_ANY_LANE, entry);
	bool		waits = after && hash_search(seek->waiting, &entry->id, HASH_FIND, NULL) != NULL;

	if (!before && !after)
		return true;
	if (before && after && !waits && !seek->sub->has_start_at && !seek->after.has_start_at)
		return true;
	if (!EdaLogFetch(seek->reader, entry->id, entry->segment, &tid, GetActiveSnapshot(), &ev))
		return true;
	before = before && EdaSubscriptionGets(seek->sub, &ev);
	after = after && EdaSubscriptionGets(&seek->after, &ev);

	seek->skipped += (before ? 1 : 0) - (after ? 1 : 0);
	seek->again |= after && !before;
	if (after && waits)
		seek->removed |= EdaQueueDelete(seek->sub->id, entry->id, NULL);
	return true;
}

/* Tell the workers that position and waiting events of a subscription changed. */
static void
position_changed(int32 subscription_id)
{
	EdaSubscriptionTouch(subscription_id);
	EdaWakeAtCommit(EDA_WAKE_RETRIES);
}

static void
begin_seek(Seek *seek, const char *name)
{
	int			n;

	memset(seek, 0, sizeof(Seek));
	EdaRefuseOwnHandler(name, "eda.seek()");
	seek->sub = EdaSubscriptionForChange(name, "eda.seek()", false);
	seek->after = *seek->sub;
	EdaLogHold();

	PushActiveSnapshot(GetLatestSnapshot());
	seek->cursors = EdaCursorLoadAll(seek->sub->id, &n);
	PopActiveSnapshot();
	if (seek->cursors == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("subscription \"%s\" has no cursor", name)));
}

/*
 * Read the log as of now: no earlier than the position's own snapshot, or an
 * event that commits between the two would be lost.
 */
static void
begin_reading(Seek *seek)
{
	/* the caller's own events count, too */
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	seek->reader = EdaLogReaderOpen();
}

static void
end_reading(Seek *seek)
{
	EdaLogReaderClose(seek->reader);
	PopActiveSnapshot();
}

/*
 * From now back to before the first event that neither the position nor min_id
 * excludes; where there is none, it stays where it is.
 */
static void
go_back(Seek *seek, EdaPosition *pos)
{
	set_position(seek, pos);
	seek->lowest = PG_UINT64_MAX;
	begin_reading(seek);
	scan_since(EdaSnapshotEmpty(), find_lowest, seek);
	end_reading(seek);
	pos->from = cut_snapshot(pos->to, seek->lowest);
	pos->pos_id = PG_INT64_MIN;
}

/* Go there.  Returns the number of events skipped. */
static int64
finish_seek(Seek *seek, const EdaPosition *pos)
{
	EdaSubscription *sub = &seek->after;
	EdaSnapshot *since = pos->from;

	set_position(seek, pos);
	for (int i = 0; i < sub->lanes; i++)
		since = common_snapshot(since, seek->cursors[i].from);
	seek->waiting = EdaQueueIds(sub->id);
	begin_reading(seek);
	scan_since(since, compare_event, seek);
	end_reading(seek);

	EdaPositionStore(sub->id, pos);
	EdaCursorMove(sub->id, pos->from, pos->to, pos->pos_id);
	if (seek->removed)
		EdaParkingRepark(sub->id, sub->ordering);
	if (seek->again)
		EdaRecoveryForget(sub->id);

	/* at one place, the lanes can have the number that they should have */
	sub->fence = NULL;
	EdaLanesAdjust(sub, sub->ordering);
	position_changed(sub->id);
	return seek->skipped;
}

/*
 * eda.seek(subscription text, target text)
 */
Datum
eda_seek_word(PG_FUNCTION_ARGS)
{
	char	   *name = EdaTextArg(fcinfo, 0, "subscription");
	char	   *target = EdaTextArg(fcinfo, 1, "target");
	bool		latest = strcmp(target, "latest") == 0;
	EdaPosition pos;
	Seek		seek;

	if (!latest && strcmp(target, "earliest") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unrecognized target \"%s\"", target),
				 errhint("It is earliest or latest, a time as in timestamptz '2026-01-31 12:00', or an event id as in 4711::bigint.")));
	begin_seek(&seek, name);
	if (latest)
		EdaPositionLatest(&pos);
	else
		EdaPositionEarliest(&pos);
	PG_RETURN_INT64(finish_seek(&seek, &pos));
}

/*
 * eda.seek(subscription text, target timestamptz)
 */
Datum
eda_seek_time(PG_FUNCTION_ARGS)
{
	char	   *name = EdaTextArg(fcinfo, 0, "subscription");
	EdaPosition pos;
	Seek		seek;

	EdaRequireArg(fcinfo, 1, "target");
	begin_seek(&seek, name);
	position_now(&pos);
	EdaPositionNotBefore(&pos, PG_GETARG_TIMESTAMPTZ(1));
	/* nothing that is there is due in the future */
	if (pos.start_bound != NULL)
		go_back(&seek, &pos);
	PG_RETURN_INT64(finish_seek(&seek, &pos));
}

/*
 * eda.seek(subscription text, target bigint)
 */
Datum
eda_seek_id(PG_FUNCTION_ARGS)
{
	char	   *name = EdaTextArg(fcinfo, 0, "subscription");
	EdaPosition pos;
	Seek		seek;

	EdaRequireArg(fcinfo, 1, "target");
	begin_seek(&seek, name);
	position_now(&pos);
	seek.by_id = true;
	seek.min_id = PG_GETARG_INT64(1);
	go_back(&seek, &pos);
	if (seek.min_id > PG_INT64_MIN)
		pos.pos_id = seek.min_id - 1;
	PG_RETURN_INT64(finish_seek(&seek, &pos));
}

/*
 * Replay
 */

typedef struct ReplayEntry
{
	int64		id;
	ItemPointerData tid;
	uint16		segment;
	int16		lane;
} ReplayEntry;

typedef struct Replay
{
	const EdaSubscription *sub;
	const EdaCursor *cursors;
	const EdaTopicPattern *topics;	/* NULL: all that the subscription means */
	TimestampTz since;
	TimestampTz until;
	int64		max_id;
	int64		after_id;		/* those up to here are done */
	ReplayEntry *entries;		/* the lowest ids behind it */
	int			n;
	bool		truncated;		/* there are more */
	int64		limit;			/* which ids are not needed now */
} Replay;

static int
compare_id(const void *a, const void *b)
{
	int64		x = ((const ReplayEntry *) a)->id;
	int64		y = ((const ReplayEntry *) b)->id;

	return x < y ? -1 : (x > y ? 1 : 0);
}

static void
keep_lowest(Replay *replay)
{
	qsort(replay->entries, replay->n, sizeof(ReplayEntry), compare_id);
	if (replay->n > REPLAY_AT_ONCE)
	{
		int64		left_out = replay->entries[REPLAY_AT_ONCE].id;

		/* an id may be there more than once (deliver/window.c) */
		replay->n = REPLAY_AT_ONCE;
		while (replay->n > 1 && replay->entries[replay->n - 1].id == left_out)
			replay->n--;
		replay->truncated = true;
		replay->limit = replay->entries[replay->n - 1].id;
	}
}

static bool
collect_replay(const EdaLogEntry *entry, void *arg)
{
	Replay	   *replay = arg;
	const EdaSubscription *sub = replay->sub;
	ReplayEntry *new;

	if (entry->id <= replay->after_id || entry->id > replay->limit ||
		!EdaTopicPatternMayMatch(sub->pattern, entry->topic_hash) ||
		(replay->topics != NULL && !EdaTopicPatternMayMatch(replay->topics, entry->topic_hash)))
		return true;
	/* the row may say that it does not come by itself */
	if (!sub->has_start_at && EdaCursorsMayGet(sub, replay->cursors, entry))
		return true;

	if (replay->n == 2 * REPLAY_AT_ONCE)
	{
		keep_lowest(replay);
		if (entry->id > replay->limit)
			return true;
	}
	new = &replay->entries[replay->n++];
	new->id = entry->id;
	new->tid = entry->tid;
	new->segment = entry->segment;
	new->lane = EdaSubscriptionLaneOf(sub, entry->key_hash, entry->id);
	return true;
}

/* Is the event meant, and would it not come by itself? */
static bool
is_replayed(const Replay *replay, int16 lane, const EdaEvent *ev)
{
	text	   *topic = (text *) PG_DETOAST_DATUM_PACKED(PointerGetDatum(ev->topic));

	return ev->published_at >= replay->since && ev->published_at <= replay->until &&
		EdaTopicPatternMatch(replay->sub->pattern, VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic)) &&
		(replay->topics == NULL ||
		 EdaTopicPatternMatch(replay->topics, VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic))) &&
		(EdaCursorPassed(&replay->cursors[lane], ev->xid, ev->id) ||
		 !EdaSubscriptionGets(replay->sub, ev));
}

/* Which xids and ids were published in that time?  False: none. */
static bool
published_between(Replay *replay, EdaXidRange *xids)
{
	static const Oid types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	EdaSecurityContext ctx;
	Datum		values[2];
	bool		none;

	values[0] = TimestampTzGetDatum(replay->since);
	values[1] = TimestampTzGetDatum(replay->until);
	EdaSpiBegin(&ctx);
	EdaSpiQuery("SELECT min(xid), max(xid), min(id), max(id) FROM eda.log"
				" WHERE published_at >= $1 AND published_at <= $2",
				2, types, values, NULL, GetActiveSnapshot());
	xids->lo = DatumGetUInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &none));
	if (!none)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		xids->hi = DatumGetUInt64(SPI_getbinval(tuple, desc, 2, &isnull)) + 1;
		replay->after_id = DatumGetInt64(SPI_getbinval(tuple, desc, 3, &isnull)) - 1;
		replay->max_id = DatumGetInt64(SPI_getbinval(tuple, desc, 4, &isnull));
	}
	EdaSpiEnd(&ctx);
	return !none;
}

/* Put one chunk of entries, which are in id order, to the waiting events. */
static int64
replay_entries(Replay *replay, EdaLogReader *reader)
{
	MemoryContext each = AllocSetContextCreate(CurrentMemoryContext, "eda replay",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(each);
	int64		count = 0;

	for (int i = 0; i < replay->n; i++)
	{
		ReplayEntry *entry = &replay->entries[i];
		EdaEvent	ev;

		CHECK_FOR_INTERRUPTS();
		if (EdaLogFetch(reader, entry->id, entry->segment, &entry->tid, GetActiveSnapshot(), &ev) &&
			is_replayed(replay, entry->lane, &ev) &&
			EdaRetryReplay(replay->sub, entry->lane, &ev))
			count++;
		MemoryContextReset(each);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(each);
	return count;
}

/*
 * eda.replay(subscription, since, until, topics)
 */
Datum
eda_replay(PG_FUNCTION_ARGS)
{
	char	   *name = EdaTextArg(fcinfo, 0, "subscription");
	Replay		replay = {0};
	EdaXidRange xids;
	int64		count = 0;
	int			n;

	EdaRequireArg(fcinfo, 1, "since");
	EdaRequireArg(fcinfo, 2, "until");
	replay.since = PG_GETARG_TIMESTAMPTZ(1);
	replay.until = PG_GETARG_TIMESTAMPTZ(2);
	if (replay.since > replay.until)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("since must not be later than until")));
	if (!PG_ARGISNULL(3))
		replay.topics = EdaTopicPatternCompile(text_to_cstring(PG_GETARG_TEXT_PP(3)));
	EdaRefuseOwnHandler(name, "eda.replay()");
	replay.sub = EdaSubscriptionForChange(name, "eda.replay()", false);
	/* no cursor needs what is replayed */
	EdaLogHold();

	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	replay.cursors = EdaCursorLoadAll(replay.sub->id, &n);
	if (replay.cursors != NULL && published_between(&replay, &xids))
	{
		EdaLogReader *reader = EdaLogReaderOpen();

		replay.entries = MemoryContextAllocHuge(CurrentMemoryContext,
												2 * REPLAY_AT_ONCE * sizeof(ReplayEntry));
		do
		{
			replay.n = 0;
			replay.truncated = false;
			replay.limit = replay.max_id;
			EdaLogScan(&xids, 1, collect_replay, &replay);
			keep_lowest(&replay);
			count += replay_entries(&replay, reader);
			if (replay.n > 0)
				replay.after_id = replay.entries[replay.n - 1].id;
		} while (replay.truncated);
		EdaLogReaderClose(reader);
	}
	PopActiveSnapshot();

	/* those that are first of their key, or lane, are due */
	if (count > 0)
		EdaParkingRepark(replay.sub->id, replay.sub->ordering);
	position_changed(replay.sub->id);
	PG_RETURN_INT64(count);
}
