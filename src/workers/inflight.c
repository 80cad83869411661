/*-------------------------------------------------------------------------
 *
 * workers/inflight.c
 *	  Which event each executor is at, kept where a crash does not reach it.
 *
 *	1. The map is a small file that every process of the server has in its
 *	   memory (MAP_SHARED): a slot of its own for each executor, on cache lines of
 *	   its own.  What is stored there is in the kernel's page cache at once, so it
 *	   survives SIGKILL, a crash restart, and the postmaster.  A call of a handler
 *	   costs a few plain stores: no lock, no system call, nothing to be flushed.
 *	2. It is in pg_stat_tmp, which base backups and pg_rewind leave out, as
 *	   pg_stat_statements' texts are; PostgreSQL 15 and later delete nothing there.
 *	3. Who crashed the server?  When a process crashes, the postmaster sends
 *	   SIGQUIT to all others.  An executor that is told so marks itself
 *	   a bystander; the launcher notes that it was told, and marks the executors
 *	   that still are there as bystanders too, for one that is stopped, or
 *	   waits for a disk, may be killed before it can do so itself.  So where the launcher was told,
 *	   a slot that is in use and has no mark names what crashed the server.
 *	4. Nobody is blamed where the launcher was not told: the whole machine,
 *	   its container or the postmaster was killed, or the launcher itself.  An immediate
 *	   shutdown tells everybody, and so does the crash of any other process.
 *	   With send_abort_for_crash, a developer's option, nobody is told.
 *	   A handler's parallel workers are noted in its slot, by their pids, from their first
 *	   query on: one that is told to quit takes itself off, one that crashed stays
 *	   and says whose it was.
 *	5. A process that ends in an orderly way (exit code 0 or 1: FATAL,
 *	   SIGTERM, the postmaster gone) clears its slot.  Code that calls exit()
 *	   itself is not orderly: what the postmaster makes of it depends on a
 *	   code that we don't see, so the slot stays until its next user
 *	   takes it.
 *	6. The postmaster reads the map before shared memory is laid out again, also after it was
 *	   restarted, and begins a new one, in which the culprits are listed, by a rename: it is
 *	   either the one or the other. They stay there until they are written down
 *	   (deliver/probation.c).  Each map has a random number: the same crash is never counted
 *	   twice.
 *	7. A slot's fields are written by the executor that has it, the mark
 *	   also by the launcher's signal handler; the list by the postmaster before
 *	   there is any other process, later only to empty an entry.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/workers/inflight.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/parallel.h"
#include "executor/executor.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#include "workers/inflight.h"

#define INFLIGHT_FILE		PG_STAT_TMP_DIR "/eda.inflight"
#define INFLIGHT_TMP_FILE	INFLIGHT_FILE ".tmp"

#define MAP_MAGIC		0xEDA1F117
#define MAP_VERSION		1

/* Culprits that are listed at most, besides one a slot; the oldest go first. */
#define MAX_CULPRITS	64

/* More slots than this no server has: the file is not one of ours. */
#define MAX_SLOTS		100000

/* A slot or the header, for itself in memory. */
#define MAP_LINE		128

/* Parallel workers of a slot that are noted; more are not. */
#define MAX_HELPERS		16

typedef struct MapHeader
{
	uint32		magic;
	uint32		version;
	uint32		nslots;
	uint32		nculprits;		/* room for so many */
	uint32		nlisted;		/* so many were in it when the server started */
	int64		crash_id;		/* of the crash that ends this life of the server */
	volatile int64 told_at;		/* the launcher was told to quit; 0: not */
} MapHeader;

typedef struct MapSlot
{
	volatile uint32 in_use;		/* code of the event, or of one of the batch, is running */
	volatile uint32 bystander;
	volatile int64 event_id;	/* 0: not known which one */
	volatile int64 last_id;
	int32		pid;
	Oid			dbid;
	Oid			relid;
	int32		subscription_id;
	int32		lane;
	int32		calls;			/* events of this step that had their turn */
	pg_atomic_uint32 helpers[MAX_HELPERS];	/* pids of its parallel workers; 0: none */
} MapSlot;

StaticAssertDecl(sizeof(MapHeader) <= MAP_LINE, "header does not fit into its line");
StaticAssertDecl(sizeof(MapSlot) <= MAP_LINE, "slot does not fit into its line");

/* NULL: there is none. */
static char *map = NULL;
static Size map_size = 0;

/* This executor's; NULL in all other processes. */
static MapSlot *my_slot = NULL;

