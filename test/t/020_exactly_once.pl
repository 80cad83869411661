# Whatever happens to the workers and to the server, every event that was
# committed takes effect once, in the order of its key.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'usleep';

use EdaTest;

my $total = 10000;
my $seed = $ENV{EDA_TEST_SEED} || (time ^ $$);
srand($seed);
note("seed $seed: repeat with EDA_TEST_SEED");

my $node = new_node('once');
$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$node->start;
setup_roles($node);

# What is published is written down in the publisher's transaction, and what
# is handled in the handler's: in the end the two tables are the same.
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION eda;
	CREATE TABLE published (key text, n int, PRIMARY KEY (key, n));
	CREATE TABLE handled (seq bigserial, id bigint, key text, n int, attempt int);
	CREATE TABLE derived (seq bigserial, id bigint, causation_id bigint);
	GRANT ALL ON handled, handled_seq_seq TO app;
	GRANT ALL ON derived, derived_seq_seq TO joe;
	GRANT USAGE ON SCHEMA eda TO app;
	GRANT EXECUTE ON FUNCTION eda.publish TO app;
	-- every fifth event's handler publishes one, which another role handles
	CREATE FUNCTION take(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.handled (id, key, n, attempt) VALUES (e.id, e.key, (e.payload->>'n')::int, e.attempt);
		PERFORM eda.publish('test.derived', '{}', key => e.key) WHERE (e.payload->>'n')::int % 5 = 0;
		PERFORM pg_sleep(0.0004);
	END $$;
	CREATE FUNCTION derive(e eda.event) RETURNS void LANGUAGE sql AS $$
		INSERT INTO public.derived (id, causation_id) VALUES (e.id, e.causation_id);
	$$;
	SELECT eda.subscribe('take', 'test.take', 'public.take', batch_size => 20, owner => 'app'),
	       eda.subscribe('derive', 'test.derived', 'public.derive', batch_size => 7, owner => 'joe');

	CREATE FUNCTION put(key text, n int) RETURNS bigint LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO published VALUES (key, n);
		RETURN eda.publish('test.take', jsonb_build_object('n', n), key => key);
	END $$;

	-- one transaction
	CREATE FUNCTION put_many(prefix text, n int) RETURNS void LANGUAGE sql AS $$
		SELECT put(prefix || i % 7, i) FROM generate_series(1, n) i;
	$$;

	-- the same in one call of C
	CREATE FUNCTION put_batch(prefix text, n int) RETURNS void LANGUAGE sql AS $$
		INSERT INTO published SELECT prefix || i % 3, i FROM generate_series(1, n) i;
		SELECT eda.publish_batch('test.take', array_agg(jsonb_build_object('n', i) ORDER BY i), array_agg(prefix || i % 3 ORDER BY i))
		  FROM generate_series(1, n) i;
	$$;

	-- small transactions with savepoints, some of them rolled back
	CREATE PROCEDURE put_small(prefix text, n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. n LOOP
			BEGIN
				PERFORM put(prefix, i);
			EXCEPTION WHEN no_data_found THEN RAISE;
			END;
			BEGIN
				PERFORM put(prefix || ' rolled back', i);
				RAISE no_data_found;
			EXCEPTION WHEN no_data_found THEN NULL;
			END;
			IF i % 5 = 0 THEN COMMIT; END IF;
		END LOOP;
	END $$;
});

sub query { return $node->safe_psql('postgres', $_[0]); }

