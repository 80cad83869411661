-- eda.seek and eda.replay: what they return and refuse, and what becomes of waiting events and dead letters.
--
-- The subscriptions are paused before anything is published, so live workers leave them alone.
SET client_min_messages = error;
CREATE ROLE regress_eda_app LOGIN;
CREATE ROLE regress_eda_other LOGIN;
GRANT USAGE ON SCHEMA eda TO regress_eda_app, regress_eda_other;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA eda TO regress_eda_app, regress_eda_other;
CREATE FUNCTION public.regress_eda_f(jsonb) RETURNS void LANGUAGE sql AS '';

BEGIN;
SELECT eda.subscribe('by_key', 'regress.position.*', 'regress_eda_f', owner => 'regress_eda_app');
SELECT eda.subscribe('strict', 'regress.position.*', 'regress_eda_f', ordering => 'strict', owner => 'regress_eda_app');
SELECT eda.subscribe('lanes', 'regress.position.*', 'regress_eda_f', concurrency => 4, owner => 'regress_eda_app');
SELECT eda.pause(s) FROM unnest('{by_key,strict,lanes}'::text[]) s;
COMMIT;

-- Bad input.
SELECT eda.seek(NULL, 'latest');
SELECT eda.seek('by_key', NULL);
SELECT eda.seek('by_key', NULL::text);
SELECT eda.seek('by_key', NULL::timestamptz);
SELECT eda.seek('by_key', NULL::bigint);
SELECT eda.seek('by_key', 'Latest');
SELECT eda.seek('by_key', '2026-01-01');
\echo :SQLSTATE
SELECT eda.seek('by_key', '');
SELECT eda.seek('nobody', 'latest');
\echo :SQLSTATE
SELECT eda.seek('nobody', 1);
SELECT eda.seek('nobody', now());
SELECT eda.replay(NULL, '2026-01-01');
SELECT eda.replay('by_key', NULL);
SELECT eda.replay('by_key', '2026-01-01', NULL);
SELECT eda.replay('by_key', '2026-01-02', '2026-01-01');
\echo :SQLSTATE
SELECT eda.replay('by_key', '2026-01-01', topics => 'a..b');
\echo :SQLSTATE
SELECT eda.replay('nobody', '2026-01-01');
BEGIN READ ONLY;
SELECT eda.seek('by_key', 'latest');
ROLLBACK;
BEGIN READ ONLY;
SELECT eda.replay('by_key', '2026-01-01');
ROLLBACK;

-- Rights.
SET ROLE regress_eda_other;
SELECT eda.seek('by_key', 'latest');
SELECT eda.replay('by_key', '2026-01-01');
SET ROLE regress_eda_app;
SELECT eda.seek('by_key', 'latest'), eda.replay('by_key', '2026-01-01', '2026-01-01');
RESET ROLE;
CREATE ROLE regress_eda_nobody;
SET ROLE regress_eda_nobody;
SELECT eda.seek('by_key', 'latest');
SELECT eda.replay('by_key', '2026-01-01');
RESET ROLE;
DROP ROLE regress_eda_nobody;

-- Eight events, each in a transaction of its own; ids and times are kept.
SELECT clock_timestamp() AS t0 \gset
SELECT eda.publish('regress.position.a', '{"n": 1}', 'a') AS e1 \gset
SELECT eda.publish('regress.position.a', '{"n": 2}', 'b') AS e2 \gset
SELECT eda.publish('regress.position.b', '{"n": 3}', 'a') AS e3 \gset
SELECT eda.publish('regress.position.b', '{"n": 4}') AS e4 \gset
SELECT clock_timestamp() AS t4 \gset
SELECT eda.publish('regress.position.a', '{"n": 5}', 'b') AS e5 \gset
SELECT eda.publish('regress.position.a', '{"n": 6}', 'a') AS e6 \gset
SELECT eda.publish('regress.position.b', '{"n": 7}', 'c') AS e7 \gset
SELECT eda.publish('regress.position.b', '{"n": 8}') AS e8 \gset
SELECT eda.publish('regress.elsewhere', '{"n": 9}') AS e9 \gset
SELECT clock_timestamp() AS t9 \gset

