-- journey.check(): a healthy history breaks no law; each law reports a planted row
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET intervalstyle = 'postgres';
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
\set history :srcdir '/data/measure.sql'
\i :history

SELECT * FROM journey.check('-infinity');

-- one law after another; every planted row is rolled back
CREATE FUNCTION pg_temp.broken(OUT law text, OUT violations bigint, OUT example text) RETURNS SETOF record LANGUAGE sql AS
	$$ SELECT law, violations, example FROM journey.check('-infinity') WHERE violations > 0 $$;

BEGIN;
DELETE FROM journey_state.transition WHERE contact = 5 AND step_no = 0;
INSERT INTO journey_state.transition VALUES (4, 1, '2026-01-07', 1004, 1, 0, 'completed');
SELECT * FROM pg_temp.broken();
ROLLBACK;

BEGIN;
UPDATE journey_state.enrollment SET end_reason = NULL WHERE contact = 5;
UPDATE journey_state.enrollment SET error = NULL WHERE contact = 3;
SELECT * FROM pg_temp.broken();
ROLLBACK;

-- a lost timer, a doubled one, and one of an older epoch
BEGIN;
DELETE FROM journey_state.timer WHERE contact = 1;
INSERT INTO journey_state.timer (slice, due_at, timer_id, contact, enrollment_id, version_id, step_no, epoch) VALUES (4, '2026-04-01', 1, 4, 1004, 1, 3, 0);
UPDATE journey_state.enrollment SET epoch = 1 WHERE contact = 11;
SELECT * FROM pg_temp.broken();
ROLLBACK;

-- progress that has passed a live timer loses it; a held row stands for it
BEGIN;
INSERT INTO journey_state.progress (slice, lane, seq, at, due_at, due_id) VALUES (1, 'engine', 3, '2026-03-02', '2026-03-02', 0);
SELECT * FROM pg_temp.broken();
INSERT INTO journey_state.held (slice, contact, held_id, journey_id, enrollment_id, version_id, step_no, epoch) VALUES (1, 1, 1, 1, 1001, 1, 1, 0);
SELECT * FROM pg_temp.broken();
ROLLBACK;

BEGIN;
DROP INDEX journey_state.enrollment_running_idx;
INSERT INTO journey_state.enrollment SELECT slice, contact, 9999, journey_id, version_id, key, ordinal, ghost, exposure_id, event_id, event_at, entered_at, status FROM journey_state.enrollment WHERE contact = 1;
SELECT * FROM pg_temp.broken();
ROLLBACK;

BEGIN;
INSERT INTO journey_state.verdict SELECT contact, 1, at, enrollment_id, version_id, step_no, visit, ghost, comparable, stage, verdict, reason, until, message_id, evidence FROM journey_state.verdict WHERE contact = 9 AND step_no = 2;
SELECT * FROM pg_temp.broken();
ROLLBACK;

-- a run that stands at the SEND because its message is put off; then its timer is at another step, and gone
BEGIN;
INSERT INTO journey_state.verdict SELECT 1, 1, '2026-01-05 22:00', 1001, 1, 2, 1, false, true, 'decide', 'deferred', 'quiet_hours', '2026-03-01', NULL, '{}';
SELECT * FROM pg_temp.broken();
UPDATE journey_state.timer SET step_no = 2 WHERE contact = 1;
UPDATE journey_state.enrollment SET send_step = 2, send_since = '2026-01-05 22:00', send_due = '2026-03-01' WHERE contact = 1;
SELECT * FROM pg_temp.broken();
UPDATE journey_state.timer SET step_no = 1 WHERE contact = 1;
SELECT * FROM pg_temp.broken();
DELETE FROM journey_state.timer WHERE contact = 1;
SELECT * FROM pg_temp.broken();
INSERT INTO journey_state.held (slice, contact, held_id, journey_id, enrollment_id, version_id, step_no, epoch) VALUES (1, 1, 1, 1, 1001, 1, 2, 0);
SELECT * FROM pg_temp.broken();
UPDATE journey_state.enrollment SET send_due = '2026-02-28' WHERE contact = 1;
SELECT * FROM pg_temp.broken();
ROLLBACK;

-- decided before the time until which it was put off; and put off to the past
BEGIN;
INSERT INTO journey_state.verdict SELECT contact, 1, at - interval '2 hours', enrollment_id, version_id, step_no, visit, ghost, comparable, stage, 'deferred', 'quiet_hours', at, NULL, '{}' FROM journey_state.verdict WHERE contact = 9 AND step_no = 2;
SELECT * FROM pg_temp.broken();
UPDATE journey_state.verdict SET until = until + interval '1 microsecond' WHERE verdict_id = 1;
SELECT * FROM pg_temp.broken();
UPDATE journey_state.verdict SET until = at WHERE verdict_id = 1;
SELECT * FROM pg_temp.broken();
ROLLBACK;

