/*-------------------------------------------------------------------------
 *
 * hooks.c
 *	  Utility commands that the workers have to hear of.
 *
 *	1. Commands that need the workers of a database out of the way (DROP and
 *	   ALTER EXTENSION eda, DROP OWNED by its owner, DROP DATABASE, ALTER
 *	   DATABASE ... RENAME and SET TABLESPACE, CREATE DATABASE ... TEMPLATE)
 *	   hold the database: holds is raised, so that the launcher starts nothing
 *	   there, and its workers are told to end and waited for.  The hold lasts
 *	   to the end of the transaction, for better or worse: a callback at the
 *	   release of its resources sees every way out, FATAL included, and comes
 *	   when its locks are gone.  Then the launcher starts again what was
 *	   running, unless the database is gone.
 *	2. That is done only where the command has a chance: after the checks of
 *	   ownership that the command itself makes.  Where it has none, the
 *	   standard path says so and no worker is disturbed.
 *	3. Commands that may repair a blocked subscription (functions, rights,
 *	   roles) set a flag; at commit dispatchers with blocked subscriptions look
 *	   again.  Those that change a database's settings restart its workers
 *	   at commit.
 *	4. DROP EXTENSION eda says how handlers are kept: where they take eda.event they go with it.
 *	5. COMMIT PREPARED runs none of the callbacks of the transaction that it
 *	   commits, so everybody who might be concerned is woken.
 *
 * Locks: EdaShared->lock for moments, never while waiting or raising.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/hooks.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "commands/user.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

#include "base/at_commit.h"
#include "base/catalog.h"
#include "base/guard.h"
#include "hooks.h"
#include "log/log.h"
#include "publish/publish.h"
#include "workers/workers.h"

/* A database held by this transaction. */
typedef struct EdaHold
{
	Oid			dbid;
	bool		taken;			/* holds was raised */
	bool		dropped;		/* by this transaction */
} EdaHold;

/*
 * What this transaction leaves to do at its end; lists are in
 * TopTransactionContext.
 */
static List *my_holds = NIL;	/* of EdaHold *; commit and abort */
static List *restart_databases = NIL;	/* oids; commit: workers begin anew */
static List *request_databases = NIL;	/* oids; commit: may need a dispatcher */
static bool recheck_here = false;	/* commit: this database */
static bool recheck_everywhere = false; /* commit: all databases */

static ProcessUtility_hook_type prev_process_utility = NULL;

static void eda_process_utility(PlannedStmt *pstmt, const char *query_string,
								bool read_only_tree, ProcessUtilityContext context,
								ParamListInfo params, QueryEnvironment *query_env,
								DestReceiver *dest, QueryCompletion *qc);
static void eda_before_utility(Node *stmt, bool top_level);
static void eda_after_utility(Node *stmt);
static void eda_hold_database(Oid dbid);
static void eda_hold_extension(void);
static void eda_release_holds(bool committed);
static void eda_remember_database(List **list, const char *dbname);
static bool eda_owns_database(const char *dbname, Oid *dbid);
static bool eda_may_copy_database(const char *dbname, Oid *dbid);
static const char *eda_template_of(const CreatedbStmt *stmt);
static void eda_recheck(EdaDatabase *db);
static void eda_hooks_xact_callback(XactEvent event, void *arg);
static void eda_hooks_release_callback(ResourceReleasePhase phase, bool is_commit,
									   bool is_top_level, void *arg);

/*
 * Install the hook.  From _PG_init while preloading.
 */
void
EdaHooksInit(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = eda_process_utility;
	EdaAppendKeep();
	RegisterXactCallback(eda_hooks_xact_callback, NULL);
	RegisterResourceReleaseCallback(eda_hooks_release_callback, NULL);
}

