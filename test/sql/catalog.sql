-- rules that every object of the extension keeps; what a query lists is an exception
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
RESET SESSION AUTHORIZATION;
CREATE TEMP VIEW member AS
	SELECT classid, objid FROM pg_depend
	WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
		AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_journey');
CREATE TEMP VIEW function AS
	SELECT p.* FROM pg_proc p WHERE p.pronamespace = 'journey'::regnamespace;
CREATE TEMP VIEW relation AS
	SELECT c.* FROM pg_class c WHERE c.relnamespace IN ('journey'::regnamespace, 'journey_state'::regnamespace);
SELECT count(*) > 20 AS functions FROM function;
SELECT count(*) > 60 AS relations FROM relation;

-- nothing for PUBLIC
SELECT oid::regprocedure AS "public may execute" FROM function
	WHERE proacl IS NULL OR EXISTS (SELECT FROM aclexplode(proacl) WHERE grantee = 0) ORDER BY 1;
SELECT oid::regclass AS "public may use" FROM relation WHERE EXISTS (SELECT FROM aclexplode(relacl) WHERE grantee = 0) ORDER BY 1;
SELECT oid::regnamespace AS "public may use" FROM pg_namespace
	WHERE nspname LIKE 'journey%' AND EXISTS (SELECT FROM aclexplode(nspacl) WHERE grantee = 0);

-- no way up, no way to be led astray; create_journey() takes names of a script by its author's path, in the box
SELECT oid::regprocedure AS "security definer" FROM function WHERE prosecdef ORDER BY 1;
SELECT oid::regprocedure AS "leakproof" FROM function WHERE proleakproof ORDER BY 1;
SELECT oid::regprocedure AS "search_path not pinned" FROM function
	WHERE NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(proconfig, '{}')) ORDER BY 1;
-- an aggregate cannot be pinned
SELECT oid::regprocedure AS "not a plain function" FROM function WHERE prokind <> 'f' ORDER BY 1;

-- documented
SELECT oid::regprocedure AS "no comment" FROM function WHERE obj_description(oid, 'pg_proc') IS NULL ORDER BY 1;
SELECT oid::regclass AS "no comment" FROM relation
	WHERE relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition AND obj_description(oid, 'pg_class') IS NULL ORDER BY 1;

-- crash safe, and carried by pg_dump
SELECT oid::regclass AS "not permanent" FROM relation WHERE relpersistence <> 'p' ORDER BY 1;
SELECT c.oid::regclass AS "not in pg_dump" FROM member JOIN pg_class c ON classid = 'pg_class'::regclass AND c.oid = objid
	WHERE relkind IN ('r', 'p', 'S') AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_journey' AND c.oid = ANY (extconfig)) ORDER BY 1;
SELECT c::regclass AS "partly in pg_dump", w FROM pg_extension, unnest(extconfig, extcondition) AS u (c, w) WHERE extname = 'pg_journey' AND w <> '';
SELECT oid::regclass AS "sequence of an id that is not a member" FROM relation
	WHERE relkind = 'S' AND relnamespace = 'journey'::regnamespace AND oid NOT IN (SELECT objid FROM member) ORDER BY 1;
SELECT conname AS "in the way of pg_restore -j" FROM pg_constraint WHERE contype = 'f' AND conrelid IN (SELECT objid FROM member WHERE classid = 'pg_class'::regclass);

-- the state belongs to the journey owner, and is no member
SELECT c.oid::regclass AS "wrong owner" FROM relation c WHERE relnamespace = 'journey_state'::regnamespace AND relowner <> 'shop'::regrole ORDER BY 1;
SELECT c.oid::regclass AS "state is member" FROM relation c JOIN member ON objid = c.oid AND classid = 'pg_class'::regclass WHERE relnamespace = 'journey_state'::regnamespace ORDER BY 1;

-- every state table is keyed by the contact, or has none; a mark may be about many
SELECT c.oid::regclass AS "contact not in the key" FROM relation c
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'contact' AND NOT a.attisdropped
	WHERE relnamespace = 'journey_state'::regnamespace AND relkind IN ('r', 'p') AND c.relname NOT IN ('address_message', 'consent_request', 'mark', 'suppression')
		AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey::int2[])) ORDER BY 1;
