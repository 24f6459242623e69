/*-------------------------------------------------------------------------
 *
 * liquid_render.c
 *	  A parsed template and its data to text.
 *
 * Names are looked up in the enclosing loops, then among what the template
 * assigned, then in the data.  Whatever is not there is nil and writes nothing.
 *
 * In HTML every output is escaped unless it is "safe": the result of raw, of a
 * filter that escapes by itself, or of capture, which was escaped while it was
 * written.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "outbox/liquid.h"

typedef enum Flow
{
	FLOW_NEXT,
	FLOW_BREAK,
	FLOW_CONTINUE
} Flow;

static Flow render_body(LiquidState *st, const LiquidBody *body);
static LiquidValue eval(LiquidState *st, const LiquidExpr *e);

/* ---- limits ---- */

/* Count memory against the limit of one rendering. */
void
pgj_liquid_charge(LiquidState *st, size_t size)
{
	if (size > LIQUID_MAX_MEMORY - st->memory)
		pgj_liquid_error(LIQUID_LIMIT, st->template->source, st->at, NULL,
						 "template needs more than %d bytes of memory",
						 LIQUID_MAX_MEMORY);
	st->memory += size;
}

/* Zero-filled memory, counted. */
void *
pgj_liquid_alloc(LiquidState *st, size_t size)
{
	pgj_liquid_charge(st, size);
	return palloc0(Max(size, 1));
}

void
pgj_liquid_work(LiquidState *st, int64 units)
{
	st->work += units;
	if (st->work > LIQUID_MAX_WORK)
		pgj_liquid_error(LIQUID_LIMIT, st->template->source, st->at, NULL,
						 "template takes too long");
	LIQUID_CHECK_FOR_INTERRUPTS();
}

