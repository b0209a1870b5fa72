/* The core by itself: what the command line uses, and what the library does not show. */
#include "connection_bench.h"
#include "fault.h"
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static void test_refuses_a_bad_configuration(void **state)
{
    (void)state;
    config.connect_timeout = 0;
    assert_int_equal(make(server.address, &events), -EINVAL);
    config.connect_timeout = 1;
    config.backoff_min = 0;
    assert_int_equal(make(server.address, &events), -EINVAL);
    config.backoff_min = 11;
    assert_int_equal(make(server.address, &events), -EINVAL);
    assert_non_null(strstr(err.text, "backoff"));
    config.backoff_min = 1;
    config.session.budget = 1;
    assert_int_equal(make(server.address, &events), -EINVAL);
    config.session.budget = 32u << 20;
    assert_int_equal(make("vsock://any:1", &events), -EINVAL);
    assert_int_equal(make("vsock://parent:1", &events), 0);
    connection_free(NULL);
}

static void test_does_nothing_until_it_is_asked(void **state)
{
    struct control_open open = {.route = control_text("echo")};
    struct channel *channel;

    (void)state;
    assert_int_equal(make(server.address, &events), 0);
    assert_int_equal(connection_timeout(connection), -1);
    assert_false(connection_ping(connection));
    connection_wake(connection); /* nobody waits in another thread */
    for (int i = 0; i < 5; i++) {
        turn();
    }
    assert_int_equal(server.accepted, 0);
    assert_int_equal(connection_open(connection, &open, NULL, &channel), -EAGAIN);
    assert_int_equal(connection_timeout(connection), 0);
    TURN_UNTIL(readies == 1);
    connection_connect(connection); /* there is one */
    assert_in_range(connection_timeout(connection), 1, 30000);
    channel_release(open_route("echo"));
}

static void test_readable_when_there_is_something_to_do(void **state)
{
    struct pollfd one;

    (void)state;
    start();
    TURN_A_WHILE();
    one = (struct pollfd){.fd = connection_fd(connection), .events = POLLIN};
    assert_int_equal(poll(&one, 1, 0), 0);
    server_cut(&server);
    assert_int_equal(poll(&one, 1, LIMIT_MS), 1);
    TURN_UNTIL(downs == 1);
    assert_int_equal(down_status, -ECONNABORTED);
    assert_int_equal(down_code, CODE_LOST);
}

static unsigned descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    assert_non_null(folder);
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count;
}

/* Whoever has not yet released what is over holds up itself alone, and no descriptor. */
static void test_lost_sessions_are_in_nobodys_way(void **state)
{
    struct channel *over[12];
    unsigned before;

    (void)state;
    start();
    before = descriptors();
    for (unsigned i = 0; i < ARRAY_SIZE(over); i++) {
        over[i] = open_route("source:10");
        channel_finish(over[i]);
        connection_flush(connection);
        TURN_UNTIL(channel_receiving_over(over[i]) && channel_sending_over(over[i]));
        server_cut(&server);
        TURN_UNTIL(downs == i + 1);
        connection_connect(connection);
        TURN_UNTIL(readies == i + 2);
    }
    assert_int_equal(descriptors(), before);
    for (unsigned i = 0; i < ARRAY_SIZE(over); i++) {
        channel_release(over[i]);
    }
    TURN_A_WHILE();
    assert_int_equal(failures, 0);
}

/* However long it was since something came. */
static void test_a_drains_time_begins_with_it(void **state)
{
    struct channel *channel;
    uint64_t begun, now;

    (void)state;
    start();
    channel = open_route("echo");
    TURN_A_WHILE();
    begun = clock_ms();
    TURN_UNTIL(clock_ms() > begun + 300);
    begun = clock_ms();
    connection_drain(connection, 5000);
    now = clock_ms();
    assert_in_range(connection_timeout(connection), 0, 5000);
    connection_flush(connection);
    assert_true(now + (uint64_t)connection_timeout(connection) + 100 >= begun + 5000);
    channel_release(channel);
}

static void test_without_anybody_to_tell(void **state)
{
    struct connection_events none = {.channel = events.channel};

    (void)state;
    assert_int_equal(make(server.address, &none), 0);
    connection_connect(connection);
    TURN_UNTIL(connection_is_ready(connection));
    assert_true(connection_ping(connection));
    TURN_A_WHILE();
    server_cut(&server);
    TURN_UNTIL(!connection_is_ready(connection));
    server_listen(&server, false);
    connection_connect(connection);
    for (int i = 0; i < 30; i++) {
        turn();
    }
    assert_false(connection_is_ready(connection));
}

/* Each failure doubles the wait, up to the most. */
static void test_backs_off(void **state)
{
    uint64_t waited = 0;

    (void)state;
    config.backoff_min = 64;
    config.backoff_max = 256;
    spared = true;
    server_listen(&server, false);
    spared = false;
    assert_int_equal(make(server.address, &events), 0);
    for (unsigned i = 0; i < 40; i++) {
        unsigned before = downs;
        uint64_t most = i == 0 ? 0 : 64u << (i - 1) < 256 && i < 4 ? 64u << (i - 1) : 256;
        int timeout;

        connection_connect(connection);
        timeout = connection_timeout(connection);
        assert_in_range(timeout, most / 2 > 20 ? most / 2 - 20 : 0, most);
        waited += (uint64_t)timeout;
        if (i > 4) {
            break;
        }
        TURN_UNTIL(downs == before + 1);
    }
    assert_true(waited > 0);
}

