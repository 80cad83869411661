/*-------------------------------------------------------------------------
 *
 * workers/workers.h
 *	  Worker processes: how they start, wait and end, and who may have one.
 *
 *	The face of its folder: other folders include this header and no other one of it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/workers.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_WORKERS_FACE_H
#define EDA_WORKERS_FACE_H

#include "workers/attach.h"
#include "workers/inflight.h"
#include "workers/launcher.h"
#include "workers/pool.h"
#include "workers/refused.h"
#include "workers/rest.h"
#include "workers/room.h"
#include "workers/worker.h"

#endif							/* EDA_WORKERS_FACE_H */
