# ALTER EXTENSION eda UPDATE: 0.1.0, as it was installed, becomes what CREATE EXTENSION makes today, with what
# was in it; and until then nothing works on objects that the library does not know.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my ($rc, $out, $err);

my $node = new_node('update');
$node->start;
setup_roles($node);
$node->safe_psql('postgres', "CREATE DATABASE $_") foreach qw(old fresh);

# ---- the library is newer than what is installed ----

$node->safe_psql('old', "CREATE EXTENSION eda VERSION '0.1.0'");
for my $call (q{eda.publish('a.b')}, q{eda.publish_batch('a.b', '{"{}"}')},
	q{eda.publish_query('a.b', 'SELECT 1 AS x')}, q{eda.subscribe('s', 'a.b', 'now')}, q{eda.run_pending()})
{
	($rc, $out, $err) = $node->psql('old', "SELECT $call");
	like($err, qr/ERROR:.*of version 0\.1\.0 in this database.*HINT:.*ALTER EXTENSION eda UPDATE/s, "$call says what to do");
}

# ---- the update ----

$node->safe_psql(
	'old', q{
	INSERT INTO eda.log_1 (id, xid, published_at, published_by, topic_hash, key_hash, topic, payload)
		VALUES (1, pg_current_xact_id(), now(), 10, 0, 0, 'a.b', '{"n": 1}');
	SELECT setval('eda.event_id_seq', 1025);
});
is($node->psql('old', 'ALTER EXTENSION eda UPDATE'), 0, 'ALTER EXTENSION eda UPDATE');
is($node->safe_psql('old', 'SELECT id, topic, payload FROM eda.events'), '1|a.b|{"n": 1}', 'an event of before is there');

# What there is, by name, with all that pg_dump would tell apart; oids are left out.
my $describe = <<'END';
SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d
 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
   AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'eda');
SELECT c.relname, c.relkind, c.reloptions, c.relreplident, c.relrowsecurity, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
       a.attnotnull, a.attstorage, a.attidentity, pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum), obj_description(c.oid, 'pg_class')
  FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = 'eda'::regnamespace;
SELECT c.relname, c.relacl::text FROM pg_class c WHERE c.relnamespace = 'eda'::regnamespace;
SELECT c.relname, pg_get_viewdef(c.oid) FROM pg_class c WHERE c.relnamespace = 'eda'::regnamespace AND c.relkind = 'v';
SELECT pg_get_indexdef(indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 'eda'::regnamespace;
SELECT c.relname, k.conname, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE c.relnamespace = 'eda'::regnamespace;
SELECT c.relname, t.tgenabled, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
 WHERE c.relnamespace = 'eda'::regnamespace AND NOT t.tgisinternal;
SELECT c.relname, pg_get_expr(p.polqual, p.polrelid), p.polname FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = 'eda'::regnamespace;
SELECT pg_get_functiondef(p.oid), p.proacl::text, p.prosupport, obj_description(p.oid, 'pg_proc') FROM pg_proc p WHERE p.pronamespace = 'eda'::regnamespace;
SELECT t.typname, t.typtype, obj_description(t.oid, 'pg_type') FROM pg_type t WHERE t.typnamespace = 'eda'::regnamespace;
END

sub described
{
	my ($db) = @_;

	return [ map { join("\n", sort split /\x1e/, $node->safe_psql($db, $_, extra_params => [ '-R', "\x1e" ])) } split /;\n/, $describe ];
}

$node->safe_psql('fresh', 'CREATE EXTENSION eda');
is( $node->safe_psql('old', "SELECT extversion FROM pg_extension WHERE extname = 'eda'"),
	$node->safe_psql('fresh', "SELECT extversion FROM pg_extension WHERE extname = 'eda'"),
	'updated to the version that CREATE EXTENSION takes');
my ($updated, $created) = (described('old'), described('fresh'));
foreach my $i (0 .. $#$created)
{
	my ($what) = (split /;\n/, $describe)[$i] =~ /^SELECT (.{1,40})/;

	is($updated->[$i], $created->[$i], "as CREATE EXTENSION makes it: $what...");
}

# ---- and it works ----

$node->safe_psql(
	'old', q{
	CREATE TABLE handled (id bigint, n int);
	GRANT ALL ON handled TO app;
	CREATE FUNCTION note(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.handled VALUES (e.id, (e.payload->>'n')::int);
	END $$;
	SELECT eda.subscribe('notes', 'test.note', 'public.note', owner => 'app');
});
publish($node, 'old', 7);
wait_handled($node, 'old', 7, 'events are delivered after the update, without a restart');

# Somebody else runs the update than whose extension it is, and who need not be a superuser any more.
$node->safe_psql('postgres', 'CREATE ROLE installer LOGIN SUPERUSER; CREATE DATABASE installed');
$node->safe_psql('installed', q{CREATE EXTENSION eda VERSION '0.1.0'}, extra_params => [ '-U', 'installer' ]);
$node->safe_psql('installed', 'ALTER ROLE installer NOSUPERUSER; ALTER EXTENSION eda UPDATE');
is($node->safe_psql('installed', q{
	SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'eda'::regnamespace AND relowner <> 'installer'::regrole)
	     + (SELECT count(*) FROM pg_proc WHERE pronamespace = 'eda'::regnamespace AND proowner <> 'installer'::regrole)}), '0',
	'after an update by another role all is the owner\'s still');

$node->stop;
done_testing();
