# What a call of eda.is_valid costs does not grow with the schema's bytes: CPU
# time of one with a schema of 1.7 MB, of which one keyword matters, beside
# one without the rest, given as a constant, as a parameter and as a column.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

use constant CALLS => 20_000;

plan skip_all => 'there is no /proc' unless -r '/proc/self/stat';

my $node = new_node('calls');
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION eda;
	CREATE FUNCTION cpu_us() RETURNS numeric LANGUAGE sql VOLATILE AS $$
		SELECT (a[14]::numeric + a[15]::numeric) * 10000 FROM (SELECT string_to_array(pg_read_file('/proc/self/stat'), ' ') a) x $$;
	CREATE TABLE schemas AS SELECT n, jsonb_build_object('required', '["id"]'::jsonb, '$defs',
		(SELECT coalesce(jsonb_object_agg('p' || i, '{"type": "integer", "minimum": 1}'::jsonb), '{}') FROM generate_series(1, n) i)) AS s FROM (VALUES (0), (40000)) v (n);
});

my %calls = (
	'a constant' => q{SELECT format('SELECT count(*) FROM generate_series(1, %s) i WHERE eda.is_valid(%%L, jsonb_build_object(''id'', i))', s) FROM schemas WHERE n = :n \gexec},
	'a parameter' => q{SELECT format('EXECUTE call(%%L)', s) FROM schemas WHERE n = :n \gexec},
	'a column' => q{SELECT count(*) FROM schemas, generate_series(1, %s) i WHERE n = :n AND eda.is_valid(s, jsonb_build_object('id', i));});

foreach my $what (sort keys %calls)
{
	my %us;

	foreach my $n (0, 40000)
	{
		my $call = sprintf($calls{$what}, CALLS);
		my $prepare = sprintf(q{PREPARE call (jsonb) AS SELECT count(*) FROM generate_series(1, %s) i WHERE eda.is_valid($1, jsonb_build_object('id', i));}, CALLS);

		# the first time the schema is compiled
		my $out = $node->safe_psql('postgres', "\\set n $n\nSET plan_cache_mode = force_generic_plan;\n$prepare\n$call\nSELECT cpu_us() AS before \\gset\n$call\nSELECT round((cpu_us() - :before) / " . CALLS . ', 2);');

		($us{$n}) = $out =~ /^(\S+)\z/m;
		like($out, qr/^20000\n20000\n/, "$what of $n definitions: every one is valid");
	}
	cmp_ok($us{40000}, '<', $us{0} + 20, "$what: $us{40000} us a call, $us{0} with the small schema");
}
$node->stop;
done_testing();
