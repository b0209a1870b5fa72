/*
 * Local sockets on one session, with the daemon (far.h) and the local programs on the same loop: five doors in a folder, named
 * after the routes of the daemon's that they lead to.
 */
#ifndef POSTERN_TESTS_SERVICE_BENCH_H
#define POSTERN_TESTS_SERVICE_BENCH_H

#include "cli/guest.h"
#include "far.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define MIB 1048576u

extern struct cli_loop loop;
extern struct notes notes;
extern struct service service;
extern struct service_options options;
extern struct far far;
extern FILE *said_file; /* what the service says goes there */
extern char *said;      /* as it is after a flush: see was_said() */
extern bool is_over;

/* Of a group of tests. */
int make_folder(void **state);
int remove_folder(void **state);

/* Of a test. The service is not begun. */
int setup(void **state);
int teardown(void **state);

/* With `options`, and a door for each of the routes. */
void begin_service(void);

/* The path of a door, or of another file in the folder. Good until the call after the next. */
const char *path(const char *name);

bool was_said(const char *part);

#define ASSERT_SAID(part)                                    \
    do {                                                     \
        if (!was_said(part)) {                               \
            fail_msg("expected \"%s\" in:\n%s", part, said); \
        }                                                    \
    } while (0)

/* A local program. */
struct program {
    int fd;
    uint64_t sent, got;
    bool ended;
    int error;
};

/* Connects to the route's door. */
struct program enter(const char *route);

/* Reads what is there, which has to be the pattern. Returns whether there is an end to it, good or bad. */
bool hear(struct program *program);

/* The same; whether so many bytes have come in all. */
bool has_got(struct program *program, uint64_t bytes);

/* Up to `total` bytes in all, as many as are taken now. */
void say(struct program *program, uint64_t total);

/* Says so many more bytes, and waits until they have come back. */
void echoes(struct program *program, uint64_t bytes);

void finish(struct program *program);

#endif
