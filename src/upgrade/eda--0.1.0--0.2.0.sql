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

-- publish_batch and publish_query have more arguments, so they are other functions: who could call the old ones
-- can call these.
CREATE FUNCTION eda.publish_batch(
    topic               text,
    payloads            jsonb[],
    keys                text[] DEFAULT NULL,
    headers             jsonb[] DEFAULT NULL,
    idempotency_keys    text[] DEFAULT NULL,
    deliver_at          timestamptz[] DEFAULT NULL,
    topics              text[] DEFAULT NULL
) RETURNS bigint[]
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eda_publish_events';
COMMENT ON FUNCTION eda.publish_batch(text, jsonb[], text[], jsonb[], text[], timestamptz[], text[]) IS
'publish an event for each payload in this transaction, all on one topic or, with topic null, each on its own; returns their ids, of one whose idempotency key was used before the first event''s';

CREATE FUNCTION eda.publish_query(
    topic                   text,
    query                   text,
    key_column              text DEFAULT NULL,
    idempotency_key_column  text DEFAULT NULL,
    on_invalid              text DEFAULT 'fail',
    headers_column          text DEFAULT NULL,
    topic_column            text DEFAULT NULL
) RETURNS eda.publish_result
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eda_publish_rows';
COMMENT ON FUNCTION eda.publish_query(text, text, text, text, text, text, text) IS
'run a query as the caller and publish each row; its columns are the payload''s fields, but for those with headers and topic; a jsonb column "payload" with no other but such and the key columns is the payload';

REVOKE ALL ON FUNCTION eda.publish_batch(text, jsonb[], text[], jsonb[], text[], timestamptz[], text[]),
                       eda.publish_query(text, text, text, text, text, text, text) FROM PUBLIC;
