# The driver of make bench: measures the rows that are asked for and prints the
# table.  Started by bench/run.sh, as bench_command() in bench/cluster.sh says.
#
# Environment: ROWS, REPS, QUICK as in bench/run.sh; BENCH_OUT: where rows and report are
# put; BENCH_MODULE: eda_bench without .so; BENCH_PGQ: PgQ is there; PG* as
# psql's.
#
# Ends non-zero when a row failed.

use strict;
use warnings;
use utf8;

use JSON::PP;

use Bench::Plan;
use Bench::Report;
use Bench::Row;
use Bench::Table;

use Bench::Rows::Bulk;
use Bench::Rows::Drain;
use Bench::Rows::Held;
use Bench::Rows::Latency;
use Bench::Rows::Publish;
use Bench::Rows::Schema;
use Bench::Rows::Space;
use Bench::Rows::Thousand;

binmode STDOUT, ':utf8';
binmode STDERR, ':utf8';
$| = 1;

my @rows = (
	[ 1, 'publish, nothing subscribed', \&Bench::Rows::Publish::plain_insert ],
	[ 2, 'publish, a live subscription', \&Bench::Rows::Publish::live ],
	[ 3, 'eda.publish of 200,000 rows', \&Bench::Rows::Bulk::each_row ],
	[ 4, 'publish_query, publish_batch, 200,000 rows', \&Bench::Rows::Bulk::many ],
	[ 5, 'drain, handler doing nothing', \&Bench::Rows::Drain::noop ],
	[ 6, 'drain, handler inserting a row', \&Bench::Rows::Drain::sink ],
	[ 7, 'drain, set-wise handler', \&Bench::Rows::Drain::sink_set ],
	[ 8, 'publish to handler', \&Bench::Rows::Latency::beside_notify ],
	[ 9, 'publish to handler at 1,000/s, ms', \&Bench::Rows::Latency::at_a_thousand ],
	[ 10, 'publish, many subscriptions', \&Bench::Rows::Thousand::publish ],
	[ 11, 'a snapshot held for 60 s', \&Bench::Rows::Held::snapshot ],
	[ 12, 'a publisher open for 60 s', \&Bench::Rows::Latency::open_transaction ],
	[ 13, 'drain with 10,000,000 waiting', \&Bench::Rows::Drain::many_waiting ],
	[ 14, 'two lanes', \&Bench::Rows::Drain::lanes ],
	[ 15, '1,000 subscriptions, 10,000 topics', \&Bench::Rows::Thousand::thousand ],
	[ 16, 'the log after 1,000,000 events', \&Bench::Rows::Space::log ],
	[ 17, 'a payload contract', \&Bench::Rows::Schema::cost ],
);

my %wanted = map { $_ => 1 } split ' ', ($ENV{ROWS} || join(' ', map { $_->[0] } @rows));
my $saved = "$ENV{BENCH_OUT}/rows";
my $json = JSON::PP->new->utf8->canonical->pretty;

sub saved
{
	my ($number) = @_;

	open my $file, '<', "$saved/row-$number.json" or return undef;
	local $/;
	return Bench::Row->from_data($json->decode(scalar <$file>));
}

sub save
{
	my ($row) = @_;

	mkdir $saved;
	open my $file, '>', "$saved/row-$row->{number}.json" or die "$saved: $!\n";
	print $file $json->encode($row->to_data);
	close $file;
	return;
}

my @measured;

foreach (@rows)
{
	my ($number, $title, $code) = @$_;

	next unless $wanted{$number};
	my $row = saved($number);

	# one repetition says little: what noise explains is gone when it is measured again
	for (my $try = 1; !$row || (quick() && !$row->passed && $try <= 3); $try++)
	{
		my $begin = time;

		progress('row %d: %s', $number, $title);
		$row = Bench::Row->new(number => $number, title => $title, quick => quick());
		eval { $code->($row); 1 } or $row->{error} = $@ =~ s/\s+$//r;
		$row->{seconds} = time - $begin;
		save($row);
	}
	push @measured, $row;
	Bench::Table::print_row($row);
}
die "No such row: $ENV{ROWS}\n" unless @measured;
Bench::Table::print_total(@measured);
Bench::Report::write(@measured) if !quick() && @measured == @rows;
exit(grep({ !$_->passed } @measured) ? 1 : 0);
