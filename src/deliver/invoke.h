/*-------------------------------------------------------------------------
 *
 * deliver/invoke.h
 *	  Calling a subscriber's code: its filter and its handler.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/invoke.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_INVOKE_H
#define EDA_INVOKE_H

#include "event/event.h"
#include "subscription/subscription.h"

typedef struct EdaInvoker
{
	EdaHandlerKind kind;
	FmgrInfo	flinfo;
	bool		in_batch;		/* what fails is called again before it counts; false at first */
	bool		ends_event;		/* in an executor: EdaSessionEventEnd(); false at first */
} EdaInvoker;

/* Make the function callable; what it caches lives in mcxt. */
extern void EdaInvokerInit(EdaInvoker *invoker, EdaHandlerKind kind, Oid handler,
						   MemoryContext mcxt);

/*
 * Call it for one event, with a snapshot that sees what earlier calls did, and make its effects
 * visible to the next.  Whatever it raises goes through.  The current event
 * is set for the time of the call, and of what it has deferred; who catches an error resets it with
 * EdaSetCurrentEvent(NULL).
 */
extern void EdaInvoke(EdaInvoker *invoker, const EdaEvent *ev);

/*
 * The same for a set-wise handler and n >= 1 values of eda.event; current: what is the current
 * event meanwhile.
 */
extern void EdaInvokeSet(EdaInvoker *invoker, const EdaEvent *current, const Datum *values, int n);

/*
 * Does the event pass the subscription's filter?  Raises what the path raises,
 * and where the event passes, and breaks the subscription's schema, an error
 * that EdaVerdictDelay() tells from the handler's.
 */
extern bool EdaFilterPasses(const EdaSubscription *sub, const EdaEvent *ev);

/*
 * What the handler asked for with eda.retry_after() or eda.snooze(): true
 * when the error code is one of the two and it was raised by them since the
 * last call of a handler; then *delay_ms is the delay.  The same of
 * eda.reject() and of a broken schema, with no delay.
 */
extern bool EdaVerdictDelay(int sqlerrcode, int64 *delay_ms);

#endif							/* EDA_INVOKE_H */
