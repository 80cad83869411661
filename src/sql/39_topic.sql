-- Topics that are defined: src/contract/contract.c.

CREATE TABLE eda.topic (
    topic           text NOT NULL PRIMARY KEY,
    schema          jsonb,
    description     text,
    sensitive       text[],             -- names of payload fields whose values messages do not show
    owner           oid NOT NULL,
    defined_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE eda.topic IS 'topics that are defined; others need no definition';

CREATE FUNCTION eda.define_topic(
    topic           text,
    schema          jsonb DEFAULT NULL,
    description     text DEFAULT NULL,
    sensitive       text[] DEFAULT NULL
) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eda_define_topic';
COMMENT ON FUNCTION eda.define_topic(text, jsonb, text, text[]) IS
'define a topic, or replace its definition; with a schema, events that break it are refused when they are published';

CREATE FUNCTION eda.drop_topic(topic text) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eda_drop_topic';
COMMENT ON FUNCTION eda.drop_topic(text) IS
'forget a topic''s definition, not its events; false if there is none';

CREATE VIEW eda.topics AS
    SELECT topic, schema, description, sensitive, owner::pg_catalog.regrole AS owner, defined_at FROM eda.topic;
COMMENT ON VIEW eda.topics IS 'topics that are defined';
