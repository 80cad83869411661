-- What can be looked at.  C: src/eda_stats.c.
-- The functions whose names begin with _ are parts of the views; whoever may read a view must
-- be able to execute them, and without USAGE on schema eda nobody can name them otherwise.

CREATE FUNCTION eda._preloaded() RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_preloaded';
COMMENT ON FUNCTION eda._preloaded() IS 'did the server preload the library, without which nothing is delivered?';

CREATE FUNCTION eda._workers(
    OUT kind text, OUT pid int, OUT database oid, OUT role oid, OUT subscription_id int,
    OUT state text, OUT in_flight int, OUT since timestamptz, OUT lane int
) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'eda_workers';
COMMENT ON FUNCTION eda._workers() IS 'worker processes of the whole server; none when the library is not preloaded';

CREATE FUNCTION eda._backlog(subscription_id int, OUT backlog bigint, OUT oldest timestamptz)
    LANGUAGE c VOLATILE COST 10000 AS 'MODULE_PATHNAME', 'eda_backlog';
COMMENT ON FUNCTION eda._backlog(int) IS 'about how many events a subscription has not got to, and when the oldest was published';

CREATE FUNCTION eda._segments(
    OUT segment int, OUT first_id bigint, OUT last_id bigint, OUT size bigint, OUT oldest timestamptz,
    OUT pinned_by text[]
) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'eda_segments';
COMMENT ON FUNCTION eda._segments() IS 'segments of the event log';

CREATE FUNCTION eda.trace(event_id bigint)
    RETURNS TABLE (subscription text, state text, attempt int, at timestamptz, error_message text)
    LANGUAGE c VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'eda_trace';
COMMENT ON FUNCTION eda.trace(bigint)
    IS 'where an event stands, per subscription that the caller may operate (all for pg_monitor): delayed (at: when it is due), pending, handled (filtered out too), retrying (at: the next attempt) or dead (at: when it died)';

CREATE VIEW eda.events AS
    SELECT id, topic, key, payload, headers, published_at, published_by::regrole AS published_by,
           coalesce(correlation_id, id::text) AS correlation_id, causation_id,
           coalesce(hops, 0)::int AS hops
      FROM eda.log l
     WHERE EXISTS (SELECT FROM eda.segment s WHERE s.relation = l.tableoid AND s.state IN ('o', 'c', 's'));
COMMENT ON VIEW eda.events IS 'events in the log, payloads included';

CREATE VIEW eda.subscriptions AS
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
           CASE WHEN eda._preloaded() THEN s.blocked_detail
                ELSE 'add eda to shared_preload_libraries and restart the server' END AS blocked_detail,
           b.backlog,
           clock_timestamp() - b.oldest AS oldest_age,
           coalesce(w.in_flight, 0) AS in_flight,
           c.handled, c.filtered, c.failed,
           (SELECT count(*) FROM eda.retry r WHERE r.subscription_id = s.subscription_id) AS retrying,
           (SELECT count(*) FROM eda.dead_letter d WHERE d.subscription_id = s.subscription_id) AS dead,
           c.last_handled_at,
           s.last_error,
           s.lanes
      FROM eda.subscription s
      LEFT JOIN (SELECT subscription_id, sum(handled)::bigint AS handled, sum(filtered)::bigint AS filtered,
                        sum(failed)::bigint AS failed, max(last_handled_at) AS last_handled_at
                   FROM eda.cursor GROUP BY subscription_id) c USING (subscription_id)
      LEFT JOIN (SELECT x.subscription_id, sum(x.in_flight)::int AS in_flight
                   FROM eda._workers() x JOIN pg_database d ON d.oid = x.database
                  WHERE d.datname = current_database()
                  GROUP BY x.subscription_id) w USING (subscription_id)
     CROSS JOIN LATERAL eda._backlog(s.subscription_id) b;
COMMENT ON VIEW eda.subscriptions
    IS 'subscriptions: definition, state, and an estimate of what they have before them';

CREATE VIEW eda.retries AS
    SELECT s.name AS subscription, r.event_id, r.topic, r.key, r.attempt, r.next_attempt_at,
           r.error_code, r.error_message
      FROM eda.retry r JOIN eda.subscription s USING (subscription_id);
COMMENT ON VIEW eda.retries
    IS 'events that wait for another attempt; without next_attempt_at they wait behind another one';

CREATE VIEW eda.dead_letters AS
    SELECT s.name AS subscription, d.event_id, d.topic, d.key, d.payload, d.headers,
           coalesce(d.correlation_id, d.event_id::text) AS correlation_id, d.published_at, d.reason,
           d.attempts, d.attempt_history, d.error_code, d.error_message, d.error_detail, d.error_context,
           d.died_at
      FROM eda.dead_letter d JOIN eda.subscription s USING (subscription_id);
COMMENT ON VIEW eda.dead_letters IS 'events that a subscription gave up on, payloads included';

CREATE VIEW eda.segments AS
    SELECT segment, first_id, last_id, size, oldest, pinned_by FROM eda._segments();
COMMENT ON VIEW eda.segments
    IS 'segments of the event log (ids and time from both ends, about right); pinned_by: subscriptions that may still need it; NULL: none, or it is the current one';

CREATE VIEW eda.workers AS
    SELECT w.kind, w.pid, d.datname AS database, w.role::regrole AS role, s.name AS subscription,
           w.state, w.in_flight, w.since, w.lane
      FROM eda._workers() w
      LEFT JOIN pg_database d ON d.oid = w.database
      LEFT JOIN eda.subscription s ON s.subscription_id = w.subscription_id AND d.datname = current_database();
COMMENT ON VIEW eda.workers
    IS 'worker processes of the whole server; subscriptions are named for this database only';
