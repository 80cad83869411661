/*-------------------------------------------------------------------------
 *
 * deliver/lane.h
 *	  A lane as its executor keeps it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/lane.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_LANE_H
#define EDA_LANE_H

#include "utils/hsearch.h"

#include "base/shmem.h"
#include "deliver/failure.h"
#include "deliver/invoke.h"
#include "deliver/setwise.h"
#include "deliver/window.h"

typedef struct EdaLane EdaLane;

/* Serialization failures and deadlocks in a row that do not count. */
#define EDA_FREE_RETRIES	3

typedef enum EdaLaneMode
{
	EDA_LANE_BATCH,				/* no savepoints: what fails takes the transaction with it */
	EDA_LANE_SAVEPOINT,			/* each event, or set, in one of its own */
	EDA_LANE_SINGLE				/* one event, without a savepoint: the only one whose failure counts */
} EdaLaneMode;

/* Where a step's events come from. */
typedef enum EdaSide
{
	EDA_SIDE_NONE,
	EDA_SIDE_LOG,				/* the window */
	EDA_SIDE_WAITING			/* eda.retry */
} EdaSide;

/* How many events at most are run with savepoints, or alone, before a batch is tried again. */
#define EDA_MAX_CAUTION		1000

/* How far the next events of a side trust each other (deliver/step.c, 4.). */
typedef struct EdaTrust
{
	int			alone;			/* events left to run in mode SINGLE */
	int			caution;		/* after those, in mode SAVEPOINT */
	int			alone_span;		/* how many the last one made that failed in company only */
	int			caution_span;	/* how many the last failed batch made */
	int64		doubted;		/* failed in company: its next run is alone; 0: none */
} EdaTrust;

/*
 * The step at hand: zeroed where it begins, and still there after its end, for those who ask how it
 * went.
 */
typedef struct EdaStepState
{
	/* what an abort goes back to */
	EdaCursor	saved;			/* the cursor before the step */
	int			saved_next;		/* the window's next entry */
	EdaRetryState saved_waiting;
	List	   *waiting_changes;	/* of EdaWaitingKey *, in step_mcxt: keys that got (lost) so many
									 * rows */

	/* how far it is */
	TimestampTz began;			/* monotonic */
	int			attempted;		/* events whose turn it was */
	int			put_off;		/* of those, by eda.snooze(): they have their turn still before them */
	int			savepoints;		/* subtransactions that were begun */
	int			ran;			/* events whose code was called */
	bool		ran_clean;		/* the first of them in a session in which none had run */
	bool		unclean;		/* something failed in a savepoint: the session is to be reset */
	bool		stop_before;	/* the item at hand has its turn in the next step */
	bool		storing;		/* the cursor is being written */
	bool		standing;		/* all lanes stand at the fence: not even waiting events are delivered */
	TimestampTz rate_ready_at;	/* rate_limit allows the next event then, by the monotonic clock; 0:
								 * now */
	const ErrorData *last_error;	/* lives as long as the step */

	/* a probe of a failing subscription */
	bool		probing;
	bool		was_probe;		/* as it began */
	bool		probe_failed;	/* stop here until the next probe is due */

	/* the item at hand */
	EdaItem    *current;		/* as its failure may count: a copy in step_mcxt */
	int			current_next;	/* its place in the window */
	int64		current_id;		/* event whose code is running, else 0 */
	bool		deciding;		/* it is a doubted one, and alone */
	TimestampTz clock;			/* monotonic, as it was read after the last event; 0: read it */
	TimestampTz item_started;	/* monotonic */
	bool		item_timed;
	int64		limit_ms;		/* the subscription's timeout, as far as eda.max_timeout allows it */
	EdaEvent	cause;			/* of what is published at the commit; its id 0: no event's code ran */
} EdaStepState;

struct EdaLane
{
	MemoryContext mcxt;
	MemoryContext sub_mcxt;		/* the definition */
	MemoryContext invoker_mcxt; /* what the handler's function caches */
	MemoryContext keys_mcxt;	/* blocked keys */
	MemoryContext step_mcxt;	/* one step */
	MemoryContext event_mcxt;	/* one event */
	EdaExecutor *slot;
	int32		subscription_id;
	int16		lane_no;

	EdaSubscription *sub;
	uint64		epoch;			/* of the subscription as loaded */
	EdaInvoker	invoker;
	bool		invoker_valid;
	uint64		handler_epoch;	/* of the check that invoker passed */

