-- Jobs: queries that pg_cron runs and whose rows are published (src/eda_job.c).

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
    created_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
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
        CHECK (outcome IN ('running', 'published', 'no_records', 'skipped', 'error')),
    message         text,
    total           bigint,
    published       bigint,
    invalid         bigint,
    first_id        bigint,
    last_id         bigint,
    error_code      text,
    error_detail    text
);
CREATE INDEX job_run_job_id ON eda.job_run (job_id, run_id);
CREATE INDEX job_run_running ON eda.job_run (job_id) WHERE outcome = 'running';
CREATE INDEX job_run_started_at ON eda.job_run (started_at);
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
                             on_invalid text DEFAULT 'fail')
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eda_schedule';
COMMENT ON FUNCTION eda.schedule(text, text, text, text, text, text, text) IS
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

-- Who may run a job sees it, and so does monitoring.
CREATE VIEW eda.jobs WITH (security_barrier) AS
SELECT j.name AS job, j.schedule, j.query, j.topic, j.key_column, j.idempotency_key_column,
       j.on_invalid, j.owner::pg_catalog.regrole AS owner, j.search_path, j.cron_jobid, j.created_at,
       r.started_at AS last_started_at, r.outcome AS last_outcome
  FROM eda.job j
  LEFT JOIN LATERAL (SELECT jr.started_at, jr.outcome FROM eda.job_run jr
                      WHERE jr.job_id OPERATOR(pg_catalog.=) j.job_id
                      ORDER BY jr.run_id DESC LIMIT 1) r ON true
 WHERE pg_catalog.pg_has_role(j.owner, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW eda.jobs IS 'the jobs that you may run';

CREATE VIEW eda.job_runs WITH (security_barrier) AS
SELECT r.run_id, r.job, r.started_at, r.finished_at, r.outcome, r.message, r.total,
       r.published, r.invalid, r.first_id, r.last_id, r.error_code, r.error_detail
  FROM eda.job_run r
 WHERE pg_catalog.pg_has_role(r.owner, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW eda.job_runs IS 'what the runs of the jobs came to that you may run';

-- They show payloads: not for monitoring.
CREATE VIEW eda.job_refusals WITH (security_barrier) AS
SELECT f.run_id, r.job, r.started_at, f.row, f.payload, f.violations
  FROM eda.job_refusal f
  JOIN eda.job_run r ON r.run_id OPERATOR(pg_catalog.=) f.run_id
 WHERE pg_catalog.pg_has_role(r.owner, 'USAGE');
COMMENT ON VIEW eda.job_refusals IS 'rows that runs of your jobs refused, and why';
