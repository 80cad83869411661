/*-------------------------------------------------------------------------
 *
 * deliver/lane.c
 *	  A lane as its executor keeps it between steps, and how it is kept true.
 *
 *	1. An executor holds definition, handler, cursor, window and the keys that
 *	   wait in memory while it has a lane.  Each has a function here that
 *	   reads it again if it may have changed; a step calls them under the subscription's
 *	   lock, before it relies on them.
 *	   Of the waiting events it counts those of each key, and writes down what a
 *	   step does to the counts: an aborted step takes it back, and reads nothing.
 *	2. Whatever changes a subscription, its position or its waiting events
 *	   moves EdaSubscriptionEpoch(): then all of it is dropped.
 *	3. The handler's function, and whether its role may log in and connect, is checked again when
 *	   any function, schema, role or database changed, between the events of a batch too, and made
 *	   callable anew after a rolled-back step, as what a function language caches is not to be
 *	   trusted then.
 *	4. Memory: sub_mcxt lives until the definition changes, invoker_mcxt until
 *	   the handler is made callable anew, keys_mcxt until the waiting events
 *	   are read again, step_mcxt for a step, event_mcxt for an event; the window has
 *	   its own, with the cursor's snapshots, and so has the set.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/lane.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "deliver/lane.h"
#include "deliver/resize.h"
#include "deliver/turn.h"
#include "subscription/subscription.h"

/* A batch that is hardly worth a transaction. */
#define FEW_EVENTS		64

static uint32
hash_key(const void *key, Size keysize)
{
	const char *s = *(const char *const *) key;

	return EdaHashText(s, strlen(s));
}

static int
match_key(const void *a, const void *b, Size keysize)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/*
 * Raised whenever a function, role, schema or a database's rights changed: handlers are checked
 * again.
 */
static uint64 handler_epoch = 1;

static void
handler_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	handler_epoch++;
}

