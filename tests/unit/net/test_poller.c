/* The poller: what is reported, to whom, and what is not reported any more. */
#include "net/poller.h"

#include "fault.h"
#include "poller_bench.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int __real_epoll_ctl(int epoll, int command, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int command, int fd, struct epoll_event *event);
int __real_uv_poll_init(uv_loop_t *loop, uv_poll_t *handle, int fd);
int __wrap_uv_poll_init(uv_loop_t *loop, uv_poll_t *handle, int fd);
int __real_uv_poll_start(uv_poll_t *handle, int events, uv_poll_cb cb);
int __wrap_uv_poll_start(uv_poll_t *handle, int events, uv_poll_cb cb);

static uv_poll_cb polled;

int __wrap_epoll_ctl(int epoll, int command, int fd, struct epoll_event *event)
{
    if (fault_strikes(FAULT_OWN)) {
        errno = ENOSPC;
        return -1;
    }
    return __real_epoll_ctl(epoll, command, fd, event);
}

int __wrap_uv_poll_init(uv_loop_t *loop, uv_poll_t *handle, int fd)
{
    return fault_strikes(FAULT_OWN) ? UV_EEXIST : __real_uv_poll_init(loop, handle, fd);
}

int __wrap_uv_poll_start(uv_poll_t *handle, int events, uv_poll_cb cb)
{
    polled = cb;
    return fault_strikes(FAULT_OWN) ? UV_EEXIST : __real_uv_poll_start(handle, events, cb);
}

/* Two of them, whose first reports are over. */
static void two_settled(struct seen *one, struct seen *two)
{
    seen_open(one, ROOM_REPORTED);
    seen_open(two, ROOM_REPORTED);
    settle();
    one->calls = two->calls = 0;
}

static void test_the_present_state_is_reported_once(void **state)
{
    struct seen one;
    (void)state;
    seen_open(&one, ROOM_REPORTED);
    settle();
    assert_int_equal(one.calls, 1);
    assert_int_equal(one.events, EPOLLOUT);
    peer_say(&one.peer, 10);
    settle();
    assert_int_equal(one.calls, 2); /* edge-triggered: nobody reads, and it is not told again */
    assert_int_equal(one.events, EPOLLIN | EPOLLOUT);
    peer_say(&one.peer, 10);
    settle();
    assert_int_equal(one.calls, 3);
    peer_close(&one.peer);
    settle();
    assert_int_equal(one.calls, 4);
    assert_int_equal(one.events & (EPOLLRDHUP | EPOLLHUP), EPOLLRDHUP | EPOLLHUP);
    seen_close(&one);
}

static void remove_other(struct seen *seen)
{
    poller_remove(&bench.loop.poller, &seen->other->watcher);
    seen->other->watcher.cb = NULL; /* a report would crash */
    seen->then = NULL;
}

/* Both are in the same batch: whichever comes first takes the other out of it. */
static void test_no_report_after_remove_though_fetched(void **state)
{
    struct seen one, two;
    (void)state;
    two_settled(&one, &two);
    one.other = &two;
    two.other = &one;
    one.then = two.then = remove_other;
    peer_say(&one.peer, 1);
    peer_say(&two.peer, 1);
    settle();
    assert_int_equal(one.calls + two.calls, 1);
    seen_close(&one);
    seen_close(&two);
}

static void drop_other(struct seen *seen)
{
    poller_drop(&bench.loop.poller, &seen->other->watcher);
    seen->other->watcher.cb = NULL;
    seen->then = NULL;
}

static void test_no_report_after_drop_and_the_descriptor_is_closed(void **state)
{
    struct seen one, two;
    (void)state;
    two_settled(&one, &two);
    one.other = &two;
    two.other = &one;
    one.then = two.then = drop_other;
    peer_say(&one.peer, 1);
    peer_say(&two.peer, 1);
    settle();
    assert_int_equal(one.calls + two.calls, 1);
    struct seen *dropped = one.calls == 0 ? &one : &two;
    assert_int_equal(dropped->watcher.fd, -1);
    assert_true(peer_hear(&dropped->peer)->error == -ECONNRESET || dropped->peer.ended);
    poller_drop(&bench.loop.poller, &dropped->watcher); /* harmless */
    poller_remove(&bench.loop.poller, &dropped->watcher);
    peer_close(&dropped->peer);
    seen_close(dropped == &one ? &two : &one);
}

static void remove_self(struct seen *seen)
{
    poller_remove(&bench.loop.poller, &seen->watcher);
}

