/*-------------------------------------------------------------------------
 *
 * eda_delivery.c
 *	  Running a lane: batches of events through a subscription's handler.
 *
 *	1. A step is one transaction: up to batch_size events, or eda.batch_time,
 *	   then the cursor.  Effects and acknowledgement commit together.
 *	2. The step takes the subscription's lock (RowExclusiveLock) first, without
 *	   waiting for it, and
 *	   reads definition, state, cursor and waiting events under it; who changes
 *	   them takes AccessExclusiveLock, so sees no batch half-way.  Whatever it
 *	   keeps in memory between steps is dropped when the subscription's
 *	   epoch has moved.
 *	3. The window's snapshot is the step's own, taken before the transaction
 *	   has an xid.
 *	4. Three modes.  BATCH: no subtransactions; if anything fails, the
 *	   transaction is rolled back and the same events run again in mode
 *	   SAVEPOINT: one subtransaction an event, at most 50 a transaction, and a
 *	   failing event goes to eda.retry or eda.dead_letter while the others take
 *	   effect.  A set-wise handler gets smaller sets instead, each in a
 *	   subtransaction, until the events at fault are alone (eda_set.c).
 *	   If that transaction fails as a whole (a deferred constraint at
 *	   commit), the events run in mode SINGLE: one a transaction, and a
 *	   failure is written down in a transaction of its own.  Once the events
 *	   of the failed batch are through, it is BATCH again.
 *	5. Due events of eda.retry come before the log, always in mode SAVEPOINT or
 *	   SINGLE.
 *	6. A blocked subscription whose reason is `failing` gets one event a
 *	   probe; its failure is not recorded with the event, its success unblocks.
 *	7. An event that is cancelled or runs into its timeout in mode BATCH is not
 *	   run a second time: it fails when its turn comes in mode SAVEPOINT.  A set
 *	   of several is narrowed down, as any that failed.
 *	8. rate_limit is asked before each call; where it does not allow one the step
 *	   ends, and the lane is looked at again in time.
 *	9. Where the number of lanes is to change (eda_lanes.c), a lane that has come to the
 *	   fence stores its cursor there, and once all have, delivers nothing until
 *	   the number has changed.
 *	10. Serialization failures and deadlocks are tried again at once a few
 *	   times before they count.
 *	11. A handler may pause, alter or unsubscribe its own subscription, redrive
 *	   or skip its events.  What the step holds in memory is old then, and the step ends
 *	   with that event, whatever was fetched already for those behind it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/eda_delivery.c
 *
 *-------------------------------------------------------------------------
 */
#include "eda.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "eda_catalog.h"
#include "eda_clock.h"
#include "eda_delivery.h"
#include "eda_flush.h"
#include "eda_inflight.h"
#include "eda_lane.h"
#include "eda_lanes.h"
#include "eda_probation.h"
#include "eda_queue.h"
#include "eda_rate.h"
#include "eda_wake.h"

/* Fewer than the subtransactions that a backend's shared entry can hold (64). */
#define MAX_SAVEPOINTS		50

/* Serialization failures and deadlocks in a row that do not count. */
#define MAX_FREE_RETRIES	3

/* Index entries passed over for nothing, after which the cursor is worth storing unasked. */
#define STORE_AFTER_SCANNED 10000

/* As delivery needs it, whatever the owner's settings, or a handler that changed them, say. */
static void
start_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	XactDeferrable = false;
}

static void
begin_step(EdaLane *lane)
{
	QueryCancelPending = false;
	start_transaction();
	MemoryContextReset(lane->step_mcxt);
	lane->attempted = 0;
	lane->put_off = 0;
	lane->savepoints = 0;
	lane->current_id = 0;
	lane->storing = false;
	lane->current = NULL;
	lane->probing = false;
	lane->probe_failed = false;
	lane->last_error = NULL;
	lane->standing = false;
	lane->rate_ready_at = 0;
	lane->waiting_changes = NIL;
	lane->clock = 0;
}

static void
arm_timeout(EdaLane *lane)
{
	/* the end of one event is the beginning of the next */
	lane->item_started = lane->clock != 0 ? lane->clock : EdaMonotonicNow();
	lane->clock = 0;
	lane->item_timed = true;
	EdaTimeLimitBegin(lane->sub->timeout_ms, lane->item_started);
}

static void
disarm_timeout(EdaLane *lane)
{
	if (!lane->item_timed)
		return;
	/* fired after the handler had returned: not for the next event */
	if (EdaTimeLimitEnd())
		QueryCancelPending = false;
	lane->item_timed = false;
}

/* The lane whose step is being committed. */
static EdaLane *timed_lane = NULL;

/*
 * Deferred triggers have run.  What follows, waiting for a synchronous standby
 * for one, is not the handler's and must not be cut short.
 */
static void
at_commit(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT && timed_lane != NULL)
		disarm_timeout(timed_lane);
}

/*
 * The subscription's timeout covers what runs at commit, too; at_commit() ends
 * it once that is over.
 */
