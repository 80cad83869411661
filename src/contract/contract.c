/*-------------------------------------------------------------------------
 *
 * contract/contract.c
 *	  eda.define_topic and eda.drop_topic, and the check of what is published.
 *
 *	1. A backend has the names of the topics with a schema in a hash table,
 *	   filled when it first publishes.  A schema is read and compiled when it
 *	   is first needed.  Without any such topic a publish costs two
 *	   comparisons.
 *	2. A change of eda.topic sends a relcache invalidation of it; one of
 *	   eda.shared_schema counts too.  Invalidations are accepted with each
 *	   check, and what they concern is read as the last commit left it: so a
 *	   publish that begins after define_topic has committed sees it, even in a
 *	   transaction that is older, and each publish sees one version.
 *	3. Nobody is locked out: publishers that were at work while the definition
 *	   changed may still commit what the old one allowed.
 *	4. Of two that define one topic, the second waits for the first at the
 *	   row's unique index.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/contract/contract.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/args.h"
#include "base/catalog.h"
#include "base/security.h"
#include "contract/contract.h"
#include "event/event.h"

PG_FUNCTION_INFO_V1(eda_define_topic);
PG_FUNCTION_INFO_V1(eda_drop_topic);

#define MAX_DESCRIPTION	10000
#define MAX_SENSITIVE	100

/*
 * As jsonb, in bytes: each process that needs the schema keeps it, and its compiled form, which is
 * larger.
 */
#define MAX_SCHEMA_LEN	(4 * 1024 * 1024)

struct EdaContract
{
	char		topic[EDA_MAX_TOPIC_LEN + 1];	/* key */
	EdaSchema  *schema;			/* pinned; NULL: not looked up yet */
	int			nsensitive;
	char	  **sensitive;		/* names of fields whose values are not shown */
};

static MemoryContext contract_context = NULL;
static HTAB *contracts = NULL;	/* NULL: to be read */

/* The table whose invalidations count; unset until it was read once. */
static Oid	watched_relid = InvalidOid;
static bool contracts_valid = false;
static uint64 contracts_epoch = 0;	/* of registered schemas */

void
EdaContractInvalidate(Oid relid)
{
	if (relid == InvalidOid || watched_relid == InvalidOid || relid == watched_relid)
		contracts_valid = false;
}

static void
forget_topics(void)
{
	HASH_SEQ_STATUS status;
	EdaContract *contract;

	if (contracts != NULL)
	{
		hash_seq_init(&status, contracts);
		while ((contract = hash_seq_search(&status)) != NULL)
		{
			if (contract->schema != NULL)
				EdaSchemaUnpin(contract->schema);
		}
	}
	contracts = NULL;
	MemoryContextReset(contract_context);
}

static void
read_topics(void)
{
	HASHCTL		ctl = {0};
	EdaSecurityContext ctx;
	HTAB	   *table;
	uint64		n;

	if (contract_context == NULL)
		contract_context = AllocSetContextCreate(TopMemoryContext, "eda contracts",
												 ALLOCSET_SMALL_SIZES);
	forget_topics();
	watched_relid = EdaTopicRelId();
	EdaSchemaWatch();
	contracts_valid = true;
	contracts_epoch = EdaSchemaEpoch();

	EdaSpiBegin(&ctx);
	n = EdaSpiQuery("SELECT topic, sensitive FROM eda.topic WHERE schema IS NOT NULL", 0, NULL, NULL,
					NULL, GetLatestSnapshot());
	ctl.keysize = EDA_MAX_TOPIC_LEN + 1;
	ctl.entrysize = sizeof(EdaContract);
	ctl.hcxt = contract_context;
	table = hash_create("eda contracts", Max((long) n, 16), &ctl,
						HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	for (uint64 i = 0; i < n; i++)
	{
		char	   *topic = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		EdaContract *contract;
		Datum		sensitive;
		bool		isnull;

		contract = hash_search(table, topic, HASH_ENTER, NULL);
		contract->schema = NULL;
		contract->nsensitive = 0;
		sensitive = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull);
		if (!isnull)
		{
			Datum	   *elems;
			MemoryContext before;

			deconstruct_array(DatumGetArrayTypeP(sensitive), TEXTOID, -1, false, TYPALIGN_INT,
							  &elems, NULL, &contract->nsensitive);
			before = MemoryContextSwitchTo(contract_context);
			contract->sensitive = palloc(contract->nsensitive * sizeof(char *));
			for (int j = 0; j < contract->nsensitive; j++)
				contract->sensitive[j] = TextDatumGetCString(elems[j]);
			MemoryContextSwitchTo(before);
		}
	}
	EdaSpiEnd(&ctx);
	contracts = table;
}

