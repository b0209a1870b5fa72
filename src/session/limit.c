/* A token bucket, filled when it is looked at. */
#include "session/limit.h"

#define FULL_AGAIN_MS UINT64_C(3600000) /* longer than this is as good as this: no product overflows */

static void add(struct limit *limit, uint64_t milli_tokens)
{
    uint64_t most = (uint64_t)limit->rate.burst * 1000;

    limit->milli_tokens += milli_tokens;
    if (limit->milli_tokens > most) {
        limit->milli_tokens = most;
    }
}

void limit_init(struct limit *limit, struct limit_rate rate, uint64_t now)
{
    *limit = (struct limit){.rate = rate, .milli_tokens = (uint64_t)rate.burst * 1000, .filled_at = now};
}

bool limit_take(struct limit *limit, uint64_t now)
{
    uint64_t elapsed = now - limit->filled_at;

    add(limit, (elapsed < FULL_AGAIN_MS ? elapsed : FULL_AGAIN_MS) * limit->rate.per_second);
    limit->filled_at = now;
    if (limit->milli_tokens < 1000) {
        return false;
    }
    limit->milli_tokens -= 1000;
    return true;
}

void limit_earn(struct limit *limit, uint32_t tokens)
{
    add(limit, (uint64_t)tokens * 1000);
}
