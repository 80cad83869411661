/*-------------------------------------------------------------------------
 *
 * base/catalog.h
 *	  Where eda's own objects are: oids looked up once and dropped on
 *	  invalidation; and whether the extension is there at all.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/catalog.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_CATALOG_H
#define EDA_CATALOG_H

/* The indexes of eda.retry (src/sql/30_subscription.sql). */
typedef enum EdaRetryIndex
{
	EDA_RETRY_PKEY,				/* (subscription_id, event_id) */
	EDA_RETRY_KEY,				/* (subscription_id, lane, key, seq) */
	EDA_RETRY_ORDER,			/* (subscription_id, lane, seq) */
	EDA_RETRY_DUE,				/* (subscription_id, lane, next_attempt_at, seq), of those that have a due time */
	EDA_NRETRY_INDEXES
} EdaRetryIndex;

/*
 * Begin to listen for invalidations, for every cache of eda's; from _PG_init,
 * once a process.
 */
extern void EdaCatalogInit(void);

/*
 * Have a cache told of each relation that is invalidated; relid is InvalidOid where all of them
 * are.  The callback must not read any catalogue.  From _PG_init, once for each cache.
 */
typedef void (*EdaRelcacheCallback) (Oid relid);
extern void EdaOnRelcacheInvalidation(EdaRelcacheCallback callback);

/* Needs a transaction.  Is the extension in this database? */
extern bool EdaExtensionExists(void);
/*
 * Are its SQL objects those that this library is for?  False between the installation of a newer
 * library and ALTER EXTENSION eda UPDATE, with a WARNING, and where the extension is not there.
 */
extern bool EdaExtensionFits(void);
/*
 * For the C function of a SQL function that an earlier version had: the ERROR that says to update.
 */
pg_noreturn extern void EdaOldVersionError(void);
/* ERROR undefined_object when it is not. */
extern Oid	EdaExtensionOwner(void);

/*
 * Oid of a relation or type in schema eda; ERROR when it is not there, or of another version than
 * the library.
 */
extern Oid	EdaRelationId(const char *relname);
extern Oid	EdaSubscriptionRelId(void); /* eda.subscription, cached */
extern Oid	EdaSubscriptionIndexId(void);	/* its primary key's index, cached */
extern Oid	EdaCursorRelId(void);		/* eda.cursor, cached */
extern Oid	EdaCursorIndexId(void);		/* eda.cursor_idx, cached */
extern Oid	EdaEventTypeId(void);		/* eda.event, cached */
extern Oid	EdaEventArrayTypeId(void);	/* eda.event[], cached */
extern Oid	EdaRetryRelId(void);	/* eda.retry, cached */
extern Oid	EdaRetryIndexId(EdaRetryIndex index);	/* one of its indexes, cached */
extern Oid	EdaSharedSchemaRelId(void); /* eda.shared_schema, cached */
extern Oid	EdaTopicRelId(void);	/* eda.topic, cached */
extern Oid	EdaGuardFunctionId(void);	/* eda._guard(), cached */
extern Oid	EdaSequenceRelId(void);		/* eda.event_id_seq, cached */

#endif							/* EDA_CATALOG_H */
