/*-------------------------------------------------------------------------
 *
 * eda_window.c
 *	  The events of a cursor's window, in id order, in bounded memory.
 *
 *	1. The window's xids come from the log's index in xid order; a window runs
 *	   in id order.  Ids follow publication, so that within a window "B
 *	   published after it saw A" is kept; cutting the window by xid would break it.
 *	2. A window is never held whole.  One pass over its index entries keeps
 *	   the lowest `capacity` ids above the position; when they are done, another pass
 *	   fetches the next ones.  The capacity starts small, for a fast first event, and doubles with
 *	   each pass up to a bound, so that a backlog of millions takes
 *	   few passes and some megabytes.
 *	3. Entries outlive the transaction that loaded them, and with it the locks on
 *	   the segments.  So the window also knows which files its tuple ids are of.
 *	4. The scan rejects by topic hash alone what cannot be meant.  Whether the
 *	   rest is visible and matches is only known from the row: whoever takes
 *	   an entry fetches it and checks.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/eda_window.c
 *
 *-------------------------------------------------------------------------
 */
#include "eda.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "eda_lanes.h"
#include "eda_window.h"

#define INITIAL_CAPACITY	4096
#define MAX_CAPACITY		(1024 * 1024)	/* 32 MB with the room to select in */

typedef struct Selection
{
	const EdaSubscription *sub;
	const EdaCursor *cursor;
	EdaWindow  *window;
	EdaWindowEntry *entries;
	int			n;
	int			allocated;
	int			capacity;
	bool		truncated;		/* something above `limit` was left out */
	int64		limit;			/* ids above it need not be kept */
} Selection;

void
EdaWindowInit(EdaWindow *window, MemoryContext parent)
{
	memset(window, 0, sizeof(*window));
	window->mcxt = AllocSetContextCreate(parent, "eda window", ALLOCSET_DEFAULT_SIZES);
	window->capacity = INITIAL_CAPACITY;
}

void
EdaWindowReset(EdaWindow *window)
{
	MemoryContextReset(window->mcxt);
	window->entries = NULL;
	window->files = NULL;
	window->nfiles = 0;
	window->nentries = 0;
	window->next = 0;
	window->loaded = false;
	window->complete = false;
	window->capacity = INITIAL_CAPACITY;
	window->scanned = 0;
}

static int
compare_entry(const void *a, const void *b)
{
	int64		x = ((const EdaWindowEntry *) a)->id;
	int64		y = ((const EdaWindowEntry *) b)->id;

	return x < y ? -1 : (x > y ? 1 : 0);
}

/* Keep the lowest `capacity` entries. */
static void
select_lowest(Selection *s)
{
	qsort(s->entries, s->n, sizeof(EdaWindowEntry), compare_entry);
	if (s->n > s->capacity)
	{
		s->n = s->capacity;
		s->truncated = true;
		s->limit = s->entries[s->n - 1].id;
	}
}

static bool
collect(const EdaLogEntry *entry, void *arg)
{
	Selection  *s = arg;

	if (entry->id <= s->cursor->pos_id || entry->id > s->limit)
		return true;
	if (!EdaSubscriptionMayGet(s->sub, s->cursor->lane, entry))
		return true;

	if (s->window->nfiles == 0 ||
		s->window->files[s->window->nfiles - 1].segment != entry->segment)
	{
		EdaWindow  *window = s->window;

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
		if (s->allocated < 2 * s->capacity)
		{
			s->allocated = Min(2 * s->allocated, 2 * s->capacity);
			s->entries = repalloc(s->entries, s->allocated * sizeof(EdaWindowEntry));
		}
		else
		{
			select_lowest(s);
			if (entry->id > s->limit)
				return true;
		}
	}
	s->entries[s->n].id = entry->id;
	s->entries[s->n].tid = entry->tid;
	s->entries[s->n].segment = entry->segment;
	s->n++;
	return true;
}

/* Is the cursor's window the one in which the lanes meet? */
static bool
ends_at_fence(const EdaCursor *cursor, const EdaSubscription *sub)
{
	return sub->fence != NULL && EdaSnapshotEqual(cursor->to, sub->fence);
}

/* One pass over the window: the lowest entries above the position, up to its end. */
static void
load_entries(EdaWindow *window, EdaCursor *cursor, const EdaSubscription *sub)
{
	EdaXidRange *ranges;
	int			nranges = EdaSnapshotWindow(cursor->from, cursor->to, &ranges);
	Selection	s;

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
	s.capacity = window->capacity;
	s.allocated = 64;
	s.entries = MemoryContextAlloc(window->mcxt, s.allocated * sizeof(EdaWindowEntry));
	s.n = 0;
	s.truncated = false;
	s.limit = window->end_pos;
	if (nranges > 0)
		window->scanned += EdaLogScan(ranges, nranges, collect, &s);
	select_lowest(&s);

	window->entries = s.entries;
	window->nentries = s.n;
	window->next = 0;
	window->loaded = true;
	window->complete = !s.truncated;
	if (s.truncated)
		window->capacity = Min(2 * window->capacity, MAX_CAPACITY);
	pfree(ranges);
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
	MemoryContextSwitchTo(window->mcxt);
	cursor->from = EdaSnapshotCopy(from);
	cursor->to = EdaSnapshotCopy(to);
	MemoryContextSwitchTo(old);
	cursor->pos_id = PG_INT64_MIN;
	window->loaded = false;
	window->capacity = INITIAL_CAPACITY;
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
		return false;
	}
	return true;
}

int64
EdaWindowPosition(const EdaWindow *window)
{
	Assert(window->loaded && window->next > 0);
	if (window->next == window->nentries && window->complete)
		return window->end_pos;
	return window->entries[window->next - 1].id;
}