CREATE FUNCTION public.regress_eda_n(id bigint) RETURNS text LANGUAGE sql AS
    $$SELECT payload ->> 'n' FROM eda.events e WHERE e.id = $1$$;
CREATE VIEW public.regress_eda_waiting AS
    SELECT s.name, string_agg(public.regress_eda_n(event_id) || CASE WHEN next_attempt_at IS NOT NULL THEN '!' ELSE '' END, ' ' ORDER BY seq) AS waiting
      FROM eda.retry JOIN eda.subscription s USING (subscription_id) GROUP BY 1;
-- Where a subscription is: which of the eight it says are still to come.
CREATE FUNCTION public.regress_eda_pending(sub text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(e.payload ->> 'n', ' ' ORDER BY e.id) FROM eda.events e, eda.trace(e.id) t
     WHERE t.subscription = sub AND t.state = 'pending';
$$;
SELECT s, public.regress_eda_pending(s) FROM unnest('{by_key,strict,lanes}'::text[]) s;

-- Seek forward and back: what it returns, and what is pending after it.
SELECT eda.seek('by_key', 'latest') AS skipped, public.regress_eda_pending('by_key') AS before_it;
SELECT public.regress_eda_pending('by_key');
SELECT eda.seek('by_key', 'latest') AS skipped;
SELECT eda.seek('by_key', :e6) AS rewound;
SELECT public.regress_eda_pending('by_key');
SELECT eda.seek('by_key', :e9) AS skipped;
SELECT public.regress_eda_pending('by_key');
SELECT eda.seek('by_key', :e3) AS rewound;
SELECT public.regress_eda_pending('by_key');
SELECT eda.seek('by_key', :'t4'::timestamptz) AS skipped;
SELECT public.regress_eda_pending('by_key');
SELECT eda.seek('by_key', :'t0'::timestamptz) AS rewound;
SELECT public.regress_eda_pending('by_key');
SELECT eda.seek('by_key', :'t9'::timestamptz) AS skipped;
SELECT public.regress_eda_pending('by_key');
-- earliest finds what other tests left, too: none on these topics
SELECT eda.seek('by_key', 'earliest') AS rewound;
SELECT public.regress_eda_pending('by_key');
SELECT eda.seek('by_key', clock_timestamp() + '1 day') AS skipped;
SELECT eda.seek('by_key', '-infinity'::timestamptz) AS rewound;
SELECT eda.seek('by_key', 'infinity'::timestamptz) AS skipped;
SELECT eda.seek('by_key', -9223372036854775808) AS rewound;
SELECT eda.seek('by_key', 9223372036854775807) AS skipped;
SELECT eda.seek('by_key', 0) AS rewound;
SELECT public.regress_eda_pending('by_key');
SELECT eda.seek('lanes', 'latest'), eda.seek('lanes', :e5);
SELECT public.regress_eda_pending('lanes');
SELECT count(*), count(DISTINCT (pos_id, from_snapshot, to_snapshot)), max(streak) FROM eda.cursor
  JOIN eda.subscription USING (subscription_id) WHERE name = 'lanes';
-- Own events, and those of savepoints.
BEGIN;
SELECT eda.publish('regress.position.a', '{"n": "own 1"}') AS own1 \gset
SAVEPOINT a;
SELECT eda.publish('regress.position.a', '{"n": "rolled back"}') AS gone \gset
ROLLBACK TO a;
SELECT eda.seek('by_key', 'latest') AS skipped;
SELECT eda.publish('regress.position.a', '{"n": "own 2"}') AS own2 \gset
SELECT public.regress_eda_pending('by_key');
-- ids do not count for who is not committed
SELECT eda.seek('by_key', :own2) AS rewound;
SELECT public.regress_eda_pending('by_key');
SAVEPOINT b;
SELECT eda.seek('by_key', 'latest') AS skipped;
ROLLBACK TO b;
SELECT public.regress_eda_pending('by_key');
ROLLBACK;
SELECT public.regress_eda_pending('by_key');

-- What waits: n is put into eda.retry for all of them, in that order.
CREATE PROCEDURE regress_eda_wait(n int[]) LANGUAGE sql AS $$
    TRUNCATE eda.retry;
    INSERT INTO eda.retry (subscription_id, lane, event_id, topic, key, payload, published_at, published_by, hops, attempt,
                           deliveries, next_attempt_at)
    SELECT s.subscription_id, eda._lane(e.key, e.id, s.lanes), e.id, e.topic, e.key, e.payload, e.published_at, 10, 0, 3, 3,
           CASE WHEN s.ordering = 'none' OR (s.ordering = 'key' AND e.key IS NULL)
                  OR row_number() OVER (PARTITION BY s.subscription_id, CASE s.ordering WHEN 'key' THEN e.key END ORDER BY o) = 1
                THEN timestamptz '2100-01-01' END
      FROM eda.subscription s, unnest(n) WITH ORDINALITY u (n, o) JOIN eda.events e ON e.payload ->> 'n' = u.n::text AND e.topic LIKE 'regress.position._'
     WHERE s.name IN ('by_key', 'strict', 'lanes')
     ORDER BY s.subscription_id, o;
$$;
SELECT count(eda.seek(s, 'latest')) FROM unnest('{by_key,strict,lanes}'::text[]) s \gset
CALL regress_eda_wait('{1,3,6,2,5,4}');
SELECT * FROM public.regress_eda_waiting ORDER BY 1;
-- forward: all of it stays
SELECT eda.seek(s, 'latest') FROM unnest('{by_key,strict,lanes}'::text[]) s;
SELECT * FROM public.regress_eda_waiting ORDER BY 1;
-- back: what comes again from the log goes
SELECT eda.seek(s, :e5) FROM unnest('{by_key,strict,lanes}'::text[]) s;
SELECT * FROM public.regress_eda_waiting ORDER BY 1;
-- the first of a queue goes, the next one is due
SELECT count(eda.seek(s, 'latest')) FROM unnest('{by_key,strict,lanes}'::text[]) s \gset
CALL regress_eda_wait('{6,3,5,1,2}');
SELECT * FROM public.regress_eda_waiting ORDER BY 1;
SELECT eda.seek(s, :e5) FROM unnest('{by_key,strict,lanes}'::text[]) s;
SELECT * FROM public.regress_eda_waiting ORDER BY 1;
SELECT eda.seek(s, 'earliest') FROM unnest('{by_key,strict,lanes}'::text[]) s;
SELECT * FROM public.regress_eda_waiting ORDER BY 1;

-- Replay: nothing that comes by itself,
SELECT s, eda.replay(s, :'t0') FROM unnest('{by_key,strict,lanes}'::text[]) s;
-- what has been passed, in the order of the ids,
SELECT eda.seek(s, :e7) FROM unnest('{by_key,strict,lanes}'::text[]) s;
SELECT s, eda.replay(s, :'t0') FROM unnest('{by_key,strict,lanes}'::text[]) s;
SELECT * FROM public.regress_eda_waiting ORDER BY 1;
SELECT DISTINCT attempt, deliveries, reason, error_code, attempt_history FROM eda.retry;
SELECT count(*) FROM eda.retry JOIN eda.subscription s USING (subscription_id) WHERE lane <> eda._lane(key, event_id, s.lanes);
-- not what waits already,
SELECT s, eda.replay(s, :'t0') FROM unnest('{by_key,strict,lanes}'::text[]) s;
-- only of that time,
TRUNCATE eda.retry;
SELECT count(eda.seek(s, 'latest')) FROM unnest('{by_key,strict,lanes}'::text[]) s \gset
SELECT eda.replay('by_key', :'t4');
SELECT * FROM public.regress_eda_waiting ORDER BY 1;
SELECT eda.replay('by_key', :'t0', :'t4');
SELECT * FROM public.regress_eda_waiting ORDER BY 1;
SELECT eda.replay('by_key', :'t9'), eda.replay('by_key', '2000-01-01', '2000-01-02'), eda.replay('by_key', '-infinity', 'infinity');
-- and of those topics, which the subscription means.
TRUNCATE eda.retry;
SELECT eda.replay('by_key', :'t0', topics => 'regress.position.b,regress.elsewhere'), eda.replay('strict', :'t0', topics => '#.elsewhere');
SELECT * FROM public.regress_eda_waiting ORDER BY 1;
-- Behind those that wait.
CALL regress_eda_wait('{6,2}');
SELECT s, eda.replay(s, :'t0') FROM unnest('{by_key,strict}'::text[]) s;
SELECT * FROM public.regress_eda_waiting ORDER BY 1;
-- What was before its start, and a filter is not asked.
TRUNCATE eda.retry;
BEGIN;
SELECT eda.subscribe('late', 'regress.position.*', 'regress_eda_f', filter => '$.n > 3', ordering => 'none', owner => 'regress_eda_app');
SELECT eda.pause('late');
COMMIT;
SELECT eda.replay('late', :'t0', :'t4');
SELECT * FROM public.regress_eda_waiting ORDER BY 1;
SELECT eda.seek('late', :'t9'::timestamptz), eda.replay('late', :'t0');
SELECT * FROM public.regress_eda_waiting ORDER BY 1;

-- Dead letters: a replay leaves them alone, a seek, too; redriven they go where they wait already.
TRUNCATE eda.retry;
CALL regress_eda_wait('{2,5}');
INSERT INTO eda.dead_letter (subscription_id, lane, event_id, topic, key, payload, published_at, published_by, hops, reason, attempts,
                             attempt_history, died_at)
SELECT s.subscription_id, 63, e.id, e.topic, e.key, e.payload, e.published_at, 10, 0, 'rejected', 1, '{}', now()
  FROM eda.subscription s, eda.events e
 WHERE s.name IN ('by_key', 'strict', 'lanes') AND e.id IN (:e2, :e3, :e4, :e6);
SELECT eda.seek(s, :e4) FROM unnest('{by_key,strict,lanes}'::text[]) s;
SELECT s, eda.replay(s, :'t0') FROM unnest('{by_key,strict,lanes}'::text[]) s;
SELECT * FROM public.regress_eda_waiting ORDER BY 1;
SELECT subscription, string_agg(payload ->> 'n', ' ' ORDER BY event_id) FROM eda.dead_letters GROUP BY 1 ORDER BY 1;
SELECT s, eda.redrive(s, ARRAY[:e6, :e2, :e3]), eda.redrive_all(s) FROM unnest('{by_key,strict,lanes}'::text[]) s;
SELECT * FROM public.regress_eda_waiting ORDER BY 1;
SELECT subscription, dead FROM eda.subscriptions WHERE subscription IN ('by_key', 'strict', 'lanes') ORDER BY 1;
SELECT count(*) FROM eda.retry JOIN eda.subscription s USING (subscription_id) WHERE lane <> eda._lane(key, event_id, s.lanes);
-- One that waits and is a dead letter, too, is skipped.
INSERT INTO eda.dead_letter (subscription_id, lane, event_id, topic, key, payload, published_at, published_by, hops, reason, attempts,
                             attempt_history, died_at)
SELECT s.subscription_id, 0, e.id, e.topic, e.key, e.payload, e.published_at, 10, 0, 'rejected', 7, '{}', now()
  FROM eda.subscription s, eda.events e WHERE s.name = 'by_key' AND e.id = :e2;
SELECT eda.skip('by_key', :e2);
SELECT reason, attempts FROM eda.dead_letters WHERE subscription = 'by_key';
SELECT * FROM public.regress_eda_waiting WHERE name = 'by_key';

-- A number of lanes that waited for its fence comes with the seek.
UPDATE eda.cursor c SET pos_id = :e5 FROM eda.subscription s WHERE s.subscription_id = c.subscription_id AND name = 'lanes' AND lane = 1;
SELECT eda.alter_subscription('lanes', '{"concurrency": 2}');
SELECT lanes, fence IS NOT NULL AS fence FROM eda.subscription WHERE name = 'lanes';
SELECT eda.seek('lanes', 'latest') IS NOT NULL AS sought;
SELECT lanes, fence IS NOT NULL AS fence FROM eda.subscription WHERE name = 'lanes';
SELECT count(*) FROM eda.cursor JOIN eda.subscription USING (subscription_id) WHERE name = 'lanes';

SELECT eda.unsubscribe(subscription, true) FROM eda.subscriptions;
DROP PROCEDURE regress_eda_wait(int[]);
DROP VIEW public.regress_eda_waiting;
DROP FUNCTION public.regress_eda_pending(text), public.regress_eda_n(bigint), public.regress_eda_f(jsonb);
DROP OWNED BY regress_eda_app, regress_eda_other;
DROP ROLE regress_eda_app, regress_eda_other;
