/*-------------------------------------------------------------------------
 *
 * base/wal.h
 *	  Have what others rely on on disk.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/wal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_FLUSH_H
#define EDA_FLUSH_H

/*
 * Flush what any process has written to the WAL by now; so what has been seen
 * as committed survives a crash.  Cheap where that is flushed already.
 */
extern void EdaFlushWal(void);

#endif							/* EDA_FLUSH_H */
