/*-------------------------------------------------------------------------
 *
 * jobs/job.c
 *	  Jobs: a query whose rows are published when pg_cron says so.
 *
 *	1. eda.job holds what a job does, eda.job_run what each of its runs came
 *	   to (jobs/run.c).  Both are written as the extension's owner, after the
 *	   rights of the caller have been checked.  pg_cron runs nothing but
 *	   CALL eda.run_job('name'), as the job's owner.
 *	2. A change of a job holds an object lock on (eda.job, hash of its name,
 *	   sub-id 1) to the end of the transaction, taken after the check of the
 *	   caller's rights: two changes of one name do not race, and other names
 *	   do not wait.
 *	3. What a job is stays as it was when it was scheduled: the role that it runs
 *	   as, the search_path, and the settings that its rows depend on.
 *	4. A job with a time zone is known to pg_cron with a wider schedule, in
 *	   pg_cron's own zone, and as CALL eda._start_job('name'), which does nothing
 *	   unless the job is due (jobs/crontab.c, jobs/run.c).
 *	5. Everything that would keep a job from running is said when it is
 *	   scheduled: as an error where it can't come right by itself, else as a
 *	   warning (jobs/check.c, and EdaCronWarn() about pg_cron).
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jobs/job.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "base/args.h"
#include "base/at_commit.h"
#include "base/catalog.h"
#include "base/security.h"
#include "base/shmem.h"
#include "event/event.h"
#include "jobs/cron.h"
#include "jobs/crontab.h"
#include "jobs/job.h"
#include "publish/publish.h"
#include "subscription/subscription.h"

#define JOB_NAME_LOCK_SUBID		1	/* 0 is for the lock of a run */
#define MAX_RETRIES				100
#define MAX_TIMEOUT_MS			(INT64CONST(7) * SECS_PER_DAY * 1000)

PG_FUNCTION_INFO_V1(eda_schedule);
PG_FUNCTION_INFO_V1(eda_schedule_job);
PG_FUNCTION_INFO_V1(eda_unschedule);

static char *
optional_text(FunctionCallInfo fcinfo, int n)
{
	return fcinfo->args[n].isnull ? NULL :
		text_to_cstring(DatumGetTextPP(fcinfo->args[n].value));
}

/* Column col of the first row of SPI_tuptable as a string in cxt, or NULL. */
static char *
row_text(int col, MemoryContext cxt)
{
	char	   *s = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, col);

	return s != NULL ? MemoryContextStrdup(cxt, s) : NULL;
}

static EdaJob *
job_from_row(MemoryContext cxt)
{
	HeapTuple	tuple = SPI_tuptable->vals[0];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	EdaJob	   *job = MemoryContextAllocZero(cxt, sizeof(EdaJob));
	MemoryContext before;
	bool		isnull;
	Datum		value;

	job->id = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull));
	job->name = row_text(2, cxt);
	job->query = row_text(3, cxt);
	job->topic = row_text(4, cxt);
	job->key_column = row_text(5, cxt);
	job->idempotency_key_column = row_text(6, cxt);
	job->skip_invalid = strcmp(row_text(7, cxt), "skip") == 0;
	job->owner = DatumGetObjectId(SPI_getbinval(tuple, desc, 8, &isnull));
	value = SPI_getbinval(tuple, desc, 9, &isnull);
	job->cron_jobid = isnull ? 0 : DatumGetInt64(value);
	job->search_path = row_text(10, cxt);
	job->schedule = row_text(11, cxt);
	job->timezone = row_text(12, cxt);
	value = SPI_getbinval(tuple, desc, 13, &isnull);
	job->timeout_ms = isnull ? 0 : EdaIntervalToMs(DatumGetIntervalP(value));
	job->retries = DatumGetInt32(SPI_getbinval(tuple, desc, 14, &isnull));
	before = MemoryContextSwitchTo(cxt);
	value = SPI_getbinval(tuple, desc, 15, &isnull);
	job->settings = isnull ? NULL : DatumGetArrayTypePCopy(value);
	MemoryContextSwitchTo(before);
	job->scheduled_at = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 16, &isnull));
	return job;
}

