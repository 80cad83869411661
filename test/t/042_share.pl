# Who gets the executors when there are fewer than subscriptions with work: time slices and priority,
# batch_size and eda.batch_time.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('share');
$node->append_conf('postgresql.conf', "eda.max_executors = 1");
$node->start;
setup_roles($node);
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION eda;
	CREATE TABLE handled (seq bigserial, sub text, id bigint, n int, at timestamptz DEFAULT clock_timestamp(), waited interval, xid xid8 DEFAULT pg_current_xact_id());
	CREATE TABLE pace (seconds float8);
	INSERT INTO pace VALUES (0);
	GRANT ALL ON handled, handled_seq_seq, pace TO app, joe;
	CREATE FUNCTION note(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.handled (sub, id, n, waited)
		VALUES (e.subscription, e.id, (e.payload->>'n')::int, clock_timestamp() - e.published_at);
		PERFORM pg_sleep(seconds) FROM public.pace WHERE e.payload ? 'slow';
		PERFORM pg_sleep((e.payload->>'sleep')::float8) WHERE e.payload ? 'sleep';
		PERFORM pg_advisory_xact_lock_shared(7208042) WHERE e.payload ? 'lock';
	END $$;
	CREATE FUNCTION add(sub text, owner text DEFAULT 'app', priority int DEFAULT 0, batch_size int DEFAULT 100) RETURNS void LANGUAGE sql AS
		$$ SELECT eda.subscribe(sub, 'test.' || sub, 'public.note', owner => owner::regrole, priority => priority, batch_size => batch_size) $$;
});

sub query { return $node->safe_psql('postgres', $_[0]); }

