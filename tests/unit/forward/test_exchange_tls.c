/* Exchanges over TLS: who is let through and who is not, in words, and how a connection may end. */
#include "exchange_tls_fixture.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static time_t seconds; /* that the daemon's clock is ahead */

time_t __real_time(time_t *ret);
time_t __wrap_time(time_t *ret);
time_t __wrap_time(time_t *ret)
{
    time_t now = __real_time(NULL) + seconds;
    if (ret != NULL) {
        *ret = now;
    }
    return now;
}

/* ---- An upstream that is always faster ---- */

#define FLOOD_MOST ((size_t)4 * 1024 * 1024)

static BIO *flood;     /* what it says comes from here, and not from the socket; NULL: there is none */
static bool flooding;  /* there is always more: tickets, and no data */
static size_t flooded; /* bytes that were read of it in this turn */

static ssize_t take_flooded(void *data, size_t size)
{
    while (flooding && flooded < FLOOD_MOST && BIO_ctrl_pending(flood) < size) {
        assert_int_equal(SSL_new_session_ticket(far.ssl), 1);
        assert_int_equal(SSL_do_handshake(far.ssl), 1);
    }
    int n = BIO_read(flood, data, (int)size);
    flooded += n > 0 ? (size_t)n : 0;
    errno = EAGAIN;
    return n;
}

/* What was said before is in the socket still. */
ssize_t __real_recv(int fd, void *data, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags)
{
    ssize_t n = __real_recv(fd, data, size, flags);
    return n < 0 && errno == EAGAIN && flood != NULL ? take_flooded(data, size) : n;
}

/* ---- A connection that breaks between two records ---- */

static int sends_left = -1; /* before one fails; negative: none does */

ssize_t __real_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags)
{
    if (sends_left == 0) {
        errno = ECONNRESET;
        return -1;
    }
    sends_left -= sends_left > 0;
    return __real_send(fd, data, size, flags);
}

/* The upstream, which has shaken hands, writes there from now on. */
static void begin_flood(void)
{
    flood = BIO_new(BIO_s_mem());
    assert_non_null(flood);
    assert_int_equal(BIO_up_ref(flood), 1);
    SSL_set0_wbio(far.ssl, flood);
    flooding = true;
}

static int end_flood(void **state)
{
    flooding = false;
    int r = tear_down(state);
    BIO_free(flood);
    flood = NULL;
    return r;
}

static int set_up(void **state)
{
    seconds = 0;
    sends_left = -1;
    return set_up_tls(state);
}

static void fail_with(const char *words)
{
    start(GET);
    far_accept(&bench, &far);
    assert_refused(HTTP_REFUSED_UPSTREAM_TLS, words);
    assert_true(LIST_FIRST(&bench.worker.upstreams)->avoid.list[0].until >
                0); /* another address comes before it */
}

