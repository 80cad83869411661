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
#      effect.  It carries its cause's id and correlation, and one hop more.  What anybody else
#      publishes has the correlation that was given, or its own id.
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
#      start => 'earliest': every event there is.  start_at: of those that were committed
#      before the call the ones that were due then or later, and all that commit after it.
#      A delayed event: as of the moment when it comes into the log.
#  S3. After a change of the definition events are treated by the old or the new
#      one where they were committed before the change was, else by the new one.
#      An event that waits keeps its place whatever the new topics are; its
#      next attempt is under the new filter, max_attempts and reject_on.
#      An earlier event that only the new topics mean may be delivered or not: how
#      far back depends on where the cursor was stored last.
#  S4. While a subscription is paused or blocked nothing is delivered; nothing is lost.
#  S5. rate_limit: of all lanes together no more events in any time than the rate
#      allows in it and 20 ms more, and one; but what one call has at hand may be late.
#
# What becomes of an event
#  D1. Handled (one effect, ever), filtered out (none), or dead (none).  Whatever
#      happens to processes and server.
#  D2. A failing attempt counts; the event is tried again until max_attempts, and
#      is then dead with reason max_attempts.  An error in the filter is a failure.
#      What fails only where others of its batch were handled before it (`lonely`) does not count, and
#      nothing that one of them has set for its transaction (model.local) reaches it.
#  D3. An error on the list reject_on, or eda.reject(): dead at once, `rejected`.
#  D4. eda.retry_after() counts as an attempt, eda.snooze() does not.  Events that snooze until the
#      log has nothing more for their subscription are handled: neither side keeps the other waiting.
#  D5. Serialization failures count only after they came several times in a row.
#  D6. Failing at commit is failing.
#  D7. eda.skip(): a waiting event is dead with reason `skipped`.  eda.discard(): a
#      dead letter is gone.  eda.redrive(): a dead letter starts anew.
#      eda.unsubscribe() without force is refused if and only if there is one.
#  D8. pg_cancel_backend() costs one event one attempt; a killed
#      worker and a stopped server cost nothing, a terminated executor nothing the first time.
#      An event at which the server crashed three times is dead, `crash`, whatever it
#      does itself; this costs no attempts, but counts as a failure.
#  D9. Each death but by eda.skip() publishes one eda.dead_letter.
#  D10. The counters handled, filtered and failed say how many did.
#  D11. expire_after: an event is dead, `expired`, if its turn comes later than that after it
#      was due, and is handled or fails otherwise.  It costs no attempt.
#  D12. A handler that runs longer than `timeout` fails; if that was the last attempt, it
#      is dead with reason timeout.
#  D13. `redelivered` is true if an attempt is on record as failed, or it was replayed; in the
#      pass that a seek begins it is false again.
#  D14. eda.run_pending() in a transaction that is rolled back does nothing.
#
# Position
#  G1. eda.seek() begins a pass: every event that the call did not see comes, and of those that it
#      saw, the ones from the place on: all, none, those with this id or a higher one, those
#      that were due then or later; each as a new event, whatever became of it before.
#      Of its own transaction comes what is published after it, and what was before, unless
#      it goes to `latest`.
#  G2. What waits for an attempt at a seek waits no more if it is to come by G1, and goes on
#      if not.  What has not come to its end in one pass and is before the place of the next
#      does not come.
#  G3. Dead letters stay, whatever comes again.  Who dies again has one dead letter still.
#  G4. eda.replay() delivers once more what was published in the time, has one of the
#      topics, and neither waits nor is dead nor is still to come.
#  G5. An event that a redrive puts back and that is still to come, too, comes once or twice.
#  G6. All of these wait for the batch at hand: what is delivered after it is after it.
#
# In which order (ordering `key`: events of one key; `strict`: all; `none`: no order)
#  O1. A comes before B if A has the lower id and A's commit was over before B's
#      began.  That covers "B was published after A's commit was seen".
#  O2. Of one transaction: in the order of the ids.
#  O3. What one lane's handlers publish has the order in which they ran.
#  O4. A failed event's successors wait until it is handled or dead.
#  O5. What waits comes before what is read from the log later, and in the order in which it
#      waits.  Redriven and replayed events go behind those that wait, in that of their ids.
#  O1 to O3 hold within a pass.
#  Otherwise transactions that overlap are in any order.
#
# What waits and what is dead is known at some moments (`timeline`): whoever seeks, replays,
# redrives or discards looks at it first and last, with the subscription's lock, and what takes
# effect has a number by which it was before or after.  Between two of them the model
# follows each event as up to two things that can become one effect, dead letter or waiting event each:
# the event as it waits, and the event as it is still to come from the log (see follow()).
#
# A commit's moment is known as an interval [cb, cd]: tick when it was
# sent, tick when it was answered.  What a handler publishes is committed between
# its cause's cb and the point of rest at which it is seen.

