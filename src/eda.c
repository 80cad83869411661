/*-------------------------------------------------------------------------
 *
 * eda.c
 *	  The library's entry point.
 *
 *	1. Preloaded, it has shared memory, a launcher and the utility hook: events
 *	   are delivered.
 *	2. Loaded by a session only, it can publish and define subscriptions;
 *	   nothing is delivered until the server preloads it.
 *	3. During a binary upgrade it has its settings, for the ALTER DATABASE ...
 *	   SET that is restored, and nothing runs.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/eda.c
 *
 *-------------------------------------------------------------------------
 */
#include "eda.h"

#include "miscadmin.h"

#include "eda_append.h"
#include "eda_catalog.h"
#include "eda_guard.h"
#include "eda_hooks.h"
#include "eda_inflight.h"
#include "eda_launcher.h"
#include "eda_query_env.h"
#include "eda_shmem.h"
#include "eda_wake.h"

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

	EdaWakeInit();
	EdaAppendInit();
	EdaCatalogInit();
	EdaGuardInit();
	EdaQueryEnvInit();

	if (!preloading || IsBinaryUpgrade)
		return;

	EdaShmemInit();
	EdaLauncherRegister();
	EdaHooksInit();
	EdaInflightInit();
}
