/*-------------------------------------------------------------------------
 *
 * event/event.c
 *	  One event in memory, and the SQL type eda.event.
 *
 *	1. An EdaEvent points to what it was read from; only EdaEventCopy() and
 *	   the values made for SQL own their data.
 *	2. The event being handled is a pointer that the caller of the handler
 *	   sets and clears, backend-local.  At a batch's commit there is none, but what is
 *	   published then has a cause all the same: id, topic, correlation and hops only.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/event/event.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "base/args.h"
#include "base/catalog.h"
#include "base/security.h"
#include "event/event.h"
#include "event/topic.h"

PG_FUNCTION_INFO_V1(eda_current_event);
PG_FUNCTION_INFO_V1(eda_make_event);

static const EdaEvent *current_event = NULL;
static const EdaEvent *commit_cause = NULL;

const EdaEvent *
EdaCurrentEvent(void)
{
	return current_event;
}

void
EdaSetCurrentEvent(const EdaEvent *ev)
{
	current_event = ev;
}

const EdaEvent *
EdaCause(void)
{
	return current_event != NULL ? current_event : commit_cause;
}

void
EdaSetCommitCause(const EdaEvent *ev)
{
	commit_cause = ev;
}

/*
 * The columns of eda.event.  Good until invalidations are accepted: a reference costs as much as a
 * row.
 */
static TupleDesc
event_desc(void)
{
	TupleDesc	desc = lookup_type_cache(EdaEventTypeId(), TYPECACHE_TUPDESC)->tupDesc;

	if (desc->natts != Natts_event)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("type %s.%s has %d attributes, and should have %d", EDA_SCHEMA_NAME, "event",
						desc->natts, Natts_event),
				 errhint("Drop the attributes that were added to it, or restart the server if eda was updated.")));
	return desc;
}

Datum
EdaEventToDatum(const EdaEvent *ev)
{
	Datum		values[Natts_event];
	bool		nulls[Natts_event];
	HeapTuple	tuple;

#define SET(attnum, value) \
	(values[(attnum) - 1] = (value), nulls[(attnum) - 1] = false)

	memset(values, 0, sizeof(values));
	memset(nulls, true, sizeof(nulls));

	SET(Anum_event_id, Int64GetDatum(ev->id));
	SET(Anum_event_topic, PointerGetDatum(ev->topic));
	if (ev->key)
		SET(Anum_event_key, PointerGetDatum(ev->key));
	SET(Anum_event_payload, PointerGetDatum(ev->payload));
	if (ev->headers)
		SET(Anum_event_headers, PointerGetDatum(ev->headers));
	SET(Anum_event_published_at, TimestampTzGetDatum(ev->published_at));
	SET(Anum_event_published_by, ObjectIdGetDatum(ev->published_by));
	if (ev->correlation_id)
		SET(Anum_event_correlation_id, PointerGetDatum(ev->correlation_id));
	else
	{
		char		buf[MAXINT8LEN + 1];
		int			len = pg_lltoa(ev->id, buf);

		SET(Anum_event_correlation_id,
			PointerGetDatum(cstring_to_text_with_len(buf, len)));
	}
	if (ev->causation_id != 0)
		SET(Anum_event_causation_id, Int64GetDatum(ev->causation_id));
	SET(Anum_event_hops, Int32GetDatum(ev->hops));
	if (ev->subscription)
		SET(Anum_event_subscription, CStringGetTextDatum(ev->subscription));
	if (ev->attempt > 0)
	{
		SET(Anum_event_attempt, Int32GetDatum(ev->attempt));
		SET(Anum_event_redelivered, BoolGetDatum(ev->redelivered));
	}
	if (ev->max_attempts > 0)
		SET(Anum_event_max_attempts, Int32GetDatum(ev->max_attempts));

#undef SET

	tuple = heap_form_tuple(event_desc(), values, nulls);

	/* copies only where a field is out of line */
	return HeapTupleGetDatum(tuple);
}

void
EdaEventPointInto(EdaEvent *ev, Datum value)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(value);
	HeapTupleData tuple;
	Datum		values[Natts_event];
	bool		nulls[Natts_event];

#define VARLENA(attnum) \
	(nulls[(attnum) - 1] ? NULL : (struct varlena *) DatumGetPointer(values[(attnum) - 1]))

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	tuple.t_data = header;
	heap_deform_tuple(&tuple, event_desc(), values, nulls);
	ev->topic = VARLENA(Anum_event_topic);
	ev->key = VARLENA(Anum_event_key);
	ev->payload = VARLENA(Anum_event_payload);
	ev->headers = VARLENA(Anum_event_headers);
	ev->correlation_id = VARLENA(Anum_event_correlation_id);

