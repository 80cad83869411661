/*-------------------------------------------------------------------------
 *
 * deliver/deliver.h
 *	  Running handlers: a lane, and what becomes of its events.
 *
 *	The face of its folder: other folders include this header and no other one of it.
 *
 * Waiting events
 *
 *	eda.retry is a queue per key (per lane, with strict) by seq; the first row of each has a
 *	due time.  Those that are due and the log take turns, measured in time, of which the log
 *	gets three quarters where both could use all of it (deliver/step.c).  A lane's executor
 *	counts the waiting rows of each key in memory, adds and takes away what each step does,
 *	and takes it back where the step is rolled back; it counts anew when the epoch has moved.
 *	Each look at the table goes through the one index that answers it, below the executor, and
 *	from where the queue's head was last, so that neither an old plan nor the dead entries at
 *	the head cost more with more rows.  The dispatcher looks only after lanes that no executor
 *	has.
 *
 * A lane's batch
 *
 *   BATCH --an event fails--> roll back, SAVEPOINT (each event its own) --those events are through--> BATCH
 *   an event that failed in company: SINGLE, first in its transaction, in a session that was reset --fails--> counts
 *   the transaction fails as a whole: its events SINGLE
 *   an event that fails in company and not alone: the next ones SINGLE, for longer each time
 *   after a crash: SINGLE, WAL flushed before the handler and at the commit, until an event of the lane was handled
 *   and every suspect has had its turn (`deliver/probation.c`)
 *
 *	A set-wise handler's batch is halved in mode SAVEPOINT until the events at fault are alone
 *	(deliver/setwise.c).
 *
 *	Before each event the session is its owner's, and at its end everything happens that a
 *	commit would do for that event alone, deferred triggers included (deliver/session.c).
 *	After a failure the session is reset with its plans; after one that counts the lane goes
 *	on in a fresh process, once in a row of failures.
 *
 * An event, for one subscription
 *
 *   delayed -due-> pending          (delayed: of no subscription yet; eda.cancel: gone)
 *
 *   pending -> handled
 *      +-failed-> retry (due at next_attempt_at) -> handled
 *                   |  +- max_attempts, reject, reject_on, hops, expired, skip -> dead letter -redrive-> retry
 *   handled -eda.seek back-> pending        handled -eda.replay-> retry        retry -eda.seek back before it-> pending
 *   later events of its key -> parked in eda.retry (no due time) until it is through
 *   its handler crashed the server -> eda.suspect; at its turn retry, attempts as they are -> handled
 *                                               +- the third crash -> dead letter (crash)
 *
 * Executors that end
 *
 *	* An executor that ends in an orderly way while an event's code runs (terminated, or by
 *	  the event's timeout, which ends the process of code that catches the cancel) leaves a
 *	  note in shared memory, after its transaction (deliver/termination.c).  The lane's next
 *	  executor runs that batch's events one a transaction, and the event fails without a
 *	  run: at once for its timeout, else from the second time on.
 *	* kill -9 of a worker makes the postmaster restart everything; shared memory is new, the
 *	  launcher scans again, cursors are where their last commit left them.  What its
 *	  executor was handling is in the map of events in flight, a file in pg_stat_tmp that is
 *	  mapped into memory: a few plain stores a call.  The postmaster reads it before it
 *	  begins a new one; an executor puts it on record before any lane of the subscription
 *	  runs.  Whoever was only told to quit is a bystander, and where the launcher was not
 *	  told either (power, container, postmaster killed), nobody is blamed.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/deliver.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_DELIVER_FACE_H
#define EDA_DELIVER_FACE_H

#include "deliver/failure.h"
#include "deliver/invoke.h"
#include "deliver/parking.h"
#include "deliver/probation.h"
#include "deliver/rate.h"
#include "deliver/recovery.h"
#include "deliver/resize.h"
#include "deliver/state.h"
#include "deliver/termination.h"
#include "deliver/waiting.h"

#endif							/* EDA_DELIVER_FACE_H */
