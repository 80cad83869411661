/*-------------------------------------------------------------------------
 *
 * log/reader.c
 *	  The event log: rows, by the tuple ids of a scan, or by id.
 *
 *	1. A reader keeps AccessShareLock on the segments to the end of its
 *	   transaction: until then tuple ids that a scan returned stay good for
 *	   the fetch.  Who keeps them for longer also keeps the segment's
 *	   filenumber, and asks EdaLogReaderKnows() before the first fetch.
 *	2. A row holds the top-level xid, so a rolled-back savepoint's rows are in
 *	   the index under an xid that committed, and a tuple id may be used again
 *	   after VACUUM: EdaLogFetch() leaves both to the heap's own visibility
 *	   and compares the id.
 *	3. Events that follow each other are on a few pages mostly, one of each publisher that was
 *	   at work.  As a sequential scan does, the reader looks which rows of a page are
 *	   visible once, under the buffer's lock, and reads them under its pin alone.
 *	4. Rows of the log are neither updated nor deleted, so nearly all are plain and
 *	   visible.  Whatever is not goes through the table access method, and so does
 *	   all where SERIALIZABLE has to know what is read, or somebody has given the
 *	   segment another access method.
 *	5. What the reader holds belongs to the resource owner that opened it: an
 *	   event stays readable while savepoints around a handler come and go.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/log/reader.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "log/reader.h"
#include "log/segment.h"

/* Pages that are kept at once: a publisher goes on on its own one. */
#define MAX_PAGES		16

/* As much of a row as is worth prefetching, and in which steps. */
#define PREFETCH_BYTES	1024
#define CACHE_LINE		64

/* A segment that a reader has open. */
typedef struct EdaReaderSegment
{
	uint16		segment;
	Relation	rel;
	BlockNumber nblocks;		/* as of the last look: it has as many at least */
	TupleTableSlot *slot;		/* for what is not fetched from the page */
	IndexFetchTableData *fetch;
	Datum	   *values;			/* room for a row's columns */
	bool	   *nulls;
} EdaReaderSegment;

/* A page of it that is pinned. */
typedef struct EdaReaderPage
{
	const EdaReaderSegment *seg;
	BlockNumber block;
	Buffer		buffer;
	int			nleft;			/* visible rows that have not been fetched */
	Snapshot	snapshot;		/* that this was looked up with: */
	bool		visible[MaxHeapTuplesPerPage];	/* plain rows, by offset - 1 */
} EdaReaderPage;

struct EdaLogReader
{
	MemoryContext context;
	ResourceOwner owner;
	List	   *segments;		/* of EdaReaderSegment * */
	EdaReaderSegment *last;		/* the one that the last fetch used */
	EdaReaderPage *page;		/* the same of the pages; NULL: none yet */
	int			npages;
	int			next_page;		/* which gives way to the next one, when there are as many as there may be */
	EdaReaderPage pages[MAX_PAGES];
};

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
	if (!nulls[Anum_log_hops - 1])
		ev->hops = DatumGetInt16(values[Anum_log_hops - 1]);

#undef VARLENA
}

