-- Publishing: src/publish/publish.c, src/event/event.c, src/event/topic.c.  Nothing is for PUBLIC (90_grants.sql).

CREATE FUNCTION eda.publish(
    topic           text,
    payload         jsonb DEFAULT '{}',
    key             text DEFAULT NULL,
    headers         jsonb DEFAULT NULL,
    deliver_at      timestamptz DEFAULT NULL,
    idempotency_key text DEFAULT NULL,
    correlation_id  text DEFAULT NULL,
    causation_id    bigint DEFAULT NULL
) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eda_publish';
COMMENT ON FUNCTION eda.publish(text, jsonb, text, jsonb, timestamptz, text, text, bigint) IS
'publish an event in this transaction, to be delivered at once or when deliver_at has come; returns its id';

CREATE FUNCTION eda.publish_batch(
    topic               text,
    payloads            jsonb[],
    keys                text[] DEFAULT NULL,
    headers             jsonb[] DEFAULT NULL,
    idempotency_keys    text[] DEFAULT NULL,
    deliver_at          timestamptz[] DEFAULT NULL,
    topics              text[] DEFAULT NULL
) RETURNS bigint[]
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eda_publish_events';
COMMENT ON FUNCTION eda.publish_batch(text, jsonb[], text[], jsonb[], text[], timestamptz[], text[]) IS
'publish an event for each payload in this transaction, all on one topic or, with topic null, each on its own; returns their ids, of one whose idempotency key was used before the first event''s';

CREATE FUNCTION eda.publish_query(
    topic                   text,
    query                   text,
    key_column              text DEFAULT NULL,
    idempotency_key_column  text DEFAULT NULL,
    on_invalid              text DEFAULT 'fail',
    headers_column          text DEFAULT NULL,
    topic_column            text DEFAULT NULL
) RETURNS eda.publish_result
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eda_publish_rows';
COMMENT ON FUNCTION eda.publish_query(text, text, text, text, text, text, text) IS
'run a query as the caller and publish each row; its columns are the payload''s fields, but for those with headers and topic; a jsonb column "payload" with no other but such and the key columns is the payload';

CREATE FUNCTION eda.current_event() RETURNS eda.event
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'eda_current_event';
COMMENT ON FUNCTION eda.current_event() IS
'in a handler: the event being handled; NULL elsewhere';

CREATE FUNCTION eda.make_event(
    topic           text,
    payload         jsonb DEFAULT '{}',
    key             text DEFAULT NULL,
    headers         jsonb DEFAULT NULL
) RETURNS eda.event
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_make_event';
COMMENT ON FUNCTION eda.make_event(text, jsonb, text, jsonb) IS
'an event to call a handler with in a test: id 0, published now by the current user, first attempt';

CREATE FUNCTION eda.topic_matches(topics text, topic text) RETURNS boolean
LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_topic_matches';
COMMENT ON FUNCTION eda.topic_matches(text, text) IS
'would a subscription to these topic patterns receive an event on this topic?';
