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

CREATE FUNCTION journey.set_engagement_event(event text, engages boolean)
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
END
$$;
REVOKE ALL ON FUNCTION journey.set_engagement_event(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION journey.set_engagement_event(text, boolean) IS 'says whether an event, such as a visit or an order, shows that a contact responds; clicks do from the start';
