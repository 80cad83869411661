/*-------------------------------------------------------------------------
 *
 * jsonschema/jsonschema.h
 *	  JSON Schema over jsonb: drafts 4, 6, 7, 2019-09 and 2020-12.
 *
 * This header is the face of the validator: other code includes it, and no
 * other file of this folder.  The folder needs PostgreSQL and PCRE2 and
 * nothing else, so it can be used in any extension.
 *
 *  1. JsonSchemaCompile turns a schema into a JsonSchema, which lives in a
 *     memory context of its own and holds copies of all that it needs.
 *     A fault in the schema, which includes a reference that leads nowhere,
 *     is an error here that gives the JSON Pointer of the fault.
 *  2. JsonSchemaIsValid answers yes or no and stops at the first violation.
 *     It allocates memory only for unevaluatedItems and unevaluatedProperties
 *     on large instances, and for uniqueItems.  JsonSchemaValidate returns
 *     every violation.  Both are one piece of code, compiled twice.
 *  3. A reference may lead to a place in the schema itself, to a metaschema
 *     of one of the five drafts (jsonschema/metaschema.c), or to a document
 *     that the caller's loader returns.
 *  4. What the validator needs to know from outside comes with
 *     JsonSchemaOptions: the SQLSTATEs of its errors, the loader, and how many
 *     steps a validation may take.  Its memory is that of the context which
 *     the caller gives, and of CurrentMemoryContext.  It looks for interrupts
 *     as the server does, so everything can be cancelled.
 *  5. A few things are kept for the life of the backend, in TopMemoryContext
 *     or below it: the shipped metaschemas, classes of characters, and
 *     what PCRE2 needs for matching.
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

/* Returns the document of an absolute URI without a fragment, or NULL if there is none. */
typedef Jsonb *(*JsonSchemaLoader) (void *arg, const char *uri);

typedef enum JsonSchemaFormats
{
	JSONSCHEMA_FORMATS_DEFAULT, /* asserted where the draft and the vocabularies say so */
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
	 * A reference to a document that the loader does not have is no error.  This is for
	 * definitions that refer to others which come later.  The result tells that the schema is
	 * correct by itself; to validate with it is an error if a reference was left open.
	 */
	bool		defer_references;
	int			draft;			/* of a schema without $schema: 4, 6, 7, 2019
								 * or 2020; 0 is 2020 */
	JsonSchemaErrcodes errcodes;

	/*
	 * Limits of each validation, that of the schema by its metaschema included; 0 stands for
	 * JSONSCHEMA_STEPS and JSONSCHEMA_STEPS_A_BYTE.
	 */
	int64		steps;
	int			steps_a_byte;
} JsonSchemaOptions;

typedef struct JsonSchemaViolation
{
	char	   *instance_path;	/* JSON Pointers */
	char	   *schema_path;	/* the way that was taken, through $ref and its kin */
	const char *keyword;
	char	   *message;
	bool		far;			/* it is in a branch of a union that is not the nearest one */
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

/* The bytes that a schema takes, without the machine code that PCRE2 makes of its patterns. */
extern Size JsonSchemaSize(const JsonSchema *schema);

/* Was the loader asked for a document while the schema was compiled? */
extern bool JsonSchemaUsedLoader(const JsonSchema *schema);

/* The normalized form in which URIs are compared; NULL if uri is none, or has a fragment. */
extern char *JsonSchemaUri(const char *uri);

/* Is a normalized URI that of a metaschema which the validator brings along? */
extern bool JsonSchemaIsShipped(const char *uri);

/* Does the schema say its draft, by $schema? */
extern bool JsonSchemaHasDialect(const Jsonb *schema);

/* Append a slash and a token of a JSON Pointer, escaped. */
extern void JsonSchemaAppendToken(StringInfo buf, const char *token);

/*
 * Does an instance conform to the schema?  This function and the next one raise errcodes.limit, as
 * the schema was compiled with it, where a pattern or a recursion has no end.
 */
extern bool JsonSchemaIsValid(const JsonSchema *schema, const Jsonb *instance);

/*
 * The violations, as JsonSchemaViolation * in CurrentMemoryContext; NIL if there is none.  At most
 * max of them are returned, or all of them if max is 0.  They are in the order of evaluation,
 * except that in a union (anyOf, oneOf) those of the nearest branch come first.
 */
extern List *JsonSchemaValidate(const JsonSchema *schema, const Jsonb *instance, int max);

#endif							/* JSONSCHEMA_H */
