-- Last: nothing of eda's is for PUBLIC.  Tables and the schema are nobody's by default,
-- functions and procedures are everybody's, until here.
REVOKE ALL ON ALL ROUTINES IN SCHEMA eda FROM PUBLIC;
