/*-------------------------------------------------------------------------
 *
 * jsonschema/compile.c
 *	  JSON Schema: from a schema to nodes.
 *
 *  1. Each subschema that is an object becomes one node.  It is found again
 *     by the address of its container, so references may form cycles.
 *  2. The compilation itself uses a temporary memory context.  Nodes,
 *     resources and patterns are in the schema's own context, together with
 *     the documents that they point into.
 *  3. Every subschema of the schema itself is compiled, whether something
 *     refers to it or not, so that all faults are found.  Of other documents
 *     only that is compiled to which a reference leads.
 *  4. The schema is checked against its metaschema first.  The checks in this
 *     file are for what a metaschema of the user's may let through.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/compile.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "jsonschema/private.h"

typedef struct NodeEntry
{
	const JsonbContainer *container;	/* key */
	JsNode	   *node;
} NodeEntry;

/* A schema whose keywords are being compiled. */
typedef struct Place
{
	JsCompiler *cs;
	JsResource *resource;
	const JsDialect *dialect;
	const JsValue *schema;
	JsNode	   *node;
	const char *prefix;			/* the JSON Pointer of where path begins */
	const JsPath *path;
	JsOp		ops[16];		/* there are fewer kinds than that */
} Place;

static JsNode always_node = {.types = JS_ANY, .always = true};
static JsNode never_node = {.types = 0, .never = true};

static const struct
{
	const char *name;
	uint8		type;
}			types[] =
{
	{"null", JS_NULL},
	{"boolean", JS_BOOLEAN},
	{"number", JS_NUMBER | JS_INTEGER},
	{"string", JS_STRING},
	{"array", JS_ARRAY},
	{"object", JS_OBJECT},
	{"integer", JS_INTEGER},
};

static JsNode *compile(JsCompiler *cs, JsResource *resource, const JsValue *schema,
					   const char *prefix, const JsPath *path);

/* Raise an error: the value of this keyword is wrong. */
static void bad(Place *place, const char *keyword, const char *what) pg_attribute_noreturn();
static void
bad(Place *place, const char *keyword, const char *what)
{
	JsPath		path = {place->path, keyword, (int) strlen(keyword), 0};

	JsFault(place->cs->schema->errcodes.invalid, place->resource, JsPointer(place->prefix, &path),
			"It %s.", what);
}

/* Get a keyword's value, if the keyword is there and means something in this dialect. */
static bool
get(Place *place, const char *keyword, uint8 drafts, uint8 vocabulary, JsValue *value)
{
	return JsKeywordApplies(place->dialect, drafts, vocabulary) &&
		JsMember(place->schema, keyword, (int) strlen(keyword), value);
}

static Numeric
get_number(Place *place, const char *keyword, uint8 drafts)
{
	JsValue		value;

	if (!get(place, keyword, drafts, JS_VOCAB_VALIDATION, &value))
		return NULL;
	if (value.type != JS_NUMBER)
		bad(place, keyword, "must be a number");
	return value.u.number;
}

/* A keyword's value as a count; -1 if the keyword is not there. */
static int64
get_count(Place *place, const char *keyword, uint8 drafts)
{
	JsValue		value;
	int64		count;

	if (!get(place, keyword, drafts, JS_VOCAB_VALIDATION, &value))
		return -1;
	count = value.type == JS_NUMBER ? JsNumberToCount(value.u.number) : -1;
	if (count < 0)
		bad(place, keyword, "must be an integer, and not negative");
	return count;
}

static bool
get_boolean(Place *place, const char *keyword, uint8 drafts)
{
	JsValue		value;

	if (!get(place, keyword, drafts, JS_VOCAB_VALIDATION, &value))
		return false;
	if (value.type != JS_BOOLEAN)
		bad(place, keyword, "must be true or false");
	return value.boolean;
}

/* The node of the subschema under a keyword; NULL if there is none. */
static JsNode *
get_schema(Place *place, const char *keyword, uint8 drafts, uint8 vocabulary)
{
	JsValue		value;
	JsPath		path = {place->path, keyword, (int) strlen(keyword), 0};

	if (!get(place, keyword, drafts, vocabulary, &value))
		return NULL;
	return compile(place->cs, place->resource, &value, place->prefix, &path);
}

