/*-------------------------------------------------------------------------
 *
 * publish/delay.c
 *	  Delayed events: kept until they are due, then put into the log.
 *
 *	1. An event that is published for later gets its id at once and waits as a
 *	   whole row in eda.delayed_event, written in the publisher's transaction: it is
 *	   rolled back with it.  Nothing matches it against subscriptions until it is due.
 *	2. The dispatcher moves what is due into the log, in transactions of at
 *	   most BATCH events, in the order of (deliver_at, id).  From there it is an event like any
 *	   other: whoever is subscribed as the move commits gets it, and the cursors,
 *	   which go by transaction and not by id, need not know.  It keeps its id,
 *	   its time and role of publishing; deliver_at goes along, as expiry counts from it.
 *	   Events that are moved together run in the order of their ids, like all that share a window.
 *	3. eda.cancel() deletes the row while it is not due.  The row's lock
 *	   decides between cancel and move.  The dispatcher skips locked rows, as
 *	   it waits for nobody, and looks again after RETRY_MS, doubling up to
 *	   MAX_RETRY_MS: the cancel may be rolled back.
 *	4. The dispatcher sleeps until the earliest due time.  It has that in
 *	   EdaDatabase.delayed_due, where a publisher compares at commit and wakes it
 *	   only for an earlier one.  Before it looks, it makes that EDA_DELAYED_UNKNOWN, with
 *	   a full barrier before its snapshot: a publisher that it does not see has
 *	   not committed yet, and will read either that, or what was found without it.
 *	5. Due times go by the system's clock.  Where that is set forward, the
 *	   dispatcher notices with its next poll; where it is set back, events wait
 *	   until it has come that far again.
 *	6. An error while moving is logged and leaves everything as it was; delivery of what is in
 *	   the log goes on, and the move is tried again after ERROR_MS.
 *
 * Locks: eda.delayed_event in RowExclusiveLock, then the segment of the log.  The
 * dispatcher's state here is local to its process.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/publish/delay.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/args.h"
#include "base/at_commit.h"
#include "base/catalog.h"
#include "base/clock.h"
#include "base/security.h"
#include "base/transaction.h"
#include "log/log.h"
#include "publish/audience.h"
#include "publish/delay.h"
#include "subscription/subscription.h"

PG_FUNCTION_INFO_V1(eda_cancel);

/* Events that one transaction moves. */
#define BATCH			1000

/* Due rows that somebody has locked are looked at again after this long, in ms. */
#define RETRY_MS		50
#define MAX_RETRY_MS	1000

/* And after an error. */
#define ERROR_MS		5000

/* The dispatcher's: when there is something to do. */
static TimestampTz next_due = DT_NOEND; /* by the system's clock */
static TimestampTz look_again_at = 0;	/* by the monotonic clock; 0: not for this reason */
static int	times_locked = 0;	/* looks in a row that found only locked rows */

/* Columns of eda.delayed_event as a statement here returns them. */
#define EVENT_COLUMNS \
	"d.event_id, d.deliver_at, d.topic, d.key, d.payload, d.headers, d.published_at," \
	" d.published_by, d.correlation_id, d.causation_id, d.hops"

/* An event from such a row; it points to the row's data. */
static void
row_to_event(HeapTuple tuple, TupleDesc desc, EdaEvent *ev)
{
	Datum		values[11];
	bool		nulls[11];

#define VARLENA(i) (nulls[i] ? NULL : (struct varlena *) DatumGetPointer(values[i]))

	heap_deform_tuple(tuple, desc, values, nulls);
	memset(ev, 0, sizeof(*ev));
	ev->id = DatumGetInt64(values[0]);
	ev->deliver_at = DatumGetTimestampTz(values[1]);
	ev->topic = pg_detoast_datum_packed(VARLENA(2));
	ev->key = nulls[3] ? NULL : pg_detoast_datum_packed(VARLENA(3));
	ev->payload = VARLENA(4);
	ev->headers = VARLENA(5);
	ev->published_at = DatumGetTimestampTz(values[6]);
	ev->published_by = DatumGetObjectId(values[7]);
	ev->correlation_id = VARLENA(8);
	ev->causation_id = nulls[9] ? 0 : DatumGetInt64(values[9]);
	ev->hops = DatumGetInt32(values[10]);

#undef VARLENA
}

