/* Dialing a name with several addresses: in which order and when they are tried; and giving up in the middle of it. */
#include "dial_bench.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* ---- Several addresses ---- */

/* Tries it until it took no longer than it should on a machine that is not busy. */
static void try_in_time(bool (*attempt)(struct bench *bench))
{
    for (unsigned i = 0; i < TRIES; i++) {
        struct bench bench;
        three_addresses(&bench);
        bool in_time = attempt(&bench);
        close_bench(&bench);
        if (in_time) {
            return;
        }
    }
    fail_msg("it always takes too long, or too short");
}

static uint64_t between(unsigned first, unsigned second)
{
    return world.at_ms[second] - world.at_ms[first];
}

static bool fail_and_go_on(struct bench *bench)
{
    world.leads[0].code = ENETUNREACH;
    world.leads[1].port = refusing_port();
    world.leads[2].port = bench->port;
    begin(bench, "tcp://name.test:443");
    finish(bench, REASON_NONE);
    assert_string_equal(world.connected[0], "192.0.2.1:443");
    assert_string_equal(world.connected[1], "[2001:db8::2]:443");
    assert_string_equal(world.connected[2], "192.0.2.3:443");
    assert_string_equal(bench->peer, "192.0.2.3:443");
    return between(0, 2) < DIAL_ATTEMPT_DELAY_MS - 10;
}

static void test_the_next_address_follows_a_failure_at_once(void **state)
{
    (void)state;
    try_in_time(fail_and_go_on);
}

static void test_all_fail_and_the_last_is_told(void **state)
{
    struct bench bench;
    (void)state;
    three_addresses(&bench);
    world.leads[0].port = world.leads[1].port = refusing_port();
    world.leads[2].code = EHOSTUNREACH;
    begin(&bench, "tcp://name.test:443");
    finish(&bench, REASON_UNREACHABLE);
    assert_int_equal(world.connects, 3);
    assert_says(&bench, "cannot connect to tcp://name.test:443 (192.0.2.3:443): ");
    close_bench(&bench);
}

static bool wait_and_overtake(struct bench *bench)
{
    world.leads[0].port = bench->hole.port;
    world.leads[1].port = bench->port;
    begin(bench, "tcp://name.test:443");
    finish(bench, REASON_NONE);
    assert_int_equal(world.connects, 2);
    assert_string_equal(bench->peer, "[2001:db8::2]:443");
    return between(0, 1) >= DIAL_ATTEMPT_DELAY_MS - 10 && between(0, 1) <= DIAL_ATTEMPT_DELAY_MS + 100;
}

/* RFC 8305: one that does not answer holds up the next for 250 ms, and goes on trying beside it. */
static void test_a_silent_address_is_overtaken(void **state)
{
    (void)state;
    try_in_time(wait_and_overtake);
}

/* The third follows right after the refusal, and not after another 250 ms. */
static bool be_refused_in_the_race(struct bench *bench)
{
    struct addr to;
    world.leads[0].port = bench->hole.port;
    world.leads[1].port = refusing_port();
    world.leads[2].port = bench->hole.port;
    parse("tcp://name.test:443", &to);
    struct dial_options options = options_of(&to);
    options.timeout_ms = 600;
    begin_with(bench, &options);
    finish(bench, REASON_CONNECT_TIMEOUT);
    if (world.connects < 3) {
        return false;
    }
    assert_says(bench, " ms from 2 of 3 addresses tried, of 3; the last that failed: cannot connect to ");
    assert_says(bench, "([2001:db8::2]:443): Connection refused");
    return between(1, 2) < DIAL_ATTEMPT_DELAY_MS - 10;
}

static void test_an_address_that_fails_late_does_not_end_the_race(void **state)
{
    (void)state;
    try_in_time(be_refused_in_the_race);
}

static void test_a_timeout_tells_what_was_begun(void **state)
{
    struct bench bench;
    struct addr to;
    (void)state;
    three_addresses(&bench);
    world.leads[0].port = bench.hole.port;
    parse("tcp://name.test:443", &to);
    struct dial_options options = options_of(&to);
    options.timeout_ms = 60; /* the second's turn would come at 250 */
    begin_with(&bench, &options);
    finish(&bench, REASON_CONNECT_TIMEOUT);
    assert_says(
        &bench,
        "cannot connect to tcp://name.test:443: no answer within 60 ms from 1 of 1 addresses tried, of 3");
    close_bench(&bench);
}

/* ---- What is remembered ---- */

static struct avoid avoid;

static void remember(struct bench *bench, enum reason why)
{
    struct addr to;
    parse("tcp://name.test:443", &to);
    struct dial_options options = options_of(&to);
    options.avoid = &avoid;
    if (why == REASON_CONNECT_TIMEOUT) {
        options.timeout_ms = 20;
    }
    world.connects = 0;
    bench->calls = 0;
    begin_with(bench, &options);
    finish(bench, why);
    if (why == REASON_NONE) {
        drop_connection(bench);
    }
}

