/*-------------------------------------------------------------------------
 *
 * jsonschema/regex.c
 *	  JSON Schema: patterns, by PCRE2.
 *
 *  1. When the schema is compiled, a pattern is parsed
 *     (jsonschema/regex_parse.c), written in the syntax of PCRE2
 *     (jsonschema/regex_translate.c), and compiled by PCRE2.  A valid pattern
 *     that PCRE2 does not take is for a matcher of our own
 *     (jsonschema/regex_match.c).
 *  2. What PCRE2 allocates comes from the memory context of the schema.  Only
 *     the machine code of its JIT compiler does not; a reset callback of that
 *     context frees it.
 *  3. The strings that are searched are UTF-8.  In a database of another
 *     encoding they are converted; in SQL_ASCII, bytes that are no UTF-8 match
 *     nothing.
 *  4. A match has a limit of steps and of memory, and it is an error to go
 *     beyond it.  A long string is searched in pieces, so that the search can
 *     be cancelled where each position costs much.
 *
 * PCRE2_UCP is not set, because in ECMA-262 \b is about ASCII, and \p works
 * without it.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/regex.c
 *
 *-------------------------------------------------------------------------
 */
#define PCRE2_CODE_UNIT_WIDTH 8

#include "postgres.h"

#include <pcre2.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "jsonschema/regex.h"

#define MATCH_LIMIT			1000000 /* steps from one position */
#define DEPTH_LIMIT			1000000
#define HEAP_LIMIT			(32 * 1024) /* kB */
#define PIECE_FROM			256		/* bytes; a longer string is searched in pieces */
#define PIECE_SIZE			64		/* positions at which a match may begin, in one piece */

/*
 * The longest pattern for PCRE2, in bytes: to compile a longer one would fail, and cannot be
 * cancelled.
 */
#define MAX_FOR_PCRE		65536

struct JsRegex
{
	pcre2_code *code;			/* NULL if it is for our own matcher */
	JsReProgram *program;
	bool		jit;
	bool		anchored;
	const char *pattern;		/* for messages */
	MemoryContextCallback callback;
};

/* What every match uses, for the life of the backend. */
static MemoryContext match_memory = NULL;
static pcre2_match_data *match_data = NULL;
static pcre2_match_context *match_context = NULL;

static void *
regex_malloc(size_t size, void *arg)
{
	/* An error must not jump over PCRE2's stack frames. */
	return MemoryContextAllocExtended((MemoryContext) arg, size, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
}

static void
regex_free(void *pointer, void *arg)
{
	if (pointer != NULL)
		pfree(pointer);
}

static void
regex_reset(void *arg)
{
	pcre2_code_free(((JsRegex *) arg)->code);
}

static void
no_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory"),
			 errdetail("Failed while compiling or matching a regular expression.")));
}

static void
too_many_steps(const JsRegex *regex, int len, int limit_errcode)
{
	ereport(ERROR,
			(errcode(limit_errcode),
			 errmsg("pattern %s takes too many steps on a string of %d bytes", regex->pattern, len),
			 errhint("Write the pattern without nested repetitions, or bound the string with maxLength.")));
}

/*
 * PCRE2 calls this at the beginning of each group, as a single step may take long.  It ends the
 * match if there is an interrupt, which is served later: an error must not jump over PCRE2's stack
 * frames.
 */
static int
look_for_interrupt(pcre2_callout_block *block, void *arg)
{
	return unlikely(InterruptPending) && INTERRUPTS_CAN_BE_PROCESSED() ? PCRE2_ERROR_CALLOUT : 0;
}

static void
prepare_matches(void)
{
	pcre2_general_context *general;

	if (match_context != NULL)
		return;
	if (match_memory == NULL)
		match_memory = AllocSetContextCreate(TopMemoryContext, "JSON Schema patterns",
											 ALLOCSET_SMALL_SIZES);
	general = pcre2_general_context_create(regex_malloc, regex_free, match_memory);
	if (general == NULL)
		no_memory();
	if (match_data == NULL)
		match_data = pcre2_match_data_create(1, general);
	if (match_data != NULL)
		match_context = pcre2_match_context_create(general);
	pcre2_general_context_free(general);
	if (match_context == NULL)
		no_memory();
	pcre2_set_match_limit(match_context, MATCH_LIMIT);
	pcre2_set_depth_limit(match_context, DEPTH_LIMIT);
	pcre2_set_heap_limit(match_context, HEAP_LIMIT);
	pcre2_set_callout(match_context, look_for_interrupt, NULL);
}

