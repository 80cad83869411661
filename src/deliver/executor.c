/*-------------------------------------------------------------------------
 *
 * deliver/executor.c
 *	  The process that runs handlers: a session of one role.
 *
 *	1. An executor is connected as the owner of the subscriptions that it
 *	   runs, so that user code never has more rights than that role.
 *	2. The dispatcher writes a lane into its slot (ASSIGNED); the executor takes it up
 *	   (RUNNING) and steps it until there is nothing left, then lingers on it:
 *	   a publisher whose event the lane's subscription matches wakes it directly.
 *	3. It gives the lane up after eda.executor_linger without work, when the
 *	   subscription stops, or when it is asked to yield and has nothing to do
 *	   or has used up its time slice.  Then the session is reset, and
 *	   it waits for another lane, or ends.  It never ends before the
 *	   dispatcher had the time to give it one, or none would ever run; but at once where
 *	   the lane is to go on in a session that knows nothing of this one.
 *	   Who asks says whether the process itself has to go, because it is of
 *	   another role or database than the lane that waits.
 *	4. No wake-up is lost: `wake` is cleared before a step takes its
 *	   snapshot, and looked at again before sleeping and after the lane's tag
 *	   was withdrawn.  A publisher sets wake first and reads the tag again
 *	   after it.
 *
 *	5. Where events are published faster than one by one they can be handled,
 *	   it waits for a fraction of a millisecond before each batch: larger batches
 *	   leave more of the machine to the publishers, who need not wake it either.
 *
 * Slot fields that are not atomic are written under EdaShared->lock.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/executor.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "deliver/lane.h"
#include "deliver/session.h"
#include "deliver/step.h"
#include "workers/workers.h"

/* The entry point, found by name when the postmaster starts the worker. */
extern PGDLLEXPORT void EdaExecutorMain(Datum main_arg);

/* How long a lane may keep its executor busy while others wait, in ms. */
#define TIME_SLICE_MS	1000

/*
 * Where events come faster than so many a ms, measured over so many us, and are taken in small
 * batches, wait so many us for more before the next one: a transaction costs as much as a dozen
 * events.
 */
#define GATHER_RATE		8
#define GATHER_WINDOW_US	5000
#define GATHER_US		1500

/*
 * How long an executor without a lane stays at least, in ms: a new one, for
 * the lane that it was started for; one that has laid a lane down, for the
 * next one, if there is any.  The dispatcher needs the time to notice.
 */
#define FIRST_LANE_MS	10000
#define NEXT_LANE_MS	20

static uint32 wait_event_lane;
static uint32 wait_event_idle;

/* Milliseconds until t of the monotonic clock, for WaitLatch: 0 when it has passed. */
static long
ms_until(TimestampTz t)
{
	return TimestampDifferenceMilliseconds(EdaMonotonicNow(), t);
}

/* The same for a time by the system's clock. */
static long
ms_until_due(TimestampTz t)
{
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), t);
}

/* The assigned lane, taken up.  False: there is none. */
static bool
take_lane(EdaExecutor *slot, int32 *subscription_id, int16 *lane_no, EdaLaidDown *laid_down)
{
	bool		taken = false;

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	if (slot->state == EDA_EXEC_ASSIGNED)
	{
		*subscription_id = slot->subscription_id;
		*lane_no = slot->lane_no;
		*laid_down = slot->laid_down;
		slot->state = EDA_EXEC_RUNNING;
		slot->since = GetCurrentTimestamp();
		taken = true;
	}
	LWLockRelease(EdaShared->lock);
	return taken;
}

/*
 * Lay the lane down; more: there is work left in it, to be done from resume_at on; last: how its
 * last step ended, and with RENEW this process gets no other lane, unless it has it already;
 * laid_down: see EdaLaneLaidDown().  True: some is left.
 */
