/*-------------------------------------------------------------------------
 *
 * subscription/definition.c
 *	  What a user states about a subscription: checked, stored, written out.
 *
 *	1. One table says what each setting is called, its type and its default;
 *	   eda.subscribe, eda.alter_subscription and eda.subscription_def all go
 *	   through it.  The defaults stand in src/sql/50_subscribe.sql too.
 *	2. A definition is an array of Datums by setting.  It is checked as a
 *	   whole, wherever its parts come from.
 *	3. No locks here: who calls holds the subscription's.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/subscription/definition.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "base/args.h"
#include "base/catalog.h"
#include "base/compat.h"
#include "base/security.h"
#include "contract/contract.h"
#include "event/event.h"
#include "subscription/cursor.h"
#include "subscription/definition.h"

/* Longest interval that a setting takes, in milliseconds. */
#define MAX_INTERVAL_MS		(INT64CONST(36500) * SECS_PER_DAY * 1000)

/* Of rate_limit, in events a second. */
#define MIN_RATE_LIMIT		0.001
#define MAX_RATE_LIMIT		1000000

/*
 * What one definition may cost others: every publisher matches its topics, and executors
 * keep the rest.  In bytes, and numbers of.
 */
#define MAX_TOPICS_LEN		(64 * 1024)
#define MAX_PATTERNS		1000
#define MAX_FILTER_LEN		(64 * 1024)
#define MAX_REJECT_ON		1000

typedef struct SettingInfo
{
	const char *name;
	Oid			type;
	const char *dflt;			/* as text; NULL: NULL, where nullable */
	bool		nullable;
} SettingInfo;

/* By EdaSetting. */
static const SettingInfo settings_info[EDA_NSETTINGS] = {
	{"topics", TEXTOID, NULL, false},
	{"handler", TEXTOID, NULL, true},
	{"filter", JSONPATHOID, NULL, true},
	{"schema", JSONBOID, NULL, true},
	{"ordering", TEXTOID, "key", false},
	{"concurrency", INT4OID, "1", false},
	{"batch_size", INT4OID, "100", false},
	{"rate_limit", NUMERICOID, NULL, true},
	{"max_attempts", INT4OID, "20", false},
	{"backoff", INTERVALOID, "1 second", false},
	{"max_backoff", INTERVALOID, "1 hour", false},
	{"reject_on", TEXTARRAYOID, NULL, true},
	{"block_after", INT4OID, "100", false},
	{"timeout", INTERVALOID, "30 seconds", false},
	{"expire_after", INTERVALOID, NULL, true},
	{"priority", INT4OID, "0", false},
	{"owner", REGROLEOID, NULL, true}
};

/* A value of a setting from its text form. */
static Datum
setting_from_text(EdaSetting setting, const char *text)
{
	Oid			typinput;
	Oid			typioparam;

	getTypeInputInfo(settings_info[setting].type, &typinput, &typioparam);
	return OidInputFunctionCall(typinput, (char *) text, typioparam, -1);
}

static char *
setting_to_text(EdaSetting setting, Datum value)
{
	Oid			typoutput;
	bool		isvarlena;

	getTypeOutputInfo(settings_info[setting].type, &typoutput, &isvarlena);
	return OidOutputFunctionCall(typoutput, value);
}

/*
 * Checking
 */

static void
check_name(const char *name)
{
	size_t		len = strlen(name);

	if (len < 1 || len > EDA_MAX_NAME_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name of a subscription must have 1 to %d bytes, not %zu",
						EDA_MAX_NAME_LEN, len)));
	for (const char *p = name; *p; p++)
	{
		if ((unsigned char) *p < 0x20 || *p == 0x7f)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("name of a subscription must not contain control characters")));
	}
}

static void
check_int(const EdaDefinition *def, EdaSetting setting, int32 min, int32 max)
{
	int32		value = DatumGetInt32(def->values[setting]);

	if (value < min || value > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between %d and %d, not %d",
						settings_info[setting].name, min, max, value)));
}

