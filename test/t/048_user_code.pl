# Code of a user's that runs in the middle of ours: casts and columns' output in eda.publish_query and jobs, and
# handlers. Whatever it closes, drops, resets or calls in turn, there is a right result or a clear error, and
# the server goes on.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('user_code');
$node->append_conf('postgresql.conf', "restart_after_crash = off");
$node->start;
setup_roles($node);
setup_db($node, 'postgres');

sub query { return $node->safe_psql('postgres', $_[0]); }

# What the attacks are made of: commands that a function runs, each in a savepoint, whose errors are noted.
query(q{
	GRANT ALL ON SCHEMA public TO app;
	GRANT USAGE ON SCHEMA eda TO app;
	GRANT EXECUTE ON ALL ROUTINES IN SCHEMA eda TO app;
	CREATE TABLE attack (command text);
	CREATE TABLE refused (command text, state text, message text);
	CREATE TABLE mine (a int);
	INSERT INTO mine SELECT generate_series(1, 200);
	GRANT ALL ON attack, refused, mine TO app;
	CREATE FUNCTION strike() RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		c text;
		names text[];
		m text;
	BEGIN
		FOR c IN SELECT command FROM public.attack LOOP
			BEGIN
				IF c IN ('close', 'fetch', 'move') THEN
					SELECT array_agg(name) INTO names FROM pg_cursors WHERE statement !~ 'FROM public.attack';
					FOR i IN 1 .. coalesce(cardinality(names), 0) LOOP
						EXECUTE CASE c WHEN 'close' THEN format('CLOSE %I', names[i]) WHEN 'move' THEN format('MOVE 10 FROM %I', names[i])
							ELSE format('FETCH 10 FROM %I', names[i]) END;
					END LOOP;
				ELSE
					EXECUTE c;
				END IF;
			EXCEPTION WHEN OTHERS THEN
				GET STACKED DIAGNOSTICS m = MESSAGE_TEXT;
				INSERT INTO public.refused VALUES (c, SQLSTATE, m);
			END;
		END LOOP;
	END $$;
	SET ROLE app;
	CREATE TYPE e AS ENUM ('a');
	CREATE FUNCTION fe(e) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM public.strike(); RETURN '1'; END $$;
	CREATE CAST (e AS json) WITH FUNCTION fe(e);
	-- a filter's own function is not to be had, but a domain's check and a trigger are
	CREATE FUNCTION strikes(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM public.strike(); RETURN true; END $$;
	CREATE DOMAIN d AS int CHECK (strikes(VALUE));
	CREATE TABLE struck (n int);
	CREATE FUNCTION on_struck() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.strike(); RETURN NULL; END $$;
	CREATE TRIGGER strike AFTER INSERT ON struck FOR EACH ROW EXECUTE FUNCTION on_struck();
	CREATE CONSTRAINT TRIGGER strike_late AFTER INSERT ON struck DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.n = 2) EXECUTE FUNCTION on_struck();
});

# Whoever is asked next answers.
sub goes_on
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($rc) = $node->psql('postgres', 'SELECT 1', timeout => 60);
	is($rc, 0, "$what: the server goes on") or BAIL_OUT('the server is gone');
}

my %attacks = (
	close => 'close',
	'close all' => 'CLOSE ALL',
	move => 'move',
	fetch => 'fetch',
	'discard all' => 'DISCARD ALL',
	'discard plans' => 'DISCARD PLANS',
	'discard temp' => 'DISCARD TEMP',
	'discard sequences' => 'DISCARD SEQUENCES',
	deallocate => 'DEALLOCATE ALL',
	'set role' => 'SET ROLE NONE',
	reset => 'RESET ALL',
	'reset role' => 'RESET ROLE',
	'session authorization' => 'RESET SESSION AUTHORIZATION',
	truncate => 'TRUNCATE mine',
	drop => 'DROP TABLE mine',
	alter => 'ALTER TABLE mine ADD COLUMN b text DEFAULT \'x\'',
	'drop type' => 'DROP TYPE e CASCADE',
	'drop function' => 'DROP FUNCTION fe(e) CASCADE',
	'publish' => q{SELECT eda.publish('test.inner')},
	'publish_batch' => q{SELECT eda.publish_batch('test.inner', array_agg('{}'::jsonb)) FROM generate_series(1, 2000)},
	'publish_query' => q{SELECT eda.publish_query('test.inner', 'SELECT a FROM mine')},
	'idempotent' => q{SELECT eda.publish('test.inner', idempotency_key => 'k')},
	'define' => q{SELECT eda.define_topic('test.outer', '{"type": "object", "maxProperties": 1}')},
	'drop topic' => q{SELECT eda.drop_topic('test.outer')},
	'subscribe' => q{SELECT eda.subscribe('inner', 'test.#', 'public.note')},
	'unsubscribe' => q{SELECT eda.unsubscribe('notes')},
	'pause' => q{SELECT eda.pause('notes')},
	'run_pending' => q{SELECT eda.run_pending()},
	'call' => q{CALL eda.run_job('none')},
	'wait' => q{CALL eda.wait('notes', '0')},
	'commit' => 'COMMIT',
	'rollback' => 'ROLLBACK',
	'savepoint' => 'SAVEPOINT x',
	'terminate later' => 'SELECT pg_cancel_backend(pg_backend_pid())',
	'drop extension' => 'DROP EXTENSION eda CASCADE',
	'truncate log' => 'TRUNCATE eda.log',
	'truncate retry' => 'TRUNCATE eda.retry, eda.cursor',
	'drop event' => 'ALTER TYPE eda.event ADD ATTRIBUTE more int',
);

