# Seeks, replays and redrives while the subscriptions are under load, with
# events that fail and publishers that stay open: in the end everything that
# was asked for has been delivered, no more often than it was asked for, in the
# order of its key in each pass, and nothing is left waiting.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $steps = $ENV{EDA_TEST_STEPS} || 45;
my $seed = $ENV{EDA_TEST_SEED} || (time ^ $$);
srand($seed);
note("seed $seed: repeat with EDA_TEST_SEED");

my $node = new_node('position');
$node->start;
setup_roles($node);
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION eda;
	CREATE TABLE handled (seq bigserial, sub text, id bigint, key text, publisher int, xid xid8 DEFAULT pg_current_xact_id());
	CREATE INDEX ON handled (sub, id);
	CREATE TABLE calm ();
	GRANT ALL ON handled, handled_seq_seq, calm TO app;

	-- three in a hundred attempts fail, one in two hundred ends the event
	CREATE FUNCTION take(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.handled (sub, id, key, publisher) VALUES (e.subscription, e.id, e.key, (e.payload ->> 'p')::int);
		IF NOT EXISTS (SELECT FROM public.calm) THEN
			IF random() < 0.03 THEN RAISE 'no'; END IF;
			IF random() < 0.005 THEN RAISE 'never' USING ERRCODE = '22023'; END IF;
		END IF;
	END $$;
	SELECT eda.subscribe(sub, 'test.take', 'public.take', owner => 'app', ordering => ordering, concurrency => lanes, batch_size => size,
	                     backoff => '1 ms', max_backoff => '20 ms', block_after => 1000000, max_attempts => 4, reject_on => '{22023}')
	  FROM (VALUES ('by_key', 'key', 1, 30), ('lanes', 'key', 3, 7), ('strict', 'strict', 1, 20), ('alone', 'none', 2, 50)) v (sub, ordering, lanes, size);

	CREATE FUNCTION put(n int) RETURNS void LANGUAGE sql AS $$
		SELECT eda.publish_batch('test.take', array_agg(jsonb_build_object('p', pg_backend_pid())), array_agg(CASE WHEN random() < 0.9 THEN 'k' || (random() * 12)::int END))
		  FROM generate_series(1, n) i;
	$$;

	-- What was asked for: passes through the log, from a place on, and single events beside them.
	-- Each with what was committed at that moment; no batch was at hand then.
	CREATE TABLE pass (no serial, sub text, kind text, id bigint, at timestamptz, snap pg_snapshot);
	INSERT INTO pass (sub, kind, snap) SELECT name, 'earliest', '10:10:' FROM eda.subscription;
	CREATE TABLE extra (sub text, id bigint, kind text, snap pg_snapshot);

	CREATE VIEW log AS SELECT id, xid, key, published_at FROM eda.log WHERE topic = 'test.take';

	CREATE FUNCTION note_extra(sub text, kind text) RETURNS void LANGUAGE sql AS $$
		INSERT INTO extra SELECT sub, event_id, kind, pg_current_snapshot()
		  FROM eda.retry r JOIN eda.subscription s USING (subscription_id)
		 WHERE s.name = sub AND r.xmin = pg_current_xact_id()::xid AND r.attempt = 0 AND r.deliveries > 0;
	$$;
	-- a time or an id from somewhere in the log
	CREATE FUNCTION some_id() RETURNS bigint LANGUAGE sql AS $$
		SELECT coalesce((SELECT id FROM log WHERE id > (SELECT min(id) + random() * (max(id) - min(id)) FROM log) ORDER BY id LIMIT 1), 1);
	$$;
	CREATE FUNCTION some_time() RETURNS timestamptz LANGUAGE sql AS $$
		SELECT min(published_at) + random() * (max(published_at) - min(published_at)) FROM log;
	$$;

	-- in a statement of its own, so that what follows sees what there is now that the lock is held
	CREATE PROCEDURE do_seek(sub text, kind text) LANGUAGE plpgsql AS $$
	DECLARE
		id bigint := some_id();
		at timestamptz := some_time();
		n bigint;
	BEGIN
		n := CASE kind WHEN 'id' THEN eda.seek(sub, id) WHEN 'time' THEN eda.seek(sub, at) ELSE eda.seek(sub, kind) END;
		INSERT INTO pass (sub, kind, id, at, snap) VALUES (sub, kind, id, at, pg_current_snapshot());
		-- what waits goes on, whatever was asked for since
		INSERT INTO extra SELECT do_seek.sub, event_id, 'waits', pg_current_snapshot()
		  FROM eda.retry r JOIN eda.subscription s USING (subscription_id) WHERE s.name = do_seek.sub;
	END $$;
	CREATE PROCEDURE do_replay(sub text) LANGUAGE plpgsql AS $$
	DECLARE
		t1 timestamptz := some_time();
		t2 timestamptz := some_time();
	BEGIN
		PERFORM eda.replay(sub, least(t1, t2), greatest(t1, t2));
		PERFORM note_extra(sub, 'replay');
	END $$;
	CREATE PROCEDURE do_redrive(sub text) LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM eda.redrive_all(sub);
		PERFORM note_extra(sub, 'redrive');
	END $$;

	-- Which pass through the log has which event?
	CREATE VIEW asked AS
		SELECT p.no, p.sub, l.id, p.snap
		  FROM pass p JOIN log l ON CASE p.kind WHEN 'earliest' THEN true
		                                        WHEN 'latest' THEN NOT pg_visible_in_snapshot(l.xid, p.snap)
		                                        WHEN 'id' THEN NOT pg_visible_in_snapshot(l.xid, p.snap) OR l.id >= p.id
		                                        WHEN 'time' THEN NOT pg_visible_in_snapshot(l.xid, p.snap) OR l.published_at >= p.at END;
});

