/*-------------------------------------------------------------------------
 *
 * deliver/outcome.h
 *	  What becomes of an event that had its turn.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/outcome.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_OUTCOME_H
#define EDA_OUTCOME_H

#include "deliver/lane.h"

/* In the step's transaction, where the lane is its process's. */
extern void EdaOutcomeDone(EdaLane *lane, EdaItem *item, bool handled);
/*
 * Attempts, dead letter, block, as the subscription says.  False where the lane must
 * stop after it: it is strict, or the subscription was blocked.
 */
extern bool EdaOutcomeFailed(EdaLane *lane, EdaItem *item, const ErrorData *edata, bool timed_out);

#endif							/* EDA_OUTCOME_H */
