/*-------------------------------------------------------------------------
 *
 * event/topic.h
 *	  Topics and the patterns that match them.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/event/topic.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_TOPIC_H
#define EDA_TOPIC_H

/* ERROR unless topic[0..len) is a valid topic; reserved_ok: first word may be `eda`. */
extern void EdaCheckTopic(const char *topic, int len, bool reserved_ok);
/* Can users publish on it?  No error. */
extern bool EdaTopicIsValid(const char *topic, int len);

/* What the log's topic_hash column holds: stable across majors and machines. */
extern uint32 EdaHashText(const char *data, int len);
/* What its key_hash column holds, of a key (text); 0: there is none. */
extern uint16 EdaHashKey(struct varlena *key);

/* One pattern, or several separated by commas, compiled. */
typedef struct EdaTopicPattern EdaTopicPattern;

/* palloc'd in the current context; ERROR EDA_INVALID_PATTERN where it is malformed. */
extern EdaTopicPattern *EdaTopicPatternCompile(const char *patterns);
/* `*` is exactly one word, `#` zero or more; no wildcard matches a first word `eda`. */
extern bool EdaTopicPatternMatch(const EdaTopicPattern *p, const char *topic, int len);
/*
 * Can an event with this topic hash match?  False only where the pattern
 * has no wildcard at all and no alternative of that hash: lets a scan
 * reject without reading the heap.
 */
extern bool EdaTopicPatternMayMatch(const EdaTopicPattern *p, uint32 topic_hash);
/*
 * The same by the text of the patterns, which were compiled once and found valid: slower, by some
 * 30 ns a pattern, but nothing of it need be kept.
 */
extern bool EdaTopicsMatch(const char *topics, const char *topic, int len);
/* True when no alternative has a wildcard. */
extern bool EdaTopicPatternIsExact(const EdaTopicPattern *p);
/* Its alternatives, and the hash of one's topic, if all are exact. */
extern int	EdaTopicPatternCount(const EdaTopicPattern *p);
extern uint32 EdaTopicPatternHash(const EdaTopicPattern *p, int i);

/* The topics of eda's own events, for messages. */
extern const char *EdaSystemTopics(void);

/*
 * One of the patterns whose first word is `eda` and that no topic of eda's own matches, so that
 * nothing is ever published on it: misspelt.  Palloc'd; NULL: there is none.
 */
extern char *EdaTopicPatternUnknown(const EdaTopicPattern *p);

#endif							/* EDA_TOPIC_H */
