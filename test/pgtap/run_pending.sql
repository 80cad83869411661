-- eda.run_pending(): unit tests of handlers, in a transaction that is rolled back.
\set test t_run_pending
\ir include/begin.sql
SELECT plan(55);

CREATE TABLE who (session_user_ name, current_user_ name, event eda.event);
CREATE FUNCTION whoami(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    INSERT INTO who VALUES (session_user, current_user, eda.current_event());
    IF e.payload ->> 'do' = 'fail' THEN
        RAISE EXCEPTION 'no stock' USING ERRCODE = 'AB123', DETAIL = 'None.';
    ELSIF e.payload ->> 'do' = 'relay' THEN
        PERFORM eda.publish('t_run_pending.other', '{"n": "relayed"}');
    ELSIF e.payload ->> 'do' = 'reject' THEN
        PERFORM eda.reject('rejected here');
    ELSIF e.payload ->> 'do' = 'snooze' THEN
        PERFORM eda.snooze('1 s');
    ELSIF e.payload ->> 'do' = 'retry' THEN
        PERFORM eda.retry_after('1 s');
    ELSIF e.payload ->> 'do' = 'nest' THEN
        PERFORM eda.run_pending();
    ELSIF e.payload ->> 'do' = 'pause' THEN
        PERFORM eda.pause(e.subscription);
    ELSIF e.payload ->> 'do' = 'temp' THEN
        CREATE TEMP TABLE mine (n int);
    ELSIF e.payload ->> 'do' = 'set' THEN
        PERFORM set_config('work_mem', '3MB', false);
    END IF;
END $$;
SELECT eda.subscribe('t_run_pending_it', 't_run_pending.it', 't_run_pending.whoami', owner => 't_run_pending', filter => '!exists ($.skip)') \gset
SELECT eda.subscribe('t_run_pending_other', 't_run_pending.other', 't_run_pending.take', owner => 't_run_pending') \gset

-- Own events, not committed; twice is once.
BEGIN;
SELECT eda.publish('t_run_pending.it', '{"n": 1}', 'k', '{"h": 1}') AS id \gset
SELECT eda.publish('t_run_pending.it', '{"n": 2, "skip": true}') \gset
SELECT eda.publish('t_run_pending.it', '{"n": 3}') \gset
SELECT eda.publish('t_run_pending.other', '{"n": 4}') \gset
SELECT is(eda.run_pending('t_run_pending_it'), 2::bigint, 'own events that are not committed; the filter holds');
SELECT is(taken('t_run_pending_it'), '1 3', 'handled here and now, in order');
SELECT results_eq('SELECT session_user_, current_user_, (event).id, (event).key, (event).headers, (event).subscription, (event).attempt, (event).redelivered
                     FROM who LIMIT 1',
    format($$VALUES (session_user, 't_run_pending'::name, %s::bigint, 'k', '{"h": 1}'::jsonb, 't_run_pending_it', 1, false)$$, :'id'),
    'as the owner of the subscription, like in a delivery');
SELECT is(current_user, session_user, 'the caller is the caller again');
SELECT ok(eda.current_event() IS NULL, 'and handles nothing');
SELECT is(eda.run_pending('t_run_pending_it'), 0::bigint, 'again: nothing is pending any more');
SELECT is(taken('t_run_pending_other'), '', 'the other subscription was not run');
SELECT is(eda.run_pending(), 1::bigint, 'all of them');
SELECT is(taken('t_run_pending_other'), '4', 'now it was');
SELECT eda.publish('t_run_pending.it', '{"n": 5}') \gset
SELECT is(eda.run_pending(), 1::bigint, 'what is published later');
ROLLBACK;
SELECT is(taken('t_run_pending_it') || taken('t_run_pending_other'), '', 'rolled back: nothing has happened');
CALL eda.wait();
SELECT is(taken('t_run_pending_it') || taken('t_run_pending_other'), '', 'nor is it delivered');

-- What handlers publish.
BEGIN;
SELECT eda.publish('t_run_pending.it', '{"n": 6, "do": "relay"}') \gset
SELECT is(eda.run_pending(), 2::bigint, 'what handlers publish is handled in its turn');
SELECT results_eq('SELECT sub, payload ->> ''n'', hops FROM got ORDER BY n',
    $$VALUES ('t_run_pending_it', '6', 0), ('t_run_pending_other', 'relayed', 1)$$, 'with its hops');
ROLLBACK;

-- A subscription that is not committed either.
BEGIN;
SELECT eda.publish('t_run_pending.new', '{"n": "before"}') \gset
SELECT eda.subscribe('t_run_pending_new', 't_run_pending.new', 't_run_pending.take', owner => 't_run_pending') \gset
SELECT eda.publish('t_run_pending.new', '{"n": "after"}') \gset
SELECT is(eda.run_pending('t_run_pending_new'), 1::bigint, 'a subscription of this transaction');
SELECT is(taken('t_run_pending_new'), 'after', 'begins where it was made');
ROLLBACK;
SELECT throws_ok($$SELECT eda.run_pending('t_run_pending_new')$$, 'ED011', NULL, 'no such subscription');

-- The transaction cannot commit.
\set ON_ERROR_STOP off
BEGIN;
SELECT eda.publish('t_run_pending.it', '{"n": 7}') \gset
SELECT eda.run_pending() \gset
COMMIT;
\set ON_ERROR_STOP on
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'ED024', 'the transaction cannot commit');
\set ON_ERROR_STOP off
SELECT eda.run_pending();
\set ON_ERROR_STOP on
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'ED024', 'not even where nothing was pending: a single statement');
\set ON_ERROR_STOP off
BEGIN;
SELECT eda.run_pending() \gset
PREPARE TRANSACTION 't_run_pending';
\set ON_ERROR_STOP on
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'ED024', 'nor be prepared');
\set ON_ERROR_STOP off
BEGIN READ ONLY;
SELECT eda.run_pending() \gset
ROLLBACK;
\set ON_ERROR_STOP on
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '25006', 'nor be read-only');
CALL eda.wait();
SELECT is(taken('t_run_pending_it'), '', 'nothing of it has happened');

