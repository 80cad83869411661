/*-------------------------------------------------------------------------
 *
 * jsonschema/ref.c
 *	  JSON Schema: documents, identifiers, and what references lead to.
 *
 *  1. A document is the schema itself, a shipped metaschema, or something
 *     that the loader returned.  It is scanned once for $id, $anchor and their
 *     kin, at the places where keywords of its dialect have subschemas.
 *  2. A resource is the root of a document, or a schema with an $id.  It has
 *     a URI, a dialect, and anchors.
 *  3. A JSON Pointer may lead through an embedded resource.  It may also lead
 *     to a place where no keyword has a schema; such a schema is scanned when
 *     it is referred to (JsEnter).
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/ref.c
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

#define MAX_METASCHEMAS	8		/* in a row, each the metaschema of the one before */

typedef struct RootEntry
{
	const JsonbContainer *container;	/* key */
	JsResource *resource;		/* NULL if the schema was scanned and is no root */
} RootEntry;

typedef struct ScanState
{
	JsCompiler *cs;
	JsResource *resource;
	const char *prefix;
	bool		late;			/* by JsEnter: what is known already wins */
} ScanState;

typedef struct Metaschema
{
	struct Metaschema *next;
	const char *uri;
	Jsonb	   *jsonb;
} Metaschema;

static const JsDialect dialects[] = {
	{JS_DRAFT4, JS_VOCAB_ALL, true, "http://json-schema.org/draft-04/schema", true},
	{JS_DRAFT6, JS_VOCAB_ALL, true, "http://json-schema.org/draft-06/schema", true},
	{JS_DRAFT7, JS_VOCAB_ALL, true, "http://json-schema.org/draft-07/schema", true},
	{JS_DRAFT2019, JS_VOCAB_ALL, false, "https://json-schema.org/draft/2019-09/schema", true},
	{JS_DRAFT2020, JS_VOCAB_ALL, false, "https://json-schema.org/draft/2020-12/schema", true},
};

static const struct
{
	const char *uri;
	uint8		vocabularies;
}			vocabularies[] =
{
	{"https://json-schema.org/draft/2019-09/vocab/core", JS_VOCAB_CORE},
	{"https://json-schema.org/draft/2019-09/vocab/applicator", JS_VOCAB_APPLICATOR | JS_VOCAB_UNEVALUATED},
	{"https://json-schema.org/draft/2019-09/vocab/validation", JS_VOCAB_VALIDATION},
	{"https://json-schema.org/draft/2019-09/vocab/meta-data", JS_VOCAB_OTHER},
	{"https://json-schema.org/draft/2019-09/vocab/format", JS_VOCAB_FORMAT},
	{"https://json-schema.org/draft/2019-09/vocab/content", JS_VOCAB_OTHER},
	{"https://json-schema.org/draft/2020-12/vocab/core", JS_VOCAB_CORE},
	{"https://json-schema.org/draft/2020-12/vocab/applicator", JS_VOCAB_APPLICATOR},
	{"https://json-schema.org/draft/2020-12/vocab/unevaluated", JS_VOCAB_UNEVALUATED},
	{"https://json-schema.org/draft/2020-12/vocab/validation", JS_VOCAB_VALIDATION},
	{"https://json-schema.org/draft/2020-12/vocab/meta-data", JS_VOCAB_OTHER},
	{"https://json-schema.org/draft/2020-12/vocab/format-annotation", JS_VOCAB_FORMAT},
	{"https://json-schema.org/draft/2020-12/vocab/format-assertion", JS_VOCAB_FORMAT},
	{"https://json-schema.org/draft/2020-12/vocab/content", JS_VOCAB_OTHER},
};

/* The shipped metaschemas that were needed so far, as jsonb, for the life of the backend. */
static Metaschema *metaschemas = NULL;

static void scan(ScanState *state, const JsValue *schema, const JsPath *path);

/*
 * Raise an error: something is wrong with a schema, at pointer in the resource's document.  The
 * document is the schema itself if resource is NULL.
 */
