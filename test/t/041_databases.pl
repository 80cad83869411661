# More databases with eda than eda.max_databases: they are told so, publish all the same, and are served once there is a slot.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my ($rc, $out, $err);

my $node = new_node('databases');
$node->append_conf('postgresql.conf', 'eda.max_databases = 2');
$node->start;
setup_roles($node);
$node->safe_psql('postgres', "CREATE DATABASE d$_") foreach 1 .. 3;
setup_db($node, $_) foreach 'd1', 'd2';
foreach my $db ('d1', 'd2')
{
	publish($node, $db, 1);
	wait_handled($node, $db, 1, "$db is served");
}

# ---- one too many ----

($rc, $out, $err) = $node->psql('d3', 'CREATE EXTENSION eda');
is($rc, 0, 'CREATE EXTENSION in a third one');
like($err, qr/WARNING:  nothing will be delivered in database "d3": every database slot of eda is taken.*HINT:.*eda\.max_databases, now 2/s, 'warns');
$node->safe_psql('d3', q{
	CREATE TABLE handled (id bigint, n int, at timestamptz DEFAULT clock_timestamp());
	GRANT ALL ON handled TO app;
	CREATE FUNCTION note(e eda.event) RETURNS void LANGUAGE sql AS 'INSERT INTO public.handled VALUES (e.id, (e.payload->>''n'')::int)'});
($rc, $out, $err) = $node->psql('d3', q{SELECT eda.subscribe('notes', 'test.note', 'public.note', owner => 'app')});
like($err, qr/WARNING:  subscription "notes" will get no events: every database slot of eda is taken/, 'so does eda.subscribe');
is($node->safe_psql('d3', 'SELECT state, blocked_reason, blocked_detail ~ \'eda.max_databases\' FROM eda.subscriptions'),
	'active|no database slot|t', 'and eda.subscriptions says so');
($rc, $out, $err) = $node->psql('d3', 'CALL eda.wait()');
like($err, qr/nothing is delivered in this database: every database slot of eda is taken/, 'eda.wait does not wait');
($rc, $out, $err) = $node->psql('d3', 'SELECT eda.rotate_log()');
like($err, qr/cannot be rotated.*HINT:.*eda\.max_databases/s, 'nor does eda.rotate_log');

# ids, by several backends, before and after there is a slot
$node->safe_psql('d3', qq{SELECT count(eda.publish('test.note', jsonb_build_object('n', 100 + i))) FROM generate_series(1, 10) i}) foreach 1 .. 2;
my $session = $node->background_psql('d3');
$session->query_safe(q{SELECT eda.publish('test.note', '{"n": 111}')});
is($node->safe_psql('d3', 'SELECT count(*), count(DISTINCT id) FROM eda.events'), '21|21', 'events are published there, each under an id of its own');

# ---- a slot becomes free ----

is($node->psql('d1', 'DROP EXTENSION eda CASCADE'), 0, 'DROP EXTENSION in another one');
wait_handled($node, 'd3', 111, 'gives the third one its slot, without a restart');
$session->query_safe(q{SELECT eda.publish('test.note', '{"n": 112}')});
publish($node, 'd3', 113);
$session->query_safe(q{SELECT eda.publish('test.note', '{"n": 114}')});
wait_handled($node, 'd3', $_, "event $_ is handled") foreach 112 .. 114;
$session->quit;
is($node->safe_psql('d3', 'SELECT count(*), count(DISTINCT id) FROM eda.events'), '24|24', 'no id was given out twice');
is($node->safe_psql('d3', 'SELECT count(*), count(DISTINCT id) FROM handled'), '24|24', 'each is handled once');
is($node->safe_psql('d3', 'SELECT blocked_reason IS NULL FROM eda.subscriptions'), 't', 'and nothing is said any more');

# the first one again
($rc, $out, $err) = $node->psql('d1', 'CREATE EXTENSION eda');
like($err, qr/WARNING:  nothing will be delivered in database "d1"/, 'now the first one is too many');
$node->safe_psql('postgres', 'DROP DATABASE d2');
ok($node->poll_query_until('d1', q{SELECT count(*) = 1 FROM eda.workers WHERE kind = 'dispatcher' AND database = 'd1'}),
	'until a database is dropped');

unlike(slurp_file($node->logfile), qr/TRAP:|PANIC:|terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
