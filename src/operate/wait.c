/*-------------------------------------------------------------------------
 *
 * operate/wait.c
 *	  CALL eda.wait(): until what was committed before the call is done.
 *
 *	1. The goal is a snapshot, taken when the call begins: a lane has reached it
 *	   when no event that the snapshot sees, and that the subscription means, is ahead of
 *	   its cursor.  Cursors of idle lanes lag behind, so this is
 *	   found out from the log and not from the cursor alone.
 *	2. With cascade it goes on until there are no events ahead of any cursor
 *	   that a handler published.  Events and cursors are then looked at as of
 *	   one and the same snapshot: a handler's event commits with its cursor, so
 *	   none is missed between the two.
 *	3. A waiting event (eda.retry) is waited for only while it is due and was not tried since the
 *	   call began, a delayed one if it was due when the call began: then the goal is a snapshot
 *	   that sees it in the log.
 *	4. Executors broadcast EdaDatabase.progress after each transaction while
 *	   `waiters` is raised: it is raised before the first look.  Who has waited
 *	   for long lets some of them gather, out of the list of those who are woken.
 *	5. Each look goes on from the pending event that the last one found.
 *	6. Whoever waits for all waits for the subscriptions that they may see, and
 *	   hears of no other one.
 *	7. What the caller's own transaction has published is not committed, so nobody can handle
 *	   it while it waits: a warning says so.  A subscription that it has changed
 *	   and that has something pending is an error, as its executor waits for the transaction's end.
 *	8. Executors commit asynchronously by default, so at the end the WAL is
 *	   flushed: what the caller was told survives a crash.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/operate/wait.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/args.h"
#include "base/catalog.h"
#include "base/clock.h"
#include "base/shmem.h"
#include "base/visible.h"
#include "base/wal.h"
#include "deliver/deliver.h"
#include "log/log.h"
#include "publish/publish.h"
#include "subscription/subscription.h"

/* What part of its time a wait may sleep on when something was done, and for how long at most. */
#define GATHER_PART		32
#define MAX_GATHER_MS	20

PG_FUNCTION_INFO_V1(eda_wait);

typedef struct Search
{
	const EdaSubscription *sub;
	const EdaCursor *cursors;	/* by lane */
	EdaLogReader *reader;
	bool		chained;		/* only events that a handler published */
	EdaLogEntry found;			/* a pending event; id 0: none */
} Search;

/*
 * Where the pending event was that was found last, in the order of the scan: all before it
 * is done, and of a large backlog need not be gone through after each batch.
 */
typedef struct Progress
{
	int32		subscription_id;	/* 0: none */
	EdaLogEntry entry;
} Progress;

static bool
find_pending(const EdaLogEntry *entry, void *arg)
{
	Search	   *search = arg;
	const EdaSubscription *sub = search->sub;
	ItemPointerData tid = entry->tid;
	EdaEvent	ev;

	if (!EdaCursorsMayGet(sub, search->cursors, entry))
		return true;
	if (!EdaLogFetch(search->reader, entry->id, entry->segment, &tid,
					 GetActiveSnapshot(), &ev))
		return true;
	if (!EdaSubscriptionGets(sub, &ev) || (search->chained && ev.hops == 0))
		return true;
	search->found = *entry;
	return false;
}

/*
 * Id of an event that the subscription has still to handle, as of goal; 0: none.  A goal that
 * stays the same has its progress; what is chained has not.
 */
