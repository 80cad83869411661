-- What every column is, in the catalogs, for psql's \d+ and whatever reads them.  The objects themselves have
-- their comments where they are made, and so have columns that came later than 0.1.0.

COMMENT ON COLUMN eda.event.id IS 'its number; events are handled in the order of these';
COMMENT ON COLUMN eda.event.topic IS 'what it is about: dotted words';
COMMENT ON COLUMN eda.event.key IS 'events of one key are handled in order; NULL: none';
COMMENT ON COLUMN eda.event.payload IS 'what it says';
COMMENT ON COLUMN eda.event.headers IS 'what is said about it: a JSON object; NULL: none';
COMMENT ON COLUMN eda.event.published_at IS 'when it was published';
COMMENT ON COLUMN eda.event.published_by IS 'the role that published it';
COMMENT ON COLUMN eda.event.correlation_id IS 'what its chain of events is about: its first event''s id, unless one was given';
COMMENT ON COLUMN eda.event.causation_id IS 'the event whose handler published it; NULL: none';
COMMENT ON COLUMN eda.event.hops IS 'how many handlers of events have led to it';
COMMENT ON COLUMN eda.event.subscription IS 'the subscription that it is delivered to; NULL: it is not being delivered';
COMMENT ON COLUMN eda.event.attempt IS 'the how manieth attempt this delivery is, from 1';
COMMENT ON COLUMN eda.event.max_attempts IS 'after how many it is a dead letter';
COMMENT ON COLUMN eda.event.redelivered IS 'was it delivered before, be it that that did not count as an attempt?';
COMMENT ON COLUMN eda.event.lease_id IS 'of an event that was received by a client: its lease';

COMMENT ON COLUMN eda.publish_result.total IS 'rows that the query returned';
COMMENT ON COLUMN eda.publish_result.published IS 'events that were published';
COMMENT ON COLUMN eda.publish_result.invalid IS 'rows that were refused';
COMMENT ON COLUMN eda.publish_result.first_id IS 'id of the first event; NULL: none';
COMMENT ON COLUMN eda.publish_result.last_id IS 'id of the last one';

COMMENT ON COLUMN eda.cursor.subscription_id IS 'which subscription';
COMMENT ON COLUMN eda.cursor.lane IS 'which of its lanes';
COMMENT ON COLUMN eda.cursor.streak IS 'failures since the last success';
COMMENT ON COLUMN eda.cursor.pos_id IS 'the last id done in the window; the highest there is: the window is done';
COMMENT ON COLUMN eda.cursor.handled IS 'events that were handled';
COMMENT ON COLUMN eda.cursor.filtered IS 'events that did not pass the filter';
COMMENT ON COLUMN eda.cursor.failed IS 'attempts that failed';
COMMENT ON COLUMN eda.cursor.last_handled_at IS 'when it last handled something';
COMMENT ON COLUMN eda.cursor.failing_since IS 'when the streak began';
COMMENT ON COLUMN eda.cursor.from_snapshot IS 'the window: what this snapshot sees was done before';
COMMENT ON COLUMN eda.cursor.to_snapshot IS 'the window: what this one sees, too, is to be done';

COMMENT ON COLUMN eda.dead_letter.subscription_id IS 'which subscription';
COMMENT ON COLUMN eda.dead_letter.lane IS 'which of its lanes';
COMMENT ON COLUMN eda.dead_letter.event_id IS 'which event';
COMMENT ON COLUMN eda.dead_letter.topic IS 'its topic';
COMMENT ON COLUMN eda.dead_letter.key IS 'its key; NULL: none';
COMMENT ON COLUMN eda.dead_letter.payload IS 'its payload';
COMMENT ON COLUMN eda.dead_letter.headers IS 'its headers; NULL: none';
COMMENT ON COLUMN eda.dead_letter.published_at IS 'when it was published';
COMMENT ON COLUMN eda.dead_letter.published_by IS 'the role that published it';
COMMENT ON COLUMN eda.dead_letter.correlation_id IS 'what its chain of events is about; NULL: its own id';
COMMENT ON COLUMN eda.dead_letter.causation_id IS 'the event whose handler published it; NULL: none';
COMMENT ON COLUMN eda.dead_letter.hops IS 'how many handlers of events have led to it';
COMMENT ON COLUMN eda.dead_letter.reason IS 'kind of the last failure: max_attempts, rejected, schema, expired, timeout, crash, hops or skipped';
COMMENT ON COLUMN eda.dead_letter.attempts IS 'attempts that counted';
COMMENT ON COLUMN eda.dead_letter.attempt_history IS 'when it was tried';
COMMENT ON COLUMN eda.dead_letter.error_code IS 'SQLSTATE of the last failure';
COMMENT ON COLUMN eda.dead_letter.error_message IS 'its message';
COMMENT ON COLUMN eda.dead_letter.error_detail IS 'its detail';
COMMENT ON COLUMN eda.dead_letter.error_context IS 'its context';
COMMENT ON COLUMN eda.dead_letter.died_at IS 'when it was given up on';
COMMENT ON COLUMN eda.dead_letter.deliver_at IS 'of a delayed event: when it was due';

