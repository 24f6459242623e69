/*
 * feedback: what relays report.
 */

CREATE FUNCTION journey.report(relay text, message_ids bigint[], attempts integer[], outcomes text[], codes text[], responses text[],
	at timestamptz DEFAULT clock_timestamp())
RETURNS integer
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_report';
REVOKE ALL ON FUNCTION journey.report(text, bigint[], integer[], text[], text[], text[], timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.report(text, bigint[], integer[], text[], text[], text[], timestamptz) IS 'a relay reports what became of messages: sent, bounced, rejected, deferred, delivered or complained, with the enhanced status code and the answer; returns how many reports were new';

CREATE FUNCTION journey.retry_message(message_id bigint, at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_retry_message';
REVOKE ALL ON FUNCTION journey.retry_message(bigint, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.retry_message(bigint, timestamptz) IS 'offers a parked or failed message to relays again, with the same idempotency key';
