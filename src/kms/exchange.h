/*
 * One HTTP/1.1 request that is at hand whole, and its answer, bounded, over a connection of any kind.
 *
 * The answer may be a secret: it lies in one block at a time, which is wiped when it is outgrown and at the end, and nothing of it is in an
 * error.
 */
#ifndef POSTERN_KMS_EXCHANGE_H
#define POSTERN_KMS_EXCHANGE_H

#include "kms/wire.h"
#include <sys/types.h>
#include <time.h>

#define KMS_REQUEST_ID_MAX 64

/* What an exchange goes over: functions that wait, and note their trouble. */
struct kms_lane {
    void *data;
    ssize_t (*read)(void *data, void *buffer, size_t size);
    int (*write)(void *data, const void *bytes, size_t size);
    const struct kms_trouble *trouble;
};

struct kms_tls;
struct kms_lane kms_tls_lane(struct kms_tls *tls);
struct kms_lane kms_wire_lane(struct kms_wire *wire);

struct kms_reply {
    unsigned status; /* from 200 on */
    char *body;      /* owned, and a string; NULL: empty */
    size_t size;
    time_t date;                             /* of the Date header; 0: none that can be read */
    char request_id[KMS_REQUEST_ID_MAX + 1]; /* what AWS calls it; "": none */
    bool keep;                               /* the connection may be used again */
    bool begun;                              /* bytes of an answer have come: set on failure, too */

    size_t capacity; /* of `body` */
};

/* 0, or what `ret_trouble` then says: the lane's trouble, -EPROTO for what is no answer, -ENOTCONN for one that was cut off, or
 * -ENOMEM. *ret is to be released in either case. */
int kms_exchange(const struct kms_lane *lane, const void *request, size_t size, size_t body_max,
                 struct kms_reply *ret, struct kms_trouble *ret_trouble) MUST_CHECK;

void kms_reply_release(struct kms_reply *reply); /* wipes */

#endif
