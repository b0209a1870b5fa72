/* A server in a thread and the library in front of it, in tests: see threads_bench.h. */
#include "threads_bench.h"

#include "client/clock.h"
#include <string.h>
#include <unistd.h>

void connect_door(void)
{
    server_run(&server);
    if (postern_connect(server.address, &options, &door, &err) != 0) {
        fail_msg("%s", err.message);
    }
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
