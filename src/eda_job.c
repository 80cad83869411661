/*-------------------------------------------------------------------------
 *
 * eda_job.c
 *	  Jobs: a query whose rows are published when pg_cron says so.
 *
 *	1. eda.job holds what a job does, eda.job_run what each of its runs came
 *	   to.  Both are written here only, as the extension's owner, after the
 *	   rights of the caller have been checked.  pg_cron runs nothing but
 *	   CALL eda.run_job('name'), as the job's owner.
 *	2. A change of a job holds an object lock on (eda.job, hash of its name,
 *	   sub-id 1) to the end of the transaction, taken after the check of the
 *	   caller's rights: two changes of one name do not race, and other names
 *	   do not wait.
 *	3. A run holds a session-level object lock on (eda.job, job id, 0), across its
 *	   transactions, so that a job never overlaps itself.  Whoever has it knows
 *	   that a run that still says 'running' is one that died, and says so.
 *	   Released on every way out; a FATAL error releases it with the session,
 *	   and so does a commit that fails: it is taken again to record that.
 *	   Where another run was quicker, that one closes this run's row as one that
 *	   died, and then the error of this one is written over that.
 *	4. A run is three transactions: the row that says 'running'; the query, its
 *	   events and the outcome, together, with the query in a subtransaction so
 *	   that its error can be caught; and where that or its commit fails, the
 *	   error's row and event.  Then old rows of the job are deleted, in one
 *	   more, and then the error goes on to the caller.
 *	5. The query runs as the job's owner whoever calls, security-restricted
 *	   where that is somebody else, under the search_path that the job was
 *	   scheduled with.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/eda_job.c
 *
 *-------------------------------------------------------------------------
 */
#include "eda.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "eda_catalog.h"
#include "eda_cron.h"
#include "eda_definition.h"
#include "eda_handler.h"
#include "eda_publish.h"
#include "eda_security.h"
#include "eda_topic.h"

#define MAX_REFUSALS	1000	/* refused rows that are kept with a run */
#define JOB_FAILED_TOPIC		"eda.job.failed"
#define JOB_FAILED_MESSAGE_LEN	8192	/* bytes of the error's message in it */

#define JOB_NAME_LOCK_SUBID		1	/* 0 is for the lock of a run */

typedef struct Job
{
	int32		id;
	char	   *name;
	char	   *query;
	char	   *topic;
	char	   *key_column;		/* NULL: none */
	char	   *idempotency_key_column; /* NULL: none */
	bool		skip_invalid;
	char	   *search_path;
	Oid			owner;
	int64		cron_jobid;		/* 0: unknown */
} Job;

PG_FUNCTION_INFO_V1(eda_schedule);
PG_FUNCTION_INFO_V1(eda_unschedule);
PG_FUNCTION_INFO_V1(eda_run_job);

static char *
optional_text(FunctionCallInfo fcinfo, int n)
{
	return fcinfo->args[n].isnull ? NULL :
		text_to_cstring(DatumGetTextPP(fcinfo->args[n].value));
}

static Datum
text_datum(const char *s)
{
	return s != NULL ? CStringGetTextDatum(s) : (Datum) 0;
}

/* Column col of the first row of SPI_tuptable as a string in cxt, or NULL. */
static char *
row_text(int col, MemoryContext cxt)
{
	char	   *s = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, col);

	return s != NULL ? MemoryContextStrdup(cxt, s) : NULL;
}

