/*-------------------------------------------------------------------------
 *
 * jsonschema/format_net.c
 *	  JSON Schema: formats of addresses.
 *
 *	  uri, uri-reference	RFC 3986
 *	  iri, iri-reference	RFC 3987
 *	  uri-template			RFC 6570
 *	  email, idn-email		RFC 5321 (section 4.1.2), RFC 6531
 *	  ipv4, ipv6			RFC 2673 (dotted-quad), RFC 4291
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/format_net.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "jsonschema/private.h"

static inline bool
is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool
is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static inline bool
is_one_of(char c, const char *set)
{
	return c != '\0' && strchr(set, c) != NULL;
}

static inline bool
is_unreserved(char c)
{
	return is_alpha(c) || is_digit(c) || is_one_of(c, "-._~");
}

static inline bool
is_sub_delim(char c)
{
	return is_one_of(c, "!$&'()*+,;=");
}

/* Is there a character beyond ASCII that an IRI may have (ucschar, iprivate)? */
static bool
is_iri_char(const char *p, const char *end, int *len, bool private)
{
	const unsigned char *s = (const unsigned char *) p;
	int			n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 1;
	uint32		c;

	if (n == 1 || end - p < n)
		return false;
	c = s[0] & (0x7f >> n);
	for (int i = 1; i < n; i++)
		c = (c << 6) | (s[i] & 0x3f);
	*len = n;
	if ((c >= 0xe000 && c <= 0xf8ff) || c >= 0xf0000)
		return private && (c & 0xfffe) != 0xfffe;
	if (c < 0xa0 || (c >= 0xd800 && c <= 0xdfff) || (c >= 0xfdd0 && c <= 0xfdef) ||
		(c >= 0xfff0 && c <= 0xffff))
		return false;
	return (c & 0xfffe) != 0xfffe && !(c >= 0xe0000 && c <= 0xe0fff);
}

/*
 * Are all characters up to end of the class pchar, or among those of also, or escapes, or where it
 * is an IRI others that one may have?
 */
static bool
is_chars(const char *p, const char *end, const char *also, bool iri, bool private)
{
	while (p < end)
	{
		int			n;

		if (is_unreserved(*p) || is_sub_delim(*p) || is_one_of(*p, also))
			p++;
		else if (*p == '%')
		{
			if (end - p < 3 || !is_hex(p[1]) || !is_hex(p[2]))
				return false;
			p += 3;
		}
		else if (iri && is_iri_char(p, end, &n, private))
			p += n;
		else
			return false;
	}
	return true;
}

static bool
is_host_and_port(const char *p, const char *end, bool iri)
{
	const char *host_end;

	if (p < end && *p == '[')
	{
		host_end = memchr(p, ']', end - p);
		if (host_end == NULL)
			return false;
		p++;
		if (p < host_end && (*p == 'v' || *p == 'V'))
		{
			const char *dot = memchr(p, '.', host_end - p);

			if (dot == NULL || dot == p + 1 || dot + 1 == host_end)
				return false;
			for (const char *q = p + 1; q < dot; q++)
			{
				if (!is_hex(*q))
					return false;
			}
			if (memchr(dot, '%', host_end - dot) != NULL ||
				!is_chars(dot + 1, host_end, ":", false, false))
				return false;
		}
		else if (!JsFormatIpv6(p, (int) (host_end - p)))
			return false;
		p = host_end + 1;
		if (p < end && *p != ':')
			return false;
	}
	else
	{
		host_end = memchr(p, ':', end - p);
		if (host_end == NULL)
			host_end = end;
		if (!is_chars(p, host_end, "", iri, false))
			return false;
		p = host_end;
	}
	if (p < end)
	{
		for (p++; p < end; p++)
		{
			if (!is_digit(*p))
				return false;
		}
	}
	return true;
}

static bool
is_uri(const char *s, int len, bool iri, bool reference)
{
	const char *p = s;
	const char *end = s + len;
	const char *mark;
	bool		scheme = false;

	if (len > 0 && is_alpha(*p))
	{
		const char *q = p;

		while (q < end && (is_alpha(*q) || is_digit(*q) || is_one_of(*q, "+-.")))
			q++;
		if (q < end && *q == ':')
		{
			scheme = true;
			p = q + 1;
		}
	}
	if (!scheme && !reference)
		return false;

	mark = memchr(p, '#', end - p);
	if (mark != NULL)
	{
		if (!is_chars(mark + 1, end, ":@/?", iri, false))
			return false;
		end = mark;
	}
	mark = memchr(p, '?', end - p);
	if (mark != NULL)
	{
		if (!is_chars(mark + 1, end, ":@/?", iri, true))
			return false;
		end = mark;
	}
	if (end - p >= 2 && p[0] == '/' && p[1] == '/')
	{
		const char *at,
				   *authority_end;

		p += 2;
		authority_end = memchr(p, '/', end - p);
		if (authority_end == NULL)
			authority_end = end;
		at = memchr(p, '@', authority_end - p);
		if (at != NULL)
		{
			if (!is_chars(p, at, ":", iri, false))
				return false;
			p = at + 1;
		}
		if (!is_host_and_port(p, authority_end, iri))
			return false;
		p = authority_end;
	}
	else if (!scheme)
	{
		/* The first segment of a relative path must not have a colon. */
		const char *slash = memchr(p, '/', end - p);
		const char *colon = memchr(p, ':', end - p);

		if (colon != NULL && (slash == NULL || colon < slash))
			return false;
	}
	return is_chars(p, end, ":@/", iri, false);
}

