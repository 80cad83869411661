# The memory of whatever lives long is flat under load: executors, dispatcher, launcher, and a session that
# publishes, with failures, retries, snoozes, filters, schemas, DDL and rotation.
#
#	EDA_MEMORY_MINUTES=10	for that long (make check-memory); else some thousand events

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'time';

use EdaTest;

my $minutes = $ENV{EDA_MEMORY_MINUTES} || 0;

# What one context of ours may be larger by, and all others of the process together, in bytes: PostgreSQL's caches
# hold the segments of the log that it has seen, 64 at most, and its catalogue's entries.
my $slack = 16 * 1024;
my $others = 1024 * 1024;

my $node = new_node('memory');
$node->append_conf('postgresql.conf', "eda.max_executors = 2\neda.retention = 0\neda.executor_linger = 1h");
$node->start;
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE ROLE app LOGIN;
	CREATE EXTENSION eda;
	GRANT USAGE ON SCHEMA eda TO app;
	GRANT EXECUTE ON ALL ROUTINES IN SCHEMA eda TO app;
	CREATE TABLE sink (id bigint);
	GRANT ALL ON sink TO app;
	CREATE FUNCTION act(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF e.attempt = 1 AND NOT e.redelivered THEN
			CASE e.id % 7
				WHEN 0, 1 THEN RAISE 'unlucky' USING DETAIL = 'd', HINT = 'h';
				WHEN 2 THEN PERFORM eda.snooze('0');
				WHEN 3 THEN PERFORM eda.retry_after('10 ms');
				WHEN 4 THEN IF e.id % 5 = 0 THEN PERFORM eda.reject('no'); END IF;
				ELSE NULL;
			END CASE;
		END IF;
		INSERT INTO public.sink VALUES (e.id);
		IF e.id % 10 = 0 AND e.hops = 0 THEN
			PERFORM eda.publish('m.more', e.payload);
		END IF;
	END $$;
	CREATE FUNCTION act_set(events eda.event[]) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM public.act(e) FROM unnest(events) e;
	END $$;
	SELECT eda.define_schema('https://example.org/n', '{"type": "integer"}');
	SELECT eda.define_topic('m.b', '{"type": "object", "properties": {"n": {"$ref": "https://example.org/n"}}}');
	SELECT eda.subscribe(s, t, h, filter => f::jsonpath, schema => j::jsonb, ordering => o, owner => 'app', backoff => '10 ms', max_backoff => '20 ms',
			block_after => 100000, concurrency => c)
	  FROM (VALUES
			('m_key', 'm.#', 'public.act', NULL, NULL, 'key', 2),
			('m_filter', 'm.b', 'public.act', '$.n > 3 && $.s like_regex "^a+b"', '{"properties": {"s": {"pattern": "^a+b?$"}}}', 'none', 1),
			('m_strict', 'm.a', 'public.act', NULL, NULL, 'strict', 1),
			('m_set', 'm.a,m.b', 'public.act_set', NULL, NULL, 'key', 1)) v (s, t, h, f, j, o, c);
	CREATE PROCEDURE load(rounds int) LANGUAGE plpgsql AS $p$
	BEGIN
		FOR r IN 1 .. rounds LOOP
			PERFORM eda.publish('m.' || (ARRAY['a', 'b'])[i % 2 + 1], jsonb_build_object('n', i % 10, 's', repeat('a', i % 9) || 'b'), key => 'k' || i % 20,
				idempotency_key => CASE WHEN i % 5 = 0 THEN 'i' || i END) FROM generate_series(1, 60) i;
			PERFORM eda.publish_batch('m.a', array_agg('{"n": 5}'::jsonb)) FROM generate_series(1, 20);
			PERFORM eda.publish_query('m.b', 'SELECT i AS n FROM generate_series(1, 20) i');
			PERFORM eda.publish('m.a', deliver_at => clock_timestamp() + '20 ms');
			BEGIN
				PERFORM eda.publish('m.b', '{"n": "no number"}');
			EXCEPTION WHEN OTHERS THEN
				NULL;
			END;
			PERFORM eda.is_valid(jsonb_build_object('minimum', r % 30), '1');
			COMMIT;
			EXECUTE 'CREATE TABLE passing (a int)';
			EXECUTE 'DROP TABLE passing';
			EXECUTE 'ALTER FUNCTION public.act(eda.event) COST ' || 100 + r % 2;
			COMMIT;
			PERFORM eda.alter_subscription('m_filter', jsonb_build_object('batch_size', 50 + r % 2));
			PERFORM eda.define_topic('m.b', jsonb_build_object('type', 'object', 'maxProperties', 10 + r % 2,
				'properties', '{"n": {"$ref": "https://example.org/n"}}'::jsonb));
			COMMIT;
			IF r % 5 = 0 THEN
				PERFORM eda.rotate_log();
				PERFORM eda.redrive_all('m_key');
				PERFORM eda.discard_all(s) FROM unnest('{m_filter,m_strict,m_set}'::text[]) s;
				COMMIT;
			END IF;
		END LOOP;
	END $p$;
});

