/*-------------------------------------------------------------------------
 *
 * eda_assign.c
 *	  Which executor runs which lane.
 *
 *	1. A runnable lane goes to an idle executor of the owner's role, or one is
 *	   launched, or, where all slots are taken, the one that can be spared best is
 *	   asked to yield.
 *	2. Lanes are served by priority, which
 *	   grows while they wait, and before all those that have waited for long, so
 *	   that none waits for ever.  A busy executor is asked only for a lane
 *	   that would go before its own; one that cannot yield, as its handler
 *	   takes long, does not keep others from being asked.
 *	3. What an executor says when it lays its lane down stays in its slot until
 *	   the slot is used again, and is read with the next look at the slots.  One that
 *	   is gone did not say, so its lane is looked at again, later if it died young.
 *
 * Executor slots are read and written under EdaShared->lock.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/eda_assign.c
 *
 *-------------------------------------------------------------------------
 */
#include "eda.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "eda_assign.h"
#include "eda_clock.h"
#include "eda_handler.h"
#include "eda_pool.h"
#include "eda_worker.h"

/* A lane that has waited this long goes before any that has not, whatever their priorities, in ms. */
#define MAX_WAIT_MS			20000

/* An executor that died this soon after it got a lane makes the lane back off, in ms. */
#define EARLY_DEATH_MS		5000
#define MAX_BACKOFF_MS		60000

/* How long a lane whose subscription is locked waits for the next try, at most, in ms. */
#define MAX_BUSY_MS			1000

static TimestampTz served_at = 0;	/* monotonic; when lanes were served last */
static bool some_next = false;	/* a lane is some executor's next one: to be looked at again soon */

/* A lane that is held no more, and what its executor has said of it. */
typedef struct TakenBack
{
	EdaLaneState *lane;
	bool		died;			/* its executor, while it had it */
	EdaRelease	said;
} TakenBack;

/* turn: which of the executor's turns this lane has. */
static void
note_holder(EdaLaneState *lane, int slot, uint32 turn)
{
	EdaLaneSetSlot(lane, slot);
	lane->slot_generation = EdaShared->executors[slot].generation;
	lane->slot_turn = turn;
}

/* Is it the one that the executor gets next? */
static bool
is_next(const EdaExecutor *exec, const EdaLaneState *lane)
{
	return exec->next_subscription_id == lane->key.subscription_id &&
		exec->next_lane_no == lane->key.lane_no;
}

/* With EdaShared->lock. */
static void
read_release(EdaLaneState *lane, TakenBack *back)
{
	const EdaExecutor *exec = &EdaShared->executors[lane->slot];

	memset(back, 0, sizeof(TakenBack));
	back->lane = lane;
	if (exec->generation == lane->slot_generation && exec->released.turn == lane->slot_turn)
		back->said = exec->released;
	else
	{
		/* the slot is somebody else's, or the executor is gone: it did not say */
		back->said.more_work = true;
		back->said.laid_down = lane->laid_down;
		back->died = exec->generation == lane->slot_generation && exec->turn == lane->slot_turn &&
			exec->state == EDA_EXEC_FREE && exec->died;
	}
}

static void
take_back(const TakenBack *back, TimestampTz now)
{
	EdaLaneState *lane = back->lane;

	lane->laid_down = back->said.laid_down;
	if (back->died && !TimestampDifferenceExceeds(lane->assigned_at, now, EARLY_DEATH_MS))
	{
		int64		ms = INT64CONST(1000) << Min(lane->early_deaths, 6);

		lane->early_deaths++;
		lane->not_before = now + Min(ms, MAX_BACKOFF_MS) * 1000;
	}
	else if (back->said.busy)
	{
		lane->busy++;
		lane->not_before = now + Min(50 * lane->busy, MAX_BUSY_MS) * INT64CONST(1000);
	}
	else
	{
		lane->busy = 0;
		lane->early_deaths = 0;
		lane->not_before = back->said.resume_at;
	}
	if (back->said.more_work)
		EdaLaneMark(lane);
}

/*
 * The executor was to lay its lane down at once, and has got work in it instead: another
 * one may have time for this lane, unless it has it by now.
 */
static void
withdraw(EdaLaneState *lane)
{
	EdaExecutor *exec = &EdaShared->executors[lane->slot];
	bool		withdrawn;

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	withdrawn = exec->generation == lane->slot_generation && is_next(exec, lane);
	if (withdrawn)
		exec->next_subscription_id = 0;
	LWLockRelease(EdaShared->lock);
	if (withdrawn)
	{
		EdaLaneSetSlot(lane, -1);
		EdaLaneMark(lane);
	}
}