/* The nodes of the array of subschemas under a keyword; returns how many there are. */
static int
get_schemas(Place *place, const char *keyword, uint8 drafts, JsNode ***nodes)
{
	JsValue		value,
				child;
	JsPath		path = {place->path, keyword, (int) strlen(keyword), 0};
	JsPath		below = {&path, NULL, 0, 0};
	JsMembers	members;

	if (!get(place, keyword, drafts, JS_VOCAB_APPLICATOR, &value))
		return 0;
	if (value.type != JS_ARRAY)
		bad(place, keyword, "must be an array of schemas");
	*nodes = js_keep(place->cs, value.len * sizeof(JsNode *));
	JsMembersBegin(&value, &members);
	for (; JsMembersNext(&members, NULL, &child); below.index++)
		(*nodes)[below.index] = compile(place->cs, place->resource, &child, place->prefix, &below);
	return value.len;
}

static JsOp *
add_op(Place *place, JsOpCode code)
{
	JsOp	   *op = &place->ops[place->node->nops++];

	Assert(place->node->nops <= lengthof(place->ops));
	memset(op, 0, sizeof(JsOp));
	op->code = code;
	return op;
}

/* The strings of an array of names, such as that of required. */
static JsString *
names(Place *place, const char *keyword, const JsValue *value)
{
	JsString   *result = js_keep(place->cs, Max(value->len, 1) * sizeof(JsString));
	JsMembers	members;
	JsValue		name;

	JsMembersBegin(value, &members);
	for (int i = 0; JsMembersNext(&members, NULL, &name); i++)
	{
		if (name.type != JS_STRING)
			bad(place, keyword, "must be an array of strings");
		result[i].data = name.u.string;
		result[i].len = name.len;
	}
	return result;
}

static JsRegex *
pattern(Place *place, const JsPath *path, const char *data, int len)
{
	MemoryContext before;
	const char *why = NULL;
	JsRegex    *regex;

	if (len > JSONSCHEMA_MAX_PATTERN)
		JsFault(place->cs->schema->errcodes.invalid, place->resource, JsPointer(place->prefix, path),
				"The pattern %s has %d bytes; a pattern may have %d.", JsQuote(data, len), len,
				JSONSCHEMA_MAX_PATTERN);
	before = MemoryContextSwitchTo(place->cs->schema->context);
	regex = JsRegexCompile(data, len, &why);
	MemoryContextSwitchTo(before);
	if (regex == NULL)
		JsFault(place->cs->schema->errcodes.invalid, place->resource, JsPointer(place->prefix, path),
				"%s is no regular expression of ECMA-262: %s.", JsQuote(data, len), why);
	return regex;
}

static uint8
type_set(Place *place, const JsValue *name)
{
	for (int i = 0; i < lengthof(types); i++)
	{
		if (JsEquals(name, types[i].name))
			return types[i].type;
	}
	bad(place, "type",
		"must be null, boolean, number, integer, string, array or object, or an array of those");
}

static void
compile_type(Place *place)
{
	JsValue		value,
				item;
	JsMembers	members;

	if (!get(place, "type", JS_ALL_DRAFTS, JS_VOCAB_VALIDATION, &value))
		return;
	if (value.type != JS_ARRAY)
	{
		place->node->types = type_set(place, &value);
		return;
	}
	place->node->types = 0;
	JsMembersBegin(&value, &members);
	while (JsMembersNext(&members, NULL, &item))
		place->node->types |= type_set(place, &item);
}

static int
compare_values(const void *a, const void *b)
{
	return JsCompare((const JsValue *) a, (const JsValue *) b);
}

static void
compile_const_enum(Place *place)
{
	JsValue		value;
	JsOp	   *op;

	if (get(place, "const", JS_SINCE6, JS_VOCAB_VALIDATION, &value))
	{
		op = add_op(place, JS_OP_CONST);
		op->u.values = js_keep(place->cs, sizeof(JsValue));
		*op->u.values = value;
	}
	if (get(place, "enum", JS_ALL_DRAFTS, JS_VOCAB_VALIDATION, &value))
	{
		JsMembers	members;

		if (value.type != JS_ARRAY)
			bad(place, "enum", "must be an array");
		op = add_op(place, JS_OP_ENUM);
		op->n = value.len;
		op->u.values = js_keep(place->cs, Max(value.len, 1) * sizeof(JsValue));
		JsMembersBegin(&value, &members);
		for (int i = 0; JsMembersNext(&members, NULL, &op->u.values[i]); i++)
			op->types |= op->u.values[i].type;
		qsort(op->u.values, op->n, sizeof(JsValue), compare_values);
	}
}

