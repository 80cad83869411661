-- Where a subscription begins: latest, earliest, start_at.
\set test t_start
\ir include/begin.sql
SELECT plan(17);
-- 'earliest' would find what an earlier run published
SELECT 't_start.r' || pg_current_xact_id() AS r \gset

-- latest, in the transaction that publishes: not what came before the call, but what comes after it.
SELECT eda.publish(:'r' || '.a', '{"n": "committed before"}') \gset
BEGIN;
SELECT eda.publish(:'r' || '.a', '{"n": "before"}') \gset
SAVEPOINT s;
SELECT eda.publish(:'r' || '.a', '{"n": "before, in a savepoint"}') \gset
RELEASE s;
SELECT eda.subscribe('t_start_latest', :'r' || '.a', 't_start.take', owner => 't_start') \gset
SELECT eda.publish(:'r' || '.a', '{"n": 1}') \gset
SAVEPOINT s;
SELECT eda.publish(:'r' || '.a', '{"n": 2}') \gset
RELEASE s;
SAVEPOINT s;
SELECT eda.publish(:'r' || '.a', '{"n": "rolled back"}') \gset
ROLLBACK TO s;
SELECT eda.subscribe('t_start_latest2', :'r' || '.a', 't_start.take', owner => 't_start') \gset
SELECT eda.publish(:'r' || '.a', '{"n": 3}') \gset
COMMIT;
SELECT eda.publish(:'r' || '.a', '{"n": 4}') \gset
CALL eda.wait('t_start_latest');
CALL eda.wait('t_start_latest2');
SELECT is(taken('t_start_latest'), '1 2 3 4', 'latest: what is published after the call');
SELECT is(taken('t_start_latest2'), '3 4', 'latest: two calls in one transaction');
SELECT is((handled, backlog)::text, '(4,0)', 'latest: counted') FROM eda.subscriptions WHERE subscription = 't_start_latest';
-- subscribe in a savepoint
BEGIN;
SELECT eda.publish(:'r' || '.b', '{"n": "before"}') \gset
SAVEPOINT s;
SELECT eda.subscribe('t_start_gone', :'r' || '.b', 't_start.take', owner => 't_start') \gset
ROLLBACK TO s;
SELECT eda.publish(:'r' || '.b', '{"n": "between"}') \gset
SAVEPOINT s;
SELECT eda.subscribe('t_start_savepoint', :'r' || '.b', 't_start.take', owner => 't_start') \gset
SELECT eda.publish(:'r' || '.b', '{"n": 1}') \gset
RELEASE s;
COMMIT;
CALL eda.wait('t_start_savepoint');
SELECT is(taken('t_start_savepoint'), '1', 'latest: in a savepoint');
SELECT is_empty($$SELECT * FROM eda.subscriptions WHERE subscription = 't_start_gone'$$, 'one in a rolled-back savepoint is none');
-- the transaction that subscribes has published very much
BEGIN;
SELECT eda.publish_query(:'r' || '.c', 'SELECT ''before'' AS n FROM generate_series(1, 3000)') \gset
SELECT eda.subscribe('t_start_many', :'r' || '.c', 't_start.take', owner => 't_start') \gset
SELECT eda.publish_query(:'r' || '.c', 'SELECT ''after'' AS n FROM generate_series(1, 3000)') \gset
COMMIT;
CALL eda.wait('t_start_many');
SELECT results_eq($$SELECT payload ->> 'n', count(*), count(DISTINCT id) FROM got WHERE sub = 't_start_many' GROUP BY 1$$,
    $$VALUES ('after', 3000::bigint, 3000::bigint)$$, 'latest: many on both sides');

