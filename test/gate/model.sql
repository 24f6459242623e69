-- The rules of the gate, said as plainly as SQL allows, for the test of the gate
-- against them (model.pl).  Nothing here reads what the extension knows of
-- consent, caps, hours or messages: the script keeps its own record of all it
-- does (the first tables), and model.sending is made from the scripts of its journeys
-- and from verdicts that have been found right.
CREATE SCHEMA model;
CREATE TABLE model.topic (topic text PRIMARY KEY, class text NOT NULL, obeys boolean NOT NULL, counts boolean NOT NULL);
CREATE TABLE model.step (journey text, no integer, wait interval NOT NULL, channel text NOT NULL, topic text NOT NULL, priority integer NOT NULL, expires interval NOT NULL,
	capped text NOT NULL DEFAULT 'skip', within interval, template text, also boolean, PRIMARY KEY (journey, no));
CREATE TABLE model.consent (contact bigint, channel text, topic text, granted boolean NOT NULL, PRIMARY KEY (contact, channel, topic));
CREATE TABLE model.suppressed (channel text, address text, scope text NOT NULL, PRIMARY KEY (channel, address));
CREATE TABLE model.suppressed_contact (contact bigint, channel text, scope text NOT NULL, PRIMARY KEY (contact, channel));
CREATE TABLE model.bad_address (address text PRIMARY KEY, transactional boolean NOT NULL);	-- bad also for a transactional message?
CREATE TABLE model.timezone AS SELECT name FROM pg_timezone_names;
CREATE TABLE model.zone (country text PRIMARY KEY, zones text[] NOT NULL);
CREATE TABLE model.quiet (name text PRIMARY KEY, starts time, ends time, days text[], channels text[], topics text[], countries text[], action text, jitter interval);
CREATE TABLE model.cap (name text PRIMARY KEY, most integer, per interval, calendar text, channels text[], topics text[], classes text[], journeys text[], countries text[],
	counts_channels text[], counts_topics text[], counts_classes text[], counts_journeys text[], overrides text[], look_ahead interval NOT NULL DEFAULT '0',
	zone text, only_class text);	-- of a bound that comes of it: the calendar's zone, and whom a quota is about
CREATE TABLE model.quota (cap text, class text, share numeric NOT NULL, PRIMARY KEY (cap, class));
CREATE TABLE model.frequency (contact bigint, channel text, topic text, calendar text NOT NULL, PRIMARY KEY (contact, channel, topic));
CREATE TABLE model.entry_cap (name text PRIMARY KEY, most integer, per interval, journeys text[]);	-- a journey's LIMIT is one, too
CREATE TABLE model.hold (name text PRIMARY KEY, journey text, lasting interval, action text, channels text[], topics text[], classes text[], except_journeys text[]);

-- runs, and each message of theirs that a run has come to or will come to next
CREATE TABLE model.run (contact bigint, journey text, key text, entered_at timestamptz NOT NULL, ghost boolean, exited boolean NOT NULL DEFAULT false, capped boolean NOT NULL DEFAULT false,
	touched timestamptz,	-- when it last began, went on or ended
	PRIMARY KEY (contact, journey, key));
CREATE TABLE model.sending (id bigint GENERATED ALWAYS AS IDENTITY, contact bigint, journey text, key text, no integer, ghost boolean NOT NULL,
	state text NOT NULL,		-- waiting, deferred, pending, handed, over
	due timestamptz NOT NULL,	-- when the gate is to be asked next
	since timestamptz NOT NULL, expires_at timestamptz NOT NULL, message_id bigint, handed_at timestamptz, granted boolean NOT NULL DEFAULT false,
	PRIMARY KEY (contact, journey, key, no));
CREATE TABLE model.seen (seen bigint PRIMARY KEY);
CREATE TABLE model.mismatch (id bigint GENERATED ALWAYS AS IDENTITY, what text NOT NULL);

