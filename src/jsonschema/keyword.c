/*-------------------------------------------------------------------------
 *
 * jsonschema/keyword.c
 *	  JSON Schema: which keywords have subschemas, in which draft.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/keyword.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "jsonschema/private.h"

/* Where a keyword has subschemas. */
typedef enum Shape
{
	SHAPE_SCHEMA,
	SHAPE_ARRAY,
	SHAPE_MAP,
	SHAPE_SCHEMA_OR_ARRAY,
	SHAPE_MAP_OR_STRINGS		/* a map of schemas or of arrays of names */
} Shape;

static const struct
{
	const char *name;
	uint8		drafts;
	uint8		vocabulary;
	Shape		shape;
}			keywords[] =
{
	{"$defs", JS_SINCE2019, JS_VOCAB_CORE, SHAPE_MAP},
	/* 2019-09 and later drafts keep this keyword and dependencies for older schemas. */
	{"definitions", JS_ALL_DRAFTS, JS_VOCAB_CORE, SHAPE_MAP},
	{"allOf", JS_ALL_DRAFTS, JS_VOCAB_APPLICATOR, SHAPE_ARRAY},
	{"anyOf", JS_ALL_DRAFTS, JS_VOCAB_APPLICATOR, SHAPE_ARRAY},
	{"oneOf", JS_ALL_DRAFTS, JS_VOCAB_APPLICATOR, SHAPE_ARRAY},
	{"not", JS_ALL_DRAFTS, JS_VOCAB_APPLICATOR, SHAPE_SCHEMA},
	{"if", JS_SINCE7, JS_VOCAB_APPLICATOR, SHAPE_SCHEMA},
	{"then", JS_SINCE7, JS_VOCAB_APPLICATOR, SHAPE_SCHEMA},
	{"else", JS_SINCE7, JS_VOCAB_APPLICATOR, SHAPE_SCHEMA},
	{"dependencies", JS_ALL_DRAFTS, JS_VOCAB_APPLICATOR, SHAPE_MAP_OR_STRINGS},
	{"dependentSchemas", JS_SINCE2019, JS_VOCAB_APPLICATOR, SHAPE_MAP},
	{"properties", JS_ALL_DRAFTS, JS_VOCAB_APPLICATOR, SHAPE_MAP},
	{"patternProperties", JS_ALL_DRAFTS, JS_VOCAB_APPLICATOR, SHAPE_MAP},
	{"additionalProperties", JS_ALL_DRAFTS, JS_VOCAB_APPLICATOR, SHAPE_SCHEMA},
	{"propertyNames", JS_SINCE6, JS_VOCAB_APPLICATOR, SHAPE_SCHEMA},
	{"prefixItems", JS_DRAFT2020, JS_VOCAB_APPLICATOR, SHAPE_ARRAY},
	{"items", JS_UNTIL2019, JS_VOCAB_APPLICATOR, SHAPE_SCHEMA_OR_ARRAY},
	{"items", JS_DRAFT2020, JS_VOCAB_APPLICATOR, SHAPE_SCHEMA},
	{"additionalItems", JS_UNTIL2019, JS_VOCAB_APPLICATOR, SHAPE_SCHEMA},
	{"contains", JS_SINCE6, JS_VOCAB_APPLICATOR, SHAPE_SCHEMA},
	{"unevaluatedItems", JS_SINCE2019, JS_VOCAB_UNEVALUATED, SHAPE_SCHEMA},
	{"unevaluatedProperties", JS_SINCE2019, JS_VOCAB_UNEVALUATED, SHAPE_SCHEMA},
	{"contentSchema", JS_SINCE2019, JS_VOCAB_OTHER, SHAPE_SCHEMA},
};

/* Does a keyword of these drafts and this vocabulary mean something in the dialect? */
bool
JsKeywordApplies(const JsDialect *dialect, uint8 drafts, uint8 vocabulary)
{
	return (dialect->draft & drafts) != 0 && (dialect->vocabularies & vocabulary) != 0;
}

static bool
is_schema(const JsValue *value)
{
	return value->type == JS_OBJECT || value->type == JS_BOOLEAN;
}

/*
 * Call back with each subschema of a schema that is an object, and with its path, which is below
 * path.
 */
void
JsForEachSubschema(const JsDialect *dialect, const JsValue *schema, const JsPath *path,
				   JsSubschemaCallback callback, void *arg)
{
	for (int i = 0; i < lengthof(keywords); i++)
	{
		Shape		shape = keywords[i].shape;
		JsPath		keyword = {path, keywords[i].name, (int) strlen(keywords[i].name), 0};
		JsPath		below = {&keyword, NULL, 0, 0};
		JsValue		value,
					child;
		JsMembers	members;
		JsString	key;

		if (!JsKeywordApplies(dialect, keywords[i].drafts, keywords[i].vocabulary) ||
			!JsMember(schema, keyword.name, keyword.len, &value))
			continue;
		CHECK_FOR_INTERRUPTS();
		if (is_schema(&value) && (shape == SHAPE_SCHEMA || shape == SHAPE_SCHEMA_OR_ARRAY))
			callback(arg, &value, &keyword);
		else if (value.type == JS_ARRAY && (shape == SHAPE_ARRAY || shape == SHAPE_SCHEMA_OR_ARRAY))
		{
			JsMembersBegin(&value, &members);
			for (; JsMembersNext(&members, NULL, &child); below.index++)
			{
				if (is_schema(&child))
					callback(arg, &child, &below);
			}
		}
		else if (value.type == JS_OBJECT && (shape == SHAPE_MAP || shape == SHAPE_MAP_OR_STRINGS))
		{
			JsMembersBegin(&value, &members);
			while (JsMembersNext(&members, &key, &child))
			{
				below.name = key.data;
				below.len = key.len;
				if (is_schema(&child))
					callback(arg, &child, &below);
			}
		}
	}
}
