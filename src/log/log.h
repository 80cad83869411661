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

#include "storage/itemptr.h"
#include "utils/snapshot.h"

#include "event/event.h"
#include "log/snapshot.h"

/* Attribute numbers of eda.log and its segments (src/sql/20_log.sql). */
enum
{
	Anum_log_id = 1,			/* bigint */
	Anum_log_xid,				/* xid8, top-level transaction */
	Anum_log_published_at,		/* timestamptz */
	Anum_log_published_by,		/* oid */
	Anum_log_topic_hash,		/* int4 */
	Anum_log_key_hash,			/* int2, 0 without a key */
	Anum_log_topic,				/* text */
	Anum_log_payload,			/* jsonb */
	Anum_log_key,				/* text, NULL: none */
	Anum_log_deliver_at,		/* timestamptz, NULL: it was due when it was published */
	Anum_log_causation_id,		/* bigint, NULL: none */
	Anum_log_hops,				/* int2, NULL: 0 */
	Anum_log_correlation_id,	/* text, NULL: the event's own id */
	Anum_log_headers,			/* jsonb, NULL: none */
	Natts_log = Anum_log_headers
};

/* One entry of a segment's (xid, id) index. */
typedef struct EdaLogEntry
{
	int64		id;
	uint64		xid;
	uint32		topic_hash;
	uint16		key_hash;		/* 0: it has no key */
	uint16		segment;		/* its slot: EdaLogFetch() takes it back */
	Oid			filenumber;		/* of the segment: tid is good for no other file */
	ItemPointerData tid;
} EdaLogEntry;

/* Return false to end the scan. */
typedef bool (*EdaLogEntryCallback) (const EdaLogEntry *entry, void *arg);

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

/* Where an entry stands in its segment's index. */
typedef struct EdaLogPlace
{
	uint64		xid;
	int64		id;
} EdaLogPlace;

/*
 * The same for the entries of one segment from `first` to `last`, both
 * included, in index order.  Nothing where the segment is not part of the log any more.
 */
extern uint64 EdaLogScanSpan(uint16 segment, EdaLogPlace first, EdaLogPlace last,
							 EdaLogEntryCallback callback, void *arg);

/* Is this the index of a segment that is scanned, (xid, id) INCLUDE (topic_hash, key_hash)? */
extern bool EdaLogIsScanIndex(Relation index);

/*
 * What a segment's index says, whether rolled back or not: its highest xid (0: it is empty), and whether
 * it has this one.  The caller has the segment open; an active snapshot is needed.
 */
extern uint64 EdaLogMaxXid(Relation rel);
extern bool EdaLogHasXid(Relation rel, uint64 xid);

/* This header is the face of its folder: what else other folders may use. */
#include "log/append.h"
#include "log/id.h"
#include "log/reader.h"
#include "log/segment.h"

#endif							/* EDA_LOG_H */
