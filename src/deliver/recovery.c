/*-------------------------------------------------------------------------
 *
 * deliver/recovery.c
 *	  What is remembered of events that were handled, but not at first.
 *
 *	1. An event that is handled at its first delivery leaves nothing but the cursor behind.  One
 *	   that failed or was put off has a row of eda.retry to lose anyway, and gets one of
 *	   eda.recovery instead, in the same transaction: at which attempt it was handled, and when.
 *	   eda.trace shows it.
 *	2. It is kept for eda.retention, as the events are; the dispatcher removes it with each poll.
 *	3. A seek that brings events again makes the rows of its subscription untrue: they go.
 *
 * Rows are written under the subscription's lock, as the extension's owner.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/recovery.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/timestamp.h"

#include "base/security.h"
#include "deliver/recovery.h"

void
EdaRecoveryRecord(int32 subscription_id, const EdaItem *item)
{
	static const Oid types[] = {INT4OID, INT8OID, INT4OID, TIMESTAMPTZOID};
	EdaSecurityContext ctx;
	Datum		values[4];

	values[0] = Int32GetDatum(subscription_id);
	values[1] = Int64GetDatum(item->ev.id);
	values[2] = Int32GetDatum(item->attempt + 1);
	values[3] = TimestampTzGetDatum(GetCurrentTimestamp());
	EdaSpiBegin(&ctx);
	EdaSpiExecute("INSERT INTO eda.recovery (subscription_id, event_id, attempt, handled_at)"
				  " VALUES ($1, $2, $3, $4) ON CONFLICT (subscription_id, event_id)"
				  " DO UPDATE SET attempt = excluded.attempt, handled_at = excluded.handled_at",
				  4, types, values, NULL, SPI_OK_INSERT);
	EdaSpiEnd(&ctx);
}

void
EdaRecoveryForget(int32 subscription_id)
{
	EdaSpiExecuteById("DELETE FROM eda.recovery WHERE subscription_id = $1",
					  subscription_id, SPI_OK_DELETE);
}

int64
EdaRecoveryPurge(int64 max)
{
	static const Oid types[] = {TIMESTAMPTZOID, INT8OID};
	EdaSecurityContext ctx;
	Datum		values[2];
	int64		purged;

	values[0] = TimestampTzGetDatum(GetCurrentTimestamp() - (int64) eda_retention * USECS_PER_SEC);
	values[1] = Int64GetDatum(max);
	EdaSpiBegin(&ctx);
	EdaSpiPreferIndexes();
	/*
	 * one that an executor is writing anew is left to the next poll: the dispatcher waits for
	 * nobody
	 */
	purged = EdaSpiExecute("DELETE FROM eda.recovery r"
						   " USING (SELECT o.subscription_id, o.event_id FROM eda.recovery o"
						   " WHERE o.handled_at <= $1 ORDER BY o.handled_at LIMIT $2"
						   " FOR UPDATE SKIP LOCKED) o"
						   " WHERE r.subscription_id = o.subscription_id AND r.event_id = o.event_id",
						   2, types, values, NULL, SPI_OK_DELETE);
	EdaSpiEnd(&ctx);
	return purged;
}
