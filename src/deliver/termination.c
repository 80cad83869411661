/*-------------------------------------------------------------------------
 *
 * deliver/termination.c
 *	  Executors that ended in the middle of an event, and what that means for it.
 *
 *	1. An executor may be terminated while a handler runs: by a watchdog that ends long
 *	   transactions, by the handler itself, or by its own timeout, where the handler catches
 *	   the cancel (base/clock.c).  All that the transaction did is undone, and nobody is
 *	   left to write down why.  Run again in the same way, the event would take its
 *	   neighbours along for ever.
 *	2. The process notes it while it ends: after its transaction, so it is known whether that was
 *	   committed, and before its slot is free, so before the lane can run again.  The note is in
 *	   shared memory.  A restart of the server forgets it, which is as well: a shutdown is no
 *	   event's fault.
 *	3. The next executor of the lane runs as many events as that one had taken, each in a
 *	   transaction of its own, so that the event at fault is alone from then on, and known also
 *	   where it was at the commit.
 *	4. At its turn an event whose timeout ended the process fails without another run, by
 *	   `timeout`.  So does one that was terminated for the second time, by
 *	   57P01; the first time may have been chance, and counts for nothing.
 *	   One that has failed so before, and comes from eda.retry, has used up that chance.
 *	5. Executors that eda itself tells to end (a database or the extension is
 *	   dropped, others need the executor: dispatch/assign.c) leave no note.
 *	6. A note is about an event and how often it was delivered before, so one that is out of date
 *	   says nothing.  Where all places are taken, the oldest note goes.
 *
 * The notes are guarded by EdaShared->lock.  What is running is known to its own process only.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/termination.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "utils/memutils.h"

#include "base/catalog.h"
#include "base/clock.h"
#include "base/shmem.h"
#include "deliver/lane.h"
#include "deliver/termination.h"
#include "deliver/turn.h"
#include "workers/workers.h"

/*
 * An event in the log is looked at again at once, one of eda.retry says of itself what it did: few
 * are open.
 */
#define MAX_NOTES	256

typedef struct Note
{
	Oid			dbid;			/* InvalidOid: this place is free */
	Oid			relid;			/* eda.subscription's: which life of the extension it was */
	int32		subscription_id;
	int32		deliveries;		/* of the event, before this one */
	int64		event_id;
	int32		times;			/* that it ended so */
	bool		timed_out;
	bool		charged;		/* the next turn is a failure */
	TimestampTz at;				/* monotonic */
} Note;

typedef struct Notes
{
	pg_atomic_uint32 n;			/* places that are taken */
	Note		notes[MAX_NOTES];
} Notes;

/* A note as a step has read it. */
typedef struct Noted
{
	Note		note;
	bool		had_turn;
} Noted;

static Notes *shared = NULL;

/* What this executor runs. */
static int32 running_deliveries = 0;
static bool running_offender = false;	/* it was terminated before, and that counted */
static int	running_alone = 0;

Size
EdaTerminationShmemSize(void)
{
	return sizeof(Notes);
}

void
EdaTerminationShmemInit(void *memory)
{
	shared = memory;
	memset(shared, 0, sizeof(Notes));
	pg_atomic_init_u32(&shared->n, 0);
}

void
EdaTerminationItem(const EdaItem *item, int alone)
{
	running_deliveries = item != NULL ? item->deliveries : 0;
	running_offender = item != NULL && item->terminated;
	running_alone = alone;
}

/* Is the note about this event?  With EdaShared->lock. */
static bool
is_about(const Note *note, const EdaCulprit *what)
{
	return note->dbid == what->dbid && note->relid == what->relid &&
		note->subscription_id == what->subscription_id && note->event_id == what->event_id;
}

/* Its place, or a free one, or that of the oldest.  With EdaShared->lock. */
static Note *
find_place(const EdaCulprit *what)
{
	Note	   *place = NULL;

	for (int i = 0; i < MAX_NOTES; i++)
	{
		Note	   *note = &shared->notes[i];

		if (is_about(note, what))
			return note;
		if (place == NULL || (OidIsValid(place->dbid) &&
							  (!OidIsValid(note->dbid) || note->at < place->at)))
			place = note;
	}
	if (!OidIsValid(place->dbid))
		pg_atomic_fetch_add_u32(&shared->n, 1);
	memset(place, 0, sizeof(Note));
	place->dbid = what->dbid;
	place->relid = what->relid;
	place->subscription_id = what->subscription_id;
	place->event_id = what->event_id;
	return place;
}

