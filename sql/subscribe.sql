-- eda.subscribe, alter_subscription, subscription_def, unsubscribe, pause and resume:
-- what they take, and every error.
--
-- Warnings are off: whether there is one about the library depends on the
-- server, and not_preloaded.sql has it.  \echo shows the SQLSTATE of the statement before.
-- Nothing is published on these topics, so live workers find nothing to do.
SET client_min_messages = error;
CREATE ROLE regress_eda_app LOGIN;
CREATE ROLE regress_eda_other LOGIN;
CREATE ROLE regress_eda_nologin;
CREATE ROLE "Regress Eda's" LOGIN;
GRANT regress_eda_nologin TO regress_eda_app;
CREATE SCHEMA regress_eda;
GRANT USAGE ON SCHEMA regress_eda, eda TO PUBLIC;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA eda TO regress_eda_app, regress_eda_other;
CREATE FUNCTION regress_eda.by_event(eda.event) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION regress_eda.by_payload(jsonb) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION regress_eda.by_topic(text, jsonb) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION regress_eda.by_batch(eda.event[]) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION regress_eda."By Payload"(payload jsonb, OUT a int, OUT b int) LANGUAGE sql AS 'SELECT 1, 2';
CREATE FUNCTION regress_eda.twice(jsonb) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION regress_eda.twice(text, jsonb) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION regress_eda.twice(int) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION regress_eda.no_args() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION regress_eda.by_json(json) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION regress_eda.by_default(jsonb, int DEFAULT 1) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION regress_eda.rows(jsonb) RETURNS SETOF int LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE regress_eda.proc(jsonb) LANGUAGE sql AS '';
CREATE AGGREGATE regress_eda.agg(jsonb) (SFUNC = jsonb_concat, STYPE = jsonb);
CREATE FUNCTION regress_eda.secret(jsonb) RETURNS void LANGUAGE sql AS '';
REVOKE ALL ON FUNCTION regress_eda.secret(jsonb) FROM PUBLIC;
CREATE SCHEMA regress_eda_closed;
CREATE FUNCTION regress_eda_closed.f(jsonb) RETURNS void LANGUAGE sql AS '';

-- what a subscription is when nothing is said about it
SET ROLE regress_eda_app;
SELECT eda.subscribe('plain', 'regress.a', 'regress_eda.by_event');
SELECT eda.subscription_def('plain');
RESET ROLE;
\x on
SELECT subscription, topics, handler, filter, schema, ordering, concurrency, batch_size, rate_limit, max_attempts,
       backoff, max_backoff, reject_on, block_after, timeout, expire_after, priority, owner, state, backlog,
       oldest_age, in_flight, handled, filtered, failed, retrying, dead, last_handled_at, last_error
  FROM eda.subscriptions WHERE subscription = 'plain';
\x off
-- 'latest': a finished window, and the ids before the call are not its
SELECT c.lane, c.streak, c.pos_id = 9223372036854775807 AS done, c.from_snapshot = c.to_snapshot AS same,
       s.start_at, s.start_xid IS NOT NULL AS has_xid, s.start_id IS NOT NULL AS has_id,
       s.start_snapshot = c.to_snapshot AS kept
  FROM eda.cursor c JOIN eda.subscription s USING (subscription_id);

-- the four signatures, by name, by signature, in the search path, quoted
SET ROLE regress_eda_app;
SELECT eda.subscribe('plain', 'regress.a', 'regress_eda.by_payload(jsonb)');
SELECT eda.subscribe('topic', 'regress.a, regress.*.b,regress.c.#', 'regress_eda.by_topic');
SELECT eda.subscribe('batch', '#', 'regress_eda.by_batch');
SET search_path = regress_eda, public;
SELECT eda.subscribe('path', 'regress.a', 'by_event');
SELECT eda.subscribe('quoted "name"', 'regress.a', '"By Payload"(jsonb)');
RESET search_path;
SELECT subscription, topics, handler FROM eda.subscriptions ORDER BY subscription;
RESET ROLE;
-- the view is for whom it is granted to
GRANT SELECT ON eda.subscriptions TO regress_eda_app;
SET ROLE regress_eda_app;
SELECT subscription, topics, handler, owner FROM eda.subscriptions ORDER BY subscription;
RESET ROLE;
REVOKE SELECT ON eda.subscriptions FROM regress_eda_app;

-- stated again: everything is replaced, position and state are kept
UPDATE eda.cursor c SET handled = 7 FROM eda.subscription s
 WHERE s.subscription_id = c.subscription_id AND s.name = 'topic';
