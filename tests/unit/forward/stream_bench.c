/* One forward stream under test: see stream_bench.h. */
#include "stream_bench.h"

#include "fault.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct stream_bench sb;

static void on_moved(struct forward_stream *forward, uint64_t in, uint64_t out)
{
    assert_ptr_equal(forward, &sb.stream);
    assert_true(in + out > 0);
    sb.moved_in += in;
    sb.moved_out += out;
}

static void on_told(struct forward_stream *forward, const struct forward_told *told)
{
    assert_ptr_equal(forward, &sb.stream);
    assert_true(sb.told_count < TOLD_MAX);
    struct told_one *one = &sb.told[sb.told_count++];
    *one = (struct told_one){.why = told->why,
                             .status = told->status,
                             .cut = told->cut,
                             .kept = told->kept,
                             .reached = told->reached,
                             .body_in = told->body_in,
                             .body_out = told->body_out};
    snprintf(one->method, sizeof one->method, "%.*s", (int)told->method.size,
             told->method.size > 0 ? told->method.data : "");
    snprintf(one->path, sizeof one->path, "%.*s", (int)told->path.size,
             told->path.size > 0 ? told->path.data : "");
    snprintf(one->host, sizeof one->host, "%.*s", (int)told->host.size,
             told->host.size > 0 ? told->host.data : "");
    snprintf(one->id, sizeof one->id, "%s", told->id);
}

static void on_ended(struct forward_stream *forward)
{
    assert_ptr_equal(forward, &sb.stream);
    sb.ended++;
}

static const struct forward_stream_ops ops = {.moved = on_moved, .told = on_told, .ended = on_ended};

static struct forward_source source(void)
{
    return (struct forward_source){.worker = &sb.far_side.worker,
                                   .spool = &sb.spool,
                                   .ids = &sb.ids,
                                   .config = sb.far_side.config,
                                   .route = sb.far_side.route,
                                   .enclave = "payroll",
                                   .cid = 16};
}

/* The stream's end of a new pair. */
static int renew(void (*pair)(int fds[2]))
{
    int fds[2];
    if (sb.client >= 0) {
        close(sb.client);
    }
    text_release(&sb.got);
    sb.got_end = sb.got_reset = false;
    sb.told_count = sb.ended = 0;
    sb.moved_in = sb.moved_out = 0;
    pair(fds);
    sb.client = fds[0];
    assert_int_equal(fcntl(sb.client, F_SETFL, O_NONBLOCK), 0);
    /* What a client does not take is to be seen in the stream, not in the kernel. */
    int small = 16384;
    assert_int_equal(setsockopt(sb.client, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    return fds[1];
}

void stream_restart(void (*pair)(int fds[2]), enum addr_kind kind)
{
    struct forward_source from = source();
    struct sock_kind_options options = {.kind = kind};
    int fd = renew(pair);
    forward_stream_start(&sb.stream, &from, &ops, fd, &options);
    assert_int_equal(sb.ended, 0); /* not from inside */
}

static void on_heard(struct stream *stream, unsigned events)
{
    (void)stream;
    (void)events;
}

int stream_take(const char *data)
{
    struct sock_stream first;
    struct forward_source from = source();
    struct forward_heard heard = {.sock = &first,
                                  .kind = {.kind = ADDR_TCP},
                                  .data = data,
                                  .size = strlen(data)};
    fault_spare(true);
    int fd = renew(pair_of_tcp);
    assert_int_equal(sock_stream_open(&first, &sb.far_side.net.loop.poller, fd, &heard.kind, on_heard), 0);
    fault_spare(false);
    int r = forward_stream_take(&sb.stream, &from, &ops, &heard);
    if (r != 0) {
        stream_close(&first.stream, true); /* it is still there */
    }
    assert_int_equal(first.watcher.fd, -1);
    assert_int_equal(sb.ended, 0);
    return r;
}

int stream_setup(void **state)
{
    (void)state;
    memset(&sb, 0, sizeof sb);
    sb.client = sb.far.fd = -1;
    bench_open(&sb.far_side);
    sb.far_side.forward->head_timeout_ms = 60000;
    assert_int_equal(forward_spool_init(&sb.spool, &sb.far_side.net.loop), 0);
    assert_int_equal(forward_ids_init(&sb.ids), 0);
    stream_restart(pair_of_tcp, ADDR_TCP);
    return 0;
}

int stream_teardown(void **state)
{
    (void)state;
    forward_stream_end(&sb.stream, REASON_SHUTDOWN);
    forward_stream_end(&sb.stream, REASON_SHUTDOWN);
    AWAIT(sb.ended > 0);
    loopback_turn(&sb.far_side.net);
    assert_int_equal(sb.ended, 1);
    if (sb.client >= 0) {
        close(sb.client);
    }
    text_release(&sb.got);
    far_release(&sb.far);
    forward_spool_close(&sb.spool);
    bench_close(&sb.far_side);
    return 0;
}

void client_say_bytes(const char *data, size_t size)
{
    uint64_t limit = loopback_limit();
    while (size > 0) {
        ssize_t n = send(sb.client, data, size, MSG_NOSIGNAL);
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        } else {
            loopback_check(limit, "the client is heard", __FILE__, __LINE__);
            loopback_turn(&sb.far_side.net);
        }
    }
}

void client_say(const char *text)
{
    client_say_bytes(text, strlen(text));
}

void client_hear(void)
{
    static char buffer[65536];
    ssize_t n;
    while (!sb.got_end && !sb.got_reset && (n = recv(sb.client, buffer, sizeof buffer, 0)) != -1) {
        text_add_bytes(&sb.got, buffer, (size_t)n);
        sb.got_end = n == 0;
    }
    if (!sb.got_end && errno != EAGAIN) {
        sb.got_reset = true;
    }
}

bool client_heard(const char *text)
{
    client_hear();
    return strstr(text_string(&sb.got), text) != NULL;
}

void client_reset(void)
{
    struct linger now = {.l_onoff = 1};
    assert_int_equal(setsockopt(sb.client, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    close(sb.client);
    sb.client = -1;
}

void far_serve(const char *request, const char *answer)
{
    if (sb.far.fd < 0) {
        far_accept(&sb.far_side, &sb.far);
    }
    AWAIT(far_heard(&sb.far, request));
    text_clear(&sb.far.heard);
    far_say(&sb.far_side, &sb.far, answer);
}

void await_end(enum reason why)
{
    AWAIT((sb.client >= 0 ? client_hear() : (void)0, sb.ended == 1));
    assert_string_equal(reason_word(sb.stream.why), reason_word(why));
}
