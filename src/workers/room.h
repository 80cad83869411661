/*-------------------------------------------------------------------------
 *
 * workers/room.h
 *	  Who gives way, and who goes first, when the server has no free worker slot.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/room.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_ROOM_H
#define EDA_ROOM_H

#include "base/shmem.h"

/* A busy executor is asked to give way only after this long on a lane, in ms. */
#define EDA_TIME_SLICE_MS	1000

/* The caller of each holds EdaShared->lock: exclusively, but for those that only look. */

/* There was no worker slot for this database's dispatcher or executor. */
extern void EdaRoomMissed(EdaDatabase *db);

/* Its dispatcher got an executor: its turn has begun. */
extern void EdaRoomGotExecutor(EdaDatabase *db);

/* It wants none any more. */
extern void EdaRoomServed(EdaDatabase *db);

/*
 * The server is short of worker slots: all databases that want a dispatcher now queue up.
 */
extern void EdaRoomQueueUp(void);

/* Of two databases that want a dispatcher, is it the first one's turn? */
extern bool EdaRoomGoesBefore(const EdaDatabase *a, const EdaDatabase *b);

/* How many other databases have waited for a worker slot for longer?  A free one is for them. */
extern int	EdaRoomOlder(const EdaDatabase *db);

/* Has the database an executor, or one on its way? */
extern bool EdaRoomHasExecutor(Oid dbid);

/*
 * For the launcher: ask somebody to give way to db's dispatcher, unless enough are on their way
 * out.
 */
extern void EdaRoomAsk(EdaDatabase *db);

/*
 * For a dispatcher that wants an executor: ask another database's dispatcher that can be spared.
 * True: one was asked, or enough are on their way out.
 */
extern bool EdaRoomAskDispatcher(EdaDatabase *db);

/* How long to wait before the next try, in ms. */
extern long EdaRoomRetryMs(const EdaDatabase *db);

#endif							/* EDA_ROOM_H */