sub wait_for
{
	my ($condition, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', "SELECT $condition"), $what);
}

# Minutes of work for one subscription, which has begun when this returns.
sub hog
{
	my ($sub) = @_;

	query("UPDATE pace SET seconds = 0.02; SELECT count(eda.publish('test.$sub', '{\"slow\": true}')) FROM generate_series(1, 10000)");
	wait_for("count(*) > 0 FROM handled WHERE sub = '$sub'", "$sub is busy");
}

sub no_hog
{
	my ($sub) = @_;

	cmp_ok(query("SELECT backlog FROM eda.subscriptions WHERE subscription = '$sub'"), '>', 0, "$sub was busy all the time");
	query("SELECT eda.unsubscribe('$sub', true)");
	query('TRUNCATE handled');
}

sub publish_to
{
	my (@subs) = @_;

	query('BEGIN; ' . join(' ', map { "SELECT eda.publish('test.$_', '{\"n\": 1}');" } @subs) . ' COMMIT');
}

# ---- one executor, a subscription with work without end, and others of two roles ----

query(q{SELECT add('hog'), add('hog2', 'joe')});
query("SELECT add('app' || i), add('joe' || i, 'joe') FROM generate_series(1, 3) i");
my @others = ('app1', 'joe1', 'app2', 'joe2', 'app3', 'joe3');
hog('hog');
for my $round (1 .. 2)
{
	query("DELETE FROM handled WHERE n = 1");
	publish_to(@others);
	wait_for("count(*) = 6 FROM handled WHERE n = 1", "a busy subscription does not keep the others from the only executor ($round)");
	cmp_ok(query("SELECT extract(epoch FROM max(waited)) FROM handled WHERE n = 1"), '<', 15, "each of them is served within a bound ($round)");
}
my $before = query("SELECT count(*) FROM handled WHERE sub = 'hog'");
wait_for("count(*) > $before FROM handled WHERE sub = 'hog'", 'and the busy one goes on');

# two of them share: neither has it for much longer than a time slice
hog('hog2');
wait_for("count(*) >= 6 FROM (SELECT sub, lag(sub) OVER (ORDER BY seq) AS before FROM handled WHERE n IS NULL) x WHERE sub <> before",
	'two busy ones take turns');
cmp_ok(
	query(q{
	SELECT extract(epoch FROM max(lasted)) FROM (
		SELECT max(at) - min(at) AS lasted FROM (
			SELECT at, count(*) FILTER (WHERE sub <> before) OVER (ORDER BY seq) AS turn
			  FROM (SELECT *, lag(sub) OVER (ORDER BY seq) AS before FROM handled WHERE n IS NULL AND at > (SELECT min(at) FROM handled WHERE sub = 'hog2')) x) y
		 GROUP BY turn) z}),
	'<', 6, 'of a time slice each');
no_hog('hog2');

# ---- priority ----

query(q{SELECT add('low', 'app', -5), add('mid', 'joe', 5), add('high', 'app', 10), add('plain', 'joe')});
for my $round (1 .. 2)
{
	query("DELETE FROM handled WHERE n = 1");
	publish_to('low', 'plain', 'mid', 'high');
	wait_for("count(*) = 4 FROM handled WHERE n = 1", "all priorities are served ($round)");
	is(query("SELECT string_agg(sub, ' ' ORDER BY seq) FROM handled WHERE n = 1"), 'high mid plain low', "the higher first ($round)");
}
no_hog('hog');

# One that has work without end and a priority as high as can be does not starve the lowest.
query(q{SELECT add('first', 'joe', 2147483647), add('last', 'app', -2147483648)});
hog('first');
publish_to('last');
wait_for("count(*) = 1 FROM handled WHERE sub = 'last'", 'the lowest priority is served beside the highest');
my $waited = query("SELECT extract(epoch FROM waited) FROM handled WHERE sub = 'last'");
note("the lowest waited $waited s");
cmp_ok($waited, '>', 10, 'after the highest has had its way');
cmp_ok($waited, '<', 60, 'but not for ever');
no_hog('first');

# A small difference is made up for by waiting.
query(q{SELECT add('first', 'joe', 3)});
hog('first');
publish_to('plain');
wait_for("count(*) = 1 FROM handled WHERE sub = 'plain'", 'a little lower');
cmp_ok(query("SELECT extract(epoch FROM waited) FROM handled WHERE sub = 'plain'"), '<', 15, 'waits a little longer');
# the slot is not taken from it for one that would not get it
is( query(q{SELECT count(*) FROM (SELECT at - lag(at) OVER (ORDER BY seq) AS gap, sub, lag(sub) OVER (ORDER BY seq) AS before FROM handled) x
			 WHERE sub = before AND gap > interval '500 ms'}),
	'0', 'and does not interrupt it before its turn');
no_hog('first');

# ---- an executor that cannot yield does not keep the other from being asked ----

$node->append_conf('postgresql.conf', "eda.max_executors = 2");
$node->restart;
query(q{SELECT add('stuck'), add('hog')});
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(7208042)');
query(q{SELECT eda.publish('test.stuck', '{"lock": true}')});
wait_for("EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 7208042 AND NOT granted)", 'a handler waits for a lock');
hog('hog');
# one after the other: where several wait, several are asked
foreach my $sub ('app1', 'joe1', 'app2')
{
	publish_to($sub);
	wait_for("count(*) = 1 FROM handled WHERE sub = '$sub'", "$sub is served by the executor that can yield");
}
is(query("SELECT count(*) FROM handled WHERE sub = 'stuck'"), '0', 'while the handler still waits');
$holder->query_safe('SELECT pg_advisory_unlock(7208042)');
$holder->quit;
wait_for("count(*) = 1 FROM handled WHERE sub = 'stuck'", 'and takes effect in the end');
no_hog('hog');

# ---- batch_size, eda.batch_time ----

query(q{SELECT add('batch', 'app', 0, 7)});
query(q{SELECT eda.publish_batch('test.batch', ARRAY(SELECT jsonb_build_object('n', i) FROM generate_series(1, 100) i))});
query("CALL eda.wait('batch')");
is(query("SELECT count(*), max(c) FROM (SELECT count(*) AS c FROM handled WHERE sub = 'batch' GROUP BY xid) x"), '15|7',
	'no transaction has more than batch_size events, and none fewer than there are');

# the slow one ends the batch; the fast ones before and after it share theirs
query('TRUNCATE handled');
query(q{SELECT eda.alter_subscription('batch', '{"batch_size": 100}')});
query(q{SELECT eda.publish_batch('test.batch', ARRAY(SELECT jsonb_build_object('n', i) || CASE WHEN i = 20 THEN '{"sleep": 0.5}' ELSE '{}' END::jsonb FROM generate_series(1, 40) i))});
query("CALL eda.wait('batch')");
is(query("SELECT string_agg(first || '-' || last, ' ' ORDER BY first) FROM (SELECT min(n) AS first, max(n) AS last FROM handled GROUP BY xid) x"),
	'1-20 21-40', 'one slow event ends its batch');

# events that take 20 ms each
$node->append_conf('postgresql.conf', "eda.batch_time = 100ms");
$node->reload;
query('TRUNCATE handled; UPDATE pace SET seconds = 0.02');
query(q{SELECT eda.publish_batch('test.batch', ARRAY(SELECT jsonb_build_object('n', i, 'slow', true) FROM generate_series(1, 40) i))});
query("CALL eda.wait('batch')");
cmp_ok(query('SELECT max(c) FROM (SELECT count(*) AS c FROM handled GROUP BY xid) x'), '<=', 6, 'a batch lasts no longer than eda.batch_time');
$node->append_conf('postgresql.conf', "eda.batch_time = 10s");
$node->reload;
query('TRUNCATE handled');
# what comes while a batch runs is the next one's, so the whole of this can be one
query(q{SELECT eda.publish_batch('test.batch', ARRAY(SELECT jsonb_build_object('n', i, 'slow', true) FROM generate_series(1, 40) i))});
query("CALL eda.wait('batch')");
is(query('SELECT max(c) FROM (SELECT count(*) AS c FROM handled GROUP BY xid) x'), '40', 'a longer one, and it lasts longer');

unlike(slurp_file($node->logfile), qr/TRAP:|PANIC:|terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
