# pgbench: a statement, one a transaction, by some clients for some seconds.

package Bench::Pgbench;

use strict;
use warnings;
use utf8;

use Exporter 'import';

our @EXPORT = qw(pgbench start_pgbench finish_pgbench);

# pgbench($database, sql => ..., clients => 8, seconds => 4, sync => 'on'): transactions
# a second, without the time to connect, and how many there were.  In the SQL,
# :payload is a parameter.
sub pgbench
{
	return finish_pgbench(start_pgbench(@_));
}

# The same in two steps, for what is to happen meanwhile.
sub start_pgbench
{
	my ($database, %run) = @_;
	my $file = "$ENV{BENCH_OUT}/pgbench.sql";
	my $clients = $run{clients};

	open my $script, '>', $file or die "$file: $!\n";
	print $script "$run{sql};\n";
	close $script;

	local $ENV{PGOPTIONS} = '-c synchronous_commit=' . ($run{sync} // 'on');
	open my $out, '-|', 'pgbench', '-n', '-M', 'prepared', '-c', $clients, '-j', ($clients < 2 ? $clients : 2), '-T', $run{seconds},
	  '-f', $file, '-D', "payload=$Bench::Database::payload", $database->name
	  or die "pgbench: $!\n";
	return $out;
}

sub finish_pgbench
{
	my ($out) = @_;
	my $text = join '', <$out>;

	close $out or die "pgbench failed: $text\n";
	my ($tps) = $text =~ /^tps = ([\d.]+) \(without/m or die "pgbench: $text\n";
	my ($count) = $text =~ /^number of transactions actually processed: (\d+)/m or die "pgbench: $text\n";

	return ($tps, $count);
}

1;