static void test_a_watcher_removes_itself(void **state)
{
    struct seen one;
    (void)state;
    seen_open(&one, ROOM_REPORTED);
    one.then = remove_self;
    settle();
    peer_say(&one.peer, 1);
    settle();
    assert_int_equal(one.calls, 1);
    seen_close(&one);
}

static void test_again_comes_once_with_the_events_asked_for(void **state)
{
    struct seen one;
    (void)state;
    seen_open(&one, ROOM_REPORTED);
    settle();
    one.calls = 0;
    poller_again(&bench.loop.poller, &one.watcher, EPOLLIN);
    poller_again(&bench.loop.poller, &one.watcher, EPOLLOUT);
    assert_int_equal(one.calls, 0);
    settle();
    assert_int_equal(one.calls, 1);
    assert_int_equal(one.events, EPOLLIN | EPOLLOUT);
    assert_false(uv_is_active((uv_handle_t *)&bench.loop.poller.idle)); /* and the loop may sleep again */
    assert_false(uv_is_active((uv_handle_t *)&bench.loop.poller.prepare));
    seen_close(&one);
}

static void ask_again(struct seen *seen)
{
    poller_again(&bench.loop.poller, &seen->watcher, EPOLLIN);
}

/* A watcher that always has more to do takes one turn in two, not all of them. */
static void test_again_lets_others_have_their_turn(void **state)
{
    struct seen busy, other;
    (void)state;
    seen_open(&busy, ROOM_REPORTED);
    seen_open(&other, ROOM_REPORTED);
    settle();
    busy.then = ask_again;
    poller_again(&bench.loop.poller, &busy.watcher, EPOLLIN);
    busy.calls = other.calls = 0;
    for (unsigned i = 1; i <= 10; i++) {
        peer_say(&other.peer, 1);
        loopback_turn(&bench);
        assert_int_equal(other.calls, i);
        assert_in_range(busy.calls, i - 1, i);
    }
    seen_close(&busy); /* while it waits for its turn */
    unsigned calls = busy.calls;
    settle();
    assert_int_equal(busy.calls, calls);
    seen_close(&other);
}

/* Both wait for their turn; the first to have it removes the other. */
static void test_no_report_after_remove_though_due(void **state)
{
    struct seen one, two;
    (void)state;
    two_settled(&one, &two);
    one.other = &two;
    one.then = remove_other;
    poller_again(&bench.loop.poller, &one.watcher, EPOLLIN);
    poller_again(&bench.loop.poller, &two.watcher, EPOLLIN);
    settle();
    assert_int_equal(one.calls, 1);
    assert_int_equal(two.calls, 0);
    seen_close(&one);
    seen_close(&two);
}

/* Of the other one, whoever of the two is told first; `late` is how long ago the batch seems to have been fetched, and `again`
 * that the other one wants to be told again. */
static bool quiet;
static uint64_t late_ns;
static bool again;

static void ask_of_other(struct seen *seen)
{
    struct poller *poller = &bench.loop.poller;
    poller->fetched_ns -= late_ns;
    if (again) {
        poller_again(poller, &seen->other->watcher, EPOLLIN);
    }
    quiet = poller_is_quiet(poller, &seen->other->watcher, UINT64_MAX / 2);
    if (late_ns > 0) {
        quiet = poller_is_quiet(poller, &seen->other->watcher, late_ns - 1);
    }
    seen->then = seen->other->then = NULL;
}

static bool is_quiet_in_report(struct seen *one, struct seen *two)
{
    one->other = two;
    two->other = one;
    one->then = two->then = ask_of_other;
    settle();
    assert_null(one->then); /* it was asked */
    return quiet;
}

static void test_what_was_fetched_tells_who_is_quiet(void **state)
{
    struct seen one, two;
    (void)state;
    two_settled(&one, &two);
    late_ns = 0;
    again = false;
    peer_say(&one.peer, 10);
    assert_true(is_quiet_in_report(&one, &two));
    assert_false(poller_is_quiet(&bench.loop.poller, &two.watcher, UINT64_MAX / 2)); /* not in a report */
    peer_say(&one.peer, 10);
    peer_say(&two.peer, 10);
    assert_false(is_quiet_in_report(&one, &two)); /* the other's report was fetched and waits */
    late_ns = 1000000;
    peer_say(&one.peer, 10);
    assert_false(is_quiet_in_report(&one, &two));
    late_ns = 0;
    again = true;
    peer_say(&one.peer, 10);
    assert_false(is_quiet_in_report(&one, &two));
    seen_close(&one);
    seen_close(&two);
}

static unsigned quiet_ones;

