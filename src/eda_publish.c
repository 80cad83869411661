/*-------------------------------------------------------------------------
 *
 * eda_publish.c
 *	  eda.publish() and its siblings.
 *
 *	1. A publish function checks everything that the executor would have
 *	   checked for an INSERT (read-only, recovery, parallel mode) and what is
 *	   eda's own (topic, sizes, hops, the topic's schema), claims idempotency keys, notes who is to
 *	   be woken at commit, locks the log, takes ids, and appends: in this order,
 *	   so that nothing waits or fails between an id and its row, and a call
 *	   locks the log after every other table.
 *	2. Rights are those to execute the function.  The log is written below the
 *	   executor; only eda.idempotency is written as the extension's owner.  A
 *	   query that is published runs as the caller, untouched by any of that.
 *	3. An event published by a handler inherits: correlation from the handled
 *	   event, causation its id, one hop more.
 *	4. Rows of a query go through in chunks: evaluated, claimed, appended,
 *	   forgotten.  Memory is bounded by CHUNK_ROWS and CHUNK_BYTES, ids of a
 *	   chunk are taken after its rows were evaluated.
 *	   Between two fetches code of the caller's runs, a cast to json or a column's output.  It
 *	   could close the cursor, which is pinned, or fetch from it, which is an error.
 *	5. One that is not due yet goes to eda.delayed_event instead of the log
 *	   (eda_delay.c), after the same checks; the log is not locked for it.
 *	6. No state between calls, no locks of its own.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/eda_publish.c
 *
 *-------------------------------------------------------------------------
 */
#include "eda.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/portal.h"
#include "utils/timestamp.h"

#include "eda_append.h"
#include "eda_contract.h"
#include "eda_delay.h"
#include "eda_event.h"
#include "eda_idempotency.h"
#include "eda_log.h"
#include "eda_publish.h"
#include "eda_topic.h"
#include "eda_wake.h"

PG_FUNCTION_INFO_V1(eda_publish);
PG_FUNCTION_INFO_V1(eda_publish_batch);
PG_FUNCTION_INFO_V1(eda_publish_query);

/* Longest key and correlation id, in bytes. */
#define MAX_KEY_LEN		1024

/* Events that are appended together, and the payload bytes they may have. */
#define CHUNK_ROWS		1000
#define CHUNK_BYTES		(8 * 1024 * 1024)

/* Rows of a query that are fetched first, before we know how wide they are. */
#define FIRST_FETCH		50

/* What all events of one call have in common. */
typedef struct PublishCall
{
	const char *function;		/* for messages */
	struct varlena *topic;		/* text */
	struct varlena *correlation_id; /* text, NULL: each its own id */
	int64		causation_id;	/* 0: none */
	int32		hops;
	Oid			published_by;
	EdaContract *contract;		/* NULL: any payload will do */
} PublishCall;

/* A query whose rows are being published. */
typedef struct QueryState
{
	PublishCall call;
	const char *query;
	bool		skip_invalid;
	int			keep_refusals;
	Size		refusal_bytes;
	MemoryContext refusal_context;
	EdaPublishResult *result;
	bool		in_row;			/* for the error context */

	/* columns of the query, 0: none */
	int			payload_attnum; /* is the payload, all of it */
	int			key_attnum;
	int			idempotency_attnum;
	FmgrInfo	key_out;
	FmgrInfo	idempotency_out;
	FmgrInfo	to_jsonb;

	/* the chunk; what its events point to lives in chunk_context */
	MemoryContext chunk_context;
	int			nevents;
	int			nclaims;
	Size		bytes;
	EdaEvent	events[CHUNK_ROWS];
	int			event_claim[CHUNK_ROWS];	/* index into claims, or -1 */
	EdaIdempotencyClaim claims[CHUNK_ROWS];
} QueryState;

static void
null_argument_error(const char *argument, const char *function)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("argument \"%s\" of %s must not be null",
					argument, function)));
}

/*
 * Check what is the same for all events of a call, and find out what they
 * inherit.  topic, a detoasted text, must outlive the call; correlation_id
 * may be NULL; causation_id is looked at where has_causation.  internal:
 * eda's own event.
 */
