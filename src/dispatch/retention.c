/*-------------------------------------------------------------------------
 *
 * dispatch/retention.c
 *	  When a segment of the event log begins and when it ends.
 *
 *	1. The dispatcher comes here with each poll, and takes each segment a step
 *	   further that is ready for it (log/segment.c has the steps), each kind
 *	   of step in a transaction of its own.
 *	2. The current segment is closed when it is large enough or, if there is
 *	   anything in it, old enough: an eighth of eda.retention, so that not much
 *	   more is kept than asked for.
 *	3. A sealed segment is due when all in it is older than eda.retention, or
 *	   when the log is larger than eda.retention_size and it is the oldest one.
 *	4. It is retired when no lane needs it (rule b): nothing in it is after what
 *	   the lane's cursor has seen.  The cursors are read after the log's hold
 *	   lock was had, so none that is being put somewhere is overlooked.  From
 *	   then on no reader of eda's and no new snapshot of anybody takes it for a
 *	   part of the log.
 *	5. It is truncated when nobody can see it any more (rule a).  TRUNCATE
 *	   empties a table for all snapshots, and one that was taken before the
 *	   retirement still has it in eda.events, be its transaction at REPEATABLE READ
 *	   or in the middle of a statement.  So the transactions of this database that held
 *	   a snapshot when the retirement was committed are noted, and it is waited
 *	   until each has ended or has none that is as old.  To wait until the
 *	   oldest xmin has passed would be simpler, but a session that is idle
 *	   in a transaction with an xid holds everybody's xmin back, and has no
 *	   snapshot itself: it pins nothing.
 *	   A snapshot can be handed on: who imports it is not among those that
 *	   were noted, and its xmin is that of many new ones.  So while somebody has one
 *	   exported, or may have had since the last look, everybody whose xmin is as old
 *	   is noted, too.
 *	   A standby's snapshots count as far as a replication slot or
 *	   hot_standby_feedback tells of them.  Prepared transactions have none, and
 *	   catalog_xmin is about catalogues only.
 *	6. What is noted is in memory: after a restart it is noted anew.
 *	7. A subscription that keeps a due segment is told of, as the event
 *	   eda.log.pinned: once it has done so for a poll interval, and again
 *	   whenever it keeps twice as much.
 *
 * Locks: see log/segment.c; none is waited for.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/dispatch/retention.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include <sys/stat.h>
#include <time.h>

#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/tablespace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/clock.h"
#include "base/security.h"
#include "base/transaction.h"
#include "dispatch/idle_cursors.h"
#include "dispatch/retention.h"
#include "log/log.h"
#include "publish/publish.h"
#include "subscription/subscription.h"
#include "workers/workers.h"

PG_FUNCTION_INFO_V1(eda_rotate_log);

/* A segment that is not empty is closed after a part of eda.retention, but not before this. */
#define RETENTION_PARTS		8
#define MIN_SEGMENT_AGE		60		/* s */

/* How often idle cursors follow the log, unless a segment has become due. */
#define ADVANCE_INTERVAL_MS	(60 * 1000)

/* How long eda.rotate_log() waits for the dispatcher. */
#define ROTATE_TIMEOUT_MS	(30 * 1000)

/* Transactions with a snapshot that takes a retired segment for live. */
typedef struct Witnesses
{
	int32		number;			/* of the segment; 0: none noted */
	VirtualTransactionId *vxids;	/* in TopMemoryContext */
	int			n;
	time_t		looked_at;		/* last, and how the directory of exported snapshots was then */
	time_t		exports_changed;
} Witnesses;

static Witnesses witnesses[EDA_MAX_SEGMENTS + 1];	/* by slot */

/* A subscription that keeps segments that are due. */
typedef struct Pin
{
	int32		subscription_id;	/* hash key */
	int64		bytes;			/* as of the last look; 0: none any more */
	int64		told;			/* when eda.log.pinned was last published; 0: not yet */
	TimestampTz since;			/* monotonic */
} Pin;

static HTAB *pins = NULL;

static TimestampTz advanced_at = 0; /* when idle cursors were last moved */
static int32 advanced_for = 0;	/* highest number that was due then */
static bool limit_logged = false;

/*
 * Rotation
 */

