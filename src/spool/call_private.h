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

    /* One that is to be retried, and is damaged. */
    bool is_suspect;         /* it has to be verified first */
    bool is_sound;           /* it was */
    struct spool_take *look; /* the verification, while it is under way; else NULL */

    void (*cancel)(struct spool_call *call); /* what it has to end besides itself, or NULL */
};

/* --- mend.c, on the port's thread --- */

/* Reads the suspect record to its end: if it is what was put, the call goes to the writer again, else it has failed. */
void mend_verify(struct spool_call *call);

/* spool_retry_all() of damaged records. */
int mend_all(struct spool_port *port, const struct spool_query *query, spool_alter_cb cb, void *arg,
             struct spool_call **ret) MUST_CHECK;

#endif
