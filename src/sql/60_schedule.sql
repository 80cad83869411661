-- Jobs: queries that pg_cron runs and whose rows are published (src/jobs/job.c).

CREATE TABLE eda.job (
    job_id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL UNIQUE,
    schedule        text NOT NULL,
    query           text NOT NULL,
    topic           text NOT NULL,
    key_column      text,
    idempotency_key_column text,
    on_invalid      text NOT NULL,
    owner           oid NOT NULL,       -- whom it runs as
    search_path     text NOT NULL DEFAULT '',   -- where it looks names up
    cron_jobid      bigint,             -- pg_cron's, in its database
    created_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    timezone        text,
    timeout         interval,
    retries         int NOT NULL DEFAULT 0,
    settings        text[],
    database        oid,
    scheduled_at    timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON COLUMN eda.job.timezone IS 'where its schedule is read, and its query''s TimeZone; NULL: pg_cron''s zone';
COMMENT ON COLUMN eda.job.timeout IS 'how long an attempt may take';
COMMENT ON COLUMN eda.job.retries IS 'how often a run that failed is run again';
COMMENT ON COLUMN eda.job.settings IS 'under which settings its query runs, as name=value: those of the session that scheduled it';
COMMENT ON COLUMN eda.job.database IS 'the database that it was scheduled in: not in a copy of it does pg_cron run it';
COMMENT ON COLUMN eda.job.scheduled_at IS 'since when it is as it is: no run is missed that was due before';
COMMENT ON TABLE eda.job IS 'jobs: what to query, when, and where the rows go';

-- No reference to eda.job: a job's history outlives it.  A run deletes the job's
-- runs of more than 30 days ago, but for the last 100.
CREATE TABLE eda.job_run (
    run_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id          int NOT NULL,
    job             text NOT NULL,
    owner           oid NOT NULL,
    started_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    finished_at     timestamptz,
    outcome         text NOT NULL
        CHECK (outcome IN ('running', 'published', 'no_records', 'skipped', 'error', 'missed')),
    message         text,
    total           bigint,
    published       bigint,
    invalid         bigint,
    first_id        bigint,
    last_id         bigint,
    error_code      text,
    error_detail    text,
    due_at          timestamptz,
    attempt         int NOT NULL DEFAULT 1,
    cron_runid      bigint,
    error_where     text
);
COMMENT ON COLUMN eda.job_run.due_at IS 'when it was due by the job''s schedule; NULL: it was started by somebody';
COMMENT ON COLUMN eda.job_run.attempt IS '1, or more for what ran again because it had failed';
COMMENT ON COLUMN eda.job_run.cron_runid IS 'pg_cron''s run (cron.job_run_details) that did not start the job, where that is known';
CREATE INDEX job_run_job_id ON eda.job_run (job_id, run_id);
CREATE INDEX job_run_running ON eda.job_run (job_id) WHERE outcome = 'running';
CREATE INDEX job_run_started_at ON eda.job_run (started_at);
CREATE INDEX job_run_job_started_at ON eda.job_run (job_id, started_at);
CREATE INDEX job_run_cron_runid ON eda.job_run (job_id, cron_runid) WHERE cron_runid IS NOT NULL;
COMMENT ON TABLE eda.job_run IS 'what each run of each job came to';

-- Rows that a run refused, on_invalid being skip: the first 1,000.  They go with the run.
CREATE TABLE eda.job_refusal (
    run_id          bigint NOT NULL REFERENCES eda.job_run ON DELETE CASCADE,
    row             bigint NOT NULL,        -- of the query's result, counted from 1
    payload         jsonb,                  -- NULL: there was none, or it is too large
    violations      text NOT NULL,          -- or another reason
    PRIMARY KEY (run_id, row)
);
COMMENT ON TABLE eda.job_refusal IS 'rows that runs of jobs refused, and why';

CREATE FUNCTION eda.schedule(job text, schedule text, query text, topic text,
                             key_column text DEFAULT NULL,
                             idempotency_key_column text DEFAULT NULL,
                             on_invalid text DEFAULT 'fail',
                             timezone text DEFAULT NULL,
                             timeout interval DEFAULT NULL,
                             retries int DEFAULT 0)
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eda_schedule_job';
COMMENT ON FUNCTION eda.schedule(text, text, text, text, text, text, text, text, interval, int) IS
'have pg_cron run a query at these times and publish each row on a topic; again: replaces; returns pg_cron''s job id';

CREATE FUNCTION eda.unschedule(job text)
RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eda_unschedule';
COMMENT ON FUNCTION eda.unschedule(text) IS
'forget a job, here and in pg_cron; false if there is none; its runs stay in eda.job_runs';

CREATE PROCEDURE eda.run_job(job text)
LANGUAGE C
AS 'MODULE_PATHNAME', 'eda_run_job';
COMMENT ON PROCEDURE eda.run_job(text) IS
'run a job now, as its owner: what pg_cron does; not inside a transaction block';

CREATE PROCEDURE eda._start_job(job text)
LANGUAGE C
AS 'MODULE_PATHNAME', 'eda_start_job';
COMMENT ON PROCEDURE eda._start_job(text) IS
'run a job that has a time zone, if it is due there: what pg_cron does, more often than it is due';

CREATE FUNCTION eda._schedule_next(schedule text, timezone text, after timestamptz)
RETURNS timestamptz
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eda_schedule_next';
COMMENT ON FUNCTION eda._schedule_next(text, text, timestamptz) IS
'when a schedule comes due next in a time zone, pg_cron''s where that is NULL; NULL: not known';

CREATE FUNCTION eda._schedule_widened(schedule text, timezone text, cron_timezone text)
RETURNS text
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eda_schedule_widened';
COMMENT ON FUNCTION eda._schedule_widened(text, text, text) IS
'the schedule that pg_cron gets for one that is read in another time zone than its own';

-- Who may run a job sees it, and so does monitoring, but for messages of errors (src/base/visible.c).
CREATE VIEW eda.jobs WITH (security_barrier) AS
SELECT j.name AS job, j.schedule, j.query, j.topic, j.key_column, j.idempotency_key_column,
       j.on_invalid, j.owner::pg_catalog.regrole AS owner, j.search_path, j.cron_jobid, j.created_at,
       r.started_at AS last_started_at, r.outcome AS last_outcome,
       j.timezone, j.timeout, j.retries, j.settings,
       CASE WHEN j.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d
                                                     WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
            THEN eda._schedule_next(j.schedule, j.timezone, pg_catalog.clock_timestamp()) END AS next_run_at
  FROM eda.job j
  LEFT JOIN LATERAL (SELECT jr.started_at, jr.outcome FROM eda.job_run jr
                      WHERE jr.job_id OPERATOR(pg_catalog.=) j.job_id
                      ORDER BY jr.run_id DESC LIMIT 1) r ON true
 WHERE eda._may_see(j.owner);
COMMENT ON VIEW eda.jobs IS 'the jobs that you may run';
COMMENT ON COLUMN eda.jobs.timezone IS 'where its schedule is read, and its query''s TimeZone; NULL: pg_cron''s zone';
COMMENT ON COLUMN eda.jobs.timeout IS 'how long an attempt may take';
COMMENT ON COLUMN eda.jobs.retries IS 'how often a run that failed is run again';
COMMENT ON COLUMN eda.jobs.settings IS 'under which settings its query runs, as name=value: those of the session that scheduled it';
COMMENT ON COLUMN eda.jobs.next_run_at IS 'when it is due next; NULL: not known, as with @reboot, or not in this copy of a database';

CREATE VIEW eda.job_runs WITH (security_barrier) AS
SELECT r.run_id, r.job, r.started_at, r.finished_at, r.outcome,
       CASE r.outcome WHEN 'error' THEN eda._error_message(r.owner, r.message, r.error_code, r.error_where)
                      ELSE r.message END AS message,
       r.total, r.published, r.invalid, r.first_id, r.last_id, r.error_code,
       CASE WHEN eda._may_read(r.owner) THEN r.error_detail END AS error_detail,
       r.due_at, r.attempt, r.cron_runid,
       eda._condition_name(r.error_code) AS error_condition, r.error_where
  FROM eda.job_run r
 WHERE eda._may_see(r.owner);
COMMENT ON VIEW eda.job_runs IS 'what the runs of the jobs came to that you may run';
COMMENT ON COLUMN eda.job_runs.due_at IS 'when it was due by the job''s schedule; NULL: it was started by somebody';
COMMENT ON COLUMN eda.job_runs.attempt IS '1, or more for what ran again because it had failed';
COMMENT ON COLUMN eda.job_runs.cron_runid IS 'pg_cron''s run (cron.job_run_details) that did not start the job, where that is known';

-- They show payloads: not for monitoring.
CREATE VIEW eda.job_refusals WITH (security_barrier) AS
SELECT f.run_id, r.job, r.started_at, f.row, f.payload, f.violations
  FROM eda.job_refusal f
  JOIN eda.job_run r ON r.run_id OPERATOR(pg_catalog.=) f.run_id
 WHERE eda._may_read(r.owner);
COMMENT ON VIEW eda.job_refusals IS 'rows that runs of your jobs refused, and why';
