/*-------------------------------------------------------------------------
 *
 * deliver/failure.c
 *	  What becomes of an event that failed: another attempt, or a dead letter.
 *
 *	1. eda.retry holds a full copy of every event that waits for an attempt,
 *	   so the cursor goes on and the event outlives its segment.
 *	2. Ordering.  With ordering `key`, later events of a key that waits are
 *	   parked behind it in the same table (next_attempt_at NULL); with
 *	   `strict` the lane reads nothing from the log while anything waits.  Only
 *	   the first row of a key (of a lane) ever has a due time.  When it is
 *	   handled, dies, is skipped or discarded, the next one becomes due.
 *	3. The verdict on a failure, in this order: the handler's own word
 *	   (eda.reject, eda.retry_after, eda.snooze); too many hops and the
 *	   subscription's reject_on, which another attempt cannot mend; then
 *	   back-off until max_attempts.
 *	4. Texts of errors are clipped: recording a failure must not fail for
 *	   what the event or its handler holds.
 *	5. A dead letter is published as a system event, unless it is one of
 *	   eda's own events: no failure feeds itself.
 *
 * Everything here runs under the subscription's lock, and as the extension's
 * owner: the executor's role has no rights on these tables.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/failure.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/condition.h"
#include "base/security.h"
#include "deliver/failure.h"
#include "deliver/invoke.h"
#include "deliver/parking.h"
#include "deliver/recovery.h"
#include "deliver/waiting.h"
#include "publish/publish.h"

/*
 * See deliver/failure.h.  The doubling stops well before it could overflow.
 */
int64
EdaBackoffMs(int64 backoff_ms, int64 max_ms, int attempt, double spread)
{
	int64		delay = Max(backoff_ms, 1);

	for (int i = 1; i < attempt && delay < max_ms; i++)
		delay *= 2;
	delay = Min(delay, max_ms);
	delay = (int64) (delay * (0.75 + 0.5 * spread));
	return Max(Min(delay, max_ms), 1);
}

TimestampTz
EdaBackoffFromNow(const EdaSubscription *sub, int attempt)
{
	int64		ms = EdaBackoffMs(sub->backoff_ms, sub->max_backoff_ms, attempt,
								  pg_prng_double(&pg_global_prng_state));

	return EdaFromNow(ms);
}

TimestampTz
EdaProbeFromNow(const EdaSubscription *sub, int probe)
{
	return Max(EdaBackoffFromNow(sub, probe), EdaFromNow(EDA_LEAST_DELAY_MS));
}

/* Times that are kept of an event's deliveries: one that snoozes has no end of them. */
#define MAX_HISTORY		1000

/* A handler may raise whatever it likes; what is kept of a text of an error, in bytes. */
#define MAX_ERROR_TEXT		(10 * 1024)

static char *
clip(const char *s)
{
	return s == NULL ? NULL : pnstrdup(s, pg_mbcliplen(s, strlen(s), MAX_ERROR_TEXT));
}

static Datum
text_or_null(const char *s, char *null_flag)
{
	*null_flag = s == NULL ? 'n' : ' ';
	return s == NULL ? (Datum) 0 : CStringGetTextDatum(clip(s));
}

/* The parameters $1..$14 that both tables have first: subscription, lane, the event. */
#define EVENT_NARGS 14
static const Oid event_types[EVENT_NARGS] = {
	INT4OID, INT2OID, INT8OID, TEXTOID, TEXTOID, JSONBOID, JSONBOID,
	TIMESTAMPTZOID, OIDOID, TEXTOID, INT8OID, INT4OID, TIMESTAMPTZOID, INT4OID
};

static void
event_arguments(const EdaSubscription *sub, int16 lane, const EdaEvent *ev,
				int32 attempt, Datum *values, char *nulls)
{
	memset(nulls, ' ', EVENT_NARGS);
	values[0] = Int32GetDatum(sub->id);
	values[1] = Int16GetDatum(lane);
	values[2] = Int64GetDatum(ev->id);
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
	values[12] = TimestampTzGetDatum(ev->deliver_at);
	nulls[12] = ev->deliver_at == 0 ? 'n' : ' ';
	values[13] = Int32GetDatum(attempt);
}

