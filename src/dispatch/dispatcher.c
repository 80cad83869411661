/*-------------------------------------------------------------------------
 *
 * dispatch/dispatcher.c
 *	  The process of a database that decides which subscriptions have work.
 *
 *	1. It sleeps on its latch until somebody sets bits in EdaDatabase.wake,
 *	   something is due (a retry, a probe, an executor's back-off), or
 *	   eda.poll_interval has passed.
 *	2. For committed events it makes one pass over what became visible
 *	   since its last pass, and marks the subscriptions whose patterns
 *	   match as runnable (dispatch/lanes.c); dispatch/assign.c finds executors for them.
 *	3. It keeps nothing that it could not find out again: after a restart it
 *	   marks every lane, and finds the lanes that executors hold in their slots.
 *	   One that has nothing to do leaves, and the next one goes on from where it
 *	   was (workers/rest.c).
 *	4. It never runs user code, no transaction is open while it sleeps, and it
 *	   never waits for a lock that a user's transaction may hold.
 *	5. With each poll it looks for new events and due times as if it had been woken, and does the
 *	   database's housekeeping: expired idempotency keys, the log's segments
 *	   (dispatch/retention.c), idle cursors (dispatch/idle_cursors.c).  The latter finds, about
 *	   once a minute, each active lane that has work and no executor, however that came.
 *	6. Due times (retries, probes, delayed events) go by the system's clock, which
 *	   may be set: it is looked at with each poll at least.  Everything else that is
 *	   measured here goes by the monotonic clock (base/clock.h).
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/dispatch/dispatcher.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/clock.h"
#include "base/transaction.h"
#include "deliver/deliver.h"
#include "dispatch/assign.h"
#include "dispatch/lanes.h"
#include "dispatch/retention.h"
#include "jobs/job.h"
#include "log/log.h"
#include "publish/publish.h"
#include "subscription/subscription.h"
#include "workers/workers.h"

/* The entry point, found by name when the postmaster starts the worker. */
extern PGDLLEXPORT void EdaDispatcherMain(Datum main_arg);

/*
 * What failed because somebody holds a subscription's lock is tried again after this long, in ms.
 */
#define RECHECK_MS			100

/* Expired idempotency keys that one transaction removes. */
#define PURGE_AT_ONCE		10000

/* What a poll looks at.  Definitions have an epoch, which is always looked at. */
#define WAKE_POLL	(EDA_WAKE_EVENTS | EDA_WAKE_RETRIES | EDA_WAKE_EXECUTOR | \
					 EDA_WAKE_RECHECK | EDA_WAKE_DELAYED | EDA_WAKE_JOBS)

static EdaSnapshot *seen;		/* up to where events were matched; in TopMemoryContext */
static bool brief = false;		/* came to look after a database at rest, and found nothing to do so far */
static TimestampTz idle_since = 0;	/* monotonic; 0: not idle */
static bool quiet = true;		/* nothing has happened since this dispatcher began */

/* State of one pass over new events. */
typedef struct Pass
{
	EdaLogReader *reader;
	uint32		number;
	int			unmarked;		/* lanes that are not marked yet */
} Pass;

/* The event is for one of its lanes, if it is its topic. */
static void
mark_for_event(Pass *pass, EdaLaneSet *set, const EdaLogEntry *entry)
{
	EdaLaneState *lane = set->lanes[EdaSubscriptionLaneOf(set->sub, entry->key_hash, entry->id)];

	if (lane->pass == pass->number)
		return;
	lane->pass = pass->number;
	EdaLaneMark(lane);
	pass->unmarked--;
}

