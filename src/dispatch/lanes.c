/*-------------------------------------------------------------------------
 *
 * dispatch/lanes.c
 *	  The lanes as the dispatcher knows them.
 *
 *	1. All of it is local to the dispatcher's process, and can be found out
 *	   again: from eda.subscription, eda.retry and the executors' slots.
 *	2. A database may have thousands of lanes, of which few have something to do
 *	   at a time.  So those that are runnable, held by an executor or have a
 *	   waiting event are in lists, and events find theirs by their topic's hash.
 *	   Only when a definition has changed are all of them looked at.
 *	3. A command that changes what a subscription is to do writes its row, so
 *	   that the lanes of that subscription are marked, and no others.
 *	4. It errs on the side of marking: an executor that finds nothing lays the
 *	   lane down again.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/dispatch/lanes.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/transam.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "dispatch/lanes.h"
#include "log/log.h"
#include "workers/workers.h"

dlist_head	eda_lanes_runnable = DLIST_STATIC_INIT(eda_lanes_runnable);
dlist_head	eda_lanes_due = DLIST_STATIC_INIT(eda_lanes_due);
dlist_head	eda_lanes_held = DLIST_STATIC_INIT(eda_lanes_held);

List	   *eda_lane_sets = NIL;
EdaMatch   *eda_lane_match = NULL;
int			eda_lanes_matching = 0;
List	   *eda_lane_probes = NIL;

static HTAB *lanes = NULL;
static MemoryContext subs_mcxt = NULL;	/* definitions, sets and matches, replaced as a whole */
static uint64 subs_epoch = 0;
static bool some_blocked = false;	/* of those definitions */
static uint64 known_up_to = 0;	/* EdaLanesKnownUpTo(); 0: nothing is known */
static uint64 subs_xmin = 0;	/* the xmin of the snapshot before they were read */

EdaLaneState *
EdaLaneFind(int32 subscription_id, int32 lane_no)
{
	EdaLaneKey	key = {subscription_id, lane_no};

	return lanes == NULL ? NULL : hash_search(lanes, &key, HASH_FIND, NULL);
}

void
EdaLaneSetRunnable(EdaLaneState *lane, bool runnable)
{
	if (lane->runnable == runnable)
		return;
	lane->runnable = runnable;
	if (runnable)
	{
		lane->runnable_since = EdaMonotonicNow();
		dlist_push_tail(&eda_lanes_runnable, &lane->runnable_node);
	}
	else
		dlist_delete(&lane->runnable_node);
}

void
EdaLaneSetDue(EdaLaneState *lane, TimestampTz due)
{
	if (lane->next_due == DT_NOEND && due != DT_NOEND)
		dlist_push_tail(&eda_lanes_due, &lane->due_node);
	else if (lane->next_due != DT_NOEND && due == DT_NOEND)
		dlist_delete(&lane->due_node);
	lane->next_due = due;
}

void
EdaLaneSetSlot(EdaLaneState *lane, int slot)
{
	if (lane->slot < 0 && slot >= 0)
		dlist_push_tail(&eda_lanes_held, &lane->held_node);
	else if (lane->slot >= 0 && slot < 0)
		dlist_delete(&lane->held_node);
	lane->slot = slot;
}

/*
 * The executor reads `wake` after it has withdrawn from the lane, so if the
 * slot is still its own after the store, the store is seen.
 */
void
EdaLaneMark(EdaLaneState *lane)
{
	if (lane->slot >= 0)
	{
		EdaExecutor *exec = &EdaShared->executors[lane->slot];
		bool		held;

		pg_atomic_write_u32(&exec->wake, 1);
		LWLockAcquire(EdaShared->lock, LW_SHARED);
		held = exec->generation == lane->slot_generation &&
			EdaExecutorHolds(exec, lane->key.subscription_id, lane->key.lane_no);
		if (held && exec->latch != NULL)
			SetLatch(exec->latch);
		LWLockRelease(EdaShared->lock);
		if (held)
			return;
	}
	EdaLaneSetRunnable(lane, true);
}

void
EdaLaneMarkActive(int32 subscription_id, int32 lane_no)
{
	EdaLaneState *lane = EdaLaneFind(subscription_id, lane_no);

	if (lane != NULL && lane->sub->state == EDA_ACTIVE)
		EdaLaneMark(lane);
}

void
EdaLanesKnownUpTo(uint64 xid)
{
	known_up_to = xid;
}

uint64
EdaLanesKnown(void)
{
	return subs_xmin;
}

/* Did a dispatcher before this one see to it as it is?  A frozen row is old. */
static bool
was_seen_to(const EdaSubscription *sub)
{
	return known_up_to != 0 &&
		(!TransactionIdIsNormal(sub->row_xmin) ||
		 TransactionIdPrecedes(sub->row_xmin, (TransactionId) known_up_to));
}

