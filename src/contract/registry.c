/*-------------------------------------------------------------------------
 *
 * contract/registry.c
 *	  JSON Schema in SQL: eda.validate, is_valid, check_schema, and the
 *	  schemas that are registered for $ref.
 *
 *	1. eda.is_valid resolves nothing by what is registered, so that it is
 *	   immutable; the others do.  A call keeps what it compiled for the next
 *	   one of the same expression, pinned in the cache, and what the schema was
 *	   given as: a constant and a parameter of the portal's query are known by
 *	   where they are, a stored value by its TOAST pointer, and what is small by
 *	   its bytes.  So the cost of a call does not grow with the schema.  Only
 *	   what is large and is none of these (a variable of PL/pgSQL may be another
 *	   value at the same place) is compared as a whole.
 *	2. A registered schema must be a valid one by itself, and what it refers to
 *	   inside itself must be there; what it refers to outside may come later,
 *	   as two may refer to each other.  Who uses it needs all of it.
 *	3. Whoever replaces or drops one compiles all contracts of topics and
 *	   subscriptions that may refer to it: those stay valid.  For that it has
 *	   eda.shared_schema locked in ExclusiveLock; who makes a contract has it in
 *	   RowShareLock, to the end of the transaction.
 *	4. One without $schema is of the draft of whoever refers to it, so it is
 *	   accepted if it is valid in any draft.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/contract/registry.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "storage/lmgr.h"
#include "tcop/pquery.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/resowner.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/portal.h"

#include "base/args.h"
#include "base/catalog.h"
#include "base/security.h"
#include "contract/contract.h"
#include "contract/schema_cache.h"

PG_FUNCTION_INFO_V1(eda_validate);
PG_FUNCTION_INFO_V1(eda_is_valid);
PG_FUNCTION_INFO_V1(eda_check_schema);
PG_FUNCTION_INFO_V1(eda_define_schema);
PG_FUNCTION_INFO_V1(eda_drop_schema);

#define MAX_URI_LEN		2000

#define MAX_REMEMBERED	8		/* schemas of one expression */
#define MAX_KEY			16384	/* bytes of a schema that is known by its bytes */

/* A schema that an expression was called with. */
typedef struct CallSchema
{
	EdaSchema  *schema;
	Datum		place;			/* of a value that stays where it is, and the same; else 0 */
	struct varlena *key;		/* a copy of the argument as it came: small, or a TOAST pointer; NULL: none */
} CallSchema;

/* What an expression keeps from call to call; its context unpins. */
typedef struct CallState
{
	int			n;
	CallSchema	schemas[MAX_REMEMBERED];	/* the last used first */
	TimestampTz transaction;	/* in which the keys were seen: a TOAST pointer says the same in one */
	MemoryContextCallback callback;
} CallState;

static void
release_state(void *arg)
{
	CallState  *state = (CallState *) arg;

	while (state->n > 0)
	{
		CallSchema *last = &state->schemas[--state->n];

		EdaSchemaUnpin(last->schema);
		if (last->key != NULL)
			pfree(last->key);
	}
}

static JsonSchemaFormats
formats_arg(FunctionCallInfo fcinfo, int argno)
{
	if (PG_ARGISNULL(argno))
		return JSONSCHEMA_FORMATS_DEFAULT;
	return PG_GETARG_BOOL(argno) ? JSONSCHEMA_FORMATS_ALWAYS : JSONSCHEMA_FORMATS_NEVER;
}

/*
 * Is the first argument, at one place, always the same value?  A constant is.
 * A parameter is while a portal runs the query that we are in; elsewhere it may be a
 * variable, and its expression may live on when another value is assigned.
 */
static bool
stays_the_same(FunctionCallInfo fcinfo)
{
	Node	   *call = fcinfo->flinfo->fn_expr;
	Node	   *arg;

	if (call == NULL || !IsA(call, FuncExpr) || ((FuncExpr *) call)->args == NIL)
		return false;
	arg = (Node *) linitial(((FuncExpr *) call)->args);
	if (IsA(arg, Const))
		return true;
	return IsA(arg, Param) && ((Param *) arg)->paramkind == PARAM_EXTERN &&
		ActivePortal != NULL && ActivePortal->queryDesc != NULL &&
		ActivePortal->queryDesc->estate != NULL &&
		ActivePortal->queryDesc->estate->es_query_cxt == fcinfo->flinfo->fn_mcxt;
}

