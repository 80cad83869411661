# How often and how long: what ROWS, REPS and QUICK ask for.

package Bench::Plan;

use strict;
use warnings;
use utf8;

use Exporter 'import';

our @EXPORT = qw(quick reps size interleave progress);

my $quick = $ENV{QUICK} ? 1 : 0;

sub quick { return $quick; }

# Repetitions of each comparison.
sub reps { return $quick ? 1 : ($ENV{REPS} || 5); }

# The one in the full form, the other in the quick one.
sub size { my ($full, $small) = @_; return $quick ? $small : $full; }

# Tell on the terminal's side what is going on.
sub progress
{
	my ($format, @arguments) = @_;

	printf STDERR "  $format\n", @arguments if $ENV{BENCH_VERBOSE} // (-t STDERR);
	return;
}

# Measure each side once a repetition; who goes first changes from one to the
# next.  interleave($n, name => code, ...): name => [a figure of each].
sub interleave
{
	my ($n, @sides) = @_;
	my %code = @sides;
	my @names = @sides[ grep { $_ % 2 == 0 } 0 .. $#sides ];
	my %figures;

	for my $repetition (0 .. $n - 1)
	{
		foreach my $name ($repetition % 2 ? reverse @names : @names)
		{
			my $figure = $code{$name}->($repetition);

			progress('%s: %s', $name, ref $figure ? join(' ', map { "$_ $figure->{$_}" } sort keys %$figure) : $figure);
			push @{ $figures{$name} }, $figure;
		}
	}
	return %figures;
}

1;
