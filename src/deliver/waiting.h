/*-------------------------------------------------------------------------
 *
 * deliver/waiting.h
 *	  What waits in eda.retry, asked by its indexes.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/waiting.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_QUEUE_H
#define EDA_QUEUE_H

#include "utils/hsearch.h"
#include "utils/snapshot.h"

#include "deliver/failure.h"

/* Before every due time, where nothing is known. */
#define EDA_DUE_UNKNOWN		DT_NOBEGIN

/*
 * All of these look at eda.retry as it is now, this transaction's own changes
 * included, whatever its isolation level; they need no rights and no active snapshot.  A
 * caller that relies on the answer holds the subscription's lock.
 *
 * `floor` is a due time that no row of the lane is below, EDA_DUE_UNKNOWN if
 * the caller knows of none: it spares the dead index entries below it.
 */

/*
 * Up to `limit` items that are due at `until`, by due time and then in the
 * order they came, some megabytes at most but at least one; palloc'd in the current context.
 */
extern List *EdaQueueFetch(int32 subscription_id, int16 lane, TimestampTz floor,
						   TimestampTz until, int limit);

/*
 * When is the lane's next one due, and which one is it (unless event_id is
 * NULL)?  DT_NOEND: there is none.  snapshot: as of when; NULL: now.
 */
extern TimestampTz EdaQueueNextDue(int32 subscription_id, int16 lane, TimestampTz floor,
								   Snapshot snapshot, int64 *event_id);

/*
 * Id of one that is due at `until` and whose last attempt, if it had one, was before `since`; 0:
 * there is none.  snapshot: as of when; NULL: now.
 */
extern int64 EdaQueueFindUntried(int32 subscription_id, int16 lane, Snapshot snapshot,
								 TimestampTz until, TimestampTz since);

/* Does this event wait? */
extern bool EdaQueueHas(int32 subscription_id, int64 event_id);

/*
 * Delete its row; false where there is none.  *history, unless history is
 * NULL, becomes a copy of its attempt_history.  Needs the subscription's lock.
 */
extern bool EdaQueueDelete(int32 subscription_id, int64 event_id, Datum *history);

/*
 * The first one of a queue (key NULL: of the lane), of those that came after
 * after_seq: if it is parked, it is due now.  Returns when that is, DT_NOEND where
 * nothing was changed.  Needs the subscription's lock; writes as the extension's owner.
 */
extern TimestampTz EdaQueueRelease(int32 subscription_id, int16 lane, const char *key,
								   int64 after_seq);

/*
 * Ids of all that waits for a subscription, in a hash table with int64 keys; in the current
 * context.
 */
extern HTAB *EdaQueueIds(int32 subscription_id);

/*
 * The due time of each lane that has one in eda.retry, as of now: called once a lane, in the
 * order of subscriptions and lanes.
 */
typedef void (*EdaQueueDue) (int32 subscription_id, int16 lane, TimestampTz due, void *arg);
extern void EdaQueueDueTimes(EdaQueueDue visit, void *arg);

#endif							/* EDA_QUEUE_H */
