/* Dialing one address, or a name with one: every way in which it can end, and who hears of it how often. */
#include "dial_bench.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- One address ---- */

static void test_a_literal_address(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    world.leads[0].port = bench.port;
    begin(&bench, "tcp://192.0.2.7:443");
    finish(&bench, REASON_NONE);
    assert_string_equal(world.connected[0], "192.0.2.7:443");
    assert_string_equal(bench.peer, "192.0.2.7:443");
    assert_int_equal(bench.kind, ADDR_TCP);
    assert_false(bench.stale);
    close_bench(&bench);
}

static void test_a_watcher_that_is_removed_leaves_the_descriptor(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    bench.then = THEN_REMOVE;
    world.leads[0].port = bench.port;
    begin(&bench, "tcp://192.0.2.7:443");
    finish(&bench, REASON_NONE);
    assert_int_equal(write(bench.fd, "x", 1), 1);
    close_bench(&bench);
}

static void test_a_unix_socket(void **state)
{
    struct bench bench;
    char name[64];
    (void)state;
    open_bench(&bench);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int size = snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "postern-dial-%d", (int)getpid());
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at,
                          (socklen_t)(sizeof at.sun_family + 1 + (size_t)size)),
                     0);
    assert_int_equal(listen(listener, 5), 0);
    snprintf(name, sizeof name, "unix://@%s", at.sun_path + 1);
    begin(&bench, name);
    finish(&bench, REASON_NONE);
    assert_int_equal(bench.kind, ADDR_UNIX);
    close(listener);
    drop_connection(&bench);
    begin(&bench, name);
    finish(&bench, REASON_CONNECT_REFUSED);
    begin(&bench, "unix:///no/such/socket");
    finish(&bench, REASON_UNREACHABLE);
    assert_says(&bench, "cannot connect to unix:///no/such/socket");
    assert_says(&bench, "No such file or directory");
    close_bench(&bench);
}

static void test_every_errno_has_its_reason(void **state)
{
    static const struct {
        int code;
        enum reason why;
    } cases[] = {
        {ECONNREFUSED, REASON_CONNECT_REFUSED},
        {ECONNRESET, REASON_CONNECT_REFUSED},
        {ETIMEDOUT, REASON_CONNECT_TIMEOUT},
        {ENETUNREACH, REASON_UNREACHABLE},
        {EHOSTUNREACH, REASON_UNREACHABLE},
        {ENODEV, REASON_UNREACHABLE},
        {ENOENT, REASON_UNREACHABLE},
        {EADDRNOTAVAIL, REASON_UNREACHABLE},
        {EMFILE, REASON_NO_DESCRIPTORS},
        {ENFILE, REASON_NO_DESCRIPTORS},
        {ENOMEM, REASON_NO_MEMORY},
        {ENOBUFS, REASON_NO_MEMORY},
        {EACCES, REASON_CONNECT_FAILED},
        {EPROTO, REASON_CONNECT_FAILED},
    };
    struct bench bench;
    (void)state;
    open_bench(&bench);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        world.connects = 0;
        world.leads[0].code = cases[i].code;
        begin(&bench, "tcp://192.0.2.1:80");
        finish(&bench, cases[i].why);
        assert_says(&bench, "cannot connect to tcp://192.0.2.1:80 (192.0.2.1:80): ");
        assert_says(&bench, error_words(-cases[i].code));
    }
    close_bench(&bench);
}

static void test_a_refusal_that_comes_later(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    world.leads[0].port = refusing_port();
    begin(&bench, "tcp://192.0.2.1:80");
    finish(&bench, REASON_CONNECT_REFUSED);
    close_bench(&bench);
}

static void test_a_vsock_refusal_is_told_in_its_words(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    world.leads[0].code = ECONNRESET;
    begin(&bench, "vsock://16:5000");
    finish(&bench, REASON_CONNECT_REFUSED);
    assert_says(&bench, "cannot connect to vsock://16:5000 (vsock 16:5000): nothing listens at that port");
    world.connects = 0;
    world.leads[0].code = world.leads[1].code = ENODEV;
    begin(&bench, "vsock://16:5000");
    finish(&bench, REASON_UNREACHABLE);
    assert_int_equal(world.connects, 2); /* once more, through the parent */
    close_bench(&bench);
}

static void test_an_address_that_is_none(void **state)
{
    struct addr to = {.kind = ADDR_VSOCK, .cid_by_name = true, .port = 1, .host = "payroll"};
    struct dial_options options = options_of(&to);
    struct bench bench;
    (void)state;
    open_bench(&bench);
    begin_with(&bench, &options);
    finish(&bench, REASON_CONNECT_FAILED);
    assert_says(&bench, "cannot connect to vsock://payroll:1: Invalid argument");
    close_bench(&bench);
}

static void test_a_timeout(void **state)
{
    struct bench bench;
    struct addr to;
    (void)state;
    open_bench(&bench);
    world.leads[0].port = bench.hole.port;
    parse("tcp://192.0.2.1:80", &to);
    struct dial_options options = options_of(&to);
    options.timeout_ms = 60;
    uint64_t began = uv_hrtime();
    begin_with(&bench, &options);
    finish(&bench, REASON_CONNECT_TIMEOUT);
    assert_true(uv_hrtime() - began >= 55 * 1000000u);
    assert_says(&bench, "cannot connect to tcp://192.0.2.1:80: no answer within 60 ms");
    close_bench(&bench);
}

