# Rows 5, 6, 7, 13 and 14: how fast waiting events are handled.
#
#  1. The events wait, committed in transactions of 1,000, before the clock starts.
#     eda's subscription is paused meanwhile; its time is that of eda.resume and
#     CALL eda.wait, which returns when all is handled and on disk.  Before it was
#     paused it handled one event, so its executor is connected, as the peers'
#     sessions are.
#  2. Peers drain in the server, by a procedure that commits each batch, so without
#     a round trip. They commit asynchronously, as eda's executors do by default.
#     In two forms: `loop` takes a batch and calls the handler event by event, as
#     consumers are written, since each event is to have its own error; `statement` has the
#     statement that takes the batch call the handler, too. That is the fastest that SQL
#     can do, and an event that fails then fails all of its batch, with no way to
#     go on.  Rows 5's thresholds are meant beside `loop`; row 6 takes the best of all.
#  3. SKIP LOCKED has the batch that was best in a trial before; PgQ has batches of
#     1,000, one tick a transaction of the publisher's, and fresh tables each time.
#  4. The limit is bench_call_loop (eda_bench.c): the handler, called.  Of two lanes it is two
#     such loops at once: what two sessions that insert into one table gain on this machine.
#  5. Memory is what the executor's process has of its own (Anonymous in smaps_rollup),
#     at its largest, looked at every 20 ms of the drain.
#  6. Each turn has its count: of rows in the sink, or of what the drain returned.

package Bench::Rows::Drain;

use strict;
use warnings;
use utf8;

use Time::HiRes;

use Bench::Database;
use Bench::Plan;
use Bench::Process;
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
	my $seconds = $db->seconds_with(
		sub { $self->{memory} = memory($db, 'executor', $self->{memory}) if $self->{watch} },
		"SELECT eda.resume('$handler')", "CALL eda.wait('$handler', '10 min')");
	my $count = $db->handled($handler) - $before;

	$db->query("SELECT eda.unsubscribe('$handler')");
	return $self->done("eda $handler", $seconds, $count, $handler =~ /^sink/);
}

# The procedure of a peer: which handler, in which form, over which statement.
sub create_drain
{
	my ($self, $name, $form, $handler, $argument, %part) = @_;
	my $call = {
		loop => qq{
				n := 0;
				FOR event IN $part{take} LOOP
					PERFORM $handler(event.$argument);
					n := n + 1;
				END LOOP;},
		statement => qq{
				WITH event AS ($part{take})
				SELECT count(*), count($handler($argument)) INTO n FROM event;},
	}->{$form};

	$self->{db}->query(
		qq{
		CREATE PROCEDURE $name(size int, INOUT handled bigint) LANGUAGE plpgsql AS \$\$
		DECLARE
			event record;
			batch bigint;
			n bigint;
		BEGIN
			handled := 0;
			LOOP
				$part{before}
				$call
				$part{after}
				COMMIT;
				EXIT WHEN $part{end};
				handled := handled + n;
			END LOOP;
		END \$\$});
	return;
}

# Call a drain of a peer's: events a second.
sub drain
{
	my ($self, $what, $procedure, $size, $handler) = @_;
	my $db = $self->{db};

	$db->query('TRUNCATE sink');
	$db->settle;
	my $begin = Time::HiRes::time();
	my $count = $db->value("CALL $procedure($size, NULL)");
	my $seconds = Time::HiRes::time() - $begin;

	return $self->done("$what $handler", $seconds, $count, $handler =~ /^sink/);
}

# Both forms: { form => best batch }
sub prepare_skip_locked
{
	my ($self, $handler) = @_;
	my $events = $self->{events};
	my %best;

	$self->{db}->query('SET synchronous_commit = off');
	foreach my $form ('loop', 'statement')
	{
		my %rate;

		$self->create_drain(
			"skip_locked_${form}_$handler", $form, $handler, 'payload',
			before => '',
			take => 'DELETE FROM outbox
					  WHERE ctid = ANY (ARRAY(SELECT ctid FROM outbox ORDER BY id LIMIT size FOR UPDATE SKIP LOCKED))
					 RETURNING payload',
			after => '',
			end => 'n = 0');
		$self->{events} = $events / 5;
		$rate{$_} = $self->skip_locked($handler, $form, $_) foreach quick() ? (1000) : (100, 300, 1000, 3000, 10_000);
		$self->{events} = $events;
		($best{$form}) = sort { $rate{$b} <=> $rate{$a} } keys %rate;
		$self->{row}->note("SKIP LOCKED by $form, $handler: best batch $best{$form} of "
			  . join(', ', map { sprintf '%d: %s/s', $_, figure($rate{$_}) } sort { $a <=> $b } keys %rate) . '.')
		  unless quick();
	}
	return \%best;
}

sub skip_locked
{
	my ($self, $handler, $form, $batch) = @_;

	$self->{db}->query(
		'TRUNCATE outbox',
		"DO \$\$ BEGIN
			FOR i IN 1 .. $self->{events} / 1000 LOOP
				INSERT INTO outbox (payload) SELECT payload FROM src;
				COMMIT;
			END LOOP;
		END \$\$",
		'VACUUM ANALYZE outbox');
	return $self->drain('SKIP LOCKED', "skip_locked_${form}_$handler", $batch, $handler);
}

sub prepare_pgq
{
	my ($self, $handler) = @_;

	$self->{db}->query('CREATE EXTENSION pgq', 'SET synchronous_commit = off');
	foreach my $form ('loop', 'statement')
	{
		$self->create_drain(
			"pgq_${form}_$handler", $form, "${handler}_text", 'ev_data',
			before => "batch := pgq.next_batch('q', 'c'); EXIT WHEN batch IS NULL;",
			take => 'SELECT ev_data FROM pgq.get_batch_events(batch)',
			after => 'PERFORM pgq.finish_batch(batch);',
			end => 'false');
	}
	return;
}

