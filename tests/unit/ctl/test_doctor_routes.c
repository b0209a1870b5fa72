/* The doctor in front of faults of the routes: names, connections, certificates. */
#include "dns_fake.h"
#include "doctor_fixture.h"
#include "tls_peer.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/un.h>
#include <unistd.h>
struct dns_thread {
    struct dns_fake fake;
    uv_loop_t loop;
    uv_async_t stop;
    uv_thread_t thread;
};

static void on_dns_stop(uv_async_t *stop)
{
    uv_close((uv_handle_t *)stop, NULL);
}

static void dns_run(void *data)
{
    struct dns_thread *dns = data;
    uv_run(&dns->loop, UV_RUN_DEFAULT);
    dns_fake_close(&dns->fake);
}

/* What to type to ask it for the name. */
static void write_dig(const struct dns_thread *dns, const char *name, char *dig, size_t size)
{
    snprintf(dig, size, "dig @127.0.0.1 -p %s %s", strchr(dns->fake.servers, ':') + 1, name);
}

static struct dns_thread *dns_init(void)
{
    struct dns_thread *dns = calloc(1, sizeof *dns);
    assert_non_null(dns);
    assert_int_equal(uv_loop_init(&dns->loop), 0);
    assert_int_equal(uv_async_init(&dns->loop, &dns->stop, on_dns_stop), 0);
    dns_fake_open(&dns->fake, &dns->loop);
    return dns;
}

static void dns_stop(struct dns_thread *dns)
{
    uv_async_send(&dns->stop);
    assert_int_equal(uv_thread_join(&dns->thread), 0);
    assert_int_equal(uv_loop_close(&dns->loop), 0);
    free(dns);
}

static void faults_of_names(void **state)
{
    struct fixture *fixture = *state;
    struct dns_thread *dns = dns_init();
    char dig[100];
    dns_fake_rule(&dns->fake, "private.example.com")->a = 2;
    dns_fake_rule(&dns->fake, "broken.example.com")->rcode = DNS_SERVFAIL;
    configure(
        fixture,
        "dns: {servers: [\"%s\"], timeout: 1m}\n"
        "routes:\n"
        "  typo: {type: relay, to: \"tcp://kmss.example.com:443\"}\n"
        "  private: {type: relay, to: \"tcp://private.example.com:443\"}\n"
        "  broken: {type: relay, to: \"tcp://broken.example.com:443\"}\n"
        "  family: {type: relay, to: \"tcp://private.example.com:443\", family: ipv6, allow_private: true}\n",
        dns->fake.servers);
    assert_int_equal(uv_thread_create(&dns->thread, dns_run, dns), 0);
    examine(fixture);
    write_dig(dns, "broken.example.com", dig, sizeof dig);
    dns_stop(dns);
    expect_fault(fixture, "fail", "dns", "typo", "has no address (dns_not_found)",
                 "getent ahosts kmss.example.com");
    expect_fault(fixture, "fail", "dns", "private", "(denied_address)", "line 7: allow_private: true");
    expect_fault(fixture, "fail", "dns", "broken", "(dns_failed)", dig);
    expect_fault(fixture, "fail", "dns", "family", "unwanted (see `family`)", "");
}

/* Names are asked for in IPv6, too. */
static void fault_no_server_for_names(void **state)
{
    struct fixture *fixture = *state;
    configure(fixture,
              "dns: {servers: [\"[::1]:%u\"], timeout: 200ms}\n"
              "routes:\n  silent: {type: relay, to: \"tcp://silent.example.com:443\"}\n",
              1u);
    examine(fixture);
    expect_fault(fixture, "fail", "dns", "silent", "silent.example.com: the resolver",
                 "dig @::1 -p 1 silent.example.com");
}

static void fault_a_silent_server_for_names(void **state)
{
    struct fixture *fixture = *state;
    struct dns_thread *dns = dns_init();
    char dig[100];
    dns->fake.silent = true;
    configure(fixture,
              "dns: {servers: [\"%s\"], timeout: 200ms}\n"
              "routes:\n  silent: {type: relay, to: \"tcp://silent.example.com:443\"}\n",
              dns->fake.servers);
    assert_int_equal(uv_thread_create(&dns->thread, dns_run, dns), 0);
    examine(fixture);
    write_dig(dns, "silent.example.com", dig, sizeof dig);
    dns_stop(dns);
    expect_fault(fixture, "fail", "dns", "silent", "(dns_timeout)", dig);
}

static void fault_connection_refused(void **state)
{
    struct fixture *fixture = *state;
    unsigned port;
    close(listen_on_loopback(&port, 8));
    configure(fixture,
              "routes:\n  tcp: {type: relay, to: \"tcp://127.0.0.1:%u\"}\n"
              "  path: {type: relay, to: \"unix://%s/none.sock\"}\n",
              port, fixture->directory);
    examine(fixture);
    expect_fault(fixture, "fail", "connect", "tcp", "Connection refused", "nc -vz 127.0.0.1 ");
    expect_fault(fixture, "fail", "connect", "path", "No such file or directory", "ls -l ");
}

/* A listener whose queue is full drops what comes: what a security group looks like from here. */
static void fault_connection_dropped(void **state)
{
    struct fixture *fixture = *state;
    unsigned port;
    int fillers[8];
    int fd = listen_on_loopback(&port, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (size_t i = 0; i < ARRAY_SIZE(fillers); i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fillers[i], (struct sockaddr *)&address, sizeof address);
    }
    struct pollfd queue = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&queue, 1, -1), 1); /* there is room for one, and it is there */
    configure(fixture, "routes:\n  r: {type: relay, to: \"tcp://127.0.0.1:%u\", connect_timeout: 100ms}\n",
              port);
    examine(fixture);
    expect_fault(fixture, "fail", "connect", "r", "timed out", "traceroute -T -p ");
    for (size_t i = 0; i < ARRAY_SIZE(fillers); i++) {
        close(fillers[i]);
    }
    close(fd);
}

