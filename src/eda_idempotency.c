/*-------------------------------------------------------------------------
 *
 * eda_idempotency.c
 *	  Idempotency keys: the first event of a key on a topic is the only one,
 *	  for eda.idempotency_window.
 *
 *	1. A key is claimed by inserting its row into eda.idempotency before the
 *	   event gets its id: a concurrent duplicate waits on the unique index
 *	   until the first has committed or rolled back.  The id is written into
 *	   the row after that, in the same call, so that no id is taken before a
 *	   wait.
 *	2. What could not be inserted is there: taken over where its window is
 *	   over, else compared.  A row that went away in between (housekeeping) is
 *	   tried again.
 *	3. Keys of one call are claimed together, in the order of their bytes, new
 *	   ones first, then those that are taken over: so two calls over the same
 *	   keys don't deadlock.  Calls that one transaction makes one after the
 *	   other may, and so may the chunks of a query unless it is ordered by its
 *	   keys.  Duplicates within one call are found here, before the table sees
 *	   them.
 *	4. Payloads are compared by the SHA-256 of their jsonb form.
 *	5. Statements run as the extension's owner: publishers need no rights on
 *	   the table.  Row locks are all there is.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/eda_idempotency.c
 *
 *-------------------------------------------------------------------------
 */
#include "eda.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "eda_idempotency.h"
#include "eda_security.h"

/* From a key to its first claim in this call. */
typedef struct ClaimEntry
{
	char		key[EDA_MAX_NAME_LEN + 1];
	int			index;
} ClaimEntry;

static bytea *
hash_payload(struct varlena *payload)
{
	/* a jsonb is a varlena like any other */
	return DatumGetByteaPP(DirectFunctionCall1(sha256_bytea,
											   PointerGetDatum(payload)));
}

static bool
same_hash(bytea *a, bytea *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

static void
conflict_error(struct varlena *topic, struct varlena *key, int64 event_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_EDA_IDEMPOTENCY_CONFLICT),
			 errmsg("idempotency key \"%s\" was used with another payload on topic \"%s\"",
					text_to_cstring(key), text_to_cstring(topic)),
			 event_id != 0 ?
			 errdetail("Its first event has id %lld.", (long long) event_id) :
			 errdetail("Both are in the same call."),
			 errhint("Publish a changed payload under another idempotency key.")));
}

/* Which of the claims is this key's first?  ERROR when none is. */
static int
find_claim(HTAB *table, Datum key)
{
	ClaimEntry *entry;
	char	   *name = TextDatumGetCString(key);

	entry = hash_search(table, name, HASH_FIND, NULL);
	if (entry == NULL)
		elog(ERROR, "unexpected idempotency key \"%s\"", name);
	pfree(name);
	return entry->index;
}

/* Arrays of keys and hashes of the claims that `todo` marks; returns their number. */
static int
build_arrays(EdaIdempotencyClaim *claims, const bool *todo, int n,
			 Datum *keys, Datum *hashes)
{
	Datum	   *elems = palloc(sizeof(Datum) * n * 2);
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		if (!todo[i])
			continue;
		elems[count] = PointerGetDatum(claims[i].key);
		elems[n + count] = PointerGetDatum(claims[i].payload_hash);
		count++;
	}
	if (count > 0)
	{
		*keys = PointerGetDatum(construct_array(elems, count, TEXTOID,
												-1, false, TYPALIGN_INT));
		*hashes = PointerGetDatum(construct_array(elems + n, count, BYTEAOID,
												  -1, false, TYPALIGN_INT));
	}
	pfree(elems);
	return count;
}

/* The rows that the last statement returned are keys that became ours. */
static void
take_claimed(HTAB *table, EdaIdempotencyClaim *claims, bool *todo)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int			index;

		index = find_claim(table, SPI_getbinval(SPI_tuptable->vals[i],
												SPI_tuptable->tupdesc,
												1, &isnull));
		claims[index].claimed = true;
		todo[index] = false;
	}
	SPI_freetuptable(SPI_tuptable);
}

