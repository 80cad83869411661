/*-------------------------------------------------------------------------
 *
 * base/guard.c
 *	  Who may write to eda's tables past its functions, and who watches them.
 *
 *	1. Nobody but their owner has rights on eda's tables.  But a member of pg_write_all_data may
 *	   write to every table, and privileges may have been granted by hand, as by GRANT ... ON ALL
 *	   TABLES.  Who could write to eda.subscription could have a handler run as a superuser.  So
 *	   each table has a statement trigger, enabled always, that refuses INSERT, UPDATE, DELETE and
 *	   TRUNCATE, also through a view, to whom the table does not belong: its owner, a member of
 *	   that role or a superuser could drop the trigger as well.  eda's own statements run as the
 *	   owner.  Row security would do the same, but makes pg_dump fail for members of
 *	   pg_read_all_data.
 *	2. What a trigger of somebody else's would do on eda's tables it would do as their owner, when
 *	   eda writes there; and a foreign key would keep eda from deleting.  TRIGGER and REFERENCES
 *	   can be granted, so who does not own the table is refused when the trigger is created, as
 *	   foreign keys have triggers too.  LOCK TABLE, which takes no more than a right to write, is
 *	   refused before it waits: the workers would stand still.  So is SELECT ... FOR UPDATE, for
 *	   which no trigger fires: they would wait for its rows.
 *	3. Tools watch tables by triggers of the owner's: pg_repack, which must not miss a row that is
 *	   deleted while it copies the table, audits, foreign keys.  eda writes some tables below the
 *	   executor, which fires none.  So each of those places asks EdaTableIsWatched(), and goes
 *	   through SPI where somebody does.  Whoever creates a trigger has a lock that excludes those
 *	   who write, so the relcache entry that a writer has after locking the table tells of it.
 *	4. No state but the oid of the trigger's function (base/catalog.c), no locks.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/guard.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "base/catalog.h"
#include "base/guard.h"

PG_FUNCTION_INFO_V1(eda_guard);

static object_access_hook_type prev_object_access = NULL;
static ExecutorStart_hook_type prev_executor_start = NULL;

/* Whose it is, or a superuser or a member of that role. */
static bool
owns(Relation rel)
{
	return has_privs_of_role(GetUserId(), rel->rd_rel->relowner);
}

/* eda._guard() RETURNS trigger: BEFORE each statement that writes to one of eda's tables. */
Datum
eda_guard(PG_FUNCTION_ARGS)
{
	Relation	rel;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s can only be called as a trigger", "eda._guard()")));

	rel = ((TriggerData *) fcinfo->context)->tg_relation;
	if (!owns(rel))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to change table \"%s.%s\"",
						EDA_SCHEMA_NAME, RelationGetRelationName(rel)),
				 errdetail("Only its owner may, and superusers, whatever was granted on it."),
				 errhint("Use eda's functions, which check what they write.")));
	return PointerGetDatum(NULL);
}

bool
EdaTableIsWatched(Relation rel)
{
	TriggerDesc *desc = rel->trigdesc;

	if (desc == NULL)
		return false;
	for (int i = 0; i < desc->numtriggers; i++)
	{
		if (desc->triggers[i].tgfoid != EdaGuardFunctionId() &&
			desc->triggers[i].tgenabled != TRIGGER_DISABLED)
			return true;
	}
	return false;
}

void
EdaWriteSuppressed(const char *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_EDA_WRITE_SUPPRESSED),
			 errmsg("a trigger kept eda from writing to table \"%s.%s\"",
					EDA_SCHEMA_NAME, table),
			 errdetail("Events would be lost or take effect twice."),
			 errhint("Drop the trigger, or have it return its row; eda's tables can be watched, not changed by triggers.")));
}

/* Of a trigger that is being created; InvalidOid: it is not there. */
static Oid
relation_of_trigger(Oid trigger)
{
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			relid = InvalidOid;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger));
	scan = systable_beginscan(rel, TriggerOidIndexId, true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		relid = ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return relid;
}

