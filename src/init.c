/*-------------------------------------------------------------------------
 *
 * init.c
 *	  The library's entry point.
 *
 *	1. Preloaded, it has shared memory, a launcher and the utility hook: events
 *	   are delivered.
 *	2. Loaded by a session only, it can publish and define subscriptions;
 *	   nothing is delivered until the server preloads it.
 *	3. During a binary upgrade it has its settings, for the ALTER DATABASE ...
 *	   SET that is restored, and nothing runs.
 *	4. A folder below that has to tell one above it something offers a place to register,
 *	   and knows nobody: what is to be registered is registered here.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/init.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "miscadmin.h"

#include "base/at_commit.h"
#include "base/catalog.h"
#include "base/guard.h"
#include "base/shmem.h"
#include "contract/contract.h"
#include "deliver/deliver.h"
#include "hooks.h"
#include "log/log.h"
#include "publish/publish.h"
#include "subscription/subscription.h"
#include "workers/workers.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

/*
 * Called once by whoever loads the library: the postmaster while it
 * preloads, or a backend.
 */
void
_PG_init(void)
{
	bool		preloading = process_shared_preload_libraries_in_progress;

	EdaDefineSettings(preloading);

	EdaAtCommitInit();
	EdaAppendInit();
	EdaCatalogInit();
	EdaOnRelcacheInvalidation(EdaSegmentInvalidate);
	EdaOnRelcacheInvalidation(EdaSubscriptionInvalidate);
	EdaOnRelcacheInvalidation(EdaSchemaInvalidate);
	EdaOnRelcacheInvalidation(EdaContractInvalidate);
	EdaGuardInit();
	EdaQueryEnvInit();

	if (!preloading || IsBinaryUpgrade)
		return;

	/* before the rest of shared memory, as its hook has to run first */
	EdaInflightInit();
	EdaShmemInit();
	EdaShmemPart("eda rates", EdaRateShmemSize, EdaRateShmemInit);
	EdaShmemPart("eda refused roles", EdaRefusedShmemSize, EdaRefusedShmemInit);
	EdaShmemPart("eda terminations", EdaTerminationShmemSize, EdaTerminationShmemInit);
	EdaOnExecutorExit(EdaTerminationNote);
	EdaLauncherRegister();
	EdaHooksInit();
}
