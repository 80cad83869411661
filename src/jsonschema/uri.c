/*-------------------------------------------------------------------------
 *
 * jsonschema/uri.c
 *	  JSON Schema: references to URIs (RFC 3986, section 5.2).
 *
 * Nothing here opens a connection.  URIs are names, and are compared as
 * strings after normalization: schemes and hosts are in lower case, there are
 * no dot segments, and characters that need no escape have none.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/uri.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "jsonschema/private.h"

/* The parts of a URI.  A part that is not there is NULL. */
typedef struct UriParts
{
	const char *scheme;
	int			scheme_len;
	const char *authority;
	int			authority_len;
	const char *path;
	int			path_len;
	const char *query;
	int			query_len;
	const char *fragment;
	int			fragment_len;
} UriParts;

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool
is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_unreserved(int c)
{
	return is_alpha((char) c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
}

/* Split a URI into its parts.  This cannot fail, as any string has some of them. */
static void
split(const char *uri, UriParts *parts)
{
	const char *p = uri;
	const char *end = uri + strlen(uri);
	const char *mark;

	memset(parts, 0, sizeof(*parts));
	if (is_alpha(*p))
	{
		const char *q = p;

		while (is_alpha(*q) || (*q >= '0' && *q <= '9') || *q == '+' || *q == '-' || *q == '.')
			q++;
		if (*q == ':')
		{
			parts->scheme = p;
			parts->scheme_len = (int) (q - p);
			p = q + 1;
		}
	}
	mark = strchr(p, '#');
	if (mark != NULL)
	{
		parts->fragment = mark + 1;
		parts->fragment_len = (int) (end - mark - 1);
		end = mark;
	}
	mark = memchr(p, '?', end - p);
	if (mark != NULL)
	{
		parts->query = mark + 1;
		parts->query_len = (int) (end - mark - 1);
		end = mark;
	}
	if (end - p >= 2 && p[0] == '/' && p[1] == '/')
	{
		p += 2;
		mark = memchr(p, '/', end - p);
		if (mark == NULL)
			mark = end;
		parts->authority = p;
		parts->authority_len = (int) (mark - p);
		p = mark;
	}
	parts->path = p;
	parts->path_len = (int) (end - p);
}

/*
 * Append a part in normal form: escapes have capital digits, and characters that need none are not
 * escaped.
 */
static void
append_normal(StringInfo buf, const char *data, int len, bool lower)
{
	for (int i = 0; i < len; i++)
	{
		char		c = data[i];

		if (c == '%' && i + 2 < len && hex_digit(data[i + 1]) >= 0 && hex_digit(data[i + 2]) >= 0)
		{
			int			byte = hex_digit(data[i + 1]) * 16 + hex_digit(data[i + 2]);

			if (byte < 0x80 && is_unreserved(byte))
				c = (char) byte;
			else
			{
				appendStringInfo(buf, "%%%02X", byte);
				i += 2;
				continue;
			}
			i += 2;
		}
		if (lower && c >= 'A' && c <= 'Z')
			c += 'a' - 'A';
		appendStringInfoChar(buf, c);
	}
}

/* Append a path without its dot segments. */
static void
append_path(StringInfo buf, const char *path, int len)
{
	int			start = buf->len;
	const char *p = path;
	const char *end = path + len;

	while (p < end)
	{
		const char *q = p;
		int			n;

		/* Find the end of a segment, which includes the slash before it. */
		if (*q == '/')
			q++;
		while (q < end && *q != '/')
			q++;
		n = (int) (q - p);
		if ((n == 2 && memcmp(p, "/.", 2) == 0) || (n == 1 && *p == '.'))
		{
			if (q == end && n == 2)
				appendStringInfoChar(buf, '/');
		}
		else if ((n == 3 && memcmp(p, "/..", 3) == 0) || (n == 2 && memcmp(p, "..", 2) == 0))
		{
			while (buf->len > start && buf->data[buf->len - 1] != '/')
				buf->len--;
			if (buf->len > start)
				buf->len--;
			buf->data[buf->len] = '\0';
			if (q == end && n == 3)
				appendStringInfoChar(buf, '/');
		}
		else
			append_normal(buf, p, n, false);
		p = q;
	}
}

/*
 * Replace escapes by the bytes that they stand for, which are UTF-8, and convert the result to the
 * database's encoding.  Where that is not possible, the string is returned as it is.
 */
char *
JsPercentDecode(const char *data, int len)
{
	StringInfoData buf;
	bool		ascii = true;
	char	   *result;

	initStringInfo(&buf);
	for (int i = 0; i < len; i++)
	{
		if (data[i] == '%' && i + 2 < len && hex_digit(data[i + 1]) >= 0 &&
			hex_digit(data[i + 2]) >= 0 &&
			(data[i + 1] != '0' || data[i + 2] != '0'))
		{
			ascii &= hex_digit(data[i + 1]) < 8;
			appendStringInfoChar(&buf, (char) (hex_digit(data[i + 1]) * 16 + hex_digit(data[i + 2])));
			i += 2;
		}
		else
			appendStringInfoChar(&buf, data[i]);
	}
	if (ascii)
		return buf.data;
	if (!pg_verify_mbstr(PG_UTF8, buf.data, buf.len, true))
		return pnstrdup(data, len);
	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII)
		return buf.data;
	result = palloc(buf.len * MAX_CONVERSION_GROWTH + 1);
	if (pg_do_encoding_conversion_buf(FindDefaultConversionProc(PG_UTF8, GetDatabaseEncoding()), PG_UTF8,
									  GetDatabaseEncoding(), (unsigned char *) buf.data, buf.len,
									  (unsigned char *) result, buf.len * MAX_CONVERSION_GROWTH + 1,
									  true) != buf.len)
		return pnstrdup(data, len);
	return result;
}

