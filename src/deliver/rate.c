/*-------------------------------------------------------------------------
 *
 * deliver/rate.c
 *	  How fast a subscription's handler may be called: rate_limit.
 *
 *	1. The generic cell rate algorithm (ITU-T I.371): of each subscription
 *	   that has a limit one time is kept, at which the event after the next could
 *	   come if all came evenly.  An event moves it on by 1 / rate; it may come while
 *	   that time is no further ahead than TOLERANCE_US.  So what comes at once is
 *	   one event, and what fits into 20 ms: enough for fast limits to be reached by a
 *	   process that sleeps in milliseconds.
 *	2. The times are in shared memory, so that all lanes share one limit, and
 *	   by the monotonic clock, so that a clock that is set does not matter.  After a
 *	   restart they begin afresh.
 *	3. A time in the past says nothing: its place may be taken by another subscription.  Of the
 *	   places that one could have, subscriptions of one owner take no more than SHARE, so that no
 *	   role can keep the others' subscriptions from theirs; one that comes when its owner has so
 *	   many waits for the first of these.  Where all that it could have are taken, by several
 *	   owners, it waits for the first of them.
 *	4. A spinlock guards them; only subscriptions with a limit take it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/rate.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/spin.h"

#include "deliver/rate.h"

#define TOLERANCE_US	20000

/* Subscriptions that can wait for their limit at one time, and where each is looked for. */
#define PLACES			8192
#define PROBES			64
#define SHARE			8

typedef struct RateEntry
{
	Oid			dbid;
	int32		subscription_id;
	Oid			owner;
	double		next_us;		/* on the monotonic clock */
} RateEntry;

typedef struct RateTable
{
	slock_t		mutex;
	RateEntry	entries[PLACES];
} RateTable;

static RateTable *rates = NULL;

Size
EdaRateShmemSize(void)
{
	return sizeof(RateTable);
}

void
EdaRateShmemInit(void *memory)
{
	rates = memory;
	memset(rates, 0, sizeof(RateTable));
	SpinLockInit(&rates->mutex);
}

static double
monotonic_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return INSTR_TIME_GET_DOUBLE(now) * 1000000.0;
}

/*
 * The subscription's place, or one that says nothing, or else the one that will
 * be free first, of all or of its owner's, where that one has its share.  With the lock.
 * An executor is a session of the owner.
 */
static RateEntry *
find_entry(int32 subscription_id, double now_us)
{
	uint32		start = murmurhash32((uint32) subscription_id ^ ((uint32) MyDatabaseId << 16));
	RateEntry  *first = NULL;
	RateEntry  *own_first = NULL;
	int			own = 0;

	for (int i = 0; i < PROBES; i++)
	{
		RateEntry  *entry = &rates->entries[(start + i) % PLACES];

		if (entry->subscription_id == subscription_id && entry->dbid == MyDatabaseId)
			return entry;
		if (first == NULL || entry->next_us < first->next_us)
			first = entry;
		if (entry->owner != GetSessionUserId() || entry->next_us <= now_us)
			continue;
		own++;
		if (own_first == NULL || entry->next_us < own_first->next_us)
			own_first = entry;
	}
	return own >= SHARE ? own_first : first;
}

static bool
is_mine(const RateEntry *entry, int32 subscription_id)
{
	return entry->subscription_id == subscription_id && entry->dbid == MyDatabaseId;
}

bool
EdaRateIsSlow(double rate)
{
	return rate > 0 && rate < 1000000.0 / TOLERANCE_US;
}

bool
EdaRateTake(int32 subscription_id, double rate, int64 *wait_us)
{
	double		now_us = monotonic_us();
	double		ahead;
	RateEntry  *entry;

	*wait_us = 0;
	SpinLockAcquire(&rates->mutex);
	entry = find_entry(subscription_id, now_us);
	if (!is_mine(entry, subscription_id) && entry->next_us <= now_us)
	{
		entry->owner = GetSessionUserId();
		entry->dbid = MyDatabaseId;
		entry->subscription_id = subscription_id;
	}
	if (is_mine(entry, subscription_id))
	{
		/* no further ahead than this rate can have brought it: it may have been another */
		entry->next_us = Min(Max(entry->next_us, now_us),
							 now_us + TOLERANCE_US + 1000000.0 / rate);
		ahead = entry->next_us - now_us - TOLERANCE_US;
		if (ahead <= 0)
			entry->next_us += 1000000.0 / rate;
	}
	else
		ahead = entry->next_us - now_us;	/* every place that it could have is taken until then */
	SpinLockRelease(&rates->mutex);
	if (ahead <= 0)
		return true;
	*wait_us = (int64) ahead + 1;
	return false;
}

void
EdaRateReturn(int32 subscription_id, double rate)
{
	RateEntry  *entry;

	SpinLockAcquire(&rates->mutex);
	entry = find_entry(subscription_id, 0);
	if (is_mine(entry, subscription_id))
		entry->next_us -= 1000000.0 / rate;
	SpinLockRelease(&rates->mutex);
}
