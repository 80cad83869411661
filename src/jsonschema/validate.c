/*-------------------------------------------------------------------------
 *
 * jsonschema/validate.c
 *	  JSON Schema: does an instance conform to a schema, and if not, why?
 *
 *  1. There are two evaluators, evaluate_fast, which stops at the first
 *     violation, and evaluate_slow, which lists them all.  They are one text,
 *     compiled twice by inlining; jsonschema/evaluation.h says how.
 *  2. The keywords that are about one type are in jsonschema/rules.h, which
 *     is a part of this file; those that are about any type are here.
 *  3. unevaluatedItems and unevaluatedProperties need to know which members
 *     of the instance other keywords have evaluated.  That is a set of bits
 *     (Seen), one a member.  A keyword that applies a subschema to the same
 *     instance hands the set on.  Where the subschema may fail without
 *     consequence it is given a set of its own, which is added to the other
 *     one if the subschema holds.
 *  4. The branches of anyOf and oneOf, and the subschemas of if, not and
 *     contains, are always tried by the fast evaluator.  Only when no branch
 *     holds are the violations in the branches collected, those of the
 *     nearest branch (jsonschema/branch.c) first.
 *  5. The dynamic scope, which $dynamicRef and $recursiveRef search, is the
 *     list of the resources that were entered (Scope), on the stack.
 *  6. Schemas that are applied to the same value one inside the other are
 *     counted (in_place).  When there are more of them than pairs of a node
 *     and a resource, one of these was entered twice, so the recursion has
 *     no end.  Every application is counted too (steps), and after very many
 *     of them the validation is given up.
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

#include "jsonschema/evaluation.h"

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

#include "jsonschema/rules.h"

/*-------------------------------------------------------------------------
 * Keywords of any type
 *-------------------------------------------------------------------------
 */
/* The node that a dynamic reference leads to: the one in the outermost resource that has it. */
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

/*
 * Try a branch that may fail.  The members that it evaluates count as evaluated only if it holds.
 */
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

/*
 * Collect the violations in each branch, after none has held; those of the nearest one come first.
 */
static void
collect_branches(Evaluation *e, const JsOp *op, const char *keyword, const JsValue *value,
				 int in_place, Where at)
{
	JsPath		keyword_path = {at.spath, keyword, (int) strlen(keyword), 0};
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
		evaluate_slow(e, branches[i].node, value, NULL, in_place, (Where) {at.ipath, &branch_path});
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
any_of(Evaluation *e, const JsOp *op, const JsValue *value, Seen *seen, int in_place, Where at,
	   const bool collect)
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
		collect_branches(e, op, "anyOf", value, in_place, at);
	}
	return valid;
}

static pg_attribute_always_inline bool
one_of(Evaluation *e, const JsOp *op, const JsValue *value, Seen *seen, int in_place, Where at,
	   const bool collect)
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
		collect_branches(e, op, "oneOf", value, in_place, at);
	}
	if (second >= 0 && collect)
		REPORT("oneOf", "matches more than one schema of oneOf, %d and %d", first, second);
	return first >= 0 && second < 0;
}

static pg_attribute_always_inline bool
all_of(Evaluation *e, const JsOp *op, const JsValue *value, Seen *seen, int in_place, Where at,
	   const bool collect)
{
	JsPath		keyword_path = KEYWORD(at.spath, "allOf");
	bool		valid = true;

	for (int i = 0; i < op->n; i++)
	{
		JsPath		branch_path = {&keyword_path, NULL, 0, i};

		MUST_HOLD(EVALUATE(op->u.nodes[i], value, seen, in_place, at.ipath, &branch_path));
	}
	return valid;
}

static pg_attribute_always_inline bool
if_then_else(Evaluation *e, const JsOp *op, const JsValue *value, Seen *seen, int in_place, Where at,
			 const bool collect)
{
	const JsNode *then = op->u.nodes[1];
	const JsNode *otherwise = op->u.nodes[2];
	JsPath		then_path = KEYWORD(at.spath, "then");
	JsPath		else_path = KEYWORD(at.spath, "else");

	if (seen == NULL && then == NULL && otherwise == NULL)
		return true;
	if (try_branch(e, op->u.nodes[0], value, seen, in_place))
		return then == NULL || EVALUATE(then, value, seen, in_place, at.ipath, &then_path);
	return otherwise == NULL || EVALUATE(otherwise, value, seen, in_place, at.ipath, &else_path);
}

