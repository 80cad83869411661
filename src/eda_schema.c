/*-------------------------------------------------------------------------
 *
 * eda_schema.c
 *	  JSON Schema in SQL: eda.validate, is_valid, check_schema, and the
 *	  schemas that are registered for $ref.
 *
 *	1. eda.is_valid resolves nothing by what is registered, so that it is
 *	   immutable; the others do.  A call keeps what it compiled for the next
 *	   one of the same expression, pinned in the cache.
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
 *	  src/eda_schema.c
 *
 *-------------------------------------------------------------------------
 */
#include "eda.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/resowner.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "eda_catalog.h"
#include "eda_contract.h"
#include "eda_definition.h"
#include "eda_schemacache.h"
#include "eda_security.h"

PG_FUNCTION_INFO_V1(eda_validate);
PG_FUNCTION_INFO_V1(eda_is_valid);
PG_FUNCTION_INFO_V1(eda_check_schema);
PG_FUNCTION_INFO_V1(eda_define_schema);
PG_FUNCTION_INFO_V1(eda_drop_schema);

#define MAX_URI_LEN		2000

/* What an expression keeps from call to call; its context unpins. */
typedef struct CallState
{
	EdaSchema  *schema;			/* NULL: none */
	MemoryContextCallback callback;
} CallState;

static void
release_state(void *arg)
{
	CallState  *state = (CallState *) arg;

	if (state->schema != NULL)
		EdaSchemaUnpin(state->schema);
}

static JsonSchemaFormats
formats_arg(FunctionCallInfo fcinfo, int argno)
{
	if (PG_ARGISNULL(argno))
		return JSONSCHEMA_FORMATS_DEFAULT;
	return PG_GETARG_BOOL(argno) ? JSONSCHEMA_FORMATS_ALWAYS : JSONSCHEMA_FORMATS_NEVER;
}

static void
null_argument(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("argument \"%s\" must not be NULL", name)));
}

static EdaSchema *
schema_of_call(FunctionCallInfo fcinfo, const Jsonb *schema, JsonSchemaFormats formats,
			   bool registered)
{
	CallState  *state = (CallState *) fcinfo->flinfo->fn_extra;
	EdaSchema  *found;

	if (state != NULL && state->schema != NULL &&
		EdaSchemaIs(state->schema, schema, formats, registered))
		return state->schema;

	found = EdaSchemaLookup(schema, formats, registered);
	if (state == NULL)
	{
		state = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(CallState));
		state->callback.func = release_state;
		state->callback.arg = state;
		MemoryContextRegisterResetCallback(fcinfo->flinfo->fn_mcxt, &state->callback);
		fcinfo->flinfo->fn_extra = state;
	}
	else if (state->schema != NULL)
		EdaSchemaUnpin(state->schema);
	EdaSchemaPin(found);
	state->schema = found;
	return found;
}

/*
 * eda.is_valid(schema jsonb, instance jsonb, formats boolean) RETURNS boolean
 */
Datum
eda_is_valid(PG_FUNCTION_ARGS)
{
	Jsonb	   *schema;
	Jsonb	   *instance;
	bool		valid;

	if (PG_ARGISNULL(0))
		null_argument("schema");
	/* a CHECK lets NULL pass */
	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	schema = PG_GETARG_JSONB_P(0);
	instance = PG_GETARG_JSONB_P(1);
	valid = EdaSchemaIsValid(schema_of_call(fcinfo, schema, formats_arg(fcinfo, 2), false), instance);
	PG_FREE_IF_COPY(schema, 0);
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

	if (PG_ARGISNULL(0))
		null_argument("schema");
	if (PG_ARGISNULL(1))
		null_argument("instance");
	InitMaterializedSRF(fcinfo, 0);
	schema = schema_of_call(fcinfo, PG_GETARG_JSONB_P(0), formats_arg(fcinfo, 2), true);
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
	if (PG_ARGISNULL(0))
		null_argument("schema");
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

/* Owner of a registered schema, InvalidOid if there is none; an error if the caller may not change it. */
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
			if (edata->sqlerrcode != JSONSCHEMA_ERRCODE_INVALID &&
				edata->sqlerrcode != JSONSCHEMA_ERRCODE_UNRESOLVED)
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
	if (PG_ARGISNULL(1))
		null_argument("schema");
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