bool
EdaRetryPark(const EdaSubscription *sub, int16 lane, const EdaEvent *ev)
{
	EdaSecurityContext ctx;
	Datum		values[EVENT_NARGS];
	char		nulls[EVENT_NARGS];
	bool		parked;

	event_arguments(sub, lane, ev, 0, values, nulls);
	EdaSpiBegin(&ctx);
	parked = EdaSpiExecute("INSERT INTO eda.retry (subscription_id, lane, event_id, topic, key, payload,"
						   " headers, published_at, published_by, correlation_id, causation_id, hops, deliver_at,"
						   " attempt) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
						   " ON CONFLICT (subscription_id, event_id) DO NOTHING",
						   EVENT_NARGS, event_types, values, nulls, SPI_OK_INSERT) > 0;
	EdaSpiEnd(&ctx);
	return parked;
}

bool
EdaRetryReplay(const EdaSubscription *sub, int16 lane, const EdaEvent *ev)
{
	EdaSecurityContext ctx;
	Oid			types[EVENT_NARGS + 1];
	Datum		values[EVENT_NARGS + 1];
	char		nulls[EVENT_NARGS + 1];
	bool		waits;

	memcpy(types, event_types, sizeof(event_types));
	event_arguments(sub, lane, ev, 0, values, nulls);
	types[14] = TIMESTAMPTZOID;
	values[14] = TimestampTzGetDatum(GetCurrentTimestamp());
	nulls[14] = sub->ordering == EDA_ORDER_NONE ||
		(sub->ordering == EDA_ORDER_KEY && ev->key == NULL) ? ' ' : 'n';
	EdaSpiBegin(&ctx);
	EdaSpiPreferIndexes();
	/*
	 * a dead letter is the operator's to redrive; delivered here it would look as if it were still
	 * dead
	 */
	waits = EdaSpiExecute("INSERT INTO eda.retry (subscription_id, lane, event_id, topic, key, payload,"
						  " headers, published_at, published_by, correlation_id, causation_id, hops, deliver_at,"
						  " attempt, next_attempt_at, deliveries, reason)"
						  " SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 1, 'replay'"
						  " WHERE NOT EXISTS (SELECT FROM eda.dead_letter WHERE subscription_id = $1 AND event_id = $3)"
						  " ON CONFLICT (subscription_id, event_id) DO NOTHING",
						  15, types, values, nulls, SPI_OK_INSERT) > 0;
	EdaSpiEnd(&ctx);
	return waits;
}