COMMENT ON COLUMN eda.delayed_event.event_id IS 'which event';
COMMENT ON COLUMN eda.delayed_event.xid IS 'the top-level transaction that published it';
COMMENT ON COLUMN eda.delayed_event.deliver_at IS 'when it is due';
COMMENT ON COLUMN eda.delayed_event.topic IS 'its topic';
COMMENT ON COLUMN eda.delayed_event.key IS 'its key; NULL: none';
COMMENT ON COLUMN eda.delayed_event.payload IS 'its payload';
COMMENT ON COLUMN eda.delayed_event.headers IS 'its headers; NULL: none';
COMMENT ON COLUMN eda.delayed_event.published_at IS 'when it was published';
COMMENT ON COLUMN eda.delayed_event.published_by IS 'the role that published it';
COMMENT ON COLUMN eda.delayed_event.correlation_id IS 'what its chain of events is about; NULL: its own id';
COMMENT ON COLUMN eda.delayed_event.causation_id IS 'the event whose handler published it; NULL: none';
COMMENT ON COLUMN eda.delayed_event.hops IS 'how many handlers of events have led to it';
COMMENT ON COLUMN eda.delayed_event.idempotency_key IS 'the key that it was published with, which eda.cancel forgets';

COMMENT ON COLUMN eda.idempotency.topic IS 'the topic that the key is about';
COMMENT ON COLUMN eda.idempotency.idempotency_key IS 'the key';
COMMENT ON COLUMN eda.idempotency.event_id IS 'the event that was published with it first';
COMMENT ON COLUMN eda.idempotency.payload_hash IS 'of that event: another payload under this key is an error';
COMMENT ON COLUMN eda.idempotency.published_at IS 'when that was';

COMMENT ON COLUMN eda.job.job_id IS 'its number';
COMMENT ON COLUMN eda.job.name IS 'its name';
COMMENT ON COLUMN eda.job.schedule IS 'when it is due, as pg_cron reads it';
COMMENT ON COLUMN eda.job.query IS 'whose rows become events';
COMMENT ON COLUMN eda.job.topic IS 'the topic of these';
COMMENT ON COLUMN eda.job.key_column IS 'the column that is an event''s key; NULL: none';
COMMENT ON COLUMN eda.job.idempotency_key_column IS 'the column that is its idempotency key; NULL: none';
COMMENT ON COLUMN eda.job.on_invalid IS 'what becomes of rows that break the topic''s schema: fail or skip';
COMMENT ON COLUMN eda.job.owner IS 'the role that it runs as';
COMMENT ON COLUMN eda.job.search_path IS 'where its query looks names up';
COMMENT ON COLUMN eda.job.cron_jobid IS 'its number in pg_cron';
COMMENT ON COLUMN eda.job.created_at IS 'when it was first scheduled';

COMMENT ON COLUMN eda.job_refusal.run_id IS 'which run';
COMMENT ON COLUMN eda.job_refusal.row IS 'which row of the query''s result, from 1';
COMMENT ON COLUMN eda.job_refusal.payload IS 'what would have been published; NULL: there was none, or it is too large';
COMMENT ON COLUMN eda.job_refusal.violations IS 'why not';