SET ROLE regress_eda_app;
SELECT eda.pause('topic');
SELECT eda.subscribe(subscription => 'topic', topics => 'regress.d', handler => 'regress_eda.by_topic',
                     filter => '$.total > 100', ordering => 'strict', concurrency => 1, batch_size => 1,
                     max_attempts => 3, backoff => '1.5 s', max_backoff => '1 mon', reject_on => '{23505,22}',
                     block_after => 5, timeout => '1 min', expire_after => '2 days', priority => -7,
                     start => 'earliest');
SELECT eda.subscription_def('topic');
RESET ROLE;
SELECT state, handled FROM eda.subscriptions WHERE subscription = 'topic';
SELECT count(*), min(lane) FROM eda.cursor JOIN eda.subscription USING (subscription_id) WHERE name = 'topic';

-- the definition makes the same subscription again
CREATE TEMP TABLE defs AS SELECT subscription, eda.subscription_def(subscription) AS def FROM eda.subscriptions;
SELECT def FROM defs ORDER BY subscription;
SELECT eda.unsubscribe(subscription) FROM defs;
SELECT count(*) FROM eda.subscriptions;
SELECT count(*) FROM eda.cursor;
SELECT def FROM defs ORDER BY subscription \gexec
SELECT d.subscription FROM defs d WHERE d.def IS DISTINCT FROM eda.subscription_def(d.subscription);

-- whoever states it again, the owner stays, and it is the owner who must be able to call the handler
SELECT eda.subscribe('topic', 'regress.d', 'regress_eda.by_topic');
SELECT owner FROM eda.subscriptions WHERE subscription = 'topic';
SELECT eda.subscribe('topic', 'regress.d', 'regress_eda.secret');
SELECT eda.subscribe('topic', 'regress.d', 'regress_eda.by_topic', owner => 'regress_eda_other');
SELECT owner FROM eda.subscriptions WHERE subscription = 'topic';
SET ROLE regress_eda_app;
SELECT eda.subscribe('topic', 'regress.d', 'regress_eda.by_topic');
RESET ROLE;
-- where the owner is gone, another is needed
BEGIN;
UPDATE eda.subscription SET owner = 1 WHERE name = 'topic';
SAVEPOINT gone;
SELECT eda.subscribe('topic', 'regress.d', 'regress_eda.by_topic');
ROLLBACK TO gone;
SELECT eda.subscribe('topic', 'regress.d', 'regress_eda.by_topic', owner => 'regress_eda_other');
SELECT owner FROM eda.subscriptions WHERE subscription = 'topic';
ROLLBACK;
SELECT eda.subscribe('topic', 'regress.d', 'regress_eda.by_topic', ordering => 'strict', owner => 'regress_eda_app');

-- where it begins
SELECT eda.subscribe('early', 'regress.a', 'regress_eda.by_event', start => 'earliest', owner => 'regress_eda_app');
SELECT eda.subscribe('timed', 'regress.a', 'regress_eda.by_event', start_at => '2026-01-01 00:00+00', owner => 'regress_eda_app');
SELECT s.name, s.start_at = '2026-01-01 00:00+00' AS at, s.start_xid, s.start_id, s.start_snapshot IS NULL AS all
  FROM eda.subscription s WHERE s.name IN ('early', 'timed') ORDER BY s.name;

-- names
SELECT eda.subscribe('', 'regress.a', 'regress_eda.by_event');
SELECT eda.subscribe(repeat('x', 256), 'regress.a', 'regress_eda.by_event');
SELECT eda.subscribe(E'a\nb', 'regress.a', 'regress_eda.by_event');
SELECT eda.subscribe(repeat('x', 255), 'regress.a', 'regress_eda.by_event', owner => 'regress_eda_app');
SELECT eda.unsubscribe(repeat('x', 255));

-- NULL where a value is needed
SELECT eda.subscribe(NULL, 'regress.a', 'regress_eda.by_event');
\echo :SQLSTATE
SELECT eda.subscribe('bad', NULL, 'regress_eda.by_event');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', ordering => NULL);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', concurrency => NULL);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', batch_size => NULL);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', max_attempts => NULL);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', backoff => NULL);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', max_backoff => NULL);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', block_after => NULL);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', timeout => NULL);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', priority => NULL);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', start => NULL);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', reject_on => '{23505,NULL}');
SELECT eda.alter_subscription(NULL, '{}');
SELECT eda.alter_subscription('plain', NULL);
SELECT eda.subscription_def(NULL);
SELECT eda.unsubscribe(NULL);
SELECT eda.unsubscribe('plain', NULL);
SELECT eda.pause(NULL);
SELECT eda.resume(NULL);

