/*-------------------------------------------------------------------------
 *
 * deliver/step.h
 *	  Running a lane: one transaction, and what becomes of it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/step.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_STEP_H
#define EDA_STEP_H

#include "deliver/lane.h"

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
 * One transaction of work, outside of any transaction.  A failing handler is
 * dealt with here; what is raised from here is not the handler's fault, has
 * changed nothing, and should end the process.
 */
extern EdaStep EdaLaneStep(EdaLane *lane);

/* Lay it down.  Stores the cursor if much was passed over since it was stored. */
extern void EdaLaneClose(EdaLane *lane);

#endif							/* EDA_STEP_H */
