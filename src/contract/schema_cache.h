/*-------------------------------------------------------------------------
 *
 * contract/schema_cache.h
 *	  Compiled JSON Schemas, kept by the backend.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/contract/schema_cache.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_SCHEMACACHE_H
#define EDA_SCHEMACACHE_H

#include "jsonschema/jsonschema.h"

typedef struct EdaSchema EdaSchema;

/* What the validator's errors are in eda, for the options of whoever compiles a schema. */
extern const JsonSchemaErrcodes EdaSchemaErrcodes;

/*
 * The schema compiled, from the cache where it is there; registered: its
 * references may lead to registered schemas.  ERROR if it is not valid.  Good
 * until the next call, unless pinned.
 */
extern EdaSchema *EdaSchemaLookup(const Jsonb *schema, JsonSchemaFormats formats, bool registered);
extern void EdaSchemaPin(EdaSchema *schema);
extern void EdaSchemaUnpin(EdaSchema *schema);

/* Compiled in this way, and still what EdaSchemaLookup would return for the same schema? */
extern bool EdaSchemaIsGood(const EdaSchema *entry, JsonSchemaFormats formats, bool registered);

/* Is it this schema's, and still what EdaSchemaLookup would return? */
extern bool EdaSchemaIs(const EdaSchema *entry, const Jsonb *schema, JsonSchemaFormats formats,
						bool registered);

/* What was compiled; never NULL. */
extern const JsonSchema *EdaSchemaCompiled(const EdaSchema *entry);

/* Does an instance conform?  The fast answer. */
extern bool EdaSchemaIsValid(const EdaSchema *entry, const Jsonb *instance);

/* JsonSchemaLoader: what eda.define_schema has registered by now, committed or our own. */
extern Jsonb *EdaSchemaLoad(void *arg, const char *uri);

/* Most violations that are looked for in one instance. */
#define EDA_MAX_VIOLATIONS	100000

/*
 * Goes up when registered schemas may have changed; before EdaSchemaWatch(), which
 * needs a transaction, with any change of any table.
 */
extern void EdaSchemaWatch(void);
extern uint64 EdaSchemaEpoch(void);
extern void EdaSchemaInvalidate(Oid relid);

/*
 * A list of JsonSchemaViolation as text, a line each; at most as many as a
 * message can show, and how many more there are.  What is wrong with branches of a union
 * that are not the nearest one comes last.
 */
extern char *EdaViolationsText(List *violations);

#endif							/* EDA_SCHEMACACHE_H */
