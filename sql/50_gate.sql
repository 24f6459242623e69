/*
 * gate: consent, topics and frequency caps.
 */

CREATE FUNCTION journey.set_consent(contact anyelement, channel text, topic text, granted boolean, source text, at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_set_consent';
REVOKE ALL ON FUNCTION journey.set_consent(anyelement, text, text, boolean, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.set_consent(anyelement, text, text, boolean, text, timestamptz) IS 'gives or withdraws consent of a contact by channel and topic (* for all topics); what is older than the present state only goes to the log, but a withdrawal ends a grant dated in the future';

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