static Jsonb *
read_schema(const char *topic)
{
	MemoryContext caller = CurrentMemoryContext;
	EdaSecurityContext ctx;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(topic)};
	Jsonb	   *result = NULL;

	EdaSpiBegin(&ctx);
	if (EdaSpiQuery("SELECT schema FROM eda.topic WHERE topic = $1 AND schema IS NOT NULL", 1, types,
					values, NULL, GetLatestSnapshot()) > 0)
	{
		bool		isnull;
		Datum		datum = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContext before = MemoryContextSwitchTo(caller);

		result = DatumGetJsonbPCopy(datum);
		MemoryContextSwitchTo(before);
	}
	EdaSpiEnd(&ctx);
	return result;
}

EdaContract *
EdaContractOfTopic(const char *topic, int len)
{
	char		name[EDA_MAX_TOPIC_LEN + 1];
	EdaContract *contract;

	AcceptInvalidationMessages();
	for (;;)
	{
		Jsonb	   *schema;
		EdaSchema  *compiled;

		if (!contracts_valid || contracts == NULL || contracts_epoch != EdaSchemaEpoch())
			read_topics();
		if (hash_get_num_entries(contracts) == 0)
			return NULL;
		memcpy(name, topic, len);
		name[len] = '\0';
		contract = hash_search(contracts, name, HASH_FIND, NULL);
		if (contract == NULL || contract->schema != NULL)
			return contract;

		schema = read_schema(name);
		/* it may have changed since the names were read */
		if (!contracts_valid || contracts_epoch != EdaSchemaEpoch())
			continue;
		if (schema == NULL)
		{
			contracts_valid = false;
			continue;
		}
		compiled = EdaSchemaLookup(schema, JSONSCHEMA_FORMATS_DEFAULT, true);
		EdaSchemaPin(compiled);
		contract->schema = compiled;
		pfree(schema);
		/* and while what it refers to was */
		if (contracts_valid && contracts_epoch == EdaSchemaEpoch())
			return contract;
	}
}

static void
release_hold(void *arg)
{
	EdaSchemaUnpin(((EdaContract *) arg)->schema);
}

EdaContract *
EdaContractHold(const EdaContract *contract)
{
	EdaContract *hold;
	MemoryContextCallback *callback;

	if (contract == NULL)
		return NULL;
	hold = palloc(sizeof(EdaContract));
	*hold = *contract;
	hold->sensitive = palloc(Max(contract->nsensitive, 1) * sizeof(char *));
	for (int i = 0; i < contract->nsensitive; i++)
		hold->sensitive[i] = pstrdup(contract->sensitive[i]);
	callback = palloc(sizeof(MemoryContextCallback));
	callback->func = release_hold;
	callback->arg = hold;
	EdaSchemaPin(hold->schema);
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return hold;
}

/* Has a JSON Pointer a token that is one of these names? */
static bool
is_sensitive(const EdaContract *contract, const char *path)
{
	for (int i = 0; i < contract->nsensitive; i++)
	{
		StringInfoData token;
		const char *found = path;

		initStringInfo(&token);
		JsonSchemaAppendToken(&token, contract->sensitive[i]);
		while ((found = strstr(found, token.data)) != NULL)
		{
			found += token.len;
			if (*found == '\0' || *found == '/')
				return true;
		}
		pfree(token.data);
	}
	return false;
}

/* Violations of what is in a payload; NIL: none. */
static List *
violations_of(const EdaSchema *schema, struct varlena *payload)
{
	Jsonb	   *instance = DatumGetJsonbP(PointerGetDatum(payload));
	List	   *list = NIL;

	if (!EdaSchemaIsValid(schema, instance))
		list = JsonSchemaValidate(EdaSchemaCompiled(schema), instance, EDA_MAX_VIOLATIONS);
	if ((struct varlena *) instance != payload)
		pfree(instance);
	return list;
}

