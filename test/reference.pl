# Makes docs/reference.md from the catalog, and compares it with what is committed.
#
#	EDA_REFERENCE_WRITE=FILE	write it there, instead of comparing (make reference)
#
# The server is the one of PGHOST and its kin, where extension eda can be created; test/run.sh starts it.
#
#  1. What a function, a view, a column or a setting is for comes from its COMMENT, or from pg_settings; types,
#     arguments and defaults from the catalog.  So the page cannot say anything else than the server.
#  2. COMMENTs hold neither errors nor examples.  Errors come from docs/errors.md, whose third column says which
#     functions raise them.  An example of each function stands in docs/reference.d/NAME.md, in a block ```sql, with
#     whatever else is to be said of its arguments.
#  3. The examples are run, one after the other as the page has them, in a database of their own, after
#     docs/reference.d/setup.sql.

use strict;
use utf8;
use warnings;

use Cwd 'abs_path';
use File::Basename;
use IPC::Open3;
use Test::More;

my $root = dirname(dirname(abs_path($0)));
my $db = 'eda_reference';

# The functions, in the order in which one meets them.  One that is missing here is a failure.
my @chapters = (
	[ 'Publishing', qw(publish publish_batch publish_query cancel) ],
	[ 'Subscribing', qw(subscribe alter_subscription subscription_def unsubscribe topic_matches) ],
	[ 'In a handler', qw(current_event reject retry_after snooze) ],
	[ 'Operating', qw(pause resume skip redrive redrive_all discard discard_all seek replay wait) ],
	[ 'Looking', qw(trace event) ],
	[ 'Contracts', qw(define_topic drop_topic define_schema drop_schema check_schema validate is_valid) ],
	[ 'Jobs', qw(schedule unschedule run_job) ],
	[ 'In tests', qw(run_pending make_event) ],
	[ 'The whole database', qw(rotate_log adopt) ]);

sub slurp
{
	my ($file) = @_;

	open my $fh, '<:encoding(UTF-8)', $file or die "$file: $!";
	local $/;
	return scalar <$fh>;
}

