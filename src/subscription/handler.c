/*-------------------------------------------------------------------------
 *
 * subscription/handler.c
 *	  A subscription's function: found by name, checked, made callable.
 *
 *	1. A handler is remembered as schema, name, argument types and the
 *	   function's owner; its oid is a hint.  So a function that was dropped
 *	   and created again is found again, a dump carries it, and pg_upgrade
 *	   sees no reg* column.
 *	2. What stands under the name must still belong to the same role as when
 *	   it was subscribed: nobody else can put their function in its place.
 *	3. Rights are asked for the role that will run it, the subscription's
 *	   owner, not for whoever asks; LOGIN and CONNECT are among them, as the handler runs in a
 *	   session of that role.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/subscription/handler.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "base/catalog.h"
#include "subscription/handler.h"
#include "subscription/subscription.h"

/* All four, for hints. */
#define ACCEPTED_SIGNATURES \
	"A handler is a function of one of the signatures (eda.event), (jsonb), (text, jsonb), (eda.event[])."

/* Input argument types of a kind; returns their number. */
static int
handler_arg_types(EdaHandlerKind kind, Oid types[2])
{
	switch (kind)
	{
		case EDA_HANDLER_EVENT:
			types[0] = EdaEventTypeId();
			return 1;
		case EDA_HANDLER_JSONB:
			types[0] = JSONBOID;
			return 1;
		case EDA_HANDLER_TOPIC_JSONB:
			types[0] = TEXTOID;
			types[1] = JSONBOID;
			return 2;
		case EDA_HANDLER_EVENTS:
			types[0] = EdaEventArrayTypeId();
			return 1;
	}
	return 0;
}

/* The kind that these argument types make; false: none. */
static bool
handler_kind_of(const Oid *types, int ntypes, EdaHandlerKind *kind)
{
	static const EdaHandlerKind kinds[] = {
		EDA_HANDLER_EVENT, EDA_HANDLER_JSONB,
		EDA_HANDLER_TOPIC_JSONB, EDA_HANDLER_EVENTS
	};

	for (int i = 0; i < lengthof(kinds); i++)
	{
		Oid			want[2];
		int			n = handler_arg_types(kinds[i], want);

		if (n == ntypes && memcmp(want, types, n * sizeof(Oid)) == 0)
		{
			*kind = kinds[i];
			return true;
		}
	}
	return false;
}

char *
EdaHandlerSignature(const char *schema, const char *name, EdaHandlerKind kind)
{
	const char *args = "";

	switch (kind)
	{
		case EDA_HANDLER_EVENT:
			args = "eda.event";
			break;
		case EDA_HANDLER_JSONB:
			args = "jsonb";
			break;
		case EDA_HANDLER_TOPIC_JSONB:
			args = "text, jsonb";
			break;
		case EDA_HANDLER_EVENTS:
			args = "eda.event[]";
			break;
	}
	return psprintf("%s(%s)", quote_qualified_identifier(schema, name), args);
}

/* What a pg_proc row is that can be no handler ("a procedure"); NULL: it can. */
static const char *
unfit_as_handler(Form_pg_proc proc)
{
	switch (proc->prokind)
	{
		case PROKIND_PROCEDURE:
			return "a procedure";
		case PROKIND_AGGREGATE:
			return "an aggregate function";
		case PROKIND_WINDOW:
			return "a window function";
		default:
			break;
	}
	return proc->proretset ? "a set-returning function" : NULL;
}

/*
 * Resolving
 */

static int
compare_strings(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* "f(int), f(text)", for messages. */
static char *
candidate_names(FuncCandidateList candidates, bool fitting)
{
	List	   *names = NIL;
	StringInfoData buf;
	ListCell   *lc;

	for (FuncCandidateList c = candidates; c != NULL; c = c->next)
	{
		EdaHandlerKind kind;

		if (handler_kind_of(c->args, c->nargs, &kind) == fitting)
			names = lappend(names, format_procedure(c->oid));
	}
	list_sort(names, compare_strings);

	initStringInfo(&buf);
	foreach(lc, names)
		appendStringInfo(&buf, "%s%s", buf.len > 0 ? ", " : "",
						 (char *) lfirst(lc));
	return buf.data;
}

/*
 * The one function of that name in the search path (or the schema named)
 * that has one of the four signatures.
 */
static Oid
resolve_by_name(const char *handler)
{
	List	   *names = eda_qualified_name_list(handler);
	FuncCandidateList candidates;
	Oid			found = InvalidOid;
	int			nfound = 0;

	candidates = FuncnameGetCandidates(names, -1, NIL, false, false, false, true);
	for (FuncCandidateList c = candidates; c != NULL; c = c->next)
	{
		EdaHandlerKind kind;

		if (handler_kind_of(c->args, c->nargs, &kind))
		{
			found = c->oid;
			nfound++;
		}
	}

	if (nfound > 1)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_FUNCTION),
				 errmsg("handler \"%s\" is not unique", handler),
				 errdetail("There is %s.", candidate_names(candidates, true)),
				 errhint("Name the handler with its argument types.")));
	if (nfound == 0 && candidates != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EDA_INVALID_HANDLER),
				 errmsg("no function \"%s\" has the signature of a handler", handler),
				 errdetail("There is %s.", candidate_names(candidates, false)),
				 errhint(ACCEPTED_SIGNATURES)));
	if (nfound == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("handler \"%s\" does not exist", handler),
				 list_length(names) > 1 ? 0 :
				 errdetail("There is no function of that name in the search path."),
				 errhint("Create the function first, or name it with its schema.")));
	return found;
}

