/*-------------------------------------------------------------------------
 *
 * jsonschema/regex.h
 *	  What the files regex*.c share: a regular expression of ECMA-262 as a
 *	  tree.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/regex.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef JSONSCHEMA_REGEX_H
#define JSONSCHEMA_REGEX_H

#include "jsonschema/private.h"

typedef struct JsReRange
{
	uint32		low;
	uint32		high;
} JsReRange;

typedef struct JsReProperty
{
	const char *name;			/* in PCRE2's \p{} */
	bool		negated;
	const struct JsReKnown *known;	/* for the matcher; NULL until it was looked up */
} JsReProperty;

/* A set of characters.  No set has surrogates, as no string has any. */
typedef struct JsReSet
{
	bool		negated;
	int			nranges;
	JsReRange  *ranges;
	int			nproperties;
	JsReProperty *properties;
	uint64		ascii[2];		/* for the matcher: which of the first 128 characters are in it */
} JsReSet;

typedef enum JsReKind
{
	JSRE_STRING,
	JSRE_SET,
	JSRE_START,					/* ^ */
	JSRE_END,					/* $ */
	JSRE_WORD_EDGE,				/* \b */
	JSRE_NO_WORD_EDGE,			/* \B */
	JSRE_REFERENCE,
	JSRE_GROUP,
	JSRE_LOOK,
	JSRE_LOOP,
	JSRE_SEQUENCE,
	JSRE_ALTERNATIVES,
} JsReKind;

#define JSRE_ENDLESS	PG_INT32_MAX

typedef struct JsReNode JsReNode;
struct JsReNode
{
	JsReKind	kind;
	bool		negative;		/* LOOK: (?! and (?<! */
	bool		behind;			/* LOOK: (?<= and (?<! */
	bool		lazy;			/* LOOP */
	int			number;			/* of a GROUP, or of a REFERENCE's; 0 if it captures nothing */
	int			first_group;	/* LOOP: the first group in it, and */
	int			last_group;		/* the first one after those in it */
	int32		min;			/* LOOP */
	int32		max;			/* LOOP; JSRE_ENDLESS: no limit */
	JsString	string;			/* STRING, UTF-8; REFERENCE by name: the name, until it is resolved */
	JsReSet    *set;			/* SET */
	JsReNode   *child;			/* GROUP, LOOK, LOOP */
	int			n;				/* SEQUENCE, ALTERNATIVES */
	JsReNode  **children;
};

typedef struct JsRePattern
{
	JsReNode   *root;
	int			ngroups;		/* groups that capture; their numbers begin with 1 */
	bool		references;		/* there are back references */
} JsRePattern;

/*
 * Parse a pattern, which is in UTF-8, into CurrentMemoryContext.  If it is not valid, the result
 * is NULL and *why says what is wrong.
 */
extern JsRePattern *JsRegexParse(const char *pattern, int len, const char **why);

/*
 * The pattern in PCRE2's syntax, without groups that capture; NULL if PCRE2 cannot do what it asks
 * for.
 */
extern char *JsRegexTranslate(const JsRePattern *pattern);

/*
 * What PCRE2 has in \p{} for a property of ECMA-262, with ^ before it for the complement; NULL if
 * the property is not known.
 */
extern const char *JsRegexProperty(const char *name, int name_len, const char *value, int value_len);

/*
 * jsonschema/regex_match.c: the matcher for what PCRE2 cannot do, or does not do as ECMA-262 wants
 * it.
 */
typedef struct JsReProgram JsReProgram;

typedef enum JsReOutcome
{
	JSRE_NO_MATCH,
	JSRE_MATCH,
	JSRE_TOO_MUCH,				/* too many steps, or too much memory */
} JsReOutcome;

/* A pattern for that matcher; NULL if it names a property that PCRE2's tables do not have. */
extern JsReProgram *JsRegexProgram(const JsRePattern *pattern);
extern JsReOutcome JsRegexRun(const JsReProgram *program, const char *subject, int len);

/* jsonschema/regex.c: compile PCRE2's own syntax; NULL and *error if PCRE2 refuses it. */
extern JsRegex *JsRegexCompilePcre(const char *translated, int *error);

/*
 * The character at p, which takes *size bytes; JSRE_NO_CHAR and one byte where there is no valid
 * UTF-8.
 */
#define JSRE_NO_CHAR	PG_UINT32_MAX

static inline uint32
js_re_char(const char *p, const char *end, int *size)
{
	const unsigned char *s = (const unsigned char *) p;
	uint32		c = s[0];
	int			n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 0;

	*size = 1;
	if (n == 1)
		return c;
	if (n == 0 || n > end - p)
		return JSRE_NO_CHAR;
	c &= 0x7f >> n;
	for (int i = 1; i < n; i++)
	{
		if ((s[i] & 0xc0) != 0x80)
			return JSRE_NO_CHAR;
		c = (c << 6) | (s[i] & 0x3f);
	}
	if (c > 0x10ffff)
		return JSRE_NO_CHAR;
	*size = n;
	return c;
}

#endif							/* JSONSCHEMA_REGEX_H */
