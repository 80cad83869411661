-- What every test here begins with.  Before: \set test t_NAME, which becomes a schema, and a role that
-- owns the test's subscriptions.  Other schemas, roles, and all subscriptions are called t_NAME_...
--
-- These tests run against live workers, so they commit as they go, and synchronise by
-- CALL eda.wait() or CALL wait_until(condition), never by sleeping.  \gset is there to print nothing.
SET client_min_messages = warning;
SELECT set_config('test.name', :'test', false) \gset
\ir clean.sql

CREATE ROLE :"test" LOGIN;
CREATE SCHEMA :"test" AUTHORIZATION :"test";
ALTER DEFAULT PRIVILEGES IN SCHEMA :"test" GRANT ALL ON TABLES TO :"test";
ALTER DEFAULT PRIVILEGES IN SCHEMA :"test" GRANT ALL ON SEQUENCES TO :"test";
GRANT USAGE ON SCHEMA eda TO :"test";
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA eda TO :"test";
-- "$user", public is what the executor has
SET search_path = :"test", public;

-- What handlers have done: n tells the order.
CREATE TABLE got (
    n           bigint GENERATED ALWAYS AS IDENTITY,
    sub         text,
    id          bigint,
    topic       text,
    key         text,
    payload     jsonb,
    attempt     int,
    redelivered boolean,
    hops        int,
    xid         xid8 DEFAULT pg_current_xact_id(),
    at          timestamptz DEFAULT clock_timestamp()
);

-- The handler that does what it should.
CREATE FUNCTION take(e eda.event) RETURNS void LANGUAGE sql AS $$
    INSERT INTO got (sub, id, topic, key, payload, attempt, redelivered, hops)
    VALUES (e.subscription, e.id, e.topic, e.key, e.payload, e.attempt, e.redelivered, e.hops);
$$;

-- The "n" of the payloads that a subscription has handled, in that order.
CREATE FUNCTION taken(sub text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(g.payload ->> 'n', ' ' ORDER BY g.n), '') FROM got g WHERE g.sub = taken.sub;
$$;

CREATE PROCEDURE wait_until(condition text) LANGUAGE plpgsql AS $$
DECLARE
    deadline timestamptz := clock_timestamp() + '60 s';
    met boolean;
BEGIN
    LOOP
        EXECUTE 'SELECT ' || condition INTO met;
        EXIT WHEN met;
        IF clock_timestamp() > deadline THEN
            RAISE WARNING 'still not true after 60 s: %', condition;
            EXIT;
        END IF;
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
