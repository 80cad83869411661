/*-------------------------------------------------------------------------
 *
 * deliver/session.h
 *	  An executor's session: whose it is, and what begins and ends with an event.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/session.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_SESSION_H
#define EDA_SESSION_H

/* By an executor that has connected: this is what it is to be again and again. */
extern void EdaSessionStart(void);

/*
 * The transaction at hand is as delivery needs it, whatever the owner's settings, or a handler
 * that changed them, say.
 */
extern void EdaSessionCharacteristics(void);

/*
 * Is it what its role is now?  False where the role is no superuser any more, or
 * has become one: a session of before cannot be mended.  In a transaction.
 */
extern bool EdaSessionIsCurrent(void);

/*
 * Session user, current user and role are who connected; in a transaction.  FATAL
 * where that can't be had.
 */
extern void EdaSessionBeOwner(void);

/*
 * An event's code begins.  True: no other event's has taken effect in this session since it
 * began, or was reset with its plans, and no table, type or function has changed since then.
 */
extern bool EdaSessionUse(void);
/* Would it be true now?  Changes nothing. */
extern bool EdaSessionIsClean(void);

/*
 * Were there no plans yet of any event's, when that one began?  Else it may have failed for those
 * of another one that failed.
 */
extern bool EdaSessionHadNoPlans(void);

/* How many calls of handlers there were in this process. */
extern uint64 EdaSessionCalls(void);

/* A savepoint for an event begins: nothing that others deferred is left to fire in it. */
extern void EdaSessionBeforeSavepoint(void);

/*
 * The event's code has returned: what a commit would do now for its sake alone is done now, and
 * raises what it would raise then.  In the event's savepoint, if it has one, and with it as the
 * current event.
 */
extern void EdaSessionEventEnd(void);

/* The same for what belongs to the transaction; outside of savepoints.  Raises nothing. */
extern void EdaSessionEventDone(void);

/* The transaction is about to commit: as durably as the one of its events that asked for most.  */
extern void EdaSessionBeforeCommit(void);
/* It has ended, either way. */
extern void EdaSessionAfterEnd(void);

/*
 * In a transaction, after a savepoint was rolled back: what that leaves in the session is taken
 * out of it.
 */
extern void EdaSessionScrub(void);

/*
 * Outside of a transaction: the session as a new one would be; with its plans, or without.  Only
 * the latter makes it clean; the former leaves it so after a failed attempt in a clean one.
 */
extern void EdaSessionReset(bool keep_plans);
extern void EdaSessionResetAfterClean(void);

#endif							/* EDA_SESSION_H */
