/*-------------------------------------------------------------------------
 *
 * jsonschema/private.h
 *	  What the files of this folder share.
 *
 * A schema is compiled into nodes (JsNode), one for each subschema.  A node
 * has its keywords grouped by the type of instance that they are about, so
 * that an instance is not compared with keywords that do not concern it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/private.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef JSONSCHEMA_PRIVATE_H
#define JSONSCHEMA_PRIVATE_H

#include "lib/stringinfo.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "jsonschema/jsonschema.h"

/* PostgreSQL 18 has another form of this attribute, which stands before a declaration. */
#ifndef pg_attribute_noreturn
#define pg_attribute_noreturn() __attribute__((noreturn))
#endif

/*-------------------------------------------------------------------------
 * Values (jsonschema/value.c)
 *-------------------------------------------------------------------------
 */

/* Types are bits.  JS_INTEGER occurs only in the set of types that a schema allows. */
#define JS_NULL			(1 << 0)
#define JS_BOOLEAN		(1 << 1)
#define JS_NUMBER		(1 << 2)
#define JS_STRING		(1 << 3)
#define JS_ARRAY		(1 << 4)
#define JS_OBJECT		(1 << 5)
#define JS_INTEGER		(1 << 6)
#define JS_ANY			(JS_NULL | JS_BOOLEAN | JS_NUMBER | JS_STRING | JS_ARRAY | JS_OBJECT)

/* A value inside a jsonb, which it points into. */
typedef struct JsValue
{
	uint8		type;			/* one of the bits */
	bool		boolean;
	int			len;			/* bytes of a string, members of a container */
	union
	{
		const char *string;		/* not terminated */
		Numeric		number;
		const JsonbContainer *container;
	}			u;
} JsValue;

/* A walk through the members of a container, in their order. */
typedef struct JsMembers
{
	const JsonbContainer *container;
	const char *data;
	int			n;
	int			next;			/* of the entries, the next one */
	uint32		key_offset;
	uint32		value_offset;
} JsMembers;

typedef struct JsString
{
	const char *data;
	int			len;
} JsString;

static inline uint32
js_entry_end(JEntry entry, uint32 offset)
{
	return JBE_HAS_OFF(entry) ? JBE_OFFLENFLD(entry) : offset + JBE_OFFLENFLD(entry);
}

/* Set *value to that of an entry whose bytes begin at offset and end at end. */
static inline void
JsFill(const JsonbContainer *container, const char *data, JEntry entry,
	   uint32 offset, uint32 end, JsValue *value)
{
	if (JBE_ISSTRING(entry))
	{
		value->type = JS_STRING;
		value->u.string = data + offset;
		value->len = (int) (end - offset);
	}
	else if (JBE_ISNUMERIC(entry))
	{
		value->type = JS_NUMBER;
		value->u.number = (Numeric) (data + INTALIGN(offset));
		value->len = 0;
	}
	else if (JBE_ISBOOL(entry))
	{
		value->type = JS_BOOLEAN;
		value->boolean = JBE_ISBOOL_TRUE(entry);
		value->u.container = NULL;
		value->len = 0;
	}
	else if (JBE_ISNULL(entry))
	{
		value->type = JS_NULL;
		value->u.container = NULL;
		value->len = 0;
	}
	else
	{
		const JsonbContainer *child = (const JsonbContainer *) (data + INTALIGN(offset));

		value->type = (child->header & JB_FOBJECT) ? JS_OBJECT : JS_ARRAY;
		value->u.container = child;
		value->len = (int) (child->header & JB_CMASK);
	}
}

/* Begin to walk an array or an object. */
static inline void
JsMembersBegin(const JsValue *container, JsMembers *members)
{
	const JsonbContainer *jc = container->u.container;
	int			n = container->len;

	members->container = jc;
	members->n = n;
	members->next = 0;
	members->key_offset = 0;
	if (container->type == JS_OBJECT)
	{
		members->data = (const char *) &jc->children[2 * n];
		members->value_offset = n > 0 ? getJsonbOffset(jc, n) : 0;
	}
	else
	{
		members->data = (const char *) &jc->children[n];
		members->value_offset = 0;
	}
}