static void
begin_call(PublishCall *call, const char *function, struct varlena *topic,
		   struct varlena *correlation_id, bool has_causation,
		   int64 causation_id, bool internal)
{
	const EdaEvent *current = EdaCurrentEvent();

	PreventCommandDuringRecovery(function);
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);

	EdaCheckTopic(VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic), internal);

	call->function = function;
	call->topic = topic;
	call->correlation_id = correlation_id;
	call->causation_id = has_causation ? causation_id : 0;
	call->hops = 0;
	call->published_by = GetUserId();
	call->contract = internal ? NULL :
		EdaContractOfTopic(VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic));

	if (current == NULL)
		return;

	call->hops = current->hops + 1;
	if (!internal && call->hops > eda_max_hops)
		ereport(ERROR,
				(errcode(ERRCODE_EDA_TOO_MANY_HOPS),
				 errmsg("event on topic \"%s\" would have %d hops, more than eda.max_hops (%d)",
						text_to_cstring(topic), call->hops, eda_max_hops),
				 errdetail("It is published while handling event %lld on topic \"%s\", which has %d.",
						   (long long) current->id,
						   text_to_cstring(current->topic), current->hops),
				 errhint("Look for handlers that publish what they subscribe to; raise eda.max_hops if the chain is meant to be that long.")));
	if (!has_causation)
		call->causation_id = current->id;
	if (correlation_id == NULL)
	{
		if (current->correlation_id)
			call->correlation_id = current->correlation_id;
		else
			call->correlation_id =
				cstring_to_text(psprintf("%lld", (long long) current->id));
	}
}

/* Is a jsonb small enough?  Where it isn't: false if soft, else an ERROR. */
static bool
check_size(Datum value, const char *what, bool soft)
{
	Size		size = toast_raw_datum_size(value);

	if (size <= (Size) eda_max_payload_size * 1024)
		return true;
	if (!soft)
		ereport(ERROR,
				(errcode(ERRCODE_EDA_PAYLOAD_TOO_LARGE),
				 errmsg("%s of %zu bytes is larger than eda.max_payload_size (%d kB)",
						what, size, eda_max_payload_size),
				 errhidestmt(true),
				 errhint("Publish a reference to the data, or raise eda.max_payload_size.")));
	return false;
}

/* Is a key, a correlation id or an idempotency key short enough?  Likewise. */
static bool
check_length(struct varlena *value, int limit, const char *what, bool soft)
{
	Size		len = VARSIZE_ANY_EXHDR(value);

	if (len <= limit)
		return true;
	if (!soft)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of %zu bytes is longer than %d bytes",
						what, len, limit)));
	return false;
}

/* A headers argument, checked. */
static struct varlena *
check_headers(Datum value, const char *function)
{
	Jsonb	   *headers;

	(void) check_size(value, "headers object", false);
	headers = DatumGetJsonbP(value);
	if (!JB_ROOT_IS_OBJECT(headers))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" of %s must be a JSON object",
						"headers", function)));
	return (struct varlena *) headers;
}

static void
init_event(const PublishCall *call, EdaEvent *ev)
{
	memset(ev, 0, sizeof(*ev));
	ev->topic = call->topic;
	ev->correlation_id = call->correlation_id;
	ev->causation_id = call->causation_id;
	ev->hops = call->hops;
	ev->published_by = call->published_by;
}

/*
 * Append events that are complete but for their ids and time.  From here on
 * no user code runs and nothing of the caller's is waited for.
 */
static void
append_events(const PublishCall *call, EdaEvent *events, int n)
{
	int64		one_id;
	int64	   *ids = n == 1 ? &one_id : palloc(sizeof(int64) * n);
	TimestampTz now;

	EdaWakeForTopic(VARDATA_ANY(call->topic), VARSIZE_ANY_EXHDR(call->topic));
	EdaLogLock();
	EdaTakeIds(ids, n);
	now = GetCurrentTimestamp();
	for (int i = 0; i < n; i++)
	{
		events[i].id = ids[i];
		events[i].published_at = now;
	}
	EdaWakeForEvents(events, n);
	EdaLogAppend(events, n);

	if (ids != &one_id)
		pfree(ids);
}

