/*-------------------------------------------------------------------------
 *
 * deliver/turn.h
 *	  Running a lane: batches of events through a subscription's handler.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/turn.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_DELIVERY_H
#define EDA_DELIVERY_H

#include "datatype/timestamp.h"

#include "base/shmem.h"

typedef struct EdaLane EdaLane;

typedef enum EdaStep
{
	EDA_STEP_WORKED,			/* a transaction was committed; there may be more */
	EDA_STEP_AGAIN,				/* one failed, which only this process knows: step again before anything else */
	EDA_STEP_IDLE,				/* nothing to do now; see EdaLaneNextDue() */
	EDA_STEP_RENEW,				/* there is more, for a new process: this session may be why it failed, or is not its role's any more */
	EDA_STEP_STOPPED,			/* paused or blocked */
	EDA_STEP_PREEMPTED,			/* interrupted, as others need the executor: nothing has happened */
	EDA_STEP_BUSY,				/* somebody is changing the subscription */
	EDA_STEP_GONE				/* the subscription or the extension is no more */
} EdaStep;

/*
 * Take up a lane, as the session of its owner.  slot: in_flight is kept
 * there; may be NULL.  laid_down: as it was, or zeroed.  The caller is the
 * only one who runs this lane.
 */
extern EdaLane *EdaLaneOpen(int32 subscription_id, int16 lane_no, EdaExecutor *slot,
							EdaLaidDown laid_down);

/*
 * One transaction of work, outside of any transaction.  A failing handler is
 * dealt with here; what is raised from here is not the handler's fault, has
 * changed nothing, and should end the process.
 */
extern EdaStep EdaLaneStep(EdaLane *lane);

/* How many events had their turn in the last step? */
extern int	EdaLaneTook(const EdaLane *lane);
/* Were they all that there were, and few? */
extern bool EdaLaneTookLittle(const EdaLane *lane);

/* When the lane is to be looked at again without being woken, by the system's clock; DT_NOEND: never. */
extern TimestampTz EdaLaneNextDue(EdaLane *lane);
/* When rate_limit allows the next event, by the monotonic clock, where the last step ended for that; else 0. */
extern TimestampTz EdaLaneRateReadyAt(EdaLane *lane);
/*
 * For who opens the lane next: how far the log's events trust each other after a failure, or the same ones would
 * come again; and whose turn it is, or a lane that is laid down after each step would give all of them to one side.
 */
extern EdaLaidDown EdaLaneLaidDown(const EdaLane *lane);
/* May there be a waiting event?  True also where it isn't known, after a failed step. */
extern bool EdaLaneMayWait(EdaLane *lane);

/* Lay it down.  Stores the cursor if much was passed over since it was stored. */
extern void EdaLaneClose(EdaLane *lane);

#endif							/* EDA_DELIVERY_H */
