/*-------------------------------------------------------------------------
 *
 * deliver/step.c
 *	  Running a lane: one transaction, and what becomes of it.
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
 *	4. A failure counts only when the event failed alone: first in its transaction, without a
 *	   savepoint, in a session in which nothing ran since it was reset (deliver/session.c).  An
 *	   event that fails in company is doubted: what the others did is kept, and it begins the next
 *	   transaction.  Three modes: BATCH: no subtransactions; if anything fails, the transaction is
 *	   rolled back. SAVEPOINT: one subtransaction an event, at most 50 a transaction, so that a
 *	   failure costs no other event its run.  A set-wise handler gets smaller sets instead, each
 *	   in a subtransaction, until the events at fault are alone (deliver/setwise.c). SINGLE: one
 *	   event a transaction; a failure that counts is written down in a transaction of its own.
 *	   What fails at once in any company: eda.snooze(), a broken schema, a cancel that was meant
 *	   for it. How many runs an event gets: after a failed batch the next events run in
 *	   savepoints, twice as many with each failed batch up to EDA_MAX_CAUTION, and after a failure
 *	   that counts the next event runs alone. So with 1 % failing a good event gets little more
 *	   than one run, and one that fails two; with 30 %, one and two; where all fail, one each, as
 *	   each follows a failure.  One that failed in company and succeeded alone makes the next 16
 *	   events run alone, then 32 and so on: where company is the fault, it is tried once in a
 *	   thousand events. If a transaction fails as a whole, at its commit, its events run alone.
 *	5. An event that is cancelled in mode BATCH is not run a second time, which might outlive the
 *	   cancel: it fails when its turn comes.  A set of several is narrowed down, as any that
 *	   failed.
 *	6. A blocked subscription whose reason is `failing` gets one event a
 *	   probe; its failure is not recorded with the event, its success unblocks.
 *	7. After a failure that counts the lane goes on in a fresh process, where its session may be
 *	   the cause: if other events ran in it before.  That happens once in a row of failures, and
 *	   not within 5 s again, so that failures among successes do not cost a process each.
 *	8. Waiting events that are due and the log take turns: what waits may be any number of events
 *	   that are due again at once, and the log may never end.  Turns are measured in time, as a
 *	   step of one side may take one event where one of the other's takes fifty; where both could
 *	   use all of it, the log gets three quarters, as its events were not tried at all yet.  Time
 *	   that a side has no use for is not kept for it, and neither is ever more than a few batches
 *	   behind.  A step that failed is the same side's next one.  Each side has a trust of its own,
 *	   so that neither's steps end the other's caution.  Probes, and events that a slow rate_limit
 *	   lets through one by one, alternate.  With ordering `strict` the log waits.
 *	9. Where the number of lanes is to change (deliver/resize.c), a lane that has come to the
 *	   fence stores its cursor there, and once all have, delivers nothing until
 *	   the number has changed.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/step.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/catalog.h"
#include "base/clock.h"
#include "deliver/lane.h"
#include "deliver/outcome.h"
#include "deliver/probation.h"
#include "deliver/rate.h"
#include "deliver/ready.h"
#include "deliver/resize.h"
#include "deliver/session.h"
#include "deliver/state.h"
#include "deliver/step.h"
#include "deliver/termination.h"
#include "deliver/turn.h"
#include "deliver/waiting.h"
#include "publish/publish.h"
#include "workers/workers.h"

/* Index entries passed over for nothing, after which the cursor is worth storing unasked. */
#define STORE_AFTER_SCANNED 10000

/* The log gets so many times as much time as what waits, where both could use it. */
#define LOG_SHARE	3

/* A failure does not ask for another process so soon after the last one did, in ms. */
#define RENEW_AGAIN_MS		5000

/*
 * An event that fails alone so often, each time in a session that was reset, fails, whatever has
 * changed since the reset.
 */
#define MAX_UNCLEAN_RUNS	5

/* How many events run alone after the first that failed in company only. */
#define FIRST_ALONE			16

static void
start_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	EdaSessionCharacteristics();
}

