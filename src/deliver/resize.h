/*-------------------------------------------------------------------------
 *
 * deliver/resize.h
 *	  How many lanes a subscription has, and how that changes.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/resize.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_LANES_H
#define EDA_LANES_H

#include "subscription/subscription.h"

/*
 * Does a lane stand where its subscription's lanes meet?  It reads nothing
 * more from the log then, until their number has changed.
 */
extern bool EdaLaneAtFence(const EdaSubscription *sub, const EdaCursor *cursor);

/* Do all of them, by what is stored?  Needs an active snapshot. */
extern bool EdaLanesAtFence(const EdaSubscription *sub);

/*
 * Write a subscription's number of lanes, and a cursor row for each of them
 * which is where `cursor` is; its counters go to the first one.  There are no
 * rows yet, or the caller holds the lock in AccessExclusiveLock.
 */
extern void EdaLanesCreate(int32 subscription_id, int lanes, const EdaCursor *cursor);

/*
 * The definition now wants sub->concurrency lanes, and this ordering: change
 * their number at once where that is possible, else say where they meet.  The
 * caller holds the subscription's lock in AccessExclusiveLock, and tells the others
 * with EdaSubscriptionsChanged().
 */
extern void EdaLanesAdjust(const EdaSubscription *sub, EdaOrdering ordering);

/*
 * For the dispatcher: change the number of lanes of a subscription that have
 * met, in this transaction.  False: not yet; *again: because somebody holds the
 * subscription's lock, so it is to be tried again soon.
 */
extern bool EdaLanesSwitch(int32 subscription_id, bool *again);

#endif							/* EDA_LANES_H */