-- handed over though the second look had put it off; and from before its run was there
BEGIN;
INSERT INTO journey_state.verdict SELECT contact, 1, claimed_at - interval '1 minute', enrollment_id, version_id, step_no, visit, false, true, 'claim', 'deferred', 'quiet_hours', claimed_at, message_id, '{}' FROM journey_state.message WHERE message_id = 32;
SELECT * FROM pg_temp.broken();
UPDATE journey_state.verdict SET until = until + interval '1 microsecond' WHERE verdict_id = 1;
SELECT * FROM pg_temp.broken();
UPDATE journey_state.verdict SET at = until, until = until + interval '1 hour' WHERE verdict_id = 1;
SELECT * FROM pg_temp.broken();
UPDATE journey_state.message SET since = decided_at + interval '1 microsecond' WHERE message_id = 32;
SELECT * FROM pg_temp.broken();
ROLLBACK;

-- a second message of one visit, with the same key
BEGIN;
INSERT INTO journey_state.message SELECT slice, contact, 1, decided_at, idempotency_key, enrollment_id, journey_id, version_id, step_no, visit, channel, template, topic, class, counts, priority, since, expires_at, 'parked' FROM journey_state.message WHERE message_id = 32;
SELECT * FROM pg_temp.broken();
ROLLBACK;

BEGIN;
DELETE FROM journey_state.message WHERE message_id = 42;
DELETE FROM journey_state.verdict WHERE message_id = 52;
SELECT * FROM pg_temp.broken();
ROLLBACK;

BEGIN;
UPDATE journey_state.enrollment SET ghost = true WHERE contact = 3;
SELECT * FROM pg_temp.broken();
ROLLBACK;

-- a pending message whose outbox row is gone; held, it is not lost
BEGIN;
UPDATE journey_state.outbox SET attempt = 1;
SELECT * FROM pg_temp.broken();
INSERT INTO journey_state.held (slice, contact, held_id, journey_id, message_id, decided_at, attempt) VALUES (8, 8, 1, 1, 82, '2026-01-05 11:00', 0);
SELECT * FROM pg_temp.broken();
ROLLBACK;

BEGIN;
DELETE FROM journey_state.receipt WHERE message_id = 32 AND kind = 'sent';
DELETE FROM journey_state.verdict WHERE message_id = 84 AND stage = 'claim';
SELECT * FROM pg_temp.broken();
ROLLBACK;

-- a cap: three hand-overs in seven days are too many, but not if the first is
-- exactly seven days older than the third; transactional messages do not count.
-- Which caps had a place is in the receipts, and so is the order
BEGIN;
ALTER TABLE journey_state.consent_log DISABLE TRIGGER append_only;
UPDATE journey_state.consent_log SET at = '2025-01-01';
UPDATE journey_state.message SET claimed_at = timestamptz '2026-01-06 11:00' - interval '7 days', contact = 7, status = 'parked' WHERE message_id = 82;
UPDATE journey_state.message SET claimed_at = '2026-01-04 10:00' WHERE message_id = 71;
UPDATE journey_state.message SET claimed_at = '2026-01-06 11:00' WHERE message_id = 72;
DELETE FROM journey_state.receipt WHERE contact = 7 AND kind = 'claimed';
CREATE FUNCTION pg_temp.handed(message bigint, receipt bigint, VARIADIC caps text[]) RETURNS void LANGUAGE sql AS $$
	INSERT INTO journey_state.receipt (contact, receipt_id, at, message_id, attempt, kind, caps) SELECT m.contact, $2, m.claimed_at, $1, 1, 'claimed', $3 FROM journey_state.message m WHERE m.message_id = $1
