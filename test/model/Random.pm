# A generator of random numbers that gives the same ones on every machine and
# version of Perl: xorshift, 32 bits.

package Random;

use strict;
use warnings;

sub new
{
	my ($class, $seed) = @_;
	my $self = bless { x => ((($seed + 1) * 2654435761) & 0xffffffff) || 1 }, $class;

	$self->below(2) for 1 .. 16;
	return $self;
}

# 0 .. n - 1
sub below
{
	my ($self, $n) = @_;
	my $x = $self->{x};

	$x ^= ($x << 13) & 0xffffffff;
	$x ^= $x >> 17;
	$x ^= ($x << 5) & 0xffffffff;
	$self->{x} = $x;
	return ($x >> 3) % $n;
}

# true with this many chances in a hundred
sub chance { return $_[0]->below(100) < $_[1]; }

sub pick
{
	my ($self, @of) = @_;

	return $of[ $self->below(scalar @of) ];
}

# One of (what => weight, ...)
sub weighted
{
	my ($self, @table) = @_;
	my $total = 0;

	$total += $table[ 2 * $_ + 1 ] for 0 .. $#table / 2;
	my $x = $self->below($total);
	while (@table)
	{
		my ($what, $weight) = splice @table, 0, 2;
		return $what if $x < $weight;
		$x -= $weight;
	}
}

1;