-- limits
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', ordering => 'fifo');
\echo :SQLSTATE
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', concurrency => 0);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', concurrency => 65);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', batch_size => 0);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', batch_size => 10001);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', max_attempts => 0);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', max_attempts => 100001);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', block_after => 0);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', backoff => '0');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', backoff => '-1 s');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', backoff => '2 hours');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', max_backoff => '200 years');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', timeout => '0.5 ms');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', timeout => '1 mon');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', expire_after => '0');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', reject_on => '{235}');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', reject_on => '{2350x}');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', reject_on => '{{23505},{23506}}');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', start => 'yesterday');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', start => 'earliest', start_at => now());

-- what this version does not have
SELECT eda.subscribe('bad', 'regress.a');
\echo :SQLSTATE
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', concurrency => 4, ordering => 'strict');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', rate_limit => 0);
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', rate_limit => 'NaN');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', schema => '{"type": 5}');

-- patterns
SELECT eda.subscribe('bad', 'regress..a', 'regress_eda.by_event');
\echo :SQLSTATE
SELECT eda.subscribe('bad', '', 'regress_eda.by_event');

-- handlers
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.nope');
\echo :SQLSTATE
SELECT eda.subscribe('bad', 'regress.a', 'nope');
SELECT eda.subscribe('bad', 'regress.a', 'regress_nope.nope');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.nope(jsonb)');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_payload(no_type)');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_payload(jsonb');
SELECT eda.subscribe('bad', 'regress.a', 'a.b.c.d');
SELECT eda.subscribe('bad', 'regress.a', '');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.no_args');
\echo :SQLSTATE
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_json');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_default');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_json(json)');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.twice');
\echo :SQLSTATE
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.twice(int)');
SET search_path = regress_eda, public;
SELECT eda.subscribe('bad', 'regress.a', 'twice');
RESET search_path;
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.proc');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.proc(jsonb)');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.agg');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.rows');
CREATE FUNCTION pg_temp.f(jsonb) RETURNS void LANGUAGE sql AS '';
DO $$BEGIN
    PERFORM eda.subscribe('bad', 'regress.a', 'pg_temp.f');
EXCEPTION WHEN OTHERS THEN
    RAISE EXCEPTION '% (%)', regexp_replace(sqlerrm, 'pg_temp_\d+', 'pg_temp'), sqlstate;
END$$;
DROP FUNCTION pg_temp.f(jsonb);

-- the owner must be able to run it
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.secret', owner => 'regress_eda_app');
\echo :SQLSTATE
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda_closed.f', owner => 'regress_eda_app');
-- and to connect
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', owner => 'regress_eda_nologin');
\echo :SQLSTATE
DO $$BEGIN EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database()); END$$;
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', owner => 'Regress Eda''s');
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', owner => '"Regress Eda''s"');
DO $$BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO PUBLIC', current_database()); END$$;
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', owner => '4294967295');
SELECT eda.subscribe('good', 'regress.a', 'regress_eda.by_event', owner => '"Regress Eda''s"');
SELECT eda.subscription_def('good');

-- only members of the owner operate it, or give it to a role
SET ROLE regress_eda_other;
SELECT eda.subscribe('plain', 'regress.a', 'regress_eda.by_event');
\echo :SQLSTATE
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event', owner => 'regress_eda_app');
\echo :SQLSTATE
SELECT eda.alter_subscription('plain', '{"batch_size": 5}');
SELECT eda.subscription_def('plain');
SELECT eda.unsubscribe('plain');
SELECT eda.pause('plain');
SELECT eda.resume('plain');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION eda.subscribe FROM regress_eda_other;
SET ROLE regress_eda_other;
SELECT eda.subscribe('mine', 'regress.a', 'regress_eda.by_event');
RESET ROLE;

-- of two owners: a member of both can change it, and hand it over
GRANT regress_eda_app TO regress_eda_other;
GRANT EXECUTE ON FUNCTION eda.subscribe TO regress_eda_other;
SET ROLE regress_eda_other;
SELECT eda.subscribe('plain', 'regress.a', 'regress_eda.by_event');
SELECT eda.subscription_def('plain');
SELECT eda.subscribe('plain', 'regress.a', 'regress_eda.by_event', owner => 'regress_eda_other');
SELECT eda.subscription_def('plain');
SELECT eda.alter_subscription('plain', '{"owner": "regress_eda_app"}');
SELECT eda.subscription_def('plain');
RESET ROLE;
REVOKE regress_eda_app FROM regress_eda_other;