$$;
SELECT definition FROM journey.cap WHERE name = 'weekly' \gset
SELECT pg_temp.handed(82, 1001, :'definition'), pg_temp.handed(71, 1002, :'definition'), pg_temp.handed(72, 1003, :'definition');
SAVEPOINT handed;
SELECT * FROM pg_temp.broken() WHERE law LIKE '%frequency cap%';
UPDATE journey_state.message SET claimed_at = claimed_at + interval '1 microsecond' WHERE message_id = 82;
UPDATE journey_state.receipt SET at = at + interval '1 microsecond' WHERE receipt_id = 1001;
SELECT * FROM pg_temp.broken() WHERE law LIKE '%frequency cap%';
-- had the second come last, with its earlier time, it would be over
UPDATE journey_state.receipt SET receipt_id = 1004 WHERE receipt_id = 1002;
SELECT * FROM pg_temp.broken() WHERE law LIKE '%frequency cap%';
SELECT violations FROM journey.check('2026-01-07') WHERE law LIKE '%frequency cap%';
SAVEPOINT changed;
UPDATE journey_state.message SET topic = 'service', counts = false WHERE message_id = 82;
SELECT * FROM pg_temp.broken() WHERE law LIKE '%frequency cap%';
ROLLBACK TO changed;
-- of a cap that was changed since nothing is said
SELECT journey.create_cap('weekly', 2, '7 days');
SELECT * FROM pg_temp.broken() WHERE law LIKE '%frequency cap%';
ROLLBACK TO changed;
-- nor if that was done by hand
UPDATE journey.cap SET max_messages = 1 WHERE name = 'weekly';
SELECT * FROM pg_temp.broken() WHERE law LIKE '%frequency cap%';
ROLLBACK TO changed;
UPDATE journey.cap SET overrides = '{other}' WHERE name = 'weekly';
SELECT * FROM pg_temp.broken() WHERE law LIKE '%frequency cap%';
ROLLBACK TO handed;
-- what the contact asked for, by Honolulu's clock: there it is 4 January, a Sunday, 00:00; the first went on Tuesday
UPDATE journey_state.receipt SET caps = ARRAY[E'daily\t*\tpromotions\tPacific/Honolulu', E'weekly\temail\t*\tPacific/Honolulu', E'monthly\tsms\t*\tPacific/Honolulu'] WHERE receipt_id = 1002;
SELECT * FROM pg_temp.broken() WHERE law LIKE '%frequency cap%';
UPDATE journey_state.message SET claimed_at = '2026-01-05 10:00' WHERE message_id = 71;
UPDATE journey_state.receipt SET at = '2026-01-05 10:00' WHERE receipt_id = 1002;
SELECT * FROM pg_temp.broken() WHERE law LIKE '%frequency cap%';
-- a quota: none of the class
SELECT journey.create_quota('weekly', 'promotional', share => 0);
UPDATE journey_state.receipt SET caps = ARRAY[:'definition' || '/' || definition] FROM journey.quota WHERE receipt_id = 1001;
UPDATE journey_state.receipt SET caps = NULL WHERE receipt_id > 1001;
SELECT * FROM pg_temp.broken() WHERE law LIKE '%frequency cap%';
SELECT journey.create_quota('weekly', 'promotional', share => 0);
SELECT * FROM pg_temp.broken() WHERE law LIKE '%frequency cap%';
ROLLBACK;

-- consent withdrawn before the hand-over, for the topic and for all
BEGIN;
INSERT INTO journey_state.consent_log VALUES (3, 100, 'email', 'promotions', false, 'link', '2026-01-05 11:00:30', 'shop'),
	(4, 101, 'email', '*', false, 'link', '2026-01-05 11:00:30', 'shop'), (5, 102, 'email', '*', false, 'link', '2026-01-05 11:01:30', 'shop');
SELECT * FROM pg_temp.broken();
ROLLBACK;

BEGIN;
UPDATE journey_state.exposure SET exposure_id = 301 WHERE contact = 4;
UPDATE journey_state.exposure SET served_arm = 'treatment' WHERE contact = 12;
SELECT * FROM pg_temp.broken();
ROLLBACK;

BEGIN;
UPDATE journey_state.exposure SET fraction = 0.2 WHERE contact = 12;
UPDATE journey_state.exposure SET fraction = 0.09 WHERE contact = 1 AND journey_id = 1;
SELECT * FROM pg_temp.broken();
ROLLBACK;

BEGIN;
UPDATE journey_state.conversion SET at = '2026-01-12 10:00:00.000001' WHERE contact = 6 AND event_id = 61;
UPDATE journey_state.conversion SET at = '2026-01-05 10:00' WHERE contact = 5;
SELECT * FROM pg_temp.broken();
ROLLBACK;

BEGIN;
DELETE FROM journey_state.event WHERE event_id = 30;
INSERT INTO journey_state.event_key VALUES (4, 'another', 40, '2026-01-05 10:00');
SELECT * FROM pg_temp.broken();
ROLLBACK;

BEGIN;
INSERT INTO journey_state.progress (slice, lane, seq, at, due_at, due_id) VALUES (2, 'outbox', 3, '2026-02-01', '2026-01-31', 0);
SELECT * FROM pg_temp.broken();
ROLLBACK;

BEGIN;
UPDATE journey_state.event SET slice = 3 WHERE event_id = 50;
SELECT * FROM pg_temp.broken();
ROLLBACK;

-- nothing left
SELECT count(*) FROM pg_temp.broken();