/* Returns it in milliseconds; 0 for NULL. */
static int64
check_interval(const EdaDefinition *def, EdaSetting setting, int64 max_ms)
{
	int64		ms;

	if (def->nulls[setting])
		return 0;
	ms = EdaIntervalToMs(DatumGetIntervalP(def->values[setting]));
	if (ms < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be at least one millisecond, not \"%s\"",
						settings_info[setting].name,
						setting_to_text(setting, def->values[setting]))));
	if (ms > max_ms)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be at most %d days, not \"%s\"",
						settings_info[setting].name,
						(int) (max_ms / 1000 / SECS_PER_DAY),
						setting_to_text(setting, def->values[setting]))));
	return ms;
}

static void
check_ordering(const EdaDefinition *def)
{
	char	   *ordering = TextDatumGetCString(def->values[EDA_SET_ORDERING]);

	if (strcmp(ordering, "none") != 0 && strcmp(ordering, "key") != 0 &&
		strcmp(ordering, "strict") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unrecognized ordering \"%s\"", ordering),
				 errhint("It is one of none, key, strict.")));
}

/* ERROR: a part of a definition, "filter of 70000 bytes", is larger than "65536 bytes". */
static void
too_large(const char *what, const char *limit, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_EDA_DEFINITION_TOO_LARGE),
			 errmsg("%s, the limit is %s", what, limit),
			 hint ? errhint("%s", hint) : 0));
}

static void
check_topics_size(const char *topics)
{
	const char *hint = "Use wildcards, or several subscriptions to the same handler.";
	int			n = 1;

	for (const char *c = topics; *c; c++)
		n += *c == ',';
	if (strlen(topics) > MAX_TOPICS_LEN)
		too_large(psprintf("topics have %zu bytes", strlen(topics)),
				  psprintf("%d bytes", MAX_TOPICS_LEN), hint);
	if (n > MAX_PATTERNS)
		too_large(psprintf("topics have %d patterns", n),
				  psprintf("%d patterns", MAX_PATTERNS), hint);
}

static void
check_filter(const EdaDefinition *def)
{
	Size		size;

	if (def->nulls[EDA_SET_FILTER])
		return;
	size = toast_raw_datum_size(def->values[EDA_SET_FILTER]);
	if (size > MAX_FILTER_LEN)
		too_large(psprintf("filter has %zu bytes", size), psprintf("%d bytes", MAX_FILTER_LEN),
				  "Let the handler decide.");
}

/* SQLSTATEs of five or classes of two characters. */
static void
check_reject_on(const EdaDefinition *def)
{
	ArrayType  *array;
	Datum	   *elems;
	bool	   *nulls;
	int			nelems;

	if (def->nulls[EDA_SET_REJECT_ON])
		return;
	array = DatumGetArrayTypeP(def->values[EDA_SET_REJECT_ON]);
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reject_on must be a one-dimensional array")));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
					  &elems, &nulls, &nelems);
	if (nelems > MAX_REJECT_ON)
		too_large(psprintf("reject_on has %d elements", nelems),
				  psprintf("%d elements", MAX_REJECT_ON), "Name classes of SQLSTATEs.");
	for (int i = 0; i < nelems; i++)
	{
		char	   *code;
		size_t		len;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("reject_on must not contain NULL")));
		code = TextDatumGetCString(elems[i]);
		len = strlen(code);
		if ((len != 5 && len != 2) ||
			strspn(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != len)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("reject_on contains \"%s\", which is neither an SQLSTATE nor a class of them",
							code),
					 errhint("An SQLSTATE has five characters, a class the first two of them; each is a digit or an upper-case letter.")));
	}
}

/* What the interface has and this version does not. */
static void
check_supported(const EdaDefinition *def)
{
	if (def->nulls[EDA_SET_HANDLER])
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a subscription without a handler is not supported in this version"),
				 errhint("Give handler => a function.")));
}

