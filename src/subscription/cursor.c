/*-------------------------------------------------------------------------
 *
 * subscription/cursor.c
 *	  The rows of eda.cursor: read, updated once per batch, deleted.
 *
 *	1. A lane's row is updated by whoever holds the subscription's lock
 *	   (EdaSubscriptionLock): the one executor that has the lane, or a command that
 *	   excluded it.  So there are no concurrent updates but those somebody
 *	   makes by hand.
 *	2. This is the one update on the happy path, so it must not slow down while an
 *	   old snapshot keeps its dead versions: the row is found by its remembered
 *	   TID instead of the index, the page is pruned first (simple_heap_update()
 *	   never does that), and where the update cannot be heap-only its index
 *	   entry goes in without a uniqueness check, which would walk the dead ones.
 *	3. The remembered TID is a hint.  VACUUM FULL or an update by hand make it
 *	   wrong: it is used only if a fresh snapshot sees there the row of this
 *	   lane; else the index is asked.
 *	4. Who stores a cursor has handled events on the strength of the row as
 *	   loaded.  If it says something else by now, a second process has run the
 *	   lane or somebody moved it by hand, and the events would take effect twice: the
 *	   store is refused, and the caller rolls back.
 *	5. The index isn't unique, so the table has no replica identity, and the executor refuses to
 *	   update or delete where a publication has all tables.  What writes here
 *	   goes below it, unless somebody watches the table by a trigger (base/guard.c).
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/subscription/cursor.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "storage/bufmgr.h"
#include "storage/freespace.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/guard.h"
#include "base/security.h"
#include "subscription/cursor.h"

/* Pages that rows have left, which a process remembers in order to use them again. */
#define MAX_LEFT_PAGES	64

/* Attribute numbers of eda.cursor (src/sql/30_subscription.sql). */
enum
{
	Anum_cursor_subscription_id = 1,
	Anum_cursor_lane,
	Anum_cursor_streak,
	Anum_cursor_pos_id,
	Anum_cursor_handled,
	Anum_cursor_filtered,
	Anum_cursor_failed,
	Anum_cursor_last_handled_at,
	Anum_cursor_failing_since,
	Anum_cursor_from_snapshot,
	Anum_cursor_to_snapshot,
	Natts_cursor = Anum_cursor_to_snapshot
};

/* As many values as the table has columns: somebody may have added some. */
static void
take_apart(Relation rel, HeapTuple tuple, Datum **values, bool **nulls)
{
	int			natts = RelationGetDescr(rel)->natts;

	if (natts < Natts_cursor)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("table \"%s\" has %d columns, not %d", RelationGetRelationName(rel), natts, Natts_cursor)));
	*values = palloc(natts * sizeof(Datum));
	*nulls = palloc(natts * sizeof(bool));
	heap_deform_tuple(tuple, RelationGetDescr(rel), *values, *nulls);
}

static int64
get_int64(Relation rel, HeapTuple tuple, int attnum)
{
	bool		isnull;

	return DatumGetInt64(heap_getattr(tuple, attnum, RelationGetDescr(rel), &isnull));
}

static bool
is_row_of(Relation rel, HeapTuple tuple, int32 subscription_id, int16 lane)
{
	TupleDesc	desc = RelationGetDescr(rel);
	bool		isnull;

	return DatumGetInt32(heap_getattr(tuple, Anum_cursor_subscription_id, desc, &isnull)) == subscription_id &&
		DatumGetInt16(heap_getattr(tuple, Anum_cursor_lane, desc, &isnull)) == lane;
}

/* The window of a row, as a number that another window hardly has. */
static uint64
hash_window(const bytea *from, const bytea *to)
{
	return hash_combine64(hash_bytes_extended((const unsigned char *) VARDATA_ANY(from),
											  VARSIZE_ANY_EXHDR(from), 0),
						  hash_bytes_extended((const unsigned char *) VARDATA_ANY(to),
											  VARSIZE_ANY_EXHDR(to), 0));
}

