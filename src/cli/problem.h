/*
 * A problem document (RFC 9457), as far as it is told to people: the members `title`, `detail`, `code` and `advice` of the
 * outermost object, if they are strings. It comes from outside: what is no JSON yields what came before, and
 * all texts are escaped so that a terminal can bear them.
 */
#ifndef POSTERN_CLI_PROBLEM_H
#define POSTERN_CLI_PROBLEM_H

#include <stddef.h>

#define PROBLEM_TEXT_MAX 300

struct problem {
    char title[PROBLEM_TEXT_MAX], detail[PROBLEM_TEXT_MAX], code[PROBLEM_TEXT_MAX], advice[PROBLEM_TEXT_MAX];
};

/* Empty texts for what is not there. */
void problem_read(struct problem *problem, const char *data, size_t size);

/* Whether a Content-Type says that it is one. */
int problem_is_type(const char *type);

/* Text from outside in one line, cut to the buffer. */
void problem_plain(const char *data, size_t size, char out[PROBLEM_TEXT_MAX]);

#endif
