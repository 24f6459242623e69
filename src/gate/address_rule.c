/*-------------------------------------------------------------------------
 *
 * address_rule.c
 *	  journey.address_rule, as the gate reads it.
 *
 * Every decision looks a handful of patterns up, so the rules are kept, sorted,
 * until one of them changes (a statement trigger sends a relcache invalidation).
 * What pgj_address_rules() returns is good until it is called again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "executor/spi.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "gate/address_rule.h"
#include "pg_journey.h"
#include "plan.h"

static AddressRules *cached = NULL;
static bool valid = false;
static Oid watched = InvalidOid;

static void
forget(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == watched)
		valid = false;
}

static void
watch(void)
{
	static bool registered = false;

	watched =
		get_relname_relid("address_rule", get_namespace_oid(PGJ_SCHEMA, false));
	if (!registered)
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
	registered = true;
}

/* Of two for the same, the one that decides comes first. */
static int
compare_rules(const void *a, const void *b)
{
	const AddressRule *left = a;
	const AddressRule *right = b;
	int order = strcmp(left->local_part, right->local_part);

	if (order == 0)
		order = strcmp(left->domain, right->domain);
	return order != 0 ? order : strcmp(left->kind, right->kind);
}

static void
read_rules(const Site *site, AddressRules *rules, MemoryContext context)
{
	static KeptPlan plan = {
		.sql =
			"SELECT a.local_part, a.domain, a.kind FROM journey.address_rule AS a"
	};
	Params params;

	SPI_connect();
	pgj_params_init(&params, site, 0);
	rules->n = (int) pgj_plan_execute(&plan, &params);
	rules->rule =
		MemoryContextAllocHuge(context, sizeof(AddressRule) * (rules->n + 1));
	for (int row = 0; row < rules->n; row++)
	{
		rules->rule[row].local_part = pgj_row_text(context, row, 1);
		rules->rule[row].domain = pgj_row_text(context, row, 2);
		rules->rule[row].kind = pgj_row_text(context, row, 3);
	}
	SPI_finish();
	qsort(rules->rule, rules->n, sizeof(AddressRule), compare_rules);
}

const AddressRules *
pgj_address_rules(const Site *site)
{
	MemoryContext context;
	AddressRules *rules;

	/* take in invalidations of changes that have committed */
	AcceptInvalidationMessages();
	if (cached != NULL && valid)
		return cached;
	if (cached != NULL)
	{
		context = cached->context;
		cached = NULL;
		MemoryContextDelete(context);
	}
	watch();

	context = AllocSetContextCreate(
		CurrentMemoryContext, "pg_journey address rules", ALLOCSET_SMALL_SIZES);
	rules = MemoryContextAllocZero(context, sizeof(AddressRules));
	rules->context = context;
	/* an invalidation that arrives from here on makes the next call reload */
	valid = true;
	read_rules(site, rules, context);
	MemoryContextSetParent(context, CacheMemoryContext);
	cached = rules;
	return cached;
}

const AddressRule *
pgj_address_rule_find(const AddressRules *rules, const char *local_part,
					  const char *domain)
{
	int low = 0;
	int high = rules->n;

	/* the first that is not before the one looked for */
	while (low < high)
	{
		int middle = low + (high - low) / 2;
		const AddressRule *rule = &rules->rule[middle];
		int order = strcmp(rule->local_part, local_part);

		if (order == 0)
			order = strcmp(rule->domain, domain);
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == rules->n ||
		strcmp(rules->rule[low].local_part, local_part) != 0 ||
		strcmp(rules->rule[low].domain, domain) != 0)
		return NULL;
	return &rules->rule[low];
}