/* False: a lock is somebody else's. */
static bool
rotate(bool forced)
{
	EdaSegment *list;
	int			n;
	bool		limited = false;
	bool		rotated = true;

	EdaTransactionBegin();
	n = EdaSegments(&list);
	for (int i = 0; i < n; i++)
	{
		int64		size;
		int64		age;

		if (list[i].state != EDA_SEGMENT_OPEN)
			continue;
		size = EdaSegmentSize(&list[i]);
		age = (GetCurrentTimestamp() - list[i].opened_at) / USECS_PER_SEC;
		if (size < 0)
		{
			rotated = !forced;
			break;
		}
		if ((forced || size >= (int64) eda_segment_size * 1024 ||
			 age >= Max(eda_retention / RETENTION_PARTS, MIN_SEGMENT_AGE)) &&
			!EdaSegmentIsEmpty(&list[i]))
			rotated = EdaSegmentRotate(&limited);
		break;
	}
	EdaTransactionCommit();

	if (limited && !limit_logged)
		ereport(LOG,
				(errmsg("the event log has %d segments, the most that are possible", EDA_MAX_SEGMENTS),
				 errdetail("The current one grows until another can be emptied."),
				 errhint("View eda.segments shows in pinned_by which subscriptions keep them.")));
	limit_logged = limited;
	return rotated;
}

static void
seal(void)
{
	EdaSegment *list;
	int			n;

	EdaTransactionBegin();
	n = EdaSegments(&list);
	for (int i = 0; i < n; i++)
	{
		if (list[i].state == EDA_SEGMENT_CLOSED)
			(void) EdaSegmentSeal(&list[i]);
	}
	EdaTransactionCommit();
}

/*
 * Retirement
 */

List *
EdaSegmentNeededBy(const EdaSegment *segment, List *cursors)
{
	List	   *ids = NIL;
	Relation	rel = try_table_open(segment->relid, AccessShareLock);
	uint64		max_xid = segment->max_xid;
	ListCell   *lc;

	if (rel == NULL)
		return NIL;
	if (segment->state != EDA_SEGMENT_SEALED)
		max_xid = EdaLogMaxXid(rel);

	foreach(lc, cursors)
	{
		const EdaCursor *cursor = lfirst(lc);
		const EdaSnapshot *bound = EdaCursorBound(cursor);
		bool		needed = max_xid >= bound->xmax;

		if (list_member_int(ids, cursor->subscription_id))
			continue;
		/* those that it saw in progress */
		for (int i = 0; i < bound->nxip && bound->xip[i] <= max_xid && !needed; i++)
			needed = EdaLogHasXid(rel, bound->xip[i]);
		if (needed)
			ids = lappend_int(ids, cursor->subscription_id);
	}
	table_close(rel, NoLock);
	return ids;
}

/* The segments that are due, ascending: of EdaSegment *. */
static List *
find_due(EdaSegment *list, int n)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		total = 0;
	List	   *due = NIL;

	if (eda_retention_size >= 0)
	{
		for (int i = 0; i < n; i++)
		{
			if (EdaSegmentIsLive(&list[i]))
				total += Max(EdaSegmentSize(&list[i]), 0);
		}
	}
	for (int i = 0; i < n; i++)
	{
		if (list[i].state != EDA_SEGMENT_SEALED)
			continue;
		if (eda_retention == 0 ||
			now - list[i].sealed_at >= (int64) eda_retention * USECS_PER_SEC ||
			(eda_retention_size >= 0 && total > (int64) eda_retention_size * 1024 * 1024))
		{
			due = lappend(due, &list[i]);
			if (eda_retention_size >= 0)
				total -= Max(EdaSegmentSize(&list[i]), 0);
		}
	}
	return due;
}

/* Let idle cursors follow the log, if it is time or a segment has become due. */
static void
advance(bool forced)
{
	EdaSegment *list;
	int			n;
	List	   *due;
	int32		highest = 0;
	TimestampTz now = GetCurrentTimestamp();

	EdaTransactionBegin();
	n = EdaSegments(&list);
	due = find_due(list, n);
	if (due != NIL)
		highest = ((EdaSegment *) llast(due))->number;
	EdaTransactionCommit();

	if (!forced && highest <= advanced_for && now >= advanced_at &&
		!TimestampDifferenceExceeds(advanced_at, now, ADVANCE_INTERVAL_MS))
		return;
	EdaAdvanceCursors();
	advanced_at = now;
	advanced_for = highest;
}

