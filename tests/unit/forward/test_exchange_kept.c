/* Connections to an upstream that are kept: used again, found dead, closed, and given up. */
#include "exchange_plain.h"
#include "forward/exchange_private.h"

#include <errno.h>
#include <sys/socket.h>

/* Whether the daemon's next write fails; what its peer says comes all the same. */
static bool write_fails;

ssize_t __real_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags)
{
    if (write_fails && fd != far.fd) {
        write_fails = false;
        errno = EPIPE;
        return -1;
    }
    return __real_send(fd, data, size, flags);
}

static void again(const char *head)
{
    owner_release(&owner);
    owner_init(&owner, &bench, head);
    owner_start(&owner);
}

static void use_once(void)
{
    start_get();
    far_say(&bench, &far, OK);
    assert_whole(200, "ok");
    text_clear(&far.heard);
}

static void test_connection_is_used_again(void **state)
{
    (void)state;
    use_once();
    for (int i = 0; i < 3; i++) {
        again(GET);
        WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\n"));
        far_say(&bench, &far, "HTTP/1.1 204 No Content\r\n\r\n");
        assert_whole(204, "");
        assert_true(owner.reused);
        text_clear(&far.heard);
    }
    assert_int_equal(bench.worker.stats.opened, 1);
    assert_int_equal(bench.worker.stats.reused, 3);
}

/* The upstream closes as the request comes: it is sent again on another connection. */
static void test_stale_connection(void **state)
{
    (void)state;
    use_once();
    again(GET);
    far_close(&far);
    far_release(&far);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\n"));
    far_say(&bench, &far, OK);
    assert_whole(200, "ok");
    assert_false(owner.reused);
    assert_int_equal(bench.worker.stats.retried, 1);
}

static void test_stale_connection_and_a_post(void **state)
{
    (void)state;
    use_once();
    owner_release(&owner);
    owner_init(&owner, &bench, POST_HEAD("Content-Length: 4\r\n"));
    text_add(&owner.body, "data");
    owner_start(&owner);
    WAIT_FOR(&bench.net, far_heard(&far, "data"));
    far_close(&far);
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_UPSTREAM_RESET);
    assert_true(owner.reached && !owner.answered);
    assert_int_equal(bench.worker.stats.retried, 0);
}

/* The connections that wait are dead, and nobody was told of it yet: a request that can be sent once only finds out. */
static void a_post_finds_dead_connections(void (*end)(struct far *far))
{
    use_once();
    end(&far);
    far_release(&far);
    owner_release(&owner);
    owner_init(&owner, &bench, POST_HEAD("Content-Length: 4\r\n"));
    text_add(&owner.body, "data");
    owner_start(&owner);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "data"));
    far_say(&bench, &far, OK);
    assert_whole(200, "ok");
    assert_false(owner.reused);
    assert_int_equal(bench.worker.stats.retried, 0);
    assert_int_equal(bench.worker.stats.reused, 0);
    assert_int_equal(bench.worker.stats.open, 1);
}

static void test_a_post_finds_closed_connections(void **state)
{
    (void)state;
    a_post_finds_dead_connections(far_close);
}

static void test_a_post_finds_reset_connections(void **state)
{
    (void)state;
    a_post_finds_dead_connections(far_reset);
}

static void speak(struct far *upstream)
{
    far_say(&bench, upstream, "HTTP/1.1 408 Request Timeout\r\n\r\n");
    far_close(upstream);
}

static void test_a_post_finds_connections_that_spoke(void **state)
{
    (void)state;
    a_post_finds_dead_connections(speak);
}

/* What is there before the request goes out is no answer to it, be the request one that can be sent again or not. */
static void test_a_get_finds_an_answer_that_nobody_asked_for(void **state)
{
    (void)state;
    use_once();
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother");
    again(GET);
    far_release(&far);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\n"));
    far_say(&bench, &far, OK);
    assert_whole(200, "ok");
    assert_int_equal(bench.worker.stats.reused, 0);
}

/* On a connection that was kept, a request's first bytes are out, a part of an answer's head has come, and then the connection
 * takes no more. */
static void break_within_a_head(void)
{
    use_once();
    owner_release(&owner);
    owner_init(&owner, &bench, "PUT /r HTTP/1.1\r\nHost: postern\r\nContent-Length: 8\r\n\r\n");
    text_add(&owner.body, "data");
    owner.open_ended = true;
    owner_start(&owner);
    WAIT_FOR(&bench.net, far_heard(&far, "data"));
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\nx-");
    WAIT_FOR(&bench.net, http_response_begun(&owner.exchange.response));
    write_fails = true;
    text_add(&owner.body, "more");
    owner_give(&owner);
    WAIT_FOR(&bench.net, !write_fails);
    loopback_turn(&bench.net);
}

/* The answer is one of that request, which is not sent again: what came next would be read as the rest of this head. */
static void test_broken_within_a_head(void **state)
{
    (void)state;
    break_within_a_head();
    assert_int_equal(bench.worker.stats.retried, 0);
    far_say(&bench, &far, "a: 1\r\nContent-Length: 2\r\n\r\nok");
    assert_whole(200, "ok");
    assert_int_equal(bench.worker.stats.open, 0);
}

