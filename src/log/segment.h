/*-------------------------------------------------------------------------
 *
 * log/segment.h
 *	  The segments of the event log: which there are, and the steps of their
 *	  life.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/log/segment.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_SEGMENT_H
#define EDA_SEGMENT_H

#include "datatype/timestamp.h"

/* Tables that the log has at most; with all of them in use, the current one grows. */
#define EDA_MAX_SEGMENTS	64

/* What column state of eda.segment says. */
typedef enum EdaSegmentState
{
	EDA_SEGMENT_OPEN = 'o',		/* the current one: events are appended to it */
	EDA_SEGMENT_CLOSED = 'c',	/* no publisher chooses it any more */
	EDA_SEGMENT_SEALED = 's',	/* none is left that had: it is complete */
	EDA_SEGMENT_RETIRED = 'r',	/* not part of the log any more */
	EDA_SEGMENT_FREE = 'f'		/* an empty table, to be used again */
} EdaSegmentState;

/* A row of eda.segment. */
typedef struct EdaSegment
{
	int32		number;			/* ascending in time; a table that is used again has a new one */
	uint16		slot;			/* of the table, 1 to EDA_MAX_SEGMENTS; eda.log_SLOT */
	Oid			relid;
	EdaSegmentState state;
	TimestampTz opened_at;
	TimestampTz sealed_at;		/* 0 until then */
	uint64		max_xid;		/* of its entries, once it is sealed; 0: it has none */
	uint64		retired_xid;	/* of the transaction that retired it, else 0 */
} EdaSegment;

/* Is it part of the log? */
static inline bool
EdaSegmentIsLive(const EdaSegment *segment)
{
	return segment->state == EDA_SEGMENT_OPEN || segment->state == EDA_SEGMENT_CLOSED ||
		segment->state == EDA_SEGMENT_SEALED;
}

/*
 * All rows of eda.segment as they are now, ascending by number; palloc'd.
 * Returns how many.  A segment that is missing was opened after the last
 * snapshot of the caller was taken.
 */
extern int	EdaSegments(EdaSegment **list);

/* The table that appends go to, as far as this backend knows; ERROR where there is none. */
extern Oid	EdaSegmentCurrent(void);

/* The table of the live segment in that slot; InvalidOid where there is none. */
extern Oid	EdaSegmentTable(uint16 slot);

/* A relation was invalidated, or all were (InvalidOid): from the relcache's callback. */
extern void EdaSegmentInvalidate(Oid relid);
/* Read eda.segment again when it is next asked for: somebody may have changed it by hand. */
extern void EdaSegmentForget(void);

/*
 * To the end of this transaction nothing that is in the log now is retired, nor what
 * comes into it: for who puts a cursor where it was not before (a new
 * subscription, a seek back), which nobody sees until the commit.  Take it
 * before the position is determined.
 */
extern void EdaLogHold(void);
/* The other side: true where no such transaction is open, or will be before this one has ended. */
extern bool EdaLogTryExclude(void);

/*
 * The steps of a segment's life, for the dispatcher only, each in a transaction
 * with an active snapshot.  None waits for a lock: false means that
 * somebody has it, and nothing was done.
 *
 * Rotate: close the current segment and open another, in a free table or a
 * new one.  Nothing happens where EDA_MAX_SEGMENTS are in use; *limited says so.
 * Seal: of a closed segment, unless a transaction that publishes in it is still open or prepared.
 * Retire: of a sealed one.  Who calls has made sure that nobody needs it.
 * Truncate: of a retired one, which makes it free.  Who calls has made sure
 * that no snapshot is left that takes it for live.
 */
extern bool EdaSegmentRotate(bool *limited);
extern bool EdaSegmentSeal(const EdaSegment *segment);
extern void EdaSegmentRetire(const EdaSegment *segment);
extern bool EdaSegmentTruncate(const EdaSegment *segment);

/* Size on disk in bytes, everything included; -1 where the table is locked or gone. */
extern int64 EdaSegmentSize(const EdaSegment *segment);
/* Has it no entry, not even a rolled-back one?  True also where the table is locked or gone. */
extern bool EdaSegmentIsEmpty(const EdaSegment *segment);

#endif							/* EDA_SEGMENT_H */
