# Holds the promises of docs/delivery.md to the tests.
#
#	prove test/semantics.pl			first itself, on pages that are wrong, then the page
#
#  1. From the heading "# Promises" and the first "## " after it on, the page is claims: each sentence of a paragraph or list item, and each row of a
#     table, ends with one or more footnotes, [^name].  Headings, code blocks, a table's head and a
#     paragraph that ends with a colon claim nothing.
#  2. A footnote names tests, several with semicolons, and in each of them assertions, in double quotes:
#
#	[^name]: pgtap/chains "its description" "another one"; iso/open_publisher
#
#		t/FILE			test/t/FILE.pl; the beginning of its name is enough		assertions
#		pgtap/FILE		test/pgtap/FILE.sql										assertions
#		regress/FILE	sql/FILE.sql											text in it, such as a comment over statements
#		iso/FILE		test/isolation/specs/FILE.spec							none: all of it; a permutation,
#																				or a comment
#		model/FILE		test/model/FILE											none, or text in it
#
#  3. An assertion is a whole string literal of the file, outside of comments, as it is written there: what
#     is renamed or removed is missed.  A double quote in it is written \".
#  4. A footnote "to come: WHAT" stands for tests that somebody is writing.  They are counted, told of
#     when they are there, and refused where EDA_SEMANTICS_COMPLETE is set.

use strict;
use warnings;

use Cwd 'abs_path';
use File::Basename;
use File::Path 'make_path';
use File::Temp 'tempdir';
use Test::More;

my $ref = qr/\[\^[\w.-]+\]/;

# Which file a kind of test is in; undef: no such kind.  Globs.
my %place = (
	t => 'test/t/%s*.pl',
	pgtap => 'test/pgtap/%s.sql',
	regress => 'sql/%s.sql',
	iso => 'test/isolation/specs/%s.spec',
	model => 'test/model/%s');

sub slurp
{
	my ($file) = @_;

	open my $fh, '<:encoding(UTF-8)', $file or die "$file: $!";
	local $/;
	return scalar <$fh>;
}

