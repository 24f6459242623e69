-- Renders per second of a typical mail: an abandoned cart with three items.
-- Usage: psql -X -f test/bench/render.sql	(any role that may call journey.render)
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET jit = off;
CREATE TEMP TABLE mail AS SELECT
$$<html><body style="font-family: sans-serif">
<h1>{{ first_name | default: "Hello" | escape }}, your cart is waiting</h1>
{% if vip %}<p>As a VIP you get free delivery.</p>{% elsif points > 100 %}<p>You have {{ points | number_with_delimiter }} points.</p>{% else %}<p>Join our club.</p>{% endif %}
<table>
{% for item in event.properties.items limit: 5 -%}
<tr class="{% if forloop.first %}first{% endif %}"><td><a href="https://shop.example/p/{{ item.sku | url_encode }}">{{ item.name | truncate: 40 }}</a></td>
<td>{{ item.quantity }}</td><td>{{ item.price | times: item.quantity | fixed: 2 }}</td></tr>
{%- endfor %}
</table>
<p>Total: {{ event.properties.total | fixed: 2 | number_with_delimiter }} {{ event.properties.currency | upcase }}</p>
<p>Reserved until {{ event.at | time_zone: tz | date: "%A, %-d %B, %H:%M" }}.</p>
<a href="https://shop.example/cart/{{ event.properties.cart_id | url_encode }}">Back to your cart</a>
</body></html>$$ AS source;
CREATE TEMP TABLE contact AS SELECT i, jsonb_build_object(
	'id', i, 'first_name', 'Name' || i, 'email', 'c' || i || '@shop.example', 'tz', 'Europe/London', 'vip', i % 7 = 0, 'points', i % 5000,
	'event', jsonb_build_object('at', '2026-01-05T09:00:00+00:00', 'properties', jsonb_build_object('cart_id', i, 'total', 12.5 * (i % 90 + 1), 'currency', 'gbp', 'items',
		(SELECT jsonb_agg(jsonb_build_object('sku', 'SKU ' || k, 'name', 'White hanging heart T-light holder no. ' || k, 'quantity', k, 'price', 2.55 * k)) FROM generate_series(1, 3) k)))) AS data
	FROM generate_series(1, 20000) i;
ANALYZE contact;
SELECT count(*) FROM contact, mail WHERE length(journey.render(source, data, true)) > 0 \g /dev/null
SELECT clock_timestamp() AS started \gset
SELECT sum(length(journey.render(source, data, true))) / count(*) || ' bytes a mail' FROM contact, mail;
SELECT round(20000 / extract(epoch FROM clock_timestamp() - :'started'::timestamptz)) || ' renders per second';
-- the same, parsed each time: every source differs
SELECT clock_timestamp() AS started \gset
SELECT count(*) FROM contact, mail WHERE length(journey.render(source || i, data, true)) > 0 \g /dev/null
SELECT round(20000 / extract(epoch FROM clock_timestamp() - :'started'::timestamptz)) || ' renders per second without the cache of parsed templates';