EdaJob *
EdaJobLoad(const char *name)
{
	static const Oid types[] = {TEXTOID};
	Datum		values[1] = {CStringGetTextDatum(name)};
	MemoryContext cxt = CurrentMemoryContext;
	EdaSecurityContext ctx;
	EdaJob	   *job = NULL;

	EdaSpiBegin(&ctx);
	if (EdaSpiExecute("SELECT job_id, name, query, topic, key_column,"
					  "       idempotency_key_column, on_invalid, owner, cron_jobid,"
					  "       search_path, schedule, timezone, timeout, retries, settings,"
					  "       scheduled_at"
					  "  FROM eda.job WHERE name = $1",
					  1, types, values, NULL, SPI_OK_SELECT) > 0)
		job = job_from_row(cxt);
	EdaSpiEnd(&ctx);

	return job;
}

void
EdaJobCheckOwner(const EdaJob *job, bool defines)
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

void
EdaJobCheckOwnerExists(const EdaJob *job)
{
	if (GetUserNameFromId(job->owner, true) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of job \"%s\" does not exist any more", job->name),
				 errhint("Unschedule it, and schedule it as another role.")));
}

void
EdaJobRunTag(LOCKTAG *tag, int32 job_id)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, EdaRelationId("job"), job_id, 0);
}

/*
 * The job of that name, for a change of it by the current user, who has the
 * right to it, with its name locked to the end of the transaction.  NULL: there
 * is none, and with `lock_missing` the name is locked so that it stays so.
 */
static EdaJob *
job_for_change(const char *name, bool defines, bool lock_missing)
{
	EdaJob	   *job = EdaJobLoad(name);

	if (job == NULL && !lock_missing)
		return NULL;
	if (job != NULL)
		EdaJobCheckOwner(job, defines);

	LockDatabaseObject(EdaRelationId("job"), EdaHashText(name, strlen(name)),
					   JOB_NAME_LOCK_SUBID, AccessExclusiveLock);

	/* As whoever had the lock before us left it. */
	job = EdaJobLoad(name);
	if (job != NULL)
		EdaJobCheckOwner(job, defines);
	return job;
}

/*
 * The name of pg_cron's job: 'eda:database:job', which takes NAMEDATALEN - 1
 * bytes at most.  pg_cron takes a job of the same name for the same job, so
 * where that does not fit, or does not say where the database's name ends, or
 * might look like what we make here, it is what fits of it and a hash.
 */
char *
EdaJobCronName(const char *name)
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
cron_command(const char *name, bool has_timezone)
{
	return psprintf("CALL eda.%s(%s)", has_timezone ? "_start_job" : "run_job",
					quote_literal_cstr(name));
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

/* Name, topic and on_invalid; ERROR where they make no sense. */
static void
read_arguments(FunctionCallInfo fcinfo, EdaJob *job)
{
	char	   *on_invalid;

	job->name = EdaTextArg(fcinfo, 0, "job");
	job->schedule = EdaTextArg(fcinfo, 1, "schedule");
	job->query = EdaTextArg(fcinfo, 2, "query");
	job->topic = EdaTextArg(fcinfo, 3, "topic");
	job->key_column = optional_text(fcinfo, 4);
	job->idempotency_key_column = optional_text(fcinfo, 5);
	on_invalid = EdaTextArg(fcinfo, 6, "on_invalid");
	job->timezone = optional_text(fcinfo, 7);
	EdaRequireArg(fcinfo, 9, "retries");
	job->retries = PG_GETARG_INT32(9);

	if (job->name[0] == '\0' || strlen(job->name) > EDA_MAX_NAME_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid job name \"%s\"", job->name),
				 errdetail("A name has 1 to %d bytes.", EDA_MAX_NAME_LEN)));
	EdaCheckTopic(job->topic, strlen(job->topic), false);
	if (strcmp(on_invalid, "fail") != 0 && strcmp(on_invalid, "skip") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for argument \"on_invalid\": \"%s\"", on_invalid),
				 errhint("Valid values are \"fail\" and \"skip\".")));
	job->skip_invalid = (strcmp(on_invalid, "skip") == 0);
	if (job->retries < 0 || job->retries > MAX_RETRIES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for argument \"retries\": %d", job->retries),
				 errdetail("A run that failed is run again 0 to %d times.", MAX_RETRIES)));
	if (!fcinfo->args[8].isnull)
	{
		job->timeout_ms = EdaIntervalToMs(PG_GETARG_INTERVAL_P(8));
		if (job->timeout_ms < 1 || job->timeout_ms > MAX_TIMEOUT_MS)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for argument \"timeout\""),
					 errdetail("It is 1 millisecond to 7 days.")));
	}
}

