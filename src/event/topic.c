/*-------------------------------------------------------------------------
 *
 * event/topic.c
 *	  Topics and the patterns that match them.
 *
 *	1. A topic is dotted words [A-Za-z0-9_-]+, 1 to EDA_MAX_TOPIC_LEN bytes.
 *	   First word `eda` is for eda's own events.
 *	2. A pattern is such words, `*` (exactly one word) and `#` (zero or more).
 *	   Several are separated by commas, with spaces around them if you like.
 *	3. A pattern that begins with a wildcard matches no topic whose first word is `eda`: who wants
 *	   eda's own events says so first.
 *	4. Matching goes back to the last `#` only, which is enough, so its cost is
 *	   at most the product of the numbers of words.
 *	5. Pure functions: no catalogue, no state, no locks.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/event/topic.c
 *
 *-------------------------------------------------------------------------
 */
#include "base/eda.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "base/args.h"
#include "event/topic.h"

PG_FUNCTION_INFO_V1(eda_topic_matches);

/* Bytes of something malformed that a message shows. */
#define SHOWN_LEN	80

#define RESERVED_WORD		"eda"
#define RESERVED_WORD_LEN	3

typedef enum EdaWordKind
{
	EDA_WORD_LITERAL,
	EDA_WORD_ONE,				/* * */
	EDA_WORD_ANY				/* # */
} EdaWordKind;

typedef struct EdaPatternWord
{
	EdaWordKind kind;
	int			len;
	const char *text;
} EdaPatternWord;

/* One of the patterns that commas separate. */
typedef struct EdaAlternative
{
	bool		exact;			/* no wildcard */
	uint32		hash;			/* of the whole, where exact */
	int			len;
	const char *text;
	int			nwords;
	EdaPatternWord *words;
} EdaAlternative;

struct EdaTopicPattern
{
	bool		exact;			/* all are */
	int			nalternatives;
	EdaAlternative *alternatives;
};

/* One word of the topic at hand. */
typedef struct EdaTopicWord
{
	const char *text;
	int			len;
} EdaTopicWord;

/* Words of one byte and a dot each. */
#define MAX_TOPIC_WORDS		((EDA_MAX_TOPIC_LEN + 1) / 2)

static inline bool
is_word_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c >= '0' && c <= '9') || c == '_' || c == '-';
}

static inline bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static inline bool
is_reserved_word(const char *word, int len)
{
	return len == RESERVED_WORD_LEN &&
		memcmp(word, RESERVED_WORD, RESERVED_WORD_LEN) == 0;
}

/* What a message shows of a string: not a megabyte of it. */
static char *
shown(const char *s, int len)
{
	if (len <= SHOWN_LEN)
		return pnstrdup(s, len);
	return psprintf("%.*s...", pg_mbcliplen(s, len, SHOWN_LEN), s);
}

static void
topic_error(const char *topic, int len, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_EDA_INVALID_TOPIC),
			 errmsg("invalid topic \"%s\"", shown(topic, len)),
			 errdetail_internal("%s", detail),
			 errhint("A topic is 1 to %d bytes of dotted words of letters, digits, \"_\" and \"-\", such as \"order.created\".",
					 EDA_MAX_TOPIC_LEN)));
}

/*
 * What is wrong with a topic, as a message's detail; NULL: nothing.  *first_len
 * gets the length of its first word.
 */
static const char *
topic_fault(const char *topic, int len, int *first_len)
{
	int			word = 0;		/* where the current word starts */

	*first_len = -1;
	if (len == 0)
		return "It is empty.";
	if (len > EDA_MAX_TOPIC_LEN)
		return psprintf("It has %d bytes.", len);

	for (int i = 0; i <= len; i++)
	{
		if (i == len || topic[i] == '.')
		{
			if (i == word)
				return "It has an empty word.";
			if (*first_len < 0)
				*first_len = i;
			word = i + 1;
		}
		else if (topic[i] == '*' || topic[i] == '#')
			return "Wildcards are for subscriptions: an event has one topic.";
		else if (!is_word_char(topic[i]))
			return psprintf("Character \"%.*s\" is not allowed.",
							pg_mblen(topic + i), topic + i);
	}
	return NULL;
}