void
EdaIdempotencyClaimKeys(struct varlena *topic,
						EdaIdempotencyClaim *claims, int n)
{
	static const Oid claim_types[] =
	{TEXTOID, TEXTARRAYOID, BYTEAARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	static const Oid read_types[] = {TEXTOID, TEXTARRAYOID};
	EdaSecurityContext ctx;
	HASHCTL		ctl;
	HTAB	   *table;
	bool	   *todo;
	TimestampTz now = GetCurrentTimestamp();
	Datum		values[5];

	if (n <= 0)
		return;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(((ClaimEntry *) NULL)->key);
	ctl.entrysize = sizeof(ClaimEntry);
	ctl.hcxt = CurrentMemoryContext;
	table = hash_create("eda idempotency claims", n, &ctl,
						HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	todo = palloc(sizeof(bool) * n);

	for (int i = 0; i < n; i++)
	{
		char	   *key = text_to_cstring(claims[i].key);
		ClaimEntry *entry;
		bool		found;

		Assert(strlen(key) <= EDA_MAX_NAME_LEN);
		claims[i].claimed = false;
		claims[i].event_id = 0;
		claims[i].payload_hash = hash_payload(claims[i].payload);
		claims[i].duplicate_of = -1;

		entry = hash_search(table, key, HASH_ENTER, &found);
		if (!found)
			entry->index = i;
		else
		{
			claims[i].duplicate_of = entry->index;
			if (!same_hash(claims[i].payload_hash,
						   claims[entry->index].payload_hash))
				conflict_error(topic, claims[i].key, 0);
		}
		todo[i] = !found;
		pfree(key);
	}

	values[0] = PointerGetDatum(topic);
	values[3] = TimestampTzGetDatum(now);
	values[4] = TimestampTzGetDatum(now - (int64) eda_idempotency_window * USECS_PER_SEC);

	EdaSpiBegin(&ctx);
	while (build_arrays(claims, todo, n, &values[1], &values[2]) > 0)
	{
		CHECK_FOR_INTERRUPTS();

		/* new keys; waits for whoever is inserting one of them */
		EdaSpiExecute("INSERT INTO eda.idempotency AS i"
					  " (topic, idempotency_key, payload_hash, published_at)"
					  " SELECT $1, u.key, u.hash, $4"
					  " FROM ROWS FROM (pg_catalog.unnest($2),"
					  " pg_catalog.unnest($3)) AS u (key, hash)"
					  " ORDER BY u.key COLLATE \"C\""
					  " ON CONFLICT (topic, idempotency_key) DO NOTHING"
					  " RETURNING i.idempotency_key",
					  4, claim_types, values, NULL, SPI_OK_INSERT_RETURNING);
		take_claimed(table, claims, todo);
		if (build_arrays(claims, todo, n, &values[1], &values[2]) == 0)
			break;

		/* keys whose window is over; an UPDATE by itself locks in any order */
		EdaSpiExecute("WITH expired AS MATERIALIZED ("
					  "SELECT o.idempotency_key AS key, u.hash"
					  " FROM eda.idempotency AS o"
					  " JOIN ROWS FROM (pg_catalog.unnest($2),"
					  " pg_catalog.unnest($3)) AS u (key, hash)"
					  " ON o.idempotency_key = u.key"
					  " WHERE o.topic = $1 AND o.published_at <= $5"
					  " ORDER BY u.key COLLATE \"C\" FOR UPDATE OF o)"
					  " UPDATE eda.idempotency AS i"
					  " SET event_id = NULL, payload_hash = e.hash, published_at = $4"
					  " FROM expired AS e"
					  " WHERE i.topic = $1 AND i.idempotency_key = e.key"
					  " RETURNING i.idempotency_key",
					  5, claim_types, values, NULL, SPI_OK_UPDATE_RETURNING);
		take_claimed(table, claims, todo);
		if (build_arrays(claims, todo, n, &values[1], &values[2]) == 0)
			break;

		/* the others have an event */
		EdaSpiExecute("SELECT i.idempotency_key, i.event_id, i.payload_hash"
					  " FROM eda.idempotency AS i"
					  " WHERE i.topic = $1 AND i.idempotency_key = ANY ($2)",
					  2, read_types, values, NULL, SPI_OK_SELECT);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			HeapTuple	tuple = SPI_tuptable->vals[i];
			TupleDesc	desc = SPI_tuptable->tupdesc;
			bool		isnull;
			Datum		hash;
			int			index;

			index = find_claim(table, SPI_getbinval(tuple, desc, 1, &isnull));
			claims[index].event_id =
				DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull));
			if (isnull)
				elog(ERROR, "an idempotency key has no event");
			hash = SPI_getbinval(tuple, desc, 3, &isnull);
			if (!same_hash(DatumGetByteaPP(hash), claims[index].payload_hash))
				conflict_error(topic, claims[index].key,
							   claims[index].event_id);
			todo[index] = false;
		}
		SPI_freetuptable(SPI_tuptable);
	}
	EdaSpiEnd(&ctx);

	/* a duplicate within the call: the same event, whose id may not be known yet */
	for (int i = 0; i < n; i++)
	{
		if (claims[i].duplicate_of >= 0)
			claims[i].event_id = claims[claims[i].duplicate_of].event_id;
	}

	hash_destroy(table);
	pfree(todo);
}

