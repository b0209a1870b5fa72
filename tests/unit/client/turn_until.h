/* Waiting, for tests that turn both sides by hand: with turn() and LIMIT_MS of their own. */
#ifndef POSTERN_TESTS_CLIENT_TURN_UNTIL_H
#define POSTERN_TESTS_CLIENT_TURN_UNTIL_H

#include "client/clock.h"

#define TURN_UNTIL(condition)                               \
    do {                                                    \
        uint64_t limit = clock_ms() + LIMIT_MS;             \
        while (!(condition)) {                              \
            if (clock_ms() > limit) {                       \
                fail_msg("did not come true: " #condition); \
            }                                               \
            turn();                                         \
        }                                                   \
    } while (0)

/* For what need not come, or must not: it could have come by then. */
#define TURN_A_WHILE()                 \
    do {                               \
        for (int i = 0; i < 10; i++) { \
            turn();                    \
        }                              \
    } while (0)

#endif
