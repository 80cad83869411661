/*-------------------------------------------------------------------------
 *
 * dispatch/assign.c
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
 *	3. A handler cannot be made to yield, and may take up to its timeout, an hour with
 *	   eda.max_timeout as it comes.  An event that has run for EDA_LONG_MS is a long one, and a
 *	   place that has one is out of use until that ends.  The rule is: not all places are out of
 *	   use while somebody waits who is of another role or database.  One place, the last,
 *	   whichever that is, is kept for events that are not known to be long.
 *	4. Nobody knows before what an event takes.  So a lane that is not known for long events may
 *	   have any place; but where every place has come to be out of use, and another role or
 *	   database waits, the long event that began last is interrupted: its executor rolls back,
 *	   nothing is counted against the event, and the lane is known for long events from then on.
 *	5. A lane that is known gets a place only while another one besides is not out of use, and
 *	   there it is not interrupted for the last place any more.  So of n places n - 1 at most have
 *	   events that may not be interrupted, whoever's they are and however many roles and databases
 *	   there are; an event is interrupted once for this, and whoever comes next has the last place
 *	   within EDA_LONG_MS and the time that a rollback takes. Of those that wait, roles with fewer
 *	   long events at work, and fewer known lanes that wait, go first, so that one with a thousand
 *	   lanes, each not known yet, does not come before all others. Databases have their turns by
 *	   workers/pool.c.
 *	6. The n - 1 places are shared: a known lane whose role, or database, has none of them takes
 *	   one from the role, or database, that has most, if those are two at least.
 *	7. With one executor there is no place for long events: they are interrupted whenever another
 *	   role waits, but after twice the time each time, so that they come to their end.
 *	8. What does not heed interrupts at all keeps its place: it counts as a long event of its
 *	   role.  Code that catches them loses its process (base/clock.c).
 *	9. What an executor says when it lays its lane down stays in its slot until
 *	   the slot is used again, and is read with the next look at the slots.  One that
 *	   is gone did not say, so its lane is looked at again, later if it died young.
 *
 * Executor slots are read and written under EdaShared->lock.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/dispatch/assign.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include <signal.h>

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/transaction.h"
#include "deliver/deliver.h"
#include "dispatch/assign.h"
#include "subscription/subscription.h"
#include "workers/workers.h"

/*
 * A lane that has waited this long goes before any that has not, whatever their priorities, in ms.
 */
#define MAX_WAIT_MS			20000

/* An executor that died this soon after it got a lane makes the lane back off, in ms. */
#define EARLY_DEATH_MS		5000
#define MAX_BACKOFF_MS		60000

/* One that was interrupted has rolled back, or ended, by then, or cannot be interrupted; in ms. */
#define PREEMPTED_MS		6000

/* Lanes known for long events that are counted against their roles, at most. */
#define MAX_KNOWN			64

/* How long a lane whose subscription is locked waits for the next try, at most, in ms. */
#define MAX_BUSY_MS			1000

static TimestampTz served_at = 0;	/* monotonic; when lanes were served last */
static bool some_held_back = false; /* by the rule for long events */
static bool left_work = false;	/* EdaAssignLeftWork() */
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
	/* turns are never used twice: it may have ended since, and the slot be somebody else's */
	if (exec->released.turn == lane->slot_turn)
		back->said = exec->released;
	else
	{
		/* the executor is gone, or has said something of another lane since: it did not say */
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
	if (back->said.preempted)
		lane->preempted++;
	else if (!back->said.more_work)
		lane->preempted = 0;
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
	EdaDatabase *db = EdaMyDatabase(true);
	TakenBack  *back = palloc(EdaShared->nexecutors * 2 * sizeof(TakenBack));
	List	   *late = NIL;
	int			nback = 0;
	dlist_mutable_iter iter;
	ListCell   *lc;
	TimestampTz now = EdaMonotonicNow();

	some_next = false;
	LWLockAcquire(EdaShared->lock, LW_SHARED);
	/* only executors set it, exclusively */
	if (db->left_work)
		left_work = true;
	db->left_work = false;
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

bool
EdaAssignLeftWork(void)
{
	return left_work;
}

/* ---- places of long events ---- */

/* For how long may an event of this lane run before it counts as a long one? */
static int
allowance_ms(const EdaLaneState *lane)
{
	/* with one place only there is none for long ones: longer each time, so that they end */
	if (EdaShared->nexecutors == 1)
		return EDA_LONG_MS << Min(lane->preempted, 11);
	return EDA_LONG_MS;
}

/* Is the place taken by a long event, or a lane that is known for them?  With EdaShared->lock. */
static bool
is_long(EdaExecutor *exec)
{
	uint64		item_since;

	if (exec->state != EDA_EXEC_ASSIGNED && exec->state != EDA_EXEC_RUNNING)
		return false;
	if (exec->has_long)
		return true;
	item_since = pg_atomic_read_u64(&exec->item_since);
	return exec->state == EDA_EXEC_RUNNING && item_since != 0 &&
		TimestampDifferenceExceeds((TimestampTz) item_since, served_at, exec->allowance_ms);
}

/*
 * How many places do long events have; role or database invalid: whosesoever.  With
 * EdaShared->lock.
 */
static int
count_long(Oid roleid, Oid dbid)
{
	int			n = 0;

	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		EdaExecutor *exec = &EdaShared->executors[i];

		if (is_long(exec) && (!OidIsValid(roleid) || exec->roleid == roleid) &&
			(!OidIsValid(dbid) || exec->dbid == dbid))
			n++;
	}
	return n;
}

