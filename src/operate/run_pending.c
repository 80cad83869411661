/*-------------------------------------------------------------------------
 *
 * operate/run_pending.c
 *	  eda.run_pending(): handle pending events here and now, for unit tests.
 *
 *	1. The caller's transaction sees its own uncommitted events, so a test can
 *	   publish, run and look, and roll everything back.  It cannot
 *	   commit: the events would be delivered again, by the workers.
 *	2. Handlers run as the subscription's owner, in a security-restricted operation where that is
 *	   not the caller: a deferred trigger must not fire as somebody else later.  What a handler
 *	   sets, its role too, is undone behind it; the rest of what an executor ends with each event
 *	   (deliver/session.c) is the caller's transaction's, and ends with that.
 *	3. What was handled is remembered for the transaction, by subscription
 *	   and event, and forgotten with the savepoint that it was handled in.
 *	   The cursor is not written.
 *	4. Delayed events that are due are put into the log first, as the dispatcher
 *	   would; where others published them, it waits for the end of the transaction.
 *	5. The subscription's lock is taken in AccessExclusiveLock: its executor waits
 *	   for the end of the transaction.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/operate/run_pending.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/at_commit.h"
#include "base/catalog.h"
#include "base/security.h"
#include "deliver/deliver.h"
#include "log/log.h"
#include "publish/publish.h"
#include "subscription/subscription.h"

PG_FUNCTION_INFO_V1(eda_run_pending);

typedef struct HandledKey
{
	int64		event_id;
	int32		subscription_id;
	int32		unused;			/* keys are compared as bytes: no padding */
} HandledKey;

typedef struct Handled
{
	HandledKey	key;
	SubTransactionId subid;		/* in which it was handled */
} Handled;

static HTAB *handled = NULL;	/* in TopTransactionContext */

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
		handled = NULL;
}