static void test_addresses_that_failed_come_last(void **state)
{
    struct bench bench;
    (void)state;
    three_addresses(&bench);
    memset(&avoid, 0, sizeof avoid);
    world.leads[0].code = ENETUNREACH;
    world.leads[1].port = refusing_port();
    world.leads[2].port = bench.port;
    remember(&bench, REASON_NONE);
    assert_int_equal(world.connects, 3);
    world.leads[0] = world.leads[2];
    remember(&bench, REASON_NONE);
    assert_int_equal(world.connects, 1);
    assert_string_equal(world.connected[0], "192.0.2.3:443");
    /* It fails in its turn, and those before have recovered. */
    world.leads[0].port = world.leads[1].port;
    world.leads[1] = world.leads[2];
    remember(&bench, REASON_NONE);
    assert_int_equal(world.connects, 2);
    assert_string_equal(world.connected[1], "192.0.2.1:443");
    world.leads[0] = world.leads[2];
    remember(&bench, REASON_NONE);
    assert_int_equal(world.connects, 1);
    assert_string_equal(world.connected[0], "192.0.2.1:443");
    close_bench(&bench);
}

static void test_addresses_that_are_silent_come_last(void **state)
{
    struct bench bench;
    (void)state;
    three_addresses(&bench);
    memset(&avoid, 0, sizeof avoid);
    world.leads[0].port = bench.hole.port;
    world.leads[1].port = world.leads[2].port = bench.port;
    remember(&bench, REASON_NONE);
    world.leads[0].port = bench.port;
    remember(&bench, REASON_NONE);
    assert_string_not_equal(world.connected[0], "192.0.2.1:443");
    close_bench(&bench);
}

static void test_nobody_answers_in_time(void **state)
{
    struct bench bench;
    (void)state;
    three_addresses(&bench);
    memset(&avoid, 0, sizeof avoid);
    for (unsigned i = 0; i < 3; i++) {
        world.leads[i].port = bench.hole.port;
    }
    remember(&bench, REASON_CONNECT_TIMEOUT);
    assert_true(avoid.list[0].until > 0);
    remember(&bench, REASON_CONNECT_TIMEOUT); /* all the same */
    assert_true(world.connects > 0);
    close_bench(&bench);
}

/* Want of descriptors is not the address's fault. */
static void test_own_failures_are_not_remembered(void **state)
{
    struct bench bench;
    (void)state;
    three_addresses(&bench);
    memset(&avoid, 0, sizeof avoid);
    for (unsigned i = 0; i < 3; i++) {
        world.leads[i].code = ENOBUFS;
    }
    remember(&bench, REASON_NO_MEMORY);
    assert_int_equal(avoid.list[0].until, 0);
    close_bench(&bench);
}

/* ---- Cancelling ---- */

static void test_cancelling_while_the_name_is_asked(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    dial_cancel(NULL);
    begin(&bench, "tcp://name.test:443");
    cancel(&bench);
    assert_int_equal(world.cancelled, 1);
    close_bench(&bench);
}

static void test_cancelling_while_connecting(void **state)
{
    struct bench bench;
    (void)state;
    three_addresses(&bench);
    world.leads[0].port = world.leads[1].port = bench.hole.port;
    begin(&bench, "tcp://name.test:443");
    WAIT_FOR(&bench.loopback, world.connects == 2);
    unsigned before = descriptors();
    cancel(&bench);
    assert_int_equal(descriptors(), before - 2);
    close_bench(&bench);
}

static void test_cancelling_before_a_failure_is_told(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    world.leads[0].code = ENETUNREACH;
    begin(&bench, "tcp://192.0.2.1:80");
    cancel(&bench);
    close_bench(&bench);
}

static void test_cancelling_before_success_is_told(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    world.leads[0].port = bench.port;
    begin(&bench, "tcp://192.0.2.1:80");
    cancel(&bench);
    close_bench(&bench);
}

static void test_cancelling_inside_of_the_callback(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    bench.then = THEN_CANCEL;
    world.leads[0].port = bench.port;
    unsigned before = descriptors();
    begin(&bench, "tcp://192.0.2.1:80");
    WAIT_FOR(&bench.loopback, bench.calls > 0);
    settle(&bench);
    assert_int_equal(bench.calls, 1);
    assert_int_equal(descriptors(), before); /* nobody took it over, so it is closed */
    world.connects = 0;
    world.leads[0].code = EACCES;
    begin(&bench, "tcp://192.0.2.1:80");
    finish(&bench, REASON_CONNECT_FAILED);
    close_bench(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_next_address_follows_a_failure_at_once),
        cmocka_unit_test(test_all_fail_and_the_last_is_told),
        cmocka_unit_test(test_a_silent_address_is_overtaken),
        cmocka_unit_test(test_an_address_that_fails_late_does_not_end_the_race),
        cmocka_unit_test(test_a_timeout_tells_what_was_begun),
        cmocka_unit_test(test_addresses_that_failed_come_last),
        cmocka_unit_test(test_addresses_that_are_silent_come_last),
        cmocka_unit_test(test_nobody_answers_in_time),
        cmocka_unit_test(test_own_failures_are_not_remembered),
        cmocka_unit_test(test_cancelling_while_the_name_is_asked),
        cmocka_unit_test(test_cancelling_while_connecting),
        cmocka_unit_test(test_cancelling_before_a_failure_is_told),
        cmocka_unit_test(test_cancelling_before_success_is_told),
        cmocka_unit_test(test_cancelling_inside_of_the_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
