/*-------------------------------------------------------------------------
 *
 * jobs/crontab.c
 *	  When a schedule in cron's notation comes due, in a time zone.
 *
 *	1. The notation is pg_cron's: five fields of numbers, names, lists, ranges
 *	   and steps, '$' for the last day of the month, '@daily' and its like, and
 *	   'N seconds'.  Where day and weekday are both restricted, either will do,
 *	   unless one of them begins with '*' or cron.match_dom_and_dow is on.
 *	   What pg_cron would take and then read as something else, like a sixth
 *	   field, is not understood here.
 *	2. A time zone is a sequence of spans in which local time runs along with
 *	   real time, at one offset.  An instant is looked for span by span, in
 *	   local time, which makes it arithmetic: 'local' below is seconds since
 *	   1970-01-01 00:00 as a clock on the wall shows them.
 *	3. Where clocks go back, the same local time comes twice.  A schedule for
 *	   certain hours is due at the first.  Where they go forward, some
 *	   local times do not come; a schedule for one of them is due when the
 *	   clock has gone forward, once for all of them.
 *	4. A schedule for every hour is about real time: it is due whenever the
 *	   clock shows one of its minutes, and pauses in neither case.
 *	5. To widen a schedule for pg_cron, which knows one zone only, is to collect
 *	   what a clock in pg_cron's zone shows at its instants, with all offsets
 *	   that the two zones will have in the next years.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jobs/crontab.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include <ctype.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "base/args.h"
#include "jobs/cron.h"
#include "jobs/crontab.h"
#include "subscription/subscription.h"

PG_FUNCTION_INFO_V1(eda_schedule_next);
PG_FUNCTION_INFO_V1(eda_schedule_widened);

#define DAY_SECS			INT64CONST(86400)
#define ALL_HOURS	((UINT64CONST(1) << 24) - 1)
#define ALL_MINUTES ((UINT64CONST(1) << 60) - 1)

/* Clocks are set back by less than this. */
#define LONGEST_OVERLAP (26 * INT64CONST(3600))

/* How far an instant is looked for: beyond the longest time between two 29ths of February. */
#define HORIZON			(9 * 366 * DAY_SECS)
/* How far the offsets of zones are looked at to widen a schedule. */
#define WIDEN_HORIZON	(12 * 366 * DAY_SECS)

typedef struct Field
{
	int			low;
	int			high;
	const char *const *names;	/* of low and the following; NULL: none */
} Field;

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul",
	"aug", "sep", "oct", "nov", "dec", NULL};
static const char *const weekday_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat",
	NULL};

static const Field minute_field = {0, 59, NULL};
static const Field hour_field = {0, 23, NULL};
static const Field day_field = {1, 31, NULL};
static const Field month_field = {1, 12, month_names};
static const Field weekday_field = {0, 7, weekday_names};

