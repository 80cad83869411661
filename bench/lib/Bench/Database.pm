# A database with eda, the benchmark's own functions, and payloads to publish.
#
#  1. Each row has databases of its own, made for it and dropped after it, so that
#     a row that is run alone is run in the same state as in the whole table.
#  2. `src` has payloads of about 300 bytes of JSON, an order each.  Everything
#     is role app's, an ordinary one, which owns the subscriptions, too.
#  3. sink(jsonb) inserts the payload into table `sink`, sink_set(eda.event[]) does it
#     for a batch with one INSERT ... SELECT, noop does nothing.  The functions
#     with _text are for peers that store text.

package Bench::Database;

use strict;
use warnings;
use utf8;

use Bench::Session;

# One at random is as long as the other; this one is for pgbench.
our $payload =
  '{"id": 4711, "type": "order.created", "customer": {"id": 1042, "name": "Ada Lovelace", "email": "ada.lovelace@example.com"}, '
  . '"items": [{"sku": "TEA-0042", "qty": 2, "price": 12.50}, {"sku": "MUG-0007", "qty": 1, "price": 8.90}], '
  . '"total": 33.90, "currency": "EUR", "time": "2026-01-31T12:00:00Z"}';

our $topic = 'order.created';

my $setup = q{
	CREATE EXTENSION eda;
	GRANT ALL ON SCHEMA public TO app;
	CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload jsonb NOT NULL);
	CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload jsonb NOT NULL);
	CREATE TABLE sink (payload jsonb NOT NULL);
	CREATE TABLE src (n int PRIMARY KEY, payload jsonb NOT NULL);
	CREATE FUNCTION noop(p jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
	CREATE FUNCTION noop_text(p text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
	CREATE FUNCTION sink(p jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.sink VALUES (p); END $$;
	CREATE FUNCTION sink_text(p text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.sink VALUES (p::jsonb); END $$;
	CREATE FUNCTION sink_set(events eda.event[]) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.sink SELECT e.payload FROM unnest(events) e;
	END $$;
	CREATE FUNCTION bench_call_loop(handler regprocedure, payloads jsonb[], n bigint) RETURNS void
		LANGUAGE c AS '@module@', 'bench_call_loop';
	CREATE FUNCTION bench_multi_insert(source regclass, target regclass, topic text) RETURNS bigint
		LANGUAGE c AS '@module@', 'bench_multi_insert';

	-- so many events in transactions of so many
	CREATE PROCEDURE publish_many(topic text, events int, size int) LANGUAGE plpgsql AS $$
	DECLARE
		have int := (SELECT count(*) FROM src);
		first int;
	BEGIN
		FOR i IN 0 .. events / size - 1 LOOP
			first := i * size % (have - size + 1);
			PERFORM eda.publish_query(topic, format('SELECT payload FROM src WHERE n > %s AND n <= %s', first, first + size));
			COMMIT;
		END LOOP;
	END $$;
};

# A new database; rows => payloads in src.
sub new
{
	my ($class, $name, %options) = @_;
	my $self = bless { name => "bench_$name" }, $class;
	my $sql = $setup;
	my $rows = $options{rows} // 1000;
	my $admin = Bench::Session->new('postgres');

	$admin->query("SELECT 'CREATE ROLE app LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') \\gexec\n");
	$admin->query("DROP DATABASE IF EXISTS $self->{name} WITH (FORCE)", "CREATE DATABASE $self->{name}");
	$sql =~ s/\@module\@/$ENV{BENCH_MODULE}/g;
	$self->{session} = Bench::Session->new($self->{name});
	$self->query(
		$sql,
		"INSERT INTO src SELECT n, jsonb_set(jsonb_set('$payload', '{id}', to_jsonb(1000 + n)), '{customer,id}', to_jsonb(1000 + n % 1000))
		   FROM generate_series(1, $rows) n",
		'GRANT ALL ON ALL TABLES IN SCHEMA public TO app',
		'VACUUM ANALYZE src');
	return $self;
}

sub name { return $_[0]{name}; }

sub query { my $self = shift; return $self->{session}->query(@_); }
sub value { my $self = shift; return $self->{session}->value(@_); }
sub seconds_with { my $self = shift; return $self->{session}->seconds_with(@_); }
sub seconds { my $self = shift; return $self->{session}->seconds(@_); }

# Another session.
sub session { my ($self) = @_; return Bench::Session->new($self->{name}); }

# All that is dirty is on disk, so that each side begins with the same state.
sub settle { my ($self) = @_; $self->query('CHECKPOINT'); return; }

# A subscription of role app's; more arguments of eda.subscribe as name => SQL.
sub subscribe
{
	my ($self, $name, $handler, %more) = @_;
	my $topics = delete $more{topics} // "'$topic'";

	$self->query("SELECT eda.subscribe('$name', topics => $topics, handler => '$handler', owner => 'app'"
		  . join('', map { ", $_ => $more{$_}" } sort keys %more) . ')');
	return;
}

# The number of events that the subscription's handler was called with.
sub handled
{
	my ($self, $name) = @_;

	return $self->value("SELECT handled FROM eda.subscriptions WHERE subscription = '$name'");
}

sub drop
{
	my ($self) = @_;

	$self->{session}->close;
	Bench::Session->new('postgres')->query("DROP DATABASE $self->{name} WITH (FORCE)");
	return;
}

1;
