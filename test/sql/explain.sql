-- A contact's timeline in words
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET intervalstyle = 'postgres';
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
\set history :srcdir '/data/measure.sql'
\i :history
\pset format unaligned
\pset fieldsep ' | '
\pset tuples_only on

-- sent twice, opened once, bought twice in time and once too late
SELECT * FROM journey.explain(6);
-- capped by two named messages, one of them of another journey
SELECT * FROM journey.explain(7);
-- of one journey only
SELECT * FROM journey.explain(7, 'newsletter');
-- never consented
SELECT at, what, detail FROM journey.explain(9) WHERE what IN ('verdict', 'consent');
-- a ghost
SELECT * FROM journey.explain(12);
-- parked
SELECT * FROM journey.explain(3) WHERE what = 'parked';
-- let through, then expired when a relay asked
SELECT * FROM journey.explain(8) WHERE what = 'verdict';

-- every reason has its words
INSERT INTO journey_state.consent_log VALUES (4, 100, 'email', '*', false, 'link', '2026-01-06', 'shop');
INSERT INTO journey_state.verdict
	SELECT 4, n, '2026-01-08'::timestamptz + n * interval '1 minute', 1004, 1, 4, n, false, true, 'decide', CASE reason WHEN 'quiet_hours' THEN 'deferred' ELSE 'withheld' END, reason, CASE reason WHEN 'quiet_hours' THEN timestamptz '2026-01-09 08:00' END, NULL, evidence
	FROM unnest('{exited,no_consent,no_consent,suppressed,no_address,bad_address,contact_gone,expired,capped,capped,quiet_hours}'::text[],
		ARRAY['{}', '{"consent": {"topic": "*", "granted": false, "source": "link", "at": "2026-01-06T00:00:00+00:00"}}', '{"consent": null}',
			'{"address": "c4@shop.example", "suppression": {"reason": "bounced", "at": "2026-01-07T00:00:00+00:00"}}', '{"address": null}', '{"address": "c4@"}', '{}',
			'{"expires_at": "2026-01-07T00:00:00+00:00"}',
			'{"caps": [{"name": "gone", "limit": 1, "count": 1, "messages": [42]}, {"name": "weekly", "limit": 2, "count": 1, "messages": [42]}]}',
			'{"caps": [{"name": "weekly", "limit": 0, "count": 1, "messages": [82]}]}', '{}']::jsonb[]) WITH ORDINALITY AS r (reason, evidence, n);
SELECT detail FROM journey.explain(4) WHERE what = 'verdict' AND at > '2026-01-08';
SELECT s, journey.span_words(s::interval) FROM unnest('{2 days,1 day,47 hours,90 minutes,3 hours,119 seconds,5 minutes,59 seconds,0}'::text[]) AS s;

-- the time runs forward, and nobody unknown has a past
SELECT count(*) FROM (SELECT i, at, lag(at) OVER (PARTITION BY i ORDER BY n) AS before FROM generate_series(1, 12) AS i, journey.explain(i) WITH ORDINALITY AS e (at, journey, enrollment, what, detail, n)) AS t WHERE at < before;
SELECT count(*) FROM journey.explain(4711);
SELECT count(*) FROM journey.explain('6');
SELECT count(*) FROM journey.explain(6::bigint, journey => 'cart');
-- what is refused
SELECT * FROM journey.explain(6, 'nonsense');
SELECT * FROM journey.explain('six');

-- what stands against a contact and the addresses it was written to, and how often it wants to hear
SELECT journey.set_frequency(6, '*', '*', 'weekly', 'preference centre', '2026-02-01');
SELECT journey.suppress_contact(6, 'asked by phone', scope => 'promotional', at => '2026-02-02');
INSERT INTO journey_state.suppression (channel, address, scope, reason, at)
	SELECT DISTINCT m.channel, lower(m.recipient), 'all', 'bounced 5.1.1', timestamptz '2026-02-03' FROM journey_state.message AS m WHERE m.contact = 6 AND m.recipient IS NOT NULL;
SELECT at, what, detail FROM journey.explain(6) WHERE at >= '2026-02-01';
SELECT count(*) FROM journey.explain(9) WHERE what IN ('frequency', 'suppressed');
