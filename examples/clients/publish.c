/*
 * Publish from C with libpq.  Parameters without a type are taken as what the
 * function wants.  gcc -I$(pg_config --includedir) publish.c -lpq
 */
#include <libpq-fe.h>
#include <stdio.h>

int
main(void)
{
	PGconn	   *conn = PQconnectdb("");
	const char *one[] = {"client.libpq", "{\"n\": 1}", "customer 7", "libpq 1"};
	const char *many[] = {"client.libpq", "{\"{\\\"n\\\": 2}\",\"{\\\"n\\\": 3}\"}", "{\"libpq 2\",\"libpq 3\"}"};
	PGresult   *res;

	if (PQstatus(conn) != CONNECTION_OK)
	{
		fputs(PQerrorMessage(conn), stderr);
		return 1;
	}

	res = PQexecParams(conn, "SELECT eda.publish($1, $2, key => $3, idempotency_key => $4)",
					   4, NULL, one, NULL, NULL, 0);
	if (PQresultStatus(res) == PGRES_TUPLES_OK)
		printf("event %s\n", PQgetvalue(res, 0, 0));
	else
		fputs(PQresultErrorMessage(res), stderr);
	PQclear(res);

	/* arrays are text, too: jsonb values in an array literal */
	res = PQexecParams(conn, "SELECT eda.publish_batch($1, $2, idempotency_keys => $3)",
					   3, NULL, many, NULL, NULL, 0);
	if (PQresultStatus(res) == PGRES_TUPLES_OK)
		printf("events %s\n", PQgetvalue(res, 0, 0));
	else
		fputs(PQresultErrorMessage(res), stderr);
	PQclear(res);
	PQfinish(conn);
	return 0;
}
