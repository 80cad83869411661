/*-------------------------------------------------------------------------
 *
 * workers/pool.c
 *	  The pool of executors: who gets a slot, and who has to wait.
 *
 *	1. There are eda.max_executors slots in the whole server.  A dispatcher
 *	   that wants an executor takes a free one (STARTING) and registers the
 *	   worker after it has released EdaShared->lock; the worker attaches, or the slot is freed again
 *	   when it is known that it never will.
 *	2. First come, first served between databases: who found no slot notes since
 *	   when (starved_since), and free slots are for those who have waited longer.
 *	   A dispatcher that has what it wants says so, and those who starve are woken
 *	   when a slot becomes free or an executor idle.
 *	3. A role whose executors could not connect is left alone for a while
 *	   (workers/refused.c): 1 s doubling to 60 s.
 *	4. Each executor takes a worker slot of the server, too.  Where there is none,
 *	   workers/room.c says who goes first and who gives way.
 *
 * All of it under EdaShared->lock; what a dispatcher knows of its own launches is
 * local to the process.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/pool.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "workers/pool.h"
#include "workers/refused.h"
#include "workers/room.h"
#include "workers/worker.h"

/* A worker that has not attached this long after it was registered never will. */
#define ATTACH_TIMEOUT_MS		(30 * 1000)

/* An executor that this dispatcher launched and that has not attached yet. */
typedef struct EdaLaunch
{
	BackgroundWorkerHandle *handle; /* NULL: none */
	uint32		generation;
} EdaLaunch;

static EdaLaunch *launches = NULL;	/* by slot; NULL before the first launch */
static int	nlaunches = 0;

/*
 * When this dispatcher is to try again a launch that failed for want of a
 * worker slot or because the role could not connect; 0: no such launch.
 */
static TimestampTz launch_retry_at = 0; /* monotonic */
static bool launch_retry_slot = false;	/* for want of a worker slot */

static int	eda_starved_before(const EdaDatabase *mine);
static bool eda_launch_alive(int slot, uint32 generation);
static void eda_set_launch_retry(TimestampTz at, bool slot);

/*
 * Take a free executor slot and register an executor for it; see
 * workers/pool.h.
 */
bool
EdaExecutorLaunch(Oid dbid, Oid roleid, int *slot)
{
	EdaExecutor *executor = NULL;
	EdaDatabase *db;
	EdaWorkerArgs args;
	BackgroundWorkerHandle *handle = NULL;
	MemoryContext oldcontext;
	TimestampTz now = EdaMonotonicNow();
	char		name[BGW_MAXLEN];
	TimestampTz retry_at = 0;
	bool		registered;
	bool		no_worker_slot = false;
	long		retry_ms = 0;
	int			nfree = 0;

	if (launches == NULL)
	{
		launches = MemoryContextAllocZero(TopMemoryContext,
										  EdaShared->nexecutors * sizeof(EdaLaunch));
		nlaunches = EdaShared->nexecutors;
	}

	EdaExecutorReap();

	memset(&args, 0, sizeof(args));
	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	db = EdaFindDatabase(dbid, false);
	if (db != NULL && db->holds == 0)
	{
		retry_at = EdaRefusedUntil(dbid, roleid);
		if (retry_at <= now)
			retry_at = 0;
		for (int i = 0; i < EdaShared->nexecutors && retry_at == 0; i++)
		{
			if (EdaShared->executors[i].state == EDA_EXEC_FREE)
			{
				executor = &EdaShared->executors[i];
				args.slot = i;
				nfree++;
			}
		}
		/* first come, first served: free slots are for those who waited longer */
		if (nfree <= eda_starved_before(db))
			executor = NULL;
		/* and so are the server's */
		if (executor != NULL && EdaRoomOlder(db) > 0)
		{
			no_worker_slot = true;
			executor = NULL;
		}
	}
	if (executor != NULL)
	{
		db->starved_since = 0;
		EdaPoolFree(executor);
		executor->state = EDA_EXEC_STARTING;
		executor->generation++;
		executor->dbid = dbid;
		executor->roleid = roleid;
		executor->since = GetCurrentTimestamp();
		args.generation = executor->generation;
	}
	else if (db != NULL && retry_at == 0 && db->starved_since == 0)
		db->starved_since = now;
	if (no_worker_slot)
	{
		EdaRoomMissed(db);
		retry_ms = EdaRoomRetryMs(db);
	}
	LWLockRelease(EdaShared->lock);
	if (no_worker_slot)
		eda_set_launch_retry(TimestampTzPlusMilliseconds(now, retry_ms), true);

	*slot = -1;
	if (retry_at != 0)
	{
		eda_set_launch_retry(retry_at, false);
		*slot = EDA_ROLE_REFUSED;
	}
	if (executor == NULL)
		return false;

	args.dbid = dbid;
	args.roleid = roleid;
	snprintf(name, sizeof(name), "eda executor %d for database %u", args.slot, dbid);

	/* the handle lives until the executor has attached */
	oldcontext = MemoryContextSwitchTo(TopMemoryContext);
	registered = EdaWorkerRegister(EDA_EXECUTOR_TYPE, "EdaExecutorMain", name,
								   &args, &handle);
	MemoryContextSwitchTo(oldcontext);

	if (!registered)
	{
		LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
		if (executor->state == EDA_EXEC_STARTING &&
			executor->generation == args.generation)
			EdaPoolFree(executor);
		db = EdaFindDatabase(dbid, false);
		if (db != NULL)
		{
			db->starved_since = now;
			EdaRoomMissed(db);
			retry_ms = EdaRoomRetryMs(db);
		}
		LWLockRelease(EdaShared->lock);

		eda_set_launch_retry(TimestampTzPlusMilliseconds(now, retry_ms), true);
		EdaReportNoWorkerSlot(EDA_EXECUTOR_TYPE);
		return false;
	}

	if (launches[args.slot].handle != NULL)
		pfree(launches[args.slot].handle);
	launches[args.slot].handle = handle;
	launches[args.slot].generation = args.generation;
	if (db->slot_wait_since != 0)
	{
		LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
		EdaRoomGotExecutor(db);
		LWLockRelease(EdaShared->lock);
	}

	*slot = args.slot;
	return true;
}