static void
write_note(const EdaCulprit *what, bool timed_out)
{
	Note	   *note;

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	note = find_place(what);
	if (note->deliveries != running_deliveries)
		note->times = 0;
	note->deliveries = running_deliveries;
	note->times++;
	note->timed_out = timed_out;
	note->charged = timed_out || running_offender || note->times > 1;
	note->at = EdaMonotonicNow();
	LWLockRelease(EdaShared->lock);
}

bool
EdaTerminationNote(bool excused, int *alone)
{
	bool		timed_out = EdaTimeLimitEnds();
	EdaCulprit	what;

	if (shared == NULL || !EdaInflightRunning(&what))
		return false;
	*alone = Max(running_alone, 1);
	if (excused)
		return true;
	if (what.event_id != 0)
		write_note(&what, timed_out);
	ereport(LOG,
			(what.event_id != 0 ?
			 errmsg("an executor ended while event %lld was handled by subscription %d",
					(long long) what.event_id, what.subscription_id) :
			 errmsg("an executor ended while a batch up to event %lld was handled by subscription %d",
					(long long) what.last_id, what.subscription_id),
			 timed_out ?
			 errdetail("Its code went on after its timeout, although it was canceled several times.") :
			 errdetail("It was terminated, by somebody or by the code that it ran.")));
	return true;
}

void
EdaTerminationsLoad(EdaLane *lane)
{
	Oid			relid;

	lane->terminations = NIL;
	if (shared == NULL || lane->slot == NULL || pg_atomic_read_u32(&shared->n) == 0)
		return;
	relid = EdaSubscriptionRelId();
	for (int i = 0; i < MAX_NOTES; i++)
	{
		Note	   *note = &shared->notes[i];
		Noted	   *noted;

		/* unlocked: of another subscription for certain, as it is this step that runs its own */
		if (note->dbid != MyDatabaseId || note->subscription_id != lane->subscription_id)
			continue;
		noted = MemoryContextAllocZero(lane->step_mcxt, sizeof(Noted));
		LWLockAcquire(EdaShared->lock, LW_SHARED);
		noted->note = *note;
		LWLockRelease(EdaShared->lock);
		if (noted->note.relid == relid)
			lane->terminations = lappend(lane->terminations, noted);
	}
}

static Noted *
find_noted(const EdaLane *lane, int64 event_id)
{
	ListCell   *lc;

	foreach(lc, lane->terminations)
	{
		Noted	   *noted = lfirst(lc);

		if (noted->note.event_id == event_id)
			return noted;
	}
	return NULL;
}

bool
EdaTerminationCharges(const EdaLane *lane, int64 event_id)
{
	return lane->terminations != NIL && find_noted(lane, event_id) != NULL;
}

ErrorData *
EdaTerminationCharge(EdaLane *lane, const EdaItem *item, bool *timed_out)
{
	Noted	   *noted = lane->terminations == NIL ? NULL : find_noted(lane, item->ev.id);
	MemoryContext old;
	ErrorData  *edata;

	if (noted == NULL)
		return NULL;
	noted->had_turn = true;
	if (!noted->note.charged || noted->note.deliveries != item->deliveries)
		return NULL;

	old = MemoryContextSwitchTo(lane->step_mcxt);
	edata = palloc0(sizeof(ErrorData));
	*timed_out = noted->note.timed_out;
	if (noted->note.timed_out)
	{
		edata->sqlerrcode = ERRCODE_QUERY_CANCELED;
		edata->message = EdaLaneTimeoutText(lane);
		edata->detail = pstrdup("The code caught that, several times, so its executor was ended.");
	}
	else
	{
		edata->sqlerrcode = ERRCODE_ADMIN_SHUTDOWN;
		edata->message = pstrdup("the executor was terminated while it handled the event");
	}
	MemoryContextSwitchTo(old);
	return edata;
}

void
EdaTerminationsSettle(EdaLane *lane)
{
	ListCell   *lc;

	foreach(lc, lane->terminations)
	{
		Noted	   *noted = lfirst(lc);

		if (!noted->had_turn)
			continue;
		LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
		for (int i = 0; i < MAX_NOTES; i++)
		{
			Note	   *note = &shared->notes[i];

			if (note->dbid == noted->note.dbid && note->relid == noted->note.relid &&
				note->subscription_id == noted->note.subscription_id &&
				note->event_id == noted->note.event_id && note->at == noted->note.at)
			{
				memset(note, 0, sizeof(Note));
				pg_atomic_fetch_sub_u32(&shared->n, 1);
			}
		}
		LWLockRelease(EdaShared->lock);
	}
	lane->terminations = NIL;
}
