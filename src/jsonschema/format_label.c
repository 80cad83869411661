/*-------------------------------------------------------------------------
 *
 * jsonschema/format_label.c
 *	  JSON Schema: what the labels of internationalized names must be like
 *	  where letters join, or are written from right to left.
 *
 *  1. A zero width non-joiner may stand after a virama, or between two
 *     letters that would join without it (RFC 5892, A.1).  A zero width joiner
 *     may stand after a virama only (A.2).
 *  2. If any label of a name has a character that is written from right to
 *     left, each of its labels must follow the Bidi rule (RFC 5893).
 *  3. The Bidi classes are those of PCRE2, which has them from 10.40 on; with
 *     an older one the Bidi rule is not checked.  PCRE2 does not have joining
 *     types, so a table of them is here.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/format_label.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "jsonschema/regex.h"

/*
 * Letters that join to what follows (L), to what is before (R), or to both (D):
 * Joining_Type of Unicode 14.0, as in its file extracted/DerivedJoiningType.txt.
 */
static const struct
{
	pg_wchar	first;
	pg_wchar	last;
	char		type;
}			joining[] =
{
	{0x620, 0x620, 'D'}, {0x622, 0x625, 'R'}, {0x626, 0x626, 'D'}, {0x627, 0x627, 'R'},
	{0x628, 0x628, 'D'}, {0x629, 0x629, 'R'}, {0x62a, 0x62e, 'D'}, {0x62f, 0x632, 'R'},
	{0x633, 0x63f, 'D'}, {0x641, 0x647, 'D'}, {0x648, 0x648, 'R'}, {0x649, 0x64a, 'D'},
	{0x66e, 0x66f, 'D'}, {0x671, 0x673, 'R'}, {0x675, 0x677, 'R'}, {0x678, 0x687, 'D'},
	{0x688, 0x699, 'R'}, {0x69a, 0x6bf, 'D'}, {0x6c0, 0x6c0, 'R'}, {0x6c1, 0x6c2, 'D'},
	{0x6c3, 0x6cb, 'R'}, {0x6cc, 0x6cc, 'D'}, {0x6cd, 0x6cd, 'R'}, {0x6ce, 0x6ce, 'D'},
	{0x6cf, 0x6cf, 'R'}, {0x6d0, 0x6d1, 'D'}, {0x6d2, 0x6d3, 'R'}, {0x6d5, 0x6d5, 'R'},
	{0x6ee, 0x6ef, 'R'}, {0x6fa, 0x6fc, 'D'}, {0x6ff, 0x6ff, 'D'}, {0x710, 0x710, 'R'},
	{0x712, 0x714, 'D'}, {0x715, 0x719, 'R'}, {0x71a, 0x71d, 'D'}, {0x71e, 0x71e, 'R'},
	{0x71f, 0x727, 'D'}, {0x728, 0x728, 'R'}, {0x729, 0x729, 'D'}, {0x72a, 0x72a, 'R'},
	{0x72b, 0x72b, 'D'}, {0x72c, 0x72c, 'R'}, {0x72d, 0x72e, 'D'}, {0x72f, 0x72f, 'R'},
	{0x74d, 0x74d, 'R'}, {0x74e, 0x758, 'D'}, {0x759, 0x75b, 'R'}, {0x75c, 0x76a, 'D'},
	{0x76b, 0x76c, 'R'}, {0x76d, 0x770, 'D'}, {0x771, 0x771, 'R'}, {0x772, 0x772, 'D'},
	{0x773, 0x774, 'R'}, {0x775, 0x777, 'D'}, {0x778, 0x779, 'R'}, {0x77a, 0x77f, 'D'},
	{0x7ca, 0x7ea, 'D'}, {0x840, 0x840, 'R'}, {0x841, 0x845, 'D'}, {0x846, 0x847, 'R'},
	{0x848, 0x848, 'D'}, {0x849, 0x849, 'R'}, {0x84a, 0x853, 'D'}, {0x854, 0x854, 'R'},
	{0x855, 0x855, 'D'}, {0x856, 0x858, 'R'}, {0x860, 0x860, 'D'}, {0x862, 0x865, 'D'},
	{0x867, 0x867, 'R'}, {0x868, 0x868, 'D'}, {0x869, 0x86a, 'R'}, {0x870, 0x882, 'R'},
	{0x886, 0x886, 'D'}, {0x889, 0x88d, 'D'}, {0x88e, 0x88e, 'R'}, {0x8a0, 0x8a9, 'D'},
	{0x8aa, 0x8ac, 'R'}, {0x8ae, 0x8ae, 'R'}, {0x8af, 0x8b0, 'D'}, {0x8b1, 0x8b2, 'R'},
	{0x8b3, 0x8b8, 'D'}, {0x8b9, 0x8b9, 'R'}, {0x8ba, 0x8c8, 'D'}, {0x1807, 0x1807, 'D'},
	{0x1820, 0x1878, 'D'}, {0x1887, 0x18a8, 'D'}, {0x18aa, 0x18aa, 'D'},
	{0xa840, 0xa871, 'D'}, {0xa872, 0xa872, 'L'}, {0x10ac0, 0x10ac4, 'D'},
	{0x10ac5, 0x10ac5, 'R'}, {0x10ac7, 0x10ac7, 'R'}, {0x10ac9, 0x10aca, 'R'},
	{0x10acd, 0x10acd, 'L'}, {0x10ace, 0x10ad2, 'R'}, {0x10ad3, 0x10ad6, 'D'},
	{0x10ad7, 0x10ad7, 'L'}, {0x10ad8, 0x10adc, 'D'}, {0x10add, 0x10add, 'R'},
	{0x10ade, 0x10ae0, 'D'}, {0x10ae1, 0x10ae1, 'R'}, {0x10ae4, 0x10ae4, 'R'},
	{0x10aeb, 0x10aee, 'D'}, {0x10aef, 0x10aef, 'R'}, {0x10b80, 0x10b80, 'D'},
	{0x10b81, 0x10b81, 'R'}, {0x10b82, 0x10b82, 'D'}, {0x10b83, 0x10b85, 'R'},
	{0x10b86, 0x10b88, 'D'}, {0x10b89, 0x10b89, 'R'}, {0x10b8a, 0x10b8b, 'D'},
	{0x10b8c, 0x10b8c, 'R'}, {0x10b8d, 0x10b8d, 'D'}, {0x10b8e, 0x10b8f, 'R'},
	{0x10b90, 0x10b90, 'D'}, {0x10b91, 0x10b91, 'R'}, {0x10ba9, 0x10bac, 'R'},
	{0x10bad, 0x10bae, 'D'}, {0x10d00, 0x10d00, 'L'}, {0x10d01, 0x10d21, 'D'},
	{0x10d22, 0x10d22, 'R'}, {0x10d23, 0x10d23, 'D'}, {0x10f30, 0x10f32, 'D'},
	{0x10f33, 0x10f33, 'R'}, {0x10f34, 0x10f44, 'D'}, {0x10f51, 0x10f53, 'D'},
	{0x10f54, 0x10f54, 'R'}, {0x10f70, 0x10f73, 'D'}, {0x10f74, 0x10f75, 'R'},
	{0x10f76, 0x10f81, 'D'}, {0x10fb0, 0x10fb0, 'D'}, {0x10fb2, 0x10fb3, 'D'},
	{0x10fb4, 0x10fb6, 'R'}, {0x10fb8, 0x10fb8, 'D'}, {0x10fb9, 0x10fba, 'R'},
	{0x10fbb, 0x10fbc, 'D'}, {0x10fbd, 0x10fbd, 'R'}, {0x10fbe, 0x10fbf, 'D'},
	{0x10fc1, 0x10fc1, 'D'}, {0x10fc2, 0x10fc3, 'R'}, {0x10fc4, 0x10fc4, 'D'},
	{0x10fc9, 0x10fc9, 'R'}, {0x10fca, 0x10fca, 'D'}, {0x10fcb, 0x10fcb, 'L'},
	{0x1e900, 0x1e943, 'D'}
};

