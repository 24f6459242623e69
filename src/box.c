/*-------------------------------------------------------------------------
 *
 * box.c
 *	  Run what a user wrote, so that it can neither act nor leak.
 *
 * The walls, and what each of them is for:
 *
 * - The session is the journey owner's (see pgj_require_member), and so is the
 *	 current user: nothing inside can do more than the owner could by hand.
 * - A read-only subtransaction, rolled back whatever happens: no writes, no
 *	 NOTIFY, no LOCK TABLE, no temporary object and no setting survives it.
 * - SECURITY_RESTRICTED_OPERATION: no SET ROLE, no deferred trigger, no WITH
 *	 HOLD cursor, no PREPARE, no LISTEN.
 * - What neither rolls back nor is restricted is refused by name when an
 *	 executor meets it: session-level advisory locks (taking as well as
 *	 releasing: the session may hold some for its own purposes), signals to
 *	 backends, non-transactional WAL messages.
 * - No parallel workers: they would be outside the limits set here.
 * - Time: a timer cancels at T.  Code that catches the cancellation and goes on
 *	 ends its session at 2T, because nothing less stops it.
 * - Memory: the process' address space may grow by so much and no more, so that
 *	 a bomb becomes an ERROR instead of a visit from the kernel, after which
 *	 the postmaster would restart every session.
 *
 * Cancellations are told apart by counting: whatever arrives as SIGINT (a
 * user, statement_timeout) is not ours, and is thrown on even if the code
 * inside swallowed it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "optimizer/planner.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "tcop/tcopprot.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/resowner.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "box.h"
#include "clock.h"
#include "guc.h"
#include "pg_journey.h"

#define BOX_SEARCH_PATH "pg_catalog, pg_temp"
#define BOX_TRANCHE "pg_journey_box"
#define POISON_MAX 256

/* A place whose evaluation ended its session. */
typedef struct PoisonPlace
{
	Oid database; /* InvalidOid: forgiven */
	int version_id;
	int expression_no;
} PoisonPlace;

/* A ring: the newest places are remembered until the server restarts. */
typedef struct PoisonList
{
	LWLock *lock;
	uint32 count; /* ever added */
	PoisonPlace places[POISON_MAX];
} PoisonList;

static PoisonList *poison = NULL;

/* The evaluation going on in this process. */
static struct
{
	bool active;
	int version_id;
	int expression_no;
	const BoxLimit *limit;
	volatile sig_atomic_t expired;		  /* how often our timer fired */
	volatile sig_atomic_t foreign_cancel; /* a cancel that is not ours */
	struct sigaction old_sigint;
	struct rlimit old_memory;
	bool memory_limited;
} box;

/* The size of the process' address space, when it was last read. */
#define READINGS_APART 100
static struct
{
	rlim_t size;
	int age; /* evaluations since */
} memory_reading;

static TimeoutId box_timeout = MAX_TIMEOUTS;

static object_access_hook_type prev_object_access_hook = NULL;
static planner_hook_type prev_planner_hook = NULL;

/* -------- poison list -------- */

void
pgj_box_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(PoisonList)));
	RequestNamedLWLockTranche(BOX_TRANCHE, 1);
}

void
pgj_box_shmem_init(void)
{
	bool found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	poison =
		ShmemInitStruct("pg_journey poison list", sizeof(PoisonList), &found);
	if (!found)
	{
		memset(poison, 0, sizeof(PoisonList));
		poison->lock = &GetNamedLWLockTranche(BOX_TRANCHE)->lock;
	}
	LWLockRelease(AddinShmemInitLock);
}

static void
poison_add(int version_id, int expression_no)
{
	PoisonPlace *place;

	LWLockAcquire(poison->lock, LW_EXCLUSIVE);
	place = &poison->places[poison->count++ % POISON_MAX];
	place->database = MyDatabaseId;
	place->version_id = version_id;
	place->expression_no = expression_no;
	LWLockRelease(poison->lock);
}

