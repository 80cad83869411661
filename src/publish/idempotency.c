/*-------------------------------------------------------------------------
 *
 * publish/idempotency.c
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
 *	5. At SERIALIZABLE, what is read with the transaction's snapshot makes it depend on whoever
 *	   writes near it: an index page of young keys is everybody's, and a small table
 *	   is read as a whole.  So nothing is read that way.  What is there is looked up with
 *	   SnapshotSelf, which leaves no predicate lock, as a unique index's own check does
 *	   (and the outcome depends on no more than that check's); rows are changed by
 *	   their TID, which touches no other row.  Between a claim and its record the row stays
 *	   where it is, as we hold the table.
 *	6. Statements run as the extension's owner: publishers need no rights on
 *	   the table.  Row locks are all there is.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/publish/idempotency.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/security.h"
#include "publish/idempotency.h"

/* Attribute numbers of eda.idempotency (src/sql/20_log.sql). */
enum
{
	Anum_idempotency_topic = 1,
	Anum_idempotency_key,
	Anum_idempotency_event_id,
	Anum_idempotency_payload_hash,
	Anum_idempotency_published_at
};

/* What a call claims its keys with. */
typedef struct ClaimCall
{
	struct varlena *topic;
	TimestampTz now;
	TimestampTz over;			/* a key that was published then or before is free again */
} ClaimCall;

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
			 errhidestmt(true),
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
		claims[index].tid = *(ItemPointer) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[i],
																		  SPI_tuptable->tupdesc,
																		  2, &isnull));
		todo[index] = false;
	}
	SPI_freetuptable(SPI_tuptable);
}

/* A key's row as it is now, copied; NULL: none. */
static HeapTuple
find_row(Relation rel, struct varlena *topic, struct varlena *key)
{
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	/* the index is in the order of the database's collation */
	ScanKeyEntryInitialize(&keys[0], 0, Anum_idempotency_topic, BTEqualStrategyNumber, InvalidOid,
						   DEFAULT_COLLATION_OID, F_TEXTEQ, PointerGetDatum(topic));
	ScanKeyEntryInitialize(&keys[1], 0, Anum_idempotency_key, BTEqualStrategyNumber, InvalidOid,
						   DEFAULT_COLLATION_OID, F_TEXTEQ, PointerGetDatum(key));
	scan = systable_beginscan(rel, EdaRelationId("idempotency_pkey"), true, SnapshotSelf, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

/* Take a key over whose window is over; false where somebody was quicker. */
static bool
take_over(const ClaimCall *call, EdaIdempotencyClaim *claim, ItemPointer tid)
{
	static const Oid types[] = {TIDOID, TEXTOID, TEXTOID, BYTEAOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[lengthof(types)];
	bool		isnull;

	values[0] = PointerGetDatum(tid);
	values[1] = PointerGetDatum(call->topic);
	values[2] = PointerGetDatum(claim->key);
	values[3] = PointerGetDatum(claim->payload_hash);
	values[4] = TimestampTzGetDatum(call->now);
	values[5] = TimestampTzGetDatum(call->over);
	if (EdaSpiExecute("UPDATE eda.idempotency"
					  " SET event_id = NULL, payload_hash = $4, published_at = $5"
					  " WHERE ctid = $1 AND topic = $2 AND idempotency_key = $3 AND published_at <= $6"
					  " RETURNING ctid",
					  lengthof(types), types, values, NULL, SPI_OK_UPDATE_RETURNING) == 0)
		return false;
	claim->claimed = true;
	claim->tid = *(ItemPointer) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[0],
															   SPI_tuptable->tupdesc, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return true;
}

/*
 * A key that is in the table: it becomes ours where its window is over (if may_take), or its
 * event is the one.  False where there is no row, or it went away or was taken over by somebody
 * else.
 */
static bool
settle_claim(const ClaimCall *call, EdaIdempotencyClaim *claim, bool may_take)
{
	Relation	rel = table_open(EdaRelationId("idempotency"), AccessShareLock);
	HeapTuple	tuple = find_row(rel, call->topic, claim->key);
	TupleDesc	desc = RelationGetDescr(rel);
	bool		settled = false;

	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_idempotency_published_at, desc, &isnull);

		if (DatumGetTimestampTz(value) <= call->over)
			settled = may_take && take_over(call, claim, &tuple->t_self);
		else
		{
			value = heap_getattr(tuple, Anum_idempotency_event_id, desc, &isnull);
			if (isnull)
				elog(ERROR, "an idempotency key has no event");
			claim->event_id = DatumGetInt64(value);
			value = heap_getattr(tuple, Anum_idempotency_payload_hash, desc, &isnull);
			if (!same_hash(DatumGetByteaPP(value), claim->payload_hash))
				conflict_error(call->topic, claim->key, claim->event_id);
			settled = true;
		}
		heap_freetuple(tuple);
	}
	table_close(rel, AccessShareLock);
	return settled;
}

/* By the bytes of their keys. */
static int
compare_claims(const void *a, const void *b, void *arg)
{
	EdaIdempotencyClaim *claims = arg;

	return strcmp(text_to_cstring(claims[*(const int *) a].key),
				  text_to_cstring(claims[*(const int *) b].key));
}

/*
 * Put the claims into the table, and mark as still to be done those that are no duplicate of one
 * before.
 */
static void
prepare_claims(const ClaimCall *call, HTAB *table, EdaIdempotencyClaim *claims, bool *todo, int n)
{
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
				conflict_error(call->topic, claims[i].key, 0);
		}
		todo[i] = !found;
		pfree(key);
	}
}

