/* How hard a route tries: see throttle.h. */
#include "forward/throttle.h"

void throttle_init(struct throttle *throttle, uint64_t first_ms, uint64_t most_ms)
{
    uint64_t least_ms = first_ms > 0 ? first_ms : 1;
    if (least_ms > most_ms && most_ms > 0) {
        least_ms = most_ms;
    }
    *throttle = (struct throttle){.first_ms = least_ms, .most_ms = most_ms > 0 ? most_ms : least_ms};
}

void throttle_up(struct throttle *throttle)
{
    throttle->failures = 0;
    throttle->pause_ms = 0;
}

void throttle_again(struct throttle *throttle)
{
    if (throttle_holds(throttle)) {
        throttle->pause_ms = throttle->first_ms;
    }
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t throttle_down(struct throttle *throttle, bool plain, bool probe, uint64_t retry_after_ms)
{
    throttle->failures++;
    if (!plain && throttle->failures < THROTTLE_PATIENCE && !throttle_holds(throttle)) {
        return 0;
    }
    if (!throttle_holds(throttle)) {
        throttle->pause_ms = throttle->first_ms;
    } else if (probe) {
        throttle->pause_ms = least(throttle->pause_ms * 2, throttle->most_ms);
    } else {
        return 0;
    }
    /* A record's own pause is the whole of what was asked for; the route as a whole is not held up longer than its own. */
    retry_after_ms = least(retry_after_ms, throttle->most_ms);
    return retry_after_ms > throttle->pause_ms ? retry_after_ms : throttle->pause_ms;
}
