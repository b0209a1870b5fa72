/* How sessions and requests of the spool can end, for people: words of the log and the metrics that are no reasons of streams. */
#ifndef POSTERN_CTL_ENDS_H
#define POSTERN_CTL_ENDS_H

#include <stddef.h>

struct end_words {
    const char *code;
    const char *meaning;
    const char *advice;
};

extern const struct end_words session_ends[];
extern const size_t session_end_count;

/* That a request is in the spool, and how an attempt to deliver it ended. */
extern const struct end_words delivery_ends[];
extern const size_t delivery_end_count;

#endif
