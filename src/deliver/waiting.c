/*-------------------------------------------------------------------------
 *
 * deliver/waiting.c
 *	  What waits in eda.retry, asked by its indexes.
 *
 *	1. Each question has its index, and is asked below the executor: a plan that
 *	   was made while the table was small, as a queue's often is, would read
 *	   all of it for every event when it is not.
 *	2. A queue's dead rows are at its head, where it is read.  An index scan
 *	   that passes dead entries marks them so that the next one doesn't look at their
 *	   rows, but not while an older snapshot is held anywhere.  So who works a
 *	   queue off says where its head was last (`after_seq`, `floor`), and the
 *	   entries before it are not passed again.
 *	3. Rows are deleted below the executor, too, unless somebody watches the table (base/guard.c),
 *	   as pg_repack does while it copies it.  An update needs new index entries, in those of an
 *	   administrator as well: SQL does that, by tuple id, under a lock on the table that was taken
 *	   before the row was found.
 *	4. Reading needs a snapshot of its own: a transaction at REPEATABLE READ that
 *	   waited for the subscription's lock would not see what the batch
 *	   before it has left.
 *
 * Rows of a subscription are written under its lock only.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/waiting.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/guard.h"
#include "base/security.h"
#include "deliver/waiting.h"

/* Attribute numbers of eda.retry (src/sql/30_subscription.sql). */
enum
{
	Anum_retry_subscription_id = 1,
	Anum_retry_lane,
	Anum_retry_event_id,
	Anum_retry_seq,
	Anum_retry_topic,
	Anum_retry_key,
	Anum_retry_payload,
	Anum_retry_headers,
	Anum_retry_published_at,
	Anum_retry_published_by,
	Anum_retry_correlation_id,
	Anum_retry_causation_id,
	Anum_retry_hops,
	Anum_retry_deliver_at,
	Anum_retry_attempt,
	Anum_retry_deliveries,
	Anum_retry_next_attempt_at,
	Anum_retry_attempt_history,
	Anum_retry_error_code		/* the last one that is read here */
};

/* Items that are fetched at once are this large together, but for the last one. */
#define FETCH_BYTES		(8 * 1024 * 1024)

/* A scan of one of the indexes. */
typedef struct QueueScan
{
	Relation	rel;
	Relation	index;
	LOCKMODE	lockmode;
	Snapshot	snapshot;
	SysScanDesc scan;
	int			nkeys;
	ScanKeyData keys[5];
} QueueScan;

static void
add_key(QueueScan *qs, AttrNumber attnum, StrategyNumber strategy, RegProcedure proc,
		Datum value)
{
	ScanKeyInit(&qs->keys[qs->nkeys++], attnum, strategy, proc, value);
}

/* All indexes begin with the subscription. */
static void
prepare_scan(QueueScan *qs, int32 subscription_id)
{
	qs->nkeys = 0;
	add_key(qs, Anum_retry_subscription_id, BTEqualStrategyNumber, F_INT4EQ,
			Int32GetDatum(subscription_id));
}

static void
begin_scan(QueueScan *qs, EdaRetryIndex index, LOCKMODE lockmode, Snapshot snapshot)
{
	qs->lockmode = lockmode;
	qs->rel = table_open(EdaRetryRelId(), lockmode);
	qs->index = index_open(EdaRetryIndexId(index), AccessShareLock);
	qs->snapshot = RegisterSnapshot(snapshot != NULL ? snapshot : GetLatestSnapshot());
	qs->scan = systable_beginscan_ordered(qs->rel, qs->index, qs->snapshot, qs->nkeys, qs->keys);
}

static HeapTuple
next_row(QueueScan *qs)
{
	return systable_getnext_ordered(qs->scan, ForwardScanDirection);
}

/* A lock that was taken in order to write stays to the end of the transaction. */
static void
end_queue(QueueScan *qs)
{
	UnregisterSnapshot(qs->snapshot);
	index_close(qs->index, AccessShareLock);
	table_close(qs->rel, qs->lockmode == AccessShareLock ? AccessShareLock : NoLock);
}

static void
end_scan(QueueScan *qs)
{
	systable_endscan_ordered(qs->scan);
	end_queue(qs);
}

