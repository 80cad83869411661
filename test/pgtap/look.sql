-- What operators see: whose, since when, at which attempt; and nothing of payloads where they may not.
\set test t_look
\ir include/begin.sql
SELECT plan(35);

CREATE ROLE t_look_other LOGIN;
CREATE ROLE t_look_mon LOGIN IN ROLE pg_monitor;
GRANT USAGE ON SCHEMA eda TO t_look_other, t_look_mon;
GRANT SELECT ON eda.events, eda.subscriptions, eda.retries, eda.dead_letters, eda.delayed, eda.segments, eda.workers TO t_look, t_look_other;
GRANT SELECT ON eda.dead_letters TO t_look_mon;
GRANT EXECUTE ON FUNCTION eda.trace, eda.event TO t_look_other, t_look_mon;

-- Each way for a value of the payload to get into an error: message, detail, context, more lines of each.
CREATE FUNCTION deep(v text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION E'no card %\nPL/pgSQL function % line 1 at RAISE', v, v USING DETAIL = 'it is ' || v, HINT = v;
END $$;
CREATE TABLE card (number text PRIMARY KEY);
CREATE FUNCTION leak(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v text := e.payload ->> 'card';
BEGIN
    CASE e.payload ->> 'how'
        WHEN 'message' THEN PERFORM v::int;
        WHEN 'nested' THEN PERFORM t_look.deep(v);
        WHEN 'dynamic' THEN EXECUTE format(E'SELECT %L,\n 1/0', v);
        WHEN 'lines' THEN EXECUTE format(E'SELECT 1/0, \'\nPL/pgSQL function %s line 1 at RAISE\n\'', v);
        WHEN 'detail' THEN INSERT INTO t_look.card VALUES (v), (v);
        WHEN 'json' THEN PERFORM ('{"card": ' || v || '}')::jsonb;
        WHEN 'reject' THEN PERFORM eda.reject('the card ' || v);
        WHEN 'later' THEN PERFORM eda.retry_after('1 hour');
        ELSE NULL;
    END CASE;
END $$;
CREATE TABLE told (n int GENERATED ALWAYS AS IDENTITY, payload jsonb);
CREATE FUNCTION tell(e eda.event) RETURNS void LANGUAGE sql AS $$INSERT INTO t_look.told (payload) VALUES (e.payload)$$;
SELECT eda.subscribe('t_look_told', 'eda.#', 't_look.tell', owner => 't_look', filter => '$.subscription starts with "t_look_"') \gset
SELECT eda.subscribe('t_look_retry', 't_look.retry', 't_look.leak', owner => 't_look', backoff => '1 hour', ordering => 'none', block_after => 1000) \gset
SELECT eda.subscribe('t_look_dead', 't_look.dead', 't_look.leak', owner => 't_look', max_attempts => 1, ordering => 'none', block_after => 1000) \gset
SELECT eda.subscribe('t_look_block', 't_look.block', 't_look.leak', owner => 't_look', block_after => 1, backoff => '1 hour') \gset
SELECT eda.subscribe('t_look_schema', 't_look.schema', 't_look.leak', owner => 't_look', schema => '{"properties": {"card": {"maxLength": 3}}}') \gset
SELECT count(eda.publish('t_look.' || t, jsonb_build_object('card', '4111-SECRET', 'how', how)))
  FROM unnest('{retry,dead}'::text[]) t, unnest('{message,nested,dynamic,lines,detail,json,reject,later}'::text[]) how \gset
SELECT count(eda.publish('t_look.' || t, '{"card": "4111-SECRET", "how": "message"}')) FROM unnest('{block,schema}'::text[]) t \gset
SELECT eda.publish('t_look.later', '{"card": "4111-SECRET"}', deliver_at => now() + '1 day') AS delayed \gset
CALL wait_until($$(SELECT retrying = 7 FROM eda.subscriptions WHERE subscription = 't_look_retry')$$);
CALL wait_until($$(SELECT dead = 8 FROM eda.subscriptions WHERE subscription = 't_look_dead')$$);
CALL wait_until($$(SELECT state = 'blocked' FROM eda.subscriptions WHERE subscription = 't_look_block')$$);
CALL wait_until($$(SELECT dead = 1 FROM eda.subscriptions WHERE subscription = 't_look_schema')$$);
CALL eda.wait('t_look_told');

-- Monitoring.
SET ROLE t_look_mon;
SELECT is(count(*), 5::bigint, 'pg_monitor sees all subscriptions') FROM eda.subscriptions s WHERE subscription ~ '^t_look_';
SELECT is(count(*), 0::bigint, 'pg_monitor: no value of a payload in eda.subscriptions') FROM eda.subscriptions s WHERE s::text LIKE '%SECRET%';
SELECT is(count(*), 7::bigint, 'pg_monitor sees all retries') FROM eda.retries WHERE subscription = 't_look_retry';
SELECT is(count(*), 0::bigint, 'pg_monitor: no value of a payload in eda.retries') FROM eda.retries r WHERE r::text LIKE '%SECRET%';
SELECT is(count(*), 0::bigint, 'pg_monitor: no value of a payload in eda.trace') FROM eda.retries r, eda.trace(r.event_id) t WHERE t::text LIKE '%SECRET%';
SELECT bag_eq($$SELECT error_code, error_condition, error_where FROM eda.retries WHERE subscription = 't_look_retry'$$,
    $$VALUES ('22P02', 'invalid_text_representation', 'PL/pgSQL function leak(eda.event) line 6 at PERFORM'),
             ('P0001', 'raise_exception', 'PL/pgSQL function deep(text) line 3 at RAISE, called by PL/pgSQL function leak(eda.event) line 7 at PERFORM'),
             ('22012', 'division_by_zero', 'PL/pgSQL function leak(eda.event) line 8 at EXECUTE'),
             ('22012', 'division_by_zero', 'PL/pgSQL function leak(eda.event) line 9 at EXECUTE'),
             ('23505', 'unique_violation', 'PL/pgSQL function leak(eda.event) line 10 at SQL statement'),
             ('22P02', 'invalid_text_representation', 'PL/pgSQL function leak(eda.event) line 11 at PERFORM'),
             ('ED031', 'retry_after', 'PL/pgSQL function leak(eda.event) line 13 at PERFORM')$$,
    'but SQLSTATE, condition and place of each');
SELECT is(error_message, '22012 division_by_zero, PL/pgSQL function leak(eda.event) line 8 at EXECUTE', 'which stand for the message, too')
  FROM eda.retries WHERE subscription = 't_look_retry' AND error_where LIKE '%line 8 at%';
SELECT is((state, blocked_detail, last_error_code, last_error_condition)::text,
    '(blocked,"22P02 invalid_text_representation, PL/pgSQL function leak(eda.event) line 6 at PERFORM",22P02,invalid_text_representation)',
    'and of what blocked a subscription') FROM eda.subscriptions WHERE subscription = 't_look_block';
SELECT is(count(*), 0::bigint, 'pg_monitor with SELECT on eda.dead_letters sees no one''s') FROM eda.dead_letters WHERE subscription ~ '^t_look_';
SELECT is((eda.event(:delayed)).id, NULL, 'nor an event by its id');
SELECT is(count(*), 1::bigint, 'but that it is delayed') FROM eda.delayed WHERE event_id = :delayed;
RESET ROLE;

-- Alerts.
SELECT is(count(*), 11::bigint, 'alerts: one for each dead letter, one for the block') FROM told;
SELECT is(count(*), 0::bigint, 'alerts: no value of a payload') FROM told WHERE payload::text LIKE '%SECRET%';
SELECT bag_eq($$SELECT payload ->> 'error_code' AS code, payload ->> 'error_condition' AS condition, (payload ->> 'error_where') IS NOT NULL AS has_where FROM told$$,
    $$VALUES ('22P02', 'invalid_text_representation', true), ('22P02', 'invalid_text_representation', true), ('22P02', 'invalid_text_representation', true),
             ('P0001', 'raise_exception', true), ('22012', 'division_by_zero', true), ('22012', 'division_by_zero', true), ('23505', 'unique_violation', true),
             ('ED030', 'rejected', true), ('ED030', 'rejected', true), ('ED031', 'retry_after', true), ('ED053', 'schema_violation', false)$$,
    'but SQLSTATE, condition and place');

-- The owner, and somebody else.
SET ROLE t_look;
SELECT is(count(*), 5::bigint, 'an owner sees the own subscriptions') FROM eda.subscriptions WHERE subscription ~ '^t_look_';
SELECT is(last_error, 'invalid input syntax for type integer: "4111-SECRET"', 'and the message of what went wrong')
  FROM eda.subscriptions WHERE subscription = 't_look_block';
SELECT is((count(*), count(*) FILTER (WHERE error_message LIKE '%SECRET%'))::text, '(7,2)', 'the own retries') FROM eda.retries WHERE subscription = 't_look_retry';
SELECT is(count(*), 10::bigint, 'the own dead letters') FROM eda.dead_letters WHERE payload ->> 'card' = '4111-SECRET';
SELECT is(count(*), 8::bigint, 'and the events on topics of own subscriptions, whoever published them') FROM eda.events
 WHERE topic = 't_look.dead' AND id >= (SELECT min(event_id) FROM eda.dead_letters);
SELECT ok(EXISTS (SELECT FROM eda.workers WHERE role = 't_look'::regrole), 'and the own executors');
SELECT is((eda.event(:delayed)).id, NULL, 'an event that is not due yet is its publisher''s only');
SELECT is((eda.event(event_id)).payload ->> 'card', '4111-SECRET', 'eda.event: of an own subscription''s retry') FROM eda.retries LIMIT 1;
SET ROLE t_look_other;
SELECT is((SELECT count(*) FROM eda.subscriptions) + (SELECT count(*) FROM eda.retries) + (SELECT count(*) FROM eda.dead_letters)
          + (SELECT count(*) FROM eda.delayed) + (SELECT count(*) FROM eda.events), 0::bigint, 'whom nothing belongs to sees nothing');
SELECT is(count(*), 0::bigint, 'and of the segments not who pins them') FROM eda.segments WHERE pinned_by IS NOT NULL;
SELECT is(count(*), 0::bigint, 'nor other roles'' executors') FROM eda.workers WHERE kind = 'executor';
SELECT is((eda.event(:delayed)).id, NULL, 'an event that does not concern one: as if it were not there');
SELECT is_empty(format('SELECT * FROM eda.trace(%s)', :delayed), 'eda.trace: neither');
RESET ROLE;

-- Handled at the third attempt, at the first, never, never was.
CREATE FUNCTION third(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF e.payload ? 'fail' AND e.attempt < 3 THEN RAISE 'not yet'; END IF;
END $$;
SELECT eda.subscribe('t_look_third', 't_look.third', 't_look.third', owner => 't_look', backoff => '10 ms') \gset
SELECT eda.publish('t_look.third', '{"fail": true}') AS id \gset
SELECT eda.publish('t_look.third') AS plain \gset
SELECT eda.publish('t_look.nobody') AS unheard \gset
CALL wait_until($$(SELECT handled = 2 FROM eda.subscriptions WHERE subscription = 't_look_third')$$);
SELECT is((state, attempt, at BETWEEN now() - interval '1 min' AND clock_timestamp())::text, '(handled,3,t)', 'eda.trace: handled at its third attempt, and when')
  FROM eda.trace(:id) WHERE subscription = 't_look_third';
SELECT is((state, attempt, at)::text, '(handled,,)', 'of one that was handled at first nothing more is known') FROM eda.trace(:plain) WHERE subscription = 't_look_third';
SELECT is((subscription, state)::text, '(,"no subscriber")', 'eda.trace: an event that nobody gets') FROM eda.trace(:unheard);
SELECT is_empty('SELECT * FROM eda.trace(9000000000000000)', 'eda.trace: one that never was');
SELECT eda.seek('t_look_third', :id) AS rewound \gset
CALL wait_until($$(SELECT handled = 4 FROM eda.subscriptions WHERE subscription = 't_look_third')$$);
SELECT is((state, attempt)::text, '(handled,3)', 'and handled once more after a seek back') FROM eda.trace(:id) WHERE subscription = 't_look_third';
SELECT is(count(*), 1::bigint, 'which leaves one row') FROM eda.recovery WHERE event_id = :id;

-- Since when.
SELECT eda.pause('t_look_third') \gset
SELECT ok(state_since BETWEEN now() - interval '1 min' AND clock_timestamp() AND last_error_at < state_since, 'since when it is paused, and when last_error was')
  FROM eda.subscriptions WHERE subscription = 't_look_third';
SELECT eda.resume('t_look_third') \gset
SELECT is((SELECT string_agg(concat_ws(' ', subscription, state_since IS NOT NULL, last_error_at IS NOT NULL), ', ' ORDER BY subscription)
             FROM eda.subscriptions WHERE subscription IN ('t_look_third', 't_look_block', 't_look_told')),
    't_look_block t t, t_look_third f t, t_look_told f f', 'and of one that is blocked, goes on, never failed');
\ir include/end.sql