static void
compile_number(Place *place)
{
	JsNumberRules rules = {0};
	bool		draft4 = place->dialect->draft == JS_DRAFT4;

	rules.minimum = get_number(place, "minimum", JS_ALL_DRAFTS);
	rules.maximum = get_number(place, "maximum", JS_ALL_DRAFTS);
	if (draft4)
	{
		rules.minimum_is_exclusive = get_boolean(place, "exclusiveMinimum", JS_DRAFT4);
		rules.maximum_is_exclusive = get_boolean(place, "exclusiveMaximum", JS_DRAFT4);
	}
	else
	{
		rules.exclusive_minimum = get_number(place, "exclusiveMinimum", JS_SINCE6);
		rules.exclusive_maximum = get_number(place, "exclusiveMaximum", JS_SINCE6);
	}
	rules.multiple_of = get_number(place, "multipleOf", JS_ALL_DRAFTS);
	if (rules.multiple_of != NULL &&
		!DatumGetBool(DirectFunctionCall2(numeric_gt, NumericGetDatum(rules.multiple_of),
										  DirectFunctionCall1(int4_numeric, Int32GetDatum(0)))))
		bad(place, "multipleOf", "must be greater than 0");
	if (rules.minimum || rules.maximum || rules.exclusive_minimum || rules.exclusive_maximum ||
		rules.multiple_of)
	{
		place->node->number = js_keep(place->cs, sizeof(rules));
		*place->node->number = rules;
	}
}

static void
compile_string(Place *place)
{
	JsStringRules rules = {0};
	JsonSchemaFormats formats = place->cs->options->formats;
	JsValue		value;

	rules.min_length = get_count(place, "minLength", JS_ALL_DRAFTS);
	rules.max_length = get_count(place, "maxLength", JS_ALL_DRAFTS);
	if (get(place, "pattern", JS_ALL_DRAFTS, JS_VOCAB_VALIDATION, &value))
	{
		JsPath		path = {place->path, "pattern", 7, 0};

		if (value.type != JS_STRING)
			bad(place, "pattern", "must be a string");
		rules.pattern = pattern(place, &path, value.u.string, value.len);
		rules.pattern_text.data = value.u.string;
		rules.pattern_text.len = value.len;
	}
	if (get(place, "format", JS_ALL_DRAFTS,
			formats == JSONSCHEMA_FORMATS_ALWAYS ? JS_VOCAB_ALL : JS_VOCAB_FORMAT, &value))
	{
		if (value.type != JS_STRING)
			bad(place, "format", "must be a string");
		if (formats == JSONSCHEMA_FORMATS_ALWAYS ||
			(formats == JSONSCHEMA_FORMATS_DEFAULT && place->dialect->assert_formats))
			rules.format = JsFormatFind(value.u.string, value.len, place->dialect->draft);
	}
	if (rules.min_length > 0 || rules.max_length >= 0 || rules.pattern || rules.format)
	{
		place->node->string = js_keep(place->cs, sizeof(rules));
		*place->node->string = rules;
	}
}

static void
compile_array(Place *place)
{
	JsArrayRules rules = {0};
	JsValue		items;

	rules.min_items = get_count(place, "minItems", JS_ALL_DRAFTS);
	rules.max_items = get_count(place, "maxItems", JS_ALL_DRAFTS);
	rules.unique = get_boolean(place, "uniqueItems", JS_ALL_DRAFTS);
	rules.prefix_keyword = "prefixItems";
	rules.rest_keyword = "items";
	if (place->dialect->draft == JS_DRAFT2020)
	{
		rules.nprefix = get_schemas(place, "prefixItems", JS_DRAFT2020, &rules.prefix);
		rules.rest = get_schema(place, "items", JS_DRAFT2020, JS_VOCAB_APPLICATOR);
	}
	else if (get(place, "items", JS_UNTIL2019, JS_VOCAB_APPLICATOR, &items))
	{
		/* additionalItems means something only beside an array */
		if (items.type == JS_ARRAY)
		{
			rules.prefix_keyword = "items";
			rules.rest_keyword = "additionalItems";
			rules.nprefix = get_schemas(place, "items", JS_UNTIL2019, &rules.prefix);
			rules.rest = get_schema(place, "additionalItems", JS_UNTIL2019, JS_VOCAB_APPLICATOR);
		}
		else
			rules.rest = get_schema(place, "items", JS_UNTIL2019, JS_VOCAB_APPLICATOR);
	}
	rules.contains = get_schema(place, "contains", JS_SINCE6, JS_VOCAB_APPLICATOR);
	rules.min_contains = 1;
	rules.max_contains = -1;
	rules.contains_evaluates = place->dialect->draft == JS_DRAFT2020;
	if (rules.contains != NULL)
	{
		int64		count = get_count(place, "minContains", JS_SINCE2019);

		if (count >= 0)
		{
			rules.min_contains = count;
			rules.has_min_contains = true;
		}
		rules.max_contains = get_count(place, "maxContains", JS_SINCE2019);
	}
	if (rules.min_items > 0 || rules.max_items >= 0 || rules.unique || rules.nprefix > 0 ||
		rules.rest || rules.contains)
	{
		place->node->array = js_keep(place->cs, sizeof(rules));
		*place->node->array = rules;
	}
}