/*
 * False where the worker of this launch is known to have ended: only its
 * starter can ask.  Forgets the handle of one that has, or of an older launch.
 */
static bool
eda_launch_alive(int slot, uint32 generation)
{
	EdaLaunch  *launch;
	pid_t		pid;
	bool		alive = true;

	if (launches == NULL || launches[slot].handle == NULL)
		return true;

	launch = &launches[slot];
	if (launch->generation == generation)
		alive = GetBackgroundWorkerPid(launch->handle, &pid) != BGWH_STOPPED;
	if (launch->generation != generation || !alive)
	{
		pfree(launch->handle);
		launch->handle = NULL;
	}
	return alive;
}

/*
 * Free the slots of executors that will never attach; see workers/pool.h.
 */
bool
EdaExecutorReap(void)
{
	TimestampTz now = 0;
	bool		freed = false;

	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		EdaExecutor *executor = &EdaShared->executors[i];
		uint32		generation;
		bool		starting;
		bool		alive;

		/* unlocked: what is missed now is seen the next time */
		if (executor->state != EDA_EXEC_STARTING)
		{
			if (i < nlaunches && launches[i].handle != NULL)
			{
				pfree(launches[i].handle);
				launches[i].handle = NULL;
			}
			continue;
		}

		LWLockAcquire(EdaShared->lock, LW_SHARED);
		starting = executor->state == EDA_EXEC_STARTING && executor->pid == 0;
		generation = executor->generation;
		LWLockRelease(EdaShared->lock);
		if (!starting)
			continue;

		alive = eda_launch_alive(i, generation);
		if (alive)
		{
			if (now == 0)
				now = GetCurrentTimestamp();
			if (executor->since > now ||	/* the clock was set back */
				TimestampDifferenceExceeds(executor->since, now, ATTACH_TIMEOUT_MS))
				alive = false;
		}
		if (alive)
			continue;

		LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
		if (executor->state == EDA_EXEC_STARTING && executor->pid == 0 &&
			executor->generation == generation)
		{
			Oid			dbid = executor->dbid;

			EdaPoolFree(executor);
			EdaPoolWakeStarved(dbid);
			freed = true;
		}
		LWLockRelease(EdaShared->lock);
	}

	return freed;
}

/*
 * Clear an executor's slot.  The caller holds EdaShared->lock exclusively.
 */
void
EdaPoolFree(EdaExecutor *executor)
{
	/* `released` stays: the dispatcher may not have read it yet */
	executor->died = executor->subscription_id != 0;
	executor->state = EDA_EXEC_FREE;
	executor->dbid = InvalidOid;
	executor->roleid = InvalidOid;
	executor->pid = 0;
	executor->latch = NULL;
	executor->subscription_id = 0;
	executor->lane_no = 0;
	executor->next_subscription_id = 0;
	executor->since = 0;
	executor->drained = false;
	executor->has_long = false;

	pg_atomic_write_u64(&executor->lane, 0);
	pg_atomic_write_u32(&executor->wake, 0);
	pg_atomic_write_u32(&executor->yield, 0);
	pg_atomic_write_u32(&executor->preempt, 0);
	pg_atomic_write_u32(&executor->in_flight, 0);
	pg_atomic_write_u64(&executor->item_since, 0);
}

