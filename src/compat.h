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

/* in front of a declaration, as since 18 */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* what capture/event.c needs of the executor */
#if PG_VERSION_NUM >= 160000
#define pgj_ExecInsertIndexTuples(rri, slot, estate) \
	ExecInsertIndexTuples(rri, slot, estate, false, false, NULL, NIL, false)
#define pgj_RootToPartitionMap(rri, estate) ExecGetRootToChildMap(rri, estate)
#else
#define pgj_ExecInsertIndexTuples(rri, slot, estate) \
	ExecInsertIndexTuples(rri, slot, estate, false, false, NULL, NIL)
#define pgj_RootToPartitionMap(rri, estate) ((rri)->ri_RootToPartitionMap)
#endif

#if PG_VERSION_NUM >= 180000
#define pgj_ExecInitRangeTable(estate, rte)                     \
	do                                                          \
	{                                                           \
		List *perminfos_ = NIL;                                 \
		addRTEPermissionInfo(&perminfos_, rte);                 \
		ExecInitRangeTable(estate, list_make1(rte), perminfos_, \
						   bms_make_singleton(1));              \
	} while (0)
#elif PG_VERSION_NUM >= 160000
#define pgj_ExecInitRangeTable(estate, rte)                      \
	do                                                           \
	{                                                            \
		List *perminfos_ = NIL;                                  \
		addRTEPermissionInfo(&perminfos_, rte);                  \
		ExecInitRangeTable(estate, list_make1(rte), perminfos_); \
	} while (0)
#else
#define pgj_ExecInitRangeTable(estate, rte) \
	ExecInitRangeTable(estate, list_make1(rte))
#endif

/* the index of this process in ProcGlobal->allProcs */
#if PG_VERSION_NUM >= 170000
#define pgj_my_procno() ((uint32) MyProcNumber)
#else
#define pgj_my_procno() ((uint32) MyProc->pgprocno)
#endif

/* a wait event of our own, where there are such */
#if PG_VERSION_NUM >= 170000
#define pgj_wait_event(name) WaitEventExtensionNew(name)
#else
#define pgj_wait_event(name) PG_WAIT_EXTENSION
#endif

#if PG_VERSION_NUM >= 160000
#define pgj_is_database_owner(db, role) \
	object_ownercheck(DatabaseRelationId, db, role)
#else
#define pgj_is_database_owner(db, role) pg_database_ownercheck(db, role)
#endif

#if PG_VERSION_NUM >= 160000
#define pgj_schema_aclcheck(schema, role, mode) \
	object_aclcheck(NamespaceRelationId, schema, role, mode)
#else
#define pgj_schema_aclcheck(schema, role, mode) \
	pg_namespace_aclcheck(schema, role, mode)
#endif

#if PG_VERSION_NUM >= 160000
#define pgj_flatten_join_alias_vars(query, node) \
	flatten_join_alias_vars(NULL, query, node)
#else
#define pgj_flatten_join_alias_vars(query, node) \
	flatten_join_alias_vars(query, node)
#endif

#if PG_VERSION_NUM >= 160000
#define pgj_function_aclcheck(function, role, mode) \
	object_aclcheck(ProcedureRelationId, function, role, mode)
#else
#define pgj_function_aclcheck(function, role, mode) \
	pg_proc_aclcheck(function, role, mode)
#endif

#if PG_VERSION_NUM >= 160000
#define pgj_is_table_owner(table, role) \
	object_ownercheck(RelationRelationId, table, role)
#else
#define pgj_is_table_owner(table, role) pg_class_ownercheck(table, role)
#endif

/* the body of a function that is no procedure, against what it returns */
#if PG_VERSION_NUM >= 180000
#define pgj_check_sql_fn_retval(trees, type, row, dropped) \
	check_sql_fn_retval(trees, type, row, PROKIND_FUNCTION, dropped)
#elif PG_VERSION_NUM >= 170000
#define pgj_check_sql_fn_retval(trees, type, row, dropped) \
	check_sql_fn_retval(trees, type, row, PROKIND_FUNCTION, dropped, NULL)
#else
#define pgj_check_sql_fn_retval(trees, type, row, dropped) \
	check_sql_fn_retval(trees, type, row, dropped, NULL)
#endif

/* what an operator is in the families of ordering indexes */
#if PG_VERSION_NUM >= 180000
#define pgj_OpInterpretation OpIndexInterpretation
#define pgj_op_interpretations(op) get_op_index_interpretation(op)
#define pgj_op_strategy(meaning) ((int) (meaning)->cmptype)
#define PGJ_STRATEGY_NE COMPARE_NE
#else
#define pgj_OpInterpretation OpBtreeInterpretation
#define pgj_op_interpretations(op) get_op_btree_interpretation(op)
#define pgj_op_strategy(meaning) ((meaning)->strategy)
#define PGJ_STRATEGY_NE ROWCOMPARE_NE
#endif

/*
 * Since 18 what a query groups by is a range table entry of its own, and read from
 * there: write it where it is read, as before.
 */
#if PG_VERSION_NUM >= 180000
#define pgj_flatten_groups(query)                                      \
	do                                                                 \
	{                                                                  \
		if ((query)->hasGroupRTE)                                      \
		{                                                              \
			(query)->targetList = (List *) flatten_group_exprs(        \
				NULL, query, (Node *) (query)->targetList);            \
			(query)->havingQual =                                      \
				flatten_group_exprs(NULL, query, (query)->havingQual); \
		}                                                              \
	} while (0)
#else
#define pgj_flatten_groups(query) ((void) 0)
#endif

#if PG_VERSION_NUM >= 180000
#define pgj_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define pgj_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/* pg_logical_emit_message() has a fourth argument since 17 */
#if PG_VERSION_NUM >= 170000
#define PGJ_F_EMIT_TEXT F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_TEXT_BOOL
#define PGJ_F_EMIT_BYTEA F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_BYTEA_BOOL
#else
#define PGJ_F_EMIT_TEXT F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_TEXT
#define PGJ_F_EMIT_BYTEA F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_BYTEA
#endif

#endif /* PGJ_COMPAT_H */
