/*
 * :contacts walk through a journey of nothing but waits of one second, on the
 * virtual clock, for :seconds of real time; prints the rate of each tenth.
 */
\set ON_ERROR_STOP on
SET client_min_messages = notice;
CREATE PROCEDURE bench.churn(seconds integer, INOUT virtual timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	begun timestamptz := clock_timestamp();
	slot timestamptz := begun;
	steps bigint := 0;
	messages bigint := 0;
	rates text := '';
	total bigint := 0;
BEGIN
	WHILE clock_timestamp() < begun + seconds * interval '1 second' LOOP
		virtual := virtual + interval '1 second';
		CALL bench.tick(virtual, steps, messages);
		IF clock_timestamp() >= slot + seconds * interval '0.08 second' THEN
			rates := rates || format(' %s', (steps / extract(epoch FROM clock_timestamp() - slot))::bigint);
			total := total + steps;
			steps := 0;
			slot := clock_timestamp();
			PERFORM journey.maintain(virtual);
			COMMIT;
		END IF;
	END LOOP;
	total := total + steps;
	IF (SELECT count(*) FROM journey_state.enrollment WHERE status <> 'active') > 0 THEN
		RAISE EXCEPTION 'the journey of this bench is too short';
	END IF;
	RAISE INFO 'steps/s by slot:%; average %', rates, (total / extract(epoch FROM clock_timestamp() - begun))::bigint;
END
$$;
