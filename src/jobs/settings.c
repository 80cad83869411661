/*-------------------------------------------------------------------------
 *
 * jobs/settings.c
 *	  The settings that a job's rows depend on.
 *
 *	1. Which rows a query selects, and how they read as JSON, depends on settings:
 *	   what day it is, how an interval or a bytea is written, where names are
 *	   looked up.  A job has its own: those of the session that scheduled
 *	   it, kept as text[] of 'name=value', like ALTER ROLE keeps them.
 *	2. A run puts them in force for its transaction, with SET LOCAL's means: they
 *	   are in force until the transaction has ended, deferred constraints included,
 *	   and the caller's are back then, whatever the end.
 *	3. Settings of an application's (those with a dot in their name) that the
 *	   session has SET are reset for that time: a session of pg_cron's does not
 *	   have them.
 *	4. Limits on time stay the caller's: statement_timeout and lock_timeout end
 *	   a run, and do not change what it publishes.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jobs/settings.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"

#include "jobs/job.h"

/*
 * search_path has a column of its own.  The isolation is of the transaction, see
 * EdaJobSetIsolation().
 */
static const char *const captured[] = {
	"TimeZone", "DateStyle", "IntervalStyle", "timezone_abbreviations",
	"bytea_output", "extra_float_digits", "xmlbinary", "xmloption",
	"lc_messages", "lc_monetary", "lc_numeric", "lc_time",
	"default_text_search_config", "array_nulls", "backslash_quote",
	"standard_conforming_strings", "transform_null_equals", "quote_all_identifiers",
	"gin_fuzzy_search_limit", "row_security", "session_replication_role",
	"default_transaction_isolation"
};

#define ISOLATION	"default_transaction_isolation"

ArrayType *
EdaJobCaptureSettings(const char *timezone)
{
	Datum		values[lengthof(captured)];

	for (int i = 0; i < lengthof(captured); i++)
	{
		const char *value = GetConfigOption(captured[i], false, false);

		if (timezone != NULL && strcmp(captured[i], "TimeZone") == 0)
			value = timezone;
		values[i] = CStringGetTextDatum(psprintf("%s=%s", captured[i], value));
	}
	return construct_array(values, lengthof(captured), TEXTOID, -1, false, TYPALIGN_INT);
}

char *
EdaJobSearchPath(const EdaJob *job)
{
	return psprintf("%s%spg_temp", job->search_path, job->search_path[0] != '\0' ? ", " : "");
}

/* value NULL: what RESET would make it. */
static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
							 true, 0, false);
}

/* Application settings that this session has SET. */
static void
reset_custom_settings(void)
{
	int			n;
	struct config_generic **variables = eda_guc_variables(&n);

	for (int i = 0; i < n; i++)
	{
		const char *name = variables[i]->name;

		if (variables[i]->source == PGC_S_SESSION && variables[i]->context == PGC_USERSET &&
			strchr(name, '.') != NULL && strncmp(name, "eda.", 4) != 0)
			set_local(name, NULL);
	}
}

/* The value that the job has for a setting; NULL: none. */
static char *
job_setting(const EdaJob *job, const char *name)
{
	Datum	   *values;
	int			n;

	if (job->settings == NULL)
		return NULL;
	deconstruct_array(job->settings, TEXTOID, -1, false, TYPALIGN_INT, &values, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *setting = TextDatumGetCString(values[i]);
		char	   *equals = strchr(setting, '=');

		if (equals != NULL && strlen(name) == equals - setting &&
			strncmp(setting, name, equals - setting) == 0)
			return equals + 1;
	}
	return NULL;
}

void
EdaJobSetIsolation(const EdaJob *job)
{
	char	   *isolation = job_setting(job, ISOLATION);

	if (isolation != NULL)
		set_local("transaction_isolation", isolation);
}

void
EdaJobApplySettings(const EdaJob *job)
{
	for (int i = 0; i < lengthof(captured); i++)
	{
		if (strcmp(captured[i], ISOLATION) != 0)
			set_local(captured[i], job_setting(job, captured[i]));
	}
	set_local("search_path", EdaJobSearchPath(job));
	reset_custom_settings();
}
