/*-------------------------------------------------------------------------
 *
 * publish/audience.h
 *	  Whom an event wakes: which subscriptions it is for, and in which of their lanes.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/publish/audience.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDA_AUDIENCE_H
#define EDA_AUDIENCE_H

#include "event/event.h"

/*
 * An event on this topic is about to be appended: at commit those are woken who have
 * something to do.  May read the subscriptions, so call it before EdaLogLock().
 */
extern void EdaAudienceOfTopic(const char *topic, int len);

/*
 * Which lanes that concerns, once the events' ids are known: events on the topic of the last
 * EdaAudienceOfTopic().
 */
extern void EdaAudienceOfEvents(const EdaEvent *events, int n);

#endif							/* EDA_AUDIENCE_H */
