-- CALL eda.wait().
\set test t_wait
\ir include/begin.sql
SELECT plan(29);

-- A handler that takes its time, and one that waits for us, as long as we hold this lock.
\set lock 7208001
CREATE FUNCTION slowly(e eda.event) RETURNS void LANGUAGE sql AS $$SELECT pg_sleep(0.002); SELECT take(e)$$;
CREATE FUNCTION when_allowed(e eda.event) RETURNS void LANGUAGE sql AS $$SELECT pg_advisory_xact_lock_shared(7208001); SELECT take(e)$$;
CREATE FUNCTION number_of(sub text) RETURNS bigint LANGUAGE sql AS $$SELECT count(*) FROM got g WHERE g.sub = number_of.sub$$;
SELECT eda.subscribe('t_wait_slow', 't_wait.slow', 't_wait.slowly', owner => 't_wait') \gset
SELECT eda.subscribe('t_wait_slow2', 't_wait.slow', 't_wait.slowly', owner => 't_wait') \gset
SELECT eda.subscribe('t_wait_stuck', 't_wait.stuck', 't_wait.when_allowed', owner => 't_wait') \gset
SELECT eda.subscribe('t_wait_quiet', 't_wait.quiet', 't_wait.take', owner => 't_wait') \gset

-- Nothing to wait for.
CALL eda.wait('t_wait_quiet', '0');
SELECT pass('nothing is pending: it returns at once');

-- Named, and all.
SELECT eda.publish_query('t_wait.slow', 'SELECT i AS n FROM generate_series(1, 250) i') \gset
CALL eda.wait('t_wait_slow');
SELECT is(number_of('t_wait_slow'), 250::bigint, 'named: all that was published before is handled');
SELECT eda.publish_query('t_wait.slow', 'SELECT i AS n FROM generate_series(251, 400) i') \gset
CALL eda.wait();
SELECT is(number_of('t_wait_slow') + number_of('t_wait_slow2'), 800::bigint, 'all: for every subscription');
SELECT eda.publish('t_wait.slow', '{"n": 401}') FROM generate_series(1, 5) \g /dev/null
CALL eda.wait(subscription => 't_wait_slow2', timeout => '10 s', cascade => false);
SELECT is(number_of('t_wait_slow2'), 405::bigint, 'without cascade');

-- Time is up.
SELECT pg_advisory_lock(:lock) \gset
SELECT eda.publish('t_wait.stuck', '{"n": 1}') AS id \gset
CALL eda.wait('t_wait_slow');
SELECT pass('named: it does not wait for others');
SELECT clock_timestamp() AS started \gset
SELECT throws_ok($$CALL eda.wait('t_wait_stuck', '100 ms')$$, 'ED021', 'eda.wait() timed out', 'timeout');
SELECT cmp_ok(clock_timestamp() - :'started', '>=', interval '100 ms', 'timeout: not before it is over');
SELECT throws_ok('CALL eda.wait(timeout => ''0'')', 'ED021', NULL, 'timeout: of none, for all');
SELECT is(taken('t_wait_stuck'), '', 'timeout: it is not handled, indeed');
\set ON_ERROR_STOP off
CALL eda.wait('t_wait_stuck', '10 ms');
\set ON_ERROR_STOP on
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'ED021', 'timeout: as a statement of its own');
SELECT pg_advisory_unlock(:lock) \gset
CALL eda.wait('t_wait_stuck');
SELECT is(taken('t_wait_stuck'), '1', 'and is when there is time enough');

-- What is not committed is not waited for.
BEGIN;
SELECT eda.publish('t_wait.quiet', '{"n": 1}') \gset
CALL eda.wait('t_wait_quiet', '0');
COMMIT;
SELECT pass('own events that are not committed are not waited for');
CALL eda.wait('t_wait_quiet');
SELECT is(taken('t_wait_quiet'), '1', 'later they are');

