/*-------------------------------------------------------------------------
 *
 * source.h
 *	  Where a slice's events come from besides journey_state.event: rooms before
 *	  the engine put their passes in here, because the engine does not call them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_SOURCE_H
#define PGJ_SOURCE_H

#include "contact/site.h"
#include "datatype/timestamp.h"

/* An event that is written down as done and is to be decided on now. */
typedef struct SourceEvent
{
	Datum contact;
	TimestampTz at;
	int64 event_id;
	const char *name;
} SourceEvent;

typedef struct EngineSource
{
	/*
	 * Called first in a transaction of the engine, with no slice locked: what has
	 * to be set right before passes and scans (partitions that came or went).
	 */
	void (*prepare)(const Site *site, TimestampTz at);

	/*
	 * One bounded batch of a locked slice up to "at"; *more if something is left.
	 * replay: each thing at its own time.  Allocates in the current context.
	 */
	SourceEvent *(*pass)(const Site *site, int slice, TimestampTz at,
						 bool replay, int *nevents, bool *more);

	/* One bounded batch of work on all slices; false if there is none at "at". */
	bool (*scan)(const Site *site, TimestampTz at);

	/*
	 * What the passes of this session have worked so far (marks, checks, events),
	 * counted up by them: a tick may find no event and have done much.
	 */
	uint64 worked;
} EngineSource;

extern EngineSource pgj_engine_source;

#endif /* PGJ_SOURCE_H */
