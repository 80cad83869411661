/*-------------------------------------------------------------------------
 *
 * operate/dead_letters.c
 *	  What operators do with events that failed: eda.redrive, discard and skip.
 *
 *	1. A redriven dead letter goes to the end of its queue (deliver/parking.c): what failed after
 *	   it is ahead of it by now.  Its attempts count anew, and its lane is
 *	   that of today.
 *	2. eda.retry and eda.dead_letter may both have an event, after a seek back
 *	   or a replay: what goes from one to the other takes the place of
 *	   what is there.
 *	3. Everything here runs under the subscription's lock in
 *	   AccessExclusiveLock, so no batch is at hand, and never touches a cursor.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/operate/dead_letters.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/args.h"
#include "base/at_commit.h"
#include "base/security.h"
#include "base/shmem.h"
#include "deliver/deliver.h"
#include "publish/publish.h"
#include "subscription/subscription.h"

PG_FUNCTION_INFO_V1(eda_redrive);
PG_FUNCTION_INFO_V1(eda_redrive_all);
PG_FUNCTION_INFO_V1(eda_discard);
PG_FUNCTION_INFO_V1(eda_discard_all);
PG_FUNCTION_INFO_V1(eda_skip);

/* What eda.retry and eda.dead_letter both keep of an event and its failure. */
#define EVENT_COLUMNS \
	"subscription_id, event_id, topic, key, payload, headers, published_at," \
	" published_by, correlation_id, causation_id, hops, deliver_at, attempt_history," \
	" error_code, error_message, error_detail, error_context"

/* The bigint[] argument, which is not NULL and contains none. */
static Datum
event_ids_arg(FunctionCallInfo fcinfo, int argno)
{
	ArrayType  *ids;

	EdaRequireArg(fcinfo, argno, "event_ids");
	ids = PG_GETARG_ARRAYTYPE_P(argno);
	if (array_contains_nulls(ids))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not contain NULL", "event_ids")));
	return PointerGetDatum(ids);
}

/* Tell the workers that waiting events of a subscription changed. */
static void
waiting_events_changed(const EdaSubscription *sub)
{
	EdaSubscriptionTouch(sub->id);
	EdaWakeAtCommit(EDA_WAKE_RETRIES);
}

/*
 * Dead letters back to the waiting events, lowest ids first; each condition
 * may be null.  Returns their number.
 */
