/*-------------------------------------------------------------------------
 *
 * subscription/subscription.h
 *	  A subscription's definition and state, as read from eda.subscription.
 *
 * Cursors: snapshot windows, never ids
 *
 *	A lane's cursor is two snapshots and a position.  Its window is what the snapshot `to` sees
 *	and `from` does not: an index range of xids and a few single ones (EdaSnapshotWindow).  Inside
 *	a window events run in id order (deliver/window.c), as ids follow publication.  A finished
 *	window is followed by the next: from := to, to := now, the new snapshot taken before the
 *	transaction has an xid.  A window of up to half a million events is read from the index once;
 *	a larger one is surveyed, and then read block by block, the lowest ids first: two passes and
 *	some megabytes.  A transaction that stays open delays its own events and no one else's.
 *
 *	eda.seek puts the cursors of all lanes to one place (operate/seek.c): a window up to now,
 *	from an empty snapshot, from now, or from one that nobody took, of all that had ended by
 *	now below some xid.  A batch stores its cursor only if the row still says what was loaded,
 *	window, position and counters.
 *
 * Lanes
 *
 *	A subscription has one lane or several, each with its own cursor; an event's lane follows from
 *	its key's hash, or from its id.  Its concurrency is how many are wanted.  Where all cursors
 *	are at one place (always, with one lane), the number changes at once, in the transaction that
 *	asks for it.  Else eda.subscription.fence says where they meet, no lane reads past it, and the
 *	dispatcher changes the number when all stand there (deliver/resize.c).  Waiting events move
 *	with their key.
 *
 *	rate_limit is one limit for all lanes, kept in shared memory by the monotonic clock
 *	(deliver/rate.c).
 *
 * The states of a subscription
 *
 *   active --eda.pause--> paused --eda.resume--> active
 *   active --block_after failures--> blocked (failing) --a probe succeeds, eda.resume--> active
 *   active --the database is a copy--> blocked (copied) --eda.adopt, eda.resume--> active
 *   active --handler gone, right revoked, no login--> blocked (handler, privilege, login) --mended--> active
 *   active --6 crashes of the server without a success--> blocked (crashing) --eda.resume, another definition--> active
 *
 *	* A database made with CREATE DATABASE ... TEMPLATE has its subscriptions blocked until
 *	  eda.adopt() (subscription/copy.c).  pg_dump carries none of eda's tables in this
 *	  version: restored xids would be another server's.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/subscription/subscription.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_SUBSCRIPTION_H
#define EDA_SUBSCRIPTION_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/lock.h"
#include "utils/jsonb.h"
#include "utils/jsonpath.h"

#include "event/event.h"
#include "log/log.h"
#include "subscription/cursor.h"
#include "subscription/handler.h"

typedef enum EdaOrdering
{
	EDA_ORDER_NONE = 'n',
	EDA_ORDER_KEY = 'k',
	EDA_ORDER_STRICT = 's'
} EdaOrdering;

/* Of 'none', 'key' or 'strict': the first letter says it. */
static inline EdaOrdering
EdaOrderingOf(const char *name)
{
	return (EdaOrdering) name[0];
}

typedef enum EdaState
{
	EDA_ACTIVE = 'a',
	EDA_PAUSED = 'p',
	EDA_BLOCKED = 'b'
} EdaState;

struct EdaSubscription
{
	/* which version of the row this is */
	TransactionId row_xmin;
	ItemPointerData row_tid;

	int32		id;
	char	   *name;
	Oid			owner;
	char	   *topics;
	EdaTopicPattern *pattern;

	/* the handler as it was named; oid is a hint (see subscription/handler.h) */
	char	   *handler_schema;
	char	   *handler_name;
	EdaHandlerKind handler_kind;
	Oid			handler_oid;
	Oid			handler_owner;

	JsonPath   *filter;			/* NULL: none */
	Jsonb	   *schema;			/* NULL: none */
	uint64		load;			/* which reading of the row this is: another number each time */

	EdaOrdering ordering;
	int32		batch_size;
	int32		max_attempts;
	int64		backoff_ms;
	int64		max_backoff_ms;
	List	   *reject_on;		/* of char *: SQLSTATEs of five, classes of two characters */
	int32		block_after;
	int64		timeout_ms;
	int64		expire_after_ms;	/* 0: never */
	int32		priority;

	/*
	 * Where it began, for EdaSubscriptionGets(): skip events that were due before start_at, if
	 * start_bound sees them (NULL: all), and of transaction start_xid those below start_id.
	 */
	bool		has_start_at;
	TimestampTz start_at;
	EdaSnapshot *start_bound;
	uint64		start_xid;
	int64		start_id;

	int32		concurrency;	/* lanes that are wanted */
	int16		lanes;			/* that it has now */
	EdaSnapshot *fence;			/* where they meet before their number changes: see deliver/resize.h; NULL: no change is pending */
	int64		fence_pos;
	double		rate_limit;		/* handler calls a second, 0: no limit */
	int32		crashes;		/* of the server, by its handler, since the last success */

	EdaState	state;
	EdaBlock	block;			/* NONE unless blocked */
	char	   *blocked_detail; /* may be NULL all the same */
	bool		has_probe_at;
	TimestampTz probe_at;		/* blocked as failing: when to try the next event */
	int32		probes;			/* tries since it was blocked */
};

#define EDA_ANY_LANE	(-1)

