/*
 * performance and lift: what a journey brought in, and what of it would not
 * have come without it.
 *
 * The bodies of this part and the following ones are large statements that are
 * read more often than run.  Their operators are not qualified one by one: with
 * search_path = pg_catalog, pg_temp an operator is only ever looked up in
 * pg_catalog (pg_temp is never searched for operators or functions).
 *
 * These functions run with the rights of their caller.
 */

CREATE TYPE journey.performance_figures AS
(
	journey				text,
	week				date,
	entered				bigint,
	messages_sent		bigint,
	converted			bigint,
	conversion_rate		float8,
	conversion_rate_low	float8,
	conversion_rate_high float8,
	revenue				numeric,
	revenue_per_recipient numeric,
	revenue_per_message	numeric,
	average_order_value	numeric,
	median_time_to_convert interval,
	median_time_to_goal	interval,
	unfinished			bigint
);
COMMENT ON TYPE journey.performance_figures IS 'A row of journey.performance()';

/*
 * The unit is a contact in a week of entry (and once more in the journey as a
 * whole: week null), treated contacts only.  A conversion counts for the week
 * of the run it followed (conversion.enrollment_id).
 *
 * median_time_to_convert is Kaplan and Meier's: whoever has not converted yet
 * counts with the time watched so far, so that a young week does not look fast.
 * It is null while less than half are expected to convert.  What half of the
 * converters took is median_time_to_goal, from contacts watched to the end.
 */
CREATE FUNCTION journey.performance(journey text DEFAULT NULL, as_of timestamptz DEFAULT clock_timestamp())
RETURNS SETOF journey.performance_figures
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $body$
#variable_conflict use_column
BEGIN
	PERFORM journey._require_plain_state();
	RETURN QUERY
	WITH run AS (
		SELECT e.journey_id, date_trunc('week', e.entered_at)::date AS week, e.contact, e.enrollment_id,
			e.entered_at, e.ended_at IS NULL OR e.ended_at > $2 AS unfinished, v.goal_within
		FROM journey_state.enrollment AS e
		JOIN journey.journey AS j ON j.journey_id = e.journey_id
		JOIN journey.version AS v ON v.version_id = e.version_id
		WHERE NOT e.ghost AND e.entered_at <= $2 AND ($1 IS NULL OR j.name = $1)
	), goal AS (
		SELECT r.journey_id, r.week, r.contact, count(*) AS orders, sum(c.value) AS revenue, min(c.at - r.entered_at) AS after
		FROM run AS r
		JOIN journey_state.conversion AS c ON c.contact = r.contact AND c.enrollment_id = r.enrollment_id
		WHERE c.at <= $2
		GROUP BY 1, 2, 3
	), mail AS (
		SELECT r.journey_id, r.week, r.contact, count(*) AS messages
		FROM run AS r
		JOIN journey_state.message AS m ON m.contact = r.contact AND m.enrollment_id = r.enrollment_id
		WHERE m.claimed_at <= $2
		GROUP BY 1, 2, 3
	), weekly AS (
		SELECT r.journey_id, r.week, r.contact, min(r.entered_at) AS entered_at, max(r.goal_within) AS goal_within,
			count(*) FILTER (WHERE r.unfinished) AS unfinished
		FROM run AS r
		GROUP BY 1, 2, 3
	), part AS (
		SELECT w.journey_id, w.week, w.contact, w.entered_at, w.goal_within, w.unfinished, g.orders, g.revenue, g.after, m.messages
		FROM weekly AS w
		LEFT JOIN goal AS g USING (journey_id, week, contact)
		LEFT JOIN mail AS m USING (journey_id, week, contact)
	), unit AS (
		SELECT p.journey_id, p.week, p.contact, p.entered_at, p.goal_within, p.unfinished, p.orders, p.revenue, p.after, p.messages FROM part AS p
		UNION ALL
		SELECT p.journey_id, NULL, p.contact, min(p.entered_at), max(p.goal_within), sum(p.unfinished)::bigint, sum(p.orders)::bigint, sum(p.revenue), min(p.after), sum(p.messages)::bigint
		FROM part AS p GROUP BY p.journey_id, p.contact
	), watched AS (
		SELECT u.journey_id, u.week, coalesce(u.after, least(u.goal_within, $2 - u.entered_at)) AS duration, u.after IS NOT NULL AS converted
		FROM unit AS u WHERE u.goal_within IS NOT NULL
	), risk AS (
		SELECT w.journey_id, w.week, w.duration, count(*) FILTER (WHERE w.converted) AS events,
			sum(count(*)) OVER (PARTITION BY w.journey_id, w.week ORDER BY w.duration DESC) AS at_risk
		FROM watched AS w GROUP BY 1, 2, 3
	), survival AS (
		SELECT r.journey_id, r.week, r.duration,
			-- a product as a sum of logarithms; everybody converting is minus infinity
			sum(CASE WHEN r.events = r.at_risk THEN '-Infinity'::float8 ELSE ln(1 - r.events / r.at_risk) END) OVER (PARTITION BY r.journey_id, r.week ORDER BY r.duration) AS log_survival
		FROM risk AS r WHERE r.events > 0
	), median AS (
		SELECT s.journey_id, s.week, min(s.duration) AS duration
		FROM survival AS s WHERE s.log_survival <= ln(0.5::float8) + 1e-12
		GROUP BY 1, 2
	), figures AS (
		SELECT u.journey_id, u.week, count(*) AS entered, coalesce(sum(u.messages), 0)::bigint AS messages_sent,
			count(u.after) AS converted, coalesce(sum(u.orders), 0) AS orders, coalesce(sum(u.revenue), 0) AS revenue,
			percentile_cont(0.5) WITHIN GROUP (ORDER BY u.after) FILTER (WHERE u.entered_at + u.goal_within <= $2) AS to_goal,
			sum(u.unfinished)::bigint AS unfinished
		FROM unit AS u
		GROUP BY 1, 2
	)
	SELECT j.name, f.week, f.entered, f.messages_sent, f.converted, f.converted / f.entered::float8, w.low, w.high,
		f.revenue, f.revenue / f.entered, f.revenue / nullif(f.messages_sent, 0), f.revenue / nullif(f.orders, 0),
		m.duration, f.to_goal, f.unfinished
	FROM figures AS f
	JOIN journey.journey AS j ON j.journey_id = f.journey_id
	LEFT JOIN median AS m ON m.journey_id = f.journey_id AND m.week IS NOT DISTINCT FROM f.week
	CROSS JOIN LATERAL journey.stat_wilson(f.converted, f.entered) AS w
	ORDER BY j.name, f.week NULLS FIRST;
