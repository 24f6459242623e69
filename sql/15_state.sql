/*
 * state: the tables of schema journey_state, made by journey.attach() with the
 * shop's key type, as the journey owner.
 *
 * Appended, not updated: a timer or an outbox row is consumed by moving the
 * slice's progress past it, never by deleting it.  Rows that do change
 * (enrollment, message) have no index on a changing column, so updates are HOT,
 * but for those that end or park a run, which leave or enter a partial index.
 *
 * Only the holder of a slice's row lock (journey_state.slice) writes the
 * enrollments, timers, verdicts, messages and outbox rows of its contacts.
 */
CREATE FUNCTION journey._create_state(key_type regtype, slices integer)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $create$
DECLARE
	k text := pg_catalog.format_type(key_type, NULL);
	log record;
BEGIN
	EXECUTE pg_catalog.format($ddl$
		CREATE SEQUENCE journey_state.event_id_seq;
		CREATE SEQUENCE journey_state.enrollment_id_seq;
		CREATE SEQUENCE journey_state.message_id_seq;
		CREATE SEQUENCE journey_state.row_id_seq;	-- every other id

		CREATE TABLE journey_state.slice
		(
			slice			smallint	PRIMARY KEY
		);
		COMMENT ON TABLE journey_state.slice IS 'Contacts are hashed to slices; whoever locks a slice''s row works on it alone. Rows are never updated.';

		CREATE TABLE journey_state.progress
		(
			slice			smallint	NOT NULL,
			lane			text		NOT NULL CHECK (lane IN ('segment', 'engine', 'outbox')),
			seq				bigint		NOT NULL,
			at				timestamptz	NOT NULL,
			seen			pg_snapshot,
			upto			pg_snapshot,
			after_xid		xid8,
			after_event		bigint,
			due_at			timestamptz	NOT NULL,
			due_id			bigint		NOT NULL,
			PRIMARY KEY (slice, lane, seq)
		);
		COMMENT ON TABLE journey_state.progress IS 'How far each slice has got; the row with the highest seq counts. Events visible in seen are done, those visible in upto are done up to (after_xid, after_event); timers (lane engine) or outbox rows (lane outbox) are done up to (due_at, due_id). In lane segment seen is about marks and events, due_id says which of the sources (the slice''s marks, those for all slices, events) is in work, due_at is about memberships to check.';

		CREATE TABLE journey_state.event
		(
			slice			smallint	NOT NULL,
			contact			%1$s		NOT NULL,
			event_id		bigint		NOT NULL,
			name			text		NOT NULL,
			at				timestamptz	NOT NULL,
			xid				xid8,
			properties		jsonb		NOT NULL DEFAULT '{}',
			PRIMARY KEY (contact, at, event_id)
		) PARTITION BY RANGE (at);
		CREATE INDEX event_slice_xid_idx ON journey_state.event (slice, xid, event_id);
		COMMENT ON TABLE journey_state.event IS 'What happened to contacts; append only';
		COMMENT ON COLUMN journey_state.event.xid IS 'the transaction that wrote the row: commit order, not id order, decides what is new; null when written in a copied database before journey.adopt()';

		CREATE TABLE journey_state.event_key
		(
			contact			%1$s		NOT NULL,
			key				text		NOT NULL,
			event_id		bigint		NOT NULL,
			at				timestamptz	NOT NULL,
			PRIMARY KEY (contact, key)
		);
		COMMENT ON TABLE journey_state.event_key IS 'Ids given to journey.track(): a second event of a contact with the same id is not recorded';

		CREATE TABLE journey_state.capture_error
		(
			error_id		bigint		PRIMARY KEY,
			capture_id		integer		NOT NULL,
			at				timestamptz	NOT NULL,
			sqlstate		text		NOT NULL,
			message			text		NOT NULL,
			old_row			jsonb,
			new_row			jsonb
		);
		COMMENT ON TABLE journey_state.capture_error IS 'Rows whose capture failed; the shop''s own statement went through. journey.retry_capture_errors() tries them again.';

		CREATE TABLE journey_state.mark
		(
			slice			smallint	NOT NULL,
			mark_id			bigint		NOT NULL,
			xid				xid8		NOT NULL,
			watch_id		integer		NOT NULL,
			contact			%1$s,
			link			text[],
			at				timestamptz	NOT NULL
		);
		CREATE INDEX mark_slice_xid_idx ON journey_state.mark (slice, xid, mark_id);
		COMMENT ON TABLE journey_state.mark IS 'Contacts that a change of the shop''s tables may have moved into or out of segments. Found by snapshot like events, deleted once done.';
		COMMENT ON COLUMN journey_state.mark.slice IS 'the contact''s; -1 where the contact is not known but by link, or all contacts are meant: every slice takes those in';
		COMMENT ON COLUMN journey_state.mark.link IS 'values of the watch''s key columns as text; contact and link null: all contacts';

		CREATE TABLE journey_state.membership
		(
			segment_id		integer		NOT NULL,
			contact			%1$s		NOT NULL,
			slice			smallint	NOT NULL,
			member			boolean		NOT NULL,
			since			timestamptz	NOT NULL,
			check_at		timestamptz,
			PRIMARY KEY (segment_id, contact),
			CHECK (member OR check_at IS NOT NULL)
		) WITH (fillfactor = 80);
		CREATE INDEX membership_check_idx ON journey_state.membership (slice, check_at) WHERE check_at IS NOT NULL;
		COMMENT ON TABLE journey_state.membership IS 'Who is in which segment, and when to look again. No row: not a member, and only a change can make it one.';
		COMMENT ON COLUMN journey_state.membership.check_at IS 'no later than the next instant at which the predicate can flip by itself; in the past: nothing is pending';

		CREATE TABLE journey_state.segment_change
		(
			segment_id		integer		NOT NULL,
			at				timestamptz	NOT NULL,
			change_id		bigint		NOT NULL,
			cause			text		NOT NULL CHECK (cause IN ('change', 'clock', 'scan')),
			entered			bigint		NOT NULL,
			left_it			bigint		NOT NULL,
			PRIMARY KEY (segment_id, at, change_id)
		);
		COMMENT ON TABLE journey_state.segment_change IS 'How many contacts entered and left a segment in one pass; append only';

		CREATE TABLE journey_state.segment_scan
		(
			segment_id		integer		PRIMARY KEY,
			revision		integer		NOT NULL,
			reason			text		NOT NULL CHECK (reason IN ('build', 'refresh')),
			wanted_at		timestamptz,
			started_at		timestamptz,
			finished_at		timestamptz,
			upto			%1$s,
			scanned			bigint		NOT NULL DEFAULT 0,
			expected		bigint		NOT NULL DEFAULT 0
		) WITH (fillfactor = 50);
		COMMENT ON TABLE journey_state.segment_scan IS 'The passes over all contacts that a new, altered or refreshed segment needs; one row for each segment, about its latest scan';
		COMMENT ON COLUMN journey_state.segment_scan.wanted_at IS 'another scan is wanted since then';
		COMMENT ON COLUMN journey_state.segment_scan.upto IS 'while a scan is under way: contacts up to this key, in the order of the contact table''s key, are done';

		CREATE TABLE journey_state.enrollment
		(
			slice			smallint	NOT NULL,
			contact			%1$s		NOT NULL,
			enrollment_id	bigint		NOT NULL,
			journey_id		integer		NOT NULL,
			version_id		integer		NOT NULL,
			key				text		NOT NULL,
			ordinal			integer		NOT NULL,
			ghost			boolean		NOT NULL,
			exposure_id		bigint		NOT NULL,
			event_id		bigint		NOT NULL,
			event_at		timestamptz	NOT NULL,
			entered_at		timestamptz	NOT NULL,
			status			text		NOT NULL CHECK (status IN ('active', 'parked', 'exited', 'completed')),
			epoch			integer		NOT NULL DEFAULT 0,
			listen_step		integer,
			comparable		boolean		NOT NULL DEFAULT true,
			ended_at		timestamptz,
			end_reason		text,
			parked_step		integer,
			error			text,
			send_step		integer,
			send_since		timestamptz,
			send_due		timestamptz,
			send_timed		boolean		NOT NULL DEFAULT false,
			PRIMARY KEY (contact, enrollment_id),
			CHECK ((ended_at IS NOT NULL) = (status IN ('exited', 'completed'))),
			CHECK ((send_step IS NULL) = (send_since IS NULL) AND (send_step IS NULL) = (send_due IS NULL))
		) WITH (fillfactor = 80);
		CREATE UNIQUE INDEX enrollment_running_idx ON journey_state.enrollment (contact, journey_id, key) WHERE ended_at IS NULL;
		CREATE INDEX enrollment_parked_idx ON journey_state.enrollment (enrollment_id) WHERE status = 'parked';
		COMMENT ON TABLE journey_state.enrollment IS 'One contact''s run through one version, for one key. A timer counts only if its epoch is the enrollment''s.';
		COMMENT ON COLUMN journey_state.enrollment.ordinal IS 'how many runs of this journey, contact and key there were, this one included; part of the messages'' idempotency keys';
		COMMENT ON COLUMN journey_state.enrollment.listen_step IS 'the WAIT FOR step this run stands at, if it stands at one';
		COMMENT ON COLUMN journey_state.enrollment.comparable IS 'false once a ghost''s path depended on something only a real message can cause';

		COMMENT ON COLUMN journey_state.enrollment.send_step IS 'the SEND step this run stands at because the gate put its message off; since send_since, until send_due';
		COMMENT ON COLUMN journey_state.enrollment.send_timed IS 'the best time of that SEND has been chosen, and is not chosen again';

		CREATE TABLE journey_state.refusal
		(
			contact			%1$s		NOT NULL,
			refusal_id		bigint		NOT NULL,
			at				timestamptz	NOT NULL,
			journey_id		integer		NOT NULL,
			version_id		integer		NOT NULL,
			event_id		bigint		NOT NULL,
			reason			text		NOT NULL CHECK (reason IN ('running', 'reentry', 'no_consent', 'no_address', 'suppressed', 'held', 'bad_address', 'contact_gone', 'capped', 'error')),
			detail			text,
			channel			text,
			evidence		jsonb,
			PRIMARY KEY (contact, at, refusal_id)
		) PARTITION BY RANGE (at);
		COMMENT ON TABLE journey_state.refusal IS 'Why a contact whose event matched an entry was not enrolled';
		COMMENT ON COLUMN journey_state.refusal.evidence IS 'what the gate decided on, of the first channel that the version sends on';

		CREATE TABLE journey_state.exposure
		(
			contact			%1$s		NOT NULL,
			exposure_id		bigint		NOT NULL,
			layer			text		NOT NULL CHECK (layer IN ('global', 'journey', 'split')),
			journey_id		integer		NOT NULL,
			epoch			integer		NOT NULL,
			unit_key		text		NOT NULL,
			arm				text		NOT NULL CHECK (arm IN ('treatment', 'holdout')),
			served_arm		text		NOT NULL CHECK (served_arm IN ('treatment', 'holdout')),
			propensity		float8		NOT NULL CHECK (propensity > 0 AND propensity <= 1),
			fraction		float8		NOT NULL,
			exposed_at		timestamptz	NOT NULL,
			enrollment_id	bigint		NOT NULL,
			version_id		integer		NOT NULL,
			event_id		bigint		NOT NULL,
			baseline_orders	bigint		NOT NULL,
			baseline_revenue numeric	NOT NULL,
			baseline_days	float8		NOT NULL,
			crossed			boolean		NOT NULL DEFAULT false,
			PRIMARY KEY (contact, layer, journey_id, epoch)
		);
		COMMENT ON TABLE journey_state.exposure IS 'The assignment of a contact to an arm, written once at eligibility; outcomes are counted from exposed_at';

		CREATE TABLE journey_state.conversion
		(
			contact			%1$s		NOT NULL,
			journey_id		integer		NOT NULL,
			event_id		bigint		NOT NULL,
			at				timestamptz	NOT NULL,
			value			numeric		NOT NULL,
			exposure_id		bigint,
			enrollment_id	bigint,
			PRIMARY KEY (contact, journey_id, event_id)
		);
		COMMENT ON TABLE journey_state.conversion IS 'A goal event within the goal''s window of the exposure (exposure_id) or of the latest run entered before it (enrollment_id)';

		CREATE TABLE journey_state.transition
		(
			contact			%1$s		NOT NULL,
			transition_id	bigint		NOT NULL,
			at				timestamptz	NOT NULL,
			enrollment_id	bigint		NOT NULL,
			version_id		integer		NOT NULL,
			step_no			integer		NOT NULL,
			cause			text		NOT NULL,
			due_at			timestamptz,
			PRIMARY KEY (contact, at, transition_id)
		) PARTITION BY RANGE (at);
		COMMENT ON TABLE journey_state.transition IS 'Each arrival of a run at a step; step_no 0 is the end, cause then the reason';
		COMMENT ON COLUMN journey_state.transition.due_at IS 'when the wait that begins with this arrival ends, as far as was known then';

		CREATE TABLE journey_state.timer
		(
			slice			smallint	NOT NULL,
			due_at			timestamptz	NOT NULL,
			timer_id		bigint		NOT NULL,
			contact			%1$s		NOT NULL,
			enrollment_id	bigint,
			version_id		integer,
			step_no			integer,
			epoch			integer,
			event_id		bigint,
			event_at		timestamptz,
			PRIMARY KEY (slice, due_at, timer_id, contact),
			CHECK ((enrollment_id IS NULL) <> (event_id IS NULL))
		) PARTITION BY RANGE (due_at);
		COMMENT ON TABLE journey_state.timer IS 'What falls due when: a run standing at a wait step, or an event dated in the future. Append only.';

		CREATE TABLE journey_state.message
		(
			slice			smallint	NOT NULL,
			contact			%1$s		NOT NULL,
			message_id		bigint		NOT NULL,
			decided_at		timestamptz	NOT NULL,
			idempotency_key	text		NOT NULL,
			enrollment_id	bigint		NOT NULL,
			journey_id		integer		NOT NULL,
			version_id		integer		NOT NULL,
			step_no			integer		NOT NULL,
			visit			integer		NOT NULL,
			channel			text		NOT NULL,
			template		text		NOT NULL,
			topic			text		NOT NULL,
			class			text		NOT NULL,
			counts			boolean		NOT NULL,
			priority		integer		NOT NULL,
			since			timestamptz	NOT NULL,
			expires_at		timestamptz	NOT NULL,
			status			text		NOT NULL CHECK (status IN ('pending', 'claimed', 'sent', 'withheld', 'bounced', 'failed', 'parked')),
			attempt			integer		NOT NULL DEFAULT 0,
			claimed_at		timestamptz,
			lease_until		timestamptz,
			relay			text,
			recipient		text,
			finished_at		timestamptz,
			reason			text,
			PRIMARY KEY (contact, decided_at, message_id)
		) PARTITION BY RANGE (decided_at);
		CREATE INDEX message_id_idx ON journey_state.message (message_id);
		COMMENT ON TABLE journey_state.message IS 'A message that the gate let through; decided once, handed to a relay at least once, always with the same idempotency_key';
		COMMENT ON COLUMN journey_state.message.class IS 'of its topic';
		COMMENT ON COLUMN journey_state.message.counts IS 'whether its topic counted towards frequency caps when it was decided';
		COMMENT ON COLUMN journey_state.message.since IS 'when its run came to the SEND; waiting raises priority';
		COMMENT ON COLUMN journey_state.message.claimed_at IS 'first hand-over to a relay; frequency caps count from here';

		CREATE TABLE journey_state.message_span
		(
			before			timestamptz	NOT NULL,
			days			integer		NOT NULL,
			span_id			bigint		NOT NULL,
			PRIMARY KEY (before, days, span_id)
		);
		COMMENT ON TABLE journey_state.message_span IS 'How long messages last: none decided in the 30 days before an instant expires more than so many days of 24 hours later. What looks for messages by their hand-over or expiry reads, by the time of their decision, no further back.';

		CREATE TABLE journey_state.outbox
		(
			slice			smallint	NOT NULL,
			available_at	timestamptz	NOT NULL,
			outbox_id		bigint		NOT NULL,
			contact			%1$s		NOT NULL,
			message_id		bigint		NOT NULL,
			decided_at		timestamptz	NOT NULL,
			attempt			integer		NOT NULL,
			PRIMARY KEY (slice, available_at, outbox_id, contact)
		) PARTITION BY RANGE (available_at);
		COMMENT ON TABLE journey_state.outbox IS 'When a message is to be offered to a relay: at once, after a lease ran out, or for a retry. A row counts only if its attempt is the message''s. Append only.';

		CREATE TABLE journey_state.held
		(
			slice			smallint	NOT NULL,
			contact			%1$s		NOT NULL,
			held_id			bigint		NOT NULL,
			journey_id		integer		NOT NULL,
			enrollment_id	bigint,
			version_id		integer,
			step_no			integer,
			epoch			integer,
			fired			boolean,
			message_id		bigint,
			decided_at		timestamptz,
			attempt			integer,
			PRIMARY KEY (contact, held_id)
		);
		CREATE INDEX held_slice_idx ON journey_state.held (slice, journey_id);
		COMMENT ON TABLE journey_state.held IS 'Timers and outbox rows that fell due while their journey was paused';

		CREATE TABLE journey_state.verdict
		(
			contact			%1$s		NOT NULL,
			verdict_id		bigint		NOT NULL,
			at				timestamptz	NOT NULL,
			enrollment_id	bigint		NOT NULL,
			version_id		integer		NOT NULL,
			step_no			integer		NOT NULL,
			visit			integer		NOT NULL,
			ghost			boolean		NOT NULL,
			comparable		boolean		NOT NULL,
			stage			text		NOT NULL CHECK (stage IN ('decide', 'claim')),
			verdict			text		NOT NULL CHECK (verdict IN ('sent', 'deferred', 'withheld')),
			reason			text		CHECK ((reason IS NULL) = (verdict = 'sent')),
			until			timestamptz	CHECK ((until IS NOT NULL) = (verdict = 'deferred')),
			message_id		bigint,
			evidence		jsonb		NOT NULL,
			PRIMARY KEY (contact, at, verdict_id)
		) PARTITION BY RANGE (at);
		COMMENT ON TABLE journey_state.verdict IS 'Every answer of the gate, with what it decided on. stage claim: the second look, when a relay asks for the message.';

		CREATE TABLE journey_state.receipt
		(
			contact			%1$s		NOT NULL,
			receipt_id		bigint		NOT NULL,
			at				timestamptz	NOT NULL,
			message_id		bigint		NOT NULL,
			attempt			integer		NOT NULL,
			kind			text		NOT NULL CHECK (kind IN ('claimed', 'sent', 'deferred', 'bounced', 'rejected', 'failed', 'delivered', 'opened', 'clicked', 'complained', 'unsubscribed')),
			relay			text,
			code			text,
			response		text,
			caps			text[],
			PRIMARY KEY (contact, at, receipt_id)
		) PARTITION BY RANGE (at);
		COMMENT ON COLUMN journey_state.receipt.caps IS 'of a hand-over: the frequency caps that had a place for it then. By tabs: the cap''s definition, with /definition of a quota, or a frequency that the contact asked for, with channel and topic; then the time zone of a calendar.';
		COMMENT ON TABLE journey_state.receipt IS 'What relays reported of messages; append only';

		CREATE TABLE journey_state.consent
		(
			contact			%1$s		NOT NULL,
			channel			text		NOT NULL,
			topic			text		NOT NULL,
			granted			boolean		NOT NULL,
			source			text		NOT NULL,
			at				timestamptz	NOT NULL,
			consent_id		bigint		NOT NULL,
			asked_at		timestamptz,
			PRIMARY KEY (contact, channel, topic)
		) WITH (fillfactor = 80);
		COMMENT ON COLUMN journey_state.consent.asked_at IS 'of a confirmed request: withdrawals since then end it, also those older than the confirmation';
		COMMENT ON COLUMN journey_state.consent.consent_id IS 'the row of consent_log that it comes from, with its proof';
		COMMENT ON TABLE journey_state.consent IS 'The current consent of a contact by channel and topic; topic * stands for all. No row means no consent.';

		CREATE TABLE journey_state.consent_log
		(
			contact			%1$s		NOT NULL,
			consent_id		bigint		NOT NULL,
			channel			text		NOT NULL,
			topic			text		NOT NULL,
			granted			boolean		NOT NULL,
			source			text		NOT NULL,
			at				timestamptz	NOT NULL,
			set_by			name		NOT NULL,
			proof			text,
			ip				inet,
			request_id		bigint,
			PRIMARY KEY (contact, consent_id)
		);
		CREATE FUNCTION journey_state.refuse_change()
		RETURNS trigger
		LANGUAGE plpgsql
		SET search_path = pg_catalog, pg_temp
		AS $trigger$
		BEGIN
			RAISE EXCEPTION '%% of table "%%" is refused: it is append only', TG_OP, TG_TABLE_NAME
				USING ERRCODE = 'object_not_in_prerequisite_state';
		END
		$trigger$;
		REVOKE ALL ON FUNCTION journey_state.refuse_change() FROM PUBLIC;
		CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journey_state.consent_log
			FOR EACH STATEMENT EXECUTE FUNCTION journey_state.refuse_change();
		COMMENT ON TABLE journey_state.consent_log IS 'Every consent ever given or withdrawn; append only';
		COMMENT ON COLUMN journey_state.consent_log.proof IS 'what was agreed to and how, such as the text beside the box';
		COMMENT ON COLUMN journey_state.consent_log.request_id IS 'the request that this confirmed';

		CREATE TABLE journey_state.consent_request
		(
			request_id		bigint		PRIMARY KEY,
			contact			%1$s		NOT NULL,
			channel			text		NOT NULL,
			topic			text		NOT NULL,
			source			text		NOT NULL,
			proof			text,
			ip				inet,
			digest			bytea		NOT NULL UNIQUE,
			at				timestamptz	NOT NULL,
			expires_at		timestamptz	NOT NULL,
			confirmed_at	timestamptz
		);
		CREATE INDEX consent_request_contact_idx ON journey_state.consent_request (contact);
		COMMENT ON TABLE journey_state.consent_request IS 'Double opt-in: consent asked for and not given before it is confirmed with the token, of which digest is the SHA-256';

		CREATE TABLE journey_state.frequency
		(
			contact			%1$s		NOT NULL,
			channel			text		NOT NULL,
			topic			text		NOT NULL,
			frequency		text		NOT NULL CHECK (frequency IN ('all', 'daily', 'weekly', 'monthly')),
			source			text		NOT NULL,
			at				timestamptz	NOT NULL,
			PRIMARY KEY (contact, channel, topic)
		);
		COMMENT ON TABLE journey_state.frequency IS 'How often at most a contact wants to hear of a topic (* for all) over a channel (* for all): a frequency cap of one message in each day, week or month of the contact''s calendar; all: no such cap';

		CREATE TABLE journey_state.suppression
		(
			channel			text		NOT NULL,
			address			text		NOT NULL,
			contact			%1$s,
			scope			text		NOT NULL DEFAULT 'all' CHECK (scope IN ('all', 'promotional')),
			reason			text		NOT NULL,
			at				timestamptz	NOT NULL,
			PRIMARY KEY (channel, address)
		);
		COMMENT ON COLUMN journey_state.suppression.scope IS 'all: not even transactional messages; promotional: those alone may still go';

		CREATE TABLE journey_state.suppressed_contact
		(
			contact			%1$s		NOT NULL,
			channel			text		NOT NULL,
			scope			text		NOT NULL CHECK (scope IN ('all', 'promotional')),
			reason			text		NOT NULL,
			at				timestamptz	NOT NULL,
			PRIMARY KEY (contact, channel)
		);
		COMMENT ON TABLE journey_state.suppressed_contact IS 'Contacts that must not be written to, whatever their address; channel * stands for all';

		CREATE TABLE journey_state.soft_bounce
		(
			channel			text		NOT NULL,
			address			text		NOT NULL,
			bounces			integer		NOT NULL,
			accepted		bigint,
			at				timestamptz	NOT NULL,
			PRIMARY KEY (channel, address)
		) WITH (fillfactor = 80);
		COMMENT ON COLUMN journey_state.soft_bounce.accepted IS 'the message that the provider took last since the last bounce: it has arrived unless it bounces yet';
		COMMENT ON TABLE journey_state.soft_bounce IS 'Soft bounces in a row, by address, since the last message that arrived';

		CREATE TABLE journey_state.address_message
		(
			channel			text		NOT NULL,
			address			text		NOT NULL,
			content			text		NOT NULL,
			contact			%1$s		NOT NULL,
			message_id		bigint		NOT NULL,
			at				timestamptz	NOT NULL,
			PRIMARY KEY (channel, address, content)
		) WITH (fillfactor = 80);
		COMMENT ON TABLE journey_state.address_message IS 'The last message of a step and key to an address: another contact with this address does not get it again';

		CREATE TABLE journey_state.engagement_prior
		(
			channel			text		PRIMARY KEY,
			a0				float8		NOT NULL,
			b0				float8		NOT NULL,
			contacts		bigint		NOT NULL,
			at				timestamptz	NOT NULL
		);
		COMMENT ON TABLE journey_state.engagement_prior IS 'How all contacts together respond to a channel: a Beta distribution of the rate, by moments';

		CREATE TABLE journey_state.send_time_prior
		(
			day_kind		text		NOT NULL CHECK (day_kind IN ('weekday', 'weekend')),
			hour			integer		NOT NULL CHECK (hour BETWEEN 0 AND 23),
			share			float8		NOT NULL,
			events			bigint		NOT NULL,
			at				timestamptz	NOT NULL,
			PRIMARY KEY (day_kind, hour)
		);
		COMMENT ON TABLE journey_state.send_time_prior IS 'At which local hours all contacts together respond';
		COMMENT ON TABLE journey_state.suppression IS 'Addresses that must not be written to, with the reason; addresses in lower case';

		CREATE TABLE journey_state.relay
		(
			name			text		PRIMARY KEY,
			epoch			bigint		NOT NULL,
			opened_at		timestamptz	NOT NULL
		);
		COMMENT ON TABLE journey_state.relay IS 'Relays that presented the site token; a relay that opens again makes its older sessions stale';

		CREATE TABLE journey_state.rfm_segment
		(
			position		integer		PRIMARY KEY,
			segment			text		NOT NULL,
			r_min			integer		NOT NULL DEFAULT 1,
			r_max			integer		NOT NULL DEFAULT 5,
			f_min			integer		NOT NULL DEFAULT 1,
			f_max			integer		NOT NULL DEFAULT 5,
			m_min			integer		NOT NULL DEFAULT 1,
			m_max			integer		NOT NULL DEFAULT 5,
			CHECK (1 <= r_min AND r_min <= r_max AND r_max <= 5),
			CHECK (1 <= f_min AND f_min <= f_max AND f_max <= 5),
			CHECK (1 <= m_min AND m_min <= m_max AND m_max <= 5)
		);
		INSERT INTO journey_state.rfm_segment (position, segment, r_min, r_max, f_min, f_max, m_min, m_max) VALUES
			(10, 'champions',		4, 5,	4, 5,	4, 5),
			(20, 'loyal',			3, 5,	4, 5,	1, 5),
			(30, 'potential',		4, 5,	2, 3,	1, 5),
			(40, 'new',				4, 5,	1, 1,	1, 5),
			(50, 'needs attention',	3, 3,	3, 3,	1, 5),
			(60, 'about to sleep',	3, 3,	1, 2,	1, 5),
			(70, 'cannot lose',		1, 2,	4, 5,	4, 5),
			(80, 'at risk',			1, 2,	3, 5,	1, 5),
			(90, 'hibernating',		2, 2,	1, 2,	1, 5),
			(100, 'lost',			1, 1,	1, 2,	1, 5);
		COMMENT ON TABLE journey_state.rfm_segment IS 'The names of classes of RFM scores, 1 to 5, 5 is best; the first row that matches counts. The shop''s to change.';

		-- not pinned to a search_path, so that it can be looked into; its body is parsed already
		CREATE FUNCTION journey_state.rfm_class(r integer, f integer, m integer) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
		RETURN (
			SELECT s.segment FROM journey_state.rfm_segment AS s
			WHERE r BETWEEN s.r_min AND s.r_max AND f BETWEEN s.f_min AND s.f_max AND m BETWEEN s.m_min AND s.m_max
			ORDER BY s.position LIMIT 1);
		REVOKE ALL ON FUNCTION journey_state.rfm_class(integer, integer, integer) FROM PUBLIC;
		COMMENT ON FUNCTION journey_state.rfm_class(integer, integer, integer) IS 'The name that journey_state.rfm_segment gives to scores from 1 to 5; for predicates';
	$ddl$, k);

	FOR log IN SELECT v.name FROM (VALUES ('event'), ('refusal'), ('transition'), ('timer'), ('message'), ('outbox'), ('verdict'), ('receipt')) AS v (name) LOOP
		EXECUTE pg_catalog.format('CREATE TABLE journey_state.%I PARTITION OF journey_state.%I DEFAULT', log.name || '_default', log.name);
	END LOOP;
	EXECUTE 'ALTER TABLE journey_state.message_default SET (fillfactor = 80)';

	INSERT INTO journey_state.slice SELECT pg_catalog.generate_series(0, slices OPERATOR(pg_catalog.-) 1);
