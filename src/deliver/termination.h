/*-------------------------------------------------------------------------
 *
 * deliver/termination.h
 *	  Executors that ended in the middle of an event, and what that means for it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/termination.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_TERMINATION_H
#define EDA_TERMINATION_H

#include "deliver/failure.h"
#include "deliver/lane.h"

/* Its part of shared memory: see EdaShmemPart(). */
extern Size EdaTerminationShmemSize(void);
extern void EdaTerminationShmemInit(void *memory);

/*
 * By an executor: code of this item is about to run, or, where it is NULL, of a set; the next
 * executor of the lane is to run so many events alone if this one ends meanwhile.
 */
extern void EdaTerminationItem(const EdaItem *item, int alone);

/*
 * By an executor that is ending in an orderly way, its transaction over.  Was the code of an
 * event running, and the transaction rolled back?  Then that is noted, *alone events are to be
 * run alone, and the result is true.  excused: one of eda's own processes told it to end, and
 * nothing is noted.
 */
extern bool EdaTerminationNote(bool excused, int *alone);

/* In a step, before it takes events: what was noted of this subscription. */
extern void EdaTerminationsLoad(EdaLane *lane);

/*
 * The item's turn has come.  Non-NULL: it must not run, as a termination counts as this attempt;
 * the failure, in the step's memory.  *timed_out: it was its timeout.
 */
extern ErrorData *EdaTerminationCharge(EdaLane *lane, const EdaItem *item, bool *timed_out);

/* Would EdaTerminationCharge() have something to say about it? */
extern bool EdaTerminationCharges(const EdaLane *lane, int64 event_id);

/* The step is committed: what had its turn is forgotten. */
extern void EdaTerminationsSettle(EdaLane *lane);

#endif							/* EDA_TERMINATION_H */
