/*-------------------------------------------------------------------------
 *
 * deliver/invoke.c
 *	  Calling a subscriber's code, and what that code can say about its event.
 *
 *	1. The handler is called directly through a cached FmgrInfo, not through
 *	   a SQL statement.  Each call has a snapshot of its own, as a statement at
 *	   READ COMMITTED has, and is followed by a CommandCounterIncrement.  In a batch
 *	   that has written nothing so far the batch's own will do: what fails because it
 *	   is old is called again.  (PL/pgSQL takes one for each statement, but not for a cast
 *	   or the check of a domain.)  What the handler has deferred runs before the call is over.
 *	2. A filter is a jsonpath over the payload.  A predicate passes when it is
 *	   true, a path when it finds something; unknown does not pass.
 *	3. eda.reject(), eda.retry_after() and eda.snooze() are errors with
 *	   codes of eda's own.  A delay does not fit into an error, so it is kept
 *	   beside it: a code raised by anything but these functions has none and
 *	   is an ordinary failure.  A delay is EDA_LEAST_DELAY_MS at least: an event that is
 *	   put off for 0 would be called for again and again, and keep a core busy.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/invoke.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/jsonpath.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/args.h"
#include "contract/contract.h"
#include "deliver/failure.h"
#include "deliver/invoke.h"
#include "deliver/session.h"
#include "subscription/subscription.h"

static int	verdict_code = 0;
static int64 verdict_delay_ms = 0;

PG_FUNCTION_INFO_V1(eda_reject);
PG_FUNCTION_INFO_V1(eda_retry_after);
PG_FUNCTION_INFO_V1(eda_snooze);

void
EdaInvokerInit(EdaInvoker *invoker, EdaHandlerKind kind, Oid handler,
			   MemoryContext mcxt)
{
	invoker->kind = kind;
	invoker->in_batch = false;
	invoker->ends_event = false;
	fmgr_info_cxt(handler, &invoker->flinfo, mcxt);
}

static void
call_handler(EdaInvoker *invoker, const EdaEvent *current, int nargs,
			 Datum arg0, Datum arg1)
{
	bool		is_current = invoker->in_batch &&
		GetActiveSnapshot()->curcid == GetCurrentCommandId(false);

	LOCAL_FCINFO(fcinfo, 2);

	InitFunctionCallInfoData(*fcinfo, &invoker->flinfo, nargs, DEFAULT_COLLATION_OID, NULL, NULL);
	fcinfo->args[0].value = arg0;
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = arg1;
	fcinfo->args[1].isnull = false;

	verdict_code = 0;
	EdaSetCurrentEvent(current);
	if (!is_current)
		PushActiveSnapshot(GetTransactionSnapshot());
	(void) FunctionCallInvoke(fcinfo);
	if (!is_current)
		PopActiveSnapshot();
	CommandCounterIncrement();
	if (invoker->ends_event)
		EdaSessionEventEnd();
	EdaSetCurrentEvent(NULL);
}

void
EdaInvoke(EdaInvoker *invoker, const EdaEvent *ev)
{
	switch (invoker->kind)
	{
		case EDA_HANDLER_EVENT:
			call_handler(invoker, ev, 1, EdaEventToDatum(ev), (Datum) 0);
			break;
		case EDA_HANDLER_JSONB:
			call_handler(invoker, ev, 1, PointerGetDatum(ev->payload), (Datum) 0);
			break;
		case EDA_HANDLER_TOPIC_JSONB:
			call_handler(invoker, ev, 2, PointerGetDatum(ev->topic),
						 PointerGetDatum(ev->payload));
			break;
		case EDA_HANDLER_EVENTS:
			{
				Datum		value = EdaEventToDatum(ev);

				EdaInvokeSet(invoker, ev, &value, 1);
				break;
			}
	}
}

void
EdaInvokeSet(EdaInvoker *invoker, const EdaEvent *current, const Datum *values, int n)
{
	Assert(invoker->kind == EDA_HANDLER_EVENTS && n > 0);
	call_handler(invoker, current, 1, EdaEventArray(values, n), (Datum) 0);
}

static void
push_variable(JsonbParseState **state, const char *name, JsonbValue *value)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &key);
	pushJsonbValue(state, WJB_VALUE, value);
}

/* The variables of a filter: {"topic": ..., "key": ..., "headers": ...}. */
static Jsonb *
filter_variables(const EdaEvent *ev)
{
	JsonbParseState *state = NULL;
	JsonbValue	value;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);

	value.type = jbvString;
	value.val.string.val = text_to_cstring((text *) ev->topic);
	value.val.string.len = strlen(value.val.string.val);
	push_variable(&state, "topic", &value);

	value.type = jbvNull;
	if (ev->key != NULL)
	{
		value.type = jbvString;
		value.val.string.val = text_to_cstring((text *) ev->key);
		value.val.string.len = strlen(value.val.string.val);
	}
	push_variable(&state, "key", &value);

	value.type = jbvNull;
	if (ev->headers != NULL)
	{
		Jsonb	   *headers = DatumGetJsonbP(PointerGetDatum(ev->headers));

		value.type = jbvBinary;
		value.val.binary.data = &headers->root;
		value.val.binary.len = VARSIZE(headers) - VARHDRSZ;
	}
	push_variable(&state, "headers", &value);

	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Does a whole jsonpath yield a truth value rather than items? */
