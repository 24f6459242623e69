-- Statistics against published and independently computed references.  A row
-- is printed with what was computed only if it is off by more than stated:
-- abs(value - expected) <= tolerance * greatest(1, abs(expected)), and for
-- p-values relative to the expected value itself.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS pg_journey CASCADE;
DROP SCHEMA IF EXISTS journey_state CASCADE;
CREATE EXTENSION pg_journey;
RESET client_min_messages;
SET extra_float_digits = 1;

-- 'ok', or the two numbers that differ; a null must be a null
CREATE FUNCTION pg_temp.near(value float8, expected float8, tolerance float8) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN value IS NULL AND expected IS NULL THEN 'ok'
		WHEN abs(value - expected) <= tolerance * greatest(1, abs(expected)) THEN 'ok'
		ELSE coalesce(value::text, 'null') || ' <> ' || coalesce(expected::text, 'null') END
$$;
CREATE FUNCTION pg_temp.relative(value float8, expected float8, tolerance float8) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN abs(value - expected) <= tolerance * abs(expected) THEN 'ok'
		ELSE coalesce(value::text, 'null') || ' <> ' || coalesce(expected::text, 'null') END
$$;

-- normal and t: quantiles and back
SELECT p, pg_temp.near(journey.stat_normal_quantile(p), z, 1e-14) AS quantile, pg_temp.near(journey.stat_normal_cdf(z), p, 1e-15) AS cdf,
	pg_temp.near(journey.stat_normal_quantile(1 - p), -z, 1e-13) AS mirrored
FROM (VALUES (.5, 0), (.9, 1.2815515655446004), (.975, 1.959963984540054), (.995, 2.5758293035489004)) v (p, z);
SELECT p, pg_temp.relative(journey.stat_normal_cdf(journey.stat_normal_quantile(p)), p, 1e-11) AS there_and_back
FROM (VALUES (1e-300::float8), (1e-100), (1e-20), (1e-10), (.001), (.0749), (.0751), (.3), (.925), (.999999)) v (p);
SELECT df, pg_temp.near(journey.stat_t_quantile(.975, df), t, 1e-9) AS quantile, pg_temp.near(journey.stat_t_cdf(t, df), .975, 1e-9) AS cdf,
	pg_temp.near(journey.stat_t_quantile(.025, df), -t, 1e-9) AS mirrored
FROM (VALUES (5, 2.5705818366147395), (30, 2.0422724563012373), (5841.742032093565, 1.960370156954481), (12664.372165936573, 1.9601513206420222)) v (df, t);
-- exact: one degree of freedom is Cauchy's, two has a closed form
SELECT t, pg_temp.near(journey.stat_t_cdf(t, 1), .5 + atan(t) / pi(), 1e-13) AS cauchy,
	pg_temp.near(journey.stat_t_cdf(t, 2), .5 + t / (2 * sqrt(2 + t * t)), 1e-13) AS two
FROM (VALUES (-40::float8), (-3), (-.01), (0), (.5), (1), (7), (1000)) v (t);
-- many degrees of freedom: the normal
SELECT df, pg_temp.near(journey.stat_t_cdf(1.6, df), journey.stat_normal_cdf(1.6), 1 / df) AS near_normal FROM (VALUES (1e6::float8), (1e8), (1e10)) v (df);
-- chi-squared with 2 df is exponential, with 1 df a squared normal
SELECT x, pg_temp.relative(journey.stat_chi_squared_tail(x, 2), exp(-x / 2), 1e-12) AS two,
	pg_temp.relative(journey.stat_chi_squared_tail(x, 1), 2 * journey.stat_normal_cdf(-sqrt(x)), 1e-12) AS one
FROM (VALUES (.01::float8), (.5), (1), (3.84), (20), (200)) v (x);

-- Wilson
SELECT x, n, pg_temp.near(low, l, 1e-12) AS low, pg_temp.near(high, h, 1e-12) AS high
FROM (VALUES (180, 1000, 0.1574268925287, 0.2050222329020), (0, 20, 0, 0.1611251580528), (7, 7, 0.6456695649333, 1), (3, 40, 0.0258360257746, 0.1986423352431),
	(19, 38, 0.348499283643951, 0.651500716356049)) v (x, n, l, h), journey.stat_wilson(x, n);

