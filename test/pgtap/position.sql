-- eda.seek, eda.replay and eda.redrive: what is delivered after them, in which order, and that many waiting events are no burden.
\set test t_position
\ir include/begin.sql
SELECT plan(46);
SELECT 't_position.r' || pg_current_xact_id() AS r \gset

CREATE TABLE fault (sub text, n text);
CREATE FUNCTION shaky(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM fault f WHERE f.sub = e.subscription AND f.n = e.payload ->> 'n') THEN
        RAISE EXCEPTION USING MESSAGE = 'faulty: ' || (e.payload ->> 'n'), ERRCODE = coalesce(e.payload ->> 'code', 'P0001');
    END IF;
    PERFORM take(e);
END $$;
-- keys a b c in turn, every fourth without one
CREATE FUNCTION put(topic text, first int, last int) RETURNS bigint LANGUAGE sql AS $$
    SELECT cardinality(eda.publish_batch(topic, array_agg(jsonb_build_object('n', i) ORDER BY i),
                                         array_agg((ARRAY['a', 'b', 'c', NULL])[1 + i % 4] ORDER BY i)))
      FROM generate_series(first, last) i;
$$;
CREATE FUNCTION id(topic text, n int) RETURNS bigint LANGUAGE sql AS $$
    SELECT max(e.id) FROM eda.events e WHERE e.topic = $1 AND e.payload ->> 'n' = $2::text;
$$;
CREATE FUNCTION retrying(sub text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(e.payload ->> 'n', ' ' ORDER BY r.event_id), '') FROM eda.retries r JOIN eda.events e ON e.id = r.event_id WHERE r.subscription = sub;
$$;
CREATE FUNCTION dead(sub text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(d.payload ->> 'n', ' ' ORDER BY d.event_id), '') FROM eda.dead_letters d WHERE d.subscription = sub;
$$;
-- Of what was taken since n: in how many keys is the order of the ids not kept?
CREATE FUNCTION out_of_order(of_sub text, since bigint DEFAULT 0) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(DISTINCT key) FROM (SELECT key, id, lag(id) OVER (PARTITION BY key ORDER BY n) AS before
                                       FROM got WHERE sub = of_sub AND n > since AND key IS NOT NULL) x WHERE before >= id;
$$;

-- Seek: each pass has what it should have, as new events.
SELECT put(:'r' || '.a', 1, 8) \gset
SELECT eda.subscribe('t_position_seek', :'r' || '.a', 't_position.shaky', ordering => 'strict', owner => 't_position', start => 'earliest') \gset
CALL eda.wait('t_position_seek');
SELECT is(eda.seek('t_position_seek', 'earliest'), -8::bigint, 'seek earliest');
CALL eda.wait('t_position_seek');
SELECT is(taken('t_position_seek'), '1 2 3 4 5 6 7 8 1 2 3 4 5 6 7 8', 'everything comes again');
SELECT is(eda.seek('t_position_seek', id(:'r' || '.a', 6)), -3::bigint, 'seek to an id');
CALL eda.wait('t_position_seek');
SELECT is(taken('t_position_seek'), '1 2 3 4 5 6 7 8 1 2 3 4 5 6 7 8 6 7 8', 'that one and all behind it come again');
SELECT results_eq($$SELECT DISTINCT attempt, redelivered FROM got WHERE sub = 't_position_seek'$$, $$VALUES (1, false)$$, 'as new events');
SELECT is((handled, backlog)::text, '(19,0)', 'counted') FROM eda.subscriptions WHERE subscription = 't_position_seek';
SELECT clock_timestamp() AS t \gset
SELECT put(:'r' || '.a', 9, 10) \gset
CALL eda.wait('t_position_seek');
DELETE FROM got;
SELECT is(eda.seek('t_position_seek', :'t'::timestamptz), -2::bigint, 'seek to a time');
SELECT put(:'r' || '.a', 11, 12) \gset
CALL eda.wait('t_position_seek');
SELECT is(taken('t_position_seek'), '9 10 11 12', 'what was published since comes again, and what is published now');
SELECT is(eda.seek('t_position_seek', clock_timestamp() + '1 hour'), 0::bigint, 'seek to a time in the future');
SELECT put(:'r' || '.a', 13, 13) \gset
CALL eda.wait('t_position_seek');
SELECT is(taken('t_position_seek'), '9 10 11 12', 'nothing comes until then');
SELECT is(eda.seek('t_position_seek', id(:'r' || '.a', 12)), -2::bigint, 'and back');
CALL eda.wait('t_position_seek');
SELECT is(taken('t_position_seek'), '9 10 11 12 12 13', 'a start in the future is over with the next seek');
-- a paused one skips
DELETE FROM got;
SELECT eda.pause('t_position_seek') \gset
SELECT put(:'r' || '.a', 14, 16) \gset
SELECT is(eda.seek('t_position_seek', 'latest'), 3::bigint, 'seek latest, while it is paused');
SELECT eda.resume('t_position_seek') \gset
SELECT put(:'r' || '.a', 17, 17) \gset
CALL eda.wait('t_position_seek');
SELECT is(taken('t_position_seek'), '17', 'skips what has waited');

