/*-------------------------------------------------------------------------
 *
 * subscription/copy.c
 *	  A copy of a database does not deliver by itself.
 *
 *	1. CREATE DATABASE ... TEMPLATE copies subscriptions and pending events.
 *	   Delivered in both databases, an event would send its mail twice.
 *	2. eda.origin keeps the oid of the database that the extension was created
 *	   in.  The dispatcher compares when it starts, before any executor does: where it
 *	   differs, this is a copy; its subscriptions are blocked, and the oid
 *	   becomes this database's, so that it happens once.
 *	3. eda.adopt() lets them go on.  Cursors and events are good as they are: a
 *	   copy made this way is of the same server, so their transaction ids are.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/subscription/copy.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"

#include "base/at_commit.h"
#include "base/catalog.h"
#include "base/security.h"
#include "subscription/copy.h"

PG_FUNCTION_INFO_V1(eda_adopt);

void
EdaBlockIfCopied(void)
{
	static const Oid types[] = {OIDOID};
	EdaSecurityContext ctx;
	Datum		values[1];
	uint64		nblocked = 0;
	bool		copied;

	values[0] = ObjectIdGetDatum(MyDatabaseId);
	EdaSpiBegin(&ctx);
	copied = EdaSpiExecute("UPDATE eda.origin SET database = $1 WHERE database <> $1",
						   1, types, values, NULL, SPI_OK_UPDATE) > 0;
	if (copied)
		nblocked = EdaSpiExecute("UPDATE eda.subscription SET state = 'blocked',"
								 " blocked_reason = 'copied', blocked_at = clock_timestamp(),"
								 " blocked_detail = 'this database is a copy; eda.adopt() lets its subscriptions go on',"
								 " probe_at = NULL, probes = 0 WHERE state <> 'paused'",
								 0, NULL, NULL, NULL, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);
	if (!copied)
		return;

	EdaSubscriptionsChanged();
	ereport(LOG,
			(errmsg("database \"%s\" is a copy: %llu subscriptions of eda are blocked",
					get_database_name(MyDatabaseId), (unsigned long long) nblocked),
			 errhint("If it shall deliver events, call eda.adopt() there.")));
}

/* eda.adopt() returns bigint: subscriptions that were blocked as copied go on. */
Datum
eda_adopt(PG_FUNCTION_ARGS)
{
	EdaSecurityContext ctx;
	uint64		n;

	PreventCommandIfReadOnly("eda.adopt()");
	PreventCommandDuringRecovery("eda.adopt()");
	if (!has_privs_of_role(GetUserId(), EdaExtensionOwner()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to adopt the subscriptions of this database"),
				 errhint("Only the extension's owner can do that; eda.resume() is for a single subscription.")));

	EdaSpiBegin(&ctx);
	n = EdaSpiExecute("UPDATE eda.subscription SET state = 'active', blocked_reason = NULL,"
					  " blocked_detail = NULL, blocked_at = NULL"
					  " WHERE state = 'blocked' AND blocked_reason = 'copied'",
					  0, NULL, NULL, NULL, SPI_OK_UPDATE);
	EdaSpiEnd(&ctx);
	EdaSubscriptionsChanged();
	PG_RETURN_INT64((int64) n);
}
