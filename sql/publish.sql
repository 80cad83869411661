--
-- eda.publish, eda.publish_batch, eda.publish_query; make_event, current_event.
-- Topics here start with pub: other tests share the database.
--
CREATE VIEW pub_log AS
    SELECT l.id, l.xid, l.published_at, l.causation_id, l.published_by, l.hops,
           l.topic, l.key, l.correlation_id, l.payload, l.headers, l.topic_hash, l.key_hash
    FROM eda.log AS l WHERE l.topic LIKE 'pub.%' ORDER BY l.id;

-- what is stored; the hashes are the same on every machine
BEGIN;
SELECT eda.publish('pub.plain', '{"n": 1}', 'k', '{"h": true}', correlation_id => 'c', causation_id => 42) AS id \gset
SELECT id = :id AS id, xid = pg_current_xact_id() AS xid, published_at <= clock_timestamp() AS published_at,
       causation_id, published_by::regrole = current_user::regrole AS published_by, hops,
       topic, key, correlation_id, payload, headers, topic_hash, key_hash
FROM pub_log;
COMMIT;
SELECT eda.publish('pub.defaults') AS id \gset
SELECT causation_id, hops, key, correlation_id, payload, headers, key_hash FROM pub_log WHERE id = :id;
SELECT eda.publish('pub.scalar', '"just a string"') < eda.publish('pub.scalar', '[1, null]') AS ascending;
SELECT payload FROM pub_log WHERE topic = 'pub.scalar';

-- in the transaction that published it, and gone with it
BEGIN;
SELECT eda.publish('pub.rolled_back') > 0 AS ok;
SELECT count(*) FROM pub_log WHERE topic = 'pub.rolled_back';
ROLLBACK;
SELECT count(*) FROM pub_log WHERE topic = 'pub.rolled_back';
BEGIN;
SELECT eda.publish('pub.savepoint', '1') > 0 AS ok;
SAVEPOINT s;
SELECT eda.publish('pub.savepoint', '2') > 0 AS ok;
SELECT cardinality(eda.publish_batch('pub.savepoint', '{3,4}'));
ROLLBACK TO s;
SELECT eda.publish('pub.savepoint', '5') > 0 AS ok;
RELEASE s;
COMMIT;
SELECT payload, xid = lag(xid, 1, xid) OVER (ORDER BY id) AS same_transaction FROM pub_log WHERE topic = 'pub.savepoint';
DO $$
BEGIN
    PERFORM eda.publish('pub.caught');
    RAISE EXCEPTION 'no';
EXCEPTION WHEN raise_exception THEN
    PERFORM eda.publish('pub.not_caught');
END $$;
SELECT topic FROM pub_log WHERE topic LIKE 'pub.%caught';

-- session state that users rely on stays as it was
CREATE TABLE pub_serial (id serial);
INSERT INTO pub_serial DEFAULT VALUES;
SELECT count(eda.publish('pub.many')) FROM generate_series(1, 1100);
SELECT lastval();
SELECT count(*), count(DISTINCT id) FROM pub_log WHERE topic = 'pub.many';

-- whatever is done to the sequence, ids are never given out again
SELECT eda.publish('pub.restart') AS id \gset
ALTER SEQUENCE eda.event_id_seq RESTART WITH 1;
SELECT bool_and(eda.publish('pub.restart') > :id) AS above FROM generate_series(1, 2500);
SELECT setval('eda.event_id_seq', 1);
SELECT bool_and(eda.publish('pub.restart') > :id) AS above FROM generate_series(1, 2500);
BEGIN;
ALTER SEQUENCE eda.event_id_seq RESTART WITH 1;
SELECT eda.publish('pub.restart') > :id AS above;
ROLLBACK;
SELECT bool_and(eda.publish('pub.restart') > :id) AS above FROM generate_series(1, 2500);
SELECT count(*), count(DISTINCT id), max(id) < (SELECT last_value + 1024 FROM eda.event_id_seq) AS reserved
FROM pub_log WHERE topic = 'pub.restart';
SELECT count(*) = count(DISTINCT id) AS no_duplicates FROM eda.log;