void
JsFault(int sqlerrcode, const JsResource *resource, const char *pointer, const char *fmt,...)
{
	StringInfoData detail;
	bool		foreign = resource != NULL && resource->document->foreign;

	initStringInfo(&detail);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, fmt);
		needed = appendStringInfoVA(&detail, fmt, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&detail, needed);
	}
	if (foreign)
		ereport(ERROR,
				(errcode(sqlerrcode),
				 errmsg("invalid JSON Schema at \"%s#%s\"", resource->document->uri, pointer),
				 errdetail_internal("%s", detail.data)));
	ereport(ERROR,
			(errcode(sqlerrcode),
			 pointer[0] != '\0' ? errmsg("invalid JSON Schema at \"%s\"", pointer) :
			 errmsg("invalid JSON Schema"),
			 errdetail_internal("%s", detail.data)));
}

/* The spelling of a URI of json-schema.org that we know it by: both http and https are in use. */
static const char *
known_spelling(const char *uri)
{
	if (strncmp(uri, "https://json-schema.org/draft-0", 31) == 0)
		return psprintf("http%s", uri + 5);
	if (strncmp(uri, "http://json-schema.org/draft/20", 31) == 0)
		return psprintf("https%s", uri + 4);
	return uri;
}

/*
 * A shipped metaschema as jsonb, which stays for the life of the backend; NULL if uri is of none.
 */
Jsonb *
JsMetaschema(const char *uri)
{
	const char *text;
	Metaschema *entry;
	MemoryContext before;
	Jsonb	   *jsonb;

	for (entry = metaschemas; entry != NULL; entry = entry->next)
	{
		if (strcmp(entry->uri, uri) == 0)
			return entry->jsonb;
	}
	text = JsMetaschemaText(uri);
	if (text == NULL)
		return NULL;

	jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	before = MemoryContextSwitchTo(TopMemoryContext);
	entry = palloc(sizeof(Metaschema));
	entry->uri = pstrdup(uri);
	entry->jsonb = (Jsonb *) palloc(VARSIZE(jsonb));
	memcpy(entry->jsonb, jsonb, VARSIZE(jsonb));
	MemoryContextSwitchTo(before);
	entry->next = metaschemas;
	metaschemas = entry;
	return entry->jsonb;
}

/* The dialect of a shipped metaschema, by its URI; NULL if uri is of none. */
static const JsDialect *
shipped_dialect(const char *uri)
{
	for (int i = 0; i < lengthof(dialects); i++)
	{
		if (strcmp(dialects[i].metaschema, uri) == 0)
			return &dialects[i];
	}
	return NULL;
}

static const JsDialect *
dialect_of_draft(int draft)
{
	switch (draft)
	{
		case 4:
			return &dialects[0];
		case 6:
			return &dialects[1];
		case 7:
			return &dialects[2];
		case 2019:
			return &dialects[3];
		default:
			return &dialects[4];
	}
}

static Jsonb *
load(JsCompiler *cs, const char *uri)
{
	Jsonb	   *jsonb = JsMetaschema(uri);
	Jsonb	   *copy;

	if (jsonb != NULL)
		return jsonb;
	if (cs->options->loader == NULL)
		return NULL;
	cs->schema->used_loader = true;
	jsonb = cs->options->loader(cs->options->loader_arg, uri);
	if (jsonb == NULL)
		return NULL;
	copy = js_keep(cs, VARSIZE(jsonb));
	memcpy(copy, jsonb, VARSIZE(jsonb));
	return copy;
}

