--
-- Jobs: eda.schedule, eda.unschedule, eda.run_job without pg_cron.
-- With pg_cron: test/t/030_jobs.pl.
--
CREATE ROLE regress_eda_job LOGIN;
CREATE ROLE regress_eda_other LOGIN;
GRANT USAGE ON SCHEMA eda TO regress_eda_job, regress_eda_other;
GRANT EXECUTE ON FUNCTION eda.schedule, eda.unschedule TO regress_eda_job, regress_eda_other;
GRANT EXECUTE ON PROCEDURE eda.run_job TO regress_eda_job, regress_eda_other;
GRANT SELECT ON eda.jobs, eda.job_runs TO regress_eda_job, regress_eda_other;

-- the hint names the package of this major version
\set VERBOSITY terse
SELECT eda.schedule('nightly', '0 0 * * *', 'SELECT 1 AS n', 'shop.order.placed');
\set VERBOSITY default
DO $$
DECLARE
    hint text;
BEGIN
    PERFORM eda.schedule('nightly', '0 0 * * *', 'SELECT 1 AS n', 'shop.order.placed');
EXCEPTION WHEN SQLSTATE 'ED041' THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RAISE NOTICE '%', regexp_replace(hint, 'postgresql-[0-9]+-cron', 'postgresql-NN-cron');
END $$;
SELECT count(*) FROM eda.jobs;

-- what is wrong with the arguments comes first
SELECT eda.schedule(NULL, '0 0 * * *', 'SELECT 1', 'a.b');
SELECT eda.schedule('nightly', NULL, 'SELECT 1', 'a.b');
SELECT eda.schedule('nightly', '0 0 * * *', NULL, 'a.b');
SELECT eda.schedule('nightly', '0 0 * * *', 'SELECT 1', NULL);
SELECT eda.schedule('nightly', '0 0 * * *', 'SELECT 1', 'a.b', on_invalid => NULL);
SELECT eda.schedule('', '0 0 * * *', 'SELECT 1', 'a.b');
SELECT eda.schedule(repeat('x', 256), '0 0 * * *', 'SELECT 1', 'a.b');
SELECT eda.schedule('nightly', '0 0 * * *', 'SELECT 1', 'eda.job');
SELECT eda.schedule('nightly', '0 0 * * *', 'SELECT 1', 'a.b', on_invalid => 'ignore');
SELECT eda.schedule('nightly', '0 0 * * *', 'SELECT FROM WHERE', 'a.b');
SELECT eda.schedule('nightly', '0 0 * * *', 'SELECT 1; SELECT 2', 'a.b');
SELECT eda.schedule('nightly', '0 0 * * *', '', 'a.b');
SELECT eda.schedule('nightly', '0 0 * * *', 'CREATE TABLE x ()', 'a.b');
SELECT eda.unschedule(NULL);
SELECT eda.unschedule('nightly');
CALL eda.run_job(NULL);
CALL eda.run_job('nightly');
CALL eda.run_job('it''s nightly');

-- pg_cron runs a job as its owner, who has to be able to log in and to run it
CREATE ROLE regress_eda_nologin;
GRANT USAGE ON SCHEMA eda TO regress_eda_nologin;
GRANT EXECUTE ON FUNCTION eda.schedule TO regress_eda_nologin;
SET ROLE regress_eda_nologin;
SELECT eda.schedule('nightly', '0 0 * * *', 'SELECT 1', 'a.b');
RESET ROLE;
ALTER ROLE regress_eda_nologin LOGIN;
SET ROLE regress_eda_nologin;
SELECT eda.schedule('nightly', '0 0 * * *', 'SELECT 1', 'a.b');
RESET ROLE;
REVOKE ALL ON FUNCTION eda.schedule FROM regress_eda_nologin;
REVOKE ALL ON SCHEMA eda FROM regress_eda_nologin;
DROP ROLE regress_eda_nologin;

