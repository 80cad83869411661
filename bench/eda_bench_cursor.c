/*-------------------------------------------------------------------------
 *
 * eda_bench_cursor.c
 *	  How long eda's own update of a cursor takes, and nothing around it.
 *
 *	1. Calls EdaCursorStore() of the eda that the server preloaded.  A module of
 *	   its own, as it cannot be loaded where that library's symbols are hidden,
 *	   which they are from PostgreSQL 16 on.
 *	2. The cursor is loaded once a session and stored once a transaction, as an
 *	   executor does it with each batch; its subscription is to be paused.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/eda.h"
#include "subscription/subscription.h"

#include "fmgr.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(bench_cursor_store);

/*
 * bench_cursor_store(subscription_id int) returns double precision: move the
 * cursor of its first lane by one event; the microseconds that took.
 */
Datum
bench_cursor_store(PG_FUNCTION_ARGS)
{
	static EdaCursor cursor;
	static bool loaded = false;
	instr_time	begin,
				end;
	EdaCursorStored stored;

	if (!loaded)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(TopMemoryContext);

		loaded = EdaCursorLoad(&cursor, PG_GETARG_INT32(0), 0);
		MemoryContextSwitchTo(oldcontext);
	}
	cursor.handled++;
	INSTR_TIME_SET_CURRENT(begin);
	stored = EdaCursorStore(&cursor);
	INSTR_TIME_SET_CURRENT(end);
	if (!loaded || stored != EDA_CURSOR_STORED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the cursor is not there, or somebody else moves it")));
	INSTR_TIME_SUBTRACT(end, begin);
	PG_RETURN_FLOAT8(INSTR_TIME_GET_DOUBLE(end) * 1e6);
}
