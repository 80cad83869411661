--
-- eda.validate, eda.is_valid, eda.check_schema; define_schema and drop_schema;
-- topics with a schema.  What JSON Schema means is the suite's (test/jsonschema/071).
--
\pset null null

-- every violation, where, and by what; always in the same order
SELECT * FROM eda.validate('{
	"type": "object",
	"required": ["id", "items", "at"],
	"properties": {
		"id": {"type": "integer", "minimum": 1},
		"name": {"type": ["string", "null"], "minLength": 3, "maxLength": 5, "pattern": "^[a-z]+$"},
		"items": {"type": "array", "minItems": 1, "maxItems": 3, "uniqueItems": true,
			"items": {"type": "object", "properties": {"q": {"exclusiveMinimum": 0, "multipleOf": 0.5}}, "additionalProperties": false}},
		"a/b~c": {"const": [1]}
	},
	"patternProperties": {"^x-": {"enum": ["a", "b", 3]}},
	"propertyNames": {"maxLength": 6},
	"minProperties": 9
}', '{"id": 0.5, "name": "A very long name", "items": [{"q": 0.3}, {"q": -1, "r": 1}, 7, 7], "a/b~c": 1, "x-y": "c", "x-a": 3, "extra-long": null}');
SELECT * FROM eda.validate('{"anyOf": [{"type": "string"}, {"properties": {"a": {"type": "null"}}, "required": ["a"]}]}', '{"a": 1}');
SELECT * FROM eda.validate('{"oneOf": [{"type": "number"}, {"type": "integer"}]}', '1.0');
SELECT * FROM eda.validate('{"oneOf": [{"type": "number"}, {"minLength": 2}]}', '"x"');
SELECT * FROM eda.validate('{"not": {"type": "number"}, "if": {"minimum": 5}, "then": {"maximum": 7}, "else": false}', '8');
SELECT * FROM eda.validate('{"allOf": [true, {"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"dependentRequired": {"x": ["y", "z"]}}}}', '{"x": 1, "z": 1}');
SELECT * FROM eda.validate('{"prefixItems": [{"type": "string"}], "contains": {"const": 5}, "minContains": 2, "unevaluatedItems": false}', '["a", 5, 6]');
SELECT * FROM eda.validate('{"allOf": [{"properties": {"a": true}}], "anyOf": [{"properties": {"b": {"type": "string"}}}, true], "unevaluatedProperties": false}', '{"a": 1, "b": 2, "c": 3}');
SELECT * FROM eda.validate('{"items": {"contains": {"type": "null"}, "maxContains": 1}}', '[[], [null, null]]');
SELECT * FROM eda.validate('{"additionalProperties": {"$ref": "#"}, "type": ["object", "null"]}', '{"a": {"b": {"c": 1}}}');
SELECT * FROM eda.validate('false', '1');
SELECT * FROM eda.validate('true', '1');

-- drafts differ
SELECT draft, eda.is_valid(jsonb_build_object('$schema', draft, 'format', 'date', 'maximum', 1, 'exclusiveMaximum', e), '"x"') AS formats
FROM (VALUES ('http://json-schema.org/draft-04/schema#', 'true'::jsonb), ('http://json-schema.org/draft-06/schema#', '1'), ('http://json-schema.org/draft-07/schema#', '1'),
	('https://json-schema.org/draft/2019-09/schema', '1'), ('https://json-schema.org/draft/2020-12/schema', '1')) AS d (draft, e);
SELECT eda.is_valid('{"format": "date"}', '"x"') AS by_default, eda.is_valid('{"format": "date"}', '"x"', true) AS asserted,
	eda.is_valid('{"$schema": "http://json-schema.org/draft-07/schema#", "format": "date"}', '"x"', false) AS not_asserted,
	eda.is_valid('{"format": "never-heard-of"}', '"x"', true) AS unknown;
SELECT * FROM eda.validate('{"format": "ipv4"}', '"1.2.3"', formats => true);

