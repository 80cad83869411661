# Lanes: keys side by side, each in order, while the number of lanes changes
# under load and keys are blocked; and rate_limit.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EdaTest;
use IPC::Run qw(pump finish);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('lanes');
my $db = 'postgres';

$node->append_conf('postgresql.conf', "eda.max_executors = 8\nrestart_after_crash = on");
$node->start;
setup_roles($node);
$node->safe_psql($db, q{
	CREATE EXTENSION eda;
	CREATE TABLE effect (seq bigserial, id bigint, key text, n int, pid int DEFAULT pg_backend_pid());
	CREATE TABLE gate ();
	GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
	GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;

	-- fails as often as the payload says; waits for the gate where it says so
	CREATE FUNCTION note(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF e.attempt <= coalesce((e.payload->>'fail')::int, 0) THEN
			RAISE 'attempt % of event %', e.attempt, e.payload->>'n';
		END IF;
		WHILE e.payload ? 'wait' AND NOT EXISTS (SELECT FROM public.gate) LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
		INSERT INTO public.effect (id, key, n) VALUES (e.id, e.key, (e.payload->>'n')::int);
	END $$;
});

sub subscribe
{
	my ($settings) = @_;
	$node->safe_psql($db, "SELECT eda.subscribe('s', 'test.lane', 'public.note', owner => 'app', $settings)");
}

sub alter
{
	my ($settings) = @_;
	$node->safe_psql($db, "SELECT eda.alter_subscription('s', '$settings')");
}

sub lanes { return $node->safe_psql($db, "SELECT lanes FROM eda.subscriptions WHERE subscription = 's'"); }

sub wait_lanes
{
	my ($n, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until($db, "SELECT lanes = $n FROM eda.subscriptions WHERE subscription = 's'"), $what);
}

sub wait_any_executor
{
	my $sql = q{FROM pg_stat_activity WHERE backend_type = 'eda executor'};
	$node->poll_query_until($db, "SELECT count(*) > 0 $sql");
	return $node->safe_psql($db, "SELECT pid $sql LIMIT 1");
}

# All published events took effect once, and those of each key in order.
sub check_effects
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	# also those that wait for a retry
	$node->poll_query_until($db, q{SELECT count(*) = (SELECT count(*) FROM eda.events WHERE topic = 'test.lane') FROM effect})
	  or diag($node->safe_psql($db, 'SELECT * FROM eda.subscriptions'));
	is($node->safe_psql($db, q{
		SELECT (SELECT count(*) FROM eda.events WHERE topic = 'test.lane') = count(*), count(*) = count(DISTINCT id) FROM effect}),
		't|t', "$what: every event took effect, once");
	is($node->safe_psql($db, q{
		SELECT count(*) FROM (SELECT key, id, lag(id) OVER (PARTITION BY key ORDER BY seq) AS before FROM effect) e
		 WHERE key IS NOT NULL AND before > id}),
		'0', "$what: in order within each key");
	is($node->safe_psql($db, 'SELECT count(*) FROM eda.retry'), '0', "$what: nothing waits any more");
}

# Several lanes, several processes.
subscribe('concurrency => 4');
is(lanes(), '4', 'a new subscription has its lanes at once');
$node->safe_psql($db, q{
	SELECT eda.publish('test.lane', jsonb_build_object('n', i), 'k' || i % 20) FROM generate_series(1, 4000) i;
	SELECT eda.publish('test.lane', jsonb_build_object('n', i)) FROM generate_series(1, 1000) i});
check_effects('four lanes');
is($node->safe_psql($db, 'SELECT count(DISTINCT lane) FROM eda.cursor WHERE handled > 0'), '4', 'all lanes took part');
cmp_ok($node->safe_psql($db, 'SELECT count(DISTINCT pid) FROM effect'), '>', 1, 'in several processes');
is($node->safe_psql($db, q{SELECT count(*) FROM (SELECT key FROM effect WHERE key IS NOT NULL GROUP BY key HAVING count(DISTINCT pid) > 1) k}),
	'0', 'each key in one of them');

