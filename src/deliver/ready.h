/*-------------------------------------------------------------------------
 *
 * deliver/ready.h
 *	  May a lane run now, and what does its executor know of it?
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/ready.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_READY_H
#define EDA_READY_H

#include "deliver/lane.h"

typedef enum EdaReady
{
	EDA_READY_YES,				/* definition, handler, waiting events and cursor are known */
	EDA_READY_CRASH,			/* a crash of the subscription's has to be put on record first */
	EDA_READY_STOPPED,			/* it is paused or blocked */
	EDA_READY_UNBLOCK,			/* what it was blocked for has passed: that is to be written */
	EDA_READY_NO_HANDLER,		/* the handler can't be called: the subscription is to be blocked */
	EDA_READY_PROBED,			/* another lane has the probe */
	EDA_READY_OTHER_SESSION,	/* this session is not the owner's any more */
	EDA_READY_UNCLEAN,			/* the session has to be reset before the next call */
	EDA_READY_GONE,				/* there is no such lane, or it is another role's */

	/* before a snapshot was taken and the definition was read: */
	EDA_READY_LOCKED,			/* somebody is changing the subscription */
	EDA_READY_DROPPED		/* the extension is no more */
} EdaReady;

/*
 * In a step's transaction: takes the subscription's lock and, unless the verdict is one of the last
 * two, an active snapshot, and leaves the current context at lane->step_mcxt.  Commits nothing and
 * writes nothing.  NO_HANDLER: *block and *detail (palloc'd) say why.
 */
extern EdaReady EdaLaneReady(EdaLane *lane, EdaBlock *block, char **detail);

#endif							/* EDA_READY_H */