#undef VARLENA
}

/*
 * The array is an expanded one, which the handler may only read: no element is copied once more,
 * where a flat array would be made, and PL/pgSQL would expand it again.
 */
Datum
EdaEventArray(const Datum *values, int n)
{
	ExpandedArrayHeader *array = construct_empty_expanded_array(EdaEventTypeId(), CurrentMemoryContext, NULL);
	MemoryContext context = array->hdr.eoh_context;

	Assert(n > 0);
	array->ndims = 1;
	array->dims = MemoryContextAlloc(context, sizeof(int));
	array->dims[0] = n;
	array->lbound = MemoryContextAlloc(context, sizeof(int));
	array->lbound[0] = 1;
	array->dvalues = MemoryContextAlloc(context, sizeof(Datum) * n);
	memcpy(array->dvalues, values, sizeof(Datum) * n);
	array->dvalueslen = array->nelems = n;
	array->fvalue = NULL;
	array->fstartptr = array->fendptr = NULL;
	array->flat_size = 0;
	return EOHPGetRODatum(&array->hdr);
}

static struct varlena *
copy_varlena(struct varlena *value)
{
	return value ? PG_DETOAST_DATUM_COPY(PointerGetDatum(value)) : NULL;
}

EdaEvent *
EdaEventCopy(const EdaEvent *ev)
{
	EdaEvent   *copy = palloc(sizeof(EdaEvent));

	*copy = *ev;
	copy->topic = copy_varlena(ev->topic);
	copy->key = copy_varlena(ev->key);
	copy->payload = copy_varlena(ev->payload);
	copy->headers = copy_varlena(ev->headers);
	copy->correlation_id = copy_varlena(ev->correlation_id);
	if (ev->subscription)
		copy->subscription = pstrdup(ev->subscription);
	return copy;
}

EdaEvent *
EdaEventFind(const char *query, int64 id, Snapshot snapshot,
			 void (*from_row) (HeapTuple, TupleDesc, EdaEvent *))
{
	static const Oid types[] = {INT8OID};
	MemoryContext caller = CurrentMemoryContext;
	EdaSecurityContext ctx;
	EdaEvent   *result = NULL;
	Datum		values[1];

	values[0] = Int64GetDatum(id);
	EdaSpiBegin(&ctx);
	EdaSpiPreferIndexes();
	if (EdaSpiQuery(query, 1, types, values, NULL, snapshot) > 0)
	{
		EdaEvent	ev;
		MemoryContext spi;

		from_row(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, &ev);
		spi = MemoryContextSwitchTo(caller);
		result = EdaEventCopy(&ev);
		MemoryContextSwitchTo(spi);
	}
	EdaSpiEnd(&ctx);
	return result;
}

/* eda.current_event() RETURNS eda.event: the event being handled, or NULL */
Datum
eda_current_event(PG_FUNCTION_ARGS)
{
	if (current_event == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(EdaEventToDatum(current_event));
}

/*
 * eda.make_event(topic text, payload jsonb, key text, headers jsonb)
 * RETURNS eda.event: as a handler would get it, published now
 */
Datum
eda_make_event(PG_FUNCTION_ARGS)
{
	EdaEvent	ev;
	text	   *topic;

	EdaRequireArg(fcinfo, 0, "topic");
	EdaRequireArg(fcinfo, 1, "payload");

	topic = PG_GETARG_TEXT_PP(0);
	EdaCheckTopic(VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic), true);

	memset(&ev, 0, sizeof(ev));
	ev.topic = topic;
	ev.payload = (struct varlena *) PG_GETARG_JSONB_P(1);
	if (!PG_ARGISNULL(2))
		ev.key = PG_GETARG_TEXT_PP(2);
	if (!PG_ARGISNULL(3))
	{
		Jsonb	   *headers = PG_GETARG_JSONB_P(3);

		if (!JB_ROOT_IS_OBJECT(headers))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("argument \"%s\" of %s must be a JSON object",
							"headers", "eda.make_event()")));
		ev.headers = (struct varlena *) headers;
	}
	ev.published_at = GetCurrentTransactionStartTimestamp();
	ev.published_by = GetUserId();
	ev.attempt = 1;

	PG_RETURN_DATUM(EdaEventToDatum(&ev));
}
