/* What the files of the proxy share: see proxy.h. */
#ifndef POSTERN_KMS_PROXY_PRIVATE_H
#define POSTERN_KMS_PROXY_PRIVATE_H

#include "http/request.h"
#include "kms/proxy.h"
#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

#define PROXY_READ_SIZE 16384u

enum proxy_guest_state {
    PROXY_GUEST_BUSY,
    PROXY_GUEST_IDLE,  /* between requests: may be closed at any time */
    PROXY_GUEST_ENDED, /* its thread is on its last lines, to be joined */
};

struct kms_proxy {
    struct postern_kms *kms;
    struct kms_proxy_options options;
    struct http_rules rules;
    int wake_fd; /* an eventfd: there is something to do for the one who accepts */

    pthread_mutex_t lock;
    /* Under the lock: */
    LIST_HEAD(proxy_guests, proxy_guest) guests;
    unsigned count;
    bool crowded; /* somebody waits to be let in */
    bool draining;
    size_t held; /* bytes of requests */
};

/* One connection. Its thread owns all of it but `state` and `idle_since`. The one who accepts frees it, once the thread is
 * joined; until then the descriptor stays open, so that it may shut it down. */
struct proxy_guest {
    struct kms_proxy *proxy;
    LIST_ENTRY(proxy_guest) link;
    pthread_t thread;
    int fd;

    enum proxy_guest_state state; /* under the lock */
    uint64_t idle_since;          /* ms; the same */
    bool asked_to_go;             /* the same: nothing more is read from it */

    struct http_request request;
    char *body; /* owned; wiped */
    size_t body_size, body_room;
    size_t held;          /* bytes of all connections' memory, for the request that is under way */
    size_t in_at, in_end; /* what was read, and not looked at */
    char in[PROXY_READ_SIZE];
};

int kms_proxy_init(struct kms_proxy *proxy, struct postern_kms *kms, const struct kms_proxy_options *options,
                   struct error *err) MUST_CHECK;
void kms_proxy_release(struct kms_proxy *proxy);

/* A connection, from its first byte until it is over. `fd` is non-blocking, and not closed. */
void proxy_guest_init(struct proxy_guest *guest, struct kms_proxy *proxy, int fd);
void proxy_guest_run(struct proxy_guest *guest);

/* Something for the one who accepts: the lock is held. */
void kms_proxy_wake(struct kms_proxy *proxy);

#endif
