/* Exponential backoff with jitter. */
#include "spool/backoff.h"

#define FIRST_MS 1000U
#define MOST_MS  (5U * 60 * 1000)

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t backoff_pause(const struct spool_policy *policy, uint32_t attempts, uint64_t retry_after_ms,
                       uint64_t random)
{
    uint64_t most = least(policy->most_pause_ms ? policy->most_pause_ms : MOST_MS, SPOOL_DELAY_MAX_MS);
    uint64_t pause = least(policy->first_pause_ms ? policy->first_pause_ms : FIRST_MS, most);

    for (uint32_t i = 1; i < attempts && pause < most; i++) {
        pause = least(pause * 2, most);
    }
    pause -= random % (pause / 2 + 1);

    if (retry_after_ms == 0 || retry_after_ms < pause) {
        return pause;
    }
    retry_after_ms = least(retry_after_ms, SPOOL_DELAY_MAX_MS);
    return least(retry_after_ms + random % (retry_after_ms / 10 + 1), SPOOL_DELAY_MAX_MS);
}
