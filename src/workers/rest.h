/*-------------------------------------------------------------------------
 *
 * workers/rest.h
 *	  A database at rest has no dispatcher: when one leaves, and when another one comes.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/rest.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_REST_H
#define EDA_REST_H

#include "base/shmem.h"

/* For a dispatcher that begins: what the one before it has left behind. */
extern void EdaRestOver(EdaDatabase *db, EdaRest *rest, bool *brief);

/* How long a dispatcher stays without work, in ms. */
extern int64 EdaRestLinger(void);

/*
 * For a dispatcher that has nothing to do before due_at (by the system's clock): leave, if nobody
 * has set a wake bit meanwhile.  matched_xmin, known_xmin: see EdaRest; 0: some lanes have to be
 * looked at when due_at comes. quiet: nothing has happened since it began.  Returns only where it
 * is to go on.
 */
extern void EdaRestLeave(EdaDatabase *db, TimestampTz due_at, uint64 matched_xmin, uint64 known_xmin, bool quiet);

/*
 * For a dispatcher that was asked for its worker slot: make room, if it has no executor and waits
 * for one, and come back when it is the database's turn; else say that it can't be spared.
 */
extern void EdaRestGiveWay(EdaDatabase *db);

/*
 * For the launcher: have a dispatcher started in each database at rest in which something is due;
 * *next is moved to when that is the case in the next one, by the monotonic clock.
 */
extern void EdaRestLook(TimestampTz now, TimestampTz *next);

#endif							/* EDA_REST_H */
