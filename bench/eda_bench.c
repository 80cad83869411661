/*-------------------------------------------------------------------------
 *
 * eda_bench.c
 *	  The limits that eda is measured against: what is left when everything is
 *	  taken away that makes it an event system.
 *
 *	1. bench_call_loop: a handler f(jsonb) called n times through a FmgrInfo,
 *	   payloads from memory.  No log, no cursor, no window, one transaction.
 *	2. bench_multi_insert: a table scanned and its payloads put into another one
 *	   by table_multi_insert(), a thousand at a time, with that one's indexes.
 *	   No topic is looked at, nobody is looked for, nothing is woken.  The target
 *	   has the log's columns; those that have no value in an event without key,
 *	   headers and causation stay null.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(bench_call_loop);
PG_FUNCTION_INFO_V1(bench_multi_insert);

#define CHUNK		1000

/*
 * bench_call_loop(handler regprocedure, payloads jsonb[], n bigint): call
 * handler(payload) n times, with the payloads in turn.
 */
Datum
bench_call_loop(PG_FUNCTION_ARGS)
{
	FmgrInfo	flinfo;
	Datum	   *payloads;
	int			npayloads;
	int64		n = PG_GETARG_INT64(2);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "bench call",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcontext;

	LOCAL_FCINFO(call, 1);

	fmgr_info(PG_GETARG_OID(0), &flinfo);
	if (flinfo.fn_nargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the handler must take one argument")));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), ARR_ELEMTYPE(PG_GETARG_ARRAYTYPE_P(1)),
					  -1, false, TYPALIGN_INT, &payloads, NULL, &npayloads);
	if (npayloads == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there must be a payload")));

	InitFunctionCallInfoData(*call, &flinfo, 1, InvalidOid, NULL, NULL);
	oldcontext = MemoryContextSwitchTo(context);
	for (int64 i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		call->args[0].value = payloads[i % npayloads];
		call->args[0].isnull = false;
		call->isnull = false;
		(void) FunctionCallInvoke(call);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(oldcontext);
	PG_RETURN_VOID();
}

/* Set a column by name. */
static void
set_column(TupleTableSlot *slot, int attnum, Datum value)
{
	slot->tts_values[attnum - 1] = value;
	slot->tts_isnull[attnum - 1] = false;
}

/* Number of a column that must be there. */
static int
column(Relation rel, const char *name)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped &&
			namestrcmp(&TupleDescAttr(desc, i)->attname, name) == 0)
			return i + 1;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("table \"%s\" has no column \"%s\"", RelationGetRelationName(rel), name)));
}

/*
 * bench_multi_insert(source regclass, target regclass, topic text) returns
 * bigint: the payloads of all rows of source, as rows of target; returns how
 * many.
 */
Datum
bench_multi_insert(PG_FUNCTION_ARGS)
{
	Relation	source = table_open(PG_GETARG_OID(0), AccessShareLock);
	Relation	target = table_open(PG_GETARG_OID(1), RowExclusiveLock);
	Datum		topic = PG_GETARG_DATUM(2);
	int			from = column(source, "payload");
	int			id = column(target, "id");
	int			xid = column(target, "xid");
	int			published_at = column(target, "published_at");
	int			published_by = column(target, "published_by");
	int			topic_hash = column(target, "topic_hash");
	int			key_hash = column(target, "key_hash");
	int			topic_column = column(target, "topic");
	int			payload = column(target, "payload");
	uint64		top = U64FromFullTransactionId(GetTopFullTransactionId());
	TimestampTz now = GetCurrentTimestamp();
	CommandId	cid = GetCurrentCommandId(true);
	BulkInsertState bulk = GetBulkInsertState();
	TupleTableSlot *in = table_slot_create(source, NULL);
	TupleTableSlot **slots = palloc(sizeof(TupleTableSlot *) * CHUNK);
	List	   *oids = RelationGetIndexList(target);
	int			nindexes = list_length(oids);
	Relation   *indexes = palloc(sizeof(Relation) * nindexes);
	IndexInfo **infos = palloc(sizeof(IndexInfo *) * nindexes);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "bench insert",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcontext;
	TableScanDesc scan;
	int64		n = 0;
	bool		more = true;

	for (int i = 0; i < nindexes; i++)
	{
		indexes[i] = index_open(list_nth_oid(oids, i), RowExclusiveLock);
		infos[i] = BuildIndexInfo(indexes[i]);
	}
	for (int i = 0; i < CHUNK; i++)
		slots[i] = table_slot_create(target, NULL);

	scan = table_beginscan(source, GetActiveSnapshot(), 0, NULL);
	oldcontext = MemoryContextSwitchTo(context);
	while (more)
	{
		int			count = 0;

		CHECK_FOR_INTERRUPTS();
		while (count < CHUNK && (more = table_scan_getnextslot(scan, ForwardScanDirection, in)))
		{
			TupleTableSlot *slot = slots[count++];
			bool		isnull;
			Datum		value = slot_getattr(in, from, &isnull);

			ExecClearTuple(slot);
			memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
			set_column(slot, id, Int64GetDatum(++n));
			set_column(slot, xid, UInt64GetDatum(top));
			set_column(slot, published_at, TimestampTzGetDatum(now));
			set_column(slot, published_by, ObjectIdGetDatum(GetUserId()));
			set_column(slot, topic_hash, Int32GetDatum(0x0eda));
			set_column(slot, key_hash, Int16GetDatum(0));
			set_column(slot, topic_column, topic);
			/* the scan moves on to other pages before the row is written */
			set_column(slot, payload, PointerGetDatum(PG_DETOAST_DATUM_COPY(value)));
			ExecStoreVirtualTuple(slot);
		}
		if (count == 0)
			break;
		table_multi_insert(target, slots, count, cid, 0, bulk);
		for (int j = 0; j < nindexes; j++)
		{
			for (int i = 0; i < count; i++)
			{
				Datum		values[INDEX_MAX_KEYS];
				bool		nulls[INDEX_MAX_KEYS];

				FormIndexDatum(infos[j], slots[i], NULL, values, nulls);
				(void) index_insert(indexes[j], values, nulls, &slots[i]->tts_tid,
									target, UNIQUE_CHECK_NO, false, infos[j]);
			}
		}
		for (int i = 0; i < count; i++)
			ExecClearTuple(slots[i]);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(oldcontext);

	table_endscan(scan);
	ExecDropSingleTupleTableSlot(in);
	for (int i = 0; i < CHUNK; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	FreeBulkInsertState(bulk);
	for (int i = 0; i < nindexes; i++)
	{
#if PG_VERSION_NUM >= 170000
		index_insert_cleanup(indexes[i], infos[i]);
#endif
		index_close(indexes[i], NoLock);
	}
	table_close(target, NoLock);
	table_close(source, NoLock);
	PG_RETURN_INT64(n);
}
