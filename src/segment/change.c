/*-------------------------------------------------------------------------
 *
 * change.c
 *	  Write who is in a segment: memberships, events, numbers.
 *
 * Only the holder of a contact's slice writes its memberships, so the rows that
 * were loaded are the rows that are there.
 *
 * A pending check is left alone as long as it is not too late: it may come early
 * and find nothing.  One that has come is always written anew, deleted with its
 * row, or cleared.  So no row whose time has come is met a second time, and a
 * pass needs to know only up to which time it has taken them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

#include "append.h"
#include "pg_journey.h"
#include "plan.h"
#include "segment/mark.h"
#include "segment/pass.h"

#define PUT_OFF_SECONDS 5

enum
{
	MEMBER_SEGMENT,
	MEMBER_CONTACT,
	MEMBER_SLICE,
	MEMBER_MEMBER,
	MEMBER_SINCE,
	MEMBER_CHECK,
	MEMBER_NCOLUMNS
};

static const char *const member_columns[MEMBER_NCOLUMNS] = {
	"segment_id", "contact", "slice", "member", "since", "check_at"
};

typedef enum Action
{
	NOTHING,
	INSERT_ROW,
	UPDATE_ROW,
	DELETE_ROW
} Action;

/* A contact's row as it is to be. */
typedef struct Wanted
{
	Action action;
	Member row;
} Wanted;

void
pgj_changes_init(Changes *changes, const Site *site, int slice)
{
	memset(changes, 0, sizeof(Changes));
	changes->site = site;
	changes->slice = slice;
	changes->first_armed = DT_NOEND;
}

/* Where the scans of segments that are being built have got. */
void
pgj_changes_load_positions(Changes *changes, const Segments *segments)
{
	static KeptPlan load = {
		.sql =
			"SELECT s.segment_id, s.upto FROM journey_state.segment_scan s"
			" WHERE s.started_at IS NOT NULL AND s.finished_at IS NULL AND s.segment_id = ANY ($1)"
	};
	MemoryContext context = CurrentMemoryContext;
	Params params;
	Datum *ids;
	int n = 0;

	for (int s = 0; s < segments->n; s++)
		n += segments->all[s].building;
	if (n == 0)
		return;
	pgj_params_init(&params, changes->site, n);
	ids = pgj_params_column(&params, INT4OID, NULL);
	for (int s = n = 0; s < segments->n; s++)
		if (segments->all[s].building)
			ids[n++] = Int32GetDatum(segments->all[s].segment_id);
	changes->positions = palloc0_array(ScanPosition, n);
	n = (int) pgj_plan_execute(&load, &params);
	for (int i = 0; i < n; i++)
	{
		ScanPosition *position = &changes->positions[changes->npositions++];

		position->segment_id = pgj_row_int4(i, 1, 0);
		position->has_upto = !pgj_row_null(i, 2);
		if (position->has_upto)
			position->upto = pgj_row_copy(context, i, 2);
	}
	SPI_freetuptable(SPI_tuptable);
}

const ScanPosition *
pgj_scan_position(const Changes *changes, const Segment *segment)
{
	for (int i = 0; i < changes->npositions; i++)
		if (changes->positions[i].segment_id == segment->segment_id)
			return &changes->positions[i];
	return NULL;
}

/* ---- the order of contacts -------------------------------------------- */

/* The collation of the contact table's key. */
Oid
pgj_key_collation(const Site *site)
{
	char *name = pstrdup(site->key_column);
	List *parts;
	Oid type;
	int32 typmod;
	Oid collation;

	if (!SplitIdentifierString(name, '.', &parts) || list_length(parts) != 1)
		elog(ERROR, "invalid column name %s", site->key_column);
	get_atttypetypmodcoll(site->contact_table,
						  get_attnum(site->contact_table, linitial(parts)),
						  &type, &typmod, &collation);
	return collation;
}

int
pgj_compare_keys(const Site *site, Oid collation, Datum a, Datum b)
{
	TypeCacheEntry *type =
		lookup_type_cache(site->key_type, TYPECACHE_CMP_PROC_FINFO);

	return DatumGetInt32(
		FunctionCall2Coll(&type->cmp_proc_finfo, collation, a, b));
}

