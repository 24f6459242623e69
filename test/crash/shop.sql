-- The shop of the crash harness.  Contacts 1 to 40 are hot: they get far more
-- events than the caps let messages through; notes are put off.  Consent, once withdrawn, is never
-- given again, so that any later hand-over is a fault.  PORT is the mail server's.
CREATE ROLE shop LOGIN;
CREATE ROLE postman LOGIN;
CREATE SCHEMA shop AUTHORIZATION shop;
SET SESSION AUTHORIZATION shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, email text NOT NULL);
CREATE TABLE shop.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id bigint NOT NULL, total numeric NOT NULL, created_at timestamptz NOT NULL);
CREATE TABLE shop.withdrawal (contact bigint PRIMARY KEY, committed_at timestamptz NOT NULL);
CREATE SEQUENCE shop.n;
INSERT INTO shop.customers SELECT i, 'c' || i || '@shop.example' FROM generate_series(1, 2000) i;
RESET SESSION AUTHORIZATION;
CREATE EXTENSION pg_journey;
SELECT journey.attach('shop.customers', key => 'id', email => 'email', owner => 'shop');
SELECT journey.grant_role('relay', 'postman');
SET SESSION AUTHORIZATION shop;
SELECT journey.capture('order_placed', 'shop.orders', contact => 'customer_id', at => 'created_at',
	properties => $$ jsonb_build_object('id', new.id, 'total', new.total) $$);
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://127.0.0.1:PORT", "from": "Shop <hi@shop.example>"}');
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'form')) FROM shop.customers;
SELECT journey.create_topic('notes', 'transactional', obeys_caps => true);
SELECT journey.create_cap('few', 2, '1 hour', topics => '{promotions}');
SELECT journey.create_gap('spaced', '800 milliseconds', topics => '{notes}');
SELECT journey.create_template('hello', channel => 'email', subject => 'Hello {{ id }}', body => 'Hello {{ id }}');
SELECT journey.create_journey('greet', $$
	ON EVENT signed_up KEY event.properties->>'n'
	HOLDOUT 10%
	TOPIC promotions
	WAIT '200 milliseconds';
	SEND email hello;
$$);
SELECT journey.create_journey('thank', $$
	ON EVENT order_placed KEY event.properties->>'id'
	TOPIC service
	IF (event.properties->>'total')::numeric > 10 THEN
		SEND email hello;
	END IF;
$$);
SELECT journey.create_journey('cart', $$
	ON EVENT checkout_started KEY event.properties->>'n'
	EXIT ON order_placed
	TOPIC promotions
	WAIT FOR paid TIMEOUT '300 milliseconds' THEN
		SEND email hello;
	ELSE
		WAIT '100 milliseconds';
		SEND email hello;
	END WAIT;
$$);
SELECT journey.create_journey('note', $$
	ON EVENT signed_up KEY event.properties->>'n'
	EXIT ON order_placed
	TOPIC notes
	SEND email hello EXPIRES '4 seconds' WHEN CAPPED DEFER;
	WAIT '100 milliseconds';
	SEND email hello EXPIRES '2 seconds' WHEN CAPPED EXIT;
$$);
SELECT journey.activate('note'), journey.activate('greet'), journey.activate('thank'), journey.activate('cart');

-- withdraw the consent of a contact who is about to be written to
CREATE FUNCTION shop.withdraw() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	chosen bigint := (SELECT m.contact FROM journey_state.message m
		WHERE m.status = 'pending' AND m.topic = 'promotions' AND m.contact > 40
		AND NOT EXISTS (SELECT FROM shop.withdrawal w WHERE w.contact = m.contact) LIMIT 1);
BEGIN
	IF chosen IS NOT NULL THEN
		PERFORM journey.set_consent(chosen, 'email', 'promotions', false, 'preference centre');
	END IF;
	RETURN coalesce(chosen, 0);
END $$;
