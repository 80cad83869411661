/*-------------------------------------------------------------------------
 *
 * publish/call.c
 *	  What every call that publishes does, in this order: begin, name a topic,
 *	  make events, claim idempotency keys, append.
 *
 *	1. What the executor would have checked for an INSERT (read-only, recovery,
 *	   parallel mode) is checked here, as the log is written below it, and what
 *	   is eda's own: topics, sizes, hops, the topics' schemas.
 *	2. An event published by a handler inherits: correlation from the handled
 *	   event, causation its id, one hop more.
 *	3. Nothing waits or fails between an id and its row: keys are claimed, the
 *	   topics' subscriptions read and the log locked before ids are taken.  A call
 *	   locks the log after every other table.
 *	4. Events of one chunk may be on several topics.  Keys are claimed topic by topic, in the
 *	   order of the topics' bytes, so that two calls over the same keys don't
 *	   deadlock; whom the events wake is noted for each run of events on one topic.
 *	5. No state between calls, no locks of its own.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/publish/call.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/detoast.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "event/event.h"
#include "log/log.h"
#include "publish/audience.h"
#include "publish/call.h"
#include "publish/delay.h"

/* What a topic's contract was when a call first met it. */
typedef struct HeldContract
{
	char		topic[EDA_MAX_TOPIC_LEN + 1];
	EdaContract *contract;		/* NULL: none */
} HeldContract;

static bool
same_text(const struct varlena *a, const struct varlena *b)
{
	return a == b || (VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
					  memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0);
}

void
EdaPublishBegin(EdaPublishCall *call, const char *function, struct varlena *correlation_id,
				bool has_causation, int64 causation_id, bool internal)
{
	const EdaEvent *current = EdaCause();

	PreventCommandDuringRecovery(function);
	PreventCommandIfReadOnly(function);
	PreventCommandIfParallelMode(function);

	memset(call, 0, sizeof(*call));
	call->function = function;
	call->correlation_id = correlation_id;
	call->causation_id = has_causation ? causation_id : 0;
	call->published_by = GetUserId();
	call->internal = internal;

	if (current == NULL)
		return;

	call->hops = current->hops + 1;
	if (!has_causation)
		call->causation_id = current->id;
	if (correlation_id == NULL)
	{
		if (current->correlation_id)
			call->correlation_id = current->correlation_id;
		else
			call->correlation_id =
				cstring_to_text(psprintf("%lld", (long long) current->id));
	}
}

void
EdaPublishHoldContracts(EdaPublishCall *call)
{
	HASHCTL		ctl;

	call->held = CurrentMemoryContext;
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(((HeldContract *) NULL)->topic);
	ctl.entrysize = sizeof(HeldContract);
	ctl.hcxt = call->held;
	call->held_contracts = hash_create("eda contracts held", 16, &ctl,
									   HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

/* What events on the topic must be like, for this call. */
static EdaContract *
contract_of(EdaPublishCall *call, struct varlena *topic)
{
	HeldContract *held;
	MemoryContext old;
	char	   *name;
	bool		found;

	if (call->held == NULL)
		return EdaContractOfTopic(VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic));

	name = text_to_cstring((text *) topic);
	held = hash_search(call->held_contracts, name, HASH_FIND, &found);
	if (!found)
	{
		EdaContract *contract = EdaContractOfTopic(VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic));

		old = MemoryContextSwitchTo(call->held);
		contract = EdaContractHold(contract);
		MemoryContextSwitchTo(old);
		held = hash_search(call->held_contracts, name, HASH_ENTER, NULL);
		held->contract = contract;
	}
	pfree(name);
	return held->contract;
}

/* A handler's chain of events is as long as it may get. */
static void
too_many_hops_error(const EdaPublishCall *call, struct varlena *topic)
{
	const EdaEvent *current = EdaCause();

	ereport(ERROR,
			(errcode(ERRCODE_EDA_TOO_MANY_HOPS),
			 errmsg("event on topic \"%s\" would have %d hops, more than eda.max_hops (%d)",
					text_to_cstring((text *) topic), call->hops, eda_max_hops),
			 current == NULL ? 0 :
			 errdetail("It is published while handling event %lld on topic \"%s\", which has %d.",
					   (long long) current->id,
					   text_to_cstring((text *) current->topic), current->hops),
			 errhint("Look for handlers that publish what they subscribe to; raise eda.max_hops if the chain is meant to be that long.")));
}