/* The dialect that is defined by a metaschema which is not shipped. */
static const JsDialect *
custom_dialect(JsCompiler *cs, const char *uri, const char *where)
{
	Jsonb	   *jsonb = load(cs, uri);
	JsDialect  *dialect = js_keep(cs, sizeof(JsDialect));
	const JsDialect *base;
	JsValue		root,
				value,
				required;
	JsMembers	members;
	JsString	key;

	if (jsonb == NULL)
		JsFault(cs->schema->errcodes.unresolved, NULL, where,
				"The metaschema \"%s\" is not known: it is none of drafts 4, 6, 7, 2019-09 and 2020-12, and it is not registered.",
				uri);
	if (++cs->metaschemas > MAX_METASCHEMAS)
		JsFault(cs->schema->errcodes.invalid, NULL, where,
				"The metaschema \"%s\" leads to no draft of JSON Schema.", uri);
	JsRoot(jsonb, &root);
	base = JsDialectOf(cs, &root, NULL, where);
	cs->metaschemas--;
	*dialect = *base;
	dialect->metaschema = MemoryContextStrdup(cs->schema->context, uri);
	dialect->shipped = false;
	if (!(base->draft & JS_SINCE2019) || root.type != JS_OBJECT ||
		!JsMember(&root, "$vocabulary", 11, &value) || value.type != JS_OBJECT)
		return dialect;

	dialect->vocabularies = JS_VOCAB_CORE;
	dialect->assert_formats = false;
	JsMembersBegin(&value, &members);
	while (JsMembersNext(&members, &key, &required))
	{
		char	   *name = pnstrdup(key.data, key.len);
		bool		wanted = required.type == JS_BOOLEAN && required.boolean;
		int			i;

		for (i = 0; i < lengthof(vocabularies); i++)
		{
			if (strcmp(vocabularies[i].uri, name) == 0)
				break;
		}
		if (i < lengthof(vocabularies))
		{
			dialect->vocabularies |= vocabularies[i].vocabularies;
			if (strstr(name, "/vocab/format-assertion") != NULL ||
				(wanted && strcmp(name, "https://json-schema.org/draft/2019-09/vocab/format") == 0))
				dialect->assert_formats = true;
		}
		else if (wanted)
			JsFault(cs->schema->errcodes.invalid, NULL, where,
					"The metaschema \"%s\" requires the vocabulary \"%s\", which is not known.",
					uri, name);
	}
	return dialect;
}

/*
 * The dialect of the root of a document or resource.  If it has no $schema, it inherits the
 * dialect of what is around it or refers to it.  where is its JSON Pointer, for messages.
 */
const JsDialect *
JsDialectOf(JsCompiler *cs, const JsValue *root, const JsDialect *inherited, const char *where)
{
	const JsDialect *dialect;
	const char *uri;
	JsValue		value;

	if (root->type != JS_OBJECT || !JsMember(root, "$schema", 7, &value) || value.type != JS_STRING)
		return inherited != NULL ? inherited : dialect_of_draft(cs->options->draft);

	uri = known_spelling(JsUriResolve(NULL, JsCString(&value), NULL));
	dialect = shipped_dialect(uri);
	if (dialect != NULL)
		return dialect;
	if (inherited != NULL && strcmp(inherited->metaschema, uri) == 0)
		return inherited;
	return custom_dialect(cs, uri, psprintf("%s/$schema", where));
}

static RootEntry *
root_entry(JsCompiler *cs, const JsValue *schema, HASHACTION action, bool *found)
{
	return hash_search(cs->resource_roots, &schema->u.container, action, found);
}

/* The resource whose root the schema is, or NULL. */
JsResource *
JsResourceAt(JsCompiler *cs, const JsValue *schema)
{
	RootEntry  *entry;

	if (schema->type != JS_OBJECT)
		return NULL;
	entry = root_entry(cs, schema, HASH_FIND, NULL);
	return entry != NULL ? entry->resource : NULL;
}

static JsResource *
find_resource(JsCompiler *cs, const char *uri)
{
	for (JsResource *resource = cs->resources; resource != NULL; resource = resource->next)
	{
		if (strcmp(resource->uri, uri) == 0)
			return resource;
	}
	for (JsDocument *document = cs->documents; document != NULL; document = document->next)
	{
		if (strcmp(document->uri, uri) == 0)
			return document->resource;
	}
	return NULL;
}

