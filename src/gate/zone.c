/*-------------------------------------------------------------------------
 *
 * zone.c
 *	  In which time zones a contact may be: its own, else those of its region,
 *	  of its country, of the shop, else UTC.
 *
 * A zone is Area/City or UTC, as the server's tz data know it.  An abbreviation
 * or an offset is none: it does not say when the clock changes.  A contact's
 * own zone that is none is passed over, and said so in the evidence.
 *
 * Contacts of one zone and country share one Zones.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/json.h"

#include "box.h"
#include "gate/check.h"
#include "gate/scope.h"
#include "gate/zone.h"
#include "kept.h"
#include "outbox/fold.h"

PG_FUNCTION_INFO_V1(pgj_sql_is_timezone);

/* Longer texts are no zone and no country; cut, they still are none. */
#define MAX_NAME 64

/* What asks for the same zones. */
typedef struct ZoneKey
{
	char timezone[MAX_NAME];
	char country[MAX_NAME]; /* normalised; empty: unknown */
	bool has_timezone;
} ZoneKey;

typedef struct ZoneEntry
{
	ZoneKey key;
	Zones *zones;
} ZoneEntry;

/* The zones set for a region, a country or '*'. */
typedef struct CountryEntry
{
	char country[MAX_NAME];
	Zones *zones; /* NULL: the tz data know none of them */
} CountryEntry;

static void
copy_name(char *to, const char *from)
{
	int length = pg_mbcliplen(from, strlen(from), MAX_NAME - 1);

	memcpy(to, from, length);
	to[length] = '\0';
}

/*
 * pg_tzset() also takes offsets in the manner of POSIX, whatever letters they
 * begin with.  Those it names in capitals, with the offset, while a city that has
 * a digit or a sign has small letters, too.
 */
pg_tz *
pgj_zone(const char *name)
{
	static const char lower[] = "abcdefghijklmnopqrstuvwxyz";
	static const char of_offset[] = "0123456789+-";
	pg_tz *zone;
	const char *canonical;
	const char *city;

	if (pg_strcasecmp(name, "UTC") == 0 || pg_strcasecmp(name, "Etc/UTC") == 0)
		return pg_tzset("UTC");
	if (strchr(name, '/') == NULL || strlen(name) >= MAX_NAME)
		return NULL;
	zone = pg_tzset(name);
	if (zone == NULL || !pg_tz_acceptable(zone))
		return NULL;
	canonical = pg_get_timezone_name(zone);
	if (strncmp(canonical, "Etc/", 4) == 0 ||
		strncmp(canonical, "posix/", 6) == 0 ||
		strncmp(canonical, "right/", 6) == 0)
		return NULL;
	city = strchr(canonical, '/');
	if (strpbrk(city, of_offset) != NULL && strpbrk(city, lower) == NULL)
		return NULL;
	return zone;
}

char *
pgj_country(const char *country)
{
	const char *end;

	if (country == NULL)
		return NULL;
	while (*country == ' ')
		country++;
	end = country + strlen(country);
	while (end > country && end[-1] == ' ')
		end--;
	if (end == country)
		return NULL;
	return pgj_fold_upper(pnstrdup(country, end - country));
}

/* Is a country written as US-FL?  Then its first two letters are the country. */
static bool
is_region(const char *country)
{
	return country[0] >= 'A' && country[0] <= 'Z' && country[1] >= 'A' &&
		   country[1] <= 'Z' && country[2] == '-';
}

static bool
is_within(const char *country, const char *listed)
{
	return strcmp(country, listed) == 0 ||
		   (is_region(country) && strlen(listed) == 2 &&
			strncmp(country, listed, 2) == 0);
}

bool
pgj_country_certainly(const char *country, int n, char **listed)
{
	for (int i = 0; country != NULL && i < n; i++)
		if (is_within(country, listed[i]))
			return true;
	return false;
}