/* Characters of canonical combining class 9, in Unicode 14.0. */
static const pg_wchar viramas[] = {
	0x94d, 0x9cd, 0xa4d, 0xacd, 0xb4d, 0xbcd, 0xc4d, 0xccd, 0xd3b, 0xd3c, 0xd4d, 0xdca,
	0xe3a, 0xeba, 0xf84, 0x1039, 0x103a, 0x1714, 0x1715, 0x1734, 0x17d2, 0x1a60, 0x1b44,
	0x1baa, 0x1bab, 0x1bf2, 0x1bf3, 0x2d7f, 0xa806, 0xa82c, 0xa8c4, 0xa953, 0xa9c0, 0xaaf6,
	0xabed, 0x10a3f, 0x11046, 0x11070, 0x1107f, 0x110b9, 0x11133, 0x11134, 0x111c0, 0x11235,
	0x112ea, 0x1134d, 0x11442, 0x114c2, 0x115bf, 0x1163f, 0x116b6, 0x1172b, 0x11839, 0x1193d,
	0x1193e, 0x119e0, 0x11a34, 0x11a47, 0x11a99, 0x11c3f, 0x11d44, 0x11d45, 0x11d97
};

/* Bidi classes are bits.  Classes that no rule tells apart have one bit together. */
#define BIDI_L			(1 << 0)
#define BIDI_R			(1 << 1)	/* and AL */
#define BIDI_AN			(1 << 2)
#define BIDI_EN			(1 << 3)
#define BIDI_NSM		(1 << 4)
#define BIDI_NEUTRAL	(1 << 5)	/* ES, CS, ET, ON, BN */
#define BIDI_OTHER		(1 << 6)	/* must be in no label */