my $publisher = $node->background_psql('postgres');
# the timeout is for one query, not for all that follow
$publisher->set_query_timer_restart();
$publisher->query_safe('SET client_min_messages = error');
my $publisher_pid = $publisher->query_safe('SELECT pg_backend_pid()');

# Load, until everything is done.
sub load
{
	my ($rounds) = @_;

	$publisher->query_safe("CALL load($rounds)");
	$node->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM eda.subscriptions WHERE backlog > 0 OR retrying > 0)})
	  or die 'the load is not worked off';
}

# name => pid
sub processes
{
	my %pids = (publisher => $publisher_pid);

	for my $row (split /\n/, $node->safe_psql('postgres', q{SELECT backend_type || ' ' || pid FROM pg_stat_activity WHERE backend_type LIKE 'eda %' ORDER BY pid}))
	{
		my ($type, $pid) = $row =~ /^eda (\w+) (\d+)$/ or next;

		$pids{"$type $pid"} = $pid;
	}
	return %pids;
}

# Bytes in use in a process: by the name of each of our contexts, and of all others together.
sub used
{
	my ($pid) = @_;
	my %used = (others => 0);
	my $offset = -s $node->logfile;

	$node->safe_psql('postgres', "SELECT pg_log_backend_memory_contexts($pid)");
	$node->wait_for_log(qr/\[$pid\].*Grand total: /, $offset);
	for my $line (split /\n/, slurp_file($node->logfile, $offset))
	{
		my ($name, $bytes) = $line =~ /\[$pid\].*level: \d+; ([^:]+?)(?: \(\d+\))?: .* (\d+) used/ or next;

		$used{ $name =~ /^eda / ? $name : 'others' } += $bytes;
	}
	return \%used;
}

sub look
{
	my %pids = processes();

	return { map { $_ => used($pids{$_}) } keys %pids };
}

my $warm = time + 6 * $minutes;
do { load(15) } while (time < $warm);
my $before = look();
my $until = time + 60 * $minutes;
do { load(30) } while (time < $until);
my $after = look();

my $n = 0;
for my $process (sort keys %$before)
{
	my $b = $before->{$process};
	my $a = $after->{$process} or next;    # it may have ended meanwhile

	my @grown = map { sprintf('%s: %d bytes, were %d', $_, $a->{$_}, $b->{$_} // 0) }
	  grep { $a->{$_} - ($b->{$_} // 0) > ($_ eq 'others' ? $others : $slack) } sort keys %$a;

	is(join("\n", @grown), '', "$process: no context grows");
	note(join ', ', map { "$_ " . ($b->{$_} // 0) . " -> $a->{$_}" } sort keys %$a);
	$n++;
}
cmp_ok($n, '>=', 4, 'executors, the dispatcher, the launcher and the publisher were looked at');
cmp_ok(scalar(grep { /^executor/ } keys %$before), '>=', 2, 'both executors');
note('failed: ', $node->safe_psql('postgres', 'SELECT sum(failed) FROM eda.subscriptions'));
$publisher->quit;
$node->stop;
done_testing();
