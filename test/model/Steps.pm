# The steps of the randomized test: what it may do, how often, and how the
# model hears of it.
#
# To add a kind of step: a line in @kinds with its weight, and a function
# step_KIND.  It draws from $t->{random}, does its work with say_to() and its kin, tells
# $t->{model}, and returns false where there is nothing for it to do just now (then
# another kind is drawn).
#
# What is drawn depends on the seed and the steps before alone; only what is
# dead or waiting at a moment depends on timing, and so does which of those is picked.

package Steps;

use strict;
use warnings;

use JSON::PP;
use Time::HiRes qw(time usleep);

use Model;
use Random;
use Session;

my @kinds = (
	# publishing
	publish            => 400,
	publish_batch      => 40,
	publish_query      => 30,
	publish_idempotent => 60,
	publish_delayed    => 30,
	publish_patient    => 3,
	cancel             => 10,
	begin              => 90,
	commit             => 90,
	rollback           => 20,
	savepoint          => 50,
	rollback_to        => 25,
	release            => 15,
	prepare            => 15,
	end_prepared       => 18,
	# subscriptions
	subscribe          => 20,
	alter              => 25,
	pause              => 12,
	resume             => 24,
	unsubscribe        => 10,
	skip               => 15,
	redrive            => 15,
	discard            => 5,
	seek               => 14,
	replay             => 10,
	run_pending        => 6,
	break_handler      => 4,
	mend_handler       => 8,
	wait               => 25,
	rotate             => 5,
	# what goes wrong
	cancel_executor    => 6,
	terminate_executor => 1,
	terminate_dispatcher => 1,
	kill_executor      => 2,
	kill_dispatcher    => 1,
	restart            => 1,
	stop_immediate     => 1,
);

my @topics = qw(a.x a.y b.x b.y.z c);
my @follow_topics = qw(f.x f.y);
my @patterns = ('a.x', 'a.*', 'b.#', '#', 'a.x,b.y.z', 'a.*,b.#,c', '*.x', 'f.*');
my @keys = (undef, map { "k$_" } 0 .. 5);
my @names = map { "s$_" } 0 .. 5;
my $nsessions = 5;
my $json = JSON::PP->new->canonical;

# Steps that there is nothing for without this function of eda's.
my %needs = (publish_delayed => 'cancel', cancel => 'cancel', rotate => 'rotate_log');

