/*-------------------------------------------------------------------------
 *
 * deliver/turn.h
 *	  The events of a step: whose turn it is, and what is called for them.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/turn.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_TURN_H
#define EDA_TURN_H

#include "deliver/lane.h"

/*
 * In a step's transaction, under the subscription's lock: deliver
 * due events of eda.retry, or those of the window, until the step is full, its time is
 * over, or the lane must stop.  Raises what handlers and filters raise, unless the mode
 * contains it.
 */
extern void EdaDeliverWaiting(EdaLane *lane);
extern void EdaDeliverLog(EdaLane *lane);

/* The subscription's timeout, for what runs now. */
extern void EdaLaneTimeBegin(EdaLane *lane);
extern void EdaLaneTimeEnd(EdaLane *lane);
/*
 * Do others need this executor at once?  Whatever the event at hand fails for then does not count.
 */
extern bool EdaLaneIsPreempted(EdaLane *lane);
/* What is said about one that was canceled for it. */
extern char *EdaLaneTimeoutText(EdaLane *lane);
/* Did this failure come from it? */
extern bool EdaLaneIsTimeout(EdaLane *lane, const ErrorData *edata);
/* A copy of the error at hand, in the current context; one by the timeout says so. */
extern ErrorData *EdaLaneCopyError(EdaLane *lane);
/* Is it one that passes by itself, a serialization failure or a deadlock? */
extern bool EdaErrorPasses(const ErrorData *edata);
/* Does this failure count although others ran before? */
extern bool EdaFailsInCompany(EdaLane *lane, const ErrorData *edata);
/* rate_limit allowed so many calls that were not made after all. */
extern void EdaLaneRateReturn(EdaLane *lane, int n);

#endif							/* EDA_TURN_H */
