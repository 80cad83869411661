/*-------------------------------------------------------------------------
 *
 * subscription/cursor.h
 *	  A lane's place in the log: a window of two snapshots and a position.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/subscription/cursor.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_CURSOR_H
#define EDA_CURSOR_H

#include "nodes/pg_list.h"
#include "storage/itemptr.h"

#include "log/log.h"

/* Lanes of a subscription, at most: what a publisher notes of them fits in 64 bits. */
#define EDA_MAX_LANES		64

/* pos_id of a window that is done. */
#define EDA_WINDOW_DONE		PG_INT64_MAX

typedef struct EdaCursor
{
	int32		subscription_id;
	int16		lane;
	int32		streak;			/* failures since the last success */
	int64		pos_id;			/* all ids up to it are done in the window */
	int64		handled;
	int64		filtered;
	int64		failed;
	TimestampTz last_handled_at;	/* 0: never */
	TimestampTz failing_since;	/* first failure of the streak; 0: there is none */
	EdaSnapshot *from;
	EdaSnapshot *to;

	/* where the row was, a hint that EdaCursorStore() checks */
	ItemPointerData tid;

	/* what the row says, to see whether somebody else wrote it */
	int64		stored_pos_id;
	int64		stored_done;	/* handled, filtered and failed together */
	uint64		stored_window;	/* a hash of its snapshots */
} EdaCursor;

typedef enum EdaCursorStored
{
	EDA_CURSOR_STORED,
	EDA_CURSOR_MOVED,			/* somebody else wrote the row since it was loaded */
	EDA_CURSOR_GONE				/* there is no row */
} EdaCursorStored;

/*
 * Read a lane's row as the active snapshot sees it; from and to are palloc'd
 * in the current context.  False where there is none.  Needs no rights.
 */
extern bool EdaCursorLoad(EdaCursor *cursor, int32 subscription_id, int16 lane);

/* The rows of all subscriptions' lanes in the same way, of EdaCursor *. */
extern List *EdaCursorLoadEvery(void);

/*
 * Where a lane stands: events that this snapshot sees are done; of the others, those that the
 * window has besides may be.
 */
static inline const EdaSnapshot *
EdaCursorBound(const EdaCursor *cursor)
{
	return cursor->pos_id == EDA_WINDOW_DONE ? cursor->to : cursor->from;
}

/*
 * Write it back, in this transaction.  The caller holds the subscription's
 * lock.  Nothing is written unless the result is EDA_CURSOR_STORED; a row that
 * is being written right now is an ERROR.  The new place of the row is in *cursor: after an
 * abort the caller goes back to the struct as it was before.
 */
extern EdaCursorStored EdaCursorStore(EdaCursor *cursor);

/* Does its row still say what it said when the cursor was loaded or stored? */
extern bool EdaCursorIsUnmoved(const EdaCursor *cursor);

/*
 * For commands that hold the subscription's lock in AccessExclusiveLock: delete
 * the rows of all its lanes; let failures count from 0 in all of them; put all
 * of them to one place, failures counting from 0.  What they wrote the rest of
 * the transaction sees.
 */
extern void EdaCursorDelete(int32 subscription_id);
extern void EdaCursorResetStreak(int32 subscription_id);
extern void EdaCursorMove(int32 subscription_id, const EdaSnapshot *from,
						  const EdaSnapshot *to, int64 pos_id);

/*
 * The cursors of all lanes of a subscription, by lane, as the active snapshot
 * sees them; palloc'd in the current context; NULL where there are none.
 * *n is how many: the subscription's `lanes` in the same snapshot.
 */
extern EdaCursor *EdaCursorLoadAll(int32 subscription_id, int *n);

/* The `from` that was taken first: its window holds everything that is pending in any of them. */
extern const EdaSnapshot *EdaCursorOldest(const EdaCursor *cursors, int n);

/* Is an event of this transaction and id behind the cursor? */
static inline bool
EdaCursorPassed(const EdaCursor *cursor, uint64 xid, int64 id)
{
	return EdaSnapshotSees(cursor->from, xid) ||
		(id <= cursor->pos_id && EdaSnapshotSees(cursor->to, xid));
}

#endif							/* EDA_CURSOR_H */
