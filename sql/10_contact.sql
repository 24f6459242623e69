/*
 * contact: the shop's own table of contacts, and the fence around this site.
 */

CREATE TABLE journey.site
(
	one					boolean		PRIMARY KEY DEFAULT true CHECK (one),
	site_id				uuid		NOT NULL DEFAULT gen_random_uuid(),
	contact_table		regclass	NOT NULL,
	key_column			name		NOT NULL,
	key_type			regtype		NOT NULL,
	email_column		name,
	phone_column		name,
	timezone_column		name,
	slices				integer		NOT NULL CHECK (slices BETWEEN 1 AND 1024),
	system_identifier	bigint		NOT NULL,
	database_oid		oid			NOT NULL,
	attached_at			timestamptz	NOT NULL
);
COMMENT ON TABLE journey.site IS 'The attached contact table; one row. The fingerprint (system_identifier, database_oid) tells a restored or cloned database from the one that was attached.';

CREATE FUNCTION journey._site_changed()
RETURNS trigger
LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_site_changed';
REVOKE ALL ON FUNCTION journey._site_changed() FROM PUBLIC;
COMMENT ON FUNCTION journey._site_changed() IS 'internal: sessions keep the site in a cache; this drops it';
CREATE TRIGGER site_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.site
	FOR EACH STATEMENT EXECUTE FUNCTION journey._site_changed();

-- Not marked for pg_dump: a restored database has no token and sends nothing.
CREATE TABLE journey.site_token
(
	one					boolean		PRIMARY KEY DEFAULT true CHECK (one),
	digest				bytea		NOT NULL,
	issued_at			timestamptz	NOT NULL
);
COMMENT ON TABLE journey.site_token IS 'SHA-256 of the token a relay must present; deliberately not in pg_dump';

CREATE TABLE journey.topic
(
	name				text		PRIMARY KEY,
	class				text		NOT NULL CHECK (class IN ('promotional', 'educational', 'transactional')),
	builtin				boolean		NOT NULL DEFAULT false
);
COMMENT ON TABLE journey.topic IS 'What a message is about. Class transactional needs no consent and skips caps.';
INSERT INTO journey.topic VALUES
	('promotions', 'promotional', true),
	('education', 'educational', true),
	('service', 'transactional', true);
