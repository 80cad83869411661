/*-------------------------------------------------------------------------
 *
 * workers/room.c
 *	  Who gives way, and who goes first, when the server has no free worker slot.
 *
 *	1. The worker slots of max_worker_processes are shared by the launcher, the
 *	   dispatchers, the executors and everybody else's workers; how many are free
 *	   shows only when one is asked for.  A database for which there was none notes
 *	   since when it waits (slot_wait_since), and keeps that time until it has got an
 *	   executor or wants none: to have a dispatcher alone gets it nowhere.
 *	2. As soon as one has found none, all that want a dispatcher queue up.  Who has waited longer
 *	   goes first.  While somebody has, the others register nothing (EdaRoomOlder()).  So the
 *	   databases take turns: one that has got its executor and wants another process is the last
 *	   of the queue, but for one time slice, in which it keeps its place: that executor's role may
 *	   have nothing to do.
 *	3. Somebody is asked to give way, in this order:
 *		 an executor that has nothing to do, of any database, though it lingers;
 *		 a dispatcher that has nothing to do, though its executors may be busy;
 *		 the dispatcher of a database that has no executor, as there is no worker
 *		 slot, and has not waited for as long: with that process gone
 *		 another one can work, and it comes back when it is its turn;
 *		 an executor that has been busy for longer than a time slice.
 *	   So dispatchers never hold all slots while none of them gets an executor.
 *	4. As many are on their way out as are waited for, and no more: who asks
 *	   counts those who were asked and are still there.
 *	5. PostgreSQL tells only who started a worker that its slot is free, so who
 *	   waits tries again by itself: soon at first, later after an eighth of the
 *	   time that it has waited.
 *
 * All of it under EdaShared->lock, by the monotonic clock.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/room.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "utils/timestamp.h"

#include "base/clock.h"
#include "workers/room.h"

/* A dispatcher on its way holds up others for no longer than this. */
#define PATIENCE_MS		5000

#define MIN_RETRY_MS	20
#define MAX_RETRY_MS	2000

/* How long the visit to a database at rest waits for what is idle only. */
#define GENTLE_MS		60000

void
EdaRoomMissed(EdaDatabase *db)
{
	TimestampTz now = EdaMonotonicNow();

	if (db->slot_wait_since != 0)
		return;
	db->slot_wait_since = db->turn_until > now ? db->turn_since : now;
}

void
EdaRoomGotExecutor(EdaDatabase *db)
{
	if (db->slot_wait_since == 0)
		return;
	db->turn_since = db->slot_wait_since;
	db->turn_until = EdaMonotonicAfter(EDA_TIME_SLICE_MS);
	EdaRoomServed(db);
}

void
EdaRoomServed(EdaDatabase *db)
{
	if (db->slot_wait_since == 0)
		return;
	db->slot_wait_since = 0;
	/* the next one's dispatcher may be what comes now */
	if (EdaShared->launcher_latch != NULL)
		SetLatch(EdaShared->launcher_latch);
}

/*
 * Is it a visit to a database at rest, which disturbs nobody at work, unless it has waited for
 * long?
 */
static bool
is_gentle(const EdaDatabase *db, TimestampTz now)
{
	return db->brief && db->slot_wait_since != 0 && pg_atomic_read_u32(unconstify(pg_atomic_uint32 *, &db->wake)) == 0 &&
		!TimestampDifferenceExceeds(db->slot_wait_since, now, GENTLE_MS);
}

/* Can it use a worker slot right now? */
static bool
is_waiting(const EdaDatabase *db, TimestampTz now)
{
	if (db->slot_wait_since == 0 || db->holds > 0)
		return false;
	if (is_gentle(db, now))
		return false;
	switch (db->state)
	{
		case EDA_DB_WANTED:
			return db->restart_at <= now;
		case EDA_DB_STARTING:
			return !TimestampDifferenceExceeds(db->launched_at, now, PATIENCE_MS);
		case EDA_DB_RUNNING:
			return true;
		case EDA_DB_FREE:
		case EDA_DB_IDLE:
			break;
	}
	return false;
}

void
EdaRoomQueueUp(void)
{
	TimestampTz now = EdaMonotonicNow();

	for (int i = 0; i < EdaShared->nknown; i++)
	{
		EdaDatabase *db = &EdaShared->databases[i];

		if (db->state == EDA_DB_WANTED && db->holds == 0 && db->restart_at <= now &&
			db->slot_wait_since == 0)
			db->slot_wait_since = now;
	}
}

bool
EdaRoomGoesBefore(const EdaDatabase *a, const EdaDatabase *b)
{
	TimestampTz now = EdaMonotonicNow();

	if (is_gentle(a, now) != is_gentle(b, now))
		return is_gentle(b, now);
	if (a->slot_wait_since == 0 || b->slot_wait_since == 0)
		return a->slot_wait_since != 0;
	return a->slot_wait_since < b->slot_wait_since;
}

