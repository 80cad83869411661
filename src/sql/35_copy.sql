-- Which database this is: a copy has another oid (src/subscription/copy.c).
CREATE TABLE eda.origin (
    database        oid NOT NULL PRIMARY KEY    -- a key: a publication of all tables must not forbid its update
);
INSERT INTO eda.origin SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database();
COMMENT ON TABLE eda.origin IS 'the database that this is: another oid tells a copy';

CREATE FUNCTION eda.adopt()
RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eda_adopt';
COMMENT ON FUNCTION eda.adopt() IS
'in a copy of a database: lets the subscriptions go on that were blocked because of that; returns how many';
