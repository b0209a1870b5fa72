/* How often one kind of line is written: a bucket of tokens, kept as one number so that it needs no lock. */
#include "base/log.h"

#include <stdatomic.h>
#include <time.h>

#define SECOND UINT64_C(1000000000)

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/*
 * `state` is the time at which the bucket is full again. Each line moves it on by what one token takes to
 * come back, starting at `now` if it is past; a line that would move it further than a whole burst ahead
 * of `now` has found the bucket empty.
 */
bool log_take_token(_Atomic uint64_t *state, uint32_t per_second, uint32_t burst, uint64_t now)
{
    uint64_t token = SECOND / (per_second > 0 ? per_second : 1);
    uint64_t bucket = token * (burst > 0 ? burst : 1);
    uint64_t full_at = atomic_load_explicit(state, memory_order_relaxed);
    uint64_t next;

    do {
        next = (full_at > now ? full_at : now) + token;
        if (next - now > bucket) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(state, &full_at, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

void log_begin_limited(struct log_line *line, struct log_limit *limit, enum log_level level,
                       const char *event)
{
    uint64_t suppressed;

    line->wanted = false;
    if (!log_wanted(level)) {
        return;
    }
    if (!log_take_token(&limit->state, limit->per_second, limit->burst, now_ns())) {
        atomic_fetch_add_explicit(&limit->suppressed, 1, memory_order_relaxed);
        return;
    }
    log_begin(line, level, event);
    suppressed = atomic_exchange_explicit(&limit->suppressed, 0, memory_order_relaxed);
    if (suppressed > 0) {
        log_u64(line, "suppressed", suppressed);
    }
}