static void
commit_step(EdaLane *lane)
{
	static bool registered = false;
	bool		timed = lane->sub != NULL && lane->attempted > 0;

	PopActiveSnapshot();
	if (timed)
		arm_timeout(lane);
	if (!registered)
	{
		RegisterXactCallback(at_commit, NULL);
		registered = true;
	}
	timed_lane = lane;
	CommitTransactionCommand();
	timed_lane = NULL;
	EdaTimeLimitsOff();
	QueryCancelPending = false;
	MemoryContextSwitchTo(lane->mcxt);

	EdaSignalProgress(EdaMyDatabase(false));
	pgstat_report_stat(false);
}

/* May the handler be called for one more event?  If not, the step is over. */
static bool
rate_allows(EdaLane *lane)
{
	int64		wait_us;

	if (lane->sub->rate_limit == 0 || lane->slot == NULL ||
		EdaRateTake(lane->subscription_id, lane->sub->rate_limit, &wait_us))
		return true;
	lane->rate_ready_at = EdaMonotonicNow() + wait_us;
	return false;
}

/* It was not called for that many of them after all. */
static void
rate_return(EdaLane *lane, int n)
{
	while (lane->sub->rate_limit > 0 && lane->slot != NULL && n-- > 0)
		EdaRateReturn(lane->subscription_id, lane->sub->rate_limit);
}

/* Is the event too old for the subscription? */
static bool
is_expired(EdaLane *lane, const EdaEvent *ev)
{
	return lane->sub->expire_after_ms > 0 &&
		GetCurrentTimestamp() - EdaEventDueAt(ev) > lane->sub->expire_after_ms * 1000;
}

/* Did this failure come from the subscription's timeout? */
static bool
is_timeout(EdaLane *lane, const ErrorData *edata)
{
	return edata->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		EdaMonotonicNow() - lane->item_started >= lane->sub->timeout_ms * 1000;
}

/* A copy of the current error, in the current context; of a cancel by the timeout it says so. */
static ErrorData *
copy_error(EdaLane *lane)
{
	ErrorData  *edata = CopyErrorData();

	if (lane->sub != NULL && lane->item_timed && is_timeout(lane, edata))
		edata->message = psprintf("canceled after %lld ms, the timeout of subscription \"%s\"",
								  (long long) lane->sub->timeout_ms, lane->sub->name);
	return edata;
}

/* A handler's SET ROLE is not for the events behind its own. */
static void
be_owner_again(void)
{
	if (GetUserId() != GetSessionUserId())
		SetConfigOption("role", "none", PGC_USERSET, PGC_S_SESSION);
}

/*
 * Filter and handler, for one event.  Counts it; raises what they raise.  The
 * error context is cut off here: a dead letter's is the handler's alone.
 * False: the event did not pass the filter, which says nothing of the handler.
 */
static bool
deliver(EdaLane *lane, EdaItem *item)
{
	ErrorContextCallback *outer = error_context_stack;
	bool		passes;

	item->ev.subscription = lane->sub->name;
	item->ev.attempt = item->attempt + 1;
	item->ev.max_attempts = lane->sub->max_attempts;
	item->ev.redelivered = item->deliveries > 0;

	error_context_stack = NULL;
	lane->current_id = item->ev.id;
	EdaInflightEvent(item->ev.id);
	arm_timeout(lane);
	passes = EdaFilterPasses(lane->sub, &item->ev);
	if (passes)
	{
		EdaInvoke(&lane->invoker, &item->ev);
		disarm_timeout(lane);
		lane->cursor.handled++;
		lane->cursor.streak = 0;
	}
	else
	{
		disarm_timeout(lane);
		lane->cursor.filtered++;
		rate_return(lane, 1);
	}
	error_context_stack = outer;
	lane->current_id = 0;
	be_owner_again();
	EdaInflightAfter(1);
	return passes;
}

/*
 * The item was delivered, or did not pass the filter: its waiting row, if any,
 * goes.
 */
static void
item_done(EdaLane *lane, EdaItem *item, bool handled)
{
	if (item->from_retry)
	{
		EdaLaneNoteDue(lane, EdaRetryHandled(lane->sub, lane->lane_no, item));
		EdaLaneNoteGone(lane, &item->ev);
	}
	if (lane->probing && handled)
	{
		EdaSubscriptionUnblock(lane->subscription_id);
		lane->probing = false;
	}
}

/*
 * A failure counts.  Returns how many there have been since the subscription
 * handled something, in all of its lanes.
 */
static int64
count_failure(EdaLane *lane)
{
	EdaCursor  *cursor = &lane->cursor;
	EdaCursor  *cursors = NULL;
	TimestampTz last_success = 0;
	int64		total;
	int			n = 0;

	if (lane->sub->lanes > 1)
		cursors = EdaCursorLoadAll(lane->subscription_id, &n);
	for (int i = 0; i < n; i++)
		last_success = Max(last_success, cursors[i].last_handled_at);
	if (cursor->streak > 0 && last_success >= cursor->failing_since && n > 0)
		cursor->streak = 0;		/* another lane has handled something since */
	if (cursor->streak++ == 0)
		cursor->failing_since = GetCurrentTimestamp();

	total = cursor->streak;
	for (int i = 0; i < n; i++)
		if (cursors[i].lane != lane->lane_no && last_success < cursors[i].failing_since)
			total += cursors[i].streak;
	return total;
}

/*
 * The item failed.  Returns false where the lane must stop after it: it is
 * strict, or the subscription was blocked.
 */