static bool
poison_has(int version_id, int expression_no)
{
	bool found = false;

	if (poison == NULL || poison->count == 0)
		return false;

	LWLockAcquire(poison->lock, LW_SHARED);
	for (int i = 0; i < POISON_MAX && !found; i++)
	{
		PoisonPlace *place = &poison->places[i];

		found = place->database == MyDatabaseId &&
				place->version_id == version_id &&
				place->expression_no == expression_no;
	}
	LWLockRelease(poison->lock);
	return found;
}

void
pgj_box_forgive(int version_id)
{
	if (poison == NULL)
		return;

	LWLockAcquire(poison->lock, LW_EXCLUSIVE);
	for (int i = 0; i < POISON_MAX; i++)
	{
		PoisonPlace *place = &poison->places[i];

		if (place->database == MyDatabaseId && place->version_id == version_id)
			place->database = InvalidOid;
	}
	LWLockRelease(poison->lock);
}

/*
 * The session ends.  If the evaluation is to blame, remember where: whoever
 * comes next would fall into the same hole.  It is to blame when it would not
 * stop, or when it made errors fatal (exit_on_error is anybody's to set).
 *
 * What has no place (0, 0: a check at creation, reading the contact table) is
 * not remembered: one author's mistake must not stop everybody else's reading.
 */
static void
remember_at_exit(int code, Datum arg)
{
	if (!box.active || (box.expired < 2 && !ExitOnAnyError))
		return;

	ereport(LOG,
			box.version_id < 0
				? errmsg("predicate of segment %d ended its session",
						 PGJ_BOX_SEGMENT(box.version_id))
				: errmsg("expression %d of version %d ended its session",
						 box.expression_no, box.version_id),
			box.expired < 2 ? errdetail("It had set exit_on_error.")
							: errdetail("It was still running after twice %s.",
										box.limit->setting));
	if (poison != NULL && (box.version_id != 0 || box.expression_no != 0))
		poison_add(box.version_id, box.expression_no);
}

/* -------- time -------- */

static void
box_timeout_handler(void)
{
	if (!box.active)
		return;
	box.expired++;
	if (box.expired == 1)
		QueryCancelPending = true;
	else
		ProcDiePending = true;
	InterruptPending = true;
}

/*
 * Wraps the session's own SIGINT handler.  A lock timeout comes as SIGINT too
 * but ends as an error of its own kind.
 */
static void
box_sigint_handler(SIGNAL_ARGS)
{
	if (!get_timeout_indicator(LOCK_TIMEOUT, false))
		box.foreign_cancel = true;
	box.old_sigint.sa_handler(postgres_signal_arg);
}

static void
watch_sigint(void)
{
	struct sigaction act;

	sigaction(SIGINT, NULL, &box.old_sigint);
	if (box.old_sigint.sa_handler == SIG_IGN ||
		box.old_sigint.sa_handler == SIG_DFL)
		return;
	act = box.old_sigint;
	act.sa_handler = box_sigint_handler;
	sigaction(SIGINT, &act, NULL);
}

/* -------- memory -------- */

/*
 * Map the stack as deep as it may get.  Stack growth counts as address space
 * too, but where it fails there is no error to report, only SIGSEGV.
 */
static pg_noinline void
reserve_stack(void)
{
	size_t size = (size_t) max_stack_depth * 1024 + STACK_DEPTH_SLOP;
	volatile char *bottom = __builtin_alloca(size);

	bottom[0] = 0;
}

/* Size of this process' address space in bytes, or 0 where nobody tells. */
static rlim_t
address_space_size(void)
{
#ifdef __linux__
	char buf[32];
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return 0;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	buf[n] = '\0';
	return (rlim_t) strtoul(buf, NULL, 10) * sysconf(_SC_PAGESIZE);
#else
	return 0;
#endif
}

/*
 * The limit counts from the size the process had when it was last read.  Reading
 * it costs more than most expressions, so it is read every now and then; if an
 * evaluation runs out of memory on an old reading it is tried on a new one.
 */
