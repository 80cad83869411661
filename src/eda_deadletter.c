/*-------------------------------------------------------------------------
 *
 * eda_deadletter.c
 *	  The order among waiting events; eda.redrive, discard and skip.
 *
 *	1. Waiting events are rows of eda.retry.  Where a subscription keeps
 *	   order, those that belong together stand in a queue by seq: with `key`
 *	   all of one lane and key, with `strict` all of a lane.  Only the first
 *	   of a queue has a due time (next_attempt_at); those behind it are parked
 *	   (NULL).  Events without a key, and all with `none`, are alone.
 *	2. When the first one goes, the next one is due (EdaRetryReleaseNext).
 *	3. A redriven dead letter goes to the end of its queue: what failed after
 *	   it is ahead of it by now.  Its attempts count anew.
 *	4. Everything here runs under the subscription's lock in
 *	   AccessExclusiveLock, so no batch is at hand, and never touches a cursor.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/eda_deadletter.c
 *
 *-------------------------------------------------------------------------
 */
#include "eda.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "eda_deadletter.h"
#include "eda_definition.h"
#include "eda_probation.h"
#include "eda_security.h"
#include "eda_shmem.h"
#include "eda_wake.h"

PG_FUNCTION_INFO_V1(eda_redrive);
PG_FUNCTION_INFO_V1(eda_redrive_all);
PG_FUNCTION_INFO_V1(eda_discard);
PG_FUNCTION_INFO_V1(eda_discard_all);
PG_FUNCTION_INFO_V1(eda_skip);

/* What eda.retry and eda.dead_letter both keep of an event and its failure. */
#define EVENT_COLUMNS \
	"subscription_id, lane, event_id, topic, key, payload, headers, published_at," \
	" published_by, correlation_id, causation_id, hops, deliver_at, attempt_history," \
	" error_code, error_message, error_detail, error_context"

/*
 * The order among waiting events
 */

bool
EdaRetryReleaseNext(int32 subscription_id, int16 lane, const char *key,
					EdaOrdering ordering)
{
	static const Oid types[] = {INT4OID, INT2OID, TEXTOID};
	EdaSecurityContext ctx;
	Datum		values[3];
	char		nulls[3] = {' ', ' ', ' '};
	uint64		released;

	if (ordering == EDA_ORDER_NONE || (ordering == EDA_ORDER_KEY && key == NULL))
		return false;

	values[0] = Int32GetDatum(subscription_id);
	values[1] = Int16GetDatum(lane);
	if (ordering == EDA_ORDER_KEY)
		values[2] = CStringGetTextDatum(key);
	else
		nulls[2] = 'n';

	EdaSpiBegin(&ctx);
	released = EdaSpiExecute("UPDATE eda.retry SET next_attempt_at = pg_catalog.clock_timestamp()"
							 " WHERE subscription_id = $1 AND next_attempt_at IS NULL"
							 " AND event_id = (SELECT event_id FROM eda.retry"
							 " WHERE subscription_id = $1 AND lane = $2"
							 " AND ($3::text IS NULL OR key = $3)"
							 " ORDER BY seq LIMIT 1)",
							 3, types, values, nulls, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);

	if (released > 0)
		EdaWakeAtCommit(EDA_WAKE_RETRIES);
	return released > 0;
}

void
EdaRetryRepark(int32 subscription_id, EdaOrdering ordering)
{
	static const Oid types[] = {INT4OID, CHAROID};
	EdaSecurityContext ctx;
	Datum		values[2];

	values[0] = Int32GetDatum(subscription_id);
	values[1] = CharGetDatum((char) ordering);

	EdaSpiBegin(&ctx);
	EdaSpiExecute("WITH place AS ("
				  "SELECT event_id, $2 = 'n' OR ($2 = 'k' AND key IS NULL)"
				  " OR pg_catalog.row_number() OVER (PARTITION BY lane,"
				  " CASE WHEN $2 = 'k' THEN key END ORDER BY seq) = 1 AS first"
				  " FROM eda.retry WHERE subscription_id = $1)"
				  " UPDATE eda.retry r SET next_attempt_at ="
				  " CASE WHEN p.first THEN pg_catalog.clock_timestamp() END"
				  " FROM place p WHERE r.subscription_id = $1"
				  " AND r.event_id = p.event_id"
				  " AND (r.next_attempt_at IS NOT NULL) <> p.first",
				  2, types, values, NULL, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);
	EdaWakeAtCommit(EDA_WAKE_RETRIES);
}

