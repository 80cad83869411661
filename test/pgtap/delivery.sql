-- How events reach their handlers: the four signatures, batches, filters, patterns, and as whom.
\set test t_delivery
\ir include/begin.sql
SELECT plan(42);

-- The four signatures.
CREATE TABLE seen (how text, topic text, payload jsonb, event eda.event, current eda.event, n int);
CREATE FUNCTION by_event(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen VALUES ('event', e.topic, e.payload, e, eda.current_event());
END $$;
CREATE FUNCTION by_payload(p jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO seen VALUES ('payload', NULL, p, NULL, eda.current_event());
$$;
CREATE FUNCTION by_topic(t text, p jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO seen VALUES ('topic', t, p, NULL, eda.current_event());
$$;
CREATE FUNCTION by_set(es eda.event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO seen
    SELECT 'set', e.topic, e.payload, (e.id, e.topic, e.key, e.payload, e.headers, e.published_at, e.published_by,
           e.correlation_id, e.causation_id, e.hops, e.subscription, e.attempt, e.max_attempts, e.redelivered, e.lease_id)::eda.event,
           eda.current_event(), cardinality(es)
      FROM unnest(es) e;
$$;
-- two of one name, and values that nobody wants
CREATE FUNCTION twice(p jsonb) RETURNS int LANGUAGE sql AS $$
    INSERT INTO seen VALUES ('twice payload', NULL, p);
    SELECT 42;
$$;
CREATE FUNCTION twice(e eda.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen VALUES ('twice event', e.topic, e.payload);
    RETURN '"not wanted"';
END $$;
SELECT eda.subscribe('t_delivery_event', 't_delivery.sig', 't_delivery.by_event', owner => 't_delivery') \gset
SELECT eda.subscribe('t_delivery_payload', 't_delivery.sig', 't_delivery.by_payload', owner => 't_delivery') \gset
SELECT eda.subscribe('t_delivery_topic', 't_delivery.sig', 't_delivery.by_topic(text, jsonb)', owner => 't_delivery') \gset
SELECT eda.subscribe('t_delivery_set', 't_delivery.sig', 't_delivery.by_set', owner => 't_delivery') \gset
SELECT eda.subscribe('t_delivery_twice', 't_delivery.sig', 't_delivery.twice(jsonb)', owner => 't_delivery') \gset
SELECT eda.publish('t_delivery.sig', '{"a": [1, "ä€😀"], "z": null}', 'ключ', '{"h": {"x": 1}}') AS id \gset
CALL eda.wait('t_delivery_event');
CALL eda.wait('t_delivery_payload');
CALL eda.wait('t_delivery_topic');
CALL eda.wait('t_delivery_set');
CALL eda.wait('t_delivery_twice');
SELECT results_eq('SELECT how, topic, payload::text FROM seen ORDER BY how COLLATE "C"',
    $$VALUES ('event', 't_delivery.sig', '{"a": [1, "ä€😀"], "z": null}'),
             ('payload', NULL, '{"a": [1, "ä€😀"], "z": null}'),
             ('set', 't_delivery.sig', '{"a": [1, "ä€😀"], "z": null}'),
             ('topic', 't_delivery.sig', '{"a": [1, "ä€😀"], "z": null}'),
             ('twice payload', NULL, '{"a": [1, "ä€😀"], "z": null}')$$,
    'each signature gets what it asks for, once');
SELECT results_eq($$SELECT how, (event).id, (event).topic, (event).key, (event).headers, (event).published_by, (event).correlation_id,
                            (event).causation_id, (event).hops, (event).subscription, (event).attempt, (event).max_attempts,
                            (event).redelivered, (event).lease_id
                       FROM seen WHERE how IN ('event', 'set') ORDER BY how$$,
    format($$SELECT how, %1$L::bigint, 't_delivery.sig', 'ключ', '{"h": {"x": 1}}'::jsonb, current_user::regrole, %1$L, NULL::bigint, 0,
                    't_delivery_' || how, 1, 20, false, NULL::bigint
               FROM unnest('{event,set}'::text[]) how$$, :'id'), 'all fields of eda.event');
SELECT is((s.event).published_at, e.published_at, 'published_at is the log''s')
  FROM seen s, eda.events e WHERE s.how = 'event' AND e.id = :id;
SELECT is(current, event, 'eda.current_event() is the event') FROM seen WHERE how = 'event';
SELECT is((current).id, :'id'::bigint, 'eda.current_event() in a handler by ' || how) FROM seen WHERE how IN ('payload', 'topic', 'set') ORDER BY how;
SELECT ok(eda.current_event() IS NULL, 'eda.current_event() is NULL elsewhere');
SELECT results_eq(format('SELECT subscription, state, attempt, error_message FROM eda.trace(%s) ORDER BY 1', :'id'),
    $$SELECT 't_delivery_' || s, 'handled', NULL::int, NULL::text
        FROM unnest('{event,payload,set,topic,twice}'::text[]) s$$, 'eda.trace: handled by all five');

-- Nothing but what is needed: no key, no headers, no payload.
TRUNCATE seen;
SELECT eda.publish('t_delivery.sig') AS id \gset
CALL eda.wait('t_delivery_event');
SELECT is(((event).key, (event).headers, (event).payload)::text, '(,,{})', 'an event without key, headers, payload')
  FROM seen WHERE how = 'event';

-- Batches.
CREATE TABLE total (events int, sum bigint);
INSERT INTO total VALUES (0, 0);
CREATE FUNCTION add_up(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    UPDATE total SET events = events + 1, sum = sum + (e.payload ->> 'n')::int;
END $$;
SELECT eda.subscribe('t_delivery_batch', 't_delivery.batch', 't_delivery.add_up', owner => 't_delivery', batch_size => 50) \gset
SELECT eda.publish_batch('t_delivery.batch', array_agg(jsonb_build_object('n', i) ORDER BY i),
                         array_agg('k' || i % 7 ORDER BY i), array_agg(jsonb_build_object('i', i) ORDER BY i)) AS ids
  FROM generate_series(1, 1000) i \gset
CALL eda.wait('t_delivery_batch');
SELECT collect_tap(
        is(count(*), 1000::bigint, 'a batch of many: each event'),
        is(count(DISTINCT id), 1000::bigint, 'a batch of many: each once'),
        ok(bool_and(key = 'k' || (payload ->> 'n')::int % 7), 'a batch of many: with its key'))
  FROM got WHERE sub = 't_delivery_batch';
SELECT is(array_agg(id ORDER BY n), :'ids'::bigint[], 'a batch of many: in the order of publishing') FROM got WHERE sub = 't_delivery_batch';
SELECT is(array_agg((payload ->> 'n')::int ORDER BY id), array(SELECT generate_series(1, 1000)), 'a batch of many: payloads in their places')
  FROM got WHERE sub = 't_delivery_batch';
SELECT is((events, sum)::text, '(1000,500500)', 'an event sees what the one before it in its batch did') FROM total;
SELECT collect_tap(
        cmp_ok(max(c), '<=', 50::bigint, 'no transaction has more than batch_size events'),
        cmp_ok(max(c), '>', 1::bigint, 'some have more than one'))
  FROM (SELECT count(*) AS c FROM got WHERE sub = 't_delivery_batch' GROUP BY xid) x;
SELECT is((state, handled, filtered, failed, retrying, dead, backlog, oldest_age, last_error)::text, '(active,1000,0,0,0,0,0,,)', 'eda.subscriptions says so')
  FROM eda.subscriptions WHERE subscription = 't_delivery_batch';

-- A set-wise handler gets a batch a call.
CREATE TABLE sets (n int GENERATED ALWAYS AS IDENTITY, ids bigint[], current bigint, xid xid8);
CREATE FUNCTION take_set(es eda.event[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO sets (ids, current, xid)
    SELECT array_agg(e.id ORDER BY o), (eda.current_event()).id, pg_current_xact_id() FROM unnest(es) WITH ORDINALITY
        AS e(id, topic, key, payload, headers, published_at, published_by, correlation_id, causation_id, hops, subscription, attempt,
             max_attempts, redelivered, lease_id, o);
$$;
SELECT eda.subscribe('t_delivery_sets', 't_delivery.sets', 't_delivery.take_set', owner => 't_delivery',
                     filter => '$.n % 10 != 0') \gset
SELECT eda.publish_batch('t_delivery.sets', array_agg(jsonb_build_object('n', i) ORDER BY i)) AS ids FROM generate_series(1, 250) i \gset
CALL eda.wait('t_delivery_sets');
SELECT collect_tap(
        is(array_agg(id ORDER BY n, o), array(SELECT p.id FROM unnest(:'ids'::bigint[]) WITH ORDINALITY p(id, i) WHERE i % 10 <> 0),
           'sets: each event that passes the filter once, in order'),
        ok(bool_and(o > 1 OR id = current), 'sets: the current event is the first one'))
  FROM sets, unnest(ids) WITH ORDINALITY u(id, o);
SELECT collect_tap(
        cmp_ok(max(cardinality(ids)), '<=', 100, 'sets: at most batch_size events a call'),
        cmp_ok(max(cardinality(ids)), '>', 1, 'sets: more than one')) FROM sets;
SELECT is((handled, filtered)::text, '(225,25)', 'sets: counted')
  FROM eda.subscriptions WHERE subscription = 't_delivery_sets';

-- Filters.
SELECT eda.subscribe('t_delivery_' || name, 't_delivery.filter.*', 't_delivery.take', filter::jsonpath, owner => 't_delivery')
  FROM (VALUES ('pred', '$.total > 100'), ('path', '$.items[*] ? (@.sku == "a")'),
               ('vars', '$topic starts with "t_delivery.filter.b" && ($key == "k" || $headers.tag == "x")')) f (name, filter) \g /dev/null
SELECT eda.publish('t_delivery.filter.' || topic, payload::jsonb, key, headers::jsonb)
  FROM (VALUES ('a', '{"n": 1, "total": 100, "items": [{"sku": "b"}, {"sku": "a"}]}', 'k', NULL),
               ('a', '{"n": 2, "total": 101, "items": []}', NULL, NULL),
               ('b', '{"n": 3, "total": "x"}', NULL, '{"tag": "x"}'),
               ('b', '{"n": 4, "total": null}', 'k', NULL),
               ('b', '{"n": 5}', 'other', '{"tag": "y"}'),
               ('b', '[{"total": 500}]', NULL, NULL)) e (topic, payload, key, headers) \g /dev/null
CALL eda.wait('t_delivery_pred');
CALL eda.wait('t_delivery_path');
CALL eda.wait('t_delivery_vars');
-- lax mode looks into the array
SELECT is(array_agg(payload ->> 'n' ORDER BY n), '{2,NULL}', 'a predicate passes when true; unknown does not pass')
  FROM got WHERE sub = 't_delivery_pred';
SELECT is(taken('t_delivery_path'), '1', 'a path passes when it finds something');
SELECT is(taken('t_delivery_vars'), '3 4', '$topic, $key and $headers are variables');
SELECT results_eq($$SELECT subscription, handled, filtered FROM eda.subscriptions WHERE subscription IN
                    ('t_delivery_pred', 't_delivery_path', 't_delivery_vars') ORDER BY 1$$,
    $$VALUES ('t_delivery_path', 1::bigint, 5::bigint), ('t_delivery_pred', 2, 4), ('t_delivery_vars', 2, 4)$$,
    'what is filtered out is counted');

-- Patterns.
SELECT eda.subscribe('t_delivery_p' || i, topics, 't_delivery.take', owner => 't_delivery')
  FROM (VALUES (1, 't_delivery.p.*.x'), (2, 't_delivery.p.#'), (3, 't_delivery.p.b.x, t_delivery.p.#.y'), (4, 't_delivery.p')) p (i, topics)
 \g /dev/null
SELECT eda.publish(topic, jsonb_build_object('n', n))
  FROM (VALUES ('t_delivery.p.a.x', 1), ('t_delivery.p.b.x', 2), ('t_delivery.p.a.b.y', 3), ('t_delivery.p', 4), ('t_delivery.p.y', 5),
               ('t_delivery.pp', 6), ('t_delivery.p.X', 7)) t (topic, n) \g /dev/null
CALL eda.wait();
SELECT is(taken('t_delivery_p1'), '1 2', '* is one word');
SELECT is(taken('t_delivery_p2'), '1 2 3 4 5 7', '# is any number of words, none too');
SELECT is(taken('t_delivery_p3'), '2 3 5', 'several patterns');
SELECT is(taken('t_delivery_p4'), '4', 'a plain topic');

-- What a query publishes, and payloads that are not plain.
SELECT eda.subscribe('t_delivery_big', 't_delivery.big', 't_delivery.take', owner => 't_delivery') \gset
SELECT eda.publish_query('t_delivery.big', 'SELECT i AS n, repeat(''ab'', i * 20000) AS big FROM generate_series(1, 3) i', 'n') \gset
CREATE TABLE source (p jsonb);
ALTER TABLE source ALTER p SET STORAGE EXTERNAL;
INSERT INTO source SELECT jsonb_build_object('n', 4, 'big', string_agg(md5(i::text), '')) FROM generate_series(1, 10000) i;
BEGIN;
SELECT md5(p::text) AS md5, eda.publish('t_delivery.big', p) FROM source \gset
DROP TABLE source;
COMMIT;
CALL eda.wait('t_delivery_big');
SELECT is(taken('t_delivery_big'), '1 2 3 4', 'large payloads arrive');
SELECT collect_tap(
        is(array_agg(key ORDER BY n), '{1,2,3,NULL}', 'the key column of a query'),
        ok(bool_and(payload ->> 'n' = '4' OR payload ->> 'big' = repeat('ab', (payload ->> 'n')::int * 20000)), 'large payloads are whole'))
  FROM got WHERE sub = 't_delivery_big';
SELECT is(md5(payload::text), :'md5', 'a payload outlives the table it was published from') FROM got WHERE payload ->> 'n' = '4' AND sub = 't_delivery_big';

-- As whom: the owner, with the owner's settings, whatever would break delivery forced.
CREATE TABLE who (session_user_ name, current_user_ name, isolation text, read_only text, work_mem text, zone text, custom text, path text);
CREATE FUNCTION whoami(jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(0.1);
    INSERT INTO who VALUES (session_user, current_user, current_setting('transaction_isolation'),
        current_setting('transaction_read_only'), current_setting('work_mem'), current_setting('TimeZone'),
        current_setting('t_delivery.custom', true), current_setting('search_path'));
END $$;
CREATE FUNCTION whoami_definer(jsonb) RETURNS void LANGUAGE sql SECURITY DEFINER
    SET search_path = t_delivery SET work_mem = '7MB'
    AS $$SELECT whoami($1)$$;
CREATE ROLE t_delivery_owner LOGIN;
ALTER ROLE t_delivery_owner SET work_mem = '5MB';
ALTER ROLE t_delivery_owner SET default_transaction_isolation = 'serializable';
ALTER ROLE t_delivery_owner SET default_transaction_read_only = on;
ALTER ROLE t_delivery_owner SET statement_timeout = '10ms';
ALTER ROLE t_delivery_owner SET idle_in_transaction_session_timeout = '1ms';
ALTER ROLE t_delivery_owner SET t_delivery.custom = 'anywhere';
SELECT current_database() AS db \gset
ALTER ROLE t_delivery_owner IN DATABASE :"db" SET TimeZone = 'Asia/Tokyo';
ALTER ROLE t_delivery_owner IN DATABASE :"db" SET t_delivery.custom = 'here';
ALTER ROLE t_delivery_owner SET search_path = t_delivery;
GRANT USAGE ON SCHEMA t_delivery TO t_delivery_owner;
GRANT INSERT ON who TO t_delivery_owner;
SELECT eda.subscribe('t_delivery_who', 't_delivery.who', 't_delivery.whoami', owner => 't_delivery_owner') \gset
SELECT eda.publish('t_delivery.who') \gset
CALL eda.wait('t_delivery_who');
SELECT results_eq('SELECT * FROM who',
    $$VALUES ('t_delivery_owner'::name, 't_delivery_owner'::name, 'read committed', 'off', '5MB', 'Asia/Tokyo', 'here', 't_delivery')$$,
    'a handler runs as the owner, with the owner''s settings, at READ COMMITTED');
TRUNCATE who;
SELECT eda.alter_subscription('t_delivery_who', '{"handler": "t_delivery.whoami_definer"}') \gset
SELECT eda.publish('t_delivery.who') \gset
CALL eda.wait('t_delivery_who');
SELECT results_eq('SELECT session_user_, current_user_, work_mem FROM who', $$VALUES ('t_delivery_owner'::name, current_user, '7MB')$$,
    'SECURITY DEFINER and SET of the function hold');

-- The handler cannot end the transaction, which is the batch's.
CREATE PROCEDURE committing() LANGUAGE plpgsql AS $$BEGIN COMMIT; END$$;
CREATE FUNCTION ending(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    CASE e.payload ->> 'do'
        WHEN 'commit' THEN COMMIT;
        WHEN 'rollback' THEN ROLLBACK;
        WHEN 'call' THEN CALL committing();
        ELSE NULL;
    END CASE;
END $$;
SELECT eda.subscribe('t_delivery_commit', 't_delivery.commit', 't_delivery.ending', owner => 't_delivery', max_attempts => 1) \gset
SELECT eda.publish_batch('t_delivery.commit', '{"{\"do\": \"commit\", \"n\": 1}", "{\"do\": \"rollback\", \"n\": 2}",
                                                "{\"do\": \"call\", \"n\": 3}", "{\"do\": \"nothing\", \"n\": 4}"}') \gset
CALL eda.wait('t_delivery_commit');
SELECT results_eq($$SELECT payload ->> 'do', error_code FROM eda.dead_letters WHERE subscription = 't_delivery_commit' ORDER BY event_id$$,
    $$VALUES ('commit', '2D000'), ('rollback', '2D000'), ('call', '2D000')$$, 'COMMIT and ROLLBACK are refused in a handler');
SELECT is(taken('t_delivery_commit'), '4', 'and undone with what the handler did before');

-- What looks with the caller's snapshot, as the check of a domain does in PL/pgSQL, sees what was done for the event before.
CREATE TABLE customer (n int);
GRANT ALL ON customer TO t_delivery;
CREATE FUNCTION is_known(int) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT EXISTS (SELECT FROM t_delivery.customer WHERE n = $1) $$;
CREATE DOMAIN known AS int CHECK (t_delivery.is_known(VALUE));
CREATE FUNCTION knowing(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    n int := p ->> 'n';
BEGIN
    IF p ? 'new' THEN
        INSERT INTO t_delivery.customer VALUES (n);
    ELSE
        DECLARE
            k t_delivery.known := n;
        BEGIN
        END;
    END IF;
END $$;
SELECT eda.subscribe('t_delivery_known', 't_delivery.known', 't_delivery.knowing', owner => 't_delivery', max_attempts => 1, ordering => 'none') \gset
SELECT eda.publish_batch('t_delivery.known', '{"{\"n\": 1, \"new\": true}", "{\"n\": 1}"}') \gset
CALL eda.wait('t_delivery_known');
SELECT is((handled, failed)::text, '(2,0)', 'an event''s handler sees what was done for the one before in its batch')
  FROM eda.subscriptions WHERE subscription = 't_delivery_known';

-- Nobody is to change rows of the log; who does it as a superuser loses nothing.
SELECT eda.subscribe('t_delivery_changed', 't_delivery.changed', 't_delivery.take', owner => 't_delivery') \gset
SELECT eda.pause('t_delivery_changed') \gset
SELECT eda.publish_batch('t_delivery.changed', '{"{\"n\": 1}", "{\"n\": 2}", "{\"n\": 3}"}') \gset
UPDATE eda.log SET payload = '{"n": 22}' WHERE topic = 't_delivery.changed' AND payload = '{"n": 2}';
SELECT eda.resume('t_delivery_changed') \gset
CALL eda.wait('t_delivery_changed');
SELECT is(taken('t_delivery_changed'), '1 22 3', 'a row that was changed is read where it is now');

\ir include/end.sql
