/*-------------------------------------------------------------------------
 *
 * render.h
 *	  Liquid templates: check at creation, render at claim.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_RENDER_H
#define PGJ_RENDER_H

#include "utils/jsonb.h"

typedef enum RenderContext
{
	RENDER_HEADER, /* no escaping; control characters are an error */
	RENDER_TEXT,   /* no escaping */
	RENDER_HTML	   /* output is HTML-escaped unless "| raw" */
} RenderContext;

/* Throws 42601 with line and column when the template is malformed. */
extern void pgj_template_check(const char *source);

/*
 * Render source over data (an object).  Throws 22023 for a filter that does not
 * apply, 54000 when output, loop or nesting limits are passed.
 */
extern char *pgj_template_render(const char *source, Jsonb *data,
								 RenderContext context);

#endif /* PGJ_RENDER_H */
