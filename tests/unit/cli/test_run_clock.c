/* Who is asked for the time, and what is made of it. The kernel's setters are wrapped: no test sets a clock. */
#include "cli/run_clock.h"

#include "run_bench.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include <cmocka.h>

#define SECOND CLOCK_SECOND

static struct run_bench bench;
static struct run_clock clock_;
static struct settings settings;

/* ---- The kernel and the hypervisor, as played ---- */

#define NSM ((struct nsm *)&nsm_code) /* nothing looks into it */
static int set_code, ptp_code, nsm_code;
static const char *played; /* what fails says so */
static int64_t set_by, ptp_offset, nsm_offset;
static unsigned sets, slews, ptp_asked, nsm_asked, firsts;

int __wrap_clock_settime(clockid_t id, const struct timespec *to);
int __wrap_adjtime(const struct timeval *by, struct timeval *before);
int __wrap_clock_read_ptp(const char *device, const char *sysfs, struct clock_sample *ret, struct error *err);
int __wrap_clock_read_nsm(struct nsm *nsm, struct clock_sample *ret, struct error *err);

int __wrap_clock_settime(clockid_t id, const struct timespec *to)
{
    assert_int_equal(id, CLOCK_REALTIME);
    sets++;
    set_by = to->tv_sec * SECOND + to->tv_nsec - clock_now(CLOCK_REALTIME);
    errno = set_code;
    return set_code ? -1 : 0;
}

int __wrap_adjtime(const struct timeval *by, struct timeval *before)
{
    (void)by;
    (void)before;
    slews++;
    return 0;
}

static int sample_of(int64_t offset, int code, struct clock_sample *ret, struct error *err)
{
    int64_t now = clock_now(CLOCK_BOOTTIME);

    if (code < 0) {
        return error_set(err, code, "%s", played);
    }
    clock_sample(ret, now, now, clock_now(CLOCK_REALTIME) + offset, true);
    return 0;
}

int __wrap_clock_read_ptp(const char *device, const char *sysfs, struct clock_sample *ret, struct error *err)
{
    assert_string_equal(device, "/dev/ptp0");
    assert_string_equal(sysfs, "/sys");
    ptp_asked++;
    return sample_of(ptp_offset, ptp_code, ret, err);
}

int __wrap_clock_read_nsm(struct nsm *nsm, struct clock_sample *ret, struct error *err)
{
    assert_ptr_equal(nsm, NSM);
    nsm_asked++;
    return sample_of(nsm_offset, nsm_code, ret, err);
}

static void on_first(struct run_clock *clock UNUSED)
{
    firsts++;
}

static int setup(void **state)
{
    (void)state;
    ptp_code = -ENOENT;
    set_code = nsm_code = 0;
    played = "played";
    sets = slews = ptp_asked = nsm_asked = firsts = 0;
    ptp_offset = nsm_offset = set_by = 0;
    settings_init(&settings, NULL);
    settings.time = "time";
    settings.clock = SETTINGS_CLOCK_SET;
    settings.clock_interval = 20;
    run_bench_start(&bench);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    run_clock_stop(&clock_);
    run_bench_stop(&bench);
    settings_release(&settings);
    return 0;
}

static void begin(struct nsm *nsm)
{
    run_clock_init(&clock_, &settings, nsm, &bench.tell);
    clock_.first = on_first;
    run_clock_start(&clock_, &bench.loop, &bench.wire);
}

/* What was set is near what it was to be, however slow the machine. */
static void assert_set_by(int64_t offset)
{
    assert_true(set_by > offset - 20 * SECOND && set_by < offset + 20 * SECOND);
}

/* ---- The parent ---- */

static void test_the_parent_sets_the_clock(void **state)
{
    (void)state;
    bench.far.time_ahead = 3600 * SECOND;
    begin(NULL);
    WAIT_FOR(&bench.loop, sets > 0);
    assert_set_by(3600 * SECOND);
    assert_int_equal(bench.far.time_asked % RUN_CLOCK_WORDS, 0);
    assert_int_equal(firsts, 1);
    assert_true(run_bench_told(&bench, "clock: -3600."));
    assert_true(run_bench_told(&bench, " s by the parent's clock: set\n"));
    /* And again: the clock was not really set. What is told now says since when. */
    WAIT_FOR(&bench.loop, sets > 1);
    assert_true(run_bench_told(&bench, " after it was last right: set\n"));
    assert_int_equal(firsts, 1);
}

