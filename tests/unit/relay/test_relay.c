/* A relay's life from the dial on: bytes, half-closes, failures of either side, time, and its end from outside. */
#include "relay_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static struct relay_bench bench;

static int set_up(void **state)
{
    (void)state;
    relay_bench_open(&bench);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    relay_bench_close(&bench);
    return 0;
}

static void hear_both(void)
{
    if (bench.client.fd >= 0) {
        peer_hear(&bench.client);
    }
    if (bench.upstream.fd >= 0) {
        peer_hear(&bench.upstream);
    }
}

/* ---- Bytes and half-closes ---- */

static void test_bytes_both_ways_and_both_orders_of_the_end(void **state)
{
    (void)state;
    for (int client_first = 0; client_first <= 1; client_first++) {
        relay_bench_establish(&bench, pair_of_tcp);
        struct peer *first = client_first ? &bench.client : &bench.upstream;
        struct peer *second = client_first ? &bench.upstream : &bench.client;
        peer_say(&bench.client, 1000);
        peer_say(&bench.upstream, 2000);
        WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->heard == 1000);
        WAIT_FOR(&bench.loopback, peer_hear(&bench.client)->heard == 2000);
        peer_finish(first);
        WAIT_FOR(&bench.loopback, peer_hear(second)->ended);
        /* The other direction goes on. */
        peer_say(second, 300);
        WAIT_FOR(&bench.loopback, peer_hear(first)->heard >= 300 + (client_first ? 2000u : 1000u));
        assert_false(first->ended);
        assert_int_equal(bench.relay.state, RELAY_HALF_CLOSED);
        peer_finish(second);
        WAIT_FOR(&bench.loopback, peer_hear(first)->ended);
        relay_bench_finish(&bench, REASON_FINISHED);
        assert_int_equal(bench.opened, 1);
        assert_int_equal(bench.moved_in, bench.client.sent);
        assert_int_equal(bench.moved_out, bench.upstream.sent);
        relay_bench_reset(&bench);
    }
}

static void test_a_client_over_a_unix_socket(void **state)
{
    char text[ADDR_TEXT_MAX];
    (void)state;
    relay_bench_establish(&bench, pair_of_unix);
    peer_say(&bench.client, 10);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->heard == 10);
    snprintf(text, sizeof text, "127.0.0.1:%u", bench.port);
    char buffer[ADDR_TEXT_MAX];
    assert_string_equal(relay_upstream_address(&bench.relay, buffer), text);
    peer_close(&bench.client); /* both ways at once */
    WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->ended);
    relay_bench_finish(&bench, REASON_FINISHED);
}

static void test_an_upstream_at_a_unix_socket(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char buffer[ADDR_TEXT_MAX];
    (void)state;
    int size = snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "postern-relay-%d", (int)getpid());
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at,
                          (socklen_t)(sizeof at.sun_family + 1 + (size_t)size)),
                     0);
    assert_int_equal(listen(listener, 5), 0);
    bench.route.to = (struct addr){.kind = ADDR_UNIX};
    snprintf(bench.route.to.host, sizeof bench.route.to.host, "@%s", at.sun_path + 1);
    relay_bench_start(&bench, pair_of_tcp);
    peer_init(&bench.upstream, accept_one(&bench.loopback, listener));
    WAIT_FOR(&bench.loopback, bench.opened == 1);
    assert_null(relay_upstream_address(&bench.relay, buffer));
    assert_non_null(strstr(relay_destination(&bench.relay, buffer), "unix://@postern-relay-"));
    peer_say(&bench.client, 10);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->heard == 10);
    peer_close(&bench.upstream);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.client)->ended);
    relay_bench_finish(&bench, REASON_FINISHED);
    close(listener);
}

/* A program that sends all and closes, without waiting for an answer that is on its way. */
static void test_a_unix_client_that_closes_before_the_answer(void **state)
{
    (void)state;
    relay_bench_establish(&bench, pair_of_unix);
    peer_say(&bench.client, 5000);
    peer_close(&bench.client);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->ended || bench.upstream.error != 0);
    assert_int_equal(bench.upstream.heard, 5000);
    assert_int_equal(bench.upstream.error, 0);
    WAIT_FOR(&bench.loopback, bench.ended == 1);
}

