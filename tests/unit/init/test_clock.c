/* What is made of words about the time, and how it is done. The kernel's setters are wrapped: no test sets a clock. */
#include "init/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MS     (CLOCK_SECOND / 1000)
#define MINUTE (60 * CLOCK_SECOND)

static struct clock the_clock;

static int make_clock(void **state)
{
    (void)state;
    clock_init(&the_clock, MINUTE);
    assert_true(the_clock.built > INT64_C(1700000000) * CLOCK_SECOND);
    the_clock.built = 1000000 * CLOCK_SECOND; /* seconds are easier to read from here */
    return 0;
}

/* A word that says `theirs` when our clock says `real`, both seconds after the build, `monotone` seconds after the start; `error` is half of
 * how long asking took. */
static enum clock_verdict late_word(double theirs, double real, double monotone, bool trusted, int64_t error)
{
    struct clock_sample sample = {
        .real = the_clock.built + (int64_t)(real * 1e9),
        .monotone = (int64_t)(monotone * 1e9),
        .offset = (int64_t)((theirs - real) * 1e9),
        .error = error,
        .trusted = trusted,
    };
    return clock_judge(&the_clock, &sample);
}

static enum clock_verdict word(double theirs, double real, double monotone, bool trusted)
{
    return late_word(theirs, real, monotone, trusted, MS);
}

static void test_small_is_let_be_then_slewed_then_stepped(void **state)
{
    (void)state;
    assert_int_equal(word(10.0019, 10, 1, false), CLOCK_FINE);
    assert_int_equal(word(9.9981, 10, 1, false), CLOCK_FINE);
    assert_int_equal(word(10.0021, 10, 1, false), CLOCK_SLEW);
    assert_int_equal(word(9.9979, 10, 1, false), CLOCK_SLEW);
    assert_int_equal(word(10.4999, 10, 1, false), CLOCK_SLEW);
    assert_int_equal(word(10.5001, 10, 1, false), CLOCK_STEP);
    assert_int_equal(word(9.4, 10, 1, false), CLOCK_STEP);
}

static void test_nothing_is_older_than_the_build(void **state)
{
    (void)state;
    assert_int_equal(word(-0.001, 10, 1, false), CLOCK_TOO_OLD);
    assert_int_equal(word(-0.001, 10, 1, true), CLOCK_TOO_OLD);
    assert_int_equal(word(-5, -1000000, 1, false), CLOCK_TOO_OLD);
    assert_false(the_clock.anchored);
    assert_int_equal(word(0.001, -1000000, 1, false), CLOCK_STEP);
}

/* The parent's first word is free, since there is nothing to hold it against. Later ones are not. */
static void test_the_parent_is_held_to_its_first_word(void **state)
{
    (void)state;
    assert_int_equal(word(500000, -900000, 1, false), CLOCK_STEP);
    assert_int_equal(word(500059 + 10, 500010, 11, false), CLOCK_STEP);
    assert_int_equal(word(500061 + 10, 500010, 11, false), CLOCK_TOO_FAR);
    assert_int_equal(word(499939 + 10, 500010, 11, false), CLOCK_TOO_FAR);
    /* Not by many small steps either: the first word is what counts. */
    assert_int_equal(word(500050 + 20, 500060 + 20, 21, false), CLOCK_STEP);
    assert_int_equal(word(500100 + 30, 500050 + 30, 31, false), CLOCK_TOO_FAR);
}

/* After a day the clock that the anchor is counted on may be off by 43 s on its own. */
static void test_an_anchor_grows_old(void **state)
{
    const double day = 86400;

    (void)state;
    assert_int_equal(word(0, 0, 0, false), CLOCK_FINE);
    assert_int_equal(word(day + 103, day, day, false), CLOCK_STEP);
    assert_int_equal(word(day + 104, day, day, false), CLOCK_TOO_FAR);
}

static void test_the_hypervisor_is_followed_and_the_parent_held_to_it(void **state)
{
    (void)state;
    assert_int_equal(word(100, 5, 1, false), CLOCK_STEP);
    assert_int_equal(word(10000, 110, 11, true), CLOCK_STEP); /* however far */
    assert_true(the_clock.anchor_trusted);
    assert_int_equal(word(10050 + 10, 10010, 21, false), CLOCK_STEP);
    assert_int_equal(word(10061 + 10, 10010, 21, false), CLOCK_TOO_FAR);
    assert_int_equal(word(120, 10010, 21, false), CLOCK_TOO_FAR);
    assert_int_equal(the_clock.checked_monotone, 21 * CLOCK_SECOND);
}

