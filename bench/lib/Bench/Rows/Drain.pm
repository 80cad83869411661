# Rows 5, 6, 7, 13 and 14: how fast waiting events are handled.
#
#  1. The events wait, committed in transactions of 1,000, before the clock starts.
#     eda's subscription is paused meanwhile; its time is that of eda.resume and
#     CALL eda.wait, which returns when all is handled and on disk.  Before it was
#     paused it handled one event, so its executor is connected, as the peers'
#     sessions are.
#  2. Peers drain in the server, by a procedure that commits each batch: no round
#     trip, and the handler is called by the statement that takes the batch.  They
#     commit asynchronously, as eda's executors do by default.
#  3. SKIP LOCKED has the batch that was best in a trial before; PgQ has batches of
#     1,000, one tick a transaction of the publisher's, and fresh tables each time.
#  4. The limit is bench_call_loop (eda_bench.c): the handler, called.
#  5. Each turn has its count: of rows in the sink, or of what the drain returned.

package Bench::Rows::Drain;

use strict;
use warnings;
use utf8;

use Time::HiRes;

use Bench::Database;
use Bench::Plan;
use Bench::Stats;

my $topic = $Bench::Database::topic;

my $pgq = $ENV{BENCH_PGQ} ? 1 : 0;

sub new
{
	my ($class, $row, $name, $events) = @_;
	my $self = bless { row => $row, events => $events, db => Bench::Database->new($name) }, $class;

	return $self;
}

# A drain's count, and of the sink if the handler has one; returns events a second.
sub done
{
	my ($self, $what, $seconds, $count, $sinks) = @_;

	$self->{row}->verify("$what: events handled", $count, $self->{events});
	$self->{row}->verify("$what: rows of the handler", $self->{db}->value('SELECT count(*) FROM sink'), $self->{events})
	  if $sinks;
	return $self->{events} / $seconds;
}

# A subscription that has handled an event.
sub subscribe
{
	my ($self, $handler, %more) = @_;

	$self->{db}->subscribe($handler, $handler, %more);
	$self->{db}->query("SELECT eda.publish('$topic', '{}')", 'CALL eda.wait()', "SELECT eda.pause('$handler')");
	return;
}

# eda's turn.  Others' subscriptions are paused and do not see these events: they are made for each turn.
sub eda
{
	my ($self, $handler, %more) = @_;
	my $db = $self->{db};

	$self->subscribe($handler, %more);
	$db->query("CALL publish_many('$topic', $self->{events}, 1000)", 'TRUNCATE sink');
	my $before = $db->handled($handler);

	$db->settle;
	my $seconds = $db->seconds("SELECT eda.resume('$handler')", "CALL eda.wait('$handler', '10 min')");
	my $count = $db->handled($handler) - $before;

	$db->query("SELECT eda.unsubscribe('$handler')");
	return $self->done("eda $handler", $seconds, $count, $handler =~ /^sink/);
}

sub prepare_skip_locked
{
	my ($self, $handler) = @_;
	my $db = $self->{db};

	$db->query(
		qq{
		CREATE PROCEDURE skip_locked_$handler(size int, INOUT handled bigint) LANGUAGE plpgsql AS \$\$
		DECLARE
			n bigint;
		BEGIN
			handled := 0;
			LOOP
				WITH taken AS (
					DELETE FROM outbox
					 WHERE ctid = ANY (ARRAY(SELECT ctid FROM outbox ORDER BY id LIMIT size FOR UPDATE SKIP LOCKED))
					RETURNING payload)
				SELECT count(*), count($handler(payload)) INTO n FROM taken;
				COMMIT;
				EXIT WHEN n = 0;
				handled := handled + n;
			END LOOP;
		END \$\$});
	$db->query('SET synchronous_commit = off');

	# the best batch, on a fifth of the events
	my $events = $self->{events};
	my %rate;

	$self->{events} = $events / 5;
	$rate{$_} = $self->skip_locked($handler, $_) foreach quick() ? (1000) : (100, 300, 1000, 3000, 10_000);
	$self->{events} = $events;
	my ($best) = sort { $rate{$b} <=> $rate{$a} } keys %rate;

	$self->{row}->note("SKIP LOCKED, $handler: best batch $best of "
		  . join(', ', map { sprintf '%d: %s/s', $_, figure($rate{$_}) } sort { $a <=> $b } keys %rate) . '.')
	  unless quick();
	return $best;
}

sub skip_locked
{
	my ($self, $handler, $batch) = @_;
	my $db = $self->{db};

	$db->query(
		'TRUNCATE sink, outbox',
		"DO \$\$ BEGIN
			FOR i IN 1 .. $self->{events} / 1000 LOOP
				INSERT INTO outbox (payload) SELECT payload FROM src;
				COMMIT;
			END LOOP;
		END \$\$",
		'VACUUM ANALYZE outbox');
	$db->settle;
	my $count;
	my $begin = Time::HiRes::time();

	$count = $db->value("CALL skip_locked_$handler($batch, NULL)");
	my $seconds = Time::HiRes::time() - $begin;

	return $self->done("SKIP LOCKED $handler", $seconds, $count, $handler =~ /^sink/);
}

