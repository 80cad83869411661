-- Delayed events: published, and not due yet.  Written by src/publish/delay.c.

-- A whole event, until it is due; then the dispatcher moves it into the log.
CREATE TABLE eda.delayed_event (
    event_id        bigint NOT NULL PRIMARY KEY,
    xid             xid8 NOT NULL,      -- the publisher's top-level transaction
    deliver_at      timestamptz NOT NULL,
    topic           text NOT NULL,
    key             text,
    payload         jsonb NOT NULL,
    headers         jsonb,
    published_at    timestamptz NOT NULL,
    published_by    oid NOT NULL,
    correlation_id  text,
    causation_id    bigint,
    hops            int NOT NULL,
    idempotency_key text                -- eda.cancel forgets it
);
CREATE INDEX delayed_event_due ON eda.delayed_event (deliver_at, event_id);
COMMENT ON TABLE eda.delayed_event IS 'events that are published and not due yet';

CREATE FUNCTION eda.cancel(event_id bigint) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eda_cancel';
COMMENT ON FUNCTION eda.cancel(bigint) IS
'take back a delayed event that is not due yet, of one''s own or as the extension''s owner, and forget its idempotency key; false when there is none';

CREATE VIEW eda.delayed WITH (security_barrier) AS
    SELECT event_id, topic, key, deliver_at FROM eda.delayed_event WHERE eda._may_see(published_by);
COMMENT ON VIEW eda.delayed IS 'events of yours that are published and not due yet';
