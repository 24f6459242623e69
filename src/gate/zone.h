/*-------------------------------------------------------------------------
 *
 * zone.h
 *	  In which time zones a contact may be, and what a local time means there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_ZONE_H
#define PGJ_ZONE_H

#include "contact/site.h"
#include "datatype/timestamp.h"
#include "pgtime.h"
#include "utils/date.h"

typedef enum ZoneSource
{
	ZONE_OF_CONTACT,
	ZONE_OF_COUNTRY, /* or of its region */
	ZONE_OF_SHOP,
	ZONE_NONE /* nothing is set: UTC */
} ZoneSource;

/*
 * The zones in which a contact may be, at least one.  What is forbidden in one
 * of them is forbidden.  Where one clock is needed, the first one's counts.
 */
typedef struct Zones
{
	int n;
	pg_tz **zone;
	ZoneSource source;
	const char *ignored; /* the contact's own that is no zone; or NULL */
} Zones;

typedef enum ZonePeriod
{
	ZONE_DAY,
	ZONE_WEEK, /* from Monday */
	ZONE_MONTH
} ZonePeriod;

/*
 * Whose zones are asked: the contact's own and its country, in the form that
 * pgj_country() gives; either may be NULL.
 */
typedef struct ZoneRequest
{
	const char *timezone;
	const char *country;
	const Zones *zones; /* out */
} ZoneRequest;

/* Find the zones of n requests, in one statement. */
extern void pgj_zones_find(const Site *site, ZoneRequest *requests, int n);

/*
 * The same for contacts whose rows have not been read: reads them, in the box.
 * Throws what pgj_rethrow_box_error throws.
 */
extern void pgj_zones_of_contacts(const Site *site, const Datum *contacts,
								  const Zones **zones, int n);

/* A zone by name, NULL if it is none: only Area/City and UTC are. */
extern pg_tz *pgj_zone(const char *name);

/*
 * A country as it is compared: upper case, trimmed; NULL if nothing remains.
 */
extern char *pgj_country(const char *country);

/*
 * Is this contact's country (NULL: unknown) one of those listed?  A listed
 * country includes its regions (US: US-FL, US-OK).  Possibly: a contact of
 * whom only the country is known may be in any of its regions, and one of whom
 * nothing is known anywhere.
 */
extern bool pgj_country_certainly(const char *country, int n, char **listed);
extern bool pgj_country_possibly(const char *country, int n, char **listed);

/* What the clock shows at an instant. */
extern Timestamp pgj_zone_local(pg_tz *zone, TimestampTz at);

/*
 * The instant of a local time: the first of two where the clock goes back, the
 * first instant after where it jumps over it.
 */
extern TimestampTz pgj_zone_instant(pg_tz *zone, Timestamp local);

/* The next instant after this at which the zone's offset may change. */
extern TimestampTz pgj_zone_next_change(pg_tz *zone, TimestampTz at);

/*
 * The calendar period an instant is in: start <= at < end.  With several zones
 * the earliest start and the latest end.
 */
extern void pgj_zone_period(const Zones *zones, TimestampTz at,
							ZonePeriod period, TimestampTz *start,
							TimestampTz *end);
extern void pgj_zone_period_in(pg_tz *zone, TimestampTz at, ZonePeriod period,
							   TimestampTz *start, TimestampTz *end);

/*
 * The first instant after this at which the clock of the first zone comes to a
 * time of day on one of some days (bit 0 is Monday; at least one).  A day that the
 * zone leaves out does not come.
 */
#define PGJ_ALL_DAYS 0x7f
extern TimestampTz pgj_zone_next(const Zones *zones, TimestampTz after,
								 TimeADT time, int days);

/* 0 for Monday, of a local time. */
extern int pgj_weekday(Timestamp local);

#endif /* PGJ_ZONE_H */
