/*-------------------------------------------------------------------------
 *
 * publish/query_env.h
 *	  The transition tables that the statement which called us can see.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/publish/query_env.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_QUERY_ENV_H
#define EDA_QUERY_ENV_H

/* From _PG_init, once a process: follow which statement is running. */
extern void EdaQueryEnvInit(void);

/*
 * Let the current SPI connection see those tables of the calling statement's that this query
 * names.  They are the caller's: good until our function returns.
 */
extern void EdaQueryEnvShare(const char *query);

#endif							/* EDA_QUERY_ENV_H */
