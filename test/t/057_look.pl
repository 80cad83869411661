# What operators see, each by the rights of README's block; jobs; an extension that is dropped.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('look');
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pg_cron,eda'
cron.database_name = 'postgres'
cron.use_background_workers = on
log_statement = none
eda.poll_interval = 1s
});
$node->start;

sub query { return $node->safe_psql('postgres', $_[0]); }

# what a role's statements print, errors too
sub as
{
	my ($role, $sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', $role ]);

	return "$out$err";
}

query(q{
	CREATE EXTENSION eda;
	CREATE EXTENSION pg_cron;
	CREATE ROLE mon LOGIN IN ROLE pg_monitor;
});

# ---- README's rights ----

my $readme = slurp_file('README.md');
my $operating = slurp_file('docs/operating.md');
my ($grants) = $readme =~ /^(GRANT USAGE ON SCHEMA eda TO shop;\n.*?^GRANT EXECUTE ON FUNCTION cron\.[^\n]*\n)/ms;
ok($grants, 'README has a block of grants');
foreach my $role ('shop', 'other')
{
	query("CREATE ROLE $role LOGIN; CREATE SCHEMA $role AUTHORIZATION $role");
	query($grants =~ s/\bshop\b/$role/gr);
}

# everything that README and its pages name and that is there
my (%refused, %named);
my $pages = join '', $readme, $operating, map { slurp_file("docs/$_.md") } qw(delivery jobs publishing);
$named{$1} = 1 while $pages =~ /\beda\.(\w+)/g;
foreach my $line (split /\n/, query(
	q{SELECT p.proname || ' ' || p.prokind::text || ' ' || has_function_privilege('shop', p.oid, 'EXECUTE') FROM pg_proc p WHERE pronamespace = 'eda'::regnamespace
	  UNION ALL SELECT c.relname || ' v ' || has_table_privilege('shop', c.oid, 'SELECT') FROM pg_class c WHERE relnamespace = 'eda'::regnamespace AND relkind = 'v'}))
{
	my ($name, $kind, $allowed) = split / /, $line;

	# the whole database's
	next if $name =~ /^(rotate_log|adopt)$/;
	$refused{$name} = 1 if $named{$name} && $allowed ne 'true';
}
is(join(' ', sort keys %refused), '', "README's rights are enough for all that it names");

my $called = '';
foreach my $sql ('SELECT * FROM eda.subscriptions', 'SELECT * FROM eda.retries', 'SELECT * FROM eda.dead_letters', 'SELECT * FROM eda.events',
	'SELECT * FROM eda.delayed', 'SELECT * FROM eda.segments', 'SELECT * FROM eda.workers', 'SELECT * FROM eda.topics', 'SELECT * FROM eda.schemas',
	'SELECT * FROM eda.jobs', 'SELECT * FROM eda.job_runs', 'SELECT * FROM eda.job_refusals', 'SELECT * FROM eda.trace(4711)',
	'SELECT * FROM eda.event(4711)', 'BEGIN; SELECT eda.run_pending(); ROLLBACK', q{SELECT eda.make_event('a.b')})
{
	my $output = as('shop', $sql);

	$called .= "$sql: $output\n" if $output =~ /ERROR/;
}
is($called, '', 'and work');

# ---- a job that fails over its rows ----

my $topic = q{SELECT eda.define_topic('shop.order', '{"properties": {"card": {"maxLength": 3}}}')};
unlike(as('shop', $topic), qr/ERROR/, 'shop defines a topic');
as('shop', q{SELECT eda.schedule('cards', '0 0 1 1 *', $$SELECT '4111-SECRET' AS card$$, 'shop.order');
	SELECT eda.schedule('casts', '0 0 1 1 *', $$SELECT ('4111-SECRET' || n)::int AS card FROM generate_series(1, 2) n$$, 'shop.order');
	SELECT eda.schedule('skips', '0 0 1 1 *', $$SELECT '4111-SECRET' AS card$$, 'shop.order', on_invalid => 'skip')});
foreach my $job (qw(cards casts skips))
{
	as('shop', "CALL eda.run_job('$job')");
}
my $log = -s $node->logfile;
like(as('shop', q{SELECT eda.publish('shop.order', '{"card": "4112-SECRET"}')}), qr/DETAIL:.*4112-SECRET/, 'who publishes what breaks a schema is told so');
my $logged = substr(slurp_file($node->logfile), $log);
like($logged, qr/ERROR:.*breaks the topic's schema/, "it is in the server's log");
unlike($logged, qr/4112-SECRET/, 'without a value of the payload');
like(as('shop', 'SELECT message, error_detail FROM eda.job_runs'), qr/SECRET/, 'the owner of a job sees what it failed over');
like(as('shop', 'SELECT payload FROM eda.job_refusals'), qr/SECRET/, 'and the rows that were refused');
unlike(as('mon', 'SELECT * FROM eda.job_runs'), qr/SECRET/, 'no value of a payload in what monitoring sees of a job');
is( as('mon', q{SELECT job, outcome, error_code, error_condition, message FROM eda.job_runs ORDER BY job}),
	"cards|error|ED053|schema_violation|ED053 schema_violation\n"
	  . "casts|error|22P02|invalid_text_representation|22P02 invalid_text_representation\n"
	  . 'skips|published|||1 of 1 rows were refused',
	'but SQLSTATE and condition');
is(query(q{SELECT count(*), count(*) FILTER (WHERE payload::text LIKE '%SECRET%') FROM eda.events WHERE topic = 'eda.job.failed'}),
	'2|0', 'nor in eda.job.failed');

# ---- two teams ----

as('shop', q{CREATE FUNCTION shop.h(e eda.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no %', e.payload; END $$;
	SELECT eda.subscribe('shops', 'shop.x', 'shop.h', backoff => '1 hour');
	SELECT eda.publish('shop.x', '{"card": "4111-SECRET"}');
	SELECT eda.publish('shop.x', '{"card": "4111-SECRET"}', deliver_at => now() + '1 day')});
ok($node->poll_query_until('postgres', 'SELECT retrying = 1 FROM eda.subscriptions'), 'an event of shop waits');
my $seen = '';
foreach my $view (split /\n/, query(q{SELECT relname FROM pg_class WHERE relnamespace = 'eda'::regnamespace AND relkind = 'v'}))
{
	my $output = as('other', "SELECT * FROM eda.$view");

	$seen .= "$view: $output\n" if $output =~ /SECRET|shops|ERROR/;
	$seen .= "$view by $1: $output\n" if $view ne 'topics' && $output =~ /(\bshop\b)/;
}
is($seen, '', "a role with README's grants sees no other's");
is(as('other', 'SELECT (eda.event(i)).id FROM generate_series(1, 20) i WHERE (eda.event(i)).id IS NOT NULL'), '', 'nor any event by its id');
is(as('other', 'SELECT eda._backlog(1), t.* FROM generate_series(1, 20) i, eda.trace(i) t'), '', 'nor where one stands');
like(as('shop', 'SELECT (eda.event(i)).payload FROM generate_series(1, 3000) i WHERE (eda.event(i)).topic = $$shop.x$$'), qr/SECRET.*SECRET/s, 'who published them does');

# ---- what is remembered of events that were handled late ----

as('shop', q{CREATE FUNCTION shop.second(e eda.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN IF e.attempt < 2 THEN RAISE 'no'; END IF; END $$;
	SELECT eda.subscribe('late', 'shop.late', 'shop.second', backoff => '10 ms');
	SELECT eda.publish('shop.late')});
ok($node->poll_query_until('postgres', q{SELECT handled = 1 FROM eda.subscriptions WHERE subscription = 'late'}), 'an event is handled at its second attempt');
is(query('SELECT attempt FROM eda.recovery'), '2', 'which is remembered');
query(q{ALTER SYSTEM SET eda.retention = '1s'});
query('SELECT pg_reload_conf()');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM eda.recovery'), 'for eda.retention');

# ---- the extension is dropped ----

my ($rc, $out, $err) = $node->psql('postgres', 'DROP EXTENSION eda');
like($err, qr/function shop\.h\(eda\.event\) depends on type eda\.event.*HINT:.*CASCADE.*source.*pg_get_functiondef/s,
	'DROP EXTENSION names the handlers that depend on it, and how to keep them');
my ($recipe) = $operating =~ /^(SELECT pg_get_functiondef.*?;\n)/ms;
ok($recipe, 'docs/operating.md has a statement that keeps them');
my $kept = query($recipe);
query('DROP EXTENSION eda CASCADE');
is(query(q{SELECT count(*) FROM pg_proc WHERE proname = 'h'}), '0', 'CASCADE drops them');
query("CREATE EXTENSION eda; $kept");
is(query(q{SELECT count(*) FROM pg_proc WHERE proname = 'h' AND proowner = 'shop'::regrole}), '1', 'and they are there again, and their owner\'s');

$node->stop;
done_testing();
