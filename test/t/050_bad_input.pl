# What cannot work says so, with an SQLSTATE, and loses nothing.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my ($rc, $out, $err);

my $node = new_node('bad', allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
setup_roles($node);

sub query { return $node->safe_psql('postgres', $_[0]); }

# SQLSTATE of the error that the statements end in, or "none".
sub sqlstate
{
	my ($server, $sql, @options) = @_;
	my ($code, $stdout, $stderr) =
	  $server->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=sqlstate', '-U', 'postgres', @options ]);

	return $stderr =~ /ERROR:\s+(\w{5})/ ? $1 : 'none';
}

# ---- the library is not preloaded ----

is($node->psql('postgres', 'CREATE EXTENSION eda'), 0, 'not preloaded: CREATE EXTENSION works');
query(
	q{
	CREATE TABLE handled (id bigint, n int);
	GRANT ALL ON handled TO app;
	CREATE FUNCTION note(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.handled VALUES (e.id, (e.payload->>'n')::int);
	END $$;
});
($rc, $out, $err) = $node->psql('postgres',
	"\\set VERBOSITY verbose\nSELECT eda.subscribe('notes', 'test.note', 'public.note', owner => 'app')");
is($rc, 0, 'so does subscribe');
like($err, qr/WARNING:  ED015: .*"notes".*not preloaded.*HINT:[^\n]*shared_preload_libraries/s, 'with a WARNING that names the setting');
publish($node, 'postgres', $_) foreach 1 .. 3;
query(q{SELECT eda.publish_batch('test.note', ARRAY['{"n": 4}', '{"n": 5}']::jsonb[])});
query(q{SELECT eda.publish_query('test.note', 'SELECT 5 + i AS n FROM generate_series(1, 2) i')});
is( query("SELECT state, blocked_reason, backlog FROM eda.subscriptions"),
	'active|library not preloaded|7', 'publishing works, and eda.subscriptions says that nothing is delivered');
query(q{BEGIN; SELECT eda.publish('test.note', '{"n": 8}'); ROLLBACK});
is(sqlstate($node, 'CALL eda.wait()'), 'ED020', 'eda.wait() does not wait for ever');
is(query("SELECT count(*) FROM eda.workers"), '0', 'there are no workers');
is($node->psql('postgres', 'ALTER EXTENSION eda UPDATE'), 0, 'ALTER EXTENSION works');

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'eda'");
$node->restart;
wait_handled($node, 'postgres', 1, 'preloaded: what waited is delivered');
query('CALL eda.wait()');
is(query("SELECT string_agg(n::text, ' ' ORDER BY id), count(DISTINCT id) FROM handled"), '1 2 3 4 5 6 7|7', 'all of it, once');
is(query("SELECT state, blocked_reason, backlog FROM eda.subscriptions"), 'active||0', 'eda.subscriptions has nothing to say');

# ---- where nothing can be written ----

my %writers = (
	'publish' => q{SELECT eda.publish('test.note')},
	'publish with a key' => q{SELECT eda.publish('test.note', idempotency_key => 'k')},
	'publish_batch' => q{SELECT eda.publish_batch('test.note', ARRAY['{}']::jsonb[])},
	'publish_query' => q{SELECT eda.publish_query('test.note', 'SELECT 1')},
	'subscribe' => q{SELECT eda.subscribe('other', 'test.note', 'public.note', owner => 'app')},
	'subscribe again' => q{SELECT eda.subscribe('notes', 'test.note', 'public.note', owner => 'app')},
	'alter_subscription' => q{SELECT eda.alter_subscription('notes', '{"batch_size": 5}')},
	'unsubscribe' => q{SELECT eda.unsubscribe('notes')},
	'pause' => q{SELECT eda.pause('notes')},
	'resume' => q{SELECT eda.resume('notes')},
	'redrive' => q{SELECT eda.redrive('notes', '{1}')},
	'redrive_all' => q{SELECT eda.redrive_all('notes')},
	'discard' => q{SELECT eda.discard('notes', '{1}')},
	'discard_all' => q{SELECT eda.discard_all('notes')},
	'adopt' => q{SELECT eda.adopt()},
	'skip' => q{SELECT eda.skip('notes', 1)},
	'run_pending' => q{SELECT eda.run_pending('notes')},
	'unschedule' => q{SELECT eda.unschedule('none')},
	'run_job' => q{CALL eda.run_job('none')});
my $before = query("SELECT * FROM eda.subscriptions");
my $events = query("SELECT count(*) FROM eda.events");

foreach my $name (sort keys %writers)
{
	is(sqlstate($node, "SET default_transaction_read_only = on; $writers{$name}"), '25006', "read-only transaction: $name");
}
is(sqlstate($node, "BEGIN; SET TRANSACTION READ ONLY; $writers{publish}"), '25006', 'BEGIN READ ONLY: publish');
is(query("SELECT * FROM eda.subscriptions"), $before, 'nothing was changed');

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
foreach my $name (sort keys %writers)
{
	is(sqlstate($standby, $writers{$name}), '25006', "standby: $name");
}
is(sqlstate($standby, 'CALL eda.wait()'), 'ED020', 'standby: wait');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM eda.events'), $events, 'the views can be read there');
$standby->stop;

# ---- payload over the limit ----

($rc, $out, $err) = $node->psql('postgres',
	q{SET eda.max_payload_size = 1; SELECT eda.publish('test.note', to_jsonb(repeat('x', 2000)))});
like($err, qr/payload of 20\d\d bytes is larger than eda.max_payload_size \(1 kB\).*HINT:/s, 'a payload over the limit');
is(sqlstate($node, q{SET eda.max_payload_size = 1; SELECT eda.publish('test.note', to_jsonb(repeat('x', 2000)))}), 'ED003', 'SQLSTATE ED003');
is(sqlstate($node, q{SET eda.max_payload_size = 1; SELECT eda.publish_batch('test.note', ARRAY['{}', to_jsonb(repeat('x', 2000))])}), 'ED003', 'one in a batch');
is(sqlstate($node, q{SET eda.max_payload_size = 1; SELECT eda.publish_query('test.note', $$SELECT repeat('x', 2000) AS x$$)}), 'ED003', 'one in a query');
is(sqlstate($node, 'SET eda.max_payload_size = 1', '-U', 'joe'), '42501', 'the limit is a superuser\'s');
is(query('SELECT count(*) FROM eda.events'), $events, 'none of them was published');

# ---- CREATE EXTENSION ----

$node->safe_psql('postgres', 'CREATE DATABASE joes OWNER joe');
($rc, $out, $err) = $node->psql('joes', "\\set VERBOSITY verbose\nCREATE EXTENSION eda", extra_params => [ '-U', 'joe' ]);
like($err, qr/42501: permission denied to create extension "eda"/, 'CREATE EXTENSION by a database owner is refused');
$node->safe_psql('joes', 'CREATE SCHEMA eda; CREATE TABLE eda.subscription (name text)', extra_params => [ '-U', 'joe' ]);
($rc, $out, $err) = $node->psql('joes', "CREATE EXTENSION eda");
like($err, qr/schema "eda" already exists/, 'a schema eda that somebody made before is not taken over');
$node->safe_psql('postgres', 'DROP DATABASE joes');

# ---- pg_dump and pg_restore ----

# Subscriptions and events are not dumped by this version; everything else is.
query(
	q{
	GRANT USAGE ON SCHEMA eda TO joe;
	GRANT EXECUTE ON FUNCTION eda.publish TO joe;
	CREATE TABLE orders (id int PRIMARY KEY);
	CREATE FUNCTION announce() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM eda.publish('order.created', to_jsonb(NEW));
		RETURN NULL;
	END $$;
	CREATE TRIGGER announce AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION announce();
	INSERT INTO orders SELECT generate_series(1, 10);
	CREATE TABLE kept (e eda.event);
	INSERT INTO kept SELECT eda.make_event('a.b', '{"x": 1}');
	CREATE VIEW state AS SELECT subscription, state, backlog FROM eda.subscriptions;
});
my $dump = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ], 'pg_dump of a database with the extension');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $dump ], 'pg_restore');

