-- Consent out of tables: counted by outcome, never against a withdrawal.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
\set VERBOSITY terse
\pset format unaligned
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');

-- what is known before
SELECT journey.set_consent(2, 'email', 'promotions', true, 'form', '2026-01-01');
SELECT journey.set_consent(3, 'email', 'promotions', true, 'form', '2026-01-20');
SELECT journey.set_consent(4, 'email', 'promotions', false, 'link', '2026-01-20');
SELECT journey.set_consent(5, 'email', 'promotions', false, 'link', '2026-01-10');
SELECT journey.set_consent(6, 'email', 'promotions', false, 'link', '2026-01-05');
SELECT journey.set_consent(7, 'email', '*', false, 'link', '2026-01-20');
SELECT journey.set_consent(8, 'email', '*', false, 'link', '2026-01-05');

CREATE TABLE shop.list (customer bigint, since timestamptz, wording text, address inet, kind text);
INSERT INTO shop.list VALUES
	(1, '2026-01-10', 'v1', '192.0.2.1', 'new'),
	(2, '2026-01-10', 'v1', '192.0.2.2', 'newer than a grant'),
	(3, '2026-01-10', 'v1', NULL, 'older than a grant'),
	(4, '2026-01-10', 'v1', NULL, 'older than a withdrawal'),
	(5, '2026-01-10', 'v1', NULL, 'as old as a withdrawal'),
	(6, '2026-01-10', 'v1', NULL, 'newer than a withdrawal'),
	(7, '2026-01-10', 'v1', NULL, 'older than a withdrawal of all'),
	(8, '2026-01-10', 'v1', NULL, 'newer than a withdrawal of all'),
	(9, '2026-01-08', 'v1', NULL, 'twice'),
	(9, '2026-01-09', 'v2', NULL, 'twice, the newer one'),
	(10, NULL, 'v1', NULL, 'no time'),
	(NULL, '2026-01-10', 'v1', NULL, 'nobody'),
	(11, 'infinity', 'v1', NULL, 'never'),
	(12, '2026-03-01', 'v1', NULL, 'not yet');
SELECT * FROM journey.import_consent('shop.list', 'customer', 'email', 'promotions', 'since', 'newsletter of 2025', 'wording', 'address', imported_at => '2026-02-01');
SELECT contact, channel, topic, granted, source, at FROM journey_state.consent ORDER BY contact, topic;
SELECT contact, granted, at, proof, ip, set_by FROM journey_state.consent_log WHERE source = 'newsletter of 2025' ORDER BY contact, at;
-- the gate's answer
SELECT i AS contact, p.allowed FROM generate_series(1, 12) i, journey.preferences(i) p WHERE p.topic = 'promotions';
-- each log row has its own number, and the state points at its own
SELECT count(*), count(DISTINCT consent_id) FROM journey_state.consent_log;
SELECT count(*) FROM journey_state.consent k LEFT JOIN journey_state.consent_log g USING (contact, consent_id, channel, topic, granted, at, source) WHERE g.contact IS NULL;

-- once more: nothing new, nothing recorded twice
SELECT count(*) AS before FROM journey_state.consent_log \gset
SELECT * FROM journey.import_consent('shop.list', 'customer', 'email', 'promotions', 'since', 'newsletter of 2025', 'wording', 'address', imported_at => '2026-02-01');
SELECT count(*) - :before AS recorded FROM journey_state.consent_log;

-- a list of who left, and of who came back; withdrawals end the grants before them
CREATE TABLE shop.moves (customer text, at timestamptz, yes boolean);
INSERT INTO shop.moves VALUES ('1', '2026-01-15', false), ('1', '2026-01-12', true),
	('2', '2026-01-15', true), ('2', '2026-01-14', false),
	('3', '2026-01-15', false),
	('9', '2026-01-15', true), ('9', '2026-01-15', false),
	('13', '2026-01-15', NULL), ('14', '2026-01-15', false);
SELECT * FROM journey.import_consent('shop.moves', 'customer', 'email', 'promotions', 'at', 'crm', granted => 'yes', imported_at => '2026-02-01');
SELECT contact, granted, at FROM journey_state.consent WHERE contact IN (1, 2, 3, 9, 13, 14) ORDER BY contact;
-- a grant dated in the future is ended by a withdrawal out of a list, too
SELECT journey.set_consent(15, 'email', 'promotions', true, 'odd clock', '2999-01-01');
DELETE FROM shop.moves;
INSERT INTO shop.moves VALUES ('15', '2026-01-15', false);
SELECT * FROM journey.import_consent('shop.moves', 'customer', 'email', 'promotions', 'at', 'crm', granted => 'yes', imported_at => '2026-02-01') WHERE entries > 0;
SELECT granted, at FROM journey_state.consent WHERE contact = 15;

-- more rows than a batch, contacts across its end, against plain SQL
CREATE TABLE shop.many AS
	SELECT 100 + (i * 7919 % 4001) AS customer, timestamptz '2025-01-01' + (i * 104729 % 10007) * interval '10 minutes' AS at, i * 31 % 5 > 1 AS yes
	FROM generate_series(1::bigint, 23000) i;
