-- What handlers publish: correlation, causation, hops; eda's own events; what was never committed.
\set test t_chains
\ir include/begin.sql
SELECT plan(25);

-- a -> b -> c, and a -> c.
CREATE FUNCTION relay(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    IF e.topic = 't_chains.a' THEN
        PERFORM eda.publish('t_chains.b', e.payload);
        PERFORM eda.publish_batch('t_chains.c', ARRAY['{"n": "by a"}', '{"n": "by a"}']::jsonb[]);
    ELSIF e.topic = 't_chains.b' THEN
        PERFORM eda.publish_query('t_chains.c', 'SELECT ''by b'' AS n');
    END IF;
END $$;
SELECT eda.subscribe('t_chains_ab', 't_chains.a,t_chains.b', 't_chains.relay', owner => 't_chains') \gset
SELECT eda.subscribe('t_chains_c', 't_chains.c', 't_chains.take', owner => 't_chains') \gset
SELECT eda.publish('t_chains.a', '{"n": 1}') AS id \gset
CALL eda.wait('t_chains_ab');
CALL eda.wait('t_chains_c');
SELECT results_eq(format('SELECT topic, payload ->> ''n'', correlation_id, causation_id = %1$s, hops, published_by
                            FROM eda.events WHERE id >= %1$s AND topic LIKE ''t\_chains.%%'' ORDER BY hops, id', :'id'),
    format($$VALUES ('t_chains.a', '1', %1$L, NULL::boolean, 0, current_user::regrole), ('t_chains.b', '1', %1$L, true, 1, 't_chains'),
                    ('t_chains.c', 'by a', %1$L, true, 1, 't_chains'), ('t_chains.c', 'by a', %1$L, true, 1, 't_chains'),
                    ('t_chains.c', 'by b', %1$L, false, 2, 't_chains')$$, :'id'),
    'correlation is inherited, causation is the handled event, hops count');
SELECT results_eq(format($$SELECT c.causation_id FROM eda.events c WHERE c.correlation_id = %L AND hops = 2$$, :'id'),
    format($$SELECT b.id FROM eda.events b WHERE b.correlation_id = %L AND b.topic = 't_chains.b'$$, :'id'), 'causation, one step further');
SELECT is(array_agg((payload ->> 'n') || ' ' || hops ORDER BY n), '{by a 1,by a 1,by b 2}', 'the chain is delivered, once')
  FROM got WHERE sub = 't_chains_c';

-- Given ones win, and go down the chain.
SELECT eda.publish('t_chains.a', '{"n": 2}', correlation_id => 'mine', causation_id => 42) AS id \gset
CALL eda.wait();
SELECT results_eq(format($$SELECT topic, correlation_id, CASE causation_id WHEN %1$s THEN 'it' WHEN 42 THEN 'given' ELSE 'other' END, hops
                             FROM eda.events WHERE id >= %1$s AND topic LIKE 't\_chains.%%' ORDER BY hops, id$$, :'id'),
    $$VALUES ('t_chains.a', 'mine', 'given', 0), ('t_chains.b', 'mine', 'it', 1), ('t_chains.c', 'mine', 'it', 1), ('t_chains.c', 'mine', 'it', 1),
             ('t_chains.c', 'mine', 'other', 2)$$, 'correlation and causation that are given');

-- A chain without end.
CREATE FUNCTION forever(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    PERFORM eda.publish('t_chains.forever', jsonb_build_object('n', (e.payload ->> 'n')::int + 1));
END $$;
SELECT eda.subscribe('t_chains_forever', 't_chains.forever', 't_chains.forever', owner => 't_chains') \gset
SELECT eda.publish('t_chains.forever', '{"n": 0}') AS id \gset
CALL eda.wait('t_chains_forever');
SELECT is(taken('t_chains_forever'), string_agg(i::text, ' ' ORDER BY i), 'a chain is stopped after eda.max_hops')
  FROM generate_series(0, current_setting('eda.max_hops')::int - 1) i;
SELECT results_eq($$SELECT reason, attempts, error_code, payload FROM eda.dead_letters WHERE subscription = 't_chains_forever'$$,
    $$SELECT 'hops', 1, 'ED004', jsonb_build_object('n', current_setting('eda.max_hops')::int)$$, 'and ends as a dead letter with reason hops, at once');

-- System events: eda.dead_letter.
CREATE TABLE told (payload jsonb, key text, correlation_id text, causation_id bigint, id bigint);
CREATE FUNCTION tell(e eda.event) RETURNS void LANGUAGE sql AS $$
    INSERT INTO told SELECT e.payload, e.key, e.correlation_id, e.causation_id, e.id;
$$;
CREATE FUNCTION fail(e eda.event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'broken' USING ERRCODE = 'XX999'; END$$;
SELECT eda.subscribe('t_chains_told', 'eda.dead_letter', 't_chains.tell', owner => 't_chains', filter => '$.subscription starts with "t_chains_"') \gset
-- somebody who fails at that, too
SELECT eda.subscribe('t_chains_told2', 'eda.dead_letter', 't_chains.fail', owner => 't_chains', max_attempts => 1,
                     filter => '$.subscription starts with "t_chains_"') \gset
SELECT eda.subscribe('t_chains_all', '#', 't_chains.take', owner => 't_chains') \gset
SELECT eda.subscribe('t_chains_dead', 't_chains.dead', 't_chains.fail', owner => 't_chains', max_attempts => 1) \gset
SELECT eda.publish('t_chains.dead', '{"secret": 1}', 'key 1', '{"h": 1}', correlation_id => 'the order') AS id \gset
CALL eda.wait('t_chains_dead');
CALL eda.wait('t_chains_told');
CALL eda.wait('t_chains_told2');
CALL eda.wait('t_chains_all');
SELECT results_eq('SELECT payload, correlation_id, causation_id FROM told',
    format($$VALUES (jsonb_build_object('subscription', 't_chains_dead', 'event_id', %1$s, 'topic', 't_chains.dead', 'key', 'key 1', 'reason', 'max_attempts',
                                        'error_code', 'XX999', 'error_condition', 'internal_error',
                                        'error_where', 'PL/pgSQL function fail(eda.event) line 1 at RAISE'), 'the order', %1$s::bigint)$$, :'id'),
    'eda.dead_letter: what died and why, not the payload');
SELECT is(dead, 1::bigint, 'eda.dead_letter: its own subscriber can fail') FROM eda.subscriptions WHERE subscription = 't_chains_told2';
SELECT is(count(*), 0::bigint, 'eda.dead_letter: which publishes no further one') FROM eda.events
 WHERE topic = 'eda.dead_letter' AND payload ->> 'subscription' = 't_chains_told2';
SELECT is(count(*), 0::bigint, 'no wildcard matches eda''s own topics') FROM got WHERE sub = 't_chains_all' AND topic LIKE 'eda%';
SELECT is(count(*), 1::bigint, 'but # does match all others') FROM got WHERE sub = 't_chains_all' AND id = :id;
SELECT throws_ok($$SELECT eda.publish('eda.dead_letter')$$, 'ED002', NULL, 'nobody else publishes on them');
-- the correlation of an event that has none of its own
SELECT eda.publish('t_chains.dead') AS id \gset
CALL eda.wait('t_chains_dead');
CALL eda.wait('t_chains_told');
SELECT is(correlation_id, :'id', 'eda.dead_letter: correlated with the event that died') FROM told WHERE causation_id = :id;
SELECT eda.unsubscribe('t_chains_all') \gset

-- What a handler publishes is published if and only if its event is handled.
CREATE SEQUENCE calls;
CREATE FUNCTION publish_and_fail(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM eda.publish('t_chains.effect', e.payload);
    IF nextval('calls') < 4 AND e.payload ->> 'n' = '3' OR e.payload ->> 'n' = '5' THEN
        RAISE EXCEPTION 'after publishing';
    END IF;
END $$;
SELECT eda.subscribe('t_chains_effect', 't_chains.effect', 't_chains.take', owner => 't_chains') \gset
SELECT eda.subscribe('t_chains_cause', 't_chains.cause', 't_chains.publish_and_fail', owner => 't_chains', max_attempts => 5, backoff => '5 ms') \gset
SELECT eda.publish_batch('t_chains.cause', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 6) n)) \gset
CALL wait_until($$(SELECT count(*) FROM got WHERE sub = 't_chains_effect') >= 5 AND (SELECT count(*) FROM eda.dead_letters WHERE subscription = 't_chains_cause') = 1$$);
CALL eda.wait('t_chains_effect');
SELECT is(array_agg(payload ->> 'n' ORDER BY payload ->> 'n'), '{1,2,3,4,6}', 'what a handler publishes is delivered once, whatever was tried')
  FROM got WHERE sub = 't_chains_effect';
SELECT is(count(*), 5::bigint, 'and the log has no other') FROM eda.log l, eda.subscription s
 WHERE l.topic = 't_chains.effect' AND s.name = 't_chains_effect' AND l.id > s.start_id;

-- What was never committed is never delivered.
SELECT eda.subscribe('t_chains_tx', 't_chains.tx', 't_chains.take', owner => 't_chains') \gset
BEGIN;
SELECT eda.publish('t_chains.tx', '{"n": "rolled back"}') AS rolled_back \gset
ROLLBACK;
BEGIN;
SELECT eda.publish('t_chains.tx', '{"n": 1}') \gset
SAVEPOINT a;
SELECT eda.publish('t_chains.tx', '{"n": "rolled back to a"}') AS in_a \gset
SAVEPOINT b;
SELECT eda.publish_batch('t_chains.tx', '{"{\"n\": \"in b\"}","{\"n\": \"in b\"}"}') \gset
RELEASE b;
ROLLBACK TO a;
SELECT eda.publish('t_chains.tx', '{"n": 2}') \gset
SAVEPOINT c;
SELECT eda.publish('t_chains.tx', '{"n": 3}') \gset
RELEASE c;
SELECT eda.publish_query('t_chains.tx', 'SELECT i AS n FROM generate_series(4, 5) i') \gset
COMMIT;
DO $$
BEGIN
    PERFORM eda.publish('t_chains.tx', '{"n": 6}');
    BEGIN
        PERFORM eda.publish('t_chains.tx', '{"n": "in a block"}');
        RAISE EXCEPTION 'undo';
    EXCEPTION WHEN raise_exception THEN
        PERFORM eda.publish('t_chains.tx', '{"n": 7}');
    END;
END $$;
DO $$BEGIN
    PERFORM eda.publish('t_chains.tx', '{"n": 8}');
    COMMIT;
    PERFORM eda.publish('t_chains.tx', '{"n": "rolled back in a block"}');
    ROLLBACK;
    PERFORM eda.publish('t_chains.tx', '{"n": 9}');
END$$;
CALL eda.wait('t_chains_tx');
SELECT is(taken('t_chains_tx'), '1 2 3 4 5 6 7 8 9', 'a rolled-back publish, and one in a rolled-back savepoint, is never delivered');
SELECT is(count(*), 9::bigint, 'nor is it in eda.events') FROM eda.events e, eda.subscription s
 WHERE e.topic = 't_chains.tx' AND s.name = 't_chains_tx' AND e.id > s.start_id;
SELECT is_empty(format('SELECT * FROM eda.trace(%s)', :'rolled_back'), 'nor known to eda.trace');
-- the same when the savepoint's events come first and are many
BEGIN;
SAVEPOINT a;
SELECT eda.publish_query('t_chains.tx', 'SELECT ''undone'' AS n FROM generate_series(1, 3000) i') \gset
ROLLBACK TO a;
SELECT eda.publish('t_chains.tx', '{"n": 10}') \gset
COMMIT;
CALL eda.wait('t_chains_tx');
SELECT is(taken('t_chains_tx'), '1 2 3 4 5 6 7 8 9 10', 'many of them');
-- a failed statement, a failed commit
\set ON_ERROR_STOP off
SELECT eda.publish('t_chains.tx', '{"n": "and fail"}'), 1 / 0;
CREATE TABLE once (n int UNIQUE DEFERRABLE INITIALLY DEFERRED);
BEGIN;
SELECT eda.publish('t_chains.tx', '{"n": "commit fails"}') \gset
INSERT INTO once VALUES (1), (1);
COMMIT;
\set ON_ERROR_STOP on
SELECT eda.publish('t_chains.tx', '{"n": 11}') \gset
CALL eda.wait('t_chains_tx');
SELECT is(taken('t_chains_tx'), '1 2 3 4 5 6 7 8 9 10 11', 'nor one whose statement or commit failed');

-- Publishing from a trigger, and at commit.
CREATE TABLE orders (n int);
CREATE FUNCTION publish_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM eda.publish('t_chains.tx', jsonb_build_object('n', NEW.n));
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION publish_order();
INSERT INTO orders VALUES (12), (13);
CALL eda.wait('t_chains_tx');
SELECT is(taken('t_chains_tx'), '1 2 3 4 5 6 7 8 9 10 11 12 13', 'published by a deferred trigger');

-- Idempotency: the same key is the same event.
SELECT eda.subscribe('t_chains_idem', 't_chains.idem.*', 't_chains.take', owner => 't_chains') \gset
SELECT 'k' || pg_current_xact_id() AS k \gset
SELECT eda.publish('t_chains.idem.a', '{"n": 1}', idempotency_key => :'k') AS id \gset
SELECT is(eda.publish('t_chains.idem.a', '{"n": 1}', idempotency_key => :'k'), :id::bigint, 'idempotency: the first event''s id');
SELECT throws_ok(format($$SELECT eda.publish('t_chains.idem.a', '{"n": 2}', idempotency_key => %L)$$, :'k'), 'ED005', NULL, 'idempotency: another payload');
SELECT isnt(eda.publish('t_chains.idem.b', '{"n": 3}', idempotency_key => :'k'), :id::bigint, 'idempotency: another topic is another matter');
BEGIN;
SELECT eda.publish('t_chains.idem.a', '{"n": 4}', idempotency_key => :'k' || 'x') \gset
ROLLBACK;
SELECT eda.publish('t_chains.idem.a', '{"n": 5}', idempotency_key => :'k' || 'x') \gset
CALL eda.wait('t_chains_idem');
SELECT is(taken('t_chains_idem'), '1 3 5', 'idempotency: a key that was rolled back is free');

\ir include/end.sql
