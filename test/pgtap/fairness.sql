-- Events that wait and the log take turns, and nobody keeps a core busy: whatever the delays are, and however many wait.
\set test t_fairness
\ir include/begin.sql
SELECT no_plan();

-- Every call counts, also of attempts that are rolled back.
CREATE SEQUENCE calls;
GRANT ALL ON calls TO t_fairness;
CREATE TABLE over (sub text);
GRANT ALL ON over TO t_fairness;

-- Sleeps for "ms", says what it is told to say until its subscription has handled an event that says nothing, and then does its work.
CREATE FUNCTION act(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('t_fairness.calls');
    PERFORM pg_sleep((e.payload ->> 'ms')::float / 1000) WHERE e.payload ? 'ms';
    IF NOT e.payload ? 'say' THEN
        INSERT INTO over VALUES (e.subscription);
    ELSIF NOT EXISTS (SELECT FROM over WHERE sub = e.subscription) THEN
        CASE e.payload ->> 'say'
            WHEN 'snooze' THEN PERFORM eda.snooze((e.payload ->> 'delay')::interval);
            WHEN 'retry' THEN PERFORM eda.retry_after((e.payload ->> 'delay')::interval);
            WHEN 'fail' THEN RAISE 'not yet';
        END CASE;
    END IF;
    PERFORM take(e);
END $$;
CREATE FUNCTION calls_so_far() RETURNS bigint LANGUAGE sql AS 'SELECT last_value FROM t_fairness.calls';
CREATE FUNCTION count_taken(s text) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM t_fairness.got WHERE sub = s';

-- One event that is put off for 0, or for less.
SELECT eda.subscribe('t_fairness_' || say || '_' || i, format('t_fairness.one.%s.%s', say, i), 't_fairness.act', owner => 't_fairness',
                     max_attempts => 100000, backoff => '1 ms', max_backoff => '1 ms')
  FROM (VALUES ('snooze', 1, '0'), ('snooze', 2, '-1 hour'), ('snooze', 3, '1 us'), ('retry', 4, '0')) v (say, i, delay) \g /dev/null
SELECT eda.publish(format('t_fairness.one.%s.%s', say, i), jsonb_build_object('n', 1, 'say', say, 'delay', delay), key => 'a')
  FROM (VALUES ('snooze', 1, '0'), ('snooze', 2, '-1 hour'), ('snooze', 3, '1 us'), ('retry', 4, '0')) v (say, i, delay) \g /dev/null
CALL wait_until($$(SELECT min(deliveries) >= 5 AND count(*) = 4 FROM eda.retry r JOIN eda.subscription USING (subscription_id) WHERE starts_with(name, 't_fairness_'))$$);
SELECT ok(bool_and(attempt_history[5] - attempt_history[1] >= '190 ms'), 'a delay of 0, or less, is a moment: five times take 200 ms')
  FROM eda.retry JOIN eda.subscription USING (subscription_id) WHERE starts_with(name, 't_fairness_');
SELECT is(attempt, 0, 'a snooze of less than 0 burns no attempt') FROM eda.retries WHERE subscription = 't_fairness_snooze_2';
SELECT eda.publish(format('t_fairness.one.%s.%s', say, i), '{"n": 2}', key => 'b')
  FROM (VALUES ('snooze', 1), ('snooze', 2), ('snooze', 3), ('retry', 4)) v (say, i) \g /dev/null
CALL wait_until($$(SELECT count(*) FROM got WHERE starts_with(sub, 't_fairness_')) = 8$$);
SELECT is(string_agg(taken(s), ', '), '2 1, 2 1, 2 1, 2 1', 'the log''s event has its turn')
  FROM unnest('{t_fairness_snooze_1,t_fairness_snooze_2,t_fairness_snooze_3,t_fairness_retry_4}'::text[]) s;

-- So many that one of them is always due, in every way to say so, with each ordering and batches of each kind.  The log's event is handled
-- within two turns of theirs, of 200 ms and so of 100 events each at most.
CREATE FUNCTION hold_up(sub text, say text, delay text, VARIADIC settings text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SELECT eda.subscribe(%L, %L, ''t_fairness.act'', owner => ''t_fairness'', max_attempts => 100000, block_after => 100000000,
        backoff => ''1 ms'', max_backoff => ''1 ms'', %s)', sub, replace(sub, 't_fairness_', 't_fairness.'), array_to_string(settings, ', '));
    PERFORM eda.publish_batch(replace(sub, 't_fairness_', 't_fairness.'),
        array_agg(jsonb_build_object('n', i, 'say', say, 'delay', delay, 'ms', 2)), array_agg('k' || i)) FROM generate_series(1, 300) i;
END $$;
CREATE PROCEDURE check_reached(sub text) LANGUAGE plpgsql AS $$
DECLARE
    before bigint;
    reached bigint;
BEGIN
    -- all of them wait
    CALL wait_until(format('(SELECT count(*) = 300 AND min(deliveries) > 0 FROM eda.retry JOIN eda.subscription USING (subscription_id) WHERE name = %L)', sub));
    before := calls_so_far();
    PERFORM eda.publish(replace(sub, 't_fairness_', 't_fairness.'), '{"n": 1000}', key => 'other');
    COMMIT;
    CALL wait_until(format('EXISTS (SELECT FROM over o WHERE o.sub = %L)', sub));
    reached := calls_so_far();
    PERFORM set_config('test.calls', (reached - before)::text, false);
    CALL wait_until(format('count_taken(%L) = 301', sub));
END $$;
SELECT hold_up('t_fairness_snoozers', 'snooze', '0', 'batch_size => 100') \g /dev/null
CALL check_reached('t_fairness_snoozers');
SELECT cmp_ok(current_setting('test.calls')::bigint, '<=', 250::bigint, 'snoozers do not keep the log waiting');
SELECT hold_up('t_fairness_retriers', 'retry', '1 ms', 'ordering => ''none''') \g /dev/null
CALL check_reached('t_fairness_retriers');
SELECT cmp_ok(current_setting('test.calls')::bigint, '<=', 250::bigint, 'those that ask for another attempt, without an order');
SELECT hold_up('t_fairness_failing', 'fail', '0', 'batch_size => 1') \g /dev/null
CALL check_reached('t_fairness_failing');
SELECT cmp_ok(current_setting('test.calls')::bigint, '<=', 250::bigint, 'those that fail, with a batch of one');
SELECT hold_up('t_fairness_lanes', 'snooze', '10 ms', 'concurrency => 2') \g /dev/null
CALL check_reached('t_fairness_lanes');
SELECT cmp_ok(current_setting('test.calls')::bigint, '<=', 500::bigint, 'in two lanes');
SELECT hold_up('t_fairness_rate', 'snooze', '0', 'rate_limit => 200') \g /dev/null
CALL check_reached('t_fairness_rate');
SELECT cmp_ok(current_setting('test.calls')::bigint, '<=', 250::bigint, 'with a rate limit');
SELECT eda.subscribe('t_fairness_slow', 't_fairness.slow', 't_fairness.act', owner => 't_fairness', rate_limit => 20) \g /dev/null
SELECT eda.publish('t_fairness.slow', '{"say": "snooze", "delay": "0"}', key => i::text) FROM generate_series(1, 4) i \g /dev/null
CALL wait_until($$(SELECT count(*) = 4 AND min(deliveries) >= 2 FROM eda.retry JOIN eda.subscription USING (subscription_id) WHERE name = 't_fairness_slow')$$);
SELECT calls_so_far() AS before \gset
SELECT eda.publish('t_fairness.slow', '{"n": 2}') \g /dev/null
CALL wait_until($$EXISTS (SELECT FROM over WHERE sub = 't_fairness_slow')$$);
SELECT cmp_ok(calls_so_far(), '<=', :before + 5::bigint, 'with a slow one, event by event');

-- Who waits does not wait for them for ever: each has had its turn since.
SELECT eda.subscribe('t_fairness_waited', 't_fairness.waited', 't_fairness.act', owner => 't_fairness') \g /dev/null
SELECT eda.publish('t_fairness.waited', '{"n": 1, "say": "snooze", "delay": "0", "ms": 60}', key => i::text) FROM generate_series(1, 3) i \g /dev/null
CALL wait_until($$(SELECT count(*) = 3 FROM eda.retries WHERE subscription = 't_fairness_waited')$$);
SELECT lives_ok($$CALL eda.wait('t_fairness_waited', '15 s')$$, 'eda.wait does not wait for those that snooze again and again');
INSERT INTO over VALUES ('t_fairness_waited');

-- The other way round: a log that does not end, and one event that waits.
SELECT eda.subscribe('t_fairness_endless', 't_fairness.endless', 't_fairness.act', owner => 't_fairness', batch_size => 50) \g /dev/null
SELECT eda.publish('t_fairness.endless', '{"n": 1, "say": "snooze", "delay": "0"}', key => 'a') \g /dev/null
SELECT eda.publish_batch('t_fairness.endless', array_agg(jsonb_build_object('n', i, 'ms', 2)), array_agg('k' || i)) FROM generate_series(2, 1001) i \g /dev/null
CALL wait_until($$count_taken('t_fairness_endless') = 1001$$);
SELECT cmp_ok((SELECT count(*) FROM got WHERE sub = 't_fairness_endless' AND n < (SELECT n FROM got WHERE sub = 't_fairness_endless' AND payload ->> 'n' = '1')),
    '<=', 200::bigint, 'a log that does not end does not keep what waits waiting');

-- A strict lane waits for its head, and does nothing meanwhile.
SELECT eda.subscribe('t_fairness_strict', 't_fairness.strict', 't_fairness.act', owner => 't_fairness', ordering => 'strict') \g /dev/null
SELECT eda.publish('t_fairness.strict', '{"n": 1, "say": "snooze", "delay": "0"}') \g /dev/null
SELECT eda.publish('t_fairness.strict', '{"n": 2}') \g /dev/null
CALL wait_until($$(SELECT deliveries >= 5 FROM eda.retry JOIN eda.subscription USING (subscription_id) WHERE name = 't_fairness_strict')$$);
SELECT ok(attempt_history[5] - attempt_history[1] >= '190 ms', 'strict: a head that snoozes for 0 does not spin')
  FROM eda.retry JOIN eda.subscription USING (subscription_id) WHERE name = 't_fairness_strict';
SELECT is(taken('t_fairness_strict'), '', 'strict: the log waits');
INSERT INTO over VALUES ('t_fairness_strict');
CALL wait_until($$taken('t_fairness_strict') = '1 2'$$);
SELECT is(taken('t_fairness_strict'), '1 2', 'strict: in order');

-- A subscription that is blocked by events that never work goes on with one that does, whether that waits or is in the log.
CREATE FUNCTION poisoned(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF e.payload ? 'poison' AND NOT (e.payload ->> 'poison' = 'once' AND EXISTS (SELECT FROM over WHERE sub = 't_fairness_healed')) THEN
        RAISE 'poison';
    END IF;
    PERFORM take(e);
END $$;
SELECT eda.subscribe('t_fairness_blocked_log', 't_fairness.blocked.log', 't_fairness.poisoned', owner => 't_fairness', ordering => 'none',
                     block_after => 3, backoff => '5 ms', max_backoff => '5 ms', max_attempts => 1000) \g /dev/null
-- One event that fails three times: where three fail, the last may still be the log's first, which probes leave where it is.
SELECT eda.publish('t_fairness.blocked.log', '{"n": 1, "poison": "always"}') \g /dev/null
CALL wait_until($$(SELECT state = 'blocked' AND blocked_reason = 'failing' FROM eda.subscriptions WHERE subscription = 't_fairness_blocked_log')$$);
SELECT eda.publish('t_fairness.blocked.log', '{"n": 2}') \g /dev/null
CALL wait_until($$taken('t_fairness_blocked_log') = '2'$$);
SELECT is(taken('t_fairness_blocked_log'), '2', 'probes: the log has its turn');
SELECT eda.subscribe('t_fairness_blocked_waiting', 't_fairness.blocked.waiting', 't_fairness.poisoned', owner => 't_fairness', ordering => 'none',
                     block_after => 6, backoff => '5 ms', max_backoff => '5 ms', max_attempts => 1000) \g /dev/null
SELECT eda.publish_batch('t_fairness.blocked.waiting', ARRAY['{"n": 1, "poison": "always"}', '{"n": 2, "poison": "always"}', '{"n": 3, "poison": "once"}']::jsonb[]) \g /dev/null
CALL wait_until($$(SELECT state = 'blocked' AND blocked_reason = 'failing' FROM eda.subscriptions WHERE subscription = 't_fairness_blocked_waiting')$$);
INSERT INTO over VALUES ('t_fairness_healed');
CALL wait_until($$taken('t_fairness_blocked_waiting') = '3'$$);
SELECT is(taken('t_fairness_blocked_waiting'), '3', 'probes: each tries another one of those that wait');

\ir include/end.sql
