/*-------------------------------------------------------------------------
 *
 * script_graph.c
 *	  From the tree of steps to the graph in journey.step.
 *
 * Steps are numbered in the order of the text; IF and each ELSIF is a step of
 * its own.  A block's last step leads to whatever follows the block.
 *
 * These walks recurse once for each block within a block; the grammar has
 * bounded that (SCRIPT_MAX_NESTING).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "script/script_compile.h"

static int
number_steps(ScriptStep *step, int n)
{
	for (; step; step = step->next)
	{
		ScriptArm *arm;

		step->step_no = n;
		if (step->kind != STEP_IF)
			n++;
		for (arm = step->arms; arm; arm = arm->next)
		{
			arm->step_no = n++;
			n = number_steps(arm->steps, n);
		}
		n = number_steps(step->then_steps, n);
		n = number_steps(step->else_steps, n);
	}
	return n;
}

void
pgj_script_number_steps(Script *script)
{
	int n PG_USED_FOR_ASSERTS_ONLY = number_steps(script->steps, 1);

	Assert(n == script->nsteps + 1);
}

static int
first_of(const ScriptStep *steps, int follow)
{
	return steps ? steps->step_no : follow;
}

static void
link_steps(StepRow *rows, const ScriptStep *step, int after)
{
	for (; step; step = step->next)
	{
		int follow = first_of(step->next, after);
		StepRow *row = &rows[step->step_no - 1];
		const ScriptArm *arm;

		row->step = step;
		row->label = step->label ? step->label->text : NULL;
		row->next_step = follow;
		row->else_step = -1;

		switch (step->kind)
		{
			case STEP_IF:
				for (arm = step->arms; arm; arm = arm->next)
				{
					row = &rows[arm->step_no - 1];
					row->step = step;
					row->arm = arm;
					row->next_step = first_of(arm->steps, follow);
					row->else_step = arm->next
										 ? arm->next->step_no
										 : first_of(step->else_steps, follow);
					link_steps(rows, arm->steps, follow);
				}
				link_steps(rows, step->else_steps, follow);
				break;
			case STEP_WAIT_FOR:
				row->next_step = first_of(step->then_steps, follow);
				row->else_step = first_of(step->else_steps, follow);
				link_steps(rows, step->then_steps, follow);
				link_steps(rows, step->else_steps, follow);
				break;
			case STEP_WAIT_UNTIL:
				/* too late for the step that was waited for: go on behind it */
				if (step->past == PAST_SKIP)
					row->else_step =
						step->next ? first_of(step->next->next, after) : after;
				break;
			case STEP_EXIT:
				row->next_step = 0;
				break;
			default:
				break;
		}
	}
}

StepRow *
pgj_script_graph(Compilation *c)
{
	StepRow *rows = palloc0(sizeof(StepRow) * Max(c->nsteps, 1));

	link_steps(rows, c->script->steps, 0);
	return rows;
}

/* Does a run that enters these steps ever come out behind them? */
static bool
falls_through(Compilation *c, const ScriptStep *step)
{
	bool reached = true;

	for (; step; step = step->next)
	{
		if (!reached)
		{
			pgj_problem_add(c, step->offset, ERRCODE_SYNTAX_ERROR,
							pstrdup("this step is never reached"),
							pstrdup("Every way here ends with EXIT."));
			break;
		}
		if (step->kind == STEP_EXIT)
			reached = false;
		else if (step->kind == STEP_WAIT_FOR)
		{
			bool then_falls = falls_through(c, step->then_steps);
			bool else_falls = falls_through(c, step->else_steps);

			reached = then_falls || else_falls;
		}
		else if (step->kind == STEP_IF)
		{
			const ScriptArm *arm;

			reached = falls_through(c, step->else_steps);
			for (arm = step->arms; arm; arm = arm->next)
				reached |= falls_through(c, arm->steps);
		}
	}
	return reached;
}

void
pgj_script_check_reachable(Compilation *c)
{
	(void) falls_through(c, c->script->steps);
}
