/*
 * A daemon for the client's tests: the session core as a server, at a unix socket of the abstract
 * namespace. It is turned by hand, in the thread of the test (server_turn()), or by a thread of its own
 * (server_run()).
 *
 * A route is what the server does with a stream:
 *
 *     echo         what comes goes back, the end too
 *     sink         takes all; after the end, answers with the number of bytes, and ends
 *     source:N     sends N bytes, that count up, and ends
 *     peek         like echo, opened when the first bytes came
 *     refuse       REFUSED: connect_refused, "nobody listens", retryable
 *     refuse-mute  the same without a message, not retryable
 *     silent       no answer
 *     stall        takes nothing
 *     reset        sends "abc", then RESET with upstream_reset
 *     stop         STOP with cancel
 *     meta         sends route's meta back as KEY=VALUE lines, then ends
 *     http...      keeps the beginning of what comes, and answers as server.http says
 *
 * In a program whose calls fail (fault.h), the server's own do not.
 */
#ifndef POSTERN_TESTS_CLIENT_SERVER_H
#define POSTERN_TESTS_CLIENT_SERVER_H

#include "session/session.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

#define SERVER_PEERS 16

struct server_peer {
    struct server *server;
    int fd; /* -1: none */
    struct session *session;
    LIST_HEAD(, task) tasks;
    bool closing;
    size_t out_at, out_end;
    uint8_t out[65536];
};

/* What route `http` does. Set before the stream is opened. */
struct server_http {
    const char *until;  /* the answer comes when that was heard; NULL: at once */
    size_t after;       /* and so many bytes */
    const char *answer; /* NULL: none */
    uint64_t body;      /* so many more bytes, that count up */
    bool stall;         /* nothing is taken once the answer comes */
    enum { SERVER_STAYS, SERVER_FIN, SERVER_RESET, SERVER_STOP, SERVER_STOP_AND_FIN } then;

    char heard[65536]; /* terminated */
    size_t heard_size;
    uint64_t count; /* bytes that came */
    uint32_t kind;
};

struct server {
    struct server_http http;
    char address[64]; /* unix://@... */
    int listener;     /* -1: nobody listens */
    struct session_config config;
    struct server_peer peers[SERVER_PEERS];
    pthread_t thread;
    bool threaded;
    int wake; /* eventfd */
    atomic_bool stopping;
    pthread_mutex_t lock;            /* held while it is turned */
    bool deaf;                       /* reads nothing, and answers nothing */
    bool rude;                       /* closes each connection that it takes */
    unsigned accepted;               /* connections so far */
    unsigned lost;                   /* sessions that ended with an error */
    unsigned last_code;              /* of those */
    unsigned opens, finished, reset; /* streams */
    unsigned pongs;
    char build[80]; /* of the last client */
};

void server_start(struct server *server);
void server_stop(struct server *server);

/* Another thread turns it from now on, until server_stop(). */
void server_run(struct server *server);

/* Waits up to `wait_ms` for something to do, and does it. */
void server_turn(struct server *server, int wait_ms);

/* These may be called while a thread turns it. */
void server_listen(struct server *server, bool listening);
void server_cut(struct server *server);                         /* closes all connections */
void server_drain(struct server *server, uint32_t deadline_ms); /* GOAWAY to all */
void server_ping(struct server *server);                        /* all */
void server_abort(struct server *server, enum code code, const char *text);
void server_set_deaf(struct server *server, bool deaf);
unsigned server_peers(struct server *server); /* that are connected */

/* Takes over a connected socket. */
void server_adopt(struct server *server, int fd);

/* Ends a child process that was forked off a test, without its cleaning up. */
void server_leave(bool good) __attribute__((noreturn));

/* A figure of it, read under its lock. */
unsigned server_figure(struct server *server, const unsigned *figure);

#endif