static void a_path_that_answers(void **state)
{
    struct fixture *fixture = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/peer.sock", fixture->directory);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 8), 0);
    configure(fixture, "routes:\n  r: {type: relay, to: \"unix://%s\"}\n", address.sun_path);
    examine(fixture);
    expect_ok(fixture, "connect", "r", "answers");
    close(fd);
}

static void faults_of_certificates(void **state)
{
    struct fixture *fixture = *state;
    struct tls_peer peer = {.port = 0};
    tls_peer_start(&peer, "DNS:kms.test, IP:127.0.0.1, DNS:a.test, DNS:b.test, DNS:c.test, DNS:d.test");
    configure(fixture,
              "routes:\n"
              "  good: {type: relay, to: \"tcp://127.0.0.1:%u\", sni: [kms.test, \"*.kms.test\"], "
              "connect_timeout: 1m}\n"
              "  wrong: {type: relay, to: \"tcp://127.0.0.1:%u\", sni: [sts.test], connect_timeout: 1m}\n"
              "  map: {type: relay, to: {sni: {kms.test: \"tcp://127.0.0.1:%u\", \"*.x.test\": "
              "\"tcp://127.0.0.1:%u\"}}, connect_timeout: 1m}\n"
              "  plain: {type: relay, to: \"tcp://127.0.0.1:%u\", sni: [\"*.kms.test\"]}\n"
              "  wild: {type: relay, to: sni, sni: [\"*.kms.test\"], port: %u}\n",
              peer.port, peer.port, peer.port, peer.port, peer.port, peer.port);
    setenv("SSL_CERT_FILE", peer.trust, 1);
    examine(fixture);
    expect_ok(fixture, "tls", "good", "kms.test: certificate and name are right (TLSv1.3)");
    expect_fault(fixture, "fail", "tls", "wrong",
                 "(the certificate is for kms.test, a.test, b.test, c.test and others)",
                 "openssl s_client -connect 127.0.0.1:");
    expect_ok(fixture, "tls", "map", "kms.test: ");
    expect_ok(fixture, "connect", "plain", "answers");
    find(fixture, "connect", "wild", "only wildcards");
    setenv("SSL_CERT_FILE", "/dev/null", 1);
    examine(fixture);
    expect_fault(fixture, "warn", "tls", "good", "this host does not trust the certificate",
                 "openssl s_client");
    unsetenv("SSL_CERT_FILE");
    tls_peer_stop(&peer);
}

static void a_certificate_without_names(void **state)
{
    struct fixture *fixture = *state;
    struct tls_peer peer = {.port = 0};
    tls_peer_start(&peer, "IP:127.0.0.1");
    configure(
        fixture,
        "routes:\n  r: {type: relay, to: \"tcp://127.0.0.1:%u\", sni: [kms.test], connect_timeout: 1m}\n",
        peer.port);
    examine(fixture);
    expect_fault(fixture, "fail", "tls", "r", "the certificate is for no host name", "openssl s_client");
    tls_peer_stop(&peer);
}

/* Whoever answers has written it. */
static void a_certificate_that_would_move_the_cursor(void **state)
{
    struct fixture *fixture = *state;
    struct tls_peer peer = {.port = 0};
    tls_peer_start(&peer, "DNS:\033[2J.test, DNS:\xff\xfe.test, DNS:\"a\".test");
    configure(
        fixture,
        "routes:\n  r: {type: relay, to: \"tcp://127.0.0.1:%u\", sni: [kms.test], connect_timeout: 1m}\n",
        peer.port);
    examine(fixture);
    expect_fault(fixture, "fail", "tls", "r",
                 "the certificate is for \\u001b[2J.test, \uFFFD\uFFFD.test, \"a\".test", "openssl s_client");
    tls_peer_stop(&peer);
}

static void answer_and_close(void *data)
{
    int fd = accept(*(int *)data, NULL, NULL);
    static const char words[] = "220 mail.example.com ESMTP\r\n";
    send(fd, words, sizeof words - 1, MSG_NOSIGNAL);
    close(fd);
}

static void fault_not_tls(void **state)
{
    struct fixture *fixture = *state;
    unsigned port;
    uv_thread_t thread;
    int fd = listen_on_loopback(&port, 8);
    configure(
        fixture,
        "routes:\n  r: {type: relay, to: \"tcp://127.0.0.1:%u\", sni: [kms.test], connect_timeout: 1m}\n",
        port);
    assert_int_equal(uv_thread_create(&thread, answer_and_close, &fd), 0);
    examine(fixture);
    assert_int_equal(uv_thread_join(&thread), 0);
    expect_fault(fixture, "fail", "tls", "r", "no TLS handshake (", "openssl s_client");
    fixture->host.patience_ms = 200;
    examine(fixture); /* now nobody accepts: silence */
    expect_fault(fixture, "fail", "tls", "r", "no answer to the ClientHello in time", "openssl s_client");
    close(fd);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        WITH_HOST(faults_of_names),
        WITH_HOST(fault_a_silent_server_for_names),
        WITH_HOST(fault_no_server_for_names),
        WITH_HOST(fault_connection_refused),
        WITH_HOST(fault_connection_dropped),
        WITH_HOST(a_path_that_answers),
        WITH_HOST(faults_of_certificates),
        WITH_HOST(a_certificate_without_names),
        WITH_HOST(a_certificate_that_would_move_the_cursor),
        WITH_HOST(fault_not_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
