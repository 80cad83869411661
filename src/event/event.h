/*-------------------------------------------------------------------------
 *
 * event/event.h
 *	  One event in memory, and the SQL type eda.event.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/event/event.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_EVENT_H
#define EDA_EVENT_H

#include "executor/tuptable.h"

/*
 * Pointers may be NULL where the comment says so, and may be toasted; they
 * live as long as whatever they were read from.
 */
typedef struct EdaEvent
{
	int64		id;
	uint64		xid;			/* publisher's top-level transaction; 0 if not from the log */
	struct varlena *topic;		/* text */
	struct varlena *key;		/* text, NULL: none */
	struct varlena *payload;	/* jsonb */
	struct varlena *headers;	/* jsonb, NULL: none */
	TimestampTz published_at;
	TimestampTz deliver_at;		/* of a delayed event: when it was due; else 0 */
	Oid			published_by;
	struct varlena *correlation_id; /* text, NULL: the event's own id */
	int64		causation_id;	/* 0: none */
	int32		hops;

	/* of this delivery; 0 and NULL outside of one */
	const char *subscription;
	int32		attempt;		/* from 1 */
	int32		max_attempts;
	bool		redelivered;
} EdaEvent;

/* When could it be delivered first? */
static inline TimestampTz
EdaEventDueAt(const EdaEvent *ev)
{
	return ev->deliver_at != 0 ? ev->deliver_at : ev->published_at;
}

/* Attribute numbers of SQL type eda.event (src/sql/10_types.sql). */
enum
{
	Anum_event_id = 1,
	Anum_event_topic,
	Anum_event_key,
	Anum_event_payload,
	Anum_event_headers,
	Anum_event_published_at,
	Anum_event_published_by,
	Anum_event_correlation_id,
	Anum_event_causation_id,
	Anum_event_hops,
	Anum_event_subscription,
	Anum_event_attempt,
	Anum_event_max_attempts,
	Anum_event_redelivered,
	Anum_event_lease_id,
	Natts_event = Anum_event_lease_id
};

/* eda.event value for ev, palloc'd in the current context; toasted fields are flattened. */
extern Datum EdaEventToDatum(const EdaEvent *ev);
/* Let the fields of an event that are pointers be those of its value. */
extern void EdaEventPointInto(EdaEvent *ev, Datum value);
/*
 * eda.event[] of n such values, at least one: read-only, in the current context, the values stay
 * where they are.
 */
extern Datum EdaEventArray(const Datum *values, int n);
/* Copy of ev and all that it points to, detoasted, in the current context. */
extern EdaEvent *EdaEventCopy(const EdaEvent *ev);
/*
 * The event of the first row of a query whose parameter is an id, as the snapshot sees it: a copy
 * in the current context, or NULL.  from_row: makes an event that points to the row's data.
 */
extern EdaEvent *EdaEventFind(const char *query, int64 id, Snapshot snapshot,
							  void (*from_row) (HeapTuple, TupleDesc, EdaEvent *));

/*
 * The event whose handler is running in this backend, or NULL.  Whoever
 * calls a handler sets it and clears it again, also on error.  The pointer
 * must stay valid for the call.  For a set-wise handler: the first event of
 * the batch, which is what correlation and causation of what it publishes use, with
 * the hops of the one that has most.
 */
extern const EdaEvent *EdaCurrentEvent(void);
extern void EdaSetCurrentEvent(const EdaEvent *ev);

/*
 * What an event that is published now comes of, or NULL: the event being handled, or at the
 * commit of a batch, where there is none, what was set for that: the first one's id, topic
 * and correlation, with the hops of the one that has most.
 */
extern const EdaEvent *EdaCause(void);
extern void EdaSetCommitCause(const EdaEvent *ev);

/* This header is the face of its folder: what else other folders may use. */
#include "event/pattern_index.h"
#include "event/topic.h"

#endif							/* EDA_EVENT_H */