static bool
match_entry(const EdaLogEntry *entry, void *arg)
{
	Pass	   *pass = arg;
	EdaMatchIterator it;
	EdaLaneSet *set;
	EdaEvent	ev;
	bool		fetched = false;

	EdaMatchBegin(&it, eda_lane_match, entry->topic_hash);
	while ((set = EdaMatchNext(&it)) != NULL)
	{
		if (!EdaSubscriptionMayGet(set->sub, EDA_ANY_LANE, entry))
			continue;
		if (!EdaTopicPatternIsExact(set->sub->pattern))
		{
			/* a wildcard needs the topic itself */
			if (!fetched)
			{
				ItemPointerData tid = entry->tid;

				if (!EdaLogFetch(pass->reader, entry->id, entry->segment, &tid,
								 GetActiveSnapshot(), &ev))
					break;
				fetched = true;
			}
			if (!EdaTopicPatternMatch(set->sub->pattern, VARDATA_ANY(ev.topic),
									  VARSIZE_ANY_EXHDR(ev.topic)))
				continue;
		}
		mark_for_event(pass, set, entry);
	}
	return pass->unmarked > 0;
}

/*
 * The first pass: nothing is known about anybody.  first: from where in the list on; another one
 * each time, so that each comes to be the first where dispatchers have to give way soon.
 */
static void
mark_all(uint32 first)
{
	int			n = list_length(eda_lane_sets);

	for (int k = 0; k < n; k++)
	{
		EdaLaneSet *set = list_nth(eda_lane_sets, (k + first) % n);

		if (EdaSubscriptionDelivers(set->sub) && !set->sub->has_probe_at)
			for (int i = 0; i < set->sub->lanes; i++)
				EdaLaneMark(set->lanes[i]);
	}
}

/* Match what became visible since the last pass. */
static void
match_new_events(void)
{
	static uint32 number = 0;
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "eda pass",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	EdaSnapshot *now = EdaSnapshotFrom(GetActiveSnapshot(), false);
	EdaSnapshot *keep;
	EdaXidRange *ranges;
	int			nranges;
	Pass		pass = {0};
	dlist_iter	iter;

	if (++number == 0)
		number = 1;				/* 0 is a lane that was never marked */
	pass.number = number;
	pass.unmarked = eda_lanes_matching;
	/* those that wait for an executor need no more */
	dlist_foreach(iter, &eda_lanes_runnable)
	{
		EdaLaneState *lane = dlist_container(EdaLaneState, runnable_node, iter.cur);

		if (lane->slot < 0 && EdaSubscriptionDelivers(lane->sub) && !lane->sub->has_probe_at)
		{
			lane->pass = number;
			pass.unmarked--;
		}
	}

	if (seen == NULL)
		mark_all(EdaMyDatabase(true)->launch_no);
	else if (pass.unmarked > 0 && (nranges = EdaSnapshotWindow(seen, now, &ranges)) > 0)
	{
		pass.reader = EdaLogReaderOpen();
		EdaLogScan(ranges, nranges, match_entry, &pass);
		EdaLogReaderClose(pass.reader);
	}

	MemoryContextSwitchTo(TopMemoryContext);
	keep = EdaSnapshotCopy(now);
	if (seen != NULL)
		pfree(seen);
	seen = keep;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
}

static void
note_due(int32 subscription_id, int16 lane_no, TimestampTz due, void *arg)
{
	EdaLaneState *lane = EdaLaneFind(subscription_id, lane_no);

	if (lane != NULL && lane->slot < 0)
		EdaLaneSetDue(lane, due);
}

/*
 * When is each lane's next waiting event due?  An executor that has a lane looks
 * after them by itself, and says so when it lays it down.
 */
static void
load_due_times(void)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &eda_lanes_due)
		EdaLaneSetDue(dlist_container(EdaLaneState, due_node, iter.cur), DT_NOEND);
	EdaQueueDueTimes(note_due, NULL);
}

/*
 * Blocked for something that somebody can mend: is it mended, or is there
 * another thing to mend now?  True where some were unblocked or say something
 * else; *again: where one is to be looked at again soon.
 */
