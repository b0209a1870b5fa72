/* Judging is arithmetic on samples; what touches the kernel's clocks stands below it. */
#include "init/clock.h"
#include "nsm/nsm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

void clock_init(struct clock *clock, int64_t bound)
{
    *clock = (struct clock){.built = POSTERN_BUILD_TIME * CLOCK_SECOND, .bound = bound};
}

/* How far the sample's time is from where the anchor says it must be. */
static int64_t distance(const struct clock *clock, const struct clock_sample *sample)
{
    int64_t elapsed = sample->monotone - clock->anchor_monotone;
    int64_t expected = clock->anchor_real + elapsed;
    int64_t off = sample->real + sample->offset - expected;

    return off < 0 ? -off : off;
}

/* An anchor grows old: the clock it is counted on by drifts. */
static int64_t allowed(const struct clock *clock, const struct clock_sample *sample)
{
    int64_t elapsed = sample->monotone - clock->anchor_monotone;

    return clock->bound + elapsed / 1000000 * CLOCK_DRIFT_PPM + sample->error;
}

enum clock_verdict clock_judge(struct clock *clock, const struct clock_sample *sample)
{
    int64_t off = sample->offset < 0 ? -sample->offset : sample->offset;

    if (sample->real + sample->offset < clock->built) {
        return CLOCK_TOO_OLD;
    }
    if (!sample->trusted && sample->error > CLOCK_ERROR_MAX) {
        return CLOCK_TOO_VAGUE;
    }
    if (clock->anchored && !sample->trusted && distance(clock, sample) > allowed(clock, sample)) {
        return CLOCK_TOO_FAR;
    }
    /* An untrusted anchor stays where it was first: else many small steps would lead anywhere. */
    if (sample->trusted || !clock->anchored) {
        clock->anchored = true;
        clock->anchor_trusted = sample->trusted;
        clock->anchor_real = sample->real + sample->offset;
        clock->anchor_monotone = sample->monotone;
    }
    clock->checked_monotone = sample->monotone;
    if (off <= CLOCK_FINE_MAX + sample->error) {
        return CLOCK_FINE;
    }
    return off <= CLOCK_SLEW_MAX ? CLOCK_SLEW : CLOCK_STEP;
}

int64_t clock_now(int id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return now.tv_sec * CLOCK_SECOND + now.tv_nsec;
}

static int step(int64_t offset)
{
    int64_t at = clock_now(CLOCK_REALTIME) + offset;
    struct timespec to = {.tv_sec = at / CLOCK_SECOND, .tv_nsec = at % CLOCK_SECOND};

    return clock_settime(CLOCK_REALTIME, &to);
}

static int slew(int64_t offset)
{
    int64_t us = offset / 1000;
    struct timeval by = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};

    if (by.tv_usec < 0) {
        by.tv_sec--;
        by.tv_usec += 1000000;
    }
    return adjtime(&by, NULL);
}

int clock_apply(enum clock_verdict verdict, int64_t offset, struct error *err)
{
    if (verdict == CLOCK_STEP && step(offset) < 0) {
        return error_errno(err, -errno, "cannot set the clock");
    }
    if (verdict == CLOCK_SLEW && slew(offset) < 0) {
        return error_errno(err, -errno, "cannot slew the clock");
    }
    return 0;
}

void clock_sample(struct clock_sample *ret, int64_t asked, int64_t answered, int64_t theirs, bool trusted)
{
    int64_t monotone = clock_now(CLOCK_BOOTTIME), real = clock_now(CLOCK_REALTIME);
    int64_t half = (answered - asked) / 2;

    /* What they said was true `age` ago. */
    int64_t age = monotone - (asked + half);

    *ret = (struct clock_sample){
        .offset = theirs + age - real, .error = half, .real = real, .monotone = monotone, .trusted = trusted};
}

/* The kernel's name of a PTP clock, "" if it cannot be read. */
static void ptp_name(const char *device, const char *sysfs, char name[64])
{
    const char *base = strrchr(device, '/');
    char path[PATH_MAX];
    FILE *file;

    snprintf(path, sizeof path, "%s/class/ptp/%s/clock_name", sysfs, base ? base + 1 : device);
    name[0] = '\0';
    file = fopen(path, "re");
    if (file) {
        if (fgets(name, 64, file)) {
            name[strcspn(name, "\n")] = '\0';
        }
        fclose(file);
    }
}

int clock_read_ptp(const char *device, const char *sysfs, struct clock_sample *ret, struct error *err)
{
    struct timespec theirs;
    int64_t asked;
    char name[64];
    int fd, code = 0;

    fd = open(device, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_errno(err, -errno, "cannot open the PTP clock %s", device);
    }
    ptp_name(device, sysfs, name);
    asked = clock_now(CLOCK_BOOTTIME);
    if (strcmp(name, "KVM virtual PTP") != 0) {
        code = error_set(err, -ENODEV, "the PTP clock %s is \"%s\", not the hypervisor's", device, name);
    } else if (clock_gettime((clockid_t)((~(unsigned)fd << 3) | 3), &theirs) < 0) { /* as the kernel has it */
        code = error_errno(err, -errno, "cannot read the PTP clock %s", device);
    } else {
        clock_sample(ret, asked, clock_now(CLOCK_BOOTTIME), theirs.tv_sec * CLOCK_SECOND + theirs.tv_nsec,
                     true);
    }
    close(fd);
    return code;
}

int clock_read_nsm(struct nsm *nsm, struct clock_sample *ret, struct error *err)
{
    int64_t asked = clock_now(CLOCK_BOOTTIME);
    uint64_t ms;
    int code = nsm_time(nsm, &ms, err);

    if (code < 0) {
        return code;
    }
    if (ms > CLOCK_MAX / 1000000) {
        return error_set(err, -ERANGE, "the NSM's time is beyond all years");
    }
    clock_sample(ret, asked, clock_now(CLOCK_BOOTTIME), (int64_t)ms * 1000000, true);
    return 0;
}

const char *clock_words(int64_t offset, char buffer[32])
{
    double seconds = (double)offset / (double)CLOCK_SECOND;

    if (offset < CLOCK_SECOND && offset > -CLOCK_SECOND) {
        snprintf(buffer, 32, "%+.1f ms", seconds * 1000);
    } else {
        snprintf(buffer, 32, "%+.3f s", seconds);
    }
    return buffer;
}