static void count_the_other(struct seen *seen)
{
    quiet_ones += poller_is_quiet(&bench.loop.poller, &seen->other->watcher, UINT64_MAX / 2);
    seen->then = NULL;
}

/* Its end may have come after the batch that its last bytes came with. */
static void test_who_was_told_in_this_batch_is_not_known_to_be_quiet(void **state)
{
    struct seen one, two;
    (void)state;
    two_settled(&one, &two);
    one.other = &two;
    two.other = &one;
    one.then = two.then = count_the_other;
    quiet_ones = 0;
    peer_say(&one.peer, 10);
    peer_say(&two.peer, 10);
    settle();
    assert_null(one.then);
    assert_null(two.then);
    assert_int_equal(quiet_ones, 0);
    seen_close(&one);
    seen_close(&two);
}

static void test_mute_holds_back_bytes_but_not_the_end(void **state)
{
    struct seen one;
    (void)state;
    seen_open(&one, ROOM_REPORTED);
    settle();
    poller_mute(&bench.loop.poller, &one.watcher, true);
    settle();
    one.calls = 0;
    peer_say(&one.peer, 10);
    settle();
    assert_int_equal(one.calls, 0);
    poller_mute(&bench.loop.poller, &one.watcher, false);
    settle();
    assert_int_equal(one.calls, 1);
    assert_int_equal(one.events, EPOLLIN | EPOLLOUT);
    poller_mute(&bench.loop.poller, &one.watcher, true);
    settle();
    one.calls = 0;
    peer_finish(&one.peer);
    settle();
    assert_int_equal(one.calls, 1);
    assert_true((one.events & EPOLLRDHUP) != 0);
    seen_close(&one);
}

static void test_a_socket_moves_with_its_reports(void **state)
{
    struct seen from, to = {.calls = 0};
    (void)state;
    seen_open(&from, ROOM_REPORTED);
    settle();
    from.calls = 0;
    poller_again(&bench.loop.poller, &from.watcher, EPOLLIN);
    assert_int_equal(poller_move(&bench.loop.poller, &from.watcher, &to.watcher, ROOM_REPORTED, on_report),
                     0);
    from.watcher.cb = NULL;
    assert_int_equal(from.watcher.fd, -1);
    assert_int_equal(to.watcher.fd, from.fd);
    settle();
    assert_int_equal(to.calls, 1);
    assert_int_equal(to.events, EPOLLOUT);
    poller_remove(&bench.loop.poller, &to.watcher);
    seen_close(&from);
}

static struct watcher moved_to;

static void move_other(struct seen *seen)
{
    seen->then = NULL;
    assert_int_equal(poller_move(&bench.loop.poller, &seen->other->watcher, &moved_to, ROOM_REPORTED,
                                 seen->watcher.cb),
                     0);
}

static unsigned moved_reports;

static void on_moved_report(struct watcher *watcher, uint32_t events)
{
    (void)events;
    if (watcher == &moved_to) {
        moved_reports++;
    } else {
        on_report(watcher, events);
    }
}

static void test_what_was_fetched_for_the_old_watcher_is_dropped(void **state)
{
    struct seen one, two;
    (void)state;
    seen_open(&one, ROOM_REPORTED);
    seen_open(&two, ROOM_REPORTED);
    settle();
    one.watcher.cb = on_moved_report;
    one.other = &two;
    one.then = move_other;
    two.calls = moved_reports = 0;
    peer_say(&one.peer, 1);
    peer_say(&two.peer, 1);
    settle();
    assert_in_range(two.calls, 0, 1); /* the kernel's order decides whether it came first */
    assert_int_equal(moved_reports, 1);
    poller_remove(&bench.loop.poller, &moved_to);
    seen_close(&one);
    seen_close(&two);
}

static unsigned listener_reports;

static void on_listener(struct watcher *watcher, uint32_t events)
{
    (void)watcher;
    assert_int_equal(events, EPOLLIN);
    listener_reports++;
}

static void test_a_listener_is_level_triggered(void **state)
{
    struct watcher watcher;
    uint16_t port;
    (void)state;
    int listener = tcp_listener(5, &port);
    assert_int_equal(poller_add_listener(&bench.loop.poller, &watcher, listener, on_listener), 0);
    int client = tcp_connect(port);
    listener_reports = 0;
    WAIT_FOR(&bench, listener_reports >= 3);
    poller_remove(&bench.loop.poller, &watcher);
    close(client);
    close(listener);
}

static unsigned taken_for_quiet;