bool
EdaContractCheck(const EdaContract *contract, struct varlena *payload, int element,
				 char **violations)
{
	List	   *list = violations_of(contract->schema, payload);
	ListCell   *lc;
	char	   *text;

	if (list == NIL)
		return true;
	foreach(lc, list)
	{
		JsonSchemaViolation *violation = (JsonSchemaViolation *) lfirst(lc);

		if (is_sensitive(contract, violation->instance_path))
			violation->message = psprintf("violates %s", violation->keyword);
	}
	text = EdaViolationsText(list);
	if (violations != NULL)
	{
		*violations = text;
		return false;
	}
	ereport(ERROR,
			(errcode(ERRCODE_EDA_SCHEMA_VIOLATION),
			 errmsg_plural("event on topic \"%s\" breaks the topic's schema (%d violation)",
						   "event on topic \"%s\" breaks the topic's schema (%d violations)",
						   list_length(list), contract->topic, list_length(list)),
			 errdetail_internal("%s", text),
			 /* the detail has values of the payload, the statement all of it: the server's log is read by others */
			 errdetail_log("Who published it is told what it breaks."),
			 errhidestmt(true),
			 element > 0 ? errcontext("element %d of the batch", element) : 0));
}

List *
EdaContractViolations(const Jsonb *schema, uint64 load, struct varlena *payload)
{
	/* an executor asks for the same one again and again */
	static EdaSchema *last = NULL;
	static uint64 last_load = 0;

	if (last == NULL ||
		(load != last_load ? !EdaSchemaIs(last, schema, JSONSCHEMA_FORMATS_DEFAULT, true) :
		 !EdaSchemaIsGood(last, JSONSCHEMA_FORMATS_DEFAULT, true)))
	{
		EdaSchema  *found = EdaSchemaLookup(schema, JSONSCHEMA_FORMATS_DEFAULT, true);

		EdaSchemaPin(found);
		if (last != NULL)
			EdaSchemaUnpin(last);
		last = found;
	}
	last_load = load;
	return violations_of(last, payload);
}

void
EdaContractCheckSize(const Jsonb *schema)
{
	if (VARSIZE(schema) > MAX_SCHEMA_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_EDA_DEFINITION_TOO_LARGE),
				 errmsg("schema has %d bytes, the limit is %d bytes", (int) VARSIZE(schema), MAX_SCHEMA_LEN),
				 errhint("Register parts of it with eda.define_schema, and refer to them.")));
}

void
EdaContractAccept(const Jsonb *schema)
{
	EdaContractCheckSize(schema);
	LockRelationOid(EdaSharedSchemaRelId(), RowShareLock);
	AcceptInvalidationMessages();
	(void) EdaSchemaLookup(schema, JSONSCHEMA_FORMATS_DEFAULT, true);
}

void
EdaContractsRecheck(const char *uri)
{
	MemoryContext before = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(before, "eda contracts to check",
												  ALLOCSET_DEFAULT_SIZES);
	EdaSecurityContext ctx;
	uint64		n;
	char	  **what;
	Jsonb	  **schemas;

	EdaSpiBegin(&ctx);
	n = EdaSpiQuery("SELECT 'topic ' || pg_catalog.quote_ident(topic), schema FROM eda.topic"
					" WHERE schema IS NOT NULL"
					" UNION ALL SELECT 'subscription ' || pg_catalog.quote_ident(name), schema"
					" FROM eda.subscription WHERE schema IS NOT NULL", 0, NULL, NULL, NULL,
					GetLatestSnapshot());
	MemoryContextSwitchTo(context);
	what = palloc(Max(n, 1) * sizeof(char *));
	schemas = palloc(Max(n, 1) * sizeof(Jsonb *));
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;

		what[i] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		schemas[i] = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2,
													  &isnull));
	}
	EdaSpiEnd(&ctx);
	MemoryContextSwitchTo(context);

	for (uint64 i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		PG_TRY();
		{
			(void) EdaSchemaLookup(schemas[i], JSONSCHEMA_FORMATS_DEFAULT, true);
		}
		PG_CATCH();
		{
			ErrorData  *edata;

			MemoryContextSwitchTo(context);
			edata = CopyErrorData();
			if (edata->sqlerrcode != ERRCODE_EDA_INVALID_SCHEMA &&
				edata->sqlerrcode != ERRCODE_EDA_UNRESOLVED_REFERENCE)
				PG_RE_THROW();
			FlushErrorState();
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot change schema \"%s\": %s would have no valid schema any more",
							uri, what[i]),
					 errdetail("%s: %s", edata->message, edata->detail != NULL ? edata->detail : "")));
		}
		PG_END_TRY();
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(context);
}

