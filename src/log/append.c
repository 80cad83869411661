/*-------------------------------------------------------------------------
 *
 * log/append.c
 *	  Append events to the log.
 *
 *	1. All appends go to the current segment, through the table access method
 *	   and index_insert(): no executor, no SPI, no triggers.  Where somebody watches the
 *	   segment by a trigger (base/guard.c), each event is an INSERT, as the extension's owner.
 *	2. A publisher takes RowExclusiveLock on the current segment, looks whether
 *	   it is still current, and keeps the lock to the end of its transaction.
 *	   A segment that was closed is complete once that lock is free.
 *	3. Segment, indexes and slots are kept open from one append of a transaction to the next:
 *	   opening them is as much work as appending an event.  They belong
 *	   to the transaction's resource owner, whatever savepoint is open, and are
 *	   closed before the commit, before each utility command, which could not change a
 *	   table that is in use, and when another segment has become the current
 *	   one, and when a savepoint is rolled back, with which what they are about may go.  An
 *	   abort closes them by itself.  No row and no buffer is kept: what a
 *	   savepoint has appended goes with it.
 *	4. What is published while a transaction commits, by somebody's callback
 *	   that comes after ours, opens and closes for itself.
 *	5. Plain indexes only are maintained, ours and what an administrator
 *	   adds.  One that would need checks or the executor (unique, exclusion,
 *	   expressions, a predicate) is refused when something is appended.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/log/append.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/guard.h"
#include "base/security.h"
#include "event/event.h"
#include "log/append.h"
#include "log/index.h"
#include "log/segment.h"

/* Rows that go to the table access method in one call. */
#define APPEND_CHUNK	1000

/* An index of the segment that is being appended to. */
typedef struct EdaLogIndex
{
	Relation	rel;
	IndexInfo  *info;
	bool		is_scan_index;	/* (xid, id) INCLUDE (topic_hash, key_hash) */
} EdaLogIndex;

/* What is open. */
typedef struct Appender
{
	MemoryContext context;		/* in TopTransactionContext; NULL: nothing is */
	MemoryContext scratch;		/* what appending a chunk leaves behind */
	Relation	rel;
	EdaLogIndex *indexes;
	int			nindexes;
	TupleDesc	desc;			/* a copy: it has no reference count that each slot would raise */
	TupleTableSlot **slots;		/* of APPEND_CHUNK */
	int			nslots;			/* that were made */
	bool		watched;		/* somebody has a trigger on the segment */
	bool		complete;		/* no error came while it was opened */
} Appender;

static Appender appender;
static bool keeping = false;
static bool committing = false; /* our callback before the commit has run */
static int	commands = 0;		/* that may change tables are being run: nothing is kept */
static int	command_level = 0;	/* nest level of the transaction in which the first of them began */

/*
 * Open the current segment with RowExclusiveLock, which stays, for that resource owner.  *rel is
 * what is open of it at any time.
 */
static void
open_current_segment(Relation *rel, ResourceOwner owner)
{
	ResourceOwner save_owner = CurrentResourceOwner;

	for (;;)
	{
		Oid			relid = EdaSegmentCurrent();

		CurrentResourceOwner = owner;
		*rel = try_table_open(relid, RowExclusiveLock);
		CurrentResourceOwner = save_owner;

		/* locking it has brought in all invalidations */
		if (EdaSegmentCurrent() == relid)
		{
			if (*rel == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_UNDEFINED_TABLE),
						 errmsg("the current segment of the event log does not exist"),
						 errdetail("%s.%s names relation %u.",
								   EDA_SCHEMA_NAME, "segment", relid)));
			return;
		}
		if (*rel)
		{
			Relation	old = *rel;

			*rel = NULL;
			CurrentResourceOwner = owner;
			table_close(old, RowExclusiveLock);
			CurrentResourceOwner = save_owner;
		}
	}
}

