\echo Use "ALTER EXTENSION eda UPDATE TO '0.2.0'" to load this file. \quit

-- From 0.1.0 to 0.2.0, in the order of src/sql: what it makes has to be what CREATE EXTENSION makes
-- (test/t/017_update.pl compares the two).  A column that is added to a table stands last there, too.

-- ---- 10_types ----


-- ---- 20_log ----


-- ---- 30_subscription, 35_copy ----


-- ---- 38_schema, 39_topic ----


-- ---- 40_publish, 45_delay ----


-- ---- 50_subscribe ----


-- ---- 55_delivery ----


-- ---- 60_schedule ----


-- ---- 70_views ----


-- ---- 80_announce, 90_grants ----


-- The workers begin with the new objects.
SELECT eda._announce();
