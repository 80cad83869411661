/*-------------------------------------------------------------------------
 *
 * deliver/session.c
 *	  An executor's session: whose it is, and what begins and ends with an event.
 *
 *	1. Before each event the session is who connected: session user, current user
 *	   and role.  A handler, a trigger, a setting of the role's or the database's can
 *	   change them; ids are compared, not settings.
 *	2. What a commit does for the sake of what ran in the transaction is done at the end
 *	   of each event, in the event's own time and savepoint: deferred triggers
 *	   fire, cursors are closed or held, temporary tables ON COMMIT are dropped or
 *	   emptied, large objects are closed.  So the next event of the batch finds what
 *	   it would find had the first been alone, and what fails, or is published,
 *	   at that moment is the event's.
 *	3. Once the event's savepoint is over, the settings and the modes of constraints that are for
 *	   the rest of the transaction go: SET LOCAL, SET TRANSACTION, SET CONSTRAINTS.  A plain SET
 *	   stays, as it does after a commit.  synchronous_commit counts at the commit: what an event
 *	   asked for is remembered until then.
 *	4. Left for the batch's commit are: locks, now() and the transaction's id, NOTIFY
 *	   (which sends equal ones of a transaction once), and durability.
 *	5. A failed attempt is rolled back, which leaves locks of the session, prepared statements,
 *	   cursors that were held already, sequence caches, and plans that were made for what the
 *	   attempt met: all of it is reset before anything else runs. `clean` says that no event's
 *	   code has taken effect since.  After an attempt that failed in a clean session the plans are
 *	   kept, so that many failures in a row do not make all plans anew, eda's own among them,
 *	   until something changes in the catalogue.
 *
 * CommitTransaction() in xact.c is what 2 and 3 follow, in its order.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/deliver/session.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/async.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "libpq/be-fsstubs.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "deliver/session.h"
#include "workers/workers.h"

static bool was_superuser = false;	/* when it connected */
static bool clean = true;
static bool no_plans = true;		/* none of an event's */
static bool had_no_plans = true;	/* when the last event's code began */
static bool changed = false;		/* the catalogue, since the session was clean */
static uint64 calls = 0;

/* The strongest synchronous_commit of an event of this transaction. */
static int	durability = SYNCHRONOUS_COMMIT_OFF;
static char durability_name[32];

static void
relation_changed(Datum arg, Oid relid)
{
	changed = true;
}

static void
object_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	changed = true;
}

void
EdaSessionStart(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, object_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, object_changed, (Datum) 0);
	StartTransactionCommand();
	was_superuser = superuser_arg(GetAuthenticatedUserId());
	CommitTransactionCommand();
}

void
EdaSessionCharacteristics(void)
{
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	XactDeferrable = false;
}

bool
EdaSessionIsCurrent(void)
{
	return superuser_arg(GetAuthenticatedUserId()) == was_superuser;
}

static bool
is_owner(void)
{
	Oid			owner = GetAuthenticatedUserId();
	Oid			userid;
	int			sec_context;

	GetUserIdAndSecContext(&userid, &sec_context);
	return userid == owner && GetSessionUserId() == owner && GetOuterUserId() == owner &&
		!OidIsValid(GetCurrentRoleId()) && sec_context == 0;
}

void
EdaSessionBeOwner(void)
{
	if (is_owner())
		return;
	/* by the oid of who connected, whatever that role is called now */
	SetPGVariable("session_authorization", NIL, false);
	SetConfigOption("role", "none", PGC_USERSET, PGC_S_SESSION);
	if (!is_owner())
		ereport(FATAL,
				(errcode(ERRCODE_INVALID_ROLE_SPECIFICATION),
				 errmsg("executor could not become the owner of its subscriptions again")));
}

bool
EdaSessionIsClean(void)
{
	return clean && !changed;
}

bool
EdaSessionUse(void)
{
	bool		was_clean = EdaSessionIsClean();

	clean = false;
	had_no_plans = no_plans;
	no_plans = false;
	calls++;
	return was_clean;
}

bool
EdaSessionHadNoPlans(void)
{
	return had_no_plans;
}

uint64
EdaSessionCalls(void)
{
	return calls;
}

/*
 * Deferred triggers on eda's own tables, somebody's audit say, may be pending.  Fired in the
 * savepoint they would be taken off a list that the rollback of the savepoint goes back to.
 */
void
EdaSessionBeforeSavepoint(void)
{
	AfterTriggerFireDeferred();
}

void
EdaSessionEventEnd(void)
{
	for (;;)
	{
		AfterTriggerFireDeferred();
		/* a cursor that is held runs to its end now, which may queue triggers */
		if (!PreCommit_Portals(false))
			break;
	}
	PreCommit_on_commit_actions();
	AtEOXact_LargeObject(true);
	CommandCounterIncrement();

	if (synchronous_commit > durability)
	{
		durability = synchronous_commit;
		strlcpy(durability_name, GetConfigOption("synchronous_commit", false, false),
				sizeof(durability_name));
	}
}

void
EdaSessionEventDone(void)
{
	Assert(GetCurrentTransactionNestLevel() == 1);
	AfterTriggerEndXact(true);
	AfterTriggerBeginXact();
	AtEOXact_GUC(true, 1);
	AtStart_GUC();
	/* SET TRANSACTION is no SET LOCAL */
	EdaSessionCharacteristics();
}

void
EdaSessionBeforeCommit(void)
{
	if (durability > synchronous_commit)
		(void) set_config_option("synchronous_commit", durability_name, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
}

void
EdaSessionAfterEnd(void)
{
	durability = SYNCHRONOUS_COMMIT_OFF;
}

void
EdaSessionScrub(void)
{
	PortalHashTableDeleteAll();
	DropAllPreparedStatements();
	LockReleaseSession(USER_LOCKMETHOD);
	ResetSequenceCaches();
}

void
EdaSessionReset(bool keep_plans)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	PortalHashTableDeleteAll();
	SetPGVariable("session_authorization", NIL, false);
	ResetAllOptions();
	DropAllPreparedStatements();
	Async_UnlistenAll();
	LockReleaseAll(USER_LOCKMETHOD, true);
	ResetTempTableNamespace();
	ResetSequenceCaches();
	EdaSessionBeOwner();
	PopActiveSnapshot();
	CommitTransactionCommand();
	EdaExecutorForceSettings();
	if (!keep_plans)
	{
		ResetPlanCache();
		clean = true;
		no_plans = true;
		changed = false;
	}
}

void
EdaSessionResetAfterClean(void)
{
	EdaSessionReset(true);
	clean = true;
}