/* The job of that name, in the current context; NULL: none. */
static Job *
load_job(const char *name)
{
	static const Oid types[] = {TEXTOID};
	Datum		values[1] = {CStringGetTextDatum(name)};
	MemoryContext cxt = CurrentMemoryContext;
	EdaSecurityContext ctx;
	Job		   *job = NULL;

	EdaSpiBegin(&ctx);
	if (EdaSpiExecute("SELECT job_id, name, query, topic, key_column,"
					  "       idempotency_key_column, on_invalid, owner, cron_jobid,"
					  "       search_path"
					  "  FROM eda.job WHERE name = $1",
					  1, types, values, NULL, SPI_OK_SELECT) > 0)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		cron_jobid;

		job = MemoryContextAllocZero(cxt, sizeof(Job));
		job->id = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull));
		job->name = row_text(2, cxt);
		job->query = row_text(3, cxt);
		job->topic = row_text(4, cxt);
		job->key_column = row_text(5, cxt);
		job->idempotency_key_column = row_text(6, cxt);
		job->skip_invalid = strcmp(row_text(7, cxt), "skip") == 0;
		job->owner = DatumGetObjectId(SPI_getbinval(tuple, desc, 8, &isnull));
		cron_jobid = SPI_getbinval(tuple, desc, 9, &isnull);
		job->cron_jobid = isnull ? 0 : DatumGetInt64(cron_jobid);
		job->search_path = row_text(10, cxt);
	}
	EdaSpiEnd(&ctx);

	return job;
}

/*
 * ERROR unless the current user has the rights of the job's owner; to say what
 * it does, they must be able to become the owner too, whose session runs it.
 */
static void
check_job_owner(const Job *job, bool defines)
{
	Oid			user = GetUserId();
	Oid			admin = EdaExtensionOwner();
	char	   *owner;

	if ((has_privs_of_role(user, job->owner) || has_privs_of_role(user, admin)) &&
		(!defines || eda_may_become(user, job->owner) || eda_may_become(user, admin)))
		return;

	owner = GetUserNameFromId(job->owner, true);
	if (owner == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for job \"%s\"", job->name),
				 errdetail("Its owner, the role with oid %u, does not exist any more.",
						   job->owner),
				 errhint("A superuser can unschedule it.")));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for job \"%s\"", job->name),
			 has_privs_of_role(user, job->owner) ?
			 errdetail("It runs as role \"%s\", to which you may not SET ROLE.", owner) :
			 errdetail("It belongs to role \"%s\".", owner)));
}

/* ERROR where the role that the job runs as has been dropped. */
static void
check_owner_exists(const Job *job)
{
	if (GetUserNameFromId(job->owner, true) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of job \"%s\" does not exist any more", job->name),
				 errhint("Unschedule it, and schedule it as another role.")));
}

/*
 * The job of that name, for a change of it by the current user, who has the
 * right to it, with its name locked to the end of the transaction.  NULL: there
 * is none, and with `lock_missing` the name is locked so that it stays so.
 */
static Job *
job_for_change(const char *name, bool defines, bool lock_missing)
{
	Job		   *job = load_job(name);

	if (job == NULL && !lock_missing)
		return NULL;
	if (job != NULL)
		check_job_owner(job, defines);

	LockDatabaseObject(EdaRelationId("job"), EdaHashText(name, strlen(name)),
					   JOB_NAME_LOCK_SUBID, AccessExclusiveLock);

	/* As whoever had the lock before us left it. */
	job = load_job(name);
	if (job != NULL)
		check_job_owner(job, defines);
	return job;
}

/*
 * The name of pg_cron's job: 'eda:database:job', which takes NAMEDATALEN - 1
 * bytes at most.  pg_cron takes a job of the same name for the same job, so
 * where that does not fit, or does not say where the database's name ends, or
 * might look like what we make here, it is what fits of it and a hash.
 */
static char *
cron_job_name(const char *name)
{
	char	   *database = get_database_name(MyDatabaseId);
	char	   *full = psprintf("eda:%s:%s", database, name);
	uint64		hash;
	int			len;

	if (strlen(full) < NAMEDATALEN && strchr(database, ':') == NULL &&
		strchr(full, '~') == NULL)
		return full;

	hash = hash_bytes_extended((unsigned char *) database, strlen(database), 0);
	hash = hash_bytes_extended((unsigned char *) name, strlen(name), hash);
	len = pg_mbcliplen(full, strlen(full), NAMEDATALEN - 1 - 17);
	return psprintf("%.*s~%016llx", len, full, (unsigned long long) hash);
}

static char *
cron_command(const char *name)
{
	return psprintf("CALL eda.run_job(%s)", quote_literal_cstr(name));
}

/* A syntax error's position is one in the job's query, not in the caller's statement. */
static void
query_error_callback(void *arg)
{
	int			pos = geterrposition();

	if (pos > 0)
	{
		errposition(0);
		internalerrposition(pos);
		internalerrquery((const char *) arg);
	}
}

