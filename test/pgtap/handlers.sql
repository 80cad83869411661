-- Handlers between subscribe and run: overloaded, taken over, moved, replaced by something else, gone with
-- their schema; and at most what the owner may do.  failure.sql has those replaced, dropped and renamed.
\set test t_handlers
\ir include/begin.sql
SELECT plan(32);

CREATE FUNCTION blocked(sub text) RETURNS text LANGUAGE sql AS $$
    SELECT blocked_reason || ': ' || blocked_detail FROM eda.subscriptions s WHERE s.subscription = sub;
$$;
CREATE FUNCTION is_blocked(sub text) RETURNS boolean LANGUAGE sql AS $$
    SELECT state = 'blocked' FROM eda.subscriptions s WHERE s.subscription = sub;
$$;
CREATE FUNCTION unhurt(sub text) RETURNS text LANGUAGE sql AS $$
    SELECT (state, failed, retrying, dead)::text FROM eda.subscriptions s WHERE s.subscription = sub;
$$;

-- Overloaded: the one that was subscribed is called.
CREATE FUNCTION over(e eda.event) RETURNS void LANGUAGE sql AS $$SELECT take(e)$$;
SELECT eda.subscribe('t_handlers_over', 't_handlers.over', 't_handlers.over', owner => 't_handlers') \gset
SELECT eda.publish('t_handlers.over', '{"n": 1}') \gset
CALL eda.wait('t_handlers_over');
CREATE FUNCTION over(jsonb) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'the wrong one'; END$$;
CREATE FUNCTION over(text, jsonb) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'the wrong one'; END$$;
CREATE FUNCTION over(eda.event[]) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'the wrong one'; END$$;
SELECT eda.publish('t_handlers.over', '{"n": 2}') \gset
CALL eda.wait('t_handlers_over');
SELECT is(taken('t_handlers_over'), '1 2', 'overloaded: the signature that was subscribed is called');
SELECT eda.alter_subscription('t_handlers_over', '{"batch_size": 3}') \gset
SELECT eda.publish('t_handlers.over', '{"n": 3}') \gset
CALL eda.wait('t_handlers_over');
SELECT is(taken('t_handlers_over'), '1 2 3', 'overloaded: altering something else does not look for the handler again');
SELECT throws_ok($$SELECT eda.alter_subscription('t_handlers_over', '{"handler": "t_handlers.over"}')$$, '42725', NULL,
    'overloaded: naming it anew takes its signature');
DROP FUNCTION over(eda.event);
SELECT eda.publish('t_handlers.over', '{"n": 4}') \gset
CALL wait_until($$is_blocked('t_handlers_over')$$);
SELECT is(blocked('t_handlers_over'), 'handler: function t_handlers.over(eda.event) does not exist', 'overloaded: another signature is no replacement');
SELECT is(unhurt('t_handlers_over'), '(blocked,0,0,0)', 'overloaded: no attempt is burnt');
SELECT eda.alter_subscription('t_handlers_over', '{"handler": "t_handlers.take"}') \gset
CALL eda.wait('t_handlers_over');
SELECT is(taken('t_handlers_over'), '1 2 3 4', 'another handler is the way out, and nothing is lost');

