-- Tables and sequences are their owner's alone, whatever its default privileges say: who may write to one, or
-- put a trigger there, could do as the owner does.
DO $$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT DISTINCT format('REVOKE ALL ON TABLE %s FROM %s CASCADE', c.oid::regclass,
                               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relnamespace = 'eda'::regnamespace AND c.relkind IN ('r', 'S') AND a.grantee <> c.relowner
    LOOP
        EXECUTE command;
    END LOOP;
END $$;

-- And where somebody may write to all tables (pg_write_all_data), or was granted it on these, a trigger refuses
-- who is neither their owner nor a superuser (src/base/guard.c).
CREATE FUNCTION eda._guard() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_guard';
COMMENT ON FUNCTION eda._guard() IS
'on eda''s tables: refuses to write to them to whom they do not belong, whatever was granted';

DO $$
DECLARE
    tab text;
BEGIN
    FOR tab IN
        SELECT c.oid::regclass FROM pg_class c
        WHERE c.relnamespace = 'eda'::regnamespace AND c.relkind = 'r'
    LOOP
        EXECUTE format('CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION eda._guard()', tab);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER guard', tab);
    END LOOP;
END $$;

-- Last: nothing of eda's is for PUBLIC.  Tables and the schema are nobody's by default,
-- functions and procedures are everybody's, until here.
REVOKE ALL ON ALL ROUTINES IN SCHEMA eda FROM PUBLIC;

-- But for the parts of views, which are called with the rights of a view's reader.  Without USAGE on schema
-- eda nobody can name them, and they tell nobody more than the views do.
GRANT EXECUTE ON FUNCTION eda._may_see(oid), eda._may_read(oid), eda._reads_all(),
    eda._error_message(oid, text, text, text), eda._error_where(text), eda._condition_name(text),
    eda._preloaded(), eda._workers(), eda._waits(), eda._not_delivering(), eda._backlog(int), eda._segments(),
    eda._matches(text, text) TO PUBLIC;

-- Monitoring reads what shows no payload.
GRANT USAGE ON SCHEMA eda TO pg_monitor;
GRANT SELECT ON eda.topics, eda.schemas, eda.subscriptions, eda.retries, eda.delayed, eda.segments, eda.workers, eda.jobs, eda.job_runs TO pg_monitor;

-- Who reads eda.jobs asks for the next run; pg_cron starts a job for whoever may run it, which is looked at then.
GRANT EXECUTE ON FUNCTION eda._schedule_next(text, text, timestamptz) TO PUBLIC;
GRANT EXECUTE ON PROCEDURE eda._start_job(text) TO PUBLIC;
