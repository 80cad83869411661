/*-------------------------------------------------------------------------
 *
 * workers/workers.h
 *	  Worker processes: how they start, wait and end, and who may have one.
 *
 *	The face of its folder: other folders include this header and no other one of it.
 *
 * The states of a database slot
 *
 *   FREE -first use-> IDLE -asked for, due-> WANTED -registered-> STARTING -attached-> RUNNING
 *                      ^                       ^                                          |
 *                      +-- no work, extension gone, eda.enabled off: exit 0 --------------+
 *                      |                       +-- error, crash, utility command over, ---+
 *                      |                           another database's turn
 *   DROP DATABASE: FREE.   holds > 0 (a utility command is at work): nothing is started.
 *
 * The states of an executor slot
 *
 *   FREE -launch-> STARTING -attach-> IDLE -dispatcher-> ASSIGNED -> RUNNING -+- idle for linger, yield, -> IDLE
 *                                      |                                      |  stopped
 *     ^-- process ended, however ------+--------------------------------------+
 *
 * Pools: what is of a fixed size in the server
 *
 *	* worker slots: max_worker_processes, with everybody else.  When it is full: what is
 *	  idle ends at once, busy executors after their time slice; the longest wait first
 *	  (workers/room.c); eda.workers.waits_for, blocked_reason in eda.subscriptions and the
 *	  log say so.
 *	* executors: eda.max_executors.  When it is full: they take turns (workers/pool.c,
 *	  dispatch/assign.c); eda.workers.waits_for says so.
 *	* databases: eda.max_databases.  When it is full: those without the extension give
 *	  theirs up; else CREATE EXTENSION, subscribe, wait, eda.subscriptions and the log say
 *	  so.  Publishing takes ids from the sequence itself.
 *	* rate_limit times: 8,192 in the server, 64 for each to choose from, of which one owner
 *	  takes 8 (deliver/rate.c).  When it is full: a time that is over is given up; else the
 *	  subscription waits for the first one of its owner's, or of all 64.
 *	* roles that cannot connect: 4,096, 64 for each (workers/refused.c).  When it is full:
 *	  who may try again first is forgotten, and tries again a little too early.
 *	* events in flight: one for each executor, 16 parallel workers each
 *	  (workers/inflight.c).  When it is full: there are never more executors; a parallel
 *	  worker beyond that is not blamed for a crash.
 *	* crashes not yet on record: 64 and one for each executor.  When it is full: the oldest
 *	  are forgotten: those events have one crash less.
 *	* subscriptions that a transaction wakes by itself: 64 (base/at_commit.c).  When it is
 *	  full: the dispatcher is woken, and finds the others.
 *	* segments of the log: 64.  When it is full: the current one grows; the log says so.
 *	* wake words, delayed_due, id counters: one a database.  When it is full: part of the
 *	  database's slot.
 *
 * When processes begin and end
 *
 *	* DROP/ALTER EXTENSION eda, DROP DATABASE, RENAME, SET TABLESPACE and CREATE DATABASE
 *	  ... TEMPLATE hold the database's slot and end its workers first, after the ownership
 *	  check; the hold goes with the command, and the launcher looks again.
 *	* Workers exist only after recovery: none on a standby.
 *	* A library that is newer than the extension's SQL objects finds nothing of them
 *	  (EdaExtensionFits), so reads no table whose columns it does not know, until ALTER
 *	  EXTENSION eda UPDATE has run.  A C function whose SQL signature changes gets a new
 *	  symbol; the old one stays, for CREATE EXTENSION ... VERSION, and says what to do.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/workers.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_WORKERS_FACE_H
#define EDA_WORKERS_FACE_H

#include "workers/attach.h"
#include "workers/inflight.h"
#include "workers/launcher.h"
#include "workers/pool.h"
#include "workers/refused.h"
#include "workers/rest.h"
#include "workers/room.h"
#include "workers/worker.h"

#endif							/* EDA_WORKERS_FACE_H */
