/*
 * The clock: what to make of somebody's word about the time, and doing it.
 *
 * The parent is not trusted, the hypervisor is. So the hypervisor's word (its PTP clock, or the NSM's timestamp) is
 * followed, and the parent's within bounds: never to before this program was built, never further than `bound` from
 * where the hypervisor's time must be by now, and without one, never further than `bound` from where the parent's own
 * first word must be; and only if it came soon after it was asked for, since how long that takes is the parent's to choose. Only that first word is free, which is why nothing that must hold against the parent may
 * rest on the time where there is no hypervisor to ask (docs/client.md).
 *
 * Small errors are slewed, so that time never goes backwards for them; larger ones are stepped.
 */
#ifndef POSTERN_INIT_CLOCK_H
#define POSTERN_INIT_CLOCK_H

#include "base/compiler.h"
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

#define CLOCK_SECOND    INT64_C(1000000000)   /* all times are in nanoseconds */
#define CLOCK_MAX       (INT64_MAX / 2)       /* the year 2116: what is later is no honest word */
#define CLOCK_FINE_MAX  (CLOCK_SECOND / 1000) /* an error that is let be, beside what a sample cannot tell */
#define CLOCK_SLEW_MAX  (CLOCK_SECOND / 2)    /* a larger one is stepped */
#define CLOCK_DRIFT_PPM 500                   /* no oscillator of a machine that works is worse */
#define CLOCK_ERROR_MAX \
    CLOCK_SECOND /* what an untrusted word may leave open: who answers late may
                                                 mean any moment since it was asked */

struct nsm;

/* One word about the time. */
struct clock_sample {
    int64_t offset;   /* what has to be added to our clock */
    int64_t error;    /* by how much that may be wrong: half the time that asking took */
    int64_t real;     /* our clock then, since 1970 */
    int64_t monotone; /* a clock that nobody sets, then: CLOCK_BOOTTIME */
    bool trusted;     /* the hypervisor's */
};

enum clock_verdict {
    CLOCK_FINE,      /* nothing to do */
    CLOCK_SLEW,      /* make up for it little by little */
    CLOCK_STEP,      /* set it */
    CLOCK_TOO_OLD,   /* refused: before the build */
    CLOCK_TOO_FAR,   /* refused: beyond the bound */
    CLOCK_TOO_VAGUE, /* refused: it came too late to say anything */
};

struct clock {
    int64_t built; /* since 1970 */
    int64_t bound;
    bool anchored, anchor_trusted; /* what the time must be is known from a word that was followed ... */
    int64_t anchor_real;           /* ... it was this ... */
    int64_t anchor_monotone;       /* ... then */
    int64_t checked_monotone;      /* the last sample that was followed; 0: none */
};

void clock_init(struct clock *clock, int64_t bound);

/* Says what is to be done, and takes it as done: a trusted word, or a first one, becomes what later ones are held
 * against. */
enum clock_verdict clock_judge(struct clock *clock, const struct clock_sample *sample);

/* Does it. 0 or a negative errno value; -EPERM: not without CAP_SYS_TIME. */
int clock_apply(enum clock_verdict verdict, int64_t offset, struct error *err) MUST_CHECK;

int64_t clock_now(int id); /* CLOCK_REALTIME, CLOCK_BOOTTIME */

/* A sample from when the question left and when the answer came, both by CLOCK_BOOTTIME, and `theirs`, which was true at
 * some moment between the two, and is at most CLOCK_MAX. */
void clock_sample(struct clock_sample *ret, int64_t asked, int64_t answered, int64_t theirs, bool trusted);

/* The hypervisor's PTP clock: 0, -ENOENT where there is none, -ENODEV if the device is somebody else's (a network card's,
 * which may count from anything), or what else failed. `sysfs` is "/sys" but for tests. */
int clock_read_ptp(const char *device, const char *sysfs, struct clock_sample *ret,
                   struct error *err) MUST_CHECK;

/* The NSM's timestamp; it waits for the device. */
int clock_read_nsm(struct nsm *nsm, struct clock_sample *ret, struct error *err) MUST_CHECK;

/* "+1.204 s", "-0.3 ms" */
const char *clock_words(int64_t offset, char buffer[32]);

#endif