/* Else each start of an enclave would be a second longer. */
static void test_it_is_asked_as_soon_as_there_is_a_session(void **state)
{
    (void)state;
    bench.wire.times.again_ms = 24 * 3600 * 1000;
    begin(NULL);
    WAIT_FOR(&bench.loop, firsts == 1);
}

static void test_a_clock_that_is_right_is_left_alone(void **state)
{
    (void)state;
    begin(NULL);
    WAIT_FOR(&bench.loop, bench.far.time_asked >= 3 * RUN_CLOCK_WORDS);
    assert_int_equal(sets, 0);
    assert_false(run_bench_told(&bench, "clock: "));
    assert_int_equal(firsts, 1);
}

static void test_watching_changes_nothing(void **state)
{
    (void)state;
    settings.clock = SETTINGS_CLOCK_WATCH;
    bench.far.time_ahead = 3600 * SECOND;
    begin(NULL);
    WAIT_FOR(&bench.loop, run_bench_told(&bench, ": left as it is\n"));
    assert_int_equal(sets, 0);
}

static void begin_without_route(struct nsm *nsm)
{
    run_clock_init(&clock_, &settings, nsm, &bench.tell);
    run_clock_start(&clock_, &bench.loop, NULL);
}

static void test_nobody_to_ask(void **state)
{
    (void)state;
    begin_without_route(NULL);
    assert_true(run_bench_told(&bench, "clock: cannot be kept right: nobody tells the time"));
    WAIT_FOR(&bench.loop, ptp_asked >= 3);
    assert_false(clock_.known);
}

/* The NSM sets the clock, and then it drifts. */
static void test_nobody_to_ask_any_more(void **state)
{
    (void)state;
    begin_without_route(NSM);
    assert_true(clock_.known);
    assert_true(run_bench_told(
        &bench,
        "clock: is not kept right: the time was told at the start, and nobody tells it from "
        "now on; give `time` a route of the type `time`, or see that `ptp` is a device that is there\n"));
}

static void test_somebody_to_ask_is_enough(void **state)
{
    (void)state;
    ptp_code = 0;
    begin_without_route(NSM);
    run_clock_stop(&clock_);
    begin_without_route(NULL);
    run_clock_stop(&clock_);
    ptp_code = -ENOENT;
    settings.clock = SETTINGS_CLOCK_WATCH; /* as it is where nothing is said */
    begin_without_route(NULL);
    assert_false(run_bench_told(&bench, "clock: "));
}

static void test_off_is_off(void **state)
{
    (void)state;
    settings.clock = SETTINGS_CLOCK_OFF;
    begin(NSM);
    assert_int_equal(ptp_asked + nsm_asked, 0);
    WAIT_FOR(&bench.loop, run_bench_told(&bench, "there is a session"));
    assert_int_equal(bench.far.opened, 0);
}

static void test_a_clock_that_may_not_be_set(void **state)
{
    (void)state;
    set_code = EPERM;
    bench.far.time_ahead = 3600 * SECOND;
    begin(NULL);
    WAIT_FOR(&bench.loop, sets >= 3);
    assert_true(run_bench_told(&bench, "clock: cannot set the clock: "));
    /* Told once. */
    assert_null(strstr(strstr(text_string(&bench.told), "cannot set the clock") + 1, "cannot set the clock"));
    assert_int_equal(firsts, 1);
}

/* The parent's second word is held to its first. */
static void test_a_parent_that_jumps(void **state)
{
    (void)state;
    begin(NULL);
    WAIT_FOR(&bench.loop, firsts == 1);
    bench.far.time_ahead = 3600 * SECOND;
    WAIT_FOR(&bench.loop, run_bench_told(&bench, "further than clock_bound allows: not followed\n"));
    assert_int_equal(sets, 0);
}

