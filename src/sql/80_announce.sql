-- Have a dispatcher started for this database once CREATE EXTENSION is committed.
CREATE FUNCTION eda._announce() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'eda_announce';
COMMENT ON FUNCTION eda._announce() IS 'internal: asks for this database''s dispatcher at commit';

SELECT eda._announce();
