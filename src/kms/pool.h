/*
 * Connections to KMS: so many at once, each used by one call at a time and then kept, so that the next one finds it ready. The one that
 * was used last is taken first; those that nobody has used for a while are closed, and so is one that has something to say when it is
 * about to be used: it has ended, or would be taken for the answer to what was not asked yet.
 */
#ifndef POSTERN_KMS_POOL_H
#define POSTERN_KMS_POOL_H

#include "aws/sign.h"
#include "kms/tls.h"
#include <sys/queue.h>

struct kms_connection {
    LIST_ENTRY(kms_connection) link;
    struct kms_tls tls;
    struct aws_signer signer; /* one a connection: it keeps the key of the day */
    bool kept;                /* it was used before: the other side may have closed it meanwhile */
    uint64_t idle_since;
};

LIST_HEAD(kms_connections, kms_connection);

struct kms_pool {
    struct kms_trust trust;
    struct kms_place to;
    const char *region; /* not owned */
    pthread_mutex_t lock;
    pthread_cond_t returned; /* a place is free */
    struct kms_connections idle;
    unsigned count, max; /* of all, those in use included */
};

/* `to` and `region` outlive the pool. What kms_trust_open() returns. */
int kms_pool_open(struct kms_pool *ret, const struct kms_place *to, const char *region, const char *host,
                  const char *ca_file, unsigned max, struct error *err) MUST_CHECK;

/* Nobody has a connection of it. `polite`: KMS is told. */
void kms_pool_close(struct kms_pool *pool, bool polite);

/* Waits for a place. `fresh`: a new connection, and the kept ones are closed: one of them turned out to be dead. 0, with the connection's
 * deadline set; or what `ret_trouble` then says. */
int kms_pool_take(struct kms_pool *pool, bool fresh, uint64_t deadline, struct kms_connection **ret,
                  struct kms_trouble *ret_trouble) MUST_CHECK;

/* `keep`: the last exchange came to its end, and another may follow. */
void kms_pool_give(struct kms_pool *pool, struct kms_connection *connection, bool keep);

#endif