/*
 * ERROR unless it is one statement that may return rows.  Looks at its syntax
 * only: tables may come later, and what they lack shows when the job runs.
 */
static void
check_query(const char *job, const char *query)
{
	ErrorContextCallback callback;
	List	   *statements;

	callback.callback = query_error_callback;
	callback.arg = unconstify(char *, query);
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	statements = raw_parser(query, RAW_PARSE_DEFAULT);
	error_context_stack = callback.previous;

	if (list_length(statements) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the query of job \"%s\" must be one statement", job),
				 errdetail("It is %d.", list_length(statements))));

	switch (nodeTag(linitial_node(RawStmt, statements)->stmt))
	{
		case T_SelectStmt:
		case T_InsertStmt:
		case T_UpdateStmt:
		case T_DeleteStmt:
		case T_MergeStmt:
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("the query of job \"%s\" returns no rows", job),
					 errhint("Each row that a SELECT, or a statement with RETURNING, returns becomes one event.")));
	}
}

/* ERROR unless pg_cron can run the job as its owner. */
static void
check_owner_can_run(const char *job, Oid owner)
{
	static const Oid types[] = {OIDOID};
	Datum		values[1] = {ObjectIdGetDatum(owner)};
	char	   *detail;
	char	   *role = GetUserNameFromId(owner, false);
	EdaSecurityContext ctx;
	bool		allowed;
	bool		isnull;

	if (!EdaOwnerCanConnect(owner, &detail))
		ereport(ERROR,
				(errcode(ERRCODE_EDA_OWNER_CANNOT_CONNECT),
				 errmsg("pg_cron could not run job \"%s\" as role \"%s\"", job, role),
				 errdetail_internal("%s", detail)));

	EdaSpiBegin(&ctx);
	EdaSpiExecute("SELECT has_schema_privilege($1, 'eda', 'USAGE')"
				  "   AND has_function_privilege($1, 'eda.run_job(text)', 'EXECUTE')",
				  1, types, values, NULL, SPI_OK_SELECT);
	allowed = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
										 SPI_tuptable->tupdesc, 1, &isnull));
	EdaSpiEnd(&ctx);
	if (!allowed)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not run job \"%s\"", role, job),
				 errhint("GRANT USAGE ON SCHEMA eda TO %s; GRANT EXECUTE ON PROCEDURE eda.run_job(text) TO %s;",
						 quote_identifier(role), quote_identifier(role))));
}

/*
 * eda.schedule(job, schedule, query, topic, key_column,
 *				idempotency_key_column, on_invalid) returns bigint
 *
 * Returns pg_cron's job id.  Again for the same job: replaces what it does,
 * and under which search_path, the caller's; the owner stays.
 */