void
EdaDelayEvent(EdaEvent *ev, struct varlena *idempotency_key)
{
	static const Oid types[] = {
		INT8OID, XID8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, JSONBOID, JSONBOID,
		TIMESTAMPTZOID, OIDOID, TEXTOID, INT8OID, INT4OID, TEXTOID
	};
	EdaSecurityContext ctx;
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types)];

	EdaSpiBegin(&ctx);

	/* as EdaLogLock(): from here on the extension can't be dropped and made anew */
	(void) RangeVarGetRelid(makeRangeVar(EDA_SCHEMA_NAME, "delayed_event", -1),
							RowExclusiveLock, false);
	EdaTakeIds(&ev->id, 1);
	ev->published_at = GetCurrentTimestamp();

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(ev->id);
	values[1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[2] = TimestampTzGetDatum(ev->deliver_at);
	values[3] = PointerGetDatum(ev->topic);
	values[4] = PointerGetDatum(ev->key);
	nulls[4] = ev->key == NULL ? 'n' : ' ';
	values[5] = PointerGetDatum(ev->payload);
	values[6] = PointerGetDatum(ev->headers);
	nulls[6] = ev->headers == NULL ? 'n' : ' ';
	values[7] = TimestampTzGetDatum(ev->published_at);
	values[8] = ObjectIdGetDatum(ev->published_by);
	values[9] = PointerGetDatum(ev->correlation_id);
	nulls[9] = ev->correlation_id == NULL ? 'n' : ' ';
	values[10] = Int64GetDatum(ev->causation_id);
	nulls[10] = ev->causation_id == 0 ? 'n' : ' ';
	values[11] = Int32GetDatum(ev->hops);
	values[12] = PointerGetDatum(idempotency_key);
	nulls[12] = idempotency_key == NULL ? 'n' : ' ';
	EdaSpiExecute("INSERT INTO eda.delayed_event (event_id, xid, deliver_at, topic, key, payload,"
				  " headers, published_at, published_by, correlation_id, causation_id, hops,"
				  " idempotency_key)"
				  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
				  lengthof(types), types, values, nulls, SPI_OK_INSERT);
	EdaSpiEnd(&ctx);

	EdaDelayedAtCommit(ev->deliver_at);
}

/*
 * Move up to BATCH events that are due at `now` into the log, in this transaction; returns how
 * many.
 */
static uint64
move_due(TimestampTz now)
{
	static const Oid types[] = {TIMESTAMPTZOID, INT4OID};
	EdaSecurityContext ctx;
	Datum		values[2];
	uint64		n;

	values[0] = TimestampTzGetDatum(now);
	values[1] = Int32GetDatum(BATCH);
	EdaSpiBegin(&ctx);
	n = EdaSpiExecute("WITH due AS MATERIALIZED ("
					  "SELECT o.event_id FROM eda.delayed_event o"
					  " WHERE o.deliver_at <= $1"
					  " ORDER BY o.deliver_at, o.event_id LIMIT $2"
					  " FOR UPDATE SKIP LOCKED)"
					  " DELETE FROM eda.delayed_event d USING due"
					  " WHERE d.event_id = due.event_id"
					  " RETURNING " EVENT_COLUMNS,
					  2, types, values, NULL, SPI_OK_DELETE_RETURNING);
	if (n > 0)
	{
		EdaEvent   *events = palloc(n * sizeof(EdaEvent));

		for (uint64 i = 0; i < n; i++)
		{
			row_to_event(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &events[i]);
			EdaAudienceOfTopic(VARDATA_ANY(events[i].topic), VARSIZE_ANY_EXHDR(events[i].topic));
			EdaAudienceOfEvents(&events[i], 1);
		}
		EdaLogAppend(events, (int) n);
	}
	EdaSpiEnd(&ctx);
	return n;
}

