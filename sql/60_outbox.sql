/*
 * outbox: channels, templates, and what the relay calls.
 */

CREATE TABLE journey.channel
(
	name				text		PRIMARY KEY,
	provider			text		NOT NULL CHECK (provider IN ('smtp')),
	address				text		NOT NULL DEFAULT 'email' CHECK (address IN ('email', 'phone')),
	settings			jsonb		NOT NULL,
	created_at			timestamptz	NOT NULL
);
COMMENT ON TABLE journey.channel IS 'A way to reach a contact. Provider secrets live with the relay, never here.';
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.channel
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();

CREATE TABLE journey.template
(
	name				text		NOT NULL,
	channel				text		NOT NULL,
	subject				text		NOT NULL,
	body				text		NOT NULL,
	html				text,
	created_at			timestamptz	NOT NULL,
	PRIMARY KEY (name, channel)
);
COMMENT ON TABLE journey.template IS 'A message in Liquid: subject, plain-text body and optional HTML body; one for each channel that it may go over';
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.template
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();

CREATE FUNCTION journey._is_email(address text)
RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_is_email';
REVOKE ALL ON FUNCTION journey._is_email(text) FROM PUBLIC;
COMMENT ON FUNCTION journey._is_email(text) IS 'internal: is this an address the gate lets through to an e-mail channel?';

CREATE FUNCTION journey._is_mailbox(mailbox text)
RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_is_mailbox';
REVOKE ALL ON FUNCTION journey._is_mailbox(text) FROM PUBLIC;
COMMENT ON FUNCTION journey._is_mailbox(text) IS 'internal: is this an address or "Name <address>"?';

CREATE FUNCTION journey._is_phone(number text)
RETURNS boolean
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_is_phone';
REVOKE ALL ON FUNCTION journey._is_phone(text) FROM PUBLIC;
COMMENT ON FUNCTION journey._is_phone(text) IS 'internal: is this a number in E.164 form?';

CREATE FUNCTION journey._check_template(source text)
RETURNS void
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_template_check';
REVOKE ALL ON FUNCTION journey._check_template(text) FROM PUBLIC;
COMMENT ON FUNCTION journey._check_template(text) IS 'internal: refuses a malformed Liquid template';

CREATE FUNCTION journey._check_smtp_settings(name text, settings jsonb)
RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	setting record;
	required text;
	url text := settings OPERATOR(pg_catalog.->>) 'url';
	parts text[] := pg_catalog.regexp_match(url, '^smtps?://([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?/?$');