/* '@' names, as five fields. */
static const struct
{
	const char *name;
	const char *fields;
}			nicknames[] = {
	{"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
	{"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"}, {"@midnight", "0 0 * * *"},
	{"@hourly", "0 * * * *"}
};

/* A number or a name; moves *s past it.  -1: neither. */
static int
parse_value(const char **s, const Field *field)
{
	char		word[8];
	int			len = 0;

	while (isalnum((unsigned char) **s) && len < sizeof(word) - 1)
		word[len++] = *(*s)++;
	word[len] = '\0';
	if (len == 0 || isalnum((unsigned char) **s))
		return -1;
	if (field->names != NULL)
	{
		for (int i = 0; field->names[i] != NULL; i++)
			if (pg_strcasecmp(word, field->names[i]) == 0)
				return field->low + i;
	}
	if (strspn(word, "0123456789") != len)
		return -1;
	return atoi(word);
}

/* One field of lists, ranges and steps; moves *s past it and the blanks behind. */
static bool
parse_field(const char **s, const Field *field, uint64 *set)
{
	*set = 0;
	for (;;)
	{
		int			first = field->low;
		int			last = field->high;
		int			step = 1;
		bool		range = true;

		if (**s == '*')
			(*s)++;
		else
		{
			first = last = parse_value(s, field);
			range = (**s == '-');
			if (range)
			{
				(*s)++;
				last = parse_value(s, field);
			}
		}
		if (range && **s == '/')
		{
			static const Field plain = {0, 0, NULL};

			(*s)++;
			step = parse_value(s, &plain);
			if (step <= 0 || step > field->high)
				return false;
		}
		if (first < field->low || last > field->high || first > last)
			return false;
		for (int i = first; i <= last; i += step)
			*set |= UINT64CONST(1) << i;
		if (**s != ',')
			break;
		(*s)++;
	}
	if (**s != '\0' && **s != ' ' && **s != '\t')
		return false;
	*s += strspn(*s, " \t");
	return true;
}

static bool
parse_fields(const char *s, EdaCrontab *c)
{
	bool		any_day;

	if (!parse_field(&s, &minute_field, &c->minutes) ||
		!parse_field(&s, &hour_field, &c->hours))
		return false;
	any_day = (*s == '*');
	if (s[0] == '$' && (s[1] == ' ' || s[1] == '\t'))
	{
		c->last_day = true;
		s += 1 + strspn(s + 1, " \t");
	}
	else if (!parse_field(&s, &day_field, &c->days))
		return false;
	if (!parse_field(&s, &month_field, &c->months))
		return false;
	c->both = any_day || *s == '*';
	if (!parse_field(&s, &weekday_field, &c->weekdays) || *s != '\0')
		return false;

	/* 7 is Sunday, too */
	if (c->weekdays & (1 << 7))
		c->weekdays = (c->weekdays & 0x7f) | 1;
	return true;
}

/* 'N seconds'; 0: not that. */
static int
parse_seconds(const char *s)
{
	int			n = 0;
	char		unit[9];
	char		rest;

	if (sscanf(s, " %2d %8[a-zA-Z] %c", &n, unit, &rest) != 2 || n < 1 || n > 59 ||
		(pg_strcasecmp(unit, "seconds") != 0 && pg_strcasecmp(unit, "second") != 0))
		return 0;
	return n;
}

bool
EdaCrontabParse(const char *text, EdaCrontab *c)
{
	char	   *trimmed = pstrdup(text + strspn(text, " \t\n"));
	int			len = strlen(trimmed);
	const char *match = GetConfigOption("cron.match_dom_and_dow", true, false);

	while (len > 0 && strchr(" \t\n", trimmed[len - 1]) != NULL)
		trimmed[--len] = '\0';

	memset(c, 0, sizeof(*c));
	c->seconds = parse_seconds(trimmed);
	if (c->seconds > 0)
		return true;
	if (strcmp(trimmed, "@reboot") == 0 || strcmp(trimmed, "@restart") == 0)
	{
		c->reboot = true;
		return true;
	}
	for (int i = 0; i < lengthof(nicknames); i++)
	{
		if (strcmp(trimmed, nicknames[i].name) == 0)
		{
			c->yearly = (i < 2);
			trimmed = pstrdup(nicknames[i].fields);
		}
	}
	if (!parse_fields(trimmed, c))
		return false;
	c->both |= (match != NULL && strcmp(match, "on") == 0);
	return true;
}

static int64
floor_div(int64 a, int64 b)
{
	return a / b - (a % b < 0 ? 1 : 0);
}

/* Is it for that day, counted from 1970-01-01? */
static bool
matches_day(const EdaCrontab *c, int64 day)
{
	int			julian = (int) day + UNIX_EPOCH_JDATE;
	int			year,
				month,
				mday,
				tomorrow;
	bool		this_day;
	bool		this_weekday;

	j2date(julian, &year, &month, &mday);
	if (!(c->months & (UINT64CONST(1) << month)))
		return false;
	this_day = (c->days & (UINT64CONST(1) << mday)) != 0;
	if (!this_day && c->last_day)
	{
		j2date(julian + 1, &year, &month, &tomorrow);
		this_day = (tomorrow == 1);
	}
	this_weekday = (c->weekdays & (UINT64CONST(1) << j2day(julian))) != 0;
	return c->both ? this_day && this_weekday : this_day || this_weekday;
}

/* The first local time in [from, to) that it is for; *found says whether there is one. */
static int64
search_local(const EdaCrontab *c, int64 from, int64 to, bool *found)
{
	*found = false;
	for (int64 day = floor_div(from, DAY_SECS); day * DAY_SECS < to; day++)
	{
		if (!matches_day(c, day))
			continue;
		for (int minute = 0; minute < 24 * 60; minute++)
		{
			int64		local = day * DAY_SECS + minute * 60;

			if (local < from || !(c->hours & (UINT64CONST(1) << minute / 60)) ||
				!(c->minutes & (UINT64CONST(1) << minute % 60)))
				continue;
			*found = (local < to);
			return local;
		}
	}
	return 0;
}

/* The span of constant offset that t is in: its offset, its end, and the offset behind. */
static void
span_at(pg_time_t t, pg_tz *zone, long *offset, pg_time_t *end, long *next_offset)
{
	int			isdst;
	int			next_isdst;
	pg_time_t	before = t - 1;

	/* the boundary that follows may be one at which only the name changes */
	switch (pg_next_dst_boundary(&before, offset, &isdst, end, next_offset, &next_isdst, zone))
	{
		case 1:
			if (*end > t)
				return;
			/* it is at t itself */
			if (pg_next_dst_boundary(&t, offset, &isdst, end, next_offset, &next_isdst, zone) == 1)
				return;
			/* FALLTHROUGH */
		case 0:
			*end = PG_INT64_MAX;
			*next_offset = *offset;
			return;
		default:
			*offset = *next_offset = 0;
			*end = PG_INT64_MAX;
	}
}

/* TimestampTz and seconds since 1970, rounded down. */
static pg_time_t
to_unix(TimestampTz t)
{
	return (pg_time_t) (floor_div(t, USECS_PER_SEC) +
						(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * DAY_SECS);
}

static TimestampTz
from_unix(pg_time_t t)
{
	return ((TimestampTz) t - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * DAY_SECS) * USECS_PER_SEC;
}

TimestampTz
EdaCrontabNext(const EdaCrontab *c, pg_tz *zone, TimestampTz after)
{
	bool		every_hour = (c->hours == ALL_HOURS);
	pg_time_t	first = to_unix(after) + 1; /* no instant before this one */
	pg_time_t	limit = first + HORIZON;
	pg_time_t	t = first - LONGEST_OVERLAP;
	int64		shown = PG_INT64_MIN;	/* what clocks have shown before this span */

	if (c->reboot || TIMESTAMP_NOT_FINITE(after))
		return DT_NOEND;
	if (c->seconds > 0)
		return after + c->seconds * USECS_PER_SEC;

	while (t < limit)
	{
		long		offset;
		long		next_offset;
		pg_time_t	end;
		int64		from;
		int64		local;
		bool		found;

		span_at(t, zone, &offset, &end, &next_offset);
		end = Min(end, limit);
		from = Max(t, first) + offset;
		if (!every_hour)
			from = Max(from, shown);
		local = search_local(c, from, end + offset, &found);
		if (found)
			return from_unix(local - offset);

		/* the local times that are left out here */
		if (!every_hour && next_offset > offset && end < limit && end >= first)
		{
			(void) search_local(c, end + offset, end + next_offset, &found);
			if (found)
				return from_unix(end);
		}
		shown = Max(shown, end + offset);
		t = end;
	}
	return DT_NOEND;
}

TimestampTz
EdaCrontabLatest(const EdaCrontab *c, pg_tz *zone, TimestampTz after, TimestampTz until)
{
	TimestampTz latest = DT_NOBEGIN;
	TimestampTz next;

	while ((next = EdaCrontabNext(c, zone, after)) <= until && next != DT_NOEND)
		latest = after = next;
	return latest;
}

/* Put what a clock with that offset to the wall shows at the schedule's times into the sets. */
static void
add_shifted(const EdaCrontab *c, int64 shift, EdaCrontab *wide)
{
	if (shift % 60 != 0)
	{
		wide->minutes = ALL_MINUTES;
		shift = floor_div(shift, 60) * 60;
	}
	for (int minute = 0; minute < 24 * 60; minute++)
	{
		int			there;

		if (!(c->hours & (UINT64CONST(1) << minute / 60)) ||
			!(c->minutes & (UINT64CONST(1) << minute % 60)))
			continue;
		there = (int) (((minute + shift / 60) % 1440 + 1440) % 1440);
		wide->hours |= UINT64CONST(1) << there / 60;
		wide->minutes |= UINT64CONST(1) << there % 60;
	}
}

/* Each of them, the one before and the one after, going round from low to high. */
static uint64
with_neighbours(uint64 set, int low, int high)
{
	uint64		all = ((UINT64CONST(1) << (high - low + 1)) - 1) << low;
	uint64		wide = (set | set << 1 | set >> 1) & all;

	if (set & (UINT64CONST(1) << low))
		wide |= UINT64CONST(1) << high;
	if (set & (UINT64CONST(1) << high))
		wide |= UINT64CONST(1) << low;
	return wide;
}

static void
append_set(StringInfo buf, uint64 set, int low, int high)
{
	const char *separator = "";

	if (buf->len > 0)
		appendStringInfoChar(buf, ' ');
	if (set == ((UINT64CONST(1) << (high - low + 1)) - 1) << low)
	{
		appendStringInfoChar(buf, '*');
		return;
	}
	for (int i = low; i <= high; i++)
	{
		int			last = i;

		if (!(set & (UINT64CONST(1) << i)))
			continue;
		while (last < high && (set & (UINT64CONST(1) << (last + 1))))
			last++;
		appendStringInfo(buf, last > i ? "%s%d-%d" : "%s%d", separator, i, last);
		separator = ",";
		i = last;
	}
}

/* The days on which a clock elsewhere may stand at one of its instants. */
static void
widen_days(const EdaCrontab *c, EdaCrontab *wide)
{
	const uint64 all_days = ((UINT64CONST(1) << 31) - 1) << 1;
	const uint64 all_weekdays = (1 << 7) - 1;

	wide->days = all_days;
	wide->weekdays = all_weekdays;
	wide->months = with_neighbours(c->months, 1, 12);
	/* one of the two is restricted, and the other one has no say */
	if (c->both && c->weekdays == all_weekdays)
	{
		uint64		days = c->days | (c->last_day ? UINT64CONST(15) << 28 : 0);

		/* the day before the first is one of four */
		wide->days = with_neighbours(days, 1, 31) | (days & 2 ? UINT64CONST(15) << 28 : 0) |
			(days & (UINT64CONST(15) << 28) ? 2 : 0);
	}
	else if (c->both && c->days == all_days)
		wide->weekdays = with_neighbours(c->weekdays, 0, 6);
}

char *
EdaCrontabWiden(const EdaCrontab *c, pg_tz *zone, pg_tz *cron_zone, TimestampTz now)
{
	EdaCrontab	wide = {0};
	EdaCrontab	any_day = *c;
	pg_time_t	t = to_unix(now) - LONGEST_OVERLAP;
	pg_time_t	limit = t + WIDEN_HORIZON;
	StringInfoData buf;

	any_day.days = any_day.months = any_day.weekdays = PG_UINT64_MAX;
	while (t < limit)
	{
		long		offset,
					next_offset,
					cron_offset,
					next_cron_offset;
		pg_time_t	end,
					cron_end;
		bool		found;

		span_at(t, zone, &offset, &end, &next_offset);
		span_at(t, cron_zone, &cron_offset, &cron_end, &next_cron_offset);
		add_shifted(c, cron_offset - offset, &wide);
		if (end <= cron_end && end < limit && next_offset > offset && c->hours != ALL_HOURS)
		{
			(void) search_local(&any_day, end + offset, end + next_offset, &found);
			if (found)
			{
				int64		there = end + (end == cron_end ? next_cron_offset : cron_offset);

				wide.hours |= UINT64CONST(1) << ((there % DAY_SECS + DAY_SECS) % DAY_SECS / 3600);
				wide.minutes |= UINT64CONST(1) << ((there % 3600 + 3600) % 3600 / 60);
			}
		}
		t = Min(end, cron_end);
	}
	widen_days(c, &wide);

	initStringInfo(&buf);
	append_set(&buf, wide.minutes, 0, 59);
	append_set(&buf, wide.hours, 0, 23);
	append_set(&buf, wide.days, 1, 31);
	append_set(&buf, wide.months, 1, 12);
	append_set(&buf, wide.weekdays, 0, 6);
	return buf.data;
}

pg_tz *
EdaCrontabZone(const char *name)
{
	pg_tz	   *zone = strlen(name) <= TZ_STRLEN_MAX ? pg_tzset(name) : NULL;

	return zone != NULL && pg_tz_acceptable(zone) ? zone : NULL;
}

/* The argument as a time zone, pg_cron's where it is NULL; ERROR where it is none. */
static pg_tz *
zone_argument(FunctionCallInfo fcinfo, int n)
{
	char	   *name;
	pg_tz	   *zone;

	if (fcinfo->args[n].isnull)
		return EdaCronZone();
	name = text_to_cstring(DatumGetTextPP(fcinfo->args[n].value));
	zone = EdaCrontabZone(name);

	if (zone == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" is not known", name)));
	return zone;
}

