# Roles that may write to all tables, by pg_write_all_data or by a GRANT of the owner's, do not write to eda's:
# no handler runs as somebody else for it, and nobody's triggers are on them.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('granted');
$node->start;
setup_roles($node);
setup_db($node, 'postgres');

sub query { return $node->safe_psql('postgres', $_[0]); }

# SQLSTATE of the error that a role's statements end in, or "none"
sub try_as
{
	my ($role, $sql) = @_;
	my ($code, $stdout, $stderr) = $node->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose', '-U', $role ]);

	return $stderr =~ /(?:ERROR|FATAL):\s+(\w{5}):/ ? $1 : 'none';
}

# Each of many statements as a role, in one session that begins with $before: those that do not end as
# $allowed says, with their SQLSTATEs.
sub try_many
{
	my ($role, $before, $allowed, @statements) = @_;
	my $list = join ', ', map { "(\$sql\$$_\$sql\$)" } @statements;
	my $got = $node->safe_psql('postgres', "$before; SELECT s, public.attempt(s) FROM (VALUES $list) v (s)", extra_params => [ '-U', $role ]);
	my @lines = grep { /\|\w{5}$/ || /\|none$/ } split /\n/, $got;

	is(scalar @lines, scalar @statements, scalar(@statements) . " statements of $role were tried");
	return join "\n", grep { !/\|$allowed$/ } @lines;
}

query(q{CREATE FUNCTION attempt(sql text) RETURNS text LANGUAGE plpgsql AS
	'BEGIN EXECUTE sql; RETURN $$none$$; EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END'});

# A second segment of the log is made at run time.
publish($node, 'postgres', 1);
query('SELECT eda.rotate_log()');
publish($node, 'postgres', 2);
query('CALL eda.wait()');
is(query(q{SELECT count(*) > 1 FROM pg_class WHERE relname ~ '^log_\d+$' AND relnamespace = 'eda'::regnamespace}), 't', 'there are several segments');

# writer and granted could do all that privileges give; so could owner, and postgres, who is a superuser
query(q{
	CREATE ROLE writer LOGIN IN ROLE pg_read_all_data, pg_write_all_data;
	CREATE ROLE granted LOGIN;
	CREATE ROLE reader LOGIN IN ROLE pg_read_all_data;
	GRANT USAGE ON SCHEMA eda TO writer, granted, reader;
	GRANT ALL ON ALL TABLES IN SCHEMA eda TO granted;
	GRANT CREATE ON SCHEMA public TO writer, granted;
	GRANT SET ON PARAMETER session_replication_role TO writer, granted;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA eda TO granted;
	GRANT EXECUTE ON FUNCTION attempt(text) TO writer, granted;
	CREATE FUNCTION noticed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE LOG $$trap: %$$, current_user; RETURN NULL; END';
});

my @relations = split /\n/, query(
	q{
	SELECT c.relname || ' ' || c.relkind::text || ' ' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1
	 WHERE c.relnamespace = 'eda'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY 1});
my $state = join ' UNION ALL ', map { "SELECT '$_', count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM eda.$_ t" }
  map { (split / /)[0] } grep { / r / } @relations;
my $before = query($state);

my (@tables, @views);
foreach my $relation (@relations)
{
	my ($name, $kind, $column) = split / /, $relation;
	my @try = (
		"DELETE FROM eda.$name",
		"UPDATE eda.$name SET $column = $column",
		"INSERT INTO eda.$name SELECT * FROM eda.$name LIMIT 0",
		"WITH d AS (DELETE FROM eda.$name RETURNING 1) SELECT count(*) FROM d");

	push @views, @try if $kind eq 'v';
	push @tables, @try, "INSERT INTO eda.$name DEFAULT VALUES", "TRUNCATE eda.$name CASCADE", "DELETE FROM ONLY eda.$name",
	  "MERGE INTO eda.$name t USING (VALUES (1)) v ON true WHEN MATCHED THEN DELETE"
	  if $kind eq 'r';
}
foreach my $role ('writer', 'granted')
{
	foreach my $as ('SELECT', 'SET session_replication_role = replica',
		'SET search_path = pg_temp, public; CREATE FUNCTION pg_temp._guard() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$')
	{
		is(try_many($role, $as, '(42501|428C9)', @tables), '', "none changes a table, after $as");
		# a view that cannot be written to says so
		is(try_many($role, $as, '(42501|55000|0A000|428C9)', @views), '', 'none writes through a view');
	}
	is(try_as($role, "COPY eda.$_ FROM stdin;\n\\."), '42501', "COPY by $role into eda.$_") foreach 'retry', 'log_1', 'idempotency';
}
is(query($state), $before, 'the tables are as they were');
is(try_as('writer', q{CREATE VIEW public.mine AS SELECT * FROM eda.subscription; UPDATE public.mine SET owner = 10}), '42501', 'nor through a view of its own');

