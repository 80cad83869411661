/*-------------------------------------------------------------------------
 *
 * log/id.c
 *	  Event ids: ascending across the backends of a database.
 *
 *	1. Ids come from a counter in shared memory, one per database.  Its reserve
 *	   is what the sequence eda.event_id_seq was advanced by: the sequence's
 *	   value v stands for the ids [v, v + EDA_ID_CHUNK), so after a crash,
 *	   recovery or promotion, which empty the counter, it goes on above every
 *	   id that was ever given out.
 *	2. The counter belongs to one sequence, by its oid and its database's: a slot
 *	   that becomes another database's, even between two steps here, and DROP and CREATE
 *	   EXTENSION leave nothing of the old reserve, while ALTER SEQUENCE and
 *	   setval() leave it as it is, and the next one goes above it.  The caller
 *	   holds a lock on the log (EdaLogLock()), so the sequence can't be dropped
 *	   between taking an id and using it.
 *	3. Who may write to all sequences (pg_write_all_data) may set this one back, and nothing can
 *	   refuse that.  While the server runs the reserve's end is known.  Who fills the counter for
 *	   the first time after a start looks for the highest id that is stored, and begins above it:
 *	   in the log through each segment's index, in the other tables through theirs.  Of the log's
 *	   segments those that are not sealed are read whole, as they may hold ids of prepared
 *	   transactions; a sealed one is asked for ids above that, which its BRIN index answers.
 *	4. The counter is guarded by its spinlock, held for a few instructions.
 *	   Refilling is serialized by ShareUpdateExclusiveLock on the sequence,
 *	   taken without the spinlock and given back at once; who waited for it
 *	   looks at the counter again.  So a reserve is only ever replaced when it
 *	   is empty, and ids ascend.
 *	5. The sequence is advanced by setval(): nextval() would change what the
 *	   session's lastval() returns, which users rely on after an INSERT whose
 *	   trigger publishes.
 *	6. Without shared memory each call takes chunks of its own: ascending too,
 *	   with gaps.  So does a backend for whose database there was no slot; with
 *	   others that have got one since, ids are unique but not in the order of
 *	   the calls.  They trust the sequence.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/log/id.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "base/catalog.h"
#include "base/security.h"
#include "base/shmem.h"
#include "log/append.h"
#include "log/id.h"
#include "log/log.h"
#include "log/segment.h"

/*
 * So many chunks are reserved at once at least: a statement on the sequence costs as much as 50
 * events.
 */
#define RESERVE			8

/*
 * Reserve nchunks chunks, none of them below `above`; returns the first id of
 * the first.  The caller holds the lock that serializes this.
 */
static int64
reserve_chunks(Oid relid, int64 nchunks, int64 above)
{
	static const Oid types[] = {REGCLASSOID, INT8OID, INT8OID};
	EdaSecurityContext ctx;
	Datum		values[3];
	bool		isnull;
	int64		last;

	/* the sequence's new value is the first id of the last of the chunks */
	values[0] = ObjectIdGetDatum(relid);
	values[1] = Int64GetDatum((nchunks - 1) * EDA_ID_CHUNK);
	values[2] = Int64GetDatum(above);
	EdaSpiBegin(&ctx);
	if (EdaSpiExecute("SELECT pg_catalog.setval($1, $2 + GREATEST($3,"
					  " last_value + CASE WHEN is_called THEN "
					  CppAsString2(EDA_ID_CHUNK) " ELSE 0 END))"
					  " FROM eda.event_id_seq",
					  3, types, values, NULL, SPI_OK_SELECT) != 1)
		elog(ERROR, "could not read eda.event_id_seq");
	last = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull));
	EdaSpiEnd(&ctx);

	return last - (nchunks - 1) * EDA_ID_CHUNK;
}

static bool
keep_highest(const EdaLogEntry *entry, void *arg)
{
	int64	   *highest = arg;

	*highest = Max(*highest, entry->id);
	return true;
}