/* Does the row say what it said when the cursor was loaded or stored? */
static bool
is_unmoved(Relation rel, HeapTuple tuple, const EdaCursor *cursor)
{
	TupleDesc	desc = RelationGetDescr(rel);
	bool		isnull;
	bytea	   *from = DatumGetByteaPP(heap_getattr(tuple, Anum_cursor_from_snapshot, desc, &isnull));
	bytea	   *to = DatumGetByteaPP(heap_getattr(tuple, Anum_cursor_to_snapshot, desc, &isnull));

	return hash_window(from, to) == cursor->stored_window &&
		get_int64(rel, tuple, Anum_cursor_pos_id) == cursor->stored_pos_id &&
		get_int64(rel, tuple, Anum_cursor_handled) +
		get_int64(rel, tuple, Anum_cursor_filtered) +
		get_int64(rel, tuple, Anum_cursor_failed) == cursor->stored_done;
}

/* The lane's row by the index, copied into the current context; NULL: none. */
static HeapTuple
find_row(Relation rel, Snapshot snapshot, int32 subscription_id, int16 lane)
{
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_cursor_subscription_id, BTEqualStrategyNumber,
				F_INT4EQ, Int32GetDatum(subscription_id));
	ScanKeyInit(&key[1], Anum_cursor_lane, BTEqualStrategyNumber,
				F_INT2EQ, Int16GetDatum(lane));
	scan = systable_beginscan(rel, EdaCursorIndexId(), true, snapshot, 2, key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

/*
 * A row has moved to another page, and left this one full of versions that
 * somebody's snapshot kept from being pruned.  Nobody comes back to it, so
 * without VACUUM its space would be lost: prune what can be pruned by now, of this and
 * earlier ones, and put it into the free space map.
 */
static void
recycle_page(Relation rel, BlockNumber left)
{
	static BlockNumber pages[MAX_LEFT_PAGES];
	static int	npages = 0;
	BlockNumber nblocks = RelationGetNumberOfBlocks(rel);
	int			kept = 0;

	if (npages == MAX_LEFT_PAGES)
		memmove(pages, pages + 1, --npages * sizeof(BlockNumber));
	pages[npages++] = left;

	for (int i = 0; i < npages; i++)
	{
		Buffer		buffer;
		Size		space;

		/* a table that was rewritten has fewer */
		if (pages[i] >= nblocks)
			continue;
		buffer = ReadBuffer(rel, pages[i]);
		heap_page_prune_opt(rel, buffer);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		space = PageGetHeapFreeSpace(BufferGetPage(buffer));
		UnlockReleaseBuffer(buffer);
		if (space > BLCKSZ * 3 / 4)
		{
			RecordPageWithFreeSpace(rel, pages[i], space);
			FreeSpaceMapVacuumRange(rel, pages[i], pages[i] + 1);
		}
		else
			pages[kept++] = pages[i];
	}
	npages = kept;
}

/*
 * Entries for a new version of a row in all indexes: ours, the one that REINDEX CONCURRENTLY is
 * about to put in its place, and plain ones that an administrator has added.
 */
static void
insert_index_entries(Relation rel, HeapTuple tuple)
{
	List	   *oids = RelationGetIndexList(rel);
	ListCell   *lc;

	foreach(lc, oids)
	{
		Relation	index = index_open(lfirst_oid(lc), RowExclusiveLock);
		IndexInfo  *info = BuildIndexInfo(index);
		Datum		values[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];

		if (info->ii_Expressions != NIL || info->ii_Predicate != NIL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("index \"%s\" on table \"%s\" is not supported",
							RelationGetRelationName(index), RelationGetRelationName(rel)),
					 errhint("Drop it; an index that is added to this table must be on columns, and not partial.")));
		if (info->ii_ReadyForInserts)
		{
			for (int i = 0; i < info->ii_NumIndexAttrs; i++)
				values[i] = heap_getattr(tuple, info->ii_IndexAttrNumbers[i], RelationGetDescr(rel), &nulls[i]);
			index_insert(index, values, nulls, &tuple->t_self, rel,
						 UNIQUE_CHECK_NO, false, info);
			eda_index_insert_cleanup(index, info);
		}
		index_close(index, RowExclusiveLock);
	}
	list_free(oids);
}

