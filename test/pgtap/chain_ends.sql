-- That chains end and stay chains: through retries, set-wise handlers, a limit of the owner's own, and
-- through eda's own events.
\set test t_ends
\ir include/begin.sql
SELECT plan(19);

CREATE FUNCTION dead(sub text) RETURNS bigint LANGUAGE sql AS $$SELECT count(*) FROM eda.dead_letters d WHERE d.subscription = sub$$;
CREATE FUNCTION is_blocked(sub text) RETURNS boolean LANGUAGE sql AS $$
    SELECT state = 'blocked' FROM eda.subscriptions s WHERE s.subscription = sub;
$$;

-- Attempts are no hops, and what the failed ones published is not there.
CREATE FUNCTION third_time(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM eda.publish('t_ends.effect', jsonb_build_object('n', e.attempt));
    IF e.attempt < 3 THEN
        RAISE EXCEPTION 'not yet';
    END IF;
END $$;
SELECT eda.subscribe('t_ends_cause', 't_ends.cause', 't_ends.third_time', owner => 't_ends', backoff => '5 ms') \gset
SELECT eda.subscribe('t_ends_effect', 't_ends.effect', 't_ends.take', owner => 't_ends') \gset
SELECT eda.publish('t_ends.cause', correlation_id => 'mine') AS id \gset
CALL wait_until($$taken('t_ends_effect') <> ''$$);
SELECT results_eq(format($$SELECT payload ->> 'n', correlation_id, causation_id, hops FROM eda.events WHERE causation_id = %s$$, :'id'),
    format($$VALUES ('3', 'mine', %s::bigint, 1)$$, :'id'), 'published at the third attempt: one event, one hop');

-- A redriven dead letter goes on with its chain.
CREATE TABLE fault (sub text);
CREATE FUNCTION relay_or_fail(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM fault WHERE sub = e.subscription) THEN
        RAISE EXCEPTION 'faulty';
    END IF;
    PERFORM eda.publish('t_ends.relayed', e.payload);
END $$;
INSERT INTO fault VALUES ('t_ends_relay');
SELECT eda.subscribe('t_ends_relay', 't_ends.relay', 't_ends.relay_or_fail', owner => 't_ends', max_attempts => 1) \gset
SELECT eda.publish('t_ends.relay', correlation_id => 'theirs') AS id \gset
CALL eda.wait('t_ends_relay');
DELETE FROM fault;
SELECT eda.redrive_all('t_ends_relay') \gset
CALL eda.wait('t_ends_relay');
SELECT results_eq(format($$SELECT topic, correlation_id, hops FROM eda.events WHERE causation_id = %s ORDER BY topic$$, :'id'),
    $$VALUES ('eda.dead_letter', 'theirs', 1), ('t_ends.relayed', 'theirs', 1)$$, 'published after a redrive: the same chain');

-- A set-wise handler: correlation and causation are the first event's, hops are more than any of its events has.
CREATE FUNCTION relay_set(es eda.event[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE e eda.event;
BEGIN
    FOREACH e IN ARRAY es LOOP
        PERFORM take(e);
    END LOOP;
    PERFORM eda.publish('t_ends.from_set', jsonb_build_object('n', cardinality(es)));
END $$;
CREATE FUNCTION make_mixed(e eda.event) RETURNS void LANGUAGE sql AS $$SELECT eda.publish('t_ends.mixed', '{"n": "hop 1"}')$$;
SELECT eda.subscribe('t_ends_maker', 't_ends.maker', 't_ends.make_mixed', owner => 't_ends') \gset
SELECT eda.subscribe('t_ends_set', 't_ends.mixed', 't_ends.relay_set', owner => 't_ends') \gset
SELECT eda.pause('t_ends_set') \gset
SELECT eda.publish('t_ends.mixed', '{"n": "hop 0"}', correlation_id => 'first') AS first \gset
SELECT eda.publish('t_ends.maker') \gset
CALL eda.wait('t_ends_maker');
SELECT eda.resume('t_ends_set') \gset
CALL eda.wait('t_ends_set');
SELECT is(taken('t_ends_set'), 'hop 0 hop 1', 'a set with events of different hops');
SELECT results_eq($$SELECT payload ->> 'n', correlation_id, causation_id, hops FROM eda.events WHERE topic = 't_ends.from_set'
                     AND id > (SELECT max(id) FROM eda.events WHERE topic = 't_ends.maker')$$,
    format($$VALUES ('2', 'first', %s::bigint, 2)$$, :'first'), 'what it publishes: correlation and causation of the first, a hop more than any');

-- So a loop through it ends, though there are always younger events in front of those that have come far.
CREATE FUNCTION again(es eda.event[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE e eda.event;
BEGIN
    FOREACH e IN ARRAY es LOOP
        IF e.payload ->> 'n' = 'looping' THEN
            PERFORM take(e);
            PERFORM eda.publish('t_ends.again', '{"n": "fresh"}', correlation_id => 'other');
            PERFORM eda.publish('t_ends.again', e.payload);
        END IF;
    END LOOP;
END $$;
SELECT eda.subscribe('t_ends_again', 't_ends.again', 't_ends.again', owner => 't_ends') \gset
SELECT eda.publish('t_ends.again', '{"n": "looping"}') \gset
CALL eda.wait('t_ends_again', '20 s');
SELECT is(count(*), current_setting('eda.max_hops')::bigint, 'a loop through a set-wise handler ends') FROM got WHERE sub = 't_ends_again';
SELECT results_eq($$SELECT reason, error_code FROM eda.dead_letters WHERE subscription = 't_ends_again'$$, $$VALUES ('hops', 'ED004')$$,
    'as a dead letter with reason hops');
SELECT is(handled, 2 * current_setting('eda.max_hops')::bigint, 'its neighbours in the set are handled') FROM eda.subscriptions WHERE subscription = 't_ends_again';

-- eda.max_hops is the owner's, where a superuser has given it one.
CREATE ROLE t_ends_short LOGIN;
ALTER ROLE t_ends_short SET eda.max_hops = 2;
GRANT USAGE ON SCHEMA t_ends, eda TO t_ends_short;
GRANT EXECUTE ON FUNCTION eda.publish TO t_ends_short;
GRANT ALL ON got TO t_ends_short;
CREATE FUNCTION forever(e eda.event) RETURNS void LANGUAGE plpgsql SET search_path = t_ends AS $$
BEGIN
    PERFORM take(e);
    PERFORM eda.publish('t_ends.forever', jsonb_build_object('n', (e.payload ->> 'n')::int + 1));
END $$;
SELECT eda.subscribe('t_ends_forever', 't_ends.forever', 't_ends.forever', owner => 't_ends_short') \gset
SELECT eda.publish('t_ends.forever', '{"n": 0}') \gset
CALL eda.wait('t_ends_forever');
SELECT is(taken('t_ends_forever'), '0 1', 'eda.max_hops of the subscription''s owner');
SELECT is((reason, attempts, payload ->> 'n')::text, '(hops,1,2)', 'the event that has come that far is dead') FROM eda.dead_letters WHERE subscription = 't_ends_forever';

-- A loop through a dead letter: who is told of it publishes the event that dies.
CREATE SEQUENCE told;
CREATE FUNCTION fail(e eda.event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'broken'; END$$;
CREATE FUNCTION try_again(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('told');
    PERFORM eda.publish('t_ends.loop', jsonb_build_object('hops', e.hops));
END $$;
SELECT eda.subscribe('t_ends_loop', 't_ends.loop', 't_ends.fail', owner => 't_ends', max_attempts => 1, block_after => 1000000) \gset
SELECT eda.subscribe('t_ends_told', 'eda.dead_letter', 't_ends.try_again', owner => 't_ends', filter => '$.subscription == "t_ends_loop"') \gset
SELECT eda.publish('t_ends.loop', correlation_id => 'loop') AS id \gset
CALL eda.wait(timeout => '20 s');
SELECT is(count(*), current_setting('eda.max_hops')::bigint / 2 + 1, 'a loop through eda.dead_letter ends')
  FROM eda.events WHERE topic = 't_ends.loop' AND id >= :id;
SELECT is(count(DISTINCT correlation_id), 1::bigint, 'it is one chain') FROM eda.events WHERE topic = 't_ends.loop' AND id >= :id;
SELECT results_eq($$SELECT topic, reason FROM eda.dead_letters WHERE subscription = 't_ends_told'$$, $$VALUES ('eda.dead_letter', 'hops')$$,
    'whose last link is dead with reason hops');
SELECT is(count(*), 0::bigint, 'and of which nobody is told') FROM eda.events
 WHERE topic = 'eda.dead_letter' AND payload ->> 'subscription' = 't_ends_told' AND id > :id;

-- The dead letter of a skipped event is an operator's doing: nobody is told.
INSERT INTO fault VALUES ('t_ends_skip');
SELECT eda.subscribe('t_ends_skip', 't_ends.skip', 't_ends.relay_or_fail', owner => 't_ends', backoff => '1 hour') \gset
SELECT eda.publish('t_ends.skip') AS id \gset
CALL eda.wait('t_ends_skip');
SELECT is(eda.skip('t_ends_skip', :id), true, 'skipped');
SELECT is(count(*), 0::bigint, 'eda.skip publishes no eda.dead_letter') FROM eda.events WHERE topic = 'eda.dead_letter' AND causation_id = :id;

-- Who fails at eda.subscription.blocked is blocked, and that is not published again.
SELECT eda.subscribe('t_ends_watch', 'eda.subscription.blocked', 't_ends.fail', owner => 't_ends', block_after => 1, backoff => '1 hour',
                     filter => '$.subscription starts with "t_ends_"') \gset
SELECT eda.subscribe('t_ends_bad', 't_ends.bad', 't_ends.fail', owner => 't_ends', block_after => 1, backoff => '1 hour') \gset
SELECT eda.publish('t_ends.bad') AS id \gset
CALL wait_until($$is_blocked('t_ends_bad') AND is_blocked('t_ends_watch')$$);
SELECT results_eq(format($$SELECT payload ->> 'subscription', payload ->> 'reason', payload ->> 'error_condition', key FROM eda.events
                            WHERE topic = 'eda.subscription.blocked' AND id > %s$$, :'id'),
    $$VALUES ('t_ends_bad', 'failing', 'raise_exception', 't_ends_bad')$$, 'eda.subscription.blocked: a failure while handling one publishes no further one');
SELECT is((state, blocked_reason)::text, '(blocked,failing)', 'though its subscription is blocked, too') FROM eda.subscriptions WHERE subscription = 't_ends_watch';
-- one that is blocked for want of its handler is another matter: nothing was being handled
CREATE FUNCTION tell(e eda.event) RETURNS void LANGUAGE sql AS $$SELECT take(e)$$;
SELECT eda.alter_subscription('t_ends_watch', '{"handler": "t_ends.tell"}') \gset
SELECT eda.resume('t_ends_watch') \gset
SELECT eda.unsubscribe('t_ends_bad', true) \gset
CALL wait_until($$(SELECT retrying = 1 AND state = 'active' FROM eda.subscriptions WHERE subscription = 't_ends_watch')$$);
SELECT eda.alter_subscription('t_ends_watch', '{"filter": null}') \gset
CREATE FUNCTION gone(e eda.event) RETURNS void LANGUAGE sql AS $$SELECT take(e)$$;
SELECT eda.subscribe('t_ends_gone', 't_ends.gone', 't_ends.gone', owner => 't_ends') \gset
SELECT eda.publish('t_ends.gone') AS id \gset
CALL eda.wait('t_ends_gone');
DROP FUNCTION gone;
SELECT eda.publish('t_ends.gone') \gset
CALL wait_until($$(SELECT count(*) FROM got WHERE sub = 't_ends_watch' AND payload ->> 'subscription' = 't_ends_gone') = 1$$);
SELECT results_eq($$SELECT payload ->> 'reason', payload ->> 'detail', hops FROM got WHERE sub = 't_ends_watch' AND payload ->> 'subscription' = 't_ends_gone'$$,
    $$VALUES ('handler', 'function t_ends.gone(eda.event) does not exist', 0)$$, 'eda.subscription.blocked says which and why');
SELECT ok(NOT payload ? 'payload', 'and never has a payload') FROM got WHERE sub = 't_ends_watch' AND payload ->> 'subscription' = 't_ends_gone';

\ir include/end.sql