Datum
eda_schedule(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	TEXTOID, TEXTOID, OIDOID, TEXTOID};
	static const Oid id_types[] = {TEXTOID, INT8OID};
	char	   *name = EdaTextArg(fcinfo, 0, "job");
	char	   *schedule = EdaTextArg(fcinfo, 1, "schedule");
	char	   *query = EdaTextArg(fcinfo, 2, "query");
	char	   *topic = EdaTextArg(fcinfo, 3, "topic");
	char	   *key_column = optional_text(fcinfo, 4);
	char	   *idempotency_key_column = optional_text(fcinfo, 5);
	char	   *on_invalid = EdaTextArg(fcinfo, 6, "on_invalid");
	Job		   *old;
	Oid			owner;
	int64		cron_jobid;
	Datum		values[9];
	char		nulls[] = "         ";
	EdaSecurityContext ctx;

	PreventCommandIfReadOnly("eda.schedule()");
	PreventCommandDuringRecovery("eda.schedule()");

	if (name[0] == '\0' || strlen(name) > EDA_MAX_NAME_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid job name \"%s\"", name),
				 errdetail("A name has 1 to %d bytes.", EDA_MAX_NAME_LEN)));
	EdaCheckTopic(topic, strlen(topic), false);
	if (strcmp(on_invalid, "fail") != 0 && strcmp(on_invalid, "skip") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for argument \"on_invalid\": \"%s\"", on_invalid),
				 errhint("Valid values are \"fail\" and \"skip\".")));
	check_query(name, query);

	old = job_for_change(name, true, true);
	if (old != NULL)
		check_owner_exists(old);
	owner = old != NULL ? old->owner : GetUserId();
	check_owner_can_run(name, owner);

	values[0] = text_datum(name);
	values[1] = text_datum(schedule);
	values[2] = text_datum(query);
	values[3] = text_datum(topic);
	values[4] = text_datum(key_column);
	values[5] = text_datum(idempotency_key_column);
	values[6] = text_datum(on_invalid);
	values[7] = ObjectIdGetDatum(owner);
	values[8] = text_datum(GetConfigOption("search_path", false, false));
	if (key_column == NULL)
		nulls[4] = 'n';
	if (idempotency_key_column == NULL)
		nulls[5] = 'n';
	EdaSpiBegin(&ctx);
	EdaSpiExecute("INSERT INTO eda.job (name, schedule, query, topic, key_column,"
				  "       idempotency_key_column, on_invalid, owner, search_path)"
				  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
				  " ON CONFLICT (name) DO UPDATE SET schedule = excluded.schedule,"
				  "       query = excluded.query, topic = excluded.topic,"
				  "       key_column = excluded.key_column,"
				  "       idempotency_key_column = excluded.idempotency_key_column,"
				  "       on_invalid = excluded.on_invalid,"
				  "       search_path = excluded.search_path",
				  9, types, values, nulls, SPI_OK_INSERT);
	EdaSpiEnd(&ctx);

	/* Last but for the id: in another database it is committed when it returns. */
	cron_jobid = EdaCronSchedule(owner, cron_job_name(name), schedule, cron_command(name),
								 old != NULL ? old->cron_jobid : 0);

	values[1] = Int64GetDatum(cron_jobid);
	EdaSpiBegin(&ctx);
	EdaSpiExecute("UPDATE eda.job SET cron_jobid = $2 WHERE name = $1",
				  2, id_types, values, NULL, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);

	PG_RETURN_INT64(cron_jobid);
}

/*
 * eda.unschedule(job) returns boolean
 *
 * False where there is no such job.  Its runs stay in eda.job_runs; a run
 * that is going on ends as it would have.
 */
Datum
eda_unschedule(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {TEXTOID};
	char	   *name = EdaTextArg(fcinfo, 0, "job");
	Job		   *job;
	Datum		values[1] = {text_datum(name)};
	char	   *role_name;
	EdaSecurityContext ctx;

	PreventCommandIfReadOnly("eda.unschedule()");
	PreventCommandDuringRecovery("eda.unschedule()");

	job = job_for_change(name, false, false);
	if (job == NULL)
		PG_RETURN_BOOL(false);

	EdaSpiBegin(&ctx);
	EdaSpiExecute("DELETE FROM eda.job WHERE name = $1",
				  1, types, values, NULL, SPI_OK_DELETE);
	EdaSpiEnd(&ctx);

	/* Last: in another database it is committed when it returns. */
	role_name = GetUserNameFromId(job->owner, true);
	(void) EdaCronUnschedule(role_name != NULL ? job->owner : GetUserId(), role_name,
							 cron_job_name(name), job->cron_jobid, cron_command(name));

	PG_RETURN_BOOL(true);
}

/* Insert a run's row; ERROR-free but for the usual.  Returns its id. */
static int64
insert_run(const Job *job, const char *outcome, const char *message)
{
	static const Oid types[] = {INT4OID, TEXTOID, OIDOID, TEXTOID, TEXTOID};
	Datum		values[5];
	char		nulls[] = "     ";
	EdaSecurityContext ctx;
	int64		run_id;
	bool		isnull;

	values[0] = Int32GetDatum(job->id);
	values[1] = text_datum(job->name);
	values[2] = ObjectIdGetDatum(job->owner);
	values[3] = text_datum(outcome);
	values[4] = text_datum(message);
	if (message == NULL)
		nulls[4] = 'n';
	EdaSpiBegin(&ctx);
	EdaSpiExecute("INSERT INTO eda.job_run (job_id, job, owner, outcome, message, finished_at)"
				  " VALUES ($1, $2, $3, $4, $5,"
				  "         CASE WHEN $4 <> 'running' THEN clock_timestamp() END)"
				  " RETURNING run_id",
				  5, types, values, nulls, SPI_OK_INSERT_RETURNING);
	run_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										 SPI_tuptable->tupdesc, 1, &isnull));
	EdaSpiEnd(&ctx);

	return run_id;
}

