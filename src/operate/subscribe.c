/*-------------------------------------------------------------------------
 *
 * operate/subscribe.c
 *	  eda.subscribe, alter_subscription, subscription_def, unsubscribe,
 *	  pause and resume.
 *
 *	1. A subscription that exists is changed under its lock in
 *	   AccessExclusiveLock (EdaSubscriptionForChange), which waits for the batch
 *	   at hand.
 *	2. Before one is made its name is locked (an object lock on eda.subscription
 *	   and the name's hash): of two that make the same one, the second
 *	   replaces what the first made.  Nobody takes the name's lock while holding
 *	   that of the subscription of that name.
 *	3. A new one gets a position (operate/seek.c), which is a finished window,
 *	   and a cursor for each lane.
 *	   Until it is committed, the log's hold lock keeps segments from being
 *	   retired that it needs.
 *	4. Each change reaches the workers at commit (EdaSubscriptionsChanged).
 *	5. A handler can change its own subscription, but for what its batch at hand
 *	   relies on to its end: the order among waiting events and the number of lanes.
 *	   The batch ends with the event at hand (deliver/turn.c).
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/operate/subscribe.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/args.h"
#include "base/at_commit.h"
#include "base/catalog.h"
#include "base/security.h"
#include "deliver/deliver.h"
#include "event/event.h"
#include "log/log.h"
#include "operate/seek.h"
#include "publish/publish.h"
#include "subscription/subscription.h"

PG_FUNCTION_INFO_V1(eda_subscribe);
PG_FUNCTION_INFO_V1(eda_alter_subscription);
PG_FUNCTION_INFO_V1(eda_subscription_def);
PG_FUNCTION_INFO_V1(eda_unsubscribe);
PG_FUNCTION_INFO_V1(eda_pause);
PG_FUNCTION_INFO_V1(eda_resume);

/* Arguments of eda.subscribe that are no settings. */
#define ARG_SUBSCRIPTION	0
#define ARG_START			17
#define ARG_START_AT		18
#define ARG_OWNER			19

/* Where a new subscription begins. */
typedef struct StartPoint
{
	bool		latest;
	bool		has_time;
	TimestampTz time;			/* with has_time: skip what was published before */
} StartPoint;

static void
get_start_point(FunctionCallInfo fcinfo, StartPoint *start)
{
	char	   *word = EdaTextArg(fcinfo, ARG_START, "start");

	start->latest = strcmp(word, "latest") == 0;
	if (!start->latest && strcmp(word, "earliest") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unrecognized start \"%s\"", word),
				 errhint("It is latest or earliest; give a time as start_at.")));
	start->has_time = !PG_ARGISNULL(ARG_START_AT);
	start->time = 0;
	if (start->has_time)
	{
		if (!start->latest)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("start and start_at must not be given both")));
		start->latest = false;
		start->time = PG_GETARG_TIMESTAMPTZ(ARG_START_AT);
	}
}

static void
get_definition(FunctionCallInfo fcinfo, EdaDefinition *def)
{
	memset(def, 0, sizeof(EdaDefinition));
	for (int i = 0; i < EDA_NSETTINGS; i++)
	{
		/* In the order of the arguments, but for the owner. */
		int			arg = i == EDA_SET_OWNER ? ARG_OWNER : i + 1;

		def->values[i] = PG_GETARG_DATUM(arg);
		def->nulls[i] = PG_ARGISNULL(arg);
		def->named[i] = true;
	}
}

/* The start and the cursor of a new subscription. */
static void
insert_cursor(int32 id, int lanes, const StartPoint *start)
{
	EdaPosition pos;
	EdaCursor	cursor = {0};

	/* nobody sees the cursor until this commits: what it may need must stay */
	EdaLogHold();
	if (start->latest)
		EdaPositionLatest(&pos);
	else
		EdaPositionEarliest(&pos);
	if (start->has_time)
		EdaPositionNotBefore(&pos, start->time);
	EdaPositionStore(id, &pos);
	cursor.to = pos.to;
	cursor.pos_id = pos.pos_id;
	EdaLanesCreate(id, lanes, &cursor);
}

/* The statement that makes the subscription as it is stored now. */
static char *
stored_definition(int32 id)
{
	EdaSubscription *sub;
	EdaDefinition def;

	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	sub = EdaSubscriptionLoad(id);
	PopActiveSnapshot();
	EdaDefinitionRead(sub, &def);
	return EdaDefinitionText(sub->name, &def);
}

