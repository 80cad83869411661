/*-------------------------------------------------------------------------
 *
 * jsonschema/format_host.c
 *	  JSON Schema: formats hostname (RFC 1123, RFC 5890) and idn-hostname.
 *
 *  1. A label of ASCII characters consists of letters, digits and hyphens.
 *     One that begins with xn-- is decoded; the result must be a valid label
 *     with exactly this encoding.
 *  2. A label with other characters follows RFC 5891 and RFC 5892: each of
 *     them is a small letter, a mark or a digit that compatibility
 *     normalization does not change, or one of the exceptions in the context
 *     that it needs.
 *  3. The rules for joiners and for labels that are written from right to left
 *     are in jsonschema/format_label.c.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/format_host.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/unicode_norm.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "jsonschema/private.h"

#define MAX_LABEL	63
#define MAX_NAME	253

/*
 * Is c in a class of characters of ECMA-262?  The class is compiled into *regex at the first call.
 */
static bool
in_class(pg_wchar c, JsRegex **regex, const char *class)
{
	unsigned char buf[8];

	if (*regex == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);
		const char *why = NULL;

		*regex = JsRegexCompile(class, (int) strlen(class), &why);
		MemoryContextSwitchTo(before);
		if (*regex == NULL)
			elog(ERROR, "could not compile %s: %s", class, why);
	}
	unicode_to_utf8(c, buf);
	return JsRegexHasChar(*regex, (char *) buf, pg_utf_mblen(buf));
}

static bool
is_letter_or_digit(pg_wchar c)
{
	static JsRegex *regex = NULL;

	return in_class(c, &regex, "^[\\p{Ll}\\p{Lo}\\p{Lm}\\p{Mn}\\p{Mc}\\p{Nd}]$");
}

static bool
is_mark(pg_wchar c)
{
	static JsRegex *regex = NULL;

	return in_class(c, &regex, "^\\p{M}$");
}

static bool
is_greek(pg_wchar c)
{
	static JsRegex *regex = NULL;

	return in_class(c, &regex, "^\\p{Script=Greek}$");
}

static bool
is_hebrew(pg_wchar c)
{
	static JsRegex *regex = NULL;

	return in_class(c, &regex, "^\\p{Script=Hebrew}$");
}

static bool
is_japanese(pg_wchar c)
{
	static JsRegex *regex = NULL;

	return in_class(c, &regex, "^[\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Han}]$");
}

/* Does compatibility normalization leave the character as it is? */
static bool
is_stable(pg_wchar c)
{
	pg_wchar	input[2] = {c, 0};
	pg_wchar   *output = unicode_normalize(UNICODE_NFKC, input);
	bool		stable = output[0] == c && output[1] == 0;

	pfree(output);
	return stable;
}

/* May the character at i of a label be there, by RFC 5892? */
static bool
is_allowed(const pg_wchar *label, int n, int i)
{
	pg_wchar	c = label[i];

	if (c < 0x80)
		return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
	switch (c)
	{
		case 0xdf:
		case 0x3c2:
		case 0x6fd:
		case 0x6fe:
		case 0xf0b:
		case 0x3007:
			return true;
		case 0x640:
		case 0x7fa:
		case 0x302e:
		case 0x302f:
		case 0x3031:
		case 0x3032:
		case 0x3033:
		case 0x3034:
		case 0x3035:
		case 0x303b:
			return false;
		case 0xb7:				/* middle dot: l·l */
			return i > 0 && i + 1 < n && (label[i - 1] == 'l') && (label[i + 1] == 'l');
		case 0x375:				/* Greek lower numeral sign */
			return i + 1 < n && is_greek(label[i + 1]);
		case 0x5f3:				/* Hebrew geresh, gershayim */
		case 0x5f4:
			return i > 0 && is_hebrew(label[i - 1]);
		case 0x30fb:			/* Katakana middle dot */
			for (int j = 0; j < n; j++)
			{
				if (label[j] != 0x30fb && is_japanese(label[j]))
					return true;
			}
			return false;
		case 0x200c:
		case 0x200d:
			return JsJoinerGood(label, n, i);
		default:
			break;
	}
	if ((c >= 0x660 && c <= 0x669) || (c >= 0x6f0 && c <= 0x6f9))
	{
		/* The two kinds of Arabic digits must not be mixed. */
		pg_wchar	other = c <= 0x669 ? 0x6f0 : 0x660;

		for (int j = 0; j < n; j++)
		{
			if (label[j] >= other && label[j] <= other + 9)
				return false;
		}
		return true;
	}
	return is_letter_or_digit(c) && is_stable(c);
}

