/*
 * Consent, channel, cap and the three journeys.  Run as role shop; :smtp is the
 * mail server's port, :root the directory of the project.
 */
\set ON_ERROR_STOP on

SELECT journey.create_channel('email', 'smtp',
	jsonb_build_object('url', 'smtp://127.0.0.1:' || :'smtp', 'from', 'The shop <hello@shop.example>')) \g /dev/null
-- One customer in twenty, those whose number leaves 7 when divided by 20, never
-- agreed to promotions.
SELECT journey.set_consent(id, 'email', 'promotions', true, 'web shop, registration', at => '2010-12-01')
FROM shop.customers WHERE id % 20 <> 7 \g /dev/null

SELECT journey.create_cap('weekly', max_messages => 1, per => '7 days') \g /dev/null

\o /dev/null
\set recipe :root '/recipes/second_purchase.sql'
\i :recipe
\set recipe :root '/recipes/win_back.sql'
\i :recipe
\set recipe :root '/recipes/thank_you.sql'
\i :recipe
\o