/* The highest id in the log, whoever sees it. */
static int64
highest_in_log(void)
{
	static const EdaLogPlace first = {0, PG_INT64_MIN};
	static const EdaLogPlace last = {PG_UINT64_MAX, PG_INT64_MAX};
	EdaSecurityContext ctx;
	EdaSegment *list;
	int			n = EdaSegments(&list);
	int64		highest = 0;

	for (int i = 0; i < n; i++)
	{
		if (EdaSegmentIsLive(&list[i]) && list[i].state != EDA_SEGMENT_SEALED)
			(void) EdaLogScanSpan(list[i].slot, first, last, keep_highest, &highest);
	}

	EdaSpiBegin(&ctx);
	EdaSpiPreferIndexes();
	for (int i = 0; i < n; i++)
	{
		char	   *name = get_rel_name(list[i].relid);
		bool		isnull;
		Datum		value;

		if (name == NULL || list[i].state != EDA_SEGMENT_SEALED)
			continue;
		/* segments differ, so the plan is not kept */
		if (SPI_execute_snapshot(SPI_prepare(psprintf("SELECT max(id) FROM %s.%s WHERE id > " INT64_FORMAT,
													  EDA_SCHEMA_NAME, quote_identifier(name), highest),
											 0, NULL),
								 NULL, NULL, GetLatestSnapshot(), InvalidSnapshot, true, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not read segment \"%s\"", name);
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		if (!isnull)
			highest = DatumGetInt64(value);
	}
	EdaSpiEnd(&ctx);
	pfree(list);
	return highest;
}

/* The highest id among the delayed events, those of prepared transactions included. */
static int64
highest_delayed(void)
{
	Relation	rel = table_open(EdaRelationId("delayed_event"), AccessShareLock);
	Relation	index = index_open(EdaRelationId("delayed_event_pkey"), AccessShareLock);
	SnapshotData dirty;
	SysScanDesc scan;
	HeapTuple	tuple;
	int64		highest = 0;
	bool		isnull;

	InitDirtySnapshot(dirty);
	scan = systable_beginscan_ordered(rel, index, &dirty, 0, NULL);
	tuple = systable_getnext_ordered(scan, BackwardScanDirection);
	if (HeapTupleIsValid(tuple))
		highest = DatumGetInt64(heap_getattr(tuple, index->rd_index->indkey.values[0], RelationGetDescr(rel), &isnull));
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return highest;
}

/* The highest id among what waits or has died; it had been in the log before. */
static int64
highest_waiting(void)
{
	EdaSecurityContext ctx;
	int64		highest;
	bool		isnull;

	EdaSpiBegin(&ctx);
	EdaSpiPreferIndexes();
	EdaSpiExecute("SELECT pg_catalog.max(GREATEST("
				  "(SELECT pg_catalog.max(r.event_id) FROM eda.retry r WHERE r.subscription_id = s.subscription_id),"
				  " (SELECT pg_catalog.max(d.event_id) FROM eda.dead_letter d WHERE d.subscription_id = s.subscription_id)))"
				  " FROM eda.subscription s",
				  0, NULL, NULL, NULL, SPI_OK_SELECT);
	highest = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (isnull)
		highest = 0;
	EdaSpiEnd(&ctx);
	return highest;
}

/*
 * No id that is stored is at or above this one.  For the first reserve after a start, with the
 * sequence's lock.
 */
static int64
above_everything_stored(void)
{
	int64		highest;

	PushActiveSnapshot(GetLatestSnapshot());
	highest = Max(highest_in_log(), Max(highest_delayed(), highest_waiting()));
	PopActiveSnapshot();
	return highest + 1;
}

/*
 * Take up to n ids from the counter; returns how many there were, and in
 * *end the end of its reserve.
 */
static int
take_from_counter(EdaDatabase *db, Oid relid, int64 *ids, int n, int64 *end)
{
	int64		first;
	int			taken;

	SpinLockAcquire(&db->id_lock);
	if (db->id_sequence != relid || db->id_database != MyDatabaseId)
	{
		/* what is there belongs to another log */
		db->id_database = MyDatabaseId;
		db->id_sequence = relid;
		db->next_id = db->end_id = 0;
	}
	first = db->next_id;
	*end = db->end_id;
	taken = (int) Min((int64) n, *end - first);
	db->next_id = first + taken;
	SpinLockRelease(&db->id_lock);

	for (int i = 0; i < taken; i++)
		ids[i] = first + i;
	return taken;
}

void
EdaTakeIds(int64 *ids, int n)
{
	Oid			relid = EdaSequenceRelId();
	EdaDatabase *db = EdaMyDatabase(true);
	int64		end;
	int			done = 0;

	if (n <= 0)
		return;

	if (db == NULL)
	{
		int64		nchunks = (n + EDA_ID_CHUNK - 1) / EDA_ID_CHUNK;
		int64		first;

		LockRelationOid(relid, ShareUpdateExclusiveLock);
		first = reserve_chunks(relid, nchunks, 0);
		UnlockRelationOid(relid, ShareUpdateExclusiveLock);

		for (int i = 0; i < n; i++)
			ids[i] = first + i;
		return;
	}

	for (;;)
	{
		done += take_from_counter(db, relid, ids + done, n - done, &end);
		if (done == n)
			return;

		LockRelationOid(relid, ShareUpdateExclusiveLock);

		/* somebody may have refilled it while we waited */
		done += take_from_counter(db, relid, ids + done, n - done, &end);
		if (done < n)
		{
			int64		nchunks = Max(RESERVE, (n - done + EDA_ID_CHUNK - 1) / EDA_ID_CHUNK);
			int64		first;

			/* above the old reserve even if somebody set the sequence back */
			first = reserve_chunks(relid, nchunks, end != 0 ? end : above_everything_stored());

			SpinLockAcquire(&db->id_lock);
			db->id_database = MyDatabaseId;
			db->id_sequence = relid;
			db->next_id = first;
			db->end_id = first + nchunks * EDA_ID_CHUNK;
			SpinLockRelease(&db->id_lock);
		}

		UnlockRelationOid(relid, ShareUpdateExclusiveLock);
	}
}
