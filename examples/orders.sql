-- The nightly orders: a shop publishes each day's orders, three subscribers
-- take them up.  Run it in a database that has eda and pg_cron, as a
-- superuser, from the directory that this project is in:
--
--     psql -X -v ON_ERROR_STOP=1 -d shop -f examples/orders.sql
--
-- make demo does so in a throw-away cluster.

\set QUIET on
SET client_min_messages = warning;

-- 1. Three parties, none of them a superuser.  Who owns a subscription or a
--    job needs LOGIN: handlers and queries run in sessions of their own role.
CREATE ROLE shop LOGIN;
CREATE ROLE accounting LOGIN;
CREATE ROLE order_desk LOGIN;

-- 2. What they may do.  Nothing of eda is open to everybody.
GRANT USAGE ON SCHEMA eda TO shop, accounting, order_desk;
GRANT EXECUTE ON FUNCTION eda.schedule, eda.unschedule TO shop;
GRANT EXECUTE ON PROCEDURE eda.run_job TO shop;
GRANT SELECT ON eda.jobs, eda.job_runs TO shop;
GRANT EXECUTE ON FUNCTION eda.subscribe TO accounting, order_desk;
GRANT EXECUTE ON FUNCTION eda.reject(text) TO order_desk;
GRANT USAGE ON SCHEMA cron TO shop;             -- pg_cron's own right

CREATE SCHEMA shop AUTHORIZATION shop;
CREATE SCHEMA accounting AUTHORIZATION accounting;
CREATE SCHEMA order_desk AUTHORIZATION order_desk;

-- 3. The shop's orders, from a file.
SET SESSION AUTHORIZATION shop;

CREATE TABLE shop.orders (
    invoice_no   text PRIMARY KEY,
    ordered_at   timestamp NOT NULL,
    customer_id  text,
    country      text NOT NULL
);
CREATE TABLE shop.order_lines (
    line_no      bigint PRIMARY KEY,
    invoice_no   text NOT NULL REFERENCES shop.orders,
    stock_code   text NOT NULL,
    description  text,
    quantity     int NOT NULL,
    unit_price   numeric NOT NULL
);
CREATE INDEX ON shop.orders (ordered_at);
CREATE INDEX ON shop.order_lines (invoice_no);

CREATE TEMP TABLE staging (
    line_no bigint GENERATED ALWAYS AS IDENTITY,
    invoice_no text, stock_code text, description text, quantity int,
    invoice_date timestamp, unit_price numeric, customer_id text, country text
);
\copy staging (invoice_no, stock_code, description, quantity, invoice_date, unit_price, customer_id, country) FROM 'examples/data/online_retail_2010_12.csv' WITH (FORMAT csv, HEADER)

INSERT INTO shop.orders
SELECT invoice_no, min(invoice_date), min(customer_id), min(country)
  FROM staging GROUP BY invoice_no;
INSERT INTO shop.order_lines
SELECT line_no, invoice_no, stock_code, description, quantity, unit_price FROM staging;
DROP TABLE staging;

-- 4. Which day a nightly run is for: yesterday, unless somebody says otherwise.
CREATE TABLE shop.business_day (day date NOT NULL);
CREATE FUNCTION shop.business_day() RETURNS date STABLE LANGUAGE sql
AS $$ SELECT coalesce((SELECT b.day FROM shop.business_day b), current_date - 1) $$;

-- For the demo's report: when each subscriber had each event.  The primary
-- key would refuse a second time.
CREATE TABLE shop.handled (
    subscription  text,
    event_id      bigint,
    published_at  timestamptz NOT NULL,
    handled_at    timestamptz NOT NULL,
    PRIMARY KEY (subscription, event_id)
);
GRANT USAGE ON SCHEMA shop TO accounting, order_desk;
GRANT INSERT ON shop.handled TO accounting, order_desk;

-- 5. Accounting posts each order into its ledger, and keeps totals per day
--    and country.
SET SESSION AUTHORIZATION accounting;

CREATE TABLE accounting.ledger (
    invoice_no   text PRIMARY KEY,
    event_id     bigint NOT NULL,
    customer_id  text,
    amount       numeric NOT NULL
);
CREATE FUNCTION accounting.post_to_ledger(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO accounting.ledger
    VALUES (e.payload->>'invoice_no', e.id, e.payload->>'customer_id', (e.payload->>'total')::numeric);
    INSERT INTO shop.handled VALUES (e.subscription, e.id, e.published_at, clock_timestamp());
END $$;

CREATE TABLE accounting.daily_totals (
    day      date,
    country  text,
    orders   int NOT NULL,
    amount   numeric NOT NULL,
    PRIMARY KEY (day, country)
);
CREATE FUNCTION accounting.add_to_daily_totals(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO accounting.daily_totals AS t
    VALUES ((e.payload->>'ordered_at')::date, e.payload->>'country', 1, (e.payload->>'total')::numeric)
    ON CONFLICT (day, country) DO UPDATE
       SET orders = t.orders + excluded.orders, amount = t.amount + excluded.amount;
    INSERT INTO shop.handled VALUES (e.subscription, e.id, e.published_at, clock_timestamp());
END $$;

SELECT eda.subscribe('ledger', topics => 'shop.order.placed', handler => 'accounting.post_to_ledger');
SELECT eda.subscribe('daily_totals', topics => 'shop.order.*', handler => 'accounting.add_to_daily_totals');

-- 6. The order desk takes what can be shipped, and refuses the rest: a refused
--    event is a dead letter at once, without any further attempt.
SET SESSION AUTHORIZATION order_desk;

CREATE TABLE order_desk.to_ship (
    invoice_no   text PRIMARY KEY,
    customer_id  text NOT NULL,
    items        int NOT NULL
);
CREATE FUNCTION order_desk.take_order(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF e.payload->>'invoice_no' LIKE 'C%' THEN
        PERFORM eda.reject('cancelled order');
    ELSIF e.payload->>'customer_id' IS NULL THEN
        PERFORM eda.reject('order without a customer');
    END IF;
    INSERT INTO order_desk.to_ship
    VALUES (e.payload->>'invoice_no', e.payload->>'customer_id', jsonb_array_length(e.payload->'lines'));
    INSERT INTO shop.handled VALUES (e.subscription, e.id, e.published_at, clock_timestamp());
END $$;

SELECT eda.subscribe('order_desk', topics => 'shop.order.placed', handler => 'order_desk.take_order');

-- 7. The nightly job.  Each row of the query becomes one event: its columns
--    are the payload's fields.  One customer's orders are handled in order,
--    and no order is ever published twice (within eda.idempotency_window).
SET SESSION AUTHORIZATION shop;

SELECT eda.schedule('nightly-orders', '0 0 * * *', $query$
    SELECT o.invoice_no, o.ordered_at, o.customer_id, o.country,
           sum(l.quantity * l.unit_price) AS total,
           jsonb_agg(jsonb_build_object('stock_code', l.stock_code, 'description', l.description,
                                        'quantity', l.quantity, 'unit_price', l.unit_price)
                     ORDER BY l.line_no) AS lines
      FROM shop.orders o
      JOIN shop.order_lines l USING (invoice_no)
     WHERE o.ordered_at >= shop.business_day() AND o.ordered_at < shop.business_day() + 1
     GROUP BY o.invoice_no
     ORDER BY o.ordered_at, o.invoice_no
$query$,
    topic => 'shop.order.placed', key_column => 'customer_id', idempotency_key_column => 'invoice_no');

RESET SESSION AUTHORIZATION;
