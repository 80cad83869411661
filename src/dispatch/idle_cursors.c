/*-------------------------------------------------------------------------
 *
 * dispatch/idle_cursors.c
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
 *	   If it is active and no executor has it, it is marked all the same: whatever went
 *	   wrong, its events do not wait for longer than that.
 *	5. An executor that lingers on a lane knows where it is, and is asked to
 *	   store it.
 *	6. Lanes that are on their way to a fence are left alone: they meet there.
 *
 * EdaShared->lock is held (shared) while the executors' slots are looked at.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/dispatch/idle_cursors.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "lib/qunique.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/transaction.h"
#include "dispatch/idle_cursors.h"
#include "dispatch/lanes.h"
#include "log/log.h"
#include "subscription/subscription.h"
#include "workers/workers.h"

/* A lane that has an event waiting, as long as its cursor ends there. */
typedef struct StuckLane
{
	EdaLaneKey	key;
	uint64		xmin;
	uint64		xmax;
	int			nxip;
} StuckLane;

static HTAB *stuck = NULL;		/* in TopMemoryContext */
static uint64 stuck_epoch = 0;	/* of the definitions that it was found out with */

/* Lanes at rest at one place: most have followed the log together. */
typedef struct Place
{
	const EdaSnapshot *to;
	int			nlanes;			/* that nothing is for so far */
	uint64		passed;			/* index entries that they have not passed yet */
} Place;

/* A lane at rest, in a pass. */
typedef struct RestingLane
{
	EdaCursor  *cursor;
	Place	   *place;
	bool		out;			/* an event is for it */
} RestingLane;

/* A subscription's lanes, by number; those that are not at rest are NULL. */
typedef struct RestingSet
{
	const EdaSubscription *sub;
	RestingLane *lanes[FLEXIBLE_ARRAY_MEMBER];
} RestingSet;

typedef struct Pass
{
	EdaLogReader *reader;
	List	   *lanes;			/* of RestingLane *, in the order of their places */
	List	   *places;			/* of Place * */
	EdaMatch   *match;			/* of RestingSet * */
	int			nlanes;			/* that nothing is for so far */
	bool		fewer;			/* than when the scan began */
	bool		again;			/* the scan is where none of them need be: begin another one */
} Pass;

static EdaLaneKey
key_of(const EdaCursor *cursor)
{
	EdaLaneKey	key = {.subscription_id = cursor->subscription_id, .lane_no = cursor->lane};

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

		if (!EdaExecutorHolds(exec, cursor->subscription_id, cursor->lane))
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
	EdaLaneKey	key = key_of(cursor);
	StuckLane  *entry = hash_search(stuck, &key, HASH_FIND, NULL);

	return entry != NULL && entry->xmin == cursor->to->xmin &&
		entry->xmax == cursor->to->xmax && entry->nxip == cursor->to->nxip;
}

static void
remember_stuck(const EdaCursor *cursor)
{
	EdaLaneKey	key = key_of(cursor);
	StuckLane  *entry = hash_search(stuck, &key, HASH_ENTER, NULL);

	entry->xmin = cursor->to->xmin;
	entry->xmax = cursor->to->xmax;
	entry->nxip = cursor->to->nxip;
}

static HTAB *
create_table(const char *name, Size keysize, Size entrysize, MemoryContext mcxt)
{
	HASHCTL		ctl;

	ctl.keysize = keysize;
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
		stuck = create_table("eda lanes with events", sizeof(EdaLaneKey), sizeof(StuckLane), TopMemoryContext);
	stuck_epoch = epoch;
}

/* The answer of a subscription's lock, in this transaction. */
typedef struct LockAnswer
{
	int32		subscription_id;	/* hash key */
	bool		locked;
} LockAnswer;

static bool
lock_subscription(HTAB *answers, int32 id)
{
	bool		found;
	LockAnswer *answer = hash_search(answers, &id, HASH_ENTER, &found);

	if (!found)
		answer->locked = EdaSubscriptionTryLock(id, RowExclusiveLock);
	return answer->locked;
}

/*
 * The lanes that are free, of subscriptions whose locks could be had, which
 * stay to the end of the transaction: a table of EdaLaneKey.  Those that have work
 * and nobody who does it are marked, if they are active.
 */
