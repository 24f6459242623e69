-- The relay's side of the contract and nothing else: open_relay, claim and
-- report over one plain table, for tests that need full control over what a
-- relay is given.  The engine's own functions are tested where they live.
CREATE SCHEMA journey;

CREATE TABLE journey.message
(
	message_id		bigint		GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	idempotency_key	text		NOT NULL UNIQUE,
	channel			text		NOT NULL DEFAULT 'email',
	settings		jsonb		NOT NULL,
	recipient		text		NOT NULL,
	subject			text		NOT NULL DEFAULT 'Hello',
	body			text		NOT NULL DEFAULT 'Good morning.',
	html			text,
	headers			jsonb		NOT NULL DEFAULT '{}',
	decided_at		timestamptz	NOT NULL DEFAULT '2026-01-05 09:00:00+00',
	expires_at		timestamptz	NOT NULL DEFAULT 'infinity',
	status			text		NOT NULL DEFAULT 'pending',
	attempt			integer		NOT NULL DEFAULT 0,
	available_at	timestamptz	NOT NULL DEFAULT '-infinity'
);
CREATE INDEX ON journey.message (available_at, message_id) WHERE status IN ('pending', 'claimed');

CREATE TABLE journey.receipt
(
	receipt_id		bigint		GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	message_id		bigint		NOT NULL,
	attempt			integer		NOT NULL,
	outcome			text		NOT NULL,
	code			text		NOT NULL,
	response		text		NOT NULL,
	at				timestamptz	NOT NULL
);

CREATE TABLE journey.relay (name text PRIMARY KEY, epoch bigint NOT NULL);
CREATE TABLE journey.site (token text NOT NULL, is_copy boolean NOT NULL DEFAULT false, retry_after interval NOT NULL DEFAULT '1 minute');
INSERT INTO journey.site VALUES ('right token');

CREATE FUNCTION journey.open_relay(relay text, token text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	mine bigint;
BEGIN
	IF (SELECT s.is_copy FROM journey.site s) THEN
		RAISE EXCEPTION 'this database is a copy' USING ERRCODE = 'PJ003', HINT = 'Run journey.adopt().';
	END IF;
	IF (SELECT s.token FROM journey.site s) <> open_relay.token THEN
		RAISE EXCEPTION 'the site token is wrong' USING ERRCODE = 'PJ001';
	END IF;
	INSERT INTO journey.relay AS r VALUES (open_relay.relay, 1)
		ON CONFLICT (name) DO UPDATE SET epoch = r.epoch + 1 RETURNING r.epoch INTO mine;
	PERFORM set_config('test.epoch', mine::text, false);
	RETURN mine;
END $$;

CREATE FUNCTION journey._check_relay(relay text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT r.epoch FROM journey.relay r WHERE r.name = relay)::text IS DISTINCT FROM current_setting('test.epoch', true) THEN
		RAISE EXCEPTION 'another session opened relay "%"', relay USING ERRCODE = 'PJ002';
	END IF;
END $$;

CREATE FUNCTION journey.claim(relay text, max integer, lease interval, at timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (message_id bigint, attempt integer, idempotency_key text, channel text, settings jsonb, recipient text,
			   subject text, body text, html text, headers jsonb, decided_at timestamptz, expires_at timestamptz)
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM journey._check_relay(relay);
	RETURN QUERY
	WITH due AS
	(
		SELECT m.message_id FROM journey.message m
		WHERE m.status IN ('pending', 'claimed') AND m.available_at <= claim.at
		ORDER BY m.available_at, m.message_id LIMIT claim.max FOR UPDATE SKIP LOCKED
	)
	UPDATE journey.message m SET status = 'claimed', attempt = m.attempt + 1, available_at = claim.at + claim.lease
	FROM due WHERE due.message_id = m.message_id
	RETURNING m.message_id, m.attempt, m.idempotency_key, m.channel, m.settings, m.recipient,
		m.subject, m.body, m.html, m.headers, m.decided_at, m.expires_at;
END $$;

CREATE FUNCTION journey.report(relay text, message_ids bigint[], attempts integer[], outcomes text[], codes text[], responses text[],
							   at timestamptz DEFAULT clock_timestamp())
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	n integer;
BEGIN
	PERFORM journey._check_relay(relay);
	INSERT INTO journey.receipt (message_id, attempt, outcome, code, response, at)
		SELECT r.i, r.a, r.o, r.c, r.t, report.at FROM unnest(message_ids, attempts, outcomes, codes, responses) AS r (i, a, o, c, t);
	UPDATE journey.message m
		SET status = CASE r.o WHEN 'deferred' THEN 'pending' ELSE r.o END,
			available_at = report.at + (SELECT s.retry_after FROM journey.site s)
		FROM unnest(message_ids, attempts, outcomes) AS r (i, a, o)
		WHERE m.message_id = r.i AND m.attempt = r.a AND m.status = 'claimed';
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END $$;