static bool
item_failed(EdaLane *lane, EdaItem *item, const ErrorData *edata, bool timed_out)
{
	EdaVerdict	verdict;
	bool		was_probing = lane->probing;
	int64		streak;
	int64		delay_ms;
	TimestampTz due;

	if (lane->probing && !EdaVerdictDelay(edata->sqlerrcode, &delay_ms))
	{
		/* still failing: the event keeps its attempts, and its place */
		EdaSubscriptionNoteError(lane->subscription_id, edata->message);
		EdaSubscriptionSetProbe(lane->subscription_id,
								EdaBackoffFromNow(lane->sub, lane->sub->probes + 2));
		lane->probe_failed = true;
		return false;
	}

	verdict = EdaRetryFailed(lane->sub, lane->lane_no, item, edata, timed_out, &due);
	EdaLaneNoteDue(lane, due);
	if (verdict == EDA_VERDICT_RETRY || verdict == EDA_VERDICT_SNOOZE)
	{
		if (!item->from_retry)
			EdaLaneNoteWaiting(lane, &item->ev);
	}
	else if (item->from_retry)
		EdaLaneNoteGone(lane, &item->ev);

	if (verdict == EDA_VERDICT_UNFIT)
	{
		/* which says nothing of the handler */
		lane->cursor.failed++;
		return true;
	}
	if (verdict == EDA_VERDICT_SNOOZE || verdict == EDA_VERDICT_REJECTED)
	{
		/* the handler works and has said what is to become of the event */
		if (verdict == EDA_VERDICT_REJECTED)
			lane->cursor.failed++;
		else
			lane->put_off++;
		if (lane->probing)
		{
			EdaSubscriptionUnblock(lane->subscription_id);
			lane->cursor.streak = 0;
			lane->probing = false;
		}
		return lane->sub->ordering != EDA_ORDER_STRICT || verdict != EDA_VERDICT_SNOOZE;
	}

	/* with a word of its own on the event, even a probe's failure is recorded */
	lane->probing = false;
	lane->cursor.failed++;
	streak = count_failure(lane);
	lane->last_error = MemoryContextStrdup(lane->step_mcxt, edata->message ? edata->message : "");
	if (was_probing || streak >= lane->sub->block_after)
	{
		EdaSubscriptionBlock(lane->subscription_id, "failing", lane->last_error,
							 EdaBackoffFromNow(lane->sub, 1), &item->ev, edata->sqlerrcode);
		lane->last_error = NULL;
		return false;
	}
	return lane->sub->ordering != EDA_ORDER_STRICT || verdict == EDA_VERDICT_DEAD;
}

