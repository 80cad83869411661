/*-------------------------------------------------------------------------
 *
 * base/wal.c
 *	  Have what others rely on on disk.
 *
 *	1. A transaction that commits asynchronously is seen by others before its
 *	   commit record is flushed.  Who acts on what it saw in a way that no
 *	   crash undoes flushes first: eda.wait() before it returns, an
 *	   executor under eda.synchronous_commit before it calls a handler.
 *
 * No state, no locks.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/wal.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"

#include "base/wal.h"

/*
 * At a page boundary the insert position is behind the header of a page that
 * does not exist yet: nothing to flush there.
 */
void
EdaFlushWal(void)
{
	XLogRecPtr	lsn = GetXLogInsertRecPtr();

	if (XLogSegmentOffset(lsn, wal_segment_size) == SizeOfXLogLongPHD)
		lsn -= SizeOfXLogLongPHD;
	else if (lsn % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		lsn -= SizeOfXLogShortPHD;
	XLogFlush(lsn);
}