sub restored { return $node->safe_psql('restored', $_[0]); }

is(restored("SELECT extversion FROM pg_extension WHERE extname = 'eda'"), query("SELECT extversion FROM pg_extension WHERE extname = 'eda'"),
	'the extension is there');
is(restored('SELECT count(*), max((e).payload::text) FROM orders, kept'), '10|{"x": 1}', 'what uses its types and functions, too');
is(restored("SELECT has_function_privilege('joe', p.oid, 'EXECUTE') FROM pg_proc p WHERE p.oid = 'eda.publish'::regproc"), 't', 'a right that was granted is there');
# the parts of views, whose names begin with _, are anybody's, and tell nothing to whom they do not concern
is( restored(
		"SELECT string_agg(proname, ' ') FROM pg_proc WHERE pronamespace = 'eda'::regnamespace AND proname !~ '^_' AND (has_function_privilege('app', oid, 'EXECUTE') OR has_function_privilege('joe', oid, 'EXECUTE') AND proname <> 'publish')"
	),
	'',
	'and no other is');
is(restored('SELECT count(*) FROM state') . restored('SELECT count(*) FROM eda.events'), '00', 'subscriptions and events are not: this version does not dump them');
is(query("SELECT count(*) FROM state") . ' ' . (query('SELECT count(*) FROM eda.events') - $events), '1 10', 'the database that was dumped has them still');

restored("SELECT eda.subscribe('notes', 'test.note', 'public.note', owner => 'app')");
publish($node, 'restored', 100);
wait_handled($node, 'restored', 100, 'the restored database publishes and handles');
is(query('SELECT count(*) FROM handled WHERE n = 100'), '0', 'on its own');

unlike(slurp_file($node->logfile), qr/TRAP:|PANIC:|terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
