# A backlog of many more events than an executor keeps at once, by
# transactions that overlap, so that the order of the xids is not that of the
# ids: each event is delivered once, and in one window in the order of the ids.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('backlog');
$node->append_conf('postgresql.conf', "eda.segment_size = '32MB'");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION eda;
	CREATE TABLE handled (seq bigserial, id bigint, key text, attempt int);
	CREATE FUNCTION take(es eda.event[]) RETURNS void LANGUAGE sql AS $$
		INSERT INTO handled (id, key, attempt) SELECT id, key, attempt FROM unnest(es) WITH ORDINALITY u ORDER BY ordinality
	$$;
	SELECT eda.subscribe('all', 'load.all', 'take', batch_size => 5000);
	SELECT eda.pause('all');
	CREATE FUNCTION put(topic text, n int) RETURNS void LANGUAGE sql AS $$
		SELECT eda.publish_batch(topic, array_agg('{}'::jsonb), array_agg('k' || i % 7)) FROM generate_series(1, n) i
	$$;
});

# Who published, in turns, and how often at once: the last one to begin has the highest xid.
sub interleave
{
	my ($turns, $n, @topics) = @_;
	my @sessions = map { $node->background_psql('postgres') } @topics;

	$_->query_safe('BEGIN; SELECT pg_current_xact_id()') foreach reverse @sessions;
	for my $turn (1 .. $turns)
	{
		$sessions[$_]->query_safe("SELECT put('$topics[$_]', $n)") foreach 0 .. $#topics;
		$node->safe_psql('postgres', 'SELECT eda.rotate_log()') if $turn % 4 == 0;
	}
	$_->query_safe('COMMIT') foreach @sessions;
	$_->quit foreach @sessions;
}

# Three at a time, with events of others in between; one is rolled back in part.
interleave(12, 5000, 'load.all', 'load.other', 'load.all', 'load.all');
$node->safe_psql('postgres', q{BEGIN; SELECT put('load.all', 3000); SAVEPOINT s; SELECT put('load.all', 3000); ROLLBACK TO s; SELECT put('load.all', 3000); COMMIT});
my $n = 12 * 5000 * 3 + 6000;

$node->safe_psql('postgres', "SELECT eda.resume('all')");
$node->safe_psql('postgres', "CALL eda.wait('all', '2 min')", timeout => 180);
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT id) FROM handled'), "$n|$n", 'each event of a large backlog once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT id < lag(id) OVER (ORDER BY seq) AS wrong FROM handled) s WHERE wrong'),
	'0', 'and in one window all in the order of their ids');

# Half of it again, and the executor is killed in the middle: it starts from where it was.
my $middle = $node->safe_psql('postgres', 'SELECT percentile_disc(0.3) WITHIN GROUP (ORDER BY id) FROM handled');
$node->safe_psql('postgres', qq{TRUNCATE handled; SELECT eda.seek('all', $middle)});
$node->poll_query_until('postgres', 'SELECT count(*) > 20000 FROM handled') or die 'nothing is delivered';
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'eda executor'");
$node->safe_psql('postgres', "CALL eda.wait('all', '2 min')", timeout => 180);
is($node->safe_psql('postgres', "SELECT count(*) = count(DISTINCT id), min(id), count(*) = (SELECT count(*) FROM eda.events WHERE topic = 'load.all' AND id >= $middle) FROM handled"),
	"t|$middle|t", 'after a seek and with another executor too');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT id < lag(id) OVER (ORDER BY seq) AS wrong FROM handled) s WHERE wrong'), '0', 'and in order');

# Blocks of a window take in xids that are not in it: of transactions that were still open when it
# was taken, and of what was handled before it.
sub count_of { return $node->safe_psql('postgres', "SELECT count(*), count(DISTINCT id) FROM handled"); }

$node->safe_psql('postgres', q{TRUNCATE handled; SELECT eda.pause('all'); SELECT put('load.all', 70000)});
my $open = $node->background_psql('postgres');
$open->query_safe(q{BEGIN; SELECT eda.publish('load.all')});
$node->safe_psql('postgres', q{SELECT put('load.all', 40000)});
$node->safe_psql('postgres', q{SELECT eda.resume('all')});
$node->poll_query_until('postgres', 'SELECT count(*) > 5000 FROM handled') or die 'nothing is delivered';
$open->query_safe('COMMIT');
$node->safe_psql('postgres', "CALL eda.wait('all', '2 min')", timeout => 180);
is(count_of(), '110001|110001', 'a transaction that commits while its window is gone through: once');

$node->safe_psql('postgres', 'TRUNCATE handled');
$open->query_safe(q{BEGIN; SELECT put('load.all', 70000)});
$node->safe_psql('postgres', q{SELECT eda.publish('load.all')});
$node->safe_psql('postgres', "CALL eda.wait('all')");
is(count_of(), '1|1', 'one that is younger is handled');
$node->safe_psql('postgres', q{SELECT eda.pause('all')});
$open->query_safe(q{SELECT eda.publish('load.all'); COMMIT});
$node->safe_psql('postgres', q{SELECT eda.publish('load.all'); SELECT eda.resume('all')});
$node->safe_psql('postgres', "CALL eda.wait('all', '2 min')", timeout => 180);
is(count_of(), '70003|70003', 'and not again, when the older one has committed');
$open->quit;

$node->stop;
done_testing();