/* One attempt more is on record; the event waits until `due`. */
static void
write_retry(const EdaSubscription *sub, int16 lane, const EdaItem *item,
			int32 attempt, TimestampTz due, const char *reason,
			const ErrorData *edata)
{
	EdaSecurityContext ctx;
	Oid			types[EVENT_NARGS + 7];
	Datum		values[EVENT_NARGS + 7];
	char		nulls[EVENT_NARGS + 7];

	memcpy(types, event_types, sizeof(event_types));
	event_arguments(sub, lane, &item->ev, attempt, values, nulls);
	types[14] = TIMESTAMPTZOID;
	values[14] = TimestampTzGetDatum(due);
	nulls[14] = ' ';
	types[15] = TIMESTAMPTZOID;
	values[15] = TimestampTzGetDatum(GetCurrentTimestamp());
	nulls[15] = ' ';
	for (int i = 16; i < 21; i++)
		types[i] = TEXTOID;
	values[16] = CStringGetTextDatum(unpack_sql_state(edata->sqlerrcode));
	nulls[16] = ' ';
	values[17] = text_or_null(edata->message, &nulls[17]);
	values[18] = text_or_null(edata->detail, &nulls[18]);
	values[19] = text_or_null(edata->context, &nulls[19]);
	values[20] = CStringGetTextDatum(reason);
	nulls[20] = ' ';

	EdaSpiBegin(&ctx);
	EdaSpiExecute("INSERT INTO eda.retry AS r (subscription_id, lane, event_id, topic, key, payload,"
				  " headers, published_at, published_by, correlation_id, causation_id, hops, deliver_at, attempt,"
				  " deliveries, next_attempt_at, attempt_history,"
				  " error_code, error_message, error_detail, error_context, reason)"
				  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,"
				  " 1, $15, ARRAY[$16], $17, $18, $19, $20, $21)"
				  " ON CONFLICT (subscription_id, event_id) DO UPDATE SET"
				  " attempt = excluded.attempt, deliveries = r.deliveries + 1,"
				  " next_attempt_at = excluded.next_attempt_at,"
				  " attempt_history = (r.attempt_history OPERATOR(pg_catalog.||) $16)"
				  " [greatest(1, cardinality(r.attempt_history) - " CppAsString2(MAX_HISTORY) " + 2):],"
				  " error_code = excluded.error_code, error_message = excluded.error_message,"
				  " error_detail = excluded.error_detail, error_context = excluded.error_context,"
				  " reason = excluded.reason",
				  21, types, values, nulls, SPI_OK_INSERT);
	EdaSpiEnd(&ctx);
}

/* One more field of a JSON object; NULL: null. */
static void
append_field(StringInfo buf, const char *name, const char *value)
{
	appendStringInfo(buf, ", \"%s\": ", name);
	if (value != NULL)
		escape_json(buf, value);
	else
		appendStringInfoString(buf, "null");
}

/*
 * Tell whoever subscribed to eda.dead_letter, who need not be one who may see the payload: nor a
 * message, which may hold values of it.
 */
static void
publish_dead_letter(const EdaSubscription *sub, const EdaEvent *ev,
					const char *reason, const ErrorData *edata)
{
	char	   *topic = text_to_cstring((text *) ev->topic);
	const char *code = edata != NULL ? unpack_sql_state(edata->sqlerrcode) : NULL;
	StringInfoData buf;

	if (strcmp(topic, "eda") == 0 || strncmp(topic, "eda.", 4) == 0)
		return;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "{\"subscription\": ");
	escape_json(&buf, sub->name);
	appendStringInfo(&buf, ", \"event_id\": %lld, \"topic\": ", (long long) ev->id);
	escape_json(&buf, topic);
	append_field(&buf, "key", ev->key != NULL ? text_to_cstring((text *) ev->key) : NULL);
	append_field(&buf, "reason", reason);
	append_field(&buf, "error_code", code);
	append_field(&buf, "error_condition", EdaConditionName(code));
	append_field(&buf, "error_where", edata != NULL ? EdaErrorWhere(edata->context) : NULL);
	appendStringInfoChar(&buf, '}');

	EdaPublishAbout("eda.dead_letter",
					DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data))),
					NULL, ev);
}

/* The next one of the queue that the item was the first of. */
static TimestampTz
release_next(const EdaSubscription *sub, int16 lane, const EdaItem *item)
{
	return EdaParkingReleaseNext(sub->id, lane,
								 item->ev.key ? text_to_cstring((text *) item->ev.key) : NULL,
								 sub->ordering, item->seq);
}

