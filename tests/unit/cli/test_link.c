/* The connection on the loop: what is flushed, and how long it lives. */
#include "cli/link.h"

#include "far.h"
#include "fault.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/postern-link-XXXXXX";
static struct cli_loop loop;
static struct far far;
static struct cli_link link_;
static struct addr to;
static bool is_ready, is_down, is_over, got_fin, got_failed;
static size_t got;

static void on_ready(struct connection *connection)
{
    assert_ptr_equal(connection, link_.connection);
    is_ready = true;
}

static void on_down(struct connection *connection, const struct connection_loss *loss)
{
    (void)connection;
    assert_true(loss->message[0] != '\0');
    is_down = true;
}

static void on_data(struct channel *channel, const uint8_t *bytes, size_t length)
{
    (void)bytes;
    got += length;
    channel_consumed(channel, length);
}

static void on_fin(struct channel *channel)
{
    (void)channel;
    got_fin = true;
}

static void on_failed(struct channel *channel, uint32_t code, bool retryable)
{
    (void)channel;
    (void)code;
    (void)retryable;
    got_failed = true;
}

static size_t on_fill(struct channel *channel, uint8_t *buffer, size_t size, enum channel_more *more)
{
    (void)channel;
    (void)size;
    memcpy(buffer, "hello", 5);
    *more = CHANNEL_FIN;
    return 5;
}

static void on_over(struct cli_link *link)
{
    assert_ptr_equal(link, &link_);
    is_over = true;
}

static int begin(struct error *err)
{
    struct connection_config config;
    struct connection_events events = {
        .channel = {.data = on_data, .fin = on_fin, .failed = on_failed, .fill = on_fill},
        .ready = on_ready,
        .down = on_down,
    };
    connection_config_default(&config);
    config.session.max_streams = 0;
    return cli_link_init(&link_, &loop, &to, &config, &events, NULL, err);
}

static int setup(void **state)
{
    (void)state;
    struct error err;
    char path[100], address[110];
    is_ready = is_down = is_over = got_fin = got_failed = false;
    got = 0;
    snprintf(path, sizeof path, "%s/daemon", folder);
    snprintf(address, sizeof address, "unix://%s", path);
    assert_int_equal(addr_parse(address, &to, &err), 0);
    assert_int_equal(cli_loop_init(&loop, &err), 0);
    far_start(&far, &loop, path);
    assert_int_equal(begin(&err), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cli_link_release(&link_);
    cli_link_release(&link_);
    far_stop(&far);
    cli_loop_release(&loop);
    return 0;
}

static struct channel *open_echo(void)
{
    struct control_open open = {.route = control_text("echo")};
    struct channel *channel;
    connection_connect(link_.connection);
    cli_link_touch(&link_);
    WAIT_FOR(&loop, is_ready);
    assert_int_equal(connection_open(link_.connection, &open, NULL, &channel), 0);
    channel_ready(channel);
    cli_link_touch(&link_);
    WAIT_FOR(&loop, got_fin);
    assert_int_equal(got, 5);
    return channel;
}

static void test_a_stream_and_a_goodbye(void **state)
{
    (void)state;
    struct channel *channel = open_echo();
    cli_link_drain(&link_, 60000, on_over);
    for (int i = 0; i < 10; i++) {
        far_turn(&loop);
    }
    assert_false(is_over);
    channel_release(channel);
    cli_link_touch(&link_);
    WAIT_FOR(&loop, is_over);
    assert_false(is_down);
    assert_false(got_failed);
}

/* A stream that is over is told of nothing any more, and may be released only after its session has gone. */
static void test_a_session_stays_as_long_as_its_channels(void **state)
{
    (void)state;
    struct channel *channel = open_echo();
    far_cut(&far);
    WAIT_FOR(&loop, is_down);
    cli_link_drain(&link_, 0, on_over);
    for (int i = 0; i < 10; i++) {
        far_turn(&loop);
    }
    assert_false(got_failed);
    assert_false(is_over);
    channel_release(channel);
    cli_link_touch(&link_);
    WAIT_FOR(&loop, is_over);
}

static void test_a_goodbye_before_the_session(void **state)
{
    (void)state;
    connection_connect(link_.connection);
    cli_link_drain(&link_, 60000, on_over);
    WAIT_FOR(&loop, is_over);
    assert_false(is_ready);
}

static void test_released_in_the_middle(void **state)
{
    (void)state;
    (void)open_echo();
    cli_link_touch(&link_);
    cli_link_release(&link_);
    far_turn(&loop);
    struct error err;
    assert_int_equal(begin(&err), 0);
}

static void make_one(void *arg)
{
    (void)arg;
    struct error err = ERROR_INIT;
    int r = begin(&err);
    assert_true((r == 0) == (err.text[0] == '\0'));
    cli_link_release(&link_);
}

static void test_failures(void **state)
{
    (void)state;
    cli_link_release(&link_);
    assert_true(fault_loop("link", FAULT_MEMORY | FAULT_EPOLL, make_one, NULL) >= 3);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_stream_and_a_goodbye),
        TEST(test_a_session_stays_as_long_as_its_channels),
        TEST(test_a_goodbye_before_the_session),
        TEST(test_released_in_the_middle),
        TEST(test_failures),
    };
    return cmocka_run_group_tests_name("cli/link", tests, make_folder, remove_folder);
}
