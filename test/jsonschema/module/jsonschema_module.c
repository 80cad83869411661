/*-------------------------------------------------------------------------
 *
 * jsonschema_module.c
 *	  The JSON Schema validator without eda.
 *
 *  1. This module consists of this file and the objects of src/jsonschema.
 *     It shows that the validator needs PostgreSQL and PCRE2 and nothing
 *     else: the Makefile fails where an object needs a symbol that neither
 *     of them has.
 *  2. It includes the validator's face, as any other user would.
 *  3. It has SQLSTATEs of its own, class JS, and a limit of its own, so that
 *     a test sees that both are the caller's.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  test/jsonschema/module/jsonschema_module.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "jsonschema/jsonschema.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(jsonschema_module_is_valid);
PG_FUNCTION_INFO_V1(jsonschema_module_violations);
PG_FUNCTION_INFO_V1(jsonschema_module_defaults);

#define STEPS	20000			/* much less than the default */

/* The only document that references may lead to outside of the schema. */
static Jsonb *
load(void *arg, const char *uri)
{
	if (strcmp(uri, "urn:module:even") != 0)
		return NULL;
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{\"multipleOf\": 2}")));
}

static JsonSchema *
compile(const Jsonb *schema)
{
	JsonSchemaOptions options = {
		.loader = load,
		.errcodes = {
			.invalid = MAKE_SQLSTATE('J', 'S', '0', '0', '1'),
			.unresolved = MAKE_SQLSTATE('J', 'S', '0', '0', '2'),
			.limit = MAKE_SQLSTATE('J', 'S', '0', '0', '3')
		},
		.steps = STEPS,
		.steps_a_byte = 1
	};

	return JsonSchemaCompile(schema, &options, CurrentMemoryContext);
}

/*
 * is_valid(schema jsonb, instance jsonb) RETURNS boolean
 */
Datum
jsonschema_module_is_valid(PG_FUNCTION_ARGS)
{
	JsonSchema *schema = compile(PG_GETARG_JSONB_P(0));
	bool		valid = JsonSchemaIsValid(schema, PG_GETARG_JSONB_P(1));

	JsonSchemaFree(schema);
	PG_RETURN_BOOL(valid);
}

/*
 * violations(schema jsonb, instance jsonb) RETURNS text
 *
 * One violation a line: where it is in the instance, and what it is.
 */
Datum
jsonschema_module_violations(PG_FUNCTION_ARGS)
{
	JsonSchema *schema = compile(PG_GETARG_JSONB_P(0));
	StringInfoData text;
	ListCell   *lc;

	initStringInfo(&text);
	foreach(lc, JsonSchemaValidate(schema, PG_GETARG_JSONB_P(1), 0))
	{
		JsonSchemaViolation *violation = (JsonSchemaViolation *) lfirst(lc);

		appendStringInfo(&text, "%s%s: %s", text.len > 0 ? "\n" : "", violation->instance_path,
						 violation->message);
	}
	JsonSchemaFree(schema);
	PG_RETURN_TEXT_P(cstring_to_text(text.data));
}

/*
 * defaults(schema jsonb, instance jsonb) RETURNS boolean
 *
 * The same as is_valid, with options that say nothing.
 */
Datum
jsonschema_module_defaults(PG_FUNCTION_ARGS)
{
	JsonSchemaOptions options = {0};
	JsonSchema *schema = JsonSchemaCompile(PG_GETARG_JSONB_P(0), &options, CurrentMemoryContext);
	bool		valid = JsonSchemaIsValid(schema, PG_GETARG_JSONB_P(1));

	JsonSchemaFree(schema);
	PG_RETURN_BOOL(valid);
}
