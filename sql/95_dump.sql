/*
 * dump: what pg_dump carries of the extension's own tables.  Not site_token: a
 * restored database has none and sends nothing.  Rows that CREATE EXTENSION
 * brings itself are left out, or they would be there twice.
 *
 * No foreign keys between these tables: CREATE EXTENSION makes the constraints
 * before the rows come, and pg_restore -j loads the tables in any order.  The
 * functions that write them check the names.
 */
SELECT pg_extension_config_dump('journey.site', '');
SELECT pg_extension_config_dump('journey.topic', 'WHERE NOT builtin');
SELECT pg_extension_config_dump('journey.capture', '');
SELECT pg_extension_config_dump('journey.capture_capture_id_seq', '');
SELECT pg_extension_config_dump('journey.segment', '');
SELECT pg_extension_config_dump('journey.segment_segment_id_seq', '');
SELECT pg_extension_config_dump('journey.watch', '');
SELECT pg_extension_config_dump('journey.watch_watch_id_seq', '');
SELECT pg_extension_config_dump('journey.watch_member', '');
SELECT pg_extension_config_dump('journey.segment_watch', '');
SELECT pg_extension_config_dump('journey.segment_part', '');
SELECT pg_extension_config_dump('journey.segment_need', '');
SELECT pg_extension_config_dump('journey.segment_source', '');
SELECT pg_extension_config_dump('journey.time_column', '');
SELECT pg_extension_config_dump('journey.journey', '');
SELECT pg_extension_config_dump('journey.journey_journey_id_seq', '');
SELECT pg_extension_config_dump('journey.version', '');
SELECT pg_extension_config_dump('journey.version_version_id_seq', '');
SELECT pg_extension_config_dump('journey.expression', '');
SELECT pg_extension_config_dump('journey.entry', '');
SELECT pg_extension_config_dump('journey.exit_rule', '');
SELECT pg_extension_config_dump('journey.step', '');
SELECT pg_extension_config_dump('journey.cap', '');
SELECT pg_extension_config_dump('journey.cap_definition_seq', '');
SELECT pg_extension_config_dump('journey.quota', '');
SELECT pg_extension_config_dump('journey.quota_definition_seq', '');
SELECT pg_extension_config_dump('journey.entry_cap', '');
SELECT pg_extension_config_dump('journey.engagement_event', 'WHERE event <> ''clicked''');
SELECT pg_extension_config_dump('journey.timezone', '');
SELECT pg_extension_config_dump('journey.quiet_hours', '');
SELECT pg_extension_config_dump('journey.hold', '');
SELECT pg_extension_config_dump('journey.address_rule', 'WHERE NOT builtin');
SELECT pg_extension_config_dump('journey.channel', '');
SELECT pg_extension_config_dump('journey.template', '');
