/*-------------------------------------------------------------------------
 *
 * jsonschema/regex_parse.c
 *	  JSON Schema: regular expressions of ECMA-262, parsed.
 *
 *  1. The whole pattern becomes a tree, and everything that ECMA-262 does not
 *     have is refused.  So nothing of another dialect's syntax gets through.
 *  2. The grammar is that of ECMA-262 with the u flag.  A few things are
 *     accepted that ECMA-262 allows only without that flag, where they can
 *     mean one thing only: escapes of any punctuation; ], } and { that stand
 *     for themselves; and a - beside a class escape in brackets.
 *  3. Everything that stands for one of several characters is a set of code
 *     points and properties of Unicode.  \d, \w, \s, their complements and
 *     the dot are written out as sets, so that their meaning does not depend
 *     on where they are.
 *  4. Characters in a row are one string, so that a long pattern is a small
 *     tree.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/regex_parse.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "jsonschema/regex.h"

typedef struct Parser
{
	const char *p;
	const char *end;
	const char *why;			/* why the pattern is not valid; NULL as long as it is */
	int			ngroups;
	List	   *names;			/* JsString * of each group; without a name its data is NULL */
	List	   *references;		/* JsReNode *, to be resolved at the end */
} Parser;

static const JsReRange digits[] = {{'0', '9'}};
static const JsReRange words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const JsReRange ends_of_lines[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
static const JsReRange spaces[] = {
	{0x9, 0xd}, {0x20, 0x20}, {0xa0, 0xa0}, {0x1680, 0x1680}, {0x2000, 0x200a},
	{0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}
};

static JsReNode *parse_disjunction(Parser *t);

static void *
fail(Parser *t, const char *why)
{
	if (t->why == NULL)
		t->why = why;
	return NULL;
}

static bool
at(Parser *t, const char *what)
{
	size_t		len = strlen(what);

	return (size_t) (t->end - t->p) >= len && memcmp(t->p, what, len) == 0;
}

static bool
is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool
is_letter(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_surrogate(uint32 c)
{
	return c >= 0xd800 && c <= 0xdfff;
}

/*
 * The next code point of UTF-8.  A byte that is no UTF-8 stands for a character that no string
 * has.
 */
static uint32
next_char(Parser *t)
{
	int			size;
	uint32		c = js_re_char(t->p, t->end, &size);

	t->p += size;
	return c == JSRE_NO_CHAR ? 0xd800 : c;
}

static JsReNode *
make_node(JsReKind kind)
{
	JsReNode   *node = palloc0(sizeof(JsReNode));

	node->kind = kind;
	return node;
}

/*-------------------------------------------------------------------------
 * Sets
 *-------------------------------------------------------------------------
 */
static void
add_range(JsReSet *set, uint32 low, uint32 high)
{
	if (low < 0xd800 && high > 0xdfff)
	{
		add_range(set, low, 0xd7ff);
		low = 0xe000;
	}
	else
	{
		if (is_surrogate(low))
			low = 0xe000;
		if (is_surrogate(high))
			high = 0xd7ff;
	}
	if (low > high)
		return;
	if (set->nranges == 0)
		set->ranges = palloc(4 * sizeof(JsReRange));
	else if (set->nranges >= 4 && (set->nranges & (set->nranges - 1)) == 0)
		set->ranges = repalloc(set->ranges, 2 * set->nranges * sizeof(JsReRange));
	set->ranges[set->nranges].low = low;
	set->ranges[set->nranges++].high = high;
}

/* Add the characters of some ranges, which are in order, or all others. */
static void
add_ranges(JsReSet *set, const JsReRange *ranges, int n, bool complement)
{
	uint32		from = 0;

	for (int i = 0; i < n; i++)
	{
		if (!complement)
			add_range(set, ranges[i].low, ranges[i].high);
		else if (ranges[i].low > from)
			add_range(set, from, ranges[i].low - 1);
		from = ranges[i].high + 1;
	}
	if (complement)
		add_range(set, from, 0x10ffff);
}

static void
add_property(JsReSet *set, const char *name, bool negated)
{
	if (set->nproperties == 0)
		set->properties = palloc(sizeof(JsReProperty));
	else
		set->properties = repalloc(set->properties, (set->nproperties + 1) * sizeof(JsReProperty));
	set->properties[set->nproperties].name = name;
	set->properties[set->nproperties++].negated = negated;
}

/* Parse a property; t->p is after \p or \P. */
static bool
property_escape(Parser *t, JsReSet *set, bool negated)
{
	const char *start,
			   *equals,
			   *end,
			   *property;

	if (!at(t, "{"))
		return fail(t, "\\p is not followed by {") != NULL;
	start = t->p + 1;
	end = memchr(start, '}', t->end - start);
	if (end == NULL)
		return fail(t, "\\p{ has no end") != NULL;
	equals = memchr(start, '=', end - start);
	property = equals != NULL ?
		JsRegexProperty(start, (int) (equals - start), equals + 1, (int) (end - equals - 1)) :
		JsRegexProperty(start, (int) (end - start), NULL, 0);
	if (property == NULL)
		return fail(t, "\\p{...} names no property of Unicode that is known") != NULL;
	if (property[0] == '^')
		add_property(set, property + 1, !negated);
	else
		add_property(set, property, negated);
	t->p = end + 1;
	return true;
}

/*
 * Add a class escape to a set; t->p is after the backslash.  Returns false if there is none, or if
 * it is not valid.
 */
static bool
class_escape(Parser *t, JsReSet *set)
{
	char		e = t->p[0];

	switch (e)
	{
		case 'd':
		case 'D':
			add_ranges(set, digits, lengthof(digits), e == 'D');
			break;
		case 'w':
		case 'W':
			add_ranges(set, words, lengthof(words), e == 'W');
			break;
		case 's':
		case 'S':
			add_ranges(set, spaces, lengthof(spaces), e == 'S');
			break;
		case 'p':
		case 'P':
			t->p++;
			return property_escape(t, set, e == 'P');
		default:
			return false;
	}
	t->p++;
	return true;
}

/*-------------------------------------------------------------------------
 * Characters
 *-------------------------------------------------------------------------
 */
static bool
hex_digits(Parser *t, int n, uint32 *c)
{
	*c = 0;
	for (int i = 0; i < n; i++)
	{
		int			d = t->p + i < t->end ? t->p[i] : 0;

		if (is_digit(d))
			d -= '0';
		else if (d >= 'a' && d <= 'f')
			d -= 'a' - 10;
		else if (d >= 'A' && d <= 'F')
			d -= 'A' - 10;
		else
			return false;
		*c = *c * 16 + d;
	}
	t->p += n;
	return true;
}

/* Parse the number of a character; t->p is after \u. */
static bool
unicode_escape(Parser *t, uint32 *c)
{
	if (at(t, "{"))
	{
		uint32		digit;
		int			n = 0;

		t->p++;
		*c = 0;
		while (hex_digits(t, 1, &digit))
		{
			*c = *c * 16 + digit;
			if (*c > 0x10ffff)
				return fail(t, "\\u{...} is beyond the last character") != NULL;
			n++;
		}
		if (n == 0 || !at(t, "}"))
			return fail(t, "\\u is not followed by hexadecimal digits") != NULL;
		t->p++;
		return true;
	}
	if (!hex_digits(t, 4, c))
		return fail(t, "\\u is not followed by four hexadecimal digits") != NULL;
	if (*c >= 0xd800 && *c <= 0xdbff && at(t, "\\u"))
	{
		const char *before = t->p;
		uint32		low;

		t->p += 2;
		if (hex_digits(t, 4, &low) && low >= 0xdc00 && low <= 0xdfff)
			*c = 0x10000 + ((*c - 0xd800) << 10) + (low - 0xdc00);
		else
			t->p = before;
	}
	return true;
}

/*
 * Parse an escape for one character, of those that are the same inside and outside of brackets;
 * t->p is after the backslash.
 */
static bool
char_escape(Parser *t, uint32 *c)
{
	char		e = *t->p;

	switch (e)
	{
		case 'f':
			*c = '\f';
			break;
		case 'n':
			*c = '\n';
			break;
		case 'r':
			*c = '\r';
			break;
		case 't':
			*c = '\t';
			break;
		case 'v':
			*c = '\v';
			break;
		case '0':
			if (t->p + 1 < t->end && is_digit(t->p[1]))
				return fail(t, "octal escapes are not supported") != NULL;
			*c = 0;
			break;
		case 'c':
			if (t->p + 1 >= t->end || !is_letter(t->p[1]))
				return fail(t, "\\c is not followed by a letter") != NULL;
			*c = t->p[1] & 31;
			t->p++;
			break;
		case 'x':
			t->p++;
			if (!hex_digits(t, 2, c))
				return fail(t, "\\x is not followed by two hexadecimal digits") != NULL;
			return true;
		case 'u':
			t->p++;
			return unicode_escape(t, c);
		default:
			if (is_letter(e) || is_digit(e))
				return fail(t, "there is no such escape in ECMA-262") != NULL;
			*c = next_char(t);
			return true;
	}
	t->p++;
	return true;
}

/*
 * Parse one member of brackets.  It is a character or, and then *class is true, a class escape,
 * which has been added to the set.
 */
static bool
bracket_atom(Parser *t, JsReSet *set, uint32 *c, bool *class)
{
	*class = false;
	if (*t->p != '\\')
	{
		*c = next_char(t);
		return true;
	}
	t->p++;
	if (t->p >= t->end)
		return fail(t, "it ends with a backslash") != NULL;
	if (*t->p == 'b')
	{
		*c = '\b';
		t->p++;
		return true;
	}
	if (class_escape(t, set))
	{
		*class = true;
		return true;
	}
	if (t->why != NULL)
		return false;
	return char_escape(t, c);
}

/* Parse a class in brackets; t->p is after the opening bracket. */
static JsReNode *
parse_brackets(Parser *t)
{
	JsReNode   *node = make_node(JSRE_SET);
	JsReSet    *set = palloc0(sizeof(JsReSet));

	node->set = set;
	set->negated = at(t, "^");
	if (set->negated)
		t->p++;
	for (;;)
	{
		uint32		low,
					high;
		bool		low_class,
					high_class;

		if (t->p >= t->end)
			return fail(t, "[ has no end");
		if (*t->p == ']')
			break;
		if (!bracket_atom(t, set, &low, &low_class))
			return NULL;
		if (t->p + 1 < t->end && t->p[0] == '-' && t->p[1] != ']')
		{
			t->p++;
			if (low_class)
			{
				add_range(set, '-', '-');
				continue;
			}
			if (!bracket_atom(t, set, &high, &high_class))
				return NULL;
			if (high_class)
			{
				add_range(set, low, low);
				add_range(set, '-', '-');
				continue;
			}
			if (low > high)
				return fail(t, "a range in brackets is out of order");
			add_range(set, low, high);
		}
		else if (!low_class)
			add_range(set, low, low);
	}
	t->p++;
	return node;
}

/* A node for one character.  A surrogate becomes an empty set, as it is in no string. */
static JsReNode *
make_char(uint32 c)
{
	JsReNode   *node = make_node(is_surrogate(c) ? JSRE_SET : JSRE_STRING);
	unsigned char *utf8;

	if (is_surrogate(c))
	{
		node->set = palloc0(sizeof(JsReSet));
		return node;
	}
	utf8 = palloc(8);
	unicode_to_utf8(c, utf8);
	node->string.data = (char *) utf8;
	node->string.len = pg_utf_mblen(utf8);
	return node;
}

static JsReNode *
make_dot(void)
{
	JsReNode   *node = make_node(JSRE_SET);

	node->set = palloc0(sizeof(JsReSet));
	add_ranges(node->set, ends_of_lines, lengthof(ends_of_lines), false);
	node->set->negated = true;
	return node;
}

/*-------------------------------------------------------------------------
 * Groups and references
 *-------------------------------------------------------------------------
 */

/* May a character be in an identifier, or begin one? */
static bool
in_identifier(uint32 c, bool first)
{
	static JsRegex *regexes[2] = {NULL, NULL};
	unsigned char utf8[8];
	int			error;

	if (c < 0x80)
		return is_letter(c) || c == '_' || c == '$' || (!first && is_digit(c));
	if (c == 0x200c || c == 0x200d)
		return !first;
	if (is_surrogate(c))
		return false;
	if (regexes[first] == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);

		regexes[first] = JsRegexCompilePcre(first ? "\\p{ID_Start}" : "\\p{ID_Continue}", &error);
		/* PCRE2 has these properties from 10.40 on. */
		if (regexes[first] == NULL)
			regexes[first] = JsRegexCompilePcre(first ? "[\\p{L}\\p{Nl}]" :
												"[\\p{L}\\p{Nl}\\p{Mn}\\p{Mc}\\p{Nd}\\p{Pc}]", &error);
		MemoryContextSwitchTo(before);
	}
	unicode_to_utf8(c, utf8);
	return regexes[first] == NULL || JsRegexHasChar(regexes[first], (char *) utf8, pg_utf_mblen(utf8));
}

/* Parse a group's name, from after < to after >.  Returns false if it is not valid. */
static bool
parse_name(Parser *t, JsString *name)
{
	StringInfoData buf;

	initStringInfo(&buf);
	while (t->p < t->end && *t->p != '>')
	{
		unsigned char utf8[8];
		uint32		c;

		if (at(t, "\\u"))
		{
			t->p += 2;
			if (!unicode_escape(t, &c))
				return false;
		}
		else
			c = next_char(t);
		if (!in_identifier(c, buf.len == 0))
			return fail(t, "a group's name is not valid") != NULL;
		unicode_to_utf8(c, utf8);
		appendBinaryStringInfo(&buf, (char *) utf8, pg_utf_mblen(utf8));
	}
	if (t->p >= t->end || buf.len == 0)
		return fail(t, "a group's name is not valid") != NULL;
	t->p++;
	name->data = buf.data;
	name->len = buf.len;
	return true;
}

/* The number of the group with a name; 0 if there is none. */
static int
find_name(Parser *t, const JsString *name)
{
	ListCell   *lc;

	foreach(lc, t->names)
	{
		JsString   *other = (JsString *) lfirst(lc);

		if (other->data != NULL && other->len == name->len &&
			memcmp(other->data, name->data, name->len) == 0)
			return foreach_current_index(lc) + 1;
	}
	return 0;
}

static bool
add_group(Parser *t, JsReNode *node, bool named)
{
	JsString   *name = palloc0(sizeof(JsString));

	if (named)
	{
		if (!parse_name(t, name))
			return false;
		if (find_name(t, name) != 0)
			return fail(t, "two groups have one name") != NULL;
	}
	t->names = lappend(t->names, name);
	node->number = ++t->ngroups;
	return true;
}

/* Parse a group or a lookaround; t->p is after the opening parenthesis. */
static JsReNode *
parse_group(Parser *t, bool *quantifiable)
{
	JsReNode   *node;

	*quantifiable = true;
	if (at(t, "?=") || at(t, "?!") || at(t, "?<=") || at(t, "?<!"))
	{
		node = make_node(JSRE_LOOK);
		node->behind = t->p[1] == '<';
		t->p += node->behind ? 3 : 2;
		node->negative = t->p[-1] == '!';
		*quantifiable = false;
	}
	else
	{
		node = make_node(JSRE_GROUP);
		if (at(t, "?:"))
			t->p += 2;
		else if (at(t, "?<"))
		{
			t->p += 2;
			if (!add_group(t, node, true))
				return NULL;
		}
		else if (at(t, "?"))
			return fail(t, "there is no such kind of group in ECMA-262");
		else if (!add_group(t, node, false))
			return NULL;
	}
	node->child = parse_disjunction(t);
	if (node->child == NULL)
		return NULL;
	if (t->p >= t->end)
		return fail(t, "( has no end");
	t->p++;
	return node;
}

/* Parse an escape outside of brackets; t->p is after the backslash. */
static JsReNode *
parse_escape(Parser *t, bool *quantifiable)
{
	JsReNode   *node;
	uint32		c;

	*quantifiable = true;
	if (t->p >= t->end)
		return fail(t, "it ends with a backslash");
	if (*t->p == 'b' || *t->p == 'B')
	{
		*quantifiable = false;
		return make_node(*t->p++ == 'b' ? JSRE_WORD_EDGE : JSRE_NO_WORD_EDGE);
	}
	if (*t->p == 'k' || (*t->p >= '1' && *t->p <= '9'))
	{
		node = make_node(JSRE_REFERENCE);
		t->references = lappend(t->references, node);
		if (*t->p == 'k')
		{
			t->p++;
			if (!at(t, "<"))
				return fail(t, "\\k is not followed by a name in angle brackets");
			t->p++;
			return parse_name(t, &node->string) ? node : NULL;
		}
		for (; t->p < t->end && is_digit(*t->p); t->p++)
			node->number = Min(node->number, PG_INT32_MAX / 10 - 1) * 10 + (*t->p - '0');
		return node;
	}
	node = make_node(JSRE_SET);
	node->set = palloc0(sizeof(JsReSet));
	if (class_escape(t, node->set))
		return node;
	if (t->why != NULL || !char_escape(t, &c))
		return NULL;
	return make_char(c);
}

/* Resolve the references, now that all groups are known. */
static bool
resolve_references(Parser *t)
{
	ListCell   *lc;

	foreach(lc, t->references)
	{
		JsReNode   *node = (JsReNode *) lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		if (node->string.data != NULL)
		{
			node->number = find_name(t, &node->string);
			if (node->number == 0)
				return fail(t, "\\k names a group that is not there") != NULL;
		}
		else if (node->number > t->ngroups)
			return fail(t, "it refers to a group that is not there") != NULL;
	}
	return true;
}

/*-------------------------------------------------------------------------
 * Terms, alternatives
 *-------------------------------------------------------------------------
 */

/* Is there {n}, {n,} or {n,m} at t->p?  If so, t->p is moved past it. */
static bool
braces(Parser *t, int32 *low, int32 *high)
{
	const char *p = t->p + 1;
	int64		n[2] = {0, JSRE_ENDLESS};

	if (p >= t->end || !is_digit(*p))
		return false;
	for (; p < t->end && is_digit(*p); p++)
		n[0] = Min(n[0] * 10 + (*p - '0'), JSRE_ENDLESS);
	if (p < t->end && *p == ',')
	{
		p++;
		if (p < t->end && is_digit(*p))
		{
			n[1] = 0;
			for (; p < t->end && is_digit(*p); p++)
				n[1] = Min(n[1] * 10 + (*p - '0'), JSRE_ENDLESS);
		}
	}
	else
		n[1] = n[0];
	if (p >= t->end || *p != '}')
		return false;
	t->p = p + 1;
	*low = (int32) n[0];
	*high = (int32) n[1];
	return true;
}

/* Parse the quantifier of a term.  The result is the term itself if it has none. */
static JsReNode *
parse_quantifier(Parser *t, JsReNode *term, bool quantifiable, int first_group)
{
	int32		low = 0,
				high = JSRE_ENDLESS;
	JsReNode   *node;

	if (t->p >= t->end)
		return term;
	switch (*t->p)
	{
		case '*':
			t->p++;
			break;
		case '+':
			low = 1;
			t->p++;
			break;
		case '?':
			high = 1;
			t->p++;
			break;
		case '{':
			if (!braces(t, &low, &high))
				return term;
			if (high < low)
				return fail(t, "numbers in braces are out of order");
			break;
		default:
			return term;
	}
	if (!quantifiable)
		return fail(t, "nothing to repeat");
	node = make_node(JSRE_LOOP);
	node->child = term;
	node->min = low;
	node->max = high;
	node->first_group = first_group + 1;
	node->last_group = t->ngroups + 1;
	if (at(t, "?"))
	{
		node->lazy = true;
		t->p++;
	}
	return node;
}

static JsReNode *
parse_atom(Parser *t, bool *quantifiable)
{
	int32		low,
				high;

	*quantifiable = true;
	switch (*t->p)
	{
		case '^':
		case '$':
			*quantifiable = false;
			return make_node(*t->p++ == '^' ? JSRE_START : JSRE_END);
		case '.':
			t->p++;
			return make_dot();
		case '(':
			t->p++;
			return parse_group(t, quantifiable);
		case '[':
			t->p++;
			return parse_brackets(t);
		case '\\':
			t->p++;
			return parse_escape(t, quantifiable);
		case '*':
		case '+':
		case '?':
			return fail(t, "nothing to repeat");
		case '{':
			if (braces(t, &low, &high))
				return fail(t, "nothing to repeat");
			if (at(t, "{,"))
				return fail(t, "{, is ambiguous: write {0, or \\{");
			/* FALLTHROUGH */
		default:
			return make_char(next_char(t));
	}
}

static void
add_child(JsReNode *node, JsReNode *child)
{
	if (node->n == 0)
		node->children = palloc(sizeof(JsReNode *));
	else if ((node->n & (node->n - 1)) == 0)
		node->children = repalloc_huge(node->children, 2 * (Size) node->n * sizeof(JsReNode *));
	node->children[node->n++] = child;
}

/*
 * Append to a string.  Its memory is the next power of two of its length, and at least 8 bytes, so
 * that it grows rarely.
 */
static void
append_string(JsReNode *node, const JsString *more)
{
	int			len = node->string.len + more->len;
	char	   *data = unconstify(char *, node->string.data);

	if (len > 8 && pg_nextpower2_32(len) > Max(8, pg_nextpower2_32(node->string.len)))
		data = repalloc(data, pg_nextpower2_32(len));
	memcpy(data + node->string.len, more->data, more->len);
	node->string.data = data;
	node->string.len = len;
}

/* Parse one alternative, up to |, ) or the end. */
static JsReNode *
parse_alternative(Parser *t)
{
	JsReNode   *sequence = make_node(JSRE_SEQUENCE);
	JsReNode   *string = NULL;	/* the last node, if characters may be added to it */

	while (t->p < t->end && *t->p != ')' && *t->p != '|')
	{
		int			groups = t->ngroups;
		bool		quantifiable;
		JsReNode   *atom = parse_atom(t, &quantifiable);
		JsReNode   *term = atom == NULL ? NULL : parse_quantifier(t, atom, quantifiable, groups);

		if (term == NULL)
			return NULL;
		if (term->kind == JSRE_STRING && string != NULL)
		{
			append_string(string, &term->string);
			pfree(unconstify(char *, term->string.data));
			pfree(term);
			continue;
		}
		add_child(sequence, term);
		string = term->kind == JSRE_STRING ? term : NULL;
	}
	return sequence->n == 1 ? sequence->children[0] : sequence;
}

/* Parse alternatives, up to a closing parenthesis or the end. */
static JsReNode *
parse_disjunction(Parser *t)
{
	JsReNode   *node = make_node(JSRE_ALTERNATIVES);

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	for (;;)
	{
		JsReNode   *alternative = parse_alternative(t);

		if (alternative == NULL)
			return NULL;
		add_child(node, alternative);
		if (!at(t, "|"))
			break;
		t->p++;
	}
	return node->n == 1 ? node->children[0] : node;
}

JsRePattern *
JsRegexParse(const char *pattern, int len, const char **why)
{
	Parser		parser = {.p = pattern, .end = pattern + len};
	JsRePattern *result = palloc0(sizeof(JsRePattern));

	result->root = parse_disjunction(&parser);
	if (result->root != NULL && parser.p < parser.end)
		fail(&parser, "a closing parenthesis has no opening one");
	else if (result->root != NULL)
		resolve_references(&parser);
	result->ngroups = parser.ngroups;
	result->references = parser.references != NIL;
	*why = parser.why;
	return parser.why == NULL ? result : NULL;
}
