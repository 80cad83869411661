\echo Use "CREATE EXTENSION eda" to load this file. \quit

-- Nothing of eda's is for PUBLIC: src/sql/90_grants.sql revokes what functions have by default.

-- Fails where somebody made it before: nobody can plant objects that eda would use.
CREATE SCHEMA eda;
COMMENT ON SCHEMA eda IS 'events: publish, subscribe, deliver';
