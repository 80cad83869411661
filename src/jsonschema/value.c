/*-------------------------------------------------------------------------
 *
 * jsonschema/value.c
 *	  JSON Schema: values inside a jsonb, without copies.
 *
 *  1. A JsValue points into the jsonb.  A walk through members keeps the
 *     offset of the next one, so that it is linear and allocates nothing.
 *  2. Numbers are compared as numeric, so that 1 and 1.0 are one value and no
 *     precision is lost.
 *  3. JsCompare is a total order in which two values are equal if JSON Schema
 *     says so.  It is not the order that jsonb itself has.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/value.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "jsonschema/private.h"

#define PAIRWISE	12			/* up to so many items, each is compared with each */

typedef struct Item
{
	JsValue		value;
	int			index;
} Item;

/* Set *value to that of a whole jsonb. */
void
JsRoot(const Jsonb *jb, JsValue *value)
{
	const JsonbContainer *root = &jb->root;

	if (root->header & JB_FSCALAR)
	{
		JEntry		entry = root->children[0];

		JsFill(root, (const char *) &root->children[1], entry, 0, js_entry_end(entry, 0), value);
		return;
	}
	value->type = (root->header & JB_FOBJECT) ? JS_OBJECT : JS_ARRAY;
	value->u.container = root;
	value->len = (int) (root->header & JB_CMASK);
}

/* Find an object's member by its name. */
bool
JsMember(const JsValue *object, const char *key, int len, JsValue *value)
{
	const JsonbContainer *jc = object->u.container;
	int			n = object->len;
	const char *data = (const char *) &jc->children[2 * n];
	int			low = 0,
				high = n;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		uint32		offset = getJsonbOffset(jc, middle);
		uint32		end = js_entry_end(jc->children[middle], offset);
		int			cmp = js_compare_names(data + offset, (int) (end - offset), key, len);

		if (cmp == 0)
		{
			offset = getJsonbOffset(jc, middle + n);
			JsFill(jc, data, jc->children[middle + n], offset,
				   js_entry_end(jc->children[middle + n], offset), value);
			return true;
		}
		if (cmp < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* Find an array's item by its index. */
bool
JsItem(const JsValue *array, int index, JsValue *value)
{
	const JsonbContainer *jc = array->u.container;
	uint32		offset;

	if (index < 0 || index >= array->len)
		return false;
	offset = getJsonbOffset(jc, index);
	JsFill(jc, (const char *) &jc->children[array->len], jc->children[index], offset,
		   js_entry_end(jc->children[index], offset), value);
	return true;
}

/*
 * Compare two values.  The result is 0 if they are equal in the sense of const, enum and
 * uniqueItems.
 */
int
JsCompare(const JsValue *a, const JsValue *b)
{
	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;

	switch (a->type)
	{
		case JS_NULL:
			return 0;
		case JS_BOOLEAN:
			return (int) a->boolean - (int) b->boolean;
		case JS_NUMBER:
			return DatumGetInt32(DirectFunctionCall2(numeric_cmp,
													 NumericGetDatum(a->u.number),
													 NumericGetDatum(b->u.number)));
		case JS_STRING:
			return js_compare_names(a->u.string, a->len, b->u.string, b->len);
		default:
			{
				JsMembers	am,
							bm;
				JsString	akey = {NULL, 0},
							bkey = {NULL, 0};
				JsValue		aval,
							bval;
				bool		object = a->type == JS_OBJECT;
				int			cmp;

				if (a->len != b->len)
					return a->len < b->len ? -1 : 1;
				check_stack_depth();
				CHECK_FOR_INTERRUPTS();
				JsMembersBegin(a, &am);
				JsMembersBegin(b, &bm);
				while (JsMembersNext(&am, object ? &akey : NULL, &aval))
				{
					JsMembersNext(&bm, object ? &bkey : NULL, &bval);
					if (object &&
						(cmp = js_compare_names(akey.data, akey.len, bkey.data, bkey.len)) != 0)
						return cmp;
					if ((cmp = JsCompare(&aval, &bval)) != 0)
						return cmp;
				}
				return 0;
			}
	}
}

static int
compare_items(const void *a, const void *b)
{
	const Item *ai = (const Item *) a;
	const Item *bi = (const Item *) b;
	int			cmp = JsCompare(&ai->value, &bi->value);

	CHECK_FOR_INTERRUPTS();
	return cmp != 0 ? cmp : ai->index - bi->index;
}

/*
 * Are all items different?  If not, *second is the first item that repeats an earlier one, which is
 * *first.
 */
bool
JsItemsDiffer(const JsValue *array, int *first, int *second)
{
	int			n = array->len;
	Item		few[PAIRWISE];
	Item	   *items = n <= PAIRWISE ? few : palloc_extended(n * sizeof(Item), MCXT_ALLOC_HUGE);
	JsMembers	members;
	bool		differ = true;

	JsMembersBegin(array, &members);
	for (int i = 0; JsMembersNext(&members, NULL, &items[i].value); i++)
		items[i].index = i;
	if (n <= PAIRWISE)
	{
		for (int j = 1; j < n && differ; j++)
		{
			for (int i = 0; i < j; i++)
			{
				if (JsCompare(&items[i].value, &items[j].value) == 0)
				{
					*first = i;
					*second = j;
					differ = false;
					break;
				}
			}
		}
		return differ;
	}
	qsort(items, n, sizeof(Item), compare_items);
	for (int i = 1; i < n; i++)
	{
		if (JsCompare(&items[i - 1].value, &items[i].value) == 0 &&
			(differ || items[i].index < *second))
		{
			*first = items[i - 1].index;
			*second = items[i].index;
			differ = false;
		}
	}
	pfree(items);
	return differ;
}

/* Is a number an integer?  1.0 is one. */
bool
JsNumberIsInteger(Numeric number)
{
	return DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(number))) == 0 ||
		DatumGetInt32(DirectFunctionCall1(numeric_min_scale, NumericGetDatum(number))) == 0;
}

