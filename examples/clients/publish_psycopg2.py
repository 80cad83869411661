# Publish from Python with psycopg2, which puts values into the statement's text.

import psycopg2
from psycopg2.extras import Json

conn = psycopg2.connect("")
with conn, conn.cursor() as cur:        # commits at its end: from then on they are delivered
    cur.execute("SELECT eda.publish(%s, %s, key => %s, idempotency_key => %s)",
                ("client.psycopg2", Json({"n": 1}), "customer 7", "psycopg2 1"))
    print("event", cur.fetchone()[0])
    # an ARRAY of literals has no type: say jsonb[]
    cur.execute("SELECT eda.publish_batch(%s, %s::jsonb[], idempotency_keys => %s)",
                ("client.psycopg2", [Json({"n": 2}), Json({"n": 3})], ["psycopg2 2", "psycopg2 3"]))
    print("events", cur.fetchone()[0])
conn.close()