/* May a value be known by its bytes as they came? */
static bool
is_key(const struct varlena *value)
{
	if (VARATT_IS_EXTERNAL(value))
		return VARATT_IS_EXTERNAL_ONDISK(value);
	return VARSIZE_ANY(value) <= MAX_KEY;
}

static bool
is_same(const CallSchema *remembered, Datum argument, bool stays, bool keyed)
{
	const struct varlena *value = (const struct varlena *) DatumGetPointer(argument);

	if (stays)
		return remembered->place == argument;
	return keyed && remembered->key != NULL && VARSIZE_ANY(remembered->key) == VARSIZE_ANY(value) &&
		memcmp(remembered->key, value, VARSIZE_ANY(value)) == 0;
}

/* Put what a call found first, in the place of the one that was not used for longest. */
static void
remember(FunctionCallInfo fcinfo, CallState *state, EdaSchema *schema, bool stays, bool keyed)
{
	Datum		argument = PG_GETARG_DATUM(0);
	CallSchema	first = {.schema = schema};

	if (stays)
		first.place = argument;
	else if (keyed)
	{
		Size		size = VARSIZE_ANY(DatumGetPointer(argument));

		first.key = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, size);
		memcpy(first.key, DatumGetPointer(argument), size);
	}
	EdaSchemaPin(schema);
	if (state->n == MAX_REMEMBERED)
	{
		CallSchema *last = &state->schemas[--state->n];

		EdaSchemaUnpin(last->schema);
		if (last->key != NULL)
			pfree(last->key);
	}
	memmove(&state->schemas[1], &state->schemas[0], state->n++ * sizeof(CallSchema));
	state->schemas[0] = first;
}

/* The compiled schema of a call's first argument. */
static EdaSchema *
schema_of_call(FunctionCallInfo fcinfo, JsonSchemaFormats formats, bool registered)
{
	CallState  *state = (CallState *) fcinfo->flinfo->fn_extra;
	bool		stays = stays_the_same(fcinfo);
	bool		keyed = !stays && is_key((struct varlena *) PG_GETARG_POINTER(0));
	Jsonb	   *schema;
	EdaSchema  *found;

	if (state == NULL)
	{
		state = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(CallState));
		state->callback.func = release_state;
		state->callback.arg = state;
		MemoryContextRegisterResetCallback(fcinfo->flinfo->fn_mcxt, &state->callback);
		fcinfo->flinfo->fn_extra = state;
	}
	if (state->transaction != GetCurrentTransactionStartTimestamp())
	{
		release_state(state);
		state->transaction = GetCurrentTransactionStartTimestamp();
	}
	for (int i = 0; i < state->n; i++)
	{
		CallSchema	remembered = state->schemas[i];

		if (!is_same(&remembered, PG_GETARG_DATUM(0), stays, keyed) ||
			!EdaSchemaIsGood(remembered.schema, formats, registered))
			continue;
		memmove(&state->schemas[1], &state->schemas[0], i * sizeof(CallSchema));
		state->schemas[0] = remembered;
		return remembered.schema;
	}
	schema = PG_GETARG_JSONB_P(0);
	if (!stays && !keyed && state->n > 0 &&
		EdaSchemaIs(state->schemas[0].schema, schema, formats, registered))
		found = state->schemas[0].schema;
	else
	{
		found = EdaSchemaLookup(schema, formats, registered);
		remember(fcinfo, state, found, stays, keyed);
	}
	PG_FREE_IF_COPY(schema, 0);
	return found;
}

/*
 * eda.is_valid(schema jsonb, instance jsonb, formats boolean) RETURNS boolean
 */
