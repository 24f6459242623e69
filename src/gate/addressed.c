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

#include "utils/builtins.h"
#include "utils/json.h"

#include "gate/address_rule.h"
#include "gate/check.h"
#include "outbox/address.h"
#include "outbox/fold.h"

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

/* The rule that decides comes first: an exception, then fake, then role. */
static const AddressRule *
first_of(const AddressRule *a, const AddressRule *b)
{
	int order;

	if (a == NULL || b == NULL)
		return a == NULL ? b : a;
	order = strcmp(a->kind, b->kind);
	if (order == 0)
		order = strcmp(a->local_part, b->local_part);
	if (order == 0)
		order = strcmp(a->domain, b->domain);
	return order <= 0 ? a : b;
}

static const AddressRule *
rule_for_domain(const AddressRules *rules, const char *local_part,
				const char *domain)
{
	return first_of(pgj_address_rule_find(rules, local_part, domain),
					pgj_address_rule_find(rules, "*", domain));
}

static const AddressRule *
rule_for(const AddressRules *rules, const char *address)
{
	char *lower = pgj_fold_lower(address);
	char *at = strrchr(lower, '@');
	char *domain = at + 1;
	char *pattern = palloc(strlen(domain) + 3);
	const AddressRule *rule;

	*at = '\0';
	rule = first_of(rule_for_domain(rules, lower, domain),
					rule_for_domain(rules, lower, "*"));
	for (const char *dot = strchr(domain, '.'); dot != NULL;
		 dot = strchr(dot + 1, '.'))
	{
		sprintf(pattern, "*%s", dot);
		rule = first_of(rule, rule_for_domain(rules, lower, pattern));
		sprintf(pattern, "%.*s.*", (int) (dot - domain), domain);
		rule = first_of(rule, rule_for_domain(rules, lower, pattern));
	}
	pfree(pattern);
	pfree(lower);
	return rule;
}

static void
apply_rule(Check *check, const AddressRule *rule)
{
	StringInfo out = pgj_check_evidence(check, "address_rule");

	appendStringInfo(out, "{\"kind\": \"%s\", \"local_part\": ", rule->kind);
	escape_json(out, rule->local_part);
	appendStringInfoString(out, ", \"domain\": ");
	escape_json(out, rule->domain);
	appendStringInfoChar(out, '}');
	if (strcmp(rule->kind, "fake") == 0 ||
		(strcmp(rule->kind, "role") == 0 &&
		 strcmp(check->request->class, "promotional") == 0))
		pgj_check_withhold(check, "bad_address");
}

static void
check_rules(const Site *site, Check *checks, int n)
{
	const AddressRules *rules = NULL;

	for (int i = 0; i < n; i++)
	{
		const AddressRule *rule;

		if (!checks[i].open || checks[i].by_phone)
			continue;
		if (rules == NULL)
			rules = pgj_address_rules(site);
		rule = rule_for(rules, checks[i].address);
		if (rule != NULL)
			apply_rule(&checks[i], rule);
	}
}

void
pgj_address_check(const Site *site, GateStage stage, Check *checks, int n)
{
	check_form(checks, n);
	check_rules(site, checks, n);
}
