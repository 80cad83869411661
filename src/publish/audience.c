/*-------------------------------------------------------------------------
 *
 * publish/audience.c
 *	  Whom an event wakes: which subscriptions it is for, and in which of their lanes.
 *
 *	1. After the commit no catalogue may be touched, so an event's topic is matched
 *	   against the subscriptions when it is published.  What is found is handed
 *	   down to base/at_commit.c, which wakes at the commit: pairs of a
 *	   subscription and its lanes, and the generation that they were matched with.
 *	2. For matching, each backend keeps the topics of the active subscriptions and, per
 *	   topic, which of them match.  When one has changed, only that one's are read anew.
 *	   How many one subscription can have is bounded (subscription/definition.c).
 *	3. It reads the generation in shared memory, and then the catalogue as of now; the
 *	   generation is raised after a commit that changed a subscription.  So where it
 *	   is still the same after our own commit, whoever changed a subscription
 *	   since has not woken the dispatcher yet, and it will find our event then.
 *	4. Without shared memory nobody is woken, and nothing is matched.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/publish/audience.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/at_commit.h"
#include "base/shmem.h"
#include "event/event.h"
#include "publish/audience.h"
#include "subscription/subscription.h"

/* Topics that a backend remembers before it starts afresh. */
#define MAX_TOPICS		1024

/* Which subscriptions match a topic. */
typedef struct TopicEntry
{
	char		topic[EDA_MAX_TOPIC_LEN + 1];	/* hash key */
	int			n;
	EdaSubscription **subs;
	bool		one_lane;		/* each of them has */
	uint64		noted;			/* all of them are handed down, in this transaction */
} TopicEntry;

/* The subscriptions as this backend knows them. */
static MemoryContext match_context = NULL;
static List *match_all = NIL;	/* of EdaSubscription *, as EdaSubscriptionLoadTopics() has them */
static MemoryContext match_lists = NULL;	/* a child of it: match_all, and the next one */
static bool match_loading = false;	/* an error left them half-way */
static EdaMatch *match_subscriptions = NULL;	/* of those, active ones */
static int	match_count = 0;	/* of those */
static MemoryContext topics_context = NULL; /* a child of it: what follows */
static HTAB *match_topics = NULL;
static TopicEntry *match_last = NULL;	/* of the last topic that was asked for */
static bool match_valid = false;
static uint64 match_epoch = 0;
static uint64 match_generation = 0; /* of shared memory, read before the catalogue */

/*
 * The topic of the last EdaAudienceOfTopic(), and the transaction that it was in: after
 * the end of that one it counts for nothing.  NULL: nothing is to be noted of its events.
 */
static TopicEntry *last_topic = NULL;
static uint64 last_transaction = 0;

