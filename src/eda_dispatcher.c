/*-------------------------------------------------------------------------
 *
 * eda_dispatcher.c
 *	  The process of a database that decides which subscriptions have work,
 *	  and which executor does it.
 *
 *	1. It sleeps on its latch until somebody sets bits in EdaDatabase.wake,
 *	   something is due (a retry, a probe, an executor's back-off), or
 *	   eda.poll_interval has passed, after which it looks at everything once.
 *	2. For committed events it makes one pass over what became visible
 *	   since its last pass, and marks the subscriptions whose patterns
 *	   match as runnable.  It errs on the side of marking: an executor that
 *	   finds nothing lays the lane down again.
 *	3. A runnable lane that an executor holds is not assigned: the executor
 *	   is told to look again.  Otherwise it goes to an idle executor of the
 *	   owner's role, or one is launched, or, where all slots are taken, the one that
 *	   can be spared best is asked to yield.  Lanes are served by priority, which
 *	   grows while they wait, and before all those that have waited for long, so
 *	   that none waits for ever.  A busy executor is asked only for a lane
 *	   that would go before its own; one that cannot yield, as its handler
 *	   takes long, does not keep others from being asked.
 *	4. It keeps nothing that it could not find out again: after a restart it
 *	   marks every lane, and finds the lanes that executors hold in their slots.
 *	5. It never runs user code, no transaction is open while it sleeps, and it
 *	   never waits for a lock that a user's transaction may hold.
 *	6. With each poll it does the database's housekeeping: expired idempotency
 *	   keys, the log's segments (eda_retention.c), idle cursors (eda_advance.c).
 *	7. Due times (retries, probes, delayed events) go by the system's clock, which
 *	   may be set: it is looked at with each poll at least.  Everything else that is
 *	   measured here goes by the monotonic clock (eda_clock.h).
 *
 * Executor slots are read and written under EdaShared->lock.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/eda_dispatcher.c
 *
 *-------------------------------------------------------------------------
 */
#include "eda.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "eda_catalog.h"
#include "eda_clock.h"
#include "eda_copy.h"
#include "eda_delay.h"
#include "eda_handler.h"
#include "eda_idempotency.h"
#include "eda_lanes.h"
#include "eda_log.h"
#include "eda_queue.h"
#include "eda_security.h"
#include "eda_subscription.h"
#include "eda_pool.h"
#include "eda_retention.h"
#include "eda_worker.h"

/* A busy executor is asked to yield only after this long on a lane, in ms. */
#define TIME_SLICE_MS		1000

/* A lane that has waited this long goes before any that has not, whatever their priorities, in ms. */
#define MAX_WAIT_MS			20000

/* An executor that died this soon after it got a lane makes the lane back off, in ms. */
#define EARLY_DEATH_MS		5000
#define MAX_BACKOFF_MS		60000

/* How long a lane whose subscription is locked waits for the next try, at most, in ms. */
#define MAX_BUSY_MS			1000

/* What failed because somebody holds a subscription's lock is tried again after this long, in ms. */
#define RECHECK_MS			100

/* Expired idempotency keys that one transaction removes. */
#define PURGE_AT_ONCE		10000

#define WAKE_ALL	(EDA_WAKE_EVENTS | EDA_WAKE_SUBSCRIPTIONS | EDA_WAKE_RETRIES | \
					 EDA_WAKE_EXECUTOR | EDA_WAKE_RECHECK | EDA_WAKE_DELAYED)

typedef struct LaneKey
{
	int32		subscription_id;
	int32		lane_no;
} LaneKey;