-- numbers are those of jsonb
SELECT eda.is_valid('{"const": 1}', '1.0') AS equal, eda.is_valid('{"type": "integer"}', '1.0') AS integer, eda.is_valid('{"enum": [{"a": [1.50]}]}', '{"a": [1.5]}') AS deep,
	eda.is_valid('{"maximum": 12345678901234567890.1}', '12345678901234567890.2') AS precise, eda.is_valid('{"multipleOf": 0.01}', '4.35') AS exact,
	eda.is_valid('{"multipleOf": 1e-9}', '1e300') AS far;
SELECT eda.is_valid('{"uniqueItems": true}', (SELECT jsonb_agg(i) FROM generate_series(1, 20000) i)) AS unique,
	eda.is_valid('{"uniqueItems": true}', (SELECT jsonb_agg(i % 19999) FROM generate_series(1, 20000) i)) AS repeated;

-- patterns are those of ECMA-262
SELECT p, encode(convert_to(s, 'UTF8'), 'escape') AS s, eda.is_valid(jsonb_build_object('pattern', p), to_jsonb(s)) AS matches
FROM (VALUES ('^a$', E'a\n'), ('^.$', U&'\2028'), ('^\d$', U&'\0663'), ('^\w$', 'é'), ('^\s$', U&'\FEFF'), ('^\cJ$', E'\n'), ('^\u{1F600}$', U&'\+01F600'),
	('^\uD83D\uDE00$', U&'\+01F600'), ('^\p{Letter}$', 'é'), ('^\p{Script=Greek}$', 'α'), ('^[^]$', 'x'), ('[]', 'x'), ('^(?<y>a)\k<y>$', 'aa'), ('(?<=\$)\d', '$5'),
	('^\1(a)$', 'a'), ('^[\w-.]+$', 'a-.'), ('a{,2}', 'a'), ('^[[:alpha:]]$', 'a'), ('^[[:alpha:]]$', 'a]')) AS t (p, s)
WHERE p <> 'a{,2}';
SELECT eda.check_schema(jsonb_build_object('pattern', p)) FROM (VALUES ('a{,2}')) AS t (p);
DO $$
DECLARE
	p text;
	detail text;
