# What the tests of the log's life share: a node whose segments go as soon as
# nobody needs them, and looks at them.

package LogTest;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

our @EXPORT = qw(log_node query wait_for session rotate passes current state_of wait_gone handle_one $node $n);

our $node;
our $n = 0;

# Started, with setup_db()'s subscription; further settings.
sub log_node
{
	my ($name, $conf) = @_;

	$node = new_node($name);
	$node->append_conf(
		'postgresql.conf', qq{
eda.poll_interval = 1s
eda.retention = 0
eda.executor_linger = 0
eda.max_executors = 12
max_prepared_transactions = 5
autovacuum = off
@{[$conf // '']}
});
	$node->start;
	setup_roles($node);
	setup_db($node, 'postgres');
	return $node;
}

sub query { return $node->safe_psql('postgres', $_[0]); }

sub wait_for
{
	my ($sql, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', $sql), $what);
}

# One that stays, and has run that.
sub session
{
	my ($sql, $db) = @_;
	my $session = $node->background_psql($db // 'postgres');

	$session->query_safe($sql);
	return $session;
}

# The dispatcher goes once through all that a segment's life consists of.
sub rotate { return query('SELECT eda.rotate_log()'); }

# Several times, with a snapshot that is gone in between.
sub passes
{
	rotate() foreach 1 .. 4;
}

sub current { return query(q{SELECT segment FROM eda.segment WHERE state = 'o'}); }

# o, c, s, r, f; the empty string where the table has another number by now.
sub state_of { return query("SELECT state FROM eda.segment WHERE segment = $_[0]"); }

sub wait_gone
{
	my ($segment, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_for("SELECT count(*) = 0 FROM eda.segment WHERE segment = $segment AND state <> 'f'", $what);
}

# One more event, handled.
sub handle_one
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$n++;
	publish($node, 'postgres', $n);
	wait_handled($node, 'postgres', $n, $what);
}

1;
