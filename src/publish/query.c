/*-------------------------------------------------------------------------
 *
 * publish/query.c
 *	  eda.publish_query(): each row of a query becomes an event.
 *
 *	1. The query runs as the caller, untouched by anything of ours.  Its columns are the
 *	   payload's fields, but for those that are named as key, idempotency key, headers or topic:
 *	   key columns stay in the payload, as they say something of the row; headers and topic do not.
 *	   A jsonb column "payload" with no other but such columns is the payload.
 *	2. Rows go through in chunks: evaluated, claimed, appended,
 *	   forgotten.  Memory is bounded by EDA_PUBLISH_ROWS and EDA_PUBLISH_BYTES, ids of a
 *	   chunk are taken after its rows were evaluated.
 *	3. User code runs between the chunks (the query) and between rows (casts to json):
 *	   it may publish, or define topics anew, so contracts are held for the call.
 *	   It could close the cursor, which is pinned, or fetch from it, which is an error.
 *	4. Called in a trigger function, by a statement of its, the query sees the
 *	   transition tables (publish/query_env.c).
 *	5. No state between calls, no locks of its own.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/publish/query.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/portal.h"

#include "base/args.h"
#include "base/catalog.h"
#include "event/event.h"
#include "publish/call.h"
#include "publish/publish.h"
#include "publish/query.h"
#include "publish/query_env.h"

PG_FUNCTION_INFO_V1(eda_publish_query);
PG_FUNCTION_INFO_V1(eda_publish_rows);

/* Rows of a query that are fetched first, before we know how wide they are. */
#define FIRST_FETCH		50

/*
 * What a column of the query is, besides or instead of a field of the payload; attnum 0: there is
 * none.
 */
typedef struct QueryColumn
{
	int			attnum;
	FmgrInfo	out;			/* of those that are made text */
} QueryColumn;

/* A query whose rows are being published. */
typedef struct QueryState
{
	EdaPublishCall call;
	const EdaPublishQueryArgs *args;
	struct varlena *topic;		/* where a row names none; NULL: each has to */
	Size		refusal_bytes;
	MemoryContext refusal_context;
	EdaPublishResult *result;
	bool		in_row;			/* for the error context */

	int			payload_attnum; /* is the payload, all of it; 0: none */
	QueryColumn key;
	QueryColumn idempotency_key;
	QueryColumn topic_column;
	int			headers_attnum; /* 0: none */
	FmgrInfo	to_jsonb;
	TupleDesc	fields;			/* of the payload, where they are not all of the columns; else NULL */

	/* the chunk; what its events point to lives in chunk_context */
	MemoryContext chunk_context;
	Size		bytes;
	EdaPublishChunk chunk;
} QueryState;

/* What an error is about: the statement, or the row that came out of it. */
static void
query_error_context(void *arg)
{
	QueryState *qs = arg;

	if (qs->in_row)
		errcontext("row %lld of the query", (long long) qs->result->total);
	else
		errcontext("SQL statement \"%s\"", qs->args->query);
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

/* A column that is made text. */
static void
prepare_text_column(TupleDesc desc, const char *column, const char *argument, QueryColumn *result)
{
	Oid			function;
	bool		isvarlena;

	if (column == NULL)
		return;
	result->attnum = find_column(desc, column, argument);
	getTypeOutputInfo(TupleDescAttr(desc, result->attnum - 1)->atttypid,
					  &function, &isvarlena);
	fmgr_info(function, &result->out);
}

/* The column with the headers, which has to be jsonb. */
static void
prepare_headers_column(QueryState *qs, TupleDesc desc, const char *column)
{
	Form_pg_attribute att;

	if (column == NULL)
		return;
	qs->headers_attnum = find_column(desc, column, "headers_column");
	att = TupleDescAttr(desc, qs->headers_attnum - 1);
	if (getBaseType(att->atttypid) != JSONBOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" (argument \"%s\") is of type %s, must be jsonb",
						column, "headers_column", format_type_be(att->atttypid)),
				 errhint("Add ::jsonb to it in the query.")));
}

/* Is the column headers or topic, which are no fields of the payload? */
static bool
is_about_event(const QueryState *qs, int attnum)
{
	return attnum == qs->headers_attnum || attnum == qs->topic_column.attnum;
}

/* Is the column a field of the payload and nothing else? */
static bool
is_only_field(const QueryState *qs, int attnum)
{
	return !is_about_event(qs, attnum) && attnum != qs->key.attnum &&
		attnum != qs->idempotency_key.attnum;
}

