/*-------------------------------------------------------------------------
 *
 * base/security.h
 *	  The one place where eda takes on other rights than the caller's.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/security.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_SECURITY_H
#define EDA_SECURITY_H

#include "utils/snapshot.h"

typedef struct EdaSecurityContext
{
	Oid			save_userid;
	int			save_sec_context;
	int			save_nestlevel;
} EdaSecurityContext;

/*
 * Become the extension's owner: for eda's own statements on eda's own
 * tables.  Pins search_path to pg_catalog, pg_temp for the time, in a GUC nest
 * level, and forbids what a security-restricted operation forbids.  On error
 * the transaction machinery restores everything.
 */
extern void EdaBeginAsOwner(EdaSecurityContext *ctx);
extern void EdaEndAsOwner(EdaSecurityContext *ctx);

/*
 * Become the role whose code is about to run on behalf of somebody else, in a
 * GUC nest level; leaves search_path alone.  Three cases:
 *  - not the current user: a security-restricted operation;
 *  - the current user, but somebody else logged in (SET ROLE): the code can't
 *    change role or session user, and EdaBeginAsRoleRestricted(), for callers that
 *    let the transaction commit, makes it a security-restricted operation too;
 *  - who logged in: nothing happens.
 * EdaEndAsRole() ends either.
 */
extern void EdaBeginAsRole(EdaSecurityContext *ctx, Oid roleid);
extern void EdaBeginAsRoleRestricted(EdaSecurityContext *ctx, Oid roleid);
extern void EdaEndAsRole(EdaSecurityContext *ctx);

/*
 * SPI on eda's tables as the extension's owner: one statement, parameters
 * $1.. ; nulls as SPI's (' ' / 'n'), or NULL.  The result stays in SPI_tuptable until
 * EdaSpiEnd().  Plans are cached for the session by the statement's address:
 * pass string literals only.
 */
extern void EdaSpiBegin(EdaSecurityContext *ctx);
/* Begin, one statement with $1 an int4 (a subscription's id), end; returns the rows it changed. */
extern uint64 EdaSpiExecuteById(const char *sql, int32 id, int expected_result);
extern uint64 EdaSpiExecute(const char *sql, int nargs, const Oid *types,
							Datum *values, const char *nulls, int expected_result);
/* The same for a SELECT that only reads, as `snapshot` sees it. */
extern uint64 EdaSpiQuery(const char *sql, int nargs, const Oid *types,
						  Datum *values, const char *nulls, Snapshot snapshot);
/*
 * Until EdaSpiEnd(), plan statements for tables that grow: a plan that is made
 * while they are tiny, and kept, would read all of them later.  Not for a
 * statement that has no index to use.
 */
extern void EdaSpiPreferIndexes(void);
extern void EdaSpiEnd(EdaSecurityContext *ctx);

#endif							/* EDA_SECURITY_H */