BEGIN
	FOREACH p IN ARRAY ARRAY['\a', '\Z', '(?P<x>a)', '(?i)a', 'a**', 'a++', '*', '(', ')', '[', '[z-a]', 'a{2,1}', '\k<no>', '\2(a)', '\p{letter}', '\p{L', '\u00', '\c1', '(?#x)', '(*FAIL)', '\Qx\E', '(?<a>x)(?<a>y)', '^*', 'x{99999}', '\01', 'a\'] LOOP
		BEGIN
			PERFORM eda.check_schema(jsonb_build_object('properties', jsonb_build_object('x', jsonb_build_object('pattern', p))));
			RAISE NOTICE '%: accepted', p;
		EXCEPTION WHEN SQLSTATE 'ED050' THEN
			GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
			RAISE NOTICE '%', detail;
		END;
	END LOOP;
END $$;
\set VERBOSITY sqlstate
\set SHOW_CONTEXT never
SELECT eda.is_valid('{"pattern": "^(a+)+$"}', to_jsonb(repeat('a', 60) || 'b')) \g /dev/null
\echo :LAST_ERROR_SQLSTATE :LAST_ERROR_MESSAGE
\set VERBOSITY default
SELECT eda.is_valid('{"pattern": "x*y"}', to_jsonb(repeat('x', 20000))) AS long;

-- what is no schema, and where
SELECT eda.check_schema('{"properties": {"a/b": {"items": {"type": "strnig"}}}}');
SELECT eda.check_schema('{"allOf": [{"minimum": "1"}]}');
SELECT eda.check_schema('[]');
SELECT eda.check_schema('{"$schema": "http://json-schema.org/draft-04/schema#", "exclusiveMinimum": 5}');
SELECT eda.check_schema('{"$schema": "http://example.com/mine"}');
SELECT eda.check_schema('{"$defs": {"a": {"$ref": "#/$defs/b"}}}');
\echo :LAST_ERROR_SQLSTATE
SELECT eda.check_schema('{"$ref": "http://example.com/no"}');
SELECT eda.check_schema('{"$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}}');
SELECT eda.check_schema('{"patternProperties": {"(": true}}');
SELECT eda.check_schema('{"$defs": {"x": {"$id": "http://example.com/%"}}}');
SELECT eda.check_schema('{"unknown": {"type": "strnig"}}');
SELECT eda.check_schema('{"unknown": {"type": "strnig"}, "$ref": "#/unknown"}');
SELECT eda.check_schema(NULL);
SELECT eda.is_valid(NULL, '1');
SELECT eda.is_valid('true', NULL);
SELECT eda.validate('true', NULL);

-- recursion has an end
SELECT eda.is_valid('{"$ref": "#"}', '1');
\echo :LAST_ERROR_SQLSTATE
SELECT eda.is_valid('{"$defs": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}', 'null');
SELECT eda.is_valid('{"$defs": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}', '1');
SELECT eda.is_valid('{"items": {"$ref": "#"}, "type": "array"}', (repeat('[', 1000) || repeat(']', 1000))::jsonb) AS deep;
SET max_stack_depth = '100kB';
SELECT eda.is_valid('{"items": {"$ref": "#"}, "type": "array"}', (repeat('[', 500) || repeat(']', 500))::jsonb) AS deep;
\echo :LAST_ERROR_SQLSTATE
RESET max_stack_depth;

-- in a constraint
CREATE TABLE schema_checked (j jsonb CHECK (eda.is_valid('{"required": ["a"], "properties": {"a": {"type": "integer"}}}', j)));
INSERT INTO schema_checked VALUES ('{"a": 1}'), (NULL);
INSERT INTO schema_checked VALUES ('{"a": "1"}');
DROP TABLE schema_checked;

-- registered schemas; two may refer to each other, and what is there is not for is_valid
SELECT eda.define_schema('http://example.com/node', '{"type": "object", "properties": {"next": {"$ref": "list"}}}');
SELECT eda.check_schema('{"$ref": "http://example.com/node"}');
SELECT eda.define_schema('http://example.com/list#', '{"type": ["null", "object"], "anyOf": [{"type": "null"}, {"$ref": "node"}]}');
SELECT uri, schema, owner = current_user::regrole AS own FROM eda.schemas;
SELECT * FROM eda.validate('{"$ref": "http://example.com/node"}', '{"next": {"next": {"next": 5}}}');
SELECT eda.is_valid('{"$ref": "http://example.com/node"}', '{}');
SELECT eda.define_schema('http://EXAMPLE.com/a/../node', '{"type": "array"}');
SELECT * FROM eda.validate('{"$ref": "http://example.com/node"}', '{}');
SELECT eda.define_schema('x#frag', 'true');
SELECT eda.define_schema('', 'true');
SELECT eda.define_schema('not a uri', 'true');
SELECT eda.define_schema('http://json-schema.org/draft-07/schema', 'true');
SELECT eda.define_schema('http://example.com/bad', '{"type": 5}');
SELECT eda.define_schema('http://example.com/bad', '{"$ref": "#/nowhere"}');
SELECT eda.define_schema('http://example.com/old', '{"id": "http://example.com/old", "definitions": {"x": {"id": "#x"}}, "items": {"$ref": "#x"}}');
-- a metaschema of one's own
SELECT eda.define_schema('http://example.com/meta', '{"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "http://example.com/meta",
	"$vocabulary": {"https://json-schema.org/draft/2020-12/vocab/core": true, "https://json-schema.org/draft/2020-12/vocab/applicator": true, "https://json-schema.org/draft/2020-12/vocab/format-assertion": true},
	"properties": {"title": {"type": "string"}}, "required": ["title"]}');
SELECT * FROM eda.validate('{"$schema": "http://example.com/meta", "title": "t", "properties": {"a": {"format": "date", "minLength": 20}}}', '{"a": "1-2-3"}');
SELECT eda.check_schema('{"$schema": "http://example.com/meta"}');

-- topics
SELECT eda.define_topic('schema.order', '{"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}, "card": {"pattern": "^[0-9]+$"}, "n": {"$ref": "http://example.com/int"}}}');
SELECT eda.define_schema('http://example.com/int', '{"type": "integer"}');
SELECT eda.define_topic('schema.order', '{"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}, "card": {"pattern": "^[0-9]+$"}, "n": {"$ref": "http://example.com/int"}}}',
	'an order', '{card}');
SELECT topic, description, sensitive, owner = current_user::regrole AS own FROM eda.topics;
SELECT eda.publish('schema.order', '{"id": 1, "n": 2}') > 0 AS published;
SELECT eda.publish('schema.order', '{"id": "1", "card": "secret", "n": 2.5}');
\echo :LAST_ERROR_SQLSTATE
SELECT eda.publish('schema.order', '{}', deliver_at => 'tomorrow');
SELECT cardinality(eda.publish_batch('schema.order', '{"{\"id\": 1}", "{\"id\": 2}"}'));
SELECT eda.publish_batch('schema.order', '{"{\"id\": 1}", "{\"id\": null}"}');
SELECT eda.publish_query('schema.order', 'SELECT i / 2.0 AS id FROM generate_series(1, 4) i');
SELECT total, published, invalid FROM eda.publish_query('schema.order', 'SELECT i / 2.0 AS id FROM generate_series(1, 4) i', on_invalid => 'skip');
-- the same event again is not checked again
SELECT eda.publish('schema.order', '{"id": 7}', idempotency_key => 'k') AS first \gset
SELECT eda.define_topic('schema.order', 'false');
SELECT eda.publish('schema.order', '{"id": 7}', idempotency_key => 'k') = :first AS same;
SELECT eda.publish('schema.order', '{"id": 7}');
-- each publish sees one version, its own transaction's included
BEGIN;
SELECT eda.define_topic('schema.order', 'true');
SELECT eda.publish('schema.order', '5') > 0 AS published;
SAVEPOINT s;
SELECT eda.define_topic('schema.order', '{"type": "string"}');
SELECT eda.publish('schema.order', '"x"') > 0 AS published;
ROLLBACK TO s;
SELECT eda.publish('schema.order', '5') > 0 AS published;
SELECT eda.drop_topic('schema.order');
SELECT eda.publish('schema.order', '{}') > 0 AS published;
ROLLBACK;
SELECT eda.publish('schema.order', '{}');
-- a query that changes the contract under its feet
CREATE FUNCTION schema_change() RETURNS int LANGUAGE sql AS $$SELECT eda.define_topic('schema.order', 'true'); SELECT 1$$;
SELECT total, published, invalid FROM eda.publish_query('schema.order', 'SELECT schema_change() AS id FROM generate_series(1, 2)', on_invalid => 'skip');
DROP FUNCTION schema_change();
-- what is used stays usable
SELECT eda.define_topic('schema.order', '{"properties": {"n": {"$ref": "http://example.com/int"}}}');
SELECT eda.drop_schema('http://example.com/int');
\echo :LAST_ERROR_SQLSTATE
SELECT eda.define_schema('http://example.com/int', '{"minimum": 5}');
SELECT eda.publish('schema.order', '{"n": 4}');
SELECT eda.define_topic('eda.mine', 'true');
SELECT eda.define_topic('schema order', 'true');
SELECT eda.define_topic('schema.bad', '{"type": "nothing"}');
SELECT eda.define_topic('schema.bad', sensitive => ARRAY['']);
SELECT eda.define_topic(NULL);
SELECT eda.drop_topic('schema.order'), eda.drop_topic('schema.order');
SELECT eda.drop_schema(uri) FROM eda.schemas ORDER BY uri;
SELECT eda.drop_schema('http://example.com/int');

-- a subscription's
SET client_min_messages = error;
CREATE FUNCTION schema_handler(jsonb) RETURNS void LANGUAGE sql AS 'SELECT 1';
SELECT eda.subscribe('schema_sub', 'schema.sub', 'schema_handler', schema => '{"type": "nothing"}');
SELECT eda.subscribe('schema_sub', 'schema.sub', 'schema_handler', schema => '{"type": "object", "required": ["a"]}');
SELECT schema FROM eda.subscriptions WHERE subscription = 'schema_sub';
SELECT eda.subscription_def('schema_sub') LIKE '%schema => ''{"type": "object", "required": ["a"]}''%' AS defined;
SELECT eda.alter_subscription('schema_sub', '{"schema": {"pattern": "("}}');
BEGIN;
SELECT eda.publish('schema.sub', '{"a": 1}') > 0 AS published;
SELECT eda.run_pending('schema_sub');
SELECT eda.publish('schema.sub', '{"b": 1}') > 0 AS published;
SELECT eda.run_pending('schema_sub');
ROLLBACK;
SELECT eda.unsubscribe('schema_sub');
DROP FUNCTION schema_handler(jsonb);

-- what ends in the middle of a group's name is an error, in a schema and as a string
SELECT eda.is_valid('{"pattern": "(?<"}', '"a"');
SELECT eda.is_valid('{"format": "regex"}', '"x(?<"', true);

-- many schemas by one statement
CREATE TEMPORARY TABLE many AS SELECT 'http://example.com/many/' || i AS uri, '{"type": "string"}'::jsonb AS schema FROM generate_series(1, 300) i;
SELECT count(*) FROM (SELECT eda.define_schema(uri, schema) FROM many) d;
SELECT count(*) FROM (SELECT eda.drop_schema(uri) FROM many) d;

-- work that doubles with each level ends
SELECT eda.is_valid('{"items": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}', (repeat('[', 60) || repeat(']', 60))::jsonb);

-- an embedded schema of another draft is checked as one of that draft
SELECT eda.check_schema('{"$id": "http://a/", "$defs": {"x": {"$id": "http://b/", "$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}}}');
SELECT eda.check_schema('{"$id": "http://a/", "$defs": {"x": {"$id": "http://b/", "$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": 1}]}}}');
SELECT i, eda.is_valid('{"$id": "http://a/", "$ref": "http://b/",
	"$defs": {"x": {"id": "http://b/", "$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": true}}}', to_jsonb(i)) FROM generate_series(1, 2) i;

-- a registered schema that says it has our URI takes over nothing
SELECT eda.define_schema('http://example.com/b', '{"$id": "http://example.com/a", "$defs": {"x": {"type": "string"}}}');
SELECT eda.validate('{"$id": "http://example.com/a", "$defs": {"x": {"type": "number"}},
	"properties": {"p": {"$ref": "http://example.com/b#/$defs/x"}, "q": {"$ref": "#/$defs/x"}}}', '{"q": 1}');
SELECT eda.drop_schema('http://example.com/b');

-- escapes that are no UTF-8 stay escapes
SELECT eda.check_schema('{"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {"$id": "#%FF"}, "b": {"$id": "#%FF", "type": "null"}}}');

-- what takes long can be cancelled: in one match, and in many
SET statement_timeout = '500ms';
SELECT eda.is_valid('{"pattern": "^(?:a(?![^c]*c))*?$"}', to_jsonb(repeat('a', 120000)));
SELECT eda.is_valid('{"items": {"pattern": ".{0,90}.{0,90}.{0,90}Z$"}}', (SELECT jsonb_agg(repeat('a', 3700) || 'Z' || repeat('b', 300) || 'Z') FROM generate_series(1, 50)));
SELECT eda.is_valid((SELECT jsonb_build_object('patternProperties', jsonb_object_agg('^.*[a-c].*x' || i, true)) FROM generate_series(1, 400) i),
	(SELECT jsonb_object_agg(repeat('ab', 30) || i, 1) FROM generate_series(1, 20000) i));
RESET statement_timeout;

-- in a union the branch that was meant comes first: the one whose discriminator holds, or that has the fewest violations
CREATE FUNCTION schema_kinds(n int, kind text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('oneOf', jsonb_agg(jsonb_build_object('type', 'object', 'required', jsonb_build_array(kind, 'f' || i), 'additionalProperties', false,
		'properties', jsonb_build_object(kind, jsonb_build_object('const', 'k' || i), 'who', '{"enum": ["me", "you"]}'::jsonb, 'f' || i, '{"type": "integer"}'::jsonb)) ORDER BY i))
	FROM generate_series(1, n) i $$;
SELECT eda.define_topic('schema.union', schema_kinds(40, 'kind'));
SELECT eda.publish('schema.union', '{"kind": "k40", "who": "me", "f40": "seven"}');
SELECT eda.publish('schema.union', '{"kind": "k33", "who": "she", "f33": 7}');
-- in items, each by its own kind; by reference, by a number, in a union of unions, under another name, in a header
SELECT eda.define_topic('schema.union', jsonb_build_object('items', schema_kinds(30, 'type')));
SELECT eda.publish('schema.union', '[{"type": "k29", "f29": "a"}, {"type": "k3", "f3": 3}, {"type": "k2", "f2": "b"}]');
SELECT n, v.instance_path, v.schema_path, v.message FROM (VALUES
	(1, '{"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}], "$defs": {"a": {"allOf": [{"properties": {"v": {"const": 1}}}, {"required": ["x"]}]},
		"b": {"properties": {"v": {"enum": [2]}, "x": {"type": "null"}}}}}'::jsonb, '{"v": 2.0, "x": 1}'::jsonb),
	(2, '{"oneOf": [{"oneOf": [{"properties": {"v": {"const": 1}, "x": {"type": "null"}}}, {"properties": {"v": {"const": 2}, "x": {"type": "null"}}}]},
		{"oneOf": [{"properties": {"v": {"const": 3}, "x": {"type": "null"}}}, {"properties": {"v": {"const": 4}, "x": {"type": "null"}}}]}]}', '{"v": 4, "x": 1}'),
	(3, '{"oneOf": [{"properties": {"head": {"properties": {"v": {"const": "a"}}}, "x": {"type": "null"}}}, {"properties": {"head": {"properties": {"v": {"const": "b"}}}, "x": {"type": "null"}}}]}',
		'{"head": {"v": "b"}, "x": 1}'),
	(4, '{"anyOf": [{"type": "null"}, {"required": ["a", "b"]}]}', '{}'),
	(5, '{"anyOf": [{"required": ["a", "b", "c"]}, {"required": ["b", "c"]}, {"required": ["a"]}]}', '{}'),
	(6, '{"anyOf": [{"properties": {"v": {"enum": ["a", "b"]}, "x": {"type": "null"}, "y": {"type": "null"}}}, {"properties": {"v": {"enum": ["c", "d"]}, "x": {"type": "null"}}}]}',
		'{"v": "b", "x": 1, "y": 1}'),
	(7, '{"allOf": [{"if": {"properties": {"v": {"const": "a"}}}, "then": {"required": ["a"]}}, {"if": {"properties": {"v": {"const": "b"}}}, "then": {"required": ["b"]}}]}', '{"v": "b"}')
	) u (n, s, i), LATERAL (SELECT * FROM eda.validate(s, i) WITH ORDINALITY ORDER BY ordinality LIMIT 3) v ORDER BY n, ordinality;
