-- complain if the script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pg_journey" to load this file. \quit

/*
 * Two schemas.
 *
 *	 journey		definitions and functions; made here, a member of the extension,
 *					so that a schema planted by somebody else is refused.
 *	 journey_state	what happened: events, enrollments, messages, verdicts.
 *					Made by journey.attach() with the shop's own key type and owned
 *					by the journey owner; no member of the extension, so pg_dump
 *					carries it and DROP EXTENSION leaves it alone.
 *
 * Rows of definition tables are written by the functions of this schema on
 * behalf of members of the journey owner, who alone is granted access.
 */
CREATE SCHEMA journey;
REVOKE ALL ON SCHEMA journey FROM PUBLIC;
COMMENT ON SCHEMA journey IS 'pg_journey: definitions and functions';

-- Bodies name relations of journey_state, which attach() makes later.
SET LOCAL check_function_bodies = off;