static bool
is_predicate(JsonPath *path)
{
	JsonPathItem item;

	jspInit(&item, path);
	if (jspHasNext(&item))
		return false;
	switch (item.type)
	{
		case jpiAnd:
		case jpiOr:
		case jpiNot:
		case jpiIsUnknown:
		case jpiEqual:
		case jpiNotEqual:
		case jpiLess:
		case jpiGreater:
		case jpiLessOrEqual:
		case jpiGreaterOrEqual:
		case jpiExists:
		case jpiStartsWith:
		case jpiLikeRegex:
			return true;
		default:
			return false;
	}
}

static bool
filter_passes(const EdaSubscription *sub, const EdaEvent *ev)
{
	FmgrInfo	flinfo;
	Datum		result;

	LOCAL_FCINFO(fcinfo, 4);

	if (sub->filter == NULL)
		return true;

	fmgr_info(is_predicate(sub->filter) ? F_JSONB_PATH_MATCH : F_JSONB_PATH_EXISTS, &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, 4, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = PointerGetDatum(ev->payload);
	fcinfo->args[1].value = PointerGetDatum(sub->filter);
	fcinfo->args[2].value = JsonbPGetDatum(filter_variables(ev));
	fcinfo->args[3].value = BoolGetDatum(false);
	for (int i = 0; i < 4; i++)
		fcinfo->args[i].isnull = false;
	result = FunctionCallInvoke(fcinfo);
	return !fcinfo->isnull && DatumGetBool(result);
}

bool
EdaFilterPasses(const EdaSubscription *sub, const EdaEvent *ev)
{
	List	   *violations;

	if (!filter_passes(sub, ev))
		return false;
	if (sub->schema == NULL)
		return true;
	violations = EdaContractViolations(sub->schema, sub->load, ev->payload);
	if (violations == NIL)
		return true;
	verdict_code = ERRCODE_EDA_SCHEMA_VIOLATION;
	verdict_delay_ms = 0;
	ereport(ERROR,
			(errcode(ERRCODE_EDA_SCHEMA_VIOLATION),
			 errmsg_plural("event breaks the schema of subscription \"%s\" (%d violation)",
						   "event breaks the schema of subscription \"%s\" (%d violations)",
						   list_length(violations), sub->name, list_length(violations)),
			 errdetail_internal("%s", EdaViolationsText(violations))));
}

bool
EdaVerdictDelay(int sqlerrcode, int64 *delay_ms)
{
	bool		found = verdict_code != 0 && verdict_code == sqlerrcode;

	*delay_ms = found ? verdict_delay_ms : 0;
	return found;
}

static void
check_in_handler(const char *function)
{
	if (EdaCurrentEvent() == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EDA_NOT_IN_HANDLER),
				 errmsg("%s can only be called while a handler runs", function)));
}

/* An interval argument, in milliseconds, from a function's first argument; a moment at least. */
static int64
delay_argument(FunctionCallInfo fcinfo)
{
	int64		ms;

	EdaRequireArg(fcinfo, 0, "delay");
	/* until a time that has passed: negative */
	ms = EdaIntervalToMs(PG_GETARG_INTERVAL_P(0));
	return Max(ms, EDA_LEAST_DELAY_MS);
}

/* eda.reject(reason text): the event at hand becomes a dead letter. */
Datum
eda_reject(PG_FUNCTION_ARGS)
{
	check_in_handler("eda.reject()");
	verdict_code = ERRCODE_EDA_REJECTED;
	verdict_delay_ms = 0;
	ereport(ERROR,
			(errcode(ERRCODE_EDA_REJECTED),
			 errmsg("%s", PG_ARGISNULL(0) ? "rejected by its handler" :
					text_to_cstring(PG_GETARG_TEXT_PP(0)))));
	PG_RETURN_VOID();
}

/* eda.retry_after(delay interval): try again then; counts as an attempt. */
Datum
eda_retry_after(PG_FUNCTION_ARGS)
{
	int64		delay_ms = delay_argument(fcinfo);

	check_in_handler("eda.retry_after()");
	verdict_code = ERRCODE_EDA_RETRY_AFTER;
	verdict_delay_ms = delay_ms;
	ereport(ERROR,
			(errcode(ERRCODE_EDA_RETRY_AFTER),
			 errmsg("the handler asked for another attempt after %lld ms",
					(long long) delay_ms)));
	PG_RETURN_VOID();
}

/* eda.snooze(delay interval): not now; no attempt is counted. */
Datum
eda_snooze(PG_FUNCTION_ARGS)
{
	int64		delay_ms = delay_argument(fcinfo);

	check_in_handler("eda.snooze()");
	verdict_code = ERRCODE_EDA_SNOOZED;
	verdict_delay_ms = delay_ms;
	ereport(ERROR,
			(errcode(ERRCODE_EDA_SNOOZED),
			 errmsg("the handler put its event off for %lld ms",
					(long long) delay_ms)));
	PG_RETURN_VOID();
}