static void
prepare_due_scan(QueueScan *qs, int32 subscription_id, int16 lane, TimestampTz floor)
{
	prepare_scan(qs, subscription_id);
	add_key(qs, Anum_retry_lane, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(lane));
	if (floor != EDA_DUE_UNKNOWN)
		add_key(qs, Anum_retry_next_attempt_at, BTGreaterEqualStrategyNumber,
				F_TIMESTAMPTZ_GE, TimestampTzGetDatum(floor));
}

/* A row as an item, copied and detoasted; *bytes: about its size. */
static EdaItem *
row_to_item(HeapTuple tuple, TupleDesc desc, Size *bytes)
{
	EdaItem    *item = palloc0(sizeof(EdaItem));
	EdaEvent   *ev = &item->ev;
	bool		isnull;
	Datum		value;

#define FIXED(attnum)	heap_getattr(tuple, (attnum), desc, &isnull)
#define VARLENA(attnum) \
	(value = heap_getattr(tuple, (attnum), desc, &isnull), \
	 isnull ? NULL : (struct varlena *) PG_DETOAST_DATUM_COPY(value))

	ev->id = DatumGetInt64(FIXED(Anum_retry_event_id));
	item->seq = DatumGetInt64(FIXED(Anum_retry_seq));
	ev->topic = VARLENA(Anum_retry_topic);
	ev->key = VARLENA(Anum_retry_key);
	ev->payload = VARLENA(Anum_retry_payload);
	ev->headers = VARLENA(Anum_retry_headers);
	ev->published_at = DatumGetTimestampTz(FIXED(Anum_retry_published_at));
	ev->published_by = DatumGetObjectId(FIXED(Anum_retry_published_by));
	ev->correlation_id = VARLENA(Anum_retry_correlation_id);
	value = FIXED(Anum_retry_causation_id);
	ev->causation_id = isnull ? 0 : DatumGetInt64(value);
	ev->hops = DatumGetInt32(FIXED(Anum_retry_hops));
	value = FIXED(Anum_retry_deliver_at);
	ev->deliver_at = isnull ? 0 : DatumGetTimestampTz(value);
	item->attempt = DatumGetInt32(FIXED(Anum_retry_attempt));
	item->deliveries = DatumGetInt32(FIXED(Anum_retry_deliveries));
	value = FIXED(Anum_retry_next_attempt_at);
	item->due = isnull ? DT_NOEND : DatumGetTimestampTz(value);
	item->from_retry = true;
	value = FIXED(Anum_retry_error_code);
	if (!isnull)
	{
		char	   *code = TextDatumGetCString(value);

		item->terminated = strcmp(code, "57P01") == 0;
		item->slow = item->terminated || strcmp(code, "57014") == 0;
		pfree(code);
	}

#undef FIXED
#undef VARLENA

	*bytes = VARSIZE_ANY(ev->payload) + (ev->headers != NULL ? VARSIZE_ANY(ev->headers) : 0);
	return item;
}

List *
EdaQueueFetch(int32 subscription_id, int16 lane, TimestampTz floor, TimestampTz until,
			  int limit)
{
	QueueScan	qs;
	HeapTuple	tuple;
	List	   *items = NIL;
	Size		total = 0;

	prepare_due_scan(&qs, subscription_id, lane, floor);
	add_key(&qs, Anum_retry_next_attempt_at, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE,
			TimestampTzGetDatum(until));
	begin_scan(&qs, EDA_RETRY_DUE, AccessShareLock, NULL);
	while (list_length(items) < limit && total < FETCH_BYTES &&
		   HeapTupleIsValid(tuple = next_row(&qs)))
	{
		Size		bytes;

		CHECK_FOR_INTERRUPTS();
		items = lappend(items, row_to_item(tuple, RelationGetDescr(qs.rel), &bytes));
		total += bytes;
	}
	end_scan(&qs);
	return items;
}

TimestampTz
EdaQueueNextDue(int32 subscription_id, int16 lane, TimestampTz floor, Snapshot snapshot,
				int64 *event_id)
{
	QueueScan	qs;
	HeapTuple	tuple;
	TimestampTz due = DT_NOEND;

	prepare_due_scan(&qs, subscription_id, lane, floor);
	begin_scan(&qs, EDA_RETRY_DUE, AccessShareLock, snapshot);
	tuple = next_row(&qs);
	if (HeapTupleIsValid(tuple))
	{
		TupleDesc	desc = RelationGetDescr(qs.rel);
		bool		isnull;

		due = DatumGetTimestampTz(heap_getattr(tuple, Anum_retry_next_attempt_at, desc, &isnull));
		if (event_id != NULL)
			*event_id = DatumGetInt64(heap_getattr(tuple, Anum_retry_event_id, desc, &isnull));
	}
	end_scan(&qs);
	return due;
}