-- alter: what is named changes
SET ROLE regress_eda_app;
SELECT eda.alter_subscription('plain', '{}');
SELECT eda.alter_subscription('plain', '{"topics": "regress.x.#", "handler": "regress_eda.by_batch", "filter": "$.a",
    "ordering": "none", "concurrency": 1, "batch_size": 17, "max_attempts": 9, "backoff": "2 s", "max_backoff": "1 day",
    "reject_on": ["23505", "22"], "block_after": 3, "timeout": "5 s", "expire_after": "1 week", "priority": 4,
    "schema": null, "rate_limit": null}');
SELECT eda.subscription_def('plain');
SELECT eda.alter_subscription('plain', '{"filter": null, "expire_after": null, "reject_on": null, "priority": 0}');
SELECT eda.subscription_def('plain');
SELECT eda.alter_subscription('nope', '{}');
\echo :SQLSTATE
SELECT eda.alter_subscription('plain', '[]');
SELECT eda.alter_subscription('plain', '"batch_size"');
SELECT eda.alter_subscription('plain', '{"batchsize": 1}');
\echo :SQLSTATE
SELECT eda.alter_subscription('plain', '{"subscription": "new"}');
SELECT eda.alter_subscription('plain', '{"start": "earliest"}');
SELECT eda.alter_subscription('plain', '{"batch_size": "10"}');
SELECT eda.alter_subscription('plain', '{"batch_size": 1.5}');
SELECT eda.alter_subscription('plain', '{"batch_size": 1e30}');
SELECT eda.alter_subscription('plain', '{"batch_size": 0}');
SELECT eda.alter_subscription('plain', '{"batch_size": null}');
SELECT eda.alter_subscription('plain', '{"owner": null}');
SELECT eda.alter_subscription('plain', '{"handler": null}');
SELECT eda.alter_subscription('plain', '{"topics": 1}');
SELECT eda.alter_subscription('plain', '{"topics": "a..b"}');
SELECT eda.alter_subscription('plain', '{"filter": "$["}');
SELECT eda.alter_subscription('plain', '{"backoff": 5}');
SELECT eda.alter_subscription('plain', '{"backoff": "soon"}');
SELECT eda.alter_subscription('plain', '{"max_backoff": "1 s"}');
SELECT eda.alter_subscription('plain', '{"reject_on": "23505"}');
SELECT eda.alter_subscription('plain', '{"reject_on": [23505]}');
SELECT eda.alter_subscription('plain', '{"reject_on": [["23505"]]}');
SELECT eda.alter_subscription('plain', '{"schema": {"type": []}}');
SELECT eda.alter_subscription('plain', '{"rate_limit": -1}');
SELECT eda.alter_subscription('plain', '{"rate_limit": "1"}');
SELECT eda.alter_subscription('plain', '{"concurrency": 2, "ordering": "strict"}');
SELECT eda.alter_subscription('plain', '{"handler": "regress_eda.proc"}');
SELECT eda.alter_subscription('plain', '{"owner": "regress_eda_nologin"}');
SELECT eda.alter_subscription('plain', '{"owner": "regress_eda_other"}');
SELECT eda.alter_subscription('plain', '{"owner": "regress_nobody"}');
SELECT eda.subscription_def('plain');

-- pause and resume
SELECT eda.pause('plain'), eda.pause('plain'), eda.resume('plain'), eda.resume('plain');
SELECT eda.pause('nope');
\echo :SQLSTATE
SELECT eda.resume('nope');
RESET ROLE;

-- a block is lifted by resume, and what the definition caused, by a new definition
BEGIN;
UPDATE eda.subscription SET state = 'blocked', blocked_reason = 'failing', blocked_detail = 'x', blocked_at = now(),
       probe_at = 'infinity', probes = 3 WHERE name = 'plain';