SELECT journey.set_consent(c::bigint, 'email', 'education', c % 2 = 0, 'form', timestamptz '2025-02-20' + (c % 50) * interval '10 minutes') FROM generate_series(100, 4000, 13) c \g /dev/null
-- the newest word, and at one time a withdrawal
CREATE TABLE shop.expected AS
	SELECT DISTINCT ON (contact) contact, granted, at
	FROM (SELECT contact, granted, at FROM journey_state.consent WHERE topic = 'education' UNION ALL SELECT customer, yes, m.at FROM shop.many m) AS x (contact, granted, at)
	ORDER BY contact, at DESC, granted;
SELECT count(*), count(*) FILTER (WHERE granted) AS granted FROM shop.expected;
SELECT sum(entries) AS entries, sum(entries) FILTER (WHERE outcome IN ('invalid', 'known')) AS odd FROM journey.import_consent('shop.many', 'customer', 'email', 'education', 'at', 'crm', granted => 'yes');
SELECT count(*) FROM (SELECT contact, granted, at FROM journey_state.consent WHERE topic = 'education' EXCEPT SELECT contact, granted, at FROM shop.expected) x;
SELECT count(*) FROM (SELECT contact, granted, at FROM shop.expected EXCEPT SELECT contact, granted, at FROM journey_state.consent WHERE topic = 'education') x;
SELECT outcome, entries FROM journey.import_consent('shop.many', 'customer', 'email', 'education', 'at', 'crm', granted => 'yes') WHERE entries > 0;

-- the caller's rights, not the owner's; views; columns of other types
CREATE VIEW shop.old AS SELECT 16 AS customer, timestamptz '2026-01-01' AS at, '203.0.113.5'::text AS ip, 'not an address'::text AS wrong, 3.5 AS number, date '2026-01-01' AS day;
SELECT entries FROM journey.import_consent('shop.old', 'customer', 'email', 'promotions', 'at', 'old', ip => 'ip') WHERE outcome = 'granted';
SELECT ip FROM journey_state.consent_log WHERE contact = 16;
SELECT journey.import_consent('shop.old', 'customer', 'email', 'promotions', 'at', 'other', ip => 'wrong');
SELECT journey.import_consent('shop.old', 'number', 'email', 'promotions', 'at', 'other');
SELECT journey.import_consent('shop.old', 'customer', 'email', 'promotions', 'day', 'other');
SELECT journey.import_consent('shop.old', 'customer', 'email', 'promotions', 'at', 'other', granted => 'number');
SELECT journey.import_consent('shop.old', 'nothing', 'email', 'promotions', 'at', 'other');
SELECT journey.import_consent('shop.old', 'ctid', 'email', 'promotions', 'at', 'other');
SELECT journey.import_consent('shop.old', 'customer', 'pigeon', 'promotions', 'at', 'other');
SELECT journey.import_consent('shop.old', 'customer', 'email', 'promtions', 'at', 'other');
SELECT journey.import_consent('shop.old', 'customer', 'email', 'promotions', 'at', NULL);
SELECT journey.import_consent('shop.nothing', 'customer', 'email', 'promotions', 'at', 'other');
SELECT journey.import_consent(0, 'customer', 'email', 'promotions', 'at', 'other');
INSERT INTO shop.moves VALUES ('sixteen', '2026-01-15', true);
SELECT journey.import_consent('shop.moves', 'customer', 'email', 'promotions', 'at', 'crm');
CREATE TABLE shop."Odd ""list" ("Key; --" bigint, "at" timestamptz);
INSERT INTO shop."Odd ""list" VALUES (17, '2026-01-01');
SELECT entries FROM journey.import_consent('shop."Odd ""list"', 'Key; --', 'email', 'promotions', 'at', 'odd') WHERE outcome = 'granted';
RESET SESSION AUTHORIZATION;
SELECT journey.import_consent('shop.old', 'customer', 'email', 'promotions', 'at', 'other');
CREATE ROLE regress_clerk;
GRANT USAGE ON SCHEMA journey, shop TO regress_clerk;
GRANT EXECUTE ON FUNCTION journey.import_consent TO regress_clerk;
SET SESSION AUTHORIZATION regress_clerk;
SELECT journey.import_consent('shop.list', 'customer', 'email', 'promotions', 'since', 'theft');
SELECT journey.import_consent('journey_state.event', 'contact', 'email', 'promotions', 'at', 'theft');
CREATE TEMP TABLE mine (customer bigint, at timestamptz);
INSERT INTO mine VALUES (18, '2026-01-01');
SELECT entries FROM journey.import_consent('mine', 'customer', 'email', 'promotions', 'at', 'shop floor') WHERE outcome = 'granted';
SELECT count(*) FROM journey_state.consent;
SET SESSION AUTHORIZATION shop;
SELECT contact, source, set_by FROM journey_state.consent_log WHERE contact = 18;
SELECT law, violations, example FROM journey.check() WHERE violations > 0;
RESET SESSION AUTHORIZATION;
DROP OWNED BY regress_clerk;
DROP ROLE regress_clerk;
