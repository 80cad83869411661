--
-- What eda.publish_batch and eda.publish_query say of each event: idempotency key, time, topic, headers; and the
-- transition tables of a trigger.  Topics here start with many: other tests share the database.
--
CREATE VIEW many_log AS
    SELECT id, topic, key, payload, headers FROM eda.log WHERE topic LIKE 'many.%' ORDER BY id;

--
-- publish_batch: idempotency keys
--
SELECT eda.publish_batch('many.idem', '{1,2,3}', idempotency_keys => '{a,b,NULL}') AS ids \gset
SELECT payload FROM many_log WHERE topic = 'many.idem';
-- again: the ids of before, and a new one where there is no key; the order of the elements is the result's
SELECT eda.publish_batch('many.idem', '{3,2,4,1}', idempotency_keys => '{NULL,b,d,a}') AS again \gset
SELECT (:'again'::bigint[])[2] = (:'ids'::bigint[])[2] AS b, (:'again'::bigint[])[4] = (:'ids'::bigint[])[1] AS a,
       (:'again'::bigint[])[1] > (:'ids'::bigint[])[3] AS none, (:'again'::bigint[])[3] > (:'again'::bigint[])[1] AS d;
SELECT payload FROM many_log WHERE topic = 'many.idem';
-- twice in one call
SELECT ids[1] = ids[3] AS same, ids[1] < ids[2] AS ascending FROM eda.publish_batch('many.twice', '{1,2,1}', idempotency_keys => '{a,b,a}') ids;
SELECT count(*) FROM many_log WHERE topic = 'many.twice';
SELECT eda.publish_batch('many.twice', '{5,6}', idempotency_keys => '{e,e}');
\echo :SQLSTATE
\set VERBOSITY terse
SELECT eda.publish_batch('many.idem', '{7}', idempotency_keys => '{a}');
\set VERBOSITY default
\echo :SQLSTATE
SELECT eda.publish_batch('many.idem', '{7}', idempotency_keys => ARRAY[repeat('x', 300)]);
SELECT eda.publish_batch('many.idem', '{7,8}', idempotency_keys => '{a}');
-- rolled back, it was never there
BEGIN;
SELECT cardinality(eda.publish_batch('many.idem', '{9}', idempotency_keys => '{i}'));
ROLLBACK;
SELECT cardinality(eda.publish_batch('many.idem', '{10}', idempotency_keys => '{i}'));
-- a key's first event need not be what is wanted by now
SELECT eda.define_topic('many.idem', '{"type": "string"}');
SELECT ids = (:'ids'::bigint[])[1:2] AS first FROM eda.publish_batch('many.idem', '{1,2}', idempotency_keys => '{a,b}') ids;
SELECT eda.publish_batch('many.idem', '{1,2,11}', idempotency_keys => '{a,b,c}');
\echo :SQLSTATE
-- more than a chunk, all of them again
CREATE TABLE many_ids AS SELECT eda.publish_batch('many.chunks', array_agg(to_jsonb(n) ORDER BY n), idempotency_keys => array_agg('k' || n ORDER BY n)) AS ids
  FROM generate_series(1, 2500) n;
SELECT (SELECT ids FROM many_ids) = eda.publish_batch('many.chunks', array_agg(to_jsonb(n) ORDER BY n), idempotency_keys => array_agg('k' || n ORDER BY n)) AS same
  FROM generate_series(1, 2500) n;
SELECT count(*), count(DISTINCT payload) FROM many_log WHERE topic = 'many.chunks';

--
-- publish_batch: deliver_at
--
SELECT eda.publish_batch('many.later', '{1,2,3,4}', deliver_at => ARRAY[now() + '1 hour', NULL, now() - interval '1 hour', now() + '2 hours']) AS ids \gset
SELECT payload FROM many_log WHERE topic = 'many.later';
SELECT event_id = ANY (:'ids') AS ours, deliver_at - now() > '30 minutes' AS later FROM eda.delayed WHERE topic = 'many.later' ORDER BY deliver_at;
SELECT array_agg(event_id ORDER BY deliver_at) = ARRAY[(:'ids'::bigint[])[1], (:'ids'::bigint[])[4]] AS in_order FROM eda.delayed WHERE topic = 'many.later';
-- with an idempotency key: once, and eda.cancel() forgets the key
SELECT (eda.publish_batch('many.later', '{5}', idempotency_keys => '{five}', deliver_at => ARRAY[now() + interval '1 hour']))[1] AS five \gset
SELECT eda.publish_batch('many.later', '{5}', idempotency_keys => '{five}') = ARRAY[:five]::bigint[] AS same;
SELECT eda.cancel(:five);
SELECT (eda.publish_batch('many.later', '{5}', idempotency_keys => '{five}'))[1] > :five AS anew;
SELECT eda.publish_batch('many.later', '{6}', deliver_at => '{infinity}');
\echo :SQLSTATE
SELECT count(eda.cancel(event_id)) FROM eda.delayed WHERE topic = 'many.later';

