# What one definition may cost others is bounded, and publishers keep little of other people's topics.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('patterns');
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;
setup_roles($node);
setup_db($node, 'postgres');

sub query { return $node->safe_psql('postgres', $_[0]); }

# ---- the bounds, each of which an error names ----

query(q{CREATE FUNCTION idle(jsonb) RETURNS void LANGUAGE sql AS 'SELECT 1'});
my $z = q{(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 140000) g)};
foreach my $case (
	[ q{eda.subscribe('s', (SELECT string_agg('*.z' || g, ', ') FROM generate_series(1, 1001) g), 'idle', owner => 'app')}, 'topics have 1001 patterns, the limit is 1000 patterns' ],
	[ q{eda.subscribe('s', repeat(',', 2000000), 'idle', owner => 'app')}, 'topics have 2000000 bytes, the limit is 65536 bytes' ],
	[ q{eda.subscribe('s', 'a', 'idle', owner => 'app', filter => ('$ ? (@.a == "' || repeat('x', 70000) || '")')::jsonpath)}, 'filter has 700\d\d bytes, the limit is 65536 bytes' ],
	[ q{eda.subscribe('s', 'a', 'idle', owner => 'app', reject_on => array_fill('22'::text, '{1001}'))}, 'reject_on has 1001 elements, the limit is 1000 elements' ],
	[ qq{eda.subscribe('s', 'a', 'idle', owner => 'app', schema => jsonb_build_object('const', $z))}, 'schema has 4480021 bytes, the limit is 4194304 bytes' ],
	[ qq{eda.define_topic('a', jsonb_build_object('const', $z))}, 'schema has 4480021 bytes, the limit is 4194304 bytes' ],
	[ qq{eda.define_schema('https://example.com/a', jsonb_build_object('const', $z))}, 'schema has 4480021 bytes, the limit is 4194304 bytes' ],
	[ q{eda.alter_subscription('notes', jsonb_build_object('topics', repeat('a,', 1000) || 'b'))}, 'topics have 1001 patterns, the limit is 1000 patterns' ])
{
	my ($code, $stdout, $stderr) = $node->psql('postgres', "SELECT $case->[0]", extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	like($stderr, qr/ERROR:\s+ED061: $case->[1]/, $case->[1]);
}
is(query(q{SELECT count(*) FROM eda.subscription WHERE name = 's'}), '0', 'nothing of it is there');

# ---- many subscriptions at the bound: publishing of others, in time and memory ----

my $n = 100;
query(qq{SET client_min_messages = error; SELECT count(eda.subscribe('s' || s, (SELECT string_agg('*.z' || g || '.a', ',') FROM generate_series(1, 999) g) || ', only.s' || s, 'idle', owner => 'app'))
	FROM generate_series(1, $n) s});
my $memory = q{SELECT sum(total_bytes) FROM pg_backend_memory_contexts WHERE name LIKE 'eda%' OR parent LIKE 'eda%'};
my $session = $node->background_psql('postgres');
my $used = 0;
foreach my $topic ('oth.x', 'oth.y', 'test.note')
{
	$session->query_safe("SELECT eda.publish('$topic', '{\"n\": 1}')");
	$used = $session->query_safe($memory);
}
note("memory of a session that publishes beside $n subscriptions of 1,000 topics: $used bytes");
cmp_ok($used, '<', 6 * 1024 * 1024, 'a publisher keeps little of what others subscribed to');
wait_handled($node, 'postgres', 1, 'and wakes who has something to do');
foreach my $i (1 .. 30)
{
	query("SELECT eda." . ($i % 2 ? 'pause' : 'resume') . "('s7')");
	$session->query_safe("SELECT eda.publish('oth.x')");
}
cmp_ok($session->query_safe($memory), '<', $used + 512 * 1024, 'it does not grow with changes of them');

# no poll comes to their help: what a publisher does not match is not handled
query(q{
	CREATE FUNCTION seen(e eda.event) RETURNS void LANGUAGE sql AS 'INSERT INTO public.handled VALUES (e.id, (e.payload->>$$n$$)::int)';
	GRANT EXECUTE ON FUNCTION seen(eda.event) TO app;
	SELECT eda.alter_subscription('s' || s, '{"handler": "public.seen"}') FROM generate_series(1, 3) s;
});
my $expected = 100;
foreach my $topic ('only.s1', 'any.z999.a', 'only.s3')
{
	$expected++;
	$session->query_safe("SELECT eda.publish('$topic', '{\"n\": $expected}')");
	ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM handled WHERE n = $expected"), "one of a thousand topics is matched: $topic");
}
query(q{SELECT eda.alter_subscription('s1', '{"topics": "changed.now"}'), eda.unsubscribe('s2')});
$session->query_safe(q{SELECT eda.publish('changed.now', '{"n": 200}')});
wait_handled($node, 'postgres', 200, 'a changed one, too, in a session that knew it before');
query(q{SELECT eda.subscribe('new', (SELECT string_agg('q.z' || g, ' , ') FROM generate_series(1, 100) g) || ',#.last', 'public.seen', owner => 'app')});
$session->query_safe(q{SELECT eda.publish('q.z77', '{"n": 201}'), eda.publish('one.more.last', '{"n": 202}')});
wait_handled($node, 'postgres', 201, 'and a new one');
wait_handled($node, 'postgres', 202, 'by its last pattern');
$session->quit;

$node->stop;
done_testing();