/* Strict order is that of one lane. */
static void
check_lanes(const EdaDefinition *def)
{
	int32		concurrency = DatumGetInt32(def->values[EDA_SET_CONCURRENCY]);

	check_int(def, EDA_SET_CONCURRENCY, 1, EDA_MAX_LANES);
	if (concurrency > 1 &&
		strcmp(TextDatumGetCString(def->values[EDA_SET_ORDERING]), "strict") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ordering strict needs concurrency 1, not %d", concurrency),
				 errhint("Give concurrency => 1, or ordering => key, which keeps the order within each key.")));
}

static void
check_rate_limit(const EdaDefinition *def)
{
	double		rate;

	if (def->nulls[EDA_SET_RATE_LIMIT])
		return;
	rate = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
											  def->values[EDA_SET_RATE_LIMIT]));
	/* not a NaN either */
	if (!(rate >= MIN_RATE_LIMIT && rate <= MAX_RATE_LIMIT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rate_limit must be between 0.001 and 1000000 events a second, not %s",
						setting_to_text(EDA_SET_RATE_LIMIT,
										def->values[EDA_SET_RATE_LIMIT]))));
}

/*
 * A handler cannot be interrupted for somebody else: for how long it may keep an executor is not
 * its owner's to say.  What was within the bound once may stay, and is cut short when it runs.
 */
static void
check_timeout(const EdaDefinition *def)
{
	int64		ms = check_interval(def, EDA_SET_TIMEOUT, EDA_LONGEST_TIMEOUT_MS);

	if (ms > eda_max_timeout &&
		(def->named[EDA_SET_TIMEOUT] || def->named[EDA_SET_OWNER]) &&
		!superuser_arg(DatumGetObjectId(def->values[EDA_SET_OWNER])))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("timeout must be at most %s (eda.max_timeout), not \"%s\"",
						GetConfigOptionByName("eda.max_timeout", NULL, false),
						setting_to_text(EDA_SET_TIMEOUT, def->values[EDA_SET_TIMEOUT])),
				 errhint("Give a shorter timeout and split the work into more events, or have a superuser raise eda.max_timeout.")));
}

/* A definition says what runs in the owner's sessions: to operate is not enough. */
static void
check_definer(const EdaSubscription *existing)
{
	if (eda_may_become(GetUserId(), existing->owner) ||
		eda_may_become(GetUserId(), EdaExtensionOwner()))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to define subscription \"%s\"",
					existing->name),
			 errdetail("Its handler runs as its owner, which role \"%s\" may not become.",
					   GetUserNameFromId(GetUserId(), false)),
			 errhint("Grant it the owner's role WITH SET TRUE.")));
}

static void
check_owner(const char *subscription, Oid owner, const EdaSubscription *existing)
{
	char	   *name = GetUserNameFromId(owner, true);
	char	   *advice;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", owner),
				 errhint("Give owner => the role whose rights the handler needs.")));
	if ((existing == NULL || owner != existing->owner) &&
		!eda_may_become(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be a member of role \"%s\" to give it subscription \"%s\"",
						name, subscription)));
	if (!EdaOwnerCanConnect(owner, &advice))
		ereport(ERROR,
				(errcode(ERRCODE_EDA_OWNER_CANNOT_CONNECT),
				 errmsg("role \"%s\" cannot own subscription \"%s\"", name,
						subscription),
				 errdetail("Handlers run in a background worker that connects to database \"%s\" as the owner.",
						   get_database_name(MyDatabaseId)),
				 errhint("%s", advice)));
	if (superuser_arg(owner))
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("subscription \"%s\" belongs to superuser \"%s\"",
						subscription, name),
				 errdetail("Its handler runs with all rights, on whatever is published."),
				 errhint("Give owner => a role with just the rights that the handler needs.")));
}

/* An alert that never comes is noticed late. */
static void
check_topics(const char *subscription, const char *topics)
{
	char	   *unknown;

	check_topics_size(topics);
	unknown = EdaTopicPatternUnknown(EdaTopicPatternCompile(topics));
	if (unknown != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_EDA_UNKNOWN_SYSTEM_TOPIC),
				 errmsg("no event is ever published on \"%s\"", unknown),
				 errdetail("Subscription \"%s\" names it; topics whose first word is \"eda\" are for eda's own events.",
						   subscription),
				 errhint("These are %s.", EdaSystemTopics())));
}

