-- The event as handlers and readers see it.  Attribute numbers: src/event/event.h.
CREATE TYPE eda.event AS (
    id              bigint,
    topic           text,
    key             text,
    payload         jsonb,
    headers         jsonb,
    published_at    timestamptz,
    published_by    regrole,
    correlation_id  text,
    causation_id    bigint,
    hops            int,
    subscription    text,
    attempt         int,
    max_attempts    int,
    redelivered     boolean,
    lease_id        bigint
);
COMMENT ON TYPE eda.event IS 'an event, and this delivery of it: what a handler f(eda.event) receives';

CREATE TYPE eda.publish_result AS (
    total       bigint,
    published   bigint,
    invalid     bigint,
    first_id    bigint,
    last_id     bigint
);
COMMENT ON TYPE eda.publish_result IS 'what eda.publish_query did: rows read, events published, rows refused, first and last event id';
