/*-------------------------------------------------------------------------
 *
 * operate/trace.c
 *	  One event, by its id: what it is (eda.event), and where it stands
 *	  (eda.trace).
 *
 *	1. An event is looked for in the log, among the delayed ones, those that wait for a retry and
 *	   the dead letters, each by an index.
 *	2. It concerns who published it, who has a subscription to its topic or that keeps a copy of
 *	   it, and who sees every payload.  To everybody else an event that is there looks like one
 *	   that is not.
 *	3. Where an event stands is worked out when somebody asks: what eda.retry, eda.dead_letter and
 *	   eda.recovery have of it, and else whether the cursor of its lane has passed it.  The cursor
 *	   is read first, the rest with a later snapshot: an event that fails meanwhile must not look
 *	   handled.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/operate/trace.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "base/args.h"
#include "base/condition.h"
#include "base/security.h"
#include "base/visible.h"
#include "log/log.h"
#include "publish/publish.h"
#include "subscription/subscription.h"

PG_FUNCTION_INFO_V1(eda_event_by_id);
PG_FUNCTION_INFO_V1(eda_trace);

/* The event, in the log or not due yet; NULL: it is in neither. */
static EdaEvent *
find_event(int64 id, Snapshot snapshot, bool *delayed)
{
	EdaEvent   *ev = EdaLogFindById(id, snapshot);

	*delayed = false;
	if (ev == NULL)
	{
		ev = EdaDelayFind(id, snapshot);
		*delayed = ev != NULL;
	}
	return ev;
}

/*
 * eda.event
 */

static struct varlena *
get_varlena(HeapTuple tuple, TupleDesc desc, int attnum)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, attnum, &isnull);

	return isnull ? NULL : (struct varlena *) DatumGetPointer(value);
}

/* Of a row of copied_event(). */
static void
copied_row(HeapTuple tuple, TupleDesc desc, EdaEvent *ev)
{
	bool		isnull;

	memset(ev, 0, sizeof(EdaEvent));
	ev->id = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
	ev->topic = get_varlena(tuple, desc, 2);
	ev->key = get_varlena(tuple, desc, 3);
	ev->payload = get_varlena(tuple, desc, 4);
	ev->headers = get_varlena(tuple, desc, 5);
	ev->published_at = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 6, &isnull));
	ev->published_by = DatumGetObjectId(SPI_getbinval(tuple, desc, 7, &isnull));
	ev->correlation_id = get_varlena(tuple, desc, 8);
	ev->causation_id = DatumGetInt64(SPI_getbinval(tuple, desc, 9, &isnull));
	if (isnull)
		ev->causation_id = 0;
	ev->hops = DatumGetInt32(SPI_getbinval(tuple, desc, 10, &isnull));
}

/*
 * The copy that one of the subscriptions that the current user may read keeps of it; NULL: none
 * does.
 */
static EdaEvent *
copied_event(int64 id, List *subs, Snapshot snapshot)
{
	static const Oid types[] = {INT8OID, INT4OID};
	MemoryContext caller = CurrentMemoryContext;
	EdaEvent   *result = NULL;
	EdaSecurityContext ctx;
	List	   *mine = NIL;
	ListCell   *lc;

	foreach(lc, subs)
	{
		if (EdaMayRead(((EdaSubscription *) lfirst(lc))->owner))
			mine = lappend(mine, lfirst(lc));
	}
	EdaSpiBegin(&ctx);
	EdaSpiPreferIndexes();
	foreach(lc, mine)
	{
		Datum		values[2];

		values[0] = Int64GetDatum(id);
		values[1] = Int32GetDatum(((EdaSubscription *) lfirst(lc))->id);
		if (EdaSpiQuery("SELECT event_id, topic, key, payload, headers, published_at, published_by,"
						" correlation_id, causation_id, hops FROM eda.retry"
						" WHERE subscription_id = $2 AND event_id = $1"
						" UNION ALL SELECT event_id, topic, key, payload, headers, published_at, published_by,"
						" correlation_id, causation_id, hops FROM eda.dead_letter"
						" WHERE subscription_id = $2 AND event_id = $1 LIMIT 1",
						2, types, values, NULL, snapshot) > 0)
		{
			EdaEvent	ev;
			MemoryContext spi;

			copied_row(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, &ev);
			spi = MemoryContextSwitchTo(caller);
			result = EdaEventCopy(&ev);
			MemoryContextSwitchTo(spi);
			break;
		}
	}
	EdaSpiEnd(&ctx);
	return result;
}

