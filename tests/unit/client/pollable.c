/* What the tests of the pollable style share: see pollable.h. */
#include "pollable.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

void turn(void)
{
    struct pollfd one = {.fd = postern_fd(door), .events = POLLIN};
    int timeout = postern_timeout(door);

    server_turn(&server, 0);
    (void)poll(&one, 1, timeout < 0 || timeout > 1 ? 1 : timeout);
    postern_process(door);
}

void start_door(void)
{
    assert_int_equal(postern_start(server.address, &options, &door, &err), 0);
}

void connect_door(void)
{
    start_door();
    TURN_UNTIL(postern_wait_ready(door, -1, NULL) == 0);
}

void send_all(struct postern_stream *stream, const void *data, size_t size)
{
    const char *at = data;
    uint64_t limit = clock_ms() + LIMIT_MS;

    while (size > 0) {
        if (clock_ms() > limit) {
            fail_msg("could not send %zu bytes", size);
        }
        ssize_t n = postern_write(stream, at, size, 0, &err);
        if (n == -EAGAIN) {
            turn();
            continue;
        }
        if (n < 0) {
            fail_msg("writing: %s", err.message);
        }
        at += n;
        size -= (size_t)n;
    }
}

ssize_t read_some(struct postern_stream *stream, void *buffer, size_t size)
{
    ssize_t n;

    TURN_UNTIL((n = postern_read(stream, buffer, size, 0, &err)) != -EAGAIN);
    return n;
}

size_t read_all(struct postern_stream *stream, char *buffer, size_t size)
{
    size_t have = 0;
    ssize_t n;

    while ((n = read_some(stream, buffer + have, size - have)) > 0) {
        have += (size_t)n;
    }
    if (n < 0) {
        fail_msg("reading: %s", err.message);
    }
    return have;
}
