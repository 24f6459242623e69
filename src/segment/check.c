/*-------------------------------------------------------------------------
 *
 * check.c
 *	  Evaluate a segment's predicate, in the box.
 *
 * An error suspends the segment and nothing else; whoever resumes it has all
 * contacts looked at again, so those at hand count as done.  Time is another
 * matter: contacts may be too many at once, so parts are tried before a
 * predicate is held to be too slow, and the size that went well is kept for
 * later.  A relation that is locked away is nobody's fault: its readers come
 * back in a few seconds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "box.h"
#include "engine/evaluate.h"
#include "guc.h"
#include "pg_journey.h"
#include "plan.h"
#include "segment/pass.h"

#define FEW_CONTACTS 16 /* too slow for so many: too slow */
#define FEW_SCANNED 100
#define MAX_TIMEOUTS_OF_CHECK 2
#define SCAN_BATCHES 20 /* a scan's batch, in batches of the engine */
#define MANY_FOUND 100000
#define LOCK_PATIENCE "500" /* ms, for what the watches do not name */

/* ---- suspending ------------------------------------------------------- */

void
pgj_segment_suspend(const Site *site, Segment *segment, TimestampTz at,
					const char *error)
{
	/* who holds the row's lock suspends it, too, or is altering it */
	static KeptPlan suspend = {
		.sql =
			"UPDATE journey.segment s SET status = 'suspended', error = $2, error_at = $3"
			" WHERE s.segment_id = (SELECT w.segment_id FROM journey.segment w"
			"  WHERE w.segment_id = $1 AND w.status <> 'suspended' FOR UPDATE SKIP LOCKED)"
	};
	Params params;

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(segment->segment_id));
	pgj_params_scalar(&params, TEXTOID, CStringGetTextDatum(error));
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	(void) pgj_plan_execute(&suspend, &params);
	segment->suspended = true;
	ereport(
		WARNING, errmsg("segment \"%s\" is suspended", segment->name),
		errdetail_internal("%s", error),
		errhint(
			"Correct the cause, then call journey.resume_segment(), which looks at all contacts again."));
}

static bool
is_lock_error(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		   error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

/*
 * Lock what the predicate reads, but do not wait: in the box a wait would look
 * like a slow predicate.
 */
static bool
lock_relations(const Site *site, const Segment *segment)
{
	if (!ConditionalLockRelationOid(site->contact_table, AccessShareLock))
		return false;
	for (int i = 0; i < segment->nwatches; i++)
		if (!ConditionalLockRelationOid(segment->watches[i].relation,
										AccessShareLock))
			return false;
	return true;
}

/* ---- one evaluation --------------------------------------------------- */

typedef struct Evaluation
{
	const Site *site;
	Segment *segment;
	MemoryContext context; /* of the results */

	/* pgj_segment_check */
	Check *checks;
	int lo;
	int hi;

	/* pgj_segment_check_next, pgj_segment_find */
	TimestampTz at;
	bool has_after;
	Datum after;
	int limit;
	const SegmentWatch *watch;
	Datum **links;
	int nlinks;
	Datum *contacts;
	int n;
} Evaluation;

/* The box has a level of settings of its own. */
static void
set_inside(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

static void
enter(const Evaluation *e)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	set_inside("timezone", e->segment->timezone);
	set_inside("lock_timeout", LOCK_PATIENCE);
	set_inside("jit", "off");
}

static SPIPlanPtr
prepare(const char *sql, int nargs, Oid *types, int options)
{
	SPIPlanPtr plan = SPI_prepare_cursor(sql, nargs, types, options);

	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql,
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	return plan;
}

static void
execute(SPIPlanPtr plan, Datum *values, const char *nulls)
{
	int code = SPI_execute_plan(plan, values, nulls, true, 0);

	if (code < 0)
		elog(ERROR, "could not evaluate a segment: %s",
			 SPI_result_code_string(code));
}

/* member and next_check are the columns from "column" on. */
static void
read_check(Check *check, uint64 row, int column)
{
	bool isnull;
	Datum value = pgj_row_nullable(row, column, &isnull);

	check->exists = true;
	check->member = !isnull && DatumGetBool(value);
	value = pgj_row_nullable(row, column + 1, &isnull);
	check->next = isnull ? 0 : DatumGetTimestampTz(value);
	check->has_next = !isnull && !TIMESTAMP_IS_NOEND(check->next);
	if (check->has_next && check->next <= check->at)
		ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("the next check is not later than the one at hand"));
}

static ErrorData *
run(Evaluation *e, BoxBody body)
{
	BoxLimit limit = { pgj_segment_timeout, "pg_journey.segment_timeout",
					   "predicate" };

	return pgj_box_run_within(e->site, PGJ_BOX_SEGMENT(e->segment->segment_id),
							  e->segment->revision, &limit, body, e);
}

