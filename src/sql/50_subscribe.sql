-- Subscribe and operate.  C: src/operate/subscribe.c, src/operate/seek.c, src/operate/dead_letters.c.
-- None is STRICT: NULL where a value is needed is an error.

-- Order and defaults: also src/subscription/definition.[ch].
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
