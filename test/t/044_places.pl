# Handlers that take long, and cannot be made to yield, keep nobody else from having an executor: of one role and
# several, of two databases, with one executor and more.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('places');
$node->append_conf('postgresql.conf', "eda.max_executors = 3\neda.poll_interval = '2s'");
$node->start;
setup_roles($node);
my $setup = q{
	CREATE EXTENSION eda;
	CREATE TABLE handled (sub text, n int, at timestamptz DEFAULT clock_timestamp(), waited interval);
	CREATE TABLE begun (sub text, at timestamptz DEFAULT clock_timestamp());
	CREATE SEQUENCE attempts;
	CREATE SEQUENCE gate;
	GRANT ALL ON handled, begun, attempts, gate TO app, joe, ann;
	-- takes for ever, until the gate is open, whatever it is told
	CREATE FUNCTION act(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM nextval('public.attempts') WHERE e.payload ? 'long';
		WHILE e.payload->>'long' = 'gate' AND (SELECT last_value FROM public.gate) < 2 LOOP
			PERFORM pg_sleep(0.1);
		END LOOP;
		PERFORM pg_sleep(nullif(e.payload->>'long', 'gate')::float8);
		INSERT INTO public.handled VALUES (e.subscription, (e.payload->>'n')::int, DEFAULT, clock_timestamp() - e.published_at);
	END $$;
	CREATE FUNCTION heedless(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN LOOP BEGIN PERFORM pg_sleep(1000); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$;
	SELECT eda.subscribe(o || '_long' || i, o || '.long' || i, 'public.act', owner => o::regrole, timeout => '50 min')
	  FROM unnest('{app,joe,ann}'::text[]) o, generate_series(1, 5) i;
	SELECT eda.subscribe(o || '_short', o || '.short', 'public.act', owner => o::regrole) FROM unnest('{app,joe,ann}'::text[]) o;
};
$node->safe_psql('postgres', 'CREATE ROLE ann LOGIN; CREATE DATABASE other');
$node->safe_psql($_, $setup) foreach 'postgres', 'other';

sub query { my ($sql, $db) = @_; return $node->safe_psql($db // 'postgres', $sql); }

sub wait_for
{
	my ($condition, $what, $db) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until($db // 'postgres', "SELECT $condition"), $what)
	  or diag(query("SELECT * FROM eda.workers; SELECT subscription, backlog, in_flight, handled, failed FROM eda.subscriptions"));
}

# A short event of that role is handled, within a bound; how long it took.
sub served
{
	my ($role, $what, $db) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	query("TRUNCATE handled; SELECT eda.publish('$role.short')", $db);
	wait_for("count(*) = 1 FROM handled WHERE sub = '${role}_short'", $what, $db);
	my $took = query("SELECT extract(epoch FROM waited) FROM handled WHERE sub = '${role}_short'", $db);
	note("$what: $took s");
	cmp_ok($took, '<', 25, "$what: soon");
}

sub publish_long
{
	my ($role, $n, $db, $long) = @_;

	$long //= 'gate';
	query("SELECT eda.publish('$role.long' || i, '{\"long\": \"$long\"}') FROM generate_series(1, $n) i", $db);
}

sub long_ones { my ($where) = @_; return "(SELECT count(*) FROM eda.workers WHERE state <> 'idle' AND in_flight > 0 AND $where)"; }

# ---- three places, one role that would have them all ----

publish_long('app', 5);
wait_for(long_ones("role = 'app'::regrole") . ' = 3', 'a role may have every executor while nobody else wants one');
my $pids = query("SELECT string_agg(pid::text, ',') FROM eda.workers WHERE role = 'app'::regrole");
served('joe', 'another role has one all the same');
is(query("SELECT count(*) FROM eda.workers WHERE in_flight > 0 AND pid IN ($pids)"), '2', 'the others were not interrupted');
served('joe', 'and again') for 1 .. 2;
served('ann', 'so has a third role');
served('joe', 'and another database', 'other');
is(query("SELECT sum(failed) || ' ' || sum(retrying) FROM eda.subscriptions"), '0 0', 'to be interrupted is no failure');

# ---- a second role with long handlers gets a place of its own, and the last one stays ----

publish_long('joe', 5);
wait_for(long_ones("role = 'joe'::regrole") . ' >= 1 AND ' . long_ones("role = 'app'::regrole") . ' >= 1', 'two roles have a place each');
served('ann', 'a third role beside two with long handlers');
publish_long('ann', 5, 'other');
served('app', 'of two databases with long handlers', 'other');
served('ann', 'and in the first');

# ---- they end ----

query('TRUNCATE handled');
query("SELECT setval('gate', 2)", $_) foreach 'postgres', 'other';
wait_for("count(*) = 10 FROM handled WHERE sub LIKE '%long%'", 'all long ones come to their end');
wait_for("count(*) = 5 FROM handled WHERE sub LIKE '%long%'", 'in both databases', 'other');
is(query("SELECT sum(failed) FROM eda.subscriptions"), '0', 'without a failure');
my $attempts = query('SELECT last_value FROM attempts');
note("$attempts calls for 10 events");
cmp_ok($attempts, '<=', 30, 'no event was interrupted again and again');

# ---- handlers that catch what interrupts them ----

query(q{SELECT eda.subscribe('heedless' || i, 'heedless', 'public.heedless', owner => 'app', timeout => '50 min') FROM generate_series(1, 4) i});
query("SELECT eda.publish('heedless')");
wait_for(long_ones("subscription LIKE 'heedless%'") . ' = 3', 'handlers that catch the cancel have every executor');
served('joe', 'they do not keep it');
is(query("SELECT sum(failed) || ' ' || sum(retrying) FROM eda.subscriptions WHERE subscription LIKE 'heedless%'"), '0 0', 'no failure either');
$node->stop('immediate');

# ---- one place ----

$node->append_conf('postgresql.conf', "eda.max_executors = 1\neda.enabled = off");
$node->start;
query("SELECT eda.unsubscribe('heedless' || i, true) FROM generate_series(1, 4) i");
$node->append_conf('postgresql.conf', 'eda.enabled = on');
$node->restart;
query('TRUNCATE handled; ALTER SEQUENCE attempts RESTART');
publish_long('app', 1, 'postgres', '10');
wait_for(long_ones("subscription = 'app_long1'") . ' = 1', 'the only executor is at a long event');
served('joe', 'which is interrupted for another role');
# and comes to its end, although somebody always wants the executor
my $done = 0;
for my $round (1 .. 60)
{
	served('joe', "and again ($round)");
	last if $done = query("SELECT handled FROM eda.subscriptions WHERE subscription = 'app_long1'") - 5 >= 0 || query("SELECT backlog = 0 AND in_flight = 0 FROM eda.subscriptions WHERE subscription = 'app_long1'") eq 't';
}
ok($done, 'the long one has come to its end');
is(query("SELECT failed FROM eda.subscriptions WHERE subscription = 'app_long1'"), '0', 'without a failure');

$node->stop;
done_testing();
