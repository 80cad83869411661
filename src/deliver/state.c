/*-------------------------------------------------------------------------
 *
 * deliver/state.c
 *	  State changes of a subscription that delivery makes.
 *
 *	1. A subscription is blocked where it cannot go on, unblocked where it can again, and
 *	   its last error is kept.  These are columns of its row in eda.subscription.
 *	2. Where one is blocked for another reason than before, eda.subscription.blocked is
 *	   published in the same transaction.  It carries code, condition and
 *	   place of the error, never its message: whoever reads it need not have the right to
 *	   see the payload.
 *	3. Writing goes through SPI as the extension's owner.  The caller has the
 *	   subscription's lock in some mode, or is the dispatcher.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/state.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/at_commit.h"
#include "base/condition.h"
#include "base/security.h"
#include "base/shmem.h"
#include "deliver/state.h"
#include "publish/publish.h"

/* What is kept of an error's text in last_error, in bytes. */
#define LAST_ERROR_LEN	2000

static Datum
optional_text(const char *s, char *null)
{
	*null = s == NULL ? 'n' : ' ';
	return s == NULL ? (Datum) 0 : CStringGetTextDatum(s);
}

/* The text as last_error keeps it. */
static Datum
clipped_text(const char *s, char *null)
{
	if (s != NULL)
		s = pnstrdup(s, pg_mbcliplen(s, strlen(s), LAST_ERROR_LEN));
	return optional_text(s, null);
}

/* What of an error is for everybody: code, place, condition. */
static void
error_params(const ErrorData *edata, Datum *values, char *nulls)
{
	const char *code = unpack_sql_state(edata->sqlerrcode);

	values[0] = optional_text(code, &nulls[0]);
	values[1] = optional_text(EdaErrorWhere(edata->context), &nulls[1]);
	values[2] = optional_text(EdaConditionName(code), &nulls[2]);
}

void
EdaSubscriptionBlock(int32 id, EdaBlock block, const char *detail,
					 TimestampTz probe_at, const EdaEvent *ev, const ErrorData *edata)
{
	static const Oid types[] = {INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID, TEXTOID, TEXTOID, TEXTOID,
	TEXTOID, TEXTOID};
	EdaSecurityContext ctx;
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[10];
	char		nulls[10] = {' ', ' ', ' ', ' ', 'n', 'n', 'n', 'n', 'n', 'n'};
	bool		quiet = false;
	Jsonb	   *payload = NULL;
	char	   *name = NULL;
	bool		changed;
	bool		publish = false;

	values[0] = Int32GetDatum(id);
	values[1] = CStringGetTextDatum(EdaBlockName(block));
	values[2] = clipped_text(detail, &nulls[2]);
	values[3] = TimestampTzGetDatum(probe_at);
	if (probe_at == 0)
		nulls[3] = 'n';
	if (ev != NULL)
	{
		char	   *topic = text_to_cstring((text *) ev->topic);

		quiet = strcmp(topic, "eda") == 0 || strncmp(topic, "eda.", 4) == 0;
		values[4] = Int64GetDatum(ev->id);
		values[5] = PointerGetDatum(ev->topic);
		values[6] = PointerGetDatum(ev->key);
		nulls[4] = nulls[5] = ' ';
		nulls[6] = ev->key == NULL ? 'n' : ' ';
	}
	if (edata != NULL)
		error_params(edata, &values[7], &nulls[7]);

	EdaSpiBegin(&ctx);
	changed = EdaSpiExecute("WITH before AS ("
							"SELECT subscription_id, name, blocked_reason"
							" FROM eda.subscription"
							" WHERE subscription_id = $1 AND state <> 'paused' FOR UPDATE)"
							" UPDATE eda.subscription s SET state = 'blocked',"
							" blocked_reason = $2, blocked_detail = $3,"
							" blocked_at = CASE WHEN b.blocked_reason IS DISTINCT FROM $2"
							" THEN pg_catalog.clock_timestamp() ELSE s.blocked_at END,"
							" probe_at = $4,"
							" probes = CASE WHEN b.blocked_reason IS DISTINCT FROM $2"
							" THEN 0 ELSE s.probes END,"
							" last_error = coalesce($3, s.last_error),"
							" last_error_at = CASE WHEN $3 IS NULL THEN s.last_error_at"
							" ELSE pg_catalog.clock_timestamp() END,"
							" last_error_code = CASE WHEN $3 IS NULL THEN s.last_error_code ELSE $8 END,"
							" last_error_where = CASE WHEN $3 IS NULL THEN s.last_error_where ELSE $9 END"
							" FROM before b WHERE s.subscription_id = b.subscription_id"
							" RETURNING b.blocked_reason IS DISTINCT FROM $2,"
							/*
							 * who reads it need not be one who may see the payload, nor a message
							 * that may hold values of it
							 */
							" pg_catalog.jsonb_build_object('subscription', b.name,"
							" 'event_id', $5, 'topic', $6, 'key', $7, 'reason', $2,"
							" 'detail', CASE WHEN $8 IS NULL THEN $3 END,"
							" 'error_code', $8, 'error_condition', $10, 'error_where', $9), b.name",
							10, types, values, nulls, SPI_OK_UPDATE_RETURNING) > 0;
	if (changed)
	{
		bool		isnull;
		HeapTuple	tup = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		publish = DatumGetBool(SPI_getbinval(tup, desc, 1, &isnull));
		if (publish)
		{
			MemoryContext old = MemoryContextSwitchTo(caller);

			payload = DatumGetJsonbPCopy(SPI_getbinval(tup, desc, 2, &isnull));
			name = TextDatumGetCString(SPI_getbinval(tup, desc, 3, &isnull));
			MemoryContextSwitchTo(old);
		}
	}
	EdaSpiEnd(&ctx);

	if (!changed)
		return;
	EdaSubscriptionsChanged();
	if (!publish || quiet)
		return;
	if (ev != NULL)
		EdaPublishAbout("eda.subscription.blocked", payload, name, ev);
	else
		EdaPublishInternal("eda.subscription.blocked", payload, name, NULL, 0);
}