static void test_a_slow_reader_holds_up_its_sender_and_loses_nothing(void **state)
{
    (void)state;
    relay_bench_establish(&bench, pair_of_tcp);
    size_t stuck = 0, sent = 0;
    while (stuck < 20) {
        size_t n = peer_fill(&bench.upstream);
        sent += n;
        stuck = n == 0 ? stuck + 1 : 0;
        loopback_turn(&bench.loopback);
    }
    assert_true(bench.relay.out.blocked);
    assert_in_range(bench.relay.out.held_length, 0, FLOW_CHUNK_MAX);
    assert_true(bench.relay.upstream.stream.muted);
    /* Meanwhile the other direction moves, and the loop is not kept busy. */
    peer_say(&bench.client, 100);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->heard == 100);
    peer_finish(&bench.upstream);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.client)->ended);
    assert_int_equal(bench.client.heard, sent);
    assert_int_equal(bench.moved_out, sent);
    peer_finish(&bench.client);
    relay_bench_finish(&bench, REASON_FINISHED);
}

static void test_bulk_goes_through_pipes_that_come_back(void **state)
{
    const size_t total = 24u << 20;
    unsigned most = 0;
    (void)state;
    relay_bench_establish(&bench, pair_of_tcp);
    while (bench.client.sent < total) {
        peer_say(&bench.client, total - bench.client.sent);
        loopback_turn(&bench.loopback);
        peer_hear(&bench.upstream);
        most = bench.loopback.loop.pipes.count > most ? bench.loopback.loop.pipes.count : most;
    }
    peer_finish(&bench.client);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->ended);
    assert_int_equal(bench.upstream.heard, total);
    assert_int_equal(most, 1);
    assert_null(bench.relay.in.pipe);
    peer_finish(&bench.upstream);
    relay_bench_finish(&bench, REASON_FINISHED);
}

/* Urgent data cuts a read short though there is more behind it, and a splice too. The byte itself is not among the
 * others here: sock_listen() and sock_connect() would have put it there. */
static void test_urgent_data_holds_nothing_up(void **state)
{
    static const size_t sizes[] = {500, 300000};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        relay_bench_establish(&bench, pair_of_tcp);
        assert_int_equal(peer_say(&bench.client, sizes[i]), sizes[i]);
        assert_int_equal(send(bench.client.fd, "!", 1, MSG_OOB), 1);
        assert_int_equal(peer_say(&bench.client, sizes[i]), sizes[i]);
        WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->heard == 2 * sizes[i]);
        assert_int_equal(send(bench.client.fd, "!", 1, MSG_OOB), 1);
        assert_int_equal(peer_say(&bench.client, sizes[i]), sizes[i]);
        peer_finish(&bench.client);
        WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->ended);
        assert_int_equal(bench.upstream.heard, 3 * sizes[i]);
        peer_finish(&bench.upstream);
        relay_bench_finish(&bench, REASON_FINISHED);
        relay_bench_reset(&bench);
    }
}

/* So does a descriptor that a client passes, which goes nowhere. */
static void test_a_passed_descriptor_holds_nothing_up(void **state)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {
        .header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec part = {.iov_len = 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    (void)state;
    relay_bench_establish(&bench, pair_of_unix);
    unsigned open_before = descriptors();
    part.iov_base = &bench.client.next;
    memcpy(CMSG_DATA(&control.header), &bench.client.fd, sizeof(int));
    assert_int_equal(sendmsg(bench.client.fd, &message, 0), 1);
    bench.client.next++;
    assert_int_equal(peer_say(&bench.client, 500), 500);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->heard == 501);
    assert_int_equal(descriptors(), open_before);
    peer_close(&bench.client);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->ended);
    relay_bench_finish(&bench, REASON_FINISHED);
}

/* ---- A side that fails ---- */

static void test_a_client_that_aborts_is_heard_out_and_the_upstream_cut(void **state)
{
    (void)state;
    relay_bench_establish(&bench, pair_of_tcp);
    peer_say(&bench.client, 5000);
    peer_reset(&bench.client);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->error != 0 || bench.upstream.ended);
    assert_int_equal(bench.upstream.error, -ECONNRESET);
    relay_bench_finish(&bench, REASON_CLIENT_RESET);
    assert_int_equal(bench.moved_in, 5000);
}

static void test_an_upstream_that_aborts_is_heard_out_and_the_client_cut(void **state)
{
    (void)state;
    relay_bench_establish(&bench, pair_of_tcp);
    peer_say(&bench.upstream, 5000);
    peer_reset(&bench.upstream);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.client)->error != 0 || bench.client.ended);
    assert_int_equal(bench.client.error, -ECONNRESET);
    relay_bench_finish(&bench, REASON_UPSTREAM_RESET);
    assert_int_equal(bench.moved_out, 5000);
}

