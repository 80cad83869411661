-- The event log.  Written by C below the executor (src/log/append.c), never updated.
-- Attribute numbers: src/log/log.h.

-- Reserve of the id counter in shared memory: one value is EDA_ID_CHUNK ids (src/log/id.c).
CREATE SEQUENCE eda.event_id_seq AS bigint INCREMENT BY 1024 MINVALUE 1 START WITH 1 NO CYCLE;

-- Columns that are always there come first, those of fixed width before the others: a row is taken
-- apart faster, at each delivery.  Nothing that is indexed is null: an index entry's columns have fixed places
-- then, and it is smaller.
CREATE TABLE eda.log (
    id              bigint NOT NULL,
    xid             xid8 NOT NULL,
    published_at    timestamptz NOT NULL,
    published_by    oid NOT NULL,
    topic_hash      int NOT NULL,
    key_hash        smallint NOT NULL,          -- 0: no key
    topic           text NOT NULL,
    payload         jsonb NOT NULL,
    key             text,
    deliver_at      timestamptz,        -- of a delayed event: when it was due
    causation_id    bigint,
    hops            smallint,                   -- null: 0
    correlation_id  text,
    headers         jsonb
);
COMMENT ON TABLE eda.log IS 'the event log; its rows are in the segments, its children';

-- Which segments there are (src/log/segment.c, which has the attribute numbers).  A table that is used
-- again gets a new number.
CREATE TABLE eda.segment (
    segment         int NOT NULL PRIMARY KEY,
    slot            smallint NOT NULL,          -- of the table, 1 to 64
    relation        oid NOT NULL,
    state           "char" NOT NULL DEFAULT 'o',    -- o: open, c: closed, s: sealed, r: retired, f: free
    opened_at       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    closed_at       timestamptz,
    sealed_at       timestamptz,
    max_xid         xid8,                       -- of a sealed one's entries; 0: it has none
    retired_xid     xid8
);
COMMENT ON TABLE eda.segment IS 'the segments of the event log';

CREATE TABLE eda.log_1 () INHERITS (eda.log) USING heap;
CREATE INDEX log_1_xid_id ON eda.log_1 (xid, id) INCLUDE (topic_hash, key_hash);
INSERT INTO eda.segment (segment, slot, relation) VALUES (1, 1, 'eda.log_1'::pg_catalog.regclass);

CREATE FUNCTION eda.rotate_log() RETURNS int
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eda_rotate_log';
COMMENT ON FUNCTION eda.rotate_log() IS
'close the current segment of the event log now, unless it is empty, and remove what nobody needs any more; returns the number of the current one';

-- First event of an idempotency key on a topic, for eda.idempotency_window.
CREATE TABLE eda.idempotency (
    topic           text NOT NULL,
    idempotency_key text NOT NULL,
    event_id        bigint,
    payload_hash    bytea NOT NULL,
    published_at    timestamptz NOT NULL,
    PRIMARY KEY (topic, idempotency_key)
) WITH (fillfactor = 50);               -- the event's id comes with a second, heap-only update
CREATE INDEX idempotency_published_at ON eda.idempotency (published_at);
COMMENT ON TABLE eda.idempotency IS 'idempotency keys within their window, with the event that each one published';
