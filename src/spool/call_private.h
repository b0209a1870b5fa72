/* An operator's call. */
#ifndef POSTERN_SPOOL_CALL_PRIVATE_H
#define POSTERN_SPOOL_CALL_PRIVATE_H

#include "spool/spool_private.h"

enum call_verb { CALL_RETRY, CALL_DROP };

struct spool_call {
    struct op op; /* first */
    union {
        spool_list_cb list;
        spool_alter_cb alter;
        spool_verify_cb verify;
    } cb;
    void *arg;
    struct spool_query query; /* its route is `route` */
    char *route;
    enum call_verb verb;

    /* The writer's, while the op is WORKING. */
    struct record *records; /* query.limit of them, of which `count` are there; owned if listed */
    struct spool_record *shown;
    size_t count;
    uint64_t total;
    uint64_t next;

    void (*cancel)(struct spool_call *call); /* what it has to end besides itself, or NULL */
};

#endif