static bool
release_lane(EdaExecutor *slot, EdaDatabase *db, bool more, EdaStep last, TimestampTz resume_at,
			 EdaLaidDown laid_down)
{
	pg_atomic_write_u64(&slot->lane, 0);
	pg_memory_barrier();

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	slot->released.turn = slot->turn;
	/* a publisher that still saw the tag counts on this look */
	more |= pg_atomic_exchange_u32(&slot->wake, 0) != 0;
	slot->released.more_work = more;
	if (more)
		db->left_work = true;
	/* gone may mean: to another owner; whichever, not again at once */
	slot->released.busy = last == EDA_STEP_GONE || last == EDA_STEP_BUSY;
	slot->released.preempted = last == EDA_STEP_PREEMPTED;
	slot->released.resume_at = resume_at;
	slot->released.laid_down = laid_down;
	if (slot->next_subscription_id != 0)
	{
		slot->state = EDA_EXEC_ASSIGNED;
		slot->subscription_id = slot->next_subscription_id;
		slot->lane_no = slot->next_lane_no;
		slot->laid_down = slot->next_laid_down;
		slot->turn++;
		slot->next_subscription_id = 0;
		slot->allowance_ms = EDA_LONG_MS;
	}
	else
	{
		slot->state = EDA_EXEC_IDLE;
		slot->subscription_id = 0;
	}
	slot->has_long = false;
	pg_atomic_write_u32(&slot->preempt, 0);
	slot->since = GetCurrentTimestamp();
	if (last == EDA_STEP_RENEW)
		pg_atomic_write_u32(&slot->yield, EDA_YIELD_SLOT);
	else if (pg_atomic_read_u32(&slot->yield) == EDA_YIELD_LANE)
		pg_atomic_write_u32(&slot->yield, EDA_YIELD_NOT);
	LWLockRelease(EdaShared->lock);
	return more;
}

/* Run a lane until there is a reason to give it up. */
static void
run_lane(EdaExecutor *slot, EdaDatabase *db, int32 subscription_id, int16 lane_no,
		 EdaLaidDown laid_down)
{
	EdaLane    *lane = EdaLaneOpen(subscription_id, lane_no, slot, laid_down);
	TimestampTz taken_at = EdaMonotonicNow();
	TimestampTz idle_since = 0;
	bool		more = false;
	bool		waiting;
	EdaStep		result;
	TimestampTz resume_at;
	TimestampTz window_began = taken_at;
	int64		taken = 0;
	bool		gather = false;
	char		activity[64];

	snprintf(activity, sizeof(activity), "eda subscription %d lane %d", subscription_id, lane_no);
	pg_atomic_write_u32(&slot->wake, 0);
	pg_atomic_write_u64(&slot->lane, EdaLaneTag(db, subscription_id, lane_no));
	pg_memory_barrier();
	pgstat_report_activity(STATE_RUNNING, activity);

	for (;;)
	{
		TimestampTz now;
		TimestampTz until;
		long		timeout_ms;

		/* cleared, with a full barrier, before the step takes its snapshot */
		(void) pg_atomic_exchange_u32(&slot->wake, 0);
		result = EdaLaneStep(lane);
		if (result == EDA_STEP_STOPPED)
			break;
		if (result == EDA_STEP_GONE || result == EDA_STEP_BUSY || result == EDA_STEP_PREEMPTED ||
			result == EDA_STEP_RENEW)
		{
			more = true;
			break;
		}

		now = EdaMonotonicNow();
		if (result == EDA_STEP_WORKED || result == EDA_STEP_AGAIN)
		{
			if (idle_since != 0)
				pgstat_report_activity(STATE_RUNNING, activity);
			idle_since = 0;
			/* a failure that is not recorded yet would be forgotten with the lane */
			if (result == EDA_STEP_WORKED &&
				pg_atomic_read_u32(&slot->yield) != EDA_YIELD_NOT &&
				TimestampDifferenceExceeds(taken_at, now, TIME_SLICE_MS))
			{
				more = true;
				break;
			}
			taken += EdaLaneTook(lane);
			if (now - window_began >= GATHER_WINDOW_US)
			{
				gather = taken * 1000 >= GATHER_RATE * (now - window_began);
				window_began = now;
				taken = 0;
			}
			if (gather && result == EDA_STEP_WORKED && EdaLaneTookLittle(lane) &&
				pg_atomic_read_u32(&slot->wake) != 0)
				pg_usleep(GATHER_US);
			/* a handler that never waits would not notice */
			if (!PostmasterIsAlive())
				proc_exit(1);
			QueryCancelPending = false;	/* meant for an event that is over */
			CHECK_FOR_INTERRUPTS();
			EdaWorkerReload();
			continue;
		}

		if (pg_atomic_read_u32(&slot->yield) != EDA_YIELD_NOT)
			break;
		if (idle_since == 0)
		{
			idle_since = now;
			pgstat_report_activity(STATE_IDLE, activity);
			pgstat_report_stat(true);
			/* what comes next is not known to be long */
			if (slot->has_long)
			{
				LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
				slot->has_long = false;
				LWLockRelease(EdaShared->lock);
			}
			EdaExecutorSpare();
		}
		until = idle_since + (TimestampTz) eda_executor_linger * 1000;
		if (now >= until)
			break;
		/* nothing is delivered before the rate allows it, due or not */
		resume_at = EdaLaneRateReadyAt(lane);
		timeout_ms = resume_at != 0 ? ms_until(resume_at) : ms_until_due(EdaLaneNextDue(lane));
		if (pg_atomic_read_u32(&slot->wake) == 0)
			(void) EdaWorkerWait(Min(ms_until(until), timeout_ms), wait_event_lane);
		/* whoever waits for this process need not wait for another look */
		if (pg_atomic_read_u32(&slot->wake) == 0 && pg_atomic_read_u32(&slot->yield) != EDA_YIELD_NOT)
			break;
	}

	waiting = EdaLaneMayWait(lane);
	resume_at = EdaLaneRateReadyAt(lane);
	laid_down = EdaLaneLaidDown(lane);
	EdaLaneClose(lane);
	more = release_lane(slot, db, more || resume_at != 0, result, resume_at, laid_down);
	/* where nothing is left, a database at rest stays so */
	if (more || waiting)
		EdaWakeDispatcher(db, (more ? EDA_WAKE_EXECUTOR : 0) | (waiting ? EDA_WAKE_RETRIES : 0));
	EdaTellDispatcher(db, EDA_WAKE_EXECUTOR);
	pgstat_report_activity(STATE_IDLE, NULL);
}

