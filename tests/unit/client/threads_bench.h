/* The threaded style: functions that wait, against a server in a thread of its own. */
#ifndef POSTERN_TESTS_THREADS_BENCH_H
#define POSTERN_TESTS_THREADS_BENCH_H

#include "door.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LONG_MS 60000 /* longer than anything takes here */

/* Runs the server, and connects to it with `options`. */
void connect_door(void);

/* Until what the server counts has come to be so. */
void wait_for_figure(const unsigned *figure, unsigned value);

#endif
