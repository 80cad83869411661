/*-------------------------------------------------------------------------
 *
 * subscription/handler.h
 *	  A subscription's function: found by name, checked, made callable.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/subscription/handler.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_HANDLER_H
#define EDA_HANDLER_H

typedef struct EdaSubscription EdaSubscription;

typedef enum EdaHandlerKind
{
	EDA_HANDLER_EVENT = 'e',	/* f(eda.event) */
	EDA_HANDLER_JSONB = 'j',	/* f(jsonb) */
	EDA_HANDLER_TOPIC_JSONB = 't',	/* f(text, jsonb) */
	EDA_HANDLER_EVENTS = 'b'	/* f(eda.event[]), once per batch */
} EdaHandlerKind;

typedef struct EdaHandlerRef
{
	Oid			oid;
	char	   *schema;
	char	   *name;
	EdaHandlerKind kind;
	Oid			owner;			/* of the function */
} EdaHandlerRef;

/*
 * What the user wrote (a name or a signature, in the caller's search_path)
 * to a function of one of the four signatures that `role` may execute; ERROR
 * with what to do otherwise.
 */
extern void EdaHandlerResolve(const char *handler, Oid role, EdaHandlerRef *ref);

/*
 * Is the subscription's handler still there and callable by its owner?
 * Returns its oid, by the remembered oid where schema, name, argument types and function owner
 * still match, else by name.  InvalidOid and *reason, *detail
 * (palloc'd: e.g. "handler", "function public.f(jsonb) does not exist")
 * where the subscription has to be blocked.
 */
extern Oid	EdaHandlerCheck(const EdaSubscription *sub, char **reason, char **detail);

/* Can this role run an executor here: exists, LOGIN, CONNECT?  Else *detail says what to do. */
extern bool EdaOwnerCanConnect(Oid roleid, char **detail);

/* schema.name(args) for messages. */
extern char *EdaHandlerSignature(const char *schema, const char *name, EdaHandlerKind kind);

#endif							/* EDA_HANDLER_H */
