# An executor that ends in the middle of an event: for a timeout that the handler does not heed,
# terminated by a watchdog, or by the handler itself.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('timeout');
$node->append_conf('postgresql.conf', "eda.poll_interval = '2s'");
$node->start;
setup_roles($node);
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION eda;
	CREATE TABLE handled (sub text, id bigint, n int, at timestamptz DEFAULT clock_timestamp(), xid xid8 DEFAULT pg_current_xact_id());
	CREATE SEQUENCE calls;
	GRANT ALL ON handled, calls TO app, joe;
	GRANT USAGE ON SCHEMA eda TO app;

	-- catches the cancel: sleeping, at work, nested
	CREATE FUNCTION sleeps() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN LOOP BEGIN PERFORM pg_sleep(1000); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$;
	CREATE FUNCTION works() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN LOOP BEGIN LOOP NULL; END LOOP; EXCEPTION WHEN query_canceled OR OTHERS THEN NULL; END; END LOOP; END $$;
	CREATE FUNCTION nested() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		LOOP
			BEGIN
				BEGIN PERFORM public.sleeps(); EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(1000); END;
			EXCEPTION WHEN query_canceled THEN NULL;
			END;
		END LOOP;
	END $$;

	CREATE FUNCTION act(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM nextval('public.calls') WHERE e.payload ? 'do' OR e.payload ? 'slow';
		CASE e.payload->>'do'
			WHEN 'sleeps' THEN PERFORM public.sleeps();
			WHEN 'works' THEN PERFORM public.works();
			WHEN 'nested' THEN PERFORM public.nested();
			WHEN 'die' THEN PERFORM pg_terminate_backend(pg_backend_pid());
			ELSE NULL;
		END CASE;
		PERFORM pg_sleep((e.payload->>'slow')::float8) WHERE e.payload ? 'slow';
		INSERT INTO public.handled VALUES (e.subscription, e.id, (e.payload->>'n')::int);
	END $$;
	CREATE FUNCTION act_set(e eda.event[]) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE ev eda.event;
	BEGIN
		FOREACH ev IN ARRAY e LOOP PERFORM public.act(ev); END LOOP;
	END $$;

	-- at the commit
	CREATE TABLE deferred (n int, do_it text);
	CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		CASE NEW.do_it
			WHEN 'sleeps' THEN PERFORM public.sleeps();
			WHEN 'die' THEN PERFORM pg_terminate_backend(pg_backend_pid());
			ELSE NULL;
		END CASE;
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit();
	GRANT ALL ON deferred TO app;
	CREATE FUNCTION act_later(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.handled VALUES (e.subscription, e.id, (e.payload->>'n')::int);
		INSERT INTO public.deferred VALUES ((e.payload->>'n')::int, e.payload->>'do');
	END $$;
});

sub query { return $node->safe_psql('postgres', $_[0]); }

