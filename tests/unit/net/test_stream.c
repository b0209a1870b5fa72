/* Streams over sockets: reports, ends, half-closes, and the traps of vsock (played over a unix pair). */
#include "net/stream.h"

#include "fault.h"
#include "loopback.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

ssize_t __real_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags);
ssize_t __real_recv(int fd, void *data, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags);

#define NONE (-1)

/* Of the stream's side only; what the next calls answer instead of the real ones: errno, 0 for an end, NONE. */
static int stream_fd, recv_answer[4], send_answer[4];
static size_t sent_sizes[8], sends;

static int next_answer(int answers[4])
{
    int answer = answers[0];
    memmove(answers, answers + 1, 3 * sizeof *answers);
    answers[3] = NONE;
    return answer;
}

ssize_t __wrap_recv(int fd, void *data, size_t size, int flags)
{
    int answer = fd == stream_fd ? next_answer(recv_answer) : NONE;
    if (answer == NONE) {
        return __real_recv(fd, data, size, flags);
    }
    errno = answer;
    return answer == 0 ? 0 : -1;
}

ssize_t __wrap_send(int fd, const void *data, size_t size, int flags)
{
    int answer = fd == stream_fd ? next_answer(send_answer) : NONE;
    if (answer == NONE) {
        if (fd == stream_fd && sends < ARRAY_SIZE(sent_sizes)) {
            sent_sizes[sends++] = size;
        }
        return __real_send(fd, data, size, flags);
    }
    errno = answer;
    return answer == 0 ? 0 : -1;
}

struct bench {
    struct loopback loopback;
    struct sock_stream sock;
    struct peer peer;
    unsigned calls, events;
};

static void on_ready(struct stream *stream, unsigned events)
{
    struct sock_stream *sock = CONTAINER_OF(stream, struct sock_stream, stream);
    struct bench *bench = CONTAINER_OF(sock, struct bench, sock);
    bench->calls++;
    bench->events = events;
}

static void open_stream(struct bench *bench, enum addr_kind kind, void (*pair)(int fds[2]))
{
    struct sock_kind_options options = {.kind = kind, .vsock_write_max = 1000};
    int fds[2];
    memset(bench, 0, sizeof *bench);
    for (size_t i = 0; i < 4; i++) {
        recv_answer[i] = send_answer[i] = NONE;
    }
    sends = 0;
    loopback_open(&bench->loopback);
    pair(fds);
    stream_fd = fds[0];
    peer_init(&bench->peer, fds[1]);
    assert_int_equal(sock_stream_open(&bench->sock, &bench->loopback.loop.poller, fds[0], &options, on_ready),
                     0);
}

static void release(struct bench *bench)
{
    sock_stream_close(&bench->sock, false);
    sock_stream_close(&bench->sock, true); /* harmless */
    peer_close(&bench->peer);
    loopback_close(&bench->loopback);
}

static void settle(struct bench *bench)
{
    for (int i = 0; i < 3; i++) {
        loopback_turn(&bench->loopback);
    }
}

static void test_bytes_and_the_end(void **state)
{
    struct bench bench;
    char data[64];
    (void)state;
    open_stream(&bench, ADDR_TCP, pair_of_tcp);
    struct stream *stream = &bench.sock.stream;
    settle(&bench);
    assert_int_equal(bench.events, STREAM_WRITABLE);
    assert_int_equal(stream_read(stream, data, sizeof data), -EAGAIN);
    peer_say(&bench.peer, 5);
    settle(&bench);
    assert_int_equal(bench.events, STREAM_READABLE | STREAM_WRITABLE);
    assert_int_equal(stream_read(stream, data, sizeof data), 5);
    assert_false(stream->hung_up);
    peer_finish(&bench.peer);
    settle(&bench);
    assert_true(stream->hung_up);
    assert_false(stream->gone);
    assert_false(stream->failed);
    assert_int_equal(stream_read(stream, data, sizeof data), 0);
    assert_int_equal(stream_write(stream, "\0\1\2", 3), 3);
    assert_int_equal(stream_finish(stream), 0);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.peer)->ended);
    assert_int_equal(bench.peer.heard, 3);
    release(&bench);
}

static void test_a_reset_is_told(void **state)
{
    struct bench bench;
    char data[64];
    (void)state;
    open_stream(&bench, ADDR_TCP, pair_of_tcp);
    peer_say(&bench.peer, 5);
    peer_reset(&bench.peer);
    WAIT_FOR(&bench.loopback, bench.sock.stream.failed);
    assert_true(bench.sock.stream.gone);
    assert_true(bench.sock.stream.hung_up);
    assert_int_equal(stream_read(&bench.sock.stream, data, sizeof data),
                     5); /* what it said before is there */
    assert_int_equal(stream_read(&bench.sock.stream, data, sizeof data), -ECONNRESET);
    assert_true(stream_write(&bench.sock.stream, data, 1) < 0);
    assert_int_equal(stream_finish(&bench.sock.stream), -ENOTCONN);
    release(&bench);
}

