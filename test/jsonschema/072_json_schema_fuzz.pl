# Fuzzing the schema compiler and the validator, inside a server: random
# schemas, valid and not, and schemas of the test suite with parts of them
# changed, against random instances.  Whatever comes, the server goes on,
# nothing but eda's own conditions is raised, and the answer that stops at the
# first violation is that of the one that lists all.
#
#	EDA_FUZZ_SEED=1			what the random numbers begin with
#	EDA_FUZZ_SECONDS=20		for how long
#	EDA_JSON_SCHEMA_SUITE	the test suite's folder, if it is there

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'time';

use EdaTest;

use constant BATCH => 150;

my $seed = $ENV{EDA_FUZZ_SEED} || 1;
my $seconds = $ENV{EDA_FUZZ_SECONDS} || 20;
my $json = JSON::PP->new->canonical->allow_nonref->ascii->allow_bignum;
my $suite = $ENV{EDA_JSON_SCHEMA_SUITE} || '';

srand($seed);

sub pick { return $_[ int(rand(scalar(@_))) ]; }
sub chance { return rand() < $_[0]; }

my @names = ('a', 'b', 'c', 'ab', "\x{e9}", '', 'a/b', '~', '$ref', 'x' x 40);
my @strings = ('', 'a', 'ab', "\x{1f600}", "\x{e9}\n", '2026-11-23', '2026-11-23T07:36:00Z', 'P1DT2H', '127.0.0.1', '::1', 'a@b.c', 'http://a/b?c#d', 'xn--bcher-kva', '/a/~0', '1#', '{x}', '[a-z', 'x' x 300);
my @types = qw(null boolean number integer string array object);
my @metaschemas = ('http://json-schema.org/draft-04/schema#', 'http://json-schema.org/draft-06/schema#', 'http://json-schema.org/draft-07/schema#',
	'https://json-schema.org/draft/2019-09/schema', 'https://json-schema.org/draft/2020-12/schema');
my @formats = qw(date-time date time duration email idn-email hostname idn-hostname ipv4 ipv6 uri uri-reference iri iri-reference uuid uri-template
  json-pointer relative-json-pointer regex unknown);
my @references = ('#', '#/$defs/p', '#/definitions/p', '#/$defs/q', '#/properties/a', '#p', 'p', 'http://a/b', '#/items', '#/allOf/0', '#/%24defs/p', 'urn:x', '../x?y#z', '#/$defs/p/items',
	'http://json-schema.org/draft-07/schema#', 'https://json-schema.org/draft/2020-12/schema');
my @pieces = ('a', 'b', '.', '^', '$', '*', '+', '?', '{2}', '{1,3}', '{,2}', '(', ')', '(?:', '(?=', '(?!', '(?<=', '(?<n>', '(?<', '|', '[', ']', '[^', '-', '\\d', '\\D', '\\w', '\\s', '\\S', '\\b', '\\p{L}',
	'\\P{Script=Greek}', '\\u0041', '\\u{1F600}', '\\uD83D', '\\x41', '\\cA', '\\1', '\\k<n>', '\\', '\\Q', "\x{e9}", "\x{1f600}", '0', '\\0', '{', '}', '\\-');

sub text { return chance(0.7) ? pick(@strings) : join('', map { chr(pick(9, 32 .. 126, 0xe9, 0x3a9, 0x2028, 0x30fb, 0x1f600)) } 1 .. int(rand(12))); }
sub number { return $json->decode(pick('0', '1', '-1', '2', '1.0', '1.5', '-0.1', '1e3', '1E-3', '12345678901234567890.12', '1e308', '-1e-300', '3')); }
sub pattern { return join('', map { pick(@pieces) } 0 .. int(rand(6))); }

sub instance
{
	my ($depth) = @_;
	my $what = rand();

	return pick(sub { undef }, sub { JSON::PP::true }, sub { JSON::PP::false }, \&number, \&number, \&text, \&text)->() if $depth <= 0 || $what < 0.4;
	return [ map { instance($depth - 1) } 1 .. int(rand(5)) ] if $what < 0.7;
	return { map { pick(@names) => instance($depth - 1) } 1 .. int(rand(5)) };
}