-- A function of the same name in front of it on the owner's search_path.
CREATE SCHEMA t_handlers_front;
CREATE FUNCTION t_handlers_front.over(eda.event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'the wrong one'; END$$;
CREATE FUNCTION over(e eda.event) RETURNS void LANGUAGE sql SET search_path = t_handlers AS $$SELECT take(e)$$;
CREATE ROLE t_handlers_owner LOGIN;
GRANT USAGE ON SCHEMA t_handlers, t_handlers_front TO t_handlers_owner;
GRANT ALL ON got TO t_handlers_owner;
ALTER ROLE t_handlers_owner SET search_path = t_handlers_front, t_handlers;
SELECT eda.subscribe('t_handlers_path', 't_handlers.path', 'over(eda.event)', owner => 't_handlers_owner') \gset
SELECT eda.publish('t_handlers.path', '{"n": 1}') \gset
CALL eda.wait('t_handlers_path');
SELECT is(taken('t_handlers_path'), '1', 'the handler is the one that subscribe found, whatever the owner''s search_path');
SELECT is(handler, 't_handlers.over(eda.event)', 'eda.subscriptions names it with its schema') FROM eda.subscriptions WHERE subscription = 't_handlers_path';
-- nor is one under eda's names and operators there
CREATE FUNCTION t_handlers_front.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'a trap'; END$$;
CREATE FUNCTION t_handlers_front.concat(timestamptz[], timestamptz) RETURNS timestamptz[] LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'a trap'; END$$;
CREATE OPERATOR t_handlers_front.|| (LEFTARG = timestamptz[], RIGHTARG = timestamptz, FUNCTION = t_handlers_front.concat);
CREATE FUNCTION t_handlers_front.equal(int, int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'a trap'; END$$;
CREATE OPERATOR t_handlers_front.= (LEFTARG = int, RIGHTARG = int, FUNCTION = t_handlers_front.equal);
ALTER ROLE t_handlers_owner SET search_path = t_handlers_front, pg_catalog, t_handlers;
SELECT eda.alter_subscription('t_handlers_path', '{"owner": "t_handlers"}') \gset
CREATE FUNCTION failing(e eda.event) RETURNS void LANGUAGE plpgsql SET search_path = t_handlers AS $$BEGIN RAISE EXCEPTION 'its own'; END$$;
SELECT eda.subscribe('t_handlers_trap', 't_handlers.trap', 't_handlers.failing', owner => 't_handlers_owner', max_attempts => 3, backoff => '5 ms') \gset
SELECT eda.publish('t_handlers.trap', '{"n": 1}', 'k') \gset
SELECT eda.publish('t_handlers.trap', '{"n": 2}', 'k') \gset
CALL wait_until($$(SELECT count(*) FROM eda.dead_letters WHERE subscription = 't_handlers_trap') = 2$$);
SELECT results_eq($$SELECT payload ->> 'n', attempts, error_message FROM eda.dead_letters WHERE subscription = 't_handlers_trap' ORDER BY event_id$$,
    $$VALUES ('1', 3, 'its own'), ('2', 3, 'its own')$$, 'traps on the owner''s search_path catch nothing of eda''s');

-- Taken over by another role.
CREATE ROLE t_handlers_other;
GRANT CREATE, USAGE ON SCHEMA t_handlers TO t_handlers_other;
SELECT eda.subscribe('t_handlers_owned', 't_handlers.owned', 't_handlers.over(eda.event)', owner => 't_handlers') \gset
ALTER FUNCTION over(eda.event) OWNER TO t_handlers_other;
SELECT eda.publish('t_handlers.owned', '{"n": 1}') \gset
CALL wait_until($$is_blocked('t_handlers_owned')$$);
SELECT matches(blocked('t_handlers_owned'), '^handler: .*belongs to another role now, "t_handlers_other"', 'ALTER FUNCTION ... OWNER TO blocks');
SELECT format('ALTER FUNCTION over(eda.event) OWNER TO %I', current_user) \gexec
CALL wait_until($$taken('t_handlers_owned') = '1'$$);
SELECT is(taken('t_handlers_owned'), '1', 'given back, it goes on by itself');
SELECT is(unhurt('t_handlers_owned'), '(active,0,0,0)', 'and no attempt was burnt');

-- Moved.
SELECT eda.subscribe('t_handlers_moved', 't_handlers.moved', 't_handlers.over(eda.event)', owner => 't_handlers') \gset
DROP FUNCTION t_handlers_front.over(eda.event);
ALTER FUNCTION over(eda.event) SET SCHEMA t_handlers_front;
SELECT eda.publish('t_handlers.moved', '{"n": 1}') \gset
CALL wait_until($$is_blocked('t_handlers_moved')$$);
SELECT is(blocked('t_handlers_moved'), 'handler: function t_handlers.over(eda.event) does not exist', 'ALTER FUNCTION ... SET SCHEMA blocks');
ALTER FUNCTION t_handlers_front.over(eda.event) SET SCHEMA t_handlers;
CALL wait_until($$taken('t_handlers_moved') = '1'$$);
SELECT is(taken('t_handlers_moved'), '1', 'moved back, it goes on by itself');

-- Replaced by what can be no handler.
CREATE FUNCTION changed(jsonb) RETURNS void LANGUAGE sql AS $$INSERT INTO got (sub, payload) VALUES ('changed', $1)$$;
SELECT eda.subscribe('t_handlers_changed', 't_handlers.changed', 't_handlers.changed', owner => 't_handlers') \gset
SELECT eda.publish('t_handlers.changed', '{"n": 1}') \gset
CALL eda.wait('t_handlers_changed');
BEGIN;
DROP FUNCTION changed(jsonb);
CREATE PROCEDURE changed(jsonb) LANGUAGE sql AS $$INSERT INTO got (sub, payload) VALUES ('changed', $1)$$;
COMMIT;
SELECT eda.publish('t_handlers.changed', '{"n": 2}') \gset
CALL wait_until($$is_blocked('t_handlers_changed')$$);
SELECT is(blocked('t_handlers_changed'), 'handler: t_handlers.changed(jsonb) is a procedure now', 'a procedure in its place blocks');
DROP PROCEDURE changed(jsonb);
CREATE FUNCTION changed(jsonb) RETURNS SETOF int LANGUAGE sql AS $$INSERT INTO got (sub, payload) VALUES ('changed', $1) RETURNING 1$$;
CALL wait_until($$blocked('t_handlers_changed') LIKE '%set-returning%'$$);
SELECT is(blocked('t_handlers_changed'), 'handler: t_handlers.changed(jsonb) is a set-returning function now', 'so does one that returns a set');
DROP FUNCTION changed(jsonb);
CREATE FUNCTION changed(json) RETURNS void LANGUAGE sql AS $$INSERT INTO got (sub, payload) VALUES ('changed', $1)$$;
CALL wait_until($$blocked('t_handlers_changed') LIKE '%does not exist%'$$);
SELECT is(blocked('t_handlers_changed'), 'handler: function t_handlers.changed(jsonb) does not exist', 'or takes another type');
CREATE FUNCTION changed(p jsonb) RETURNS int LANGUAGE sql AS $$INSERT INTO got (sub, payload) VALUES ('changed', p) RETURNING 1$$;
CALL wait_until($$taken('changed') = '1 2'$$);
SELECT is(taken('changed'), '1 2', 'one of the signature, whatever it returns, mends it');
SELECT is(unhurt('t_handlers_changed'), '(active,0,0,0)', 'and no attempt was burnt');

-- Gone with its schema.
CREATE SCHEMA t_handlers_gone;
GRANT USAGE ON SCHEMA t_handlers_gone TO t_handlers;
CREATE FUNCTION t_handlers_gone.take(e eda.event) RETURNS void LANGUAGE sql AS $$SELECT t_handlers.take(e)$$;
SELECT eda.subscribe('t_handlers_gone', 't_handlers.gone', 't_handlers_gone.take', owner => 't_handlers') \gset
DROP SCHEMA t_handlers_gone CASCADE;
SELECT eda.publish('t_handlers.gone', '{"n": 1}') \gset
CALL wait_until($$is_blocked('t_handlers_gone')$$);
SELECT is(blocked('t_handlers_gone'), 'handler: function t_handlers_gone.take(eda.event) does not exist', 'a handler whose schema is dropped blocks');
CREATE SCHEMA t_handlers_gone;
CREATE FUNCTION t_handlers_gone.take(e eda.event) RETURNS void LANGUAGE sql AS $$SELECT t_handlers.take(e)$$;
CALL wait_until($$blocked('t_handlers_gone') LIKE 'privilege:%'$$);
SELECT is(blocked('t_handlers_gone'), 'privilege: the owner may not use schema "t_handlers_gone"', 'both are back, but not the right to use them');
GRANT USAGE ON SCHEMA t_handlers_gone TO t_handlers;
CALL wait_until($$taken('t_handlers_gone') = '1'$$);
SELECT is(taken('t_handlers_gone'), '1', 'with that it goes on by itself');
ALTER SCHEMA t_handlers_gone RENAME TO t_handlers_away;
SELECT eda.publish('t_handlers.gone', '{"n": 2}') \gset
CALL wait_until($$is_blocked('t_handlers_gone')$$);
SELECT is(blocked('t_handlers_gone'), 'handler: function t_handlers_gone.take(eda.event) does not exist', 'a schema that is renamed blocks');
ALTER SCHEMA t_handlers_away RENAME TO t_handlers_gone;
CALL wait_until($$taken('t_handlers_gone') = '1 2'$$);
SELECT is(taken('t_handlers_gone'), '1 2', 'until it has its name again');

-- A role goes by its oid: another name changes nothing.
ALTER ROLE t_handlers_owner RENAME TO t_handlers_renamed;
ALTER ROLE t_handlers_renamed SET search_path = t_handlers;
SELECT eda.subscribe('t_handlers_path', 't_handlers.path', 't_handlers.over(eda.event)', owner => 't_handlers_renamed') \gset
ALTER ROLE t_handlers_renamed RENAME TO t_handlers_owner;
SELECT eda.publish('t_handlers.path', '{"n": 2}') \gset
CALL eda.wait('t_handlers_path');
SELECT is(taken('t_handlers_path'), '1 2', 'an owner with another name');
SELECT is(owner, 't_handlers_owner'::regrole, 'under which it shows') FROM eda.subscriptions WHERE subscription = 't_handlers_path';

-- A new version while every event fails: the next probe runs it.
CREATE FUNCTION deployed(e eda.event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'a broken deploy'; END$$;
SELECT eda.subscribe('t_handlers_deploy', 't_handlers.deploy', 't_handlers.deployed', owner => 't_handlers', block_after => 2, backoff => '20 ms', max_backoff => '20 ms') \gset
SELECT eda.publish_batch('t_handlers.deploy', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 30) n)) \gset
CALL wait_until($$is_blocked('t_handlers_deploy')$$);
SELECT is((failed, dead)::text, '(2,0)', 'a broken deploy fills no dead letters') FROM eda.subscriptions WHERE subscription = 't_handlers_deploy';
CREATE OR REPLACE FUNCTION deployed(e eda.event) RETURNS void LANGUAGE sql AS $$SELECT take(e)$$;
CALL wait_until($$(SELECT count(*) FROM got WHERE sub = 't_handlers_deploy') = 30$$);
SELECT is((state, handled, failed, dead)::text, '(active,30,2,0)', 'mended, it goes on by itself') FROM eda.subscriptions WHERE subscription = 't_handlers_deploy';

-- At most what the owner may do, whoever published, and whoever made the function.
CREATE TABLE secret (n int);
REVOKE ALL ON secret FROM t_handlers;
CREATE FUNCTION reach(p jsonb) RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE p ->> 'do'; END$$;
SELECT eda.subscribe('t_handlers_reach', 't_handlers.reach', 't_handlers.reach', owner => 't_handlers', max_attempts => 1, ordering => 'none', block_after => 1000) \gset
SELECT current_user AS me, 'SET SESSION AUTHORIZATION ' || quote_ident(current_user) AS session, 'SET ROLE ' || quote_ident(current_user) AS role \gset
SELECT eda.publish('t_handlers.reach', jsonb_build_object('do', d)) FROM unnest(ARRAY['INSERT INTO t_handlers.secret VALUES (1)', :'session', :'role',
    'RESET SESSION AUTHORIZATION; RESET ROLE; INSERT INTO t_handlers.secret VALUES (1)', 'ALTER ROLE t_handlers SUPERUSER',
    'SELECT * FROM eda.subscription', 'UPDATE eda.cursor SET handled = 0', 'SELECT * FROM eda.log', 'DROP EXTENSION eda CASCADE',
    'COPY (SELECT 1) TO PROGRAM ''true''']) d \g /dev/null
CALL eda.wait('t_handlers_reach');
SELECT is(handled, 0::bigint, 'what the owner may not do its handlers may not do') FROM eda.subscriptions WHERE subscription = 't_handlers_reach';
SELECT is(array_agg(DISTINCT error_code), '{42501}', 'they are told so') FROM eda.dead_letters WHERE subscription = 't_handlers_reach';
SELECT is_empty('SELECT * FROM secret', 'and nothing was written');
CREATE FUNCTION reach_definer(p jsonb) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = t_handlers AS $$INSERT INTO secret VALUES (2)$$;
SELECT eda.alter_subscription('t_handlers_reach', '{"handler": "t_handlers.reach_definer"}') \gset
SELECT eda.publish('t_handlers.reach') \gset
CALL eda.wait('t_handlers_reach');
SELECT results_eq('SELECT n FROM secret', 'VALUES (2)', 'a SECURITY DEFINER function does what its own owner may');

\ir include/end.sql