/* One lane, across reloads of the definitions. */
typedef struct LaneState
{
	LaneKey		key;			/* hash key */
	EdaSubscription *sub;		/* shared by its lanes; NULL while reloading: gone */
	EdaState	state;			/* as last loaded */
	bool		runnable;
	TimestampTz runnable_since; /* monotonic, as all times here that have no other comment */
	TimestampTz next_due;		/* of its waiting events, by the system's clock; DT_NOEND: none */

	/* the executor that has it, as of the last look */
	int			slot;			/* -1: none */
	uint32		slot_generation;
	uint32		slot_turn;
	TimestampTz assigned_at;
	int			early_deaths;
	int			busy;			/* times in a row that its lock was somebody else's */
	TimestampTz not_before;		/* back-off after such */
	int			isolation;		/* how it was laid down: EdaLaneIsolation() */
} LaneState;

static HTAB *lanes;
static MemoryContext subs_mcxt;	/* definitions, replaced as a whole */
static uint64 subs_epoch;
static TimestampTz served_at;	/* what serve_lanes() took for now */
static EdaSnapshot *seen;		/* up to where events were matched; in TopMemoryContext */

/*
 * There may be work in this lane: tell the executor that has it, or queue it.
 * The executor reads `wake` after it has withdrawn from the lane, so if the
 * slot is still its own after the store, the store is seen.
 */
static void
mark(LaneState *lane)
{
	if (lane->slot >= 0)
	{
		EdaExecutor *exec = &EdaShared->executors[lane->slot];
		bool		held;

		pg_atomic_write_u32(&exec->wake, 1);
		LWLockAcquire(EdaShared->lock, LW_SHARED);
		held = exec->generation == lane->slot_generation &&
			exec->subscription_id == lane->key.subscription_id &&
			exec->lane_no == lane->key.lane_no &&
			(exec->state == EDA_EXEC_ASSIGNED || exec->state == EDA_EXEC_RUNNING);
		if (held && exec->latch != NULL)
			SetLatch(exec->latch);
		LWLockRelease(EdaShared->lock);
		if (held)
			return;
	}
	if (!lane->runnable)
	{
		lane->runnable = true;
		lane->runnable_since = EdaMonotonicNow();
	}
}

/* A lane that there is now. */
static void
reload_lane(EdaSubscription *sub, int lane_no, bool changed)
{
	LaneKey		key = {sub->id, lane_no};
	LaneState  *lane;
	bool		found;
	bool		changed_state;

	lane = hash_search(lanes, &key, HASH_ENTER, &found);
	if (!found)
	{
		lane->runnable = false;
		lane->runnable_since = 0;
		lane->next_due = DT_NOEND;
		lane->slot = -1;
		lane->slot_generation = 0;
		lane->slot_turn = 0;
		lane->assigned_at = 0;
		lane->early_deaths = 0;
		lane->busy = 0;
		lane->not_before = 0;
		lane->isolation = 0;
	}
	changed_state = !found || lane->state != sub->state;
	lane->sub = sub;
	lane->state = sub->state;
	/* an executor finds out whether there is work */
	if (changed && lane->early_deaths == 0)
		lane->not_before = 0;	/* the lock may be free, the rate another one */
	if (sub->state == EDA_ACTIVE && (changed || changed_state))
		mark(lane);
}

/*
 * Read the definitions.  New and resumed subscriptions are marked; with
 * changed, all active ones are: any of them may have got another definition,
 * position or waiting event.
 */
