/*-------------------------------------------------------------------------
 *
 * publish/audience.c
 *	  What a transaction leaves to be done when it commits.
 *
 *	1. Backend-local state of the current transaction, acted upon in one
 *	   transaction callback and reset at its end.  After the commit no
 *	   catalogue may be touched: an event's topic is matched against the
 *	   subscriptions when it is published.
 *	2. For matching, each backend keeps the topics of the active subscriptions and, per
 *	   topic, which of them match.  When one has changed, only that one's are read anew.  How
 *	   many one subscription can have is bounded (subscription/definition.c).  It reads the generation in shared memory,
 *	   then the catalogue as of now; the generation is raised after a commit
 *	   that changed a subscription.  So where the generation is still the same
 *	   after our own commit, whoever changed a subscription since has not woken
 *	   the dispatcher yet, and it will find our event then.
 *	3. After the commit: a matched subscription whose lane an executor holds is
 *	   covered by waking that executor, else the dispatcher is woken; where
 *	   nothing matched, nobody is.  An executor that gives up its lane clears
 *	   `lane`, then looks at `wake`; we set `wake`, then look at `lane` again:
 *	   one of the two sees the other.
 *	4. Waking takes no lock: wake words, lanes and the generation are atomics,
 *	   latches are set without looking whose they are (base/shmem.h, 5.).
 *	5. An event in a savepoint that was rolled back may wake somebody for
 *	   nothing; that is cheaper than keeping account of it.  What forbids the
 *	   commit goes with its savepoint.
 *	6. COMMIT PREPARED runs no callback here: the utility hook wakes for it.
 *	7. Without shared memory only the invalidation and the forbidden commit
 *	   remain.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/publish/audience.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/catalog.h"
#include "base/shmem.h"
#include "event/event.h"
#include "publish/audience.h"
#include "subscription/subscription.h"

/* A transaction that matches more subscriptions wakes the dispatcher. */
#define MAX_MATCHED		64

/* Topics that a backend remembers before it starts afresh. */
#define MAX_TOPICS		1024

/* Which subscriptions match a topic. */
typedef struct TopicEntry
{
	char		topic[EDA_MAX_TOPIC_LEN + 1];	/* hash key */
	int			n;
	EdaSubscription **subs;
	bool		one_lane;		/* each of them has */
	uint64		noted;			/* all of them are in wake_matched, in this transaction: wake_number */
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

/* What is to be done at commit. */
static EdaDatabase *wake_db = NULL; /* set when anything is */
static uint32 wake_bits = 0;
static bool wake_changed = false;	/* raise the generation */
static bool wake_announce = false;
static bool wake_published = false;
static uint64 wake_generation = 0;	/* that all matching was done with */
static TimestampTz wake_delayed = DT_NOEND;	/* earliest due time of what was delayed */
static uint64 wake_number = 1;	/* of the transaction, in this process */
static int	wake_nmatched = 0;
static struct
{
	int32		subscription_id;
	uint64		lanes;			/* a bit for each lane that has got an event */
}			wake_matched[MAX_MATCHED];

/* The topic of the last EdaWakeForTopic(); NULL: nothing to note of its events. */
static TopicEntry *wake_topic = NULL;

/* Nest level of the transaction that must not commit, 0: none. */
static int	forbid_level = 0;

static void
reset_state(void)
{
	wake_db = NULL;
	wake_bits = 0;
	wake_changed = false;
	wake_announce = false;
	wake_published = false;
	wake_delayed = DT_NOEND;
	wake_nmatched = 0;
	wake_number++;
	wake_topic = NULL;
	forbid_level = 0;
}

/* Wake the executor that holds this lane; false: none does. */
static bool
wake_executor(EdaDatabase *db, int32 subscription_id, int16 lane_no)
{
	uint64		tag = EdaLaneTag(db, subscription_id, lane_no);
	bool		covered = false;

	for (int i = 0; i < EdaShared->nexecutors; i++)
	{
		EdaExecutor *exec = &EdaShared->executors[i];

		if (pg_atomic_read_u64(&exec->lane) != tag)
			continue;

		pg_atomic_write_u32(&exec->wake, 1);
		pg_memory_barrier();
		if (pg_atomic_read_u64(&exec->lane) == tag)
		{
			Latch	   *latch = exec->latch;

			if (latch)
			{
				SetLatch(latch);
				covered = true;
			}
		}
	}
	return covered;
}

/* The transaction has committed and everybody can see it.  No errors here. */
static void
wake_at_commit(void)
{
	EdaDatabase *db = wake_db;
	uint32		bits = wake_bits;

	/* order the commit before every look at what others are doing */
	pg_memory_barrier();

	if (wake_published)
	{
		bool		covered = true;

		for (int i = 0; i < wake_nmatched; i++)
		{
			for (uint64 lanes = wake_matched[i].lanes; lanes != 0; lanes &= lanes - 1)
			{
				if (!wake_executor(db, wake_matched[i].subscription_id,
								   pg_rightmost_one_pos64(lanes)))
					covered = false;
			}
		}
		if (!covered ||
			pg_atomic_read_u64(&db->generation) != wake_generation)
			bits |= EDA_WAKE_EVENTS;
	}

	/* see publish/delay.c: the dispatcher sleeps until delayed_due at most */
	if (wake_delayed < (TimestampTz) pg_atomic_read_u64(&db->delayed_due))
		bits |= EDA_WAKE_DELAYED;

	if (wake_changed)
	{
		pg_atomic_fetch_add_u64(&db->generation, 1);
		bits |= EDA_WAKE_SUBSCRIPTIONS;
		EdaSignalProgress(db);	/* who waits learns that it is paused */
	}

	if (bits != 0)
		EdaWakeDispatcher(db, bits);
	if (wake_announce)
		EdaRequestDispatcher(MyDatabaseId);
}

static void
xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (forbid_level > 0)
				ereport(ERROR,
						(errcode(ERRCODE_EDA_ROLLBACK_ONLY),
						 errmsg("a transaction that called eda.run_pending() cannot be committed"),
						 errdetail("It handled events that other sessions may be handling too."),
						 errhint("End it with ROLLBACK.")));
			break;

		case XACT_EVENT_COMMIT:
			if (wake_db)
				wake_at_commit();
			reset_state();
			break;

		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			reset_state();
			break;

		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			break;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mySubid,
				 SubTransactionId parentSubid, void *arg)
{
	int			level;

	if (forbid_level == 0)
		return;

	level = GetCurrentTransactionNestLevel();
	if (forbid_level < level)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		forbid_level = level - 1;
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		forbid_level = 0;
}

