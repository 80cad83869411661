/*-------------------------------------------------------------------------
 *
 * publish/query_env.c
 *	  The transition tables that the statement which called us can see.
 *
 *	1. A trigger's transition tables are known by name to the statements of its
 *	   function only: PL/pgSQL hands them to each as a query environment.  A C
 *	   function that such a statement calls is not told of it, and a query that
 *	   it runs by SPI starts with an environment of its own, which is empty.
 *	2. So the executor's hook remembers the environment of the innermost
 *	   statement that is running; it is restored when that statement ends,
 *	   however it ends.  Cursors are resumed by ExecutorRun(), too.
 *	3. What PL/pgSQL evaluates without the executor, as the right side of an
 *	   assignment, has no environment: there the innermost statement is the one that
 *	   fired the trigger.  Such a call has to be a statement (PERFORM, SELECT INTO).
 *	4. A tuplestore has no rights of its own: who became another role since that
 *	   statement began, as a SECURITY DEFINER function that it calls, is not
 *	   shown its caller's tables.
 *	5. An environment can be asked for a table by name only, so the query's
 *	   names are looked up in it, those without a schema.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/publish/query_env.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/queryenvironment.h"

#include "publish/query_env.h"

/* Of the innermost statement that is running; NULL: it has none, or there is none. */
static QueryEnvironment *current_env = NULL;
static Oid	current_env_user = InvalidOid;	/* who ran it */

static ExecutorRun_hook_type prev_executor_run = NULL;

static void
executor_run(QueryDesc *queryDesc, ScanDirection direction, uint64 count EDA_EXECUTE_ONCE_PARAM)
{
	QueryEnvironment *outer = current_env;
	Oid			outer_user = current_env_user;

	current_env = queryDesc->queryEnv;
	current_env_user = GetUserId();
	PG_TRY();
	{
		if (prev_executor_run)
			prev_executor_run(queryDesc, direction, count EDA_EXECUTE_ONCE_ARG);
		else
			standard_ExecutorRun(queryDesc, direction, count EDA_EXECUTE_ONCE_ARG);
	}
	PG_FINALLY();
	{
		current_env = outer;
		current_env_user = outer_user;
	}
	PG_END_TRY();
}

void
EdaQueryEnvInit(void)
{
	prev_executor_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
}

/* Register a table of the calling statement's, if that is what is named. */
static bool
share_table(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeVar))
	{
		RangeVar   *name = (RangeVar *) node;
		EphemeralNamedRelation table;

		if (name->schemaname != NULL)
			return false;
		table = get_ENR(current_env, name->relname);
		/* a name that the query has twice is registered by now */
		if (table != NULL)
			(void) SPI_register_relation(table);
		return false;
	}
	return raw_expression_tree_walker(node, share_table, context);
}

/* An error's position is one in the query, and not in the statement that called us. */
static void
query_error_position(void *arg)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery((const char *) arg);
	}
}

void
EdaQueryEnvShare(const char *query)
{
	ErrorContextCallback errcallback;
	List	   *statements;
	ListCell   *lc;

	if (current_env == NULL || current_env_user != GetUserId())
		return;

	errcallback.callback = query_error_position;
	errcallback.arg = unconstify(char *, query);
	errcallback.previous = error_context_stack;
	error_context_stack = &errcallback;
	statements = raw_parser(query, RAW_PARSE_DEFAULT);
	error_context_stack = errcallback.previous;

	foreach(lc, statements)
	{
		Node	   *statement = lfirst_node(RawStmt, lc)->stmt;

		switch (nodeTag(statement))
		{
			case T_SelectStmt:
			case T_InsertStmt:
			case T_UpdateStmt:
			case T_DeleteStmt:
			case T_MergeStmt:
				(void) share_table(statement, NULL);
				break;
			default:
				break;
		}
	}
}