/* The hook that was there before ours, or the server's own. */
static void
eda_next_process_utility(PlannedStmt *pstmt, const char *query_string,
						 bool read_only_tree, ProcessUtilityContext context,
						 ParamListInfo params, QueryEnvironment *query_env,
						 DestReceiver *dest, QueryCompletion *qc)
{
	if (prev_process_utility)
		prev_process_utility(pstmt, query_string, read_only_tree, context,
							 params, query_env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query_string, read_only_tree, context,
								params, query_env, dest, qc);
}

/* May it change tables itself?  Not those that only run other statements. */
static bool
eda_changes_tables(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_TransactionStmt:
		case T_DoStmt:
		case T_CallStmt:
		case T_PrepareStmt:
		case T_ExecuteStmt:
		case T_DeallocateStmt:
		case T_DeclareCursorStmt:
		case T_FetchStmt:
		case T_ClosePortalStmt:
		case T_CopyStmt:
		case T_ExplainStmt:
		case T_CreateTableAsStmt:
		case T_VariableSetStmt:
		case T_VariableShowStmt:
		case T_ConstraintsSetStmt:
		case T_ListenStmt:
		case T_UnlistenStmt:
		case T_NotifyStmt:
			return false;
		default:
			return true;
	}
}

/* Is it DROP EXTENSION eda? */
static bool
eda_drops_extension(Node *stmt)
{
	ListCell   *lc;

	if (!IsA(stmt, DropStmt) || ((DropStmt *) stmt)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(lc, ((DropStmt *) stmt)->objects)
	{
		if (strcmp(strVal(lfirst(lc)), EDA_EXTENSION_NAME) == 0)
			return true;
	}
	return false;
}

/* The server's hint is CASCADE, which is no good advice for functions that somebody has written. */
static void
eda_dependents_callback(void *arg)
{
	if (geterrcode() == ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST)
		errhint("DROP ... CASCADE drops them too, functions with their source.  To keep these, save what pg_get_functiondef() shows of them, and create them again after CREATE EXTENSION %s; README has the statement.",
				EDA_EXTENSION_NAME);
}

static void
eda_process_utility(PlannedStmt *pstmt, const char *query_string,
					bool read_only_tree, ProcessUtilityContext context,
					ParamListInfo params, QueryEnvironment *query_env,
					DestReceiver *dest, QueryCompletion *qc)
{
	ErrorContextCallback dependents = {0};
	Node	   *stmt = pstmt->utilityStmt;
	bool		changes = eda_changes_tables(stmt);
	bool		concerned;

	/* a standby has no workers; single-user mode neither */
	concerned = EdaShared != NULL && IsUnderPostmaster && !RecoveryInProgress();

	if (changes)
		EdaAppendBeginCommand();
	else
		EdaAppendRelease();

	if (IsA(stmt, LockStmt))
		EdaGuardLock((LockStmt *) stmt);
	if (concerned)
		eda_before_utility(stmt, context == PROCESS_UTILITY_TOPLEVEL);

	dependents.previous = error_context_stack;
	dependents.callback = eda_dependents_callback;
	if (changes && eda_drops_extension(stmt))
		error_context_stack = &dependents;
	eda_next_process_utility(pstmt, query_string, read_only_tree, context,
							 params, query_env, dest, qc);
	error_context_stack = dependents.previous;
	if (changes)
		EdaAppendEndCommand();

	if (concerned)
		eda_after_utility(stmt);
}

/*
 * Hold what the command needs to have for itself.
 */
static void
eda_before_utility(Node *stmt, bool top_level)
{
	Oid			dbid;

	switch (nodeTag(stmt))
	{
		case T_DropStmt:
			if (eda_drops_extension(stmt))
				eda_hold_extension();
			break;

		case T_AlterExtensionStmt:
			if (strcmp(((AlterExtensionStmt *) stmt)->extname, EDA_EXTENSION_NAME) == 0)
				eda_hold_extension();
			break;

		case T_DropOwnedStmt:
			if (EdaExtensionExists() &&
				list_member_oid(roleSpecsToIds(((DropOwnedStmt *) stmt)->roles),
								EdaExtensionOwner()))
				eda_hold_extension();
			break;

		case T_DropdbStmt:
			PreventInTransactionBlock(top_level, "DROP DATABASE");
			if (eda_owns_database(((DropdbStmt *) stmt)->dbname, &dbid) &&
				dbid != MyDatabaseId)
				eda_hold_database(dbid);
			break;

		case T_RenameStmt:
			{
				RenameStmt *rename = (RenameStmt *) stmt;

				if (rename->renameType == OBJECT_DATABASE &&
					have_createdb_privilege() &&
					eda_owns_database(rename->subname, &dbid) &&
					dbid != MyDatabaseId)
					eda_hold_database(dbid);
				break;
			}

		case T_AlterDatabaseStmt:
			{
				AlterDatabaseStmt *alter = (AlterDatabaseStmt *) stmt;
				ListCell   *lc;

				foreach(lc, alter->options)
				{
					DefElem    *option = (DefElem *) lfirst(lc);

					if (strcmp(option->defname, "tablespace") != 0)
						continue;
					PreventInTransactionBlock(top_level, "ALTER DATABASE SET TABLESPACE");
					if (eda_owns_database(alter->dbname, &dbid) && dbid != MyDatabaseId)
						eda_hold_database(dbid);
				}
				break;
			}

		case T_CreatedbStmt:
			{
				CreatedbStmt *create = (CreatedbStmt *) stmt;

				PreventInTransactionBlock(top_level, "CREATE DATABASE");
				if (have_createdb_privilege() &&
					!OidIsValid(get_database_oid(create->dbname, true)) &&
					eda_may_copy_database(eda_template_of(create), &dbid))
					eda_hold_database(dbid);
				break;
			}

		default:
			break;
	}
}

/*
 * The command has succeeded: note what is to be done when it is committed.
 */
static void
eda_after_utility(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_DropdbStmt:
			{
				ListCell   *lc;

				/* the only one: the command has a transaction of its own */
				foreach(lc, my_holds)
					((EdaHold *) lfirst(lc))->dropped = true;
				break;
			}

		case T_CreatedbStmt:
			CommandCounterIncrement();
			eda_remember_database(&request_databases, ((CreatedbStmt *) stmt)->dbname);
			break;

		case T_AlterDatabaseStmt:
			{
				AlterDatabaseStmt *alter = (AlterDatabaseStmt *) stmt;
				ListCell   *lc;

				foreach(lc, alter->options)
				{
					DefElem    *option = (DefElem *) lfirst(lc);

					if (strcmp(option->defname, "is_template") == 0 ||
						strcmp(option->defname, "allow_connections") == 0)
						eda_remember_database(&restart_databases, alter->dbname);
				}
				break;
			}

		case T_AlterDatabaseSetStmt:
			{
				AlterDatabaseSetStmt *alter = (AlterDatabaseSetStmt *) stmt;

				if (alter->setstmt->kind == VAR_RESET_ALL ||
					(alter->setstmt->name != NULL &&
					 pg_strncasecmp(alter->setstmt->name, "eda.", 4) == 0))
					eda_remember_database(&restart_databases, alter->dbname);
				break;
			}

		case T_TransactionStmt:
			if (((TransactionStmt *) stmt)->kind == TRANS_STMT_COMMIT_PREPARED)
			{
				EdaDatabase *db = EdaMyDatabase(false);

				/* running, or at rest */
				if (db != NULL && db->has_eda)
				{
					pg_atomic_fetch_add_u64(&db->generation, 1);
					EdaWakeDispatcher(db, EDA_WAKE_EVENTS | EDA_WAKE_SUBSCRIPTIONS |
									  EDA_WAKE_RETRIES | EDA_WAKE_RECHECK | EDA_WAKE_DELAYED);
				}
				else if (EdaExtensionExists())
				{
					/* it may have created the extension */
					EdaRequestDispatcher(MyDatabaseId);
				}
			}
			break;

		case T_CreateFunctionStmt:
		case T_AlterFunctionStmt:
		case T_AlterObjectSchemaStmt:
		case T_ReassignOwnedStmt:
		case T_CreateExtensionStmt:
		case T_AlterExtensionStmt:
			recheck_here = true;
			break;

		case T_DropStmt:
			switch (((DropStmt *) stmt)->removeType)
			{
				case OBJECT_FUNCTION:
				case OBJECT_PROCEDURE:
				case OBJECT_ROUTINE:
					recheck_here = true;
					break;
				default:
					break;
			}
			break;

		case T_RenameStmt:
			switch (((RenameStmt *) stmt)->renameType)
			{
				case OBJECT_FUNCTION:
				case OBJECT_PROCEDURE:
				case OBJECT_ROUTINE:
				case OBJECT_SCHEMA:
					recheck_here = true;
					break;
				default:
					break;
			}
			break;

		case T_AlterOwnerStmt:
			if (((AlterOwnerStmt *) stmt)->objectType == OBJECT_DATABASE)
				recheck_everywhere = true;
			else
				recheck_here = true;
			break;

		case T_GrantStmt:
			if (((GrantStmt *) stmt)->objtype == OBJECT_DATABASE)
				recheck_everywhere = true;
			else
				recheck_here = true;
			break;

		case T_GrantRoleStmt:
		case T_CreateRoleStmt:
		case T_AlterRoleStmt:
		case T_DropRoleStmt:
			recheck_everywhere = true;
			break;

		default:
			break;
	}
}

