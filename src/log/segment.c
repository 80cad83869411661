/*-------------------------------------------------------------------------
 *
 * log/segment.c
 *	  The segments of the event log: which there are, and the steps of their
 *	  life.
 *
 *	1. The log is eda.log's children; eda.segment has a row for each:
 *
 *		 open --rotate--> closed --seal--> sealed --retire--> retired --truncate--> free
 *		  ^                                                                          |
 *		  +------------------- rotate, with a number above all others ---------------+
 *
 *	   One is open, the current one.  A free table is used again before
 *	   another is made.  The BRIN index for look-ups by id and time is made when
 *	   a segment is sealed, and dropped when it is emptied: it would be a tenth of what an
 *	   append costs.
 *	   The slot is the table's and stays, the number is the segment's.
 *	2. Each backend remembers the rows until a relcache invalidation of
 *	   eda.segment, which every step sends.  It matters for rotation only: of a
 *	   new segment, nobody may learn, and publish in it, before all others
 *	   have been sent word of it, or a reader would miss an event that its
 *	   snapshot sees.  So who rotates holds the list's lock in
 *	   AccessExclusiveLock until its locks go, which is after its
 *	   invalidations went out; who reads eda.segment takes it in
 *	   AccessShareLock just for the reading.  A list that is late in the other steps
 *	   makes a reader look into a table for nothing.
 *	3. A publisher takes RowExclusiveLock on the current segment, then looks
 *	   whether it still is the current one, and keeps the lock to the end of its
 *	   transaction, prepared ones included.  So ShareLock on a closed
 *	   segment can be had once nobody is left who publishes in it.
 *	4. What nobody sees is a cursor that is being put somewhere by a transaction
 *	   that is open: it may need any segment, also those that are opened
 *	   after it has looked.  It keeps the log's hold lock in AccessShareLock
 *	   to its end, as does who reads what no cursor needs any more; who retires takes that
 *	   in AccessExclusiveLock before it takes the snapshot that it reads the cursors with.
 *	5. The dispatcher is the only one that takes these steps, and never waits.
 *	   As it is a superuser's process, none of its commands runs anybody's code: no
 *	   event trigger fires, and nobody gets rights on a new table that would let him
 *	   put a trigger there.
 *
 * Locks, all heavyweight: the list's, the object (eda.segment, 0, 0); the
 * log's hold lock, the object (eda.segment, 0, 1); the tables in the
 * usual modes.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/log/segment.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "parser/parser.h"
#include "storage/lmgr.h"
#include "tcop/dest.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/xid8.h"

#include "base/catalog.h"
#include "base/security.h"
#include "log/index.h"
#include "log/segment.h"

/* Sub-ids of the two object locks. */
#define LIST_LOCK	0
#define HOLD_LOCK	1

/* Attribute numbers of eda.segment (src/sql/20_log.sql). */
enum
{
	Anum_segment_segment = 1,
	Anum_segment_slot,
	Anum_segment_relation,
	Anum_segment_state,
	Anum_segment_opened_at,
	Anum_segment_closed_at,
	Anum_segment_sealed_at,
	Anum_segment_max_xid,
	Anum_segment_retired_xid
};

/* The rows as this backend knows them. */
static EdaSegment *segments = NULL;
static int	nsegments = 0;
static Oid	current_relid = InvalidOid;
static Oid	segment_relid = InvalidOid;

/* Raised with each invalidation; what was loaded at another count is old. */
static uint64 invalidations = 1;
static uint64 loaded_at = 0;

/*
 * The list
 */

void
EdaSegmentInvalidate(Oid relid)
{
	if (!OidIsValid(relid) || relid == segment_relid)
		invalidations++;
}

void
EdaSegmentForget(void)
{
	invalidations++;
}

static int
compare_segments(const void *a, const void *b)
{
	int32		x = ((const EdaSegment *) a)->number;
	int32		y = ((const EdaSegment *) b)->number;

	return (x > y) - (x < y);
}

static void
read_row(HeapTuple tuple, TupleDesc desc, EdaSegment *segment)
{
	bool		isnull;
	Datum		value;

#define GET(attnum) heap_getattr(tuple, attnum, desc, &isnull)

	segment->number = DatumGetInt32(GET(Anum_segment_segment));
	segment->slot = (uint16) DatumGetInt16(GET(Anum_segment_slot));
	segment->relid = DatumGetObjectId(GET(Anum_segment_relation));
	segment->state = (EdaSegmentState) DatumGetChar(GET(Anum_segment_state));
	segment->opened_at = DatumGetTimestampTz(GET(Anum_segment_opened_at));
	value = GET(Anum_segment_sealed_at);
	segment->sealed_at = isnull ? 0 : DatumGetTimestampTz(value);
	value = GET(Anum_segment_max_xid);
	segment->max_xid = isnull ? 0 : U64FromFullTransactionId(DatumGetFullTransactionId(value));
	value = GET(Anum_segment_retired_xid);
	segment->retired_xid = isnull ? 0 : U64FromFullTransactionId(DatumGetFullTransactionId(value));

#undef GET
}