/* A lane that there is now. */
static EdaLaneState *
reload_lane(EdaSubscription *sub, int lane_no)
{
	EdaLaneKey	key = {sub->id, lane_no};
	EdaLaneState *lane;
	bool		found;

	lane = hash_search(lanes, &key, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) lane + sizeof(EdaLaneKey), 0, sizeof(EdaLaneState) - sizeof(EdaLaneKey));
		lane->next_due = DT_NOEND;
		lane->slot = -1;
	}
	lane->sub = sub;
	if (!found || lane->row_xmin != sub->row_xmin || !ItemPointerEquals(&lane->row_tid, &sub->row_tid))
	{
		lane->row_xmin = sub->row_xmin;
		lane->row_tid = sub->row_tid;
		/* the lock may be free, the rate another one */
		if (lane->early_deaths == 0)
			lane->not_before = 0;
		/* an executor finds out whether there is work */
		if (sub->state == EDA_ACTIVE && !was_seen_to(sub))
			EdaLaneMark(lane);
	}
	return lane;
}

/* It is no more. */
static void
forget_lane(EdaLaneState *lane)
{
	if (lane->slot >= 0)
		EdaLaneMark(lane);		/* its executor finds it gone */
	EdaLaneSetRunnable(lane, false);
	EdaLaneSetDue(lane, DT_NOEND);
	EdaLaneSetSlot(lane, -1);
	hash_search(lanes, &lane->key, HASH_REMOVE, NULL);
}

static void
add_match(EdaLaneSet *set)
{
	EdaMatchAdd(eda_lane_match, set->sub->pattern, set);
	eda_lanes_matching += set->sub->lanes;
}

void
EdaLaneProbeBegun(EdaLaneSet *set)
{
	set->sub->has_probe_at = false;
	add_match(set);
}

bool
EdaLanesReload(EdaDatabase *db, uint32 wake)
{
	MemoryContext fresh;
	MemoryContext old;
	HASH_SEQ_STATUS status;
	EdaLaneState *lane;
	List	   *subs;
	ListCell   *lc;
	int			nblocked = 0;

	/*
	 * who changed one wakes us before it sends the invalidation; no epoch tells of a probe's time
	 */
	if (subs_mcxt != NULL && subs_epoch == EdaSubscriptionEpoch() &&
		!(wake & EDA_WAKE_SUBSCRIPTIONS) &&
		!((wake & EDA_WAKE_RETRIES) && some_blocked))
		return false;

	if (lanes == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(EdaLaneKey);
		ctl.entrysize = sizeof(EdaLaneState);
		lanes = hash_create("eda lanes", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	fresh = AllocSetContextCreate(TopMemoryContext, "eda subscriptions", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(fresh);
	subs_epoch = EdaSubscriptionEpoch();
	subs_xmin = EdaSnapshotFrom(GetActiveSnapshot(), false)->xmin;
	subs = EdaSubscriptionLoadAll();

	hash_seq_init(&status, lanes);
	while ((lane = hash_seq_search(&status)) != NULL)
		lane->sub = NULL;

	eda_lane_sets = NIL;
	eda_lane_probes = NIL;
	eda_lane_match = EdaMatchCreate();
	eda_lanes_matching = 0;
	some_blocked = false;
	foreach(lc, subs)
	{
		EdaSubscription *sub = lfirst(lc);
		EdaLaneSet *set = palloc(offsetof(EdaLaneSet, lanes) + sub->lanes * sizeof(EdaLaneState *));

		set->sub = sub;
		for (int i = 0; i < sub->lanes; i++)
			set->lanes[i] = reload_lane(sub, i);
		eda_lane_sets = lappend(eda_lane_sets, set);
		some_blocked |= sub->state == EDA_BLOCKED;

		if (!EdaSubscriptionDelivers(sub))
		{
			if (sub->state == EDA_BLOCKED)
				nblocked++;
		}
		else if (sub->has_probe_at)
			eda_lane_probes = lappend(eda_lane_probes, set);	/* a probe that is to come looks for itself */
		else
			add_match(set);
	}
	MemoryContextSwitchTo(old);

	hash_seq_init(&status, lanes);
	while ((lane = hash_seq_search(&status)) != NULL)
	{
		if (lane->sub == NULL)
			forget_lane(lane);
	}

	if (subs_mcxt != NULL)
		MemoryContextDelete(subs_mcxt);
	subs_mcxt = fresh;
	known_up_to = 0;
	pg_atomic_write_u32(&db->nblocked, nblocked);
	return true;
}