/*
 * eda.publish(topic text, payload jsonb, key text, headers jsonb,
 *			   deliver_at timestamptz, idempotency_key text,
 *			   correlation_id text, causation_id bigint) RETURNS bigint
 */
Datum
eda_publish(PG_FUNCTION_ARGS)
{
	const char *function = "eda.publish()";
	PublishCall call;
	EdaEvent	ev;
	struct varlena *correlation_id = NULL;
	EdaIdempotencyClaim claim;
	bool		has_claim = !PG_ARGISNULL(5);

	if (PG_ARGISNULL(0))
		null_argument_error("topic", function);
	if (PG_ARGISNULL(1))
		null_argument_error("payload", function);
	if (!PG_ARGISNULL(4) && TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(4)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" of %s must be finite",
						"deliver_at", function)));
	if (!PG_ARGISNULL(6))
	{
		correlation_id = PG_GETARG_TEXT_PP(6);
		(void) check_length(correlation_id, MAX_KEY_LEN, "correlation id", false);
	}

	begin_call(&call, function, PG_GETARG_TEXT_PP(0), correlation_id,
			   !PG_ARGISNULL(7), PG_ARGISNULL(7) ? 0 : PG_GETARG_INT64(7),
			   false);

	/* the payload stays as it is: compressed and even out of line, if it was */
	init_event(&call, &ev);
	(void) check_size(PG_GETARG_DATUM(1), "payload", false);
	ev.payload = (struct varlena *) PG_GETARG_POINTER(1);
	if (!PG_ARGISNULL(2))
	{
		ev.key = PG_GETARG_TEXT_PP(2);
		(void) check_length(ev.key, MAX_KEY_LEN, "key", false);
	}
	if (!PG_ARGISNULL(3))
		ev.headers = check_headers(PG_GETARG_DATUM(3), function);

	if (has_claim)
	{
		claim.key = PG_GETARG_TEXT_PP(5);
		claim.payload = ev.payload;
		(void) check_length(claim.key, EDA_MAX_NAME_LEN, "idempotency key", false);
		EdaIdempotencyClaimKeys(call.topic, &claim, 1);
		if (!claim.claimed)
			PG_RETURN_INT64(claim.event_id);
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
		append_events(&call, &ev, 1);

	if (has_claim)
	{
		claim.event_id = ev.id;
		EdaIdempotencyRecord(&claim, 1);
	}

	PG_RETURN_INT64(ev.id);
}

/* Elements of an array argument, which must have one dimension and n elements if n >= 0. */
static int
array_elements(ArrayType *array, const char *argument, const char *function,
			   int n, Datum **elems, bool **nulls)
{
	Oid			elemtype = ARR_ELEMTYPE(array);
	int			nelems;
	int16		typlen;
	bool		typbyval;
	char		typalign;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("argument \"%s\" of %s must be a one-dimensional array",
						argument, function)));
	get_typlenbyvalalign(elemtype, &typlen, &typbyval, &typalign);
	deconstruct_array(array, elemtype, typlen, typbyval, typalign,
					  elems, nulls, &nelems);
	if (n >= 0 && nelems != n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments \"%s\" and \"%s\" of %s must have the same number of elements",
						"payloads", argument, function),
				 errdetail("\"%s\" has %d, \"%s\" has %d.",
						   "payloads", n, argument, nelems)));
	return nelems;
}

/*
 * eda.publish_batch(topic text, payloads jsonb[], keys text[],
 *					 headers jsonb[]) RETURNS bigint[]
 */