/* This subscription keeps a due segment. */
static void
note_pin(int32 subscription_id, int64 bytes)
{
	bool		found;
	Pin		   *pin = hash_search(pins, &subscription_id, HASH_ENTER, &found);

	if (!found)
	{
		pin->bytes = 0;
		pin->told = 0;
		pin->since = EdaMonotonicNow();
	}
	pin->bytes += bytes;
}

static void
retire(void)
{
	EdaSegment *list;
	int			n;
	List	   *due;
	List	   *cursors;
	ListCell   *lc;
	HASH_SEQ_STATUS status;
	Pin		   *pin;

	EdaTransactionBegin();
	n = EdaSegments(&list);
	due = find_due(list, n);
	if (due != NIL &&
		(!EdaLogTryExclude() ||
		 !ConditionalLockRelationOid(EdaRelationId("segment"), RowExclusiveLock) ||
		 /* who rewrites that table leaves it empty for an older snapshot */
		 !ConditionalLockRelationOid(EdaCursorRelId(), AccessShareLock)))
	{
		EdaTransactionCommit();
		return;
	}

	hash_seq_init(&status, pins);
	while ((pin = hash_seq_search(&status)) != NULL)
		pin->bytes = 0;

	/* as of now that nobody puts a cursor anywhere */
	PushActiveSnapshot(GetLatestSnapshot());
	cursors = due == NIL ? NIL : EdaCursorLoadEvery();
	foreach(lc, due)
	{
		EdaSegment *segment = lfirst(lc);
		int64		size = EdaSegmentSize(segment);
		List	   *needed_by;
		ListCell   *other;

		if (size < 0)
			continue;
		needed_by = EdaSegmentNeededBy(segment, cursors);
		if (needed_by == NIL)
			EdaSegmentRetire(segment);
		foreach(other, needed_by)
			note_pin(lfirst_int(other), size);
	}
	PopActiveSnapshot();
	EdaTransactionCommit();
}

/*
 * Truncation
 */

static bool
is_in(VirtualTransactionId vxid, const VirtualTransactionId *vxids, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (VirtualTransactionIdEquals(vxid, vxids[i]))
			return true;
	}
	return false;
}

/* The server's directory of exported snapshots (snapmgr.c does not export its name). */
#define EXPORT_DIR	"pg_snapshots"

/*
 * Can somebody have imported a snapshot since the last look, or still?  There is a file for each
 * one that is exported, until the transaction that did it ends.  now: before the transactions
 * were looked at.
 */
static bool
was_exported(Witnesses *w, time_t now)
{
	struct stat st;
	bool		result;

	if (stat(EXPORT_DIR, &st) < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat directory \"%s\": %m", EXPORT_DIR)));
	/* what has the second of the last look, or the one before, may have happened after it */
	result = st.st_mtime != w->exports_changed || st.st_mtime >= w->looked_at - 1 ||
		!directory_is_empty(EXPORT_DIR);
	w->looked_at = now;
	w->exports_changed = st.st_mtime;
	return result;
}

/* Does a standby say, without a slot, that it has a snapshot as old? */
static bool
standby_has_older(TransactionId limit)
{
	for (int i = 0; i < max_wal_senders; i++)
	{
		/*
		 * an int that is read without the spinlock: at worst a standby is missed that has not
		 * reported yet
		 */
		PGPROC	   *proc = BackendPidGetProc(WalSndCtl->walsnds[i].pid);
		TransactionId xmin = proc == NULL ? InvalidTransactionId : proc->xmin;

		/* one with a database is a backend like any other */
		if (TransactionIdIsValid(xmin) && !OidIsValid(proc->databaseId) &&
			TransactionIdPrecedesOrEquals(xmin, limit))
			return true;
	}
	return false;
}

/* Note them all, instead of those that were noted before. */
static void
note_witnesses(Witnesses *w, const VirtualTransactionId *vxids, int n)
{
	if (w->vxids != NULL)
		pfree(w->vxids);
	w->vxids = NULL;
	w->n = 0;
	w->vxids = MemoryContextAlloc(TopMemoryContext, sizeof(VirtualTransactionId) * Max(n, 1));
	memcpy(w->vxids, vxids, sizeof(VirtualTransactionId) * n);
	w->n = n;
}

