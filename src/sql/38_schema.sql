-- JSON Schema: src/contract/registry.c, src/jsonschema/jsonschema.h.

-- What $ref finds by URI.  Read by C (src/contract/schema_cache.c).
CREATE TABLE eda.shared_schema (
    uri             text NOT NULL PRIMARY KEY,      -- normalized, without a fragment
    schema          jsonb NOT NULL,
    owner           oid NOT NULL,
    defined_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE eda.shared_schema IS 'schemas that other schemas refer to';

CREATE FUNCTION eda.validate(
    schema          jsonb,
    instance        jsonb,
    formats         boolean DEFAULT NULL
) RETURNS TABLE (instance_path text, schema_path text, keyword text, message text)
LANGUAGE C STABLE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'eda_validate';
COMMENT ON FUNCTION eda.validate(jsonb, jsonb, boolean) IS
'every violation of a JSON Schema, paths as JSON Pointers; no row: it is valid; formats: are they asserted (NULL: as the draft says)';

CREATE FUNCTION eda.is_valid(
    schema          jsonb,
    instance        jsonb,
    formats         boolean DEFAULT NULL
) RETURNS boolean
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_is_valid';
COMMENT ON FUNCTION eda.is_valid(jsonb, jsonb, boolean) IS
'does a value conform to a JSON Schema, which refers to nothing registered? For CHECK constraints; NULL if the value is';

CREATE FUNCTION eda.check_schema(schema jsonb) RETURNS void
LANGUAGE C STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eda_check_schema';
COMMENT ON FUNCTION eda.check_schema(jsonb) IS
'an error that says where, if it is no valid JSON Schema';

CREATE FUNCTION eda.define_schema(uri text, schema jsonb) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eda_define_schema';
COMMENT ON FUNCTION eda.define_schema(text, jsonb) IS
'register a schema for $ref, or replace it where all that uses it stays valid';

CREATE FUNCTION eda.drop_schema(uri text) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eda_drop_schema';
COMMENT ON FUNCTION eda.drop_schema(text) IS
'forget a registered schema that nothing uses; false if there is none';

CREATE VIEW eda.schemas AS
    SELECT uri, schema, owner::pg_catalog.regrole AS owner, defined_at FROM eda.shared_schema;
COMMENT ON VIEW eda.schemas IS 'registered schemas';
