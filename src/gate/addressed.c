/*-------------------------------------------------------------------------
 *
 * addressed.c
 *	  Is there an address, is it one, and is it somebody's?
 *
 * journey.address_rule says which e-mail addresses are nobody's.  A rule is
 * found by equality: an address is looked up under its local part and "*", and
 * under its domain, every ending and every beginning of it at a dot, and "*".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/json.h"

#include "gate/check.h"
#include "outbox/address.h"
#include "plan.h"

typedef struct Candidate
{
	int check;
	char *local_part;
	char *domain;
} Candidate;

static void
check_form(Check *checks, int n)
{
	for (int i = 0; i < n; i++)
	{
		Check *check = &checks[i];

		if (!check->open)
			continue;
		if (check->address == NULL || check->address[0] == '\0')
			pgj_check_withhold(check, "no_address");
		else if (!(check->by_phone ? pgj_address_is_phone(check->address)
								   : pgj_address_is_email(check->address)))
			pgj_check_withhold(check, "bad_address");
	}
}

static List *
add_candidates(List *candidates, int check, char *local_part, char *domain)
{
	char *locals[2] = { local_part, "*" };

	for (int i = 0; i < lengthof(locals); i++)
	{
		Candidate *candidate = palloc_object(Candidate);

		candidate->check = check;
		candidate->local_part = locals[i];
		candidate->domain = domain;
		candidates = lappend(candidates, candidate);
	}
	return candidates;
}

static List *
candidates_of(List *candidates, int i, const char *address)
{
	char *lower = str_tolower(address, strlen(address), DEFAULT_COLLATION_OID);
	char *at = strrchr(lower, '@');
	char *domain = at + 1;

	*at = '\0';
	candidates = add_candidates(candidates, i, lower, domain);
	candidates = add_candidates(candidates, i, lower, "*");
	for (const char *dot = strchr(domain, '.'); dot != NULL;
		 dot = strchr(dot + 1, '.'))
	{
		candidates = add_candidates(candidates, i, lower, psprintf("*%s", dot));
		candidates =
			add_candidates(candidates, i, lower,
						   psprintf("%.*s.*", (int) (dot - domain), domain));
	}
	return candidates;
}

/* The rule that decides comes first: an exception, then fake, then role. */
static void
apply_rule(Check *check, uint64 row)
{
	MemoryContext context = CurrentMemoryContext;
	char *kind = pgj_row_text(context, row, 2);
	StringInfo out = pgj_check_evidence(check, "address_rule");

	appendStringInfo(out, "{\"kind\": \"%s\", \"local_part\": ", kind);
	escape_json(out, pgj_row_text(context, row, 3));
	appendStringInfoString(out, ", \"domain\": ");
	escape_json(out, pgj_row_text(context, row, 4));
	appendStringInfoChar(out, '}');
	if (strcmp(kind, "fake") == 0 ||
		(strcmp(kind, "role") == 0 &&
		 strcmp(check->request->class, "promotional") == 0))
		pgj_check_withhold(check, "bad_address");
}

static void
check_rules(const Site *site, Check *checks, int n)
{
	static KeptPlan plan = {
		.sql =
			"SELECT DISTINCT ON (r.n) r.n, a.kind, a.local_part, a.domain "
			"FROM unnest($1, $2, $3) AS r (n, local_part, domain) "
			"JOIN journey.address_rule AS a ON a.local_part OPERATOR(pg_catalog.=) r.local_part AND a.domain OPERATOR(pg_catalog.=) r.domain "
			"ORDER BY r.n, a.kind, a.local_part, a.domain"
	};
	List *candidates = NIL;
	Params params;
	Datum *number, *local_part, *domain;
	ListCell *cell;
	uint64 nrows;

	for (int i = 0; i < n; i++)
		if (checks[i].open && !checks[i].by_phone)
			candidates = candidates_of(candidates, i, checks[i].address);
	if (candidates == NIL)
		return;

	SPI_connect();
	pgj_params_init(&params, site, list_length(candidates));
	number = pgj_params_column(&params, INT4OID, NULL);
	local_part = pgj_params_column(&params, TEXTOID, NULL);
	domain = pgj_params_column(&params, TEXTOID, NULL);
	foreach (cell, candidates)
	{
		const Candidate *candidate = lfirst(cell);
		int k = foreach_current_index(cell);

		number[k] = Int32GetDatum(candidate->check);
		local_part[k] = CStringGetTextDatum(candidate->local_part);
		domain[k] = CStringGetTextDatum(candidate->domain);
	}
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
		apply_rule(&checks[pgj_row_int4(row, 1, 0)], row);
	SPI_finish();
}

void
pgj_address_check(const Site *site, GateStage stage, Check *checks, int n)
{
	check_form(checks, n);
	check_rules(site, checks, n);
}
