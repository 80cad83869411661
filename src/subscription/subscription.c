/*-------------------------------------------------------------------------
 *
 * subscription/subscription.c
 *	  Reading eda.subscription, and the lock of each subscription.
 *
 *	1. Definitions are read by C, under a given snapshot:
 *	   executors read them as a role that has no rights on the table.
 *	   A process keeps what it read until the epoch moves.
 *	2. The epoch is raised by a relcache invalidation of eda.subscription,
 *	   which EdaSubscriptionsChanged() sends with the commit of each change.
 *	3. The subscription's lock (EdaSubscriptionLock) is an object lock on
 *	   (eda.subscription, id).  Who changes something takes it exclusively and
 *	   reads only then, with a snapshot taken after it was granted: the
 *	   statement's own may be older than the change it waited for.
 *	4. Definitions are written by subscription/definition.c, what delivery makes of
 *	   a state by deliver/state.c.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/subscription/subscription.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/at_commit.h"
#include "base/catalog.h"
#include "base/condition.h"
#include "base/security.h"
#include "base/shmem.h"
#include "subscription/subscription.h"

/* Attribute numbers of eda.subscription (src/sql/30_subscription.sql). */
enum
{
	Anum_subscription_id = 1,
	Anum_subscription_name,
	Anum_subscription_owner,
	Anum_subscription_topics,
	Anum_subscription_handler_schema,
	Anum_subscription_handler_name,
	Anum_subscription_handler_kind,
	Anum_subscription_handler_oid,
	Anum_subscription_handler_owner,
	Anum_subscription_filter,
	Anum_subscription_schema,
	Anum_subscription_ordering,
	Anum_subscription_concurrency,
	Anum_subscription_batch_size,
	Anum_subscription_rate_limit,
	Anum_subscription_max_attempts,
	Anum_subscription_backoff,
	Anum_subscription_max_backoff,
	Anum_subscription_reject_on,
	Anum_subscription_block_after,
	Anum_subscription_timeout,
	Anum_subscription_expire_after,
	Anum_subscription_priority,
	Anum_subscription_start_at,
	Anum_subscription_start_xid,
	Anum_subscription_start_id,
	Anum_subscription_state,
	Anum_subscription_blocked_reason,
	Anum_subscription_blocked_detail,
	Anum_subscription_blocked_at,
	Anum_subscription_probe_at,
	Anum_subscription_probes,
	Anum_subscription_last_error,
	Anum_subscription_created_at,
	Anum_subscription_start_snapshot,
	Anum_subscription_start_bound,
	Anum_subscription_lanes,
	Anum_subscription_fence,
	Anum_subscription_fence_pos,
	Anum_subscription_crashes,
	Anum_subscription_paused_at,
	Anum_subscription_last_error_at,
	Anum_subscription_last_error_code,
	Anum_subscription_last_error_where
};

/*
 * Patterns of one subscription that each publisher has compiled, which makes them ten times as
 * large.
 */
#define MAX_COMPILED	64

/* The table whose invalidations count; unset until it was read once. */
static Oid	watched_relid = InvalidOid;
static uint64 subscription_epoch = 1;

void
EdaSubscriptionInvalidate(Oid relid)
{
	/* No catalogue may be read here: compare with the oid last used. */
	if (relid == InvalidOid || watched_relid == InvalidOid ||
		relid == watched_relid)
		subscription_epoch++;
}

uint64
EdaSubscriptionEpoch(void)
{
	return subscription_epoch;
}

TimestampTz
EdaFromNow(int64 ms)
{
	TimestampTz now = GetCurrentTimestamp();

	if (ms <= 0)
		return now;
	if (ms >= (END_TIMESTAMP - 1 - now) / 1000)
		return END_TIMESTAMP - 1;
	return now + ms * 1000;
}

int64
EdaIntervalToMs(const Interval *interval)
{
	int64		days;
	int64		ms;

	days = (int64) interval->month * DAYS_PER_MONTH + interval->day;
	if (pg_mul_s64_overflow(days, (int64) SECS_PER_DAY * 1000, &ms) ||
		pg_add_s64_overflow(ms, interval->time / 1000, &ms))
		return days > 0 ? PG_INT64_MAX : PG_INT64_MIN;
	return ms;
}

