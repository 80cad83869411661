/*-------------------------------------------------------------------------
 *
 * jobs/crontab.h
 *	  When a schedule in cron's notation comes due, in a time zone.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jobs/crontab.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_CRONTAB_H
#define EDA_CRONTAB_H

#include "datatype/timestamp.h"
#include "pgtime.h"

/* A schedule as pg_cron reads it; bit n of a set stands for the value n. */
typedef struct EdaCrontab
{
	bool		reboot;			/* '@reboot': when the server starts, and never else */
	int			seconds;		/* > 0: every so many seconds, and the rest is empty */
	uint64		minutes;		/* 0 to 59 */
	uint64		hours;			/* 0 to 23 */
	uint64		days;			/* of the month, 1 to 31 */
	uint64		months;			/* 1 to 12 */
	uint64		weekdays;		/* 0, Sunday, to 6 */
	bool		last_day;		/* the month's last day, too */
	bool		both;			/* day and weekday must match, not just one of them */
	bool		yearly;			/* '@yearly', which pg_cron takes and never runs */
} EdaCrontab;

/* False where it is not a schedule that is understood here. */
extern bool EdaCrontabParse(const char *text, EdaCrontab *c);

/*
 * The first instant after `after` at which it is due in the zone; DT_NOEND:
 * never, or not within nine years.
 */
extern TimestampTz EdaCrontabNext(const EdaCrontab *c, pg_tz *zone, TimestampTz after);

/* The last instant after `after`, up to `until`; DT_NOBEGIN: none.  For short spans. */
extern TimestampTz EdaCrontabLatest(const EdaCrontab *c, pg_tz *zone,
									TimestampTz after, TimestampTz until);

/*
 * A schedule that, read in cron_zone, is due whenever this one is due in the
 * zone, and some other times as well.  now: from when on.
 */
extern char *EdaCrontabWiden(const EdaCrontab *c, pg_tz *zone, pg_tz *cron_zone,
							 TimestampTz now);

/* A time zone by its name; NULL: there is none. */
extern pg_tz *EdaCrontabZone(const char *name);

#endif							/* EDA_CRONTAB_H */