bool
JsUriIsAbsolute(const char *uri)
{
	UriParts	parts;

	split(uri, &parts);
	return parts.scheme != NULL;
}

/*
 * The URI that a reference stands for, relative to base, which may be NULL.  Its fragment is
 * decoded and put into *fragment, which is NULL if there is none.
 */
char *
JsUriResolve(const char *base, const char *reference, char **fragment)
{
	UriParts	b,
				r;
	StringInfoData buf,
				merged;
	const UriParts *authority_of,
			   *query_of;

	split(base != NULL ? base : "", &b);
	split(reference, &r);
	initStringInfo(&buf);
	initStringInfo(&merged);

	if (fragment != NULL)
		*fragment = r.fragment != NULL ? JsPercentDecode(r.fragment, r.fragment_len) : NULL;

	if (r.scheme != NULL)
		append_normal(&buf, r.scheme, r.scheme_len, true);
	else if (b.scheme != NULL)
		append_normal(&buf, b.scheme, b.scheme_len, true);
	if (buf.len > 0)
		appendStringInfoChar(&buf, ':');

	authority_of = &r;
	query_of = &r;
	if (r.scheme != NULL || r.authority != NULL)
		appendBinaryStringInfo(&merged, r.path, r.path_len);
	else
	{
		authority_of = &b;
		if (r.path_len == 0)
		{
			appendBinaryStringInfo(&merged, b.path, b.path_len);
			if (r.query == NULL)
				query_of = &b;
		}
		else if (r.path[0] == '/')
			appendBinaryStringInfo(&merged, r.path, r.path_len);
		else
		{
			int			keep = b.path_len;

			if (b.authority != NULL && b.path_len == 0)
				appendStringInfoChar(&merged, '/');
			while (keep > 0 && b.path[keep - 1] != '/')
				keep--;
			appendBinaryStringInfo(&merged, b.path, keep);
			appendBinaryStringInfo(&merged, r.path, r.path_len);
		}
	}

	if (authority_of->authority != NULL)
	{
		appendStringInfoString(&buf, "//");
		append_normal(&buf, authority_of->authority, authority_of->authority_len, true);
	}
	append_path(&buf, merged.data, merged.len);
	if (query_of->query != NULL)
	{
		appendStringInfoChar(&buf, '?');
		append_normal(&buf, query_of->query, query_of->query_len, false);
	}
	pfree(merged.data);
	return buf.data;
}
