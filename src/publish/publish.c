/*-------------------------------------------------------------------------
 *
 * publish/publish.c
 *	  eda.publish() and eda.publish_batch(), and eda's own events.
 *
 *	1. The order of what a call does is publish/call.c's.
 *	2. Rights are those to execute the function.  The log is written below the
 *	   executor; only eda.idempotency and eda.delayed_event are written as the extension's owner.
 *	3. A batch goes through in chunks; ids of a chunk ascend in the order of its
 *	   elements, but for those that are delayed.
 *	4. One that is not due yet goes to eda.delayed_event instead of the log
 *	   (publish/delay.c), after the same checks; the log is not locked for it.
 *	5. No state between calls, no locks of its own.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/publish/publish.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/args.h"
#include "base/catalog.h"
#include "publish/call.h"
#include "publish/delay.h"
#include "publish/publish.h"

PG_FUNCTION_INFO_V1(eda_publish);
PG_FUNCTION_INFO_V1(eda_publish_batch);
PG_FUNCTION_INFO_V1(eda_publish_events);

/*
 * eda.publish(topic text, payload jsonb, key text, headers jsonb,
 *			   deliver_at timestamptz, idempotency_key text,
 *			   correlation_id text, causation_id bigint) RETURNS bigint
 */
Datum
eda_publish(PG_FUNCTION_ARGS)
{
	const char *function = "eda.publish()";
	EdaPublishCall call;
	EdaEvent	ev;
	struct varlena *correlation_id = NULL;
	EdaIdempotencyClaim claim;
	bool		has_claim = !PG_ARGISNULL(5);

	EdaRequireArg(fcinfo, 0, "topic");
	EdaRequireArg(fcinfo, 1, "payload");
	if (!PG_ARGISNULL(4))
		EdaPublishCheckTime(PG_GETARG_TIMESTAMPTZ(4), "argument \"deliver_at\" of eda.publish()");
	if (!PG_ARGISNULL(6))
	{
		correlation_id = PG_GETARG_TEXT_PP(6);
		(void) EdaPublishCheckLength(correlation_id, EDA_MAX_KEY_LEN, "correlation id", false);
	}

	EdaPublishBegin(&call, function, correlation_id,
					!PG_ARGISNULL(7), PG_ARGISNULL(7) ? 0 : PG_GETARG_INT64(7), false);
	EdaPublishOnTopic(&call, PG_GETARG_TEXT_PP(0));

	/* the payload stays as it is: compressed and even out of line, if it was */
	EdaPublishInitEvent(&call, &ev);
	(void) EdaPublishCheckSize(PG_GETARG_DATUM(1), "payload", false);
	ev.payload = (struct varlena *) PG_GETARG_POINTER(1);
	if (!PG_ARGISNULL(2))
	{
		ev.key = PG_GETARG_TEXT_PP(2);
		(void) EdaPublishCheckLength(ev.key, EDA_MAX_KEY_LEN, "key", false);
	}
	if (!PG_ARGISNULL(3))
		ev.headers = EdaPublishHeaders(PG_GETARG_DATUM(3), "argument \"headers\" of eda.publish()", false);

	if (has_claim)
	{
		claim.key = PG_GETARG_TEXT_PP(5);
		claim.payload = ev.payload;
		(void) EdaPublishCheckLength(claim.key, EDA_MAX_NAME_LEN, "idempotency key", false);
		EdaIdempotencyClaimKeys(call.topic, &claim, 1);
		if (!claim.claimed)
			PG_RETURN_INT64(claim.event_id);
		/*
		 * a trigger may have published, or we have waited: the contract need not be that one any
		 * more
		 */
		EdaPublishOnTopic(&call, call.topic);
	}

	/* one that was published before need not be what is wanted by now */
	if (call.contract != NULL)
		(void) EdaContractCheck(call.contract, ev.payload, 0, NULL);

	if (!PG_ARGISNULL(4) && PG_GETARG_TIMESTAMPTZ(4) > GetCurrentTimestamp())
	{
		ev.deliver_at = PG_GETARG_TIMESTAMPTZ(4);
		EdaDelayEvent(&ev, has_claim ? claim.key : NULL);
	}
	else
		EdaPublishAppend(&ev, 1);

	if (has_claim)
	{
		claim.event_id = ev.id;
		EdaIdempotencyRecord(&claim, 1);
	}

	PG_RETURN_INT64(ev.id);
}

