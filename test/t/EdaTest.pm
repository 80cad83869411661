# What the TAP tests share: a node that preloads eda, a database with one
# subscription, and the questions that are asked again and again.

package EdaTest;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_node setup_roles setup_db publish keep_busy wait_handled handled
  worker_pid wait_worker wait_no_workers wait_new_worker start_after_kill cluster_conf);

# Settings of every node: only eda is preloaded, and no test waits for a poll.
sub cluster_conf
{
	return qq{
shared_preload_libraries = 'eda'
max_worker_processes = 32
eda.poll_interval = 1d
log_line_prefix = '%m [%p] %b %q%d '
};
}

# The superuser is postgres, whoever runs the tests.
$ENV{PGUSER} = 'postgres';

# While a server starts, psql may end before it has read the query that it was
# to get; that is one more question without an answer.
{
	no warnings 'redefine';
	my $ask = \&PostgreSQL::Test::Cluster::poll_query_until;

	*PostgreSQL::Test::Cluster::poll_query_until = sub {
		my @arguments = @_;

		for (1 .. 100)
		{
			my $answer = eval { $ask->(@arguments) };

			return $answer unless $@;
			die $@ unless $@ =~ /Broken pipe/;
		}
		die "no answer: $@";
	};
}

# An initialised node, not started.
sub new_node
{
	my ($name, %params) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	# what initdb would take from the environment otherwise: SQL_ASCII where that names no language
	$node->init(%params, extra => [ '-U', 'postgres', '--encoding=UTF8', '--locale=C.UTF-8', @{ $params{extra} // [] } ]);
	$node->append_conf('postgresql.conf', cluster_conf());
	return $node;
}

# Roles are the cluster's: once a node.
sub setup_roles
{
	my ($node) = @_;

	$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE joe LOGIN CREATEDB');
}

# The extension, and a subscription of role app that notes which events came.
sub setup_db
{
	my ($node, $db) = @_;

	$node->safe_psql($db, 'CREATE EXTENSION eda');
	$node->safe_psql(
		$db, q{
		CREATE TABLE handled (id bigint, n int, at timestamptz DEFAULT clock_timestamp());
		GRANT ALL ON handled TO app;
		CREATE TABLE awake ();
		GRANT SELECT ON awake TO app;
		CREATE FUNCTION note(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO public.handled VALUES (e.id, (e.payload->>'n')::int);
			PERFORM pg_sleep(600) WHERE e.payload ? 'sleep' AND NOT EXISTS (SELECT FROM public.awake);
		END $$;
		SELECT eda.subscribe('notes', 'test.note', 'public.note', owner => 'app');
	});
}

# One event; returns its id.
sub publish
{
	my ($node, $db, $n) = @_;

	return $node->safe_psql($db, "SELECT eda.publish('test.note', '{\"n\": $n}')");
}

# Event n keeps its handler busy, until the worker is told to end; run again
# it does not, and event n + 1 follows.  Returns the executor's pid.
sub keep_busy
{
	my ($node, $db, $n) = @_;
	my $asleep = "FROM pg_stat_activity WHERE backend_type = 'eda executor' AND datname = '$db' AND wait_event = 'PgSleep'";

	$node->safe_psql($db, 'TRUNCATE awake');
	$node->safe_psql($db, "SELECT eda.publish('test.note', '{\"n\": $n, \"sleep\": true}')");
	publish($node, $db, $n + 1);
	$node->poll_query_until('postgres', "SELECT count(*) = 1 $asleep") or die "no busy handler in $db";
	$node->safe_psql($db, 'INSERT INTO awake DEFAULT VALUES');
	return $node->safe_psql('postgres', "SELECT pid $asleep");
}

sub handled
{
	my ($node, $db, $n) = @_;

	return $node->safe_psql($db, "SELECT count(*) FROM handled WHERE n = $n");
}

# Event n takes effect, once.
sub wait_handled
{
	my ($node, $db, $n, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->poll_query_until($db, "SELECT count(*) > 0 FROM handled WHERE n = $n");
	is(handled($node, $db, $n), '1', $what);
}

# Pid of a database's worker of that kind, or the empty string.
sub worker_pid
{
	my ($node, $db, $kind) = @_;

	return $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'eda $kind' AND datname = '$db' LIMIT 1");
}

# There is one; returns its pid.
sub wait_worker
{
	my ($node, $db, $kind) = @_;

	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eda $kind' AND datname = '$db'")
	  or die "no eda $kind in $db";
	return worker_pid($node, $db, $kind);
}

# There is another one than before; returns its pid.
sub wait_new_worker
{
	my ($node, $db, $kind, $old) = @_;

	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eda $kind' AND datname = '$db' AND pid <> $old")
	  or die "no other eda $kind in $db";
	return worker_pid($node, $db, $kind);
}

# Start a server whose postmaster was killed.  Its children take a moment to notice, and where nobody hurries to
# collect them, what was killed stays a zombie for a while: until all of them are gone it does not start.
sub start_after_kill
{
	my ($node) = @_;

	foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if $node->start(fail_ok => 1);
		$node->{_pid} = undef;
		note("waiting until the processes of the killed server are gone, since $try tries") if $try % 50 == 0;
		select(undef, undef, undef, 0.1);
	}
	die 'the processes of the killed server are still there: ' . $node->name . ' does not start';
}

# Neither dispatcher nor executor.
sub wait_no_workers
{
	my ($node, $db, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok( $node->poll_query_until('postgres',
			"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('eda dispatcher', 'eda executor') AND datname = '$db'"
		),
		$what);
}

1;
