# Medians, percentiles, and figures as people read them.

package Bench::Stats;

use strict;
use warnings;
use utf8;

use Exporter 'import';

our @EXPORT = qw(median percentile minimum maximum ratios figure spread);

# Between the two nearest values, as percentile_cont does.
sub percentile
{
	my ($p, @values) = @_;

	return undef unless @values;
	@values = sort { $a <=> $b } @values;
	my $at = $p / 100 * $#values;
	my $low = int $at;
	my $high = $low < $#values ? $low + 1 : $low;

	return $values[$low] + ($at - $low) * ($values[$high] - $values[$low]);
}

sub median { return percentile(50, @_); }
sub minimum { return percentile(0, @_); }
sub maximum { return percentile(100, @_); }

# Of each pair: ours divided by the other's.
sub ratios
{
	my ($ours, $others) = @_;

	return map { $ours->[$_] / $others->[$_] } 0 .. $#$ours;
}

# Three digits that mean something; thousands and millions by letter.
sub figure
{
	my ($x) = @_;
	my $size = abs $x;

	return sprintf('%.2f M', $x / 1e6) if $size >= 999_500;
	return sprintf('%.0f k', $x / 1e3) if $size >= 99_950;
	return sprintf('%.1f k', $x / 1e3) if $size >= 9_995;
	return sprintf('%.0f', $x) if $size >= 99.5;
	return sprintf('%.1f', $x) if $size >= 9.95;
	return sprintf('%.2f', $x) if $size >= 0.0995 || $size == 0;
	return sprintf('%.3f', $x);
}

# median (minimum to maximum)
sub spread
{
	my ($format, @values) = @_;

	return $format->(median(@values)) if @values < 2;
	return sprintf '%s (%s–%s)', map { $format->($_) } median(@values), minimum(@values), maximum(@values);
}

1;