/* It aborts while bytes for it are waiting: the write hears of it first, and the read after it finds an end, which is
 * none. */
static void test_an_abort_that_a_write_hears_of(void **state)
{
    (void)state;
    relay_bench_establish(&bench, pair_of_tcp);
    for (int stuck = 0; stuck < 20;) {
        stuck = peer_fill(&bench.upstream) == 0 ? stuck + 1 : 0;
        loopback_turn(&bench.loopback);
    }
    assert_true(bench.relay.out.blocked);
    peer_say(&bench.client, 1000);
    peer_reset(&bench.client);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->error != 0 || bench.upstream.ended);
    assert_int_equal(bench.upstream.error, -ECONNRESET);
    relay_bench_finish(&bench, REASON_CLIENT_RESET);
}

static void test_an_abort_after_the_half_close(void **state)
{
    (void)state;
    relay_bench_establish(&bench, pair_of_tcp);
    peer_finish(&bench.client);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->ended);
    peer_reset(&bench.upstream);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.client)->error != 0 || bench.client.ended);
    assert_int_equal(bench.client.error, -ECONNRESET);
    relay_bench_finish(&bench, REASON_UPSTREAM_RESET);
}

static void test_a_client_that_aborts_while_its_bytes_wait(void **state)
{
    (void)state;
    relay_bench_establish(&bench, pair_of_tcp);
    for (int stuck = 0; stuck < 20;) {
        stuck = peer_fill(&bench.client) == 0 ? stuck + 1 : 0;
        loopback_turn(&bench.loopback);
    }
    assert_true(bench.relay.in.blocked);
    peer_reset(&bench.client);
    loopback_pass(&bench.loopback, 5);
    assert_int_equal(bench.ended, 0); /* what it said is still to be delivered */
    WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->error != 0 || bench.upstream.ended);
    assert_int_equal(bench.upstream.error, -ECONNRESET);
    relay_bench_finish(&bench, REASON_CLIENT_RESET);
}

static void test_a_unix_client_gone_while_bytes_for_it_wait(void **state)
{
    (void)state;
    relay_bench_establish(&bench, pair_of_unix);
    for (int stuck = 0; stuck < 20;) {
        stuck = peer_fill(&bench.upstream) == 0 ? stuck + 1 : 0;
        loopback_turn(&bench.loopback);
    }
    assert_true(bench.relay.out.blocked);
    peer_close(&bench.client);
    WAIT_FOR(&bench.loopback, bench.ended == 1);
    assert_int_equal(bench.why, REASON_CLIENT_RESET);
}

/* As a vsock peer is: no report says that it may be written to, and the bytes for it would wait until a timeout. */
static void test_a_peer_gone_of_which_no_report_tells(void **state)
{
    struct relay *relay = &bench.relay;
    (void)state;
    relay_bench_establish(&bench, pair_of_unix);
    for (int stuck = 0; stuck < 20;) {
        stuck = peer_fill(&bench.upstream) == 0 ? stuck + 1 : 0;
        loopback_turn(&bench.loopback);
    }
    assert_true(relay->out.blocked);
    peer_close(&bench.client);
    relay->client.stream.hung_up = true;
    relay->client.stream.cb(&relay->client.stream, STREAM_READABLE);
    assert_true(relay->out.broken);
    relay_bench_finish(&bench, REASON_CLIENT_RESET);
}

/* ---- Before it is open ---- */

static void test_what_the_client_says_while_dialing_is_delivered(void **state)
{
    (void)state;
    relay_bench_start(&bench, pair_of_tcp);
    peer_say(&bench.client, 100);
    peer_finish(&bench.client);
    relay_bench_accept(&bench);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->ended);
    assert_int_equal(bench.upstream.heard, 100);
    peer_say(&bench.upstream, 50);
    peer_finish(&bench.upstream);
    relay_bench_finish(&bench, REASON_FINISHED);
    assert_int_equal(peer_hear(&bench.client)->heard, 50);
}

static void test_a_unix_client_gone_before_the_dial_is_done(void **state)
{
    (void)state;
    relay_bench_start(&bench, pair_of_unix);
    peer_say(&bench.client, 100);
    peer_close(&bench.client);
    relay_bench_accept(&bench);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->ended);
    assert_int_equal(bench.upstream.heard, 100);
    relay_bench_finish(&bench, REASON_FINISHED);
}