/* ---- contacts at hand ------------------------------------------------- */

/*
 * A plan is made again after its 4th, 8th, 16th ... use: tables that were empty
 * when it was made may have grown without being analyzed.
 */
static SPIPlanPtr
check_plan(Segment *segment, const Params *params)
{
	Oid types[PGJ_MAX_PARAMS];
	uint32 uses = segment->uses++;
	SPIPlanPtr plan;

	if (segment->check != NULL && !(uses >= 4 && (uses & (uses - 1)) == 0))
		return segment->check;
	pgj_params_types(params, types);
	plan = prepare(
		psprintf(
			"SELECT f.n, f.member, f.next_check FROM journey_state.segment_%d_check($1, $2, $3) AS f",
			segment->segment_id),
		params->count, types, CURSOR_OPT_GENERIC_PLAN);
	if (segment->check != NULL)
		SPI_freeplan(segment->check);
	segment->check = plan;
	return plan;
}

static void
check_range(void *arg)
{
	Evaluation *e = arg;
	int n = e->hi - e->lo;
	Check *checks = e->checks + e->lo;
	Params params;
	Datum values[PGJ_MAX_PARAMS];
	char nulls[PGJ_MAX_PARAMS];
	Datum *contact;
	Datum *at;

	enter(e);
	contact = pgj_params_contacts(&params, e->site, n);
	at = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	for (int i = 0; i < n; i++)
	{
		contact[i] = checks[i].contact;
		at[i] = TimestampTzGetDatum(checks[i].at);
		checks[i].exists = checks[i].member = checks[i].has_next = false;
	}
	pgj_params_values(&params, values, nulls);
	execute(check_plan(e->segment, &params), values, nulls);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		int i = pgj_row_int4(row, 1, -1);

		if (i < 0 || i >= n)
			elog(ERROR, "contact %d is out of range", i);
		read_check(&checks[i], row, 2);
	}
	SPI_finish();
}

static CheckOutcome
fail(Evaluation *e, TimestampTz at, ErrorData *error)
{
	CheckOutcome outcome =
		is_lock_error(error) ? CHECK_PUT_OFF : CHECK_SUSPENDED;

	if (outcome == CHECK_SUSPENDED)
		pgj_segment_suspend(e->site, e->segment, at, pgj_error_text(error));
	FreeErrorData(error);
	return outcome;
}

static void
begin_portion(Portion *portion, int most)
{
	if (portion->rows > 0)
		return;
	portion->rows = portion->most = most;
}

/* So many took too long: begin anew with few. */
static void
shrink_portion(Portion *portion, int rows, int least)
{
	portion->most = Max(rows / 2, least);
	portion->rows = least;
}

/* So many went well. */
static void
grow_portion(Portion *portion, int rows)
{
	if (rows == portion->rows)
		portion->rows = Min(portion->rows * 2, portion->most);
}

CheckOutcome
pgj_segment_check(const Site *site, Segment *segment, Check *checks, int n)
{
	Evaluation e = { .site = site, .segment = segment, .checks = checks };
	int timeouts = 0;

	if (!lock_relations(site, segment))
		return CHECK_PUT_OFF;
	begin_portion(&segment->checked, pgj_batch_size);
	while (e.lo < n)
	{
		ErrorData *error;

		CHECK_FOR_INTERRUPTS();
		e.hi = e.lo + Min(n - e.lo, segment->checked.rows);
		error = run(&e, check_range);
		if (error == NULL)
		{
			grow_portion(&segment->checked, e.hi - e.lo);
			e.lo = e.hi;
			continue;
		}
		if (error->sqlerrcode != ERRCODE_QUERY_CANCELED ||
			e.hi - e.lo <= FEW_CONTACTS || ++timeouts > MAX_TIMEOUTS_OF_CHECK)
			return fail(&e, checks[e.lo].at, error);
		FreeErrorData(error);
		shrink_portion(&segment->checked, e.hi - e.lo, FEW_CONTACTS);
	}
	return CHECK_DONE;
}

/* ---- the contacts of the table ---------------------------------------- */

/*
 * Planned for the number of contacts that are asked for: sub-selects that are run
 * for a few thousand of a million must not be hashed.
 */
static SPIPlanPtr
scan_plan(const Site *site, Segment *segment)
{
	Oid types[3] = { TIMESTAMPTZOID, site->key_type, INT4OID };

	if (segment->scan == NULL)
		segment->scan = prepare(
			psprintf(
				"SELECT f.contact, f.member, f.next_check FROM journey_state.segment_%d_scan($1, $2, $3) AS f",
				segment->segment_id),
			3, types, CURSOR_OPT_CUSTOM_PLAN);
	return segment->scan;
}

