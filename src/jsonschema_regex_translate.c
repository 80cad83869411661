/*-------------------------------------------------------------------------
 *
 * jsonschema_regex_translate.c
 *	  JSON Schema: regular expressions of ECMA-262 to those of PCRE2.
 *
 *  1. The whole pattern is parsed and written anew: nothing of PCRE2's own
 *     syntax can get through, and what ECMA-262 does not have is refused.
 *  2. The grammar is that of ECMA-262 with the u flag, and a few things that
 *     it allows without, where they can mean one thing only: escapes of any
 *     punctuation, ], } and { that stand for themselves, and a - beside a
 *     class escape in brackets.
 *  3. \\s, the dot, and what is in brackets are written out as code points,
 *     as the two dialects differ there.  Names of groups become numbers.
 *
 * Not as in ECMA-262: what a group captured in one turn of a repetition is
 * still there in the next; a lookbehind's alternatives must each have a fixed
 * length (PCRE2 refuses others).
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema_regex_translate.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"

#include "jsonschema_private.h"

#define MAX_REPEAT	65535		/* PCRE2's */
#define MAX_GROUPS	1000
#define NO_SURROGATES	"[^\\s\\S]"	/* matches nothing */

typedef struct Translator
{
	const char *p;
	const char *end;
	StringInfoData out;
	const char *why;			/* set: it is not valid */
	int			groups;
	JsString	names[MAX_GROUPS + 1];	/* of groups, by number */
	bool		named;
} Translator;

/* White space of ECMA-262, and all but it. */
static const uint32 spaces[][2] = {
	{0x9, 0xd}, {0x20, 0x20}, {0xa0, 0xa0}, {0x1680, 0x1680}, {0x2000, 0x200a},
	{0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}
};

static bool translate_disjunction(Translator *t);

static bool
fail(Translator *t, const char *why)
{
	if (t->why == NULL)
		t->why = why;
	return false;
}

static bool
at(Translator *t, const char *what)
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

/* The next code point of UTF-8; a byte that is none stands for itself. */
static uint32
next_char(Translator *t)
{
	const unsigned char *p = (const unsigned char *) t->p;
	int			left = (int) (t->end - t->p);
	int			more = p[0] >= 0xf0 ? 3 : p[0] >= 0xe0 ? 2 : p[0] >= 0xc0 ? 1 : 0;
	uint32		c = p[0];

	if (more >= left)
		more = 0;
	if (more > 0)
	{
		c = p[0] & (0x3f >> more);
		for (int i = 1; i <= more; i++)
			c = (c << 6) | (p[i] & 0x3f);
	}
	t->p += more + 1;
	return Min(c, 0x10ffff);
}

static bool
is_surrogate(uint32 c)
{
	return c >= 0xd800 && c <= 0xdfff;
}

static void
put_char(Translator *t, uint32 c)
{
	if (is_surrogate(c))
		appendStringInfoString(&t->out, NO_SURROGATES);
	else if (c < 128 && (is_letter(c) || is_digit(c)))
		appendStringInfoChar(&t->out, (char) c);
	else
		appendStringInfo(&t->out, "\\x{%x}", c);
}

/* A range in brackets; surrogates cannot occur. */
static void
put_range(Translator *t, uint32 low, uint32 high)
{
	if (low < 0xd800 && high > 0xdfff)
	{
		put_range(t, low, 0xd7ff);
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
	appendStringInfo(&t->out, "\\x{%x}", low);
	if (high > low)
		appendStringInfo(&t->out, "-\\x{%x}", high);
}

/* White space in brackets, or all but white space. */
static void
put_spaces(Translator *t, bool negated)
{
	uint32		from = 0;

	for (int i = 0; i < lengthof(spaces); i++)
	{
		if (!negated)
			put_range(t, spaces[i][0], spaces[i][1]);
		else if (spaces[i][0] > from)
			put_range(t, from, spaces[i][0] - 1);
		from = spaces[i][1] + 1;
	}
	if (negated)
		put_range(t, from, 0x10ffff);
}

static bool
hex_digits(Translator *t, int n, uint32 *c)
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

/* After \u. */
static bool
unicode_escape(Translator *t, uint32 *c)
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
				return fail(t, "\\u{...} is beyond the last character");
			n++;
		}
		if (n == 0 || !at(t, "}"))
			return fail(t, "\\u is not followed by hexadecimal digits");
		t->p++;
		return true;
	}
	if (!hex_digits(t, 4, c))
		return fail(t, "\\u is not followed by four hexadecimal digits");
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