static void test_a_unix_peer_that_closed_is_gone_and_has_not_failed(void **state)
{
    struct bench bench;
    (void)state;
    open_stream(&bench, ADDR_UNIX, pair_of_unix);
    peer_close(&bench.peer);
    WAIT_FOR(&bench.loopback, bench.sock.stream.gone);
    assert_false(bench.sock.stream.failed);
    release(&bench);
}

static void test_closing_cuts_or_ends(void **state)
{
    struct bench bench;
    (void)state;
    for (int abort = 0; abort <= 1; abort++) {
        open_stream(&bench, ADDR_TCP, pair_of_tcp);
        stream_close(&bench.sock.stream, abort);
        assert_int_equal(bench.sock.watcher.fd, -1);
        WAIT_FOR(&bench.loopback, peer_hear(&bench.peer)->ended || bench.peer.error != 0);
        assert_int_equal(bench.peer.error, abort ? -ECONNRESET : 0);
        assert_int_equal(bench.calls, 0);
        release(&bench);
    }
}

static void test_again_and_mute(void **state)
{
    struct bench bench;
    (void)state;
    open_stream(&bench, ADDR_UNIX, pair_of_unix);
    struct stream *stream = &bench.sock.stream;
    settle(&bench);
    bench.calls = 0;
    stream_again(stream, STREAM_READABLE);
    settle(&bench);
    assert_int_equal(bench.calls, 1);
    assert_int_equal(bench.events, STREAM_READABLE);
    stream_again(stream, STREAM_WRITABLE);
    settle(&bench);
    assert_int_equal(bench.events, STREAM_WRITABLE);
    stream_mute(stream, true);
    stream_mute(stream, true);
    settle(&bench);
    bench.calls = 0;
    peer_say(&bench.peer, 10);
    settle(&bench);
    assert_int_equal(bench.calls, 0);
    stream_mute(stream, false);
    settle(&bench);
    assert_int_equal(bench.calls, 1);
    release(&bench);
}

static void test_interrupted_calls_are_made_again(void **state)
{
    struct bench bench;
    char data[64];
    (void)state;
    open_stream(&bench, ADDR_UNIX, pair_of_unix);
    peer_say(&bench.peer, 5);
    recv_answer[0] = recv_answer[1] = EINTR;
    assert_int_equal(stream_read(&bench.sock.stream, data, sizeof data), 5);
    send_answer[0] = send_answer[1] = EINTR;
    assert_int_equal(stream_write(&bench.sock.stream, data, 5), 5);
    release(&bench);
}

static bool hear_any(struct bench *bench)
{
    char buffer[65536];
    while (recv(bench->peer.fd, buffer, sizeof buffer, 0) > 0) {
    }
    return true;
}

static void test_a_sink_that_takes_no_more(void **state)
{
    static char data[1 << 20];
    struct bench bench;
    (void)state;
    open_stream(&bench, ADDR_UNIX, pair_of_unix);
    ssize_t n;
    do {
        n = stream_write(&bench.sock.stream, data, sizeof data);
    } while (n > 0);
    assert_int_equal(n, -EAGAIN);
    settle(&bench);
    assert_int_equal(bench.calls, 0);
    WAIT_FOR(&bench.loopback, hear_any(&bench) && (bench.events & STREAM_WRITABLE) != 0);
    release(&bench);
}

/* A part of what was to be written says the same as none. */
static void test_a_sink_that_takes_a_part(void **state)
{
    static char data[1 << 24];
    struct bench bench;
    (void)state;
    open_stream(&bench, ADDR_UNIX, pair_of_unix);
    ssize_t n = stream_write(&bench.sock.stream, data, sizeof data);
    assert_in_range(n, 1, sizeof data - 1);
    WAIT_FOR(&bench.loopback, hear_any(&bench) && (bench.events & STREAM_WRITABLE) != 0);
    release(&bench);
}

/* Who splices to it says itself that it is full. */
static void test_room_is_awaited(void **state)
{
    struct bench bench;
    (void)state;
    open_stream(&bench, ADDR_UNIX, pair_of_unix);
    settle(&bench);
    assert_int_equal(bench.calls, 0);
    stream_await_room(&bench.sock.stream);
    settle(&bench);
    assert_int_equal(bench.calls, 1);
    assert_int_equal(bench.events, STREAM_WRITABLE);
    release(&bench);
}

/* ---- vsock ---- */

static void test_vsock_is_not_spliced(void **state)
{
    struct bench bench;
    (void)state;
    open_stream(&bench, ADDR_VSOCK, pair_of_unix);
    assert_int_equal(bench.sock.stream.splice_fd, -1);
    release(&bench);
    open_stream(&bench, ADDR_UNIX, pair_of_unix);
    assert_int_equal(bench.sock.stream.splice_fd, stream_fd);
    release(&bench);
}