/* Adapt the bias, as in section 6.1 of RFC 3492. */
static int
adapt(int delta, int points, bool first)
{
	int			k = 0;

	delta = first ? delta / 700 : delta / 2;
	delta += delta / points;
	for (; delta > 455; k += 36)
		delta /= 35;
	return k + 36 * delta / (delta + 38);
}

/* Decode what follows xn--.  Returns the number of characters, or -1 if it is not valid. */
static int
punycode_decode(const char *s, int len, pg_wchar *out, int max)
{
	int			n = 128,
				i = 0,
				bias = 72,
				count = 0,
				in = 0;

	for (int j = len - 1; j >= 0; j--)
	{
		if (s[j] == '-')
		{
			if (j > max)
				return -1;
			for (int k = 0; k < j; k++)
				out[count++] = (unsigned char) s[k];
			in = j + 1;
			break;
		}
	}
	while (in < len)
	{
		int			old = i,
					w = 1;

		for (int k = 36;; k += 36)
		{
			int			digit,
						t;
			char		c;

			if (in >= len)
				return -1;
			c = s[in++];
			if (c >= 'a' && c <= 'z')
				digit = c - 'a';
			else if (c >= 'A' && c <= 'Z')
				digit = c - 'A';
			else if (c >= '0' && c <= '9')
				digit = c - '0' + 26;
			else
				return -1;
			if (digit > (PG_INT32_MAX - i) / w)
				return -1;
			i += digit * w;
			t = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias;
			if (digit < t)
				break;
			if (w > PG_INT32_MAX / (36 - t))
				return -1;
			w *= 36 - t;
		}
		bias = adapt(i - old, count + 1, old == 0);
		if (i / (count + 1) > 0x10ffff - n)
			return -1;
		n += i / (count + 1);
		i %= count + 1;
		if (count >= max || (n >= 0xd800 && n <= 0xdfff))
			return -1;
		memmove(&out[i + 1], &out[i], (count - i) * sizeof(pg_wchar));
		out[i++] = n;
		count++;
	}
	return count;
}

/* How many bytes the encoding of a label takes, without xn--. */
static int
punycode_length(const pg_wchar *label, int len)
{
	pg_wchar	n = 128;
	int			delta = 0,
				bias = 72,
				done = 0,
				basic,
				bytes;

	for (int i = 0; i < len; i++)
		done += label[i] < 128;
	basic = done;
	bytes = done > 0 ? done + 1 : 0;
	while (done < len)
	{
		pg_wchar	next = 0x110000;

		for (int i = 0; i < len; i++)
		{
			if (label[i] >= n && label[i] < next)
				next = label[i];
		}
		if (next - n > (pg_wchar) (PG_INT32_MAX / 2 - delta) / (done + 1))
			return PG_INT32_MAX;
		delta += (int) (next - n) * (done + 1);
		n = next;
		for (int i = 0; i < len; i++)
		{
			if (label[i] < n)
				delta++;
			else if (label[i] == n)
			{
				int			q = delta;

				for (int k = 36;; k += 36)
				{
					int			t = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias;

					bytes++;
					if (q < t)
						break;
					q = (q - t) / (36 - t);
				}
				bias = adapt(delta, done + 1, done == basic);
				delta = 0;
				done++;
			}
		}
		delta++;
		n++;
	}
	return bytes;
}

