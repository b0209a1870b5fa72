/*
 * A loop of a client of the spool with threads: a port, an eventfd that wakes it, and puts and takes that are kept going.
 * Used by the test that looks for races and by the one that kills.
 */
#ifndef POSTERN_TESTS_SPOOL_CLIENT_H
#define POSTERN_TESTS_SPOOL_CLIENT_H

#include "spool/spool.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_PUTS  16 /* in flight */
#define CLIENT_TAKES 4

struct client;

struct client_put {
    struct client *client;
    struct spool_put *put;
    uint64_t number;
    size_t left;
};

struct client_take {
    struct client *client;
    struct spool_take *take;
    uint64_t number; /* what the key says */
    size_t at;
};

struct client {
    struct spool *spool;
    struct spool_port *port;
    const char *route;
    int wake;
    uint64_t next; /* the number of the next put, which its key and its body tell */
    uint64_t last; /* the first that is not put */
    uint64_t random;
    unsigned puts_active;
    uint64_t acknowledged, delivered, aborted;
    struct client_put puts[CLIENT_PUTS];
    struct client_take takes[CLIENT_TAKES];

    /* May be NULL. `on_delivery` is called before the verdict is given. */
    void (*on_acknowledged)(struct client *client, uint64_t number);
    void (*on_delivery)(struct client *client, uint64_t number);
};

/* The body of a number: its size, and each of its bytes. */
size_t client_size(uint64_t number);
char client_byte(uint64_t number, size_t at);

/* Fill in route, next, last and the callbacks first. Fails by abort(). */
void client_start(struct client *client, struct spool *spool);
void client_run(struct client *client); /* waits for something, and does it */
void client_stop(struct client *client);

#endif
