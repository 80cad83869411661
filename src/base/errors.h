/*-------------------------------------------------------------------------
 *
 * base/errors.h
 *	  eda's own SQLSTATEs: class ED.  docs/errors.md lists them for users.
 *
 * A misuse that PostgreSQL has a code for (22023, 42501, 42704, 42883 ...)
 * uses that one.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/errors.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_ERRORS_H
#define EDA_ERRORS_H

#include "utils/elog.h"

/* publishing */
#define ERRCODE_EDA_INVALID_TOPIC			MAKE_SQLSTATE('E','D','0','0','1')
#define ERRCODE_EDA_RESERVED_TOPIC			MAKE_SQLSTATE('E','D','0','0','2')
#define ERRCODE_EDA_PAYLOAD_TOO_LARGE		MAKE_SQLSTATE('E','D','0','0','3')
#define ERRCODE_EDA_TOO_MANY_HOPS			MAKE_SQLSTATE('E','D','0','0','4')
#define ERRCODE_EDA_IDEMPOTENCY_CONFLICT	MAKE_SQLSTATE('E','D','0','0','5')

/* subscribing and operating */
#define ERRCODE_EDA_INVALID_PATTERN			MAKE_SQLSTATE('E','D','0','1','0')
#define ERRCODE_EDA_UNDEFINED_SUBSCRIPTION	MAKE_SQLSTATE('E','D','0','1','1')
#define ERRCODE_EDA_INVALID_HANDLER			MAKE_SQLSTATE('E','D','0','1','2')
#define ERRCODE_EDA_OWNER_CANNOT_CONNECT	MAKE_SQLSTATE('E','D','0','1','3')
#define ERRCODE_EDA_DEAD_LETTERS_LEFT		MAKE_SQLSTATE('E','D','0','1','4')
#define ERRCODE_EDA_NOT_PRELOADED			MAKE_SQLSTATE('E','D','0','1','5')	/* a warning */

#define ERRCODE_EDA_UNKNOWN_SYSTEM_TOPIC	MAKE_SQLSTATE('E','D','0','8','5')	/* a warning */
#define ERRCODE_EDA_START_IGNORED			MAKE_SQLSTATE('E','D','0','8','6')	/* a warning */

/* waiting and testing */
#define ERRCODE_EDA_NOT_DELIVERING			MAKE_SQLSTATE('E','D','0','2','0')	/* paused or blocked */
#define ERRCODE_EDA_WAIT_TIMEOUT			MAKE_SQLSTATE('E','D','0','2','1')
#define ERRCODE_EDA_NOT_IN_HANDLER			MAKE_SQLSTATE('E','D','0','2','2')
#define ERRCODE_EDA_IN_HANDLER				MAKE_SQLSTATE('E','D','0','2','3')
#define ERRCODE_EDA_ROLLBACK_ONLY			MAKE_SQLSTATE('E','D','0','2','4')

/* raised by a handler about its event */
#define ERRCODE_EDA_REJECTED				MAKE_SQLSTATE('E','D','0','3','0')
#define ERRCODE_EDA_RETRY_AFTER				MAKE_SQLSTATE('E','D','0','3','1')
#define ERRCODE_EDA_SNOOZED					MAKE_SQLSTATE('E','D','0','3','2')

/* scheduling */
#define ERRCODE_EDA_UNDEFINED_JOB			MAKE_SQLSTATE('E','D','0','4','0')
#define ERRCODE_EDA_PG_CRON_MISSING			MAKE_SQLSTATE('E','D','0','4','1')
#define ERRCODE_EDA_JOB_MISSED				MAKE_SQLSTATE('E','D','0','4','2')	/* of a run */
#define ERRCODE_EDA_CRON_CANNOT_RUN			MAKE_SQLSTATE('E','D','0','4','3')	/* a warning */

/* what a definition may cost others */
#define ERRCODE_EDA_DEFINITION_TOO_LARGE	MAKE_SQLSTATE('E','D','0','6','1')

/* tables that are watched */
#define ERRCODE_EDA_WRITE_SUPPRESSED		MAKE_SQLSTATE('E','D','0','6','0')

/* schemas: the validator is given the first three, and raises them */
#define ERRCODE_EDA_INVALID_SCHEMA			MAKE_SQLSTATE('E','D','0','5','0')
#define ERRCODE_EDA_UNRESOLVED_REFERENCE	MAKE_SQLSTATE('E','D','0','5','1')
#define ERRCODE_EDA_SCHEMA_LIMIT			MAKE_SQLSTATE('E','D','0','5','2')
#define ERRCODE_EDA_SCHEMA_VIOLATION		MAKE_SQLSTATE('E','D','0','5','3')

/* the server's pools */
#define ERRCODE_EDA_NO_DATABASE_SLOT		MAKE_SQLSTATE('E','D','1','0','0')	/* a warning */

#endif							/* EDA_ERRORS_H */