UPDATE eda.cursor SET streak = 9;
SET ROLE regress_eda_app;
SELECT eda.alter_subscription('plain', '{"handler": "regress_eda.by_event"}');
RESET ROLE;
SELECT state, blocked_reason, probes FROM eda.subscription WHERE name = 'plain';
SELECT eda.resume('plain');
SELECT state, blocked_reason, blocked_detail, blocked_at, probe_at, probes FROM eda.subscription WHERE name = 'plain';
SELECT name, streak FROM eda.cursor JOIN eda.subscription USING (subscription_id) WHERE name IN ('plain', 'early') ORDER BY name;
UPDATE eda.subscription SET state = 'blocked', blocked_reason = 'handler', blocked_detail = 'x' WHERE name = 'plain';
SELECT eda.alter_subscription('plain', '{"batch_size": 3}');
SELECT state, blocked_reason FROM eda.subscription WHERE name = 'plain';
SELECT eda.alter_subscription('plain', '{"handler": "regress_eda.by_event"}');
SELECT state, blocked_reason FROM eda.subscription WHERE name = 'plain';
UPDATE eda.subscription SET state = 'blocked', blocked_reason = 'login', blocked_detail = 'x' WHERE name = 'plain';
SELECT eda.subscribe('plain', 'regress.a', 'regress_eda.by_event', owner => 'regress_eda_app');
SELECT state, blocked_reason FROM eda.subscription WHERE name = 'plain';
ROLLBACK;

-- unsubscribe
SELECT eda.unsubscribe('nope');
SELECT eda.unsubscribe('early'), eda.unsubscribe('early');
SELECT eda.subscription_def('early');
\echo :SQLSTATE

-- read-only
BEGIN READ ONLY;
SELECT eda.subscribe('bad', 'regress.a', 'regress_eda.by_event');
\echo :SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT eda.pause('plain');
ROLLBACK;
BEGIN READ ONLY;
SELECT subscription FROM eda.subscriptions WHERE subscription = 'plain';
ROLLBACK;

-- Misspelt topics of eda's own
SET client_min_messages = warning;
\set VERBOSITY sqlstate
SELECT eda.subscribe('alerts', 'eda.deadletter', 'regress_eda.by_event', owner => 'regress_eda_app');
\set VERBOSITY default
SELECT eda.subscribe('alerts', t, 'regress_eda.by_event', owner => 'regress_eda_app')
  FROM unnest('{"regress.a, eda.jobs.failed",eda,eda.*,eda.dead_letter.#,eda.*.*.*,"eda.job.#, eda.subscription",eda_dead_letter}'::text[]) t;
SELECT eda.alter_subscription('alerts', '{"topics": "eda.dead-letter"}');
SELECT eda.alter_subscription('alerts', '{"batch_size": 3}');
-- but not of these
SELECT count(eda.subscribe('alerts', t, 'regress_eda.by_event', owner => 'regress_eda_app'))
  FROM unnest('{eda.#,eda.dead_letter,eda.subscription.blocked,eda.job.failed,eda.log.pinned,eda.*.*,#,*.dead_letter,#.deadletter}'::text[]) t;
SELECT t, eda.topic_matches(t, 'eda.dead_letter') AS matches
  FROM unnest('{eda.#,eda.*,eda.#.dead_letter,#,*.#,#.#,*.*,*.dead_letter,#.dead_letter,#.eda.dead_letter,#.eda.#}'::text[]) t;

-- start, of one that exists
SELECT eda.subscribe('alerts', 'eda.#', 'regress_eda.by_event', owner => 'regress_eda_app', start => 'earliest');
SELECT eda.subscribe('alerts', 'eda.#', 'regress_eda.by_event', owner => 'regress_eda_app', start_at => '2026-01-01');
SELECT eda.subscribe('alerts', 'eda.#', 'regress_eda.by_event', owner => 'regress_eda_app');
SELECT eda.subscribe('alerts2', 'eda.#', 'regress_eda.by_event', owner => 'regress_eda_app', start => 'earliest');
SET client_min_messages = error;
SELECT eda.unsubscribe('alerts'), eda.unsubscribe('alerts2');

-- what is rolled back was never there
BEGIN;
SELECT eda.subscribe('gone', 'regress.a', 'regress_eda.by_event', owner => 'regress_eda_app');
ROLLBACK;
SELECT count(*) FROM eda.subscriptions WHERE subscription = 'gone';

SELECT eda.unsubscribe(subscription) FROM eda.subscriptions;
SELECT count(*) FROM eda.subscriptions;
SELECT count(*) FROM eda.cursor;
DROP SCHEMA regress_eda, regress_eda_closed CASCADE;
REVOKE USAGE ON SCHEMA eda FROM PUBLIC;
DROP OWNED BY regress_eda_app, regress_eda_other;
DROP ROLE regress_eda_app, regress_eda_other, regress_eda_nologin, "Regress Eda's";