/* ERROR for an index that can't be maintained from here. */
static void
check_index(Relation rel, const EdaLogIndex *index)
{
	const char *detail;

	if (index->info->ii_ExclusionOps != NULL)
		detail = "It belongs to an exclusion constraint.";
	else if (index->info->ii_Unique)
		detail = "It is unique.";
	else if (index->info->ii_Expressions != NIL)
		detail = "It is on an expression.";
	else if (index->info->ii_Predicate != NIL)
		detail = "It is partial.";
	else
		return;

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("index \"%s\" on segment \"%s\" of the event log is not supported",
					RelationGetRelationName(index->rel),
					RelationGetRelationName(rel)),
			 errdetail_internal("%s", detail),
			 errhint("Drop it, or the constraint that it belongs to; an index that is added to the event log must be on columns, neither unique nor partial.")));
}

/* Open the segment's indexes. */
static void
open_indexes(void)
{
	ResourceOwner save_owner = CurrentResourceOwner;
	List	   *oids = RelationGetIndexList(appender.rel);
	ListCell   *lc;

	appender.indexes = palloc(sizeof(EdaLogIndex) * Max(list_length(oids), 1));
	foreach(lc, oids)
	{
		EdaLogIndex *index = &appender.indexes[appender.nindexes];

		CurrentResourceOwner = TopTransactionResourceOwner;
		index->rel = index_open(lfirst_oid(lc), RowExclusiveLock);
		CurrentResourceOwner = save_owner;
		/* counted at once: an error from here on leaves it to be closed */
		appender.nindexes++;
		index->info = BuildIndexInfo(index->rel);
		if (!index->info->ii_ReadyForInserts)
		{
			appender.nindexes--;
			CurrentResourceOwner = TopTransactionResourceOwner;
			index_close(index->rel, RowExclusiveLock);
			CurrentResourceOwner = save_owner;
			continue;
		}
		check_index(appender.rel, index);
		index->is_scan_index = EdaLogIsScanIndex(index->rel);
	}
	list_free(oids);
}

/* The first so many slots. */
static void
make_slots(int n)
{
	MemoryContext old;

	if (appender.nslots >= n)
		return;
	old = MemoryContextSwitchTo(appender.context);
	for (; appender.nslots < n; appender.nslots++)
		appender.slots[appender.nslots] =
			MakeSingleTupleTableSlot(appender.desc, table_slot_callbacks(appender.rel));
	MemoryContextSwitchTo(old);
}

/* See to it that the current segment is open. */
static void
open_appender(void)
{
	ResourceOwner save_owner = CurrentResourceOwner;
	MemoryContext old;

	if (appender.complete && RelationGetRelid(appender.rel) == EdaSegmentCurrent())
		return;
	EdaAppendRelease();

	appender.context = AllocSetContextCreate(TopTransactionContext, "eda appender",
											 ALLOCSET_SMALL_SIZES);
	appender.scratch = AllocSetContextCreate(appender.context, "eda append",
											 ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(appender.context);
	PG_TRY();
	{
		open_current_segment(&appender.rel, TopTransactionResourceOwner);
		open_indexes();
		appender.watched = EdaTableIsWatched(appender.rel);
		appender.desc = CreateTupleDescCopy(RelationGetDescr(appender.rel));
		appender.slots = palloc(sizeof(TupleTableSlot *) * APPEND_CHUNK);
		appender.complete = true;
	}
	PG_FINALLY();
	{
		CurrentResourceOwner = save_owner;
		MemoryContextSwitchTo(old);
	}
	PG_END_TRY();
}

void
EdaAppendRelease(void)
{
	ResourceOwner save_owner = CurrentResourceOwner;

	if (appender.context == NULL)
		return;

	CurrentResourceOwner = TopTransactionResourceOwner;
	for (int i = 0; i < appender.nslots; i++)
		ExecDropSingleTupleTableSlot(appender.slots[i]);
	for (int i = 0; i < appender.nindexes; i++)
		index_close(appender.indexes[i].rel, NoLock);
	if (appender.rel)
		table_close(appender.rel, NoLock);
	CurrentResourceOwner = save_owner;
	MemoryContextDelete(appender.context);
	memset(&appender, 0, sizeof(appender));
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			EdaAppendRelease();
			committing = true;
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			/* its memory and what it has open go with the transaction */
			memset(&appender, 0, sizeof(appender));
			committing = false;
			commands = 0;
			break;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			break;
	}
}