/* ---- eda.publish_batch() --------------------------------------------- */

static const char *const batch_function = "eda.publish_batch()";

/* An array argument, taken apart; elems is NULL where the argument is. */
typedef struct BatchArray
{
	const char *argument;
	Datum	   *elems;
	bool	   *nulls;
	int			n;
} BatchArray;

/* Take an array argument apart; it must have one dimension, and n elements if n >= 0. */
static void
take_array(FunctionCallInfo fcinfo, int argno, const char *argument, int n, BatchArray *array)
{
	ArrayType  *value;
	Oid			elemtype;
	int16		typlen;
	bool		typbyval;
	char		typalign;

	memset(array, 0, sizeof(*array));
	array->argument = argument;
	if (PG_ARGISNULL(argno))
		return;

	value = PG_GETARG_ARRAYTYPE_P(argno);
	elemtype = ARR_ELEMTYPE(value);
	if (ARR_NDIM(value) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("argument \"%s\" of %s must be a one-dimensional array",
						argument, batch_function)));
	get_typlenbyvalalign(elemtype, &typlen, &typbyval, &typalign);
	deconstruct_array(value, elemtype, typlen, typbyval, typalign,
					  &array->elems, &array->nulls, &array->n);
	if (n >= 0 && array->n != n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments \"%s\" and \"%s\" of %s must have the same number of elements",
						"payloads", argument, batch_function),
				 errdetail("\"%s\" has %d, \"%s\" has %d.",
						   "payloads", n, argument, array->n)));
}

/* Is there a value? */
static bool
has_element(const BatchArray *array, int i)
{
	return array->elems != NULL && !array->nulls[i];
}

/* A value that must be there. */
static Datum
need_element(const BatchArray *array, int i)
{
	if (!has_element(array, i))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("element %d of argument \"%s\" of %s must not be null",
						i + 1, array->argument, batch_function)));
	return array->elems[i];
}

/* The arguments of eda.publish_batch(), in their order. */
typedef struct BatchArgs
{
	struct varlena *topic;		/* text, NULL: each event has its own */
	BatchArray	payloads;
	BatchArray	keys;
	BatchArray	headers;
	BatchArray	idempotency_keys;
	BatchArray	deliver_at;
	BatchArray	topics;
} BatchArgs;

static void
take_batch_arguments(FunctionCallInfo fcinfo, BatchArgs *args)
{
	int			n;

	if (PG_ARGISNULL(6))
		EdaRequireArg(fcinfo, 0, "topic");
	if (!PG_ARGISNULL(0) && !PG_ARGISNULL(6))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments \"%s\" and \"%s\" of %s must not both be given",
						"topic", "topics", batch_function),
				 errhint("With a topic for each event, \"topic\" is null.")));
	EdaRequireArg(fcinfo, 1, "payloads");

	args->topic = PG_ARGISNULL(0) ? NULL : (struct varlena *) PG_GETARG_TEXT_PP(0);
	take_array(fcinfo, 1, "payloads", -1, &args->payloads);
	n = args->payloads.n;
	take_array(fcinfo, 2, "keys", n, &args->keys);
	take_array(fcinfo, 3, "headers", n, &args->headers);
	take_array(fcinfo, 4, "idempotency_keys", n, &args->idempotency_keys);
	take_array(fcinfo, 5, "deliver_at", n, &args->deliver_at);
	take_array(fcinfo, 6, "topics", n, &args->topics);
}

/* Element i becomes the chunk's next event. */
static void
add_element(EdaPublishCall *call, EdaPublishChunk *chunk, const BatchArgs *args, int i)
{
	EdaEvent   *ev = &chunk->events[chunk->n];
	struct varlena *idempotency_key = NULL;
	Datum		payload;

	EdaPublishOnTopic(call, args->topic != NULL ? args->topic :
					  (struct varlena *) DatumGetTextPP(need_element(&args->topics, i)));
	EdaPublishInitEvent(call, ev);
	payload = need_element(&args->payloads, i);
	(void) EdaPublishCheckSize(payload, "payload", false);
	ev->payload = (struct varlena *) DatumGetPointer(payload);
	if (has_element(&args->keys, i))
	{
		ev->key = DatumGetTextPP(args->keys.elems[i]);
		(void) EdaPublishCheckLength(ev->key, EDA_MAX_KEY_LEN, "key", false);
	}
	if (has_element(&args->headers, i))
		ev->headers = EdaPublishHeaders(args->headers.elems[i], "argument \"headers\" of eda.publish_batch()", false);
	if (has_element(&args->idempotency_keys, i))
	{
		idempotency_key = DatumGetTextPP(args->idempotency_keys.elems[i]);
		(void) EdaPublishCheckLength(idempotency_key, EDA_MAX_NAME_LEN, "idempotency key", false);
		chunk->nkeys++;
	}
	if (has_element(&args->deliver_at, i))
	{
		ev->deliver_at = DatumGetTimestampTz(args->deliver_at.elems[i]);
		EdaPublishCheckTime(ev->deliver_at, "argument \"deliver_at\" of eda.publish_batch()");
	}
	chunk->keys[chunk->n++] = idempotency_key;
}