	EdaCursor	cursor;
	bool		cursor_valid;
	bool		at_fence;		/* as the cursor is stored: the lane waits for the others */
	bool		fence_told;		/* the dispatcher was told so */
	EdaWindow	window;

	EdaRetryState waiting;
	HTAB	   *blocked_keys;	/* of EdaWaitingKey */
	bool		waiting_valid;
	TimestampTz waiting_written;	/* earliest due time written since the last fetch of waiting items */

	EdaLaneMode mode;			/* of the step at hand */
	EdaSide		side;			/* where its events come from */
	EdaStepState step;

	/* from step to step: how the next events are run (deliver/step.c, points 4, 7 and 8) */
	EdaTrust	trust[EDA_SIDE_WAITING + 1];	/* of each side */
	EdaSide		failed_side;	/* whose step failed, and comes again; NONE: the last one did not */
	int64		lead;			/* in us: so much more time than what waits has the log had */
	int			free_retries;	/* of the event at hand, in mode SINGLE */
	int			unclean_runs;	/* in a row that failed alone, but not in a clean session */
	EdaSet		set;			/* of a set-wise handler */
	TimestampTz renewed_at;		/* monotonic; a failure gave the lane to a fresh process then; 0:
								 * it may */
	bool		cleaned;		/* the last step was given up for a clean session: this one goes on */
	int64		condemned_id;	/* cancelled in company: fails at its turn without another run; 0:
								 * none */
	ErrorData  *condemned_for;
	List	   *terminations;	/* of this subscription (deliver/termination.c); loaded by each step */

	/* after a crash (deliver/probation.c) */
	bool		vouched;		/* an event was handled since */
	List	   *suspects;		/* of this subscription; loaded by each step */
	int64		turn_id;		/* the event that had its turn last */
};

/*
 * Take up a lane, as the session of its owner.  slot: in_flight is kept
 * there; may be NULL.  laid_down: as it was, or zeroed.  The caller is the
 * only one who runs this lane.
 */
extern EdaLane *EdaLaneOpen(int32 subscription_id, int16 lane_no, EdaExecutor *slot,
							EdaLaidDown laid_down);

/* How many events had their turn in the last step? */
extern int	EdaLaneTook(const EdaLane *lane);
/* Were they all that there were, and few? */
extern bool EdaLaneTookLittle(const EdaLane *lane);

/*
 * When the lane is to be looked at again without being woken, by the system's clock; DT_NOEND:
 * never.
 */
extern TimestampTz EdaLaneNextDue(EdaLane *lane);
/*
 * When rate_limit allows the next event, by the monotonic clock, where the last step ended for
 * that; else 0.
 */
extern TimestampTz EdaLaneRateReadyAt(EdaLane *lane);
/*
 * For who opens the lane next: how far the log's events trust each other after a failure, or the
 * same ones would come again; and whose turn it is, or a lane that is laid down after each step
 * would give all of them to one side.
 */
extern EdaLaidDown EdaLaneLaidDown(const EdaLane *lane);
/* May there be a waiting event?  True also where it isn't known, after a failed step. */
extern bool EdaLaneMayWait(EdaLane *lane);

/*
 * In a transaction, with the subscription's lock and an active snapshot:
 *
 * the definition and state, if they changed; false: the subscription is gone,
 * or another role's now.
 */
extern bool EdaLaneRefreshSubscription(EdaLane *lane);
/* The handler, if it may have changed; false: it cannot be called, and why. */
extern bool EdaLaneRefreshHandler(EdaLane *lane, EdaBlock *block, char **detail);
/* What waits in eda.retry, if that may have changed. */
extern void EdaLaneRefreshWaiting(EdaLane *lane);
/* The cursor, if it may have been moved by somebody else; false: there is none. */
extern bool EdaLaneRefreshCursor(EdaLane *lane);

/* Has this event failed in company? */
extern bool EdaLaneDoubts(const EdaLane *lane, const EdaItem *item);

/* With ordering `key`: do events of this event's key wait? */
extern bool EdaLaneKeyIsBlocked(EdaLane *lane, const EdaEvent *ev);

/*
 * What this step did to the waiting events: one more, or one less, or one was
 * given a due time (DT_NOEND: none was).  If the step is rolled back, so is this.
 */
extern void EdaLaneNoteWaiting(EdaLane *lane, const EdaEvent *ev);
extern void EdaLaneNoteGone(EdaLane *lane, const EdaEvent *ev);
extern void EdaLaneNoteDue(EdaLane *lane, TimestampTz due);
extern void EdaLaneUndoWaiting(EdaLane *lane);

#endif							/* EDA_LANE_H */
