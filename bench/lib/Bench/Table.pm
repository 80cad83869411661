# The table on the terminal.

package Bench::Table;

use strict;
use warnings;
use utf8;

use Bench::Plan;
use Bench::Row;
use Bench::Stats;

my $format = "%-38s %-20s %10s %10s  %-20s %-8s %s\n";
my $headed = 0;

sub print_row
{
	my ($row) = @_;

	printf $format, '', 'beside', 'eda', 'it', 'ratio', 'to reach', '' unless $headed++;
	printf "%s. %s\n", $row->{number}, $row->{title};
	foreach my $check (@{ $row->{checks} })
	{
		my ($ours, $other, $ratio) = Bench::Row::shown($check);

		printf $format, "   $check->{what}", $check->{beside} // '', figure($ours),
		  defined $other ? figure($other) : '', $ratio, $check->{asked}, $check->{told} ? '' : $check->{pass} ? 'PASS' : 'FAIL';
	}
	print "   $_\n" foreach @{ $row->{notes} };
	print "   FAIL: $row->{error}\n" if $row->{error};
	return;
}

sub print_total
{
	my (@rows) = @_;
	my $passed = grep { $_->passed } @rows;

	printf "\n%d rows passed, %d failed\n", $passed, @rows - $passed;
	return;
}

1;