/* When was the row's event tried last?  DT_NOBEGIN: it was not. */
static TimestampTz
last_tried(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, Anum_retry_attempt_history, desc, &isnull);
	ArrayType  *history = DatumGetArrayTypeP(value);
	TimestampTz result = DT_NOBEGIN;
	int			n = ArrayGetNItems(ARR_NDIM(history), ARR_DIMS(history));

	if (n > 0 && !ARR_HASNULL(history))
		result = ((TimestampTz *) ARR_DATA_PTR(history))[n - 1];
	/* any number of rows may be passed over */
	if ((Pointer) history != DatumGetPointer(value))
		pfree(history);
	return result;
}

int64
EdaQueueFindUntried(int32 subscription_id, int16 lane, Snapshot snapshot,
					TimestampTz until, TimestampTz since)
{
	QueueScan	qs;
	HeapTuple	tuple;
	int64		found = 0;

	prepare_due_scan(&qs, subscription_id, lane, EDA_DUE_UNKNOWN);
	add_key(&qs, Anum_retry_next_attempt_at, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE,
			TimestampTzGetDatum(until));
	begin_scan(&qs, EDA_RETRY_DUE, AccessShareLock, snapshot);
	while (found == 0 && HeapTupleIsValid(tuple = next_row(&qs)))
	{
		TupleDesc	desc = RelationGetDescr(qs.rel);
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		if (last_tried(tuple, desc) < since)
			found = DatumGetInt64(heap_getattr(tuple, Anum_retry_event_id, desc, &isnull));
	}
	end_scan(&qs);
	return found;
}

/*
 * From lane to lane, without what lies between: the first row behind one is
 * the next lane of its subscription's, or else the next subscription's.
 */
void
EdaQueueDueTimes(EdaQueueDue visit, void *arg)
{
	Relation	rel = table_open(EdaRetryRelId(), AccessShareLock);
	Relation	index = index_open(EdaRetryIndexId(EDA_RETRY_DUE), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleDesc	desc = RelationGetDescr(rel);
	int32		subscription_id = 0;
	int16		lane = 0;
	bool		in_subscription = false;

	for (;;)
	{
		ScanKeyData keys[2];
		SysScanDesc scan;
		HeapTuple	tuple;
		TimestampTz due = 0;
		bool		found;
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		ScanKeyInit(&keys[0], Anum_retry_subscription_id,
					in_subscription ? BTEqualStrategyNumber : BTGreaterStrategyNumber,
					in_subscription ? F_INT4EQ : F_INT4GT, Int32GetDatum(subscription_id));
		ScanKeyInit(&keys[1], Anum_retry_lane, BTGreaterStrategyNumber, F_INT2GT,
					Int16GetDatum(lane));
		scan = systable_beginscan_ordered(rel, index, snapshot, in_subscription ? 2 : 1, keys);
		tuple = systable_getnext_ordered(scan, ForwardScanDirection);
		found = HeapTupleIsValid(tuple);
		if (found)
		{
			subscription_id = DatumGetInt32(heap_getattr(tuple, Anum_retry_subscription_id, desc, &isnull));
			lane = DatumGetInt16(heap_getattr(tuple, Anum_retry_lane, desc, &isnull));
			due = DatumGetTimestampTz(heap_getattr(tuple, Anum_retry_next_attempt_at, desc, &isnull));
		}
		systable_endscan_ordered(scan);
		if (found)
		{
			in_subscription = true;
			visit(subscription_id, lane, due, arg);
		}
		else if (in_subscription)
			in_subscription = false;
		else
			break;
	}
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
}

static void
begin_event_scan(QueueScan *qs, int32 subscription_id, int64 event_id, LOCKMODE lockmode)
{
	prepare_scan(qs, subscription_id);
	add_key(qs, Anum_retry_event_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(event_id));
	begin_scan(qs, EDA_RETRY_PKEY, lockmode, NULL);
}

bool
EdaQueueHas(int32 subscription_id, int64 event_id)
{
	QueueScan	qs;
	bool		found;

	begin_event_scan(&qs, subscription_id, event_id, AccessShareLock);
	found = HeapTupleIsValid(next_row(&qs));
	end_scan(&qs);
	return found;
}

/* Delete a row so that triggers see it. */
static void
delete_watched(Relation rel, ItemPointer tid)
{
	static const Oid types[] = {TIDOID};
	EdaSecurityContext ctx;
	Datum		values[1];

	values[0] = PointerGetDatum(tid);
	EdaSpiBegin(&ctx);
	if (EdaSpiExecute("DELETE FROM eda.retry WHERE ctid = $1", 1, types, values, NULL, SPI_OK_DELETE) != 1)
		EdaWriteSuppressed(RelationGetRelationName(rel));
	EdaSpiEnd(&ctx);
}

bool
EdaQueueDelete(int32 subscription_id, int64 event_id, Datum *history)
{
	QueueScan	qs;
	HeapTuple	tuple;
	ItemPointerData tid;
	bool		found;
	bool		watched = false;

	begin_event_scan(&qs, subscription_id, event_id, RowExclusiveLock);
	tuple = next_row(&qs);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		bool		isnull;

		if (history != NULL)
			*history = PointerGetDatum(PG_DETOAST_DATUM_COPY(heap_getattr(tuple, Anum_retry_attempt_history,
																		  RelationGetDescr(qs.rel), &isnull)));
		tid = tuple->t_self;
		watched = EdaTableIsWatched(qs.rel);
		if (!watched)
			simple_heap_delete(qs.rel, &tid);
	}
	systable_endscan_ordered(qs.scan);
	if (watched)
		delete_watched(qs.rel, &tid);
	end_queue(&qs);
	if (found)
		CommandCounterIncrement();
	return found;
}

