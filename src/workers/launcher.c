/*-------------------------------------------------------------------------
 *
 * workers/launcher.c
 *	  The launcher: one dispatcher in each database that has the extension
 *	  and work for one, none elsewhere.
 *
 *	1. Only a process in a database can see whether the extension is there.
 *	   So the launcher, which is in none, starts a dispatcher to find out:
 *	   at start in every database that can be connected to and is no
 *	   template, later where somebody asks (EdaRequestDispatcher()).  A
 *	   dispatcher that is not needed ends with 0 at once.
 *	2. One dispatcher at a time is STARTING, and one that was not needed has
 *	   given its worker slot back before the next is started, so that looking
 *	   through many databases takes one worker slot.  One that takes longer
 *	   than PATIENCE_MS to start or end no longer holds up the others.
 *	3. Those who want one get it in the order in which they came; where the server has
 *	   no free worker slot, workers/room.c says who goes first and who gives way.  A
 *	   dispatcher without work ends (workers/rest.c).  The launcher starts another one
 *	   when somebody asks, when something is due, and now and then.
 *	4. Dispatchers are never restarted by the postmaster.  One that failed
 *	   left its slot WANTED with a time (restart_at).  One whose database is
 *	   held by a utility command (holds) waits for that to be over.
 *	5. It sleeps on its latch, set by: a request, the end of a dispatcher or
 *	   of its start, the release of a hold, SIGHUP; and until something is due.
 *	   All its times are by the monotonic clock (base/clock.h).
 *	6. It reads pg_database only, holds no lock and no transaction while it
 *	   sleeps, and takes EdaShared->lock for moments.
 *
 *	  scan / request / due                 launch            attached, needed
 *	  FREE, IDLE ----------> WANTED <--------> STARTING -------------> RUNNING
 *		   ^				   ^   no worker	  |						  |
 *		   |				   |   slot; held	  | not needed			  |
 *		   +-------------------|------------------+-----------------------+
 *							   +------------------------------------------+
 *										 failed, or told to end
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/launcher.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "workers/attach.h"
#include "workers/inflight.h"
#include "workers/launcher.h"
#include "workers/rest.h"
#include "workers/room.h"
#include "workers/worker.h"

/* The entry point, found by name when the postmaster starts the worker. */
extern PGDLLEXPORT void EdaLauncherMain(Datum main_arg);

#define LAUNCHER_RESTART_S	1

/* How long one start may hold up the next. */
#define PATIENCE_MS			5000

/* A dispatcher that has not attached this long after it was registered never will. */
#define ATTACH_TIMEOUT_MS	(30 * 1000)

/*
 * Between looks whether those who go first have got their worker slots, though that sets our
 * latch.
 */
#define TURN_MS				1000

/* datconnlimit of a database whose DROP did not finish. */
#define CONNLIMIT_INVALID	(-2)

/* Handles of the dispatchers that this launcher started, by slot, until they have ended. */
typedef struct EdaDispatcherHandle
{
	BackgroundWorkerHandle *handle; /* NULL: none */
	uint32		launch_no;
} EdaDispatcherHandle;

static EdaDispatcherHandle *handles = NULL;

/* Databases to look into, from the last scan. */
static List *to_probe = NIL;
static List *missed_databases = NIL;	/* of them, oids for which there was no slot */
static bool slot_warned = false;	/* in this scan */
static MemoryContext launcher_context = NULL;

static void eda_launcher_exit(int code, Datum arg);
static void eda_read_databases(List **existing, List **connectable);
static void eda_scan(void);
static bool eda_reap_starting(TimestampTz now);
static bool eda_start_next(TimestampTz now, TimestampTz *next);
static bool eda_launch(EdaDatabase *db, TimestampTz now, TimestampTz *retry_at);
static void eda_wake_resting(void);

/*
 * Register the launcher with the postmaster that preloads the library.
 */
