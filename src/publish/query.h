/*-------------------------------------------------------------------------
 *
 * publish/query.h
 *	  eda.publish_query(): what a query returns, as events.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/publish/query.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_PUBLISH_QUERY_H
#define EDA_PUBLISH_QUERY_H

#include "publish/publish.h"

/* A query to be published; what may be NULL is marked with *. */
typedef struct EdaPublishQueryArgs
{
	const char *topic;			/* * of rows that name none */
	const char *query;
	const char *key_column;		/* * these four: columns of the query */
	const char *idempotency_key_column;
	const char *headers_column;
	const char *topic_column;
	bool		skip_invalid;	/* rows that can't be published are counted, not an error */
	int			keep_refusals;	/* and the first so many of them are kept, in CurrentMemoryContext */
} EdaPublishQueryArgs;

/*
 * Run a query as the current user and publish each of its rows;
 * what eda.publish_query() does, with its errors.  Uses SPI inside; call it with or
 * without a connection of your own.  Needs a transaction and an active
 * snapshot.
 */
extern void EdaPublishQuery(const EdaPublishQueryArgs *args, EdaPublishResult *result);

/*
 * ERROR unless EdaPublishQuery() could publish what the query returns, so far as that shows without
 * executing it.  Returns its query trees, rewritten, in the current context.
 */
extern List *EdaPublishCheckQuery(const EdaPublishQueryArgs *args);


#endif							/* EDA_PUBLISH_QUERY_H */
