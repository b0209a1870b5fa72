/* The opening of a relay: the ClientHello, the judgement of its name, where it leads, and its replay. */
#include "relay/opening.h"

#include "fault.h"
#include "hello_maker.h"
#include "relay_bench.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int __wrap_resolve_start(struct resolver *resolver, const char *name, struct resolve_request *request,
                         resolve_cb cb, struct resolved *ret);

static char resolved_name[256];

/* Every name is this machine's, at once. */
int __wrap_resolve_start(struct resolver *resolver, const char *name, struct resolve_request *request,
                         resolve_cb cb, struct resolved *ret)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    (void)resolver;
    (void)request;
    (void)cb;
    snprintf(resolved_name, sizeof resolved_name, "%s", name);
    memset(ret, 0, sizeof *ret);
    ret->count = 1;
    ret->address[0].length = sizeof at;
    memcpy(&ret->address[0].u, &at, sizeof at);
    return 1;
}

static struct relay_bench bench;
static struct config_sni sni[3];
static struct bytes *hello;

static int set_up(void **state)
{
    (void)state;
    relay_bench_open(&bench);
    memset(sni, 0, sizeof sni);
    sni[0].pattern = "*.example.com";
    sni[1].pattern = "kms.example.org";
    bench.route.sni = sni;
    bench.route.sni_count = 2;
    bench.route.allow_private = true;
    hello = calloc(1, sizeof *hello);
    return hello != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    relay_bench_close(&bench);
    free(hello);
    return 0;
}

static void client_sends(const void *data, size_t size)
{
    assert_int_equal(send(bench.client.fd, data, size, MSG_NOSIGNAL), size);
}

static void say_hello(const char *name)
{
    hello->length = 0;
    make_hello(hello, name);
    client_sends(hello->at, hello->length);
}

/* Reads exactly so many bytes. */
static void read_bytes(int fd, unsigned char *data, size_t size)
{
    size_t done = 0;
    uint64_t limit = loopback_limit();
    while (done < size) {
        ssize_t n = recv(fd, data + done, size - done, 0);
        if (n > 0) {
            done += (size_t)n;
        } else {
            assert_true(n < 0 && errno == EAGAIN);
            loopback_check(limit, "all bytes", __FILE__, __LINE__);
            loopback_turn(&bench.loopback);
        }
    }
}

static void assert_replayed(void)
{
    unsigned char *got = malloc(hello->length);
    assert_non_null(got);
    relay_bench_accept(&bench);
    read_bytes(bench.upstream.fd, got, hello->length);
    assert_memory_equal(got, hello->at, hello->length);
    free(got);
}

/* What comes back to a client that is refused: an alert of that kind and an end; 0: a reset. */
static void assert_refused(enum reason why, unsigned char alert)
{
    unsigned char data[16];
    relay_bench_finish(&bench, why);
    ssize_t n = recv(bench.client.fd, data, sizeof data, 0);
    if (alert == 0) {
        assert_true(n < 0 && errno == ECONNRESET);
    } else {
        assert_int_equal(n, 7);
        assert_int_equal(data[0], 21);
        assert_int_equal(data[5], 2);
        assert_int_equal(data[6], alert);
        assert_int_equal(recv(bench.client.fd, data, sizeof data, 0), 0);
    }
    assert_int_equal(bench.opened, 0);
    relay_bench_reset(&bench);
}

/* ---- Allowed ---- */

static void test_a_hello_is_replayed_as_it_came(void **state)
{
    char buffer[ADDR_TEXT_MAX], text[64];
    (void)state;
    relay_bench_start(&bench, pair_of_tcp);
    assert_int_equal(bench.relay.state, RELAY_HELLO);
    say_hello("A.Example.COM");
    assert_replayed();
    assert_string_equal(bench.relay.server_name, "a.example.com");
    snprintf(text, sizeof text, "tcp://127.0.0.1:%u", bench.port);
    assert_string_equal(relay_destination(&bench.relay, buffer), text);
    peer_finish(&bench.client);
    WAIT_FOR(&bench.loopback, peer_hear(&bench.upstream)->ended);
    peer_finish(&bench.upstream);
    relay_bench_finish(&bench, REASON_FINISHED);
    assert_int_equal(bench.moved_in, hello->length);
    assert_string_equal(bench.server_name, "a.example.com");
}

