-- Delayed events: what eda.publish(deliver_at) keeps, eda.cancel, who may what.  Nothing here becomes due
-- but where it says so; test/pgtap/delay.sql has what happens then.
SET client_min_messages = error;
CREATE ROLE regress_eda_app LOGIN;
CREATE ROLE regress_eda_other LOGIN;
CREATE ROLE regress_eda_boss IN ROLE regress_eda_app;
GRANT USAGE ON SCHEMA eda TO regress_eda_app, regress_eda_other, regress_eda_boss;
CREATE FUNCTION public.regress_eda_f(jsonb) RETURNS void LANGUAGE sql AS '';
\set later '\'2200-01-01 00:00:00Z\''

-- a whole event, not in the log
SELECT eda.publish('regress.delay.a', '{"n": 1}', 'k', '{"h": 1}', :later, 'once', 'c', 7) AS id \gset
SELECT event_id = :id AS its_id, topic, key, deliver_at FROM eda.delayed;
SELECT xid IS NOT NULL AS xid, deliver_at, topic, key, payload, headers, published_at <= clock_timestamp() AS published_at,
       published_by::regrole, correlation_id, causation_id, hops, idempotency_key
  FROM eda.delayed_event;
SELECT count(*) FROM eda.events WHERE id = :id;
-- ids are those of all events
SELECT eda.publish('regress.delay.b') AS next \gset
SELECT :next > :id AS ascending, eda.publish('regress.delay.b', deliver_at => :later) > :next AS ascending;

-- its time has come or is past: published as ever
SELECT eda.publish('regress.delay.now', deliver_at => clock_timestamp()) AS id2 \gset
SELECT eda.publish('regress.delay.now', deliver_at => '4713-01-01 00:00:00Z BC') AS id3 \gset
SELECT count(*) FROM eda.delayed WHERE topic = 'regress.delay.now';
SELECT count(*), count(deliver_at) FROM eda.log WHERE id IN (:id2, :id3);

-- rolled back with its transaction and its savepoint
BEGIN;
SELECT eda.publish('regress.delay.c', '1', deliver_at => :later) > 0 AS published;
SAVEPOINT a;
SELECT eda.publish('regress.delay.c', '2', deliver_at => :later) > 0 AS published;
ROLLBACK TO a;
SELECT eda.publish('regress.delay.c', '3', deliver_at => :later) > 0 AS published;
COMMIT;
BEGIN;
SELECT eda.publish('regress.delay.c', '4', deliver_at => :later) > 0 AS published;
ROLLBACK;
SELECT payload FROM eda.delayed_event WHERE topic = 'regress.delay.c' ORDER BY event_id;

-- a payload that is out of line
SELECT eda.publish('regress.delay.wide', jsonb_agg(md5(i::text)), deliver_at => :later) AS wide FROM generate_series(1, 1000) i \gset
SELECT jsonb_array_length(payload), payload ->> 999 = md5('1000') AS last FROM eda.delayed_event WHERE event_id = :wide;

-- every check of eda.publish
SELECT eda.publish('regress.x', deliver_at => 'infinity');
\echo :SQLSTATE
SELECT eda.publish('regress.x', deliver_at => '-infinity');
\echo :SQLSTATE
SELECT eda.publish('eda.mine', deliver_at => :later);
SELECT eda.publish('regress x', deliver_at => :later);
SELECT eda.publish('regress.x', NULL, deliver_at => :later);
SELECT eda.publish('regress.x', '{}', repeat('k', 1025), deliver_at => :later);
SELECT eda.publish('regress.x', '{}', headers => '[]', deliver_at => :later);
SET eda.max_payload_size = '1kB';
SELECT eda.publish('regress.x', to_jsonb(repeat('x', 2000)), deliver_at => :later);
RESET eda.max_payload_size;
BEGIN READ ONLY;
SELECT eda.publish('regress.x', deliver_at => :later);
ROLLBACK;
SELECT count(*) FROM eda.delayed WHERE topic LIKE '%x';

-- the idempotency key: the same event until it is cancelled
SELECT eda.publish('regress.delay.a', '{"n": 1}', deliver_at => :later, idempotency_key => 'once') = :id AS the_first,
       eda.publish('regress.delay.a', '{"n": 1}', idempotency_key => 'once') = :id AS without_a_time_too;
\set VERBOSITY sqlstate
SELECT eda.publish('regress.delay.a', '{"n": 2}', deliver_at => :later, idempotency_key => 'once');
\set VERBOSITY default

-- trace: for those that match now
BEGIN;
SELECT eda.subscribe('by_all', 'regress.delay.#', 'regress_eda_f', owner => 'regress_eda_app');
SELECT eda.subscribe('by_b', 'regress.delay.b', 'regress_eda_f', owner => 'regress_eda_app');
SELECT eda.subscribe('from_then', 'regress.delay.a', 'regress_eda_f', owner => 'regress_eda_app', start_at => '2199-12-31');
SELECT * FROM eda.trace(:id);
ROLLBACK;
SELECT count(*) FROM eda.trace(:id);

-- run_pending handles nothing that is not due
BEGIN;
SELECT eda.subscribe('by_all', 'regress.delay.#', 'regress_eda_f', owner => 'regress_eda_app');
SELECT eda.publish('regress.delay.a', deliver_at => :later) > 0 AS published;
SELECT eda.run_pending();
ROLLBACK;

