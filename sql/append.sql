--
-- The log is kept open from one publish of a transaction to the next: what
-- else a transaction may do meanwhile.
--
CREATE FUNCTION append_log() RETURNS regclass LANGUAGE sql AS
	$$ SELECT relation::regclass FROM eda.segment WHERE state = 'o' $$;
CREATE VIEW appended AS SELECT topic, payload FROM eda.events WHERE topic LIKE 'append.%' ORDER BY id;

-- a savepoint that goes takes along what it did to the log
DO $$
BEGIN
	PERFORM eda.publish('append.savepoint', '1');
	BEGIN
		EXECUTE format('CREATE INDEX append_index ON %s (hops)', append_log());
		PERFORM eda.publish('append.savepoint', '2');
		RAISE 'back';
	EXCEPTION WHEN raise_exception THEN
		PERFORM eda.publish('append.savepoint', '3');
	END;
	BEGIN
		EXECUTE format('TRUNCATE %s', append_log());
		PERFORM eda.publish('append.savepoint', '4');
		RAISE 'back';
	EXCEPTION WHEN raise_exception THEN
		PERFORM eda.publish('append.savepoint', '5');
	END;
END $$;
SELECT * FROM appended;

-- an event trigger that publishes does not keep the log open for its own command
CREATE FUNCTION append_trigger() RETURNS event_trigger LANGUAGE plpgsql AS
	$$ BEGIN PERFORM eda.publish('append.ddl', to_jsonb(tg_tag)); END $$;
CREATE EVENT TRIGGER append_start ON ddl_command_start EXECUTE FUNCTION append_trigger();
DO $$ BEGIN EXECUTE format('CREATE INDEX append_index ON %s (hops)', append_log()); END $$;
DO $$ BEGIN EXECUTE format('ALTER TABLE %s SET (fillfactor = 90)', append_log()); END $$;
DROP INDEX eda.append_index;
DROP EVENT TRIGGER append_start;
SELECT payload FROM appended WHERE topic = 'append.ddl';

-- columns that somebody adds get nulls
BEGIN;
DO $$ BEGIN EXECUTE format('ALTER TABLE %s ADD COLUMN extra text', append_log()); END $$;
SELECT eda.publish('append.column', '1') > 0 AS published;
SELECT count(*) FROM eda.publish_batch('append.column', '{2,3}');
SELECT payload FROM appended WHERE topic = 'append.column';
ROLLBACK;

DROP FUNCTION append_trigger();
DROP FUNCTION append_log();
DROP VIEW appended;
