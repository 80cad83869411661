/*-------------------------------------------------------------------------
 *
 * deliver/setwise.h
 *	  The events of one call of a set-wise handler, and how a call that
 *	  failed is narrowed down to those at fault.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/setwise.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_SET_H
#define EDA_SET_H

#include "deliver/failure.h"
#include "deliver/invoke.h"

/* One of the events, and its place in the lane's window. */
typedef struct EdaSetItem
{
	Datum		value;			/* eda.event, as the handler gets it */
	EdaItem		item;			/* the first one points into that value, the others have no pointers yet */
	int			place;
} EdaSetItem;

typedef struct EdaSet
{
	MemoryContext mcxt;			/* items and their values */
	EdaSetItem *items;			/* in order, before the filter */
	int			n;
	int			allocated;
	Size		bytes;			/* of their values */

	/* the call at hand, also after it failed */
	bool		calling;
	int			culprit;		/* item whose code it was; -1: several events' */
	EdaEvent	current;		/* the first that passed its filter, with the most hops of any */

	/* how the narrowing stands; not reset by EdaSetClear() */
	int			chunk;			/* events of the next call; 0: nothing is narrowed down */
	int			bad;			/* this many from the next one on hold one at fault; 0: not known */
} EdaSet;

extern void EdaSetInit(EdaSet *set, MemoryContext parent);

/* No events any more. */
extern void EdaSetClear(EdaSet *set);

/* A copy of the subscription's item, which is at that place of the window. */
extern void EdaSetAdd(EdaSet *set, const EdaSubscription *sub, const EdaItem *item, int place);

/*
 * Has it as many events, or bytes, as a call should get at most?  limit: events, besides the
 * chunk.
 */
extern bool EdaSetIsFull(const EdaSet *set, int limit);

/*
 * Filter the events and call the handler with those that pass, if any;
 * returns their number.  *current_id is the event whose code is running, as
 * far as it is one's alone, and 0 afterwards.  What filter and handler raise goes through.
 */
extern int	EdaSetCall(EdaSet *set, const EdaSubscription *sub, EdaInvoker *invoker,
					   int64 *current_id);

/* The call succeeded: the next one may have more. */
extern void EdaSetWorked(EdaSet *set);

/*
 * The call failed.  True: its first event is the one at fault, and the others
 * are to be called again.  False: all of them are, in smaller numbers.
 */
extern bool EdaSetFailed(EdaSet *set);

#endif							/* EDA_SET_H */