/* Is this a valid label?  It has characters beyond ASCII. */
static bool
is_u_label(const pg_wchar *label, int n)
{
	if (label[0] == '-' || label[n - 1] == '-' ||
		(n >= 4 && label[2] == '-' && label[3] == '-') || is_mark(label[0]))
		return false;
	for (int i = 0; i < n; i++)
	{
		if (!is_allowed(label, n, i))
			return false;
	}
	return punycode_length(label, n) + 4 <= MAX_LABEL;
}

/* Is this a label of letters, digits and hyphens, as in RFC 1123? */
static bool
is_ldh_label(const char *s, int len, JsBidi *name)
{
	if (len == 0 || len > MAX_LABEL || s[0] == '-' || s[len - 1] == '-')
		return false;
	for (int i = 0; i < len; i++)
	{
		char		c = s[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'))
			return false;
	}
	return true;
}

/* The same by RFC 5890, which keeps a -- in the third place for encoded labels. */
static bool
is_a_label(const char *s, int len, JsBidi *name)
{
	pg_wchar	label[MAX_LABEL];
	bool		ascii = true;
	int			n;

	if (!is_ldh_label(s, len, name))
		return false;
	if (len < 4 || s[2] != '-' || s[3] != '-')
	{
		for (n = 0; n < len; n++)
			label[n] = (unsigned char) s[n];
		JsBidiLabel(name, label, n);
		return true;
	}
	if (pg_strncasecmp(s, "xn--", 4) != 0)
		return false;
	n = punycode_decode(s + 4, len - 4, label, lengthof(label));
	if (n <= 0)
		return false;
	for (int i = 0; i < n; i++)
		ascii &= label[i] < 0x80;
	JsBidiLabel(name, label, n);
	return !ascii && is_u_label(label, n);
}

/* Is this a name of labels with dots between them? */
static bool
is_name(const char *s, int len, bool (*is_label) (const char *s, int len, JsBidi *name))
{
	const char *end = s + len;
	JsBidi		name = {0};

	if (len == 0 || len > MAX_NAME)
		return false;
	for (;;)
	{
		const char *dot = memchr(s, '.', end - s);

		if (!is_label(s, (int) ((dot != NULL ? dot : end) - s), &name))
			return false;
		if (dot == NULL)
			return JsBidiGood(&name);
		s = dot + 1;
	}
}

/* The format hostname of drafts 4 and 6. */
bool
JsFormatHostnameAscii(const char *s, int len)
{
	return is_name(s, len, is_ldh_label);
}

bool
JsFormatHostname(const char *s, int len)
{
	return is_name(s, len, is_a_label);
}

bool
JsFormatIdnHostname(const char *s, int len)
{
	const unsigned char *p = (const unsigned char *) s;
	const unsigned char *end = p + len;
	const unsigned char *start = p;
	pg_wchar	label[MAX_LABEL + 1];
	int			n = 0,
				total = 0;
	bool		ascii = true;
	JsBidi		name = {0};

	if (len == 0)
		return false;
	for (;;)
	{
		pg_wchar	c = 0;
		int			bytes = 0;

		if (p < end)
		{
			bytes = pg_utf_mblen(p);
			if (bytes > end - p || !pg_utf8_islegal(p, bytes))
				return false;
			c = utf8_to_unicode(p);
		}
		if (bytes == 0 || c == '.' || c == 0x3002 || c == 0xff0e || c == 0xff61)
		{
			if (n == 0)
				return false;
			if (ascii ? !is_a_label((const char *) start, n, &name) : !is_u_label(label, n))
				return false;
			if (!ascii)
				JsBidiLabel(&name, label, n);
			total += (ascii ? n : punycode_length(label, n) + 4) + 1;
			if (bytes == 0)
				return total - 1 <= MAX_NAME && JsBidiGood(&name);
			n = 0;
			ascii = true;
			start = p + bytes;
		}
		else
		{
			if (n >= MAX_LABEL)
				return false;
			label[n++] = c;
			ascii &= c < 0x80;
		}
		p += bytes;
	}
}
