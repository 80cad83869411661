CREATE TABLE welcome (address text, queued_at timestamptz DEFAULT now());

CREATE FUNCTION queue_welcome(e eda.event) RETURNS void LANGUAGE sql AS
$$ INSERT INTO public.welcome (address) VALUES (e.payload->>'email') $$;

CREATE TABLE orders (invoice_no int, customer_id int, total numeric, ordered_on date);
INSERT INTO orders SELECT i, i % 10, i * 1.5, current_date - 1 FROM generate_series(1, 20) i;
