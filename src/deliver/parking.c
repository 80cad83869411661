/*-------------------------------------------------------------------------
 *
 * deliver/parking.c
 *	  The order among the events that wait for a subscription.
 *
 *	1. Waiting events are rows of eda.retry.  Where a subscription keeps order, those that belong
 *	   together stand in a queue by seq: with ordering `key` all of one lane and key, with `strict`
 *	   all of a lane.  Only the first of a queue has a due time (next_attempt_at); those behind it
 *	   are parked: theirs is NULL.  Events without a key, and all events with `none`, are alone.
 *	2. When the first one goes, the next one is due (EdaParkingReleaseNext).
 *	3. Another ordering makes other queues of the same rows (EdaParkingRepark).
 *	4. The caller holds the subscription's lock.  Everything is written as the extension's owner.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/parking.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/timestamp.h"

#include "base/at_commit.h"
#include "base/security.h"
#include "base/shmem.h"
#include "deliver/parking.h"
#include "deliver/waiting.h"
#include "publish/publish.h"

TimestampTz
EdaParkingReleaseNext(int32 subscription_id, int16 lane, const char *key,
					  EdaOrdering ordering, int64 after_seq)
{
	if (ordering == EDA_ORDER_NONE || (ordering == EDA_ORDER_KEY && key == NULL))
		return DT_NOEND;
	return EdaQueueRelease(subscription_id, lane,
						   ordering == EDA_ORDER_KEY ? key : NULL, after_seq);
}

void
EdaParkingRepark(int32 subscription_id, EdaOrdering ordering)
{
	static const Oid types[] = {INT4OID, CHAROID};
	EdaSecurityContext ctx;
	Datum		values[2];

	values[0] = Int32GetDatum(subscription_id);
	values[1] = CharGetDatum((char) ordering);

	EdaSpiBegin(&ctx);
	EdaSpiPreferIndexes();
	EdaSpiExecute("WITH place AS ("
				  "SELECT ctid AS tid, $2 = 'n' OR ($2 = 'k' AND key IS NULL)"
				  " OR pg_catalog.row_number() OVER (PARTITION BY lane,"
				  " CASE WHEN $2 = 'k' THEN key END ORDER BY seq) = 1 AS first"
				  " FROM eda.retry WHERE subscription_id = $1)"
				  " UPDATE eda.retry r SET next_attempt_at ="
				  " CASE WHEN p.first THEN pg_catalog.clock_timestamp() END"
				  " FROM place p WHERE r.ctid = p.tid"
				  " AND (r.next_attempt_at IS NOT NULL) <> p.first",
				  2, types, values, NULL, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);
	EdaWakeAtCommit(EDA_WAKE_RETRIES);
}
