/*-------------------------------------------------------------------------
 *
 * base/args.h
 *	  Arguments of functions that SQL calls: what must not be null.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/args.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_ARGS_H
#define EDA_ARGS_H

#include "fmgr.h"

/* ERROR null_value_not_allowed: the argument of that name must not be null. */
pg_noreturn extern void EdaNullArgument(const char *argname);

/* The same where the argument is NULL. */
extern void EdaRequireArg(FunctionCallInfo fcinfo, int argno, const char *argname);

/* The text argument as a C string; the same error where it is NULL. */
extern char *EdaTextArg(FunctionCallInfo fcinfo, int argno, const char *argname);

/* The text argument as a C string, or NULL. */
extern char *EdaOptionalTextArg(FunctionCallInfo fcinfo, int argno);

#endif							/* EDA_ARGS_H */
