-- An event in a batch is handled as it is alone: nothing of the event before it is left that would be gone, and
-- what fails in company only does not count.  With savepoints, without, and for set-wise handlers.
\set test t_batches
\ir include/begin.sql
SELECT plan(25);

-- Three subscriptions for each thing: batches of 100, batches of one, and sets of one.  They run alike.
CREATE TABLE seen (sub text, n int, what text, xid xid8 DEFAULT pg_current_xact_id());
CREATE FUNCTION subscribe_all(thing text, options jsonb DEFAULT '{}') RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    EXECUTE format('CREATE FUNCTION %I(es eda.event[]) RETURNS void LANGUAGE plpgsql AS
        ''DECLARE e eda.event; BEGIN FOREACH e IN ARRAY es LOOP PERFORM t_batches.%I(e); END LOOP; END''', thing || '_set', thing);
    FOREACH name IN ARRAY ARRAY['batch', 'alone', 'set'] LOOP
        PERFORM eda.subscribe(format('t_batches_%s_%s', thing, name), 't_batches.' || thing,
            format('t_batches.%I', thing || CASE name WHEN 'set' THEN '_set' ELSE '' END), owner => 't_batches',
            batch_size => CASE name WHEN 'batch' THEN 100 ELSE 1 END, backoff => '5 ms', max_attempts => 3);
        PERFORM eda.alter_subscription(format('t_batches_%s_%s', thing, name), options);
    END LOOP;
END $$;
CREATE FUNCTION publish(thing text, payloads jsonb[]) RETURNS void LANGUAGE sql AS $$SELECT eda.publish_batch('t_batches.' || thing, payloads)$$;
CREATE FUNCTION numbers(n int) RETURNS jsonb[] LANGUAGE sql AS $$SELECT array_agg(jsonb_build_object('n', i) ORDER BY i) FROM generate_series(1, n) i$$;
CREATE PROCEDURE wait_all(thing text) LANGUAGE plpgsql AS $$
BEGIN
    CALL t_batches.wait_until(format('(SELECT bool_and(backlog = 0 AND retrying = 0) FROM eda.subscriptions WHERE starts_with(subscription, ''t_batches_%s_''))', thing));
END $$;
-- What all subscriptions of a thing have seen, if they have seen the same.
CREATE FUNCTION seen(thing text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(DISTINCT what, ' or ')
      FROM (SELECT string_agg(what, ' ' ORDER BY n) AS what FROM seen WHERE starts_with(sub, format('t_batches_%s_', thing)) GROUP BY sub) x;
$$;
CREATE FUNCTION failures(thing text) RETURNS bigint LANGUAGE sql AS $$
    SELECT sum(failed)::bigint FROM eda.subscriptions WHERE starts_with(subscription, format('t_batches_%s_', thing));
$$;

-- Settings.
CREATE FUNCTION local(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen VALUES (e.subscription, (e.payload ->> 'n')::int, concat(current_setting('t_batches.x', true), '/', current_setting('work_mem'), '/',
        current_setting('transaction_read_only')));
    IF e.payload ->> 'n' = '1' THEN
        PERFORM set_config('t_batches.x', 'one', true);
        SET LOCAL work_mem = '9MB';
        SET TRANSACTION READ ONLY;
    END IF;
END $$;
SELECT subscribe_all('local') \gset
SELECT publish('local', numbers(3)) \gset
CALL wait_all('local');
SELECT is(seen('local'), '/4MB/off /4MB/off /4MB/off', 'SET LOCAL and SET TRANSACTION are over with their event');
SELECT cmp_ok(count(DISTINCT xid), '<', 3::bigint, 'they were a batch') FROM seen WHERE sub = 't_batches_local_batch';

CREATE FUNCTION session(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen VALUES (e.subscription, (e.payload ->> 'n')::int, current_setting('t_batches.y', true));
    PERFORM set_config('t_batches.y', (e.payload ->> 'n'), false);
    SET LOCAL t_batches.y = 'local';
END $$;
SELECT subscribe_all('session') \gset
SELECT publish('session', numbers(3)) \gset
CALL wait_all('session');
SELECT is(string_agg(what, ' ' ORDER BY n), '1 2', 'a plain SET stays, as it does after a commit, though SET LOCAL covered it')
  FROM seen WHERE sub = 't_batches_session_batch';

-- Constraints, and what is deferred.
CREATE TABLE late (sub text, n int, how text);
CREATE FUNCTION be_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.how = 'fail' THEN
        RAISE EXCEPTION 'late';
    ELSIF NEW.how = 'publish' THEN
        PERFORM eda.publish('t_batches.published', jsonb_build_object('n', NEW.n, 'sub', NEW.sub));
    ELSE
        INSERT INTO seen VALUES (NEW.sub, NEW.n, (eda.current_event()).id - currval('late_base') || ':' || NEW.how);
    END IF;
    RETURN NULL;
END $$;
CREATE SEQUENCE late_base;
CREATE CONSTRAINT TRIGGER be_late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION be_late();
CREATE FUNCTION modes(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM setval('late_base', e.id);
    INSERT INTO late VALUES (e.subscription, (e.payload ->> 'n')::int, 'x');
    IF EXISTS (SELECT FROM seen s WHERE s.sub = e.subscription AND s.n = (e.payload ->> 'n')::int) THEN
        INSERT INTO seen VALUES (e.subscription, (e.payload ->> 'n')::int, 'not deferred');
    END IF;
    SET CONSTRAINTS ALL IMMEDIATE;
END $$;
SELECT subscribe_all('modes') \gset
SELECT publish('modes', numbers(3)) \gset
CALL wait_all('modes');
SELECT is(seen('modes'), '0:x 0:x 0:x', 'SET CONSTRAINTS is over with its event');

CREATE FUNCTION deferred(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM setval('late_base', e.id);
    -- also what was queued in a block of its own, and in one that was rolled back
    BEGIN
        INSERT INTO late VALUES (e.subscription, (e.payload ->> 'n')::int, 'x');
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    BEGIN
        INSERT INTO late VALUES (e.subscription, (e.payload ->> 'n')::int, 'undone');
        PERFORM 1 / 0;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    IF e.payload ? 'fail' THEN
        INSERT INTO late VALUES (e.subscription, (e.payload ->> 'n')::int, 'fail');
    END IF;
END $$;
SELECT subscribe_all('deferred') \gset
SELECT publish('deferred', '{"{\"n\": 1}", "{\"n\": 2, \"fail\": 1}", "{\"n\": 3}", "{\"n\": 4, \"fail\": 1}", "{\"n\": 5}"}') \gset
CALL wait_all('deferred');
SELECT is(seen('deferred'), '0:x 0:x 0:x', 'a deferred trigger fires with its event as the current one, once, and takes it along when it fails');
SELECT results_eq($$SELECT DISTINCT payload ->> 'n', error_message FROM eda.dead_letters WHERE starts_with(subscription, 't_batches_deferred_') ORDER BY 1$$,
    $$VALUES ('2', 'late'), ('4', 'late')$$, 'nobody else is dead for it');

CREATE FUNCTION chain(e eda.event) RETURNS void LANGUAGE sql AS $$INSERT INTO late VALUES (e.subscription, (e.payload ->> 'n')::int, 'publish')$$;
SELECT subscribe_all('chain') \gset
SELECT coalesce(max(id), 0) AS before FROM eda.events \gset
SELECT eda.publish('t_batches.chain', jsonb_build_object('n', i), correlation_id => 'c' || i) FROM generate_series(1, 3) i \g /dev/null
CALL wait_all('chain');
SELECT results_eq(format($$SELECT p.payload ->> 'sub', p.payload ->> 'n', p.hops, p.correlation_id, c.payload ->> 'n' FROM eda.events p
                            LEFT JOIN eda.events c ON c.id = p.causation_id WHERE p.topic = 't_batches.published' AND p.id > %s ORDER BY 1, 2$$, :'before'),
    $$SELECT 't_batches_chain_' || s, n::text, 1, 'c' || n, n::text FROM unnest('{alone,batch,set}'::text[]) s, generate_series(1, 3) n ORDER BY 1, 2$$,
    'what a deferred trigger publishes belongs to its event');
CREATE FUNCTION loop() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM eda.publish('t_batches.loop', '{}');
    RETURN NULL;
END $$;
CREATE TABLE looping (id bigint);
CREATE CONSTRAINT TRIGGER loop AFTER INSERT ON looping DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION loop();
CREATE FUNCTION turn(e eda.event) RETURNS void LANGUAGE sql AS $$INSERT INTO looping VALUES (e.id)$$;
SELECT eda.subscribe('t_batches_loop', 't_batches.loop', 't_batches.turn', owner => 't_batches') \gset
SELECT eda.publish('t_batches.loop') FROM generate_series(1, 3) \g /dev/null
CALL wait_until($$(SELECT dead = 3 FROM eda.subscriptions WHERE subscription = 't_batches_loop')$$);
SELECT results_eq($$SELECT DISTINCT reason, e.hops FROM eda.dead_letters d JOIN eda.events e ON e.id = event_id WHERE subscription = 't_batches_loop'$$, $$VALUES ('hops', current_setting('eda.max_hops')::int)$$,
    'a loop through a deferred trigger ends');
SELECT is(count(*), 3 * current_setting('eda.max_hops')::bigint, 'and not before') FROM looping;

-- Temporary tables and cursors.
CREATE FUNCTION temp(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE n int;
BEGIN
    CREATE TEMP TABLE work ON COMMIT DROP AS SELECT 1 AS x;
    CREATE TEMP TABLE IF NOT EXISTS kept (x int) ON COMMIT DELETE ROWS;
    INSERT INTO kept VALUES (1);
    SELECT count(*) INTO n FROM kept;
    EXECUTE 'DECLARE c CURSOR FOR SELECT 1';
    INSERT INTO seen VALUES (e.subscription, (e.payload ->> 'n')::int, n::text);
END $$;
SELECT subscribe_all('temp', '{"max_attempts": 1}') \gset
SELECT publish('temp', numbers(50)) \gset
CALL wait_all('temp');
SELECT is(seen('temp'), array_to_string(array_fill('1'::text, '{50}'), ' '), 'ON COMMIT DROP, ON COMMIT DELETE ROWS and cursors: as if each event were committed');
SELECT is(failures('temp'), 0::bigint, 'and none has failed');
SELECT cmp_ok(count(DISTINCT xid), '<', 10::bigint, 'they were batches') FROM seen WHERE sub = 't_batches_temp_batch';

-- What they share all the same.
CREATE FUNCTION shares(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen VALUES (e.subscription, (e.payload ->> 'n')::int, concat(
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), '@', now()));
    PERFORM pg_advisory_xact_lock((e.payload ->> 'n')::int);
END $$;
SELECT eda.subscribe('t_batches_shares', 't_batches.shares', 't_batches.shares', owner => 't_batches') \gset
SELECT publish('shares', numbers(3)) \gset
CALL eda.wait('t_batches_shares');
SELECT is((string_agg(split_part(what, '@', 1), ' ' ORDER BY n), count(DISTINCT split_part(what, '@', 2)), count(DISTINCT xid))::text, '("0 1 2",1,1)', 'shared by a batch: now(), the transaction, and its locks')
  FROM seen WHERE sub = 't_batches_shares';

-- What can't be undone between two events: those that fail for it run alone, and none of it counts.
CREATE FUNCTION session_temp(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMP TABLE stays AS SELECT 1 AS x;
    EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT 1';
    EXECUTE 'PREPARE p AS SELECT 1';
    INSERT INTO seen VALUES (e.subscription, (e.payload ->> 'n')::int, 'x');
END $$;
SELECT subscribe_all('session_temp', '{"max_attempts": 1}') \gset
SELECT publish('session_temp', numbers(60)) \gset
CALL wait_all('session_temp');
SELECT is(seen('session_temp'), array_to_string(array_fill('x'::text, '{60}'), ' '), 'what an event leaves in the session does not make another one fail');
SELECT is(failures('session_temp'), 0::bigint, 'nor costs it an attempt');

CREATE SEQUENCE in_company;
CREATE TABLE xids (sub text, xid xid8, PRIMARY KEY (sub, xid));
CREATE FUNCTION lonely(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('in_company');
    INSERT INTO xids VALUES (e.subscription, pg_current_xact_id());
    INSERT INTO seen VALUES (e.subscription, (e.payload ->> 'n')::int, 'x');
EXCEPTION WHEN unique_violation THEN
    PERFORM eda.reject('there is company');
END $$;
SELECT subscribe_all('lonely') \gset
SELECT eda.alter_subscription('t_batches_lonely_set', '{"batch_size": 10}') \gset
SELECT publish('lonely', numbers(200)) \gset
CALL wait_all('lonely');
SELECT is(seen('lonely'), array_to_string(array_fill('x'::text, '{200}'), ' '), 'events that work alone only are handled, in order, also where their handler rejects what it cannot do');
SELECT is(failures('lonely'), 0::bigint, 'without an attempt');
SELECT cmp_ok(last_value, '<=', 3 * 200 + 150::bigint, 'and company is tried now and then only') FROM in_company;

-- Genuine failures among others: how often is the handler called?
CREATE SEQUENCE calls;
CREATE FUNCTION some_fail(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('calls');
    IF e.payload ? 'fail' THEN
        RAISE EXCEPTION 'bad';
    END IF;
    INSERT INTO seen VALUES (e.subscription, (e.payload ->> 'n')::int, 'x');
END $$;
CREATE FUNCTION measure(thing text, every int, at int) RETURNS void LANGUAGE sql AS $$
    SELECT setval('calls', 1, false);
    SELECT eda.subscribe('t_batches_calls_' || thing, 't_batches.calls', 't_batches.some_fail', owner => 't_batches', max_attempts => 1, block_after => 1000000);
    SELECT eda.publish_batch('t_batches.calls', array_agg(jsonb_build_object('n', i) || CASE WHEN i % every = at THEN '{"fail": 1}' ELSE '{}' END::jsonb ORDER BY i))
      FROM generate_series(1, 1000) i;
$$;
SELECT measure('none', 1001, 1001) \g /dev/null
CALL eda.wait('t_batches_calls_none');
SELECT is(last_value, 1000::bigint, 'none fails: one call each') FROM calls;
SELECT eda.unsubscribe('t_batches_calls_none') \gset
SELECT measure('few', 100, 50) \g /dev/null
CALL wait_all('calls');
SELECT cmp_ok(last_value, '<=', 1500::bigint, 'one in a hundred fails: few calls more than one each') FROM calls;
SELECT results_eq($$SELECT handled, dead FROM eda.subscriptions WHERE subscription = 't_batches_calls_few'$$, $$VALUES (990::bigint, 10::bigint)$$,
    'one in a hundred fails: the others are handled');
SELECT eda.unsubscribe('t_batches_calls_few', true) \gset
SELECT measure('third', 3, 0) \g /dev/null
CALL wait_all('calls');
SELECT cmp_ok(last_value, '<=', 1400::bigint, 'each third fails: two calls for it, and one for the others') FROM calls;
SELECT eda.unsubscribe('t_batches_calls_third', true) \gset
SELECT measure('all', 1, 0) \g /dev/null
CALL wait_all('calls');
SELECT cmp_ok(last_value, '<=', 1010::bigint, 'all fail: one call each') FROM calls;
SELECT eda.unsubscribe('t_batches_calls_all', true) \gset

-- What a failed attempt leaves in the session is gone before anything else runs there.
CREATE FUNCTION litters(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO seen VALUES (e.subscription, (e.payload ->> 'n')::int, concat_ws(' ',
        (SELECT 'lock' FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() LIMIT 1), (SELECT 'prepared' FROM pg_prepared_statements WHERE name = 'litter'),
        (SELECT 'cursor' FROM pg_cursors LIMIT 1), (SELECT 'listen' FROM pg_listening_channels() LIMIT 1), current_setting('t_batches.z', true),
        (SELECT 'temp' FROM pg_class WHERE relname = 'litter' AND pg_table_is_visible(oid))));
    IF e.payload ? 'fail' AND NOT e.redelivered THEN
        PERFORM pg_advisory_lock(75), set_config('t_batches.z', 'set', false);
        EXECUTE 'PREPARE litter AS SELECT 1';
        EXECUTE 'DECLARE litter CURSOR WITH HOLD FOR SELECT 1';
        LISTEN litter;
        CREATE TEMP TABLE litter ();
        CASE e.payload ->> 'fail'
            WHEN 'snooze' THEN PERFORM eda.snooze('1 ms');
            WHEN 'late' THEN INSERT INTO late VALUES (e.subscription, 0, 'fail');
            WHEN 'retry' THEN PERFORM eda.retry_after('1 ms');
            ELSE RAISE EXCEPTION 'litters';
        END CASE;
    END IF;
END $$;
SELECT subscribe_all('litters') \gset
SELECT publish('litters', '{"{\"n\": 1}", "{\"n\": 2, \"fail\": \"snooze\"}", "{\"n\": 3}", "{\"n\": 4, \"fail\": \"late\"}", "{\"n\": 5}", "{\"n\": 6, \"fail\": \"x\"}", "{\"n\": 7}"}') \gset
CALL wait_all('litters');
SELECT is(count(*), 0::bigint, 'a failed attempt leaves no locks, statements, cursors, channels, settings or tables')
  FROM seen WHERE starts_with(sub, 't_batches_litters_') AND n IN (3, 5, 7) AND what <> '';
SELECT is(count(*), 12::bigint, 'the others are handled') FROM seen WHERE starts_with(sub, 't_batches_litters_') AND n IN (1, 3, 5, 7);

\ir include/end.sql
