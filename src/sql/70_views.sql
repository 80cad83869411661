-- What can be looked at.  C: src/operate/stats.c, src/operate/trace.c; who sees what: src/base/visible.c.

CREATE FUNCTION eda._preloaded() RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_preloaded';
COMMENT ON FUNCTION eda._preloaded() IS 'did the server preload the library, without which nothing is delivered?';

CREATE FUNCTION eda._workers(
    OUT kind text, OUT pid int, OUT database oid, OUT role oid, OUT subscription_id int,
    OUT state text, OUT in_flight int, OUT since timestamptz, OUT lane int
) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'eda_workers';
COMMENT ON FUNCTION eda._workers()
    IS 'worker processes that the current user sees: all of the server for pg_monitor, else what serves this database for roles of one''s own; none when the library is not preloaded';

CREATE FUNCTION eda._waits(OUT database oid, OUT waits_for text, OUT since timestamptz) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'eda_waits';
COMMENT ON FUNCTION eda._waits()
    IS 'databases that wait for a worker slot of the server, or for one of eda.max_executors: all for pg_monitor, else this one';

CREATE FUNCTION eda._not_delivering(OUT reason text, OUT detail text, OUT waiting boolean)
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eda_not_delivering';
COMMENT ON FUNCTION eda._not_delivering()
    IS 'why nothing is delivered in this database, or no executor comes for what is pending (waiting); nulls where all is well';

CREATE FUNCTION eda._backlog(subscription_id int, OUT backlog bigint, OUT oldest timestamptz)
    LANGUAGE c VOLATILE COST 10000 AS 'MODULE_PATHNAME', 'eda_backlog';
COMMENT ON FUNCTION eda._backlog(int) IS 'about how many events a subscription has not got to, and when the oldest was published; NULL of one that the current user does not see';

CREATE FUNCTION eda._segments(
    OUT segment int, OUT first_id bigint, OUT last_id bigint, OUT size bigint, OUT oldest timestamptz,
    OUT pinned_by text[]
) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'eda_segments';
COMMENT ON FUNCTION eda._segments() IS 'segments of the event log, and who pins them, as far as the current user sees that';

CREATE FUNCTION eda.trace(event_id bigint)
    RETURNS TABLE (subscription text, state text, attempt int, at timestamptz, error_message text)
    LANGUAGE c VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'eda_trace';
COMMENT ON FUNCTION eda.trace(bigint)
    IS 'where an event stands, per subscription that you may operate (all for pg_monitor): delayed (at: when it is due), pending, handled (filtered out too; attempt and at where it was not the first attempt), retrying (at: the next attempt) or dead (at: when it died); a row without a subscription, no subscriber: none of these gets it; no row: there is no such event that concerns you, or not any more';

CREATE FUNCTION eda.event(event_id bigint) RETURNS eda.event
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eda_event_by_id';
COMMENT ON FUNCTION eda.event(bigint)
    IS 'an event by its id, as long as it is in the log, delayed, waiting for a retry or a dead letter; NULL: there is none, or it does not concern you (see eda.events)';

-- Whom does an event concern?  Who published it, and who has a subscription to its topic.
CREATE VIEW eda.events WITH (security_barrier) AS
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

CREATE VIEW eda.subscriptions WITH (security_barrier) AS
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

CREATE VIEW eda.retries WITH (security_barrier) AS
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
CREATE VIEW eda.dead_letters WITH (security_barrier) AS
    SELECT s.name AS subscription, d.event_id, d.topic, d.key, d.payload, d.headers,
           coalesce(d.correlation_id, d.event_id::text) AS correlation_id, d.published_at, d.reason,
           d.attempts, d.attempt_history, d.error_code, d.error_message, d.error_detail, d.error_context,
           d.died_at
      FROM eda.dead_letter d JOIN eda.subscription s USING (subscription_id)
     WHERE eda._may_read(s.owner);
COMMENT ON VIEW eda.dead_letters IS 'events that your subscriptions gave up on, payloads included';

CREATE VIEW eda.segments AS
    SELECT segment, first_id, last_id, size, oldest, pinned_by FROM eda._segments();
COMMENT ON VIEW eda.segments
    IS 'segments of the event log (ids and time from both ends, about right); pinned_by: subscriptions that may still need it; NULL: none, or it is the current one';

CREATE VIEW eda.workers AS
    SELECT w.kind, w.pid, d.datname AS database, w.role::regrole AS role, s.name AS subscription,
           w.state, w.in_flight, w.since, w.lane, x.waits_for, x.since AS waits_since
      FROM eda._workers() w
      LEFT JOIN eda._waits() x ON w.kind OPERATOR(pg_catalog.=) 'dispatcher' AND x.database OPERATOR(pg_catalog.=) w.database
      LEFT JOIN pg_database d ON d.oid = w.database
      LEFT JOIN eda.subscription s ON s.subscription_id = w.subscription_id AND d.datname = current_database();
COMMENT ON VIEW eda.workers
    IS 'worker processes: for pg_monitor of the whole server, else those that serve this database for roles of yours; subscriptions are named for this database only; an executor is overdue while its event is past its timeout, and unresponsive where it does not end for that';
