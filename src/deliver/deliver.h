/*-------------------------------------------------------------------------
 *
 * deliver/deliver.h
 *	  Running handlers: a lane, and what becomes of its events.
 *
 *	The face of its folder: other folders include this header and no other one of it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/deliver.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_DELIVER_FACE_H
#define EDA_DELIVER_FACE_H

#include "deliver/failure.h"
#include "deliver/invoke.h"
#include "deliver/parking.h"
#include "deliver/probation.h"
#include "deliver/rate.h"
#include "deliver/recovery.h"
#include "deliver/resize.h"
#include "deliver/state.h"
#include "deliver/termination.h"
#include "deliver/waiting.h"

#endif							/* EDA_DELIVER_FACE_H */