-- Jobs as eda.schedule would have left them.
CREATE TABLE orders (invoice text, customer text, day date);
INSERT INTO orders VALUES ('1', 'a', '2010-12-01'), ('2', 'b', '2010-12-01'), ('3', 'a', '2010-12-02');
GRANT SELECT ON orders TO regress_eda_job;
INSERT INTO eda.job (name, schedule, query, topic, key_column, idempotency_key_column, on_invalid, owner)
SELECT v.name, '0 0 * * *', v.query, 'regress.job.' || v.name, v.key, v.idempotency_key, 'fail', 'regress_eda_job'::regrole
  FROM (VALUES ('orders', $$SELECT *, current_user AS by FROM public.orders WHERE day = '2010-12-01' ORDER BY invoice$$, 'customer', 'invoice'),
               ('nothing', $$SELECT * FROM public.orders WHERE day = '2010-12-04'$$, NULL, NULL),
               ('broken', $$SELECT * FROM public.no_such_table$$, NULL, NULL),
               ('division', $$SELECT 1 / (x - 2) AS n FROM generate_series(1, 2) x$$, NULL, NULL)) v (name, query, key, idempotency_key);

-- not in a transaction, which it would commit
BEGIN;
CALL eda.run_job('orders');
ROLLBACK;
CREATE FUNCTION regress_run(job text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL eda.run_job(job); END $$;
SELECT regress_run('orders');
DROP FUNCTION regress_run;

-- another role neither runs nor sees nor changes it
SET ROLE regress_eda_other;
CALL eda.run_job('orders');
SELECT eda.unschedule('orders');
SELECT eda.schedule('orders', '0 0 * * *', 'SELECT 1', 'a.b');
SELECT count(*) FROM eda.jobs;
RESET ROLE;

-- the three outcomes; run by a superuser, the query still runs as the owner
CALL eda.run_job('orders');
SET ROLE regress_eda_job;
CALL eda.run_job('orders');
CALL eda.run_job('nothing');
CALL eda.run_job('broken');
CALL eda.run_job('division');
SELECT job, outcome, message, total, published, invalid, last_id - first_id AS span, error_code,
       finished_at >= started_at AS finished
  FROM eda.job_runs ORDER BY run_id;
SELECT job, owner, last_outcome FROM eda.jobs ORDER BY job;
RESET ROLE;
SELECT topic, key, payload FROM eda.events WHERE topic LIKE 'regress.job.%' ORDER BY id;
SELECT key, payload - 'run' AS payload, payload->'run' = to_jsonb(run_id) AS its_run
  FROM eda.events e JOIN eda.job_runs r ON r.job = e.key AND r.outcome = 'error'
 WHERE topic = 'eda.job.failed' ORDER BY id;

-- a constraint that fails when the run commits
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
GRANT ALL ON child TO regress_eda_job;
UPDATE eda.job SET query = 'INSERT INTO public.child VALUES (1) RETURNING id' WHERE name = 'broken';
SELECT current_user AS admin \gset
\c - regress_eda_job
CALL eda.run_job('broken');
\c - :admin
SELECT count(*) FROM child;
SELECT outcome, error_code, message, error_detail FROM eda.job_runs ORDER BY run_id DESC LIMIT 1;
-- a trigger that the owner's query defers does not fire as somebody else
CALL eda.run_job('broken');
SET ROLE regress_eda_job;
CALL eda.run_job('broken');
RESET ROLE;
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'object';

-- a run that its session did not live to end; the next one says so
INSERT INTO eda.job_run (job_id, job, owner, outcome)
SELECT job_id, name, owner, 'running' FROM eda.job WHERE name = 'nothing';
CALL eda.run_job('nothing');
SELECT outcome, error_code, message, finished_at IS NOT NULL AS finished
  FROM eda.job_runs WHERE job = 'nothing' ORDER BY run_id;

-- names are looked up as where it was scheduled, whoever calls from wherever
CREATE SCHEMA regress_here;
CREATE TABLE regress_here.place AS SELECT 'here' AS name;
CREATE SCHEMA regress_there;
CREATE TABLE regress_there.place AS SELECT 'there' AS name;
GRANT USAGE ON SCHEMA regress_here, regress_there TO regress_eda_job;
GRANT SELECT ON regress_here.place, regress_there.place TO regress_eda_job;
UPDATE eda.job SET query = 'SELECT name, current_user AS by FROM place', search_path = 'regress_here, "$user"'
 WHERE name = 'division';
SET search_path = regress_there;
CALL eda.run_job('division');
SET ROLE regress_eda_job;
CREATE TEMP TABLE place AS SELECT 'nowhere' AS name;
CALL eda.run_job('division');
SHOW search_path;
RESET ROLE;
-- with no path at all, and after an error
UPDATE eda.job SET search_path = '' WHERE name = 'division';
DROP TABLE pg_temp.place;
CALL eda.run_job('division');
SHOW search_path;
RESET search_path;
SELECT payload FROM eda.events WHERE topic = 'regress.job.division' ORDER BY id;
DROP TABLE regress_here.place, regress_there.place;
DROP SCHEMA regress_here, regress_there;

-- a run forgets the job's runs of more than 30 days ago, but for the last 100
CREATE FUNCTION regress_runs(since interval, n int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO eda.job_run (job_id, job, owner, outcome, started_at)
    SELECT job_id, name, owner, 'published', now() - since
      FROM eda.job, generate_series(1, n) WHERE name = 'orders' $$;
DELETE FROM eda.job_run WHERE job = 'orders';
SELECT regress_runs('31 days', 150);
CALL eda.run_job('orders');
SELECT count(*), count(*) FILTER (WHERE started_at > now() - interval '30 days') AS recent
  FROM eda.job_runs WHERE job = 'orders';
SELECT regress_runs('29 days', 150);
UPDATE eda.job SET query = 'SELECT * FROM public.no_such_table' WHERE name = 'orders';
CALL eda.run_job('orders');
SELECT count(*), count(*) FILTER (WHERE started_at > now() - interval '30 days') AS recent
  FROM eda.job_runs WHERE job = 'orders';
-- other jobs' runs are not its business
SELECT count(*) FROM eda.job_runs WHERE job <> 'orders';
DELETE FROM eda.job_run WHERE job = 'orders';
DROP FUNCTION regress_runs;

-- where the owner is gone
INSERT INTO eda.job (name, schedule, query, topic, on_invalid, owner)
VALUES ('orphan', '0 0 * * *', 'SELECT 1 AS n', 'regress.job.orphan', 'fail', 4242);
CALL eda.run_job('orphan');
SELECT eda.schedule('orphan', '0 0 * * *', 'SELECT 1 AS n', 'regress.job.orphan');
SET ROLE regress_eda_other;
SELECT eda.unschedule('orphan');
RESET ROLE;
SELECT eda.unschedule('orphan');

-- read-only
SET default_transaction_read_only = on;
CALL eda.run_job('orders');
SELECT eda.unschedule('orders');
RESET default_transaction_read_only;

-- without pg_cron there is nothing of it to remove; the history stays
SET ROLE regress_eda_job;
SELECT job, eda.unschedule(job) FROM eda.jobs ORDER BY job;
SELECT count(*) FROM eda.jobs;
SELECT count(*) FROM eda.job_runs;
RESET ROLE;

DROP TABLE orders, child, parent;
REVOKE ALL ON ALL ROUTINES IN SCHEMA eda FROM regress_eda_job, regress_eda_other;
REVOKE ALL ON ALL TABLES IN SCHEMA eda FROM regress_eda_job, regress_eda_other;
REVOKE ALL ON SCHEMA eda FROM regress_eda_job, regress_eda_other;
DROP ROLE regress_eda_job, regress_eda_other;
