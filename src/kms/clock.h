/* Deadlines: milliseconds of a clock that nobody sets. */
#ifndef POSTERN_KMS_CLOCK_H
#define POSTERN_KMS_CLOCK_H

#include <limits.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t kms_clock_ms(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static inline uint64_t kms_now_ms(void)
{
    return kms_clock_ms(CLOCK_MONOTONIC);
}

/* What is left, for poll() and the functions of libpostern: 0 if nothing is. */
static inline int kms_left_ms(uint64_t deadline)
{
    uint64_t now = kms_now_ms();

    if (deadline <= now) {
        return 0;
    }
    return deadline - now < INT_MAX ? (int)(deadline - now) : INT_MAX;
}

/* For pthread_cond_clockwait(). */
static inline struct timespec kms_timespec(uint64_t deadline)
{
    return (struct timespec){.tv_sec = (time_t)(deadline / 1000),
                             .tv_nsec = (long)(deadline % 1000) * 1000000};
}

#endif
