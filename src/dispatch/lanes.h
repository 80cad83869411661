/*-------------------------------------------------------------------------
 *
 * dispatch/lanes.h
 *	  The lanes as the dispatcher knows them; only the dispatcher's process uses it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/dispatch/lanes.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_LANESTATE_H
#define EDA_LANESTATE_H

#include "lib/ilist.h"

#include "base/shmem.h"
#include "event/event.h"
#include "subscription/subscription.h"

typedef struct EdaLaneKey
{
	int32		subscription_id;
	int32		lane_no;
} EdaLaneKey;

/* One lane, across reloads of the definitions. */
typedef struct EdaLaneState
{
	EdaLaneKey	key;			/* hash key */
	EdaSubscription *sub;		/* shared by its lanes */
	TransactionId row_xmin;		/* which version of the row was loaded last */
	ItemPointerData row_tid;

	bool		runnable;		/* to be given to an executor: in eda_lanes_runnable */
	dlist_node	runnable_node;
	TimestampTz runnable_since; /* monotonic, as all times here that have no other comment */
	TimestampTz next_due;		/* of its waiting events, by the system's clock; DT_NOEND: none, else in eda_lanes_due */
	dlist_node	due_node;
	uint32		pass;			/* the pass over new events in which it was marked last */

	/* the executor that has it, as of the last look */
	int			slot;			/* -1: none, else in eda_lanes_held */
	dlist_node	held_node;
	uint32		slot_generation;
	uint32		slot_turn;
	TimestampTz assigned_at;
	int			early_deaths;
	int			busy;			/* times in a row that its lock was somebody else's */
	TimestampTz not_before;		/* back-off after such */
	EdaLaidDown laid_down;
	int			preempted;		/* times that it was interrupted since it last had nothing left to do: it takes long */
	int			role_long;		/* how much its role has of the places for long events; while lanes are served */
} EdaLaneState;

/* A subscription with its lanes, by number. */
typedef struct EdaLaneSet
{
	EdaSubscription *sub;
	EdaLaneState *lanes[FLEXIBLE_ARRAY_MEMBER];
} EdaLaneSet;

/* Lanes in one of these states, so that nobody has to look at all of them. */
extern dlist_head eda_lanes_runnable;
extern dlist_head eda_lanes_due;
extern dlist_head eda_lanes_held;

extern List *eda_lane_sets;		/* of EdaLaneSet *, by subscription */
extern EdaMatch *eda_lane_match;	/* the EdaLaneSets that events can be delivered to without a probe */
extern int	eda_lanes_matching; /* lanes of those */
extern List *eda_lane_probes;	/* of EdaLaneSet *: blocked, with a probe to come */

/*
 * Read the definitions, unless they are known as they are; wake: EDA_WAKE_* that came.  Lanes
 * that are new, or whose subscription's row is another one, are marked.  True: they were read.
 * In a transaction with an active snapshot.
 */
extern bool EdaLanesReload(EdaDatabase *db, uint32 wake);

/*
 * Before definitions are read for the first time: all that transactions below this xid have done
 * is known to have been seen to, so that only lanes of rows that are younger are marked.
 */
extern void EdaLanesKnownUpTo(uint64 xid);

/* The xid below which all changes of definitions have been seen to by now. */
extern uint64 EdaLanesKnown(void);

/* NULL: there is none. */
extern EdaLaneState *EdaLaneFind(int32 subscription_id, int32 lane_no);

/*
 * There may be work in this lane: tell the executor that has it, or queue it.
 * Takes EdaShared->lock, shared, where one has it.
 */
extern void EdaLaneMark(EdaLaneState *lane);

/* Of an active lane by its number; of another one nothing happens. */
extern void EdaLaneMarkActive(int32 subscription_id, int32 lane_no);

/* Its probe is on its way: from now on new events mark it. */
extern void EdaLaneProbeBegun(EdaLaneSet *set);

extern void EdaLaneSetRunnable(EdaLaneState *lane, bool runnable);
extern void EdaLaneSetDue(EdaLaneState *lane, TimestampTz due);
extern void EdaLaneSetSlot(EdaLaneState *lane, int slot);	/* its index, or -1 */

#endif							/* EDA_LANESTATE_H */