static void
begin_step(EdaLane *lane)
{
	QueryCancelPending = false;
	memset(&lane->step, 0, sizeof(EdaStepState));
	/* what store_cursor() compares with, until the step knows more */
	lane->step.saved = lane->cursor;
	EdaSetClear(&lane->set);
	MemoryContextReset(lane->step_mcxt);
	start_transaction();
}

/* The lane whose step is being committed. */
static EdaLane *timed_lane = NULL;

/*
 * Whatever of others' runs at the commit has run.  What follows, waiting for a synchronous standby
 * for one, is not the handler's and must not be cut short.
 */
static void
at_commit(XactEvent event, void *arg)
{
	if (timed_lane == NULL)
		return;
	if (event == XACT_EVENT_PRE_COMMIT)
		EdaLaneTimeEnd(timed_lane);
	else if (event == XACT_EVENT_COMMIT)
		EdaInflightCommitted();
}

/*
 * The subscription's timeout covers what runs at commit, too; at_commit() ends
 * it once that is over.
 */
static void
commit_step(EdaLane *lane)
{
	static bool registered = false;
	bool		timed = lane->sub != NULL && lane->step.attempted > 0;

	if (lane->step.ran > 0)
	{
		EdaSessionBeOwner();
		EdaSessionBeforeCommit();
		if (lane->step.cause.id != 0)
			EdaSetCommitCause(&lane->step.cause);
	}
	PopActiveSnapshot();
	lane->step.clock = 0;			/* what was written since the last event may have waited */
	if (timed)
		EdaLaneTimeBegin(lane);
	if (!registered)
	{
		RegisterXactCallback(at_commit, NULL);
		registered = true;
	}
	timed_lane = lane;
	CommitTransactionCommand();
	timed_lane = NULL;
	EdaSetCommitCause(NULL);
	EdaSessionAfterEnd();
	EdaTimeLimitsOff();
	QueryCancelPending = false;
	MemoryContextSwitchTo(lane->mcxt);

	EdaSignalProgress(EdaMyDatabase(false));
	pgstat_report_stat(false);
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

	if (lane->cursor.handled != lane->step.saved.handled)
		lane->cursor.last_handled_at = GetCurrentTimestamp();
	lane->step.storing = true;
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
	lane->step.storing = false;
	if (stored == EDA_CURSOR_GONE)
		return false;
	lane->window.scanned = 0;
	return true;
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

/*
 * Whose turn is it?  NONE: there is nothing to do now.  Fills the window, so before the
 * transaction writes anything.
 */
static EdaSide
choose_side(EdaLane *lane)
{
	/* a probe does not wait until it is due */
	bool		due = lane->waiting.next_due <= GetCurrentTimestamp() ||
		(lane->step.probing && lane->waiting.next_due != DT_NOEND);
	bool		waiting_first = lane->failed_side == EDA_SIDE_NONE ? lane->lead >= 0 :
		lane->failed_side == EDA_SIDE_WAITING;

	if (lane->sub->ordering == EDA_ORDER_STRICT && lane->waiting.nrows > 0)
		return due ? EDA_SIDE_WAITING : EDA_SIDE_NONE;
	if (due && waiting_first)
		return EDA_SIDE_WAITING;
	if (EdaWindowFill(&lane->window, &lane->cursor, lane->sub, GetActiveSnapshot()))
		return EDA_SIDE_LOG;
	/* time that it had no use for is not kept for it */
	lane->lead = 0;
	return due ? EDA_SIDE_WAITING : EDA_SIDE_NONE;
}

/* What the step took is its side's, whatever became of it. */
static void
charge_side(EdaLane *lane)
{
	TimestampTz now = EdaMonotonicNow();
	int64		most = Max((int64) eda_batch_time * 1000, 1) * (LOG_SHARE + 1);
	int64		took = now - lane->step.began;

	if (lane->step.was_probe || EdaRateIsSlow(lane->sub->rate_limit))
		lane->lead = lane->side == EDA_SIDE_LOG ? 0 : -1;
	else
		lane->lead += lane->side == EDA_SIDE_LOG ? took : -took * LOG_SHARE;
	lane->lead = Max(Min(lane->lead, most), -most);
	lane->step.began = now;
}

/* The mode that the side's events run in. */
static void
choose_mode(EdaLane *lane, EdaSide side)
{
	EdaTrust   *trust;

	if (side == EDA_SIDE_NONE)
		return;
	lane->side = side;
	trust = &lane->trust[side];
	lane->mode = trust->alone > 0 || lane->step.probing ? EDA_LANE_SINGLE :
		(trust->caution > 0 ? EDA_LANE_SAVEPOINT : EDA_LANE_BATCH);
	/*
	 * a batch would be one event: its failure is recorded without another run, which would have to
	 * wait
	 */
	if (lane->mode == EDA_LANE_BATCH && lane->slot != NULL && EdaRateIsSlow(lane->sub->rate_limit))
		lane->mode = EDA_LANE_SINGLE;
}

/* There was nothing to do. */
static EdaStep
end_idle_step(EdaLane *lane)
{
	bool		asked;

	if (lane->sub->ordering == EDA_ORDER_STRICT && lane->waiting.nrows > 0)
	{
		/* the log waits, and was not looked at */
		commit_step(lane);
		return EDA_STEP_IDLE;
	}
	if (EdaLaneAtFence(lane->sub, &lane->cursor))
		return stand_at_fence(lane);
	asked = lane->slot != NULL && pg_atomic_exchange_u32(&lane->slot->store_asked, 0) != 0;
	if (lane->window.scanned >= (asked ? 1 : STORE_AFTER_SCANNED))
		(void) store_cursor(lane);
	commit_step(lane);
	return lane->step.probing ? EDA_STEP_STOPPED : EDA_STEP_IDLE;
}

/* So many events have had their turn in this way. */
static void
count_down(int *left, int n)
{
	*left = Max(*left - n, 0);
}

/*
 * So many of the side's events are through in this step.  One of the log that was put off waits
 * now: it is the other side's.
 */
static int
through(const EdaLane *lane, int had_turn)
{
	return lane->side == EDA_SIDE_LOG ? had_turn : had_turn - lane->step.put_off;
}

/* The step has committed: how far do the next events trust each other? */
static void
note_success(EdaLane *lane)
{
	EdaTrust   *trust = &lane->trust[lane->side];
	int			n = through(lane, lane->step.attempted);

	if (lane->step.deciding)
	{
		/* it failed in company, and not alone */
		trust->doubted = 0;
		trust->alone_span = Min(Max(trust->alone_span * 2, FIRST_ALONE), EDA_MAX_CAUTION);
		trust->alone = Max(trust->alone, trust->alone_span);
	}
	else if (lane->mode == EDA_LANE_SINGLE)
		count_down(&trust->alone, n);
	else if (lane->mode == EDA_LANE_BATCH && lane->step.ran > 1)
	{
		trust->alone_span = 0;
		trust->caution_span /= 2;
	}
	if (lane->mode != EDA_LANE_BATCH)
		count_down(&trust->caution, n);
	/* should it come again, after a seek or a replay, it gets its run */
	if (lane->side == EDA_SIDE_LOG && trust->caution == 0 && trust->alone == 0)
		lane->condemned_id = 0;
}

/* The step has committed. */
static EdaStep
worked(EdaLane *lane)
{
	if (lane->cursor.handled != lane->step.saved.handled)
	{
		lane->vouched = true;
		if (TimestampDifferenceExceeds(lane->renewed_at, EdaMonotonicNow(), RENEW_AGAIN_MS))
			lane->renewed_at = 0;
	}
	lane->free_retries = 0;
	lane->unclean_runs = 0;
	note_success(lane);
	lane->failed_side = EDA_SIDE_NONE;
	if (lane->step.unclean)
	{
		/* what failed has its turn now */
		lane->failed_side = lane->side;
		charge_side(lane);
		EdaSessionReset(false);
		MemoryContextSwitchTo(lane->mcxt);
		return EDA_STEP_AGAIN;
	}
	if (lane->step.attempted == 0 && lane->step.rate_ready_at != 0)
		return EDA_STEP_IDLE;
	charge_side(lane);
	return lane->step.probe_failed ? EDA_STEP_STOPPED : EDA_STEP_WORKED;
}

/*
 * The lane may not run now (deliver/ready.h).  What has to be written for that is written, and the
 * step's transaction ends.
 */
static EdaStep
not_ready(EdaLane *lane, EdaReady ready, EdaBlock block, const char *detail)
{
	EdaStep		result = EDA_STEP_STOPPED;

	switch (ready)
	{
		case EDA_READY_CRASH:
			return record_crash(lane);
		case EDA_READY_DROPPED:
		case EDA_READY_LOCKED:
			/* nothing was begun that commit_step() would end */
			CommitTransactionCommand();
			return ready == EDA_READY_LOCKED ? EDA_STEP_BUSY : EDA_STEP_GONE;
		case EDA_READY_UNBLOCK:
			EdaSubscriptionUnblock(lane->subscription_id);
			result = EDA_STEP_WORKED;
			break;
		case EDA_READY_NO_HANDLER:
			EdaSubscriptionBlock(lane->subscription_id, block, detail, 0, NULL, NULL);
			break;
		case EDA_READY_GONE:
			result = EDA_STEP_GONE;
			break;
		case EDA_READY_PROBED:
			result = EDA_STEP_BUSY;
			break;
		case EDA_READY_OTHER_SESSION:
			result = EDA_STEP_RENEW;
			break;
		case EDA_READY_UNCLEAN:
			result = EDA_STEP_AGAIN;
			break;
		case EDA_READY_STOPPED:
		case EDA_READY_YES:
			break;
	}
	commit_step(lane);
	if (ready == EDA_READY_UNCLEAN)
	{
		EdaSessionReset(false);
		MemoryContextSwitchTo(lane->mcxt);
	}
	return result;
}

/* One transaction of the lane's; what fails in it is raised. */
static EdaStep
step(EdaLane *lane)
{
	EdaBlock	block = EDA_BLOCK_NONE;
	char	   *detail = NULL;
	EdaReady	ready;
	EdaSide		side;

	begin_step(lane);
	ready = EdaLaneReady(lane, &block, &detail);
	if (ready != EDA_READY_YES)
		return not_ready(lane, ready, block, detail);

	lane->step.saved_waiting = lane->waiting;
	lane->step.standing = lane->at_fence && EdaLanesAtFence(lane->sub);
	if (lane->step.standing)
		return stand_at_fence(lane);
	side = choose_side(lane);
	lane->step.began = EdaMonotonicNow();
	lane->step.was_probe = lane->step.probing;
	/* the window may be the next one now: an abort goes back no further */
	lane->step.saved = lane->cursor;
	lane->step.saved_next = lane->window.next;
	choose_mode(lane, side);
	EdaProbationBegin(lane, side == EDA_SIDE_WAITING);
	EdaTerminationsLoad(lane);
	if (side == EDA_SIDE_NONE)
		return end_idle_step(lane);
	if (side == EDA_SIDE_WAITING)
		EdaDeliverWaiting(lane);
	else
		EdaDeliverLog(lane);

	if (lane->step.attempted > 0)
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
		if (lane->step.last_error != NULL)
			EdaSubscriptionNoteError(lane->subscription_id, lane->step.last_error);
	}
	commit_step(lane);
	EdaTerminationsSettle(lane);
	return worked(lane);
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

/* A failure counted, or eda.snooze() was called, alone. */
static EdaStep
failed_alone(EdaLane *lane, const EdaItem *item, const ErrorData *edata)
{
	EdaTrust   *trust = &lane->trust[lane->side];
	int			n = through(lane, 1);
	int64		delay_ms;

	lane->failed_side = EDA_SIDE_NONE;
	lane->unclean_runs = 0;
	charge_side(lane);
	if (EdaLaneDoubts(lane, item))
		trust->doubted = 0;
	count_down(&trust->alone, n);
	count_down(&trust->caution, n);
	if (lane->step.probe_failed)
		return EDA_STEP_STOPPED;
	if (EdaVerdictDelay(edata->sqlerrcode, &delay_ms))
		return EDA_STEP_WORKED;
	trust->alone = Max(trust->alone, 1);
	if (lane->renewed_at != 0 || EdaSessionCalls() <= 1)
		return EDA_STEP_WORKED;
	lane->renewed_at = EdaMonotonicNow();
	return EDA_STEP_RENEW;
}

/*
 * A failure that counts, written down after the abort, in a transaction
 * of its own.  Cursor and window are those of the step that failed: they are
 * kept even if the definition has changed meanwhile, as a window opened anew
 * could hold lower ids that are not done.  The next step reads everything again.
 */
static EdaStep
record_failure(EdaLane *lane, EdaItem *item, const ErrorData *edata)
{
	bool		timed_out = EdaLaneIsTimeout(lane, edata);
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
	lane->step.attempted = 0;		/* no timeout for this commit */
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
		lane->step.probing = sub->state == EDA_BLOCKED && EdaSubscriptionDelivers(sub);
		(void) EdaOutcomeFailed(lane, item, edata, timed_out);
		if (!item->from_retry && !lane->step.probe_failed)
		{
			EdaWindowDone(&lane->window, lane->step.current_next);
			lane->cursor.pos_id = EdaWindowPosition(&lane->window);
		}
		EdaProbationEnd(lane);
		(void) store_cursor(lane);
		if (lane->step.last_error != NULL)
			EdaSubscriptionNoteError(lane->subscription_id, lane->step.last_error);
	}
	lane->epoch = 0;
	commit_step(lane);
	EdaTerminationsSettle(lane);
	if (sub == NULL || sub->state == EDA_PAUSED)
		return EDA_STEP_WORKED;
	return failed_alone(lane, item, edata);
}

