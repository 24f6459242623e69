/*
 * tags: a table of your own, for what no rule knows.
 *
 * Reads: customer_tag, which it makes.  Set tags by INSERT, by hand, from a form
 * or from a model's output; segments follow.
 */
CREATE TABLE customer_tag
(
	customer_id		bigint			NOT NULL,
	tag				text			NOT NULL,
	tagged_at		timestamptz		NOT NULL DEFAULT now(),
	PRIMARY KEY (customer_id, tag)
);

SELECT journey.create_segment('wholesale', $$
  EXISTS (SELECT FROM customer_tag t WHERE t.customer_id = c.id AND t.tag = 'wholesale')
$$);

-- a tag that runs out
SELECT journey.create_segment('asked_for_help', $$
  EXISTS (SELECT FROM customer_tag t WHERE t.customer_id = c.id AND t.tag = 'support' AND t.tagged_at > now() - interval '14 days')
$$);
