/*
 * A relay over loopback: a client and an upstream as peers, a route between them, and what the owner heard.
 */
#ifndef POSTERN_TESTS_RELAY_BENCH_H
#define POSTERN_TESTS_RELAY_BENCH_H

#include "loopback.h"
#include "relay/relay.h"

struct relay_bench {
    struct loopback loopback;
    struct relay_worker worker;
    struct config config;
    struct config_route route;
    struct relay relay;
    struct peer client, upstream;
    int listener; /* where the route leads by default */
    uint16_t port;
    /* What the owner heard: */
    unsigned opened, moved, ended;
    uint64_t moved_in, moved_out;
    enum reason why;
    char detail[ERROR_TEXT_MAX];
    char server_name[256];
    char destination[ADDR_TEXT_MAX];  /* "" when there was none to tell */
    bool end_in_opened, end_in_moved; /* relay_end() from inside */
};

/* A plain route to a TCP listener, with long timeouts. */
void relay_bench_open(struct relay_bench *bench);

/* After the relay's end. */
void relay_bench_close(struct relay_bench *bench);

/* Leads the route to that port of 127.0.0.1. */
void relay_bench_lead(struct relay_bench *bench, uint16_t port);

/* Starts a relay for a client over a TCP or a unix pair. */
void relay_bench_start(struct relay_bench *bench, void (*pair)(int fds[2]));

/* Takes the relay's connection to the upstream. */
void relay_bench_accept(struct relay_bench *bench);

/* Both: a relay that is open. */
void relay_bench_establish(struct relay_bench *bench, void (*pair)(int fds[2]));

/* Waits for the end, checks that it comes once, and why. */
void relay_bench_finish(struct relay_bench *bench, enum reason why);

/* The peers are closed, and the next relay may start. */
void relay_bench_reset(struct relay_bench *bench);

#endif