/* Else who holds the answer back for two hours moves the clock by one. */
static void test_what_the_parent_says_late_is_not_followed(void **state)
{
    const int64_t hour = 60 * MINUTE;

    (void)state;
    assert_int_equal(late_word(100, 5, 1, false, hour), CLOCK_TOO_VAGUE); /* its first word, too */
    assert_false(the_clock.anchored);
    assert_int_equal(word(100, 5, 1, true), CLOCK_STEP);
    assert_int_equal(late_word(7300 + 1830, 7300, 7201, false, hour), CLOCK_TOO_VAGUE);
    assert_int_equal(late_word(7300 - 1830, 7300, 7201, false, hour), CLOCK_TOO_VAGUE);
    assert_int_equal(late_word(7300 + 30, 7300, 7201, false, CLOCK_ERROR_MAX), CLOCK_STEP);
    assert_int_equal(late_word(7300 + 30, 7300, 7201, false, CLOCK_ERROR_MAX + 1), CLOCK_TOO_VAGUE);
    /* The hypervisor's is: the device may have been busy. */
    assert_int_equal(late_word(7300 + 30, 7300, 7201, true, CLOCK_ERROR_MAX + 1), CLOCK_STEP);
}

/* ---- Doing it ---- */

static int fails_with;
static struct timespec set_to;
static struct timeval slewed_by;

int __wrap_clock_settime(clockid_t id, const struct timespec *to);
int __wrap_adjtime(const struct timeval *by, struct timeval *before);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret);
int __real_clock_gettime(clockid_t id, struct timespec *ret);

static int result(void)
{
    errno = fails_with;
    return fails_with ? -1 : 0;
}

int __wrap_clock_settime(clockid_t id, const struct timespec *to)
{
    assert_int_equal(id, CLOCK_REALTIME);
    set_to = *to;
    return result();
}

int __wrap_adjtime(const struct timeval *by, struct timeval *before)
{
    assert_null(before);
    slewed_by = *by;
    return result();
}

#define PTP_TIME INT64_C(1900000000)

/* Clocks by descriptor are negative. */
int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
    if (id >= 0) {
        return __real_clock_gettime(id, ret);
    }
    *ret = (struct timespec){.tv_sec = PTP_TIME};
    return result();
}

static void test_doing(void **state)
{
    struct error err = ERROR_INIT;
    int64_t now = clock_now(CLOCK_REALTIME) / CLOCK_SECOND;

    (void)state;
    fails_with = 0;
    assert_int_equal(clock_apply(CLOCK_STEP, 1000 * CLOCK_SECOND, &err), 0);
    assert_true(set_to.tv_sec >= now + 1000 && set_to.tv_sec < now + 1100);
    assert_true(set_to.tv_nsec >= 0 && set_to.tv_nsec < CLOCK_SECOND);
    assert_int_equal(clock_apply(CLOCK_SLEW, 250 * MS, &err), 0);
    assert_int_equal(slewed_by.tv_sec, 0);
    assert_int_equal(slewed_by.tv_usec, 250000);
    assert_int_equal(clock_apply(CLOCK_SLEW, -250 * MS, &err), 0);
    assert_int_equal(slewed_by.tv_sec, -1);
    assert_int_equal(slewed_by.tv_usec, 750000);
    fails_with = EPERM;
    assert_int_equal(clock_apply(CLOCK_STEP, CLOCK_SECOND, &err), -EPERM);
    assert_non_null(strstr(err.text, "cannot set the clock: "));
    assert_int_equal(clock_apply(CLOCK_SLEW, MS, &err), -EPERM);
    assert_non_null(strstr(err.text, "cannot slew the clock: "));
    assert_int_equal(clock_apply(CLOCK_FINE, 0, &err), 0);
    assert_int_equal(clock_apply(CLOCK_TOO_FAR, CLOCK_SECOND, &err), 0);
}

/* Asked 300 ms ago and answered 100 ms ago: what they said was true 200 ms ago, give or take 100. */
static void test_a_sample(void **state)
{
    int64_t now = clock_now(CLOCK_BOOTTIME), real = clock_now(CLOCK_REALTIME);
    struct clock_sample sample;

    (void)state;
    clock_sample(&sample, now - 300 * MS, now - 100 * MS, real + 5 * CLOCK_SECOND, true);
    assert_int_equal(sample.error, 100 * MS);
    assert_true(sample.trusted);
    /* However long this test was held up: the offset does not change by that. */
    assert_true(sample.offset > 5 * CLOCK_SECOND + 150 * MS && sample.offset < 5 * CLOCK_SECOND + 250 * MS);
    clock_sample(&sample, now, now, CLOCK_MAX, false);
    assert_true(sample.offset > 0);
    clock_sample(&sample, now, now, 0, false);
    assert_true(sample.offset < 0);
}

