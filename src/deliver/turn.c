/*-------------------------------------------------------------------------
 *
 * deliver/turn.c
 *	  Running a lane: events through a subscription's handler, in a step's transaction.
 *
 *	1. Due events of eda.retry and those of the log take turns (see deliver/step.c); the
 *	   first always run in mode SAVEPOINT or SINGLE.
 *	2. Each event has its turn: it is expired, held by a probation, behind another one of its key,
 *	   or the filter and the handler are called for it, as the owner, and what a commit would do
 *	   for the event's sake follows (deliver/session.c).  What became of it is written down by
 *	   deliver/outcome.c.
 *	3. rate_limit is asked before each call; where it does not allow one the step
 *	   ends, and the lane is looked at again in time.
 *	4. Serialization failures and deadlocks are tried again at once a few
 *	   times before they count.  An event that failed in company is the first of the next step.
 *	5. A handler may pause, alter or unsubscribe its own subscription, redrive or skip its events,
 *	   or drop itself.  What the step holds in memory is old then, and the step ends with that
 *	   event, whatever was fetched already for those behind it.
 *	6. The clock is read once an event: it ends the batch's time and begins that of
 *	   the next event.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/turn.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/wal.h"
#include "deliver/lane.h"
#include "deliver/outcome.h"
#include "deliver/probation.h"
#include "deliver/rate.h"
#include "deliver/session.h"
#include "deliver/termination.h"
#include "deliver/turn.h"
#include "deliver/waiting.h"
#include "workers/workers.h"

/* Fewer than the subtransactions that a backend's shared entry can hold (64). */
#define MAX_SAVEPOINTS		50

/* Of so many events that wait, one after the other is a probe. */
#define MAX_PROBED			64

void
EdaLaneTimeBegin(EdaLane *lane)
{
	/* the end of one event is the beginning of the next */
	lane->step.item_started = lane->step.clock != 0 ? lane->step.clock : EdaMonotonicNow();
	lane->step.clock = 0;
	lane->step.item_timed = true;
	if (lane->slot != NULL)
		pg_atomic_write_u64(&lane->slot->item_since, lane->step.item_started);
	EdaTimeLimitBegin(lane->step.limit_ms, lane->step.item_started);
}

void
EdaLaneTimeEnd(EdaLane *lane)
{
	if (!lane->step.item_timed)
		return;
	/* fired after the handler had returned: not for the next event */
	if (EdaTimeLimitEnd())
		QueryCancelPending = false;
	lane->step.item_timed = false;
}

bool
EdaLaneIsPreempted(EdaLane *lane)
{
	return lane->slot != NULL && pg_atomic_read_u32(&lane->slot->preempt) != 0;
}

/* May the handler be called for one more event?  If not, the step is over. */
static bool
rate_allows(EdaLane *lane)
{
	int64		wait_us;

	if (lane->sub->rate_limit == 0 || lane->slot == NULL ||
		EdaRateTake(lane->subscription_id, lane->sub->rate_limit, &wait_us))
		return true;
	lane->step.rate_ready_at = EdaMonotonicNow() + wait_us;
	return false;
}

/* It was not called for that many of them after all. */
void
EdaLaneRateReturn(EdaLane *lane, int n)
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
bool
EdaLaneIsTimeout(EdaLane *lane, const ErrorData *edata)
{
	return edata->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		EdaMonotonicNow() - lane->step.item_started >= lane->step.limit_ms * 1000;
}

char *
EdaLaneTimeoutText(EdaLane *lane)
{
	return psprintf(lane->step.limit_ms < lane->sub->timeout_ms ?
					"canceled after %lld ms, eda.max_timeout for subscription \"%s\"" :
					"canceled after %lld ms, the timeout of subscription \"%s\"",
					(long long) lane->step.limit_ms, lane->sub->name);
}

