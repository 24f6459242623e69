/*-------------------------------------------------------------------------
 *
 * fraction.h
 *	  The fraction that assigns a unit to an arm: reproducible by anybody in
 *	  one line of SQL or Python.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_FRACTION_H
#define PGJ_FRACTION_H

/*
 * First 53 bits of SHA-256(utf8(salt) || 0x1F || utf8(unit_key)) / 2^53, in
 * [0,1).  Strings are in the server encoding.
 */
extern double pgj_fraction(const char *salt, const char *unit_key);

#endif /* PGJ_FRACTION_H */
