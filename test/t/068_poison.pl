# Events whose handlers crash the server: found, put aside, and nobody else is blamed.

use strict;
use warnings;

use File::Copy 'copy';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

# ---- functions that crash ----

my $node = new_node('poison');
my $source = $node->basedir . '/crash.c';
my $library = $node->basedir . '/crash.so';

append_to_file($source, q{
#include "postgres.h"
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
#include "access/parallel.h"
#include "fmgr.h"
#include "utils/builtins.h"
PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(segv);
Datum segv(PG_FUNCTION_ARGS) { *(volatile int *) 8 = 1; PG_RETURN_VOID(); }
PG_FUNCTION_INFO_V1(kill9);
Datum kill9(PG_FUNCTION_ARGS) { kill(getpid(), SIGKILL); PG_RETURN_VOID(); }
/* in a parallel worker only */
PG_FUNCTION_INFO_V1(helper_segv);
Datum helper_segv(PG_FUNCTION_ARGS) { if (IsParallelWorker()) *(volatile int *) 8 = 1; PG_RETURN_BOOL(true); }
PG_FUNCTION_INFO_V1(leave);
Datum leave(PG_FUNCTION_ARGS) { exit(PG_GETARG_INT32(0)); PG_RETURN_VOID(); }
/* the first time that it is called with this name of a file */
PG_FUNCTION_INFO_V1(kill_once);
Datum kill_once(PG_FUNCTION_ARGS)
{
	if (open(text_to_cstring(PG_GETARG_TEXT_PP(0)), O_CREAT | O_EXCL, 0600) >= 0)
		kill(getpid(), SIGKILL);
	PG_RETURN_VOID();
}
});
chomp(my $cc = `pg_config --cc`);
chomp(my $include = `pg_config --includedir-server`);
system_or_bail("$cc -O1 -w -fPIC -shared -I$include -o $library $source");

$node->append_conf('postgresql.conf', qq{
restart_after_crash = on
eda.max_executors = 8
max_prepared_transactions = 0
});
$node->start;
setup_roles($node);
$node->safe_psql('postgres', 'CREATE DATABASE other');

my $setup = qq{
	CREATE EXTENSION eda;
	CREATE TABLE handled (seq bigserial, sub text, id bigint, key text, n int, at timestamptz DEFAULT clock_timestamp());
	CREATE TABLE awake ();
	CREATE TABLE fuse (n int);
	CREATE TABLE alarms (topic text, payload jsonb);
	CREATE FUNCTION segv() RETURNS void LANGUAGE c AS '$library', 'segv';
	CREATE FUNCTION kill9() RETURNS void LANGUAGE c AS '$library', 'kill9';
	CREATE FUNCTION helper_segv() RETURNS boolean LANGUAGE c PARALLEL SAFE VOLATILE AS '$library', 'helper_segv';
	CREATE TABLE crowd WITH (parallel_workers = 2) AS SELECT generate_series(1, 10000) AS i;
	GRANT SELECT ON crowd TO app;
	CREATE FUNCTION leave(int) RETURNS void LANGUAGE c AS '$library', 'leave';
	CREATE FUNCTION kill_once(text) RETURNS void LANGUAGE c AS '$library', 'kill_once';
	CREATE FUNCTION blow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.kill9(); RETURN NULL; END';
	CREATE CONSTRAINT TRIGGER fuse AFTER INSERT ON fuse DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION blow();
	GRANT ALL ON handled, handled_seq_seq, awake, fuse, alarms TO app;
	GRANT USAGE ON SCHEMA eda TO app;

	CREATE FUNCTION act(e eda.event) RETURNS void LANGUAGE plpgsql AS \$\$
	DECLARE
		what text := e.payload->>'do';
	BEGIN
		INSERT INTO public.handled (sub, id, key, n) VALUES (e.subscription, e.id, e.key, (e.payload->>'n')::int);
		IF what = 'segv' THEN PERFORM public.segv();
		ELSIF what = 'kill' THEN PERFORM public.kill9();
		ELSIF what = 'parallel' THEN
			PERFORM set_config('parallel_setup_cost', '0', true), set_config('parallel_tuple_cost', '0', true),
				set_config('parallel_leader_participation', 'off', true);
			PERFORM count(*) FROM public.crowd WHERE public.helper_segv();
		ELSIF what = 'together' THEN
			PERFORM set_config('parallel_setup_cost', '0', true), set_config('parallel_tuple_cost', '0', true),
				set_config('parallel_leader_participation', 'off', true);
			PERFORM count(*) FROM public.crowd WHERE CASE WHEN i = 1 THEN pg_sleep(1.5) IS NOT NULL END;
		ELSIF what = 'exit' THEN PERFORM public.leave(3);
		ELSIF what = 'once' THEN PERFORM public.kill_once(e.payload->>'file');
		ELSIF what = 'commit' THEN INSERT INTO public.fuse VALUES (1);
		ELSIF what = 'later' AND e.attempt = 1 THEN RAISE 'not yet';
		ELSIF what = 'later' THEN PERFORM public.kill9();
		ELSIF what = 'sleep' THEN
			WHILE NOT EXISTS (SELECT FROM public.awake) LOOP PERFORM pg_sleep(0.05); END LOOP;
		END IF;
	END \$\$;
	CREATE FUNCTION act_all(es eda.event[]) RETURNS void LANGUAGE plpgsql AS \$\$
	DECLARE
		e eda.event;
	BEGIN
		FOREACH e IN ARRAY es LOOP PERFORM public.act(e); END LOOP;
	END \$\$;
	CREATE FUNCTION alarm(topic text, payload jsonb) RETURNS void LANGUAGE sql AS 'INSERT INTO public.alarms VALUES (topic, payload)';
	SELECT eda.subscribe('alarm', 'eda.dead_letter, eda.subscription.blocked', 'public.alarm', owner => 'app');
};
$node->safe_psql($_, $setup) foreach 'postgres', 'other';

