/*-------------------------------------------------------------------------
 *
 * jsonschema/validate.c
 *	  JSON Schema: evaluation.
 *
 *  1. Every function that has a parameter collect is inlined into two,
 *     evaluate_fast and evaluate_slow.  The fast one returns at the first
 *     violation; the slow one notes it and goes on.  So they agree.
 *  2. Paths are lists on the stack, made by the slow one only.
 *  3. What unevaluated* asks for is a bit a member (Seen) of the instance at
 *     hand.  Keywords that apply subschemas in place hand it on; where a
 *     subschema may fail without consequence it gets one of its own, which
 *     is added if it holds.
 *  4. Branches of anyOf and oneOf, if, not and contains are tried by the fast
 *     one; the violations in branches are collected when none holds, those of
 *     the nearest one (jsonschema/branch.c) first.
 *  5. The dynamic scope is the list of the resources entered, on the stack.
 *  6. Recursion that goes no deeper into the instance is counted: more steps
 *     than there are nodes and resources means that it has no end.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/validate.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "jsonschema/private.h"

/* Members of one object or array that a keyword has evaluated. */
typedef struct Seen
{
	int			n;
	uint64	   *words;
	uint64		small;			/* the words where one is enough */
} Seen;

typedef struct Scope
{
	const struct Scope *up;
	const JsResource *resource;
} Scope;

typedef struct Evaluation
{
	const JsonSchema *schema;
	const JsonSchema *caller;	/* whose error codes and limits count: the schema, or where that is a
								 * metaschema, the one that is being compiled */
	const Scope *scope;
	List	   *violations;
	int			max;
	int64		steps;			/* schemas that may still be applied */
	JsCompiler *compiler;		/* where it is a metaschema that is applied to a resource: NULL else */
	const JsonbContainer *top;	/* of that resource */
} Evaluation;

static bool evaluate_fast(Evaluation *e, const JsNode *node, const JsValue *value, Seen *seen,
						  int in_place);
static bool evaluate_slow(Evaluation *e, const JsNode *node, const JsValue *value, Seen *seen,
						  int in_place, const JsPath *ipath, const JsPath *spath);

#define EVALUATE(node, value, seen, in_place, ipath, spath) \
	(collect ? evaluate_slow(e, node, value, seen, in_place, ipath, spath) : \
	 evaluate_fast(e, node, value, seen, in_place))

#define JS_S(n) ((n) == 1 ? "" : "s")

#define KEYWORD(up, name) {up, name, sizeof(name) - 1, 0}

/*-------------------------------------------------------------------------
 * What was seen
 *-------------------------------------------------------------------------
 */
static void
seen_init(Seen *seen, int n)
{
	seen->n = n;
	seen->small = 0;
	seen->words = n <= 64 ? &seen->small : palloc0((n + 63) / 64 * sizeof(uint64));
}

static void
seen_done(Seen *seen)
{
	if (seen->words != &seen->small)
		pfree(seen->words);
}

static inline void
seen_add(Seen *seen, int i)
{
	seen->words[i >> 6] |= UINT64CONST(1) << (i & 63);
}

static inline bool
seen_has(const Seen *seen, int i)
{
	return (seen->words[i >> 6] >> (i & 63)) & 1;
}

static void
seen_add_all(Seen *seen)
{
	memset(seen->words, 0xff, (Max(seen->n, 1) + 63) / 64 * sizeof(uint64));
}

static void
seen_merge(Seen *seen, const Seen *other)
{
	for (int i = 0; i < (Max(seen->n, 1) + 63) / 64; i++)
		seen->words[i] |= other->words[i];
}

/*-------------------------------------------------------------------------
 * Violations
 *-------------------------------------------------------------------------
 */
/* spath is that of the keyword. */
#define report(e, ipath, spath, keyword, ...) \
	do { \
		if ((e)->max == 0 || list_length((e)->violations) < (e)->max) \
			(e)->violations = lappend((e)->violations, \
									  JsViolation(ipath, spath, keyword, __VA_ARGS__)); \
	} while (0)