Datum
eda_publish_batch(PG_FUNCTION_ARGS)
{
	const char *function = "eda.publish_batch()";
	PublishCall call;
	Datum	   *payloads;
	Datum	   *keys = NULL;
	Datum	   *headers = NULL;
	bool	   *payload_nulls;
	bool	   *key_nulls = NULL;
	bool	   *header_nulls = NULL;
	Datum	   *ids;
	EdaEvent   *events;
	MemoryContext chunk_context;
	int			n;

	if (PG_ARGISNULL(0))
		null_argument_error("topic", function);
	if (PG_ARGISNULL(1))
		null_argument_error("payloads", function);

	begin_call(&call, function, PG_GETARG_TEXT_PP(0), NULL, false, 0, false);

	n = array_elements(PG_GETARG_ARRAYTYPE_P(1), "payloads", function, -1,
					   &payloads, &payload_nulls);
	if (!PG_ARGISNULL(2))
		(void) array_elements(PG_GETARG_ARRAYTYPE_P(2), "keys", function, n,
							  &keys, &key_nulls);
	if (!PG_ARGISNULL(3))
		(void) array_elements(PG_GETARG_ARRAYTYPE_P(3), "headers", function, n,
							  &headers, &header_nulls);
	if (n == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(INT8OID));

	ids = palloc(sizeof(Datum) * n);
	events = palloc(sizeof(EdaEvent) * Min(n, CHUNK_ROWS));
	chunk_context = AllocSetContextCreate(CurrentMemoryContext,
										  "eda publish_batch chunk",
										  ALLOCSET_DEFAULT_SIZES);

	for (int done = 0; done < n;)
	{
		int			count = Min(n - done, CHUNK_ROWS);
		MemoryContext oldcontext = MemoryContextSwitchTo(chunk_context);

		for (int i = 0; i < count; i++)
		{
			EdaEvent   *ev = &events[i];
			int			elem = done + i;

			init_event(&call, ev);
			if (payload_nulls[elem])
				ereport(ERROR,
						(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						 errmsg("element %d of argument \"%s\" of %s must not be null",
								elem + 1, "payloads", function)));
			(void) check_size(payloads[elem], "payload", false);
			ev->payload = (struct varlena *) DatumGetPointer(payloads[elem]);
			if (call.contract != NULL)
				(void) EdaContractCheck(call.contract, ev->payload, elem + 1, NULL);
			if (keys && !key_nulls[elem])
			{
				ev->key = DatumGetTextPP(keys[elem]);
				(void) check_length(ev->key, MAX_KEY_LEN, "key", false);
			}
			if (headers && !header_nulls[elem])
				ev->headers = check_headers(headers[elem], function);
		}

		append_events(&call, events, count);

		MemoryContextSwitchTo(oldcontext);
		MemoryContextReset(chunk_context);
		for (int i = 0; i < count; i++)
			ids[done + i] = Int64GetDatum(events[i].id);
		done += count;
	}

	PG_RETURN_ARRAYTYPE_P(construct_array(ids, n, INT8OID, sizeof(int64),
										  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* What an error is about: the statement, or the row that came out of it. */
static void
query_error_context(void *arg)
{
	QueryState *qs = arg;

	if (qs->in_row)
		errcontext("row %lld of the query", (long long) qs->result->total);
	else
		errcontext("SQL statement \"%s\"", qs->query);
}

/* A column of the query by name; ERROR naming the columns where it isn't there. */
static int
find_column(TupleDesc desc, const char *column, const char *argument)
{
	StringInfoData names;

	for (int i = 0; i < desc->natts; i++)
	{
		if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), column) == 0)
			return i + 1;
	}

	initStringInfo(&names);
	for (int i = 0; i < desc->natts; i++)
		appendStringInfo(&names, "%s\"%s\"", i > 0 ? ", " : "",
						 NameStr(TupleDescAttr(desc, i)->attname));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" (argument \"%s\") is not in the result of the query",
					column, argument),
			 errdetail("The query returns: %s.", names.data)));
}

/* The output function of a column, which is made text. */
static void
prepare_output(TupleDesc desc, int attnum, FmgrInfo *finfo)
{
	Oid			function;
	bool		isvarlena;

	getTypeOutputInfo(TupleDescAttr(desc, attnum - 1)->atttypid,
					  &function, &isvarlena);
	fmgr_info(function, finfo);
}

