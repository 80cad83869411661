# Times that are kept survive a restart and a crash: delayed events, back-off,
# snooze, probes.  What became due meanwhile runs at once, once.  So does what a
# transaction had moved into the log that was rolled back.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'usleep';

use EdaTest;

# nothing polls: whatever runs was known to be due
my $node = new_node('delay');
$node->append_conf('postgresql.conf', "restart_after_crash = on\nmax_prepared_transactions = 2");
$node->start;
setup_roles($node);
setup_db($node, 'postgres');
$node->safe_psql(
	'postgres', q{
	CREATE TABLE broken ();
	GRANT SELECT ON broken TO app;
	CREATE SEQUENCE calls;
	GRANT ALL ON calls TO app;
	-- fails until table broken is gone; snoozes once
	CREATE FUNCTION shaky(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM nextval('public.calls');
		IF e.payload ? 'snooze' AND NOT e.redelivered THEN
			PERFORM eda.snooze((e.payload->>'snooze')::interval);
		END IF;
		INSERT INTO public.handled VALUES (e.id, (e.payload->>'n')::int);
		IF to_regclass('public.broken') IS NOT NULL AND NOT e.payload ? 'snooze' THEN
			RAISE 'broken';
		END IF;
	END $$;
	GRANT USAGE ON SCHEMA eda TO app;
	GRANT EXECUTE ON FUNCTION eda.snooze TO app;
	SELECT eda.subscribe('shaky', 'test.shaky', 'public.shaky', backoff => '3 seconds', ordering => 'none', owner => 'app'),
	       eda.subscribe('probed', 'test.probed', 'public.shaky', backoff => '3 seconds', block_after => 1, ordering => 'none', owner => 'app');
});

sub query { return $node->safe_psql('postgres', $_[0]); }

sub wait_for
{
	my ($condition, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', "SELECT $condition"), $what);
}

# Publish number n for later; returns its id.
sub delay
{
	my ($n, $interval) = @_;

	return query("SELECT eda.publish('test.note', '{\"n\": $n}', deliver_at => clock_timestamp() + interval '$interval')");
}

# The server is down and cannot be asked: so many seconds are what the test is about.
sub sleep_while_down
{
	usleep(1e6 * $_[0]);
	return;
}

# Not before its time.
sub in_time
{
	my ($n, $due, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(query("SELECT min(at) >= '$due' FROM handled WHERE n = $n"), 't', $what);
}

# ---- delayed events ----

my $soon = delay(1, '1 s');
my $later = delay(2, '4 s');
my $cancelled = delay(3, '1 s');
my $due = query("SELECT deliver_at FROM eda.delayed WHERE event_id = $later");
my $published_at = query("SELECT published_at FROM eda.delayed_event WHERE event_id = $soon");
is(query("SELECT eda.cancel($cancelled)"), 't', 'one is cancelled');
$node->stop;
sleep_while_down(1.2);
$node->start;
wait_handled($node, 'postgres', 1, 'what became due while the server was down is delivered');
is(query("SELECT count(*) FROM handled WHERE id = $soon"), '1', 'under its id');
is(query("SELECT published_at FROM eda.events WHERE id = $soon"), $published_at, 'and its time of publishing');
is(handled($node, 'postgres', 2), '0', 'what was not waits');
wait_handled($node, 'postgres', 2, 'and comes');
in_time(2, $due, 'when it is due');

# a crash: what was committed is there, what was not is not
delay(4, '1 s');
my $far = delay(5, '1 hour');
my $open = $node->background_psql('postgres');
$open->query_safe(qq{BEGIN; SELECT eda.publish('test.note', '{"n": 6}', deliver_at => clock_timestamp() + interval '1 s'); SELECT eda.cancel($far)});
$node->stop('immediate');
eval { $open->quit };
sleep_while_down(1.2);
$node->start;
wait_handled($node, 'postgres', 4, 'after a crash too');
is(query('SELECT event_id FROM eda.delayed'), $far, 'a cancel that was not committed is undone, and an event that was not is not there');

# while it moves: kill -9 of the dispatcher, four times
query(q{SELECT count(eda.publish('test.note', jsonb_build_object('n', 1000 + i), deliver_at => clock_timestamp() + interval '1 s')) FROM generate_series(1, 20000) i});
for my $moment (1, 2000, 6000, 9000)
{
	$node->poll_query_until('postgres', "SELECT count(*) <= 20001 - $moment FROM eda.delayed");
	my $pid = wait_worker($node, 'postgres', 'dispatcher');
	my $start = query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
	kill 'KILL', $pid;
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'checkpointer' AND pid <> $start")
	  or die 'the server did not come back';
}
wait_for('count(*) >= 20000 FROM handled WHERE n > 1000', 'kill -9 of the dispatcher: everything is delivered');
query('CALL eda.wait()');
is(query('SELECT count(*), count(DISTINCT n), count(DISTINCT id) FROM handled WHERE n > 1000'), '20000|20000|20000', 'once');
is(query('SELECT event_id FROM eda.delayed'), $far, 'and what is not due is still there');

# a dispatcher that is told to end, without a crash
delay(7, '2 s');
$due = query("SELECT deliver_at FROM eda.delayed WHERE event_id <> $far");
my $dispatcher = wait_worker($node, 'postgres', 'dispatcher');
query("SELECT pg_terminate_backend($dispatcher)");
wait_new_worker($node, 'postgres', 'dispatcher', $dispatcher);
wait_handled($node, 'postgres', 7, 'another dispatcher knows of it');
in_time(7, $due, 'and when it is due');

# prepared: COMMIT PREPARED tells the dispatcher
query(q{BEGIN; SELECT eda.publish('test.note', '{"n": 8}', deliver_at => clock_timestamp() + interval '1 s');
		SELECT eda.publish('test.note', '{"n": 9}', deliver_at => clock_timestamp() + interval '1 ms'); PREPARE TRANSACTION 'delayed'});
is(handled($node, 'postgres', 9), '0', 'prepared: not before it is committed');
query(q{COMMIT PREPARED 'delayed'});
wait_handled($node, 'postgres', 9, 'what is due when it is comes at once');
wait_handled($node, 'postgres', 8, 'and what is due after that, then');

# nobody delivers, and then somebody does
query('ALTER SYSTEM SET eda.enabled = off; SELECT pg_reload_conf()');
wait_no_workers($node, 'postgres', 'eda.enabled = off');
my $stays = delay(10, '1 s');
wait_for("deliver_at < clock_timestamp() FROM eda.delayed WHERE event_id = $stays", 'nobody delivers what becomes due: it stays');
query('ALTER SYSTEM RESET eda.enabled; SELECT pg_reload_conf()');
wait_handled($node, 'postgres', 10, 'eda.enabled on again: it is delivered');

# an error while moving is reported, and the rest goes on
my $offset = -s $node->logfile;
my $segment = query(q{SELECT relation::regclass FROM eda.segment WHERE state = 'o'});
query("CREATE UNIQUE INDEX in_the_way ON $segment (id)");
delay(11, '100 ms');
$node->wait_for_log(qr/dispatcher ERROR:  index "in_the_way" on segment .*/, $offset);
query('DROP INDEX eda.in_the_way');
publish($node, 'postgres', 12);
wait_handled($node, 'postgres', 12, 'the dispatcher lives');
wait_handled($node, 'postgres', 11, 'and moves it when it can');

# a copy has what is delayed, too: blocked there, delivered here
delay(13, '3 s');
$node->safe_psql('template1', 'CREATE DATABASE copy TEMPLATE postgres');
wait_handled($node, 'postgres', 13, 'a copied database: delivered in the original');
$node->poll_query_until('copy', q{SELECT NOT EXISTS (SELECT FROM eda.delayed WHERE deliver_at < clock_timestamp())});
is($node->safe_psql('copy', q{SELECT count(*) FROM handled WHERE n = 13}), '0', 'not in the copy');
$node->safe_psql('copy', 'SELECT eda.adopt()');
wait_handled($node, 'copy', 13, 'until it is adopted');
$node->safe_psql('template1', 'DROP DATABASE copy WITH (FORCE)');

# ---- back-off, snooze and probes ----

for my $how ('fast', 'immediate')
{
	my $n = $how eq 'fast' ? 100 : 200;

	query('CREATE TABLE IF NOT EXISTS broken (); GRANT SELECT ON broken TO app');
	query("SELECT eda.publish('test.shaky', jsonb_build_object('n', $n)), eda.publish('test.shaky', jsonb_build_object('n', $n + 1, 'snooze', '3 s')),"
		  . " eda.publish('test.probed', jsonb_build_object('n', $n + 2))");
	wait_for("count(*) = 2 FROM eda.retries WHERE subscription = 'shaky'", "$how: one failed, one snoozes");
	wait_for("count(*) = 1 FROM eda.subscriptions WHERE subscription = 'probed' AND blocked_reason = 'failing'", "$how: one blocked its subscription");
	# nothing is tried between the two looks, however long the restart takes
	query('ALTER SYSTEM SET eda.enabled = off');
	query('SELECT pg_reload_conf()');
	wait_no_workers($node, 'postgres', "$how: nothing is delivered");
	# executors commit asynchronously; this flushes what they wrote
	query('CREATE TABLE flushed (); DROP TABLE flushed');
	my $times = q{SELECT string_agg(next_attempt_at::text || ' ' || attempt, ', ' ORDER BY event_id),
		(SELECT probe_at || ' ' || probes FROM eda.subscription WHERE name = 'probed') FROM eda.retries};
	my $before = query($times);
	my ($retry, $snooze) = split /\n/, query(q{SELECT next_attempt_at FROM eda.retries WHERE subscription = 'shaky' ORDER BY event_id});
	my $probe = query(q{SELECT probe_at FROM eda.subscription WHERE name = 'probed'});
	my $calls = query('SELECT last_value FROM calls');

	$node->stop($how);
	$node->start;
	is(query($times), $before, "$how: the times survive");
	query('DROP TABLE broken');
	query('ALTER SYSTEM RESET eda.enabled');
	query('SELECT pg_reload_conf()');
	wait_handled($node, 'postgres', $n, "$how: the retry comes");
	in_time($n, $retry, "$how: not before its time");
	wait_handled($node, 'postgres', $n + 1, "$how: so does the snoozed one");
	in_time($n + 1, $snooze, "$how: not before its time");
	wait_handled($node, 'postgres', $n + 2, "$how: and the probe");
	in_time($n + 2, $probe, "$how: not before its time");
	wait_for("state = 'active' FROM eda.subscriptions WHERE subscription = 'probed'", "$how: which unblocks");
	wait_for('count(*) = 0 FROM eda.retries', "$how: nothing is left");
	cmp_ok(query('SELECT last_value FROM calls'), '>=', $calls + 3, "$how: a call each");
}

# due while the server is down: at once
query('CREATE TABLE broken (); GRANT SELECT ON broken TO app');
query(q{SELECT eda.publish('test.shaky', '{"n": 300}'), eda.publish('test.shaky', '{"n": 301, "snooze": "2 s"}'), eda.publish('test.probed', '{"n": 302}')});
wait_for(q{count(*) = 2 FROM eda.retries WHERE subscription = 'shaky'}, 'they wait');
wait_for(q{count(*) = 1 FROM eda.subscriptions WHERE subscription = 'probed' AND state = 'blocked'}, 'all three');
query('DROP TABLE broken');
query("CALL eda.wait('notes')");
$node->stop;
sleep_while_down(4);
$node->start;
wait_for(q{count(*) = 3 FROM handled WHERE n BETWEEN 300 AND 302}, 'what became due while the server was down runs');
is(query('SELECT max(at) - pg_postmaster_start_time() < interval \'5 s\' FROM handled WHERE n BETWEEN 300 AND 302'), 't', 'at once');
query('CALL eda.wait()');
is(query('SELECT count(*), count(DISTINCT n) FROM handled WHERE n < 1000'), query('SELECT count(DISTINCT n), count(DISTINCT n) FROM handled WHERE n < 1000'),
	'everything once');
is(handled($node, 'postgres', 3), '0', 'but what was cancelled');

# ---- moves into the log that were rolled back ----

# They leave rows with the ids that the events keep.  With executor_linger = 0 an
# executor that has to wait for rate_limit goes, and the next one reads the position.
$node->append_conf('postgresql.conf', 'eda.executor_linger = 0');
$node->reload;
query(q{
	CREATE FUNCTION note_set(events eda.event[]) RETURNS void LANGUAGE sql
		AS $$ INSERT INTO public.handled SELECT e.id, (e.payload->>'n')::int FROM unnest(events) e $$;
	SELECT eda.subscribe('moved', 'test.moved', 'public.note', ordering => 'none', rate_limit => 100, owner => 'app'),
	       eda.subscribe('moved_set', 'test.moved', 'public.note_set', ordering => 'none', rate_limit => 100, batch_size => 3, owner => 'app');
	SELECT eda.publish('test.moved', '{"n": 200000}');
	SELECT eda.publish('test.moved', jsonb_build_object('n', n), deliver_at => clock_timestamp() + interval '2 s') FROM generate_series(200001, 200040) n});
my $log = query(q{SELECT tableoid::regclass FROM eda.log WHERE topic = 'test.moved'});
for (1 .. 3)
{
	query(qq{
		BEGIN;
		INSERT INTO $log (id, xid, topic, topic_hash, key_hash, payload, published_at, published_by)
			SELECT d.event_id, pg_current_xact_id(), d.topic, l.topic_hash, 0, d.payload, d.published_at, d.published_by
			FROM eda.delayed_event d, $log l WHERE l.topic = 'test.moved' AND d.topic = l.topic;
		ROLLBACK});
}
is(query(q{SELECT eda.pause(name) FROM unnest('{moved,moved_set}'::text[]) name}), "t\nt", 'one window');
wait_for(q{count(*) = 41 FROM eda.log WHERE topic = 'test.moved'}, 'they are moved');
is(query(qq{SELECT pg_relation_size('$log') > 4 * (SELECT sum(pg_column_size(l)) FROM $log l WHERE topic = 'test.moved')}), 't', 'four times');
query(q{SELECT eda.resume(name) FROM unnest('{moved,moved_set}'::text[]) name});
query('CALL eda.wait()');
is(query('SELECT count(*), count(DISTINCT n) FROM handled WHERE n BETWEEN 200000 AND 200040'), '82|41', 'to each subscription once');

$node->stop;
done_testing();
