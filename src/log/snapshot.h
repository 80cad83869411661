/*-------------------------------------------------------------------------
 *
 * log/snapshot.h
 *	  Snapshots as cursors keep them: 64-bit transaction ids, stored delta
 *	  encoded.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/log/snapshot.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_SNAPSHOT_H
#define EDA_SNAPSHOT_H

#include "utils/snapshot.h"

/*
 * xid is visible when xid < xmax and it is not in xip (which is sorted and
 * holds top-level transactions only).  xmin <= every member of xip.
 */
typedef struct EdaSnapshot
{
	uint64		xmin;
	uint64		xmax;
	int			nxip;
	uint64		xip[FLEXIBLE_ARRAY_MEMBER];
} EdaSnapshot;

/* A range of xids, [lo, hi). */
typedef struct EdaXidRange
{
	uint64		lo;
	uint64		hi;
} EdaXidRange;

/*
 * palloc'd copy of an MVCC snapshot; add_own: this transaction, if it has an xid, counts as in
 * progress.
 */
extern EdaSnapshot *EdaSnapshotFrom(Snapshot snapshot, bool add_own);
/* A snapshot that sees nothing. */
extern EdaSnapshot *EdaSnapshotEmpty(void);
extern EdaSnapshot *EdaSnapshotCopy(const EdaSnapshot *s);
extern bool EdaSnapshotSees(const EdaSnapshot *s, uint64 xid);
extern bool EdaSnapshotEqual(const EdaSnapshot *a, const EdaSnapshot *b);
/*
 * Was a taken before b?  Of two snapshots of one database the later one sees all that the earlier
 * one sees.
 */
extern bool EdaSnapshotOlder(const EdaSnapshot *a, const EdaSnapshot *b);

extern bytea *EdaSnapshotEncode(const EdaSnapshot *s);
extern EdaSnapshot *EdaSnapshotDecode(const bytea *data);	/* ERROR data_corrupted */

/*
 * The xids that `to` sees and `from` does not, as ascending, disjoint ranges:
 * [from.xmax, to.xmax) without to's in-progress list, and the few that were
 * in progress in `from`.  palloc'd; returns their number.
 */
extern int	EdaSnapshotWindow(const EdaSnapshot *from, const EdaSnapshot *to,
							  EdaXidRange **ranges);

#endif							/* EDA_SNAPSHOT_H */