# EDA_MODEL_WEIGHTS="kill_executor=20 restart=5" changes some.
for (split ' ', $ENV{EDA_MODEL_WEIGHTS} // '')
{
	my ($kind, $weight) = /^(\w+)=(\d+)$/ or die "EDA_MODEL_WEIGHTS: $_\n";
	my ($at) = grep { $kinds[$_] eq $kind } map { 2 * $_ } 0 .. $#kinds / 2 or die "EDA_MODEL_WEIGHTS: no step $kind\n";

	$kinds[ $at + 1 ] = $weight;
}

# What the test's tables, handlers and rights are.
our $setup = q{
	CREATE ROLE app LOGIN;
	CREATE ROLE app2 LOGIN IN ROLE app;
	CREATE EXTENSION eda;
	GRANT USAGE ON SCHEMA eda TO app;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA eda TO app;

	-- what took effect: written by the handlers, in their transactions
	CREATE TABLE effects (seq bigserial, sid int, id bigint, attempt int, redelivered boolean, topic text, key text, n bigint,
		follow bigint, boom int, at timestamptz DEFAULT clock_timestamp());
	CREATE INDEX ON effects (sid);
	GRANT ALL ON effects, effects_seq_seq TO app;

	-- at commit, as a deferred constraint does
	CREATE FUNCTION boom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'boom at commit'; END $$;
	CREATE CONSTRAINT TRIGGER boom AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW WHEN (NEW.attempt <= NEW.boom) EXECUTE FUNCTION boom();

	-- a name may be another subscription's after eda.unsubscribe()
	CREATE FUNCTION sid_of(name text) RETURNS int LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
		AS $$ SELECT subscription_id FROM eda.subscription s WHERE s.name = sid_of.name $$;

	-- nobody changes it while a handler runs
	CREATE FUNCTION is_short(name text) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
		AS $$ SELECT timeout < '1 s' FROM eda.subscription s WHERE s.name = is_short.name $$;

	-- has the log something for it?  A strict one has to get past what waits first.
	CREATE FUNCTION has_backlog(name text) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
		AS $$ SELECT ordering <> 'strict' AND (eda._backlog(subscription_id)).backlog > 0 FROM eda.subscription s WHERE s.name = has_backlog.name $$;

	-- a counter that no rollback turns back: two of three times true
	CREATE FUNCTION not_yet(subscription text, key text) RETURNS boolean LANGUAGE sql
		AS $$ SELECT nextval(format('public.tries_%s_%s', subscription, coalesce(key, 'none'))) % 3 <> 0 $$;

	CREATE FUNCTION act(e eda.event) RETURNS void LANGUAGE plpgsql SET search_path = public AS $$
	DECLARE
		s jsonb := e.payload -> 's';
		what text := s ->> 'do';
		k int := s ->> 'k';
		follow bigint;
		leaked boolean;
		behind boolean := what = 'patient' AND has_backlog(e.subscription);
	BEGIN
		-- what an event sets for its transaction is nothing to the next one of its batch
		-- (an error would not do: the event would run alone then, and be handled)
		leaked := current_setting('model.local', true) <> '';
		PERFORM set_config('model.local', e.id::text, true);
		-- shows to those of the batch that were handled before
		PERFORM pg_advisory_xact_lock(e.id);
		IF s ? 'chain' THEN
			follow := eda.publish(s #>> '{chain,topic}', jsonb_build_object('n', e.payload -> 'n', 'v', s #> '{chain,v}',
				's', jsonb_build_object('do', s #> '{chain,do}', 'k', 1)), key => e.key);
		END IF;
		INSERT INTO effects (sid, id, attempt, redelivered, topic, key, n, follow, boom)
			VALUES (sid_of(e.subscription), e.id, CASE WHEN leaked THEN 1000 ELSE e.attempt END, e.redelivered, e.topic, e.key, (e.payload ->> 'n')::bigint, follow,
				CASE WHEN what = 'boom' THEN k END);
		CASE what
			WHEN 'ok', 'boom' THEN NULL;
			WHEN 'fail' THEN IF e.attempt <= k THEN RAISE 'no'; END IF;
			WHEN 'retry_after' THEN IF e.attempt <= k THEN PERFORM eda.retry_after('5 ms'); END IF;
			WHEN 'snooze' THEN IF not_yet(e.subscription, e.key) THEN PERFORM eda.snooze('5 ms'); END IF;
			-- takes longer than it is put off for: of two one is always due
			WHEN 'patient' THEN PERFORM pg_sleep(0.06); IF behind THEN PERFORM eda.snooze('0'); END IF;
			WHEN 'serial' THEN IF not_yet(e.subscription, e.key) THEN RAISE SQLSTATE '40001'; END IF;
			WHEN 'lonely' THEN
				IF current_setting('application_name') = 'eda executor' AND
					(SELECT count(*) > 1 FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory') THEN RAISE 'company'; END IF;
			WHEN 'reject' THEN PERFORM eda.reject('never');
			WHEN 'code' THEN PERFORM 1 / (k - k);
			WHEN 'sleep' THEN PERFORM pg_sleep(k / 1000.0);
			WHEN 'slow' THEN IF e.attempt <= k AND is_short(e.subscription) THEN PERFORM pg_sleep(30); END IF;
		END CASE;
	END $$;
	CREATE FUNCTION act_payload(jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM public.act(eda.current_event()); END $$;
	CREATE FUNCTION act_topic(text, jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM public.act(eda.current_event()); END $$;
	CREATE FUNCTION act_set(events eda.event[]) RETURNS void LANGUAGE plpgsql SET search_path = public AS $$
	DECLARE
		e eda.event;
	BEGIN
		FOREACH e IN ARRAY events LOOP
			PERFORM act(e);
			PERFORM set_config('model.local', '', true) WHERE e.id <> events[cardinality(events)].id;
		END LOOP;
	END $$;

	-- Something is done to the position, to what waits or to dead letters, and what there was
	-- before and is after it, as of now and under the subscription's lock, is told.
	CREATE FUNCTION look(name text, what text, arg text, seen_id bigint) RETURNS SETOF text LANGUAGE plpgsql AS $$
	DECLARE
		sid int;
		ids bigint[];
		t1 timestamptz;
		t2 timestamptz;
	BEGIN
		PERFORM eda.skip(name, 0);      -- the lock
		sid := sid_of(name);
		RETURN NEXT concat_ws('|', 'mark', nextval('effects_seq_seq'));
		RETURN QUERY SELECT concat_ws('|', 'waiting', event_id, attempt, (deliveries > 0)::int) FROM eda.retry WHERE subscription_id = sid ORDER BY seq;
		RETURN QUERY SELECT concat_ws('|', 'dead', event_id, attempts, reason, (1e6 * extract(epoch FROM died_at))::bigint, (cardinality(attempt_history) > 0)::int)
			FROM eda.dead_letter WHERE subscription_id = sid;
		RETURN QUERY SELECT 'before|' || string_agg(id::text, ' ') FROM eda.log WHERE id > seen_id;
		-- "since" and "until" of what there is
		IF what IN ('replay', 'time') THEN
			SELECT min(published_at), max(published_at) INTO t1, t2 FROM eda.events
				WHERE id BETWEEN split_part(arg, ' ', 1)::bigint AND split_part(arg, ' ', 2)::bigint;
			t1 := coalesce(t1, now());
			t2 := coalesce(t2, now());
			RETURN NEXT concat_ws('|', 'times', (1e6 * extract(epoch FROM t1))::bigint, (1e6 * extract(epoch FROM t2))::bigint);
		END IF;
		RETURN NEXT 'result|' || CASE what
			WHEN 'earliest' THEN eda.seek(name, 'earliest')
			WHEN 'latest' THEN eda.seek(name, 'latest')
			WHEN 'id' THEN eda.seek(name, arg::bigint)
			WHEN 'time' THEN eda.seek(name, t1)
			WHEN 'replay' THEN eda.replay(name, t1, t2, topics => split_part(arg, ' ', 3))
			WHEN 'redrive' THEN eda.redrive(name, arg::bigint[])
			WHEN 'redrive_all' THEN eda.redrive_all(name, max_events => nullif(arg, '')::bigint)
			WHEN 'redrive_code' THEN eda.redrive_all(name, error_code => arg)
			WHEN 'discard' THEN eda.discard(name, arg::bigint[])
			WHEN 'discard_all' THEN eda.discard_all(name) END;
		RETURN QUERY SELECT concat_ws('|', 'after', event_id) FROM eda.retry WHERE subscription_id = sid ORDER BY seq;
		RETURN QUERY SELECT concat_ws('|', 'still', event_id) FROM eda.dead_letter WHERE subscription_id = sid;
		RETURN QUERY SELECT 'seen|' || string_agg(id::text, ' ') FROM eda.log WHERE id > seen_id;
	END $$;

	-- Without force: whether it went, and whether there were dead letters.
	CREATE FUNCTION try_unsubscribe(name text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		dead boolean;
	BEGIN
		PERFORM eda.skip(name, 0);
		dead := EXISTS (SELECT FROM eda.dead_letters d WHERE d.subscription = name);
		RETURN concat_ws(' ', dead::int, eda.unsubscribe(name)::int);
	EXCEPTION WHEN SQLSTATE 'ED014' THEN
		RETURN concat_ws(' ', dead::int, 0);
	END $$;
} . join('', map { my $name = $_; map { "CREATE SEQUENCE tries_${name}_" . ($_ // 'none') . ";\n" } @keys } @names) .
  'GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;';

sub new
{
	my ($class, %params) = @_;
	my $t = bless {
		%params,
		model => Model->new,
		random => Random->new($params{seed}),
		log => [],
		slots => [],
		prepared => [],
		n => 0,
		gid => 0,
		broken => 0,
		started => time,
		terminated => 0,
		count => {},
	}, $class;

	$t->connect;
	$t->{has} = { map { $_->[0] => 1 } $t->ask("SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'eda'::regnamespace") };
	if ($t->{forgets} && $t->{has}{rotate_log})
	{
		# a segment goes as soon as nobody needs it
		$t->{model}{forgets} = 1;
		$t->ask('ALTER SYSTEM SET eda.retention = 0');
		$t->ask('SELECT pg_reload_conf()');
	}
	return $t;
}

sub connect
{
	my ($t) = @_;
	my $connstr = $t->{node}->connstr('postgres');

	$t->{admin} = Session->new($connstr, 'admin');
	$t->{slots} = [ map { { name => "session $_", session => Session->new($connstr, "session $_") } } 1 .. $nsessions ];
	for my $session ($t->{admin}, map { $_->{session} } @{ $t->{slots} })
	{
		$session->run('SET client_min_messages = error');
	}
}

sub disconnect
{
	my ($t) = @_;

	$_->close foreach grep { defined } $t->{admin}, map { $_->{session} } @{ $t->{slots} };
	$t->{admin} = undef;
	$t->{slots} = [];
}

# ---- talking to the server ----

sub note_step
{
	my ($t, $text) = @_;

	push @{ $t->{log} }, sprintf("%6d %7.3f %s", $t->{model}{clock}, time - $t->{started}, $text);
}

# A statement in a session: its rows.  $may_fail: SQLSTATEs that are no surprise.
sub say_to
{
	my ($t, $slot, $sql, @may_fail) = @_;

	$slot->{session}->send($sql);
	return $t->hear_from($slot, $sql, @may_fail);
}

sub hear_from
{
	my ($t, $slot, $sql, @may_fail) = @_;
	my $result = $slot->{session}->result;

	$t->note_step("$slot->{name}: $sql" . ($result->{error} ? "  !! $result->{error}" :
			@{ $result->{rows} } ? '  -> ' . substr(join(' ', @{ $result->{rows} }), 0, 4000) : ''));
	if ($result->{error} && !grep { $_ eq $result->{error} } @may_fail)
	{
		die "unexpected error in $slot->{name}: $sql\n$result->{error}: $result->{message}\n";
	}
	return $result;
}

# The administrator's session: rows, split into columns, '' is undef.
sub ask
{
	my ($t, $sql) = @_;
	my $result = $t->{admin}->run($sql);

	die "unexpected error: $sql\n$result->{error}: $result->{message}\n" if $result->{error};
	return map { [ map { $_ eq '' ? undef : $_ } split /\|/, $_, -1 ] } @{ $result->{rows} };
}

# ---- drawing ----

# A session: idle (no transaction), open (in one), or any of the two.
sub slot
{
	my ($t, $which) = @_;
	my @fit = grep { !$_->{waiting} && ($which eq 'any' || ($which eq 'open') == !!$_->{txn}) } @{ $t->{slots} };

	return @fit ? $t->{random}->pick(@fit) : undef;
}

# A subscription that nobody has locked.
sub subscription
{
	my ($t, $fits) = @_;
	my @fit = grep { $_ && !$t->{model}{names}{ $_->{name} }{locked} && (!$fits || $fits->($_)) }
	  map { $t->{model}{names}{$_}{sub} } sort keys %{ $t->{model}{names} };

	return @fit ? $t->{random}->pick(@fit) : undef;
}

sub draw_script
{
	my ($t, $key) = @_;
	my $random = $t->{random};
	my $do = $random->weighted(ok => 700, fail => 80, retry_after => 20, snooze => 30, serial => 30, reject => 15, code => 15,
		boom => 25, sleep => 25, slow => 3, lonely => 40);
	my %s = (do => $do);

	$do = $s{do} = 'ok' if $do =~ /^(snooze|serial)$/ && !defined $key;    # counted by key
	$s{k} = $do eq 'slow' ? 1 + $random->below(2) : $do eq 'sleep' ? 1 + $random->below(20) : $random->weighted(1 => 5, 2 => 3, 9 => 2)
	  if $do =~ /^(fail|retry_after|boom|code|sleep|slow)$/;
	if ($random->chance(12))
	{
		$s{chain} = { topic => $random->pick(@follow_topics), v => $random->below(10), do => $random->weighted(ok => 8, fail => 1, reject => 1) };
	}
	return \%s;
}

sub draw_event
{
	my ($t, $topic) = @_;
	my $random = $t->{random};
	my $key = $random->pick(@keys);
	my %ev = (n => ++$t->{n}, topic => $topic // $random->pick(@topics), key => $key, v => $random->below(10));

	$ev{tag} = $random->pick('x', 'y') if $random->chance(60);
	$ev{m} = 1 if $random->chance(90);
	$ev{h} = 1 if $random->chance(50);
	$ev{correlation} = 'c' . $random->below(1000) if $random->chance(20);
	$ev{s} = $t->draw_script($key);
	$ev{payload} = $json->encode({ map { defined $ev{$_} ? ($_ => $ev{$_} =~ /^\d+$/ ? 0 + $ev{$_} : $ev{$_}) : () } qw(n v tag m s) });
	return \%ev;
}

sub literal { return defined $_[0] ? "'$_[0]'" : 'NULL'; }

# ---- transactions ----

# Do something in a session: in its transaction if it has one, else in one of its own.
sub in_transaction
{
	my ($t, $slot, $what) = @_;
	my $model = $t->{model};
	my $txn = $slot->{txn} // { ops => [] };
	my $cb = $model->tick;

	$what->($txn);
	return if $slot->{txn};
	$model->commit($txn, $cb, $model->tick);
}

sub end_transaction
{
	my ($t, $slot, $txn, $sql, $commit) = @_;
	my $model = $t->{model};
	my $cb = $model->tick;

	$t->say_to($slot, $sql);
	$commit ? $model->commit($txn, $cb, $model->tick) : $model->rollback($txn);
	$t->settle($cb);
}

sub step_begin
{
	my ($t) = @_;
	my $slot = $t->slot('idle') or return 0;
	my $rr = $t->{random}->chance(20);

	$t->say_to($slot, $rr ? 'BEGIN ISOLATION LEVEL REPEATABLE READ' : 'BEGIN');
	$slot->{txn} = { ops => [], repeatable => $rr, savepoints => 0 };
	return 1;
}

sub step_commit
{
	my ($t) = @_;
	my $slot = $t->slot('open') or return 0;
	my $txn = delete $slot->{txn};

	$t->end_transaction($slot, $txn, 'COMMIT', 1);
	return 1;
}

sub step_rollback
{
	my ($t) = @_;
	my $slot = $t->slot('open') or return 0;
	my $txn = delete $slot->{txn};

	$t->end_transaction($slot, $txn, 'ROLLBACK', 0);
	return 1;
}

sub step_savepoint
{
	my ($t) = @_;
	my $slot = $t->slot('open') or return 0;
	my $name = 'p' . ++$slot->{txn}{savepoints};

	$t->say_to($slot, "SAVEPOINT $name");
	$t->{model}->savepoint($slot->{txn}, $name);
	return 1;
}

sub step_rollback_to
{
	my ($t) = @_;
	my $slot = $t->slot('open') or return 0;
	my @marks = Model::marks($slot->{txn}) or return 0;
	my $name = $t->{random}->pick(@marks);
	my $cb = $t->{model}->tick;

	$t->say_to($slot, "ROLLBACK TO SAVEPOINT $name");
	$t->{model}->rollback_to($slot->{txn}, $name);
	$t->settle($cb);
	return 1;
}

sub step_release
{
	my ($t) = @_;
	my $slot = $t->slot('open') or return 0;
	my @marks = Model::marks($slot->{txn}) or return 0;
	my $name = $t->{random}->pick(@marks);

	$t->say_to($slot, "RELEASE SAVEPOINT $name");
	$t->{model}->release($slot->{txn}, $name);
	return 1;
}

sub step_prepare
{
	my ($t) = @_;
	return 0 if @{ $t->{prepared} } >= 4;
	my $slot = $t->slot('open') or return 0;
	my $gid = 'g' . ++$t->{gid};

	$t->say_to($slot, "PREPARE TRANSACTION '$gid'");
	push @{ $t->{prepared} }, { gid => $gid, txn => delete $slot->{txn} };
	return 1;
}

sub step_end_prepared
{
	my ($t) = @_;
	return 0 unless @{ $t->{prepared} };
	my $slot = $t->slot('idle') or return 0;
	my ($p) = splice @{ $t->{prepared} }, $t->{random}->below(scalar @{ $t->{prepared} }), 1;
	my $commit = $t->{random}->chance(75);

	$t->end_transaction($slot, $p->{txn}, ($commit ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$p->{gid}'", $commit);
	return 1;
}

# ---- publishing ----

sub step_publish
{
	my ($t) = @_;
	my $slot = $t->slot('any') or return 0;
	my $ev = $t->draw_event;

	$t->in_transaction($slot, sub {
		my ($txn) = @_;
		my $more = join '', map { defined $_->[1] ? ", $_->[0] => '$_->[1]'" : () }
		  [ key => $ev->{key} ], [ correlation_id => $ev->{correlation} ], [ headers => $ev->{h} ? '{"h": 1}' : undef ];
		my $result = $t->say_to($slot, "SELECT eda.publish('$ev->{topic}', '$ev->{payload}'$more)");

		$t->{model}->published($txn, $ev, $result->{rows}[0]);
	});
	return 1;
}

sub step_publish_batch
{
	my ($t) = @_;
	my $slot = $t->slot('any') or return 0;
	my $topic = $t->{random}->pick(@topics);
	my @events = map { $t->draw_event($topic) } 0 .. $t->{random}->below(30);

	delete $_->{correlation} foreach @events;
	$t->in_transaction($slot, sub {
		my ($txn) = @_;
		my $payloads = join ', ', map { "'$_->{payload}'" } @events;
		my $keys = join ', ', map { literal($_->{key}) } @events;
		my $headers = join ', ', map { $_->{h} ? q('{"h": 1}') : 'NULL' } @events;
		my $result = $t->say_to($slot, "SELECT unnest(eda.publish_batch('$topic', ARRAY[$payloads]::jsonb[], ARRAY[$keys]::text[],"
			  . " ARRAY[$headers]::jsonb[]))");

		$t->{model}->published($txn, $events[$_], $result->{rows}[$_]) for 0 .. $#events;
	});
	return 1;
}

sub step_publish_query
{
	my ($t) = @_;
	my $slot = $t->slot('any') or return 0;
	my $topic = $t->{random}->pick(@topics);
	my @events = map { $t->draw_event($topic) } 0 .. $t->{random}->below(15);

	delete @$_{qw(correlation h)} foreach @events;
	$t->in_transaction($slot, sub {
		my ($txn) = @_;
		my $values = join ', ', map { "('$_->{payload}'::jsonb, " . literal($_->{key}) . ')' } @events;
		my $result = $t->say_to($slot, "SELECT published, first_id, last_id FROM eda.publish_query('$topic',"
			  . " \$q\$SELECT * FROM (VALUES $values) v (payload, k)\$q\$, key_column => 'k')");
		my ($published, $first, $last) = split /\|/, $result->{rows}[0];

		die "publish_query published $published of " . scalar(@events) . "\n" if $published != @events;
		# the ids in between are another reserve's only where the range is longer
		my $known = $last - $first + 1 == @events;

		$t->{model}->published($txn, $events[$_], $known ? $first + $_ : undef) for 0 .. $#events;
		$t->{model}{last_id} = $last;
	});
	return 1;
}

# A key is used for the first time, again with the same or another payload, or
# while another transaction has it.
sub step_publish_idempotent
{
	my ($t) = @_;
	my $random = $t->{random};
	my $idempotency = $t->{model}{idempotency};
	my $topic = $random->pick(@topics);
	my $key = 'i' . $random->below(60 + $t->{n} / 50);
	my @undecided = grep { $idempotency->{$_}{txn} } sort keys %$idempotency;

	($topic, $key) = split / /, $random->pick(@undecided) if @undecided && $random->chance(40);
	my $slot = $t->slot($random->chance(50) ? 'idle' : 'any') or return 0;
	my $first = $idempotency->{"$topic $key"};
	my $ev = $t->draw_event($topic);
	my $same = $random->chance(70);
	delete @$ev{qw(correlation h)};
	my ($payload, $event_key) = $first && $same ? @{ $first->{ev} }{qw(payload key)} : @$ev{qw(payload key)};
	my $sql = "SELECT eda.publish('$topic', '$payload', idempotency_key => '$key', key => " . literal($event_key) . ')';

	return 0 if $slot->{txn} && $slot->{txn}{repeatable};
	if ($first && $first->{txn} && !($slot->{txn} && $first->{txn} == $slot->{txn}))
	{
		# undecided: this session has to wait; one that holds nothing itself, and one a key
		return 0 if $slot->{txn} || grep { $_->{waiting} && $_->{waiting}{key} eq "$topic $key" } @{ $t->{slots} };
		$slot->{session}->send($sql);
		$slot->{waiting} = { key => "$topic $key", sql => $sql, same => $same, ev => $same ? { %{ $first->{ev} }, id => undef } : $ev, first => $first };
		# it goes on when the other one ends, and what others do meanwhile may be seen before it is
		$slot->{waiting}{ev}{waited} = 1;
		$t->note_step("$slot->{name}: $sql  ... waits");
		return 1;
	}

	$t->in_transaction($slot, sub {
		my ($txn) = @_;

		if ($first)
		{
			my $in_txn = $slot->{txn};

			$t->say_to($slot, 'SAVEPOINT i') if $in_txn;
			my $result = $t->say_to($slot, $sql, $same ? () : ('ED005'));
			$t->say_to($slot, $result->{error} ? 'ROLLBACK TO SAVEPOINT i' : 'RELEASE SAVEPOINT i') if $in_txn;
			$t->repeated($first, $same, $result);
			return;
		}
		my $result = $t->say_to($slot, $sql);
		$t->first_use($txn, "$topic $key", $ev, $result->{rows}[0]);
	});
	return 1;
}

# Later than now even if the machine is slow.
sub step_publish_delayed
{
	my ($t) = @_;
	my $slot = $t->slot('any') or return 0;
	my $ev = $t->draw_event;
	my $ms = 30 + $t->{random}->below(300);

	delete @$ev{qw(correlation h)};
	$ev->{delayed} = 1;
	$t->in_transaction($slot, sub {
		my ($txn) = @_;
		my $result = $t->say_to($slot, "SELECT eda.publish('$ev->{topic}', '$ev->{payload}', key => " . literal($ev->{key})
			  . ", deliver_at => clock_timestamp() + '$ms ms')");

		$t->{model}->published($txn, $ev, $result->{rows}[0]);
	});
	return 1;
}

# Events that wait until the log has nothing more for their subscription: if they kept the log waiting, for ever.
sub step_publish_patient
{
	my ($t) = @_;
	my $slot = $t->slot('any') or return 0;
	my $topic = $t->{random}->pick(@topics);
	my @events = map { $t->draw_event($topic) } 0 .. 2;

	for my $ev (@events)
	{
		delete @$ev{qw(correlation h)};
		$ev->{s} = { do => 'patient' };
		$ev->{payload} = $json->encode({ %{ $json->decode($ev->{payload}) }, s => $ev->{s} });
	}
	$t->in_transaction($slot, sub {
		my ($txn) = @_;
		my $payloads = join ', ', map { "'$_->{payload}'" } @events;
		my $keys = join ', ', map { literal($_->{key}) } @events;
		my $result = $t->say_to($slot, "SELECT unnest(eda.publish_batch('$topic', ARRAY[$payloads]::jsonb[], ARRAY[$keys]::text[]))");

		$t->{model}->published($txn, $events[$_], $result->{rows}[$_]) for 0 .. $#events;
	});
	return 1;
}

sub step_cancel
{
	my ($t) = @_;
	my $model = $t->{model};
	my @fit = $model->delayed or return 0;
	my $ev = $t->{random}->pick(@fit);
	my $slot = $t->slot($t->{random}->chance(50) ? 'idle' : 'any') or return 0;

	return 0 if $slot->{txn} && $slot->{txn}{repeatable};
	$t->in_transaction($slot, sub {
		my ($txn) = @_;
		my $result = $t->say_to($slot, "SELECT eda.cancel($ev->{id})");

		return unless $result->{rows}[0] eq 't';
		$ev->{cancelling} = 1;
		push @{ $txn->{ops} }, { apply => sub { $model->cancelled($ev) }, undo => sub { $ev->{cancelling} = 0 } };
	});
	return 1;
}

sub first_use
{
	my ($t, $txn, $key, $ev, $id) = @_;
	my $idempotency = $t->{model}{idempotency};
	my $entry = $idempotency->{$key} = { ev => $ev, txn => $txn, holder => $txn };

	$t->{model}->published($txn, $ev, $id);
	push @{ $txn->{ops} }, { first_use => $entry, apply => sub { $entry->{txn} = undef }, undo => sub { delete $idempotency->{$key} } };
}

sub repeated
{
	my ($t, $first, $same, $result) = @_;

	if ($same)
	{
		$t->{model}->problem("P3: a used key gave event $result->{rows}[0], its first is $first->{ev}{id}", $first->{ev})
		  if $result->{rows}[0] != $first->{ev}{id};
	}
	else
	{
		$t->{model}->problem('P3: a used key was taken with another payload', $first->{ev}) unless $result->{error};
	}
}

# A transaction ended, or a savepoint: whoever waited for its keys goes on.
sub settle
{
	my ($t, $cb) = @_;
	my $model = $t->{model};

	for my $slot (grep { $_->{waiting} } @{ $t->{slots} })
	{
		my $w = $slot->{waiting};
		my $first = $model->{idempotency}{ $w->{key} };

		next if $first && $first->{txn};
		# once its savepoint was released, PostgreSQL waits for the end of the transaction, even if an outer savepoint is rolled back
		next if $w->{first}{released} && !$w->{first}{holder}{ended};
		my $result = $t->hear_from($slot, $w->{sql}, $first && !$w->{same} ? ('ED005') : ());
		delete $slot->{waiting};
		if ($first)
		{
			$t->repeated($first, $w->{same}, $result);
			next;
		}
		my $txn = { ops => [] };
		delete @{ $w->{ev} }{qw(cb cd checked)};
		$t->first_use($txn, $w->{key}, $w->{ev}, $result->{rows}[0]);
		$model->commit($txn, $cb, $model->tick);
	}
}

# ---- subscriptions ----

# Something is done to a subscription, by itself or in an open transaction, which
# then keeps others away from it.  $sql: one statement; $apply($cb, $cd, $rows).
sub operate
{
	my ($t, $name, $sql, $apply) = @_;
	my $model = $t->{model};
	my $slot = $t->slot($t->{random}->chance($sql =~ /subscribe\(/ ? 50 : 25) ? 'open' : 'idle') // $t->slot('any') or return 0;
	my $names = $model->{names};

	return 0 if $slot->{txn} && $slot->{txn}{repeatable};
	$t->in_transaction($slot, sub {
		my ($txn) = @_;
		my $call_b = $model->tick;
		my $result = $t->say_to($slot, $sql);
		my $call_e = $model->tick;

		$names->{$name}{locked} = $txn;
		push @{ $txn->{ops} },
		  {
			apply => sub { $names->{$name}{locked} = undef; $apply->(@_, $result->{rows}, $call_b, $call_e, $txn) },
			undo => sub { $names->{$name}{locked} = undef }
		  };
	});
	return 1;
}

sub draw_definition
{
	my ($t) = @_;
	my $random = $t->{random};
	my $set_wise = $random->chance(25);
	my $ordering = $random->weighted(none => 2, key => 5, strict => 2);

	return {
		topics => $random->pick(@patterns),
		handler => $set_wise && !$t->{broken} ? 'public.act_set' : $random->pick('public.act', 'public.act', 'public.act_payload', 'public.act_topic'),
		filter => $random->weighted(none => 6, value => 1, path => 1, topic => 1, key => 1, error => 1, headers => 1),
		ordering => $ordering,
		batch_size => $random->pick(1, 2, 7, 20, 100),
		max_attempts => $random->pick(1, 2, 3, 4),
		reject_on => $random->pick(undef, undef, undef, '22', '22012', 'P0001'),
		priority => $random->below(3),
		concurrency => $ordering eq 'strict' ? 1 : $random->pick(1, 1, 2, 3, 6),
		rate_limit => $random->pick((undef) x 6, 100, 1000),
		timeout => $random->pick('30 s', '30 s', '30 s', $Model::short),
		expire_after => $random->pick((undef) x 6, 2),
		backoff => $random->pick('10 ms', '10 ms', '1 ms'),
		max_backoff => $random->pick('40 ms', '20 ms'),
		owner => $random->pick('app', 'app', 'app2'),
	};
}

# The settings that jsonb or the arguments of eda.subscribe() have in common.
sub settings_json
{
	my ($def) = @_;
	my %settings = %$def;

	$settings{filter} = $Model::filters{ $def->{filter} }[0] if exists $def->{filter};
	$settings{reject_on} = defined $def->{reject_on} ? [ $def->{reject_on} ] : undef if exists $def->{reject_on};
	$settings{expire_after} .= ' s' if defined $settings{expire_after};
	delete @settings{qw(b e mark)};
	return $json->encode(\%settings);
}

sub subscribe_call
{
	my ($name, $def, $start) = @_;
	my $filter = $Model::filters{ $def->{filter} }[0];

	return "SELECT eda.subscribe('$name', '$def->{topics}', '$def->{handler}', "
	  . (defined $filter ? "filter => '$filter', " : '')
	  . "ordering => '$def->{ordering}', batch_size => $def->{batch_size}, max_attempts => $def->{max_attempts}, "
	  . (defined $def->{reject_on} ? "reject_on => '{$def->{reject_on}}', " : '')
	  . (defined $def->{rate_limit} ? "rate_limit => $def->{rate_limit}, " : '')
	  . (defined $def->{expire_after} ? "expire_after => '$def->{expire_after} s', " : '')
	  . "timeout => '$def->{timeout}', concurrency => $def->{concurrency}, priority => $def->{priority}, backoff => '$def->{backoff}', max_backoff => '$def->{max_backoff}', block_after => 1000000, "
	  . ($start =~ /^\d/ ? "start_at => '$start', " : "start => '$start', ") . "owner => '$def->{owner}')";
}

sub step_subscribe
{
	my ($t, $name, $def) = @_;
	my $model = $t->{model};
	my $start = $t->{random}->chance($t->{n} < 1500 ? 25 : 4) ? 'earliest' : 'latest';
	my $place = $t->{random}->chance(20) ? $t->time_of_event : undef;

	$def //= $t->draw_definition;
	$name //= $t->{random}->pick(@names);
	return 0 if $model->{names}{$name}{locked};
	if (my $old = $model->{names}{$name}{sub})
	{
		# said again: replaces the definition
		return 0 if $t->{random}->chance(70);
		return $t->operate($name, subscribe_call($name, $def, $start) . ", nextval('effects_seq_seq')",
			sub { $t->remember($old, $def); $model->altered($old, $def, @_[ 0, 1 ], mark_of($_[2])) });
	}
	$start = $place->[0] if $place;
	my $sub = { name => $name, pass => { to => $place ? 'time' : $start, place => $place ? $place->[1] : undef },
		defs => [ { %$def, b => 0, e => Model::FOREVER, mark => 0 } ], concurrency_ever => 1 };

	$t->remember($sub, $def);
	# the sid comes with the call: the row is the transaction's own
	return $t->operate($name,
		subscribe_call($name, $def, $start) . "; SELECT sid_of('$name')",
		sub {
			my ($cb, $cd, $rows, $call_b, $call_e, $txn) = @_;

			$sub->{sid} = $rows->[-1];
			@{ $sub->{pass} }{qw(call_b call_e txn)} = ($call_b, $call_e, $txn);
			$model->subscribed($sub, $cb, $cd);
		});
}

# What a subscription ever was.
sub remember
{
	my ($t, $sub, $def) = @_;

	$sub->{set_wise_ever} = 1 if ($def->{handler} // '') eq 'public.act_set';
	$sub->{concurrency_ever} = $def->{concurrency} if ($def->{concurrency} // 1) > $sub->{concurrency_ever};
}

sub step_alter
{
	my ($t) = @_;
	my $sub = $t->subscription or return 0;
	my $def = $t->draw_definition;
	my %changes = map { $_ => $def->{$_} } grep { $t->{random}->chance(25) } sort keys %$def;

	# strict means one lane
	my %new = (%{ Model::current($sub) }, %changes);
	$changes{concurrency} = 1 if $new{ordering} eq 'strict' && $new{concurrency} > 1;
	# another owner has to be able to call the handler
	delete $changes{owner} if $t->{broken} && $new{handler} eq 'public.act_set';

	return $t->operate($sub->{name}, "SELECT eda.alter_subscription('$sub->{name}', '" . settings_json(\%changes) . "'), nextval('effects_seq_seq')",
		sub { $t->remember($sub, \%changes); $t->{model}->altered($sub, \%changes, @_[ 0, 1 ], mark_of($_[2])) });
}

# The number that was drawn when a call had the subscription's lock.
sub mark_of { return $_[0][0] =~ /(\d+)$/ ? $1 : die "no number in $_[0][0]\n"; }

sub effects_of
{
	my ($t, $sub) = @_;

	return ($t->ask("SELECT count(*) FROM effects WHERE sid = $sub->{sid}"))[0][0];
}

sub step_pause
{
	my ($t) = @_;
	my $sub = $t->subscription(sub { !$_[0]{paused} }) or return 0;

	return $t->operate($sub->{name}, "SELECT eda.pause('$sub->{name}')", sub { $sub->{paused} = 1; $sub->{effects_at_pause} = $t->effects_of($sub) });
}

sub check_pause
{
	my ($t, $sub) = @_;
	my $now = $t->effects_of($sub);

	$t->{model}->problem("S4: subscription $sub->{name} handled " . ($now - $sub->{effects_at_pause}) . ' events while it was paused')
	  if $now != $sub->{effects_at_pause};
}

sub step_resume
{
	my ($t) = @_;
	my $sub = $t->subscription(sub { $_[0]{paused} }) or return 0;

	$t->check_pause($sub);
	return $t->operate($sub->{name}, "SELECT eda.resume('$sub->{name}')", sub { $sub->{paused} = 0 });
}

# Six crashes without a success in between block a subscription; wherever it was not us who paused it.
sub resume_crashing
{
	my ($t) = @_;

	return if $t->{model}{crashes} < 6;
	for my $row ($t->ask("SELECT subscription FROM eda.subscriptions WHERE blocked_reason = 'crashing'"))
	{
		next if $t->{model}{names}{ $row->[0] }{locked};
		$t->say_to({ name => 'admin', session => $t->{admin} }, "SELECT eda.resume('$row->[0]')");
	}
}

sub step_unsubscribe
{
	my ($t) = @_;
	my $model = $t->{model};
	my $sub = $t->subscription or return 0;

	return $t->operate($sub->{name}, "SELECT try_unsubscribe('$sub->{name}')",
		sub {
			my ($dead, $gone) = split / /, $_[2][0];

			$model->problem("D7: unsubscribe without force: dead letters: $dead, gone: $gone") if $dead == $gone;
			$model->unsubscribed($sub, @_[ 0, 1 ]) if $gone;
		}) if $t->{random}->chance(40);
	return $t->operate($sub->{name}, "SELECT eda.unsubscribe('$sub->{name}', true)",
		sub { $model->unsubscribed($sub, @_[ 0, 1 ]) });
}

sub step_skip
{
	my ($t) = @_;
	my $sub = $t->subscription or return 0;
	my $x = $t->{random}->below(1000);
	my @waiting = $t->ask("SELECT event_id FROM eda.retries WHERE subscription = '$sub->{name}' ORDER BY event_id");

	return 1 unless @waiting;
	my $id = $waiting[ $x % @waiting ][0];
	return $t->operate($sub->{name}, "SELECT eda.skip('$sub->{name}', $id)", sub { $sub->{skipped}{$id} = 1 if $_[2][0] eq 't' });
}

sub dead_letters
{
	my ($t, $sub) = @_;

	return map { { id => $_->[0], attempts => $_->[1], reason => $_->[2] } }
	  $t->ask("SELECT event_id, attempts, reason FROM eda.dead_letters WHERE subscription = '$sub->{name}' ORDER BY event_id");
}

# What look() says, for Model::looked().
sub parse_look
{
	my ($what, $rows) = @_;
	my %look = (what => $what, waiting => {}, dead => {}, after => {}, chosen => {}, before_ids => {}, after_ids => {});
	my %still;
	my $place = 0;

	for (@$rows)
	{
		my ($kind, @of) = split /\|/, $_, -1;

		if ($kind eq 'waiting')
		{
			$look{waiting}{ $of[0] } = { place => ++$place, attempt => $of[1], tried => $of[2] };
		}
		elsif ($kind eq 'dead')
		{
			$look{dead}{ $of[0] } = { attempts => $of[1], reason => $of[2], died => $of[3], tried => $of[4] };
		}
		elsif ($kind eq 'after')
		{
			$look{after}{ $of[0] } = ++$place;
		}
		elsif ($kind eq 'still')
		{
			$still{ $of[0] } = 1;
		}
		elsif ($kind eq 'times')
		{
			@look{qw(from_us to_us)} = @of;
		}
		elsif ($kind eq 'before')
		{
			$look{before_ids} = { map { $_ => 1 } split / /, $of[0] };
		}
		elsif ($kind eq 'seen')
		{
			$look{after_ids} = { map { $_ => 1 } split / /, $of[0] };
		}
		else
		{
			$look{$kind} = $of[0];
		}
	}
	$look{chosen} = { map { $still{$_} ? () : ($_ => 1) } keys %{ $look{dead} } };
	return \%look;
}

# $apply($look): what else there is to say.
sub look_and
{
	my ($t, $sub, $what, $how, $arg, $apply) = @_;
	my $model = $t->{model};

	return $t->operate($sub->{name}, "SELECT * FROM look('$sub->{name}', '$how', '$arg', $model->{seen_log})",
		sub {
			my ($cb, $cd, $rows, $call_b, $call_e, $txn) = @_;
			my $look = parse_look($what, $rows);

			$apply->($look);
			$model->looked($sub, $look, $cb, $cd, $call_b, $call_e, $txn);
		});
}

# Some dead letters, or all of them, redriven or thrown away.
sub redrive_or_discard
{
	my ($t, $what) = @_;
	my $model = $t->{model};
	my $sub = $t->subscription or return 0;
	my $share = $t->{random}->pick(10, 50, 100);
	my $salt = $t->{random}->below(1000);
	my $how = $t->{random}->pick($what, $what, $what, "${what}_all", $what eq 'redrive' ? qw(redrive_all redrive_code) : ());
	my $arg = $how eq 'redrive_all' ? $t->{random}->pick('', 3, 20) : $how eq 'redrive_code' ? $t->{random}->pick('22012', 'P0001') : '';
	my %asked;

	if ($how eq $what)
	{
		%asked = map { $_->{id} => 1 } grep { ($_->{id} * 7919 + $salt) % 100 < $share } $t->dead_letters($sub) or return 1;
		$arg = '{' . join(',', sort { $a <=> $b } keys %asked) . '}';
	}
	return $t->look_and($sub, $what, $how, $arg,
		sub {
			my ($look) = @_;
			my @dead = sort { $a <=> $b } keys %{ $look->{dead} };
			my $n = keys %{ $look->{chosen} };

			@dead = grep { $asked{$_} } @dead if $how eq $what;
			splice @dead, $arg if $how eq 'redrive_all' && $arg ne '' && @dead > $arg;
			$model->problem("D7: $how of the dead letters of $sub->{name} said $look->{result}, and it was $n") if $look->{result} != $n;
			$model->problem("D7: $how of the dead letters of $sub->{name} is of others than were asked for")
			  if $how ne 'redrive_code' && join(' ', @dead) ne join(' ', sort { $a <=> $b } keys %{ $look->{chosen} });
		});
}

sub step_redrive { return $_[0]->redrive_or_discard('redrive'); }

sub step_discard { return $_[0]->redrive_or_discard('discard'); }

# An id: of one of the latest events, or of any.
sub some_id
{
	my ($t, $near) = @_;
	my $last = $t->{model}{last_id};
	my $far = $t->{random}->chance($t->{n} < 1500 ? 20 : 5) && !$near ? $last : 600;
	my $id = $last - $t->{random}->below($far + 1);

	return $id > 1 ? $id : 1;
}

# When an event was due, as text and in microseconds; undef: there is none.
sub time_of_event
{
	my ($t) = @_;
	my $id = $t->some_id;
	my ($row) = $t->ask("SELECT due, (1e6 * extract(epoch FROM due))::bigint FROM (SELECT coalesce(deliver_at, published_at) AS due FROM eda.log WHERE id >= $id ORDER BY id LIMIT 1) l");

	return $row;
}

sub step_seek
{
	my ($t) = @_;
	my $sub = $t->subscription or return 0;
	my $to = $t->{random}->weighted(earliest => $t->{n} < 1500 ? 10 : 1, latest => 15, id => 40, time => 20);
	# far back it would take long
	my $near = Model::current($sub)->{rate_limit} || Model::current($sub)->{ordering} eq 'strict';
	my $id = $t->some_id($near);

	$to = 'id' if $to eq 'earliest' && $near && $t->{n} > 500;
	return $t->look_and($sub, 'seek', $to, $to eq 'id' ? $id : $to eq 'time' ? "$id " . ($id + 50) : '',
		sub {
			my ($look) = @_;

			$look->{to} = $to;
			$look->{place} = $to eq 'id' ? $id : $to eq 'time' ? $look->{from_us} : undef;
		});
}

sub step_replay
{
	my ($t) = @_;
	my $model = $t->{model};
	my $sub = $t->subscription or return 0;
	my $id = $t->some_id;
	my $topics = $t->{random}->pick('#', '#', @patterns);
	my $until = $id + $t->{random}->below(300);

	return $t->look_and($sub, 'replay', 'replay', "$id $until $topics",
		sub {
			my ($look) = @_;
			my $n = keys(%{ $look->{after} }) - keys(%{ $look->{waiting} });

			$look->{topics} = $topics;
			$model->problem("G4: a replay to $sub->{name} said $look->{result}, and it was $n") if $look->{result} != $n;
		});
}

# The handlers here and now, and nothing of it.
sub step_run_pending
{
	my ($t) = @_;
	my $sub = $t->subscription or return 0;
	my $slot = $t->slot('idle') or return 0;
	my $ev = $t->draw_event;

	for my $sql ('BEGIN', q(SET LOCAL statement_timeout = '2s'), "SELECT eda.publish('$ev->{topic}', '$ev->{payload}')",
		"SELECT eda.run_pending('$sub->{name}')", $t->{random}->pick('COMMIT', 'ROLLBACK'), 'ROLLBACK')
	{
		$slot->{session}->send($sql);
		my $result = $slot->{session}->result;

		$t->note_step("$slot->{name}: $sql  -> $result->{error} " . join(' ', @{ $result->{rows} }));
		$t->{model}{last_id} = $result->{rows}[0] if $sql =~ /eda\.publish/;
	}
	return 1;
}

# A handler that is not there blocks its subscriptions, and nothing else.
sub step_break_handler
{
	my ($t) = @_;

	return 0 if $t->{broken};
	$t->say_to({ name => 'admin', session => $t->{admin} }, 'ALTER FUNCTION act_set(eda.event[]) RENAME TO act_set_not');
	$t->{broken} = 1;
	return 1;
}

sub step_mend_handler
{
	my ($t) = @_;

	return 0 unless $t->{broken};
	$t->say_to({ name => 'admin', session => $t->{admin} }, 'ALTER FUNCTION act_set_not(eda.event[]) RENAME TO act_set');
	$t->{broken} = 0;
	return 1;
}

# Everything that this subscription was to get comes to its end, without anything else that happens.
sub step_wait
{
	my ($t) = @_;
	my $sub = $t->subscription(sub { !$_[0]{paused} && !($t->{broken} && Model::current($_[0])->{handler} eq 'public.act_set') }) or return 0;

	# what an open transaction cancels is waited for, too
	return 0 if grep { $_->{cancelling} } @{ $t->{model}{committed} };
	$t->wait_until_done("subscription => '$sub->{name}', ", "subscription = '$sub->{name}'");
	return 1;
}

# A handler that is back under its name unblocks its subscriptions by itself, as soon as there is a dispatcher.
sub wait_until_mended
{
	my ($t, $which) = @_;
	my $until = time + $t->{timeout};

	return if $t->{broken};
	while (time < $until)
	{
		my ($row) = $t->ask("SELECT count(*) FROM eda.subscriptions WHERE blocked_reason = 'handler' AND $which");

		return unless $row->[0];
		usleep 20_000;
	}
	die "a mended handler's subscription stays blocked\n";
}

# CALL eda.wait().  A backlog may take long, but not stand still.
sub wait_until_done
{
	my ($t, $which, $subscription) = @_;
	my $progress = 'SELECT sum(handled + filtered + failed), (SELECT count(*) FROM eda.retry), (SELECT sum(deliveries) FROM eda.retry) FROM eda.cursor';
	my $look = sub { return join ' ', map { $_ // '' } map { @$_ } $t->ask($progress) };
	my $before = $look->();

	for my $try (1 .. 60)
	{
		$t->resume_crashing;
		$t->wait_until_mended($subscription // 'true');
		my $result = $t->say_to({ name => 'admin', session => $t->{admin} }, "CALL eda.wait(${which}timeout => '$t->{timeout} s')", 'ED020', 'ED021');
		return unless $result->{error};
		if ($result->{error} eq 'ED020')
		{
			# who had looked for the handler before it was mended may block the subscription after that, for a moment
			next if !$t->{broken} && $result->{message} =~ /blocked \(handler\)/;
			die "$result->{message}\n";
		}
		my $now = $look->();

		die "nothing goes on: $result->{message}\n" if $now eq $before;
		$before = $now;
	}
	die "it does not come to its end\n";
}

# Another segment of the log; if the server forgets, what nobody needs goes.
sub step_rotate
{
	my ($t) = @_;

	$t->say_to({ name => 'admin', session => $t->{admin} }, 'SELECT eda.rotate_log()');
	return 1;
}

# ---- what goes wrong ----

# One of the workers of a kind; undef: there is none just now.
sub worker
{
	my ($t, $kind) = @_;
	my $x = $t->{random}->below(1000);
	my @pids = $t->ask("SELECT pid FROM eda.workers WHERE kind = '$kind' AND pid IS NOT NULL ORDER BY in_flight DESC NULLS LAST, since DESC");

	return @pids ? $pids[ $x % 3 == 0 ? $x % @pids : 0 ][0] : undef;
}

sub step_cancel_executor
{
	my ($t) = @_;
	my $pid = $t->worker('executor') or return 1;

	# counted first: it is the number of attempts that may be missing
	$t->{model}{cancels}++;
	$t->say_to({ name => 'admin', session => $t->{admin} }, "SELECT pg_cancel_backend($pid)");
	return 1;
}

sub terminate_worker
{
	my ($t, $kind) = @_;
	# one that dies young is waited for, longer each time
	return 0 if $t->{terminated}++ >= 2;
	my $pid = $t->worker($kind) or return 1;

	# the second time that it strikes an event, that costs an attempt
	$t->{model}{cancels}++ if $kind eq 'executor' && $t->{executors_terminated}++ > 0;
	$t->say_to({ name => 'admin', session => $t->{admin} }, "SELECT pg_terminate_backend($pid)");
	return 1;
}

sub step_terminate_executor { return $_[0]->terminate_worker('executor'); }

sub step_terminate_dispatcher { return $_[0]->terminate_worker('dispatcher'); }

# The server went away: what was open is rolled back.
sub reconnect
{
	my ($t) = @_;

	for my $slot (@{ $t->{slots} })
	{
		$t->{model}->rollback($slot->{txn}) if $slot->{txn};
	}
	$t->disconnect;
	for my $try (1 .. 3000)
	{
		my $session = Session->new($t->{node}->connstr('postgres'), 'probe');
		my $up = !$session->run('SELECT 1')->{error};

		$session->close;
		last if $up;
		die "the server did not come back\n" if $try == 3000;
		usleep(10_000);
	}
	$t->connect;
	push @{ $t->{model}{outages} }, [ 1e6 * $t->{went}, 1e6 * time ];
	$t->{terminated} = 0;
	return 1;
}

sub kill_worker
{
	my ($t, $kind) = @_;

	return 0 if grep { $_->{waiting} } @{ $t->{slots} };
	my $pid = $t->worker($kind) or return 1;

	$t->{model}{crashes}++;
	$t->note_step("kill -9 $pid ($kind)");
	$t->{went} = time;
	return 1 unless kill 'KILL', $pid;
	# everybody is told to end, unless it was about to end itself
	for my $try (1 .. 400)
	{
		return $t->reconnect if $t->{admin}->run('SELECT pg_sleep(0.005)')->{lost};
	}
	$t->note_step('it had ended before');
	return 1;
}

sub step_kill_executor { return $_[0]->kill_worker('executor'); }

sub step_kill_dispatcher { return $_[0]->kill_worker('dispatcher'); }

sub step_restart
{
	my ($t) = @_;

	return 0 if grep { $_->{waiting} } @{ $t->{slots} };
	$t->note_step('restart');
	$t->{went} = time;
	$t->{node}->restart;
	return $t->reconnect;
}

sub step_stop_immediate
{
	my ($t) = @_;

	return 0 if grep { $_->{waiting} } @{ $t->{slots} };
	$t->note_step('stop -m immediate, start');
	$t->{went} = time;
	$t->{node}->stop('immediate');
	$t->{node}->start;
	return $t->reconnect;
}

# ---- running them ----

sub step
{
	my ($t) = @_;

	for (;;)
	{
		my $kind = $t->{random}->weighted(@kinds);
		my $method = "step_$kind";

		next if $needs{$kind} && !$t->{has}{ $needs{$kind} };

		next unless $t->$method;
		$t->{count}{$kind}++;
		return;
	}
}

# A few subscriptions of every sort to begin with.
sub begin
{
	my ($t) = @_;

	for my $ordering (qw(key strict none))
	{
		my $def = $t->draw_definition;

		@$def{qw(topics filter ordering)} = ($ordering eq 'strict' ? 'a.*,b.#,c' : '#', 'none', $ordering);
		$def->{concurrency} = 1 if $ordering eq 'strict';
		my $name = { key => 's0', strict => 's1', none => 's2' }->{$ordering};
		1 until $t->step_subscribe($name, $def);
	}
}

# Let everything come to rest: nothing open, nothing paused, nothing waiting.
sub rest
{
	my ($t) = @_;
	my $model = $t->{model};
	my $idle_since = time;
	my $before = '';

	# whatever comes last wakes those who are to deliver it
	my @last = (
		sub {
			$t->step_mend_handler;
			for my $slot (@{ $t->{slots} })
			{
				my $txn = delete $slot->{txn} or next;
				my $commit = $t->{random}->chance(70);

				$t->end_transaction($slot, $txn, $commit ? 'COMMIT' : 'ROLLBACK', $commit);
			}
			1 while $t->step_end_prepared;
		},
		sub {
			for my $sub (grep { $_ && $_->{paused} } map { $model->{names}{$_}{sub} } sort keys %{ $model->{names} })
			{
				# an open transaction may have its lock
				next if $model->{names}{ $sub->{name} }{locked};
				my $slot = $t->slot('idle') or next;

				$t->check_pause($sub);
				$t->say_to($slot, "SELECT eda.resume('$sub->{name}')");
				$sub->{paused} = 0;
			}
		});
	$_->() foreach $t->{random}->chance(50) ? @last : (reverse(@last), $last[1]);

	# Twice the same, with nothing left and eda.wait() in between.
	for (;;)
	{
		my ($row) = $t->ask('SELECT (SELECT count(*) FROM eda.retry)' . ($t->{has}{cancel} ? ' + (SELECT count(*) FROM eda.delayed)' : '')
			  . ', (SELECT coalesce(max(attempt), 0) FROM eda.retry), (SELECT count(*) FROM effects), (SELECT coalesce(max(id), 0) FROM eda.log)');
		my $now = join ' ', @$row;

		last if $row->[0] == 0 && $now eq $before;
		$idle_since = time if $now ne $before;
		die "what waits in eda.retry or is delayed does not go on:\n" . join("\n", map { join ' ', map { $_ // '' } @$_ } $t->ask(
				'SELECT subscription_id, event_id, key, attempt, next_attempt_at, clock_timestamp(), error_message FROM eda.retry ORDER BY seq LIMIT 10')) . "\n"
		  if time - $idle_since > $t->{timeout} + 1;
		usleep(3000) if $row->[0] > 0;
		$before = $now;
		$t->wait_until_done('');
	}
	$t->{terminated} = 0;
}

# What there is now: for Model::compare().
sub look
{
	my ($t) = @_;
	my $model = $t->{model};
	my %now;

	for my $row ($t->ask("SELECT id, topic, key, payload->>'n', hops, coalesce(correlation_id, id::text), causation_id, payload->>'subscription', payload->>'event_id',"
			  . ' (1e6 * extract(epoch FROM published_at))::bigint, (1e6 * extract(epoch FROM coalesce(deliver_at, published_at)))::bigint'
			  . " FROM eda.log WHERE id > $model->{seen_log} ORDER BY id"))
	{
		my %row;

		@row{qw(id topic key n hops correlation cause sub dead_id published_us due_us)} = @$row;
		push @{ $now{log} }, \%row;
	}
	for my $row ($t->ask('SELECT seq, sid, id, attempt, redelivered, topic, key, n, follow, (1e6 * extract(epoch FROM at))::bigint'
			  . " FROM effects WHERE seq > $model->{seen_seq} ORDER BY seq"))
	{
		my %row;

		@row{qw(seq sid id attempt redelivered topic key n follow at)} = @$row;
		$model->{seen_seq} = $row{seq};
		push @{ $now{effects} }, \%row;
	}
	for my $row ($t->ask('SELECT subscription_id, event_id, attempts, reason, (1e6 * extract(epoch FROM died_at))::bigint FROM eda.dead_letter'))
	{
		my %row;

		@row{qw(sid id attempts reason died)} = @$row;
		push @{ $now{dead} }, \%row;
	}
	for my $row ($t->ask('SELECT subscription_id, v.state, handled, filtered, failed FROM eda.subscriptions v JOIN eda.subscription s ON s.name = v.subscription'))
	{
		my %row;

		@row{qw(sid state handled filtered failed)} = @$row;
		$now{counters}{ $row{sid} } = \%row;
	}
	$now{$_} //= [] foreach qw(log effects dead);
	return \%now;
}

1;
