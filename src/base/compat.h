/*-------------------------------------------------------------------------
 *
 * base/compat.h
 *	  The only file that knows which major version of PostgreSQL this is.
 *
 * Every difference between the supported majors, 15 to 18, is an inline
 * function or a macro here, with the version that changed it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/compat.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_COMPAT_H
#define EDA_COMPAT_H

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup.h"
#include "access/transam.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/rel.h"
#include "utils/snapshot.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "eda supports PostgreSQL 15 to 18"
#endif

/* 18: pg_noreturn comes before a declaration, where pg_attribute_noreturn() came behind it. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn __attribute__((noreturn))
#endif

/* 18: index_beginscan() takes an instrumentation struct. */
static inline IndexScanDesc
eda_index_beginscan(Relation heap, Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

/*
 * 16: simple_heap_update() says which indexes need a new entry; before, a
 * heap-only tuple needs none and any other needs all.
 */
static inline bool
eda_heap_update(Relation rel, ItemPointer otid, HeapTuple tup)
{
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes update_indexes;

	simple_heap_update(rel, otid, tup, &update_indexes);
	return update_indexes != TU_None;
#else
	simple_heap_update(rel, otid, tup);
	return !HeapTupleIsHeapOnly(tup);
#endif
}

/* 16: the ACL checks for all object kinds became object_aclcheck(). */
#if PG_VERSION_NUM >= 160000
#define eda_proc_aclcheck(oid, role, mode)		object_aclcheck(ProcedureRelationId, oid, role, mode)
#define eda_namespace_aclcheck(oid, role, mode) object_aclcheck(NamespaceRelationId, oid, role, mode)
#define eda_database_aclcheck(oid, role, mode)	object_aclcheck(DatabaseRelationId, oid, role, mode)
#define eda_database_ownercheck(oid, role)		object_ownercheck(DatabaseRelationId, oid, role)
#define eda_extension_ownercheck(oid, role)		object_ownercheck(ExtensionRelationId, oid, role)
#else
#define eda_proc_aclcheck(oid, role, mode)		pg_proc_aclcheck(oid, role, mode)
#define eda_namespace_aclcheck(oid, role, mode) pg_namespace_aclcheck(oid, role, mode)
#define eda_database_aclcheck(oid, role, mode)	pg_database_aclcheck(oid, role, mode)
#define eda_database_ownercheck(oid, role)		pg_database_ownercheck(oid, role)
#define eda_extension_ownercheck(oid, role)		pg_extension_ownercheck(oid, role)
#endif

/*
 * Could member SET ROLE to role, as who has code run as that role must be
 * able to?  16: a grant says whether; before, every membership will do.
 */
static inline bool
eda_may_become(Oid member, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return member_can_set_role(member, role);
#else
	return is_member_of_role(member, role);
#endif
}

/* 16: stringToQualifiedNameList() takes an ErrorSaveContext. */
#if PG_VERSION_NUM >= 160000
#define eda_qualified_name_list(string)	stringToQualifiedNameList(string, NULL)
#else
#define eda_qualified_name_list(string)	stringToQualifiedNameList(string)
#endif

/* 17: MyBackendId gave way to MyProcNumber; 16: RelFileNode to RelFileLocator. */
#if PG_VERSION_NUM >= 160000
#define eda_relation_filenumber(rel)	((rel)->rd_locator.relNumber)
#else
#define eda_relation_filenumber(rel)	((rel)->rd_node.relNode)
#endif

/* 16: the rights that a query needs are beside its range table. */
#if PG_VERSION_NUM >= 160000
#define eda_check_query_rights(query) \
	((void) ExecCheckPermissions((query)->rtable, (query)->rteperminfos, true))
#else
#define eda_check_query_rights(query)	((void) ExecCheckRTPerms((query)->rtable, true))
#endif

/* 16: get_guc_variables() makes an array of its hash table. */
#if PG_VERSION_NUM >= 160000
#define eda_guc_variables(n)	get_guc_variables(n)
#else
#define eda_guc_variables(n)	(*(n) = GetNumConfigOptions(), get_guc_variables())
#endif

/* 17: extensions can name their wait events. */
static inline uint32
eda_wait_event(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	return PG_WAIT_EXTENSION;
#endif
}

/* 17: an index access method may keep state, and buffers, across inserts. */
static inline void
eda_index_insert_cleanup(Relation index, struct IndexInfo *info)
{
#if PG_VERSION_NUM >= 170000
	index_insert_cleanup(index, info);
#endif
}

/* 18: ExecutorRun() has no execute_once; for the parameters and arguments of its hook. */
#if PG_VERSION_NUM >= 180000
#define EDA_EXECUTE_ONCE_PARAM
#define EDA_EXECUTE_ONCE_ARG
#else
#define EDA_EXECUTE_ONCE_PARAM	, bool execute_once
#define EDA_EXECUTE_ONCE_ARG	, execute_once
#endif

/* 17: LockHeldByMe() can look for a stronger lock too. */
static inline bool
eda_lock_held(const LOCKTAG *tag, LOCKMODE mode)
{
#if PG_VERSION_NUM >= 170000
	return LockHeldByMe(tag, mode, false);
#else
	return LockHeldByMe(tag, mode);
#endif
}

#endif							/* EDA_COMPAT_H */