sub schemas { my ($depth) = @_; return [ map { schema($depth) } 1 .. 1 + int(rand(3)) ]; }
sub map_of { my ($depth, $keys) = @_; return { map { $keys->() => schema($depth) } 1 .. 1 + int(rand(3)) }; }
sub names { return [ map { pick(@names) } 1 .. 1 + int(rand(3)) ]; }
sub name { return pick(@names); }

my %keyword = (
	type => sub { return chance(0.5) ? pick(@types) : [ pick(@types), pick(@types) ]; },
	enum => sub { return [ map { instance(2) } 1 .. 3 ]; },
	const => sub { return instance(2); },
	(map { $_ => \&number } qw(minimum maximum exclusiveMinimum exclusiveMaximum multipleOf)),
	(map { $_ => sub { return int(rand(4)); } } qw(minLength maxLength minItems maxItems minProperties maxProperties minContains maxContains)),
	pattern => \&pattern,
	format => sub { return pick(@formats); },
	uniqueItems => sub { return JSON::PP::true; },
	required => \&names,
	(map { my $k = $_; $k => sub { return schema($_[0]); } } qw(not if then else additionalProperties additionalItems contains propertyNames unevaluatedItems unevaluatedProperties contentSchema)),
	items => sub { return chance(0.5) ? schema($_[0]) : schemas($_[0]); },
	(map { my $k = $_; $k => sub { return schemas($_[0]); } } qw(allOf anyOf oneOf prefixItems)),
	(map { my $k = $_; $k => sub { return map_of($_[0], \&name); } } qw(properties dependentSchemas)),
	patternProperties => sub { return map_of($_[0], \&pattern); },
	dependencies => sub { return { name() => chance(0.5) ? names() : schema($_[0]) }; },
	dependentRequired => sub { return { name() => names() }; },
	'$ref' => sub { return pick(@references); },
	'$dynamicRef' => sub { return pick(@references); },
	'$recursiveRef' => sub { return '#'; },
	'$recursiveAnchor' => sub { return JSON::PP::true; },
	'$anchor' => sub { return pick('p', 'q'); },
	'$dynamicAnchor' => sub { return pick('p', 'q'); },
	'$id' => sub { return pick('http://a/b', 'p', '#p', 'urn:x', '', 'c/d', text()); },
	id => sub { return pick('http://a/b', 'p', '#p'); },
	'$defs' => sub { return { p => schema($_[0]), q => schema($_[0]) }; },
	definitions => sub { return { p => schema($_[0]) }; },
	unknown => sub { return schema($_[0]); });
my @keywords = sort keys %keyword;

sub schema
{
	my ($depth) = @_;
	my %schema;

	return pick(JSON::PP::true, JSON::PP::true, JSON::PP::false, {}) if $depth <= 0;
	for (0 .. int(rand(4)))
	{
		my $name = pick(@keywords);

		# now and then what is not valid there
		$schema{$name} = chance(0.02) ? instance(2) : $keyword{$name}->($depth - 1 - int(rand(2)));
	}
	return \%schema;
}

# A copy with some part of it replaced, dropped, or put elsewhere.
sub mutate
{
	my ($value, $rate) = @_;

	return pick(sub { instance(2) }, sub { schema(2) }, \&text, \&pattern, sub { pick(@references) })->() if chance($rate);
	return [ map { mutate($_, $rate) } grep { !chance($rate) } @$value ] if ref($value) eq 'ARRAY';
	return { map { (chance($rate) ? pick(@keywords) : $_) => mutate($value->{$_}, $rate) } grep { !chance($rate) } sort keys %$value } if ref($value) eq 'HASH';
	return $value;
}

# The suite's schemas and instances, as material.
my (@suite_schemas, @suite_instances);
foreach my $file (sort glob("$suite/tests/*/*.json"))
{
	my $groups = eval { $json->decode(slurp_file($file)) } or next;

	foreach my $group (@$groups)
	{
		next if $json->encode($group) =~ /\\u0000/;
		push @suite_schemas, $group->{schema};
		push @suite_instances, map { $_->{data} } @{ $group->{tests} };
	}
}

