/*-------------------------------------------------------------------------
 *
 * deliver/rate.h
 *	  How fast a subscription's handler may be called: rate_limit.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/rate.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_RATE_H
#define EDA_RATE_H

#include "base/shmem.h"

/* The shared memory that it needs, in bytes, and making it as new: see EdaShmemPart(). */
extern Size EdaRateShmemSize(void);
extern void EdaRateShmemInit(void *memory);

/* Is the rate (0: none) so low that no event comes at once with another? */
extern bool EdaRateIsSlow(double rate);

/*
 * May this database's subscription have one more event at `rate` (events a
 * second, over 0)?  True: it counts from now on.  False: in *wait_us
 * microseconds, if no other lane takes it.
 */
extern bool EdaRateTake(int32 subscription_id, double rate, int64 *wait_us);

/* What was taken was not needed: the event did not pass the filter. */
extern void EdaRateReturn(int32 subscription_id, double rate);

#endif							/* EDA_RATE_H */