-- cancel
SELECT eda.cancel(NULL);
\echo :SQLSTATE
SELECT eda.cancel(:id);
SELECT eda.cancel(:id) AS again, eda.cancel(:next) AS in_the_log, eda.cancel(-1) AS nowhere;
SELECT count(*) FROM eda.delayed WHERE event_id = :id;
-- with its idempotency key: another payload, another event
SELECT eda.publish('regress.delay.a', '{"n": 2}', deliver_at => :later, idempotency_key => 'once') > :id AS another;
-- undone with its transaction
BEGIN;
SELECT eda.cancel(:wide);
SELECT eda.cancel(:wide) AS again;
ROLLBACK;
SELECT eda.cancel(:wide);
BEGIN;
SELECT eda.publish('regress.delay.d', deliver_at => :later, idempotency_key => 'd') AS id \gset
SELECT eda.cancel(:id) AS own_uncommitted, eda.publish('regress.delay.d', idempotency_key => 'd', deliver_at => :later) > :id AS again;
ROLLBACK;
BEGIN READ ONLY;
SELECT eda.cancel(:id);
\echo :SQLSTATE
ROLLBACK;
-- one that is due already, if the dispatcher could not take it yet
BEGIN;
SELECT eda.publish('regress.delay.e', deliver_at => clock_timestamp() + interval '1 ms') AS id \gset
DO $$ BEGIN WHILE clock_timestamp() <= (SELECT max(deliver_at) FROM eda.delayed WHERE topic = 'regress.delay.e') LOOP NULL; END LOOP; END $$;
SELECT eda.cancel(:id) AS due;
ROLLBACK;

-- rights
SET ROLE regress_eda_app;
SELECT eda.cancel(1);
\echo :SQLSTATE
RESET ROLE;
GRANT EXECUTE ON FUNCTION eda.cancel, eda.publish TO regress_eda_app, regress_eda_other, regress_eda_boss;
SET ROLE regress_eda_app;
SELECT eda.publish('regress.delay.f', '1', deliver_at => :later, idempotency_key => 'f') AS f1,
       eda.publish('regress.delay.f', '2', deliver_at => :later) AS f2, eda.publish('regress.delay.f', '3', deliver_at => :later) AS f3,
       eda.publish('regress.delay.f', '4', deliver_at => :later) AS f4 \gset
SELECT * FROM eda.delayed;
SELECT * FROM eda.delayed_event;
RESET ROLE;
SELECT DISTINCT published_by::regrole FROM eda.delayed_event WHERE topic = 'regress.delay.f';
SELECT set_config('regress.id', :f1::text, false) IS NOT NULL AS set;
SET client_min_messages = notice;
SET ROLE regress_eda_other;
DO $$
DECLARE
    detail text;
    hint text;
BEGIN
    PERFORM eda.cancel(current_setting('regress.id')::bigint);
EXCEPTION WHEN insufficient_privilege THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RAISE NOTICE '% / % / %', replace(sqlerrm, current_setting('regress.id'), 'ID'), detail, hint;
END $$;
RESET ROLE;
SET ROLE regress_eda_app;
SELECT eda.cancel(:f1) AS own;
RESET ROLE;
SET ROLE regress_eda_boss;
SELECT eda.cancel(:f2) AS of_a_member;
RESET ROLE;
SELECT eda.cancel(:f3) AS as_the_owner;
-- nothing of the caller's stands in for what eda's statements name
SET ROLE regress_eda_app;
CREATE TEMP TABLE delayed_event (event_id bigint, deliver_at timestamptz, published_by oid);
SET search_path = pg_temp, public;
SELECT eda.cancel(:f4);
RESET search_path;
RESET ROLE;
SELECT count(*) FROM eda.delayed WHERE topic = 'regress.delay.f';
SET ROLE pg_monitor;
SELECT count(*) > 0 AS monitoring_reads_it FROM eda.delayed;
SELECT payload FROM eda.delayed_event;
RESET ROLE;

-- its publisher is gone
CREATE ROLE regress_eda_gone;
GRANT USAGE ON SCHEMA eda TO regress_eda_gone;
GRANT EXECUTE ON FUNCTION eda.publish TO regress_eda_gone;
SET ROLE regress_eda_gone;
SELECT eda.publish('regress.delay.g', deliver_at => :later) AS id \gset
RESET ROLE;
DROP OWNED BY regress_eda_gone;
DROP ROLE regress_eda_gone;
SELECT set_config('regress.id', :id::text, false) IS NOT NULL AS set;
SET ROLE regress_eda_other;
DO $$
DECLARE
    detail text;
BEGIN
    PERFORM eda.cancel(current_setting('regress.id')::bigint);
EXCEPTION WHEN insufficient_privilege THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RAISE NOTICE '%', regexp_replace(detail, '[0-9]+', 'OID');
END $$;
RESET ROLE;
SELECT eda.cancel(:id);

-- a publication of all tables does not stop it
SET client_min_messages = error;
CREATE PUBLICATION regress_eda_all FOR ALL TABLES;
SELECT eda.publish('regress.delay.p', deliver_at => :later) AS id \gset
SELECT eda.cancel(:id);
DROP PUBLICATION regress_eda_all;

SELECT bool_and(eda.cancel(event_id)) FROM eda.delayed WHERE topic LIKE 'regress.%';
DROP FUNCTION public.regress_eda_f(jsonb);
DROP OWNED BY regress_eda_app, regress_eda_other, regress_eda_boss;
DROP ROLE regress_eda_app, regress_eda_other, regress_eda_boss;
