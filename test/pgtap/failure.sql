-- What becomes of events whose handlers fail: retries, dead letters, order, blocked subscriptions.
\set test t_failure
\ir include/begin.sql
SELECT plan(87);

-- What is to fail now, by subscription and "n" of the payload ('*': everything).
CREATE TABLE fault (sub text, n text);
-- Calls are counted by sequences, which no rollback takes back.
CREATE FUNCTION count_call(sub text) RETURNS bigint LANGUAGE sql AS $$SELECT nextval('t_failure.calls_' || sub)$$;
CREATE FUNCTION calls(sub text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE c bigint;
BEGIN
    EXECUTE format('SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM t_failure.calls_%s', sub) INTO c;
    RETURN c;
END $$;
CREATE FUNCTION shaky(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    PERFORM count_call(e.subscription);
    IF EXISTS (SELECT FROM fault f WHERE f.sub = e.subscription AND f.n IN ('*', e.payload ->> 'n')) THEN
        RAISE EXCEPTION 'event % is faulty', e.payload ->> 'n';
    END IF;
END $$;
CREATE FUNCTION numbers(first int, last int) RETURNS jsonb[] LANGUAGE sql AS $$
    SELECT array_agg(jsonb_build_object('n', i) ORDER BY i) FROM generate_series(first, last) i;
$$;
CREATE FUNCTION retrying(sub text) RETURNS bigint LANGUAGE sql AS $$SELECT count(*) FROM eda.retries r WHERE r.subscription = sub$$;
CREATE FUNCTION dead(sub text) RETURNS bigint LANGUAGE sql AS $$SELECT count(*) FROM eda.dead_letters d WHERE d.subscription = sub$$;
CREATE FUNCTION is_blocked(sub text, reason text) RETURNS boolean LANGUAGE sql AS $$
    SELECT state = 'blocked' AND blocked_reason = reason FROM eda.subscriptions s WHERE s.subscription = sub;
$$;
CREATE FUNCTION is_active(sub text) RETURNS boolean LANGUAGE sql AS $$
    SELECT state = 'active' AND blocked_reason IS NULL FROM eda.subscriptions s WHERE s.subscription = sub;
$$;

-- Retry: an event that fails waits, and is tried again until it succeeds.
CREATE SEQUENCE calls_t_failure_retry;
INSERT INTO fault VALUES ('t_failure_retry', '1');
SELECT eda.subscribe('t_failure_retry', 't_failure.retry', 't_failure.shaky', owner => 't_failure', backoff => '50 ms', max_backoff => '50 ms',
                     max_attempts => 100000, block_after => 100000) \gset
SELECT eda.publish('t_failure.retry', '{"n": 1}') AS id \gset
CALL wait_until($$retrying('t_failure_retry') = 1$$);
SELECT results_eq($$SELECT topic, error_code, error_message, attempt >= 1, next_attempt_at > now() - interval '10 s'
                      FROM eda.retries WHERE subscription = 't_failure_retry'$$,
    $$VALUES ('t_failure.retry', 'P0001', 'event 1 is faulty', true, true)$$, 'eda.retries shows what waits');
SELECT is((state, error_message)::text, '(retrying,"event 1 is faulty")', 'eda.trace: retrying') FROM eda.trace(:id) WHERE subscription = 't_failure_retry';
DELETE FROM fault;
CALL wait_until($$taken('t_failure_retry') <> ''$$);
SELECT results_eq($$SELECT g.id, g.attempt > 1, g.redelivered, s.handled, s.failed = g.attempt - 1, s.retrying, s.dead, s.last_error
                      FROM got g, eda.subscriptions s WHERE g.sub = 't_failure_retry' AND s.subscription = g.sub$$,
    format($$VALUES (%s::bigint, true, true, 1::bigint, true, 0::bigint, 0::bigint, 'event 1 is faulty')$$, :'id'), 'retry: it takes effect, once, and is counted');
CREATE FUNCTION third_time(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    IF e.attempt < 3 THEN
        RAISE EXCEPTION 'not yet';
    END IF;
END $$;
SELECT eda.subscribe('t_failure_third', 't_failure.third', 't_failure.third_time', owner => 't_failure', backoff => '5 ms') \gset
SELECT eda.publish('t_failure.third', '{"n": 1}') \gset
CALL wait_until($$taken('t_failure_third') <> ''$$);
SELECT results_eq($$SELECT attempt, redelivered FROM got WHERE sub = 't_failure_third'$$, 'VALUES (3, true)', 'the handler can see which attempt it is');

-- Back-off, max_attempts, and what a dead letter keeps.
CREATE FUNCTION fail_well(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    RAISE EXCEPTION 'no stock for %', e.key USING ERRCODE = 'AB123', DETAIL = 'There are 3 left.', HINT = 'None.';
END $$;
SELECT eda.subscribe('t_failure_dead', 't_failure.dead', 't_failure.fail_well', owner => 't_failure', max_attempts => 4, backoff => '40 ms') \gset
SELECT eda.publish('t_failure.dead', '{"n": 1, "a": [1]}', 'article 7', '{"h": 1}', correlation_id => 'order 5') AS id \gset
CALL wait_until($$dead('t_failure_dead') = 1$$);
SELECT results_eq($$SELECT event_id, topic, key, payload, headers, correlation_id, reason, attempts, error_code, error_message, error_detail
                      FROM eda.dead_letters WHERE subscription = 't_failure_dead'$$,
    format($$VALUES (%s::bigint, 't_failure.dead', 'article 7', '{"n": 1, "a": [1]}'::jsonb, '{"h": 1}'::jsonb, 'order 5', 'max_attempts', 4,
                     'AB123', 'no stock for article 7', 'There are 3 left.')$$, :'id'), 'a dead letter keeps event and error');
SELECT is(error_context, 'PL/pgSQL function fail_well(eda.event) line 4 at RAISE', 'and the context')
  FROM eda.dead_letters WHERE subscription = 't_failure_dead';
SELECT is(d.published_at, e.published_at, 'and the time of publishing')
  FROM eda.dead_letters d, eda.events e WHERE d.subscription = 't_failure_dead' AND e.id = d.event_id;
SELECT collect_tap(
        is(cardinality(h), 4, 'and the times of all attempts'),
        -- jitter takes a quarter off
        cmp_ok(h[2] - h[1], '>=', interval '29 ms', 'the second attempt waits for the back-off'),
        cmp_ok(h[3] - h[2], '>=', interval '59 ms', 'the third one for twice that'),
        cmp_ok(h[4] - h[3], '>=', interval '119 ms', 'the fourth one for twice that'),
        cmp_ok(died_at, '>=', h[4], 'it died after the last one'))
  FROM (SELECT died_at, attempt_history AS h FROM eda.dead_letters WHERE subscription = 't_failure_dead') d;
SELECT is(taken('t_failure_dead'), '', 'a dead letter has had no effect');
SELECT results_eq(format($$SELECT state, attempt, at = died_at, t.error_message FROM eda.trace(%s) t, eda.dead_letters d
                            WHERE t.subscription = 't_failure_dead' AND d.subscription = 't_failure_dead'$$, :'id'),
    $$VALUES ('dead', 4, true, 'no stock for article 7')$$, 'eda.trace: dead');
-- without the cap the twelve attempts took 30 s at least
SELECT eda.subscribe('t_failure_cap', 't_failure.cap', 't_failure.fail_well', owner => 't_failure', max_attempts => 12,
                     backoff => '20 ms', max_backoff => '20 ms') \gset
SELECT eda.publish('t_failure.cap') \gset
CALL wait_until($$dead('t_failure_cap') = 1$$);
SELECT is(dead('t_failure_cap'), 1::bigint, 'max_backoff caps the back-off');

-- The handler's own word.
CREATE SEQUENCE calls_t_failure_word;
CREATE FUNCTION own_word(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE call bigint := count_call(e.subscription);
BEGIN
    PERFORM take(e);
    CASE e.payload ->> 'do'
        WHEN 'reject' THEN PERFORM eda.reject('no customer ' || (e.payload ->> 'n'));
        WHEN 'reject null' THEN PERFORM eda.reject(NULL);
        WHEN 'retry later' THEN PERFORM eda.retry_after('1 hour');
        WHEN 'retry' THEN PERFORM eda.retry_after('5 ms');
        WHEN 'snooze long' THEN PERFORM eda.snooze('1 hour');
        WHEN 'snooze' THEN IF call < 6 THEN PERFORM eda.snooze('5 ms'); END IF;
        WHEN 'catch' THEN
            BEGIN
                PERFORM eda.reject('caught');
            EXCEPTION WHEN OTHERS THEN
                NULL;
            END;
        WHEN 'replace' THEN
            BEGIN
                PERFORM eda.reject('caught');
            EXCEPTION WHEN OTHERS THEN
                RAISE EXCEPTION 'something else';
            END;
        -- the codes without the functions are ordinary errors
        WHEN 'imitate' THEN RAISE EXCEPTION 'imitated' USING ERRCODE = 'ED032';
        WHEN 'null' THEN PERFORM eda.retry_after(NULL);
    END CASE;
END $$;
SELECT eda.subscribe('t_failure_word', 't_failure.word', 't_failure.own_word', owner => 't_failure', max_attempts => 3, backoff => '5 ms',
                     ordering => 'none') \gset
SELECT eda.publish('t_failure.word', '{"n": 1, "do": "reject"}') \gset
SELECT eda.publish('t_failure.word', '{"n": 2, "do": "reject null"}') \gset
CALL eda.wait('t_failure_word');
SELECT results_eq($$SELECT payload ->> 'n', reason, attempts, cardinality(attempt_history), error_code, error_message
                      FROM eda.dead_letters WHERE subscription = 't_failure_word' ORDER BY event_id$$,
    $$VALUES ('1', 'rejected', 1, 1, 'ED030', 'no customer 1'), ('2', 'rejected', 1, 1, 'ED030', 'rejected by its handler')$$,
    'eda.reject: a dead letter at once');
SELECT is(taken('t_failure_word'), '', 'eda.reject undoes what the handler did');
SELECT is(eda.discard_all('t_failure_word'), 2::bigint, 'eda.discard_all');

SELECT eda.publish('t_failure.word', '{"n": 3, "do": "retry later"}') \gset
SELECT eda.publish('t_failure.word', '{"n": 4, "do": "snooze long"}') \gset
CALL eda.wait('t_failure_word');
SELECT results_eq($$SELECT d.payload ->> 'n', r.attempt, r.next_attempt_at - clock_timestamp() BETWEEN '59 min' AND '1 hour', r.error_code
                      FROM eda.retries r JOIN eda.events d ON d.id = r.event_id WHERE subscription = 't_failure_word' ORDER BY event_id$$,
    $$VALUES ('3', 1, true, 'ED031'), ('4', 0, true, 'ED032')$$,
    'eda.retry_after counts as an attempt, eda.snooze does not, both wait for as long as they say');
SELECT is(count(*), 2::bigint, 'skipped') FROM eda.retries r, eda.skip('t_failure_word', r.event_id) s WHERE subscription = 't_failure_word' AND s;
SELECT is(eda.discard_all('t_failure_word'), 2::bigint, 'and discarded');

SELECT eda.publish('t_failure.word', '{"n": 5, "do": "retry"}') \gset
CALL wait_until($$dead('t_failure_word') = 1$$);
SELECT results_eq($$SELECT reason, attempts, cardinality(attempt_history), error_code FROM eda.dead_letters WHERE subscription = 't_failure_word'$$,
    $$VALUES ('max_attempts', 3, 3, 'ED031')$$, 'eda.retry_after burns attempts');
SELECT eda.discard_all('t_failure_word') \gset
ALTER SEQUENCE calls_t_failure_word RESTART;
SELECT eda.publish('t_failure.word', '{"n": 6, "do": "snooze"}') \gset
CALL wait_until($$taken('t_failure_word') <> ''$$);
SELECT results_eq($$SELECT payload ->> 'n', attempt, redelivered FROM got WHERE sub = 't_failure_word'$$, $$VALUES ('6', 1, true)$$,
    'eda.snooze burns none: five times, with three attempts allowed');
SELECT eda.publish('t_failure.word', '{"n": 7, "do": "catch"}') \gset
SELECT eda.publish('t_failure.word', '{"n": 8, "do": "replace"}') \gset
SELECT eda.publish('t_failure.word', '{"n": 9, "do": "imitate"}') \gset
SELECT eda.publish('t_failure.word', '{"n": 11, "do": "null"}') \gset
CALL wait_until($$dead('t_failure_word') = 3$$);
SELECT is(taken('t_failure_word'), '6 7', 'a handler that catches what eda.reject raises has handled its event');
SELECT results_eq($$SELECT payload ->> 'n', reason, attempts, error_code, error_message
                      FROM eda.dead_letters WHERE subscription = 't_failure_word' ORDER BY event_id$$,
    $$VALUES ('8', 'max_attempts', 3, 'P0001', 'something else'), ('9', 'max_attempts', 3, 'ED032', 'imitated'),
             ('11', 'max_attempts', 3, '22004', 'argument "delay" must not be null')$$,
    'other errors in its place are ordinary ones');
SELECT throws_ok($$SELECT eda.reject('x')$$, 'ED022', NULL, 'eda.reject outside of a handler');
SELECT throws_ok($$SELECT eda.retry_after('1 s')$$, 'ED022', NULL, 'eda.retry_after outside of a handler');
SELECT throws_ok($$SELECT eda.snooze('1 s')$$, 'ED022', NULL, 'eda.snooze outside of a handler');

-- reject_on: SQLSTATEs and classes.
CREATE TABLE numbers (n int PRIMARY KEY);
INSERT INTO numbers VALUES (1);
CREATE FUNCTION various(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CASE p ->> 'do'
        WHEN 'divide' THEN PERFORM 1 / (p ->> 'zero')::int;
        WHEN 'unique' THEN INSERT INTO numbers VALUES (1);
        WHEN 'not null' THEN INSERT INTO numbers VALUES (NULL);
        WHEN 'number' THEN PERFORM (p ->> 'do')::int;
        ELSE RAISE EXCEPTION 'other';
    END CASE;
END $$;
SELECT eda.subscribe('t_failure_reject_on', 't_failure.reject_on', 't_failure.various', owner => 't_failure', max_attempts => 3, backoff => '5 ms',
                     reject_on => '{22012,23}') \gset
SELECT eda.publish('t_failure.reject_on', jsonb_build_object('do', d, 'zero', 0)) FROM unnest('{divide,unique,not null,number,x}'::text[]) d \g /dev/null
CALL wait_until($$dead('t_failure_reject_on') = 5$$);
SELECT results_eq($$SELECT payload ->> 'do', reason, attempts, error_code FROM eda.dead_letters WHERE subscription = 't_failure_reject_on' ORDER BY event_id$$,
    $$VALUES ('divide', 'rejected', 1, '22012'), ('unique', 'rejected', 1, '23505'), ('not null', 'rejected', 1, '23502'),
             ('number', 'max_attempts', 3, '22P02'), ('x', 'max_attempts', 3, 'P0001')$$,
    'reject_on: these are never retried, others are');

-- A failing event is undone, its neighbours in the batch take effect once.
CREATE SEQUENCE calls_t_failure_batch;
INSERT INTO fault VALUES ('t_failure_batch', '7'), ('t_failure_batch', '8'), ('t_failure_batch', '60'), ('t_failure_batch', '99');
SELECT eda.subscribe('t_failure_batch', 't_failure.batch', 't_failure.shaky', owner => 't_failure', max_attempts => 1) \gset
SELECT eda.publish_batch('t_failure.batch', numbers(1, 100)) \gset
CALL eda.wait('t_failure_batch');
SELECT is(taken('t_failure_batch'), (SELECT string_agg(i::text, ' ' ORDER BY i) FROM generate_series(1, 100) i WHERE i NOT IN (7, 8, 60, 99)),
    'the neighbours of failing events take effect once, in order');
SELECT results_eq($$SELECT payload ->> 'n', attempts FROM eda.dead_letters WHERE subscription = 't_failure_batch' ORDER BY event_id$$,
    $$VALUES ('7', 1), ('8', 1), ('60', 1), ('99', 1)$$, 'the failing ones are dead, a lost batch is no attempt');
SELECT is((handled, failed, dead)::text, '(96,4,4)', 'batch: counted') FROM eda.subscriptions WHERE subscription = 't_failure_batch';

-- So with a set-wise handler: the culprits are found.
CREATE FUNCTION take_all(es eda.event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO got (sub, id, payload) SELECT e.subscription, e.id, e.payload FROM unnest(es) e;
    IF EXISTS (SELECT FROM unnest(es) e JOIN fault f ON f.sub = e.subscription AND f.n = e.payload ->> 'n') THEN
        RAISE EXCEPTION 'one of % is faulty', cardinality(es);
    END IF;
END $$;
INSERT INTO fault VALUES ('t_failure_set', '3'), ('t_failure_set', '44');
SELECT eda.subscribe('t_failure_set', 't_failure.set', 't_failure.take_all', owner => 't_failure', max_attempts => 2, backoff => '5 ms') \gset
SELECT eda.publish_batch('t_failure.set', numbers(1, 70)) \gset
CALL wait_until($$dead('t_failure_set') = 2$$);
CALL eda.wait('t_failure_set');
SELECT is(taken('t_failure_set'), (SELECT string_agg(i::text, ' ' ORDER BY i) FROM generate_series(1, 70) i WHERE i NOT IN (3, 44)),
    'a set-wise handler is narrowed to the culprits');
SELECT results_eq($$SELECT payload ->> 'n', attempts, error_message FROM eda.dead_letters WHERE subscription = 't_failure_set' ORDER BY event_id$$,
    $$VALUES ('3', 2, 'one of 1 is faulty'), ('44', 2, 'one of 1 is faulty')$$, 'which fail alone');
SELECT eda.publish_batch('t_failure.set', numbers(101, 110)) \gset
CALL eda.wait('t_failure_set');
SELECT cmp_ok(count(DISTINCT xid), '<', 10::bigint, 'after that it gets whole batches again') FROM got WHERE sub = 't_failure_set' AND (payload ->> 'n')::int > 100;

-- What fails at commit only.
CREATE TABLE customers (id int PRIMARY KEY);
INSERT INTO customers VALUES (1);
CREATE TABLE orders (n int PRIMARY KEY, customer int REFERENCES customers DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION order_it(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    INSERT INTO orders VALUES ((e.payload ->> 'n')::int, CASE WHEN (e.payload ->> 'n')::int IN (4, 9) THEN 2 ELSE 1 END);
END $$;
SELECT eda.subscribe('t_failure_commit', 't_failure.commit', 't_failure.order_it', owner => 't_failure', max_attempts => 2, backoff => '5 ms') \gset
SELECT eda.publish_batch('t_failure.commit', numbers(1, 10)) \gset
CALL wait_until($$dead('t_failure_commit') = 2$$);
CALL eda.wait('t_failure_commit');
SELECT is(taken('t_failure_commit'), '1 2 3 5 6 7 8 10', 'a deferred constraint that fails at commit: the others take effect once, in order');
SELECT results_eq('SELECT n FROM orders ORDER BY n', 'SELECT i FROM generate_series(1, 10) i WHERE i NOT IN (4, 9)', 'in its table too');
SELECT results_eq($$SELECT payload ->> 'n', attempts, reason, error_code FROM eda.dead_letters WHERE subscription = 't_failure_commit' ORDER BY event_id$$,
    $$VALUES ('4', 2, 'max_attempts', '23503'), ('9', 2, 'max_attempts', '23503')$$, 'the culprits are dead');
INSERT INTO customers VALUES (2);
SELECT eda.redrive_all('t_failure_commit') \gset
CALL eda.wait('t_failure_commit');
SELECT is(taken('t_failure_commit'), '1 2 3 5 6 7 8 10 4 9', 'and alive again when the constraint holds');

-- Timeout, in the handler and at commit.
CREATE FUNCTION sleepy(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    IF e.payload ->> 'n' = '2' THEN
        PERFORM pg_sleep(60);
    END IF;
END $$;
CREATE TABLE slow (n text);
CREATE FUNCTION sleep_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.n = '4' THEN
        PERFORM pg_sleep(60);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sleep_at_commit();
CREATE FUNCTION sleepy_at_commit(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    INSERT INTO slow VALUES (e.payload ->> 'n');
END $$;
SELECT eda.subscribe('t_failure_timeout', 't_failure.timeout', 't_failure.sleepy', owner => 't_failure', max_attempts => 2, backoff => '5 ms',
                     timeout => '400 ms') \gset
SELECT eda.subscribe('t_failure_timeout2', 't_failure.timeout2', 't_failure.sleepy_at_commit', owner => 't_failure', max_attempts => 1,
                     timeout => '400 ms') \gset
SELECT eda.publish_batch('t_failure.timeout', numbers(1, 3)) \gset
SELECT eda.publish_batch('t_failure.timeout2', numbers(3, 5)) \gset
CALL wait_until($$dead('t_failure_timeout') = 1 AND dead('t_failure_timeout2') = 1$$);
CALL eda.wait('t_failure_timeout');
CALL eda.wait('t_failure_timeout2');
SELECT results_eq($$SELECT payload ->> 'n', reason, attempts, error_code FROM eda.dead_letters WHERE subscription LIKE 't_failure_timeout%' ORDER BY 1$$,
    $$VALUES ('2', 'timeout', 2, '57014'), ('4', 'timeout', 1, '57014')$$, 'timeout: in the handler, and at commit');
SELECT is(taken('t_failure_timeout') || ', ' || taken('t_failure_timeout2'), '1 3, 3 5', 'timeout: the others take effect');

-- Serialization failures and deadlocks are retried at once without an attempt, but not for ever.
CREATE SEQUENCE calls_t_failure_serial;
CREATE FUNCTION serial(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    -- the batch is lost first
    IF count_call(e.subscription) < 4 OR e.payload ->> 'n' = '2' THEN
        RAISE serialization_failure;
    END IF;
END $$;
SELECT eda.subscribe('t_failure_serial', 't_failure.serial', 't_failure.serial', owner => 't_failure', max_attempts => 1) \gset
SELECT eda.publish('t_failure.serial', '{"n": 1}') \gset
CALL eda.wait('t_failure_serial');
SELECT results_eq($$SELECT payload ->> 'n', attempt, redelivered FROM got WHERE sub = 't_failure_serial'$$, $$VALUES ('1', 1, false)$$,
    'serialization failures burn no attempt');
SELECT eda.publish('t_failure.serial', '{"n": 2}') \gset
CALL eda.wait('t_failure_serial');
SELECT results_eq($$SELECT reason, attempts, error_code FROM eda.dead_letters WHERE subscription = 't_failure_serial'$$,
    $$VALUES ('max_attempts', 1, '40001')$$, 'one that goes on and on does');

-- ordering => 'key': later events of the key wait, others pass.
CREATE SEQUENCE calls_t_failure_key;
INSERT INTO fault VALUES ('t_failure_key', '1');
SELECT eda.subscribe('t_failure_key', 't_failure.key', 't_failure.shaky', owner => 't_failure', backoff => '100 ms', max_backoff => '100 ms',
                     max_attempts => 100000, block_after => 100000) \gset
SELECT eda.publish('t_failure.key', jsonb_build_object('n', n), key)
  FROM (VALUES (1, 'a'), (2, 'b'), (3, 'a'), (4, NULL), (5, 'b'), (6, 'a')) e (n, key) \g /dev/null
CALL wait_until($$taken('t_failure_key') = '2 4 5' AND retrying('t_failure_key') = 3$$);
SELECT is(taken('t_failure_key'), '2 4 5', 'key: events of other keys and of none pass a failing one');
SELECT eda.publish('t_failure.key', jsonb_build_object('n', n), key) FROM (VALUES (7, 'a'), (8, 'c')) e (n, key) \g /dev/null
CALL wait_until($$taken('t_failure_key') = '2 4 5 8' AND retrying('t_failure_key') = 4$$);
SELECT results_eq($$SELECT payload ->> 'n', r.key, attempt > 0, next_attempt_at IS NOT NULL
                      FROM eda.retries r JOIN eda.events e ON e.id = event_id WHERE subscription = 't_failure_key' ORDER BY event_id$$,
    $$VALUES ('1', 'a', true, true), ('3', 'a', false, false), ('6', 'a', false, false), ('7', 'a', false, false)$$,
    'key: later events of its key wait behind it');
DELETE FROM fault WHERE sub = 't_failure_key';
CALL wait_until($$retrying('t_failure_key') = 0$$);
SELECT is(taken('t_failure_key'), '2 4 5 8 1 3 6 7', 'key: and follow it in order');
SELECT results_eq($$SELECT payload ->> 'n', attempt, redelivered FROM got WHERE sub = 't_failure_key' AND key = 'a' AND payload ->> 'n' > '1' ORDER BY n$$,
    $$VALUES ('3', 1, false), ('6', 1, false), ('7', 1, false)$$, 'key: waiting was no attempt of theirs');
-- the same when it dies
INSERT INTO fault VALUES ('t_failure_key', '11');
SELECT eda.alter_subscription('t_failure_key', '{"max_attempts": 3, "backoff": "5 ms"}') \gset
SELECT eda.publish('t_failure.key', jsonb_build_object('n', n), 'a') FROM generate_series(11, 13) n \g /dev/null
CALL wait_until($$taken('t_failure_key') LIKE '% 13'$$);
SELECT is(taken('t_failure_key'), '2 4 5 8 1 3 6 7 12 13', 'key: they go on when it is dead');
SELECT is(dead('t_failure_key'), 1::bigint, 'key: which is the one that failed');

-- ordering => 'strict': everything waits.
CREATE SEQUENCE calls_t_failure_strict;
INSERT INTO fault VALUES ('t_failure_strict', '2'), ('t_failure_strict', '5');
SELECT eda.subscribe('t_failure_strict', 't_failure.strict', 't_failure.shaky', owner => 't_failure', ordering => 'strict',
                     backoff => '20 ms', max_backoff => '20 ms', max_attempts => 100000, block_after => 100000) \gset
SELECT eda.publish('t_failure.strict', jsonb_build_object('n', n), 'key' || n) FROM generate_series(1, 6) n \g /dev/null
CALL wait_until($$(SELECT attempt FROM eda.retries WHERE subscription = 't_failure_strict') >= 3$$);
SELECT is(taken('t_failure_strict'), '1', 'strict: all wait behind a failing event');
DELETE FROM fault WHERE sub = 't_failure_strict' AND n = '2';
CALL wait_until($$(SELECT e.payload ->> 'n' FROM eda.retries r JOIN eda.events e ON e.id = event_id WHERE subscription = 't_failure_strict' AND attempt > 0) = '5'$$);
SELECT is(taken('t_failure_strict'), '1 2 3 4', 'strict: and follow in order, up to the next one');
SELECT eda.alter_subscription('t_failure_strict', '{"max_attempts": 2}') \gset
CALL wait_until($$taken('t_failure_strict') LIKE '% 6'$$);
SELECT is(taken('t_failure_strict'), '1 2 3 4 6', 'strict: they go on when it is dead');

-- ordering => 'none': nobody waits.
CREATE SEQUENCE calls_t_failure_none;
INSERT INTO fault VALUES ('t_failure_none', '1');
SELECT eda.subscribe('t_failure_none', 't_failure.none', 't_failure.shaky', owner => 't_failure', ordering => 'none',
                     backoff => '20 ms', max_backoff => '20 ms', max_attempts => 100000, block_after => 100000) \gset
SELECT eda.publish('t_failure.none', jsonb_build_object('n', n), 'a') FROM generate_series(1, 3) n \g /dev/null
CALL wait_until($$taken('t_failure_none') = '2 3'$$);
SELECT is(taken('t_failure_none'), '2 3', 'none: even events of its key pass a failing one');
SELECT is(retrying('t_failure_none'), 1::bigint, 'none: it waits alone');
DELETE FROM fault WHERE sub = 't_failure_none';
CALL wait_until($$taken('t_failure_none') = '2 3 1'$$);
SELECT is(taken('t_failure_none'), '2 3 1', 'none: it comes later');

-- block_after failures in a row block the subscription; probes find out when it is well again.
CREATE SEQUENCE calls_t_failure_block;
CREATE TABLE told (n int GENERATED ALWAYS AS IDENTITY, payload jsonb, key text);
CREATE FUNCTION tell(e eda.event) RETURNS void LANGUAGE sql AS $$
    INSERT INTO told (payload, key) SELECT e.payload, e.key WHERE e.payload ->> 'subscription' LIKE 't\_failure\_%';
$$;
SELECT eda.subscribe('t_failure_told', 'eda.subscription.blocked', 't_failure.tell', owner => 't_failure') \gset
INSERT INTO fault VALUES ('t_failure_block', '*');
SELECT eda.subscribe('t_failure_block', 't_failure.block', 't_failure.shaky', owner => 't_failure', block_after => 3, max_attempts => 5,
                     backoff => '50 ms', max_backoff => '50 ms') \gset
SELECT eda.publish_batch('t_failure.block', numbers(1, 10)) \gset
CALL wait_until($$is_blocked('t_failure_block', 'failing')$$);
SELECT results_eq($$SELECT state, blocked_reason, blocked_detail LIKE 'event % is faulty', last_error LIKE 'event % is faulty', failed
                      FROM eda.subscriptions WHERE subscription = 't_failure_block'$$,
    $$VALUES ('blocked', 'failing', true, true, 3::bigint)$$, 'block_after: blocked as failing');
SELECT calls('t_failure_block') AS before \gset
CALL wait_until(format('(SELECT probes FROM eda.subscription WHERE name = ''t_failure_block'') >= 3 AND calls(''t_failure_block'') >= %s + 3', :before));
SELECT cmp_ok(calls('t_failure_block'), '>=', :before + 3::bigint, 'block_after: it is probed');
SELECT is((state, failed, dead)::text, '(blocked,3,0)', 'block_after: probes burn no attempt') FROM eda.subscriptions WHERE subscription = 't_failure_block';
SELECT is(sum(attempt), 3::bigint, 'block_after: no attempt of an event that waits, either') FROM eda.retries WHERE subscription = 't_failure_block';
SELECT throws_ok($$CALL eda.wait('t_failure_block')$$, 'ED020', NULL, 'block_after: eda.wait says so');
CALL eda.wait('t_failure_told');
SELECT results_eq($$SELECT payload ->> 'reason', payload ->> 'error_code' = 'P0001' AND NOT payload::text LIKE '%faulty%', key FROM told
                     WHERE payload ->> 'subscription' = 't_failure_block'$$,
    $$VALUES ('failing', true, 't_failure_block')$$, 'block_after: published as eda.subscription.blocked, once');
DELETE FROM fault WHERE sub = 't_failure_block';
CALL wait_until($$is_active('t_failure_block') AND (SELECT count(*) FROM got WHERE sub = 't_failure_block') = 10$$);
SELECT results_eq($$SELECT state, blocked_reason, handled, failed, dead FROM eda.subscriptions WHERE subscription = 't_failure_block'$$,
    $$VALUES ('active', NULL::text, 10::bigint, 3::bigint, 0::bigint)$$, 'block_after: it goes on by itself');
SELECT is(count(DISTINCT id), 10::bigint, 'block_after: all took effect, once') FROM got WHERE sub = 't_failure_block';

-- Blocked with nothing left to probe it with: the next event does.
CREATE SEQUENCE calls_t_failure_empty;
INSERT INTO fault VALUES ('t_failure_empty', '*');
SELECT eda.subscribe('t_failure_empty', 't_failure.empty', 't_failure.shaky', owner => 't_failure', block_after => 2, max_attempts => 1,
                     backoff => '50 ms', max_backoff => '50 ms') \gset
SELECT eda.publish_batch('t_failure.empty', numbers(1, 2)) \gset
CALL wait_until($$dead('t_failure_empty') = 2 AND is_blocked('t_failure_empty', 'failing')$$);
CALL wait_until($$(SELECT probe_at < clock_timestamp() - interval '100 ms' FROM eda.subscription WHERE name = 't_failure_empty')$$);
DELETE FROM fault WHERE sub = 't_failure_empty';
SELECT eda.publish('t_failure.empty', '{"n": 3}') \gset
CALL wait_until($$is_active('t_failure_empty') AND taken('t_failure_empty') = '3'$$);
SELECT is((state, handled, dead)::text, '(active,1,2)', 'block_after: where nothing is left to probe, the next event does') FROM eda.subscriptions WHERE subscription = 't_failure_empty';

-- One success in between and it is not blocked.
CREATE SEQUENCE calls_t_failure_streak;
INSERT INTO fault SELECT 't_failure_streak', i FROM generate_series(1, 20) i WHERE i % 3 <> 0;
SELECT eda.subscribe('t_failure_streak', 't_failure.streak', 't_failure.shaky', owner => 't_failure', block_after => 3, max_attempts => 1) \gset
SELECT eda.publish_batch('t_failure.streak', numbers(1, 20)) \gset
CALL eda.wait('t_failure_streak');
SELECT is((state, handled, dead)::text, '(active,6,14)', 'a success ends the row of failures') FROM eda.subscriptions WHERE subscription = 't_failure_streak';

-- A handler that is replaced, dropped, renamed, somebody else's.
CREATE FUNCTION changing(e eda.event) RETURNS void LANGUAGE sql AS $$SELECT take(e)$$;
SELECT eda.subscribe('t_failure_handler', 't_failure.handler', 't_failure.changing', owner => 't_failure') \gset
SELECT eda.publish('t_failure.handler', '{"n": 1}') \gset
CALL eda.wait('t_failure_handler');
CREATE OR REPLACE FUNCTION changing(e eda.event) RETURNS void LANGUAGE sql AS $$
    SELECT take(e);
    UPDATE got SET topic = 'replaced' WHERE id = e.id AND sub = e.subscription;
$$;
SELECT eda.publish('t_failure.handler', '{"n": 2}') \gset
CALL eda.wait('t_failure_handler');
SELECT results_eq($$SELECT payload ->> 'n', topic FROM got WHERE sub = 't_failure_handler' ORDER BY n$$,
    $$VALUES ('1', 't_failure.handler'), ('2', 'replaced')$$, 'CREATE OR REPLACE of a handler takes effect');
BEGIN;
DROP FUNCTION changing;
SELECT eda.publish('t_failure.handler', '{"n": 3}') \gset
COMMIT;
CALL wait_until($$is_blocked('t_failure_handler', 'handler')$$);
SELECT is(blocked_detail, 'function t_failure.changing(eda.event) does not exist', 'a dropped handler blocks')
  FROM eda.subscriptions WHERE subscription = 't_failure_handler';
SELECT eda.publish('t_failure.handler', '{"n": 4}') \gset
SELECT throws_ok($$CALL eda.wait('t_failure_handler')$$, 'ED020', NULL, 'eda.wait says that it is blocked');
CREATE FUNCTION changing(e eda.event) RETURNS void LANGUAGE sql AS $$SELECT take(e)$$;
CALL wait_until($$taken('t_failure_handler') LIKE '%3 4'$$);
SELECT is(taken('t_failure_handler'), '1 2 3 4', 'it goes on when it is back, and has lost nothing');
SELECT is((state, failed, retrying, dead)::text, '(active,0,0,0)', 'which is no failure of an event') FROM eda.subscriptions WHERE subscription = 't_failure_handler';
ALTER FUNCTION changing RENAME TO changed;
SELECT eda.publish('t_failure.handler', '{"n": 5}') \gset
CALL wait_until($$is_blocked('t_failure_handler', 'handler')$$);
SELECT ok(is_blocked('t_failure_handler', 'handler'), 'a renamed handler blocks');
ALTER FUNCTION changed RENAME TO changing;
CALL wait_until($$taken('t_failure_handler') LIKE '% 5'$$);
SELECT is(taken('t_failure_handler'), '1 2 3 4 5', 'and goes on under its name');
-- nobody else can put their function under that name
CREATE ROLE t_failure_other;
GRANT CREATE, USAGE ON SCHEMA t_failure TO t_failure_other;
GRANT USAGE ON SCHEMA eda TO t_failure_other;
DROP FUNCTION changing;
SET ROLE t_failure_other;
CREATE FUNCTION t_failure.changing(e eda.event) RETURNS void LANGUAGE sql AS $$SELECT t_failure.take(e)$$;
RESET ROLE;
SELECT eda.publish('t_failure.handler', '{"n": 6}') \gset
CALL wait_until($$is_blocked('t_failure_handler', 'handler')$$);
SELECT matches(blocked_detail, 'belongs to another role now, "t_failure_other"', 'a function of another owner under its name blocks')
  FROM eda.subscriptions WHERE subscription = 't_failure_handler';
SELECT is(taken('t_failure_handler'), '1 2 3 4 5', 'and is not called');
SELECT eda.alter_subscription('t_failure_handler', '{"handler": "t_failure.changing"}') \gset
CALL eda.wait('t_failure_handler');
SELECT is(taken('t_failure_handler'), '1 2 3 4 5 6', 'until it is subscribed again');

-- A right that is revoked.
CREATE SCHEMA t_failure_closed;
CREATE FUNCTION t_failure_closed.take(e eda.event) RETURNS void LANGUAGE sql AS $$SELECT take(e)$$;
GRANT USAGE ON SCHEMA t_failure_closed TO t_failure;
SELECT eda.subscribe('t_failure_right', 't_failure.right', 't_failure_closed.take', owner => 't_failure') \gset
REVOKE EXECUTE ON FUNCTION t_failure_closed.take FROM PUBLIC;
SELECT eda.publish('t_failure.right', '{"n": 1}') \gset
CALL wait_until($$is_blocked('t_failure_right', 'privilege')$$);
SELECT is(blocked_detail, 'the owner may not execute function t_failure_closed.take(eda.event)', 'a revoked EXECUTE blocks')
  FROM eda.subscriptions WHERE subscription = 't_failure_right';
GRANT EXECUTE ON FUNCTION t_failure_closed.take TO t_failure;
CALL wait_until($$taken('t_failure_right') <> ''$$);
SELECT is(taken('t_failure_right'), '1', 'and unblocks when it is granted');
REVOKE USAGE ON SCHEMA t_failure_closed FROM t_failure;
SELECT eda.publish('t_failure.right', '{"n": 2}') \gset
CALL wait_until($$is_blocked('t_failure_right', 'privilege')$$);
SELECT is(blocked_detail, 'the owner may not use schema "t_failure_closed"', 'a revoked USAGE of its schema blocks')
  FROM eda.subscriptions WHERE subscription = 't_failure_right';
GRANT USAGE ON SCHEMA t_failure_closed TO t_failure;
CALL wait_until($$taken('t_failure_right') = '1 2'$$);
SELECT is(taken('t_failure_right'), '1 2', 'and unblocks when it is granted');
SELECT is((state, failed, dead)::text, '(active,0,0)', 'which is no failure of an event') FROM eda.subscriptions WHERE subscription = 't_failure_right';

-- A role that can no longer log in: a new one, which has no session yet.
CREATE ROLE t_failure_login LOGIN;
GRANT USAGE ON SCHEMA t_failure TO t_failure_login;
GRANT INSERT ON got TO t_failure_login;
ALTER ROLE t_failure_login SET search_path = t_failure;
BEGIN;
SELECT eda.subscribe('t_failure_login', 't_failure.login', 't_failure.take', owner => 't_failure_login') \gset
ALTER ROLE t_failure_login NOLOGIN;
COMMIT;
SELECT eda.publish('t_failure.login', '{"n": 1}') \gset
CALL wait_until($$is_blocked('t_failure_login', 'login')$$);
SELECT matches(blocked_detail, 'ALTER ROLE t_failure_login LOGIN', 'an owner without LOGIN blocks')
  FROM eda.subscriptions WHERE subscription = 't_failure_login';
ALTER ROLE t_failure_login LOGIN;
CALL wait_until($$taken('t_failure_login') = '1'$$);
SELECT is(taken('t_failure_login'), '1', 'and unblocks when it has it again');
-- A role that is gone.
CREATE ROLE t_failure_gone LOGIN;
GRANT USAGE ON SCHEMA t_failure TO t_failure_gone;
SELECT eda.subscribe('t_failure_gone', 't_failure.gone', 't_failure.take', owner => 't_failure_gone') \gset
DROP OWNED BY t_failure_gone;
DROP ROLE t_failure_gone;
SELECT eda.publish('t_failure.gone', '{"n": 1}') \gset
CALL wait_until($$(SELECT state = 'blocked' FROM eda.subscriptions WHERE subscription = 't_failure_gone')$$);
SELECT is(state, 'blocked', 'an owner that is dropped blocks') FROM eda.subscriptions WHERE subscription = 't_failure_gone';
SELECT eda.alter_subscription('t_failure_gone', '{"owner": "t_failure"}') \gset
CALL eda.wait('t_failure_gone');
SELECT is(taken('t_failure_gone'), '1', 'and another owner can have it');

-- Too old when its turn comes.
SELECT eda.subscribe('t_failure_old', 't_failure.old', 't_failure.take', owner => 't_failure', expire_after => '1 s') \gset
SELECT eda.pause('t_failure_old') \gset
SELECT eda.publish_batch('t_failure.old', numbers(1, 2)) \gset
CALL wait_until($$(SELECT max(published_at) < clock_timestamp() - interval '1.01 s' FROM eda.events WHERE topic = 't_failure.old')$$);
SELECT eda.resume('t_failure_old') \gset
CALL eda.wait('t_failure_old');
SELECT results_eq($$SELECT payload ->> 'n', reason, attempts, attempt_history, error_code FROM eda.dead_letters WHERE subscription = 't_failure_old' ORDER BY event_id$$,
    $$VALUES ('1', 'expired', 0, '{}'::timestamptz[], NULL), ('2', 'expired', 0, '{}', NULL)$$, 'expire_after: dead with reason expired, not tried');
SELECT eda.alter_subscription('t_failure_old', '{"expire_after": "1 hour"}') \gset
SELECT eda.redrive_all('t_failure_old') \gset
CALL eda.wait('t_failure_old');
SELECT is(taken('t_failure_old'), '1 2', 'expire_after: a longer one, and they can be redriven');

CALL eda.wait('t_failure_told');
SELECT results_eq($$SELECT payload ->> 'subscription', payload ->> 'reason' FROM told WHERE key NOT IN ('t_failure_block', 't_failure_empty', 't_failure_gone') ORDER BY n$$,
    $$VALUES ('t_failure_handler', 'handler'), ('t_failure_handler', 'handler'), ('t_failure_handler', 'handler'),
             ('t_failure_right', 'privilege'), ('t_failure_right', 'privilege'), ('t_failure_login', 'login')$$,
    'each block was published');

\ir include/end.sql
