-- CALL eda.wait(): what it says of what it can't wait for, and to whom.
\set VERBOSITY terse
SET client_min_messages = error;
CREATE ROLE regress_eda_wait_owner LOGIN;
CREATE ROLE regress_eda_wait_other LOGIN;
CREATE ROLE regress_eda_wait_monitor LOGIN IN ROLE pg_monitor;
GRANT USAGE ON SCHEMA eda TO regress_eda_wait_owner, regress_eda_wait_other, regress_eda_wait_monitor;
GRANT EXECUTE ON PROCEDURE eda.wait TO regress_eda_wait_owner, regress_eda_wait_other, regress_eda_wait_monitor;
CREATE FUNCTION regress_eda_wait_nothing(e eda.event) RETURNS void LANGUAGE sql AS '';
RESET client_min_messages;
SELECT eda.subscribe('regress_wait', 'regress.wait.#', 'regress_eda_wait_nothing', owner => 'regress_eda_wait_owner');

-- Its own transaction's events, however they were published.
BEGIN;
SELECT eda.publish('regress.wait') > 0 AS published;
CALL eda.wait();
CALL eda.wait('regress_wait');
COMMIT;
BEGIN;
SELECT cardinality(eda.publish_batch('regress.wait', '{"{}","{}"}')) AS published;
CALL eda.wait();
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT published FROM eda.publish_query('regress.wait', 'SELECT 1 AS n');
CALL eda.wait();
ROLLBACK;
DO $$
BEGIN
    PERFORM eda.publish('regress.wait');
    CALL eda.wait();
END $$;
-- in a savepoint that is there still, and in one that is not
BEGIN;
SAVEPOINT a;
SELECT eda.publish('regress.wait') > 0 AS published;
CALL eda.wait();
ROLLBACK TO a;
CALL eda.wait();
COMMIT;
-- that nobody subscribed to, or not the subscription that is waited for; that are not due
BEGIN;
SELECT eda.publish('regress.nobody') > 0 AS published;
CALL eda.wait();
SELECT eda.publish('regress.wait', deliver_at => now() + '1 hour') > 0 AS published;
CALL eda.wait();
ROLLBACK;
-- one that has become due
BEGIN;
SELECT eda.publish('regress.wait', deliver_at => clock_timestamp() + '10 ms') > 0 AS published;
SELECT pg_sleep(0.02);
CALL eda.wait();
ROLLBACK;
-- committed on the way
DO $$
BEGIN
    PERFORM eda.publish('regress.wait');
    COMMIT;
    CALL eda.wait();
END $$;

-- A subscription that its own transaction has changed.
SELECT eda.pause('regress_wait');
SELECT eda.publish('regress.wait') > 0 AS published;
CALL eda.wait();
BEGIN;
SELECT eda.resume('regress_wait');
CALL eda.wait();
ROLLBACK;
BEGIN;
SELECT eda.subscribe('regress_wait_new', 'regress.wait.#', 'regress_eda_wait_nothing', owner => 'regress_eda_wait_owner', start => 'earliest');
CALL eda.wait('regress_wait_new');
ROLLBACK;

-- Others' are not waited for, and not named.
SET SESSION AUTHORIZATION regress_eda_wait_other;
CALL eda.wait();
CALL eda.wait('regress_wait');
CALL eda.wait('regress_wait_nothing');
SET SESSION AUTHORIZATION regress_eda_wait_monitor;
CALL eda.wait();
SET SESSION AUTHORIZATION regress_eda_wait_owner;
CALL eda.wait();
RESET SESSION AUTHORIZATION;
SELECT eda.resume('regress_wait');
CALL eda.wait();

SELECT eda.unsubscribe('regress_wait');
DROP FUNCTION regress_eda_wait_nothing;
DROP OWNED BY regress_eda_wait_owner, regress_eda_wait_other, regress_eda_wait_monitor;
DROP ROLE regress_eda_wait_owner, regress_eda_wait_other, regress_eda_wait_monitor;