-- Cascade.
CREATE FUNCTION relay(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM slowly(e);
    IF e.hops < 10 THEN
        PERFORM eda.publish('t_wait.chain.' || e.hops + 1, e.payload);
    ELSE
        PERFORM eda.publish('t_wait.stuck', e.payload);
    END IF;
END $$;
SELECT eda.subscribe('t_wait_odd', 't_wait.chain.1,t_wait.chain.3,t_wait.chain.5,t_wait.chain.7,t_wait.chain.9', 't_wait.relay', owner => 't_wait') \gset
SELECT eda.subscribe('t_wait_even', 't_wait.chain.0,t_wait.chain.2,t_wait.chain.4,t_wait.chain.6,t_wait.chain.8,t_wait.chain.10', 't_wait.relay',
                     owner => 't_wait') \gset
SELECT eda.publish('t_wait.chain.0', '{"n": 2}') FROM generate_series(1, 3) \g /dev/null
CALL eda.wait();
SELECT is((number_of('t_wait_even'), number_of('t_wait_odd'), number_of('t_wait_stuck'))::text, '(18,15,4)', 'cascade: the chain to its end');
SELECT pg_advisory_lock(:lock) \gset
SELECT eda.publish('t_wait.chain.0', '{"n": 3}') \gset
CALL eda.wait(cascade => false);
SELECT cmp_ok(number_of('t_wait_even'), '>=', 19::bigint, 'without cascade: what was published before is handled');
SELECT throws_ok($$CALL eda.wait(timeout => '500 ms')$$, 'ED021', NULL, 'cascade: what handlers published is waited for');
SELECT pg_advisory_unlock(:lock) \gset
CALL eda.wait();
SELECT is(taken('t_wait_stuck'), '1 2 2 2 3', 'cascade: to its end');

-- Dead and retrying is done.
CREATE FUNCTION fail(e eda.event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE 'no'; END$$;
SELECT eda.subscribe('t_wait_fail', 't_wait.fail', 't_wait.fail', owner => 't_wait', backoff => '1 hour') \gset
SELECT eda.publish('t_wait.fail', '{"n": 1}') \gset
CALL eda.wait('t_wait_fail');
SELECT is((retrying, dead)::text, '(1,0)', 'it does not wait for what is retried later') FROM eda.subscriptions WHERE subscription = 't_wait_fail';
SELECT eda.alter_subscription('t_wait_fail', '{"max_attempts": 1}') \gset
SELECT eda.publish('t_wait.fail', '{"n": 2}') \gset
CALL eda.wait('t_wait_fail');
SELECT is((retrying, dead)::text, '(1,1)', 'nor for what is dead') FROM eda.subscriptions WHERE subscription = 't_wait_fail';

-- Who is paused, or cannot be waited for.
SELECT eda.pause('t_wait_quiet') \gset
SELECT eda.publish('t_wait.quiet', '{"n": 2}') AS id \gset
SELECT throws_ok($$CALL eda.wait('t_wait_quiet')$$, 'ED020', 'subscription "t_wait_quiet" is paused and has pending events', 'paused: an error at once');
SELECT throws_ok('CALL eda.wait()', 'ED020', NULL, 'paused: for all');
CALL eda.wait('t_wait_slow');
SELECT pass('paused: others are not concerned');
SELECT eda.resume('t_wait_quiet') \gset
CALL eda.wait('t_wait_quiet');
SELECT is(taken('t_wait_quiet'), '1 2', 'resumed: it waits');
SELECT throws_ok($$CALL eda.wait('t_wait_nobody')$$, 'ED011', NULL, 'no such subscription');
SELECT throws_ok('CALL eda.wait(timeout => NULL)', '22004', NULL, 'timeout NULL');
SELECT throws_ok('CALL eda.wait(cascade => NULL)', '22004', NULL, 'cascade NULL');

-- Not in a handler.
CREATE FUNCTION waiting(e eda.event) RETURNS void LANGUAGE plpgsql AS $$BEGIN CALL eda.wait('t_wait_quiet'); END$$;
SELECT eda.subscribe('t_wait_handler', 't_wait.handler', 't_wait.waiting', owner => 't_wait', max_attempts => 1) \gset
SELECT eda.publish('t_wait.handler') \gset
CALL eda.wait('t_wait_handler');
SELECT is(error_code, 'ED023', 'in a handler it is an error') FROM eda.dead_letters WHERE subscription = 't_wait_handler';

-- What is handled then survives a crash.
CREATE TABLE lsn (lsn pg_lsn);
CREATE FUNCTION note_lsn(e eda.event) RETURNS void LANGUAGE sql AS $$SELECT take(e); INSERT INTO lsn SELECT pg_current_wal_insert_lsn()$$;
SELECT eda.alter_subscription('t_wait_quiet', '{"handler": "t_wait.note_lsn"}') \gset
SELECT eda.publish('t_wait.quiet', '{"n": 3}') \gset
CALL eda.wait('t_wait_quiet');
SELECT cmp_ok(pg_current_wal_flush_lsn(), '>', lsn, 'what was waited for is on disk') FROM lsn;

-- As an ordinary role.
SET SESSION AUTHORIZATION t_wait;
CALL eda.wait('t_wait_quiet');
CALL eda.wait();
RESET SESSION AUTHORIZATION;
SELECT pass('an ordinary role can wait');

\ir include/end.sql
