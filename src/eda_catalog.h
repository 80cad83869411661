/*-------------------------------------------------------------------------
 *
 * eda_catalog.h
 *	  Where eda's own objects are: oids looked up once and dropped on
 *	  invalidation; and whether the extension is there at all.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/eda_catalog.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_CATALOG_H
#define EDA_CATALOG_H

/*
 * Begin to listen for invalidations, for every cache of eda's; from _PG_init,
 * once a process.
 */
extern void EdaCatalogInit(void);

/* Needs a transaction.  Is the extension in this database? */
extern bool EdaExtensionExists(void);
/* ERROR undefined_object when it is not. */
extern Oid	EdaExtensionOwner(void);

/* Oid of a relation or type in schema eda; ERROR when it is not there. */
extern Oid	EdaRelationId(const char *relname);
extern Oid	EdaSubscriptionRelId(void); /* eda.subscription, cached */
extern Oid	EdaCursorRelId(void);		/* eda.cursor, cached */
extern Oid	EdaCursorIndexId(void);		/* eda.cursor_idx, cached */
extern Oid	EdaEventTypeId(void);		/* eda.event, cached */
extern Oid	EdaEventArrayTypeId(void);	/* eda.event[], cached */
extern Oid	EdaSequenceRelId(void);		/* eda.event_id_seq, cached */

#endif							/* EDA_CATALOG_H */
