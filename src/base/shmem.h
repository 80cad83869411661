/*-------------------------------------------------------------------------
 *
 * base/shmem.h
 *	  What eda keeps in shared memory: one slot per database that uses it,
 *	  one per executor.
 *
 *	1. EdaShared->lock (an LWLock) guards which slot belongs to whom: dbid,
 *	   state, holds and pids of the database slots; in_use, generation, dbid,
 *	   roleid, pid and assignment of the executor slots.  It is held for a few
 *	   instructions, never across a wait, a catalogue access or a launch.
 *	2. What a publisher touches at commit is atomic and takes no lock: a
 *	   database's wake bits and generation, an executor's lane and wake.
 *	3. A database's id counter has its own spinlock.
 *	4. A database slot never moves while the database has the extension, so a backend may remember
 *	   the pointer; it looks at dbid before it uses it.  DROP DATABASE frees it, and where all are
 *	   taken, that of a database in which a dispatcher found no extension is given to another one.
 *	    Who uses a pointer across that moment wakes somebody for nothing, and takes no id that is
 *	   not its own (log/id.c).
 *	5. Latch pointers point into PGPROC: setting one of a process that has
 *	   gone wakes somebody else for nothing and does no harm.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/shmem.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_SHMEM_H
#define EDA_SHMEM_H

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

/* What a dispatcher is woken for: bits of EdaDatabase.wake. */
#define EDA_WAKE_EVENTS			0x01	/* events were committed: scan */
#define EDA_WAKE_SUBSCRIPTIONS	0x02	/* definitions or states changed: reload */
#define EDA_WAKE_RETRIES		0x04	/* a retry's due time changed */
#define EDA_WAKE_EXECUTOR		0x08	/* an executor was freed, or left work behind */
#define EDA_WAKE_RECHECK		0x10	/* a function, right or role changed: look at blocked subscriptions */
#define EDA_WAKE_DELAYED		0x20	/* an event was delayed to an earlier time than any other */
#define EDA_WAKE_LOG			0x40	/* eda.rotate_log() */
#define EDA_WAKE_JOBS			0x80	/* a job was scheduled or unscheduled: when is the next one due? */

/* What an executor is asked for: EdaExecutor.yield. */
#define EDA_YIELD_NOT			0
#define EDA_YIELD_LANE			1	/* lay the lane down */
#define EDA_YIELD_SLOT			2	/* and end: the slot is for another role or database */

/* EdaDatabase.delayed_due while nobody knows it: every due time is before it. */
#define EDA_DELAYED_UNKNOWN		((uint64) PG_INT64_MAX)

typedef enum EdaDatabaseState
{
	EDA_DB_FREE = 0,			/* the slot is nobody's */
	EDA_DB_IDLE,				/* known (ids are taken from it), no dispatcher wanted */
	EDA_DB_WANTED,				/* the launcher shall start a dispatcher */
	EDA_DB_STARTING,			/* registered, not attached yet */
	EDA_DB_RUNNING				/* dispatcher attached */
} EdaDatabaseState;

/* What a dispatcher that left has left behind, see workers/rest.c. */
typedef struct EdaRest
{
	TimestampTz due_at;			/* the system's clock; when another one is needed at the latest; DT_NOEND: not known */
	TimestampTz since;			/* monotonic */
	int64		visit_ms;		/* how long until somebody looks after the database */
	int64		next_id;		/* of the id counter, then */
	uint64		matched_xmin;	/* it had matched the events of all transactions below it, and all lanes with work
								 * had executors; 0: it had not */
	uint64		known_xmin;		/* and it had read the definitions, as all transactions below this one left them */
} EdaRest;

