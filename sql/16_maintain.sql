/*
 * maintain: monthly partitions of the logs, made ahead and dropped once passed.
 *
 * A partition is filled in a table of its own and then attached, which locks the
 * parent only against other DDL.  The default partition is locked for a moment,
 * so there is a lock_timeout: the shop's writers must not queue behind us, and
 * what could not be done now is done next time.
 */
CREATE FUNCTION journey._ensure_partitions(from_at timestamptz, until_at timestamptz)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '2s'
AS $$
DECLARE
	log record;
	month timestamptz;
	partition text;
	taken boolean;
BEGIN
	-- one at a time; does not stand in the way of the slices' row locks
	LOCK TABLE journey_state.slice IN SHARE UPDATE EXCLUSIVE MODE;

	FOR log IN
		SELECT v.name, v.time FROM (VALUES ('event', 'at'), ('refusal', 'at'), ('transition', 'at'), ('timer', 'due_at'), ('message', 'decided_at'), ('outbox', 'available_at'), ('verdict', 'at'), ('receipt', 'at')) AS v (name, time)
	LOOP
		FOR month IN
			SELECT m FROM pg_catalog.generate_series(pg_catalog.date_trunc('month', from_at), until_at, '1 month') AS m
		LOOP
			partition := log.name OPERATOR(pg_catalog.||) pg_catalog.to_char(month, '"_y"YYYY"m"MM');
			CONTINUE WHEN pg_catalog.to_regclass('journey_state.' OPERATOR(pg_catalog.||) partition) IS NOT NULL;

			EXECUTE pg_catalog.format('SELECT EXISTS (SELECT FROM journey_state.%I WHERE %I OPERATOR(pg_catalog.>=) $1 AND %I OPERATOR(pg_catalog.<) $2)', log.name OPERATOR(pg_catalog.||) '_default', log.time, log.time)
				INTO taken USING month, month OPERATOR(pg_catalog.+) interval '1 month';
			CONTINUE WHEN taken;

			BEGIN
				EXECUTE pg_catalog.format('CREATE TABLE journey_state.%I (LIKE journey_state.%I INCLUDING ALL)', partition, log.name);
				IF log.name OPERATOR(pg_catalog.=) 'message' THEN
					EXECUTE pg_catalog.format('ALTER TABLE journey_state.%I SET (fillfactor = 80)', partition);
				END IF;
				EXECUTE pg_catalog.format('ALTER TABLE journey_state.%I ATTACH PARTITION journey_state.%I FOR VALUES FROM (%L) TO (%L)', log.name, partition, month, month OPERATOR(pg_catalog.+) interval '1 month');
			EXCEPTION
				WHEN lock_not_available OR check_violation THEN
					RAISE WARNING 'could not make partition "%" now: %', partition, SQLERRM
						USING HINT = 'The next journey.maintain() tries again; until then the default partition takes the rows.';
			END;
		END LOOP;
	END LOOP;
