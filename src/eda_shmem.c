/*-------------------------------------------------------------------------
 *
 * eda_shmem.c
 *	  eda's shared memory: made at start, slots of databases, waking.
 *
 *	1. Its size is fixed at start: EDA_MAX_DATABASES and eda.max_executors.
 *	   After a crash restart it begins empty, and the launcher scans afresh.
 *	2. EdaShared->lock guards the slots (see eda_shmem.h).  Nothing below waits,
 *	   allocates or raises while it holds it.
 *	3. A slot's life: FREE -> IDLE (somebody of that database needs ids, or a
 *	   utility command holds it) -> WANTED -> STARTING -> RUNNING -> IDLE or
 *	   WANTED again.  It becomes FREE when its database is dropped, or when
 *	   the launcher's probe found no extension and no backend has ever
 *	   remembered the pointer (used).
 *	4. Setting wake bits is a full barrier, and so is the release of the lock
 *	   under which a dispatcher publishes its latch: either the waker sees
 *	   the latch or the dispatcher sees the bits.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/eda_shmem.c
 *
 *-------------------------------------------------------------------------
 */
#include "eda.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "eda_delay.h"
#include "eda_rate.h"
#include "eda_inflight.h"
#include "eda_shmem.h"
#include "eda_termination.h"

EdaSharedState *EdaShared = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* This database's slot once it was found, see EdaMyDatabase(). */
static EdaDatabase *my_database = NULL;

static Size eda_shmem_size(void);
static void eda_shmem_request(void);
static void eda_shmem_startup(void);
static void eda_reset_database(EdaDatabase *db);

/*
 * Install the hooks that ask for the memory and lay it out.  From _PG_init
 * while preloading, after the settings are defined.
 */
void
EdaShmemInit(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = eda_shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = eda_shmem_startup;
}

/*
 * True when this server preloaded the library.
 */
bool
EdaIsPreloaded(void)
{
	return EdaShared != NULL;
}

static Size
eda_shmem_size(void)
{
	return add_size(offsetof(EdaSharedState, executors),
					mul_size(eda_max_executors, sizeof(EdaExecutor)));
}

static void
eda_shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();

	RequestAddinShmemSpace(add_size(MAXALIGN(eda_shmem_size()),
									add_size(MAXALIGN(EdaRateShmemSize()),
											 MAXALIGN(EdaTerminationShmemSize()))));
	RequestNamedLWLockTranche("eda", 1);
}

static void
eda_shmem_startup(void)
{
	bool		found;
	void	   *rates;
	void	   *terminations;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	EdaInflightStartup(eda_max_executors);

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);

	EdaShared = ShmemInitStruct("eda", eda_shmem_size(), &found);
	if (!found)
	{
		memset(EdaShared, 0, eda_shmem_size());
		EdaShared->lock = &(GetNamedLWLockTranche("eda"))->lock;
		EdaShared->nexecutors = eda_max_executors;
		EdaShared->rescan = true;
		ConditionVariableInit(&EdaShared->gone);

		for (int i = 0; i < EDA_MAX_DATABASES; i++)
		{
			EdaDatabase *db = &EdaShared->databases[i];

			pg_atomic_init_u32(&db->wake, 0);
			pg_atomic_init_u32(&db->waiters, 0);
			pg_atomic_init_u32(&db->nblocked, 0);
			pg_atomic_init_u64(&db->generation, 0);
			pg_atomic_init_u32(&db->rotations_asked, 0);
			pg_atomic_init_u32(&db->rotations_done, 0);
			pg_atomic_init_u64(&db->delayed_due, EDA_DELAY_UNKNOWN);
			ConditionVariableInit(&db->progress);
			SpinLockInit(&db->id_lock);
		}

		for (int i = 0; i < EdaShared->nexecutors; i++)
		{
			EdaExecutor *executor = &EdaShared->executors[i];

			pg_atomic_init_u64(&executor->lane, 0);
			pg_atomic_init_u32(&executor->wake, 0);
			pg_atomic_init_u32(&executor->yield, 0);
			pg_atomic_init_u32(&executor->preempt, 0);
			pg_atomic_init_u32(&executor->in_flight, 0);
			pg_atomic_init_u64(&executor->item_since, 0);
			pg_atomic_init_u64(&executor->limit_ms, 0);
			pg_atomic_init_u32(&executor->store_asked, 0);
		}
	}

	rates = ShmemInitStruct("eda rates", EdaRateShmemSize(), &found);
	if (!found)
		EdaRateShmemInit(rates);

	terminations = ShmemInitStruct("eda terminations", EdaTerminationShmemSize(), &found);
	if (!found)
		EdaTerminationShmemInit(terminations);

	LWLockRelease(AddinShmemInitLock);
}

/*
 * Make a slot as new, except for what outlives its owner: launch_no and the
 * generation only ever rise, the condition variable may have stray sleepers.
 */