void
EdaPublishOnTopic(EdaPublishCall *call, struct varlena *topic)
{
	if (call->topic != NULL && same_text(call->topic, topic))
	{
		/* the old one may end earlier */
		call->topic = topic;
		if (call->internal || call->held != NULL)
			return;
	}
	else
		EdaCheckTopic(VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic), call->internal);

	call->topic = topic;
	if (call->internal)
		return;
	if (call->hops > eda_max_hops)
		too_many_hops_error(call, topic);
	call->contract = contract_of(call, topic);
}

void
EdaPublishInitEvent(const EdaPublishCall *call, EdaEvent *ev)
{
	memset(ev, 0, sizeof(*ev));
	ev->topic = call->topic;
	ev->correlation_id = call->correlation_id;
	ev->causation_id = call->causation_id;
	ev->hops = call->hops;
	ev->published_by = call->published_by;
}

bool
EdaPublishCheckSize(Datum value, const char *what, bool soft)
{
	Size		size = toast_raw_datum_size(value);

	if (size <= (Size) eda_max_payload_size * 1024)
		return true;
	if (!soft)
		ereport(ERROR,
				(errcode(ERRCODE_EDA_PAYLOAD_TOO_LARGE),
				 errmsg("%s of %zu bytes is larger than eda.max_payload_size (%d kB)",
						what, size, eda_max_payload_size),
				 errhidestmt(true),
				 errhint("Publish a reference to the data, or raise eda.max_payload_size.")));
	return false;
}

bool
EdaPublishCheckLength(struct varlena *value, int limit, const char *what, bool soft)
{
	Size		len = VARSIZE_ANY_EXHDR(value);

	if (len <= limit)
		return true;
	if (!soft)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of %zu bytes is longer than %d bytes",
						what, len, limit)));
	return false;
}

struct varlena *
EdaPublishHeaders(Datum value, const char *what, bool soft)
{
	Jsonb	   *headers;

	if (!EdaPublishCheckSize(value, "headers object", soft))
		return NULL;
	headers = DatumGetJsonbP(value);
	if (JB_ROOT_IS_OBJECT(headers))
		return (struct varlena *) headers;
	if (!soft)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a JSON object", what)));
	return NULL;
}