/* What the columns of the query are for. */
static void
prepare_columns(QueryState *qs, TupleDesc desc, const char *key_column,
				const char *idempotency_key_column)
{
	int			others = desc->natts;
	Expr	   *expr;

	if (key_column)
	{
		qs->key_attnum = find_column(desc, key_column, "key_column");
		prepare_output(desc, qs->key_attnum, &qs->key_out);
		others--;
	}
	if (idempotency_key_column)
	{
		qs->idempotency_attnum = find_column(desc, idempotency_key_column,
											 "idempotency_key_column");
		prepare_output(desc, qs->idempotency_attnum, &qs->idempotency_out);
		if (qs->idempotency_attnum != qs->key_attnum)
			others--;
	}

	/* the one column that is no key may be the payload */
	if (others == 1)
	{
		for (int i = 0; i < desc->natts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(desc, i);

			if (i + 1 != qs->key_attnum && i + 1 != qs->idempotency_attnum &&
				strcmp(NameStr(att->attname), "payload") == 0 &&
				getBaseType(att->atttypid) == JSONBOID)
			{
				qs->payload_attnum = i + 1;
				return;
			}
		}
	}

	/* a JSON object can't hold two values of one name */
	for (int i = 0; i < desc->natts; i++)
	{
		for (int j = 0; j < i; j++)
		{
			if (strcmp(NameStr(TupleDescAttr(desc, i)->attname),
					   NameStr(TupleDescAttr(desc, j)->attname)) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("the query returns column \"%s\" more than once",
								NameStr(TupleDescAttr(desc, i)->attname)),
						 errhint("Columns become fields of the payload: give each a name of its own with AS.")));
		}
	}

	/* to_jsonb(record): its argument's type is what the expression says */
	fmgr_info(F_TO_JSONB, &qs->to_jsonb);
	expr = (Expr *) makeFuncExpr(F_TO_JSONB, JSONBOID,
								 list_make1(makeNullConst(RECORDOID, -1, InvalidOid)),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	fmgr_info_set_expr((Node *) expr, &qs->to_jsonb);
}

/* A column of a row as text, NULL where it is null. */
static struct varlena *
column_text(HeapTuple tuple, TupleDesc desc, int attnum, FmgrInfo *out)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, desc, &isnull);

	if (isnull)
		return NULL;
	return cstring_to_text(OutputFunctionCall(out, value));
}

/* A row is refused, and not an error: keep it where that is wanted. */
static bool
refuse(QueryState *qs, Datum payload, const char *reason)
{
	MemoryContext before;
	EdaRefusal *refusal;
	Size		size;

	if (list_length(qs->result->refusals) >= qs->keep_refusals)
		return false;
	before = MemoryContextSwitchTo(qs->refusal_context);
	refusal = palloc0(sizeof(EdaRefusal));
	refusal->row = qs->result->total;
	size = payload == (Datum) 0 ? 0 : toast_raw_datum_size(payload);
	if (size > 0 && qs->refusal_bytes + size <= CHUNK_BYTES)
	{
		refusal->payload = DatumGetJsonbPCopy(payload);
		qs->refusal_bytes += size;
	}
	refusal->reason = pstrdup(reason);
	qs->refusal_bytes += strlen(reason);
	qs->result->refusals = lappend(qs->result->refusals, refusal);
	MemoryContextSwitchTo(before);
	return false;
}

/*
 * Make an event of a row, in the chunk; false where it can't be published and
 * that is no error.
 */