/*
 * Set *value to the next item of an array, or *key and *value to the next member of an object if
 * key is not NULL.  Returns false at the end.
 */
static inline bool
JsMembersNext(JsMembers *members, JsString *key, JsValue *value)
{
	const JsonbContainer *jc = members->container;
	int			i = members->next;
	JEntry		entry;
	uint32		end;

	if (i >= members->n)
		return false;
	members->next++;
	if (key != NULL)
	{
		entry = jc->children[i];
		end = js_entry_end(entry, members->key_offset);
		key->data = members->data + members->key_offset;
		key->len = (int) (end - members->key_offset);
		members->key_offset = end;
		i += members->n;
	}
	entry = jc->children[i];
	end = js_entry_end(entry, members->value_offset);
	JsFill(jc, members->data, entry, members->value_offset, end, value);
	members->value_offset = end;
	return true;
}

extern void JsRoot(const Jsonb *jb, JsValue *value);
extern bool JsMember(const JsValue *object, const char *key, int len, JsValue *value);
extern bool JsItem(const JsValue *array, int index, JsValue *value);
extern int	JsCompare(const JsValue *a, const JsValue *b);
extern bool JsNumberIsInteger(Numeric number);
extern int64 JsNumberToCount(Numeric number);
extern int	JsCharLength(const char *data, int len);
extern bool JsItemsDiffer(const JsValue *array, int *first, int *second);
extern bool JsEquals(const JsValue *value, const char *string);
extern char *JsCString(const JsValue *value);

static inline int
js_compare_names(const char *a, int alen, const char *b, int blen)
{
	/* This is the order of jsonb's keys. */
	if (alen != blen)
		return alen < blen ? -1 : 1;
	return memcmp(a, b, alen);
}

/*
 * A path, linked from its end to its root.  Its steps are on the stack of the functions that take
 * them.
 */
typedef struct JsPath
{
	const struct JsPath *up;
	const char *name;			/* of a member; NULL if the step is to an item */
	int			len;
	int			index;
} JsPath;

extern char *JsPointer(const char *prefix, const JsPath *path);
extern void JsAppendToken(StringInfo buf, const char *data, int len);

/*-------------------------------------------------------------------------
 * Texts of messages (jsonschema/message.c)
 *-------------------------------------------------------------------------
 */
extern char *JsDescribe(const JsValue *value);
extern char *JsQuote(const char *data, int len);
extern char *JsNumberText(Numeric number);
extern const char *JsTypeName(uint8 type);
extern char *JsTypeNames(uint8 types);
extern char *JsValueList(const JsValue *values, int n);
extern JsonSchemaViolation *JsViolation(const JsPath *ipath, const JsPath *spath,
										const char *keyword, const char *fmt,...) pg_attribute_printf(4, 5);

/*-------------------------------------------------------------------------
 * URIs (jsonschema/uri.c), patterns (jsonschema/regex.c), formats
 *-------------------------------------------------------------------------
 */

/* The normalized URI that a reference stands for; *fragment is its fragment, decoded, or NULL. */
extern char *JsUriResolve(const char *base, const char *reference, char **fragment);
extern bool JsUriIsAbsolute(const char *uri);
extern char *JsPercentDecode(const char *data, int len);

typedef struct JsRegex JsRegex;

/*
 * Compile a regular expression of ECMA-262 into CurrentMemoryContext.  If it is not valid, the
 * result is NULL and *why says what is wrong.
 */
extern JsRegex *JsRegexCompile(const char *pattern, int len, const char **why);
extern bool JsRegexIsValid(const char *pattern, int len);

/*
 * Does it match anywhere in the string?  Where that takes too many steps, an error is raised with
 * limit_errcode.
 */
extern bool JsRegexMatches(const JsRegex *regex, const char *data, int len, int limit_errcode);
extern bool JsRegexMatchesUtf8(const JsRegex *regex, const char *subject, int len,
							   int limit_errcode);

/* The same of a class of characters, in which a single one is looked up: that has no limit. */
#define JsRegexHasChar(regex, utf8, len) \
	JsRegexMatchesUtf8(regex, utf8, len, ERRCODE_INTERNAL_ERROR)