/* A failure that passes by itself. */
static bool
is_passing(const ErrorData *edata)
{
	return edata->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		edata->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

/*
 * Run deliver() or deliver_set() in a subtransaction of its own, its failures
 * that pass by themselves a few times more.  Returns its error, or NULL and in *handled
 * what it returned.
 */
static ErrorData *
isolate(EdaLane *lane, bool (*code) (EdaLane *, EdaItem *), EdaItem *item, bool *handled)
{
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext mcxt = CurrentMemoryContext;
	EdaCursor	before = lane->cursor;

	for (volatile int tries = 0;; tries++)
	{
		ErrorData  *volatile edata = NULL;

		BeginInternalSubTransaction(NULL);
		lane->savepoints++;
		MemoryContextSwitchTo(lane->event_mcxt);
		PG_TRY();
		{
			*handled = code(lane, item);
			ReleaseCurrentSubTransaction();
		}
		PG_CATCH();
		{
			MemoryContextSwitchTo(lane->step_mcxt);
			edata = copy_error(lane);
			FlushErrorState();
			RollbackAndReleaseCurrentSubTransaction();
		}
		PG_END_TRY();
		MemoryContextSwitchTo(mcxt);
		CurrentResourceOwner = owner;

		if (edata == NULL)
			return NULL;

		EdaInflightAfter(1);
		EdaSetCurrentEvent(NULL);
		disarm_timeout(lane);
		lane->cursor = before;

		if (!is_passing(edata) || tries >= MAX_FREE_RETRIES)
			return edata;
	}
}

/*
 * Deliver one item in a subtransaction of its own.  False where the lane must
 * stop after it.
 */
static bool
deliver_isolated(EdaLane *lane, EdaItem *item)
{
	bool		handled;
	ErrorData  *edata = isolate(lane, deliver, item, &handled);

	if (edata != NULL)
		return item_failed(lane, item, edata, is_timeout(lane, edata));
	item_done(lane, item, handled);
	return true;
}

/* An event's turn has come. */
static void
begin_item(EdaLane *lane, const EdaEvent *ev)
{
	lane->attempted++;
	lane->turn_id = ev->id;
	if (lane->slot != NULL)
		pg_atomic_write_u32(&lane->slot->in_flight, lane->attempted);
}

/*
 * Is everything as this step has read it?  Nobody else can have changed the subscription, its
 * position or its waiting events, but its handler can: then the next event is another step's.
 */
static bool
is_unchanged(EdaLane *lane)
{
	return lane->epoch == EdaSubscriptionEpoch();
}

/* Deliver one item as the lane's mode says.  False: stop after it. */
static bool
deliver_item(EdaLane *lane, EdaItem *item)
{
	bool		go_on = true;

	begin_item(lane, &item->ev);
	if (is_expired(lane, &item->ev))
	{
		EdaLaneNoteDue(lane, EdaRetryExpired(lane->sub, lane->lane_no, item));
		if (item->from_retry)
			EdaLaneNoteGone(lane, &item->ev);
	}
	else if (EdaProbationHolds(lane, item))
		rate_return(lane, 1);
	else if (lane->condemned_id == item->ev.id && !item->from_retry)
	{
		go_on = item_failed(lane, item, lane->condemned_for, lane->condemned_timed_out);
	}
	else if (lane->mode == EDA_LANE_SAVEPOINT)
		go_on = deliver_isolated(lane, item);
	else
	{
		MemoryContext old;
		bool		handled;

		if (lane->mode == EDA_LANE_SINGLE)
		{
			/* after the abort the item has to be there still */
			old = MemoryContextSwitchTo(lane->step_mcxt);
			lane->current_next = lane->window.next;
			lane->current = palloc(sizeof(EdaItem));
			*lane->current = *item;
			lane->current->ev = *EdaEventCopy(&item->ev);
			MemoryContextSwitchTo(old);
		}
		old = MemoryContextSwitchTo(lane->event_mcxt);
		handled = deliver(lane, item);
		MemoryContextSwitchTo(old);
		item_done(lane, item, handled);
	}
	MemoryContextReset(lane->event_mcxt);
	return go_on && is_unchanged(lane);
}

/* How many events this step may take. */
static int
step_limit(EdaLane *lane)
{
	if (lane->probing || lane->mode == EDA_LANE_SINGLE)
		return 1;
	if (lane->mode == EDA_LANE_SAVEPOINT)
		return Min(lane->isolate > 0 ? lane->isolate : lane->sub->batch_size, MAX_SAVEPOINTS);
	return lane->sub->batch_size;
}

/* The batch has lasted long enough. */
static bool
time_is_up(EdaLane *lane, TimestampTz started)
{
	lane->clock = EdaMonotonicNow();
	return lane->clock - started >= (int64) eda_batch_time * 1000;
}

/*
 * Handlers are about to be called with what this transaction sees.  Where they
 * have effects outside the database, none may outlive its event, whose
 * publisher need not have waited for the disk.
 */
static void
flush_events(void)
{
	if (eda_synchronous_commit)
		EdaFlushWal();
}

/*
 * Due events of eda.retry.  One that is handled makes the next one of its key
 * due, whose turn comes in the same transaction.
 */
static void
run_waiting(EdaLane *lane)
{
	MemoryContext fetched = AllocSetContextCreate(lane->step_mcxt, "eda waiting events",
												  ALLOCSET_DEFAULT_SIZES);
	TimestampTz started = EdaMonotonicNow();
	EdaLaneMode mode = lane->mode;
	bool		go_on = true;
	int			limit;

	if (lane->mode == EDA_LANE_BATCH)
		lane->mode = EDA_LANE_SAVEPOINT;
	limit = step_limit(lane);
	flush_events();
	while (go_on && lane->attempted < limit)
	{
		MemoryContext old = MemoryContextSwitchTo(fetched);
		List	   *items;
		ListCell   *lc;

		MemoryContextReset(fetched);
		/* a probe does not wait until it is due */
		items = EdaQueueFetch(lane->subscription_id, lane->lane_no, lane->waiting.floor,
							  lane->probing ? DT_NOEND : GetCurrentTimestamp(),
							  limit - lane->attempted);
		MemoryContextSwitchTo(old);
		if (items == NIL)
			break;
		lane->waiting_written = DT_NOEND;
		foreach(lc, items)
		{
			EdaItem    *item = lfirst(lc);

			/* those before it have had their turn */
			lane->waiting.floor = Min(item->due, lane->waiting_written);
			if (!rate_allows(lane) || !deliver_item(lane, item) || time_is_up(lane, started))
			{
				go_on = false;
				break;
			}
		}
	}
	MemoryContextDelete(fetched);
	lane->waiting.next_due = EdaQueueNextDue(lane->subscription_id, lane->lane_no,
											 lane->waiting.floor, NULL, NULL);
	lane->mode = mode;
}

/* Filters and one call of a set-wise handler, for the lane's set.  As deliver(). */
static bool
deliver_set(EdaLane *lane, EdaItem *unused)
{
	ErrorContextCallback *outer = error_context_stack;
	int			n;

	error_context_stack = NULL;
	arm_timeout(lane);
	n = EdaSetCall(&lane->set, lane->sub, &lane->invoker, &lane->current_id);
	disarm_timeout(lane);
	error_context_stack = outer;
	lane->cursor.handled += n;
	lane->cursor.filtered += lane->set.n - n;
	rate_return(lane, lane->set.n - n);
	if (n > 0)
		lane->cursor.streak = 0;
	be_owner_again();
	return n > 0;
}

/*
 * Deliver the lane's set.  Of one that fails in mode SAVEPOINT all but the
 * event at fault, if it is known, go back to the window.  False where the
 * lane must stop after it.
 */
static bool
run_set(EdaLane *lane)
{
	EdaSet	   *set = &lane->set;
	bool		go_on = true;

	if (lane->mode == EDA_LANE_SAVEPOINT)
	{
		bool		handled;
		ErrorData  *edata = isolate(lane, deliver_set, NULL, &handled);

		if (edata == NULL)
			EdaSetWorked(set);
		else
		{
			int			keep = EdaSetFailed(set) ? 1 : 0;

			if (keep < set->n)
			{
				lane->window.next = set->items[keep].place;
				lane->attempted -= set->n - keep;
				rate_return(lane, set->n - keep);
			}
			if (keep > 0)
				go_on = item_failed(lane, &set->items[0].item, edata, is_timeout(lane, edata));
		}
	}
	else
	{
		MemoryContext old = MemoryContextSwitchTo(lane->event_mcxt);

		(void) deliver_set(lane, NULL);
		MemoryContextSwitchTo(old);
	}
	EdaSetClear(set);
	MemoryContextReset(lane->event_mcxt);
	return go_on && is_unchanged(lane);
}

/* A set-wise handler that gets sets now, and not one event at a time? */
static bool
takes_sets(EdaLane *lane)
{
	return lane->sub->handler_kind == EDA_HANDLER_EVENTS && !lane->probing &&
		(lane->mode == EDA_LANE_BATCH ||
		 (lane->mode == EDA_LANE_SAVEPOINT && lane->set.chunk > 0 && lane->isolate > 0));
}

/* Events of the log, from the window. */
static void
run_log(EdaLane *lane)
{
	EdaLogReader *reader = EdaLogReaderOpen();
	Snapshot	snapshot = GetActiveSnapshot();
	EdaWindow  *window = &lane->window;
	TimestampTz started = EdaMonotonicNow();
	int			limit = step_limit(lane);
	EdaSet	   *set = takes_sets(lane) ? &lane->set : NULL;
	uint32		passed_over = 0;
	bool		go_on = true;

	if (!EdaWindowIsGood(window, reader))
	{
		EdaLogReaderClose(reader);
		return;
	}
	if (set != NULL)
	{
		EdaSetClear(set);
		if (lane->mode == EDA_LANE_BATCH)
			set->chunk = 0;
		else
			limit = lane->isolate;
	}
	flush_events();

	while (go_on && lane->attempted < limit && lane->savepoints < MAX_SAVEPOINTS &&
		   window->next < window->nentries)
	{
		EdaWindowEntry *entry = &window->entries[window->next];
		EdaItem		item = {0};
		bool		blocked;
		bool		alone;

		CHECK_FOR_INTERRUPTS();
		if (!EdaLogFetch(reader, entry->id, entry->segment, &entry->tid, snapshot, &item.ev) ||
			!EdaSubscriptionGets(lane->sub, &item.ev))
		{
			window->next++;
			if ((++passed_over % 256) == 0 && time_is_up(lane, started))
				break;
			continue;
		}

		if (window->next + 1 < window->nentries)
			EdaLogPrefetch(reader, entry[1].segment, &entry[1].tid);
		blocked = EdaLaneKeyIsBlocked(lane, &item.ev);
		alone = set == NULL || blocked || is_expired(lane, &item.ev) ||
			lane->condemned_id == item.ev.id || EdaProbationSuspects(lane, item.ev.id);
		if (alone && set != NULL && set->n > 0 && lane->mode == EDA_LANE_SAVEPOINT)
		{
			/* those before it may have to go back to the window */
			go_on = run_set(lane);
			continue;
		}

		if (blocked)
		{
			begin_item(lane, &item.ev);
			if (EdaRetryPark(lane->sub, lane->lane_no, &item.ev))
				EdaLaneNoteWaiting(lane, &item.ev);
		}
		else if (!is_expired(lane, &item.ev) && !rate_allows(lane))
			break;
		else if (!alone)
		{
			begin_item(lane, &item.ev);
			EdaSetAdd(set, &item, window->next);
			if (EdaSetIsFull(set, limit))
			{
				bool		last = lane->mode == EDA_LANE_BATCH;

				EdaWindowDone(window, window->next);
				go_on = run_set(lane);
				if (last || time_is_up(lane, started))
					break;
				continue;
			}
		}
		else
			go_on = deliver_item(lane, &item);

		/* a probe that failed leaves the event where it is */
		if (lane->probe_failed)
			break;
		EdaWindowDone(window, window->next);
		if (time_is_up(lane, started))
			break;
	}

	if (set != NULL && set->n > 0)
		(void) run_set(lane);
	EdaLogReaderClose(reader);
	if (window->next > 0)
		lane->cursor.pos_id = EdaWindowPosition(window);
}

/*
 * Write the cursor, in the step's transaction.  False: the lane is gone.
 * ERROR where another process has written it: what was handled in this
 * transaction must not take effect.
 */
static bool
store_cursor(EdaLane *lane)
{
	EdaCursorStored stored;

	if (lane->cursor.handled != lane->saved.handled)
		lane->cursor.last_handled_at = GetCurrentTimestamp();
	lane->storing = true;
	stored = EdaCursorStore(&lane->cursor);
	if (stored == EDA_CURSOR_MOVED)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("cursor of subscription \"%s\" was moved by another process",
						lane->sub->name)));
	if (stored == EDA_CURSOR_GONE && EdaSubscriptionIsThere(lane->subscription_id))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("lane %d of subscription \"%s\" is gone", lane->lane_no, lane->sub->name)));
	lane->storing = false;
	if (stored == EDA_CURSOR_GONE)
		return false;
	lane->window.scanned = 0;
	return true;
}

