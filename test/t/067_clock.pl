# The system's clock is set, by hours, while the server runs: forward, and what
# is due by the new clock runs, once; back, and nothing is lost and nothing
# hangs for as long as it was set back.
#
# The server runs with a library (test/lib/setclock.c) that adds to the clock what
# a file says; the monotonic clock and timers are the machine's, as they are
# when a clock is set.  (Debian's libfaketime does not do: background workers
# don't see its clock change.)

use strict;
use warnings;

use Cwd 'abs_path';
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use EdaTest;

plan skip_all => 'the clock can be set on Linux only' if $^O ne 'linux';

my $hour = 3600;
my $node = new_node('clock');
$node->append_conf('postgresql.conf', "eda.poll_interval = 1s\neda.max_executors = 3\n");

my $library = $node->basedir . '/setclock.so';
my $file = $node->basedir . '/offset';
my $source = abs_path(dirname(__FILE__)) . '/../lib/setclock.c';
my ($cc) = grep { system("command -v $_ >/dev/null") == 0 } 'cc', 'gcc';
system_or_bail($cc, '-O2', '-Wall', '-shared', '-fPIC', '-o', $library, $source);

my $offset = 0;

# The clock is off by so many seconds from now on.
sub set_clock
{
	$offset = $_[0];
	open my $f, '+<', $file or die $!;
	syswrite $f, pack('q', $offset) or die $!;
	close $f;
	return;
}

sub move_clock { return set_clock($offset + $_[0]); }

# What hangs for an hour does not hang the test.
sub query { return $node->safe_psql('postgres', $_[0], timeout => $PostgreSQL::Test::Utils::timeout_default); }