/* Under the job's lock: a run that says it is running is one that died. */
static void
close_dead_runs(const Job *job)
{
	static const Oid types[] = {INT4OID, TEXTOID};
	Datum		values[2];
	EdaSecurityContext ctx;

	values[0] = Int32GetDatum(job->id);
	values[1] = CStringGetTextDatum(unpack_sql_state(ERRCODE_CRASH_SHUTDOWN));
	EdaSpiBegin(&ctx);
	EdaSpiExecute("UPDATE eda.job_run SET outcome = 'error', error_code = $2,"
				  "       message = 'the server or its session ended during the run',"
				  "       finished_at = clock_timestamp()"
				  " WHERE job_id = $1 AND outcome = 'running'",
				  2, types, values, NULL, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);
}

/*
 * Under the job's lock: forget its runs that are older than 30 days, but for
 * the last 100.  From the oldest, and no more than the LIMIT at once, so that
 * it takes no longer where there is nothing to forget; that still is more than
 * come into being from one run to the next.
 */
static void
prune_runs(const Job *job)
{
	static const Oid types[] = {INT4OID};
	Datum		values[1] = {Int32GetDatum(job->id)};
	EdaSecurityContext ctx;

	EdaSpiBegin(&ctx);
	EdaSpiExecute("DELETE FROM eda.job_run WHERE run_id IN"
				  " (SELECT o.run_id"
				  "    FROM (SELECT r.run_id, r.started_at FROM eda.job_run r"
				  "           WHERE r.job_id = $1"
				  "             AND r.run_id < (SELECT k.run_id FROM eda.job_run k"
				  "                              WHERE k.job_id = $1"
				  "                              ORDER BY k.run_id DESC OFFSET 99 LIMIT 1)"
				  "           ORDER BY r.run_id LIMIT 1000) o"
				  "   WHERE o.started_at < clock_timestamp() - interval '30 days')",
				  1, types, values, NULL, SPI_OK_DELETE);
	EdaSpiEnd(&ctx);
}

/* Keep the rows that were refused with the run. */
static void
keep_refusals(int64 run_id, const List *refusals)
{
	static const Oid types[] = {INT8OID, INT8OID, JSONBOID, TEXTOID};
	EdaSecurityContext ctx;
	ListCell   *lc;

	EdaSpiBegin(&ctx);
	foreach(lc, refusals)
	{
		const EdaRefusal *refusal = lfirst(lc);
		Datum		values[4];
		char		nulls[] = "    ";

		values[0] = Int64GetDatum(run_id);
		values[1] = Int64GetDatum(refusal->row);
		values[2] = JsonbPGetDatum(refusal->payload);
		if (refusal->payload == NULL)
			nulls[2] = 'n';
		values[3] = CStringGetTextDatum(refusal->reason);
		EdaSpiExecute("INSERT INTO eda.job_refusal (run_id, row, payload, violations)"
					  " VALUES ($1, $2, $3, $4)", 4, types, values, nulls, SPI_OK_INSERT);
	}
	EdaSpiEnd(&ctx);
}

