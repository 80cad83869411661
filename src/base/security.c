/*-------------------------------------------------------------------------
 *
 * base/security.c
 *	  The one place where eda takes on other rights than the caller's.
 *
 *	1. eda's own statements run as the extension's owner, with search_path
 *	   pinned to pg_catalog and pg_temp last, as a security-restricted
 *	   operation: nothing that the caller planted is found or stays behind.
 *	2. A handler that runs on behalf of another role runs as its owner, also
 *	   restricted, so that a trigger it defers can't fire as the caller.  Who
 *	   did SET ROLE to the owner is another role too: the handler could undo
 *	   that, and is kept from it.
 *	3. What was set is undone by the End function, or by transaction abort: a
 *	   subtransaction restores user, context and settings by itself.
 *	4. Plans are kept for the session under the address of their text.
 *	   PostgreSQL's plan cache looks at them again after each change of a
 *	   table, so they survive DROP and CREATE EXTENSION.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/security.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/catalog.h"
#include "base/security.h"

typedef struct PlanEntry
{
	const char *sql;			/* hash key: the address */
	SPIPlanPtr	plan;			/* NULL when preparing failed */
} PlanEntry;

static HTAB *plans = NULL;

void
EdaBeginAsOwner(EdaSecurityContext *ctx)
{
	Oid			owner = EdaExtensionOwner();

	GetUserIdAndSecContext(&ctx->save_userid, &ctx->save_sec_context);
	SetUserIdAndSecContext(owner,
						   ctx->save_sec_context |
						   SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	ctx->save_nestlevel = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
EdaEndAsOwner(EdaSecurityContext *ctx)
{
	AtEOXact_GUC(false, ctx->save_nestlevel);
	SetUserIdAndSecContext(ctx->save_userid, ctx->save_sec_context);
}

/* restricted: also where the role is the current user, by SET ROLE */
static void
begin_as_role(EdaSecurityContext *ctx, Oid roleid, bool restricted)
{
	int			sec_context;

	GetUserIdAndSecContext(&ctx->save_userid, &ctx->save_sec_context);
	ctx->save_nestlevel = -1;
	if (roleid == ctx->save_userid && roleid == GetSessionUserId() &&
		roleid == GetAuthenticatedUserId())
		return;

	sec_context = ctx->save_sec_context | SECURITY_LOCAL_USERID_CHANGE;
	if (restricted || roleid != ctx->save_userid)
		sec_context |= SECURITY_RESTRICTED_OPERATION;
	SetUserIdAndSecContext(roleid, sec_context);
	/* what it sets is not for the caller to keep */
	ctx->save_nestlevel = NewGUCNestLevel();
}

void
EdaBeginAsRole(EdaSecurityContext *ctx, Oid roleid)
{
	begin_as_role(ctx, roleid, false);
}

void
EdaBeginAsRoleRestricted(EdaSecurityContext *ctx, Oid roleid)
{
	begin_as_role(ctx, roleid, true);
}

void
EdaEndAsRole(EdaSecurityContext *ctx)
{
	if (ctx->save_nestlevel < 0)
		return;
	AtEOXact_GUC(false, ctx->save_nestlevel);
	SetUserIdAndSecContext(ctx->save_userid, ctx->save_sec_context);
}

void
EdaSpiBegin(EdaSecurityContext *ctx)
{
	EdaBeginAsOwner(ctx);
	SPI_connect();
}

void
EdaSpiPreferIndexes(void)
{
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	/* where there is none to prefer, the plan looks as if it were worth compiling */
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
EdaSpiEnd(EdaSecurityContext *ctx)
{
	SPI_finish();
	EdaEndAsOwner(ctx);
}

/* The saved plan of a statement, prepared when it is first asked for. */
static SPIPlanPtr
get_plan(const char *sql, int nargs, const Oid *types)
{
	PlanEntry  *entry;
	bool		found;

	if (plans == NULL)
	{
		HASHCTL		ctl;

		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = sizeof(const char *);
		ctl.entrysize = sizeof(PlanEntry);
		ctl.hcxt = TopMemoryContext;
		plans = hash_create("eda plans", 64, &ctl,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}

	entry = hash_search(plans, &sql, HASH_ENTER, &found);
	if (!found)
		entry->plan = NULL;		/* so that the entry is good if we fail */

	if (entry->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(sql, nargs, unconstify(Oid *, types));

		if (plan == NULL)
			elog(ERROR, "could not prepare \"%s\": %s",
				 sql, SPI_result_code_string(SPI_result));
		if (SPI_keepplan(plan) != 0)
			elog(ERROR, "could not keep the plan of \"%s\"", sql);
		entry->plan = plan;
	}

	return entry->plan;
}

uint64
EdaSpiExecute(const char *sql, int nargs, const Oid *types,
			  Datum *values, const char *nulls, int expected_result)
{
	int			rc;

	/*
	 * What changes under a lock is read as it is once the lock is had, also in
	 * a transaction whose own snapshot is older, as foreign keys do it.
	 * Triggers fire as they do otherwise: the tables have some.
	 */
	if (IsolationUsesXactSnapshot())
		rc = SPI_execute_snapshot(get_plan(sql, nargs, types), values, nulls,
								  GetLatestSnapshot(), InvalidSnapshot, false, true, 0);
	else
		rc = SPI_execute_plan(get_plan(sql, nargs, types), values, nulls, false, 0);
	if (rc < 0 || (expected_result != 0 && rc != expected_result))
		elog(ERROR, "unexpected result %s of \"%s\"",
			 SPI_result_code_string(rc), sql);
	return SPI_processed;
}

uint64
EdaSpiExecuteById(const char *sql, int32 id, int expected_result)
{
	static const Oid types[] = {INT4OID};
	EdaSecurityContext ctx;
	Datum		values[1];
	uint64		n;

	values[0] = Int32GetDatum(id);
	EdaSpiBegin(&ctx);
	n = EdaSpiExecute(sql, 1, types, values, NULL, expected_result);
	EdaSpiEnd(&ctx);
	return n;
}

uint64
EdaSpiQuery(const char *sql, int nargs, const Oid *types,
			Datum *values, const char *nulls, Snapshot snapshot)
{
	int			rc;

	rc = SPI_execute_snapshot(get_plan(sql, nargs, types), values, nulls,
							  snapshot, InvalidSnapshot, true, false, 0);
	if (rc != SPI_OK_SELECT)
		elog(ERROR, "unexpected result %s of \"%s\"",
			 SPI_result_code_string(rc), sql);
	return SPI_processed;
}
