/*-------------------------------------------------------------------------
 *
 * base/shmem.c
 *	  eda's shared memory: made at start, slots of databases, waking.
 *
 *	1. Its size is fixed at start: eda.max_databases and eda.max_executors.
 *	   After a crash restart it begins empty, and the launcher scans afresh.
 *	   What other folders keep there are parts of its own, which they register
 *	   (EdaShmemPart): each is asked for its size before it is laid out, and
 *	   for its contents while AddinShmemInitLock is held.
 *	2. EdaShared->lock guards the slots (see base/shmem.h).  Nothing below waits,
 *	   allocates or raises while it holds it.
 *	3. A slot's life: FREE -> IDLE (somebody of that database needs ids, or a
 *	   utility command holds it) -> WANTED -> STARTING -> RUNNING -> IDLE or
 *	   WANTED again.  It becomes FREE when its database is dropped, or when
 *	   the launcher's probe found no extension and no backend has ever
 *	   remembered the pointer (used).  Where none is free, that of a database
 *	   without the extension is taken.  A database that finds none publishes all
 *	   the same, and is told: by CREATE EXTENSION, eda.subscribe(), eda.wait(),
 *	   the view eda.subscriptions and the log.
 *	4. Setting wake bits is a full barrier, and so is the release of the lock
 *	   under which a dispatcher publishes its latch: either the waker sees
 *	   the latch or the dispatcher sees the bits.  A dispatcher that leaves
 *	   (workers/rest.c) takes its latch away, and then looks at the bits: either it sees
 *	   them and stays, or the waker sees no latch and asks the launcher for another one.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/shmem.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/shmem.h"

/* A backend that found every database slot taken looks again after this long, in ms. */
#define MISSED_RETRY_MS		1000

EdaSharedState *EdaShared = NULL;

/* What other folders keep in shared memory, as EdaShmemPart() was told. */
typedef struct ShmemPart
{
	const char *name;
	Size		(*size) (void);
	void		(*init) (void *memory);
} ShmemPart;

#define MAX_PARTS		8

static ShmemPart parts[MAX_PARTS];
static int	nparts = 0;

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

void
EdaShmemPart(const char *name, Size (*size) (void), void (*init) (void *memory))
{
	if (nparts == MAX_PARTS)
		elog(ERROR, "too many parts of shared memory");
	parts[nparts].name = name;
	parts[nparts].size = size;
	parts[nparts].init = init;
	nparts++;
}

static Size
eda_shmem_size(void)
{
	return add_size(MAXALIGN(sizeof(EdaSharedState)),
					add_size(MAXALIGN(mul_size(eda_max_databases, sizeof(EdaDatabase))),
							 mul_size(eda_max_executors, sizeof(EdaExecutor))));
}

static void
eda_shmem_request(void)
{
	Size		size = MAXALIGN(eda_shmem_size());

	if (prev_shmem_request_hook)
		prev_shmem_request_hook();

	for (int i = 0; i < nparts; i++)
		size = add_size(size, MAXALIGN(parts[i].size()));
	RequestAddinShmemSpace(size);
	RequestNamedLWLockTranche("eda", 1);
}

