/*
 * The daemon's parts without the daemon: rules from a few lines of YAML, counters, workers, an upstream that
 * answers, and clients that block.
 */
#ifndef POSTERN_TESTS_DAEMON_BENCH_H
#define POSTERN_TESTS_DAEMON_BENCH_H

#include "daemon/rules.h"
#include "daemon/worker.h"
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* No exchange takes that long unless something hangs. */
#define PATIENCE_MS 60000

/* The configuration in `format`; fails the test when it is not a good one. */
struct config *daemon_config(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same as rules, of which the caller has the one reference. */
struct rules *daemon_rules(struct counters *counters, struct config *config);

/* Lines of the log go where nobody sees them, but are made. */
void daemon_log_open(void);
void daemon_log_close(void);

/* Accepts at a port of 127.0.0.1, and says "pong" to whoever said "ping", on a thread. */
struct upstream {
    int listener;
    uint16_t port;
    uv_thread_t thread;
    _Atomic bool stop;
    _Atomic unsigned answered;
};
void upstream_start(struct upstream *upstream);
void upstream_stop(struct upstream *upstream);

/* Connects, says "ping", and reads to the end. Returns whether "pong" came, whole. */
bool ping(uint16_t port);

/* A listening socket at a free port of 127.0.0.1, for a door. */
int door_socket(uint16_t *ret_port);

/* A port of 127.0.0.1 that nobody holds, and below those that the kernel chooses from for connections, so that nobody
 * gets it by chance. */
uint16_t quiet_port(void);

/* The sum over all reasons. */
uint64_t ended_of(const struct route_counters *route);

/* All gauges are back to 0. */
void assert_no_streams(const struct counters *counters);

#endif
