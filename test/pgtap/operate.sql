-- Operating subscriptions while they are delivered to: pause, redrive, discard, skip, alter, unsubscribe.
\set test t_operate
\ir include/begin.sql
SELECT plan(75);

CREATE TABLE fault (sub text, n text);
CREATE FUNCTION shaky(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    IF EXISTS (SELECT FROM fault f WHERE f.sub = e.subscription AND f.n = e.payload ->> 'n') THEN
        RAISE EXCEPTION USING MESSAGE = 'faulty: ' || (e.payload ->> 'n'), ERRCODE = coalesce(e.payload ->> 'code', 'P0001');
    END IF;
END $$;
CREATE FUNCTION numbers(first int, last int) RETURNS jsonb[] LANGUAGE sql AS $$
    SELECT array_agg(jsonb_build_object('n', i) ORDER BY i) FROM generate_series(first, last) i;
$$;
CREATE FUNCTION retrying(sub text) RETURNS bigint LANGUAGE sql AS $$SELECT count(*) FROM eda.retries r WHERE r.subscription = sub$$;
CREATE FUNCTION dead(sub text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(d.payload ->> 'n', ' ' ORDER BY d.event_id), '') FROM eda.dead_letters d WHERE d.subscription = sub;
$$;
CREATE FUNCTION state(sub text) RETURNS text LANGUAGE sql AS $$SELECT s.state FROM eda.subscriptions s WHERE s.subscription = sub$$;
CREATE FUNCTION id(number text) RETURNS bigint LANGUAGE sql AS $$
    SELECT max(id) FROM eda.events WHERE topic LIKE 't\_operate.%' AND payload ->> 'n' = number;
$$;

-- Pause and resume.  The other subscription tells that the events went past.
SELECT eda.subscribe('t_operate_pause', 't_operate.pause', 't_operate.shaky', owner => 't_operate') \gset
SELECT eda.subscribe('t_operate_other', 't_operate.pause', 't_operate.shaky', owner => 't_operate') \gset
SELECT eda.publish('t_operate.pause', '{"n": 1}') \gset
CALL eda.wait('t_operate_pause');
SELECT is(eda.pause('t_operate_pause'), true, 'eda.pause');
SELECT is(eda.pause('t_operate_pause'), false, 'eda.pause again');
SELECT is((state, blocked_reason)::text, '(paused,)', 'paused') FROM eda.subscriptions WHERE subscription = 't_operate_pause';
SELECT eda.publish_batch('t_operate.pause', numbers(2, 4)) \gset
CALL eda.wait('t_operate_other');
SELECT is(taken('t_operate_other') || ', ' || taken('t_operate_pause'), '1 2 3 4, 1', 'what is published meanwhile waits');
SELECT is(backlog, 3::bigint, 'and shows as backlog') FROM eda.subscriptions WHERE subscription = 't_operate_pause';
SELECT is(eda.resume('t_operate_pause'), true, 'eda.resume');
SELECT is(eda.resume('t_operate_pause'), false, 'eda.resume again');
CALL eda.wait('t_operate_pause');
SELECT is(taken('t_operate_pause'), '1 2 3 4', 'and is delivered then');
-- what is rolled back has not happened
BEGIN;
SELECT eda.pause('t_operate_pause') \gset
ROLLBACK;
SELECT eda.publish('t_operate.pause', '{"n": 5}') \gset
CALL eda.wait('t_operate_pause');
SELECT is(taken('t_operate_pause'), '1 2 3 4 5', 'a pause that is rolled back is none');
-- a due retry waits, too
SELECT eda.alter_subscription('t_operate_pause', '{"backoff": "5 ms", "max_backoff": "5 ms", "max_attempts": 100000, "block_after": 100000}') \gset
INSERT INTO fault VALUES ('t_operate_pause', '6');
SELECT eda.publish('t_operate.pause', '{"n": 6}') \gset
CALL wait_until($$retrying('t_operate_pause') = 1$$);
SELECT eda.pause('t_operate_pause') \gset
DELETE FROM fault;
CALL wait_until($$(SELECT next_attempt_at < clock_timestamp() FROM eda.retries WHERE subscription = 't_operate_pause')$$);
SELECT eda.publish('t_operate.pause', '{"n": 7}') \gset
CALL eda.wait('t_operate_other');
SELECT is(taken('t_operate_pause'), '1 2 3 4 5', 'a paused subscription retries nothing');
SELECT eda.resume('t_operate_pause') \gset
CALL wait_until($$taken('t_operate_pause') LIKE '%6%' AND taken('t_operate_pause') LIKE '%7%'$$);
SELECT is(retrying('t_operate_pause'), 0::bigint, 'until it is resumed');
SELECT is(state, 'handled', 'eda.trace: handled after a retry') FROM eda.trace(id('6')) WHERE subscription = 't_operate_pause';

-- Dead letters: redrive, discard.
INSERT INTO fault SELECT 't_operate_dead', n FROM generate_series(11, 19) n;
SELECT eda.subscribe('t_operate_dead', 't_operate.dead', 't_operate.shaky', owner => 't_operate', max_attempts => 1) \gset
SELECT eda.publish_batch('t_operate.dead', numbers(10, 17)) \gset
SELECT eda.publish('t_operate.dead', '{"n": 18, "code": "22012"}') \gset
SELECT eda.publish('t_operate.dead', '{"n": 19, "code": "22012"}') \gset
CALL eda.wait('t_operate_dead');
SELECT is(dead('t_operate_dead'), '11 12 13 14 15 16 17 18 19', 'dead letters');
SELECT is(eda.redrive('t_operate_dead', ARRAY[id('11'), id('10'), -1]), 1::bigint, 'eda.redrive: only what is dead');
CALL eda.wait('t_operate_dead');
SELECT is(dead('t_operate_dead'), '11 12 13 14 15 16 17 18 19', 'eda.redrive: it fails again, and is dead again');
SELECT results_eq($$SELECT attempts, cardinality(attempt_history) FROM eda.dead_letters WHERE event_id = id('11')$$, $$VALUES (1, 2)$$,
    'eda.redrive: attempts count anew, the history goes on');
DELETE FROM fault WHERE n::int < 14;
SELECT is(eda.redrive('t_operate_dead', ARRAY[id('12'), id('11')]), 2::bigint, 'eda.redrive: several');
CALL eda.wait('t_operate_dead');
SELECT is(taken('t_operate_dead') || ', ' || dead('t_operate_dead'), '10 11 12, 13 14 15 16 17 18 19', 'eda.redrive: handled now, in the order of ids');
SELECT results_eq($$SELECT attempt, redelivered FROM got WHERE sub = 't_operate_dead' AND payload ->> 'n' = '11'$$, $$VALUES (1, true)$$,
    'eda.redrive: the handler sees that it is delivered again');
SELECT is(handled, 3::bigint, 'eda.redrive: counted as handled') FROM eda.subscriptions WHERE subscription = 't_operate_dead';
DELETE FROM fault;
SELECT is(eda.redrive_all('t_operate_dead', error_code => '22012'), 2::bigint, 'eda.redrive_all: by error code');
CALL eda.wait('t_operate_dead');
SELECT is(dead('t_operate_dead'), '13 14 15 16 17', 'eda.redrive_all: the others stay');
SELECT is(eda.redrive_all('t_operate_dead', max_events => 2), 2::bigint, 'eda.redrive_all: up to a number');
CALL eda.wait('t_operate_dead');
SELECT is(taken('t_operate_dead'), '10 11 12 18 19 13 14', 'eda.redrive_all: oldest first');
SELECT is(eda.discard('t_operate_dead', ARRAY[id('15'), id('13')]), 1::bigint, 'eda.discard: only what is dead');
SELECT is(eda.redrive_all('t_operate_dead'), 2::bigint, 'eda.redrive_all: all');
CALL eda.wait('t_operate_dead');
SELECT is(taken('t_operate_dead') || ', ' || dead('t_operate_dead'), '10 11 12 18 19 13 14 16 17, ', 'eda.discard: 15 is gone for good');
BEGIN;
SELECT is(eda.redrive_all('t_operate_dead') + eda.discard_all('t_operate_dead'), 0::bigint, 'nothing left');
ROLLBACK;

-- Skip: a retrying event becomes a dead letter, its key is free.
INSERT INTO fault VALUES ('t_operate_skip', '21'), ('t_operate_skip', '22');
SELECT eda.subscribe('t_operate_skip', 't_operate.skip', 't_operate.shaky', owner => 't_operate', backoff => '1 hour') \gset
SELECT eda.publish('t_operate.skip', jsonb_build_object('n', n), 'k') FROM generate_series(20, 24) n \g /dev/null
CALL wait_until($$retrying('t_operate_skip') = 4$$);
SELECT is(eda.skip('t_operate_skip', id('20')), false, 'eda.skip: not what is handled');
SELECT is(eda.skip('t_operate_skip', id('21')), true, 'eda.skip: what waits for a retry');
CALL wait_until($$(SELECT attempt FROM eda.retries WHERE event_id = id('22')) = 1$$);
SELECT is(taken('t_operate_skip'), '20', 'eda.skip: the next one of its key has its turn, and fails in its turn');
SELECT is(eda.skip('t_operate_skip', id('23')), true, 'eda.skip: what waits behind another one');
SELECT is(eda.skip('t_operate_skip', id('22')), true, 'eda.skip: and that other one');
CALL eda.wait('t_operate_skip');
SELECT is(taken('t_operate_skip') || ', ' || dead('t_operate_skip'), '20 24, 21 22 23', 'eda.skip: the rest goes on');
SELECT results_eq($$SELECT payload ->> 'n', reason, attempts, error_message FROM eda.dead_letters WHERE subscription = 't_operate_skip' ORDER BY event_id$$,
    $$VALUES ('21', 'skipped', 1, 'faulty: 21'), ('22', 'skipped', 1, 'faulty: 22'), ('23', 'skipped', 0, NULL)$$,
    'eda.skip: dead letters with reason skipped and the last error');
DELETE FROM fault;
SELECT eda.redrive_all('t_operate_skip') \gset
CALL eda.wait('t_operate_skip');
SELECT is(taken('t_operate_skip'), '20 24 21 22 23', 'a skipped event can be redriven');

-- Redriving an event of a key with a retrying one: it queues behind.
INSERT INTO fault VALUES ('t_operate_queue', '31'), ('t_operate_queue', '32');
SELECT eda.subscribe('t_operate_queue', 't_operate.queue', 't_operate.shaky', owner => 't_operate', backoff => '1 hour', reject_on => '{22012}') \gset
SELECT eda.publish('t_operate.queue', '{"n": 31, "code": "22012"}', 'k') \gset
SELECT eda.publish('t_operate.queue', '{"n": 32}', 'k') \gset
SELECT eda.publish('t_operate.queue', '{"n": 33}', 'k') \gset
CALL wait_until($$retrying('t_operate_queue') = 2 AND dead('t_operate_queue') = '31'$$);
DELETE FROM fault;
SELECT eda.redrive_all('t_operate_queue') \gset
CALL eda.wait('t_operate_queue');
SELECT is(taken('t_operate_queue'), '', 'a redriven event waits behind the retrying one of its key');
SELECT eda.skip('t_operate_queue', id('32')) \gset
CALL eda.wait('t_operate_queue');
SELECT is(taken('t_operate_queue'), '33 31', 'at the end of the queue');

-- Unsubscribe.
SELECT throws_ok($$SELECT eda.unsubscribe('t_operate_queue')$$, 'ED014', 'subscription "t_operate_queue" has 1 dead letter left',
    'eda.unsubscribe refuses to lose dead letters');
SELECT is(eda.unsubscribe('t_operate_queue', force => true), true, 'unless it is forced');
SELECT is(eda.unsubscribe('t_operate_queue'), false, 'and says when there is nothing');
SELECT is((SELECT count(*) FROM eda.dead_letter d LEFT JOIN eda.subscription s USING (subscription_id) WHERE s IS NULL)
        + (SELECT count(*) FROM eda.retry d LEFT JOIN eda.subscription s USING (subscription_id) WHERE s IS NULL)
        + (SELECT count(*) FROM eda.cursor d LEFT JOIN eda.subscription s USING (subscription_id) WHERE s IS NULL), 0::bigint,
    'and leaves nothing behind');
SELECT eda.publish('t_operate.queue', '{"n": 34}') \gset
SELECT eda.subscribe('t_operate_queue', 't_operate.queue', 't_operate.shaky', owner => 't_operate') \gset
SELECT eda.publish('t_operate.queue', '{"n": 35}') \gset
CALL eda.wait('t_operate_queue');
SELECT is(taken('t_operate_queue'), '33 31 35', 'a new subscription of that name begins anew');

-- The definition makes the subscription.
SELECT eda.subscribe('t_operate_def', 't_operate.def.*,t_operate.x', 't_operate.shaky', owner => 't_operate', filter => '$.n > 40',
                     ordering => 'none', batch_size => 7, max_attempts => 3, backoff => '5 ms', max_backoff => '1 min', reject_on => '{23,22012}',
                     block_after => 9, timeout => '2 s', expire_after => '1 day', priority => 3) \gset
CREATE TABLE def AS SELECT eda.subscription_def('t_operate_def') AS def, to_jsonb(s) - 'handled' - 'filtered' AS shown
  FROM eda.subscriptions s WHERE subscription = 't_operate_def';
SELECT eda.unsubscribe('t_operate_def') \gset
SELECT def FROM def \gexec
SELECT is(eda.subscription_def('t_operate_def'), def, 'eda.subscription_def: round trip') FROM def;
SELECT is(to_jsonb(s) - 'handled' - 'filtered', shown, 'eda.subscription_def: all of it') FROM def, eda.subscriptions s WHERE subscription = 't_operate_def';
SELECT eda.publish_batch('t_operate.def.a', numbers(40, 42)) \gset
CALL eda.wait('t_operate_def');
SELECT is(taken('t_operate_def'), '41 42', 'eda.subscription_def: it delivers');

-- Alter while it runs.
CREATE FUNCTION other(p jsonb) RETURNS void LANGUAGE sql AS $$INSERT INTO got (sub, payload) VALUES ('t_operate_alter', p || '{"n": "x"}')$$;
SELECT eda.subscribe('t_operate_alter', 't_operate.alter', 't_operate.shaky', owner => 't_operate', backoff => '5 ms', max_backoff => '5 ms',
                     max_attempts => 100000, block_after => 100000) \gset
SELECT eda.publish_batch('t_operate.alter', numbers(51, 52)) \gset
CALL eda.wait('t_operate_alter');
SELECT eda.alter_subscription('t_operate_alter', '{"filter": "$.n != 53"}') \gset
SELECT eda.publish_batch('t_operate.alter', numbers(53, 54)) \gset
CALL eda.wait('t_operate_alter');
SELECT is(taken('t_operate_alter'), '51 52 54', 'eda.alter_subscription: the filter');
SELECT eda.alter_subscription('t_operate_alter', '{"filter": null, "topics": "t_operate.altered"}') \gset
SELECT eda.publish('t_operate.alter', '{"n": 55}') \gset
SELECT eda.publish('t_operate.altered', '{"n": 56}') \gset
CALL eda.wait('t_operate_alter');
SELECT is(taken('t_operate_alter'), '51 52 54 56', 'eda.alter_subscription: the topics');
SELECT eda.alter_subscription('t_operate_alter', '{"handler": "t_operate.other", "topics": "t_operate.alter"}') \gset
SELECT eda.publish('t_operate.alter', '{"n": 57}') \gset
CALL eda.wait('t_operate_alter');
SELECT is(taken('t_operate_alter'), '51 52 54 56 x', 'eda.alter_subscription: the handler; what it passed over does not come back');
-- a retrying event, and those behind it
SELECT eda.alter_subscription('t_operate_alter', '{"handler": "t_operate.shaky", "ordering": "strict"}') \gset
INSERT INTO fault VALUES ('t_operate_alter', '58');
SELECT eda.publish_batch('t_operate.alter', numbers(58, 60)) \gset
CALL wait_until($$(SELECT attempt FROM eda.retries WHERE subscription = 't_operate_alter') >= 2$$);
SELECT is(taken('t_operate_alter'), '51 52 54 56 x', 'strict, all wait');
SELECT eda.alter_subscription('t_operate_alter', '{"ordering": "none"}') \gset
CALL wait_until($$taken('t_operate_alter') = '51 52 54 56 x 59 60'$$);
SELECT is(taken('t_operate_alter'), '51 52 54 56 x 59 60', 'eda.alter_subscription: the ordering, and nobody waits any more');
SELECT eda.alter_subscription('t_operate_alter', '{"max_attempts": 1}') \gset
CALL wait_until($$dead('t_operate_alter') <> ''$$);
SELECT is(dead('t_operate_alter'), '58', 'eda.alter_subscription: max_attempts, of a retrying event too');
DELETE FROM fault;

-- Subscribe again: the definition is replaced as a whole; position, state, retries and counts stay.
INSERT INTO fault VALUES ('t_operate_again', '61');
SELECT eda.subscribe('t_operate_again', 't_operate.again', 't_operate.shaky', owner => 't_operate', backoff => '1 hour', priority => 7) \gset
SELECT eda.publish_batch('t_operate.again', numbers(61, 62)) \gset
CALL eda.wait('t_operate_again');
SELECT eda.pause('t_operate_again') \gset
SELECT eda.publish('t_operate.again', '{"n": 63}') \gset
SELECT eda.subscribe('t_operate_again', 't_operate.again', 't_operate.take', owner => 't_operate', start => 'earliest') \gset
SELECT is((state, priority, handled, retrying, backlog)::text, '(paused,0,1,1,1)', 'eda.subscribe again: state, retries, position and counts stay')
  FROM eda.subscriptions WHERE subscription = 't_operate_again';
SELECT eda.resume('t_operate_again') \gset
CALL eda.wait('t_operate_again');
SELECT is(taken('t_operate_again'), '62 63', 'eda.subscribe again: it goes on where it was');
SELECT eda.skip('t_operate_again', id('61')) \gset
SELECT eda.redrive_all('t_operate_again') \gset
CALL eda.wait('t_operate_again');
SELECT is(taken('t_operate_again'), '62 63 61', 'eda.subscribe again: the new handler gets what waited');

-- A handler that operates the subscription it works for.
CREATE FUNCTION self(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    IF e.payload ->> 'do' = 'pause' THEN
        PERFORM eda.pause(e.subscription);
    ELSIF e.payload ->> 'do' = 'alter' THEN
        PERFORM eda.alter_subscription(e.subscription, '{"filter": "$.n != 73"}');
    ELSIF e.payload ->> 'do' = 'reject' AND NOT e.redelivered THEN
        PERFORM eda.reject('later');
    ELSIF e.payload ->> 'do' = 'redrive' THEN
        PERFORM eda.redrive_all(e.subscription);
    ELSIF e.payload ->> 'do' = 'unsubscribe' THEN
        PERFORM eda.unsubscribe(e.subscription);
    END IF;
END $$;
SELECT eda.subscribe('t_operate_self', 't_operate.self', 't_operate.self', owner => 't_operate') \gset
SELECT eda.publish('t_operate.self', '{"n": 71, "do": "pause"}') \gset
CALL wait_until($$state('t_operate_self') = 'paused'$$);
SELECT eda.publish('t_operate.self', '{"n": 72, "do": "alter"}') \gset
SELECT is((state, handled, backlog)::text, '(paused,1,1)', 'a handler that pauses its own subscription') FROM eda.subscriptions WHERE subscription = 't_operate_self';
SELECT eda.resume('t_operate_self') \gset
CALL eda.wait('t_operate_self');
SELECT eda.publish('t_operate.self', '{"n": 73}') \gset
SELECT eda.publish('t_operate.self', '{"n": 74, "do": "reject"}') \gset
CALL eda.wait('t_operate_self');
SELECT is(taken('t_operate_self') || ', ' || dead('t_operate_self'), '71 72, 74', 'alters it');
SELECT eda.publish('t_operate.self', '{"n": 75, "do": "redrive"}') \gset
CALL eda.wait('t_operate_self');
SELECT is(taken('t_operate_self') || ', ' || dead('t_operate_self'), '71 72 75 74, ', 'redrives its dead letters');
SELECT eda.publish('t_operate.self', '{"n": 76, "do": "unsubscribe"}') \gset
CALL wait_until($$state('t_operate_self') IS NULL$$);
SELECT is(taken('t_operate_self'), '71 72 75 74 76', 'and ends it');

-- In the middle of a batch, which has read more than that event.
CREATE FUNCTION meddle(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    IF EXISTS (SELECT FROM fault f WHERE f.sub = e.subscription AND f.n = e.payload ->> 'n') THEN
        RAISE EXCEPTION 'faulty';
    END IF;
    IF e.payload ? 'do' THEN
        EXECUTE e.payload ->> 'do';
    END IF;
END $$;
CREATE FUNCTION put(topic text, keys text[], commands text[], first int DEFAULT 1) RETURNS void LANGUAGE sql AS $$
    SELECT eda.publish_batch(topic, array_agg(jsonb_strip_nulls(jsonb_build_object('n', first + i - 1, 'do', commands[i])) ORDER BY i), keys)
    FROM generate_series(1, cardinality(keys)) i;
$$;
SELECT eda.subscribe('t_operate_stop', 't_operate.stop', 't_operate.meddle', owner => 't_operate') \gset
SELECT put('t_operate.stop', '{a,b,c,d}', ARRAY[NULL, 'SELECT eda.pause(''t_operate_stop'')', NULL, NULL]) \gset
CALL wait_until($$state('t_operate_stop') = 'paused'$$);
SELECT is(taken('t_operate_stop'), '1 2', 'a handler that pauses its own subscription gets no further event');
SELECT eda.resume('t_operate_stop') \gset
CALL eda.wait('t_operate_stop');
SELECT is(taken('t_operate_stop'), '1 2 3 4', 'until it is resumed');
SELECT put('t_operate.stop', '{a,b,c}', ARRAY[NULL, 'SELECT eda.unsubscribe(''t_operate_stop'')', NULL], 5) \gset
CALL wait_until($$state('t_operate_stop') IS NULL$$);
SELECT is(taken('t_operate_stop'), '1 2 3 4 5 6', 'nor does one that ends it');

SELECT eda.subscribe('t_operate_free', 't_operate.free', 't_operate.meddle', owner => 't_operate', backoff => '1 h', max_backoff => '1 h') \gset
INSERT INTO fault VALUES ('t_operate_free', '1');
SELECT put('t_operate.free', '{a}', '{}') \gset
CALL wait_until($$retrying('t_operate_free') = 1$$);
SELECT put('t_operate.free', '{b,a,a}', ARRAY[format('SELECT eda.skip(''t_operate_free'', %s)', (SELECT event_id FROM eda.retries WHERE subscription = 't_operate_free')), NULL, NULL], 2) \gset
CALL wait_until($$taken('t_operate_free') = '2 3 4'$$);
SELECT is(taken('t_operate_free') || ', ' || dead('t_operate_free') || ', ' || retrying('t_operate_free'), '2 3 4, 1, 0',
    'a handler that skips an event of its own subscription: those of its key behind it in the batch do not wait');

CREATE TABLE to_skip (id bigint);
SELECT eda.subscribe('t_operate_due', 't_operate.due', 't_operate.meddle', owner => 't_operate', ordering => 'none', max_attempts => 1) \gset
INSERT INTO fault VALUES ('t_operate_due', '1'), ('t_operate_due', '2'), ('t_operate_due', '3');
SELECT put('t_operate.due', '{a,b,c}', ARRAY['SELECT eda.skip(''t_operate_due'', (SELECT id FROM to_skip))', NULL, NULL]) \gset
CALL wait_until($$dead('t_operate_due') = '1 2 3'$$);
DELETE FROM fault;
INSERT INTO to_skip SELECT max(event_id) FROM eda.dead_letters WHERE subscription = 't_operate_due';
SELECT eda.redrive_all('t_operate_due') \gset
CALL wait_until($$retrying('t_operate_due') = 0$$);
SELECT is(taken('t_operate_due') || ', ' || dead('t_operate_due'), '1 2, 3', 'and one that is due already is not delivered any more');

-- What a handler cannot do to its own subscription.
CREATE FUNCTION skip_self(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    IF e.attempt = 1 AND NOT e.redelivered THEN RAISE 'once'; END IF;
    UPDATE got SET topic = eda.skip(e.subscription, e.id)::text WHERE sub = e.subscription;
END $$;
SELECT eda.subscribe('t_operate_at_hand', 't_operate.at_hand', 't_operate.skip_self', owner => 't_operate', backoff => '1 ms', max_backoff => '1 ms') \gset
SELECT eda.publish('t_operate.at_hand', '{"n": 1}') \gset
CALL eda.wait('t_operate_at_hand');
CALL wait_until($$taken('t_operate_at_hand') = '1'$$);
SELECT is((SELECT topic FROM got WHERE sub = 't_operate_at_hand') || ', ' || dead('t_operate_at_hand'), 'false, ', 'the event at hand does not wait, so cannot be skipped');
SELECT eda.subscribe('t_operate_fixed', 't_operate.fixed', 't_operate.meddle', owner => 't_operate', max_attempts => 1) \gset
SELECT put('t_operate.fixed', '{a,b,c,d}', ARRAY[
    $$SELECT eda.alter_subscription('t_operate_fixed', '{"ordering": "none"}')$$,
    $$SELECT eda.subscribe('t_operate_fixed', 't_operate.fixed', 't_operate.meddle', concurrency => 4)$$,
    $$SELECT eda.alter_subscription('t_operate_fixed', '{"priority": 7}')$$, NULL]) \gset
CALL eda.wait('t_operate_fixed');
SELECT results_eq($$SELECT error_code, error_message FROM eda.dead_letters WHERE subscription = 't_operate_fixed' ORDER BY event_id$$,
    $$VALUES ('ED023', 'a change of ordering is not possible in a handler of the same subscription'),
             ('ED023', 'a change of concurrency is not possible in a handler of the same subscription')$$,
    'a handler cannot change the ordering or the concurrency of its own subscription');
SELECT is(taken('t_operate_fixed') || ', ' || priority, '3 4, 7', 'but other settings') FROM eda.subscription WHERE name = 't_operate_fixed';

-- Two handlers that change each other's subscription at the same moment.
CREATE FUNCTION cross_over(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4711);
    PERFORM eda.alter_subscription(translate(e.subscription, 'xy', 'yx'), '{"priority": 3}');
    PERFORM take(e);
END $$;
SELECT count(eda.subscribe('t_operate_' || s, 't_operate.cross', 't_operate.cross_over', owner => 't_operate')) FROM unnest('{x,y}'::text[]) s \gset
SELECT pg_advisory_lock(4711) \gset
SELECT eda.publish('t_operate.cross', '{"n": 1}') \gset
CALL wait_until($$(SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted)$$);
SELECT pg_advisory_unlock(4711) \gset
CALL wait_until($$taken('t_operate_x') || taken('t_operate_y') = '11'$$);
SELECT is(taken('t_operate_x') || ', ' || taken('t_operate_y'), '1, 1', 'handlers that change each other''s subscriptions: each is handled');
SELECT is(sum(failed), 0::numeric, 'and the deadlock is no failure of theirs') FROM eda.subscriptions WHERE subscription IN ('t_operate_x', 't_operate_y');

-- With a publication of all tables nothing without a replica identity can be updated or deleted by SQL.
CREATE FUNCTION brittle(e eda.event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE 'brittle'; END $$;
SELECT eda.subscribe('t_operate_logical', 't_operate.logical', 't_operate.brittle', owner => 't_operate', backoff => '1 ms', max_backoff => '1 ms',
                     block_after => 2) \gset
SET client_min_messages = error;        -- wal_level may be too low for it
CREATE PUBLICATION t_operate_pub FOR ALL TABLES;
SET client_min_messages = warning;
SELECT eda.publish('t_operate.logical', '{"n": 81}') \gset
CALL wait_until($$state('t_operate_logical') = 'blocked'$$);
SELECT isnt(streak, 0, 'a publication of all tables: failures are counted') FROM eda.cursor JOIN eda.subscription USING (subscription_id) WHERE name = 't_operate_logical';
SELECT eda.pause('t_operate_logical') \gset
CREATE OR REPLACE FUNCTION brittle(e eda.event) RETURNS void LANGUAGE sql AS 'SELECT take(e)';
SELECT is(eda.resume('t_operate_logical'), true, 'a publication of all tables: eda.resume');
CALL eda.wait('t_operate_logical');
SELECT is((taken('t_operate_logical'), state('t_operate_logical'))::text, '(81,active)', 'it goes on');
SELECT is(streak, 0, 'with no failures behind it') FROM eda.cursor JOIN eda.subscription USING (subscription_id) WHERE name = 't_operate_logical';
SELECT is(eda.unsubscribe('t_operate_logical'), true, 'a publication of all tables: eda.unsubscribe');
DROP PUBLICATION t_operate_pub;
SELECT is((SELECT count(*) FROM eda.cursor c LEFT JOIN eda.subscription s USING (subscription_id) WHERE s IS NULL), 0::bigint, 'which leaves no cursor behind');

\ir include/end.sql