static void test_a_client_that_aborts_while_dialing(void **state)
{
    struct blackhole hole;
    (void)state;
    blackhole_open(&hole);
    relay_bench_lead(&bench, hole.port);
    relay_bench_start(&bench, pair_of_tcp);
    loopback_pass(&bench.loopback, 5);
    assert_int_equal(bench.relay.state, RELAY_DIALING);
    peer_reset(&bench.client);
    relay_bench_finish(&bench, REASON_CLIENT_RESET);
    assert_int_equal(bench.opened, 0);
    blackhole_close(&hole);
}

static void test_a_dial_that_fails_is_told_with_its_words(void **state)
{
    (void)state;
    relay_bench_lead(&bench, refusing_port());
    relay_bench_start(&bench, pair_of_tcp);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.client)->error != 0 || bench.client.ended);
    assert_int_equal(bench.client.error, -ECONNRESET);
    relay_bench_finish(&bench, REASON_CONNECT_REFUSED);
    assert_non_null(strstr(bench.detail, "cannot connect to tcp://127.0.0.1:"));
    assert_int_equal(bench.opened, 0);
}

static void test_a_dial_that_takes_too_long(void **state)
{
    struct blackhole hole;
    (void)state;
    blackhole_open(&hole);
    relay_bench_lead(&bench, hole.port);
    bench.route.connect_timeout_ms = 50;
    bench.route.first_byte_timeout_ms = bench.route.idle_timeout_ms = 10; /* not of this state */
    relay_bench_start(&bench, pair_of_tcp);
    relay_bench_finish(&bench, REASON_CONNECT_TIMEOUT);
    blackhole_close(&hole);
}

static void test_a_destination_that_is_none(void **state)
{
    (void)state;
    bench.route.to = (struct addr){.kind = ADDR_VSOCK, .cid_by_name = true, .port = 1};
    relay_bench_start(&bench, pair_of_tcp);
    relay_bench_finish(&bench, REASON_CONNECT_FAILED);
}

/* ---- Time ---- */

static void test_the_first_byte_takes_too_long(void **state)
{
    (void)state;
    bench.route.first_byte_timeout_ms = 40;
    uint64_t began = uv_hrtime();
    relay_bench_establish(&bench, pair_of_tcp);
    relay_bench_finish(&bench, REASON_FIRST_BYTE_TIMEOUT);
    assert_true(uv_hrtime() - began >= 35 * 1000000u);
    assert_int_equal(peer_hear(&bench.client)->error, -ECONNRESET);
    assert_int_equal(peer_hear(&bench.upstream)->error, -ECONNRESET);
}

static void test_idleness_is_counted_from_the_last_byte(void **state)
{
    (void)state;
    bench.route.idle_timeout_ms = 600;
    relay_bench_establish(&bench, pair_of_tcp);
    uint64_t said = uv_hrtime();
    bool in_time =
        true; /* the machine let us go on within the timeout, from before a byte to after the next */
    for (int i = 0; i < 33 && in_time; i++) {
        uint64_t before = said;
        said = uv_hrtime();
        peer_say(i % 2 == 0 ? &bench.client : &bench.upstream, 1);
        loopback_pass(&bench.loopback, 20);
        hear_both();
        in_time = uv_hrtime() - before < 590 * 1000000u;
        assert_true(bench.ended == 0 || !in_time); /* 660 ms in all */
    }
    relay_bench_finish(&bench, REASON_IDLE_TIMEOUT);
    assert_true(uv_hrtime() - said >= 575 * 1000000u || !in_time);
}

/* The first byte replaces a long wait by a short one. */
static void test_the_idle_timeout_may_be_the_shorter_one(void **state)
{
    (void)state;
    bench.route.first_byte_timeout_ms = 60000;
    bench.route.idle_timeout_ms = 40;
    relay_bench_establish(&bench, pair_of_tcp);
    peer_say(&bench.client, 1);
    relay_bench_finish(&bench, REASON_IDLE_TIMEOUT);
}