static void
eda_reset_database(EdaDatabase *db)
{
	db->dbid = InvalidOid;
	db->state = EDA_DB_FREE;
	db->holds = 0;
	db->dispatcher_pid = 0;
	db->dispatcher_latch = NULL;
	db->requested = false;
	db->used = false;
	db->starved_since = 0;
	db->failures = 0;
	db->restart_at = 0;
	db->launched_at = 0;
	db->started_at = 0;
	memset(db->refused, 0, sizeof(db->refused));

	pg_atomic_write_u32(&db->wake, 0);
	pg_atomic_write_u32(&db->nblocked, 0);
	pg_atomic_write_u64(&db->delayed_due, EDA_DELAY_UNKNOWN);
	pg_atomic_fetch_add_u64(&db->generation, 1);

	SpinLockAcquire(&db->id_lock);
	db->id_sequence = InvalidOid;
	db->next_id = 0;
	db->end_id = 0;
	SpinLockRelease(&db->id_lock);
}

/*
 * Slot of a database, or NULL where it has none and create is false or every
 * slot is taken.  The caller holds EdaShared->lock, exclusively to create.  A
 * new one is IDLE.
 */
EdaDatabase *
EdaFindDatabase(Oid dbid, bool create)
{
	EdaDatabase *unused = NULL;

	for (int i = 0; i < EDA_MAX_DATABASES; i++)
	{
		EdaDatabase *db = &EdaShared->databases[i];

		if (db->state == EDA_DB_FREE)
		{
			if (unused == NULL)
				unused = db;
		}
		else if (db->dbid == dbid)
			return db;
	}

	if (!create || unused == NULL)
		return NULL;

	eda_reset_database(unused);
	unused->dbid = dbid;
	unused->state = EDA_DB_IDLE;
	return unused;
}

/*
 * Give a database's slot back.  The caller holds EdaShared->lock exclusively
 * and knows that no dispatcher has it.
 */
void
EdaFreeDatabase(EdaDatabase *db)
{
	Assert(db->dispatcher_pid == 0);

	eda_reset_database(db);
}

/*
 * This database's slot; NULL when the library was not preloaded, or when
 * there is none and create is false or every slot is taken.  The pointer
 * stays valid for as long as this backend lives where create is true.
 */
EdaDatabase *
EdaMyDatabase(bool create)
{
	EdaDatabase *db;

	if (EdaShared == NULL || !OidIsValid(MyDatabaseId))
		return NULL;

	/*
	 * The slot of a database with a backend in it does not move; the check
	 * is for a backend that outlived its database's slot some way or other.
	 */
	if (my_database != NULL &&
		my_database->dbid == MyDatabaseId &&
		my_database->state != EDA_DB_FREE)
		return my_database;
	my_database = NULL;

	LWLockAcquire(EdaShared->lock, create ? LW_EXCLUSIVE : LW_SHARED);
	db = EdaFindDatabase(MyDatabaseId, create);
	if (db != NULL)
	{
		if (create)
			db->used = true;
		/* one that nobody has used yet may be freed: don't remember it */
		if (db->used)
			my_database = db;
	}
	LWLockRelease(EdaShared->lock);

	return db;
}

/*
 * Set bits in a database's wake word, and its dispatcher's latch unless all
 * of them were set already, when whoever set them sees to the latch.  Any
 * process, in commit callbacks too; takes no lock.  NULL is ignored.
 */
void
EdaWakeDispatcher(EdaDatabase *db, uint32 bits)
{
	uint32		old;
	Latch	   *latch;

	if (db == NULL)
		return;

	old = pg_atomic_fetch_or_u32(&db->wake, bits);
	if ((old & bits) == bits)
		return;

	latch = *(Latch *volatile *) &db->dispatcher_latch;
	if (latch != NULL)
		SetLatch(latch);
}

/*
 * Ask the launcher to run a dispatcher for dbid: there may be something for
 * one now.  After commit, also in a callback: raises nothing.  Without
 * effect where one is running, but one that is about to find nothing and
 * leave is followed by another.
 */
void
EdaRequestDispatcher(Oid dbid)
{
	EdaDatabase *db;
	Latch	   *latch;

	if (EdaShared == NULL || !OidIsValid(dbid))
		return;

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	db = EdaFindDatabase(dbid, true);
	if (db == NULL)
		EdaShared->rescan = true;	/* slots may be freed until then */
	else
	{
		db->requested = true;
		if (db->state == EDA_DB_IDLE)
			db->state = EDA_DB_WANTED;
		if (db->state == EDA_DB_WANTED)
		{
			db->failures = 0;
			db->restart_at = 0;
		}
	}
	latch = EdaShared->launcher_latch;
	LWLockRelease(EdaShared->lock);

	if (latch != NULL)
		SetLatch(latch);
}

/*
 * Wake everybody in eda.wait() on this database, if anyone is: one atomic
 * read where nobody waits.  NULL is ignored.
 */
void
EdaSignalProgress(EdaDatabase *db)
{
	if (db == NULL)
		return;

	/* what the waiter is to see was written before */
	pg_memory_barrier();
	if (pg_atomic_read_u32(&db->waiters) > 0)
		ConditionVariableBroadcast(&db->progress);
}