/* The one column "payload" that is nothing else, whatever its type; 0: there is none such. */
static int
find_lone_payload(const QueryState *qs, TupleDesc desc)
{
	int			found = 0;

	for (int i = 1; i <= desc->natts; i++)
	{
		if (!is_only_field(qs, i))
			continue;
		if (found != 0)
			return 0;
		found = i;
	}
	if (found != 0 && strcmp(NameStr(TupleDescAttr(desc, found - 1)->attname), "payload") != 0)
		found = 0;
	return found;
}

static bool
is_jsonb(TupleDesc desc, int attnum)
{
	return getBaseType(TupleDescAttr(desc, attnum - 1)->atttypid) == JSONBOID;
}

/* A JSON object can't hold two values of one name. */
static void
check_field_names(const QueryState *qs, TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
	{
		for (int j = 0; j < i && !is_about_event(qs, i + 1); j++)
		{
			if (!is_about_event(qs, j + 1) &&
				strcmp(NameStr(TupleDescAttr(desc, i)->attname),
					   NameStr(TupleDescAttr(desc, j)->attname)) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("the query returns column \"%s\" more than once",
								NameStr(TupleDescAttr(desc, i)->attname)),
						 errhint("Columns become fields of the payload: give each a name of its own with AS.")));
		}
	}
}

/* The columns that are fields of the payload, as a row type of their own. */
static TupleDesc
fields_of(const QueryState *qs, TupleDesc desc)
{
	TupleDesc	fields;
	int			n = 0;

	for (int i = 1; i <= desc->natts; i++)
		n += !is_about_event(qs, i);
	fields = CreateTemplateTupleDesc(n);
	n = 0;
	for (int i = 1; i <= desc->natts; i++)
	{
		if (!is_about_event(qs, i))
			TupleDescCopyEntry(fields, ++n, desc, i);
	}
	return BlessTupleDesc(fields);
}

/* What the columns of the query are for. */
static void
prepare_columns(QueryState *qs, TupleDesc desc)
{
	const EdaPublishQueryArgs *args = qs->args;
	Expr	   *expr;

	prepare_text_column(desc, args->key_column, "key_column", &qs->key);
	prepare_text_column(desc, args->idempotency_key_column, "idempotency_key_column", &qs->idempotency_key);
	prepare_text_column(desc, args->topic_column, "topic_column", &qs->topic_column);
	prepare_headers_column(qs, desc, args->headers_column);

	qs->payload_attnum = find_lone_payload(qs, desc);
	if (qs->payload_attnum != 0 && is_jsonb(desc, qs->payload_attnum))
		return;
	qs->payload_attnum = 0;
	check_field_names(qs, desc);
	if (qs->headers_attnum != 0 || qs->topic_column.attnum != 0)
		qs->fields = fields_of(qs, desc);

	/* to_jsonb(record): its argument's type is what the expression says */
	fmgr_info(F_TO_JSONB, &qs->to_jsonb);
	expr = (Expr *) makeFuncExpr(F_TO_JSONB, JSONBOID,
								 list_make1(makeNullConst(RECORDOID, -1, InvalidOid)),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	fmgr_info_set_expr((Node *) expr, &qs->to_jsonb);
}

/* A column of a row as text, NULL where it is null. */
static struct varlena *
column_text(HeapTuple tuple, TupleDesc desc, QueryColumn *column)
{
	bool		isnull;
	Datum		value;

	if (column->attnum == 0)
		return NULL;
	value = heap_getattr(tuple, column->attnum, desc, &isnull);
	if (isnull)
		return NULL;
	return cstring_to_text(OutputFunctionCall(&column->out, value));
}

/* A row is refused, and not an error: keep it where that is wanted. */
static bool
refuse(QueryState *qs, Datum payload, const char *reason)
{
	MemoryContext before;
	EdaRefusal *refusal;
	Size		size;

	if (list_length(qs->result->refusals) >= qs->args->keep_refusals)
		return false;
	before = MemoryContextSwitchTo(qs->refusal_context);
	refusal = palloc0(sizeof(EdaRefusal));
	refusal->row = qs->result->total;
	size = payload == (Datum) 0 ? 0 : toast_raw_datum_size(payload);
	if (size > 0 && qs->refusal_bytes + size <= EDA_PUBLISH_BYTES)
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

/* The fields of a row as a JSON object. */
static Datum
fields_to_jsonb(QueryState *qs, HeapTuple tuple, TupleDesc desc)
{
	Datum	   *values;
	bool	   *nulls;
	int			n = 0;

	if (qs->fields == NULL)
		return FunctionCall1(&qs->to_jsonb, heap_copy_tuple_as_datum(tuple, desc));

	values = palloc(sizeof(Datum) * desc->natts);
	nulls = palloc(sizeof(bool) * desc->natts);
	heap_deform_tuple(tuple, desc, values, nulls);
	for (int i = 0; i < desc->natts; i++)
	{
		if (is_about_event(qs, i + 1))
			continue;
		values[n] = values[i];
		nulls[n++] = nulls[i];
	}
	return FunctionCall1(&qs->to_jsonb,
						 HeapTupleGetDatum(heap_form_tuple(qs->fields, values, nulls)));
}

/*
 * The row's topic becomes that of the call; false where it can't and that is
 * no error (*refusal says why).
 */
static bool
take_topic(QueryState *qs, HeapTuple tuple, TupleDesc desc, const char **refusal)
{
	struct varlena *topic = column_text(tuple, desc, &qs->topic_column);

	*refusal = NULL;
	if (topic == NULL)
		topic = qs->topic;
	if (topic == NULL)
		*refusal = "its topic is null";
	else if (qs->args->skip_invalid && topic != qs->topic &&
			 !EdaTopicIsValid(VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic)))
		*refusal = "its topic is not valid";
	if (*refusal == NULL)
	{
		EdaPublishOnTopic(&qs->call, topic);
		return true;
	}
	if (!qs->args->skip_invalid)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("column \"%s\" of the query must not be null where no topic is given",
						qs->args->topic_column)));
	return false;
}

