# The reference model: what eda's semantics say must come of a list of steps.
#
# The test tells the model what it did and between which two ticks of its own
# clock; the model says, when everything has come to rest, what must, may and
# must not have happened, and compares that with what did.
#
# Publishing
#  P1. An event exists if and only if its transaction, and every savepoint around
#      it, was committed; a prepared transaction is committed by COMMIT PREPARED.
#      A crash rolls back what was open, and nothing that was prepared.
#  P2. Ids rise with publication: who publishes later gets a higher id.
#  P3. An idempotency key on a topic gives one event: who uses it again gets the
#      first one's id, with another payload an error; who comes while the first is
#      undecided waits for it.
#  P4. What a handler publishes exists if and only if the handler's attempt took
#      effect.  It carries its cause's id and correlation, and one hop more.
#  P5. A delayed event has its id at once, and is in the log from some moment after
#      its transaction was committed (and it was due), unless eda.cancel() said true.
#  P6. What every subscription has got past may be gone from the log, if
#      eda.retention says so (`forgets`); nothing else ever is.
#
# To whom
#  S1. A subscription gets the events whose topic matches one of its patterns.
#  S2. start => 'latest': an event committed before the call is not delivered, one
#      that commits after it is, whether the subscription was committed before or
#      not.  In the subscribing transaction: what is published after the call.
#      start => 'earliest': every event there is.  A delayed event: as of the moment when
#      it comes into the log.
#  S3. After a change of the definition events are treated by the old or the new
#      one where they were committed before the change was, else by the new one.
#      An event that waits keeps its place whatever the new topics are; its
#      next attempt is under the new filter, max_attempts and reject_on.
#      An earlier event that only the new topics mean may be delivered or not: how
#      far back depends on where the cursor was stored last.
#  S4. While a subscription is paused nothing is delivered; nothing is lost.
#
# What becomes of an event
#  D1. Handled (one effect, ever), filtered out (none), or dead (none).  Whatever
#      happens to processes and server.
#  D2. A failing attempt counts; the event is tried again until max_attempts, and
#      is then dead with reason max_attempts.  An error in the filter is a failure.
#  D3. An error on the list reject_on, or eda.reject(): dead at once, `rejected`.
#  D4. eda.retry_after() counts as an attempt, eda.snooze() does not.
#  D5. Serialization failures count only after they came several times in a row.
#  D6. Failing at commit is failing.
#  D7. eda.skip(): a waiting event is dead with reason `skipped`.  eda.discard(): a
#      dead letter is gone.  eda.redrive(): a dead letter starts anew.
#  D8. pg_cancel_backend() costs one event one attempt; a killed or terminated
#      worker and a stopped server cost nothing.
#      An event at which the server crashed three times is dead, `crash`, whatever it
#      does itself; this costs no attempts, but counts as a failure.
#  D9. Each death but by eda.skip() publishes one eda.dead_letter.
#  D10. The counters handled, filtered and failed say how many did.
#
# In which order (ordering `key`: events of one key; `strict`: all; `none`: no order)
#  O1. A comes before B if A has the lower id and A's commit was over before B's
#      began.  That covers "B was published after A's commit was seen".
#  O2. Of one transaction: in the order of the ids.
#  O3. What one lane's handlers publish has the order in which they ran.
#  O4. A failed event's successors wait until it is handled or dead.
#  O5. Redriven events come before what is committed after the redrive, and among
#      themselves in the order of redrives, of one redrive in that of their ids.
#  Otherwise transactions that overlap are in any order.
#
# A commit's moment is known as an interval [cb, cd]: tick when it was
# sent, tick when it was answered.  What a handler publishes is committed between
# its cause's cb and the point of rest at which it is seen.

package Model;

use strict;
use warnings;

use constant FOREVER => 1 << 50;

