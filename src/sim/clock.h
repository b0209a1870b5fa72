/* The simulator's time: the system's, and as much more or less as it was told, so that what expires can be seen to. */
#ifndef POSTERN_SIM_CLOCK_H
#define POSTERN_SIM_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

struct sim_clock {
    _Atomic int64_t offset_ms; /* any thread may change it */
};

static inline uint64_t sim_now_ms(const struct sim_clock *clock)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    int64_t ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + atomic_load(&clock->offset_ms);
    return ms > 0 ? (uint64_t)ms : 1;
}

static inline time_t sim_now(const struct sim_clock *clock)
{
    return (time_t)(sim_now_ms(clock) / 1000);
}

#endif
