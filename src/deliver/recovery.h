/*-------------------------------------------------------------------------
 *
 * deliver/recovery.h
 *	  What is remembered of events that were handled, but not at first.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/recovery.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_RECOVERY_H
#define EDA_RECOVERY_H

#include "deliver/failure.h"

/* The item, which was delivered before without success, is handled by this transaction. */
extern void EdaRecoveryRecord(int32 subscription_id, const EdaItem *item);

/* The subscription is gone, or handles events once more: nothing of it is true any more. */
extern void EdaRecoveryForget(int32 subscription_id);

/* Remove what is older than the log keeps events, at most so many; returns how many. */
extern int64 EdaRecoveryPurge(int64 max);

#endif							/* EDA_RECOVERY_H */
