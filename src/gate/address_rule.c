/*-------------------------------------------------------------------------
 *
 * address_rule.c
 *	  journey.address_rule, as the gate reads it.
 *
 * Every decision looks a handful of patterns up, so the rules are kept, sorted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gate/address_rule.h"
#include "kept.h"

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

static void *
read_rules(const Site *site)
{
	static KeptPlan plan = {
		.sql =
			"SELECT a.local_part, a.domain, a.kind FROM journey.address_rule AS a"
	};
	MemoryContext context = CurrentMemoryContext;
	AddressRules *rules = palloc_object(AddressRules);

	rules->n = (int) pgj_kept_select(&plan, site);
	rules->rule =
		MemoryContextAllocHuge(context, sizeof(AddressRule) * (rules->n + 1));
	for (int row = 0; row < rules->n; row++)
	{
		rules->rule[row].local_part = pgj_row_text(context, row, 1);
		rules->rule[row].domain = pgj_row_text(context, row, 2);
		rules->rule[row].kind = pgj_row_text(context, row, 3);
	}
	qsort(rules->rule, rules->n, sizeof(AddressRule), compare_rules);
	return rules;
}

const AddressRules *
pgj_address_rules(const Site *site)
{
	static Kept kept = { .name = "address rules",
						 .tables = { "address_rule" },
						 .read = read_rules };

	return pgj_kept(&kept, site);
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