/* The same through the executor, so that triggers see it. */
static void
replace_watched_row(Relation rel, ItemPointer tid, HeapTuple tuple)
{
	static const Oid types[] = {
		TIDOID, INT4OID, INT8OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, BYTEAOID, BYTEAOID
	};
	EdaSecurityContext ctx;
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types)];
	bool		isnull;

	values[0] = PointerGetDatum(tid);
	nulls[0] = ' ';
	for (int i = 1; i < lengthof(types); i++)
	{
		values[i] = heap_getattr(tuple, Anum_cursor_streak + i - 1, RelationGetDescr(rel), &isnull);
		nulls[i] = isnull ? 'n' : ' ';
	}
	EdaSpiBegin(&ctx);
	if (EdaSpiExecute("UPDATE eda.cursor SET streak = $2, pos_id = $3, handled = $4, filtered = $5, failed = $6,"
					  " last_handled_at = $7, failing_since = $8, from_snapshot = $9, to_snapshot = $10"
					  " WHERE ctid = $1 RETURNING ctid",
					  lengthof(types), types, values, nulls, SPI_OK_UPDATE_RETURNING) != 1)
		EdaWriteSuppressed(RelationGetRelationName(rel));
	tuple->t_self = *(ItemPointer) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[0],
																  SPI_tuptable->tupdesc, 1, &isnull));
	EdaSpiEnd(&ctx);
}

/* Put a new version in a row's place; tuple->t_self becomes where it is. */
static void
replace_row(Relation rel, ItemPointer tid, HeapTuple tuple)
{
	if (EdaTableIsWatched(rel))
		replace_watched_row(rel, tid, tuple);
	else if (eda_heap_update(rel, tid, tuple))
	{
		BlockNumber left = ItemPointerGetBlockNumber(tid);

		insert_index_entries(rel, tuple);
		if (left != ItemPointerGetBlockNumber(&tuple->t_self))
			recycle_page(rel, left);
	}
}

static void
cursor_from_row(EdaCursor *cursor, Relation rel, HeapTuple tuple)
{
	Datum	   *values;
	bool	   *nulls;
	bytea	   *from;
	bytea	   *to;

	take_apart(rel, tuple, &values, &nulls);
	from = DatumGetByteaPP(values[Anum_cursor_from_snapshot - 1]);
	to = DatumGetByteaPP(values[Anum_cursor_to_snapshot - 1]);
	cursor->subscription_id = DatumGetInt32(values[Anum_cursor_subscription_id - 1]);
	cursor->lane = DatumGetInt16(values[Anum_cursor_lane - 1]);
	cursor->streak = DatumGetInt32(values[Anum_cursor_streak - 1]);
	cursor->pos_id = DatumGetInt64(values[Anum_cursor_pos_id - 1]);
	cursor->handled = DatumGetInt64(values[Anum_cursor_handled - 1]);
	cursor->filtered = DatumGetInt64(values[Anum_cursor_filtered - 1]);
	cursor->failed = DatumGetInt64(values[Anum_cursor_failed - 1]);
	cursor->last_handled_at = nulls[Anum_cursor_last_handled_at - 1] ? 0 :
		DatumGetTimestampTz(values[Anum_cursor_last_handled_at - 1]);
	cursor->failing_since = nulls[Anum_cursor_failing_since - 1] ? 0 :
		DatumGetTimestampTz(values[Anum_cursor_failing_since - 1]);
	cursor->from = EdaSnapshotDecode(from);
	cursor->to = EdaSnapshotDecode(to);
	cursor->tid = tuple->t_self;
	cursor->stored_window = hash_window(from, to);
	cursor->stored_pos_id = cursor->pos_id;
	cursor->stored_done = cursor->handled + cursor->filtered + cursor->failed;
}