/*
 * Make an event of a row, in the chunk; false where it can't be published and
 * that is no error.
 */
static bool
add_row(QueryState *qs, HeapTuple tuple, TupleDesc desc)
{
	EdaEvent   *ev = &qs->chunk.events[qs->chunk.n];
	struct varlena *key;
	struct varlena *headers = NULL;
	struct varlena *idempotency_key;
	bool		soft = qs->args->skip_invalid;
	const char *refusal;
	char	   *violations;
	bool		isnull;
	Datum		payload;
	Datum		value;

	/* whatever runs user code comes first */
	if (qs->payload_attnum > 0)
	{
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
		payload = fields_to_jsonb(qs, tuple, desc);
	key = column_text(tuple, desc, &qs->key);
	idempotency_key = column_text(tuple, desc, &qs->idempotency_key);

	if (!take_topic(qs, tuple, desc, &refusal))
		return refuse(qs, payload, refusal);
	if (!EdaPublishCheckSize(payload, "payload", soft))
		return refuse(qs, payload, "payload is larger than eda.max_payload_size");
	if (qs->call.contract != NULL &&
		!EdaContractCheck(qs->call.contract, (struct varlena *) DatumGetPointer(payload), 0, soft ? &violations : NULL))
		return refuse(qs, payload, violations);
	if (key && !EdaPublishCheckLength(key, EDA_MAX_KEY_LEN, "key", soft))
		return refuse(qs, payload, "key is too long");
	if (idempotency_key &&
		!EdaPublishCheckLength(idempotency_key, EDA_MAX_NAME_LEN, "idempotency key", soft))
		return refuse(qs, payload, "idempotency key is too long");
	if (qs->headers_attnum > 0)
	{
		value = heap_getattr(tuple, qs->headers_attnum, desc, &isnull);
		if (!isnull)
		{
			headers = EdaPublishHeaders(value, "the headers column", soft);
			if (headers == NULL)
				return refuse(qs, payload, "headers are no JSON object, or too large");
		}
	}

	EdaPublishInitEvent(&qs->call, ev);
	ev->payload = (struct varlena *) DatumGetPointer(payload);
	ev->key = key;
	ev->headers = headers;
	if (idempotency_key)
		qs->chunk.nkeys++;
	qs->chunk.keys[qs->chunk.n++] = idempotency_key;
	qs->bytes += toast_raw_datum_size(payload);
	return true;
}

/* Publish what is in the chunk. */
static void
flush_chunk(QueryState *qs)
{
	EdaPublishChunk *chunk = &qs->chunk;
	MemoryContext oldcontext = MemoryContextSwitchTo(qs->chunk_context);

	EdaPublishChunkFlush(&qs->call, chunk, true, 0);
	for (int i = 0; i < chunk->n; i++)
	{
		if (!chunk->published[i])
			continue;
		if (qs->result->published++ == 0)
			qs->result->first_id = chunk->events[i].id;
		qs->result->last_id = chunk->events[i].id;
	}

	chunk->n = chunk->nkeys = 0;
	qs->bytes = 0;
	/* a row's topic ends here */
	if (qs->call.topic != qs->topic)
		qs->call.topic = NULL;
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

/*
 * WARNING for a lone column "payload" that looks like one and, not being jsonb, is a field of the
 * payload.
 */
static void
warn_of_payload(const QueryState *qs, TupleDesc desc)
{
	int			attnum = find_lone_payload(qs, desc);

	if (attnum != 0 && !is_jsonb(desc, attnum))
		ereport(WARNING,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of the query is of type %s, and becomes a field of the payload",
						"payload", format_type_be(TupleDescAttr(desc, attnum - 1)->atttypid)),
				 errhint("To make it the payload itself, cast it to jsonb.")));
}

