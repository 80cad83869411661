-- Delayed events when they are due; back-off's cap and jitter; expiry from the due time.
\set test t_delay
\ir include/begin.sql
SELECT plan(40);

CREATE PROCEDURE until(t timestamptz) LANGUAGE plpgsql AS $$
BEGIN
    WHILE clock_timestamp() <= t LOOP
        PERFORM pg_sleep_until(t);
    END LOOP;
END $$;
SELECT eda.subscribe('t_delay_all', 't_delay.all.#', 't_delay.take', owner => 't_delay') \gset

-- Due: delivered once, then, as what it was published as.
-- What is to happen before the time comes takes as long as the machine needs: ten times that.
SELECT clock_timestamp() AS began \gset
SELECT eda.publish('t_delay.all.a', '{"n": 0}', 'k') \gset
CALL eda.wait('t_delay_all');
SELECT is(taken('t_delay_all'), '0', 'an event without a delay is delivered');
TRUNCATE got;
SELECT clock_timestamp() + interval '300 ms' + 10 * (clock_timestamp() - :'began') AS due \gset
SELECT eda.publish('t_delay.all.a', '{"n": 1}', 'k', '{"h": 1}', :'due', correlation_id => 'c', causation_id => 3) AS id \gset
SELECT published_at AS published FROM eda.delayed_event WHERE event_id = :id \gset
SELECT eda.publish('t_delay.all.a', '{"n": 2}', 'k') AS second \gset
CALL eda.wait('t_delay_all');
SELECT results_eq($$SELECT state, at FROM eda.trace($$ || :id || ')', $$VALUES ('delayed', $$ || quote_literal(:'due') || '::timestamptz)',
                  'eda.trace: delayed until then');
SELECT is(taken('t_delay_all'), '2', 'events published later are delivered before it, also of its key, and eda.wait() does not wait for it');
CALL wait_until($$taken('t_delay_all') = '2 1'$$);
SELECT is(g.id, :id::bigint, 'delivered under its id') FROM got g WHERE payload ->> 'n' = '1';
SELECT ok(at >= :'due', 'not before its time') FROM got WHERE id = :id;
SELECT ok(at < :'due'::timestamptz + interval '3 s', 'and without a poll') FROM got WHERE id = :id;
SELECT results_eq('SELECT topic, key, payload, headers, published_at, published_by, correlation_id, causation_id, hops FROM eda.events WHERE id = ' || :id,
    format($$VALUES ('t_delay.all.a', 'k', '{"n": 1}'::jsonb, '{"h": 1}'::jsonb, %L::timestamptz, current_user::regrole, 'c', 3::bigint, 0)$$, :'published'),
    'in the log as it was published');
SELECT is(deliver_at, :'due'::timestamptz, 'with the time when it was due') FROM eda.log WHERE id = :id;
SELECT is(count(*), 0::bigint, 'and no longer delayed') FROM eda.delayed WHERE event_id = :id;
SELECT is(state, 'handled', 'eda.trace: handled') FROM eda.trace(:id);
SELECT ok(NOT eda.cancel(:id), 'it cannot be cancelled any more');
SELECT ok(bool_or(first_id <= :id AND last_id >= :second), 'eda.segments: an id out of order is within the first and last') FROM eda.segments;
SELECT is(backlog, 0::bigint, 'nothing is left') FROM eda.subscriptions WHERE subscription = 't_delay_all';

-- eda.wait() waits for what was due when it was called.
SELECT clock_timestamp() + interval '50 ms' AS due \gset
SELECT count(eda.publish('t_delay.all.wait', to_jsonb(i), deliver_at => :'due')) FROM generate_series(1, 100) i \gset
CALL until(:'due');
CALL eda.wait('t_delay_all');
SELECT is(count(*), 100::bigint, 'eda.wait() waits for what was due when it was called') FROM got WHERE topic = 't_delay.all.wait';

-- A nearer time than the nearest so far; a further one.
SELECT eda.publish('t_delay.all.far', '{"n": "far"}', deliver_at => clock_timestamp() + interval '1 hour') AS far \gset
SELECT clock_timestamp() + interval '1 s' AS due \gset
SELECT eda.publish('t_delay.all.near', '{"n": "near"}', deliver_at => :'due') \gset
SELECT eda.publish('t_delay.all.near', '{"n": "nearer"}', deliver_at => clock_timestamp() + interval '200 ms') \gset
CALL wait_until($$EXISTS (SELECT FROM got WHERE payload ->> 'n' = 'near')$$);
SELECT is(string_agg(payload ->> 'n', ' ' ORDER BY n), 'nearer near', 'a nearer time comes first') FROM got WHERE topic = 't_delay.all.near';
SELECT ok(at - :'due' BETWEEN '0' AND '3 s', 'each in time') FROM got WHERE payload ->> 'n' = 'near';
SELECT ok(eda.cancel(:far), 'one that is not due can be cancelled');

-- More than one transaction moves; many topics; those that are due together run in the order of their ids.
SELECT clock_timestamp() + interval '1 s' AS due \gset
SELECT count(eda.publish('t_delay.all.many' || i % 10, to_jsonb(i), 'k' || i % 7, deliver_at => :'due'::timestamptz - (i % 50) * interval '1 us'))
  FROM generate_series(1, 2500) i \gset
CALL until(:'due');
CALL eda.wait('t_delay_all');
SELECT results_eq($$SELECT count(*), count(DISTINCT id) FROM got WHERE topic ~ 'many'$$, 'VALUES (2500::bigint, 2500::bigint)', 'many at once: each of them once');
SELECT is(count(*), 0::bigint, 'and none is left behind') FROM eda.delayed WHERE topic ~ 't_delay';

-- Who gets it: whoever is subscribed when it is due.
SELECT eda.subscribe('t_delay_gone', 't_delay.who', 't_delay.take', owner => 't_delay') \gset
SELECT clock_timestamp() + interval '500 ms' AS due \gset
SELECT eda.publish('t_delay.who', '{"n": 1}', deliver_at => :'due') AS id \gset
SELECT ok(eda.unsubscribe('t_delay_gone'), 'a delayed event does not keep a subscription');
SELECT eda.subscribe('t_delay_who', 't_delay.who', 't_delay.take', owner => 't_delay') \gset
SELECT eda.subscribe('t_delay_who_at', 't_delay.who', 't_delay.take', owner => 't_delay', start_at => clock_timestamp()) \gset
SELECT eda.subscribe('t_delay_who_after', 't_delay.who', 't_delay.take', owner => 't_delay', start_at => :'due'::timestamptz + interval '1 hour') \gset
CALL until(:'due');
CALL eda.wait();
SELECT is(taken('t_delay_who'), '1', 'who subscribes after it was published and before it is due gets it');
SELECT is(taken('t_delay_who_at'), '1', 'start_at goes by the time when it is due');
SELECT is(taken('t_delay_gone'), '', 'who has unsubscribed by then does not');

-- Expiry counts from the time when it is due.
SELECT eda.subscribe('t_delay_expire', 't_delay.expire', 't_delay.take', owner => 't_delay', expire_after => '400 ms') \gset
SELECT clock_timestamp() + interval '1 s' AS due \gset
SELECT eda.publish('t_delay.expire', '{"n": 1}', deliver_at => :'due') \gset
CALL until(:'due');
CALL eda.wait('t_delay_expire');
SELECT is(taken('t_delay_expire'), '1', 'a delay does not make it expire');
SELECT eda.pause('t_delay_expire') \gset
SELECT clock_timestamp() + interval '50 ms' AS due \gset
SELECT eda.publish('t_delay.expire', '{"n": 2}', deliver_at => :'due') AS id \gset
CALL until(:'due'::timestamptz + interval '450 ms');
CALL wait_until(format($$NOT EXISTS (SELECT FROM eda.delayed WHERE event_id = %s)$$, :id));
SELECT eda.resume('t_delay_expire') \gset
CALL eda.wait('t_delay_expire');
SELECT is(reason, 'expired', 'but being late after it does') FROM eda.dead_letters WHERE subscription = 't_delay_expire' AND event_id = :id;

-- A handler delays: what it publishes is its own, with what it inherits.
CREATE FUNCTION relay(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM eda.publish('t_delay.relayed', e.payload, e.key, deliver_at => clock_timestamp() + interval '100 ms');
    IF e.attempt = 1 THEN
        RAISE EXCEPTION 'once';
    END IF;
END $$;
SELECT eda.subscribe('t_delay_relay', 't_delay.relay', 't_delay.relay', owner => 't_delay', backoff => '5 ms') \gset
SELECT eda.subscribe('t_delay_relayed', 't_delay.relayed', 't_delay.take', owner => 't_delay') \gset
SELECT eda.publish('t_delay.relay', '{"n": 1}', 'k', correlation_id => 'order 5') AS id \gset
CALL wait_until($$taken('t_delay_relayed') <> ''$$);
SELECT is(taken('t_delay_relayed'), '1', 'a handler''s delayed event is undone with it');
SELECT results_eq($$SELECT e.correlation_id, e.causation_id, e.hops, e.published_by FROM eda.events e JOIN got g USING (id) WHERE g.sub = 't_delay_relayed'$$,
    format($$VALUES ('order 5', %s::bigint, 1, 't_delay'::regrole)$$, :id), 'correlation, causation, hops and publisher survive the delay');
SELECT is(hops, 1, 'and its handler sees them') FROM got WHERE sub = 't_delay_relayed';

-- A payload that is out of line, compressed or not, arrives whole.
CREATE TABLE wide (payload jsonb);
ALTER TABLE wide ALTER payload SET STORAGE EXTERNAL;
INSERT INTO wide SELECT jsonb_build_object('n', 1, 's', string_agg(md5(i::text), '')) FROM generate_series(1, 3000) i;
SELECT eda.subscribe('t_delay_wide', 't_delay.wide', 't_delay.take', owner => 't_delay') \gset
SELECT clock_timestamp() + interval '100 ms' AS due \gset
SELECT eda.publish('t_delay.wide', payload, repeat('k', 1024), deliver_at => :'due', correlation_id => repeat('c', 1024)) FROM wide \gset
SELECT eda.publish('t_delay.wide', jsonb_build_object('n', 2, 's', repeat('wide', 100000)), repeat('k', 1024), deliver_at => :'due') \gset
CALL until(:'due');
CALL eda.wait('t_delay_wide');
SELECT is(g.payload, w.payload, 'out of line') FROM got g, wide w WHERE g.sub = 't_delay_wide' AND g.payload ->> 'n' = '1';
SELECT is(length(payload ->> 's'), 400000, 'compressed') FROM got WHERE sub = 't_delay_wide' AND payload ->> 'n' = '2';

-- eda.run_pending(): what is due, own uncommitted ones included.
BEGIN;
SELECT clock_timestamp() + interval '200 ms' AS due \gset
SELECT eda.publish('t_delay.all.pending', '{"n": "due"}', deliver_at => :'due') \gset
SELECT eda.publish('t_delay.all.pending', '{"n": "not due"}', deliver_at => clock_timestamp() + interval '1 hour') \gset
SELECT is(eda.run_pending('t_delay_all'), 0::bigint, 'eda.run_pending(): not before they are due');
CALL until(:'due');
SELECT is(eda.run_pending('t_delay_all'), 1::bigint, 'when they are');
SELECT is(string_agg(payload ->> 'n', ' '), 'due', 'and no others') FROM got WHERE topic = 't_delay.all.pending';
ROLLBACK;

-- What cannot be moved stays, is reported, and keeps nobody else; then it is moved.
SELECT relation::regclass AS segment FROM eda.segment WHERE state = 'o' ORDER BY segment DESC LIMIT 1 \gset
CREATE UNIQUE INDEX t_delay_unique ON :segment (id);
SELECT eda.publish('t_delay.all.stuck', '{"n": "stuck"}', deliver_at => clock_timestamp() + interval '100 ms') AS id \gset
CALL wait_until(format($$NOT EXISTS (SELECT FROM eda.delayed WHERE event_id = %s AND deliver_at > clock_timestamp())$$, :id));
SELECT pid AS dispatcher FROM eda.workers WHERE kind = 'dispatcher' AND database = current_database() \gset
SELECT is(count(*), 1::bigint, 'it stays where it is') FROM eda.delayed WHERE event_id = :id;
DROP INDEX eda.t_delay_unique;
SELECT eda.publish('t_delay.all.other', '{"n": "other"}') \gset
CALL wait_until($$EXISTS (SELECT FROM got WHERE payload ->> 'n' = 'stuck')$$);
SELECT is(count(*), 1::bigint, 'until what was in its way is gone') FROM got WHERE payload ->> 'n' = 'stuck';
SELECT is(pid, :dispatcher::int, 'and its dispatcher lives') FROM eda.workers WHERE kind = 'dispatcher' AND database = current_database();

-- Back-off: spread by a quarter each way, and never above its cap.
CREATE FUNCTION fail(e eda.event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no'; END $$;
SELECT eda.subscribe('t_delay_backoff', 't_delay.backoff', 't_delay.fail', owner => 't_delay', backoff => '1000 s', max_backoff => '3000 s',
                     block_after => 100000) AS sub, eda.publish_batch('t_delay.backoff', ARRAY(SELECT to_jsonb(i) FROM generate_series(1, 80) i)) \gset
CREATE VIEW delays AS
    SELECT attempt, extract(epoch FROM next_attempt_at - attempt_history[cardinality(attempt_history)]) AS s
      FROM eda.retry r JOIN eda.subscription USING (subscription_id) WHERE name = 't_delay_backoff';
CREATE PROCEDURE next_attempt(n int) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM eda.pause('t_delay_backoff');
    UPDATE eda.retry r SET next_attempt_at = clock_timestamp() FROM eda.subscription s
     WHERE s.subscription_id = r.subscription_id AND s.name = 't_delay_backoff';
    PERFORM eda.resume('t_delay_backoff');
    COMMIT;
    CALL wait_until(format('count(*) = 80 FROM delays WHERE attempt = %s', n));
END $$;
CALL wait_until('count(*) = 80 FROM delays WHERE attempt = 1');
SELECT ok(min(s) >= 749 AND max(s) <= 1251 AND max(s) - min(s) > 250, 'back-off is spread by up to a quarter: ' || min(s) || ' to ' || max(s)) FROM delays;
CALL next_attempt(2);
SELECT ok(min(s) >= 1499 AND max(s) <= 2501 AND max(s) - min(s) > 500, 'doubles: ' || min(s) || ' to ' || max(s)) FROM delays;
CALL next_attempt(3);
SELECT ok(min(s) >= 2249 AND max(s) <= 3001 AND max(s) - min(s) > 300, 'and is capped, spread included: ' || min(s) || ' to ' || max(s)) FROM delays;
CALL next_attempt(4);
SELECT ok(min(s) >= 2249 AND max(s) <= 3001, 'for good: ' || min(s) || ' to ' || max(s)) FROM delays;
SELECT eda.pause('t_delay_backoff') \gset
DELETE FROM eda.retry r USING eda.subscription s WHERE s.subscription_id = r.subscription_id AND s.name = 't_delay_backoff';

\ir include/end.sql
