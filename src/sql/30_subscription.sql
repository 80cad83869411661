-- Subscriptions, their cursors, what failed.

-- Definition and state.  Read by C (src/subscription/subscription.c, which has the attribute numbers).
CREATE TABLE eda.subscription (
    subscription_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL UNIQUE,
    owner           oid NOT NULL,
    topics          text NOT NULL,
    handler_schema  text,
    handler_name    text,
    handler_kind    "char",             -- e: (eda.event), j: (jsonb), t: (text, jsonb), b: (eda.event[])
    handler_oid     oid,                -- a hint; plain, so that pg_upgrade accepts the cluster
    handler_owner   oid,
    filter          jsonpath,
    schema          jsonb,
    ordering        text NOT NULL,
    concurrency     int NOT NULL,
    batch_size      int NOT NULL,
    rate_limit      numeric,
    max_attempts    int NOT NULL,
    backoff         interval NOT NULL,
    max_backoff     interval NOT NULL,
    reject_on       text[],
    block_after     int NOT NULL,
    timeout         interval NOT NULL,
    expire_after    interval,
    priority        int NOT NULL,
    start_at        timestamptz,        -- events published before it are skipped
    start_xid       xid8,               -- the subscribing transaction: of its own events
    start_id        bigint,             --   those below start_id came before the call
    state           text NOT NULL DEFAULT 'active',
    blocked_reason  text,
    blocked_detail  text,
    blocked_at      timestamptz,
    probe_at        timestamptz,
    probes          int NOT NULL DEFAULT 0,
    last_error      text,
    created_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    start_snapshot  bytea,              -- what it saw at its start and will not get; NULL: nothing
    start_bound     bytea,              -- start_at is about the events that this snapshot sees; NULL: all
    lanes           smallint NOT NULL DEFAULT 1,    -- lanes that its cursor has; concurrency is what is wanted
    fence           bytea,              -- where the lanes meet before their number changes: a window's end,
    fence_pos       bigint,             --   and the position in that window
    crashes         int NOT NULL DEFAULT 0,         -- of the server, by its handler, since the last success
    paused_at       timestamptz,
    last_error_at   timestamptz,
    last_error_code text,               -- NULL: last_error is eda's own word
    last_error_where text               -- function and line, without values (src/base/condition.c)
);
COMMENT ON TABLE eda.subscription IS 'subscriptions: definition and state';

-- One row a lane, updated once per batch by C (src/subscription/cursor.c), heap-only where it can be:
-- so nothing that changes is indexed, nothing is toasted, and the index is not unique.  Without a
-- replica identity no SQL updates or deletes it where a publication has all tables; C does.
CREATE TABLE eda.cursor (
    subscription_id int NOT NULL,
    lane            smallint NOT NULL,
    streak          int NOT NULL,       -- failures since the last success
    pos_id          bigint NOT NULL,    -- last id done in the window; the maximum: the window is done
    handled         bigint NOT NULL,
    filtered        bigint NOT NULL,
    failed          bigint NOT NULL,
    last_handled_at timestamptz,
    failing_since   timestamptz,        -- first failure of the streak
    from_snapshot   bytea NOT NULL,
    to_snapshot     bytea NOT NULL
) WITH (fillfactor = 50);
ALTER TABLE eda.cursor ALTER COLUMN from_snapshot SET STORAGE PLAIN, ALTER COLUMN to_snapshot SET STORAGE PLAIN;
CREATE INDEX cursor_idx ON eda.cursor (subscription_id, lane);
COMMENT ON TABLE eda.cursor IS 'per lane: the window of snapshots it is in, and how far it is';

-- Events that failed and will be tried again, and those that wait behind one of them
-- (next_attempt_at is NULL: parked).  A full copy: it outlives its segment.
CREATE TABLE eda.retry (
    subscription_id int NOT NULL,
    lane            smallint NOT NULL,
    event_id        bigint NOT NULL,
    seq             bigint GENERATED ALWAYS AS IDENTITY,    -- order in which they came
    topic           text NOT NULL,
    key             text,
    payload         jsonb NOT NULL,
    headers         jsonb,
    published_at    timestamptz NOT NULL,
    published_by    oid NOT NULL,
    correlation_id  text,
    causation_id    bigint,
    hops            int NOT NULL,
    deliver_at      timestamptz,
    attempt         int NOT NULL,                           -- attempts that counted so far
    deliveries      int NOT NULL DEFAULT 0,                 -- all attempts, snoozed ones too
    next_attempt_at timestamptz,
    attempt_history timestamptz[] NOT NULL DEFAULT '{}',
    error_code      text,
    error_message   text,
    error_detail    text,
    error_context   text,
    reason          text,                                   -- kind of the last failure
    PRIMARY KEY (subscription_id, event_id)
);
-- Read by C, each for one question, through the index of that name (src/deliver/waiting.c).
CREATE INDEX retry_key ON eda.retry (subscription_id, lane, key COLLATE "C", seq);
CREATE INDEX retry_order ON eda.retry (subscription_id, lane, seq);
CREATE INDEX retry_due ON eda.retry (subscription_id, lane, next_attempt_at, seq) WHERE next_attempt_at IS NOT NULL;
COMMENT ON TABLE eda.retry IS 'events waiting for another attempt, and those waiting behind them';

CREATE TABLE eda.dead_letter (
    subscription_id int NOT NULL,
    lane            smallint NOT NULL,
    event_id        bigint NOT NULL,
    topic           text NOT NULL,
    key             text,
    payload         jsonb NOT NULL,
    headers         jsonb,
    published_at    timestamptz NOT NULL,
    published_by    oid NOT NULL,
    correlation_id  text,
    causation_id    bigint,
    hops            int NOT NULL,
    reason          text NOT NULL,
    attempts        int NOT NULL,
    attempt_history timestamptz[] NOT NULL,
    error_code      text,
    error_message   text,
    error_detail    text,
    error_context   text,
    died_at         timestamptz NOT NULL,
    deliver_at      timestamptz,
    PRIMARY KEY (subscription_id, event_id)
);
COMMENT ON TABLE eda.dead_letter IS 'events that a subscription gave up on';

-- Events that were handled, but not at their first delivery; kept as long as events are (eda.retention).
CREATE TABLE eda.recovery (
    subscription_id int NOT NULL,
    event_id        bigint NOT NULL,
    attempt         int NOT NULL,
    handled_at      timestamptz NOT NULL,
    PRIMARY KEY (subscription_id, event_id)
);
CREATE INDEX recovery_handled_at ON eda.recovery (handled_at);
COMMENT ON TABLE eda.recovery IS 'events that were handled after they had failed or been put off: when, and at which attempt';

-- What was being handled when the server crashed; empty but after a crash (src/deliver/probation.c).
CREATE TABLE eda.suspect (
    subscription_id int NOT NULL,
    lane            smallint NOT NULL,
    event_id        bigint NOT NULL,    -- 0: it is not known which event of the lane's batch
    until_id        bigint NOT NULL,    -- the last event of that batch
    crashes         int NOT NULL,
    crash_id        bigint NOT NULL,    -- the crash counted last
    last_at         timestamptz NOT NULL,
    xid             xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),  -- written by
    PRIMARY KEY (subscription_id, event_id, lane)
);
COMMENT ON TABLE eda.suspect IS 'events that may have crashed the server, until they are handled or dead';

CREATE FUNCTION eda._lane(key text, event_id bigint, lanes int)
RETURNS smallint LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'eda_lane';
COMMENT ON FUNCTION eda._lane(text, bigint, int) IS
'the lane of an event where a subscription has that many';