-- indexes that somebody added to a segment: plain ones are maintained
BEGIN;
CREATE INDEX pub_plain ON eda.log_1 (hops, topic);
SELECT cardinality(eda.publish_batch('pub.indexed', '{1,2,3}'));
SELECT eda.publish('pub.indexed') > 0 AS ok;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM eda.log_1 WHERE hops IS NULL AND topic = 'pub.indexed';
SELECT count(*) FROM eda.log_1 WHERE hops IS NULL AND topic = 'pub.indexed';
ROLLBACK;
-- and others refused
BEGIN;
CREATE UNIQUE INDEX pub_unique ON eda.log_1 (id);
SELECT eda.publish('pub.indexed');
\echo :SQLSTATE
ROLLBACK;
BEGIN;
ALTER TABLE eda.log_1 ADD CONSTRAINT pub_exclusion EXCLUDE USING btree (id WITH =);
SELECT eda.publish('pub.indexed');
ROLLBACK;
BEGIN;
CREATE INDEX pub_expression ON eda.log_1 (upper(topic));
SELECT eda.publish_batch('pub.indexed', '{1,2,3}');
ROLLBACK;
BEGIN;
CREATE INDEX pub_partial ON eda.log_1 (id) WHERE hops > 0;
SELECT eda.publish('pub.indexed');
ROLLBACK;
SELECT eda.publish('pub.indexed') > 0 AS ok;

-- arguments
SELECT eda.publish('pub.x', NULL);
\echo :SQLSTATE
SELECT eda.publish('pub.x', '{}', deliver_at => 'infinity');
\echo :SQLSTATE
SELECT eda.publish('pub.x', '{}', headers => '[1]');
\echo :SQLSTATE
SELECT eda.publish('pub.x', '{}', repeat('k', 1025));
\echo :SQLSTATE
SELECT eda.publish('pub.x', '{}', correlation_id => repeat('k', 1025));
SELECT eda.publish('pub.x', '{}', idempotency_key => repeat('k', 256));
SELECT eda.publish('pub.x', row_to_json(r)) FROM (SELECT 1 AS n) AS r;

-- the limit on payloads
SET eda.max_payload_size = '2kB';
SELECT eda.publish('pub.size', to_jsonb(repeat('x', 2048 - 12))) > 0 AS fits;
SELECT eda.publish('pub.size', to_jsonb(repeat('x', 2048)));
\echo :SQLSTATE
SELECT eda.publish('pub.size', '{}', headers => jsonb_build_object('h', repeat('x', 2048)));
SELECT eda.publish_batch('pub.size', ARRAY['1', to_jsonb(repeat('x', 2048))]);
SELECT eda.publish_query('pub.size', $$SELECT repeat('x', n) AS x FROM (VALUES (1), (2048)) AS v (n)$$);
RESET eda.max_payload_size;
-- out of line and compressed payloads of other tables
CREATE TABLE pub_wide (doc jsonb);
ALTER TABLE pub_wide ALTER COLUMN doc SET STORAGE EXTERNAL;
INSERT INTO pub_wide SELECT jsonb_build_object('s', repeat('wide', 5000));
SELECT eda.publish('pub.wide', doc) > 0 AS ok FROM pub_wide;
SELECT cardinality(eda.publish_batch('pub.wide', array_agg(doc))) FROM pub_wide;
SELECT published FROM eda.publish_query('pub.wide', 'SELECT doc AS payload FROM pub_wide');
TRUNCATE pub_wide;
SELECT count(*), count(DISTINCT payload), max(length(payload ->> 's')) FROM pub_log WHERE topic = 'pub.wide';

-- a read-only transaction
BEGIN READ ONLY;
SELECT eda.publish('pub.x');
\echo :SQLSTATE
ROLLBACK;
BEGIN READ ONLY;
SELECT eda.publish_batch('pub.x', '{1}');
ROLLBACK;
BEGIN READ ONLY;
SELECT eda.publish_query('pub.x', 'SELECT 1');
ROLLBACK;

--
-- publish_batch
--
SELECT eda.publish_batch('pub.batch', ARRAY['{"n": 1}', '{"n": 2}', '{"n": 3}']::jsonb[],
                         ARRAY['a', NULL, 'c'], ARRAY[NULL, '{"h": 1}', NULL]::jsonb[]) AS ids \gset
SELECT payload, key, headers, id = (:'ids'::bigint[])[(payload ->> 'n')::int] AS its_id FROM pub_log WHERE topic = 'pub.batch';
SELECT eda.publish_batch('pub.batch', '{}');
SELECT eda.publish_batch('pub.batch', NULL);
SELECT eda.publish_batch('pub.batch', ARRAY['1', NULL]::jsonb[]);
\echo :SQLSTATE
SELECT eda.publish_batch('pub.batch', '{1,2}', '{a}');
\echo :SQLSTATE
SELECT eda.publish_batch('pub.batch', '{1,2}', headers => '{}');
SELECT eda.publish_batch('pub.batch', '{{1},{2}}');
SELECT eda.publish_batch('pub.batch', '{1}', headers => '{1}');
-- more than a chunk
WITH b AS (SELECT eda.publish_batch('pub.big_batch', array_agg(to_jsonb(n) ORDER BY n)) AS ids FROM generate_series(1, 2500) AS n)
SELECT cardinality(ids), (SELECT bool_and(id = lag OR lag IS NULL OR id > lag)
                          FROM (SELECT id, lag(id) OVER (ORDER BY n) FROM unnest(ids) WITH ORDINALITY AS u (id, n)) AS s) AS ascending