void
EdaPublishCheckTime(TimestampTz deliver_at, const char *what)
{
	if (TIMESTAMP_NOT_FINITE(deliver_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be finite", what)));
}

/* How many of the n events are on the first one's topic, from the first one on? */
static int
run_length(const EdaEvent *events, int n)
{
	int			run = 1;

	while (run < n && same_text(events[run].topic, events[0].topic))
		run++;
	return run;
}

static void
wake_for_topic(const EdaEvent *ev)
{
	EdaAudienceOfTopic(VARDATA_ANY(ev->topic), VARSIZE_ANY_EXHDR(ev->topic));
}

void
EdaPublishAppend(EdaEvent *events, int n)
{
	int64		one_id;
	int64	   *ids = n == 1 ? &one_id : palloc(sizeof(int64) * n);
	TimestampTz now;
	int			run;

	/* this may read the subscriptions: before the log is locked */
	for (int i = 0; i < n; i += run)
	{
		run = run_length(&events[i], n - i);
		wake_for_topic(&events[i]);
	}
	EdaLogLock();
	EdaTakeIds(ids, n);
	now = GetCurrentTimestamp();
	for (int i = 0; i < n; i++)
	{
		events[i].id = ids[i];
		events[i].published_at = now;
	}
	for (int i = 0; i < n; i += run)
	{
		run = run_length(&events[i], n - i);
		if (run < n)
			wake_for_topic(&events[i]);
		EdaAudienceOfEvents(&events[i], run);
	}
	EdaLogAppend(events, n);

	if (ids != &one_id)
		pfree(ids);
}

/* ---- chunks ---------------------------------------------------------- */

/* By the bytes of their topics; those of one topic in the order in which they came. */
static int
compare_topics(const void *a, const void *b, void *arg)
{
	const EdaPublishChunk *chunk = arg;
	int			x = *(const int *) a;
	int			y = *(const int *) b;
	struct varlena *s = chunk->events[x].topic;
	struct varlena *t = chunk->events[y].topic;
	int			cmp = memcmp(VARDATA_ANY(s), VARDATA_ANY(t),
							 Min(VARSIZE_ANY_EXHDR(s), VARSIZE_ANY_EXHDR(t)));

	if (cmp == 0)
		cmp = (int) VARSIZE_ANY_EXHDR(s) - (int) VARSIZE_ANY_EXHDR(t);
	return cmp != 0 ? cmp : x - y;
}

/*
 * Claim the keys of a chunk.  claims gets one for each key, in the order of
 * `order`, which gets the indexes of the events that they are of, by topic.
 */
static void
claim_keys(EdaPublishChunk *chunk, EdaIdempotencyClaim *claims, int *order)
{
	int			n = 0;

	for (int i = 0; i < chunk->n; i++)
	{
		if (chunk->keys[i] != NULL)
			order[n++] = i;
	}
	Assert(n == chunk->nkeys);
	qsort_arg(order, n, sizeof(int), compare_topics, chunk);
	for (int i = 0; i < n; i++)
	{
		memset(&claims[i], 0, sizeof(EdaIdempotencyClaim));
		claims[i].key = chunk->keys[order[i]];
		claims[i].payload = chunk->events[order[i]].payload;
	}

	for (int first = 0, last; first < n; first = last)
	{
		struct varlena *topic = chunk->events[order[first]].topic;

		for (last = first + 1; last < n; last++)
		{
			if (!same_text(chunk->events[order[last]].topic, topic))
				break;
		}
		EdaIdempotencyClaimKeys(topic, &claims[first], last - first);
		for (int i = first; i < last; i++)
		{
			chunk->published[order[i]] = claims[i].claimed;
			chunk->events[order[i]].id = claims[i].event_id;
			/* of the topic's claims; here of all */
			if (claims[i].duplicate_of >= 0)
				claims[i].duplicate_of += first;
		}
	}
}

/* The claims that are ours get their events; the others in the same chunk learn of them. */
static void
record_keys(EdaPublishChunk *chunk, EdaIdempotencyClaim *claims, const int *order)
{
	for (int i = 0; i < chunk->nkeys; i++)
	{
		if (claims[i].claimed)
			claims[i].event_id = chunk->events[order[i]].id;
	}
	for (int i = 0; i < chunk->nkeys; i++)
	{
		if (!claims[i].claimed && claims[i].duplicate_of >= 0)
			chunk->events[order[i]].id = claims[claims[i].duplicate_of].event_id;
	}
}

/* Append those of the chunk that are marked, which leaves their ids in the chunk. */
static void
append_marked(EdaPublishChunk *chunk, const bool *marked)
{
	EdaEvent   *events;
	int		   *index;
	int			n = 0;

	for (int i = 0; i < chunk->n; i++)
		n += marked[i];
	if (n == 0)
		return;
	if (n == chunk->n)
	{
		EdaPublishAppend(chunk->events, n);
		return;
	}
	events = palloc(sizeof(EdaEvent) * n);
	index = palloc(sizeof(int) * n);
	n = 0;
	for (int i = 0; i < chunk->n; i++)
	{
		if (!marked[i])
			continue;
		events[n] = chunk->events[i];
		index[n++] = i;
	}
	EdaPublishAppend(events, n);
	for (int i = 0; i < n; i++)
		chunk->events[index[i]] = events[i];
	pfree(events);
	pfree(index);
}

void
EdaPublishChunkFlush(EdaPublishCall *call, EdaPublishChunk *chunk, bool checked, int first)
{
	EdaIdempotencyClaim *claims = NULL;
	int		   *order = NULL;
	bool	   *now;
	TimestampTz started = 0;

	if (chunk->n == 0)
		return;
	memset(chunk->published, true, chunk->n);
	if (chunk->nkeys > 0)
	{
		claims = palloc(sizeof(EdaIdempotencyClaim) * chunk->nkeys);
		order = palloc(sizeof(int) * chunk->nkeys);
		claim_keys(chunk, claims, order);
	}

	now = palloc(chunk->n);
	memcpy(now, chunk->published, chunk->n);
	for (int i = 0; i < chunk->n; i++)
	{
		EdaEvent   *ev = &chunk->events[i];

		if (!chunk->published[i])
			continue;
		/* one that was published before need not be what is wanted by now */
		if (!checked)
		{
			EdaPublishOnTopic(call, ev->topic);
			if (call->contract != NULL)
				(void) EdaContractCheck(call->contract, ev->payload, first + i, NULL);
		}
		if (ev->deliver_at == 0)
			continue;
		if (started == 0)
			started = GetCurrentTimestamp();
		now[i] = ev->deliver_at <= started;
		if (now[i])
			ev->deliver_at = 0;
	}
	for (int i = 0; i < chunk->n; i++)
	{
		if (chunk->published[i] && !now[i])
			EdaDelayEvent(&chunk->events[i], chunk->keys[i]);
	}
	append_marked(chunk, now);
	if (chunk->nkeys > 0)
	{
		record_keys(chunk, claims, order);
		EdaIdempotencyRecord(claims, chunk->nkeys);
		pfree(claims);
		pfree(order);
	}
	pfree(now);
}
