/*-------------------------------------------------------------------------
 *
 * log/index.h
 *	  One segment of the event log: its columns, and its index on (xid, id).
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/log/index.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_LOG_INDEX_H
#define EDA_LOG_INDEX_H

#include "storage/itemptr.h"
#include "utils/rel.h"

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

/* Where an entry stands in its segment's index. */
typedef struct EdaLogPlace
{
	uint64		xid;
	int64		id;
} EdaLogPlace;

/* Before every other place. */
#define EdaLogBeginning		((EdaLogPlace) {0, PG_INT64_MIN})

/*
 * Call back for each index entry of a segment whose xid is in one of the ranges, in index
 * order, from a place on.  The caller has the segment open; `segment` is its slot.  False when
 * the callback ended it.  *seen is raised by the number of entries.  An active snapshot is needed.
 */
extern bool EdaLogIndexScan(Relation rel, uint16 segment, const EdaXidRange *ranges, int nranges,
							EdaLogPlace from, EdaLogEntryCallback callback, void *arg,
							uint64 *seen);

/* The same for the entries from `first` to `last`, both included; returns how many were seen. */
extern uint64 EdaLogIndexScanSpan(Relation rel, uint16 segment, EdaLogPlace first, EdaLogPlace last,
								  EdaLogEntryCallback callback, void *arg);

/* Is this the index of a segment that is scanned, (xid, id) INCLUDE (topic_hash, key_hash)? */
extern bool EdaLogIsScanIndex(Relation index);

/*
 * What a segment's index says, whether rolled back or not: its highest xid (0: it is empty), and
 * whether it has this one.  The caller has the segment open; an active snapshot is needed.
 */
extern uint64 EdaLogMaxXid(Relation rel);
extern bool EdaLogHasXid(Relation rel, uint64 xid);

#endif							/* EDA_LOG_INDEX_H */