static void
limit_memory(void)
{
	struct rlimit lowered;

	box.memory_limited = false;
	if (pgj_expression_memory < 0)
		return;
	if (memory_reading.age == 0 || memory_reading.age >= READINGS_APART)
	{
		reserve_stack();
		memory_reading.size = address_space_size();
		memory_reading.age = 0;
	}
	memory_reading.age++;
	if (memory_reading.size == 0 || getrlimit(RLIMIT_AS, &box.old_memory) != 0)
		return;
	lowered = box.old_memory;
	lowered.rlim_cur =
		memory_reading.size + (rlim_t) pgj_expression_memory * 1024;
	if (box.old_memory.rlim_cur != RLIM_INFINITY &&
		box.old_memory.rlim_cur <= lowered.rlim_cur)
		return;
	box.memory_limited = setrlimit(RLIMIT_AS, &lowered) == 0;
}

static void
unlimit_memory(void)
{
	if (box.memory_limited)
		setrlimit(RLIMIT_AS, &box.old_memory);
	box.memory_limited = false;
}

/* -------- what is refused by name -------- */

static bool
is_refused_function(Oid function)
{
	switch (function)
	{
		case F_PG_ADVISORY_LOCK_INT8:
		case F_PG_ADVISORY_LOCK_INT4_INT4:
		case F_PG_ADVISORY_LOCK_SHARED_INT8:
		case F_PG_ADVISORY_LOCK_SHARED_INT4_INT4:
		case F_PG_TRY_ADVISORY_LOCK_INT8:
		case F_PG_TRY_ADVISORY_LOCK_INT4_INT4:
		case F_PG_TRY_ADVISORY_LOCK_SHARED_INT8:
		case F_PG_TRY_ADVISORY_LOCK_SHARED_INT4_INT4:
		case F_PG_ADVISORY_UNLOCK_INT8:
		case F_PG_ADVISORY_UNLOCK_INT4_INT4:
		case F_PG_ADVISORY_UNLOCK_SHARED_INT8:
		case F_PG_ADVISORY_UNLOCK_SHARED_INT4_INT4:
		case F_PG_ADVISORY_UNLOCK_ALL:
		case F_PG_CANCEL_BACKEND:
		case F_PG_TERMINATE_BACKEND:
		case PGJ_F_EMIT_TEXT:
		case PGJ_F_EMIT_BYTEA:
			return true;
		default:
			return false;
	}
}

static void
box_object_access(ObjectAccessType access, Oid class_id, Oid object_id,
				  int sub_id, void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, class_id, object_id, sub_id, arg);

	if (box.active && access == OAT_FUNCTION_EXECUTE &&
		class_id == ProcedureRelationId && is_refused_function(object_id))
		ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("cannot call %s in an expression of a journey",
					   format_procedure(object_id)),
				errdetail("Its effect would outlive the evaluation."));
}

static PlannedStmt *
box_planner(Query *parse, const char *query_string, int cursor_options,
			ParamListInfo params)
{
	if (box.active)
		cursor_options &= ~CURSOR_OPT_PARALLEL_OK;

	if (prev_planner_hook)
		return prev_planner_hook(parse, query_string, cursor_options, params);
	return standard_planner(parse, query_string, cursor_options, params);
}

/* -------- the box -------- */

/* Once per process, at the first evaluation. */
static void
prepare_process(void)
{
	if (box_timeout != MAX_TIMEOUTS)
		return;

	box_timeout = RegisterTimeout(USER_TIMEOUT, box_timeout_handler);
	before_shmem_exit(remember_at_exit, (Datum) 0);
	prev_object_access_hook = object_access_hook;
	object_access_hook = box_object_access;
	prev_planner_hook = planner_hook;
	planner_hook = box_planner;
}