CREATE FUNCTION model.has(list text[], item text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT list IS NULL OR item = ANY (list) $$;

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
	SELECT t.class <> 'transactional' AND h.journey <> s.journey AND model.has(h.channels, p.channel) AND model.has(h.topics, p.topic) AND model.has(h.classes, t.class)
		AND s.journey <> ALL (h.except_journeys)
	FROM model.step p JOIN model.topic t USING (topic) WHERE p.journey = s.journey AND p.no = s.no
$$;
CREATE FUNCTION model.goes_on(r model.run) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT EXISTS (SELECT FROM model.sending o WHERE (o.contact, o.journey, o.key) = (r.contact, r.journey, r.key) AND o.state IN ('waiting', 'deferred'))
$$;
-- ---- entries ----
CREATE FUNCTION model.entered_enough(who bigint, about text, now timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT EXISTS (SELECT FROM model.entry_cap k WHERE model.has(k.journeys, about) AND k.most <= (
		SELECT count(*) FROM model.run r WHERE r.contact = who AND model.has(k.journeys, r.journey) AND (NOT r.ghost OR r.journey = about)
		AND CASE WHEN k.per IS NULL THEN model.goes_on(r) ELSE r.entered_at > now - k.per END))
$$;
-- ---- the same content over another channel in the run ----
CREATE FUNCTION model.sent_otherwise(s model.sending, now timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT EXISTS (SELECT FROM model.step p JOIN model.topic t USING (topic), model.sending o JOIN model.step q ON q.journey = o.journey AND q.no = o.no
		WHERE p.journey = s.journey AND p.no = s.no AND t.class <> 'transactional' AND NOT p.also AND (o.contact, o.journey, o.key) = (s.contact, s.journey, s.key)
		AND o.no < s.no AND q.template = p.template AND q.channel <> p.channel AND CASE WHEN s.ghost THEN o.granted ELSE o.state = 'handed' OR o.state = 'pending' AND o.expires_at > now END)
$$;

-- skip goes before defer; the longest of what defers
CREATE FUNCTION model.held(s model.sending, now timestamptz, OUT action text, OUT until timestamptz) LANGUAGE sql STABLE AS $$
	SELECT max(h.action), CASE max(h.action) WHEN 'defer' THEN max(CASE WHEN model.goes_on(r) THEN now + interval '1 hour' ELSE least(now + interval '1 hour', r.entered_at + h.lasting) END) END
	FROM model.hold h JOIN model.run r ON r.contact = s.contact AND r.journey = h.journey AND NOT r.ghost AND (model.goes_on(r) OR r.entered_at + h.lasting > now)
	WHERE model.concerns(h, s)
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
CREATE FUNCTION model.quiet_at(who bigint, over text, about text, t timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT max(action) FROM (
		SELECT max(q.action) FILTER (WHERE q.action <> 'send')
		FROM unnest(model.zones(who)) z, model.quiet q
		WHERE model.covers(q, t AT TIME ZONE z) AND model.has(q.channels, over) AND model.has(q.topics, about) AND model.there(who, q.countries, q.action <> 'send')
		GROUP BY z HAVING NOT bool_or(q.action = 'send')) z (action)
$$;
CREATE FUNCTION model.next_loud(who bigint, over text, about text, t timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
	-- windows begin and end at quarters of an hour
	SELECT m FROM (SELECT t UNION ALL SELECT generate_series(date_bin('15 minutes', t, '2000-01-01') + interval '15 minutes', t + interval '9 days', '15 minutes')) g (m)
	WHERE NOT EXISTS (SELECT FROM model.quiet) OR model.quiet_at(who, over, about, m) IS NULL ORDER BY m LIMIT 1
$$;

-- ---- caps ----
-- as important as its step says, and a point more for each hour it has waited
CREATE FUNCTION model.weight(s model.sending, now timestamptz) RETURNS integer LANGUAGE sql STABLE AS $$
	SELECT priority + greatest(0, floor(extract(epoch FROM now - s.since) / 3600))::integer FROM model.step p WHERE p.journey = s.journey AND p.no = s.no
$$;
CREATE FUNCTION model.obeys(k model.cap, s model.sending) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT t.obeys AND model.has(k.channels, p.channel) AND model.has(k.topics, p.topic) AND model.has(k.classes, t.class) AND model.has(k.journeys, p.journey)
		AND (k.only_class IS NULL OR k.only_class = t.class) AND model.there(s.contact, k.countries, true)
	FROM model.step p JOIN model.topic t USING (topic) WHERE p.journey = s.journey AND p.no = s.no
$$;
CREATE FUNCTION model.counts(k model.cap, s model.sending) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT t.counts AND model.has(k.counts_channels, p.channel) AND model.has(k.counts_topics, p.topic) AND model.has(k.counts_classes, t.class) AND model.has(k.counts_journeys, p.journey)
		AND (k.only_class IS NULL OR k.only_class = t.class)
	FROM model.step p JOIN model.topic t USING (topic) WHERE p.journey = s.journey AND p.no = s.no
$$;
CREATE FUNCTION model.in_window(k model.cap, handed timestamptz, now timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT CASE WHEN k.calendar IS NULL THEN handed > now - k.per ELSE date_trunc(k.calendar, handed AT TIME ZONE k.zone) = date_trunc(k.calendar, now AT TIME ZONE k.zone) END
$$;
-- Does another message of the contact compete for the places of a cap with s?  Handed over it does, and before that if it goes first.
CREATE FUNCTION model.competes(k model.cap, s model.sending, o model.sending, stage text, now timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT o.id <> s.id AND NOT o.ghost AND model.counts(k, o) AND CASE o.state
		WHEN 'handed' THEN true
		WHEN 'pending' THEN o.expires_at > now AND o.due <= now + k.look_ahead AND NOT (SELECT r.exited FROM model.run r WHERE (r.contact, r.journey, r.key) = (o.contact, o.journey, o.key)) AND (mine < its OR mine = its AND (stage = 'decide' OR (o.since, o.id) < (s.since, s.id)))
		WHEN 'deferred' THEN o.due <= now + k.look_ahead AND model.obeys(k, o) AND (mine < its OR mine = its AND (o.since, o.id) < (s.since, s.id))
		WHEN 'waiting' THEN o.due > now AND o.due <= now + k.look_ahead AND model.obeys(k, o) AND mine < its
		ELSE false END
	FROM model.weight(s, now) mine, model.weight(o, now) its
$$;
-- Does it still take a place at t, if what waits goes now, or at its time, or not at all?
CREATE FUNCTION model.takes_place(k model.cap, o model.sending, now timestamptz, t timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT CASE o.state WHEN 'handed' THEN model.in_window(k, o.handed_at, t) WHEN 'pending' THEN t < o.expires_at AND CASE WHEN k.calendar IS NULL THEN model.in_window(k, greatest(now, o.due), t)
			ELSE t AT TIME ZONE k.zone < date_trunc(k.calendar, greatest(now, o.due) AT TIME ZONE k.zone) + ('1 ' || k.calendar)::interval END
		ELSE t < greatest(now, o.due) + interval '1 minute' END
$$;
-- The bounds for a message: each cap it obeys, for each of the zones if it goes by the calendar, its quota, and what the contact wants himself.
CREATE FUNCTION model.bounds(s model.sending) RETURNS SETOF model.cap LANGUAGE sql STABLE AS $$
	WITH obeyed AS MATERIALIZED (SELECT c.* FROM model.cap c WHERE model.obeys(c, s)), held AS (
		SELECT c.* FROM obeyed c WHERE NOT EXISTS (SELECT FROM obeyed r WHERE c.name = ANY (r.overrides))
		UNION ALL
		SELECT c.name, floor(q.share * c.most)::integer, c.per, c.calendar, c.channels, c.topics, c.classes, c.journeys, c.countries, c.counts_channels, c.counts_topics, c.counts_classes, c.counts_journeys,
			c.overrides, c.look_ahead, NULL, q.class
		FROM obeyed c JOIN model.quota q ON q.cap = c.name WHERE NOT EXISTS (SELECT FROM obeyed r WHERE c.name = ANY (r.overrides))
		UNION ALL
		SELECT 'own', 1, NULL, f.calendar, nullif(ARRAY[f.channel], '{*}'), nullif(ARRAY[f.topic], '{*}'), NULL, NULL, NULL, nullif(ARRAY[f.channel], '{*}'), nullif(ARRAY[f.topic], '{*}'), NULL, NULL, NULL, '0', NULL, NULL
		FROM model.frequency f WHERE f.contact = s.contact
	)
	SELECT h.name, h.most, h.per, h.calendar, h.channels, h.topics, h.classes, h.journeys, h.countries, h.counts_channels, h.counts_topics, h.counts_classes, h.counts_journeys, h.overrides, h.look_ahead, z, h.only_class
	FROM held h, unnest(CASE WHEN h.calendar IS NULL THEN '{UTC}' ELSE model.zones(s.contact) END) z
	WHERE model.obeys((h.name, h.most, h.per, h.calendar, h.channels, h.topics, h.classes, h.journeys, h.countries, h.counts_channels, h.counts_topics, h.counts_classes, h.counts_journeys, h.overrides, h.look_ahead, z, h.only_class)::model.cap, s)
$$;
CREATE FUNCTION model.full_at(s model.sending, stage text, now timestamptz, t timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT EXISTS (SELECT FROM model.bounds(s) k WHERE k.most <= (
		SELECT count(*) FROM model.sending o WHERE o.contact = s.contact AND model.competes(k, s, o, stage, now) AND model.takes_place(k, o, now, t)))
$$;
-- The first instant at which all of them have a place.  It is one at which something ends.
CREATE FUNCTION model.next_place(s model.sending, stage text, now timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
	WITH used AS (SELECT k, CASE o.state WHEN 'handed' THEN o.handed_at ELSE greatest(now, o.due) END AS at, o
		FROM model.bounds(s) k, model.sending o WHERE o.contact = s.contact AND model.competes(k, s, o, stage, now)),
	candidate AS (
		SELECT CASE WHEN (k).calendar IS NULL THEN at + (k).per ELSE (date_trunc((k).calendar, at AT TIME ZONE (k).zone) + ('1 ' || (k).calendar)::interval) AT TIME ZONE (k).zone END AS t FROM used
		UNION SELECT date_trunc('day', at + (k).per) + d * interval '1 day' FROM used, generate_series(1, 4) d WHERE (k).calendar IS NULL
		UNION SELECT (o).expires_at FROM used
		UNION SELECT greatest(now, (o).due) + interval '1 minute' FROM used
	)
	SELECT min(t) FROM candidate WHERE t > now AND NOT model.full_at(s, stage, now, t)
$$;

-- ---- the whole gate, in its order ----
CREATE FUNCTION model.judge(s model.sending, stage text, now timestamptz, OUT verdict text, OUT reason text, OUT until timestamptz) LANGUAGE plpgsql STABLE AS $$
DECLARE
	p model.step;
	t model.topic;
	quiet text;
	held record;
BEGIN
	SELECT * INTO p FROM model.step WHERE journey = s.journey AND no = s.no;
	SELECT * INTO t FROM model.topic WHERE topic = p.topic;
	verdict := 'withheld';
	IF (SELECT r.exited FROM model.run r WHERE (r.contact, r.journey, r.key) = (s.contact, s.journey, s.key)) THEN
		reason := 'exited';
		RETURN;
	END IF;
	reason := model.unreachable(s.contact, p.channel, p.topic, false, now);
	IF reason IS NULL OR reason IN ('no_address', 'bad_address') THEN
		SELECT * INTO held FROM model.held(s, now);
		IF held.action IS NOT NULL THEN
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
	IF reason IS NOT NULL THEN
		RETURN;
	END IF;
	IF now >= s.expires_at THEN
		reason := 'expired';
		RETURN;
	END IF;
	quiet := model.quiet_at(s.contact, p.channel, p.topic, now);
	IF t.class <> 'transactional' AND quiet IS NOT NULL THEN
		reason := 'quiet_hours';
		until := model.next_loud(s.contact, p.channel, p.topic, now);
	ELSIF model.full_at(s, stage, now, now) THEN
		reason := 'capped';
		quiet := p.capped;
		IF p.capped = 'defer' THEN
			until := model.next_loud(s.contact, p.channel, p.topic, model.next_place(s, stage, now));
			until := CASE WHEN until > s.since + p.within THEN NULL ELSE until END;
		END IF;
	ELSE
		verdict := 'sent';
		RETURN;
	END IF;
	IF quiet = 'defer' AND until < s.expires_at THEN
		verdict := 'deferred';
	ELSE
		until := NULL;
	END IF;
END
$$;

-- ---- comparing ----
CREATE FUNCTION model.complain(what text) RETURNS void LANGUAGE sql AS $$ INSERT INTO model.mismatch (what) VALUES (what) $$;

-- An event that starts a run: expect the run, or the refusal.
CREATE FUNCTION model.enter(who bigint, about text, run_key text, now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	reasons text[];
	r record;
	e record;
BEGIN
	-- one channel that may be used is enough; else the reason is that of one of them (an address that is none is no address)
	SELECT array_agg(replace(model.unreachable(who, p.channel, p.topic, true, now), 'bad_address', 'no_address')) INTO reasons FROM model.step p WHERE p.journey = about;
	IF model.entered_enough(who, about, now) THEN
		reasons := array_append(array_remove(reasons, NULL), 'capped');
	END IF;
	SELECT x.reason, x.at INTO r FROM journey_state.refusal x JOIN journey_state.event v USING (contact, event_id) WHERE x.contact = who AND v.properties ->> 'k' = run_key;
	SELECT x.ghost, x.entered_at AS at INTO e FROM journey_state.enrollment x JOIN journey.journey j USING (journey_id) WHERE x.contact = who AND j.name = about AND x.key = run_key;
	IF (array_position(reasons, NULL) IS NOT NULL) <> (e.at IS NOT NULL) OR NOT coalesce(replace(r.reason, 'bad_address', 'no_address'), reasons[1], '') = ANY (array_append(reasons, '')) OR coalesce(e.at <> now, r.at <> now, true) THEN
		PERFORM model.complain(format('contact %s, %s %s at %s: entry, by channel, should be %s, is %s', who, about, run_key, now, reasons, coalesce('refused: ' || r.reason, to_jsonb(e)::text)));
	END IF;
	IF e.at IS NOT NULL THEN
		INSERT INTO model.run (contact, journey, key, entered_at, ghost, touched) VALUES (who, about, run_key, e.at, e.ghost, now);
		PERFORM model.go_on(who, about, run_key, 1, e.at);
	END IF;
END
$$;
CREATE FUNCTION model.go_on(who bigint, about text, run_key text, step_no integer, now timestamptz) RETURNS void LANGUAGE sql AS $$
	INSERT INTO model.sending (contact, journey, key, no, ghost, state, due, since, expires_at)
	SELECT r.contact, r.journey, r.key, p.no, r.ghost, 'waiting', now + p.wait, now + p.wait, now + p.wait + p.expires
	FROM model.run r JOIN model.step p USING (journey) WHERE NOT r.exited AND NOT r.capped AND r.contact = who AND r.journey = about AND r.key = run_key AND p.no = step_no
$$;
CREATE FUNCTION model.leave(who bigint, about text, now timestamptz) RETURNS void LANGUAGE sql AS $$
	UPDATE model.run SET touched = now WHERE contact = who AND journey = about;
	-- a run that is over is exited only for a message that could still go
	UPDATE model.run r SET exited = true WHERE contact = who AND journey = about
		AND EXISTS (SELECT FROM model.sending s WHERE (s.contact, s.journey, s.key) = (r.contact, r.journey, r.key) AND (s.state IN ('waiting', 'deferred') OR s.state = 'pending' AND s.expires_at > now));
	UPDATE model.sending SET state = 'over' WHERE contact = who AND journey = about AND state IN ('waiting', 'deferred');
$$;

-- One verdict: complain if it is another than the model's, and go on from it.
CREATE FUNCTION model.compare(s model.sending, stage text, now timestamptz, verdict text, reason text, until timestamptz, evidence jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	e record;
BEGIN
	SELECT * INTO e FROM model.judge(s, stage, now);
	IF (e.reason = 'held' OR reason = 'held') AND model.perhaps_held(s, now) THEN
		SELECT verdict AS verdict, reason AS reason, until AS until INTO e;
	END IF;
	IF (e.verdict, e.reason) IS DISTINCT FROM (verdict, reason) OR model.wrong_until(s, e.until, until, reason) OR evidence ? 'asked' THEN
		PERFORM model.complain(format(E'contact %s, %s %s send %s, %s at %s:\n  should be %s, is %s\n  %s\n  evidence %s\n  others: %s', s.contact, s.journey, s.key, s.no, stage, now,
			to_jsonb(e), jsonb_build_object('verdict', verdict, 'reason', reason, 'until', until), to_jsonb(s), evidence,
			(SELECT string_agg(E'\n    ' || to_jsonb(o)::text || ' weight ' || model.weight(o, now), '') FROM model.sending o WHERE o.contact = s.contact AND o.id <> s.id AND o.state <> 'over')));
	END IF;
	UPDATE model.run r SET touched = now WHERE (r.contact, r.journey, r.key) = (s.contact, s.journey, s.key);
	UPDATE model.sending m SET since = s.since, expires_at = s.expires_at, due = coalesce(compare.until, now),
		state = CASE WHEN compare.verdict = 'withheld' OR s.ghost AND compare.verdict = 'sent' THEN 'over' WHEN stage = 'claim' AND compare.verdict = 'sent' THEN 'handed'
			WHEN stage = 'claim' OR compare.verdict = 'sent' THEN 'pending' ELSE 'deferred' END,
		granted = compare.verdict = 'sent',
		handed_at = CASE WHEN stage = 'claim' AND compare.verdict = 'sent' THEN now END
	WHERE m.id = s.id;
	IF compare.reason = 'capped' AND compare.verdict = 'withheld' AND (SELECT capped = 'exit' FROM model.step p WHERE p.journey = s.journey AND p.no = s.no) THEN
		-- it goes no further; what it has sent before may still go
		UPDATE model.run r SET capped = true WHERE (r.contact, r.journey, r.key) = (s.contact, s.journey, s.key);
		UPDATE model.sending m SET state = 'over' WHERE (m.contact, m.journey, m.key) = (s.contact, s.journey, s.key) AND m.state IN ('waiting', 'deferred');
	END IF;
END
$$;
-- Each verdict given since: is it the one?  late: by a tick at "now" that came when it came.
CREATE FUNCTION model.observe(now timestamptz, late boolean) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	v record;
	s model.sending;
	n integer := 0;
	due boolean;
BEGIN
	FOR v IN
		SELECT x.*, j.name AS journey, r.key,
			(SELECT count(*) FROM journey.step p WHERE p.version_id = x.version_id AND p.kind = 'send' AND p.step_no <= x.step_no)::integer AS no
		FROM journey_state.verdict x JOIN journey_state.enrollment r USING (contact, enrollment_id) JOIN journey.journey j USING (journey_id)
		WHERE x.stage = 'decide' AND x.verdict_id > (SELECT coalesce(max(seen), 0) FROM model.seen)
		ORDER BY x.verdict_id
	LOOP
		n := n + 1;
		INSERT INTO model.seen VALUES (v.verdict_id);
		SELECT * INTO s FROM model.sending m WHERE (m.contact, m.journey, m.key, m.no) = (v.contact, v.journey, v.key, v.no);
		IF s.state = 'waiting' THEN
			s.since := v.at;
			s.expires_at := v.at + (SELECT expires FROM model.step p WHERE p.journey = s.journey AND p.no = s.no);
		END IF;
		due := CASE WHEN late THEN v.at = now AND s.due <= now ELSE v.at = s.due END AND s.state IN ('waiting', 'deferred');
		PERFORM model.compare(s, 'decide', v.at, v.verdict, v.reason, v.until, v.evidence || CASE WHEN coalesce(due, false) AND v.ghost = s.ghost THEN '{}' ELSE '{"asked": "at a wrong time"}' END::jsonb);
		UPDATE model.sending m SET message_id = v.message_id WHERE m.id = s.id;
		IF v.verdict <> 'deferred' THEN
			PERFORM model.go_on(s.contact, s.journey, s.key, s.no + 1, v.at);
		END IF;
	END LOOP;
	RETURN n;
END
$$;
-- With jitter: a little later, still before it expires and not in quiet hours.
CREATE FUNCTION model.wrong_until(s model.sending, expected timestamptz, found timestamptz, reason text) RETURNS boolean LANGUAGE sql AS $$
	SELECT (expected IS NULL) <> (found IS NULL) OR found < expected
		OR found > expected + CASE reason WHEN 'quiet_hours' THEN coalesce((SELECT max(jitter) FROM model.quiet), '0') ELSE '0' END
		OR found >= s.expires_at
		OR found > expected AND (SELECT model.quiet_at(s.contact, p.channel, p.topic, found) IS NOT NULL FROM model.step p WHERE p.journey = s.journey AND p.no = s.no)
$$;
-- What is due and was not asked.
CREATE FUNCTION model.missed(now timestamptz) RETURNS void LANGUAGE sql AS $$
	SELECT model.complain(format(E'not asked by %s: %s\n%s', now, to_jsonb(s), (SELECT string_agg(format('  %s %s %s', x.at, x.what, x.detail), E'\n') FROM journey.explain(s.contact) x))) FROM model.sending s
	WHERE s.due <= now AND s.state IN ('waiting', 'deferred')
$$;

-- Time passes: a tick at each instant at which something is due, or one late tick, or a replay.
CREATE PROCEDURE model.advance(now timestamptz, how text) LANGUAGE plpgsql AS $$
DECLARE
	next timestamptz;
	round record;
BEGIN
	IF how = 'replay' THEN
		PERFORM journey.replay(now);
		COMMIT;
		PERFORM model.observe(now, false);
	ELSE
		LOOP
			SELECT min(due) INTO next FROM model.sending WHERE state IN ('waiting', 'deferred') AND due < now AND how = 'tick';
			LOOP
				SELECT * INTO round FROM journey.tick(coalesce(next, now));
				COMMIT;
				EXIT WHEN NOT round.more;
			END LOOP;
			PERFORM model.observe(coalesce(next, now), how = 'late');
			EXIT WHEN next IS NULL OR EXISTS (SELECT FROM model.mismatch);
			PERFORM model.missed(next);
			COMMIT;
		END LOOP;
	END IF;
	PERFORM model.missed(now);
	COMMIT;
END
$$;
-- Something happens to a contact.
CREATE PROCEDURE model.go(who bigint, about text, run_key text, now timestamptz, how text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM journey.track(who, 'go_' || about, jsonb_build_object('k', run_key), now);
	COMMIT;
	IF how = 'replay' THEN
		PERFORM journey.replay(now);
	ELSE
		PERFORM journey.tick(now);
	END IF;
	COMMIT;
	PERFORM model.enter(who, about, run_key, now);
	PERFORM model.observe(now, how = 'late');
	PERFORM model.missed(now);
	COMMIT;
END
$$;
CREATE PROCEDURE model.stop(who bigint, about text, now timestamptz, how text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM journey.track(who, 'stop_' || about, '{}', now);
	COMMIT;
	IF how = 'replay' THEN
		PERFORM journey.replay(now);
	ELSE
		PERFORM journey.tick(now);
	END IF;
	COMMIT;
	PERFORM model.leave(who, about, now);
	PERFORM model.observe(now, how = 'late');
	COMMIT;
END
$$;
CREATE PROCEDURE model.claim(now timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	got record;
	s model.sending;
	v record;
BEGIN
	SELECT coalesce(array_agg(message_id), '{}') AS ids, array_agg(attempt) AS attempts INTO got FROM journey.claim('r1', 10000, '60 seconds', now);
	COMMIT;
	FOR s IN SELECT * FROM model.sending m WHERE m.state = 'pending' AND m.due <= now ORDER BY m.contact, model.weight(m, now) DESC, m.since, m.id LOOP
		SELECT x.* INTO v FROM journey_state.verdict x WHERE x.contact = s.contact AND x.message_id = s.message_id AND x.stage = 'claim' AND x.at = now;
		PERFORM model.compare(s, 'claim', now, coalesce(v.verdict, CASE WHEN s.message_id = ANY (got.ids) THEN 'sent' ELSE 'not offered' END), v.reason, v.until, coalesce(v.evidence, '{}'));
	END LOOP;
	IF (SELECT array_agg(message_id ORDER BY message_id) FROM model.sending WHERE handed_at = now) IS DISTINCT FROM (SELECT array_agg(i ORDER BY i) FROM unnest(got.ids) i) THEN
		PERFORM model.complain(format('at %s the relay got %s', now, got.ids));
	END IF;
	IF got.attempts IS NOT NULL THEN
		PERFORM journey.report('r1', got.ids, got.attempts, array_fill('sent'::text, ARRAY[cardinality(got.ids)]), array_fill('250'::text, ARRAY[cardinality(got.ids)]),
			array_fill(''::text, ARRAY[cardinality(got.ids)]), now);
	END IF;
	COMMIT;
END
$$;
