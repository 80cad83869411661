/*-------------------------------------------------------------------------
 *
 * log/id.h
 *	  Event ids: ascending across the backends of a database.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/log/id.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_ID_H
#define EDA_ID_H

/*
 * Take n consecutive-or-ascending ids, in publish order.  Take
 * them after the rows they are for have been evaluated, and after
 * EdaLogLock().
 */
extern void EdaTakeIds(int64 *ids, int n);


#endif							/* EDA_ID_H */