# In a session: as an ordinary role, and as the superuser who owns all of it.
for my $what (sort keys %attacks)
{
	for my $role ('app', 'postgres')
	{
		my $command = $attacks{$what} =~ s/'/''/gr;
		my $publish = q{eda.publish_query('test.outer', $q$SELECT 'a'::public.e AS x, a FROM public.mine$q$, key_column => 'a')};
		my ($rc, $stdout, $stderr) = $node->psql('postgres', qq{
			BEGIN;
			INSERT INTO public.attack VALUES ('$command');
			SELECT eda.define_topic('test.outer', '{"type": "object"}');
			SET ROLE $role;
			SELECT total || ' ' || published FROM $publish;
			SELECT eda.publish('test.after') > 0;
			INSERT INTO public.struck VALUES (1), (2);
			SELECT 1::public.d;
			SELECT published FROM eda.publish_query('test.outer', 'INSERT INTO public.struck VALUES (3) RETURNING n, 1::public.d AS d');
			RESET ROLE;
			ROLLBACK;
		}, on_error_stop => 0, timeout => 60);

		unlike($stderr, qr/server closed|could not connect|connection to server/, "$what in a cast, as $role: the server goes on") or BAIL_OUT('the server is gone');
		# what was not refused, or the cast's doing, has published each row
		my $refused = $stderr =~ /ERROR/;

		note("$what, $role: ", $stdout =~ s/\n/ /gr, $refused ? ' ' . ($stderr =~ /ERROR: +(.*)/)[0] : '');
		like($stdout . $stderr, qr/^200 200$|ERROR/m, "$what in a cast, as $role: all rows, or an error");
		# for a type that is dropped while it is in use PostgreSQL itself has no better word
		unlike($stderr, qr/unexpected|could not open relation with OID|cache lookup|invalid memory/, "$what in a cast, as $role: no internal error")
		  if $what ne 'drop type';
	}
}

