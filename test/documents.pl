# Holds README.md and docs/ to what they show.
#
#	prove test/documents.pl
#
# The server is the one of PGHOST and its kin, with pg_cron in database postgres; test/run.sh starts it.
#
#  1. Each block ```sql of the pages below runs, one page after the other, in one database, as a reader would who tries
#     them in this order; before them, what the pages take for granted.
#  2. A line "-- ERROR:  ..." in a block is an error that the block raises; it raises no others.
#  3. A block whose lines begin with PERFORM is the body of a function.
#  4. docs/reference.md and docs/testing.md have tests of their own.
#  5. Each link to a file of the project leads to one, and to a heading of it where it names one.
#  6. README.md is no longer than its reader's patience: 1,500 words.

use strict;
use utf8;
use warnings;

use Cwd 'abs_path';
use File::Basename;
use IPC::Open3;
use Test::More;

my $root = dirname(dirname(abs_path($0)));
my @pages = ('README.md', 'docs/publishing.md', 'docs/delivery.md', 'docs/operating.md');

# What the pages speak of without making it.
my $before = q{
DROP EXTENSION IF EXISTS eda CASCADE;
CREATE EXTENSION eda;
CREATE EXTENSION IF NOT EXISTS pg_cron;
CREATE ROLE shop LOGIN;
CREATE SCHEMA shop;
CREATE TABLE shop.orders (invoice_no int, customer_id int, country text, total numeric, ordered_on date);
INSERT INTO shop.orders VALUES (1, 1, 'UK', 10, current_date - 1);
CREATE TABLE shop_order (id int, customer text, total numeric, day date);
INSERT INTO shop_order VALUES (3, 'ada', 7, current_date);
};

# Some leave behind what a database cannot be dropped with.
my $after = q{
SELECT eda.unschedule(job) FROM eda.jobs;
DROP EXTENSION eda CASCADE;
DROP SCHEMA shop CASCADE;
DROP TABLE shop_order, welcome, alert;
DROP FUNCTION IF EXISTS publish_orders, said_so;
DROP OWNED BY shop;
DROP ROLE shop;
};

sub slurp
{
	my ($file) = @_;

	open my $fh, '<:encoding(UTF-8)', $file or die "$file: $!";
	local $/;
	return scalar <$fh>;
}

# Runs psql on some input; returns what it printed, errors included.
sub psql
{
	my ($input) = @_;
	my $pid = open3(my $in, my $out, undef, 'psql', '-Xq', '-d', 'postgres');

	binmode $_, ':encoding(UTF-8)' foreach $in, $out;
	print $in "SET client_min_messages = error;\n$input\n";
	close $in;
	local $/;
	my $output = <$out>;
	waitpid $pid, 0;
	return $output // '';
}

sub errors_of { return join "\n", $_[0] =~ /^(?:psql:[^ ]* )?(ERROR: .*)$/mg; }

psql($after);
is(errors_of(psql($before)), '', 'what the pages take for granted is there');
foreach my $page (@pages)
{
	my $n = 0;

	foreach my $block (slurp("$root/$page") =~ /^```sql\n(.*?)^```$/msg)
	{
		my $wanted = join "\n", $block =~ /^-- (ERROR: .*)$/mg;

		$n++;
		$block = "CREATE OR REPLACE FUNCTION said_so() RETURNS void LANGUAGE plpgsql AS \$body\$ BEGIN\n$block\nEND \$body\$;"
		  if $block =~ /\A\s*PERFORM /;
		is(errors_of(psql($block)), $wanted, "$page: block $n does what it says");
	}
	ok($n > 0, "$page: it has $n");
}
psql($after);

# ---- links ----

# A heading as a link names it.
sub anchor { return lc($_[0] =~ s/[^\w\s-]//gr) =~ s/\s/-/gr; }

foreach my $page ('README.md', map { substr $_, length($root) + 1 } glob("$root/docs/*.md $root/examples/*/README.md $root/src/README.md"))
{
	my @broken;
	my $text = slurp("$root/$page") =~ s/^```.*?^```$//msgr =~ s/`[^`\n]*`//gr;

	foreach my $link ($text =~ /\]\(([^)\s]+)\)/g)
	{
		next if $link =~ /^[a-z]+:/;
		my ($file, $anchor) = split /#/, $link, 2;
		my $target = $file eq '' ? "$root/$page" : dirname("$root/$page") . "/$file";

		push @broken, $link unless -e $target && (!defined $anchor || grep { anchor($_) eq $anchor } slurp($target) =~ /^#+ (.*)$/mg);
	}
	is(join(' ', @broken), '', "$page: each link leads somewhere");
}

my $words = () = slurp("$root/README.md") =~ /\S+/g;
cmp_ok($words, '<=', 1500, "README.md has $words words");

done_testing();