sub wait_for
{
	my ($condition, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', "SELECT $condition"), $what)
	  or diag(query('SELECT * FROM eda.subscriptions; SELECT * FROM eda.retries; SELECT * FROM eda.workers'));
}

# Event 1 does what it is told to, 2 to 20 of other keys do nothing: published in one transaction.
sub publish_all
{
	my ($topic, $do, $first) = @_;

	query("INSERT INTO handled SELECT '$topic', 0, 0 WHERE false; "
		  . "SELECT count(eda.publish('$topic', CASE WHEN i = $first THEN '$do' ELSE '{}'::jsonb END || jsonb_build_object('n', i), key => 'k' || i)) FROM generate_series(1, 20) i");
}

# All but the one are handled, once each, and no attempt of theirs was used up.
sub neighbours
{
	my ($sub, $first, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_for("count(DISTINCT n) = 19 FROM handled WHERE sub = '$sub' AND n <> $first", "$what: the others are handled");
	is(query("SELECT count(*) FROM handled WHERE sub = '$sub' AND n <> $first"), '19', "$what: once each");
	is(query("SELECT count(*) FROM eda.retry r JOIN eda.subscription USING (subscription_id) WHERE name = '$sub' AND (payload->>'n')::int <> $first"),
		'0', "$what: and use up no attempt");
}

# ---- a timeout ends, whatever the handler catches ----

my %handler = (sleeps => 'act', works => 'act', nested => 'act', sets => 'act_set', late => 'act_later', strict => 'act', one => 'act');
my %do = (sets => 'sleeps', late => 'sleeps', strict => 'works', one => 'sleeps');
my %settings = (strict => ", ordering => 'strict'", one => ', batch_size => 1', nested => ', concurrency => 4');
my @kinds = sort keys %handler;
foreach my $kind (@kinds)
{
	query("SELECT eda.subscribe('$kind', '$kind', 'public.$handler{$kind}', owner => 'app', timeout => '300 ms', max_attempts => 2, backoff => '100 ms'"
		  . ($settings{$kind} // '') . ')');
	publish_all($kind, '{"do": "' . ($do{$kind} // $kind) . '"}', $kind eq 'works' ? 20 : $kind eq 'late' ? 7 : 1);
}
foreach my $kind (@kinds)
{
	my $first = $kind eq 'works' ? 20 : $kind eq 'late' ? 7 : 1;

	neighbours($kind, $first, $kind) if $kind ne 'strict';
	wait_for("count(*) = 1 FROM eda.dead_letters WHERE subscription = '$kind'", "$kind: the event is given up");
	is( query("SELECT reason, attempts, array_length(attempt_history, 1), error_code, error_message FROM eda.dead_letters WHERE subscription = '$kind'"),
		"timeout|2|2|57014|canceled after 300 ms, the timeout of subscription \"$kind\"", "$kind: for its timeout");
	neighbours($kind, $first, $kind) if $kind eq 'strict';
	is(query("SELECT count(*) FROM handled WHERE sub = '$kind' AND n = $first"), '0', "$kind: it left nothing behind");
	is(query("SELECT state || ' ' || failed FROM eda.subscriptions WHERE subscription = '$kind'"), 'active 2', "$kind: two failures");
}
ok($node->log_contains('went on after its timeout'), 'the log tells of it');

# what waits for the subscription's lock does not wait for ever
query("SELECT eda.publish('sleeps', '{\"do\": \"sleeps\"}')");
wait_for("in_flight = 1 FROM eda.subscriptions WHERE subscription = 'sleeps'", 'one more is at it');
wait_for("count(*) = 1 FROM eda.workers WHERE subscription = 'sleeps' AND state = 'overdue'", 'which shows while it is past its timeout');
query("SET statement_timeout = '60s'; SELECT eda.pause('sleeps')");
is(query("SELECT state FROM eda.subscriptions WHERE subscription = 'sleeps'"), 'paused', 'such a subscription can be paused');
query("SET statement_timeout = '60s'; SELECT eda.unsubscribe('sleeps', true)");

# a filter that takes for ever ends like a handler
query(q{SELECT eda.subscribe('filter', 'filter', 'public.act', owner => 'app', timeout => '300 ms', max_attempts => 1,
		filter => '$.a[*] ? (exists ($.a[*] ? (exists ($.a[*] ? (exists ($.a[*] ? (exists ($.a[*] ? (@ == -1)))))))))')});
query("SELECT eda.publish('filter', jsonb_build_object('n', 1, 'a', array_agg(i))) FROM generate_series(1, 200) i");
query("SELECT eda.publish('filter', '{\"n\": 2, \"a\": [-1]}')");
wait_for("count(*) = 1 FROM handled WHERE sub = 'filter' AND n = 2", 'filter: the next event is handled');
is(query("SELECT reason FROM eda.dead_letters WHERE subscription = 'filter'"), 'timeout', 'filter: a timeout');

# ---- eda.max_timeout ----

my ($ret, $out, $err) = $node->psql('postgres',
	"SELECT eda.subscribe('long', 'long', 'public.act', owner => 'app', timeout => '2 h')");
like($err, qr/timeout must be at most 1h \(eda.max_timeout\)/, 'an ordinary role cannot have any timeout');
query("SELECT eda.subscribe('long', 'long', 'public.act', owner => 'app', timeout => '1 h', max_attempts => 1)");
($ret, $out, $err) = $node->psql('postgres', q{SELECT eda.alter_subscription('long', '{"timeout": "61 min"}')});
like($err, qr/timeout must be at most 1h \(eda.max_timeout\)/, 'not later either');
query("SET client_min_messages = error; SELECT eda.subscribe('super', 'super', 'public.act', owner => 'postgres', timeout => '2 h', max_attempts => 1)");
($ret, $out, $err) = $node->psql('postgres', q{SELECT eda.alter_subscription('super', '{"owner": "app"}')});
like($err, qr/eda.max_timeout/, 'nor by way of a superuser');
($ret, $out, $err) = $node->psql('postgres', "SET ROLE app; SET eda.max_timeout = '1 day'");
like($err, qr/permission denied/, 'who is bound by it cannot change it');
$node->append_conf('postgresql.conf', "eda.max_timeout = '500 ms'");
$node->reload;
wait_for("current_setting('eda.max_timeout') = '500ms'", 'a lower one');
query(q{SELECT eda.alter_subscription('long', '{"batch_size": 5}')});
query("SELECT eda.publish('long', '{\"slow\": 1000}'), eda.publish('super', '{\"slow\": 3}')");
wait_for("count(*) = 1 FROM eda.dead_letters WHERE subscription = 'long'", 'cuts short what was there before');
is(query("SELECT reason, error_message FROM eda.dead_letters WHERE subscription = 'long'"),
	'timeout|canceled after 500 ms, eda.max_timeout for subscription "long"', 'which says so');
wait_for("count(*) = 1 FROM handled WHERE sub = 'super'", 'but for a superuser');
$node->append_conf('postgresql.conf', "eda.max_timeout = '1h'");
$node->reload;
wait_for("current_setting('eda.max_timeout') = '1h'", 'as it was');

# ---- terminated in the middle of an event ----

# By the handler, at its end or at the commit: the first time counts for nothing, then as often as it has attempts.
%handler = (selfish => 'act', in_sets => 'act_set', last => 'act_later', strictly => 'act', lanes => 'act');
%settings = (strictly => ", ordering => 'strict', batch_size => 1", lanes => ', concurrency => 4');
@kinds = sort keys %handler;
foreach my $kind (@kinds)
{
	query("SELECT eda.subscribe('$kind', '$kind', 'public.$handler{$kind}', owner => 'app', max_attempts => 3, backoff => '100 ms'"
		  . ($settings{$kind} // '') . ')');
	publish_all($kind, '{"do": "die"}', 7);
}
foreach my $kind (@kinds)
{
	wait_for("count(*) = 1 FROM eda.dead_letters WHERE subscription = '$kind'", "$kind: the event is given up");
	is(query("SELECT reason, attempts, error_code FROM eda.dead_letters WHERE subscription = '$kind'"),
		'max_attempts|3|57P01', "$kind: after its attempts");
	neighbours($kind, 7, $kind);
	is(query("SELECT state || ' ' || failed || ' ' || last_error FROM eda.subscriptions WHERE subscription = '$kind'"),
		'active 3 the executor was terminated while it handled the event', "$kind: it shows");
}
ok($node->log_contains('an executor ended while event \d+ was handled'), 'the log tells of it');

# a handler that does nothing else blocks its subscription, as any that fails
query("SELECT eda.subscribe('broken', 'broken', 'public.act', owner => 'app', backoff => '1 h', max_backoff => '1 h', block_after => 3)");
query("SELECT count(eda.publish('broken', '{\"do\": \"die\"}')) FROM generate_series(1, 10)");
wait_for("state = 'blocked' FROM eda.subscriptions WHERE subscription = 'broken'", 'one that ends all its executors is blocked');
is(query("SELECT blocked_reason || ' ' || failed || ' ' || retrying FROM eda.subscriptions WHERE subscription = 'broken'"),
	'failing 3 3', 'as failing');
is(query("SELECT DISTINCT attempt || ' ' || error_code FROM eda.retries WHERE subscription = 'broken'"), '1 57P01', 'its events wait');
query("SELECT eda.unsubscribe('broken', true)");

# Once is no fault: a bystander of whatever it was.
query("SELECT eda.subscribe('once', 'once', 'public.act', owner => 'app', max_attempts => 1)");
query("SELECT eda.publish('once', '{\"n\": 1, \"slow\": 3}')");
wait_for("count(pg_terminate_backend(pid)) = 1 FROM eda.workers WHERE subscription = 'once' AND in_flight = 1", 'terminated once');
wait_for("count(*) = 1 FROM handled WHERE sub = 'once'", 'it is handled all the same');
is(query("SELECT failed || ' ' || dead FROM eda.subscriptions WHERE subscription = 'once'"), '0 0', 'which is no failure');

# A watchdog that ends all transactions of more than a second, and two events that take longer.
query("SELECT eda.subscribe('watched', 'watched', 'public.act', owner => 'app', max_attempts => 2, backoff => '100 ms')");
query(q{SELECT count(eda.publish('watched', jsonb_build_object('n', i) || CASE WHEN i IN (3, 9) THEN '{"slow": 20}'::jsonb ELSE '{}' END, key => 'w' || i))
		  FROM generate_series(1, 20) i});
my $watchdog = q{SELECT count(pg_terminate_backend(pid)) >= 0 FROM pg_stat_activity
				  WHERE backend_type = 'eda executor' AND xact_start < clock_timestamp() - interval '1 s'};
query($watchdog) until $node->poll_query_until('postgres',
	"SELECT count(*) = 2 FROM eda.dead_letters WHERE subscription = 'watched' AND (SELECT ($watchdog))");
is(query("SELECT string_agg(reason || ' ' || attempts || ' ' || error_code, ', ') FROM eda.dead_letters WHERE subscription = 'watched'"),
	'max_attempts 2 57P01, max_attempts 2 57P01', 'both are given up');
is(query("SELECT count(DISTINCT n) || ' ' || count(*) FROM handled WHERE sub = 'watched'"), '18 18', 'the others were handled, once each');

# eda's own stops are no event's fault, however often they come
query("SELECT eda.subscribe('stopped', 'stopped', 'public.act', owner => 'app', max_attempts => 1)");
query("SELECT eda.publish('stopped', '{\"n\": 1, \"slow\": 8}')");
for my $round (1 .. 3)
{
	wait_for("in_flight = 1 FROM eda.subscriptions WHERE subscription = 'stopped'", "it is being handled ($round)");
	query('ALTER DATABASE postgres SET eda.enabled = off');
	$node->safe_psql('template1', 'ALTER DATABASE postgres RENAME TO renamed; ALTER DATABASE renamed RENAME TO postgres');
	query('ALTER DATABASE postgres RESET eda.enabled');
	$node->safe_psql('template1', 'ALTER DATABASE postgres RENAME TO renamed; ALTER DATABASE renamed RENAME TO postgres');
}
wait_for("count(*) = 1 FROM handled WHERE sub = 'stopped'", 'drained again and again it is handled in the end');
is(query("SELECT failed || ' ' || dead FROM eda.subscriptions WHERE subscription = 'stopped'"), '0 0', 'without a failure');

$node->stop;
done_testing();
