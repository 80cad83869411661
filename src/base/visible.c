/*-------------------------------------------------------------------------
 *
 * base/visible.c
 *	  What a role sees in eda's views.
 *
 *	1. Everything that a view shows belongs to a role: a subscription, a job, a retry and a dead
 *	   letter to their owner, an event to who published it.  Members of that role see it, payload
 *	   and all.
 *	2. Members of pg_monitor see everything but payloads.  An error's message counts as one
 *	   (base/condition.c): they see SQLSTATE, condition and place instead.
 *	3. Who may read the table of the log itself sees everything: the extension's owner and its
 *	   members, superusers, and members of pg_read_all_data, from whom views would hide nothing.
 *	4. A view's functions run with the rights of who reads it, so these are executable by
 *	   everybody who can name them, and tell nobody more than the views do.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/visible.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "base/catalog.h"
#include "base/condition.h"
#include "base/visible.h"

PG_FUNCTION_INFO_V1(eda_may_see);
PG_FUNCTION_INFO_V1(eda_may_read);
PG_FUNCTION_INFO_V1(eda_reads_all);
PG_FUNCTION_INFO_V1(eda_error_message);
PG_FUNCTION_INFO_V1(eda_error_where);
PG_FUNCTION_INFO_V1(eda_condition_name);

bool
EdaReadsAll(void)
{
	return pg_class_aclcheck(EdaRelationId("log"), GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

bool
EdaMayRead(Oid owner)
{
	return has_privs_of_role(GetUserId(), owner) || EdaReadsAll();
}

bool
EdaMaySee(Oid owner)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) || EdaMayRead(owner);
}

/* eda._may_see(owner oid) RETURNS boolean */
Datum
eda_may_see(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(EdaMaySee(PG_GETARG_OID(0)));
}

/* eda._may_read(owner oid) RETURNS boolean */
Datum
eda_may_read(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(EdaMayRead(PG_GETARG_OID(0)));
}

/* eda._reads_all() RETURNS boolean */
Datum
eda_reads_all(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(EdaReadsAll());
}

static char *
optional_arg(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argno));
}

/*
 * eda._error_message(owner oid, message text, code text, place text) RETURNS text: the message,
 * or what the current user may know of it.
 */
Datum
eda_error_message(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (!PG_ARGISNULL(0) && EdaMayRead(PG_GETARG_OID(0)))
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));
	PG_RETURN_TEXT_P(cstring_to_text(EdaConditionText(optional_arg(fcinfo, 2), optional_arg(fcinfo, 3))));
}

/* eda._error_where(context text) RETURNS text */
Datum
eda_error_where(PG_FUNCTION_ARGS)
{
	char	   *where = EdaErrorWhere(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	if (where == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(where));
}

/* eda._condition_name(code text) RETURNS text */
Datum
eda_condition_name(PG_FUNCTION_ARGS)
{
	const char *name = EdaConditionName(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	if (name == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(name));
}
