/*-------------------------------------------------------------------------
 *
 * client.h
 *	  What the two libpq clients of the benchmark share.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_BENCH_CLIENT_H
#define EDA_BENCH_CLIENT_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <libpq-fe.h>

/* Print what went wrong and end. */
static void
fail(const char *what, PGconn *conn)
{
	fprintf(stderr, "%s: %s", what, conn ? PQerrorMessage(conn) : "\n");
	exit(1);
}

static PGconn *
connect_or_fail(const char *conninfo)
{
	PGconn	   *conn = PQconnectdb(conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
		fail("connection", conn);
	return conn;
}

/* Check that a command succeeded, and return its result. */
static PGresult *
check(PGresult *result, PGconn *conn)
{
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		fail("statement", conn);
	return result;
}

#endif							/* EDA_BENCH_CLIENT_H */