/* After \p or \P, which is in letter. */
static bool
property_escape(Translator *t, char letter)
{
	const char *start,
			   *equals,
			   *end,
			   *property;

	if (!at(t, "{"))
		return fail(t, "\\p is not followed by {");
	start = t->p + 1;
	end = memchr(start, '}', t->end - start);
	if (end == NULL)
		return fail(t, "\\p{ has no end");
	equals = memchr(start, '=', end - start);
	property = equals != NULL ?
		JsRegexProperty(start, (int) (equals - start), equals + 1, (int) (end - equals - 1)) :
		JsRegexProperty(start, (int) (end - start), NULL, 0);
	if (property == NULL)
		return fail(t, "\\p{...} names no property of Unicode that is known");
	/* a property that is the complement of another begins with ^ */
	if (property[0] == '^')
	{
		property++;
		letter = letter == 'p' ? 'P' : 'p';
	}
	appendStringInfo(&t->out, "\\%c{%s}", letter, property);
	t->p = end + 1;
	return true;
}

/*
 * An escape for one character, the part that is the same in and out of
 * brackets; t->p is after the backslash.
 */
static bool
char_escape(Translator *t, uint32 *c)
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
				return fail(t, "octal escapes are not supported");
			*c = 0;
			break;
		case 'c':
			if (t->p + 1 >= t->end || !is_letter(t->p[1]))
				return fail(t, "\\c is not followed by a letter");
			*c = t->p[1] & 31;
			t->p++;
			break;
		case 'x':
			t->p++;
			if (!hex_digits(t, 2, c))
				return fail(t, "\\x is not followed by two hexadecimal digits");
			return true;
		case 'u':
			t->p++;
			return unicode_escape(t, c);
		default:
			if (is_letter(e) || is_digit(e))
				return fail(t, "there is no such escape in ECMA-262");
			*c = next_char(t);
			return true;
	}
	t->p++;
	return true;
}

/* A class escape in brackets; false if it is none, or not valid. */
static bool
class_escape_in_brackets(Translator *t)
{
	char		e = t->p[0];

	switch (e)
	{
		case 'd':
		case 'D':
		case 'w':
		case 'W':
			appendStringInfo(&t->out, "\\%c", e);
			break;
		case 's':
		case 'S':
			put_spaces(t, e == 'S');
			break;
		case 'p':
		case 'P':
			t->p++;
			return property_escape(t, e);
		default:
			return false;
	}
	t->p++;
	return true;
}

/* One member of brackets: a character, or (*set) a class escape, which has been written. */
static bool
bracket_atom(Translator *t, uint32 *c, bool *set)
{
	*set = false;
	if (*t->p != '\\')
	{
		*c = next_char(t);
		return true;
	}
	t->p++;
	if (t->p >= t->end)
		return fail(t, "it ends with a backslash");
	if (*t->p == 'b')
	{
		*c = '\b';
		t->p++;
		return true;
	}
	if (class_escape_in_brackets(t))
	{
		*set = true;
		return true;
	}
	if (t->why != NULL)
		return false;
	return char_escape(t, c);
}

/* t->p is after the bracket. */
static bool
translate_brackets(Translator *t)
{
	bool		negated = at(t, "^");
	int			start = t->out.len;
	int			body;

	if (negated)
		t->p++;
	appendStringInfoString(&t->out, negated ? "[^" : "[");
	body = t->out.len;
	for (;;)
	{
		uint32		low,
					high;
		bool		low_set,
					high_set;

		if (t->p >= t->end)
			return fail(t, "[ has no end");
		if (*t->p == ']')
			break;
		if (!bracket_atom(t, &low, &low_set))
			return false;
		if (t->p + 1 < t->end && t->p[0] == '-' && t->p[1] != ']')
		{
			t->p++;
			if (low_set)
			{
				put_range(t, '-', '-');
				continue;
			}
			if (!bracket_atom(t, &high, &high_set))
				return false;
			if (high_set)
			{
				put_range(t, low, low);
				put_range(t, '-', '-');
				continue;
			}
			if (low > high)
				return fail(t, "a range in brackets is out of order");
			put_range(t, low, high);
		}
		else if (!low_set)
			put_range(t, low, low);
	}
	t->p++;
	if (t->out.len == body)
	{
		t->out.len = start;
		t->out.data[start] = '\0';
		appendStringInfoString(&t->out, negated ? "[\\s\\S]" : NO_SURROGATES);
	}
	else
		appendStringInfoChar(&t->out, ']');
	return true;
}

