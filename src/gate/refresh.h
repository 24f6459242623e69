/*-------------------------------------------------------------------------
 *
 * refresh.h
 *	  Learn anew how all contacts together respond.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_REFRESH_H
#define PGJ_REFRESH_H

#include "contact/site.h"
#include "datatype/timestamp.h"

/*
 * What journey.maintain() does of it: once a day, and nothing in a superuser's
 * session.
 */
extern void pgj_engagement_maintain(const Site *site, TimestampTz at);

#endif /* PGJ_REFRESH_H */