bool
EdaTopicIsValid(const char *topic, int len)
{
	int			first_len;

	return topic_fault(topic, len, &first_len) == NULL && !is_reserved_word(topic, first_len);
}

void
EdaCheckTopic(const char *topic, int len, bool reserved_ok)
{
	int			first_len;
	const char *fault = topic_fault(topic, len, &first_len);

	if (fault != NULL)
		topic_error(topic, len, fault);
	if (!reserved_ok && is_reserved_word(topic, first_len))
		ereport(ERROR,
				(errcode(ERRCODE_EDA_RESERVED_TOPIC),
				 errmsg("topic \"%s\" is reserved", shown(topic, len)),
				 errdetail("Topics whose first word is \"%s\" are for eda's own events.",
						   RESERVED_WORD),
				 errhint("Use another first word.")));
}

/*
 * FNV-1a with MurmurHash3's finalizer: what the log holds must not depend on
 * the server's version or the machine, which hash_bytes() does.
 */
uint32
EdaHashText(const char *data, int len)
{
	uint32		h = 2166136261U;

	for (int i = 0; i < len; i++)
	{
		h ^= (unsigned char) data[i];
		h *= 16777619U;
	}
	h ^= h >> 16;
	h *= 0x85ebca6bU;
	h ^= h >> 13;
	h *= 0xc2b2ae35U;
	h ^= h >> 16;
	return h;
}

uint16
EdaHashKey(struct varlena *key)
{
	uint32		h;

	if (key == NULL)
		return 0;
	key = pg_detoast_datum_packed(key);
	h = EdaHashText(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
	h = (h ^ (h >> 16)) & 0xFFFF;
	return h != 0 ? (uint16) h : 1;
}

static void
pattern_error(const char *pattern, int len, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_EDA_INVALID_PATTERN),
			 errmsg("invalid topic pattern \"%s\"", shown(pattern, len)),
			 errdetail_internal("%s", detail),
			 errhint("A pattern is dotted words; word \"*\" stands for exactly one word and \"#\" for zero or more. Several patterns are separated by commas.")));
}

/* Compile pattern[0..len), which is not empty and outlives the result. */
static void
compile_alternative(EdaAlternative *alt, const char *pattern, int len)
{
	int			start = 0;
	int			nwords = 1;

	if (len > EDA_MAX_TOPIC_LEN)
		pattern_error(pattern, len,
					  psprintf("It has %d bytes, the limit is %d.",
							   len, EDA_MAX_TOPIC_LEN));

	for (int i = 0; i < len; i++)
	{
		if (pattern[i] == '.')
			nwords++;
	}

	alt->exact = true;
	alt->text = pattern;
	alt->len = len;
	alt->nwords = 0;
	alt->words = palloc(sizeof(EdaPatternWord) * nwords);

	for (int i = 0; i <= len; i++)
	{
		EdaPatternWord *word;

		if (i < len && pattern[i] != '.')
		{
			if (pattern[i] != '*' && pattern[i] != '#' &&
				!is_word_char(pattern[i]))
				pattern_error(pattern, len,
							  psprintf("Character \"%.*s\" is not allowed.",
									   pg_mblen(pattern + i), pattern + i));
			continue;
		}
		if (i == start)
			pattern_error(pattern, len, "It has an empty word.");

		word = &alt->words[alt->nwords++];
		word->kind = EDA_WORD_LITERAL;
		word->text = pattern + start;
		word->len = i - start;
		for (int j = start; j < i; j++)
		{
			if (pattern[j] == '*' || pattern[j] == '#')
			{
				if (word->len > 1)
					pattern_error(pattern, len, "A wildcard stands for whole words only.");
				word->kind = pattern[j] == '*' ? EDA_WORD_ONE : EDA_WORD_ANY;
				alt->exact = false;
			}
		}
		start = i + 1;
	}

	alt->hash = alt->exact ? EdaHashText(pattern, len) : 0;
}

