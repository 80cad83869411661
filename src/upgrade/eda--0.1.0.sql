\echo Use "CREATE EXTENSION eda" to load this file. \quit

-- Nothing of eda's is for PUBLIC: src/sql/90_grants.sql revokes what functions have by default.

-- Fails where somebody made it before: nobody can plant objects that eda would use.
CREATE SCHEMA eda;
COMMENT ON SCHEMA eda IS 'events: publish, subscribe, deliver';
-- The event as handlers and readers see it.  Attribute numbers: src/eda_event.h.
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
-- The event log.  Written by C below the executor (src/eda_append.c), never updated.
-- Attribute numbers: src/eda_log.h.

-- Reserve of the id counter in shared memory: one value is EDA_ID_CHUNK ids (src/eda_id.c).
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

-- Which segments there are (src/eda_segment.c, which has the attribute numbers).  A table that is used
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
-- Subscriptions, their cursors, what failed.

-- Definition and state.  Read by C (src/eda_subscription.c, which has the attribute numbers).
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
    crashes         int NOT NULL DEFAULT 0          -- of the server, by its handler, since the last success
);
COMMENT ON TABLE eda.subscription IS 'subscriptions: definition and state';

-- One row a lane, updated once per batch by C (src/eda_cursor.c), heap-only where it can be:
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
-- Read by C, each for one question, through the index of that name (src/eda_queue.c).
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

-- What was being handled when the server crashed; empty but after a crash (src/eda_probation.c).
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
-- Which database this is: a copy has another oid (src/eda_copy.c).
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
-- JSON Schema: src/eda_schema.c, src/jsonschema.h.

-- What $ref finds by URI.  Read by C (src/eda_schemacache.c).
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
-- Topics that are defined: src/eda_contract.c.

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
-- Publishing: src/eda_publish.c, src/eda_event.c, src/eda_topic.c.  Nothing is for PUBLIC (90_grants.sql).

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
    topic           text,
    payloads        jsonb[],
    keys            text[] DEFAULT NULL,
    headers         jsonb[] DEFAULT NULL
) RETURNS bigint[]
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eda_publish_batch';
COMMENT ON FUNCTION eda.publish_batch(text, jsonb[], text[], jsonb[]) IS
'publish an event for each payload in this transaction; returns their ids';

CREATE FUNCTION eda.publish_query(
    topic                   text,
    query                   text,
    key_column              text DEFAULT NULL,
    idempotency_key_column  text DEFAULT NULL,
    on_invalid              text DEFAULT 'fail'
) RETURNS eda.publish_result
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eda_publish_query';
COMMENT ON FUNCTION eda.publish_query(text, text, text, text, text) IS
'run a query as the caller and publish each row; its columns are the payload''s fields, a jsonb column "payload" with no other but the key columns is the payload';

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
-- Delayed events: published, and not due yet.  Written by src/eda_delay.c.

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

CREATE VIEW eda.delayed AS
    SELECT event_id, topic, key, deliver_at FROM eda.delayed_event;
COMMENT ON VIEW eda.delayed IS 'events that are published and not due yet';
-- Subscribe and operate.  C: src/eda_subscribe.c, src/eda_position.c, src/eda_deadletter.c.
-- None is STRICT: NULL where a value is needed is an error.

-- Order and defaults: also src/eda_definition.[ch].
CREATE FUNCTION eda.subscribe(
    subscription    text,
    topics          text,
    handler         text DEFAULT NULL,
    filter          jsonpath DEFAULT NULL,
    schema          jsonb DEFAULT NULL,
    ordering        text DEFAULT 'key',
    concurrency     int DEFAULT 1,
    batch_size      int DEFAULT 100,
    rate_limit      numeric DEFAULT NULL,
    max_attempts    int DEFAULT 20,
    backoff         interval DEFAULT '1 second',
    max_backoff     interval DEFAULT '1 hour',
    reject_on       text[] DEFAULT NULL,
    block_after     int DEFAULT 100,
    timeout         interval DEFAULT '30 seconds',
    expire_after    interval DEFAULT NULL,
    priority        int DEFAULT 0,
    start           text DEFAULT 'latest',
    start_at        timestamptz DEFAULT NULL,
    owner           regrole DEFAULT NULL
) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_subscribe';
COMMENT ON FUNCTION eda.subscribe(text, text, text, jsonpath, jsonb, text, int, int, numeric, int, interval, interval,
                                  text[], int, interval, interval, int, text, timestamptz, regrole)
    IS 'call a function for each event on some topics; again: replace the definition, keep position and retries, and the owner unless one is given';