static int
compare_properties(const void *a, const void *b)
{
	const JsString *an = &((const JsProperty *) a)->name;
	const JsString *bn = &((const JsProperty *) b)->name;

	return js_compare_names(an->data, an->len, bn->data, bn->len);
}

/* Compile properties and required into one list, in the order of jsonb's keys. */
static void
compile_properties(Place *place, JsObjectRules *rules)
{
	JsValue		properties,
				required,
				child;
	JsString   *required_names = NULL;
	JsString	key;
	JsMembers	members;
	int			n = 0,
				kept = 0;

	if (!get(place, "properties", JS_ALL_DRAFTS, JS_VOCAB_APPLICATOR, &properties))
		properties.len = 0;
	else if (properties.type != JS_OBJECT)
		bad(place, "properties", "must be an object");
	if (!get(place, "required", JS_ALL_DRAFTS, JS_VOCAB_VALIDATION, &required))
		required.len = 0;
	else if (required.type != JS_ARRAY)
		bad(place, "required", "must be an array of strings");
	else
		required_names = names(place, "required", &required);
	if (properties.len + required.len == 0)
		return;

	rules->properties = js_keep(place->cs, (properties.len + required.len) * sizeof(JsProperty));
	if (properties.len > 0)
	{
		JsPath		path = {place->path, "properties", 10, 0};
		JsPath		below = {&path, NULL, 0, 0};

		JsMembersBegin(&properties, &members);
		while (JsMembersNext(&members, &key, &child))
		{
			below.name = key.data;
			below.len = key.len;
			rules->properties[n].name = key;
			rules->properties[n++].node = compile(place->cs, place->resource, &child, place->prefix,
												  &below);
		}
	}
	for (int i = 0; i < required.len; i++)
	{
		rules->properties[n].name = required_names[i];
		rules->properties[n++].required = true;
	}
	qsort(rules->properties, n, sizeof(JsProperty), compare_properties);
	for (int i = 1; i < n; i++)
	{
		JsProperty *last = &rules->properties[kept];
		JsProperty *next = &rules->properties[i];

		if (compare_properties(last, next) != 0)
			rules->properties[++kept] = *next;
		else
		{
			last->required |= next->required;
			if (next->node != NULL)
				last->node = next->node;
		}
	}
	rules->nproperties = kept + 1;
	for (int i = 0; i < rules->nproperties; i++)
		rules->nrequired += rules->properties[i].required;
}

static void
compile_dependency(Place *place, const char *keyword, const JsString *key, const JsValue *value,
				   const JsPath *path, JsObjectRules *rules)
{
	JsDependency *dependency = &rules->dependencies[rules->ndependencies++];

	dependency->name = *key;
	dependency->keyword = keyword;
	if (value->type == JS_ARRAY && strcmp(keyword, "dependentSchemas") != 0)
	{
		dependency->required = names(place, keyword, value);
		dependency->nrequired = value->len;
	}
	else if (strcmp(keyword, "dependentRequired") == 0)
		bad(place, keyword, "must be an object of arrays of strings");
	else
		dependency->node = compile(place->cs, place->resource, value, place->prefix, path);
}