static int64
pending_in_log(const EdaSubscription *sub, const EdaSnapshot *goal, bool chained,
			   Progress *progress)
{
	EdaCursor  *cursors;
	int			ncursors;
	EdaXidRange *ranges;
	int			nranges;
	Search		search = {0};

	cursors = EdaCursorLoadAll(sub->id, &ncursors);
	if (cursors == NULL)
		return 0;
	nranges = EdaSnapshotWindow(EdaCursorOldest(cursors, ncursors), goal, &ranges);
	if (nranges == 0)
		return 0;
	search.sub = sub;
	search.cursors = cursors;
	search.chained = chained;
	search.reader = EdaLogReaderOpen();
	if (!chained && progress->subscription_id == sub->id)
		EdaLogScanFrom(ranges, nranges, &progress->entry, find_pending, &search);
	/* a seek may have put it back, so nothing is done before all is looked at */
	if (search.found.id == 0)
		EdaLogScan(ranges, nranges, find_pending, &search);
	EdaLogReaderClose(search.reader);
	if (search.found.id != 0)
	{
		progress->subscription_id = sub->id;
		progress->entry = search.found;
	}
	return search.found.id;
}

/*
 * Id of a waiting event that is due and was not tried since; 0: none.  One that was waits for
 * another retry, even if that is due again, or a snoozing event would be waited for for ever.
 */
static int64
pending_retry(const EdaSubscription *sub, TimestampTz since)
{
	for (int16 lane = 0; lane < Max(sub->lanes, 1); lane++)
	{
		int64		event_id = EdaQueueFindUntried(sub->id, lane, GetActiveSnapshot(),
												   GetCurrentTimestamp(), since);

		if (event_id != 0)
			return event_id;
	}
	return 0;
}

/* The subscription of that name, or all that the caller may see; with an active snapshot. */
static List *
concerned(const char *name)
{
	List	   *result = NIL;
	List	   *all;
	ListCell   *lc;

	if (name != NULL)
	{
		EdaSubscription *sub = EdaSubscriptionByName(name, false);

		if (!EdaMaySee(sub->owner))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied for subscription \"%s\"", name),
					 errhint("Members of its owner and of pg_monitor may wait for it.")));
		return list_make1(sub);
	}
	all = EdaSubscriptionLoadAll();
	foreach(lc, all)
	{
		if (EdaMaySee(((EdaSubscription *) lfirst(lc))->owner))
			result = lappend(result, lfirst(lc));
	}
	return result;
}

/* An event that this transaction has published, and that the subscription means; 0: none. */
static int64
own_event(const EdaSubscription *sub, uint64 xid)
{
	EdaXidRange own = {xid, xid + 1};
	Search		search = {0};
	int			ncursors;

	search.sub = sub;
	search.cursors = EdaCursorLoadAll(sub->id, &ncursors);
	if (search.cursors == NULL)
		return 0;
	search.reader = EdaLogReaderOpen();
	EdaLogScan(&own, 1, find_pending, &search);
	EdaLogReaderClose(search.reader);
	return search.found.id;
}

/* Say so where the transaction has published what it seems to wait for. */
static void
warn_of_own_events(const char *name)
{
	FullTransactionId xid = GetTopFullTransactionIdIfAny();
	int64		id = 0;
	ListCell   *lc;

	if (!FullTransactionIdIsValid(xid))
		return;
	PushActiveSnapshot(GetLatestSnapshot());
	foreach(lc, concerned(name))
	{
		id = own_event(lfirst(lc), U64FromFullTransactionId(xid));
		if (id != 0)
			break;
	}
	if (id == 0)
		id = EdaDelayFindOwnDue(GetCurrentTimestamp());
	PopActiveSnapshot();
	if (id != 0)
		ereport(WARNING,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("eda.wait() does not wait for what its own transaction has published"),
				 errdetail("Event %lld is not committed, so no handler can get it yet.", (long long) id),
				 errhint("COMMIT, and call eda.wait() after that. In a test that is rolled back, eda.run_pending() handles such events.")));
}

/* Who waits for all may see none. */
static void
say_if_nothing_concerns(const char *name)
{
	if (name != NULL || EdaMaySee(EdaExtensionOwner()))
		return;
	PushActiveSnapshot(GetLatestSnapshot());
	if (concerned(NULL) == NIL)
		ereport(NOTICE,
				(errmsg("eda.wait() has nothing to wait for"),
				 errdetail("There is no subscription that role \"%s\" may see, as a member of its owner or of pg_monitor.",
						   GetUserNameFromId(GetUserId(), false))));
	PopActiveSnapshot();
}