/*
 * Keep workers out of a database to the end of this transaction, and wait
 * until those that are there are gone.
 */
static void
eda_hold_database(Oid dbid)
{
	MemoryContext oldcontext;
	EdaHold    *hold = NULL;
	ListCell   *lc;

	foreach(lc, my_holds)
	{
		if (((EdaHold *) lfirst(lc))->dbid == dbid)
			hold = (EdaHold *) lfirst(lc);
	}

	if (hold == NULL)
	{
		EdaDatabase *db;

		oldcontext = MemoryContextSwitchTo(TopTransactionContext);
		hold = palloc0(sizeof(EdaHold));
		hold->dbid = dbid;
		my_holds = lappend(my_holds, hold);
		MemoryContextSwitchTo(oldcontext);

		LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
		db = EdaFindDatabase(dbid, true);
		if (db != NULL)
		{
			db->holds++;
			hold->taken = true;
		}
		LWLockRelease(EdaShared->lock);
	}

	(void) EdaDrainWorkers(dbid);
}

/*
 * The same for this database and a command on the extension.
 */
static void
eda_hold_extension(void)
{
	Oid			extid = get_extension_oid(EDA_EXTENSION_NAME, true);

	if (OidIsValid(extid) && eda_extension_ownercheck(extid, GetUserId()))
		eda_hold_database(MyDatabaseId);
}

