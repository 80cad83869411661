-- The example of docs/testing.md, as it stands there.  psql's directory is the top of the tree.
SET client_min_messages = error;
\set example `f=$(mktemp) && perl -ne 'print if /^\x60{3}sql/ .. /^\x60{3}$/ and not /^\x60/' docs/testing.md >"$f" && echo "$f"`
\i :example
\set example `rm :'example'`