static void
reload_subscriptions(EdaDatabase *db, bool changed)
{
	MemoryContext fresh = AllocSetContextCreate(TopMemoryContext, "eda subscriptions",
												ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(fresh);
	HASH_SEQ_STATUS status;
	LaneState  *lane;
	List	   *subs;
	ListCell   *lc;
	int			nblocked = 0;

	subs_epoch = EdaSubscriptionEpoch();
	subs = EdaSubscriptionLoadAll();
	MemoryContextSwitchTo(old);

	hash_seq_init(&status, lanes);
	while ((lane = hash_seq_search(&status)) != NULL)
		lane->sub = NULL;

	foreach(lc, subs)
	{
		EdaSubscription *sub = lfirst(lc);

		if (sub->state == EDA_BLOCKED && !EdaSubscriptionDelivers(sub))
			nblocked++;
		for (int i = 0; i < sub->lanes; i++)
			reload_lane(sub, i, changed);
	}

	hash_seq_init(&status, lanes);
	while ((lane = hash_seq_search(&status)) != NULL)
	{
		if (lane->sub != NULL)
			continue;
		if (lane->slot >= 0)
			mark(lane);			/* its executor finds it gone */
		hash_search(lanes, &lane->key, HASH_REMOVE, NULL);
	}

	if (subs_mcxt != NULL)
		MemoryContextDelete(subs_mcxt);
	subs_mcxt = fresh;
	pg_atomic_write_u32(&db->nblocked, nblocked);
}

/* State of one pass over new events. */
typedef struct Pass
{
	EdaLogReader *reader;
	List	   *unmarked;		/* of LaneState *: those that deliver, not marked in this pass */
} Pass;

static bool
match_entry(const EdaLogEntry *entry, void *arg)
{
	Pass	   *pass = arg;
	EdaEvent	ev;
	bool		fetched = false;
	bool		visible = true;
	ListCell   *lc;

	foreach(lc, pass->unmarked)
	{
		LaneState  *lane = lfirst(lc);

		if (!EdaSubscriptionMayGet(lane->sub, (int16) lane->key.lane_no, entry))
			continue;
		if (!EdaTopicPatternIsExact(lane->sub->pattern))
		{
			/* a wildcard needs the topic itself */
			if (!fetched)
			{
				ItemPointerData tid = entry->tid;

				visible = EdaLogFetch(pass->reader, entry->id, entry->segment, &tid,
									  GetActiveSnapshot(), &ev);
				fetched = true;
			}
			if (!visible)
				break;
			if (!EdaTopicPatternMatch(lane->sub->pattern, VARDATA_ANY(ev.topic),
									  VARSIZE_ANY_EXHDR(ev.topic)))
				continue;
		}
		mark(lane);
		pass->unmarked = foreach_delete_current(pass->unmarked, lc);
	}
	return pass->unmarked != NIL;
}

/* Match what became visible since the last pass. */
static void
match_new_events(void)
{
	MemoryContext mcxt = AllocSetContextCreate(CurrentMemoryContext, "eda pass",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	EdaSnapshot *now = EdaSnapshotFrom(GetActiveSnapshot(), false);
	EdaSnapshot *keep;
	HASH_SEQ_STATUS status;
	LaneState  *lane;
	Pass		pass = {0};

	hash_seq_init(&status, lanes);
	while ((lane = hash_seq_search(&status)) != NULL)
	{
		/* a probe that is to come looks for itself */
		if (!EdaSubscriptionDelivers(lane->sub) || lane->sub->has_probe_at)
			continue;
		if (seen == NULL)
			mark(lane);			/* the first pass: nothing is known about anybody */
		else if (!lane->runnable || lane->slot >= 0)
			pass.unmarked = lappend(pass.unmarked, lane);
	}

	if (pass.unmarked != NIL)
	{
		EdaXidRange *ranges;
		int			nranges = EdaSnapshotWindow(seen, now, &ranges);

		if (nranges > 0)
		{
			pass.reader = EdaLogReaderOpen();
			EdaLogScan(ranges, nranges, match_entry, &pass);
			EdaLogReaderClose(pass.reader);
		}
	}

	MemoryContextSwitchTo(TopMemoryContext);
	keep = EdaSnapshotCopy(now);
	if (seen != NULL)
		pfree(seen);
	seen = keep;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
}

/*
 * When is each lane's next waiting event due?  An executor that has a lane looks
 * after them by itself, and says so when it lays it down.
 */
static void
load_due_times(void)
{
	HASH_SEQ_STATUS status;
	LaneState  *lane;

	hash_seq_init(&status, lanes);
	while ((lane = hash_seq_search(&status)) != NULL)
		lane->next_due = lane->slot >= 0 ? DT_NOEND :
			EdaQueueNextDue(lane->key.subscription_id, (int16) lane->key.lane_no,
							EDA_DUE_UNKNOWN, NULL, NULL);
}

/*
 * Blocked for something that somebody can mend: is it mended, or is there
 * another thing to mend now?  True where some were unblocked or say something
 * else; *again: where one is to be looked at again soon.
 */
static bool
recheck_blocked(bool *again)
{
	HASH_SEQ_STATUS status;
	LaneState  *lane;
	bool		changed = false;

	hash_seq_init(&status, lanes);
	while ((lane = hash_seq_search(&status)) != NULL)
	{
		EdaSubscription *sub = lane->sub;
		char	   *reason;
		char	   *detail;

		if (lane->key.lane_no != 0)
			continue;
		if (sub->state != EDA_BLOCKED ||
			(strcmp(sub->blocked_reason, "handler") != 0 &&
			 strcmp(sub->blocked_reason, "privilege") != 0 &&
			 strcmp(sub->blocked_reason, "login") != 0))
			continue;
		reason = "login";
		if (EdaOwnerCanConnect(sub->owner, &detail))
			(void) EdaHandlerCheck(sub, &reason, &detail);
		if (reason != NULL && strcmp(reason, sub->blocked_reason) == 0 &&
			sub->blocked_detail != NULL && strcmp(detail, sub->blocked_detail) == 0)
			continue;
		if (EdaSubscriptionTryLock(sub->id, RowExclusiveLock))
		{
			if (reason == NULL)
				EdaSubscriptionUnblock(sub->id);
			else
				EdaSubscriptionBlock(sub->id, reason, detail, 0, NULL, 0);
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
	HASH_SEQ_STATUS status;
	LaneState  *lane;
	bool		changed = false;

	hash_seq_init(&status, lanes);
	while ((lane = hash_seq_search(&status)) != NULL)
	{
		if (lane->key.lane_no == 0 && lane->sub->fence != NULL &&
			EdaLanesSwitch(lane->key.subscription_id, again))
			changed = true;
	}
	return changed;
}

/* What has become due by now is marked. */
static void
mark_due(void)
{
	TimestampTz now = GetCurrentTimestamp();
	HASH_SEQ_STATUS status;
	LaneState  *lane;

	hash_seq_init(&status, lanes);
	while ((lane = hash_seq_search(&status)) != NULL)
	{
		if (lane->next_due <= now && lane->sub->state == EDA_ACTIVE)
		{
			/* its executor tells when the next one is due */
			lane->next_due = DT_NOEND;
			mark(lane);
		}
		if (lane->sub->state == EDA_BLOCKED && lane->sub->has_probe_at &&
			lane->sub->probe_at <= now)
			mark(lane);
	}

	/* all its lanes are marked: not again until it is loaded again */
	hash_seq_init(&status, lanes);
	while ((lane = hash_seq_search(&status)) != NULL)
	{
		if (lane->sub->state == EDA_BLOCKED && lane->sub->has_probe_at &&
			lane->sub->probe_at <= now)
			lane->sub->has_probe_at = false;
	}
}

/*
 * Which executors have which lanes now?  One that laid its lane down says
 * whether it left work behind; one that is gone did not, so its lane is
 * looked at again, later if it died young.
 */
static void
look_at_executors(void)
{
	TimestampTz now = EdaMonotonicNow();
	HASH_SEQ_STATUS status;
	LaneState  *lane;

	hash_seq_init(&status, lanes);
	while ((lane = hash_seq_search(&status)) != NULL)
	{
		int			was = lane->slot;
		uint32		was_generation = lane->slot_generation;
		uint32		was_turn = lane->slot_turn;
		bool		more = false;
		bool		died = false;
		bool		busy = false;
		TimestampTz resume_at = 0;
		int			isolation = 0;

		LWLockAcquire(EdaShared->lock, LW_SHARED);
		lane->slot = -1;
		for (int i = 0; i < EdaShared->nexecutors; i++)
		{
			EdaExecutor *exec = &EdaShared->executors[i];

			if (exec->dbid == MyDatabaseId &&
				exec->subscription_id == lane->key.subscription_id &&
				exec->lane_no == lane->key.lane_no &&
				(exec->state == EDA_EXEC_ASSIGNED || exec->state == EDA_EXEC_RUNNING))
			{
				lane->slot = i;
				lane->slot_generation = exec->generation;
				lane->slot_turn = exec->turn;
				break;
			}
		}
		if (was >= 0 && lane->slot < 0)
		{
			EdaExecutor *exec = &EdaShared->executors[was];

			if (exec->generation != was_generation || exec->turn != was_turn ||
				(exec->state != EDA_EXEC_FREE && exec->state != EDA_EXEC_IDLE))
				more = true;	/* the slot is somebody else's: what it said is gone */
			else
			{
				died = exec->state == EDA_EXEC_FREE && exec->died;
				more = died || exec->more_work;
				busy = exec->busy;
				resume_at = exec->resume_at;
				isolation = exec->isolation;
			}
		}
		LWLockRelease(EdaShared->lock);

		if (was >= 0 && lane->slot < 0)
			lane->isolation = isolation;
		if (died && !TimestampDifferenceExceeds(lane->assigned_at, now, EARLY_DEATH_MS))
		{
			int64		ms = INT64CONST(1000) << Min(lane->early_deaths, 6);

			lane->early_deaths++;
			lane->not_before = now + Min(ms, MAX_BACKOFF_MS) * 1000;
		}
		else if (busy)
		{
			lane->busy++;
			lane->not_before = now + Min(50 * lane->busy, MAX_BUSY_MS) * INT64CONST(1000);
		}
		else if (was >= 0 && lane->slot < 0)
		{
			lane->busy = 0;
			lane->early_deaths = 0;
			lane->not_before = resume_at;
		}
		if (more)
			mark(lane);
	}
}

/* Give the lane to an idle executor of its role.  False: there is none. */
static bool
assign(LaneState *lane)
{
	bool		assigned = false;

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < EdaShared->nexecutors && !assigned; i++)
	{
		EdaExecutor *exec = &EdaShared->executors[i];

		if (exec->state != EDA_EXEC_IDLE || exec->dbid != MyDatabaseId ||
			exec->roleid != lane->sub->owner || pg_atomic_read_u32(&exec->yield) != EDA_YIELD_NOT)
			continue;
		exec->state = EDA_EXEC_ASSIGNED;
		exec->subscription_id = lane->key.subscription_id;
		exec->lane_no = (int16) lane->key.lane_no;
		exec->more_work = false;
		exec->busy = false;
		exec->resume_at = 0;
		exec->isolation = lane->isolation;
		exec->since = GetCurrentTimestamp();
		SetLatch(exec->latch);
		lane->slot = i;
		lane->slot_generation = exec->generation;
		lane->slot_turn = ++exec->turn;
		lane->assigned_at = EdaMonotonicNow();
		assigned = true;
	}
	LWLockRelease(EdaShared->lock);
	return assigned;
}

/* Executors of this role that are on their way, or on their way out of a lane. */
static int
count_coming(Oid roleid)
{
	int			n = 0;

	LWLockAcquire(EdaShared->lock, LW_SHARED);
	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		EdaExecutor *exec = &EdaShared->executors[i];

		if (exec->state == EDA_EXEC_STARTING && exec->dbid == MyDatabaseId &&
			exec->roleid == roleid)
			n++;
	}
	LWLockRelease(EdaShared->lock);
	return n;
}

/*
 * Which of two lanes goes first, the first one below 0: who has waited for
 * long; then the higher priority, of which a second of waiting is worth one.
 */
static int
compare_turns(const EdaSubscription *x, TimestampTz x_since,
			  const EdaSubscription *y, TimestampTz y_since)
{
	bool		x_long = TimestampDifferenceExceeds(x_since, served_at, MAX_WAIT_MS);
	bool		y_long = TimestampDifferenceExceeds(y_since, served_at, MAX_WAIT_MS);
	double		px = x_long ? 0 : x->priority;
	double		py = y_long ? 0 : y->priority;

	if (x_long != y_long)
		return x_long ? -1 : 1;
	px -= x_since / (double) USECS_PER_SEC;
	py -= y_since / (double) USECS_PER_SEC;
	return px > py ? -1 : (px < py ? 1 : 0);
}

static int
compare_lanes(const ListCell *a, const ListCell *b)
{
	const LaneState *x = lfirst(a);
	const LaneState *y = lfirst(b);
	int			turn = compare_turns(x->sub, x->runnable_since, y->sub, y->runnable_since);

	if (turn != 0)
		return turn;
	return x->key.subscription_id != y->key.subscription_id ?
		x->key.subscription_id - y->key.subscription_id : x->key.lane_no - y->key.lane_no;
}

/* Its own lane goes on before this one, were it laid down now. */
static bool
goes_before(const EdaExecutor *exec, const LaneState *lane)
{
	LaneKey		key = {exec->subscription_id, exec->lane_no};
	LaneState  *own;

	if (exec->dbid != MyDatabaseId)
		return false;
	own = hash_search(lanes, &key, HASH_FIND, NULL);
	return own != NULL &&
		compare_turns(own->sub, served_at, lane->sub, lane->runnable_since) < 0;
}

/*
 * Executors that were asked to yield and are about to: not those that have been
 * busy with their events for a time slice since.
 */
static int
count_yielding(void)
{
	int			n = 0;

	LWLockAcquire(EdaShared->lock, LW_SHARED);
	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		EdaExecutor *exec = &EdaShared->executors[i];

		if (exec->state == EDA_EXEC_FREE || pg_atomic_read_u32(&exec->yield) == EDA_YIELD_NOT)
			continue;
		if (exec->state != EDA_EXEC_RUNNING || pg_atomic_read_u32(&exec->in_flight) == 0 ||
			!TimestampDifferenceExceeds(exec->asked_at, served_at, TIME_SLICE_MS))
			n++;
	}
	LWLockRelease(EdaShared->lock);
	return n;
}

/*
 * Every slot is taken: ask the executor that can be spared best to yield.  An
 * idle one ends; one that lingers on a lane lays it down; a busy one does so
 * after its time slice.  lane: which one waits; an executor of another role
 * or database cannot run it, and has to end.
 */
static void
ask_to_yield(const LaneState *lane)
{
	TimestampTz now = GetCurrentTimestamp();
	EdaExecutor *best = NULL;
	int			best_rank = 0;

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		EdaExecutor *exec = &EdaShared->executors[i];
		int			rank;

		if (pg_atomic_read_u32(&exec->yield) != EDA_YIELD_NOT || exec->latch == NULL)
			continue;
		if (exec->state == EDA_EXEC_IDLE && exec->dbid == MyDatabaseId &&
			exec->roleid == lane->sub->owner)
		{
			/* it became idle just now, and says so: the lane is its next one */
			best = NULL;
			break;
		}
		if (exec->state == EDA_EXEC_IDLE)
			rank = 3;
		else if (exec->state == EDA_EXEC_RUNNING && pg_atomic_read_u32(&exec->in_flight) == 0)
			rank = 2;
		else if (exec->state == EDA_EXEC_RUNNING &&
				 (exec->since > now ||	/* the clock was set back */
				  TimestampDifferenceExceeds(exec->since, now, TIME_SLICE_MS)) &&
				 !goes_before(exec, lane))
			rank = 1;
		else
			continue;
		if (best == NULL || rank > best_rank ||
			(rank == best_rank && exec->since < best->since))
		{
			best = exec;
			best_rank = rank;
		}
	}
	if (best != NULL)
	{
		bool		usable = best->dbid == MyDatabaseId && best->roleid == lane->sub->owner;

		best->asked_at = EdaMonotonicNow();
		pg_atomic_write_u32(&best->yield, usable ? EDA_YIELD_LANE : EDA_YIELD_SLOT);
		SetLatch(best->latch);
	}
	LWLockRelease(EdaShared->lock);
}

