/*-------------------------------------------------------------------------
 *
 * jobs/check.c
 *	  What can be known of a job's query before its first night.
 *
 *	1. Its syntax first: one statement of a kind that returns rows.
 *	2. Then it is analyzed and rewritten, neither planned nor executed, as the
 *	   job's owner in a security-restricted operation, under the job's
 *	   search_path, in a subtransaction that is rolled back: nothing is locked or left behind by it.
 *	   That tells the columns that it returns, and with them whether each row can
 *	   be made an event.
 *	3. The query tree tells which relations and functions it uses: the owner
 *	   must have the rights, and none may be temporary, as pg_cron's session has none of those.
 *	4. What can't come right unless the job is scheduled anew is an error.  A table, schema,
 *	   type, function or right that is missing may be on its way: a warning.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jobs/check.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/security.h"
#include "jobs/job.h"
#include "publish/publish.h"

/* A syntax error's position is one in the job's query, not in the caller's statement. */
static void
query_error_callback(void *arg)
{
	int			pos = geterrposition();

	if (pos > 0)
	{
		errposition(0);
		internalerrposition(pos);
		internalerrquery((const char *) arg);
	}
}

/* ERROR unless it is one statement that may return rows, by its syntax. */
static void
check_syntax(const EdaJob *job)
{
	ErrorContextCallback callback;
	List	   *statements;

	callback.callback = query_error_callback;
	callback.arg = job->query;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	statements = raw_parser(job->query, RAW_PARSE_DEFAULT);
	error_context_stack = callback.previous;

	if (list_length(statements) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the query of job \"%s\" must be one statement", job->name),
				 errdetail("It is %d.", list_length(statements))));

	switch (nodeTag(linitial_node(RawStmt, statements)->stmt))
	{
		case T_SelectStmt:
		case T_InsertStmt:
		case T_UpdateStmt:
		case T_DeleteStmt:
		case T_MergeStmt:
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("the query of job \"%s\" returns no rows", job->name),
					 errhint("Each row that a SELECT, or a statement with RETURNING, returns becomes one event.")));
	}
}

static void
check_function(Oid function)
{
	if (eda_proc_aclcheck(function, GetUserId(), ACL_EXECUTE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(function));
}

/*
 * ERROR where the current user may not read or write a relation, or call a function, of the query.
 */
static bool
check_rights(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		eda_check_query_rights((Query *) node);
		return query_tree_walker((Query *) node, check_rights, context, 0);
	}
	if (IsA(node, FuncExpr))
		check_function(((FuncExpr *) node)->funcid);
	else if (IsA(node, Aggref))
		check_function(((Aggref *) node)->aggfnoid);
	else if (IsA(node, WindowFunc))
		check_function(((WindowFunc *) node)->winfnoid);
	return expression_tree_walker(node, check_rights, context);
}

/* Analyze the query as the current user. */
static void
analyze(const EdaJob *job)
{
	EdaPublishQueryArgs args = {.query = job->query, .key_column = job->key_column,
								.idempotency_key_column = job->idempotency_key_column};
	List	   *queries = EdaPublishCheckQuery(&args);
	ListCell   *lc;

	foreach(lc, queries)
	{
		Query	   *query = lfirst_node(Query, lc);

		if (isQueryUsingTempRelation(query))
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("the query uses a temporary table or view"),
					 errdetail("It will not be there when pg_cron runs the job.")));
		(void) check_rights((Node *) query, NULL);
	}
}

/* May what is missing be there by the time when the job runs? */
static bool
may_come_right(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_UNDEFINED_TABLE || sqlerrcode == ERRCODE_UNDEFINED_SCHEMA ||
		sqlerrcode == ERRCODE_UNDEFINED_FUNCTION || sqlerrcode == ERRCODE_UNDEFINED_OBJECT ||
		sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE;
}

/* Analyze it as its owner; the error, in the current context, or NULL. */
static ErrorData *
analyze_as_owner(const EdaJob *job)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile edata = NULL;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		EdaSecurityContext ctx;

		EdaBeginAsRoleRestricted(&ctx, job->owner);
		(void) set_config_option("search_path", EdaJobSearchPath(job), PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
		analyze(job);
		EdaEndAsRole(&ctx);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();

	/* in either case: the locks are not needed, and the settings were for this only */
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	return edata;
}

void
EdaJobCheckQuery(const EdaJob *job)
{
	ErrorData  *edata;

	check_syntax(job);
	edata = analyze_as_owner(job);
	if (edata == NULL)
		return;
	if (!may_come_right(edata->sqlerrcode))
		ReThrowError(edata);
	ereport(WARNING,
			(errcode(edata->sqlerrcode),
			 errmsg("job \"%s\" would fail now: %s", job->name, edata->message),
			 edata->detail != NULL ? errdetail_internal("%s", edata->detail) : 0,
			 errhint("It is scheduled, and runs once that is mended for role \"%s\".",
					 GetUserNameFromId(job->owner, false))));
}
