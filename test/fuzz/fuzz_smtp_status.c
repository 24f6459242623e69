/*
 * fuzz-sources: src/relay/smtp_status.c
 * fuzz-flags: -Isrc/relay
 *
 * fuzz_smtp_status: any bytes from a server leave the dialog in order, and the
 * outcome is one of the four with a printable code.
 */
#include "smtp_status.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	SmtpDialog	d;
	char		code[16];
	SmtpOutcome outcome;
	size_t		i = 0;

	relay_smtp_start(&d);
	/* lines; a first byte below 8 names what the next reply answers */
	while (i < size)
	{
		const uint8_t *eol = memchr(data + i, '\n', size - i);
		size_t		end = eol != NULL ? (size_t) (eol - data) + 1 : size;

		if (data[i] <= SMTP_OTHER)
			relay_smtp_expect(&d, (SmtpPhase) data[i++]);
		if (i < end && relay_smtp_line(&d, (const char *) data + i, end - i) == SMTP_BROKEN)
			break;
		i = end;
	}
	outcome = relay_smtp_outcome(&d, code, sizeof(code));
	if (strlen(code) > 11 || strspn(code, "0123456789.") != strlen(code))
		abort();
	if (!d.decided && outcome != SMTP_DEFERRED)
		abort();
	if (outcome == SMTP_SENT && (d.final_phase != SMTP_BODY || d.final.code / 100 != 2))
		abort();
	if (outcome == SMTP_BOUNCED && d.final.code / 100 != 5)
		abort();
	for (const char *p = d.final.text; *p != '\0'; p++)
		if (*p < ' ' || *p > '~')
			abort();
	return 0;
}