static bool
add_row(QueryState *qs, HeapTuple tuple, TupleDesc desc)
{
	EdaEvent   *ev = &qs->events[qs->nevents];
	struct varlena *idempotency_key = NULL;
	bool		soft = qs->skip_invalid;
	char	   *violations;
	Datum		payload;

	init_event(&qs->call, ev);

	if (qs->payload_attnum > 0)
	{
		bool		isnull;

		payload = heap_getattr(tuple, qs->payload_attnum, desc, &isnull);
		if (isnull)
		{
			if (soft)
				return refuse(qs, (Datum) 0, "payload is null");
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("column \"%s\" of the query must not be null",
							"payload")));
		}
	}
	else
		payload = FunctionCall1(&qs->to_jsonb,
								heap_copy_tuple_as_datum(tuple, desc));
	if (!check_size(payload, "payload", soft))
		return refuse(qs, payload, "payload is larger than eda.max_payload_size");
	ev->payload = (struct varlena *) DatumGetPointer(payload);
	if (qs->call.contract != NULL &&
		!EdaContractCheck(qs->call.contract, ev->payload, 0, soft ? &violations : NULL))
		return refuse(qs, payload, violations);

	if (qs->key_attnum > 0)
	{
		ev->key = column_text(tuple, desc, qs->key_attnum, &qs->key_out);
		if (ev->key && !check_length(ev->key, MAX_KEY_LEN, "key", soft))
			return refuse(qs, payload, "key is too long");
	}
	if (qs->idempotency_attnum > 0)
	{
		idempotency_key = column_text(tuple, desc, qs->idempotency_attnum,
									  &qs->idempotency_out);
		if (idempotency_key &&
			!check_length(idempotency_key, EDA_MAX_NAME_LEN, "idempotency key", soft))
			return refuse(qs, payload, "idempotency key is too long");
	}

	qs->event_claim[qs->nevents] = -1;
	if (idempotency_key)
	{
		EdaIdempotencyClaim *claim = &qs->claims[qs->nclaims];

		claim->key = idempotency_key;
		claim->payload = ev->payload;
		qs->event_claim[qs->nevents] = qs->nclaims++;
	}
	qs->nevents++;
	qs->bytes += toast_raw_datum_size(payload);
	return true;
}

/* Publish what is in the chunk. */
static void
flush_chunk(QueryState *qs)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(qs->chunk_context);
	int			n = qs->nevents;

	if (qs->nclaims > 0)
	{
		/* leave out what was published before */
		EdaIdempotencyClaimKeys(qs->call.topic, qs->claims, qs->nclaims);
		n = 0;
		for (int i = 0; i < qs->nevents; i++)
		{
			int			claim = qs->event_claim[i];

			if (claim >= 0 && !qs->claims[claim].claimed)
				continue;
			if (n != i)
			{
				qs->events[n] = qs->events[i];
				qs->event_claim[n] = claim;
			}
			n++;
		}
	}

	if (n > 0)
	{
		append_events(&qs->call, qs->events, n);

		if (qs->nclaims > 0)
		{
			for (int i = 0; i < n; i++)
			{
				if (qs->event_claim[i] >= 0)
					qs->claims[qs->event_claim[i]].event_id = qs->events[i].id;
			}
			EdaIdempotencyRecord(qs->claims, qs->nclaims);
		}

		if (qs->result->published == 0)
			qs->result->first_id = qs->events[0].id;
		qs->result->last_id = qs->events[n - 1].id;
		qs->result->published += n;
	}

	qs->nevents = qs->nclaims = 0;
	qs->bytes = 0;
	MemoryContextSwitchTo(oldcontext);
	MemoryContextReset(qs->chunk_context);
}

/* Analyze the query; ERROR where it is not one statement that returns rows. */
static SPIPlanPtr
prepare_query(const char *query)
{
	SPIPlanPtr	plan;
	const char *detail = NULL;

	plan = SPI_prepare(query, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "could not prepare the query: %s",
			 SPI_result_code_string(SPI_result));

	switch (list_length(SPI_plan_get_plan_sources(plan)))
	{
		case 0:
			detail = "It is empty.";
			break;
		case 1:
			if (!SPI_is_cursor_plan(plan))
				detail = "It returns no rows.";
			break;
		default:
			detail = "It is more than one statement.";
			break;
	}
	if (detail)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the query cannot be published"),
				 errdetail_internal("%s", detail),
				 errhint("Give one SELECT, or an INSERT, UPDATE or DELETE with RETURNING.")));
	return plan;
}

