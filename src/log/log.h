/*-------------------------------------------------------------------------
 *
 * log/log.h
 *	  The event log: scan a window of xids.
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
/* The same from an entry of such a scan on (NULL: all); from the beginning where its segment is not live any more. */
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
