/*-------------------------------------------------------------------------
 *
 * jsonschema/format.c
 *	  JSON Schema: the table of the formats, and those of dates, identifiers
 *	  and pointers.
 *
 * The function of a format is given a string in UTF-8, which is not
 * terminated.  Where formats are asserted, a format that is known is asserted
 * in every draft; one that is not known asserts nothing.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/format.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "jsonschema/private.h"

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The value of n digits at *s, which is moved past them; -1 if they are not there. */
static int
digits(const char **s, const char *end, int n)
{
	int			value = 0;

	if (end - *s < n)
		return -1;
	for (int i = 0; i < n; i++)
	{
		if (!is_digit((*s)[i]))
			return -1;
		value = value * 10 + ((*s)[i] - '0');
	}
	*s += n;
	return value;
}

static bool
literal(const char **s, const char *end, char c)
{
	if (*s >= end || **s != c)
		return false;
	(*s)++;
	return true;
}

static bool
parse_date(const char **s, const char *end)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int			year,
				month,
				day,
				most;

	if ((year = digits(s, end, 4)) < 0 || !literal(s, end, '-') ||
		(month = digits(s, end, 2)) < 1 || month > 12 || !literal(s, end, '-') ||
		(day = digits(s, end, 2)) < 1)
		return false;
	most = days[month - 1];
	if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		most = 29;
	return day <= most;
}

/* A full-time of RFC 3339.  A leap second can only be at 23:59:60 UTC. */
static bool
parse_time(const char **s, const char *end)
{
	int			hour,
				minute,
				second,
				offset = 0;

	if ((hour = digits(s, end, 2)) < 0 || hour > 23 || !literal(s, end, ':') ||
		(minute = digits(s, end, 2)) < 0 || minute > 59 || !literal(s, end, ':') ||
		(second = digits(s, end, 2)) < 0 || second > 60)
		return false;
	if (literal(s, end, '.'))
	{
		if (digits(s, end, 1) < 0)
			return false;
		while (*s < end && is_digit(**s))
			(*s)++;
	}
	if (!literal(s, end, 'Z') && !literal(s, end, 'z'))
	{
		int			sign,
					offset_hour,
					offset_minute;

		if (literal(s, end, '+'))
			sign = 1;
		else if (literal(s, end, '-'))
			sign = -1;
		else
			return false;
		if ((offset_hour = digits(s, end, 2)) < 0 || offset_hour > 23 || !literal(s, end, ':') ||
			(offset_minute = digits(s, end, 2)) < 0 || offset_minute > 59)
			return false;
		offset = sign * (offset_hour * 60 + offset_minute);
	}
	return second < 60 || (hour * 60 + minute - offset + 2 * 1440) % 1440 == 1439;
}

static bool
format_date(const char *s, int len)
{
	const char *end = s + len;

	return parse_date(&s, end) && s == end;
}

static bool
format_time(const char *s, int len)
{
	const char *end = s + len;

	return parse_time(&s, end) && s == end;
}

static bool
format_date_time(const char *s, int len)
{
	const char *end = s + len;

	return parse_date(&s, end) && (literal(&s, end, 'T') || literal(&s, end, 't')) &&
		parse_time(&s, end) && s == end;
}

/* A duration of ISO 8601 as in appendix A of RFC 3339: the units are in order and without gaps. */
static bool
format_duration(const char *s, int len)
{
	const char *end = s + len;
	const char *units = "YMD";
	bool		time = false;
	int			last = -1;
	bool		any = false;

	if (!literal(&s, end, 'P') || s == end)
		return false;
	while (s < end)
	{
		const char *unit;

		if (*s == 'T')
		{
			if (time || ++s == end)
				return false;
			time = true;
			units = "HMS";
			last = -1;
		}
		if (digits(&s, end, 1) < 0)
			return false;
		while (s < end && is_digit(*s))
			s++;
		if (s == end)
			return false;
		if (*s == 'W')
			return !any && !time && s + 1 == end;
		unit = strchr(units, *s);
		if (unit == NULL || unit - units <= last || (last >= 0 && unit - units != last + 1))
			return false;
		last = (int) (unit - units);
		any = true;
		s++;
	}
	return true;
}

