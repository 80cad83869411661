# An executor's session: before each event it is what the subscription's owner is now, and what an event or a
# change of tables has made of it is no reason for a right handler to fail.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('executor_session');
$node->append_conf('postgresql.conf', "eda.executor_linger = 1h");
$node->start;
setup_roles($node);
setup_db($node, 'postgres');

# Whatever role the database gives its sessions.
sub query { return $node->safe_psql('postgres', "SET ROLE none; $_[0]"); }

sub wait_for
{
	my ($sql, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', $sql), $what);
}

sub executor { return query("SELECT pid FROM eda.workers WHERE kind = 'executor' AND subscription = '$_[0]'"); }

# ---- who handles ----

query(q{
	GRANT joe TO app;
	GRANT USAGE ON SCHEMA eda TO public;
	CREATE ROLE boss SUPERUSER LOGIN;
	CREATE TABLE identity (n int, sub text, who text);
	CREATE TABLE later (how text);
	GRANT ALL ON identity, later TO public;
	CREATE FUNCTION become() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE NEW.how; RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER become AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION become();
	CREATE FUNCTION whoami(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.identity VALUES ((e.payload->>'n')::int, e.subscription, concat_ws(' ', session_user, current_user, current_setting('role')));
		IF e.payload ? 'how' THEN EXECUTE e.payload->>'how'; END IF;
		IF e.payload ? 'later' THEN INSERT INTO public.later VALUES (e.payload->>'later'); END IF;
		IF e.payload ? 'fail' THEN RAISE 'failed'; END IF;
	END $$;
	CREATE FUNCTION whoami_set(es eda.event[]) RETURNS void LANGUAGE plpgsql AS
		$$ DECLARE e eda.event; BEGIN FOREACH e IN ARRAY es LOOP PERFORM public.whoami(e); END LOOP; END $$;
	SELECT eda.subscribe('who_' || o, 'test.who.' || o, 'public.whoami', owner => o::regrole) FROM unnest('{app,boss}'::text[]) o;
	SELECT eda.subscribe('who_' || o || '_set', 'test.who.' || o, 'public.whoami_set', owner => o::regrole, batch_size => 1) FROM unnest('{app,boss}'::text[]) o;
});

# Events of one batch and of later ones, each after one that made the session another role's.
sub who
{
	my ($owner, $what, @events) = @_;

	query('TRUNCATE identity');
	query('SELECT ' . join(', ', map { "eda.publish('test.who.$owner', \$\$$_\$\$)" } '{}', map { ($_, '{}', '{}') } @events));
	query("CALL eda.wait('who_$_')") foreach $owner, "${owner}_set";
	query("SELECT eda.publish('test.who.$owner')");
	query("CALL eda.wait('who_$_')") foreach $owner, "${owner}_set";
	is(query("SELECT string_agg(DISTINCT who, ','), count(*) FROM identity WHERE sub LIKE 'who\\_$owner%'"),
		"$owner $owner none|" . 2 * (2 + 3 * @events), $what);
}

who('app', 'the owner again after SET ROLE, also at commit, by set_config, and after a failure',
	'{"how": "SET ROLE joe"}', '{"later": "SET ROLE joe"}', '{"how": "SET LOCAL ROLE joe"}', '{"how": "SELECT set_config(\'role\', \'joe\', false)"}',
	'{"how": "SET ROLE app"}', '{"later": "SELECT set_config(\'role\', \'joe\', false)"}');
who('boss', 'the owner again after SET SESSION AUTHORIZATION by a superuser',
	'{"how": "SET SESSION AUTHORIZATION joe"}', '{"later": "SET SESSION AUTHORIZATION joe"}', '{"how": "SET LOCAL SESSION AUTHORIZATION joe"}',
	'{"how": "SELECT set_config(\'session_authorization\', \'joe\', false)"}', '{"how": "SET SESSION AUTHORIZATION joe; SET ROLE joe"}');

# Settings that every new session of the role begins with, and that RESET goes back to.
foreach my $set ('ALTER ROLE app SET role = joe', 'ALTER ROLE app IN DATABASE postgres SET role = joe', 'ALTER DATABASE postgres SET role = joe')
{
	query($set);
	query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'eda %'");
	who('app', "the owner in spite of $set", '{"how": "RESET ROLE"}', '{"how": "SET ROLE joe"}', '{"how": "RESET ALL; RESET SESSION AUTHORIZATION"}');
	(my $reset = $set) =~ s/SET role.*/RESET role/;
	query($reset);
}

# An owner that is renamed has its executor still, and its name.
my $pid = executor('who_app');
query('ALTER ROLE app RENAME TO app_now');
query('TRUNCATE identity');
query(q{SELECT eda.publish('test.who.app', '{"how": "SET ROLE joe"}'), eda.publish('test.who.app')});
query("CALL eda.wait('who_app')");
is(query("SELECT DISTINCT split_part(who, ' ', 2) FROM identity WHERE sub = 'who_app'"), 'app_now', 'the owner under another name');
is(executor('who_app'), $pid, 'in the same session');
query('ALTER ROLE app_now RENAME TO app');

# A superuser that is none any more: its session of before is not used any more.
query("SELECT eda.publish('test.who.boss')");
query("CALL eda.wait('who_boss')");
$pid = executor('who_boss');
query('GRANT ALL ON identity, later TO boss; ALTER ROLE boss NOSUPERUSER');
query('TRUNCATE identity');
query(q{SELECT eda.publish('test.who.boss', '{"n": 1}')});
wait_for("SELECT count(*) = 1 FROM identity WHERE sub = 'who_boss'", 'a role that is no superuser any more has its events handled');
isnt(executor('who_boss'), $pid, 'in another session');

# ---- LOGIN and CONNECT ----

query(q{
	CREATE TABLE gate ();
	GRANT SELECT ON gate TO app;
	CREATE FUNCTION gated(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.handled VALUES (e.id, (e.payload->>'n')::int);
		WHILE e.payload ? 'gate' AND NOT EXISTS (SELECT FROM public.gate) LOOP PERFORM pg_sleep(0.01); END LOOP;
	END $$;
	SELECT eda.subscribe('gated', 'test.gated', 'public.gated', owner => 'app');
});
my $n = 100;
foreach my $right ([ 'ALTER ROLE app NOLOGIN', 'ALTER ROLE app LOGIN' ],
	[ 'REVOKE CONNECT ON DATABASE postgres FROM public', 'GRANT CONNECT ON DATABASE postgres TO public' ])
{
	my ($take, $give) = @$right;

	query('TRUNCATE gate');
	query("SELECT eda.publish('test.gated', '{\"n\": $n}')");
	wait_handled($node, 'postgres', $n, "$take: handled before");
	$n++;
	my $last = $n + 4;
	query("SELECT eda.publish('test.gated', jsonb_build_object('n', i) || CASE i WHEN $n THEN '{\"gate\": 1}' ELSE '{}' END::jsonb) FROM generate_series($n, $last) i");
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM eda.workers WHERE subscription = 'gated' AND in_flight > 0");
	query($take);
	query('INSERT INTO gate DEFAULT VALUES');
	wait_for("SELECT blocked_reason = 'login' FROM eda.subscriptions WHERE subscription = 'gated'", "$take: in the middle of a batch it blocks");
	is(query("SELECT count(*) FROM handled WHERE n BETWEEN $n AND $last"), 1, "$take: with the event at hand");
	query($give);
	wait_for("SELECT count(*) = 5 FROM handled WHERE n BETWEEN $n AND $last", "$give: it goes on");
	query($take);
	query("SELECT eda.publish('test.gated', '{\"n\": @{[ $last + 1 ]}}')");
	wait_for("SELECT blocked_reason = 'login' FROM eda.subscriptions WHERE subscription = 'gated'", "$take: a lingering executor handles nothing more");
	is(handled($node, 'postgres', $last + 1), '0', "$take: not even one event");
	query($give);
	wait_handled($node, 'postgres', $last + 1, "$give: which waits for that");
	$n = $last + 2;
}

# ---- tables that change under a session's plans ----

my %handlers = (
	record => q{plpgsql AS $$ DECLARE r record; BEGIN SELECT * INTO r FROM price; INSERT INTO stale VALUES (e.subscription, e.attempt, 'v=' || r.v); END $$},
	loop => q{plpgsql AS $$ DECLARE r record; BEGIN FOR r IN EXECUTE 'SELECT * FROM price' LOOP INSERT INTO stale VALUES (e.subscription, e.attempt, 'v=' || r.v); END LOOP; END $$},
	rowtype => q{plpgsql AS $$ DECLARE r price; BEGIN SELECT * INTO r FROM price; INSERT INTO stale VALUES (e.subscription, e.attempt, 'v=' || r.v); END $$},
	type => q{plpgsql AS $$ DECLARE v price.v%TYPE; BEGIN SELECT p.v INTO v FROM price p; INSERT INTO stale VALUES (e.subscription, e.attempt, 'v=' || v); END $$},
	argument => q{plpgsql AS $$ DECLARE p price; BEGIN SELECT * INTO p FROM price; INSERT INTO stale VALUES (e.subscription, e.attempt, price_text(p)); END $$},
	sql => q{sql AS $$ INSERT INTO stale SELECT e.subscription, e.attempt, 'v=' || v FROM price $$},
	sql_row => q{sql AS $$ INSERT INTO stale SELECT e.subscription, e.attempt, price_text(p) FROM price p $$},
	prepared => q{plpgsql AS $$ DECLARE t text; BEGIN
		IF NOT EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'price') THEN EXECUTE 'PREPARE price AS SELECT * FROM price'; END IF;
		EXECUTE 'EXECUTE price' INTO t; INSERT INTO stale VALUES (e.subscription, e.attempt, 'v=' || t); END $$},
);
query(q{
	CREATE TABLE price (v int); INSERT INTO price VALUES (1);
	CREATE TABLE stale (sub text, attempt int, v text);
	GRANT ALL ON price, stale TO app;
	CREATE FUNCTION price_text(p price) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'v=' || p.v; END $$;
});
query("CREATE FUNCTION stale_$_(e eda.event) RETURNS void LANGUAGE $handlers{$_};
	SELECT eda.subscribe('stale_$_', 'test.stale', 'stale_$_', owner => 'app', backoff => '10 ms', max_backoff => '20 ms')") foreach keys %handlers;

sub stale
{
	my ($v, $type) = @_;
	my %expected = map { $_ => "10|v=$v|1" } keys %handlers;

	query("SELECT count(eda.publish('test.stale')) FROM generate_series(1, 10)");
	query("CALL eda.wait('stale_$_')") foreach keys %handlers;
	wait_for("SELECT count(*) = 10 * @{[ scalar keys %handlers ]} FROM stale", "$type: all events are handled");
	is(query("SELECT string_agg(DISTINCT v, ' ') FROM stale"), "v=$v", "$type: as a new session would");
	is(query('SELECT max(attempt) <= 2 FROM stale'), 't', "$type: at the second attempt at the latest");
	is(query("SELECT string_agg(DISTINCT sub, ' ') FROM stale WHERE attempt > 1") =~ s/stale_type//r, '', "$type: all but a variable's %TYPE at the first");
	query('TRUNCATE stale');
}

stale('1', 'int');
query("ALTER TABLE price ALTER v TYPE text USING 'text'");
stale('text', 'text');
query("ALTER TABLE price ADD w int, ALTER v TYPE varchar(3) USING 'var'");
query('ALTER TABLE price DROP w');
stale('var', 'varchar');

# NOTIFY is the transaction's.
query(q{
	CREATE FUNCTION tell(e eda.event) RETURNS void LANGUAGE sql AS 'NOTIFY told';
	SELECT eda.subscribe('tell', 'test.tell', 'public.tell', owner => 'app');
});
my $told = query(q{LISTEN told; SELECT count(id) FROM unnest(eda.publish_batch('test.tell', array_fill('{}'::jsonb, '{10}'))) id; CALL eda.wait('tell'); SELECT 1});
is(scalar(() = $told =~ /Asynchronous notification/g), 1, 'equal notifications of a batch are sent once');

# What fails in every session does not cost a process for each event.
query(q{
	CREATE FUNCTION broken(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO handled VALUES (e.id, pg_backend_pid());
		IF (e.payload->>'n')::int % 3 = 0 THEN PERFORM 1 / 0; END IF;
	END $$;
	SELECT eda.subscribe('broken', 'test.broken', 'public.broken', owner => 'app', max_attempts => 3, backoff => '1 ms', max_backoff => '2 ms', block_after => 10000);
	TRUNCATE handled;
	SELECT eda.publish('test.broken', jsonb_build_object('n', i)) FROM generate_series(1, 300) i;
});
wait_for("SELECT handled = 200 AND dead = 100 FROM eda.subscriptions WHERE subscription = 'broken'", 'each third event fails, and dies');
cmp_ok(query('SELECT count(DISTINCT n) FROM handled'), '<=', 4, 'in few processes');

unlike(slurp_file($node->logfile), qr/TRAP:|PANIC:|terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
