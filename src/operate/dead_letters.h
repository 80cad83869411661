/*-------------------------------------------------------------------------
 *
 * operate/dead_letters.h
 *	  The order among waiting events, and what operators do with those that
 *	  failed.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/operate/dead_letters.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_DEADLETTER_H
#define EDA_DEADLETTER_H

#include "subscription/subscription.h"

/*
 * The first of those that wait behind one another, which had the number
 * after_seq, has gone from eda.retry: the next one is due now.  With ordering `key` those of the key, with
 * `strict` those of the lane; nothing to do without a key, or with `none`.
 * Does nothing where the first one is not parked.  after_seq PG_INT64_MIN:
 * whichever is the first.  Returns when the released one is due, DT_NOEND: there
 * is none.  The caller holds the subscription's lock; an operator's command tells
 * the workers.
 */
extern TimestampTz EdaRetryReleaseNext(int32 subscription_id, int16 lane, const char *key,
									   EdaOrdering ordering, int64 after_seq);

/*
 * Make the waiting events of a subscription fit another ordering: who is
 * first now keeps its due time, or is due now if it was parked; the others
 * are parked.  Lock and rights as above.
 */
extern void EdaRetryRepark(int32 subscription_id, EdaOrdering ordering);

#endif							/* EDA_DEADLETTER_H */