static void
scan_range(void *arg)
{
	Evaluation *e = arg;
	Datum values[3] = { TimestampTzGetDatum(e->at), e->after,
						Int32GetDatum(e->limit) };
	MemoryContext old;

	enter(e);
	execute(scan_plan(e->site, e->segment), values,
			e->has_after ? "   " : " n ");
	old = MemoryContextSwitchTo(e->context);
	e->n = (int) SPI_processed;
	e->checks = palloc0_array(Check, e->n + 1);
	for (int i = 0; i < e->n; i++)
	{
		Check *check = &e->checks[i];

		check->at = e->at;
		check->contact = pgj_row_copy(e->context, i, 1);
		read_check(check, i, 2);
	}
	MemoryContextSwitchTo(old);
	SPI_finish();
}

CheckOutcome
pgj_segment_check_next(const Site *site, Segment *segment, TimestampTz at,
					   bool has_after, Datum after, Check **checks, int *n,
					   bool *all)
{
	Evaluation e = { .site = site,
					 .segment = segment,
					 .context = CurrentMemoryContext,
					 .at = at,
					 .has_after = has_after,
					 .after = after };
	ErrorData *error;

	if (!lock_relations(site, segment))
		return CHECK_PUT_OFF;
	begin_portion(&segment->scanned, SCAN_BATCHES * pgj_batch_size);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		e.limit = segment->scanned.rows;
		error = run(&e, scan_range);
		if (error == NULL)
			break;
		if (error->sqlerrcode != ERRCODE_QUERY_CANCELED ||
			e.limit <= FEW_SCANNED)
			return fail(&e, at, error);
		FreeErrorData(error);
		shrink_portion(&segment->scanned, e.limit, FEW_SCANNED);
	}
	grow_portion(&segment->scanned, e.n);
	*checks = e.checks;
	*n = e.n;
	*all = e.n < e.limit;
	return CHECK_DONE;
}

/* ---- where links lead ------------------------------------------------- */

static char *
find_statement(const SegmentWatch *watch)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT f.contact FROM %s(", watch->find);
	for (int k = 0; k < watch->nkeys; k++)
		appendStringInfo(&sql, "%s$%d", k > 0 ? ", " : "", k + 1);
	appendStringInfo(&sql,
					 ") AS f (contact) WHERE f.contact IS NOT NULL LIMIT %d",
					 MANY_FOUND + 1);
	return sql.data;
}

static void
find_contacts(void *arg)
{
	Evaluation *e = arg;
	Params params;
	Datum values[PGJ_MAX_PARAMS];
	char nulls[PGJ_MAX_PARAMS];
	Oid types[PGJ_MAX_PARAMS];
	int code;

	enter(e);
	pgj_params_init(&params, e->site, e->nlinks);
	for (int k = 0; k < e->watch->nkeys; k++)
		pgj_params_filled(&params, TEXTOID, e->links[k], NULL);
	pgj_params_types(&params, types);
	pgj_params_values(&params, values, nulls);
	code = SPI_execute_with_args(find_statement(e->watch), params.count, types,
								 values, nulls, true, 0);
	if (code < 0)
		elog(ERROR, "could not follow a link: %s",
			 SPI_result_code_string(code));
	e->n = (int) SPI_processed;
	e->contacts = MemoryContextAlloc(e->context, (e->n + 1) * sizeof(Datum));
	for (int i = 0; i < e->n; i++)
		e->contacts[i] = pgj_row_copy(e->context, i, 1);
	SPI_finish();
}

CheckOutcome
pgj_segment_find(const Site *site, Segment *segment, const SegmentWatch *watch,
				 Datum **links, int n, TimestampTz at, Datum **contacts,
				 int *ncontacts, bool *too_many)
{
	Evaluation e = { .site = site,
					 .segment = segment,
					 .context = CurrentMemoryContext,
					 .watch = watch,
					 .links = links,
					 .nlinks = n };
	ErrorData *error;

	*contacts = NULL;
	*ncontacts = 0;
	*too_many = false;
	if (!lock_relations(site, segment))
		return CHECK_PUT_OFF;
	error = run(&e, find_contacts);
	if (error != NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
	{
		/* a scan takes as long as it takes */
		FreeErrorData(error);
		*too_many = true;
		return CHECK_DONE;
	}
	if (error != NULL)
		return fail(&e, at, error);
	*too_many = e.n > MANY_FOUND;
	*contacts = e.contacts;
	*ncontacts = e.n;
	return CHECK_DONE;
}
