# What was measured for one row of the table, and whether that is good enough.
#
#  1. A row has checks.  Each is a figure of ours beside another one, measured in
#     pairs, or a figure alone; what is judged is the median of the ratios of the
#     pairs, or of the figures.  A row passes when all its checks do.
#  2. The quick form judges by a second threshold, `loose`, that noise does not
#     explain: half of what is asked for, or three times where less is better,
#     unless the check names another one.
#  3. A row in which something was not handled, or that could not be measured, has
#     an error and fails.

package Bench::Row;

use strict;
use warnings;
use utf8;

use Bench::Stats;

sub new
{
	my ($class, %row) = @_;

	return bless { %row, checks => [], notes => [], series => {} }, $class;
}

# A check: what => which variant, unit => of the absolute figures, ours => [...],
# other => [...] and beside => its name, or neither; at_least or at_most => the
# threshold, and without one the figure is told and not judged; judged => figure to judge instead of the median; format => code.
sub check
{
	my ($self, %check) = @_;
	my @ratios = $check{other} ? ratios($check{ours}, $check{other}) : @{ $check{ours} };

	$check{ratios} = \@ratios if $check{other};
	$check{judged} //= median(@ratios);
	if (defined $check{at_least})
	{
		$check{loose} //= $check{at_least} / 2;
		$check{asked} = "≥ $check{at_least}";
		$check{pass} = $check{judged} >= ($self->{quick} ? $check{loose} : $check{at_least});
	}
	elsif (defined $check{at_most})
	{
		$check{loose} //= $check{at_most} * 3;
		$check{asked} = "≤ $check{at_most}";
		$check{pass} = $check{judged} <= ($self->{quick} ? $check{loose} : $check{at_most});
	}
	else
	{
		$check{asked} = '';
		$check{told} = 1;
		$check{pass} = 1;
	}
	$check{pass} = $check{pass} ? 1 : 0;
	push @{ $self->{checks} }, \%check;
	return;
}

# What a check is shown by: our figure, the other one or undef, and the ratio with its range or ''.
sub shown
{
	my ($check) = @_;
	my ($ours, $other) =
	  $check->{all} ? @{ $check->{all} } : (median(@{ $check->{ours} }), $check->{other} ? median(@{ $check->{other} }) : undef);
	my @ratios = @{ $check->{ratios} // [] };
	my $ratio = @ratios ? sprintf('%.2f', $check->{judged}) : '';

	$ratio .= sprintf ' (%.2f–%.2f)', minimum(@ratios), maximum(@ratios) if @ratios > 1;
	return ($ours, $other, $ratio);
}

# Something worth knowing beside the figures.
sub note
{
	my ($self, $format, @arguments) = @_;

	push @{ $self->{notes} }, @arguments ? sprintf($format, @arguments) : $format;
	return;
}

# Data for a plot.
sub series
{
	my ($self, $name, $data) = @_;

	$self->{series}{$name} = $data;
	return;
}

# What was counted is what was expected, or the row is worth nothing.
sub verify
{
	my ($self, $what, $got, $expected) = @_;

	die "$what: $got, not $expected\n" unless $got == $expected;
	return;
}

sub passed
{
	my ($self) = @_;

	return 0 if $self->{error} || !@{ $self->{checks} };
	return !grep { !$_->{pass} } @{ $self->{checks} };
}

sub to_data { my ($self) = @_; return {%$self}; }

sub from_data { my ($class, $data) = @_; return bless $data, $class; }

1;
