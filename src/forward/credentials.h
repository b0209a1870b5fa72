/*
 * AWS credentials of one worker, from where AWS's SDKs look for them: the environment, the shared credentials file, the
 * endpoint of a container (ECS, EKS's pod identities), the instance metadata service, version 2. `auto` takes the
 * first of these, in this order, that is set up.
 *
 * One source serves all routes of the worker that ask for the same. It asks its endpoint once however many requests wait
 * (single flight), and for new keys some minutes before the old ones expire, in the background. When that fails the
 * old ones serve until they have really expired; then requests are refused until keys are to be had again. So it does when an
 * upstream refuses the keys. Nothing is asked for while no request comes.
 *
 * The keys are wiped when they are replaced, and are in no error and no log line.
 *
 * Lifetimes: the owner embeds the store. A source belongs to the store, and is counted; a waiter is the caller's, and is
 * idle after its callback or credentials_cancel(). Not thread-safe.
 */
#ifndef POSTERN_FORWARD_CREDENTIALS_H
#define POSTERN_FORWARD_CREDENTIALS_H

#include "aws/sign.h"
#include "base/compiler.h"
#include "base/error.h"
#include "config/config.h"
#include "net/loop.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct credentials_source; /* opaque */

struct credentials_store {
    struct loop *loop;
    LIST_HEAD(, credentials_source) sources;
};

/* Has jansson wipe what it frees: answers of the endpoints hold secrets. Once, before other threads run. */
void credentials_prepare(void);

void credentials_store_init(struct credentials_store *store, struct loop *loop);

/* All sources have been put back. What is left on the loop closes when it runs. */
void credentials_store_close(struct credentials_store *store);

/* The source that a route asks for; the route's `sign` need not outlive the call. NULL: out of memory. */
struct credentials_source *credentials_source_get(struct credentials_store *store,
                                                  const struct config_sign *sign) MUST_CHECK;
void credentials_source_put(struct credentials_source *source); /* NULL is harmless; nobody waits */

/* `credentials` is NULL and `err` says why, or they are good until the callback returns. Comes from the loop. */
typedef void (*credentials_cb)(void *data, const struct aws_credentials *credentials,
                               const struct error *err);

struct credentials_waiter {
    struct credentials_source *source; /* NULL: idle */
    credentials_cb cb;
    void *data;
    TAILQ_ENTRY(credentials_waiter) link;
};

/* Returns 0 with *ret good until the loop runs on; 1: the callback will come; or a negative errno value with the reason in
 * `err`: there are none to be had just now. */
int credentials_ask(struct credentials_source *source, struct credentials_waiter *waiter, credentials_cb cb,
                    void *data, struct aws_credentials *ret, struct error *err) MUST_CHECK;

/* The callback will not come. Harmless on an idle (zeroed) waiter. */
void credentials_cancel(struct credentials_waiter *waiter);

/*
 * To be told that an upstream refuses what was signed with the keys. There may be others by now, long before these expire: the instance was
 * given another role, or the role's sessions were revoked. Those of an endpoint are asked for anew, in the background, while the old ones
 * serve; once in CREDENTIALS_REFUSED_EACH_MS, since an enclave may ask for what its route may not have as often as it likes.
 */
#define CREDENTIALS_REFUSED_EACH_MS UINT64_C(60000)
void credentials_refused(struct credentials_source *source);

/* In how many seconds it may be worth asking again, after a failure: for Retry-After. At least 1. */
unsigned credentials_retry_after_s(const struct credentials_source *source);

#endif
