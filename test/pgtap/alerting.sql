-- System events, and README's alerting as a subscription to them.
\set test t_alerting
\ir include/begin.sql
SELECT plan(14);

-- The example, as it stands there.
\set example `sed -n '/^CREATE TABLE alert /,/raise_alert.);$/p' docs/operating.md`
SET ROLE :"test";
:example
RESET ROLE;
SELECT is(owner, 't_alerting'::regrole, 'README''s example subscribes') FROM eda.subscriptions WHERE subscription = 'alerts';
-- and what it is told in full
CREATE TABLE told (n int GENERATED ALWAYS AS IDENTITY, id bigint, topic text, payload jsonb, correlation_id text, causation_id bigint);
CREATE FUNCTION tell(e eda.event) RETURNS void LANGUAGE sql AS $$
    INSERT INTO told (id, topic, payload, correlation_id, causation_id) VALUES (e.id, e.topic, e.payload, e.correlation_id, e.causation_id);
$$;
SELECT eda.subscribe('t_alerting_told', 'eda.dead_letter, eda.subscription.blocked', 't_alerting.tell', owner => 't_alerting') \gset

CREATE FUNCTION fail(e eda.event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'broken: %', e.payload ->> 'n' USING ERRCODE = 'AB123'; END$$;

-- An event dies.
SELECT eda.subscribe('t_alerting_dead', 't_alerting.dead', 't_alerting.fail', owner => 't_alerting', max_attempts => 1) \gset
SELECT eda.publish('t_alerting.dead', '{"n": 1, "secret": "s"}', 'key 1', correlation_id => 'order 1') AS id \gset
CALL eda.wait('t_alerting_dead');
CALL eda.wait('alerts');
SELECT results_eq('SELECT kind, what, why, event_id FROM alert',
    format($$VALUES ('eda.dead_letter', 't_alerting_dead', 'max_attempts: AB123: PL/pgSQL function fail(eda.event) line 1 at RAISE', %s::bigint)$$, :'id'), 'a dead letter raises an alert');
TRUNCATE alert;
CALL eda.wait('t_alerting_told');
TRUNCATE told;

-- A subscription is blocked by an event.
SELECT eda.subscribe('t_alerting_failing', 't_alerting.failing', 't_alerting.fail', owner => 't_alerting', block_after => 2, backoff => '1 hour', ordering => 'none') \gset
SELECT eda.publish('t_alerting.failing', '{"n": 1}', 'key 1', correlation_id => 'order 1') \gset
CALL wait_until($$(SELECT failed = 1 FROM eda.subscriptions WHERE subscription = 't_alerting_failing')$$);
SELECT eda.publish('t_alerting.failing', '{"n": 2, "secret": "s"}', 'key 2', correlation_id => 'order 2') AS id \gset
CALL wait_until($$(SELECT state = 'blocked' FROM eda.subscriptions WHERE subscription = 't_alerting_failing')$$);
CALL eda.wait('t_alerting_told');
SELECT results_eq('SELECT topic, payload, correlation_id, causation_id FROM told',
    format($$VALUES ('eda.subscription.blocked', jsonb_build_object('subscription', 't_alerting_failing', 'event_id', %1$s, 'topic', 't_alerting.failing',
                     'key', 'key 2', 'reason', 'failing', 'detail', NULL, 'error_code', 'AB123', 'error_condition', NULL,
                     'error_where', 'PL/pgSQL function fail(eda.event) line 1 at RAISE'), 'order 2', %1$s::bigint)$$, :'id'),
    'eda.subscription.blocked: which event did it, and why, not the payload');
SELECT is((e.key, e.hops)::text, '(t_alerting_failing,1)', 'with the subscription as its key, and as a link of the event''s chain') FROM eda.events e, told t WHERE e.id = t.id;
CALL eda.wait('alerts');
SELECT results_eq('SELECT kind, what, why, event_id FROM alert',
    format($$VALUES ('eda.subscription.blocked', 't_alerting_failing', 'failing: AB123: PL/pgSQL function fail(eda.event) line 1 at RAISE', %s::bigint)$$, :'id'), 'and raises an alert');
TRUNCATE told, alert;

-- An event without key and correlation; one that fails at commit.
SELECT eda.subscribe('t_alerting_plain', 't_alerting.plain', 't_alerting.fail', owner => 't_alerting', block_after => 1, backoff => '1 hour') \gset
SELECT eda.publish('t_alerting.plain', '{"n": 1}') AS id \gset
CALL wait_until($$(SELECT state = 'blocked' FROM eda.subscriptions WHERE subscription = 't_alerting_plain')$$);
CALL eda.wait('t_alerting_told');
SELECT results_eq('SELECT payload -> ''key'', correlation_id, causation_id FROM told', format($$VALUES ('null'::jsonb, %1$L, %1$s::bigint)$$, :'id'),
    'of an event without key and correlation: null, and its own id');
TRUNCATE told;
CREATE TABLE parent (n int PRIMARY KEY);
CREATE TABLE child (n int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION at_commit(e eda.event) RETURNS void LANGUAGE sql AS $$INSERT INTO child VALUES (1)$$;
SELECT eda.subscribe('t_alerting_commit', 't_alerting.commit', 't_alerting.at_commit', owner => 't_alerting', block_after => 1, backoff => '1 hour') \gset
SELECT eda.publish('t_alerting.commit', '{"n": 1}', 'k') AS id \gset
CALL wait_until($$(SELECT state = 'blocked' FROM eda.subscriptions WHERE subscription = 't_alerting_commit')$$);
CALL eda.wait('t_alerting_told');
SELECT results_eq($$SELECT (payload ->> 'event_id')::bigint, payload ->> 'key', payload ->> 'error_code' FROM told$$, format($$VALUES (%s::bigint, 'k', '23503')$$, :'id'),
    'of an event that fails at commit');
TRUNCATE told;

-- No event did it: the handler is gone.
CREATE FUNCTION leave(e eda.event) RETURNS void LANGUAGE sql AS '';
SELECT eda.subscribe('t_alerting_handler', 't_alerting.handler', 't_alerting.leave', owner => 't_alerting') \gset
BEGIN;
DROP FUNCTION leave;
SELECT eda.publish('t_alerting.handler') \gset
COMMIT;
CALL wait_until($$(SELECT blocked_reason = 'handler' FROM eda.subscriptions WHERE subscription = 't_alerting_handler')$$);
CALL eda.wait('t_alerting_told');
SELECT results_eq('SELECT topic, payload, correlation_id, causation_id FROM told',
    $$SELECT 'eda.subscription.blocked', jsonb_build_object('subscription', 't_alerting_handler', 'event_id', NULL, 'topic', NULL, 'key', NULL,
             'reason', 'handler', 'detail', 'function t_alerting.leave(eda.event) does not exist', 'error_code', NULL, 'error_condition', NULL, 'error_where', NULL), min(id)::text, NULL::bigint FROM told$$,
    'eda.subscription.blocked without an event: nulls, and a correlation of its own');
CALL eda.wait('alerts');
TRUNCATE alert;

-- One that fails at these events is blocked without a further one; it can be told by another.
SELECT eda.subscribe('t_alerting_clumsy', 'eda.dead_letter', 't_alerting.fail', owner => 't_alerting', block_after => 1, max_attempts => 1, backoff => '1 hour',
                     filter => '$.subscription == "t_alerting_dead"') \gset
SELECT eda.publish('t_alerting.dead', '{"n": 2}') AS id \gset
CALL wait_until($$(SELECT state = 'blocked' FROM eda.subscriptions WHERE subscription = 't_alerting_clumsy')$$);
CALL eda.wait('alerts');
SELECT is(dead, 1::bigint, 'a failure of a subscriber to system events is a dead letter') FROM eda.subscriptions WHERE subscription = 't_alerting_clumsy';
SELECT is((SELECT string_agg(kind || ' ' || what, ', ') FROM alert), 'eda.dead_letter t_alerting_dead', 'which publishes no further one, and neither does its block');
TRUNCATE told;
-- blocked again for a new reason is news, for the same one is not
SELECT eda.resume('t_alerting_failing') \gset
SELECT eda.publish('t_alerting.failing', '{"n": 3}') \gset
SELECT eda.publish('t_alerting.failing', '{"n": 4}') \gset
CALL wait_until($$(SELECT state = 'blocked' FROM eda.subscriptions WHERE subscription = 't_alerting_failing')$$);
CALL eda.wait('t_alerting_told');
SELECT is(count(*), 1::bigint, 'resumed, and blocked again: told again') FROM told WHERE payload ->> 'subscription' = 't_alerting_failing';
SELECT ok(count(*) > 0 AND bool_and(published_by = 't_alerting'::regrole), 'it is the owner who publishes them') FROM eda.events
 WHERE topic IN ('eda.dead_letter', 'eda.subscription.blocked') AND id > :id;

-- A job that fails.
SELECT is(topics, 'eda.dead_letter, eda.subscription.blocked, eda.job.failed, eda.log.pinned', 'README''s example has failed jobs and what pins the log, too')
  FROM eda.subscriptions WHERE subscription = 'alerts';
SELECT raise_alert(eda.make_event('eda.job.failed', '{"job": "nightly", "run": 7, "error_code": "22012", "error_condition": "division_by_zero", "error_where": null}')) \gset
SELECT raise_alert(eda.make_event('eda.log.pinned', '{"subscription": "slow", "bytes": 1000}')) \gset
SELECT results_eq($$SELECT what, why, event_id FROM alert WHERE kind IN ('eda.job.failed', 'eda.log.pinned') ORDER BY what$$,
    $$VALUES ('nightly', '22012: division_by_zero', NULL::bigint), ('slow', '1000 bytes', NULL)$$,
    'and understands them');

SELECT eda.unsubscribe('alerts', true) \gset
\ir include/end.sql