/* t->p is after the backslash; *quantifiable: may be repeated. */
static bool
translate_escape(Translator *t, bool *quantifiable)
{
	char		e;
	uint32		c;

	*quantifiable = true;
	if (t->p >= t->end)
		return fail(t, "it ends with a backslash");
	e = *t->p;
	switch (e)
	{
		case 'b':
		case 'B':
			*quantifiable = false;
			/* FALLTHROUGH */
		case 'd':
		case 'D':
		case 'w':
		case 'W':
			appendStringInfo(&t->out, "\\%c", e);
			t->p++;
			return true;
		case 's':
		case 'S':
			appendStringInfoString(&t->out, e == 's' ? "[" : "[^");
			put_spaces(t, false);
			appendStringInfoChar(&t->out, ']');
			t->p++;
			return true;
		case 'p':
		case 'P':
			t->p++;
			return property_escape(t, e);
		case 'k':
			{
				const char *start,
						   *end;

				t->p++;
				start = t->p + 1;
				end = at(t, "<") ? memchr(start, '>', t->end - start) : NULL;
				if (end == NULL)
					return fail(t, "\\k is not followed by a name in angle brackets");
				for (int i = 1; i <= t->groups; i++)
				{
					if (t->names[i].data != NULL && t->names[i].len == end - start &&
						memcmp(t->names[i].data, start, end - start) == 0)
					{
						appendStringInfo(&t->out, "\\g{%d}", i);
						t->p = end + 1;
						return true;
					}
				}
				return fail(t, "\\k names a group that is not there");
			}
		default:
			if (e >= '1' && e <= '9')
			{
				int			n = 0;

				while (t->p < t->end && is_digit(*t->p))
				{
					n = Min(n * 10 + (*t->p - '0'), MAX_GROUPS + 1);
					t->p++;
				}
				if (n > t->groups)
					return fail(t, "it refers to a group that is not there");
				appendStringInfo(&t->out, "\\g{%d}", n);
				return true;
			}
			if (!char_escape(t, &c))
				return false;
			put_char(t, c);
			return true;
	}
}

/* {n}, {n,} or {n,m} at t->p?  Goes past it if so. */
static bool
braces(Translator *t, int64 *low, int64 *high)
{
	const char *p = t->p + 1;
	int64		n[2] = {0, -1};

	if (p >= t->end || !is_digit(*p))
		return false;
	for (; p < t->end && is_digit(*p); p++)
		n[0] = Min(n[0] * 10 + (*p - '0'), PG_INT32_MAX);
	if (p < t->end && *p == ',')
	{
		p++;
		if (p < t->end && is_digit(*p))
		{
			n[1] = 0;
			for (; p < t->end && is_digit(*p); p++)
				n[1] = Min(n[1] * 10 + (*p - '0'), PG_INT32_MAX);
		}
	}
	else
		n[1] = n[0];
	if (p >= t->end || *p != '}')
		return false;
	t->p = p + 1;
	*low = n[0];
	*high = n[1];
	return true;
}

static bool
translate_quantifier(Translator *t, bool quantifiable)
{
	int64		low,
				high;

	if (t->p >= t->end)
		return true;
	switch (*t->p)
	{
		case '*':
		case '+':
		case '?':
			appendStringInfoChar(&t->out, *t->p);
			t->p++;
			break;
		case '{':
			if (!braces(t, &low, &high))
				return true;
			if (high >= 0 && high < low)
				return fail(t, "numbers in braces are out of order");
			if (low > MAX_REPEAT || high > MAX_REPEAT)
				return fail(t, "a number in braces is too large");
			if (high < 0)
				appendStringInfo(&t->out, "{%d,}", (int) low);
			else
				appendStringInfo(&t->out, "{%d,%d}", (int) low, (int) high);
			break;
		default:
			return true;
	}
	if (!quantifiable)
		return fail(t, "nothing to repeat");
	if (at(t, "?"))
	{
		appendStringInfoChar(&t->out, '?');
		t->p++;
	}
	return true;
}