CREATE FUNCTION eda.alter_subscription(subscription text, settings jsonb) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_alter_subscription';
COMMENT ON FUNCTION eda.alter_subscription(text, jsonb)
    IS 'change some settings of a subscription, named as eda.subscribe names them; what is not named stays';

CREATE FUNCTION eda.subscription_def(subscription text) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_subscription_def';
COMMENT ON FUNCTION eda.subscription_def(text)
    IS 'the eda.subscribe statement that makes a subscription';

CREATE FUNCTION eda.unsubscribe(subscription text, force boolean DEFAULT false) RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_unsubscribe';
COMMENT ON FUNCTION eda.unsubscribe(text, boolean)
    IS 'remove a subscription and what waits in it; one with dead letters only with force; false when there is none';

CREATE FUNCTION eda.pause(subscription text) RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_pause';
COMMENT ON FUNCTION eda.pause(text)
    IS 'deliver nothing to a subscription until eda.resume; waits for the batch at hand; false when it is paused already';

CREATE FUNCTION eda.resume(subscription text) RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_resume';
COMMENT ON FUNCTION eda.resume(text)
    IS 'let a paused or blocked subscription go on; false when it is active already';

-- An untyped literal is text: that form has an error which says so.
CREATE FUNCTION eda.seek(subscription text, target text) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_seek_word';
COMMENT ON FUNCTION eda.seek(text, text)
    IS 'move a subscription''s position to ''earliest'', all that the log has, or ''latest'', what is published from now on; returns events skipped (+) or rewound (-); what waits for a retry stays, unless it comes again from the log';

CREATE FUNCTION eda.seek(subscription text, target timestamptz) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_seek_time';
COMMENT ON FUNCTION eda.seek(text, timestamptz)
    IS 'move a subscription''s position before the events that were due then or later, and what commits from now on; returns events skipped (+) or rewound (-); what waits for a retry stays, unless it comes again from the log';

CREATE FUNCTION eda.seek(subscription text, target bigint) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_seek_id';
COMMENT ON FUNCTION eda.seek(text, bigint)
    IS 'move a subscription''s position before the events with this id or a higher one, and what commits from now on; returns events skipped (+) or rewound (-); what waits for a retry stays, unless it comes again from the log';

