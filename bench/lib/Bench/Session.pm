# A session with the server: a psql at the other end of two pipes.
#
#  1. query() sends statements, waits for their end and returns the rows, each a
#     string with | between the columns.  An error ends the benchmark's row.
#  2. seconds() does the same and returns how long it took, by the clock of the
#     asking side.  A round trip is about 0.1 ms.
#  3. start() sends and finish() waits, for what is to run beside something else.

package Bench::Session;

use strict;
use warnings;
use utf8;

use IO::Handle;
use IO::Select;
use IPC::Open3;
use Time::HiRes 'time';

sub new
{
	my ($class, $db) = @_;
	my $self = bless { db => $db, buffer => '', marker => 0 }, $class;

	$self->{pid} = open3($self->{in}, $self->{out}, undef,
		'psql', '-XAtq', '-F', '|', '-v', 'ON_ERROR_STOP=1', '-d', $db);
	binmode $self->{$_}, ':raw' for qw(in out);
	$self->{in}->autoflush(1);
	$self->query('SET client_min_messages = warning');
	return $self;
}

sub start
{
	my ($self, @statements) = @_;

	local $SIG{PIPE} = 'IGNORE';
	$self->{marker}++;
	print { $self->{in} } join('', map { "$_;\n" } @statements) . "\\echo <end $self->{marker}>\n";
	$self->{statements} = join('; ', @statements);
	return;
}

sub finish
{
	my ($self) = @_;
	my $end = "<end $self->{marker}>\n";
	my $at;

	while (($at = index($self->{buffer}, $end)) < 0)
	{
		sysread($self->{out}, $self->{buffer}, 65536, length $self->{buffer})
		  or die "$self->{statements}\n$self->{buffer}\n";
	}
	my $text = substr($self->{buffer}, 0, $at, '');

	$self->{buffer} = substr($self->{buffer}, length $end);
	return split /\n/, $text;
}

# As finish, and code is run every so many seconds meanwhile.
sub finish_with
{
	my ($self, $code, $interval) = @_;
	my $select = IO::Select->new($self->{out});

	while (index($self->{buffer}, "<end $self->{marker}>\n") < 0)
	{
		$code->();
		next unless $select->can_read($interval);
		sysread $self->{out}, $self->{buffer}, 65536, length $self->{buffer} or last;
	}
	return $self->finish;
}

sub query
{
	my ($self, @statements) = @_;

	$self->start(@statements);
	return $self->finish;
}

# The first row alone.
sub value
{
	my ($self, @statements) = @_;

	return ($self->query(@statements))[0];
}

sub seconds
{
	my ($self, @statements) = @_;
	my $begin = time;

	$self->query(@statements);
	return time - $begin;
}

# How long it took; code is run every 20 ms meanwhile.
sub seconds_with
{
	my ($self, $code, @statements) = @_;
	my $begin = time;

	$self->start(@statements);
	$self->finish_with($code, 0.02);
	return time - $begin;
}

sub close
{
	my ($self) = @_;

	return unless $self->{pid};
	close $self->{in};
	close $self->{out};
	waitpid $self->{pid}, 0;
	$self->{pid} = undef;
	return;
}

sub DESTROY
{
	my ($self) = @_;

	local ($?, $@, $!);
	$self->close;
	return;
}

1;
