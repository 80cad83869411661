/*-------------------------------------------------------------------------
 *
 * deliver/failure.h
 *	  What becomes of an event that failed.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/failure.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_RETRY_H
#define EDA_RETRY_H

#include "nodes/pg_list.h"

#include "event/event.h"
#include "subscription/subscription.h"

/* What a handler may ask for at least, and how far probes are apart at least, in ms. */
#define EDA_LEAST_DELAY_MS	50

/* One event to deliver, from the log or from eda.retry. */
typedef struct EdaItem
{
	EdaEvent	ev;
	bool		from_retry;
	int64		seq;			/* its place among those that wait */
	TimestampTz due;			/* when it was */
	int32		attempt;		/* attempts that counted before this delivery */
	int32		deliveries;		/* all of them */
	bool		terminated;		/* the last one ended its executor (57P01) */
	bool		slow;			/* or ran into its timeout: it runs alone */
} EdaItem;

typedef enum EdaVerdict
{
	EDA_VERDICT_RETRY,			/* another attempt later; this one counted */
	EDA_VERDICT_SNOOZE,			/* another attempt later; this one did not count */
	EDA_VERDICT_REJECTED,		/* a dead letter, because its handler said so */
	EDA_VERDICT_UNFIT,			/* a dead letter, because it breaks the schema; its handler was not called */
	EDA_VERDICT_DEAD			/* a dead letter, because it failed */
} EdaVerdict;

/* A key that has waiting events, and how many. */
typedef struct EdaWaitingKey
{
	char	   *key;
	int64		nrows;
} EdaWaitingKey;

/* A lane's waiting events, as its executor needs to know them. */
typedef struct EdaRetryState
{
	int64		nrows;
	TimestampTz next_due;		/* DT_NOEND: none */
	TimestampTz floor;			/* no due time is before it (see deliver/waiting.h) */
	EdaWaitingKey *keys;		/* with ordering `key` */
	int			nkeys;
} EdaRetryState;

/*
 * How long to wait after the n-th failed attempt (from 1): doubles from
 * backoff_ms up to max_ms, spread by +-25 % with spread in [0, 1).  A pure
 * function; the result is between 1 and max_ms.
 */
extern int64 EdaBackoffMs(int64 backoff_ms, int64 max_ms, int attempt, double spread);
/* The same with a random spread, as a time from now. */
extern TimestampTz EdaBackoffFromNow(const EdaSubscription *sub, int attempt);
/*
 * When a blocked subscription's n-th probe (from 1) is due: likewise, but no sooner than
 * EDA_LEAST_DELAY_MS.
 */
extern TimestampTz EdaProbeFromNow(const EdaSubscription *sub, int probe);

/*
 * All below write eda.retry and eda.dead_letter as the extension's owner, in
 * the current transaction; the caller holds the subscription's lock.
 */

/* Put an event behind those of its key (or lane) that wait already; false: it is among them. */
extern bool EdaRetryPark(const EdaSubscription *sub, int16 lane, const EdaEvent *ev);

/*
 * Let an event of the log be delivered once more, behind those of its key (or
 * lane), of which the first one is to be released (EdaParkingRepark).  False: it
 * waits already, or is a dead letter.
 */
extern bool EdaRetryReplay(const EdaSubscription *sub, int16 lane, const EdaEvent *ev);

/*
 * The delivery of an item failed with edata; timed_out: because of the
 * subscription's timeout.  Decides, and writes the retry or the dead letter;
 * *due is when it will be tried again, or if it is dead, what waited behind it;
 * DT_NOEND: never.
 */
extern EdaVerdict EdaRetryFailed(const EdaSubscription *sub, int16 lane,
								 const EdaItem *item, const ErrorData *edata,
								 bool timed_out, TimestampTz *due);

/*
 * An item became a dead letter without having been tried: `expired`.  Returns
 * when what waited behind it is due, DT_NOEND: nothing did.
 */
extern TimestampTz EdaRetryExpired(const EdaSubscription *sub, int16 lane, const EdaItem *item);

/*
 * An item whose handler crashed the server is not run now: it waits until
 * `due`, or, where that is 0, becomes a dead letter, `crash`.  Its attempts stay as they are.
 * Returns when something is due next: the item itself, or what waited behind it.
 */
extern TimestampTz EdaRetryCrashed(const EdaSubscription *sub, int16 lane, const EdaItem *item,
								   const ErrorData *edata, TimestampTz due);

/*
 * An item from eda.retry was handled: its row goes, the next of its key is
 * due.  Returns when, DT_NOEND: there is none.
 */
extern TimestampTz EdaRetryHandled(const EdaSubscription *sub, int16 lane, const EdaItem *item);

/* The subscription is gone: so is what waits or died for it. */
extern void EdaRetryForget(int32 subscription_id);

/* What waits in the lane; palloc'd in the current context. */
extern void EdaRetryLoadState(const EdaSubscription *sub, int16 lane, EdaRetryState *state);

#endif							/* EDA_RETRY_H */
