/*-------------------------------------------------------------------------
 *
 * eda_log.c
 *	  The event log: scan a window of xids, fetch.
 *
 *	1. The log is eda.log's children, the segments (eda_segment.c).  What is
 *	   written to them is eda_append.c's.
 *	2. A scan looks into the segments that are part of the log and can hold an
 *	   xid of its ranges: a sealed one says up to which xid it goes, so that
 *	   a window at the end of the log costs the same however long the log is.
 *	3. A reader keeps AccessShareLock on the segments to the end of its
 *	   transaction: until then tuple ids that a scan returned stay good for
 *	   the fetch.  Who keeps them for longer also keeps the segment's
 *	   filenumber, and asks EdaLogReaderKnows() before the first fetch.
 *	4. A row holds the top-level xid, so a rolled-back savepoint's rows are in
 *	   the index under an xid that committed, and a tuple id may be used again
 *	   after VACUUM: EdaLogFetch() leaves both to the heap's own visibility
 *	   and compares the id.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/eda_log.c
 *
 *-------------------------------------------------------------------------
 */
#include "eda.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "eda_log.h"
#include "eda_security.h"
#include "eda_segment.h"
#include "eda_topic.h"

/* As much of a row as is worth prefetching, and in which steps. */
#define PREFETCH_BYTES	1024
#define CACHE_LINE		64

/* Index entries between two looks for interrupts. */
#define SCAN_INTERRUPTS 1024

/* A segment that a reader has open. */
typedef struct EdaReaderSegment
{
	uint16		segment;
	Relation	rel;
	BlockNumber nblocks;		/* as of the last look: it has as many at least */
	TupleTableSlot *slot;
	IndexFetchTableData *fetch; /* keeps the page of the last row: the next one is likely there */
} EdaReaderSegment;

struct EdaLogReader
{
	MemoryContext context;
	ResourceOwner owner;
	List	   *segments;		/* of EdaReaderSegment * */
	EdaReaderSegment *last;		/* the one that the last fetch used */
};

bool
EdaLogIsScanIndex(Relation index)
{
	Form_pg_index form = index->rd_index;

	return index->rd_rel->relam == BTREE_AM_OID &&
		form->indnatts == 4 &&
		form->indnkeyatts == 2 &&
		form->indkey.values[0] == Anum_log_xid &&
		form->indkey.values[1] == Anum_log_id &&
		form->indkey.values[2] == Anum_log_topic_hash &&
		form->indkey.values[3] == Anum_log_key_hash &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
}

/*
 * Open a segment's (xid, id) index: the B-tree that eda made, or one like it
 * that replaced it.
 */
static Relation
open_scan_index(Relation rel)
{
	List	   *oids = RelationGetIndexList(rel);
	ListCell   *lc;

	foreach(lc, oids)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_index->indisvalid && EdaLogIsScanIndex(index))
		{
			list_free(oids);
			return index;
		}
		index_close(index, AccessShareLock);
	}

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("segment \"%s\" of the event log has no valid index on (xid, id) INCLUDE (topic_hash, key_hash)",
					RelationGetRelationName(rel)),
			 errhint("Create it with CREATE INDEX ON %s.%s (xid, id) INCLUDE (topic_hash, key_hash).",
					 EDA_SCHEMA_NAME, RelationGetRelationName(rel))));
}

static inline bool
is_behind(uint64 xid, int64 id, EdaLogPlace place)
{
	return xid > place.xid || (xid == place.xid && id > place.id);
}

/*
 * What an entry of the index on (xid, id, topic_hash, key_hash) holds.  All columns have a fixed place, and only
 * the last one may be null, which would make index_getattr() go the long way for each.
 */
static inline void
read_entry(IndexTuple tuple, EdaLogEntry *entry)
{
	const char *data = (const char *) tuple + IndexInfoFindDataOffset(tuple->t_info);
	uint32		hashes[2] = {0, 0};

	memcpy(&entry->xid, data, sizeof(uint64));
	memcpy(&entry->id, data + 8, sizeof(int64));
	entry->has_key = !IndexTupleHasNulls(tuple);
	memcpy(hashes, data + 16, entry->has_key ? 8 : 4);
	entry->topic_hash = hashes[0];
	entry->key_hash = hashes[1];
}

