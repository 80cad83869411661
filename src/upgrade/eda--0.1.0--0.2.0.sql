\echo Use "ALTER EXTENSION eda UPDATE TO '0.2.0'" to load this file. \quit

-- From 0.1.0 to 0.2.0, in the order of src/sql: what it makes has to be what CREATE EXTENSION makes
-- (test/t/017_update.pl compares the two).  A column that is added to a table stands last there, too.

-- ---- 10_types ----


-- ---- 20_log ----


-- ---- 30_subscription, 35_copy ----


-- ---- 38_schema, 39_topic ----


-- ---- 40_publish, 45_delay ----


-- ---- 50_subscribe ----


-- ---- 55_delivery ----


-- ---- 60_schedule ----

ALTER TABLE eda.job
    ADD COLUMN timezone text,
    ADD COLUMN timeout interval,
    ADD COLUMN retries int NOT NULL DEFAULT 0,
    ADD COLUMN settings text[],
    ADD COLUMN database oid,
    ADD COLUMN scheduled_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp();
UPDATE eda.job SET database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database());
COMMENT ON COLUMN eda.job.timezone IS 'where its schedule is read, and its query''s TimeZone; NULL: pg_cron''s zone';
COMMENT ON COLUMN eda.job.timeout IS 'how long an attempt may take';
COMMENT ON COLUMN eda.job.retries IS 'how often a run that failed is run again';
COMMENT ON COLUMN eda.job.settings IS 'under which settings its query runs, as name=value: those of the session that scheduled it';
COMMENT ON COLUMN eda.job.database IS 'the database that it was scheduled in: not in a copy of it does pg_cron run it';
COMMENT ON COLUMN eda.job.scheduled_at IS 'since when it is as it is: no run is missed that was due before';

ALTER TABLE eda.job_run
    ADD COLUMN due_at timestamptz,
    ADD COLUMN attempt int NOT NULL DEFAULT 1,
    ADD COLUMN cron_runid bigint,
    DROP CONSTRAINT job_run_outcome_check,
    ADD CONSTRAINT job_run_outcome_check
        CHECK (outcome IN ('running', 'published', 'no_records', 'skipped', 'error', 'missed'));
COMMENT ON COLUMN eda.job_run.due_at IS 'when it was due by the job''s schedule; NULL: it was started by somebody';
COMMENT ON COLUMN eda.job_run.attempt IS '1, or more for what ran again because it had failed';
COMMENT ON COLUMN eda.job_run.cron_runid IS 'pg_cron''s run (cron.job_run_details) that did not start the job, where that is known';
CREATE INDEX job_run_job_started_at ON eda.job_run (job_id, started_at);
CREATE INDEX job_run_cron_runid ON eda.job_run (job_id, cron_runid) WHERE cron_runid IS NOT NULL;

-- eda.schedule has three arguments more; who could call it still can.
DO $update$
DECLARE
    grants aclitem[] := (SELECT p.proacl FROM pg_catalog.pg_proc p
                          WHERE p.oid = 'eda.schedule(text, text, text, text, text, text, text)'::pg_catalog.regprocedure);
    command text;
BEGIN
    DROP FUNCTION eda.schedule(text, text, text, text, text, text, text);
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
    REVOKE ALL ON FUNCTION eda.schedule FROM PUBLIC;
    FOR command IN
        SELECT pg_catalog.format('GRANT EXECUTE ON FUNCTION eda.schedule TO %s%s',
                                 CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END,
                                 CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
          FROM pg_catalog.aclexplode(grants) a, pg_catalog.pg_proc p
         WHERE p.oid = 'eda.schedule'::pg_catalog.regproc AND a.grantee <> p.proowner
    LOOP
        EXECUTE command;
    END LOOP;
END $update$;
COMMENT ON FUNCTION eda.schedule(text, text, text, text, text, text, text, text, interval, int) IS
'have pg_cron run a query at these times and publish each row on a topic; again: replaces; returns pg_cron''s job id';

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

CREATE OR REPLACE VIEW eda.jobs WITH (security_barrier) AS
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
 WHERE pg_catalog.pg_has_role(j.owner, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW eda.jobs IS 'the jobs that you may run';
COMMENT ON COLUMN eda.jobs.timezone IS 'where its schedule is read, and its query''s TimeZone; NULL: pg_cron''s zone';
COMMENT ON COLUMN eda.jobs.timeout IS 'how long an attempt may take';
COMMENT ON COLUMN eda.jobs.retries IS 'how often a run that failed is run again';
COMMENT ON COLUMN eda.jobs.settings IS 'under which settings its query runs, as name=value: those of the session that scheduled it';
COMMENT ON COLUMN eda.jobs.next_run_at IS 'when it is due next; NULL: not known, as with @reboot, or not in this copy of a database';

CREATE OR REPLACE VIEW eda.job_runs WITH (security_barrier) AS
SELECT r.run_id, r.job, r.started_at, r.finished_at, r.outcome, r.message, r.total,
       r.published, r.invalid, r.first_id, r.last_id, r.error_code, r.error_detail,
       r.due_at, r.attempt, r.cron_runid
  FROM eda.job_run r
 WHERE pg_catalog.pg_has_role(r.owner, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW eda.job_runs IS 'what the runs of the jobs came to that you may run';
COMMENT ON COLUMN eda.job_runs.due_at IS 'when it was due by the job''s schedule; NULL: it was started by somebody';
COMMENT ON COLUMN eda.job_runs.attempt IS '1, or more for what ran again because it had failed';
COMMENT ON COLUMN eda.job_runs.cron_runid IS 'pg_cron''s run (cron.job_run_details) that did not start the job, where that is known';


-- ---- 70_views ----


-- ---- 80_announce, 90_grants ----

REVOKE ALL ON FUNCTION eda._schedule_widened(text, text, text), eda._schedule_next(text, text, timestamptz) FROM PUBLIC;
REVOKE ALL ON PROCEDURE eda._start_job(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION eda._schedule_next(text, text, timestamptz) TO PUBLIC;
GRANT EXECUTE ON PROCEDURE eda._start_job(text) TO PUBLIC;


-- The workers begin with the new objects.
SELECT eda._announce();