/* Of one that is beyond the batch. */
static void ask_of_last(struct seen *seen)
{
    taken_for_quiet +=
        seen->other->calls == 0 && poller_is_quiet(&bench.loop.poller, &seen->other->watcher, UINT64_MAX / 2);
}

static void test_more_sockets_than_one_batch(void **state)
{
    enum { COUNT = POLLER_BATCH + 50 };
    struct seen *many = calloc(COUNT, sizeof *many);
    (void)state;
    assert_non_null(many);
    for (unsigned i = 0; i < COUNT; i++) {
        seen_open(&many[i], ROOM_REPORTED);
        many[i].other = &many[COUNT - 1];
        many[i].then = ask_of_last;
    }
    taken_for_quiet = 0;
    settle();
    assert_int_equal(taken_for_quiet, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(many[i].calls, 1);
        seen_close(&many[i]);
    }
    free(many);
}

static void test_what_cannot_be_watched(void **state)
{
    struct watcher watcher, to = {.fd = -1};
    int fds[2];
    (void)state;
    assert_int_equal(poller_add(&bench.loop.poller, &watcher, -1, ROOM_REPORTED, on_report), -EBADF);
    assert_int_equal(watcher.fd, -1);
    pair_of_unix(fds);
    assert_int_equal(poller_add(&bench.loop.poller, &watcher, fds[0], ROOM_REPORTED, on_report), 0);
    fault_arm(FAULT_OWN, 1);
    assert_int_equal(poller_move(&bench.loop.poller, &watcher, &to, ROOM_REPORTED, on_report), -ENOSPC);
    fault_disarm();
    assert_int_equal(watcher.fd, fds[0]);
    assert_int_equal(to.fd, -1);
    poller_remove(&bench.loop.poller, &watcher);
    close(fds[0]);
    close(fds[1]);
}

/* libuv tells of its descriptor gone bad: nothing is fetched, nothing reported. */
static void test_a_bad_report_is_passed_over(void **state)
{
    struct seen one;
    (void)state;
    seen_open(&one, ROOM_REPORTED);
    polled(&bench.loop.poller.poll, UV_EBADF, 0);
    assert_int_equal(one.calls, 0);
    int epoll = bench.loop.poller.epoll_fd;
    bench.loop.poller.epoll_fd = -1;
    polled(&bench.loop.poller.poll, 0, UV_READABLE);
    assert_int_equal(one.calls, 0);
    bench.loop.poller.epoll_fd = epoll;
    seen_close(&one);
}

static void on_closed(void *data)
{
    ++*(unsigned *)data;
}

static void whole_life(void *arg)
{
    uv_loop_t *loop = arg;
    struct poller poller;
    struct watcher watcher;
    unsigned closed = 0;
    int fds[2];
    pair_of_unix(fds);
    int rv = poller_init(&poller, loop);
    if (rv == 0) {
        if (poller_add(&poller, &watcher, fds[0], ROOM_REPORTED, on_report) == 0) {
            poller_mute(&poller, &watcher, true);
            poller_remove(&poller, &watcher);
        }
        poller_close(&poller, on_closed, &closed);
    }
    (void)uv_run(loop, UV_RUN_DEFAULT);
    assert_int_equal(closed, rv == 0);
    close(fds[0]);
    close(fds[1]);
}

static void test_faults(void **state)
{
    uv_loop_t loop;
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(fault_loop("poller", FAULT_MEMORY | FAULT_OWN, whole_life, &loop), 5);
    struct poller poller;
    fault_arm(FAULT_EPOLL, 1); /* inside of a running loop, libuv would give up */
    assert_int_equal(poller_init(&poller, &loop), -ENOMEM);
    fault_disarm();
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_present_state_is_reported_once),
        TEST(test_no_report_after_remove_though_fetched),
        TEST(test_no_report_after_drop_and_the_descriptor_is_closed),
        TEST(test_a_watcher_removes_itself),
        TEST(test_again_comes_once_with_the_events_asked_for),
        TEST(test_again_lets_others_have_their_turn),
        TEST(test_no_report_after_remove_though_due),
        TEST(test_what_was_fetched_tells_who_is_quiet),
        TEST(test_who_was_told_in_this_batch_is_not_known_to_be_quiet),
        TEST(test_mute_holds_back_bytes_but_not_the_end),
        TEST(test_a_socket_moves_with_its_reports),
        TEST(test_what_was_fetched_for_the_old_watcher_is_dropped),
        TEST(test_a_listener_is_level_triggered),
        TEST(test_more_sockets_than_one_batch),
        TEST(test_what_cannot_be_watched),
        TEST(test_a_bad_report_is_passed_over),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