# The page's blocks of claims, as [line number, kind, text], and its footnotes, as name => [line number, text].
sub parse
{
	my ($text, $complaints) = @_;
	my (@blocks, %notes);
	my ($line, $claims, $fenced) = (0, 0, 0);
	my $open;    # what the next line may continue

	foreach (split /\n/, $text)
	{
		$line++;
		if (/^\s*```/)
		{
			$fenced = !$fenced;
			undef $open;
			next;
		}
		next if $fenced;
		if (/^\[\^([\w.-]+)\]:\s*(.*)/)
		{
			push @$complaints, "line $line: footnote $1 is there twice" if $notes{$1};
			$open = $notes{$1} = [ $line, $2 ];
		}
		elsif (/^\s*$/ || /^#/)
		{
			$claims = 1 if /^## /;
			undef $open;
		}
		elsif (/^\|/)
		{
			undef $open;
			if (/^\|[\s|:-]+$/)
			{
				# what is above is the head
				pop @blocks if @blocks && $blocks[-1][1] eq 'row';
			}
			elsif ($claims)
			{
				push @blocks, [ $line, 'row', $_ ];
			}
		}
		elsif (/^\s*(?:[*-]|\d+\.)\s+(.*)/)
		{
			$open = [ $line, 'item', $1 ];
			push @blocks, $open if $claims;
		}
		elsif ($open)
		{
			s/^\s+//;
			$open->[-1] .= " $_";
		}
		else
		{
			s/^\s+//;
			$open = [ $line, 'paragraph', $_ ];
			push @blocks, $open if $claims;
		}
	}
	return (\@blocks, \%notes);
}

# A block's claims, each with its footnotes.
sub claims_of
{
	my ($kind, $text) = @_;

	return () if $kind eq 'paragraph' && $text =~ /:\s*$/;
	return ($text) if $kind eq 'row';

	# nothing in a code span ends a sentence
	my $masked = $text =~ s/(`[^`]*`)/'`' . 'x' x (length($1) - 2) . '`'/ger;
	my @claims;
	my $from = 0;

	while ($masked =~ /[.!?:;]["')]*(?:\s*$ref)+(?=\s|$)|(?<!e\.g)(?<!i\.e)[.!?]["')]*\s+(?=["'(]*[A-Z`])/g)
	{
		push @claims, substr($text, $from, pos($masked) - $from);
		$from = pos($masked);
	}
	push @claims, substr($text, $from);
	return grep { /\S/ } map { s/^\s+|\s+$//gr } @claims;
}

# A file's text without its comments.
sub code_of
{
	my ($file) = @_;
	my $text = slurp($file);

	if ($file =~ /\.sql$/)
	{
		$text =~ s/^\s*--.*$//mg;
	}
	elsif ($file =~ /\.pl$/)
	{
		$text =~ s/^\s*#.*$//mg;
	}
	return $text;
}

# What is wrong with a source; undef: nothing.
sub wrong_with
{
	my ($root, $source) = @_;
	my ($kind, $name, $rest) = $source =~ m{^([a-z]+)/([\w.]+)\s*(.*)$}
	  or return "\"$source\" is no test";
	return "there is no kind of tests \"$kind\"" unless $place{$kind};

	my @files = glob($root . '/' . sprintf $place{$kind}, $name);
	@files = grep { -f } @files;
	return "there is no test $kind/$name" unless @files;
	return "$kind/$name are several tests" if @files > 1;

	my @texts;
	while ($rest =~ s/^"((?:[^"\\]|\\.)*)"\s*//)
	{
		push @texts, $1 =~ s/\\"/"/gr;
	}
	return "\"$rest\" is no assertion in double quotes" if $rest ne '';
	return "$kind/$name without an assertion" if !@texts && $kind ne 'iso' && $kind ne 'model';

	my $code = $kind eq 't' || $kind eq 'pgtap' ? code_of($files[0]) : slurp($files[0]);
	foreach my $text (@texts)
	{
		my $found;

		if ($kind eq 'pgtap' || $kind eq 't')
		{
			my $sql = quotemeta($text =~ s/'/''/gr);
			my $perl = quotemeta($text =~ s/'/\\'/gr);
			my $plain = quotemeta($text);

			$found = $code =~ /'\s*(?:$sql|$perl)\s*'(?!')/ || $code =~ /"\s*$plain\s*"/;
		}
		elsif ($kind eq 'iso')
		{
			my $words = join '\s+(?:\#\s+)?', map { quotemeta } split ' ', $text;

			$found = $code =~ /^(?:permutation|\#(?:[^\n]*[.:;,])?)\s+$words\s*(?:[.:;,]|$)/m || $code =~ /^\#\s(?:[^\n]*\n\#\s)*[^\n]*\b$words/m;
		}
		else
		{
			$found = index($code, $text) >= 0;
		}
		return "$kind/$name has no \"$text\"" unless $found;
	}
	return undef;
}

# What is wrong with a footnote.
sub wrong_with_note
{
	my ($root, $text) = @_;

	return () if $text =~ /^to come: \S/ && !$ENV{EDA_SEMANTICS_COMPLETE};
	my @sources = map { s/^\s+|\s+$//gr } $text =~ /((?:"(?:[^"\\]|\\.)*"|[^;"])+)/g;
	return ('names no test') unless @sources;
	return grep { defined } map { wrong_with($root, $_) } @sources;
}

# Check a page; returns what is wrong, its claims as [line, claim, what is wrong...], and how many have tests to come.
sub check
{
	my ($root, $text) = @_;
	my (@complaints, @claims, %used, %wrong);
	my $to_come = 0;
	my ($blocks, $notes) = parse($text, \@complaints);

	foreach my $name (sort keys %$notes)
	{
		$wrong{$name} = [ map { "[^$name]: $_" } wrong_with_note($root, $notes->{$name}[1]) ];
	}
	foreach my $block (@$blocks)
	{
		my ($line, $kind, $body) = @$block;

		foreach my $claim (claims_of($kind, $body))
		{
			my @names = $claim =~ /\[\^([\w.-]+)\]/g;
			my @bad;

			push @bad, 'names no test' unless @names;
			push @bad, 'names its tests before its end' if @names && $kind ne 'row' && $claim !~ /$ref$/;
			foreach my $name (@names)
			{
				$used{$name} = 1;
				push @bad, $notes->{$name} ? @{ $wrong{$name} } : "there is no footnote $name";
			}
			$to_come++ if grep { $notes->{$_} && $notes->{$_}[1] =~ /^to come:/ } @names;
			push @claims, [ $line, $claim =~ s/$ref//gr, @bad ];
		}
	}
	push @complaints, 'the page claims nothing' unless @claims;
	push @complaints, map { "line $notes->{$_}[0]: no claim has footnote $_" } grep { !$used{$_} } sort keys %$notes;
	return (\@complaints, \@claims, $to_come);
}

# ---- itself ----

sub all_complaints
{
	my ($root, $text) = @_;
	my ($complaints, $claims) = check($root, $text);

	return join "\n", @$complaints, map { @$_[ 2 .. $#$_ ] } @$claims;
}

sub write_file
{
	my ($file, $text) = @_;

	make_path(dirname($file));
	open my $fh, '>', $file or die "$file: $!";
	print $fh $text;
	close $fh;
}

my $tree = tempdir(CLEANUP => 1);
write_file("$tree/test/pgtap/a.sql", "-- 'only a comment'\nSELECT is(1, 1, 'it''s so');\nSELECT ok(true, 'it is');\n");
write_file("$tree/test/t/010_b.pl", "# 'only a comment'\nis(1, 1, 'it\\'s so');\nok(1, \"\$what: it is\");\n");
write_file("$tree/test/t/020_c.pl", "ok(1, 'one');\n");
write_file("$tree/test/t/020_d.pl", "ok(1, 'one');\n");
write_file("$tree/sql/r.sql", "SELECT 1;\n");
write_file("$tree/test/isolation/specs/s.spec", "# a comment\nsession s1\n# both wait\npermutation a  b c\n");

my @good = (
	[ 'a sentence', "## S\nSo it is.[^a]\n\n[^a]: pgtap/a \"it's so\"\n" ],
	[ 'several of each', "Intro. It claims nothing.\n\n## S\n\n* One, e.g. `f(). X`.[^a] Two.[^b][^c]\n  Three, over\n  two lines.[^d]\n\n"
		  . "These are three:\n\n| head | claims |\n|---|---|\n| x | yes [^a] |\n\n```\nNo claim. None.\n```\n"
		  . "[^a]: pgtap/a \"it is\" \"it's so\"; t/010 \"it's so\"\n[^b]: t/010_b \"\$what: it is\"\n[^c]: iso/s; iso/s \"a b c\" \"both wait\"\n"
		  . "[^d]: regress/r \"SELECT 1\"\n" ]);
my @bad = (
	[ 'a sentence without a test', "## S\nSo it is.\n", qr/^names no test$/ ],
	[ 'a second sentence without one', "## S\nSo it is.[^a] And so.\n\n[^a]: pgtap/a \"it is\"\n", qr/^names no test$/ ],
	[ 'a first sentence without one', "## S\n* So it is. And so.[^a]\n\n[^a]: pgtap/a \"it is\"\n", qr/^names no test$/ ],
	[ 'an item without one', "## S\n* So it is.[^a]\n* And so\n\n[^a]: pgtap/a \"it is\"\n", qr/^names no test$/ ],
	[ 'a row without one', "## S\n| a |\n|---|\n| b [^a] |\n| c |\n\n[^a]: pgtap/a \"it is\"\n", qr/^names no test$/ ],
	[ 'a footnote in the middle', "## S\n* So[^a] it is\n\n[^a]: pgtap/a \"it is\"\n", qr/before its end/ ],
	[ 'no such footnote', "## S\nSo it is.[^b]\n", qr/there is no footnote b/ ],
	[ 'an unused footnote', "## S\nSo it is.[^a]\n\n[^a]: pgtap/a \"it is\"\n[^b]: pgtap/a \"it is\"\n", qr/no claim has footnote b/ ],
	[ 'a footnote twice', "## S\nSo it is.[^a]\n\n[^a]: pgtap/a \"it is\"\n[^a]: pgtap/a \"it is\"\n", qr/footnote a is there twice/ ],
	[ 'an empty footnote', "## S\nSo it is.[^a]\n\n[^a]:\n", qr/names no test/ ],
	[ 'no such kind', "## S\nSo it is.[^a]\n\n[^a]: tap/a \"it is\"\n", qr/no kind of tests "tap"/ ],
	[ 'no such file', "## S\nSo it is.[^a]\n\n[^a]: pgtap/b \"it is\"\n", qr{there is no test pgtap/b} ],
	[ 'no such isolation spec', "## S\nSo it is.[^a]\n\n[^a]: iso/t\n", qr{there is no test iso/t} ],
	[ 'several files', "## S\nSo it is.[^a]\n\n[^a]: t/020 \"one\"\n", qr{t/020 are several tests} ],
	[ 'no such assertion', "## S\nSo it is.[^a]\n\n[^a]: pgtap/a \"it was\"\n", qr{pgtap/a has no "it was"} ],
	[ 'the second one is none', "## S\nSo it is.[^a]\n\n[^a]: pgtap/a \"it is\" \"it was\"\n", qr{pgtap/a has no "it was"} ],
	[ 'the second source has none', "## S\nSo it is.[^a]\n\n[^a]: pgtap/a \"it is\"; t/010 \"it was\"\n", qr{t/010 has no "it was"} ],
	[ 'half an assertion', "## S\nSo it is.[^a]\n\n[^a]: pgtap/a \"it\"\n", qr{pgtap/a has no "it"} ],
	[ 'one in a comment', "## S\nSo it is.[^a]\n\n[^a]: pgtap/a \"only a comment\"\n", qr{pgtap/a has no "only a comment"} ],
	[ 'one in a Perl comment', "## S\nSo it is.[^a]\n\n[^a]: t/010 \"only a comment\"\n", qr{t/010 has no "only a comment"} ],
	[ 'no such permutation', "## S\nSo it is.[^a]\n\n[^a]: iso/s \"a c b\"\n", qr{iso/s has no "a c b"} ],
	[ 'no such text', "## S\nSo it is.[^a]\n\n[^a]: regress/r \"SELECT 2\"\n", qr{regress/r has no "SELECT 2"} ],
	[ 'no assertion', "## S\nSo it is.[^a]\n\n[^a]: pgtap/a\n", qr{pgtap/a without an assertion} ],
	[ 'no quotes', "## S\nSo it is.[^a]\n\n[^a]: pgtap/a it is\n", qr/is no assertion in double quotes/ ],
	[ 'no claims', "Text.\n", qr/the page claims nothing/ ]);

is(all_complaints($tree, $_->[1]), '', "itself: $_->[0] is right") foreach @good;
like(all_complaints($tree, $_->[1]), $_->[2], "itself: $_->[0] is seen") foreach @bad;
{
	my $page = "## S\nSo it is.[^a]\n\n[^a]: to come: somebody\n";

	local $ENV{EDA_SEMANTICS_COMPLETE};
	is((check($tree, $page))[2], 1, 'itself: a test to come is counted');
	is(all_complaints($tree, $page), '', 'itself: and no complaint');
	$ENV{EDA_SEMANTICS_COMPLETE} = 1;
	like(all_complaints($tree, $page), qr/no test/, 'itself: unless all are to be there');
}

# ---- the page ----

my $root = dirname(dirname(abs_path($0)));
my $page = slurp("$root/docs/delivery.md");
# what is before the promises is lines that claim nothing
$page =~ s/\A(.*?)(?=^# Promises$)/"\n" x ($1 =~ tr{\n}{})/mse or BAIL_OUT('docs/delivery.md has no promises');
my ($complaints, $claims, $to_come) = check($root, $page);

binmode Test::More->builder->$_, ':encoding(UTF-8)' foreach 'output', 'failure_output';
foreach my $claim (@$claims)
{
	my ($line, $text, @wrong) = @$claim;

	fail("line $line: " . ($text =~ s/#/\\#/gr)), diag(join "\n", @wrong) if @wrong;
}
is(join("\n", @$complaints), '', 'the footnotes');
my $good_ones = grep { @$_ == 2 } @$claims;
is($good_ones, scalar @$claims, 'all claims name tests that are there');
note("$good_ones claims; the tests of $to_come are to come");
{
	my $notes = (parse($page, []))[1];
	my @there = grep { $notes->{$_}[1] =~ /^to come:\s*(.*)/ && !wrong_with_note($root, $1) } sort keys %$notes;

	note('not to come any more, take the words away: ' . join ' ', @there) if @there;
}

done_testing();
