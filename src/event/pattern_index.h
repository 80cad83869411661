/*-------------------------------------------------------------------------
 *
 * event/pattern_index.h
 *	  Which of many subscriptions may an event be for?
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/event/pattern_index.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_MATCH_H
#define EDA_MATCH_H

#include "event/topic.h"

typedef struct EdaMatch EdaMatch;

/* Empty, in the current context, as is all that is added. */
extern EdaMatch *EdaMatchCreate(void);

/* Add an item of the caller's with its pattern, which is not kept. */
extern void EdaMatchAdd(EdaMatch *match, const EdaTopicPattern *pattern, void *item);

/* The same of an item that comes for every topic. */
extern void EdaMatchAddAny(EdaMatch *match, void *item);

/*
 * Items for one topic: begin with its hash, then take the next one until it is NULL; each comes
 * once.
 */
typedef struct EdaMatchIterator
{
	const EdaMatch *match;
	uint32		hash;
	int			exact;			/* the next entry of that hash */
	int			wild;			/* the next one with a wildcard */
} EdaMatchIterator;

extern void EdaMatchBegin(EdaMatchIterator *it, EdaMatch *match, uint32 topic_hash);
extern void *EdaMatchNext(EdaMatchIterator *it);

#endif							/* EDA_MATCH_H */
