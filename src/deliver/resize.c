/*-------------------------------------------------------------------------
 *
 * deliver/resize.c
 *	  How many lanes a subscription has, and how that changes.
 *
 *	1. A subscription has a row of eda.cursor for each lane, numbered from 0.
 *	   eda.subscription.lanes says how many there are, `concurrency` how many
 *	   are wanted.  An event's lane follows from its key and the number of
 *	   lanes (EdaSubscriptionLaneOf), so with another number most events
 *	   have another lane.
 *	2. Where all lanes are at the same place, what they have done together is
 *	   what lanes of any number would have done at that place: the number
 *	   changes by writing other rows.  A single lane always is at the same
 *	   place.
 *	3. Where they are not, the number that is wanted waits, and the lanes run
 *	   on to a place where they meet, the fence: the end of the latest window
 *	   that any of them has begun or, where they share their window, the
 *	   position of the most advanced one.  None reads past it.  No lane
 *	   can be past it already: the later of two snapshots sees all that
 *	   the earlier one sees.  The dispatcher changes the number when all stand there.
 *	4. Waiting events move to the lanes that they belong to then, in the order
 *	   in which they wait: all of a key go together, so a key that is blocked
 *	   stays blocked.
 *	5. All of it under the subscription's lock in AccessExclusiveLock, which the
 *	   dispatcher never waits for.  Once all lanes stand at the fence their
 *	   executors start no batch, so it gets the lock.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/resize.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/at_commit.h"
#include "base/security.h"
#include "deliver/parking.h"
#include "deliver/probation.h"
#include "deliver/resize.h"
#include "publish/publish.h"

PG_FUNCTION_INFO_V1(eda_lane);

/*
 * eda._lane(key text, event_id bigint, lanes int) RETURNS smallint
 */
Datum
eda_lane(PG_FUNCTION_ARGS)
{
	EdaSubscription sub = {0};
	uint16		hash;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	hash = EdaHashKey(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0));
	sub.lanes = (int16) PG_GETARG_INT32(2);
	PG_RETURN_INT16(EdaSubscriptionLaneOf(&sub, hash, PG_GETARG_INT64(1)));
}

/* Is a at the place of b? */
static bool
same_place(const EdaCursor *a, const EdaCursor *b)
{
	return a->pos_id == b->pos_id && EdaSnapshotEqual(a->to, b->to) &&
		(a->pos_id == EDA_WINDOW_DONE || EdaSnapshotEqual(a->from, b->from));
}

static bool
all_at_one_place(const EdaCursor *cursors, int n)
{
	for (int i = 1; i < n; i++)
		if (!same_place(&cursors[0], &cursors[i]))
			return false;
	return true;
}

bool
EdaLaneAtFence(const EdaSubscription *sub, const EdaCursor *cursor)
{
	return sub->fence != NULL && cursor->pos_id == sub->fence_pos &&
		EdaSnapshotEqual(cursor->to, sub->fence);
}

bool
EdaLanesAtFence(const EdaSubscription *sub)
{
	int			n;
	EdaCursor  *cursors = EdaCursorLoadAll(sub->id, &n);

	for (int i = 0; i < n; i++)
		if (!EdaLaneAtFence(sub, &cursors[i]))
			return false;
	return n > 0;
}

void
EdaLanesCreate(int32 subscription_id, int lanes, const EdaCursor *cursor)
{
	static const Oid types[] = {
		INT4OID, INT4OID, INT4OID, INT8OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, BYTEAOID, BYTEAOID,
		TIMESTAMPTZOID
	};
	EdaSecurityContext ctx;
	Datum		values[11];
	char		nulls[11];

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int32GetDatum(subscription_id);
	values[1] = Int32GetDatum(lanes);
	values[2] = Int32GetDatum(cursor->streak);
	values[3] = Int64GetDatum(cursor->pos_id);
	values[4] = Int64GetDatum(cursor->handled);
	values[5] = Int64GetDatum(cursor->filtered);
	values[6] = Int64GetDatum(cursor->failed);
	values[7] = TimestampTzGetDatum(cursor->last_handled_at);
	if (cursor->last_handled_at == 0)
		nulls[7] = 'n';
	values[8] = PointerGetDatum(EdaSnapshotEncode(cursor->pos_id == EDA_WINDOW_DONE ? cursor->to : cursor->from));
	values[9] = PointerGetDatum(EdaSnapshotEncode(cursor->to));
	values[10] = TimestampTzGetDatum(cursor->failing_since);
	if (cursor->streak == 0)
		nulls[10] = 'n';

	EdaSpiBegin(&ctx);
	EdaSpiExecute("INSERT INTO eda.cursor (subscription_id, lane, streak, pos_id,"
				  " handled, filtered, failed, last_handled_at, from_snapshot, to_snapshot,"
				  " failing_since)"
				  " SELECT $1, lane, CASE lane WHEN 0 THEN $3 ELSE 0 END, $4,"
				  " CASE lane WHEN 0 THEN $5 ELSE 0 END, CASE lane WHEN 0 THEN $6 ELSE 0 END,"
				  " CASE lane WHEN 0 THEN $7 ELSE 0 END, CASE lane WHEN 0 THEN $8 END, $9, $10,"
				  " CASE lane WHEN 0 THEN $11 END"
				  " FROM generate_series(0, $2 - 1) AS lane",
				  11, types, values, nulls, SPI_OK_INSERT);
	EdaSpiExecute("UPDATE eda.subscription SET lanes = $2, fence = NULL, fence_pos = NULL"
				  " WHERE subscription_id = $1",
				  2, types, values, nulls, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);
}