/* Read eda.segment, as it is now, unless we know it. */
static void
load_segments(void)
{
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	EdaSegment *list;
	int			n = 0;
	int			size = EDA_MAX_SEGMENTS;
	uint64		as_of;

	if (loaded_at == invalidations)
		return;

	segment_relid = EdaRelationId("segment");
	LockDatabaseObject(segment_relid, InvalidOid, LIST_LOCK, AccessShareLock);
	as_of = invalidations;
	rel = table_open(segment_relid, AccessShareLock);
	list = palloc(sizeof(EdaSegment) * size);

	/* with a snapshot of its own, whatever the transaction's isolation */
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (n == size)
		{
			size *= 2;
			list = repalloc(list, sizeof(EdaSegment) * size);
		}
		read_row(tuple, RelationGetDescr(rel), &list[n++]);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	UnlockDatabaseObject(segment_relid, InvalidOid, LIST_LOCK, AccessShareLock);

	qsort(list, n, sizeof(EdaSegment), compare_segments);

	nsegments = 0;
	if (segments)
		pfree(segments);
	segments = NULL;
	segments = MemoryContextAlloc(TopMemoryContext, sizeof(EdaSegment) * Max(n, 1));
	memcpy(segments, list, sizeof(EdaSegment) * n);
	nsegments = n;
	current_relid = InvalidOid;
	for (int i = 0; i < n; i++)
	{
		if (segments[i].state == EDA_SEGMENT_OPEN)
			current_relid = segments[i].relid;
	}
	loaded_at = as_of;
	pfree(list);
}

int
EdaSegments(EdaSegment **list)
{
	/*
	 * A segment that is newer than what we know: its invalidation was sent
	 * before anything could be published in it, so before any snapshot that
	 * sees such an event was taken.
	 */
	AcceptInvalidationMessages();
	load_segments();

	*list = palloc(sizeof(EdaSegment) * Max(nsegments, 1));
	memcpy(*list, segments, sizeof(EdaSegment) * nsegments);
	return nsegments;
}

Oid
EdaSegmentCurrent(void)
{
	load_segments();
	if (!OidIsValid(current_relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the event log has no open segment"),
				 errdetail("No row of %s.%s has state \"%c\".",
						   EDA_SCHEMA_NAME, "segment", EDA_SEGMENT_OPEN)));
	return current_relid;
}

Oid
EdaSegmentTable(uint16 slot)
{
	load_segments();
	for (int i = 0; i < nsegments; i++)
	{
		if (segments[i].slot == slot && EdaSegmentIsLive(&segments[i]))
			return segments[i].relid;
	}
	return InvalidOid;
}

void
EdaLogHold(void)
{
	LockDatabaseObject(EdaRelationId("segment"), InvalidOid, HOLD_LOCK, AccessShareLock);
}

bool
EdaLogTryExclude(void)
{
	return ConditionalLockDatabaseObject(EdaRelationId("segment"), InvalidOid, HOLD_LOCK,
										 AccessExclusiveLock);
}

/*
 * Life
 */

/* This transaction changed eda.segment. */
static void
segments_changed(void)
{
	CacheInvalidateRelcacheByRelid(EdaRelationId("segment"));
	CommandCounterIncrement();
}

/* A statement with up to three ints as parameters, which changes one row. */
static void
change_row(const char *sql, int nargs, Datum *values)
{
	static const Oid types[] = {INT4OID, INT4OID, OIDOID};
	EdaSecurityContext ctx;

	EdaSpiBegin(&ctx);
	if (EdaSpiExecute(sql, nargs, types, values, NULL, 0) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s.%s was changed by somebody else", EDA_SCHEMA_NAME, "segment")));
	EdaSpiEnd(&ctx);
}

/*
 * A utility command.  It runs as a part of another one would, so that no event trigger
 * fires, not even one that is enabled always: the dispatcher runs nobody's code.
 */
static void
run_command(const char *sql)
{
	EdaSecurityContext ctx;
	RawStmt    *raw = linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT));
	PlannedStmt *stmt = makeNode(PlannedStmt);

	stmt->commandType = CMD_UTILITY;
	stmt->utilityStmt = raw->stmt;
	stmt->stmt_location = raw->stmt_location;
	stmt->stmt_len = raw->stmt_len;

	EdaBeginAsOwner(&ctx);
	ProcessUtility(stmt, sql, false, PROCESS_UTILITY_SUBCOMMAND, NULL, NULL, None_Receiver, NULL);
	EdaEndAsOwner(&ctx);
	CommandCounterIncrement();
}

