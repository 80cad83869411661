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

/* Why a subscription is blocked; eda.subscription has the name of each (EdaBlockName). */
typedef enum EdaBlock
{
	EDA_BLOCK_NONE,				/* it is not */
	EDA_BLOCK_HANDLER,			/* the function is not there, or not fit */
	EDA_BLOCK_PRIVILEGE,		/* its owner may not call it */
	EDA_BLOCK_LOGIN,			/* its owner cannot connect */
	EDA_BLOCK_FAILING,			/* too many events in a row have failed; probes go on */
	EDA_BLOCK_CRASHING,			/* its handler has crashed the server too often */
	EDA_BLOCK_COPIED,			/* the database is a copy */
	EDA_BLOCK_UNKNOWN			/* somebody wrote it into the table */
} EdaBlock;

/* Does the block end by itself when its cause has gone, or another definition mends it? */
static inline bool
EdaBlockCanPass(EdaBlock block)
{
	return block == EDA_BLOCK_HANDLER || block == EDA_BLOCK_PRIVILEGE || block == EDA_BLOCK_LOGIN;
}

/* handler, privilege and so on; for NONE and UNKNOWN "unknown". */
extern const char *EdaBlockName(EdaBlock block);
/* The other way round; NULL: NONE. */
extern EdaBlock EdaBlockOf(const char *name);

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
 * still match, else by name.  InvalidOid, the reason and *detail
 * (palloc'd, e.g. "function public.f(jsonb) does not exist")
 * where the subscription has to be blocked, else *block is NONE.
 */
extern Oid	EdaHandlerCheck(const EdaSubscription *sub, EdaBlock *block, char **detail);

/* Can this role run an executor here: exists, LOGIN, CONNECT?  Else *detail says what to do. */
extern bool EdaOwnerCanConnect(Oid roleid, char **detail);

/* schema.name(args) for messages. */
extern char *EdaHandlerSignature(const char *schema, const char *name, EdaHandlerKind kind);

#endif							/* EDA_HANDLER_H */