/* In its place where there is no map: what runs is of interest to this process, too. */
static MapSlot no_slot;

static bool committed = false;	/* what was running */

/* In a parallel worker of an executor: its leader's, and the place in there. */
static pg_atomic_uint32 *my_help = NULL;

static shmem_startup_hook_type prev_shmem_startup_hook = NULL;
static ExecutorStart_hook_type prev_ExecutorStart_hook = NULL;

#define HEADER(m)		((MapHeader *) (m))
#define CULPRITS(m)		((EdaCulprit *) ((m) + MAP_LINE))
#define CULPRITS_SIZE(n)	TYPEALIGN(MAP_LINE, (n) * sizeof(EdaCulprit))
#define SLOT(m, i) \
	((MapSlot *) ((m) + MAP_LINE + CULPRITS_SIZE(HEADER(m)->nculprits) + (Size) (i) * MAP_LINE))

static Size
size_of_map(uint32 nslots, uint32 nculprits)
{
	return MAP_LINE + CULPRITS_SIZE(nculprits) + (Size) nslots * MAP_LINE;
}


/* ---- the postmaster --------------------------------------------------- */

/* The map of the last life, palloc'd; NULL where there is none that makes sense. */
static char *
read_old_map(void)
{
	int			fd = BasicOpenFile(INFLIGHT_FILE, O_RDONLY | PG_BINARY);
	struct stat st;
	char	   *old = NULL;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && st.st_size >= MAP_LINE &&
		st.st_size <= size_of_map(MAX_SLOTS, MAX_SLOTS + MAX_CULPRITS))
	{
		old = palloc(st.st_size);
		if (read(fd, old, st.st_size) != st.st_size ||
			HEADER(old)->magic != MAP_MAGIC || HEADER(old)->version != MAP_VERSION ||
			HEADER(old)->nslots > MAX_SLOTS || HEADER(old)->nculprits > MAX_SLOTS + MAX_CULPRITS ||
			size_of_map(HEADER(old)->nslots, HEADER(old)->nculprits) != st.st_size)
		{
			pfree(old);
			old = NULL;
		}
	}
	close(fd);
	return old;
}

static bool
is_culprit(MapSlot *slot)
{
	if (!slot->in_use || !OidIsValid(slot->dbid))
		return false;
	if (!slot->bystander)
		return true;
	for (int i = 0; i < MAX_HELPERS; i++)
	{
		if (pg_atomic_read_u32(&slot->helpers[i]) != 0)
			return true;
	}
	return false;
}

/* Who crashed the last life, and who is listed in its map already; returns their number. */
static uint32
find_culprits(char *old, EdaCulprit **found)
{
	uint32		n = 0;

	*found = palloc0(((Size) HEADER(old)->nculprits + HEADER(old)->nslots + 1) * sizeof(EdaCulprit));
	for (uint32 i = 0; i < HEADER(old)->nculprits; i++)
	{
		if (OidIsValid(CULPRITS(old)[i].dbid))
			(*found)[n++] = CULPRITS(old)[i];
	}
	if (HEADER(old)->told_at == 0)
		return n;
	for (uint32 i = 0; i < HEADER(old)->nslots; i++)
	{
		MapSlot    *slot = SLOT(old, i);
		EdaCulprit *culprit = &(*found)[n];

		if (!is_culprit(slot))
			continue;
		culprit->dbid = slot->dbid;
		culprit->relid = slot->relid;
		culprit->subscription_id = slot->subscription_id;
		culprit->lane = (int16) slot->lane;
		culprit->event_id = slot->event_id;
		culprit->last_id = slot->last_id;
		culprit->crash_id = HEADER(old)->crash_id;
		culprit->at = HEADER(old)->told_at;
		n++;
		if (culprit->event_id != 0)
			ereport(LOG,
					(errmsg("the server crashed while event %lld was handled by subscription %d of database %u",
							(long long) culprit->event_id, culprit->subscription_id, culprit->dbid)));
		else
			ereport(LOG,
					(errmsg("the server crashed while a batch up to event %lld was handled by subscription %d of database %u",
							(long long) culprit->last_id, culprit->subscription_id, culprit->dbid)));
	}
	return n;
}

/*
 * Write a file of that content and map it.  Its blocks are written, and not just reserved: storing
 * to a page that has no room on the disk would be a crash of its own.
 */