static void
compile_dependencies(Place *place, JsObjectRules *rules)
{
	static const struct
	{
		const char *keyword;
		uint8		drafts;
		uint8		vocabulary;
	}			keywords[] =
	{
		{"dependentRequired", JS_SINCE2019, JS_VOCAB_VALIDATION},
		{"dependentSchemas", JS_SINCE2019, JS_VOCAB_APPLICATOR},
		{"dependencies", JS_ALL_DRAFTS, JS_VOCAB_APPLICATOR},
	};
	JsValue		values[lengthof(keywords)];
	int			n = 0;

	for (int i = 0; i < lengthof(keywords); i++)
	{
		values[i].len = 0;
		if (!get(place, keywords[i].keyword, keywords[i].drafts, keywords[i].vocabulary, &values[i]))
			continue;
		if (values[i].type != JS_OBJECT)
			bad(place, keywords[i].keyword, "must be an object");
		n += values[i].len;
	}
	if (n == 0)
		return;
	rules->dependencies = js_keep(place->cs, n * sizeof(JsDependency));
	for (int i = 0; i < lengthof(keywords); i++)
	{
		JsPath		path = {place->path, keywords[i].keyword, (int) strlen(keywords[i].keyword), 0};
		JsPath		below = {&path, NULL, 0, 0};
		JsMembers	members;
		JsString	key;
		JsValue		child;

		if (values[i].len == 0)
			continue;
		JsMembersBegin(&values[i], &members);
		while (JsMembersNext(&members, &key, &child))
		{
			below.name = key.data;
			below.len = key.len;
			compile_dependency(place, keywords[i].keyword, &key, &child, &below, rules);
		}
	}
}

static void
compile_object(Place *place)
{
	JsObjectRules rules = {0};
	JsValue		value;

	rules.min_properties = get_count(place, "minProperties", JS_ALL_DRAFTS);
	rules.max_properties = get_count(place, "maxProperties", JS_ALL_DRAFTS);
	compile_properties(place, &rules);
	if (get(place, "patternProperties", JS_ALL_DRAFTS, JS_VOCAB_APPLICATOR, &value))
	{
		JsPath		path = {place->path, "patternProperties", 17, 0};
		JsPath		below = {&path, NULL, 0, 0};
		JsMembers	members;
		JsString	key;
		JsValue		child;

		if (value.type != JS_OBJECT)
			bad(place, "patternProperties", "must be an object");
		rules.patterns = js_keep(place->cs, Max(value.len, 1) * sizeof(JsPatternProperty));
		JsMembersBegin(&value, &members);
		while (JsMembersNext(&members, &key, &child))
		{
			JsPatternProperty *property = &rules.patterns[rules.npatterns++];

			below.name = key.data;
			below.len = key.len;
			property->pattern = key;
			property->regex = pattern(place, &below, key.data, key.len);
			property->node = compile(place->cs, place->resource, &child, place->prefix, &below);
		}
	}
	rules.additional = get_schema(place, "additionalProperties", JS_ALL_DRAFTS, JS_VOCAB_APPLICATOR);
	rules.names = get_schema(place, "propertyNames", JS_SINCE6, JS_VOCAB_APPLICATOR);
	compile_dependencies(place, &rules);

	rules.members = rules.nproperties > 0 || rules.npatterns > 0 || rules.additional ||
		rules.names;
	if (rules.min_properties > 0 || rules.max_properties >= 0 || rules.members ||
		rules.ndependencies > 0)
	{
		place->node->object = js_keep(place->cs, sizeof(rules));
		*place->node->object = rules;
	}
}

/* The node that a reference leads to; NULL if it leads nowhere and the options allow that. */
static JsNode *
compile_reference(Place *place, const char *keyword, const JsValue *value, JsTarget *target)
{
	JsPath		path = {place->path, keyword, (int) strlen(keyword), 0};
	bool		no_document;

	if (value->type != JS_STRING)
		bad(place, keyword, "must be a string");
	if (!JsResolve(place->cs, place->resource, JsCString(value), target, &no_document))
	{
		if (no_document && place->cs->options->defer_references)
		{
			place->cs->schema->deferred = true;
			return NULL;
		}
		JsFault(place->cs->schema->errcodes.unresolved, place->resource, JsPointer(place->prefix, &path),
				no_document ?
				"The reference %s leads to no schema: none of that URI is in the schema or registered." :
				"The reference %s leads to no schema.",
				JsQuote(value->u.string, value->len));
	}
	return compile(place->cs, target->resource, &target->schema, target->pointer, NULL);
}