/*
 * A lane that is known for long events does not get the last place that has none.  With
 * EdaShared->lock.
 */
static bool
may_have_place(const EdaLaneState *lane)
{
	return lane->preempted == 0 || EdaShared->nexecutors == 1 ||
		EdaShared->nexecutors - count_long(InvalidOid, InvalidOid) >= 2;
}

/* Interrupt it: what it runs is rolled back, and runs again.  With EdaShared->lock, exclusively. */
static void
preempt(EdaExecutor *exec)
{
	exec->asked_at = EdaMonotonicNow();
	pg_atomic_write_u32(&exec->preempt, 1);
	pg_atomic_write_u32(&exec->yield, EDA_YIELD_SLOT);
	(void) kill(exec->pid, SIGINT);
}

/*
 * The one of its long events that began last, and can be interrupted; of whom it may be, see
 * preempt_for().
 */
static EdaExecutor *
youngest_long(Oid roleid, Oid dbid, bool known_too)
{
	EdaExecutor *youngest = NULL;

	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		EdaExecutor *exec = &EdaShared->executors[i];

		if (!is_long(exec) || exec->state != EDA_EXEC_RUNNING || exec->pid == 0 ||
			(exec->has_long && !known_too) || pg_atomic_read_u32(&exec->preempt) != 0 ||
			(OidIsValid(roleid) && exec->roleid != roleid) ||
			(OidIsValid(dbid) && exec->dbid != dbid))
			continue;
		if (youngest == NULL ||
			pg_atomic_read_u64(&exec->item_since) > pg_atomic_read_u64(&youngest->item_since))
			youngest = exec;
	}
	return youngest;
}

/*
 * The role, or with by_role false the database, whose long events have most places; two at least.
 */
static Oid
greediest(bool by_role)
{
	Oid			result = InvalidOid;
	int			most = 1;

	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		EdaExecutor *exec = &EdaShared->executors[i];
		int			n = by_role ? count_long(exec->roleid, InvalidOid) :
			count_long(InvalidOid, exec->dbid);

		if (exec->state != EDA_EXEC_FREE && n > most)
		{
			most = n;
			result = by_role ? exec->roleid : exec->dbid;
		}
	}
	return result;
}

/*
 * The lane found no place.  Is there a long event to be interrupted for it?  Points 4 to 6 of the
 * head comment.  True: one is on its way to its end.
 */
