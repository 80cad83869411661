/*-------------------------------------------------------------------------
 *
 * eda_advance.c
 *	  Cursors of lanes that have nothing to do follow the log.
 *
 *	1. A cursor moves when its lane handles something.  One whose topics are
 *	   silent would stand where it was for months, pin every segment since,
 *	   and have all of it to look through for its next event.  So the dispatcher
 *	   moves it, about once a minute and before it retires a segment.
 *	2. A lane is at rest when its stored window is done and no executor holds
 *	   it.  Only the dispatcher gives lanes to executors, so what is free
 *	   when it looks stays free until it is through.  Commands that move or change a
 *	   subscription are kept out by its lock, in RowExclusiveLock, taken before
 *	   the snapshot with which definition and cursor are read: the events are
 *	   matched against the subscription as that snapshot sees it.
 *	3. One pass over the log's index, from the oldest of these cursors to the
 *	   snapshot, looks for an event that is for one of the lanes.  Those that
 *	   have one keep their place, whether active, paused or blocked; the
 *	   others get an empty window that ends at the snapshot.
 *	   A lane is out of the pass with its first event, and the pass goes on from the
 *	   oldest cursor that is left: what has been waiting for a paused one for
 *	   weeks is not gone through.
 *	4. A lane that has an event waiting is not looked at again until its
 *	   cursor or a definition has changed.
 *	5. An executor that lingers on a lane knows where it is, and is asked to
 *	   store it.
 *	6. Lanes that are on their way to a fence are left alone: they meet there.
 *
 * EdaShared->lock is held (shared) while the executors' slots are looked at.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/eda_advance.c
 *
 *-------------------------------------------------------------------------
 */
#include "eda.h"

#include "access/xact.h"
#include "lib/qunique.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "eda_advance.h"
#include "eda_cursor.h"
#include "eda_log.h"
#include "eda_subscription.h"
#include "eda_worker.h"

typedef struct LaneKey
{
	int32		subscription_id;
	int32		lane;
} LaneKey;

/* A lane that has an event waiting, as long as its cursor ends there. */
typedef struct StuckLane
{
	LaneKey		key;
	uint64		xmin;
	uint64		xmax;
	int			nxip;
} StuckLane;

static HTAB *stuck = NULL;		/* in TopMemoryContext */
static uint64 stuck_epoch = 0;	/* of the definitions that it was found out with */

/* A lane at rest, in a pass. */
typedef struct RestingLane
{
	EdaCursor  *cursor;
	const EdaSubscription *sub;
	uint64		passed;			/* index entries that it has not passed yet */
} RestingLane;

typedef struct Pass
{
	EdaLogReader *reader;
	List	   *lanes;			/* of RestingLane *: nothing is for them so far */
	bool		fewer;			/* than when the scan began */
	bool		again;			/* the scan is where none of them need be: begin another one */
} Pass;

static LaneKey
key_of(const EdaCursor *cursor)
{
	LaneKey		key = {.subscription_id = cursor->subscription_id, .lane = cursor->lane};

	return key;
}

/* Does an executor have it?  If so, it is asked to store its cursor. */
static bool
is_held(const EdaCursor *cursor)
{
	bool		held = false;

	LWLockAcquire(EdaShared->lock, LW_SHARED);
	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		EdaExecutor *exec = &EdaShared->executors[i];

		if (exec->dbid != MyDatabaseId || exec->subscription_id != cursor->subscription_id ||
			exec->lane_no != cursor->lane ||
			(exec->state != EDA_EXEC_ASSIGNED && exec->state != EDA_EXEC_RUNNING))
			continue;
		held = true;
		pg_atomic_write_u32(&exec->store_asked, 1);
		pg_atomic_write_u32(&exec->wake, 1);
		if (exec->latch != NULL)
			SetLatch(exec->latch);
	}
	LWLockRelease(EdaShared->lock);
	return held;
}

