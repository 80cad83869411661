/*-------------------------------------------------------------------------
 *
 * log/snapshot.c
 *	  Snapshots as cursors keep them, and the window between two of them.
 *
 *	1. A cursor outlives any number of xid wrap-arounds, so it keeps 64-bit
 *	   transaction ids.
 *	2. Only top-level transactions are in the in-progress list, because only
 *	   those are in the log: rows of a rolled-back savepoint carry a
 *	   committed top-level xid, and heap visibility tells them apart.
 *	3. Stored form: a version byte, then xmin, xmax - xmin, nxip and the
 *	   distances between neighbours of the in-progress list, each as a
 *	   variable-length integer of seven bits a byte.  A quiet server's
 *	   snapshot is about eight bytes.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/log/snapshot.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/transam.h"
#include "access/xact.h"
#include "lib/qunique.h"

#include "log/snapshot.h"

#define SNAPSHOT_VERSION	1
#define SnapshotSize(n)		(offsetof(EdaSnapshot, xip) + (n) * sizeof(uint64))

static int
compare_xid(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return x < y ? -1 : (x > y ? 1 : 0);
}

/*
 * A snapshot's xid with its epoch: it is not in the future of `next`, and
 * less than half the xid space in its past.
 */
static uint64
widen_xid(TransactionId xid, FullTransactionId next)
{
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return U64FromFullTransactionId(FullTransactionIdFromEpochAndXid(epoch, xid));
}

/*
 * Copy an MVCC snapshot, with 64-bit xids, into the current memory context.
 * add_own: this transaction counts as in progress.  GetSnapshotData() leaves
 * the own xid out of the list, so without this a cursor made by a
 * transaction that already has an xid would take its own events for seen.
 */
EdaSnapshot *
EdaSnapshotFrom(Snapshot snapshot, bool add_own)
{
	FullTransactionId next = ReadNextFullTransactionId();
	uint64		own = 0;
	EdaSnapshot *s;

	Assert(!snapshot->takenDuringRecovery);

	if (add_own)
		own = U64FromFullTransactionId(GetTopFullTransactionIdIfAny());

	s = palloc(SnapshotSize(snapshot->xcnt + 1));
	s->xmin = widen_xid(snapshot->xmin, next);
	s->xmax = widen_xid(snapshot->xmax, next);
	s->nxip = 0;
	for (uint32 i = 0; i < snapshot->xcnt; i++)
		s->xip[s->nxip++] = widen_xid(snapshot->xip[i], next);
	if (own != 0 && own < s->xmax)
		s->xip[s->nxip++] = own;
	qsort(s->xip, s->nxip, sizeof(uint64), compare_xid);
	s->nxip = qunique(s->xip, s->nxip, sizeof(uint64), compare_xid);
	if (s->nxip > 0 && s->xip[0] < s->xmin)
		s->xmin = s->xip[0];
	return s;
}

/* A snapshot before every transaction: everything in the log is after it. */
EdaSnapshot *
EdaSnapshotEmpty(void)
{
	EdaSnapshot *s = palloc(SnapshotSize(0));

	s->xmin = s->xmax = FirstNormalTransactionId;
	s->nxip = 0;
	return s;
}

EdaSnapshot *
EdaSnapshotCopy(const EdaSnapshot *s)
{
	EdaSnapshot *copy = palloc(SnapshotSize(s->nxip));

	memcpy(copy, s, SnapshotSize(s->nxip));
	return copy;
}

/* Had xid ended when the snapshot was taken? */
bool
EdaSnapshotSees(const EdaSnapshot *s, uint64 xid)
{
	if (xid >= s->xmax)
		return false;
	if (xid < s->xmin)
		return true;
	return bsearch(&xid, s->xip, s->nxip, sizeof(uint64), compare_xid) == NULL;
}

bool
EdaSnapshotEqual(const EdaSnapshot *a, const EdaSnapshot *b)
{
	return a->xmin == b->xmin && a->xmax == b->xmax && a->nxip == b->nxip &&
		memcmp(a->xip, b->xip, a->nxip * sizeof(uint64)) == 0;
}

