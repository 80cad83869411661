/*-------------------------------------------------------------------------
 *
 * log/log.h
 *	  The event log: scan a window of xids.
 *
 * The log's life
 *
 *	Whole segments end, never single events.  With each poll the dispatcher takes each segment
 *	a step further that is ready for it (dispatch/retention.c), and waits for nobody:
 *
 *	* Closed when it is large or old.  A publisher that has it locked keeps it until it
 *	  ends, prepared transactions too; then it is sealed, and its highest xid is known, so
 *	  that scans pass it by.  It gets its BRIN index then: publishers maintain the one
 *	  B-tree only.
 *	* Retired when it is due and no cursor needs it: nothing in it is after what the
 *	  cursor's lane has seen.  Retired is a row version: snapshots from before have it,
 *	  later ones do not, and no reader of eda's looks into it.
 *	* Truncated when the transactions are gone that held a snapshot at that moment, or may
 *	  have been handed one by those, and the xmin of slots and standbys is past it.  Not
 *	  "when the oldest xmin is past it": a session idle in a transaction would pin every
 *	  segment.
 *
 *	Cursors of idle lanes are moved to where the log ends once a minute, and when a segment
 *	has become due (dispatch/idle_cursors.c), without going through what waits for a lane that
 *	is not idle; an executor that lingers on a lane stores its own when asked.  So what pins a
 *	segment is a subscription that has still to handle something, or one that is uncommitted.
 *
 *   open --rotate--> closed --no publisher left--> sealed --due, no lane needs it--> retired --no snapshot sees it--> free
 *    ^                                                                                                       |
 *    +----------------------------- rotate: the table is used again, with a new number ---------------------+
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/log/log.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_LOG_H
#define EDA_LOG_H

#include "event/event.h"
#include "log/index.h"
#include "log/snapshot.h"

/*
 * Call back for each index entry whose xid is in one of the ranges, from all
 * segments that may hold such, in index order within a segment.  Index only:
 * entries of rolled-back savepoints come too.  An active snapshot is needed.
 * Reaches CHECK_FOR_INTERRUPTS.  Returns the number of entries seen.
 */
extern uint64 EdaLogScan(const EdaXidRange *ranges, int nranges,
						 EdaLogEntryCallback callback, void *arg);
/*
 * The same from an entry of such a scan on (NULL: all); from the beginning where its segment is
 * not live any more.
 */
extern uint64 EdaLogScanFrom(const EdaXidRange *ranges, int nranges, const EdaLogEntry *from,
							 EdaLogEntryCallback callback, void *arg);

/*
 * The same for the entries of one segment from `first` to `last`, both
 * included, in index order.  Nothing where the segment is not part of the log any more.
 */
extern uint64 EdaLogScanSpan(uint16 segment, EdaLogPlace first, EdaLogPlace last,
							 EdaLogEntryCallback callback, void *arg);

/* This header is the face of its folder: what else other folders may use. */
#include "log/append.h"
#include "log/id.h"
#include "log/reader.h"
#include "log/segment.h"

#endif							/* EDA_LOG_H */
