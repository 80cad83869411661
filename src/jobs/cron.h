/*-------------------------------------------------------------------------
 *
 * jobs/cron.h
 *	  pg_cron, in this database or in another one.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jobs/cron.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_CRON_H
#define EDA_CRON_H

#include "datatype/timestamp.h"
#include "pgtime.h"

/*
 * Have pg_cron run a command in this database, as `role`: a new job, or the
 * one of that name and role changed.  Returns pg_cron's job id.  Where the
 * job had another one before, known_jobid (0: none), pg_cron forgets that one
 * under the conditions of EdaCronUnschedule.  ERROR
 * EDA_PG_CRON_MISSING where there is no pg_cron, insufficient_privilege where
 * the role may not use it, or pg_cron's own.
 *
 * pg_cron's tables are in one database of the server.  Where that is this
 * one, all of it is part of this transaction; where it is another one, it is
 * committed there when this returns, whatever becomes of this transaction: so call it last.
 */
extern int64 EdaCronSchedule(Oid role, const char *name, const char *schedule,
							 const char *command, int64 known_jobid);

/*
 * Have pg_cron forget it: the job of that name, or the one with that id (0: unknown) as long as
 * it runs the same command, in this database or in one that does not exist: this one before it
 * was renamed, and never the one that this is a copy of.  False where pg_cron has none, or is not
 * there itself.  The job is looked for among those of `role_name`, acting as `role`; NULL: among
 * all that the role can see.
 */
extern bool EdaCronUnschedule(Oid role, const char *role_name, const char *name,
							  int64 cron_jobid, const char *command);

/* The time zone in which pg_cron reads schedules. */
extern pg_tz *EdaCronZone(void);

/*
 * Since when pg_cron's launcher is running, which makes up for nothing of before; DT_NOBEGIN: it
 * is not.
 */
extern TimestampTz EdaCronRunningSince(void);

/*
 * WARNING for what shows already that pg_cron will not run a job of that role: its
 * settings, its processes.
 */
extern void EdaCronWarn(const char *job, const char *role);

/* What pg_cron knows of a job's last start: see EdaCronLastStart(). */
typedef struct EdaCronStart
{
	bool		known;			/* else nothing is, and the rest is empty */
	bool		gone;			/* pg_cron has no such job any more */
	bool		inactive;		/* cron.alter_job(active := false) */
	bool		failed;			/* it could not start it, or the call failed */
	int64		runid;			/* cron.job_run_details.runid; 0: it was never started */
	TimestampTz started_at;		/* DT_NOBEGIN: not at all */
	char	   *message;		/* cron.job_run_details.return_message; NULL: none */
} EdaCronStart;

/*
 * Look into pg_cron's tables, where they are in this database, and nobody has locked
 * them.  In a transaction with a snapshot, as who may read all of them.
 */
extern void EdaCronLastStart(int64 cron_jobid, EdaCronStart *start);

extern PGDLLEXPORT void EdaCronWorkerMain(Datum main_arg);

#endif							/* EDA_CRON_H */