FROM b;
SELECT count(*), bool_and(n = payload::int) AS in_order
FROM (SELECT payload, row_number() OVER (ORDER BY id) AS n FROM pub_log WHERE topic = 'pub.big_batch') AS s;

--
-- publish_query
--
CREATE TABLE pub_order (order_id int, customer text, total numeric, day date);
INSERT INTO pub_order VALUES (1, 'ann', 10.50, '2026-11-22'), (2, 'bob', 7, '2026-11-22'), (3, NULL, 1, '2026-11-23');
SELECT total, published, invalid, first_id < last_id AS ids
FROM eda.publish_query('pub.query', 'SELECT * FROM pub_order ORDER BY order_id', 'customer');
SELECT key, payload FROM pub_log WHERE topic = 'pub.query';
SELECT * FROM eda.publish_query('pub.query', 'SELECT * FROM pub_order WHERE false');
-- a lone jsonb column named payload is the payload, also beside key columns
SELECT published FROM eda.publish_query('pub.query_payload', $$SELECT '[1, 2]'::jsonb AS payload$$);
SELECT published FROM eda.publish_query('pub.query_payload', $$SELECT 'k' AS id, '{"a": 1}'::jsonb AS payload$$, 'id');
SELECT published FROM eda.publish_query('pub.query_payload', $$SELECT 'k' AS id, '{"a": 1}'::jsonb AS payload$$);
SELECT published FROM eda.publish_query('pub.query_payload', $$SELECT '{"a": 1}'::text AS payload$$);
SELECT published FROM eda.publish_query('pub.query_payload', $$SELECT '{"a": 1}'::jsonb AS document$$);
SELECT key, payload FROM pub_log WHERE topic = 'pub.query_payload';
SELECT eda.publish_query('pub.query_payload', $$SELECT NULL::jsonb AS payload$$);
\echo :SQLSTATE
SELECT * FROM eda.publish_query('pub.query_payload', $$SELECT NULL::jsonb AS payload$$, on_invalid => 'skip');
SELECT total, published, invalid
FROM eda.publish_query('pub.query_skip', $$SELECT n, repeat('x', n) AS k FROM (VALUES (1), (2000), (3)) AS v (n)$$, 'k', on_invalid => 'skip');
SELECT payload ->> 'n' AS n FROM pub_log WHERE topic = 'pub.query_skip';
-- statements that change data and return rows
SELECT published FROM eda.publish_query('pub.query_delete', 'DELETE FROM pub_order WHERE order_id = 1 RETURNING order_id, customer');
SELECT published FROM eda.publish_query('pub.query_delete',
    'WITH d AS (DELETE FROM pub_order WHERE order_id = 2 RETURNING order_id) SELECT order_id, now() > ''2000-01-01'' AS late FROM d;');
SELECT payload FROM pub_log WHERE topic = 'pub.query_delete';
SELECT count(*) FROM pub_order;
-- many rows
SELECT total, published, last_id - first_id >= 4999 AS ids FROM eda.publish_query('pub.query_many', 'SELECT n FROM generate_series(1, 5000) AS n');
SELECT count(*), count(DISTINCT id), bool_and(n = (payload ->> 'n')::int) AS in_order
FROM (SELECT id, payload, row_number() OVER (ORDER BY id) AS n FROM pub_log WHERE topic = 'pub.query_many') AS s;
-- what a row's function publishes comes before the row
CREATE FUNCTION pub_inner() RETURNS int LANGUAGE sql AS $$SELECT eda.publish('pub.nested', '"inner"'); SELECT 1$$;
SELECT published FROM eda.publish_query('pub.nested', 'SELECT pub_inner() AS outer_row');
SELECT payload FROM pub_log WHERE topic = 'pub.nested';