bool
EdaExecutorHolds(const EdaExecutor *executor, int32 subscription_id, int16 lane_no)
{
	if (executor->dbid != MyDatabaseId ||
		(executor->state != EDA_EXEC_ASSIGNED && executor->state != EDA_EXEC_RUNNING))
		return false;
	return (executor->subscription_id == subscription_id && executor->lane_no == lane_no) ||
		(executor->next_subscription_id == subscription_id && executor->next_lane_no == lane_no);
}

/*
 * An executor slot became free: wake the dispatcher of its database, and
 * those that could not get one.  The caller holds EdaShared->lock
 * exclusively.
 */
void
EdaPoolWakeStarved(Oid dbid)
{
	for (int i = 0; i < EdaShared->nknown; i++)
	{
		EdaDatabase *db = &EdaShared->databases[i];

		if (db->state == EDA_DB_FREE)
			continue;
		if (db->dbid == dbid || db->starved_since != 0)
			EdaTellDispatcher(db, EDA_WAKE_EXECUTOR);
	}
}

/*
 * How many other databases have waited for an executor for longer?  The
 * caller holds EdaShared->lock.
 */
static int
eda_starved_before(const EdaDatabase *mine)
{
	int			n = 0;

	for (int i = 0; i < EdaShared->nknown; i++)
	{
		const EdaDatabase *db = &EdaShared->databases[i];

		if (db != mine && db->state == EDA_DB_RUNNING && db->holds == 0 &&
			db->starved_since != 0 &&
			(mine->starved_since == 0 || db->starved_since < mine->starved_since))
			n++;
	}
	return n;
}

/*
 * For a dispatcher that has executors for all that it wants.  Free slots that were kept
 * for it are for others now.
 */
void
EdaExecutorEnough(EdaDatabase *db)
{
	if (db->starved_since == 0 && db->slot_wait_since == 0)
		return;
	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	db->starved_since = 0;
	EdaRoomServed(db);
	EdaPoolWakeStarved(InvalidOid);
	LWLockRelease(EdaShared->lock);
}

/*
 * For an executor that has nothing to do for the moment: wake the dispatchers
 * that could not get one, so that they ask it to yield.
 */
void
EdaExecutorSpare(void)
{
	bool		starved = false;

	/* whoever notes that it starves looks at the executors after that */
	pg_memory_barrier();
	for (int i = 0; i < EdaShared->nknown && !starved; i++)
		starved = EdaShared->databases[i].starved_since != 0;
	if (!starved)
		return;
	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	EdaPoolWakeStarved(InvalidOid);
	LWLockRelease(EdaShared->lock);
}

/*
 * Have the dispatcher try again then: see EdaPoolSleep() and EdaPoolAwake().
 */
static void
eda_set_launch_retry(TimestampTz at, bool slot)
{
	if (launch_retry_at == 0 || at < launch_retry_at)
		launch_retry_at = at;
	launch_retry_slot |= slot;
}

TimestampTz
EdaPoolRetryAt(void)
{
	return launch_retry_at;
}

/*
 * Not for longer than until a launch is to be tried again.
 */
long
EdaPoolSleep(long timeout_ms)
{
	long		retry_ms;

	if (launch_retry_at == 0)
		return timeout_ms;
	retry_ms = TimestampDifferenceMilliseconds(EdaMonotonicNow(), launch_retry_at);
	return timeout_ms < 0 ? retry_ms : Min(timeout_ms, retry_ms);
}

/*
 * Is it time for another try?  The postmaster sets the latch of who started
 * a worker when that one has ended: a worker slot may be free.
 */
void
EdaPoolAwake(EdaDatabase *db, bool latch_set)
{
	/* wakes this dispatcher if it freed any */
	(void) EdaExecutorReap();

	if (launch_retry_at == 0)
		return;

	if ((latch_set && launch_retry_slot) || EdaMonotonicNow() >= launch_retry_at)
	{
		launch_retry_at = 0;
		launch_retry_slot = false;
		pg_atomic_fetch_or_u32(&db->wake, EDA_WAKE_EXECUTOR);
	}
}
