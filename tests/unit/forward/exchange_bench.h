/*
 * What the tests of exchanges share: a loop turned by hand with a forward_worker on it, a route, an upstream that says what the
 * test has it say, over TCP or TLS, and an owner that gives a request and notes what comes.
 */
#ifndef POSTERN_TESTS_EXCHANGE_BENCH_H
#define POSTERN_TESTS_EXCHANGE_BENCH_H

#include "forward/exchange.h"
#include "forward/upstream.h"
#include "loopback.h"
#include <openssl/ssl.h>

/* The upstream's side of one connection. */
struct far {
    int fd; /* -1: closed */
    SSL *ssl;
    struct text heard;
    bool ended;  /* the other side is done */
    bool cut;    /* or aborted */
    bool shaken; /* TLS: the handshake is over */
    bool failed; /* TLS: it failed */
};

struct bench {
    struct loopback net;
    struct forward_worker worker;
    struct body_memory bodies; /* 1 MiB */
    struct config *config;
    struct config_route *route;
    struct config_forward *forward;
    int listener;
    uint16_t port;
    SSL_CTX *tls; /* of the upstream; NULL: plain */
};

void bench_open(struct bench *bench);
void bench_close(struct bench *bench);

/* Takes a connection, for which the loop is turned. */
void far_accept(struct bench *bench, struct far *far);
void far_adopt(struct bench *bench, struct far *far, int fd);
void far_hear(struct far *far); /* reads what is there */
void far_say(struct bench *bench, struct far *far, const char *text);
void far_say_bytes(struct bench *bench, struct far *far, const char *data, size_t size);
void far_close(struct far *far); /* TLS: with a close_notify; harmless when closed */
void far_drop(struct far *far);  /* TLS: without */
void far_reset(struct far *far);
void far_release(struct far *far);
bool far_heard(struct far *far, const char *text); /* hears, and tells whether that is among it */

struct owner {
    struct exchange exchange;
    struct bench *bench;
    struct http_request request;
    struct http_values values;
    struct exchange_plain plain;
    struct text body; /* to be given */
    size_t given;     /* of it */
    size_t step;      /* bytes at a time; 0: all */
    bool open_ended;  /* the end of the body is not told by itself */
    bool body_over;   /* it was told */
    size_t room;      /* bytes of pieces that are taken; then the owner is behind */
    bool cancels;     /* at the head */
    struct text answer;
    unsigned status, went_on, wanted, heads, ends;
    enum http_refusal why;
    unsigned retry_after_s;
    char detail[512];
    bool answered, reached, reused, sent;
};

/* The request's head; the body by owner->body. */
void owner_init(struct owner *owner, struct bench *bench, const char *head);
void owner_start(struct owner *owner);
void owner_give(struct owner *owner); /* what is left of the body, as far as it is taken */
void owner_release(struct owner *owner);

#endif
