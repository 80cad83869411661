/*-------------------------------------------------------------------------
 *
 * base/transaction.h
 *	  A transaction of a worker's own.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/transaction.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_TRANSACTION_H
#define EDA_TRANSACTION_H

/*
 * For a worker outside of a transaction: one of its own, at READ COMMITTED and with an active
 * snapshot; after its end the current context is TopMemoryContext.
 */
extern void EdaTransactionBegin(void);
extern void EdaTransactionCommit(void);

#endif							/* EDA_TRANSACTION_H */