/*
 * The schedule that pg_cron gets.  ERROR where there is a time zone and one of the two is not
 * understood; without one, pg_cron has the last word.
 */
static char *
cron_schedule(EdaJob *job)
{
	EdaCrontab	c;
	bool		understood = EdaCrontabParse(job->schedule, &c);
	pg_tz	   *zone;

	if (job->timezone == NULL)
		return understood && c.yearly ? pstrdup("0 0 1 1 *") : job->schedule;

	zone = EdaCrontabZone(job->timezone);
	if (zone == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" is not known", job->timezone),
				 errhint("pg_timezone_names lists the time zones.")));
	job->timezone = pstrdup(pg_get_timezone_name(zone));
	if (!understood)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid schedule: %s", job->schedule),
				 errhint("It is five fields, minute, hour, day of month, month and day of week, or a name like @daily.")));
	if (c.reboot || c.seconds > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schedule \"%s\" has nothing to do with a time zone", job->schedule),
				 errhint("Leave out the argument \"timezone\".")));
	return EdaCrontabWiden(&c, zone, EdaCronZone(), GetCurrentTimestamp());
}

/* WARNING where eda can't say when it is due, or it never is. */
static void
warn_of_schedule(const EdaJob *job)
{
	EdaCrontab	c;
	pg_tz	   *zone = job->timezone != NULL ? EdaCrontabZone(job->timezone) : EdaCronZone();

	if (!EdaCrontabParse(job->schedule, &c))
		ereport(WARNING,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("pg_cron takes the schedule \"%s\" of job \"%s\", but it is not clear what for",
						job->schedule, job->name),
				 errdetail("eda can neither say when the job is due, nor notice that a run was missed."),
				 errhint("It is five fields, minute, hour, day of month, month and day of week, or a name like @daily.")));
	else if (!c.reboot && EdaCrontabNext(&c, zone, GetCurrentTimestamp()) == DT_NOEND)
		ereport(WARNING,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("job \"%s\" is never due by its schedule \"%s\"", job->name, job->schedule)));
}

/* Put the job into eda.job, new or in the place of the one of that name. */
static void
store_job(const EdaJob *job, Datum timeout)
{
	static const Oid types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	OIDOID, TEXTOID, TEXTOID, INTERVALOID, INT4OID, TEXTARRAYOID, OIDOID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types)];
	EdaSecurityContext ctx;

#define TEXT_VALUE(i, s) \
	(values[i] = (s) != NULL ? CStringGetTextDatum(s) : (Datum) 0, nulls[i] = (s) != NULL ? ' ' : 'n')

	memset(nulls, ' ', sizeof(nulls));
	TEXT_VALUE(0, job->name);
	TEXT_VALUE(1, job->schedule);
	TEXT_VALUE(2, job->query);
	TEXT_VALUE(3, job->topic);
	TEXT_VALUE(4, job->key_column);
	TEXT_VALUE(5, job->idempotency_key_column);
	TEXT_VALUE(6, job->skip_invalid ? "skip" : "fail");
	values[7] = ObjectIdGetDatum(job->owner);
	TEXT_VALUE(8, job->search_path);
	TEXT_VALUE(9, job->timezone);
	values[10] = timeout;
	nulls[10] = job->timeout_ms > 0 ? ' ' : 'n';
	values[11] = Int32GetDatum(job->retries);
	values[12] = PointerGetDatum(job->settings);
	values[13] = ObjectIdGetDatum(MyDatabaseId);

