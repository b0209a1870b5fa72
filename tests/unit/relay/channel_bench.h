/*
 * Relays of a session's streams: a client that speaks the protocol, a session whose streams become relays under one route,
 * and what their owners heard.
 */
#ifndef POSTERN_TESTS_CHANNEL_BENCH_H
#define POSTERN_TESTS_CHANNEL_BENCH_H

#include "framed_client.h"
#include "loopback.h"
#include "relay/relay.h"

#define CHANNEL_RELAYS FRAMED_STREAMS

/* One stream's relay, and what its owner heard. */
struct channel_relay {
    struct relay relay;
    unsigned opened, ended;
    uint64_t moved_in, moved_out;
    enum reason why;
    char detail[ERROR_TEXT_MAX];
};

struct channel_bench {
    struct loopback loopback;
    struct relay_worker worker;
    struct config config;
    struct config_route route;
    struct session_config session_config; /* the daemon's */
    struct session_io io;
    struct framed_client client;
    int listener; /* where the route leads by default */
    uint16_t port;
    unsigned ready, ended; /* of the session */
    struct session_end end;
    bool end_in_opened, end_in_moved; /* relay_end() from inside */
    bool end_session_in_moved;
    unsigned count, live;
    struct channel_relay relays[CHANNEL_RELAYS];
};

void channel_bench_open(struct channel_bench *bench);
void channel_bench_close(struct channel_bench *bench); /* after the session's end */

/* Leads the route to that port of 127.0.0.1. */
void channel_bench_lead(struct channel_bench *bench, uint16_t port);

/* Starts a session over a TCP or a unix pair. `config` is the client's, NULL: the defaults. False: it could not be started. */
bool channel_bench_start(struct channel_bench *bench, void (*pair)(int fds[2]),
                         const struct session_config *config);

/* One turn of the loop and of the client. */
void channel_bench_turn(struct channel_bench *bench);

#define TURN_UNTIL(bench, condition) \
    WAIT_FOR(&(bench)->loopback, (framed_client_turn(&(bench)->client), (condition)))

/* Opens a stream, and takes the relay's connection to the upstream. Returns the stream. */
struct framed_stream *channel_bench_establish(struct channel_bench *bench, struct peer *ret_upstream);

/* Waits for the end of the nth relay, checks that it comes once, and why. */
void channel_bench_finish(struct channel_bench *bench, unsigned nth, enum reason why);

/* Ends the session in order, and waits for its end; all its relays have ended then. The next may start. */
void channel_bench_end(struct channel_bench *bench);

#endif