static bool
recheck_blocked(bool *again)
{
	bool		changed = false;
	ListCell   *lc;

	foreach(lc, eda_lane_sets)
	{
		EdaSubscription *sub = ((EdaLaneSet *) lfirst(lc))->sub;
		EdaBlock	block;
		char	   *detail;

		if (!EdaBlockCanPass(sub->block))
			continue;
		(void) EdaHandlerCheck(sub, &block, &detail);
		if (block == sub->block &&
			sub->blocked_detail != NULL && strcmp(detail, sub->blocked_detail) == 0)
			continue;
		if (EdaSubscriptionTryLock(sub->id, RowExclusiveLock))
		{
			if (block == EDA_BLOCK_NONE)
				EdaSubscriptionUnblock(sub->id);
			else
				EdaSubscriptionBlock(sub->id, block, detail, 0, NULL, NULL);
			changed = true;
		}
		else
			*again = true;
	}
	return changed;
}

/*
 * Whose lanes have met, so that their number can change?  True where one did;
 * *again: where one is to be looked at again soon.
 */
static bool
change_lanes(bool *again)
{
	bool		changed = false;
	ListCell   *lc;

	foreach(lc, eda_lane_sets)
	{
		EdaSubscription *sub = ((EdaLaneSet *) lfirst(lc))->sub;

		if (sub->fence != NULL && EdaLanesSwitch(sub->id, again))
			changed = true;
	}
	return changed;
}

/* What has become due by now is marked. */
static void
mark_due(void)
{
	TimestampTz now = GetCurrentTimestamp();
	dlist_mutable_iter iter;
	ListCell   *lc;

	dlist_foreach_modify(iter, &eda_lanes_due)
	{
		EdaLaneState *lane = dlist_container(EdaLaneState, due_node, iter.cur);

		if (lane->next_due <= now && lane->sub->state == EDA_ACTIVE)
		{
			/* its executor tells when the next one is due */
			EdaLaneSetDue(lane, DT_NOEND);
			EdaLaneMark(lane);
		}
	}

	foreach(lc, eda_lane_probes)
	{
		EdaLaneSet *set = lfirst(lc);

		if (set->sub->probe_at > now)
			continue;
		for (int i = 0; i < set->sub->lanes; i++)
			EdaLaneMark(set->lanes[i]);
		/*
		 * not again until it is loaded again; where nothing is there to probe, the next event does
		 */
		EdaLaneProbeBegun(set);
		eda_lane_probes = foreach_delete_current(eda_lane_probes, lc);
	}
}

/* How long to sleep: until whatever is due first, in ms. */
static long
time_to_sleep(TimestampTz next_poll, bool wanting, bool again)
{
	TimestampTz now = EdaMonotonicNow();
	TimestampTz until = next_poll;
	TimestampTz until_due = DT_NOEND;	/* by the system's clock */
	long		delay_ms = EdaDelaySleep();
	long		job_ms = EdaJobWatchSleep();
	long		ms;
	dlist_iter	iter;
	ListCell   *lc;

	/* a busy executor can be asked to yield once its time slice is over */
	if (wanting || EdaAssignHoldsBack())
		until = Min(until, now + EDA_TIME_SLICE_MS * INT64CONST(1000));
	if (again)
		until = Min(until, now + RECHECK_MS * INT64CONST(1000));

	dlist_foreach(iter, &eda_lanes_due)
	{
		EdaLaneState *lane = dlist_container(EdaLaneState, due_node, iter.cur);

		if (lane->sub->state == EDA_ACTIVE)
			until_due = Min(until_due, lane->next_due);
	}
	foreach(lc, eda_lane_probes)
		until_due = Min(until_due, ((EdaLaneSet *) lfirst(lc))->sub->probe_at);
	dlist_foreach(iter, &eda_lanes_runnable)
	{
		EdaLaneState *lane = dlist_container(EdaLaneState, runnable_node, iter.cur);

		/* not `now`: a back-off that ended since has not been served */
		if (lane->slot < 0 && !EdaAssignServed(lane->not_before))
			until = Min(until, lane->not_before);
	}
	ms = TimestampDifferenceMilliseconds(now, until);
	if (until_due != DT_NOEND)
		ms = Min(ms, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until_due));
	if (delay_ms >= 0)
		ms = Min(ms, delay_ms);
	return job_ms < 0 ? ms : Min(ms, job_ms);
}

