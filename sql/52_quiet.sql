/*
 * quiet: time zones of countries and quiet hours.
 */

CREATE TABLE journey.timezone
(
	country				text		PRIMARY KEY,
	zones				text[]		NOT NULL CHECK (cardinality(zones) > 0),
	set_at				timestamptz	NOT NULL
);
COMMENT ON TABLE journey.timezone IS 'In which time zones contacts without one of their own may be, by country (US), region (US-FL) or for all others (*)';
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.timezone
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();

CREATE TABLE journey.quiet_hours
(
	name				text		PRIMARY KEY,
	starts				time		NOT NULL,
	ends				time		NOT NULL,
	days				text[]		NOT NULL,
	channels			text[],
	topics				text[],
	countries			text[],
	action				text		NOT NULL CHECK (action IN ('defer', 'skip', 'send')),
	jitter				interval	NOT NULL,
	created_at			timestamptz	NOT NULL
);
COMMENT ON TABLE journey.quiet_hours IS 'Times of the contact''s day at which nothing is sent, or, with action send, at which others do not hold';
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.quiet_hours
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();
