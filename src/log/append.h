/*-------------------------------------------------------------------------
 *
 * log/append.h
 *	  Append events to the log.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/log/append.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_APPEND_H
#define EDA_APPEND_H

#include "event/event.h"

/*
 * Lock the current segment to the end of the transaction.  Call it before
 * EdaTakeIds(): from here on the extension can't be dropped and made anew, so
 * the ids belong to the log that they go into.
 */
extern void EdaLogLock(void);

/*
 * Append events in this transaction, through the table access method, to the
 * current segment: ids must be set, xid is filled in here.  RowExclusiveLock
 * on the segment stays to the end of the transaction.  The caller has done
 * the checks (rights, read-only, recovery).  ERROR where the segment has an
 * index that is unique, partial, on an expression or of an exclusion constraint.
 */
extern void EdaLogAppend(EdaEvent *events, int n);

/*
 * The current segment is kept open from one append to the next.  Keep: from
 * _PG_init, where EdaAppendRelease() is called before every utility command,
 * which would find the table in use; without it nothing is kept.  Init: in any case.
 */
extern void EdaAppendInit(void);
extern void EdaAppendKeep(void);
extern void EdaAppendRelease(void);
/*
 * Around a command that may change tables: nothing is kept while it runs, as an event trigger of
 * it may publish.
 */
extern void EdaAppendBeginCommand(void);
extern void EdaAppendEndCommand(void);

#endif							/* EDA_APPEND_H */