/* A relation in eda's schema. */
static bool
is_ours(Oid relid)
{
	Oid			namespaceid = get_namespace_oid(EDA_SCHEMA_NAME, true);

	return OidIsValid(namespaceid) && OidIsValid(relid) &&
		get_rel_namespace(relid) == namespaceid && EdaExtensionExists();
}

static void
guard_object_access(ObjectAccessType access, Oid classid, Oid objectid, int subid, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classid, objectid, subid, arg);

	if (access == OAT_POST_CREATE && classid == TriggerRelationId)
	{
		Oid			relid = relation_of_trigger(objectid);
		Relation	rel;

		if (!is_ours(relid))
			return;
		rel = table_open(relid, NoLock);	/* who creates the trigger has a lock */
		if (!owns(rel))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to create a trigger on \"%s.%s\"",
							EDA_SCHEMA_NAME, RelationGetRelationName(rel)),
					 errdetail("Only its owner may, and superusers, whatever was granted on it; a foreign key that refers to it is made of triggers, too.")));
		table_close(rel, NoLock);
	}
}

/* ERROR where the statement locks rows of eda's, through whatever views, and not as their owner. */
static void
guard_row_locks(const PlannedStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->rowMarks)
	{
		PlanRowMark *mark = lfirst_node(PlanRowMark, lc);
		RangeTblEntry *rte = rt_fetch(mark->rti, stmt->rtable);
		Relation	rel;

		if (!RowMarkRequiresRowShareLock(mark->markType) || rte->rtekind != RTE_RELATION || !is_ours(rte->relid))
			continue;
		rel = table_open(rte->relid, NoLock);	/* the planner has a lock */
		if (!owns(rel))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to lock rows of \"%s.%s\"", EDA_SCHEMA_NAME, RelationGetRelationName(rel)),
					 errdetail("Only its owner may, and superusers, whatever was granted on it.")));
		table_close(rel, NoLock);
	}
}

static void
guard_executor_start(QueryDesc *queryDesc, int eflags)
{
	if (queryDesc->plannedstmt->rowMarks != NIL && !(eflags & EXEC_FLAG_EXPLAIN_ONLY))
		guard_row_locks(queryDesc->plannedstmt);
	if (prev_executor_start)
		prev_executor_start(queryDesc, eflags);
	else
		standard_ExecutorStart(queryDesc, eflags);
}

void
EdaGuardInit(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = guard_object_access;
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = guard_executor_start;
}

static bool guard_lock_in_query(Node *node, void *context);

/* The relation itself, or what the view reads; seen: oids that were looked at. */
static void
guard_lock_of(Oid relid, List **seen)
{
	Relation	rel;

	check_stack_depth();
	if (list_member_oid(*seen, relid))
		return;					/* a view's query names the view itself, too */
	*seen = lappend_oid(*seen, relid);
	rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		return;
	if (is_ours(relid) && !owns(rel))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to lock \"%s.%s\"", EDA_SCHEMA_NAME, RelationGetRelationName(rel)),
				 errdetail("Only its owner may, and superusers, whatever was granted on it.")));
	if (rel->rd_rel->relkind == RELKIND_VIEW)
		(void) guard_lock_in_query((Node *) get_view_query(rel), seen);
	relation_close(rel, AccessShareLock);
}

static bool
guard_lock_in_query(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		if (((RangeTblEntry *) node)->rtekind == RTE_RELATION)
			guard_lock_of(((RangeTblEntry *) node)->relid, (List **) context);
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, guard_lock_in_query, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, guard_lock_in_query, context);
}

void
EdaGuardLock(LockStmt *stmt)
{
	List	   *seen = NIL;
	ListCell   *lc;

	/* that one disturbs nobody who reads or writes */
	if (stmt->mode == AccessShareLock || superuser())
		return;
	foreach(lc, stmt->relations)
	{
		Oid			relid = RangeVarGetRelid(lfirst_node(RangeVar, lc), NoLock, true);

		if (OidIsValid(relid))
			guard_lock_of(relid, &seen);
	}
}