/* An error where this transaction keeps the subscription's executor from going on. */
static void
check_not_own(const EdaSubscription *sub, int64 id)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, EdaSubscriptionRelId(), sub->id, 0);
	if (!TransactionIdIsCurrentTransactionId(sub->row_xmin) && !eda_lock_held(&tag, AccessExclusiveLock))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("eda.wait() cannot wait for subscription \"%s\", which its own transaction has changed",
					sub->name),
			 errdetail("Event %lld is pending, and is not handled before the transaction has ended.",
					   (long long) id),
			 errhint("COMMIT, and call eda.wait() after that.")));
}

/*
 * Look at the subscription of that name, or at all: true when nothing is
 * pending.  Else *pending_id and *pending_sub say what is, and it is an error if that
 * subscription does not run.  goal NULL: what handlers have published by now.  since: when the
 * call began.
 */
static bool
is_reached(const char *name, const EdaSnapshot *goal, TimestampTz since, Progress *progress,
		   int64 *pending_id, char **pending_sub)
{
	bool		chained = goal == NULL;
	List	   *subs;
	ListCell   *lc;
	bool		found = false;

	PushActiveSnapshot(GetLatestSnapshot());
	if (chained)
		goal = EdaSnapshotFrom(GetActiveSnapshot(), true);
	subs = concerned(name);
	foreach(lc, subs)
	{
		EdaSubscription *sub = lfirst(lc);
		int64		id = pending_in_log(sub, goal, chained, progress);

		if (id == 0)
			id = pending_retry(sub, since);
		if (id == 0)
			continue;
		check_not_own(sub, id);
		if (sub->state != EDA_ACTIVE)
			ereport(ERROR,
					(errcode(ERRCODE_EDA_NOT_DELIVERING),
					 sub->state == EDA_PAUSED ?
					 errmsg("subscription \"%s\" is paused and has pending events", sub->name) :
					 errmsg("subscription \"%s\" is blocked (%s) and has pending events",
							sub->name, EdaBlockName(sub->block)),
					 errdetail("Event %lld is pending.", (long long) id),
					 errhint("eda.resume() lets it go on; eda.subscriptions says why it was blocked.")));
		*pending_id = id;
		*pending_sub = sub->name;
		found = true;
		break;
	}
	PopActiveSnapshot();
	return !found;
}

/*
 * Are all delayed events in the log that were due then?  Else *pending_id is
 * one that is not, and *pending_sub NULL.
 */
static bool
is_moved(TimestampTz due, int64 *pending_id, char **pending_sub)
{
	PushActiveSnapshot(GetLatestSnapshot());
	*pending_id = EdaDelayFindDue(due);
	*pending_sub = NULL;
	PopActiveSnapshot();
	return *pending_id == 0;
}

/*
 * Something was done.  Who waits for a backlog is not told of each batch: for a while,
 * a small part of how long it has waited, nobody need wake it up.
 */
