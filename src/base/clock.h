/*-------------------------------------------------------------------------
 *
 * base/clock.h
 *	  A clock that nobody sets, and a time limit that goes by it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/clock.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_CLOCK_H
#define EDA_CLOCK_H

#include <signal.h>

#include "datatype/timestamp.h"

/*
 * Microseconds by a clock that only goes forward, the same one for all processes
 * of this server: for durations, back-offs and whatever is not kept across a
 * restart.  TimestampDifferenceMilliseconds() and its like work on it; it has
 * nothing to do with a time of the day.  Never 0.
 */
extern TimestampTz EdaMonotonicNow(void);

/*
 * An absolute time of the monotonic clock, so many ms from now: saturates.
 */
extern TimestampTz EdaMonotonicAfter(int64 ms);

/*
 * A time limit of that many ms for what runs now: when it is over, the statement is cancelled as
 * by pg_cancel_backend(), and some more times if it goes on.  now: EdaMonotonicNow(), where the
 * caller has just read it. Ends with EdaTimeLimitEnd(), which says whether the time was over.
 * One after the other costs next to nothing; EdaTimeLimitsOff() ends it, also where an error went
 * through.
 */
extern void EdaTimeLimitBegin(int64 ms, TimestampTz now);
extern bool EdaTimeLimitEnd(void);
extern void EdaTimeLimitsOff(void);

/* In a signal handler: the limit is over now, if there is one. */
extern void EdaTimeLimitNow(void);

/*
 * From now on what goes on after all of that ends this process, as pg_terminate_backend() would.
 * told: set by whoever else wants the process to end, before ProcDiePending.  EdaTimeLimitEnds():
 * that is why it ends.
 */
extern void EdaTimeLimitMayEnd(volatile sig_atomic_t *told);
extern bool EdaTimeLimitEnds(void);

#endif							/* EDA_CLOCK_H */