/* Fails the handshake unless it is all that is offered. */
static int select_http(SSL *ssl, const unsigned char **ret, unsigned char *ret_size,
                       const unsigned char *offered, unsigned size, void *data)
{
    (void)ssl;
    (void)data;
    *ret = offered + 1;
    *ret_size = 8;
    return size == 9 && memcmp(offered, "\x08http/1.1", 9) == 0 ? SSL_TLSEXT_ERR_OK
                                                                : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void test_get(void **state)
{
    (void)state;
    SSL_CTX_set_alpn_select_cb(bench.tls, select_http, NULL);
    use_once();
    assert_string_equal(SSL_get_servername(far.ssl, TLSEXT_NAMETYPE_host_name), "results.test");
    assert_int_equal(SSL_version(far.ssl), TLS1_3_VERSION);
    assert_int_equal(bench.worker.stats.idle, 1);
}

/* Tickets of TLS 1.3 that come while the connection is idle are no answer. */
static void test_used_again_after_tickets(void **state)
{
    (void)state;
    use_once();
    assert_int_equal(SSL_new_session_ticket(far.ssl), 1);
    assert_int_equal(SSL_do_handshake(far.ssl), 1);
    loopback_pass(&bench.net, 20);
    assert_int_equal(bench.worker.stats.idle, 1);
    start(GET);
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\n"));
    far_say(&bench, &far, OK);
    assert_whole("ok");
    assert_true(owner.reused);
}

/* What one record took out is out: no request that may have been acted on is sent again. */
static void test_broken_between_two_records(void **state)
{
    (void)state;
    use_once();
    owner_release(&owner);
    owner_init(&owner, &bench, "POST /r HTTP/1.1\r\nHost: postern\r\nContent-Length: 16384\r\n\r\n");
    for (unsigned i = 0; i < 16384; i++) {
        text_add_char(&owner.body, 'x');
    }
    sends_left = 1;
    owner_start(&owner);
    WAIT_FOR(&bench.net, owner.ends > 0);
    sends_left = -1;
    assert_true(owner.reused && owner.reached);
    assert_int_equal(owner.why, HTTP_REFUSED_UPSTREAM_RESET);
    assert_int_equal(bench.worker.stats.retried, 0);
}

/* No socket reports what comes from elsewhere. */
static void look(void)
{
    stream_again(owner.exchange.conn->stream, STREAM_READABLE);
}

/* Tickets without end are no reason to let the others on the loop wait. */
static void test_tickets_without_end(void **state)
{
    (void)state;
    connect_and_hear();
    begin_flood();
    for (unsigned i = 0; i < 5; i++) {
        flooded = 0;
        WAIT_FOR(&bench.net, (look(), flooded > 0));
        assert_in_range(flooded, 1, FLOOD_MOST / 4);
    }
    flooding = false;
    far_say(&bench, &far, OK);
    look();
    assert_whole("ok");
}

static void test_idle_closes(void **state)
{
    (void)state;
    use_once();
    far_close(&far);
    WAIT_FOR(&bench.net, bench.worker.stats.idle == 0);
}

static void expect_resumed(bool resumed, unsigned total)
{
    use_once();
    assert_int_equal(SSL_session_reused(far.ssl), resumed);
    assert_int_equal(bench.worker.stats.resumed, total);
}

static void end_connection(void (*end)(struct far *far))
{
    end(&far);
    far_release(&far);
    WAIT_FOR(&bench.net, bench.worker.stats.idle == 0);
}

/* Each connection after the first, however the one before it ended. */
static void resume(void)
{
    static void (*const ends[])(struct far * far) = {far_close, far_drop, far_reset};
    expect_resumed(false, 0);
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(ends); i++) {
        end_connection(ends[i % ARRAY_SIZE(ends)]);
        expect_resumed(true, i + 1);
    }
}

static void test_resumed(void **state)
{
    (void)state;
    resume();
}

static void test_resumed_under_tls_1_2(void **state)
{
    (void)state;
    assert_int_equal(SSL_CTX_set_max_proto_version(bench.tls, TLS1_2_VERSION), 1);
    resume();
}

/* With the session in the server's memory, and not in a ticket. A server that ends a connection otherwise forgets it. */
static void test_resumed_without_tickets(void **state)
{
    (void)state;
    assert_int_equal(SSL_CTX_set_max_proto_version(bench.tls, TLS1_2_VERSION), 1);
    SSL_CTX_set_options(bench.tls, SSL_OP_NO_TICKET);
    expect_resumed(false, 0);
    for (unsigned i = 0; i < 3; i++) {
        end_connection(far_close);
        expect_resumed(true, i + 1);
    }
}

/* A ticket that came by way of another is not newer than that: what was looked at is the certificate of then. */
static void look_again_after_an_hour(void)
{
    expect_resumed(false, 0);
    for (unsigned i = 0; i < 3; i++) {
        end_connection(far_close);
        seconds += 1100;
        expect_resumed(true, i + 1);
    }
    end_connection(far_close);
    seconds += 400;
    expect_resumed(false, 3);
    end_connection(far_close);
    expect_resumed(true, 4);
    end_connection(far_close);
    seconds -= 10; /* somebody set the clock: who knows */
    expect_resumed(false, 4);
}

static void test_looked_at_again(void **state)
{
    (void)state;
    look_again_after_an_hour();
}

static void test_looked_at_again_under_tls_1_2(void **state)
{
    (void)state;
    assert_int_equal(SSL_CTX_set_max_proto_version(bench.tls, TLS1_2_VERSION), 1);
    look_again_after_an_hour();
}

static void test_large_both_ways(void **state)
{
    (void)state;
    owner_init(&owner, &bench, "POST /r HTTP/1.1\r\nHost: postern\r\nContent-Length: 4000000\r\n\r\n");
    for (unsigned i = 0; i < 400000; i++) {
        text_addf(&owner.body, "%09u\n", i);
    }
    owner.step = 40000;
    owner_start(&owner);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "000399999\n"));
    assert_string_equal(strstr(far.heard.data, "\r\n\r\n") + 4, owner.body.data);
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n");
    far_say_bytes(&bench, &far, owner.body.data, owner.body.length);
    assert_whole(owner.body.data);
    assert_int_equal(bench.worker.stats.idle, 1);
}

static void test_until_a_clean_end(void **state)
{
    (void)state;
    connect_and_hear();
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\n\r\nall of it");
    far_close(&far);
    assert_whole("all of it");
}

