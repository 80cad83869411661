/*-------------------------------------------------------------------------
 *
 * log/reader.h
 *	  The event log: rows, by the tuple ids of a scan, or by id.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/log/reader.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_READER_H
#define EDA_READER_H

#include "event/event.h"
#include "log/index.h"

/*
 * A reader keeps the segments open within one transaction, so that a batch
 * opens them once.
 */
typedef struct EdaLogReader EdaLogReader;

extern EdaLogReader *EdaLogReaderOpen(void);
/*
 * Fetch one event as `snapshot` sees it.  False where no row is visible
 * there, or another event's row is (the slot was reused).  ev's pointers are
 * valid until the next fetch or the close.
 */
extern bool EdaLogFetch(EdaLogReader *reader, int64 id, uint16 segment,
						ItemPointer tid, Snapshot snapshot, EdaEvent *ev);
/*
 * The row that is fetched next is likely that one: where its page is at hand, have the
 * processor bring it into its cache meanwhile.
 */
extern void EdaLogPrefetch(EdaLogReader *reader, uint16 segment, ItemPointer tid);
/*
 * Are tuple ids of that file of a segment still good?  False after VACUUM
 * FULL, CLUSTER, TRUNCATE or a rewrite, or when the segment is gone or retired.  The answer
 * holds for the rest of the transaction: the segment stays locked.
 */
extern bool EdaLogReaderKnows(EdaLogReader *reader, uint16 segment, Oid filenumber);
extern void EdaLogReaderClose(EdaLogReader *reader);

/* Fetch by id alone (BRIN); a palloc'd copy, or NULL. */
extern EdaEvent *EdaLogFindById(int64 id, Snapshot snapshot);

#endif							/* EDA_READER_H */