COMMENT ON COLUMN eda.job_run.run_id IS 'its number';
COMMENT ON COLUMN eda.job_run.job_id IS 'which job';
COMMENT ON COLUMN eda.job_run.job IS 'the job''s name';
COMMENT ON COLUMN eda.job_run.owner IS 'the role that it ran as';
COMMENT ON COLUMN eda.job_run.started_at IS 'when it began';
COMMENT ON COLUMN eda.job_run.finished_at IS 'when it ended; NULL: it has not';
COMMENT ON COLUMN eda.job_run.outcome IS 'running, published, no_records, skipped (the run before was still going), error or missed';
COMMENT ON COLUMN eda.job_run.message IS 'what there is to say about that; of an error, its message';
COMMENT ON COLUMN eda.job_run.total IS 'rows that the query returned';
COMMENT ON COLUMN eda.job_run.published IS 'events that were published';
COMMENT ON COLUMN eda.job_run.invalid IS 'rows that were refused';
COMMENT ON COLUMN eda.job_run.first_id IS 'id of the first event';
COMMENT ON COLUMN eda.job_run.last_id IS 'id of the last one';
COMMENT ON COLUMN eda.job_run.error_code IS 'SQLSTATE of the error';
COMMENT ON COLUMN eda.job_run.error_detail IS 'its detail';
COMMENT ON COLUMN eda.job_run.error_where IS 'functions and lines of its context';

COMMENT ON COLUMN eda.log.id IS 'the event''s number';
COMMENT ON COLUMN eda.log.xid IS 'the top-level transaction that published it';
COMMENT ON COLUMN eda.log.published_at IS 'when it was published';
COMMENT ON COLUMN eda.log.published_by IS 'the role that published it';
COMMENT ON COLUMN eda.log.topic_hash IS 'hash of the topic';
COMMENT ON COLUMN eda.log.key_hash IS 'hash of the key; 0: it has none';
COMMENT ON COLUMN eda.log.topic IS 'its topic';
COMMENT ON COLUMN eda.log.payload IS 'its payload';
COMMENT ON COLUMN eda.log.key IS 'its key; NULL: none';
COMMENT ON COLUMN eda.log.deliver_at IS 'of a delayed event: when it was due; NULL: it was not delayed';
COMMENT ON COLUMN eda.log.causation_id IS 'the event whose handler published it; NULL: none';
COMMENT ON COLUMN eda.log.hops IS 'how many handlers of events have led to it; NULL: 0';
COMMENT ON COLUMN eda.log.correlation_id IS 'what its chain of events is about; NULL: its own id';
COMMENT ON COLUMN eda.log.headers IS 'its headers; NULL: none';

COMMENT ON COLUMN eda.origin.database IS 'oid of the database that this was when somebody last looked';

COMMENT ON COLUMN eda.recovery.subscription_id IS 'which subscription';
COMMENT ON COLUMN eda.recovery.event_id IS 'which event';
COMMENT ON COLUMN eda.recovery.attempt IS 'the attempt at which it was handled';
COMMENT ON COLUMN eda.recovery.handled_at IS 'when that was';

COMMENT ON COLUMN eda.retry.subscription_id IS 'which subscription';
COMMENT ON COLUMN eda.retry.lane IS 'which of its lanes';
COMMENT ON COLUMN eda.retry.event_id IS 'which event';
COMMENT ON COLUMN eda.retry.seq IS 'the order among those that wait';
COMMENT ON COLUMN eda.retry.topic IS 'its topic';
COMMENT ON COLUMN eda.retry.key IS 'its key; NULL: none';
COMMENT ON COLUMN eda.retry.payload IS 'its payload';
COMMENT ON COLUMN eda.retry.headers IS 'its headers; NULL: none';
COMMENT ON COLUMN eda.retry.published_at IS 'when it was published';
COMMENT ON COLUMN eda.retry.published_by IS 'the role that published it';
COMMENT ON COLUMN eda.retry.correlation_id IS 'what its chain of events is about; NULL: its own id';
COMMENT ON COLUMN eda.retry.causation_id IS 'the event whose handler published it; NULL: none';
COMMENT ON COLUMN eda.retry.hops IS 'how many handlers of events have led to it';
COMMENT ON COLUMN eda.retry.deliver_at IS 'of a delayed event: when it was due';
COMMENT ON COLUMN eda.retry.attempt IS 'attempts that counted so far';
COMMENT ON COLUMN eda.retry.deliveries IS 'all attempts, those that did not count too; 0: it waits behind another one';
COMMENT ON COLUMN eda.retry.next_attempt_at IS 'when it is due; NULL: it waits behind another one';
COMMENT ON COLUMN eda.retry.attempt_history IS 'when it was tried';
COMMENT ON COLUMN eda.retry.error_code IS 'SQLSTATE of the last failure; NULL: there was none';
COMMENT ON COLUMN eda.retry.error_message IS 'its message';
COMMENT ON COLUMN eda.retry.error_detail IS 'its detail';
COMMENT ON COLUMN eda.retry.error_context IS 'its context';
COMMENT ON COLUMN eda.retry.reason IS 'kind of the last failure: error, timeout, crash or snoozed; or replay';

