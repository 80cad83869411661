/*-------------------------------------------------------------------------
 *
 * jsonschema/regex_translate.c
 *	  JSON Schema: a parsed regular expression in the syntax of PCRE2.
 *
 *  1. The pattern is written anew from the tree.  Characters that are neither
 *     letters nor digits are written as numbers, sets as code points and
 *     properties.  PCRE2's own class escapes are not used, because without UCP
 *     a negated set that has one of \W, \D and \S besides a property matches
 *     all characters from U+0100 on (in PCRE2 up to 10.42, at least).
 *  2. What groups have captured matters to back references only.  A pattern
 *     with back references is not for PCRE2 (jsonschema/regex_match.c says
 *     why), and in any other pattern no group needs to capture anything.
 *  3. Each group begins with a callout.  There a match can be interrupted.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/regex_translate.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"

#include "jsonschema/regex.h"

#define MAX_REPEAT		65535	/* the largest number of repetitions in PCRE2 */
#define NOTHING			"(?:(?!))"
#define ANYTHING		"\\p{Any}"

static bool put_node(StringInfo out, const JsReNode *node);

static void
put_char(StringInfo out, uint32 c)
{
	if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
		appendStringInfoChar(out, (char) c);
	else
		appendStringInfo(out, "\\x{%x}", c);
}

static void
put_set(StringInfo out, const JsReSet *set)
{
	if (set->nranges == 0 && set->nproperties == 0)
	{
		appendStringInfoString(out, set->negated ? ANYTHING : NOTHING);
		return;
	}
	appendStringInfoString(out, set->negated ? "[^" : "[");
	for (int i = 0; i < set->nranges; i++)
	{
		put_char(out, set->ranges[i].low);
		if (set->ranges[i].high > set->ranges[i].low)
		{
			appendStringInfoChar(out, '-');
			put_char(out, set->ranges[i].high);
		}
	}
	for (int i = 0; i < set->nproperties; i++)
		appendStringInfo(out, "\\%c{%s}", set->properties[i].negated ? 'P' : 'p',
						 set->properties[i].name);
	appendStringInfoChar(out, ']');
}

static bool
put_loop(StringInfo out, const JsReNode *loop)
{
	/* What is repeated is one character, a set or a group, so it needs no parentheses. */
	if (loop->min > MAX_REPEAT || (loop->max > MAX_REPEAT && loop->max != JSRE_ENDLESS) ||
		!put_node(out, loop->child))
		return false;
	if (loop->max == JSRE_ENDLESS && loop->min <= 1)
		appendStringInfoChar(out, loop->min == 0 ? '*' : '+');
	else if (loop->max == JSRE_ENDLESS)
		appendStringInfo(out, "{%d,}", loop->min);
	else
		appendStringInfo(out, "{%d,%d}", loop->min, loop->max);
	if (loop->lazy)
		appendStringInfoChar(out, '?');
	return true;
}

/* Write a node.  Returns false if PCRE2 cannot do what it asks for. */
static bool
put_node(StringInfo out, const JsReNode *node)
{
	check_stack_depth();
	switch (node->kind)
	{
		case JSRE_STRING:
			for (int i = 0, size; i < node->string.len; i += size)
				put_char(out, js_re_char(node->string.data + i, node->string.data + node->string.len,
										 &size));
			return true;
		case JSRE_SET:
			put_set(out, node->set);
			return true;
		case JSRE_START:
			appendStringInfoChar(out, '^');
			return true;
		case JSRE_END:
			appendStringInfoChar(out, '$');
			return true;
		case JSRE_WORD_EDGE:
			appendStringInfoString(out, "\\b");
			return true;
		case JSRE_NO_WORD_EDGE:
			appendStringInfoString(out, "\\B");
			return true;
		case JSRE_REFERENCE:
			return false;
		case JSRE_GROUP:
		case JSRE_LOOK:
			appendStringInfo(out, "(?%s(?C1)", node->kind == JSRE_GROUP ? ":" :
							 node->behind ? (node->negative ? "<!" : "<=") :
							 node->negative ? "!" : "=");
			if (!put_node(out, node->child))
				return false;
			appendStringInfoChar(out, ')');
			return true;
		case JSRE_LOOP:
			return put_loop(out, node);
		case JSRE_SEQUENCE:
		case JSRE_ALTERNATIVES:
			for (int i = 0; i < node->n; i++)
			{
				if (i > 0 && node->kind == JSRE_ALTERNATIVES)
					appendStringInfoChar(out, '|');
				if (!put_node(out, node->children[i]))
					return false;
			}
			return true;
	}
	return false;
}

char *
JsRegexTranslate(const JsRePattern *pattern)
{
	StringInfoData out;

	if (pattern->references)
		return NULL;
	initStringInfo(&out);
	if (put_node(&out, pattern->root))
		return out.data;
	pfree(out.data);
	return NULL;
}