/* The lane of an event: by its key, or by its id without one. */
static inline int16
EdaSubscriptionLaneOf(const EdaSubscription *sub, uint16 key_hash, int64 id)
{
	uint32		hash = key_hash;

	if (sub->lanes <= 1)
		return 0;
	if (key_hash == 0)
		hash = (uint32) (((uint64) id * UINT64CONST(0x9E3779B97F4A7C15)) >> 32);
	return (int16) (hash % (uint32) sub->lanes);
}

/*
 * Is an event of the log for it?  MayGet looks at an index entry: false where the row need not be
 * read, as it is not for this lane (EDA_ANY_LANE: all), another topic's, or from before its
 * start.  Gets looks at the row, and says yes or no, whatever the lane.
 */
extern bool EdaSubscriptionMayGet(const EdaSubscription *sub, int16 lane, const EdaLogEntry *entry);
extern bool EdaSubscriptionGets(const EdaSubscription *sub, const EdaEvent *ev);

/*
 * May an index entry be for it, and is it not behind the cursor of its lane?  cursors: by lane, as
 * many as sub->lanes.
 */
static inline bool
EdaCursorsMayGet(const EdaSubscription *sub, const EdaCursor *cursors, const EdaLogEntry *entry)
{
	int16		lane = EdaSubscriptionLaneOf(sub, entry->key_hash, entry->id);

	return !EdaCursorPassed(&cursors[lane], entry->xid, entry->id) &&
		EdaSubscriptionMayGet(sub, EDA_ANY_LANE, entry);
}

/*
 * Can an event be delivered to it, now or at its next probe?  Not to one that
 * is paused, or blocked until somebody mends something.
 */
static inline bool
EdaSubscriptionDelivers(const EdaSubscription *sub)
{
	return sub->state == EDA_ACTIVE ||
		(sub->state == EDA_BLOCKED && sub->block == EDA_BLOCK_FAILING);
}

/*
 * Both need a transaction and an active snapshot, read eda.subscription by C (no SPI, no rights),
 * and palloc in the current context.
 */
extern List *EdaSubscriptionLoadAll(void);	/* of EdaSubscription *, by id */
extern EdaSubscription *EdaSubscriptionLoad(int32 id);	/* NULL: gone */

/*
 * What a publisher needs of all of them, by id: id, row version, topics, lanes and state; the
 * rest is unset.  Of one that has many topics the pattern is NULL: EdaTopicsMatch() is for those.
 *  Each is in a memory context of its own below `parent`.  Those of `known`, an earlier result,
 * whose rows have not changed are taken over, and the others freed: so a change of one costs no
 * more than a look at the rows.
 */
extern List *EdaSubscriptionLoadTopics(List *known, MemoryContext parent);

/* Is there such a subscription, as of now? */
extern bool EdaSubscriptionIsThere(int32 id);

/* By name; ERROR EDA_UNDEFINED_SUBSCRIPTION with a hint unless missing_ok. */
extern EdaSubscription *EdaSubscriptionByName(const char *name, bool missing_ok);

/* May this role operate it: a member of the owner, or the extension's owner? */
extern bool EdaMayOperate(const EdaSubscription *sub, Oid roleid);
/* ERROR unless the current user may. */
extern void EdaCheckOperator(const EdaSubscription *sub);

/*
 * The lock that orders changes of a subscription against its batches, held
 * to the end of the transaction: a batch takes RowExclusiveLock, whoever changes the
 * definition, the state, the position or the retries takes
 * AccessExclusiveLock, and so waits for the batch at hand; run_pending takes
 * it too.  Take it before reading what it protects.
 */
extern void EdaSubscriptionLock(int32 id, LOCKMODE mode);
/* The same without waiting, for processes that others depend on; false: somebody has it. */
extern bool EdaSubscriptionTryLock(int32 id, LOCKMODE mode);

/*
 * Set when a relcache invalidation of eda.subscription reached this backend;
 * raised, never cleared: compare with the value remembered when loading.
 */
extern uint64 EdaSubscriptionEpoch(void);
/* A relation was invalidated, or all were (InvalidOid): from the relcache's callback. */
extern void EdaSubscriptionInvalidate(Oid relid);

/*
 * Find a subscription by name in order to change it: checks that the command
 * may write and that the current user may operate the subscription, takes its
 * lock in AccessExclusiveLock, and returns what is there once it is held.
 * NULL when there is none and missing_ok.  command is for messages:
 * "eda.pause()".
 */
extern EdaSubscription *EdaSubscriptionForChange(const char *name,
												 const char *command,
												 bool missing_ok);

/*
 * Is this called by a handler of that subscription, while its batch is at hand?  The batch goes
 * by what it has read before: see docs/delivery.md for what such a handler can do.
 */
extern bool EdaInOwnHandler(const char *name);
/* ERROR EDA_IN_HANDLER if so; what: "eda.seek()", for the message. */
extern void EdaRefuseOwnHandler(const char *name, const char *what);

/* A month counts as 30 days, a day as 24 hours; saturates. */
extern int64 EdaIntervalToMs(const Interval *interval);

/*
 * The time so many ms from now (now, if negative); as far away as a timestamp goes where they are
 * too many.
 */
extern TimestampTz EdaFromNow(int64 ms);

/*
 * Position or waiting events have changed: the dispatcher goes by the row's version.  As the
 * extension's owner in the current transaction; checks no rights and takes no lock.
 */
extern void EdaSubscriptionTouch(int32 id);

/* This header is the face of its folder: what else other folders may use. */
#include "subscription/copy.h"
#include "subscription/definition.h"

#endif							/* EDA_SUBSCRIPTION_H */