/*
 * Reading
 */

/* Of a column that is NOT NULL. */
static Datum
get_value(HeapTuple tuple, TupleDesc desc, int attnum)
{
	bool		isnull;

	return heap_getattr(tuple, attnum, desc, &isnull);
}

static char *
get_string(HeapTuple tuple, TupleDesc desc, int attnum)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* Why it is blocked; NONE unless it is. */
static EdaBlock
block_of(HeapTuple tup, TupleDesc desc, EdaState state)
{
	EdaBlock	block = EdaBlockOf(get_string(tup, desc, Anum_subscription_blocked_reason));

	if (state != EDA_BLOCKED)
		return EDA_BLOCK_NONE;
	/* the table says that it is blocked, and not why */
	return block == EDA_BLOCK_NONE ? EDA_BLOCK_UNKNOWN : block;
}

static int64
get_ms(HeapTuple tuple, TupleDesc desc, int attnum)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, desc, &isnull);

	return isnull ? 0 : EdaIntervalToMs(DatumGetIntervalP(value));
}

static EdaSnapshot *
get_snapshot(HeapTuple tuple, TupleDesc desc, int attnum)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, desc, &isnull);

	return isnull ? NULL : EdaSnapshotDecode(DatumGetByteaPP(value));
}

static List *
get_string_list(HeapTuple tuple, TupleDesc desc, int attnum)
{
	List	   *result = NIL;
	bool		isnull;
	Datum		value = heap_getattr(tuple, attnum, desc, &isnull);
	Datum	   *elems;
	int			nelems;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false,
					  TYPALIGN_INT, &elems, NULL, &nelems);
	for (int i = 0; i < nelems; i++)
		result = lappend(result, TextDatumGetCString(elems[i]));
	return result;
}

