# eda and a model of its semantics (Model.pm) are driven with the same random
# steps (Steps.pm), and compared whenever everything has come to rest.
#
#	EDA_MODEL_SEED		which steps; a new one if it is not given
#	EDA_MODEL_STEPS		how many (2000)
#	EDA_MODEL_TIMEOUT	seconds for which nothing may stand still (20)
#	EDA_MODEL_FORGETS	1: eda.retention = 0, 0: the default (one seed in three forgets)
#	EDA_MODEL_WEIGHTS	more or less of some steps, see Steps.pm
#
# A seed gives the same steps again.  Timing differs, so a rare difference may
# take some runs to come back.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'time';

use EdaTest;
use Random;
use Steps;

my $seed = $ENV{EDA_MODEL_SEED} || (time ^ $$) % 1_000_000 + 1;
my $steps = $ENV{EDA_MODEL_STEPS} || 2000;
my $timeout = $ENV{EDA_MODEL_TIMEOUT} || 20;
my $between = 250;    # steps from one rest to the next

$Session::patience = $timeout + 60;
diag("seed $seed, $steps steps: repeat with EDA_MODEL_SEED=$seed EDA_MODEL_STEPS=$steps");

# The server is another one with each seed, too.
my $random = Random->new($seed + 1_000_003);
my $node = new_node('model');
my %settings = (
	max_prepared_transactions => 10,
	restart_after_crash => 'on',
	'eda.max_executors' => $random->pick(2, 4, 8),
	'eda.executor_linger' => $random->pick('0', '20ms', '60s'),
	'eda.batch_time' => $random->pick('1ms', '20ms', '200ms'),
	'eda.synchronous_commit' => $random->pick('off', 'off', 'on'),
);
$node->append_conf('postgresql.conf', "$_ = '$settings{$_}'") foreach sort keys %settings;
$node->start;
$node->safe_psql('postgres', $Steps::setup);

my $forgets = $random->chance(30);
$forgets = $ENV{EDA_MODEL_FORGETS} if length($ENV{EDA_MODEL_FORGETS} // '');

my $t = Steps->new(node => $node, seed => $seed, timeout => $timeout, forgets => $forgets);
my $model = $t->{model};

note("$_ = $settings{$_}") foreach sort keys %settings;
note('eda.retention = 0') if $model->{forgets};

# All steps, with the tick and the second at which each was done, into a file; returns its name.
sub write_steps
{
	my $file = ($ENV{TESTLOGDIR} // '.') . "/steps.$seed.log";

	append_to_file($file, join("\n", @{ $t->{log} }) . "\n");
	return $file;
}

# Who does what, and for whom it waits.
sub who_waits
{
	my ($rc, $stdout, $stderr) = $node->psql('postgres',
		q{SELECT pid, pg_blocking_pids(pid), backend_type, state, wait_event_type, wait_event, query_start, left(query, 150)
		FROM pg_stat_activity WHERE pid <> pg_backend_pid() ORDER BY pid}, timeout => 10);

	return ($stdout // '') . ($stderr // '');
}

# Everything that helps to understand a difference.
sub report
{
	my (@problems) = @_;
	my %about = map { $_ => 1 } map { @{ $_->{events} } } @problems;
	my @log = @{ $t->{log} };
	my $file = write_steps();

	diag("\nseed $seed: " . scalar(@problems) . ' differences');
	diag("  $_->{text}") foreach splice @problems, 0, 15;
	for my $id ((sort { $a <=> $b } keys %about)[ 0 .. 9 ])
	{
		my $ev = $model->{by_id}{ $id // '' } or next;

		diag("  event $id: n=$ev->{n} $ev->{topic} key=" . ($ev->{key} // '') . " v=$ev->{v} commit between ticks $ev->{cb} and $ev->{cd}, "
			  . join(' ', map { "$_=$ev->{s}{$_}" } grep { !ref $ev->{s}{$_} } sort keys %{ $ev->{s} }));
		diag("    $_") foreach grep { /"n":$ev->{n}(?:,|\})|\b$id\b/ } map { substr($_, 0, 400) } @log;
	}
	diag('the last steps (all are in ' . $file . '):');
	diag("  $_") foreach map { substr($_, 0, 300) } @log[ ($#log > 60 ? $#log - 60 : 0) .. $#log ];
	my @server = split /\n/, slurp_file($node->logfile);
	diag("the server's log:");
	diag("  $_") foreach @server[ ($#server > 40 ? $#server - 40 : 0) .. $#server ];
}

my $ok = eval {
	$t->begin;
	for my $n (1 .. $steps)
	{
		$t->step;
		next if $n % $between && $n < $steps && !@{ $model->{problems} };

		$t->rest;
		$model->compare($t->look);
		my @problems = @{ $model->{problems} };

		ok(!@problems, "as the model says after $n steps and $model->{seen_log} ids");
		next unless @problems;
		report(@problems);
		return 0;
	}
	return 1;
};
if (!defined $ok)
{
	my $error = $@;

	fail('the steps can be done');
	diag("who waits:\n", who_waits()) if $error =~ /^stuck/;
	report({ text => $error, events => [] }, @{ $model->{problems} });
}
note(sprintf('%d events, %d effects, %d steps in %.1f s', scalar @{ $model->{committed} }, $model->{seen_seq}, $steps, time - $t->{started}));
write_steps() if $ok;
note(join ", ", map { "$t->{count}{$_} $_" } sort keys %{ $t->{count} });

$t->disconnect;
eval { $node->stop($ok ? 'fast' : 'immediate'); 1 } or fail('the server stops');
unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|signal 11|signal 6/, 'no process crashed by itself');
done_testing();
