-- Redrive, discard, skip; what becomes of the order among waiting events; trace and the views.
--
-- The subscriptions are paused before anything is published or put into
-- eda.retry by hand, so live workers leave them alone.
SET client_min_messages = error;
CREATE ROLE regress_eda_app LOGIN;
CREATE ROLE regress_eda_other LOGIN;
GRANT USAGE ON SCHEMA eda TO regress_eda_app, regress_eda_other;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA eda TO regress_eda_app, regress_eda_other;
CREATE FUNCTION public.regress_eda_f(jsonb) RETURNS void LANGUAGE sql AS '';

BEGIN;
SELECT eda.subscribe('by_key', 'regress.operate.#', 'regress_eda_f', owner => 'regress_eda_app');
SELECT eda.subscribe('alone', 'regress.operate.#', 'regress_eda_f', ordering => 'none', owner => 'regress_eda_app');
SELECT eda.subscribe('strict', 'regress.operate.#', 'regress_eda_f', ordering => 'strict', owner => 'regress_eda_app');
SELECT eda.pause(s) FROM unnest('{by_key,alone,strict}'::text[]) s;
COMMIT;

-- Eight dead letters each: keys a b a - b a b -, three of them with a code of their own.
CREATE PROCEDURE regress_eda_kill() LANGUAGE sql AS $$
    TRUNCATE eda.retry, eda.dead_letter;
    INSERT INTO eda.dead_letter
    SELECT s.subscription_id, 0, -9 + i, 'regress.operate.x', (ARRAY['a', 'b', 'a', NULL, 'b', 'a', 'b', NULL])[i],
           jsonb_build_object('i', i), '{"h": 1}', '2026-01-01 00:00+00', 'regress_eda_app'::regrole, NULL, NULL, 0,
           'max_attempts', 2, '{2026-01-01 00:00:01+00,2026-01-01 00:00:02+00}',
           CASE WHEN i % 3 = 0 THEN '22012' ELSE 'P0001' END, 'message ' || i, 'detail', 'context', '2026-01-01 00:00:02+00'
      FROM eda.subscription s, generate_series(1, 8) i;
$$;
CALL regress_eda_kill();
SELECT * FROM eda.dead_letters WHERE subscription = 'by_key' ORDER BY event_id LIMIT 1 \gx
SELECT subscription, retrying, dead FROM eda.subscriptions ORDER BY subscription;

-- Bad input.
SELECT eda.redrive(NULL, '{}');
SELECT eda.redrive('by_key', NULL);
SELECT eda.redrive('by_key', '{1,NULL}');
SELECT eda.redrive_all(NULL);
SELECT eda.redrive_all('by_key', max_events => -1);
SELECT eda.discard('by_key', NULL);
SELECT eda.discard('by_key', '{NULL}');
SELECT eda.discard_all(NULL);
SELECT eda.skip('by_key', NULL);
SELECT eda.skip(NULL, 1);
SELECT * FROM eda.trace(NULL);
SELECT eda.redrive('nope', '{1}');
SELECT eda.redrive_all('nope');
SELECT eda.discard('nope', '{1}');
SELECT eda.discard_all('nope');
SELECT eda.skip('nope', 1);
SET ROLE regress_eda_other;
SELECT eda.redrive('by_key', '{1}');
SELECT eda.redrive_all('by_key');
SELECT eda.discard('by_key', '{1}');
SELECT eda.discard_all('by_key');
SELECT eda.skip('by_key', 1);
SET ROLE regress_eda_app;
BEGIN READ ONLY;
SELECT eda.redrive_all('by_key');
ROLLBACK;

-- Redrive: what is not there is not counted; the first of a key is due, the others wait behind it.
SELECT eda.redrive('by_key', '{}'), eda.redrive('by_key', '{-3,-8,-8,77,-7,-5}');
RESET ROLE;
CREATE VIEW regress_eda_waiting AS
    SELECT s.name, row_number() OVER (PARTITION BY s.name ORDER BY r.seq) AS place, r.event_id, r.key, r.attempt,
           r.deliveries, r.next_attempt_at IS NOT NULL AS due
      FROM eda.retry r JOIN eda.subscription s USING (subscription_id)
     ORDER BY s.name, r.seq;
SELECT * FROM regress_eda_waiting;
SELECT subscription, event_id, topic, key, attempt, next_attempt_at <= clock_timestamp() AS due, error_code, error_message
  FROM eda.retries ORDER BY event_id;
SELECT attempt_history, payload, headers, published_by::regrole, reason, error_detail, error_context
  FROM eda.retry WHERE event_id = -8 \gx