/* A copy of the current error, in the current context; of a cancel by the timeout it says so. */
ErrorData *
EdaLaneCopyError(EdaLane *lane)
{
	ErrorData  *edata = CopyErrorData();

	if (lane->sub != NULL && lane->step.item_timed && EdaLaneIsTimeout(lane, edata))
		edata->message = EdaLaneTimeoutText(lane);
	return edata;
}

/* A failure that passes by itself. */
bool
EdaErrorPasses(const ErrorData *edata)
{
	return edata->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		edata->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

/*
 * Does this failure say all about its event, whoever ran before it?  The handler puts the event
 * off, the event breaks the schema, which knows nothing else, or somebody cancelled just this
 * one.
 */
bool
EdaFailsInCompany(EdaLane *lane, const ErrorData *edata)
{
	int64		delay_ms;

	if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
		return !EdaLaneIsTimeout(lane, edata);
	return (edata->sqlerrcode == ERRCODE_EDA_SNOOZED ||
			edata->sqlerrcode == ERRCODE_EDA_SCHEMA_VIOLATION) &&
		EdaVerdictDelay(edata->sqlerrcode, &delay_ms);
}

/* Should this process end meanwhile, the next one is to run so many events alone. */
static int
alone_after(const EdaLane *lane)
{
	return Max(lane->step.attempted, lane->trust[lane->side].alone);
}

/* The code of an event, or of a set's events, begins. */
static void
begin_run(EdaLane *lane, int n)
{
	bool		clean = EdaSessionUse();

	EdaSessionBeOwner();
	if (lane->step.ran == 0)
		lane->step.ran_clean = clean;
	lane->step.ran += n;
	/* what may count at once has a snapshot of its own */
	lane->invoker.in_batch = lane->mode == EDA_LANE_BATCH && lane->step.ran > 1;
}

/* It took effect: what is published at the commit may come of it. */
static void
note_cause(EdaLane *lane, const EdaEvent *ev)
{
	EdaEvent   *cause = &lane->step.cause;
	MemoryContext old;

	if (cause->id != 0)
	{
		cause->hops = Max(cause->hops, ev->hops);
		return;
	}
	old = MemoryContextSwitchTo(lane->step_mcxt);
	cause->id = ev->id;
	cause->hops = ev->hops;
	cause->topic = (struct varlena *) PG_DETOAST_DATUM_COPY(PointerGetDatum(ev->topic));
	if (ev->correlation_id != NULL)
		cause->correlation_id = (struct varlena *)
			PG_DETOAST_DATUM_COPY(PointerGetDatum(ev->correlation_id));
	MemoryContextSwitchTo(old);
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
	lane->step.current_id = item->ev.id;
	EdaInflightEvent(item->ev.id);
	EdaTerminationItem(item, alone_after(lane));
	begin_run(lane, 1);
	EdaLaneTimeBegin(lane);
	passes = EdaFilterPasses(lane->sub, &item->ev);
	if (passes)
	{
		EdaInvoke(&lane->invoker, &item->ev);
		EdaLaneTimeEnd(lane);
		note_cause(lane, &item->ev);
		lane->cursor.handled++;
		lane->cursor.streak = 0;
	}
	else
	{
		EdaLaneTimeEnd(lane);
		lane->cursor.filtered++;
		EdaLaneRateReturn(lane, 1);
	}
	error_context_stack = outer;
	lane->step.current_id = 0;
	EdaInflightAfter(1);
	return passes;
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

		EdaSessionBeforeSavepoint();
		BeginInternalSubTransaction(NULL);
		lane->step.savepoints++;
		MemoryContextSwitchTo(lane->event_mcxt);
		PG_TRY();
		{
			*handled = code(lane, item);
			ReleaseCurrentSubTransaction();
		}
		PG_CATCH();
		{
			MemoryContextSwitchTo(lane->step_mcxt);
			edata = EdaLaneCopyError(lane);
			FlushErrorState();
			RollbackAndReleaseCurrentSubTransaction();
		}
		PG_END_TRY();
		MemoryContextSwitchTo(mcxt);
		CurrentResourceOwner = owner;

		if (edata == NULL)
		{
			EdaSessionEventDone();
			return NULL;
		}
		if (EdaLaneIsPreempted(lane))
			ReThrowError(edata);
		/* a long rollback may have been told to end again: not what follows */
		EdaLaneTimeEnd(lane);
		EdaSessionScrub();

		EdaInflightAfter(1);
		EdaSetCurrentEvent(NULL);
		lane->cursor = before;

		if (!EdaErrorPasses(edata) || tries >= EDA_FREE_RETRIES)
			return edata;
	}
}

