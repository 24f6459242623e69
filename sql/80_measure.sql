/*
 * measure: what an analyst reads.  Level 1: pure functions, numbers in and
 * numbers out.
 */

CREATE FUNCTION journey.fraction(salt text, unit_key text)
RETURNS float8
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_fraction';
REVOKE ALL ON FUNCTION journey.fraction(text, text) FROM PUBLIC;
COMMENT ON FUNCTION journey.fraction(text, text) IS 'The fraction in [0,1) that assigns a unit to an arm: the first 53 bits of SHA-256(salt, byte 0x1F, unit key; UTF-8) over 2^53';

CREATE FUNCTION journey.stat_normal_cdf(z float8)
RETURNS float8
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_stat_normal_cdf';
REVOKE ALL ON FUNCTION journey.stat_normal_cdf(float8) FROM PUBLIC;
COMMENT ON FUNCTION journey.stat_normal_cdf(float8) IS 'The standard normal distribution function';

CREATE FUNCTION journey.stat_normal_quantile(p float8)
RETURNS float8
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_stat_normal_quantile';
REVOKE ALL ON FUNCTION journey.stat_normal_quantile(float8) FROM PUBLIC;
COMMENT ON FUNCTION journey.stat_normal_quantile(float8) IS 'The standard normal quantile, 0 < p < 1';

CREATE FUNCTION journey.stat_t_cdf(t float8, df float8)
RETURNS float8
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_stat_t_cdf';
REVOKE ALL ON FUNCTION journey.stat_t_cdf(float8, float8) FROM PUBLIC;
COMMENT ON FUNCTION journey.stat_t_cdf(float8, float8) IS 'Student''s t distribution function; df need not be whole';

CREATE FUNCTION journey.stat_t_quantile(p float8, df float8)
RETURNS float8
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_stat_t_quantile';
REVOKE ALL ON FUNCTION journey.stat_t_quantile(float8, float8) FROM PUBLIC;
COMMENT ON FUNCTION journey.stat_t_quantile(float8, float8) IS 'Student''s t quantile, 0 < p < 1; df need not be whole';

CREATE FUNCTION journey.stat_chi_squared_tail(chi2 float8, df float8)
RETURNS float8
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_stat_chi_squared_tail';
REVOKE ALL ON FUNCTION journey.stat_chi_squared_tail(float8, float8) FROM PUBLIC;
COMMENT ON FUNCTION journey.stat_chi_squared_tail(float8, float8) IS 'The probability that chi-squared with df degrees of freedom exceeds chi2';

CREATE FUNCTION journey.stat_wilson(x bigint, n bigint, alpha float8 DEFAULT 0.05, OUT low float8, OUT high float8)
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_stat_wilson';
REVOKE ALL ON FUNCTION journey.stat_wilson(bigint, bigint, float8) FROM PUBLIC;
COMMENT ON FUNCTION journey.stat_wilson(bigint, bigint, float8) IS 'Wilson''s interval for a proportion of x in n';

CREATE FUNCTION journey.stat_two_proportions(x_t bigint, n_t bigint, x_c bigint, n_c bigint, alpha float8 DEFAULT 0.05,
	OUT diff float8, OUT diff_low float8, OUT diff_high float8,
	OUT ratio float8, OUT ratio_low float8, OUT ratio_high float8,
	OUT z float8, OUT p float8)
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_stat_two_proportions';
REVOKE ALL ON FUNCTION journey.stat_two_proportions(bigint, bigint, bigint, bigint, float8) FROM PUBLIC;
COMMENT ON FUNCTION journey.stat_two_proportions(bigint, bigint, bigint, bigint, float8) IS 'Treatment against control: difference and ratio of two proportions with score intervals (Miettinen and Nurminen). ratio_high is null when it has no bound.';

CREATE FUNCTION journey.stat_two_proportions_stratified(x_t bigint[], n_t bigint[], x_c bigint[], n_c bigint[], alpha float8 DEFAULT 0.05,
	OUT diff float8, OUT diff_low float8, OUT diff_high float8,
	OUT ratio float8, OUT ratio_low float8, OUT ratio_high float8,
	OUT z float8, OUT p float8)
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_stat_two_proportions_stratified';
REVOKE ALL ON FUNCTION journey.stat_two_proportions_stratified(bigint[], bigint[], bigint[], bigint[], float8) FROM PUBLIC;
COMMENT ON FUNCTION journey.stat_two_proportions_stratified(bigint[], bigint[], bigint[], bigint[], float8) IS 'The same within strata, one element of each array a stratum, weighted by the strata''s sizes; with one stratum equal to stat_two_proportions';