/* ---- Other clocks ---- */

static char sysfs[] = "/tmp/postern-sysfs.XXXXXX";

static void write_name(const char *name)
{
    char path[200];
    FILE *file;

    snprintf(path, sizeof path, "%s/class/ptp/null/clock_name", sysfs);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(name, file);
    fclose(file);
}

static void test_ptp(void **state)
{
    static const char *const folders[] = {"", "/class", "/class/ptp", "/class/ptp/null"};
    struct clock_sample sample;
    struct error err = ERROR_INIT;
    char path[200];

    (void)state;
    fails_with = 0;
    assert_non_null(mkdtemp(sysfs));
    assert_int_equal(clock_read_ptp("/nowhere/ptp0", sysfs, &sample, &err), -ENOENT);
    assert_int_equal(clock_read_ptp("/dev/null", sysfs, &sample, &err), -ENODEV);
    for (size_t i = 1; i < ARRAY_SIZE(folders); i++) {
        snprintf(path, sizeof path, "%s%s", sysfs, folders[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    write_name("ena-ptp\n");
    assert_int_equal(clock_read_ptp("/dev/null", sysfs, &sample, &err), -ENODEV);
    assert_string_equal(err.text, "the PTP clock /dev/null is \"ena-ptp\", not the hypervisor's");
    write_name("KVM virtual PTP\n");
    assert_int_equal(clock_read_ptp("/dev/null", sysfs, &sample, &err), 0);
    assert_true(sample.trusted);
    assert_int_equal((sample.real + sample.offset + CLOCK_SECOND / 2) / CLOCK_SECOND / 1000, PTP_TIME / 1000);
    fails_with = EOPNOTSUPP;
    assert_int_equal(clock_read_ptp("/dev/null", sysfs, &sample, &err), -EOPNOTSUPP);
    assert_non_null(strstr(err.text, "cannot read the PTP clock /dev/null: "));
    snprintf(path, sizeof path, "%s/class/ptp/null/clock_name", sysfs);
    assert_int_equal(unlink(path), 0);
    for (size_t i = ARRAY_SIZE(folders); i-- > 0;) {
        snprintf(path, sizeof path, "%s%s", sysfs, folders[i]);
        assert_int_equal(rmdir(path), 0);
    }
}

#define NSM ((struct nsm *)&nsm_ms) /* nothing looks into it */
static uint64_t nsm_ms;
static int nsm_code;

int __wrap_nsm_time(struct nsm *nsm, uint64_t *ret_ms, struct error *err);

int __wrap_nsm_time(struct nsm *nsm, uint64_t *ret_ms, struct error *err)
{
    assert_ptr_equal(nsm, NSM);
    *ret_ms = nsm_ms;
    return nsm_code < 0 ? error_set(err, nsm_code, "played") : 0;
}

static void test_nsm(void **state)
{
    struct clock_sample sample;
    struct error err = ERROR_INIT;

    (void)state;
    nsm_ms = (uint64_t)PTP_TIME * 1000;
    assert_int_equal(clock_read_nsm(NSM, &sample, &err), 0);
    assert_true(sample.trusted);
    assert_int_equal((sample.real + sample.offset + CLOCK_SECOND / 2) / CLOCK_SECOND / 1000, PTP_TIME / 1000);
    nsm_ms = UINT64_MAX;
    assert_int_equal(clock_read_nsm(NSM, &sample, &err), -ERANGE);
    nsm_code = -EIO;
    assert_int_equal(clock_read_nsm(NSM, &sample, &err), -EIO);
    assert_string_equal(err.text, "played");
}

static void test_words(void **state)
{
    char words[32];

    (void)state;
    assert_string_equal(clock_words(1204 * MS, words), "+1.204 s");
    assert_string_equal(clock_words(-1204 * MS, words), "-1.204 s");
    assert_string_equal(clock_words(MS / 2, words), "+0.5 ms");
    assert_string_equal(clock_words(-999 * MS, words), "-999.0 ms");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_small_is_let_be_then_slewed_then_stepped, make_clock),
        cmocka_unit_test_setup(test_nothing_is_older_than_the_build, make_clock),
        cmocka_unit_test_setup(test_the_parent_is_held_to_its_first_word, make_clock),
        cmocka_unit_test_setup(test_an_anchor_grows_old, make_clock),
        cmocka_unit_test_setup(test_the_hypervisor_is_followed_and_the_parent_held_to_it, make_clock),
        cmocka_unit_test_setup(test_what_the_parent_says_late_is_not_followed, make_clock),
        cmocka_unit_test(test_doing),
        cmocka_unit_test(test_a_sample),
        cmocka_unit_test(test_ptp),
        cmocka_unit_test(test_nsm),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
