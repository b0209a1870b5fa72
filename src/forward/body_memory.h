/*
 * The memory of bodies that are held whole before they go out: so much for all of the daemon, `limits.body_memory`.
 *
 * No asker has a share of its own, and none can take all: it is granted more while what it holds then is at most what stays free.
 * So one alone gets half, two a third each, and what is free is never nothing: a newcomer can always begin.
 *
 * Threads: any, but for init and close. The calls do not wait for more than one another.
 */
#ifndef POSTERN_FORWARD_BODY_MEMORY_H
#define POSTERN_FORWARD_BODY_MEMORY_H

#include "base/compiler.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

/* One that holds some; there from its first byte to its last. */
struct body_holder;

struct body_memory {
    /* Private. */
    uv_mutex_t lock; /* guards all */
    uint64_t limit, used;
    LIST_HEAD(, body_holder) holders; /* as many as enclaves have bodies here at once, so few */
};

/* Nothing may be had before a limit is set. Returns 0 or a negative errno value. */
int body_memory_init(struct body_memory *memory) MUST_CHECK;
void body_memory_close(struct body_memory *memory); /* after everything was given back */

/* Bytes. What is held already stays held. */
void body_memory_set_limit(struct body_memory *memory, uint64_t limit);
uint64_t body_memory_used(struct body_memory *memory);

/* What one body has of it; zeroed before the first use. */
struct body_grant {
    struct body_holder *holder; /* private */
    size_t size;                /* bytes */
};

/* Makes the grant as large as `size`; smaller it does not become. False: that is not to be had now, and it stays as it was.
 * `asker` is the same number for the same enclave, 0 for the spool, and the same in each call for a grant. */
bool body_memory_grow(struct body_memory *memory, struct body_grant *grant, uint32_t asker,
                      size_t size) MUST_CHECK;

/* All of it; harmless if there is none. */
void body_memory_give(struct body_memory *memory, struct body_grant *grant);

#endif