/* ERROR unless role may use the schema and execute the function. */
static void
check_role_may_execute(Oid funcoid, Oid nspoid, const EdaHandlerRef *ref, Oid role)
{
	char	   *rolename = GetUserNameFromId(role, false);

	if (eda_namespace_aclcheck(nspoid, role, ACL_USAGE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not use schema \"%s\" of handler %s",
						rolename, ref->schema,
						EdaHandlerSignature(ref->schema, ref->name, ref->kind)),
				 errhint("Run GRANT USAGE ON SCHEMA %s TO %s.",
						 quote_identifier(ref->schema),
						 quote_identifier(rolename))));
	if (eda_proc_aclcheck(funcoid, role, ACL_EXECUTE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not execute handler %s", rolename,
						EdaHandlerSignature(ref->schema, ref->name, ref->kind)),
				 errhint("Run GRANT EXECUTE ON FUNCTION %s TO %s.",
						 EdaHandlerSignature(ref->schema, ref->name, ref->kind),
						 quote_identifier(rolename))));
}

void
EdaHandlerResolve(const char *handler, Oid role, EdaHandlerRef *ref)
{
	Oid			funcoid;
	HeapTuple	tup;
	Form_pg_proc proc;
	const char *unfit;

	/* A signature is read as a regprocedure is. */
	if (strchr(handler, '(') != NULL)
		funcoid = DatumGetObjectId(DirectFunctionCall1(regprocedurein,
													   CStringGetDatum(handler)));
	else
		funcoid = resolve_by_name(handler);

	tup = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcoid));
	if (!HeapTupleIsValid(tup))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("handler \"%s\" does not exist", handler)));
	proc = (Form_pg_proc) GETSTRUCT(tup);

	if (!handler_kind_of(proc->proargtypes.values, proc->pronargs, &ref->kind))
		ereport(ERROR,
				(errcode(ERRCODE_EDA_INVALID_HANDLER),
				 errmsg("function %s does not have the signature of a handler",
						format_procedure(funcoid)),
				 errhint(ACCEPTED_SIGNATURES)));
	unfit = unfit_as_handler(proc);
	if (unfit != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EDA_INVALID_HANDLER),
				 errmsg("handler %s is %s", format_procedure(funcoid), unfit),
				 errhint(ACCEPTED_SIGNATURES)));
	if (isAnyTempNamespace(proc->pronamespace))
		ereport(ERROR,
				(errcode(ERRCODE_EDA_INVALID_HANDLER),
				 errmsg("handler %s is in a temporary schema",
						format_procedure(funcoid)),
				 errdetail("Handlers run in other sessions than this one.")));

	ref->oid = funcoid;
	ref->schema = get_namespace_name(proc->pronamespace);
	ref->name = pstrdup(NameStr(proc->proname));
	ref->owner = proc->proowner;
	check_role_may_execute(funcoid, proc->pronamespace, ref, role);

	ReleaseSysCache(tup);
}

/*
 * Checking again
 */

static const char *const block_names[] = {
	[EDA_BLOCK_NONE] = "unknown",
	[EDA_BLOCK_HANDLER] = "handler",
	[EDA_BLOCK_PRIVILEGE] = "privilege",
	[EDA_BLOCK_LOGIN] = "login",
	[EDA_BLOCK_FAILING] = "failing",
	[EDA_BLOCK_CRASHING] = "crashing",
	[EDA_BLOCK_COPIED] = "copied",
	[EDA_BLOCK_UNKNOWN] = "unknown"
};

const char *
EdaBlockName(EdaBlock block)
{
	return block_names[block];
}

EdaBlock
EdaBlockOf(const char *name)
{
	if (name == NULL)
		return EDA_BLOCK_NONE;
	for (EdaBlock block = EDA_BLOCK_HANDLER; block < EDA_BLOCK_UNKNOWN; block++)
	{
		if (strcmp(name, block_names[block]) == 0)
			return block;
	}
	return EDA_BLOCK_UNKNOWN;
}