void
EdaAssignLook(void)
{
	TakenBack  *back = palloc(EdaShared->nexecutors * 2 * sizeof(TakenBack));
	List	   *late = NIL;
	int			nback = 0;
	dlist_mutable_iter iter;
	ListCell   *lc;
	TimestampTz now = EdaMonotonicNow();

	some_next = false;
	LWLockAcquire(EdaShared->lock, LW_SHARED);
	dlist_foreach_modify(iter, &eda_lanes_held)
	{
		EdaLaneState *lane = dlist_container(EdaLaneState, held_node, iter.cur);
		EdaExecutor *exec = &EdaShared->executors[lane->slot];

		if (!EdaExecutorHolds(exec, lane->key.subscription_id, lane->key.lane_no))
		{
			read_release(lane, &back[nback++]);
			EdaLaneSetSlot(lane, -1);
		}
		else if (!is_next(exec, lane))
			note_holder(lane, lane->slot, exec->turn);
		else
		{
			some_next = true;
			if (pg_atomic_read_u32(&exec->in_flight) > 0 &&
				TimestampDifferenceExceeds(exec->asked_at, now, EDA_TIME_SLICE_MS))
				late = lappend(late, lane);
		}
	}
	/* lanes that a dispatcher before this one has given away */
	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		const EdaExecutor *exec = &EdaShared->executors[i];
		EdaLaneState *lane;

		if (exec->dbid != MyDatabaseId ||
			(exec->state != EDA_EXEC_ASSIGNED && exec->state != EDA_EXEC_RUNNING))
			continue;
		lane = EdaLaneFind(exec->subscription_id, exec->lane_no);
		if (lane != NULL && lane->slot < 0)
			note_holder(lane, i, exec->turn);
		lane = exec->next_subscription_id == 0 ? NULL :
			EdaLaneFind(exec->next_subscription_id, exec->next_lane_no);
		if (lane != NULL && lane->slot < 0)
			note_holder(lane, i, exec->turn + 1);
	}
	LWLockRelease(EdaShared->lock);

	for (int i = 0; i < nback; i++)
		take_back(&back[i], now);
	foreach(lc, late)
		withdraw(lfirst(lc));
	list_free(late);
	pfree(back);
}

/* Give the lane to an idle executor of its role.  False: there is none. */
static bool
assign(EdaLaneState *lane)
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
		exec->laid_down = lane->laid_down;
		exec->since = GetCurrentTimestamp();
		SetLatch(exec->latch);
		note_holder(lane, i, ++exec->turn);
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
	const EdaLaneState *x = lfirst(a);
	const EdaLaneState *y = lfirst(b);
	int			turn = compare_turns(x->sub, x->runnable_since, y->sub, y->runnable_since);

	if (turn != 0)
		return turn;
	return x->key.subscription_id != y->key.subscription_id ?
		x->key.subscription_id - y->key.subscription_id : x->key.lane_no - y->key.lane_no;
}

/* Its own lane goes on before this one, were it laid down now. */
static bool
goes_before(const EdaExecutor *exec, const EdaLaneState *lane)
{
	EdaLaneState *own;

	if (exec->dbid != MyDatabaseId)
		return false;
	own = EdaLaneFind(exec->subscription_id, exec->lane_no);
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

		if (exec->state == EDA_EXEC_FREE || pg_atomic_read_u32(&exec->yield) == EDA_YIELD_NOT ||
			exec->next_subscription_id != 0)	/* for a lane that it has already */
			continue;
		if (exec->state != EDA_EXEC_RUNNING || pg_atomic_read_u32(&exec->in_flight) == 0 ||
			!TimestampDifferenceExceeds(exec->asked_at, served_at, EDA_TIME_SLICE_MS))
			n++;
	}
	LWLockRelease(EdaShared->lock);
	return n;
}

/*
 * Every slot is taken: ask the executor that can be spared best to yield.  An
 * idle one ends; one that lingers on a lane lays it down; a busy one does so
 * after its time slice.  lane: which one waits; an executor of another role
 * or database cannot run it, and has to end; one that lingers and can run it has it
 * from now on, and goes on with it without coming back for it.
 */