/*
 * Claim those that are to be done and not in the table; waits for whoever is inserting one of
 * them.
 */
static void
insert_claims(const ClaimCall *call, HTAB *table, EdaIdempotencyClaim *claims, bool *todo, int n)
{
	static const Oid types[] = {TEXTOID, TEXTARRAYOID, BYTEAARRAYOID, TIMESTAMPTZOID};
	Datum		values[lengthof(types)];

	if (build_arrays(claims, todo, n, &values[1], &values[2]) == 0)
		return;
	values[0] = PointerGetDatum(call->topic);
	values[3] = TimestampTzGetDatum(call->now);
	EdaSpiExecute("INSERT INTO eda.idempotency AS i"
				  " (topic, idempotency_key, payload_hash, published_at)"
				  " SELECT $1, u.key, u.hash, $4"
				  " FROM ROWS FROM (pg_catalog.unnest($2),"
				  " pg_catalog.unnest($3)) AS u (key, hash)"
				  " ORDER BY u.key COLLATE \"C\""
				  " ON CONFLICT (topic, idempotency_key) DO NOTHING"
				  " RETURNING i.idempotency_key, i.ctid",
				  lengthof(types), types, values, NULL, SPI_OK_INSERT_RETURNING);
	take_claimed(table, claims, todo);
}

/* Settle what is to be done, in the order of the keys; returns whether anything had to be. */
static bool
settle_claims(const ClaimCall *call, EdaIdempotencyClaim *claims, bool *todo, int n, bool may_take)
{
	int		   *order = palloc(sizeof(int) * n);
	int			left = 0;

	for (int i = 0; i < n; i++)
	{
		if (todo[i])
			order[left++] = i;
	}
	if (left > 1)
		qsort_arg(order, left, sizeof(int), compare_claims, claims);
	for (int i = 0; i < left; i++)
		todo[order[i]] = !settle_claim(call, &claims[order[i]], may_take);
	pfree(order);
	return left > 0;
}

void
EdaIdempotencyClaimKeys(struct varlena *topic,
						EdaIdempotencyClaim *claims, int n)
{
	EdaSecurityContext ctx;
	ClaimCall	call;
	HASHCTL		ctl;
	HTAB	   *table;
	bool	   *todo;

	if (n <= 0)
		return;

	call.topic = topic;
	call.now = GetCurrentTimestamp();
	call.over = call.now - (int64) eda_idempotency_window * USECS_PER_SEC;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(((ClaimEntry *) NULL)->key);
	ctl.entrysize = sizeof(ClaimEntry);
	ctl.hcxt = CurrentMemoryContext;
	table = hash_create("eda idempotency claims", n, &ctl,
						HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	todo = palloc(sizeof(bool) * n);
	prepare_claims(&call, table, claims, todo, n);

	EdaSpiBegin(&ctx);
	/*
	 * ON CONFLICT leaves a predicate lock on the row that is there, and many of them become one on
	 * the table
	 */
	if (IsolationIsSerializable())
		settle_claims(&call, claims, todo, n, false);
	do
	{
		CHECK_FOR_INTERRUPTS();
		insert_claims(&call, table, claims, todo, n);
	} while (settle_claims(&call, claims, todo, n, true));
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
EdaIdempotencyRecord(EdaIdempotencyClaim *claims, int n)
{
	static const Oid types[] = {TIDARRAYOID, INT8ARRAYOID};
	EdaSecurityContext ctx;
	Datum	   *elems = palloc(sizeof(Datum) * Max(n, 1) * 2);
	int			count = 0;
	Datum		values[2];

	for (int i = 0; i < n; i++)
	{
		if (!claims[i].claimed)
			continue;
		elems[count] = PointerGetDatum(&claims[i].tid);
		elems[n + count] = Int64GetDatum(claims[i].event_id);
		count++;
	}

	if (count > 0)
	{
		values[0] = PointerGetDatum(construct_array(elems, count, TIDOID,
													sizeof(ItemPointerData), false, TYPALIGN_SHORT));
		values[1] = PointerGetDatum(construct_array(elems + n, count, INT8OID,
													8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));

		EdaSpiBegin(&ctx);
		/* row by row, whatever the number: see the head comment, 5. */
		EdaSpiPreferIndexes();
		if (EdaSpiExecute("UPDATE eda.idempotency AS i SET event_id = u.id"
						  " FROM ROWS FROM (pg_catalog.unnest($1),"
						  " pg_catalog.unnest($2)) AS u (tid, id)"
						  " WHERE i.ctid = u.tid",
						  2, types, values, NULL, SPI_OK_UPDATE) != count)
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
