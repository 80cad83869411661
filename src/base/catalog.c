/*-------------------------------------------------------------------------
 *
 * base/catalog.c
 *	  Where eda's own objects are.
 *
 *	1. Oids are looked up by name in schema eda when first asked for, and
 *	   forgotten when the schema or one of the objects is invalidated.  DROP
 *	   EXTENSION drops the schema, so nothing survives it.
 *	   The relcache's callback is registered once, for all of eda: the server
 *	   has ten places for callbacks of its own and all extensions, and a
 *	   backend that finds none left ends.  The caches of other folders register
 *	   here instead (EdaOnRelcacheInvalidation), which init.c does for them, and
 *	   are called in the order in which they were registered.
 *	2. Whether the extension is there, and whose it is, is never remembered:
 *	   before PostgreSQL 18 nothing invalidates a row of pg_extension.
 *	3. The library knows the attribute numbers of one version's tables.  Where the
 *	   extension is of another version, nothing of it is found until ALTER EXTENSION
 *	   eda UPDATE has run; a look that fitted is remembered for as long as the oids.
 *	4. Backend-local, no locks.  A relation's lock is taken by whoever opens
 *	   it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/catalog.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/catalog.h"

typedef enum EdaObject
{
	EDA_OBJ_SUBSCRIPTION,
	EDA_OBJ_SUBSCRIPTION_PKEY,
	EDA_OBJ_CURSOR,
	EDA_OBJ_CURSOR_INDEX,
	EDA_OBJ_SEQUENCE,
	EDA_OBJ_EVENT_RELATION,		/* the composite type's row in pg_class */
	EDA_OBJ_RETRY,
	EDA_OBJ_SHARED_SCHEMA,
	EDA_OBJ_TOPIC,
	EDA_OBJ_RETRY_INDEX,		/* the first of as many as EdaRetryIndex has */
	EDA_NOBJECTS = EDA_OBJ_RETRY_INDEX + EDA_NRETRY_INDEXES
} EdaObject;

static const char *const object_names[EDA_NOBJECTS] = {
	"subscription",
	"subscription_pkey",
	"cursor",
	"cursor_idx",
	"event_id_seq",
	"event",
	"retry",
	"shared_schema",
	"topic",
	"retry_pkey",
	"retry_key",
	"retry_order",
	"retry_due"
};

static Oid	object_oids[EDA_NOBJECTS];
static Oid	event_type = InvalidOid;
static Oid	event_array_type = InvalidOid;
static Oid	guard_function = InvalidOid;
static bool version_fits = false;

/* The caches that are told of invalidations, too. */
#define MAX_CALLBACKS	8

static EdaRelcacheCallback callbacks[MAX_CALLBACKS];
static int	ncallbacks = 0;

static void
forget_all(void)
{
	memset(object_oids, 0, sizeof(object_oids));
	event_type = InvalidOid;
	event_array_type = InvalidOid;
	guard_function = InvalidOid;
	version_fits = false;
}

static void
namespace_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	forget_all();
}

/* relid is invalid where all relations are meant. */
static void
relcache_callback(Datum arg, Oid relid)
{
	bool		ours = !OidIsValid(relid);

	for (int i = 0; i < EDA_NOBJECTS && !ours; i++)
		ours = object_oids[i] == relid;
	if (ours)
		forget_all();

	for (int i = 0; i < ncallbacks; i++)
		callbacks[i] (relid);
}

void
EdaOnRelcacheInvalidation(EdaRelcacheCallback callback)
{
	if (ncallbacks == MAX_CALLBACKS)
		elog(ERROR, "too many callbacks for invalidations of relations");
	callbacks[ncallbacks++] = callback;
}

void
EdaCatalogInit(void)
{
	CacheRegisterSyscacheCallback(NAMESPACEOID, namespace_callback, (Datum) 0);
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
}

bool
EdaExtensionExists(void)
{
	return OidIsValid(get_extension_oid(EDA_EXTENSION_NAME, true));
}

/*
 * The extension's owner and, unless version is NULL, its version, palloc'd.  InvalidOid where it
 * does not exist.
 */
static Oid
look_up_extension(char **version)
{
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			owner = InvalidOid;

	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum(EDA_EXTENSION_NAME));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
		if (version != NULL)
		{
			bool		isnull;
			Datum		value = heap_getattr(tuple, Anum_pg_extension_extversion,
											 RelationGetDescr(rel), &isnull);

			*version = isnull ? pstrdup("") : TextDatumGetCString(value);
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return owner;
}