static void test_vsock_writes_are_bounded(void **state)
{
    static unsigned char data[2500];
    struct bench bench;
    (void)state;
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (unsigned char)i;
    }
    open_stream(&bench, ADDR_VSOCK, pair_of_unix);
    assert_int_equal(stream_write(&bench.sock.stream, data, sizeof data), sizeof data);
    assert_int_equal(sends, 3);
    assert_int_equal(sent_sizes[0], 1000);
    assert_int_equal(sent_sizes[1], 1000);
    assert_int_equal(sent_sizes[2], 500);
    assert_int_equal(peer_hear(&bench.peer)->heard, sizeof data);
    release(&bench);
}

static void test_a_vsock_write_that_fails_in_the_middle(void **state)
{
    static unsigned char data[2500];
    struct bench bench;
    (void)state;
    open_stream(&bench, ADDR_VSOCK, pair_of_unix);
    send_answer[0] = NONE;
    send_answer[1] = EAGAIN;
    assert_int_equal(stream_write(&bench.sock.stream, data, sizeof data), 1000);
    send_answer[0] = ECONNRESET;
    assert_int_equal(stream_write(&bench.sock.stream, data, sizeof data), -ECONNRESET);
    send_answer[0] = 0; /* took nothing */
    assert_int_equal(stream_write(&bench.sock.stream, data, sizeof data), 0);
    release(&bench);
}

static void test_an_early_end_on_vsock_is_not_believed(void **state)
{
    struct bench bench;
    char data[8];
    (void)state;
    open_stream(&bench, ADDR_VSOCK, pair_of_unix);
    recv_answer[0] = 0;
    assert_int_equal(stream_read(&bench.sock.stream, data, sizeof data), -EAGAIN);
    peer_finish(&bench.peer);
    settle(&bench);
    assert_int_equal(stream_read(&bench.sock.stream, data, sizeof data), 0);
    recv_answer[0] = ENOTCONN; /* a peer that opened and closed at once */
    assert_int_equal(stream_read(&bench.sock.stream, data, sizeof data), 0);
    release(&bench);
}

/* ---- Adopting ---- */

static void on_nobody(struct watcher *watcher, uint32_t events)
{
    (void)watcher;
    (void)events;
    fail_msg("the watcher was left");
}

static void test_adopting_a_watched_socket(void **state)
{
    struct sock_kind_options options = {.kind = ADDR_UNIX};
    struct bench bench = {.calls = 0};
    struct watcher watcher;
    int fds[2];
    (void)state;
    loopback_open(&bench.loopback);
    pair_of_unix(fds);
    peer_init(&bench.peer, fds[1]);
    struct poller *poller = &bench.loopback.loop.poller;
    assert_int_equal(poller_add(poller, &watcher, fds[0], ROOM_REPORTED, on_nobody), 0);
    bench.sock.watcher.fd = -1;
    fault_arm(FAULT_EPOLL, 1);
    assert_int_equal(sock_stream_adopt(&bench.sock, poller, &watcher, &options, on_ready), -ENOMEM);
    fault_disarm();
    assert_int_equal(watcher.fd, fds[0]); /* still the caller's */
    assert_int_equal(bench.sock.watcher.fd, -1);
    assert_int_equal(sock_stream_adopt(&bench.sock, poller, &watcher, &options, on_ready), 0);
    peer_say(&bench.peer, 1);
    settle(&bench);
    assert_int_equal(bench.calls, 1);
    release(&bench);
}

static void test_opening_fails(void **state)
{
    struct sock_kind_options options = {.kind = ADDR_UNIX};
    struct bench bench = {.calls = 0};
    int fds[2];
    (void)state;
    loopback_open(&bench.loopback);
    pair_of_unix(fds);
    fault_arm(FAULT_EPOLL, 1);
    assert_int_equal(sock_stream_open(&bench.sock, &bench.loopback.loop.poller, fds[0], &options, on_ready),
                     -ENOMEM);
    fault_disarm();
    assert_int_equal(bench.sock.watcher.fd, -1);
    close(fds[0]); /* still the caller's */
    close(fds[1]);
    loopback_close(&bench.loopback);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_and_the_end),
        cmocka_unit_test(test_a_reset_is_told),
        cmocka_unit_test(test_a_unix_peer_that_closed_is_gone_and_has_not_failed),
        cmocka_unit_test(test_closing_cuts_or_ends),
        cmocka_unit_test(test_again_and_mute),
        cmocka_unit_test(test_interrupted_calls_are_made_again),
        cmocka_unit_test(test_a_sink_that_takes_no_more),
        cmocka_unit_test(test_a_sink_that_takes_a_part),
        cmocka_unit_test(test_room_is_awaited),
        cmocka_unit_test(test_vsock_is_not_spliced),
        cmocka_unit_test(test_vsock_writes_are_bounded),
        cmocka_unit_test(test_a_vsock_write_that_fails_in_the_middle),
        cmocka_unit_test(test_an_early_end_on_vsock_is_not_believed),
        cmocka_unit_test(test_adopting_a_watched_socket),
        cmocka_unit_test(test_opening_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