-- A second time, behind those.
SELECT eda.redrive_all('by_key', '22012');
SELECT eda.redrive_all('by_key', max_events => 0), eda.redrive_all('by_key', 'P0001', 1), eda.redrive_all('by_key');
SELECT * FROM regress_eda_waiting;
SELECT eda.redrive_all('alone', max_events => 3), eda.redrive_all('strict', '22012'), eda.redrive_all('strict', NULL, 1);
SELECT * FROM regress_eda_waiting WHERE name <> 'by_key';

-- Another ordering: the queues are formed anew.
SELECT eda.alter_subscription('strict', '{"ordering": "none"}'), eda.alter_subscription('alone', '{"ordering": "strict"}'),
       eda.alter_subscription('by_key', '{"ordering": "strict"}');
SELECT * FROM regress_eda_waiting;
SELECT eda.alter_subscription('by_key', '{"ordering": "key"}'), eda.alter_subscription('alone', '{"ordering": "none"}'),
       eda.alter_subscription('strict', '{"ordering": "strict"}');
SELECT name, event_id, key FROM regress_eda_waiting WHERE due;

-- Skip: a dead letter, and the next one of its key (or lane) is due.
SELECT eda.skip('by_key', 4711), eda.skip('by_key', -8), eda.skip('by_key', -8);
SELECT event_id, reason, attempts, attempt_history, error_code, error_message, died_at > now() - interval '1 h' AS now
  FROM eda.dead_letters WHERE subscription = 'by_key';
SELECT event_id, key FROM regress_eda_waiting WHERE name = 'by_key' AND due;
-- One that waits behind: nothing changes for the others.
SELECT eda.skip('by_key', -1), eda.skip('by_key', -4);
SELECT event_id, key FROM regress_eda_waiting WHERE name = 'by_key' AND due;
SELECT eda.skip('strict', (SELECT event_id FROM regress_eda_waiting WHERE name = 'strict' AND due));
SELECT event_id, key, due FROM regress_eda_waiting WHERE name = 'strict';
SELECT eda.skip('alone', -8);
SELECT event_id, key, due FROM regress_eda_waiting WHERE name = 'alone';

-- Discard.
CALL regress_eda_kill();
SELECT eda.discard('by_key', '{-1,-2,-2,99}'), eda.discard('alone', '{}');
SELECT eda.discard_all('by_key'), eda.discard_all('by_key');
SELECT subscription, retrying, dead FROM eda.subscriptions ORDER BY subscription;

-- Dead letters left.
SELECT eda.unsubscribe('alone');
\echo :SQLSTATE
SELECT eda.discard('alone', '{-2,-3,-4,-5,-6,-7,-8}');
SELECT eda.unsubscribe('alone', force => false);
SELECT eda.unsubscribe('alone', force => true);
SELECT eda.redrive_all('strict', max_events => 2);
SELECT eda.discard_all('strict');
SELECT eda.unsubscribe('strict');
SELECT count(*) FROM eda.retry;
SELECT count(*) FROM eda.dead_letter;

-- Trace and backlog.  Ids are kept in variables.
SELECT eda.publish('regress.operate.x', key => 'k') AS before \gset
BEGIN;
SELECT eda.publish('regress.operate.x') AS own_before \gset
SELECT eda.subscribe('latest', 'regress.operate.x', 'regress_eda_f', owner => 'regress_eda_app');
SELECT eda.subscribe('earliest', 'regress.operate.*,regress.operate2.*', 'regress_eda_f', start => 'earliest', owner => 'regress_eda_app');
SELECT eda.subscribe('later', 'regress.operate.x', 'regress_eda_f', start_at => 'tomorrow', owner => 'regress_eda_app');
SELECT eda.pause(s) FROM unnest('{latest,earliest,later}'::text[]) s;
SELECT eda.publish('regress.operate.x') AS own_after \gset
SAVEPOINT a;
SELECT eda.publish('regress.operate.x') AS rolled_back \gset
ROLLBACK TO a;
COMMIT;
SELECT eda.publish('regress.operate.x', '{"a": 1}', 'k', '{"h": 1}') AS after \gset
SELECT eda.publish('regress.operate2.x') AS other \gset
SELECT eda.publish('regress.operate3') AS unheard \gset
SELECT * FROM eda.trace(:before) ORDER BY subscription;
SELECT * FROM eda.trace(:own_before) ORDER BY subscription;
SELECT * FROM eda.trace(:own_after) ORDER BY subscription;
SELECT * FROM eda.trace(:rolled_back) ORDER BY subscription;
SELECT * FROM eda.trace(:after) ORDER BY subscription;
SELECT * FROM eda.trace(:other) ORDER BY subscription;
SELECT * FROM eda.trace(:unheard) ORDER BY subscription;
SELECT * FROM eda.trace(-1);
-- a role sees the subscriptions that it may operate; pg_monitor, all
GRANT pg_monitor TO regress_eda_other;
SET ROLE regress_eda_app;
SELECT subscription FROM eda.trace(:after) ORDER BY subscription;
SET ROLE regress_eda_other;
SELECT subscription FROM eda.trace(:after) ORDER BY subscription;
RESET ROLE;
REVOKE pg_monitor FROM regress_eda_other;
SET ROLE regress_eda_other;
SELECT subscription FROM eda.trace(:after) ORDER BY subscription;
RESET ROLE;
-- What was rolled back is not counted.
SELECT subscription, backlog, oldest_age BETWEEN '0' AND '1 hour' AS oldest, in_flight
  FROM eda.subscriptions WHERE subscription IN ('by_key', 'latest', 'later', 'earliest') ORDER BY subscription;