/* The run's outcome where the query did not fail. */
static void
finish_run(int64 run_id, const EdaPublishResult *result)
{
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID, INT8OID, INT8OID,
	INT8OID, INT8OID, INT8OID};
	int64		before = result->total - result->published - result->invalid;
	Datum		values[8];
	char		nulls[] = "        ";
	StringInfoData message;
	EdaSecurityContext ctx;

	initStringInfo(&message);
	if (result->total == 0)
		appendStringInfoString(&message, "no records to process");
	else if (before == result->total)
		appendStringInfo(&message, before == 1 ? "%lld row, published before" :
						 "%lld rows, all published before", (long long) before);
	else
	{
		if (before > 0)
			appendStringInfo(&message, "%lld of %lld rows were published before",
							 (long long) before, (long long) result->total);
		if (result->invalid > 0)
			appendStringInfo(&message, "%s%lld of %lld rows were refused",
							 before > 0 ? ", " : "",
							 (long long) result->invalid, (long long) result->total);
	}

	values[0] = Int64GetDatum(run_id);
	values[1] = text_datum(result->total == 0 ? "no_records" : "published");
	values[2] = text_datum(message.data);
	if (message.len == 0)
		nulls[2] = 'n';
	values[3] = Int64GetDatum(result->total);
	values[4] = Int64GetDatum(result->published);
	values[5] = Int64GetDatum(result->invalid);
	values[6] = Int64GetDatum(result->first_id);
	values[7] = Int64GetDatum(result->last_id);
	if (result->published == 0)
		nulls[6] = nulls[7] = 'n';
	EdaSpiBegin(&ctx);
	EdaSpiExecute("UPDATE eda.job_run SET outcome = $2, message = $3, total = $4,"
				  "       published = $5, invalid = $6, first_id = $7, last_id = $8,"
				  "       finished_at = clock_timestamp()"
				  " WHERE run_id = $1",
				  8, types, values, nulls, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);
}

/* The run's outcome where it failed, and the event that tells of it. */
static void
fail_run(const Job *job, int64 run_id, const ErrorData *edata)
{
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID};
	static const Oid payload_types[] = {TEXTOID, INT8OID, TEXTOID, TEXTOID};
	const char *text = edata->message != NULL ? edata->message : "";
	Datum		values[4];
	char		nulls[] = "    ";
	EdaSecurityContext ctx;
	MemoryContext cxt = CurrentMemoryContext;
	MemoryContext spi_cxt;
	Jsonb	   *payload;
	bool		isnull;

	values[0] = Int64GetDatum(run_id);
	values[1] = text_datum(unpack_sql_state(edata->sqlerrcode));
	values[2] = text_datum(text);
	values[3] = text_datum(edata->detail);
	if (edata->detail == NULL)
		nulls[3] = 'n';
	EdaSpiBegin(&ctx);
	EdaSpiExecute("UPDATE eda.job_run SET outcome = 'error', error_code = $2,"
				  "       message = $3, error_detail = $4, finished_at = clock_timestamp()"
				  " WHERE run_id = $1",
				  4, types, values, nulls, SPI_OK_UPDATE);

	values[0] = text_datum(job->name);
	values[1] = Int64GetDatum(run_id);
	values[2] = text_datum(unpack_sql_state(edata->sqlerrcode));
	values[3] = PointerGetDatum(cstring_to_text_with_len(text,
														 pg_mbcliplen(text, strlen(text),
																	  JOB_FAILED_MESSAGE_LEN)));
	EdaSpiExecute("SELECT jsonb_build_object('job', $1, 'run', $2,"
				  "       'error_code', $3, 'error_message', $4)",
				  4, payload_types, values, NULL, SPI_OK_SELECT);
	spi_cxt = MemoryContextSwitchTo(cxt);
	payload = DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0],
											   SPI_tuptable->tupdesc, 1, &isnull));
	MemoryContextSwitchTo(spi_cxt);
	EdaSpiEnd(&ctx);

	(void) EdaPublishInternal(JOB_FAILED_TOPIC, payload, job->name, NULL, 0);
}

/*
 * Look names up as where the job was scheduled, until AtEOXact_GUC() with what
 * this returns.  Temporary tables of the caller's session come last: they are
 * not there when pg_cron calls.
 */