-- two proportions; the last rows are the Hillstrom e-mail test
SELECT x_t || '/' || n_t AS treatment, x_c || '/' || n_c AS control,
	pg_temp.near(r.diff, v.diff, tol) AS diff, pg_temp.near(r.diff_low, v.diff_low, tol) AS diff_low, pg_temp.near(r.diff_high, v.diff_high, tol) AS diff_high,
	pg_temp.near(r.ratio, v.ratio, tol) AS ratio, pg_temp.near(r.ratio_low, v.ratio_low, tol) AS ratio_low, pg_temp.near(r.ratio_high, v.ratio_high, tol) AS ratio_high,
	CASE WHEN v.z IS NULL THEN 'ok' ELSE pg_temp.near(r.z, v.z, 1e-9) END AS z, CASE WHEN v.p IS NULL THEN 'ok' ELSE pg_temp.relative(r.p, v.p, ptol) END AS p
FROM (VALUES
	(1980, 9000, 140, 1000, .08, 0.0556602468699, 0.1019943170976, 1.5714285714, 1.3438993339190, 1.8440551172306, 5.871627376222573, 4.315378380e-09, 1e-9, 1e-9),
	(162, 900, 5, 100, .13, 0.0648474378062, 0.1706087385055, 3.6, 1.5910482063165, 8.4437095570326, 3.3049630994, 9.498890530797e-04, 1e-9, 1e-9),
	(95, 19000, 3, 1000, .002, -0.0038269424635, 0.0043358247350, 1.6666666667, 0.5604592831398, 4.9739863747252, 0.8827740080697, 0.3773583865097, 1e-9, 1e-9),
	(4, 500, 0, 500, .008, 0.0003375633282, 0.0203958599661, NULL, 1.0443168759, NULL, 2.0030097834945, 0.0451762383717, 1e-9, 1e-9),
	(287, 5000, 250, 5000, .0074, -0.0014412204881, 0.0162797554595, 1.148, 0.9736130535802, 1.3536970648633, 1.6412640064688, 0.1007426242398, 1e-9, 1e-9),
	(56, 70, 48, 80, .2, 0.0528297132458, 0.3381729400159, 1.3333333333, 1.0790471195344, 1.6721453590898, 2.6413232722941, 0.0082582879294, 1e-9, 1e-9),
	(9, 10, 3, 10, .6, 0.1700250164244, 0.8406495439430, 3, 1.3279565734835, 8.6919149490173, 2.6692695630078, 0.0076016414752, 1e-9, 1e-9),
	(10, 10, 0, 20, 1, 0.715618660466, 1, NULL, 6.0328102518, NULL, NULL, 7.23782986632e-08, 1e-9, 1e-9),
	(4512, 90120, 445, 9880, .005026092066179, 0.0005363855678, 0.0092045381551, 1.1115905384581, 1.0109237544026, 1.2227094172857, 2.1849817020622, 0.0288901882465, 1e-9, 1e-9),
	(3894, 21307, 2262, 21306, .0765895637, .0699599305, .0832339444, 1.72140462, 1.64043669, 1.80646859, NULL, NULL, 1e-8, NULL),
	(267, 21307, 122, 21306, .00680500652, .00502429032, .00864936801, 2.18842188, 1.76875304, 2.70784639, NULL, 1.52421587e-13, 1e-8, 1e-8),
	(3238, 21387, 2262, 21306, .0452331066, .0388983783, .0515792643, 1.4260552, NULL, NULL, NULL, NULL, NULL, NULL),
	(189, 21387, 122, 21306, .00311105751, .00150730916, .00475075769, NULL, NULL, NULL, NULL, .000157133059, NULL, 1e-8)
	) v (x_t, n_t, x_c, n_c, diff, diff_low, diff_high, ratio, ratio_low, ratio_high, z, p, tolerance, ptol),
	LATERAL (SELECT coalesce(tolerance, 1e-8)) t (tol),
	journey.stat_two_proportions(x_t, n_t, x_c, n_c) r