/*
 * Go through a part of a segment's index, from `first` to `last`; false when
 * the callback ended it.
 */
static bool
scan_part(IndexScanDesc scan, EdaLogEntry *entry, EdaLogPlace first, EdaLogPlace last,
		  EdaLogEntryCallback callback, void *arg, uint64 *seen)
{
	ScanKeyData members[2];
	ScanKeyData keys[2];
	ItemPointer tid;

	/* (xid, id) >= first, xid <= last.xid */
	ScanKeyEntryInitialize(&members[0], SK_ROW_MEMBER, 1, BTGreaterEqualStrategyNumber,
						   XID8OID, InvalidOid, F_XID8CMP, UInt64GetDatum(first.xid));
	ScanKeyEntryInitialize(&members[1], SK_ROW_MEMBER | SK_ROW_END, 2, BTGreaterEqualStrategyNumber,
						   INT8OID, InvalidOid, F_BTINT8CMP, Int64GetDatum(first.id));
	memset(&keys[0], 0, sizeof(ScanKeyData));
	keys[0].sk_flags = SK_ROW_HEADER;
	keys[0].sk_attno = 1;
	keys[0].sk_strategy = BTGreaterEqualStrategyNumber;
	keys[0].sk_argument = PointerGetDatum(members);
	ScanKeyInit(&keys[1], 1, BTLessEqualStrategyNumber, F_XID8LE, UInt64GetDatum(last.xid));
	index_rescan(scan, keys, 2, NULL, 0);

	while ((tid = index_getnext_tid(scan, ForwardScanDirection)) != NULL)
	{
		read_entry(scan->xs_itup, entry);
		if (is_behind(entry->xid, entry->id, last))
			break;
		entry->tid = *tid;

		if ((++*seen % SCAN_INTERRUPTS) == 0)
			CHECK_FOR_INTERRUPTS();
		if (!callback(entry, arg))
			return false;
	}
	return true;
}

/* Begin to scan a segment's index; entry gets what all its entries have in common. */
static IndexScanDesc
begin_scan(Relation rel, uint16 segment, EdaLogEntry *entry)
{
	Relation	index = open_scan_index(rel);
	IndexScanDesc scan = eda_index_beginscan(rel, index, GetActiveSnapshot(), 2);

	scan->xs_want_itup = true;
	entry->segment = segment;
	entry->filenumber = eda_relation_filenumber(rel);
	return scan;
}

static void
end_scan(IndexScanDesc scan)
{
	Relation	index = scan->indexRelation;

	index_endscan(scan);
	index_close(index, NoLock);
}

/* Scan one segment, from a place on; false when the callback ended it. */
static bool
scan_segment(Relation rel, uint16 segment, const EdaXidRange *ranges,
			 int nranges, EdaLogPlace from, EdaLogEntryCallback callback, void *arg,
			 uint64 *seen)
{
	EdaLogEntry entry;
	IndexScanDesc scan = begin_scan(rel, segment, &entry);
	bool		go_on = true;

	for (int i = 0; i < nranges && go_on; i++)
	{
		EdaLogPlace first = {ranges[i].lo, PG_INT64_MIN};
		EdaLogPlace last = {ranges[i].hi - 1, PG_INT64_MAX};

		if (is_behind(from.xid, from.id, last))
			continue;
		if (is_behind(from.xid, from.id, first))
			first = from;
		if (ranges[i].lo < ranges[i].hi)
			go_on = scan_part(scan, &entry, first, last, callback, arg, seen);
	}
	end_scan(scan);
	return go_on;
}

static const EdaLogPlace beginning = {0, PG_INT64_MIN};

