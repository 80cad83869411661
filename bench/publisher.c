/*-------------------------------------------------------------------------
 *
 * publisher.c
 *	  Publishes one event at a time, at random moments.
 *
 *	publisher CONNINFO STATEMENT RATE SECONDS SEED [CHOICES]
 *
 *	1. Arrivals are a Poisson process of RATE a second, planned beforehand on the
 *	   monotonic clock.  A statement that lasts longer than the gap makes the next
 *	   one late, never dropped; the last line tells how late the worst one was.
 *	2. STATEMENT is prepared once and run once an arrival, its own transaction.
 *	   $1 is the payload, about 300 bytes of JSON in which "sent" is the
 *	   microsecond of the epoch at which the statement was given to libpq.  With
 *	   CHOICES, $2 is a random whole number below that.
 *	3. Ten events go first with a "sent" of 0, a few milliseconds apart: a
 *	   connection that was just made has empty caches, which is nobody's latency.
 *
 * Prints: events published, seconds they took, worst lateness in microseconds.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 *-------------------------------------------------------------------------
 */
#include "client.h"

#include <math.h>

#define WARM_UP		10

static double
seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Sleep until a moment of the monotonic clock. */
static void
sleep_until(double moment)
{
	struct timespec t = {(time_t) moment, (long) (fmod(moment, 1.0) * 1e9)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0)
		;
}

static void
publish(PGconn *conn, int number, int choices, int warm_up)
{
	char		payload[512];
	char		choice[16];
	const char *values[2] = {payload, choice};

	snprintf(choice, sizeof(choice), "%ld", choices ? random() % choices : 0);
	snprintf(payload, sizeof(payload),
			 "{\"sent\": %.0f, \"id\": %d, \"type\": \"order.created\", "
			 "\"customer\": {\"id\": %d, \"email\": \"ada.lovelace@example.com\"}, \"items\": ["
			 "{\"sku\": \"TEA-0042\", \"qty\": 2, \"price\": 12.50}, "
			 "{\"sku\": \"MUG-0007\", \"qty\": 1, \"price\": 8.90}], "
			 "\"total\": 33.90, \"currency\": \"EUR\", \"time\": \"2026-01-31T12:00:00Z\"}",
			 warm_up ? 0.0 : seconds(CLOCK_REALTIME) * 1e6, number, number % 1000);
	PQclear(check(PQexecPrepared(conn, "publish", choices ? 2 : 1, values, NULL, NULL, 0), conn));
}

int
main(int argc, char **argv)
{
	PGconn	   *conn;
	double		rate,
				duration,
				begin,
				next,
				end,
				late = 0;
	int			choices;
	int			published = 0;

	if (argc < 6)
		fail("publisher CONNINFO STATEMENT RATE SECONDS SEED [CHOICES]", NULL);
	rate = atof(argv[3]);
	duration = atof(argv[4]);
	srandom(atoi(argv[5]));
	choices = argc > 6 ? atoi(argv[6]) : 0;

	conn = connect_or_fail(argv[1]);
	PQclear(check(PQprepare(conn, "publish", argv[2], 0, NULL), conn));
	for (int i = 0; i < WARM_UP; i++)
	{
		publish(conn, i, choices, 1);
		sleep_until(seconds(CLOCK_MONOTONIC) + 0.005);
	}

	begin = seconds(CLOCK_MONOTONIC);
	end = begin + duration;
	next = begin;
	for (;;)
	{
		double		now;

		next += -log((random() + 1.0) / (RAND_MAX + 2.0)) / rate;
		if (next >= end)
			break;
		if (next > seconds(CLOCK_MONOTONIC))
			sleep_until(next);
		now = seconds(CLOCK_MONOTONIC);
		if (now - next > late)
			late = now - next;
		publish(conn, published, choices, 0);
		published++;
	}
	printf("%d %.3f %.0f\n", published, seconds(CLOCK_MONOTONIC) - begin, late * 1e6);
	PQfinish(conn);
	return 0;
}