/* When is the next event due that was not at `now`?  DT_NOEND: none.  *left: some are that were. */
static TimestampTz
find_next_due(TimestampTz now, bool *left)
{
	static const Oid types[] = {TIMESTAMPTZOID};
	EdaSecurityContext ctx;
	Datum		values[1];
	TimestampTz next;
	bool		isnull;
	Datum		value;

	values[0] = TimestampTzGetDatum(now);
	EdaSpiBegin(&ctx);
	EdaSpiExecute("SELECT (SELECT min(deliver_at) FROM eda.delayed_event) <= $1,"
				  " (SELECT min(deliver_at) FROM eda.delayed_event WHERE deliver_at > $1)",
				  1, types, values, NULL, SPI_OK_SELECT);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	*left = !isnull && DatumGetBool(value);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
	next = isnull ? DT_NOEND : DatumGetTimestampTz(value);
	EdaSpiEnd(&ctx);
	return next;
}

/* One transaction of the dispatcher's. */
static void
serve(EdaDatabase *db)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = DT_NOEND;
	uint64		moved = 0;
	bool		left = false;

	EdaTransactionBegin();
	if (EdaExtensionExists())
	{
		moved = move_due(now);
		next = find_next_due(now, &left);
	}
	EdaTransactionCommit();

	next_due = next;
	if (!left)
	{
		look_again_at = 0;
		times_locked = 0;
	}
	else if (moved == BATCH)
		look_again_at = EdaMonotonicNow();	/* there are more */
	else
	{
		look_again_at = EdaMonotonicAfter(Min(RETRY_MS << Min(times_locked, 10), MAX_RETRY_MS));
		times_locked++;
	}
	pg_atomic_write_u64(&db->delayed_due, (uint64) next);

	/* who waits for them can look for them in the log now */
	if (moved > 0)
		EdaSignalProgress(db);
}

void
EdaDelayServe(EdaDatabase *db, bool look)
{
	if (!look && next_due > GetCurrentTimestamp() &&
		(look_again_at == 0 || look_again_at > EdaMonotonicNow()))
		return;

	pg_atomic_write_u64(&db->delayed_due, EDA_DELAYED_UNKNOWN);
	pg_memory_barrier();

	PG_TRY();
	{
		serve(db);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(TopMemoryContext);
		HOLD_INTERRUPTS();
		errcontext("moving delayed events into the log");
		EmitErrorReport();
		AbortOutOfAnyTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
		MemoryContextSwitchTo(TopMemoryContext);
		next_due = DT_NOEND;
		look_again_at = EdaMonotonicAfter(ERROR_MS);
	}
	PG_END_TRY();
}

long
EdaDelaySleep(void)
{
	long		ms = -1;

	if (look_again_at != 0)
		ms = TimestampDifferenceMilliseconds(EdaMonotonicNow(), look_again_at);
	if (next_due != DT_NOEND)
	{
		long		due_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next_due);

		ms = ms < 0 ? due_ms : Min(ms, due_ms);
	}
	return ms;
}

TimestampTz
EdaDelayNextDue(void)
{
	if (look_again_at == 0)
		return next_due;
	return Min(next_due, GetCurrentTimestamp() + Max(look_again_at - EdaMonotonicNow(), 0));
}

void
EdaDelayServeHere(void)
{
	TimestampTz now = GetCurrentTimestamp();

	while (move_due(now) == BATCH)
		CHECK_FOR_INTERRUPTS();
}

EdaEvent *
EdaDelayFind(int64 id, Snapshot snapshot)
{
	EdaEvent   *ev = EdaEventFind("SELECT " EVENT_COLUMNS " FROM eda.delayed_event d WHERE d.event_id = $1",
								  id, snapshot, row_to_event);

	/* its transaction is yet to come */
	if (ev != NULL)
		ev->xid = PG_UINT64_MAX;
	return ev;
}

