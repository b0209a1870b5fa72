/* Room to write, of sockets that tell of it each time that their peer reads: reported to whom asked. */
#include "net/poller.h"

#include "poller_bench.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

/* A unix socket has room again with each read of its peer. */
static void exchange(struct seen *seen)
{
    char byte;
    assert_int_equal(write(seen->fd, "x", 1), 1);
    assert_int_equal(read(seen->peer.fd, &byte, 1), 1);
    settle();
}

static void test_room_is_reported_on_demand(void **state)
{
    struct seen one;
    (void)state;
    seen_open(&one, ROOM_ON_DEMAND);
    exchange(&one);
    assert_int_equal(one.calls, 0);
    poller_await_room(&bench.loop.poller, &one.watcher);
    settle();
    assert_int_equal(one.calls, 1); /* there is room already */
    assert_int_equal(one.events, EPOLLOUT);
    poller_await_room(&bench.loop.poller, &one.watcher);
    exchange(&one);
    assert_int_equal(one.calls, 2);
    exchange(&one);
    assert_int_equal(one.calls, 3); /* nobody asked: the last of them */
    exchange(&one);
    assert_int_equal(one.calls, 3);
    poller_await_room(&bench.loop.poller, &one.watcher);
    settle();
    assert_int_equal(one.calls, 4);
    seen_close(&one);
}

static void test_what_comes_is_reported_without_a_demand_for_room(void **state)
{
    struct seen one;
    (void)state;
    seen_open(&one, ROOM_ON_DEMAND);
    poller_mute(&bench.loop.poller, &one.watcher, true);
    poller_await_room(&bench.loop.poller, &one.watcher);
    settle();
    assert_int_equal(one.events, EPOLLOUT);
    peer_say(&one.peer, 1);
    settle();
    assert_int_equal(one.calls, 1); /* muted it stays */
    poller_mute(&bench.loop.poller, &one.watcher, false);
    settle();
    assert_int_equal(one.events & EPOLLIN, EPOLLIN);
    peer_finish(&one.peer);
    settle();
    assert_int_equal(one.events & EPOLLRDHUP, EPOLLRDHUP);
    seen_close(&one);
}

static void test_to_await_room_where_it_is_reported_changes_nothing(void **state)
{
    struct seen one;
    (void)state;
    seen_open(&one, ROOM_REPORTED);
    settle();
    poller_await_room(&bench.loop.poller, &one.watcher);
    settle();
    assert_int_equal(one.calls, 1);
    exchange(&one);
    assert_int_equal(one.calls, 2);
    exchange(&one);
    assert_int_equal(one.calls, 3);
    seen_close(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_room_is_reported_on_demand),
        TEST(test_what_comes_is_reported_without_a_demand_for_room),
        TEST(test_to_await_room_where_it_is_reported_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