-- Savepoints.
BEGIN;
SELECT eda.publish('t_run_pending.it', '{"n": 8}') \gset
SAVEPOINT a;
SELECT is(eda.run_pending(), 1::bigint, 'in a savepoint');
ROLLBACK TO a;
SELECT is(taken('t_run_pending_it'), '', 'rolled back to it: undone');
SELECT is(eda.run_pending(), 1::bigint, 'and pending again');
ROLLBACK TO a;
SAVEPOINT b;
SELECT is(eda.run_pending(), 1::bigint, 'in a savepoint in it');
RELEASE b;
SELECT is(eda.run_pending(), 0::bigint, 'released: handled');
ROLLBACK TO a;
SELECT is(eda.run_pending(), 1::bigint, 'rolled back with the outer one: pending again');
SELECT is(taken('t_run_pending_it'), '8', 'handled once');
ROLLBACK;
BEGIN;
CREATE TABLE stays (n int);
SAVEPOINT a;
SELECT eda.publish('t_run_pending.it', '{"n": 9}') \gset
SELECT eda.run_pending() \gset
ROLLBACK TO a;
SELECT eda.publish('t_run_pending.it', '{"n": 10}') \gset
COMMIT;
SELECT has_table('stays', 'a transaction that took it back commits');
CALL eda.wait();
SELECT is(taken('t_run_pending_it'), '10', 'and its events are delivered');
TRUNCATE got, who;

-- Errors propagate.
BEGIN;
SELECT eda.publish('t_run_pending.it', '{"n": 11}') \gset
SELECT eda.publish('t_run_pending.it', '{"n": 12, "do": "fail"}') \gset
SELECT throws_ok('SELECT eda.run_pending()', 'AB123', 'no stock', 'an error of a handler is the caller''s');
SELECT is(taken('t_run_pending_it'), '', 'and undoes all');
SELECT is(current_user, session_user, 'the caller is the caller again');
SELECT ok(eda.current_event() IS NULL, 'and handles nothing');
ROLLBACK;
SELECT is((failed, retrying, dead)::text, '(0,0,0)', 'it is no failure of the subscription') FROM eda.subscriptions WHERE subscription = 't_run_pending_it';
BEGIN;
SELECT eda.publish('t_run_pending.it', '{"do": "reject"}') \gset
SELECT throws_ok('SELECT eda.run_pending()', 'ED030', 'rejected here', 'eda.reject');
ROLLBACK;
BEGIN;
SELECT eda.publish('t_run_pending.it', '{"do": "snooze"}') \gset
SELECT throws_ok('SELECT eda.run_pending()', 'ED032', NULL, 'eda.snooze');
ROLLBACK;
BEGIN;
SELECT eda.publish('t_run_pending.it', '{"do": "retry"}') \gset
SELECT throws_ok('SELECT eda.run_pending()', 'ED031', NULL, 'eda.retry_after');
ROLLBACK;
BEGIN;
SELECT eda.publish('t_run_pending.it', '{"do": "nest"}') \gset
SELECT throws_ok('SELECT eda.run_pending()', 'ED023', NULL, 'eda.run_pending by a handler');
ROLLBACK;

BEGIN;
SELECT eda.publish_batch('t_run_pending.it', ARRAY['{"n": 1}', '{"n": 2, "do": "pause"}', '{"n": 3}']::jsonb[]) \gset
SELECT is(eda.run_pending(), 2::bigint, 'a handler changes its own subscription');
SELECT is(taken('t_run_pending_it'), '1 2', 'one that pauses its own subscription gets no further event');
ROLLBACK;