WHERE tolerance IS NOT NULL;
SELECT x_t || '/' || n_t AS treatment, pg_temp.near(r.diff, v.diff, 1e-8) AS diff, pg_temp.near(r.diff_low, v.low, 1e-8) AS low, pg_temp.near(r.diff_high, v.high, 1e-8) AS high
FROM (VALUES (3238, 21387, 2262, 21306, .0452331066, .0388983783, .0515792643), (189, 21387, 122, 21306, .00311105751, .00150730916, .00475075769)) v (x_t, n_t, x_c, n_c, diff, low, high),
	journey.stat_two_proportions(x_t, n_t, x_c, n_c) r;

-- ends of the range: no successes at all, nothing but successes, one unit
SELECT x_t, n_t, x_c, n_c, round(diff_low::numeric, 6) AS diff_low, round(diff_high::numeric, 6) AS diff_high, ratio, round(ratio_low::numeric, 6) AS ratio_low, round(ratio_high::numeric, 6) AS ratio_high, round(z::numeric, 6) AS z, round(p::numeric, 6) AS p
FROM (VALUES (0, 50, 0, 50), (0, 50, 5, 50), (50, 50, 50, 50), (1, 1, 0, 1), (5, 50, 0, 5)) v (x_t, n_t, x_c, n_c), journey.stat_two_proportions(x_t, n_t, x_c, n_c);

-- properties: p and both intervals agree; swapped arms mirror
WITH input AS (
	SELECT i, 20 + (i * 7919) % 4000 AS n_t, 20 + (i * 104729) % 900 AS n_c, (i * 1299709) % 1000 AS share_t, (i * 15485863) % 1000 AS share_c FROM generate_series(1::bigint, 400) i
), counts AS (
	SELECT i, n_t, n_c, n_t * share_t / 1000 AS x_t, n_c * (share_t + (share_c - share_t) / 8) / 1000 AS x_c FROM input
)
SELECT count(*), count(*) FILTER (WHERE a.p < .05) AS significant,
	count(*) FILTER (WHERE (a.p < .05) <> (a.diff_low > 0 OR a.diff_high < 0)) AS diff_disagrees,
	count(*) FILTER (WHERE a.ratio_high IS NOT NULL AND (a.p < .05) <> (a.ratio_low > 1 OR a.ratio_high < 1)) AS ratio_disagrees,
	count(*) FILTER (WHERE abs(a.diff + b.diff) > 1e-12 OR abs(a.diff_low + b.diff_high) > 1e-9 OR abs(a.p - b.p) > 1e-12) AS not_mirrored,
	count(*) FILTER (WHERE x_t > 0 AND x_c > 0 AND abs(ln(a.ratio_low) + ln(b.ratio_high)) > 1e-9) AS ratio_not_inverse,
	count(*) FILTER (WHERE s IS DISTINCT FROM a) AS one_stratum_differs
FROM counts, journey.stat_two_proportions(x_t, n_t, x_c, n_c) a, journey.stat_two_proportions(x_c, n_c, x_t, n_t) b,
	journey.stat_two_proportions_stratified(ARRAY[x_t], ARRAY[n_t], ARRAY[x_c], ARRAY[n_c]) s;

-- strata: Kohavi's ramp, whose pooled difference has the wrong sign
SELECT pg_temp.near(diff, 0.002398989898989898, 1e-12) AS diff, pg_temp.near(z, 3.156271493417639, 1e-9) AS z, pg_temp.relative(p, 0.00159800043, 1e-7) AS p
FROM journey.stat_two_proportions_stratified('{230,6000}', '{10000,500000}', '{20000,5000}', '{990000,500000}');
SELECT pg_temp.near(diff, 0.0032763157894736827, 1e-12) AS diff, pg_temp.near((diff_high - diff_low) / (2 * journey.stat_normal_quantile(.975)), 0.0024863138488712567, 1e-12) AS se,
	pg_temp.near(z, 1.3177402325780687, 1e-9) AS z, pg_temp.relative(p, 0.18759062150, 1e-9) AS p, (ratio_low > 1) = (p < .05) AS ratio_agrees
