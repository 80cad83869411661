/*-------------------------------------------------------------------------
 *
 * publish/call.h
 *	  What every call that publishes does, in this order: begin, name a topic,
 *	  make events, claim idempotency keys, append.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/publish/call.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_PUBLISH_CALL_H
#define EDA_PUBLISH_CALL_H

#include "utils/hsearch.h"

#include "contract/contract.h"
#include "event/event.h"
#include "publish/idempotency.h"

/* Events that are appended together, and the payload bytes they may have. */
#define EDA_PUBLISH_ROWS	1000
#define EDA_PUBLISH_BYTES	(8 * 1024 * 1024)

/* What the events of one call have in common, and the topic of those that are being made. */
typedef struct EdaPublishCall
{
	const char *function;		/* for messages */
	struct varlena *correlation_id; /* text, NULL: each its own id */
	int64		causation_id;	/* 0: none */
	int32		hops;
	Oid			published_by;
	bool		internal;		/* eda's own events: any topic, no contract, no limit on hops */

	struct varlena *topic;		/* text; NULL: none was named yet */
	EdaContract *contract;		/* of that topic; NULL: any payload will do */
	MemoryContext held;			/* contracts are kept there, NULL: they are good until the next topic */
	HTAB	   *held_contracts; /* by topic */
} EdaPublishCall;

/* Events that are published together, in the order in which their ids ascend. */
typedef struct EdaPublishChunk
{
	int			n;
	int			nkeys;			/* how many of the keys are not NULL */
	EdaEvent	events[EDA_PUBLISH_ROWS];
	struct varlena *keys[EDA_PUBLISH_ROWS]; /* idempotency keys, text; NULL: none */
	bool		published[EDA_PUBLISH_ROWS];	/* out: false where the key was used before */
} EdaPublishChunk;

/*
 * Check that this transaction may write, and find out what events inherit
 * from the one being handled.  correlation_id may be NULL; causation_id is
 * looked at where has_causation.
 */
extern void EdaPublishBegin(EdaPublishCall *call, const char *function, struct varlena *correlation_id,
							bool has_causation, int64 causation_id, bool internal);

/*
 * For a call during which user code runs, that may publish or define topics
 * anew: each topic's contract stays what it was when the call first met it,
 * for as long as CurrentMemoryContext lasts.
 */
extern void EdaPublishHoldContracts(EdaPublishCall *call);

/*
 * The events made from here on are on this topic, a detoasted text that outlives them; ERROR where
 * it can't be.
 */
extern void EdaPublishOnTopic(EdaPublishCall *call, struct varlena *topic);

/* An event on the call's topic, complete but for id, time, payload, key and headers. */
extern void EdaPublishInitEvent(const EdaPublishCall *call, EdaEvent *ev);

/*
 * Is a payload (jsonb), or a key, a correlation id or an idempotency key (text) small enough?
 * Where it is not: false if soft, else an ERROR.  `what` begins the message, as it does below.
 */
extern bool EdaPublishCheckSize(Datum value, const char *what, bool soft);
extern bool EdaPublishCheckLength(struct varlena *value, int limit, const char *what, bool soft);
/* The headers object of that jsonb; where it is none, or too large: NULL if soft, else an ERROR. */
extern struct varlena *EdaPublishHeaders(Datum value, const char *what, bool soft);
/* ERROR unless a time to deliver at is finite. */
extern void EdaPublishCheckTime(TimestampTz deliver_at, const char *what);

/*
 * Publish a chunk: claim its idempotency keys, keep the events that are delayed (deliver_at, 0:
 * not), append the others; sets their ids and times.  Where a key was used before, the id is the
 * first event's and nothing is published.  What is delayed gets its ids before the rest.
 * checked: the events' payloads conform to their topics' contracts already; else those that are
 * really published are checked here, as elements of a batch that are counted from `first`.  No
 * user code runs in here.
 */
extern void EdaPublishChunkFlush(EdaPublishCall *call, EdaPublishChunk *chunk, bool checked, int first);

/* Append events that are complete but for their ids and time. */
extern void EdaPublishAppend(EdaEvent *events, int n);

#endif							/* EDA_PUBLISH_CALL_H */
