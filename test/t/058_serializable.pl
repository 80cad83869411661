# Publishing at SERIALIZABLE: idempotency keys make transactions fail no more often than a unique index
# of the application's own does, and nothing that they are about depends on the isolation level.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('serializable');
$node->append_conf('postgresql.conf', "max_prepared_transactions = 5\nfsync = off");
$node->start;
setup_roles($node);
setup_db($node, 'postgres');

sub query { return $node->safe_psql('postgres', $_[0]); }

# ---- what a publisher leaves for others to conflict with ----

my $locks = q{SELECT count(*) FROM pg_locks WHERE mode = 'SIReadLock' AND pid = pg_backend_pid()
	 AND relation IN (SELECT oid FROM pg_class WHERE relnamespace = 'eda'::regnamespace AND (relname LIKE 'idempotency%%' OR relname LIKE 'log%%' OR relname LIKE 'delayed%%'))};
query(q{SELECT eda.publish('test.key', '{"n": 1}', idempotency_key => 'before');
	SELECT eda.publish('test.key', '{"n": 1}', idempotency_key => 'over');
	UPDATE eda.idempotency SET published_at = published_at - interval '25 hours' WHERE idempotency_key = 'over'});
foreach my $level ('SERIALIZABLE', 'REPEATABLE READ')
{
	foreach my $call (
		[ q{SELECT eda.publish('test.key', '{"n": 1}', idempotency_key => 'new')}, 'a new key' ],
		[ q{SELECT eda.publish('test.key', '{"n": 1}', idempotency_key => 'before')}, 'one that was used' ],
		[ q{SELECT eda.publish('test.key', '{"n": 2}', idempotency_key => 'over')}, 'one whose window is over' ],
		[ q{SELECT eda.publish('test.key', '{"n": 1}', idempotency_key => 'later', deliver_at => now() + interval '1 hour')}, 'a delayed event' ],
		[ q{SELECT eda.publish_query('test.key', 'SELECT g AS n, g::text AS k FROM generate_series(1, 1200) g', idempotency_key_column => 'k')}, 'a query' ],
		[ q{SELECT eda.publish_query('test.key', 'SELECT g AS n, g::text AS k FROM generate_series(1, 1200) g UNION ALL SELECT g, g::text FROM generate_series(1, 3) g', idempotency_key_column => 'k')}, 'a query with keys twice' ])
	{
		my $found = query("BEGIN ISOLATION LEVEL $level; $call->[0]; $locks; ROLLBACK");

		# an update takes the lock of the row that it writes, which concerns nobody else
		cmp_ok((split /\n/, $found)[-1], '<=', $call->[1] =~ /over/ ? 1 : 0, "$level, $call->[1]: no predicate locks where others write");
	}
}

# ---- the outcome is the same ----

my $first = query(q{SELECT event_id FROM eda.idempotency WHERE idempotency_key = 'before'});
foreach my $level ('SERIALIZABLE', 'REPEATABLE READ', 'READ COMMITTED')
{
	my $key = lc $level;

	is(query(qq{BEGIN ISOLATION LEVEL $level; SELECT eda.publish('test.key', '{"n": 1}', idempotency_key => 'before'); COMMIT}), $first, "$level: the first event's id");
	my ($code, $stdout, $stderr) = $node->psql('postgres', qq{\\set VERBOSITY verbose
		BEGIN ISOLATION LEVEL $level; SELECT eda.publish('test.key', '{"n": 9}', idempotency_key => 'before')});
	like($stderr, qr/ERROR:\s+ED005:/, "$level: another payload is an error");
	is( query(qq{BEGIN ISOLATION LEVEL $level;
			SELECT eda.publish('test.key', '{"n": 1}', idempotency_key => '$key') = eda.publish('test.key', '{"n": 1}', idempotency_key => '$key');
			SAVEPOINT a; SELECT eda.publish('test.key', '{"n": 1}', idempotency_key => '$key 2') > 0; ROLLBACK TO a;
			SELECT eda.publish('test.key', '{"n": 2}', idempotency_key => '$key 2') > 0; COMMIT;
			SELECT count(*), count(event_id) FROM eda.idempotency WHERE idempotency_key LIKE '$key%'}),
		"t\nt\nt\n2|2", "$level: twice in a transaction, and again after a savepoint was rolled back");
}

# ---- how many fail ----

my $dir = PostgreSQL::Test::Utils::tempdir();
my ($clients, $transactions) = (4, 400);

query(q{CREATE TABLE account (id int PRIMARY KEY, v int); INSERT INTO account SELECT i, 0 FROM generate_series(1, 1000) i});

# The share of failed transactions; both begin with young, small tables, where the risk is greatest.
sub failed
{
	my ($name, $publish) = @_;

	append_to_file("$dir/$name", "\\set a random(1, 1000)\n\\set u random(1, 1000000000)\nBEGIN;\nUPDATE account SET v = v + 1 WHERE id = :a;\n$publish\nCOMMIT;\n");
	local $ENV{PGOPTIONS} = '-c default_transaction_isolation=serializable';
	my ($stdout, $stderr) = run_command([ 'pgbench', '-n', '-f', "$dir/$name", '-c', $clients, '-t', $transactions, '--max-tries=1',
			'-h', $node->host, '-p', $node->port, 'postgres' ]);

	like($stdout, qr/number of failed transactions: \d+/, "$name has run") or diag($stderr);
	return $stdout =~ /number of failed transactions: (\d+)/ ? $1 : $clients * $transactions;
}

query('CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY, p jsonb, k text UNIQUE); TRUNCATE eda.idempotency');
my $plain = failed('plain', q{INSERT INTO outbox (p, k) VALUES ('{}', 'k' || :u);});
my $eda = failed('eda', q{SELECT eda.publish('test.serial', idempotency_key => 'k' || :u);});
my $repeated = failed('repeated', q{SELECT eda.publish('test.serial', idempotency_key => 'r' || :u % 50);});
note("of " . $clients * $transactions . " transactions failed: plain $plain, eda $eda, with keys that are used again $repeated");
cmp_ok($eda, '<=', 2 * $plain + $clients * $transactions / 50, 'keys, all different: at most twice as many as with a unique index');
# some wait for the one that publishes their key first, and cannot see it
cmp_ok($repeated, '<=', 2 * $plain + $clients * $transactions / 5, 'keys that are used again: few fail');
is(query(q{SELECT count(*), count(DISTINCT event_id) FROM eda.idempotency WHERE topic = 'test.serial' AND idempotency_key LIKE 'r%'}),
	query(q{SELECT least(count(*), 50), least(count(*), 50) FROM eda.idempotency WHERE topic = 'test.serial' AND idempotency_key LIKE 'r%'}), 'each key has one event');
is(query(q{SELECT count(*) FROM eda.events WHERE topic = 'test.serial'}), query(q{SELECT count(*) FROM eda.idempotency WHERE topic = 'test.serial'}), 'and each event a key');

$node->stop;
done_testing();