/* WARNING for a lone column "payload" that looks like one and, not being jsonb, is a field of the payload. */
static void
warn_of_payload(const QueryState *qs, TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		int			keys = (qs->key_attnum > 0) +
			(qs->idempotency_attnum > 0 && qs->idempotency_attnum != qs->key_attnum);

		if (desc->natts - keys == 1 && i + 1 != qs->key_attnum && i + 1 != qs->idempotency_attnum &&
			strcmp(NameStr(att->attname), "payload") == 0 && getBaseType(att->atttypid) != JSONBOID)
			ereport(WARNING,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of the query is of type %s, and becomes a field of the payload",
							"payload", format_type_be(att->atttypid)),
					 errhint("To make it the payload itself, cast it to jsonb.")));
	}
}

List *
EdaPublishCheckQuery(const char *query, const char *key_column,
					 const char *idempotency_key_column)
{
	QueryState *qs = palloc0(sizeof(QueryState));
	MemoryContext cxt = CurrentMemoryContext;
	MemoryContext before;
	CachedPlanSource *source;
	List	   *queries;

	SPI_connect();
	source = linitial(SPI_plan_get_plan_sources(prepare_query(query)));
	prepare_columns(qs, source->resultDesc, key_column, idempotency_key_column);
	warn_of_payload(qs, source->resultDesc);
	before = MemoryContextSwitchTo(cxt);
	queries = copyObject(source->query_list);
	MemoryContextSwitchTo(before);
	SPI_finish();
	return queries;
}

/* The next rows, in SPI_tuptable.  The caller's code may have had its hands on the cursor. */
static void
fetch_rows(QueryState *qs, Portal portal, long n)
{
	if (portal->portalPos != (uint64) qs->result->total)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_CURSOR_STATE),
				 errmsg("the cursor of the query that is being published was moved"),
				 errdetail("A function that the query's values are converted with has fetched from cursor \"%s\".",
						   portal->name)));
	SPI_cursor_fetch(portal, true, n);
}

void
EdaPublishQuery(const char *topic, const char *query, const char *key_column,
				const char *idempotency_key_column, bool skip_invalid,
				int keep_refusals, EdaPublishResult *result)
{
	QueryState *qs;
	MemoryContext hold_context;
	MemoryContext before;
	Portal		portal;
	long		fetch = FIRST_FETCH;
	ErrorContextCallback errcallback;

	memset(result, 0, sizeof(*result));

	qs = palloc0(sizeof(QueryState));
	qs->query = query;
	qs->skip_invalid = skip_invalid;
	qs->keep_refusals = keep_refusals;
	qs->refusal_context = CurrentMemoryContext;
	qs->result = result;
	begin_call(&qs->call, "eda.publish_query()", cstring_to_text(topic),
			   NULL, false, 0, false);
	qs->chunk_context = AllocSetContextCreate(CurrentMemoryContext,
											  "eda publish_query chunk",
											  ALLOCSET_DEFAULT_SIZES);
	/* the query may run what publishes, or defines the topic anew */
	hold_context = AllocSetContextCreate(CurrentMemoryContext, "eda publish_query contract",
										 ALLOCSET_SMALL_SIZES);
	before = MemoryContextSwitchTo(hold_context);
	qs->call.contract = EdaContractHold(qs->call.contract);
	MemoryContextSwitchTo(before);

	SPI_connect();
	/* a data-modifying statement runs to its end when it is first fetched from */
	portal = SPI_cursor_open(NULL, prepare_query(query), NULL, NULL, false);
	PinPortal(portal);
	prepare_columns(qs, portal->tupDesc, key_column, idempotency_key_column);

	errcallback.callback = query_error_context;
	errcallback.arg = qs;

	for (;;)
	{
		SPITupleTable *rows;
		uint64		nrows;
		Size		bytes = 0;

		CHECK_FOR_INTERRUPTS();

		errcallback.previous = error_context_stack;
		error_context_stack = &errcallback;
		fetch_rows(qs, portal, fetch);
		error_context_stack = errcallback.previous;

		nrows = SPI_processed;
		rows = SPI_tuptable;
		if (nrows == 0)
			break;
		BlessTupleDesc(rows->tupdesc);

		for (uint64 i = 0; i < nrows; i++)
		{
			MemoryContext oldcontext = MemoryContextSwitchTo(qs->chunk_context);
			Size		bytes_before = qs->bytes;

			result->total++;

			qs->in_row = true;
			errcallback.previous = error_context_stack;
			error_context_stack = &errcallback;
			if (!add_row(qs, rows->vals[i], rows->tupdesc))
				result->invalid++;
			error_context_stack = errcallback.previous;
			qs->in_row = false;

			bytes += qs->bytes - bytes_before;
			MemoryContextSwitchTo(oldcontext);

			if (qs->nevents == CHUNK_ROWS || qs->bytes >= CHUNK_BYTES)
				flush_chunk(qs);
		}

		/* the chunk may point into the rows */
		flush_chunk(qs);
		SPI_freetuptable(rows);

		/* as many rows the next time as a chunk can hold */
		fetch = CHUNK_BYTES / Max(bytes / nrows, 1);
		fetch = Max(Min(fetch, CHUNK_ROWS), 1);
	}

	UnpinPortal(portal);
	SPI_cursor_close(portal);
	SPI_finish();

	MemoryContextDelete(hold_context);
	MemoryContextDelete(qs->chunk_context);
	pfree(qs);
}

