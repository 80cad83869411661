-- Every figure of make demo's report, against the CSV file: its own copy of
-- the lines, and plain SQL over them.  Leaves demo.figure and demo.mismatch.
\set QUIET on
\pset footer off
SET client_min_messages = warning;

CREATE TABLE demo.csv (
    invoice_no text, stock_code text, description text, quantity text,
    invoice_date text, unit_price text, customer_id text, country text
);
\copy demo.csv FROM 'examples/data/online_retail_2010_12.csv' WITH (FORMAT csv, HEADER)

CREATE VIEW demo.invoice AS
SELECT DISTINCT ON (invoice_no) invoice_no, customer_id, country, left(invoice_date, 10)::date AS day,
       sum(quantity::numeric * unit_price::numeric) OVER (PARTITION BY invoice_no) AS amount,
       count(*) OVER (PARTITION BY invoice_no) AS lines,
       CASE WHEN invoice_no LIKE 'C%' THEN 'cancelled order'
            WHEN customer_id IS NULL THEN 'order without a customer' END AS refused
  FROM demo.csv
 ORDER BY invoice_no, invoice_date;

CREATE TABLE demo.figure (no int GENERATED ALWAYS AS IDENTITY, what text, got text, expected text);

-- the runs, in the order in which they were made
INSERT INTO demo.figure (what, got, expected)
SELECT format('%s, %s', r.day, r.what),
       format('%s: %s rows, %s published', j.outcome, j.total, j.published),
       format('%s: %s rows, %s published', CASE WHEN n.orders = 0 THEN 'no_records' ELSE 'published' END,
              n.orders, CASE WHEN r.what = 'that day again' THEN 0 ELSE n.orders END)
  FROM demo.run r
  JOIN eda.job_runs j USING (run_id)
  CROSS JOIN LATERAL (SELECT count(*) AS orders FROM demo.invoice i WHERE i.day = r.day) n
 WHERE j.job = 'nightly-orders'
 ORDER BY r.run_id;

INSERT INTO demo.figure (what, got, expected)
SELECT 'runs in all', count(*)::text, '7' FROM eda.job_runs
UNION ALL
SELECT 'days with orders', string_agg(DISTINCT r.day::text, ' ' ORDER BY r.day::text),
       (SELECT string_agg(DISTINCT i.day::text, ' ' ORDER BY i.day::text) FROM demo.invoice i)
  FROM demo.run r JOIN eda.job_runs j USING (run_id) WHERE j.outcome = 'published'
UNION ALL
SELECT 'message of the day without orders', string_agg(j.message, ', '), 'no records to process'
  FROM demo.run r JOIN eda.job_runs j USING (run_id) WHERE r.day = '2010-12-04'
UNION ALL
SELECT 'the broken job', string_agg(concat_ws(', ', j.outcome, j.error_code), '; '), 'error, 42P01'
  FROM eda.job_runs j WHERE j.job = 'broken-returns'
UNION ALL
SELECT 'events of the broken job', count(*)::text, '1'
  FROM eda.events WHERE topic = 'eda.job.failed' AND payload->>'job' = 'broken-returns'
UNION ALL
SELECT 'runs of pg_cron', string_agg(d.status, ', '), 'succeeded' FROM cron.job_run_details d;

-- the events
INSERT INTO demo.figure (what, got, expected)
SELECT 'events published', count(*)::text, (SELECT count(*)::text FROM demo.invoice)
  FROM eda.events WHERE topic = 'shop.order.placed'
UNION ALL
SELECT 'lines in their payloads', sum(jsonb_array_length(payload->'lines'))::text, (SELECT count(*)::text FROM demo.csv)
  FROM eda.events WHERE topic = 'shop.order.placed'
UNION ALL
SELECT 'events whose key is not the customer', count(*)::text, '0'
  FROM eda.events e LEFT JOIN demo.invoice i ON i.invoice_no = e.payload->>'invoice_no'
 WHERE e.topic = 'shop.order.placed' AND e.key IS DISTINCT FROM i.customer_id;