/* The item failed, and does not count as failed: it has its turn alone, in the next step. */
static void
doubt(EdaLane *lane, const EdaItem *item)
{
	lane->trust[lane->side].doubted = item->ev.id;
	lane->step.unclean = true;
	lane->step.stop_before = true;
}

/*
 * Deliver one item in a subtransaction of its own.  False where the lane must
 * stop after it, or before it.
 */
static bool
deliver_isolated(EdaLane *lane, EdaItem *item)
{
	bool		handled;
	ErrorData  *edata = isolate(lane, deliver, item, &handled);

	if (edata == NULL)
		EdaOutcomeDone(lane, item, handled);
	else if (EdaFailsInCompany(lane, edata))
		return EdaOutcomeFailed(lane, item, edata, false);
	else
	{
		doubt(lane, item);
		lane->step.attempted--;
		EdaLaneRateReturn(lane, 1);
		return false;
	}
	return true;
}

/*
 * As its failure may count, the item has to be there still after the abort.  next: its place in
 * the window.
 */
static void
keep_item(EdaLane *lane, const EdaItem *item, int next)
{
	MemoryContext old = MemoryContextSwitchTo(lane->step_mcxt);

	lane->step.current_next = next;
	lane->step.current = palloc(sizeof(EdaItem));
	*lane->step.current = *item;
	lane->step.current->ev = *EdaEventCopy(&item->ev);
	MemoryContextSwitchTo(old);
}

/* Deliver one item without a savepoint.  Doubted, it stays the only one of its transaction. */
static bool
deliver_plain(EdaLane *lane, EdaItem *item)
{
	MemoryContext old;
	bool		handled;

	lane->step.deciding = EdaLaneDoubts(lane, item);
	if (lane->step.ran == 0)
		keep_item(lane, item, lane->window.next);
	old = MemoryContextSwitchTo(lane->event_mcxt);
	handled = deliver(lane, item);
	EdaSessionEventDone();
	MemoryContextSwitchTo(old);
	EdaOutcomeDone(lane, item, handled);
	return !lane->step.deciding;
}

/* An event's turn has come. */
static void
begin_item(EdaLane *lane, const EdaEvent *ev)
{
	lane->step.attempted++;
	lane->turn_id = ev->id;
	if (lane->slot != NULL)
		pg_atomic_write_u32(&lane->slot->in_flight, lane->step.attempted);
}

/*
 * Is everything as this step has read it?  Nobody else can have changed the subscription, its
 * position or its waiting events, but its handler can, and it can drop itself: then the next
 * event is another step's. So it is where the handler, or its role, has changed so that it may
 * not be called any more.
 */
static bool
is_unchanged(EdaLane *lane)
{
	EdaBlock	block;
	char	   *detail;

	AcceptInvalidationMessages();
	return lane->epoch == EdaSubscriptionEpoch() && EdaSessionIsCurrent() &&
		EdaLaneRefreshHandler(lane, &block, &detail);
}

/*
 * Has it failed in company, and would not be alone now, as others had their turn?  Then it begins
 * the next step.
 */
static bool
has_to_wait(EdaLane *lane, const EdaItem *item)
{
	if (!EdaLaneDoubts(lane, item) || lane->step.attempted == 0)
		return false;
	lane->step.unclean = true;
	return true;
}

/*
 * Deliver one item as the lane's mode says.  False: stop after it, or before it
 * (lane->step.stop_before).
 */
