/*-------------------------------------------------------------------------
 *
 * onlooker.c
 *	  Claims say what they look at; who suppresses it outlasts them.
 *
 * A claim must not hand a message over after its address has been suppressed,
 * and an address that is not suppressed has no row at which the two could meet.
 * They meet at locks of the lock manager instead, as CREATE INDEX CONCURRENTLY
 * meets writers:
 *	 a claim	takes its lock, in share mode, until its transaction ends; then
 *				looks for rows being written (unsettled.c); then reads.
 *	 a suppression	writes its row; then, right before its transaction commits,
 *				waits for the transactions that hold the lock at that moment.
 * If the claim took its lock before the suppression looked who holds it, the
 * suppression commits later than the claim does.  Else the row had been written
 * before the claim looked: it is seen, or is open and puts the message off.
 *
 * Nobody takes the lock in a mode that would keep a claim waiting, claims do not keep
 * each other waiting, and a claim that begins while a suppression waits is none that
 * it waits for.  A suppression that rolls back has waited for nobody.  Two
 * transactions that both claim and suppress wait for each other: the server
 * ends one of them as a deadlock.
 *
 * One lock stands for many addresses (a hash of channel and address) or contacts
 * (their slice): PARTS each, so that a claim of ten thousand messages does not fill the
 * lock table.  A suppression may wait for a claim that has nothing to do with it.
 * The locks end with the transaction, in a crash too, and are kept by a prepared one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/lmgr.h"
#include "storage/lock.h"

#include "append.h"
#include "gate/onlooker.h"
#include "pg_journey.h"

#define PARTS 64 /* bits of Onlooker.parts */

enum
{
	OF_ADDRESSES,
	OF_CONTACTS
};

static const char *const tables[] = { "suppression", "suppressed_contact" };

/* What this transaction has suppressed. */
static Onlooker outlasted;

static uint64
address_part(const char *channel, const char *address)
{
	uint32 hash = hash_combine(
		hash_bytes((const unsigned char *) channel, strlen(channel)),
		hash_bytes((const unsigned char *) address, strlen(address)));

	return UINT64CONST(1) << (hash % PARTS);
}

static uint64
contact_part(const Site *site, Datum contact)
{
	return UINT64CONST(1) << (pgj_slice_of(site, contact) % PARTS);
}

/* The object of that name is a part of the table's rows; nobody else locks it so. */
static void
set_tag(LOCKTAG *tag, Oid table, int part)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, RelationRelationId, table, part + 1);
}

/* -------- claims -------- */

void
pgj_onlooker_init(Onlooker *onlooker)
{
	for (int i = 0; i < lengthof(tables); i++)
	{
		onlooker->table[i] = pgj_state_relation(tables[i]);
		onlooker->parts[i] = 0;
	}
}

void
pgj_onlooker_add(Onlooker *onlooker, const Site *site, Datum contact,
				 const char *channel, const char *address)
{
	onlooker->parts[OF_CONTACTS] |= contact_part(site, contact);
	if (address != NULL)
		onlooker->parts[OF_ADDRESSES] |= address_part(channel, address);
}

void
pgj_onlooker_enter(const Onlooker *onlooker)
{
	for (int i = 0; i < lengthof(tables); i++)
	{
		for (uint64 left = onlooker->parts[i]; left != 0; left &= left - 1)
		{
			LOCKTAG tag;

			set_tag(&tag, onlooker->table[i], pg_rightmost_one_pos64(left));
			(void) LockAcquire(&tag, ShareLock, false, false);
		}
	}
}

/* -------- suppressions -------- */

static void
outlast(int of, uint64 part)
{
	outlasted.table[of] = pgj_state_relation(tables[of]);
	outlasted.parts[of] |= part;
}

void
pgj_outlast_address(const char *channel, const char *address)
{
	outlast(OF_ADDRESSES, address_part(channel, address));
}

void
pgj_outlast_contact(const Site *site, Datum contact)
{
	outlast(OF_CONTACTS, contact_part(site, contact));
}

static void
wait_for_claims(void)
{
	List *tags = NIL;

	for (int i = 0; i < lengthof(tables); i++)
	{
		for (uint64 left = outlasted.parts[i]; left != 0; left &= left - 1)
		{
			LOCKTAG *tag = palloc_object(LOCKTAG);

			set_tag(tag, outlasted.table[i], pg_rightmost_one_pos64(left));
			tags = lappend(tags, tag);
		}
	}
	/* a mode that conflicts with that of claims; it is not taken */
	WaitForLockersMultiple(tags, ExclusiveLock, false);
	list_free_deep(tags);
}

static void
transaction_ends(XactEvent event, void *arg)
{
	if (outlasted.parts[OF_ADDRESSES] == 0 && outlasted.parts[OF_CONTACTS] == 0)
		return;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			wait_for_claims();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			memset(&outlasted, 0, sizeof(outlasted));
			break;
		default:
			break;
	}
}

void
pgj_onlooker_register(void)
{
	RegisterXactCallback(transaction_ends, NULL);
}