static void
register_callbacks(void)
{
	static bool registered = false;

	if (registered)
		return;
	CacheRegisterSyscacheCallback(PROCOID, handler_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, handler_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, handler_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, handler_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(DATABASEOID, handler_changed, (Datum) 0);
	registered = true;
}

EdaLane *
EdaLaneOpen(int32 subscription_id, int16 lane_no, EdaExecutor *slot, EdaLaidDown laid_down)
{
	MemoryContext mcxt = AllocSetContextCreate(TopMemoryContext, "eda lane",
											   ALLOCSET_DEFAULT_SIZES);
	EdaLane    *lane = MemoryContextAllocZero(mcxt, sizeof(EdaLane));

	register_callbacks();
	lane->mcxt = mcxt;
	lane->sub_mcxt = AllocSetContextCreate(mcxt, "eda subscription", ALLOCSET_DEFAULT_SIZES);
	lane->invoker_mcxt = AllocSetContextCreate(mcxt, "eda handler", ALLOCSET_DEFAULT_SIZES);
	lane->keys_mcxt = AllocSetContextCreate(mcxt, "eda blocked keys", ALLOCSET_DEFAULT_SIZES);
	lane->step_mcxt = AllocSetContextCreate(mcxt, "eda step", ALLOCSET_DEFAULT_SIZES);
	lane->event_mcxt = AllocSetContextCreate(mcxt, "eda event", ALLOCSET_DEFAULT_SIZES);
	lane->slot = slot;
	lane->subscription_id = subscription_id;
	lane->lane_no = lane_no;
	lane->waiting.next_due = DT_NOEND;
	lane->waiting_written = DT_NOEND;
	lane->side = EDA_SIDE_LOG;
	lane->trust[EDA_SIDE_LOG].alone = laid_down.alone;
	/* which side they were of is not told */
	lane->trust[EDA_SIDE_WAITING].alone = laid_down.alone;
	lane->trust[EDA_SIDE_LOG].caution = laid_down.caution;
	lane->trust[EDA_SIDE_LOG].alone_span = laid_down.alone_span;
	lane->renewed_at = laid_down.renewed ? EdaMonotonicNow() : 0;
	lane->lead = laid_down.log_next ? -1 : 0;
	EdaWindowInit(&lane->window, mcxt);
	EdaSetInit(&lane->set, mcxt);
	return lane;
}

int
EdaLaneTook(const EdaLane *lane)
{
	return lane->step.attempted;
}

bool
EdaLaneTookLittle(const EdaLane *lane)
{
	return lane->mode == EDA_LANE_BATCH && lane->sub != NULL &&
		lane->step.attempted < Min(FEW_EVENTS, lane->sub->batch_size) &&
		lane->window.next >= lane->window.nentries && lane->step.rate_ready_at == 0;
}

TimestampTz
EdaLaneNextDue(EdaLane *lane)
{
	TimestampTz due = lane->waiting_valid ? lane->waiting.next_due : DT_NOEND;

	if (lane->step.standing)
		return DT_NOEND;
	return due;
}

TimestampTz
EdaLaneRateReadyAt(EdaLane *lane)
{
	return lane->step.rate_ready_at;
}

EdaLaidDown
EdaLaneLaidDown(const EdaLane *lane)
{
	const EdaTrust *trust = &lane->trust[EDA_SIDE_LOG];
	EdaLaidDown laid_down = {0};

	laid_down.alone = trust->alone;
	laid_down.caution = trust->caution;
	laid_down.alone_span = trust->alone_span;
	laid_down.renewed = lane->renewed_at != 0;
	laid_down.log_next = lane->lead < 0;
	return laid_down;
}

bool
EdaLaneDoubts(const EdaLane *lane, const EdaItem *item)
{
	return lane->trust[item->from_retry ? EDA_SIDE_WAITING : EDA_SIDE_LOG].doubted == item->ev.id;
}

bool
EdaLaneMayWait(EdaLane *lane)
{
	if (lane->step.standing)
		return false;
	return !lane->waiting_valid || lane->waiting.next_due != DT_NOEND || lane->step.rate_ready_at != 0;
}

/* Definition and state, if they changed.  False: the subscription is gone. */
bool
EdaLaneRefreshSubscription(EdaLane *lane)
{
	MemoryContext old;
	uint64		epoch = EdaSubscriptionEpoch();

	if (lane->sub != NULL && lane->epoch == epoch)
		return true;

	lane->sub = NULL;
	lane->invoker_valid = false;
	lane->waiting_valid = false;
	lane->cursor_valid = false;
	MemoryContextReset(lane->sub_mcxt);
	EdaWindowReset(&lane->window);

	old = MemoryContextSwitchTo(lane->sub_mcxt);
	lane->sub = EdaSubscriptionLoad(lane->subscription_id);
	MemoryContextSwitchTo(old);
	lane->epoch = epoch;

	/* the owner changed: a session of another role has to go on */
	return lane->sub != NULL && lane->sub->owner == GetAuthenticatedUserId();
}

/* The handler, if it may have changed.  False: it cannot be called. */
bool
EdaLaneRefreshHandler(EdaLane *lane, EdaBlock *block, char **detail)
{
	uint64		epoch = handler_epoch;
	Oid			oid;

	if (lane->invoker_valid && lane->handler_epoch == epoch)
		return true;
	lane->invoker_valid = false;
	oid = EdaHandlerCheck(lane->sub, block, detail);
	if (!OidIsValid(oid))
		return false;
	MemoryContextReset(lane->invoker_mcxt);
	EdaInvokerInit(&lane->invoker, lane->sub->handler_kind, oid, lane->invoker_mcxt);
	lane->invoker.ends_event = true;
	lane->invoker_valid = true;
	lane->handler_epoch = epoch;
	return true;
}

/* A key has so many waiting events more, or less. */
static void
count_waiting(EdaLane *lane, const char *key, int64 change)
{
	bool		found;
	EdaWaitingKey *entry = hash_search(lane->blocked_keys, &key, HASH_ENTER, &found);

	if (!found)
	{
		entry->key = MemoryContextStrdup(lane->keys_mcxt, key);
		entry->nrows = 0;
	}
	entry->nrows += change;
	if (entry->nrows <= 0)
	{
		char	   *gone = entry->key;

		hash_search(lane->blocked_keys, &gone, HASH_REMOVE, NULL);
		pfree(gone);
	}
}

/* The same, so that it can be undone. */
static void
note_change(EdaLane *lane, const EdaEvent *ev, int64 change)
{
	MemoryContext old;
	EdaWaitingKey *noted;

	lane->waiting.nrows += change;
	if (lane->sub->ordering != EDA_ORDER_KEY || ev->key == NULL)
		return;
	old = MemoryContextSwitchTo(lane->step_mcxt);
	noted = palloc(sizeof(EdaWaitingKey));
	noted->key = text_to_cstring((text *) ev->key);
	noted->nrows = change;
	lane->step.waiting_changes = lappend(lane->step.waiting_changes, noted);
	MemoryContextSwitchTo(old);
	count_waiting(lane, noted->key, change);
}

void
EdaLaneNoteWaiting(EdaLane *lane, const EdaEvent *ev)
{
	note_change(lane, ev, 1);
}

void
EdaLaneNoteGone(EdaLane *lane, const EdaEvent *ev)
{
	note_change(lane, ev, -1);
}

void
EdaLaneNoteDue(EdaLane *lane, TimestampTz due)
{
	lane->waiting.next_due = Min(lane->waiting.next_due, due);
	lane->waiting.floor = Min(lane->waiting.floor, due);
	lane->waiting_written = Min(lane->waiting_written, due);
}

void
EdaLaneUndoWaiting(EdaLane *lane)
{
	if (!lane->waiting_valid)
		return;
	/* the last one first: a count that passes zero is forgotten */
	for (int i = list_length(lane->step.waiting_changes) - 1; i >= 0; i--)
	{
		EdaWaitingKey *noted = list_nth(lane->step.waiting_changes, i);

		count_waiting(lane, noted->key, -noted->nrows);
	}
	lane->step.waiting_changes = NIL;
	lane->waiting = lane->step.saved_waiting;
}

bool
EdaLaneKeyIsBlocked(EdaLane *lane, const EdaEvent *ev)
{
	const char *key;

	if (lane->sub->ordering != EDA_ORDER_KEY || ev->key == NULL ||
		hash_get_num_entries(lane->blocked_keys) == 0)
		return false;
	key = text_to_cstring((text *) ev->key);
	return hash_search(lane->blocked_keys, &key, HASH_FIND, NULL) != NULL;
}

/* Which events of the lane wait, if that may have changed. */
void
EdaLaneRefreshWaiting(EdaLane *lane)
{
	HASHCTL		ctl;

	if (lane->waiting_valid)
		return;

	MemoryContextReset(lane->keys_mcxt);
	ctl.keysize = sizeof(char *);
	ctl.entrysize = sizeof(EdaWaitingKey);
	ctl.hash = hash_key;
	ctl.match = match_key;
	ctl.hcxt = lane->keys_mcxt;
	lane->blocked_keys = hash_create("eda blocked keys", 32, &ctl,
									 HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);

	EdaRetryLoadState(lane->sub, lane->lane_no, &lane->waiting);
	for (int i = 0; i < lane->waiting.nkeys; i++)
		count_waiting(lane, lane->waiting.keys[i].key, lane->waiting.keys[i].nrows);
	lane->waiting.keys = NULL;
	lane->waiting.nkeys = 0;
	lane->step.waiting_changes = NIL;
	lane->waiting_valid = true;
}

/* The cursor, if it may have been moved by somebody else.  False: no such lane. */
bool
EdaLaneRefreshCursor(EdaLane *lane)
{
	MemoryContext old;

	if (lane->cursor_valid)
		return true;
	EdaWindowReset(&lane->window);
	old = MemoryContextSwitchTo(lane->window.mcxt);
	lane->cursor_valid = EdaCursorLoad(&lane->cursor, lane->subscription_id, lane->lane_no);
	MemoryContextSwitchTo(old);
	lane->fence_told = false;
	lane->at_fence = lane->cursor_valid && EdaLaneAtFence(lane->sub, &lane->cursor);
	return lane->cursor_valid;
}
