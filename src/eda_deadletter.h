/*-------------------------------------------------------------------------
 *
 * eda_deadletter.h
 *	  The order among waiting events, and what operators do with those that
 *	  failed.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/eda_deadletter.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_DEADLETTER_H
#define EDA_DEADLETTER_H

#include "eda_subscription.h"

/*
 * The first of those that wait behind one another has gone from eda.retry:
 * the next one is due now.  With ordering `key` those of the key, with
 * `strict` those of the lane; nothing to do without a key, or with `none`.
 * Does nothing where the first one is not parked.  True when one was
 * released.  The caller holds the subscription's lock; runs as the
 * extension's owner; the dispatcher hears of it at commit.
 */
extern bool EdaRetryReleaseNext(int32 subscription_id, int16 lane,
								const char *key, EdaOrdering ordering);

/*
 * Make the waiting events of a subscription fit another ordering: who is
 * first now keeps its due time, or is due now if it was parked; the others
 * are parked.  Lock and rights as above.
 */
extern void EdaRetryRepark(int32 subscription_id, EdaOrdering ordering);

#endif							/* EDA_DEADLETTER_H */