EdaTopicPattern *
EdaTopicPatternCompile(const char *patterns)
{
	EdaTopicPattern *p = palloc(sizeof(EdaTopicPattern));
	char	   *text = pstrdup(patterns);
	int			n = 1;

	for (const char *c = text; *c; c++)
	{
		if (*c == ',')
			n++;
	}

	p->exact = true;
	p->nalternatives = 0;
	p->alternatives = palloc(sizeof(EdaAlternative) * n);

	for (char *start = text;;)
	{
		char	   *end = start + strcspn(start, ",");
		char	   *next = *end ? end + 1 : NULL;
		EdaAlternative *alt = &p->alternatives[p->nalternatives++];

		while (start < end && is_space(*start))
			start++;
		while (end > start && is_space(end[-1]))
			end--;

		if (start == end)
			pattern_error(patterns, strlen(patterns),
						  n == 1 ? "It is empty." : "One of the patterns is empty.");
		compile_alternative(alt, start, end - start);
		if (!alt->exact)
			p->exact = false;

		if (next == NULL)
			break;
		start = next;
	}

	return p;
}

/*
 * Words against words.  When a word doesn't fit, let the last `#` take one
 * word more; an earlier one never needs to, as the last could take those too.
 */
static bool
match_words(const EdaAlternative *alt, const EdaTopicWord *words, int nwords)
{
	bool		reserved = is_reserved_word(words[0].text, words[0].len);
	int			p = 0;
	int			t = 0;
	int			any_p = -1;		/* the pattern word behind the last # */
	int			any_t = 0;		/* the first topic word that # leaves alone */

	/* who wants eda's own events says so first */
	if (reserved && alt->words[0].kind != EDA_WORD_LITERAL)
		return false;
	while (t < nwords)
	{
		if (p < alt->nwords && alt->words[p].kind == EDA_WORD_ANY)
		{
			any_p = ++p;
			any_t = t;
			continue;
		}

		if (p < alt->nwords)
		{
			const EdaPatternWord *word = &alt->words[p];

			if (word->kind == EDA_WORD_ONE ||
				(word->len == words[t].len &&
				 memcmp(word->text, words[t].text, word->len) == 0))
			{
				p++;
				t++;
				continue;
			}
		}

		if (any_p < 0)
			return false;
		t = ++any_t;
		p = any_p;
	}

	while (p < alt->nwords && alt->words[p].kind == EDA_WORD_ANY)
		p++;
	return p == alt->nwords;
}

/* The words of a topic; 0: too many for one that we accepted. */
static int
split_topic(EdaTopicWord *words, const char *topic, int len)
{
	int			nwords = 0;
	int			start = 0;

	for (int c = 0; c <= len; c++)
	{
		if (c < len && topic[c] != '.')
			continue;
		if (nwords == MAX_TOPIC_WORDS)
			return 0;
		words[nwords].text = topic + start;
		words[nwords].len = c - start;
		nwords++;
		start = c + 1;
	}
	return nwords;
}

bool
EdaTopicPatternMatch(const EdaTopicPattern *p, const char *topic, int len)
{
	EdaTopicWord words[MAX_TOPIC_WORDS];
	int			nwords = 0;

	for (int i = 0; i < p->nalternatives; i++)
	{
		const EdaAlternative *alt = &p->alternatives[i];

		if (alt->exact)
		{
			if (alt->len == len && memcmp(alt->text, topic, len) == 0)
				return true;
			continue;
		}

		/* split once, when the first wildcard needs it */
		if (nwords == 0 && (nwords = split_topic(words, topic, len)) == 0)
			return false;

		if (match_words(alt, words, nwords))
			return true;
	}
	return false;
}

/*
 * Take a pattern that was compiled once apart, without keeping anything; returns the number of
 * words.
 */
static int
split_pattern(EdaPatternWord *words, const char *pattern, int len)
{
	int			n = 0;
	int			start = 0;

	for (int i = 0; i <= len; i++)
	{
		if (i < len && pattern[i] != '.')
			continue;
		if (n == MAX_TOPIC_WORDS)
			return 0;			/* no pattern that we accepted */
		words[n].text = pattern + start;
		words[n].len = i - start;
		words[n].kind = i - start != 1 ? EDA_WORD_LITERAL :
			pattern[start] == '*' ? EDA_WORD_ONE :
			pattern[start] == '#' ? EDA_WORD_ANY : EDA_WORD_LITERAL;
		n++;
		start = i + 1;
	}
	return n;
}

