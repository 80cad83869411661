-- Everything of the test named by test.name goes, wherever it stopped: its subscriptions, its
-- schema, its roles.  What it published stays in the log, and no later test subscribes to it.
RESET ROLE;
DO $$
DECLARE
    t text := current_setting('test.name');
    r text;
BEGIN
    IF to_regrole(t) IS NOT NULL THEN
        PERFORM eda.unsubscribe(subscription, true)
           FROM eda.subscriptions
          WHERE owner = to_regrole(t)::oid OR starts_with(subscription, t || '_');
        EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', t);
        FOR r IN SELECT rolname FROM pg_roles WHERE rolname = t OR starts_with(rolname, t || '_') LOOP
            EXECUTE format('DROP OWNED BY %I', r);
            EXECUTE format('DROP ROLE %I', r);
        END LOOP;
    END IF;
END $$;