/*
 * A copy of the error at hand, in a context of its own: FreeErrorData() does not free all that
 * CopyErrorData() copies.
 */
static ErrorData *
keep_failure(EdaLane *lane)
{
	MemoryContextSwitchTo(AllocSetContextCreate(lane->mcxt, "eda failure", ALLOCSET_SMALL_SIZES));
	return EdaLaneCopyError(lane);
}

static void
free_failure(ErrorData *edata)
{
	MemoryContextDelete(edata->assoc_context);
}

/* A step was rolled back: the lane is where that began. */
static void
back_to_begin(EdaLane *lane)
{
	/* its side once more */
	lane->failed_side = lane->side;
	charge_side(lane);
	lane->cursor = lane->step.saved;
	lane->window.next = lane->step.saved_next;
	EdaLaneUndoWaiting(lane);
	lane->invoker_valid = false;
}

/*
 * The step was interrupted for others, and rolled back.  Nothing is recorded: its events have
 * their turn again, each in a transaction of its own, so that the one that takes long keeps none
 * of the others.
 */
static EdaStep
preempted(EdaLane *lane, ErrorData *edata)
{
	ereport(LOG,
			(errmsg("subscription \"%s\" was interrupted after %lld ms, as others wait for an executor",
					lane->sub->name, (long long) (EdaMonotonicNow() - lane->step.item_started) / 1000),
			 errdetail("The event is no worse for it, and will run again.")));
	back_to_begin(lane);
	lane->trust[lane->side].alone = Min(Max(lane->step.attempted, lane->trust[lane->side].alone),
										EDA_MAX_CAUTION);
	free_failure(edata);
	return EDA_STEP_PREEMPTED;
}