/* A violation of a keyword of the schema at spath. */
#define REPORT(name, ...) \
	do { \
		JsPath keyword_path_ = KEYWORD(spath, name); \
		report(e, ipath, &keyword_path_, name, __VA_ARGS__); \
	} while (0)

/* In a function with parameter collect: a violation. */
#define VIOLATED(name, ...) \
	do { \
		if (!collect) \
			return false; \
		valid = false; \
		REPORT(name, __VA_ARGS__); \
	} while (0)

static void
too_long(const Evaluation *e)
{
	ereport(ERROR,
			(errcode(e->caller->errcodes.limit),
			 errmsg("the validation takes too many steps"),
			 errdetail("Schemas were applied more than %lld times, and more than %d times for each byte of the instance.",
					   (long long) e->caller->steps, e->caller->steps_a_byte),
			 errhint("A reference that is followed twice at each level doubles the work with each.")));
}

static void
endless(const Evaluation *e)
{
	ereport(ERROR,
			(errcode(e->caller->errcodes.limit),
			 errmsg("the schema refers to itself without an end"),
			 errdetail("A reference leads back to itself at the same place of the instance.")));
}

/*-------------------------------------------------------------------------
 * Rules by type
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
	JsValue		remainder = {.type = JS_NUMBER};
	Datum		zero = DirectFunctionCall1(int4_numeric, Int32GetDatum(0));

	remainder.u.number = DatumGetNumeric(DirectFunctionCall2(numeric_mod, NumericGetDatum(number),
															 NumericGetDatum(of)));
	return compare_numbers(remainder.u.number, DatumGetNumeric(zero)) == 0;
}

static pg_attribute_always_inline bool
number_rules(Evaluation *e, const JsNumberRules *rules, const JsValue *value,
			 const JsPath *ipath, const JsPath *spath, const bool collect)
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
string_rules(Evaluation *e, const JsStringRules *rules, const JsValue *value,
			 const JsPath *ipath, const JsPath *spath, const bool collect)
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

static pg_attribute_always_inline bool
array_rules(Evaluation *e, const JsArrayRules *rules, const JsValue *value, Seen *seen,
			const JsPath *ipath, const JsPath *spath, const bool collect)
{
	JsPath		item_path = {ipath, NULL, 0, 0};
	bool		valid = true;
	int			n = value->len;

	if (rules->min_items > n)
		VIOLATED("minItems", "has %d item%s, fewer than " INT64_FORMAT, n, JS_S(n), rules->min_items);
	if (rules->max_items >= 0 && rules->max_items < n)
		VIOLATED("maxItems", "has %d item%s, more than " INT64_FORMAT, n, JS_S(n), rules->max_items);

	if (rules->nprefix > 0 || rules->rest != NULL)
	{
		JsPath		prefix_path = {spath, rules->prefix_keyword, (int) strlen(rules->prefix_keyword), 0};
		JsPath		index_path = {&prefix_path, NULL, 0, 0};
		JsPath		rest_path = {spath, rules->rest_keyword, (int) strlen(rules->rest_keyword), 0};
		int			last = rules->rest != NULL && !rules->rest->always ? n : Min(n, rules->nprefix);
		JsMembers	members;
		JsValue		item;

		JsMembersBegin(value, &members);
		for (int i = 0; i < last && JsMembersNext(&members, NULL, &item); i++)
		{
			item_path.index = i;
			if (i < rules->nprefix)
			{
				index_path.index = i;
				if (!EVALUATE(rules->prefix[i], &item, NULL, 0, &item_path, &index_path))
				{
					if (!collect)
						return false;
					valid = false;
				}
			}
			else if (collect && rules->rest->never)
			{
				valid = false;
				report(e, &item_path, &rest_path, rules->rest_keyword, "item %d is not allowed", i);
			}
			else if (!EVALUATE(rules->rest, &item, NULL, 0, &item_path, &rest_path))
			{
				if (!collect)
					return false;
				valid = false;
			}
		}
		if (seen != NULL && rules->rest != NULL)
			seen_add_all(seen);
		else if (seen != NULL)
		{
			for (int i = 0; i < last; i++)
				seen_add(seen, i);
		}
	}

	if (rules->contains != NULL)
	{
		bool		mark = seen != NULL && rules->contains_evaluates;
		int64		count = 0;
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
	}

	if (rules->unique && n > 1)
	{
		int			first = 0,
					second = 0;

		if (!JsItemsDiffer(value, &first, &second))
			VIOLATED("uniqueItems", "items %d and %d are equal", first, second);
	}
	return valid;
}

/* The property of that name from *next on, which then is after it; NULL if there is none. */
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