static HTAB *
find_free_lanes(void)
{
	HTAB	   *lanes = create_table("eda lanes at rest", sizeof(EdaLaneKey), sizeof(EdaLaneKey), CurrentMemoryContext);
	HTAB	   *answers = create_table("eda locks", sizeof(int32), sizeof(LockAnswer), CurrentMemoryContext);
	ListCell   *lc;

	foreach(lc, EdaCursorLoadEvery())
	{
		EdaCursor  *cursor = lfirst(lc);
		EdaLaneKey	key = key_of(cursor);

		if (is_held(cursor))
			continue;
		if (cursor->pos_id != EDA_WINDOW_DONE || is_stuck(cursor))
			EdaLaneMarkActive(cursor->subscription_id, cursor->lane);
		else if (lock_subscription(answers, cursor->subscription_id))
			(void) hash_search(lanes, &key, HASH_ENTER, NULL);
	}
	return lanes;
}

/* By place; two that are equal come one after the other. */
static int
compare_places(const ListCell *a, const ListCell *b)
{
	const EdaSnapshot *x = ((RestingLane *) lfirst(a))->cursor->to;
	const EdaSnapshot *y = ((RestingLane *) lfirst(b))->cursor->to;

	if (x->xmax != y->xmax)
		return x->xmax < y->xmax ? -1 : 1;
	if (x->nxip != y->nxip)
		return x->nxip < y->nxip ? -1 : 1;
	return x->nxip == 0 ? 0 : memcmp(x->xip, y->xip, x->nxip * sizeof(uint64));
}

static void
find_places(Pass *pass)
{
	Place	   *place = NULL;
	ListCell   *lc;

	list_sort(pass->lanes, compare_places);
	foreach(lc, pass->lanes)
	{
		RestingLane *lane = lfirst(lc);

		if (place == NULL || !EdaSnapshotEqual(place->to, lane->cursor->to))
		{
			place = palloc0(sizeof(Place));
			place->to = lane->cursor->to;
			pass->places = lappend(pass->places, place);
		}
		lane->place = place;
		place->nlanes++;
	}
}

/* Those of them that are at rest, as the active snapshot sees them. */
static void
load_resting_lanes(Pass *pass, HTAB *free_lanes)
{
	typedef struct SetEntry
	{
		int32		subscription_id;	/* hash key */
		RestingSet *set;
	} SetEntry;
	HTAB	   *sets = create_table("eda sets at rest", sizeof(int32), sizeof(SetEntry), CurrentMemoryContext);
	ListCell   *lc;

	pass->match = EdaMatchCreate();
	foreach(lc, EdaSubscriptionLoadAll())
	{
		const EdaSubscription *sub = lfirst(lc);
		SetEntry   *entry;

		if (sub->fence != NULL)
			continue;
		entry = hash_search(sets, &sub->id, HASH_ENTER, NULL);
		entry->set = palloc0(offsetof(RestingSet, lanes) + sub->lanes * sizeof(RestingLane *));
		entry->set->sub = sub;
		EdaMatchAdd(pass->match, sub->pattern, entry->set);
	}
	foreach(lc, EdaCursorLoadEvery())
	{
		EdaCursor  *cursor = lfirst(lc);
		EdaLaneKey	key = key_of(cursor);
		SetEntry   *entry;
		RestingLane *lane;

		if (cursor->pos_id != EDA_WINDOW_DONE ||
			hash_search(free_lanes, &key, HASH_FIND, NULL) == NULL)
			continue;
		entry = hash_search(sets, &cursor->subscription_id, HASH_FIND, NULL);
		if (entry == NULL || cursor->lane >= entry->set->sub->lanes)
			continue;
		lane = palloc0(sizeof(RestingLane));
		lane->cursor = cursor;
		entry->set->lanes[cursor->lane] = lane;
		pass->lanes = lappend(pass->lanes, lane);
	}
	pass->nlanes = list_length(pass->lanes);
	find_places(pass);
}

static int
compare_xid(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return x < y ? -1 : (x > y ? 1 : 0);
}

