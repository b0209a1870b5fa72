/*
 * What the tests of the data path share: a loop that is turned by hand and never waits for long, and
 * peers, which are the other ends of sockets, non-blocking, and remember what came.
 *
 *     WAIT_FOR(&bench, peer_hear(&client)->ended);
 *
 * turns the loop until the condition holds, and fails the test when it does not come to hold. What a peer
 * sends counts up byte by byte, and what it hears must do the same, so that loss and disorder are seen.
 *
 * In a program that fails calls on purpose (fault.h), the peers' own calls do not fail.
 */
#ifndef POSTERN_TESTS_LOOPBACK_H
#define POSTERN_TESTS_LOOPBACK_H

#include "net/loop.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct loopback {
    struct loop loop;
    uv_timer_t tick; /* so that a turn ends soon */
};

/* Once, before libuv is used, in a program whose memory fails: where libuv grows its table of descriptors
 * it knows no other answer than abort(), so that memory does not fail there. */
void loopback_spare_libuv(void);

void loopback_open(struct loopback *bench);
void loopback_close(struct loopback *bench); /* fails the test if anything is left open on the loop */

/* One turn of the loop, of a millisecond at most. */
void loopback_turn(struct loopback *bench);

/* Turns it for that long. */
void loopback_pass(struct loopback *bench, unsigned ms);

uint64_t loopback_limit(void);
void loopback_check(uint64_t limit, const char *condition, const char *file, int line);

#define WAIT_FOR(bench, condition)                                      \
    do {                                                                \
        uint64_t wait_limit = loopback_limit();                         \
        while (!(condition)) {                                          \
            loopback_check(wait_limit, #condition, __FILE__, __LINE__); \
            loopback_turn(bench);                                       \
        }                                                               \
    } while (0)

struct peer {
    int fd; /* -1: closed */
    unsigned char next, wanted;
    size_t sent, heard;
    bool ended; /* the other side is done */
    int error;  /* or cut it: the negative errno value */
};

void peer_init(struct peer *peer, int fd); /* makes it non-blocking */

/* Reads what is there. Returns the peer. */
const struct peer *peer_hear(struct peer *peer);

/* Sends as much of `size` bytes as the socket takes now; returns how many. */
size_t peer_say(struct peer *peer, size_t size);

/* Sends until the socket takes no more. */
size_t peer_fill(struct peer *peer);

void peer_finish(struct peer *peer);
void peer_close(struct peer *peer); /* harmless when closed */
void peer_reset(struct peer *peer); /* closes with a reset */

/* A connected pair of sockets. */
void pair_of_unix(int fds[2]);
void pair_of_tcp(int fds[2]);

/* A listening socket at a free port of 127.0.0.1. */
int tcp_listener(int backlog, uint16_t *ret_port);

/* A socket at 127.0.0.1 where nobody answers: the backlog is full. Close both with blackhole_close(). */
struct blackhole {
    int listener;
    int filler[4];
    uint16_t port;
};
void blackhole_open(struct blackhole *hole);
void blackhole_close(struct blackhole *hole);

/* A port of 127.0.0.1 that refuses. */
uint16_t refusing_port(void);

/* Connects to the port, and waits for the handshake only. */
int tcp_connect(uint16_t port);

/* Takes one connection, for which the loop is turned. */
int accept_one(struct loopback *bench, int listener);

/* Open descriptors of the process. */
unsigned descriptors(void);

#endif