/* Deep copy of a row, in the current context. */
static EdaSubscription *
subscription_from_tuple(HeapTuple tup, TupleDesc desc)
{
	static uint64 loads = 0;
	EdaSubscription *sub = palloc0(sizeof(EdaSubscription));
	bool		isnull;
	Datum		value;

	sub->load = ++loads;
	sub->row_xmin = HeapTupleHeaderGetRawXmin(tup->t_data);
	sub->row_tid = tup->t_self;
	sub->id = DatumGetInt32(get_value(tup, desc, Anum_subscription_id));
	sub->name = get_string(tup, desc, Anum_subscription_name);
	sub->owner = DatumGetObjectId(get_value(tup, desc, Anum_subscription_owner));
	sub->topics = get_string(tup, desc, Anum_subscription_topics);
	sub->pattern = EdaTopicPatternCompile(sub->topics);

	sub->handler_schema = get_string(tup, desc, Anum_subscription_handler_schema);
	sub->handler_name = get_string(tup, desc, Anum_subscription_handler_name);
	value = heap_getattr(tup, Anum_subscription_handler_kind, desc, &isnull);
	sub->handler_kind = isnull ? 0 : (EdaHandlerKind) DatumGetChar(value);
	value = heap_getattr(tup, Anum_subscription_handler_oid, desc, &isnull);
	sub->handler_oid = isnull ? InvalidOid : DatumGetObjectId(value);
	value = heap_getattr(tup, Anum_subscription_handler_owner, desc, &isnull);
	sub->handler_owner = isnull ? InvalidOid : DatumGetObjectId(value);

	value = heap_getattr(tup, Anum_subscription_filter, desc, &isnull);
	sub->filter = isnull ? NULL : DatumGetJsonPathPCopy(value);
	value = heap_getattr(tup, Anum_subscription_schema, desc, &isnull);
	sub->schema = isnull ? NULL : DatumGetJsonbPCopy(value);

	sub->ordering = EdaOrderingOf(get_string(tup, desc, Anum_subscription_ordering));
	sub->batch_size = DatumGetInt32(get_value(tup, desc, Anum_subscription_batch_size));
	sub->max_attempts = DatumGetInt32(get_value(tup, desc, Anum_subscription_max_attempts));
	sub->backoff_ms = get_ms(tup, desc, Anum_subscription_backoff);
	sub->max_backoff_ms = get_ms(tup, desc, Anum_subscription_max_backoff);
	sub->reject_on = get_string_list(tup, desc, Anum_subscription_reject_on);
	sub->block_after = DatumGetInt32(get_value(tup, desc, Anum_subscription_block_after));
	sub->timeout_ms = get_ms(tup, desc, Anum_subscription_timeout);
	sub->expire_after_ms = get_ms(tup, desc, Anum_subscription_expire_after);
	sub->priority = DatumGetInt32(get_value(tup, desc, Anum_subscription_priority));

	value = heap_getattr(tup, Anum_subscription_start_at, desc, &isnull);
	sub->has_start_at = !isnull;
	sub->start_at = isnull ? 0 : DatumGetTimestampTz(value);
	value = heap_getattr(tup, Anum_subscription_start_xid, desc, &isnull);
	sub->start_xid = isnull ? 0 : U64FromFullTransactionId(DatumGetFullTransactionId(value));
	value = heap_getattr(tup, Anum_subscription_start_id, desc, &isnull);
	sub->start_id = isnull ? 0 : DatumGetInt64(value);

	sub->start_bound = get_snapshot(tup, desc, Anum_subscription_start_bound);

	sub->lanes = DatumGetInt16(get_value(tup, desc, Anum_subscription_lanes));
	sub->concurrency = DatumGetInt32(get_value(tup, desc, Anum_subscription_concurrency));
	sub->fence = get_snapshot(tup, desc, Anum_subscription_fence);
	value = heap_getattr(tup, Anum_subscription_fence_pos, desc, &isnull);
	sub->fence_pos = isnull ? 0 : DatumGetInt64(value);
	value = heap_getattr(tup, Anum_subscription_rate_limit, desc, &isnull);
	sub->rate_limit = isnull ? 0 : DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, value));
	sub->crashes = DatumGetInt32(get_value(tup, desc, Anum_subscription_crashes));

	/* 'active', 'paused', 'blocked': the first letter says it. */
	sub->state = (EdaState) get_string(tup, desc, Anum_subscription_state)[0];
	sub->block = block_of(tup, desc, sub->state);
	sub->blocked_detail = get_string(tup, desc, Anum_subscription_blocked_detail);
	value = heap_getattr(tup, Anum_subscription_probe_at, desc, &isnull);
	sub->has_probe_at = !isnull;
	sub->probe_at = isnull ? 0 : DatumGetTimestampTz(value);
	sub->probes = DatumGetInt32(get_value(tup, desc, Anum_subscription_probes));

	return sub;
}

/* The rows that match the key (nkeys 0: all), in no order; by_id: the key is the primary one. */
static List *
load_subscriptions(ScanKey key, int nkeys, bool by_id)
{
	List	   *result = NIL;
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tup;

	watched_relid = EdaSubscriptionRelId();

	rel = table_open(watched_relid, AccessShareLock);
	scan = systable_beginscan(rel, by_id ? EdaSubscriptionIndexId() : InvalidOid, by_id,
							  GetActiveSnapshot(), nkeys, key);
	while ((tup = systable_getnext(scan)) != NULL)
		result = lappend(result,
						 subscription_from_tuple(tup, RelationGetDescr(rel)));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	return result;
}

static int
compare_by_id(const ListCell *a, const ListCell *b)
{
	int32		ida = ((EdaSubscription *) lfirst(a))->id;
	int32		idb = ((EdaSubscription *) lfirst(b))->id;

	return (ida > idb) - (ida < idb);
}

List *
EdaSubscriptionLoadAll(void)
{
	List	   *result = load_subscriptions(NULL, 0, false);

	list_sort(result, compare_by_id);
	return result;
}