-- Waiting events: from before the position they go on, from behind it they come from the log.
INSERT INTO fault SELECT 't_position_wait', n FROM unnest('{1,6,9}'::int[]) n;
SELECT eda.subscribe('t_position_wait', :'r' || '.b', 't_position.shaky', backoff => '1 hour', block_after => 1000, owner => 't_position') \gset
SELECT put(:'r' || '.b', 1, 16) \gset
CALL eda.wait('t_position_wait');
-- keys: b 1 5 9 13, c 2 6 10 14, without 3 7 11 15, a 4 8 12 16
SELECT is(taken('t_position_wait'), '2 3 4 7 8 11 12 15 16', 'two keys wait');
SELECT is(retrying('t_position_wait'), '1 5 6 9 10 13 14', 'with those behind them');
BEGIN;
SELECT eda.seek('t_position_wait', id(:'r' || '.b', 8)) \gset
SELECT is(retrying('t_position_wait'), '1 5 6', 'seek: what comes again from the log does not wait any more');
COMMIT;
CALL eda.wait('t_position_wait');
SELECT is(taken('t_position_wait'), '2 3 4 7 8 11 12 15 16 8 11 12 15 16', 'what was handled comes again');
SELECT is(retrying('t_position_wait'), '1 5 6 9 10 13 14', 'what belongs to a key that waits waits again');
DELETE FROM fault;
DELETE FROM got;
-- the first of each queue is due at once by a redrive; here by seek, whose log brings them all
SELECT is(eda.seek('t_position_wait', 'earliest'), -16::bigint, 'seek earliest');
CALL eda.wait('t_position_wait');
SELECT results_eq($$SELECT count(*), count(DISTINCT id), out_of_order('t_position_wait') FROM got WHERE sub = 't_position_wait'$$,
    $$VALUES (16::bigint, 16::bigint, 0::bigint)$$, 'each comes once, in the order of its key');
SELECT is(retrying('t_position_wait'), '', 'and nothing waits');

-- Replay: of a period, into one subscription, filtered, as redelivered.
SELECT eda.subscribe('t_position_replay', :'r' || '.*', 't_position.take', filter => '$.n != 4', concurrency => 4, owner => 't_position') \gset
SELECT clock_timestamp() AS since \gset
SELECT put(:'r' || '.c', 1, 12) \gset
SELECT put(:'r' || '.d', 13, 14) \gset
SELECT clock_timestamp() AS until \gset
SELECT put(:'r' || '.c', 15, 16) \gset
CALL eda.wait('t_position_replay');
DELETE FROM got;
SELECT is(eda.replay('t_position_replay', :'since', :'until'), 14::bigint, 'replay of a period');
CALL eda.wait('t_position_replay');
SELECT results_eq($$SELECT count(*), min((payload ->> 'n')::int), max((payload ->> 'n')::int), out_of_order('t_position_replay') FROM got$$,
    $$VALUES (13::bigint, 1, 14, 0::bigint)$$, 'only what was published then comes again, in the order of their keys, and the filter counts');