Oid
EdaExtensionOwner(void)
{
	Oid			owner = look_up_extension(NULL);

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" does not exist", EDA_EXTENSION_NAME),
				 errhint("Create it in this database with CREATE EXTENSION %s.",
						 EDA_EXTENSION_NAME)));
	return owner;
}

/* Does the installed version fit the library?  elevel: how to report one that does not. */
static bool
check_version(int elevel)
{
	char	   *version;

	if (version_fits)
		return true;
	if (!OidIsValid(look_up_extension(&version)))
		return false;
	if (strcmp(version, EDA_VERSION) != 0)
	{
		ereport(elevel,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" is of version %s in this database, its library of version %s",
						EDA_EXTENSION_NAME, version, EDA_VERSION),
				 errhint("As its owner, run ALTER EXTENSION %s UPDATE here; nothing is published or delivered before.",
						 EDA_EXTENSION_NAME)));
		return false;
	}
	version_fits = true;
	pfree(version);
	return true;
}

bool
EdaExtensionFits(void)
{
	return check_version(WARNING);
}

void
EdaOldVersionError(void)
{
	(void) check_version(ERROR);
	/* somebody made the function by hand */
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("this function was replaced in version %s of extension \"%s\"",
					EDA_VERSION, EDA_EXTENSION_NAME)));
}

Oid
EdaRelationId(const char *relname)
{
	Oid			namespaceid = get_namespace_oid(EDA_SCHEMA_NAME, true);
	Oid			relid = InvalidOid;

	if (OidIsValid(namespaceid))
	{
		(void) check_version(ERROR);
		relid = get_relname_relid(relname, namespaceid);
	}
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s.%s\" does not exist",
						EDA_SCHEMA_NAME, relname),
				 errhint("Create the extension in this database with CREATE EXTENSION %s.",
						 EDA_EXTENSION_NAME)));
	return relid;
}

static Oid
object_oid(EdaObject object)
{
	if (!OidIsValid(object_oids[object]))
		object_oids[object] = EdaRelationId(object_names[object]);
	return object_oids[object];
}

Oid
EdaSubscriptionRelId(void)
{
	return object_oid(EDA_OBJ_SUBSCRIPTION);
}

Oid
EdaSubscriptionIndexId(void)
{
	return object_oid(EDA_OBJ_SUBSCRIPTION_PKEY);
}

Oid
EdaCursorRelId(void)
{
	return object_oid(EDA_OBJ_CURSOR);
}

Oid
EdaCursorIndexId(void)
{
	return object_oid(EDA_OBJ_CURSOR_INDEX);
}

Oid
EdaRetryRelId(void)
{
	return object_oid(EDA_OBJ_RETRY);
}

Oid
EdaRetryIndexId(EdaRetryIndex index)
{
	return object_oid(EDA_OBJ_RETRY_INDEX + index);
}

Oid
EdaSharedSchemaRelId(void)
{
	return object_oid(EDA_OBJ_SHARED_SCHEMA);
}

Oid
EdaTopicRelId(void)
{
	return object_oid(EDA_OBJ_TOPIC);
}

Oid
EdaSequenceRelId(void)
{
	return object_oid(EDA_OBJ_SEQUENCE);
}

Oid
EdaEventTypeId(void)
{
	if (!OidIsValid(event_type))
	{
		/* by its relation, whose invalidation makes us forget the type */
		Oid			relid = object_oid(EDA_OBJ_EVENT_RELATION);
		Oid			typeid = get_rel_type_id(relid);

		if (!OidIsValid(typeid))
			elog(ERROR, "cache lookup failed for relation %u", relid);
		event_type = typeid;
	}
	return event_type;
}

Oid
EdaEventArrayTypeId(void)
{
	if (!OidIsValid(event_array_type))
	{
		Oid			typeid = EdaEventTypeId();
		Oid			arraytypeid = get_array_type(typeid);

		if (!OidIsValid(arraytypeid))
			elog(ERROR, "could not find array type for type %u", typeid);
		event_array_type = arraytypeid;
	}
	return event_array_type;
}

Oid
EdaGuardFunctionId(void)
{
	if (!OidIsValid(guard_function))
		guard_function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
										 CStringGetDatum("_guard"),
										 PointerGetDatum(buildoidvector(NULL, 0)),
										 ObjectIdGetDatum(get_namespace_oid(EDA_SCHEMA_NAME, false)));
	return guard_function;
}