/*
 * Find executors for the runnable lanes.  True where some are left without:
 * a slot is to be looked for again soon.
 */
static bool
serve_lanes(void)
{
	TimestampTz now = EdaMonotonicNow();
	List	   *queue = NIL;
	List	   *coming_roles = NIL; /* one entry per executor on its way that is spoken for */
	List	   *wanting = NIL;	/* lanes that got none */
	int			yielding;
	bool		left_without;
	HASH_SEQ_STATUS status;
	LaneState  *lane;
	ListCell   *lc;

	served_at = now;
	hash_seq_init(&status, lanes);
	while ((lane = hash_seq_search(&status)) != NULL)
	{
		if (lane->runnable && !EdaSubscriptionDelivers(lane->sub))
			lane->runnable = false;
		if (lane->runnable && lane->slot < 0 && lane->not_before <= now)
			queue = lappend(queue, lane);
	}
	list_sort(queue, compare_lanes);

	foreach(lc, queue)
	{
		Oid			role;
		int			spoken_for = 0;
		int			slot;
		char	   *detail;
		ListCell   *other;
		bool		can_connect;

		lane = lfirst(lc);
		role = lane->sub->owner;
		/* an idle executor of this role makes room for the higher priority of another */
		if (wanting != NIL &&
			lane->sub->priority < ((LaneState *) linitial(wanting))->sub->priority)
			continue;
		if (assign(lane))
		{
			lane->runnable = false;
			continue;
		}

		foreach(other, coming_roles)
			if (lfirst_oid(other) == role)
				spoken_for++;
		if (count_coming(role) > spoken_for)
		{
			coming_roles = lappend_oid(coming_roles, role);
			continue;
		}

		/* a FATAL at connect could record nothing: ask before */
		EdaWorkerBegin();
		can_connect = EdaOwnerCanConnect(role, &detail);
		if (!can_connect)
		{
			if (EdaSubscriptionTryLock(lane->key.subscription_id, RowExclusiveLock))
			{
				EdaSubscriptionBlock(lane->key.subscription_id, "login", detail, 0, NULL, 0);
				lane->runnable = false;
			}
			else
				lane->not_before = now + MAX_BUSY_MS * INT64CONST(1000);
		}
		EdaWorkerCommit();
		if (!can_connect)
			continue;

		if (EdaExecutorLaunch(MyDatabaseId, role, &slot))
		{
			coming_roles = lappend_oid(coming_roles, role);
			continue;
		}
		/* where the role is refused, no slot would help */
		if (slot != EDA_ROLE_REFUSED)
			wanting = lappend(wanting, lane);
	}

	yielding = count_yielding();
	foreach(lc, wanting)
	{
		if (yielding-- <= 0)
			ask_to_yield(lfirst(lc));
	}
	left_without = wanting != NIL;
	list_free(queue);
	list_free(coming_roles);
	list_free(wanting);
	return left_without;
}