void
EdaLauncherRegister(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = LAUNCHER_RESTART_S;
	strlcpy(worker.bgw_library_name, EDA_LIBRARY_NAME, BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "EdaLauncherMain", BGW_MAXLEN);
	strlcpy(worker.bgw_name, EDA_LAUNCHER_TYPE, BGW_MAXLEN);
	strlcpy(worker.bgw_type, EDA_LAUNCHER_TYPE, BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

static void
eda_launcher_exit(int code, Datum arg)
{
	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	if (EdaShared->launcher_pid == MyProcPid)
	{
		EdaShared->launcher_pid = 0;
		EdaShared->launcher_latch = NULL;
	}
	LWLockRelease(EdaShared->lock);
}

/*
 * Entry point.
 */
void
EdaLauncherMain(Datum main_arg)
{
	TimestampTz ending_since = 0;
	uint32		wait_event;
	bool		enabled;

	EdaWorkerPushErrorContext();

	on_shmem_exit(eda_launcher_exit, (Datum) 0);
	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	EdaShared->launcher_pid = MyProcPid;
	EdaShared->launcher_latch = MyLatch;
	EdaShared->rescan = true;
	LWLockRelease(EdaShared->lock);

	EdaInflightWatch();
	EdaWorkerSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	EdaWorkerForceSettings(EDA_LAUNCHER_TYPE);
	pgstat_report_activity(STATE_IDLE, NULL);

	launcher_context = AllocSetContextCreate(TopMemoryContext, "eda launcher",
											 ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(launcher_context);
	handles = palloc0(EdaShared->ndatabases * sizeof(EdaDispatcherHandle));
	wait_event = eda_wait_event("EdaLauncherMain");
	enabled = eda_enabled;

	for (;;)
	{
		TimestampTz now;
		TimestampTz next = 0;	/* when something is due */
		TimestampTz next_rest = 0;	/* in a database at rest */
		bool		rescan;
		bool		ending;

		CHECK_FOR_INTERRUPTS();

		LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
		rescan = EdaShared->rescan;
		EdaShared->rescan = false;
		LWLockRelease(EdaShared->lock);

		/* turned on for the whole server: dispatchers that left may be needed */
		if (eda_enabled && !enabled)
			rescan = true;
		/* turned off: executors of databases at rest have nobody who ends them */
		if (!eda_enabled && enabled)
			eda_wake_resting();
		enabled = eda_enabled;

		if (rescan)
			eda_scan();

		now = EdaMonotonicNow();
		EdaRestLook(now, &next_rest);
		ending = eda_reap_starting(now);
		if (!ending)
			ending_since = 0;
		else if (ending_since == 0)
			ending_since = now;

		if (ending && !TimestampDifferenceExceeds(ending_since, now, PATIENCE_MS))
		{
			/* the postmaster sets our latch when it has ended */
			next = TimestampTzPlusMilliseconds(ending_since, PATIENCE_MS);
		}
		else
		{
			while (eda_start_next(now, &next))
				;
		}

		Assert(CurrentMemoryContext == launcher_context);

		if (next == 0 || (next_rest != 0 && next_rest < next))
			next = next_rest;
		if (next == 0)
			(void) EdaWorkerWait(-1, wait_event);
		else
			(void) EdaWorkerWait(TimestampDifferenceMilliseconds(EdaMonotonicNow(), next),
								 wait_event);
	}
}

/*
 * Oids of all databases, and of those that can be connected to and are no
 * templates; in the current context.
 */
static void
eda_read_databases(List **existing, List **connectable)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tup;

	*existing = NIL;
	*connectable = NIL;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();

	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tup = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tup);
		MemoryContext context = MemoryContextSwitchTo(oldcontext);

		*existing = lappend_oid(*existing, form->oid);
		if (form->datallowconn && !form->datistemplate &&
			form->datconnlimit != CONNLIMIT_INVALID)
			*connectable = lappend_oid(*connectable, form->oid);

		MemoryContextSwitchTo(context);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);

	CommitTransactionCommand();
	MemoryContextSwitchTo(oldcontext);
}

/*
 * Note every database to be looked into, and free the slots of those that
 * are gone.
 */
static void
eda_scan(void)
{
	Oid		   *known = palloc(EdaShared->ndatabases * sizeof(Oid));
	int			nknown = 0;
	List	   *existing;
	List	   *connectable;

	/* first: a slot that is there now belongs to a database that the scan sees, if it exists */
	LWLockAcquire(EdaShared->lock, LW_SHARED);
	for (int i = 0; i < EdaShared->nknown; i++)
	{
		EdaDatabase *db = &EdaShared->databases[i];

		if (db->state != EDA_DB_FREE)
			known[nknown++] = db->dbid;
	}
	LWLockRelease(EdaShared->lock);

	eda_read_databases(&existing, &connectable);

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < nknown; i++)
	{
		EdaDatabase *db;

		if (list_member_oid(existing, known[i]))
			continue;
		db = EdaFindDatabase(known[i], false);
		if (db != NULL && db->holds == 0 &&
			(db->state == EDA_DB_IDLE || db->state == EDA_DB_WANTED))
			EdaFreeDatabase(db);
	}
	LWLockRelease(EdaShared->lock);

	pfree(known);
	list_free(existing);
	list_free(to_probe);
	to_probe = connectable;
	slot_warned = false;
}

/*
 * A database at rest whose executors linger: its dispatcher finds out whether
 * anything is to be delivered there.
 */
