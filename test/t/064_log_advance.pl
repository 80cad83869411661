# What waits for a subscription that is paused for long costs the dispatcher nothing when others change.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;
use LogTest;

log_node('log_advance', 'log_min_messages = debug1');
my $waiting = 20000;
query(q{
	CREATE FUNCTION late(e eda.event) RETURNS void LANGUAGE sql AS $$ SELECT $$;
	SELECT eda.subscribe('paused', 'test.kept', 'public.late', owner => 'app', concurrency => 4);
	SELECT eda.subscribe('paused_later', 'test.kept', 'public.late', owner => 'app');
	SELECT eda.subscribe('idle', 'test.idle', 'public.late', owner => 'app');
	SELECT eda.pause('paused');
});
handle_one('an event is handled');
passes();
query(qq{DO \$\$ BEGIN FOR i IN 1 .. $waiting LOOP PERFORM eda.publish('test.kept', '{}', i::text); IF i % 100 = 0 THEN COMMIT; END IF; END LOOP; END \$\$});
query(q{SELECT eda.pause('paused_later')});
handle_one('another one after all that waits');
passes();

# How many index entries the passes looked at from there on.
my $offset = -s $node->logfile;

sub looked_at
{
	my @n = slurp_file($node->logfile, $offset) =~ /looked at (\d+) index entries for idle cursors/g;
	my $sum = 0;

	$sum += $_ foreach @n;
	return ($sum, scalar @n);
}

for my $i (1 .. 5)
{
	query(qq{SELECT eda.alter_subscription('idle', '{"priority": $i}')});
	rotate();
}
my ($sum, $passes) = looked_at();
cmp_ok($passes, '>=', 5, 'cursors are looked at after each change of a subscription');
cmp_ok($sum, '<', $passes * 200, "which does not go through what waits for the paused ones");
is(query(q{SELECT backlog FROM eda.subscriptions WHERE subscription = 'paused'}), "$waiting", 'it is there');

# It is there still, and is handled when it is resumed.
query(q{SELECT eda.resume('paused')});
wait_for(q{SELECT handled = 20000 AND backlog = 0 FROM eda.subscriptions WHERE subscription = 'paused'}, 'and is handled in the end');
handle_one('as is what comes then');

unlike(slurp_file($node->logfile), qr/TRAP:|PANIC:|terminated by signal|ERROR: /, 'nothing went wrong');
$node->stop;
done_testing();
