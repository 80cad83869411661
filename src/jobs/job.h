/*-------------------------------------------------------------------------
 *
 * jobs/job.h
 *	  A job, and what its files share: jobs/job.c schedules it, jobs/check.c looks at its query,
 *	  jobs/settings.c keeps its settings, jobs/run.c runs it, jobs/watch.c sees to it that it was
 *	  run.
 *
 * When a job runs
 *
 *	pg_cron starts a job, and knows one time zone only.  For a job with a zone of its own it
 *	gets a wider schedule (EdaCrontabWiden), and each start looks whether the job is due
 *	there: its row in eda.job_run says for which instant it is, so an instant is done if and
 *	only if that commits.  Nobody keeps a list of what is due: the next instant follows from
 *	the schedule and the last run.  From that the dispatcher sees what was missed
 *	(jobs/watch.c), whichever database pg_cron's own history is in.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jobs/job.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_JOB_H
#define EDA_JOB_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/lock.h"
#include "utils/array.h"

#define EDA_JOB_FAILED_TOPIC	"eda.job.failed"

/*
 * How late a job that has a time zone may be started for a run that was due: pg_cron starts
 * it more often than it is due, and one of these makes up for one that failed.
 */
#define EDA_JOB_LATEST_US		(2 * USECS_PER_HOUR)

typedef struct EdaJob
{
	int32		id;
	char	   *name;
	char	   *schedule;
	char	   *query;
	char	   *topic;
	char	   *key_column;		/* NULL: none */
	char	   *idempotency_key_column; /* NULL: none */
	bool		skip_invalid;
	char	   *search_path;
	ArrayType  *settings;		/* text[] of 'name=value'; NULL: of a job of version 0.1.0 */
	char	   *timezone;		/* NULL: pg_cron's */
	int64		timeout_ms;		/* 0: none */
	int32		retries;
	Oid			owner;
	int64		cron_jobid;		/* 0: unknown */
	TimestampTz scheduled_at;	/* since when it is as it is */
} EdaJob;

/* jobs/job.c */

/* The job of that name, in the current context; NULL: none. */
extern EdaJob *EdaJobLoad(const char *name);
/* ERROR unless the current user has the rights of its owner; defines: and may become it. */
extern void EdaJobCheckOwner(const EdaJob *job, bool defines);
/* ERROR where the role that it runs as has been dropped. */
extern void EdaJobCheckOwnerExists(const EdaJob *job);
/* pg_cron's name for the job of that name. */
extern char *EdaJobCronName(const char *name);
/* The lock that a run holds, see jobs/run.c. */
extern void EdaJobRunTag(LOCKTAG *tag, int32 job_id);

/* jobs/check.c */

/*
 * ERROR where the query is not one statement that returns rows which could be
 * published, whatever else changes; WARNING where something that it needs is not
 * there, or not allowed, as yet.  The query is analyzed as the job's owner under
 * the job's search_path, and not executed.
 */
extern void EdaJobCheckQuery(const EdaJob *job);

/* jobs/settings.c */

/*
 * The settings of this session that a job depends on, for eda.job.settings; timezone: what
 * TimeZone is to be, or NULL.
 */
extern ArrayType *EdaJobCaptureSettings(const char *timezone);
/*
 * The job's search_path.  Temporary tables of the caller's session come last: they are not there
 * when pg_cron calls.
 */
extern char *EdaJobSearchPath(const EdaJob *job);
/* The transaction's isolation is the job's; before anything else in a transaction. */
extern void EdaJobSetIsolation(const EdaJob *job);
/* Put the job's settings in force until the end of the transaction. */
extern void EdaJobApplySettings(const EdaJob *job);

/* jobs/run.c */

/*
 * Runs of the job, up to that one, that say that they are running have died.  Says so in
 * eda.job_run, and publishes it.  For who has the job's lock, or knows that nobody had it since.
 */
extern void EdaJobCloseDeadRuns(int32 job_id, int64 up_to);

/*
 * Forget the job's runs of more than 30 days ago, but for the last 100.
 */
extern void EdaJobPruneRuns(int32 job_id);

/*
 * Publish that a run of a job failed, as its owner: what went wrong goes by a code only, as
 * messages may hold data.
 */
extern void EdaJobPublishFailure(const char *job, int64 run_id, Oid owner, const char *error_code,
								 const char *where);

/* jobs/watch.c */

/*
 * The dispatcher's.  look: jobs have changed.  A transaction of its own, if there is something to
 * look at.
 */
extern void EdaJobWatchServe(bool look);
/* In how many ms there is; -1: nothing is due. */
extern long EdaJobWatchSleep(void);

#endif							/* EDA_JOB_H */