CREATE FUNCTION eda.replay(subscription text, since timestamptz, until timestamptz DEFAULT now(), topics text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_replay';
COMMENT ON FUNCTION eda.replay(text, timestamptz, timestamptz, text)
    IS 'deliver what was published in this time once more, in the order of the ids, behind what waits already; not what is still to come, waits or is a dead letter; returns how many';

CREATE FUNCTION eda.redrive(subscription text, event_ids bigint[]) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_redrive';
COMMENT ON FUNCTION eda.redrive(text, bigint[])
    IS 'put dead letters back to be tried again, in the order of their ids; returns how many';

CREATE FUNCTION eda.redrive_all(subscription text, error_code text DEFAULT NULL, max_events bigint DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_redrive_all';
COMMENT ON FUNCTION eda.redrive_all(text, text, bigint)
    IS 'put all dead letters back to be tried again, or those with an error code, oldest first up to a number; returns how many';

CREATE FUNCTION eda.discard(subscription text, event_ids bigint[]) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_discard';
COMMENT ON FUNCTION eda.discard(text, bigint[])
    IS 'delete dead letters for good; returns how many';

CREATE FUNCTION eda.discard_all(subscription text) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_discard_all';
COMMENT ON FUNCTION eda.discard_all(text)
    IS 'delete all dead letters of a subscription for good; returns how many';

CREATE FUNCTION eda.skip(subscription text, event_id bigint) RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'eda_skip';
COMMENT ON FUNCTION eda.skip(text, bigint)
    IS 'make a retrying event a dead letter, so that those behind it go on; false when it does not wait';
-- What a handler says about its event; waiting for delivery, and doing it here and now.

CREATE FUNCTION eda.reject(reason text)
RETURNS void LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eda_reject';
COMMENT ON FUNCTION eda.reject(text) IS
'in a handler: give up on this event, it becomes a dead letter with reason rejected; raises, so what the handler did is undone';

CREATE FUNCTION eda.retry_after(delay interval)
RETURNS void LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eda_retry_after';
COMMENT ON FUNCTION eda.retry_after(interval) IS
'in a handler: fail now and try again after the delay; counts as an attempt; raises, so what the handler did is undone';

CREATE FUNCTION eda.snooze(delay interval)
RETURNS void LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eda_snooze';
COMMENT ON FUNCTION eda.snooze(interval) IS
'in a handler: put this event off by the delay without counting an attempt; raises, so what the handler did is undone';

CREATE PROCEDURE eda.wait(subscription text DEFAULT NULL, timeout interval DEFAULT '30 seconds',
                          cascade boolean DEFAULT true)
LANGUAGE c AS 'MODULE_PATHNAME', 'eda_wait';
COMMENT ON PROCEDURE eda.wait(text, interval, boolean) IS
'returns when all that was committed before the call, and with cascade what its handlers published, is handled, dead or waiting for a later retry; of a subscription that is named, as far as that one is concerned';

CREATE FUNCTION eda.run_pending(subscription text DEFAULT NULL)
RETURNS bigint LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eda_run_pending';
COMMENT ON FUNCTION eda.run_pending(text) IS
'for tests: handles pending events now, in this transaction, its own included, and returns how many; the transaction can only be rolled back';
-- Jobs: queries that pg_cron runs and whose rows are published (src/eda_job.c).

CREATE TABLE eda.job (
    job_id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL UNIQUE,
    schedule        text NOT NULL,
    query           text NOT NULL,
    topic           text NOT NULL,
    key_column      text,
    idempotency_key_column text,
    on_invalid      text NOT NULL,
    owner           oid NOT NULL,       -- whom it runs as
    search_path     text NOT NULL DEFAULT '',   -- where it looks names up
    cron_jobid      bigint,             -- pg_cron's, in its database
    created_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE eda.job IS 'jobs: what to query, when, and where the rows go';

-- No reference to eda.job: a job's history outlives it.  A run deletes the job's
-- runs of more than 30 days ago, but for the last 100.
CREATE TABLE eda.job_run (
    run_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id          int NOT NULL,
    job             text NOT NULL,
    owner           oid NOT NULL,
    started_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    finished_at     timestamptz,
    outcome         text NOT NULL
        CHECK (outcome IN ('running', 'published', 'no_records', 'skipped', 'error')),
    message         text,
    total           bigint,
    published       bigint,
    invalid         bigint,
    first_id        bigint,
    last_id         bigint,
    error_code      text,
    error_detail    text
);
CREATE INDEX job_run_job_id ON eda.job_run (job_id, run_id);
CREATE INDEX job_run_running ON eda.job_run (job_id) WHERE outcome = 'running';
CREATE INDEX job_run_started_at ON eda.job_run (started_at);
COMMENT ON TABLE eda.job_run IS 'what each run of each job came to';

-- Rows that a run refused, on_invalid being skip: the first 1,000.  They go with the run.
CREATE TABLE eda.job_refusal (
    run_id          bigint NOT NULL REFERENCES eda.job_run ON DELETE CASCADE,
    row             bigint NOT NULL,        -- of the query's result, counted from 1
    payload         jsonb,                  -- NULL: there was none, or it is too large
    violations      text NOT NULL,          -- or another reason
    PRIMARY KEY (run_id, row)
);
COMMENT ON TABLE eda.job_refusal IS 'rows that runs of jobs refused, and why';

CREATE FUNCTION eda.schedule(job text, schedule text, query text, topic text,
                             key_column text DEFAULT NULL,
                             idempotency_key_column text DEFAULT NULL,
                             on_invalid text DEFAULT 'fail')
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eda_schedule';
COMMENT ON FUNCTION eda.schedule(text, text, text, text, text, text, text) IS
'have pg_cron run a query at these times and publish each row on a topic; again: replaces; returns pg_cron''s job id';

CREATE FUNCTION eda.unschedule(job text)
RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'eda_unschedule';
COMMENT ON FUNCTION eda.unschedule(text) IS
'forget a job, here and in pg_cron; false if there is none; its runs stay in eda.job_runs';

CREATE PROCEDURE eda.run_job(job text)
LANGUAGE C
AS 'MODULE_PATHNAME', 'eda_run_job';
COMMENT ON PROCEDURE eda.run_job(text) IS
'run a job now, as its owner: what pg_cron does; not inside a transaction block';

-- Who may run a job sees it, and so does monitoring.
CREATE VIEW eda.jobs WITH (security_barrier) AS
SELECT j.name AS job, j.schedule, j.query, j.topic, j.key_column, j.idempotency_key_column,
       j.on_invalid, j.owner::pg_catalog.regrole AS owner, j.search_path, j.cron_jobid, j.created_at,
       r.started_at AS last_started_at, r.outcome AS last_outcome
  FROM eda.job j
  LEFT JOIN LATERAL (SELECT jr.started_at, jr.outcome FROM eda.job_run jr
                      WHERE jr.job_id OPERATOR(pg_catalog.=) j.job_id
                      ORDER BY jr.run_id DESC LIMIT 1) r ON true
 WHERE pg_catalog.pg_has_role(j.owner, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW eda.jobs IS 'the jobs that you may run';

CREATE VIEW eda.job_runs WITH (security_barrier) AS
SELECT r.run_id, r.job, r.started_at, r.finished_at, r.outcome, r.message, r.total,
       r.published, r.invalid, r.first_id, r.last_id, r.error_code, r.error_detail
  FROM eda.job_run r
 WHERE pg_catalog.pg_has_role(r.owner, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW eda.job_runs IS 'what the runs of the jobs came to that you may run';

-- They show payloads: not for monitoring.
CREATE VIEW eda.job_refusals WITH (security_barrier) AS
SELECT f.run_id, r.job, r.started_at, f.row, f.payload, f.violations
  FROM eda.job_refusal f
  JOIN eda.job_run r ON r.run_id OPERATOR(pg_catalog.=) f.run_id
 WHERE pg_catalog.pg_has_role(r.owner, 'USAGE');
COMMENT ON VIEW eda.job_refusals IS 'rows that runs of your jobs refused, and why';
-- What can be looked at.  C: src/eda_stats.c.
-- The functions whose names begin with _ are parts of the views; whoever may read a view must
-- be able to execute them, and without USAGE on schema eda nobody can name them otherwise.

CREATE FUNCTION eda._preloaded() RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eda_preloaded';
COMMENT ON FUNCTION eda._preloaded() IS 'did the server preload the library, without which nothing is delivered?';

CREATE FUNCTION eda._workers(
    OUT kind text, OUT pid int, OUT database oid, OUT role oid, OUT subscription_id int,
    OUT state text, OUT in_flight int, OUT since timestamptz, OUT lane int
) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'eda_workers';
COMMENT ON FUNCTION eda._workers() IS 'worker processes of the whole server; none when the library is not preloaded';

CREATE FUNCTION eda._backlog(subscription_id int, OUT backlog bigint, OUT oldest timestamptz)
    LANGUAGE c VOLATILE COST 10000 AS 'MODULE_PATHNAME', 'eda_backlog';
COMMENT ON FUNCTION eda._backlog(int) IS 'about how many events a subscription has not got to, and when the oldest was published';

CREATE FUNCTION eda._segments(
    OUT segment int, OUT first_id bigint, OUT last_id bigint, OUT size bigint, OUT oldest timestamptz,
    OUT pinned_by text[]
) RETURNS SETOF record
    LANGUAGE c VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'eda_segments';
COMMENT ON FUNCTION eda._segments() IS 'segments of the event log';

CREATE FUNCTION eda.trace(event_id bigint)
    RETURNS TABLE (subscription text, state text, attempt int, at timestamptz, error_message text)
    LANGUAGE c VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'eda_trace';
COMMENT ON FUNCTION eda.trace(bigint)
    IS 'where an event stands, per subscription that the caller may operate (all for pg_monitor): delayed (at: when it is due), pending, handled (filtered out too), retrying (at: the next attempt) or dead (at: when it died)';

CREATE VIEW eda.events AS
    SELECT id, topic, key, payload, headers, published_at, published_by::regrole AS published_by,
           coalesce(correlation_id, id::text) AS correlation_id, causation_id,
           coalesce(hops, 0)::int AS hops
      FROM eda.log l
     WHERE EXISTS (SELECT FROM eda.segment s WHERE s.relation = l.tableoid AND s.state IN ('o', 'c', 's'));
COMMENT ON VIEW eda.events IS 'events in the log, payloads included';

CREATE VIEW eda.subscriptions AS
    SELECT s.name AS subscription,
           s.topics,
           format('%I.%I(%s)', s.handler_schema, s.handler_name,
                  CASE s.handler_kind WHEN 'e' THEN 'eda.event' WHEN 'j' THEN 'jsonb'
                                      WHEN 't' THEN 'text, jsonb' WHEN 'b' THEN 'eda.event[]' END) AS handler,
           s.filter, s.schema, s.ordering, s.concurrency, s.batch_size, s.rate_limit, s.max_attempts,
           s.backoff, s.max_backoff, s.reject_on, s.block_after, s.timeout, s.expire_after, s.priority,
           s.owner::regrole AS owner,
           s.state,
           CASE WHEN eda._preloaded() THEN s.blocked_reason ELSE 'library not preloaded' END AS blocked_reason,
           CASE WHEN eda._preloaded() THEN s.blocked_detail
                ELSE 'add eda to shared_preload_libraries and restart the server' END AS blocked_detail,
           b.backlog,
           clock_timestamp() - b.oldest AS oldest_age,
           coalesce(w.in_flight, 0) AS in_flight,
           c.handled, c.filtered, c.failed,
           (SELECT count(*) FROM eda.retry r WHERE r.subscription_id = s.subscription_id) AS retrying,
           (SELECT count(*) FROM eda.dead_letter d WHERE d.subscription_id = s.subscription_id) AS dead,
           c.last_handled_at,
           s.last_error,
           s.lanes
      FROM eda.subscription s
      LEFT JOIN (SELECT subscription_id, sum(handled)::bigint AS handled, sum(filtered)::bigint AS filtered,
                        sum(failed)::bigint AS failed, max(last_handled_at) AS last_handled_at
                   FROM eda.cursor GROUP BY subscription_id) c USING (subscription_id)
      LEFT JOIN (SELECT x.subscription_id, sum(x.in_flight)::int AS in_flight
                   FROM eda._workers() x JOIN pg_database d ON d.oid = x.database
                  WHERE d.datname = current_database()
                  GROUP BY x.subscription_id) w USING (subscription_id)
     CROSS JOIN LATERAL eda._backlog(s.subscription_id) b;
COMMENT ON VIEW eda.subscriptions
    IS 'subscriptions: definition, state, and an estimate of what they have before them';

CREATE VIEW eda.retries AS
    SELECT s.name AS subscription, r.event_id, r.topic, r.key, r.attempt, r.next_attempt_at,
           r.error_code, r.error_message
      FROM eda.retry r JOIN eda.subscription s USING (subscription_id);
COMMENT ON VIEW eda.retries
    IS 'events that wait for another attempt; without next_attempt_at they wait behind another one';

CREATE VIEW eda.dead_letters AS
    SELECT s.name AS subscription, d.event_id, d.topic, d.key, d.payload, d.headers,
           coalesce(d.correlation_id, d.event_id::text) AS correlation_id, d.published_at, d.reason,
           d.attempts, d.attempt_history, d.error_code, d.error_message, d.error_detail, d.error_context,
           d.died_at
      FROM eda.dead_letter d JOIN eda.subscription s USING (subscription_id);
COMMENT ON VIEW eda.dead_letters IS 'events that a subscription gave up on, payloads included';

CREATE VIEW eda.segments AS
    SELECT segment, first_id, last_id, size, oldest, pinned_by FROM eda._segments();
COMMENT ON VIEW eda.segments
    IS 'segments of the event log (ids and time from both ends, about right); pinned_by: subscriptions that may still need it; NULL: none, or it is the current one';

CREATE VIEW eda.workers AS
    SELECT w.kind, w.pid, d.datname AS database, w.role::regrole AS role, s.name AS subscription,
           w.state, w.in_flight, w.since, w.lane
      FROM eda._workers() w
      LEFT JOIN pg_database d ON d.oid = w.database
      LEFT JOIN eda.subscription s ON s.subscription_id = w.subscription_id AND d.datname = current_database();
COMMENT ON VIEW eda.workers
    IS 'worker processes of the whole server; subscriptions are named for this database only';
-- Have a dispatcher started for this database once CREATE EXTENSION is committed.
CREATE FUNCTION eda._announce() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'eda_announce';
COMMENT ON FUNCTION eda._announce() IS 'internal: asks for this database''s dispatcher at commit';

SELECT eda._announce();
-- Tables and sequences are their owner's alone, whatever its default privileges say: who may write to one, or
-- put a trigger there, could do as the owner does.
DO $$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT DISTINCT format('REVOKE ALL ON TABLE %s FROM %s CASCADE', c.oid::regclass,
                               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relnamespace = 'eda'::regnamespace AND c.relkind IN ('r', 'S') AND a.grantee <> c.relowner
    LOOP
        EXECUTE command;
    END LOOP;
END $$;

-- Last: nothing of eda's is for PUBLIC.  Tables and the schema are nobody's by default,
-- functions and procedures are everybody's, until here.
REVOKE ALL ON ALL ROUTINES IN SCHEMA eda FROM PUBLIC;

-- Monitoring reads what shows no payload.  A view's functions are called with its reader's rights.
GRANT USAGE ON SCHEMA eda TO pg_monitor;
GRANT SELECT ON eda.topics, eda.schemas, eda.subscriptions, eda.retries, eda.delayed, eda.segments, eda.workers, eda.jobs, eda.job_runs TO pg_monitor;
GRANT EXECUTE ON FUNCTION eda._preloaded(), eda._workers(), eda._backlog(int), eda._segments() TO pg_monitor;