COMMENT ON COLUMN eda.segment.segment IS 'its number';
COMMENT ON COLUMN eda.segment.slot IS 'of the table, from 1';
COMMENT ON COLUMN eda.segment.relation IS 'the table''s oid';
COMMENT ON COLUMN eda.segment.state IS 'o: open, c: closed, s: sealed, r: retired, f: free';
COMMENT ON COLUMN eda.segment.opened_at IS 'since when events are written to it';
COMMENT ON COLUMN eda.segment.closed_at IS 'since when none are';
COMMENT ON COLUMN eda.segment.sealed_at IS 'since when all who had written to it have ended';
COMMENT ON COLUMN eda.segment.max_xid IS 'the highest transaction of its entries; 0: it has none';
COMMENT ON COLUMN eda.segment.retired_xid IS 'the transaction that retired it';

COMMENT ON COLUMN eda.shared_schema.uri IS 'what $ref finds it by';
COMMENT ON COLUMN eda.shared_schema.schema IS 'the JSON Schema';
COMMENT ON COLUMN eda.shared_schema.owner IS 'the role that registered it';
COMMENT ON COLUMN eda.shared_schema.defined_at IS 'when that was';

COMMENT ON COLUMN eda.subscription.subscription_id IS 'its number';
COMMENT ON COLUMN eda.subscription.name IS 'its name';
COMMENT ON COLUMN eda.subscription.owner IS 'the role that its handler runs as';
COMMENT ON COLUMN eda.subscription.topics IS 'topic patterns, with commas between them';
COMMENT ON COLUMN eda.subscription.handler_schema IS 'the handler''s schema';
COMMENT ON COLUMN eda.subscription.handler_name IS 'the handler''s name';
COMMENT ON COLUMN eda.subscription.handler_kind IS 'its arguments: e: (eda.event), j: (jsonb), t: (text, jsonb), b: (eda.event[])';
COMMENT ON COLUMN eda.subscription.handler_oid IS 'the function that it was last; a hint';
COMMENT ON COLUMN eda.subscription.handler_owner IS 'to whom it must belong';
COMMENT ON COLUMN eda.subscription.filter IS 'which of these events it gets; NULL: all';
COMMENT ON COLUMN eda.subscription.schema IS 'the JSON Schema that an event''s payload must conform to; NULL: none';
COMMENT ON COLUMN eda.subscription.ordering IS 'none, key or strict';
COMMENT ON COLUMN eda.subscription.concurrency IS 'how many lanes are wanted';
COMMENT ON COLUMN eda.subscription.batch_size IS 'how many events share a transaction at most';
COMMENT ON COLUMN eda.subscription.rate_limit IS 'events a second at most; NULL: no limit';
COMMENT ON COLUMN eda.subscription.max_attempts IS 'after how many failed attempts an event is a dead letter';
COMMENT ON COLUMN eda.subscription.backoff IS 'pause after the first failed attempt, doubled with each';
COMMENT ON COLUMN eda.subscription.max_backoff IS 'the longest one';
COMMENT ON COLUMN eda.subscription.reject_on IS 'SQLSTATEs and classes of them that are not tried again';
COMMENT ON COLUMN eda.subscription.block_after IS 'after how many failures in a row the subscription is blocked';
COMMENT ON COLUMN eda.subscription.timeout IS 'how long a handler may take for an event';
COMMENT ON COLUMN eda.subscription.expire_after IS 'the age at which an event is a dead letter without being tried; NULL: none';
COMMENT ON COLUMN eda.subscription.priority IS 'who goes first where executors are rare: the higher one';
COMMENT ON COLUMN eda.subscription.start_at IS 'events that were due before are skipped; NULL: none for that';
COMMENT ON COLUMN eda.subscription.start_xid IS 'of the events of this transaction';
COMMENT ON COLUMN eda.subscription.start_id IS 'those with lower ids are skipped';
COMMENT ON COLUMN eda.subscription.state IS 'active, paused or blocked';
COMMENT ON COLUMN eda.subscription.blocked_reason IS 'failing, handler, privilege, login, crashing or copied';
COMMENT ON COLUMN eda.subscription.blocked_detail IS 'what is wrong; if failing, the last error''s message';
COMMENT ON COLUMN eda.subscription.blocked_at IS 'since when it is blocked for that reason';
COMMENT ON COLUMN eda.subscription.probe_at IS 'when the next event is tried, if failing';
COMMENT ON COLUMN eda.subscription.probes IS 'how often that was done';
COMMENT ON COLUMN eda.subscription.last_error IS 'the last failure''s message, or what eda says';
COMMENT ON COLUMN eda.subscription.created_at IS 'when it was made';
COMMENT ON COLUMN eda.subscription.start_snapshot IS 'what it saw at its start and does not get; NULL: nothing';
COMMENT ON COLUMN eda.subscription.start_bound IS 'start_at is about the events that this snapshot sees; NULL: all';
COMMENT ON COLUMN eda.subscription.lanes IS 'how many lanes it has now';
COMMENT ON COLUMN eda.subscription.fence IS 'where its lanes meet before their number changes: the end of a window';
COMMENT ON COLUMN eda.subscription.fence_pos IS 'and the position in it';
COMMENT ON COLUMN eda.subscription.crashes IS 'crashes of the server by its handler since the last success';
COMMENT ON COLUMN eda.subscription.paused_at IS 'since when it is paused';
COMMENT ON COLUMN eda.subscription.last_error_at IS 'when last_error was, to a second';
COMMENT ON COLUMN eda.subscription.last_error_code IS 'its SQLSTATE; NULL: it is eda''s own word';
COMMENT ON COLUMN eda.subscription.last_error_where IS 'functions and lines of its context';

