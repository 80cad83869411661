-- What one event does to those behind it, with each ordering, step by step (order_in_the_end.sql looks at the end): in one
-- batch and across batches, one event a transaction after a failure at commit, when those that waited fail in
-- their turn, with several keys.
\set test t_ordering
\ir include/begin.sql
SELECT plan(16);

-- What event "n" of a subscription does now.
CREATE TABLE plan (sub text, n int, act text);
CREATE TABLE nothing (n int PRIMARY KEY);
CREATE TABLE promise (n int REFERENCES nothing DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION act(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE a text := (SELECT p.act FROM plan p WHERE p.sub = e.subscription AND p.n = (e.payload ->> 'n')::int);
BEGIN
    PERFORM take(e);
    CASE a
        WHEN 'fail' THEN RAISE EXCEPTION 'failed';
        WHEN 'snooze' THEN PERFORM eda.snooze('20 ms');
        WHEN 'retry' THEN PERFORM eda.retry_after('20 ms');
        WHEN 'commit' THEN INSERT INTO promise VALUES (1);
        WHEN 'reject' THEN PERFORM eda.reject('rejected');
        ELSE NULL;
    END CASE;
END $$;
-- What waits: the events that are tried again, and in parentheses those behind them.
CREATE FUNCTION waiting(sub text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(CASE WHEN next_attempt_at IS NULL THEN '(' || n || ')' ELSE n END, ' ' ORDER BY event_id), '')
      FROM (SELECT r.*, e.payload ->> 'n' AS n FROM eda.retries r JOIN eda.events e ON e.id = event_id WHERE r.subscription = sub) x;
$$;
CREATE FUNCTION dead(sub text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(payload ->> 'n', ' ' ORDER BY event_id), '') FROM eda.dead_letters d WHERE d.subscription = sub;
$$;
CREATE FUNCTION look(sub text) RETURNS text LANGUAGE sql AS $$SELECT concat_ws('; ', taken(sub), waiting(sub), dead(sub))$$;
-- One subscription for each ordering and each thing that an event may do.
CREATE FUNCTION subscribe_all(topic text, acts text[], place int, max_attempts int) RETURNS void LANGUAGE sql AS $$
    SELECT eda.subscribe(format('t_ordering_%s_%s_%s', topic, o, a), 't_ordering.' || topic, 't_ordering.act', owner => 't_ordering', ordering => o,
                         backoff => '20 ms', max_backoff => '20 ms', max_attempts => max_attempts, block_after => 100000)
      FROM unnest('{none,key,strict}'::text[]) o, unnest(acts) a;
    INSERT INTO plan SELECT format('t_ordering_%s_%s_%s', topic, o, a), place, a FROM unnest('{none,key,strict}'::text[]) o, unnest(acts) a;
$$;
CREATE FUNCTION publish(topic text, ns int[], keys text[]) RETURNS void LANGUAGE sql AS $$
    SELECT eda.publish_batch('t_ordering.' || topic, array_agg(jsonb_build_object('n', n) ORDER BY o), keys) FROM unnest(ns) WITH ORDINALITY u(n, o);
$$;
-- All subscriptions of a topic and an ordering look like this.
CREATE FUNCTION all_look(topic text, which text, wanted text) RETURNS boolean LANGUAGE sql AS $$
    SELECT bool_and(look(subscription) = wanted) FROM eda.subscriptions WHERE starts_with(subscription, format('t_ordering_%s_%s_', topic, which));
$$;
CREATE FUNCTION looks(topic text) RETURNS TABLE (ordering text, act text, look text) LANGUAGE sql AS $$
    SELECT split_part(subscription, '_', 4), split_part(subscription, '_', 5), look(subscription)
      FROM eda.subscriptions WHERE starts_with(subscription, 't_ordering_' || topic || '_') ORDER BY 1, 2;
$$;

-- An event that comes back: those behind it, in its batch and in a later one.
SELECT subscribe_all('back', '{fail,snooze,retry,commit}', 2, 100000) \gset
SELECT publish('back', '{1,2,3,4,5}', '{a,a,b,NULL,a}') \gset
CALL wait_until($$all_look('back', 'none', '1 3 4 5; 2; ') AND all_look('back', 'key', '1 3 4; 2 (5); ') AND all_look('back', 'strict', '1; 2; ')$$);
SELECT results_eq($$SELECT * FROM looks('back')$$,
    $$SELECT o, a, w FROM (VALUES ('key', '1 3 4; 2 (5); '), ('none', '1 3 4 5; 2; '), ('strict', '1; 2; ')) x (o, w), unnest('{commit,fail,retry,snooze}'::text[]) a ORDER BY 1, 2$$,
    'one that comes back, in its batch: none passes it, key all but its key''s, strict nobody');
SELECT publish('back', '{6,7}', '{a,b}') \gset
CALL wait_until($$all_look('back', 'none', '1 3 4 5 6 7; 2; ') AND all_look('back', 'key', '1 3 4 7; 2 (5) (6); ')$$);
SELECT results_eq($$SELECT * FROM looks('back')$$,
    $$SELECT o, a, w FROM (VALUES ('key', '1 3 4 7; 2 (5) (6); '), ('none', '1 3 4 5 6 7; 2; '), ('strict', '1; 2; ')) x (o, w), unnest('{commit,fail,retry,snooze}'::text[]) a ORDER BY 1, 2$$,
    'and those of a later batch');
-- it has come back more than once by now
CALL wait_until($$(SELECT count(*) = 12 FROM eda.retry r JOIN eda.subscription s USING (subscription_id) WHERE s.name LIKE 't\_ordering\_back\_%' AND r.deliveries > 2)$$);
SELECT results_eq($$SELECT * FROM looks('back')$$,
    $$SELECT o, a, w FROM (VALUES ('key', '1 3 4 7; 2 (5) (6); '), ('none', '1 3 4 5 6 7; 2; '), ('strict', '1; 2; ')) x (o, w), unnest('{commit,fail,retry,snooze}'::text[]) a ORDER BY 1, 2$$,
    'nor does it let anybody pass when it is tried again');
SELECT is(max(attempt) FILTER (WHERE next_attempt_at IS NULL), 0, 'who waits behind it has no attempt') FROM eda.retries WHERE subscription LIKE 't\_ordering\_back\_%';
TRUNCATE plan;
CALL wait_until($$all_look('back', 'none', '1 3 4 5 6 7 2; ; ') AND all_look('back', 'key', '1 3 4 7 2 5 6; ; ') AND all_look('back', 'strict', '1 2 3 4 5 6 7; ; ')$$);
SELECT results_eq($$SELECT * FROM looks('back')$$,
    $$SELECT o, a, w FROM (VALUES ('key', '1 3 4 7 2 5 6; ; '), ('none', '1 3 4 5 6 7 2; ; '), ('strict', '1 2 3 4 5 6 7; ; ')) x (o, w), unnest('{commit,fail,retry,snooze}'::text[]) a ORDER BY 1, 2$$,
    'when it is through, those that waited follow in order');
SELECT results_eq($$SELECT split_part(sub, '_', 5), bool_and(attempt = 1), bool_and(redelivered) FROM got WHERE sub LIKE 't\_ordering\_back\_%' AND payload ->> 'n' = '2' GROUP BY 1 ORDER BY 1$$,
    $$VALUES ('commit', false, true), ('fail', false, true), ('retry', false, true), ('snooze', true, true)$$, 'its attempts count, but for a snoozed one''s');
SELECT ok(bool_and(attempt = 1 AND NOT redelivered), 'the others had one each') FROM got WHERE sub LIKE 't\_ordering\_back\_%' AND payload ->> 'n' <> '2';

-- One that dies at once: nobody waits for it.
SELECT subscribe_all('dies', '{fail,commit,reject}', 2, 1) \gset
SELECT publish('dies', '{1,2,3,4,5}', '{a,a,b,NULL,a}') \gset
SELECT publish('dies', '{6,7}', '{a,b}') \gset
CALL wait_until($$(SELECT bool_and(look = '1 3 4 5 6 7; ; 2') FROM looks('dies'))$$);
SELECT results_eq($$SELECT * FROM looks('dies')$$,
    $$SELECT o, a, '1 3 4 5 6 7; ; 2' FROM unnest('{key,none,strict}'::text[]) o, unnest('{commit,fail,reject}'::text[]) a ORDER BY 1, 2$$,
    'one that dies: the others go on in order, whatever the ordering');

-- Those that waited fail in their turn: come back, or die.
SELECT subscribe_all('turn', '{fail,commit}', 1, 100000) \gset
INSERT INTO plan SELECT sub, 3, act FROM plan WHERE sub LIKE 't\_ordering\_turn\_%';
INSERT INTO plan SELECT sub, 4, 'reject' FROM plan WHERE sub LIKE 't\_ordering\_turn\_%' AND n = 1;
SELECT publish('turn', '{1,2,3,4,5}', '{a,a,a,a,a}') \gset
CALL wait_until($$all_look('turn', 'none', '2 5; 1 3; 4') AND all_look('turn', 'key', '; 1 (2) (3) (4) (5); ') AND all_look('turn', 'strict', '; 1; ')$$);
DELETE FROM plan WHERE n = 1;
CALL wait_until($$all_look('turn', 'none', '2 5 1; 3; 4') AND all_look('turn', 'key', '1 2; 3 (4) (5); ') AND all_look('turn', 'strict', '1 2; 3; ')$$);
SELECT results_eq($$SELECT * FROM looks('turn')$$,
    $$SELECT o, a, w FROM (VALUES ('key', '1 2; 3 (4) (5); '), ('none', '2 5 1; 3; 4'), ('strict', '1 2; 3; ')) x (o, w), unnest('{commit,fail}'::text[]) a ORDER BY 1, 2$$,
    'one that waited fails in its turn: the others wait behind it now');
DELETE FROM plan WHERE n = 3;
CALL wait_until($$all_look('turn', 'none', '2 5 1 3; ; 4') AND all_look('turn', 'key', '1 2 3 5; ; 4') AND all_look('turn', 'strict', '1 2 3 5; ; 4')$$);
SELECT results_eq($$SELECT * FROM looks('turn')$$,
    $$SELECT o, a, w FROM (VALUES ('key', '1 2 3 5; ; 4'), ('none', '2 5 1 3; ; 4'), ('strict', '1 2 3 5; ; 4')) x (o, w), unnest('{commit,fail}'::text[]) a ORDER BY 1, 2$$,
    'one that dies in its turn lets the next one go');

-- Two keys, and events without one, which are alone.
SELECT subscribe_all('keys', '{fail,snooze,commit}', 1, 100000) \gset
INSERT INTO plan SELECT sub, unnest('{3,5}'::int[]), act FROM plan WHERE sub LIKE 't\_ordering\_keys\_%';
SELECT publish('keys', '{1,2,3,4,5,6,7}', '{a,a,b,b,NULL,NULL,c}') \gset
CALL wait_until($$all_look('keys', 'none', '2 4 6 7; 1 3 5; ') AND all_look('keys', 'key', '6 7; 1 (2) 3 (4) 5; ') AND all_look('keys', 'strict', '; 1; ')$$);
SELECT results_eq($$SELECT * FROM looks('keys')$$,
    $$SELECT o, a, w FROM (VALUES ('key', '6 7; 1 (2) 3 (4) 5; '), ('none', '2 4 6 7; 1 3 5; '), ('strict', '; 1; ')) x (o, w), unnest('{commit,fail,snooze}'::text[]) a ORDER BY 1, 2$$,
    'each key by itself, and events without a key not at all');
DELETE FROM plan WHERE n = 3;
CALL wait_until($$all_look('keys', 'key', '6 7 3 4; 1 (2) 5; ')$$);
SELECT results_eq($$SELECT act, look FROM looks('keys') WHERE ordering = 'key'$$, $$VALUES ('commit', '6 7 3 4; 1 (2) 5; '), ('fail', '6 7 3 4; 1 (2) 5; '), ('snooze', '6 7 3 4; 1 (2) 5; ')$$,
    'one key is free again, the other is not');
TRUNCATE plan;
CALL wait_until($$(SELECT bool_and(handled = 7 AND retrying = 0) FROM eda.subscriptions WHERE subscription LIKE 't\_ordering\_keys\_%')$$);
SELECT ok(bool_and(ordered), 'in the end each key was in order, and all with strict')
  FROM (SELECT sub, key, bool_and(was IS NULL OR was < id) AS ordered
          FROM (SELECT *, lag(id) OVER (PARTITION BY sub, CASE WHEN sub LIKE '%\_key\_%' THEN key END ORDER BY n) AS was FROM got
                 WHERE sub LIKE 't\_ordering\_keys\_strict\_%' OR (sub LIKE 't\_ordering\_keys\_key\_%' AND key IS NOT NULL)) x
         GROUP BY sub, key) y;

-- What waits behind another is not looked at before its turn: neither its filter nor its age.
SELECT eda.subscribe('t_ordering_filter', 't_ordering.filter', 't_ordering.act', owner => 't_ordering', filter => '$.n != 2', backoff => '20 ms', max_backoff => '20 ms',
                     max_attempts => 100000, block_after => 100000) \gset
INSERT INTO plan VALUES ('t_ordering_filter', 1, 'fail');
SELECT publish('filter', '{1,2,3}', '{a,a,a}') \gset
CALL wait_until($$look('t_ordering_filter') = '; 1 (2) (3); '$$);
SELECT is((SELECT look('t_ordering_filter') || filtered FROM eda.subscriptions WHERE subscription = 't_ordering_filter'), '; 1 (2) (3); 0', 'a filter waits for its event''s turn');
TRUNCATE plan;
CALL wait_until($$look('t_ordering_filter') = '1 3; ; '$$);
SELECT is((SELECT look('t_ordering_filter') || filtered FROM eda.subscriptions WHERE subscription = 't_ordering_filter'), '1 3; ; 1', 'what does not pass lets the next one go');

-- One that is too old lets the next one go, too.
SELECT eda.subscribe('t_ordering_old', 't_ordering.old', 't_ordering.act', owner => 't_ordering', backoff => '20 ms', max_backoff => '20 ms',
                     max_attempts => 100000, block_after => 100000) \gset
INSERT INTO plan VALUES ('t_ordering_old', 1, 'snooze');
SELECT publish('old', '{1,2}', '{a,a}') \gset
CALL wait_until($$look('t_ordering_old') = '; 1 (2); '$$);
CALL wait_until($$(SELECT max(published_at) < clock_timestamp() - interval '2.01 s' FROM eda.events WHERE topic = 't_ordering.old')$$);
SELECT publish('old', '{3}', '{a}') \gset
SELECT eda.alter_subscription('t_ordering_old', '{"expire_after": "2 s"}') \gset
CALL wait_until($$look('t_ordering_old') = '3; ; 1 2'$$);
SELECT is(look('t_ordering_old'), '3; ; 1 2', 'those that expire let the next one go');

\ir include/end.sql