Datum
eda_is_valid(PG_FUNCTION_ARGS)
{
	Jsonb	   *instance;
	bool		valid;

	EdaRequireArg(fcinfo, 0, "schema");
	/* a CHECK lets NULL pass */
	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	instance = PG_GETARG_JSONB_P(1);
	valid = EdaSchemaIsValid(schema_of_call(fcinfo, formats_arg(fcinfo, 2), false), instance);
	PG_FREE_IF_COPY(instance, 1);
	PG_RETURN_BOOL(valid);
}

/*
 * eda.validate(schema jsonb, instance jsonb, formats boolean) RETURNS TABLE
 *		(instance_path text, schema_path text, keyword text, message text)
 */
Datum
eda_validate(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const EdaSchema *schema;
	Jsonb	   *instance;
	ListCell   *lc;

	EdaRequireArg(fcinfo, 0, "schema");
	EdaRequireArg(fcinfo, 1, "instance");
	InitMaterializedSRF(fcinfo, 0);
	schema = schema_of_call(fcinfo, formats_arg(fcinfo, 2), true);
	instance = PG_GETARG_JSONB_P(1);
	foreach(lc, JsonSchemaValidate(EdaSchemaCompiled(schema), instance, EDA_MAX_VIOLATIONS))
	{
		JsonSchemaViolation *violation = (JsonSchemaViolation *) lfirst(lc);
		Datum		values[4];
		bool		nulls[4] = {0};

		values[0] = CStringGetTextDatum(violation->instance_path);
		values[1] = CStringGetTextDatum(violation->schema_path);
		values[2] = CStringGetTextDatum(violation->keyword);
		values[3] = CStringGetTextDatum(violation->message);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * eda.check_schema(schema jsonb)
 */
Datum
eda_check_schema(PG_FUNCTION_ARGS)
{
	EdaRequireArg(fcinfo, 0, "schema");
	(void) EdaSchemaLookup(PG_GETARG_JSONB_P(0), JSONSCHEMA_FORMATS_DEFAULT, true);
	PG_RETURN_VOID();
}

/* The URI that a schema is registered as. */
static char *
uri_arg(FunctionCallInfo fcinfo)
{
	char	   *uri = EdaTextArg(fcinfo, 0, "uri");
	char	   *normal;

	if (uri[0] == '\0' || strlen(uri) > MAX_URI_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a schema's URI must have 1 to %d bytes", MAX_URI_LEN)));
	normal = JsonSchemaUri(uri);
	if (normal == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no URI of a schema", uri),
				 errdetail("It must be a URI reference without a fragment.")));
	return normal;
}

/* May the caller change what belongs to owner? */
static bool
may_change(Oid owner)
{
	return eda_may_become(GetUserId(), owner) || eda_may_become(GetUserId(), EdaExtensionOwner());
}

/*
 * Owner of a registered schema, InvalidOid if there is none; an error if the caller may not change
 * it.
 */
static Oid
schema_owner(const char *uri)
{
	EdaSecurityContext ctx;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(uri)};
	Oid			owner = InvalidOid;

	EdaSpiBegin(&ctx);
	if (EdaSpiExecute("SELECT owner FROM eda.shared_schema WHERE uri = $1", 1, types, values, NULL,
					  SPI_OK_SELECT) > 0)
	{
		bool		isnull;

		owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
											   &isnull));
	}
	EdaSpiEnd(&ctx);
	if (OidIsValid(owner) && !may_change(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to change schema \"%s\"", uri),
				 errdetail("It belongs to role \"%s\".", GetUserNameFromId(owner, true))));
	return owner;
}

