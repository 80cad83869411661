# docs/performance.md and its plots, from the rows that were measured.
#
#  1. Written into BENCH_OUT/report; bench/run.sh takes it from there.
#  2. The plots are drawn by gnuplot; their data stay in the rows' files (SAVE=).

package Bench::Report;

use strict;
use warnings;
use utf8;

use Bench::Row;
use Bench::Stats;

my $dir = "$ENV{BENCH_OUT}/report";

sub slurp_line
{
	my ($command) = @_;
	my $line = `$command 2>/dev/null`;

	return defined $line ? $line =~ s/\s+$//r : '';
}

# The machine and the server, a line each.
sub machine
{
	my $psql = sub { slurp_line("psql -XAtc \"$_[0]\" postgres") };
	my $cpu = slurp_line(q{sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sort | uniq -c | sed 's/^ *\([0-9]*\) /\1 x /'});
	my $memory = slurp_line(q{awk '/^MemTotal/ { printf "%.0f GB", $2 / 1024 / 1024 }' /proc/meminfo});
	my $huge = slurp_line(q{awk '/^HugePages_Total/ { t = $2 } /^HugePages_Free/ { f = $2 } /^HugePages_Rsvd/ { r = $2 } END { print (t - f + r > 0) ? "in huge pages" : "in small pages" }' /proc/meminfo});

	return (
		"$cpu, $memory, Linux " . slurp_line('uname -r'),
		'PostgreSQL ' . $psql->('SHOW server_version') . ', shared_buffers ' . $psql->('SHOW shared_buffers') . " $huge, fsync on, max_wal_size "
		  . $psql->('SHOW max_wal_size') . ', everything else as installed');
}

sub cell { my ($text) = @_; return ($text // '') =~ s/\|/\\|/gr; }

sub table
{
	my (@rows) = @_;
	my $text = "| | beside | eda | it | ratio (min–max) | to reach | |\n|---|---|---:|---:|---|---|---|\n";

	foreach my $row (@rows)
	{
		$text .= "| **$row->{number}. " . cell($row->{title}) . "** | | | | | | |\n";
		foreach my $check (@{ $row->{checks} })
		{
			my ($ours, $other, $ratio) = Bench::Row::shown($check);
			$text .= '| ' . join(' | ',
				map { cell($_) } "$check->{what}, $check->{unit}", $check->{beside} // '', figure($ours), defined $other ? figure($other) : '',
				$ratio, $check->{asked}, $check->{told} ? '' : $check->{pass} ? 'PASS' : '**FAIL**') . " |\n";
		}
		$text .= '| FAIL: ' . cell($row->{error} =~ s/\s+/ /gr) . " | | | | | | **FAIL** |\n" if $row->{error};
	}
	return $text;
}

sub notes
{
	my (@rows) = @_;
	my $text = '';

	foreach my $row (@rows)
	{
		$text .= "* $row->{number}: $_\n" foreach @{ $row->{notes} };
	}
	return $text;
}

# Lines of a plot: name => [[x, y], ...].
sub plot
{
	my ($file, $settings, $lines) = @_;
	my @names = sort keys %$lines;
	my $script = "set terminal svg size 720,420 font 'sans,12' background 'white'\nset output '$dir/$file'\n"
	  . "set encoding utf8\nset grid lc rgb '#dddddd'\nset border 3\nset tics nomirror\nset key outside top horizontal\n$settings\nplot "
	  . join(', ', map { sprintf q{'-' using 1:2 with linespoints lw 2 pt 7 ps 0.6 title "%s"}, s/"/'/gr } @names) . "\n";

	foreach my $name (@names)
	{
		$script .= join('', map { "$_->[0] $_->[1]\n" } @{ $lines->{$name} }) . "e\n";
	}
	open my $gnuplot, '|-', 'gnuplot' or die "gnuplot: $!\n";
	binmode $gnuplot, ':utf8';
	print $gnuplot $script;
	close $gnuplot or die "gnuplot could not draw $file\n";
	return;
}

sub write
{
	my (@rows) = @_;
	my %row = map { $_->{number} => $_ } @rows;
	my $passed = grep { $_->passed } @rows;
	my ($machine, $server) = machine();
	my $date = slurp_line('date -u +%Y-%m-%d');

	mkdir $dir;
	if (my $latency = $row{8}{series}{latency})
	{
		plot('performance-latency.svg',
			"set logscale xy\nset xlabel 'events published a second'\nset ylabel 'publish to handler entered, ms'\nset xtics (1,10,100,1000)", $latency);
	}
	if (my $held = $row{11}{series}{held})
	{
		my %lines;

		foreach my $name (keys %{ $held->{rates} })
		{
			my $at = 0;

			$lines{$name} = [ map { [ ++$at * $held->{window}, $_ / 1000 ] } @{ $held->{rates}{$name} } ];
		}
		plot('performance-held.svg', "set yrange [0:*]\nset xlabel 'seconds since the snapshot was taken'\nset ylabel 'thousand events handled a second'", \%lines);
	}

	open my $file, '>:utf8', "$dir/performance.md" or die "$dir: $!\n";
	print $file <<"END", table(@rows), "\n", notes(@rows), <<'END2';
# Performance

What eda does beside its peers and near the limits, as `make bench` has measured it on $date:
$passed of ${\ scalar @rows} rows reach what they are to reach.

* $machine
* $server

Absolute figures say little on a shared machine, so each is measured in turns with what it is compared with, on the same
server with the same durability; the ratio is the median of the pairs. Handlers are verified to have run: a row in which an
event was not handled fails. `SKIP LOCKED` is an outbox table drained with `DELETE ... FOR UPDATE SKIP LOCKED`, `NOTIFY`
the same woken by LISTEN/NOTIFY from a C client, `PgQ` Debian's pgq with pgqd. The payload is an order of 302 bytes.
[bench/README.md](../bench/README.md) says how each row is measured.

To repeat: `make bench` in a clone of this project, on an idle machine; `ROWS="5 6"` for some rows.

END

## Latency against rate

![publish to handler entered, against the rate](performance-latency.svg)

## Throughput while a snapshot is held

A REPEATABLE READ transaction holds its snapshot for the whole minute: nothing that was deleted since can be
vacuumed.

![events handled a second while a snapshot is held](performance-held.svg)
END2
	close $file;
	return;
}

1;
