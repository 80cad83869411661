/*-------------------------------------------------------------------------
 *
 * base/clock.c
 *	  A clock that nobody sets, and a time limit that goes by it.
 *
 *	1. The system's clock may be set, by hours, forward and back.  Times that
 *	   users see or state (deliver_at, the next attempt, expiry) go by it.  How
 *	   long something has taken, or is to be left alone, must not: that goes by
 *	   the monotonic clock, as latches' and condition variables' timeouts do.
 *	2. A limit is for one event of many, and most are over long before it.  So a timeout of
 *	   PostgreSQL's is enabled once for many limits, as a backstop that comes again and again in
 *	   the time of one limit: when an alarm comes too early for the limit at hand, the timer is
 *	   set to what is left.
 *	3. PostgreSQL's timeouts are due by the system's clock.  The interval timer
 *	   behind them is not, so the signal comes in time; but where the clock was set
 *	   back meanwhile, PostgreSQL's handler finds that nothing is due and sets the timer
 *	   anew, for as long as the clock was set back.  So a handler of ours is put
 *	   before it: it lets the original one work, then looks at the
 *	   monotonic clock, and cancels the statement itself or sets the timer to a
 *	   shorter time.  An alarm that comes too early costs PostgreSQL nothing.
 *	4. PostgreSQL also remembers, by the system's clock, for when the timer is set, and
 *	   leaves it alone if that is soon enough: which is wrong once the clock was
 *	   set.  So where the clocks' difference has changed, an alarm is raised at once: PostgreSQL
 *	   then looks at its timeouts and sets the timer anew.
 *	5. What runs may catch the cancel, and go on.  So it is cancelled again a few times, and
 *	   then, in an executor, the process ends as if it had been terminated,
 *	   which nothing can catch (EdaTimeLimitMayEnd).  Code that asks for no interrupts at all is
 *	   not to be ended.  What returns before that has been noticed lives on,
 *	   unless somebody else wants the process to end, too.
 *	6. All state is this process's, written with the limit off; the signal
 *	   handlers read it and set flags and a latch.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/clock.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include <signal.h>
#include <sys/time.h>

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "base/clock.h"

/* A change of the clocks' difference that is more than their being read one after the other. */
#define CLOCK_WAS_SET_US	200000

static struct sigaction original_alarm;
static bool installed = false;

/* What runs is cancelled so often, and after as many ms again. */
#define MAX_CANCELS			3
#define CANCEL_AGAIN_MS		1000

static volatile sig_atomic_t limit_on = false;
static volatile sig_atomic_t limit_cancels = 0; /* since the limit was over */
static volatile sig_atomic_t limit_ends = false;	/* the process is to end for it */
static volatile TimestampTz limit_at;	/* when something is to happen next */

/* Is the process told to end by somebody else?  NULL: this is a process that no limit ends. */
static volatile sig_atomic_t *told_to_end = NULL;

/* By how much the two clocks differ, as of when PostgreSQL's timer was set right. */
static TimestampTz known_difference;

static TimeoutId backstop;
static int64 backstop_ms = 0;	/* how often it comes; 0: it is off */

TimestampTz
EdaMonotonicNow(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (TimestampTz) INSTR_TIME_GET_MICROSEC(now) + 1;
}

TimestampTz
EdaMonotonicAfter(int64 ms)
{
	TimestampTz now = EdaMonotonicNow();

	if (ms <= 0)
		return now;
	if (ms >= (PG_INT64_MAX - now) / 1000)
		return PG_INT64_MAX;
	return now + ms * 1000;
}

/* Have an alarm come in left_us at the latest.  In a signal handler. */
static void
set_timer(int64 left_us)
{
	struct itimerval timer;

	getitimer(ITIMER_REAL, &timer);
	if ((timer.it_value.tv_sec != 0 || timer.it_value.tv_usec != 0) &&
		(int64) timer.it_value.tv_sec * USECS_PER_SEC + timer.it_value.tv_usec <= left_us)
		return;
	memset(&timer, 0, sizeof(timer));
	timer.it_value.tv_sec = left_us / USECS_PER_SEC;
	timer.it_value.tv_usec = left_us % USECS_PER_SEC + 1;
	if (timer.it_value.tv_usec == USECS_PER_SEC)
	{
		timer.it_value.tv_sec++;
		timer.it_value.tv_usec = 0;
	}
	setitimer(ITIMER_REAL, &timer, NULL);
}

