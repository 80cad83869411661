# kill -9: the server starts anew, and every event takes effect once.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('crash');
$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$node->start;
setup_roles($node);
setup_db($node, 'postgres');

# SIGKILL that worker, and wait until the server is there again.
sub kill_worker
{
	my ($kind) = @_;
	my $pid = wait_worker($node, 'postgres', $kind);
	my $start = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");

	kill 'KILL', $pid;
	return $node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'checkpointer' AND pid <> $start");
}

for my $kind ('dispatcher', 'executor')
{
	my $n = $kind eq 'dispatcher' ? 1 : 2;

	publish($node, 'postgres', 10 * $n);
	wait_handled($node, 'postgres', 10 * $n, 'an event is handled');
	ok(kill_worker($kind), "kill -9 of the $kind");
	publish($node, 'postgres', 10 * $n + 1);
	wait_handled($node, 'postgres', 10 * $n + 1, 'the next one is, too');
}

# Ten thousand events, in transactions of a hundred.
my $total = 10000;
$node->safe_psql(
	'postgres', qq{
	TRUNCATE handled;
	CREATE OR REPLACE FUNCTION note(e eda.event) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		INSERT INTO public.handled VALUES (e.id, (e.payload->>'n')::int);
		PERFORM pg_sleep(0.0002);
	END \$\$;
	SELECT eda.pause('notes');
	DO \$\$
	BEGIN
		FOR i IN 0 .. $total / 100 - 1 LOOP
			PERFORM eda.publish('test.note', jsonb_build_object('n', 100 * i + j)) FROM generate_series(1, 100) j;
			COMMIT;
		END LOOP;
	END \$\$;
	SELECT eda.resume('notes');
});
for my $mark (500, 3000, 6000)
{
	$node->poll_query_until('postgres', "SELECT count(*) > $mark FROM handled");
	cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM handled'), '<', $total, 'in the middle of it');
	ok(kill_worker('executor'), 'kill -9 of the executor');
}
ok($node->poll_query_until('postgres', "SELECT count(*) >= $total FROM handled"), 'all are handled');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id), count(DISTINCT n), min(n), max(n) FROM handled'),
	"$total|$total|$total|1|$total", 'each of them once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM eda.dead_letters'), '0', 'none is dead');

$node->stop;
done_testing();
