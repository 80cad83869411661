-- Set-wise handlers: a call that fails is narrowed down to the events at fault.
\set test t_sets
\ir include/begin.sql
SELECT plan(46);

-- What is to fail now, by subscription and "n" of the payload ('*': everything).
CREATE TABLE fault (sub text, n text);
-- No rollback takes back what a sequence counts.
CREATE SEQUENCE calls;
CREATE TABLE sizes (sub text, n int, xid xid8 DEFAULT pg_current_xact_id());
CREATE FUNCTION take_set(es eda.event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('calls');
    INSERT INTO sizes VALUES (es[1].subscription, cardinality(es));
    INSERT INTO got (sub, id, key, payload, attempt, redelivered)
    SELECT (e).subscription, (e).id, (e).key, (e).payload, (e).attempt, (e).redelivered FROM unnest(es) WITH ORDINALITY
        AS e(id, topic, key, payload, headers, published_at, published_by, correlation_id, causation_id, hops, subscription, attempt,
             max_attempts, redelivered, lease_id, o) ORDER BY o;
    IF EXISTS (SELECT FROM unnest(es) e JOIN fault f ON f.sub = e.subscription AND f.n IN ('*', e.payload ->> 'n')) THEN
        RAISE EXCEPTION 'one of % is faulty', cardinality(es);
    END IF;
END $$;
CREATE FUNCTION numbers(first int, last int) RETURNS jsonb[] LANGUAGE sql AS $$
    SELECT array_agg(jsonb_build_object('n', i) ORDER BY i) FROM generate_series(first, last) i;
$$;
CREATE FUNCTION series(first int, last int, VARIADIC but int[] DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(i::text, ' ' ORDER BY i), '') FROM generate_series(first, last) i WHERE i <> ALL (but);
$$;
CREATE FUNCTION dead(sub text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(payload ->> 'n', ' ' ORDER BY event_id), '') FROM eda.dead_letters d WHERE d.subscription = sub;
$$;
CREATE FUNCTION waiting(sub text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg((e.payload ->> 'n') || CASE WHEN next_attempt_at IS NULL THEN 'p' ELSE '' END, ' ' ORDER BY e.id), '')
      FROM eda.retries r JOIN eda.events e ON e.id = event_id WHERE r.subscription = sub;
$$;
CREATE FUNCTION calls() RETURNS bigint LANGUAGE sql AS $$SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM calls$$;

-- One event at fault, wherever it is.
SELECT eda.subscribe('t_sets_one', 't_sets.one', 't_sets.take_set', owner => 't_sets', max_attempts => 1) \gset
CREATE TABLE cost (place int, calls bigint);
CREATE PROCEDURE measure() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..32 LOOP
        TRUNCATE fault;
        INSERT INTO fault VALUES ('t_sets_one', i);
        ALTER SEQUENCE calls RESTART;
        PERFORM eda.publish_batch('t_sets.one', numbers(1, 32));
        COMMIT;
        CALL wait_until(format($c$(SELECT handled = 31 * %1$s AND dead = %1$s FROM eda.subscriptions WHERE subscription = 't_sets_one')$c$, i));
        INSERT INTO cost VALUES (i, calls());
    END LOOP;
END $$;
CALL measure();
SELECT collect_tap(
        is(count(*), 32::bigint, 'one at fault: measured at each place'),
        cmp_ok(max(calls), '<=', 14::bigint, 'one at fault among 32: no more than 2 log2(32) + 4 calls'),
        cmp_ok(max(calls), '>', 6::bigint, 'and it is found, not guessed')) FROM cost;
SELECT is(dead('t_sets_one'), series(1, 32), 'one at fault: which is the one that dies, alone');
SELECT is(count(*), 0::bigint, 'one at fault: its neighbours take effect once, in order')
  FROM (SELECT id, lag(id) OVER (ORDER BY n) AS before FROM got WHERE sub = 't_sets_one') x WHERE before >= id;
SELECT is((handled, filtered, failed, retrying, dead)::text, '(992,0,32,0,32)', 'one at fault: counted') FROM eda.subscriptions WHERE subscription = 't_sets_one';

-- A large batch.
ALTER SEQUENCE calls RESTART;
INSERT INTO fault VALUES ('t_sets_large', '1777');
SELECT eda.subscribe('t_sets_large', 't_sets.large', 't_sets.take_set', owner => 't_sets', max_attempts => 1, batch_size => 2000) \gset
SELECT eda.publish_batch('t_sets.large', numbers(1, 2000)) \gset
CALL eda.wait('t_sets_large');
SELECT is(taken('t_sets_large'), series(1, 2000, 1777), 'one at fault among 2,000: the others take effect once, in order');
SELECT cmp_ok(calls(), '<=', 30::bigint, 'in 2 log2(n) calls');
SELECT is(dead('t_sets_large'), '1777', 'and it is dead');

-- Several, neighbours too.
INSERT INTO fault SELECT 't_sets_several', unnest('{1,2,3,50,51,99,100}'::int[]);
SELECT eda.subscribe('t_sets_several', 't_sets.several', 't_sets.take_set', owner => 't_sets', max_attempts => 1) \gset
SELECT eda.publish_batch('t_sets.several', numbers(1, 120)) \gset
CALL eda.wait('t_sets_several');
SELECT is(taken('t_sets_several'), series(1, 120, 1, 2, 3, 50, 51, 99, 100), 'several at fault: the others take effect once, in order');
SELECT is(dead('t_sets_several'), '1 2 3 50 51 99 100', 'several at fault: they are dead');
SELECT results_eq($$SELECT DISTINCT error_message, attempts, error_context FROM eda.dead_letters WHERE subscription = 't_sets_several'$$,
    $$VALUES ('one of 1 is faulty', 1, 'PL/pgSQL function take_set(eda.event[]) line 10 at RAISE')$$, 'with the error of a call of their own, the lost ones no attempts');
SELECT is((handled, failed, dead)::text, '(113,7,7)', 'several at fault: counted') FROM eda.subscriptions WHERE subscription = 't_sets_several';

-- All of them: one call each, a bounded number of subtransactions in a transaction.
ALTER SEQUENCE calls RESTART;
INSERT INTO fault VALUES ('t_sets_all', '*');
SELECT eda.subscribe('t_sets_all', 't_sets.all', 't_sets.take_set', owner => 't_sets', max_attempts => 1, block_after => 100000, batch_size => 200) \gset
SELECT eda.publish_batch('t_sets.all', numbers(1, 200)) \gset
CALL eda.wait('t_sets_all');
SELECT is(dead('t_sets_all'), series(1, 200), 'all at fault: all are dead, in order');
SELECT cmp_ok(calls(), '<=', 220::bigint, 'all at fault: a call each, and few more');
SELECT cmp_ok(max(c), '<=', 50::bigint, 'at most 50 subtransactions a transaction')
  FROM (SELECT count(*) AS c FROM eda.dead_letter d JOIN eda.subscription s USING (subscription_id) WHERE name = 't_sets_all' GROUP BY d.xmin::text) x;

-- Afterwards whole batches again.
TRUNCATE fault, sizes;
SELECT eda.publish_batch('t_sets.all', numbers(201, 300)) \gset
CALL eda.wait('t_sets_all');
SELECT cmp_ok(max(n), '>', 50, 'after that it gets whole batches again') FROM sizes WHERE sub = 't_sets_all';

-- Keys: what is behind the event at fault waits, also what was in its set.
INSERT INTO fault VALUES ('t_sets_key', '5');
SELECT eda.subscribe('t_sets_key', 't_sets.key', 't_sets.take_set', owner => 't_sets', backoff => '1 hour') \gset
SELECT eda.publish_batch('t_sets.key', numbers(1, 20), array_agg('k' || i % 4 ORDER BY i)) FROM generate_series(1, 20) i \gset
CALL eda.wait('t_sets_key');
SELECT is(taken('t_sets_key'), series(1, 20, 5, 9, 13, 17), 'key: the others go on');
SELECT is(waiting('t_sets_key'), '5 9p 13p 17p', 'key: those of its key are parked behind it');
SELECT eda.publish_batch('t_sets.key', numbers(21, 24), '{k1,k2,k1,k3}') \gset
CALL eda.wait('t_sets_key');
SELECT is(taken('t_sets_key') || ', ' || waiting('t_sets_key'), series(1, 24, 5, 9, 13, 17, 21, 23) || ', 5 9p 13p 17p 21p 23p', 'key: and those that come later');
TRUNCATE fault;
SELECT eda.skip('t_sets_key', event_id) FROM eda.retries WHERE subscription = 't_sets_key' AND next_attempt_at IS NOT NULL \gset
CALL eda.wait('t_sets_key');
SELECT is((SELECT string_agg(payload ->> 'n', ' ' ORDER BY n) FROM got WHERE sub = 't_sets_key' AND key = 'k1'), '1 9 13 17 21 23', 'key: in order, when it is through');
SELECT is((handled, failed, dead, retrying)::text, '(23,1,1,0)', 'key: counted') FROM eda.subscriptions WHERE subscription = 't_sets_key';

-- Strict: everything behind it.
INSERT INTO fault VALUES ('t_sets_strict', '7');
SELECT eda.subscribe('t_sets_strict', 't_sets.strict', 't_sets.take_set', owner => 't_sets', backoff => '1 hour', ordering => 'strict') \gset
SELECT eda.publish_batch('t_sets.strict', numbers(1, 20)) \gset
CALL wait_until($$waiting('t_sets_strict') = '7'$$);
SELECT is(taken('t_sets_strict') || ', ' || waiting('t_sets_strict'), series(1, 6) || ', 7', 'strict: nothing passes the event at fault');
SELECT eda.skip('t_sets_strict', event_id) FROM eda.retries WHERE subscription = 't_sets_strict' \gset
CALL eda.wait('t_sets_strict');
SELECT is(taken('t_sets_strict'), series(1, 20, 7), 'strict: the others follow in order');

-- Filters: an error in one is its event's failure alone, what it holds back is counted; and what is too old goes apart.
INSERT INTO fault VALUES ('t_sets_filter', '13');
SELECT eda.subscribe('t_sets_filter', 't_sets.filter', 't_sets.take_set', filter => 'strict $.pass ? (@ == true)', owner => 't_sets', max_attempts => 1) \gset
SELECT eda.publish_batch('t_sets.filter', array_agg(CASE WHEN i IN (4, 5, 17) THEN jsonb_build_object('n', i)
                                                         ELSE jsonb_build_object('n', i, 'pass', i % 3 <> 0) END ORDER BY i)) FROM generate_series(1, 30) i \gset
CALL eda.wait('t_sets_filter');
SELECT is(taken('t_sets_filter'), (SELECT string_agg(i::text, ' ' ORDER BY i) FROM generate_series(1, 30) i WHERE i NOT IN (4, 5, 17, 13) AND i % 3 <> 0),
    'filter: the others take effect once');
SELECT results_eq($$SELECT payload ->> 'n', error_code FROM eda.dead_letters WHERE subscription = 't_sets_filter' ORDER BY event_id$$,
    $$VALUES ('4', '2203A'), ('5', '2203A'), ('13', 'P0001'), ('17', '2203A')$$, 'filter: an error in it is that event''s alone');
SELECT is((handled, filtered, failed)::text, '(16,10,4)', 'filter: counted') FROM eda.subscriptions WHERE subscription = 't_sets_filter';

-- The handler's own word is about the event that is alone in the call.
CREATE FUNCTION words(es eda.event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take_set(es);
    IF EXISTS (SELECT FROM unnest(es) e WHERE e.payload ->> 'n' = '3') THEN PERFORM eda.reject('three'); END IF;
    IF EXISTS (SELECT FROM unnest(es) e WHERE e.payload ->> 'n' = '8') THEN PERFORM eda.snooze('1 hour'); END IF;
END $$;
SELECT eda.subscribe('t_sets_words', 't_sets.words', 't_sets.words', owner => 't_sets') \gset
SELECT eda.publish_batch('t_sets.words', numbers(1, 10)) \gset
CALL eda.wait('t_sets_words');
SELECT is(concat_ws(', ', taken('t_sets_words'), dead('t_sets_words'), waiting('t_sets_words')), '1 2 4 5 6 7 9 10, 3, 8', 'eda.reject and eda.snooze');

-- A failure row blocks; successes between do not let it.
INSERT INTO fault SELECT 't_sets_streak', i FROM generate_series(1, 40) i WHERE i % 3 <> 0;
SELECT eda.subscribe('t_sets_streak', 't_sets.streak', 't_sets.take_set', owner => 't_sets', max_attempts => 1, block_after => 3) \gset
SELECT eda.publish_batch('t_sets.streak', numbers(1, 40)) \gset
CALL eda.wait('t_sets_streak');
SELECT is((state, handled, dead)::text, '(active,13,27)', 'a lost set is no failure of its events: block_after counts theirs') FROM eda.subscriptions WHERE subscription = 't_sets_streak';

-- Timeout: the call's.  The set is narrowed down like any.
CREATE FUNCTION sleepy(es eda.event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take_set(es);
    PERFORM pg_sleep(60) WHERE EXISTS (SELECT FROM unnest(es) e WHERE e.payload ->> 'n' = '6');
END $$;
SELECT eda.subscribe('t_sets_slow', 't_sets.slow', 't_sets.sleepy', owner => 't_sets', max_attempts => 1, timeout => '150 ms') \gset
SELECT eda.publish_batch('t_sets.slow', numbers(1, 8)) \gset
CALL eda.wait('t_sets_slow');
SELECT results_eq($$SELECT payload ->> 'n', reason, error_code FROM eda.dead_letters WHERE subscription = 't_sets_slow'$$, $$VALUES ('6', 'timeout', '57014')$$,
    'timeout: the one that is slow, not the first one');
SELECT is(taken('t_sets_slow'), '1 2 3 4 5 7 8', 'timeout: the others take effect');

-- A cancelled call of several blames nobody.
CREATE FUNCTION waits(es eda.event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take_set(es);
    PERFORM pg_advisory_xact_lock_shared(7208501);
END $$;
SELECT eda.subscribe('t_sets_cancel', 't_sets.cancel', 't_sets.waits', owner => 't_sets', max_attempts => 1) \gset
SELECT pg_advisory_lock(7208501) \gset
ALTER SEQUENCE calls RESTART;
SELECT eda.publish_batch('t_sets.cancel', numbers(1, 10)) \gset
CALL wait_until($$EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 7208501 AND NOT granted)$$);
SELECT pg_cancel_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7208501 AND NOT granted \gset
CALL wait_until($$calls() = 2$$);
SELECT pg_advisory_unlock(7208501) \gset
CALL eda.wait('t_sets_cancel');
SELECT is(concat_ws(', ', taken('t_sets_cancel'), dead('t_sets_cancel')), series(1, 10) || ', ', 'cancel: a set of several is tried again');

-- Failures that pass by themselves burn no attempt.
CREATE FUNCTION serial(es eda.event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take_set(es);
    IF calls() <= 3 THEN RAISE serialization_failure; END IF;
END $$;
ALTER SEQUENCE calls RESTART;
SELECT eda.subscribe('t_sets_serial', 't_sets.serial', 't_sets.serial', owner => 't_sets', max_attempts => 1) \gset
SELECT eda.publish_batch('t_sets.serial', numbers(1, 10)) \gset
CALL eda.wait('t_sets_serial');
SELECT is(concat_ws(', ', taken('t_sets_serial'), dead('t_sets_serial'), calls()), series(1, 10) || ', , 4', 'serialization failures: the whole set once more');

-- What fails at commit only.
CREATE TABLE parents (n int PRIMARY KEY);
INSERT INTO parents SELECT i FROM generate_series(1, 80) i WHERE i NOT IN (4, 71);
CREATE TABLE children (n int REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION deferred(es eda.event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take_set(es);
    INSERT INTO children SELECT (e.payload ->> 'n')::int FROM unnest(es) e;
END $$;
SELECT eda.subscribe('t_sets_commit', 't_sets.commit', 't_sets.deferred', owner => 't_sets', max_attempts => 1) \gset
SELECT eda.publish_batch('t_sets.commit', numbers(1, 80)) \gset
CALL eda.wait('t_sets_commit');
SELECT is(taken('t_sets_commit'), series(1, 80, 4, 71), 'a deferred constraint: the others take effect once, in order');
SELECT results_eq($$SELECT payload ->> 'n', error_code FROM eda.dead_letters WHERE subscription = 't_sets_commit' ORDER BY event_id$$,
    $$VALUES ('4', '23503'), ('71', '23503')$$, 'a deferred constraint: the culprits are dead');

-- With several lanes, each of which narrows down its own; and no faster than it may.
INSERT INTO fault SELECT sub, n FROM unnest('{t_sets_lanes,t_sets_rate}'::text[]) sub, unnest('{3,17,30}'::text[]) n;
SELECT eda.subscribe('t_sets_lanes', 't_sets.lanes', 't_sets.take_set', owner => 't_sets', max_attempts => 1, concurrency => 3) \gset
SELECT eda.subscribe('t_sets_rate', 't_sets.lanes', 't_sets.take_set', owner => 't_sets', max_attempts => 1, rate_limit => 100) \gset
SELECT eda.publish_batch('t_sets.lanes', numbers(1, 40), array_agg('k' || i % 5 ORDER BY i)) FROM generate_series(1, 40) i \gset
CALL eda.wait('t_sets_lanes');
CALL eda.wait('t_sets_rate');
SELECT results_eq($$SELECT DISTINCT key, string_agg(payload ->> 'n', ' ') OVER (PARTITION BY key ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
                      FROM got WHERE sub = 't_sets_lanes' ORDER BY 1$$,
    $$SELECT 'k' || k, string_agg(i::text, ' ' ORDER BY i) FROM generate_series(0, 4) k, generate_series(1, 40) i WHERE i % 5 = k AND i NOT IN (3, 17, 30) GROUP BY k ORDER BY k$$,
    'lanes: each key in order, once, but for those at fault');
SELECT is(taken('t_sets_rate'), series(1, 40, 3, 17, 30), 'rate_limit: the same');
SELECT results_eq($$SELECT subscription, handled, failed, dead(subscription) FROM eda.subscriptions WHERE subscription IN ('t_sets_lanes', 't_sets_rate') ORDER BY 1$$,
    $$VALUES ('t_sets_lanes', 37::bigint, 3::bigint, '3 17 30'), ('t_sets_rate', 37, 3, '3 17 30')$$, 'and they are dead');

-- What a set publishes carries the first event's correlation.
CREATE FUNCTION relay(es eda.event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take_set(es);
    PERFORM eda.publish('t_sets.relayed', jsonb_build_object('n', cardinality(es)));
END $$;
INSERT INTO fault VALUES ('t_sets_relay', '1');
SELECT eda.subscribe('t_sets_relay', 't_sets.relay', 't_sets.relay', owner => 't_sets', max_attempts => 1) \gset
SELECT eda.publish('t_sets.relay', jsonb_build_object('n', n), correlation_id => 'c' || n) FROM generate_series(1, 4) n \g /dev/null
CALL eda.wait('t_sets_relay');
SELECT ok(bool_and(c.correlation_id = p.correlation_id), 'correlation: of the first event of the call, whichever that was')
  FROM eda.events c JOIN eda.events p ON p.id = c.causation_id WHERE c.topic = 't_sets.relayed';

-- The array is one like any other: read, changed, kept, handed on, by each language.
CREATE TABLE arrays (sub text, what text, value text);
CREATE FUNCTION numbers_of(es eda.event[]) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(payload ->> 'n', ' ' ORDER BY o)
      FROM unnest(es) WITH ORDINALITY AS e(id, topic, key, payload, headers, published_at, published_by, correlation_id, causation_id,
           hops, subscription, attempt, max_attempts, redelivered, lease_id, o);
$$;
CREATE FUNCTION use_array(es eda.event[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    kept eda.event[] := es;
    one eda.event;
    seen text := '';
BEGIN
    FOREACH one IN ARRAY es LOOP
        seen := seen || (one.payload ->> 'n');
    END LOOP;
    es[2] := eda.make_event('t_sets.array', '{"n": 20}');
    es := es || es[1];
    es[1].payload := '{"n": 10}';
    kept := kept[2:3] || kept;
    INSERT INTO arrays VALUES
        (one.subscription, 'read', seen), (one.subscription, 'changed', numbers_of(es)), (one.subscription, 'kept', numbers_of(kept)),
        (one.subscription, 'stored', (SELECT string_agg(e #>> '{payload,n}', ' ') FROM jsonb_array_elements(to_jsonb(kept)) e));
END $$;
CREATE FUNCTION use_array_sql(es eda.event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO arrays VALUES (es[1].subscription, 'SQL', numbers_of(es || es[2]) || ' of ' || array_dims(es));
$$;
SELECT eda.subscribe('t_sets_array', 't_sets.array', 't_sets.use_array', owner => 't_sets') \gset
SELECT eda.subscribe('t_sets_array_sql', 't_sets.array', 't_sets.use_array_sql', owner => 't_sets') \gset
SELECT eda.publish_batch('t_sets.array', numbers(1, 3)) \gset
CALL eda.wait('t_sets_array');
CALL eda.wait('t_sets_array_sql');
SELECT is(value, expected, 'an array of events: ' || what)
  FROM (VALUES ('read', '123'), ('changed', '10 20 3 1'), ('kept', '2 3 1 2 3'), ('stored', '2 3 1 2 3'), ('SQL', '1 2 3 2 of [1:3]')) x(what, expected)
  LEFT JOIN arrays USING (what);

-- 64 MB a call, by what the handler sees: these are stored compressed, each on a page.
CREATE FUNCTION size_set(es eda.event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sizes VALUES (es[1].subscription, cardinality(es));
END $$;
SELECT eda.subscribe('t_sets_bytes', 't_sets.bytes', 't_sets.size_set', owner => 't_sets', batch_size => 1000) \gset
SELECT eda.publish_batch('t_sets.bytes', array_agg(jsonb_build_object('n', i, 'pad', repeat('x', 100000)))) FROM generate_series(1, 900) i \gset
CALL eda.wait('t_sets_bytes');
SELECT collect_tap(
        is(sum(n), 900::bigint, 'compressed: each once'),
        cmp_ok(max(n), '<=', 64 * 1024 * 1024 / 100000 + 1, 'and no more in a call than fit when they are not')) FROM sizes WHERE sub = 't_sets_bytes';

\ir include/end.sql