SELECT results_eq($$SELECT DISTINCT attempt, redelivered FROM got$$, $$VALUES (1, true)$$, 'as redelivered, at the first attempt');
SELECT is(eda.replay('t_position_replay', :'since', topics => :'r' || '.d'), 2::bigint, 'replay of a topic');
CALL eda.wait('t_position_replay');
SELECT is((retrying, dead)::text, '(0,0)', 'and nothing is left') FROM eda.subscriptions WHERE subscription = 't_position_replay';
-- one that fails then is retried, and those of its key wait behind it
INSERT INTO fault VALUES ('t_position_wait', '5');
DELETE FROM got;
SELECT is(eda.replay('t_position_wait', '-infinity', :'since', :'r' || '.b'), 16::bigint, 'replay into one that fails');
CALL eda.wait('t_position_wait');
SELECT is(retrying('t_position_wait'), '5 9 13', 'a replayed event that fails waits, and so do those of its key');
-- what waits already and what is dead is not replayed
SELECT is(eda.skip('t_position_wait', id(:'r' || '.b', 5)), true, 'one of them is given up');
CALL wait_until($$retrying('t_position_wait') = ''$$);
DELETE FROM got;
SELECT is(eda.replay('t_position_wait', '-infinity', 'infinity', :'r' || '.b'), 15::bigint, 'a dead letter is not replayed');
CALL eda.wait('t_position_wait');
SELECT is(dead('t_position_wait'), '5', 'and stays');
SELECT is(eda.redrive_all('t_position_wait'), 1::bigint, 'it is for eda.redrive');
DELETE FROM fault;

-- A dead letter and a seek back: it is delivered again; if it dies again there is one dead letter.
INSERT INTO fault VALUES ('t_position_dead', '2'), ('t_position_dead', '3');
SELECT eda.subscribe('t_position_dead', :'r' || '.e', 't_position.shaky', max_attempts => 1, owner => 't_position') \gset
SELECT put(:'r' || '.e', 1, 4) \gset
CALL eda.wait('t_position_dead');
SELECT is(dead('t_position_dead'), '2 3', 'dead letters');
DELETE FROM fault WHERE n = '2';
SELECT eda.seek('t_position_dead', id(:'r' || '.e', 1)) \gset
CALL eda.wait('t_position_dead');
SELECT is(taken('t_position_dead') || ', ' || dead('t_position_dead'), '1 4 1 2 4, 2 3', 'a seek back delivers them again, and leaves the dead letters');
DELETE FROM fault;
SELECT is(eda.redrive_all('t_position_dead'), 2::bigint, 'until they are redriven');
CALL eda.wait('t_position_dead');
SELECT is(dead('t_position_dead'), '', 'and handled');

-- Redrive, when the number of lanes has changed since they died.
INSERT INTO fault SELECT 't_position_lanes', n FROM generate_series(1, 40) n;
SELECT eda.subscribe('t_position_lanes', :'r' || '.f', 't_position.shaky', max_attempts => 1, concurrency => 5, block_after => 1000, owner => 't_position') \gset
SELECT cardinality(eda.publish_batch(:'r' || '.f', array_agg(jsonb_build_object('n', i) ORDER BY i), array_agg('k' || i % 8 ORDER BY i))) FROM generate_series(1, 40) i \gset
CALL wait_until($$dead('t_position_lanes') <> '' AND (SELECT dead = 40 FROM eda.subscriptions WHERE subscription = 't_position_lanes')$$);
DELETE FROM fault;
UPDATE eda.dead_letter SET lane = 77;   -- as if nobody had looked after them
SELECT eda.alter_subscription('t_position_lanes', '{"concurrency": 2}') \gset
CALL wait_until($$(SELECT lanes = 2 FROM eda.subscriptions WHERE subscription = 't_position_lanes')$$);
UPDATE eda.dead_letter SET lane = 77;
SELECT is(eda.redrive_all('t_position_lanes'), 40::bigint, 'redrive after the number of lanes has changed');
CALL eda.wait('t_position_lanes');
SELECT results_eq($$SELECT count(*), count(DISTINCT id), out_of_order('t_position_lanes') FROM got WHERE sub = 't_position_lanes'$$,
    $$VALUES (40::bigint, 40::bigint, 0::bigint)$$, 'each takes effect once, in the order of its key');