sub wait_for
{
	my ($condition, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', "SELECT $condition"), $what);
}

# It becomes true, and soon: what hangs for an hour fails, a busy machine does not.
sub soon
{
	my ($condition, $what) = @_;
	my $end = time + 60;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	while (query("SELECT $condition") ne 't')
	{
		return fail("$what: $condition") if time > $end;
		usleep(20_000);
	}
	return pass($what);
}

append_to_file($file, pack('q', 0));
{
	local %ENV = (%ENV, LD_PRELOAD => $library, SETCLOCK_FILE => $file);
	$node->start;
}
my $real = query('SELECT extract(epoch FROM clock_timestamp())');
set_clock($hour);
cmp_ok(query('SELECT extract(epoch FROM clock_timestamp())') - $real, '>=', $hour - 1, 'the clock can be set');
set_clock(0);

setup_roles($node);
setup_db($node, 'postgres');
$node->safe_psql(
	'postgres', q{
	-- what the handlers were asked to do: calls are counted by a sequence, which no rollback takes back
	CREATE TABLE broken ();
	CREATE TABLE effect (sub text, id bigint, n int, at timestamptz DEFAULT clock_timestamp());
	GRANT ALL ON effect TO app;
	CREATE FUNCTION act(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.effect VALUES (e.subscription, e.id, (e.payload->>'n')::int);
		IF e.payload ? 'snooze' AND NOT e.redelivered THEN
			PERFORM eda.snooze((e.payload->>'snooze')::interval);
		END IF;
		IF e.payload ? 'work' THEN
			-- not pg_sleep(), which goes by the system's clock
			PERFORM count(md5(i::text)) FROM generate_series(1, (e.payload->>'work')::int) i;
		ELSIF e.payload ? 'lock' THEN
			PERFORM pg_advisory_xact_lock((e.payload->>'lock')::int);
		END IF;
		IF e.payload ? 'fail' AND NOT e.redelivered OR e.payload ? 'broken' AND to_regclass('public.broken') IS NOT NULL THEN
			RAISE 'broken';
		END IF;
	END $$;
	GRANT USAGE ON SCHEMA eda TO app;
	GRANT EXECUTE ON FUNCTION eda.snooze, eda.publish TO app;
	SELECT eda.subscribe('act', 'act.#', 'public.act', backoff => '2 hours', max_backoff => '2 hours', ordering => 'none', owner => 'app'),
	       eda.subscribe('probed', 'probed', 'public.act', backoff => '2 hours', max_backoff => '2 hours', block_after => 1, owner => 'app'),
	       eda.subscribe('expire', 'expire', 'public.act', backoff => '2 hours', max_backoff => '2 hours', expire_after => '30 minutes', ordering => 'none', owner => 'app');
});

# ---- set forward ----

query(
	q{
	SELECT eda.publish('act', '{"n": 1}', deliver_at => clock_timestamp() + interval '1 hour'),
	       eda.publish('act', '{"n": 2, "fail": 1}'),
	       eda.publish('act', '{"n": 3, "snooze": "1 hour"}'),
	       eda.publish('probed', '{"n": 4, "broken": 1}'),
	       eda.publish('expire', '{"n": 5, "fail": 1}'),
	       eda.publish('act', '{"n": 6}', deliver_at => clock_timestamp() + interval '10 hours'),
	       eda.publish('act', '{"n": 7, "snooze": "10 hours"}'),
	       eda.publish('expire', '{"n": 8}', deliver_at => clock_timestamp() + interval '2 hours 50 minutes')});
wait_for(q{count(*) = 4 FROM eda.retries WHERE subscription IN ('act', 'expire')}, 'three wait for an attempt or snooze, one may expire');
wait_for(q{count(*) = 1 FROM eda.subscriptions WHERE subscription = 'probed' AND blocked_reason = 'failing'}, 'one subscription probes');
is(query('SELECT count(*) FROM effect'), '0', 'nothing has taken effect');
query('DROP TABLE broken');

my $begin = time;
move_clock(3 * $hour);
wait_for(q{count(*) >= 5 FROM effect}, 'three hours forward: what is due by the new clock runs');
# one poll, and some time for a busy machine
cmp_ok(time - $begin, '<', 10, 'within a poll');
is(query('SELECT string_agg(n::text, $$ $$ ORDER BY n) FROM effect'), '1 2 3 4 8', 'delayed, retried, snoozed, probed, each once');
is(query(q{SELECT n || ' ' || reason FROM eda.dead_letters d, LATERAL (SELECT payload->>'n' AS n) x WHERE subscription = 'expire'}), '5 expired', 'expiry goes by the new clock, from the time when the event was due');
wait_for(q{count(*) = 1 FROM eda.subscriptions WHERE subscription = 'probed' AND state = 'active'}, 'the probe has unblocked its subscription');
is(query('SELECT count(*) FROM eda.delayed'), '1', 'what is not due then waits');

# ---- set back, to where it was: further than the times that were written meanwhile ----

query(
	q{
	SELECT eda.subscribe('from_now', 'from.now', 'public.act', start_at => clock_timestamp(), owner => 'app');
	SELECT eda.publish('once', '{}', idempotency_key => 'k');
	SELECT eda.publish('act', '{"n": 11}', deliver_at => clock_timestamp() + interval '30 minutes');
	SELECT eda.publish('act', '{"n": 12, "snooze": "30 minutes"}')});
wait_for(q{count(*) = 2 FROM eda.retries WHERE subscription = 'act'}, 'another one snoozes');
my $once = query(q{SELECT id FROM eda.events WHERE topic = 'once'});

move_clock(-2 * $hour);
query(q{SELECT eda.publish('act', '{"n": 13}'), eda.publish('from.now', '{"n": 14}'), eda.publish('probed', '{"n": 15}')});
soon('count(*) = 3 FROM effect WHERE n BETWEEN 13 AND 15', 'two hours back: what is published is delivered at once');
is(query(q{SELECT count(*) FROM effect WHERE sub = 'from_now'}), '1', 'also to who began later, by the old clock');
is(query(q{SELECT eda.publish('once', '{}', idempotency_key => 'k')}), $once, 'an idempotency key is remembered');
is(query(q{SELECT max(id) = max(id) FILTER (WHERE topic <> 'once') FROM eda.events}), 't', 'ids go on');
query(q{SELECT eda.publish('act', '{"n": 16}', deliver_at => clock_timestamp() + interval '1 s')});
soon('count(*) = 1 FROM effect WHERE n = 16', 'an event that is delayed now is delivered');
query(q{SELECT eda.publish('act', '{"n": 17, "snooze": "1 s"}')});
soon('count(*) = 1 FROM effect WHERE n = 17', 'and one that snoozes');
is(query('SELECT count(*) FROM effect WHERE n IN (11, 12)'), '0', 'what is not due by the new clock waits');
is(query('SELECT count(*) FROM eda.delayed'), '2', 'nothing is lost');

# not as far as it was: what is due by then comes with a poll
query(q{SELECT eda.publish('act', '{"n": 18}', deliver_at => clock_timestamp() + interval '20 minutes'), eda.publish('act', '{"n": 19, "snooze": "20 minutes"}')});
wait_for(q{count(*) = 3 FROM eda.retries WHERE subscription = 'act'}, 'one more snoozes');
move_clock($hour);
soon('count(*) = 2 FROM effect WHERE n IN (18, 19)', 'forward again: there still are polls');
is(query('SELECT count(*) FROM effect WHERE n IN (11, 12)'), '0', 'the others still wait');
move_clock(2 * $hour);
soon('count(*) = 2 FROM effect WHERE n IN (11, 12)', 'until the clock has come to their time');

# ---- set back while something is measured ----

# a handler's timeout
query(q{SELECT eda.subscribe('timed', 'timed', 'public.act', max_attempts => 1, timeout => '3 seconds', owner => 'app')});
my $locker = $node->background_psql('postgres');
$locker->query_safe('SELECT pg_advisory_lock(4711)');
query(q{SELECT eda.publish('timed', '{"n": 21, "lock": 4711}')});
wait_for(q{count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eda executor' AND wait_event = 'advisory'}, 'a handler is running');
move_clock(-$hour);
soon(q{count(*) = 1 FROM eda.dead_letters WHERE subscription = 'timed'}, 'its timeout comes while the clock is set back');
is(query(q{SELECT reason || ' ' || error_code FROM eda.dead_letters WHERE subscription = 'timed'}), 'timeout 57014', 'and is known as that');
# a timer that is set already, for an event before it
query(q{SELECT eda.publish('timed', '{"n": 22, "work": 100000}'), eda.publish('timed', '{"n": 23, "lock": 4711}')});
wait_for(q{count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eda executor' AND wait_event = 'advisory'}, 'a handler is running behind another one');
move_clock(-$hour);
soon(q{count(*) = 2 FROM eda.dead_letters WHERE subscription = 'timed'}, 'its timeout comes as well');
is(query(q{SELECT string_agg(reason, ' ') FROM eda.dead_letters WHERE subscription = 'timed'}), 'timeout timeout', 'as what it is');
soon('count(*) = 1 FROM effect WHERE n = 22', 'the one before it is not concerned');
# an event that is cancelled is not taken for one that took too long
query(q{SELECT eda.publish('timed', '{"n": 24, "lock": 4711}'), eda.alter_subscription('timed', '{"timeout": "10 minutes"}')});
wait_for(q{count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eda executor' AND wait_event = 'advisory'}, 'a handler is running');
move_clock(2 * $hour);
query(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'eda executor' AND wait_event = 'advisory'});
soon(q{count(*) = 3 FROM eda.dead_letters WHERE subscription = 'timed'}, 'one that is cancelled while the clock is set forward fails');
is(query(q{SELECT count(*) FROM eda.dead_letters WHERE subscription = 'timed' AND reason = 'max_attempts'}), '1', 'but not for its timeout');
$locker->query_safe('SELECT pg_advisory_unlock(4711)');

# eda.wait()
query(q{SELECT eda.alter_subscription('timed', '{"timeout": "10 minutes"}')});
$locker->query_safe('SELECT pg_advisory_lock(4712)');
query(q{SELECT eda.publish('timed', '{"n": 25, "lock": 4712}')});
my $waiter = $node->background_psql('postgres', on_error_stop => 0);
$waiter->query_until(qr/begun/, "\\echo begun\nCALL eda.wait('timed', '3 seconds');\n");
wait_for(q{count(*) = 1 FROM pg_stat_activity WHERE query ~ '^CALL eda.wait'}, 'somebody waits');
move_clock(-$hour);
soon(q{count(*) = 0 FROM pg_stat_activity WHERE query ~ '^CALL eda.wait' AND state = 'active'}, 'eda.wait() has a timeout then');
$waiter->quit;
$locker->query_safe('SELECT pg_advisory_unlock(4712)');
soon('count(*) = 1 FROM effect WHERE n = 25', 'the event is delivered');

# a lane that somebody kept locked, so that it backs off
query('SELECT eda.pause(subscription) FROM eda.subscriptions WHERE subscription = $$from_now$$');
query('SELECT eda.resume(subscription) FROM eda.subscriptions WHERE subscription = $$from_now$$');
$locker->query_safe(q{BEGIN; SELECT eda.alter_subscription('from_now', '{"batch_size": 7}')});
query(q{SELECT eda.publish('from.now', '{"n": 26}') FROM generate_series(1, 3)});
my $waited = time;
wait_for("clock_timestamp() > '" . query('SELECT clock_timestamp()') . "'::timestamptz + interval '2 s'", 'the lane is tried for two seconds');
move_clock(-$hour);
$locker->query_safe('ROLLBACK');
soon('count(*) = 3 FROM effect WHERE n = 26', 'a lane that backed off is served');

# the back-off of a dispatcher that failed
my $dispatcher = wait_worker($node, 'postgres', 'dispatcher');
query("SELECT pg_terminate_backend($dispatcher)");
move_clock(-$hour);
$begin = time;
wait_new_worker($node, 'postgres', 'dispatcher', $dispatcher);
cmp_ok(time - $begin, '<', 30, 'a dispatcher that ended comes back');

# a busy lane's time slice: there is one executor for two
query(q{SELECT eda.unsubscribe(subscription, true) FROM eda.subscriptions WHERE subscription <> 'act'; ALTER SYSTEM SET eda.max_executors = 1});
query('ALTER SYSTEM SET eda.executor_linger = \'3s\'');
$node->stop;
{
	local %ENV = (%ENV, LD_PRELOAD => $library, SETCLOCK_FILE => $file);
	$node->start;
}
query(
	q{
	SELECT eda.subscribe('hog', 'hog', 'public.act', batch_size => 5, owner => 'app');
	SELECT count(eda.publish('hog', '{"n": 30, "work": 20000}')) FROM generate_series(1, 5000)});
wait_for(q{count(*) > 5 FROM effect WHERE sub = 'hog'}, 'a lane keeps the only executor busy');
move_clock(-$hour);
query(q{SELECT eda.publish('act', '{"n": 31}')});
soon('count(*) = 1 FROM effect WHERE n = 31', 'another one is served when its time slice is over');
cmp_ok(query(q{SELECT count(*) FROM effect WHERE sub = 'hog'}), '<', 5000, 'though it has work left');
query(q{SELECT eda.unsubscribe('hog', true)});

# a failure that takes longer than a time slice is recorded before the lane is laid down
query(
	q{
	SELECT eda.subscribe('slow', 'slow', 'public.act', max_attempts => 1, owner => 'app');
	CREATE TABLE broken ();
	SELECT eda.publish('slow', '{"n": 34, "work": 1500000, "broken": 1}'), eda.publish('act', '{"n": 35}')});
soon(q{count(*) = 1 FROM eda.dead_letters WHERE subscription = 'slow' AND attempts = 1}, 'an event that fails slowly runs out of attempts, though others wait for the executor');
query(q{SELECT eda.unsubscribe('slow', true); DROP TABLE broken});

# a batch's time: a batch of 5,000 would take minutes
query(
	q{
	SELECT eda.subscribe('long', 'long', 'public.act', batch_size => 10000, owner => 'app');
	SELECT count(eda.publish('long', '{"n": 32, "work": 20000}')) FROM generate_series(1, 5000)});
wait_for(q{count(*) > 5 FROM effect WHERE sub = 'long'}, 'a lane with large batches');
move_clock(-$hour);
my $handled = query(q{SELECT count(*) FROM effect WHERE sub = 'long'});
soon(qq{count(*) > $handled + 20 FROM effect WHERE sub = 'long'}, 'batches end in time');
query(q{SELECT eda.unsubscribe('long', true)});

# an executor that lingers; a poll would give it the lane again
query(q{ALTER SYSTEM SET eda.poll_interval = '1d'});
query('SELECT pg_reload_conf()');
query(q{SELECT eda.publish('act', '{"n": 33}')});
soon('count(*) = 1 FROM effect WHERE n = 33', 'an executor has done its work');
is(query(q{SELECT count(*) FROM eda.workers WHERE kind = 'executor'}), '1', 'and lingers');
move_clock(-$hour);
soon(q{count(*) = 0 FROM eda.workers WHERE kind = 'executor'}, 'not for as long as the clock was set back');

# ---- the end of all delays ----

query(q{ALTER SYSTEM RESET eda.poll_interval});
query('SELECT pg_reload_conf()');
move_clock(30 * $hour);
soon('count(*) = 0 FROM eda.delayed', 'what was delayed comes in the end');
query('CALL eda.wait()');
is(query('SELECT string_agg(n::text, $$ $$ ORDER BY n) FROM effect WHERE n IN (6, 7)'), '6 7', 'and what snoozed');
is(query('SELECT count(*), count(DISTINCT (sub, id)) FROM effect'), query('SELECT count(DISTINCT (sub, id)), count(DISTINCT (sub, id)) FROM effect'), 'everything once');
is(query(q{SELECT eda.publish('once', '{}', idempotency_key => 'k')}) > $once, 1, 'an idempotency key is forgotten by the new clock');

$node->stop;
done_testing();