void
EdaExecutorMain(Datum main_arg)
{
	EdaExecutor *slot = EdaExecutorAttach(main_arg);
	EdaDatabase *db = EdaMyDatabase(true);
	TimestampTz idle_since = EdaMonotonicNow();
	int			least_ms = FIRST_LANE_MS;

	EdaSessionStart();
	wait_event_lane = eda_wait_event("EdaExecutorLane");
	wait_event_idle = eda_wait_event("EdaExecutorIdle");

	for (;;)
	{
		int32		subscription_id;
		int16		lane_no;
		EdaLaidDown laid_down;
		TimestampTz until;

		if (take_lane(slot, &subscription_id, &lane_no, &laid_down))
		{
			run_lane(slot, db, subscription_id, lane_no, laid_down);
			/*
			 * What one subscription's handler left behind (settings, temporary tables, prepared
			 * statements, LISTENs) does not reach the next one's.  Plans say nothing of a session,
			 * and the next handler would have to make them again.
			 */
			EdaSessionReset(true);
			idle_since = EdaMonotonicNow();
			least_ms = NEXT_LANE_MS;
			continue;
		}

		/* somebody needs the process more, or nobody has for long */
		until = idle_since + (TimestampTz) Max(eda_executor_linger, least_ms) * 1000;
		if (pg_atomic_read_u32(&slot->yield) != EDA_YIELD_NOT || EdaMonotonicNow() >= until)
		{
			bool		leave;

			LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
			leave = slot->state == EDA_EXEC_IDLE;
			if (leave)
				pg_atomic_write_u32(&slot->yield, EDA_YIELD_SLOT);	/* gets no lane any more */
			LWLockRelease(EdaShared->lock);
			if (leave)
				proc_exit(0);
			continue;
		}
		(void) EdaWorkerWait(ms_until(until), wait_event_idle);
	}
}
