# Holds src/ to its layout.  Needs no server.
#
#	prove test/layout.pl
#
#  1. src/README.md has the order of the folders in one line, from the ground up: "level < level < ...", where a level
#     is one or more folders.  Files that stand in src/ itself are above all of them.
#  2. A file includes its own folder and folders of lower levels.  Folders of one level do not know each other.
#  3. A folder's face is its header of the same name.  Other folders include the face, and nothing else of the
#     folder.  base/, of whose headers each is a tool by itself, and the folders that nothing stands above have
#     none.
#  4. Each folder has a row in src/README.md's table, and each file is named there, by its name in backquotes without
#     the ending; `name*` stands for several.  What the table names is there.
#  5. What a header declares, the file of its name defines.  Headers without such a file define everything
#     themselves, or belong to the folder as a whole (%shared).

use strict;
use warnings;

use Cwd 'abs_path';
use File::Basename;
use Test::More;

my $root = dirname(dirname(abs_path($0))) . '/src';

# Headers that several files of their folder define parts of.
my %shared = map { $_ => 1 } qw(base/eda.h jsonschema/jsonschema.h jsonschema/private.h jsonschema/regex.h jobs/job.h);

# What is still to be mended: "file includes header".  An entry that is mended has to go.
my %known = map { $_ => 1 } grep { /\S/ && !/^#/ } map { s/^\s+|\s+$//gr } <DATA>;

sub slurp
{
	my ($file) = @_;

	open my $fh, '<:encoding(UTF-8)', $file or die "$file: $!";
	local $/;
	return scalar <$fh>;
}

sub without_comments { return $_[0] =~ s{/\*.*?\*/}{ }gsr; }

my $readme = slurp("$root/README.md");
my ($order) = $readme =~ /^    ((?:[a-z]+ )+<[a-z <]+)$/m;
ok($order, 'src/README.md has the order of the folders') or BAIL_OUT('there is no order');

my %level;
{
	my $n = 0;

	foreach my $names (split / *< */, $order)
	{
		$n++;
		$level{$_} = $n foreach split ' ', $names;
	}
}

my @sources = map { substr $_, length($root) + 1 } glob("$root/*.[ch] $root/*/*.[ch]");
my %folders = map { $_ => 1 } map { m{^(\w+)/} ? $1 : () } @sources;

is(join(' ', grep { !$level{$_} } sort keys %folders), '', 'each folder has a level');

# ---- includes ----

my (@wrong, %seen);
my $top = (sort { $b <=> $a } values %level)[0];

foreach my $file (@sources)
{
	my ($from) = $file =~ m{^(\w+)/};

	foreach my $include (slurp("$root/$file") =~ /^#include "([^"]+)"/mg)
	{
		my ($to) = $include =~ m{^(\w+)/};

		# the server's own headers, and the top
		if (!$to || !$folders{$to})
		{
			push @wrong, "$file includes $include" if -e "$root/$include" && $from;
			next;
		}
		next if $from && $from eq $to;
		next if !-e "$root/$include";

		my $up = $from && $level{$to} >= $level{$from};
		my $past = -e "$root/$to/$to.h" && $include ne "$to/$to.h";
		my $what = "$file includes $include";

		next unless $up || $past;
		$seen{$what} = 1;
		push @wrong, $what . ($up ? ', which is not below it' : ", past $to/$to.h") unless $known{$what};
	}
}
is(join("\n", @wrong), '', 'a file includes what is below its folder, by its face');
is(join("\n", grep { !$seen{$_} } sort keys %known), '', 'nothing is on the list that is mended');

# ---- the map ----

my %named;
foreach my $row ($readme =~ /^(\|.*)$/mg)
{
	my ($cell, $rest) = $row =~ /^\|([^|]*)\|(.*)$/ or next;
	my @of = grep { $folders{$_} } $cell =~ m{`(\w+)/`}g;
	my @names = $rest =~ /`([\w.]+\*?)`/g;

	$named{$_} //= [] foreach @of;
	push @{ $named{$_} }, @names foreach @of;
	push @{ $named{''} }, $cell =~ /`([\w.]+)`/g unless @of;
}

sub has_place
{
	my ($folder, $name) = @_;

	foreach my $entry (@{ $named{$folder} // [] })
	{
		my $pattern = quotemeta($entry =~ s/\.[ch]$//r) =~ s/\\\*$/\\w*/r;

		return 1 if $name =~ /^$pattern$/;
	}
	return 0;
}

my @lost;
foreach my $file (@sources)
{
	my ($folder, $name) = $file =~ m{^(?:(\w+)/)?(\w+)\.[ch]$};

	$folder //= '';
	# the face of a folder is told with it
	push @lost, $file unless $folder eq $name || has_place($folder, $name);
}
is(join(' ', @lost), '', 'each file has a place in src/README.md');

my @gone;
foreach my $folder (grep { $_ ne '' } sort keys %named)
{
	foreach my $entry (@{ $named{$folder} })
	{
		my $stem = $entry =~ s/\.[ch]$//r;

		push @gone, "$folder/$entry" unless grep { m{^\Q$folder\E/} && -e "$root/$_" } map { substr $_, length($root) + 1 } glob("$root/$folder/$stem.c $root/$folder/$stem.h");
	}
}
is(join(' ', @gone), '', 'what src/README.md names is there');

# ---- what a header declares ----

my @elsewhere;
foreach my $header (grep { /\.h$/ } @sources)
{
	my $file = $header =~ s/\.h$/.c/r;
	my $text = without_comments(slurp("$root/$header"));

	next if $shared{$header};
	foreach my $declaration ($text =~ /^extern\s+([^;{]*\([^;{]*);/mg)
	{
		my ($function) = $declaration =~ /(\w+)\s*\(/;

		push @elsewhere, "$header declares $function"
		  unless -e "$root/$file" && slurp("$root/$file") =~ /^\Q$function\E\(/m;
	}
}
is(join("\n", grep { !$known{$_} } @elsewhere), '', 'what a header declares, the file of its name defines');

done_testing();

__DATA__
