/*-------------------------------------------------------------------------
 *
 * contract/contract.h
 *	  Topics that are defined, and what their events must be like.
 *
 * Contracts
 *
 *	A backend has the names of the topics with a schema, and compiles a schema when it is
 *	first needed (contract/contract.c).  Relcache invalidations of eda.topic and
 *	eda.shared_schema make it read them anew, as the last commit left them; each publish
 *	accepts invalidations first.  A subscription's schema is checked where its filter is, by
 *	the executor (EdaFilterPasses): what breaks it raises, and the batch goes on as with
 *	eda.reject.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/contract/contract.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_CONTRACT_H
#define EDA_CONTRACT_H

#include "utils/jsonb.h"

typedef struct EdaContract EdaContract;

/*
 * What events on a topic must be like, NULL if anything will do: the state
 * of the last commit, and our own changes.  Good until the next call.
 */
extern EdaContract *EdaContractOfTopic(const char *topic, int len);

/*
 * The same contract for as long as CurrentMemoryContext lasts, whatever
 * happens meanwhile.  NULL is NULL.
 */
extern EdaContract *EdaContractHold(const EdaContract *contract);

/*
 * Does a payload conform?  If not: an ERROR with the violations in DETAIL,
 * or, where violations is not NULL, false and the violations, palloc'd.
 * element: of a batch, counted from 1; 0: there is no batch.
 */
extern bool EdaContractCheck(const EdaContract *contract, struct varlena *payload, int element,
							 char **violations);

/*
 * Violations of a subscription's schema, JsonSchemaViolation *; NIL: there is none.
 * load: two calls with one number are about one schema.
 */
extern List *EdaContractViolations(const Jsonb *schema, uint64 load, struct varlena *payload);

/*
 * ERROR if what some topic or subscription is checked by is not valid any
 * more, as schema uri has changed.  The caller has eda.shared_schema locked.
 */
extern void EdaContractsRecheck(const char *uri);

/*
 * Check a schema that is about to become a contract, and keep registered
 * schemas from changing until we commit.
 */
extern void EdaContractCheckSize(const Jsonb *schema);	/* ERROR where it is larger than a schema may be */
extern void EdaContractAccept(const Jsonb *schema);

/* For the relcache callback; reads no catalogue. */
extern void EdaContractInvalidate(Oid relid);

/* This header is the face of its folder: what else other folders may use. */
#include "contract/schema_cache.h"

#endif							/* EDA_CONTRACT_H */
