/*
 * A daemon for tests, on the same loop as what is tested: sessions on a unix socket, and routes that do as their names say.
 *
 *     echo     sends back what comes, and ends when it has
 *     refuse   connect_refused, "tcp://10.0.0.1:443"
 *     silent   takes everything and says nothing, ends when the other side does
 *     deaf     takes nothing, ends when the other side does
 *     mute     is never answered
 *     reset    upstream_reset as soon as a byte has come
 *     stop     wants no more as soon as a byte has come, and answers "enough"
 *     log      keeps what comes, under the name that came with it
 *     time     tells the time, `time_ahead` of what it is
 *     http     answers a chunked HTTP request with "kept", and ends
 *     MILLIONS a number: so many MiB of the pattern
 */
#ifndef POSTERN_TESTS_FAR_H
#define POSTERN_TESTS_FAR_H

#include "base/text.h"
#include "cli/loop.h"
#include "session/session.h"

struct far_session;

/* The names that `log` knows. */
enum { FAR_STDOUT, FAR_STDERR, FAR_POSTERN, FAR_LOGS };

struct far {
    struct cli_loop *loop;
    struct cli_watch watch;
    char path[108];
    uint32_t max_streams; /* as it greets */
    LIST_HEAD(far_sessions, far_session) sessions;
    unsigned connections, opened; /* since the beginning */
    unsigned live;                /* streams there are */
    char told[400];               /* resets and stops, by their codes */
    bool hang_up;                 /* on connections as they come */
    bool deny;                    /* refuses `log` and `time`, for good */
    struct text logged[FAR_LOGS]; /* of `log` */
    int64_t time_ahead;           /* ns */
    unsigned time_asked;
    bool end_logs;    /* when it drains, as the daemon does */
    bool time_wrong;  /* answers another question than was asked */
    bool time_silent; /* answers none */
};

void far_start(struct far *far, struct cli_loop *loop, const char *path);
void far_stop(struct far *far); /* at once: sessions end without a word */
void far_cut(struct far *far);  /* the sessions only */
void far_drain(struct far *far);

uint8_t far_pattern(uint64_t at);

/* Turns the loop until the condition holds. */
void far_turn(struct cli_loop *loop);
void far_check(uint64_t limit, const char *condition, const char *file, int line);
#define WAIT_FOR(loop, condition)                                  \
    do {                                                           \
        uint64_t wait_limit = cli_now_ms() + 30000;                \
        while (!(condition)) {                                     \
            far_check(wait_limit, #condition, __FILE__, __LINE__); \
            far_turn(loop);                                        \
        }                                                          \
    } while (0)

#endif
