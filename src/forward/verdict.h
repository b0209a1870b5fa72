/*
 * What becomes of a record after an attempt to deliver it: pure, without a loop or a clock.
 *
 *     2xx                                   delivered, if the upstream had the whole request
 *     408, 425, 429, 5xx                    again later; Retry-After is honoured
 *     401, 403 to what the route adds       again later: its key, secret or certificate may be wrong for now
 *     4xx of AWS, too much or too slow      again later, by its error code: many services have no other status for it
 *     4xx of AWS, to the signature          as 401, by its error code
 *     every other answer                    dead: it would be the same the next time
 *     no answer, the upstream not reached   again later, and the attempt does not count
 *     no answer, but it was reached         again later
 *     refused by the route's rules          dead
 */
#ifndef POSTERN_FORWARD_VERDICT_H
#define POSTERN_FORWARD_VERDICT_H

#include "base/compiler.h"
#include "http/refusal.h"
#include "http/syntax.h"
#include "spool/spool.h"
#include <stdbool.h>
#include <stdint.h>

#define VERDICT_OUTCOME_TABLE(X) \
    X(DONE, "delivered")         \
    X(RETRY, "retry")            \
    X(UNREACHED, "unreached")    \
    X(BURIED, "buried")          \
    X(DAMAGED, "damaged")        \
    X(RELEASED, "released")

/* Of one attempt, as the log and the metrics tell it. RELEASED: the daemon ended it, for an end of its own. */
enum verdict_outcome {
#define X(id, word) VERDICT_##id,
    VERDICT_OUTCOME_TABLE(X)
#undef X
        VERDICT_OUTCOMES
};

const char *verdict_word(enum verdict_outcome outcome);

struct verdict_attempt {
    unsigned status;         /* of the final answer; 0: none came */
    uint64_t retry_after_ms; /* it asked for; 0: it did not */
    bool whole;              /* all of the request was written to the upstream */
    enum http_refusal why;   /* NONE: the answer was whole */
    const char *detail;      /* NULL */
    const char *code;        /* AWS's, if the route signs and it has one; else NULL */
    bool reached;            /* anything of the request may have come to the upstream */
    bool damaged;            /* the body on the disk is; or it was */
    bool unreadable;         /* for now */
    bool cut;                /* by the daemon itself */
    bool vouched;            /* the route itself says who asks, by a signature, a secret or a certificate */
};

struct verdict {
    enum verdict_outcome outcome;
    struct spool_outcome spool; /* its cause is `cause` */
    char cause[SPOOL_CAUSE_MAX + 1];
};

void verdict_reach(const struct verdict_attempt *attempt, struct verdict *ret);

/* Whether the upstream answered that it is asked for too much. */
bool verdict_asks_for_time(const struct verdict_attempt *attempt);

/* Of a record whose head the newest rules refuse, or that cannot be read. */
void verdict_refuse(enum http_refusal why, struct verdict *ret);

/* The value of a Retry-After header: seconds, or a date (RFC 9110, 5.6.7; the form in use alone). 0: neither, or a time
 * that has passed. At most SPOOL_DELAY_MAX_MS. */
uint64_t verdict_retry_after(struct http_span value, uint64_t now_ms);

#endif