static bool
deliver_item(EdaLane *lane, EdaItem *item)
{
	bool		go_on = true;
	bool		timed_out;
	ErrorData  *charge;

	begin_item(lane, &item->ev);
	if (is_expired(lane, &item->ev))
	{
		EdaLaneNoteDue(lane, EdaRetryExpired(lane->sub, lane->lane_no, item));
		if (item->from_retry)
			EdaLaneNoteGone(lane, &item->ev);
	}
	else if (EdaProbationHolds(lane, item))
		EdaLaneRateReturn(lane, 1);
	else if ((charge = EdaTerminationCharge(lane, item, &timed_out)) != NULL)
		go_on = EdaOutcomeFailed(lane, item, charge, timed_out);
	else if (lane->condemned_id == item->ev.id && !item->from_retry)
		go_on = EdaOutcomeFailed(lane, item, lane->condemned_for, false);
	else if (lane->mode == EDA_LANE_SAVEPOINT && !EdaLaneDoubts(lane, item))
		go_on = deliver_isolated(lane, item);
	else
		go_on = deliver_plain(lane, item);
	MemoryContextReset(lane->event_mcxt);
	return go_on && is_unchanged(lane);
}

/* How many events this step may take. */
static int
step_limit(EdaLane *lane)
{
	if (lane->step.probing || lane->mode == EDA_LANE_SINGLE)
		return 1;
	if (lane->mode == EDA_LANE_SAVEPOINT)
		return Min(lane->trust[lane->side].caution > 0 ? lane->trust[lane->side].caution : lane->sub->batch_size, MAX_SAVEPOINTS);
	return lane->sub->batch_size;
}

