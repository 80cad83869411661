/*-------------------------------------------------------------------------
 *
 * contract/schema_cache.c
 *	  Compiled JSON Schemas, kept by the backend.
 *
 *	1. A schema is known by its bytes, and by how it was compiled: which
 *	   formats are asserted, and whether registered schemas may be referred
 *	   to.  Each has a memory context of its own.
 *	2. The least recently used go when there are more than MAX_ENTRIES, or
 *	   more than MAX_BYTES; not those that are pinned.
 *	3. What referred to a registered schema is out of date when the epoch has
 *	   moved, which a relcache invalidation of eda.shared_schema does, and is
 *	   then compiled anew.
 *	4. No locks: all of this is the backend's own.  Registered schemas are
 *	   read as the last commit left them, whatever the snapshot: what is
 *	   compiled outlives it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/contract/schema_cache.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "lib/ilist.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/catalog.h"
#include "base/security.h"
#include "contract/schema_cache.h"

#define MAX_ENTRIES		256
#define MAX_BYTES		(32 * 1024 * 1024)
#define MAX_SHOWN		20		/* violations in a message */

struct EdaSchema
{
	dlist_node	node;			/* in entries, the last used first */
	uint64		hash;			/* of bytes */
	Jsonb	   *bytes;			/* in compiled's context's parent: context */
	MemoryContext context;
	JsonSchemaFormats formats;
	bool		registered;
	uint64		epoch;			/* when compiled */
	JsonSchema *compiled;
	Size		size;
	int			pins;
	bool		gone;			/* not in entries any more, only pinned */
};

static dlist_head entries = DLIST_STATIC_INIT(entries);
static int	nentries = 0;
static Size nbytes = 0;
static MemoryContext cache_context = NULL;

/* The table whose invalidations count; unset until it was read once. */
static Oid	watched_relid = InvalidOid;
static uint64 epoch = 1;

const JsonSchemaErrcodes EdaSchemaErrcodes = {
	.invalid = ERRCODE_EDA_INVALID_SCHEMA,
	.unresolved = ERRCODE_EDA_UNRESOLVED_REFERENCE,
	.limit = ERRCODE_EDA_SCHEMA_LIMIT
};

void
EdaSchemaInvalidate(Oid relid)
{
	if (relid == InvalidOid || watched_relid == InvalidOid || relid == watched_relid)
		epoch++;
}

void
EdaSchemaWatch(void)
{
	watched_relid = EdaSharedSchemaRelId();
}

uint64
EdaSchemaEpoch(void)
{
	return epoch;
}

Jsonb *
EdaSchemaLoad(void *arg, const char *uri)
{
	MemoryContext caller = CurrentMemoryContext;
	EdaSecurityContext ctx;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(uri)};
	Jsonb	   *result = NULL;

	EdaSchemaWatch();
	EdaSpiBegin(&ctx);
	if (EdaSpiQuery("SELECT schema FROM eda.shared_schema WHERE uri = $1", 1, types, values, NULL,
					GetLatestSnapshot()) > 0)
	{
		bool		isnull;
		Datum		datum = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContext before = MemoryContextSwitchTo(caller);

		result = DatumGetJsonbPCopy(datum);
		MemoryContextSwitchTo(before);
	}
	EdaSpiEnd(&ctx);
	return result;
}

static bool
is_current(const EdaSchema *entry)
{
	return !JsonSchemaUsedLoader(entry->compiled) || entry->epoch == epoch;
}

bool
EdaSchemaIsGood(const EdaSchema *entry, JsonSchemaFormats formats, bool registered)
{
	return entry->formats == formats && entry->registered == registered && is_current(entry);
}

bool
EdaSchemaIs(const EdaSchema *entry, const Jsonb *schema, JsonSchemaFormats formats, bool registered)
{
	return VARSIZE(entry->bytes) == VARSIZE(schema) && EdaSchemaIsGood(entry, formats, registered) &&
		memcmp(entry->bytes, schema, VARSIZE(schema)) == 0;
}

/* Take an entry out of the cache; it goes at once, or when its last pin does. */
static void
drop_entry(EdaSchema *entry)
{
	if (!entry->gone)
	{
		dlist_delete(&entry->node);
		nentries--;
		nbytes -= entry->size;
		entry->gone = true;
	}
	if (entry->pins == 0)
		MemoryContextDelete(entry->context);
}

