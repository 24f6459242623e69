-- Liquid: tags, filters, whitespace, escaping, limits, errors, previews.
-- The semantics at large are checked by test/t/010_golden_liquid.pl; here is
-- what that suite does not say, and every message.
\set QUIET on
\pset null '(null)'
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pg_journey;
RESET client_min_messages;
\set QUIET off
-- data of a shop
CREATE TEMP TABLE shop_data AS SELECT '{"first_name": "Zoë", "total": 12.50, "points": 1234567, "vip": true, "note": null, "none": [],
  "bad": "<script>alert(1)</script>", "tags": ["a", "b", "c"], "created_at": "2026-01-05T09:07:03.25+01:00",
  "items": [{"name": "Tea & Co", "price": 4.5, "n": 2}, {"name": "Cup", "price": 8, "n": 1}, {"name": "Pot", "price": 20.25}]}'::jsonb AS data;
CREATE FUNCTION pg_temp.r(source text, html boolean DEFAULT false) RETURNS text LANGUAGE sql AS
	'SELECT journey.render($1, data, $2) FROM shop_data';
-- one line of output per template
CREATE FUNCTION pg_temp.every(VARIADIC sources text[]) RETURNS SETOF text LANGUAGE sql AS
	$$ SELECT s || ' -> ' || pg_temp.r(s) FROM unnest(sources) WITH ORDINALITY u(s, n) ORDER BY n $$;

-- output: paths, literals, missing values, numbers as they stand in the data
SELECT * FROM pg_temp.every('{{ first_name }}', '{{ items[0].name }}', '{{ items[-1]["name"] }}', '{{ items.size }} {{ items.first.name }} {{ items.last.name }}',
	'{{ tags[9] }}', '{{ nobody.home[1].x }}', '{{ note }}', '{{ total }}', '{{ total | plus: 0 }}', '{{ "a" }}{{ 1 }}{{ -2.50 }}{{ true }}{{ nil }}', '{{ tags }}',
	'{{ items[1] }}', '{{}}', '{{ first_name.size }}', '{{ (1..3) | join: "," }}', '{{ ["first_name"] }}', '{{ items[tags.size].name }}', 'a { b } %} }} c');
-- whitespace control
SELECT '[' || pg_temp.r(E'a \n {{- first_name -}} \n b {%- if true -%} \n c \n {%- endif -%} d') || ']';
SELECT '[' || pg_temp.r(E'{% if true %}\n\n{% assign x = 1 %}\n{% endif %}') || ']';
-- conditions
SELECT * FROM pg_temp.every('{% if vip %}y{% else %}n{% endif %}', '{% unless vip %}y{% else %}n{% endunless %}', '{% if note %}y{% elsif total > 12 %}t{% endif %}',
	'{% if tags contains "b" and total >= 12.5 %}y{% endif %}', '{% if false and false or true %}y{% else %}right-associative{% endif %}',
	'{% if first_name == "Zoë" %}y{% endif %}{% if total != 12.5 %}n{% endif %}{% if 1 <> 2 %}y{% endif %}', '{% if nobody > 1 %}y{% else %}nothing has no order{% endif %}',
	'{% if none == empty or empty == blank %}y{% else %}n{% endif %}', '{% if nobody == blank %}blank{% endif %}');
SELECT * FROM pg_temp.every('{% case points %}{% when 1, 2 %}few{% when 1234567 %}many{% else %}?{% endcase %}', '{% case nobody %}{% when 1 or 2 %}x{% else %}else{% endcase %}');
-- loops
SELECT * FROM pg_temp.every('{% for i in items %}{{ forloop.index }}/{{ forloop.length }} {{ i.name }}{% unless forloop.last %}, {% endunless %}{% endfor %}',
	'{% for i in (1..10) limit: 3 offset: 2 %}{{ i }}{% endfor %}', '{% for i in (1..4) reversed %}{{ i }}{% endfor %}', '{% for i in empty %}x{% else %}none{% endfor %}',
	'{% for i in (1..9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}',
	'{% for i in (1..2) %}{% for j in (1..2) %}{{ forloop.parentloop.index }}{{ j }} {% endfor %}{% endfor %}', '{% for p in items[1] %}{{ p[0] }}={{ p[1] }} {% endfor %}',
	'{% for i in (1..6) limit: 2 %}{{ i }}{% endfor %}-{% for i in (1..6) offset: continue %}{{ i }}{% endfor %}',
	'{% for i in tags %}{% assign last = forloop %}{% endfor %}{{ last.index }} {{ forloop.index }}');
-- assign, capture, comment, raw, echo
SELECT * FROM pg_temp.every('{% assign n = items | map: "name" | join: "; " %}{{ n }}', '{% capture x %}<{{ first_name }}>{% endcapture %}{{ x }}{{ x }}',
	'a{% comment %}{% if %}{{{% endcomment %}b', '{% raw %}{{ x }}{% if %}{% endraw %}', 'a{% # note %}b', '{% echo first_name | upcase %}');