SELECT s.name, b.oldest = e.published_at AS oldest_is_right
  FROM eda.subscription s
  JOIN eda.events e ON e.id = CASE s.name WHEN 'latest' THEN :own_after WHEN 'by_key' THEN :before END
 CROSS JOIN eda._backlog(s.subscription_id) b
 ORDER BY 1;

-- A cursor that has got as far as another one that starts now.
BEGIN;
SELECT eda.subscribe('now', 'regress.operate.x', 'regress_eda_f', owner => 'regress_eda_app');
UPDATE eda.cursor c SET from_snapshot = n.to_snapshot, to_snapshot = n.to_snapshot
  FROM eda.cursor n, eda.subscription sn, eda.subscription sc
 WHERE sn.name = 'now' AND n.subscription_id = sn.subscription_id
   AND sc.name = 'latest' AND c.subscription_id = sc.subscription_id;
SELECT * FROM eda.trace(:after) ORDER BY subscription;
SELECT subscription, backlog, oldest_age FROM eda.subscriptions WHERE subscription IN ('latest', 'now') ORDER BY subscription;
ROLLBACK;
-- One that has done part of its window.
BEGIN;
SELECT eda.subscribe('now', 'regress.operate.x', 'regress_eda_f', owner => 'regress_eda_app');
UPDATE eda.cursor c SET to_snapshot = n.to_snapshot, pos_id = :own_after
  FROM eda.cursor n, eda.subscription sn, eda.subscription sc
 WHERE sn.name = 'now' AND n.subscription_id = sn.subscription_id
   AND sc.name = 'latest' AND c.subscription_id = sc.subscription_id;
SELECT subscription, state FROM eda.trace(:own_after) ORDER BY subscription;
SELECT subscription, state FROM eda.trace(:after) ORDER BY subscription;
ROLLBACK;
-- Waiting and dead events are traced after they left the log, too.
BEGIN;
INSERT INTO eda.retry (subscription_id, lane, event_id, topic, key, payload, published_at, published_by, hops, attempt,
                       deliveries, next_attempt_at, error_message)
SELECT subscription_id, 0, -n, 'regress.gone', 'a', '{}', now(), 10, 0, n, n,
       CASE n WHEN 1 THEN timestamptz '2026-01-01 00:00+00' END, CASE n WHEN 1 THEN 'broken' END
  FROM eda.subscription, generate_series(0, 1) n WHERE name = 'by_key';
INSERT INTO eda.dead_letter (subscription_id, lane, event_id, topic, payload, published_at, published_by, hops, reason,
                             attempts, attempt_history, error_message, died_at)
SELECT subscription_id, 0, -1, 'regress.gone', '{}', now(), 10, 0, 'rejected', 1, '{}', 'no', '2026-01-01 00:00+00'
  FROM eda.subscription WHERE name = 'latest';
SELECT subscription, state, attempt, at AT TIME ZONE 'UTC' AS at, error_message FROM eda.trace(-1) ORDER BY subscription;
SELECT * FROM eda.trace(0);
ROLLBACK;

-- Views.
SELECT topic, key, payload, headers, published_by, correlation_id = id::text AS own_correlation, causation_id, hops
  FROM eda.events WHERE id = :after;
SELECT segment, first_id > 0 AS first, last_id >= :unheard AS last, size > 0 AS size, oldest < clock_timestamp() AS oldest,
       pinned_by
  FROM eda.segments;
SELECT count(*) FILTER (WHERE kind NOT IN ('launcher', 'dispatcher', 'executor')) AS unknown,
       count(*) FILTER (WHERE state NOT IN ('wanted', 'starting', 'running', 'idle', 'assigned')) AS odd
  FROM eda.workers;

SELECT eda.unsubscribe(subscription, true) FROM eda.subscriptions;
DROP PROCEDURE regress_eda_kill();
DROP VIEW regress_eda_waiting;
DROP FUNCTION public.regress_eda_f(jsonb);
DROP OWNED BY regress_eda_app, regress_eda_other;
DROP ROLE regress_eda_app, regress_eda_other;