/* A lane that may not run for a reason other than `failing`: has it passed? */
static bool
block_has_passed(EdaLane *lane)
{
	char	   *reason;
	char	   *detail;

	if (strcmp(lane->sub->blocked_reason, "handler") != 0 &&
		strcmp(lane->sub->blocked_reason, "privilege") != 0 &&
		strcmp(lane->sub->blocked_reason, "login") != 0)
		return false;
	return EdaLaneRefreshHandler(lane, &reason, &detail);
}

/*
 * The subscription is blocked as `failing`: one lane at a time has a probe, and
 * it has to know how the last one ended.  WORKED: see lane->probing, or it is
 * blocked no more; else the step ends so.
 */
static EdaStep
begin_probe(EdaLane *lane)
{
	bool		there;

	if (!EdaSubscriptionTryLock(lane->subscription_id, ShareUpdateExclusiveLock))
		return EDA_STEP_BUSY;
	if (lane->sub->lanes > 1)
	{
		/* the time of the next probe comes without an invalidation */
		lane->epoch = 0;
		PushActiveSnapshot(GetLatestSnapshot());
		there = EdaLaneRefreshSubscription(lane);
		PopActiveSnapshot();
		if (!there)
			return EDA_STEP_GONE;
		if (lane->sub->state == EDA_PAUSED)
			return EDA_STEP_STOPPED;
	}
	lane->probing = EdaSubscriptionDelivers(lane->sub) && lane->sub->state == EDA_BLOCKED &&
		(!lane->sub->has_probe_at || lane->sub->probe_at <= GetCurrentTimestamp());
	return EDA_STEP_WORKED;
}