/* The event is given up on.  Returns when what waited behind it is due. */
static TimestampTz
bury(const EdaSubscription *sub, int16 lane, const EdaItem *item,
	 int32 attempts, const char *reason, const ErrorData *edata)
{
	EdaSecurityContext ctx;
	Oid			types[EVENT_NARGS + 7];
	Datum		values[EVENT_NARGS + 7];
	char		nulls[EVENT_NARGS + 7];
	TimestampTz released = DT_NOEND;

	memcpy(types, event_types, sizeof(event_types));
	event_arguments(sub, lane, &item->ev, attempts, values, nulls);
	types[14] = TIMESTAMPTZOID;
	values[14] = TimestampTzGetDatum(GetCurrentTimestamp());
	nulls[14] = ' ';
	for (int i = 15; i < 20; i++)
		types[i] = TEXTOID;
	values[15] = CStringGetTextDatum(reason);
	nulls[15] = ' ';
	values[16] = text_or_null(edata ? unpack_sql_state(edata->sqlerrcode) : NULL, &nulls[16]);
	values[17] = text_or_null(edata ? edata->message : NULL, &nulls[17]);
	values[18] = text_or_null(edata ? edata->detail : NULL, &nulls[18]);
	values[19] = text_or_null(edata ? edata->context : NULL, &nulls[19]);
	/* what was tried so far is in eda.retry, if it was */
	types[20] = TIMESTAMPTZARRAYOID;
	nulls[20] = EdaQueueDelete(sub->id, item->ev.id, &values[20]) ? ' ' : 'n';

	EdaSpiBegin(&ctx);
	/* an event that expired, breaks the schema, or is not to crash once more, was not tried now */
	EdaSpiExecute("INSERT INTO eda.dead_letter AS d (subscription_id, lane, event_id, topic, key, payload,"
				  " headers, published_at, published_by, correlation_id, causation_id, hops, deliver_at, attempts,"
				  " died_at, attempt_history, reason, error_code, error_message, error_detail, error_context)"
				  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,"
				  " coalesce($21, '{}')"
				  " OPERATOR(pg_catalog.||) CASE WHEN $16 IN ('expired', 'crash', 'schema') THEN '{}' ELSE ARRAY[$15] END,"
				  " $16, $17, $18, $19, $20)"
				  " ON CONFLICT (subscription_id, event_id) DO UPDATE SET lane = excluded.lane,"
				  " attempts = excluded.attempts, died_at = excluded.died_at,"
				  " attempt_history = excluded.attempt_history, reason = excluded.reason,"
				  " error_code = excluded.error_code, error_message = excluded.error_message,"
				  " error_detail = excluded.error_detail, error_context = excluded.error_context",
				  21, types, values, nulls, SPI_OK_INSERT);
	EdaSpiEnd(&ctx);

	if (item->from_retry)
		released = release_next(sub, lane, item);
	publish_dead_letter(sub, &item->ev, reason, edata);
	return released;
}

/* Is the code, or its class, on the subscription's list? */
static bool
rejects(const EdaSubscription *sub, int sqlerrcode)
{
	const char *state = unpack_sql_state(sqlerrcode);
	ListCell   *lc;

	foreach(lc, sub->reject_on)
	{
		const char *code = lfirst(lc);

		if (strncmp(code, state, strlen(code)) == 0)
			return true;
	}
	return false;
}

EdaVerdict
EdaRetryFailed(const EdaSubscription *sub, int16 lane, const EdaItem *item,
			   const ErrorData *edata, bool timed_out, TimestampTz *next_due)
{
	int32		attempt = item->attempt + 1;
	int64		delay_ms;
	bool		own_word = EdaVerdictDelay(edata->sqlerrcode, &delay_ms);
	TimestampTz due;

	if (own_word && edata->sqlerrcode == ERRCODE_EDA_SNOOZED)
	{
		*next_due = due = EdaFromNow(delay_ms);
		write_retry(sub, lane, item, item->attempt, due, "snoozed", edata);
		return EDA_VERDICT_SNOOZE;
	}
	if (own_word && edata->sqlerrcode == ERRCODE_EDA_REJECTED)
	{
		*next_due = bury(sub, lane, item, attempt, "rejected", edata);
		return EDA_VERDICT_REJECTED;
	}
	if (own_word && edata->sqlerrcode == ERRCODE_EDA_SCHEMA_VIOLATION)
	{
		/* the handler was not called */
		*next_due = bury(sub, lane, item, item->attempt, "schema", edata);
		return EDA_VERDICT_UNFIT;
	}
	if (edata->sqlerrcode == ERRCODE_EDA_TOO_MANY_HOPS && item->ev.hops >= eda_max_hops)
	{
		*next_due = bury(sub, lane, item, attempt, "hops", edata);
		return EDA_VERDICT_DEAD;
	}
	if (rejects(sub, edata->sqlerrcode))
	{
		*next_due = bury(sub, lane, item, attempt, "rejected", edata);
		return EDA_VERDICT_DEAD;
	}
	if (attempt >= sub->max_attempts)
	{
		*next_due = bury(sub, lane, item, attempt, timed_out ? "timeout" : "max_attempts", edata);
		return EDA_VERDICT_DEAD;
	}

	*next_due = due = own_word ? EdaFromNow(delay_ms) : EdaBackoffFromNow(sub, attempt);
	write_retry(sub, lane, item, attempt, due, timed_out ? "timeout" : "error", edata);
	return EDA_VERDICT_RETRY;
}