static void
add_dynamic_name(JsCompiler *cs, const char *name)
{
	ListCell   *lc;

	foreach(lc, cs->dynamic_names)
	{
		if (strcmp((char *) lfirst(lc), name) == 0)
			return;
	}
	cs->dynamic_names = lappend(cs->dynamic_names, unconstify(char *, name));
}

static void
compile_references(Place *place)
{
	JsValue		value;
	JsTarget	target;
	JsNode	   *node;
	JsOp	   *op;

	if (get(place, "$ref", JS_ALL_DRAFTS, JS_VOCAB_CORE, &value))
	{
		node = compile_reference(place, "$ref", &value, &target);
		if (node != NULL)
		{
			op = add_op(place, JS_OP_REF);
			op->u.node = node;
		}
	}
	if (get(place, "$dynamicRef", JS_DRAFT2020, JS_VOCAB_CORE, &value))
	{
		node = compile_reference(place, "$dynamicRef", &value, &target);
		if (node != NULL)
		{
			op = add_op(place, JS_OP_DYNAMIC_REF);
			op->u.node = node;
			if (target.anchor != NULL && target.anchor->dynamic)
			{
				op->anchor = target.anchor->name;
				add_dynamic_name(place->cs, op->anchor);
			}
		}
	}
	if (get(place, "$recursiveRef", JS_DRAFT2019, JS_VOCAB_CORE, &value))
	{
		node = compile_reference(place, "$recursiveRef", &value, &target);
		if (node != NULL)
		{
			op = add_op(place, JS_OP_RECURSIVE_REF);
			op->u.node = node;
			/* n is not 0 where the outermost $recursiveAnchor decides */
			op->n = target.resource->recursive_anchor &&
				target.schema.u.container == target.resource->root.u.container;
			place->cs->recursive |= op->n != 0;
		}
	}
}

static void
compile_in_place(Place *place)
{
	JsNode	  **nodes;
	JsNode	   *node;
	JsOp	   *op;
	int			n;

	if ((n = get_schemas(place, "allOf", JS_ALL_DRAFTS, &nodes)) > 0)
	{
		op = add_op(place, JS_OP_ALL_OF);
		op->n = n;
		op->u.nodes = nodes;
	}
	if ((n = get_schemas(place, "anyOf", JS_ALL_DRAFTS, &nodes)) > 0)
	{
		op = add_op(place, JS_OP_ANY_OF);
		op->n = n;
		op->u.nodes = nodes;
	}
	if ((n = get_schemas(place, "oneOf", JS_ALL_DRAFTS, &nodes)) > 0)
	{
		op = add_op(place, JS_OP_ONE_OF);
		op->n = n;
		op->u.nodes = nodes;
	}
	node = get_schema(place, "not", JS_ALL_DRAFTS, JS_VOCAB_APPLICATOR);
	if (node != NULL)
	{
		op = add_op(place, JS_OP_NOT);
		op->u.node = node;
	}
	node = get_schema(place, "if", JS_SINCE7, JS_VOCAB_APPLICATOR);
	if (node != NULL)
	{
		op = add_op(place, JS_OP_IF);
		op->u.nodes = js_keep(place->cs, 3 * sizeof(JsNode *));
		op->u.nodes[0] = node;
		op->u.nodes[1] = get_schema(place, "then", JS_SINCE7, JS_VOCAB_APPLICATOR);
		op->u.nodes[2] = get_schema(place, "else", JS_SINCE7, JS_VOCAB_APPLICATOR);
	}
}

static void
compile_child(void *arg, const JsValue *schema, const JsPath *path)
{
	Place	   *place = (Place *) arg;

	compile(place->cs, place->resource, schema, place->prefix, path);
}