/* What is open may be of what goes with the savepoint: an index that it made, the table's file. */
static void
at_savepoint_end(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	EdaAppendRelease();
	if (command_level >= GetCurrentTransactionNestLevel())
		commands = 0;
}

void
EdaAppendInit(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_savepoint_end, NULL);
}

void
EdaAppendBeginCommand(void)
{
	EdaAppendRelease();
	if (commands++ == 0)
		command_level = GetCurrentTransactionNestLevel();
}

void
EdaAppendEndCommand(void)
{
	if (commands > 0)
		commands--;
}

/* Does what is opened stay open until the transaction ends? */
static bool
stays_open(void)
{
	return keeping && !committing && commands == 0;
}

void
EdaAppendKeep(void)
{
	keeping = true;
}

void
EdaLogLock(void)
{
	Relation	rel;

	if (stays_open())
		open_appender();
	else
	{
		open_current_segment(&rel, CurrentResourceOwner);
		table_close(rel, NoLock);
	}
}

/* An event's columns, of which those that are not set are null already; they point to its data. */
static void
fill_row(Datum *values, bool *nulls, const EdaEvent *ev, EdaLogEntry *entry)
{
	struct varlena *topic = pg_detoast_datum_packed(ev->topic);
	struct varlena *key = ev->key == NULL ? NULL : pg_detoast_datum_packed(ev->key);

#define SET(attnum, value) \
	(values[(attnum) - 1] = (value), nulls[(attnum) - 1] = false)

	entry->id = ev->id;
	entry->xid = ev->xid;
	entry->topic_hash = EdaHashText(VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic));
	entry->key_hash = EdaHashKey(key);

	SET(Anum_log_id, Int64GetDatum(ev->id));
	SET(Anum_log_xid, UInt64GetDatum(ev->xid));
	SET(Anum_log_published_at, TimestampTzGetDatum(ev->published_at));
	if (ev->deliver_at != 0)
		SET(Anum_log_deliver_at, TimestampTzGetDatum(ev->deliver_at));
	if (ev->causation_id != 0)
		SET(Anum_log_causation_id, Int64GetDatum(ev->causation_id));
	SET(Anum_log_published_by, ObjectIdGetDatum(ev->published_by));
	SET(Anum_log_topic_hash, Int32GetDatum((int32) entry->topic_hash));
	SET(Anum_log_key_hash, Int16GetDatum((int16) entry->key_hash));
	if (key)
		SET(Anum_log_key, PointerGetDatum(key));
	if (ev->hops != 0)
		SET(Anum_log_hops, Int16GetDatum((int16) Min(ev->hops, PG_INT16_MAX)));
	SET(Anum_log_topic, PointerGetDatum(topic));
	if (ev->correlation_id)
		SET(Anum_log_correlation_id, PointerGetDatum(ev->correlation_id));
	SET(Anum_log_payload, PointerGetDatum(ev->payload));
	if (ev->headers)
		SET(Anum_log_headers, PointerGetDatum(ev->headers));

#undef SET
}

/* Store an event in a slot; the slot points to its data until materialized. */
static void
fill_slot(TupleTableSlot *slot, const EdaEvent *ev, EdaLogEntry *entry)
{
	ExecClearTuple(slot);
	/* whoever has added columns gets nulls */
	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	fill_row(slot->tts_values, slot->tts_isnull, ev, entry);
	ExecStoreVirtualTuple(slot);
}

/* Index entries for rows that are in the segment. */
static void
insert_index_entries(const EdaLogEntry *entries, int n)
{
	for (int i = 0; i < appender.nindexes; i++)
	{
		EdaLogIndex *index = &appender.indexes[i];

		for (int j = 0; j < n; j++)
		{
			Datum		values[INDEX_MAX_KEYS];
			bool		nulls[INDEX_MAX_KEYS];

			if (index->is_scan_index)
			{
				/* the slot would have to take its row apart */
				values[0] = UInt64GetDatum(entries[j].xid);
				values[1] = Int64GetDatum(entries[j].id);
				values[2] = Int32GetDatum((int32) entries[j].topic_hash);
				values[3] = Int16GetDatum((int16) entries[j].key_hash);
				memset(nulls, false, sizeof(bool) * 4);
			}
			else
				FormIndexDatum(index->info, appender.slots[j], NULL, values, nulls);
			(void) index_insert(index->rel, values, nulls, &appender.slots[j]->tts_tid,
								appender.rel, UNIQUE_CHECK_NO, false, index->info);
		}
		eda_index_insert_cleanup(index->rel, index->info);
	}
}