static pg_attribute_always_inline bool
member_rules(Evaluation *e, const JsObjectRules *rules, const JsValue *value, Seen *seen,
			 const JsPath *ipath, const JsPath *spath, const bool collect)
{
	JsPath		member_path = {ipath, "", 0, 0};
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
				JsPath		keyword_path = KEYWORD(spath, "properties");
				JsPath		name_path = {&keyword_path, key.data, key.len, 0};

				matched = true;
				if (!EVALUATE(property->node, &member, NULL, 0, &member_path, &name_path))
				{
					if (!collect)
						return false;
					valid = false;
				}
			}
		}
		for (int j = 0; j < rules->npatterns; j++)
		{
			const JsPatternProperty *pattern = &rules->patterns[j];

			CHECK_FOR_INTERRUPTS();
			if (!JsRegexMatches(pattern->regex, key.data, key.len, e->caller->errcodes.limit))
				continue;
			matched = true;
			{
				JsPath		keyword_path = KEYWORD(spath, "patternProperties");
				JsPath		name_path = {&keyword_path, pattern->pattern.data, pattern->pattern.len, 0};

				if (!EVALUATE(pattern->node, &member, NULL, 0, &member_path, &name_path))
				{
					if (!collect)
						return false;
					valid = false;
				}
			}
		}
		if (!matched && rules->additional != NULL)
		{
			JsPath		keyword_path = KEYWORD(spath, "additionalProperties");

			matched = true;
			if (collect && rules->additional->never)
			{
				valid = false;
				report(e, &member_path, &keyword_path, "additionalProperties",
					   "property %s is not allowed", JsQuote(key.data, key.len));
			}
			else if (!EVALUATE(rules->additional, &member, NULL, 0, &member_path, &keyword_path))
			{
				if (!collect)
					return false;
				valid = false;
			}
		}
		if (rules->names != NULL)
		{
			JsPath		keyword_path = KEYWORD(spath, "propertyNames");
			JsValue		name = {.type = JS_STRING, .len = key.len};

			name.u.string = key.data;
			if (!EVALUATE(rules->names, &name, NULL, 0, &member_path, &keyword_path))
			{
				if (!collect)
					return false;
				valid = false;
			}
		}
		if (matched && seen != NULL)
			seen_add(seen, i);
	}

	if (nrequired < rules->nrequired)
	{
		if (!collect)
			return false;
		valid = false;
		for (int i = 0; i < rules->nproperties; i++)
		{
			const JsString *name = &rules->properties[i].name;

			if (rules->properties[i].required && !JsMember(value, name->data, name->len, &member))
				REPORT("required", "property %s is missing", JsQuote(name->data, name->len));
		}
	}
	return valid;
}

