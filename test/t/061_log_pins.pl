# Who keeps a segment: subscriptions that have still to handle something of it,
# and no others.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;
use LogTest;

log_node('log_pins');
query(q{
	CREATE TABLE came (subscription text, n int);
	GRANT ALL ON came TO app;
	CREATE FUNCTION late(e eda.event) RETURNS void LANGUAGE sql AS
		$$ INSERT INTO public.came VALUES (e.subscription, (e.payload->>'n')::int) $$;
});
handle_one('an event is handled');

# Subscriptions that are paused, blocked or slow keep what they have still to handle.
query(q{
	CREATE FUNCTION held(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_advisory_xact_lock_shared(60);
		INSERT INTO public.came VALUES (e.subscription, (e.payload->>'n')::int);
	END $$;
	CREATE FUNCTION missing(e eda.event) RETURNS void LANGUAGE sql AS
		$$ INSERT INTO public.came VALUES (e.subscription, (e.payload->>'n')::int) $$;
	SELECT eda.subscribe('paused', 'test.kept', 'public.late', owner => 'app');
	SELECT eda.subscribe('blocked', 'test.kept', 'public.missing', owner => 'app');
	SELECT eda.subscribe('slow', 'test.kept', 'public.held', owner => 'app', timeout => '1 hour', batch_size => 1);
	SELECT eda.pause('paused');
	ALTER FUNCTION missing RENAME TO not_here;
	TRUNCATE came;
});
my $gate = session('SELECT pg_advisory_lock(60)');
rotate();
my $old = current();
query(q{SELECT eda.publish('test.kept', jsonb_build_object('n', i)) FROM generate_series(1, 3) i});
wait_for("SELECT state = 'blocked' FROM eda.subscriptions WHERE subscription = 'blocked'", 'a subscription is blocked');
wait_for("SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", 'and another one is slow');
rotate();
handle_one('the others go on');
rotate();
passes();
# those before and behind may be pinned, too, as long as cursors have not been moved past eda's own events in them
wait_for("SELECT string_agg(segment || ' ' || array_to_string(pinned_by, ','), ';' ORDER BY segment) = '$old paused,blocked,slow;@{[$old + 1]} paused,blocked,slow'"
	  . " FROM eda.segments WHERE segment IN ($old, $old + 1)", 'what they have not handled is pinned by them');
my $told = q{FROM eda.events WHERE topic = 'eda.log.pinned'};
wait_for("SELECT count(DISTINCT payload->>'subscription') = 3 $told", 'which is told of as an event');
is(query("SELECT string_agg(DISTINCT payload->>'subscription', ',' ORDER BY payload->>'subscription'), bool_and((payload->>'bytes')::bigint > 0) $told"),
	'blocked,paused,slow|t', 'one for each of them');
# on a slow machine the first was told of when it kept one segment, and again when it kept two
passes();
my $times = query("SELECT count(*) $told");
passes();
is(query("SELECT count(*) $told"), $times, 'and not again');
query(q{SELECT count(eda.publish('test.kept', '{"n": 0}')) FROM generate_series(1, 3000)});
rotate();
wait_for("SELECT count(*) >= $times + 3 $told", 'until it is twice as much');
query(q{SELECT eda.resume('paused'); ALTER FUNCTION not_here RENAME TO missing});
$gate->query_safe('SELECT pg_advisory_unlock(60)');
$gate->quit;
wait_for("SELECT count(*) = 9009 FROM came", 'resumed, mended and let go they handle it all');
is(query('SELECT count(*), count(DISTINCT n) FROM came WHERE n > 0'), '9|3', 'each event once');
rotate();
wait_gone($old, 'then it goes');

# A cursor has gone past a publisher that is open: its event is older than all that was handled.
query('TRUNCATE came');
rotate();
$old = current();
my $publisher = session(q{BEGIN; SELECT eda.publish('test.kept', '{"n": 1}')});
query(q{SELECT eda.publish('test.kept', '{"n": 2}')});
wait_for('SELECT count(*) = 3 FROM came WHERE n = 2', 'events are handled beside an open publisher');
query(q{SELECT eda.pause('paused')});
$publisher->query_safe('COMMIT');
$publisher->quit;
wait_for('SELECT count(*) = 2 FROM came WHERE n = 1', 'its event is handled, too');
rotate();
passes();
is(state_of($old), 's', 'and kept for who is paused');
query(q{SELECT eda.resume('paused')});
wait_for('SELECT count(*) = 3 FROM came WHERE n = 1', 'who gets it');
wait_gone($old, 'then it goes');

# Subscriptions to which nothing comes.
query(q{
	SELECT eda.subscribe('idle', 'test.idle', 'public.late', owner => 'app');
	SELECT eda.subscribe('idle_wild', 'idle.#', 'public.late', owner => 'app');
	SELECT eda.subscribe('idle_paused', 'test.idle', 'public.late', owner => 'app');
	SELECT eda.pause('idle_paused');
	TRUNCATE came;
});
my $cursors = q{SELECT count(DISTINCT to_snapshot) = 1 AND bool_and(pos_id = 9223372036854775807) FROM eda.cursor c
	JOIN eda.subscription s USING (subscription_id) WHERE s.name LIKE 'idle%'};
rotate();
$old = current();
query(q{SELECT count(eda.publish('test.foreign')) FROM generate_series(1, 20000)});
rotate();
wait_gone($old, 'a segment with nothing for anybody goes');
wait_for($cursors, 'idle subscriptions stand where the log ends, paused ones too');
my $stood = query("SELECT string_agg(to_snapshot::text, ',') FROM eda.cursor");
query('SELECT pg_current_xact_id()');
passes();
is(query("SELECT string_agg(to_snapshot::text, ',') FROM eda.cursor"), $stood, 'nothing is written where nothing is published');
query(q{SELECT eda.publish('test.idle', '{"n": 1}'), eda.publish('idle.a', '{"n": 1}')});
wait_for('SELECT count(*) = 2 FROM came', 'and get the next event');
query(q{SELECT eda.resume('idle_paused')});
wait_for('SELECT count(*) = 3 FROM came', 'the paused one, too, when it is resumed');

# An executor lingers on the lane.
$node->append_conf('postgresql.conf', "eda.executor_linger = 1h");
$node->reload;
query(q{SELECT eda.publish('test.idle', '{"n": 2}')});
wait_for("SELECT count(*) = 1 FROM eda.workers WHERE subscription = 'idle' AND state = 'running' AND in_flight = 0", 'an executor lingers');
rotate();
$old = current();
query(q{SELECT count(eda.publish('test.foreign')) FROM generate_series(1, 100)});
rotate();
wait_gone($old, 'it does not pin what it has passed over');
is(query("SELECT count(*) FROM eda.workers WHERE subscription = 'idle'"), '1', 'and lingers still');

unlike(slurp_file($node->logfile), qr/TRAP:|PANIC:|terminated by signal|ERROR: /, 'nothing went wrong');
$node->stop;
done_testing();