/* From where the dispatcher before has left off. */
static void
go_on_from(const EdaRest *rest)
{
	seen = MemoryContextAllocZero(TopMemoryContext, offsetof(EdaSnapshot, xip));
	seen->xmin = seen->xmax = rest->matched_xmin;
	EdaLanesKnownUpTo(rest->known_xmin);
}

/*
 * When something is due, by the system's clock: what a dispatcher that leaves leaves behind;
 * DT_NOEND: not known.
 */
static TimestampTz
next_due(TimestampTz idle_until)
{
	TimestampTz due = EdaDelayNextDue();
	long		job_ms = EdaJobWatchSleep();
	dlist_iter	iter;
	ListCell   *lc;

	dlist_foreach(iter, &eda_lanes_due)
	{
		EdaLaneState *lane = dlist_container(EdaLaneState, due_node, iter.cur);

		if (lane->sub->state == EDA_ACTIVE)
			due = Min(due, lane->next_due);
	}
	foreach(lc, eda_lane_probes)
		due = Min(due, ((EdaLaneSet *) lfirst(lc))->sub->probe_at);
	if (job_ms >= 0)
		due = Min(due, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), job_ms));
	if (idle_until != DT_NOEND)
		due = Min(due, GetCurrentTimestamp() + Max(idle_until - EdaMonotonicNow(), 0));
	return due;
}

/*
 * Nothing is left to do in this round: leave, if it is time to, or if somebody needs the worker
 * slot more. came: something has happened since the last round; idle_until: no lane can be served
 * before that. Returns how long to stay at least, in ms, or -1: for as long as anything is going
 * on.
 */
static long
leave_if_idle(EdaDatabase *db, bool came, TimestampTz idle_until)
{
	TimestampTz now = EdaMonotonicNow();
	bool		asked = db->leave_asked;
	TimestampTz leave_at;
	TimestampTz due;

	if (came)
	{
		brief = false;
		quiet = false;
	}
	if (idle_until <= now)
	{
		idle_since = 0;
		if (db->idle_since != 0)
			db->idle_since = 0;
		if (asked)
			EdaRestGiveWay(db);
		return -1;
	}
	if (idle_since == 0 || came)
		idle_since = now;
	db->idle_since = idle_since;

	/* executors at work, a log that cannot be emptied yet: only if it must be */
	if (!asked && (idle_until != DT_NOEND || !dlist_is_empty(&eda_lanes_held) || EdaLogIsWatched()))
		return -1;
	leave_at = idle_since + (brief ? 0 : EdaRestLinger() * INT64CONST(1000));
	if (!asked && leave_at > now)
		return TimestampDifferenceMilliseconds(now, leave_at);
	due = next_due(idle_until);
	/* not for a moment */
	if (!asked && due != DT_NOEND &&
		due < TimestampTzPlusMilliseconds(GetCurrentTimestamp(), EdaRestLinger()))
		return -1;

	EdaRestLeave(db, due,
				 idle_until == DT_NOEND && seen != NULL ? seen->xmin : 0, EdaLanesKnown(), quiet);
	/* somebody has come */
	brief = false;
	quiet = false;
	idle_since = 0;
	return 0;
}