-- The owner's code cannot reach beyond the owner's rights when somebody else runs it.
BEGIN;
SELECT eda.publish('t_run_pending.it', '{"do": "temp"}') \gset
SELECT throws_ok('SELECT eda.run_pending()', '42501', NULL, 'a security-restricted operation for others than the owner');
ROLLBACK;
BEGIN;
SELECT eda.publish('t_run_pending.it', '{"do": "set"}') \gset
SELECT eda.run_pending() \gset
SELECT isnt(current_setting('work_mem'), '3MB', 'what the handler sets is not the caller''s');
ROLLBACK;

-- Nor where it is the owner: settings and role are as they were for the next event and for the caller.
BEGIN;
CREATE ROLE t_run_pending_other;
CREATE FUNCTION sets(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO t_run_pending.got (sub, payload)
    VALUES (e.subscription, jsonb_build_object('n', concat(current_setting('t_run_pending.x', true), current_setting('t_run_pending.y', true), current_setting('role'))));
    SET t_run_pending.x = 'session';
    SET LOCAL t_run_pending.y = 'local';
    SET ROLE t_run_pending_other;
END $$;
SELECT eda.subscribe('t_run_pending_own', 't_run_pending.own', 't_run_pending.sets') \gset
SELECT eda.publish('t_run_pending.own') FROM generate_series(1, 3) \g /dev/null
SELECT eda.run_pending('t_run_pending_own') \gset
SELECT is(taken('t_run_pending_own'), 'none none none', 'what a handler sets is gone behind it');
SELECT is(current_setting('t_run_pending.x', true) || current_setting('role'), 'none', 'and not the caller''s');
ROLLBACK;

-- As the owner, no superuser.
CREATE ROLE t_run_pending_stranger;
GRANT USAGE ON SCHEMA eda, t_run_pending TO t_run_pending_stranger;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA eda TO t_run_pending_stranger;
CREATE TABLE parents (n int PRIMARY KEY);
INSERT INTO parents VALUES (1);
CREATE TABLE children (n int REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION child(p jsonb) RETURNS void LANGUAGE sql AS $$INSERT INTO children VALUES ((p ->> 'n')::int)$$;
SELECT eda.subscribe('t_run_pending_child', 't_run_pending.child', 't_run_pending.child', owner => 't_run_pending') \gset
SET SESSION AUTHORIZATION t_run_pending;
BEGIN;
SELECT eda.publish('t_run_pending.it', '{"n": 13, "do": "temp"}') \gset
SELECT eda.publish('t_run_pending.child', '{"n": 1}') \gset
SELECT is(eda.run_pending('t_run_pending_it'), 1::bigint, 'as the owner');
SELECT is(eda.run_pending('t_run_pending_child'), 1::bigint, 'as the owner, deferred constraints');
SET CONSTRAINTS ALL IMMEDIATE;
SELECT eda.publish('t_run_pending.child', '{"n": 2}') \gset
SELECT throws_ok('SELECT eda.run_pending()', '23503', NULL, 'as the owner, constraints that fail');
ROLLBACK;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION t_run_pending_stranger;
BEGIN;
SELECT eda.publish('t_run_pending.it', '{"n": 14}') \gset
SELECT throws_ok($$SELECT eda.run_pending('t_run_pending_it')$$, '42501', NULL, 'nobody else may');
SELECT is(eda.run_pending(), 0::bigint, 'all are all that one may');
ROLLBACK;
RESET SESSION AUTHORIZATION;

-- The other signatures, and a handler that is not there.
CREATE FUNCTION by_set(es eda.event[]) RETURNS void LANGUAGE sql AS $$SELECT take(e) FROM unnest(es) e$$;
CREATE FUNCTION by_topic(t text, p jsonb) RETURNS void LANGUAGE sql AS $$INSERT INTO got (sub, topic, payload) VALUES ('topic', t, p)$$;
SELECT eda.subscribe('t_run_pending_set', 't_run_pending.kinds', 't_run_pending.by_set', owner => 't_run_pending') \gset
SELECT eda.subscribe('t_run_pending_topic', 't_run_pending.kinds', 't_run_pending.by_topic', owner => 't_run_pending') \gset
BEGIN;
SELECT eda.publish_query('t_run_pending.kinds', 'SELECT i AS n FROM generate_series(1, 3) i') \gset
SELECT is(eda.run_pending(), 6::bigint, 'handlers of other signatures');
SELECT is(taken('t_run_pending_set') || ', ' || taken('topic'), '1 2 3, 1 2 3', 'each event once');
ROLLBACK;
BEGIN;
DROP FUNCTION by_topic;
SELECT throws_ok($$SELECT eda.run_pending('t_run_pending_topic')$$, 'ED020', NULL, 'a handler that is not there');
ROLLBACK;

-- The workers go on.
SELECT eda.publish('t_run_pending.it', '{"n": 15}') \gset
CALL eda.wait();
SELECT is(taken('t_run_pending_it'), '15', 'delivery goes on');

\ir include/end.sql
