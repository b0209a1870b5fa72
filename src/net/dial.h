/*
 * From an address to a connected socket.
 *
 * A name is resolved; the address guard is asked about each address it led to; those that pass are tried in
 * turn, the next one starting when the one before failed or has not answered for 250 ms (RFC 8305,
 * "happy eyeballs"), and the first to connect wins. hybrid addresses are greeted (CONNECT, OK). Every
 * way in which this can end is one reason of base/reason.h.
 *
 * Lifetimes: dial_start() makes the dial, and it frees itself. The callback comes exactly once, never
 * from inside dial_start(), unless dial_cancel() comes first; after either the pointer is not to be used.
 */
#ifndef POSTERN_NET_DIAL_H
#define POSTERN_NET_DIAL_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/reason.h"
#include "net/addr.h"
#include "net/avoid.h"
#include "net/loop.h"
#include "net/sock.h"
#include <stdbool.h>
#include <stdint.h>

#define DIAL_ATTEMPT_DELAY_MS 250

struct dial; /* opaque */

struct dial_options {
    const struct addr *to; /* copied */
    bool public_only;      /* names only: addresses that the guard refuses are not tried */
    int family;            /* names only: AF_INET or AF_INET6; 0: both */
    uint32_t asker;        /* names only: of struct resolve_request */
    uint64_t timeout_ms;   /* for connecting, all addresses together, after the name is resolved */
    struct avoid
        *avoid; /* NULL; else what addresses come last, which is kept up to date. Outlives the dial */
    struct sock_options sock;
};

struct dialed {
    struct watcher *watcher; /* watches the connected socket: to be moved or removed within the callback */
    enum addr_kind kind;     /* of the socket: unix for hybrid */
    const struct sockaddr_any *peer;
    bool stale; /* the name's address was an old one, the resolver being down */
};

/* `why` is REASON_NONE and `dialed` set, or a reason, and `err` says what was tried and what happened. */
typedef void (*dial_cb)(void *data, enum reason why, const struct dialed *dialed, const struct error *err);

/* NULL: out of memory for the dial itself. What else keeps it from beginning, the callback tells. */
struct dial *dial_start(struct loop *loop, const struct dial_options *options, dial_cb cb,
                        void *data) MUST_CHECK;

/* Harmless on NULL. */
void dial_cancel(struct dial *dial);

#endif