bool
pgj_announces(const Changes *changes, const Segment *segment, Datum contact)
{
	const ScanPosition *position;

	if (!segment->building || segment->announce)
		return true;
	position = pgj_scan_position(changes, segment);
	return position != NULL && position->has_upto &&
		   pgj_compare_keys(changes->site, pgj_key_collation(changes->site),
							contact, position->upto) <= 0;
}

/* ---- reading ---------------------------------------------------------- */

Member *
pgj_members_load(const Site *site, int segment_id, const Check *checks, int n)
{
	static KeptPlan load = {
		.sql =
			"SELECT k.n, m.member, m.since, m.check_at FROM unnest($1, $2) AS k (n, contact)"
			" CROSS JOIN LATERAL (SELECT w.member, w.since, w.check_at FROM journey_state.membership w"
			"  WHERE w.segment_id = $3 AND w.contact = k.contact OFFSET 0) m"
	};
	Member *members = palloc0_array(Member, n + 1);
	Params params;
	Datum *contact = pgj_params_contacts(&params, site, n);
	uint64 rows;

	for (int i = 0; i < n; i++)
		contact[i] = checks[i].contact;
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(segment_id));
	rows = pgj_plan_execute(&load, &params);
	for (uint64 row = 0; row < rows; row++)
	{
		Member *member = &members[pgj_row_int4(row, 1, 0)];

		member->exists = true;
		member->member = DatumGetBool(pgj_row_value(row, 2));
		member->since = pgj_row_int8(row, 3, 0);
		member->has_check = !pgj_row_null(row, 4);
		member->check_at = pgj_row_int8(row, 4, 0);
	}
	SPI_freetuptable(SPI_tuptable);
	return members;
}

/* ---- deciding --------------------------------------------------------- */

static Wanted
decide(const Check *check, const Member *old, bool *flips)
{
	bool member = check->exists && check->member;
	bool fired = old->has_check && old->check_at <= check->at;
	bool stays = old->exists && check->exists;
	Wanted wanted = { NOTHING };

	*flips = (old->exists && old->member) != member;
	wanted.row.exists = check->exists && (member || check->has_next);
	wanted.row.member = member;
	wanted.row.since = *flips || !old->exists ? check->at : old->since;
	wanted.row.has_check = check->has_next;
	wanted.row.check_at = check->next;

	if (stays && !*flips && !fired &&
		!(check->has_next && (!old->has_check || check->next < old->check_at)))
		return wanted; /* what is pending is not too late */
	if (wanted.row.exists)
		wanted.action = old->exists ? UPDATE_ROW : INSERT_ROW;
	else if (old->exists)
		wanted.action = DELETE_ROW;
	return wanted;
}

/* ---- writing ---------------------------------------------------------- */

static int
count_actions(const Wanted *wanted, int n, Action action)
{
	int count = 0;

	for (int i = 0; i < n; i++)
		count += wanted[i].action == action;
	return count;
}

static void
insert_rows(Changes *changes, int segment_id, const Check *checks,
			const Wanted *wanted, int n)
{
	AppendRows rows;
	int count = count_actions(wanted, n, INSERT_ROW);
	int row = 0;

	if (count == 0)
		return;
	pgj_append_init(&rows, "membership", member_columns, MEMBER_NCOLUMNS,
					count);
	for (int i = 0; i < n; i++)
	{
		const Member *member = &wanted[i].row;
		int slice = changes->slice;

		if (wanted[i].action != INSERT_ROW)
			continue;
		if (slice == MARK_ALL_SLICES)
			slice = pgj_slice_of(changes->site, checks[i].contact);
		rows.values[MEMBER_SEGMENT][row] = Int32GetDatum(segment_id);
		rows.values[MEMBER_CONTACT][row] = checks[i].contact;
		rows.values[MEMBER_SLICE][row] = Int16GetDatum(slice);
		rows.values[MEMBER_MEMBER][row] = BoolGetDatum(member->member);
		rows.values[MEMBER_SINCE][row] = TimestampTzGetDatum(member->since);
		rows.values[MEMBER_CHECK][row] = TimestampTzGetDatum(member->check_at);
		rows.nulls[MEMBER_CHECK][row] = !member->has_check;
		row++;
	}
	pgj_append(changes->site, &rows);
}

