-- What a role sees in eda's views.  C: src/base/visible.c.
-- The functions whose names begin with _ are parts of the views.  A view's functions are called with its
-- reader's rights, so these are everybody's who can name them (90_grants.sql); without USAGE on schema eda
-- nobody can.  They tell nobody more than the views do.

CREATE FUNCTION eda._may_see(owner oid) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_may_see';
COMMENT ON FUNCTION eda._may_see(oid) IS 'does the current user see what belongs to this role, but for payloads?';

CREATE FUNCTION eda._may_read(owner oid) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_may_read';
COMMENT ON FUNCTION eda._may_read(oid) IS 'does the current user see the payloads of what belongs to this role?';

CREATE FUNCTION eda._reads_all() RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_reads_all';
COMMENT ON FUNCTION eda._reads_all() IS 'does the current user see every payload?';

CREATE FUNCTION eda._error_message(owner oid, message text, code text, place text) RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_error_message';
COMMENT ON FUNCTION eda._error_message(oid, text, text, text)
    IS 'the message of an error, for who may see this role''s payloads; its SQLSTATE, condition and place, for others';

CREATE FUNCTION eda._error_where(context text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_error_where';
COMMENT ON FUNCTION eda._error_where(text) IS 'the functions and lines that the context of an error names, and nothing else of it';

CREATE FUNCTION eda._condition_name(code text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_condition_name';
COMMENT ON FUNCTION eda._condition_name(text) IS 'the name of an SQLSTATE''s condition, or of its class';

CREATE FUNCTION eda._matches(topics text, topic text) RETURNS boolean
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_topic_matches';
COMMENT ON FUNCTION eda._matches(text, text) IS 'eda.topic_matches, for view eda.events';
