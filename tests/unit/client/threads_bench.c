/* A server in a thread and the library in front of it, in tests: see threads_bench.h. */
#include "threads_bench.h"

#include "client/clock.h"
#include <string.h>
#include <unistd.h>

struct server server;
struct postern *door;
struct postern_options options;
struct postern_error err;

int setup(void **state)
{
    (void)state;
    server_start(&server);
    postern_options_init(&options);
    options.backoff_min_ms = 1;
    options.backoff_max_ms = 20;
    door = NULL;
    memset(&err, 0, sizeof err);
    return 0;
}

int teardown(void **state)
{
    (void)state;
    postern_disconnect(door, 0);
    server_stop(&server);
    return 0;
}

void connect_door(void)
{
    server_run(&server);
    if (postern_connect(server.address, &options, &door, &err) != 0) {
        fail_msg("%s", err.message);
    }
}

struct postern_stream *open_route(const char *route)
{
    struct postern_stream *stream = NULL;

    assert_int_equal(postern_open(door, route, NULL, &stream, &err), 0);
    return stream;
}

void wait_for_figure(const unsigned *figure, unsigned value)
{
    uint64_t limit = clock_ms() + LONG_MS;

    while (server_figure(&server, figure) != value) {
        if (clock_ms() > limit) {
            fail_msg("the figure is %u, not %u", server_figure(&server, figure), value);
        }
        usleep(1000);
    }
}