int
EdaRoomOlder(const EdaDatabase *mine)
{
	TimestampTz now = EdaMonotonicNow();
	int			n = 0;

	for (int i = 0; i < EdaShared->nknown; i++)
	{
		const EdaDatabase *db = &EdaShared->databases[i];

		if (db != mine && is_waiting(db, now) &&
			(mine->slot_wait_since == 0 || db->slot_wait_since < mine->slot_wait_since))
			n++;
	}
	return n;
}

bool
EdaRoomHasExecutor(Oid dbid)
{
	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		if (EdaShared->executors[i].state != EDA_EXEC_FREE &&
			EdaShared->executors[i].dbid == dbid)
			return true;
	}
	return false;
}

/* Has this executor been at its events for a time slice since it was asked to go? */
static bool
is_stuck(EdaExecutor *exec, TimestampTz now)
{
	return exec->state == EDA_EXEC_RUNNING && pg_atomic_read_u32(&exec->in_flight) > 0 &&
		TimestampDifferenceExceeds(exec->asked_at, now, EDA_TIME_SLICE_MS);
}

/* Processes that were asked to end, and are about to. */
static int
count_leaving(TimestampTz now)
{
	int			n = 0;

	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		EdaExecutor *exec = &EdaShared->executors[i];

		if (exec->state != EDA_EXEC_FREE &&
			pg_atomic_read_u32(&exec->yield) == EDA_YIELD_SLOT && !is_stuck(exec, now))
			n++;
	}
	for (int i = 0; i < EdaShared->nknown; i++)
	{
		if (EdaShared->databases[i].dispatcher_pid != 0 && EdaShared->databases[i].leave_asked)
			n++;
	}
	return n;
}

/* The executor that has been idle, or else one that has been busy, for longest; NULL: none. */
static EdaExecutor *
find_executor(bool busy, TimestampTz now)
{
	TimestampTz clock = GetCurrentTimestamp();
	EdaExecutor *best = NULL;

	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		EdaExecutor *exec = &EdaShared->executors[i];
		bool		works = exec->state == EDA_EXEC_RUNNING &&
			pg_atomic_read_u32(&exec->in_flight) > 0;

		if ((exec->state != EDA_EXEC_IDLE && exec->state != EDA_EXEC_RUNNING) ||
			exec->latch == NULL || works != busy ||
			pg_atomic_read_u32(&exec->yield) == EDA_YIELD_SLOT)
			continue;
		if (busy && exec->since <= clock &&	/* else the clock was set back */
			!TimestampDifferenceExceeds(exec->since, clock, EDA_TIME_SLICE_MS))
			continue;
		if (best == NULL || exec->since < best->since)
			best = exec;
	}
	return best;
}

static void
ask_executor(EdaExecutor *exec, TimestampTz now)
{
	exec->asked_at = now;
	pg_atomic_write_u32(&exec->yield, EDA_YIELD_SLOT);
	SetLatch(exec->latch);
}

/* The dispatcher that can be spared best for mine; NULL: none. */
static EdaDatabase *
find_dispatcher(const EdaDatabase *mine)
{
	EdaDatabase *idle = NULL;
	EdaDatabase *waiting = NULL;

	for (int i = 0; i < EdaShared->nknown; i++)
	{
		EdaDatabase *db = &EdaShared->databases[i];

		if (db == mine || db->state != EDA_DB_RUNNING || db->leave_asked ||
			db->dispatcher_latch == NULL)
			continue;
		if (db->idle_since != 0)
		{
			if (idle == NULL || db->idle_since < idle->idle_since)
				idle = db;
		}
		else if (db->slot_wait_since != 0 && mine->slot_wait_since != 0 &&
				 db->slot_wait_since > mine->slot_wait_since &&
				 !EdaRoomHasExecutor(db->dbid))
		{
			/* who came last */
			if (waiting == NULL || db->slot_wait_since > waiting->slot_wait_since)
				waiting = db;
		}
	}
	return idle != NULL ? idle : waiting;
}

static bool
ask_dispatcher(const EdaDatabase *mine)
{
	EdaDatabase *db = find_dispatcher(mine);

	if (db == NULL)
		return false;
	db->leave_asked = true;
	SetLatch(db->dispatcher_latch);
	return true;
}

void
EdaRoomAsk(EdaDatabase *db)
{
	TimestampTz now = EdaMonotonicNow();
	EdaExecutor *exec;

	if (count_leaving(now) > EdaRoomOlder(db))
		return;
	exec = find_executor(false, now);
	if (exec == NULL && ask_dispatcher(db))
		return;
	if (exec == NULL && !is_gentle(db, now))
		exec = find_executor(true, now);
	if (exec != NULL)
		ask_executor(exec, now);
}

bool
EdaRoomAskDispatcher(EdaDatabase *db)
{
	return count_leaving(EdaMonotonicNow()) > EdaRoomOlder(db) || ask_dispatcher(db);
}

long
EdaRoomRetryMs(const EdaDatabase *db)
{
	long		waited = db->slot_wait_since == 0 ? 0 :
		TimestampDifferenceMilliseconds(db->slot_wait_since, EdaMonotonicNow());

	return Min(Max(waited / 8, MIN_RETRY_MS), MAX_RETRY_MS);
}
