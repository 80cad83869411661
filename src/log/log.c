/*-------------------------------------------------------------------------
 *
 * log/log.c
 *	  The event log: scan a window of xids.
 *
 *	1. The log is eda.log's children, the segments (log/segment.c).  What is
 *	   written to them is log/append.c's.
 *	2. A scan looks into the segments that are part of the log and can hold an
 *	   xid of its ranges: a sealed one says up to which xid it goes, so that
 *	   a window at the end of the log costs the same however long the log is.
 *	3. One segment is scanned by log/index.c, which knows of no list of them.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/log/log.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/table.h"
#include "miscadmin.h"

#include "log/log.h"
#include "log/segment.h"

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
	EdaLogPlace place = EdaLogBeginning;
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

		go_on = EdaLogIndexScan(rel, list[i].slot, ranges, nranges,
								i == start ? place : EdaLogBeginning, callback, arg, &seen);
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
	Oid			relid = EdaSegmentTable(segment);
	Relation	rel = OidIsValid(relid) ? try_table_open(relid, AccessShareLock) : NULL;
	uint64		seen;

	if (rel == NULL)
		return 0;
	seen = EdaLogIndexScanSpan(rel, segment, first, last, callback, arg);
	table_close(rel, NoLock);
	return seen;
}
