# What sessions do beside the workers must not stop, lose or double anything:
# locks held on subscriptions, a segment that is rewritten, a cursor moved by hand.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('interference');
$node->append_conf('postgresql.conf', "eda.max_executors = 2");
$node->start;
setup_roles($node);
setup_db($node, 'postgres');

sub query { return $node->safe_psql('postgres', $_[0]); }

sub wait_for
{
	my ($sql, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', $sql), $what);
}

# A session with a transaction open.
sub open_transaction
{
	my ($sql) = @_;
	my $session = $node->background_psql('postgres');

	$session->query_safe("BEGIN; $sql");
	return $session;
}

query(q{
	SELECT eda.subscribe('held' || i, 'held.' || i, 'public.note', owner => 'app') FROM generate_series(1, 4) i;
});

# More subscriptions are locked by a transaction than there are executors.
my $holder = open_transaction("SELECT eda.pause('held' || i) FROM generate_series(1, 4) i;");
query("SELECT eda.publish('held.' || i, jsonb_build_object('n', i)) FROM generate_series(1, 4) i");
publish($node, 'postgres', 10);
wait_handled($node, 'postgres', 10, 'locked subscriptions do not keep the executors from others');
is(query("SELECT count(*) FROM handled WHERE n < 10"), '0', 'what is locked waits');
$holder->query_safe('ROLLBACK');
wait_for("SELECT count(*) = 4 FROM handled WHERE n < 10", 'and is delivered when the transaction has rolled back');
$holder->quit;

# The same with lock_timeout among the owner's settings.
query("ALTER ROLE app SET lock_timeout = '10ms'");
$node->restart;
$holder = open_transaction("SELECT eda.pause('notes');");
publish($node, 'postgres', 11);
$holder->query_safe('ROLLBACK');
$holder->quit;
wait_handled($node, 'postgres', 11, 'an owner with lock_timeout is served');
query("ALTER ROLE app RESET lock_timeout");
$node->restart;

# The dispatcher mends a blocked subscription; somebody has it open.
query(q{
	CREATE FUNCTION gone(e eda.event) RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO public.handled VALUES (e.id, 20); END $$;
	SELECT eda.subscribe('mended', 'test.mended', 'public.gone', owner => 'app');
	ALTER FUNCTION gone RENAME TO not_here;
	SELECT eda.publish('test.mended');
});
wait_for("SELECT blocked_reason = 'handler' FROM eda.subscriptions WHERE subscription = 'mended'",
	'a subscription without its handler is blocked');
$holder = open_transaction(q{SELECT eda.alter_subscription('mended', '{"batch_size": 5}');});
query('ALTER FUNCTION not_here RENAME TO gone');
publish($node, 'postgres', 12);
wait_handled($node, 'postgres', 12, 'the dispatcher does not wait for a transaction that changes a subscription');
$holder->query_safe('COMMIT');
$holder->quit;
wait_handled($node, 'postgres', 20, 'which is mended when the transaction is over');

# A segment is rewritten under a backlog: rolled-back savepoints make the places move.
query(q{
	CREATE TABLE gate ();
	GRANT SELECT ON gate TO app;
	CREATE FUNCTION slow(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.handled VALUES (e.id, 100 + (e.payload->>'n')::int);
		PERFORM pg_sleep(0.001);
	END $$;
	SELECT eda.subscribe('slow', 'test.slow', 'public.slow', owner => 'app', batch_size => 20);
	SELECT eda.pause('slow');
	DO $$
	BEGIN
		FOR i IN 1..1000 LOOP
			BEGIN
				PERFORM eda.publish('test.slow', '{"n": 0}');
				RAISE division_by_zero;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
			PERFORM eda.publish('test.slow', jsonb_build_object('n', i));
		END LOOP;
	END $$;
	SELECT eda.resume('slow');
});
$node->poll_query_until('postgres', 'SELECT count(*) > 100 FROM handled WHERE n > 100');
foreach my $rewrite ('CLUSTER eda.log_1 USING log_1_xid_id', 'VACUUM FULL eda.log_1', 'VACUUM FULL eda.cursor')
{
	query($rewrite);
}
my $left = query('SELECT 1000 - count(*) FROM handled WHERE n > 100');
cmp_ok($left, '>', 0, 'the log is rewritten in the middle of a backlog');
wait_for('SELECT count(*) >= 1000 FROM handled WHERE n > 100', 'the rest of the backlog is found again');
query("CALL eda.wait('slow')");
is(query('SELECT count(*), count(DISTINCT n), min(n), max(n) FROM handled WHERE n > 99'),
	'1000|1000|101|1100', 'each event once, none of a rolled-back savepoint');

# A cursor that is moved by hand: the batch that relied on it is rolled back.
publish($node, 'postgres', 13);
wait_handled($node, 'postgres', 13, 'an executor has a lane');
query("UPDATE eda.cursor SET handled = handled + 1");
my $offset = -s $node->logfile;
publish($node, 'postgres', 14);
wait_handled($node, 'postgres', 14, 'delivery goes on after a cursor was changed by hand');
like(slurp_file($node->logfile, $offset), qr/was moved by another process/, 'which the log tells');

# A batch that fails at its commit, of a handler that changes subscriptions.
query(q{
	CREATE TABLE parent (id int PRIMARY KEY);
	CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
	CREATE SEQUENCE calls;
	GRANT ALL ON parent, child, calls TO app;
	GRANT USAGE ON SCHEMA eda TO app;
	GRANT EXECUTE ON FUNCTION eda.alter_subscription TO app;
	CREATE FUNCTION changes(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM nextval('public.calls'), eda.alter_subscription('held1', '{"batch_size": 7}');
		INSERT INTO public.child VALUES (1);
	END $$;
	SELECT eda.subscribe('changes', 'test.changes', 'public.changes', owner => 'app', max_attempts => 2, backoff => '10 ms');
	SELECT eda.publish('test.changes');
});
wait_for("SELECT dead = 1 AND backlog = 0 AND retrying = 0 FROM eda.subscriptions WHERE subscription = 'changes'",
	'an event that fails at commit dies, whatever its handler changes');
cmp_ok(query('SELECT last_value FROM calls'), '<=', 6, 'after its attempts, in three modes each');

# Such a failure behind events of other topics that a wildcard passes over.
query(q{
	CREATE TABLE effects (id bigint);
	CREATE SEQUENCE tries;
	GRANT ALL ON effects, tries TO app;
	CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF nextval('public.tries') <= 3 THEN RAISE EXCEPTION 'not yet'; END IF;
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit();
	CREATE FUNCTION effect(e eda.event) RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO public.effects VALUES (e.id); END $$;
	SELECT eda.subscribe('wild', 'wild.*', 'public.effect', owner => 'app', backoff => '10 ms');
	SELECT eda.publish(t) FROM unnest('{other.a,other.b,other.c,wild.a}'::text[]) t;
});
wait_for("SELECT handled = 1 AND retrying = 0 AND backlog = 0 FROM eda.subscriptions WHERE subscription = 'wild'",
	'an event that fails at commit behind foreign ones is tried again');
query("SELECT eda.publish('wild.b')");
query("CALL eda.wait('wild')");
is(query('SELECT count(*), count(DISTINCT id) FROM effects'), '2|2', 'and takes effect once');

# A subscription blocked as failing keeps its events when they fail at commit, too.
query(q{
	CREATE SEQUENCE commits;
	GRANT ALL ON commits TO app;
	CREATE FUNCTION fails_at_commit(e eda.event) RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN PERFORM nextval('public.commits'); INSERT INTO public.child VALUES (2); END $$;
	SELECT eda.subscribe('unlucky', 'test.unlucky', 'public.fails_at_commit', owner => 'app', max_attempts => 1, block_after => 1,
		backoff => '10 ms', max_backoff => '20 ms');
	SELECT eda.publish('test.unlucky') FROM generate_series(1, 8);
});
wait_for('SELECT last_value > 20 FROM commits', 'a failing subscription is probed');
is(query("SELECT dead, state FROM eda.subscriptions WHERE subscription = 'unlucky'"), '1|blocked', 'and its events keep their place');
query('INSERT INTO parent VALUES (2)');
wait_for("SELECT handled = 7 AND state = 'active' FROM eda.subscriptions WHERE subscription = 'unlucky'", 'until they can be handled');

# A handler that sets another role: the next event has the owner again.
query(q{
	GRANT joe TO app;
	CREATE TABLE identity (who name);
	GRANT ALL ON identity TO app, joe;
	CREATE FUNCTION changes_role(e eda.event) RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO public.identity VALUES (current_user); SET ROLE joe; END $$;
	SELECT eda.subscribe('roles', 'test.roles', 'public.changes_role', owner => 'app');
	SELECT eda.publish('test.roles') FROM generate_series(1, 3);
});
query("CALL eda.wait('roles')");
query("SELECT eda.publish('test.roles')");
query("CALL eda.wait('roles')");
is(query('SELECT string_agg(DISTINCT who, $$,$$), count(*) FROM identity'), 'app|4', 'each event is handled as the owner');

# An error message of many megabytes.
query(q{
	CREATE FUNCTION wordy(e eda.event) RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION '%', repeat('word ', 60000000); END $$;
	SELECT eda.subscribe('wordy', 'test.wordy', 'public.wordy', owner => 'app', max_attempts => 1);
	SELECT eda.publish('test.wordy');
});
wait_for("SELECT count(*) = 1 FROM eda.dead_letters WHERE subscription = 'wordy' AND length(error_message) < 20000",
	'a huge error message is clipped');

# Blocked as failing, with nothing left to probe with: the next event wakes the workers.
query(q{
	CREATE TABLE broken ();
	GRANT SELECT ON broken TO app;
	CREATE FUNCTION breaks(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM pg_class WHERE relname = 'broken') THEN RAISE EXCEPTION 'broken'; END IF;
		INSERT INTO public.handled VALUES (e.id, (e.payload->>'n')::int);
	END $$;
	SELECT eda.subscribe('breaks', 'test.breaks', 'public.breaks', owner => 'app', block_after => 2, reject_on => '{P0001}',
		backoff => '10 ms', max_backoff => '20 ms');
	SELECT eda.publish('test.breaks') FROM generate_series(1, 2);
});
wait_for("SELECT blocked_reason = 'failing' AND dead = 2 FROM eda.subscriptions WHERE subscription = 'breaks'",
	'a subscription whose every event dies is blocked');
wait_for("SELECT count(*) = 0 FROM eda.workers WHERE subscription = 'breaks'", 'there is nothing to probe it with');
query('DROP TABLE broken');
query(q{SELECT eda.publish('test.breaks', '{"n": 40}')});
wait_handled($node, 'postgres', 40, 'the next event is the probe, without a poll');
is(query("SELECT state FROM eda.subscriptions WHERE subscription = 'breaks'"), 'active', 'and the subscription goes on');

# eda's own statements on its tables must not need a replica identity that they lack.
query('CREATE PUBLICATION everything FOR ALL TABLES');
$node->restart;
publish($node, 'postgres', 30);
wait_handled($node, 'postgres', 30, 'a publication of all tables does not keep the workers from starting');

$node->stop;
done_testing();
