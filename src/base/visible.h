/*-------------------------------------------------------------------------
 *
 * base/visible.h
 *	  What a role sees in eda's views.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/visible.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_VISIBLE_H
#define EDA_VISIBLE_H

/*
 * Each asks for the current user.  The first two are what the views show: rows that belong to
 * `owner`, and in these the payload and what may hold values of it; the third: every payload
 * there is.
 */
extern bool EdaMaySee(Oid owner);
extern bool EdaMayRead(Oid owner);
extern bool EdaReadsAll(void);

#endif							/* EDA_VISIBLE_H */
