/* What vsock-proxy reads before it knows anybody: RUST_LOG, the server's name, and the look-up of names. */
#include "daemon/vsock_proxy.h"
#include "fake_names.h"

static int reset(void **state)
{
    (void)state;
    memset(&names, 0, sizeof(names));
    return 0;
}

/* ---- RUST_LOG ---- */

static void test_rust_log(void **state)
{
    static const struct {
        const char *text;
        enum log_level level;
    } cases[] = {
        {NULL, LOG_LEVEL_INFO},
        {"", LOG_LEVEL_INFO},
        {"off", LOG_LEVEL_ERROR},
        {"error", LOG_LEVEL_ERROR},
        {"warn", LOG_LEVEL_WARN},
        {"INFO", LOG_LEVEL_INFO},
        {"debug", LOG_LEVEL_DEBUG},
        {"trace", LOG_LEVEL_DEBUG},
        {"warning", LOG_LEVEL_INFO},
        {"hyper=trace", LOG_LEVEL_INFO},
        {"vsock_proxy", LOG_LEVEL_DEBUG},
        {"vsock_proxy=warn", LOG_LEVEL_WARN},
        {"vsock_proxy::dns=error", LOG_LEVEL_ERROR},
        {"vsock_proxyz=error", LOG_LEVEL_INFO},
        {"vsock_proxy=loud", LOG_LEVEL_INFO},
        {"vsock_proxy=error,trace", LOG_LEVEL_ERROR},
        {"trace,vsock_proxy=error", LOG_LEVEL_ERROR},
        {"warn,hyper=trace", LOG_LEVEL_WARN},
        {",,warn,", LOG_LEVEL_WARN},
        {"warn/debug,trace", LOG_LEVEL_WARN},
        {"/error", LOG_LEVEL_INFO},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        if (vsock_proxy_log_level(cases[i].text) != cases[i].level) {
            fail_msg("%s", cases[i].text);
        }
    }
}

/* ---- The server ---- */

static void test_servers(void **state)
{
    struct addr addr;
    struct error err = ERROR_INIT;
    (void)state;
    assert_int_equal(vsock_proxy_server("KMS.us-east-1.amazonaws.com.", 443, &addr, &err), 0);
    assert_int_equal(addr.kind, ADDR_TCP);
    assert_int_equal(addr.port, 443);
    assert_false(addr.literal);
    assert_string_equal(addr.host, "kms.us-east-1.amazonaws.com");
    assert_int_equal(vsock_proxy_server("10.0.0.1", 1, &addr, &err), 0);
    assert_true(addr.literal);
    assert_int_equal(vsock_proxy_server("2001:db8::1", 65535, &addr, &err), 0);
    assert_true(addr.literal);
    assert_string_equal(addr.host, "2001:db8::1");
}

static void test_what_is_no_server(void **state)
{
    static const char *const hosts[] = {"",        "a..b", "bücher.example", "127.1",
                                        "kms:443", "a b",  "tcp://h",        "[::1]"};
    char long_host[1200];
    struct addr addr;
    struct error err = ERROR_INIT;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
        if (vsock_proxy_server(hosts[i], 1, &addr, &err) != -EINVAL) {
            fail_msg("%s", hosts[i]);
        }
        assert_int_equal(strncmp(err.text, "Could not parse domain name: ", 29), 0);
    }
    memset(long_host, 'a', sizeof(long_host) - 1);
    long_host[sizeof(long_host) - 1] = '\0';
    assert_int_equal(vsock_proxy_server(long_host, 1, &addr, &err), -EINVAL);
    assert_int_equal(vsock_proxy_server("16", 1, &addr, &err), -EINVAL);
    assert_string_equal(err.text,
                        "Could not parse domain name: 16 looks like a CID: remote_addr is the TCP server to "
                        "reach; the enclave connects to CID 3 at local_port");
}

static void test_lookup(void **state)
{
    struct allow_ips ips = {.count = 0};
    struct error err = ERROR_INIT;
    (void)state;
    answer("192.0.2.1");
    names.ips[1] = "2001:db8::1";
    assert_int_equal(vsock_proxy_lookup(NULL, "A.example", &ips, &err), 0);
    assert_string_equal(names.host, "a.example");
    assert_int_equal(ips.count, 2);
    assert_int_equal(ips.list[0].family, AF_INET);
    assert_memory_equal(ips.list[0].bytes, "\300\0\2\1", 4);
    assert_int_equal(ips.list[1].family, AF_INET6);
    assert_int_equal(ips.list[1].bytes[15], 1);
    assert_int_equal(names.outstanding, 0);

    names.odd_family = true;
    assert_int_equal(vsock_proxy_lookup(NULL, "a.example", &ips, &err), 0);
    assert_int_equal(ips.count, 1);
    assert_int_equal(ips.list[0].family, AF_INET6);
}

static void test_lookup_is_bounded(void **state)
{
    struct allow_ips ips;
    struct error err = ERROR_INIT;
    (void)state;
    answer("192.0.2.1");
    for (size_t i = 0; i <= ALLOW_IPS_MAX; i++) {
        names.ips[i] = "192.0.2.1";
    }
    assert_int_equal(vsock_proxy_lookup(NULL, "a.example", &ips, &err), 0);
    assert_int_equal(ips.count, ALLOW_IPS_MAX);
}

static void test_lookup_fails(void **state)
{
    struct allow_ips ips = {.count = 0};
    struct error err = ERROR_INIT;
    (void)state;
    names.rc = EAI_NONAME;
    assert_int_equal(vsock_proxy_lookup(NULL, "a.example", &ips, &err), -ENOENT);
    assert_string_equal(err.text,
                        "DNS lookup failed!: a.example: Name or service not known; check the name, and the "
                        "servers in /etc/resolv.conf");
    names.rc = EAI_SYSTEM;
    names.os_error = EMFILE;
    assert_int_equal(vsock_proxy_lookup(NULL, "a.example", &ips, &err), -ENOENT);
    assert_non_null(strstr(err.text, "a.example: Too many open files; "));
    names.asked = 0;
    /* getaddrinfo() would take it for 0.0.0.16. */
    assert_int_equal(vsock_proxy_lookup(NULL, "16", &ips, &err), -EINVAL);
    assert_int_equal(names.asked, 0);
    assert_int_equal(names.outstanding, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_rust_log, reset),
        cmocka_unit_test_teardown(test_servers, reset),
        cmocka_unit_test_teardown(test_what_is_no_server, reset),
        cmocka_unit_test_teardown(test_lookup, reset),
        cmocka_unit_test_teardown(test_lookup_is_bounded, reset),
        cmocka_unit_test_teardown(test_lookup_fails, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
