/*-------------------------------------------------------------------------
 *
 * deliver/ready.c
 *	  May a lane run now, and what does its executor know of it?
 *
 *	1. A step asks first, in its transaction, before it has an xid.  The answer is a verdict
 *	   (deliver/ready.h); whatever has to be written or committed for it is the step's.
 *	2. The subscription's lock (RowExclusiveLock) is taken first, without waiting for it: who
 *	   changes a subscription holds it in AccessExclusiveLock.  Everything else is read under it:
 *	   definition and state, the handler, the waiting events, the cursor.  What is kept in memory
 *	   from the step before is read again only where the subscription's epoch has moved, or a
 *	   function, a role or a schema has changed.
 *	3. Of a subscription that is blocked as `failing`, one lane at a time has the probe: it also
 *	   holds the subscription's lock in ShareUpdateExclusiveLock, to the step's end.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/ready.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "deliver/lane.h"
#include "deliver/probation.h"
#include "deliver/rate.h"
#include "deliver/ready.h"
#include "deliver/session.h"
#include "workers/workers.h"

/*
 * For how long may an event take?  The definition may be older than eda.max_timeout, which bounds
 * what it says unless the owner is a superuser.
 */
static void
set_limit(EdaLane *lane)
{
	lane->step.limit_ms = lane->sub->timeout_ms;
	if (lane->step.limit_ms > eda_max_timeout && !superuser_arg(lane->sub->owner))
		lane->step.limit_ms = eda_max_timeout;
	if (lane->slot != NULL)
		pg_atomic_write_u64(&lane->slot->limit_ms, lane->step.limit_ms);
}

/* The subscription is blocked for its handler or its owner's rights: could it be called now? */
static bool
block_has_passed(EdaLane *lane)
{
	EdaBlock	block;
	char	   *detail;

	return EdaBlockCanPass(lane->sub->block) && EdaLaneRefreshHandler(lane, &block, &detail);
}

/*
 * The subscription is blocked as `failing`.  One lane at a time has a probe, and it has to know how
 * the last one ended.  YES: the probe may begin (lane->step.probing), or the subscription is active
 * again.
 */
static EdaReady
ready_to_probe(EdaLane *lane)
{
	bool		there;

	if (!EdaSubscriptionTryLock(lane->subscription_id, ShareUpdateExclusiveLock))
		return EDA_READY_PROBED;
	if (lane->sub->lanes > 1)
	{
		/* another lane's probe sets the time of the next one without an invalidation */
		lane->epoch = 0;
		PushActiveSnapshot(GetLatestSnapshot());
		there = EdaLaneRefreshSubscription(lane);
		PopActiveSnapshot();
		if (!there)
			return EDA_READY_GONE;
		if (lane->sub->state == EDA_PAUSED)
			return EDA_READY_STOPPED;
	}
	if (lane->sub->state != EDA_BLOCKED)
		return EDA_READY_YES;
	lane->step.probing = EdaSubscriptionDelivers(lane->sub) &&
		(!lane->sub->has_probe_at || lane->sub->probe_at <= GetCurrentTimestamp());
	return lane->step.probing ? EDA_READY_YES : EDA_READY_STOPPED;
}

/* The subscription is there, and its definition was read: does its state let the lane run? */
static EdaReady
ready_by_state(EdaLane *lane)
{
	if (EdaProbationIsDue(lane->sub))
		return EDA_READY_CRASH;
	if (lane->sub->state == EDA_PAUSED)
		return EDA_READY_STOPPED;
	if (lane->sub->state != EDA_BLOCKED)
		return EDA_READY_YES;
	if (EdaSubscriptionDelivers(lane->sub))
		return ready_to_probe(lane);
	return block_has_passed(lane) ? EDA_READY_UNBLOCK : EDA_READY_STOPPED;
}

/*
 * With a slow rate_limit an event gets one call for each attempt, so its failure has to count at
 * once, and the session has to be reset before the call and not after it.  That is asked for once a
 * step: somebody may change tables all the time, and no session would ever be found clean.
 */
static bool
needs_clean_session(EdaLane *lane)
{
	bool		needs = !lane->cleaned && lane->slot != NULL &&
		EdaRateIsSlow(lane->sub->rate_limit) && !EdaSessionIsClean();

	lane->cleaned = needs;
	return needs;
}

EdaReady
EdaLaneReady(EdaLane *lane, EdaBlock *block, char **detail)
{
	EdaReady	ready;

	/* DROP EXTENSION drops eda.subscription, and with that moves the epoch */
	if ((lane->sub == NULL || lane->epoch != EdaSubscriptionEpoch()) && !EdaExtensionExists())
		return EDA_READY_DROPPED;
	/* it may be held for as long as somebody's transaction takes, and others need this process */
	if (!EdaSubscriptionTryLock(lane->subscription_id, RowExclusiveLock))
		return EDA_READY_LOCKED;
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(lane->step_mcxt);

	if (!EdaLaneRefreshSubscription(lane))
		return EDA_READY_GONE;
	EdaInflightLane(EdaSubscriptionRelId(), lane->subscription_id, lane->lane_no);
	set_limit(lane);
	ready = ready_by_state(lane);
	if (ready != EDA_READY_YES)
		return ready;
	if (!EdaLaneRefreshHandler(lane, block, detail))
		return EDA_READY_NO_HANDLER;
	if (!EdaSessionIsCurrent())
		return EDA_READY_OTHER_SESSION;
	if (needs_clean_session(lane))
		return EDA_READY_UNCLEAN;
	EdaLaneRefreshWaiting(lane);
	return EdaLaneRefreshCursor(lane) ? EDA_READY_YES : EDA_READY_GONE;
}