# Filters that the steps choose from: jsonpath, and what it says: 1, 0, or an SQLSTATE.
our %filters = (
	none  => [ undef, sub { 1 } ],
	value => [ '$.v > 3', sub { $_[0]{v} > 3 } ],
	path  => [ '$.tag ? (@ == "x")', sub { ($_[0]{tag} // '') eq 'x' } ],
	topic => [ '$topic != "a.y"', sub { $_[0]{topic} ne 'a.y' } ],
	key   => [ '$key == "k1" || $key == "k2"', sub { ($_[0]{key} // '') =~ /^k[12]$/ } ],
	error => [ 'strict $.m', sub { $_[0]{m} ? 1 : '2203A' } ],
);

sub new
{
	my ($class) = @_;

	return bless {
		clock => 0,
		rest => 0,            # tick of the last point of rest
		committed => [],      # events, each since its commit
		by_id => {},
		by_n => {},
		open => {},           # events of open transactions by n
		names => {},          # subscription's name => { sub, locked }
		subs => {},           # id => subscription, also those that are gone since the last rest
		idempotency => {},    # topic and key => event
		last_id => 0,
		cancels => 0,
		crashes => 0,
		seen_seq => 0,
		seen_log => 0,
		problems => [],
	}, $class;
}

sub tick { return ++$_[0]{clock}; }

sub problem
{
	my ($self, $text, @who) = @_;

	push @{ $self->{problems} }, { text => $text, events => [ map { $_->{id} // () } @who ] };
}

# ---- publishing ----

# An event was published in this transaction; the id may not be known yet.
sub published
{
	my ($self, $txn, $ev, $id) = @_;

	$ev->{txn} = $txn unless $ev->{delayed};
	$ev->{published} = $self->tick;
	$ev->{hops} = 0;
	push @{ $txn->{ops} }, { event => $ev };
	$self->has_id($ev, $id) if defined $id;
}

sub has_id
{
	my ($self, $ev, $id) = @_;

	$ev->{id} = $id;
	$self->problem("P2: event $id was published later than event $self->{last_id}", $ev)
	  if $id <= $self->{last_id};
	$self->{last_id} = $id;
}

# eda.cancel() said that this event will not be.
sub cancelled
{
	my ($self, $ev) = @_;

	$ev->{cancelled} = 1;
	@{ $self->{committed} } = grep { $_ != $ev } @{ $self->{committed} };
}

# Delayed events that may still be cancelled.
sub delayed
{
	my ($self) = @_;

	return grep { $_->{delayed} && !$_->{checked} && !$_->{cancelling} } @{ $self->{committed} };
}

# ---- transactions ----

sub savepoint { push @{ $_[1]{ops} }, { mark => $_[2] }; }

sub release
{
	my ($self, $txn, $name) = @_;

	for my $op (reverse @{ $txn->{ops} })
	{
		next unless defined $op->{mark};
		my $found = $op->{mark} eq $name;

		$op->{mark} = undef;
		last if $found;
	}
}

sub rollback_to
{
	my ($self, $txn, $name) = @_;

	while (my $op = $txn->{ops}[-1])
	{
		last if defined $op->{mark} && $op->{mark} eq $name;
		$op->{undo}->() if $op->{undo};
		pop @{ $txn->{ops} };
	}
}

sub marks
{
	my ($txn) = @_;

	return map { $_->{mark} // () } @{ $txn->{ops} };
}

sub commit
{
	my ($self, $txn, $cb, $cd) = @_;

	for my $op (@{ $txn->{ops} })
	{
		if (my $ev = $op->{event})
		{
			@$ev{qw(cb cd)} = ($cb, $ev->{delayed} ? FOREVER : $cd);
			push @{ $self->{committed} }, $ev;
		}
		$op->{apply}->($cb, $cd) if $op->{apply};
	}
	$txn->{ops} = [];
	$txn->{ended} = 1;
}

sub rollback
{
	my ($self, $txn) = @_;

	for my $op (reverse @{ $txn->{ops} })
	{
		$op->{undo}->() if $op->{undo};
	}
	$txn->{ops} = [];
	$txn->{ended} = 1;
}

# ---- subscriptions ----

sub current { return $_[0]{defs}[-1]; }

sub subscribed
{
	my ($self, $sub, $cb, $cd) = @_;

	@$sub{qw(cb cd)} = ($cb, $cd);
	$self->{names}{ $sub->{name} }{sub} = $sub;
	$self->{subs}{ $sub->{sid} } = $sub;
}

sub altered
{
	my ($self, $sub, $changes, $cb, $cd) = @_;
	my $old = current($sub);

	$old->{e} = $cd;
	push @{ $sub->{defs} }, { %$old, %$changes, b => $cb, e => FOREVER };
}

sub unsubscribed
{
	my ($self, $sub, $cb, $cd) = @_;

	$sub->{ended} = $cd;
	$self->{names}{ $sub->{name} }{sub} = undef;
	$self->{names}{ $sub->{name} }{reused} = 1;
}

# How often a dead event was counted as failed.
sub failures { return $_[0]{attempts} + ($_[0]{reason} eq 'crash'); }

# A dead letter was put back ($discard: thrown away); $row: what it said.
sub redriven
{
	my ($self, $sub, $row, $discard, $cb, $cd, $call) = @_;
	my $id = $row->{id};

	$sub->{buried}{$id}++ if $row->{reason} ne 'skipped';
	if (($sub->{state}{$id} // '') ne 'dead')
	{
		# it died since the last rest
		$sub->{failed_at_death} += failures($row);
		push @{ $sub->{past_dead} }, { %$row, skipped => $sub->{skipped}{$id}, redriven => $sub->{redriven}{$id} };
	}
	delete $sub->{skipped}{$id};
	delete $sub->{redriven}{$id};
	delete $sub->{state}{$id};
	if ($discard)
	{
		$sub->{state}{$id} = 'discarded';
	}
	else
	{
		$sub->{redriven}{$id} = { cb => $cb, cd => $cd, call => $call };
	}
}

# ---- what must be ----

sub topic_matches
{
	my ($patterns, $topic) = @_;

	for my $pattern (split /,/, $patterns)
	{
		my $re = join '\\.', map { $_ eq '*' ? '[^.]+' : $_ } split /\./, $pattern;

		if ($pattern eq '#')
		{
			$re = '(?!eda(\.|$)).*';
		}
		elsif ($pattern =~ /^(.*)\.#$/)
		{
			($re = $1) =~ s/\*/[^.]+/g;
			$re =~ s/\./\\./g;
			$re .= '(\..*)?';
		}
		return 1 if $topic =~ /^$re$/;
	}
	return 0;
}

# Is the event one of those that the subscription starts with?  1, 0, or undef: it may be.
sub is_after_start
{
	my ($self, $sub, $ev) = @_;

	return $self->{forgets} && $ev->{cb} < $sub->{call_e} ? undef : 1 if $sub->{start} eq 'earliest';
	return $ev->{published} > $sub->{call_b} if $ev->{txn} && $ev->{txn} == $sub->{txn};
	return 0 if $ev->{cd} < $sub->{call_b};
	return 1 if $ev->{cb} > $sub->{call_e};
	return undef;
}

sub rejects
{
	my ($def, $code) = @_;

	return $code =~ /^$def->{reject_on}/ if defined $def->{reject_on};
	return 0;
}

# What one definition says must become of an event that has one of its topics: [state,
# attempts, reason].
sub outcome
{
	my ($def, $ev) = @_;
	my $max = $def->{max_attempts};
	my $pass;
	my $s = $ev->{s};
	my ($fails, $code) = (0, 'P0001');

	$pass = $filters{ $def->{filter} }[1]->($ev);
	return ['filtered'] unless $pass;
	if ($pass ne '1')
	{
		($fails, $code) = (FOREVER, $pass);
	}
	elsif ($s->{do} eq 'reject')
	{
		return [ 'dead', 1, 'rejected' ];
	}
	elsif ($s->{do} eq 'code')
	{
		($fails, $code) = (FOREVER, '22012');
	}
	elsif ($s->{do} eq 'retry_after')
	{
		($fails, $code) = ($s->{k}, 'ED031');
	}
	elsif ($s->{do} =~ /^(fail|boom)$/)
	{
		$fails = $s->{k};
	}
	return [ 'handled', 1 ] if $fails == 0;
	return [ 'dead', 1, 'rejected' ] if rejects($def, $code);
	return [ 'handled', $fails + 1 ] if $fails < $max;
	return [ 'dead', $max, 'max_attempts' ];
}

# The definitions by which an event may have been treated since the last rest.
sub definitions
{
	my ($self, $sub, $ev) = @_;
	my $since = $ev->{cb} > $self->{rest} ? $ev->{cb} : $self->{rest};
	my $inst = $sub->{redriven}{ $ev->{id} };

	$since = $inst->{cb} if $inst && $inst->{cb} > $since;
	return grep { $_->{e} >= $since } @{ $sub->{defs} };
}

# What these definitions allow.  Topics are looked at once, never again for an event that is
# redriven; the rest at each attempt, which may be under another definition.
sub outcomes
{
	my ($sub, $ev, @defs) = @_;
	my @matching = grep { $sub->{redriven}{ $ev->{id} } || topic_matches($_->{topics}, $ev->{topic}) } @defs;

	return ['none'] unless @matching;
	return ((@matching < @defs || $sub->{unmatched}{ $ev->{id} } ? ['none'] : ()), map { outcome($_, $ev) } @defs);
}

# Is what happened allowed?  Returns a complaint, or the empty string; $$extra: attempts
# more than the event needed.
sub judge
{
	my ($self, $sub, $ev, $actual, $extra) = @_;
	my @defs = $self->definitions($sub, $ev);
	my @outcomes = outcomes($sub, $ev, @defs);
	my $due = $self->is_after_start($sub, $ev);
	my ($state, $attempts, $reason) = @$actual;
	my ($max) = sort { $b <=> $a } map { $_->{max_attempts} } @defs;

	$$extra = 0;
	$due = undef if $sub->{ended} && $state eq 'nothing';
	if (!$due)
	{
		push @outcomes, ['none'];
		@outcomes = (['none']) if defined $due;
	}
	return '' if $state eq 'dead' && $reason eq 'crash' && $self->{crashes} >= 3 && $due // 1;
	push @outcomes, ['skipped'] if $sub->{skipped}{ $ev->{id} };

	for my $o (@outcomes)
	{
		return '' if $state eq 'nothing' && $o->[0] =~ /^(none|filtered)$/;
		return '' if $state eq 'dead' && $reason eq 'skipped' && $o->[0] eq 'skipped';
		next unless $o->[0] eq $state && ($reason // '') eq ($o->[2] // '');
		return '' if $attempts == $o->[1];
		# under a definition that changed meanwhile it may have died at any of its attempts,
		return '' if $state eq 'dead' && @defs > 1 && $attempts <= $max;
		# or have been handled at one after it failed under the other
		return '' if $state eq 'handled' && $attempts > $o->[1] && $attempts <= $max && grep { $_->[0] eq 'dead' } @outcomes;
	}
	# the attempts that a cancelled executor cost
	for my $o (@outcomes)
	{
		next unless $o->[0] =~ /^(handled|dead)$/ && $state =~ /^(handled|dead)$/;
		my $more = $attempts - $o->[1];

		if ($state eq 'dead' && $reason eq 'max_attempts' && $attempts <= $max &&
			$o->[1] + $self->{cancels} >= $attempts)
		{
			$$extra = 1;
			return '';
		}
		if ($state eq $o->[0] && ($reason // '') eq ($o->[2] // '') && $more > 0 && $more <= $self->{cancels})
		{
			$$extra = $more;
			return '';
		}
	}
	return sprintf('%s, but must be %s', join(' ', map { $_ // '' } @$actual),
		join(' or ', keys %{ { map { (join(' ', @$_) => 1) } @outcomes } }));
}

# ---- order ----

# Where an event stands in a subscription's order, as of its last redrive.
sub place
{
	my ($sub, $ev) = @_;
	my $inst = $sub->{redriven}{ $ev->{id} };

	return $inst ? { %$inst, redriven => 1, id => $ev->{id} } :
	  { cb => $ev->{cb}, cd => $ev->{cd}, txn => $ev->{txn}, parent => $ev->{parent}, id => $ev->{id} };
}

sub comes_before
{
	my ($a, $b) = @_;

	if ($a->{redriven} || $b->{redriven})
	{
		return 0 unless $a->{redriven};
		return 1 if $a->{cd} < $b->{cb};
		return $b->{redriven} && $a->{call} == $b->{call} && $a->{id} < $b->{id};
	}
	return 0 unless $a->{id} < $b->{id};
	return 1 if $a->{cd} < $b->{cb};
	return 1 if defined $a->{txn} && defined $b->{txn} && $a->{txn} == $b->{txn};
	return 1 if $a->{parent} && $b->{parent} && $a->{parent}{lane} eq $b->{parent}{lane};
	return 0;
}

# Effects of one subscription since the last rest, in the order in which they ran.
sub check_order
{
	my ($self, $sub, @effects) = @_;
	my %weight = (none => 0, key => 1, strict => 2);
	my ($ordering) = sort { $weight{$a} <=> $weight{$b} } map { $_->{ordering} } @{ $sub->{defs} };
	my %groups;

	return if $ordering eq 'none';
	for my $effect (@effects)
	{
		my $ev = $self->{by_id}{ $effect->{id} } or next;

		push @{ $groups{ $ordering eq 'strict' ? '' : $ev->{key} } }, place($sub, $ev)
		  if $ordering eq 'strict' || defined $ev->{key};
	}
	for my $key (sort keys %groups)
	{
		my @done = @{ $groups{$key} };

	  GROUP: for my $i (1 .. $#done)
		{
			for my $j (0 .. $i - 1)
			{
				next unless comes_before($done[$i], $done[$j]);
				$self->problem(
					"O: subscription $sub->{name} ($sub->{sid}), ordering $ordering, key '$key': event $done[$j]{id} ran before $done[$i]{id}",
					@done[ $i, $j ]);
				last GROUP;
			}
		}
	}
}

# ---- comparing, at a point of rest ----

# $now: { log => [...], effects => [...], dead => [...], counters => {...} }, see random.pl.
sub compare
{
	my ($self, $now) = @_;
	my (%effects, %dead, %filtered);

	$self->compare_log($now);
	for my $effect (@{ $now->{effects} })
	{
		push @{ $effects{ $effect->{sid} } }, $effect;
	}
	for my $row (@{ $now->{dead} })
	{
		$dead{ $row->{sid} }{ $row->{id} } = $row;
	}
	for my $sid (keys %effects)
	{
		$self->problem("D1: effects of an unknown subscription $sid (rolled back?)") unless $self->{subs}{$sid};
	}

	my $spent = 0;
	for my $sid (sort { $a <=> $b } keys %{ $self->{subs} })
	{
		my $sub = $self->{subs}{$sid};

		$spent += $self->compare_subscription($sub, $effects{$sid} // [], $dead{$sid} // {}, $now->{counters}{$sid});
		$self->check_order($sub, @{ $effects{$sid} // [] });
	}
	$self->problem("D8: $spent attempts too many, $self->{cancels} executors were cancelled: " . join('; ', @{ $self->{spent} }))
	  if $spent > $self->{cancels};
	$self->{spent} = [];
	$self->compare_system_events($now);

	# what is past cannot change any more
	for my $sid (keys %{ $self->{subs} })
	{
		my $sub = $self->{subs}{$sid};

		if ($sub->{ended})
		{
			delete $self->{subs}{$sid};
			next;
		}
		$sub->{defs} = [ current($sub) ];
		$sub->{past_dead} = [];
	}
	$self->{cancels} = 0;
	$self->{rest} = $self->tick;
}

# Does the log hold what was committed, and nothing else?
sub compare_log
{
	my ($self, $now) = @_;
	my (%log, %expected);

	for my $row (@{ $now->{log} })
	{
		$log{ $row->{id} } = $row;
		$self->{seen_log} = $row->{id} if $row->{id} > $self->{seen_log};
	}

	# events whose id nobody told: publish_query
	my %by_n = map { (defined $_->{n} && !defined $_->{cause} ? ($_->{n} => $_) : ()) } values %log;
	for my $ev (grep { !exists $_->{checked} } @{ $self->{committed} })
	{
		my $row = defined $ev->{id} ? $log{ $ev->{id} } : $by_n{ $ev->{n} };

		$ev->{checked} = 1;
		$ev->{cd} = $self->tick if $ev->{delayed};
		if (!$row && $self->{forgets})
		{
			# it was handled by all; what they say of it is all there is
			my ($effect) = grep { $_->{n} == $ev->{n} && $_->{topic} eq $ev->{topic} } @{ $now->{effects} };

			$ev->{id} //= $effect ? $effect->{id} : -$ev->{n};
			$self->{by_id}{ $ev->{id} } = $ev;
			next;
		}
		if (!$row)
		{
			$self->problem("P1: event n=$ev->{n} on $ev->{topic} was committed and is not in the log", $ev);
			$ev->{id} //= -$ev->{n};
			next;
		}
		$ev->{id} //= $row->{id};
		$self->{by_id}{ $ev->{id} } = $ev;
		$expected{ $ev->{id} } = 1;
		$self->problem("P1: event $ev->{id} in the log is another one: n=$row->{n} $row->{topic}", $ev)
		  if $row->{n} != $ev->{n} || $row->{topic} ne $ev->{topic} || ($row->{key} // '') ne ($ev->{key} // '');
	}

	# what the handlers published, causes first
	for my $effect (sort { $a->{follow} <=> $b->{follow} } grep { defined $_->{follow} } @{ $now->{effects} })
	{
		my $cause = $self->{by_id}{ $effect->{id} };
		my $sub = $self->{subs}{ $effect->{sid} };
		my $row = $log{ $effect->{follow} };

		if (!$cause || !$sub || !($row || $self->{forgets}))
		{
			$self->problem("P4: event $effect->{follow}, which the handler of $effect->{id} published, is not in the log") unless $row;
			next;
		}
		my $chain = $cause->{s}{chain};
		my $cb = (sort { $b <=> $a } place($sub, $cause)->{cb}, $self->{rest}, $sub->{cb})[0];
		my %ev = (
			id => $effect->{follow}, n => $cause->{n}, topic => $chain->{topic}, key => $cause->{key}, v => $chain->{v},
			s => { do => $chain->{do}, k => 1 }, cb => $cb, cd => $self->tick, hops => $cause->{hops} + 1, published => $cb,
			checked => 1,
			parent => { lane => $sub->{concurrency_ever} == 1 ? $effect->{sid} : "$effect->{sid} " . ($cause->{key} // "/$cause->{id}") });

		if (!$row)
		{
			push @{ $self->{committed} }, \%ev;
			$self->{by_id}{ $ev{id} } = \%ev;
			next;
		}
		$self->problem("P4: event $ev{id}, published by the handler of $cause->{id}, is another one: $row->{topic}", \%ev)
		  if $row->{topic} ne $ev{topic} || ($row->{key} // '') ne ($ev{key} // '');
		$self->problem("P4: event $ev{id} has $row->{hops} hops and correlation $row->{correlation}, not $ev{hops} and $cause->{correlation}", \%ev)
		  if !$sub->{set_wise_ever} && $row->{hops} != $ev{hops};
		$self->problem("P4: event $ev{id} has cause $row->{cause} and correlation $row->{correlation}, its cause is $cause->{id}", \%ev)
		  if !$sub->{set_wise_ever} &&
		  ($row->{cause} != $cause->{id} || $row->{correlation} ne ($cause->{correlation} // $cause->{id}));
		# a set-wise handler's event names the first of the set
		@ev{qw(hops correlation)} = @$row{qw(hops correlation)};
		$expected{ $ev{id} } = 1;
		push @{ $self->{committed} }, \%ev;
		$self->{by_id}{ $ev{id} } = \%ev;
	}

	for my $id (sort { $a <=> $b } keys %log)
	{
		next if $expected{$id} || $log{$id}{topic} =~ /^eda\./;
		$self->problem("P1: event $id on $log{$id}{topic} is in the log, though nothing that was committed published it");
	}
}

# One subscription.  Returns the attempts that cancelled executors must have cost.
sub compare_subscription
{
	my ($self, $sub, $effects, $dead, $counters) = @_;
	my $who = "subscription $sub->{name} ($sub->{sid})";
	my (%handled, %attempt);
	my ($spent, $filtered_min, $filtered_max, $failed, $vague) = (0, 0, 0, $sub->{failed_at_death} // 0, 0);

	# those that no topics meant before may be meant now
	my @now = map { $_->{topics} } @{ $sub->{defs} };
	for my $ev (values %{ $sub->{unmatched} // {} })
	{
		delete $sub->{state}{ $ev->{id} } if grep { topic_matches($_, $ev->{topic}) } @now;
	}

	for my $effect (@$effects)
	{
		my $ev = $self->{by_id}{ $effect->{id} };

		if (!$ev)
		{
			$self->problem("D1: $who handled event $effect->{id}, which was not committed");
			next;
		}
		$handled{ $effect->{id} }++;
		$attempt{ $effect->{id} } = $effect->{attempt};
		$self->problem("D1: $who: the handler of event $effect->{id} was given another event", $ev)
		  if $effect->{topic} ne $ev->{topic} || ($effect->{key} // '') ne ($ev->{key} // '') || $effect->{n} != $ev->{n};
		if (my $state = $sub->{state}{ $effect->{id} })
		{
			$self->problem("D1: $who handled event $effect->{id}, which was $state before", $ev);
		}
	}
	$failed += $_->{attempt} - 1 foreach @$effects;

	for my $row (@{ $sub->{past_dead} // [] })
	{
		my $ev = $self->{by_id}{ $row->{id} } or next;
		my $extra;
		# as it was when it died
		local $sub->{redriven}{ $row->{id} } = $row->{redriven};
		local $sub->{skipped}{ $row->{id} } = $row->{skipped};
		my $complaint = $self->judge($sub, $ev, [ 'dead', @$row{qw(attempts reason)} ], \$extra);

		$self->problem("D: $who, event $row->{id}: $complaint", $ev) if $complaint;
	}

	for my $ev (@{ $self->{committed} })
	{
		my $id = $ev->{id};
		my $n = $handled{$id} // 0;
		my $is_dead = $dead->{$id};
		my ($actual, $complaint, $extra);

		next if $sub->{state}{$id};
		if ($n > 1)
		{
			$self->problem("D1: $who: event $id took effect $n times", $ev);
		}
		elsif ($n && $is_dead)
		{
			$self->problem("D1: $who: event $id is handled and dead", $ev);
		}
		if ($n)
		{
			$actual = [ 'handled', $attempt{$id} ];
		}
		elsif ($is_dead)
		{
			$actual = [ 'dead', @$is_dead{qw(attempts reason)} ];
		}
		else
		{
			$actual = ['nothing'];
		}
		if ($actual->[0] eq 'nothing' && !$sub->{ended})
		{
			my @defs = $self->definitions($sub, $ev);
			my @states = map { $_->[0] } outcomes($sub, $ev, @defs);
			my $due = $self->is_after_start($sub, $ev);
			my $n_filtered = grep { $_ eq 'filtered' } @states;

			if ($n_filtered && (!defined $due || $due))
			{
				$filtered_max++;
				$filtered_min++ if $due && $n_filtered == @states;
				# it may have failed before the filter was another one
				$vague = 1 if @defs > 1;
			}
		}
		$complaint = $self->judge($sub, $ev, $actual, \$extra);
		$self->problem("D: $who, event $id (n=$ev->{n} $ev->{topic} $ev->{s}{do}): $complaint", $ev) if $complaint;
		$spent += $extra;
		push @{ $self->{spent} }, "$sub->{name} $id: @$actual" if $extra;
		if ($actual->[0] eq 'dead')
		{
			$failed += failures($is_dead);
		}
		if ($actual->[0] ne 'nothing')
		{
			delete $sub->{unmatched}{$id};
		}
		elsif (!$sub->{unmatched}{$id})
		{
			my $due = $self->is_after_start($sub, $ev);

			$sub->{unmatched}{$id} = $ev if (!defined $due || $due) && grep { $_->[0] eq 'none' } outcomes($sub, $ev, $self->definitions($sub, $ev));
		}
		$sub->{state}{$id} = $actual->[0];
		delete $sub->{redriven}{$id} if $actual->[0] eq 'nothing';
	}
	for my $id (keys %$dead)
	{
		$self->problem("D1: $who: dead letter $id is no event of its") unless $self->{by_id}{$id};
		$self->problem("D1: $who: event $id is a dead letter, and was $sub->{state}{$id}")
		  if defined $sub->{state}{$id} && $sub->{state}{$id} ne 'dead';
	}
	for my $id (grep { $sub->{state}{$_} eq 'dead' } keys %{ $sub->{state} })
	{
		$self->problem("D1: $who: dead letter $id is gone") unless $dead->{$id} || $sub->{ended};
	}
	return $spent if $sub->{ended};

	# counters, since the last rest
	if (!$counters)
	{
		$self->problem("$who is not there");
		return $spent;
	}
	my %delta = map { $_ => $counters->{$_} - ($sub->{counters}{$_} // 0) } qw(handled filtered failed);

	$self->problem("D10: $who counted $delta{handled} as handled, it was " . scalar @$effects) if $delta{handled} != @$effects;
	$self->problem("D10: $who counted $delta{filtered} as filtered out, it was $filtered_min to $filtered_max")
	  if $delta{filtered} < $filtered_min || $delta{filtered} > $filtered_max;
	$self->problem("D10: $who counted $delta{failed} failed attempts, it was $failed")
	  if $vague ? $delta{failed} < $failed : $delta{failed} != $failed;
	$self->problem("$who is $counters->{state}") if $counters->{state} ne 'active';
	$sub->{counters} = $counters;
	$sub->{failed_at_death} = 0;
	return $spent;
}

# Every death was announced, once.
sub compare_system_events
{
	my ($self, $now) = @_;

	return if $self->{forgets};
	for my $row (grep { $_->{topic} eq 'eda.dead_letter' } @{ $now->{log} })
	{
		$self->{announced}{ $row->{sub} }{ $row->{dead_id} }++;
	}
	for my $name (sort keys %{ $self->{names} })
	{
		my $sub = $self->{names}{$name}{sub} or next;
		my %deaths = %{ $sub->{buried} // {} };

		next if $self->{names}{$name}{reused};    # its predecessor's are not known
		$deaths{ $_->{id} }++ foreach grep { $_->{sid} == $sub->{sid} && $_->{reason} ne 'skipped' } @{ $now->{dead} };
		for my $id (sort { $a <=> $b } keys %{ { %deaths, %{ $self->{announced}{$name} // {} } } })
		{
			my ($want, $got) = ($deaths{$id} // 0, $self->{announced}{$name}{$id} // 0);

			$self->problem("D9: subscription $name: event $id died $want times, was announced $got times") if $want != $got;
		}
	}
}

1;