static void test_a_hello_byte_by_byte_with_more_behind_it(void **state)
{
    (void)state;
    relay_bench_start(&bench, pair_of_tcp);
    make_hello(hello, "kms.example.org");
    put(hello, "early data", 10);
    for (size_t i = 0; i < hello->length; i++) {
        client_sends(hello->at + i, 1);
        loopback_turn(&bench.loopback);
    }
    assert_replayed();
    relay_end(&bench.relay, REASON_SHUTDOWN);
    relay_bench_finish(&bench, REASON_SHUTDOWN);
}

/* Larger than the first piece of memory for it. */
static void test_a_large_hello(void **state)
{
    struct extension extensions[8];
    unsigned char name[64];
    struct bytes *message = calloc(1, sizeof *message);
    (void)state;
    assert_non_null(message);
    size_t count = usual_extensions(extensions);
    extensions[count++] =
        (struct extension){.type = 0, .length = make_server_name(name, "a.example.com", 13), .body = name};
    extensions[count++] = (struct extension){.type = 0x7777, .length = 20000};
    struct spec spec = {.extensions = extensions, .count = count};
    make_message(message, &spec);
    make_records(hello, message->at, message->length, 5000);
    relay_bench_start(&bench, pair_of_tcp);
    client_sends(hello->at, hello->length);
    assert_replayed();
    relay_end(&bench.relay, REASON_SHUTDOWN);
    relay_bench_finish(&bench, REASON_SHUTDOWN);
    free(message);
}

static void test_the_name_is_the_destination(void **state)
{
    char buffer[ADDR_TEXT_MAX], text[64];
    (void)state;
    bench.route.to_kind = CONFIG_TO_SNI;
    bench.route.port = bench.port;
    relay_bench_start(&bench, pair_of_tcp);
    assert_null(relay_destination(&bench.relay, buffer)); /* not known yet */
    assert_null(relay_upstream_address(&bench.relay, buffer));
    say_hello("a.b.example.com");
    assert_replayed();
    assert_string_equal(resolved_name, "a.b.example.com");
    snprintf(text, sizeof text, "tcp://a.b.example.com:%u", bench.port);
    assert_string_equal(relay_destination(&bench.relay, buffer), text);
    snprintf(text, sizeof text, "127.0.0.1:%u", bench.port);
    assert_string_equal(relay_upstream_address(&bench.relay, buffer), text);
    relay_end(&bench.relay, REASON_SHUTDOWN);
    relay_bench_finish(&bench, REASON_SHUTDOWN);
}

static void test_the_name_chooses_the_destination(void **state)
{
    char buffer[ADDR_TEXT_MAX], text[64];
    (void)state;
    bench.route.to_kind = CONFIG_TO_SNI_MAP;
    relay_bench_lead(&bench, refusing_port());
    sni[0].to = bench.route.to;
    relay_bench_lead(&bench, bench.port);
    sni[1].to = bench.route.to;
    relay_bench_start(&bench, pair_of_tcp);
    assert_null(relay_destination(&bench.relay, buffer));
    say_hello("kms.example.org");
    assert_replayed();
    snprintf(text, sizeof text, "tcp://127.0.0.1:%u", bench.port);
    assert_string_equal(relay_destination(&bench.relay, buffer), text);
    relay_end(&bench.relay, REASON_SHUTDOWN);
    relay_bench_finish(&bench, REASON_SHUTDOWN);
    relay_bench_reset(&bench);
    relay_bench_start(&bench, pair_of_tcp);
    say_hello("x.example.com"); /* leads where nobody is */
    assert_refused(REASON_CONNECT_REFUSED, 80);
    relay_bench_start(&bench, pair_of_tcp);
    say_hello("example.net");
    assert_refused(REASON_DENIED_SNI, 112);
    assert_string_equal(bench.destination, "");
}