# A busy key leaves the other lanes alone.
$node->safe_psql($db, q{
	SELECT eda.publish('test.lane', '{"n": 1, "wait": true}', 'k1');
	SELECT eda.publish('test.lane', jsonb_build_object('n', i), 'k' || i) FROM generate_series(1, 20) i;});
ok($node->poll_query_until($db, q{
	SELECT count(*) > 0 FROM effect WHERE id > (SELECT max(id) FROM eda.events WHERE payload ? 'wait') AND key <> 'k1'}),
	'keys of other lanes go on while one is busy');
$node->safe_psql($db, 'INSERT INTO gate DEFAULT VALUES');
check_effects('a busy key');

# Each lane is woken by its own events; eda.poll_interval is a day.
for my $k (1 .. 8)
{
	$node->safe_psql($db, "SELECT eda.publish('test.lane', '{}', 'wake$k')");
	ok($node->poll_query_until($db, "SELECT count(*) = 1 FROM effect WHERE key = 'wake$k'"), "a lone event of key $k is delivered");
}

# From one lane to many at once, in the middle of a backlog.
alter('{"concurrency": 1}');
wait_lanes(1, 'four lanes meet and become one');
$node->safe_psql($db, q{SELECT eda.pause('s')});
$node->safe_psql($db, q{SELECT eda.publish('test.lane', jsonb_build_object('n', i), 'k' || i % 20) FROM generate_series(1, 3000) i});
$node->safe_psql($db, q{SELECT eda.resume('s')});
$node->poll_query_until($db, "SELECT handled > 5000 FROM eda.subscriptions WHERE subscription = 's'");
alter('{"concurrency": 6}');
is(lanes(), '6', 'one lane becomes six at once');
check_effects('one to six');

# And while they are at different places: not before they have met.
$node->safe_psql($db, q{
	TRUNCATE gate;
	SELECT eda.publish('test.lane', '{"n": 1, "wait": true}', 'k1');
	SELECT eda.publish('test.lane', jsonb_build_object('n', i), 'k' || i % 20) FROM generate_series(1, 500) i});
$node->poll_query_until($db, q{SELECT count(*) > 0 FROM effect WHERE id > (SELECT max(id) FROM eda.events WHERE payload ? 'wait')});
$node->safe_psql($db, 'INSERT INTO gate DEFAULT VALUES');
alter('{"concurrency": 3}');
wait_lanes(3, 'six lanes become three');
check_effects('six to three');