/*
 * The same through the executor, so that triggers see it.  These may publish, or run commands for
 * which the appender is closed: nothing of it is used here.
 */
static void
insert_watched(Relation rel, EdaEvent *events, int n)
{
	/* by attribute number */
	static const Oid types[Natts_log] = {
		INT8OID, XID8OID, TIMESTAMPTZOID, OIDOID, INT4OID, INT2OID, TEXTOID,
		JSONBOID, TEXTOID, TIMESTAMPTZOID, INT8OID, INT2OID, TEXTOID, JSONBOID
	};
	EdaSecurityContext ctx;
	Oid			relid = RelationGetRelid(rel);
	StringInfoData sql;
	SPIPlanPtr	plan;

	EdaSpiBegin(&ctx);
	/* segments differ, so the plan is not kept */
	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s.%s (id, xid, published_at, published_by, topic_hash, key_hash, topic,"
					 " payload, key, deliver_at, causation_id, hops, correlation_id, headers)"
					 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
					 EDA_SCHEMA_NAME, quote_identifier(RelationGetRelationName(rel)));
	plan = SPI_prepare(sql.data, Natts_log, (Oid *) types);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql.data, SPI_result_code_string(SPI_result));
	for (int i = 0; i < n; i++)
	{
		Datum		values[Natts_log];
		bool		isnull[Natts_log];
		char		nulls[Natts_log];
		EdaLogEntry entry;

		CHECK_FOR_INTERRUPTS();
		memset(isnull, true, sizeof(isnull));
		fill_row(values, isnull, &events[i], &entry);
		for (int j = 0; j < Natts_log; j++)
			nulls[j] = isnull[j] ? 'n' : ' ';
		if (SPI_execute_plan(plan, values, nulls, false, 0) != SPI_OK_INSERT || SPI_processed != 1)
			EdaWriteSuppressed(get_rel_name(relid));
	}
	EdaSpiEnd(&ctx);
}

void
EdaLogAppend(EdaEvent *events, int n)
{
	uint64		xid;
	CommandId	cid;
	EdaLogEntry entry;
	EdaLogEntry *entries = &entry;
	MemoryContext old;

	if (n <= 0)
		return;

	xid = U64FromFullTransactionId(GetTopFullTransactionId());
	cid = GetCurrentCommandId(true);
	open_appender();
	if (appender.watched)
	{
		for (int i = 0; i < n; i++)
			events[i].xid = xid;
		insert_watched(appender.rel, events, n);
		if (!stays_open())
			EdaAppendRelease();
		return;
	}
	make_slots(Min(n, APPEND_CHUNK));

	/* access methods leave things behind */
	old = MemoryContextSwitchTo(appender.scratch);
	for (int done = 0; done < n;)
	{
		int			count = Min(n - done, APPEND_CHUNK);

		CHECK_FOR_INTERRUPTS();
		if (n > 1)
			entries = palloc(sizeof(EdaLogEntry) * count);
		for (int i = 0; i < count; i++)
		{
			events[done + i].xid = xid;
			fill_slot(appender.slots[i], &events[done + i], &entries[i]);
		}
		if (count == 1)
			table_tuple_insert(appender.rel, appender.slots[0], cid, 0, NULL);
		else
			table_multi_insert(appender.rel, appender.slots, count, cid, 0, NULL);
		insert_index_entries(entries, count);
		for (int i = 0; i < count; i++)
			ExecClearTuple(appender.slots[i]);
		MemoryContextReset(appender.scratch);
		done += count;
	}
	MemoryContextSwitchTo(old);

	if (!stays_open())
		EdaAppendRelease();
}
