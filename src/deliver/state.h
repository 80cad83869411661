/*-------------------------------------------------------------------------
 *
 * deliver/state.h
 *	  State changes of a subscription that delivery makes.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/state.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_STATE_H
#define EDA_STATE_H

#include "subscription/subscription.h"

/*
 * State changes that delivery makes.  They run as the extension's owner in
 * the current transaction, check no rights and take no lock: the caller has the
 * subscription's lock in some mode, or is the dispatcher.
 *
 * Block: state active or blocked becomes blocked for `reason`, with `detail` as
 * last_error; probe_at 0: no probe.  ev is the event that did it, with its error, or both
 * are NULL, and `detail` is eda's own word.  Publishes eda.subscription.blocked where the
 * reason is new, unless that event is itself eda's.
 * NoteError: last_error, with its code, place and time; the same one again at most once a second.
 * Unblock: a blocked one becomes active.
 * SetProbe: when to try a blocked one next; counts a try.
 */
extern void EdaSubscriptionBlock(int32 id, EdaBlock block, const char *detail,
								 TimestampTz probe_at, const EdaEvent *ev, const ErrorData *edata);
extern void EdaSubscriptionUnblock(int32 id);
extern void EdaSubscriptionNoteError(int32 id, const ErrorData *edata);
extern void EdaSubscriptionSetProbe(int32 id, TimestampTz probe_at);

#endif							/* EDA_STATE_H */