/*
 * Not alone, so it is not known whose fault it was, or whether it would have failed alone: who
 * runs how next?
 */
static void
failed_in_company(EdaLane *lane, ErrorData *edata)
{
	EdaTrust   *trust = &lane->trust[lane->side];
	EdaSet	   *set = &lane->set;

	if (lane->mode == EDA_LANE_SAVEPOINT || (lane->step.current_id == 0 && !set->calling))
	{
		/* the transaction as a whole */
		trust->alone = Min(Max(lane->step.attempted, 1), EDA_MAX_CAUTION);
		return;
	}
	trust->caution_span = Min(Max(trust->caution_span * 2, lane->step.attempted), EDA_MAX_CAUTION);
	trust->caution = trust->caution_span;
	if (lane->sub->handler_kind == EDA_HANDLER_EVENTS)
	{
		trust->caution = lane->step.attempted;
		set->bad = 0;
		if (!set->calling)
			set->chunk = 0;		/* nothing is known of any */
		else if (EdaErrorPasses(edata))
			set->chunk = set->n;	/* once more */
		else
			(void) EdaSetFailed(set);
	}
	if (lane->step.current_id == 0)
		return;
	if (!EdaFailsInCompany(lane, edata))
		trust->doubted = lane->step.current_id;
	else if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
	{
		/* it had its run: another would outlive the cancel */
		if (lane->condemned_for != NULL)
			free_failure(lane->condemned_for);
		lane->condemned_id = lane->step.current_id;
		lane->condemned_for = edata;
	}
}