typedef struct EdaDatabase
{
	/* guarded by EdaShared->lock */
	Oid			dbid;
	EdaDatabaseState state;
	int			holds;			/* utility commands that keep workers away */
	pid_t		dispatcher_pid; /* 0 when none */
	Latch	   *dispatcher_latch;
	uint32		launch_no;		/* raised at each launch: a late starter sees that it lost */
	bool		requested;		/* asked for since the last launch: launch once more */
	bool		used;			/* a backend may remember the pointer */
	bool		has_eda;		/* a dispatcher found it and eda.enabled on: who has work asks for one */
	bool		without_eda;	/* a dispatcher found no extension: the slot may be another database's */
	TimestampTz starved_since;	/* monotonic; wants an executor and got none, since; 0: no */
	TimestampTz slot_wait_since;	/* monotonic; waits for a worker slot, see workers/room.c; 0: no */
	TimestampTz turn_since;		/* and had waited since then when it got its last executor, */
	TimestampTz turn_until;		/* which counts until this time */
	TimestampTz idle_since;		/* monotonic; its dispatcher can be spared, since; 0: no */
	bool		leave_asked;	/* the dispatcher's worker slot is wanted for another process */
	EdaRest		rest;
	bool		left_work;		/* since a dispatcher looked last, a lane was laid down with work left in it */
	bool		brief;			/* the next dispatcher only looks after a database at rest */
	int			failures;		/* dispatchers in a row that ended in an error */
	TimestampTz restart_at;		/* monotonic; not before this, after a failure */
	TimestampTz launched_at;	/* monotonic; of the dispatcher that is starting or running */
	TimestampTz started_at;		/* of the running dispatcher, to be shown */

	/* atomics */
	pg_atomic_uint32 wake;		/* EDA_WAKE_* */
	pg_atomic_uint32 waiters;	/* backends that wait on progress */
	pg_atomic_uint32 nblocked;	/* blocked subscriptions, as the dispatcher saw them */
	pg_atomic_uint64 delayed_due;	/* when the dispatcher looks for due events at the latest, see publish/delay.c */
	pg_atomic_uint64 generation;	/* raised after each commit that changed a subscription */
	pg_atomic_uint32 rotations_asked;	/* calls of eda.rotate_log() */
	pg_atomic_uint32 rotations_done;	/* of those */

	ConditionVariable progress; /* broadcast by executors when waiters > 0 */

	/* the id counter, see log/id.c */
	slock_t		id_lock;
	Oid			id_database;	/* whose ids these are */
	Oid			id_sequence;	/* oid of the sequence that fed it */
	int64		next_id;
	int64		end_id;			/* exclusive; next_id == end_id: empty */
} EdaDatabase;

typedef enum EdaExecutorState
{
	EDA_EXEC_FREE = 0,
	EDA_EXEC_STARTING,			/* registered by a dispatcher, not attached yet */
	EDA_EXEC_IDLE,				/* attached, holds no lane */
	EDA_EXEC_ASSIGNED,			/* the dispatcher gave it a lane, not taken up yet */
	EDA_EXEC_RUNNING			/* holds a lane; lingering on it included */
} EdaExecutorState;

/* How a lane was laid down, for who opens it next; zeroed: as a new one. */
typedef struct EdaLaidDown
{
	int			alone;			/* EdaTrust of the log */
	int			caution;
	int			alone_span;
	bool		renewed;		/* a failure gave it to a fresh process */
	bool		log_next;		/* the log's turn is next */
} EdaLaidDown;

/* What an executor says of the lane that it laid down last; stays when it ends. */
typedef struct EdaRelease
{
	uint32		turn;			/* which one that was */
	bool		more_work;		/* there is more to do in it */
	bool		busy;			/* it could not be run: locked, or gone; not again at once */
	TimestampTz resume_at;		/* monotonic; with more_work: not before then (rate_limit); 0: at once */
	EdaLaidDown laid_down;
	bool		preempted;		/* it was interrupted in the middle of an event: EdaExecutor.preempt */
} EdaRelease;

typedef struct EdaExecutor
{
	/* guarded by EdaShared->lock */
	EdaExecutorState state;
	uint32		generation;		/* raised when the slot is taken: a late starter sees that it lost it */
	Oid			dbid;
	Oid			roleid;
	pid_t		pid;			/* 0 until attached */
	Latch	   *latch;
	int32		subscription_id;	/* of the lane held or assigned, else 0 */
	int16		lane_no;
	EdaLaidDown laid_down;		/* of that lane, as it was before */
	uint32		turn;			/* raised with each lane that it gets */
	int32		next_subscription_id;	/* the lane that it gets when it lays this one down, else 0 */
	int16		next_lane_no;
	EdaLaidDown next_laid_down;
	EdaRelease	released;
	bool		drained;		/* eda itself has told it to end */
	bool		died;			/* it ended while it had a lane; until the slot is taken again */
	TimestampTz since;			/* of the state */
	TimestampTz asked_at;		/* monotonic; to yield, last */
	bool		has_long;		/* its lane is known to take long: it is not preempted for the last place */
	int			allowance_ms;	/* an event of its lane that has run for longer than this is long */

	/* atomics */
	pg_atomic_uint64 lane;		/* EdaLaneTag() while a publisher may wake it directly, else 0 */
	pg_atomic_uint32 wake;		/* 1: look again before sleeping or letting go */
	pg_atomic_uint32 yield;		/* EDA_YIELD_*: another lane waits for an executor */
	pg_atomic_uint32 preempt;	/* 1: the event at hand is to be given up, for others; it will run again */
	pg_atomic_uint32 in_flight; /* events of the batch at hand */
	pg_atomic_uint64 item_since;	/* monotonic; when the code of the event at hand began; 0: none is */
	pg_atomic_uint64 limit_ms;	/* its timeout */
	pg_atomic_uint32 store_asked;	/* 1: the lane's cursor is to be stored if it has moved */
} EdaExecutor;