-- all of them by eda.validate
SELECT count(*) FROM eda.validate(schema_kinds(40, 'kind'), '{"kind": "k40", "who": "me", "f40": "seven"}');
-- and what has no end ends
SELECT eda.validate('{"anyOf": [{"$ref": "#"}, {"required": ["a"]}]}', '{}');
SELECT eda.drop_topic('schema.union');

-- a call knows its schema again, whatever it was given as
CREATE TABLE schema_kept (id int, s jsonb);
INSERT INTO schema_kept SELECT m, jsonb_build_object('minimum', m, '$defs', (SELECT jsonb_object_agg('d' || i, jsonb_build_object('const', md5(i::text))) FROM generate_series(1, n) i))
FROM generate_series(1, 12) m, (VALUES (1), (600)) AS x (n);
SELECT id, count(*), count(*) FILTER (WHERE eda.is_valid(s, to_jsonb(i))) AS valid FROM generate_series(1, 20) i, schema_kept GROUP BY id ORDER BY id;
DO $$
DECLARE
	s jsonb;
	found text := '';
BEGIN
	FOR n IN 1 .. 2 LOOP
		s := (SELECT jsonb_build_object('minimum', 1, '$defs', jsonb_object_agg('d' || i, '{"type": "integer"}'::jsonb)) FROM generate_series(1, n * 1000 - 999) i);
		FOR m IN 0 .. 9 LOOP
			s := jsonb_set(s, '{minimum}', to_jsonb(m));	-- another value, perhaps where the last one but one was
			found := found || eda.is_valid(s, '5')::int::text;
		END LOOP;
	END LOOP;
	PERFORM set_config('schema.found', found, false);
