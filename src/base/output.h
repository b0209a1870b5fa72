/*
 * The end of a program's standard output: what could not be written is told, and is no success.
 */
#ifndef POSTERN_BASE_OUTPUT_H
#define POSTERN_BASE_OUTPUT_H

#include "base/compiler.h"
#include <stdio.h>

/* 0 if all that was written to `out` until now has gone where it was to go, or a negative errno value. stdio throws away what could
 * not be written and goes on, so that the last of it may go well: then it is -EIO. */
int output_finish(FILE *out) MUST_CHECK;

/* The same for the end of main(): `code`, or 1 once it was said on standard error that the output cannot be written. */
int output_exit(const char *program, int code);

#endif
