/*-------------------------------------------------------------------------
 *
 * operate/seek.h
 *	  Where a subscription is in the log, as its start and eda.seek say it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/operate/seek.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_POSITION_H
#define EDA_POSITION_H

#include "datatype/timestamp.h"

#include "subscription/subscription.h"

/* A place for all lanes, and what of the events behind it is not for the subscription. */
typedef struct EdaPosition
{
	EdaSnapshot *from;			/* of the cursors */
	EdaSnapshot *to;
	int64		pos_id;
	bool		has_start_at;	/* skip what was due before start_at, */
	TimestampTz start_at;
	EdaSnapshot *start_bound;	/*   if this sees it; NULL: all */
	uint64		start_xid;		/* of this transaction (0: none) skip those below start_id */
	int64		start_id;
	EdaSnapshot *start_snapshot;	/* what was seen and will not come; NULL: nothing */
} EdaPosition;

/* All that the log has. */
extern void EdaPositionEarliest(EdaPosition *pos);

/*
 * What this transaction publishes from now on, and all that commits from now
 * on.  Takes an event id, and gives this transaction an xid.
 */
extern void EdaPositionLatest(EdaPosition *pos);

/* What is due at `time` or later.  pos is earliest or latest until then, and goes on from there. */
extern void EdaPositionNotBefore(EdaPosition *pos, TimestampTz time);

/*
 * Write what a position says about the subscription, not its cursors; no change
 * of their number is pending any more.  The caller holds the subscription's lock
 * in AccessExclusiveLock, or has just made it.
 */
extern void EdaPositionStore(int32 subscription_id, const EdaPosition *pos);

#endif							/* EDA_POSITION_H */