sub query { return $node->safe_psql('postgres', $_[0]); }

sub pick { return $_[ int(rand(@_)) ]; }

my @subs = qw(by_key lanes strict alone);

# ---- load ----

my $script = $node->basedir . '/put.sql';
append_to_file($script, "\\set n random(1, 4)\nSELECT put(:n);\n");
my ($out, $err) = ('', '');
my $bench = IPC::Run::start(
	[ 'pgbench', '-n', '-c', '3', '-j', '1', '-T', 600, '-R', 150, '-f', $script, $node->connstr('postgres') ],
	'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default * 4));
$node->poll_query_until('postgres', 'SELECT count(*) > 100 FROM handled') or die 'nothing is handled';

# publishers that stay open while others commit, across the seeks
my @open;
my %did;
for my $step (1 .. $steps)
{
	my $sub = pick(@subs);
	my $what = pick(qw(earliest latest id id time time replay replay redrive redrive lanes open open pause));
	my $before = query('SELECT count(*) FROM handled');

	$did{$what}++;
	if ($what =~ /^(earliest|latest|id|time)$/) { query("CALL do_seek('$sub', '$what')"); }
	elsif ($what eq 'replay') { query("CALL do_replay('$sub')"); }
	elsif ($what eq 'redrive') { query("CALL do_redrive('$sub')"); }
	elsif ($what eq 'lanes') { query("SELECT eda.alter_subscription('lanes', jsonb_build_object('concurrency', " . (1 + int(rand(4))) . '))'); }
	elsif ($what eq 'pause') { query("SELECT eda.pause('$sub')"); query("CALL do_seek('$sub', 'id')"); query("SELECT eda.resume('$sub')"); }
	elsif (@open < 4)
	{
		my $psql = $node->background_psql('postgres');

		$psql->query_safe('BEGIN; SELECT put(5)');
		push @open, $psql;
	}
	else
	{
		my $psql = splice(@open, int(rand(@open)), 1);

		$psql->query_safe('COMMIT');
		$psql->quit;
	}
	# something happens between two steps
	$node->poll_query_until('postgres', "SELECT count(*) > $before + 40 FROM handled") or die "stuck after step $step, $what of $sub";
}
note(join ', ', map { "$_: $did{$_}" } sort keys %did);
pass("$steps steps, and delivery goes on after each");

$bench->signal('TERM');
$bench->finish;
foreach my $psql (@open) { $psql->query_safe('COMMIT'); $psql->quit; }

# ---- in the end ----

query('INSERT INTO calm DEFAULT VALUES');
query("CALL do_redrive('$_')") foreach @subs;
ok( $node->poll_query_until('postgres', 'SELECT sum(retrying + backlog) = 0 FROM eda.subscriptions'),
	'nothing waits for ever');
query('CALL eda.wait()');
# what died between that redrive and the calm
query("CALL do_redrive('$_')") foreach @subs;
$node->poll_query_until('postgres', 'SELECT sum(retrying + backlog) = 0 FROM eda.subscriptions');
is(query("SELECT string_agg(concat_ws(' ', subscription, state, retrying, dead, backlog), ', ' ORDER BY subscription) FROM eda.subscriptions"),
	'alone active 0 0 0, by_key active 0 0 0, lanes active 0 0 0, strict active 0 0 0', 'and nothing is dead or pending');
note(query(q{SELECT (SELECT count(*) FROM log) || ' events, ' || (SELECT count(*) FROM handled) || ' handled, '
	|| (SELECT count(*) FROM pass) || ' passes, ' || (SELECT count(*) FROM extra) || ' beside them'}));

query(q{CREATE TABLE asked_for AS SELECT * FROM asked; CREATE INDEX ON asked_for (sub, id); ANALYZE});

is( query(q{SELECT count(*) FROM asked_for a
		WHERE no = (SELECT max(no) FROM pass p WHERE p.sub = a.sub)
		  AND NOT EXISTS (SELECT FROM handled h WHERE h.sub = a.sub AND h.id = a.id AND NOT pg_visible_in_snapshot(h.xid, a.snap))}),
	'0', 'everything from the last seek on has been delivered since');
is( query(q{SELECT count(*) FROM extra a
		WHERE NOT EXISTS (SELECT FROM handled h WHERE h.sub = a.sub AND h.id = a.id AND NOT pg_visible_in_snapshot(h.xid, a.snap))}),
	'0', 'and everything that waited at a seek, or was replayed or redriven');
is( query(q{SELECT count(*) FROM handled h LEFT JOIN log l USING (id) WHERE l.id IS NULL}), '0', 'nothing that was not committed');
is( query(q{SELECT count(*) FROM
		(SELECT sub, id, count(*) AS n FROM handled GROUP BY 1, 2) h
		LEFT JOIN (SELECT sub, id, count(*) AS n FROM asked_for GROUP BY 1, 2) a USING (sub, id)
		LEFT JOIN (SELECT sub, id, count(*) AS n FROM extra WHERE kind <> 'waits' GROUP BY 1, 2) x USING (sub, id)
		WHERE h.n > coalesce(a.n, 0) + coalesce(x.n, 0)}),
	'0', 'and nothing more often than it was asked for');

# in which pass each row is: the last one whose snapshot does not see it
query(q{CREATE TABLE in_pass AS
	SELECT h.*, (SELECT max(no) FROM pass p WHERE p.sub = h.sub AND NOT pg_visible_in_snapshot(h.xid, p.snap)) AS no FROM handled h;
	-- events that were put behind others, out of the order of their ids
	DELETE FROM in_pass i USING extra x WHERE x.sub = i.sub AND x.id = i.id AND x.kind <> 'waits'});
# two publishers may commit in another order than they took their ids in; one cannot
my $order = q{SELECT count(*) FROM
	(SELECT id, lag(id) OVER (PARTITION BY no, publisher%s ORDER BY seq) AS before FROM in_pass WHERE sub = '%s' %s) i
	WHERE before >= id};
foreach my $sub (qw(by_key lanes))
{
	is(query(sprintf($order, ', key', $sub, 'AND key IS NOT NULL')), '0', "$sub: in the order of its key within each pass");
}
is(query(sprintf($order, '', 'strict', '')), '0', 'strict: in order within each pass');

$node->stop;
done_testing();
