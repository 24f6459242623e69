-- treatment against holdout: did they order again within 60 days?
\pset format aligned
\pset border 0
\pset footer off
\pset tuples_only off
SELECT arm, contacts, ordered_again, round(100 * share::numeric, 2) || ' %' AS share, round(revenue::numeric, 2) AS revenue_per_contact
FROM journey.lift('second_purchase', :'end') AS l,
	LATERAL (VALUES ('mailed', n_treatment, converted_treatment, mean_treatment, revenue_treatment),
		('held out', n_holdout, converted_holdout, mean_holdout, revenue_holdout)) AS arms (arm, contacts, ordered_again, share, revenue);
\pset tuples_only on
\pset format unaligned
SELECT format('difference %s points, 95 %% interval %s to %s, p = %s', round(100 * lift::numeric, 2), round(100 * lift_low::numeric, 2),
	round(100 * lift_high::numeric, 2), round(p_value::numeric, 2))
FROM journey.lift('second_purchase', :'end');
\echo These orders are history: nobody ever got these mails, the true difference is 0.