/* Is no snapshot left for which this retired segment is part of the log? */
static bool
is_forgotten(const EdaSegment *segment)
{
	Witnesses  *w = &witnesses[segment->slot];
	TransactionId retired = (TransactionId) segment->retired_xid;
	TransactionId limit = retired;
	TransactionId slot_xmin;
	TransactionId catalog_xmin;
	VirtualTransactionId *vxids;
	time_t		now;
	bool		exported;
	int			n;

	/* too long ago to be compared: whoever has a snapshot */
	if (U64FromFullTransactionId(ReadNextFullTransactionId()) - segment->retired_xid > PG_INT32_MAX / 2)
		limit = InvalidTransactionId;

	/* in this order: who ended in between was seen, and so is what he exported */
	now = time(NULL);
	vxids = GetCurrentVirtualXIDs(limit, true, false, 0, &n);
	exported = was_exported(w, now);
	if (w->number != segment->number || (exported && w->n > 0))
	{
		note_witnesses(w, vxids, n);
		w->number = segment->number;
	}
	else
	{
		int			left = 0;

		for (int i = 0; i < w->n; i++)
		{
			if (is_in(w->vxids[i], vxids, n))
				w->vxids[left++] = w->vxids[i];
		}
		w->n = left;
	}
	pfree(vxids);
	if (w->n > 0)
		return false;

	if (!TransactionIdIsValid(limit))
		return true;
	ProcArrayGetReplicationSlotXmin(&slot_xmin, &catalog_xmin);
	if (TransactionIdIsValid(slot_xmin) && TransactionIdPrecedesOrEquals(slot_xmin, retired))
		return false;
	return !standby_has_older(retired);
}

/* Each in a transaction of its own: its lock keeps others waiting. */
static void
truncate_retired(void)
{
	EdaSegment *list;
	EdaSegment *copy;
	int			n;

	EdaTransactionBegin();
	n = EdaSegments(&list);
	copy = MemoryContextAlloc(TopMemoryContext, sizeof(EdaSegment) * Max(n, 1));
	memcpy(copy, list, sizeof(EdaSegment) * n);
	EdaTransactionCommit();

	for (int i = 0; i < n; i++)
	{
		if (copy[i].state != EDA_SEGMENT_RETIRED || copy[i].slot > EDA_MAX_SEGMENTS ||
			!is_forgotten(&copy[i]))
			continue;
		EdaTransactionBegin();
		(void) EdaSegmentTruncate(&copy[i]);
		EdaTransactionCommit();
	}
	pfree(copy);
}

/*
 * Telling
 */

/* Publish eda.log.pinned. */
static void
publish_pinned(int32 subscription_id, int64 bytes)
{
	static const Oid types[] = {INT4OID, INT8OID};
	MemoryContext caller;
	EdaSecurityContext ctx;
	Datum		values[2];
	Jsonb	   *payload = NULL;
	char	   *name = NULL;

	EdaTransactionBegin();
	caller = CurrentMemoryContext;
	values[0] = Int32GetDatum(subscription_id);
	values[1] = Int64GetDatum(bytes);
	EdaSpiBegin(&ctx);
	if (EdaSpiQuery("SELECT pg_catalog.jsonb_build_object('subscription', s.name, 'bytes', $2), s.name"
					" FROM eda.subscription s WHERE s.subscription_id = $1",
					2, types, values, NULL, GetActiveSnapshot()) > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(caller);
		bool		isnull;

		payload = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
												   1, &isnull));
		name = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
		MemoryContextSwitchTo(old);
	}
	EdaSpiEnd(&ctx);
	if (payload != NULL)
		EdaPublishInternal("eda.log.pinned", payload, name, NULL, 0);
	EdaTransactionCommit();
}

static void
tell_of_pins(void)
{
	HASH_SEQ_STATUS status;
	Pin		   *pin;
	TimestampTz now = EdaMonotonicNow();
	List	   *telling = NIL;	/* ids: a scan ends with its transaction */
	ListCell   *lc;

	hash_seq_init(&status, pins);
	while ((pin = hash_seq_search(&status)) != NULL)
	{
		if (pin->bytes == 0)
			hash_search(pins, &pin->subscription_id, HASH_REMOVE, NULL);
		else if (TimestampDifferenceExceeds(pin->since, now, eda_poll_interval) &&
				 (pin->told == 0 || pin->bytes / 2 >= pin->told))
			telling = lappend_int(telling, pin->subscription_id);
	}
	foreach(lc, telling)
	{
		int32		id = lfirst_int(lc);

		pin = hash_search(pins, &id, HASH_FIND, NULL);
		pin->told = pin->bytes;
		publish_pinned(id, pin->bytes);
	}
	list_free(telling);
}