typedef bool (*JsFormatFunction) (const char *data, int len);	/* UTF-8 */

typedef struct JsFormat
{
	const char *name;
	JsFormatFunction valid;
} JsFormat;

extern const JsFormat *JsFormatFind(const char *name, int len, uint8 draft);
extern bool JsFormatMatches(const JsFormat *format, const char *data, int len);

/* jsonschema/format_net.c */
extern bool JsFormatUri(const char *s, int len);
extern bool JsFormatUriReference(const char *s, int len);
extern bool JsFormatIri(const char *s, int len);
extern bool JsFormatIriReference(const char *s, int len);
extern bool JsFormatUriTemplate(const char *s, int len);
extern bool JsFormatIpv4(const char *s, int len);
extern bool JsFormatIpv6(const char *s, int len);
extern bool JsFormatEmail(const char *s, int len);
extern bool JsFormatIdnEmail(const char *s, int len);

/* jsonschema/format_label.c: what is known of a name from the labels that were looked at so far */
typedef struct JsBidi
{
	bool		right_to_left;	/* a label has a character that is written from right to left */
	bool		broken;			/* a label does not follow the Bidi rule */
} JsBidi;

extern void JsBidiLabel(JsBidi *name, const unsigned int *label, int n);
extern bool JsBidiGood(const JsBidi *name);
extern bool JsJoinerGood(const unsigned int *label, int n, int i);

/* jsonschema/format_host.c */
extern bool JsFormatHostnameAscii(const char *s, int len);
extern bool JsFormatHostname(const char *s, int len);
extern bool JsFormatIdnHostname(const char *s, int len);

/*-------------------------------------------------------------------------
 * Documents and identifiers (jsonschema/ref.c)
 *-------------------------------------------------------------------------
 */

typedef struct JsNode JsNode;

/* Drafts as bits, in their order. */
#define JS_DRAFT4		(1 << 0)
#define JS_DRAFT6		(1 << 1)
#define JS_DRAFT7		(1 << 2)
#define JS_DRAFT2019	(1 << 3)
#define JS_DRAFT2020	(1 << 4)
#define JS_SINCE6		(JS_DRAFT6 | JS_SINCE7)
#define JS_SINCE7		(JS_DRAFT7 | JS_SINCE2019)
#define JS_SINCE2019	(JS_DRAFT2019 | JS_DRAFT2020)
#define JS_UNTIL7		(JS_DRAFT4 | JS_DRAFT6 | JS_DRAFT7)
#define JS_UNTIL2019	(JS_UNTIL7 | JS_DRAFT2019)
#define JS_ALL_DRAFTS	(JS_UNTIL7 | JS_SINCE2019)

#define JS_VOCAB_CORE			(1 << 0)
#define JS_VOCAB_APPLICATOR		(1 << 1)
#define JS_VOCAB_UNEVALUATED	(1 << 2)
#define JS_VOCAB_VALIDATION		(1 << 3)
#define JS_VOCAB_FORMAT			(1 << 4)
#define JS_VOCAB_OTHER			(1 << 5)	/* says nothing about validity */
#define JS_VOCAB_ALL			0xff

typedef struct JsDialect
{
	uint8		draft;
	uint8		vocabularies;
	bool		assert_formats;
	const char *metaschema;		/* its URI */
	bool		shipped;		/* the metaschema is one of ours */
} JsDialect;

typedef struct JsAnchor
{
	struct JsAnchor *next;
	const char *name;
	bool		dynamic;		/* $dynamicAnchor */
	JsValue		schema;
	const char *pointer;		/* of schema in its document, for messages */
	JsNode	   *node;		/* NULL until it is compiled */
} JsAnchor;

typedef struct JsResource
{
	struct JsResource *next;
	const char *uri;
	const struct JsDocument *document;
	const JsDialect *dialect;
	JsValue		root;
	const char *pointer;		/* of root in the document, for messages */
	JsAnchor   *anchors;
	bool		recursive_anchor;
	JsNode	   *node;		/* of root, where recursive_anchor */
} JsResource;