END
$create$;
REVOKE ALL ON FUNCTION journey._create_state(regtype, integer) FROM PUBLIC;
COMMENT ON FUNCTION journey._create_state(regtype, integer) IS 'internal: makes the tables of journey_state; called by journey.attach() as the journey owner';

/*
 * The state tables belong to the journey owner, who could put a view in the place
 * of one, or hang a function of his on one.  A superuser who asks for the health
 * of the database must not run it.
 */
CREATE FUNCTION journey._require_plain_state()
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
	tables CONSTANT name[] := ARRAY['address_message', 'capture_error', 'consent', 'consent_log', 'consent_request', 'conversion', 'engagement_prior', 'enrollment', 'event', 'event_key', 'exposure', 'frequency', 'held',
		'mark', 'membership', 'message', 'message_span', 'outbox', 'progress', 'receipt', 'refusal', 'relay', 'rfm_segment', 'segment_change', 'segment_scan', 'send_time_prior', 'slice', 'soft_bounce', 'suppressed_contact', 'suppression', 'timer', 'transition', 'verdict'];
	state oid := to_regnamespace('journey_state');
	plain record;
	odd text;
BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname IN (session_user, current_user) AND r.rolsuper) THEN
		RETURN;
	END IF;

	-- from here on nobody renames them or adds a rule or a constraint
	FOR plain IN SELECT c.oid::regclass AS name FROM pg_class AS c WHERE c.relnamespace = state AND c.relkind IN ('r', 'p') LOOP
		EXECUTE format('LOCK TABLE ONLY %s IN ACCESS SHARE MODE', plain.name);
	END LOOP;

	SELECT string_agg(x.what, ', ' ORDER BY x.what) INTO odd
	FROM (
		SELECT pg_describe_object('pg_class'::regclass, c.oid, 0)
		FROM pg_class AS c WHERE c.relnamespace = state AND (c.relkind = 'f' OR c.relkind IN ('v', 'm') AND c.relname = ANY (tables))
		UNION ALL
		SELECT pg_describe_object('pg_rewrite'::regclass, r.oid, 0)
		FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class WHERE c.relnamespace = state AND c.relkind IN ('r', 'p')
		UNION ALL
		SELECT pg_describe_object(d.classid, d.objid, d.objsubid)
		FROM pg_depend AS d JOIN pg_class AS i ON i.oid = d.objid AND i.relkind IN ('i', 'I')
		WHERE d.classid = 'pg_class'::regclass AND i.relnamespace = state AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
		UNION ALL
		SELECT pg_describe_object(d.classid, d.objid, d.objsubid)
		FROM pg_depend AS d JOIN pg_constraint AS k ON k.oid = d.objid
		WHERE d.classid = 'pg_constraint'::regclass AND k.connamespace = state AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
		UNION ALL
		SELECT pg_describe_object('pg_class'::regclass, a.attrelid, a.attnum)
		FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_type AS t ON t.oid = a.atttypid
		WHERE c.relnamespace = state AND c.relname = ANY (tables) AND t.typtype = 'd'
	) AS x (what);
	IF odd IS NOT NULL THEN
		RAISE EXCEPTION 'a superuser session must not run what the journey owner added to journey_state'
			USING ERRCODE = 'PJ005', DETAIL = odd,
			HINT = 'Connect as a member of the journey owner, or use SET SESSION AUTHORIZATION.';
	END IF;
END
$body$;
REVOKE ALL ON FUNCTION journey._require_plain_state() FROM PUBLIC;
COMMENT ON FUNCTION journey._require_plain_state() IS 'internal: refuses a superuser session when reading the state tables could run functions of the journey owner';
