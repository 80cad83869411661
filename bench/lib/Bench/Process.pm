# What /proc and the file system say about the server's processes.

package Bench::Process;

use strict;
use warnings;
use utf8;

use Exporter 'import';
use POSIX ();

our @EXPORT = qw(worker_pids cpu_seconds memory free_space);

my %pids;

# Pids of eda's workers in the whole server, of one kind or of all; asked for in
# a database that has eda.
sub worker_pids
{
	my ($db, $kind) = @_;

	return $db->session->query('SELECT pid FROM eda.workers WHERE pid IS NOT NULL' . ($kind ? " AND kind = '$kind'" : ''));
}

# CPU time used so far by processes.
sub cpu_seconds
{
	my (@pids) = @_;
	my $ticks = 0;

	foreach my $pid (@pids)
	{
		open my $file, '<', "/proc/$pid/stat" or next;
		# the fields after the name, which is in parentheses
		my @stat = split ' ', (<$file> =~ s/^.*\)//sr);

		$ticks += $stat[11] + $stat[12];
	}
	return $ticks / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# Bytes that the largest worker of this kind has for itself, or the most so far.
# The processes are looked up once, as asking the server takes time.
sub memory
{
	my ($db, $kind, $most) = @_;

	$pids{$kind} = [ worker_pids($db, $kind) ] unless @{ $pids{$kind} // [] } && !grep { !-d "/proc/$_" } @{ $pids{$kind} };
	foreach my $pid (@{ $pids{$kind} })
	{
		open my $file, '<', "/proc/$pid/smaps_rollup" or next;
		my ($kb) = join('', <$file>) =~ /^Anonymous:\s*(\d+) kB/m or next;

		$most = $kb * 1024 if $kb * 1024 > ($most // 0);
	}
	return $most;
}

# Bytes that are free where a file is.
sub free_space
{
	my ($path) = @_;
	my ($kb) = (split ' ', (split /\n/, `df -Pk $path`)[1])[3];

	return $kb * 1024;
}

1;
