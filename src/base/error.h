/*
 * An error as a person reads it.
 *
 * A function that can fail for a reason worth telling returns 0 or a negative errno value and takes a
 * `struct error *` to fill in. The text says what was tried, on what, why it failed and, where one is
 * known, what to do next; it carries no newline and no trailing full stop. A caller that adds context
 * puts it in front: error_prefix(err, "listener %s", name) makes "listener kms-raw: cannot bind ...".
 *
 * No allocation takes place, so out of memory can be told like anything else. A longer text is cut.
 */
#ifndef POSTERN_BASE_ERROR_H
#define POSTERN_BASE_ERROR_H

#include "base/compiler.h"

#define ERROR_TEXT_MAX 512

struct error {
    char text[ERROR_TEXT_MAX]; /* always terminated; empty when nothing failed */
};

#define ERROR_INIT \
    {              \
        .text = "" \
    }

/* Sets the text and returns `code`, so that `return error_set(err, -EINVAL, "...")` reads well.
 * `err` may be NULL: then only the code is passed on. */
int error_set(struct error *err, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/* Like error_set() with ": " and the system's words for -code appended. */
int error_errno(struct error *err, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/* Puts the formatted text and ": " before what is already there. */
void error_prefix(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* The words for a negative errno value; never NULL, thread-safe. */
const char *error_words(int code);

#endif