CREATE FUNCTION journey.stat_welch(n_t bigint, mean_t float8, var_t float8, n_c bigint, mean_c float8, var_c float8, alpha float8 DEFAULT 0.05,
	OUT diff float8, OUT se float8, OUT df float8, OUT t float8, OUT p float8, OUT low float8, OUT high float8,
	OUT relative float8, OUT relative_low float8, OUT relative_high float8)
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_stat_welch';
REVOKE ALL ON FUNCTION journey.stat_welch(bigint, float8, float8, bigint, float8, float8, float8) FROM PUBLIC;
COMMENT ON FUNCTION journey.stat_welch(bigint, float8, float8, bigint, float8, float8, float8) IS 'Treatment against control: difference of two means (Welch) and relative difference (Fieller). The relative limits are null when the control mean cannot be told from zero.';

CREATE FUNCTION journey.stat_welch_stratified(n_t bigint[], mean_t float8[], var_t float8[], n_c bigint[], mean_c float8[], var_c float8[], alpha float8 DEFAULT 0.05,
	OUT diff float8, OUT se float8, OUT df float8, OUT t float8, OUT p float8, OUT low float8, OUT high float8,
	OUT relative float8, OUT relative_low float8, OUT relative_high float8)
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_stat_welch_stratified';
REVOKE ALL ON FUNCTION journey.stat_welch_stratified(bigint[], float8[], float8[], bigint[], float8[], float8[], float8) FROM PUBLIC;
COMMENT ON FUNCTION journey.stat_welch_stratified(bigint[], float8[], float8[], bigint[], float8[], float8[], float8) IS 'The same within strata, one element of each array a stratum, weighted by the strata''s sizes; with one stratum equal to stat_welch';

CREATE FUNCTION journey.stat_srm(counts bigint[], weights float8[], concentration float8 DEFAULT 10000,
	OUT chi2 float8, OUT df float8, OUT p float8, OUT log_bayes_factor float8, OUT sequential_p float8)
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_stat_srm';
REVOKE ALL ON FUNCTION journey.stat_srm(bigint[], float8[], float8) FROM PUBLIC;
COMMENT ON FUNCTION journey.stat_srm(bigint[], float8[], float8) IS 'Do the arms have the sizes their weights promise? Chi-squared for one look at the end; sequential_p (Dirichlet-multinomial) may be looked at daily.';

CREATE FUNCTION journey.stat_beta_cdf(x float8, a float8, b float8)
RETURNS float8
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_stat_beta_cdf';
REVOKE ALL ON FUNCTION journey.stat_beta_cdf(float8, float8, float8) FROM PUBLIC;
COMMENT ON FUNCTION journey.stat_beta_cdf(float8, float8, float8) IS 'The probability that a rate with distribution Beta(a, b) is less than x';

CREATE FUNCTION journey.stat_beta_quantile(p float8, a float8, b float8)
RETURNS float8
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_stat_beta_quantile';
REVOKE ALL ON FUNCTION journey.stat_beta_quantile(float8, float8, float8) FROM PUBLIC;
COMMENT ON FUNCTION journey.stat_beta_quantile(float8, float8, float8) IS 'The quantile of Beta(a, b), 0 < p < 1';

CREATE FUNCTION journey.stat_beta_drop(a1 float8, b1 float8, a2 float8, b2 float8, ratio float8 DEFAULT 0.7)
RETURNS float8
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_stat_beta_drop';
REVOKE ALL ON FUNCTION journey.stat_beta_drop(float8, float8, float8, float8, float8) FROM PUBLIC;
COMMENT ON FUNCTION journey.stat_beta_drop(float8, float8, float8, float8, float8) IS 'The probability that a rate with distribution Beta(a2, b2) is less than ratio times one with Beta(a1, b1), without random numbers';

CREATE FUNCTION journey.stat_hours(counts float8[], prior float8[], kappa float8 DEFAULT 10)
RETURNS float8[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_stat_hours';
REVOKE ALL ON FUNCTION journey.stat_hours(float8[], float8[], float8) FROM PUBLIC;
COMMENT ON FUNCTION journey.stat_hours(float8[], float8[], float8) IS 'At which hours somebody responds: 24 counts by hour, smoothed over midnight, and everybody''s shares, which weigh as much as kappa events; the result sums to 1';