/* The time is over, or what was told so has gone on for too long.  In a signal handler. */
static void
limit_is_over(TimestampTz now)
{
	if (limit_cancels < MAX_CANCELS)
	{
		limit_cancels++;
		QueryCancelPending = true;
	}
	else if (told_to_end != NULL)
	{
		limit_ends = true;
		ProcDiePending = true;
	}
	else
		QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
	limit_at = now + CANCEL_AGAIN_MS * INT64CONST(1000);
}

/* Signal handler: only what is safe in one. */
static void
on_alarm(int signo)
{
	int			save_errno = errno;

	if (original_alarm.sa_handler != SIG_IGN && original_alarm.sa_handler != SIG_DFL)
		original_alarm.sa_handler(signo);

	if (limit_on)
	{
		TimestampTz now = EdaMonotonicNow();

		if (now >= limit_at)
			limit_is_over(now);
		set_timer(limit_at - now);
	}
	errno = save_errno;
}

/* The alarm is what matters: on_alarm() looks at the limit. */
static void
on_backstop(void)
{
}

/* Before the original handler, which must be there already. */
static void
install(void)
{
	struct sigaction action;

	backstop = RegisterTimeout(USER_TIMEOUT, on_backstop);
	sigaction(SIGALRM, NULL, &original_alarm);
	action = original_alarm;
	action.sa_handler = on_alarm;
	sigaction(SIGALRM, &action, NULL);
	known_difference = GetCurrentTimestamp() - EdaMonotonicNow();
	installed = true;
}

/* From now on an alarm comes at least every so many ms. */
static void
start_backstop(int64 ms)
{
	int			period = (int) Max(Min(ms, INT_MAX), 1);
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz difference = now - EdaMonotonicNow();

	if (difference - known_difference > CLOCK_WAS_SET_US ||
		known_difference - difference > CLOCK_WAS_SET_US)
	{
		known_difference = difference;
		raise(SIGALRM);
	}
	enable_timeout_every(backstop, TimestampTzPlusMilliseconds(now, period), period);
	backstop_ms = ms;
}

void
EdaTimeLimitNow(void)
{
	TimestampTz now;

	if (!limit_on || limit_cancels > 0)
		return;
	now = EdaMonotonicNow();
	limit_is_over(now);
	set_timer(limit_at - now);
}

void
EdaTimeLimitMayEnd(volatile sig_atomic_t *told)
{
	told_to_end = told;
}

void
EdaTimeLimitBegin(int64 ms, TimestampTz now)
{
	if (!installed)
		install();
	if (backstop_ms == 0 || backstop_ms > ms)
		start_backstop(ms);

	limit_on = false;
	limit_cancels = 0;
	limit_at = ms >= (PG_INT64_MAX - now) / 1000 ? PG_INT64_MAX : now + ms * 1000;
	limit_on = true;
}

void
EdaTimeLimitsOff(void)
{
	(void) EdaTimeLimitEnd();
	if (backstop_ms == 0)
		return;
	disable_timeout(backstop, false);
	backstop_ms = 0;
}

bool
EdaTimeLimitEnd(void)
{
	bool		over;

	limit_on = false;			/* first: an alarm after it does nothing */
	over = limit_cancels > 0;
	limit_cancels = 0;
	if (limit_ends)
	{
		/*
		 * it came to its end after all; who else wants the process to end says so before it asks
		 * for that
		 */
		ProcDiePending = false;
		limit_ends = false;
		if (*told_to_end)
			ProcDiePending = true;
	}
	return over;
}

bool
EdaTimeLimitEnds(void)
{
	return limit_ends;
}