static int64
redrive(const EdaSubscription *sub, NullableDatum event_ids,
		NullableDatum error_code, NullableDatum max_events)
{
	static const Oid types[] = {
		INT4OID, INT8ARRAYOID, TEXTOID, INT8OID, CHAROID, INT4OID
	};
	EdaSecurityContext ctx;
	Datum		values[6];
	char		nulls[6] = {' ', ' ', ' ', ' ', ' ', ' '};
	SPITupleTable *queues;
	uint64		nqueues;
	MemoryContext each;
	MemoryContext old;
	bool		isnull;
	int64		taken;

	values[0] = Int32GetDatum(sub->id);
	values[1] = event_ids.value;
	nulls[1] = event_ids.isnull ? 'n' : ' ';
	values[2] = error_code.value;
	nulls[2] = error_code.isnull ? 'n' : ' ';
	values[3] = max_events.value;
	nulls[3] = max_events.isnull ? 'n' : ' ';
	values[4] = CharGetDatum((char) sub->ordering);
	values[5] = Int32GetDatum(sub->lanes);

	EdaSpiBegin(&ctx);
	EdaSpiPreferIndexes();

	/*
	 * A sorted INSERT ... SELECT numbers seq in that order.  The lane is that
	 * of today, as the number of lanes may have changed since it died.  One that waits
	 * already, after a seek back, goes on from there.  The queues that others were
	 * put into are released then.
	 */
	EdaSpiExecute("WITH chosen AS ("
				  "SELECT event_id FROM eda.dead_letter"
				  " WHERE subscription_id = $1"
				  " AND ($2 IS NULL OR event_id = ANY ($2))"
				  " AND ($3 IS NULL OR error_code = $3)"
				  " ORDER BY event_id LIMIT $4),"
				  " taken AS ("
				  "DELETE FROM eda.dead_letter d USING chosen c"
				  " WHERE d.subscription_id = $1 AND d.event_id = c.event_id"
				  " RETURNING d.*),"
				  " put AS ("
				  "INSERT INTO eda.retry (lane, " EVENT_COLUMNS
				  ", reason, attempt, deliveries, next_attempt_at)"
				  " SELECT eda._lane(key, event_id, $6), " EVENT_COLUMNS
				  ", reason, 0, pg_catalog.cardinality(attempt_history),"
				  " CASE WHEN $5 = 'n' OR ($5 = 'k' AND key IS NULL)"
				  " THEN pg_catalog.clock_timestamp() END"
				  " FROM taken ORDER BY event_id"
				  " ON CONFLICT (subscription_id, event_id) DO NOTHING"
				  " RETURNING lane, key, next_attempt_at)"
				  " SELECT t.n, q.lane, q.key"
				  " FROM (SELECT count(*) AS n FROM taken) t LEFT JOIN"
				  " (SELECT DISTINCT lane, CASE WHEN $5 = 'k' THEN key END AS key"
				  " FROM put WHERE next_attempt_at IS NULL) q ON true",
				  6, types, values, nulls, SPI_OK_SELECT);
	queues = SPI_tuptable;
	nqueues = SPI_processed;
	taken = DatumGetInt64(SPI_getbinval(queues->vals[0], queues->tupdesc, 1, &isnull));
	each = AllocSetContextCreate(CurrentMemoryContext, "eda queues", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(each);
	for (uint64 i = 0; i < nqueues; i++)
	{
		bool		alone;
		int16		lane = DatumGetInt16(SPI_getbinval(queues->vals[i], queues->tupdesc, 2, &alone));
		Datum		key = SPI_getbinval(queues->vals[i], queues->tupdesc, 3, &isnull);

		CHECK_FOR_INTERRUPTS();
		if (!alone)
			EdaParkingReleaseNext(sub->id, lane, isnull ? NULL : TextDatumGetCString(key),
								sub->ordering, PG_INT64_MIN);
		MemoryContextReset(each);
	}
	MemoryContextSwitchTo(old);
	EdaSpiEnd(&ctx);

	waiting_events_changed(sub);
	return taken;
}

/*
 * eda.redrive(subscription, event_ids)
 */
Datum
eda_redrive(PG_FUNCTION_ARGS)
{
	char	   *name = EdaTextArg(fcinfo, 0, "subscription");
	NullableDatum event_ids = {event_ids_arg(fcinfo, 1), false};
	NullableDatum none = {(Datum) 0, true};
	EdaSubscription *sub = EdaSubscriptionForChange(name, "eda.redrive()", false);

	PG_RETURN_INT64(redrive(sub, event_ids, none, none));
}

/*
 * eda.redrive_all(subscription, error_code, max_events)
 */
Datum
eda_redrive_all(PG_FUNCTION_ARGS)
{
	char	   *name = EdaTextArg(fcinfo, 0, "subscription");
	NullableDatum none = {(Datum) 0, true};
	EdaSubscription *sub;

	if (!PG_ARGISNULL(2) && PG_GETARG_INT64(2) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_events must not be negative")));
	sub = EdaSubscriptionForChange(name, "eda.redrive_all()", false);
	PG_RETURN_INT64(redrive(sub, none, fcinfo->args[1], fcinfo->args[2]));
}

/*
 * eda.discard(subscription, event_ids)
 */
Datum
eda_discard(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {INT4OID, INT8ARRAYOID};
	char	   *name = EdaTextArg(fcinfo, 0, "subscription");
	Datum		event_ids = event_ids_arg(fcinfo, 1);
	EdaSubscription *sub = EdaSubscriptionForChange(name, "eda.discard()", false);
	EdaSecurityContext ctx;
	Datum		values[2];
	uint64		n;

	values[0] = Int32GetDatum(sub->id);
	values[1] = event_ids;
	EdaSpiBegin(&ctx);
	n = EdaSpiExecute("DELETE FROM eda.dead_letter"
					  " WHERE subscription_id = $1 AND event_id = ANY ($2)",
					  2, types, values, NULL, SPI_OK_DELETE);
	EdaSpiEnd(&ctx);
	EdaSubscriptionsChanged();
	PG_RETURN_INT64((int64) n);
}

/*
 * eda.discard_all(subscription)
 */
Datum
eda_discard_all(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {INT4OID};
	char	   *name = EdaTextArg(fcinfo, 0, "subscription");
	EdaSubscription *sub = EdaSubscriptionForChange(name, "eda.discard_all()", false);
	EdaSecurityContext ctx;
	Datum		values[1];
	uint64		n;

	values[0] = Int32GetDatum(sub->id);
	EdaSpiBegin(&ctx);
	n = EdaSpiExecute("DELETE FROM eda.dead_letter WHERE subscription_id = $1",
					  1, types, values, NULL, SPI_OK_DELETE);
	EdaSpiEnd(&ctx);
	EdaSubscriptionsChanged();
	PG_RETURN_INT64((int64) n);
}

/*
 * eda.skip(subscription, event_id): false when the event does not wait.
 */
Datum
eda_skip(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {INT4OID, INT8OID};
	char	   *name = EdaTextArg(fcinfo, 0, "subscription");
	EdaSubscription *sub;
	EdaSecurityContext ctx;
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[2];
	bool		found;
	int16		lane = 0;
	char	   *key = NULL;

	EdaRequireArg(fcinfo, 1, "event_id");
	sub = EdaSubscriptionForChange(name, "eda.skip()", false);
	/* what is being handled does not wait: its handler has eda.reject() */
	if (EdaInOwnHandler(name) && EdaCurrentEvent()->id == PG_GETARG_INT64(1))
		PG_RETURN_BOOL(false);

	values[0] = Int32GetDatum(sub->id);
	values[1] = PG_GETARG_DATUM(1);
	EdaSpiBegin(&ctx);
	EdaSpiPreferIndexes();
	found = EdaSpiExecute("WITH taken AS ("
						  "DELETE FROM eda.retry"
						  " WHERE subscription_id = $1 AND event_id = $2"
						  " RETURNING *)"
						  " INSERT INTO eda.dead_letter (lane, " EVENT_COLUMNS
						  ", reason, attempts, died_at)"
						  " SELECT lane, " EVENT_COLUMNS
						  ", 'skipped', attempt, pg_catalog.clock_timestamp()"
						  " FROM taken"
						  " ON CONFLICT (subscription_id, event_id) DO UPDATE SET lane = excluded.lane,"
						  " attempts = excluded.attempts, died_at = excluded.died_at,"
						  " attempt_history = excluded.attempt_history, reason = excluded.reason,"
						  " error_code = excluded.error_code, error_message = excluded.error_message,"
						  " error_detail = excluded.error_detail, error_context = excluded.error_context"
						  " RETURNING lane, key",
						  2, types, values, NULL, SPI_OK_INSERT_RETURNING) > 0;
	if (found)
	{
		HeapTuple	tup = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		value;

		lane = DatumGetInt16(SPI_getbinval(tup, desc, 1, &isnull));
		value = SPI_getbinval(tup, desc, 2, &isnull);
		if (!isnull)
		{
			MemoryContext old = MemoryContextSwitchTo(caller);

			key = TextDatumGetCString(value);
			MemoryContextSwitchTo(old);
		}
	}
	EdaSpiEnd(&ctx);

	if (!found)
		PG_RETURN_BOOL(false);
	EdaProbationSkipped(sub->id, PG_GETARG_INT64(1));
	EdaParkingReleaseNext(sub->id, lane, key, sub->ordering, PG_INT64_MIN);
	waiting_events_changed(sub);
	PG_RETURN_BOOL(true);
}