typedef struct JsDocument
{
	struct JsDocument *next;
	const char *uri;
	Jsonb	   *jsonb;
	bool		foreign;		/* it is not the schema itself, so faults name its URI */
	JsResource *resource;		/* of its root */
} JsDocument;

/* What a reference leads to. */
typedef struct JsTarget
{
	JsValue		schema;
	JsResource *resource;
	const char *pointer;		/* in its document */
	JsAnchor   *anchor;			/* NULL unless the reference named an anchor */
} JsTarget;

struct JsonSchema
{
	MemoryContext context;
	JsonSchemaErrcodes errcodes;	/* these three are the caller's, none of them 0 */
	int64		steps;
	int			steps_a_byte;
	JsNode	   *root;
	bool		dynamic;		/* the resources that are entered on the way matter */
	bool		used_loader;
	bool		deferred;		/* some references were left open */
	int			max_in_place;	/* so many nodes can be applied inside one another to one value */
};

/* The state of one compilation. */
typedef struct JsCompiler
{
	JsonSchema *schema;			/* the result; what stays is in its memory context */
	const JsonSchemaOptions *options;
	JsDocument *documents;
	JsResource *resources;
	struct HTAB *nodes;			/* JsNode by the container of its schema */
	struct HTAB *resource_roots;	/* JsResource by the container of its root */
	List	   *dynamic_names;	/* names of anchors to which a $dynamicRef leads */
	bool		recursive;		/* a $recursiveRef leads to a $recursiveAnchor */
	int			nnodes;
	int			nresources;
	int			metaschemas;	/* how deep we are in metaschemas of metaschemas */
} JsCompiler;

static inline void *
js_keep(JsCompiler *cs, Size size)
{
	return MemoryContextAllocZero(cs->schema->context, size);
}

extern JsDocument *JsAddDocument(JsCompiler *cs, const char *uri, Jsonb *jsonb,
								 const JsDialect *inherited, bool foreign);
extern JsResource *JsResourceAt(JsCompiler *cs, const JsValue *schema);
extern bool JsResolve(JsCompiler *cs, JsResource *base, const char *reference, JsTarget *target,
					  bool *no_document);
extern JsResource *JsEnter(JsCompiler *cs, JsResource *resource, const JsValue *schema,
						   const char *pointer);
extern const JsDialect *JsDialectOf(JsCompiler *cs, const JsValue *root,
									const JsDialect *inherited, const char *where);
extern Jsonb *JsMetaschema(const char *uri);

/*
 * Apply a metaschema to a resource, and return at most max violations (jsonschema/validate.c).
 * Resources that are embedded in it are passed over, as they may be of other dialects.
 */
extern List *JsResourceViolations(const JsonSchema *metaschema, JsCompiler *cs,
								  const JsResource *resource, int max);
extern void JsFault(int sqlerrcode, const JsResource *resource, const char *pointer,
					const char *fmt,...) pg_attribute_printf(4, 5) pg_attribute_noreturn();

/* jsonschema/metaschema.c: the text of a shipped metaschema, or NULL. */
extern const char *JsMetaschemaText(const char *uri);

/*-------------------------------------------------------------------------
 * Nodes
 *-------------------------------------------------------------------------
 */
typedef struct JsNumberRules
{
	Numeric		minimum;		/* this one and the next four may be NULL */
	Numeric		maximum;
	Numeric		exclusive_minimum;
	Numeric		exclusive_maximum;
	Numeric		multiple_of;
	bool		minimum_is_exclusive;	/* draft 4 */
	bool		maximum_is_exclusive;
} JsNumberRules;

typedef struct JsStringRules
{
	int64		min_length;		/* -1: none */
	int64		max_length;
	JsRegex    *pattern;
	JsString	pattern_text;
	const JsFormat *format;
} JsStringRules;

typedef struct JsArrayRules
{
	int64		min_items;		/* -1: none */
	int64		max_items;
	bool		unique;
	int			nprefix;
	JsNode	  **prefix;
	const char *prefix_keyword;
	JsNode	   *rest;			/* of the items after the prefix; may be NULL */
	const char *rest_keyword;
	JsNode	   *contains;
	int64		min_contains;
	int64		max_contains;	/* -1: none */
	bool		has_min_contains;
	bool		contains_evaluates; /* since 2020-12 */
} JsArrayRules;

