/*
 * gate: consent, preferences and topics.
 */

CREATE FUNCTION journey.set_consent(contact anyelement, channel text, topic text, granted boolean, source text, at timestamptz DEFAULT clock_timestamp(), proof text DEFAULT NULL, ip inet DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_set_consent';
REVOKE ALL ON FUNCTION journey.set_consent(anyelement, text, text, boolean, text, timestamptz, text, inet) FROM PUBLIC;
COMMENT ON FUNCTION journey.set_consent(anyelement, text, text, boolean, text, timestamptz, text, inet) IS 'gives or withdraws consent of a contact by channel and topic (* for all topics); proof: what was agreed to, such as the text beside the box; what is older than the present state only goes to the log, but a withdrawal ends a grant dated in the future';

CREATE FUNCTION journey.withdraw_all(contact anyelement, source text, at timestamptz DEFAULT clock_timestamp(), proof text DEFAULT NULL, ip inet DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_withdraw_all';
REVOKE ALL ON FUNCTION journey.withdraw_all(anyelement, text, timestamptz, text, inet) FROM PUBLIC;
COMMENT ON FUNCTION journey.withdraw_all(anyelement, text, timestamptz, text, inet) IS 'withdraws a contact''s consent for all topics over every channel; transactional messages go on';

CREATE FUNCTION journey.request_consent(contact anyelement, channel text, topic text, source text, expires_in interval DEFAULT '7 days', at timestamptz DEFAULT clock_timestamp(), proof text DEFAULT NULL, ip inet DEFAULT NULL)
RETURNS text
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_request_consent';
REVOKE ALL ON FUNCTION journey.request_consent(anyelement, text, text, text, interval, timestamptz, text, inet) FROM PUBLIC;
COMMENT ON FUNCTION journey.request_consent(anyelement, text, text, text, interval, timestamptz, text, inet) IS 'double opt-in: consent that is not given before journey.confirm_consent() is called with the token that this returns. Send the token to the address in question and nowhere else; only its SHA-256 is kept.';

CREATE FUNCTION journey.confirm_consent(token text, at timestamptz DEFAULT clock_timestamp(), proof text DEFAULT NULL, ip inet DEFAULT NULL)
RETURNS text
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_confirm_consent';
REVOKE ALL ON FUNCTION journey.confirm_consent(text, timestamptz, text, inet) FROM PUBLIC;
COMMENT ON FUNCTION journey.confirm_consent(text, timestamptz, text, inet) IS 'grants what was asked for with journey.request_consent() and says "confirmed"; else says why not, and nothing changes: used, expired, withdrawn (after the request) or unknown';

CREATE FUNCTION journey.import_consent(source_table regclass, contact name, channel text, topic text, at name, source text, proof name DEFAULT NULL, ip name DEFAULT NULL, granted name DEFAULT NULL, imported_at timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (outcome text, entries bigint)
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_import_consent';
REVOKE ALL ON FUNCTION journey.import_consent(regclass, name, text, text, name, text, name, name, name, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.import_consent(regclass, name, text, text, name, text, name, name, name, timestamptz) IS 'records consent out of a table that the caller can read; contact, at, proof, ip and granted name its columns (without granted, every row grants). Undoes no withdrawal as new as the row or newer; can be repeated. Counts the rows by outcome.';

CREATE FUNCTION journey.set_frequency(contact anyelement, channel text, topic text, frequency text, source text, at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_set_frequency';
REVOKE ALL ON FUNCTION journey.set_frequency(anyelement, text, text, text, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.set_frequency(anyelement, text, text, text, text, timestamptz) IS 'how often at most a contact wants to hear of a topic (* for all) over a channel (* for all): all, or one message in each day, week or month of the contact''s calendar (daily, weekly, monthly)';

CREATE FUNCTION journey.preferences(contact anyelement, at timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (channel text, topic text, class text, allowed boolean, state text, since timestamptz, frequency text)
LANGUAGE C STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_preferences';
REVOKE ALL ON FUNCTION journey.preferences(anyelement, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.preferences(anyelement, timestamptz) IS 'what a preference centre shows: for every channel and topic (* for all) whether the gate''s consent check lets it through, the contact''s own word on it (granted, withdrawn, pending, none) and the strictest frequency that holds for it';

CREATE FUNCTION journey.consent_state(granted boolean, expires_at timestamptz, at timestamptz DEFAULT clock_timestamp())
RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN granted THEN 'granted' WHEN NOT granted THEN 'withdrawn' WHEN expires_at OPERATOR(pg_catalog.>) at THEN 'pending' ELSE 'expired' END
$$;
REVOKE ALL ON FUNCTION journey.consent_state(boolean, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.consent_state(boolean, timestamptz, timestamptz) IS 'granted or withdrawn; of a request that is not confirmed (granted null) pending or expired';

-- Names that scripts refer to without quotes.
CREATE FUNCTION journey._check_name(kind text, name text)
RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF name IS NULL OR name OPERATOR(pg_catalog.!~) '^[[:lower:]_][[:lower:][:digit:]_]{0,62}$' THEN
		RAISE EXCEPTION '% is not a valid name of a %', COALESCE(pg_catalog.quote_literal(name), 'null'), kind
			USING ERRCODE = 'invalid_name',
			HINT = 'A name starts with a small letter or an underscore, goes on with small letters, digits and underscores, and has at most 63 of them.';
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey._check_name(text, text) FROM PUBLIC;
COMMENT ON FUNCTION journey._check_name(text, text) IS 'internal: refuses a name that a script could not write without quotes';

CREATE FUNCTION journey.create_topic(name text, class text, obeys_caps boolean DEFAULT NULL, counts_in_caps boolean DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	present text;
	obeys boolean;
	counts boolean;
BEGIN
	PERFORM journey._check_name('topic', name);
	IF class IS NULL OR class OPERATOR(pg_catalog.<>) ALL (ARRAY['promotional', 'educational', 'transactional']) THEN
		RAISE EXCEPTION 'class of topic "%" must be promotional, educational or transactional', name
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Transactional messages need no consent and skip frequency caps; use that class for receipts and the like only.';
	END IF;
	obeys := COALESCE(obeys_caps, class OPERATOR(pg_catalog.<>) 'transactional');
	counts := COALESCE(counts_in_caps, obeys);
	INSERT INTO journey.topic AS t VALUES (create_topic.name, create_topic.class, obeys, counts)
	ON CONFLICT ON CONSTRAINT topic_pkey DO UPDATE SET
		obeys_caps = COALESCE(create_topic.obeys_caps, t.obeys_caps),
		counts_in_caps = COALESCE(create_topic.counts_in_caps, t.counts_in_caps)
	WHERE t.class OPERATOR(pg_catalog.=) create_topic.class;
	SELECT t.class INTO present FROM journey.topic AS t WHERE t.name OPERATOR(pg_catalog.=) create_topic.name;
	IF present OPERATOR(pg_catalog.<>) class THEN
		RAISE EXCEPTION 'topic "%" already exists with class %', name, present
			USING ERRCODE = 'duplicate_object',
			HINT = 'The class decides what consent means, so it does not change. Create another topic.';
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey.create_topic(text, text, boolean, boolean) FROM PUBLIC;
COMMENT ON FUNCTION journey.create_topic(text, text, boolean, boolean) IS 'makes a topic of class promotional, educational or transactional. obeys_caps, counts_in_caps: whether its messages are held back by frequency caps, and whether they use them up; default: all but transactional ones obey, and what obeys counts. For a topic that exists, these two are changed where given; messages decided before keep theirs.';
