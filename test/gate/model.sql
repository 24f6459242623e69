-- The rules of the gate, said as plainly as SQL allows, for the test of the gate
-- against them (model.pl).  Nothing here reads what the extension knows of
-- consent, caps, hours or messages: the script keeps its own record of all it
-- does (the first tables), and model.sending is made from the scripts of its journeys
-- and from verdicts that have been found right.
CREATE SCHEMA model;
CREATE TABLE model.topic (topic text PRIMARY KEY, class text NOT NULL, obeys boolean NOT NULL, counts boolean NOT NULL);
CREATE TABLE model.step (journey text, no integer, wait interval NOT NULL, channels text[] NOT NULL, best boolean NOT NULL,	-- FIRST OF, BEST OF
	topic text NOT NULL, priority integer NOT NULL, expires interval NOT NULL,
	capped text NOT NULL, within interval, template text, also boolean, best_within interval, PRIMARY KEY (journey, no));
CREATE TABLE model.paused (journey text PRIMARY KEY);
CREATE TABLE model.dropped (journey text PRIMARY KEY);
CREATE TABLE model.resumed (overdue integer NOT NULL);	-- how many sends a pause had held back
CREATE TABLE model.consent (contact bigint, channel text, topic text, granted boolean NOT NULL, PRIMARY KEY (contact, channel, topic));
CREATE TABLE model.suppressed (channel text, address text, scope text NOT NULL, PRIMARY KEY (channel, address));
CREATE TABLE model.suppressed_contact (contact bigint, channel text, scope text NOT NULL, PRIMARY KEY (contact, channel));
CREATE TABLE model.bad_address (address text PRIMARY KEY, transactional boolean NOT NULL);	-- bad also for a transactional message?
CREATE TABLE model.timezone AS SELECT name FROM pg_timezone_names;
CREATE TABLE model.zone (country text PRIMARY KEY, zones text[] NOT NULL);
CREATE TABLE model.quiet (name text PRIMARY KEY, starts time, ends time, days text[], channels text[], topics text[], countries text[], action text, jitter interval);
CREATE TABLE model.cap (name text PRIMARY KEY, most integer, per interval, calendar text, channels text[], topics text[], classes text[], journeys text[], countries text[],
	counts_channels text[], counts_topics text[], counts_classes text[], counts_journeys text[], overrides text[], look_ahead interval NOT NULL DEFAULT '0',
	engagement text, zone text, only_class text);	-- the last two of a bound that comes of it: the calendar's zone, and whom a quota is about
CREATE TABLE model.quota (cap text, class text, share numeric NOT NULL, PRIMARY KEY (cap, class));
CREATE TABLE model.frequency (contact bigint, channel text, topic text, calendar text NOT NULL, PRIMARY KEY (contact, channel, topic));
CREATE TABLE model.entry_cap (name text PRIMARY KEY, most integer, per interval, journeys text[]);	-- a journey's LIMIT is one, too
CREATE TABLE model.hold (name text PRIMARY KEY, journey text, lasting interval, action text, channels text[], topics text[], classes text[], except_journeys text[],
	after interval, messages integer);	-- without a journey: of those who are "open", or a sunset
-- how contacts respond, and everybody
CREATE TABLE model.response (contact bigint, at timestamptz NOT NULL, message_id bigint, machine boolean NOT NULL);
CREATE TABLE model.prior (channel text PRIMARY KEY, a0 integer NOT NULL, b0 integer NOT NULL);
CREATE TABLE model.share (weekend boolean, hour integer, share float8 NOT NULL, PRIMARY KEY (weekend, hour));

-- runs, and each message of theirs that a run has come to or will come to next
CREATE TABLE model.run (contact bigint, journey text, key text, entered_at timestamptz NOT NULL, ghost boolean, exited boolean NOT NULL DEFAULT false, capped boolean NOT NULL DEFAULT false,
	touched timestamptz,	-- when it last began, went on or ended
	PRIMARY KEY (contact, journey, key));
