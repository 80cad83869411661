-- Filters at their edges: what unknown means, what an error in one does, and that a filtered event says
-- nothing of the handler.
\set test t_filters
\ir include/begin.sql
SELECT plan(26);

CREATE TABLE fault (sub text);
CREATE FUNCTION shaky(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    IF EXISTS (SELECT FROM fault f WHERE f.sub = e.subscription) THEN
        RAISE EXCEPTION 'faulty';
    END IF;
END $$;
CREATE FUNCTION counts(sub text) RETURNS text LANGUAGE sql AS $$
    SELECT format('handled %s, filtered %s, failed %s, retrying %s, dead %s', handled, filtered, failed, retrying, dead)
      FROM eda.subscriptions s WHERE s.subscription = sub;
$$;
CREATE FUNCTION dead(sub text) RETURNS bigint LANGUAGE sql AS $$SELECT count(*) FROM eda.dead_letters d WHERE d.subscription = sub$$;

-- True, false and unknown, for predicates of each kind and for paths.
SELECT eda.subscribe('t_filters_' || name, 't_filters.logic', 't_filters.take', filter::jsonpath, owner => 't_filters')
  FROM (VALUES ('and', '$.a == 1 && $.b == 1'), ('or', '$.a == 1 || $.b == 1'), ('not', '!($.a == 1)'), ('unknown', '($.a == 1) is unknown'),
               ('exists', 'exists ($.a)'), ('starts', '$.s starts with "x"'), ('regex', '$.s like_regex "^x.z$"'), ('compare', '$.a >= 1 && $.a < 2'),
               ('path', '$.a'), ('falsepath', '$.f'), ('pathfilter', '$ ? (@.a == 1 && @.b == 1)')) f (name, filter) \g /dev/null
SELECT eda.publish('t_filters.logic', payload::jsonb)
  FROM (VALUES ('{"n": 1, "a": 1, "b": 1, "s": "xyz"}'), ('{"n": 2, "a": 1, "b": "text"}'), ('{"n": 3, "a": "text", "b": 1, "s": 5}'),
               ('{"n": 4, "a": 2, "b": 2, "s": "yz"}'), ('{"n": 5}'), ('{"n": 6, "a": null, "f": false}')) e (payload) \g /dev/null
CALL eda.wait();
SELECT is(taken('t_filters_and'), '1', '&&: true and true');
SELECT is(taken('t_filters_or'), '1 2 3', '||: one that is true is enough, whatever the other');
SELECT is(taken('t_filters_not'), '4 5 6', '!: not of unknown is unknown');
SELECT is(taken('t_filters_unknown'), '3', 'is unknown: true where it is');
SELECT is(taken('t_filters_exists'), '1 2 3 4 6', 'exists');
SELECT is(taken('t_filters_starts') || ', ' || taken('t_filters_regex'), '1, 1', 'starts with, like_regex');
SELECT is(taken('t_filters_compare'), '1 2', 'comparisons');
SELECT is(taken('t_filters_path'), '1 2 3 4 6', 'a path passes when it finds something, be it null');
SELECT is(taken('t_filters_falsepath'), '6', 'be it false');
SELECT is(taken('t_filters_pathfilter'), '1', 'a path with a filter finds what passes that');
SELECT is(sum(handled + filtered), 66::numeric, 'each event is counted, as handled or as filtered') FROM eda.subscriptions
 WHERE subscription LIKE 't\_filters\_%';

-- The variables are there for each event.
SELECT eda.subscribe('t_filters_' || name, 't_filters.vars.*', 't_filters.take', filter::jsonpath, owner => 't_filters')
  FROM (VALUES ('topic', '$topic == "t_filters.vars.b"'), ('key', '$key == "k"'), ('nokey', '$key == null'), ('headers', '$headers.tag == "x"'),
               ('noheaders', '$headers == null'), ('member', '$headers.tags[*] == $key')) f (name, filter) \g /dev/null
SELECT eda.publish('t_filters.vars.' || topic, payload::jsonb, key, headers::jsonb)
  FROM (VALUES ('a', '{"n": 1}', 'k', '{"tag": "x", "tags": ["j", "k"]}'), ('b', '{"n": 2}', NULL, NULL), ('b', '{"n": 3}', 'l', '{}')) e (topic, payload, key, headers)
 \g /dev/null
CALL eda.wait();
SELECT is(array(SELECT taken('t_filters_' || s) FROM unnest('{topic,key,nokey,headers,noheaders,member}'::text[]) s), '{2 3,1,2,1,2,1}',
    '$topic, $key and $headers; null where an event has none');

-- An error in a filter is a failed attempt of its event, and nobody else's.
SELECT eda.subscribe('t_filters_error', 't_filters.error', 't_filters.take', filter => 'strict $.items[*] ? (@ > 0)', owner => 't_filters',
                     max_attempts => 2, backoff => '5 ms') \gset
SELECT eda.publish_batch('t_filters.error', '{"{\"n\": 1, \"items\": [1]}", "{\"n\": 2}", "{\"n\": 3, \"items\": [0]}", "{\"n\": 4, \"items\": [2]}"}') \gset
CALL wait_until($$dead('t_filters_error') = 1$$);
CALL eda.wait('t_filters_error');
SELECT results_eq($$SELECT payload ->> 'n', reason, attempts, error_code FROM eda.dead_letters WHERE subscription = 't_filters_error'$$,
    $$VALUES ('2', 'max_attempts', 2, '2203A')$$, 'an error in a filter is a failed attempt');
SELECT is(taken('t_filters_error'), '1 4', 'its neighbours are handled');
SELECT is(counts('t_filters_error'), 'handled 2, filtered 1, failed 2, retrying 0, dead 1', 'it is not taken for filtered out');
SELECT eda.alter_subscription('t_filters_error', '{"filter": "!exists ($.items)"}') \gset
SELECT eda.redrive_all('t_filters_error') \gset
CALL eda.wait('t_filters_error');
SELECT is(taken('t_filters_error'), '1 4 2', 'with a better filter it can be redriven');

-- With a set-wise handler, too.
CREATE FUNCTION take_set(es eda.event[]) RETURNS void LANGUAGE sql AS $$SELECT take(e) FROM unnest(es) e$$;
SELECT eda.subscribe('t_filters_set', 't_filters.set', 't_filters.take_set', filter => '$ ? (1 / @.n > 0)', owner => 't_filters', max_attempts => 1) \gset
SELECT eda.subscribe('t_filters_set2', 't_filters.set', 't_filters.take_set', filter => '$.s.double() > 0', owner => 't_filters', max_attempts => 1) \gset
SELECT eda.subscribe('t_filters_set3', 't_filters.set', 't_filters.take_set', filter => 'strict $.s.double()', owner => 't_filters', reject_on => '{22}') \gset
SELECT eda.publish_batch('t_filters.set', '{"{\"n\": 1, \"s\": \"1\"}", "{\"n\": 2, \"s\": \"x\"}", "{\"n\": 3, \"s\": \"-1\"}"}') \gset
CALL eda.wait();
SELECT is(taken('t_filters_set') || ', ' || taken('t_filters_set2'), '1 2 3, 1', 'sets: an error inside a predicate is unknown, which does not pass');
SELECT is(taken('t_filters_set3'), '1 3', 'sets: an event whose filter fails is kept out of its set');
SELECT results_eq($$SELECT payload ->> 'n', reason, attempts, error_code FROM eda.dead_letters WHERE subscription = 't_filters_set3'$$,
    $$VALUES ('2', 'rejected', 1, '22036')$$, 'and reject_on holds for it');

-- A waiting event meets the filter again when its turn comes.
INSERT INTO fault VALUES ('t_filters_again');
SELECT eda.subscribe('t_filters_again', 't_filters.again', 't_filters.shaky', owner => 't_filters', backoff => '20 ms', max_backoff => '20 ms', max_attempts => 100000,
                     block_after => 100000) \gset
SELECT eda.publish('t_filters.again', '{"n": 1}', 'k') \gset
SELECT eda.publish('t_filters.again', '{"n": 2, "yes": true}', 'k') \gset
CALL wait_until($$(SELECT retrying = 2 FROM eda.subscriptions WHERE subscription = 't_filters_again')$$);
SELECT eda.pause('t_filters_again') \gset
SELECT eda.alter_subscription('t_filters_again', '{"filter": "$.yes"}') \gset
DELETE FROM fault;
SELECT eda.resume('t_filters_again') \gset
CALL wait_until($$taken('t_filters_again') = '2'$$);
SELECT is(taken('t_filters_again'), '2', 'a waiting event that the filter now refuses is done, and its key goes on');
SELECT matches(counts('t_filters_again'), '^handled 1, filtered 1, failed \d+, retrying 0, dead 0$', 'and is counted as filtered');

-- A filtered event is no success of the handler: it neither ends a row of failures nor unblocks.
INSERT INTO fault VALUES ('t_filters_streak');
SELECT eda.subscribe('t_filters_streak', 't_filters.streak', 't_filters.shaky', filter => '$.pass', owner => 't_filters', block_after => 2, max_attempts => 1,
                     backoff => '10 ms', max_backoff => '10 ms', ordering => 'none') \gset
SELECT eda.publish('t_filters.streak', p::jsonb) FROM unnest(ARRAY['{"n": 1, "pass": 1}', '{"n": 2}', '{"n": 3, "pass": 1}']) p \g /dev/null
CALL wait_until($$(SELECT state = 'blocked' FROM eda.subscriptions WHERE subscription = 't_filters_streak')$$);
SELECT is(counts('t_filters_streak'), 'handled 0, filtered 1, failed 2, retrying 0, dead 2', 'a filtered event does not end a row of failures');
SELECT eda.publish('t_filters.streak', '{"n": 4}') FROM generate_series(1, 3) \g /dev/null
CALL wait_until($$(SELECT filtered = 4 FROM eda.subscriptions WHERE subscription = 't_filters_streak')$$);
SELECT is((state, blocked_reason)::text, '(blocked,failing)', 'nor unblock a failing subscription') FROM eda.subscriptions WHERE subscription = 't_filters_streak';
DELETE FROM fault;
SELECT eda.publish('t_filters.streak', '{"n": 5, "pass": 1}') \gset
CALL wait_until($$taken('t_filters_streak') = '5'$$);
SELECT is(taken('t_filters_streak'), '5', 'which the next one that passes does');

-- The filter is the subscription's: what one lets pass or not is nothing to another.
SELECT is(eda.pause('t_filters_path'), true, 'two subscriptions');
SELECT eda.publish('t_filters.logic', '{"n": 7, "a": 1}') \gset
CALL eda.wait('t_filters_or');
SELECT is(taken('t_filters_or') || ', ' || taken('t_filters_and'), '1 2 3 7, 1', 'each has a filter of its own');

\ir include/end.sql