void
EdaIdempotencyRecord(struct varlena *topic,
					 EdaIdempotencyClaim *claims, int n)
{
	static const Oid types[] = {TEXTOID, TEXTARRAYOID, INT8ARRAYOID};
	EdaSecurityContext ctx;
	Datum	   *elems = palloc(sizeof(Datum) * Max(n, 1) * 2);
	int			count = 0;
	Datum		values[3];

	for (int i = 0; i < n; i++)
	{
		if (!claims[i].claimed)
			continue;
		elems[count] = PointerGetDatum(claims[i].key);
		elems[n + count] = Int64GetDatum(claims[i].event_id);
		count++;
	}

	if (count > 0)
	{
		values[0] = PointerGetDatum(topic);
		values[1] = PointerGetDatum(construct_array(elems, count, TEXTOID,
													-1, false, TYPALIGN_INT));
		values[2] = PointerGetDatum(construct_array(elems + n, count, INT8OID,
													8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));

		EdaSpiBegin(&ctx);
		if (EdaSpiExecute("UPDATE eda.idempotency AS i SET event_id = u.id"
						  " FROM ROWS FROM (pg_catalog.unnest($2),"
						  " pg_catalog.unnest($3)) AS u (key, id)"
						  " WHERE i.topic = $1 AND i.idempotency_key = u.key",
						  3, types, values, NULL, SPI_OK_UPDATE) != count)
			elog(ERROR, "an idempotency key is gone");
		EdaSpiEnd(&ctx);
	}

	pfree(elems);
}

int64
EdaIdempotencyPurge(int64 max)
{
	static const Oid types[] = {TIMESTAMPTZOID, INT8OID};
	EdaSecurityContext ctx;
	Datum		values[2];
	int64		purged;

	values[0] = TimestampTzGetDatum(GetCurrentTimestamp() -
									(int64) eda_idempotency_window * USECS_PER_SEC);
	values[1] = Int64GetDatum(max);

	EdaSpiBegin(&ctx);
	purged = EdaSpiExecute("DELETE FROM eda.idempotency AS i"
						   " USING (SELECT o.topic, o.idempotency_key"
						   "        FROM eda.idempotency AS o"
						   "        WHERE o.published_at <= $1"
						   "        ORDER BY o.published_at LIMIT $2"
						   "        FOR UPDATE SKIP LOCKED) AS o"
						   " WHERE i.topic = o.topic"
						   " AND i.idempotency_key = o.idempotency_key"
						   " AND i.published_at <= $1",
						   2, types, values, NULL, SPI_OK_DELETE);
	EdaSpiEnd(&ctx);
	return purged;
}
