# The table on the terminal, or as TAP.

package Bench::Table;

use strict;
use warnings;
use utf8;

use Bench::Plan;
use Bench::Row;
use Bench::Stats;

my $tap = $ENV{TAP};
my $tests = 0;
my $format = "%-38s %-20s %10s %10s  %-20s %-8s %s\n";
my $headed = 0;

sub print_row
{
	my ($row) = @_;
	my $mark = $tap ? '# ' : '';

	print $mark, sprintf($format, '', 'beside', 'eda', 'it', 'ratio', 'to reach', '') unless $headed++;
	printf "%s%s. %s\n", $mark, $row->{number}, $row->{title};
	foreach my $check (@{ $row->{checks} })
	{
		my ($ours, $other, $ratio) = Bench::Row::shown($check);

		print $mark, sprintf($format, "   $check->{what}", $check->{beside} // '', figure($ours),
			defined $other ? figure($other) : '', $ratio, $check->{asked}, $check->{told} ? '' : $check->{pass} ? 'PASS' : 'FAIL');
		if ($tap && !$check->{told})
		{
			$tests++;
			printf "%s %d - row %d: %s%s\n", $check->{pass} ? 'ok' : 'not ok', $tests, $row->{number}, $check->{what},
			  $check->{beside} ? ", beside $check->{beside}" : '';
		}
	}
	print $mark, "   $_\n" foreach @{ $row->{notes} };
	if ($row->{error})
	{
		my $error = $row->{error} =~ s/\n/\n# /gr;

		print "$mark   FAIL: $row->{error}\n" unless $tap;
		printf "not ok %d - row %d was measured\n# %s\n", ++$tests, $row->{number}, $error if $tap;
	}
	return;
}

sub print_total
{
	my (@rows) = @_;
	my $passed = grep { $_->passed } @rows;

	print "1..$tests\n" if $tap;
	printf "\n%d rows passed, %d failed\n", $passed, @rows - $passed unless $tap;
	return;
}

1;