/* All lanes are at one place: from now on there are `lanes` of them. */
static void
change_number(int32 subscription_id, const EdaCursor *cursors, int n, int lanes, EdaOrdering ordering)
{
	static const Oid types[] = {INT4OID, INT4OID};
	EdaSecurityContext ctx;
	EdaCursor	sum = cursors[0];
	Datum		values[2];

	for (int i = 1; i < n; i++)
	{
		if (cursors[i].streak > sum.streak)
		{
			sum.streak = cursors[i].streak;
			sum.failing_since = cursors[i].failing_since;
		}
		sum.handled += cursors[i].handled;
		sum.filtered += cursors[i].filtered;
		sum.failed += cursors[i].failed;
		sum.last_handled_at = Max(sum.last_handled_at, cursors[i].last_handled_at);
	}
	EdaCursorDelete(subscription_id);
	EdaLanesCreate(subscription_id, lanes, &sum);

	values[0] = Int32GetDatum(subscription_id);
	values[1] = Int32GetDatum(lanes);
	EdaSpiBegin(&ctx);
	EdaSpiExecute("UPDATE eda.retry SET lane = eda._lane(key, event_id, $2)"
				  " WHERE subscription_id = $1 AND lane <> eda._lane(key, event_id, $2)",
				  2, types, values, NULL, SPI_OK_UPDATE);
	EdaSpiExecute("UPDATE eda.dead_letter SET lane = eda._lane(key, event_id, $2)"
				  " WHERE subscription_id = $1 AND lane <> eda._lane(key, event_id, $2)",
				  2, types, values, NULL, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);
	EdaParkingRepark(subscription_id, ordering);
	EdaProbationNewLanes(subscription_id);
}

/* Where the lanes meet; snapshot NULL: nowhere, they just go on. */
static void
store_fence(int32 subscription_id, const EdaSnapshot *snapshot, int64 pos_id)
{
	static const Oid types[] = {INT4OID, BYTEAOID, INT8OID};
	EdaSecurityContext ctx;
	Datum		values[3];
	char		nulls[3] = {' ', ' ', ' '};

	values[0] = Int32GetDatum(subscription_id);
	values[1] = snapshot == NULL ? (Datum) 0 : PointerGetDatum(EdaSnapshotEncode(snapshot));
	values[2] = Int64GetDatum(pos_id);
	if (snapshot == NULL)
		nulls[1] = nulls[2] = 'n';
	EdaSpiBegin(&ctx);
	EdaSpiExecute("UPDATE eda.subscription SET fence = $2, fence_pos = $3"
				  " WHERE subscription_id = $1",
				  3, types, values, nulls, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);
}

void
EdaLanesAdjust(const EdaSubscription *sub, EdaOrdering ordering)
{
	EdaCursor  *cursors;
	const EdaCursor *last;
	int			n;
	bool		share_window = true;

	if (sub->concurrency == sub->lanes)
	{
		if (sub->fence != NULL)
			store_fence(sub->id, NULL, 0);
		return;
	}

	PushActiveSnapshot(GetLatestSnapshot());
	cursors = EdaCursorLoadAll(sub->id, &n);
	PopActiveSnapshot();
	if (n == 0)
		return;
	if (all_at_one_place(cursors, n))
	{
		change_number(sub->id, cursors, n, sub->concurrency, ordering);
		return;
	}
	if (sub->fence != NULL)
		return;					/* they are on their way there */

	last = &cursors[0];
	for (int i = 1; i < n; i++)
	{
		if (!EdaSnapshotEqual(cursors[i].from, cursors[0].from) ||
			!EdaSnapshotEqual(cursors[i].to, cursors[0].to))
			share_window = false;
		if (EdaSnapshotOlder(last->to, cursors[i].to))
			last = &cursors[i];
	}
	if (share_window)
	{
		for (int i = 1; i < n; i++)
			if (cursors[i].pos_id > last->pos_id)
				last = &cursors[i];
		store_fence(sub->id, last->to, last->pos_id);
	}
	else
		store_fence(sub->id, last->to, EDA_WINDOW_DONE);
}

bool
EdaLanesSwitch(int32 subscription_id, bool *again)
{
	EdaSubscription *sub;
	EdaCursor  *cursors;
	int			n;
	bool		ready;

	PushActiveSnapshot(GetLatestSnapshot());
	sub = EdaSubscriptionLoad(subscription_id);
	ready = sub != NULL && EdaLanesAtFence(sub);
	PopActiveSnapshot();
	if (!ready)
		return false;
	if (!EdaSubscriptionTryLock(subscription_id, AccessExclusiveLock))
	{
		*again = true;
		return false;
	}

	/* as it is now that nobody changes it */
	PushActiveSnapshot(GetLatestSnapshot());
	sub = EdaSubscriptionLoad(subscription_id);
	cursors = sub == NULL ? NULL : EdaCursorLoadAll(subscription_id, &n);
	PopActiveSnapshot();
	if (cursors == NULL || sub->fence == NULL || !all_at_one_place(cursors, n))
		return false;
	change_number(subscription_id, cursors, n, sub->concurrency, sub->ordering);
	EdaSubscriptionsChanged();
	return true;
}
