/*-------------------------------------------------------------------------
 *
 * eda_rate.c
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
 *	3. A time in the past says nothing: its place may be taken by another
 *	   subscription.  Only lanes that executors hold take events, so there are
 *	   enough places.
 *	4. A spinlock guards them; only subscriptions with a limit take it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/eda_rate.c
 *
 *-------------------------------------------------------------------------
 */
#include "eda.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/spin.h"

#include "eda_rate.h"

#define TOLERANCE_US	20000

/* Where every place is taken, which cannot last: try again then. */
#define FULL_WAIT_US	10000

typedef struct RateEntry
{
	Oid			dbid;
	int32		subscription_id;
	double		next_us;		/* on the monotonic clock */
} RateEntry;

typedef struct RateTable
{
	slock_t		mutex;
	int			n;
	RateEntry	entries[FLEXIBLE_ARRAY_MEMBER];
} RateTable;

static RateTable *rates = NULL;

static int
places(int nexecutors)
{
	return 2 * nexecutors + 16;
}

Size
EdaRateShmemSize(int nexecutors)
{
	return add_size(offsetof(RateTable, entries),
					mul_size(places(nexecutors), sizeof(RateEntry)));
}

void
EdaRateShmemInit(void *memory, int nexecutors)
{
	rates = memory;
	memset(rates, 0, EdaRateShmemSize(nexecutors));
	SpinLockInit(&rates->mutex);
	rates->n = places(nexecutors);
}

static double
monotonic_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return INSTR_TIME_GET_DOUBLE(now) * 1000000.0;
}

/* The subscription's place, or one that says nothing; NULL: there is none.  With the lock. */
static RateEntry *
find_entry(int32 subscription_id, double now_us)
{
	RateEntry  *unused = NULL;

	for (int i = 0; i < rates->n; i++)
	{
		RateEntry  *entry = &rates->entries[i];

		if (entry->subscription_id == subscription_id && entry->dbid == MyDatabaseId)
			return entry;
		if (unused == NULL && entry->next_us <= now_us)
			unused = entry;
	}
	return unused;
}

bool
EdaRateTake(int32 subscription_id, double rate, int64 *wait_us)
{
	double		now_us = monotonic_us();
	double		ahead = FULL_WAIT_US + TOLERANCE_US;
	RateEntry  *entry;

	*wait_us = 0;
	SpinLockAcquire(&rates->mutex);
	entry = find_entry(subscription_id, now_us);
	if (entry != NULL)
	{
		entry->dbid = MyDatabaseId;
		entry->subscription_id = subscription_id;
		entry->next_us = Max(entry->next_us, now_us);
		ahead = entry->next_us - now_us;
		if (ahead <= TOLERANCE_US)
			entry->next_us += 1000000.0 / rate;
	}
	SpinLockRelease(&rates->mutex);
	if (ahead <= TOLERANCE_US)
		return true;
	*wait_us = (int64) (ahead - TOLERANCE_US) + 1;
	return false;
}

void
EdaRateReturn(int32 subscription_id, double rate)
{
	RateEntry  *entry;

	SpinLockAcquire(&rates->mutex);
	entry = find_entry(subscription_id, 0);
	if (entry != NULL && entry->subscription_id == subscription_id && entry->dbid == MyDatabaseId)
		entry->next_us -= 1000000.0 / rate;
	SpinLockRelease(&rates->mutex);
}