/* The batch has lasted long enough. */
static bool
time_is_up(EdaLane *lane, TimestampTz started)
{
	lane->step.clock = EdaMonotonicNow();
	return lane->step.clock - started >= (int64) eda_batch_time * 1000 || EdaLaneIsPreempted(lane);
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
 * The events of eda.retry whose turn is now, at most so many.  A probe does not wait until one is
 * due, and each tries another one: what fails may be at fault itself.
 */
static List *
fetch_waiting(EdaLane *lane, int limit)
{
	List	   *items;
	int			place;

	if (!lane->step.probing)
		return EdaQueueFetch(lane->subscription_id, lane->lane_no, lane->waiting.floor,
							 GetCurrentTimestamp(), limit);
	place = lane->sub->ordering == EDA_ORDER_STRICT ? 0 : (lane->sub->probes / 2) % MAX_PROBED;
	items = EdaQueueFetch(lane->subscription_id, lane->lane_no, lane->waiting.floor, DT_NOEND,
						  place + 1);
	return items == NIL ? NIL : list_make1(list_nth(items, place % list_length(items)));
}

/*
 * Due events of eda.retry.  One that is handled makes the next one of its key
 * due, whose turn comes in the same transaction.
 */
void
EdaDeliverWaiting(EdaLane *lane)
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
	while (go_on && lane->step.attempted < limit)
	{
		MemoryContext old = MemoryContextSwitchTo(fetched);
		List	   *items;
		ListCell   *lc;

		MemoryContextReset(fetched);
		items = fetch_waiting(lane, limit - lane->step.attempted);
		lane->step.clock = 0;
		MemoryContextSwitchTo(old);
		if (items == NIL)
			break;
		lane->waiting_written = DT_NOEND;
		foreach(lc, items)
		{
			EdaItem    *item = lfirst(lc);

			/* what it did may come again: alone it takes no other event along */
			if (item->slow && lane->step.attempted > 0)
			{
				go_on = false;
				break;
			}
			/* those before it have had their turn */
			if (!lane->step.probing)
				lane->waiting.floor = Min(item->due, lane->waiting_written);
			if (has_to_wait(lane, item) || !rate_allows(lane) || !deliver_item(lane, item) || item->slow ||
				time_is_up(lane, started))
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
	EdaTerminationItem(NULL, alone_after(lane));
	begin_run(lane, lane->set.n);
	EdaLaneTimeBegin(lane);
	n = EdaSetCall(&lane->set, lane->sub, &lane->invoker, &lane->step.current_id);
	EdaLaneTimeEnd(lane);
	error_context_stack = outer;
	if (n > 0)
		note_cause(lane, &lane->set.current);
	lane->cursor.handled += n;
	lane->cursor.filtered += lane->set.n - n;
	EdaLaneRateReturn(lane, lane->set.n - n);
	if (n > 0)
		lane->cursor.streak = 0;
	return n > 0;
}

/*
 * The lane's set failed in its savepoint: all of it goes back to the window, to be narrowed down,
 * but for an event that is at fault for certain.  One that is found to be at fault runs alone in
 * the next step, as any event that failed in company.  False where the lane must stop.
 */
static bool
set_failed(EdaLane *lane, const ErrorData *edata)
{
	EdaSet	   *set = &lane->set;
	bool		found = EdaSetFailed(set);
	int			keep = found && EdaFailsInCompany(lane, edata) ? 1 : 0;

	if (keep < set->n)
	{
		lane->window.next = set->items[keep].place;
		lane->step.attempted -= set->n - keep;
		EdaLaneRateReturn(lane, set->n - keep);
	}
	if (keep > 0)
		return EdaOutcomeFailed(lane, &set->items[0].item, edata, false);
	if (found)
		doubt(lane, &set->items[0].item);
	return !found;
}

/* Deliver the lane's set.  False where the lane must stop after it. */
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
			go_on = set_failed(lane, edata);
	}
	else
	{
		MemoryContext old = MemoryContextSwitchTo(lane->event_mcxt);

		if (set->n == 1 && lane->step.ran == 0)
			keep_item(lane, &set->items[0].item, set->items[0].place);
		(void) deliver_set(lane, NULL);
		EdaSessionEventDone();
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
	return lane->sub->handler_kind == EDA_HANDLER_EVENTS && !lane->step.probing &&
		(lane->mode == EDA_LANE_BATCH ||
		 (lane->mode == EDA_LANE_SAVEPOINT && lane->trust[lane->side].caution > 0));
}

/* Events of the log, from the window. */
void
EdaDeliverLog(EdaLane *lane)
{
	EdaLogReader *reader = EdaLogReaderOpen();
	Snapshot	snapshot = GetActiveSnapshot();
	EdaWindow  *window = &lane->window;
	TimestampTz started = EdaMonotonicNow();
	int			limit = step_limit(lane);
	EdaSet	   *set = takes_sets(lane) ? &lane->set : NULL;
	uint32		passed_over = 0;
	bool		go_on = true;

	if (!EdaWindowIsGood(window, reader) || !is_unchanged(lane))
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
		{
			/* where nothing is known, as it was another process's: one, then two */
			set->chunk = Max(set->chunk, 1);
			limit = lane->trust[lane->side].caution;
		}
	}
	flush_events();

	while (go_on && lane->step.attempted < limit && lane->step.savepoints < MAX_SAVEPOINTS &&
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
			lane->step.clock = 0;
			continue;
		}

		if (window->next + 1 < window->nentries)
			EdaLogPrefetch(reader, entry[1].segment, &entry[1].tid);
		blocked = EdaLaneKeyIsBlocked(lane, &item.ev);
		alone = set == NULL || blocked || is_expired(lane, &item.ev) ||
			lane->condemned_id == item.ev.id || EdaLaneDoubts(lane, &item) ||
			EdaProbationSuspects(lane, item.ev.id) || EdaTerminationCharges(lane, item.ev.id);
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
		else if (has_to_wait(lane, &item) || (!is_expired(lane, &item.ev) && !rate_allows(lane)))
			break;
		else if (!alone)
		{
			begin_item(lane, &item.ev);
			EdaSetAdd(set, lane->sub, &item, window->next);
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

		/* one that is to run alone has its place still, and so has one that a probe failed at */
		if (lane->step.stop_before || lane->step.probe_failed)
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