static bool
format_uuid(const char *s, int len)
{
	if (len != 36)
		return false;
	for (int i = 0; i < 36; i++)
	{
		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			if (s[i] != '-')
				return false;
		}
		else if (!is_digit(s[i]) && !(s[i] >= 'a' && s[i] <= 'f') && !(s[i] >= 'A' && s[i] <= 'F'))
			return false;
	}
	return true;
}

static bool
format_json_pointer(const char *s, int len)
{
	if (len > 0 && s[0] != '/')
		return false;
	for (int i = 0; i < len; i++)
	{
		if (s[i] == '~' && (i + 1 == len || (s[i + 1] != '0' && s[i + 1] != '1')))
			return false;
	}
	return true;
}

static bool
format_relative_json_pointer(const char *s, int len)
{
	int			i = 0;

	while (i < len && is_digit(s[i]))
		i++;
	if (i == 0 || (i > 1 && s[0] == '0'))
		return false;
	if (i + 1 == len && s[i] == '#')
		return true;
	return format_json_pointer(s + i, len - i);
}

static bool
format_regex(const char *s, int len)
{
	return JsRegexIsValid(s, len);
}

/* The formats and the drafts that they are for.  The first entry that fits counts. */
static const struct
{
	uint8		drafts;
	JsFormat	format;
}			formats[] =
{
	{JS_ALL_DRAFTS, {"date-time", format_date_time}},
	{JS_ALL_DRAFTS, {"date", format_date}},
	{JS_ALL_DRAFTS, {"time", format_time}},
	{JS_ALL_DRAFTS, {"duration", format_duration}},
	{JS_ALL_DRAFTS, {"email", JsFormatEmail}},
	{JS_ALL_DRAFTS, {"idn-email", JsFormatIdnEmail}},
	{JS_DRAFT4 | JS_DRAFT6, {"hostname", JsFormatHostnameAscii}},
	{JS_SINCE7, {"hostname", JsFormatHostname}},
	{JS_ALL_DRAFTS, {"idn-hostname", JsFormatIdnHostname}},
	{JS_ALL_DRAFTS, {"ipv4", JsFormatIpv4}},
	{JS_ALL_DRAFTS, {"ipv6", JsFormatIpv6}},
	{JS_ALL_DRAFTS, {"uri", JsFormatUri}},
	{JS_ALL_DRAFTS, {"uri-reference", JsFormatUriReference}},
	{JS_ALL_DRAFTS, {"iri", JsFormatIri}},
	{JS_ALL_DRAFTS, {"iri-reference", JsFormatIriReference}},
	{JS_ALL_DRAFTS, {"uuid", format_uuid}},
	{JS_ALL_DRAFTS, {"uri-template", JsFormatUriTemplate}},
	{JS_ALL_DRAFTS, {"json-pointer", format_json_pointer}},
	{JS_ALL_DRAFTS, {"relative-json-pointer", format_relative_json_pointer}},
	{JS_ALL_DRAFTS, {"regex", format_regex}},
};

/* A format by its name; NULL if it is not known in that draft. */
const JsFormat *
JsFormatFind(const char *name, int len, uint8 draft)
{
	for (int i = 0; i < lengthof(formats); i++)
	{
		const JsFormat *format = &formats[i].format;

		if ((formats[i].drafts & draft) && (int) strlen(format->name) == len &&
			memcmp(format->name, name, len) == 0)
			return format;
	}
	return NULL;
}

/* Is a string in the database's encoding in that format? */
bool
JsFormatMatches(const JsFormat *format, const char *data, int len)
{
	int			encoding = GetDatabaseEncoding();
	char	   *converted;
	bool		valid;

	/* Regular expressions are converted where they are compiled. */
	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII || format->valid == format_regex)
		return format->valid(data, len);
	converted = (char *) pg_do_encoding_conversion((unsigned char *) unconstify(char *, data), len,
												   encoding, PG_UTF8);
	if (converted == data)
		return format->valid(data, len);
	valid = format->valid(converted, (int) strlen(converted));
	pfree(converted);
	return valid;
}