--
-- publish_batch: topics
--
SELECT eda.publish_batch(NULL, '{1,2,3,4}', ARRAY['x', NULL, 'y', NULL], topics => '{many.a,many.b,many.b,many.a}') AS ids \gset
SELECT id = (:'ids'::bigint[])[payload::int] AS its_id, topic, key, payload FROM many_log WHERE topic IN ('many.a', 'many.b');
-- keys are the topic's
SELECT ids[1] <> ids[2] AS two, ids[1] = ids[3] AS one FROM eda.publish_batch(NULL, '{1,1,1}', idempotency_keys => '{k,k,k}', topics => '{many.c,many.d,many.c}') ids;
SELECT topic, count(*) FROM many_log WHERE topic IN ('many.c', 'many.d') GROUP BY topic ORDER BY topic;
-- each topic's contract
SELECT eda.define_topic('many.number', '{"type": "number"}');
SELECT eda.publish_batch(NULL, '{"1","\"a\"","\"b\""}', topics => '{many.number,many.e,many.number}');
\echo :SQLSTATE
SELECT count(*) FROM many_log WHERE topic IN ('many.number', 'many.e');
SELECT cardinality(eda.publish_batch(NULL, '{"1","\"a\"","2"}', topics => '{many.number,many.e,many.number}'));
-- misuse
SELECT eda.publish_batch(NULL, '{1}');
\echo :SQLSTATE
SELECT eda.publish_batch('many.a', '{1}', topics => '{many.b}');
\echo :SQLSTATE
SELECT eda.publish_batch(NULL, '{1,2}', topics => '{many.a}');
SELECT eda.publish_batch(NULL, '{1,2}', topics => '{many.a,NULL}');
\echo :SQLSTATE
SELECT eda.publish_batch(NULL, '{1,2}', topics => '{many.a,many.*}');
SELECT eda.publish_batch(NULL, '{1}', topics => '{eda.mine}');
\echo :SQLSTATE
SELECT eda.publish_batch(NULL, '{}', topics => '{}');

--
-- publish_query: headers_column, topic_column
--
CREATE TABLE many_order (id int, customer text, headers jsonb, kind text);
INSERT INTO many_order VALUES (1, 'ann', '{"h": 1}', 'many.q1'), (2, 'bob', NULL, 'many.q2'), (3, 'eve', '{}', 'many.q1');
SELECT total, published FROM eda.publish_query('many.query', 'SELECT id, customer, headers FROM many_order ORDER BY id', 'customer', headers_column => 'headers');
SELECT key, payload, headers FROM many_log WHERE topic = 'many.query';
SELECT published FROM eda.publish_query(NULL, 'SELECT * FROM many_order ORDER BY id', topic_column => 'kind', headers_column => 'headers');
SELECT topic, payload, headers FROM many_log WHERE topic IN ('many.q1', 'many.q2');
-- where a row names no topic, the call's
SELECT published FROM eda.publish_query('many.rest', 'SELECT id, nullif(kind, ''many.q1'') AS kind FROM many_order ORDER BY id', topic_column => 'kind');
SELECT topic, payload FROM many_log WHERE topic IN ('many.rest', 'many.q2') ORDER BY topic, id;
-- beside them, payload is the payload
SELECT published FROM eda.publish_query('many.doc', $$SELECT '{"doc": 1}'::jsonb AS payload, '{"h": 2}'::jsonb AS h, 'many.doc2' AS t, 'k' AS k$$,
    key_column => 'k', headers_column => 'h', topic_column => 't');
SELECT topic, key, payload, headers FROM many_log WHERE topic LIKE 'many.doc%';
-- contracts and idempotency keys are each topic's
SELECT total, published, invalid FROM eda.publish_query(NULL,
    $$SELECT t, to_jsonb(n) AS payload, 'k' AS k FROM (VALUES ('many.number', 4), ('many.f', 5), ('many.number', 4)) v (t, n)$$,
    topic_column => 't', idempotency_key_column => 'k');
SELECT total, published, invalid FROM eda.publish_query(NULL,
    $$SELECT t, p AS payload FROM (VALUES ('many.number', '"x"'::jsonb), ('many.f', '"x"'), ('many.#', '1'), (NULL, '1'), ('eda.x', '1')) v (t, p)$$,
    topic_column => 't', on_invalid => 'skip');
