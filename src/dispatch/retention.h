/*-------------------------------------------------------------------------
 *
 * dispatch/retention.h
 *	  When a segment of the event log begins and when it ends.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/dispatch/retention.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_RETENTION_H
#define EDA_RETENTION_H

#include "nodes/pg_list.h"

#include "base/shmem.h"
#include "log/log.h"

/*
 * For the dispatcher, outside of a transaction: rotate the log where it is time, or where
 * eda.rotate_log() has asked for it, and take each segment a step further that
 * is ready for it.  Waits for no lock.  What goes wrong is logged, and
 * tried again the next time.  True: a lock was somebody else's; again soon.
 */
extern bool EdaLogLife(EdaDatabase *db);

/*
 * For the dispatcher: does a segment wait for somebody, so that it looks after it with each poll?
 */
extern bool EdaLogIsWatched(void);

/*
 * Which subscriptions may have still to handle events of this segment, of these
 * cursors (EdaCursorLoadEvery)?  Their ids, without duplicates; an active
 * snapshot is needed.  Errs on the side of needing it.
 */
extern List *EdaSegmentNeededBy(const EdaSegment *segment, List *cursors);

#endif							/* EDA_RETENTION_H */