/* A string in UTF-8; the string itself where it is in that encoding. */
static const char *
to_utf8(const char *data, int *len)
{
	char	   *converted;

	if (GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII)
		return data;
	converted = (char *) pg_do_encoding_conversion((unsigned char *) unconstify(char *, data), *len,
												   GetDatabaseEncoding(), PG_UTF8);
	if (converted != data)
		*len = (int) strlen(converted);
	return converted;
}

/*
 * Compile a pattern, which is in PCRE2's own syntax, into CurrentMemoryContext.  If PCRE2 does not
 * take it, the result is NULL and *error is PCRE2's error code.
 */
JsRegex *
JsRegexCompilePcre(const char *translated, int *error)
{
	JsRegex    *regex = palloc0(sizeof(JsRegex));
	pcre2_general_context *general;
	pcre2_compile_context *compile;
	uint32_t	options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C |
		PCRE2_USE_OFFSET_LIMIT;
	uint32_t	all_options = 0;
	PCRE2_SIZE	where;

	regex->pattern = "";
#ifdef PCRE2_MATCH_INVALID_UTF
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		options |= PCRE2_MATCH_INVALID_UTF;
#endif
	general = pcre2_general_context_create(regex_malloc, regex_free, CurrentMemoryContext);
	if (general == NULL)
		no_memory();
	compile = pcre2_compile_context_create(general);
	if (compile == NULL)
		no_memory();
	regex->code = pcre2_compile((PCRE2_SPTR) translated, PCRE2_ZERO_TERMINATED, options,
								error, &where, compile);
	pcre2_compile_context_free(compile);
	pcre2_general_context_free(general);
	if (regex->code == NULL)
	{
		pfree(regex);
		if (*error == PCRE2_ERROR_HEAP_FAILED)
			no_memory();
		return NULL;
	}
	pcre2_pattern_info(regex->code, PCRE2_INFO_ALLOPTIONS, &all_options);
	regex->anchored = (all_options & PCRE2_ANCHORED) != 0;
	/* Without JIT everything works as well, but slower, and valgrind sees what is read. */
#ifndef JSONSCHEMA_NO_JIT
	regex->jit = pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE) == 0;
#endif
	regex->callback.func = regex_reset;
	regex->callback.arg = regex;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &regex->callback);
	return regex;
}

/*
 * Compile a pattern, which is in the database's encoding, into CurrentMemoryContext.  If it is not
 * valid, the result is NULL and *why says what is wrong.
 */