static void
eda_wake_resting(void)
{
	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < EdaShared->nknown; i++)
	{
		EdaDatabase *db = &EdaShared->databases[i];

		if (db->state == EDA_DB_IDLE && db->has_eda && EdaRoomHasExecutor(db->dbid))
			EdaWakeDispatcherLocked(db, EDA_WAKE_SUBSCRIPTIONS);
	}
	LWLockRelease(EdaShared->lock);
}

/*
 * Find dispatchers that were registered and will not attach.  True while one
 * that was not needed has not given its worker slot back: it would be missing
 * for the next one.
 */
static bool
eda_reap_starting(TimestampTz now)
{
	bool		ending = false;

	for (int i = 0; i < EdaShared->nknown; i++)
	{
		EdaDatabase *db = &EdaShared->databases[i];
		uint32		launch_no;
		bool		starting;
		bool		running;
		bool		dead;

		/* unlocked: the launcher is the only one to make it STARTING */
		if (db->state != EDA_DB_STARTING && handles[i].handle == NULL)
			continue;

		LWLockAcquire(EdaShared->lock, LW_SHARED);
		starting = db->state == EDA_DB_STARTING && db->dispatcher_pid == 0;
		running = db->dispatcher_pid != 0;
		launch_no = db->launch_no;
		dead = starting &&
			TimestampDifferenceExceeds(db->launched_at, now, ATTACH_TIMEOUT_MS);
		LWLockRelease(EdaShared->lock);

		if (handles[i].handle != NULL)
		{
			bool		current = handles[i].launch_no == launch_no;
			bool		stopped;
			pid_t		pid;

			stopped = GetBackgroundWorkerPid(handles[i].handle, &pid) == BGWH_STOPPED;
			if (starting && current && stopped)
				dead = true;
			if (!running && !stopped && !(starting && current))
				ending = true;
			if (stopped)
			{
				pfree(handles[i].handle);
				handles[i].handle = NULL;
			}
		}

		if (!dead)
			continue;

		LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
		if (db->state == EDA_DB_STARTING && db->dispatcher_pid == 0 &&
			db->launch_no == launch_no)
		{
			db->launch_no++;
			EdaDispatcherFailed(db);
		}
		LWLockRelease(EdaShared->lock);
	}

	return ending;
}

/* *next is when something is due: t is, too. */
static void
eda_due_at(TimestampTz *next, TimestampTz t)
{
	if (*next == 0 || t < *next)
		*next = t;
}

/*
 * The database whose dispatcher is to be started next, or NULL; *busy: where one is
 * on its way.  The caller holds EdaShared->lock exclusively.
 */
static EdaDatabase *
eda_find_candidate(TimestampTz now, bool *busy, TimestampTz *next)
{
	EdaDatabase *candidate = NULL;

	*busy = false;
	for (int i = 0; i < EdaShared->nknown; i++)
	{
		EdaDatabase *db = &EdaShared->databases[i];

		if (db->state == EDA_DB_STARTING)
		{
			TimestampTz impatient = TimestampTzPlusMilliseconds(db->launched_at, PATIENCE_MS);

			if (impatient > now)
			{
				*busy = true;
				eda_due_at(next, impatient);
			}
			else if (db->dispatcher_pid == 0)
				eda_due_at(next, TimestampTzPlusMilliseconds(db->launched_at, ATTACH_TIMEOUT_MS));
		}
		else if (db->state == EDA_DB_WANTED && db->holds == 0)
		{
			if (db->restart_at > now)
				eda_due_at(next, db->restart_at);
			else if (candidate == NULL || EdaRoomGoesBefore(db, candidate))
				candidate = db;
		}
	}
	return candidate;
}

/*
 * The next database of the scan that nobody has looked into; the same lock.
 */
static EdaDatabase *
eda_next_to_probe(void)
{
	while (to_probe != NIL)
	{
		Oid			dbid = linitial_oid(to_probe);
		EdaDatabase *db = EdaFindDatabase(dbid, true);

		to_probe = list_delete_first(to_probe);
		if (db == NULL)
			missed_databases = lappend_oid(missed_databases, dbid);
		else if (db->state == EDA_DB_IDLE)
		{
			db->state = EDA_DB_WANTED;
			db->restart_at = 0;
			/* where it is held: once it is not any more */
			if (db->holds == 0)
				return db;
		}
	}
	return NULL;
}

/*
 * Say, once a scan, that a database found every slot taken.
 */