List *
EdaPublishCheckQuery(const EdaPublishQueryArgs *args)
{
	QueryState *qs = palloc0(sizeof(QueryState));
	MemoryContext cxt = CurrentMemoryContext;
	MemoryContext before;
	CachedPlanSource *source;
	List	   *queries;

	qs->args = args;
	SPI_connect();
	source = linitial(SPI_plan_get_plan_sources(prepare_query(args->query)));
	prepare_columns(qs, source->resultDesc);
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
EdaPublishQuery(const EdaPublishQueryArgs *args, EdaPublishResult *result)
{
	QueryState *qs;
	MemoryContext hold_context;
	MemoryContext before;
	Portal		portal;
	long		fetch = FIRST_FETCH;
	ErrorContextCallback errcallback;

	memset(result, 0, sizeof(*result));

	qs = palloc0(sizeof(QueryState));
	qs->args = args;
	qs->refusal_context = CurrentMemoryContext;
	qs->result = result;
	qs->chunk_context = AllocSetContextCreate(CurrentMemoryContext,
											  "eda publish_query chunk",
											  ALLOCSET_DEFAULT_SIZES);
	hold_context = AllocSetContextCreate(CurrentMemoryContext, "eda publish_query contract",
										 ALLOCSET_SMALL_SIZES);
	EdaPublishBegin(&qs->call, "eda.publish_query()", NULL, false, 0, false);
	before = MemoryContextSwitchTo(hold_context);
	EdaPublishHoldContracts(&qs->call);
	MemoryContextSwitchTo(before);
	if (args->topic != NULL)
	{
		qs->topic = (struct varlena *) cstring_to_text(args->topic);
		EdaPublishOnTopic(&qs->call, qs->topic);
	}

	SPI_connect();
	EdaQueryEnvShare(args->query);
	/* a data-modifying statement runs to its end when it is first fetched from */
	portal = SPI_cursor_open(NULL, prepare_query(args->query), NULL, NULL, false);
	PinPortal(portal);
	prepare_columns(qs, portal->tupDesc);

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

			if (qs->chunk.n == EDA_PUBLISH_ROWS || qs->bytes >= EDA_PUBLISH_BYTES)
				flush_chunk(qs);
		}

		/* the chunk may point into the rows */
		flush_chunk(qs);
		SPI_freetuptable(rows);

		/* as many rows the next time as a chunk can hold */
		fetch = EDA_PUBLISH_BYTES / Max(bytes / nrows, 1);
		fetch = Max(Min(fetch, EDA_PUBLISH_ROWS), 1);
	}

	UnpinPortal(portal);
	SPI_cursor_close(portal);
	SPI_finish();

	MemoryContextDelete(hold_context);
	MemoryContextDelete(qs->chunk_context);
	pfree(qs);
}

/*
 * eda.publish_query(topic text, query text, key_column text, idempotency_key_column text,
 * on_invalid text,
 *					 headers_column text, topic_column text)
 * RETURNS eda.publish_result
 */
Datum
eda_publish_rows(PG_FUNCTION_ARGS)
{
	EdaPublishQueryArgs args;
	EdaPublishResult result;
	TupleDesc	desc;
	Datum		values[5];
	bool		nulls[5];
	char	   *on_invalid;

	memset(&args, 0, sizeof(args));
	args.topic = EdaOptionalTextArg(fcinfo, 0);
	args.query = EdaOptionalTextArg(fcinfo, 1);
	args.key_column = EdaOptionalTextArg(fcinfo, 2);
	args.idempotency_key_column = EdaOptionalTextArg(fcinfo, 3);
	on_invalid = EdaOptionalTextArg(fcinfo, 4);
	args.headers_column = EdaOptionalTextArg(fcinfo, 5);
	args.topic_column = EdaOptionalTextArg(fcinfo, 6);

	if (args.topic_column == NULL)
		EdaRequireArg(fcinfo, 0, "topic");
	EdaRequireArg(fcinfo, 1, "query");
	EdaRequireArg(fcinfo, 4, "on_invalid");
	args.skip_invalid = strcmp(on_invalid, "skip") == 0;
	if (!args.skip_invalid && strcmp(on_invalid, "fail") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for argument \"%s\" of %s: \"%s\"",
						"on_invalid", "eda.publish_query()", on_invalid),
				 errhint("It is \"fail\" or \"skip\".")));

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	EdaPublishQuery(&args, &result);

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

/* The function of 0.1.0, which had five arguments. */
Datum
eda_publish_query(PG_FUNCTION_ARGS)
{
	EdaOldVersionError();
}