void
EdaDefinitionCheck(const char *subscription, EdaDefinition *def,
				   const EdaSubscription *existing)
{
	int64		backoff;
	int64		max_backoff;

	check_name(subscription);
	if (existing != NULL)
		check_definer(existing);
	for (int i = 0; i < EDA_NSETTINGS; i++)
	{
		if (def->nulls[i] && !settings_info[i].nullable)
			EdaNullArgument(settings_info[i].name);
	}

	if (def->named[EDA_SET_TOPICS])
		check_topics(subscription, TextDatumGetCString(def->values[EDA_SET_TOPICS]));
	check_filter(def);
	check_ordering(def);
	check_lanes(def);
	check_int(def, EDA_SET_BATCH_SIZE, 1, 10000);
	check_int(def, EDA_SET_MAX_ATTEMPTS, 1, 100000);
	check_int(def, EDA_SET_BLOCK_AFTER, 1, PG_INT32_MAX);
	backoff = check_interval(def, EDA_SET_BACKOFF, MAX_INTERVAL_MS);
	max_backoff = check_interval(def, EDA_SET_MAX_BACKOFF, MAX_INTERVAL_MS);
	if (max_backoff < backoff)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_backoff must not be shorter than backoff")));
	check_timeout(def);
	check_interval(def, EDA_SET_EXPIRE_AFTER, MAX_INTERVAL_MS);
	check_reject_on(def);
	check_rate_limit(def);
	check_supported(def);
	if (!def->nulls[EDA_SET_SCHEMA])
		EdaContractAccept(DatumGetJsonbP(def->values[EDA_SET_SCHEMA]));

	if (def->named[EDA_SET_OWNER])
		check_owner(subscription, DatumGetObjectId(def->values[EDA_SET_OWNER]),
					existing);
	if (def->named[EDA_SET_OWNER] || def->named[EDA_SET_HANDLER])
		EdaHandlerResolve(TextDatumGetCString(def->values[EDA_SET_HANDLER]),
						  DatumGetObjectId(def->values[EDA_SET_OWNER]),
						  &def->handler);
}

/*
 * Reading and writing rows
 */

void
EdaDefinitionRead(const EdaSubscription *sub, EdaDefinition *def)
{
	static const Oid types[] = {INT4OID};
	EdaSecurityContext ctx;
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[1];

	memset(def, 0, sizeof(EdaDefinition));
	values[0] = Int32GetDatum(sub->id);

	/* The columns by EdaSetting; the handler is put together below. */
	EdaSpiBegin(&ctx);
	if (EdaSpiExecute("SELECT topics, NULL::text, filter, schema, ordering, concurrency,"
					  " batch_size, rate_limit, max_attempts, backoff, max_backoff,"
					  " reject_on, block_after, timeout, expire_after, priority, owner"
					  " FROM eda.subscription WHERE subscription_id = $1",
					  1, types, values, NULL, SPI_OK_SELECT) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_EDA_UNDEFINED_SUBSCRIPTION),
				 errmsg("subscription \"%s\" does not exist", sub->name)));
	for (int i = 0; i < EDA_NSETTINGS; i++)
	{
		MemoryContext old;
		int16		typlen;
		bool		typbyval;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, i + 1,
										  &def->nulls[i]);

		if (def->nulls[i])
			continue;
		get_typlenbyval(settings_info[i].type, &typlen, &typbyval);
		old = MemoryContextSwitchTo(caller);
		def->values[i] = datumCopy(value, typbyval, typlen);
		MemoryContextSwitchTo(old);
	}
	EdaSpiEnd(&ctx);

	if (sub->handler_name != NULL)
	{
		def->handler.oid = sub->handler_oid;
		def->handler.schema = sub->handler_schema;
		def->handler.name = sub->handler_name;
		def->handler.kind = sub->handler_kind;
		def->handler.owner = sub->handler_owner;
		def->values[EDA_SET_HANDLER] =
			CStringGetTextDatum(EdaHandlerSignature(sub->handler_schema,
													sub->handler_name,
													sub->handler_kind));
		def->nulls[EDA_SET_HANDLER] = false;
	}
}