sub wait_for
{
	my ($condition, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', "SELECT $condition"), $what);
}

# Pid of the worker of that kind; of the executor that runs the handler of most events.
sub busy_pid
{
	my ($kind) = @_;
	my $busy = "FROM eda.workers WHERE kind = '$kind' AND state = 'running' AND pid IS NOT NULL AND coalesce(subscription, 'take') = 'take'";

	$node->poll_query_until('postgres', "SELECT count(*) = 1 $busy") or die "no $kind is running";
	return query("SELECT pid $busy");
}

# Everything published is handled, once and in order.
sub check
{
	my ($what, $attempts) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_for('(SELECT count(*) FROM handled) >= (SELECT count(*) FROM published)', "$what: delivery comes to its end");
	# what was delivered twice would come now
	query('CALL eda.wait()');
	is( query('SELECT count(*), count(DISTINCT id), count(DISTINCT (key, n)) FROM handled'),
		join('|', (query('SELECT count(*) FROM published')) x 3),
		"$what: as many rows as events, all different");
	is(query('SELECT count(*) FROM published FULL JOIN handled USING (key, n) WHERE id IS NULL OR published IS NULL'),
		'0', "$what: those that were committed, and no others");
	is( query('SELECT count(*) FROM (SELECT n, lag(n) OVER (PARTITION BY key ORDER BY seq) before FROM handled) x WHERE before >= n'),
		'0', "$what: in order within each key");
	is( query('SELECT count(*), count(DISTINCT causation_id), count(DISTINCT id) FROM derived'),
		join('|', (query('SELECT count(*) FROM published WHERE n % 5 = 0')) x 3),
		"$what: events that handlers published are handled once, too");
	is(query('SELECT max(retrying), max(dead), max(state) FROM eda.subscriptions'), '0|0|active', "$what: nothing is left behind");
	is(query('SELECT max(attempt) FROM handled'), '1', "$what: at the first attempt") unless $attempts;
}

# Some moments of a run of $n events, as counts of handled rows, not in its last fifth.
sub moments
{
	my ($base, $n, $how_many) = @_;

	return sort { $a <=> $b } map { $base + 1 + int(rand($n * 0.8)) } 1 .. $how_many;
}

sub wait_moment
{
	my ($moment) = @_;

	$node->poll_query_until('postgres', "SELECT count(*) >= $moment FROM handled") or die "stuck before $moment";
}

# SIGKILL for the executor; the server starts anew.  Returns its pid and how many events were handled then.
sub kill_executor
{
	my $pid = busy_pid('executor');
	my $before = query('SELECT count(*) FROM handled');
	my $start = query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");

	kill 'KILL', $pid;
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'checkpointer' AND pid <> $start")
	  or die 'the server did not come back';
	return ($pid, $before);
}

# ---- kill -9 of the executor ----

my @kills = moments(0, $total, 5);
$kills[0] = 1 + int(rand(300));    # while it is being published

# four at once, a transaction each, for about two seconds; and a big one beside them
my $script = $node->basedir . '/put.sql';
append_to_file($script, "\\set n :n + 1\nSELECT put('single' || :client_id, :n);\n");
my ($bench_out, $bench_err) = ('', '');
my $bench = IPC::Run::start(
	[
		'pgbench', '-n', '-c', '4', '-j', '1', '-t', $total / 10, '-R', 2000, '-D', 'n=0', '-f', $script,
		$node->connstr('postgres')
	],
	'<', \undef, '>', \$bench_out, '2>', \$bench_err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
query(qq{SELECT put_many('big', $total / 10)});

for my $moment (@kills)
{
	wait_moment($moment);

	my ($pid, $before) = kill_executor();
	cmp_ok($before, '<', $total, "kill -9 of executor $pid after $before events, meant for $moment");

	next if $moment != $kills[0];

	# the publishers died with it; publish the rest
	$bench->finish;
	my $published = query('SELECT count(*) FROM published');
	my $rest = $total - $published;
	my $part = int($rest / 4);

	note("$published were published until then");
	query("SELECT put_batch('batch', $part)");
	query("SELECT put_many('many', $part)");
	my @parallel = map {
		my $psql = $node->background_psql('postgres');
		$psql->query_until(qr/begun/, "\\echo begun\nCALL put_small('small$_', $part / 2);\n\\echo ended\n");
		$psql;
	} 1 .. 2;
	query("CALL put_small('rest', $rest - 2 * $part - 2 * ($part / 2))");
	$_->query_until(qr/ended/, '') foreach @parallel;
	$_->quit foreach @parallel;
	is(query('SELECT count(*) FROM published'), $total, 'all are published');
}
check('kill -9');
is(query('SELECT count(*), count(DISTINCT id) FROM handled'), "$total|$total", "exactly $total rows");

# ---- immediate shutdown ----

query("SELECT put_many('immediate', 2000)");
for my $moment (moments($total, 2000, 2))
{
	wait_moment($moment);
	$node->stop('immediate');
	$node->start;
}
check('immediate shutdown');

# ---- kill -9 of the postmaster: nobody tells the others to end ----

query("SELECT put_many('postmaster', 1000)");
wait_moment(moments($total + 2000, 1000, 1));
$node->kill9;
start_after_kill($node);
check('kill -9 of the postmaster');

# ---- pg_terminate_backend: nothing crashes ----

my $offset = -s $node->logfile;
query("SELECT put_many('terminate', 2000)");
my @kinds = ('executor', 'dispatcher', 'executor', 'launcher');
for my $moment (moments($total + 3000, 2000, scalar @kinds))
{
	my $kind = shift @kinds;

	wait_moment($moment);
	my $pid = busy_pid($kind);
	query("SELECT pg_terminate_backend($pid)");
	wait_for("count(*) > 0 FROM eda.workers WHERE kind = '$kind' AND state = 'running' AND pid <> $pid" . ($kind eq 'executor' ? " AND subscription = 'take'" : ''),
		"a terminated $kind comes back");
}
check('pg_terminate_backend');
unlike(slurp_file($node->logfile, $offset), qr/terminated by signal|reinitializing/, 'nothing crashed');

# ---- handlers that fail, and kill -9 meanwhile ----

# At the first attempt every seventh event fails, every hundredth does so when
# its transaction commits; and now and then there is a serialization failure.
# What is behind a failed event of the same key waits for it.
query(
	q{
	CREATE OR REPLACE FUNCTION take(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		n int := e.payload->>'n';
	BEGIN
		INSERT INTO public.handled (id, key, n, attempt) VALUES (e.id, e.key, n, e.attempt);
		PERFORM eda.publish('test.derived', '{}', key => e.key) WHERE n % 5 = 0;
		IF n % 7 = 0 AND e.attempt = 1 THEN RAISE 'no'; END IF;
		IF random() < 0.01 THEN RAISE SQLSTATE '40001'; END IF;
		PERFORM pg_sleep(0.0004);
	END $$;
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not at commit'; END $$;
	CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON handled DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW WHEN (NEW.n % 100 = 0 AND NEW.attempt = 1) EXECUTE FUNCTION refuse();
	SELECT eda.alter_subscription('take', '{"backoff": "1 ms", "max_backoff": "10 ms", "block_after": 100000}');
	SELECT put_many('failing', 3000);
});
for my $moment (moments($total + 5000, 3000, 3))
{
	wait_moment($moment);
	kill_executor();
}
check('failing handlers', 'some failed');
cmp_ok(query("SELECT count(*) FROM handled WHERE key LIKE 'failing%' AND (n % 7 = 0 OR n % 100 = 0) AND attempt = 1"), '==', 0, 'which did fail');
query(
	q{
	DROP TRIGGER refuse ON handled;
	UPDATE handled SET attempt = 1;
	CREATE OR REPLACE FUNCTION take(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.handled (id, key, n, attempt) VALUES (e.id, e.key, (e.payload->>'n')::int, e.attempt);
		PERFORM eda.publish('test.derived', '{}', key => e.key) WHERE (e.payload->>'n')::int % 5 = 0;
	END $$;
});

# ---- committed while the workers were down ----

my $handled = query('SELECT count(*) FROM handled');
my $open = $node->background_psql('postgres');
$open->query_safe("BEGIN; SELECT put_many('open', 100)");
query('ALTER SYSTEM SET eda.enabled = off; SELECT pg_reload_conf()');
wait_no_workers($node, 'postgres', 'eda.enabled = off');
query("SELECT put_many('disabled', 100)");
query("SELECT put_batch('disabled batch', 100)");
$open->query_safe('COMMIT');
$open->quit;
query("CALL put_small('disabled small', 100)");
is(query('SELECT count(*) FROM handled'), $handled, 'nothing is handled then');
query('ALTER SYSTEM RESET eda.enabled; SELECT pg_reload_conf()');
check('eda.enabled on again');

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$handled = query('SELECT count(*) FROM handled');
query("SELECT put_many('not preloaded', 100)");
query("SELECT put_batch('not preloaded batch', 100)");
query("CALL put_small('not preloaded small', 100)");
is(query('SELECT count(*) FROM eda.workers'), '0', 'not preloaded: no workers');
is(query('SELECT count(*) FROM handled'), $handled, 'and nothing is handled');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'eda'");
$node->restart;
check('preloaded again');

# ---- pg_cancel_backend ----

# Five events in one transaction; the third one's handler waits for a lock.
query(
	q{
	CREATE OR REPLACE FUNCTION take(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.handled (id, key, n, attempt) VALUES (e.id, e.key, (e.payload->>'n')::int, e.attempt);
		IF e.key = 'cancel3' THEN PERFORM pg_advisory_xact_lock(4711); END IF;
	END $$;
	SELECT eda.alter_subscription('take', '{"timeout": "10 seconds", "backoff": "1 second", "max_backoff": "1 hour"}');
	CALL eda.wait('take');
});
my $locker = $node->background_psql('postgres');
$locker->query_safe('SELECT pg_advisory_lock(4711)');
query("SELECT put('cancel' || i, i) FROM generate_series(1, 5) i");
wait_for("count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eda executor' AND wait_event = 'advisory'", 'a handler is running');
my $executor = busy_pid('executor');

query("SELECT pg_cancel_backend($executor)");
wait_for("count(*) = 1 FROM eda.retries WHERE key = 'cancel3'", 'pg_cancel_backend fails the event at hand');
wait_for("count(*) = 4 FROM handled WHERE key LIKE 'cancel%'", 'and no other');
is(query('SELECT error_code, error_message FROM eda.retries'),
	'57014|canceling statement due to user request', 'at once, not by its timeout');
$locker->quit;
wait_for("count(*) = 1 FROM handled WHERE key = 'cancel3' AND attempt = 2", 'it is tried again');
is(busy_pid('executor'), $executor, 'by the same executor');

$node->stop;
done_testing();