/*
 * End of the transaction.  Workers that were told to end left the database
 * WANTED, so it is enough to have the launcher look.
 */
static void
eda_release_holds(bool committed)
{
	Latch	   *latch;
	ListCell   *lc;

	LWLockAcquire(EdaShared->lock, LW_EXCLUSIVE);
	foreach(lc, my_holds)
	{
		EdaHold    *hold = (EdaHold *) lfirst(lc);
		EdaDatabase *db;

		if (!hold->taken)
			continue;
		db = EdaFindDatabase(hold->dbid, false);
		if (db == NULL)
			continue;

		db->holds--;
		if (db->holds > 0 || db->dispatcher_pid != 0)
			continue;
		if (committed && hold->dropped)
			EdaFreeDatabase(db);
		else if (db->state == EDA_DB_IDLE && !db->used)
			EdaFreeDatabase(db);	/* was made for the hold */
	}
	latch = EdaShared->launcher_latch;
	LWLockRelease(EdaShared->lock);

	my_holds = NIL;
	if (latch != NULL)
		SetLatch(latch);
}

/*
 * Add a database's oid to one of the lists, if there is such a database.
 */
static void
eda_remember_database(List **list, const char *dbname)
{
	Oid			dbid = get_database_oid(dbname, true);
	MemoryContext oldcontext;

	if (!OidIsValid(dbid))
		return;

	oldcontext = MemoryContextSwitchTo(TopTransactionContext);
	*list = list_append_unique_oid(*list, dbid);
	MemoryContextSwitchTo(oldcontext);
}