-- text filters
SELECT * FROM pg_temp.every('{{ "straße Ωmega ДА é" | upcase }}', '{{ "ÀÉ ΩΣ ДА Ÿ" | downcase }}', '{{ "éCOLE bleue" | capitalize }}', '[{{ "  a b " | strip }}|{{ "  a" | lstrip }}|{{ "a  " | rstrip }}]',
	'{{ "Zoë Ångström" | truncate: 8 }}', '{{ "Zoë Ångström" | truncate: 8, "…" }}', '{{ "a b c d" | truncatewords: 2 }}', '{{ "a" | append: "b" | prepend: "c" }}',
	'{{ "aXbX" | replace: "X", "-" }} {{ "aXbX" | replace_first: "X", "-" }} {{ "aXbX" | replace_last: "X", "-" }}', '{{ "aXbX" | remove: "X" }} {{ "aXbX" | remove_first: "X" }} {{ "aXbX" | remove_last: "X" }}',
	'{{ "a,b,,c,," | split: "," | json }}', '{{ " a  b " | split: " " | json }}', '{{ "aë" | split: "" | join: "|" }}', '{{ "ëbc" | slice: 1, 2 }} {{ "abc" | slice: -2 }}',
	'{{ ''<b>"x" & y</b>'' | escape }}{{ "''" | escape }}', '{{ "&lt;&copy; & <" | escape_once }}', '{{ "a b&c/é" | url_encode }}', '{{ "a+b%26%C3%A9" | url_decode }}',
	'{{ "<p>a<br>b</p><script>x</script><!-- c -->d" | strip_html }}', '{{ "a b" | newline_to_br }}', '{{ items | json }}', '{{ first_name | json }}');
SELECT pg_temp.r('{{ x | default: "there" }} {{ "" | default: "there" }} {{ false | default: "there", allow_false: true }} {{ first_name | default: "there" }}');
-- number filters
SELECT * FROM pg_temp.every('{{ 10.1 | minus: 2.2 }} {{ 0.1 | plus: 0.2 }} {{ 3 | times: 2 }} {{ 7 | divided_by: 2 }} {{ -7 | divided_by: 2 }} {{ 7 | divided_by: 2.0 }} {{ -7 | modulo: 3 }}',
	'{{ 4.5 | round }} {{ 2.675 | round: 2 }} {{ 4.1 | ceil }} {{ -4.1 | floor }} {{ -3 | abs }} {{ 15 | round: -1 }}', '{{ 5 | at_least: 7 }} {{ 5 | at_most: 3.5 }}', '{{ "12.5kg" | plus: 1 }} {{ "12.5" | plus: 1 }}',
	'{{ total | fixed }} {{ 3 | fixed: 2 }} {{ 2.345 | fixed: 2 }} {{ 0.5 | fixed: 0 }}', '{{ points | number_with_delimiter }} {{ total | times: 1000 | fixed: 2 | number_with_delimiter: ".", "," }} {{ "x" | number_with_delimiter }}',
	'{{ items | sum: "price" }}', '{% assign t = 0 %}{% for i in items %}{% assign n = i.n | default: 1 %}{% assign p = i.price | times: n %}{% assign t = t | plus: p %}{% endfor %}{{ t | fixed: 2 }}');
-- list filters
SELECT * FROM pg_temp.every('{{ tags | join }} {{ tags | first }} {{ tags | last }} {{ tags | reverse | join: "" }} {{ tags | size }}', '{{ items | sort: "price" | map: "name" | join: "," }}', '{{ "b,a,B" | split: "," | sort | join: "" }} {{ "b,a,B" | split: "," | sort_natural | join: "" }}',
	'{{ "a,b,a" | split: "," | uniq | join: "" }}', '{{ items | map: "n" | compact | join: "+" }}', '{{ items | where: "n" | map: "name" | join: "," }} {{ items | where: "n", 1 | map: "name" | join: "," }}', '{{ tags | concat: tags | join: "" }}', '{{ tags | slice: 1, 5 | join: "" }}');
-- dates
SELECT * FROM pg_temp.every('{{ created_at | date: "%Y-%m-%d %H:%M:%S.%L %z %Z" }}', '{{ created_at | date: "%A, %-d %B %Y, %-I:%M %p" }}', '{{ created_at | date: "%a %b %e %j %U %W %V %G %u %w %y %C %s" }}', '{{ created_at | time_zone: "America/New_York" | date: "%H:%M %:z" }}',
	'{{ created_at | time_zone: "Asia/Tokyo" }}', '{{ created_at | time_zone: nobody }}', '{{ "2026-03-29" | date: "%D %F %T %R %r %^a %% %Q" }}', '{{ "March 14, 2016" | date: "%F" }} {{ "Mon, 5 Jan 2026 10:00 GMT" | date: "%F %H" }}', '{{ 0 | date: "%F" }} {{ "1767225600" | date: "%F %T" }}',
	'{{ "soon" | date: "%F" }} {{ "2026-02-30" | date: "%F" }} {{ nobody | date: "%F" }}', '{{ "2024-12-30 23:59:60+05:30" | date: "%F %T %V/%G" }}');
SELECT journey.render('{{ "now" | date: "%F" }} {{ "today" | date: "%H" }}', '{"now": "2026-01-05T10:00:00+00:00"}');