List *
EdaCursorLoadEvery(void)
{
	Relation	rel = table_open(EdaCursorRelId(), AccessShareLock);
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	HeapTuple	tuple;
	List	   *result = NIL;

	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		EdaCursor  *cursor = palloc(sizeof(EdaCursor));

		cursor_from_row(cursor, rel, tuple);
		result = lappend(result, cursor);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

bool
EdaCursorLoad(EdaCursor *cursor, int32 subscription_id, int16 lane)
{
	Relation	rel = table_open(EdaCursorRelId(), AccessShareLock);
	HeapTuple	tuple = find_row(rel, GetActiveSnapshot(), subscription_id, lane);
	bool		found = HeapTupleIsValid(tuple);

	if (found)
	{
		cursor_from_row(cursor, rel, tuple);
		heap_freetuple(tuple);
	}
	table_close(rel, AccessShareLock);
	return found;
}

bool
EdaCursorIsUnmoved(const EdaCursor *cursor)
{
	Relation	rel = table_open(EdaCursorRelId(), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	HeapTuple	tuple = find_row(rel, snapshot, cursor->subscription_id, cursor->lane);
	bool		result = HeapTupleIsValid(tuple) && is_unmoved(rel, tuple, cursor);

	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return result;
}

EdaCursorStored
EdaCursorStore(EdaCursor *cursor)
{
	Relation	rel = table_open(EdaCursorRelId(), RowExclusiveLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	int			natts = RelationGetDescr(rel)->natts;
	Datum	   *values;
	bool	   *nulls;
	HeapTuple	tuple;
	HeapTupleData old;
	Buffer		buffer = InvalidBuffer;
	bool		at_hint = false;
	bool		unmoved = false;

	old.t_self = cursor->tid;
	if (ItemPointerIsValid(&cursor->tid) &&
		ItemPointerGetBlockNumberNoCheck(&cursor->tid) < RelationGetNumberOfBlocks(rel) &&
		heap_fetch(rel, snapshot, &old, &buffer, false))
	{
		at_hint = is_row_of(rel, &old, cursor->subscription_id, cursor->lane);
		if (at_hint)
		{
			unmoved = is_unmoved(rel, &old, cursor);
			heap_page_prune_opt(rel, buffer);
		}
		ReleaseBuffer(buffer);
	}
	if (!at_hint)
	{
		HeapTuple	found = find_row(rel, snapshot, cursor->subscription_id, cursor->lane);

		if (!HeapTupleIsValid(found))
		{
			UnregisterSnapshot(snapshot);
			table_close(rel, NoLock);
			return EDA_CURSOR_GONE;
		}
		cursor->tid = found->t_self;
		unmoved = is_unmoved(rel, found, cursor);
		heap_freetuple(found);
	}
	UnregisterSnapshot(snapshot);
	if (!unmoved)
	{
		table_close(rel, NoLock);
		return EDA_CURSOR_MOVED;
	}

	/* columns that somebody has added get nulls */
	values = palloc0(Max(natts, Natts_cursor) * sizeof(Datum));
	nulls = palloc0(Max(natts, Natts_cursor) * sizeof(bool));
	for (int i = Natts_cursor; i < natts; i++)
		nulls[i] = true;
	values[Anum_cursor_subscription_id - 1] = Int32GetDatum(cursor->subscription_id);
	values[Anum_cursor_lane - 1] = Int16GetDatum(cursor->lane);
	values[Anum_cursor_streak - 1] = Int32GetDatum(cursor->streak);
	values[Anum_cursor_pos_id - 1] = Int64GetDatum(cursor->pos_id);
	values[Anum_cursor_handled - 1] = Int64GetDatum(cursor->handled);
	values[Anum_cursor_filtered - 1] = Int64GetDatum(cursor->filtered);
	values[Anum_cursor_failed - 1] = Int64GetDatum(cursor->failed);
	values[Anum_cursor_last_handled_at - 1] = TimestampTzGetDatum(cursor->last_handled_at);
	nulls[Anum_cursor_last_handled_at - 1] = cursor->last_handled_at == 0;
	values[Anum_cursor_failing_since - 1] = TimestampTzGetDatum(cursor->failing_since);
	nulls[Anum_cursor_failing_since - 1] = cursor->streak == 0;
	values[Anum_cursor_from_snapshot - 1] = PointerGetDatum(EdaSnapshotEncode(cursor->from));
	values[Anum_cursor_to_snapshot - 1] = PointerGetDatum(EdaSnapshotEncode(cursor->to));
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);

	replace_row(rel, &cursor->tid, tuple);
	cursor->tid = tuple->t_self;
	cursor->stored_window = hash_window(DatumGetByteaPP(values[Anum_cursor_from_snapshot - 1]),
										DatumGetByteaPP(values[Anum_cursor_to_snapshot - 1]));
	cursor->stored_pos_id = cursor->pos_id;
	cursor->stored_done = cursor->handled + cursor->filtered + cursor->failed;
	heap_freetuple(tuple);
	table_close(rel, NoLock);
	return EDA_CURSOR_STORED;
}

/* Begin to look at the rows of all lanes, as they are now. */
static SysScanDesc
begin_lanes(Relation rel, Snapshot snapshot, int32 subscription_id)
{
	ScanKeyData key;

	ScanKeyInit(&key, Anum_cursor_subscription_id, BTEqualStrategyNumber,
				F_INT4EQ, Int32GetDatum(subscription_id));
	return systable_beginscan(rel, EdaCursorIndexId(), true, snapshot, 1, &key);
}

EdaCursor *
EdaCursorLoadAll(int32 subscription_id, int *n)
{
	Relation	rel = table_open(EdaCursorRelId(), AccessShareLock);
	SysScanDesc scan = begin_lanes(rel, GetActiveSnapshot(), subscription_id);
	EdaCursor  *cursors = NULL;
	HeapTuple	tuple;

	*n = 0;
	/* the index has them in the order of their lanes */
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		cursors = cursors == NULL ? palloc(sizeof(EdaCursor)) :
			repalloc(cursors, (*n + 1) * sizeof(EdaCursor));
		cursor_from_row(&cursors[*n], rel, tuple);
		if (cursors[*n].lane != *n)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("subscription %d has no cursor for its lane %d", subscription_id, *n)));
		(*n)++;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return cursors;
}