typedef struct EdaSharedState
{
	LWLock	   *lock;
	pid_t		launcher_pid;
	Latch	   *launcher_latch;
	bool		rescan;			/* launcher: look at pg_database again */
	bool		slot_missed;	/* a database found every database slot taken */
	int			ndatabases;		/* eda.max_databases at start */
	int			nknown;			/* database slots that were ever taken; those behind are free */
	int			nexecutors;		/* eda.max_executors at start */
	TimestampTz no_slot_logged_at;	/* monotonic; see EdaReportNoWorkerSlot() */
	ConditionVariable gone;		/* broadcast when a dispatcher or executor ends */
	EdaDatabase *databases;		/* these two lie behind */
	EdaExecutor *executors;
} EdaSharedState;

/* NULL when the library was not preloaded. */
extern PGDLLIMPORT EdaSharedState *EdaShared;

/*
 * Which lane an executor holds: the index of the database's slot, the lane, and the
 * subscription, and a bit so that it is never 0.
 */
static inline uint64
EdaLaneTag(const EdaDatabase *db, int32 subscription_id, int16 lane_no)
{
	return UINT64CONST(1) << 63 | (uint64) (db - EdaShared->databases) << 40 |
		(uint64) lane_no << 32 | (uint32) subscription_id;
}

extern void EdaShmemInit(void);		/* from _PG_init while preloading: installs the hooks */

/*
 * A part of shared memory that another folder keeps, from _PG_init while preloading: its name, as
 * pg_shmem_allocations shows it, its size, which is asked for when the settings are known, and
 * what makes it as new, at the start and after a crash.
 */
extern void EdaShmemPart(const char *name, Size (*size) (void), void (*init) (void *memory));

/*
 * This database's slot; NULL when not preloaded, or when every slot is taken
 * and there is none.  create: take one if there is none yet.
 */
extern EdaDatabase *EdaMyDatabase(bool create);

/*
 * Has this database no slot though the library is preloaded?  Then nothing is delivered in it.
 * EdaSlotHint(): what can be done, for errhint.
 */
extern bool EdaDatabaseHasNoSlot(void);
extern int	EdaSlotHint(void);

/*
 * Slot of a database, or NULL; create: take a free one.  The caller holds EdaShared->lock
 * (exclusively to create).
 */
extern EdaDatabase *EdaFindDatabase(Oid dbid, bool create);

/* Give a database's slot back.  The caller holds EdaShared->lock exclusively. */
extern void EdaFreeDatabase(EdaDatabase *db);

/* Its dispatcher found no extension: another database may have the slot.  The same lock. */
extern void EdaDatabaseWithoutEda(EdaDatabase *db);

/*
 * There is work for a database's dispatcher: set bits in its wake word and its latch, or, where it has left, ask
 * the launcher for another one.  Any process, at any time; takes no lock where a dispatcher is there.
 * EdaWakeDispatcherLocked(): for who holds EdaShared->lock exclusively.
 */
extern void EdaWakeDispatcher(EdaDatabase *db, uint32 bits);
extern void EdaWakeDispatcherLocked(EdaDatabase *db, uint32 bits);

/* The same for news that matter to a dispatcher that is there, and to no other. */
extern void EdaTellDispatcher(EdaDatabase *db, uint32 bits);

/* Ask the launcher to run a dispatcher for dbid.  Called after commit. */
extern void EdaRequestDispatcher(Oid dbid);

/* Wake everybody in eda.wait() on this database, if anyone is. */
extern void EdaSignalProgress(EdaDatabase *db);

#endif							/* EDA_SHMEM_H */
