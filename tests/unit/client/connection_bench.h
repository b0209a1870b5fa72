/*
 * The core by itself, with a server on the same thread, which is turned by hand. AF_VSOCK is played: it is a unix socket,
 * and what it is told is kept.
 */
#ifndef POSTERN_TESTS_CONNECTION_BENCH_H
#define POSTERN_TESTS_CONNECTION_BENCH_H

#include "client/clock.h"
#include "client/connection.h"
#include "server.h"
#include "turn_until.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LIMIT_MS 60000

extern struct server server;
extern struct connection *connection;
extern struct connection_config config;
extern struct error err;

/* What the application heard. */
extern unsigned readies, downs, refusals, failures, pongs;
extern int down_status;
extern uint32_t down_code;
extern char down_text[512];
extern size_t kept_count, unkept;

/* What it does. */
extern bool again; /* a loss is followed by another try */
extern size_t held;
extern size_t to_send;
extern void (*meanwhile)(void);
extern unsigned skipped; /* times before that */
extern const struct connection_events events;

/* The system's calls, as they are played. */
struct played {
    bool used;
    uint64_t buffer, buffer_max;
    size_t longest_send;
    unsigned interrupted; /* system calls, still to come */
    unsigned choked;      /* sends that find no room, still to come */
    bool predictable;
};
extern struct played played;
extern bool spared; /* the server's calls */

/* Of a test. */
int setup(void **state);
int teardown(void **state);

/* A connection to the address, not begun. Returns what connection_new() does. */
int make(const char *address, const struct connection_events *told);

/* One that is ready. */
void start(void);

struct channel *open_route(const char *route);

/* Turns the server and the connection once. */
void turn(void);

#endif
