/*-------------------------------------------------------------------------
 *
 * workers/inflight.h
 *	  Which event each executor is at, kept where a crash does not reach it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/inflight.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_INFLIGHT_H
#define EDA_INFLIGHT_H

#include "datatype/timestamp.h"

/* What was being handled when the server crashed. */
typedef struct EdaCulprit
{
	Oid			dbid;			/* InvalidOid: none */
	Oid			relid;			/* eda.subscription's: which life of the extension it was */
	int32		subscription_id;
	int16		lane;
	int64		event_id;		/* 0: one of a batch's, it is not known which */
	int64		last_id;		/* the last event of that batch */
	int64		crash_id;		/* which crash it was */
	TimestampTz at;
} EdaCulprit;

/*
 * From _PG_init while preloading, before EdaShmemInit(): hooks that read the map before shared
 * memory is laid out, and note executors' parallel workers.
 */
extern void EdaInflightInit(void);

/* By the launcher, when it starts: from now on it tells a crash from a power cut. */
extern void EdaInflightWatch(void);

/*
 * By an executor: take its slot of the map; leave it, with the code that the
 * process exits with.
 */
extern void EdaInflightAttach(int slot);
extern void EdaInflightDetach(int code);

/*
 * By an executor, for each step: which lane it runs; an event's code begins; a
 * set of n events is handed over in one call; code for n events has returned; the step is
 * committed or rolled back.  In between, and at the commit, it is known
 * which event it is as long as there was only one.
 */
extern void EdaInflightLane(Oid relid, int32 subscription_id, int16 lane);
extern void EdaInflightEvent(int64 event_id);
extern void EdaInflightSet(int64 last_id, int n);
extern void EdaInflightAfter(int n);
extern void EdaInflightEnd(void);

/* The step's transaction has been committed: until the next event nothing of it can be undone. */
extern void EdaInflightCommitted(void);

/* What code of this executor's is running, in a transaction that is not committed; false: none. */
extern bool EdaInflightRunning(EdaCulprit *what);

/*
 * What a crash has left behind about a subscription of this database, until it is forgotten; NULL
 * where there is nothing (more): begin with *pos = 0.
 */
extern const EdaCulprit *EdaInflightCulprit(Oid relid, int32 subscription_id, int *pos);
extern void EdaInflightForget(Oid relid, int32 subscription_id);

#endif							/* EDA_INFLIGHT_H */