# ---- triggers, foreign keys, locks ----

my @ddl;
foreach my $table (grep { / r / } @relations)
{
	my ($name) = split / /, $table;

	push @ddl,
	  "CREATE TRIGGER a BEFORE INSERT OR UPDATE OR DELETE ON eda.$name FOR EACH ROW EXECUTE FUNCTION noticed()",
	  "CREATE CONSTRAINT TRIGGER a AFTER INSERT OR UPDATE OR DELETE ON eda.$name FOR EACH ROW EXECUTE FUNCTION noticed()",
	  "ALTER TABLE eda.$name DISABLE TRIGGER ALL", "ALTER TABLE eda.$name DISABLE TRIGGER guard", "DROP TRIGGER guard ON eda.$name",
	  "ALTER TRIGGER guard ON eda.$name RENAME TO other", "ALTER TABLE eda.$name ENABLE TRIGGER guard",
	  "CREATE RULE r AS ON INSERT TO eda.$name DO INSTEAD NOTHING", "CREATE INDEX ON eda.$name ((ctid::text))",
	  "CREATE POLICY p ON eda.$name", "ALTER TABLE eda.$name ENABLE ROW LEVEL SECURITY", "CREATE PUBLICATION p FOR TABLE eda.$name",
	  "SELECT FROM eda.$name FOR UPDATE", "SELECT FROM (SELECT * FROM eda.$name FOR KEY SHARE) s",
	  "LOCK eda.$name", "LOCK eda.$name IN ROW EXCLUSIVE MODE", "LOCK ONLY eda.$name IN SHARE MODE NOWAIT";
}
is(try_many('granted', 'SELECT', '42501', @ddl), '', 'who was granted everything creates no trigger, rule, index or policy, and locks nothing');
is( try_many('granted', 'CREATE TABLE refers (a int, b bigint)', '42501',
		'ALTER TABLE refers ADD FOREIGN KEY (a, b) REFERENCES eda.retry', 'CREATE TABLE r (a int, b bigint, FOREIGN KEY (a, b) REFERENCES eda.retry)',
		map({ "CREATE TABLE r (a $_->[1] REFERENCES eda.$_->[0])" } [ 'subscription', 'int' ], [ 'job', 'int' ], [ 'topic', 'text' ], [ 'delayed_event', 'bigint' ]),
		'CREATE TRIGGER a INSTEAD OF INSERT ON eda.topics FOR EACH ROW EXECUTE FUNCTION noticed()'),
	'', 'nor a foreign key, or a trigger on a view');
is(try_as('writer', 'BEGIN; LOCK eda.subscriptions'), '42501', 'a lock through a view of eda\'s');
is(try_as('writer', 'CREATE VIEW public.over AS SELECT * FROM (SELECT * FROM public.mine) m WHERE EXISTS (SELECT FROM eda.cursor); BEGIN; LOCK public.over'), '42501', 'and through views of its own');
is(try_as('writer', 'BEGIN; LOCK eda.subscription IN ACCESS SHARE MODE; LOCK public.awake; COMMIT'), 'none', 'but what reading locks, and other tables');
is(try_as('writer', 'SELECT FROM eda.cursor FOR NO KEY UPDATE'), '42501', 'locks of rows');
is(try_as('writer', 'SELECT FROM public.mine FOR SHARE'), '42501', 'through a view, too');
is(try_as('writer', 'SELECT 1 FROM eda.cursor, public.handled FOR UPDATE OF handled; SELECT count(*) FROM public.mine'), 'none', 'what locks nothing of eda\'s is not refused');
is(query($state), $before, 'the tables are as they were');

