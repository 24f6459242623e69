/*
 * engagement: how contacts respond, for frequency caps, BEST OF and send times.
 *
 * As in 81_performance.sql the operators of the large statements are not
 * qualified one by one.  engagement.c reads the same of few contacts.
 */

CREATE TABLE journey.engagement_event
(
	event				text		PRIMARY KEY
);
COMMENT ON TABLE journey.engagement_event IS 'The events by which a contact responds. One that names a message (property message_id) counts for it; one that names none counts for the messages of the day before. Events with property machine = true never count.';
INSERT INTO journey.engagement_event VALUES ('clicked');
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.engagement_event
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();

CREATE FUNCTION journey.set_engagement_event(event text, engages boolean, at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF event IS NULL OR engages IS NULL THEN
		RAISE EXCEPTION 'event and engages must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF event = '' OR octet_length(event) > 200 THEN
		RAISE EXCEPTION 'an event''s name has between 1 and 200 bytes'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF event IN ('sent', 'delivered', 'opened', 'bounced', 'complained', 'unsubscribed') AND engages THEN
		RAISE EXCEPTION 'event "%" does not show that a contact responds', event
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Machines open messages, too. Use clicks, sessions and orders.';
	END IF;
	IF event = 'clicked' AND NOT engages THEN
		RAISE EXCEPTION 'event "clicked" always shows that a contact responds'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF engages THEN
		INSERT INTO journey.engagement_event VALUES (set_engagement_event.event) ON CONFLICT DO NOTHING;
	ELSE
		DELETE FROM journey.engagement_event AS g WHERE g.event = set_engagement_event.event;
	END IF;
	IF FOUND THEN
		PERFORM journey.alter_segment(h.name, predicate => journey._sunset_predicate(h.sunset_after, h.sunset_messages), timezone => 'UTC', at => set_engagement_event.at)
		FROM journey.hold AS h WHERE h.sunset ORDER BY h.name;
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey.set_engagement_event(text, boolean, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.set_engagement_event(text, boolean, timestamptz) IS 'says whether an event, such as a visit or an order, shows that a contact responds; clicks do from the start. Sunsets are made anew.';

/*
 * Messages handed over and responded to, by contact and channel, in two spans of 30 days.  It is
 * about all contacts: a planner without statistics takes them for few and would compare every
 * message with every response, hence no nested loops.
 */
CREATE FUNCTION journey.engagement_counts(as_of timestamptz DEFAULT clock_timestamp(), slices integer DEFAULT 1024)
RETURNS TABLE (contact text, channel text, sends_30d bigint, clicks_30d bigint, sends_prev_30d bigint, clicks_prev_30d bigint)
LANGUAGE plpgsql STABLE
SET enable_nestloop = off
SET search_path = pg_catalog, pg_temp
AS $body$
#variable_conflict use_column
BEGIN
	PERFORM journey._require_plain_state();
	RETURN QUERY
	WITH response AS (
		SELECT e.contact, e.at, e.properties ->> 'message_id' AS message_id
		FROM journey_state.event AS e
		JOIN journey.engagement_event AS g ON g.event = e.name
		WHERE e.at > $1 - interval '60 days' AND e.at <= $1 AND e.slice < $2
			AND (e.properties ->> 'machine') IS DISTINCT FROM 'true'
	), sent AS (
		SELECT m.contact, m.channel, m.message_id, m.claimed_at
		FROM journey_state.message AS m
		WHERE m.claimed_at > $1 - interval '60 days' AND m.claimed_at <= $1 AND m.slice < $2 AND m.status IN ('claimed', 'sent')
			-- nothing is handed over once it has expired
			AND m.decided_at <= $1 AND m.decided_at >= $1 - interval '60 days' - coalesce((
				SELECT max(l.days) FROM journey_state.message_span AS l
				WHERE l.before > $1 - interval '60 days' - l.days * interval '24 hours'), 0) * interval '24 hours'
	), clicked AS (
		SELECT s.contact, s.message_id FROM sent AS s
		JOIN response AS a ON a.contact = s.contact AND a.message_id = s.message_id::text AND a.at >= s.claimed_at
		UNION
		SELECT s.contact, s.message_id FROM sent AS s
		JOIN response AS a ON a.contact = s.contact AND a.message_id IS NULL
			AND a.at >= s.claimed_at AND a.at < s.claimed_at + interval '24 hours'
	)
	SELECT s.contact::text, s.channel,
		count(*) FILTER (WHERE s.claimed_at > $1 - interval '30 days'), count(c.message_id) FILTER (WHERE s.claimed_at > $1 - interval '30 days'),
		count(*) FILTER (WHERE s.claimed_at <= $1 - interval '30 days'), count(c.message_id) FILTER (WHERE s.claimed_at <= $1 - interval '30 days')
	FROM sent AS s
	LEFT JOIN clicked AS c ON c.contact = s.contact AND c.message_id = s.message_id
	GROUP BY s.contact, s.channel;
END
$body$;
REVOKE ALL ON FUNCTION journey.engagement_counts(timestamptz, integer) FROM PUBLIC;
COMMENT ON FUNCTION journey.engagement_counts(timestamptz, integer) IS 'How many messages each contact was sent over each channel in the 30 days before a time and in the 30 days before those, and how many of them it responded to; of the contacts of the first so many slices';

/*
 * Everybody's distribution of the rate, by moments: with n messages and x
 * responses of each of k contacts, N and X in all, m = X/N,
 *	 S = sum of n (x/n - m)^2,
 *	 E(S) = m (1 - m) [(k - 1) + r (N - sum(n^2)/N - (k - 1))]
 * where r = 1 / (a0 + b0 + 1) is the correlation of two messages of a contact
 * (Kleinman 1973).  The strength a0 + b0 is kept between 1 and 1000.  Fewer than
 * 30 contacts say nothing of how they differ; nor do contacts with one message
 * each.
 *
 * Slices are hashes of contacts.  Where there are many contacts, those of the
 * first slices, ten thousand or more, stand for all.
 */
CREATE FUNCTION journey._refresh_engagement(at timestamptz)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
	slices integer := (SELECT count(*) FROM journey_state.slice);
	in_first bigint;
BEGIN
	SELECT count(DISTINCT m.contact) INTO in_first FROM journey_state.message AS m
		WHERE m.slice = 0 AND m.decided_at > _refresh_engagement.at - interval '60 days' AND m.decided_at <= _refresh_engagement.at;
	IF in_first * slices > 10000 THEN
		slices := ceil(10000.0 / in_first);
	END IF;

	-- one at a time; readers go on
	LOCK TABLE journey_state.engagement_prior IN SHARE ROW EXCLUSIVE MODE;
	DELETE FROM journey_state.engagement_prior;
	INSERT INTO journey_state.engagement_prior (channel, a0, b0, contacts, at)
	SELECT r.channel,
		CASE WHEN r.k < 30 THEN 2 ELSE r.m * r.strength END,
		CASE WHEN r.k < 30 THEN 8 ELSE (1 - r.m) * r.strength END,
		r.k, _refresh_engagement.at
	FROM (
		SELECT t.channel, t.k, t.m,
			CASE
				WHEN t.freedom <= 0 THEN 10
				WHEN t.correlation <= 0 THEN 1000
				ELSE least(1000, greatest(1, 1 / t.correlation - 1)) END AS strength
		FROM (
			SELECT s.channel, s.k, s.m, s.freedom,
				CASE WHEN s.freedom > 0 THEN (s.spread / (s.m * (1 - s.m)) - (s.k - 1)) / s.freedom END AS correlation
			FROM (
				SELECT c.channel, count(*) AS k, c.m,
					sum(c.n * (c.x / c.n - c.m) ^ 2) AS spread,
					sum(c.n) - sum(c.n * c.n) / sum(c.n) - (count(*) - 1) AS freedom
				FROM (
					SELECT b.channel, b.n, b.x,
						-- never 1, which leaves nothing to learn
						least(sum(b.x) OVER w, sum(b.n) OVER w - 0.5) / sum(b.n) OVER w AS m
					FROM (
						SELECT e.channel, (e.sends_30d + e.sends_prev_30d)::float8 AS n, (e.clicks_30d + e.clicks_prev_30d)::float8 AS x
						FROM journey.engagement_counts(_refresh_engagement.at, slices) AS e
					) AS b
					WINDOW w AS (PARTITION BY b.channel)
				) AS c
				WHERE c.m > 0
				GROUP BY c.channel, c.m
			) AS s
		) AS t
	) AS r;
END
$body$;
REVOKE ALL ON FUNCTION journey._refresh_engagement(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey._refresh_engagement(timestamptz) IS 'internal: how all contacts together respond to each channel; a channel without any response is left out';

CREATE TYPE journey.engagement_figures AS
(
	contact				text,
	channel				text,
	sends_30d			bigint,
	clicks_30d			bigint,
	sends_prev_30d		bigint,
	clicks_prev_30d		bigint,
	engagement			float8,
	engagement_low		float8,
	engagement_high		float8,
	p_drop				float8,
	fatigue				text,
	p_high				float8,
	p_low				float8,
	classes				text[],
	recommended_per_week float8,
	reason				text,
	last_human_event_at	timestamptz
);
COMMENT ON TYPE journey.engagement_figures IS 'A row of journey.engagement()';

/*
 * Counts come in few combinations, so what is costly is computed for those.
 */
CREATE FUNCTION journey.engagement(as_of timestamptz DEFAULT clock_timestamp())
RETURNS SETOF journey.engagement_figures
LANGUAGE plpgsql STABLE
SET enable_nestloop = off
SET search_path = pg_catalog, pg_temp
AS $body$
#variable_conflict use_column
BEGIN
	PERFORM journey._require_plain_state();
	RETURN QUERY
	WITH counts AS MATERIALIZED (
		SELECT c.*, p.a0, p.b0
		FROM journey.engagement_counts($1) AS c
		LEFT JOIN journey_state.engagement_prior AS p ON p.channel = c.channel
	), combination AS (
		SELECT DISTINCT c.a0, c.b0, c.sends_30d, c.clicks_30d, c.sends_prev_30d, c.clicks_prev_30d FROM counts AS c WHERE c.a0 IS NOT NULL
	), posterior AS (
		SELECT k.*,
			(k.a0 + k.clicks_30d) / (k.a0 + k.b0 + k.sends_30d) AS mean,
			journey.stat_beta_quantile(0.025, k.a0 + k.clicks_30d, k.b0 + k.sends_30d - k.clicks_30d) AS low,
			journey.stat_beta_quantile(0.975, k.a0 + k.clicks_30d, k.b0 + k.sends_30d - k.clicks_30d) AS high,
			journey.stat_beta_drop(k.a0 + k.clicks_prev_30d, k.b0 + k.sends_prev_30d - k.clicks_prev_30d,
				k.a0 + k.clicks_30d, k.b0 + k.sends_30d - k.clicks_30d) AS p_drop,
			1 - journey.stat_beta_cdf(0.40, k.a0 + k.clicks_30d, k.b0 + k.sends_30d - k.clicks_30d) AS p_high,
			journey.stat_beta_cdf(0.10, k.a0 + k.clicks_30d, k.b0 + k.sends_30d - k.clicks_30d) AS p_low,
			least(k.sends_30d, k.sends_prev_30d) >= 4 AS enough
		FROM combination AS k
	), judged AS (
		SELECT p.*,
			CASE WHEN NOT p.enough THEN 'unknown' WHEN p.p_drop >= 0.8 THEN 'fatigued' WHEN p.p_drop >= 0.6 THEN 'watch' ELSE 'ok' END AS fatigue,
			array_remove(ARRAY[CASE WHEN p.p_high >= 0.8 THEN 'high' END, CASE WHEN p.p_low >= 0.8 THEN 'low' END,
				CASE WHEN p.enough AND p.p_drop >= 0.8 THEN 'fatigued' END], NULL) AS classes
		FROM posterior AS p
	)
	SELECT c.contact, c.channel, c.sends_30d, c.clicks_30d, c.sends_prev_30d, c.clicks_prev_30d,
		j.mean, j.low, j.high, j.p_drop, coalesce(j.fatigue, 'unknown'), j.p_high, j.p_low, coalesce(j.classes, '{}'),
		CASE
			WHEN 'fatigued' = ANY (j.classes) THEN c.sends_30d * 7 / 60.0
			WHEN 'high' = ANY (j.classes) THEN 7
			WHEN 'low' = ANY (j.classes) THEN 1.75
			ELSE c.sends_30d * 7 / 30.0 END::float8,
		CASE
			WHEN j.mean IS NULL THEN 'no response is known on this channel'
			WHEN 'fatigued' = ANY (j.classes) THEN 'clicks at least 30 % less than in the 30 days before: half as many as now'
			WHEN 'high' = ANY (j.classes) THEN 'clicks more than 40 % of messages: daily'
			WHEN 'low' = ANY (j.classes) THEN 'clicks less than 10 % of messages: every 4 days'
			ELSE 'as many as now' END,
		l.at
	FROM counts AS c
	LEFT JOIN judged AS j ON j.a0 = c.a0 AND j.b0 = c.b0 AND j.sends_30d = c.sends_30d AND j.clicks_30d = c.clicks_30d
		AND j.sends_prev_30d = c.sends_prev_30d AND j.clicks_prev_30d = c.clicks_prev_30d
	LEFT JOIN (
		SELECT e.contact::text AS contact, max(e.at) AS at
		FROM journey_state.event AS e
		JOIN journey.engagement_event AS g ON g.event = e.name
		WHERE e.at <= $1 AND (e.properties ->> 'machine') IS DISTINCT FROM 'true'
		GROUP BY e.contact
	) AS l ON l.contact = c.contact
	ORDER BY c.contact, c.channel;
END
$body$;
REVOKE ALL ON FUNCTION journey.engagement(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.engagement(timestamptz) IS 'How contacts respond to each channel: what was sent and clicked in two spans of 30 days, what is believed of the rate, whether it has fallen (fatigue), and how often to write';

CREATE FUNCTION journey.frequency_curve(channel text, as_of timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (sends_per_week integer, contacts bigint, sends bigint, clicks bigint, click_rate float8, click_rate_low float8, click_rate_high float8,
	clicks_per_contact_week float8, withdrawn bigint, withdrawn_share float8, basis text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $body$
#variable_conflict use_column
BEGIN
	PERFORM journey._require_plain_state();
	IF NOT EXISTS (SELECT FROM journey.channel AS h WHERE h.name = $1) THEN
		RAISE EXCEPTION 'channel "%" does not exist', $1
			USING ERRCODE = 'undefined_object', HINT = 'The channels are in journey.channel.';
	END IF;
	RETURN QUERY
	SELECT t.per_week, t.contacts, t.sends, t.clicks, t.clicks / t.sends::float8, w.low, w.high,
		t.clicks * 7 / 30.0::float8 / t.contacts, t.withdrawn, t.withdrawn / t.contacts::float8, 'observational'
	FROM (
		SELECT round(c.sends_30d * 7 / 30.0)::integer AS per_week, count(*) AS contacts, sum(c.sends_30d)::bigint AS sends, sum(c.clicks_30d)::bigint AS clicks,
			count(*) FILTER (WHERE u.contact IS NOT NULL) AS withdrawn
		FROM journey.engagement_counts($2) AS c
		LEFT JOIN (
			SELECT DISTINCT k.contact::text AS contact FROM journey_state.consent_log AS k
			WHERE k.channel = $1 AND NOT k.granted AND k.at > $2 - interval '30 days' AND k.at <= $2
		) AS u ON u.contact = c.contact
		WHERE c.channel = $1 AND c.sends_30d > 0
		GROUP BY 1
	) AS t
	CROSS JOIN LATERAL journey.stat_wilson(t.clicks, t.sends) AS w
	ORDER BY 1;
END
$body$;
REVOKE ALL ON FUNCTION journey.frequency_curve(text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.frequency_curve(text, timestamptz) IS 'Clicks and withdrawals of consent by messages per week in the last 30 days. Observational: keen customers cause more messages, so this is not what another frequency would bring.';

CREATE FUNCTION journey.refresh_engagement(at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_refresh_engagement';
REVOKE ALL ON FUNCTION journey.refresh_engagement(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.refresh_engagement(timestamptz) IS 'learns anew how all contacts together respond, to each channel and by hour of the day; journey.maintain() does so once a day';

CREATE FUNCTION journey.send_times(as_of timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (contact text, day_kind text, best_hour integer, score float8, confidence float8, source text,
	expected_lift_vs_default float8, n_events bigint, next_send_at timestamptz)
LANGUAGE C STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_send_times';
REVOKE ALL ON FUNCTION journey.send_times(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.send_times(timestamptz) IS 'At which local hour each contact responds most, on weekdays and at the weekend';
