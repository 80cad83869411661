# Publish from Python with psycopg 3.  Jsonb() says what a dict is to be.

import psycopg
from psycopg.types.json import Jsonb

with psycopg.connect("") as conn:       # commits at its end: from then on they are delivered
    event = conn.execute(
        "SELECT eda.publish(%s, %s, key => %s, idempotency_key => %s)",
        ("client.psycopg", Jsonb({"n": 1}), "customer 7", "psycopg 1")).fetchone()[0]
    print("event", event)
    events = conn.execute(
        "SELECT eda.publish_batch(%s, %s, idempotency_keys => %s)",
        ("client.psycopg", [Jsonb({"n": 2}), Jsonb({"n": 3})], ["psycopg 2", "psycopg 3"])).fetchone()[0]
    print("events", events)