/* A full socket waits for room; what interrupts is tried again. */
static void test_goes_on_where_it_was_stopped(void **state)
{
    struct channel *channel;

    (void)state;
    start();
    channel = open_route("echo");
    to_send = 10000;
    channel_ready(channel);
    played.interrupted = 3;
    connection_flush(connection);
    played.choked = 1;
    to_send += 1000;
    channel_ready(channel);
    connection_flush(connection);
    connection_flush(connection); /* the socket is still full, as far as it knows */
    played.interrupted = 1;
    TURN_UNTIL(held == 11000);
    channel_release(channel);
}

static void test_vsock(void **state)
{
    struct channel *channel;

    (void)state;
    assert_int_equal(make("vsock://parent:7000", &events), 0);
    connection_connect(connection);
    TURN_UNTIL(connection_is_ready(connection));
    assert_true(played.used);
    assert_int_equal(played.buffer, 1 << 20);
    assert_int_equal(played.buffer_max, 1 << 20);
    channel = open_route("sink");
    for (int i = 0; i < 100; i++) {
        turn();
    }
    to_send = 1000000;
    channel_ready(channel);
    TURN_UNTIL(to_send == 0);
    assert_in_range(played.longest_send, 16384, 31744);
    channel_release(channel);
}

/* A few bytes that keep a block each: no more blocks than the budget has room for, and then it is copies. */
static void test_blocks_that_are_kept(void **state)
{
    struct channel *channels[40];

    (void)state;
    config.session.max_own_streams = 40;
    config.session.budget = 1u << 20;
    start();
    assert_null(connection_block(connection)); /* nothing is being delivered */
    for (unsigned i = 0; i < 40; i++) {
        channels[i] = open_route("source:10");
        TURN_UNTIL(held == 10 * (i + 1));
    }
    assert_in_range(kept_count, 14, 16);
    assert_int_equal(unkept, 10 * (40 - kept_count));
    for (int i = 0; i < 40; i++) {
        channel_release(channels[i]);
    }
}

static void test_without_memory_for_blocks(void **state)
{
    struct channel *channel;

    (void)state;
    start();
    channel = open_route("source:30000");
    fault_arm(FAULT_MEMORY | FAULT_STICKY, 1);
    TURN_UNTIL(held >= 16384);
    fault_disarm();
    assert_int_equal(kept_count, 0);
    assert_int_equal(unkept, held);
    channel_release(channel);
}

static void test_refused_and_failed(void **state)
{
    (void)state;
    start();
    (void)open_route("refuse");
    (void)open_route("silent");
    TURN_UNTIL(refusals == 1);
    again = true;
    server_cut(&server);
    TURN_UNTIL(failures == 1 && readies == 2);
    assert_int_equal(downs, 1);
}

/* A session that has used up all its numbers is replaced; here it is one that was ended from within. */
static void test_a_session_that_opens_no_more(void **state)
{
    struct control_open open = {.route = control_text("echo")};
    struct channel *first, *second;

    (void)state;
    start();
    first = open_route("echo");
    session_drain(channel_session(first), 0);
    assert_int_equal(connection_open(connection, &open, NULL, &second), -EAGAIN);
    TURN_UNTIL(readies == 2);
    second = open_route("echo");
    assert_ptr_not_equal(channel_session(first), channel_session(second));
    assert_int_equal(server_peers(&server), 2);
    channel_release(first);
    TURN_UNTIL(server_peers(&server) == 1);
    assert_int_equal(downs, 0);
    connection_drain(connection, 1000);
    assert_int_equal(connection_open(connection, &open, NULL, &first), -ESHUTDOWN);
    connection_connect(connection);
    assert_false(connection_is_over(connection));
    channel_release(second);
    TURN_UNTIL(connection_is_over(connection));
    assert_int_equal(connection_timeout(connection), -1);
}

/* The daemon reads nothing: the goodbye cannot be sent, and is given up. */
static void test_a_daemon_that_hears_no_goodbye(void **state)
{
    struct channel *channel;

    (void)state;
    start();
    channel = open_route("stall");
    TURN_A_WHILE();
    server_set_deaf(&server, true);
    played.choked = 1000000;
    to_send = 10;
    channel_ready(channel);
    connection_flush(connection);
    session_abort(channel_session(channel), CODE_CANCEL, "enough");
    TURN_UNTIL(downs == 1);
    connection_drain(connection, 1);
    TURN_UNTIL(connection_is_over(connection));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_refuses_a_bad_configuration),
        TEST(test_does_nothing_until_it_is_asked),
        TEST(test_readable_when_there_is_something_to_do),
        TEST(test_lost_sessions_are_in_nobodys_way),
        TEST(test_a_drains_time_begins_with_it),
        TEST(test_without_anybody_to_tell),
        TEST(test_backs_off),
        TEST(test_goes_on_where_it_was_stopped),
        TEST(test_vsock),
        TEST(test_blocks_that_are_kept),
        TEST(test_without_memory_for_blocks),
        TEST(test_refused_and_failed),
        TEST(test_a_session_that_opens_no_more),
        TEST(test_a_daemon_that_hears_no_goodbye),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
