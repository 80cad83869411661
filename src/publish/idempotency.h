/*-------------------------------------------------------------------------
 *
 * publish/idempotency.h
 *	  Idempotency keys: the first event of a key on a topic is the only one,
 *	  for eda.idempotency_window.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/publish/idempotency.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_IDEMPOTENCY_H
#define EDA_IDEMPOTENCY_H

#include "storage/itemptr.h"

/* A key that an event is about to be published under. */
typedef struct EdaIdempotencyClaim
{
	struct varlena *key;		/* text, at most EDA_MAX_NAME_LEN bytes */
	struct varlena *payload;	/* jsonb; may be toasted */

	bool		claimed;		/* out: it is ours, publish */
	int64		event_id;		/* out: the first event where it isn't; 0 when that is in the same call */
	bytea	   *payload_hash;	/* internal */
	ItemPointerData tid;		/* internal: of the row that was claimed */
	int			duplicate_of;	/* internal: index of the same key before, or -1 */
} EdaIdempotencyClaim;

/*
 * Claim keys on a topic in this transaction.  Waits for a concurrent claim of
 * the same key to commit or roll back.  ERROR EDA_IDEMPOTENCY_CONFLICT where
 * the first event had another payload; serialization_failure where it is
 * invisible to a REPEATABLE READ transaction.  Take ids after this.
 */
extern void EdaIdempotencyClaimKeys(struct varlena *topic,
									EdaIdempotencyClaim *claims, int n);

/* Record, in the same call, the events of the claims that were ours: event_id must be set there. */
extern void EdaIdempotencyRecord(EdaIdempotencyClaim *claims, int n);

/*
 * Delete keys whose window is over, at most max of them; returns how many.
 * For the dispatcher's housekeeping: nothing depends on it but space.
 */
extern int64 EdaIdempotencyPurge(int64 max);

#endif							/* EDA_IDEMPOTENCY_H */