COMMENT ON COLUMN eda.suspect.subscription_id IS 'which subscription';
COMMENT ON COLUMN eda.suspect.lane IS 'which of its lanes';
COMMENT ON COLUMN eda.suspect.event_id IS 'which event; 0: one of a batch';
COMMENT ON COLUMN eda.suspect.until_id IS 'the last event of that batch';
COMMENT ON COLUMN eda.suspect.crashes IS 'how often it crashed the server';
COMMENT ON COLUMN eda.suspect.crash_id IS 'which crash was counted last';
COMMENT ON COLUMN eda.suspect.last_at IS 'when that was';
COMMENT ON COLUMN eda.suspect.xid IS 'the transaction that wrote this';

COMMENT ON COLUMN eda.topic.topic IS 'the topic';
COMMENT ON COLUMN eda.topic.schema IS 'the JSON Schema that its events conform to; NULL: none';
COMMENT ON COLUMN eda.topic.description IS 'what it is about';
COMMENT ON COLUMN eda.topic.sensitive IS 'fields of the payload whose values messages do not show';
COMMENT ON COLUMN eda.topic.owner IS 'the role that defined it';
COMMENT ON COLUMN eda.topic.defined_at IS 'when that was';

COMMENT ON COLUMN eda.dead_letters.subscription IS 'which subscription gave up on it';
COMMENT ON COLUMN eda.dead_letters.event_id IS 'which event';
COMMENT ON COLUMN eda.dead_letters.topic IS 'its topic';
COMMENT ON COLUMN eda.dead_letters.key IS 'its key; NULL: none';
COMMENT ON COLUMN eda.dead_letters.payload IS 'its payload';
COMMENT ON COLUMN eda.dead_letters.headers IS 'its headers; NULL: none';
COMMENT ON COLUMN eda.dead_letters.correlation_id IS 'what its chain of events is about';
COMMENT ON COLUMN eda.dead_letters.published_at IS 'when it was published';
COMMENT ON COLUMN eda.dead_letters.reason IS 'kind of the last failure: max_attempts, rejected, schema, expired, timeout, crash, hops or skipped';
COMMENT ON COLUMN eda.dead_letters.attempts IS 'attempts that counted';
COMMENT ON COLUMN eda.dead_letters.attempt_history IS 'when it was tried';
COMMENT ON COLUMN eda.dead_letters.error_code IS 'SQLSTATE of the last failure';
COMMENT ON COLUMN eda.dead_letters.error_message IS 'its message';
COMMENT ON COLUMN eda.dead_letters.error_detail IS 'its detail';
COMMENT ON COLUMN eda.dead_letters.error_context IS 'its context';
COMMENT ON COLUMN eda.dead_letters.died_at IS 'when it was given up on';

