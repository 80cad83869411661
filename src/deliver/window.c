/*-------------------------------------------------------------------------
 *
 * deliver/window.c
 *	  The events of a cursor's window, in id order, in bounded memory.
 *
 *	1. The window's xids come from the log's index in xid order; a window runs
 *	   in id order.  Ids follow publication, so that within a window "B
 *	   published after it saw A" is kept; cutting the window by xid would break it.
 *	2. A window is never held whole.  One pass over its index entries keeps
 *	   the CHUNK lowest ids above the position, and of every BLOCK entries that are
 *	   not among them notes where they are and which ids they span.
 *	   When the entries are done, the next CHUNK or so come from the blocks with the
 *	   lowest ids.  Ids ascend with xids but for transactions that
 *	   overlap, so each block is read once more, or a few times; where all
 *	   blocks overlap, memory is bounded still, and time is what grows.
 *	3. Entries outlive the transaction that loaded them, and with it the locks on
 *	   the segments.  So the window also knows which files its tuple ids are of.
 *	4. The scan rejects by topic hash alone what cannot be meant.  Whether the
 *	   rest is visible and matches is only known from the row: whoever takes
 *	   an entry fetches it and checks.
 *	5. An id may be there more than once: a delayed event keeps its id when it
 *	   is moved into the log, and a move that is rolled back leaves a row.  One
 *	   of them at most is the event.  So the position is not the id's before the
 *	   event had its turn, and the others have none after it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/window.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "deliver/resize.h"
#include "deliver/window.h"

/*
 * Entries that are loaded at once, 16 bytes each; up to three times as many are held while they
 * are selected. What fits is read from the index once, the rest twice.
 */
#define CHUNK			(512 * 1024)

/* The window's entries in a block. */
#define BLOCK			8192

typedef struct Selection
{
	const EdaSubscription *sub;
	const EdaCursor *cursor;
	EdaWindow  *window;
	EdaWindowEntry *entries;
	int			n;
	int			allocated;
	bool		sorted;			/* they came in ascending order */
	bool		truncated;		/* something above `limit` was left out */
	int64		limit;			/* ids above it need not be kept */
	bool		survey;			/* note blocks, too */
	EdaWindowBlock block;		/* at hand; n is 0: none */
} Selection;

void
EdaWindowInit(EdaWindow *window, MemoryContext parent)
{
	memset(window, 0, sizeof(*window));
	window->mcxt = AllocSetContextCreate(parent, "eda window", ALLOCSET_DEFAULT_SIZES);
}

void
EdaWindowReset(EdaWindow *window)
{
	MemoryContextReset(window->mcxt);
	window->entries = NULL;
	window->files = NULL;
	window->nfiles = 0;
	window->blocks = NULL;
	window->nblocks = 0;
	window->nentries = 0;
	window->next = 0;
	window->loaded = false;
	window->complete = false;
	window->scanned = 0;
}

static int
compare_entry(const void *a, const void *b)
{
	int64		x = ((const EdaWindowEntry *) a)->id;
	int64		y = ((const EdaWindowEntry *) b)->id;

	return x < y ? -1 : (x > y ? 1 : 0);
}

/* Keep the CHUNK lowest entries. */
static void
select_lowest(Selection *s)
{
	if (!s->sorted)
		qsort(s->entries, s->n, sizeof(EdaWindowEntry), compare_entry);
	s->sorted = true;
	if (s->n > CHUNK)
	{
		int64		left_out = s->entries[CHUNK].id;

		s->n = CHUNK;
		while (s->n > 1 && s->entries[s->n - 1].id == left_out)
			s->n--;
		s->truncated = true;
		s->limit = s->entries[s->n - 1].id;
	}
}

/* Leave out what is above an id.  The entries are sorted. */
static void
cut_above(Selection *s, int64 id)
{
	while (s->n > 0 && s->entries[s->n - 1].id > id)
		s->n--;
	s->limit = id;
	s->truncated = true;
}

/* The block at hand is complete. */
static void
end_block(Selection *s)
{
	EdaWindow  *window = s->window;

	if (s->block.n == 0)
		return;
	if (window->blocks == NULL)
		window->blocks = MemoryContextAlloc(window->mcxt, 16 * sizeof(EdaWindowBlock));
	else if (window->nblocks >= 16 && (window->nblocks & (window->nblocks - 1)) == 0)
		window->blocks = repalloc_huge(window->blocks, 2 * window->nblocks * sizeof(EdaWindowBlock));
	window->blocks[window->nblocks++] = s->block;
	s->block.n = 0;
}

