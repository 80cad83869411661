-- A subscription's schema: what breaks it is a dead letter, and its handler is never called.
\set test t_contracts
\ir include/begin.sql
SELECT plan(26);

CREATE FUNCTION take_set(es eda.event[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO got (sub, id, topic, key, payload) SELECT e.subscription, e.id, e.topic, e.key, e.payload FROM unnest(es) e;
END $$;
CREATE FUNCTION dead(sub text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(payload ->> 'n', ' ' ORDER BY event_id), '') FROM eda.dead_letters d WHERE d.subscription = sub;
$$;
CREATE FUNCTION counts(sub text) RETURNS text LANGUAGE sql AS $$
    SELECT format('handled %s, filtered %s, failed %s, retrying %s, dead %s, %s', handled, filtered, failed, retrying, dead, state)
      FROM eda.subscriptions s WHERE s.subscription = sub;
$$;
-- Every third event has no "a".
CREATE FUNCTION events(n int) RETURNS jsonb[] LANGUAGE sql AS $$
    SELECT array_agg(CASE WHEN i % 3 = 0 THEN jsonb_build_object('n', i) ELSE jsonb_build_object('n', i, 'a', 'x') END ORDER BY i) FROM generate_series(1, n) i;
$$;
\set schema '{"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "n": {"type": "integer"}}}'

-- One event at a time, in order, and more bad ones than would block it.
SELECT eda.subscribe('t_contracts_one', 't_contracts.one', 't_contracts.take', schema => :'schema', owner => 't_contracts', block_after => 3) \gset
SELECT eda.publish_batch('t_contracts.one', events(30), array_fill('k'::text, '{30}')) \gset
CALL eda.wait('t_contracts_one');
SELECT is(taken('t_contracts_one'), (SELECT string_agg(i::text, ' ' ORDER BY i) FROM generate_series(1, 30) i WHERE i % 3 > 0), 'what conforms is handled, in order');
SELECT is(dead('t_contracts_one'), '3 6 9 12 15 18 21 24 27 30', 'what breaks the schema is a dead letter');
SELECT is(counts('t_contracts_one'), 'handled 20, filtered 0, failed 10, retrying 0, dead 10, active', 'it is counted as failed, and blocks nothing');
SELECT results_eq($$SELECT DISTINCT reason, attempts, error_code, error_detail FROM eda.dead_letters WHERE subscription = 't_contracts_one'$$,
    $$VALUES ('schema', 0, 'ED053', 'the payload: property "a" is missing (schema: /required)')$$, 'with reason schema, without an attempt, and with the violations');

-- Every violation.
SELECT eda.publish('t_contracts.one', '{"n": 1.5, "a": 7}') \gset
CALL eda.wait('t_contracts_one');
SELECT is(error_detail, E'/a: is of type number, must be string (schema: /properties/a/type)\n/n: is of type number, must be integer (schema: /properties/n/type)',
    'all of them') FROM eda.dead_letters WHERE subscription = 't_contracts_one' ORDER BY event_id DESC LIMIT 1;

-- Redriven it is checked anew: by what the schema is then.
SELECT eda.redrive_all('t_contracts_one') \gset
CALL eda.wait('t_contracts_one');
SELECT is(counts('t_contracts_one'), 'handled 20, filtered 0, failed 22, retrying 0, dead 11, active', 'redriven, it is a dead letter again');
SELECT eda.alter_subscription('t_contracts_one', '{"schema": {"required": ["n"]}}') \gset
SELECT eda.redrive_all('t_contracts_one') \gset
CALL eda.wait('t_contracts_one');
SELECT is(counts('t_contracts_one'), 'handled 31, filtered 0, failed 22, retrying 0, dead 0, active', 'with another schema it is handled');
SELECT eda.alter_subscription('t_contracts_one', '{"schema": null}') \gset
SELECT eda.publish('t_contracts.one', '5') \gset
CALL eda.wait('t_contracts_one');
SELECT is(counts('t_contracts_one'), 'handled 32, filtered 0, failed 22, retrying 0, dead 0, active', 'without a schema everything is');

-- The filter comes first.
SELECT eda.subscribe('t_contracts_filter', 't_contracts.filter', 't_contracts.take', filter => '$.n > 10', schema => :'schema', owner => 't_contracts') \gset
SELECT eda.publish_batch('t_contracts.filter', events(15)) \gset
CALL eda.wait('t_contracts_filter');
SELECT is(counts('t_contracts_filter'), 'handled 3, filtered 10, failed 2, retrying 0, dead 2, active', 'what does not pass the filter is not checked');
SELECT is(dead('t_contracts_filter'), '12 15', 'and the rest is');

-- A set-wise handler gets what conforms.
SELECT eda.subscribe('t_contracts_set', 't_contracts.set', 't_contracts.take_set', schema => :'schema', owner => 't_contracts') \gset
SELECT eda.publish_batch('t_contracts.set', events(60)) \gset
CALL eda.wait('t_contracts_set');
SELECT is(counts('t_contracts_set'), 'handled 40, filtered 0, failed 20, retrying 0, dead 20, active', 'a set without those that break the schema');
SELECT is(taken('t_contracts_set'), (SELECT string_agg(i::text, ' ' ORDER BY i) FROM generate_series(1, 60) i WHERE i % 3 > 0), 'in order');
SELECT is(count(*), 20::bigint, 'each bad one with reason schema') FROM eda.dead_letters WHERE subscription = 't_contracts_set' AND reason = 'schema';

-- With strict order, too, nothing waits behind one.
SELECT eda.subscribe('t_contracts_strict', 't_contracts.strict', 't_contracts.take', schema => :'schema', owner => 't_contracts', ordering => 'strict') \gset
SELECT eda.publish_batch('t_contracts.strict', events(9)) \gset
CALL eda.wait('t_contracts_strict');
SELECT is(taken('t_contracts_strict') || ', ' || dead('t_contracts_strict'), '1 2 4 5 7 8, 3 6 9', 'strict order goes on behind a dead letter');

-- A handler that breaks a contract when it publishes has failed: that is no word on its own event.
CREATE FUNCTION forward(e eda.event) RETURNS void LANGUAGE sql AS $$SELECT eda.publish('t_contracts.out', e.payload)$$;
SELECT eda.define_topic('t_contracts.out', '{"required": ["b"]}') \gset
SELECT eda.subscribe('t_contracts_forward', 't_contracts.in', 't_contracts.forward', schema => :'schema', owner => 't_contracts', max_attempts => 2, backoff => '5 ms') \gset
SELECT eda.publish_batch('t_contracts.in', '{"{\"n\": 1, \"a\": \"x\", \"b\": 1}", "{\"n\": 2, \"a\": \"x\"}"}') \gset
CALL wait_until($$dead('t_contracts_forward') = '2'$$);
SELECT results_eq($$SELECT reason, attempts, error_code FROM eda.dead_letters WHERE subscription = 't_contracts_forward'$$,
    $$VALUES ('max_attempts', 2, 'ED053')$$, 'what a handler publishes is checked, and its failure is its own');
SELECT is(count(*), 1::bigint, 'and only what conforms is published') FROM eda.events WHERE topic = 't_contracts.out';

-- A publisher whose backend has the old contract in its cache sees the new one.
CREATE PROCEDURE evolve() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM eda.define_topic('t_contracts.evolve', '{"required": ["a"]}');
    PERFORM eda.publish('t_contracts.evolve', '{"a": 1}');
    COMMIT;
    PERFORM eda.define_topic('t_contracts.evolve', '{"required": ["a", "b"]}');
    ROLLBACK;
    PERFORM eda.publish('t_contracts.evolve', '{"a": 1}');
END $$;
CALL evolve();
SELECT is(count(*), 2::bigint, 'a definition that was rolled back refuses nothing') FROM eda.events WHERE topic = 't_contracts.evolve';
SELECT eda.define_topic('t_contracts.evolve', '{"required": ["b"]}') \gset
SELECT throws_ok($$SELECT eda.publish('t_contracts.evolve', '{"a": 1}')$$, 'ED053', NULL, 'one that was committed does');
SELECT lives_ok($$SELECT eda.publish('t_contracts.evolve', '{"b": 1}')$$, 'and lets pass what it allows');

-- Of a union the branch that was meant comes first, and a long list is cut.
SELECT eda.subscribe('t_contracts_union', 't_contracts.union', 't_contracts.take', owner => 't_contracts', schema => (SELECT jsonb_build_object('oneOf', jsonb_agg(jsonb_build_object(
    'properties', jsonb_build_object('kind', jsonb_build_object('const', i), 'a', '{"type": "string"}'::jsonb)) ORDER BY i)) FROM generate_series(1, 30) i)) \gset
SELECT eda.publish('t_contracts.union', '{"kind": 30, "a": 1}') \gset
CALL eda.wait('t_contracts_union');
SELECT ok(error_detail LIKE E'the payload: matches none of the 30 schemas of oneOf (schema: /oneOf)\n/a: is of type number, must be string (schema: /oneOf/29/properties/a/type)\n%and 40 more'
    AND cardinality(string_to_array(error_detail, E'\n')) = 21, 'the violations in the branch that was meant come first, 20 in all')
FROM eda.dead_letters WHERE subscription = 't_contracts_union';

-- A registered schema that contracts refer to is theirs, too.
SELECT eda.define_schema('urn:t_contracts:item', '{"type": "integer"}') \gset
SELECT eda.define_topic('t_contracts.ref', '{"$ref": "urn:t_contracts:item"}') \gset
SELECT eda.subscribe('t_contracts_ref', 't_contracts.ref2', 't_contracts.take', schema => '{"properties": {"n": {"$ref": "urn:t_contracts:item"}}}', owner => 't_contracts') \gset
SELECT lives_ok($$SELECT eda.publish('t_contracts.ref', '1')$$, 'a reference to a registered schema');
SELECT eda.publish_batch('t_contracts.ref2', '{"{\"n\": 1}", "{\"n\": \"2\"}"}') \gset
CALL eda.wait('t_contracts_ref');
SELECT is(taken('t_contracts_ref') || ', ' || dead('t_contracts_ref'), '1, 2', 'in a subscription''s schema');
SELECT throws_ok($$SELECT eda.drop_schema('urn:t_contracts:item')$$, '2BP01', NULL, 'it cannot be dropped');
SELECT throws_ok($$SELECT eda.define_schema('urn:t_contracts:item', '{"$ref": "urn:t_contracts:no"}')$$, '2BP01', NULL, 'nor made useless');
SELECT eda.define_schema('urn:t_contracts:item', '{"type": "string"}') \gset
SELECT throws_ok($$SELECT eda.publish('t_contracts.ref', '1')$$, 'ED053', NULL, 'changed, it changes who refers to it');
SELECT eda.publish_batch('t_contracts.ref2', '{"{\"n\": 3}", "{\"n\": \"4\"}"}') \gset
CALL eda.wait('t_contracts_ref');
SELECT is(taken('t_contracts_ref') || ', ' || dead('t_contracts_ref'), '1 4, 2 3', 'in the executors, too');

SELECT eda.drop_topic(topic) FROM eda.topics WHERE topic LIKE 't\_contracts.%' \g /dev/null
SELECT eda.unsubscribe('t_contracts_ref', true) \gset
SELECT eda.drop_schema('urn:t_contracts:item') \gset
\ir include/end.sql