/* Store a checked definition over an existing one, whose lock is held. */
static void
replace_definition(EdaSubscription *sub, const EdaDefinition *def)
{
	EdaOrdering ordering =
		EdaOrderingOf(TextDatumGetCString(def->values[EDA_SET_ORDERING]));
	int32		concurrency = DatumGetInt32(def->values[EDA_SET_CONCURRENCY]);
	char	   *before = sub->crashes >= EDA_MAX_CRASHES ? stored_definition(sub->id) : NULL;

	/* its batch is at hand, and further than what is stored says */
	if (ordering != sub->ordering)
		EdaRefuseOwnHandler(sub->name, "a change of ordering");
	if (concurrency != sub->concurrency)
		EdaRefuseOwnHandler(sub->name, "a change of concurrency");

	EdaDefinitionUpdate(sub->id, def);
	/* stated once more as it was, it would crash once more */
	if (before != NULL && strcmp(before, stored_definition(sub->id)) != 0)
		EdaProbationPardon(sub);
	if ((def->named[EDA_SET_HANDLER] || def->named[EDA_SET_OWNER]) &&
		EdaBlockCanPass(sub->block))
		EdaSubscriptionUnblock(sub->id);

	if (ordering != sub->ordering)
		EdaParkingRepark(sub->id, ordering);
	sub->concurrency = concurrency;
	/* lanes that are on their way to meet need no help by a batch that is on its way, too */
	if (!EdaInOwnHandler(sub->name))
		EdaLanesAdjust(sub, ordering);
	EdaSubscriptionsChanged();
}

/*
 * eda.subscribe(subscription, topics, handler, ...)
 */
Datum
eda_subscribe(PG_FUNCTION_ARGS)
{
	char	   *name = EdaTextArg(fcinfo, ARG_SUBSCRIPTION, "subscription");
	EdaDefinition def;
	StartPoint	start;
	EdaSubscription *existing;

	get_definition(fcinfo, &def);
	get_start_point(fcinfo, &start);

	existing = EdaSubscriptionForChange(name, "eda.subscribe()", true);
	if (existing == NULL)
	{
		/* Sub-id 1: not to be taken for a subscription's lock. */
		LockDatabaseObject(EdaSubscriptionRelId(),
						   EdaHashText(name, strlen(name)),
						   1, AccessExclusiveLock);
		existing = EdaSubscriptionForChange(name, "eda.subscribe()", true);
	}

	/* Who states it again does not take it over: the owner stays. */
	if (def.nulls[EDA_SET_OWNER])
	{
		def.values[EDA_SET_OWNER] =
			ObjectIdGetDatum(existing != NULL ? existing->owner : GetUserId());
		def.nulls[EDA_SET_OWNER] = false;
	}
	EdaDefinitionCheck(name, &def, existing);

	if (existing != NULL)
	{
		replace_definition(existing, &def);
		if (!start.latest)
			ereport(WARNING,
					(errcode(ERRCODE_EDA_START_IGNORED),
					 errmsg("%s means nothing to subscription \"%s\", which exists and keeps its position",
							start.has_time ? "start_at" : "start", name),
					 errhint("eda.seek() moves it.")));
	}
	else
	{
		insert_cursor(EdaDefinitionInsert(name, &def),
					  DatumGetInt32(def.values[EDA_SET_CONCURRENCY]), &start);
		EdaSubscriptionsChanged();
	}

	if (!EdaIsPreloaded())
		ereport(WARNING,
				(errcode(ERRCODE_EDA_NOT_PRELOADED),
				 errmsg("subscription \"%s\" will get no events: library \"%s\" is not preloaded",
						name, EDA_LIBRARY_NAME),
				 errhint("Add %s to shared_preload_libraries and restart the server; nothing published until then is lost.",
						 EDA_LIBRARY_NAME)));
	else if (EdaDatabaseHasNoSlot())
		ereport(WARNING,
				(errcode(ERRCODE_EDA_NO_DATABASE_SLOT),
				 errmsg("subscription \"%s\" will get no events: every database slot of eda is taken",
						name),
				 EdaSlotHint()));
	PG_RETURN_VOID();
}

/*
 * eda.alter_subscription(subscription, settings)
 */