SELECT topic, payload FROM many_log WHERE topic IN ('many.number', 'many.f');
-- misuse
SELECT eda.publish_query(NULL, 'SELECT 1 AS x');
\echo :SQLSTATE
SELECT eda.publish_query(NULL, 'SELECT 1 AS x, NULL::text AS t', topic_column => 't');
\echo :SQLSTATE
SELECT eda.publish_query(NULL, 'SELECT 1 AS x, ''many.*'' AS t', topic_column => 't');
\echo :SQLSTATE
SELECT eda.publish_query('many.x', 'SELECT 1 AS x', topic_column => 't');
\echo :SQLSTATE
SELECT eda.publish_query('many.x', 'SELECT 1 AS x, ''{}''::text AS h', headers_column => 'h');
\echo :SQLSTATE
SELECT eda.publish_query('many.x', 'SELECT 1 AS x, ''[1]''::jsonb AS h', headers_column => 'h');
\echo :SQLSTATE
SELECT total, invalid FROM eda.publish_query('many.x', 'SELECT 1 AS x, ''[1]''::jsonb AS h', headers_column => 'h', on_invalid => 'skip');
SELECT count(*) FROM many_log WHERE topic = 'many.x';

--
-- A statement trigger's transition tables
--
CREATE TABLE many_item (id int, price numeric);
CREATE FUNCTION many_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM eda.publish_query('many.item.created', 'SELECT * FROM added ORDER BY id', 'id', 'id');
    ELSIF TG_OP = 'UPDATE' THEN
        -- names of the query's own come before it
        SELECT * INTO r FROM eda.publish_query('many.item.changed',
            'WITH added AS (SELECT n.id, o.price AS before, n.price FROM gone o JOIN added n USING (id)) SELECT * FROM added ORDER BY id');
        RAISE NOTICE '% changed', r.published;
    ELSE
        EXECUTE 'SELECT eda.publish_query(''many.item.deleted'', ''SELECT id FROM gone ORDER BY id'')';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER i AFTER INSERT ON many_item REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION many_changed();
CREATE TRIGGER u AFTER UPDATE ON many_item REFERENCING OLD TABLE AS gone NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION many_changed();
CREATE TRIGGER d AFTER DELETE ON many_item REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION many_changed();
INSERT INTO many_item VALUES (1, 10), (2, 20), (3, 30);
UPDATE many_item SET price = price + 1 WHERE id < 3;
DELETE FROM many_item WHERE id = 3;
SELECT topic, key, payload FROM many_log WHERE topic LIKE 'many.item.%';
-- outside of the trigger there are none, also after an error in one
SELECT eda.publish_query('many.x', 'SELECT * FROM added');
\echo :SQLSTATE
DO $$
BEGIN
    INSERT INTO many_item VALUES (1, 99);
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE '%', SQLERRM;
    PERFORM eda.publish_query('many.x', 'SELECT * FROM added');
END $$;
\echo :SQLSTATE
DROP TRIGGER i ON many_item;
-- a function of another role's is not shown what its caller's statement sees
CREATE ROLE eda_many_helper;
GRANT USAGE ON SCHEMA eda TO eda_many_helper;
GRANT EXECUTE ON FUNCTION eda.publish_query TO eda_many_helper;
CREATE FUNCTION many_peek() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    r eda.publish_result;
BEGIN
    r := eda.publish_query('many.peeked', 'SELECT * FROM added');
    RETURN r.published;
END $$;
CREATE FUNCTION many_looks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '%', (SELECT many_peek() FROM added);
    RETURN NULL;
END $$;
CREATE TRIGGER w AFTER INSERT ON many_item REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION many_looks();
INSERT INTO many_item VALUES (4, 40);
ALTER FUNCTION many_peek() OWNER TO eda_many_helper;
ALTER FUNCTION many_peek() SECURITY DEFINER;
-- versions differ in what they call the expression
\set SHOW_CONTEXT never
INSERT INTO many_item VALUES (5, 50);
\set SHOW_CONTEXT errors
\echo :SQLSTATE
DROP TRIGGER w ON many_item;
DROP FUNCTION many_peek, many_looks;
DROP OWNED BY eda_many_helper;
DROP ROLE eda_many_helper;
-- a syntax error is the query's
CREATE FUNCTION many_wrong() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM eda.publish_query('many.x', TG_ARGV[0]);
    RETURN NULL;
END $$;
CREATE TRIGGER w AFTER INSERT ON many_item REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION many_wrong('SELEC * FROM added');
INSERT INTO many_item VALUES (4, 40);
\echo :SQLSTATE
DROP TRIGGER w ON many_item;
CREATE TRIGGER w AFTER INSERT ON many_item REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION many_wrong('TABLE added; TABLE added');
INSERT INTO many_item VALUES (4, 40);
\echo :SQLSTATE

SELECT eda.drop_topic('many.idem'), eda.drop_topic('many.number');
DROP TABLE many_ids, many_order, many_item;
DROP FUNCTION many_changed, many_wrong;
DROP VIEW many_log;