/* Is it known that an event waits for it? */
static bool
is_stuck(const EdaCursor *cursor)
{
	LaneKey		key = key_of(cursor);
	StuckLane  *entry = hash_search(stuck, &key, HASH_FIND, NULL);

	return entry != NULL && entry->xmin == cursor->to->xmin &&
		entry->xmax == cursor->to->xmax && entry->nxip == cursor->to->nxip;
}

static void
remember_stuck(const EdaCursor *cursor)
{
	LaneKey		key = key_of(cursor);
	StuckLane  *entry = hash_search(stuck, &key, HASH_ENTER, NULL);

	entry->xmin = cursor->to->xmin;
	entry->xmax = cursor->to->xmax;
	entry->nxip = cursor->to->nxip;
}

static HTAB *
create_table(const char *name, Size entrysize, MemoryContext mcxt)
{
	HASHCTL		ctl;

	ctl.keysize = sizeof(LaneKey);
	ctl.entrysize = entrysize;
	ctl.hcxt = mcxt;
	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* What was found out with other definitions is forgotten. */
static void
prepare_stuck(void)
{
	uint64		epoch = EdaSubscriptionEpoch();

	if (stuck != NULL && stuck_epoch != epoch)
	{
		hash_destroy(stuck);
		stuck = NULL;
	}
	if (stuck == NULL)
		stuck = create_table("eda lanes with events", sizeof(StuckLane), TopMemoryContext);
	stuck_epoch = epoch;
}

/*
 * The lanes that are free, of subscriptions whose locks could be had, which
 * stay to the end of the transaction: a table of LaneKey.
 */
static HTAB *
find_free_lanes(void)
{
	HTAB	   *lanes = create_table("eda lanes at rest", sizeof(LaneKey), CurrentMemoryContext);
	List	   *locked = NIL;
	List	   *busy = NIL;
	ListCell   *lc;

	foreach(lc, EdaCursorLoadEvery())
	{
		EdaCursor  *cursor = lfirst(lc);
		int			id = cursor->subscription_id;
		LaneKey		key = key_of(cursor);

		if (is_held(cursor) || cursor->pos_id != EDA_WINDOW_DONE || is_stuck(cursor) ||
			list_member_int(busy, id))
			continue;
		if (!list_member_int(locked, id))
		{
			if (!EdaSubscriptionTryLock(id, RowExclusiveLock))
			{
				busy = lappend_int(busy, id);
				continue;
			}
			locked = lappend_int(locked, id);
		}
		(void) hash_search(lanes, &key, HASH_ENTER, NULL);
	}
	return lanes;
}

/* Those of them that are at rest, as the active snapshot sees them; of RestingLane *. */
static List *
load_resting_lanes(HTAB *free_lanes)
{
	List	   *subs = EdaSubscriptionLoadAll();
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, EdaCursorLoadEvery())
	{
		EdaCursor  *cursor = lfirst(lc);
		LaneKey		key = key_of(cursor);
		const EdaSubscription *sub = NULL;
		RestingLane *lane;
		ListCell   *other;

		if (cursor->pos_id != EDA_WINDOW_DONE ||
			hash_search(free_lanes, &key, HASH_FIND, NULL) == NULL)
			continue;
		foreach(other, subs)
		{
			if (((EdaSubscription *) lfirst(other))->id == cursor->subscription_id)
				sub = lfirst(other);
		}
		if (sub == NULL || sub->fence != NULL)
			continue;
		lane = palloc(sizeof(RestingLane));
		lane->cursor = cursor;
		lane->sub = sub;
		lane->passed = 0;
		result = lappend(result, lane);
	}
	return result;
}

static int
compare_xid(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return x < y ? -1 : (x > y ? 1 : 0);
}