/* ---- Names ---- */

static void test_an_answer_out_of_the_cache(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    world.result = 1;
    world.answer.stale = true;
    add_address("203.0.113.9");
    world.leads[0].port = bench.port;
    begin(&bench, "tcp://name.test:8443");
    finish(&bench, REASON_NONE);
    assert_string_equal(bench.peer, "203.0.113.9:8443");
    assert_true(bench.stale);
    close_bench(&bench);
}

static void test_an_answer_that_comes_later(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    add_address("2001:db8::1");
    world.leads[0].port = bench.port;
    begin(&bench, "tcp://name.test:443");
    settle(&bench);
    assert_int_equal(world.connects, 0);
    answer_now();
    finish(&bench, REASON_NONE);
    assert_string_equal(bench.peer, "[2001:db8::1]:443");
    close_bench(&bench);
}

static void test_no_answer(void **state)
{
    static const enum reason reasons[] = {REASON_DNS_NOT_FOUND, REASON_DNS_TIMEOUT, REASON_DNS_FAILED};
    struct bench bench;
    (void)state;
    open_bench(&bench);
    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
        world.why = reasons[i];
        begin(&bench, "tcp://name.test:443");
        answer_now();
        finish(&bench, reasons[i]);
        assert_says(&bench, "cannot resolve name.test: ");
        assert_says(&bench, reason_meaning(reasons[i]));
    }
    assert_int_equal(world.connects, 0);
    close_bench(&bench);
}

static void test_the_resolver_lacks_memory(void **state)
{
    struct bench bench;
    struct addr to;
    (void)state;
    open_bench(&bench);
    parse("tcp://name.test:443", &to);
    struct dial_options options = options_of(&to);
    world.result = -ENOMEM;
    begin_with(&bench, &options);
    finish(&bench, REASON_NO_MEMORY);
    assert_says(&bench, "cannot connect to tcp://name.test:443: Cannot allocate memory");
    close_bench(&bench);
}

static void dial_guarded(struct bench *bench, bool public_only, int family)
{
    struct addr to;
    parse("tcp://name.test:443", &to);
    struct dial_options options = options_of(&to);
    options.public_only = public_only;
    options.family = family;
    world.connects = 0;
    begin_with(bench, &options);
}

static void test_the_guard(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    world.result = 1;
    add_address("127.0.0.1");
    add_address("169.254.169.254");
    add_address("::ffff:10.0.0.1");
    dial_guarded(&bench, true, 0);
    finish(&bench, REASON_DENIED_ADDRESS);
    assert_int_equal(world.connects, 0);
    assert_says(&bench, "name.test resolves only to addresses that are not public (");
    /* One that passes is enough, and it alone is tried. */
    add_address("8.8.8.8");
    world.leads[0].port = bench.port;
    dial_guarded(&bench, true, 0);
    finish(&bench, REASON_NONE);
    assert_int_equal(world.connects, 1);
    assert_string_equal(bench.peer, "8.8.8.8:443");
    drop_connection(&bench);
    dial_guarded(&bench, false, 0); /* allow_private */
    finish(&bench, REASON_NONE);
    assert_string_equal(bench.peer, "127.0.0.1:443");
    close_bench(&bench);
}

/* The same when the answer comes later. */
static void test_the_guard_after_a_query(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    add_address("10.0.0.1");
    dial_guarded(&bench, true, 0);
    answer_now();
    assert_int_equal(bench.calls, 0);
    finish(&bench, REASON_DENIED_ADDRESS);
    close_bench(&bench);
}

static void test_one_family_only(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench);
    world.result = 1;
    add_address("2001:db8::1");
    world.leads[0].port = world.leads[1].port = bench.port;
    dial_guarded(&bench, false, AF_INET);
    finish(&bench, REASON_DNS_NOT_FOUND);
    assert_says(&bench, "name.test has no address of the wanted family");
    add_address("192.0.2.1");
    dial_guarded(&bench, false, AF_INET);
    finish(&bench, REASON_NONE);
    assert_string_equal(bench.peer, "192.0.2.1:443");
    drop_connection(&bench);
    dial_guarded(&bench, false, AF_INET6);
    finish(&bench, REASON_NONE);
    assert_string_equal(bench.peer, "[2001:db8::1]:443");
    close_bench(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_literal_address),
        cmocka_unit_test(test_a_watcher_that_is_removed_leaves_the_descriptor),
        cmocka_unit_test(test_a_unix_socket),
        cmocka_unit_test(test_every_errno_has_its_reason),
        cmocka_unit_test(test_a_refusal_that_comes_later),
        cmocka_unit_test(test_a_vsock_refusal_is_told_in_its_words),
        cmocka_unit_test(test_an_address_that_is_none),
        cmocka_unit_test(test_a_timeout),
        cmocka_unit_test(test_an_answer_out_of_the_cache),
        cmocka_unit_test(test_an_answer_that_comes_later),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_the_resolver_lacks_memory),
        cmocka_unit_test(test_the_guard),
        cmocka_unit_test(test_the_guard_after_a_query),
        cmocka_unit_test(test_one_family_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