# ---- what goes on ----

is(try_as('postgres', q{BEGIN; UPDATE eda.subscription SET priority = priority; LOCK eda.cursor; CREATE TRIGGER a AFTER INSERT ON eda.retry FOR EACH ROW EXECUTE FUNCTION noticed();
	CREATE TABLE refers_to (a int REFERENCES eda.subscription); ROLLBACK}), 'none', 'a superuser may do all that');
publish($node, 'postgres', 3);
wait_handled($node, 'postgres', 3, 'events are delivered');
is(try_as('granted', q{SELECT eda.publish('test.note', '{"n": 4}', idempotency_key => 'k'); SELECT eda.publish('test.later', deliver_at => now() + '1 h')}), 'none', 'who may call a function changes what that changes');
wait_handled($node, 'postgres', 4, 'and is heard');
query(q{SELECT eda.rotate_log()});
publish($node, 'postgres', 5);
wait_handled($node, 'postgres', 5, 'also in another segment');

# Row security would make this fail, and what is dumped is what a reader may read.
command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-U', 'reader', '-f', '/dev/null', 'postgres' ], 'a member of pg_read_all_data can dump the database');
like(query(q{SELECT string_agg(DISTINCT tgenabled::text, '') FROM pg_trigger WHERE tgname = 'guard'}), qr/^A$/, 'each of them is enabled always');
is(query(q{SELECT count(*) FROM pg_class c WHERE relnamespace = 'eda'::regnamespace AND relkind = 'r'
	AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'guard')}), '0', 'and no table is without');
unlike(slurp_file($node->logfile), qr{LOG:  trap:}, 'nobody\'s trigger has fired');

# The case that began it: a subscription of one's own becomes a superuser's.
query(q{GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA eda TO writer});
is(try_as('writer', q{CREATE FUNCTION public.grab(jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE $$ALTER ROLE writer SUPERUSER$$; END';
	SELECT eda.subscribe('mine', 'test.grab', handler => 'public.grab', max_attempts => 1)}), 'none', 'writer subscribes');
isnt(try_as('writer', 'UPDATE eda.subscription SET owner = 10'), 'none', 'it gives its subscription to nobody');
query(q{SELECT eda.publish('test.grab'); CALL eda.wait('mine')});
is(query(q{SELECT error_code FROM eda.dead_letters WHERE subscription = 'mine'}), '42501', 'and its handler runs as itself');

# ---- ids ----

# The sequence can be set back by who may write to all sequences; ids are above everything stored all the same, once the
# counter in shared memory is gone: above what is in a sealed segment, in the current one, and not due yet.
sub ids_ascend
{
	my ($what, $highest) = @_;

	is(try_as('writer', q{SELECT setval('eda.event_id_seq', 1, false)}), 'none', "the sequence is set back: $what");
	$node->restart;
	cmp_ok(query(q{SELECT eda.publish('test.note', '{"n": 6}')}), '>', $highest, "ids are above what is $what");
}

my $sealed = query(q{SELECT eda.publish('test.note', '{"n": 6}')});
my $segment = query('SELECT eda.rotate_log()');
$node->poll_query_until('postgres', "SELECT state = 's' FROM eda.segment WHERE segment < $segment ORDER BY segment DESC LIMIT 1") or die 'no segment is sealed';
ids_ascend('in a sealed segment', $sealed);
ids_ascend('in the current segment', query('SELECT max(id) FROM eda.events'));
ids_ascend('not due yet', query(q{SELECT eda.publish('test.note', '{"n": 6}', deliver_at => now() + interval '1 d')}));
is(query('SELECT count(*) = count(DISTINCT id) FROM eda.events'), 't', 'no two events have one id');

$node->stop;
done_testing();
