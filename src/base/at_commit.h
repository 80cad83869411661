/*-------------------------------------------------------------------------
 *
 * base/at_commit.h
 *	  What a transaction leaves to be done when it commits.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/at_commit.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_AT_COMMIT_H
#define EDA_AT_COMMIT_H

#include "datatype/timestamp.h"

/* From _PG_init, once a process. */
extern void EdaAtCommitInit(void);

/* At commit: EdaWakeDispatcher(bits) for this database. */
extern void EdaWakeAtCommit(uint32 bits);

/* At commit: ask for a dispatcher for this database (CREATE EXTENSION). */
extern void EdaAnnounceAtCommit(void);

/*
 * This transaction changed a definition or a state: at commit every process
 * reloads, and the dispatcher is woken.  Sends the relcache invalidation too.
 */
extern void EdaSubscriptionsChanged(void);

/* An event was delayed: at commit wake the dispatcher if it would come too late for it. */
extern void EdaDelayedAtCommit(TimestampTz deliver_at);

/*
 * An event is published, for subscriptions that were matched when EdaDatabase.generation was
 * this: at commit the executors of the lanes are woken that EdaLanesAtCommit() names, and the
 * dispatcher where that does not cover all of it.
 */
extern void EdaPublishedAtCommit(uint64 generation);

/*
 * Lanes of a subscription, a bit for each, that have got an event.  False: there are too many
 * subscriptions, and the dispatcher is woken for this one and all others.
 */
extern bool EdaLanesAtCommit(int32 subscription_id, uint64 lanes);

/* A number that each transaction of this process has for itself. */
extern uint64 EdaAtCommitTransaction(void);

/* This transaction ran run_pending: refuse its commit. */
extern void EdaForbidCommit(void);

#endif							/* EDA_AT_COMMIT_H */