static pg_attribute_always_inline bool
object_rules(Evaluation *e, const JsObjectRules *rules, const JsValue *value, Seen *seen,
			 int in_place, const JsPath *ipath, const JsPath *spath, const bool collect)
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
	if (rules->members && !member_rules(e, rules, value, seen, ipath, spath, collect))
	{
		if (!collect)
			return false;
		valid = false;
	}
	for (int i = 0; i < rules->ndependencies; i++)
	{
		const JsDependency *dependency = &rules->dependencies[i];
		JsPath		keyword_path = {spath, dependency->keyword, 0, 0};
		JsPath		name_path = {&keyword_path, dependency->name.data, dependency->name.len, 0};

		if (!JsMember(value, dependency->name.data, dependency->name.len, &member))
			continue;
		if (collect)
			keyword_path.len = (int) strlen(dependency->keyword);
		if (dependency->node != NULL)
		{
			if (!EVALUATE(dependency->node, value, seen, in_place + 1, ipath, &name_path))
			{
				if (!collect)
					return false;
				valid = false;
			}
			continue;
		}
		for (int j = 0; j < dependency->nrequired; j++)
		{
			const JsString *name = &dependency->required[j];

			if (JsMember(value, name->data, name->len, &member))
				continue;
			if (!collect)
				return false;
			valid = false;
			report(e, ipath, &name_path, dependency->keyword,
				   "property %s is missing, which must be there beside %s",
				   JsQuote(name->data, name->len),
				   JsQuote(dependency->name.data, dependency->name.len));
		}
	}
	return valid;
}

/*-------------------------------------------------------------------------
 * Keywords of any type
 *-------------------------------------------------------------------------
 */
/* What a reference leads to in the dynamic scope: outermost first. */
static const JsNode *
dynamic_target(Evaluation *e, const JsOp *op)
{
	const JsNode *target = op->u.node;

	if (op->code == JS_OP_DYNAMIC_REF && op->anchor != NULL)
	{
		for (const Scope *scope = e->scope; scope != NULL; scope = scope->up)
		{
			for (const JsAnchor *anchor = scope->resource->anchors; anchor; anchor = anchor->next)
			{
				if (anchor->dynamic && anchor->node != NULL && strcmp(anchor->name, op->anchor) == 0)
					target = anchor->node;
			}
		}
	}
	else if (op->code == JS_OP_RECURSIVE_REF && op->n != 0)
	{
		for (const Scope *scope = e->scope; scope != NULL; scope = scope->up)
		{
			if (scope->resource->recursive_anchor && scope->resource->node != NULL)
				target = scope->resource->node;
		}
	}
	return target;
}

/* A branch that may fail: what it evaluates counts only if it holds. */
static bool
try_branch(Evaluation *e, const JsNode *node, const JsValue *value, Seen *seen, int in_place)
{
	Seen		own;
	bool		valid;

	if (seen == NULL)
		return evaluate_fast(e, node, value, NULL, in_place);
	seen_init(&own, seen->n);
	valid = evaluate_fast(e, node, value, &own, in_place);
	if (valid)
		seen_merge(seen, &own);
	seen_done(&own);
	return valid;
}

/* The violations in each branch, where none holds: those of the nearest one first. */
static void
collect_branches(Evaluation *e, const JsOp *op, const char *keyword, const JsValue *value,
				 int in_place, const JsPath *ipath, const JsPath *spath)
{
	JsPath		keyword_path = {spath, keyword, (int) strlen(keyword), 0};
	JsPath		branch_path = {&keyword_path, NULL, 0, 0};
	List	   *all = e->violations;
	int			max = e->max;
	int			left = max - list_length(all);
	int			work;
	JsBranch   *branches = JsBranches(op, value, &work);

	e->steps -= work;
	for (int i = 0; i < op->n && (max == 0 || left > 0); i++)
	{
		e->violations = NIL;
		e->max = max == 0 ? 0 : left;
		branch_path.index = branches[i].index;
		evaluate_slow(e, branches[i].node, value, NULL, in_place, ipath, &branch_path);
		branches[i].violations = e->violations;
		left -= list_length(e->violations);
	}
	JsSortBranches(branches, op->n);
	for (int i = 0; i < op->n; i++)
	{
		ListCell   *lc;

		foreach(lc, branches[i].violations)
			((JsonSchemaViolation *) lfirst(lc))->far |= i > 0;
		all = list_concat(all, branches[i].violations);
		list_free(branches[i].violations);
	}
	pfree(branches);
	e->violations = all;
	e->max = max;
}

