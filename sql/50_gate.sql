/*
 * gate: consent, suppression and frequency caps.
 */

CREATE TABLE journey.cap
(
	name				text		PRIMARY KEY,
	max_messages		integer		NOT NULL CHECK (max_messages >= 0),
	per					interval	NOT NULL,
	channel				text,
	created_at			timestamptz	NOT NULL
);
COMMENT ON TABLE journey.cap IS 'A rolling frequency cap per contact: at most max_messages handed over in any window of length per, over one channel or all';