sub query { return $node->safe_psql('postgres', $_[0]); }

sub wait_for
{
	my ($condition, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', "SELECT $condition"), $what);
}

# A subscription of app's; more arguments as SQL.
sub subscribe
{
	my ($sub, $more, $db) = @_;

	$more //= '';
	$node->safe_psql($db // 'postgres', "SELECT eda.subscribe('$sub', 'test.$sub', 'public.act', owner => 'app',
		" . join(', ', map { $_ ? $_ : () } $more !~ /backoff/ ? "backoff => '20 ms', max_backoff => '50 ms'" : '', $more) . ')');
}

# Events 1 to $count, in one transaction, with keys k0, k1 ... of $keys; what
# some do, and more that they say, by number.
sub publish_many
{
	my ($sub, $count, $keys, %do) = @_;
	my $cases = join(' ', map { "WHEN $_ THEN '" . $do{$_} . "'::jsonb" } sort keys %do);
	my $what = $cases ? "(CASE n $cases ELSE '{}' END)" : "'{}'";

	# the server may crash before it has answered
	$node->psql('postgres', "SELECT count(eda.publish('test.$sub', jsonb_build_object('n', n) || $what, key => 'k' || n % $keys))
			FROM generate_series(1, $count) n");
}

sub event_id
{
	my ($sub, $n) = @_;

	return query("SELECT id FROM eda.events WHERE topic = 'test.$sub' AND (payload->>'n')::int = $n");
}

# Crashes that were blamed on somebody since the last call, as the log says.
my $log_read = 0;

sub blamed
{
	my $log = slurp_file($node->logfile, $log_read);

	$log_read = -s $node->logfile;
	return join(', ', map { /^(?:event|a batch up to event)/ ? $_ : () }
		  $log =~ /LOG:  the server crashed while (.*? was handled) by subscription \d+ of/g);
}

# What a subscription has handled is events 1 to $count, each once, those
# of a key in order, but not those.
sub check_handled
{
	my ($sub, $count, $what, @but) = @_;
	my $left = $count - @but;
	my $but = @but ? join(',', @but) : 0;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_for("count(*) >= $left FROM handled WHERE sub = '$sub'", "$what: all others are handled");
	is(query("SELECT count(*), count(DISTINCT n), count(*) FILTER (WHERE n IN ($but)) FROM handled WHERE sub = '$sub'"),
		"$left|$left|0", "$what: each of them once");
	is(query("SELECT count(*) FROM (SELECT n, lag(n) OVER (PARTITION BY key ORDER BY seq) AS before
				FROM handled WHERE sub = '$sub') x WHERE before > n"), '0', "$what: in order");
}

# After one more success, nothing is left of a crash.
sub check_clear
{
	my ($sub, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	query("SELECT eda.publish('test.$sub')");
	wait_for("NOT EXISTS (SELECT FROM eda.suspect) AND crashes = 0 FROM eda.subscription WHERE name = '$sub'",
		"$what: nobody is suspected any more");
}

sub check_dead
{
	my ($sub, $n, $attempts, $tries, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_for("count(*) > 0 FROM eda.dead_letters WHERE subscription = '$sub'", "$what: it is a dead letter");
	is(query("SELECT payload->'n', reason, attempts, cardinality(attempt_history), error_code, error_message
				FROM eda.dead_letters WHERE subscription = '$sub'"),
		"$n|crash|$attempts|$tries|57P02|the server crashed 3 times while this event was handled",
		"$what: it says why, and no other is");
}

# Handlers that sleep, in subscriptions `slow` of both databases.
sub wait_asleep
{
	my ($count) = @_;

	$node->poll_query_until('postgres',
		"SELECT count(*) = $count FROM pg_stat_activity WHERE backend_type = 'eda executor' AND wait_event = 'PgSleep'")
	  or die 'no sleeping handlers';
}

sub wake_up
{
	$node->safe_psql($_, 'INSERT INTO awake DEFAULT VALUES') foreach 'postgres', 'other';
}

# ---- a segfault, beside handlers that are in the middle of something ----

subscribe('slow', '', $_) foreach 'postgres', 'other';
$node->safe_psql($_, "SELECT eda.publish('test.slow', '{\"n\": 1, \"do\": \"sleep\"}')") foreach 'postgres', 'other';
subscribe('keys', 'concurrency => 3');
# in another lane than k7's
my $slow_key = query("SELECT 's' || i FROM generate_series(1, 100) i WHERE eda._lane('s' || i, 0, 3) <> eda._lane('k7', 0, 3) LIMIT 1");
query("SELECT eda.publish('test.keys', '{\"n\": 0, \"do\": \"sleep\"}', key => '$slow_key')");
wait_asleep(3);
publish_many('keys', 100, 10, 47 => '{"do": "segv"}');
check_dead('keys', 47, 0, 3, 'a segfault');
my $poison = event_id('keys', 47);
is(blamed(), join(', ', ("event $poison was handled") x 3), 'three crashes, and nobody else was blamed');
is(query("SELECT string_agg(DISTINCT name, ', ') FROM eda.subscription WHERE name = 'slow' AND crashes > 0"), '', 'nor counted against');
wake_up();
wait_for("count(*) = 1 FROM handled WHERE sub = 'slow'", 'a slow one of another subscription goes on');
is($node->poll_query_until('other', "SELECT count(*) = 1 FROM handled WHERE sub = 'slow'"), '1', 'and one in another database');
wait_for("count(*) = 1 FROM handled WHERE sub = 'keys' AND n = 0", 'and one in another lane');
query("DELETE FROM handled WHERE sub = 'keys' AND n = 0");
check_handled('keys', 100, 'a segfault', 47);
check_clear('keys', 'a segfault');
is(query("SELECT sum(retrying), sum(dead) FROM eda.subscriptions"), '0|1', 'nothing else failed');
is($node->safe_psql('other', "SELECT count(*) FROM eda.suspect"), '0', 'nothing is suspected in the other database');
query("CALL eda.wait('alarm')");
is(query("SELECT payload->>'subscription', payload->>'event_id', payload->>'reason' FROM alarms WHERE topic = 'eda.dead_letter'"),
	"keys|$poison|crash", 'it is announced');

# redriven, it counts anew
query("DELETE FROM alarms");
$node->psql('postgres', "SELECT eda.redrive_all('keys')");
wait_for("count(*) > 0 FROM alarms WHERE topic = 'eda.dead_letter'", 'a redriven one is tried again');
check_dead('keys', 47, 0, 6, 'redriven');
is(blamed(), join(', ', ("event $poison was handled") x 3), 'after three crashes more');
query("SELECT eda.discard_all('keys')");

# ---- kill -9 from within; orderings ----

subscribe('none', "ordering => 'none'");
publish_many('none', 30, 3, 10 => '{"do": "kill"}');
check_dead('none', 10, 0, 3, 'ordering none');
check_handled('none', 30, 'ordering none', 10);
check_clear('none', 'ordering none');

subscribe('strict', "ordering => 'strict'");
publish_many('strict', 10, 1, 5 => '{"do": "exit"}');
check_dead('strict', 5, 0, 3, 'strict, and exit() called by a handler');
check_handled('strict', 10, 'strict', 5);
blamed();

# ---- kill -9 from outside, of a batch that has come far ----

query('TRUNCATE awake');
subscribe('outside', 'batch_size => 50');
publish_many('outside', 50, 5, 30 => '{"do": "sleep"}');
wait_asleep(1);
kill 'KILL', query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eda executor' AND wait_event = 'PgSleep'");
$node->poll_query_until('postgres', "SELECT crashes = 1 FROM eda.subscription WHERE name = 'outside'");
wake_up();
check_handled('outside', 50, 'kill -9 from outside');
is(blamed(), 'event ' . event_id('outside', 30) . ' was handled', 'it was that event');
check_clear('outside', 'handled when it is run again');

# ---- in a parallel worker ----

subscribe('parallel');
publish_many('parallel', 20, 4, 7 => '{"do": "parallel"}');
check_dead('parallel', 7, 0, 3, 'a crash of a parallel worker');
check_handled('parallel', 20, 'a crash of a parallel worker', 7);
check_clear('parallel', 'a crash of a parallel worker');
is(blamed(), join(', ', ('event ' . event_id('parallel', 7) . ' was handled') x 3), 'a crash of a parallel worker: it is known whose');

# ---- at a later attempt ----

subscribe('later');
publish_many('later', 20, 4, 7 => '{"do": "later"}');
check_dead('later', 7, 1, 4, 'a crash at a later attempt');
check_handled('later', 20, 'a crash at a later attempt', 7);
check_clear('later', 'a crash at a later attempt');
blamed();

# ---- at commit ----

subscribe('commit', 'batch_size => 10');
publish_many('commit', 25, 5, 14 => '{"do": "commit"}');
check_dead('commit', 14, 0, 3, 'a crash at commit');
check_handled('commit', 25, 'a crash at commit', 14);
check_clear('commit', 'a crash at commit');
is(blamed(), join(', ', ('event ' . event_id('commit', 14) . ' was handled') x 3), 'a crash at commit: it is known whose deferred trigger it was');

# ---- in a set ----

subscribe('set', "batch_size => 40");
query(q{SELECT eda.alter_subscription('set', '{"handler": "public.act_all"}')});
publish_many('set', 40, 5, 33 => '{"do": "segv"}');
check_dead('set', 33, 0, 3, 'one of a set');
check_handled('set', 40, 'one of a set', 33);
check_clear('set', 'one of a set');
like(blamed(), qr/^a batch up to event (\d+) was handled(, event (\d+) was handled){3}$/, 'one of a set: first it is not known which one');

# ---- now and then: each of them only once ----

subscribe('random', 'concurrency => 2');
# of one key, so of one lane: two at the same time, and the second would be killed with its file there already
my %once = map { $_ => '{"do": "once", "file": "' . $node->basedir . "/once.$_\"}" } (340, 500, 700, 940);
publish_many('random', 1000, 20, %once);
check_handled('random', 1000, 'four crashes in a thousand');
check_clear('random', 'four crashes in a thousand');
is(scalar(split(/, /, blamed())), 4, 'they were four');
is(query("SELECT dead, state FROM eda.subscriptions WHERE subscription = 'random'"), '0|active', 'none is dead');

# ---- a handler that always crashes ----

subscribe('broken', "backoff => '3 s', max_backoff => '3 s'");
publish_many('broken', 20, 20, map { $_ => '{"do": "kill"}' } 1 .. 20);
wait_for("state = 'blocked' AND blocked_reason = 'crashing' FROM eda.subscription WHERE name = 'broken'", 'one that always crashes is blocked');
is(scalar(split(/, /, blamed())), 6, 'after six crashes');
is(query("SELECT dead, handled FROM eda.subscriptions WHERE subscription = 'broken'"), '0|0', 'nothing is lost');
like(query("SELECT blocked_detail FROM eda.subscriptions WHERE subscription = 'broken'"), qr/crashed the server 6 times/, 'it says why');
query("CALL eda.wait('alarm')");
is(query("SELECT payload->>'subscription', payload->>'reason' FROM alarms WHERE topic = 'eda.subscription.blocked'"), 'broken|crashing', 'it is announced');
my $since = query('SELECT pg_postmaster_start_time(), (SELECT backend_start FROM pg_stat_activity WHERE backend_type = \'checkpointer\')');
subscribe('broken', "backoff => '3 s', max_backoff => '3 s'");
publish_many('none', 1, 1);
query("CALL eda.wait('none')");
is(query("SELECT state FROM eda.subscription WHERE name = 'broken'"), 'blocked', 'stating the same definition again does not let it go on');
is(query('SELECT pg_postmaster_start_time(), (SELECT backend_start FROM pg_stat_activity WHERE backend_type = \'checkpointer\')'),
	$since, 'the others go on, and the server stays up');
query("CREATE FUNCTION mended(e eda.event) RETURNS void LANGUAGE sql AS
	\$\$INSERT INTO public.handled (sub, id, key, n) VALUES (e.subscription, e.id, e.key, (e.payload->>'n')::int)\$\$");
query(q{SELECT eda.alter_subscription('broken', '{"handler": "public.mended"}')});
check_handled('broken', 20, 'another handler lets it go on');
check_clear('broken', 'mended');

# resumed without being mended: as if it had been the first time
query("UPDATE eda.subscription SET crashes = 5 WHERE name = 'keys'");
publish_many('keys', 3, 1, 1 => '{"do": "kill"}', 2 => '{"do": "once", "file": "' . $node->basedir . '/once.keys"}');
wait_for("blocked_reason = 'crashing' FROM eda.subscription WHERE name = 'keys'", 'blocked once more');
$node->psql('postgres', "SELECT eda.resume('keys')");
# the last one first: before it the second one crashes the server, under whatever query is running
wait_for("count(*) = 1 FROM handled WHERE sub = 'keys' AND id > $poison + 1000 AND n = 3", 'resumed: the others go on');
check_dead('keys', 1, 0, 3, 'resumed');
check_clear('keys', 'resumed');
blamed();

# ---- nobody is blamed ----

query('TRUNCATE awake');
$node->safe_psql('other', 'TRUNCATE awake; TRUNCATE handled');
query("SELECT eda.unsubscribe(name, true) FROM eda.subscription WHERE name NOT IN ('slow', 'alarm')");
query('TRUNCATE handled');
$node->safe_psql($_, "SELECT eda.publish('test.slow', '{\"n\": 2, \"do\": \"sleep\"}')") foreach 'postgres', 'other';

sub restart_count { return query("SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'checkpointer'"); }

sub crash_another
{
	my $before = restart_count();

	$node->psql('postgres', 'SELECT kill9()');
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'checkpointer' AND backend_start <> '$before'");
}

wait_asleep(2);
crash_another();
wait_asleep(2);
is(blamed(), '', 'another backend crashes');

my $asleep = query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eda executor' AND wait_event = 'PgSleep' AND datname = 'postgres'");
query("SELECT pg_terminate_backend($asleep)");
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $asleep");
crash_another();
wait_asleep(2);
is(blamed(), '', 'a handler is terminated, and then another backend crashes');

$node->stop('immediate');
$node->start;
wait_asleep(2);
is(blamed(), '', 'an immediate shutdown');

sub start_again
{
	$node->kill9;
	start_after_kill($node);
}

start_again();
wait_asleep(2);
is(blamed(), '', 'kill -9 of the postmaster');

my $postmaster = slurp_file($node->data_dir . '/postmaster.pid');
$postmaster =~ s/\n.*//s;
kill 'KILL', $postmaster, split(/\n/, query("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"));
start_again();
wait_asleep(2);
is(blamed(), '', 'kill -9 of all processes at once');

# a handler's parallel worker
subscribe('together');
query("SELECT eda.publish('test.together', '{\"n\": 1, \"do\": \"together\"}')");
$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'parallel worker' AND wait_event = 'PgSleep'");
crash_another();
wait_for("count(*) = 1 FROM handled WHERE sub = 'together'", 'a handler\'s parallel worker was asleep: it is handled later');
is(blamed(), '', 'and was not blamed');

# one that is stopped cannot mark itself: it is killed by the postmaster after 5 seconds
$asleep = query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eda executor' AND wait_event = 'PgSleep' AND datname = 'postgres'");
kill 'STOP', $asleep;
crash_another();
wait_asleep(2);
is(blamed(), '', 'a handler that is stopped when another backend crashes');

wake_up();
foreach my $db ('postgres', 'other')
{
	is($node->poll_query_until($db, "SELECT count(*) = 1 FROM handled WHERE sub = 'slow'"), '1', "$db: it is handled in the end");
	is($node->safe_psql($db, "SELECT (SELECT count(*) FROM eda.suspect), sum(crashes) FROM eda.subscription"), '0|0', "$db: nobody was ever suspected");
}

# ---- restart_after_crash = off: a supervisor starts the server ----

sub wait_down
{
	my ($what) = @_;
	my $pid_file = $node->data_dir . '/postmaster.pid';

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	foreach (1 .. 1800)
	{
		last if !-e $pid_file;
		select(undef, undef, undef, 0.1);
	}
	ok(!-e $pid_file, "the server is down: $what");
	$node->{_pid} = undef;
}

$node->append_conf('postgresql.conf', 'restart_after_crash = off');
$node->reload;
subscribe('off');
publish_many('off', 10, 2, 4 => '{"do": "segv"}');
for (1 .. 3)
{
	wait_down($_);
	$node->start;
}
check_dead('off', 4, 0, 3, 'restart_after_crash = off');
check_handled('off', 10, 'restart_after_crash = off', 4);
check_clear('off', 'restart_after_crash = off');

# ---- the same crash is found once more: the server was killed before it had forgotten it ----

subscribe('again', "backoff => '1 hour', max_backoff => '1 hour'");
publish_many('again', 2, 2, 1 => '{"do": "segv"}');
wait_down('again');
my $map = $node->data_dir . '/pg_stat_tmp/eda.inflight';
copy($map, "$map.saved") or die "$map: $!";
$node->start;
wait_for("crashes = 1 FROM eda.suspect", 'a crash is on record');
$node->stop('immediate');
copy("$map.saved", $map) or die "$map: $!";
unlink "$map.saved";
blamed();
$node->start;
query("SELECT eda.publish('test.again', '{\"n\": 3}', key => 'k0')");
wait_for("count(*) = 2 FROM handled WHERE sub = 'again' AND key = 'k0'", 'delivery goes on');
is(blamed(), 'event ' . event_id('again', 1) . ' was handled', 'it was found again');
is(query("SELECT crashes FROM eda.suspect"), '1', 'and counted once');
is(query("SELECT eda.skip('again', " . event_id('again', 1) . ')'), 't', 'it can be skipped');
check_clear('again', 'skipped');

# ---- without a map ----

$node->stop;
unlink $map;
mkdir $map or die;
$node->start;
query("SELECT eda.publish('test.again', '{\"n\": 4}', key => 'k0')");
wait_for("count(*) = 1 FROM handled WHERE sub = 'again' AND n = 4", 'without a map events are delivered');
like(slurp_file($node->logfile), qr/WARNING:  could not make file "pg_stat_tmp\/eda.inflight"/, 'and the log says that it is missing');

unlike(slurp_file($node->logfile), qr/TRAP:|PANIC:/, 'nothing else is wrong');
$node->stop;
done_testing();
