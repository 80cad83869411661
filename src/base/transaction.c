/*-------------------------------------------------------------------------
 *
 * base/transaction.c
 *	  A transaction of a worker's own.
 *
 *	1. What a worker does in a transaction goes by no setting of the database or of a role: it is
 *	   at READ COMMITTED and may write, whatever default_transaction_isolation and its kin say.
 *	2. Its snapshot is the active one until the commit.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/transaction.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/transaction.h"

void
EdaTransactionBegin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
EdaTransactionCommit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(TopMemoryContext);
}