/* What a savepoint handled belongs to its parent, or was undone with it. */
static void
at_end_of_savepoint(SubXactEvent event, SubTransactionId subid,
					SubTransactionId parent, void *arg)
{
	HASH_SEQ_STATUS status;
	Handled    *h;

	if (handled == NULL ||
		(event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB))
		return;
	hash_seq_init(&status, handled);
	while ((h = hash_seq_search(&status)) != NULL)
	{
		if (h->subid != subid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			h->subid = parent;
		else
			hash_search(handled, &h->key, HASH_REMOVE, NULL);
	}
}

static void
prepare_handled(void)
{
	static bool registered = false;
	HASHCTL		ctl;

	if (!registered)
	{
		RegisterXactCallback(at_end_of_transaction, NULL);
		RegisterSubXactCallback(at_end_of_savepoint, NULL);
		registered = true;
	}
	if (handled != NULL)
		return;
	ctl.keysize = sizeof(HandledKey);
	ctl.entrysize = sizeof(Handled);
	ctl.hcxt = TopTransactionContext;
	handled = hash_create("eda.run_pending", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Remember it; false if it was there already. */
static bool
note_handled(int32 subscription_id, int64 event_id, bool enter)
{
	HandledKey	key = {0};
	Handled    *h;
	bool		found;

	key.event_id = event_id;
	key.subscription_id = subscription_id;
	h = hash_search(handled, &key, enter ? HASH_ENTER : HASH_FIND, &found);
	if (enter && !found)
		h->subid = GetCurrentSubTransactionId();
	return !found;
}

typedef struct PendingEntry
{
	int64		id;
	uint16		segment;
	ItemPointerData tid;
} PendingEntry;

typedef struct PendingList
{
	const EdaSubscription *sub;
	const EdaCursor *cursors;	/* by lane */
	PendingEntry *entries;
	int			n;
	int			allocated;
} PendingList;

static bool
collect_pending(const EdaLogEntry *entry, void *arg)
{
	PendingList *list = arg;

	if (!EdaCursorsMayGet(list->sub, list->cursors, entry) ||
		!note_handled(list->sub->id, entry->id, false))
		return true;
	if (list->n == list->allocated)
	{
		list->allocated *= 2;
		list->entries = repalloc_huge(list->entries, list->allocated * sizeof(PendingEntry));
	}
	list->entries[list->n].id = entry->id;
	list->entries[list->n].segment = entry->segment;
	list->entries[list->n].tid = entry->tid;
	list->n++;
	return true;
}

static int
compare_pending(const void *a, const void *b)
{
	int64		x = ((const PendingEntry *) a)->id;
	int64		y = ((const PendingEntry *) b)->id;

	return x < y ? -1 : (x > y ? 1 : 0);
}

/* Call filter and handler as the owner.  True if the event passed the filter. */
static bool
handle_one(const EdaSubscription *sub, EdaInvoker *invoker, EdaEvent *ev)
{
	EdaSecurityContext ctx;
	int			nestlevel;
	volatile bool passes = false;

	ev->subscription = sub->name;
	ev->attempt = 1;
	ev->max_attempts = sub->max_attempts;

	EdaBeginAsRole(&ctx, sub->owner);
	/* what it sets is neither for the next event nor for the caller, whoever that is */
	nestlevel = NewGUCNestLevel();
	PG_TRY();
	{
		passes = EdaFilterPasses(sub, ev);
		if (passes)
			EdaInvoke(invoker, ev);
	}
	PG_FINALLY();
	{
		EdaSetCurrentEvent(NULL);
	}
	PG_END_TRY();
	AtEOXact_GUC(false, nestlevel);
	EdaEndAsRole(&ctx);
	return passes;
}

/* Everything that is pending for one subscription now.  Returns the number handled. */
static int64
run_subscription(const EdaSubscription *sub)
{
	EdaInvoker	invoker;
	EdaCursor  *cursors;
	int			ncursors;
	EdaSnapshot *all = EdaSnapshotEmpty();
	EdaXidRange *ranges;
	int			nranges;
	PendingList list;
	EdaLogReader *reader;
	MemoryContext event_mcxt;
	EdaBlock	block;
	char	   *detail;
	Oid			handler;
	uint64		epoch;
	bool		changed = false;
	int64		count = 0;

	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	cursors = EdaCursorLoadAll(sub->id, &ncursors);
	if (cursors == NULL)
	{
		PopActiveSnapshot();
		return 0;
	}
	handler = EdaHandlerCheck(sub, &block, &detail);
	if (!OidIsValid(handler))
		ereport(ERROR,
				(errcode(ERRCODE_EDA_NOT_DELIVERING),
				 errmsg("handler of subscription \"%s\" cannot be called", sub->name),
				 errdetail("%s.", detail)));
	EdaInvokerInit(&invoker, sub->handler_kind, handler, CurrentMemoryContext);

	/* up to whatever is visible: own events have xids that no snapshot calls ended */
	all->xmin = all->xmax = PG_UINT64_MAX;
	nranges = EdaSnapshotWindow(EdaCursorOldest(cursors, ncursors), all, &ranges);

	list.sub = sub;
	list.cursors = cursors;
	list.n = 0;
	list.allocated = 64;
	list.entries = palloc(list.allocated * sizeof(PendingEntry));

	EdaLogScan(ranges, nranges, collect_pending, &list);
	qsort(list.entries, list.n, sizeof(PendingEntry), compare_pending);

	event_mcxt = AllocSetContextCreate(CurrentMemoryContext, "eda pending event",
									   ALLOCSET_DEFAULT_SIZES);
	reader = EdaLogReaderOpen();
	epoch = EdaSubscriptionEpoch();
	for (int i = 0; i < list.n && !changed; i++)
	{
		PendingEntry *entry = &list.entries[i];
		MemoryContext old = MemoryContextSwitchTo(event_mcxt);
		EdaEvent	ev = {0};

		CHECK_FOR_INTERRUPTS();
		if (EdaLogFetch(reader, entry->id, entry->segment, &entry->tid, GetActiveSnapshot(), &ev) &&
			EdaSubscriptionGets(sub, &ev))
		{
			note_handled(sub->id, entry->id, true);
			if (handle_one(sub, &invoker, &ev))
			{
				count++;
				/*
				 * its handler may have paused it, or dropped itself: the rest is the next round's
				 */
				changed = epoch != EdaSubscriptionEpoch() ||
					!SearchSysCacheExists1(PROCOID, ObjectIdGetDatum(handler));
			}
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(event_mcxt);
	}
	EdaLogReaderClose(reader);
	PopActiveSnapshot();
	return count;
}

Datum
eda_run_pending(PG_FUNCTION_ARGS)
{
	char	   *name = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext round;
	int64		total = 0;
	int64		in_round;

	PreventCommandIfReadOnly("eda.run_pending()");
	PreventCommandIfParallelMode("eda.run_pending()");
	PreventCommandDuringRecovery("eda.run_pending()");
	if (EdaCurrentEvent() != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EDA_IN_HANDLER),
				 errmsg("eda.run_pending() cannot be called by a handler")));

	EdaForbidCommit();
	prepare_handled();
	EdaDelayServeHere();
	round = AllocSetContextCreate(caller, "eda run_pending", ALLOCSET_DEFAULT_SIZES);

	/* handlers publish in their turn: until a round finds nothing more */
	do
	{
		List	   *subs;
		ListCell   *lc;

		in_round = 0;
		MemoryContextReset(round);
		MemoryContextSwitchTo(round);

		CommandCounterIncrement();
		PushActiveSnapshot(GetLatestSnapshot());
		subs = name != NULL ? list_make1(EdaSubscriptionByName(name, false)) :
			EdaSubscriptionLoadAll();
		PopActiveSnapshot();
		foreach(lc, subs)
		{
			EdaSubscription *sub = lfirst(lc);

			/* the handler sees the caller's settings: only for who could become its owner */
			if (!has_privs_of_role(GetUserId(), sub->owner))
			{
				if (name == NULL)
					continue;
				ereport(ERROR,
						(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						 errmsg("permission denied for subscription \"%s\"", sub->name),
						 errdetail("Only members of its owner, role \"%s\", can run its handler.",
								   GetUserNameFromId(sub->owner, true))));
			}

			EdaSubscriptionLock(sub->id, AccessExclusiveLock);
			PushActiveSnapshot(GetLatestSnapshot());
			sub = EdaSubscriptionLoad(sub->id);
			PopActiveSnapshot();
			if (sub == NULL || sub->state == EDA_PAUSED)
				continue;
			in_round += run_subscription(sub);
		}
		total += in_round;
	} while (in_round > 0);

	MemoryContextSwitchTo(caller);
	MemoryContextDelete(round);
	PG_RETURN_INT64(total);
}