static pg_attribute_always_inline bool
any_of(Evaluation *e, const JsOp *op, const JsValue *value, Seen *seen, int in_place,
	   const JsPath *ipath, const JsPath *spath, const bool collect)
{
	bool		valid = false;

	for (int i = 0; i < op->n; i++)
	{
		if (try_branch(e, op->u.nodes[i], value, seen, in_place))
		{
			valid = true;
			if (seen == NULL)
				break;
		}
	}
	if (!valid && collect)
	{
		REPORT("anyOf", "matches none of the %d schemas of anyOf", op->n);
		collect_branches(e, op, "anyOf", value, in_place, ipath, spath);
	}
	return valid;
}

static pg_attribute_always_inline bool
one_of(Evaluation *e, const JsOp *op, const JsValue *value, Seen *seen, int in_place,
	   const JsPath *ipath, const JsPath *spath, const bool collect)
{
	int			first = -1,
				second = -1;

	for (int i = 0; i < op->n && second < 0; i++)
	{
		if (try_branch(e, op->u.nodes[i], value, seen, in_place))
		{
			if (first < 0)
				first = i;
			else
				second = i;
		}
	}
	if (first < 0 && collect)
	{
		REPORT("oneOf", "matches none of the %d schemas of oneOf", op->n);
		collect_branches(e, op, "oneOf", value, in_place, ipath, spath);
	}
	if (second >= 0 && collect)
		REPORT("oneOf", "matches more than one schema of oneOf, %d and %d", first, second);
	return first >= 0 && second < 0;
}

static pg_attribute_always_inline bool
evaluate_op(Evaluation *e, const JsOp *op, const JsValue *value, Seen *seen, int in_place,
			const JsPath *ipath, const JsPath *spath, const bool collect)
{
	bool		valid = true;

	switch (op->code)
	{
		case JS_OP_CONST:
			if (JsCompare(op->u.values, value) != 0)
				VIOLATED("const", "is not %s", op->u.values->type & (JS_ARRAY | JS_OBJECT) ?
						 "the value of const" : JsDescribe(op->u.values));
			return valid;

		case JS_OP_ENUM:
			if (!JsInEnum(op, value))
				VIOLATED("enum", "%s is none of %s", JsDescribe(value), JsValueList(op->u.values, op->n));
			return valid;

		case JS_OP_REF:
			{
				JsPath		keyword_path = KEYWORD(spath, "$ref");

				return EVALUATE(op->u.node, value, seen, in_place + 1, ipath, &keyword_path);
			}

		case JS_OP_DYNAMIC_REF:
			{
				JsPath		keyword_path = KEYWORD(spath, "$dynamicRef");

				return EVALUATE(dynamic_target(e, op), value, seen, in_place + 1, ipath, &keyword_path);
			}

		case JS_OP_RECURSIVE_REF:
			{
				JsPath		keyword_path = KEYWORD(spath, "$recursiveRef");

				return EVALUATE(dynamic_target(e, op), value, seen, in_place + 1, ipath, &keyword_path);
			}

		case JS_OP_ALL_OF:
			for (int i = 0; i < op->n; i++)
			{
				JsPath		keyword_path = KEYWORD(spath, "allOf");
				JsPath		branch_path = {&keyword_path, NULL, 0, i};

				if (!EVALUATE(op->u.nodes[i], value, seen, in_place + 1, ipath, &branch_path))
				{
					if (!collect)
						return false;
					valid = false;
				}
			}
			return valid;

		case JS_OP_ANY_OF:
			return any_of(e, op, value, seen, in_place + 1, ipath, spath, collect);

		case JS_OP_ONE_OF:
			return one_of(e, op, value, seen, in_place + 1, ipath, spath, collect);

		case JS_OP_NOT:
			if (evaluate_fast(e, op->u.node, value, NULL, in_place + 1))
				VIOLATED("not", "matches the schema of not");
			return valid;

		case JS_OP_IF:
			{
				JsPath		then_path = KEYWORD(spath, "then");
				JsPath		else_path = KEYWORD(spath, "else");

				if (seen == NULL && op->u.nodes[1] == NULL && op->u.nodes[2] == NULL)
					return true;
				if (try_branch(e, op->u.nodes[0], value, seen, in_place + 1))
					return op->u.nodes[1] == NULL ||
						EVALUATE(op->u.nodes[1], value, seen, in_place + 1, ipath, &then_path);
				return op->u.nodes[2] == NULL ||
					EVALUATE(op->u.nodes[2], value, seen, in_place + 1, ipath, &else_path);
			}
	}
	return valid;
}