static JsNode *
compile(JsCompiler *cs, JsResource *resource, const JsValue *schema, const char *prefix,
		const JsPath *path)
{
	Place		place = {0};
	NodeEntry  *entry;
	JsNode	   *node;
	JsValue		value;
	bool		found;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (schema->type == JS_BOOLEAN)
		return schema->boolean ? &always_node : &never_node;
	if (schema->type != JS_OBJECT)
		JsFault(cs->schema->errcodes.invalid, resource, JsPointer(prefix, path),
				"A schema must be an object or a boolean.");

	entry = hash_search(cs->nodes, &schema->u.container, HASH_ENTER, &found);
	if (found)
		return entry->node;
	node = entry->node = js_keep(cs, sizeof(JsNode));
	cs->nnodes++;
	node->types = JS_ANY;

	resource = JsEnter(cs, resource, schema, JsPointer(prefix, path));
	node->resource = resource;
	place.cs = cs;
	place.resource = resource;
	place.dialect = resource->dialect;
	place.schema = schema;
	place.node = node;
	place.prefix = prefix;
	place.path = path;

	if ((place.dialect->draft & JS_UNTIL7) && JsMember(schema, "$ref", 4, &value))
		compile_references(&place);	/* in these drafts its siblings mean nothing */
	else
	{
		compile_type(&place);
		compile_number(&place);
		compile_string(&place);
		compile_array(&place);
		compile_object(&place);
		compile_const_enum(&place);
		compile_references(&place);
		compile_in_place(&place);
		node->unevaluated_items = get_schema(&place, "unevaluatedItems", JS_SINCE2019,
											 JS_VOCAB_UNEVALUATED);
		node->unevaluated_properties = get_schema(&place, "unevaluatedProperties", JS_SINCE2019,
												  JS_VOCAB_UNEVALUATED);
		node->tracked = node->unevaluated_items != NULL || node->unevaluated_properties != NULL;
	}
	if (node->nops > 0)
	{
		node->ops = js_keep(cs, node->nops * sizeof(JsOp));
		memcpy(node->ops, place.ops, node->nops * sizeof(JsOp));
	}
	node->always = node->types == JS_ANY && !node->nops && !node->number && !node->string &&
		!node->array && !node->object && !node->tracked;
	if (!resource->document->foreign)
		JsForEachSubschema(place.dialect, schema, path, compile_child, &place);
	return node;
}

/*
 * Compile everything that $dynamicRef and $recursiveRef may lead to, in all resources that are
 * known. This may make further resources known, so it is repeated until nothing is new.
 */
static void
compile_dynamic_targets(JsCompiler *cs)
{
	bool		again;

	do
	{
		again = false;
		for (JsResource *resource = cs->resources; resource != NULL; resource = resource->next)
		{
			if (cs->recursive && resource->recursive_anchor && resource->node == NULL)
			{
				resource->node = compile(cs, resource, &resource->root, resource->pointer, NULL);
				again = true;
			}
			for (JsAnchor *anchor = resource->anchors; anchor != NULL; anchor = anchor->next)
			{
				ListCell   *lc;

				CHECK_FOR_INTERRUPTS();
				if (!anchor->dynamic || anchor->node != NULL)
					continue;
				foreach(lc, cs->dynamic_names)
				{
					if (strcmp((char *) lfirst(lc), anchor->name) != 0)
						continue;
					anchor->node = compile(cs, resource, &anchor->schema, anchor->pointer, NULL);
					again = true;
					break;
				}
			}
		}
	} while (again);
}

static HTAB *
create_table(const char *name, Size entry, MemoryContext context)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(void *);
	ctl.entrysize = entry;
	ctl.hcxt = context;
	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Raise an error unless a resource conforms to the metaschema of its dialect. */
static void
check_metaschema(JsCompiler *cs, const JsResource *resource)
{
	const JsDialect *dialect = resource->dialect;
	static JsonSchema *shipped[5];
	JsonSchemaOptions options = {0};
	JsonSchema *metaschema = NULL;
	Jsonb	   *jsonb;
	List	   *violations;
	int			slot = 0;
	JsonSchemaViolation *first;
	StringInfoData detail;
	ListCell   *lc;

	options.formats = JSONSCHEMA_FORMATS_NEVER;
	options.errcodes = cs->schema->errcodes;
	if (dialect->shipped)
	{
		while ((1 << slot) != dialect->draft)
			slot++;
		metaschema = shipped[slot];
	}
	else
	{
		options.loader = cs->options->loader;
		options.loader_arg = cs->options->loader_arg;
	}
	if (metaschema == NULL)
	{
		options.uri = dialect->metaschema;
		jsonb = JsMetaschema(dialect->metaschema);
		if (jsonb == NULL)
			jsonb = cs->options->loader(cs->options->loader_arg, dialect->metaschema);
		if (jsonb == NULL || jsonb == resource->document->jsonb)
			return;
		metaschema = JsonSchemaCompile(jsonb, &options,
									   dialect->shipped ? TopMemoryContext : CurrentMemoryContext);
		if (dialect->shipped)
			shipped[slot] = metaschema;
	}
	violations = JsResourceViolations(metaschema, cs, resource, 20);
	if (!dialect->shipped)
		JsonSchemaFree(metaschema);
	if (violations == NIL)
		return;

	initStringInfo(&detail);
	foreach(lc, violations)
	{
		JsonSchemaViolation *violation = (JsonSchemaViolation *) lfirst(lc);
		char	   *line;

		violation->instance_path = psprintf("%s%s", resource->pointer, violation->instance_path);
		line = psprintf("%s: %s\n", violation->instance_path[0] != '\0' ?
						violation->instance_path : "the schema", violation->message);

		/* The metaschemas of several vocabularies may report the same. */
		if (strstr(detail.data, line) == NULL)
			appendStringInfoString(&detail, line);
	}
	detail.data[--detail.len] = '\0';
	first = (JsonSchemaViolation *) linitial(violations);
	ereport(ERROR,
			(errcode(cs->schema->errcodes.invalid),
			 first->instance_path[0] != '\0' ?
			 errmsg("invalid JSON Schema at \"%s\"", first->instance_path) :
			 errmsg("invalid JSON Schema"),
			 errdetail_internal("%s", detail.data)));
}