/* One keyword that is about values of any type; in_place is that of the schema which has it. */
static pg_attribute_always_inline bool
evaluate_op(Evaluation *e, const JsOp *op, const JsValue *value, Seen *seen, int in_place, Where at,
			const bool collect)
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
				JsPath		keyword_path = KEYWORD(at.spath, "$ref");

				return EVALUATE(op->u.node, value, seen, in_place + 1, at.ipath, &keyword_path);
			}

		case JS_OP_DYNAMIC_REF:
			{
				JsPath		keyword_path = KEYWORD(at.spath, "$dynamicRef");

				return EVALUATE(dynamic_target(e, op), value, seen, in_place + 1, at.ipath, &keyword_path);
			}

		case JS_OP_RECURSIVE_REF:
			{
				JsPath		keyword_path = KEYWORD(at.spath, "$recursiveRef");

				return EVALUATE(dynamic_target(e, op), value, seen, in_place + 1, at.ipath, &keyword_path);
			}

		case JS_OP_ALL_OF:
			return all_of(e, op, value, seen, in_place + 1, at, collect);

		case JS_OP_ANY_OF:
			return any_of(e, op, value, seen, in_place + 1, at, collect);

		case JS_OP_ONE_OF:
			return one_of(e, op, value, seen, in_place + 1, at, collect);

		case JS_OP_NOT:
			if (evaluate_fast(e, op->u.node, value, NULL, in_place + 1))
				VIOLATED("not", "matches the schema of not");
			return valid;

		case JS_OP_IF:
			return if_then_else(e, op, value, seen, in_place + 1, at, collect);
	}
	return valid;
}

/* unevaluatedItems or unevaluatedProperties: of the members that no other keyword has evaluated. */
static pg_attribute_always_inline bool
unevaluated(Evaluation *e, const JsNode *node, const JsValue *value, Seen *seen, Where at,
			const bool collect)
{
	bool		object = value->type == JS_OBJECT;
	const char *keyword = object ? "unevaluatedProperties" : "unevaluatedItems";
	JsPath		keyword_path = {at.spath, keyword, 0, 0};
	JsPath		member_path = {at.ipath, NULL, 0, 0};
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
		else
			MUST_HOLD(EVALUATE(node, &member, NULL, 0, &member_path, &keyword_path));
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
			   Where at, const bool collect)
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
				valid &= number_rules(e, node->number, value, at, collect);
			break;
		case JS_STRING:
			if (node->string != NULL)
				valid &= string_rules(e, node->string, value, at, collect);
			break;
		case JS_ARRAY:
			if (node->array != NULL)
				valid &= array_rules(e, node->array, value, seen, at, collect);
			break;
		case JS_OBJECT:
			if (node->object != NULL)
				valid &= object_rules(e, node->object, value, seen, in_place, at, collect);
			break;
		default:
			break;
	}
	for (int i = 0; i < node->nops && (valid || collect); i++)
		valid &= evaluate_op(e, &node->ops[i], value, seen, in_place, at, collect);
	return valid;
}

static pg_attribute_always_inline bool
evaluate(Evaluation *e, const JsNode *node, const JsValue *value, Seen *seen, int in_place,
		 Where at, const bool collect)
{
	const Scope *outer = e->scope;
	const JsNode *rest = NULL;
	Scope		scope;
	Seen		own;
	bool		valid;

	/* A resource that is embedded in the one at hand is validated by itself. */
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
		valid = evaluate_rules(e, node, value, seen, in_place, at, collect);
	else
	{
		/*
		 * This schema does not see what was evaluated beside it, so it begins with a set of its
		 * own.
		 */
		seen_init(&own, value->len);
		valid = evaluate_rules(e, node, value, &own, in_place, at, collect);
		if (valid || collect)
			valid &= unevaluated(e, rest, value, &own, at, collect);
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
	return evaluate(e, node, value, seen, in_place, (Where) {NULL, NULL}, false);
}

static bool
evaluate_slow(Evaluation *e, const JsNode *node, const JsValue *value, Seen *seen, int in_place,
			  Where at)
{
	if (node->always)
		return true;
	/* There are enough violations, so that further ones change nothing. */
	if (e->max > 0 && list_length(e->violations) >= e->max)
		return false;
	if (node->never)
	{
		report(e, at.ipath, at.spath, "false schema", "nothing is allowed here");
		return false;
	}
	return evaluate(e, node, value, seen, in_place, at, true);
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
	/*
	 * The schemas true and false have no resource, but they have nothing to look for in one
	 * either.
	 */
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
	if (!evaluate_slow(&e, schema->root, &value, NULL, 0, (Where) {NULL, NULL}) && e.violations == NIL)
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
	(void) evaluate_slow(&e, metaschema->root, &resource->root, NULL, 0, (Where) {NULL, NULL});
	return e.violations;
}