/* A snapshot that sees no more than what all of the places see that have a lane left. */
static EdaSnapshot *
common_past(List *places)
{
	EdaSnapshot *past;
	uint64		xmax = PG_UINT64_MAX;
	int			nxip = 0;
	ListCell   *lc;

	foreach(lc, places)
	{
		const EdaSnapshot *to = ((Place *) lfirst(lc))->to;

		xmax = Min(xmax, to->xmax);
		nxip += to->nxip;
	}
	past = palloc(offsetof(EdaSnapshot, xip) + nxip * sizeof(uint64));
	past->xmax = xmax;
	past->nxip = 0;
	foreach(lc, places)
	{
		const EdaSnapshot *to = ((Place *) lfirst(lc))->to;

		for (int i = 0; i < to->nxip && to->xip[i] < xmax; i++)
			past->xip[past->nxip++] = to->xip[i];
	}
	qsort(past->xip, past->nxip, sizeof(uint64), compare_xid);
	past->nxip = qunique(past->xip, past->nxip, sizeof(uint64), compare_xid);
	past->xmin = past->nxip > 0 ? past->xip[0] : xmax;
	return past;
}

/* An event is for it: it stays where it is. */
static void
take_out(Pass *pass, RestingLane *lane)
{
	remember_stuck(lane->cursor);
	lane->out = true;
	if (--lane->place->nlanes == 0)
		pass->places = list_delete_ptr(pass->places, lane->place);
	pass->nlanes--;
	pass->fewer = true;
}

static bool
pass_entry(const EdaLogEntry *entry, void *arg)
{
	Pass	   *pass = arg;
	EdaMatchIterator it;
	RestingSet *set;
	EdaEvent	ev;
	bool		fetched = false;
	bool		needed = false;
	ListCell   *lc;

	foreach(lc, pass->places)
	{
		Place	   *place = lfirst(lc);

		if (EdaSnapshotSees(place->to, entry->xid))
			continue;
		needed = true;
		place->passed++;
	}

	if (needed)
		EdaMatchBegin(&it, pass->match, entry->topic_hash);
	while (needed && (set = EdaMatchNext(&it)) != NULL)
	{
		RestingLane *lane = set->lanes[EdaSubscriptionLaneOf(set->sub, entry->key_hash, entry->id)];

		if (lane == NULL || lane->out || EdaSnapshotSees(lane->cursor->to, entry->xid) ||
			!EdaSubscriptionMayGet(set->sub, EDA_ANY_LANE, entry))
			continue;
		if (!fetched)
		{
			ItemPointerData tid = entry->tid;

			if (!EdaLogFetch(pass->reader, entry->id, entry->segment, &tid,
							 GetActiveSnapshot(), &ev))
				break;
			fetched = true;
		}
		if (EdaSubscriptionGets(set->sub, &ev))
			take_out(pass, lane);
	}
	/* only for a lane that is out the scan had to begin here */
	pass->again = pass->nlanes > 0 && pass->fewer && !needed;
	return pass->nlanes > 0 && !pass->again;
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
		int			nranges = EdaSnapshotWindow(common_past(pass->places), now, &ranges);

		pass->fewer = pass->again = false;
		seen += EdaLogScan(ranges, nranges, pass_entry, pass);
		pfree(ranges);
	} while (pass->again);
	EdaLogReaderClose(pass->reader);

	ereport(DEBUG1,
			(errmsg_internal("looked at %llu index entries for idle cursors, of which %d can follow the log",
							 (unsigned long long) seen, pass->nlanes)));
}

void
EdaAdvanceCursors(void)
{
	HTAB	   *free_lanes;
	Pass		pass = {0};

	EdaTransactionBegin();
	prepare_stuck();
	free_lanes = find_free_lanes();

	/* as of now that the locks are held */
	PushActiveSnapshot(GetLatestSnapshot());
	if (hash_get_num_entries(free_lanes) > 0)
		load_resting_lanes(&pass, free_lanes);
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

			if (lane->out || lane->place->passed == 0)
				continue;
			lane->cursor->from = lane->cursor->to = now;
			/* where somebody moved the row by hand, that is where it is */
			(void) EdaCursorStore(lane->cursor);
		}
	}
	PopActiveSnapshot();
	EdaTransactionCommit();
}