/* Is this row the function that the subscription remembers, whoever owns it? */
static bool
is_remembered_function(Form_pg_proc proc, const EdaSubscription *sub,
					   Oid nspoid, const Oid *types, int ntypes)
{
	return proc->pronamespace == nspoid &&
		strcmp(NameStr(proc->proname), sub->handler_name) == 0 &&
		proc->pronargs == ntypes &&
		memcmp(proc->proargtypes.values, types, ntypes * sizeof(Oid)) == 0;
}

Oid
EdaHandlerCheck(const EdaSubscription *sub, EdaBlock *block, char **detail)
{
	char	   *signature;
	Oid			types[2];
	int			ntypes;
	Oid			nspoid;
	HeapTuple	tup;
	Form_pg_proc proc;
	Oid			funcoid;
	Oid			funcowner;
	const char *unfit;

	*block = EDA_BLOCK_HANDLER;
	if (sub->handler_name == NULL)
	{
		*detail = pstrdup("there is no handler");
		return InvalidOid;
	}
	if (!EdaOwnerCanConnect(sub->owner, detail))
	{
		*block = EDA_BLOCK_LOGIN;
		return InvalidOid;
	}
	signature = EdaHandlerSignature(sub->handler_schema, sub->handler_name,
									sub->handler_kind);
	nspoid = get_namespace_oid(sub->handler_schema, true);
	if (!OidIsValid(nspoid))
	{
		*detail = psprintf("function %s does not exist", signature);
		return InvalidOid;
	}
	ntypes = handler_arg_types(sub->handler_kind, types);

	tup = SearchSysCache1(PROCOID, ObjectIdGetDatum(sub->handler_oid));
	if (HeapTupleIsValid(tup) &&
		!is_remembered_function((Form_pg_proc) GETSTRUCT(tup), sub, nspoid,
								types, ntypes))
	{
		ReleaseSysCache(tup);
		tup = NULL;
	}
	if (!HeapTupleIsValid(tup))
		tup = SearchSysCache3(PROCNAMEARGSNSP,
							  CStringGetDatum(sub->handler_name),
							  PointerGetDatum(buildoidvector(types, ntypes)),
							  ObjectIdGetDatum(nspoid));
	if (!HeapTupleIsValid(tup))
	{
		*detail = psprintf("function %s does not exist", signature);
		return InvalidOid;
	}
	proc = (Form_pg_proc) GETSTRUCT(tup);
	funcoid = proc->oid;
	funcowner = proc->proowner;
	unfit = unfit_as_handler(proc);
	ReleaseSysCache(tup);

	if (unfit != NULL)
	{
		*detail = psprintf("%s is %s now", signature, unfit);
		return InvalidOid;
	}
	if (funcowner != sub->handler_owner)
	{
		char	   *name = GetUserNameFromId(funcowner, true);

		*detail = psprintf("function %s belongs to another role now, \"%s\": subscribe again to accept it",
						   signature, name ? name : "?");
		return InvalidOid;
	}

	*block = EDA_BLOCK_PRIVILEGE;
	if (eda_namespace_aclcheck(nspoid, sub->owner, ACL_USAGE) != ACLCHECK_OK)
	{
		*detail = psprintf("the owner may not use schema \"%s\"",
						   sub->handler_schema);
		return InvalidOid;
	}
	if (eda_proc_aclcheck(funcoid, sub->owner, ACL_EXECUTE) != ACLCHECK_OK)
	{
		*detail = psprintf("the owner may not execute function %s", signature);
		return InvalidOid;
	}

	*block = EDA_BLOCK_NONE;
	*detail = NULL;
	return funcoid;
}

bool
EdaOwnerCanConnect(Oid roleid, char **detail)
{
	HeapTuple	tup = SearchSysCache1(AUTHOID, ObjectIdGetDatum(roleid));
	char	   *rolename;
	bool		canlogin;

	if (!HeapTupleIsValid(tup))
	{
		*detail = psprintf("The role with oid %u does not exist: subscribe again with another owner.",
						   roleid);
		return false;
	}
	rolename = pstrdup(NameStr(((Form_pg_authid) GETSTRUCT(tup))->rolname));
	canlogin = ((Form_pg_authid) GETSTRUCT(tup))->rolcanlogin;
	ReleaseSysCache(tup);

	if (!canlogin)
	{
		*detail = psprintf("Role \"%s\" may not log in: run ALTER ROLE %s LOGIN.",
						   rolename, quote_identifier(rolename));
		return false;
	}
	if (eda_database_aclcheck(MyDatabaseId, roleid, ACL_CONNECT) != ACLCHECK_OK)
	{
		char	   *dbname = get_database_name(MyDatabaseId);

		*detail = psprintf("Role \"%s\" may not connect to database \"%s\": run GRANT CONNECT ON DATABASE %s TO %s.",
						   rolename, dbname, quote_identifier(dbname),
						   quote_identifier(rolename));
		return false;
	}
	*detail = NULL;
	return true;
}