void
EdaSubscriptionUnblock(int32 id)
{
	EdaSpiExecuteById("UPDATE eda.subscription SET state = 'active',"
					  " blocked_reason = NULL, blocked_detail = NULL, blocked_at = NULL,"
					  " probe_at = NULL, probes = 0"
					  " WHERE subscription_id = $1 AND state = 'blocked'",
					  id, SPI_OK_UPDATE);
	EdaSubscriptionsChanged();
}

void
EdaSubscriptionNoteError(int32 id, const ErrorData *edata)
{
	static const Oid types[] = {INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	EdaSecurityContext ctx;
	Datum		values[5];
	char		nulls[5] = {' ', ' ', ' ', ' ', ' '};

	values[0] = Int32GetDatum(id);
	values[1] = clipped_text(edata->message != NULL ? edata->message : "", &nulls[1]);
	error_params(edata, &values[2], &nulls[2]);
	EdaSpiBegin(&ctx);
	/* a row version less for each failure that says what the one before said */
	EdaSpiExecute("UPDATE eda.subscription SET last_error = $2, last_error_code = $3, last_error_where = $4,"
				  " last_error_at = clock_timestamp()"
				  " WHERE subscription_id = $1 AND (last_error IS DISTINCT FROM $2"
				  " OR last_error_code IS DISTINCT FROM $3 OR last_error_where IS DISTINCT FROM $4"
				  " OR last_error_at > clock_timestamp() - interval '1 second' IS NOT TRUE)",
				  4, types, values, nulls, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);
}

void
EdaSubscriptionSetProbe(int32 id, TimestampTz probe_at)
{
	static const Oid types[] = {INT4OID, TIMESTAMPTZOID};
	EdaSecurityContext ctx;
	Datum		values[2];

	values[0] = Int32GetDatum(id);
	values[1] = TimestampTzGetDatum(probe_at);
	EdaSpiBegin(&ctx);
	EdaSpiExecute("UPDATE eda.subscription SET probe_at = $2, probes = probes + 1"
				  " WHERE subscription_id = $1 AND state = 'blocked'",
				  2, types, values, NULL, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);
	EdaWakeAtCommit(EDA_WAKE_RETRIES);
}
