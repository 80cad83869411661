/*-------------------------------------------------------------------------
 *
 * base/condition.h
 *	  What may be said of an error to those who may not see payloads.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/condition.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_CONDITION_H
#define EDA_CONDITION_H

/*
 * The name of an SQLSTATE's condition, as PL/pgSQL's EXCEPTION knows it, or eda's own; of one that
 * nobody has a name for, that of its class.  NULL: the class has none either.
 */
extern const char *EdaConditionName(const char *sqlstate);

/*
 * Where an error was raised: the functions and lines in its context, innermost first, and nothing
 * else of it.  Palloc'd; NULL: the context (which may be NULL) names none.
 */
extern char *EdaErrorWhere(const char *context);

/*
 * "SQLSTATE condition, where": what stands in the place of a message.  sqlstate and where may be
 * NULL.
 */
extern char *EdaConditionText(const char *sqlstate, const char *where);

#endif							/* EDA_CONDITION_H */
