/*-------------------------------------------------------------------------
 *
 * address_rule.h
 *	  E-mail addresses that are nobody's, by patterns; internal to the gate.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_ADDRESS_RULE_H
#define PGJ_ADDRESS_RULE_H

#include "contact/site.h"

typedef struct AddressRule
{
	char *local_part;
	char *domain;
	char *kind;
} AddressRule;

typedef struct AddressRules
{
	int n;
	AddressRule *rule; /* by local part and domain */
} AddressRules;

extern const AddressRules *pgj_address_rules(const Site *site);

/* The rule for exactly this; of several the one that decides; or NULL. */
extern const AddressRule *pgj_address_rule_find(const AddressRules *rules,
												const char *local_part,
												const char *domain);

#endif /* PGJ_ADDRESS_RULE_H */