static void test_a_parent_before_the_build(void **state)
{
    (void)state;
    bench.far.time_ahead = -clock_now(CLOCK_REALTIME) + SECOND;
    begin(NULL);
    WAIT_FOR(&bench.loop,
             run_bench_told(&bench, "the parent's clock's time is before this program was built"));
    assert_int_equal(sets + firsts, 0);
}

static void test_answers_that_are_none(void **state)
{
    (void)state;
    bench.far.time_wrong = true;
    begin(NULL);
    WAIT_FOR(&bench.loop,
             run_bench_told(&bench, "route time does not tell the time: what it answers is none; see that "
                                    "the parent's postern.yaml has it with `type: time`\n"));
    bench.far.time_wrong = false;
    WAIT_FOR(&bench.loop, firsts == 1);
}

/* Else a parent that never answers would never be asked again, and nobody would be told. */
static void test_a_parent_that_does_not_answer(void **state)
{
    (void)state;
    bench.far.time_silent = true;
    begin(NULL);
    assert_int_equal(clock_.patience_ms, RUN_CLOCK_PATIENCE_MS);
    clock_.patience_ms = 20;
    WAIT_FOR(&bench.loop, bench.far.time_asked > 0);
    WAIT_FOR(&bench.loop,
             run_bench_told(&bench, "route time does not tell the time: it does not answer; see that "));
    assert_int_equal(firsts, 0);
    clock_.patience_ms = RUN_CLOCK_PATIENCE_MS;
    bench.far.time_silent = false;
    WAIT_FOR(&bench.loop, firsts == 1);
}

static void on_drained(struct cli_link *link)
{
    (void)link;
}

/* The daemon has not gone away: it is we who do. */
static void test_our_own_end_is_not_blamed_on_the_daemon(void **state)
{
    (void)state;
    bench.far.time_silent = true;
    begin(NULL);
    WAIT_FOR(&bench.loop, bench.far.time_asked > 0);
    run_wire_drain(&bench.wire, 20, on_drained);
    WAIT_FOR(&bench.loop, run_bench_told(&bench, "route time does not tell the time: "));
    assert_true(run_bench_told(&bench, "had not answered when the app ended; see that the parent's "
                                       "postern.yaml has it with `type: time`\n"));
    assert_false(run_bench_told(&bench, "going_away"));
}

static void test_a_time_beyond_all_years(void **state)
{
    (void)state;
    bench.far.time_ahead = INT64_MAX - clock_now(CLOCK_REALTIME);
    begin(NULL);
    WAIT_FOR(&bench.loop, run_bench_told(&bench, "route time does not tell the time: "));
    assert_int_equal(sets, 0);
}

static void test_a_route_that_is_refused(void **state)
{
    (void)state;
    bench.far.deny = true;
    begin(NULL);
    WAIT_FOR(&bench.loop, run_bench_told(&bench, "route time does not tell the time: denied_route"));
    assert_int_equal(firsts, 0);
}

static void test_a_route_that_ends_at_once(void **state)
{
    (void)state;
    settings.time = "reset";
    begin(NULL);
    WAIT_FOR(&bench.loop, run_bench_told(&bench, "route reset does not tell the time: upstream_reset"));
}

/* More than an answer, or one nobody asked for, is none either. */
static void test_a_route_that_babbles(void **state)
{
    (void)state;
    settings.time = "1";
    begin(NULL);
    WAIT_FOR(&bench.loop, run_bench_told(&bench, "route 1 does not tell the time: "));
    assert_int_equal(firsts, 0);
}

static void test_a_session_that_breaks_is_followed_by_another(void **state)
{
    (void)state;
    begin(NULL);
    WAIT_FOR(&bench.loop, firsts == 1);
    far_cut(&bench.far);
    WAIT_FOR(&bench.loop, bench.far.connections == 2);
    unsigned asked = bench.far.time_asked;
    WAIT_FOR(&bench.loop, bench.far.time_asked > asked);
}

/* ---- The hypervisor ---- */

