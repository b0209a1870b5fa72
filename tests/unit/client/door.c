/* What the tests of both styles share: see door.h. */
#include "door.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

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

struct postern_stream *open_route(const char *route)
{
    struct postern_stream *stream = NULL;

    assert_int_equal(postern_open(door, route, NULL, &stream, &err), 0);
    return stream;
}
