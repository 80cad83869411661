/*-------------------------------------------------------------------------
 *
 * deliver/setwise.c
 *	  Set-wise handlers: one call for many events, narrowed down when it fails.
 *
 *	1. A set is what one call gets: events of the lane in order, none of a
 *	   blocked key, none that expired.  Their filters run with the call, in its
 *	   subtransaction and under its timeout.
 *	2. A call that fails is the fault of one of its events, nobody knows whose.
 *	   Its first half is called, then half of what is left: after log2(n)
 *	   calls the event at fault is alone, and fails as any event does.  Behind it
 *	   calls begin with one event and double with each success.  So one
 *	   event at fault among n costs about 2 log2(n) calls, and where all are
 *	   at fault each of them costs one.
 *	3. What is known of the next events is a single number, `bad`: so many of
 *	   them hold one at fault.  It is a guess that costs a call where it is
 *	   wrong, as when a failure passes by itself: nothing else relies on it.
 *	4. Where the error came from an event's filter, or only one event passed
 *	   it, the event is known, and those before it are the next call.
 *	5. Order: a set that failed is gathered anew from the window, so
 *	   what the event at fault holds up by then is not in it.
 *
 * Memory only: deliver/step.c has the transactions.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/setwise.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "utils/memutils.h"

#include "deliver/setwise.h"
#include "workers/workers.h"

/* What one call gets, in bytes: more events than that are another call's. */
#define MAX_SET_BYTES	(64 * 1024 * 1024)

void
EdaSetInit(EdaSet *set, MemoryContext parent)
{
	memset(set, 0, sizeof(EdaSet));
	set->mcxt = AllocSetContextCreate(parent, "eda set", ALLOCSET_DEFAULT_SIZES);
	set->culprit = -1;
}

void
EdaSetClear(EdaSet *set)
{
	MemoryContextReset(set->mcxt);
	set->items = NULL;
	set->n = 0;
	set->allocated = 0;
	set->bytes = 0;
	set->calling = false;
	set->culprit = -1;
}

/* A value whose size is known, and which is not decompressed at each use. */
static struct varlena *
flatten(struct varlena *value)
{
	if (value != NULL && (VARATT_IS_COMPRESSED(value) || VARATT_IS_EXTERNAL(value)))
		return pg_detoast_datum(value);
	return value;
}

void
EdaSetAdd(EdaSet *set, const EdaSubscription *sub, const EdaItem *item, int place)
{
	MemoryContext old = MemoryContextSwitchTo(set->mcxt);
	EdaSetItem *added;
	EdaEvent   *ev;

	if (set->n == set->allocated)
	{
		set->allocated = Max(set->allocated * 2, 64);
		set->items = set->items == NULL ?
			palloc(set->allocated * sizeof(EdaSetItem)) :
			repalloc_huge(set->items, set->allocated * sizeof(EdaSetItem));
	}
	added = &set->items[set->n++];
	added->place = place;
	added->item = *item;
	ev = &added->item.ev;
	ev->subscription = sub->name;
	ev->attempt = 1;
	ev->max_attempts = sub->max_attempts;
	ev->payload = flatten(ev->payload);
	ev->headers = flatten(ev->headers);
	added->value = EdaEventToDatum(ev);
	if (ev->payload != item->ev.payload)
		pfree(ev->payload);
	if (ev->headers != item->ev.headers)
		pfree(ev->headers);
	/* they point to the page, which the reader leaves */
	ev->topic = ev->key = ev->payload = ev->headers = ev->correlation_id = NULL;
	if (set->n == 1)
		EdaEventPointInto(ev, added->value);
	set->bytes += VARSIZE(DatumGetPointer(added->value));
	MemoryContextSwitchTo(old);
}

bool
EdaSetIsFull(const EdaSet *set, int limit)
{
	return set->n >= limit || (set->chunk > 0 && set->n >= set->chunk) ||
		set->bytes >= MAX_SET_BYTES;
}

int
EdaSetCall(EdaSet *set, const EdaSubscription *sub, EdaInvoker *invoker,
		   int64 *current_id)
{
	Datum	   *values = palloc(set->n * sizeof(Datum));
	EdaEvent   *current = &set->current;
	int			n = 0;
	int			last = -1;

	set->calling = true;
	for (int i = 0; i < set->n; i++)
	{
		EdaEvent   *ev = &set->items[i].item.ev;

		/* only they want to know more of it than its value */
		if (i > 0 && (sub->filter != NULL || sub->schema != NULL))
			EdaEventPointInto(ev, set->items[i].value);
		set->culprit = i;
		*current_id = ev->id;
		EdaInflightEvent(ev->id);
		if (!EdaFilterPasses(sub, ev))
			continue;
		if (n == 0)
			*current = *ev;
		/* what it publishes may come from any of them: no chain gets shorter by that */
		current->hops = Max(current->hops, ev->hops);
		values[n++] = set->items[i].value;
		last = i;
	}
	if (n > 0)
	{
		set->culprit = n == 1 ? last : -1;
		*current_id = n == 1 ? current->id : 0;
		EdaInflightSet(set->items[last].item.ev.id, n);
		EdaInvokeSet(invoker, current, values, n);
	}
	EdaInflightAfter(set->n);
	set->calling = false;
	*current_id = 0;
	return n;
}

void
EdaSetWorked(EdaSet *set)
{
	if (set->bad > set->n)
	{
		set->bad -= set->n;
		set->chunk = Max(set->bad / 2, 1);
	}
	else
	{
		set->bad = 0;
		set->chunk = Min(set->n, INT_MAX / 2) * 2;
	}
}

bool
EdaSetFailed(EdaSet *set)
{
	set->bad = 0;
	if (set->culprit > 0)
		set->chunk = set->culprit;
	else if (set->culprit == 0 || set->n == 1)
	{
		set->chunk = 1;
		return true;
	}
	else
	{
		set->bad = set->n;
		set->chunk = set->n / 2;
	}
	return false;
}