/* unevaluatedItems or unevaluatedProperties: what nothing has evaluated so far. */
static pg_attribute_always_inline bool
unevaluated(Evaluation *e, const JsNode *node, const JsValue *value, Seen *seen,
			const JsPath *ipath, const JsPath *spath, const bool collect)
{
	bool		object = value->type == JS_OBJECT;
	const char *keyword = object ? "unevaluatedProperties" : "unevaluatedItems";
	JsPath		keyword_path = {spath, keyword, 0, 0};
	JsPath		member_path = {ipath, NULL, 0, 0};
	bool		valid = true;
	JsMembers	members;
	JsString	key = {NULL, 0};
	JsValue		member;

	if (collect)
		keyword_path.len = (int) strlen(keyword);
	JsMembersBegin(value, &members);
	for (int i = 0; JsMembersNext(&members, object ? &key : NULL, &member); i++)
	{
		if (seen_has(seen, i))
			continue;
		member_path.name = key.data;
		member_path.len = key.len;
		member_path.index = i;
		if (collect && node->never)
		{
			valid = false;
			if (object)
				report(e, &member_path, &keyword_path, keyword, "property %s is not allowed",
					   JsQuote(key.data, key.len));
			else
				report(e, &member_path, &keyword_path, keyword, "item %d is not allowed", i);
		}
		else if (!EVALUATE(node, &member, NULL, 0, &member_path, &keyword_path))
		{
			if (!collect)
				return false;
			valid = false;
		}
	}
	seen_add_all(seen);
	return valid;
}

/*-------------------------------------------------------------------------
 * One node
 *-------------------------------------------------------------------------
 */
static pg_attribute_always_inline bool
evaluate_rules(Evaluation *e, const JsNode *node, const JsValue *value, Seen *seen, int in_place,
			   const JsPath *ipath, const JsPath *spath, const bool collect)
{
	bool		valid = true;

	if (!(node->types & value->type) &&
		!(value->type == JS_NUMBER && (node->types & JS_INTEGER) &&
		  JsNumberIsInteger(value->u.number)))
		VIOLATED("type", "is of type %s, must be %s", JsTypeName(value->type), JsTypeNames(node->types));

	switch (value->type)
	{
		case JS_NUMBER:
			if (node->number != NULL)
				valid &= number_rules(e, node->number, value, ipath, spath, collect);
			break;
		case JS_STRING:
			if (node->string != NULL)
				valid &= string_rules(e, node->string, value, ipath, spath, collect);
			break;
		case JS_ARRAY:
			if (node->array != NULL)
				valid &= array_rules(e, node->array, value, seen, ipath, spath, collect);
			break;
		case JS_OBJECT:
			if (node->object != NULL)
				valid &= object_rules(e, node->object, value, seen, in_place, ipath, spath, collect);
			break;
		default:
			break;
	}
	for (int i = 0; i < node->nops && (valid || collect); i++)
		valid &= evaluate_op(e, &node->ops[i], value, seen, in_place, ipath, spath, collect);
	return valid;
}