/* What a definition is in the table, as parameters $1 to $21; $22 says of which row. */
#define DEFINITION_COLUMNS \
	"topics, handler_schema, handler_name, handler_kind, handler_oid, handler_owner," \
	" filter, schema, ordering, concurrency, batch_size, rate_limit, max_attempts," \
	" backoff, max_backoff, reject_on, block_after, timeout, expire_after, priority, owner"
#define DEFINITION_PARAMS \
	"$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21"
#define N_DEFINITION_PARAMS	22

typedef struct RowParams
{
	Oid			types[N_DEFINITION_PARAMS];
	Datum		values[N_DEFINITION_PARAMS];
	char		nulls[N_DEFINITION_PARAMS];
	int			n;
} RowParams;

static void
add_param(RowParams *params, Oid type, Datum value, bool isnull)
{
	params->types[params->n] = type;
	params->values[params->n] = value;
	params->nulls[params->n] = isnull ? 'n' : ' ';
	params->n++;
}

static void
definition_params(const EdaDefinition *def, RowParams *params)
{
	const EdaHandlerRef *ref = &def->handler;

	params->n = 0;
	for (int i = 0; i < EDA_NSETTINGS; i++)
	{
		if (i == EDA_SET_HANDLER)
		{
			add_param(params, TEXTOID, CStringGetTextDatum(ref->schema), false);
			add_param(params, TEXTOID, CStringGetTextDatum(ref->name), false);
			add_param(params, CHAROID, CharGetDatum((char) ref->kind), false);
			add_param(params, OIDOID, ObjectIdGetDatum(ref->oid), false);
			add_param(params, OIDOID, ObjectIdGetDatum(ref->owner), false);
		}
		else
			add_param(params,
					  i == EDA_SET_OWNER ? OIDOID : settings_info[i].type,
					  def->values[i], def->nulls[i]);
	}
}

int32
EdaDefinitionInsert(const char *subscription, const EdaDefinition *def)
{
	EdaSecurityContext ctx;
	RowParams	params;
	int32		id;
	bool		isnull;

	definition_params(def, &params);
	add_param(&params, TEXTOID, CStringGetTextDatum(subscription), false);

	EdaSpiBegin(&ctx);
	EdaSpiExecute("INSERT INTO eda.subscription (" DEFINITION_COLUMNS ", name)"
				  " VALUES (" DEFINITION_PARAMS ", $22) RETURNING subscription_id",
				  params.n, params.types, params.values, params.nulls,
				  SPI_OK_INSERT_RETURNING);
	id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
									 SPI_tuptable->tupdesc, 1, &isnull));
	EdaSpiEnd(&ctx);
	return id;
}

void
EdaDefinitionUpdate(int32 id, const EdaDefinition *def)
{
	EdaSecurityContext ctx;
	RowParams	params;

	definition_params(def, &params);
	add_param(&params, INT4OID, Int32GetDatum(id), false);

	EdaSpiBegin(&ctx);
	EdaSpiExecute("UPDATE eda.subscription SET (" DEFINITION_COLUMNS ")"
				  " = (" DEFINITION_PARAMS ") WHERE subscription_id = $22",
				  params.n, params.types, params.values, params.nulls,
				  SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);
}

/*
 * From JSON
 */

/* ERROR: the setting takes `wanted`, not this. */
static void
wrong_json_type(EdaSetting setting, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("setting \"%s\" must be %s", settings_info[setting].name,
					wanted)));
}