static JsResource *
add_resource(JsCompiler *cs, const JsDocument *document, const char *uri, const JsDialect *dialect,
			 const JsValue *root, const char *pointer)
{
	JsResource *resource = js_keep(cs, sizeof(JsResource));
	JsResource *same = cs->resources;

	resource->uri = MemoryContextStrdup(cs->schema->context, uri);
	resource->document = document;
	resource->dialect = dialect;
	resource->root = *root;
	resource->pointer = MemoryContextStrdup(cs->schema->context, pointer);
	/* Where several resources have one URI, the first one is to be found. */
	while (same != NULL && strcmp(same->uri, uri) != 0)
		same = same->next;
	resource->next = same != NULL ? same->next : cs->resources;
	if (same != NULL)
		same->next = resource;
	else
		cs->resources = resource;
	cs->nresources++;
	return resource;
}

static void
add_anchor(ScanState *state, JsResource *resource, const char *name, bool dynamic,
		   const JsValue *schema, const char *pointer)
{
	JsCompiler *cs = state->cs;
	JsAnchor   *anchor;

	for (anchor = resource->anchors; anchor != NULL; anchor = anchor->next)
	{
		if (strcmp(anchor->name, name) != 0)
			continue;
		if (anchor->schema.u.container == schema->u.container)
		{
			anchor->dynamic |= dynamic;
			return;
		}
		if (state->late)
			return;
		JsFault(cs->schema->errcodes.invalid, resource, pointer,
				"The anchor \"%s\" is also at \"%s\".", name, anchor->pointer);
	}
	anchor = js_keep(cs, sizeof(JsAnchor));
	anchor->name = MemoryContextStrdup(cs->schema->context, name);
	anchor->dynamic = dynamic;
	anchor->schema = *schema;
	anchor->pointer = MemoryContextStrdup(cs->schema->context, pointer);
	anchor->next = resource->anchors;
	resource->anchors = anchor;
}

/* Get a schema's $id, or id in draft 4.  Up to draft 7 it means nothing beside a $ref. */
static bool
has_id(const JsDialect *dialect, const JsValue *schema, JsValue *id)
{
	JsValue		ref;

	if ((dialect->draft & JS_UNTIL7) && JsMember(schema, "$ref", 4, &ref))
		return false;
	return (dialect->draft == JS_DRAFT4 ? JsMember(schema, "id", 2, id) :
			JsMember(schema, "$id", 3, id)) && id->type == JS_STRING;
}

/* Note a schema's $anchor and its kin. */
static void
scan_anchors(ScanState *state, JsResource *resource, const JsValue *schema, const char *pointer)
{
	uint8		draft = resource->dialect->draft;
	JsValue		value;

	if ((draft & JS_SINCE2019) && JsMember(schema, "$anchor", 7, &value) && value.type == JS_STRING)
		add_anchor(state, resource, JsCString(&value), false, schema, pointer);
	if ((draft & JS_DRAFT2020) && JsMember(schema, "$dynamicAnchor", 14, &value) &&
		value.type == JS_STRING)
		add_anchor(state, resource, JsCString(&value), true, schema, pointer);
	if ((draft & JS_DRAFT2019) && schema->u.container == resource->root.u.container &&
		JsMember(schema, "$recursiveAnchor", 16, &value) && value.type == JS_BOOLEAN)
		resource->recursive_anchor = value.boolean;
}

static void
scan_child(void *arg, const JsValue *schema, const JsPath *path)
{
	scan((ScanState *) arg, schema, path);
}