bool
JsFormatUri(const char *s, int len)
{
	return is_uri(s, len, false, false);
}

bool
JsFormatUriReference(const char *s, int len)
{
	return is_uri(s, len, false, true);
}

bool
JsFormatIri(const char *s, int len)
{
	return is_uri(s, len, true, false);
}

bool
JsFormatIriReference(const char *s, int len)
{
	return is_uri(s, len, true, true);
}

/* Is there a name with its modifier, as inside braces? */
static bool
is_varspec(const char *p, const char *end)
{
	const char *name = p;

	while (p < end)
	{
		if (is_alpha(*p) || is_digit(*p) || *p == '_')
			p++;
		else if (*p == '%' && end - p >= 3 && is_hex(p[1]) && is_hex(p[2]))
			p += 3;
		else if (*p == '.' && p > name && p[-1] != '.' && p + 1 < end && !is_one_of(p[1], ":*"))
			p++;
		else
			break;
	}
	if (p == name)
		return false;
	if (p == end)
		return true;
	if (*p == '*')
		return p + 1 == end;
	if (*p != ':' || end - p < 2 || end - p > 5 || p[1] == '0')
		return false;
	for (p++; p < end; p++)
	{
		if (!is_digit(*p))
			return false;
	}
	return true;
}

bool
JsFormatUriTemplate(const char *s, int len)
{
	const char *p = s;
	const char *end = s + len;

	while (p < end)
	{
		if (*p == '{')
		{
			const char *close = memchr(p, '}', end - p);

			if (close == NULL)
				return false;
			p++;
			if (p < close && is_one_of(*p, "+#./;?&=,!@|"))
				p++;
			for (;;)
			{
				const char *comma = memchr(p, ',', close - p);

				if (!is_varspec(p, comma != NULL ? comma : close))
					return false;
				if (comma == NULL)
					break;
				p = comma + 1;
			}
			p = close + 1;
		}
		else if (*p == '%')
		{
			if (end - p < 3 || !is_hex(p[1]) || !is_hex(p[2]))
				return false;
			p += 3;
		}
		else if ((unsigned char) *p <= 0x20 || *p == 0x7f || is_one_of(*p, "\"<>\\^`|}"))
			return false;
		else
			p++;
	}
	return true;
}

bool
JsFormatIpv4(const char *s, int len)
{
	const char *end = s + len;

	for (int part = 0; part < 4; part++)
	{
		int			value = 0,
					n = 0;

		if (part > 0 && (s >= end || *s++ != '.'))
			return false;
		for (; s < end && is_digit(*s) && n < 4; s++, n++)
			value = value * 10 + (*s - '0');
		if (n == 0 || n > 3 || value > 255 || (n > 1 && s[-n] == '0'))
			return false;
	}
	return s == end;
}

bool
JsFormatIpv6(const char *s, int len)
{
	const char *end = s + len;
	int			groups = 0;
	bool		gap = false;

	if (len < 2)
		return false;
	if (s[0] == ':')
	{
		if (s[1] != ':')
			return false;
		gap = true;
		s += 2;
	}
	while (s < end)
	{
		const char *start = s;

		while (s < end && is_hex(*s))
			s++;
		if (s < end && *s == '.')
		{
			/* The last 32 bits may be written with dots. */
			if (!JsFormatIpv4(start, (int) (end - start)))
				return false;
			groups += 2;
			s = end;
			break;
		}
		if (s == start || s - start > 4)
			return false;
		groups++;
		if (s == end)
			break;
		if (*s++ != ':' || s == end)
			return false;
		if (*s == ':')
		{
			if (gap)
				return false;
			gap = true;
			s++;
		}
	}
	return gap ? groups < 8 : groups == 8;
}

static bool
is_email(const char *s, int len, bool idn)
{
	const char *p = s;
	const char *end = s + len;
	bool		dot = true;

	if (len > 0 && *p == '"')
	{
		for (p++; p < end && *p != '"'; p++)
		{
			if (*p == '\\' && (++p >= end || (unsigned char) *p < 0x20 || *p == 0x7f))
				return false;
			if ((unsigned char) *p < 0x20 || *p == 0x7f || (!idn && (*p & 0x80)))
				return false;
		}
		if (p >= end)
			return false;
		p++;
	}
	else
	{
		for (; p < end && *p != '@'; p++)
		{
			if (*p == '.')
			{
				if (dot)
					return false;
				dot = true;
			}
			else if (is_alpha(*p) || is_digit(*p) || is_one_of(*p, "!#$%&'*+/=?^_`{|}~-") ||
					 (idn && (*p & 0x80)))
				dot = false;
			else
				return false;
		}
		if (dot)
			return false;
	}
	if (p >= end || *p != '@')
		return false;
	p++;
	if (end - p > 2 && *p == '[' && end[-1] == ']')
	{
		if (end - p > 7 && pg_strncasecmp(p, "[ipv6:", 6) == 0)
			return JsFormatIpv6(p + 6, (int) (end - p) - 7);
		return JsFormatIpv4(p + 1, (int) (end - p) - 2);
	}
	return idn ? JsFormatIdnHostname(p, (int) (end - p)) : JsFormatHostname(p, (int) (end - p));
}

bool
JsFormatEmail(const char *s, int len)
{
	return is_email(s, len, false);
}

bool
JsFormatIdnEmail(const char *s, int len)
{
	return is_email(s, len, true);
}