void
EdaSchemaPin(EdaSchema *entry)
{
	entry->pins++;
}

void
EdaSchemaUnpin(EdaSchema *entry)
{
	if (--entry->pins == 0 && entry->gone)
		drop_entry(entry);
}

/* Make room, but for what was added last. */
static void
evict(const EdaSchema *keep)
{
	dlist_node *node = dlist_is_empty(&entries) ? NULL : dlist_tail_node(&entries);

	while (node != NULL && (nentries > MAX_ENTRIES || nbytes > MAX_BYTES))
	{
		EdaSchema  *entry = dlist_container(EdaSchema, node, node);
		dlist_node *previous = dlist_has_prev(&entries, node) ? dlist_prev_node(&entries, node) : NULL;

		if (entry != keep && entry->pins == 0)
			drop_entry(entry);
		node = previous;
	}
}

EdaSchema *
EdaSchemaLookup(const Jsonb *schema, JsonSchemaFormats formats, bool registered)
{
	uint64		hash = DatumGetUInt64(hash_any_extended((const unsigned char *) schema,
														VARSIZE(schema), 0));
	JsonSchemaOptions options = {0};
	MemoryContext context;
	EdaSchema  *entry;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &entries)
	{
		entry = dlist_container(EdaSchema, node, iter.cur);
		if (entry->hash != hash || entry->formats != formats || entry->registered != registered ||
			VARSIZE(entry->bytes) != VARSIZE(schema) ||
			memcmp(entry->bytes, schema, VARSIZE(schema)) != 0)
			continue;
		if (is_current(entry))
		{
			dlist_move_head(&entries, &entry->node);
			return entry;
		}
		drop_entry(entry);
		break;
	}

	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(TopMemoryContext, "eda schemas",
											  ALLOCSET_SMALL_SIZES);
	/* on an error it goes with the caller's context */
	context = AllocSetContextCreate(CurrentMemoryContext, "eda schema", ALLOCSET_SMALL_SIZES);
	entry = MemoryContextAllocZero(context, sizeof(EdaSchema));
	entry->context = context;
	entry->hash = hash;
	entry->formats = formats;
	entry->registered = registered;
	entry->bytes = MemoryContextAlloc(context, VARSIZE(schema));
	memcpy(entry->bytes, schema, VARSIZE(schema));
	options.errcodes = EdaSchemaErrcodes;
	options.formats = formats;
	options.loader = registered ? EdaSchemaLoad : NULL;
	entry->epoch = epoch;
	entry->compiled = JsonSchemaCompile(schema, &options, context);
	entry->size = MemoryContextMemAllocated(context, true);

	/* from here on nothing fails */
	MemoryContextSetParent(context, cache_context);
	dlist_push_head(&entries, &entry->node);
	nentries++;
	nbytes += entry->size;
	evict(entry);
	return entry;
}

const JsonSchema *
EdaSchemaCompiled(const EdaSchema *entry)
{
	return entry->compiled;
}

bool
EdaSchemaIsValid(const EdaSchema *entry, const Jsonb *instance)
{
	return JsonSchemaIsValid(entry->compiled, instance);
}

char *
EdaViolationsText(List *violations)
{
	StringInfoData buf;
	int			shown = 0;

	initStringInfo(&buf);
	for (int far = 0; far <= 1; far++)
	{
		ListCell   *lc;

		foreach(lc, violations)
		{
			JsonSchemaViolation *violation = (JsonSchemaViolation *) lfirst(lc);

			if (violation->far != (far == 1) || shown == MAX_SHOWN)
				continue;
			appendStringInfo(&buf, "%s%s: %s (schema: %s)", shown++ > 0 ? "\n" : "",
							 violation->instance_path[0] != '\0' ? violation->instance_path : "the payload",
							 violation->message,
							 violation->schema_path[0] != '\0' ? violation->schema_path : "all of it");
		}
	}
	if (list_length(violations) > shown)
		appendStringInfo(&buf, "\nand %d more%s", list_length(violations) - shown,
						 list_length(violations) >= EDA_MAX_VIOLATIONS ? " at least" : "");
	return buf.data;
}