/* How long to sleep: until whatever is due first, in ms. */
static long
time_to_sleep(TimestampTz next_poll, bool wanting, bool again)
{
	TimestampTz now = EdaMonotonicNow();
	TimestampTz until = next_poll;
	TimestampTz until_due = DT_NOEND;	/* by the system's clock */
	long		delay_ms = EdaDelaySleep();
	long		ms;
	HASH_SEQ_STATUS status;
	LaneState  *lane;

	/* a busy executor can be asked to yield once its time slice is over */
	if (wanting)
		until = Min(until, now + TIME_SLICE_MS * INT64CONST(1000));
	if (again)
		until = Min(until, now + RECHECK_MS * INT64CONST(1000));

	hash_seq_init(&status, lanes);
	while ((lane = hash_seq_search(&status)) != NULL)
	{
		if (lane->sub->state == EDA_ACTIVE)
			until_due = Min(until_due, lane->next_due);
		if (lane->sub->state == EDA_BLOCKED && lane->sub->has_probe_at)
			until_due = Min(until_due, lane->sub->probe_at);
		/* not `now`: a back-off that ended since has not been served */
		if (lane->runnable && lane->slot < 0 && lane->not_before > served_at)
			until = Min(until, lane->not_before);
	}
	ms = TimestampDifferenceMilliseconds(now, until);
	if (until_due != DT_NOEND)
		ms = Min(ms, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until_due));
	return delay_ms < 0 ? ms : Min(ms, delay_ms);
}