static void test_ptp_is_followed_and_the_parent_not_asked(void **state)
{
    (void)state;
    ptp_code = 0;
    ptp_offset = 1000 * SECOND;
    begin(NSM);
    assert_int_equal(sets, 2); /* before anything else, and when it goes on by itself */
    assert_set_by(1000 * SECOND);
    assert_true(run_bench_told(&bench, " by the PTP clock: set\n"));
    ptp_offset = SECOND / 4;
    WAIT_FOR(&bench.loop, slews > 0);
    assert_true(run_bench_told(&bench, " after it was last right: being slewed\n"));
    assert_int_equal(nsm_asked, 0);
    assert_int_equal(bench.far.opened, 0);
}

static void test_no_ptp_by_the_settings(void **state)
{
    (void)state;
    settings.ptp = "none";
    begin(NULL);
    WAIT_FOR(&bench.loop, firsts == 1);
    assert_int_equal(ptp_asked, 0);
}

static void test_a_ptp_clock_that_fails_is_told_and_the_parent_asked(void **state)
{
    (void)state;
    ptp_code = -EIO;
    begin(NULL);
    WAIT_FOR(&bench.loop, firsts == 1);
    assert_true(run_bench_told(&bench, "clock: played\n"));
}

/* And the same again is not told: it is the whole of it that is compared, which may differ late. */
static void test_another_trouble_is_told_however_it_begins(void **state)
{
    (void)state;
    char text[400];
    snprintf(text, sizeof text, "%0300d first", 0);
    played = text;
    ptp_code = -EIO;
    begin_without_route(NULL);
    WAIT_FOR(&bench.loop, ptp_asked >= 4);
    assert_true(run_bench_told(&bench, "0 first\n"));
    assert_null(strstr(strstr(text_string(&bench.told), "0 first") + 1, "0 first"));
    snprintf(text, sizeof text, "%0300d second", 0);
    WAIT_FOR(&bench.loop, run_bench_told(&bench, "0 second\n"));
}

static void test_the_nsm_sets_the_clock_and_binds_the_parent(void **state)
{
    (void)state;
    nsm_offset = 1000 * SECOND;
    bench.far.time_ahead = 3600 * SECOND;
    begin(NSM);
    assert_int_equal(nsm_asked, 1);
    assert_int_equal(sets, 1);
    assert_set_by(1000 * SECOND);
    assert_true(run_bench_told(&bench, " by the NSM: set\n"));
    assert_true(clock_.known);
    WAIT_FOR(&bench.loop, run_bench_told(&bench, "further than clock_bound allows: not followed\n"));
    assert_int_equal(sets, 1);
    bench.far.time_ahead = 1010 * SECOND;
    WAIT_FOR(&bench.loop, sets > 1);
    assert_set_by(1010 * SECOND);
    assert_int_equal(nsm_asked, 1);
}

static void test_an_nsm_that_fails(void **state)
{
    (void)state;
    nsm_code = -EIO;
    begin(NSM);
    assert_true(run_bench_told(&bench, "clock: played\n"));
    assert_false(clock_.known);
    WAIT_FOR(&bench.loop, firsts == 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_parent_sets_the_clock),
        TEST(test_it_is_asked_as_soon_as_there_is_a_session),
        TEST(test_a_clock_that_is_right_is_left_alone),
        TEST(test_watching_changes_nothing),
        TEST(test_nobody_to_ask),
        TEST(test_nobody_to_ask_any_more),
        TEST(test_somebody_to_ask_is_enough),
        TEST(test_off_is_off),
        TEST(test_a_clock_that_may_not_be_set),
        TEST(test_a_parent_that_jumps),
        TEST(test_a_parent_before_the_build),
        TEST(test_answers_that_are_none),
        TEST(test_a_parent_that_does_not_answer),
        TEST(test_our_own_end_is_not_blamed_on_the_daemon),
        TEST(test_a_time_beyond_all_years),
        TEST(test_a_route_that_is_refused),
        TEST(test_a_route_that_ends_at_once),
        TEST(test_a_route_that_babbles),
        TEST(test_a_session_that_breaks_is_followed_by_another),
        TEST(test_ptp_is_followed_and_the_parent_not_asked),
        TEST(test_no_ptp_by_the_settings),
        TEST(test_a_ptp_clock_that_fails_is_told_and_the_parent_asked),
        TEST(test_another_trouble_is_told_however_it_begins),
        TEST(test_the_nsm_sets_the_clock_and_binds_the_parent),
        TEST(test_an_nsm_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