BEGIN
	IF settings IS NULL OR pg_catalog.jsonb_typeof(settings) OPERATOR(pg_catalog.<>) 'object' THEN
		RAISE EXCEPTION 'settings of channel "%" must be a JSON object', name
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	FOR setting IN SELECT s.key, s.value FROM pg_catalog.jsonb_each(settings) AS s LOOP
		IF setting.key OPERATOR(pg_catalog.<>) ALL (ARRAY['url', 'from', 'address', 'domain']) THEN
			RAISE EXCEPTION 'channel "%" has no setting "%"', name, setting.key
				USING ERRCODE = 'invalid_parameter_value',
				HINT = 'The settings of provider smtp are url, from, address and domain. User and password belong in the configuration of the relay.';
		END IF;
		IF pg_catalog.jsonb_typeof(setting.value) OPERATOR(pg_catalog.<>) 'string' THEN
			RAISE EXCEPTION 'setting "%" of channel "%" must be a string', setting.key, name
				USING ERRCODE = 'invalid_parameter_value';
		END IF;
	END LOOP;
	FOREACH required IN ARRAY ARRAY['url', 'from'] LOOP
		IF NOT settings OPERATOR(pg_catalog.?) required THEN
			RAISE EXCEPTION 'channel "%" needs the setting "%"', name, required
				USING ERRCODE = 'invalid_parameter_value',
				HINT = 'For example {"url": "smtp://localhost:25", "from": "Shop <hi@shop.example>"}.';
		END IF;
	END LOOP;

	IF url OPERATOR(pg_catalog.~) '@' THEN
		RAISE EXCEPTION 'the URL of channel "%" must not contain a user or a password', name
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Secrets live with the relay: put them into its configuration, under the name of the channel.';
	END IF;
	IF parts IS NULL OR parts[2]::integer OPERATOR(pg_catalog.=) 0 OR parts[2]::integer OPERATOR(pg_catalog.>) 65535 THEN
		RAISE EXCEPTION 'the URL of channel "%" must be smtp://host:port or smtps://host:port', name
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF NOT journey._is_mailbox(settings OPERATOR(pg_catalog.->>) 'from') THEN
		RAISE EXCEPTION 'setting "from" of channel "%" is not an address', name
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Write hi@shop.example or Shop <hi@shop.example>.';
	END IF;
	IF settings OPERATOR(pg_catalog.->>) 'address' OPERATOR(pg_catalog.<>) ALL (ARRAY['email', 'phone']) THEN
		RAISE EXCEPTION 'setting "address" of channel "%" must be email or phone', name
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF NOT journey._is_email('x@' OPERATOR(pg_catalog.||) (settings OPERATOR(pg_catalog.->>) 'domain')) THEN
		RAISE EXCEPTION 'setting "domain" of channel "%" is not a domain', name
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It becomes the right-hand side of Message-ID, for example shop.example.';
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey._check_smtp_settings(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION journey._check_smtp_settings(text, jsonb) IS 'internal: refuses settings that provider smtp does not have or that are malformed';

CREATE FUNCTION journey.create_channel(name text, provider text, settings jsonb, at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM journey._check_name('channel', name);
	IF provider IS DISTINCT FROM 'smtp' THEN
		RAISE EXCEPTION 'provider % is not supported', COALESCE(pg_catalog.quote_literal(provider), 'null')
			USING ERRCODE = 'feature_not_supported',
			HINT = 'The only provider so far is smtp.';
	END IF;
	PERFORM journey._check_smtp_settings(name, settings);
	INSERT INTO journey.channel AS h VALUES (create_channel.name, create_channel.provider,
		COALESCE(create_channel.settings OPERATOR(pg_catalog.->>) 'address', 'email'), create_channel.settings, create_channel.at)
	ON CONFLICT ON CONSTRAINT channel_pkey DO UPDATE SET provider = EXCLUDED.provider, address = EXCLUDED.address, settings = EXCLUDED.settings;
END
$$;
REVOKE ALL ON FUNCTION journey.create_channel(text, text, jsonb, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.create_channel(text, text, jsonb, timestamptz) IS 'makes a channel, or gives a channel of that name new settings';

CREATE FUNCTION journey.create_template(name text, channel text, subject text, body text, html text DEFAULT NULL, at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM journey._check_name('template', name);
	IF subject IS NULL OR body IS NULL THEN
		RAISE EXCEPTION 'subject and body of template "%" must not be null', name
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF NOT EXISTS (SELECT FROM journey.channel AS h WHERE h.name OPERATOR(pg_catalog.=) create_template.channel) THEN
		RAISE EXCEPTION 'channel "%" does not exist', channel
			USING ERRCODE = 'undefined_object',
			HINT = 'Create it with journey.create_channel().';
	END IF;
	IF subject OPERATOR(pg_catalog.~) '[\x01-\x1f\x7f]' THEN
		RAISE EXCEPTION 'subject of template "%" must be one line', name
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	PERFORM journey._check_template(subject);
	PERFORM journey._check_template(body);
	PERFORM journey._check_template(html);
	INSERT INTO journey.template AS t VALUES (create_template.name, create_template.channel, create_template.subject,
		create_template.body, create_template.html, create_template.at)
	ON CONFLICT ON CONSTRAINT template_pkey DO UPDATE SET subject = EXCLUDED.subject, body = EXCLUDED.body, html = EXCLUDED.html;
END
$$;
REVOKE ALL ON FUNCTION journey.create_template(text, text, text, text, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.create_template(text, text, text, text, text, timestamptz) IS 'makes a template in Liquid, or replaces the template of that name and channel';

CREATE FUNCTION journey._is_under_way(version_id integer)
RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF to_regclass('journey_state.enrollment') IS NULL THEN
		RETURN false;
	END IF;
	PERFORM journey._require_plain_state();
	RETURN EXISTS (SELECT FROM journey_state.enrollment AS e WHERE e.version_id = _is_under_way.version_id AND e.ended_at IS NULL)
		OR EXISTS (SELECT FROM journey_state.message AS m WHERE m.version_id = _is_under_way.version_id AND m.status IN ('pending', 'claimed', 'parked'));
END
$$;
REVOKE ALL ON FUNCTION journey._is_under_way(integer) FROM PUBLIC;
COMMENT ON FUNCTION journey._is_under_way(integer) IS 'internal: has a version runs that have not ended, or messages that may still go?';

-- What is at work: the version that new runs get or will get, and older ones that runs are still under way in.
CREATE FUNCTION journey.drop_template(name text, channel text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	used text;
BEGIN
	-- nobody makes a version that sends it meanwhile
	LOCK TABLE journey.step IN SHARE MODE;
	IF NOT EXISTS (SELECT FROM journey.template AS t WHERE t.name OPERATOR(pg_catalog.=) drop_template.name AND t.channel OPERATOR(pg_catalog.=) COALESCE(drop_template.channel, t.channel)) THEN
		RAISE EXCEPTION 'template "%"% does not exist', name, COALESCE(' for channel "' OPERATOR(pg_catalog.||) channel OPERATOR(pg_catalog.||) '"', '')
			USING ERRCODE = 'undefined_object', HINT = 'The templates are in journey.template.';
	END IF;
	SELECT pg_catalog.format('journey "%s", version %s, line %s', j.name, v.version, s.line) INTO used
	FROM journey.step AS s
	JOIN journey.version AS v ON v.version_id OPERATOR(pg_catalog.=) s.version_id AND NOT v.dropped
	JOIN journey.journey AS j ON j.journey_id OPERATOR(pg_catalog.=) v.journey_id AND j.status OPERATOR(pg_catalog.<>) 'dropped'
	WHERE s.template OPERATOR(pg_catalog.=) drop_template.name
		AND (drop_template.channel IS NULL OR drop_template.channel OPERATOR(pg_catalog.=) ANY (COALESCE(s.channels, ARRAY[s.channel])))
		AND (j.version_id OPERATOR(pg_catalog.=) v.version_id OR journey._is_under_way(v.version_id)
			OR NOT EXISTS (SELECT FROM journey.version AS n WHERE n.journey_id OPERATOR(pg_catalog.=) v.journey_id AND n.version_id OPERATOR(pg_catalog.>) v.version_id))
	ORDER BY j.name, v.version DESC, s.line LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'template "%" is in use', name
			USING ERRCODE = 'dependent_objects_still_exist', DETAIL = used,
			HINT = 'Give the journey a script that does not send it, and let the runs of the older version end.';
	END IF;
	DELETE FROM journey.template AS t WHERE t.name OPERATOR(pg_catalog.=) drop_template.name AND t.channel OPERATOR(pg_catalog.=) COALESCE(drop_template.channel, t.channel);
END
$$;
REVOKE ALL ON FUNCTION journey.drop_template(text, text) FROM PUBLIC;
COMMENT ON FUNCTION journey.drop_template(text, text) IS 'removes a template, for one channel or all, that no journey sends: no version that new runs get, or that runs or messages are still under way in';

CREATE FUNCTION journey.open_relay(relay text, token text)
RETURNS bigint
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_open_relay';
REVOKE ALL ON FUNCTION journey.open_relay(text, text) FROM PUBLIC;
COMMENT ON FUNCTION journey.open_relay(text, text) IS 'a relay presents the site token, before anything else on its connection; older sessions of that relay get no more messages';

CREATE FUNCTION journey.claim(relay text, max integer DEFAULT 100, lease interval DEFAULT '60 seconds', at timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (message_id bigint, attempt integer, idempotency_key text, channel text, settings jsonb, recipient text,
	subject text, body text, html text, headers jsonb, decided_at timestamptz, expires_at timestamptz)
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, MDY'
SET intervalstyle = 'postgres'
AS 'MODULE_PATHNAME', 'pgj_sql_claim';
REVOKE ALL ON FUNCTION journey.claim(text, integer, interval, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.claim(text, integer, interval, timestamptz) IS 'hands up to max messages to a relay for the time of the lease; exit, consent, suppression, expiry and caps are looked at again';