# Runs psql on some input; returns its output and its exit code.
sub psql
{
	my ($input, @options) = @_;
	my $pid = open3(my $in, my $out, undef, 'psql', '-X', '-v', 'ON_ERROR_STOP=1', @options);

	binmode $_, ':encoding(UTF-8)' foreach $in, $out;
	print $in $input;
	close $in;
	local $/;
	my $output = <$out>;
	waitpid $pid, 0;
	return ($output // '', $? >> 8);
}

# The rows of a query, as lists of columns.
sub rows
{
	my ($query) = @_;
	my ($output, $rc) = psql($query, '-Atq', '-d', $db, '-F', "\x01", '-R', "\x02", '-P', 'null=');

	BAIL_OUT($output) if $rc != 0;
	$output =~ s/\n\z//;
	return map { [ split /\x01/, $_, -1 ] } split /\x02/, $output;
}

# A COMMENT as a sentence, and as the cell of a table.
sub sentence
{
	my $text = ucfirst $_[0];

	return $text =~ /[.!?]$/ ? $text : "$text.";
}
sub cell { return $_[0] =~ s/\|/\\|/gr; }

my ($output, $rc) = psql("DROP DATABASE IF EXISTS $db;\nCREATE DATABASE $db;\n", '-q', '-d', 'postgres');
BAIL_OUT($output) if $rc != 0;
($output, $rc) = psql("SET client_min_messages = error;\nCREATE EXTENSION eda;\nCREATE EXTENSION pg_cron;\n", '-q', '-d', $db);
# pg_cron is in one database only, and eda finds it there
($output, $rc) = psql("CREATE EXTENSION eda;\n", '-q', '-d', $db) if $rc != 0 && $output =~ /pg_cron/ && $output !~ /eda/;

# ---- the errors ----

my %errors;
foreach (split /\n/, slurp("$root/docs/errors.md"))
{
	my ($code, $condition, $who, $next) = /^\| `(ED\d+)` \| ([^|]*) \| ([^|]*) \| (.*) \|$/ or next;

	# words that stand for several functions
	$who =~ s/\bpublish\b(?! in a handler)/publish publish_batch publish_query/;
	$who =~ s/everything that names one/alter_subscription subscription_def unsubscribe pause resume skip redrive redrive_all discard discard_all seek replay wait/;
	$who =~ s/whatever takes a schema/subscribe alter_subscription define_topic define_schema check_schema validate is_valid/;
	$who =~ s/define_topic or _schema/define_topic define_schema/;
	$next =~ s/[,;] see below$//;
	my %once;
	foreach my $name (grep { !$once{$_}++ } $who =~ /\w+/g)
	{
		push @{ $errors{$name} }, "| `$code` | $condition | $next |";
	}
}

# ---- the page ----

my @page = (
	'# Reference', '',
	'Each function, view and setting of eda. `test/reference.pl` makes this page from the catalog of a server, and',
	'`make check` compares the two and runs the examples: change a COMMENT, `docs/errors.md` or `docs/reference.d/`, and then run', '`make reference`.', '',
	'Errors that PostgreSQL has a code for (`22023` an argument out of range, `42501` no right, and so on) are not listed with the', 'functions; [errors.md](errors.md) has them, and what to do about each of eda\'s own.', '',
	'The examples were run one after the other, after this:', '', '```sql', slurp("$root/docs/reference.d/setup.sql") =~ s/\n\z//r, '```');

my %functions;
foreach (rows(q{
	SELECT p.proname, p.prokind, pg_get_function_arguments(p.oid), coalesce(pg_get_function_result(p.oid), ''), obj_description(p.oid, 'pg_proc'),
		format('%s', oidvectortypes(p.proargtypes))
	FROM pg_proc p WHERE p.pronamespace = 'eda'::regnamespace AND p.proname !~ '^_' AND obj_description(p.oid, 'pg_proc') IS NOT NULL
	ORDER BY p.proname, p.pronargs, p.oid}))
{
	push @{ $functions{ $_->[0] } }, $_;
}

# Arguments, one a line where they are many.
sub signature
{
	my ($name, $kind, $arguments, $result) = @{ $_[0] };

	$arguments =~ s/\bIN //g;
	$arguments =~ s/::(?:timestamp with time zone|[a-z]+)(?:\[\])?(?=,|$)//g;
	$arguments =~ s/timestamp with time zone/timestamptz/g;
	$result =~ s/timestamp with time zone/timestamptz/g;
	my $line = "eda.$name($arguments)";
	$line = "eda.$name(\n    " . join(",\n    ", split /, (?=\w+ \w)/, $arguments) . ")" if length($line) > 90;
	return ($kind eq 'p' ? 'CALL ' : '') . $line . ($kind eq 'p' ? '' : " → $result");
}

my (%told, @examples);
foreach my $chapter (@chapters)
{
	my ($title, @names) = @$chapter;

	push @page, '', "## $title";
	foreach my $name (@names)
	{
		my $more = -e "$root/docs/reference.d/$name.md" ? slurp("$root/docs/reference.d/$name.md") =~ s/\n+\z//r : '';

		$told{$name} = 1;
		next unless $functions{$name};
		push @page, '', "### eda.$name", '', '```', (map { signature($_) } @{ $functions{$name} }), '```', '';
		push @page, map { sentence($_) } grep { !$told{$_}++ } map { $_->[4] } @{ $functions{$name} };
		push @page, '', $more if $more ne '';
		push @page, '', '| error | condition | next step |', '|---|---|---|', @{ $errors{$name} } if $errors{$name};
		push @examples, [ $name, join "\n", $more =~ /^```sql\n(.*?)^```$/msg ];
	}
}

push @page, '', '## Types', '';
foreach my $type (qw(event publish_result))
{
	push @page, "### eda.$type", '', '| column | type | meaning |', '|---|---|---|';
	push @page, map { "| `$_->[0]` | $_->[1] | " . cell($_->[2]) . ' |' } rows(qq{
		SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(col_description(a.attrelid, a.attnum), '')
		FROM pg_attribute a WHERE a.attrelid = 'eda.$type'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum});
	push @page, '';
}

push @page, '## Views', '';
foreach my $view (rows(q{
	SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c
	WHERE c.relnamespace = 'eda'::regnamespace AND c.relkind = 'v' AND c.relname !~ '^_' ORDER BY c.relname}))
{
	push @page, "### eda.$view->[0]", '', sentence($view->[1]), '', '| column | type | meaning |', '|---|---|---|';
	push @page, map { "| `$_->[0]` | $_->[1] | " . cell($_->[2]) . ' |' } rows(qq{
		SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(col_description(a.attrelid, a.attnum), '')
		FROM pg_attribute a WHERE a.attrelid = 'eda.$view->[0]'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum});
	push @page, '';
}

push @page, '## Settings', '', '| setting | default | set by | meaning |', '|---|---|---|---|';
# A default with its unit, as one would say it.
sub with_unit
{
	my ($value, $unit) = @_;
	my @steps = $unit =~ /^(?:ms|s|min)$/ ? ([ 'ms', 1000 ], [ 's', 60 ], [ 'min', 60 ], [ 'h', 24 ], [ 'd', 1e9 ]) : ([ 'kB', 1024 ], [ 'MB', 1024 ], [ 'GB', 1e9 ]);

	return $value if $unit eq '' || $value <= 0;
	shift @steps while $steps[0][0] ne $unit;
	while (@steps > 1 && $value % $steps[0][1] == 0)
	{
		$value /= $steps[0][1];
		shift @steps;
	}
	# 1 d is better known as 24 h
	return $steps[0][0] eq 'd' && $value == 1 ? '24 h' : "$value $steps[0][0]";
}

my %by = (postmaster => 'server start', sighup => 'configuration file', superuser => 'superuser', user => 'anybody');
push @page, map { "| `$_->[0]` | " . with_unit($_->[1], $_->[2]) . ' | ' . ($by{ $_->[3] } // $_->[3]) . ' | ' . cell(join ' ', grep { $_ ne '' } @$_[ 4, 5 ]) . ' |' } rows(q{
	SELECT name, boot_val, coalesce(unit, ''), context, short_desc, coalesce(extra_desc, '') FROM pg_settings WHERE name LIKE 'eda.%' ORDER BY name});

my $page = join("\n", @page) . "\n";
$page =~ s/\n{3,}/\n\n/g;

if ($ENV{EDA_REFERENCE_WRITE})
{
	open my $fh, '>:encoding(UTF-8)', $ENV{EDA_REFERENCE_WRITE} or die "$ENV{EDA_REFERENCE_WRITE}: $!";
	print $fh $page;
	close $fh or die;
}

is(join(' ', grep { !$told{$_} } sort keys %functions), '', 'each function has its chapter');
is(join(' ', map { $_->[0] } grep { $_->[1] eq '' } @examples), '', 'and an example');
is(join(' ', map { $_->[0] } grep { $_->[1] eq '' } rows(q{
	SELECT 'eda.' || c.relname || '.' || a.attname, coalesce(col_description(a.attrelid, a.attnum), '')
	FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
	WHERE c.relnamespace = 'eda'::regnamespace AND c.relkind IN ('v', 'c') AND c.relname !~ '^_' AND a.attnum > 0 AND NOT a.attisdropped})),
	'', 'each column has its meaning');
SKIP:
{
	my $there = $ENV{EDA_REFERENCE_WRITE} || "$root/docs/reference.md";

	# the catalog of another major version words some types and defaults otherwise
	my ($major) = map { int($_->[0] / 10000) } rows('SHOW server_version_num');
	skip "the page is PostgreSQL 15's", 1 if $major != 15;
	ok(-e $there && slurp($there) eq $page, 'docs/reference.md is what the catalog says') or diag('make reference writes it anew');
}

# ---- the examples ----

($output, $rc) = psql(slurp("$root/docs/reference.d/setup.sql"), '-q', '-d', $db);
is($rc, 0, 'the setup runs') or diag($output);
foreach my $example (@examples)
{
	my ($name, $sql) = @$example;

	($output, $rc) = psql("SET client_min_messages = error;\n$sql", '-q', '-d', $db);
	is($rc, 0, "the example of eda.$name runs") or diag($output);
}
psql("DROP DATABASE $db WITH (FORCE);\n", '-q', '-d', 'postgres');

done_testing();