COMMENT ON COLUMN eda.delayed.event_id IS 'which event';
COMMENT ON COLUMN eda.delayed.topic IS 'its topic';
COMMENT ON COLUMN eda.delayed.key IS 'its key; NULL: none';
COMMENT ON COLUMN eda.delayed.deliver_at IS 'when it is due';

COMMENT ON COLUMN eda.events.id IS 'its number; events are handled in the order of these';
COMMENT ON COLUMN eda.events.topic IS 'what it is about: dotted words';
COMMENT ON COLUMN eda.events.key IS 'events of one key are handled in order; NULL: none';
COMMENT ON COLUMN eda.events.payload IS 'what it says';
COMMENT ON COLUMN eda.events.headers IS 'what is said about it: a JSON object; NULL: none';
COMMENT ON COLUMN eda.events.published_at IS 'when it was published';
COMMENT ON COLUMN eda.events.published_by IS 'the role that published it';
COMMENT ON COLUMN eda.events.correlation_id IS 'what its chain of events is about: its first event''s id, unless one was given';
COMMENT ON COLUMN eda.events.causation_id IS 'the event whose handler published it; NULL: none';
COMMENT ON COLUMN eda.events.hops IS 'how many handlers of events have led to it';

COMMENT ON COLUMN eda.job_refusals.run_id IS 'which run';
COMMENT ON COLUMN eda.job_refusals.job IS 'which job';
COMMENT ON COLUMN eda.job_refusals.started_at IS 'when the run began';
COMMENT ON COLUMN eda.job_refusals.row IS 'which row of the query''s result, from 1';
COMMENT ON COLUMN eda.job_refusals.payload IS 'what would have been published; NULL: there was none, or it is too large';
COMMENT ON COLUMN eda.job_refusals.violations IS 'why not';

COMMENT ON COLUMN eda.job_runs.run_id IS 'its number';
COMMENT ON COLUMN eda.job_runs.job IS 'which job';
COMMENT ON COLUMN eda.job_runs.started_at IS 'when it began';
COMMENT ON COLUMN eda.job_runs.finished_at IS 'when it ended; NULL: it has not';
COMMENT ON COLUMN eda.job_runs.outcome IS 'running, published, no_records, skipped (the run before was still going), error or missed';
COMMENT ON COLUMN eda.job_runs.message IS 'what there is to say about that; of an error, its message (who may not see the payload: SQLSTATE, condition and place)';
COMMENT ON COLUMN eda.job_runs.total IS 'rows that the query returned';
COMMENT ON COLUMN eda.job_runs.published IS 'events that were published';
COMMENT ON COLUMN eda.job_runs.invalid IS 'rows that were refused';
COMMENT ON COLUMN eda.job_runs.first_id IS 'id of the first event';
COMMENT ON COLUMN eda.job_runs.last_id IS 'id of the last one';
COMMENT ON COLUMN eda.job_runs.error_code IS 'SQLSTATE of the error';
COMMENT ON COLUMN eda.job_runs.error_detail IS 'the error''s detail, for who may see the payload';
COMMENT ON COLUMN eda.job_runs.error_condition IS 'name of that SQLSTATE''s condition, or of its class';
COMMENT ON COLUMN eda.job_runs.error_where IS 'functions and lines of its context';

COMMENT ON COLUMN eda.jobs.job IS 'its name';
COMMENT ON COLUMN eda.jobs.schedule IS 'when it is due, as pg_cron reads it';
COMMENT ON COLUMN eda.jobs.query IS 'whose rows become events';
COMMENT ON COLUMN eda.jobs.topic IS 'the topic of these';
COMMENT ON COLUMN eda.jobs.key_column IS 'the column that is an event''s key; NULL: none';
COMMENT ON COLUMN eda.jobs.idempotency_key_column IS 'the column that is its idempotency key; NULL: none';
COMMENT ON COLUMN eda.jobs.on_invalid IS 'what becomes of rows that break the topic''s schema: fail or skip';
COMMENT ON COLUMN eda.jobs.owner IS 'the role that it runs as';
COMMENT ON COLUMN eda.jobs.search_path IS 'where its query looks names up';
COMMENT ON COLUMN eda.jobs.cron_jobid IS 'its number in pg_cron';
COMMENT ON COLUMN eda.jobs.created_at IS 'when it was first scheduled';
COMMENT ON COLUMN eda.jobs.last_started_at IS 'when its last run began';
COMMENT ON COLUMN eda.jobs.last_outcome IS 'what that came to: see eda.job_runs';