static void
eda_report_missed(void)
{
	if (missed_databases != NIL && !slot_warned)
	{
		slot_warned = true;
		ereport(WARNING,
				(errcode(ERRCODE_EDA_NO_DATABASE_SLOT),
				 errmsg("every database slot of eda is taken: nothing is delivered in the database with OID %u",
						linitial_oid(missed_databases)),
				 EdaSlotHint()));
	}
	list_free(missed_databases);
	missed_databases = NIL;
}

/*
 * Start one dispatcher, if one is due and none is starting.  True when the
 * caller should call again.  Moves *next to when something is due that is not
 * yet.
 */
static bool
eda_start_next(TimestampTz now, TimestampTz *next)
{
	static TimestampTz slots_at = 0;	/* try no sooner: there was no worker slot */
	static Oid	probing = InvalidOid;
	EdaDatabase *probed;
	EdaDatabase *candidate;
	bool		busy;
	int			older = 0;
	List	   *existing;
	List	   *connectable;
	Oid			dbid;
	bool		exists;
	bool		can_connect;
	bool		ours;

	*next = 0;

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	/* of the scan's one at a time, which waits for its turn as all others do */
	probed = OidIsValid(probing) ? EdaFindDatabase(probing, false) : NULL;
	if (probed == NULL || (probed->state != EDA_DB_WANTED && probed->state != EDA_DB_STARTING))
	{
		probed = eda_next_to_probe();
		probing = probed != NULL ? probed->dbid : InvalidOid;
	}
	candidate = eda_find_candidate(now, &busy, next);
	dbid = candidate ? candidate->dbid : InvalidOid;
	if (candidate != NULL)
		older = EdaRoomOlder(candidate);
	if (older > 0)
		EdaRoomQueueUp();
	LWLockRelease(EdaShared->lock);

	eda_report_missed();
	if (busy)
		return false;
	if (candidate == NULL)
		return false;
	if (older > 0)
	{
		/* a free worker slot is for them; who gets his sets our latch */
		eda_due_at(next, TimestampTzPlusMilliseconds(now, TURN_MS));
		return false;
	}
	if (slots_at > now)
	{
		eda_due_at(next, slots_at);
		return false;
	}

	/* it may be gone or have become a template since it was asked for */
	eda_read_databases(&existing, &connectable);
	exists = list_member_oid(existing, dbid);
	can_connect = list_member_oid(connectable, dbid);
	list_free(existing);
	list_free(connectable);

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	/* unless a utility command was quicker */
	ours = (candidate->dbid == dbid && candidate->state == EDA_DB_WANTED &&
			candidate->holds == 0);
	if (ours && can_connect)
	{
		candidate->state = EDA_DB_STARTING;
		candidate->launch_no++;
		candidate->requested = false;
		candidate->launched_at = now;
	}
	else if (ours)
	{
		candidate->state = EDA_DB_IDLE;
		candidate->has_eda = false;
		EdaRoomServed(candidate);
		if (!exists || !candidate->used)
			EdaFreeDatabase(candidate);
	}
	LWLockRelease(EdaShared->lock);

	if (ours && can_connect && !eda_launch(candidate, now, &slots_at))
		EdaReportNoWorkerSlot(EDA_DISPATCHER_TYPE);
	return true;
}

/*
 * Register the dispatcher of a slot that was just marked STARTING.  False where the server has no
 * free worker slot: the slot is WANTED again, somebody was asked to make room, and *retry_at is
 * when to try again.
 */
static bool
eda_launch(EdaDatabase *db, TimestampTz now, TimestampTz *retry_at)
{
	int			slot = db - EdaShared->databases;
	EdaWorkerArgs args;
	char		name[BGW_MAXLEN];
	BackgroundWorkerHandle *handle;

	memset(&args, 0, sizeof(args));
	LWLockAcquire(EdaShared->lock, LW_SHARED);
	args.slot = slot;
	args.generation = db->launch_no;
	args.dbid = db->dbid;
	LWLockRelease(EdaShared->lock);

	snprintf(name, sizeof(name), "eda dispatcher for database %u", args.dbid);
	if (!EdaWorkerRegister(EDA_DISPATCHER_TYPE, "EdaDispatcherMain", name,
						   &args, &handle))
	{
		LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
		if (db->state == EDA_DB_STARTING && db->launch_no == args.generation)
		{
			db->state = EDA_DB_WANTED;
			EdaRoomQueueUp();
			EdaRoomAsk(db);
		}
		*retry_at = TimestampTzPlusMilliseconds(now, EdaRoomRetryMs(db));
		LWLockRelease(EdaShared->lock);
		return false;
	}

	if (handles[slot].handle != NULL)
		pfree(handles[slot].handle);
	handles[slot].handle = handle;
	handles[slot].launch_no = args.generation;
	return true;
}
