/*-------------------------------------------------------------------------
 *
 * deliver/outcome.c
 *	  What becomes of an event that had its turn.
 *
 *	1. All of it is part of the step's transaction: what is written here takes
 *	   effect with the handler's work and the cursor, or not at all.
 *	2. What waits in eda.retry is deliver/failure.c's.  Here is what a failure means for
 *	   the lane (does the next event have its turn?) and for the
 *	   subscription: block_after failures in a row, in all of its lanes, block it.
 *	3. eda.reject(), eda.snooze() and an event that breaks a schema say nothing
 *	   against the handler: they are no failures in a row, and end a probe well.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/outcome.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "deliver/lane.h"
#include "deliver/outcome.h"
#include "deliver/recovery.h"
#include "deliver/state.h"
#include "deliver/turn.h"

/*
 * The item was delivered, or did not pass the filter: its waiting row, if any,
 * goes.
 */
void
EdaOutcomeDone(EdaLane *lane, EdaItem *item, bool handled)
{
	if (item->from_retry)
	{
		EdaLaneNoteDue(lane, EdaRetryHandled(lane->sub, lane->lane_no, item));
		if (handled && item->deliveries > 0)
			EdaRecoveryRecord(lane->subscription_id, item);
		EdaLaneNoteGone(lane, &item->ev);
	}
	if (lane->step.probing && handled)
	{
		EdaSubscriptionUnblock(lane->subscription_id);
		lane->step.probing = false;
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
bool
EdaOutcomeFailed(EdaLane *lane, EdaItem *item, const ErrorData *edata, bool timed_out)
{
	EdaVerdict	verdict;
	bool		was_probing = lane->step.probing;
	int64		streak;
	int64		delay_ms;
	TimestampTz due;

	if (lane->step.probing && !EdaVerdictDelay(edata->sqlerrcode, &delay_ms))
	{
		/* still failing: the event keeps its attempts, and its place */
		EdaSubscriptionNoteError(lane->subscription_id, edata);
		EdaSubscriptionSetProbe(lane->subscription_id,
								EdaProbeFromNow(lane->sub, lane->sub->probes + 2));
		lane->step.probe_failed = true;
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
			lane->step.put_off++;
		if (lane->step.probing)
		{
			EdaSubscriptionUnblock(lane->subscription_id);
			lane->cursor.streak = 0;
			lane->step.probing = false;
		}
		return lane->sub->ordering != EDA_ORDER_STRICT || verdict != EDA_VERDICT_SNOOZE;
	}

	/* with a word of its own on the event, even a probe's failure is recorded */
	lane->step.probing = false;
	lane->cursor.failed++;
	streak = count_failure(lane);
	lane->step.last_error = edata;
	if (was_probing || streak >= lane->sub->block_after)
	{
		EdaSubscriptionBlock(lane->subscription_id, EDA_BLOCK_FAILING, edata->message != NULL ? edata->message : "",
							 EdaProbeFromNow(lane->sub, 1), &item->ev, edata);
		lane->step.last_error = NULL;
		return false;
	}
	return lane->sub->ordering != EDA_ORDER_STRICT || verdict == EDA_VERDICT_DEAD;
}