/* Become as weak as can be; the rollback of the subtransaction undoes it. */
static void
weaken(const Site *site)
{
	char temp_limit[32];

	XactReadOnly = true;
	SetUserIdAndSecContext(site->owner, SECURITY_RESTRICTED_OPERATION |
											SECURITY_LOCAL_USERID_CHANGE);

	/* the subtransaction has a GUC level of its own */
	if (strcmp(namespace_search_path, BOX_SEARCH_PATH) != 0)
		(void) set_config_option("search_path", BOX_SEARCH_PATH, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
	if (!row_security)
		(void) set_config_option("row_security", "on", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
	if (pgj_expression_memory >= 0 &&
		(temp_file_limit < 0 || temp_file_limit / 4 > pgj_expression_memory))
	{
		snprintf(temp_limit, sizeof(temp_limit), "%d",
				 (int) Min((int64) pgj_expression_memory * 4, INT_MAX));
		(void) set_config_option("temp_file_limit", temp_limit, PGC_SUSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
	}

	/* what is decided here is decided on everything committed by now */
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* Start the limits.  Nothing here may throw. */
static void
arm(int version_id, int expression_no, const BoxLimit *limit)
{
	box.version_id = version_id;
	box.expression_no = expression_no;
	box.limit = limit;
	box.expired = 0;
	box.foreign_cancel = false;
	watch_sigint();
	limit_memory();
	box.active = true;
	enable_timeout_every(
		box_timeout,
		TimestampTzPlusMilliseconds(pgj_clock_now(), limit->timeout),
		limit->timeout);
}

/* End the limits.  Nothing here may throw, but it may end the session. */
static void
disarm(void)
{
	disable_timeout(box_timeout, false);
	unlimit_memory();
	sigaction(SIGINT, &box.old_sigint, NULL);

	/* a cancel of ours that came too late to be noticed */
	if (box.expired == 1 && !box.foreign_cancel)
		QueryCancelPending = false;

	/* while still marked as inside, so that it is remembered */
	if (box.expired >= 2)
		CHECK_FOR_INTERRUPTS();
	box.active = false;
}

static void
refuse_poisoned(int version_id, int expression_no)
{
	if (poison_has(version_id, expression_no))
		ereport(
			ERROR, errcode(ERRCODE_QUERY_CANCELED),
			errmsg(
				"an earlier evaluation of this expression ended its session"),
			errdetail(
				"It would not stop at twice pg_journey.expression_timeout, or it had set exit_on_error."),
			errhint(
				"Correct the functions it calls, then retry what was parked."));
}

/* A cancel that was not ours goes on to whom it was meant for. */
static void
throw_foreign_cancel(ErrorData *error)
{
	if (error != NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	QueryCancelPending = true;
	InterruptPending = true;
	CHECK_FOR_INTERRUPTS();
}

static ErrorData *
run_once(const Site *site, int version_id, int expression_no,
		 const BoxLimit *limit, BoxBody body, void *arg)
{
	MemoryContext caller_context = CurrentMemoryContext;
	ResourceOwner caller_owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;
	volatile bool armed = false;

	if (box.active)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot evaluate an expression within an expression"));

	prepare_process();
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller_context);
	PG_TRY();
	{
		refuse_poisoned(version_id, expression_no);
		weaken(site);
		arm(version_id, expression_no, limit);
		armed = true;
		body(arg);
		CHECK_FOR_INTERRUPTS();
	}
	PG_CATCH();
	{
		unlimit_memory();
		MemoryContextSwitchTo(caller_context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();

	if (armed)
		disarm();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(caller_context);
	CurrentResourceOwner = caller_owner;

	if (armed && box.foreign_cancel)
		throw_foreign_cancel(error);
	if (armed && box.expired > 0 && error != NULL &&
		error->sqlerrcode == ERRCODE_QUERY_CANCELED)
	{
		error->message =
			psprintf("%s took longer than %d ms", limit->what, limit->timeout);
		error->hint = psprintf("See the setting %s.", limit->setting);
	}
	return error;
}

ErrorData *
pgj_box_run_within(const Site *site, int version_id, int expression_no,
				   const BoxLimit *limit, BoxBody body, void *arg)
{
	ErrorData *error =
		run_once(site, version_id, expression_no, limit, body, arg);

	if (error != NULL && error->sqlerrcode == ERRCODE_OUT_OF_MEMORY &&
		memory_reading.age > 1)
	{
		memory_reading.age = 0;
		FreeErrorData(error);
		error = run_once(site, version_id, expression_no, limit, body, arg);
	}
	return error;
}

ErrorData *
pgj_box_run(const Site *site, int version_id, int expression_no, BoxBody body,
			void *arg)
{
	BoxLimit limit = { pgj_expression_timeout, "pg_journey.expression_timeout",
					   "expression" };

	return pgj_box_run_within(site, version_id, expression_no, &limit, body,
							  arg);
}
