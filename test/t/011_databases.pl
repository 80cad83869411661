# Commands on databases whose workers are in the way.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my ($rc, $out, $err, $pid);

my $node = new_node('databases');
$node->start;
setup_roles($node);
$node->safe_psql('postgres', 'CREATE DATABASE a');
setup_db($node, 'a');
publish($node, 'a', 1);
wait_handled($node, 'a', 1, 'events are handled');

# ---- refused: nobody is disturbed ----

$pid = wait_worker($node, 'a', 'dispatcher');
for my $command ('DROP DATABASE a', 'ALTER DATABASE a RENAME TO b', 'ALTER DATABASE a SET TABLESPACE pg_default')
{
	($rc, $out, $err) = $node->psql('postgres', $command, extra_params => [ '-U', 'joe' ]);
	like($err, qr/must be owner of database a/, "$command: not by somebody else");
}
($rc, $out, $err) = $node->psql('postgres', 'CREATE DATABASE b TEMPLATE a', extra_params => [ '-U', 'joe' ]);
like($err, qr/permission denied to copy database "a"/, 'CREATE DATABASE ... TEMPLATE: not by somebody else');
($rc, $out, $err) = $node->psql('a', 'DROP DATABASE a');
like($err, qr/cannot drop the currently open database/, 'nor from inside');
($rc, $out, $err) = $node->psql('postgres', 'BEGIN; DROP DATABASE a; COMMIT');
like($err, qr/cannot run inside a transaction block/, 'nor in a transaction');
is($node->psql('postgres', 'DROP DATABASE IF EXISTS no_such_database'), 0, 'IF EXISTS');
is(worker_pid($node, 'a', 'dispatcher'), $pid, 'the dispatcher was left alone');

# ---- fails: the workers come back ----

my $session = $node->background_psql('a');
($rc, $out, $err) = $node->psql('postgres', 'DROP DATABASE a');
like($err, qr/is being accessed by other users.*There is 1 other session using the database/s,
	'DROP DATABASE counts no worker of ours among those who are in the way');
ok(wait_new_worker($node, 'a', 'dispatcher', $pid), 'its failure brings the dispatcher back');
publish($node, 'a', 2);
wait_handled($node, 'a', 2, 'and events are handled');
$session->quit;

# ---- succeeds ----

keep_busy($node, 'a', 20);
is($node->psql('postgres', 'ALTER DATABASE a RENAME TO b'), 0, 'RENAME with workers');
wait_handled($node, 'b', 20, 'the event whose handler ran is handled');
wait_handled($node, 'b', 21, 'and the next one');

keep_busy($node, 'b', 30);
is($node->psql('postgres', 'CREATE DATABASE c TEMPLATE b'), 0, 'CREATE DATABASE ... TEMPLATE with workers');
wait_handled($node, 'b', 30, 'the event whose handler ran is handled');
wait_handled($node, 'b', 31, 'and the next one');
ok(wait_worker($node, 'c', 'dispatcher'), 'the copy has a dispatcher, too');
ok($node->poll_query_until('c', "SELECT state = 'blocked' AND blocked_reason = 'copied' FROM eda.subscriptions"),
	'which delivers nothing: its subscriptions are blocked as copied');
publish($node, 'c', 32);
is($node->safe_psql('c', 'SELECT count(*) FROM handled WHERE n IN (30, 31, 32)'), '0', 'neither what was pending nor what is new');
is($node->safe_psql('c', 'SELECT eda.adopt()'), '1', 'until it is adopted');
wait_handled($node, 'c', $_, "then event $_ is handled there, too") foreach 30, 31, 32;

my $tablespace = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$tablespace'");
keep_busy($node, 'b', 40);
is($node->psql('postgres', 'ALTER DATABASE b SET TABLESPACE elsewhere'), 0, 'SET TABLESPACE with workers');
wait_handled($node, 'b', 40, 'the event whose handler ran is handled');
wait_handled($node, 'b', 41, 'and the next one');

$pid = wait_worker($node, 'b', 'dispatcher');
$node->safe_psql('postgres', 'ALTER DATABASE b IS_TEMPLATE true');
wait_no_workers($node, 'b', 'a template has no workers');
$node->safe_psql('postgres', 'ALTER DATABASE b IS_TEMPLATE false');
publish($node, 'b', 1000);
wait_handled($node, 'b', 1000, 'until it is none any more');

keep_busy($node, 'b', 50);
is($node->psql('postgres', 'DROP DATABASE b'), 0, 'DROP DATABASE with workers');
is($node->psql('postgres', 'DROP DATABASE c WITH (FORCE)'), 0, 'DROP DATABASE ... FORCE');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('eda dispatcher', 'eda executor')"),
	'no worker is left');

# ---- one database after the other, and a scan ----

$node->safe_psql('postgres', "CREATE DATABASE d$_") for 1 .. 10;
setup_db($node, $_) for 'd3', 'd9';
$node->append_conf('postgresql.conf', 'max_worker_processes = 7');
$node->restart;
publish($node, 'd3', 1);
wait_handled($node, 'd3', 1, 'a scan finds the extension among many databases');
publish($node, 'd9', 1);
wait_handled($node, 'd9', 1, 'in the second one, too');
unlike(slurp_file($node->logfile), qr/no free background worker slot/, 'with few worker slots');

$node->stop;
done_testing();
