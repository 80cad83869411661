# Row 17: what a topic's schema costs.
#
#  1. The order is validated against a schema of more than twenty keywords: types,
#     required members, formats that are asserted, patterns, an array of items.
#  2. A validation is a call of eda.is_valid in a statement over many rows, less what the
#     same statement takes with a function in its place that does nothing: jsonb_typeof.
#  3. A publish is one of many in a statement, on a topic with the schema and on one without.  Most of
#     it is pages that are added to files, which take now this time, now that.
#  4. Growth: orders of 20 and of 20,000 items, by byte.

package Bench::Rows::Schema;

use strict;
use warnings;
use utf8;

use Bench::Database;
use Bench::Plan;
use Bench::Stats;

my $schema = q{{
	"$schema": "http://json-schema.org/draft-07/schema#",
	"type": "object",
	"required": ["id", "type", "customer", "items", "total", "currency", "time"],
	"additionalProperties": false,
	"properties": {
		"id": {"type": "integer", "minimum": 1},
		"type": {"const": "order.created"},
		"customer": {
			"type": "object",
			"required": ["id", "name", "email"],
			"properties": {
				"id": {"type": "integer", "minimum": 1},
				"name": {"type": "string", "minLength": 1, "maxLength": 200},
				"email": {"type": "string", "format": "email"}
			}
		},
		"items": {
			"type": "array", "minItems": 1,
			"items": {
				"type": "object",
				"required": ["sku", "qty", "price"],
				"properties": {
					"sku": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"},
					"qty": {"type": "integer", "minimum": 1, "maximum": 1000},
					"price": {"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.01}
				}
			}
		},
		"total": {"type": "number", "minimum": 0},
		"currency": {"enum": ["EUR", "USD", "GBP", "CHF"]},
		"time": {"type": "string", "format": "date-time"}
	}
}};

# Microseconds of a call, of statements with and without it in turns.
sub microseconds
{
	my ($db, $call, $nothing, $source, $n) = @_;
	my %took = interleave(
		reps(),
		call => sub { $db->seconds("SELECT count(*) FROM $source WHERE $call") },
		nothing => sub { $db->seconds("SELECT count(*) FROM $source WHERE $nothing") });

	return map { 1e6 * ($took{call}[$_] - $took{nothing}[$_]) / $n } 0 .. $#{ $took{call} };
}

sub cost
{
	my ($row) = @_;
	my $n = size(200_000, 50_000);
	my $db = Bench::Database->new('schema', rows => $n);

	$row->verify('valid payloads', $db->value("SELECT count(*) FROM src WHERE eda.is_valid('$schema', payload)"), $n);
	my @us = microseconds($db, "eda.is_valid('$schema', payload)", "jsonb_typeof(payload) = 'object'", 'src', $n);

	$db->query("SELECT eda.define_topic('with.schema', schema => '$schema')");
	my $publish = sub {
		my ($topic) = @_;
		$db->settle;
		return 1e6 * $db->seconds("SELECT count(eda.publish('$topic', payload)) FROM src") / $n;
	};
	$publish->($_) foreach 'with.schema', 'without.schema';
	my %took = interleave(reps(), with => sub { $publish->('with.schema') }, without => sub { $publish->('without.schema') });

	$row->check(what => 'a validation', unit => 'µs', ours => \@us, at_most => 2, loose => 20);
	$row->check(
		what => 'the same',
		unit => 'µs',
		ours => \@us,
		other => $took{without},
		beside => 'publish without it',
		at_most => 0.25,
		loose => 1);
	$row->check(what => 'publish with a schema', unit => 'µs', ours => $took{with}, other => $took{without}, beside => 'without');

	# as many bytes in few large ones, as they are in memory
	my %per_byte;
	foreach my $items (20, 20_000)
	{
		my $rows = 200_000 / $items;

		$db->query(
			"CREATE TABLE orders_$items AS SELECT jsonb_set(payload, '{items}',
				(SELECT jsonb_agg(CASE WHEN i > 0 THEN payload #> '{items,0}' END) FROM generate_series(1, $items) i)) AS payload FROM src WHERE n <= $rows",
			"VACUUM ANALYZE orders_$items");
		my $bytes = $db->value("SELECT sum(pg_column_size(payload || '{}')) FROM orders_$items");

		$per_byte{$items} = [ map { 1000 * $_ / $bytes }
			microseconds($db, "eda.is_valid('$schema', payload)", "jsonb_typeof(payload) = 'object'", "orders_$items", 1) ];
	}
	$row->check(
		what => 'an order of 20,000 items',
		unit => 'ns a byte',
		ours => $per_byte{20_000},
		other => $per_byte{20},
		beside => 'of 20',
		at_most => 1.3,
		loose => 4);
	$db->drop;
	return;
}

1;
