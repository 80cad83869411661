# Regular expressions as ECMA-262 has them: patterns and strings of
# data/ecma_patterns.txt, whose answers are those of Node.js 20 (V8, flag u),
# in which each kind of difference between PCRE2 and ECMA-262 occurs.  A line is a
# JSON array: a pattern, the strings that match, those that do not; or a pattern
# and "bad": refused; or "lenient": no pattern with the flag u, but one without it,
# and taken.  And patterns that are too long for such a table.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

(my $data = __FILE__) =~ s{[^/]*$}{data/ecma_patterns.txt};
my $node = new_node('patterns');
$node->start;
$node->safe_psql(
	'postgres', qq{
	CREATE EXTENSION eda;
	CREATE TABLE lines (line jsonb);
	\\copy lines FROM '$data' WITH (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02')
	CREATE FUNCTION outcome(pattern text, s text) RETURNS text LANGUAGE plpgsql AS \$\$
	BEGIN
		RETURN eda.is_valid(jsonb_build_object('pattern', pattern), to_jsonb(s));
	EXCEPTION WHEN SQLSTATE 'ED050' OR SQLSTATE 'ED052' THEN
		RETURN SQLSTATE;
	END \$\$;
	CREATE TABLE wanted AS
		SELECT line->>0 AS pattern, s, i = 1 AS matches
		FROM lines, generate_series(1, 2) i, jsonb_array_elements_text(line->i) s WHERE jsonb_typeof(line->1) = 'array';
});

my $n = $node->safe_psql('postgres', 'SELECT count(*) FROM wanted');
cmp_ok($n, '>', 10000, "$n strings are compared");
is($node->safe_psql('postgres', q{SELECT pattern, to_json(s), matches, outcome(pattern, s) FROM wanted WHERE outcome(pattern, s) <> matches::text LIMIT 10}),
	'', 'each answer is that of ECMA-262');
is($node->safe_psql('postgres', q{SELECT pattern FROM (SELECT DISTINCT pattern FROM wanted WHERE matches) w
	WHERE EXISTS (SELECT FROM eda.validate(jsonb_build_object('format', 'regex'), to_jsonb(pattern), true)) LIMIT 10}), '', 'each pattern has the format regex');
is($node->safe_psql('postgres', q{SELECT line FROM lines WHERE line->>1 = 'bad' AND outcome(line->>0, 'a') <> 'ED050'}), '', 'what is no pattern is refused');
is($node->safe_psql('postgres', q{SELECT line FROM lines WHERE line->>1 = 'lenient' AND outcome(line->>0, 'a') NOT IN ('true', 'false')}), '',
	'the lenient patterns of the documentation are taken');

# Long patterns, and those that grow when they are compiled.
my %long = (
	'33,000 bytes of alternatives' => q{'^(' || (SELECT string_agg('name' || i, '|') FROM generate_series(1, 4000) i) || ')$'},
	'300,000 bytes of alternatives' => q{'^(' || (SELECT string_agg('name' || i, '|') FROM generate_series(1, 30000) i) || ')$'},
	'a long string' => q{'^' || repeat('x', 100000) || '$|^name7$'},
	'many sets' => q{'^name7$|' || repeat('[a-z\d]\p{L}', 20000)},
	'many groups' => q{'^name7$|' || repeat('(a)', 20000) || '\k<n>|(?<n>b)'},
	'repetitions of repetitions' => q{'^(?:(?:[a-z]{1,1000}){1,1000}){1,1000}7$'});

foreach my $what (sort keys %long)
{
	is($node->safe_psql('postgres', "SELECT outcome(p, 'name7'), outcome(p, 'name') FROM (SELECT $long{$what}) x(p)"), 'true|false', $what);
}
is($node->safe_psql('postgres', q{SELECT outcome(repeat('a', 1048576), 'b'), outcome(repeat('a', 1048577), 'b')}), 'false|ED050', 'the limit is where the documentation says');
my ($rc, $out, $err) = $node->psql('postgres', q{SELECT eda.is_valid(jsonb_build_object('pattern', repeat('a', 1048577)), '"b"')});
like($err, qr/has 1048577 bytes; a pattern may have 1048576/, 'and the error says it');

# What takes too many steps ends, and so does what is cancelled.
is($node->safe_psql('postgres', q{SELECT p FROM unnest(ARRAY['^(a*)*\1b$', '^((a|aa)*)*\1b$', '(?<=(a+)*)b$', '^(?:(a)?){1000000000}\1$']) p
	WHERE outcome(p, repeat('a', 3000)) NOT IN ('ED052', 'false')}), '', 'a pattern without an end ends');
is($node->safe_psql('postgres', q{SELECT outcome('^(a|b)*\1$', repeat('ab', 1000) || 'b'), outcome('^(a+)x\1$', repeat('a', 20000) || 'x' || repeat('a', 20000))}),
	'true|true', 'long strings are matched');
($rc, $out, $err) = $node->psql('postgres', q{SET statement_timeout = '50ms';
	SELECT count(*) FROM generate_series(1, 100000) i WHERE eda.is_valid('{"pattern": "(a+)+\\\\1b"}', to_jsonb(repeat('a', 200) || i))});
like($err, qr/canceling statement/, 'a long one can be cancelled');
$node->stop;
done_testing();
