# A session: a psql that is written to and read from by pipes, so that it can
# keep a transaction open, or wait for a lock, while others go on.
#
#  1. send() sends one statement and does not wait; result() waits for its end.
#     One statement at a time.
#  2. A result is { rows => [line, ...], error => SQLSTATE or '', message => text };
#     lost => 1 where the connection broke.
#  3. A statement that lasts longer than $Session::patience seconds dies with `stuck`.

package Session;

use strict;
use warnings;

use IO::Handle;
use IO::Select;
use IPC::Open3;
use Time::HiRes 'time';

our $patience = 60;

sub new
{
	my ($class, $connstr, $name) = @_;
	my $self = bless { name => $name, buffer => '', marker => 0, sent => undef, lost => 0 }, $class;

	$self->{pid} = open3($self->{in}, $self->{out}, undef,
		'psql', '-XAtq', '-F', '|', '-v', 'VERBOSITY=verbose', '-v', 'ON_ERROR_STOP=0', '-d', $connstr);
	binmode $self->{$_}, ':raw' for qw(in out);
	$self->{in}->autoflush(1);
	$self->{select} = IO::Select->new($self->{out});
	return $self;
}

sub send
{
	my ($self, $sql) = @_;

	die "$self->{name} is busy: $self->{sent}" if defined $self->{sent};
	$self->{sent} = $sql;
	$self->{marker}++;
	return if $self->{lost};
	local $SIG{PIPE} = 'IGNORE';
	$self->{lost} = 1 unless print { $self->{in} } "$sql;\n\\echo <end $self->{marker}>\n";
}

sub busy { return defined $_[0]{sent}; }

# Wait for the end of the statement that was sent, $seconds at most; undef: not yet.
sub result
{
	my ($self, $seconds) = @_;
	my $end = "<end $self->{marker}>\n";
	my $deadline = time + ($seconds // $patience);
	my $at;

	while (!$self->{lost} && ($at = index($self->{buffer}, $end)) < 0)
	{
		my $left = $deadline - time;

		if ($left <= 0 || !$self->{select}->can_read($left))
		{
			return undef if defined $seconds;
			die "stuck for $patience s: $self->{sent}\n";
		}
		$self->{lost} = 1 unless sysread($self->{out}, $self->{buffer}, 65536, length $self->{buffer});
	}

	my $text = $self->{lost} ? $self->{buffer} : substr($self->{buffer}, 0, $at);
	my %result = (rows => [], error => '', message => '', lost => $self->{lost});

	$self->{buffer} = $self->{lost} ? '' : substr($self->{buffer}, $at + length $end);
	$self->{sent} = undef;
	if ($text =~ /^(?:psql:[^\n]*? )?(?:ERROR|FATAL|PANIC):  (\w{5}): (.*)/ms)
	{
		@result{qw(error message)} = ($1, $2);
	}
	elsif ($self->{lost})
	{
		@result{qw(error message)} = ('lost', $text);
	}
	else
	{
		$result{rows} = [ split /\n/, $text ];
	}
	return \%result;
}

sub run
{
	my ($self, $sql) = @_;

	$self->send($sql);
	return $self->result;
}

# End the process, whatever it does.
sub close
{
	my ($self) = @_;

	close $self->{in};
	kill 'TERM', $self->{pid};
	waitpid $self->{pid}, 0;
	close $self->{out};
}

1;
