/* Long bodies that go from the client's socket to the upstream's without a copy. */
#include "exchange_bench.h"

#include "net/pipe_pool.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD  "POST /r HTTP/1.1\r\nHost: postern\r\nContent-Length: 4000000\r\n\r\n"
#define TOTAL ((size_t)4000000)
#define FIRST ((size_t)20000) /* more than is held */
#define LAST  ((size_t)10)

static struct bench bench;
static struct owner owner;
static struct far far;
static struct text body;
static int client[2]; /* the first end is read */
static size_t sent;   /* of `body`, by the client */
static size_t passed; /* of it, taken by the exchange */

static int set_up(void **state)
{
    (void)state;
    bench_open(&bench);
    memset(&far, 0, sizeof far);
    far.fd = -1;
    pair_of_tcp(client);
    text_init(&body, 0);
    for (unsigned i = 0; i < TOTAL / 10; i++) {
        text_addf(&body, "%09u\n", i);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (owner.ends == 0) {
        exchange_cancel(&owner.exchange);
        WAIT_FOR(&bench.net, owner.ends > 0);
    }
    far_release(&far);
    owner_release(&owner);
    bench_close(&bench);
    text_release(&body);
    close(client[0]);
    close(client[1]);
    return 0;
}

/* The first bytes were read with the head, and given as usual. */
static void begin(const char *head)
{
    owner_init(&owner, &bench, head);
    text_add_bytes(&owner.body, body.data, FIRST);
    owner.open_ended = true;
    owner_start(&owner);
    sent = passed = FIRST;
}

static void open_upstream(void)
{
    begin(HEAD);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, owner.given == FIRST && owner.exchange.out.length == 0);
}

static void client_sends(size_t until)
{
    ssize_t n;
    while (sent < until && (n = send(client[1], body.data + sent, until - sent, MSG_DONTWAIT)) > 0) {
        sent += (size_t)n;
    }
}

/* As far as it goes now. Returns what the last call did. */
static ssize_t splice_on(size_t until)
{
    ssize_t n = 1;
    while (n > 0 && passed < until) {
        client_sends(until);
        n = exchange_body_splice(&owner.exchange, client[0], until - passed);
        passed += n > 0 ? (size_t)n : 0;
    }
    return n;
}

static void give_last(void)
{
    owner.body.length = 0;
    text_add_bytes(&owner.body, body.data + TOTAL - LAST, LAST);
    owner.given = 0;
    owner.open_ended = false;
    owner_give(&owner);
}

static bool pump(void)
{
    ssize_t n = passed < TOTAL - LAST ? splice_on(TOTAL - LAST) : 0;
    assert_true(n >= 0 || n == -EAGAIN);
    far_hear(&far);
    return passed == TOTAL - LAST;
}

static void test_a_long_body(void **state)
{
    (void)state;
    open_upstream();
    WAIT_FOR(&bench.net, pump());
    give_last();
    WAIT_FOR(&bench.net, far_heard(&far, "000399999\n"));
    assert_string_equal(strstr(far.heard.data, "\r\n\r\n") + 4, text_string(&body));
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    WAIT_FOR(&bench.net, owner.ends > 0);
    assert_int_equal(owner.why, HTTP_REFUSED_NONE);
    assert_int_equal(owner.exchange.sent_bytes, TOTAL);
    assert_int_equal(bench.worker.stats.idle, 1); /* and the connection can be used again */
    assert_int_equal(bench.net.loop.pipes.count, bench.net.loop.pipes.kept_count);
}

/* The upstream reads nothing: what is on its way stays in one pipe, and want() comes when there is room. */
static void fill_upstream(void)
{
    int little = 65536;
    size_t before;
    open_upstream();
    assert_int_equal(setsockopt(owner.exchange.conn->stream->splice_fd, SOL_SOCKET, SO_SNDBUF, &little,
                                sizeof little),
                     0);
    do {
        before = passed;
        (void)splice_on(TOTAL - LAST);
        loopback_turn(&bench.net);
    } while (passed > before || !owner.exchange.blocked);
    assert_int_equal(splice_on(TOTAL - LAST), 0);
    assert_int_equal(bench.net.loop.pipes.count, 1);
}

static void test_an_upstream_that_is_behind(void **state)
{
    (void)state;
    fill_upstream();
    unsigned wanted = owner.wanted;
    WAIT_FOR(&bench.net, (far_hear(&far), owner.wanted > wanted));
    WAIT_FOR(&bench.net, pump());
    give_last();
    WAIT_FOR(&bench.net, far_heard(&far, "000399999\n"));
    assert_string_equal(strstr(far.heard.data, "\r\n\r\n") + 4, text_string(&body));
}

static void test_cancelled_with_bytes_on_their_way(void **state)
{
    (void)state;
    fill_upstream();
    exchange_cancel(&owner.exchange);
    assert_int_equal(bench.net.loop.pipes.count, 0); /* one with bytes inside is never lent again */
    WAIT_FOR(&bench.net, owner.ends > 0);
    assert_int_equal(owner.why, HTTP_REFUSED_REQUEST_CUT);
}

static void test_an_upstream_that_aborts(void **state)
{
    (void)state;
    fill_upstream();
    far_reset(&far);
    WAIT_FOR(&bench.net, owner.ends > 0);
    assert_int_equal(owner.why, HTTP_REFUSED_UPSTREAM_RESET);
    assert_int_equal(exchange_body_splice(&owner.exchange, client[0], 1), -ENOTSUP);
    assert_int_equal(bench.net.loop.pipes.count, 0);
}

static void test_a_client_that_has_nothing_or_is_gone(void **state)
{
    (void)state;
    open_upstream();
    assert_int_equal(exchange_body_splice(&owner.exchange, client[0], 1000), -EAGAIN);
    assert_int_equal(bench.net.loop.pipes.count, bench.net.loop.pipes.kept_count);
    assert_int_equal(shutdown(client[1], SHUT_WR), 0);
    assert_int_equal(exchange_body_splice(&owner.exchange, client[0], 1000), -ENOTSUP); /* a read finds out */
}

static void test_what_cannot_be_spliced(void **state)
{
    (void)state;
    begin(HEAD); /* not connected yet */
    assert_int_equal(exchange_body_splice(&owner.exchange, client[0], 1000), -ENOTSUP);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, owner.given == FIRST && owner.exchange.out.length == 0);
    client_sends(2 * FIRST);
    bench.net.loop.pipes.count = PIPES_MAX;
    assert_int_equal(exchange_body_splice(&owner.exchange, client[0], 1000), -ENOTSUP);
    bench.net.loop.pipes.count = 0;
    assert_true(exchange_body_splice(&owner.exchange, client[0], 1000) > 0);
}

static void test_chunks_are_not_spliced(void **state)
{
    (void)state;
    begin("POST /r HTTP/1.1\r\nHost: postern\r\nTransfer-Encoding: chunked\r\n\r\n");
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, owner.given == FIRST);
    assert_int_equal(exchange_body_splice(&owner.exchange, client[0], 1000), -ENOTSUP);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_a_long_body),
        T(test_an_upstream_that_is_behind),
        T(test_cancelled_with_bytes_on_their_way),
        T(test_an_upstream_that_aborts),
        T(test_a_client_that_has_nothing_or_is_gone),
        T(test_what_cannot_be_spliced),
        T(test_chunks_are_not_spliced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