-- the subscribers
INSERT INTO demo.figure (what, got, expected)
SELECT format('subscriber %s: handled, dead, waiting', s.subscription),
       concat_ws(', ', s.handled, s.dead, s.retrying + s.backlog),
       concat_ws(', ', n.orders - n.refused, n.refused, 0)
  FROM eda.subscriptions s
  CROSS JOIN LATERAL (SELECT count(*) AS orders,
                             count(*) FILTER (WHERE s.subscription = 'order_desk' AND i.refused IS NOT NULL) AS refused
                        FROM demo.invoice i) n
 ORDER BY s.subscription;
INSERT INTO demo.figure (what, got, expected)
SELECT 'events that subscribers took, each once', count(*)::text,
       (SELECT (3 * count(*) - count(refused))::text FROM demo.invoice)
  FROM shop.handled
UNION ALL
SELECT 'ledger, orders', count(*)::text, (SELECT count(*)::text FROM demo.invoice) FROM accounting.ledger
UNION ALL
SELECT 'ledger, pounds', sum(amount)::numeric(12,2)::text,
       (SELECT sum(quantity::numeric * unit_price::numeric)::numeric(12,2)::text FROM demo.csv)
  FROM accounting.ledger
UNION ALL
SELECT 'ledger, wrong entries', count(*)::text, '0'
  FROM accounting.ledger l FULL JOIN demo.invoice i USING (invoice_no)
 WHERE (l.amount, l.customer_id) IS DISTINCT FROM (i.amount, i.customer_id)
UNION ALL
SELECT 'daily totals, rows', count(*)::text,
       (SELECT count(*)::text FROM (SELECT DISTINCT day, country FROM demo.invoice) x)
  FROM accounting.daily_totals
UNION ALL
SELECT 'daily totals, wrong rows', count(*)::text, '0'
  FROM accounting.daily_totals t
  FULL JOIN (SELECT day, country, count(*) AS orders, sum(amount) AS amount
               FROM demo.invoice GROUP BY 1, 2) i USING (day, country)
 WHERE (t.orders, t.amount) IS DISTINCT FROM (i.orders, i.amount)
UNION ALL
SELECT 'orders to ship', count(*)::text, (SELECT count(*)::text FROM demo.invoice WHERE refused IS NULL)
  FROM order_desk.to_ship
UNION ALL
SELECT 'orders to ship, wrong ones', count(*)::text, '0'
  FROM order_desk.to_ship s
  FULL JOIN (SELECT * FROM demo.invoice WHERE refused IS NULL) i USING (invoice_no)
 WHERE (s.customer_id, s.items) IS DISTINCT FROM (i.customer_id, i.lines);

-- the dead letters
INSERT INTO demo.figure (what, got, expected)
SELECT format('dead letters, %s', i.refused), count(d.event_id)::text, count(*)::text
  FROM demo.invoice i
  LEFT JOIN eda.dead_letters d
    ON d.payload->>'invoice_no' = i.invoice_no AND d.subscription = 'order_desk' AND d.reason = 'rejected'
   AND d.error_message = i.refused AND d.attempts = 1
 WHERE i.refused IS NOT NULL GROUP BY i.refused ORDER BY i.refused;
INSERT INTO demo.figure (what, got, expected)
SELECT 'dead letters in all', count(*)::text, (SELECT count(refused)::text FROM demo.invoice)
  FROM eda.dead_letters
UNION ALL
SELECT 'latencies that are not positive', count(*)::text, '0' FROM shop.handled WHERE handled_at <= published_at;

CREATE VIEW demo.mismatch AS
SELECT what, got, expected FROM demo.figure WHERE got IS DISTINCT FROM expected ORDER BY no;

SELECT count(*) = 0 AS all_right FROM demo.mismatch \gset
\if :all_right
\else
\echo
\echo 'NOT what the data says:'
SELECT * FROM demo.mismatch;
\endif
