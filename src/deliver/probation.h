/*-------------------------------------------------------------------------
 *
 * deliver/probation.h
 *	  What is done about events that crash the server.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/probation.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_PROBATION_H
#define EDA_PROBATION_H

#include "deliver/failure.h"
#include "deliver/lane.h"
#include "subscription/subscription.h"

/* An event that crashed the server so often is a dead letter. */
#define EDA_MAX_EVENT_CRASHES	3

/* A subscription that crashed it so often without a success in between is blocked. */
#define EDA_MAX_CRASHES			6

/*
 * All that follow are called in a step's transaction, under the subscription's
 * lock and with its definition loaded.
 */

/* Is there a crash of this subscription's that is not on record yet? */
extern bool EdaProbationIsDue(const EdaSubscription *sub);

/*
 * Put it on record, in this transaction, which does nothing else and is flushed when
 * it commits; false: another lane is about to.  Afterwards, EdaProbationRecorded().
 */
extern bool EdaProbationRecord(const EdaSubscription *sub);
extern void EdaProbationRecorded(const EdaSubscription *sub);

/*
 * The step is about to take events, from eda.retry or from the log: load what
 * is suspected, and where that is called for, go over to mode SINGLE, with
 * WAL flushed before the handler is called and at the commit.
 */
extern void EdaProbationBegin(EdaLane *lane, bool from_retry);

/* Is this event suspected? */
extern bool EdaProbationSuspects(const EdaLane *lane, int64 event_id);

/*
 * A suspected event's turn has come.  True: it must not run; it was put off,
 * or has become a dead letter.
 */
extern bool EdaProbationHolds(EdaLane *lane, EdaItem *item);

/* What was suspected has been cleared up, as far as this step says; before it commits. */
extern void EdaProbationEnd(EdaLane *lane);

/*
 * For commands that hold the subscription's lock in AccessExclusiveLock.
 * Pardon: whatever crashed is forgotten; where it was blocked as `crashing`
 * it becomes active.  Forget: the subscription is gone.  Skipped: an event waits no more.
 * NewLanes: the number of lanes has changed.
 */
extern void EdaProbationPardon(const EdaSubscription *sub);
extern void EdaProbationForget(int32 subscription_id);
extern void EdaProbationSkipped(int32 subscription_id, int64 event_id);
extern void EdaProbationNewLanes(int32 subscription_id);

#endif							/* EDA_PROBATION_H */