bool
EdaLogIsWatched(void)
{
	if (pins != NULL && hash_get_num_entries(pins) > 0)
		return true;
	for (int i = 0; i < lengthof(witnesses); i++)
	{
		if (witnesses[i].n > 0)
			return true;
	}
	return false;
}

bool
EdaLogLife(EdaDatabase *db)
{
	volatile uint32 asked = pg_atomic_read_u32(&db->rotations_asked);
	volatile bool forced = asked != pg_atomic_read_u32(&db->rotations_done);
	volatile bool rotated = false;
	volatile bool failed = false;

	if (pins == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(int32);
		ctl.entrysize = sizeof(Pin);
		pins = hash_create("eda pins", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}

	PG_TRY();
	{
		EdaSegmentForget();
		rotated = rotate(forced);
		seal();
		advance(forced);
		retire();
		truncate_retired();
		tell_of_pins();
	}
	PG_CATCH();
	{
		/* events are delivered all the same */
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(TopMemoryContext);
		EmitErrorReport();
		AbortOutOfAnyTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
		failed = true;
	}
	PG_END_TRY();

	if (failed)
		return false;
	if (!rotated)
		return true;
	if (forced)
	{
		pg_atomic_write_u32(&db->rotations_done, asked);
		EdaSignalProgress(db);
	}
	return false;
}

/* However the wait ends, a FATAL included. */
static void
stop_waiting(int code, Datum db)
{
	ConditionVariableCancelSleep();
	pg_atomic_fetch_sub_u32(&((EdaDatabase *) DatumGetPointer(db))->waiters, 1);
}

/* Have the dispatcher do it, and wait until it has. */
static void
ask_for_rotation(EdaDatabase *db)
{
	uint32		ticket = pg_atomic_add_fetch_u32(&db->rotations_asked, 1);
	TimestampTz deadline = EdaMonotonicAfter(ROTATE_TIMEOUT_MS);

	ConditionVariablePrepareToSleep(&db->progress);
	EdaWakeDispatcher(db, EDA_WAKE_LOG);
	while ((int32) (pg_atomic_read_u32(&db->rotations_done) - ticket) < 0)
	{
		TimestampTz now = EdaMonotonicNow();

		if (now >= deadline)
			ereport(ERROR,
					(errcode(ERRCODE_EDA_WAIT_TIMEOUT),
					 errmsg("eda.rotate_log() timed out"),
					 errdetail("This database's dispatcher has not closed the segment within %d seconds.",
							   ROTATE_TIMEOUT_MS / 1000),
					 errhint("eda.workers shows whether it runs; somebody may hold a lock on the event log.")));
		(void) ConditionVariableTimedSleep(&db->progress,
										   TimestampDifferenceMilliseconds(now, deadline),
										   PG_WAIT_EXTENSION);
	}
}

/*
 * eda.rotate_log() returns int: the number of the current segment.  The
 * dispatcher does the work, in transactions of its own: in the caller's, the
 * list's lock would keep publishers waiting until that is over.
 */
Datum
eda_rotate_log(PG_FUNCTION_ARGS)
{
	EdaDatabase *db;
	EdaSegment *list;
	int			n;

	PreventCommandIfReadOnly("eda.rotate_log()");
	PreventCommandIfParallelMode("eda.rotate_log()");
	PreventCommandDuringRecovery("eda.rotate_log()");
	db = EdaMyDatabase(true);
	if (db == NULL || !eda_enabled)
		ereport(ERROR,
				(errcode(ERRCODE_EDA_NOT_DELIVERING),
				 errmsg("the event log cannot be rotated without this database's dispatcher"),
				 db == NULL && EdaIsPreloaded() ? EdaSlotHint() :
				 db == NULL ?
				 errhint("Add eda to shared_preload_libraries and restart the server.") :
				 errhint("It runs where eda.enabled is on.")));

	pg_atomic_fetch_add_u32(&db->waiters, 1);
	PG_ENSURE_ERROR_CLEANUP(stop_waiting, PointerGetDatum(db));
	{
		ask_for_rotation(db);
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_waiting, PointerGetDatum(db));
	stop_waiting(0, PointerGetDatum(db));

	n = EdaSegments(&list);
	for (int i = 0; i < n; i++)
	{
		if (list[i].state == EDA_SEGMENT_OPEN)
			PG_RETURN_INT32(list[i].number);
	}
	PG_RETURN_NULL();
}