void
pgj_liquid_append(LiquidState *st, LiquidBuffer *buf, const char *s, int len)
{
	if (len <= 0)
		return;
	if (len > LIQUID_MAX_OUTPUT - buf->len)
		pgj_liquid_error(LIQUID_LIMIT, st->template->source, st->at, NULL,
						 "template writes more than %d bytes",
						 LIQUID_MAX_OUTPUT);
	if (buf->len + len + 1 > buf->size)
	{
		int size = Max(2 * buf->size, Max(256, buf->len + len + 1));
		char *data;

		/* the old block is given back, so it does not count */
		if (buf->data)
			st->memory -= buf->size;
		data = pgj_liquid_alloc(st, size);
		if (buf->data)
		{
			memcpy(data, buf->data, buf->len);
			pfree(buf->data);
		}
		buf->data = data;
		buf->size = size;
	}
	memcpy(buf->data + buf->len, s, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

/* ---- names ---- */

static bool
is_named(const char *name, int len, const char *other, int other_len)
{
	return len == other_len && memcmp(name, other, len) == 0;
}

static LiquidVariable *
find_in(LiquidState *st, LiquidVariable *list, const char *name, int len)
{
	int hops = 0;

	for (; list && !is_named(name, len, list->name, list->len); hops++)
		list = list->next;
	pgj_liquid_work(st, hops / 16);
	return list;
}

static void
set_in(LiquidState *st, LiquidVariable **list, const char *name, int len,
	   LiquidValue value)
{
	LiquidVariable *v = find_in(st, *list, name, len);

	if (v == NULL)
	{
		v = pgj_liquid_alloc(st, sizeof(LiquidVariable));
		v->name = name;
		v->len = len;
		v->next = *list;
		*list = v;
	}
	v->value = value;
}

bool
pgj_liquid_variable(LiquidState *st, const char *name, int len,
					LiquidValue *out)
{
	LiquidVariable *v;

	for (const LiquidFrame *f = st->frame; f; f = f->parent)
	{
		if (is_named(name, len, f->node->text, f->node->len))
		{
			*out = f->value;
			return true;
		}
		if (is_named(name, len, "forloop", 7))
		{
			*out = pgj_liquid_nil();
			out->type = LIQUID_LOOP;
			out->u.loop = f;
			return true;
		}
	}
	v = find_in(st, st->variables, name, len);
	if (v)
	{
		*out = v->value;
		return true;
	}
	*out = pgj_liquid_nil();
	if (st->data.type != LIQUID_OBJECT ||
		!st->data.u.list.source->get(st->data.u.list.handle, name, len, out))
		return false;
	pgj_liquid_got(st, out);
	return true;
}

/* ---- expressions ---- */

static LiquidValue
eval_path(LiquidState *st, const LiquidExpr *e)
{
	const LiquidStep *step = e->path;
	LiquidValue v;
	LiquidValue key;

	if (step->name)
		pgj_liquid_variable(st, step->name, step->len, &v);
	else
	{
		key = eval(st, step->index);
		key = pgj_liquid_text(st, &key);
		pgj_liquid_variable(st, key.u.string, key.len, &v);
	}
	for (step = step->next; step; step = step->next)
	{
		if (step->name)
			key = pgj_liquid_string(step->name, step->len);
		else
			key = eval(st, step->index);
		v = pgj_liquid_lookup(st, &v, &key, step->name != NULL);
	}
	return v;
}

static LiquidValue
eval(LiquidState *st, const LiquidExpr *e)
{
	LiquidValue v;
	LiquidValue low;
	LiquidValue high;

	st->at = e->at;
	pgj_liquid_work(st, 1);
	switch (e->kind)
	{
		case LIQUID_EXPR_LITERAL:
			return e->literal;
		case LIQUID_EXPR_PATH:
			return eval_path(st, e);
		default:
			break;
	}
	low = eval(st, e->low);
	high = eval(st, e->high);
	v = pgj_liquid_nil();
	v.type = LIQUID_RANGE;
	/* far inside int64, so that counts and indexes cannot overflow */
	v.u.range.low = Max(Min(pgj_liquid_loose_integer(&low), PG_INT64_MAX / 4),
						PG_INT64_MIN / 4);
	v.u.range.high = Max(Min(pgj_liquid_loose_integer(&high), PG_INT64_MAX / 4),
						 PG_INT64_MIN / 4);
	return v;
}

static LiquidValue
eval_pipe(LiquidState *st, const LiquidPipe *pipe)
{
	LiquidValue v;

	if (pipe->expr == NULL)
		return pgj_liquid_nil();
	v = eval(st, pipe->expr);
	for (const LiquidCall *call = pipe->calls; call; call = call->next)
	{
		LiquidValue args[LIQUID_MAX_ARGS + 1];
		int nargs = call->nargs;

		memset(args, 0, sizeof(args));
		for (int i = 0; i < nargs; i++)
			args[i] = eval(st, call->args[i]);
		if (call->allow_false)
			args[LIQUID_MAX_ARGS] = eval(st, call->allow_false);
		st->at = call->at;
		pgj_liquid_work(st, 1);
		call->filter->fn(st, call, &v, args, nargs);
	}
	return v;
}

static bool
contains(LiquidState *st, const LiquidValue *left, const LiquidValue *right)
{
	LiquidValue text;

	if (!pgj_liquid_truth(right))
		return false;
	if (left->type == LIQUID_STRING)
	{
		text = pgj_liquid_text(st, right);
		pgj_liquid_work(st, left->len / 64);
		return text.len == 0 || memmem(left->u.string, left->len, text.u.string,
									   text.len) != NULL;
	}
	if (left->type == LIQUID_OBJECT)
	{
		if (right->type != LIQUID_STRING)
			return false;
		if (!left->u.list.source->get(left->u.list.handle, right->u.string,
									  right->len, &text))
			return false;
		pgj_liquid_got(st, &text);
		return true;
	}
	if (left->type == LIQUID_RANGE)
		return right->type == LIQUID_INT &&
			   right->u.integer >= left->u.range.low &&
			   right->u.integer <= left->u.range.high;
	if (left->type != LIQUID_ARRAY)
		return false;
	for (int64 i = 0; i < pgj_liquid_count(left); i++)
	{
		LiquidValue item = pgj_liquid_item(st, left, i);

		if (pgj_liquid_equal(st, &item, right, 0))
			return true;
	}
	return false;
}

static bool
eval_comparison(LiquidState *st, const LiquidCondition *c)
{
	LiquidValue left = eval(st, c->left);
	LiquidValue right;
	int order;

	if (c->op == LIQUID_OP_TRUTH)
		return pgj_liquid_truth(&left);
	right = eval(st, c->right);
	st->at = c->at;
	if (c->op == LIQUID_OP_EQ)
		return pgj_liquid_equal(st, &left, &right, 0);
	if (c->op == LIQUID_OP_NE)
		return !pgj_liquid_equal(st, &left, &right, 0);
	if (c->op == LIQUID_OP_CONTAINS)
		return contains(st, &left, &right);
	if (!pgj_liquid_order(st, &left, &right, &order))
		return false;
	switch (c->op)
	{
		case LIQUID_OP_LT:
			return order < 0;
		case LIQUID_OP_GT:
			return order > 0;
		case LIQUID_OP_LE:
			return order <= 0;
		default:
			return order >= 0;
	}
}

/* From the left: "and" ends at the first false, "or" at the first true. */
static bool
eval_condition(LiquidState *st, const LiquidCondition *c)
{
	for (;; c = c->next)
	{
		bool truth = eval_comparison(st, c);

		if (c->next == NULL || truth != c->is_and)
			return truth;
	}
}

/* ---- nodes ---- */

static void
render_output(LiquidState *st, const LiquidNode *node)
{
	LiquidValue v = eval_pipe(st, &node->pipe);
	LiquidValue text;

	st->at = node->at;
	if (!st->html || (v.type == LIQUID_STRING && v.safe))
		pgj_liquid_write(st, st->out, &v, 0);
	else
	{
		text = pgj_liquid_text(st, &v);
		pgj_liquid_escape(st, st->out, text.u.string, text.len, false);
	}
}

static Flow
render_if(LiquidState *st, const LiquidNode *node)
{
	for (const LiquidBranch *b = node->branches; b; b = b->next)
	{
		if (b->condition == NULL ||
			eval_condition(st, b->condition) != b->negate)
			return render_body(st, &b->body);
	}
	return FLOW_NEXT;
}

/* A branch is rendered for each of its values that matches, as in Liquid. */
static Flow
render_case(LiquidState *st, const LiquidNode *node)
{
	LiquidValue subject = eval(st, node->pipe.expr);
	bool matched = false;
	Flow flow = FLOW_NEXT;

	for (const LiquidBranch *b = node->branches; b && flow == FLOW_NEXT;
		 b = b->next)
	{
		if (b->when == NULL && matched)
			continue;
		if (b->when == NULL)
			flow = render_body(st, &b->body);
		for (int i = 0; i < b->nwhen && flow == FLOW_NEXT; i++)
		{
			LiquidValue v = eval(st, b->when[i]);

			if (!pgj_liquid_equal(st, &subject, &v, 0))
				continue;
			matched = true;
			flow = render_body(st, &b->body);
		}
	}
	return flow;
}

/* What a loop runs over, as an array or a range. */
static LiquidValue
loop_items(LiquidState *st, const LiquidNode *node)
{
	LiquidValue v = eval(st, node->pipe.expr);
	LiquidValue *one;

	if (v.type == LIQUID_ARRAY || v.type == LIQUID_RANGE)
		return v;
	if (v.type == LIQUID_OBJECT)
		return pgj_liquid_pairs(st, &v);
	if (v.type != LIQUID_STRING || v.len == 0)
		return pgj_liquid_array(NULL, 0);
	one = pgj_liquid_alloc(st, sizeof(LiquidValue));
	*one = v;
	return pgj_liquid_array(one, 1);
}

static int64
loop_bound(LiquidState *st, const LiquidExpr *e, int64 absent)
{
	LiquidValue v;

	if (e == NULL)
		return absent;
	v = eval(st, e);
	if (v.type == LIQUID_NIL)
		return absent;
	return Max(0, pgj_liquid_integer(st, &v));
}

/* Loops of the same name and list share where they stopped. */
static LiquidVariable *
loop_position(LiquidState *st, const LiquidNode *node)
{
	LiquidValue zero = pgj_liquid_int(0);
	int len = node->len + 1 + node->collection_len;
	char *name = pgj_liquid_alloc(st, len + 1);

	memcpy(name, node->text, node->len);
	name[node->len] = '-';
	memcpy(name + node->len + 1, node->collection, node->collection_len);
	if (find_in(st, st->stopped, name, len) == NULL)
		set_in(st, &st->stopped, name, len, zero);
	return find_in(st, st->stopped, name, len);
}

static Flow
render_loop(LiquidState *st, const LiquidNode *node, const LiquidValue *items,
			int64 from, int64 n)
{
	/* not on the stack: a variable may keep forloop beyond the loop */
	LiquidFrame *frame = pgj_liquid_alloc(st, sizeof(LiquidFrame));

	frame->node = node;
	frame->length = n;
	frame->parent = st->frame;
	st->frame = frame;
	for (int64 i = 0; i < n; i++)
	{
		st->at = node->at;
		if (++st->iterations > LIQUID_MAX_ITERATIONS)
			pgj_liquid_error(LIQUID_LIMIT, st->template->source, node->at, NULL,
							 "loops of the template run more than %d times",
							 LIQUID_MAX_ITERATIONS);
		frame->index = i;
		frame->value = pgj_liquid_item(
			st, items, node->reversed ? from + n - 1 - i : from + i);
		if (render_body(st, &node->body) == FLOW_BREAK)
			break;
	}
	st->frame = frame->parent;
	return FLOW_NEXT;
}

static Flow
render_for(LiquidState *st, const LiquidNode *node)
{
	LiquidValue items = loop_items(st, node);
	LiquidVariable *position = loop_position(st, node);
	int64 n = pgj_liquid_count(&items);
	int64 from;
	int64 limit;

	if (node->offset_continue)
		from = position->value.u.integer;
	else
		from = loop_bound(st, node->offset, 0);
	limit = loop_bound(st, node->limit, n);
	from = Min(from, n);
	n = Min(n - from, limit);
	position->value = pgj_liquid_int(from + n);
	if (n == 0)
		return render_body(st, &node->otherwise);
	return render_loop(st, node, &items, from, n);
}

static Flow
render_capture(LiquidState *st, const LiquidNode *node)
{
	LiquidBuffer *outer = st->out;
	LiquidBuffer buf;
	LiquidValue v;
	Flow flow;

	memset(&buf, 0, sizeof(buf));
	st->out = &buf;
	flow = render_body(st, &node->body);
	st->out = outer;
	v = pgj_liquid_take(&buf);
	v.safe = st->html;
	set_in(st, &st->variables, node->text, node->len, v);
	return flow;
}

static Flow
render_node(LiquidState *st, const LiquidNode *node)
{
	switch (node->kind)
	{
		case LIQUID_NODE_TEXT:
			pgj_liquid_append(st, st->out, node->text, node->len);
			return FLOW_NEXT;
		case LIQUID_NODE_OUTPUT:
			render_output(st, node);
			return FLOW_NEXT;
		case LIQUID_NODE_ASSIGN:
			set_in(st, &st->variables, node->text, node->len,
				   eval_pipe(st, &node->pipe));
			return FLOW_NEXT;
		case LIQUID_NODE_IF:
			return render_if(st, node);
		case LIQUID_NODE_CASE:
			return render_case(st, node);
		case LIQUID_NODE_FOR:
			return render_for(st, node);
		case LIQUID_NODE_CAPTURE:
			return render_capture(st, node);
		case LIQUID_NODE_BREAK:
			return FLOW_BREAK;
		case LIQUID_NODE_CONTINUE:
			return FLOW_CONTINUE;
	}
	return FLOW_NEXT;
}

static Flow
render_body(LiquidState *st, const LiquidBody *body)
{
	for (const LiquidNode *node = body->first; node; node = node->next)
	{
		Flow flow;

		st->at = node->at;
		pgj_liquid_work(st, 1);
		flow = render_node(st, node);
		if (flow != FLOW_NEXT)
			return flow;
	}
	return FLOW_NEXT;
}

/* The text, in the current memory context.  data must be an object or nil. */
char *
pgj_liquid_render(const LiquidTemplate *template, LiquidValue data, bool html,
				  bool utf8)
{
	LiquidState st;
	LiquidBuffer out;

	memset(&st, 0, sizeof(st));
	memset(&out, 0, sizeof(out));
	st.template = template;
	st.data = data;
	st.html = html;
	st.utf8 = utf8;
	st.out = &out;
	render_body(&st, &template->body);
	return out.data ? out.data : pstrdup("");
}
