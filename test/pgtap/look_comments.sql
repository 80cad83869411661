-- Everything of eda's says in the catalogs what it is.
\set test t_look_comments
\ir include/begin.sql
SELECT plan(3);

SELECT is_empty($$
    SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE c.relnamespace = 'eda'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'c', 'p', 'f') AND a.attnum > 0 AND NOT a.attisdropped
       -- the columns of a segment are those of eda.log
       AND a.attinhcount = 0 AND col_description(c.oid, a.attnum) IS NULL$$,
    'every column of every table, view and type has a comment');
SELECT is_empty($$
    SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d
     WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
       AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'eda')
       -- from 18 on the extension owns arrays and the row types of its tables and views, too
       AND NOT EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
                        WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid
                          AND (t.typcategory = 'A' OR c.relkind IN ('r', 'v')))
       AND obj_description(d.objid, d.classid::regclass::name) IS NULL$$,
    'and so has everything that the extension owns');
SELECT is_empty($$
    SELECT c.relname FROM pg_class c
     WHERE c.relnamespace = 'eda'::regnamespace AND c.relkind IN ('r', 'v', 'S') AND obj_description(c.oid, 'pg_class') IS NULL$$,
    'segments that were made later, too');
\ir include/end.sql
