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

/*
 * The SQLSTATEs of the errors that the validator raises.  They are the caller's, who may have a
 * class of its own; one that is 0 stands for the server's code that is named beside it.
 */
typedef struct JsonSchemaErrcodes
{
	int			invalid;		/* the schema is none: ERRCODE_INVALID_PARAMETER_VALUE */
	int			unresolved;		/* a reference leads to no schema: ERRCODE_UNDEFINED_OBJECT */
	int			limit;			/* a limit was reached: ERRCODE_PROGRAM_LIMIT_EXCEEDED */
} JsonSchemaErrcodes;

/*
 * A validation is given up after so many applications of a schema to a value, which take about a
 * second, or after so many for each byte of the instance, whichever are more.
 */
#define JSONSCHEMA_STEPS			INT64CONST(100000000)
#define JSONSCHEMA_STEPS_A_BYTE		100

/* The longest pattern that a schema may have, in bytes. */
#define JSONSCHEMA_MAX_PATTERN		(1024 * 1024)

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
	JsonSchemaErrcodes errcodes;
	int64		steps;			/* 0 is JSONSCHEMA_STEPS */
	int			steps_a_byte;	/* 0 is JSONSCHEMA_STEPS_A_BYTE */
} JsonSchemaOptions;

typedef struct JsonSchemaViolation
{
	char	   *instance_path;	/* JSON Pointers */
	char	   *schema_path;	/* the way taken, through $ref and the like */
	const char *keyword;
	char	   *message;
	bool		far;			/* in a branch of a union that is not the nearest one */
} JsonSchemaViolation;

/*
 * Compile a schema.  Its memory context becomes a child of parent once nothing can fail any more;
 * an error leaves nothing behind.  What is wrong with the schema is raised with errcodes.invalid,
 * a reference that leads to no schema with errcodes.unresolved.  The options and the schema need
 * not stay.
 */
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

/*
 * Does an instance conform to the schema?  This function and the next one raise errcodes.limit, as
 * the schema was compiled with it, where a pattern or a recursion has no end.
 */
extern bool JsonSchemaIsValid(const JsonSchema *schema, const Jsonb *instance);

/*
 * The violations, JsonSchemaViolation * in CurrentMemoryContext, in the order
 * of evaluation, in unions those of the nearest branch first; at most max of
 * them (0: all); NIL if there is none.
 */
extern List *JsonSchemaValidate(const JsonSchema *schema, const Jsonb *instance, int max);

#endif							/* JSONSCHEMA_H */