-- HTML: everything from the data is escaped, and nothing twice
SELECT s || ' -> ' || pg_temp.r(s, true) FROM unnest(ARRAY['<b>{{ bad }}</b>', '{{ bad | raw }}', '{{ bad | escape }}', '{{ "&amp; <" | escape_once }}', '{% capture x %}<i>{{ items[0].name }}</i>{% endcapture %}{{ x }} {{ x | strip }}',
	'{{ items[0].name | upcase }}', '{{ items | map: "name" | join: ", " }}', '{{ bad | newline_to_br }}', '{{ items[0] }}', '{{ bad | raw | upcase }}', '<a title="{{ ''"'' }}{{ "''" }}">', '{{ bad | strip_html }}',
	'{% capture x %}{{ bad }}{% endcapture %}{{ x | append: bad }}', '{% assign a = bad | raw %}{{ a }}', '{{ nobody | default: bad }}']) s;
-- in a URL
SELECT pg_temp.r('<a href="https://shop.example/?q={{ items[0].name | url_encode }}">', true);

-- errors of the author: where and what
\set SHOW_CONTEXT never
SELECT pg_temp.r('{{ first_name | upcas }}');
SELECT pg_temp.r(E'Hello\n  {% fi x %}');
SELECT pg_temp.r('{% include "x" %}');
SELECT pg_temp.r('{% if x %}');
SELECT pg_temp.r('{% endif %}');
SELECT pg_temp.r('{% for i of items %}{% endfor %}');
SELECT pg_temp.r('{% for i in items limt: 2 %}{% endfor %}');
SELECT pg_temp.r('Zoë {{ a..b }}');
SELECT pg_temp.r('{{ a');
SELECT pg_temp.r('{{ "a }}');
SELECT pg_temp.r('{{ a | append }}');
SELECT pg_temp.r('{{ a | upcase: 1 }}');
SELECT pg_temp.r('{{ a | round: n: 1 }}');
SELECT pg_temp.r('{{ 1a }}');
SELECT pg_temp.r('{{ a | }}');
SELECT pg_temp.r('{% assign x = 1 + 2 %}');
SELECT pg_temp.r('{% raw %}{{');
SELECT pg_temp.r('{% comment %}');
SELECT pg_temp.r('{% %}');
-- errors of the data
SELECT pg_temp.r('{{ 1 | divided_by: 0 }}');
SELECT pg_temp.r(E'\n{% if first_name > 5 %}x{% endif %}');
SELECT pg_temp.r('{{ "now" | date: "%F" }}');
SELECT pg_temp.r('{{ created_at | time_zone: "Mars/Olympus" }}');
SELECT pg_temp.r('{{ tags | map: "x" }}');
SELECT pg_temp.r('{{ "%00" | url_decode }}');
SELECT pg_temp.r('{{ "%ff" | url_decode }}');
SELECT pg_temp.r('{{ 9223372036854775807 | plus: 1 }}');
SELECT pg_temp.r('{{ "a" | truncate: "x" }}');
SELECT pg_temp.r('{{ items | sort }}');
-- limits
SELECT pg_temp.r(repeat('{% if true %}', 99) || 'deep' || repeat('{% endif %}', 99));
SELECT pg_temp.r(repeat('{% if true %}', 101) || repeat('{% endif %}', 101));
SELECT pg_temp.r('{{ a' || repeat('[a', 101) || repeat(']', 101) || '}}');
SELECT pg_temp.r('{% for i in (1..100001) %}{% endfor %}');
SELECT length(pg_temp.r('{% for i in (1..100000) %}.{% endfor %}'));
SELECT pg_temp.r('{% for i in (1..1000) %}{% for j in (1..1000) %}{% endfor %}{% endfor %}');
SELECT pg_temp.r('{{ (1..9000000000000000000) | join: "" }}');
SELECT pg_temp.r('{% assign a = "0123456789" %}{% for i in (1..30) %}{% assign a = a | append: a %}{% endfor %}{{ a }}');
SELECT pg_temp.r('{% assign a = "0123456789" %}{% for i in (1..19) %}{% assign a = a | append: a %}{% endfor %}{% for i in (1..9) %}{{ a }}{% endfor %}');
SELECT pg_temp.r('{% assign a = (1..9000) %}{% for i in a %}{% if a == a %}{% endif %}{% assign b = a | uniq %}{% endfor %}');
SELECT pg_temp.r(repeat(' ', 1024 * 1024 + 1));
SELECT journey.render('{{ a | json }}', ('{"a": ' || repeat('[', 200) || repeat(']', 200) || '}')::jsonb);
-- a number of many digits is not copied without end
SELECT journey.render('{% for i in (1..1000) %}{% if x == 1 %}{% endif %}{% endfor %}', ('{"x": ' || repeat('9', 100000) || '}')::jsonb);
-- nothing of the server can be reached
SELECT '[' || pg_temp.r('{{ env }}{{ __FILE__ }}{{ settings.password }}{{ self }}') || ']';
SELECT journey.render('x', NULL);