/* t->p is after the parenthesis. */
static bool
translate_group(Translator *t, bool *quantifiable)
{
	static const char *const openings[] = {"?:", "?=", "?!", "?<=", "?<!"};
	const char *opening = "";

	*quantifiable = true;
	if (at(t, "?"))
	{
		int			i;

		for (i = 0; i < lengthof(openings); i++)
		{
			if (at(t, openings[i]))
				break;
		}
		if (i < lengthof(openings))
		{
			opening = openings[i];
			*quantifiable = i == 0;
			t->p += strlen(opening);
		}
		else if (at(t, "?<"))
		{
			const char *end = memchr(t->p, '>', t->end - t->p);

			if (end == NULL)
				return fail(t, "a group's name is not valid");
			t->p = end + 1;
		}
		else
			return fail(t, "there is no such kind of group in ECMA-262");
	}
	/* the callout is where a match can be interrupted */
	appendStringInfo(&t->out, "(%s(?C1)", opening);
	if (!translate_disjunction(t))
		return false;
	if (t->p >= t->end)
		return fail(t, "( has no end");
	t->p++;
	appendStringInfoChar(&t->out, ')');
	return true;
}

/* Up to the end, or to a closing parenthesis. */
static bool
translate_disjunction(Translator *t)
{
	check_stack_depth();

	while (t->p < t->end && *t->p != ')')
	{
		bool		quantifiable = true;
		int64		low,
					high;
		bool		good = true;

		switch (*t->p)
		{
			case '|':
				appendStringInfoChar(&t->out, '|');
				t->p++;
				continue;
			case '^':
			case '$':
				appendStringInfoChar(&t->out, *t->p);
				quantifiable = false;
				t->p++;
				break;
			case '.':
				appendStringInfoString(&t->out, "[^\\n\\r\\x{2028}\\x{2029}]");
				t->p++;
				break;
			case '(':
				t->p++;
				good = translate_group(t, &quantifiable);
				break;
			case '[':
				t->p++;
				good = translate_brackets(t);
				break;
			case '\\':
				t->p++;
				good = translate_escape(t, &quantifiable);
				break;
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
				put_char(t, next_char(t));
				break;
		}
		if (!good || !translate_quantifier(t, quantifiable))
			return false;
	}
	return true;
}

/* Count the groups and note their names, which may be referred to before. */
static bool
find_groups(Translator *t)
{
	bool		brackets = false;

	for (const char *p = t->p; p < t->end; p++)
	{
		const char *name,
				   *end;

		if (*p == '\\')
		{
			p++;
			continue;
		}
		if (*p == '[')
			brackets = true;
		else if (*p == ']')
			brackets = false;
		if (brackets || *p != '(')
			continue;
		name = NULL;
		end = NULL;
		if (p + 1 < t->end && p[1] == '?')
		{
			if (p + 2 >= t->end || p[2] != '<' ||
				(p + 3 < t->end && (p[3] == '=' || p[3] == '!')))
				continue;
			name = p + 3;
			end = memchr(name, '>', t->end - name);
			if (end == NULL || end == name || is_digit(*name))
				return fail(t, "a group's name is not valid");
			for (const char *q = name; q < end; q++)
			{
				if (!is_letter(*q) && !is_digit(*q) && *q != '_' && *q != '$' && !((unsigned char) *q & 0x80))
					return fail(t, "a group's name is not valid");
			}
		}
		if (++t->groups > MAX_GROUPS)
			return fail(t, "it has too many groups");
		t->names[t->groups].data = name;
		t->names[t->groups].len = name != NULL ? (int) (end - name) : 0;
		for (int i = 1; name != NULL && i < t->groups; i++)
		{
			if (t->names[i].data != NULL && t->names[i].len == t->names[t->groups].len &&
				memcmp(t->names[i].data, name, t->names[i].len) == 0)
				return fail(t, "two groups have one name");
		}
	}
	return true;
}

/* Both patterns in UTF-8; NULL if it is not valid, and why in *why. */
char *
JsRegexTranslate(const char *pattern, int len, const char **why)
{
	Translator *t = palloc0(sizeof(Translator));
	char	   *result = NULL;

	t->p = pattern;
	t->end = pattern + len;
	initStringInfo(&t->out);
	if (find_groups(t) && translate_disjunction(t))
	{
		if (t->p < t->end)
			fail(t, "a closing parenthesis has no opening one");
		else
			result = t->out.data;
	}
	*why = t->why;
	pfree(t);
	return result;
}
