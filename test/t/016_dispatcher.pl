# The dispatcher is a superuser's process that everybody relies on: nobody's settings stop it, and nobody's
# code runs in it.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('dispatcher');
$node->append_conf(
	'postgresql.conf', q{
eda.poll_interval = 1s
eda.retention = 0
});
$node->start;
setup_roles($node);

sub query { return $node->safe_psql('postgres', $_[0]); }

# Default privileges that would open eda's tables to a role.
query('ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO joe; ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO joe, PUBLIC');
setup_db($node, 'postgres');
my $others = q{FROM pg_class c, aclexplode(c.relacl) a
	WHERE c.relnamespace = 'eda'::regnamespace AND c.relkind IN ('r', 'S') AND a.grantee <> c.relowner};
is(query("SELECT count(*) $others"), '0', 'nobody but the owner has rights on the tables, whatever the default privileges');

# ---- settings ----

my $version = query('SHOW server_version_num');
query(q{
	ALTER DATABASE postgres SET default_transaction_read_only = on;
	ALTER DATABASE postgres SET default_transaction_isolation = 'serializable';
	ALTER DATABASE postgres SET default_transaction_deferrable = on;
	ALTER DATABASE postgres SET statement_timeout = '1ms';
	ALTER DATABASE postgres SET lock_timeout = '1ms';
	ALTER DATABASE postgres SET idle_in_transaction_session_timeout = '1ms';
	ALTER DATABASE postgres SET idle_session_timeout = '1ms';
	CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler;
	ALTER DATABASE postgres SET default_table_access_method = 'other';
	ALTER DATABASE postgres SET synchronous_commit = remote_apply;
	ALTER SYSTEM SET synchronous_standby_names = 'nobody';
});
query(q{ALTER DATABASE postgres SET transaction_timeout = '1ms'}) if $version >= 170000;

# whoever else connects has none of that
$ENV{PGOPTIONS} = '-c default_transaction_read_only=off -c default_transaction_isolation=read\ committed'
  . ' -c default_transaction_deferrable=off -c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0'
  . ' -c idle_session_timeout=0 -c synchronous_commit=local' . ($version >= 170000 ? ' -c transaction_timeout=0' : '');
$node->restart;

my $first = wait_worker($node, 'postgres', 'dispatcher');
publish($node, 'postgres', 1);
wait_handled($node, 'postgres', 1, 'with settings that would stop it, events are dispatched');
query(q{SELECT eda.publish('test.note', '{"n": 2}', deliver_at => clock_timestamp() + interval '50 ms')});
wait_handled($node, 'postgres', 2, 'delayed ones, too, and nobody waits for a standby');

# ---- segments ----

# Event triggers that nothing disables, of each kind that there is for what the dispatcher does.
query(q{
	CREATE TABLE fired (tag text, kind text);
	CREATE FUNCTION fire() RETURNS event_trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.fired VALUES (tg_tag, current_setting('application_name'));
		IF current_setting('application_name') = 'eda dispatcher' THEN
			RAISE 'the dispatcher runs code of others';
		END IF;
	END $$;
	CREATE EVENT TRIGGER at_start ON ddl_command_start EXECUTE FUNCTION fire();
	CREATE EVENT TRIGGER at_end ON ddl_command_end EXECUTE FUNCTION fire();
	ALTER EVENT TRIGGER at_start ENABLE ALWAYS;
	ALTER EVENT TRIGGER at_end ENABLE ALWAYS;
	CREATE TABLE here ();
});
isnt(query(q{SELECT count(*) FROM fired WHERE tag = 'CREATE TABLE'}), '0', 'the event triggers fire');
is(query('SELECT eda.rotate_log()'), '2', 'a segment is made');
publish($node, 'postgres', 3);
wait_handled($node, 'postgres', 3, 'events go there');
ok($node->poll_query_until('postgres', q{SELECT state = 'f' FROM eda.segment WHERE segment = 1}), 'and the old one is emptied');
is(query(q{SELECT count(*) FROM fired WHERE kind LIKE 'eda%'}), '0', 'and no event trigger fired for it');
is(query("SELECT count(*) $others"), '0', 'nobody but the owner has rights on the new one');
is(query(q{SELECT a.amname FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE c.oid = 'eda.log_2'::regclass}), 'heap',
	'which is a heap, whatever the default');
is(query(q{SELECT count(*) FROM pg_depend WHERE objid = 'eda.log_2'::regclass AND deptype = 'e'}), '1', 'and a member of the extension');

is(worker_pid($node, 'postgres', 'dispatcher'), $first, 'all that time it was the same dispatcher');
unlike(slurp_file($node->logfile), qr/ERROR:  |TRAP:|PANIC:|terminated by signal/, 'and nothing went wrong');
$node->stop;
done_testing();
