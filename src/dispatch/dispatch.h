/*-------------------------------------------------------------------------
 *
 * dispatch/dispatch.h
 *	  The dispatcher: which lanes have work, and who runs them.
 *
 *	The face of its folder: other folders include this header and no other one of it.
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