-- not a query
SELECT eda.publish_query('pub.x', NULL);
SELECT eda.publish_query('pub.x', '');
\echo :SQLSTATE
SELECT eda.publish_query('pub.x', 'SELECT 1; SELECT 2');
SELECT eda.publish_query('pub.x', 'DELETE FROM pub_order');
SELECT eda.publish_query('pub.x', 'COMMIT');
SELECT eda.publish_query('pub.x', 'SELECT * FROM pub_no_such_table');
SELECT eda.publish_query('pub.x', 'SELECT 1 / (2 - n) AS q FROM generate_series(1, 3) AS n');
SELECT eda.publish_query('pub.x', 'SELECT 1 AS a, 2 AS a');
\echo :SQLSTATE
SELECT eda.publish_query('pub.x', 'SELECT 1 AS order_id, 2 AS total', 'id');
\echo :SQLSTATE
SELECT eda.publish_query('pub.x', 'SELECT 1 AS order_id, 2 AS total WHERE false', idempotency_key_column => 'Order_Id');
SELECT eda.publish_query('pub.x', 'SELECT 1', on_invalid => 'ignore');
\echo :SQLSTATE
SELECT eda.publish_query('pub.x', 'SELECT 1', on_invalid => NULL);
SELECT count(*) FROM pub_log WHERE topic = 'pub.x';

--
-- idempotency keys
--
SELECT eda.publish('pub.once', '{"n": 1}', idempotency_key => 'i1') AS id \gset
SELECT eda.publish('pub.once', '{ "n" : 1 }', 'k', idempotency_key => 'i1') = :id AS the_first;
SELECT eda.publish('pub.once', '{"n": 2}', idempotency_key => 'i2') > :id AS another_key,
       eda.publish('pub.once_too', '{"n": 1}', idempotency_key => 'i1') > :id AS another_topic;
\set VERBOSITY sqlstate
SELECT eda.publish('pub.once', '{"n": 3}', idempotency_key => 'i1');
\set VERBOSITY default
DO $$
BEGIN
    PERFORM eda.publish('pub.once', '{"n": 3}', idempotency_key => 'i1');
EXCEPTION WHEN SQLSTATE 'ED005' THEN
    RAISE NOTICE '%', sqlerrm;
END $$;
SELECT topic, payload FROM pub_log WHERE topic LIKE 'pub.once%';
-- nothing remains of one that was rolled back
BEGIN;
SELECT eda.publish('pub.once', '{"n": 4}', idempotency_key => 'i4') > 0 AS ok;
ROLLBACK;
SELECT eda.publish('pub.once', '{"n": 5}', idempotency_key => 'i4') AS id \gset
SELECT payload FROM pub_log WHERE id = :id;
-- twice in a transaction
BEGIN;
SELECT eda.publish('pub.once', '6', idempotency_key => 'i6') = eda.publish('pub.once', '6', idempotency_key => 'i6') AS same;
COMMIT;
-- after the window the key is free again
UPDATE eda.idempotency SET published_at = published_at - interval '23 hours' WHERE topic = 'pub.once' AND idempotency_key = 'i6';
SELECT eda.publish('pub.once', '6', idempotency_key => 'i6') < :id AS ok, eda.publish('pub.once', '6', idempotency_key => 'i6') AS id \gset
UPDATE eda.idempotency SET published_at = published_at - interval '2 hours' WHERE topic = 'pub.once' AND idempotency_key = 'i6';
SELECT eda.publish('pub.once', '7', idempotency_key => 'i6') > :id AS published_again;
SELECT eda.publish('pub.once', '7', idempotency_key => 'i6') > :id AS and_only_once;
SELECT count(*) FROM pub_log WHERE topic = 'pub.once' AND payload IN ('6', '7');
-- the window is the same for publishers and housekeeping
SET eda.idempotency_window = '7d';
\echo :SQLSTATE
-- each key has its event
SELECT count(*) FROM eda.idempotency AS i JOIN eda.log AS l ON l.id = i.event_id AND l.topic = i.topic WHERE i.topic LIKE 'pub.once%';

