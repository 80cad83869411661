/*-------------------------------------------------------------------------
 *
 * jsonschema/evaluation.h
 *	  The state of one validation, and the macros by which its functions
 *	  report violations.
 *
 *  1. Only jsonschema/validate.c and jsonschema/rules.h, which it includes,
 *     use this header.
 *  2. The functions with a parameter collect are written once and are always
 *     inlined, so that the compiler makes two versions of each: one in
 *     evaluate_fast, where collect is false, and one in evaluate_slow, where
 *     it is true.  The fast version returns at the first violation; the slow
 *     version adds each violation to a list and goes on.  As both come from
 *     the same text they cannot disagree.
 *  3. Paths in the instance and in the schema (Where) are lists on the
 *     stack.  Only the slow version makes them; in the fast one they are not
 *     read, so the compiler leaves them out.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/evaluation.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef JSONSCHEMA_EVALUATION_H
#define JSONSCHEMA_EVALUATION_H

#include "jsonschema/private.h"

/* A bit for each member of one object or array, set once a keyword has evaluated the member. */
typedef struct Seen
{
	int			n;
	uint64	   *words;
	uint64		small;			/* the words, where one is enough */
} Seen;

/* The resources that were entered on the way to a schema, the innermost first. */
typedef struct Scope
{
	const struct Scope *up;
	const JsResource *resource;
} Scope;

/* Where the evaluation is.  Both are NULL at the root, and everywhere in the fast version. */
typedef struct Where
{
	const JsPath *ipath;		/* in the instance */
	const JsPath *spath;		/* in the schema, through the references that were followed */
} Where;

typedef struct Evaluation
{
	const JsonSchema *schema;
	const JsonSchema *caller;	/* whose error codes and limits count: schema itself or, where that is a
								 * metaschema, the schema that is being compiled */
	const Scope *scope;
	List	   *violations;
	int			max;			/* how many violations are wanted; 0: all */
	int64		steps;			/* how often a schema may still be applied to a value */

	/* where a metaschema is applied to a resource; both are NULL otherwise */
	JsCompiler *compiler;
	const JsonbContainer *top;	/* the root of that resource */
} Evaluation;

static bool evaluate_fast(Evaluation *e, const JsNode *node, const JsValue *value, Seen *seen,
						  int in_place);
static bool evaluate_slow(Evaluation *e, const JsNode *node, const JsValue *value, Seen *seen,
						  int in_place, Where at);

/* In a function with the parameter collect: does a value conform to a node? */
#define EVALUATE(node, value, seen, in_place, ipath, spath) \
	(collect ? evaluate_slow(e, node, value, seen, in_place, (Where) {ipath, spath}) : \
	 evaluate_fast(e, node, value, seen, in_place))

/* In such a function, with a variable valid: what has reported its own violations must hold. */
#define MUST_HOLD(condition) \
	do { \
		if (!(condition)) \
		{ \
			if (!collect) \
				return false; \
			valid = false; \
		} \
	} while (0)

/* Report a violation by the keyword at spath of what is at ipath. */
#define report(e, ipath, spath, keyword, ...) \
	do { \
		if ((e)->max == 0 || list_length((e)->violations) < (e)->max) \
			(e)->violations = lappend((e)->violations, \
									  JsViolation(ipath, spath, keyword, __VA_ARGS__)); \
	} while (0)

/* Report a violation by a keyword of the schema where we are. */
#define REPORT(name, ...) \
	do { \
		JsPath keyword_path_ = KEYWORD(at.spath, name); \
		report(e, at.ipath, &keyword_path_, name, __VA_ARGS__); \
	} while (0)

/* The same, where it means that the value does not conform. */
#define VIOLATED(name, ...) \
	do { \
		if (!collect) \
			return false; \
		valid = false; \
		REPORT(name, __VA_ARGS__); \
	} while (0)

/* The path of a keyword, whose name is a constant, in the schema at up. */
#define KEYWORD(up, name) {up, name, sizeof(name) - 1, 0}

/* The ending of a plural. */
#define JS_S(n) ((n) == 1 ? "" : "s")

static inline void
seen_init(Seen *seen, int n)
{
	seen->n = n;
	seen->small = 0;
	seen->words = n <= 64 ? &seen->small : palloc0((n + 63) / 64 * sizeof(uint64));
}

static inline void
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

static inline void
seen_add_all(Seen *seen)
{
	memset(seen->words, 0xff, (Max(seen->n, 1) + 63) / 64 * sizeof(uint64));
}

static inline void
seen_merge(Seen *seen, const Seen *other)
{
	for (int i = 0; i < (Max(seen->n, 1) + 63) / 64; i++)
		seen->words[i] |= other->words[i];
}

#endif							/* JSONSCHEMA_EVALUATION_H */
