/*-------------------------------------------------------------------------
 *
 * event/pattern_index.c
 *	  Which of many subscriptions may an event be for?
 *
 *	1. A topic is looked up by its hash, which the log's index holds, so that
 *	   nobody goes through a thousand subscriptions for each event.  Those
 *	   with a wildcard may match any topic, and come each time.
 *	2. What comes may match: a hash is no topic, so the caller compares the
 *	   topic itself where it matters.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/event/pattern_index.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "lib/qunique.h"

#include "event/pattern_index.h"

typedef struct MatchEntry
{
	uint32		hash;
	void	   *item;
} MatchEntry;

struct EdaMatch
{
	MatchEntry *exact;			/* by hash once sorted */
	int			nexact;
	int			maxexact;
	bool		sorted;
	void	  **wild;
	int			nwild;
	int			maxwild;
};

EdaMatch *
EdaMatchCreate(void)
{
	EdaMatch   *match = palloc0(sizeof(EdaMatch));

	match->maxexact = match->maxwild = 16;
	match->exact = palloc(match->maxexact * sizeof(MatchEntry));
	match->wild = palloc(match->maxwild * sizeof(void *));
	return match;
}

void
EdaMatchAddAny(EdaMatch *match, void *item)
{
	if (match->nwild == match->maxwild)
	{
		match->maxwild *= 2;
		match->wild = repalloc(match->wild, match->maxwild * sizeof(void *));
	}
	match->wild[match->nwild++] = item;
}

void
EdaMatchAdd(EdaMatch *match, const EdaTopicPattern *pattern, void *item)
{
	int			n;

	if (!EdaTopicPatternIsExact(pattern))
	{
		EdaMatchAddAny(match, item);
		return;
	}

	n = EdaTopicPatternCount(pattern);
	if (match->nexact + n > match->maxexact)
	{
		match->maxexact = Max(2 * match->maxexact, match->nexact + n);
		match->exact = repalloc(match->exact, match->maxexact * sizeof(MatchEntry));
	}
	for (int i = 0; i < n; i++)
	{
		MatchEntry *entry = &match->exact[match->nexact++];

		entry->hash = EdaTopicPatternHash(pattern, i);
		entry->item = item;
	}
	match->sorted = false;
}

static int
compare_entries(const void *a, const void *b)
{
	const MatchEntry *x = a;
	const MatchEntry *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->item == y->item ? 0 : (x->item < y->item ? -1 : 1);
}

void
EdaMatchBegin(EdaMatchIterator *it, EdaMatch *match, uint32 topic_hash)
{
	int			low = 0;
	int			high;

	if (!match->sorted)
	{
		qsort(match->exact, match->nexact, sizeof(MatchEntry), compare_entries);
		/* a pattern may name a topic twice */
		match->nexact = qunique(match->exact, match->nexact, sizeof(MatchEntry), compare_entries);
		match->sorted = true;
	}

	high = match->nexact;
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (match->exact[middle].hash < topic_hash)
			low = middle + 1;
		else
			high = middle;
	}
	it->match = match;
	it->hash = topic_hash;
	it->exact = low;
	it->wild = 0;
}

void *
EdaMatchNext(EdaMatchIterator *it)
{
	const EdaMatch *match = it->match;

	if (it->exact < match->nexact && match->exact[it->exact].hash == it->hash)
		return match->exact[it->exact++].item;
	return it->wild < match->nwild ? match->wild[it->wild++] : NULL;
}