COMMENT ON COLUMN eda.retries.subscription IS 'which subscription it waits for';
COMMENT ON COLUMN eda.retries.event_id IS 'which event';
COMMENT ON COLUMN eda.retries.topic IS 'its topic';
COMMENT ON COLUMN eda.retries.key IS 'its key; NULL: none';
COMMENT ON COLUMN eda.retries.attempt IS 'attempts that counted so far';
COMMENT ON COLUMN eda.retries.next_attempt_at IS 'when it is tried next; NULL: it waits behind another one';
COMMENT ON COLUMN eda.retries.error_code IS 'SQLSTATE of the last failure';
COMMENT ON COLUMN eda.retries.error_message IS 'its message (who may not see the payload: SQLSTATE, condition and place)';
COMMENT ON COLUMN eda.retries.error_condition IS 'name of that SQLSTATE''s condition, or of its class';
COMMENT ON COLUMN eda.retries.error_where IS 'functions and lines of its context, innermost first';

COMMENT ON COLUMN eda.schemas.uri IS 'what $ref finds it by';
COMMENT ON COLUMN eda.schemas.schema IS 'the JSON Schema';
COMMENT ON COLUMN eda.schemas.owner IS 'the role that registered it';
COMMENT ON COLUMN eda.schemas.defined_at IS 'when that was';

COMMENT ON COLUMN eda.segments.segment IS 'its number';
COMMENT ON COLUMN eda.segments.first_id IS 'its lowest event id, about';
COMMENT ON COLUMN eda.segments.last_id IS 'its highest one, about';
COMMENT ON COLUMN eda.segments.size IS 'bytes on disk, indexes too';
COMMENT ON COLUMN eda.segments.oldest IS 'when its oldest event was published, about';
COMMENT ON COLUMN eda.segments.pinned_by IS 'subscriptions that may still need it; NULL: none, or it is the current one';

COMMENT ON COLUMN eda.subscriptions.subscription IS 'its name';
COMMENT ON COLUMN eda.subscriptions.topics IS 'topic patterns, with commas between them';
COMMENT ON COLUMN eda.subscriptions.handler IS 'the function that is called';
COMMENT ON COLUMN eda.subscriptions.filter IS 'which of these events it gets; NULL: all';
COMMENT ON COLUMN eda.subscriptions.schema IS 'the JSON Schema that an event''s payload must conform to; NULL: none';
COMMENT ON COLUMN eda.subscriptions.ordering IS 'none, key or strict';
COMMENT ON COLUMN eda.subscriptions.concurrency IS 'how many lanes are wanted';
COMMENT ON COLUMN eda.subscriptions.batch_size IS 'how many events share a transaction at most';
COMMENT ON COLUMN eda.subscriptions.rate_limit IS 'events a second at most; NULL: no limit';
COMMENT ON COLUMN eda.subscriptions.max_attempts IS 'after how many failed attempts an event is a dead letter';
COMMENT ON COLUMN eda.subscriptions.backoff IS 'pause after the first failed attempt, doubled with each';
COMMENT ON COLUMN eda.subscriptions.max_backoff IS 'the longest one';
COMMENT ON COLUMN eda.subscriptions.reject_on IS 'SQLSTATEs and classes of them that are not tried again';
COMMENT ON COLUMN eda.subscriptions.block_after IS 'after how many failures in a row the subscription is blocked';
COMMENT ON COLUMN eda.subscriptions.timeout IS 'how long a handler may take for an event';
COMMENT ON COLUMN eda.subscriptions.expire_after IS 'the age at which an event is a dead letter without being tried; NULL: none';
COMMENT ON COLUMN eda.subscriptions.priority IS 'who goes first where executors are rare: the higher one';
COMMENT ON COLUMN eda.subscriptions.owner IS 'the role that it runs as';
COMMENT ON COLUMN eda.subscriptions.state IS 'active, paused or blocked';
COMMENT ON COLUMN eda.subscriptions.blocked_reason IS 'failing, handler, privilege, login, crashing or copied; or library not preloaded, no database slot or not enabled; of an active one, that it waits for a worker slot or an executor slot';
COMMENT ON COLUMN eda.subscriptions.blocked_detail IS 'what is wrong; if failing, the last error''s message (who may not see the payload: SQLSTATE, condition and place)';
COMMENT ON COLUMN eda.subscriptions.backlog IS 'about how many events it has not got to, retries aside';
COMMENT ON COLUMN eda.subscriptions.oldest_age IS 'how old the oldest of these is';
COMMENT ON COLUMN eda.subscriptions.in_flight IS 'events in the batches that are being handled';
COMMENT ON COLUMN eda.subscriptions.handled IS 'events that were handled';
COMMENT ON COLUMN eda.subscriptions.filtered IS 'events that did not pass the filter';
COMMENT ON COLUMN eda.subscriptions.failed IS 'attempts that failed';
COMMENT ON COLUMN eda.subscriptions.retrying IS 'events that wait for another attempt, or behind such a one';
COMMENT ON COLUMN eda.subscriptions.dead IS 'dead letters';
COMMENT ON COLUMN eda.subscriptions.last_handled_at IS 'when it last handled something';
COMMENT ON COLUMN eda.subscriptions.last_error IS 'the last failure''s message (who may not see the payload: SQLSTATE, condition and place), or what eda says';
COMMENT ON COLUMN eda.subscriptions.lanes IS 'how many lanes it has now';
COMMENT ON COLUMN eda.subscriptions.state_since IS 'since when it is paused or blocked; NULL: it is active';
COMMENT ON COLUMN eda.subscriptions.last_error_at IS 'when last_error was, to a second';
COMMENT ON COLUMN eda.subscriptions.last_error_code IS 'its SQLSTATE; NULL: it is eda''s own word';
COMMENT ON COLUMN eda.subscriptions.last_error_condition IS 'name of that SQLSTATE''s condition, or of its class';
COMMENT ON COLUMN eda.subscriptions.last_error_where IS 'functions and lines of its context, innermost first';