/* Note what identifies a schema and the subschemas below it. */
static void
scan(ScanState *state, const JsValue *schema, const JsPath *path)
{
	JsCompiler *cs = state->cs;
	JsResource *outer = state->resource;
	const JsDialect *dialect = outer->dialect;
	const char *pointer;
	JsValue		id;
	RootEntry  *entry;
	bool		found;

	if (schema->type != JS_OBJECT)
		return;
	check_stack_depth();
	entry = root_entry(cs, schema, HASH_ENTER, &found);
	if (found)
		return;
	entry->resource = NULL;
	pointer = JsPointer(state->prefix, path);

	/* An embedded resource may be of another draft. */
	if (JsMember(schema, "$schema", 7, &id) && id.type == JS_STRING)
	{
		const JsDialect *other = JsDialectOf(cs, schema, dialect, pointer);

		if (has_id(other, schema, &id))
			dialect = other;
	}
	if (has_id(dialect, schema, &id))
	{
		char	   *text = JsCString(&id);
		char	   *fragment;
		char	   *uri = JsUriResolve(outer->uri, text, &fragment);
		JsResource *inner = outer;

		if (!JsFormatUriReference(text, (int) strlen(text)))
			JsFault(cs->schema->errcodes.invalid, outer,
					psprintf("%s/%s", pointer, dialect->draft == JS_DRAFT4 ? "id" : "$id"),
					"\"%s\" is no URI reference.", text);
		if (text[0] != '#')
		{
			JsResource *same = find_resource(cs, uri);

			if (same != NULL && !state->late && strcmp(uri, outer->uri) != 0 &&
				same->document == outer->document && JsCompare(&same->root, schema) != 0)
				JsFault(cs->schema->errcodes.invalid, outer, pointer,
						"The schema at \"%s\" has the same URI, \"%s\".", same->pointer, uri);
			inner = add_resource(cs, outer->document, uri, dialect, schema, pointer);
			root_entry(cs, schema, HASH_FIND, NULL)->resource = inner;
		}
		if ((dialect->draft & JS_UNTIL7) && fragment != NULL && fragment[0] != '\0' &&
			fragment[0] != '/')
			add_anchor(state, inner, fragment, false, schema, pointer);
		state->resource = inner;
	}
	scan_anchors(state, state->resource, schema, pointer);
	JsForEachSubschema(state->resource->dialect, schema, path, scan_child, state);
	state->resource = outer;
}

/*
 * Add a document, whose jsonb must stay.  If it has no $schema, it is of the dialect that it
 * inherits or, where inherited is NULL, of the one that the options say.
 */
JsDocument *
JsAddDocument(JsCompiler *cs, const char *uri, Jsonb *jsonb, const JsDialect *inherited,
			  bool foreign)
{
	JsDocument *document = js_keep(cs, sizeof(JsDocument));
	ScanState	state = {cs, NULL, "", foreign};
	const JsDialect *dialect;
	JsValue		root,
				id;
	char	   *base = unconstify(char *, uri);
	char	   *fragment = NULL;
	bool		found;

	document->uri = MemoryContextStrdup(cs->schema->context, uri);
	document->jsonb = jsonb;
	document->foreign = foreign;
	JsRoot(jsonb, &root);
	dialect = JsDialectOf(cs, &root, inherited, "");
	if (root.type == JS_OBJECT && has_id(dialect, &root, &id))
	{
		char	   *text = JsCString(&id);

		if (!JsFormatUriReference(text, (int) strlen(text)))
			ereport(ERROR,
					(errcode(cs->schema->errcodes.invalid),
					 errmsg("invalid JSON Schema at \"/%s\"", dialect->draft == JS_DRAFT4 ? "id" : "$id"),
					 errdetail("\"%s\" is no URI reference.", text)));
		base = JsUriResolve(uri, text, &fragment);
	}
	document->resource = add_resource(cs, document, base, dialect, &root, "");
	document->next = cs->documents;
	cs->documents = document;
	if (root.type != JS_OBJECT)
		return document;

	state.resource = document->resource;
	root_entry(cs, &root, HASH_ENTER, &found)->resource = document->resource;
	if ((dialect->draft & JS_UNTIL7) && fragment != NULL && fragment[0] != '\0' && fragment[0] != '/')
		add_anchor(&state, document->resource, fragment, false, &root, "");
	scan_anchors(&state, document->resource, &root, "");
	JsForEachSubschema(dialect, &root, NULL, scan_child, &state);
	return document;
}

/*
 * The resource that a schema belongs to: resource, which is around it, unless the schema is the
 * root of another one.  A schema that was not scanned together with its document is scanned now.
 */