void
EdaWakeInit(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}

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
EdaWakeForTopic(const char *topic, int len)
{
	EdaDatabase *db;
	TopicEntry *entry;

	if (EdaShared == NULL || (db = EdaMyDatabase(true)) == NULL)
		return;

	wake_topic = NULL;
	load_subscriptions(db);
	entry = match_topic(topic, len);

	wake_db = db;
	if (!wake_published)
	{
		wake_published = true;
		wake_generation = match_generation;
	}
	else if (match_generation != wake_generation)
		wake_bits |= EDA_WAKE_EVENTS;	/* an older match may be wrong */

	wake_topic = entry;
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
EdaWakeForEvents(const EdaEvent *events, int n)
{
	TopicEntry *entry = wake_topic;

	if (entry == NULL || (entry->one_lane && entry->noted == wake_number))
		return;

	entry->noted = wake_number;
	for (int i = 0; i < entry->n; i++)
	{
		EdaSubscription *sub = entry->subs[i];
		int			j;

		for (j = 0; j < wake_nmatched; j++)
		{
			if (wake_matched[j].subscription_id == sub->id)
				break;
		}
		if (j == MAX_MATCHED)
		{
			wake_bits |= EDA_WAKE_EVENTS;
			break;
		}
		if (j == wake_nmatched)
		{
			wake_matched[j].subscription_id = sub->id;
			wake_matched[j].lanes = 0;
			wake_nmatched++;
		}
		if (sub->lanes > 1 || wake_matched[j].lanes == 0)
			wake_matched[j].lanes |= lanes_of(sub, events, n);
	}
}

void
EdaSubscriptionsChanged(void)
{
	EdaDatabase *db;

	CacheInvalidateRelcacheByRelid(EdaSubscriptionRelId());

	if (EdaShared == NULL || (db = EdaMyDatabase(true)) == NULL)
		return;
	wake_db = db;
	wake_changed = true;
}

void
EdaWakeForDelayed(TimestampTz deliver_at)
{
	EdaDatabase *db;

	if (EdaShared == NULL || (db = EdaMyDatabase(true)) == NULL)
		return;
	wake_db = db;
	wake_delayed = Min(wake_delayed, deliver_at);
}

void
EdaWakeAtCommit(uint32 bits)
{
	EdaDatabase *db;

	if (EdaShared == NULL || (db = EdaMyDatabase(true)) == NULL)
		return;
	wake_db = db;
	wake_bits |= bits;
}

void
EdaAnnounceAtCommit(void)
{
	EdaDatabase *db;

	if (EdaShared == NULL || (db = EdaMyDatabase(true)) == NULL)
		return;
	wake_db = db;
	wake_announce = true;
}

void
EdaForbidCommit(void)
{
	int			level = GetCurrentTransactionNestLevel();

	if (forbid_level == 0 || level < forbid_level)
		forbid_level = level;
}