/* No topic is known. */
static void
forget_topics(void)
{
	HASHCTL		ctl;

	MemoryContextReset(topics_context);
	match_last = NULL;
	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(((TopicEntry *) NULL)->topic);
	ctl.entrysize = sizeof(TopicEntry);
	ctl.hcxt = topics_context;
	match_topics = hash_create("eda topics", 64, &ctl,
							   HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

/* Read the subscriptions, unless nothing changed since we did. */
static void
load_subscriptions(EdaDatabase *db)
{
	uint64		epoch = EdaSubscriptionEpoch();
	uint64		generation = pg_atomic_read_u64(&db->generation);
	MemoryContext oldcontext;
	MemoryContext lists;
	ListCell   *lc;

	if (match_valid && epoch == match_epoch && generation == match_generation)
		return;

	match_valid = false;
	pg_read_barrier();

	if (match_context == NULL)
		match_context = AllocSetContextCreate(TopMemoryContext,
											  "eda topic matches",
											  ALLOCSET_DEFAULT_SIZES);
	else if (match_loading)
	{
		MemoryContextReset(match_context);
		match_all = NIL;
		match_lists = topics_context = NULL;
	}
	match_loading = true;
	if (topics_context == NULL)
		topics_context = AllocSetContextCreate(match_context, "eda topics", ALLOCSET_DEFAULT_SIZES);
	forget_topics();

	lists = AllocSetContextCreate(match_context, "eda active subscriptions", ALLOCSET_SMALL_SIZES);
	oldcontext = MemoryContextSwitchTo(lists);

	/*
	 * As of now, not of the transaction's snapshot: what committed before we
	 * read the generation must be in.
	 */
	PushActiveSnapshot(GetLatestSnapshot());
	match_all = EdaSubscriptionLoadTopics(match_all, match_context);
	PopActiveSnapshot();
	if (match_lists != NULL)
		MemoryContextDelete(match_lists);
	match_lists = lists;
	match_subscriptions = EdaMatchCreate();
	match_count = 0;
	foreach(lc, match_all)
	{
		EdaSubscription *sub = lfirst(lc);

		if (!EdaSubscriptionDelivers(sub))
			continue;
		if (sub->pattern == NULL)
			EdaMatchAddAny(match_subscriptions, sub);
		else
			EdaMatchAdd(match_subscriptions, sub->pattern, sub);
		match_count++;
	}
	MemoryContextSwitchTo(oldcontext);
	match_loading = false;

	match_epoch = epoch;
	match_generation = generation;
	match_valid = true;
}

/* Which active subscriptions match this topic? */
static TopicEntry *
match_topic(const char *topic, int len)
{
	char		key[EDA_MAX_TOPIC_LEN + 1];
	TopicEntry *entry = match_last;
	EdaMatchIterator it;
	EdaSubscription *sub;
	EdaSubscription **subs;
	bool		one_lane = true;
	int			n = 0;

	Assert(len <= EDA_MAX_TOPIC_LEN);
	if (entry != NULL && strncmp(entry->topic, topic, len) == 0 && entry->topic[len] == '\0')
		return entry;
	memcpy(key, topic, len);
	key[len] = '\0';

	entry = hash_search(match_topics, key, HASH_FIND, NULL);
	if (entry)
		return match_last = entry;

	if (hash_get_num_entries(match_topics) >= MAX_TOPICS)
		forget_topics();
	subs = palloc(sizeof(EdaSubscription *) * Max(match_count, 1));
	EdaMatchBegin(&it, match_subscriptions, EdaHashText(topic, len));
	while ((sub = EdaMatchNext(&it)) != NULL)
	{
		if (!(sub->pattern != NULL ? EdaTopicPatternMatch(sub->pattern, topic, len) :
			  EdaTopicsMatch(sub->topics, topic, len)))
			continue;
		subs[n++] = sub;
		one_lane &= sub->lanes <= 1;
	}

	entry = hash_search(match_topics, key, HASH_ENTER, NULL);
	entry->n = n;
	entry->subs = MemoryContextAlloc(topics_context, sizeof(EdaSubscription *) * Max(n, 1));
	memcpy(entry->subs, subs, sizeof(EdaSubscription *) * n);
	entry->one_lane = one_lane;
	entry->noted = 0;
	pfree(subs);
	return match_last = entry;
}

void
EdaAudienceOfTopic(const char *topic, int len)
{
	EdaDatabase *db;

	if (EdaShared == NULL || (db = EdaMyDatabase(true)) == NULL)
		return;

	last_topic = NULL;
	load_subscriptions(db);
	last_topic = match_topic(topic, len);
	last_transaction = EdaAtCommitTransaction();
	EdaPublishedAtCommit(match_generation);
}

/* The lanes that n events of a subscription are in, as bits. */
static uint64
lanes_of(const EdaSubscription *sub, const EdaEvent *events, int n)
{
	uint64		all = sub->lanes >= EDA_MAX_LANES ? PG_UINT64_MAX : (UINT64CONST(1) << sub->lanes) - 1;
	uint64		lanes = 0;

	if (sub->lanes <= 1)
		return 1;
	for (int i = 0; i < n && lanes != all; i++)
		lanes |= UINT64CONST(1) << EdaSubscriptionLaneOf(sub, EdaHashKey(events[i].key), events[i].id);
	return lanes;
}

void
EdaAudienceOfEvents(const EdaEvent *events, int n)
{
	uint64		transaction = EdaAtCommitTransaction();
	TopicEntry *entry = last_topic;

	if (entry == NULL || last_transaction != transaction ||
		(entry->one_lane && entry->noted == transaction))
		return;

	entry->noted = transaction;
	for (int i = 0; i < entry->n; i++)
	{
		EdaSubscription *sub = entry->subs[i];

		if (!EdaLanesAtCommit(sub->id, lanes_of(sub, events, n)))
			break;
	}
}