# Under load, with failing keys, again and again, with crashes.
$node->safe_psql($db, q{SELECT eda.alter_subscription('s', '{"backoff": "5 ms", "max_backoff": "40 ms"}')});
for my $n (2, 64, 5, 1, 8, 3)
{
	$node->safe_psql($db, q{
		SELECT eda.publish('test.lane', jsonb_build_object('n', i, 'fail', CASE WHEN i % 97 = 0 THEN 2 ELSE 0 END), 'k' || i % 13)
		  FROM generate_series(1, 1000) i;
		SELECT eda.publish('test.lane', jsonb_build_object('n', i)) FROM generate_series(1, 200) i});
	alter(qq({"concurrency": $n}));
	$node->safe_psql($db, q{
		SELECT eda.publish('test.lane', jsonb_build_object('n', i, 'fail', CASE WHEN i % 89 = 0 THEN 3 ELSE 0 END), 'k' || i % 13)
		  FROM generate_series(1, 500) i});
	if ($n == 5 or $n == 8)
	{
		my $pid = wait_any_executor();
		kill 9, $pid;
		# its entry goes with shared memory
		$node->poll_query_until($db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
	}
	wait_lanes($n, "to $n lanes under load");
}
check_effects('changes under load');
is($node->safe_psql($db, q{SELECT count(*) FROM eda.cursor c JOIN eda.subscription s USING (subscription_id) WHERE s.name = 's'}), '3', 'a cursor for each lane');
is($node->safe_psql($db, q{SELECT handled = (SELECT count(*) FROM effect) FROM eda.subscriptions WHERE subscription = 's'}), 't', 'the counters are kept');

# A key that is blocked stays blocked over a change.
$node->safe_psql($db, q{
	SELECT eda.alter_subscription('s', '{"backoff": "1 hour", "max_backoff": "1 hour", "max_attempts": 3}');
	SELECT eda.publish('test.lane', '{"n": 1, "fail": 1}', 'blocked');
	SELECT eda.publish('test.lane', '{"n": 2}', 'blocked');
});
$node->poll_query_until($db, 'SELECT count(*) = 2 FROM eda.retry');
for my $n (7, 2)
{
	alter(qq({"concurrency": $n}));
	wait_lanes($n, "to $n lanes while a key is blocked");
	$node->safe_psql($db, qq{SELECT eda.publish('test.lane', '{"n": $n}', 'blocked')});
	$node->safe_psql($db, qq{SELECT eda.publish('test.lane', '{"n": $n}', 'free$n')});
	ok($node->poll_query_until($db, "SELECT count(*) = 1 FROM effect WHERE key = 'free$n'"), 'others go on');
}
ok($node->poll_query_until($db, q{SELECT count(*) = 4 FROM eda.retry WHERE key = 'blocked'}), 'its events wait behind it');
is($node->safe_psql($db, q{SELECT count(*) FROM effect WHERE key = 'blocked'}), '0', 'none of them overtook it');
$node->safe_psql($db, q{UPDATE eda.retry SET next_attempt_at = clock_timestamp() WHERE next_attempt_at IS NOT NULL;
	SELECT eda.alter_subscription('s', '{"backoff": "5 ms"}')});
check_effects('a blocked key');

# A change that is pending when it is taken back, or made another.
$node->safe_psql($db, q{SELECT eda.pause('s')});
$node->safe_psql($db, q{SELECT eda.publish('test.lane', '{}', 'x')});
alter('{"concurrency": 8}');
alter('{"concurrency": 5}');
$node->safe_psql($db, q{SELECT eda.resume('s')});
wait_lanes(5, 'the last wish counts');
check_effects('changed twice');

# Lanes that stood at the fence when their executors took them up change, too.
$node->safe_psql($db, q{SELECT eda.publish('test.lane', '{}', 'y' || i) FROM generate_series(1, 40) i});
check_effects('before the last fence');
$node->safe_psql($db, q{SELECT eda.pause('s')});
alter('{"concurrency": 3}');
is($node->safe_psql($db, q{
	UPDATE eda.cursor c SET from_snapshot = s.fence, to_snapshot = s.fence, pos_id = s.fence_pos
	  FROM eda.subscription s WHERE s.subscription_id = c.subscription_id AND s.fence IS NOT NULL RETURNING 1}) =~ tr/1//,
	5, 'five lanes are put to the fence');
$node->safe_psql($db, q{SELECT eda.resume('s')});
wait_lanes(3, 'they become three');
check_effects('put to the fence');

alter('{"ordering": "strict", "concurrency": 1}');
wait_lanes(1, 'strict order in a single lane');
check_effects('strict');

# block_after is about all lanes together.
alter('{"ordering": "key", "concurrency": 4, "block_after": 20, "max_attempts": 1000, "backoff": "1 hour"}');
wait_lanes(4, 'four lanes again');
$node->safe_psql($db, q{
	SELECT eda.publish('test.lane', '{"fail": 1000000}', 'b' || i) FROM generate_series(1, 200) i});
ok($node->poll_query_until($db, q{SELECT state = 'blocked' AND blocked_reason = 'failing' FROM eda.subscriptions WHERE subscription = 's'}),
	'failures of all lanes block the subscription');
cmp_ok($node->safe_psql($db, q{SELECT count(*) FROM eda.retries WHERE attempt > 0}), '<', 20 + 4 * 20, 'before every lane has failed that often');
$node->safe_psql($db, q{SELECT eda.unsubscribe('s', force => true)});

# rate_limit: all lanes share it.
my $count = 60;
$node->safe_psql($db, 'TRUNCATE effect');
subscribe(q{concurrency => 3, rate_limit => 40});
my $start = time;
$node->safe_psql($db, "SELECT eda.publish('test.lane', jsonb_build_object('n', i), 'r' || i % 7) FROM generate_series(1, $count) i");
ok($node->poll_query_until($db, "SELECT count(*) = $count FROM effect"), 'events under a rate limit are delivered');
my $took = time - $start;
cmp_ok($took, '>=', ($count - 2) / 40, "not faster than 40 a second: $count took $took s");
is($node->safe_psql($db, q{SELECT count(*) FROM (SELECT key, id, lag(id) OVER (PARTITION BY key ORDER BY seq) AS before FROM effect) e WHERE before > id}),
	'0', 'in order within each key');
$node->safe_psql($db, q{SELECT eda.alter_subscription('s', '{"rate_limit": null}')});
$node->safe_psql($db, "SELECT eda.publish('test.lane', '{}', 'q' || i % 7) FROM generate_series(1, 2000) i");
ok($node->poll_query_until($db, "SELECT count(*) = $count + 2000 FROM effect"), 'without the limit they are not held back');

# A long wait for the limit does not keep the executor, nor is it forgotten.
$node->safe_psql($db, q{
	ALTER SYSTEM SET eda.executor_linger = '50ms';
	SELECT pg_reload_conf()});
alter('{"rate_limit": 2}');
$node->safe_psql($db, "SELECT eda.publish('test.lane', '{}', 'z') FROM generate_series(1, 4)");
ok($node->poll_query_until($db, "SELECT count(*) = 4 FROM effect WHERE key = 'z'"), 'a lane that was laid down goes on when the limit allows');

# A rate that is raised counts at once, also for who waits by the old one.
alter('{"rate_limit": 0.01}');
$node->safe_psql($db, "SELECT eda.publish('test.lane', '{}', 'raised') FROM generate_series(1, 4)");
$node->poll_query_until($db, q{SELECT count(*) = 0 FROM eda.workers WHERE kind = 'executor' AND subscription IS NOT NULL});
alter('{"rate_limit": 1000}');
ok($node->poll_query_until($db, "SELECT count(*) = 4 FROM effect WHERE key = 'raised'"), 'a raised rate_limit counts at once');
$node->safe_psql($db, q{SELECT eda.unsubscribe('s', force => true)});

# Slow limits of many do not keep others waiting.
$node->safe_psql($db, q{
	TRUNCATE effect;
	SELECT eda.subscribe('slow' || i, 'test.slow.' || i, 'public.note', rate_limit => 0.01, owner => 'app') FROM generate_series(1, 40) i});
$node->safe_psql($db, q{SELECT eda.publish('test.slow.' || i, '{}', 'k') FROM generate_series(1, 40) i, generate_series(1, 2)});
ok($node->poll_query_until($db, 'SELECT count(*) = 40 FROM effect'), 'each of many slow subscriptions gets its first event');
$node->safe_psql($db, q{SELECT eda.unsubscribe('slow' || i, force => true) FROM generate_series(1, 40) i});

# A failed batch is narrowed down although its lane is given up at each wait, and
# no event is called more often than it has attempts where the limit leaves one at a time.
$node->safe_psql($db, q{
	TRUNCATE effect;
	CREATE SEQUENCE calls;
	CREATE TABLE late (n int);
	GRANT ALL ON calls, late TO app;
	CREATE FUNCTION note_set(e eda.event[]) RETURNS void LANGUAGE sql AS $$
		INSERT INTO public.effect (id, key, n) SELECT id, key, 1 / (payload->>'n')::int FROM unnest(e) $$;
	CREATE FUNCTION note_call(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM nextval('public.calls');
		RAISE 'never';
	END $$;
	CREATE FUNCTION note_late(e eda.event) RETURNS void LANGUAGE sql AS $$
		INSERT INTO public.late (n) VALUES ((e.payload->>'n')::int) $$;
	CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM 1 / NEW.n; RETURN NEW; END $$;
	CREATE CONSTRAINT TRIGGER judge AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION judge();
	ALTER SYSTEM SET eda.executor_linger = 0;
	SELECT pg_reload_conf();
	SELECT eda.subscribe('set', 'test.narrow', 'public.note_set', rate_limit => 100, max_attempts => 1, owner => 'app'),
	       eda.subscribe('late', 'test.narrow', 'public.note_late', rate_limit => 100, max_attempts => 1, owner => 'app'),
	       eda.subscribe('calls', 'test.call', 'public.note_call', rate_limit => 20, max_attempts => 3, backoff => '1 ms', max_backoff => '1 ms', owner => 'app');
	SELECT eda.publish('test.narrow', jsonb_build_object('n', i % 4), 'n' || i) FROM generate_series(1, 12) i;
	SELECT eda.publish('test.call', '{}', 'c' || i) FROM generate_series(1, 3) i});
ok($node->poll_query_until($db, q{SELECT array_agg(subscription || n ORDER BY subscription) = '{calls3,late3,set3}'
	FROM (SELECT subscription, count(*) AS n FROM eda.dead_letters GROUP BY subscription) d}), 'failed batches under a limit are narrowed down, whoever has their lane');
$node->safe_psql($db, 'CALL eda.wait()');
is($node->safe_psql($db, 'SELECT (SELECT count(*) FROM effect), (SELECT count(*) FROM late), (SELECT last_value FROM calls)'), '9|9|9',
	'the others are handled, and no event is called more often than it has attempts');
$node->safe_psql($db, q{SELECT eda.unsubscribe(s, force => true) FROM unnest('{set,late,calls}'::text[]) s});

# What changes a subscription sees what there is, however old the transaction's snapshot.
$node->safe_psql($db, q{ALTER SYSTEM RESET eda.executor_linger; SELECT pg_reload_conf()});
subscribe(q{backoff => '1 hour', max_attempts => 2});
$node->safe_psql($db, q{CREATE TABLE steps (step int)});
$node->safe_psql($db, q{
	SELECT eda.pause('s');
	SELECT eda.publish('test.lane', '{"fail": 1}', 'rr' || i) FROM generate_series(1, 8) i});
{
	my ($in, $out) = ('', '');
	my $timer = IPC::Run::timeout(60);
	my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db) ], '<', \$in, '>', \$out, $timer);

	$in .= "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 'begun', count(*) FROM steps;\n";
	pump $session until $out =~ /begun/;
	$node->safe_psql($db, q{SELECT eda.resume('s')});
	$node->poll_query_until($db, 'SELECT count(*) = 8 FROM eda.retry');
	$in .= "SELECT eda.alter_subscription('s', '{\"concurrency\": 4}'); SELECT 'altered'; COMMIT; SELECT 'over';\n";
	pump $session until $out =~ /over/;
	$in .= "\\q\n";
	finish $session;
	is(lanes(), '4', 'the lanes are changed in an old transaction');
}
is($node->safe_psql($db, q{SELECT count(*) FROM eda.retry WHERE lane <> eda._lane(key, event_id, 4)}), '0',
	'and what waits has moved along');
$node->safe_psql($db, q{SELECT eda.unsubscribe('s', force => true)});

# A handler cannot pull its own lanes from under its batch.
$node->safe_psql($db, q{
	TRUNCATE effect;
	GRANT USAGE ON SCHEMA eda TO app;
	GRANT EXECUTE ON FUNCTION eda.alter_subscription TO app;
	CREATE FUNCTION meddle(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.effect (id, key) VALUES (e.id, e.key);
		PERFORM eda.alter_subscription('m', '{"concurrency": 4}');
	END $$;
	SELECT eda.subscribe('m', 'test.meddle', 'public.meddle', max_attempts => 1, owner => 'app');
	SELECT eda.publish('test.meddle', '{}', i::text) FROM generate_series(1, 5) i});
ok($node->poll_query_until($db, q{SELECT count(*) = 5 FROM eda.dead_letters WHERE subscription = 'm' AND error_code = 'ED023'}),
	'a handler that changes its own concurrency fails');
is($node->safe_psql($db, 'SELECT count(*) FROM effect'), '0', 'and has no effect');

$node->stop;
done_testing();