TimestampTz
EdaQueueRelease(int32 subscription_id, int16 lane, const char *key, int64 after_seq)
{
	static const Oid types[] = {TIDOID, TIMESTAMPTZOID};
	QueueScan	qs;
	HeapTuple	tuple;
	ItemPointerData tid;
	bool		parked = false;
	TimestampTz due;
	EdaSecurityContext ctx;
	Datum		values[2];

	prepare_scan(&qs, subscription_id);
	add_key(&qs, Anum_retry_lane, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(lane));
	/* the index is in the order of bytes, and so is what ScanKeyInit() compares by */
	if (key != NULL)
		add_key(&qs, Anum_retry_key, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(key));
	add_key(&qs, Anum_retry_seq, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(after_seq));
	begin_scan(&qs, key != NULL ? EDA_RETRY_KEY : EDA_RETRY_ORDER, RowExclusiveLock, NULL);
	tuple = next_row(&qs);
	if (HeapTupleIsValid(tuple))
	{
		parked = heap_attisnull(tuple, Anum_retry_next_attempt_at, RelationGetDescr(qs.rel));
		tid = tuple->t_self;
	}
	end_scan(&qs);
	if (!parked)
		return DT_NOEND;

	due = GetCurrentTimestamp();
	values[0] = PointerGetDatum(&tid);
	values[1] = TimestampTzGetDatum(due);
	EdaSpiBegin(&ctx);
	EdaSpiPreferIndexes();
	if (EdaSpiExecute("UPDATE eda.retry SET next_attempt_at = $2 WHERE ctid = $1",
					  2, types, values, NULL, SPI_OK_UPDATE) != 1)
		elog(ERROR, "could not release a waiting event of subscription %d", subscription_id);
	EdaSpiEnd(&ctx);
	return due;
}

HTAB *
EdaQueueIds(int32 subscription_id)
{
	HASHCTL		ctl;
	HTAB	   *ids;
	QueueScan	qs;
	HeapTuple	tuple;

	ctl.keysize = sizeof(int64);
	ctl.entrysize = sizeof(int64);
	ctl.hcxt = CurrentMemoryContext;
	ids = hash_create("eda waiting events", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	prepare_scan(&qs, subscription_id);
	begin_scan(&qs, EDA_RETRY_PKEY, AccessShareLock, NULL);
	while (HeapTupleIsValid(tuple = next_row(&qs)))
	{
		bool		isnull;
		int64		id = DatumGetInt64(heap_getattr(tuple, Anum_retry_event_id,
													RelationGetDescr(qs.rel), &isnull));

		CHECK_FOR_INTERRUPTS();
		(void) hash_search(ids, &id, HASH_ENTER, NULL);
	}
	end_scan(&qs);
	return ids;
}
