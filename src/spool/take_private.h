/* A take, for those who serve it. */
#ifndef POSTERN_SPOOL_TAKE_PRIVATE_H
#define POSTERN_SPOOL_TAKE_PRIVATE_H

#include "spool/spool_private.h"

struct spool_take {
    struct op op; /* first */
    const struct spool_take_ops *ops;
    void *arg;
    struct route *route; /* NULL: it is a look */
    struct record record;
    bool is_heard;                /* the owner's: ready() was called */
    bool is_waiting;              /* under the lock: on the route's list */
    bool is_leased;               /* the writer's, while the op is WORKING */
    bool is_damaged;              /* the body was found to be */
    TAILQ_ENTRY(spool_take) link; /* of the route's list: waiting or leased */

    /* Reading: the files thread's while the op is WORKING. */
    struct body *body;
    struct digest *digest;
    char *buffer;
    uint64_t offset;
    size_t piece; /* bytes of the last read */

    /* The verdict. */
    struct spool_outcome outcome; /* its cause is `cause` */
    char cause[SPOOL_CAUSE_MAX + 1];
    struct record after; /* what a failed attempt makes of the record; owns nothing */
};

#endif
