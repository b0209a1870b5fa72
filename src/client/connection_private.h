/* Between connection.c, which has the links, and link.c. */
#ifndef POSTERN_CLIENT_CONNECTION_PRIVATE_H
#define POSTERN_CLIENT_CONNECTION_PRIVATE_H

#include "client/link.h"

enum ping { PING_NONE, PING_WAITS /* for one that is under way */, PING_SENT };

TAILQ_HEAD(link_list, link);

struct connection {
    struct addr to;
    struct connection_config config;
    struct connection_events events;
    struct session_events session_events;
    void *user;
    int epoll;
    int wake,
        guard; /* -1 where there is one thread. `guard` is an epoll set with `epoll` in it, while the guard is on */
    struct link_list links;
    struct link *current; /* takes streams, or will; NULL: none does */
    bool wanted;          /* there is to be one */
    bool draining;
    bool guarded;
    bool waiting;            /* a thread that reads is in the kernel ... */
    uint64_t waiting_until;  /* ... until then, in ms */
    uint64_t watching_until; /* the same of the keeper; 0: it is not in the kernel */
    uint64_t alarm;          /* ms; the user's */
    uint64_t not_before;     /* ms; no try may begin sooner */
    unsigned failures;       /* in a row */
    enum ping ping;
    uint64_t pinged_at;          /* us */
    struct block *input, *spare; /* owned; nobody else has `input` while it is read into */
    bool delivering;             /* its bytes are being handed on */
    size_t blocks;               /* that exist */
};

void connection_lock(const struct connection *connection);
void connection_unlock(const struct connection *connection);

/* `link` is not to take streams any more, or never came to it. Tells `down` if it was the current one. */
void connection_lost(struct link *link, const struct connection_loss *loss);

/* An exclusive block to read into. */
struct block *connection_input(struct connection *connection);

#endif
