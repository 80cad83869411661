-- Everything of the test named by test.name goes, wherever it stopped: its subscriptions, its
-- schema, its roles.  What it published stays in the log, and no later test subscribes to it.
RESET ROLE;
DO $$
DECLARE
    t text := current_setting('test.name');
    r text;
BEGIN
    FOR r IN SELECT pubname FROM pg_publication WHERE starts_with(pubname, t || '_') LOOP
        EXECUTE format('DROP PUBLICATION %I', r);
    END LOOP;
    PERFORM eda.unsubscribe(subscription, true) FROM eda.subscriptions WHERE starts_with(subscription, t || '_');
    FOR r IN SELECT nspname FROM pg_namespace WHERE nspname = t OR starts_with(nspname, t || '_') LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', r);
    END LOOP;
    FOR r IN SELECT rolname FROM pg_roles WHERE rolname = t OR starts_with(rolname, t || '_') LOOP
        EXECUTE format('DROP OWNED BY %I', r);
        EXECUTE format('DROP ROLE %I', r);
    END LOOP;
END $$;
