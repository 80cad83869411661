/*-------------------------------------------------------------------------
 *
 * log/index.c
 *	  One segment of the event log: what its index on (xid, id) has.
 *
 *	1. A segment has a B-tree index on (xid, id) that includes the hashes of topic and key: what
 *	   a scan needs to leave out an event without a look at its row.
 *	2. What a scan returns are index entries.  Whether there is an event that is
 *	   visible only the row says (log/reader.c).
 *	3. The caller opens the segment, and knows which segments there are (log/segment.c,
 *	   log/log.c).
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/log/index.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "log/index.h"

/* Index entries between two looks for interrupts. */
#define SCAN_INTERRUPTS 1024

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
 * What an entry of the index on (xid, id, topic_hash, key_hash) holds: all columns have a fixed
 * place.
 */
static inline void
read_entry(IndexTuple tuple, EdaLogEntry *entry)
{
	const char *data = (const char *) tuple + IndexInfoFindDataOffset(tuple->t_info);

	memcpy(&entry->xid, data, sizeof(uint64));
	memcpy(&entry->id, data + 8, sizeof(int64));
	memcpy(&entry->topic_hash, data + 16, sizeof(uint32));
	memcpy(&entry->key_hash, data + 20, sizeof(uint16));
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
	ScanKeyData key;
	ItemPointer tid;

	/* each key is a function call for each entry: where it ends we see ourselves */
	if (first.id == PG_INT64_MIN)
		ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_XID8GE, UInt64GetDatum(first.xid));
	else
	{
		/* (xid, id) >= first */
		ScanKeyEntryInitialize(&members[0], SK_ROW_MEMBER, 1, BTGreaterEqualStrategyNumber,
							   XID8OID, InvalidOid, F_XID8CMP, UInt64GetDatum(first.xid));
		ScanKeyEntryInitialize(&members[1], SK_ROW_MEMBER | SK_ROW_END, 2, BTGreaterEqualStrategyNumber,
							   INT8OID, InvalidOid, F_BTINT8CMP, Int64GetDatum(first.id));
		memset(&key, 0, sizeof(ScanKeyData));
		key.sk_flags = SK_ROW_HEADER;
		key.sk_attno = 1;
		key.sk_strategy = BTGreaterEqualStrategyNumber;
		key.sk_argument = PointerGetDatum(members);
	}
	index_rescan(scan, &key, 1, NULL, 0);

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
	IndexScanDesc scan = eda_index_beginscan(rel, index, GetActiveSnapshot(), 1);

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

bool
EdaLogIndexScan(Relation rel, uint16 segment, const EdaXidRange *ranges, int nranges,
				EdaLogPlace from, EdaLogEntryCallback callback, void *arg, uint64 *seen)
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

uint64
EdaLogIndexScanSpan(Relation rel, uint16 segment, EdaLogPlace first, EdaLogPlace last,
					EdaLogEntryCallback callback, void *arg)
{
	EdaLogEntry entry;
	IndexScanDesc scan = begin_scan(rel, segment, &entry);
	uint64		seen = 0;

	(void) scan_part(scan, &entry, first, last, callback, arg, &seen);
	end_scan(scan);
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

	return !EdaLogIndexScan(rel, 0, &range, 1, EdaLogBeginning, stop_at_first, NULL, &seen);
}