/* ---- Refused ---- */

static void test_refusals(void **state)
{
    (void)state;
    relay_bench_start(&bench, pair_of_tcp);
    say_hello("example.net");
    assert_refused(REASON_DENIED_SNI, 112);
    assert_string_equal(bench.server_name, "example.net");
    relay_bench_start(&bench, pair_of_tcp);
    say_hello(NULL);
    assert_refused(REASON_NO_SNI, 112);
    relay_bench_start(&bench, pair_of_tcp);
    client_sends("GET / HTTP/1.1\r\n\r\n", 18);
    assert_refused(REASON_NOT_TLS, 0);
    relay_bench_start(&bench, pair_of_tcp);
    client_sends("\x16\x03\x01\x00\x04\x02\x00\x00\x00", 9); /* a ServerHello */
    assert_refused(REASON_BAD_HELLO, 50);
}

static void test_a_denied_address_is_told_by_an_alert(void **state)
{
    (void)state;
    bench.route.to_kind = CONFIG_TO_SNI;
    bench.route.port = bench.port;
    bench.route.allow_private = false;
    relay_bench_start(&bench, pair_of_tcp);
    say_hello("a.example.com");
    assert_refused(REASON_DENIED_ADDRESS, 49);
}

static void test_a_client_that_leaves_in_its_hello(void **state)
{
    (void)state;
    make_hello(hello, "a.example.com");
    for (int abort = 0; abort <= 1; abort++) {
        relay_bench_start(&bench, pair_of_tcp);
        client_sends(hello->at, 30);
        if (abort) {
            peer_reset(&bench.client);
        } else {
            peer_finish(&bench.client);
        }
        relay_bench_finish(&bench, abort ? REASON_CLIENT_RESET : REASON_BAD_HELLO);
        relay_bench_reset(&bench);
    }
}

/* As one that only looks whether somebody listens does. */
static void test_a_client_that_says_nothing(void **state)
{
    char byte;
    (void)state;
    relay_bench_start(&bench, pair_of_tcp);
    peer_finish(&bench.client);
    relay_bench_finish(&bench, REASON_FINISHED);
    assert_int_equal(recv(bench.client.fd, &byte, 1, 0), 0);
    assert_int_equal(bench.opened, 0);
}

static void test_a_hello_that_takes_too_long(void **state)
{
    (void)state;
    bench.route.hello_timeout_ms = 60;
    relay_bench_start(&bench, pair_of_tcp);
    make_hello(hello, "a.example.com");
    for (size_t i = 0; i + 1 < hello->length && bench.ended == 0;
         i++) { /* bytes that trickle in gain nothing */
        (void)!send(bench.client.fd, hello->at + i, 1, MSG_NOSIGNAL);
        loopback_pass(&bench.loopback, 15);
    }
    assert_int_equal(bench.ended, 1); /* before the last byte but one */
    relay_bench_finish(&bench, REASON_HELLO_TIMEOUT);
}

static void test_a_hello_that_does_not_end(void **state)
{
    static const unsigned char header[] = {22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff};
    static const unsigned char record[5 + 0x4000] = {22, 3, 1, 0x40, 0};
    (void)state;
    relay_bench_start(&bench, pair_of_tcp);
    client_sends(header, sizeof header);
    uint64_t limit = loopback_limit();
    while (bench.ended == 0) {
        (void)!send(bench.client.fd, record, sizeof record, MSG_NOSIGNAL);
        loopback_turn(&bench.loopback);
        loopback_check(limit, "the refusal", __FILE__, __LINE__);
    }
    relay_bench_finish(&bench, REASON_BAD_HELLO);
}

