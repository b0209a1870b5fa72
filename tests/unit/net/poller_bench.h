/* A poller on a loop of its own, for the length of a test; sockets that it watches, and what of them was reported. */
#ifndef POSTERN_TESTS_POLLER_BENCH_H
#define POSTERN_TESTS_POLLER_BENCH_H

#include "loopback.h"
#include "net/poller.h"

extern struct loopback bench; /* of each test, from its set-up to its tear-down */

int open_bench(void **state);
int close_bench(void **state);

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)

/* A watched socket, its other end, and what was reported. */
struct seen {
    struct watcher watcher;
    struct peer peer;
    int fd;
    unsigned calls;
    uint32_t events;
    void (*then)(struct seen *seen);
    struct seen *other;
};

void on_report(struct watcher *watcher, uint32_t events);
void seen_open(struct seen *seen, enum poller_room room);
void seen_close(struct seen *seen);

/* A few turns of the loop. */
void settle(void);

#endif