/*
 * eda.publish_batch(topic text, payloads jsonb[], keys text[], headers jsonb[],
 *					 idempotency_keys text[], deliver_at timestamptz[], topics text[]) RETURNS
 *					 bigint[]
 */
Datum
eda_publish_events(PG_FUNCTION_ARGS)
{
	EdaPublishCall call;
	EdaPublishChunk *chunk;
	BatchArgs	args;
	MemoryContext chunk_context;
	Datum	   *ids;
	int			n;

	take_batch_arguments(fcinfo, &args);
	EdaPublishBegin(&call, batch_function, NULL, false, 0, false);
	if (args.topic != NULL)
		EdaPublishOnTopic(&call, args.topic);
	n = args.payloads.n;
	if (n == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(INT8OID));

	ids = palloc(sizeof(Datum) * n);
	chunk = palloc(sizeof(EdaPublishChunk));
	chunk_context = AllocSetContextCreate(CurrentMemoryContext,
										  "eda publish_batch chunk",
										  ALLOCSET_DEFAULT_SIZES);
	for (int done = 0; done < n; done += chunk->n)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(chunk_context);

		chunk->n = chunk->nkeys = 0;
		while (chunk->n < EDA_PUBLISH_ROWS && done + chunk->n < n)
			add_element(&call, chunk, &args, done + chunk->n);
		EdaPublishChunkFlush(&call, chunk, false, done + 1);
		/* a topic of the chunk may end with it */
		if (args.topic == NULL)
			call.topic = NULL;

		MemoryContextSwitchTo(oldcontext);
		MemoryContextReset(chunk_context);
		for (int i = 0; i < chunk->n; i++)
			ids[done + i] = Int64GetDatum(chunk->events[i].id);
	}

	PG_RETURN_ARRAYTYPE_P(construct_array(ids, n, INT8OID, sizeof(int64),
										  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* The function of 0.1.0, which had four arguments. */
Datum
eda_publish_batch(PG_FUNCTION_ARGS)
{
	EdaOldVersionError();
}

/* ---- eda's own events ------------------------------------------------ */

int64
EdaPublishInternal(const char *topic, Jsonb *payload, const char *key,
				   const char *correlation_id, int64 causation_id)
{
	EdaPublishCall call;
	EdaEvent	ev;

	EdaPublishBegin(&call, "eda.publish()",
					correlation_id ? cstring_to_text(correlation_id) : NULL,
					causation_id != 0, causation_id, true);
	EdaPublishOnTopic(&call, cstring_to_text(topic));

	EdaPublishInitEvent(&call, &ev);
	ev.payload = (struct varlena *) payload;
	if (key)
		ev.key = cstring_to_text(key);
	EdaPublishAppend(&ev, 1);

	return ev.id;
}

int64
EdaPublishAbout(const char *topic, Jsonb *payload, const char *key, const EdaEvent *about)
{
	EdaPublishCall call;
	EdaEvent	ev;
	struct varlena *correlation_id = about->correlation_id;

	if (correlation_id == NULL)
		correlation_id = (struct varlena *)
			cstring_to_text(psprintf("%lld", (long long) about->id));
	EdaPublishBegin(&call, "eda.publish()", correlation_id, true, about->id, true);
	EdaPublishOnTopic(&call, cstring_to_text(topic));
	call.hops = about->hops + 1;

	EdaPublishInitEvent(&call, &ev);
	ev.payload = (struct varlena *) payload;
	ev.key = key == NULL ? NULL : (struct varlena *) cstring_to_text(key);
	EdaPublishAppend(&ev, 1);

	return ev.id;
}