static void
update_rows(Changes *changes, int segment_id, const Check *checks,
			const Wanted *wanted, int n)
{
	static KeptPlan update = {
		.sql =
			"UPDATE journey_state.membership m SET member = k.member, since = k.since, check_at = k.check_at"
			" FROM unnest($1, $2, $3, $4) AS k (contact, member, since, check_at)"
			" WHERE m.segment_id = $5 AND m.contact = k.contact"
	};
	int count = count_actions(wanted, n, UPDATE_ROW);
	int row = 0;
	Params params;
	Datum *contact;
	Datum *member;
	Datum *since;
	Datum *check_at;
	bool *no_check;

	if (count == 0)
		return;
	pgj_params_init(&params, changes->site, count);
	contact = pgj_params_column(&params, changes->site->key_type, NULL);
	member = pgj_params_column(&params, BOOLOID, NULL);
	since = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	check_at = pgj_params_column(&params, TIMESTAMPTZOID, &no_check);
	for (int i = 0; i < n; i++)
	{
		if (wanted[i].action != UPDATE_ROW)
			continue;
		contact[row] = checks[i].contact;
		member[row] = BoolGetDatum(wanted[i].row.member);
		since[row] = TimestampTzGetDatum(wanted[i].row.since);
		check_at[row] = TimestampTzGetDatum(wanted[i].row.check_at);
		no_check[row++] = !wanted[i].row.has_check;
	}
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(segment_id));
	(void) pgj_plan_execute(&update, &params);
}

static void
delete_rows(Changes *changes, int segment_id, const Check *checks,
			const Wanted *wanted, int n)
{
	static KeptPlan delete = {
		.sql =
			"DELETE FROM journey_state.membership m USING unnest($1) AS k (contact)"
			" WHERE m.segment_id = $2 AND m.contact = k.contact"
	};
	int count = count_actions(wanted, n, DELETE_ROW);
	int row = 0;
	Params params;
	Datum *contact;

	if (count == 0)
		return;
	pgj_params_init(&params, changes->site, count);
	contact = pgj_params_column(&params, changes->site->key_type, NULL);
	for (int i = 0; i < n; i++)
		if (wanted[i].action == DELETE_ROW)
			contact[row++] = checks[i].contact;
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(segment_id));
	(void) pgj_plan_execute(&delete, &params);
}

static void
write_rows(Changes *changes, int segment_id, const Check *checks,
		   const Wanted *wanted, int n)
{
	insert_rows(changes, segment_id, checks, wanted, n);
	update_rows(changes, segment_id, checks, wanted, n);
	delete_rows(changes, segment_id, checks, wanted, n);
	for (int i = 0; i < n; i++)
		if ((wanted[i].action == INSERT_ROW ||
			 wanted[i].action == UPDATE_ROW) &&
			wanted[i].row.has_check)
			changes->first_armed =
				Min(changes->first_armed, wanted[i].row.check_at);
}

