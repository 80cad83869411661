# The official JSON Schema test suite, through eda.validate, with its remote
# documents registered by eda.define_schema.
#
#	EDA_JSON_SCHEMA_SUITE=folder	where tests/ and remotes/ are; by default
#									../shared/json-schema-test-suite beside the tree
#
# Skipped where it is not there.  A folder optional/ in it is run too, without
# what is listed below; formats are asserted there.

use strict;
use warnings;

use File::Find;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $suite = $ENV{EDA_JSON_SCHEMA_SUITE} || '';

plan skip_all => 'the JSON Schema test suite is not there' unless $suite ne '' && -d "$suite/tests";

my %uri = (
	'draft4' => 'http://json-schema.org/draft-04/schema#',
	'draft6' => 'http://json-schema.org/draft-06/schema#',
	'draft7' => 'http://json-schema.org/draft-07/schema#',
	'draft2019-09' => 'https://json-schema.org/draft/2019-09/schema',
	'draft2020-12' => 'https://json-schema.org/draft/2020-12/schema');

# Cases that jsonb cannot hold: NUL in a string.
my @impossible = map {
	("$_: nul characters in strings: match string with nul", "$_: nul characters in strings: do not match string lacking nul")
} (map { ("$_/enum.json", "$_/const.json") } keys %uri);

my $node = new_node('suite');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION eda');

# Statements for one psql; a file's content goes in by psql's own reading of it.
my @script = (
	q{\set ON_ERROR_STOP on},
	q{CREATE TABLE suite (draft text, file text, content json);},
	q{CREATE FUNCTION outcome(schema json, data json, metaschema text, formats boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	s jsonb;
	slow boolean;
	fast boolean;
BEGIN
	-- what the type json cannot take apart either
	schema := replace(schema::text, '@NUL@', '\u0000');
	data := replace(data::text, '@NUL@', '\u0000');
	s := schema::jsonb;
	-- the suite's schemas of drafts 4 to 7 do not say what they are
	IF jsonb_typeof(s) = 'object' AND NOT s ? '$schema' AND metaschema LIKE '%draft-0%' THEN
		s := s || jsonb_build_object('$schema', metaschema);
	END IF;
	slow := NOT EXISTS (SELECT FROM eda.validate(s, data::jsonb, formats));
	BEGIN
		fast := eda.is_valid(s, data::jsonb, formats);
	EXCEPTION WHEN SQLSTATE 'ED051' THEN
		fast := slow;	-- it needs what is registered
	END;
	RETURN CASE WHEN fast = slow THEN slow::text ELSE 'is_valid: ' || fast || ', validate: ' || slow END;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;});

my $remotes = 0;
find(
	{
		no_chdir => 1,
		wanted => sub {
			return unless /\.json$/;
			(my $name = $_) =~ s{^\Q$suite\E/remotes/}{};
			return if $name =~ m{^((?:draft|v\d)[^/]*)/} && !$uri{$1};
			push @script, "\\set content `cat '$_'`",
			  "SELECT eda.define_schema('http://localhost:1234/$name', :'content');";
			$remotes++;
		}
	},
	"$suite/remotes");
find(
	{
		no_chdir => 1,
		wanted => sub {
			return unless m{/tests/([^/]+)/(.*\.json)$} && $uri{$1};
			push @script, "\\set content `sed 's/\\\\u0000/\@NUL\@/g' '$_'`",
			  "INSERT INTO suite VALUES ('$1', '$2', :'content');";
		}
	},
	"$suite/tests");

push @script,
  (
	q{CREATE TABLE result AS
SELECT s.draft || '/' || s.file || ': ' || (g->>'description') || ': ' || (t->>'description') AS name,
	s.draft, s.file LIKE 'optional/%' AS optional, t->>'valid' AS expected,
	outcome(g->'schema', t->'data',
		CASE s.draft WHEN 'draft4' THEN 'http://json-schema.org/draft-04/schema#'
			WHEN 'draft6' THEN 'http://json-schema.org/draft-06/schema#'
			WHEN 'draft7' THEN 'http://json-schema.org/draft-07/schema#' ELSE '' END,
		CASE WHEN s.file LIKE 'optional/format/%' THEN true END) AS outcome
FROM suite s, json_array_elements(s.content) g, json_array_elements(g->'tests') t;}
  );

my ($rc, $stdout, $stderr) = $node->psql('postgres', join("\n", @script));
is($rc, 0, "the suite was read, and its $remotes remote documents registered") or diag($stderr);

my $possible = join(', ', map { my $n = $_; $n =~ s/'/''/g; "'$n'" } @impossible);
foreach my $draft (sort keys %uri)
{
	my $wrong = $node->safe_psql('postgres',
		"SELECT name || ': expected ' || expected || ', got ' || outcome FROM result"
		  . " WHERE draft = '$draft' AND NOT optional AND expected <> outcome AND name NOT IN ($possible) ORDER BY 1");
	my $count = $node->safe_psql('postgres', "SELECT count(*) FROM result WHERE draft = '$draft' AND NOT optional");

	is($wrong, '', "$draft: $count cases");
}
is( $node->safe_psql('postgres', "SELECT count(*) FROM result WHERE NOT optional AND expected <> outcome AND outcome NOT LIKE '22P05%'"),
	'0', 'what cannot be held is refused as such');
is( $node->safe_psql('postgres', "SELECT string_agg(DISTINCT name, ' ') FROM result WHERE name IN ($possible) AND expected = outcome"),
	'', 'nothing is listed that works');
if ($node->safe_psql('postgres', 'SELECT count(*) FROM result WHERE optional'))
{
	my $wrong = $node->safe_psql('postgres',
		"SELECT name || ': expected ' || expected || ', got ' || outcome FROM result"
		  . " WHERE optional AND expected <> outcome ORDER BY 1");
	my @wrong = split /\n/, $wrong;

	note("optional cases that differ: " . scalar(@wrong));
	note($_) foreach @wrong;
}
$node->stop;
done_testing();