bool
EdaTopicsMatch(const char *topics, const char *topic, int len)
{
	EdaTopicWord words[MAX_TOPIC_WORDS];
	EdaPatternWord pattern[MAX_TOPIC_WORDS];
	EdaAlternative alt = {.words = pattern};
	int			nwords = split_topic(words, topic, len);
	const char *next;

	if (nwords == 0)
		return false;
	for (const char *start = topics; start != NULL; start = next)
	{
		const char *end = strchr(start, ',');

		next = end == NULL ? NULL : end + 1;
		if (end == NULL)
			end = start + strlen(start);
		while (start < end && is_space(*start))
			start++;
		while (end > start && is_space(end[-1]))
			end--;

		/* most differ at the first letter */
		if (start == end || (*start != *topic && *start != '*' && *start != '#'))
			continue;
		alt.nwords = split_pattern(pattern, start, end - start);
		if (alt.nwords > 0 && match_words(&alt, words, nwords))
			return true;
	}
	return false;
}

bool
EdaTopicPatternMayMatch(const EdaTopicPattern *p, uint32 topic_hash)
{
	if (!p->exact)
		return true;
	for (int i = 0; i < p->nalternatives; i++)
	{
		if (p->alternatives[i].hash == topic_hash)
			return true;
	}
	return false;
}

bool
EdaTopicPatternIsExact(const EdaTopicPattern *p)
{
	return p->exact;
}

int
EdaTopicPatternCount(const EdaTopicPattern *p)
{
	return p->nalternatives;
}

uint32
EdaTopicPatternHash(const EdaTopicPattern *p, int i)
{
	return p->alternatives[i].hash;
}

/* Every one that something of eda's publishes on. */
#define DEAD_LETTER_TOPIC	"eda.dead_letter"
#define BLOCKED_TOPIC		"eda.subscription.blocked"
#define JOB_FAILED_TOPIC	"eda.job.failed"
#define PINNED_TOPIC		"eda.log.pinned"

char *
EdaTopicPatternUnknown(const EdaTopicPattern *p)
{
	static const char *const topics[] = {
		DEAD_LETTER_TOPIC, BLOCKED_TOPIC, JOB_FAILED_TOPIC, PINNED_TOPIC
	};

	for (int i = 0; i < p->nalternatives; i++)
	{
		EdaTopicPattern alone = {false, 1, &p->alternatives[i]};
		const EdaPatternWord *first = &p->alternatives[i].words[0];
		bool		known = false;

		if (first->kind != EDA_WORD_LITERAL || !is_reserved_word(first->text, first->len))
			continue;
		for (int j = 0; j < lengthof(topics); j++)
			known |= EdaTopicPatternMatch(&alone, topics[j], strlen(topics[j]));
		if (!known)
			return pnstrdup(p->alternatives[i].text, p->alternatives[i].len);
	}
	return NULL;
}

const char *
EdaSystemTopics(void)
{
	return DEAD_LETTER_TOPIC ", " BLOCKED_TOPIC ", " JOB_FAILED_TOPIC ", " PINNED_TOPIC;
}

/* eda.topic_matches(topics text, topic text) RETURNS boolean */
Datum
eda_topic_matches(PG_FUNCTION_ARGS)
{
	EdaTopicPattern *pattern;
	text	   *topic;

	EdaRequireArg(fcinfo, 0, "topics");
	EdaRequireArg(fcinfo, 1, "topic");

	pattern = EdaTopicPatternCompile(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	topic = PG_GETARG_TEXT_PP(1);
	EdaCheckTopic(VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic), true);

	PG_RETURN_BOOL(EdaTopicPatternMatch(pattern, VARDATA_ANY(topic),
										VARSIZE_ANY_EXHDR(topic)));
}
