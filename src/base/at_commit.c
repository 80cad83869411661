/*-------------------------------------------------------------------------
 *
 * base/at_commit.c
 *	  What a transaction leaves to be done when it commits.
 *
 *	1. Backend-local state of the current transaction, acted upon in one
 *	   transaction callback and reset at its end.  After the commit no
 *	   catalogue may be touched, so everything that is needed then is noted before:
 *	   bits for the dispatcher, lanes that have got an event, and the generation that they were
 *	   matched with.  Which lanes these are is not known here (publish/audience.c).
 *	2. After the commit: a lane that an executor holds is
 *	   covered by waking that executor, else the dispatcher is woken; where
 *	   there is no lane, nobody is.  An executor that gives up its lane clears
 *	   `lane`, then looks at `wake`; we set `wake`, then look at `lane` again:
 *	   one of the two sees the other.
 *	3. The generation is raised after a commit that changed a subscription.  Where it is
 *	   another one than the lanes were matched with, they may be wrong, and the
 *	   dispatcher is woken.
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
 *	  src/base/at_commit.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/inval.h"

#include "base/at_commit.h"
#include "base/catalog.h"
#include "base/shmem.h"

/* A transaction that has lanes of more subscriptions wakes the dispatcher. */
#define MAX_MATCHED		64

/* What is to be done at commit.  All of it is reset at the transaction's end. */
static EdaDatabase *wake_db = NULL; /* set when anything is */
static uint32 wake_bits = 0;
static bool wake_changed = false;	/* raise the generation */
static bool wake_announce = false;
static bool wake_published = false;
static uint64 wake_generation = 0;	/* that all matching was done with */
static TimestampTz wake_delayed = DT_NOEND; /* earliest due time of what was delayed */
static int	nmatched = 0;
static struct
{
	int32		subscription_id;
	uint64		lanes;			/* a bit for each lane that has got an event */
}			matched[MAX_MATCHED];

/* Nest level of the transaction that must not commit, 0: none. */
static int	forbid_level = 0;

/* Of the transaction, in this process; raised at its end. */
static uint64 transaction_number = 1;

static void
reset_state(void)
{
	wake_db = NULL;
	wake_bits = 0;
	wake_changed = false;
	wake_announce = false;
	wake_published = false;
	wake_delayed = DT_NOEND;
	nmatched = 0;
	transaction_number++;
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

		for (int i = 0; i < nmatched; i++)
		{
			for (uint64 lanes = matched[i].lanes; lanes != 0; lanes &= lanes - 1)
			{
				if (!wake_executor(db, matched[i].subscription_id,
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
EdaAtCommitInit(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}

uint64
EdaAtCommitTransaction(void)
{
	return transaction_number;
}

/* There is something to be done at commit: this database's slot; NULL: nobody can be woken. */
static EdaDatabase *
note_database(void)
{
	EdaDatabase *db;

	if (EdaShared == NULL || (db = EdaMyDatabase(true)) == NULL)
		return NULL;
	return wake_db = db;
}

void
EdaPublishedAtCommit(uint64 generation)
{
	if (note_database() == NULL)
		return;
	if (!wake_published)
	{
		wake_published = true;
		wake_generation = generation;
	}
	else if (generation != wake_generation)
		wake_bits |= EDA_WAKE_EVENTS;	/* an older match may be wrong */
}

bool
EdaLanesAtCommit(int32 subscription_id, uint64 lanes)
{
	int			i;

	for (i = 0; i < nmatched; i++)
	{
		if (matched[i].subscription_id == subscription_id)
			break;
	}
	if (i == MAX_MATCHED)
	{
		wake_bits |= EDA_WAKE_EVENTS;
		return false;
	}
	if (i == nmatched)
	{
		matched[i].subscription_id = subscription_id;
		matched[i].lanes = 0;
		nmatched++;
	}
	matched[i].lanes |= lanes;
	return true;
}

void
EdaSubscriptionsChanged(void)
{
	CacheInvalidateRelcacheByRelid(EdaSubscriptionRelId());
	if (note_database() != NULL)
		wake_changed = true;
}

void
EdaDelayedAtCommit(TimestampTz deliver_at)
{
	if (note_database() != NULL)
		wake_delayed = Min(wake_delayed, deliver_at);
}

void
EdaWakeAtCommit(uint32 bits)
{
	if (note_database() != NULL)
		wake_bits |= bits;
}

void
EdaAnnounceAtCommit(void)
{
	if (note_database() != NULL)
		wake_announce = true;
}

void
EdaForbidCommit(void)
{
	int			level = GetCurrentTransactionNestLevel();

	if (forbid_level == 0 || level < forbid_level)
		forbid_level = level;
}
