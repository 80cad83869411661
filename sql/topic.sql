--
-- Topics and patterns.
--
SELECT eda.publish('order') > 0 AS one_word,
       eda.publish('order.created.v2') > 0 AS three_words,
       eda.publish('A-1._.x_y') > 0 AS all_characters,
       eda.publish(rpad('a', 255, '.a')) > 0 AS longest,
       eda.publish('education.eda') > 0 AS not_reserved;

-- malformed
SELECT eda.publish('');
\echo :SQLSTATE
SELECT eda.publish(repeat('a', 256));
SELECT eda.publish(repeat('ä', 128));
SELECT eda.publish('.order');
SELECT eda.publish('order.');
SELECT eda.publish('order..created');
SELECT eda.publish('order created');
SELECT eda.publish('bestellung.geändert');
SELECT eda.publish('order.*');
SELECT eda.publish('#');
SELECT eda.publish(NULL);
\echo :SQLSTATE

-- reserved
SELECT eda.publish('eda');
\echo :SQLSTATE
SELECT eda.publish('eda.dead_letter');
SELECT eda.publish_batch('eda.dead_letter', '{1}');
SELECT eda.publish_query('eda.dead_letter', 'SELECT 1');
-- a test of a handler may make one
SELECT (eda.make_event('eda.dead_letter')).topic;

-- patterns
CREATE FUNCTION pg_temp.show(topics text, VARIADIC candidates text[]) RETURNS text
LANGUAGE sql AS $$
    SELECT coalesce(string_agg(c, ' ' ORDER BY n), '(none)')
    FROM unnest(candidates) WITH ORDINALITY AS u (c, n)
    WHERE eda.topic_matches(topics, c)
$$;
SELECT pg_temp.show('a.b', 'a', 'a.b', 'a.b.c', 'A.b', 'a.bc', 'ab');
SELECT pg_temp.show('*', 'a', 'a.b', 'eda');
SELECT pg_temp.show('a.*', 'a', 'a.b', 'a.b.c', 'b.b');
SELECT pg_temp.show('*.b', 'a', 'a.b', 'b', 'eda.b', 'x.b');
SELECT pg_temp.show('a.*.c', 'a.c', 'a.b.c', 'a.b.b.c');
SELECT pg_temp.show('#', 'a', 'a.b', 'a.b.c.d', 'eda', 'eda.dead_letter');
SELECT pg_temp.show('a.#', 'a', 'a.b', 'a.b.c', 'b', 'b.a');
SELECT pg_temp.show('#.c', 'c', 'a.c', 'a.b.c', 'c.d', 'eda.c');
SELECT pg_temp.show('a.#.c', 'a', 'a.c', 'a.b.c', 'a.b.b.c', 'a.c.b', 'a.c.c', 'a.c.b.c');
SELECT pg_temp.show('#.a.#', 'a', 'b', 'b.a', 'a.b', 'b.b.a.b.b', 'b.aa.b');
SELECT pg_temp.show('#.a.*.#.b', 'a.b', 'a.x.b', 'a.b.b', 'x.a.a.x.y.b', 'a.x.b.c', 'a.a.x.b');
SELECT pg_temp.show('#.#', 'a', 'a.b');
SELECT pg_temp.show('*.#', 'a', 'a.b', 'eda.x');
SELECT pg_temp.show('#.*', 'a', 'a.b', 'eda.x');
-- eda's own events: only for who names them
SELECT pg_temp.show('eda.#', 'eda', 'eda.dead_letter', 'eda.subscription.blocked', 'a.eda', 'edas.x');
SELECT pg_temp.show('eda.dead_letter', 'eda.dead_letter', 'eda.x');
SELECT pg_temp.show('eda.*', 'eda.dead_letter', 'eda.subscription.blocked');
-- several
SELECT pg_temp.show('a.b, c.* ,eda.x,  d.#', 'a.b', 'c.d', 'c', 'd', 'd.e.f', 'eda.x', 'e');
SELECT pg_temp.show(E'a,\n\tb', 'a', 'b', 'a.b');
-- many wildcards cost little
SELECT eda.topic_matches(rpad('#', 253, '.#') || '.x', rpad('a', 255, '.a'));
SELECT eda.topic_matches(rpad('#', 251, '.#.a') || '.b', rpad('a', 255, '.a'));
SELECT eda.topic_matches(rpad('#', 255, '.#'), rpad('a', 255, '.a'));
SELECT eda.topic_matches(rpad('*', 255, '.*'), rpad('a', 255, '.a')), eda.topic_matches(rpad('*', 253, '.*'), rpad('a', 255, '.a'));

-- malformed patterns
SELECT eda.topic_matches('', 'a');
\echo :SQLSTATE
SELECT eda.topic_matches('a,', 'a');
SELECT eda.topic_matches('a,,b', 'a');
SELECT eda.topic_matches('a..b', 'a');
SELECT eda.topic_matches('a.b*', 'a');
SELECT eda.topic_matches('a.##', 'a');
SELECT eda.topic_matches('a b', 'a');
SELECT eda.topic_matches('a.%', 'a');
SELECT eda.topic_matches(repeat('a', 256), 'a');
SELECT eda.topic_matches('a', 'a.*');
SELECT eda.topic_matches(NULL, 'a');
SELECT eda.topic_matches('a', NULL);