DO $$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT format('GRANT EXECUTE ON FUNCTION %s TO %s%s', n.oid::regprocedure,
                      CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                      CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
          FROM pg_proc o
          JOIN pg_proc n ON n.proname = o.proname AND n.pronamespace = o.pronamespace AND n.pronargs > o.pronargs,
               aclexplode(o.proacl) a
         WHERE o.oid IN ('eda.publish_batch(text, jsonb[], text[], jsonb[])'::regprocedure,
                         'eda.publish_query(text, text, text, text, text)'::regprocedure)
           AND a.grantee <> o.proowner
    LOOP
        EXECUTE command;
    END LOOP;
END $$;
DROP FUNCTION eda.publish_batch(text, jsonb[], text[], jsonb[]);
DROP FUNCTION eda.publish_query(text, text, text, text, text);

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

-- Who may run a job sees it, and so does monitoring, but for messages of errors (src/base/visible.c).
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

CREATE FUNCTION eda._waits(OUT database oid, OUT waits_for text, OUT since timestamptz) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'eda_waits';
COMMENT ON FUNCTION eda._waits()
    IS 'databases that wait for a worker slot of the server, or for one of eda.max_executors: all for pg_monitor, else this one';

CREATE FUNCTION eda._not_delivering(OUT reason text, OUT detail text, OUT waiting boolean)
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eda_not_delivering';
COMMENT ON FUNCTION eda._not_delivering()
    IS 'why nothing is delivered in this database, or no executor comes for what is pending (waiting); nulls where all is well';

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
           CASE WHEN NOT n.waiting
                  OR (n.waiting AND s.state OPERATOR(pg_catalog.=) 'active' AND b.backlog OPERATOR(pg_catalog.>) 0 AND w.subscription_id IS NULL)
                THEN n.reason ELSE s.blocked_reason END AS blocked_reason,
           CASE WHEN NOT n.waiting
                  OR (n.waiting AND s.state OPERATOR(pg_catalog.=) 'active' AND b.backlog OPERATOR(pg_catalog.>) 0 AND w.subscription_id IS NULL)
                THEN n.detail
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
     CROSS JOIN eda._not_delivering() n
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

CREATE OR REPLACE VIEW eda.workers AS
    SELECT w.kind, w.pid, d.datname AS database, w.role::regrole AS role, s.name AS subscription,
           w.state, w.in_flight, w.since, w.lane, x.waits_for, x.since AS waits_since
      FROM eda._workers() w
      LEFT JOIN eda._waits() x ON w.kind OPERATOR(pg_catalog.=) 'dispatcher' AND x.database OPERATOR(pg_catalog.=) w.database
      LEFT JOIN pg_database d ON d.oid = w.database
      LEFT JOIN eda.subscription s ON s.subscription_id = w.subscription_id AND d.datname = current_database();
COMMENT ON VIEW eda.workers
    IS 'worker processes: for pg_monitor of the whole server, else those that serve this database for roles of yours; subscriptions are named for this database only; an executor is overdue while its event is past its timeout, and unresponsive where it does not end for that';


-- ---- 75_comments ----

COMMENT ON COLUMN eda.event.id IS 'its number; events are handled in the order of these';
COMMENT ON COLUMN eda.event.topic IS 'what it is about: dotted words';
COMMENT ON COLUMN eda.event.key IS 'events of one key are handled in order; NULL: none';
COMMENT ON COLUMN eda.event.payload IS 'what it says';
COMMENT ON COLUMN eda.event.headers IS 'what is said about it: a JSON object; NULL: none';
COMMENT ON COLUMN eda.event.published_at IS 'when it was published';
COMMENT ON COLUMN eda.event.published_by IS 'the role that published it';
COMMENT ON COLUMN eda.event.correlation_id IS 'what its chain of events is about: its first event''s id, unless one was given';
COMMENT ON COLUMN eda.event.causation_id IS 'the event whose handler published it; NULL: none';
COMMENT ON COLUMN eda.event.hops IS 'how many handlers of events have led to it';
COMMENT ON COLUMN eda.event.subscription IS 'the subscription that it is delivered to; NULL: it is not being delivered';
COMMENT ON COLUMN eda.event.attempt IS 'the how manieth attempt this delivery is, from 1';
COMMENT ON COLUMN eda.event.max_attempts IS 'after how many it is a dead letter';
COMMENT ON COLUMN eda.event.redelivered IS 'was it delivered before, be it that that did not count as an attempt?';
COMMENT ON COLUMN eda.event.lease_id IS 'of an event that was received by a client: its lease';

COMMENT ON COLUMN eda.publish_result.total IS 'rows that the query returned';
COMMENT ON COLUMN eda.publish_result.published IS 'events that were published';
COMMENT ON COLUMN eda.publish_result.invalid IS 'rows that were refused';
COMMENT ON COLUMN eda.publish_result.first_id IS 'id of the first event; NULL: none';
COMMENT ON COLUMN eda.publish_result.last_id IS 'id of the last one';

COMMENT ON COLUMN eda.cursor.subscription_id IS 'which subscription';
COMMENT ON COLUMN eda.cursor.lane IS 'which of its lanes';
COMMENT ON COLUMN eda.cursor.streak IS 'failures since the last success';
COMMENT ON COLUMN eda.cursor.pos_id IS 'the last id done in the window; the highest there is: the window is done';
COMMENT ON COLUMN eda.cursor.handled IS 'events that were handled';
COMMENT ON COLUMN eda.cursor.filtered IS 'events that did not pass the filter';
COMMENT ON COLUMN eda.cursor.failed IS 'attempts that failed';
COMMENT ON COLUMN eda.cursor.last_handled_at IS 'when it last handled something';
COMMENT ON COLUMN eda.cursor.failing_since IS 'when the streak began';
COMMENT ON COLUMN eda.cursor.from_snapshot IS 'the window: what this snapshot sees was done before';
COMMENT ON COLUMN eda.cursor.to_snapshot IS 'the window: what this one sees, too, is to be done';

COMMENT ON COLUMN eda.dead_letter.subscription_id IS 'which subscription';
COMMENT ON COLUMN eda.dead_letter.lane IS 'which of its lanes';
COMMENT ON COLUMN eda.dead_letter.event_id IS 'which event';
COMMENT ON COLUMN eda.dead_letter.topic IS 'its topic';
COMMENT ON COLUMN eda.dead_letter.key IS 'its key; NULL: none';
COMMENT ON COLUMN eda.dead_letter.payload IS 'its payload';
COMMENT ON COLUMN eda.dead_letter.headers IS 'its headers; NULL: none';
COMMENT ON COLUMN eda.dead_letter.published_at IS 'when it was published';
COMMENT ON COLUMN eda.dead_letter.published_by IS 'the role that published it';
COMMENT ON COLUMN eda.dead_letter.correlation_id IS 'what its chain of events is about; NULL: its own id';
COMMENT ON COLUMN eda.dead_letter.causation_id IS 'the event whose handler published it; NULL: none';
COMMENT ON COLUMN eda.dead_letter.hops IS 'how many handlers of events have led to it';
COMMENT ON COLUMN eda.dead_letter.reason IS 'kind of the last failure: max_attempts, rejected, schema, expired, timeout, crash, hops or skipped';
COMMENT ON COLUMN eda.dead_letter.attempts IS 'attempts that counted';
COMMENT ON COLUMN eda.dead_letter.attempt_history IS 'when it was tried';
COMMENT ON COLUMN eda.dead_letter.error_code IS 'SQLSTATE of the last failure';
COMMENT ON COLUMN eda.dead_letter.error_message IS 'its message';
COMMENT ON COLUMN eda.dead_letter.error_detail IS 'its detail';
COMMENT ON COLUMN eda.dead_letter.error_context IS 'its context';
COMMENT ON COLUMN eda.dead_letter.died_at IS 'when it was given up on';
COMMENT ON COLUMN eda.dead_letter.deliver_at IS 'of a delayed event: when it was due';

COMMENT ON COLUMN eda.delayed_event.event_id IS 'which event';
COMMENT ON COLUMN eda.delayed_event.xid IS 'the top-level transaction that published it';
COMMENT ON COLUMN eda.delayed_event.deliver_at IS 'when it is due';
COMMENT ON COLUMN eda.delayed_event.topic IS 'its topic';
COMMENT ON COLUMN eda.delayed_event.key IS 'its key; NULL: none';
COMMENT ON COLUMN eda.delayed_event.payload IS 'its payload';
COMMENT ON COLUMN eda.delayed_event.headers IS 'its headers; NULL: none';
COMMENT ON COLUMN eda.delayed_event.published_at IS 'when it was published';
COMMENT ON COLUMN eda.delayed_event.published_by IS 'the role that published it';
COMMENT ON COLUMN eda.delayed_event.correlation_id IS 'what its chain of events is about; NULL: its own id';
COMMENT ON COLUMN eda.delayed_event.causation_id IS 'the event whose handler published it; NULL: none';
COMMENT ON COLUMN eda.delayed_event.hops IS 'how many handlers of events have led to it';
COMMENT ON COLUMN eda.delayed_event.idempotency_key IS 'the key that it was published with, which eda.cancel forgets';

COMMENT ON COLUMN eda.idempotency.topic IS 'the topic that the key is about';
COMMENT ON COLUMN eda.idempotency.idempotency_key IS 'the key';
COMMENT ON COLUMN eda.idempotency.event_id IS 'the event that was published with it first';
COMMENT ON COLUMN eda.idempotency.payload_hash IS 'of that event: another payload under this key is an error';
COMMENT ON COLUMN eda.idempotency.published_at IS 'when that was';

COMMENT ON COLUMN eda.job.job_id IS 'its number';
COMMENT ON COLUMN eda.job.name IS 'its name';
COMMENT ON COLUMN eda.job.schedule IS 'when it is due, as pg_cron reads it';
COMMENT ON COLUMN eda.job.query IS 'whose rows become events';
COMMENT ON COLUMN eda.job.topic IS 'the topic of these';
COMMENT ON COLUMN eda.job.key_column IS 'the column that is an event''s key; NULL: none';
COMMENT ON COLUMN eda.job.idempotency_key_column IS 'the column that is its idempotency key; NULL: none';
COMMENT ON COLUMN eda.job.on_invalid IS 'what becomes of rows that break the topic''s schema: fail or skip';
COMMENT ON COLUMN eda.job.owner IS 'the role that it runs as';
COMMENT ON COLUMN eda.job.search_path IS 'where its query looks names up';
COMMENT ON COLUMN eda.job.cron_jobid IS 'its number in pg_cron';
COMMENT ON COLUMN eda.job.created_at IS 'when it was first scheduled';

COMMENT ON COLUMN eda.job_refusal.run_id IS 'which run';
COMMENT ON COLUMN eda.job_refusal.row IS 'which row of the query''s result, from 1';
COMMENT ON COLUMN eda.job_refusal.payload IS 'what would have been published; NULL: there was none, or it is too large';
COMMENT ON COLUMN eda.job_refusal.violations IS 'why not';

COMMENT ON COLUMN eda.job_run.run_id IS 'its number';
COMMENT ON COLUMN eda.job_run.job_id IS 'which job';
COMMENT ON COLUMN eda.job_run.job IS 'the job''s name';
COMMENT ON COLUMN eda.job_run.owner IS 'the role that it ran as';
COMMENT ON COLUMN eda.job_run.started_at IS 'when it began';
COMMENT ON COLUMN eda.job_run.finished_at IS 'when it ended; NULL: it has not';
COMMENT ON COLUMN eda.job_run.outcome IS 'running, published, no_records, skipped (the run before was still going), error or missed';
COMMENT ON COLUMN eda.job_run.message IS 'what there is to say about that; of an error, its message';
COMMENT ON COLUMN eda.job_run.total IS 'rows that the query returned';
COMMENT ON COLUMN eda.job_run.published IS 'events that were published';
COMMENT ON COLUMN eda.job_run.invalid IS 'rows that were refused';
COMMENT ON COLUMN eda.job_run.first_id IS 'id of the first event';
COMMENT ON COLUMN eda.job_run.last_id IS 'id of the last one';
COMMENT ON COLUMN eda.job_run.error_code IS 'SQLSTATE of the error';
COMMENT ON COLUMN eda.job_run.error_detail IS 'its detail';
COMMENT ON COLUMN eda.job_run.error_where IS 'functions and lines of its context';

COMMENT ON COLUMN eda.log.id IS 'the event''s number';
COMMENT ON COLUMN eda.log.xid IS 'the top-level transaction that published it';
COMMENT ON COLUMN eda.log.published_at IS 'when it was published';
COMMENT ON COLUMN eda.log.published_by IS 'the role that published it';
COMMENT ON COLUMN eda.log.topic_hash IS 'hash of the topic';
COMMENT ON COLUMN eda.log.key_hash IS 'hash of the key; 0: it has none';
COMMENT ON COLUMN eda.log.topic IS 'its topic';
COMMENT ON COLUMN eda.log.payload IS 'its payload';
COMMENT ON COLUMN eda.log.key IS 'its key; NULL: none';
COMMENT ON COLUMN eda.log.deliver_at IS 'of a delayed event: when it was due; NULL: it was not delayed';
COMMENT ON COLUMN eda.log.causation_id IS 'the event whose handler published it; NULL: none';
COMMENT ON COLUMN eda.log.hops IS 'how many handlers of events have led to it; NULL: 0';
COMMENT ON COLUMN eda.log.correlation_id IS 'what its chain of events is about; NULL: its own id';
COMMENT ON COLUMN eda.log.headers IS 'its headers; NULL: none';

COMMENT ON COLUMN eda.origin.database IS 'oid of the database that this was when somebody last looked';

COMMENT ON COLUMN eda.recovery.subscription_id IS 'which subscription';
COMMENT ON COLUMN eda.recovery.event_id IS 'which event';
COMMENT ON COLUMN eda.recovery.attempt IS 'the attempt at which it was handled';
COMMENT ON COLUMN eda.recovery.handled_at IS 'when that was';

COMMENT ON COLUMN eda.retry.subscription_id IS 'which subscription';
COMMENT ON COLUMN eda.retry.lane IS 'which of its lanes';
COMMENT ON COLUMN eda.retry.event_id IS 'which event';
COMMENT ON COLUMN eda.retry.seq IS 'the order among those that wait';
COMMENT ON COLUMN eda.retry.topic IS 'its topic';
COMMENT ON COLUMN eda.retry.key IS 'its key; NULL: none';
COMMENT ON COLUMN eda.retry.payload IS 'its payload';
COMMENT ON COLUMN eda.retry.headers IS 'its headers; NULL: none';
COMMENT ON COLUMN eda.retry.published_at IS 'when it was published';
COMMENT ON COLUMN eda.retry.published_by IS 'the role that published it';
COMMENT ON COLUMN eda.retry.correlation_id IS 'what its chain of events is about; NULL: its own id';
COMMENT ON COLUMN eda.retry.causation_id IS 'the event whose handler published it; NULL: none';
COMMENT ON COLUMN eda.retry.hops IS 'how many handlers of events have led to it';
COMMENT ON COLUMN eda.retry.deliver_at IS 'of a delayed event: when it was due';
COMMENT ON COLUMN eda.retry.attempt IS 'attempts that counted so far';
COMMENT ON COLUMN eda.retry.deliveries IS 'all attempts, those that did not count too; 0: it waits behind another one';
COMMENT ON COLUMN eda.retry.next_attempt_at IS 'when it is due; NULL: it waits behind another one';
COMMENT ON COLUMN eda.retry.attempt_history IS 'when it was tried';
COMMENT ON COLUMN eda.retry.error_code IS 'SQLSTATE of the last failure; NULL: there was none';
COMMENT ON COLUMN eda.retry.error_message IS 'its message';
COMMENT ON COLUMN eda.retry.error_detail IS 'its detail';
COMMENT ON COLUMN eda.retry.error_context IS 'its context';
COMMENT ON COLUMN eda.retry.reason IS 'kind of the last failure: error, timeout, crash or snoozed; or replay';

COMMENT ON COLUMN eda.segment.segment IS 'its number';
COMMENT ON COLUMN eda.segment.slot IS 'of the table, from 1';
COMMENT ON COLUMN eda.segment.relation IS 'the table''s oid';
COMMENT ON COLUMN eda.segment.state IS 'o: open, c: closed, s: sealed, r: retired, f: free';
COMMENT ON COLUMN eda.segment.opened_at IS 'since when events are written to it';
COMMENT ON COLUMN eda.segment.closed_at IS 'since when none are';
COMMENT ON COLUMN eda.segment.sealed_at IS 'since when all who had written to it have ended';
COMMENT ON COLUMN eda.segment.max_xid IS 'the highest transaction of its entries; 0: it has none';
COMMENT ON COLUMN eda.segment.retired_xid IS 'the transaction that retired it';

COMMENT ON COLUMN eda.shared_schema.uri IS 'what $ref finds it by';
COMMENT ON COLUMN eda.shared_schema.schema IS 'the JSON Schema';
COMMENT ON COLUMN eda.shared_schema.owner IS 'the role that registered it';
COMMENT ON COLUMN eda.shared_schema.defined_at IS 'when that was';

COMMENT ON COLUMN eda.subscription.subscription_id IS 'its number';
COMMENT ON COLUMN eda.subscription.name IS 'its name';
COMMENT ON COLUMN eda.subscription.owner IS 'the role that its handler runs as';
COMMENT ON COLUMN eda.subscription.topics IS 'topic patterns, with commas between them';
COMMENT ON COLUMN eda.subscription.handler_schema IS 'the handler''s schema';
COMMENT ON COLUMN eda.subscription.handler_name IS 'the handler''s name';
COMMENT ON COLUMN eda.subscription.handler_kind IS 'its arguments: e: (eda.event), j: (jsonb), t: (text, jsonb), b: (eda.event[])';
COMMENT ON COLUMN eda.subscription.handler_oid IS 'the function that it was last; a hint';
COMMENT ON COLUMN eda.subscription.handler_owner IS 'to whom it must belong';
COMMENT ON COLUMN eda.subscription.filter IS 'which of these events it gets; NULL: all';
COMMENT ON COLUMN eda.subscription.schema IS 'the JSON Schema that an event''s payload must conform to; NULL: none';
COMMENT ON COLUMN eda.subscription.ordering IS 'none, key or strict';
COMMENT ON COLUMN eda.subscription.concurrency IS 'how many lanes are wanted';
COMMENT ON COLUMN eda.subscription.batch_size IS 'how many events share a transaction at most';
COMMENT ON COLUMN eda.subscription.rate_limit IS 'events a second at most; NULL: no limit';
COMMENT ON COLUMN eda.subscription.max_attempts IS 'after how many failed attempts an event is a dead letter';
COMMENT ON COLUMN eda.subscription.backoff IS 'pause after the first failed attempt, doubled with each';
COMMENT ON COLUMN eda.subscription.max_backoff IS 'the longest one';
COMMENT ON COLUMN eda.subscription.reject_on IS 'SQLSTATEs and classes of them that are not tried again';
COMMENT ON COLUMN eda.subscription.block_after IS 'after how many failures in a row the subscription is blocked';
COMMENT ON COLUMN eda.subscription.timeout IS 'how long a handler may take for an event';
COMMENT ON COLUMN eda.subscription.expire_after IS 'the age at which an event is a dead letter without being tried; NULL: none';
COMMENT ON COLUMN eda.subscription.priority IS 'who goes first where executors are rare: the higher one';
COMMENT ON COLUMN eda.subscription.start_at IS 'events that were due before are skipped; NULL: none for that';
COMMENT ON COLUMN eda.subscription.start_xid IS 'of the events of this transaction';
COMMENT ON COLUMN eda.subscription.start_id IS 'those with lower ids are skipped';
COMMENT ON COLUMN eda.subscription.state IS 'active, paused or blocked';
COMMENT ON COLUMN eda.subscription.blocked_reason IS 'failing, handler, privilege, login, crashing or copied';
COMMENT ON COLUMN eda.subscription.blocked_detail IS 'what is wrong; if failing, the last error''s message';
COMMENT ON COLUMN eda.subscription.blocked_at IS 'since when it is blocked for that reason';
COMMENT ON COLUMN eda.subscription.probe_at IS 'when the next event is tried, if failing';
COMMENT ON COLUMN eda.subscription.probes IS 'how often that was done';
COMMENT ON COLUMN eda.subscription.last_error IS 'the last failure''s message, or what eda says';
COMMENT ON COLUMN eda.subscription.created_at IS 'when it was made';
COMMENT ON COLUMN eda.subscription.start_snapshot IS 'what it saw at its start and does not get; NULL: nothing';
COMMENT ON COLUMN eda.subscription.start_bound IS 'start_at is about the events that this snapshot sees; NULL: all';
COMMENT ON COLUMN eda.subscription.lanes IS 'how many lanes it has now';
COMMENT ON COLUMN eda.subscription.fence IS 'where its lanes meet before their number changes: the end of a window';
COMMENT ON COLUMN eda.subscription.fence_pos IS 'and the position in it';
COMMENT ON COLUMN eda.subscription.crashes IS 'crashes of the server by its handler since the last success';
COMMENT ON COLUMN eda.subscription.paused_at IS 'since when it is paused';
COMMENT ON COLUMN eda.subscription.last_error_at IS 'when last_error was, to a second';
COMMENT ON COLUMN eda.subscription.last_error_code IS 'its SQLSTATE; NULL: it is eda''s own word';
COMMENT ON COLUMN eda.subscription.last_error_where IS 'functions and lines of its context';

COMMENT ON COLUMN eda.suspect.subscription_id IS 'which subscription';
COMMENT ON COLUMN eda.suspect.lane IS 'which of its lanes';
COMMENT ON COLUMN eda.suspect.event_id IS 'which event; 0: one of a batch';
COMMENT ON COLUMN eda.suspect.until_id IS 'the last event of that batch';
COMMENT ON COLUMN eda.suspect.crashes IS 'how often it crashed the server';
COMMENT ON COLUMN eda.suspect.crash_id IS 'which crash was counted last';
COMMENT ON COLUMN eda.suspect.last_at IS 'when that was';
COMMENT ON COLUMN eda.suspect.xid IS 'the transaction that wrote this';

COMMENT ON COLUMN eda.topic.topic IS 'the topic';
COMMENT ON COLUMN eda.topic.schema IS 'the JSON Schema that its events conform to; NULL: none';
COMMENT ON COLUMN eda.topic.description IS 'what it is about';
COMMENT ON COLUMN eda.topic.sensitive IS 'fields of the payload whose values messages do not show';
COMMENT ON COLUMN eda.topic.owner IS 'the role that defined it';
COMMENT ON COLUMN eda.topic.defined_at IS 'when that was';

COMMENT ON COLUMN eda.dead_letters.subscription IS 'which subscription gave up on it';
COMMENT ON COLUMN eda.dead_letters.event_id IS 'which event';
COMMENT ON COLUMN eda.dead_letters.topic IS 'its topic';
COMMENT ON COLUMN eda.dead_letters.key IS 'its key; NULL: none';
COMMENT ON COLUMN eda.dead_letters.payload IS 'its payload';
COMMENT ON COLUMN eda.dead_letters.headers IS 'its headers; NULL: none';
COMMENT ON COLUMN eda.dead_letters.correlation_id IS 'what its chain of events is about';
COMMENT ON COLUMN eda.dead_letters.published_at IS 'when it was published';
COMMENT ON COLUMN eda.dead_letters.reason IS 'kind of the last failure: max_attempts, rejected, schema, expired, timeout, crash, hops or skipped';
COMMENT ON COLUMN eda.dead_letters.attempts IS 'attempts that counted';
COMMENT ON COLUMN eda.dead_letters.attempt_history IS 'when it was tried';
COMMENT ON COLUMN eda.dead_letters.error_code IS 'SQLSTATE of the last failure';
COMMENT ON COLUMN eda.dead_letters.error_message IS 'its message';
COMMENT ON COLUMN eda.dead_letters.error_detail IS 'its detail';
COMMENT ON COLUMN eda.dead_letters.error_context IS 'its context';
COMMENT ON COLUMN eda.dead_letters.died_at IS 'when it was given up on';

COMMENT ON COLUMN eda.delayed.event_id IS 'which event';
COMMENT ON COLUMN eda.delayed.topic IS 'its topic';
COMMENT ON COLUMN eda.delayed.key IS 'its key; NULL: none';
COMMENT ON COLUMN eda.delayed.deliver_at IS 'when it is due';

COMMENT ON COLUMN eda.events.id IS 'its number; events are handled in the order of these';
COMMENT ON COLUMN eda.events.topic IS 'what it is about: dotted words';
COMMENT ON COLUMN eda.events.key IS 'events of one key are handled in order; NULL: none';
COMMENT ON COLUMN eda.events.payload IS 'what it says';
COMMENT ON COLUMN eda.events.headers IS 'what is said about it: a JSON object; NULL: none';
COMMENT ON COLUMN eda.events.published_at IS 'when it was published';
COMMENT ON COLUMN eda.events.published_by IS 'the role that published it';
COMMENT ON COLUMN eda.events.correlation_id IS 'what its chain of events is about: its first event''s id, unless one was given';
COMMENT ON COLUMN eda.events.causation_id IS 'the event whose handler published it; NULL: none';
COMMENT ON COLUMN eda.events.hops IS 'how many handlers of events have led to it';

COMMENT ON COLUMN eda.job_refusals.run_id IS 'which run';
COMMENT ON COLUMN eda.job_refusals.job IS 'which job';
COMMENT ON COLUMN eda.job_refusals.started_at IS 'when the run began';
COMMENT ON COLUMN eda.job_refusals.row IS 'which row of the query''s result, from 1';
COMMENT ON COLUMN eda.job_refusals.payload IS 'what would have been published; NULL: there was none, or it is too large';
COMMENT ON COLUMN eda.job_refusals.violations IS 'why not';

COMMENT ON COLUMN eda.job_runs.run_id IS 'its number';
COMMENT ON COLUMN eda.job_runs.job IS 'which job';
COMMENT ON COLUMN eda.job_runs.started_at IS 'when it began';
COMMENT ON COLUMN eda.job_runs.finished_at IS 'when it ended; NULL: it has not';
COMMENT ON COLUMN eda.job_runs.outcome IS 'running, published, no_records, skipped (the run before was still going), error or missed';
COMMENT ON COLUMN eda.job_runs.message IS 'what there is to say about that; of an error, its message (who may not see the payload: SQLSTATE, condition and place)';
COMMENT ON COLUMN eda.job_runs.total IS 'rows that the query returned';
COMMENT ON COLUMN eda.job_runs.published IS 'events that were published';
COMMENT ON COLUMN eda.job_runs.invalid IS 'rows that were refused';
COMMENT ON COLUMN eda.job_runs.first_id IS 'id of the first event';
COMMENT ON COLUMN eda.job_runs.last_id IS 'id of the last one';
COMMENT ON COLUMN eda.job_runs.error_code IS 'SQLSTATE of the error';
COMMENT ON COLUMN eda.job_runs.error_detail IS 'the error''s detail, for who may see the payload';
COMMENT ON COLUMN eda.job_runs.error_condition IS 'name of that SQLSTATE''s condition, or of its class';
COMMENT ON COLUMN eda.job_runs.error_where IS 'functions and lines of its context';

COMMENT ON COLUMN eda.jobs.job IS 'its name';
COMMENT ON COLUMN eda.jobs.schedule IS 'when it is due, as pg_cron reads it';
COMMENT ON COLUMN eda.jobs.query IS 'whose rows become events';
COMMENT ON COLUMN eda.jobs.topic IS 'the topic of these';
COMMENT ON COLUMN eda.jobs.key_column IS 'the column that is an event''s key; NULL: none';
COMMENT ON COLUMN eda.jobs.idempotency_key_column IS 'the column that is its idempotency key; NULL: none';
COMMENT ON COLUMN eda.jobs.on_invalid IS 'what becomes of rows that break the topic''s schema: fail or skip';
COMMENT ON COLUMN eda.jobs.owner IS 'the role that it runs as';
COMMENT ON COLUMN eda.jobs.search_path IS 'where its query looks names up';
COMMENT ON COLUMN eda.jobs.cron_jobid IS 'its number in pg_cron';
COMMENT ON COLUMN eda.jobs.created_at IS 'when it was first scheduled';
COMMENT ON COLUMN eda.jobs.last_started_at IS 'when its last run began';
COMMENT ON COLUMN eda.jobs.last_outcome IS 'what that came to: see eda.job_runs';

COMMENT ON COLUMN eda.retries.subscription IS 'which subscription it waits for';
COMMENT ON COLUMN eda.retries.event_id IS 'which event';
COMMENT ON COLUMN eda.retries.topic IS 'its topic';
COMMENT ON COLUMN eda.retries.key IS 'its key; NULL: none';
COMMENT ON COLUMN eda.retries.attempt IS 'attempts that counted so far';
COMMENT ON COLUMN eda.retries.next_attempt_at IS 'when it is tried next; NULL: it waits behind another one';
COMMENT ON COLUMN eda.retries.error_code IS 'SQLSTATE of the last failure';
COMMENT ON COLUMN eda.retries.error_message IS 'its message (who may not see the payload: SQLSTATE, condition and place)';
COMMENT ON COLUMN eda.retries.error_condition IS 'name of that SQLSTATE''s condition, or of its class';
COMMENT ON COLUMN eda.retries.error_where IS 'functions and lines of its context, innermost first';

COMMENT ON COLUMN eda.schemas.uri IS 'what $ref finds it by';
COMMENT ON COLUMN eda.schemas.schema IS 'the JSON Schema';
COMMENT ON COLUMN eda.schemas.owner IS 'the role that registered it';
COMMENT ON COLUMN eda.schemas.defined_at IS 'when that was';

COMMENT ON COLUMN eda.segments.segment IS 'its number';
COMMENT ON COLUMN eda.segments.first_id IS 'its lowest event id, about';
COMMENT ON COLUMN eda.segments.last_id IS 'its highest one, about';
COMMENT ON COLUMN eda.segments.size IS 'bytes on disk, indexes too';
COMMENT ON COLUMN eda.segments.oldest IS 'when its oldest event was published, about';
COMMENT ON COLUMN eda.segments.pinned_by IS 'subscriptions that may still need it; NULL: none, or it is the current one';

COMMENT ON COLUMN eda.subscriptions.subscription IS 'its name';
COMMENT ON COLUMN eda.subscriptions.topics IS 'topic patterns, with commas between them';
COMMENT ON COLUMN eda.subscriptions.handler IS 'the function that is called';
COMMENT ON COLUMN eda.subscriptions.filter IS 'which of these events it gets; NULL: all';
COMMENT ON COLUMN eda.subscriptions.schema IS 'the JSON Schema that an event''s payload must conform to; NULL: none';
COMMENT ON COLUMN eda.subscriptions.ordering IS 'none, key or strict';
COMMENT ON COLUMN eda.subscriptions.concurrency IS 'how many lanes are wanted';
COMMENT ON COLUMN eda.subscriptions.batch_size IS 'how many events share a transaction at most';
COMMENT ON COLUMN eda.subscriptions.rate_limit IS 'events a second at most; NULL: no limit';
COMMENT ON COLUMN eda.subscriptions.max_attempts IS 'after how many failed attempts an event is a dead letter';
COMMENT ON COLUMN eda.subscriptions.backoff IS 'pause after the first failed attempt, doubled with each';
COMMENT ON COLUMN eda.subscriptions.max_backoff IS 'the longest one';
COMMENT ON COLUMN eda.subscriptions.reject_on IS 'SQLSTATEs and classes of them that are not tried again';
COMMENT ON COLUMN eda.subscriptions.block_after IS 'after how many failures in a row the subscription is blocked';
COMMENT ON COLUMN eda.subscriptions.timeout IS 'how long a handler may take for an event';
COMMENT ON COLUMN eda.subscriptions.expire_after IS 'the age at which an event is a dead letter without being tried; NULL: none';
COMMENT ON COLUMN eda.subscriptions.priority IS 'who goes first where executors are rare: the higher one';
COMMENT ON COLUMN eda.subscriptions.owner IS 'the role that it runs as';
COMMENT ON COLUMN eda.subscriptions.state IS 'active, paused or blocked';
COMMENT ON COLUMN eda.subscriptions.blocked_reason IS 'failing, handler, privilege, login, crashing or copied; or library not preloaded, no database slot or not enabled; of an active one, that it waits for a worker slot or an executor slot';
COMMENT ON COLUMN eda.subscriptions.blocked_detail IS 'what is wrong; if failing, the last error''s message (who may not see the payload: SQLSTATE, condition and place)';
COMMENT ON COLUMN eda.subscriptions.backlog IS 'about how many events it has not got to, retries aside';
COMMENT ON COLUMN eda.subscriptions.oldest_age IS 'how old the oldest of these is';
COMMENT ON COLUMN eda.subscriptions.in_flight IS 'events in the batches that are being handled';
COMMENT ON COLUMN eda.subscriptions.handled IS 'events that were handled';
COMMENT ON COLUMN eda.subscriptions.filtered IS 'events that did not pass the filter';
COMMENT ON COLUMN eda.subscriptions.failed IS 'attempts that failed';
COMMENT ON COLUMN eda.subscriptions.retrying IS 'events that wait for another attempt, or behind such a one';
COMMENT ON COLUMN eda.subscriptions.dead IS 'dead letters';
COMMENT ON COLUMN eda.subscriptions.last_handled_at IS 'when it last handled something';
COMMENT ON COLUMN eda.subscriptions.last_error IS 'the last failure''s message (who may not see the payload: SQLSTATE, condition and place), or what eda says';
COMMENT ON COLUMN eda.subscriptions.lanes IS 'how many lanes it has now';
COMMENT ON COLUMN eda.subscriptions.state_since IS 'since when it is paused or blocked; NULL: it is active';
COMMENT ON COLUMN eda.subscriptions.last_error_at IS 'when last_error was, to a second';
COMMENT ON COLUMN eda.subscriptions.last_error_code IS 'its SQLSTATE; NULL: it is eda''s own word';
COMMENT ON COLUMN eda.subscriptions.last_error_condition IS 'name of that SQLSTATE''s condition, or of its class';
COMMENT ON COLUMN eda.subscriptions.last_error_where IS 'functions and lines of its context, innermost first';

COMMENT ON COLUMN eda.topics.topic IS 'the topic';
COMMENT ON COLUMN eda.topics.schema IS 'the JSON Schema that its events conform to; NULL: none';
COMMENT ON COLUMN eda.topics.description IS 'what it is about';
COMMENT ON COLUMN eda.topics.sensitive IS 'fields of the payload whose values messages do not show';
COMMENT ON COLUMN eda.topics.owner IS 'the role that defined it';
COMMENT ON COLUMN eda.topics.defined_at IS 'when that was';

COMMENT ON COLUMN eda.workers.kind IS 'launcher, dispatcher or executor';
COMMENT ON COLUMN eda.workers.pid IS 'its process';
COMMENT ON COLUMN eda.workers.database IS 'the database that it serves; NULL: all';
COMMENT ON COLUMN eda.workers.role IS 'the role that an executor is connected as';
COMMENT ON COLUMN eda.workers.subscription IS 'the one that it handles';
COMMENT ON COLUMN eda.workers.state IS 'wanted, starting, running, idle or assigned';
COMMENT ON COLUMN eda.workers.in_flight IS 'events in the batch at hand';
COMMENT ON COLUMN eda.workers.since IS 'since when it is in that state';
COMMENT ON COLUMN eda.workers.lane IS 'the subscription''s lane that it handles';
COMMENT ON COLUMN eda.workers.waits_for IS 'what the dispatcher''s database waits for: worker slot (of max_worker_processes, for its dispatcher or an executor), executor slot (of eda.max_executors); NULL: nothing';
COMMENT ON COLUMN eda.workers.waits_since IS 'since when it waits for that';

COMMENT ON SEQUENCE eda.event_id_seq IS 'reserve of event ids: one value is 1,024 ids';
COMMENT ON SEQUENCE eda.subscription_subscription_id_seq IS 'numbers of subscriptions';
COMMENT ON SEQUENCE eda.retry_seq_seq IS 'order of waiting events';
COMMENT ON SEQUENCE eda.job_job_id_seq IS 'numbers of jobs';
COMMENT ON SEQUENCE eda.job_run_run_id_seq IS 'numbers of runs of jobs';

-- A segment is a child of eda.log, which passes no comments on.
DO $$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT pg_catalog.format('COMMENT ON TABLE %s IS %L', i.inhrelid::pg_catalog.regclass, 'a segment of the event log')
          FROM pg_catalog.pg_inherits i WHERE i.inhparent = 'eda.log'::pg_catalog.regclass
         UNION ALL
        SELECT pg_catalog.format('COMMENT ON COLUMN eda.log_1.%I IS %L', a.attname, pg_catalog.col_description(a.attrelid, a.attnum))
          FROM pg_catalog.pg_attribute a WHERE a.attrelid = 'eda.log'::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped
    LOOP
        EXECUTE command;
    END LOOP;
END $$;


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
    eda._preloaded(), eda._workers(), eda._waits(), eda._not_delivering(), eda._backlog(int), eda._segments(),
    eda._matches(text, text) TO PUBLIC;

-- And where somebody may write to all tables (pg_write_all_data), or was granted it on these, a trigger refuses
-- who is neither their owner nor a superuser (src/base/guard.c).
CREATE FUNCTION eda._guard() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_guard';
COMMENT ON FUNCTION eda._guard() IS
'on eda''s tables: refuses to write to them to whom they do not belong, whatever was granted';

DO $$
DECLARE
    tab text;
BEGIN
    FOR tab IN
        SELECT c.oid::regclass FROM pg_class c
        WHERE c.relnamespace = 'eda'::regnamespace AND c.relkind = 'r'
    LOOP
        EXECUTE format('CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION eda._guard()', tab);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER guard', tab);
    END LOOP;
END $$;

REVOKE ALL ON FUNCTION eda._guard() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION eda._schedule_next(text, text, timestamptz) TO PUBLIC;
GRANT EXECUTE ON PROCEDURE eda._start_job(text) TO PUBLIC;


-- What is new belongs to who ran the update; it is to belong to the extension's owner, as whom eda works.
DO $$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT pg_catalog.format('ALTER %s %s OWNER TO %I',
                                 CASE d.classid WHEN 'pg_catalog.pg_proc'::pg_catalog.regclass THEN 'ROUTINE'
                                                ELSE CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END END,
                                 CASE d.classid WHEN 'pg_catalog.pg_proc'::pg_catalog.regclass THEN d.objid::pg_catalog.regprocedure::text
                                                ELSE d.objid::pg_catalog.regclass::text END,
                                 pg_catalog.pg_get_userbyid(e.extowner))
          FROM pg_catalog.pg_extension e
          JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
                                     AND d.deptype = 'e'
          LEFT JOIN pg_catalog.pg_proc p ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = d.objid
          LEFT JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = d.objid
                                         AND c.relkind IN ('r', 'v', 'S')
         WHERE e.extname = 'eda' AND coalesce(p.proowner, c.relowner) <> e.extowner
    LOOP
        EXECUTE command;
    END LOOP;
END $$;


-- The workers begin with the new objects.
SELECT eda._announce();