static int
use_search_path(const Job *job)
{
	int			nestlevel = NewGUCNestLevel();
	char	   *path = psprintf("%s%spg_temp", job->search_path,
								job->search_path[0] != '\0' ? ", " : "");

	(void) set_config_option("search_path", path, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	return nestlevel;
}

/*
 * The query, its events and the outcome in one transaction, committed.
 * Returns the error that any of it ended in, in the current context, with
 * nothing of it left and a fresh transaction begun; NULL: all is well.
 */
static ErrorData *
publish_run(const Job *job, const LOCKTAG *tag, int64 run_id)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	EdaPublishResult result;
	ErrorData  *volatile edata = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		EdaSecurityContext ctx;
		int			nestlevel;

		PushActiveSnapshot(GetTransactionSnapshot());
		EdaBeginAsRoleRestricted(&ctx, job->owner);
		nestlevel = use_search_path(job);
		EdaPublishQuery(job->topic, job->query, job->key_column,
						job->idempotency_key_column, job->skip_invalid,
						MAX_REFUSALS, &result);
		AtEOXact_GUC(false, nestlevel);
		EdaEndAsRole(&ctx);
		PopActiveSnapshot();

		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(cxt);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(cxt);
		CurrentResourceOwner = owner;
	}
	PG_END_TRY();
	if (edata != NULL)
		return edata;

	PushActiveSnapshot(GetTransactionSnapshot());
	finish_run(run_id, &result);
	if (result.refusals != NIL)
		keep_refusals(run_id, result.refusals);
	PopActiveSnapshot();

	/* Deferred constraints are checked here, so this fails like the query. */
	PG_TRY();
	{
		SPI_commit();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();

	/* The transaction that was aborted took the session's lock with it. */
	if (edata != NULL)
		(void) LockAcquire(tag, ExclusiveLock, true, true);

	return edata;
}

/* All of a run that happens under the job's lock. */
static void
run_locked(const Job *job, const LOCKTAG *tag)
{
	int64		run_id;
	ErrorData  *edata;

	PushActiveSnapshot(GetTransactionSnapshot());
	close_dead_runs(job);
	run_id = insert_run(job, "running", NULL);
	PopActiveSnapshot();
	SPI_commit();

	edata = publish_run(job, tag, run_id);
	if (edata != NULL)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		fail_run(job, run_id, edata);
		PopActiveSnapshot();
		SPI_commit();
	}

	/* On its own: no trouble with old runs is to undo this one. */
	PushActiveSnapshot(GetTransactionSnapshot());
	prune_runs(job);
	PopActiveSnapshot();
	SPI_commit();

	if (edata != NULL)
		ReThrowError(edata);
}

/* An aborted transaction, as of a failed commit, has released it already. */
static void
release_run_lock(const LOCKTAG *tag)
{
	if (eda_lock_held(tag, ExclusiveLock))
		LockRelease(tag, ExclusiveLock, true);
}

/* The job of that name, which must be there and which the caller may run. */
static Job *
job_to_run(const char *name)
{
	Job		   *job = load_job(name);

	if (job == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EDA_UNDEFINED_JOB),
				 errmsg("job \"%s\" does not exist", name),
				 errhint("eda.jobs lists the jobs.  If pg_cron still runs it, cron.unschedule(%s) in pg_cron's database ends that.",
						 quote_literal_cstr(cron_job_name(name)))));
	check_job_owner(job, false);
	check_owner_exists(job);
	return job;
}

/*
 * CALL eda.run_job(job)
 *
 * Commits on its way, so not inside a transaction block.
 */
Datum
eda_run_job(PG_FUNCTION_ARGS)
{
	char	   *name = EdaTextArg(fcinfo, 0, "job");
	Job		   *job;
	LOCKTAG		tag;

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("CALL eda.run_job cannot run inside a transaction block"),
				 errhint("It commits on its way.  Call it on its own; inside a transaction, eda.publish_query() publishes a query's rows.")));
	PreventCommandIfReadOnly("CALL eda.run_job");
	PreventCommandDuringRecovery("CALL eda.run_job");

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	/* from here on in SPI's own memory, which outlives the commits */
	name = pstrdup(name);
	job = job_to_run(name);

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, EdaRelationId("job"), job->id, 0);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		(void) insert_run(job, "skipped", "the previous run is still going");
		PopActiveSnapshot();
	}
	else
	{
		PG_TRY();
		{
			run_locked(job, &tag);
		}
		PG_CATCH();
		{
			release_run_lock(&tag);
			PG_RE_THROW();
		}
		PG_END_TRY();
		release_run_lock(&tag);
	}

	SPI_finish();
	PG_RETURN_VOID();
}