/* Nobody but its owner has rights on a table of eda's, whatever the default privileges say. */
static void
revoke_all(Oid relid, const char *name)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;
	Datum		value;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	value = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relacl, &isnull);
	if (!isnull)
	{
		StringInfoData grantees;
		Oid		   *roles;
		int			n = aclmembers(DatumGetAclP(value), &roles);

		initStringInfo(&grantees);
		appendStringInfoString(&grantees, "PUBLIC");
		for (int i = 0; i < n; i++)
			if (roles[i] != owner)
				appendStringInfo(&grantees, ", %s",
								 quote_identifier(GetUserNameFromId(roles[i], false)));
		run_command(psprintf("REVOKE ALL ON TABLE %s FROM %s CASCADE", name, grantees.data));
	}
	ReleaseSysCache(tuple);
}

/*
 * Make the table of a new slot: like eda.log_1 in src/sql/20_log.sql, and a
 * member of the extension, so that it is dropped, owned and left out of dumps
 * like the rest.
 */
static Oid
create_table(int slot)
{
	Oid			relid;
	ObjectAddress table;
	ObjectAddress extension;

	/* whatever default_table_access_method says: the log is written below the executor */
	run_command(psprintf("CREATE TABLE eda.log_%d () INHERITS (eda.log) USING heap", slot));
	run_command(psprintf("COMMENT ON TABLE eda.log_%d IS 'a segment of the event log'", slot));
	relid = EdaRelationId(psprintf("log_%d", slot));
	revoke_all(relid, psprintf("eda.log_%d", slot));
	run_command(psprintf("CREATE INDEX log_%d_xid_id ON eda.log_%d (xid, id)"
						 " INCLUDE (topic_hash, key_hash)", slot, slot));
	run_command(psprintf("CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON eda.log_%d"
						 " FOR EACH STATEMENT EXECUTE FUNCTION eda._guard()", slot));
	run_command(psprintf("ALTER TABLE eda.log_%d ENABLE ALWAYS TRIGGER guard", slot));

	ObjectAddressSet(table, RelationRelationId, relid);
	ObjectAddressSet(extension, ExtensionRelationId,
					 get_extension_oid(EDA_EXTENSION_NAME, false));
	recordDependencyOn(&table, &extension, DEPENDENCY_EXTENSION);
	CommandCounterIncrement();
	return relid;
}

/* The name of a segment's table, to be used in a command. */
static char *
segment_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

/* The index for look-ups by id and time, of a segment that is complete; InvalidOid: it has none. */
static Oid
lookup_index(Relation rel, char **name)
{
	*name = psprintf("%s_brin", RelationGetRelationName(rel));
	return get_relname_relid(*name, RelationGetNamespace(rel));
}

/* The lowest slot that no segment has, and whose table's name nobody took; 0: none. */
static int
find_slot(const EdaSegment *list, int n)
{
	Oid			namespaceid = get_namespace_oid(EDA_SCHEMA_NAME, false);

	for (int slot = 1; slot <= EDA_MAX_SEGMENTS; slot++)
	{
		bool		taken = OidIsValid(get_relname_relid(psprintf("log_%d", slot), namespaceid));

		for (int i = 0; i < n && !taken; i++)
			taken = list[i].slot == slot;
		if (!taken)
			return slot;
	}
	return 0;
}

bool
EdaSegmentRotate(bool *limited)
{
	Oid			relid = EdaRelationId("segment");
	EdaSegment *list;
	int			n;
	const EdaSegment *open = NULL;
	const EdaSegment *reuse = NULL;
	int			slot;
	Datum		values[3];

	*limited = false;
	if (!ConditionalLockDatabaseObject(relid, InvalidOid, LIST_LOCK, AccessExclusiveLock) ||
		!ConditionalLockRelationOid(relid, RowExclusiveLock))
		return false;

	n = EdaSegments(&list);
	for (int i = 0; i < n; i++)
	{
		if (list[i].state == EDA_SEGMENT_OPEN)
			open = &list[i];
		if (list[i].state == EDA_SEGMENT_FREE && reuse == NULL &&
			get_rel_name(list[i].relid) != NULL)
			reuse = &list[i];
	}
	slot = reuse == NULL ? find_slot(list, n) : 0;
	if (open == NULL || (reuse == NULL && slot == 0))
	{
		*limited = true;
		return true;
	}

	/* what CREATE TABLE takes of the parent */
	if (reuse == NULL &&
		!ConditionalLockRelationOid(EdaRelationId("log"), ShareUpdateExclusiveLock))
		return false;

	values[0] = Int32GetDatum(open->number);
	change_row("UPDATE eda.segment SET state = 'c', closed_at = pg_catalog.clock_timestamp()"
			   " WHERE segment = $1 AND state = 'o'", 1, values);
	values[0] = Int32GetDatum(list[n - 1].number + 1);
	if (reuse != NULL)
	{
		values[1] = Int32GetDatum(reuse->number);
		change_row("UPDATE eda.segment SET segment = $1, state = 'o',"
				   " opened_at = pg_catalog.clock_timestamp(), closed_at = NULL, sealed_at = NULL,"
				   " max_xid = NULL, retired_xid = NULL WHERE segment = $2 AND state = 'f'",
				   2, values);
	}
	else
	{
		values[1] = Int32GetDatum(slot);
		values[2] = ObjectIdGetDatum(create_table(slot));
		change_row("INSERT INTO eda.segment (segment, slot, relation) VALUES ($1, $2, $3)",
				   3, values);
	}
	segments_changed();
	return true;
}