/* With time xmax grows, and until it does the list shrinks. */
bool
EdaSnapshotOlder(const EdaSnapshot *a, const EdaSnapshot *b)
{
	if (a->xmax != b->xmax)
		return a->xmax < b->xmax;
	return a->nxip > b->nxip;
}

static uint8 *
put_varint(uint8 *p, uint64 v)
{
	while (v >= 0x80)
	{
		*p++ = (uint8) (v | 0x80);
		v >>= 7;
	}
	*p++ = (uint8) v;
	return p;
}

static const uint8 *
get_varint(const uint8 *p, const uint8 *end, uint64 *v)
{
	int			shift = 0;

	*v = 0;
	for (;;)
	{
		if (p >= end || shift > 63)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("stored snapshot of an eda cursor is damaged")));
		*v |= (uint64) (*p & 0x7f) << shift;
		shift += 7;
		if ((*p++ & 0x80) == 0)
			return p;
	}
}

/* Stored form of a snapshot, palloc'd. */
bytea *
EdaSnapshotEncode(const EdaSnapshot *s)
{
	bytea	   *result = palloc(VARHDRSZ + 1 + 10 * (3 + s->nxip));
	uint8	   *p = (uint8 *) VARDATA(result);
	uint64		last = s->xmin;

	*p++ = SNAPSHOT_VERSION;
	p = put_varint(p, s->xmin);
	p = put_varint(p, s->xmax - s->xmin);
	p = put_varint(p, s->nxip);
	for (int i = 0; i < s->nxip; i++)
	{
		p = put_varint(p, s->xip[i] - last);
		last = s->xip[i];
	}
	SET_VARSIZE(result, p - (uint8 *) result);
	return result;
}

/* The inverse; ERROR data_corrupted where the bytes are no stored snapshot. */
EdaSnapshot *
EdaSnapshotDecode(const bytea *data)
{
	const uint8 *p = (const uint8 *) VARDATA_ANY(data);
	const uint8 *end = p + VARSIZE_ANY_EXHDR(data);
	uint64		xmin;
	uint64		width;
	uint64		nxip;
	EdaSnapshot *s;

	if (p >= end || *p++ != SNAPSHOT_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("stored snapshot of an eda cursor is damaged")));
	p = get_varint(p, end, &xmin);
	p = get_varint(p, end, &width);
	p = get_varint(p, end, &nxip);
	if (nxip > (uint64) (end - p))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("stored snapshot of an eda cursor is damaged")));

	s = palloc(SnapshotSize(nxip));
	s->xmin = xmin;
	s->xmax = xmin + width;
	s->nxip = nxip;
	for (int i = 0; i < s->nxip; i++)
	{
		uint64		delta;

		p = get_varint(p, end, &delta);
		s->xip[i] = (i == 0 ? xmin : s->xip[i - 1]) + delta;
	}
	return s;
}

/*
 * Which xids does `to` see that `from` does not?  Ascending, disjoint,
 * non-empty ranges, palloc'd; returns how many.
 */
int
EdaSnapshotWindow(const EdaSnapshot *from, const EdaSnapshot *to,
				  EdaXidRange **ranges)
{
	EdaXidRange *r = palloc(sizeof(EdaXidRange) * (from->nxip + to->nxip + 1));
	int			n = 0;
	uint64		lo = from->xmax;

	/* in progress then, ended since */
	for (int i = 0; i < from->nxip; i++)
	{
		uint64		xid = from->xip[i];

		if (!EdaSnapshotSees(to, xid))
			continue;
		if (n > 0 && r[n - 1].hi == xid)
			r[n - 1].hi++;
		else
		{
			r[n].lo = xid;
			r[n].hi = xid + 1;
			n++;
		}
	}

	/* begun since, but for those still in progress */
	for (int i = 0; i < to->nxip; i++)
	{
		uint64		xid = to->xip[i];

		if (xid < from->xmax)
			continue;
		if (xid > lo)
		{
			r[n].lo = lo;
			r[n].hi = xid;
			n++;
		}
		lo = xid + 1;
	}
	if (to->xmax > lo)
	{
		r[n].lo = lo;
		r[n].hi = to->xmax;
		n++;
	}

	*ranges = r;
	return n;
}
