/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Every test of the server's version in the tree.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_COMPAT_H
#define PGJ_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "pg_journey needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#endif							/* PGJ_COMPAT_H */