/*
 * eda.publish_query(topic text, query text, key_column text,
 *					 idempotency_key_column text, on_invalid text)
 * RETURNS eda.publish_result
 */
Datum
eda_publish_query(PG_FUNCTION_ARGS)
{
	const char *function = "eda.publish_query()";
	EdaPublishResult result;
	TupleDesc	desc;
	Datum		values[5];
	bool		nulls[5];
	char	   *on_invalid;

	if (PG_ARGISNULL(0))
		null_argument_error("topic", function);
	if (PG_ARGISNULL(1))
		null_argument_error("query", function);
	if (PG_ARGISNULL(4))
		null_argument_error("on_invalid", function);

	on_invalid = text_to_cstring(PG_GETARG_TEXT_PP(4));
	if (strcmp(on_invalid, "fail") != 0 && strcmp(on_invalid, "skip") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for argument \"%s\" of %s: \"%s\"",
						"on_invalid", function, on_invalid),
				 errhint("It is \"fail\" or \"skip\".")));

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	EdaPublishQuery(text_to_cstring(PG_GETARG_TEXT_PP(0)),
					text_to_cstring(PG_GETARG_TEXT_PP(1)),
					PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)),
					PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3)),
					strcmp(on_invalid, "skip") == 0, 0, &result);

	memset(nulls, 0, sizeof(nulls));
	values[0] = Int64GetDatum(result.total);
	values[1] = Int64GetDatum(result.published);
	values[2] = Int64GetDatum(result.invalid);
	values[3] = Int64GetDatum(result.first_id);
	values[4] = Int64GetDatum(result.last_id);
	nulls[3] = nulls[4] = (result.published == 0);

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

int64
EdaPublishInternal(const char *topic, Jsonb *payload, const char *key,
				   const char *correlation_id, int64 causation_id)
{
	PublishCall call;
	EdaEvent	ev;

	begin_call(&call, "eda.publish()", cstring_to_text(topic),
			   correlation_id ? cstring_to_text(correlation_id) : NULL,
			   causation_id != 0, causation_id, true);

	init_event(&call, &ev);
	ev.payload = (struct varlena *) payload;
	if (key)
		ev.key = cstring_to_text(key);
	append_events(&call, &ev, 1);

	return ev.id;
}

int64
EdaPublishAbout(const char *topic, Jsonb *payload, const char *key, const EdaEvent *about)
{
	PublishCall call;
	EdaEvent	ev;
	struct varlena *correlation_id = about->correlation_id;

	if (correlation_id == NULL)
		correlation_id = (struct varlena *)
			cstring_to_text(psprintf("%lld", (long long) about->id));
	begin_call(&call, "eda.publish()", cstring_to_text(topic), correlation_id,
			   true, about->id, true);
	call.hops = about->hops + 1;

	init_event(&call, &ev);
	ev.payload = (struct varlena *) payload;
	ev.key = key == NULL ? NULL : (struct varlena *) cstring_to_text(key);
	append_events(&call, &ev, 1);

	return ev.id;
}