/* The live segment of that slot in the list; -1: there is none. */
static int
find_live(const EdaSegment *list, int n, uint16 slot)
{
	for (int i = 0; i < n; i++)
		if (list[i].slot == slot && EdaSegmentIsLive(&list[i]))
			return i;
	return -1;
}

uint64
EdaLogScanFrom(const EdaXidRange *ranges, int nranges, const EdaLogEntry *from,
			   EdaLogEntryCallback callback, void *arg)
{
	EdaSegment *list;
	EdaLogPlace place = beginning;
	int			n;
	int			start = -1;
	uint64		seen = 0;

	if (nranges == 0)
		return 0;

	/* a copy: opening a segment may make the list change under us */
	n = EdaSegments(&list);
	if (from != NULL)
	{
		start = find_live(list, n, from->segment);
		place.xid = from->xid;
		place.id = from->id;
	}
	for (int i = Max(start, 0); i < n; i++)
	{
		Relation	rel;
		bool		go_on;

		if (!EdaSegmentIsLive(&list[i]) ||
			(list[i].state == EDA_SEGMENT_SEALED && list[i].max_xid < ranges[0].lo))
			continue;

		/* dropped since: nobody needed it */
		rel = try_table_open(list[i].relid, AccessShareLock);
		if (rel == NULL)
			continue;

		go_on = scan_segment(rel, list[i].slot, ranges, nranges,
							 i == start ? place : beginning, callback, arg, &seen);
		table_close(rel, NoLock);
		if (!go_on)
			break;
		CHECK_FOR_INTERRUPTS();
	}

	pfree(list);
	return seen;
}

uint64
EdaLogScan(const EdaXidRange *ranges, int nranges,
		   EdaLogEntryCallback callback, void *arg)
{
	return EdaLogScanFrom(ranges, nranges, NULL, callback, arg);
}

uint64
EdaLogScanSpan(uint16 segment, EdaLogPlace first, EdaLogPlace last,
			   EdaLogEntryCallback callback, void *arg)
{
	EdaLogEntry entry;
	Oid			relid = EdaSegmentTable(segment);
	Relation	rel = OidIsValid(relid) ? try_table_open(relid, AccessShareLock) : NULL;
	IndexScanDesc scan;
	uint64		seen = 0;

	if (rel == NULL)
		return 0;
	scan = begin_scan(rel, segment, &entry);
	(void) scan_part(scan, &entry, first, last, callback, arg, &seen);
	end_scan(scan);
	table_close(rel, NoLock);
	return seen;
}

uint64
EdaLogMaxXid(Relation rel)
{
	Relation	index = open_scan_index(rel);
	IndexScanDesc scan = eda_index_beginscan(rel, index, GetActiveSnapshot(), 0);
	uint64		xid = 0;

	scan->xs_want_itup = true;
	index_rescan(scan, NULL, 0, NULL, 0);
	if (index_getnext_tid(scan, BackwardScanDirection) != NULL)
	{
		bool		isnull;

		xid = DatumGetUInt64(index_getattr(scan->xs_itup, 1, scan->xs_itupdesc, &isnull));
	}
	index_endscan(scan);
	index_close(index, NoLock);
	return xid;
}

static bool
stop_at_first(const EdaLogEntry *entry, void *arg)
{
	return false;
}

bool
EdaLogHasXid(Relation rel, uint64 xid)
{
	EdaXidRange range = {.lo = xid, .hi = xid + 1};
	uint64		seen = 0;

	return !scan_segment(rel, 0, &range, 1, beginning, stop_at_first, NULL, &seen);
}