sub pgq
{
	my ($self, $handler, $form) = @_;

	$self->{db}->query(
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
	return $self->drain('PgQ', "pgq_${form}_$handler", 1000, $handler);
}

# All forms of all peers that are there: "PgQ, loop" => code, ...
sub peers
{
	my ($self, $handler) = @_;
	my $batch = $self->prepare_skip_locked($handler);
	my %peers;

	$self->prepare_pgq($handler) if $pgq;
	foreach my $form ('loop', 'statement')
	{
		$peers{"SKIP LOCKED, $form"} = sub { $self->skip_locked($handler, $form, $batch->{$form}) };
		$peers{"PgQ, $form"} = sub { $self->pgq($handler, $form) } if $pgq;
	}
	$self->{row}->note('PgQ is not installed.') unless $pgq;
	return map { $_ => $peers{$_} } sort keys %peers;
}

# The handler, called, by so many sessions at once that share the calls.
sub limit
{
	my ($self, $handler, $n) = @_;
	my $db = $self->{db};
	my $calls = $self->{events} / $n;
	my @sessions = map { $db->session } 1 .. $n;

	$db->query('TRUNCATE sink');
	$db->settle;
	my $began = Time::HiRes::time();
	$_->start("SELECT bench_call_loop('$handler(jsonb)', (SELECT array_agg(payload) FROM src), $calls)") foreach @sessions;
	$_->finish foreach @sessions;
	my $seconds = Time::HiRes::time() - $began;
	$_->close foreach @sessions;

	return $self->done("loop over $handler, $n sessions", $seconds, $n * $calls, $handler =~ /^sink/);
}

# Row 5.
sub noop
{
	my ($row) = @_;
	my $self = Bench::Rows::Drain->new($row, 'noop', size(500_000, 50_000));
	my %rates = interleave(
		reps(),
		$self->peers('noop'),
		eda => sub { $self->eda('noop') },
		'bare call loop' => sub { $self->limit('noop', 1) });
	my %target = ('PgQ, loop' => 6, 'SKIP LOCKED, loop' => 8);

	$row->check(
		what => 'handler doing nothing',
		unit => 'events/s',
		ours => $rates{eda},
		other => $rates{$_},
		beside => $_,
		at_least => $target{$_},
		loose => $target{$_} && 1) foreach sort grep { $_ ne 'eda' } keys %rates;
	$self->{db}->drop;
	return;
}

# Row 6.
sub sink
{
	my ($row) = @_;
	my $self = Bench::Rows::Drain->new($row, 'sink', size(500_000, 50_000));
	my %rates = interleave(
		reps(),
		$self->peers('sink'),
		eda => sub { $self->eda('sink') },
		limit => sub { $self->limit('sink', 1) });
	my ($best) = sort { median(@{ $rates{$b} }) <=> median(@{ $rates{$a} }) } grep { $_ ne 'eda' && $_ ne 'limit' } keys %rates;

	$row->check(
		what => 'handler inserting a row',
		unit => 'events/s',
		ours => $rates{eda},
		other => $rates{limit},
		beside => 'bare call loop',
		at_least => 0.85);
	$row->check(
		what => 'handler inserting a row' . ($_ eq $best ? ', best peer' : ''),
		unit => 'events/s',
		ours => $rates{eda},
		other => $rates{$_},
		beside => $_,
		$_ eq $best ? (at_least => 2.5, loose => 0.5) : ()) foreach sort grep { $_ ne 'eda' && $_ ne 'limit' } keys %rates;
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

# Row 13.
sub many_waiting
{
	my ($row) = @_;
	my $self = Bench::Rows::Drain->new($row, 'waiting', 0);
	my ($many, $few) = (size(10_000_000, 300_000), size(100_000, 30_000));
	my $free = free_space("$ENV{BENCH_OUT}");
	my $drain = sub { ($self->{events}) = @_; return $self->eda('noop') };
	my (@few, @many);

	# log and index, and the WAL that is kept
	die sprintf("%.1f GB of disk are free, and this takes 16\n", $free / 1e9) if $free < 16e9 * $many / 10_000_000;

	$drain->($few);
	push @few, $drain->($few) for 1 .. reps();
	$self->{watch} = 1;
	push @many, $drain->($many);
	$self->{watch} = 0;
	push @few, $drain->($few) for 1 .. reps();

	$row->check(
		what => figure($many) . ' waiting',
		unit => 'events/s',
		ours => [ (@many) x @few ],
		other => \@few,
		beside => figure($few) . ' waiting',
		at_least => 0.9,
		loose => 0.4);
	$row->check(
		what => 'memory of the executor',
		unit => 'MB',
		ours => [ ($self->{memory} // 0) / 1e6 ],
		at_most => 64,
		loose => 128);
	$self->{db}->drop;
	return;
}

# Row 14.
sub lanes
{
	my ($row) = @_;
	my $self = Bench::Rows::Drain->new($row, 'lanes', size(500_000, 50_000));
	my %rates = interleave(
		reps(),
		one => sub { $self->eda('sink') },
		two => sub { $self->eda('sink', concurrency => 2) },
		one_loop => sub { $self->limit('sink', 1) },
		two_loops => sub { $self->limit('sink', 2) });

	$row->check(
		what => 'handler inserting a row',
		unit => 'events/s',
		ours => $rates{two},
		other => $rates{one},
		beside => 'one lane',
		at_least => 1.6,
		loose => 0.7);
	$row->check(
		what => 'two bare call loops',
		unit => 'events/s',
		ours => $rates{two_loops},
		other => $rates{one_loop},
		beside => 'one bare call loop');
	$self->{db}->drop;
	return;
}

1;