/* A snapshot that sees no more than what all of the lanes' cursors see. */
static EdaSnapshot *
common_past(List *lanes)
{
	EdaSnapshot *past;
	uint64		xmax = PG_UINT64_MAX;
	int			nxip = 0;
	ListCell   *lc;

	foreach(lc, lanes)
	{
		const EdaSnapshot *to = ((RestingLane *) lfirst(lc))->cursor->to;

		xmax = Min(xmax, to->xmax);
		nxip += to->nxip;
	}
	past = palloc(offsetof(EdaSnapshot, xip) + nxip * sizeof(uint64));
	past->xmax = xmax;
	past->nxip = 0;
	foreach(lc, lanes)
	{
		const EdaSnapshot *to = ((RestingLane *) lfirst(lc))->cursor->to;

		for (int i = 0; i < to->nxip && to->xip[i] < xmax; i++)
			past->xip[past->nxip++] = to->xip[i];
	}
	qsort(past->xip, past->nxip, sizeof(uint64), compare_xid);
	past->nxip = qunique(past->xip, past->nxip, sizeof(uint64), compare_xid);
	past->xmin = past->nxip > 0 ? past->xip[0] : xmax;
	return past;
}

static bool
pass_entry(const EdaLogEntry *entry, void *arg)
{
	Pass	   *pass = arg;
	EdaEvent	ev;
	bool		fetched = false;
	bool		visible = false;
	bool		needed = false;
	ListCell   *lc;

	foreach(lc, pass->lanes)
	{
		RestingLane *lane = lfirst(lc);

		if (EdaSnapshotSees(lane->cursor->to, entry->xid))
			continue;
		needed = true;
		lane->passed++;
		if (!EdaSubscriptionMayGet(lane->sub, lane->cursor->lane, entry))
			continue;
		if (!fetched)
		{
			ItemPointerData tid = entry->tid;

			visible = EdaLogFetch(pass->reader, entry->id, entry->segment, &tid,
								  GetActiveSnapshot(), &ev);
			fetched = true;
		}
		if (!visible || !EdaSubscriptionGets(lane->sub, &ev))
			continue;
		remember_stuck(lane->cursor);
		pass->lanes = foreach_delete_current(pass->lanes, lc);
		pass->fewer = true;
	}
	/* only for a lane that is out the scan had to begin here */
	pass->again = pass->lanes != NIL && pass->fewer && !needed;
	return pass->lanes != NIL && !pass->again;
}

/*
 * Take the lanes out that an event is for.  Each scan begins where the oldest
 * cursor is that is left, so what is behind an event that waits is not gone through
 * for the sake of the one that it waits for.
 */
static void
pass_log(Pass *pass, const EdaSnapshot *now)
{
	uint64		seen = 0;

	pass->reader = EdaLogReaderOpen();
	do
	{
		EdaXidRange *ranges;
		int			nranges = EdaSnapshotWindow(common_past(pass->lanes), now, &ranges);

		pass->fewer = pass->again = false;
		seen += EdaLogScan(ranges, nranges, pass_entry, pass);
		pfree(ranges);
	} while (pass->again);
	EdaLogReaderClose(pass->reader);

	ereport(DEBUG1,
			(errmsg_internal("looked at %llu index entries for idle cursors, of which %d can follow the log",
							 (unsigned long long) seen, list_length(pass->lanes))));
}

void
EdaAdvanceCursors(void)
{
	HTAB	   *free_lanes;
	Pass		pass = {0};

	EdaWorkerBegin();
	prepare_stuck();
	free_lanes = find_free_lanes();

	/* as of now that the locks are held */
	PushActiveSnapshot(GetLatestSnapshot());
	if (hash_get_num_entries(free_lanes) > 0)
		pass.lanes = load_resting_lanes(free_lanes);
	if (pass.lanes != NIL)
	{
		EdaSnapshot *now = EdaSnapshotFrom(GetActiveSnapshot(), false);
		ListCell   *lc;

		/* the own xid is not in the snapshot's list: it would count as seen */
		Assert(!TransactionIdIsValid(GetTopTransactionIdIfAny()));

		pass_log(&pass, now);
		foreach(lc, pass.lanes)
		{
			RestingLane *lane = lfirst(lc);

			if (lane->passed == 0)
				continue;
			lane->cursor->from = lane->cursor->to = now;
			/* where somebody moved the row by hand, that is where it is */
			(void) EdaCursorStore(lane->cursor);
		}
	}
	PopActiveSnapshot();
	EdaWorkerCommit();
}