sub prepare_pgq
{
	my ($self, @handlers) = @_;

	$self->{db}->query('CREATE EXTENSION IF NOT EXISTS pgq', 'SET synchronous_commit = off');
	foreach my $handler (@handlers)
	{
		$self->{db}->query(
			qq{
			CREATE PROCEDURE pgq_$handler(INOUT handled bigint) LANGUAGE plpgsql AS \$\$
			DECLARE
				batch bigint;
				n bigint;
			BEGIN
				handled := 0;
				LOOP
					batch := pgq.next_batch('q', 'c');
					EXIT WHEN batch IS NULL;
					SELECT count(*), count(${handler}_text(ev_data)) INTO n FROM pgq.get_batch_events(batch);
					PERFORM pgq.finish_batch(batch);
					COMMIT;
					handled := handled + n;
				END LOOP;
			END \$\$});
	}
	return;
}

sub pgq
{
	my ($self, $handler) = @_;
	my $db = $self->{db};

	$db->query(
		'TRUNCATE sink',
		"SELECT pgq.drop_queue('q', true) FROM pgq.get_queue_info('q')",
		"SELECT pgq.create_queue('q')",
		"SELECT pgq.register_consumer('q', 'c')",
		"DO \$\$ BEGIN
			FOR i IN 1 .. $self->{events} / 1000 LOOP
				PERFORM pgq.insert_event('q', 'order.created', payload::text) FROM src;
				COMMIT;
				PERFORM pgq.ticker('q');
				COMMIT;
			END LOOP;
			PERFORM pgq.force_tick('q'), pgq.ticker('q');
			COMMIT;
		END \$\$");
	$db->settle;
	my $begin = Time::HiRes::time();
	my $count = $db->value("CALL pgq_$handler(NULL)");
	my $seconds = Time::HiRes::time() - $begin;

	return $self->done("PgQ $handler", $seconds, $count, $handler =~ /^sink/);
}

# The handler, called.
sub limit
{
	my ($self, $handler) = @_;
	my $db = $self->{db};

	$db->query('TRUNCATE sink');
	$db->settle;
	my $seconds =
	  $db->seconds("SELECT bench_call_loop('$handler(jsonb)', (SELECT array_agg(payload) FROM src), $self->{events})");

	return $self->done("loop over $handler", $seconds, $self->{events}, $handler =~ /^sink/);
}

# Row 5.
sub noop
{
	my ($row) = @_;
	my $self = Bench::Rows::Drain->new($row, 'noop', size(500_000, 50_000));
	my $batch = $self->prepare_skip_locked('noop');
	my @sides = (
		'SKIP LOCKED' => sub { $self->skip_locked('noop', $batch) },
		eda => sub { $self->eda('noop') });

	if ($pgq)
	{
		$self->prepare_pgq('noop');
		push @sides, PgQ => sub { $self->pgq('noop') };
	}
	my %rates = interleave(reps(), @sides);

	$row->check(
		what => 'handler doing nothing',
		unit => 'events/s',
		ours => $rates{eda},
		other => $rates{$_->[0]},
		beside => $_->[0],
		at_least => $_->[1]) foreach $pgq ? [ 'PgQ', 6 ] : (), [ 'SKIP LOCKED', 8 ];
	$row->note('PgQ is not installed.') unless $pgq;
	$self->{db}->drop;
	return;
}

# Row 6.
sub sink
{
	my ($row) = @_;
	my $self = Bench::Rows::Drain->new($row, 'sink', size(500_000, 50_000));
	my $batch = $self->prepare_skip_locked('sink');

	$self->prepare_pgq('sink') if $pgq;
	my %rates = interleave(
		reps(),
		'SKIP LOCKED' => sub { $self->skip_locked('sink', $batch) },
		eda => sub { $self->eda('sink') },
		limit => sub { $self->limit('sink') },
		$pgq ? (PgQ => sub { $self->pgq('sink') }) : ());
	my ($best) = sort { median(@{ $rates{$b} }) <=> median(@{ $rates{$a} }) } grep { $_ ne 'eda' && $_ ne 'limit' } keys %rates;

	$row->check(
		what => 'handler inserting a row',
		unit => 'events/s',
		ours => $rates{eda},
		other => $rates{limit},
		beside => 'bare call loop',
		at_least => 0.85);
	$row->check(
		what => 'handler inserting a row',
		unit => 'events/s',
		ours => $rates{eda},
		other => $rates{$best},
		beside => "$best, best peer",
		at_least => 2.5);
	$row->note('PgQ is not installed.') unless $pgq;
	$self->{db}->drop;
	return;
}

# Row 7.
sub sink_set
{
	my ($row) = @_;
	my $self = Bench::Rows::Drain->new($row, 'set', size(500_000, 50_000));
	my %rates = interleave(
		reps(),
		single => sub { $self->eda('sink') },
		set => sub { $self->eda('sink_set') });

	$row->check(
		what => 'f(eda.event[]), one INSERT … SELECT',
		unit => 'events/s',
		ours => $rates{set},
		other => $rates{single},
		beside => 'row 6, f(jsonb)',
		at_least => 2.0);
	$self->{db}->drop;
	return;
}

1;