bool
pgj_country_possibly(const char *country, int n, char **listed)
{
	if (country == NULL)
		return true;
	for (int i = 0; i < n; i++)
		if (is_within(country, listed[i]) || is_within(listed[i], country))
			return true;
	return false;
}

static Zones *
make_zones(int n, ZoneSource source)
{
	Zones *zones = palloc0_object(Zones);

	zones->zone = palloc_array(pg_tz *, n);
	zones->source = source;
	return zones;
}

static Zones *
read_zones(uint64 row, int column, ZoneSource source)
{
	Names names = pgj_names_read(row, column);
	Zones *zones = make_zones(names.n, source);

	for (int i = 0; i < names.n; i++)
	{
		pg_tz *zone = pgj_zone(names.name[i]);

		if (zone != NULL)
			zones->zone[zones->n++] = zone;
	}
	return zones->n > 0 ? zones : NULL;
}

static void *
read_countries(const Site *site)
{
	static KeptPlan plan = {
		.sql = "SELECT t.country, t.zones FROM journey.timezone AS t"
	};
	HASHCTL names = { .keysize = MAX_NAME,
					  .entrysize = sizeof(CountryEntry),
					  .hcxt = CurrentMemoryContext };
	HTAB *countries = hash_create("pg_journey countries", 64, &names,
								  HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	uint64 nrows = pgj_kept_select(&plan, site);

	for (uint64 row = 0; row < nrows; row++)
	{
		char *name = pgj_row_text(CurrentMemoryContext, row, 1);
		CountryEntry *entry;

		if (strlen(name) >= MAX_NAME)
			continue;
		entry = hash_search(countries, name, HASH_ENTER, NULL);
		entry->zones = read_zones(
			row, 2, strcmp(name, "*") == 0 ? ZONE_OF_SHOP : ZONE_OF_COUNTRY);
	}
	return countries;
}

static HTAB *
countries_of(const Site *site)
{
	static Kept kept = { .name = "time zones",
						 .tables = { "timezone" },
						 .read = read_countries };

	return pgj_kept(&kept, site);
}

static const Zones *
zones_of_country(HTAB *countries, const char *country)
{
	CountryEntry *entry = hash_search(countries, country, HASH_FIND, NULL);

	if (entry == NULL || entry->zones == NULL)
		return NULL;
	return entry->zones;
}

static const Zones *
zones_by_chain(HTAB *countries, const char *country)
{
	const Zones *zones = NULL;
	Zones *utc;

	if (country[0] != '\0')
		zones = zones_of_country(countries, country);
	if (zones == NULL && is_region(country))
		zones = zones_of_country(countries, pnstrdup(country, 2));
	if (zones == NULL)
		zones = zones_of_country(countries, "*");
	if (zones != NULL)
		return zones;
	utc = make_zones(1, ZONE_NONE);
	utc->zone[utc->n++] = pgj_zone("UTC");
	return utc;
}

static Zones *
resolve(HTAB *countries, const ZoneKey *key)
{
	pg_tz *own = key->has_timezone ? pgj_zone(key->timezone) : NULL;
	Zones *zones;

	if (own != NULL)
	{
		zones = make_zones(1, ZONE_OF_CONTACT);
		zones->zone[zones->n++] = own;
		return zones;
	}
	zones = palloc_object(Zones);
	*zones = *zones_by_chain(countries, key->country);
	zones->ignored = key->has_timezone ? pstrdup(key->timezone) : NULL;
	return zones;
}

void
pgj_zones_find(const Site *site, ZoneRequest *requests, int n)
{
	HASHCTL keys = { .keysize = sizeof(ZoneKey),
					 .entrysize = sizeof(ZoneEntry),
					 .hcxt = CurrentMemoryContext };
	HTAB *entries, *countries;
	ZoneEntry **entry;

	if (n == 0)
		return;
	entry = palloc_array(ZoneEntry *, n);
	entries = hash_create("pg_journey zones", 64, &keys,
						  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	countries = countries_of(site);
	for (int i = 0; i < n; i++)
	{
		ZoneKey key;
		const char *country = requests[i].country;
		bool found;

		memset(&key, 0, sizeof(key));
		key.has_timezone = requests[i].timezone != NULL;
		if (key.has_timezone)
			copy_name(key.timezone, requests[i].timezone);
		if (country != NULL)
			copy_name(key.country, country);
		entry[i] = hash_search(entries, &key, HASH_ENTER, &found);
		if (!found)
			entry[i]->zones = resolve(countries, &key);
		requests[i].zones = entry[i]->zones;
	}
	hash_destroy(entries);
}

typedef struct ZoneRead
{
	const Site *site;
	const Datum *contacts;
	ZoneRequest *requests;
	int n;
	MemoryContext context;
} ZoneRead;

static void
read_zones_body(void *arg)
{
	static KeptPlan plan;
	ZoneRead *read = arg;
	const Site *site = read->site;
	Params params;
	Datum *contact;
	uint64 nrows;

	SPI_connect();
	contact = pgj_params_contacts(&params, site, read->n);
	for (int i = 0; i < read->n; i++)
		contact[i] = read->contacts[i];
	plan.sql = psprintf(
		"SELECT r.n, %s%s::pg_catalog.text, %s%s::pg_catalog.text "
		"FROM unnest($1, $2) AS r (n, contact) JOIN %s AS c ON c.%s = r.contact",
		site->timezone_column ? "c." : "",
		site->timezone_column ? site->timezone_column : "NULL",
		site->country_column ? "c." : "",
		site->country_column ? site->country_column : "NULL",
		site->contact_name, site->key_column);
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		ZoneRequest *request =
			&read->requests[DatumGetInt32(pgj_row_value(row, 1))];

		request->timezone = pgj_row_text(read->context, row, 2);
		request->country = pgj_row_text(read->context, row, 3);
	}
	SPI_finish();
}

void
pgj_zones_of_contacts(const Site *site, const Datum *contacts,
					  const Zones **zones, int n)
{
	ZoneRead read = { site, contacts, NULL, n, CurrentMemoryContext };

	if (n == 0)
		return;
	read.requests = palloc0_array(ZoneRequest, n);
	if (site->timezone_column != NULL || site->country_column != NULL)
	{
		ErrorData *error = pgj_box_run(site, 0, 0, read_zones_body, &read);

		if (error != NULL)
			pgj_rethrow_box_error(error, "contacts");
	}
	for (int i = 0; i < n; i++)
		read.requests[i].country = pgj_country(read.requests[i].country);
	pgj_zones_find(site, read.requests, n);
	for (int i = 0; i < n; i++)
		zones[i] = read.requests[i].zones;
}

void
pgj_check_zones(Check *check)
{
	static const char *const words[] = { "contact", "country", "shop",
										 "default" };
	const Zones *zones = check->zones;
	StringInfo out;

	if (check->zones_in_evidence)
		return;
	check->zones_in_evidence = true;
	out = pgj_check_evidence(check, "time_zone");
	appendStringInfo(out, "{\"from\": \"%s\", \"names\": [",
					 words[zones->source]);
	for (int i = 0; i < zones->n; i++)
	{
		appendStringInfoString(out, i == 0 ? "" : ", ");
		escape_json(out, pg_get_timezone_name(zones->zone[i]));
	}
	appendStringInfoChar(out, ']');
	if (check->country != NULL)
	{
		appendStringInfoString(out, ", \"country\": ");
		escape_json(out, check->country);
	}
	if (zones->ignored != NULL)
	{
		appendStringInfoString(out, ", \"ignored\": ");
		escape_json(out, zones->ignored);
	}
	appendStringInfoChar(out, '}');
}

/* journey._is_timezone(name text) returns boolean */
Datum
pgj_sql_is_timezone(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(pgj_zone(text_to_cstring(PG_GETARG_TEXT_PP(0))) != NULL);
}