EdaLogReader *
EdaLogReaderOpen(void)
{
	EdaLogReader *reader = palloc(sizeof(EdaLogReader));

	reader->context = CurrentMemoryContext;
	reader->owner = CurrentResourceOwner;
	reader->segments = NIL;
	reader->last = NULL;
	reader->page = NULL;
	reader->npages = 0;
	reader->next_page = 0;
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
	int			natts;

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
	natts = RelationGetDescr(rel)->natts;
	seg = palloc(sizeof(EdaReaderSegment));
	seg->segment = segment;
	seg->rel = rel;
	seg->nblocks = RelationGetNumberOfBlocks(rel);
	seg->slot = NULL;
	seg->fetch = NULL;
	seg->values = palloc(natts * sizeof(Datum));
	seg->nulls = palloc(natts * sizeof(bool));
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

/* The page, if it is at hand. */
static EdaReaderPage *
find_page(EdaLogReader *reader, const EdaReaderSegment *seg, BlockNumber block)
{
	if (reader->page != NULL && reader->page->block == block && reader->page->seg == seg)
		return reader->page;
	for (int i = 0; i < reader->npages; i++)
		if (reader->pages[i].block == block && reader->pages[i].seg == seg)
			return &reader->pages[i];
	return NULL;
}

/*
 * Pin a page, in the place of one that all has been fetched from, or of the oldest if there are
 * enough.
 */
static EdaReaderPage *
pin_page(EdaLogReader *reader, const EdaReaderSegment *seg, BlockNumber block)
{
	/* no more than a little of a small pool */
	int			max_pages = Max(1, Min(MAX_PAGES, NBuffers / 1024));
	Buffer		buffer = ReadBuffer(seg->rel, block);
	EdaReaderPage *page = NULL;

	for (int i = 0; i < reader->npages && page == NULL; i++)
		if (reader->pages[i].nleft <= 0)
			page = &reader->pages[i];
	if (page == NULL && reader->npages == max_pages)
	{
		page = &reader->pages[reader->next_page];
		reader->next_page = (reader->next_page + 1) % max_pages;
	}
	if (page != NULL)
		ReleaseBuffer(page->buffer);
	else
		page = &reader->pages[reader->npages++];
	page->seg = seg;
	page->block = block;
	page->buffer = buffer;
	page->snapshot = InvalidSnapshot;
	return page;
}

/*
 * Rows of a committed transaction that nobody deletes are seen, or not, all of them: what
 * HeapTupleSatisfiesVisibility() said of one of them holds for the next.
 */
static inline bool
is_like(HeapTupleHeader tuple, HeapTupleHeader other)
{
	const uint16 settled = HEAP_XMIN_COMMITTED | HEAP_XMIN_INVALID | HEAP_XMAX_INVALID;

	return other != NULL &&
		HeapTupleHeaderGetRawXmin(tuple) == HeapTupleHeaderGetRawXmin(other) &&
		(tuple->t_infomask & settled) == (HEAP_XMIN_COMMITTED | HEAP_XMAX_INVALID) &&
		(other->t_infomask & settled) == (HEAP_XMIN_COMMITTED | HEAP_XMAX_INVALID);
}

/* Look which of a page's plain rows the snapshot sees. */
static void
look_at_page(EdaReaderPage *page, Snapshot snapshot)
{
	Relation	rel = page->seg->rel;
	HeapTupleData tuple;
	HeapTupleHeader before = NULL;
	OffsetNumber max;
	Page		dp;
	bool		all_visible;
	bool		seen = false;

	LockBuffer(page->buffer, BUFFER_LOCK_SHARE);
	dp = BufferGetPage(page->buffer);
	max = PageGetMaxOffsetNumber(dp);
	memset(page->visible, 0, sizeof(page->visible));
	page->nleft = 0;
	all_visible = PageIsAllVisible(dp) && !snapshot->takenDuringRecovery;
	tuple.t_tableOid = RelationGetRelid(rel);
	for (OffsetNumber offset = FirstOffsetNumber; offset <= max; offset++)
	{
		ItemId		item = PageGetItemId(dp, offset);

		if (!ItemIdIsNormal(item))
			continue;
		tuple.t_data = (HeapTupleHeader) PageGetItem(dp, item);
		tuple.t_len = ItemIdGetLength(item);
		ItemPointerSet(&tuple.t_self, page->block, offset);
		if (all_visible)
			seen = true;
		else if (!is_like(tuple.t_data, before))
			seen = HeapTupleSatisfiesVisibility(&tuple, snapshot, page->buffer);
		before = tuple.t_data;
		if (!seen || HeapTupleHeaderIsHeapOnly(tuple.t_data))
			continue;
		page->visible[offset - 1] = true;
		page->nleft++;
	}
	LockBuffer(page->buffer, BUFFER_LOCK_UNLOCK);
	page->snapshot = snapshot;
}

/* Is there a plain row on the page that the snapshot sees? */
static inline bool
is_visible(const EdaReaderPage *page, OffsetNumber offset)
{
	return offset >= FirstOffsetNumber && offset <= MaxHeapTuplesPerPage &&
		page->visible[offset - 1];
}

/* The event of a plain row that the snapshot sees. */
static bool
fetch_from_page(EdaLogReader *reader, EdaReaderSegment *seg, ItemPointer tid, Snapshot snapshot,
				EdaEvent *ev)
{
	BlockNumber block = ItemPointerGetBlockNumber(tid);
	OffsetNumber offset = ItemPointerGetOffsetNumber(tid);
	EdaReaderPage *page;
	HeapTupleData tuple;
	ItemId		item;

	if (!IsMVCCSnapshot(snapshot) || IsolationIsSerializable() ||
		seg->rel->rd_tableam != GetHeapamTableAmRoutine())
		return false;
	page = find_page(reader, seg, block);
	if (page == NULL)
		page = pin_page(reader, seg, block);
	reader->page = page;
	if (page->snapshot != snapshot)
		look_at_page(page, snapshot);
	if (!is_visible(page, offset))
		return false;
	page->nleft--;

	item = PageGetItemId(BufferGetPage(page->buffer), offset);
	tuple.t_data = (HeapTupleHeader) PageGetItem(BufferGetPage(page->buffer), item);
	tuple.t_len = ItemIdGetLength(item);
	tuple.t_self = *tid;
	tuple.t_tableOid = RelationGetRelid(seg->rel);
	heap_deform_tuple(&tuple, RelationGetDescr(seg->rel), seg->values, seg->nulls);
	row_to_event(seg->values, seg->nulls, ev);
	return true;
}

/* The same of all others. */
static bool
fetch_by_access_method(EdaLogReader *reader, EdaReaderSegment *seg, ItemPointer tid, Snapshot snapshot,
					   EdaEvent *ev)
{
	ItemPointerData copy = *tid;	/* which the access method may change */
	bool		call_again = false;

	if (seg->slot == NULL)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(reader->context);

		seg->slot = table_slot_create(seg->rel, NULL);
		seg->fetch = table_index_fetch_begin(seg->rel);
		MemoryContextSwitchTo(oldcontext);
	}
	ExecClearTuple(seg->slot);
	if (!table_index_fetch_tuple(seg->fetch, &copy, snapshot, seg->slot, &call_again, NULL))
		return false;
	slot_getallattrs(seg->slot);
	row_to_event(seg->slot->tts_values, seg->slot->tts_isnull, ev);
	return true;
}

