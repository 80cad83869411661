# Who may do what; and that nothing that users plant runs with other rights
# than theirs.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('rights');
$node->start;
setup_roles($node);

sub query { return $node->safe_psql('postgres', $_[0]); }

# SQLSTATE of the error that a role's statements end in, or "none"; and all of its output
sub try_as
{
	my ($role, $sql) = @_;
	my ($code, $stdout, $stderr) =
	  $node->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose', '-U', $role ]);

	return ($stderr =~ /ERROR:\s+(\w{5}):/ ? $1 : 'none', "$stdout\n$stderr");
}

sub refused
{
	my ($role, $sql, $sqlstate, $message, $what) = @_;
	my ($got, $output) = try_as($role, $sql);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like("$got $output", qr/^$sqlstate .*$message/s, $what);
}

sub as
{
	my ($role, $sql) = @_;

	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', $role ]);
}

# ---- a role without rights ----

query(
	q{
	CREATE EXTENSION eda;
	CREATE ROLE nobody_special LOGIN;
	CREATE ROLE bob LOGIN;
	CREATE TABLE handled (seq bigserial, sub text, cu name DEFAULT current_user, su name DEFAULT session_user, info text);
	GRANT ALL ON handled, handled_seq_seq TO app, bob;
	CREATE FUNCTION note(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF e.payload ? 'fail' THEN RAISE 'no'; END IF;
		INSERT INTO public.handled (sub) VALUES (e.subscription);
	END $$;
	SELECT eda.subscribe('apps', 'test.app', 'public.note', owner => 'app', max_attempts => 1);
	SELECT eda.publish('test.app', '{"secret": "xyzzy", "fail": true}');
	CALL eda.wait();
});
is(query('SELECT dead FROM eda.subscriptions'), '1', 'a subscription of app, with a dead letter');

# One call of each function and procedure, with NULLs of the right types.
my @calls = split /\n/, query(
	q{
	SELECT format('%s eda.%I(%s)', CASE prokind WHEN 'p' THEN 'CALL' ELSE 'SELECT' END, proname,
		(SELECT string_agg(format('NULL::%s', t::regtype), ', ' ORDER BY n) FROM unnest(proargtypes::oid[]) WITH ORDINALITY u(t, n)))
	  FROM pg_proc WHERE pronamespace = 'eda'::regnamespace ORDER BY proname});
my @relations = split /\n/, query(
	q{
	SELECT oid::regclass || ' ' || relkind::text FROM pg_class
	 WHERE relnamespace = 'eda'::regnamespace AND relkind IN ('r', 'v', 'S', 'm', 'p') ORDER BY relname});
cmp_ok(scalar @calls, '>', 25, 'functions: ' . scalar @calls);
cmp_ok(scalar @relations, '>', 10, 'tables, views and sequences: ' . scalar @relations);

foreach my $usage (0, 1)
{
	my $schema = $usage ? 'with' : 'without';
	my @allowed;

	query('GRANT USAGE ON SCHEMA eda TO nobody_special') if $usage;
	foreach my $call (@calls)
	{
		my ($sqlstate, $output) = try_as('nobody_special', $call);

		# parts of views: called with the rights of who reads one, and no more told than by the view
		next if $usage && $call =~ /eda\._(?!announce|lane)/ && $output !~ /xyzzy|apps|\bapp\b/;
		push @allowed, "$call: $output"
		  unless $sqlstate eq '42501' && $output =~ ($usage ? qr/permission denied for (function|procedure)/ : qr/permission denied for schema eda/);
	}
	is(join("\n", @allowed), '', "a role without rights, $schema USAGE on the schema, can call nothing that tells anything");

	@allowed = ();
	foreach my $relation (@relations)
	{
		my ($name, $kind) = split / /, $relation;

		foreach my $sql ($kind eq 'S' ? ("SELECT nextval('$name')", "SELECT setval('$name', 1)", "SELECT last_value FROM $name")
			: $kind eq 'v' ? ("SELECT FROM $name", "SELECT count(*) FROM $name")
			: ("SELECT FROM $name", "DELETE FROM $name", "INSERT INTO $name DEFAULT VALUES", "TRUNCATE $name", "BEGIN; LOCK $name IN ACCESS SHARE MODE"))
		{
			my ($sqlstate, $output) = try_as('nobody_special', $sql);

			push @allowed, "$sql: $output" unless $sqlstate eq '42501';
		}
	}
	is(join("\n", @allowed), '', "nor touch any table, view or sequence");
}

# ---- monitoring ----

query('CREATE ROLE watcher LOGIN IN ROLE pg_monitor');
{
	my @wrong;

	foreach my $relation (@relations)
	{
		my ($name, $kind) = split / /, $relation;
		my ($sqlstate, $output) = try_as('watcher', "SELECT * FROM $name");
		my $shown = $kind eq 'v' && $name !~ /events|dead_letters|job_refusals/;

		push @wrong, "$name: $sqlstate" unless $sqlstate eq ($shown ? 'none' : '42501');
		push @wrong, "$name shows a payload" if $output =~ /xyzzy/;
	}
	foreach my $call (grep { !/eda\._/ } @calls)
	{
		my ($sqlstate, $output) = try_as('watcher', $call);

		push @wrong, "$call: $output" unless $sqlstate eq '42501' && $output =~ /permission denied for (function|procedure)/;
	}
	is(join("\n", @wrong), '', 'a member of pg_monitor reads the views that show no payload, and no more');
}

# ---- a role that may call everything, but reads no table ----

query('GRANT USAGE ON SCHEMA eda TO bob; GRANT EXECUTE ON ALL ROUTINES IN SCHEMA eda TO bob; GRANT CREATE ON SCHEMA public TO bob');
like(as('bob', "SELECT eda.publish('test.app', '{\"n\": 1}')"), qr/^\d+$/, 'bob may publish');
{
	my @allowed;

	foreach my $relation (@relations)
	{
		my ($name, $kind) = split / /, $relation;
		my ($sqlstate, $output) = try_as('bob', "SELECT * FROM $name");

		push @allowed, "$name: $output" unless $sqlstate eq '42501';
	}
	is(join("\n", @allowed), '', 'and reads no table of eda\'s all the same');
}

my %operate = (
	'subscribe' => q{SELECT eda.subscribe('apps', 'test.app', 'public.note')},
	'subscribe for its owner' => q{SELECT eda.subscribe('apps', 'test.app', 'public.note', owner => 'app')},
	'alter_subscription' => q{SELECT eda.alter_subscription('apps', '{"topics": "test.none"}')},
	'taking it over' => q{SELECT eda.alter_subscription('apps', '{"owner": "bob"}')},
	'subscription_def' => q{SELECT eda.subscription_def('apps')},
	'unsubscribe' => q{SELECT eda.unsubscribe('apps', force => true)},
	'pause' => q{SELECT eda.pause('apps')},
	'resume' => q{SELECT eda.resume('apps')},
	'redrive' => q{SELECT eda.redrive('apps', '{1}')},
	'redrive_all' => q{SELECT eda.redrive_all('apps')},
	'discard' => q{SELECT eda.discard('apps', '{1}')},
	'discard_all' => q{SELECT eda.discard_all('apps')},
	'skip' => q{SELECT eda.skip('apps', 1)},
	'run_pending' => q{SELECT eda.run_pending('apps')});
my $before = query('SELECT subscription, owner, topics, state, dead FROM eda.subscriptions');
foreach my $name (sort keys %operate)
{
	refused('bob', $operate{$name}, '42501', '"apps"', "bob cannot operate app's subscription: $name");
}
is(query('SELECT subscription, owner, topics, state, dead FROM eda.subscriptions'), $before, 'which is as it was');
refused('bob', 'SELECT eda.adopt()', '42501', '', 'nor all of them');

# ---- nobody makes a handler run as somebody else ----

query(q{
	CREATE FUNCTION private(e eda.event) RETURNS void LANGUAGE sql AS '';
	REVOKE ALL ON FUNCTION private FROM PUBLIC;
});
as('bob', q{
	CREATE FUNCTION bobs(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.handled (sub, info) VALUES (e.subscription, 'bobs');
	END $$;
	SELECT eda.subscribe('bobs', 'test.bob', 'public.bobs');
});
refused('bob', q{SELECT eda.subscribe('new', 'test.bob', 'public.bobs', owner => 'app')}, '42501', 'app', 'subscribe for another owner');
refused('bob', q{SELECT eda.subscribe('new', 'test.bob', 'public.bobs', owner => 'postgres')}, '42501', 'postgres', 'subscribe for a superuser');
refused('bob', q{SELECT eda.subscribe('bobs', 'test.bob', 'public.bobs', owner => 'app')}, '42501', 'app', 'give one\'s own away by subscribe');
refused('bob', q{SELECT eda.alter_subscription('bobs', '{"owner": "postgres"}')}, '42501', 'postgres', 'and by alter_subscription');
refused('bob', q{SELECT eda.subscribe('new', 'test.bob', 'public.private')}, '(42501|ED012)', 'private', 'a function that one may not execute');
is(query("SELECT count(*) FROM eda.subscriptions WHERE subscription = 'new'"), '0', 'none of them is there');

query("SELECT eda.publish('test.bob')");
query("CALL eda.wait('bobs')");
is(query("SELECT cu, su FROM handled WHERE sub = 'bobs'"), 'bob|bob', 'a handler runs as the owner, whoever published');

# A handler that reaches for more: what it may not do fails its event.
my %reach = (
	'reads the log' => q{PERFORM * FROM eda.log},
	'reads the subscriptions' => q{PERFORM * FROM eda.subscription},
	'moves a cursor' => q{UPDATE eda.cursor SET pos_id = 0},
	'becomes a superuser' => q{EXECUTE 'SET ROLE postgres'},
	'changes the session\'s user' => q{EXECUTE 'SET SESSION AUTHORIZATION postgres'},
	'pauses another one' => q{PERFORM eda.pause('apps')},
	'commits' => q{COMMIT});
foreach my $name (sort keys %reach)
{
	as('bob', qq{
		CREATE OR REPLACE FUNCTION bobs(e eda.event) RETURNS void LANGUAGE plpgsql AS \$\$
		BEGIN
			$reach{$name};
			INSERT INTO public.handled (sub, info) VALUES (e.subscription, 'reached');
		END \$\$;
		SELECT eda.alter_subscription('bobs', '{"max_attempts": 1}');
	});
	my $id = query("SELECT eda.publish('test.bob')");
	query("CALL eda.wait('bobs')");
	like(query("SELECT error_code FROM eda.dead_letters WHERE event_id = $id"), qr/^(42501|2D000)$/, "a handler that $name fails");
}
is(query("SELECT count(*) FROM handled WHERE info = 'reached'"), '0', 'none of them got further');
is(query('SELECT state FROM eda.subscriptions WHERE subscription = $$apps$$'), 'active', 'and the other subscription is as it was');

# eda.run_pending() by a superuser runs bob's code as bob, and leaves nothing behind
as('bob', q{
	CREATE TABLE trap (i int);
	CREATE FUNCTION sprung() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RAISE LOG 'trap: a deferred trigger fired as %', current_user;
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER sprung AFTER INSERT ON trap DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sprung();
	CREATE OR REPLACE FUNCTION bobs(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.handled (sub, info) VALUES (e.subscription, 'pending ' || current_user);
		IF e.payload ? 'role' THEN EXECUTE 'SET ROLE postgres'; END IF;
		IF e.payload ? 'trap' THEN INSERT INTO public.trap VALUES (1); END IF;
		PERFORM set_config('search_path', 'bobs_schema', false);
	END $$;
});
is( query(q{BEGIN; SELECT eda.publish('test.bob') > 0; SELECT eda.run_pending('bobs'); SELECT info FROM public.handled WHERE info LIKE 'pending%'; SELECT current_user, current_setting('search_path'); ROLLBACK}),
	"t\n1\npending bob\npostgres|\"\$user\", public", 'run_pending by a superuser: the handler runs as its owner');
refused('postgres', q{BEGIN; SELECT eda.publish('test.bob', '{"role": 1}'); SELECT eda.run_pending('bobs')}, '42501', 'cannot set parameter "role"', 'it cannot take the caller\'s role');
refused('postgres', q{BEGIN; SELECT eda.publish('test.bob', '{"trap": 1}'); SELECT eda.run_pending('bobs'); SET CONSTRAINTS ALL IMMEDIATE}, '42501', 'cannot fire deferred trigger', 'nor leave it a deferred trigger');
unlike(slurp_file($node->logfile), qr/trap: .* as postgres/, 'which never fires as the caller');

# Who did SET ROLE to bob is not bob: bob's code cannot undo that.
query(q{
	CREATE ROLE carol LOGIN;
	GRANT USAGE ON SCHEMA eda TO carol;
	GRANT EXECUTE ON ALL ROUTINES IN SCHEMA eda TO carol;
	GRANT bob TO carol;
	INSERT INTO eda.job (name, schedule, query, topic, on_invalid, owner)
	VALUES ('escape', '0 0 * * *', 'SELECT public.escape()', 'test.escape', 'fail', 'bob'::regrole),
		('stay', '0 0 * * *', 'SELECT public.stay()', 'test.escape', 'fail', 'bob'::regrole),
		('defer', '0 0 * * *', 'SELECT public.defer()', 'test.escape', 'fail', 'bob'::regrole);
});
as('bob', q{
	CREATE FUNCTION escape(how text DEFAULT 'role', value text DEFAULT 'none') RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM set_config(how, value, false);
		RAISE LOG 'trap: escaped to %', current_user;
		RETURN 1;
	END $$;
	CREATE FUNCTION stay() RETURNS int LANGUAGE sql AS 'SELECT set_config($$search_path$$, $$bobs_schema$$, false); SELECT 1';
	CREATE FUNCTION defer() RETURNS int LANGUAGE sql AS 'INSERT INTO public.trap VALUES (1) RETURNING i';
	CREATE OR REPLACE FUNCTION bobs(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF e.payload ? 'how' THEN PERFORM public.escape(e.payload ->> 'how', e.payload ->> 'value'); END IF;
		INSERT INTO public.trap VALUES (1);
		PERFORM set_config('search_path', 'bobs_schema', false);
	END $$;
});
my $pending = q{SELECT eda.run_pending('bobs')};
foreach my $who ('SET ROLE bob', 'SET LOCAL ROLE bob', 'SET SESSION AUTHORIZATION bob', 'SET SESSION AUTHORIZATION carol; SET ROLE bob')
{
	foreach my $how ([ 'role', 'none' ], [ 'session_authorization', 'postgres' ], [ 'session_authorization', 'default' ])
	{
		refused( 'postgres', qq{BEGIN; SELECT eda.publish('test.bob', '{"how": "$how->[0]", "value": "$how->[1]"}'); $who; $pending},
			'42501', "cannot set parameter \"$how->[0]\" within", "run_pending after $who: $how->[0] = $how->[1]");
	}
	my ($sqlstate, $output) = try_as('postgres', "BEGIN; SELECT eda.publish('test.bob'); $who; $pending; SHOW search_path; SET CONSTRAINTS ALL IMMEDIATE");
	like("$sqlstate $output", qr/^none .*"\$user", public/s, "run_pending after $who: what is allowed works, and its settings end with it");
}
foreach my $how ([ 'role', 'none' ], [ 'role', 'postgres' ])
{
	refused( 'carol', qq{BEGIN; SELECT eda.publish('test.bob', '{"how": "$how->[0]", "value": "$how->[1]"}'); SET ROLE bob; $pending},
		'42501', 'cannot set parameter "role"', "run_pending by a member of the owner: role = $how->[1]");
}
foreach my $who ('SET ROLE bob', 'SET SESSION AUTHORIZATION bob', 'SELECT')
{
	refused('postgres', "$who; CALL eda.run_job('escape')", '42501', 'cannot set parameter "role" within', "run_job after $who: role = none");
	refused('postgres', "$who; CALL eda.run_job('defer')", '42501', 'cannot fire deferred trigger', "run_job after $who: a deferred trigger");
	my ($sqlstate, $output) = try_as('postgres', "$who; CALL eda.run_job('stay'); SHOW search_path");
	like("$sqlstate $output", qr/^none .*"\$user", public/s, "run_job after $who: its settings end with it");
}
unlike(slurp_file($node->logfile), qr/LOG:  trap: (escaped|a deferred trigger fired as postgres)/, 'nobody escaped');
as('bob', "CALL eda.run_job('defer')");
like(slurp_file($node->logfile), qr/trap: a deferred trigger fired as bob/, 'who is the owner himself is not restricted');

# ---- what is planted in front of pg_catalog is not picked up ----

# Operators, functions, types and tables by names that eda's own statements
# use, in a schema that everybody searches first.
my $plant = q{
	CREATE SCHEMA planted;
	GRANT USAGE ON SCHEMA planted TO PUBLIC;
	CREATE FUNCTION planted.spring(what text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		RAISE LOG 'trap: % ran as %', what, current_user;
		RETURN pg_catalog.random() OPERATOR(pg_catalog.<) 2;
	END $$;
};
foreach my $type ('text', 'int4', 'int8', 'oid', 'name', '"char"', 'timestamptz', 'bool', 'regclass', 'xid8', 'bytea', 'numeric', 'interval')
{
	foreach my $op ('=', '<>', '<', '<=', '>', '>=')
	{
		my $function = 'planted."op ' . ($type =~ s/"//gr) . " $op\"";

		$plant .= qq{
			CREATE FUNCTION $function(pg_catalog.$type, pg_catalog.$type) RETURNS pg_catalog.bool LANGUAGE plpgsql AS
				\$\$ BEGIN RETURN planted.spring('$type $op'); END \$\$;
			CREATE OPERATOR planted.$op (FUNCTION = $function, LEFTARG = pg_catalog.$type, RIGHTARG = pg_catalog.$type);
		};
	}
}
foreach my $call (
	'now() timestamptz', 'clock_timestamp() timestamptz', 'current_database() name', 'format(text, VARIADIC text[]) text',
	'min(timestamptz) timestamptz', 'max(bigint) bigint', 'sum(bigint) numeric', 'count(bigint) bigint', 'array_agg(xid8) xid8[]',
	'jsonb_build_object(VARIADIC text[]) jsonb', 'to_jsonb(anyelement) jsonb', 'pg_total_relation_size(regclass) bigint',
	'pg_has_role(oid, text) bool', 'random() float8', 'hashtext(text) int', 'md5(text) text', 'set_config(text, text, bool) text',
	'current_setting(text) text', 'make_interval(int) interval', 'length(text) int', 'left(text, int) text', 'substr(text, int) text',
	'array_append(anyarray, anyelement) anyarray', 'unnest(bigint[]) bigint', 'cardinality(anyarray) int')
{
	my ($name, $args, $returns) = $call =~ /^(\w+)\((.*)\) (.*)$/;

	$plant .= qq{
		CREATE FUNCTION planted."$name"($args) RETURNS $returns LANGUAGE plpgsql AS
			\$\$ BEGIN PERFORM planted.spring('$name'); RETURN NULL; END \$\$;
	};
}
$plant .= "CREATE DOMAIN planted.$_ AS pg_catalog.$_ CHECK (planted.spring('type $_'));" foreach 'text', 'int8', 'jsonb', 'regrole', 'regclass';
my @tables = ('subscription', 'cursor', 'retry', 'dead_letter', 'segment', 'log', 'log_1', 'idempotency', 'job', 'job_run',
	'pg_class', 'pg_proc', 'pg_database', 'pg_namespace', 'pg_extension', 'pg_authid', 'pg_inherits');
$plant .= "CREATE TABLE planted.$_ (trap pg_catalog.int4);" foreach @tables;

query('CREATE DATABASE trapped');
$node->safe_psql('trapped', $plant);
query('ALTER DATABASE trapped SET search_path = planted, pg_catalog, public');

# In that database, with that path; returns what went wrong.
sub in_trapped
{
	my ($sql) = @_;
	my ($code, $stdout, $stderr) = $node->psql('trapped', $sql, on_error_stop => 1);

	return $stderr;
}

my $offset = -s $node->logfile;
in_trapped("SELECT 'a'::pg_catalog.text = 'b'::pg_catalog.text");
like(slurp_file($node->logfile, $offset), qr/trap: text = ran as postgres/, 'the trap works: a statement of a superuser\'s own falls into it');

$offset = -s $node->logfile;
my $everything = q{
	SET client_min_messages = error;
	SELECT eda.subscribe('s', 'plant.*,other.#', 'public.note', owner => 'app', filter => '$.n < 100', max_attempts => 2, backoff => '1 ms');
	SELECT eda.subscribe('s', 'plant.*', 'public.note(eda.event)', owner => 'app', max_attempts => 2, backoff => '1 ms', ordering => 'none');
	SELECT eda.alter_subscription('s', '{"ordering": "key", "timeout": "20 s", "reject_on": ["22"]}');
	SELECT eda.subscription_def('s');
	SELECT eda.publish('plant.a', '{"n": 1}', key => 'k', headers => '{"h": 1}', idempotency_key => 'i1');
	SELECT eda.publish('plant.a', '{"n": 1}', idempotency_key => 'i1');
	SELECT eda.publish_batch('plant.b', ARRAY['{"n": 2}', '{"fail": 1}']::pg_catalog.jsonb[], ARRAY['k', 'l']);
	SELECT eda.publish_query('plant.c', 'SELECT 3 AS n, $$k$$ AS k, $$i3$$ AS i', key_column => 'k', idempotency_key_column => 'i');
	CALL eda.wait();
	SELECT eda.pause('s'), eda.resume('s');
	SELECT eda.publish('plant.a', '{"fail": 1}', key => 'k');
	SELECT eda.publish('plant.a', '{"n": 4}', key => 'k');
	CALL eda.wait('s');
	SELECT eda.redrive('s', '{1,2,3}'), eda.skip('s', 1), eda.discard('s', '{1}');
	SELECT eda.redrive_all('s', error_code => 'P0001', max_events => 1);
	CALL eda.wait('s');
	SELECT eda.discard_all('s');
	SELECT eda.trace(1), eda.topic_matches('a.*', 'a.b'), eda.make_event('a.b'), eda.current_event();
	BEGIN;
	SELECT eda.publish('plant.a', '{"n": 5}');
	SELECT eda.run_pending('s');
	ROLLBACK;
	SELECT eda.rotate_log();
	TABLE eda.events; TABLE eda.subscriptions; TABLE eda.retries; TABLE eda.dead_letters; TABLE eda.segments; TABLE eda.workers;
	TABLE eda.jobs; TABLE eda.job_runs;
	CALL eda.run_job('j');
	SELECT eda.unschedule('none');
	CALL eda.wait('s');
	SELECT eda.unsubscribe('s', true);
};
is( in_trapped(
		q{
		CREATE EXTENSION eda;
		CREATE TABLE public.handled (n pg_catalog.int4);
		GRANT ALL ON public.handled TO app;
		CREATE FUNCTION public.note(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			IF e.payload OPERATOR(pg_catalog.?) 'fail' THEN RAISE 'no'; END IF;
			INSERT INTO public.handled VALUES ((e.payload OPERATOR(pg_catalog.->>) 'n')::pg_catalog.int4);
		END $$;
		INSERT INTO eda.job (name, schedule, query, topic, on_invalid, owner) VALUES ('j', '0 0 * * *', 'SELECT 6 AS n', 'plant.a', 'fail', 10);
	}),
	'',
	'CREATE EXTENSION where traps are');
is(in_trapped($everything), '', 'everything, by a superuser');
is(in_trapped(join('', map { "CREATE TEMP TABLE $_ (trap pg_catalog.int4);" } @tables) . $everything =~ s/'i(\d)'/'j$1'/gr =~ s/\$\$i3/\$\$j3/r),
	'', 'and with temporary tables by the names of eda\'s');
unlike(in_trapped('ALTER EXTENSION eda UPDATE'), qr/ERROR/, 'ALTER EXTENSION');
my $log = slurp_file($node->logfile, $offset);
is( $node->safe_psql('trapped', q{SET search_path = pg_catalog; SELECT string_agg(n::text, ' ' ORDER BY n) FROM public.handled}),
	'1 1 2 2 3 3 4 4 6 6', 'the workers handled what was published');
is(join("\n", $log =~ /(trap: .*)/g), '', 'nothing that was planted ran');
unlike(in_trapped('DROP EXTENSION eda CASCADE'), qr/ERROR/, 'DROP EXTENSION');

unlike(slurp_file($node->logfile), qr/TRAP:|PANIC:|terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
