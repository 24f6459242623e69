/*-------------------------------------------------------------------------
 *
 * argument.h
 *	  Arguments of the gate's functions: contacts, and names that must exist.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_ARGUMENT_H
#define PGJ_ARGUMENT_H

#include "contact/site.h"
#include "fmgr.h"

/* Refuse nulls; names[i] is what argument i is called, NULL if it may be null. */
extern void pgj_argument_refuse_null(FunctionCallInfo fcinfo,
									 const char *const *names);

/* The contact as a value of the key's type, whatever type it came as. */
extern Datum pgj_argument_contact(FunctionCallInfo fcinfo, const Site *site,
								  int argument);

/* Refuse a name that is of none; within SPI_connect. */
extern void pgj_require_channel(const Site *site, Datum name);
extern void pgj_require_topic(const Site *site, Datum name); /* or '*' */

#endif /* PGJ_ARGUMENT_H */
