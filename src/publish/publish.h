/*-------------------------------------------------------------------------
 *
 * publish/publish.h
 *	  Publishing from C: a query's rows, and eda's own events.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/publish/publish.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_PUBLISH_H
#define EDA_PUBLISH_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "event/event.h"

/* What eda.publish_query() did. */
typedef struct EdaPublishResult
{
	int64		total;			/* rows that the query returned */
	int64		published;		/* events appended */
	int64		invalid;		/* rows refused and skipped */
	int64		first_id;		/* of what was published; 0: nothing was */
	int64		last_id;
	List	   *refusals;		/* EdaRefusal *, the first of the invalid ones, where they were asked for */
} EdaPublishResult;

/* A row that was refused. */
typedef struct EdaRefusal
{
	int64		row;			/* counted from 1 */
	Jsonb	   *payload;		/* NULL: there is none, or it is too large to be kept */
	const char *reason;			/* violations, a line each, or another reason */
} EdaRefusal;

/*
 * Publish one of eda's own events, on a reserved topic or any other, in this
 * transaction; returns its id.  key and correlation_id may be NULL,
 * causation_id 0; where they are, the event being handled gives them, as it
 * does for eda.publish().  The limit on hops does not apply.
 */
extern int64 EdaPublishInternal(const char *topic, Jsonb *payload,
								const char *key, const char *correlation_id,
								int64 causation_id);

/*
 * The same for what became of another event: it is a link of that event's
 * chain, with its correlation, its id as causation and one hop more, so that
 * a loop through eda's own events ends, too.  key may be NULL.
 */
extern int64 EdaPublishAbout(const char *topic, Jsonb *payload, const char *key,
							 const EdaEvent *about);

/* This header is the face of its folder: what else other folders may use. */
#include "publish/audience.h"
#include "publish/delay.h"
#include "publish/idempotency.h"
#include "publish/query.h"
#include "publish/query_env.h"

#endif							/* EDA_PUBLISH_H */