-- in queries: what was published before counts in total only
CREATE TABLE pub_day AS SELECT n AS order_id, n % 7 AS k FROM generate_series(1, 2200) AS n;
SELECT total, published, invalid, first_id < last_id AS ids FROM eda.publish_query('pub.day', 'SELECT * FROM pub_day WHERE order_id <= 1500', 'k', 'order_id');
SELECT total, published, invalid, first_id < last_id AS ids FROM eda.publish_query('pub.day', 'SELECT * FROM pub_day ORDER BY order_id', 'k', 'order_id');
SELECT * FROM eda.publish_query('pub.day', 'SELECT * FROM pub_day', 'k', 'order_id');
SELECT count(*), count(DISTINCT payload -> 'order_id') FROM pub_log WHERE topic = 'pub.day';
SELECT count(*) FROM eda.idempotency AS i JOIN eda.log AS l ON l.id = i.event_id AND l.payload ->> 'order_id' = i.idempotency_key
WHERE i.topic = 'pub.day' AND l.topic = 'pub.day';
-- keys whose window is over are taken over together with new ones
UPDATE eda.idempotency SET published_at = published_at - interval '25 hours' WHERE topic = 'pub.day' AND idempotency_key::int <= 100;
SELECT total, published, invalid
FROM eda.publish_query('pub.day', 'SELECT n AS order_id, n % 7 AS k FROM generate_series(300, 1, -1) AS n UNION ALL SELECT 3000, 1', 'k', 'order_id');
SELECT count(*), count(DISTINCT payload -> 'order_id') FROM pub_log WHERE topic = 'pub.day';
SELECT count(*) FROM eda.idempotency AS i JOIN eda.log AS l ON l.id = i.event_id AND l.payload ->> 'order_id' = i.idempotency_key
WHERE i.topic = 'pub.day' AND l.topic = 'pub.day';
-- twice in one query; NULL is no key
SELECT total, published FROM eda.publish_query('pub.dup', $$SELECT v.i FROM (VALUES ('a'), ('b'), ('a'), (NULL), (NULL)) AS v (i)$$, NULL, 'i');
SELECT eda.publish_query('pub.dup', $$SELECT * FROM (VALUES ('c', 1), ('c', 2)) AS v (i, n)$$, NULL, 'i');
\echo :SQLSTATE
UPDATE pub_day SET k = 99 WHERE order_id = 1234;
\set VERBOSITY sqlstate
SELECT eda.publish_query('pub.day', 'SELECT * FROM pub_day', 'k', 'order_id', 'skip');
\set VERBOSITY default

--
-- rights: to execute the function, and for the query the caller's own
--
CREATE ROLE regress_eda_publisher;
CREATE TABLE pub_secret AS SELECT 1 AS n;
SET ROLE regress_eda_publisher;
SELECT eda.publish('pub.rights');
RESET ROLE;
GRANT USAGE ON SCHEMA eda TO regress_eda_publisher;
SET ROLE regress_eda_publisher;
SELECT eda.publish('pub.rights');
\echo :SQLSTATE
RESET ROLE;
GRANT EXECUTE ON FUNCTION eda.publish, eda.publish_query TO regress_eda_publisher;
SET ROLE regress_eda_publisher;
SELECT eda.publish('pub.rights', idempotency_key => 'i') > 0 AS ok;
SELECT published FROM eda.publish_query('pub.rights', 'SELECT current_user, session_user = current_user AS same', NULL, 'current_user');
SELECT eda.publish_query('pub.rights', 'SELECT * FROM pub_secret');
SELECT * FROM eda.log;
SELECT * FROM eda.idempotency;
-- nothing of the caller's stands in for what eda's statements name
CREATE TEMP TABLE idempotency (topic text);
CREATE FUNCTION pg_temp.unnest(text[]) RETURNS SETOF text LANGUAGE sql AS $$SELECT 'planted'$$;
SET search_path = pg_temp, public;
SELECT eda.publish('pub.rights', '2', idempotency_key => 'j') > 0 AS ok;
RESET search_path;
SELECT current_user, current_setting('search_path');
RESET ROLE;
SELECT published_by::regrole, payload FROM pub_log WHERE topic = 'pub.rights';
SELECT idempotency_key FROM eda.idempotency WHERE topic = 'pub.rights' ORDER BY event_id;

-- make_event, current_event
SELECT id, topic, key, payload, headers, published_at = now() AS published_at, published_by = current_user::regrole AS published_by,
       correlation_id, causation_id, hops, subscription, attempt, max_attempts, redelivered, lease_id
FROM eda.make_event('pub.test', '{"n": 1}', 'k', '{"h": 1}');
SELECT (eda.make_event(topic => 'pub.test')).payload;
SELECT eda.make_event('pub test');
SELECT eda.make_event('pub.test', NULL);
SELECT eda.make_event('pub.test', '{}', headers => '1');
SELECT eda.current_event() IS NULL AS outside_of_a_handler;

DROP VIEW pub_log;
DROP TABLE pub_serial, pub_wide, pub_order, pub_day, pub_secret;
DROP FUNCTION pub_inner;
DROP OWNED BY regress_eda_publisher;
DROP ROLE regress_eda_publisher;