-- Not by a handler of the same subscription.
CREATE FUNCTION meddle(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE e.payload ->> 'do';
    PERFORM take(e);
END $$;
SELECT eda.subscribe('t_position_self', :'r' || '.g', 't_position.meddle', max_attempts => 1, owner => 't_position') \gset
SELECT eda.publish(:'r' || '.g', '{"do": "SELECT eda.seek(''t_position_self'', ''latest'')"}') \gset
SELECT eda.publish(:'r' || '.g', '{"do": "SELECT eda.replay(''t_position_self'', ''-infinity'')"}') \gset
SELECT eda.publish(:'r' || '.g', '{"do": "SELECT eda.seek(''t_position_seek'', ''latest'')"}') \gset
CALL eda.wait('t_position_self');
SELECT results_eq($$SELECT error_code, error_message FROM eda.dead_letters WHERE subscription = 't_position_self' ORDER BY event_id$$,
    $$VALUES ('ED023', 'eda.seek() is not possible in a handler of the same subscription'), ('ED023', 'eda.replay() is not possible in a handler of the same subscription')$$,
    'a handler cannot move its own subscription');
SELECT is((SELECT count(*) FROM got WHERE sub = 't_position_self'), 1::bigint, 'but another one');

-- A failing subscription is blocked at an event; a seek past it lets it go on.
INSERT INTO fault VALUES ('t_position_stuck', '1');
SELECT eda.subscribe('t_position_stuck', :'r' || '.h', 't_position.shaky', ordering => 'strict', backoff => '5 ms', max_backoff => '5 ms', block_after => 2, owner => 't_position') \gset
SELECT put(:'r' || '.h', 1, 3) \gset
CALL wait_until($$(SELECT state = 'blocked' FROM eda.subscriptions WHERE subscription = 't_position_stuck')$$);
BEGIN;
SELECT eda.seek('t_position_stuck', id(:'r' || '.h', 1)) \gset
SELECT is(retrying('t_position_stuck'), '', 'the event that blocks is in the log again');
COMMIT;
SELECT eda.seek('t_position_stuck', id(:'r' || '.h', 2)) \gset
CALL wait_until($$taken('t_position_stuck') = '2 3'$$);
SELECT is((state, retrying)::text, '(active,0)', 'and is passed by a seek') FROM eda.subscriptions WHERE subscription = 't_position_stuck';

-- Many waiting events, of one key, of many, and without: a batch costs no more for them.
SELECT eda.subscribe('t_position_many', :'r' || '.i', 't_position.take', owner => 't_position') \gset
SELECT clock_timestamp() AS many_at \gset
SELECT eda.publish_query(:'r' || '.i', 'SELECT i AS n, CASE i % 3 WHEN 0 THEN ''one'' WHEN 1 THEN ''k'' || i END AS k FROM generate_series(1, 15000) i', key_column => 'k') \gset
CALL eda.wait('t_position_many');
SELECT max(n) AS last FROM got \gset
SELECT clock_timestamp() AS begun \gset
SELECT is(eda.replay('t_position_many', :'many_at'), 15000::bigint, 'replay of many');
CALL eda.wait('t_position_many');
SELECT results_eq(format($$SELECT count(*), count(DISTINCT id), out_of_order('t_position_many', %s) FROM got WHERE sub = 't_position_many' AND n > %1$s$$, :'last'),
    $$VALUES (15000::bigint, 15000::bigint, 0::bigint)$$, 'each comes once, in the order of its key');
SELECT cmp_ok(clock_timestamp() - :'begun', '<', interval '20 s', 'and they do not hold each other up');
\ir include/end.sql