static pg_attribute_always_inline bool
evaluate(Evaluation *e, const JsNode *node, const JsValue *value, Seen *seen, int in_place,
		 const JsPath *ipath, const JsPath *spath, const bool collect)
{
	const Scope *outer = e->scope;
	const JsNode *rest = NULL;
	Scope		scope;
	Seen		own;
	bool		valid;

	/* another resource is validated by itself */
	if (unlikely(e->compiler != NULL) && value->type == JS_OBJECT &&
		value->u.container != e->top && JsResourceAt(e->compiler, value) != NULL)
		return true;
	CHECK_FOR_INTERRUPTS();
	if (--e->steps < 0)
		too_long(e);
	if (node->nops > 0 || (value->type & (JS_ARRAY | JS_OBJECT)))
	{
		check_stack_depth();
		if (in_place > e->schema->max_in_place)
			endless(e);
	}
	if (e->schema->dynamic && node->resource != outer->resource)
	{
		scope.up = outer;
		scope.resource = node->resource;
		e->scope = &scope;
	}
	if (node->tracked)
		rest = value->type == JS_OBJECT ? node->unevaluated_properties :
			value->type == JS_ARRAY ? node->unevaluated_items : NULL;
	if (rest == NULL)
		valid = evaluate_rules(e, node, value, seen, in_place, ipath, spath, collect);
	else
	{
		/* what is evaluated beside this schema is not seen by it */
		seen_init(&own, value->len);
		valid = evaluate_rules(e, node, value, &own, in_place, ipath, spath, collect);
		if (valid || collect)
			valid &= unevaluated(e, rest, value, &own, ipath, spath, collect);
		if (seen != NULL)
			seen_merge(seen, &own);
		seen_done(&own);
	}
	e->scope = outer;
	return valid;
}

static bool
evaluate_fast(Evaluation *e, const JsNode *node, const JsValue *value, Seen *seen, int in_place)
{
	if (node->always)
		return true;
	if (node->never)
		return false;
	return evaluate(e, node, value, seen, in_place, NULL, NULL, false);
}

static bool
evaluate_slow(Evaluation *e, const JsNode *node, const JsValue *value, Seen *seen, int in_place,
			  const JsPath *ipath, const JsPath *spath)
{
	if (node->always)
		return true;
	/* enough: what is still to come changes nothing */
	if (e->max > 0 && list_length(e->violations) >= e->max)
		return false;
	if (node->never)
	{
		report(e, ipath, spath, "false schema", "nothing is allowed here");
		return false;
	}
	return evaluate(e, node, value, seen, in_place, ipath, spath, true);
}

static void
begin(Evaluation *e, Scope *scope, const JsonSchema *schema, const JsonSchema *caller,
	  const Jsonb *instance)
{
	if (schema->deferred)
		ereport(ERROR,
				(errcode(schema->errcodes.unresolved),
				 errmsg("the schema has references that lead to no schema")));
	scope->up = NULL;
	scope->resource = schema->root->resource;
	e->schema = schema;
	e->caller = caller;
	/* true and false have no resource, and nothing to look for */
	e->scope = scope;
	e->violations = NIL;
	e->max = 0;
	e->compiler = NULL;
	e->top = NULL;
	e->steps = Max(caller->steps, (int64) VARSIZE(instance) * caller->steps_a_byte);
}

bool
JsonSchemaIsValid(const JsonSchema *schema, const Jsonb *instance)
{
	Evaluation	e;
	Scope		scope;
	JsValue		value;

	begin(&e, &scope, schema, schema, instance);
	JsRoot(instance, &value);
	return evaluate_fast(&e, schema->root, &value, NULL, 0);
}

List *
JsonSchemaValidate(const JsonSchema *schema, const Jsonb *instance, int max)
{
	Evaluation	e;
	Scope		scope;
	JsValue		value;

	begin(&e, &scope, schema, schema, instance);
	e.max = max;
	JsRoot(instance, &value);
	if (!evaluate_slow(&e, schema->root, &value, NULL, 0, NULL, NULL) && e.violations == NIL)
		elog(ERROR, "a violation of a JSON Schema was not reported");
	return e.violations;
}

List *
JsResourceViolations(const JsonSchema *metaschema, JsCompiler *cs, const JsResource *resource, int max)
{
	Evaluation	e;
	Scope		scope;

	begin(&e, &scope, metaschema, cs->schema, resource->document->jsonb);
	e.compiler = cs;
	e.top = resource->root.u.container;
	if (evaluate_fast(&e, metaschema->root, &resource->root, NULL, 0))
		return NIL;
	e.max = max;
	(void) evaluate_slow(&e, metaschema->root, &resource->root, NULL, 0, NULL, NULL);
	return e.violations;
}