/* Is the topic defined?  An error if it is, and the caller may not change it. */
static bool
topic_exists(const char *topic)
{
	EdaSecurityContext ctx;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(topic)};
	Oid			owner = InvalidOid;

	EdaSpiBegin(&ctx);
	if (EdaSpiExecute("SELECT owner FROM eda.topic WHERE topic = $1", 1, types, values, NULL,
					  SPI_OK_SELECT) > 0)
	{
		bool		isnull;

		owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
											   &isnull));
	}
	EdaSpiEnd(&ctx);
	if (OidIsValid(owner) && !eda_may_become(GetUserId(), owner) &&
		!eda_may_become(GetUserId(), EdaExtensionOwner()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to define topic \"%s\"", topic),
				 errdetail("It belongs to role \"%s\".", GetUserNameFromId(owner, true))));
	return OidIsValid(owner);
}

static void
topics_changed(void)
{
	CacheInvalidateRelcacheByRelid(EdaTopicRelId());
	CommandCounterIncrement();
}

/* Names of fields: an array of texts, none NULL or empty. */
static void
check_sensitive(ArrayType *array)
{
	Datum	   *elems;
	bool	   *nulls;
	int			n;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sensitive must be a one-dimensional array")));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &n);
	if (n > MAX_SENSITIVE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sensitive has %d names, more than %d", n, MAX_SENSITIVE)));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i] || VARSIZE_ANY_EXHDR(DatumGetPointer(elems[i])) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("sensitive must not contain NULL or an empty name"),
					 errhint("It names fields of the payload, at any depth.")));
	}
}

/*
 * eda.define_topic(topic text, schema jsonb, description text, sensitive text[])
 */
Datum
eda_define_topic(PG_FUNCTION_ARGS)
{
	char	   *topic = EdaTextArg(fcinfo, 0, "topic");
	EdaSecurityContext ctx;
	Oid			types[] = {TEXTOID, JSONBOID, TEXTOID, TEXTARRAYOID, OIDOID};
	Datum		values[5];
	char		nulls[] = "     ";

	PreventCommandDuringRecovery("eda.define_topic()");
	PreventCommandIfReadOnly("eda.define_topic()");
	PreventCommandIfParallelMode("eda.define_topic()");
	EdaCheckTopic(topic, (int) strlen(topic), false);

	values[0] = CStringGetTextDatum(topic);
	values[4] = ObjectIdGetDatum(GetUserId());
	for (int i = 1; i <= 3; i++)
	{
		if (PG_ARGISNULL(i))
			nulls[i] = 'n';
		else
			values[i] = PG_GETARG_DATUM(i);
	}
	if (!PG_ARGISNULL(1))
		EdaContractAccept(PG_GETARG_JSONB_P(1));
	if (!PG_ARGISNULL(2) && VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(2)) > MAX_DESCRIPTION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a topic's description must have at most %d bytes", MAX_DESCRIPTION)));
	if (!PG_ARGISNULL(3))
		check_sensitive(PG_GETARG_ARRAYTYPE_P(3));
	(void) topic_exists(topic);

	EdaSpiBegin(&ctx);
	EdaSpiExecute("INSERT INTO eda.topic (topic, schema, description, sensitive, owner)"
				  " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (topic) DO UPDATE"
				  " SET schema = EXCLUDED.schema, description = EXCLUDED.description,"
				  " sensitive = EXCLUDED.sensitive, defined_at = EXCLUDED.defined_at",
				  5, types, values, nulls, SPI_OK_INSERT);
	EdaSpiEnd(&ctx);
	topics_changed();
	/* of two that make it at once, the second may not be allowed to replace it */
	(void) topic_exists(topic);
	PG_RETURN_VOID();
}

/*
 * eda.drop_topic(topic text) RETURNS boolean
 */
Datum
eda_drop_topic(PG_FUNCTION_ARGS)
{
	char	   *topic = EdaTextArg(fcinfo, 0, "topic");
	EdaSecurityContext ctx;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(topic)};

	PreventCommandDuringRecovery("eda.drop_topic()");
	PreventCommandIfReadOnly("eda.drop_topic()");
	PreventCommandIfParallelMode("eda.drop_topic()");
	if (!topic_exists(topic))
		PG_RETURN_BOOL(false);
	EdaSpiBegin(&ctx);
	EdaSpiExecute("DELETE FROM eda.topic WHERE topic = $1", 1, types, values, NULL, SPI_OK_DELETE);
	EdaSpiEnd(&ctx);
	topics_changed();
	PG_RETURN_BOOL(true);
}
