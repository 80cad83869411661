-- What an event that fails, snoozes, asks for another attempt, runs into its timeout, is rejected or is skipped
-- does to those behind it, in each ordering.
\set test t_order
\ir include/begin.sql
SELECT plan(23);

-- The first event of each subscription does what its subscription is named for, once; the others are handled.
-- What it waits for is a second long: time enough for the others.
CREATE FUNCTION act(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM take(e);
    IF e.payload ->> 'n' <> '1' OR e.redelivered THEN
        RETURN;
    END IF;
    CASE split_part(e.subscription, '_', 4)
        WHEN 'fail' THEN RAISE EXCEPTION 'faulty';
        WHEN 'snooze' THEN PERFORM eda.snooze('1 s');
        WHEN 'retry' THEN PERFORM eda.retry_after('1 s');
        WHEN 'timeout' THEN PERFORM pg_sleep(60);
        WHEN 'reject' THEN PERFORM eda.reject('no');
        WHEN 'on' THEN RAISE EXCEPTION 'rejected' USING ERRCODE = 'XX999';
        WHEN 'die' THEN RAISE EXCEPTION 'dies';
    END CASE;
END $$;
SELECT eda.subscribe('t_order_' || ordering || '_' || what, 't_order.it', 't_order.act', ordering => ordering, owner => 't_order',
                     backoff => '1 s', timeout => '300 ms', reject_on => '{XX999}', max_attempts => CASE what WHEN 'die' THEN 1 ELSE 20 END)
  FROM unnest('{key,strict,none}'::text[]) ordering, unnest('{fail,snooze,retry,timeout,reject,on,die}'::text[]) what \g /dev/null
SELECT eda.publish_batch('t_order.it', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 5) n), '{k,k,l,NULL,k}') \gset
CALL wait_until($$(SELECT count(*) FROM got) + (SELECT count(*) FROM eda.dead_letters WHERE subscription LIKE 't\_order\_%') = 105$$);
SELECT is(taken('t_order_key_' || what), '3 4 1 2 5', 'key, ' || what || ': those of its key follow it, others pass')
  FROM unnest('{fail,snooze,retry,timeout}'::text[]) what;
SELECT is(taken('t_order_strict_' || what), '1 2 3 4 5', 'strict, ' || what || ': all follow it')
  FROM unnest('{fail,snooze,retry,timeout}'::text[]) what;
SELECT is(taken('t_order_none_' || what), '2 3 4 5 1', 'none, ' || what || ': all pass it')
  FROM unnest('{fail,snooze,retry,timeout}'::text[]) what;
SELECT is(taken('t_order_' || ordering || '_' || what), '2 3 4 5', ordering || ', ' || what || ': nobody waits for what is dead')
  FROM unnest('{key,strict,none}'::text[]) ordering, unnest('{reject,on,die}'::text[]) what;

-- What waits or is dead is a copy: it does not need the log, whose events have gone meanwhile.
SELECT eda.subscribe('t_order_key_snooze_copy', 't_order.copy', 't_order.act', owner => 't_order') \gset
SELECT eda.subscribe('t_order_key_reject_copy', 't_order.copy', 't_order.act', owner => 't_order') \gset
SELECT eda.publish_batch('t_order.copy', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 3) n), '{k,k,l}') \gset
CALL wait_until($$taken('t_order_key_snooze_copy') = '3' AND taken('t_order_key_reject_copy') = '2 3'$$);
DELETE FROM eda.log WHERE topic = 't_order.copy';
CALL wait_until($$taken('t_order_key_snooze_copy') = '3 1 2'$$);
SELECT is(taken('t_order_key_snooze_copy'), '3 1 2', 'what waits for an attempt, or behind one, does not need the log');
SELECT eda.redrive_all('t_order_key_reject_copy') \gset
CALL eda.wait('t_order_key_reject_copy');
SELECT is(taken('t_order_key_reject_copy'), '2 3 1', 'nor does a dead letter that is redriven');

\ir include/end.sql