static void test_broken_within_a_head_that_stays(void **state)
{
    (void)state;
    bench.forward->response_timeout_ms = 20;
    break_within_a_head();
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_RESPONSE_TIMEOUT);
    assert_int_equal(bench.worker.stats.retried, 0);
}

static void test_broken_before_a_head(void **state)
{
    (void)state;
    use_once();
    write_fails = true;
    again(GET);
    WAIT_FOR(&bench.net, bench.worker.stats.retried > 0);
    far_release(&far);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\n"));
    far_say(&bench, &far, OK);
    assert_whole(200, "ok");
}

#define PUT_HEAD(headers) "PUT /r HTTP/1.1\r\nHost: postern\r\n" headers "\r\n"

/* A connection that was kept takes nothing of a request that can be sent again. */
static void put_to_broken(const char *head, size_t size)
{
    use_once();
    owner_release(&owner);
    owner_init(&owner, &bench, head);
    while (owner.body.length < size) {
        text_add(&owner.body, "data");
    }
    write_fails = true;
    owner_start(&owner);
    WAIT_FOR(&bench.net, bench.worker.stats.retried > 0 || owner.ends > 0);
}

static void test_broken_with_all_of_the_body(void **state)
{
    (void)state;
    put_to_broken(PUT_HEAD("Content-Length: 4\r\n"), 4);
    far_release(&far);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\ndata"));
    far_say(&bench, &far, OK);
    assert_whole(200, "ok");
    assert_true(owner.sent);
    assert_int_equal(bench.worker.stats.open, 1); /* and kept */
}

/* What does not fit into memory is thrown away, and the request cannot be sent again: a hole would be in it. */
static void test_broken_with_more_than_is_held(void **state)
{
    (void)state;
    put_to_broken(PUT_HEAD("Transfer-Encoding: chunked\r\n"), 4 * EXCHANGE_HOLD_MAX);
    assert_int_equal(bench.worker.stats.retried, 0);
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_UPSTREAM_RESET);
}

/* The rest of the body comes after the connection broke, and before that was read from it. */
static void test_broken_within_the_body(void **state)
{
    (void)state;
    use_once();
    owner_release(&owner);
    owner_init(&owner, &bench, PUT_HEAD("Transfer-Encoding: chunked\r\n"));
    text_add(&owner.body, "data");
    owner.open_ended = true;
    owner_start(&owner);
    write_fails = true;
    exchange_flush(&owner.exchange);
    assert_false(write_fails);
    text_add(&owner.body, "more");
    owner.open_ended = false;
    owner_give(&owner);
    WAIT_FOR(&bench.net, bench.worker.stats.retried > 0 || owner.ends > 0);
    far_release(&far);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "4\r\ndata\r\n4\r\nmore\r\n0\r\n\r\n"));
    far_say(&bench, &far, OK);
    assert_whole(200, "ok");
    assert_true(owner.sent);
}

static void test_idle_connection_closes(void **state)
{
    (void)state;
    use_once();
    far_close(&far);
    WAIT_FOR(&bench.net, bench.worker.stats.idle == 0);
    assert_int_equal(bench.worker.stats.open, 0);
}

static void test_idle_connection_speaks(void **state)
{
    (void)state;
    use_once();
    far_say(&bench, &far, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    WAIT_FOR(&bench.net, bench.worker.stats.idle == 0);
}

static void test_unread_bytes_are_not_kept(void **state)
{
    (void)state;
    start_get();
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n");
    assert_whole(200, "ok");
    assert_int_equal(bench.worker.stats.open, 0);
}

static void test_connection_close(void **state)
{
    (void)state;
    start_get();
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    assert_whole(200, "ok");
    assert_int_equal(bench.worker.stats.open, 0);
}

static void test_pool_is_bounded(void **state)
{
    (void)state;
    bench.forward->max_idle = 0;
    use_once();
    assert_int_equal(bench.worker.stats.open, 0);
}

static void test_kept_for_a_time(void **state)
{
    (void)state;
    bench.forward->keep_ms = 20;
    use_once();
    WAIT_FOR(&bench.net, bench.worker.stats.idle == 0);
    WAIT_FOR(&bench.net, LIST_EMPTY(&bench.worker.upstreams));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_connection_is_used_again),
        T(test_stale_connection),
        T(test_stale_connection_and_a_post),
        T(test_a_post_finds_closed_connections),
        T(test_a_post_finds_reset_connections),
        T(test_a_post_finds_connections_that_spoke),
        T(test_a_get_finds_an_answer_that_nobody_asked_for),
        T(test_broken_within_a_head),
        T(test_broken_within_a_head_that_stays),
        T(test_broken_before_a_head),
        T(test_broken_with_all_of_the_body),
        T(test_broken_with_more_than_is_held),
        T(test_broken_within_the_body),
        T(test_idle_connection_closes),
        T(test_idle_connection_speaks),
        T(test_unread_bytes_are_not_kept),
        T(test_connection_close),
        T(test_pool_is_bounded),
        T(test_kept_for_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