bool
EdaLogFetch(EdaLogReader *reader, int64 id, uint16 segment,
			ItemPointer tid, Snapshot snapshot, EdaEvent *ev)
{
	ResourceOwner save_owner = CurrentResourceOwner;
	EdaReaderSegment *seg;
	bool		found = false;

	CurrentResourceOwner = reader->owner;

	seg = reader_segment(reader, segment);
	reader->last = seg;
	if (seg)
	{
		BlockNumber block = ItemPointerGetBlockNumber(tid);

		/*
		 * VACUUM may have cut off what was rolled back; our lock keeps it from doing so from now
		 * on
		 */
		if (block >= seg->nblocks)
			seg->nblocks = RelationGetNumberOfBlocks(seg->rel);
		if (block < seg->nblocks)
			found = fetch_from_page(reader, seg, tid, snapshot, ev) ||
				fetch_by_access_method(reader, seg, tid, snapshot, ev);
		if (!found && block < seg->nblocks)
		{
			/*
			 * Rolled back; or somebody has rewritten the table (SET LOGGED, say) after the
			 * snapshot was taken and before we had our lock, and all rows are that transaction's
			 * now.  Whether the event is to be seen its xid says, not the row's.
			 */
			Snapshot	latest = RegisterSnapshot(GetLatestSnapshot());

			found = fetch_by_access_method(reader, seg, tid, latest, ev);
			UnregisterSnapshot(latest);
		}
	}
	CurrentResourceOwner = save_owner;
	return found && ev->id == id;
}

void
EdaLogPrefetch(EdaLogReader *reader, uint16 segment, ItemPointer tid)
{
	OffsetNumber offset = ItemPointerGetOffsetNumber(tid);
	EdaReaderPage *page;
	ItemId		item;
	const char *row;
	const char *end;

	if (reader->last == NULL || reader->last->segment != segment)
		return;
	page = find_page(reader, reader->last, ItemPointerGetBlockNumber(tid));
	if (page == NULL || !is_visible(page, offset))
		return;

	item = PageGetItemId(BufferGetPage(page->buffer), offset);
	row = (const char *) BufferGetPage(page->buffer) + ItemIdGetOffset(item);
	end = row + Min(ItemIdGetLength(item), PREFETCH_BYTES);
	for (; row < end; row += CACHE_LINE)
		__builtin_prefetch(row);
}

void
EdaLogReaderClose(EdaLogReader *reader)
{
	ResourceOwner save_owner = CurrentResourceOwner;
	ListCell   *lc;

	CurrentResourceOwner = reader->owner;
	for (int i = 0; i < reader->npages; i++)
		ReleaseBuffer(reader->pages[i].buffer);
	foreach(lc, reader->segments)
	{
		EdaReaderSegment *seg = lfirst(lc);

		if (seg->slot != NULL)
		{
			ExecDropSingleTupleTableSlot(seg->slot);
			table_index_fetch_end(seg->fetch);
		}
		table_close(seg->rel, NoLock);
		pfree(seg->values);
		pfree(seg->nulls);
		pfree(seg);
	}
	CurrentResourceOwner = save_owner;
	list_free(reader->segments);
	pfree(reader);
}

/* For EdaLogFindById(), whose columns are in the order of the attribute numbers. */
static void
tuple_to_event(HeapTuple tuple, TupleDesc desc, EdaEvent *ev)
{
	Datum		values[Natts_log];
	bool		nulls[Natts_log];

	heap_deform_tuple(tuple, desc, values, nulls);
	row_to_event(values, nulls, ev);
}

EdaEvent *
EdaLogFindById(int64 id, Snapshot snapshot)
{
	return EdaEventFind("SELECT id, xid, published_at, published_by, topic_hash, key_hash,"
						" topic, payload, key, deliver_at, causation_id, hops,"
						" correlation_id, headers FROM eda.log l WHERE id = $1 AND EXISTS (SELECT"
						" FROM eda.segment s WHERE s.relation = l.tableoid AND s.state IN ('o', 'c', 's'))",
						id, snapshot, tuple_to_event);
}
