/*
 * A source of credentials, and the places that it asks: a metadata service and a container's endpoint that say what a test
 * wants, at a time of day that the test moves on.
 */
#ifndef CREDENTIALS_BENCH_H
#define CREDENTIALS_BENCH_H

#include "forward/credentials.h"

#include "endpoint.h"
#include "loopback.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What both places say, and what they were asked. */
struct service {
    unsigned tokens;  /* given out; the last one counts */
    unsigned unknown; /* requests with another one */
    unsigned keys;    /* given out */
    int life_s;       /* of the keys */
    int token_status; /* 0: 200 */
    int role_status;  /* 0: 200 */
    const char *role;
    bool silent;
    bool down;          /* 500 to everything */
    const char *wanted; /* what the container's endpoint wants for authorization */
    char answer[1024];
};

struct bench {
    struct loopback loopback;
    struct endpoint endpoint;
    struct service service;
    struct credentials_store store;
    struct config_sign sign;
    struct credentials_source *source;
};

/* Who wants keys. */
struct asker {
    struct credentials_waiter waiter;
    unsigned ends;
    char id[32]; /* "": there are none */
    struct error err;
    bool asks_again; /* from within the callback */
    struct credentials_source *source;
};

void bench_open(struct bench *bench, enum config_credentials kind);
void bench_close(struct bench *bench);

/* In the environment, where bench_open() leaves nothing of AWS's but the place of the metadata service. */
void bench_set(const char *name, const char *value);

/* The time of day goes on: it is the tests' own. */
void bench_pass(unsigned seconds);

/* What credentials_ask() says; the end is told to `asker`. */
int bench_ask(struct bench *bench, struct asker *asker);

/* Asks, and waits if need be. The id, or "" with the reason in `asker->err`. */
const char *bench_get(struct bench *bench, struct asker *asker);

/* That there are no keys, with a reason that has `words` and no secret in it. */
void assert_refused(struct bench *bench, const char *words);

/* Asks until the pause after a failure is over. */
void bench_get_in_the_end(struct bench *bench, const char *id);

#endif
