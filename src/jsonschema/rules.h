/*-------------------------------------------------------------------------
 *
 * jsonschema/rules.h
 *	  The keywords that are about instances of one type: numbers, strings,
 *	  arrays and objects.
 *
 *  1. This is a part of jsonschema/validate.c, which includes it, and nobody
 *     else does.  It is a file of its own for its readers, and a header so
 *     that its functions are inlined into both evaluators
 *     (jsonschema/evaluation.h).
 *  2. A function returns whether the value keeps the rules.  The members of
 *     an array or an object are values of their own, to which EVALUATE
 *     applies the subschemas.
 *  3. seen, where it is not NULL, takes a bit for each member that a keyword
 *     has evaluated.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/rules.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef JSONSCHEMA_RULES_H
#define JSONSCHEMA_RULES_H

#include "jsonschema/evaluation.h"

/*-------------------------------------------------------------------------
 * Numbers and strings
 *-------------------------------------------------------------------------
 */
static inline int
compare_numbers(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

static bool
is_multiple(Numeric number, Numeric of)
{
	Datum		zero = DirectFunctionCall1(int4_numeric, Int32GetDatum(0));
	Datum		remainder = DirectFunctionCall2(numeric_mod, NumericGetDatum(number),
												NumericGetDatum(of));

	return compare_numbers(DatumGetNumeric(remainder), DatumGetNumeric(zero)) == 0;
}

static pg_attribute_always_inline bool
number_rules(Evaluation *e, const JsNumberRules *rules, const JsValue *value, Where at,
			 const bool collect)
{
	Numeric		number = value->u.number;
	bool		valid = true;
	int			cmp;

	if (rules->minimum != NULL)
	{
		cmp = compare_numbers(number, rules->minimum);
		if (cmp < 0)
			VIOLATED("minimum", "%s is less than %s", JsNumberText(number), JsNumberText(rules->minimum));
		else if (cmp == 0 && rules->minimum_is_exclusive)
			VIOLATED("minimum", "%s is not greater than %s", JsNumberText(number),
					 JsNumberText(rules->minimum));
	}
	if (rules->maximum != NULL)
	{
		cmp = compare_numbers(number, rules->maximum);
		if (cmp > 0)
			VIOLATED("maximum", "%s is greater than %s", JsNumberText(number),
					 JsNumberText(rules->maximum));
		else if (cmp == 0 && rules->maximum_is_exclusive)
			VIOLATED("maximum", "%s is not less than %s", JsNumberText(number),
					 JsNumberText(rules->maximum));
	}
	if (rules->exclusive_minimum != NULL && compare_numbers(number, rules->exclusive_minimum) <= 0)
		VIOLATED("exclusiveMinimum", "%s is not greater than %s", JsNumberText(number),
				 JsNumberText(rules->exclusive_minimum));
	if (rules->exclusive_maximum != NULL && compare_numbers(number, rules->exclusive_maximum) >= 0)
		VIOLATED("exclusiveMaximum", "%s is not less than %s", JsNumberText(number),
				 JsNumberText(rules->exclusive_maximum));
	if (rules->multiple_of != NULL && !is_multiple(number, rules->multiple_of))
		VIOLATED("multipleOf", "%s is not a multiple of %s", JsNumberText(number),
				 JsNumberText(rules->multiple_of));
	return valid;
}

static pg_attribute_always_inline bool
string_rules(Evaluation *e, const JsStringRules *rules, const JsValue *value, Where at,
			 const bool collect)
{
	bool		valid = true;

	/* a character has 1 to 4 bytes: often the bytes say enough */
	if (rules->min_length > 0 && value->len / 4 < rules->min_length &&
		JsCharLength(value->u.string, value->len) < rules->min_length)
		VIOLATED("minLength", "%s is shorter than " INT64_FORMAT " character%s",
				 JsDescribe(value), rules->min_length, JS_S(rules->min_length));
	if (rules->max_length >= 0 && value->len > rules->max_length &&
		JsCharLength(value->u.string, value->len) > rules->max_length)
		VIOLATED("maxLength", "%s is longer than " INT64_FORMAT " character%s",
				 JsDescribe(value), rules->max_length, JS_S(rules->max_length));
	if (rules->pattern != NULL && !JsRegexMatches(rules->pattern, value->u.string, value->len,
												  e->caller->errcodes.limit))
		VIOLATED("pattern", "%s does not match the pattern %s", JsDescribe(value),
				 JsQuote(rules->pattern_text.data, rules->pattern_text.len));
	if (rules->format != NULL && !JsFormatMatches(rules->format, value->u.string, value->len))
		VIOLATED("format", "%s is not in the format %s", JsDescribe(value), rules->format->name);
	return valid;
}

/*-------------------------------------------------------------------------
 * Arrays
 *-------------------------------------------------------------------------
 */

/* prefixItems and items, or items and additionalItems. */
static pg_attribute_always_inline bool
item_rules(Evaluation *e, const JsArrayRules *rules, const JsValue *value, Seen *seen, Where at,
		   const bool collect)
{
	JsPath		item_path = {at.ipath, NULL, 0, 0};
	JsPath		prefix_path = {at.spath, rules->prefix_keyword, (int) strlen(rules->prefix_keyword), 0};
	JsPath		index_path = {&prefix_path, NULL, 0, 0};
	JsPath		rest_path = {at.spath, rules->rest_keyword, (int) strlen(rules->rest_keyword), 0};
	int			n = value->len;
	int			last = rules->rest != NULL && !rules->rest->always ? n : Min(n, rules->nprefix);
	bool		valid = true;
	JsMembers	members;
	JsValue		item;

	JsMembersBegin(value, &members);
	for (int i = 0; i < last && JsMembersNext(&members, NULL, &item); i++)
	{
		item_path.index = i;
		if (i < rules->nprefix)
		{
			index_path.index = i;
			MUST_HOLD(EVALUATE(rules->prefix[i], &item, NULL, 0, &item_path, &index_path));
		}
		else if (collect && rules->rest->never)
		{
			valid = false;
			report(e, &item_path, &rest_path, rules->rest_keyword, "item %d is not allowed", i);
		}
		else
			MUST_HOLD(EVALUATE(rules->rest, &item, NULL, 0, &item_path, &rest_path));
	}
	if (seen != NULL && rules->rest != NULL)
		seen_add_all(seen);
	else if (seen != NULL)
	{
		for (int i = 0; i < last; i++)
			seen_add(seen, i);
	}
	return valid;
}

/* contains, minContains and maxContains. */
static pg_attribute_always_inline bool
contains_rules(Evaluation *e, const JsArrayRules *rules, const JsValue *value, Seen *seen, Where at,
			   const bool collect)
{
	bool		mark = seen != NULL && rules->contains_evaluates;
	int64		count = 0;
	bool		valid = true;
	JsMembers	members;
	JsValue		item;

	JsMembersBegin(value, &members);
	for (int i = 0; JsMembersNext(&members, NULL, &item); i++)
	{
		if (!mark && count >= rules->min_contains && rules->max_contains < 0)
			break;
		if (evaluate_fast(e, rules->contains, &item, NULL, 0))
		{
			count++;
			if (mark)
				seen_add(seen, i);
		}
	}
	if (count < rules->min_contains)
	{
		if (!rules->has_min_contains)
			VIOLATED("contains", "no item matches contains");
		else
			VIOLATED("minContains", INT64_FORMAT " item%s contains, fewer than " INT64_FORMAT,
					 count, count == 1 ? " matches" : "s match", rules->min_contains);
	}
	if (rules->max_contains >= 0 && count > rules->max_contains)
		VIOLATED("maxContains", INT64_FORMAT " item%s contains, more than " INT64_FORMAT,
				 count, count == 1 ? " matches" : "s match", rules->max_contains);
	return valid;
}

static pg_attribute_always_inline bool
array_rules(Evaluation *e, const JsArrayRules *rules, const JsValue *value, Seen *seen, Where at,
			const bool collect)
{
	bool		valid = true;
	int			n = value->len;

	if (rules->min_items > n)
		VIOLATED("minItems", "has %d item%s, fewer than " INT64_FORMAT, n, JS_S(n), rules->min_items);
	if (rules->max_items >= 0 && rules->max_items < n)
		VIOLATED("maxItems", "has %d item%s, more than " INT64_FORMAT, n, JS_S(n), rules->max_items);
	if (rules->nprefix > 0 || rules->rest != NULL)
		MUST_HOLD(item_rules(e, rules, value, seen, at, collect));
	if (rules->contains != NULL)
		MUST_HOLD(contains_rules(e, rules, value, seen, at, collect));
	if (rules->unique && n > 1)
	{
		int			first = 0,
					second = 0;

		if (!JsItemsDiffer(value, &first, &second))
			VIOLATED("uniqueItems", "items %d and %d are equal", first, second);
	}
	return valid;
}

/*-------------------------------------------------------------------------
 * Objects
 *
 * The rules of a member are given where it is in the instance, at.ipath, and
 * where the object's schema is, at.spath.
 *-------------------------------------------------------------------------
 */
/*
 * The property of a member's name, or NULL if the schema has none.
 *
 * Properties and members are in the same order, so the search begins at *next, and leaves it after
 * the property that it found.  Where the instance has few members beside the schema's properties,
 * it is binary.
 */
static inline const JsProperty *
find_property(const JsObjectRules *rules, const JsString *name, int *next, bool few_members)
{
	const JsProperty *properties = rules->properties;
	int			n = rules->nproperties;
	int			i = *next;

	if (few_members)
	{
		int			high = n;

		while (i < high)
		{
			int			middle = i + (high - i) / 2;

			if (js_compare_names(properties[middle].name.data, properties[middle].name.len,
								 name->data, name->len) < 0)
				i = middle + 1;
			else
				high = middle;
		}
	}
	for (; i < n; i++)
	{
		int			cmp;

		if (properties[i].name.len < name->len)
			continue;
		if (properties[i].name.len > name->len)
			break;
		cmp = memcmp(properties[i].name.data, name->data, name->len);
		if (cmp == 0)
		{
			*next = i + 1;
			return &properties[i];
		}
		if (cmp > 0)
			break;
	}
	*next = i;
	return NULL;
}

/* properties: of the member that has the property's name. */
static pg_attribute_always_inline bool
property_rule(Evaluation *e, const JsProperty *property, const JsString *key, const JsValue *member,
			  Where at, const bool collect)
{
	JsPath		keyword_path = KEYWORD(at.spath, "properties");
	JsPath		name_path = {&keyword_path, key->data, key->len, 0};

	return EVALUATE(property->node, member, NULL, 0, at.ipath, &name_path);
}

/* patternProperties: of a member; *matched becomes true if one of the patterns is about it. */
static pg_attribute_always_inline bool
pattern_rules(Evaluation *e, const JsObjectRules *rules, const JsString *key, const JsValue *member,
			  bool *matched, Where at, const bool collect)
{
	JsPath		keyword_path = KEYWORD(at.spath, "patternProperties");
	bool		valid = true;

	for (int i = 0; i < rules->npatterns; i++)
	{
		const JsPatternProperty *pattern = &rules->patterns[i];
		JsPath		name_path = {&keyword_path, pattern->pattern.data, pattern->pattern.len, 0};

		CHECK_FOR_INTERRUPTS();
		if (!JsRegexMatches(pattern->regex, key->data, key->len, e->caller->errcodes.limit))
			continue;
		*matched = true;
		MUST_HOLD(EVALUATE(pattern->node, member, NULL, 0, at.ipath, &name_path));
	}
	return valid;
}

/* additionalProperties: of a member that no property and no pattern is about. */
static pg_attribute_always_inline bool
additional_rule(Evaluation *e, const JsNode *node, const JsString *key, const JsValue *member,
				Where at, const bool collect)
{
	JsPath		keyword_path = KEYWORD(at.spath, "additionalProperties");

	if (collect && node->never)
	{
		report(e, at.ipath, &keyword_path, "additionalProperties", "property %s is not allowed",
			   JsQuote(key->data, key->len));
		return false;
	}
	return EVALUATE(node, member, NULL, 0, at.ipath, &keyword_path);
}

/* propertyNames: of a member's name. */
static pg_attribute_always_inline bool
name_rule(Evaluation *e, const JsNode *node, const JsString *key, Where at, const bool collect)
{
	JsPath		keyword_path = KEYWORD(at.spath, "propertyNames");
	JsValue		name = {.type = JS_STRING, .len = key->len};

	name.u.string = key->data;
	return EVALUATE(node, &name, NULL, 0, at.ipath, &keyword_path);
}

/* required: report each property that is not there. */
static void
report_missing(Evaluation *e, const JsObjectRules *rules, const JsValue *value, Where at)
{
	JsValue		member;

	for (int i = 0; i < rules->nproperties; i++)
	{
		const JsString *name = &rules->properties[i].name;

		if (rules->properties[i].required && !JsMember(value, name->data, name->len, &member))
			REPORT("required", "property %s is missing", JsQuote(name->data, name->len));
	}
}

/* The rules that look at each member. */
static pg_attribute_always_inline bool
member_rules(Evaluation *e, const JsObjectRules *rules, const JsValue *value, Seen *seen, Where at,
			 const bool collect)
{
	JsPath		member_path = {at.ipath, "", 0, 0};
	Where		member_at = {&member_path, at.spath};
	bool		few_members = rules->nproperties > 16 && rules->nproperties / 4 > value->len;
	bool		valid = true;
	int			next = 0;
	int			nrequired = 0;
	JsMembers	members;
	JsString	key;
	JsValue		member;

	if (!collect && value->len < rules->nrequired)
		return false;
	JsMembersBegin(value, &members);
	for (int i = 0; JsMembersNext(&members, &key, &member); i++)
	{
		const JsProperty *property = find_property(rules, &key, &next, few_members);
		bool		matched = false;

		if (collect)
		{
			member_path.name = key.data;
			member_path.len = key.len;
		}
		if (property != NULL)
		{
			nrequired += property->required;
			if (property->node != NULL)
			{
				matched = true;
				MUST_HOLD(property_rule(e, property, &key, &member, member_at, collect));
			}
		}
		if (rules->npatterns > 0)
			MUST_HOLD(pattern_rules(e, rules, &key, &member, &matched, member_at, collect));
		if (!matched && rules->additional != NULL)
		{
			matched = true;
			MUST_HOLD(additional_rule(e, rules->additional, &key, &member, member_at, collect));
		}
		if (rules->names != NULL)
			MUST_HOLD(name_rule(e, rules->names, &key, member_at, collect));
		if (matched && seen != NULL)
			seen_add(seen, i);
	}
	if (nrequired < rules->nrequired)
	{
		if (!collect)
			return false;
		valid = false;
		report_missing(e, rules, value, at);
	}
	return valid;
}

/* dependentRequired, dependentSchemas and dependencies: of a property that is there. */
static pg_attribute_always_inline bool
dependency_rule(Evaluation *e, const JsDependency *dependency, const JsValue *value, Seen *seen,
				int in_place, Where at, const bool collect)
{
	JsPath		keyword_path = {at.spath, dependency->keyword, 0, 0};
	JsPath		name_path = {&keyword_path, dependency->name.data, dependency->name.len, 0};
	bool		valid = true;
	JsValue		member;

	if (collect)
		keyword_path.len = (int) strlen(dependency->keyword);
	if (dependency->node != NULL)
		return EVALUATE(dependency->node, value, seen, in_place + 1, at.ipath, &name_path);
	for (int i = 0; i < dependency->nrequired; i++)
	{
		const JsString *name = &dependency->required[i];

		if (JsMember(value, name->data, name->len, &member))
			continue;
		if (!collect)
			return false;
		valid = false;
		report(e, at.ipath, &name_path, dependency->keyword,
			   "property %s is missing, which must be there beside %s",
			   JsQuote(name->data, name->len),
			   JsQuote(dependency->name.data, dependency->name.len));
	}
	return valid;
}

static pg_attribute_always_inline bool
object_rules(Evaluation *e, const JsObjectRules *rules, const JsValue *value, Seen *seen,
			 int in_place, Where at, const bool collect)
{
	bool		valid = true;
	int			n = value->len;
	JsValue		member;

	if (rules->min_properties > n)
		VIOLATED("minProperties", "has %d propert%s, fewer than " INT64_FORMAT, n, n == 1 ? "y" : "ies",
				 rules->min_properties);
	if (rules->max_properties >= 0 && rules->max_properties < n)
		VIOLATED("maxProperties", "has %d propert%s, more than " INT64_FORMAT, n, n == 1 ? "y" : "ies",
				 rules->max_properties);
	if (rules->members)
		MUST_HOLD(member_rules(e, rules, value, seen, at, collect));
	for (int i = 0; i < rules->ndependencies; i++)
	{
		const JsDependency *dependency = &rules->dependencies[i];

		if (JsMember(value, dependency->name.data, dependency->name.len, &member))
			MUST_HOLD(dependency_rule(e, dependency, value, seen, in_place, at, collect));
	}
	return valid;
}

#endif							/* JSONSCHEMA_RULES_H */