package Model;

use strict;
use warnings;

use constant FOREVER => 1 << 50;

# The timeout that handlers of slow events run into, and for how long a handler may be kept, in seconds.
our $short = '700 ms';
our $delay = 10;

# Filters that the steps choose from: jsonpath, and what it says: 1, 0, or an SQLSTATE.
our %filters = (
	none  => [ undef, sub { 1 } ],
	value => [ '$.v > 3', sub { $_[0]{v} > 3 } ],
	path  => [ '$.tag ? (@ == "x")', sub { ($_[0]{tag} // '') eq 'x' } ],
	topic => [ '$topic != "a.y"', sub { $_[0]{topic} ne 'a.y' } ],
	key   => [ '$key == "k1" || $key == "k2"', sub { ($_[0]{key} // '') =~ /^k[12]$/ } ],
	error => [ 'strict $.m', sub { $_[0]{m} ? 1 : '2203A' } ],
	headers => [ '$headers.h == 1', sub { $_[0]{h} } ],
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
		outages => [],        # since the last rest: from, to, in microseconds
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
	  if $id <= $self->{last_id} && !$ev->{waited};
	$self->{last_id} = $id if $id > $self->{last_id};
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
		$op->{first_use}{released} = 1 if $op->{first_use};
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

	$sub->{timeline} = [];
	$sub->{pass}{cb} = $cb;
	$self->{names}{ $sub->{name} }{sub} = $sub;
	$self->{subs}{ $sub->{sid} } = $sub;
}

# $mark: what took effect before has a lower number.
sub altered
{
	my ($self, $sub, $changes, $cb, $cd, $mark) = @_;
	my $old = current($sub);

	$old->{e} = $cd;
	push @{ $sub->{defs} }, { %$old, %$changes, b => $cb, e => FOREVER, mark => $mark };
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

# Something was done to what waits, to dead letters or to the position.  $look: what there was
# under the subscription's lock, see Steps::parse_look():
#	what		seek, replay, redrive, discard
#	mark		what has taken effect has a lower number, what will, a higher one
#	waiting		before: id => { place, attempt, tried }
#	dead		before: id => { attempts, reason, died }
#	after		what waits after it: id => place in the queue
#	dead_after	ids
#	before_ids, after_ids	which of the events since the last rest were in the log
sub looked
{
	my ($self, $sub, $look, $cb, $cd, $call_b, $call_e, $txn) = @_;

	@$look{qw(cb cd call_b call_e txn seen_log def)} = ($cb, $cd, $call_b, $call_e, $txn, $self->{seen_log}, current($sub));
	push @{ $sub->{timeline} }, $look;

	# O5: those that waited in their order, and then the new ones in that of their ids
	my $before = $look->{waiting};
	my @after = sort { $look->{after}{$a} <=> $look->{after}{$b} } keys %{ $look->{after} };
	for my $i (1 .. $#after)
	{
		my ($one, $next) = @after[ $i - 1, $i ];

		next if $before->{$one} && (!$before->{$next} || $before->{$one}{place} < $before->{$next}{place});
		next if !$before->{$one} && !$before->{$next} && $one < $next;
		$self->problem("O5: subscription $sub->{name} ($sub->{sid}): after a $look->{what} event $one waits before $next");
		last;
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

# Did the call of a subscribe, seek or replay see this event in the log?  1, 0, or undef: maybe.
sub saw
{
	my ($self, $call, $ev) = @_;

	return 1 if $ev->{cd} < $call->{call_b};
	return 0 if $ev->{cb} > $call->{call_e};
	return undef unless $call->{before_ids} && $ev->{id} > $call->{seen_log};
	return 1 if $call->{before_ids}{ $ev->{id} };
	return 0 if !$self->{forgets} && !$call->{after_ids}{ $ev->{id} };
	return undef;
}

sub is_own { return $_[1]{txn} && $_[0]{txn} && $_[1]{txn} == $_[0]{txn}; }

# Is the event one of those that the subscription gets since it began, or since a seek?  1,
# 0, or undef: it may be.
sub is_in_pass
{
	my ($self, $pass, $ev) = @_;
	my $to = $pass->{to};
	my $saw;

	return $to ne 'latest' || $ev->{published} > $pass->{call_b} if is_own($pass, $ev);
	$saw = $self->saw($pass, $ev);
	return 1 if defined $saw && !$saw;
	if ($to =~ /^(latest|id|time)$/)
	{
		return undef if $to eq 'time' && !defined $ev->{due_us};
		my $from_there = $to eq 'latest' ? 0 : $to eq 'id' ? $ev->{id} >= $pass->{place} : $ev->{due_us} >= $pass->{place};

		return $saw ? 0 : undef unless $from_there;
	}
	# it may have gone
	return $self->{forgets} ? undef : 1;
}

sub rejects
{
	my ($def, $code) = @_;

	return $code =~ /^$def->{reject_on}/ if defined $def->{reject_on};
	return 0;
}

# What one definition says must become of an event that has one of its topics: [state,
# attempts, reason]; and how many attempts would fail, if it does not come to that.
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
	elsif ($s->{do} eq 'slow' && $def->{timeout} eq $short)
	{
		($fails, $code) = ($s->{k}, '57014');
	}
	return [ 'handled', 1 ] if $fails == 0;
	return [ 'dead', 1, 'rejected', $fails ] if rejects($def, $code);
	return [ 'handled', $fails + 1 ] if $fails < $max;
	return [ 'dead', $max, ($code eq '57014' ? 'timeout' : 'max_attempts'), $fails ];
}

# What these definitions allow.  Topics are looked at once, when the event is read from the
# log ($queued: it waits); the rest at each attempt, which may be under another definition.
sub outcomes
{
	my ($queued, $ev, @defs) = @_;
	my @matching = grep { $queued || topic_matches($_->{topics}, $ev->{topic}) } @defs;

	return ['none'] unless @matching;
	return ((@matching < @defs ? ['none'] : ()), map { outcome($_, $ev) } @defs);
}

# The definitions by which an event was treated in some time.
sub definitions
{
	my ($sub, $since, $until) = @_;

	return grep { $_->{e} >= $since && $_->{b} <= $until } @{ $sub->{defs} };
}

# Is what became of an event allowed?  [ handled, attempts ], [ dead, attempts, reason ]
# or [ nothing ]; $it: as it waits or comes from the log, see follow().  Returns a
# complaint, or the empty string; $$extra: attempts more than the event needed.
sub judge
{
	my ($self, $sub, $ev, $actual, $extra, $it, $until) = @_;
	my @defs = definitions($sub, $it->{since}, $until);
	my @outcomes = outcomes($it->{queued}, $ev, @defs);
	my ($state, $attempts, $reason) = @$actual;
	my ($max) = sort { $b <=> $a } map { $_->{max_attempts} } @defs;

	$$extra = 0;
	push @outcomes, ['none'] if $it->{may};
	if ($state eq 'dead')
	{
		return '' if $reason eq 'crash' && $self->{crashes} >= 3;
		return '' if $reason eq 'skipped' && $sub->{skipped}{ $ev->{id} };
		return '' if $reason eq 'expired' && $attempts < $max && grep { $_->{expire_after} } @defs;
	}
	# that of the last failure, where another one was late by accident
	if ($state eq 'dead' && $reason =~ /^(timeout|max_attempts)$/ && grep { $_->{timeout} eq $short } @defs)
	{
		my ($other) = grep { /^(timeout|max_attempts)$/ } map { $_->[2] // '' } @outcomes;

		$reason = $other if defined $other;
	}

	for my $o (@outcomes)
	{
		return '' if $state eq 'nothing' && $o->[0] =~ /^(none|filtered)$/;
		next unless $o->[0] eq $state && ($reason // '') eq ($o->[2] // '');
		return '' if $attempts == $o->[1];
		# under a definition that changed meanwhile it may have died at any of its attempts,
		return '' if $state eq 'dead' && @defs > 1 && $attempts <= $max;
		# or have been handled at one after it failed under the other
		return '' if $state eq 'handled' && $attempts > $o->[1] && $attempts <= $max && grep { $_->[0] eq 'dead' } @outcomes;
	}
	# Nor is it dead where it failed under the other as often as it would have under this one.
	if ($state eq 'handled' && $attempts <= $max && grep { $_->[0] eq 'dead' && $_->[1] > 1 } @outcomes)
	{
		return '' if grep { defined $_->[3] && $attempts > $_->[3] } @outcomes;
	}
	# the attempts that a cancelled executor cost, or an accidental delay
	my $cancels = (grep { $_->{timeout} eq $short } @defs) ? FOREVER : $self->{cancels};
	for my $o (@outcomes)
	{
		next unless $o->[0] =~ /^(handled|dead)$/ && $state =~ /^(handled|dead)$/;
		my $more = $attempts - $o->[1];

		# an attempt that failed by accident was not rejected
		if ($state eq 'handled' && ($o->[2] // '') eq 'rejected' && $attempts > $o->[3] && $more <= $cancels)
		{
			$$extra = $cancels == FOREVER ? 0 : $more;
			return '';
		}
		if ($state eq 'dead' && $reason =~ /^(timeout|max_attempts)$/ && $attempts <= $max &&
			$o->[1] + $cancels >= $attempts)
		{
			$$extra = $cancels == FOREVER ? 0 : 1;
			return '';
		}
		if ($state eq $o->[0] && ($reason // '') eq ($o->[2] // '') && $more > 0 && $more <= $cancels)
		{
			$$extra = $cancels == FOREVER ? 0 : $more;
			return '';
		}
	}
	return sprintf('%s, but must be %s', join(' ', map { $_ // '' } @$actual[ 0 .. 2 ]),
		join(' or ', keys %{ { map { (join(' ', map { $_ // '' } @$_[ 0 .. 2 ]) => 1) } @outcomes } }));
}

# ---- order ----

# Effects of one subscription since the last rest, in the order in which they ran, each with
# what it came of in {it}.
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

		next if !$effect->{it} || $effect->{it}{vague};
		push @{ $groups{ $ordering eq 'strict' ? '' : $ev->{key} } }, $effect if $ordering eq 'strict' || defined $ev->{key};
	}
	for my $key (sort keys %groups)
	{
		my ($first, $second) = $self->out_of_order($sub, @{ $groups{$key} });

		$self->problem(
			"O: subscription $sub->{name} ($sub->{sid}), ordering $ordering, key '$key': event $first->{id} ran before $second->{id}",
			map { $self->{by_id}{ $_->{id} } } $second, $first)
		  if $first;
	}
}

# Two of these, which are to be in order, that are not.
sub out_of_order
{
	my ($self, $sub, @effects) = @_;
	my $timeline = $sub->{timeline};
	my (%front, %last);

	# O5: those that waited at some moment, and those that came after it
	for my $n (0 .. $#$timeline)
	{
		my ($last, $other);

		for my $effect (grep { $_->{interval} > $n } @effects)
		{
			my $place = $effect->{it}{places}{$n};

			if (!defined $place)
			{
				$other //= $effect;
				next;
			}
			return ($other, $effect) if $other;
			return ($last, $effect) if $last && $last->{it}{places}{$n} > $place;
			$last = $effect;
		}
	}

	# O1, O2, O3: those that one pass brought from the log
	for my $effect (grep { defined $_->{it}{pass} } @effects)
	{
		my $ev = $self->{by_id}{ $effect->{id} };
		my $pass = $effect->{it}{pass};
		my @groups = ((defined $ev->{txn} ? "$pass $ev->{txn}" : ()), ($ev->{parent} ? "$pass lane $ev->{parent}{lane}" : ()));

		for my $other (@{ $front{$pass} // [] })
		{
			my $before = $self->{by_id}{ $other->{id} };

			return ($other, $effect) if $ev->{id} < $before->{id} && $ev->{cd} < $before->{cb};
		}
		for my $group (@groups)
		{
			return ($last{$group}, $effect) if $last{$group} && $ev->{id} < $last{$group}{id};
		}
		# of those that ran, the ones that have no other with both a higher id and a later commit
		if (!grep { $_->{id} >= $ev->{id} && $self->{by_id}{ $_->{id} }{cb} >= $ev->{cb} } @{ $front{$pass} // [] })
		{
			@{ $front{$pass} } =
			  ($effect, grep { !($_->{id} <= $ev->{id} && $self->{by_id}{ $_->{id} }{cb} <= $ev->{cb}) } @{ $front{$pass} // [] });
		}
		$last{$_} = $effect foreach @groups;
	}
	return;
}

# ---- how fast ----

sub check_rate
{
	my ($self, $sub, @effects) = @_;
	my @defs = @{ $sub->{defs} };

	while (my $def = shift @defs)
	{
		my $rate = $def->{rate_limit} or next;
		my $size = $def->{handler} eq 'public.act_set' ? $def->{batch_size} : 1;
		# lanes run side by side: by their numbers they are not in the order of the clock
		my @those = sort { $a->{at} <=> $b->{at} }
		  grep { $_->{seq} > $def->{mark} && (!@defs || $_->{seq} < $defs[0]{mark}) } @effects;
		my ($lowest, $from);
		my $outage = 0;

		for my $i (0 .. $#those)
		{
			# after a restart the limit begins afresh
			my $over = grep { $_->[1] < $those[$i]{at} } @{ $self->{outages} };

			next if grep { $_->[0] <= $those[$i]{at} && $_->[1] >= $those[$i]{at} } @{ $self->{outages} };
			($outage, $lowest) = ($over) if $over != $outage;
			my $credit = $i - $those[$i]{at} / 1e6 * $rate;

			($lowest, $from) = ($credit, $i) if !defined $lowest || $credit < $lowest;
			# what each lane had at hand, one, and what fits into 20 ms
			next if $credit - $lowest <= $sub->{concurrency_ever} * $size + 1 + 0.02 * $rate;
			$self->problem(sprintf('S5: subscription %s, rate_limit %g: %d events from %d to %d in %.3f s', $sub->{name}, $rate,
					$i - $from + 1, $those[$from]{id}, $those[$i]{id}, ($those[$i]{at} - $those[$from]{at}) / 1e6));
			return;
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
		$self->check_rate($sub, @{ $effects{$sid} // [] });
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
		$sub->{timeline} = [];
		$sub->{skipped} = {};
		delete @{ $sub->{pass} }{qw(before_ids after_ids)};
	}
	$self->{cancels} = 0;
	$self->{outages} = [];
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
		$self->problem("P4: event $ev->{id} has correlation " . ($row->{correlation} // 'none'), $ev)
		  if ($row->{correlation} // '') ne ($ev->{correlation} // $ev->{id});
		@$ev{qw(published_us due_us)} = @$row{qw(published_us due_us)};
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
		my $cb = (sort { $b <=> $a } $cause->{cb}, $self->{rest}, $sub->{pass}{cb})[0];
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
		@ev{qw(hops correlation published_us due_us)} = @$row{qw(hops correlation published_us due_us)};
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

# What became of one event in one subscription, from the last rest to this one.
#
# $waits is the event as it waits in eda.retry, $comes as it is still to come from the log, each if
# it is:
#	since		the tick since when it is that
#	queued		it did not come from the log since the last rest, or was put to wait by an operator
#	pass		its number, if it came from the log: how many seeks were before it
#	may			it is not sure that it comes
#	places		where in the queue it was, by the number of the look
#	redelivered	true, false or not known
#	vague		it waited and was to come: G5
# From one look to the next each of them may become an effect, a dead letter or a waiting event.
sub follow
{
	my ($self, $sub, $ev, $seen) = @_;
	my $id = $ev->{id};
	my $who = "subscription $sub->{name} ($sub->{sid})";
	my $what = "event $id (n=$ev->{n} $ev->{topic} $ev->{s}{do})";
	my @timeline = @{ $sub->{timeline} };
	my $count = $seen->{count};
	my ($dead, $waits, $comes) = ($sub->{dead}{$id});
	my $nseeks = 0;
	my $complain = sub { $self->problem("$_[0]: $who, $what: $_[1]", $ev) };
	my $filterable = sub {
		my ($it, $until) = @_;
		my @states = map { $_->[0] } outcomes($it->{queued}, $ev, definitions($sub, $it->{since}, $until));
		my $n = grep { $_ eq 'filtered' } @states;

		return $n == 0 ? 0 : $n == @states && !$it->{may} ? 1 : undef;
	};
	my $may_have_been_filtered = sub {
		my ($it, $until, $surely) = @_;
		my $filtered = $filterable->($it, $until);

		return if defined $filtered && !$filtered;
		$count->{filtered_max}++;
		push @{ $count->{filtered} }, $id;
		$count->{filtered_min}++ if $filtered && $surely;
		# it may have failed before the filter was another one
		$count->{vague} = 1 if definitions($sub, $it->{since}, $until) > 1;
	};

	if (!$sub->{settled}{$id})
	{
		my $in = $self->is_in_pass($sub->{pass}, $ev);
		my $since = $ev->{cb} > $self->{rest} ? $ev->{cb} : $self->{rest};

		$comes = { since => $since, pass => 0, may => !defined $in || !!$sub->{unmatched}{$id} } if !defined $in || $in;
	}

	for my $n (0 .. @timeline)
	{
		my $look = $timeline[$n];
		my $until = $look ? $look->{cd} : FOREVER;
		my $unknown = !$look && $sub->{ended};
		my @done = map { [ 'handled', $_->{attempt}, undef, $_ ] } @{ $seen->{effects}[$n] // [] };
		my $dead_now = $unknown ? $dead : $look ? $look->{dead}{$id} : $seen->{dead};
		my $waits_now = $look ? $look->{waiting}{$id} : undef;
		my $it = $waits // $comes;
		my $vague = $waits && $comes;

		if ($dead_now && (!$dead || $dead_now->{died} != $dead->{died}))
		{
			push @done, [ 'dead', @$dead_now{qw(attempts reason)} ];
			$count->{failed} += failures($dead_now);
			$sub->{deaths}{$id}++ if $dead_now->{reason} ne 'skipped';
			$sub->{deaths_vague}{$id} = 1 if $vague;
			if ($dead_now->{reason} eq 'expired' && defined $ev->{due_us})
			{
				my ($least) = sort { $a <=> $b } map { $_->{expire_after} // () } definitions($sub, $it ? $it->{since} : 0, $until);

				$complain->('D11', sprintf('expired %.3f s after it was due', ($dead_now->{died} - $ev->{due_us}) / 1e6))
				  if defined $least && $dead_now->{died} - $ev->{due_us} < $least * 1e6;
			}
		}
		$complain->('D1', 'the dead letter is gone') if $dead && !$dead_now;
		$count->{failed} += $_->[1] - 1 foreach grep { $_->[0] eq 'handled' } @done;

		my $out = @done + ($waits_now ? 1 : 0);
		my $in = ($waits ? 1 : 0) + ($comes ? 1 : 0);

		if ($out > $in)
		{
			my @past = grep { $_->{what} eq 'seek' || $_->{after}{$id} } @timeline[ 0 .. $n - 1 ];

			$complain->('D1', join(', ', map { $_->[0] } @done) . ($waits_now ? ', waits' : '')
				  . ($in ? ', and could be only one of it' : ', and had nothing more to become') . (@past ? ' since a ' . $past[-1]{what} : ''));
			return;
		}
		for my $done (@done)
		{
			my $effect = $done->[3];

			if ($effect)
			{
				@$effect{qw(it interval)} = ($vague ? { vague => 1 } : $it, $n);
				$self->check_effect($sub, $ev, $effect, $it, $until, $complain) unless $vague || $it->{vague};
			}
			next if $vague || $it->{vague};
			my $extra;
			my $complaint = $self->judge($sub, $ev, $done, \$extra, $it, $until);

			$complain->('D', $complaint) if $complaint;
			$seen->{spent} += $extra;
			push @{ $self->{spent} }, "$sub->{name} $id: @$done[0, 1]" if $extra;
		}

		# what is left of it
		$count->{vague} = 1 if $vague;
		delete $sub->{unmatched}{$id} if $out;
		if ($waits && !$out && !$unknown)
		{
			my $complaint = $self->judge($sub, $ev, ['nothing'], \my $extra, $waits, $until);

			$complain->('D1', "it waited, and $complaint") if $complaint && !$vague;
			$may_have_been_filtered->($waits, $until, !$vague);
		}
		if ($vague)
		{
			# both, or one that took the other's place
			$count->{filtered_max}++ if $out < 2;
			push @{ $count->{filtered} }, $id if $out < 2;
			$comes = $out < 2 ? { %$comes, may => 1 } : undef;
			$waits = $waits_now ? { %$waits, vague => 1 } : undef;
		}
		elsif ($waits)
		{
			$waits = $waits_now ? $waits : undef;
		}
		elsif ($comes && $out)
		{
			($waits, $comes) = ($waits_now ? $comes : undef, undef);
		}
		$dead = $dead_now;

		if (!$look)
		{
			if ($comes && !$unknown)
			{
				my $complaint = $self->judge($sub, $ev, ['nothing'], \my $extra, $comes, $until);

				$complain->('D', $complaint) if $complaint;
				$may_have_been_filtered->($comes, $until, 1);
				$sub->{unmatched}{$id} = $ev if grep { $_->[0] eq 'none' } outcomes(0, $ev, definitions($sub, $comes->{since}, $until));
			}
			last;
		}

		# what was done then
		$waits->{places}{$n} = $look->{after}{$id} if $waits && $look->{after}{$id};
		$waits->{redelivered} = $waits_now->{tried} if $waits;
		if ($look->{what} eq 'seek')
		{
			my $in = $self->is_in_pass($look, $ev);
			my $matches = topic_matches($look->{def}{topics}, $ev->{topic});

			$nseeks++;
			$may_have_been_filtered->($comes, $until, 0) if $comes;
			$comes = undef;
			if ($waits && $look->{after}{$id})
			{
				# with topics that do not mean it, it does not come
				$complain->('G2', "it waits and comes again after a seek to $look->{to} " . ($look->{place} // '')) if $in && $matches && !$self->{forgets};
				$comes = { since => $look->{cb}, pass => $nseeks, may => 1 } if $in && !$matches;
			}
			else
			{
				if ($waits)
				{
					$complain->('G2', "it waited and is gone after a seek to $look->{to} " . ($look->{place} // '')) if defined $in && !$in || !$matches;
					$count->{failed} += $waits_now->{attempt};
					$in = 1;
				}
				$comes = { since => $look->{cb}, pass => $nseeks, may => !defined $in } if !defined $in || $in;
				$waits = undef;
			}
			delete $sub->{unmatched}{$id};
		}
		elsif ($look->{what} eq 'replay')
		{
			my $put = !$waits && $look->{after}{$id};

			if (!$waits)
			{
				my $meant = $self->is_replayed($look, $ev);
				my $passed = !$comes ? 1 : undef;

				# filtered, or not meant then?
				$passed = 0 if $comes && !$comes->{may} && $self->judge($sub, $ev, ['nothing'], \my $extra, $comes, $until);
				$meant = 0 if $dead;
				$complain->('G4', 'it was replayed') if $put && (defined $meant && !$meant || defined $passed && !$passed);
				$complain->('G4', 'it was not replayed') if !$put && $meant && $passed;
			}
			if ($put)
			{
				$may_have_been_filtered->($comes, $until, 1) if $comes;
				$comes = undef;
				$waits = { since => $look->{cb}, queued => 1, places => { $n => $look->{after}{$id} }, redelivered => 1 };
			}
		}
		elsif ($look->{chosen}{$id})
		{
			if ($look->{what} eq 'redrive' && !$waits)
			{
				$waits = { since => $look->{cb}, queued => 1, places => { $n => $look->{after}{$id} }, redelivered => $dead->{tried} ? 1 : 0 };
				$complain->('D7', 'it was redriven and does not wait') unless $look->{after}{$id};
			}
			$dead = undef;
		}
	}
	$sub->{settled}{$id} = 1;
	$dead ? ($sub->{dead}{$id} = $dead) : delete $sub->{dead}{$id};
}

# What a handler was told, and when.
sub check_effect
{
	my ($self, $sub, $ev, $effect, $it, $until, $complain) = @_;
	my @defs = definitions($sub, $it->{since}, $until);

	if ($effect->{attempt} > 1 || $it->{redelivered})
	{
		$complain->('D13', 'it was not told that the event is redelivered') unless $effect->{redelivered} eq 't';
	}
	elsif ($effect->{redelivered} eq 't')
	{
		# some failures are on record without an attempt
		$complain->('D13', 'it was told that the event is redelivered')
		  if !$self->{crashes} && $ev->{s}{do} !~ /^(snooze|serial|patient)$/;
	}
	if (defined $ev->{due_us} && !grep { !$_->{expire_after} } @defs)
	{
		my ($most) = sort { $b <=> $a } map { $_->{expire_after} } @defs;
		my $age = ($effect->{at} - $ev->{due_us}) / 1e6;

		$complain->('D11', sprintf('it was handled %.3f s after it was due, and expires after %s', $age, $most)) if $age > $most + $delay;
	}
}

# Does a replay mean this event, as far as it is in the log?  1, 0, or undef: it may.
sub is_replayed
{
	my ($self, $look, $ev) = @_;
	my $saw = is_own($look, $ev) ? 0 : $self->saw($look, $ev);

	return 0 if defined $saw && !$saw;
	return 0 unless topic_matches($look->{def}{topics}, $ev->{topic}) && topic_matches($look->{topics}, $ev->{topic});
	return undef unless defined $ev->{published_us};
	return 0 unless $ev->{published_us} >= $look->{from_us} && $ev->{published_us} <= $look->{to_us};
	return $self->{forgets} ? undef : $saw;
}

# One subscription.  Returns the attempts that cancelled executors must have cost.
sub compare_subscription
{
	my ($self, $sub, $effects, $dead, $counters) = @_;
	my $who = "subscription $sub->{name} ($sub->{sid})";
	my @timeline = @{ $sub->{timeline} };
	my (%runs, %about);
	my %count = (filtered_min => 0, filtered_max => 0, failed => 0, vague => 0);
	my $spent = 0;
	my $n = 0;

	# those that no topics meant before may be meant now
	my @now = map { $_->{topics} } @{ $sub->{defs} };
	for my $ev (values %{ $sub->{unmatched} // {} })
	{
		delete $sub->{settled}{ $ev->{id} } if grep { topic_matches($_, $ev->{topic}) } @now;
	}

	for my $effect (@$effects)
	{
		my $ev = $self->{by_id}{ $effect->{id} };

		if (!$ev)
		{
			$self->problem("D1: $who handled event $effect->{id}, which was not committed");
			next;
		}
		$n++ while $n < @timeline && $timeline[$n]{mark} < $effect->{seq};
		push @{ $runs{ $effect->{id} }[$n] }, $effect;
		$about{ $effect->{id} } = 1;
		$self->problem("D1: $who: the handler of event $effect->{id} was given another event", $ev)
		  if $effect->{topic} ne $ev->{topic} || ($effect->{key} // '') ne ($ev->{key} // '') || $effect->{n} != $ev->{n};
	}
	for my $id (keys %$dead, keys %{ $sub->{dead} }, map { (keys %{ $_->{waiting} }, keys %{ $_->{dead} }, keys %{ $_->{after} }) } @timeline)
	{
		$about{$id} = 1;
		$self->problem("D1: $who: $id waits or is dead, and is no event") unless $self->{by_id}{$id};
	}

	# only those that something can have become of
	my $any = grep { $_->{what} =~ /^(seek|replay)$/ } @timeline;
	for my $ev (@{ $self->{committed} })
	{
		my $id = $ev->{id};

		next if $sub->{settled}{$id} && !$about{$id} && !$any;
		my %seen = (effects => $runs{$id} // [], dead => $dead->{$id}, count => \%count, spent => 0);

		$self->follow($sub, $ev, \%seen);
		$spent += $seen{spent};
	}
	for my $look (grep { $_->{what} eq 'seek' } @timeline)
	{
		$sub->{pass} = $look;
		$self->problem("G1: $who: a seek to $look->{to} returned $look->{result}")
		  if $look->{to} eq 'latest' && $look->{result} < 0 || $look->{to} eq 'earliest' && $look->{result} > 0;
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
	$self->problem("D10: $who counted $delta{filtered} as filtered out, it was $count{filtered_min} to $count{filtered_max}"
	  . ' of ' . join(' ', @{ $count{filtered} // [] }))
	  if $delta{filtered} < $count{filtered_min} || $delta{filtered} > $count{filtered_max};
	# what a cancelled executor had at hand failed, and may have been filtered out at the next attempt
	my $more = $count{vague} ? FOREVER : $count{filtered_max} ? $self->{cancels} : 0;
	$self->problem("D10: $who counted $delta{failed} failed attempts, it was $count{failed}")
	  if $delta{failed} < $count{failed} || $delta{failed} > $count{failed} + $more;
	$self->problem("$who is $counters->{state}") if $counters->{state} ne 'active';
	$sub->{counters} = $counters;
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
		my $deaths = $sub->{deaths} // {};

		next if $self->{names}{$name}{reused};    # its predecessor's are not known
		for my $id (sort { $a <=> $b } keys %{ { %$deaths, %{ $self->{announced}{$name} // {} } } })
		{
			my ($want, $got) = ($deaths->{$id} // 0, $self->{announced}{$name}{$id} // 0);

			$self->problem("D9: subscription $name: event $id died $want times, was announced $got times")
			  if $want != $got && !($sub->{deaths_vague}{$id} && $got > $want);
		}
	}
}

1;