/* An event from a row of the log; it points to the row's data. */
static void
row_to_event(const Datum *values, const bool *nulls, EdaEvent *ev)
{
#define VARLENA(attnum) \
	(nulls[(attnum) - 1] ? NULL : \
	 (struct varlena *) DatumGetPointer(values[(attnum) - 1]))

	memset(ev, 0, sizeof(*ev));
	ev->id = DatumGetInt64(values[Anum_log_id - 1]);
	ev->xid = DatumGetUInt64(values[Anum_log_xid - 1]);
	ev->topic = VARLENA(Anum_log_topic);
	ev->key = VARLENA(Anum_log_key);
	ev->payload = VARLENA(Anum_log_payload);
	ev->headers = VARLENA(Anum_log_headers);
	ev->published_at = DatumGetTimestampTz(values[Anum_log_published_at - 1]);
	if (!nulls[Anum_log_deliver_at - 1])
		ev->deliver_at = DatumGetTimestampTz(values[Anum_log_deliver_at - 1]);
	ev->published_by = DatumGetObjectId(values[Anum_log_published_by - 1]);
	ev->correlation_id = VARLENA(Anum_log_correlation_id);
	if (!nulls[Anum_log_causation_id - 1])
		ev->causation_id = DatumGetInt64(values[Anum_log_causation_id - 1]);
	ev->hops = DatumGetInt32(values[Anum_log_hops - 1]);

#undef VARLENA
}

EdaLogReader *
EdaLogReaderOpen(void)
{
	EdaLogReader *reader = palloc0(sizeof(EdaLogReader));

	reader->context = CurrentMemoryContext;
	reader->owner = CurrentResourceOwner;
	return reader;
}

/* The reader's segment, opened where it isn't yet; NULL when it is gone. */
static EdaReaderSegment *
reader_segment(EdaLogReader *reader, uint16 segment)
{
	MemoryContext oldcontext;
	EdaReaderSegment *seg;
	ListCell   *lc;
	Oid			relid;
	Relation	rel = NULL;

	if (reader->last && reader->last->segment == segment)
		return reader->last;

	foreach(lc, reader->segments)
	{
		seg = lfirst(lc);
		if (seg->segment == segment)
			return seg;
	}

	relid = EdaSegmentTable(segment);
	if (OidIsValid(relid))
		rel = try_table_open(relid, AccessShareLock);
	if (rel == NULL)
		return NULL;

	oldcontext = MemoryContextSwitchTo(reader->context);
	seg = palloc(sizeof(EdaReaderSegment));
	seg->segment = segment;
	seg->rel = rel;
	seg->nblocks = RelationGetNumberOfBlocks(rel);
	seg->slot = table_slot_create(rel, NULL);
	seg->fetch = table_index_fetch_begin(rel);
	reader->segments = lappend(reader->segments, seg);
	MemoryContextSwitchTo(oldcontext);
	return seg;
}

bool
EdaLogReaderKnows(EdaLogReader *reader, uint16 segment, Oid filenumber)
{
	ResourceOwner save_owner = CurrentResourceOwner;
	EdaReaderSegment *seg;

	CurrentResourceOwner = reader->owner;
	seg = reader_segment(reader, segment);
	CurrentResourceOwner = save_owner;
	return seg != NULL && eda_relation_filenumber(seg->rel) == filenumber;
}

bool
EdaLogFetch(EdaLogReader *reader, int64 id, uint16 segment,
			ItemPointer tid, Snapshot snapshot, EdaEvent *ev)
{
	/*
	 * What the reader holds belongs to the resource owner that opened it: the
	 * event stays readable while savepoints around a handler come and go.
	 */
	ResourceOwner save_owner = CurrentResourceOwner;
	EdaReaderSegment *seg;
	bool		found = false;

	CurrentResourceOwner = reader->owner;

	if (reader->last)
		ExecClearTuple(reader->last->slot);
	seg = reader_segment(reader, segment);
	if (seg)
	{
		ItemPointerData copy = *tid;	/* which the access method may change */
		bool		call_again = false;
		BlockNumber block = ItemPointerGetBlockNumber(tid);

		reader->last = seg;
		/* VACUUM may have cut off what was rolled back; our lock keeps it from doing so from now on */
		if (block >= seg->nblocks)
			seg->nblocks = RelationGetNumberOfBlocks(seg->rel);
		if (block < seg->nblocks)
			found = table_index_fetch_tuple(seg->fetch, &copy, snapshot, seg->slot,
											&call_again, NULL);
		if (!found && block < seg->nblocks)
		{
			/*
			 * Rolled back; or somebody has rewritten the table (SET LOGGED, say) after the snapshot was
			 * taken and before we had our lock, and all rows are that transaction's now.  Whether the
			 * event is to be seen its xid says, not the row's.
			 */
			Snapshot	latest = RegisterSnapshot(GetLatestSnapshot());

			copy = *tid;
			call_again = false;
			ExecClearTuple(seg->slot);
			found = table_index_fetch_tuple(seg->fetch, &copy, latest, seg->slot,
											&call_again, NULL);
			UnregisterSnapshot(latest);
		}
	}
	if (found)
	{
		slot_getallattrs(seg->slot);
		row_to_event(seg->slot->tts_values, seg->slot->tts_isnull, ev);
		found = (ev->id == id);
	}

	CurrentResourceOwner = save_owner;
	return found;
}