/* An entry of the window, as the first pass comes by. */
static void
note_in_block(Selection *s, const EdaLogEntry *entry)
{
	EdaWindowBlock *block = &s->block;

	if (block->n == BLOCK || (block->n > 0 && block->segment != entry->segment))
		end_block(s);
	block->last.xid = entry->xid;
	block->last.id = entry->id;
	if (block->n++ == 0)
	{
		block->segment = entry->segment;
		block->first = block->last;
		block->min_id = block->max_id = entry->id;
		return;
	}
	block->min_id = Min(block->min_id, entry->id);
	block->max_id = Max(block->max_id, entry->id);
}

static bool
collect(const EdaLogEntry *entry, void *arg)
{
	Selection  *s = arg;
	EdaWindow  *window = s->window;

	if (entry->id <= s->cursor->pos_id)
		return true;
	if (entry->id > s->limit && !(s->survey && entry->id <= window->end_pos))
		return true;
	/* a block's span takes in what lies between the window's ranges */
	if (!s->survey && (!EdaSnapshotSees(s->cursor->to, entry->xid) ||
					   EdaSnapshotSees(s->cursor->from, entry->xid)))
		return true;
	if (!EdaSubscriptionMayGet(s->sub, s->cursor->lane, entry))
		return true;
	if (s->survey)
		note_in_block(s, entry);
	if (entry->id > s->limit)
		return true;

	if (window->nfiles == 0 ||
		window->files[window->nfiles - 1].segment != entry->segment)
	{
		/* a scan goes through a segment at a time */
		window->files = window->files == NULL ?
			MemoryContextAlloc(window->mcxt, sizeof(EdaWindowFile)) :
			repalloc(window->files, (window->nfiles + 1) * sizeof(EdaWindowFile));
		window->files[window->nfiles].segment = entry->segment;
		window->files[window->nfiles].filenumber = entry->filenumber;
		window->nfiles++;
	}
	if (s->n == s->allocated)
	{
		if (s->allocated < 2 * CHUNK)
		{
			s->allocated *= 2;
			s->entries = repalloc(s->entries, s->allocated * sizeof(EdaWindowEntry));
		}
		else
		{
			select_lowest(s);
			if (entry->id > s->limit)
				return true;
		}
	}
	if (s->n > 0 && entry->id < s->entries[s->n - 1].id)
		s->sorted = false;
	s->entries[s->n].id = entry->id;
	s->entries[s->n].tid = entry->tid;
	s->entries[s->n].segment = entry->segment;
	s->n++;
	return true;
}

static int
compare_block(const void *a, const void *b)
{
	int64		x = ((const EdaWindowBlock *) a)->min_id;
	int64		y = ((const EdaWindowBlock *) b)->min_id;

	return x < y ? -1 : (x > y ? 1 : 0);
}

/* The first pass over a window: all of its index entries. */
static void
survey(Selection *s)
{
	EdaWindow  *window = s->window;
	EdaXidRange *ranges;
	int			nranges = EdaSnapshotWindow(s->cursor->from, s->cursor->to, &ranges);

	s->survey = true;
	if (nranges > 0)
		window->scanned += EdaLogScan(ranges, nranges, collect, s);
	pfree(ranges);
	select_lowest(s);
	if (!s->truncated)
		return;
	end_block(s);
	qsort(window->blocks, window->nblocks, sizeof(EdaWindowBlock), compare_block);
	window->next_block = 0;
}

/* The next ones, from the blocks that have the lowest ids. */
static void
load_blocks(Selection *s)
{
	EdaWindow  *window = s->window;

	for (int i = window->next_block; i < window->nblocks; i++)
	{
		const EdaWindowBlock *block = &window->blocks[i];

		if (block->max_id <= s->cursor->pos_id)
		{
			if (i == window->next_block)
				window->next_block++;
			continue;
		}
		if (block->min_id > s->limit)
			break;
		if (s->n >= CHUNK)
		{
			/* enough, if some of them are below all that is still to come */
			select_lowest(s);
			if (block->min_id > s->limit)
				break;
			if (s->entries[0].id < block->min_id)
			{
				cut_above(s, block->min_id - 1);
				break;
			}
		}
		window->scanned += EdaLogScanSpan(block->segment, block->first, block->last, collect, s);
	}
	select_lowest(s);
}

/* Where the window's entries are is to be found out anew, if need be. */
static void
forget_blocks(EdaWindow *window)
{
	if (window->blocks != NULL)
		pfree(window->blocks);
	window->blocks = NULL;
	window->nblocks = 0;
}