/*
 * Does this database exist and belong to the current user?
 */
static bool
eda_owns_database(const char *dbname, Oid *dbid)
{
	*dbid = get_database_oid(dbname, true);
	return OidIsValid(*dbid) && eda_database_ownercheck(*dbid, GetUserId());
}

/*
 * Does it exist, and may the current user copy it?
 */
static bool
eda_may_copy_database(const char *dbname, Oid *dbid)
{
	HeapTuple	tup;
	bool		is_template;

	if (eda_owns_database(dbname, dbid))
		return true;
	if (!OidIsValid(*dbid))
		return false;

	tup = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(*dbid));
	if (!HeapTupleIsValid(tup))
		return false;
	is_template = ((Form_pg_database) GETSTRUCT(tup))->datistemplate;
	ReleaseSysCache(tup);

	return is_template;
}

/*
 * Name of the database that CREATE DATABASE copies.
 */
static const char *
eda_template_of(const CreatedbStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->options)
	{
		DefElem    *option = (DefElem *) lfirst(lc);

		if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return "template1";
}

/*
 * Have a dispatcher look at its blocked subscriptions, if it has any.
 */
static void
eda_recheck(EdaDatabase *db)
{
	if (db != NULL && pg_atomic_read_u32(&db->nblocked) > 0)
		EdaWakeDispatcher(db, EDA_WAKE_RECHECK);
}

/*
 * PREPARE TRANSACTION: only what was held is let go.
 */
static void
eda_hooks_xact_callback(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PREPARE)
		return;

	restart_databases = NIL;
	request_databases = NIL;
	recheck_here = false;
	recheck_everywhere = false;
}

/*
 * Do what the transaction's commands left to do, at its end.  Raises nothing,
 * touches no catalogue.
 *
 * After the locks, because the invalidation messages go out before those are
 * released but after the transaction callbacks have run: a dispatcher woken by
 * one of these would look at what its caches still have.
 */
static void
eda_hooks_release_callback(ResourceReleasePhase phase, bool is_commit,
						   bool is_top_level, void *arg)
{
	ListCell   *lc;

	/* savepoints and portals have resource owners, too */
	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level)
		return;

	if (my_holds != NIL)
		eda_release_holds(is_commit);

	if (is_commit)
	{
		foreach(lc, restart_databases)
		{
			/* asked for first: so it is not taken for a failure */
			EdaRequestDispatcher(lfirst_oid(lc));
			(void) EdaTerminateWorkers(lfirst_oid(lc));
		}
		foreach(lc, request_databases)
			EdaRequestDispatcher(lfirst_oid(lc));

		if (recheck_everywhere)
		{
			for (int i = 0; i < EdaShared->nknown; i++)
				eda_recheck(&EdaShared->databases[i]);
		}
		else if (recheck_here)
			eda_recheck(EdaMyDatabase(false));
	}

	restart_databases = NIL;
	request_databases = NIL;
	recheck_here = false;
	recheck_everywhere = false;
}

PG_FUNCTION_INFO_V1(eda_announce);

/*
 * eda._announce(): the install script's last word, so that the launcher
 * hears of the extension when it is committed.
 */
Datum
eda_announce(PG_FUNCTION_ARGS)
{
	EdaAnnounceAtCommit();
	if (EdaDatabaseHasNoSlot())
		ereport(WARNING,
				(errcode(ERRCODE_EDA_NO_DATABASE_SLOT),
				 errmsg("nothing will be delivered in database \"%s\": every database slot of eda is taken",
						get_database_name(MyDatabaseId)),
				 EdaSlotHint()));
	PG_RETURN_VOID();
}