static void
eda_shmem_startup(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);

	EdaShared = ShmemInitStruct("eda", eda_shmem_size(), &found);
	if (!found)
	{
		memset(EdaShared, 0, eda_shmem_size());
		EdaShared->lock = &(GetNamedLWLockTranche("eda"))->lock;
		EdaShared->ndatabases = eda_max_databases;
		EdaShared->nexecutors = eda_max_executors;
		EdaShared->databases = (EdaDatabase *) ((char *) EdaShared + MAXALIGN(sizeof(EdaSharedState)));
		EdaShared->executors = (EdaExecutor *) ((char *) EdaShared->databases +
												MAXALIGN(eda_max_databases * sizeof(EdaDatabase)));
		EdaShared->rescan = true;
		ConditionVariableInit(&EdaShared->gone);

		for (int i = 0; i < EdaShared->ndatabases; i++)
		{
			EdaDatabase *db = &EdaShared->databases[i];

			pg_atomic_init_u32(&db->wake, 0);
			pg_atomic_init_u32(&db->waiters, 0);
			pg_atomic_init_u32(&db->nblocked, 0);
			pg_atomic_init_u64(&db->generation, 0);
			pg_atomic_init_u32(&db->rotations_asked, 0);
			pg_atomic_init_u32(&db->rotations_done, 0);
			pg_atomic_init_u64(&db->delayed_due, EDA_DELAYED_UNKNOWN);
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

	for (int i = 0; i < nparts; i++)
	{
		void	   *memory = ShmemInitStruct(parts[i].name, parts[i].size(), &found);

		if (!found)
			parts[i].init(memory);
	}

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
	db->has_eda = false;
	db->without_eda = false;
	db->starved_since = 0;
	db->slot_wait_since = 0;
	db->turn_since = 0;
	db->turn_until = 0;
	db->idle_since = 0;
	db->leave_asked = false;
	memset(&db->rest, 0, sizeof(EdaRest));
	db->rest.due_at = DT_NOEND;
	db->left_work = false;
	db->brief = false;
	db->failures = 0;
	db->restart_at = 0;
	db->launched_at = 0;
	db->started_at = 0;

	pg_atomic_write_u32(&db->wake, 0);
	pg_atomic_write_u32(&db->nblocked, 0);
	pg_atomic_write_u64(&db->delayed_due, EDA_DELAYED_UNKNOWN);
	pg_atomic_fetch_add_u64(&db->generation, 1);

	SpinLockAcquire(&db->id_lock);
	db->id_database = InvalidOid;
	db->id_sequence = InvalidOid;
	db->next_id = 0;
	db->end_id = 0;
	SpinLockRelease(&db->id_lock);
}

/*
 * May the slot be given to another database?  A dispatcher found no extension
 * there, nobody holds it, and none of its executors is left, whose lane's tag
 * would be another one's.  The caller holds EdaShared->lock.
 */
static bool
eda_is_spare(const EdaDatabase *db)
{
	if (db->state != EDA_DB_IDLE || !db->without_eda || db->holds > 0 ||
		db->dispatcher_pid != 0)
		return false;
	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		if (EdaShared->executors[i].state != EDA_EXEC_FREE &&
			EdaShared->executors[i].dbid == db->dbid)
			return false;
	}
	return true;
}

/* A slot that can be had, or NULL.  The caller holds EdaShared->lock exclusively. */
static EdaDatabase *
eda_unused_slot(void)
{
	for (int i = 0; i < EdaShared->nknown; i++)
	{
		if (EdaShared->databases[i].state == EDA_DB_FREE)
			return &EdaShared->databases[i];
	}
	if (EdaShared->nknown < EdaShared->ndatabases)
		return &EdaShared->databases[EdaShared->nknown++];
	for (int i = 0; i < EdaShared->nknown; i++)
	{
		if (eda_is_spare(&EdaShared->databases[i]))
			return &EdaShared->databases[i];
	}
	return NULL;
}

/*
 * Slot of a database, or NULL where it has none and create is false or every
 * slot is taken.  The caller holds EdaShared->lock, exclusively to create.  A
 * new one is IDLE.
 */
EdaDatabase *
EdaFindDatabase(Oid dbid, bool create)
{
	EdaDatabase *db;

	for (int i = 0; i < EdaShared->nknown; i++)
	{
		db = &EdaShared->databases[i];
		if (db->state != EDA_DB_FREE && db->dbid == dbid)
			return db;
	}
	if (!create)
		return NULL;

	db = eda_unused_slot();
	if (db == NULL)
	{
		EdaShared->slot_missed = true;
		return NULL;
	}
	eda_reset_database(db);
	db->dbid = dbid;
	db->state = EDA_DB_IDLE;
	return db;
}

/*
 * A slot can be had now: have the launcher look at the databases that found
 * none.  The caller holds EdaShared->lock exclusively.
 */
static void
eda_slot_to_spare(void)
{
	if (!EdaShared->slot_missed)
		return;
	EdaShared->slot_missed = false;
	EdaShared->rescan = true;
	if (EdaShared->launcher_latch != NULL)
		SetLatch(EdaShared->launcher_latch);
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
	eda_slot_to_spare();
}

/*
 * A dispatcher found no extension there.  The caller holds EdaShared->lock
 * exclusively; the slot is IDLE.
 */
void
EdaDatabaseWithoutEda(EdaDatabase *db)
{
	db->without_eda = true;
	if (!db->used && db->holds == 0)
		EdaFreeDatabase(db);
	else
		eda_slot_to_spare();
}

/*
 * This database's slot; NULL when the library was not preloaded, or when
 * there is none and create is false or every slot is taken.  The pointer
 * stays valid for as long as this backend lives where create is true.
 */