FROM journey.stat_two_proportions_stratified('{820,2900}', '{40000,47500}', '{190,140}', '{10000,2500}');

-- means: Welch and Fieller; the first row is GrowthBook's own test
WITH sums (n_t, y_t, yy_t, n_c, y_c, yy_c, diff, se, df, p, low, high, relative, relative_low, relative_high) AS (VALUES
	(3461, 2422.7, 134698.29, 3407, 1396.87, 52377.9767, .29, 0.12478363158758794, 5841.742032093565, 0.020158402643586957, 0.0453778925593, 0.5346221074407, .7073170731707, 0.0940619707713, 1.7086899441919),
	(90120, 432576, 61234567, 9880, 43472, 5523456, .4, 0.24882640354496727, 12664.372165936573, 0.10795947837775319, -0.0877374035193, 0.8877374035193, .0909090909091, -0.0181655123841, 0.2238982067495),
	(1000, 250, 12000, 100, 8, 900, .17, 0.32061486848537, 126.54036111, 0.59688086768657, -0.46446113125, 0.80446113125, 2.125, NULL, NULL))
SELECT s.n_t, pg_temp.near(r.diff, s.diff, 1e-9) AS diff, pg_temp.near(r.se, s.se, 1e-9) AS se, pg_temp.near(r.df, s.df, 1e-9) AS df, pg_temp.relative(r.p, s.p, 1e-9) AS p,
	pg_temp.near(r.low, s.low, 1e-9) AS low, pg_temp.near(r.high, s.high, 1e-9) AS high,
	pg_temp.near(r.relative, s.relative, 1e-9) AS relative, pg_temp.near(r.relative_low, s.relative_low, 1e-9) AS relative_low, pg_temp.near(r.relative_high, s.relative_high, 1e-9) AS relative_high,
	o IS NOT DISTINCT FROM r AS one_stratum
FROM sums s, LATERAL (SELECT (yy_t - y_t ^ 2 / n_t) / (n_t - 1), (yy_c - y_c ^ 2 / n_c) / (n_c - 1)) v (var_t, var_c),
	journey.stat_welch(n_t, y_t / n_t, var_t, n_c, y_c / n_c, var_c) r,
	journey.stat_welch_stratified(ARRAY[n_t], ARRAY[y_t / n_t]::float8[], ARRAY[var_t]::float8[], ARRAY[n_c], ARRAY[y_c / n_c]::float8[], ARRAY[var_c]::float8[]) o;
-- the relative interval leaves out zero just when p < alpha
SELECT count(*), count(*) FILTER (WHERE p < .05) AS significant, count(*) FILTER (WHERE relative_low IS NULL) AS unbounded,
	count(*) FILTER (WHERE relative_low IS NOT NULL AND (p < .05) <> (relative_low > 0 OR relative_high < 0)) AS disagrees
FROM generate_series(1::bigint, 500) i, LATERAL (SELECT 10 + (i * 7919) % 500, 10 + (i * 104729) % 60, 1 + (i * 1299709) % 40, 1 + (i * 15485863) % 40) v (n_t, n_c, m_t, m_c),
	journey.stat_welch(n_t, m_t, 400, n_c, m_c, 900);
-- two strata by hand: weights 3/4 and 1/4; no variance
SELECT diff, round(se::numeric, 12) AS se, pg_temp.near(se, sqrt(.5625 * (4 / 20. + 9 / 10.) + .0625 * (1 / 5. + 16 / 5.)), 1e-14) AS by_hand
FROM journey.stat_welch_stratified('{20,5}', '{10,20}', '{4,1}', '{10,5}', '{8,24}', '{9,16}');
SELECT * FROM journey.stat_welch(10, 5, 0, 10, 4, 0);