Datum
eda_alter_subscription(PG_FUNCTION_ARGS)
{
	char	   *name = EdaTextArg(fcinfo, 0, "subscription");
	EdaSubscription *sub;
	EdaDefinition def;

	EdaRequireArg(fcinfo, 1, "settings");
	sub = EdaSubscriptionForChange(name, "eda.alter_subscription()", false);
	EdaDefinitionRead(sub, &def);
	EdaDefinitionOverlay(&def, PG_GETARG_JSONB_P(1));
	EdaDefinitionCheck(name, &def, sub);
	replace_definition(sub, &def);
	PG_RETURN_VOID();
}

/*
 * eda.subscription_def(subscription)
 */
Datum
eda_subscription_def(PG_FUNCTION_ARGS)
{
	char	   *name = EdaTextArg(fcinfo, 0, "subscription");
	EdaSubscription *sub = EdaSubscriptionByName(name, false);
	EdaDefinition def;

	EdaCheckOperator(sub);
	EdaDefinitionRead(sub, &def);
	PG_RETURN_TEXT_P(cstring_to_text(EdaDefinitionText(name, &def)));
}

/*
 * eda.unsubscribe(subscription, force)
 */
Datum
eda_unsubscribe(PG_FUNCTION_ARGS)
{
	char	   *name = EdaTextArg(fcinfo, 0, "subscription");
	EdaSubscription *sub;
	uint64		dead;

	EdaRequireArg(fcinfo, 1, "force");
	sub = EdaSubscriptionForChange(name, "eda.unsubscribe()", true);
	if (sub == NULL)
		PG_RETURN_BOOL(false);

	dead = EdaSpiExecuteById("DELETE FROM eda.dead_letter WHERE subscription_id = $1",
					   sub->id, SPI_OK_DELETE);
	if (dead > 0 && !PG_GETARG_BOOL(1))
		ereport(ERROR,
				(errcode(ERRCODE_EDA_DEAD_LETTERS_LEFT),
				 errmsg_plural("subscription \"%s\" has %llu dead letter left",
							   "subscription \"%s\" has %llu dead letters left",
							   dead, name, (unsigned long long) dead),
				 errhint("Look at eda.dead_letters, redrive or discard them, or call eda.unsubscribe with force => true to lose them.")));
	EdaSpiExecuteById("DELETE FROM eda.retry WHERE subscription_id = $1",
				sub->id, SPI_OK_DELETE);
	EdaRecoveryForget(sub->id);
	EdaProbationForget(sub->id);
	EdaCursorDelete(sub->id);
	EdaSpiExecuteById("DELETE FROM eda.subscription WHERE subscription_id = $1",
				sub->id, SPI_OK_DELETE);
	EdaSubscriptionsChanged();
	PG_RETURN_BOOL(true);
}

/*
 * eda.pause(subscription): true when it was not paused.
 */
Datum
eda_pause(PG_FUNCTION_ARGS)
{
	char	   *name = EdaTextArg(fcinfo, 0, "subscription");
	EdaSubscription *sub = EdaSubscriptionForChange(name, "eda.pause()", false);

	if (sub->state == EDA_PAUSED)
		PG_RETURN_BOOL(false);
	EdaSpiExecuteById("UPDATE eda.subscription SET state = 'paused',"
				" blocked_reason = NULL, blocked_detail = NULL,"
				" blocked_at = NULL, paused_at = clock_timestamp(), probe_at = NULL, probes = 0"
				" WHERE subscription_id = $1",
				sub->id, SPI_OK_UPDATE);
	EdaSubscriptionsChanged();
	PG_RETURN_BOOL(true);
}

/*
 * eda.resume(subscription): true when it was paused or blocked.
 */
Datum
eda_resume(PG_FUNCTION_ARGS)
{
	char	   *name = EdaTextArg(fcinfo, 0, "subscription");
	EdaSubscription *sub = EdaSubscriptionForChange(name, "eda.resume()", false);

	if (sub->state == EDA_ACTIVE)
		PG_RETURN_BOOL(false);
	EdaSpiExecuteById("UPDATE eda.subscription SET state = 'active',"
				" blocked_reason = NULL, blocked_detail = NULL,"
				" blocked_at = NULL, paused_at = NULL, probe_at = NULL, probes = 0"
				" WHERE subscription_id = $1",
				sub->id, SPI_OK_UPDATE);
	if (sub->crashes >= EDA_MAX_CRASHES)
		EdaProbationPardon(sub);
	/* Count failures anew: the streak is what blocked it. */
	EdaCursorResetStreak(sub->id);
	EdaSubscriptionsChanged();
	PG_RETURN_BOOL(true);
}
