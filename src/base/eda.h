/*-------------------------------------------------------------------------
 *
 * base/eda.h
 *	  Names, limits and settings that every file of eda shares.
 *
 * No versions (base/compat.h has them), no statics, no types that belong to
 * one module.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/base/eda.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_H
#define EDA_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"

#include "base/compat.h"
#include "base/errors.h"

#define EDA_EXTENSION_NAME	"eda"
#define EDA_SCHEMA_NAME		"eda"
#define EDA_LIBRARY_NAME	"eda"

/* A topic is 1 to this many bytes of dotted words. */
#define EDA_MAX_TOPIC_LEN	255

/* A subscription's, job's or idempotency key's name, in bytes. */
#define EDA_MAX_NAME_LEN	255

/* A key is at most this many bytes. */
#define EDA_MAX_KEY_LEN		1024

/* The longest timeout of a subscription, in ms: a timer takes milliseconds in an int. */
#define EDA_LONGEST_TIMEOUT_MS	(24 * 24 * 60 * 60 * 1000)

/* Number of ids that one advance of the sequence reserves: its increment. */
#define EDA_ID_CHUNK		1024

/* eda's settings; the comment gives the unit.  Defined in base/settings.c. */
extern int	eda_max_executors;	/* processes, whole server */
extern int	eda_max_databases;	/* count */
extern int	eda_executor_linger;	/* ms */
extern int	eda_batch_time;		/* ms */
extern int	eda_poll_interval;	/* ms */
extern int	eda_max_payload_size;	/* kB */
extern int	eda_max_hops;		/* count */
extern int	eda_max_timeout;	/* ms */
extern int	eda_idempotency_window; /* s */
extern int	eda_retention;		/* s */
extern int	eda_retention_size; /* MB, -1: no bound */
extern int	eda_segment_size;	/* kB */
extern bool eda_synchronous_commit;
extern bool eda_enabled;

extern void EdaDefineSettings(bool preloading);

/* True when this server preloaded the library, so that shared memory is there. */
extern bool EdaIsPreloaded(void);

#endif							/* EDA_H */