static bool
preempt_for(const EdaLaneState *lane)
{
	EdaExecutor *victim = NULL;
	bool		only_own = true;

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		EdaExecutor *exec = &EdaShared->executors[i];

		if (pg_atomic_read_u32(&exec->preempt) != 0)
		{
			/*
			 * one is on its way, unless it can't be interrupted; the signal may have come between
			 * two events
			 */
			if (!TimestampDifferenceExceeds(exec->asked_at, served_at, PREEMPTED_MS))
			{
				if (exec->pid != 0)
					(void) kill(exec->pid, SIGINT);
				LWLockRelease(EdaShared->lock);
				return true;
			}
		}
		if (exec->roleid != lane->sub->owner || exec->dbid != MyDatabaseId)
			only_own = false;
	}
	if (may_have_place(lane))
	{
		/*
		 * the last place, where every one is taken by a long event, not all of them its own role's
		 */
		if (!only_own && count_long(InvalidOid, InvalidOid) == EdaShared->nexecutors)
			victim = youngest_long(InvalidOid, InvalidOid, EdaShared->nexecutors == 1);
	}
	else
	{
		Oid			role = greediest(true);
		Oid			db = greediest(false);

		if (count_long(lane->sub->owner, InvalidOid) == 0 && OidIsValid(role))
			victim = youngest_long(role, InvalidOid, true);
		else if (count_long(InvalidOid, MyDatabaseId) == 0 && OidIsValid(db))
			victim = youngest_long(InvalidOid, db, true);
	}
	/* who has the last place itself does not take another's for it */
	if (victim != NULL && victim->roleid == lane->sub->owner && victim->dbid == MyDatabaseId)
		victim = NULL;
	if (victim != NULL)
		preempt(victim);
	LWLockRelease(EdaShared->lock);
	return victim != NULL;
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
		exec->has_long = lane->preempted > 0 && EdaShared->nexecutors > 1;
		exec->allowance_ms = allowance_ms(lane);
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

	/* whose role's long events have fewer places */
	if (x->role_long != y->role_long)
		return x->role_long - y->role_long;
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
	EdaDatabase *db = EdaMyDatabase(true);
	EdaExecutor *best = NULL;
	int			best_rank = 0;
	bool		idle_here = false;

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
			idle_here = true;
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
	/*
	 * who waits for a worker slot has another database's dispatcher that can be spared go before
	 * one at work
	 */
	if (best_rank < 2 && !idle_here && db->slot_wait_since != 0 && EdaRoomAskDispatcher(db))
		best = NULL;
	if (best != NULL)
	{
		bool		usable = best->dbid == MyDatabaseId && best->roleid == lane->sub->owner;

		best->asked_at = EdaMonotonicNow();
		if (usable && best_rank == 2 && lane->preempted == 0)
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

/*
 * How much each lane's role has, or would have, of the places for long events, in this database:
 * those at work, and those of its lanes that are known and wait.
 */
static void
count_roles_long(List *queue)
{
	List	   *known = NIL;	/* roles, one entry per lane */
	bool		any_long;
	const EdaLaneState *before = NULL;
	ListCell   *lc;

	foreach(lc, queue)
	{
		EdaLaneState *lane = lfirst(lc);

		if (lane->preempted > 0 && list_length(known) < MAX_KNOWN)
			known = lappend_oid(known, lane->sub->owner);
	}
	LWLockAcquire(EdaShared->lock, LW_SHARED);
	any_long = count_long(InvalidOid, MyDatabaseId) > 0;
	foreach(lc, queue)
	{
		EdaLaneState *lane = lfirst(lc);
		ListCell   *other;

		/* a role may have thousands, and everybody waits for the lock */
		if (before != NULL && before->sub->owner == lane->sub->owner)
		{
			lane->role_long = before->role_long;
			continue;
		}
		before = lane;
		lane->role_long = any_long ? count_long(lane->sub->owner, MyDatabaseId) : 0;
		foreach(other, known)
			if (lfirst_oid(other) == lane->sub->owner)
				lane->role_long++;
	}
	LWLockRelease(EdaShared->lock);
	list_free(known);
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
	count_roles_long(queue);
	list_sort(queue, compare_lanes);
	return queue;
}

/* A FATAL at connect could record nothing: can the lane's role connect?  If not, that blocks it. */
static bool
can_connect(EdaLaneState *lane)
{
	char	   *detail;
	bool		result;

	EdaTransactionBegin();
	result = EdaOwnerCanConnect(lane->sub->owner, &detail);
	if (!result)
	{
		if (EdaSubscriptionTryLock(lane->key.subscription_id, RowExclusiveLock))
		{
			EdaSubscriptionBlock(lane->key.subscription_id, EDA_BLOCK_LOGIN, detail, 0, NULL, NULL);
			EdaLaneSetRunnable(lane, false);
		}
		else
			lane->not_before = served_at + MAX_BUSY_MS * INT64CONST(1000);
	}
	EdaTransactionCommit();
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
	EdaLaneState *held_back = NULL; /* the first that is known for long events, and has to wait for one to end */
	ListCell   *lc;

	served_at = EdaMonotonicNow();
	some_held_back = false;
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
		bool		may;

		LWLockAcquire(EdaShared->lock, LW_SHARED);
		may = may_have_place(lane);
		LWLockRelease(EdaShared->lock);
		if (!may)
		{
			if (held_back == NULL)
				held_back = lane;
			continue;
		}

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
	foreach(lc, wanting)
	{
		if (preempt_for(lfirst(lc)))
			break;
	}
	if (wanting == NIL && held_back != NULL)
		(void) preempt_for(held_back);
	some_held_back = held_back != NULL;
	left_without = wanting != NIL || some_next;
	list_free(queue);
	list_free(coming_roles);
	list_free(wanting);
	return left_without;
}

TimestampTz
EdaAssignIdleUntil(bool wanting)
{
	TimestampTz now = EdaMonotonicNow();
	TimestampTz retry_at = EdaPoolRetryAt();
	TimestampTz until = DT_NOEND;
	dlist_iter	iter;

	if (wanting)
		return now;
	dlist_foreach(iter, &eda_lanes_runnable)
	{
		EdaLaneState *lane = dlist_container(EdaLaneState, runnable_node, iter.cur);

		if (lane->not_before > now)
			until = Min(until, lane->not_before);
		else if (retry_at > now)
			until = Min(until, retry_at);	/* its role is refused */
		else if (some_held_back)
			until = Min(until, now + EDA_TIME_SLICE_MS * INT64CONST(1000));
		else
			return now;			/* its executor is on its way */
	}
	return until;
}

bool
EdaAssignHoldsBack(void)
{
	return some_held_back;
}

bool
EdaAssignServed(TimestampTz t)
{
	return t <= served_at;
}
