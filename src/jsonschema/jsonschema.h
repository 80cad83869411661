/*-------------------------------------------------------------------------
 *
 * jsonschema/jsonschema.h
 *	  JSON Schema over jsonb: drafts 4, 6, 7, 2019-09 and 2020-12.
 *
 * The files jsonschema*.[ch] need PostgreSQL and PCRE2 and nothing else.
 *
 *  1. JsonSchemaCompile turns a schema into a JsonSchema, which lives in a
 *     memory context of its own and holds copies of all that it needs.
 *     What is wrong with the schema, references that lead nowhere included,
 *     is an error here, with the JSON Pointer of the fault.
 *  2. JsonSchemaIsValid says yes or no, stops at the first violation, and
 *     allocates nothing but for unevaluated* on large instances and for
 *     uniqueItems.  JsonSchemaValidate returns every violation.  Both are
 *     one piece of code, compiled twice.
 *  3. References are resolved inside the schema, to the metaschemas of the
 *     five drafts (jsonschema/metaschema.c), and by the caller's loader.
 *
 * Nodes
 *
 *	A schema becomes nodes, one a subschema, with their keywords grouped by the type that they
 *	are about; the instance is read where it lies in the jsonb.  One evaluator is compiled
 *	twice: as the fast one, which stops at the first violation, and as the slow one, which
 *	lists them.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/jsonschema.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef JSONSCHEMA_H
#define JSONSCHEMA_H

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* SQLSTATEs of what is raised here. */
#define JSONSCHEMA_ERRCODE_INVALID		MAKE_SQLSTATE('E','D','0','5','0')
#define JSONSCHEMA_ERRCODE_UNRESOLVED	MAKE_SQLSTATE('E','D','0','5','1')
#define JSONSCHEMA_ERRCODE_LIMIT		MAKE_SQLSTATE('E','D','0','5','2')

typedef struct JsonSchema JsonSchema;

/* The schema registered as an absolute URI without a fragment, or NULL. */
typedef Jsonb *(*JsonSchemaLoader) (void *arg, const char *uri);

typedef enum JsonSchemaFormats
{
	JSONSCHEMA_FORMATS_DEFAULT, /* as the draft and the vocabularies say */
	JSONSCHEMA_FORMATS_ALWAYS,
	JSONSCHEMA_FORMATS_NEVER,
} JsonSchemaFormats;

typedef struct JsonSchemaOptions
{
	JsonSchemaFormats formats;
	JsonSchemaLoader loader;	/* may be NULL */
	void	   *loader_arg;
	const char *uri;			/* base URI of a schema without $id; may be NULL */

	/*
	 * References to documents that the loader does not have are no error: for
	 * definitions that refer to others which come later.  What was compiled
	 * so is not to be validated with.
	 */
	bool		defer_references;
	int			draft;			/* of a schema without $schema: 4, 6, 7, 2019
								 * or 2020; 0 is 2020 */
} JsonSchemaOptions;

typedef struct JsonSchemaViolation
{
	char	   *instance_path;	/* JSON Pointers */
	char	   *schema_path;	/* the way taken, through $ref and the like */
	const char *keyword;
	char	   *message;
	bool		far;			/* in a branch of a union that is not the nearest one */
} JsonSchemaViolation;

/* Raises JSONSCHEMA_ERRCODE_INVALID or _UNRESOLVED.  parent: of its context. */
extern JsonSchema *JsonSchemaCompile(const Jsonb *schema, const JsonSchemaOptions *options,
									 MemoryContext parent);
extern void JsonSchemaFree(JsonSchema *schema);

/* Bytes that it takes, without code that the regular expressions are compiled to. */
extern Size JsonSchemaSize(const JsonSchema *schema);

/* Has the loader been asked for anything? */
extern bool JsonSchemaUsedLoader(const JsonSchema *schema);

/* What a URI is compared as; NULL if it is none, or has a fragment. */
extern char *JsonSchemaUri(const char *uri);

/* Is a normalized URI that of a metaschema which is always there? */
extern bool JsonSchemaIsShipped(const char *uri);

/* Does it say its draft, by $schema? */
extern bool JsonSchemaHasDialect(const Jsonb *schema);

/* A token of a JSON Pointer, with its slash. */
extern void JsonSchemaAppendToken(StringInfo buf, const char *token);

/* Both raise JSONSCHEMA_ERRCODE_LIMIT where a pattern or a recursion has no end. */
extern bool JsonSchemaIsValid(const JsonSchema *schema, const Jsonb *instance);

/*
 * The violations, JsonSchemaViolation * in CurrentMemoryContext, in the order
 * of evaluation, in unions those of the nearest branch first; at most max of
 * them (0: all); NIL if there is none.
 */
extern List *JsonSchemaValidate(const JsonSchema *schema, const Jsonb *instance, int max);

#endif							/* JSONSCHEMA_H */
