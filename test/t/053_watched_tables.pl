# Whoever watches eda's tables by triggers sees every change, and loses nothing for it: audits, foreign keys, and what
# copies a table while it is in use, as pg_repack does.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('watched');
$node->start;
setup_roles($node);
setup_db($node, 'postgres');

sub query { return $node->safe_psql('postgres', $_[0]); }

query(q{
	CREATE TABLE audit (n bigserial, tab text, op text, what text, rows bigint);
	CREATE FUNCTION audit_row() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
		r jsonb := CASE TG_OP WHEN 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END;
	BEGIN
		INSERT INTO public.audit (tab, op, what, rows)
		VALUES (TG_TABLE_NAME, TG_OP, coalesce(r ->> 'event_id', r ->> 'pos_id', r ->> 'id'), 1);
		RETURN NULL;
	END $$;
	CREATE FUNCTION audit_statement() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.audit (tab, op, what, rows) SELECT TG_TABLE_NAME, TG_OP, 'statement', count(*) FROM changed;
		RETURN NULL;
	END $$;
	CREATE TABLE effect (id bigint, attempt int);
	GRANT ALL ON effect TO app;
	CREATE FUNCTION twice(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF e.payload ? 'fail' AND e.attempt <= (e.payload ->> 'fail')::int THEN RAISE 'not yet'; END IF;
		INSERT INTO public.effect VALUES (e.id, e.attempt);
	END $$;
	SELECT eda.subscribe('twice', 'test.twice', 'public.twice', owner => 'app', backoff => '50 ms', max_backoff => '100 ms', block_after => 1000000);
});

# ---- row and statement triggers ----

my @tables = ('retry', 'cursor', query('SELECT relation::regclass FROM eda.segment WHERE state = $$o$$') =~ s/eda\.//r);
foreach my $table (@tables)
{
	query(qq{
		CREATE TRIGGER audit_row AFTER INSERT OR UPDATE OR DELETE ON eda.$table FOR EACH ROW EXECUTE FUNCTION audit_row();
		CREATE TRIGGER audit_i AFTER INSERT ON eda.$table REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION audit_statement();
		CREATE TRIGGER audit_d AFTER DELETE ON eda.$table REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION audit_statement();
	});
}
my ($id, $next) = split /\|/, query(q{SELECT eda.publish('test.twice', '{"fail": 2}', key => 'a'), eda.publish('test.twice', '{}', key => 'a')});
query(q{SELECT eda.publish_batch('test.twice', ARRAY['{"n": 1}', '{"n": 2}', '{"n": 3}']::jsonb[])});
$node->poll_query_until('postgres', 'SELECT count(*) = 5 FROM effect') or die 'not handled';
query('CALL eda.wait()');
is(query('SELECT string_agg(attempt::text, $$ $$ ORDER BY id) FROM effect'), '3 1 1 1 1', 'each event takes effect once');
is(query("SELECT string_agg(op, ' ' ORDER BY n) FROM audit WHERE tab = 'retry' AND what = '$id'"), 'INSERT UPDATE DELETE', 'the audit of eda.retry has the whole story of an event');
is(query("SELECT string_agg(op, ' ' ORDER BY n) FROM audit WHERE tab = 'retry' AND what = '$next'"), 'INSERT UPDATE DELETE', 'and of one that waited behind it');
is(query("SELECT sum(rows) FROM audit WHERE tab = 'retry' AND op = 'DELETE' AND what = 'statement'"), '2', 'transition tables have the deleted rows');
is(query("SELECT count(*) FROM audit WHERE tab LIKE 'log%' AND op = 'INSERT' AND what <> 'statement'"), '5', 'the log\'s has each event');
is(query("SELECT sum(rows) FROM audit WHERE tab LIKE 'log%' AND op = 'INSERT' AND what = 'statement'"), '5', 'in its transition tables, too');
cmp_ok(query("SELECT count(*) FROM audit WHERE tab = 'cursor' AND op = 'UPDATE'"), '>=', 1, 'and that of the cursors their moves');

# every event once, with all that it had, in order, also where savepoints are rolled back
query(q{SELECT eda.publish('test.note', '{"n": 10}', key => 'k', headers => '{"h": 1}', correlation_id => 'c', causation_id => 7);
	BEGIN; SAVEPOINT a; SELECT eda.publish('test.note', '{"n": 11}'); ROLLBACK TO a; SELECT eda.publish('test.note', '{"n": 12}'); COMMIT});
wait_handled($node, 'postgres', 12, 'events of a watched log are delivered');
is(query(q{SELECT string_agg(n::text, ' ' ORDER BY n) FROM handled}), '10 12', 'those that were committed');
is(query(q{SELECT key, headers, correlation_id, causation_id, published_by::regrole FROM eda.events WHERE payload ->> 'n' = '10'}), 'k|{"h": 1}|c|7|postgres', 'as they were published');

# who moves a position, and unsubscribes, is seen
query(q{TRUNCATE audit; SELECT eda.seek('twice', 'earliest'); CALL eda.wait('twice'); SELECT eda.seek('twice', 'latest'); SELECT eda.unsubscribe('twice')});
is(query("SELECT count(*) > 0 FROM audit WHERE tab = 'cursor' AND op = 'UPDATE'"), 't', 'seek is seen');
is(query("SELECT count(*) FROM audit WHERE tab = 'cursor' AND op = 'DELETE' AND what <> 'statement'"), '1', 'and unsubscribe');

# a trigger that publishes, one that runs a command, and one that swallows what is written
query(q{
	CREATE FUNCTION echo() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.topic = 'test.loud' THEN PERFORM eda.publish('test.note', jsonb_build_object('n', 100 + (NEW.payload ->> 'n')::int)); CREATE TABLE IF NOT EXISTS public.made (); END IF;
		RETURN NEW;
	END $$;
	CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
});
query("CREATE TRIGGER echo BEFORE INSERT ON eda.$tables[2] FOR EACH ROW EXECUTE FUNCTION echo()");
query(q{SELECT eda.publish_batch('test.loud', ARRAY['{"n": 1}', '{"n": 2}']::jsonb[])});
wait_handled($node, 'postgres', 102, 'a trigger on the log may publish, and run commands');
is(query(q{SELECT count(*), count(DISTINCT id) FROM eda.events WHERE topic = 'test.loud'}), '2|2', 'what it was fired for is there');
query("DROP TRIGGER echo ON eda.$tables[2]; CREATE TRIGGER swallow BEFORE INSERT ON eda.$tables[2] FOR EACH ROW EXECUTE FUNCTION swallow()");
my ($code, $stdout, $stderr) = $node->psql('postgres', q{SELECT eda.publish('test.note', '{"n": 13}')}, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($stderr, qr/ERROR:\s+ED060: a trigger kept eda from writing to table "eda.log_\d+"/, 'one that swallows an event is an error');
query("DROP TRIGGER swallow ON eda.$tables[2]");
query("DROP TRIGGER audit_row ON eda.$_; DROP TRIGGER audit_i ON eda.$_; DROP TRIGGER audit_d ON eda.$_") foreach @tables;

# ---- a foreign key of the owner's ----

query(q{
	SELECT eda.subscribe('twice', 'test.twice', 'public.twice', owner => 'app', start => 'latest', backoff => '50 ms', max_backoff => '100 ms', block_after => 1000000);
	CREATE TABLE ticket (sub int, event bigint, FOREIGN KEY (sub, event) REFERENCES eda.retry ON DELETE CASCADE);
	CREATE FUNCTION ticket() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.ticket VALUES (NEW.subscription_id, NEW.event_id); INSERT INTO public.audit (op) VALUES ($$ticket$$); RETURN NULL; END';
	CREATE TRIGGER ticket AFTER INSERT ON eda.retry FOR EACH ROW EXECUTE FUNCTION ticket();
	TRUNCATE effect, audit;
	SELECT eda.publish('test.twice', '{"fail": 3}');
});
$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM effect') or die 'not handled';
query('CALL eda.wait()');
is(query(q{SELECT (SELECT count(*) FROM ticket), count(*) FROM audit WHERE op = 'ticket'}), '0|1', 'a foreign key to eda.retry is kept');
query('DROP TRIGGER ticket ON eda.retry; DROP TABLE ticket');

# ---- the table is copied while events are retried, as pg_repack does it ----

# It swaps files where this puts the copy's rows in the place of the table's; what it missed is the same.
my @repack = (
	q{BEGIN; LOCK eda.retry IN ACCESS EXCLUSIVE MODE;
	CREATE TABLE copy_log (n bigserial, sub int, event bigint, row eda.retry);
	CREATE OR REPLACE FUNCTION copy_note() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF TG_OP <> 'INSERT' THEN INSERT INTO public.copy_log (sub, event) VALUES (OLD.subscription_id, OLD.event_id); END IF;
		IF TG_OP <> 'DELETE' THEN INSERT INTO public.copy_log (sub, event, row) VALUES (NEW.subscription_id, NEW.event_id, NEW); END IF;
		RETURN NULL;
	END $$;
	CREATE TRIGGER repack_trigger AFTER INSERT OR DELETE OR UPDATE ON eda.retry FOR EACH ROW EXECUTE FUNCTION copy_note();
	ALTER TABLE eda.retry ENABLE ALWAYS TRIGGER repack_trigger;
	COMMIT},
	q{BEGIN ISOLATION LEVEL REPEATABLE READ; DELETE FROM copy_log; CREATE TABLE copy AS TABLE eda.retry; COMMIT},
	q{SELECT pg_sleep(0.1)},
	q{BEGIN; LOCK eda.retry IN ACCESS EXCLUSIVE MODE;
	DO $$
	DECLARE
		l record;
	BEGIN
		FOR l IN SELECT * FROM public.copy_log ORDER BY n LOOP
			DELETE FROM public.copy c WHERE c.subscription_id = l.sub AND c.event_id = l.event;
			IF l.row IS DISTINCT FROM NULL THEN INSERT INTO public.copy SELECT (l.row).*; END IF;
		END LOOP;
	END $$;
	DROP TRIGGER repack_trigger ON eda.retry;
	DELETE FROM eda.retry;
	INSERT INTO eda.retry OVERRIDING SYSTEM VALUE TABLE copy;
	DROP TABLE copy, copy_log;
	COMMIT});
query('TRUNCATE effect');
my $publisher = $node->background_psql('postgres');
$publisher->query_until(qr/begun/, q{\echo begun
	DO $$ BEGIN FOR i IN 1 .. 60 LOOP PERFORM eda.publish('test.twice', '{"fail": 2}', key => 'k' || g) FROM generate_series(1, 5) g; COMMIT; PERFORM pg_sleep(0.05); END LOOP; END $$;
});
my $copies = 0;
do
{
	query($_) foreach @repack;
	$copies++;
} while (query("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%FOR i IN%' AND state = 'active' AND pid <> pg_backend_pid()") > 0);
$publisher->quit;
ok( $node->poll_query_until('postgres', q{SELECT count(DISTINCT id) = 300 FROM effect}), "all events are handled, the table being copied $copies times");
query('CALL eda.wait()');
is(query('SELECT count(*), count(DISTINCT id) FROM effect'), '300|300', 'each took effect once');
is(query("SELECT count(*) FROM eda.retries"), '0', 'and none is left in the queue');
is(query("SELECT dead, failed FROM eda.subscriptions WHERE subscription = 'twice'"), query("SELECT 0, failed FROM eda.subscriptions WHERE subscription = 'twice'"), 'nor dead');

# ---- a trigger that refuses what eda has to write, with no handler at work ----

query(q{
	SELECT eda.subscribe('late', 'test.late', 'public.twice', owner => 'app', expire_after => '1 ms');
	SELECT eda.pause('late');
	SELECT eda.publish('test.late', '{}');
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room for dead letters'; END $$;
	CREATE TRIGGER refuse BEFORE INSERT ON eda.dead_letter FOR EACH ROW EXECUTE FUNCTION refuse();
});
my $logged = -s $node->logfile;
query(q{SELECT eda.resume('late')});
ok($node->wait_for_log(qr/ERROR: .*no room for dead letters/, $logged), 'the log says what eda could not write');
is(query("SELECT count(*) FROM eda.dead_letters WHERE subscription = 'late'"), '0', 'nothing is lost, or half done');
query('DROP TRIGGER refuse ON eda.dead_letter');
ok( $node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM eda.dead_letters WHERE subscription = 'late' AND reason = 'expired'}),
	'it is written once it can be');
my $errors = () = slurp_file($node->logfile, $logged) =~ /ERROR: .*no room for dead letters/g;
cmp_ok($errors, '<', 20, 'and was not tried without a pause');

$node->stop;
done_testing();