EdaDatabase *
EdaMyDatabase(bool create)
{
	static TimestampTz missed_at = 0;	/* monotonic; every slot was taken */
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

	/* a publisher without a slot does not ask for everybody's lock with each event */
	if (missed_at != 0 &&
		!TimestampDifferenceExceeds(missed_at, EdaMonotonicNow(), MISSED_RETRY_MS))
		return NULL;

	LWLockAcquire(EdaShared->lock, create ? LW_EXCLUSIVE : LW_SHARED);
	db = EdaFindDatabase(MyDatabaseId, create);
	missed_at = db == NULL && create ? EdaMonotonicNow() : 0;
	if (db != NULL)
	{
		if (create)
		{
			db->used = true;
			db->without_eda = false;
		}
		/* one that nobody has used yet may be freed: don't remember it */
		if (db->used)
			my_database = db;
	}
	LWLockRelease(EdaShared->lock);

	return db;
}

bool
EdaDatabaseHasNoSlot(void)
{
	return EdaShared != NULL && !RecoveryInProgress() && EdaMyDatabase(true) == NULL;
}

int
EdaSlotHint(void)
{
	return errhint("Drop databases that are not needed, or the extension there, or raise %s, now %d, and restart the server; nothing published until then is lost.",
				   "eda.max_databases", EdaShared->ndatabases);
}

/*
 * Have the launcher run a dispatcher.  The caller holds EdaShared->lock exclusively.
 */
static void
eda_request(EdaDatabase *db)
{
	db->requested = true;
	db->brief = false;
	if (db->state == EDA_DB_IDLE)
		db->state = EDA_DB_WANTED;
	if (db->state == EDA_DB_WANTED)
	{
		db->failures = 0;
		db->restart_at = 0;
	}
	if (EdaShared->launcher_latch != NULL)
		SetLatch(EdaShared->launcher_latch);
}

/*
 * The wake word's bits are set, and no latch was there to be set.  Has the
 * dispatcher left, or is it leaving, so that somebody has to ask for another?  One that is
 * wanted or starting sees the bits; where none has ever been needed,
 * whoever makes it needed asks for one himself.
 */
static bool
eda_has_left(const EdaDatabase *db)
{
	EdaDatabaseState state = *(volatile EdaDatabaseState *) &db->state;

	return state == EDA_DB_RUNNING || (state == EDA_DB_IDLE && db->has_eda);
}

/*
 * Set bits in a database's wake word, and its dispatcher's latch unless all
 * of them were set already, when whoever set them sees to the latch.  Any
 * process, in commit callbacks too; raises nothing.  NULL is ignored.
 *
 * The other side is EdaRestLeave(): it takes the latch away, and then
 * looks at the wake word.  So either it sees the bits or we see that there is no latch.
 */
void
EdaWakeDispatcher(EdaDatabase *db, uint32 bits)
{
	uint32		old;
	Latch	   *latch;

	if (db == NULL)
		return;

	old = pg_atomic_fetch_or_u32(&db->wake, bits);
	latch = *(Latch *volatile *) &db->dispatcher_latch;
	if (latch != NULL)
	{
		if ((old & bits) != bits)
			SetLatch(latch);
	}
	else if (eda_has_left(db))
		EdaRequestDispatcher(db->dbid);
}

void
EdaWakeDispatcherLocked(EdaDatabase *db, uint32 bits)
{
	pg_atomic_fetch_or_u32(&db->wake, bits);
	if (db->dispatcher_latch != NULL)
		SetLatch(db->dispatcher_latch);
	else if (eda_has_left(db))
		eda_request(db);
}

void
EdaTellDispatcher(EdaDatabase *db, uint32 bits)
{
	Latch	   *latch;

	if (db == NULL)
		return;

	/* what it is to see was written before */
	pg_memory_barrier();
	latch = *(Latch *volatile *) &db->dispatcher_latch;
	if (latch != NULL && (pg_atomic_fetch_or_u32(&db->wake, bits) & bits) != bits)
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

	if (EdaShared == NULL || !OidIsValid(dbid))
		return;

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	db = EdaFindDatabase(dbid, true);
	if (db != NULL)
	{
		db->without_eda = false;
		eda_request(db);
	}
	else
	{
		EdaShared->rescan = true;	/* slots may be freed until then */
		if (EdaShared->launcher_latch != NULL)
			SetLatch(EdaShared->launcher_latch);
	}
	LWLockRelease(EdaShared->lock);
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