/* The one with that id in a list that is sorted by it; NULL: none. */
static EdaSubscription *
find_in(const List *subs, int32 id)
{
	int			low = 0;
	int			high = list_length(subs);

	while (low < high)
	{
		int			middle = (low + high) / 2;
		EdaSubscription *sub = list_nth(subs, middle);

		if (sub->id == id)
			return sub;
		if (sub->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* The columns that a publisher needs, in a context of their own. */
static EdaSubscription *
topics_from_tuple(HeapTuple tup, TupleDesc desc, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "eda topics of a subscription", ALLOCSET_SMALL_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	EdaSubscription *sub = palloc0(sizeof(EdaSubscription));

	sub->row_xmin = HeapTupleHeaderGetRawXmin(tup->t_data);
	sub->row_tid = tup->t_self;
	sub->id = DatumGetInt32(get_value(tup, desc, Anum_subscription_id));
	sub->lanes = DatumGetInt16(get_value(tup, desc, Anum_subscription_lanes));
	sub->state = (EdaState) get_string(tup, desc, Anum_subscription_state)[0];
	sub->block = block_of(tup, desc, sub->state);
	/* one that is paused is matched by nobody */
	if (EdaSubscriptionDelivers(sub))
	{
		int			n = 1;

		sub->topics = get_string(tup, desc, Anum_subscription_topics);
		for (const char *c = sub->topics; *c && n <= MAX_COMPILED; c++)
			n += *c == ',';
		if (n <= MAX_COMPILED)
			sub->pattern = EdaTopicPatternCompile(sub->topics);
	}
	MemoryContextSwitchTo(before);
	return sub;
}

List *
EdaSubscriptionLoadTopics(List *known, MemoryContext parent)
{
	List	   *result = NIL;
	List	   *kept = NIL;
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tup;
	ListCell   *lc;

	watched_relid = EdaSubscriptionRelId();
	rel = table_open(watched_relid, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, GetActiveSnapshot(), 0, NULL);
	while ((tup = systable_getnext(scan)) != NULL)
	{
		EdaSubscription *sub = find_in(known, DatumGetInt32(get_value(tup, RelationGetDescr(rel),
																	  Anum_subscription_id)));

		if (sub != NULL && sub->row_xmin == HeapTupleHeaderGetRawXmin(tup->t_data) &&
			ItemPointerEquals(&sub->row_tid, &tup->t_self))
			kept = lappend(kept, sub);
		else
			sub = topics_from_tuple(tup, RelationGetDescr(rel), parent);
		result = lappend(result, sub);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	list_sort(kept, compare_by_id);
	foreach(lc, known)
	{
		EdaSubscription *sub = lfirst(lc);

		if (find_in(kept, sub->id) != sub)
			MemoryContextDelete(GetMemoryChunkContext(sub));
	}
	list_free(kept);
	list_sort(result, compare_by_id);
	return result;
}

EdaSubscription *
EdaSubscriptionLoad(int32 id)
{
	List	   *found;
	ScanKeyData key;

	ScanKeyInit(&key, Anum_subscription_id, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(id));
	found = load_subscriptions(&key, 1, true);
	return found == NIL ? NULL : linitial(found);
}

bool
EdaSubscriptionIsThere(int32 id)
{
	bool		there;

	PushActiveSnapshot(GetLatestSnapshot());
	there = EdaSubscriptionLoad(id) != NULL;
	PopActiveSnapshot();
	return there;
}

EdaSubscription *
EdaSubscriptionByName(const char *name, bool missing_ok)
{
	List	   *found;
	ScanKeyData key;

	ScanKeyInit(&key, Anum_subscription_name, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(name));
	found = load_subscriptions(&key, 1, false);
	if (found != NIL)
		return linitial(found);
	if (!missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_EDA_UNDEFINED_SUBSCRIPTION),
				 errmsg("subscription \"%s\" does not exist", name),
				 errhint("View eda.subscriptions lists the subscriptions of this database.")));
	return NULL;
}

/*
 * Which events
 */

bool
EdaSubscriptionMayGet(const EdaSubscription *sub, int16 lane, const EdaLogEntry *entry)
{
	return EdaTopicPatternMayMatch(sub->pattern, entry->topic_hash) &&
		(lane == EDA_ANY_LANE ||
		 EdaSubscriptionLaneOf(sub, entry->key_hash, entry->id) == lane) &&
		(entry->xid != sub->start_xid || entry->id >= sub->start_id);
}

bool
EdaSubscriptionGets(const EdaSubscription *sub, const EdaEvent *ev)
{
	text	   *topic = (text *) PG_DETOAST_DATUM_PACKED(PointerGetDatum(ev->topic));

	if (!EdaTopicPatternMatch(sub->pattern, VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic)))
		return false;
	if (sub->has_start_at && EdaEventDueAt(ev) < sub->start_at &&
		(sub->start_bound == NULL || EdaSnapshotSees(sub->start_bound, ev->xid)))
		return false;
	return ev->xid != sub->start_xid || ev->id >= sub->start_id;
}

/*
 * Rights and locks
 */

bool
EdaMayOperate(const EdaSubscription *sub, Oid roleid)
{
	return has_privs_of_role(roleid, sub->owner) ||
		has_privs_of_role(roleid, EdaExtensionOwner());
}

void
EdaCheckOperator(const EdaSubscription *sub)
{
	char	   *owner;

	if (EdaMayOperate(sub, GetUserId()))
		return;

	owner = GetUserNameFromId(sub->owner, true);
	if (owner == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for subscription \"%s\"", sub->name),
				 errdetail("Its owner, the role with oid %u, does not exist any more.",
						   sub->owner),
				 errhint("A superuser can subscribe again with another owner.")));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for subscription \"%s\"", sub->name),
			 errdetail("It belongs to role \"%s\".", owner),
			 errhint("Members of that role may operate it: GRANT %s TO %s.",
					 quote_identifier(owner),
					 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

bool
EdaSubscriptionTryLock(int32 id, LOCKMODE mode)
{
	return ConditionalLockDatabaseObject(EdaSubscriptionRelId(), (Oid) id, 0, mode);
}

void
EdaSubscriptionLock(int32 id, LOCKMODE mode)
{
	LockDatabaseObject(EdaSubscriptionRelId(), (Oid) id, 0, mode);
}

EdaSubscription *
EdaSubscriptionForChange(const char *name, const char *command, bool missing_ok)
{
	PreventCommandIfReadOnly(command);

	for (;;)
	{
		EdaSubscription *sub;

		PushActiveSnapshot(GetLatestSnapshot());
		sub = EdaSubscriptionByName(name, missing_ok);
		PopActiveSnapshot();
		if (sub == NULL)
			return NULL;

		/* Nobody without the right to change it may get in its way. */
		EdaCheckOperator(sub);
		EdaSubscriptionLock(sub->id, AccessExclusiveLock);

		PushActiveSnapshot(GetLatestSnapshot());
		sub = EdaSubscriptionLoad(sub->id);
		PopActiveSnapshot();
		if (sub != NULL)
		{
			EdaCheckOperator(sub);
			return sub;
		}
		/* Dropped while we waited; another may have the name by now. */
	}
}

bool
EdaInOwnHandler(const char *name)
{
	const EdaEvent *ev = EdaCurrentEvent();

	return ev != NULL && ev->subscription != NULL && strcmp(ev->subscription, name) == 0;
}

void
EdaRefuseOwnHandler(const char *name, const char *what)
{
	if (EdaInOwnHandler(name))
		ereport(ERROR,
				(errcode(ERRCODE_EDA_IN_HANDLER),
				 errmsg("%s is not possible in a handler of the same subscription", what),
				 errdetail("Subscription \"%s\" is handling event %lld.",
						   name, (long long) EdaCurrentEvent()->id),
				 errhint("Publish an event, and let a handler of another subscription do it.")));
}

void
EdaSubscriptionTouch(int32 id)
{
	EdaSpiExecuteById("UPDATE eda.subscription SET name = name WHERE subscription_id = $1",
					  id, SPI_OK_UPDATE);
	EdaSubscriptionsChanged();
}
