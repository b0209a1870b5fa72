/*
 * A local connection of `postern listen`: a socket, and the tunnel that ties it to a stream.
 */
#ifndef POSTERN_CLI_GUEST_H
#define POSTERN_CLI_GUEST_H

#include "cli/service.h"
#include "cli/tunnel.h"

struct guest {
    struct tunnel tunnel;
    struct cli_watch watch;
    struct service *service;
    const struct door *door;
    struct guest_list *list; /* of the service's, which it is in */
    TAILQ_ENTRY(guest) link;
    uint64_t wait_until; /* ms */
    bool again : 1;      /* one session has given it up untouched, and it has a second chance */
    bool vsock : 1;
    bool hung_up : 1; /* the local side sends no more, says the kernel */
};

/* Takes over `fd`. NULL: out of memory, or it cannot be watched; `fd` is closed then. */
struct guest *guest_new(struct service *service, const struct door *door, int fd) MUST_CHECK;

/* Closes the socket, orderly or with a reset, and frees it. */
void guest_free(struct guest *guest, bool abort);

/* Puts it into another of the service's lists. */
void guest_move(struct guest *guest, struct guest_list *list);

/* Asks for a stream. 0: it is served, or, if no stream was to be had for a reason that will not pass, leaving. -EAGAIN: not now. */
int guest_serve(struct guest *guest) MUST_CHECK;

/* Its tunnel is over, and nothing was read: it may have another stream. */
void guest_begin_anew(struct guest *guest);

#endif
