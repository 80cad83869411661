/*-------------------------------------------------------------------------
 *
 * workers/refused.c
 *	  Roles whose executors could not connect, which are left alone for a while.
 *
 *	1. A role may be unable to connect for a reason that nobody can see before: too many
 *	   connections, a library of its settings that is not there.  Its executor ends in a
 *	   FATAL error, and the next one is launched after 1 s, doubling to 60 s, until one connects.
 *	2. One table for the whole server, by the hash of database and role, each of which is looked for
 *	   in PROBES places.  Where all of these are taken, the one goes whose time is over for longest,
 *	   or will be first.
 *	3. EdaShared->lock guards it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/refused.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "common/hashfn.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "workers/refused.h"
#include "workers/worker.h"

#define PLACES	4096
#define PROBES	64

typedef struct Refused
{
	Oid			dbid;
	Oid			roleid;			/* invalid: unused */
	int			failures;		/* in a row */
	TimestampTz retry_at;		/* monotonic */
} Refused;

static Refused *refused = NULL;

Size
EdaRefusedShmemSize(void)
{
	return PLACES * sizeof(Refused);
}

void
EdaRefusedShmemInit(void *memory)
{
	refused = memory;
	memset(refused, 0, EdaRefusedShmemSize());
}

/* The role's place; where it has none, NULL, or the one that it is to take. */
static Refused *
find_place(Oid dbid, Oid roleid, bool take)
{
	uint32		start = murmurhash32(roleid ^ murmurhash32(dbid));
	Refused    *best = NULL;

	for (int i = 0; i < PROBES; i++)
	{
		Refused    *place = &refused[(start + i) % PLACES];

		if (place->roleid == roleid && place->dbid == dbid)
			return place;
		/* an unused one has the time 0 */
		if (best == NULL || place->retry_at < best->retry_at)
			best = place;
	}
	return take ? best : NULL;
}

void
EdaRefusedNote(Oid dbid, Oid roleid)
{
	Refused    *place = find_place(dbid, roleid, true);

	if (place->roleid != roleid || place->dbid != dbid)
	{
		place->dbid = dbid;
		place->roleid = roleid;
		place->failures = 0;
	}
	place->failures++;
	place->retry_at = EdaMonotonicAfter(EdaWorkerBackoffMs(place->failures));
}

void
EdaRefusedForget(Oid dbid, Oid roleid)
{
	Refused    *place = find_place(dbid, roleid, false);

	if (place != NULL)
		memset(place, 0, sizeof(Refused));
}

TimestampTz
EdaRefusedUntil(Oid dbid, Oid roleid)
{
	Refused    *place = find_place(dbid, roleid, false);

	return place != NULL ? place->retry_at : 0;
}