/* What a schema keeps of the options, with the defaults of what is 0. */
static void
take_options(JsonSchema *schema, const JsonSchemaOptions *options)
{
	const JsonSchemaErrcodes *codes = &options->errcodes;

	schema->errcodes.invalid = codes->invalid != 0 ? codes->invalid :
		ERRCODE_INVALID_PARAMETER_VALUE;
	schema->errcodes.unresolved = codes->unresolved != 0 ? codes->unresolved :
		ERRCODE_UNDEFINED_OBJECT;
	schema->errcodes.limit = codes->limit != 0 ? codes->limit : ERRCODE_PROGRAM_LIMIT_EXCEEDED;
	schema->steps = options->steps > 0 ? options->steps : JSONSCHEMA_STEPS;
	schema->steps_a_byte = options->steps_a_byte > 0 ? options->steps_a_byte :
		JSONSCHEMA_STEPS_A_BYTE;
}

JsonSchema *
JsonSchemaCompile(const Jsonb *schema, const JsonSchemaOptions *options, MemoryContext parent)
{
	MemoryContext context,
				work,
				before;
	JsonSchema *result;
	JsCompiler	cs = {0};
	Jsonb	   *copy;
	JsDocument *document;
	bool		is_metaschema;

	/* After an error both are deleted together with CurrentMemoryContext. */
	context = AllocSetContextCreate(CurrentMemoryContext, "JSON Schema", ALLOCSET_SMALL_SIZES);
	work = AllocSetContextCreate(CurrentMemoryContext, "JSON Schema compilation",
								 ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(work);
	result = MemoryContextAllocZero(context, sizeof(JsonSchema));
	result->context = context;
	take_options(result, options);
	cs.schema = result;
	cs.options = options;
	cs.nodes = create_table("JSON Schema nodes", sizeof(NodeEntry), work);
	cs.resource_roots = create_table("JSON Schema resources", 2 * sizeof(void *), work);
	copy = js_keep(&cs, VARSIZE(schema));
	memcpy(copy, schema, VARSIZE(schema));

	is_metaschema = options->uri != NULL && JsMetaschema(options->uri) != NULL;
	document = JsAddDocument(&cs, options->uri != NULL ? options->uri : "", copy, NULL, is_metaschema);
	if (!is_metaschema)
	{
		check_metaschema(&cs, document->resource);
		for (JsResource *resource = cs.resources; resource != NULL; resource = resource->next)
			if (resource->document == document && resource != document->resource)
				check_metaschema(&cs, resource);
	}
	result->root = compile(&cs, document->resource, &document->resource->root, "", NULL);
	compile_dynamic_targets(&cs);
	result->dynamic = cs.recursive || cs.dynamic_names != NIL;
	result->max_in_place = (int) Min((int64) (cs.nnodes + 1) * (cs.nresources + 1), PG_INT32_MAX);

	MemoryContextSwitchTo(before);
	MemoryContextDelete(work);
	MemoryContextSetParent(context, parent);
	return result;
}

void
JsonSchemaFree(JsonSchema *schema)
{
	MemoryContextDelete(schema->context);
}

Size
JsonSchemaSize(const JsonSchema *schema)
{
	return MemoryContextMemAllocated(schema->context, true);
}

bool
JsonSchemaUsedLoader(const JsonSchema *schema)
{
	return schema->used_loader;
}