/* Is the cursor's window the one in which the lanes meet? */
static bool
ends_at_fence(const EdaCursor *cursor, const EdaSubscription *sub)
{
	return sub->fence != NULL && EdaSnapshotEqual(cursor->to, sub->fence);
}

/* The lowest entries above the position, up to the window's end. */
static void
load_entries(EdaWindow *window, EdaCursor *cursor, const EdaSubscription *sub)
{
	Selection	s = {0};

	if (window->entries != NULL)
		pfree(window->entries);
	window->entries = NULL;
	if (window->files != NULL)
		pfree(window->files);
	window->files = NULL;
	window->nfiles = 0;
	window->end_pos = ends_at_fence(cursor, sub) ? sub->fence_pos : EDA_WINDOW_DONE;

	s.window = window;
	s.sub = sub;
	s.cursor = cursor;
	s.sorted = true;
	s.allocated = 64;
	s.entries = MemoryContextAlloc(window->mcxt, s.allocated * sizeof(EdaWindowEntry));
	s.limit = window->end_pos;
	if (window->blocks != NULL)
		load_blocks(&s);
	else
		survey(&s);

	/* they stay for as long as it takes to deliver them */
	if (s.truncated)
		s.entries = repalloc(s.entries, Max(s.n, 1) * sizeof(EdaWindowEntry));
	window->entries = s.entries;
	window->nentries = s.n;
	window->next = 0;
	window->loaded = true;
	window->complete = !s.truncated;
	if (!s.truncated && window->blocks != NULL)
		forget_blocks(window);
}

/* The finished window gives way to the next one: from := to, to := now, or the fence. */
static void
open_next(EdaWindow *window, EdaCursor *cursor, const EdaSubscription *sub, Snapshot now)
{
	EdaSnapshot *from;
	EdaSnapshot *to;
	MemoryContext old = CurrentMemoryContext;

	/* the own xid is not in the snapshot's list: it would count as seen */
	Assert(!TransactionIdIsValid(GetTopTransactionIdIfAny()));

	from = EdaSnapshotCopy(cursor->to);
	to = sub->fence != NULL ? EdaSnapshotCopy(sub->fence) : EdaSnapshotFrom(now, false);
	MemoryContextReset(window->mcxt);
	window->entries = NULL;
	window->files = NULL;
	window->nfiles = 0;
	window->blocks = NULL;
	window->nblocks = 0;
	MemoryContextSwitchTo(window->mcxt);
	cursor->from = EdaSnapshotCopy(from);
	cursor->to = EdaSnapshotCopy(to);
	MemoryContextSwitchTo(old);
	cursor->pos_id = PG_INT64_MIN;
	window->loaded = false;
	pfree(from);
	pfree(to);
}

bool
EdaWindowFill(EdaWindow *window, EdaCursor *cursor, const EdaSubscription *sub,
			  Snapshot now)
{
	if (window->loaded && window->next < window->nentries)
		return true;

	/* the rest of the present window, if there is one */
	if (EdaLaneAtFence(sub, cursor))
		return false;
	if (cursor->pos_id != EDA_WINDOW_DONE && !(window->loaded && window->complete))
	{
		load_entries(window, cursor, sub);
		if (window->nentries > 0)
			return true;
	}
	cursor->pos_id = EDA_WINDOW_DONE;

	if (!ends_at_fence(cursor, sub))
	{
		open_next(window, cursor, sub, now);
		load_entries(window, cursor, sub);
		if (window->nentries > 0)
			return true;
	}
	cursor->pos_id = ends_at_fence(cursor, sub) ? sub->fence_pos : EDA_WINDOW_DONE;
	return false;
}

bool
EdaWindowIsGood(EdaWindow *window, EdaLogReader *reader)
{
	for (int i = 0; i < window->nfiles; i++)
	{
		if (EdaLogReaderKnows(reader, window->files[i].segment, window->files[i].filenumber))
			continue;
		window->loaded = false;
		window->next = window->nentries = 0;
		forget_blocks(window);
		return false;
	}
	return true;
}

void
EdaWindowDone(EdaWindow *window, int place)
{
	int64		id = window->entries[place].id;

	window->next = place + 1;
	while (window->next < window->nentries && window->entries[window->next].id == id)
		window->next++;
}

int64
EdaWindowPosition(const EdaWindow *window)
{
	int64		id;

	Assert(window->loaded && window->next > 0);
	id = window->entries[window->next - 1].id;
	if (window->next == window->nentries)
		return window->complete ? window->end_pos : id;
	/* the event itself may be the next one */
	return window->entries[window->next].id == id ? id - 1 : id;
}