static char *
make_map(const char *content, Size size)
{
	int			fd = BasicOpenFile(INFLIGHT_TMP_FILE, O_RDWR | O_CREAT | O_TRUNC | PG_BINARY);
	void	   *mapped = MAP_FAILED;

	if (fd < 0)
		return NULL;
	errno = 0;
	if (write(fd, content, size) != (ssize_t) size)
	{
		if (errno == 0)
			errno = ENOSPC;
	}
	else
		mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapped != MAP_FAILED && rename(INFLIGHT_TMP_FILE, INFLIGHT_FILE) != 0)
	{
		int			save_errno = errno;

		munmap(mapped, size);
		mapped = MAP_FAILED;
		errno = save_errno;
	}
	if (mapped == MAP_FAILED)
	{
		int			save_errno = errno;

		close(fd);
		unlink(INFLIGHT_TMP_FILE);
		errno = save_errno;
		return NULL;
	}
	close(fd);
	return mapped;
}

/*
 * By the postmaster: find what crashed the server's last life, and begin a new map of that many
 * executors.  Never an ERROR: without a map nobody is ever blamed, which is logged.
 */
static void
begin_map(int nexecutors)
{
	char	   *old;
	char	   *fresh;
	EdaCulprit *found = NULL;
	uint32		nfound = 0;
	uint32		skip = 0;
	uint32		room = MAX_CULPRITS + nexecutors;
	Size		size = size_of_map(nexecutors, room);

	/* single-user mode starts no executor and leaves the map to the next postmaster */
	if (IsUnderPostmaster || !IsPostmasterEnvironment)
		return;

	if (map != NULL)
		munmap(map, map_size);
	map = NULL;

	old = read_old_map();
	if (old != NULL)
		nfound = find_culprits(old, &found);

	fresh = palloc0(size);
	HEADER(fresh)->magic = MAP_MAGIC;
	HEADER(fresh)->version = MAP_VERSION;
	HEADER(fresh)->nslots = nexecutors;
	HEADER(fresh)->nculprits = room;
	if (!pg_strong_random(&HEADER(fresh)->crash_id, sizeof(int64)))
		HEADER(fresh)->crash_id = GetCurrentTimestamp();
	if (nfound > room)
	{
		skip = nfound - room;
		nfound = room;
	}
	HEADER(fresh)->nlisted = nfound;
	if (nfound > 0)
		memcpy(CULPRITS(fresh), found + skip, nfound * sizeof(EdaCulprit));

	map = make_map(fresh, size);
	map_size = size;
	if (map == NULL)
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("could not make file \"%s\": %m", INFLIGHT_FILE),
				 errdetail("An event that crashes the server will not be found out.")));
	pfree(fresh);
	if (found != NULL)
		pfree(found);
	if (old != NULL)
		pfree(old);
}


/* ---- being told to quit ------------------------------------------------ */

/* Has it not been waited for by the postmaster? */
static inline bool
is_there(int pid)
{
	return kill(pid, 0) == 0 || errno != ESRCH;
}

/*
 * A launcher's SIGQUIT: this is a crash, or an immediate shutdown.  Who crashed
 * was waited for before we were told, and has no pid any more.
 */
static void
launcher_quits(SIGNAL_ARGS)
{
	MapHeader  *header = HEADER(map);

	for (uint32 i = 0; i < header->nslots; i++)
	{
		MapSlot    *slot = SLOT(map, i);

		if (!slot->in_use)
			continue;
		if (is_there(slot->pid))
			slot->bystander = 1;
		for (int h = 0; h < MAX_HELPERS; h++)
		{
			uint32		pid = pg_atomic_read_u32(&slot->helpers[h]);

			if (pid != 0 && is_there(pid))
				pg_atomic_write_u32(&slot->helpers[h], 0);
		}
	}
	header->told_at = GetCurrentTimestamp();
	_exit(2);
}

/* An executor's. */
static void
executor_quits(SIGNAL_ARGS)
{
	my_slot->bystander = 1;
	_exit(2);
}

/* A parallel worker's. */
static void
helper_quits(SIGNAL_ARGS)
{
	pg_atomic_write_u32(my_help, 0);
	_exit(2);
}

static void
helper_leaves(int code, Datum arg)
{
	if (code == 0 || code == 1)
		pg_atomic_write_u32(my_help, 0);
}