COMMENT ON COLUMN eda.topics.topic IS 'the topic';
COMMENT ON COLUMN eda.topics.schema IS 'the JSON Schema that its events conform to; NULL: none';
COMMENT ON COLUMN eda.topics.description IS 'what it is about';
COMMENT ON COLUMN eda.topics.sensitive IS 'fields of the payload whose values messages do not show';
COMMENT ON COLUMN eda.topics.owner IS 'the role that defined it';
COMMENT ON COLUMN eda.topics.defined_at IS 'when that was';

COMMENT ON COLUMN eda.workers.kind IS 'launcher, dispatcher or executor';
COMMENT ON COLUMN eda.workers.pid IS 'its process';
COMMENT ON COLUMN eda.workers.database IS 'the database that it serves; NULL: all';
COMMENT ON COLUMN eda.workers.role IS 'the role that an executor is connected as';
COMMENT ON COLUMN eda.workers.subscription IS 'the one that it handles';
COMMENT ON COLUMN eda.workers.state IS 'wanted, starting, running, idle or assigned';
COMMENT ON COLUMN eda.workers.in_flight IS 'events in the batch at hand';
COMMENT ON COLUMN eda.workers.since IS 'since when it is in that state';
COMMENT ON COLUMN eda.workers.lane IS 'the subscription''s lane that it handles';
COMMENT ON COLUMN eda.workers.waits_for IS 'what the dispatcher''s database waits for: worker slot (of max_worker_processes, for its dispatcher or an executor), executor slot (of eda.max_executors); NULL: nothing';
COMMENT ON COLUMN eda.workers.waits_since IS 'since when it waits for that';

COMMENT ON SEQUENCE eda.event_id_seq IS 'reserve of event ids: one value is 1,024 ids';
COMMENT ON SEQUENCE eda.subscription_subscription_id_seq IS 'numbers of subscriptions';
COMMENT ON SEQUENCE eda.retry_seq_seq IS 'order of waiting events';
COMMENT ON SEQUENCE eda.job_job_id_seq IS 'numbers of jobs';
COMMENT ON SEQUENCE eda.job_run_run_id_seq IS 'numbers of runs of jobs';

-- A segment is a child of eda.log, which passes no comments on.
DO $$
DECLARE
    command text;
BEGIN
    COMMENT ON TABLE eda.log_1 IS 'a segment of the event log';
    FOR command IN
        SELECT pg_catalog.format('COMMENT ON COLUMN eda.log_1.%I IS %L', a.attname, pg_catalog.col_description(a.attrelid, a.attnum))
          FROM pg_catalog.pg_attribute a WHERE a.attrelid = 'eda.log'::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped
    LOOP
        EXECUTE command;
    END LOOP;
END $$;

