/*
 * privileges: nothing for PUBLIC.  The journey owner is granted what authors
 * need by journey.attach(), other roles by journey.grant_role().
 */
REVOKE ALL ON ALL TABLES IN SCHEMA journey FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA journey FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA journey FROM PUBLIC;
