/*
 * A c-ares channel on a libuv loop: the glue below resolve.c, and the only place that knows c-ares.
 *
 * A channel is made from one reading of the system's settings. When they change, resolve.c makes another
 * and retires this one, which ends its questions in peace.
 */
#ifndef POSTERN_NET_RESOLVE_CHANNEL_H
#define POSTERN_NET_RESOLVE_CHANNEL_H

#include "base/compiler.h"
#include "base/error.h"
#include "base/reason.h"
#include "net/resolve.h"
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* Smaller than a socket address: the cache keeps many. */
struct resolve_ip {
    bool is_ipv6;
    uint8_t bytes[16]; /* IPv4 uses the first four, and leaves the others 0 */
};

struct dns_channel_answer {
    uint32_t ttl_s; /* the least of all records of the answer; 0 from /etc/hosts */
    unsigned count;
    struct resolve_ip ip[RESOLVE_ADDRS_MAX]; /* in the order of struct resolved */
};

struct dns_channel; /* opaque */
struct dns_channel_question;

/* `why` is REASON_NONE and `answer` set, or a DNS reason. May come from inside dns_channel_ask(). Must not call
 * back into the channel: c-ares is at work below. The question is the caller's again. */
typedef void (*dns_channel_cb)(struct dns_channel_question *question, enum reason why,
                               const struct dns_channel_answer *answer);

/* Embedded by the caller; all fields private. */
struct dns_channel_question {
    struct dns_channel *channel;
    dns_channel_cb cb;
    unsigned rejected_before;
};

/* Returns 0, or a negative errno value and leaves no handle open. `options` and its strings outlive the
 * channel. `gone` is called from the loop when the channel's memory is freed. */
int dns_channel_new(uv_loop_t *loop, const struct resolver_options *options, void (*gone)(void *data),
                    void *data, struct dns_channel **ret, struct error *err) MUST_CHECK;

/* Asks for both families. `cb` is called exactly once. The question cannot be taken back, but it ends by
 * itself shortly before the options' timeout has passed: then a server that answers for one family alone
 * has still given an answer. */
void dns_channel_ask(struct dns_channel *channel, const char *name, struct dns_channel_question *question,
                     dns_channel_cb cb);

/* Whether the settings were changed since they were read. Looks at most once a second. */
bool dns_channel_outdated(struct dns_channel *channel);

/* Ends the channel as soon as no question is outstanding. */
void dns_channel_retire(struct dns_channel *channel);

/* Ends the channel at once, retired or not: outstanding questions are called back from inside, with
 * REASON_DNS_FAILED. */
void dns_channel_close(struct dns_channel *channel);

#endif
