SELECT * FROM finish();
\ir clean.sql