void
EdaDispatcherMain(Datum main_arg)
{
	EdaDatabase *db = EdaDispatcherAttach(main_arg);
	uint32		wait_event = eda_wait_event("EdaDispatcherMain");
	TimestampTz last_poll = 0;
	bool		recheck_again = false;
	bool		log_again = false;
	bool		first = true;
	EdaRest		rest;

	EdaRestOver(db, &rest, &brief);
	if (rest.matched_xmin != 0)
		go_on_from(&rest);

	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);

	EdaTransactionBegin();
	EdaBlockIfCopied();
	EdaTransactionCommit();

	for (;;)
	{
		/* cleared, with a full barrier, before any snapshot is taken */
		uint32		wake = pg_atomic_exchange_u32(&db->wake, 0);
		bool		wanting;
		bool		polling = false;
		bool		came = (wake & ~EDA_WAKE_EXECUTOR) != 0;
		long		stay_ms;
		TimestampTz next_poll = last_poll + (int64) eda_poll_interval * 1000;

		if (!eda_enabled)
		{
			EdaTerminateWorkers(MyDatabaseId);
			proc_exit(0);
		}
		if (recheck_again)
			wake |= EDA_WAKE_RECHECK;
		if (last_poll == 0 || EdaMonotonicNow() >= next_poll)
		{
			polling = true;
			wake |= WAKE_POLL;
			last_poll = EdaMonotonicNow();
			next_poll = last_poll + (int64) eda_poll_interval * 1000;
		}

		EdaAssignLook();
		if (wake & ~EDA_WAKE_EXECUTOR)
		{
			EdaTransactionBegin();
			if (!EdaExtensionExists())
			{
				EdaTransactionCommit();
				EdaTerminateWorkers(MyDatabaseId);
				EdaDispatcherFoundNoEda();
				proc_exit(0);
			}
			/* executors may have lanes that were not known here until now */
			if (EdaLanesReload(db, wake))
				EdaAssignLook();
			/* laid down while nobody looked, and nobody knows which: all lanes are looked at */
			if (first && EdaAssignLeftWork())
				seen = NULL;
			first = false;
			if (wake & EDA_WAKE_EVENTS)
				match_new_events();
			if (wake & (EDA_WAKE_RETRIES | EDA_WAKE_SUBSCRIPTIONS))
				load_due_times();
			if (wake & (EDA_WAKE_RECHECK | EDA_WAKE_SUBSCRIPTIONS))
			{
				recheck_again = false;
				if (recheck_blocked(&recheck_again))
					EdaWakeDispatcher(db, EDA_WAKE_SUBSCRIPTIONS);
				if (change_lanes(&recheck_again))
					EdaWakeDispatcher(db, EDA_WAKE_SUBSCRIPTIONS);
			}
			EdaTransactionCommit();
		}
		if (polling)
		{
			EdaTransactionBegin();
			/* a full measure: there is more, and more work like this soon */
			if (EdaIdempotencyPurge(PURGE_AT_ONCE) == PURGE_AT_ONCE ||
				EdaRecoveryPurge(PURGE_AT_ONCE) == PURGE_AT_ONCE)
				last_poll = 0;
			EdaTransactionCommit();
		}
		/* before lanes are given away: those at rest are moved */
		if (polling || log_again || (wake & EDA_WAKE_LOG))
			log_again = EdaLogLife(db);
		EdaDelayServe(db, (wake & EDA_WAKE_DELAYED) != 0);
		EdaJobWatchServe((wake & EDA_WAKE_JOBS) != 0);
		mark_due();
		wanting = EdaAssignServe();
		if (!wanting)
			EdaExecutorEnough(db);
		EdaExecutorReap();
		stay_ms = -1;
		/* who was asked to give way answers, however often it is woken: others wait for that */
		if (pg_atomic_read_u32(&db->wake) == 0 || db->leave_asked)
			stay_ms = leave_if_idle(db, came,
									last_poll == 0 || recheck_again || log_again ? 0 : EdaAssignIdleUntil(wanting));

		if (pg_atomic_read_u32(&db->wake) == 0)
		{
			long		ms = time_to_sleep(next_poll, wanting, recheck_again || log_again);
			int			rc;

			if (last_poll == 0)
				ms = 0;
			if (stay_ms >= 0)
				ms = Min(ms, stay_ms);
			rc = EdaWorkerWait(EdaPoolSleep(ms), wait_event);
			EdaPoolAwake(db, (rc & WL_LATCH_SET) != 0);
		}
		else
		{
			CHECK_FOR_INTERRUPTS();
			EdaWorkerReload();
		}
	}
}