void
EdaLogPrefetch(EdaLogReader *reader, uint16 segment, ItemPointer tid)
{
	EdaReaderSegment *seg = reader->last;
	BufferHeapTupleTableSlot *slot;
	Page		page;
	OffsetNumber offset = ItemPointerGetOffsetNumber(tid);

	if (seg == NULL || seg->segment != segment || !TTS_IS_BUFFERTUPLE(seg->slot))
		return;
	slot = (BufferHeapTupleTableSlot *) seg->slot;
	if (!BufferIsValid(slot->buffer) ||
		BufferGetBlockNumber(slot->buffer) != ItemPointerGetBlockNumber(tid))
		return;

	/* no lock: nothing but the processor looks at what is read here */
	page = BufferGetPage(slot->buffer);
	if (offset <= PageGetMaxOffsetNumber(page))
	{
		ItemId		item = PageGetItemId(page, offset);
		const char *row = (const char *) page + ItemIdGetOffset(item);
		const char *end = row + Min(ItemIdGetLength(item), PREFETCH_BYTES);

		for (; row < end; row += CACHE_LINE)
			__builtin_prefetch(row);
	}
}

void
EdaLogReaderClose(EdaLogReader *reader)
{
	ResourceOwner save_owner = CurrentResourceOwner;
	ListCell   *lc;

	CurrentResourceOwner = reader->owner;
	foreach(lc, reader->segments)
	{
		EdaReaderSegment *seg = lfirst(lc);

		ExecDropSingleTupleTableSlot(seg->slot);
		table_index_fetch_end(seg->fetch);
		table_close(seg->rel, NoLock);
		pfree(seg);
	}
	CurrentResourceOwner = save_owner;
	list_free(reader->segments);
	pfree(reader);
}

EdaEvent *
EdaLogFindById(int64 id, Snapshot snapshot)
{
	static const Oid types[] = {INT8OID};
	MemoryContext caller = CurrentMemoryContext;
	EdaSecurityContext ctx;
	EdaEvent   *result = NULL;
	Datum		values[1];

	values[0] = Int64GetDatum(id);
	EdaSpiBegin(&ctx);

	/* the columns are in the order of the attribute numbers */
	if (EdaSpiQuery("SELECT id, xid, published_at, published_by, topic_hash, hops,"
					" topic, payload, key_hash, key, deliver_at, causation_id,"
					" correlation_id, headers FROM eda.log l WHERE id = $1 AND EXISTS (SELECT"
					" FROM eda.segment s WHERE s.relation = l.tableoid AND s.state IN ('o', 'c', 's'))",
					1, types, values, NULL, snapshot) > 0)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Datum		row[Natts_log];
		bool		nulls[Natts_log];
		EdaEvent	ev;
		MemoryContext spi;

		heap_deform_tuple(tuple, desc, row, nulls);

		row_to_event(row, nulls, &ev);

		spi = MemoryContextSwitchTo(caller);
		result = EdaEventCopy(&ev);
		MemoryContextSwitchTo(spi);
	}

	EdaSpiEnd(&ctx);
	return result;
}
