/*-------------------------------------------------------------------------
 *
 * news.h
 *	  Find rows by the commit of the transaction that wrote them.
 *
 * Commit order is not id order: a row with a small id may commit after one with a
 * large id was worked.  So progress is a snapshot.  Rows of transactions visible
 * in "seen" are done.  New are those of transactions that were running in "seen"
 * (its xip list) or began after it (xid >= its xmax) and have committed since.
 * They are worked up to a second snapshot, "upto", in the order (xid, id) of an
 * index on (slice, xid, id), so that a bulk load is taken in batches; when it is
 * exhausted, "upto" becomes "seen".
 *
 * Parameters of the statements: $1 slice, $2 seen, $3 upto, $4 and $5 xid and id
 * of the last row worked (0, 0 at the start).  columns: of alias v, among them
 * v.xid and the id.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_NEWS_H
#define PGJ_NEWS_H

/*
 * Of transactions that were running in "seen": few, mostly none.  Of each
 * transaction the rows after the last one worked.
 */
#define PGJ_NEWS_OF_RUNNING(columns, relation, id, limit)         \
	"SELECT v.* FROM pg_catalog.pg_snapshot_xip($2) AS x (xid)"   \
	" CROSS JOIN LATERAL (SELECT " columns " FROM " relation " v" \
	"  WHERE v.slice = $1 AND v.xid = x.xid"                      \
	"  AND v." id " > CASE WHEN x.xid = $4 THEN $5 ELSE 0 END"    \
	"  ORDER BY v." id " " limit ") v"                            \
	" WHERE x.xid >= $4 AND pg_catalog.pg_visible_in_snapshot(x.xid, $3)"

/*
 * Of transactions that began after it.  One lower bound, not two: an index scan
 * starts at one of them, and it would have to be the right one.
 */
#define PGJ_NEWS_SINCE(columns, relation, id)                               \
	"SELECT " columns " FROM " relation " v"                                \
	" WHERE v.slice = $1 AND (v.xid, v." id                                 \
	") > (greatest($4, pg_catalog.pg_snapshot_xmax($2)),"                   \
	"  CASE WHEN $4 >= pg_catalog.pg_snapshot_xmax($2) THEN $5 ELSE 0 END)" \
	" AND v.xid < pg_catalog.pg_snapshot_xmax($3)"                          \
	" AND pg_catalog.pg_visible_in_snapshot(v.xid, $3)"

/*
 * Both, the first $6 rows of each, in the order in which they are worked: all
 * of the former before any of the latter.
 */
#define PGJ_NEWS_OF_RUNNING_BATCH(columns, relation, id)   \
	PGJ_NEWS_OF_RUNNING(columns, relation, id, "LIMIT $6") \
	" ORDER BY v.xid, v." id " LIMIT $6"
#define PGJ_NEWS_SINCE_BATCH(columns, relation, id) \
	PGJ_NEWS_SINCE(columns, relation, id)           \
	" ORDER BY v.xid, v." id " LIMIT $6"

#endif /* PGJ_NEWS_H */