JsResource *
JsEnter(JsCompiler *cs, JsResource *resource, const JsValue *schema, const char *pointer)
{
	ScanState	state = {cs, resource, pointer, true};
	RootEntry  *entry;

	entry = root_entry(cs, schema, HASH_FIND, NULL);
	if (entry == NULL)
	{
		scan(&state, schema, NULL);
		entry = root_entry(cs, schema, HASH_FIND, NULL);
	}
	return entry->resource != NULL ? entry->resource : resource;
}

/* Follow a JSON Pointer from the root of a resource.  Its escapes of URIs were decoded before. */
static bool
follow(JsCompiler *cs, const char *pointer, JsTarget *target)
{
	const char *p = pointer;

	while (*p == '/')
	{
		const char *end = strchr(p + 1, '/');
		StringInfoData token;
		JsValue		next;
		JsResource *resource;

		if (end == NULL)
			end = p + strlen(p);
		initStringInfo(&token);
		for (const char *q = p + 1; q < end; q++)
		{
			if (q[0] == '~' && (q[1] == '0' || q[1] == '1'))
			{
				appendStringInfoChar(&token, q[1] == '0' ? '~' : '/');
				q++;
			}
			else if (q[0] == '~')
				return false;
			else
				appendStringInfoChar(&token, *q);
		}
		if (target->schema.type == JS_OBJECT)
		{
			if (!JsMember(&target->schema, token.data, token.len, &next))
				return false;
		}
		else if (target->schema.type == JS_ARRAY)
		{
			if (token.len == 0 || token.len > 9 || strspn(token.data, "0123456789") != token.len ||
				(token.len > 1 && token.data[0] == '0') ||
				!JsItem(&target->schema, atoi(token.data), &next))
				return false;
		}
		else
			return false;
		target->schema = next;
		resource = JsResourceAt(cs, &next);
		if (resource != NULL)
			target->resource = resource;
		p = end;
	}
	return *p == '\0';
}

/*
 * Find what a reference in the resource base leads to.  Returns false if it leads nowhere;
 * *no_document is true if that is because there is no document of its URI.
 */
bool
JsResolve(JsCompiler *cs, JsResource *base, const char *reference, JsTarget *target,
		  bool *no_document)
{
	char	   *fragment;
	const char *uri = JsUriResolve(base->uri, reference, &fragment);
	JsResource *resource = find_resource(cs, uri);

	*no_document = false;
	if (resource == NULL)
	{
		Jsonb	   *jsonb;

		uri = known_spelling(uri);
		resource = find_resource(cs, uri);
		if (resource == NULL)
		{
			jsonb = load(cs, uri);
			if (jsonb == NULL)
			{
				*no_document = true;
				return false;
			}
			resource = JsAddDocument(cs, uri, jsonb, base->dialect, true)->resource;
		}
	}

	target->resource = resource;
	target->schema = resource->root;
	target->pointer = resource->pointer;
	target->anchor = NULL;
	if (fragment == NULL || fragment[0] == '\0')
		return true;
	if (fragment[0] == '/')
	{
		target->pointer = psprintf("%s%s", resource->pointer, fragment);
		return follow(cs, fragment, target);
	}
	for (JsAnchor *anchor = resource->anchors; anchor != NULL; anchor = anchor->next)
	{
		if (strcmp(anchor->name, fragment) == 0)
		{
			target->schema = anchor->schema;
			target->pointer = anchor->pointer;
			target->anchor = anchor;
			return true;
		}
	}
	return false;
}

char *
JsonSchemaUri(const char *uri)
{
	char	   *fragment;
	char	   *normal;

	if (!JsFormatIriReference(uri, (int) strlen(uri)))
		return NULL;
	normal = JsUriResolve(NULL, uri, &fragment);
	if (normal[0] == '\0' || (fragment != NULL && fragment[0] != '\0'))
		return NULL;
	return normal;
}

bool
JsonSchemaIsShipped(const char *uri)
{
	return JsMetaschemaText(known_spelling(uri)) != NULL;
}

bool
JsonSchemaHasDialect(const Jsonb *schema)
{
	JsValue		root,
				value;

	JsRoot(schema, &root);
	return root.type == JS_OBJECT && JsMember(&root, "$schema", 7, &value);
}