END
$$;
REVOKE ALL ON FUNCTION journey._ensure_partitions(timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey._ensure_partitions(timestamptz, timestamptz) IS 'internal: makes the monthly partitions of all logs for a span of time; rows of other months go to the default partitions';

-- How far the slowest slice has got in a lane; null while a slice has no progress.
CREATE FUNCTION journey._passed(lane text)
RETURNS timestamptz
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN pg_catalog.count(*) OPERATOR(pg_catalog.=) pg_catalog.count(p.due_at) THEN pg_catalog.min(p.due_at) END
	FROM journey_state.slice s
	LEFT JOIN LATERAL (SELECT q.due_at FROM journey_state.progress q
		WHERE q.slice OPERATOR(pg_catalog.=) s.slice AND q.lane OPERATOR(pg_catalog.=) $1
		ORDER BY q.seq DESC LIMIT 1) p ON true
$$;
REVOKE ALL ON FUNCTION journey._passed(text) FROM PUBLIC;
COMMENT ON FUNCTION journey._passed(text) IS 'internal: the time before which every slice has consumed a lane (engine: timers, outbox: outbox rows)';

CREATE FUNCTION journey._maintain(at timestamptz, ahead interval)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '2s'
AS $$
DECLARE
	log record;
	part record;
	passed timestamptz;
BEGIN
	PERFORM journey._ensure_partitions(at, at OPERATOR(pg_catalog.+) ahead);

	FOR log IN
		SELECT v.name, v.lane, v.time FROM (VALUES ('timer', 'engine', 'due_at'), ('outbox', 'outbox', 'available_at')) AS v (name, lane, time)
	LOOP
		passed := journey._passed(log.lane);
		CONTINUE WHEN passed IS NULL;
		FOR part IN
			SELECT c.relname, pg_catalog.to_date(pg_catalog.right(c.relname::text, 7), 'YYYY"m"MM')::timestamptz AS month
			FROM pg_catalog.pg_inherits i
			JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid
			WHERE i.inhparent OPERATOR(pg_catalog.=) pg_catalog.to_regclass('journey_state.' OPERATOR(pg_catalog.||) log.name)
				AND c.relname::text OPERATOR(pg_catalog.~) '_y[0-9]{4}m[0-9]{2}$'
		LOOP
			CONTINUE WHEN part.month OPERATOR(pg_catalog.+) interval '1 month' OPERATOR(pg_catalog.>) LEAST(passed, at);
			BEGIN
				EXECUTE pg_catalog.format('DROP TABLE journey_state.%I', part.relname);
			EXCEPTION
				WHEN lock_not_available THEN
					RAISE WARNING 'could not drop partition "%" now: %', part.relname, SQLERRM
						USING HINT = 'The next journey.maintain() tries again.';
			END;
		END LOOP;
		EXECUTE pg_catalog.format('DELETE FROM journey_state.%I WHERE %I OPERATOR(pg_catalog.<) $1', log.name OPERATOR(pg_catalog.||) '_default', log.time)
			USING passed;
	END LOOP;

	-- what a claim is at work on is for the next time
	IF pg_catalog.current_setting('pg_journey.same_address_window') OPERATOR(pg_catalog.<>) '0' THEN
		DELETE FROM journey_state.address_message AS a WHERE a.ctid OPERATOR(pg_catalog.=) ANY (ARRAY(
			SELECT b.ctid FROM journey_state.address_message AS b
			WHERE b.at OPERATOR(pg_catalog.<=) (_maintain.at OPERATOR(pg_catalog.-) pg_catalog.current_setting('pg_journey.same_address_window')::interval)
			FOR UPDATE SKIP LOCKED));
	END IF;

	-- rows beside which there is one of the same that says as much
	DELETE FROM journey_state.message_span s
		WHERE EXISTS (SELECT FROM journey_state.message_span o WHERE o.before OPERATOR(pg_catalog.=) s.before
			AND (o.days, o.span_id) OPERATOR(pg_catalog.>) (s.days, s.span_id));

	DELETE FROM journey_state.progress p
		WHERE p.seq OPERATOR(pg_catalog.<) (SELECT pg_catalog.max(q.seq) FROM journey_state.progress q
			WHERE q.slice OPERATOR(pg_catalog.=) p.slice AND q.lane OPERATOR(pg_catalog.=) p.lane);

	-- who never confirmed did not ask to be kept; what was confirmed is proof
	DELETE FROM journey_state.consent_request r
		WHERE r.confirmed_at IS NULL AND r.expires_at OPERATOR(pg_catalog.<) (_maintain.at OPERATOR(pg_catalog.-) interval '1 month');
END
$$;
REVOKE ALL ON FUNCTION journey._maintain(timestamptz, interval) FROM PUBLIC;
COMMENT ON FUNCTION journey._maintain(timestamptz, interval) IS 'internal: journey.maintain() as the journey owner';

CREATE FUNCTION journey.maintain(at timestamptz DEFAULT clock_timestamp(), ahead interval DEFAULT '2 months')
RETURNS void
LANGUAGE c STRICT
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_maintain';
REVOKE ALL ON FUNCTION journey.maintain(timestamptz, interval) FROM PUBLIC;
COMMENT ON FUNCTION journey.maintain(timestamptz, interval) IS 'Makes the logs'' monthly partitions ahead of time, drops timer and outbox partitions that every slice has passed, trims old progress, forgets consent that was asked for and not confirmed within a month after it expired; harmless at any time';