/* Does it concern the current user, payload and all?  As view eda.events has it. */
static bool
may_read_event(const EdaEvent *ev, List *subs)
{
	text	   *topic = (text *) PG_DETOAST_DATUM_PACKED(PointerGetDatum(ev->topic));
	ListCell   *lc;

	if (EdaMayRead(ev->published_by))
		return true;
	foreach(lc, subs)
	{
		const EdaSubscription *sub = lfirst(lc);

		if (has_privs_of_role(GetUserId(), sub->owner) &&
			EdaTopicPatternMatch(sub->pattern, VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic)))
			return true;
	}
	return false;
}

/*
 * eda.event(event_id): NULL where there is none, or none that concerns the current user.
 */
Datum
eda_event_by_id(PG_FUNCTION_ARGS)
{
	Snapshot	snapshot = GetActiveSnapshot();
	bool		delayed;
	EdaEvent   *ev;
	List	   *subs;

	EdaRequireArg(fcinfo, 0, "event_id");
	ev = find_event(PG_GETARG_INT64(0), snapshot, &delayed);
	subs = EdaSubscriptionLoadAll();
	/* who will be subscribed when a delayed one is due is not known yet */
	if (ev == NULL || !may_read_event(ev, delayed ? NIL : subs))
		ev = copied_event(PG_GETARG_INT64(0), subs, snapshot);
	if (ev == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(EdaEventToDatum(ev));
}

/*
 * eda.trace
 */

/* Columns of eda.trace. */
enum
{
	TRACE_SUBSCRIPTION,
	TRACE_STATE,
	TRACE_ATTEMPT,
	TRACE_AT,
	TRACE_ERROR,
	TRACE_NCOLUMNS
};

/* A row of it, and what else a subscription keeps of an event outside of the log. */
typedef struct Trace
{
	Datum		values[TRACE_NCOLUMNS];
	bool		nulls[TRACE_NCOLUMNS];
	bool		known;			/* it waits, is dead, or was handled after a failure */
	EdaSnapshot *start;			/* what the subscription saw when it began; NULL: nothing */
} Trace;

static void
set_column(Trace *trace, int column, Datum value)
{
	trace->values[column] = value;
	trace->nulls[column] = false;
}

/*
 * Fills in what eda.retry, eda.dead_letter and eda.recovery know.  Between EdaSpiBegin and
 * EdaSpiEnd.
 */
static void
look_up_failure(const EdaSubscription *sub, int64 event_id, bool may_read, Trace *trace)
{
	static const Oid types[] = {INT4OID, INT8OID};
	Datum		values[2];
	HeapTuple	tup;
	TupleDesc	desc;
	bool		isnull;
	Datum		value;

	memset(trace, 0, sizeof(Trace));
	memset(trace->nulls, true, sizeof(trace->nulls));
	set_column(trace, TRACE_SUBSCRIPTION, CStringGetTextDatum(sub->name));

	values[0] = Int32GetDatum(sub->id);
	values[1] = Int64GetDatum(event_id);
	if (EdaSpiQuery("SELECT NULL, CASE WHEN d.event_id IS NOT NULL THEN 'dead'"
					" WHEN r.deliveries > 0 THEN 'retrying'"
					" WHEN r.event_id IS NOT NULL THEN 'pending'"
					" WHEN h.event_id IS NOT NULL THEN 'handled' END,"
					" coalesce(d.attempts, CASE WHEN r.deliveries > 0 THEN r.attempt END,"
					" CASE WHEN r.event_id IS NULL THEN h.attempt END),"
					" coalesce(d.died_at, r.next_attempt_at, CASE WHEN r.event_id IS NULL THEN h.handled_at END),"
					" CASE WHEN d.event_id IS NOT NULL THEN d.error_message ELSE r.error_message END,"
					" CASE WHEN d.event_id IS NOT NULL THEN d.error_code ELSE r.error_code END,"
					" CASE WHEN d.event_id IS NOT NULL THEN d.error_context ELSE r.error_context END,"
					" s.start_snapshot"
					" FROM eda.subscription s"
					" LEFT JOIN eda.retry r ON r.subscription_id = s.subscription_id"
					" AND r.event_id = $2"
					" LEFT JOIN eda.dead_letter d ON d.subscription_id = s.subscription_id"
					" AND d.event_id = $2"
					" LEFT JOIN eda.recovery h ON h.subscription_id = s.subscription_id"
					" AND h.event_id = $2"
					" WHERE s.subscription_id = $1",
					2, types, values, NULL, GetActiveSnapshot()) != 1)
		return;
	tup = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	for (int i = TRACE_STATE; i < TRACE_NCOLUMNS; i++)
		trace->values[i] = SPI_getbinval(tup, desc, i + 1, &trace->nulls[i]);
	trace->known = !trace->nulls[TRACE_STATE];
	if (!trace->nulls[TRACE_ERROR] && !may_read)
	{
		char	   *code = SPI_getvalue(tup, desc, TRACE_NCOLUMNS + 1);
		char	   *where = EdaErrorWhere(SPI_getvalue(tup, desc, TRACE_NCOLUMNS + 2));

		trace->values[TRACE_ERROR] = CStringGetTextDatum(EdaConditionText(code, where));
	}
	value = SPI_getbinval(tup, desc, TRACE_NCOLUMNS + 3, &isnull);
	if (!isnull)
		trace->start = EdaSnapshotDecode(DatumGetByteaPP(value));
}

static int16
lane_of(const EdaSubscription *sub, const EdaEvent *ev)
{
	return EdaSubscriptionLaneOf(sub, EdaHashKey(ev->key), ev->id);
}

/*
 * Where the event stands with a subscription; ev is NULL where it is neither in the log nor
 * delayed. False: the subscription does not get it, or nothing is known any more.
 */
static bool
trace_subscription(const EdaSubscription *sub, int64 event_id, const EdaEvent *ev, bool delayed, bool may_read,
				   Trace *trace)
{
	EdaCursor  *cursors;
	int			ncursors;

	cursors = EdaCursorLoadAll(sub->id, &ncursors);
	PushActiveSnapshot(GetLatestSnapshot());
	look_up_failure(sub, event_id, may_read, trace);
	PopActiveSnapshot();
	if (trace->known)
		return true;
	if (ev == NULL || cursors == NULL || !EdaSubscriptionGets(sub, ev) ||
		(trace->start != NULL && EdaSnapshotSees(trace->start, ev->xid)))
		return false;
	if (delayed)
	{
		set_column(trace, TRACE_STATE, CStringGetTextDatum("delayed"));
		set_column(trace, TRACE_AT, TimestampTzGetDatum(ev->deliver_at));
	}
	else
		set_column(trace, TRACE_STATE,
				   CStringGetTextDatum(EdaCursorPassed(&cursors[lane_of(sub, ev)], ev->xid, ev->id) ?
									   "handled" : "pending"));
	return true;
}

/*
 * eda.trace(event_id): a row for each subscription that gets the event and that the caller may
 * operate; members of pg_monitor see all.  Who sees the event is told, too, where there is no
 * such subscription.
 */
Datum
eda_trace(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			caller = GetUserId();
	EdaSecurityContext ctx;
	int64		event_id;
	EdaEvent   *ev;
	bool		delayed;
	bool		sees_event;
	bool	   *sees;
	bool	   *reads;
	bool		shown = false;
	bool		others = false;
	List	   *subs;
	ListCell   *lc;
	Trace		trace;

	EdaRequireArg(fcinfo, 0, "event_id");
	event_id = PG_GETARG_INT64(0);
	InitMaterializedSRF(fcinfo, 0);

	ev = find_event(event_id, GetActiveSnapshot(), &delayed);
	subs = EdaSubscriptionLoadAll();
	/* asked before we are the extension's owner */
	sees_event = ev != NULL && EdaMaySee(ev->published_by);
	sees = palloc(sizeof(bool) * (list_length(subs) + 1));
	reads = palloc(sizeof(bool) * (list_length(subs) + 1));
	foreach(lc, subs)
	{
		int			i = foreach_current_index(lc);

		reads[i] = EdaMayRead(((EdaSubscription *) lfirst(lc))->owner);
		sees[i] = has_privs_of_role(caller, ROLE_PG_MONITOR) || EdaMayOperate(lfirst(lc), caller);
	}

	EdaSpiBegin(&ctx);
	foreach(lc, subs)
	{
		int			i = foreach_current_index(lc);
		bool		mine = sees[i];

		if ((!mine && !sees_event) ||
			!trace_subscription(lfirst(lc), event_id, ev, delayed, reads[i], &trace))
			continue;
		if (mine)
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, trace.values, trace.nulls);
		shown |= mine;
		others |= !mine;
	}
	if (sees_event && !shown)
	{
		memset(trace.nulls, true, sizeof(trace.nulls));
		set_column(&trace, TRACE_STATE,
				   CStringGetTextDatum(others ? "other subscriptions" : "no subscriber"));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, trace.values, trace.nulls);
	}
	EdaSpiEnd(&ctx);
	return (Datum) 0;
}
