/*-------------------------------------------------------------------------
 *
 * dispatch/dispatch.h
 *	  The dispatcher: which lanes have work, and who runs them.
 *
 *	The face of its folder: other folders include this header and no other one of it.
 *
 * Places
 *
 *	* Places for events that take long are shared out by dispatch/assign.c: one executor is
 *	  kept for what is not known to be long, and what turns out so there is interrupted
 *	  (EdaExecutor.preempt) and laid down (EDA_STEP_PREEMPTED), which is no failure.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/dispatch/dispatch.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_DISPATCH_FACE_H
#define EDA_DISPATCH_FACE_H

#include "dispatch/assign.h"
#include "dispatch/retention.h"

#endif							/* EDA_DISPATCH_FACE_H */
