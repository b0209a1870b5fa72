/*
 * Text of others on a terminal: of the daemon, which an attacker may have taken over, and of files. A terminal obeys what it is shown, so
 * controls and what turns the direction of writing are escaped as in JSON; quotes and backslashes stay, which do no harm.
 */
#ifndef POSTERN_CTL_SHOWN_H
#define POSTERN_CTL_SHOWN_H

#include "base/compiler.h"
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

/* A text of one line: a newline in it is escaped, too. */
void shown_put(FILE *out, const char *text, size_t length);

/* A text whose newlines are meant. */
void shown_put_lines(FILE *out, const char *text, size_t length);

/* The same with all the strings in a value. Returns 0 or -ENOMEM. */
int shown_make(json_t *value) MUST_CHECK;

/* A text as a string of JSON: as it is, or so escaped if it is no UTF-8, as the name of a file need not be. NULL: out of memory. */
json_t *shown_json(const char *text, size_t length) MUST_CHECK;

#endif
