/*-------------------------------------------------------------------------
 *
 * base/args.c
 *	  Arguments of functions that SQL calls: what must not be null.
 *
 *	1. Functions that SQL calls are not STRICT where a null would hide a mistake: an
 *	   argument that is needed is asked for here, and the error names it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/args.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "utils/builtins.h"

#include "base/args.h"

void
EdaNullArgument(const char *argname)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("argument \"%s\" must not be null", argname)));
}

void
EdaRequireArg(FunctionCallInfo fcinfo, int argno, const char *argname)
{
	if (PG_ARGISNULL(argno))
		EdaNullArgument(argname);
}

char *
EdaTextArg(FunctionCallInfo fcinfo, int argno, const char *argname)
{
	EdaRequireArg(fcinfo, argno, argname);
	return text_to_cstring(PG_GETARG_TEXT_PP(argno));
}

char *
EdaOptionalTextArg(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argno));
}