/* How many entered and left, by time and cause. */
static void
count_flips(Changes *changes, int segment_id, const Check *checks,
			const Wanted *wanted, const bool *flipped, int n, int nflips)
{
	static KeptPlan record = {
		.sql =
			"INSERT INTO journey_state.segment_change (segment_id, at, change_id, cause, entered, left_it)"
			" SELECT $4, f.at, pg_catalog.nextval('journey_state.row_id_seq'),"
			" CASE WHEN $5 THEN 'scan' WHEN f.clock THEN 'clock' ELSE 'change' END, f.entered, f.left_it"
			" FROM (SELECT k.at, k.clock, count(*) FILTER (WHERE k.entered) AS entered,"
			"  count(*) FILTER (WHERE NOT k.entered) AS left_it"
			"  FROM unnest($1, $2, $3) AS k (at, clock, entered) GROUP BY k.at, k.clock ORDER BY k.at, k.clock) f"
	};
	Params params;
	Datum *at;
	Datum *clock;
	Datum *entered;
	int row = 0;

	if (nflips == 0)
		return;
	pgj_params_init(&params, changes->site, nflips);
	at = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	clock = pgj_params_column(&params, BOOLOID, NULL);
	entered = pgj_params_column(&params, BOOLOID, NULL);
	for (int i = 0; i < n; i++)
	{
		if (!flipped[i])
			continue;
		at[row] = TimestampTzGetDatum(checks[i].at);
		clock[row] = BoolGetDatum(checks[i].clock);
		entered[row++] = BoolGetDatum(wanted[i].row.member);
	}
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(segment_id));
	pgj_params_scalar(&params, BOOLOID,
					  BoolGetDatum(changes->slice == MARK_ALL_SLICES));
	(void) pgj_plan_execute(&record, &params);
}

/* {"segment": name} */
static Datum
event_properties(const Segment *segment)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"segment\": ");
	escape_json(&json, segment->name);
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

static EventRow *
next_event(Changes *changes)
{
	if (changes->events == NULL)
	{
		changes->events_capacity = 64;
		changes->events = palloc_array(EventRow, changes->events_capacity);
	}
	else if (changes->nevents == changes->events_capacity)
	{
		changes->events_capacity *= 2;
		changes->events = repalloc_huge(
			changes->events, changes->events_capacity * sizeof(EventRow));
	}
	return &changes->events[changes->nevents++];
}

static void
announce_flips(Changes *changes, const Segment *segment, const Check *checks,
			   const Wanted *wanted, const bool *flipped, int n)
{
	const char *enter = psprintf(PGJ_EVENT_ENTER "%s", segment->name);
	const char *leave = psprintf(PGJ_EVENT_LEAVE "%s", segment->name);
	Datum properties = event_properties(segment);

	for (int i = 0; i < n; i++)
	{
		EventRow *event;

		if (!flipped[i] || !pgj_announces(changes, segment, checks[i].contact))
			continue;
		event = next_event(changes);
		event->contact = checks[i].contact;
		event->name = wanted[i].row.member ? enter : leave;
		event->at = checks[i].at;
		event->properties = properties;
	}
}

void
pgj_members_write(Changes *changes, Segment *segment, const Check *checks,
				  const Member *members, int n, bool *flipped)
{
	Wanted *wanted = palloc_array(Wanted, n + 1);
	int nflips = 0;

	for (int i = 0; i < n; i++)
	{
		Check check = checks[i];

		/* its row could not be indexed */
		if (pgj_key_too_long(changes->site, check.contact))
			check.exists = false;
		wanted[i] = decide(&check, &members[i], &flipped[i]);
		nflips += flipped[i];
	}
	write_rows(changes, segment->segment_id, checks, wanted, n);
	count_flips(changes, segment->segment_id, checks, wanted, flipped, n,
				nflips);
	if (nflips > 0)
		announce_flips(changes, segment, checks, wanted, flipped, n);
	pfree(wanted);
}

void
pgj_members_put_off(Changes *changes, Segment *segment, const Check *checks,
					const Member *members, int n)
{
	Wanted *wanted = palloc0_array(Wanted, n + 1);

	for (int i = 0; i < n; i++)
	{
		TimestampTz again =
			TimestampTzPlusMilliseconds(checks[i].at, PUT_OFF_SECONDS * 1000);
		const Member *old = &members[i];

		if (old->has_check && old->check_at > checks[i].at &&
			old->check_at <= again)
			continue;
		if (pgj_key_too_long(changes->site, checks[i].contact))
			continue;
		wanted[i].action = old->exists ? UPDATE_ROW : INSERT_ROW;
		wanted[i].row = *old;
		if (!old->exists)
			wanted[i].row.since = checks[i].at;
		wanted[i].row.has_check = true;
		wanted[i].row.check_at = again;
	}
	write_rows(changes, segment->segment_id, checks, wanted, n);
	pfree(wanted);
}
