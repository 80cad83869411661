/*-------------------------------------------------------------------------
 *
 * jsonschema/message.c
 *	  JSON Schema: violations, and what they say.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/message.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "jsonschema/private.h"

#define JS_QUOTE_BYTES	60		/* of a string in a message */
#define LISTED			10		/* values that are listed in a message */

/* A string in quotes, which is cut if it is long. */
char *
JsQuote(const char *data, int len)
{
	int			clipped = pg_mbcliplen(data, len, JS_QUOTE_BYTES);

	return psprintf("\"%s%s\"", pnstrdup(data, clipped), clipped < len ? "..." : "");
}

/* A value, for a message. */
char *
JsDescribe(const JsValue *value)
{
	switch (value->type)
	{
		case JS_NULL:
			return pstrdup("null");
		case JS_BOOLEAN:
			return pstrdup(value->boolean ? "true" : "false");
		case JS_NUMBER:
			{
				char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out,
																	   NumericGetDatum(value->u.number)));

				if (strlen(text) > JS_QUOTE_BYTES)
					strcpy(text + JS_QUOTE_BYTES, "...");
				return text;
			}
		case JS_STRING:
			return JsQuote(value->u.string, value->len);
		case JS_ARRAY:
			return pstrdup("the array");
		default:
			return pstrdup("the object");
	}
}

/* A number, for a message. */
char *
JsNumberText(Numeric number)
{
	JsValue		value = {.type = JS_NUMBER};

	value.u.number = number;
	return JsDescribe(&value);
}

/* The name of a type. */
const char *
JsTypeName(uint8 type)
{
	switch (type)
	{
		case JS_NULL:
			return "null";
		case JS_BOOLEAN:
			return "boolean";
		case JS_NUMBER:
			return "number";
		case JS_INTEGER:
			return "integer";
		case JS_STRING:
			return "string";
		case JS_ARRAY:
			return "array";
		default:
			return "object";
	}
}

/* The names of the types in a set, for a message. */
char *
JsTypeNames(uint8 types)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (types & JS_NUMBER)
		types &= ~JS_INTEGER;
	for (int bit = 0; bit < 7; bit++)
	{
		if (types & (1 << bit))
			appendStringInfo(&buf, "%s%s", buf.len > 0 ? " or " : "", JsTypeName(1 << bit));
	}
	return buf.data;
}

/* The first of some values, for a message. */
char *
JsValueList(const JsValue *values, int n)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < Min(n, LISTED); i++)
		appendStringInfo(&buf, "%s%s", i > 0 ? ", " : "", JsDescribe(&values[i]));
	if (n > LISTED)
		appendStringInfo(&buf, " and %d more", n - LISTED);
	return buf.data;
}

/*
 * A palloc'd violation, at ipath of the instance, by a keyword whose path in the schema is spath.
 */
JsonSchemaViolation *
JsViolation(const JsPath *ipath, const JsPath *spath, const char *keyword, const char *fmt,...)
{
	JsonSchemaViolation *violation;
	StringInfoData message;

	initStringInfo(&message);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, fmt);
		needed = appendStringInfoVA(&message, fmt, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&message, needed);
	}
	violation = palloc0(sizeof(JsonSchemaViolation));
	violation->instance_path = JsPointer(NULL, ipath);
	violation->schema_path = JsPointer(NULL, spath);
	violation->keyword = keyword;
	violation->message = message.data;
	return violation;
}
