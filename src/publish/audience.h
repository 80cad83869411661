/*-------------------------------------------------------------------------
 *
 * publish/audience.h
 *	  What a transaction leaves to be done when it commits.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/publish/audience.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_WAKE_H
#define EDA_WAKE_H

#include "datatype/timestamp.h"

#include "event/event.h"

extern void EdaWakeInit(void);

/*
 * An event on this topic is about to be appended: at commit wake who has
 * something to do.  May read the subscriptions, so call it before EdaLogLock().
 */
extern void EdaWakeForTopic(const char *topic, int len);
/* Which lanes that concerns, once the events' ids are known: events on the topic of the last EdaWakeForTopic(). */
extern void EdaWakeForEvents(const EdaEvent *events, int n);

/*
 * This transaction changed a definition or a state: at commit every process
 * reloads, and the dispatcher is woken.  Sends the relcache invalidation too.
 */
extern void EdaSubscriptionsChanged(void);

/* A delayed event was published: at commit wake the dispatcher if it would come too late for it. */
extern void EdaWakeForDelayed(TimestampTz deliver_at);

/* At commit: EdaWakeDispatcher(bits) for this database. */
extern void EdaWakeAtCommit(uint32 bits);
/* At commit: ask for a dispatcher for this database (CREATE EXTENSION). */
extern void EdaAnnounceAtCommit(void);
/* This transaction ran run_pending: refuse its commit. */
extern void EdaForbidCommit(void);

#endif							/* EDA_WAKE_H */