static void test_until_a_cut(void **state)
{
    (void)state;
    connect_and_hear();
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\n\r\nall of it");
    far_drop(&far);
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_RESPONSE_CUT);
    assert_non_null(strstr(owner.detail, "without close_notify"));
}

static void test_stale(void **state)
{
    (void)state;
    use_once();
    start(GET);
    far_close(&far);
    far_release(&far);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\n"));
    far_say(&bench, &far, OK);
    assert_whole("ok");
    assert_int_equal(bench.worker.stats.retried, 1);
}

/* A request that can be sent once only looks before. */
static void test_a_post_finds_dead_connections(void **state)
{
    (void)state;
    static void (*const ends[])(struct far * far) = {far_close, far_drop, far_reset};
    for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
        use_once();
        ends[i](&far);
        far_release(&far);
        start("POST /r HTTP/1.1\r\nHost: postern\r\nContent-Length: 0\r\n\r\n");
        far_accept(&bench, &far);
        WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\n"));
        far_say(&bench, &far, OK);
        assert_whole("ok");
        end_connection(far_close);
    }
    assert_int_equal(bench.worker.stats.retried, 0);
    assert_int_equal(bench.worker.stats.reused, 0);
}

static void test_other_name(void **state)
{
    (void)state;
    bench.forward->server_name = "results.example";
    fail_with("ostname mismatch: wanted results.example, the certificate names results.test, other.test");
}

static void test_address(void **state)
{
    (void)state;
    bench.forward->server_name = "127.0.0.1";
    use_once();
    assert_null(SSL_get_servername(far.ssl, TLSEXT_NAMETYPE_host_name));
}

static void test_other_address(void **state)
{
    (void)state;
    bench.forward->server_name = "127.0.0.2";
    fail_with("IP address mismatch: wanted 127.0.0.2");
}

static void test_expired(void **state)
{
    (void)state;
    struct certified old;
    authority_certify(&authority, "old", "DNS:results.test", -60, &old);
    SSL_CTX_free(bench.tls);
    bench.tls = certified_server(&old);
    fail_with("TLS with results.test: certificate has expired");
}

static void test_unknown_authority(void **state)
{
    (void)state;
    bench.forward->ca_file = NULL;
    fail_with("unable to get local issuer certificate (trusted are the system's CAs)");
}

static void test_old_version(void **state)
{
    (void)state;
    SSL_CTX_set_security_level(bench.tls, 0);
    assert_int_equal(SSL_CTX_set_min_proto_version(bench.tls, TLS1_VERSION), 1);
    assert_int_equal(SSL_CTX_set_max_proto_version(bench.tls, TLS1_1_VERSION), 1);
    fail_with("the peer speaks neither TLS 1.2 nor 1.3");
}

static void test_no_tls(void **state)
{
    (void)state;
    SSL_CTX_free(bench.tls);
    bench.tls = NULL;
    start(GET);
    far_accept(&bench, &far);
    far_say(&bench, &far, "HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_refused(HTTP_REFUSED_UPSTREAM_TLS, "wrong version number");
}

static void test_closes_in_the_handshake(void **state)
{
    (void)state;
    start(GET);
    far_accept(&bench, &far);
    far_drop(&far);
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_UPSTREAM_TLS);
    assert_non_null(strstr(owner.detail, "TLS with results.test: "));
}

static void test_never_finishes_the_handshake(void **state)
{
    (void)state;
    bench.route->connect_timeout_ms = 200;
    SSL_CTX_free(bench.tls);
    bench.tls = NULL;
    start(GET);
    far_accept(&bench, &far);
    assert_refused(HTTP_REFUSED_UPSTREAM_TIMEOUT, "handshake with results.test was not over within 200 ms");
}

static void test_cancel_in_the_handshake(void **state)
{
    (void)state;
    start(GET);
    far_accept(&bench, &far);
    exchange_cancel(&owner.exchange);
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_REQUEST_CUT);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_get),
        T(test_used_again_after_tickets),
        T(test_broken_between_two_records),
        cmocka_unit_test_setup_teardown(test_tickets_without_end, set_up, end_flood),
        T(test_idle_closes),
        T(test_resumed),
        T(test_resumed_under_tls_1_2),
        T(test_resumed_without_tickets),
        T(test_looked_at_again),
        T(test_looked_at_again_under_tls_1_2),
        T(test_large_both_ways),
        T(test_until_a_clean_end),
        T(test_until_a_cut),
        T(test_stale),
        T(test_a_post_finds_dead_connections),
        T(test_other_name),
        T(test_address),
        T(test_other_address),
        T(test_expired),
        T(test_unknown_authority),
        T(test_old_version),
        T(test_no_tls),
        T(test_closes_in_the_handshake),
        T(test_never_finishes_the_handshake),
        T(test_cancel_in_the_handshake),
    };
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