-- earliest: all that the log has, own events of the transaction too, in order.
SELECT eda.publish_query(:'r' || '.d', 'SELECT i AS n FROM generate_series(1, 2000) i') \gset
BEGIN;
SELECT eda.publish(:'r' || '.d', '{"n": 2001}') \gset
SELECT eda.subscribe('t_start_earliest', :'r' || '.d', 't_start.take', owner => 't_start', start => 'earliest') \gset
SELECT eda.publish(:'r' || '.d', '{"n": 2002}') \gset
COMMIT;
SELECT eda.publish(:'r' || '.d', '{"n": 2003}') \gset
CALL eda.wait('t_start_earliest');
SELECT is(array_agg((payload ->> 'n')::int ORDER BY n), ARRAY(SELECT generate_series(1, 2003)), 'earliest: all, once, in order')
  FROM got WHERE sub = 't_start_earliest';
SELECT is((handled, backlog)::text, '(2003,0)', 'earliest: counted') FROM eda.subscriptions WHERE subscription = 't_start_earliest';

-- Events of a transaction are delivered in the order of their ids, those of successive commits in that of the commits.
SELECT results_eq($$SELECT id FROM got WHERE sub = 't_start_earliest' ORDER BY n$$, $$SELECT id FROM got WHERE sub = 't_start_earliest' ORDER BY id$$,
    'in the order of ids');

-- start_at.
SELECT eda.publish(:'r' || '.e', '{"n": 1}') \gset
SELECT clock_timestamp() AS t1 \gset
SELECT eda.publish(:'r' || '.e', '{"n": 2}') \gset
BEGIN;
SELECT eda.publish(:'r' || '.e', '{"n": 3}') \gset
SELECT clock_timestamp() AS t2 \gset
SELECT eda.publish(:'r' || '.e', '{"n": 4}') \gset
COMMIT;
SELECT eda.subscribe('t_start_at1', :'r' || '.e', 't_start.take', owner => 't_start', start_at => :'t1') \gset
SELECT eda.subscribe('t_start_at2', :'r' || '.e', 't_start.take', owner => 't_start', start_at => :'t2') \gset
SELECT eda.subscribe('t_start_old', :'r' || '.e', 't_start.take', owner => 't_start', start_at => '-infinity') \gset
SELECT eda.subscribe('t_start_future', :'r' || '.e', 't_start.take', owner => 't_start', start_at => now() + interval '1 hour') \gset
SELECT eda.publish(:'r' || '.e', '{"n": 5}') \gset
CALL eda.wait();
SELECT is(taken('t_start_at1'), '2 3 4 5', 'start_at: what was published since');
SELECT is(taken('t_start_at2'), '4 5', 'start_at: by the time of publishing, not of the commit');
SELECT is(taken('t_start_old'), '1 2 3 4 5', 'start_at: long ago');
SELECT is(taken('t_start_future'), '', 'start_at: in the future, nothing yet');
SELECT is((handled, filtered, backlog)::text, '(0,0,0)', 'start_at: what comes before is not counted') FROM eda.subscriptions WHERE subscription = 't_start_future';

-- Subscribing again moves nothing; a new subscription of the name begins where it says.
SELECT eda.subscribe('t_start_latest', :'r' || '.a', 't_start.take', owner => 't_start', start => 'earliest') \gset
SELECT eda.publish(:'r' || '.a', '{"n": 5}') \gset
CALL eda.wait('t_start_latest');
SELECT is(taken('t_start_latest'), '1 2 3 4 5', 'subscribing again: start means nothing');
SELECT eda.unsubscribe('t_start_latest') \gset
SELECT eda.publish(:'r' || '.a', '{"n": "nobody is subscribed"}') \gset
SELECT eda.subscribe('t_start_latest', :'r' || '.a', 't_start.take', owner => 't_start') \gset
SELECT eda.publish(:'r' || '.a', '{"n": 6}') \gset
CALL eda.wait('t_start_latest');
SELECT is(taken('t_start_latest'), '1 2 3 4 5 6', 'unsubscribed and subscribed: latest');
SELECT eda.subscribe('t_start_latest3', :'r' || '.a', 't_start.take', owner => 't_start', start => 'earliest') \gset
CALL eda.wait('t_start_latest3');
SELECT is(taken('t_start_latest3'),
    'committed before before before, in a savepoint 1 2 3 4 5 nobody is subscribed 6', 'earliest: the log keeps what nobody got');

\ir include/end.sql
