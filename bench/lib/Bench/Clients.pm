# The clients of the latency rows: publishers with Poisson arrivals, and a
# LISTENer that drains an outbox.  C: publisher.c, listener.c.
#
#  1. note_eda and note_peer, the handlers, are one body: they take the clock first
#     and then insert when the event was sent and when they were entered, in
#     microseconds, into a table each.
#  2. The peer's publisher is one statement that inserts the row and notifies;
#     its drain is one statement that takes up to a hundred rows and calls the
#     handler on each.  The drain commits asynchronously, as eda's executors do.
#  3. A latency is from when the publisher gave the statement to libpq to when the
#     handler was entered, both by the machine's clock.

package Bench::Clients;

use strict;
use warnings;
use utf8;

use Bench::Database;
use Bench::Session;

my $dir = $ENV{BENCH_MODULE} =~ s{/[^/]*$}{}r;
my $topic = $Bench::Database::topic;
my $seed = 0;

our %publish = (
	eda => "SELECT eda.publish('$topic', \$1::jsonb)",
	peer => "WITH put AS (INSERT INTO outbox (payload) VALUES (\$1::jsonb)) SELECT pg_notify('bench', '')",
);

my $drain = q{
	WITH taken AS (
		DELETE FROM outbox
		 WHERE ctid = ANY (ARRAY(SELECT ctid FROM outbox ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED))
		RETURNING payload)
	SELECT count(*), count(note_peer(payload)) FROM taken};

# The handlers and their tables in a database.
sub create
{
	my ($db) = @_;

	foreach my $who ('eda', 'peer')
	{
		$db->query(
			"CREATE TABLE seen_$who (sent bigint NOT NULL, entered timestamptz NOT NULL)",
			"GRANT ALL ON seen_$who TO app",
			"CREATE FUNCTION note_$who(p jsonb) RETURNS void LANGUAGE plpgsql AS \$\$
			DECLARE
				entered timestamptz := clock_timestamp();
			BEGIN
				INSERT INTO public.seen_$who VALUES ((p->>'sent')::bigint, entered);
			END \$\$");
	}
	return;
}

# Start a publisher; finish_publisher returns how many events it published.
sub start_publisher
{
	my ($db, $sql, $rate, $seconds, %options) = @_;

	local $ENV{PGOPTIONS} = '-c synchronous_commit=' . ($options{sync} // 'on');
	open my $out, '-|', "$dir/publisher", 'dbname=' . $db->name, $sql, $rate, $seconds, ++$seed,
	  $options{choices} ? ($options{choices}) : ()
	  or die "publisher: $!\n";
	return $out;
}

sub finish_publisher
{
	my ($out) = @_;
	my $line = <$out>;

	close $out or die "a publisher failed\n";
	my ($published, $seconds, $late) = split ' ', $line;

	return $published;
}

# A client that LISTENs in a database; it ends with its connection, or by stop_listener.
sub start_listener
{
	my ($db) = @_;

	local $ENV{PGOPTIONS} = '-c synchronous_commit=off';
	my $pid = open my $out, '-|', "$dir/listener", 'dbname=' . $db->name, 'bench', $drain or die "listener: $!\n";

	<$out> =~ /^listening/ or die "the listener does not listen\n";
	return { pid => $pid, out => $out };
}

sub stop_listener
{
	my ($listener) = @_;

	kill 'TERM', $listener->{pid};
	close $listener->{out};
	return;
}

# When all that was published is handled: latencies in milliseconds, without
# the publisher's first events, which have no time.
sub latencies
{
	my ($db, $who) = @_;

	if ($who eq 'eda')
	{
		$db->query("CALL eda.wait(timeout => '60 s')");
	}
	else
	{
		$db->query(
			q{DO $$ BEGIN
				FOR i IN 1 .. 10000 LOOP
					EXIT WHEN NOT EXISTS (SELECT FROM outbox);
					COMMIT;
					PERFORM pg_sleep(0.005);
				END LOOP;
			END $$});
	}
	my @ms = $db->query("SELECT extract(epoch FROM entered) * 1000 - sent / 1000.0 FROM seen_$who WHERE sent > 0");

	$db->query("TRUNCATE seen_$who");
	return @ms;
}

1;