/* What is behind it: its window's beginning, or its end when it is through. */
static const EdaSnapshot *
passed_by(const EdaCursor *cursor)
{
	return cursor->pos_id == EDA_WINDOW_DONE ? cursor->to : cursor->from;
}

const EdaSnapshot *
EdaCursorOldest(const EdaCursor *cursors, int n)
{
	const EdaSnapshot *oldest = passed_by(&cursors[0]);

	for (int i = 1; i < n; i++)
		if (EdaSnapshotOlder(passed_by(&cursors[i]), oldest))
			oldest = passed_by(&cursors[i]);
	return oldest;
}

void
EdaCursorDelete(int32 subscription_id)
{
	Relation	rel = table_open(EdaCursorRelId(), RowExclusiveLock);
	Snapshot	snapshot;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (EdaTableIsWatched(rel))
	{
		EdaSpiExecuteById("DELETE FROM eda.cursor WHERE subscription_id = $1", subscription_id,
						  SPI_OK_DELETE);
		table_close(rel, NoLock);
		return;
	}
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = begin_lanes(rel, snapshot, subscription_id);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		simple_heap_delete(rel, &tuple->t_self);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* Let failures count from 0 in all lanes; place (unless NULL): and put them where it is. */
static void
rewrite_lanes(int32 subscription_id, const EdaCursor *place)
{
	Relation	rel = table_open(EdaCursorRelId(), RowExclusiveLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = begin_lanes(rel, snapshot, subscription_id);
	HeapTuple	old;

	while (HeapTupleIsValid(old = systable_getnext(scan)))
	{
		TupleDesc	desc = RelationGetDescr(rel);
		Datum	   *values;
		bool	   *nulls;
		HeapTuple	tuple;

		take_apart(rel, old, &values, &nulls);
		if (place == NULL && DatumGetInt32(values[Anum_cursor_streak - 1]) == 0)
			continue;
		values[Anum_cursor_streak - 1] = Int32GetDatum(0);
		nulls[Anum_cursor_failing_since - 1] = true;
		if (place != NULL)
		{
			values[Anum_cursor_pos_id - 1] = Int64GetDatum(place->pos_id);
			values[Anum_cursor_from_snapshot - 1] = PointerGetDatum(EdaSnapshotEncode(place->from));
			values[Anum_cursor_to_snapshot - 1] = PointerGetDatum(EdaSnapshotEncode(place->to));
		}
		tuple = heap_form_tuple(desc, values, nulls);
		replace_row(rel, &old->t_self, tuple);
		heap_freetuple(tuple);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
EdaCursorResetStreak(int32 subscription_id)
{
	rewrite_lanes(subscription_id, NULL);
}

void
EdaCursorMove(int32 subscription_id, const EdaSnapshot *from, const EdaSnapshot *to,
			  int64 pos_id)
{
	EdaCursor	place = {0};

	place.from = unconstify(EdaSnapshot *, from);
	place.to = unconstify(EdaSnapshot *, to);
	place.pos_id = pos_id;
	rewrite_lanes(subscription_id, &place);
}