END
$body$;
REVOKE ALL ON FUNCTION journey.performance(text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.performance(text, timestamptz) IS 'Treated contacts by journey and week of entry (week null: the whole journey), as of a time: entered, messages handed over, conversions, revenue';

CREATE TYPE journey.lift_estimate AS
(
	journey				text,
	as_of				timestamptz,
	n_treatment			bigint,
	n_holdout			bigint,
	n_immature			bigint,
	n_dropped			bigint,
	strata				integer,
	method				text,
	converted_treatment	bigint,
	converted_holdout	bigint,
	mean_treatment		float8,
	mean_holdout		float8,
	lift				float8,
	lift_low			float8,
	lift_high			float8,
	relative_lift		float8,
	relative_low		float8,
	relative_high		float8,
	p_value				float8,
	total_increment		float8,
	revenue_treatment	float8,
	revenue_holdout		float8,
	revenue_lift		float8,
	revenue_low			float8,
	revenue_high		float8,
	revenue_p_value		float8,
	srm_p				float8,
	srm_sequential_p	float8,
	contamination		float8,
	status				text,
	valid				boolean
);
COMMENT ON TYPE journey.lift_estimate IS 'A row of journey.lift()';

/*
 * The unit is an exposure of layer journey: a contact, once per holdout epoch,
 * in the arm it was assigned to, whatever happened to it afterwards.  Outcomes
 * are counted in (exposed_at, exposed_at + goal_within] for both arms, also after
 * an exit; whoever's window is still open at as_of is left out of both.
 *
 * Strata are (epoch, probability of treatment).  Arms are compared within them
 * only, so that a changed holdout percentage cannot look like an effect.  Strata
 * without both arms say nothing and are counted in n_dropped.
 */
CREATE FUNCTION journey.lift(journey text DEFAULT NULL, as_of timestamptz DEFAULT clock_timestamp(), alpha float8 DEFAULT 0.05)
RETURNS SETOF journey.lift_estimate
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $body$
#variable_conflict use_column
BEGIN
	PERFORM journey._require_plain_state();
	RETURN QUERY
	WITH unit AS (
		SELECT x.journey_id, x.contact, x.exposure_id, x.epoch, x.arm, x.exposed_at, x.exposed_at + v.goal_within AS until,
			-- the probability of treatment, the same number for both arms of a stratum
			round((CASE x.arm WHEN 'treatment' THEN x.propensity ELSE 1 - x.propensity END)::numeric, 9)::float8 AS p_treatment,
			x.crossed
		FROM journey_state.exposure AS x
		JOIN journey.journey AS j ON j.journey_id = x.journey_id
		JOIN journey.version AS v ON v.version_id = x.version_id
		WHERE x.layer = 'journey' AND x.exposed_at <= $2 AND v.goal_within IS NOT NULL AND ($1 IS NULL OR j.name = $1)
	), goal AS (
		SELECT u.contact, u.exposure_id, sum(c.value)::float8 AS revenue
		FROM unit AS u
		JOIN journey_state.conversion AS c ON c.contact = u.contact AND c.journey_id = u.journey_id AND c.exposure_id = u.exposure_id
		WHERE c.at > u.exposed_at AND c.at <= u.until
		GROUP BY 1, 2
	), mail AS (
		SELECT u.contact, u.exposure_id
		FROM unit AS u
		JOIN journey_state.message AS m ON m.contact = u.contact AND m.journey_id = u.journey_id
		WHERE u.arm = 'holdout' AND m.claimed_at > u.exposed_at AND m.claimed_at <= $2
		GROUP BY 1, 2
	), observed AS (
		SELECT u.journey_id, u.epoch, u.p_treatment, u.arm = 'treatment' AS treated, u.until <= $2 AS mature,
			g.exposure_id IS NOT NULL AS converted, coalesce(g.revenue, 0) AS revenue,
			u.crossed OR m.exposure_id IS NOT NULL AS contaminated
		FROM unit AS u
		LEFT JOIN goal AS g ON g.contact = u.contact AND g.exposure_id = u.exposure_id
		LEFT JOIN mail AS m ON m.contact = u.contact AND m.exposure_id = u.exposure_id
	), stratum AS (
		SELECT o.journey_id, o.epoch, o.p_treatment,
			count(*) FILTER (WHERE o.mature AND o.treated) AS n_t, count(*) FILTER (WHERE o.mature AND NOT o.treated) AS n_c,
			count(*) FILTER (WHERE NOT o.mature) AS immature,
			count(*) FILTER (WHERE o.mature AND o.treated AND o.converted) AS x_t, count(*) FILTER (WHERE o.mature AND NOT o.treated AND o.converted) AS x_c,
			avg(o.revenue) FILTER (WHERE o.mature AND o.treated) AS mean_t, avg(o.revenue) FILTER (WHERE o.mature AND NOT o.treated) AS mean_c,
			var_samp(o.revenue) FILTER (WHERE o.mature AND o.treated) AS var_t, var_samp(o.revenue) FILTER (WHERE o.mature AND NOT o.treated) AS var_c,
			count(*) FILTER (WHERE o.mature AND NOT o.treated AND o.contaminated) AS contaminated
		FROM observed AS o
		GROUP BY 1, 2, 3
	), comparable AS (
		-- a variance within a stratum takes two units of each arm; a single stratum is tested without one
		SELECT s.*, s.n_t > 0 AND s.n_c > 0 AND (s.n_t > 1 AND s.n_c > 1 OR count(*) FILTER (WHERE s.n_t > 0 AND s.n_c > 0) OVER (PARTITION BY s.journey_id) = 1) AS usable
		FROM stratum AS s
	), ratio AS (
		SELECT c.journey_id, sum(r.chi2) AS chi2, sum(r.df) AS df, sum(r.log_bayes_factor) AS log_factor
		FROM comparable AS c
		CROSS JOIN LATERAL journey.stat_srm(ARRAY[c.n_t, c.n_c], ARRAY[c.p_treatment, 1 - c.p_treatment]) AS r
		WHERE c.p_treatment > 0 AND c.p_treatment < 1 AND c.n_t + c.n_c > 0
		GROUP BY 1
	), pooled AS (
		SELECT c.journey_id, sum(c.n_t) AS all_t, sum(c.immature)::bigint AS immature,
			coalesce(sum(c.n_t + c.n_c) FILTER (WHERE NOT c.usable), 0)::bigint AS dropped, count(*) FILTER (WHERE c.usable)::integer AS strata,
			sum(c.n_t) FILTER (WHERE c.usable)::bigint AS n_t, sum(c.n_c) FILTER (WHERE c.usable)::bigint AS n_c,
			sum(c.x_t) FILTER (WHERE c.usable)::bigint AS x_t, sum(c.x_c) FILTER (WHERE c.usable)::bigint AS x_c,
			sum(c.contaminated) FILTER (WHERE c.usable) AS contaminated,
			sum((c.n_t + c.n_c) * (c.x_t / c.n_t::float8)) FILTER (WHERE c.usable) / sum(c.n_t + c.n_c) FILTER (WHERE c.usable)::float8 AS mean_t,
			sum((c.n_t + c.n_c) * (c.x_c / c.n_c::float8)) FILTER (WHERE c.usable) / sum(c.n_t + c.n_c) FILTER (WHERE c.usable)::float8 AS mean_c,
			sum((c.n_t + c.n_c) * c.mean_t) FILTER (WHERE c.usable) / sum(c.n_t + c.n_c) FILTER (WHERE c.usable)::float8 AS revenue_t,
			sum((c.n_t + c.n_c) * c.mean_c) FILTER (WHERE c.usable) / sum(c.n_t + c.n_c) FILTER (WHERE c.usable)::float8 AS revenue_c,
			bool_and(c.n_t > 1 AND c.n_c > 1) FILTER (WHERE c.usable) AS has_variance,
			array_agg(c.x_t ORDER BY c.epoch, c.p_treatment) FILTER (WHERE c.usable) AS xs_t, array_agg(c.n_t ORDER BY c.epoch, c.p_treatment) FILTER (WHERE c.usable) AS ns_t,
			array_agg(c.x_c ORDER BY c.epoch, c.p_treatment) FILTER (WHERE c.usable) AS xs_c, array_agg(c.n_c ORDER BY c.epoch, c.p_treatment) FILTER (WHERE c.usable) AS ns_c,
			array_agg(c.mean_t ORDER BY c.epoch, c.p_treatment) FILTER (WHERE c.usable) AS means_t, array_agg(c.var_t ORDER BY c.epoch, c.p_treatment) FILTER (WHERE c.usable) AS vars_t,
			array_agg(c.mean_c ORDER BY c.epoch, c.p_treatment) FILTER (WHERE c.usable) AS means_c, array_agg(c.var_c ORDER BY c.epoch, c.p_treatment) FILTER (WHERE c.usable) AS vars_c
		FROM comparable AS c
		GROUP BY 1
	), judged AS (
		SELECT p.*, t.chi2, t.df, CASE WHEN t.log_factor IS NOT NULL THEN least(1, exp(-t.log_factor)) END AS sequential_p, p.contaminated / p.n_c::float8 AS contamination,
			CASE
				WHEN p.strata = 0 THEN 'no_holdout'
				WHEN exp(-t.log_factor) < 0.001 THEN 'srm'
				WHEN p.contaminated > 0.005 * p.n_c THEN 'contaminated'
				WHEN CASE WHEN p.n_t < p.n_c THEN p.x_t ELSE p.x_c END < 25 THEN 'collecting'
				WHEN p.x_t = p.n_t AND p.x_c = p.n_c THEN 'no_variance'
				ELSE 'ok'
			END AS status
		FROM pooled AS p
		LEFT JOIN ratio AS t USING (journey_id)
	)
	SELECT j.name, $2, coalesce(g.n_t, g.all_t)::bigint, coalesce(g.n_c, 0), g.immature,
		CASE WHEN g.strata = 0 THEN 0 ELSE g.dropped END, g.strata,
		CASE WHEN g.strata = 1 THEN 'score' WHEN g.strata > 1 THEN 'wald_strat' END,
		g.x_t, g.x_c, g.mean_t, g.mean_c,
		b.diff, b.diff_low, b.diff_high, b.ratio - 1, b.ratio_low - 1, b.ratio_high - 1, b.p, b.diff * g.n_t,
		g.revenue_t, g.revenue_c, r.diff, r.low, r.high, r.p,
		journey.stat_chi_squared_tail(g.chi2, g.df), g.sequential_p, g.contamination, g.status, g.status = 'ok'
	FROM judged AS g
	JOIN journey.journey AS j ON j.journey_id = g.journey_id
	LEFT JOIN LATERAL journey.stat_two_proportions_stratified(g.xs_t, g.ns_t, g.xs_c, g.ns_c, $3) AS b ON true
	LEFT JOIN LATERAL journey.stat_welch_stratified(CASE WHEN g.has_variance THEN g.ns_t END, g.means_t, g.vars_t, g.ns_c, g.means_c, g.vars_c, $3) AS r ON true
	ORDER BY j.name;
END
$body$;
REVOKE ALL ON FUNCTION journey.lift(text, timestamptz, float8) FROM PUBLIC;
COMMENT ON FUNCTION journey.lift(text, timestamptz, float8) IS 'Treatment against holdout as of a time: conversion, difference and interval, revenue per exposed contact. Believe a row only if valid.';
