SELECT to_char(at, 'YYYY-MM-DD HH24:MI') AS at, journey, what, CASE WHEN length(detail) > 90 THEN left(detail, 87) || '...' ELSE detail END AS detail
FROM journey.explain(:contact) WITH ORDINALITY AS e ORDER BY ordinality;
