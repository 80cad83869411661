/*-------------------------------------------------------------------------
 *
 * jsonschema/branch.c
 *	  JSON Schema: which branch of an anyOf or oneOf was meant, where none
 *	  holds.
 *
 *  1. In most unions a property says which branch an instance is meant for:
 *     each branch has another const or enum for it.  A branch whose const
 *     holds was meant, whatever else is wrong with the instance.
 *  2. So the branches are sorted.  Those that want another type than the
 *     instance has come last.  The others are compared by how many const (and
 *     enum of one value) hold and how many are broken, then by the same of
 *     enum with several values, then by the number of violations, and then
 *     by their order in the schema.
 *  3. const and enum are looked for, a few levels deep, in the branch, in
 *     what it refers to, in its allOf, in the nearest branch of a union in it,
 *     and in the properties that the instance has.  As this decides about the
 *     order of messages only, it gives up where there is much to look at.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/branch.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/pg_list.h"

#include "jsonschema/private.h"

#define MAX_DEPTH	12			/* nodes from a branch to a const in it */
#define MAX_WORK	500			/* nodes looked at for one branch */

static void look(JsBranch *branch, const JsNode *node, const JsValue *value, bool same_place,
				 int depth, int *work);

bool
JsInEnum(const JsOp *op, const JsValue *value)
{
	int			low = 0,
				high = op->n;

	if (!(op->types & value->type))
		return false;
	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		int			cmp = JsCompare(&op->u.values[middle], value);

		if (cmp == 0)
			return true;
		if (cmp < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/*
 * The rank of a branch: 0 if all its const hold, 1 if some do, 2 if it has none, 3 if it has some
 * and none holds, 4 if it wants another type.
 */
static int
rank(const JsBranch *branch)
{
	if (branch->wrong_type)
		return 4;
	if (branch->consts_held > 0)
		return branch->consts_broken == 0 ? 0 : 1;
	return branch->consts_broken == 0 ? 2 : 3;
}

static int
compare_branches(const void *a, const void *b)
{
	const JsBranch *one = (const JsBranch *) a;
	const JsBranch *two = (const JsBranch *) b;
	int			cmp = rank(one) - rank(two);

	if (cmp == 0)
		cmp = (two->consts_held - two->consts_broken) - (one->consts_held - one->consts_broken);
	if (cmp == 0)
		cmp = (two->enums_held - two->enums_broken) - (one->enums_held - one->enums_broken);
	if (cmp == 0)
		cmp = list_length(one->violations) - list_length(two->violations);
	return cmp != 0 ? cmp : one->index - two->index;
}

void
JsSortBranches(JsBranch *branches, int n)
{
	qsort(branches, n, sizeof(JsBranch), compare_branches);
}

/* Look at a union in a branch, of which the nearest branch counts. */
static void
look_at_union(JsBranch *branch, const JsOp *op, const JsValue *value, bool same_place, int depth,
			  int *work)
{
	JsBranch	best = {0};

	for (int i = 0; i < op->n && *work < MAX_WORK; i++)
	{
		JsBranch	one = {.index = i};

		look(&one, op->u.nodes[i], value, same_place, depth, work);
		if (i == 0 || compare_branches(&one, &best) < 0)
			best = one;
	}
	branch->wrong_type |= best.wrong_type;
	branch->consts_held += best.consts_held;
	branch->consts_broken += best.consts_broken;
	branch->enums_held += best.enums_held;
	branch->enums_broken += best.enums_broken;
}

static void
look_at_op(JsBranch *branch, const JsOp *op, const JsValue *value, bool same_place, int depth,
		   int *work)
{
	bool		held;

	switch (op->code)
	{
		case JS_OP_CONST:
			held = JsCompare(op->u.values, value) == 0;
			branch->consts_held += held;
			branch->consts_broken += !held;
			break;
		case JS_OP_ENUM:
			held = JsInEnum(op, value);
			*(op->n == 1 ? (held ? &branch->consts_held : &branch->consts_broken) :
			  (held ? &branch->enums_held : &branch->enums_broken)) += 1;
			break;
		case JS_OP_REF:
		case JS_OP_DYNAMIC_REF:
		case JS_OP_RECURSIVE_REF:
			look(branch, op->u.node, value, same_place, depth, work);
			break;
		case JS_OP_ALL_OF:
			for (int i = 0; i < op->n; i++)
				look(branch, op->u.nodes[i], value, same_place, depth, work);
			break;
		case JS_OP_ANY_OF:
		case JS_OP_ONE_OF:
			look_at_union(branch, op, value, same_place, depth, work);
			break;
		default:
			break;
	}
}

/*
 * Look for const and enum in a node.  same_place is true where value is the instance of the union
 * itself, and not a member of it.
 */
static void
look(JsBranch *branch, const JsNode *node, const JsValue *value, bool same_place, int depth,
	 int *work)
{
	if (node->always || depth > MAX_DEPTH || ++*work > MAX_WORK)
		return;
	if (same_place &&
		(node->never || (!(node->types & value->type) &&
						 !(value->type == JS_NUMBER && (node->types & JS_INTEGER)))))
	{
		branch->wrong_type = true;
		return;
	}
	for (int i = 0; i < node->nops; i++)
		look_at_op(branch, &node->ops[i], value, same_place, depth + 1, work);
	if (value->type != JS_OBJECT || node->object == NULL)
		return;
	for (int i = 0; i < node->object->nproperties && *work < MAX_WORK; i++)
	{
		const JsProperty *property = &node->object->properties[i];
		JsValue		member;

		if (property->node != NULL && (property->node->nops > 0 || property->node->object != NULL) &&
			JsMember(value, property->name.data, property->name.len, &member))
			look(branch, property->node, &member, false, depth + 1, work);
	}
}

JsBranch *
JsBranches(const JsOp *op, const JsValue *value, int *work)
{
	JsBranch   *branches = palloc0(op->n * sizeof(JsBranch));

	*work = 0;
	for (int i = 0; i < op->n; i++)
	{
		int			looked = 0;

		CHECK_FOR_INTERRUPTS();
		branches[i].index = i;
		branches[i].node = op->u.nodes[i];
		look(&branches[i], op->u.nodes[i], value, true, 0, &looked);
		*work += looked;
	}
	JsSortBranches(branches, op->n);
	return branches;
}