TimestampTz
EdaRetryExpired(const EdaSubscription *sub, int16 lane, const EdaItem *item)
{
	return bury(sub, lane, item, item->attempt, "expired", NULL);
}

TimestampTz
EdaRetryCrashed(const EdaSubscription *sub, int16 lane, const EdaItem *item,
				const ErrorData *edata, TimestampTz due)
{
	if (due == 0)
		return bury(sub, lane, item, item->attempt, "crash", edata);
	write_retry(sub, lane, item, item->attempt, due, "crash", edata);
	return due;
}

TimestampTz
EdaRetryHandled(const EdaSubscription *sub, int16 lane, const EdaItem *item)
{
	EdaQueueDelete(sub->id, item->ev.id, NULL);
	return release_next(sub, lane, item);
}

void
EdaRetryForget(int32 subscription_id)
{
	EdaSpiExecuteById("DELETE FROM eda.retry WHERE subscription_id = $1",
					  subscription_id, SPI_OK_DELETE);
	EdaSpiExecuteById("DELETE FROM eda.dead_letter WHERE subscription_id = $1",
					  subscription_id, SPI_OK_DELETE);
	EdaRecoveryForget(subscription_id);
}

void
EdaRetryLoadState(const EdaSubscription *sub, int16 lane, EdaRetryState *state)
{
	static const Oid types[] = {INT4OID, INT2OID};
	MemoryContext mcxt = CurrentMemoryContext;
	EdaSecurityContext ctx;
	Datum		values[2];

	state->nrows = 0;
	state->next_due = DT_NOEND;
	state->floor = EDA_DUE_UNKNOWN;
	state->keys = NULL;
	state->nkeys = 0;

	values[0] = Int32GetDatum(sub->id);
	values[1] = Int16GetDatum(lane);
	EdaSpiBegin(&ctx);
	/* only with ordering `key` do the keys matter */
	EdaSpiExecute(sub->ordering == EDA_ORDER_KEY ?
				  "SELECT key, count(*), min(next_attempt_at) FROM eda.retry"
				  " WHERE subscription_id = $1 AND lane = $2 GROUP BY key" :
				  "SELECT NULL::text, count(*), min(next_attempt_at) FROM eda.retry"
				  " WHERE subscription_id = $1 AND lane = $2",
				  2, types, values, NULL, SPI_OK_SELECT);
	state->keys = MemoryContextAllocHuge(mcxt, Max(SPI_processed, 1) * sizeof(EdaWaitingKey));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		int64		nrows = DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull));
		Datum		value;

		value = SPI_getbinval(tuple, desc, 1, &isnull);
		if (!isnull)
		{
			EdaWaitingKey *key = &state->keys[state->nkeys++];

			key->key = MemoryContextStrdup(mcxt, TextDatumGetCString(value));
			key->nrows = nrows;
		}
		state->nrows += nrows;
		value = SPI_getbinval(tuple, desc, 3, &isnull);
		if (!isnull)
			state->next_due = Min(state->next_due, DatumGetTimestampTz(value));
	}
	EdaSpiEnd(&ctx);
}