CREATE TABLE model.sending (id bigint GENERATED ALWAYS AS IDENTITY, contact bigint, journey text, key text, no integer, ghost boolean NOT NULL,
	state text NOT NULL,		-- waiting, deferred, pending, handed, over; dropped: over when it is due
	due timestamptz NOT NULL,	-- when the gate is to be asked next
	since timestamptz NOT NULL, expires_at timestamptz NOT NULL, message_id bigint, handed_at timestamptz, granted boolean NOT NULL DEFAULT false,
	channels text[] NOT NULL,	-- over which it may go; of one that is decided, the one
	timed boolean NOT NULL DEFAULT false,	-- put off to its best time before
	template text, claimed_at timestamptz,	-- handed over last; first: handed_at
	fate text,	-- what the relay has said of it: sent, bounced; or withheld, if it has said nothing
	PRIMARY KEY (contact, journey, key, no));
CREATE TABLE model.went (id bigint, address text, at timestamptz NOT NULL, PRIMARY KEY (id, at));	-- to which address each hand-over was
CREATE TABLE model.seen (seen bigint PRIMARY KEY);
CREATE TABLE model.mismatch (id bigint GENERATED ALWAYS AS IDENTITY, what text NOT NULL);

CREATE FUNCTION model.has(list text[], item text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT list IS NULL OR item = ANY (list) $$;
CREATE FUNCTION model.has_any(list text[], items text[]) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT list IS NULL OR items && list $$;
CREATE FUNCTION model.is_paused(about text) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT EXISTS (SELECT FROM model.paused WHERE journey = about) $$;
CREATE FUNCTION model.is_dropped(about text) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT EXISTS (SELECT FROM model.dropped WHERE journey = about) $$;

-- ---- consent, suppression, address: what an entry asks, too ----
CREATE FUNCTION model.consents(who bigint, over text, about text) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT (SELECT class = 'transactional' FROM model.topic WHERE topic = about)
		OR coalesce((SELECT granted FROM model.consent WHERE contact = who AND channel = over AND topic = '*'), true)
		AND coalesce((SELECT granted FROM model.consent WHERE contact = who AND channel = over AND topic = about),
			(SELECT granted FROM model.consent WHERE contact = who AND channel = over AND topic = '*'), false)
$$;
CREATE FUNCTION model.address(who bigint, over text) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT CASE over WHEN 'sms' THEN phone ELSE email END FROM shop.customers WHERE id = who
$$;
CREATE FUNCTION model.unreachable(who bigint, over text, about text, entry boolean, now timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT CASE
		WHEN NOT model.consents(who, over, about) THEN 'no_consent'
		WHEN NOT EXISTS (SELECT FROM shop.customers WHERE id = who) THEN 'contact_gone'
		WHEN EXISTS (SELECT FROM model.suppressed WHERE channel = over AND address = lower(a.address) AND (scope = 'all' OR t.class <> 'transactional'))
			OR EXISTS (SELECT FROM model.suppressed_contact WHERE contact = who AND channel IN (over, '*') AND (scope = 'all' OR t.class <> 'transactional')) THEN 'suppressed'
		WHEN coalesce(a.address, '') = '' THEN 'no_address'
		WHEN EXISTS (SELECT FROM model.bad_address b WHERE b.address = a.address AND (b.transactional OR t.class <> 'transactional')) THEN 'bad_address' END
	FROM model.topic t, (SELECT model.address(who, over)) a (address) WHERE t.topic = about
$$;

-- ---- holds ----
CREATE FUNCTION model.concerns(h model.hold, s model.sending) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT t.class <> 'transactional' AND h.journey IS DISTINCT FROM s.journey AND model.has_any(h.channels, s.channels) AND model.has(h.topics, p.topic) AND model.has(h.classes, t.class)
		AND s.journey <> ALL (h.except_journeys)
	FROM model.step p JOIN model.topic t USING (topic) WHERE p.journey = s.journey AND p.no = s.no
$$;
CREATE FUNCTION model.goes_on(r model.run) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT EXISTS (SELECT FROM model.sending o WHERE (o.contact, o.journey, o.key) = (r.contact, r.journey, r.key) AND o.state IN ('waiting', 'deferred', 'dropped'))
$$;
-- ---- entries ----
CREATE FUNCTION model.entered_enough(who bigint, about text, now timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT EXISTS (SELECT FROM model.entry_cap k WHERE model.has(k.journeys, about) AND k.most <= (
		SELECT count(*) FROM model.run r WHERE r.contact = who AND model.has(k.journeys, r.journey) AND (NOT r.ghost OR r.journey = about)
		AND CASE WHEN k.per IS NULL THEN model.goes_on(r) ELSE r.entered_at > now - k.per END))
$$;
CREATE FUNCTION model.may_have_arrived(o model.sending) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT o.state = 'handed' AND coalesce(o.fate, 'sent') = 'sent' $$;
-- ---- the same content over another channel in the run ----
CREATE FUNCTION model.sent_otherwise(s model.sending, now timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT EXISTS (SELECT FROM model.step p JOIN model.topic t USING (topic), model.sending o JOIN model.step q ON q.journey = o.journey AND q.no = o.no
		WHERE p.journey = s.journey AND p.no = s.no AND t.class <> 'transactional' AND NOT p.also AND (o.contact, o.journey, o.key) = (s.contact, s.journey, s.key)
		AND o.no < s.no AND q.template = p.template AND o.channels <> s.channels AND CASE WHEN s.ghost THEN o.granted ELSE model.may_have_arrived(o) OR o.state = 'pending' AND o.expires_at > now END)
$$;

-- ---- the same message to the same address, for another contact ----
-- What went there last decides, whoever it was for.
CREATE FUNCTION model.address_taken(s model.sending, now timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT coalesce((SELECT o.contact <> s.contact AND coalesce(o.fate, 'sent') = 'sent' AND w.at > now - current_setting('pg_journey.same_address_window')::interval
		FROM model.step p JOIN model.topic t USING (topic), model.sending o JOIN model.went w USING (id)
		WHERE p.journey = s.journey AND p.no = s.no AND t.class <> 'transactional' AND w.at <= now AND (o.id <> s.id OR w.at < now)
		AND (o.journey, o.key, o.template, o.channels) = (s.journey, s.key, s.template, s.channels) AND w.address = lower(model.address(s.contact, s.channels[1]))
		ORDER BY w.at DESC, o.message_id DESC LIMIT 1), false)
$$;

-- Who has not responded to some messages, the first of them a while ago.
CREATE FUNCTION model.in_sunset(who bigint, after interval, messages integer, now timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT coalesce(min(claimed_at) <= now - after AND count(*) >= messages, false)
	FROM model.sending WHERE contact = who AND fate = 'sent'
		AND claimed_at > coalesce((SELECT max(at) FROM model.response WHERE contact = who AND NOT machine), '-infinity')
$$;
-- sunset goes first, then skip, then defer; the longest of what defers
CREATE FUNCTION model.held(s model.sending, now timestamptz, OUT action text, OUT until timestamptz) LANGUAGE sql STABLE AS $$
	SELECT max(x.action), CASE max(x.action) WHEN 'defer' THEN max(x.until) END
	FROM (
		SELECT h.action, CASE WHEN model.goes_on(r) THEN now + interval '1 hour' ELSE least(now + interval '1 hour', r.entered_at + h.lasting) END AS until
		FROM model.hold h JOIN model.run r ON r.contact = s.contact AND r.journey = h.journey AND NOT r.ghost AND (model.goes_on(r) OR r.entered_at + h.lasting > now)
		WHERE model.concerns(h, s) AND NOT model.is_dropped(h.journey)
		UNION ALL
		SELECT CASE WHEN h.messages IS NULL THEN h.action ELSE 'sunset' END, now + interval '1 hour'
		FROM model.hold h
		WHERE h.journey IS NULL AND model.concerns(h, s) AND CASE WHEN h.messages IS NULL THEN (SELECT c.open FROM shop.customers c WHERE c.id = s.contact)
			ELSE model.in_sunset(s.contact, h.after, h.messages, now) END
	) x
$$;
-- What a hold's run does at the same instant may come before a message or after it.
CREATE FUNCTION model.perhaps_held(s model.sending, now timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT EXISTS (
		SELECT FROM model.hold h JOIN model.run r ON r.contact = s.contact AND r.journey = h.journey AND NOT r.ghost
		WHERE model.concerns(h, s) AND (r.touched = now
			OR EXISTS (SELECT FROM model.sending o WHERE (o.contact, o.journey, o.key) = (r.contact, r.journey, r.key) AND o.state IN ('waiting', 'deferred') AND o.due <= now)))
$$;

-- ---- local time ----
CREATE FUNCTION model.zones(who bigint) RETURNS text[] LANGUAGE sql STABLE AS $$
	SELECT coalesce((SELECT ARRAY[z.name] FROM model.timezone z WHERE z.name = c.tz AND (c.tz = 'UTC' OR c.tz LIKE '%/%')),
		(SELECT z.zones FROM model.zone z WHERE z.country IN (c.country, split_part(c.country, '-', 1), '*') ORDER BY z.country = '*', length(z.country) DESC LIMIT 1),
		'{UTC}')
	FROM shop.customers c WHERE c.id = who
$$;
CREATE FUNCTION model.covers(q model.quiet, local timestamp) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN q.starts < q.ends THEN local::time >= q.starts AND local::time < q.ends AND model.has(q.days, to_char(local, 'dy'))
		ELSE local::time >= q.starts AND model.has(q.days, to_char(local, 'dy')) OR local::time < q.ends AND model.has(q.days, to_char(local - interval '1 day', 'dy')) END
$$;
-- Is somebody of a country there, or perhaps there?  US may be in US-FL, and nobody knows where somebody without a country is.
CREATE FUNCTION model.there(who bigint, countries text[], perhaps boolean) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT countries IS NULL OR (SELECT bool_or(coalesce(c.country = x OR c.country LIKE x || '-%' OR perhaps AND x LIKE c.country || '-%', perhaps)) FROM unnest(countries) x)
	FROM shop.customers c WHERE c.id = who
$$;
-- what stands in the way at an instant: skip, defer or nothing
CREATE FUNCTION model.quiet_in(zones text[], who bigint, over text, about text, t timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT max(action) FROM (
		SELECT max(q.action) FILTER (WHERE q.action <> 'send')
		FROM unnest(zones) z, model.quiet q
		WHERE model.covers(q, t AT TIME ZONE z) AND model.has(q.channels, over) AND model.has(q.topics, about) AND model.there(who, q.countries, q.action <> 'send')
		GROUP BY z HAVING NOT bool_or(q.action = 'send')) z (action)
$$;
CREATE FUNCTION model.quiet_at(who bigint, over text, about text, t timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT model.quiet_in(model.zones(who), who, over, about, t)
$$;
CREATE FUNCTION model.next_loud(who bigint, over text, about text, t timestamptz) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
DECLARE
	zones text[] := model.zones(who);
	m timestamptz := t;
BEGIN
	-- windows begin and end at quarters of an hour
	WHILE model.quiet_in(zones, who, over, about, m) IS NOT NULL LOOP
		m := date_bin('15 minutes', m, '2000-01-01') + interval '15 minutes';
		IF m > t + interval '9 days' THEN
			RETURN NULL;
		END IF;
	END LOOP;
	RETURN m;
END
$$;

-- ---- how a contact responds ----
CREATE FUNCTION model.responded(m model.sending, now timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT EXISTS (SELECT FROM model.response r WHERE r.contact = m.contact AND NOT r.machine AND r.at >= m.handed_at AND r.at <= now
		AND (r.message_id = m.message_id OR r.message_id IS NULL AND r.at < m.handed_at + interval '24 hours'))
$$;
-- The Beta distribution of the rate over a channel; nothing if nothing is known of everybody.
CREATE FUNCTION model.rate(who bigint, over text, now timestamptz, OUT a integer, OUT b integer) LANGUAGE sql STABLE AS $$
	SELECT p.a0 + m.clicks, p.b0 + m.sends - m.clicks FROM model.prior p,
		(SELECT count(*)::integer, count(*) FILTER (WHERE model.responded(m, now))::integer FROM model.sending m
			WHERE m.contact = who AND m.channels = ARRAY[over] AND model.may_have_arrived(m) AND m.handed_at > now - interval '30 days') m (sends, clicks)
	WHERE p.channel = over
$$;
-- P(Beta(a, b) < x) of whole a and b: that of a + b - 1 trials at least a succeed.
CREATE FUNCTION model.beta(x numeric, a integer, b integer) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
	SELECT sum(factorial(a + b - 1) / (factorial(j) * factorial(a + b - 1 - j)) * x ^ j * (1 - x) ^ (a + b - 1 - j)) FROM generate_series(a, a + b - 1) j
$$;
CREATE FUNCTION model.engaged(who bigint, over text, class text, now timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT coalesce(CASE class WHEN 'low' THEN model.beta(0.10, r.a, r.b) >= 0.8 WHEN 'high' THEN 1 - model.beta(0.40, r.a, r.b) >= 0.8 END, false)
	FROM model.rate(who, over, now) r
$$;

-- ---- channel ----
CREATE FUNCTION model.choose(who bigint, options text[], best boolean, about text, now timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT coalesce((SELECT c FROM unnest(options) WITH ORDINALITY o (c, n), model.rate(who, c, now) r
		WHERE model.unreachable(who, c, about, false, now) IS NULL
		ORDER BY CASE WHEN best THEN r.a::numeric / (r.a + r.b) END DESC NULLS LAST, n LIMIT 1), options[1])
$$;

-- ---- the best time ----
-- How often a contact has responded at an hour of its clock, what is older for less.
CREATE FUNCTION model.responses(who bigint, zone text, now timestamptz) RETURNS TABLE (weekend boolean, hour integer, weight float8) LANGUAGE sql STABLE AS $$
	SELECT extract(isodow FROM r.at AT TIME ZONE zone) >= 6, extract(hour FROM r.at AT TIME ZONE zone)::integer, sum(0.5 ^ (extract(epoch FROM now - r.at) / 86400 / 60))::float8
	FROM model.response r
	WHERE r.contact = who AND NOT r.machine AND r.at <= now AND r.at > now - interval '365 days'
		AND NOT EXISTS (SELECT FROM model.sending m WHERE m.contact = who AND m.state = 'handed' AND m.handed_at > r.at - interval '30 minutes' AND m.handed_at <= r.at)
	GROUP BY 1, 2
$$;
CREATE FUNCTION model.slots(s model.sending, now timestamptz) RETURNS TABLE (at timestamptz, hour integer, score float8) LANGUAGE sql STABLE AS $$
	WITH z AS (SELECT (model.zones(s.contact))[1] AS zone),
	counted AS MATERIALIZED (SELECT c.* FROM z, model.responses(s.contact, z.zone, now) c),
	scored AS MATERIALIZED (
		SELECT w.weekend, h.hour, (coalesce((SELECT sum(c.weight * k.weight) FROM counted c, (VALUES (0, .4), (1, .2), (2, .1)) k (apart, weight)
				WHERE c.weekend = w.weekend AND k.apart = least(abs(c.hour - h.hour), 24 - abs(c.hour - h.hour))), 0)
			+ 10 * coalesce((SELECT p.share FROM model.share p WHERE p.weekend = w.weekend AND p.hour = h.hour), 1 / 24.0))
			/ (coalesce((SELECT sum(c.weight) FROM counted c WHERE c.weekend = w.weekend), 0) + 10) AS score
		FROM (VALUES (false), (true)) w (weekend), generate_series(0, 23) h (hour)),
	hours AS (
		SELECT l.hour AS local, CASE WHEN (i.t - interval '1 hour') AT TIME ZONE z.zone = l.hour THEN i.t - interval '1 hour'
			WHEN (i.t - interval '30 minutes') AT TIME ZONE z.zone = l.hour THEN i.t - interval '30 minutes' ELSE i.t END AS t	-- the first of two
		FROM z, generate_series(0, 8 * 24 - 1) n, LATERAL (SELECT date_trunc('hour', (now + interval '15 minutes') AT TIME ZONE z.zone) + n * interval '1 hour') l (hour),
			LATERAL (SELECT l.hour AT TIME ZONE z.zone) i (t)
		WHERE i.t AT TIME ZONE z.zone = l.hour),
	slots AS (
		SELECT h.local, h.t, model.next_loud(s.contact, s.channels[1], p.topic, greatest(h.t - interval '15 minutes', now)) AS at, least(s.since + p.best_within, s.expires_at - interval '1 microsecond') AS last
		FROM hours h, model.step p
		WHERE p.journey = s.journey AND p.no = s.no AND greatest(h.t - interval '15 minutes', now) <= least(s.since + p.best_within, s.expires_at - interval '1 microsecond'))
	SELECT x.at, c.hour, c.score FROM slots x JOIN scored c ON c.weekend = (extract(isodow FROM x.local) >= 6) AND c.hour = extract(hour FROM x.local)
	WHERE x.at <= x.last AND x.at < x.t + interval '45 minutes'
	ORDER BY round(c.score::numeric, 12) DESC, least(abs(c.hour - 10), 24 - abs(c.hour - 10)), x.at
$$;

-- ---- caps ----
-- as important as its step says, and a point more for each hour it has waited
CREATE FUNCTION model.weight(s model.sending, now timestamptz) RETURNS integer LANGUAGE sql STABLE AS $$
	SELECT priority + greatest(0, floor(extract(epoch FROM now - s.since) / 3600))::integer FROM model.step p WHERE p.journey = s.journey AND p.no = s.no
$$;
CREATE FUNCTION model.obeys(k model.cap, s model.sending) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT t.obeys AND model.has_any(k.channels, s.channels) AND model.has(k.topics, p.topic) AND model.has(k.classes, t.class) AND model.has(k.journeys, p.journey)
		AND (k.only_class IS NULL OR k.only_class = t.class) AND model.there(s.contact, k.countries, true)
	FROM model.step p JOIN model.topic t USING (topic) WHERE p.journey = s.journey AND p.no = s.no
$$;
CREATE FUNCTION model.counts(k model.cap, s model.sending) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT t.counts AND model.has_any(k.counts_channels, s.channels) AND model.has(k.counts_topics, p.topic) AND model.has(k.counts_classes, t.class) AND model.has(k.counts_journeys, p.journey)
		AND (k.only_class IS NULL OR k.only_class = t.class)
	FROM model.step p JOIN model.topic t USING (topic) WHERE p.journey = s.journey AND p.no = s.no
$$;
CREATE FUNCTION model.in_window(k model.cap, handed timestamptz, now timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT CASE WHEN k.calendar IS NULL THEN handed > now - k.per ELSE date_trunc(k.calendar, handed AT TIME ZONE k.zone) = date_trunc(k.calendar, now AT TIME ZONE k.zone) END
$$;
-- Does another message of the contact compete for the places of a cap with s?  Handed over it does, and before that if it goes first.
CREATE FUNCTION model.competes(k model.cap, s model.sending, o model.sending, stage text, now timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT o.id <> s.id AND NOT o.ghost AND model.counts(k, o) AND CASE WHEN o.state = 'handed' THEN true WHEN model.is_paused(o.journey) OR model.is_dropped(o.journey) THEN false ELSE CASE o.state
		WHEN 'pending' THEN o.expires_at > now AND o.due <= now + k.look_ahead AND NOT (SELECT r.exited FROM model.run r WHERE (r.contact, r.journey, r.key) = (o.contact, o.journey, o.key)) AND (mine < its OR mine = its AND (stage = 'decide' OR (o.since, o.id) < (s.since, s.id)))
		WHEN 'deferred' THEN o.due <= now + k.look_ahead AND model.obeys(k, o) AND (mine < its OR mine = its AND (o.since, o.id) < (s.since, s.id))
		WHEN 'waiting' THEN o.due > now AND o.due <= now + k.look_ahead AND model.obeys(k, o) AND mine < its
		ELSE false END END
	FROM model.weight(s, now) mine, model.weight(o, now) its
$$;
-- Does it still take a place at t, if what waits goes now, or at its time, or not at all?
CREATE FUNCTION model.takes_place(k model.cap, o model.sending, now timestamptz, t timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT CASE o.state WHEN 'handed' THEN model.in_window(k, o.handed_at, t) WHEN 'pending' THEN t < o.expires_at AND CASE WHEN k.calendar IS NULL THEN model.in_window(k, greatest(now, o.due), t)
			ELSE t AT TIME ZONE k.zone < date_trunc(k.calendar, greatest(now, o.due) AT TIME ZONE k.zone) + ('1 ' || k.calendar)::interval END
		ELSE t < greatest(now, o.due) + interval '1 minute' END
$$;
-- The bounds for a message: each cap it obeys, for each of the zones if it goes by the calendar, its quota, and what the contact wants himself.
CREATE FUNCTION model.bounds(s model.sending, now timestamptz) RETURNS SETOF model.cap LANGUAGE sql STABLE AS $$
	WITH obeyed AS MATERIALIZED (SELECT c.* FROM model.cap c WHERE model.obeys(c, s)
		AND (c.engagement IS NULL OR model.engaged(s.contact, s.channels[1], c.engagement, now))), held AS (
		SELECT c.* FROM obeyed c WHERE NOT EXISTS (SELECT FROM obeyed r WHERE c.name = ANY (r.overrides))
		UNION ALL
		SELECT c.name, floor(q.share * c.most)::integer, c.per, c.calendar, c.channels, c.topics, c.classes, c.journeys, c.countries, c.counts_channels, c.counts_topics, c.counts_classes, c.counts_journeys,
			c.overrides, c.look_ahead, NULL, NULL, q.class
		FROM obeyed c JOIN model.quota q ON q.cap = c.name WHERE NOT EXISTS (SELECT FROM obeyed r WHERE c.name = ANY (r.overrides))
		UNION ALL
		SELECT 'own', 1, NULL, f.calendar, nullif(ARRAY[f.channel], '{*}'), nullif(ARRAY[f.topic], '{*}'), NULL, NULL, NULL, nullif(ARRAY[f.channel], '{*}'), nullif(ARRAY[f.topic], '{*}'), NULL, NULL, NULL, '0', NULL, NULL, NULL
		FROM model.frequency f WHERE f.contact = s.contact
	)
	SELECT h.name, h.most, h.per, h.calendar, h.channels, h.topics, h.classes, h.journeys, h.countries, h.counts_channels, h.counts_topics, h.counts_classes, h.counts_journeys, h.overrides, h.look_ahead, NULL, z, h.only_class
	FROM held h, unnest(CASE WHEN h.calendar IS NULL THEN '{UTC}' ELSE model.zones(s.contact) END) z
	WHERE model.obeys((h.name, h.most, h.per, h.calendar, h.channels, h.topics, h.classes, h.journeys, h.countries, h.counts_channels, h.counts_topics, h.counts_classes, h.counts_journeys, h.overrides, h.look_ahead, NULL, z, h.only_class)::model.cap, s)
$$;
CREATE FUNCTION model.full_at(s model.sending, stage text, now timestamptz, t timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT EXISTS (SELECT FROM model.bounds(s, now) k WHERE k.most <= (
		SELECT count(*) FROM model.sending o WHERE o.contact = s.contact AND model.competes(k, s, o, stage, now) AND model.takes_place(k, o, now, t)))
$$;
-- The first instant at which all of them have a place.  It is one at which something ends.
CREATE FUNCTION model.next_place(s model.sending, stage text, now timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
	WITH used AS (SELECT k, CASE o.state WHEN 'handed' THEN o.handed_at ELSE greatest(now, o.due) END AS at, o
		FROM model.bounds(s, now) k, model.sending o WHERE o.contact = s.contact AND model.competes(k, s, o, stage, now)),
	candidate AS (
		SELECT CASE WHEN (k).calendar IS NULL THEN at + (k).per ELSE (date_trunc((k).calendar, at AT TIME ZONE (k).zone) + ('1 ' || (k).calendar)::interval) AT TIME ZONE (k).zone END AS t FROM used
		UNION SELECT date_trunc('day', at + (k).per) + d * interval '1 day' FROM used, generate_series(1, 4) d WHERE (k).calendar IS NULL
		UNION SELECT (o).expires_at FROM used
		UNION SELECT greatest(now, (o).due) + interval '1 minute' FROM used
	)
	SELECT min(t) FROM candidate WHERE t > now AND NOT model.full_at(s, stage, now, t)
$$;

-- ---- the whole gate, in its order ----
-- explored: the time that was drawn for it, if one was
CREATE FUNCTION model.judge(s model.sending, stage text, now timestamptz, explored timestamptz, OUT verdict text, OUT reason text, OUT until timestamptz, OUT over text) LANGUAGE plpgsql STABLE AS $$
DECLARE
	p model.step;
	t model.topic;
	quiet text;
	held record;
BEGIN
	SELECT * INTO p FROM model.step WHERE journey = s.journey AND no = s.no;
	SELECT * INTO t FROM model.topic WHERE topic = p.topic;
	verdict := 'withheld';
	over := s.channels[1];
	IF model.is_dropped(s.journey) THEN
		reason := 'journey_dropped';
		RETURN;
	END IF;
	IF (SELECT r.exited FROM model.run r WHERE (r.contact, r.journey, r.key) = (s.contact, s.journey, s.key)) THEN
		reason := 'exited';
		RETURN;
	END IF;
	IF stage = 'decide' AND cardinality(p.channels) > 1 THEN
		over := model.choose(s.contact, p.channels, p.best, p.topic, now);
		s.channels := ARRAY[over];
	END IF;
	reason := model.unreachable(s.contact, over, p.topic, false, now);
	IF reason IS NULL OR reason IN ('no_address', 'bad_address') THEN
		SELECT * INTO held FROM model.held(s, now);
		IF held.action = 'sunset' THEN
			reason := 'suppressed';
		ELSIF held.action IS NOT NULL THEN
			reason := 'held';
			IF held.until < s.expires_at THEN
				verdict := 'deferred';
				until := held.until;
			END IF;
		END IF;
	END IF;
	IF reason IS NULL AND model.sent_otherwise(s, now) THEN
		reason := 'duplicate_content';
	END IF;
	IF reason IS NULL AND model.address_taken(s, now) THEN
		reason := 'duplicate_address';
	END IF;
	IF reason IS NOT NULL THEN
		RETURN;
	END IF;
	IF now >= s.expires_at THEN
		reason := 'expired';
		RETURN;
	END IF;
	quiet := model.quiet_at(s.contact, over, p.topic, now);
	IF t.class <> 'transactional' AND quiet IS NOT NULL THEN
		reason := 'quiet_hours';
		until := model.next_loud(s.contact, over, p.topic, now);
		IF quiet = 'defer' AND until < s.expires_at THEN
			verdict := 'deferred';
		ELSE
			until := NULL;
		END IF;
		RETURN;
	END IF;
	IF stage = 'decide' AND t.class <> 'transactional' AND p.best_within IS NOT NULL AND NOT s.timed THEN
		SELECT x.at INTO until FROM model.slots(s, now) WITH ORDINALITY x (at, hour, score, n) WHERE explored IS NULL OR x.at = explored ORDER BY n LIMIT 1;
		IF until > now THEN
			verdict := 'deferred';
			reason := 'send_time';
			RETURN;
		END IF;
		until := NULL;
	END IF;
	-- what has been handed over before keeps its place
	IF NOT EXISTS (SELECT FROM model.went w WHERE w.id = s.id AND w.at < now) AND model.full_at(s, stage, now, now) THEN
		reason := 'capped';
		IF p.capped = 'defer' THEN
			until := model.next_loud(s.contact, over, p.topic, model.next_place(s, stage, now));
			IF until <= s.since + coalesce(p.within, p.expires) AND until < s.expires_at THEN
				verdict := 'deferred';
			ELSE
				until := NULL;
			END IF;
		END IF;
	ELSE
		verdict := 'sent';
	END IF;
END
$$;