END $$;
SELECT current_setting('schema.found');
SET plan_cache_mode = force_generic_plan;
PREPARE schema_call (jsonb, boolean) AS SELECT count(*) FILTER (WHERE eda.is_valid($1, to_jsonb(i), $2)) FROM generate_series(1, 10) i;
EXECUTE schema_call('{"minimum": 3}', NULL);
EXECUTE schema_call('{"minimum": 4}', NULL);
RESET plan_cache_mode;
SELECT f, eda.is_valid('{"format": "ipv4"}', '"x"', f) FROM (VALUES (true), (false), (true), (NULL)) AS t (f);
UPDATE schema_kept SET s = jsonb_set(s, '{minimum}', '6');
SELECT id, count(*), count(*) FILTER (WHERE eda.is_valid(s, '5')) AS valid FROM schema_kept WHERE id IN (4, 8) GROUP BY id ORDER BY id;
DROP TABLE schema_kept;

-- names with joiners, and those written from right to left
SELECT h, eda.is_valid('{"format": "idn-hostname"}', to_jsonb(u), true) FROM (VALUES ('AL ZWNJ AL', U&'\0647\200C\0627'), ('R ZWNJ D', U&'\0627\200C\0628'), ('D ZWNJ', U&'\0628\200C'),
	('D T ZWNJ T D', U&'\0628\064B\200C\064B\0628'), ('Latin ZWNJ', U&'a\200Cb'), ('virama ZWNJ', U&'\0915\094D\200C\0937'), ('virama ZWJ', U&'\0915\094D\200D\0937'), ('D ZWJ D', U&'\0628\200D\0628'),
	('Hebrew', U&'\05D0\05D1'), ('Hebrew and Latin', U&'\05D0a'), ('Latin and Hebrew', U&'a\05D0'), ('Hebrew and a digit', U&'\05D01'), ('a digit and Hebrew', U&'1\05D0'), ('a mark at the end', U&'\05D0\05B0'),
	('Arabic digits', U&'\0627\0661'), ('both kinds of digits', U&'\0627\0661' || '1'), ('Arabic digits first', U&'\0661\0627'), ('and a Latin label', U&'\05D0.com'),
	('and a label with a digit first', U&'\05D0.1com'), ('a digit first, all from left to right', U&'b\00FCcher.1com'), ('encoded', 'xn--4dbc.a1'), ('encoded, and a digit first', 'xn--4dbc.1a')) AS t (h, u);
SELECT h, eda.is_valid('{"format": "hostname"}', to_jsonb(h), true) FROM unnest('{xn--4dbc.a1, xn--4dbc.1a, 1a.de}'::text[]) h;
DROP FUNCTION schema_kinds;
