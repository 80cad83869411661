-- What make demo shows when all events are handled.
\pset footer off
\pset border 1
\pset null ''

\echo
\echo 'The job''s runs (eda.job_runs)'
SELECT r.job, d.day, d.what, r.outcome, r.total AS rows, r.published,
       coalesce(r.error_code || ': ' || r.message, r.message) AS message
  FROM demo.run d JOIN eda.job_runs r USING (run_id)
 ORDER BY d.run_id;

\echo 'The subscribers (eda.subscriptions)'
SELECT subscription, owner, handled, dead, retrying, backlog, state
  FROM eda.subscriptions ORDER BY subscription;

\echo 'Dead letters (eda.dead_letters)'
SELECT subscription, reason, error_message, count(*) AS events,
       array_to_string((array_agg(payload->>'invoice_no' ORDER BY event_id))[1:3], ', ') || ', ...' AS orders
  FROM eda.dead_letters GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

\echo 'From published to handled, in ms.  A run publishes a day''s orders at once, so an'
\echo 'event also waits for its transaction''s commit and for the events before it.'
SELECT subscription, count(*) AS events,
       round(1000 * percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM handled_at - published_at)), 1) AS p50,
       round(1000 * percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM handled_at - published_at)), 1) AS p99
  FROM shop.handled GROUP BY subscription ORDER BY subscription;

\echo 'pg_cron''s own history (cron.job_run_details)'
SELECT to_char(d.start_time, 'HH24:MI:SS') AS started, d.username AS as_role, d.command, d.status, d.return_message
  FROM cron.job_run_details d ORDER BY d.runid;