static char *
json_string(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static Datum
int_from_json(EdaSetting setting, const JsonbValue *value)
{
	char	   *text;
	char	   *end;
	int64		n;

	if (value->type != jbvNumeric)
		wrong_json_type(setting, "an integer");
	text = DatumGetCString(DirectFunctionCall1(numeric_out,
											   NumericGetDatum(value->val.numeric)));
	errno = 0;
	n = strtoll(text, &end, 10);
	if (*end != '\0' || errno != 0 || n < PG_INT32_MIN || n > PG_INT32_MAX)
		wrong_json_type(setting, "an integer");
	return Int32GetDatum((int32) n);
}

static Datum
text_array_from_json(EdaSetting setting, const JsonbValue *value)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	elem;
	Datum	   *elems;
	int			nelems = 0;

	if (value->type != jbvBinary ||
		!JsonContainerIsArray(value->val.binary.data))
		wrong_json_type(setting, "an array of strings");
	elems = palloc(sizeof(Datum) *
				   (JsonContainerSize(value->val.binary.data) + 1));
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &elem, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (elem.type != jbvString)
			wrong_json_type(setting, "an array of strings");
		elems[nelems++] = CStringGetTextDatum(json_string(&elem));
	}
	return PointerGetDatum(construct_array(elems, nelems, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

static Datum
setting_from_json(EdaSetting setting, JsonbValue *value)
{
	switch (settings_info[setting].type)
	{
		case INT4OID:
			return int_from_json(setting, value);
		case NUMERICOID:
			if (value->type != jbvNumeric)
				wrong_json_type(setting, "a number");
			return NumericGetDatum(value->val.numeric);
		case TEXTARRAYOID:
			return text_array_from_json(setting, value);
		case JSONBOID:
			return JsonbPGetDatum(JsonbValueToJsonb(value));
		default:
			if (value->type != jbvString)
				wrong_json_type(setting, "a string");
			return setting_from_text(setting, json_string(value));
	}
}

static EdaSetting
setting_by_name(const char *name)
{
	StringInfoData known;

	for (int i = 0; i < EDA_NSETTINGS; i++)
	{
		if (strcmp(settings_info[i].name, name) == 0)
			return (EdaSetting) i;
	}

	initStringInfo(&known);
	for (int i = 0; i < EDA_NSETTINGS; i++)
		appendStringInfo(&known, "%s%s", i > 0 ? ", " : "",
						 settings_info[i].name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized subscription setting \"%s\"", name),
			 errhint("The settings are %s.", known.data)));
	return EDA_SET_TOPICS;		/* keep compiler quiet */
}

void
EdaDefinitionOverlay(EdaDefinition *def, Jsonb *settings)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(settings))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("settings must be a JSON object"),
				 errhint("For example: '{\"batch_size\": 10}'.")));

	it = JsonbIteratorInit(&settings->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		EdaSetting	setting;

		if (token != WJB_KEY)
			continue;
		setting = setting_by_name(json_string(&value));
		(void) JsonbIteratorNext(&it, &value, true);

		if (value.type == jbvNull)
		{
			if (!settings_info[setting].nullable || setting == EDA_SET_OWNER)
				ereport(ERROR,
						(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						 errmsg("setting \"%s\" must not be null",
								settings_info[setting].name)));
			def->values[setting] = (Datum) 0;
			def->nulls[setting] = true;
		}
		else
		{
			def->values[setting] = setting_from_json(setting, &value);
			def->nulls[setting] = false;
		}
		def->named[setting] = true;
	}
}

/*
 * Writing it out
 */

char *
EdaDefinitionText(const char *subscription, const EdaDefinition *def)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "SELECT eda.subscribe(%s, %s",
					 quote_literal_cstr(subscription),
					 quote_literal_cstr(TextDatumGetCString(def->values[EDA_SET_TOPICS])));
	for (int i = EDA_SET_TOPICS + 1; i < EDA_NSETTINGS; i++)
	{
		const SettingInfo *info = &settings_info[i];
		char	   *text;

		if (def->nulls[i])
			continue;
		text = setting_to_text((EdaSetting) i, def->values[i]);

		/* Compare in output form: '1 second' is written 00:00:01. */
		if (info->dflt != NULL &&
			strcmp(text, setting_to_text((EdaSetting) i,
										 setting_from_text((EdaSetting) i, info->dflt))) == 0)
			continue;
		appendStringInfo(&buf, ", %s => %s", info->name,
						 info->type == INT4OID ? text : quote_literal_cstr(text));
	}
	appendStringInfoChar(&buf, ')');
	return buf.data;
}
