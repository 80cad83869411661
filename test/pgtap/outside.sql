-- Effects outside the database: called again where it has to be, and under eda.synchronous_commit never before
-- the event is on disk.
\set test t_outside
\ir include/begin.sql
SELECT plan(7);

-- A sequence is no part of the transaction: it stands for what no rollback undoes.
CREATE SEQUENCE sent;
CREATE FUNCTION send(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('sent');
    PERFORM take(e);
    IF e.payload ->> 'n' = '3' AND e.attempt = 1 THEN
        RAISE EXCEPTION 'faulty';
    END IF;
END $$;
SELECT eda.subscribe('t_outside_batch', 't_outside.batch', 't_outside.send', owner => 't_outside', backoff => '5 ms') \gset
SELECT eda.publish_batch('t_outside.batch', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 3) n)) \gset
CALL wait_until($$taken('t_outside_batch') LIKE '%3'$$);
SELECT is(taken('t_outside_batch'), '1 2 3', 'in the database: once');
-- the batch of three, which is lost; each by itself; the third one again
SELECT is(last_value, 7::bigint, 'outside of it: once more for who was in a batch that was lost') FROM sent;
SELECT setval('sent', 1, false) \gset
SELECT eda.alter_subscription('t_outside_batch', '{"batch_size": 1}') \gset
SELECT eda.publish_batch('t_outside.batch', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(4, 6) n)) \gset
CALL eda.wait('t_outside_batch');
SELECT is((taken('t_outside_batch'), last_value)::text, '("1 2 3 4 5 6",3)', 'batch_size 1, and nothing fails: once there, too') FROM sent;

-- On disk first: of the event, published by somebody who does not wait for the disk, and of the effect.
CREATE ROLE t_outside_sync LOGIN;
ALTER ROLE t_outside_sync SET eda.synchronous_commit = on;
ALTER ROLE t_outside_sync SET search_path = t_outside;
GRANT USAGE ON SCHEMA t_outside TO t_outside_sync;
CREATE TABLE flushed (n int, setting text, event_is boolean);
GRANT ALL ON flushed, got TO t_outside_sync;
CREATE FUNCTION look(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO flushed VALUES ((e.payload ->> 'n')::int, current_setting('synchronous_commit'), pg_current_wal_flush_lsn() >= (e.payload ->> 'lsn')::pg_lsn);
    IF e.payload ? 'again' AND e.attempt = 1 THEN
        PERFORM eda.reject('redrive it');
    END IF;
END $$;
CREATE FUNCTION look_set(es eda.event[]) RETURNS void LANGUAGE sql AS $$SELECT look(e) FROM unnest(es) e$$;
SELECT eda.subscribe('t_outside_sync', 't_outside.sync', 't_outside.look', owner => 't_outside_sync') \gset
SELECT eda.publish('t_outside.sync', '{"n": 0, "lsn": "0/0"}') \gset
CALL eda.wait('t_outside_sync');
CREATE PROCEDURE publish_async(first int, last int) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', false);
    FOR i IN first .. last LOOP
        -- its commit record is behind that
        PERFORM eda.publish('t_outside.sync', jsonb_build_object('n', i, 'lsn', pg_current_wal_insert_lsn()));
        COMMIT;
        PERFORM pg_sleep(0.002);
    END LOOP;
    PERFORM set_config('synchronous_commit', 'on', false);
END $$;
CALL publish_async(1, 100);
CALL eda.wait('t_outside_sync');
SELECT results_eq('SELECT count(*), bool_and(event_is) FROM flushed WHERE n > 0', 'VALUES (100::bigint, true)', 'eda.synchronous_commit: an event is on disk before its handler is called');
SELECT is(array_agg(DISTINCT setting), '{on}', 'and what the handler did is before the next one is') FROM flushed;
SELECT eda.alter_subscription('t_outside_sync', '{"handler": "t_outside.look_set"}') \gset
CALL publish_async(101, 200);
CALL eda.wait('t_outside_sync');
SELECT results_eq('SELECT count(*), bool_and(event_is) FROM flushed WHERE n > 100', 'VALUES (100::bigint, true)', 'eda.synchronous_commit: before a set-wise handler is called, too');
-- where nobody asks for it, a handler does not wait: else the tests above would show nothing
SELECT eda.alter_subscription('t_outside_sync', '{"owner": "t_outside", "handler": "t_outside.look"}') \gset
TRUNCATE flushed;
CALL publish_async(201, 300);
CALL eda.wait('t_outside_sync');
SELECT ok(bool_or(NOT event_is), 'without eda.synchronous_commit some are handled before they are on disk') FROM flushed WHERE n > 201;

\ir include/end.sql
