\echo Use "ALTER EXTENSION eda UPDATE TO '0.2.0'" to load this file. \quit

-- From 0.1.0 to 0.2.0, in the order of src/sql: what it makes has to be what CREATE EXTENSION makes
-- (test/t/017_update.pl compares the two).  A column that is added to a table stands last there, too.

-- ---- 10_types ----


-- ---- 15_visible ----

CREATE FUNCTION eda._may_see(owner oid) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_may_see';
COMMENT ON FUNCTION eda._may_see(oid) IS 'does the current user see what belongs to this role, but for payloads?';

CREATE FUNCTION eda._may_read(owner oid) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_may_read';
COMMENT ON FUNCTION eda._may_read(oid) IS 'does the current user see the payloads of what belongs to this role?';

CREATE FUNCTION eda._reads_all() RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_reads_all';
COMMENT ON FUNCTION eda._reads_all() IS 'does the current user see every payload?';

CREATE FUNCTION eda._error_message(owner oid, message text, code text, place text) RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_error_message';
COMMENT ON FUNCTION eda._error_message(oid, text, text, text)
    IS 'the message of an error, for who may see this role''s payloads; its SQLSTATE, condition and place, for others';

CREATE FUNCTION eda._error_where(context text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_error_where';
COMMENT ON FUNCTION eda._error_where(text) IS 'the functions and lines that the context of an error names, and nothing else of it';

CREATE FUNCTION eda._condition_name(code text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_condition_name';
COMMENT ON FUNCTION eda._condition_name(text) IS 'the name of an SQLSTATE''s condition, or of its class';

CREATE FUNCTION eda._matches(topics text, topic text) RETURNS boolean
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_topic_matches';
COMMENT ON FUNCTION eda._matches(text, text) IS 'eda.topic_matches, for view eda.events';


-- ---- 20_log ----


-- ---- 30_subscription, 35_copy ----

ALTER TABLE eda.subscription
    ADD COLUMN paused_at timestamptz,
    ADD COLUMN last_error_at timestamptz,
    ADD COLUMN last_error_code text,
    ADD COLUMN last_error_where text;

CREATE TABLE eda.recovery (
    subscription_id int NOT NULL,
    event_id        bigint NOT NULL,
    attempt         int NOT NULL,
    handled_at      timestamptz NOT NULL,
    PRIMARY KEY (subscription_id, event_id)
);
CREATE INDEX recovery_handled_at ON eda.recovery (handled_at);
COMMENT ON TABLE eda.recovery IS 'events that were handled after they had failed or been put off: when, and at which attempt';


-- ---- 38_schema, 39_topic ----


-- ---- 40_publish, 45_delay ----

CREATE OR REPLACE VIEW eda.delayed WITH (security_barrier) AS
    SELECT event_id, topic, key, deliver_at FROM eda.delayed_event WHERE eda._may_see(published_by);
COMMENT ON VIEW eda.delayed IS 'events of yours that are published and not due yet';


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
    ADD COLUMN error_where text,
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

-- Who may run a job sees it, and so does monitoring, but for messages of errors (src/eda_visible.c).
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
 WHERE eda._may_see(j.owner);
COMMENT ON VIEW eda.jobs IS 'the jobs that you may run';
COMMENT ON COLUMN eda.jobs.timezone IS 'where its schedule is read, and its query''s TimeZone; NULL: pg_cron''s zone';
COMMENT ON COLUMN eda.jobs.timeout IS 'how long an attempt may take';
COMMENT ON COLUMN eda.jobs.retries IS 'how often a run that failed is run again';
COMMENT ON COLUMN eda.jobs.settings IS 'under which settings its query runs, as name=value: those of the session that scheduled it';
COMMENT ON COLUMN eda.jobs.next_run_at IS 'when it is due next; NULL: not known, as with @reboot, or not in this copy of a database';

CREATE OR REPLACE VIEW eda.job_runs WITH (security_barrier) AS
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
CREATE OR REPLACE VIEW eda.job_refusals WITH (security_barrier) AS
SELECT f.run_id, r.job, r.started_at, f.row, f.payload, f.violations
  FROM eda.job_refusal f
  JOIN eda.job_run r ON r.run_id OPERATOR(pg_catalog.=) f.run_id
 WHERE eda._may_read(r.owner);
COMMENT ON VIEW eda.job_refusals IS 'rows that runs of your jobs refused, and why';


-- ---- 70_views ----

COMMENT ON FUNCTION eda._workers()
    IS 'worker processes that the current user sees: all of the server for pg_monitor, else what serves this database for roles of one''s own; none when the library is not preloaded';
COMMENT ON FUNCTION eda._backlog(int) IS 'about how many events a subscription has not got to, and when the oldest was published; NULL of one that the current user does not see';
COMMENT ON FUNCTION eda._segments() IS 'segments of the event log, and who pins them, as far as the current user sees that';
COMMENT ON FUNCTION eda.trace(bigint)
    IS 'where an event stands, per subscription that you may operate (all for pg_monitor): delayed (at: when it is due), pending, handled (filtered out too; attempt and at where it was not the first attempt), retrying (at: the next attempt) or dead (at: when it died); a row without a subscription, no subscriber: none of these gets it; no row: there is no such event that concerns you, or not any more';

CREATE FUNCTION eda.event(event_id bigint) RETURNS eda.event
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eda_event_by_id';
COMMENT ON FUNCTION eda.event(bigint)
    IS 'an event by its id, as long as it is in the log, delayed, waiting for a retry or a dead letter; NULL: there is none, or it does not concern you (see eda.events)';

-- Whom does an event concern?  Who published it, and who has a subscription to its topic.
CREATE OR REPLACE VIEW eda.events WITH (security_barrier) AS
    SELECT id, topic, key, payload, headers, published_at, published_by::regrole AS published_by,
           coalesce(correlation_id, id::text) AS correlation_id, causation_id,
           coalesce(hops, 0)::int AS hops
      FROM eda.log l
     WHERE EXISTS (SELECT FROM eda.segment s
                    WHERE s.relation OPERATOR(pg_catalog.=) l.tableoid
                      AND s.state OPERATOR(pg_catalog.=) ANY ('{o,c,s}'::"char"[]))
       AND ((SELECT eda._reads_all()) OR pg_catalog.pg_has_role(l.published_by, 'USAGE')
            -- one look at the subscriptions, for all events; nothing is ever published on topic eda
            OR eda._matches((SELECT coalesce(pg_catalog.string_agg(s.topics, ','), 'eda') FROM eda.subscription s
                                   WHERE pg_catalog.pg_has_role(s.owner, 'USAGE')), l.topic));
COMMENT ON VIEW eda.events
    IS 'events in the log, payloads included: those that you published, and those on topics that a subscription of yours names';

CREATE OR REPLACE VIEW eda.subscriptions WITH (security_barrier) AS
    SELECT s.name AS subscription,
           s.topics,
           format('%I.%I(%s)', s.handler_schema, s.handler_name,
                  CASE s.handler_kind WHEN 'e' THEN 'eda.event' WHEN 'j' THEN 'jsonb'
                                      WHEN 't' THEN 'text, jsonb' WHEN 'b' THEN 'eda.event[]' END) AS handler,
           s.filter, s.schema, s.ordering, s.concurrency, s.batch_size, s.rate_limit, s.max_attempts,
           s.backoff, s.max_backoff, s.reject_on, s.block_after, s.timeout, s.expire_after, s.priority,
           s.owner::regrole AS owner,
           s.state,
           CASE WHEN eda._preloaded() THEN s.blocked_reason ELSE 'library not preloaded' END AS blocked_reason,
           CASE WHEN NOT eda._preloaded() THEN 'add eda to shared_preload_libraries and restart the server'
                WHEN s.blocked_reason OPERATOR(pg_catalog.=) 'failing'
                THEN eda._error_message(s.owner, s.blocked_detail, s.last_error_code, s.last_error_where)
                ELSE s.blocked_detail END AS blocked_detail,
           b.backlog,
           clock_timestamp() - b.oldest AS oldest_age,
           coalesce(w.in_flight, 0) AS in_flight,
           c.handled, c.filtered, c.failed,
           (SELECT count(*) FROM eda.retry r WHERE r.subscription_id = s.subscription_id) AS retrying,
           (SELECT count(*) FROM eda.dead_letter d WHERE d.subscription_id = s.subscription_id) AS dead,
           c.last_handled_at,
           -- with a time and without a code it is eda's own word
           CASE WHEN s.last_error_code IS NULL AND s.last_error_at IS NOT NULL THEN s.last_error
                ELSE eda._error_message(s.owner, s.last_error, s.last_error_code, s.last_error_where) END AS last_error,
           s.lanes,
           coalesce(s.paused_at, s.blocked_at) AS state_since,
           s.last_error_at, s.last_error_code,
           eda._condition_name(s.last_error_code) AS last_error_condition,
           s.last_error_where
      FROM eda.subscription s
      LEFT JOIN (SELECT subscription_id, sum(handled)::bigint AS handled, sum(filtered)::bigint AS filtered,
                        sum(failed)::bigint AS failed, max(last_handled_at) AS last_handled_at
                   FROM eda.cursor GROUP BY subscription_id) c USING (subscription_id)
      LEFT JOIN (SELECT x.subscription_id, sum(x.in_flight)::int AS in_flight
                   FROM eda._workers() x JOIN pg_database d ON d.oid = x.database
                  WHERE d.datname = current_database()
                  GROUP BY x.subscription_id) w USING (subscription_id)
     CROSS JOIN LATERAL eda._backlog(s.subscription_id) b
     WHERE eda._may_see(s.owner);
COMMENT ON VIEW eda.subscriptions
    IS 'your subscriptions: definition, state, and an estimate of what they have before them';

CREATE OR REPLACE VIEW eda.retries WITH (security_barrier) AS
    SELECT s.name AS subscription, r.event_id, r.topic, r.key, r.attempt, r.next_attempt_at,
           r.error_code,
           eda._error_message(s.owner, r.error_message, r.error_code, eda._error_where(r.error_context)) AS error_message,
           eda._condition_name(r.error_code) AS error_condition,
           eda._error_where(r.error_context) AS error_where
      FROM eda.retry r JOIN eda.subscription s USING (subscription_id)
     WHERE eda._may_see(s.owner);
COMMENT ON VIEW eda.retries
    IS 'events that wait for another attempt of your subscriptions; without next_attempt_at they wait behind another one';

-- They show payloads: not for monitoring.
CREATE OR REPLACE VIEW eda.dead_letters WITH (security_barrier) AS
    SELECT s.name AS subscription, d.event_id, d.topic, d.key, d.payload, d.headers,
           coalesce(d.correlation_id, d.event_id::text) AS correlation_id, d.published_at, d.reason,
           d.attempts, d.attempt_history, d.error_code, d.error_message, d.error_detail, d.error_context,
           d.died_at
      FROM eda.dead_letter d JOIN eda.subscription s USING (subscription_id)
     WHERE eda._may_read(s.owner);
COMMENT ON VIEW eda.dead_letters IS 'events that your subscriptions gave up on, payloads included';

COMMENT ON VIEW eda.workers
    IS 'worker processes: for pg_monitor of the whole server, else those that serve this database for roles of yours; subscriptions are named for this database only';


-- ---- 80_announce, 90_grants ----

-- Tables and sequences are their owner's alone, whatever its default privileges say: who may write to one, or
-- put a trigger there, could do as the owner does.
DO $$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT DISTINCT format('REVOKE ALL ON TABLE %s FROM %s CASCADE', c.oid::regclass,
                               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relnamespace = 'eda'::regnamespace AND c.relkind IN ('r', 'S') AND a.grantee <> c.relowner
    LOOP
        EXECUTE command;
    END LOOP;
END $$;

REVOKE ALL ON ALL ROUTINES IN SCHEMA eda FROM PUBLIC;
REVOKE ALL ON FUNCTION eda._preloaded(), eda._workers(), eda._backlog(int), eda._segments() FROM pg_monitor;

-- But for the parts of views, which are called with the rights of a view's reader.  Without USAGE on schema
-- eda nobody can name them, and they tell nobody more than the views do.
GRANT EXECUTE ON FUNCTION eda._may_see(oid), eda._may_read(oid), eda._reads_all(),
    eda._error_message(oid, text, text, text), eda._error_where(text), eda._condition_name(text),
    eda._preloaded(), eda._workers(), eda._backlog(int), eda._segments(), eda._matches(text, text) TO PUBLIC;

GRANT EXECUTE ON FUNCTION eda._schedule_next(text, text, timestamptz) TO PUBLIC;
GRANT EXECUTE ON PROCEDURE eda._start_job(text) TO PUBLIC;


-- The workers begin with the new objects.
SELECT eda._announce();
