/*-------------------------------------------------------------------------
 *
 * base/settings.c
 *	  eda's settings.
 *
 *	1. All are there in any session that loaded the library, so that publishing works without
 *	   preloading.  eda.max_executors and eda.max_databases, which shared memory's size depends
 *	   on, take a restart (POSTMASTER); such a setting can't be made later, so where nothing was
 *	   preloaded, and nothing reads it, it is the configuration file's.
 *	2. Who may set what: how much of the server delivery may use, and what
 *	   publishers and housekeeping must agree upon, is the configuration file's
 *	   (SIGHUP); what protects the database from a publisher is a superuser's,
 *	   and may be set per database and role (SUSET); how its own handlers commit
 *	   is each role's (USERSET).
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/settings.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include <limits.h>

#include "utils/guc.h"

int			eda_max_executors = 4;
int			eda_max_databases = 1024;
int			eda_executor_linger = 60 * 1000;
int			eda_batch_time = 200;
int			eda_poll_interval = 5 * 1000;
int			eda_max_payload_size = 16 * 1024;
int			eda_max_hops = 25;
int			eda_max_timeout = 60 * 60 * 1000;
int			eda_idempotency_window = 24 * 60 * 60;
int			eda_retention = 7 * 24 * 60 * 60;
int			eda_retention_size = -1;
int			eda_segment_size = 256 * 1024;
bool		eda_synchronous_commit = false;
bool		eda_enabled = true;

#define MS_PER_DAY		(24 * 60 * 60 * 1000)

/* The largest jsonb is a little below 256 MB. */
#define MAX_PAYLOAD_KB	(256 * 1024 - 1)

/*
 * Define the settings; preloading: the server is starting.  Called once a
 * process, from _PG_init.
 */
void
EdaDefineSettings(bool preloading)
{
	DefineCustomIntVariable("eda.max_executors",
							"Sets the maximum number of processes that run handlers, in the whole server.",
							"Each takes a worker slot of max_worker_processes while it runs.",
							&eda_max_executors,
							4, 1, 1024,
							preloading ? PGC_POSTMASTER : PGC_SIGHUP,
							0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("eda.max_databases",
							"Sets the maximum number of databases of the server in which events are delivered.",
							"Each takes a few hundred bytes of shared memory, whether it has the extension or not.",
							&eda_max_databases,
							1024, 1, 65536,
							preloading ? PGC_POSTMASTER : PGC_SIGHUP,
							0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("eda.executor_linger",
							"Sets how long an executor without work stays connected.",
							NULL,
							&eda_executor_linger,
							60 * 1000, 0, MS_PER_DAY,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("eda.batch_time",
							"Sets how long the events handled in one transaction may take before it is committed.",
							NULL,
							&eda_batch_time,
							200, 1, 60 * 60 * 1000,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("eda.poll_interval",
							"Sets how often a dispatcher looks for work that nobody woke it for.",
							"A safety net: commits wake the dispatcher at once.",
							&eda_poll_interval,
							5 * 1000, 1000, MS_PER_DAY,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("eda.max_payload_size",
							"Sets the largest payload that can be published.",
							NULL,
							&eda_max_payload_size,
							16 * 1024, 1, MAX_PAYLOAD_KB,
							PGC_SUSET,
							GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomIntVariable("eda.max_hops",
							"Sets how long a chain of events published by handlers can get.",
							"A handler's event has one hop more than the event it handles; beyond this many, publishing is refused.",
							&eda_max_hops,
							25, 0, 10000,
							PGC_SUSET,
							0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("eda.max_timeout",
							"Sets the longest timeout that a subscription may have.",
							"Longer ones are refused; those from before, and from before it was lowered, are cut short. It does not apply to superusers' subscriptions.",
							&eda_max_timeout,
							60 * 60 * 1000, 1, EDA_LONGEST_TIMEOUT_MS,
							PGC_SUSET,
							GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("eda.idempotency_window",
							"Sets how long a topic remembers an idempotency key.",
							NULL,
							&eda_idempotency_window,
							24 * 60 * 60, 1, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomIntVariable("eda.retention",
							"Sets how long events stay in the log after every subscription has got past them.",
							"0 removes them as soon as that is so. Whole segments are removed, so some events stay for longer.",
							&eda_retention,
							7 * 24 * 60 * 60, 0, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomIntVariable("eda.retention_size",
							"Sets the size of the event log above which its oldest segments are removed before eda.retention has passed.",
							"What a subscription has still to handle stays. -1 sets no bound.",
							&eda_retention_size,
							-1, -1, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MB,
							NULL, NULL, NULL);

	DefineCustomIntVariable("eda.segment_size",
							"Sets the size at which a new segment of the event log is begun.",
							NULL,
							&eda_segment_size,
							256 * 1024, 1024, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("eda.synchronous_commit",
							 "Makes executors wait for their commits to reach the disk.",
							 "Needed where a handler has effects outside the database. Can be set per role, with ALTER ROLE.",
							 &eda_synchronous_commit,
							 false,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);

	DefineCustomBoolVariable("eda.enabled",
							 "Delivers events.",
							 "Can be set per database, with ALTER DATABASE; off stops the database's workers, events can be published all the same.",
							 &eda_enabled,
							 true,
							 PGC_SUSET,
							 0,
							 NULL, NULL, NULL);

	MarkGUCPrefixReserved("eda");
}