# In handlers, of an ordinary role and of the superuser, caught and not caught: each attack has a subscription and a
# handler of its own, and is the second of five events of a batch.
my %in_handlers = (
	map({ $_ => $attacks{$_} } grep { !/^(close|move|fetch|drop extension|unsubscribe|pause|subscribe|terminate later|truncate .*|drop event|define|drop topic)$/ } keys %attacks),
	'drop itself' => 'DROP FUNCTION public.SELF(eda.event)',
	'rename itself' => 'ALTER FUNCTION public.SELF(eda.event) RENAME TO SELF_2',
	'pause itself' => q{SELECT eda.pause('SELF')},
	'unsubscribe itself' => q{SELECT eda.unsubscribe('SELF', true)},
	'alter itself' => q{SELECT eda.alter_subscription('SELF', '{"batch_size": 7}')},
	'lanes' => q{SELECT eda.alter_subscription('SELF', '{"concurrency": 3}')},
	'seek itself' => q{SELECT eda.seek('SELF', 'latest')},
	'skip itself' => q{SELECT eda.skip('SELF', (eda.current_event()).id)},
	'redrive itself' => q{SELECT eda.redrive_all('SELF')},
	'read only' => 'SET TRANSACTION READ ONLY',
	'isolation' => 'SET TRANSACTION ISOLATION LEVEL SERIALIZABLE',
	'timeout' => 'SET statement_timeout = 1',
	'listen' => 'LISTEN x',
	'temporary' => 'CREATE TEMP TABLE temporary AS SELECT 1',
);
my $stops = qr/itself/;
my (@calls, @selves);
for my $what (sort keys %in_handlers)
{
	for my $role ('app', 'postgres')
	{
		for my $how ('caught', 'raw')
		{
			my $self = 'strike_' . ($what =~ s/\W/_/gr) . "_${role}_$how";
			my $command = $in_handlers{$what} =~ s/SELF/$self/gr =~ s/'/''/gr;

			push @calls, "CALL attack('$self', '$role', '$how', '$command')";
			push @selves, $self unless $what =~ $stops;
		}
	}
}
query(q{
	SET client_min_messages = error;
	CREATE TABLE done (sub text, n int);
	GRANT ALL ON done TO app;
	CREATE PROCEDURE attack(self text, role text, how text, command text) LANGUAGE plpgsql AS $p$
	BEGIN
		EXECUTE format($f$CREATE FUNCTION public.%I(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
			BEGIN
				INSERT INTO public.done VALUES (e.subscription, (e.payload ->> 'n')::int);
				IF e.payload ->> 'how' = 'raw' THEN
					EXECUTE e.payload ->> 'command';
				ELSIF e.payload ->> 'how' = 'caught' THEN
					BEGIN
						EXECUTE e.payload ->> 'command';
					EXCEPTION WHEN OTHERS THEN
						NULL;
					END;
				END IF;
			END $$$f$, self);
		EXECUTE format('ALTER FUNCTION public.%I(eda.event) OWNER TO %I', self, role);
		PERFORM eda.subscribe(self, self, 'public.' || self, owner => role::regrole, ordering => 'none', max_attempts => 2, backoff => '10 ms');
		PERFORM eda.publish(self, jsonb_build_object('n', i) || CASE WHEN i = 2 THEN jsonb_build_object('how', how, 'command', command) ELSE '{}' END)
		  FROM generate_series(1, 5) i;
	END $p$;
} . join(";\n", @calls));
# the four others of each are through, once; whatever became of the second one
my $names = join ', ', map { "('$_')" } @selves;
ok($node->poll_query_until('postgres', "SELECT count(DISTINCT (sub, n)) = 4 * @{[scalar @selves]} FROM done JOIN (VALUES $names) s (sub) USING (sub) WHERE n <> 2"),
	'handlers: their neighbours are handled')
  or diag(query("SELECT s.sub, array_agg(d.n), u.state, u.blocked_reason, u.last_error FROM (VALUES $names) s (sub) LEFT JOIN done d USING (sub)
	LEFT JOIN eda.subscriptions u ON u.subscription = s.sub GROUP BY 1, 3, 4, 5 HAVING count(DISTINCT n) FILTER (WHERE n <> 2) < 4"));
is(query('SELECT count(*) FROM (SELECT FROM done GROUP BY sub, n HAVING count(*) > 1) d'), '0', 'handlers: nothing took effect twice');
is(query(q{SELECT count(*) FROM eda.retry WHERE error_message LIKE 'cache lookup%'}) + query(q{SELECT count(*) FROM eda.dead_letter WHERE error_message LIKE 'cache lookup%'}),
	'0', 'handlers: no event pays for a function that its neighbour dropped');
goes_on('handlers');

# eda.run_pending(): a handler that drops itself, its subscription, or calls it in turn.
query(q{SET client_min_messages = error; CALL attack('pending', 'postgres', 'none', '')});
for my $command ('DROP FUNCTION public.pending(eda.event)', q{SELECT eda.unsubscribe('pending', true)}, 'SELECT eda.run_pending()',
	q{SELECT eda.pause('pending')}, 'DISCARD PLANS', 'CLOSE ALL', 'SET ROLE app')
{
	my $quoted = $command =~ s/'/''/gr;
	my ($rc, $stdout, $stderr) = $node->psql('postgres', qq{
		BEGIN;
		SELECT eda.publish('pending', jsonb_build_object('n', i) || CASE WHEN i = 2 THEN jsonb_build_object('how', 'caught', 'command', '$quoted') ELSE '{}' END)
		  FROM generate_series(1, 5) i;
		SELECT 'handled ' || eda.run_pending('pending');
		ROLLBACK;
	}, on_error_stop => 0, timeout => 60);

	like($stdout . $stderr, qr/handled \d|cannot be called|does not exist|permission denied/, "run_pending, $command: a result, or a clear error");
	unlike($stderr, qr/cache lookup|unexpected|server closed/, "run_pending, $command: no internal error");
}
goes_on('run_pending');
$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP:|PANIC:|was terminated by signal/, 'no process crashed');
done_testing();