static void
ask_to_yield(EdaLaneState *lane)
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
				  TimestampDifferenceExceeds(exec->since, now, EDA_TIME_SLICE_MS)) &&
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
		if (usable && best_rank == 2)
		{
			best->next_subscription_id = lane->key.subscription_id;
			best->next_lane_no = (int16) lane->key.lane_no;
			best->next_laid_down = lane->laid_down;
			note_holder(lane, best - EdaShared->executors, best->turn + 1);
			lane->assigned_at = best->asked_at;
			EdaLaneSetRunnable(lane, false);
			some_next = true;
		}
		pg_atomic_write_u32(&best->yield, usable ? EDA_YIELD_LANE : EDA_YIELD_SLOT);
		SetLatch(best->latch);
	}
	LWLockRelease(EdaShared->lock);
}

/* Executors that have no lane. */
static int
count_idle(void)
{
	int			n = 0;

	LWLockAcquire(EdaShared->lock, LW_SHARED);
	for (int i = 0; i < EdaShared->nexecutors; i++)
		if (EdaShared->executors[i].state == EDA_EXEC_IDLE &&
			EdaShared->executors[i].dbid == MyDatabaseId)
			n++;
	LWLockRelease(EdaShared->lock);
	return n;
}

/* The lanes that an executor is to be found for, in the order of their turns. */
static List *
lanes_to_serve(void)
{
	List	   *queue = NIL;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &eda_lanes_runnable)
	{
		EdaLaneState *lane = dlist_container(EdaLaneState, runnable_node, iter.cur);

		if (!EdaSubscriptionDelivers(lane->sub))
			EdaLaneSetRunnable(lane, false);
		else if (lane->slot < 0 && lane->not_before <= served_at)
			queue = lappend(queue, lane);
	}
	list_sort(queue, compare_lanes);
	return queue;
}

/* A FATAL at connect could record nothing: can the lane's role connect?  If not, that blocks it. */
static bool
can_connect(EdaLaneState *lane)
{
	char	   *detail;
	bool		result;

	EdaWorkerBegin();
	result = EdaOwnerCanConnect(lane->sub->owner, &detail);
	if (!result)
	{
		if (EdaSubscriptionTryLock(lane->key.subscription_id, RowExclusiveLock))
		{
			EdaSubscriptionBlock(lane->key.subscription_id, "login", detail, 0, NULL, NULL);
			EdaLaneSetRunnable(lane, false);
		}
		else
			lane->not_before = served_at + MAX_BUSY_MS * INT64CONST(1000);
	}
	EdaWorkerCommit();
	return result;
}

bool
EdaAssignServe(void)
{
	List	   *queue;
	List	   *coming_roles = NIL; /* one entry per executor on its way that is spoken for */
	List	   *wanting = NIL;	/* lanes that got none, as many as there are executors */
	bool		full = false;	/* no slot is free */
	int			idle;
	int			yielding;
	bool		left_without;
	ListCell   *lc;

	served_at = EdaMonotonicNow();
	queue = lanes_to_serve();
	if (queue == NIL)
		return some_next;

	idle = count_idle();
	foreach(lc, queue)
	{
		EdaLaneState *lane = lfirst(lc);
		Oid			role = lane->sub->owner;
		int			spoken_for = 0;
		int			slot;
		ListCell   *other;

		/* an idle executor of this role makes room for the higher priority of another */
		if (wanting != NIL &&
			lane->sub->priority < ((EdaLaneState *) linitial(wanting))->sub->priority)
			continue;
		if (idle > 0 && assign(lane))
		{
			EdaLaneSetRunnable(lane, false);
			idle--;
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
		if (!full)
		{
			if (!can_connect(lane))
				continue;
			if (EdaExecutorLaunch(MyDatabaseId, role, &slot))
			{
				coming_roles = lappend_oid(coming_roles, role);
				continue;
			}
			/* where the role is refused, no slot would help */
			if (slot == EDA_ROLE_REFUSED)
				continue;
			full = true;
		}
		/* more can't be asked to yield; who is idle may still be for another role's */
		if (list_length(wanting) < EdaShared->nexecutors)
			wanting = lappend(wanting, lane);
		else if (idle == 0)
			break;
	}

	yielding = count_yielding();
	foreach(lc, wanting)
	{
		if (yielding-- <= 0)
			ask_to_yield(lfirst(lc));
	}
	left_without = wanting != NIL || some_next;
	list_free(queue);
	list_free(coming_roles);
	list_free(wanting);
	return left_without;
}

bool
EdaAssignServed(TimestampTz t)
{
	return t <= served_at;
}