/*
 * What operators do
 */

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
waiting_events_changed(void)
{
	EdaSubscriptionsChanged();
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
		INT4OID, INT8ARRAYOID, TEXTOID, INT8OID, CHAROID
	};
	EdaSecurityContext ctx;
	Datum		values[5];
	char		nulls[5] = {' ', ' ', ' ', ' ', ' '};
	uint64		n;

	values[0] = Int32GetDatum(sub->id);
	values[1] = event_ids.value;
	nulls[1] = event_ids.isnull ? 'n' : ' ';
	values[2] = error_code.value;
	nulls[2] = error_code.isnull ? 'n' : ' ';
	values[3] = max_events.value;
	nulls[3] = max_events.isnull ? 'n' : ' ';
	values[4] = CharGetDatum((char) sub->ordering);

	/* A sorted INSERT ... SELECT numbers seq in that order. */
	EdaSpiBegin(&ctx);
	n = EdaSpiExecute("WITH chosen AS ("
					  "SELECT event_id FROM eda.dead_letter"
					  " WHERE subscription_id = $1"
					  " AND ($2 IS NULL OR event_id = ANY ($2))"
					  " AND ($3 IS NULL OR error_code = $3)"
					  " ORDER BY event_id LIMIT $4),"
					  " taken AS ("
					  "DELETE FROM eda.dead_letter d USING chosen c"
					  " WHERE d.subscription_id = $1 AND d.event_id = c.event_id"
					  " RETURNING d.*)"
					  " INSERT INTO eda.retry (" EVENT_COLUMNS
					  ", reason, attempt, deliveries, next_attempt_at)"
					  " SELECT " EVENT_COLUMNS
					  ", reason, 0, pg_catalog.cardinality(attempt_history),"
					  " CASE WHEN $5 = 'n' OR ($5 = 'k' AND key IS NULL)"
					  " OR (pg_catalog.row_number() OVER (PARTITION BY lane,"
					  " CASE WHEN $5 = 'k' THEN key END ORDER BY event_id) = 1"
					  " AND NOT EXISTS (SELECT FROM eda.retry r"
					  " WHERE r.subscription_id = $1 AND r.lane = t.lane"
					  " AND ($5 = 's' OR r.key = t.key)))"
					  " THEN pg_catalog.clock_timestamp() END"
					  " FROM taken t ORDER BY event_id",
					  5, types, values, nulls, SPI_OK_INSERT);
	EdaSpiEnd(&ctx);

	waiting_events_changed();
	return (int64) n;
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
	waiting_events_changed();
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
	waiting_events_changed();
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

	values[0] = Int32GetDatum(sub->id);
	values[1] = PG_GETARG_DATUM(1);
	EdaSpiBegin(&ctx);
	found = EdaSpiExecute("WITH taken AS ("
						  "DELETE FROM eda.retry"
						  " WHERE subscription_id = $1 AND event_id = $2"
						  " RETURNING *)"
						  " INSERT INTO eda.dead_letter (" EVENT_COLUMNS
						  ", reason, attempts, died_at)"
						  " SELECT " EVENT_COLUMNS
						  ", 'skipped', attempt, pg_catalog.clock_timestamp()"
						  " FROM taken RETURNING lane, key",
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
	EdaRetryReleaseNext(sub->id, lane, key, sub->ordering);
	waiting_events_changed();
	PG_RETURN_BOOL(true);
}
