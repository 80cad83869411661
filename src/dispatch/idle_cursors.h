/*-------------------------------------------------------------------------
 *
 * dispatch/idle_cursors.h
 *	  Cursors of lanes that have nothing to do follow the log.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/dispatch/idle_cursors.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_ADVANCE_H
#define EDA_ADVANCE_H

/*
 * For the dispatcher, outside of a transaction: move the cursors of lanes that are
 * at rest to now, where none of the events that they pass is for them; ask
 * executors that linger on a lane to store theirs.  Writes nothing where nothing was
 * published.  Waits for no lock.
 */
extern void EdaAdvanceCursors(void);

#endif							/* EDA_ADVANCE_H */
