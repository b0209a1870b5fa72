/* The threaded style: functions that wait, against a server in a thread of its own. */
#ifndef POSTERN_TESTS_THREADS_BENCH_H
#define POSTERN_TESTS_THREADS_BENCH_H

#include "postern/postern.h"
#include "server.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LONG_MS 60000 /* longer than anything takes here */

extern struct server server;
extern struct postern *door; /* NULL until connect_door() */
extern struct postern_options options;
extern struct postern_error err;

/* Of a test. */
int setup(void **state);
int teardown(void **state);

/* Runs the server, and connects to it with `options`. */
void connect_door(void);

struct postern_stream *open_route(const char *route);

/* Until what the server counts has come to be so. */
void wait_for_figure(const unsigned *figure, unsigned value);

#endif