#undef TEXT_VALUE

	EdaSpiBegin(&ctx);
	EdaSpiExecute("INSERT INTO eda.job (name, schedule, query, topic, key_column,"
				  "       idempotency_key_column, on_invalid, owner, search_path, timezone,"
				  "       timeout, retries, settings, database)"
				  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
				  " ON CONFLICT (name) DO UPDATE SET schedule = excluded.schedule,"
				  "       query = excluded.query, topic = excluded.topic,"
				  "       key_column = excluded.key_column,"
				  "       idempotency_key_column = excluded.idempotency_key_column,"
				  "       on_invalid = excluded.on_invalid,"
				  "       search_path = excluded.search_path, timezone = excluded.timezone,"
				  "       timeout = excluded.timeout, retries = excluded.retries,"
				  "       settings = excluded.settings, database = excluded.database,"
				  "       scheduled_at = excluded.scheduled_at",
				  lengthof(types), types, values, nulls, SPI_OK_INSERT);
	EdaSpiEnd(&ctx);
}

/*
 * eda.schedule(job, schedule, query, topic, key_column,
 *				idempotency_key_column, on_invalid, timezone, timeout, retries) returns bigint
 *
 * Returns pg_cron's job id.  Again for the same job: replaces what it does,
 * and under which settings, the caller's; the owner stays.
 */
Datum
eda_schedule_job(PG_FUNCTION_ARGS)
{
	static const Oid id_types[] = {TEXTOID, INT8OID};
	EdaJob		job = {0};
	EdaJob	   *old;
	char	   *schedule;
	Datum		values[2];
	EdaSecurityContext ctx;

	read_arguments(fcinfo, &job);
	PreventCommandIfReadOnly("eda.schedule()");
	PreventCommandDuringRecovery("eda.schedule()");
	schedule = cron_schedule(&job);

	old = job_for_change(job.name, true, true);
	if (old != NULL)
		EdaJobCheckOwnerExists(old);
	job.owner = old != NULL ? old->owner : GetUserId();
	job.search_path = pstrdup(GetConfigOption("search_path", false, false));
	job.settings = EdaJobCaptureSettings(job.timezone);
	EdaJobCheckQuery(&job);
	check_owner_can_run(job.name, job.owner);
	store_job(&job, PG_GETARG_DATUM(8));

	/* Last but for the id: in another database it is committed when it returns. */
	job.cron_jobid = EdaCronSchedule(job.owner, EdaJobCronName(job.name), schedule,
									 cron_command(job.name, job.timezone != NULL),
									 old != NULL ? old->cron_jobid : 0);

	values[0] = CStringGetTextDatum(job.name);
	values[1] = Int64GetDatum(job.cron_jobid);
	EdaSpiBegin(&ctx);
	EdaSpiExecute("UPDATE eda.job SET cron_jobid = $2 WHERE name = $1",
				  2, id_types, values, NULL, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);

	EdaWakeAtCommit(EDA_WAKE_JOBS);
	warn_of_schedule(&job);
	EdaCronWarn(job.name, GetUserNameFromId(job.owner, false));
	PG_RETURN_INT64(job.cron_jobid);
}

/* What it was in version 0.1.0, with other arguments. */
Datum
eda_schedule(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this eda.schedule() is of an earlier version of extension eda"),
			 errhint("Run ALTER EXTENSION eda UPDATE.")));
	PG_RETURN_NULL();
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
	EdaJob	   *job;
	Datum		values[1] = {CStringGetTextDatum(name)};
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
	EdaWakeAtCommit(EDA_WAKE_JOBS);

	/* Last: in another database it is committed when it returns. */
	role_name = GetUserNameFromId(job->owner, true);
	(void) EdaCronUnschedule(role_name != NULL ? job->owner : GetUserId(), role_name,
							 EdaJobCronName(name), job->cron_jobid, cron_command(name, false));

	PG_RETURN_BOOL(true);
}
