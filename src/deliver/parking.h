/*-------------------------------------------------------------------------
 *
 * deliver/parking.h
 *	  The order among the events that wait for a subscription.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/parking.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_PARKING_H
#define EDA_PARKING_H

#include "subscription/subscription.h"

/*
 * The first of those that wait behind one another, which had the number after_seq, has gone from
 * eda.retry: the next one is due now.  With ordering `key` those of the key, with `strict` those
 * of the lane; nothing to do without a key, or with `none`. Does nothing where the first one is
 * not parked.  after_seq PG_INT64_MIN: whichever is the first.  Returns when the released one is
 * due, DT_NOEND: there is none.  The caller holds the subscription's lock; an operator's command
 * tells the workers.
 */
extern TimestampTz EdaParkingReleaseNext(int32 subscription_id, int16 lane, const char *key,
										 EdaOrdering ordering, int64 after_seq);

/*
 * Make the waiting events of a subscription fit another ordering: who is
 * first now keeps its due time, or is due now if it was parked; the others
 * are parked.  Lock and rights as above.
 */
extern void EdaParkingRepark(int32 subscription_id, EdaOrdering ordering);

#endif							/* EDA_PARKING_H */
