/*
 * A shop for benches: contacts 1 … :contacts, all with consent, an event table
 * that is captured, one frequency cap that is looked up and never reached.
 * Run as superuser of an empty database.
 */
\set ON_ERROR_STOP on
CREATE SCHEMA bench AUTHORIZATION shop;
CREATE EXTENSION pg_journey;
SET SESSION AUTHORIZATION shop;
CREATE TABLE bench.contact (id bigint PRIMARY KEY, email text NOT NULL);
INSERT INTO bench.contact SELECT i, 'c' || i || '@contacts.example' FROM generate_series(1, :contacts) i;
CREATE TABLE bench.happening (contact bigint NOT NULL, name text NOT NULL, at timestamptz NOT NULL);
RESET SESSION AUTHORIZATION;
SELECT journey.attach('bench.contact', key => 'id', email => 'email', owner => 'shop') \g /dev/null
SET SESSION AUTHORIZATION shop;
SELECT journey.capture('started', 'bench.happening', contact => 'contact', at => 'at', condition => $$ new.name = 'started' $$) \g /dev/null
SELECT journey.capture('later', 'bench.happening', contact => 'contact', at => 'at', condition => $$ new.name = 'later' $$) \g /dev/null
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://127.0.0.1:2525", "from": "shop@shop.example"}') \g /dev/null
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'bench', at => '2025-01-01')) FROM bench.contact \g /dev/null
SELECT journey.create_template('hello', channel => 'email', subject => 'Hello', body => 'Hello {{ email }}') \g /dev/null
SELECT journey.create_cap('daily', max_messages => 100, per => '1 day') \g /dev/null

-- tick at a time until nothing is left to do at it; the steps and messages
CREATE PROCEDURE bench.tick(at timestamptz, INOUT steps bigint, INOUT messages bigint) LANGUAGE plpgsql AS $$
DECLARE
	round record;
BEGIN
	LOOP
		SELECT * INTO round FROM journey.tick(at);
		COMMIT;
		steps := steps + round.steps;
		messages := messages + round.messages;
		EXIT WHEN NOT round.more;
	END LOOP;
END
$$;
