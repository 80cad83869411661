/*-------------------------------------------------------------------------
 *
 * subscription/definition.h
 *	  What a user states about a subscription: checked, stored, written out.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/subscription/definition.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_DEFINITION_H
#define EDA_DEFINITION_H

#include "utils/jsonb.h"

#include "subscription/handler.h"
#include "subscription/subscription.h"

/* The settings, in the order of eda.subscribe's arguments after the name. */
typedef enum EdaSetting
{
	EDA_SET_TOPICS = 0,
	EDA_SET_HANDLER,
	EDA_SET_FILTER,
	EDA_SET_SCHEMA,
	EDA_SET_ORDERING,
	EDA_SET_CONCURRENCY,
	EDA_SET_BATCH_SIZE,
	EDA_SET_RATE_LIMIT,
	EDA_SET_MAX_ATTEMPTS,
	EDA_SET_BACKOFF,
	EDA_SET_MAX_BACKOFF,
	EDA_SET_REJECT_ON,
	EDA_SET_BLOCK_AFTER,
	EDA_SET_TIMEOUT,
	EDA_SET_EXPIRE_AFTER,
	EDA_SET_PRIORITY,
	EDA_SET_OWNER				/* the last argument, behind start and start_at */
} EdaSetting;

#define EDA_NSETTINGS	(EDA_SET_OWNER + 1)

typedef struct EdaDefinition
{
	Datum		values[EDA_NSETTINGS];
	bool		nulls[EDA_NSETTINGS];
	bool		named[EDA_NSETTINGS];	/* stated just now, not read from the table */
	EdaHandlerRef handler;		/* once it is checked or read */
} EdaDefinition;

/*
 * ERROR unless everything in the definition makes sense, is within limits
 * and built in this version, and unless the current user may become the owner
 * and the owner may run that handler.  Over an existing subscription (else
 * NULL) the current user must be one who may become its owner or the
 * extension's, and the owner may be left as it is.  Owner and handler are
 * looked at only where one of them is named.  Sets handler.  WARNING for a
 * superuser as owner.
 */
extern void EdaDefinitionCheck(const char *subscription, EdaDefinition *def,
							   const EdaSubscription *existing);

/* The stored definition of a subscription, in the current context. */
extern void EdaDefinitionRead(const EdaSubscription *sub, EdaDefinition *def);

/*
 * Take over and mark as named what a JSON object states; ERROR for unknown settings and wrong
 * types.
 */
extern void EdaDefinitionOverlay(EdaDefinition *def, Jsonb *settings);

/* A new row of eda.subscription; returns its id.  Checked before. */
extern int32 EdaDefinitionInsert(const char *subscription, const EdaDefinition *def);
/* Replace the definition in a row; state and position stay. */
extern void EdaDefinitionUpdate(int32 id, const EdaDefinition *def);

/* The eda.subscribe statement that makes it, without a semicolon. */
extern char *EdaDefinitionText(const char *subscription, const EdaDefinition *def);

#endif							/* EDA_DEFINITION_H */
