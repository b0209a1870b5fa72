/* See poller_bench.h. */
#include "poller_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

struct loopback bench;

int open_bench(void **state)
{
    (void)state;
    loopback_open(&bench);
    return 0;
}

int close_bench(void **state)
{
    (void)state;
    loopback_close(&bench);
    return 0;
}

void on_report(struct watcher *watcher, uint32_t events)
{
    struct seen *seen = CONTAINER_OF(watcher, struct seen, watcher);
    seen->calls++;
    seen->events = events;
    if (seen->then != NULL) {
        seen->then(seen);
    }
}

void seen_open(struct seen *seen, enum poller_room room)
{
    int fds[2];
    memset(seen, 0, sizeof *seen);
    pair_of_unix(fds);
    seen->fd = fds[0];
    peer_init(&seen->peer, fds[1]);
    assert_int_equal(poller_add(&bench.loop.poller, &seen->watcher, fds[0], room, on_report), 0);
}

void seen_close(struct seen *seen)
{
    poller_remove(&bench.loop.poller, &seen->watcher);
    close(seen->fd);
    peer_close(&seen->peer);
}

void settle(void)
{
    for (int i = 0; i < 3; i++) {
        loopback_turn(&bench);
    }
}
