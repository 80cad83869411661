/*-------------------------------------------------------------------------
 *
 * deliver/window.h
 *	  The events of a cursor's window, in id order, in bounded memory.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/window.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_WINDOW_H
#define EDA_WINDOW_H

#include "log/log.h"
#include "subscription/subscription.h"

/* Where an event of the window is. */
typedef struct EdaWindowEntry
{
	int64		id;
	ItemPointerData tid;
	uint16		segment;
} EdaWindowEntry;

/* The file that a segment's tuple ids were read from. */
typedef struct EdaWindowFile
{
	uint16		segment;
	Oid			filenumber;
} EdaWindowFile;

/* Consecutive entries of a segment's index, some of which are the window's. */
typedef struct EdaWindowBlock
{
	uint16		segment;
	EdaLogPlace first;
	EdaLogPlace last;
	int64		min_id;			/* of those that are */
	int64		max_id;
	int			n;
} EdaWindowBlock;

typedef struct EdaWindow
{
	MemoryContext mcxt;			/* entries, and the snapshots that it opened */
	EdaWindowEntry *entries;	/* ascending ids above the cursor's position */
	int			nentries;
	EdaWindowFile *files;		/* one for each segment among them */
	int			nfiles;
	int			next;			/* first one not done */
	bool		loaded;			/* entries describe the cursor's window */
	bool		complete;		/* there are no more behind them, before the end of the window */
	EdaWindowBlock *blocks;		/* of a large window, by min_id: where the rest of it is; NULL: not known */
	int			nblocks;
	int			next_block;		/* the first that has entries not yet loaded */
	int64		end_pos;		/* the position of who has done them all: EDA_WINDOW_DONE, or the fence */
	uint64		scanned;		/* index entries seen since the cursor was stored */
} EdaWindow;

extern void EdaWindowInit(EdaWindow *window, MemoryContext parent);

/* Forget what was loaded: the cursor was read anew. */
extern void EdaWindowReset(EdaWindow *window);

/*
 * See to it that the next entry is there.  A finished window is replaced by the one
 * up to `now`, in the cursor in memory.  False: nothing is pending, and the
 * cursor's window is done, or it stands at the subscription's fence, which it never
 * passes.  Call it before the transaction has an xid, with
 * an active snapshot of which `now` is.
 */
extern bool EdaWindowFill(EdaWindow *window, EdaCursor *cursor,
						  const EdaSubscription *sub, Snapshot now);

/*
 * Are the entries' tuple ids good in this transaction?  Where a segment was
 * rewritten since they were loaded, they are forgotten, and the next fill loads them anew from
 * the cursor's position.  To be asked before the first fetch of a transaction.
 */
extern bool EdaWindowIsGood(EdaWindow *window, EdaLogReader *reader);

/*
 * The event of the entry at `place` has had its turn: go on behind it, and
 * behind what a rolled-back transaction left of it.  (An entry that turns out
 * to be no event is passed over with window->next++.)
 */
extern void EdaWindowDone(EdaWindow *window, int place);

/* The cursor's position behind the first `window->next` entries. */
extern int64 EdaWindowPosition(const EdaWindow *window);

#endif							/* EDA_WINDOW_H */