/*
 * eda._schedule_next(schedule text, timezone text, after timestamptz) RETURNS timestamptz: NULL
 * where it is not understood, or never due, or only when the server starts.
 */
Datum
eda_schedule_next(PG_FUNCTION_ARGS)
{
	char	   *schedule = EdaTextArg(fcinfo, 0, "schedule");
	pg_tz	   *zone = zone_argument(fcinfo, 1);
	EdaCrontab	c;
	TimestampTz next;

	EdaRequireArg(fcinfo, 2, "after");
	if (!EdaCrontabParse(schedule, &c))
		PG_RETURN_NULL();
	next = EdaCrontabNext(&c, zone, PG_GETARG_TIMESTAMPTZ(2));
	if (next == DT_NOEND)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(next);
}

/* eda._schedule_widened(schedule text, timezone text, cron_timezone text) RETURNS text */
Datum
eda_schedule_widened(PG_FUNCTION_ARGS)
{
	char	   *schedule = EdaTextArg(fcinfo, 0, "schedule");
	pg_tz	   *zone = zone_argument(fcinfo, 1);
	pg_tz	   *cron_zone = zone_argument(fcinfo, 2);
	EdaCrontab	c;

	if (!EdaCrontabParse(schedule, &c) || c.reboot || c.seconds > 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(EdaCrontabWiden(&c, zone, cron_zone,
													 GetCurrentTimestamp())));
}