void
EdaDispatcherMain(Datum main_arg)
{
	EdaDatabase *db = EdaDispatcherAttach(main_arg);
	uint32		wait_event = eda_wait_event("EdaDispatcherMain");
	TimestampTz last_poll = 0;
	bool		recheck_again = false;
	bool		log_again = false;
	HASHCTL		ctl;

	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);

	ctl.keysize = sizeof(LaneKey);
	ctl.entrysize = sizeof(LaneState);
	lanes = hash_create("eda lanes", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	EdaWorkerBegin();
	EdaBlockIfCopied();
	EdaWorkerCommit();

	for (;;)
	{
		/* cleared, with a full barrier, before any snapshot is taken */
		uint32		wake = pg_atomic_exchange_u32(&db->wake, 0);
		bool		wanting;
		bool		polling = false;
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
			wake = WAKE_ALL;
			last_poll = EdaMonotonicNow();
			next_poll = last_poll + (int64) eda_poll_interval * 1000;
		}

		look_at_executors();
		if (wake & ~EDA_WAKE_EXECUTOR)
		{
			EdaWorkerBegin();
			if (!EdaExtensionExists())
			{
				EdaWorkerCommit();
				EdaTerminateWorkers(MyDatabaseId);
				proc_exit(0);
			}
			/* probes' times are not announced by an epoch */
			if (subs_epoch != EdaSubscriptionEpoch() || subs_mcxt == NULL ||
				(wake & (EDA_WAKE_SUBSCRIPTIONS | EDA_WAKE_RETRIES)))
			{
				reload_subscriptions(db, (wake & EDA_WAKE_SUBSCRIPTIONS) != 0);
				/* executors may have lanes that were not known here until now */
				look_at_executors();
			}
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
			EdaWorkerCommit();
		}
		if (polling)
		{
			EdaWorkerBegin();
			/* a full measure: there is more, and more work like this soon */
			if (EdaIdempotencyPurge(PURGE_AT_ONCE) == PURGE_AT_ONCE)
				last_poll = 0;
			EdaWorkerCommit();
		}
		/* before lanes are given away: those at rest are moved */
		if (polling || log_again || (wake & EDA_WAKE_LOG))
			log_again = EdaLogLife(db);
		EdaDelayServe(db, (wake & EDA_WAKE_DELAYED) != 0);
		mark_due();
		wanting = serve_lanes();
		if (!wanting)
			EdaExecutorEnough(db);
		EdaExecutorReap();

		if (pg_atomic_read_u32(&db->wake) == 0)
			(void) EdaWorkerWait(last_poll == 0 ? 0 : time_to_sleep(next_poll, wanting, recheck_again || log_again), wait_event);
		else
		{
			CHECK_FOR_INTERRUPTS();
			EdaWorkerReload();
		}
	}
}