typedef struct JsProperty
{
	JsString	name;
	JsNode	   *node;			/* NULL if the property is only required */
	bool		required;
} JsProperty;

typedef struct JsPatternProperty
{
	JsRegex    *regex;
	JsString	pattern;
	JsNode	   *node;
} JsPatternProperty;

typedef struct JsDependency
{
	JsString	name;
	JsNode	   *node;			/* NULL if names are required instead */
	int			nrequired;
	JsString   *required;
	const char *keyword;
} JsDependency;

typedef struct JsObjectRules
{
	int64		min_properties; /* -1: none */
	int64		max_properties;
	int			nproperties;	/* sorted as jsonb's keys are */
	JsProperty *properties;
	int			nrequired;
	int			npatterns;
	JsPatternProperty *patterns;
	JsNode	   *additional;		/* additionalProperties; may be NULL */
	JsNode	   *names;			/* propertyNames; may be NULL */
	int			ndependencies;
	JsDependency *dependencies;
	bool		members;		/* there is a rule that looks at each member */
} JsObjectRules;

typedef enum JsOpCode
{
	JS_OP_CONST,
	JS_OP_ENUM,
	JS_OP_REF,
	JS_OP_DYNAMIC_REF,
	JS_OP_RECURSIVE_REF,
	JS_OP_ALL_OF,
	JS_OP_ANY_OF,
	JS_OP_ONE_OF,
	JS_OP_NOT,
	JS_OP_IF,
} JsOpCode;

typedef struct JsOp
{
	JsOpCode	code;
	int			n;
	union
	{
		JsNode	  **nodes;		/* ALL_OF, ANY_OF, ONE_OF; IF: if, then, else */
		JsNode	   *node;		/* REF, NOT; the static target of the others */
		JsValue    *values;		/* CONST; ENUM, sorted */
	}			u;
	const char *anchor;			/* DYNAMIC_REF: name */
	uint8		types;			/* ENUM: of its values */
	bool		enum_strings;	/* short list, all strings */
} JsOp;

struct JsNode
{
	uint8		types;			/* those that are allowed; JS_ANY is all of them */
	bool		always;			/* every value conforms: the schema is true, or {} */
	bool		never;			/* no value conforms: the schema is false */
	bool		tracked;		/* it has unevaluatedItems or unevaluatedProperties */
	int			nops;
	JsOp	   *ops;			/* the keywords that are about values of any type */
	JsNumberRules *number;
	JsStringRules *string;
	JsArrayRules *array;
	JsObjectRules *object;
	const JsResource *resource;
	JsNode	   *unevaluated_items;
	JsNode	   *unevaluated_properties;
};

/*-------------------------------------------------------------------------
 * Branches of anyOf and oneOf (jsonschema/branch.c)
 *-------------------------------------------------------------------------
 */
typedef struct JsBranch
{
	int			index;
	const JsNode *node;
	bool		wrong_type;		/* the branch wants another type than the instance has */
	int			consts_held;	/* const, and enum of one value */
	int			consts_broken;
	int			enums_held;
	int			enums_broken;
	List	   *violations;
} JsBranch;

/* The branches, the nearest to the instance first; *work is how many nodes were looked at. */
extern JsBranch *JsBranches(const JsOp *op, const JsValue *value, int *work);

/* Sort the branches again, now that their violations are known. */
extern void JsSortBranches(JsBranch *branches, int n);

/* Is a value one of an enum's? */
extern bool JsInEnum(const JsOp *op, const JsValue *value);

/* Call back with every subschema that a keyword of the dialect has. */
typedef void (*JsSubschemaCallback) (void *arg, const JsValue *schema, const JsPath *path);
extern void JsForEachSubschema(const JsDialect *dialect, const JsValue *schema, const JsPath *path,
							   JsSubschemaCallback callback, void *arg);
extern bool JsKeywordApplies(const JsDialect *dialect, uint8 drafts, uint8 vocabulary);

#endif							/* JSONSCHEMA_PRIVATE_H */