JsRegex *
JsRegexCompile(const char *pattern, int len, const char **why)
{
	MemoryContext before = CurrentMemoryContext;
	MemoryContext context;		/* of the tree, which stays if our own matcher is to use it */
	char	   *quoted = JsQuote(pattern, len);
	const char *utf8 = to_utf8(pattern, &len);
	JsRePattern *parsed;
	char	   *translated;
	JsRegex    *regex = NULL;
	int			error = 0;

	context = len < 1024 ?
		AllocSetContextCreate(before, "JSON Schema pattern", ALLOCSET_SMALL_SIZES) :
		AllocSetContextCreate(before, "JSON Schema pattern", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	parsed = JsRegexParse(utf8, len, why);
	translated = parsed != NULL && len <= MAX_FOR_PCRE ? JsRegexTranslate(parsed) : NULL;
	MemoryContextSwitchTo(before);
	if (translated != NULL)
		regex = JsRegexCompilePcre(translated, &error);
	if (parsed != NULL && regex == NULL)
	{
		JsReProgram *program;

		MemoryContextSwitchTo(context);
		program = JsRegexProgram(parsed);
		MemoryContextSwitchTo(before);
		if (program != NULL)
		{
			regex = palloc0(sizeof(JsRegex));
			regex->program = program;
			regex->pattern = quoted;
			return regex;
		}
		*why = "\\p{...} names no property of Unicode that is known";
	}
	MemoryContextDelete(context);
	if (regex != NULL)
		regex->pattern = quoted;
	return regex;
}

/* Is it a regular expression, that is, would it compile? */
bool
JsRegexIsValid(const char *pattern, int len)
{
	MemoryContext context;
	MemoryContext before;
	const char *why;
	bool		valid;

	if (len > JSONSCHEMA_MAX_PATTERN)
		return false;
	context = AllocSetContextCreate(CurrentMemoryContext, "JSON Schema pattern",
									ALLOCSET_SMALL_SIZES);
	before = MemoryContextSwitchTo(context);
	valid = JsRegexCompile(pattern, len, &why) != NULL;
	MemoryContextSwitchTo(before);
	MemoryContextDelete(context);
	return valid;
}

static int
match_piece(const JsRegex *regex, const char *data, int len, int start, int limit)
{
	uint32_t	options = GetDatabaseEncoding() == PG_SQL_ASCII ? 0 : PCRE2_NO_UTF_CHECK;
	int			rc;

	pcre2_set_offset_limit(match_context, limit < 0 ? PCRE2_UNSET : (PCRE2_SIZE) limit);
	for (;;)
	{
		rc = PCRE2_ERROR_JIT_STACKLIMIT;
		if (regex->jit && GetDatabaseEncoding() != PG_SQL_ASCII)
			rc = pcre2_jit_match(regex->code, (PCRE2_SPTR) data, len, start, 0, match_data, match_context);
		if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
			rc = pcre2_match(regex->code, (PCRE2_SPTR) data, len, start, options | PCRE2_NO_JIT,
							 match_data, match_context);
		if (rc != PCRE2_ERROR_CALLOUT)
			return rc;
		/* If the interrupt did not raise an error, begin again. */
		CHECK_FOR_INTERRUPTS();
	}
}

/* Does a pattern match anywhere in a string, which is in the database's encoding? */
bool
JsRegexMatches(const JsRegex *regex, const char *data, int len, int limit_errcode)
{
	const char *subject = to_utf8(data, &len);
	bool		matches = JsRegexMatchesUtf8(regex, subject, len, limit_errcode);

	if (subject != data)
		pfree(unconstify(char *, subject));
	return matches;
}

/* The same for a string in UTF-8. */
bool
JsRegexMatchesUtf8(const JsRegex *regex, const char *subject, int len, int limit_errcode)
{
	int			rc;

	if (regex->program != NULL)
	{
		JsReOutcome outcome = JsRegexRun(regex->program, subject, len);

		if (outcome == JSRE_TOO_MUCH)
			too_many_steps(regex, len, limit_errcode);
		return outcome == JSRE_MATCH;
	}
	prepare_matches();
	if (len <= PIECE_FROM || regex->anchored || GetDatabaseEncoding() == PG_SQL_ASCII)
		rc = match_piece(regex, subject, len, 0, -1);
	else
	{
		int			start = 0;

		for (;;)
		{
			int			next = start + PIECE_SIZE;

			/* A piece must begin and end between two characters. */
			while (next < len && ((unsigned char) subject[next] & 0xC0) == 0x80)
				next++;
			rc = match_piece(regex, subject, len, start, next >= len ? -1 : next - 1);
			if (rc != PCRE2_ERROR_NOMATCH || next >= len)
				break;
			start = next;
			CHECK_FOR_INTERRUPTS();
		}
	}
	if (rc >= 0)
		return true;
	if (rc == PCRE2_ERROR_NOMATCH)
		return false;
	if (rc == PCRE2_ERROR_NOMEMORY)
		no_memory();
	if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT)
		too_many_steps(regex, len, limit_errcode);
	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("could not match pattern %s: PCRE2 error %d", regex->pattern, rc)));
}