static void test_a_half_closed_stream_has_its_own_time(void **state)
{
    (void)state;
    bench.route.first_byte_timeout_ms = bench.route.idle_timeout_ms = 60000;
    bench.route.half_closed_timeout_ms = 600;
    relay_bench_establish(&bench, pair_of_tcp);
    peer_say(&bench.client, 1);
    peer_finish(&bench.client);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->ended);
    uint64_t last = uv_hrtime();
    bool in_time = true; /* the machine let us go on within the timeout */
    for (int i = 0; i < 33 && in_time;
         i++) { /* as long as the other side says something, it goes on: 660 ms in all */
        peer_say(&bench.upstream, 1);
        loopback_pass(&bench.loopback, 20);
        in_time = uv_hrtime() - last < 590 * 1000000u;
        last = uv_hrtime();
        assert_true(bench.ended == 0 || !in_time);
    }
    relay_bench_finish(&bench, REASON_HALF_CLOSED_TIMEOUT);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.client)->error != 0 || bench.client.ended);
    assert_int_equal(bench.client.error, -ECONNRESET);
}

/* ---- Its end from outside ---- */

static void test_ending_in_every_state(void **state)
{
    struct blackhole hole;
    (void)state;
    blackhole_open(&hole);
    relay_bench_lead(&bench, hole.port);
    relay_bench_start(&bench, pair_of_tcp); /* DIALING */
    relay_end(&bench.relay, REASON_SHUTDOWN);
    relay_end(&bench.relay, REASON_INTERNAL); /* harmless */
    assert_int_equal(bench.ended, 0);
    relay_bench_finish(&bench, REASON_SHUTDOWN);
    relay_bench_reset(&bench);
    relay_bench_lead(&bench, bench.port);
    relay_bench_establish(&bench, pair_of_tcp); /* OPEN */
    relay_end(&bench.relay, REASON_SHUTDOWN);
    assert_int_equal(bench.ended, 0);
    relay_bench_finish(&bench, REASON_SHUTDOWN);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.client)->error != 0 || bench.client.ended);
    assert_int_equal(bench.client.error, -ECONNRESET);
    relay_bench_reset(&bench);
    relay_bench_establish(&bench, pair_of_tcp);
    peer_finish(&bench.client);
    WAIT_FOR(&bench.loopback, bench.relay.state == RELAY_HALF_CLOSED);
    relay_end(&bench.relay, REASON_SHUTDOWN);
    relay_bench_finish(&bench, REASON_SHUTDOWN);
    blackhole_close(&hole);
}

static void test_ending_inside_of_the_owners_callbacks(void **state)
{
    (void)state;
    bench.end_in_opened = true;
    relay_bench_start(&bench, pair_of_tcp);
    peer_say(&bench.client, 100);
    relay_bench_finish(&bench, REASON_SHUTDOWN);
    assert_int_equal(bench.opened, 1);
    close(accept_one(&bench.loopback, bench.listener));
    relay_bench_reset(&bench);
    bench.end_in_moved = true;
    relay_bench_establish(&bench, pair_of_tcp);
    peer_say(&bench.client, 100);
    relay_bench_finish(&bench, REASON_SHUTDOWN);
    assert_int_equal(bench.moved, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bytes_both_ways_and_both_orders_of_the_end),
        TEST(test_a_client_over_a_unix_socket),
        TEST(test_an_upstream_at_a_unix_socket),
        TEST(test_a_unix_client_that_closes_before_the_answer),
        TEST(test_a_slow_reader_holds_up_its_sender_and_loses_nothing),
        TEST(test_bulk_goes_through_pipes_that_come_back),
        TEST(test_urgent_data_holds_nothing_up),
        TEST(test_a_passed_descriptor_holds_nothing_up),
        TEST(test_a_client_that_aborts_is_heard_out_and_the_upstream_cut),
        TEST(test_an_upstream_that_aborts_is_heard_out_and_the_client_cut),
        TEST(test_an_abort_that_a_write_hears_of),
        TEST(test_an_abort_after_the_half_close),
        TEST(test_a_client_that_aborts_while_its_bytes_wait),
        TEST(test_a_unix_client_gone_while_bytes_for_it_wait),
        TEST(test_a_peer_gone_of_which_no_report_tells),
        TEST(test_what_the_client_says_while_dialing_is_delivered),
        TEST(test_a_unix_client_gone_before_the_dial_is_done),
        TEST(test_a_client_that_aborts_while_dialing),
        TEST(test_a_dial_that_fails_is_told_with_its_words),
        TEST(test_a_dial_that_takes_too_long),
        TEST(test_a_destination_that_is_none),
        TEST(test_the_first_byte_takes_too_long),
        TEST(test_idleness_is_counted_from_the_last_byte),
        TEST(test_the_idle_timeout_may_be_the_shorter_one),
        TEST(test_a_half_closed_stream_has_its_own_time),
        TEST(test_ending_in_every_state),
        TEST(test_ending_inside_of_the_owners_callbacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