static void
let_progress_gather(EdaDatabase *db, TimestampTz began, TimestampTz deadline)
{
	TimestampTz now = EdaMonotonicNow();
	int64		ms = Min((now - began) / 1000 / GATHER_PART, MAX_GATHER_MS);

	ms = Min(ms, TimestampDifferenceMilliseconds(now, deadline));
	if (ms == 0)
		return;
	ConditionVariableCancelSleep();
	(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ConditionVariablePrepareToSleep(&db->progress);
}

/* Sleep until everything is reached; ERROR at the deadline, a time of the monotonic clock. */
static void
wait_until_reached(EdaDatabase *db, const char *name, bool cascade,
				   TimestampTz deadline)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(caller, "eda wait",
												  ALLOCSET_DEFAULT_SIZES);
	TimestampTz called_at = GetCurrentTimestamp();
	TimestampTz began = EdaMonotonicNow();
	EdaSnapshot *goal = NULL;
	bool		chained = false;
	Progress	progress = {0};

	ConditionVariablePrepareToSleep(&db->progress);
	for (;;)
	{
		int64		pending_id;
		char	   *pending_sub;
		TimestampTz now;
		bool		reached;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(scratch);
		MemoryContextSwitchTo(scratch);
		reached = goal != NULL || chained || is_moved(called_at, &pending_id, &pending_sub);
		MemoryContextSwitchTo(caller);
		if (reached && goal == NULL && !chained)
			goal = EdaSnapshotFrom(GetLatestSnapshot(), true);
		MemoryContextSwitchTo(scratch);
		if (reached)
			reached = is_reached(name, goal, called_at, &progress, &pending_id, &pending_sub);
		if (reached && cascade && !chained)
		{
			goal = NULL;
			chained = true;
			reached = is_reached(name, goal, called_at, &progress, &pending_id, &pending_sub);
		}
		MemoryContextSwitchTo(caller);
		if (reached)
			break;

		now = EdaMonotonicNow();
		if (now >= deadline)
			ereport(ERROR,
					(errcode(ERRCODE_EDA_WAIT_TIMEOUT),
					 errmsg("eda.wait() timed out"),
					 pending_sub == NULL ?
					 errdetail("Event %lld was delayed until now and is not in the log yet.",
							   (long long) pending_id) :
					 errdetail("Event %lld is still pending for subscription \"%s\".",
							   (long long) pending_id, pending_sub),
					 errhint("eda.subscriptions and eda.workers show what is going on.")));
		if (!ConditionVariableTimedSleep(&db->progress,
										 TimestampDifferenceMilliseconds(now, deadline),
										 PG_WAIT_EXTENSION))
			let_progress_gather(db, began, deadline);
	}
	MemoryContextDelete(scratch);
}

/* However the wait ends, a FATAL included. */
static void
stop_waiting(int code, Datum db)
{
	ConditionVariableCancelSleep();
	pg_atomic_fetch_sub_u32(&((EdaDatabase *) DatumGetPointer(db))->waiters, 1);
}

Datum
eda_wait(PG_FUNCTION_ARGS)
{
	char	   *name = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	TimestampTz deadline;
	EdaDatabase *db;

	EdaRequireArg(fcinfo, 1, "timeout");
	EdaRequireArg(fcinfo, 2, "cascade");
	deadline = EdaMonotonicAfter(EdaIntervalToMs(PG_GETARG_INTERVAL_P(1)));

	if (EdaCurrentEvent() != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EDA_IN_HANDLER),
				 errmsg("eda.wait() cannot be called by a handler"),
				 errdetail("The event being handled would be among those waited for.")));
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_EDA_NOT_DELIVERING),
				 errmsg("nothing is delivered on a standby"),
				 errhint("Call eda.wait() on the primary server.")));
	db = EdaMyDatabase(true);
	if (db == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EDA_NOT_DELIVERING),
				 EdaIsPreloaded() ?
				 errmsg("nothing is delivered in this database: every database slot of eda is taken") :
				 errmsg("nothing is delivered on this server: eda is not preloaded"),
				 EdaIsPreloaded() ? EdaSlotHint() :
				 errhint("Add eda to shared_preload_libraries and restart the server.")));
	if (!eda_enabled)
		ereport(WARNING,
				(errcode(ERRCODE_EDA_NOT_DELIVERING),
				 errmsg("nothing is delivered in this database while eda.enabled is off"),
				 errhint("Set it on with ALTER DATABASE or ALTER SYSTEM; eda.wait() goes on waiting.")));

	warn_of_own_events(name);
	say_if_nothing_concerns(name);
	pg_atomic_fetch_add_u32(&db->waiters, 1);
	PG_ENSURE_ERROR_CLEANUP(stop_waiting, PointerGetDatum(db));
	{
		wait_until_reached(db, name, PG_GETARG_BOOL(2), deadline);
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_waiting, PointerGetDatum(db));
	stop_waiting(0, PointerGetDatum(db));

	EdaFlushWal();
	PG_RETURN_VOID();
}
