/*-------------------------------------------------------------------------
 *
 * workers/rest.c
 *	  A database at rest has no dispatcher: when one leaves, and when another one comes.
 *
 *	1. A dispatcher that has had nothing to do for eda.executor_linger, while no executor works
 *	   either, ends; one that has nothing to do gives way at once when its worker slot is wanted
 *	   (workers/room.c).  It stays where something is due within that time anyway.
 *	2. What it knew is found out again from the tables, but for three things, which it leaves in
 *	   the database's slot (EdaRest): when the next event, retry, probe or look at jobs is due;
 *	   when somebody should look after the log and other housekeeping; and up to which xid all
 *	   events were matched, so that the next one need not have all lanes looked at.
 *	3. The launcher starts another one when somebody asks for it, when something is due, and to
 *	   look after the database.  The latter comes after eda.executor_linger, a minute at most, or
 *	   eda.poll_interval, whichever is longer, and, while no event is published and nothing else
 *	   happens, after twice the time that it was before, up to an hour.  Such a visit is over as
 *	   soon as there is nothing to do, and it disturbs nobody at work.
 *	4. No wake-up is lost.  Who has work for a dispatcher sets bits in the wake word, and then
 *	   looks for the latch.  Who leaves takes the latch away, and then looks at the wake word; if
 *	   there are bits it stays.  An executor that lays a lane down with work left in it, or dies,
 *	   notes that (left_work), under the lock under which the lane becomes free, before it wakes
 *	   anybody.  A dispatcher that begins and finds that note has all lanes looked at, for only
 *	   the one that left knew whose lane that was; with each later look it knows who has which
 *	   lane, and clears the note.
 *	5. Due times go by the system's clock, which may be set, so the launcher looks at it
 *	   with each eda.poll_interval.
 *
 * What is in the slot is guarded by EdaShared->lock.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/rest.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "workers/attach.h"
#include "workers/rest.h"
#include "workers/room.h"
#include "workers/worker.h"

/*
 * However short eda.executor_linger is, a dispatcher stays for so long, in ms: publishers may be
 * about to come again.
 */
#define MIN_LINGER_MS	1000

/*
 * The first visit to a database at rest comes after this long at most, and later ones after that
 * long, in ms.
 */
#define FIRST_VISIT_MS	(60 * 1000)
#define MAX_VISIT_MS	(60 * 60 * 1000)

int64
EdaRestLinger(void)
{
	return Max(eda_executor_linger, MIN_LINGER_MS);
}

/* The shortest time until a visit. */
static int64
first_visit_ms(void)
{
	return Max(eda_poll_interval, Min(FIRST_VISIT_MS, EdaRestLinger()));
}

static int64
next_id(EdaDatabase *db)
{
	int64		result;

	SpinLockAcquire(&db->id_lock);
	result = db->next_id;
	SpinLockRelease(&db->id_lock);
	return result;
}

void
EdaRestOver(EdaDatabase *db, EdaRest *rest, bool *brief)
{
	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	*rest = db->rest;
	*brief = db->brief;
	/* should this one not leave in order, nobody knows anything */
	db->rest.due_at = DT_NOEND;
	db->rest.matched_xmin = 0;
	db->brief = false;
	db->leave_asked = false;
	db->idle_since = 0;
	LWLockRelease(EdaShared->lock);
}

void
EdaRestLeave(EdaDatabase *db, TimestampTz due_at, uint64 matched_xmin, uint64 known_xmin, bool quiet)
{
	int64		id = next_id(db);
	bool		asked;

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	asked = db->requested;
	db->requested = false;
	db->leave_asked = false;
	db->idle_since = 0;
	if (!asked)
	{
		int64		least = first_visit_ms();

		if (quiet && id == db->rest.next_id)
			db->rest.visit_ms = Min(Max(db->rest.visit_ms * 2, least), Max(MAX_VISIT_MS, least));
		else
			db->rest.visit_ms = least;
		db->rest.since = EdaMonotonicNow();
		db->rest.next_id = id;
		db->rest.due_at = due_at;
		db->rest.matched_xmin = matched_xmin;
		db->rest.known_xmin = known_xmin;
		db->dispatcher_latch = NULL;
	}
	LWLockRelease(EdaShared->lock);

	pg_memory_barrier();
	if (!asked && pg_atomic_read_u32(&db->wake) == 0)
	{
		EdaDispatcherLeaves(false);
		proc_exit(0);
	}

	/* somebody has come: look at everything, as one that is started for it would */
	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	db->dispatcher_latch = MyLatch;
	db->requested = false;
	db->rest.due_at = DT_NOEND;
	db->rest.matched_xmin = 0;
	LWLockRelease(EdaShared->lock);
	if (asked)
		EdaWakeDispatcher(db, EDA_WAKE_EVENTS | EDA_WAKE_SUBSCRIPTIONS | EDA_WAKE_RETRIES |
						  EDA_WAKE_EXECUTOR | EDA_WAKE_RECHECK | EDA_WAKE_DELAYED | EDA_WAKE_JOBS);
}

void
EdaRestGiveWay(EdaDatabase *db)
{
	bool		leave;

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	leave = db->leave_asked && db->slot_wait_since != 0 && !EdaRoomHasExecutor(db->dbid);
	db->leave_asked = false;
	LWLockRelease(EdaShared->lock);
	if (!leave)
		return;
	EdaDispatcherLeaves(true);
	proc_exit(0);
}

/* When is somebody to look after this database, by the monotonic clock? */
static TimestampTz
visit_at(EdaDatabase *db)
{
	int64		ms = db->rest.visit_ms;

	/* events come, though nobody waits for them */
	if (next_id(db) != db->rest.next_id)
		ms = Min(ms, first_visit_ms());
	return db->rest.since + ms * 1000;
}

void
EdaRestLook(TimestampTz now, TimestampTz *next)
{
	TimestampTz clock = GetCurrentTimestamp();

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < EdaShared->nknown; i++)
	{
		EdaDatabase *db = &EdaShared->databases[i];
		TimestampTz at;

		if (db->state != EDA_DB_IDLE || !db->has_eda || db->holds > 0)
			continue;
		at = visit_at(db);
		if (db->rest.due_at <= clock || at <= now || pg_atomic_read_u32(&db->wake) != 0)
		{
			db->brief = db->rest.due_at > clock && pg_atomic_read_u32(&db->wake) == 0;
			db->state = EDA_DB_WANTED;
			db->restart_at = 0;
			continue;
		}
		if (db->rest.due_at != DT_NOEND)
		{
			at = Min(at, now + (db->rest.due_at - clock));
			at = Min(at, now + eda_poll_interval * INT64CONST(1000));
		}
		if (*next == 0 || at < *next)
			*next = at;
	}
	LWLockRelease(EdaShared->lock);
}
