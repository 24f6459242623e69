/*
 * rfm: recency, frequency, monetary value.  journey.rfm() scores everybody at
 * one time; journey.rfm_recency() and journey.rfm_score() are what a segment's
 * predicate uses, whose boundaries in time can be seen.
 */

-- No SET search_path: such a function could not be looked into; its body is parsed already
CREATE FUNCTION journey.rfm_recency(last timestamptz, within interval[], at timestamptz)
RETURNS integer
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN last IS NOT NULL THEN
	1 + (SELECT count(*)::integer FROM unnest(within) AS w (span) WHERE last > at - w.span) END;
REVOKE ALL ON FUNCTION journey.rfm_recency(timestamptz, interval[], timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.rfm_recency(timestamptz, interval[], timestamptz) IS 'The recency score of a last order: 1, and 1 for each interval that it lies within. In a predicate, with the current time as "at", it is kept exact by the clock.';

-- No SET search_path: such a function could not be looked into; its body is parsed already
CREATE FUNCTION journey.rfm_score(value numeric, thresholds numeric[])
RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 1 + width_bucket(value, thresholds);
REVOKE ALL ON FUNCTION journey.rfm_score(numeric, numeric[]) FROM PUBLIC;
COMMENT ON FUNCTION journey.rfm_score(numeric, numeric[]) IS 'The score of a frequency or a sum: 1, and 1 for each of the ascending thresholds that it reaches';

CREATE FUNCTION journey._check_rfm_thresholds(method text, bins integer, recency_within interval[], frequency_from numeric[], monetary_from numeric[])
RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $body$
BEGIN
	IF method IS NULL OR method NOT IN ('ntile', 'midrank', 'threshold') THEN
		RAISE EXCEPTION '% is not a method of scoring', coalesce(quote_literal(method), 'null')
			USING ERRCODE = 'invalid_parameter_value', HINT = 'The methods are ntile, midrank and threshold.';
	END IF;
	IF method <> 'threshold' THEN
		IF bins IS NULL OR bins NOT BETWEEN 2 AND 100 THEN
			RAISE EXCEPTION 'bins must be between 2 and 100' USING ERRCODE = 'invalid_parameter_value';
		END IF;
		IF num_nonnulls(recency_within, frequency_from, monetary_from) > 0 THEN
			RAISE EXCEPTION 'thresholds are for method threshold' USING ERRCODE = 'invalid_parameter_value';
		END IF;
		RETURN;
	END IF;

	IF num_nulls(recency_within, frequency_from, monetary_from) > 0
		OR cardinality(recency_within) NOT BETWEEN 1 AND 99
		OR cardinality(recency_within) <> cardinality(frequency_from) OR cardinality(recency_within) <> cardinality(monetary_from) THEN
		RAISE EXCEPTION 'method threshold needs as many recency_within as frequency_from as monetary_from'
			USING ERRCODE = 'invalid_parameter_value',
			HINT = $hint$For scores 1 to 3: recency_within => '{30 days, 90 days}', frequency_from => '{2, 5}', monetary_from => '{100, 500}'.$hint$;
	END IF;
	IF array_position(recency_within, NULL) IS NOT NULL
		OR frequency_from IS DISTINCT FROM (SELECT array_agg(DISTINCT t.x ORDER BY t.x) FROM unnest(frequency_from) AS t (x))
		OR monetary_from IS DISTINCT FROM (SELECT array_agg(DISTINCT t.x ORDER BY t.x) FROM unnest(monetary_from) AS t (x))
		OR array_position(frequency_from, NULL) IS NOT NULL OR array_position(monetary_from, NULL) IS NOT NULL THEN
		RAISE EXCEPTION 'thresholds must ascend and must not be null' USING ERRCODE = 'invalid_parameter_value';
	END IF;
END
$body$;
REVOKE ALL ON FUNCTION journey._check_rfm_thresholds(text, integer, interval[], numeric[], numeric[]) FROM PUBLIC;
COMMENT ON FUNCTION journey._check_rfm_thresholds(text, integer, interval[], numeric[], numeric[]) IS 'internal: refuses thresholds that do not fit the method of journey.rfm()';

/*
 * journey.rfm() returns the shop's key type, so it is made at attach, like the
 * views, and granted like them.
 */
CREATE FUNCTION journey._create_rfm(key_type regtype)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $create$
DECLARE
	grantees text[];
	grantee text;
	old oid;
BEGIN
	SELECT p.oid INTO old FROM pg_proc AS p WHERE p.pronamespace = 'journey'::regnamespace AND p.proname = 'rfm';
	IF FOUND THEN
		SELECT array_agg(DISTINCT g.grantee::regrole::text) INTO grantees
			FROM pg_proc AS p, LATERAL aclexplode(p.proacl) AS g
			WHERE p.oid = old AND g.grantee <> p.proowner AND g.grantee <> 0;
		EXECUTE format('DROP FUNCTION %s', old::regprocedure);
	END IF;

	EXECUTE format($ddl$
		CREATE FUNCTION journey.rfm(as_of timestamptz DEFAULT clock_timestamp(), method text DEFAULT 'ntile', bins integer DEFAULT 5,
			event text DEFAULT 'order_placed', property text DEFAULT 'total',
			orders regclass DEFAULT NULL, contact_column name DEFAULT 'customer_id', at_column name DEFAULT 'created_at', value_column name DEFAULT 'total',
			lookback interval DEFAULT NULL,
			recency_within interval[] DEFAULT NULL, frequency_from numeric[] DEFAULT NULL, monetary_from numeric[] DEFAULT NULL)
		RETURNS TABLE (contact %1$s, recency_days integer, frequency bigint, monetary numeric, r integer, f integer, m integer, segment text)
		LANGUAGE plpgsql STABLE
		SET search_path = pg_catalog, pg_temp
		AS $body$
		#variable_conflict use_column
		DECLARE
			source text;
			score text;
			class text;
		BEGIN
			IF EXISTS (SELECT FROM pg_roles AS s WHERE s.rolname IN (session_user, current_user) AND s.rolsuper) THEN
				RAISE EXCEPTION 'a superuser session must not run what the journey owner wrote'
					USING ERRCODE = 'PJ005', HINT = 'Connect as a member of the journey owner, or use SET SESSION AUTHORIZATION.';
			END IF;
			PERFORM journey._check_rfm_thresholds(method, bins, recency_within, frequency_from, monetary_from);

			IF orders IS NULL THEN
				source := 'SELECT e.contact, e.at, (e.properties ->> $3)::numeric AS value FROM journey_state.event AS e WHERE e.name = $2';
			ELSE
				source := format('SELECT t.%%I::%1$s AS contact, t.%%I::timestamptz AS at, t.%%I::numeric AS value FROM %%s AS t WHERE t.%%I IS NOT NULL',
					contact_column, at_column, value_column, orders, contact_column);
			END IF;

			-- $5 bins, $6 to $8 thresholds
			score := CASE method
				WHEN 'ntile' THEN
					'ntile($5) OVER (ORDER BY t.recency_days DESC, t.contact), ntile($5) OVER (ORDER BY t.frequency, t.contact), ntile($5) OVER (ORDER BY t.monetary, t.contact)'
				WHEN 'midrank' THEN
					-- less + half of the equal ones, of all, in units of a bin
					(SELECT string_agg(format('least($5, 1 + $5 * (2 * (rank() OVER (ORDER BY %%1$s) - 1) + count(*) OVER (PARTITION BY %%1$s)) / (2 * count(*) OVER ()))', x.by), ', ' ORDER BY x.n)
					FROM (VALUES (1, '- t.recency_days'), (2, 't.frequency'), (3, 't.monetary')) AS x (n, by))
				ELSE 'journey.rfm_recency(t.last, $6, $1), journey.rfm_score(t.frequency, $7), journey.rfm_score(t.monetary, $8)' END;
			IF method = 'threshold' THEN
				bins := cardinality(recency_within) + 1;
			END IF;

			-- the classes' scores go from 1 to 5: stretched, rounded
			class := CASE bins WHEN 5 THEN 's.%%s' ELSE '1 + (8 * (s.%%s - 1) + $5 - 1) / (2 * ($5 - 1))' END;
			RETURN QUERY EXECUTE format($query$
				SELECT s.contact, s.recency_days, s.frequency, s.monetary, s.r::integer, s.f::integer, s.m::integer,
					(SELECT c.segment FROM journey_state.rfm_segment AS c
						WHERE %%s BETWEEN c.r_min AND c.r_max AND %%s BETWEEN c.f_min AND c.f_max AND %%s BETWEEN c.m_min AND c.m_max
						ORDER BY c.position LIMIT 1)
				FROM (
					SELECT t.contact, t.recency_days, t.frequency, t.monetary, %%s
					FROM (
						SELECT o.contact, max(o.at) AS last, floor(extract(epoch FROM $1 - max(o.at)) / 86400)::integer AS recency_days,
							count(*) AS frequency, coalesce(sum(o.value), 0) AS monetary
						FROM (%%s) AS o
						WHERE o.at <= $1 AND ($4 IS NULL OR o.at > $1 - $4)
						GROUP BY o.contact
					) AS t
				) AS s (contact, recency_days, frequency, monetary, r, f, m)
				ORDER BY s.contact
			$query$, format(class, 'r'), format(class, 'f'), format(class, 'm'), score, source)
			USING as_of, event, property, lookback, bins, recency_within, frequency_from, monetary_from;
		END
		$body$;
		REVOKE ALL ON FUNCTION journey.rfm(timestamptz, text, integer, text, text, regclass, name, name, name, interval, interval[], numeric[], numeric[]) FROM PUBLIC;
		COMMENT ON FUNCTION journey.rfm(timestamptz, text, integer, text, text, regclass, name, name, name, interval, interval[], numeric[], numeric[]) IS
			'RFM scores, 5 is best, of everybody who has ordered by as_of, from captured events or from a table of orders';
	$ddl$, format_type(key_type, NULL));

	FOREACH grantee IN ARRAY coalesce(grantees, '{}') || (SELECT n.nspowner::regrole::text FROM pg_namespace AS n WHERE n.nspname = 'journey_state') LOOP
		EXECUTE format('GRANT EXECUTE ON FUNCTION journey.rfm TO %s', grantee);
	END LOOP;
END
$create$;
REVOKE ALL ON FUNCTION journey._create_rfm(regtype) FROM PUBLIC;
COMMENT ON FUNCTION journey._create_rfm(regtype) IS 'internal: makes journey.rfm() with the shop''s key type; called by journey.attach() and by upgrades as the extension owner';