my $node = new_node('fuzz');
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION eda;
	CREATE TABLE fuzz (n int GENERATED ALWAYS AS IDENTITY, s jsonb, i jsonb, formats boolean);
	CREATE TABLE tally (what text PRIMARY KEY, n int);
	CREATE FUNCTION outcome(s jsonb, i jsonb, formats boolean) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		fast boolean;
		slow boolean;
		paths bigint;
	BEGIN
		fast := eda.is_valid(s, i, formats);
		SELECT count(*) = 0, count(*) FILTER (WHERE (i #> string_to_array(substr(instance_path, 2), '/')) IS NULL AND instance_path !~ '~')
			INTO slow, paths FROM eda.validate(s, i, formats);
		RETURN CASE WHEN fast <> slow THEN format('BAD: is_valid says %s, validate %s', fast, slow)
			WHEN paths > 0 AND schema_paths(s) THEN 'BAD: a path that leads nowhere' ELSE fast::text END;
	EXCEPTION
		WHEN SQLSTATE 'ED050' OR SQLSTATE 'ED051' OR SQLSTATE 'ED052' THEN RETURN SQLSTATE;
		WHEN OTHERS THEN RETURN 'BAD: ' || SQLSTATE || ' ' || SQLERRM;
	END $$;
	-- the names of properties that propertyNames is about are no places of the instance
	CREATE FUNCTION schema_paths(s jsonb) RETURNS boolean LANGUAGE sql AS $$SELECT s::text !~ 'propertyNames'$$;
});

my $cases = 0;
my $end = time() + $seconds;
while (time() < $end)
{
	my $sql = "TRUNCATE fuzz;\n";

	for (1 .. BATCH)
	{
		my $schema = @suite_schemas && chance(0.5) ? mutate(pick(@suite_schemas), pick(0, 0.02, 0.1)) : schema(4);
		my @instances = map { @suite_instances && chance(0.4) ? mutate(pick(@suite_instances), 0.05) : instance(4) } 1 .. 5;

		$schema->{'$schema'} = pick(@metaschemas) if ref($schema) eq 'HASH' && !$schema->{'$schema'} && chance(0.8);
		foreach my $instance (@instances, $schema)
		{
			my $formats = pick('NULL', 'true', 'false');
			my $values = join(', ', map { my $t = $json->encode($_); $t =~ s/\\u0000//g; "\$fuzz\$$t\$fuzz\$" } ($schema, $instance));

			$sql .= "INSERT INTO fuzz (s, i, formats) VALUES ($values, $formats);\n";
			$cases++;
		}
	}
	$sql .= q{WITH o AS MATERIALIZED (SELECT s, i, formats, outcome(s, i, formats) AS what FROM fuzz),
	t AS (INSERT INTO tally SELECT what, count(*) FROM o GROUP BY what ON CONFLICT (what) DO UPDATE SET n = tally.n + excluded.n)
	SELECT what, s, i, formats FROM o WHERE what LIKE 'BAD%' LIMIT 3;};
	my ($rc, $out, $err) = $node->psql('postgres', $sql, on_error_stop => 1);
	if ($rc != 0 || $out ne '')
	{
		ok(0, "seed $seed, case $cases at most");
		diag("$out\n$err");
		last;
	}
}
is($node->safe_psql('postgres', 'SELECT 1'), '1', "the server is still there after $cases cases");
is($node->safe_psql('postgres', q{SELECT count(*) FROM tally WHERE what LIKE 'BAD%'}), '0', 'nothing that must not be');
my $tally = $node->safe_psql('postgres', q{SELECT string_agg(what || ': ' || n, ', ' ORDER BY what) FROM tally});
like($tally, qr/ED050: \d+.*ED051: \d+.*false: \d+.*true: \d+/, "each of the outcomes occurs ($tally)");
$node->stop;
done_testing();