/* A number as a count, at most the largest int64; -1 if it is negative or no integer. */
int64
JsNumberToCount(Numeric number)
{
	Datum		datum = NumericGetDatum(number);
	Datum		zero = DirectFunctionCall1(int4_numeric, Int32GetDatum(0));
	Datum		most = DirectFunctionCall1(int8_numeric, Int64GetDatum(PG_INT64_MAX));

	if (!JsNumberIsInteger(number) || DatumGetBool(DirectFunctionCall2(numeric_lt, datum, zero)))
		return -1;
	if (DatumGetBool(DirectFunctionCall2(numeric_gt, datum, most)))
		return PG_INT64_MAX;
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, datum));
}

/* The length of a string in characters, which are code points. */
int
JsCharLength(const char *data, int len)
{
	if (GetDatabaseEncoding() == PG_UTF8)
	{
		int			n = 0;

		/* Count all bytes but those that continue a character. */
		for (int i = 0; i < len; i++)
			n += ((unsigned char) data[i] & 0xC0) != 0x80;
		return n;
	}
	return pg_mbstrlen_with_len(data, len);
}

bool
JsEquals(const JsValue *value, const char *string)
{
	return value->type == JS_STRING && (int) strlen(string) == value->len &&
		memcmp(value->u.string, string, value->len) == 0;
}

char *
JsCString(const JsValue *value)
{
	Assert(value->type == JS_STRING);
	return pnstrdup(value->u.string, value->len);
}

/* Append a slash and a token of a JSON Pointer, escaped. */
void
JsAppendToken(StringInfo buf, const char *data, int len)
{
	appendStringInfoChar(buf, '/');
	for (int i = 0; i < len; i++)
	{
		if (data[i] == '~')
			appendStringInfoString(buf, "~0");
		else if (data[i] == '/')
			appendStringInfoString(buf, "~1");
		else
			appendStringInfoChar(buf, data[i]);
	}
}

void
JsonSchemaAppendToken(StringInfo buf, const char *token)
{
	JsAppendToken(buf, token, (int) strlen(token));
}

static void
append_path(StringInfo buf, const JsPath *path)
{
	if (path == NULL)
		return;
	check_stack_depth();
	append_path(buf, path->up);
	if (path->name != NULL)
		JsAppendToken(buf, path->name, path->len);
	else
		appendStringInfo(buf, "/%d", path->index);
}

/* The JSON Pointer that consists of prefix, which may be NULL, and path. */
char *
JsPointer(const char *prefix, const JsPath *path)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (prefix != NULL)
		appendStringInfoString(&buf, prefix);
	append_path(&buf, path);
	return buf.data;
}
