/*-------------------------------------------------------------------------
 *
 * guc.c
 *	  All settings, sorted by name.
 *
 * What guards the server against authors (expression_*, segment_*) may be
 * loosened by a superuser only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <limits.h>

#include "utils/guc.h"

#include "guc.h"
#include "pg_journey.h"

int pgj_batch_size = 1000;
int pgj_engine_naptime = 10 * 1000;
int pgj_expression_memory = 256 * 1024;
int pgj_expression_timeout = 1000;
int pgj_launcher_naptime = 10 * 1000;
int pgj_message_expiry = 3 * 24 * 60 * 60;
int pgj_priority_step = 60 * 60;
int pgj_same_address_window = 30 * 24 * 60 * 60;
double pgj_segment_cost = 10000;
int pgj_segment_timeout = 10 * 1000;

void
pgj_guc_define(void)
{
	DefineCustomIntVariable(
		"pg_journey.batch_size",
		"Sets how many contacts one statement of the engine takes at most.",
		NULL, &pgj_batch_size, 1000, 1, 100000, PGC_USERSET, 0, NULL, NULL,
		NULL);

	/*
	 * A commit wakes the worker through its latch and due timers end its
	 * sleep; the nap only bounds how late it sees what neither tells it: an
	 * event of a prepared transaction, a timer set by another caller of
	 * tick().  A round that finds nothing costs one statement.
	 */
	DefineCustomIntVariable(
		"pg_journey.engine_naptime",
		"Sets the longest sleep of an engine worker.",
		"The worker is woken by commits and due timers before that.",
		&pgj_engine_naptime, 10 * 1000, 100, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"pg_journey.expression_memory",
		"Sets how much memory one evaluation of a user expression may add to its process.",
		"-1 sets no limit.", &pgj_expression_memory, 256 * 1024, -1,
		MAX_KILOBYTES, PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"pg_journey.expression_timeout",
		"Sets how long one evaluation of a user expression may take.",
		"An evaluation that ignores the cancellation ends its session at twice this time.",
		&pgj_expression_timeout, 1000, 1, INT_MAX / 2, PGC_SUSET, GUC_UNIT_MS,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"pg_journey.launcher_naptime",
		"Sets how often the launcher looks for new databases.",
		"Attaching a table or losing a worker wakes it before that.",
		&pgj_launcher_naptime, 10 * 1000, 100, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS,
		NULL, NULL, NULL);

	DefineCustomIntVariable(
		"pg_journey.message_expiry",
		"Sets after what time a message that was not handed over is dropped, where its SEND states no EXPIRES.",
		NULL, &pgj_message_expiry, 3 * 24 * 60 * 60, 1, INT_MAX, PGC_SUSET,
		GUC_UNIT_S, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"pg_journey.priority_step",
		"Sets after what time of waiting a message is more important by one point.",
		"0: waiting makes no difference.", &pgj_priority_step, 60 * 60, 0,
		INT_MAX, PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"pg_journey.same_address_window",
		"Sets for how long what went to an address is not sent there for another contact.",
		"The same: a template of a journey, for one key. 0 sends it all the same.",
		&pgj_same_address_window, 30 * 24 * 60 * 60, 0, INT_MAX, PGC_SUSET,
		GUC_UNIT_S, NULL, NULL, NULL);

	DefineCustomRealVariable(
		"pg_journey.segment_cost",
		"Sets what a segment's predicate may cost for one contact, in the planner's units.",
		"Looked at when a segment is created or altered; 0 sets no limit.",
		&pgj_segment_cost, 10000, 0, DBL_MAX, PGC_SUSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"pg_journey.segment_timeout",
		"Sets how long one evaluation of a segment's predicate, for a batch of contacts, may take.",
		"A batch that takes longer is tried in parts, and a predicate that is too slow even for a few contacts suspends its segment.",
		&pgj_segment_timeout, 10 * 1000, 1, INT_MAX / 2, PGC_SUSET, GUC_UNIT_MS,
		NULL, NULL, NULL);

	MarkGUCPrefixReserved("pg_journey");
}
