/*
 * outbox: channels, templates, and what the relay calls.
 */

CREATE TABLE journey.channel
(
	name				text		PRIMARY KEY,
	provider			text		NOT NULL CHECK (provider IN ('smtp')),
	address				text		NOT NULL DEFAULT 'email' CHECK (address IN ('email', 'phone')),
	settings			jsonb		NOT NULL,
	created_at			timestamptz	NOT NULL
);
COMMENT ON TABLE journey.channel IS 'A way to reach a contact. Provider secrets live with the relay, never here.';

CREATE TABLE journey.template
(
	name				text		PRIMARY KEY,
	channel				text		NOT NULL REFERENCES journey.channel,
	subject				text		NOT NULL,
	body				text		NOT NULL,
	html				text,
	created_at			timestamptz	NOT NULL
);
COMMENT ON TABLE journey.template IS 'A message in Liquid: subject, plain-text body and optional HTML body';