static const struct
{
	int			class;
	const char *pattern;
}			bidi_classes[] =
{
	{BIDI_L, "\\p{bidi_class:L}"},
	{BIDI_R, "[\\p{bidi_class:R}\\p{bidi_class:AL}]"},
	{BIDI_AN, "\\p{bidi_class:AN}"},
	{BIDI_EN, "\\p{bidi_class:EN}"},
	{BIDI_NSM, "\\p{bidi_class:NSM}"},
	{BIDI_NEUTRAL, "[\\p{bidi_class:ES}\\p{bidi_class:CS}\\p{bidi_class:ET}\\p{bidi_class:ON}\\p{bidi_class:BN}]"}
};

/*
 * Is c in a set of characters, which is in PCRE2's syntax?  The set is compiled into *regex at the
 * first call; *known is false if PCRE2 does not know it.
 */
static bool
in_set(pg_wchar c, JsRegex **regex, const char *set, bool *known)
{
	unsigned char utf8[8];
	int			error;

	if (*regex == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);

		*regex = JsRegexCompilePcre(set, &error);
		MemoryContextSwitchTo(before);
	}
	*known = *regex != NULL;
	if (!*known)
		return false;
	unicode_to_utf8(c, utf8);
	return JsRegexHasChar(*regex, (char *) utf8, pg_utf_mblen(utf8));
}

/* The Bidi class of a character; 0 if PCRE2 does not know it. */
static int
bidi_class(pg_wchar c)
{
	static JsRegex *regexes[lengthof(bidi_classes)];
	bool		known;

	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
		return BIDI_L;
	for (int i = 0; i < lengthof(bidi_classes); i++)
	{
		bool		is = in_set(c, &regexes[i], bidi_classes[i].pattern, &known);

		if (!known)
			return 0;
		if (is)
			return bidi_classes[i].class;
	}
	return BIDI_OTHER;
}

/* Add a label to what is known of a name. */
void
JsBidiLabel(JsBidi *name, const pg_wchar *label, int n)
{
	int			first,
				last = 0,
				all = 0;

	if (n == 0)
		return;
	first = bidi_class(label[0]);
	for (int i = 0; i < n; i++)
	{
		int			class = bidi_class(label[i]);

		if (class == 0)
			return;
		all |= class;
		if (class != BIDI_NSM)
			last = class;
	}
	if (all & (BIDI_R | BIDI_AN))
		name->right_to_left = true;
	if (first == BIDI_R)
		name->broken |= (all & (BIDI_L | BIDI_OTHER)) || !(last & (BIDI_R | BIDI_EN | BIDI_AN)) ||
			((all & BIDI_EN) && (all & BIDI_AN));
	else if (first == BIDI_L)
		name->broken |= (all & (BIDI_R | BIDI_AN | BIDI_OTHER)) || !(last & (BIDI_L | BIDI_EN));
	else
		name->broken = true;
}

/* Does the whole name follow the Bidi rule? */
bool
JsBidiGood(const JsBidi *name)
{
	return !name->right_to_left || !name->broken;
}

static bool
is_virama(pg_wchar c)
{
	for (int i = 0; i < lengthof(viramas); i++)
	{
		if (viramas[i] == c)
			return true;
	}
	return false;
}

static char
joining_type(pg_wchar c)
{
	static JsRegex *transparent = NULL;
	bool		known;
	int			low = 0,
				high = lengthof(joining);

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (c < joining[middle].first)
			high = middle;
		else if (c > joining[middle].last)
			low = middle + 1;
		else
			return joining[middle].type;
	}
	/* Of the characters that may be in a label, marks and this letter are transparent. */
	return c == 0x1e94b || in_set(c, &transparent, "[\\p{Mn}\\p{Me}]", &known) ? 'T' : 'U';
}

/* May the zero width joiner or non-joiner at i of a label be there? */
bool
JsJoinerGood(const pg_wchar *label, int n, int i)
{
	int			left = i - 1,
				right = i + 1;
	char		type;

	if (i > 0 && is_virama(label[i - 1]))
		return true;
	if (label[i] != 0x200c)
		return false;
	while (left >= 0 && joining_type(label[left]) == 'T')
		left--;
	while (right < n && joining_type(label[right]) == 'T')
		right++;
	if (left < 0 || right >= n)
		return false;
	type = joining_type(label[left]);
	if (type != 'L' && type != 'D')
		return false;
	type = joining_type(label[right]);
	return type == 'R' || type == 'D';
}
