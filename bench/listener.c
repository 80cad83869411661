/*-------------------------------------------------------------------------
 *
 * listener.c
 *	  The peer of the latency rows: a client that LISTENs and drains an outbox.
 *
 *	listener CONNINFO CHANNEL STATEMENT
 *
 *	1. Sleeps in poll() until a notification is there, takes all that are there,
 *	   and runs STATEMENT, prepared, in a transaction of its own: it is to take a
 *	   batch of rows, run the handler on each, and return how many there were.
 *	2. Runs it again at once when the batch was full, or when a notification came
 *	   with its result.  An event that commits meanwhile has a notification of its
 *	   own, so nothing is left behind.
 *	3. Ends when the connection does.
 *
 * Prints "listening" when it does.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 *-------------------------------------------------------------------------
 */
#include "client.h"

#include <poll.h>

/* The statement's LIMIT. */
#define BATCH	100

int
main(int argc, char **argv)
{
	PGconn	   *conn;
	PGnotify   *notify;
	char		listen[100];

	if (argc != 4)
		fail("listener CONNINFO CHANNEL STATEMENT", NULL);
	conn = connect_or_fail(argv[1]);
	snprintf(listen, sizeof(listen), "LISTEN %s", argv[2]);
	PQclear(check(PQexec(conn, listen), conn));
	PQclear(check(PQprepare(conn, "drain", argv[3], 0, NULL), conn));
	printf("listening\n");
	fflush(stdout);

	for (;;)
	{
		int			woken = 0;

		while ((notify = PQnotifies(conn)) != NULL)
		{
			woken = 1;
			PQfreemem(notify);
		}
		while (woken)
		{
			PGresult   *result = check(PQexecPrepared(conn, "drain", 0, NULL, NULL, NULL, 0), conn);

			woken = atoi(PQgetvalue(result, 0, 0)) >= BATCH;
			PQclear(result);
			if (!woken)
			{
				/* what came with the result wakes us without poll() */
				while ((notify = PQnotifies(conn)) != NULL)
				{
					woken = 1;
					PQfreemem(notify);
				}
			}
		}
		{
			struct pollfd fd = {PQsocket(conn), POLLIN, 0};

			if (poll(&fd, 1, -1) > 0 && !PQconsumeInput(conn))
				return 0;
		}
	}
}
