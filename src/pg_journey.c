/*-------------------------------------------------------------------------
 *
 * pg_journey.c
 *	  What happens when the library is loaded.
 *
 * Loaded by a session, it offers its functions and settings.  Preloaded by the
 * postmaster, it also has shared memory and the launcher of engine workers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"

#include "board.h"
#include "box.h"
#include "engine/launcher.h"
#include "gate/onlooker.h"
#include "guc.h"
#include "pg_journey.h"
#include "segment/segment.h"
#include "wakeup.h"

PG_MODULE_MAGIC;

extern void _PG_init(void);

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static void
shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	pgj_board_shmem_request();
	pgj_box_shmem_request();
}

static void
shmem_startup(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	pgj_board_shmem_init();
	pgj_box_shmem_init();
}

void
_PG_init(void)
{
	pgj_guc_define();
	pgj_wakeup_init();
	pgj_onlooker_register();
	pgj_segment_init();

	if (!process_shared_preload_libraries_in_progress)
		return;

	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
	pgj_evict_init();
	pgj_launcher_register();
}
