/*
 * What init has to say for itself: one line an occurrence, for people. Where the lines go is its user's affair (standard
 * error, and the log stream once there is one).
 */
#ifndef POSTERN_INIT_TELL_H
#define POSTERN_INIT_TELL_H

#include "base/compiler.h"

#define TELL_MAX 1024 /* a longer line is cut */

struct tell {
    void (*line)(void *user, const char *text); /* without a newline */
    void *user;
};

void tell(const struct tell *to, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