bool
EdaSegmentSeal(const EdaSegment *segment)
{
	static const Oid types[] = {INT4OID, XID8OID};
	EdaSecurityContext ctx;
	Relation	rel;
	char	   *index;
	char	   *command = NULL;
	Datum		values[2];

	if (!ConditionalLockRelationOid(EdaRelationId("segment"), RowExclusiveLock) ||
		!ConditionalLockRelationOid(segment->relid, ShareLock))
		return false;
	rel = try_table_open(segment->relid, NoLock);
	if (rel == NULL)
		return false;

	values[0] = Int32GetDatum(segment->number);
	values[1] = FullTransactionIdGetDatum(FullTransactionIdFromU64(EdaLogMaxXid(rel)));
	if (!OidIsValid(lookup_index(rel, &index)))
		command = psprintf("CREATE INDEX %s ON %s USING brin (id, published_at)",
						   quote_identifier(index), segment_name(rel));
	table_close(rel, NoLock);
	if (command)
		run_command(command);

	EdaSpiBegin(&ctx);
	EdaSpiExecute("UPDATE eda.segment SET state = 's', sealed_at = pg_catalog.clock_timestamp(),"
				  " max_xid = $2 WHERE segment = $1 AND state = 'c'",
				  2, types, values, NULL, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);
	segments_changed();
	return true;
}

void
EdaSegmentRetire(const EdaSegment *segment)
{
	Datum		values[1];

	values[0] = Int32GetDatum(segment->number);
	change_row("UPDATE eda.segment SET state = 'r', retired_xid = pg_catalog.pg_current_xact_id()"
			   " WHERE segment = $1 AND state = 's'", 1, values);
	segments_changed();
}

bool
EdaSegmentTruncate(const EdaSegment *segment)
{
	Relation	rel;
	Oid			toast;
	Oid			indexid;
	char	   *index;
	char	   *name;
	Datum		values[1];

	if (!ConditionalLockRelationOid(EdaRelationId("segment"), RowExclusiveLock) ||
		!ConditionalLockRelationOid(segment->relid, AccessExclusiveLock))
		return false;
	rel = try_table_open(segment->relid, NoLock);
	if (rel == NULL)
		return false;
	toast = rel->rd_rel->reltoastrelid;
	name = segment_name(rel);
	indexid = lookup_index(rel, &index);
	table_close(rel, NoLock);
	/* VACUUM takes it alone */
	if (OidIsValid(toast) && !ConditionalLockRelationOid(toast, AccessExclusiveLock))
		return false;

	run_command(psprintf("TRUNCATE ONLY %s", name));
	if (OidIsValid(indexid) && get_rel_relkind(indexid) == RELKIND_INDEX &&
		IndexGetRelation(indexid, true) == segment->relid)
		run_command(psprintf("DROP INDEX %s.%s", EDA_SCHEMA_NAME, quote_identifier(index)));
	values[0] = Int32GetDatum(segment->number);
	change_row("UPDATE eda.segment SET state = 'f' WHERE segment = $1 AND state = 'r'", 1, values);
	segments_changed();
	return true;
}

int64
EdaSegmentSize(const EdaSegment *segment)
{
	Datum		size;

	if (!ConditionalLockRelationOid(segment->relid, AccessShareLock))
		return -1;
	if (get_rel_name(segment->relid) == NULL)
		return -1;
	size = DirectFunctionCall1(pg_total_relation_size, ObjectIdGetDatum(segment->relid));
	return DatumGetInt64(size);
}

bool
EdaSegmentIsEmpty(const EdaSegment *segment)
{
	Relation	rel;
	bool		empty;

	if (!ConditionalLockRelationOid(segment->relid, AccessShareLock))
		return true;
	rel = try_table_open(segment->relid, NoLock);
	if (rel == NULL)
		return true;
	empty = EdaLogMaxXid(rel) == 0;
	table_close(rel, NoLock);
	return empty;
}