/* The lane waits for the others, whose number is about to change. */
static EdaStep
stand_at_fence(EdaLane *lane)
{
	bool		told = lane->fence_told;

	if (!lane->at_fence)
		lane->at_fence = store_cursor(lane);
	lane->fence_told = true;
	commit_step(lane);
	/* now that the lock is free; the batch that came here may have been another executor's */
	if (!told)
		EdaWakeDispatcher(EdaMyDatabase(false), EDA_WAKE_RECHECK);
	return EDA_STEP_IDLE;
}

/* A crash of the subscription's is not on record: nothing runs before it is. */
static EdaStep
record_crash(EdaLane *lane)
{
	bool		recorded = EdaProbationRecord(lane->sub);

	commit_step(lane);
	if (!recorded)
		return EDA_STEP_BUSY;
	EdaProbationRecorded(lane->sub);
	return EDA_STEP_WORKED;
}

static EdaStep
step(EdaLane *lane)
{
	char	   *reason = NULL;
	char	   *detail = NULL;
	bool		due;

	begin_step(lane);
	/* DROP EXTENSION drops eda.subscription, and with that moves the epoch */
	if ((lane->sub == NULL || lane->epoch != EdaSubscriptionEpoch()) && !EdaExtensionExists())
	{
		CommitTransactionCommand();
		return EDA_STEP_GONE;
	}
	if (!EdaSubscriptionTryLock(lane->subscription_id, RowExclusiveLock))
	{
		/* for as long as somebody's transaction takes: others need this process */
		CommitTransactionCommand();
		return EDA_STEP_BUSY;
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(lane->step_mcxt);

	if (!EdaLaneRefreshSubscription(lane))
	{
		commit_step(lane);
		return EDA_STEP_GONE;
	}
	EdaInflightLane(EdaSubscriptionRelId(), lane->subscription_id, lane->lane_no);
	if (EdaProbationIsDue(lane->sub))
		return record_crash(lane);
	if (lane->sub->state == EDA_PAUSED)
	{
		commit_step(lane);
		return EDA_STEP_STOPPED;
	}
	if (lane->sub->state == EDA_BLOCKED)
	{
		if (EdaSubscriptionDelivers(lane->sub))
		{
			EdaStep		other = begin_probe(lane);

			if (other != EDA_STEP_WORKED)
			{
				commit_step(lane);
				return other;
			}
		}
		else if (block_has_passed(lane))
		{
			EdaSubscriptionUnblock(lane->subscription_id);
			commit_step(lane);
			return EDA_STEP_WORKED;
		}
		if (lane->sub->state == EDA_BLOCKED && !lane->probing)
		{
			commit_step(lane);
			return EDA_STEP_STOPPED;
		}
		if (lane->probing && lane->mode == EDA_LANE_BATCH)
		{
			lane->mode = EDA_LANE_SAVEPOINT;
			lane->isolate = 1;
		}
	}
	if (!EdaLaneRefreshHandler(lane, &reason, &detail))
	{
		EdaSubscriptionBlock(lane->subscription_id, reason, detail, 0, NULL, 0);
		commit_step(lane);
		return EDA_STEP_STOPPED;
	}
	/* a batch would be one event: its failure is recorded without another run, which would have to wait */
	if (lane->mode == EDA_LANE_BATCH && lane->slot != NULL && EdaRateIsSlow(lane->sub->rate_limit))
		lane->mode = EDA_LANE_SINGLE;
	EdaLaneRefreshWaiting(lane);
	if (!EdaLaneRefreshCursor(lane))
	{
		commit_step(lane);
		return EDA_STEP_GONE;
	}

	due = lane->waiting.next_due <= GetCurrentTimestamp() ||
		(lane->probing && lane->waiting.next_due != DT_NOEND);
	lane->saved = lane->cursor;
	lane->saved_next = lane->window.next;
	lane->saved_waiting = lane->waiting;
	lane->standing = lane->at_fence && EdaLanesAtFence(lane->sub);
	if (lane->standing)
		return stand_at_fence(lane);
	EdaProbationBegin(lane, due);
	if (due)
		run_waiting(lane);
	else if (lane->sub->ordering == EDA_ORDER_STRICT && lane->waiting.nrows > 0)
	{
		commit_step(lane);
		return EDA_STEP_IDLE;
	}
	else
	{
		if (!EdaWindowFill(&lane->window, &lane->cursor, lane->sub, GetActiveSnapshot()))
		{
			bool		asked = lane->slot != NULL &&
				pg_atomic_exchange_u32(&lane->slot->store_asked, 0) != 0;
			bool		store = lane->window.scanned >= (asked ? 1 : STORE_AFTER_SCANNED);

			lane->saved = lane->cursor;
			if (EdaLaneAtFence(lane->sub, &lane->cursor))
				return stand_at_fence(lane);
			if (store)
				(void) store_cursor(lane);
			commit_step(lane);
			return lane->probing ? EDA_STEP_STOPPED : EDA_STEP_IDLE;
		}
		lane->saved = lane->cursor;
		lane->saved_next = lane->window.next;
		run_log(lane);
	}

	if (lane->attempted > 0)
	{
		EdaProbationEnd(lane);
		if (!store_cursor(lane))
		{
			/* unsubscribed by a handler of its own: nothing is left to acknowledge */
			EdaRetryForget(lane->subscription_id);
			EdaProbationForget(lane->subscription_id);
			commit_step(lane);
			return EDA_STEP_GONE;
		}
		if (lane->last_error != NULL)
			EdaSubscriptionNoteError(lane->subscription_id, lane->last_error);
	}
	commit_step(lane);

	if (lane->cursor.handled != lane->saved.handled)
		lane->vouched = true;
	lane->free_retries = 0;
	if (lane->mode != EDA_LANE_BATCH && (lane->isolate -= lane->attempted - lane->put_off) <= 0)
	{
		lane->mode = EDA_LANE_BATCH;
		lane->isolate = 0;
		/* should it come again, after a seek or a replay, it gets its run */
		lane->condemned_id = 0;
	}
	if (lane->attempted == 0 && lane->rate_ready_at != 0)
		return EDA_STEP_IDLE;
	return lane->probe_failed ? EDA_STEP_STOPPED : EDA_STEP_WORKED;
}

/* Has the lane been moved, or told to stop somewhere, since it was loaded? */
static bool
was_moved(EdaLane *lane, const EdaSubscription *sub)
{
	if (sub->lanes != lane->sub->lanes)
		return true;
	if ((sub->fence == NULL) != (lane->sub->fence == NULL) ||
		(sub->fence != NULL && (sub->fence_pos != lane->sub->fence_pos ||
								!EdaSnapshotEqual(sub->fence, lane->sub->fence))))
		return true;
	return !EdaCursorIsUnmoved(&lane->cursor);
}

/*
 * The failure of mode SINGLE, written down after the abort, in a transaction
 * of its own.  Cursor and window are those of the step that failed: they are
 * kept even if the definition has changed meanwhile, as a window opened anew
 * could hold lower ids that are not done.  The next step reads everything again.
 */
static EdaStep
record_failure(EdaLane *lane, EdaItem *item, const ErrorData *edata)
{
	bool		timed_out = is_timeout(lane, edata);
	EdaSubscription *sub;

	start_transaction();
	if (!EdaSubscriptionTryLock(lane->subscription_id, RowExclusiveLock))
	{
		/* nothing has happened: the event has its turn again later */
		CommitTransactionCommand();
		return EDA_STEP_BUSY;
	}
	PushActiveSnapshot(GetTransactionSnapshot());

	MemoryContextSwitchTo(lane->sub_mcxt);
	sub = EdaSubscriptionLoad(lane->subscription_id);
	MemoryContextSwitchTo(lane->step_mcxt);
	lane->attempted = 0;		/* no timeout for this commit */
	if (sub != NULL && was_moved(lane, sub))
	{
		/* somebody had the lock in between: the event has its turn again, wherever that is now */
		lane->epoch = 0;
		commit_step(lane);
		return EDA_STEP_AGAIN;
	}
	/* skipped since it was tried: nothing to record */
	if (item->from_retry && !EdaQueueHas(lane->subscription_id, item->ev.id))
	{
		sub = NULL;
		lane->cursor_valid = false;
	}
	if (sub != NULL && sub->state != EDA_PAUSED)
	{
		lane->sub = sub;
		EdaLaneRefreshWaiting(lane);
		/* an event of a failing subscription runs only as a probe */
		lane->probing = sub->state == EDA_BLOCKED && EdaSubscriptionDelivers(sub);
		(void) item_failed(lane, item, edata, timed_out);
		if (!item->from_retry && !lane->probe_failed)
		{
			EdaWindowDone(&lane->window, lane->current_next);
			lane->cursor.pos_id = EdaWindowPosition(&lane->window);
		}
		EdaProbationEnd(lane);
		(void) store_cursor(lane);
		if (lane->last_error != NULL)
			EdaSubscriptionNoteError(lane->subscription_id, lane->last_error);
	}
	lane->epoch = 0;
	commit_step(lane);
	if ((lane->isolate -= 1 - lane->put_off) <= 0)
	{
		lane->mode = EDA_LANE_BATCH;
		lane->isolate = 0;
		lane->condemned_id = 0;
	}
	return lane->probe_failed ? EDA_STEP_STOPPED : EDA_STEP_WORKED;
}

EdaStep
EdaLaneStep(EdaLane *lane)
{
	volatile EdaStep result = EDA_STEP_WORKED;
	ErrorData  *volatile edata = NULL;

	PG_TRY();
	{
		result = step(lane);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(lane->mcxt);
		edata = copy_error(lane);
		/* before the handlers' turn: not theirs, and nothing has changed */
		if (lane->attempted == 0 && !lane->storing &&
			edata->sqlerrcode != ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	if (lane->slot != NULL)
		pg_atomic_write_u32(&lane->slot->in_flight, 0);
	if (edata == NULL)
	{
		EdaInflightEnd();
		return result;
	}

	HOLD_INTERRUPTS();
	AbortOutOfAnyTransaction();
	RESUME_INTERRUPTS();
	EdaInflightEnd();
	timed_lane = NULL;
	EdaSetCurrentEvent(NULL);
	EdaTimeLimitsOff();
	lane->item_timed = false;
	QueryCancelPending = false;
	MemoryContextSwitchTo(lane->mcxt);

	if (lane->attempted == 0 && !lane->storing)
	{
		/* a cancel that met no event */
		lane->epoch = 0;
		FreeErrorData(edata);
		return EDA_STEP_WORKED;
	}
	if (lane->storing)
	{
		/* no event's fault */
		if (edata->sqlerrcode != ERRCODE_T_R_SERIALIZATION_FAILURE)
			ReThrowError(edata);
		/* go on from what the row says now */
		ereport(LOG,
				(errmsg("a batch of subscription %d was rolled back and will run again: %s",
						lane->subscription_id, edata->message)));
		lane->cursor_valid = false;
		lane->waiting_valid = false;
		lane->invoker_valid = false;
		FreeErrorData(edata);
		return EDA_STEP_WORKED;
	}

	/* back to where the step began */
	lane->cursor = lane->saved;
	lane->window.next = lane->saved_next;
	EdaLaneUndoWaiting(lane);
	lane->invoker_valid = false;

	switch (lane->mode)
	{
		case EDA_LANE_BATCH:
			lane->isolate = lane->attempted;
			lane->mode = EDA_LANE_SAVEPOINT;
			lane->set.bad = 0;
			if (!lane->set.calling)
				lane->set.chunk = 0;	/* nothing is known of any */
			else if (is_passing(edata))
				lane->set.chunk = lane->set.n;	/* once more */
			else
				(void) EdaSetFailed(&lane->set);
			if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED && lane->current_id != 0)
			{
				/* it had its run: another would take as long, or outlive the cancel */
				if (lane->condemned_for != NULL)
					FreeErrorData(lane->condemned_for);
				lane->condemned_id = lane->current_id;
				lane->condemned_timed_out = is_timeout(lane, edata);
				lane->condemned_for = edata;
				return EDA_STEP_AGAIN;
			}
			result = EDA_STEP_AGAIN;
			break;
		case EDA_LANE_SAVEPOINT:
			lane->isolate = lane->attempted;
			lane->mode = EDA_LANE_SINGLE;
			result = EDA_STEP_AGAIN;
			break;
		case EDA_LANE_SINGLE:
			if (is_passing(edata) && lane->free_retries++ < MAX_FREE_RETRIES)
			{
				/* at once, as it is in a savepoint */
				rate_return(lane, 1);
				result = EDA_STEP_AGAIN;
				break;
			}
			lane->free_retries = 0;
			if (lane->current == NULL)
				ReThrowError(edata);
			result = record_failure(lane, lane->current, edata);
			break;
	}
	FreeErrorData(edata);
	return result;
}

void
EdaLaneClose(EdaLane *lane)
{
	if (lane->cursor_valid && lane->window.scanned >= STORE_AFTER_SCANNED)
	{
		begin_step(lane);
		if (EdaExtensionExists() &&
			EdaSubscriptionTryLock(lane->subscription_id, RowExclusiveLock))
		{
			PushActiveSnapshot(GetTransactionSnapshot());
			MemoryContextSwitchTo(lane->step_mcxt);
			if (lane->epoch == EdaSubscriptionEpoch())
				(void) store_cursor(lane);
			commit_step(lane);
		}
		else
			CommitTransactionCommand();
	}
	/* 18 comes back to it after each transaction */
	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextDelete(lane->mcxt);
}