/* This parallel worker is about to run a query: whose is it? */
static void
note_helper(void)
{
	static bool done = false;
	PGPROC	   *leader = MyProc->lockGroupLeader;

	if (done || map == NULL || leader == NULL)
		return;
	done = true;
	for (uint32 i = 0; i < HEADER(map)->nslots; i++)
	{
		MapSlot    *slot = SLOT(map, i);

		if (!slot->in_use || slot->pid != leader->pid)
			continue;
		for (int h = 0; h < MAX_HELPERS; h++)
		{
			uint32		unused = 0;

			if (!pg_atomic_compare_exchange_u32(&slot->helpers[h], &unused, MyProcPid))
				continue;
			my_help = &slot->helpers[h];
			on_proc_exit(helper_leaves, (Datum) 0);
			pqsignal(SIGQUIT, helper_quits);
			return;
		}
	}
}

static void
executor_start(QueryDesc *query, int eflags)
{
	if (IsParallelWorker())
		note_helper();
	if (prev_ExecutorStart_hook)
		prev_ExecutorStart_hook(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

static void
shmem_startup(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	begin_map(eda_max_executors);
}

void
EdaInflightInit(void)
{
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
	prev_ExecutorStart_hook = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
}

void
EdaInflightWatch(void)
{
	if (map != NULL)
		pqsignal(SIGQUIT, launcher_quits);
}

void
EdaInflightAttach(int slot)
{
	if (map == NULL || slot >= HEADER(map)->nslots)
	{
		my_slot = &no_slot;
		return;
	}
	my_slot = SLOT(map, slot);
	my_slot->in_use = 0;
	my_slot->bystander = 0;
	my_slot->pid = MyProcPid;
	my_slot->dbid = InvalidOid;
	my_slot->calls = 0;
	for (int i = 0; i < MAX_HELPERS; i++)
		pg_atomic_write_u32(&my_slot->helpers[i], 0);
	pqsignal(SIGQUIT, executor_quits);
}

void
EdaInflightDetach(int code)
{
	if (my_slot != NULL && (code == 0 || code == 1))
		my_slot->in_use = 0;
}


/* ---- an executor at work ------------------------------------------------ */

void
EdaInflightLane(Oid relid, int32 subscription_id, int16 lane)
{
	if (my_slot == NULL)
		return;
	my_slot->dbid = MyDatabaseId;
	my_slot->relid = relid;
	my_slot->subscription_id = subscription_id;
	my_slot->lane = lane;
}

void
EdaInflightEvent(int64 event_id)
{
	if (my_slot == NULL)
		return;
	my_slot->event_id = event_id;
	my_slot->last_id = event_id;
	committed = false;
	my_slot->in_use = 1;
}

void
EdaInflightAfter(int n)
{
	if (my_slot == NULL)
		return;
	my_slot->calls += n;
	if (my_slot->calls > 1)
		my_slot->event_id = 0;
}

void
EdaInflightSet(int64 last_id, int n)
{
	if (my_slot == NULL)
		return;
	my_slot->event_id = n == 1 ? last_id : 0;
	my_slot->last_id = last_id;
	committed = false;
	my_slot->in_use = 1;
}

void
EdaInflightEnd(void)
{
	if (my_slot == NULL)
		return;
	my_slot->in_use = 0;
	my_slot->calls = 0;
}

void
EdaInflightCommitted(void)
{
	committed = true;
}

bool
EdaInflightRunning(EdaCulprit *what)
{
	if (my_slot == NULL || !my_slot->in_use || committed)
		return false;
	memset(what, 0, sizeof(EdaCulprit));
	what->dbid = my_slot->dbid;
	what->relid = my_slot->relid;
	what->subscription_id = my_slot->subscription_id;
	what->lane = (int16) my_slot->lane;
	what->event_id = my_slot->event_id;
	what->last_id = my_slot->last_id;
	return true;
}


/* ---- what a crash left behind -------------------------------------------- */

static bool
is_about(const EdaCulprit *culprit, Oid relid, int32 subscription_id)
{
	return culprit->dbid == MyDatabaseId && culprit->relid == relid &&
		culprit->subscription_id == subscription_id;
}

const EdaCulprit *
EdaInflightCulprit(Oid relid, int32 subscription_id, int *pos)
{
	if (map == NULL)
		return NULL;
	while (*pos < HEADER(map)->nlisted)
	{
		EdaCulprit *culprit = &CULPRITS(map)[(*pos)++];

		if (is_about(culprit, relid, subscription_id))
			return culprit;
	}
	return NULL;
}

void
EdaInflightForget(Oid relid, int32 subscription_id)
{
	if (map == NULL)
		return;
	for (uint32 i = 0; i < HEADER(map)->nlisted; i++)
	{
		EdaCulprit *culprit = &CULPRITS(map)[i];

		if (is_about(culprit, relid, subscription_id))
			culprit->dbid = InvalidOid;
	}
}