/* The first one that is due then, of this transaction's own or of all others. */
static int64
find_due(TimestampTz at, bool own)
{
	static const Oid types[] = {TIMESTAMPTZOID, BOOLOID};
	EdaSecurityContext ctx;
	Datum		values[2];
	int64		found = 0;

	values[0] = TimestampTzGetDatum(at);
	values[1] = BoolGetDatum(own);
	EdaSpiBegin(&ctx);
	if (EdaSpiQuery("SELECT event_id FROM eda.delayed_event WHERE deliver_at <= $1"
					" AND (xid IS NOT DISTINCT FROM pg_current_xact_id_if_assigned()) = $2"
					" ORDER BY deliver_at, event_id LIMIT 1",
					2, types, values, NULL, GetActiveSnapshot()) > 0)
	{
		bool		isnull;

		found = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
											SPI_tuptable->tupdesc, 1, &isnull));
	}
	EdaSpiEnd(&ctx);
	return found;
}

int64
EdaDelayFindDue(TimestampTz at)
{
	return find_due(at, false);
}

int64
EdaDelayFindOwnDue(TimestampTz at)
{
	return find_due(at, true);
}

/* ERROR unless the current user may cancel what that role has published. */
static void
check_may_cancel(int64 id, Oid published_by)
{
	char	   *publisher;

	if (has_privs_of_role(GetUserId(), published_by) ||
		has_privs_of_role(GetUserId(), EdaExtensionOwner()))
		return;

	publisher = GetUserNameFromId(published_by, true);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to cancel event %lld", (long long) id),
			 publisher != NULL ?
			 errdetail("It was published by role \"%s\".", publisher) :
			 errdetail("It was published by the role with oid %u, which does not exist any more.",
					   published_by),
			 errhint("Members of that role and of the extension's owner may cancel it.")));
}

/*
 * eda.cancel(event_id bigint) RETURNS boolean.  Whether it is due is
 * decided when the call begins: one that waits for another cancel of the same event, which is
 * rolled back, still takes it away, if the dispatcher was not quicker.
 */
Datum
eda_cancel(PG_FUNCTION_ARGS)
{
	static const Oid read_types[] = {INT8OID, TIMESTAMPTZOID};
	static const Oid forget_types[] = {TEXTOID, TEXTOID, INT8OID};
	EdaSecurityContext ctx;
	Datum		values[3];
	Oid			published_by = InvalidOid;
	bool		found;
	bool		isnull;

	EdaRequireArg(fcinfo, 0, "event_id");
	PreventCommandIfReadOnly("eda.cancel()");
	PreventCommandIfParallelMode("eda.cancel()");
	PreventCommandDuringRecovery("eda.cancel()");

	values[0] = PG_GETARG_DATUM(0);
	values[1] = TimestampTzGetDatum(GetCurrentTimestamp());

	/* nobody without the right to cancel it may lock it */
	EdaSpiBegin(&ctx);
	found = EdaSpiExecute("SELECT published_by FROM eda.delayed_event"
						  " WHERE event_id = $1 AND deliver_at > $2",
						  2, read_types, values, NULL, SPI_OK_SELECT) > 0;
	if (found)
		published_by = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0],
													  SPI_tuptable->tupdesc, 1, &isnull));
	EdaSpiEnd(&ctx);
	if (!found)
		PG_RETURN_BOOL(false);
	check_may_cancel(PG_GETARG_INT64(0), published_by);

	EdaSpiBegin(&ctx);
	found = EdaSpiExecute("DELETE FROM eda.delayed_event"
						  " WHERE event_id = $1 AND deliver_at > $2"
						  " RETURNING topic, idempotency_key",
						  2, read_types, values, NULL, SPI_OK_DELETE_RETURNING) > 0;
	if (found)
	{
		values[0] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		values[1] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
		values[2] = PG_GETARG_DATUM(0);
		if (!isnull)
			EdaSpiExecute("DELETE FROM eda.idempotency"
						  " WHERE topic = $1 AND idempotency_key = $2 AND event_id = $3",
						  3, forget_types, values, NULL, SPI_OK_DELETE);
	}
	EdaSpiEnd(&ctx);
	PG_RETURN_BOOL(found);
}
