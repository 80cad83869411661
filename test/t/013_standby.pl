# A standby has no workers and takes no events; promoted, it goes on.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my ($rc, $out, $err);

my $primary = new_node('primary', allows_streaming => 1);
$primary->start;
setup_roles($primary);
setup_db($primary, 'postgres');
publish($primary, 'postgres', 1);
wait_handled($primary, 'postgres', 1, 'handled on the primary');

$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));

is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'eda %'"),
	'0', 'no worker on the standby');
is(handled($standby, 'postgres', 1), '1', 'which has what the handler did');
($rc, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT eda.publish('test.note')");
like($err, qr/25006: cannot execute .* during recovery/, 'publishing there is refused');
($rc, $out, $err) = $standby->psql('postgres', 'DROP EXTENSION eda');
like($err, qr/cannot execute DROP EXTENSION in a read-only transaction|during recovery/, 'and so is DROP EXTENSION');
is($standby->safe_psql('postgres', "SELECT state FROM eda.subscriptions WHERE subscription = 'notes'"),
	'active', 'the views can be read');

# published, but not handled, when the primary goes
$primary->safe_psql('postgres', 'ALTER SYSTEM SET eda.enabled = off; SELECT pg_reload_conf()');
wait_no_workers($primary, 'postgres', 'the primary handles nothing any more');
my $last_id = publish($primary, 'postgres', 2);
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
$primary->stop;
$standby->promote;

ok($standby->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eda launcher'"),
	'promotion starts the launcher');
wait_handled($standby, 'postgres', 2, 'what was left to do is done');
is(handled($standby, 'postgres', 1), '1', 'what was done is not done again');
cmp_ok(publish($standby, 'postgres', 3), '>', $last_id, 'ids go on');
wait_handled($standby, 'postgres', 3, 'and so do events');

$standby->stop;
done_testing();