static void test_ended_from_outside_while_reading(void **state)
{
    (void)state;
    relay_bench_start(&bench, pair_of_tcp);
    make_hello(hello, "a.example.com");
    client_sends(hello->at, 50);
    loopback_pass(&bench.loopback, 3);
    relay_end(&bench.relay, REASON_SHUTDOWN);
    assert_int_equal(bench.ended, 0);
    relay_bench_finish(&bench, REASON_SHUTDOWN);
    opening_free(NULL);
}

/* ---- Faults ---- */

static void whole_opening(void *arg)
{
    const char *name = arg;
    relay_bench_start(&bench, pair_of_tcp);
    fault_spare(true);
    hello->length = 0;
    make_hello(hello, name);
    (void)!send(bench.client.fd, hello->at, 100, MSG_NOSIGNAL);
    loopback_turn(&bench.loopback);
    (void)!send(bench.client.fd, hello->at + 100, hello->length - 100, MSG_NOSIGNAL);
    fault_spare(false);
    WAIT_FOR(&bench.loopback, bench.opened + bench.ended > 0);
    relay_end(&bench.relay, REASON_SHUTDOWN);
    WAIT_FOR(&bench.loopback, bench.ended > 0);
    relay_bench_reset(&bench);
    assert_int_equal(bench.ended, 1);
    fault_spare(true);
    for (int fd; (fd = accept(bench.listener, NULL, NULL)) >= 0;) {
        close(fd);
    }
    fault_spare(false);
}

static void test_faults(void **state)
{
    const unsigned calls =
        FAULT_MEMORY | FAULT_SOCKET | FAULT_CONNECT | FAULT_SOCKOPT | FAULT_READ | FAULT_WRITE;
    char allowed[] = "kms.example.org", denied[] = "example.net";
    (void)state;
    bench.route.to_kind = CONFIG_TO_SNI;
    bench.route.port = bench.port;
    assert_true(fault_loop("relay opening", calls, whole_opening, allowed) >= 10);
    assert_true(fault_loop("relay opening, sticky", calls | FAULT_STICKY, whole_opening, allowed) >= 10);
    assert_true(fault_loop("relay opening, denied", calls, whole_opening, denied) >= 5);
    bench.route.to_kind = CONFIG_TO_SNI_MAP;
    sni[1].to = bench.route.to;
    assert_true(fault_loop("relay opening, map", calls, whole_opening, allowed) >= 10);
}

/* A hello over the first piece of memory for it, which cannot grow. */
static void test_no_memory_for_a_large_hello(void **state)
{
    static const unsigned char record[5 + 0x3000] = {22, 3, 1, 0x30, 0, 1, 0, 0x80, 0};
    (void)state;
    relay_bench_start(&bench, pair_of_tcp);
    client_sends(record, 100);
    loopback_pass(&bench.loopback, 3);
    fault_arm(FAULT_MEMORY, 1);
    client_sends(record + 100, sizeof record - 100);
    WAIT_FOR(&bench.loopback, bench.ended > 0);
    fault_disarm();
    relay_bench_finish(&bench, REASON_NO_MEMORY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    loopback_spare_libuv();
    const struct CMUnitTest tests[] = {
        TEST(test_a_hello_is_replayed_as_it_came),
        TEST(test_a_hello_byte_by_byte_with_more_behind_it),
        TEST(test_a_large_hello),
        TEST(test_the_name_is_the_destination),
        TEST(test_the_name_chooses_the_destination),
        TEST(test_refusals),
        TEST(test_a_denied_address_is_told_by_an_alert),
        TEST(test_a_client_that_leaves_in_its_hello),
        TEST(test_a_client_that_says_nothing),
        TEST(test_a_hello_that_takes_too_long),
        TEST(test_a_hello_that_does_not_end),
        TEST(test_ended_from_outside_while_reading),
        TEST(test_no_memory_for_a_large_hello),
        TEST(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
