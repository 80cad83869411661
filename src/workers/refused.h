/*-------------------------------------------------------------------------
 *
 * workers/refused.h
 *	  Roles whose executors could not connect, which are left alone for a while.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/refused.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_REFUSED_H
#define EDA_REFUSED_H

#include "base/shmem.h"

/* The shared memory that it needs, in bytes, and making it as new: see EdaShmemPart(). */
extern Size EdaRefusedShmemSize(void);
extern void EdaRefusedShmemInit(void *memory);

/* The caller of what follows holds EdaShared->lock, exclusively but for EdaRefusedUntil(). */

/* One of the role's executors could not connect to the database. */
extern void EdaRefusedNote(Oid dbid, Oid roleid);

/* One could. */
extern void EdaRefusedForget(Oid dbid, Oid roleid);

/* No sooner than this (monotonic) is another one to be launched; 0: at once. */
extern TimestampTz EdaRefusedUntil(Oid dbid, Oid roleid);

#endif							/* EDA_REFUSED_H */