/* The step was rolled back, by a failure that is one of its events', or their commit's. */
static EdaStep
judge(EdaLane *lane, ErrorData *edata)
{
	/* the only one that had its turn: what was done for others before it is undone, too */
	bool		alone = lane->step.attempted == 1 && lane->step.ran == 1 && lane->step.savepoints == 0 &&
		lane->step.current != NULL;

	/*
	 * One event, and no code of it ran: what eda itself had to write for it failed, and would
	 * fail again. This process ends with the error, and the lane is left alone for a while.
	 */
	if (lane->mode == EDA_LANE_SINGLE && lane->step.ran == 0 &&
		edata->sqlerrcode != ERRCODE_QUERY_CANCELED &&
		!(EdaErrorPasses(edata) && lane->free_retries++ < EDA_FREE_RETRIES))
		ReThrowError(edata);
	if (!alone)
	{
		failed_in_company(lane, edata);
		return EDA_STEP_AGAIN;
	}
	if (EdaErrorPasses(edata) && lane->free_retries++ < EDA_FREE_RETRIES)
	{
		/* at once, as it is in a savepoint */
		EdaLaneRateReturn(lane, 1);
		lane->trust[lane->side].alone = Max(lane->trust[lane->side].alone, 1);
		return EDA_STEP_AGAIN;
	}
	lane->free_retries = 0;
	/* a plan that another failed attempt has made for a record of other types */
	if (edata->sqlerrcode == ERRCODE_DATATYPE_MISMATCH && !EdaSessionHadNoPlans())
		lane->step.ran_clean = false;
	/*
	 * in a database whose catalogue changes all the time no session is ever found clean: a few
	 * runs decide
	 */
	if (lane->step.ran_clean || EdaFailsInCompany(lane, edata) || ++lane->unclean_runs >= MAX_UNCLEAN_RUNS)
		return record_failure(lane, lane->step.current, edata);
	lane->trust[lane->side].doubted = lane->step.current->ev.id;
	return EDA_STEP_AGAIN;
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
		edata = keep_failure(lane);
		/* before the handlers' turn: not theirs, and nothing has changed */
		if (lane->step.attempted == 0 && !lane->step.storing &&
			edata->sqlerrcode != ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	if (lane->slot != NULL)
	{
		pg_atomic_write_u32(&lane->slot->in_flight, 0);
		pg_atomic_write_u64(&lane->slot->item_since, 0);
	}
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
	EdaSetCommitCause(NULL);
	EdaSessionAfterEnd();
	EdaTimeLimitsOff();
	lane->step.item_timed = false;
	QueryCancelPending = false;
	MemoryContextSwitchTo(lane->mcxt);

	if (lane->step.attempted > 0 && !lane->step.storing && EdaLaneIsPreempted(lane))
		return preempted(lane, edata);
	if (lane->step.attempted == 0 && !lane->step.storing)
	{
		/* a cancel that met no event */
		lane->epoch = 0;
		free_failure(edata);
		return EDA_STEP_WORKED;
	}
	if (lane->step.storing)
	{
		/* no event's fault */
		if (edata->sqlerrcode != ERRCODE_T_R_SERIALIZATION_FAILURE)
			ReThrowError(edata);
		/* go on from what the row says now */
		ereport(LOG,
				(errmsg("a batch of subscription \"%s\" was rolled back and will run again: %s",
						lane->sub->name, edata->message)));
		lane->cursor_valid = false;
		lane->waiting_valid = false;
		lane->invoker_valid = false;
		free_failure(edata);
		return EDA_STEP_WORKED;
	}

	back_to_begin(lane);

	result = judge(lane, edata);
	if (lane->step.ran_clean && result != EDA_STEP_AGAIN)
		EdaSessionResetAfterClean();
	else if (result != EDA_STEP_RENEW)
		EdaSessionReset(false);
	MemoryContextSwitchTo(lane->mcxt);
	if (edata != lane->condemned_for)
		free_failure(edata);
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
