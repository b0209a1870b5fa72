/* How a session can end, for people: the words of the log line "session ended" that are no reasons of streams. */
#ifndef POSTERN_CTL_SESSION_ENDS_H
#define POSTERN_CTL_SESSION_ENDS_H

#include <stddef.h>

struct session_end_words {
    const char *code;
    const char *meaning;
    const char *advice;
};

extern const struct session_end_words session_ends[];
extern const size_t session_end_count;

#endif
