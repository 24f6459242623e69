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
	country_column		name,
	slices				integer		NOT NULL CHECK (slices BETWEEN 1 AND 1024),
	system_identifier	bigint		NOT NULL,
	database_oid		oid			NOT NULL,
	attached_at			timestamptz	NOT NULL
);
COMMENT ON TABLE journey.site IS 'The attached contact table; one row. The fingerprint (system_identifier, database_oid) tells a restored or cloned database from the one that was attached.';

/*
 * Caches of definitions, in every backend, are dropped when a change of one of
 * these tables commits.  The tables of later parts hang themselves on below.
 */
CREATE FUNCTION journey._definitions_changed()
RETURNS trigger
LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_definitions_changed';
REVOKE ALL ON FUNCTION journey._definitions_changed() FROM PUBLIC;
COMMENT ON FUNCTION journey._definitions_changed() IS 'internal: tells all backends to drop what they cached of a definition table';

CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.site
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();

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
	obeys_caps			boolean		NOT NULL,
	counts_in_caps		boolean		NOT NULL,
	builtin				boolean		NOT NULL DEFAULT false
);
COMMENT ON TABLE journey.topic IS 'What a message is about. Class transactional needs no consent, skips quiet hours and, unless the topic says otherwise, caps.';
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.topic
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();
INSERT INTO journey.topic VALUES
	('promotions', 'promotional', true, true, true),
	('education', 'educational', true, true, true),
	('service', 'transactional', false, false, true);

CREATE FUNCTION journey.attach(contact_table regclass DEFAULT NULL, key name DEFAULT 'id', email name DEFAULT NULL, phone name DEFAULT NULL, timezone name DEFAULT NULL, owner name DEFAULT current_user, slices integer DEFAULT 16, country name DEFAULT NULL)
RETURNS void
LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_attach';
REVOKE ALL ON FUNCTION journey.attach(regclass, name, name, name, name, name, integer, name) FROM PUBLIC;
COMMENT ON FUNCTION journey.attach(regclass, name, name, name, name, name, integer, name) IS 'Attaches the shop''s table of contacts and makes schema journey_state, owned by owner, a LOGIN role that is no superuser; without a table it makes journey_state.contact';

CREATE FUNCTION journey.detach()
RETURNS void
LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_detach';
REVOKE ALL ON FUNCTION journey.detach() FROM PUBLIC;
COMMENT ON FUNCTION journey.detach() IS 'Drops the captures, their triggers and those of segments, and the site''s row; the state tables stay';

CREATE FUNCTION journey.adopt()
RETURNS void
LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_adopt';
REVOKE ALL ON FUNCTION journey.adopt() FROM PUBLIC;
COMMENT ON FUNCTION journey.adopt() IS 'Makes a restored or cloned database the one that runs journeys; events not processed yet are kept';

CREATE FUNCTION journey.issue_site_token()
RETURNS text
LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_issue_site_token';
REVOKE ALL ON FUNCTION journey.issue_site_token() FROM PUBLIC;
COMMENT ON FUNCTION journey.issue_site_token() IS 'A fresh token for the relay''s own configuration, shown once; only the SHA-256 digest of its text is kept';

CREATE FUNCTION journey.grant_role(kind text, role name)
RETURNS void
LANGUAGE c STRICT
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_grant_role';
REVOKE ALL ON FUNCTION journey.grant_role(text, name) FROM PUBLIC;
COMMENT ON FUNCTION journey.grant_role(text, name) IS 'Lets a role be an author (member of the journey owner), operator, analyst or relay';
