/*-------------------------------------------------------------------------
 *
 * publish/delay.h
 *	  Delayed events: kept until they are due, then put into the log.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/publish/delay.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_DELAY_H
#define EDA_DELAY_H

#include "base/shmem.h"
#include "event/event.h"

/*
 * Keep an event until ev->deliver_at, in this transaction; ev is complete but
 * for id and time of publishing, which are set here.  At commit the
 * dispatcher learns of it if it has to.  idempotency_key, a text, may be NULL.
 */
extern void EdaDelayEvent(EdaEvent *ev, struct varlena *idempotency_key);

/*
 * For the dispatcher, outside of a transaction: if an event is due, or look
 * says that the next due time may have changed, put what is due into the log
 * in a transaction of its own, a bounded number.  An error is logged, and it is tried again later.
 */
extern void EdaDelayServe(EdaDatabase *db, bool look);
/*
 * For the dispatcher: how long to sleep at most, in ms, until it is to be called again; -1: no
 * limit.
 */
extern long EdaDelaySleep(void);
/* The same for who leaves: a time by the system's clock, DT_NOEND: none. */
extern TimestampTz EdaDelayNextDue(void);

/* Put all that is due into the log, in this transaction, which can only be rolled back. */
extern void EdaDelayServeHere(void);

/*
 * A delayed event as the snapshot sees it, a palloc'd copy, or NULL.  Its xid is one that no
 * snapshot sees.
 */
extern EdaEvent *EdaDelayFind(int64 id, Snapshot snapshot);

/*
 * Id of an event that another transaction published, that was due at that
 * time and is not in the log yet, as the active snapshot sees it; 0: none.
 */
extern int64 EdaDelayFindDue(TimestampTz at);
/* The same of one that this transaction has published. */
extern int64 EdaDelayFindOwnDue(TimestampTz at);

#endif							/* EDA_DELAY_H */
