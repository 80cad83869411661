# The JSON Schema validator can be lifted out: a module that has its objects
# and nothing else of eda (module/) is built, loaded into a server without eda,
# and validates.  Its errors have the module's SQLSTATEs, and its limit is the
# module's.

use strict;
use warnings;

use Cwd 'abs_path';
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $module = abs_path(dirname(__FILE__)) . '/module';

my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
my ($built, $complaints) = build();
ok($built, 'the validator links without eda') or diag($complaints);

my $node = new_node('module');

# With eda loaded as well, its symbols would be there to be found.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->start;
foreach my $function (qw(is_valid violations defaults))
{
	my $type = $function eq 'violations' ? 'text' : 'boolean';

	$node->safe_psql('postgres', "CREATE FUNCTION $function(schema jsonb, instance jsonb) RETURNS $type LANGUAGE c STRICT
		AS '$module/jsonschema_module', 'jsonschema_module_$function'");
}

my $order = q{'{"type": "object", "required": ["id"],
	"properties": {"id": {"type": "integer"}, "mail": {"pattern": "^[^@]+@[^@]+$"}}}'};
is(answer("is_valid($order, '{\"id\": 1, \"mail\": \"a\@b\"}')"), 't', 'it accepts what conforms');
is(answer("is_valid($order, '{\"id\": 1, \"mail\": \"a\"}')"), 'f', 'and nothing else');
is( answer("violations($order, '{\"id\": \"x\", \"mail\": \"a\"}')"),
	qq{/id: is of type string, must be integer\n/mail: "a" does not match the pattern "^[^@]+@[^@]+\$"},
	'it lists the violations');
is(answer(q{is_valid('{"$ref": "urn:module:even"}', '4') AND NOT is_valid('{"$ref": "urn:module:even"}', '5')}), 't',
	"references are resolved by the module's loader");

my %codes = (
	'a schema that is none' => [ q{'{"type": "strange"}', '1'}, 'JS001', '22023' ],
	'a pattern that is none' => [ q{'{"pattern": "("}', '1'}, 'JS001', '22023' ],
	'a reference that leads to nothing' => [ q{'{"$ref": "urn:nothing"}', '1'}, 'JS002', '42704' ],
	'a recursion without an end' => [ q{'{"$ref": "#"}', '1'}, 'JS003', '54000' ],
	'a pattern that takes too many steps' => [ q{'{"pattern": "^(a|aa)*\\\\1b$"}', to_jsonb(repeat('a', 5000))}, 'JS003', '54000' ]);
foreach my $what (sort keys %codes)
{
	my ($arguments, $ours, $default) = @{ $codes{$what} };

	is(sqlstate("is_valid($arguments)"), $ours, "$what has the module's SQLSTATE");
	is(sqlstate("defaults($arguments)"), $default, "$what has the server's, where the caller has none");
}

# So many items, to each of which 50 schemas are applied; the module's limit is 20,000 applications.
sub items
{
	my ($n) = @_;

	return qq{
		jsonb_build_object('items', jsonb_build_object('allOf',
			(SELECT jsonb_agg('{"minimum": 0}'::jsonb) FROM generate_series(1, 50)))),
		(SELECT jsonb_agg(1) FROM generate_series(1, $n))};
}
is(answer('is_valid(' . items(200) . ')'), 't', 'what stays below the limit of steps is validated');
is(sqlstate('is_valid(' . items(2000) . ')'), 'JS003', 'what goes beyond it is given up');
is(answer('defaults(' . items(2000) . ')'), 't', "and is validated where the limit is the validator's own");

$node->stop;
done_testing();

# Build the module where it is; make check has built the objects of src/jsonschema already.
sub build
{
	my ($out, $err);
	my @make = ('make', '-s', '-C', $module, "PG_CONFIG=$pg_config", 'with_llvm=no', 'COPT=-Werror');
	my $good = IPC::Run::run(\@make, '>', \$out, '2>', \$err);

	return ($good, $out . $err);
}

sub answer { return $node->safe_psql('postgres', "SELECT $_[0]"); }

sub sqlstate
{
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\nSELECT $_[0]");

	return $err =~ /ERROR:\s+(\w{5})/ ? $1 : "no error: $out$err";
}