/* What a registered schema must be by itself. */
static void
check_shared(const Jsonb *schema, const char *uri)
{
	static const int drafts[] = {2020, 2019, 7, 6, 4};
	JsonSchemaOptions options = {0};
	ErrorData  *volatile first = NULL;
	MemoryContext before = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	options.errcodes = EdaSchemaErrcodes;
	options.uri = uri;
	options.loader = EdaSchemaLoad;
	options.defer_references = true;
	if (JsonSchemaHasDialect(schema))
	{
		JsonSchemaFree(JsonSchemaCompile(schema, &options, CurrentMemoryContext));
		return;
	}
	for (int i = 0; i < lengthof(drafts); i++)
	{
		bool		good = false;

		options.draft = drafts[i];
		BeginInternalSubTransaction(NULL);
		MemoryContextSwitchTo(before);
		PG_TRY();
		{
			JsonSchemaFree(JsonSchemaCompile(schema, &options, CurrentMemoryContext));
			good = true;
			ReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(before);
			CurrentResourceOwner = owner;
		}
		PG_CATCH();
		{
			ErrorData  *edata;

			MemoryContextSwitchTo(before);
			edata = CopyErrorData();
			FlushErrorState();
			RollbackAndReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(before);
			CurrentResourceOwner = owner;
			if (edata->sqlerrcode != ERRCODE_EDA_INVALID_SCHEMA &&
				edata->sqlerrcode != ERRCODE_EDA_UNRESOLVED_REFERENCE)
				ReThrowError(edata);
			if (first == NULL)
				first = edata;
		}
		PG_END_TRY();
		if (good)
			return;
	}
	ReThrowError(first);
}

static void
prevent(const char *function)
{
	PreventCommandDuringRecovery(function);
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);
}

/*
 * eda.define_schema(uri text, schema jsonb)
 */
Datum
eda_define_schema(PG_FUNCTION_ARGS)
{
	char	   *uri = uri_arg(fcinfo);
	Jsonb	   *schema;
	EdaSecurityContext ctx;
	Oid			types[] = {TEXTOID, JSONBOID, OIDOID};
	Datum		values[3];
	bool		existed;

	prevent("eda.define_schema()");
	EdaRequireArg(fcinfo, 1, "schema");
	schema = PG_GETARG_JSONB_P(1);
	if (JsonSchemaIsShipped(uri))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schema \"%s\" is part of JSON Schema", uri),
				 errdetail("The metaschemas of the drafts are there without being registered.")));
	EdaContractCheckSize(schema);
	LockRelationOid(EdaSharedSchemaRelId(), ExclusiveLock);
	existed = OidIsValid(schema_owner(uri));
	check_shared(schema, uri);

	values[0] = CStringGetTextDatum(uri);
	values[1] = JsonbPGetDatum(schema);
	values[2] = ObjectIdGetDatum(GetUserId());
	EdaSpiBegin(&ctx);
	EdaSpiExecute("INSERT INTO eda.shared_schema (uri, schema, owner) VALUES ($1, $2, $3)"
				  " ON CONFLICT (uri) DO UPDATE SET schema = EXCLUDED.schema,"
				  " defined_at = pg_catalog.clock_timestamp()",
				  3, types, values, NULL, SPI_OK_INSERT);
	EdaSpiEnd(&ctx);
	CacheInvalidateRelcacheByRelid(EdaSharedSchemaRelId());
	CommandCounterIncrement();
	if (existed)
		EdaContractsRecheck(uri);
	PG_RETURN_VOID();
}

/*
 * eda.drop_schema(uri text) RETURNS boolean
 */
Datum
eda_drop_schema(PG_FUNCTION_ARGS)
{
	char	   *uri = uri_arg(fcinfo);
	EdaSecurityContext ctx;
	Oid			types[] = {TEXTOID};
	Datum		values[1];

	prevent("eda.drop_schema()");
	LockRelationOid(EdaSharedSchemaRelId(), ExclusiveLock);
	if (!OidIsValid(schema_owner(uri)))
		PG_RETURN_BOOL(false);
	values[0] = CStringGetTextDatum(uri);
	EdaSpiBegin(&ctx);
	EdaSpiExecute("DELETE FROM eda.shared_schema WHERE uri = $1", 1, types, values, NULL,
				  SPI_OK_DELETE);
	EdaSpiEnd(&ctx);
	CacheInvalidateRelcacheByRelid(EdaSharedSchemaRelId());
	CommandCounterIncrement();
	EdaContractsRecheck(uri);
	PG_RETURN_BOOL(true);
}