-- sample ratio
SELECT counts, pg_temp.near(r.chi2, v.chi2, 1e-9) AS chi2, pg_temp.relative(r.p, v.p, 1e-9) AS p, pg_temp.relative(exp(-r.log_bayes_factor), v.inverse_factor, 1e-7) AS factor,
	pg_temp.near(r.sequential_p, least(1, v.inverse_factor), 1e-7) AS sequential_p
FROM (VALUES
	('{90120,9880}'::bigint[], '{.9,.1}'::float8[], 1.6, 0.20590321073206472, 1.591232283),
	('{89600,10400}', '{.9,.1}', 17.77777777777778, 2.482660633880463e-05, 0.0011357594249481618),
	('{821588,815482}', '{.5,.5}', 22.77436884189436, 1.8217928726191858e-06, 1.5595044160538e-04),
	('{94700,5300}', '{.95,.05}', 18.94736842105263, 1.3437449764163664e-05, 7.145884836534e-04),
	('{3333,3412,3255}', '{1,1,1}', 3.6974, 0.15744170755283, 0.79355131735)
	) v (counts, weights, chi2, p, inverse_factor), journey.stat_srm(counts, weights) r;
SELECT counts, pg_temp.near(r.p, v.p, tol) AS p
FROM (VALUES ('{21306,21307,21387}'::bigint[], '{1,1,1}'::float8[], 0.9036929575604, 1e-12), ('{1000,950,1050,1000}', '{1,1,1,1}', .171797, 1e-6), ('{333,333,334}', '{33.33,33.33,33.34}', 1, 1e-3)) v (counts, weights, p, tol),
	journey.stat_srm(counts, weights) r;
-- Optimizely's example of the alternative: prior Dirichlet(1,1,1), units 1,2,1,2,3
SELECT pg_temp.near(log_bayes_factor, -6.4457198193855785 - 5 * ln(1 / 3::float8), 1e-12) AS log_bayes_factor FROM journey.stat_srm('{2,2,1}', '{1,1,1}', 3);

-- what is refused
SELECT journey.stat_normal_quantile(0);
SELECT journey.stat_normal_quantile('NaN');
SELECT journey.stat_t_quantile(.5, 0);
SELECT journey.stat_t_cdf(1, 'Infinity');
SELECT journey.stat_chi_squared_tail(-1, 2);
SELECT journey.stat_wilson(3, 2);
SELECT journey.stat_wilson(1, 2, 1);
SELECT journey.stat_two_proportions(1, 0, 1, 1);
SELECT journey.stat_two_proportions(1, 2, -1, 1);
SELECT journey.stat_two_proportions(1, 2, 1, 2, 'NaN');
SELECT journey.stat_two_proportions_stratified('{1,2}', '{2}', '{1}', '{2}');
SELECT journey.stat_two_proportions_stratified('{1,2}', '{2,1}', '{1,1}', '{2,2}');
SELECT journey.stat_two_proportions_stratified('{1,1}', '{2,1}', '{1,1}', '{2,2}');
SELECT journey.stat_two_proportions_stratified('{}', '{}', '{}', '{}');
SELECT journey.stat_two_proportions_stratified('{NULL}', '{1}', '{1}', '{1}');
SELECT journey.stat_welch(1, 1, 1, 2, 1, 1);
SELECT journey.stat_welch(2, 'NaN', 1, 2, 1, 1);
SELECT journey.stat_welch(2, 1, -1, 2, 1, 1);
SELECT journey.stat_srm('{1}', '{1}');
SELECT journey.stat_srm('{1,2}', '{1,0}');
SELECT journey.stat_srm('{0,0}', '{1,1}');
SELECT journey.stat_srm('{-1,2}', '{1,1}');
SELECT journey.stat_srm('{1,2}', '{1,1}', 0);
-- a null in, a null out
SELECT journey.stat_wilson(NULL, 2) IS NULL AS wilson, journey.stat_welch(2, 1, NULL, 2, 1, 1) IS NULL AS welch;

DROP EXTENSION pg_journey;
