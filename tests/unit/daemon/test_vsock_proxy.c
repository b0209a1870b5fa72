/*
 * vsock-proxy up to the moment when the engine takes over: the configuration made, messages and exit
 * codes. The linker puts the function below in the place of server_run().
 */
#include "daemon/server.h"
#include "daemon/vsock_proxy.h"
#include "fake_names.h"
#include "fault.h"
#include <fcntl.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- The engine ---- */

static struct {
    unsigned calls;
    int code;
    const char *config_file;
    const char *failure; /* what the engine says that went wrong; NULL: it starts */
    struct config *config;
} engine;

int __wrap_server_run(const struct server_options *options);

int __wrap_server_run(const struct server_options *options)
{
    engine.calls++;
    engine.config_file = options->config_file;
    engine.config = options->config;
    if (engine.failure != NULL) {
        options->start_failed(engine.failure);
    } else {
        options->started();
    }
    return engine.code;
}

static int reset(void **state)
{
    (void)state;
    config_unref(engine.config);
    memset(&engine, 0, sizeof(engine));
    memset(&names, 0, sizeof(names));
    unsetenv("RUST_LOG");
    return 0;
}

/* ---- The configuration ---- */

static const struct vsock_args kms = {
    .remote_addr = "kms.us-east-1.amazonaws.com",
    .local_port = 8000,
    .remote_port = 443,
    .workers = 1,
};

static struct config *configured(const struct vsock_args *args, const char *entry_address, bool by_name)
{
    struct allow_entry entry = {.address = (char *)(uintptr_t)entry_address, .port = args->remote_port};
    struct allow_match match = {.entry = &entry, .by_name = by_name};
    struct error err = ERROR_INIT;
    struct config *config = vsock_proxy_config(args, &match, &err);
    if (config == NULL) {
        fail_msg("%s", err.text);
    }
    return config;
}

static void test_configuration(void **state)
{
    struct config *config = configured(&kms, "kms.us-east-1.amazonaws.com", true);
    const struct config_listener *listener = &config->listeners[0];
    const struct config_route *route = &config->routes[0];
    (void)state;
    assert_int_equal(config->enclave_count, 0);
    assert_int_equal(config->listener_count, 1);
    assert_int_equal(config->route_count, 1);
    assert_int_equal(config->workers, 1);
    assert_int_equal(config->admin.kind, ADDR_NONE);
    assert_int_equal(config->metrics.kind, ADDR_NONE);
    assert_int_equal(config->log_level, LOG_LEVEL_INFO);
    assert_int_equal(listener->listen.kind, ADDR_VSOCK);
    assert_int_equal(listener->listen.cid, 3);
    assert_int_equal(listener->listen.port, 8000);
    assert_int_equal(listener->route, 0);
    assert_true(listener->allow_any);
    assert_int_equal(listener->peer, CONFIG_NOBODY);
    assert_int_equal(route->to_kind, CONFIG_TO_ADDRESS);
    assert_string_equal(route->to.host, "kms.us-east-1.amazonaws.com");
    assert_int_equal(route->to.port, 443);
    assert_int_equal(route->sni_count, 0);
    assert_true(route->allow_private);
    assert_int_equal(route->family, 0);
    assert_int_equal(route->max_streams, config->max_streams);
    assert_true(route->max_streams >= 1000);
    assert_true(route->connect_timeout_ms > 0 && route->connect_timeout_ms <= 60000);
    assert_true(route->idle_timeout_ms >= 86400000);
    assert_true(route->half_closed_timeout_ms > 0);
    config_unref(config);
}

static void test_options_reach_the_configuration(void **state)
{
    struct vsock_args args = kms;
    (void)state;
    args.family = AF_INET6;
    args.workers = UINT64_MAX;
    setenv("RUST_LOG", "warn", 1);
    struct config *config = configured(&args, kms.remote_addr, true);
    assert_int_equal(config->routes[0].family, AF_INET6);
    assert_true(config->workers >= 1 && config->workers <= 4096);
    assert_int_equal(config->log_level, LOG_LEVEL_WARN);
    config_unref(config);
}

static void test_a_match_by_address_leads_to_the_entry(void **state)
{
    struct vsock_args args = kms;
    (void)state;
    args.remote_addr = "alias.example";
    struct config *config = configured(&args, "10.0.0.1", false);
    assert_string_equal(config->routes[0].to.host, "10.0.0.1");
    assert_true(config->routes[0].to.literal);
    assert_int_equal(config->routes[0].to.port, 443);
    config_unref(config);

    /* An address cannot come to mean another one. */
    args.remote_addr = "10.0.0.1";
    config = configured(&args, "kms.us-east-1.amazonaws.com", false);
    assert_string_equal(config->routes[0].to.host, "10.0.0.1");
    config_unref(config);
}

static void test_listen_elsewhere(void **state)
{
    struct vsock_args args = kms;
    (void)state;
    args.listen = "unix:///run/proxy.sock";
    struct config *config = configured(&args, kms.remote_addr, true);
    assert_int_equal(config->listeners[0].listen.kind, ADDR_UNIX);
    assert_int_equal(config->listeners[0].mode, 0600);
    config_unref(config);
    args.listen = "tcp://127.0.0.1:0";
    config = configured(&args, kms.remote_addr, true);
    assert_int_equal(config->listeners[0].listen.kind, ADDR_TCP);
    config_unref(config);
    args.listen = "vsock://any:9000";
    config = configured(&args, kms.remote_addr, true);
    assert_int_equal(config->listeners[0].listen.cid, ADDR_CID_ANY);
    config_unref(config);
}

static void test_listen_nowhere(void **state)
{
    static const char *const listens[] = {"8000", "vsock://payroll:8000", "tcp://localhost:8000", "unix://"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(listens); i++) {
        struct vsock_args args = kms;
        struct allow_entry entry = {.address = NULL};
        struct allow_match match = {.entry = &entry, .by_name = true};
        struct error err = ERROR_INIT;
        args.listen = listens[i];
        assert_null(vsock_proxy_config(&args, &match, &err));
        assert_int_equal(strncmp(err.text, "Could not listen for connections: ", 34), 0);
    }
}

/* ---- Messages ---- */

static void test_start_words(void **state)
{
    struct addr addr = {.kind = ADDR_VSOCK, .cid = 3, .port = 8000};
    struct error err = ERROR_INIT;
    (void)state;
    vsock_proxy_start_words(
        &addr, "listener vsock-proxy: cannot listen at vsock://parent:8000: Address already in use; hint",
        &err);
    assert_string_equal(
        err.text, "Could not listen for connections: Could not bind to cid: 3 port: 8000: Address already "
                  "in use; hint");
    vsock_proxy_start_words(&addr,
                            "listener vsock-proxy: cannot listen at vsock://parent:8000: Address already in "
                            "use; another program holds that port: `posternctl doctor` looks for it",
                            &err);
    assert_string_equal(
        err.text, "Could not listen for connections: Could not bind to cid: 3 port: 8000: Address already "
                  "in use; another program holds that port, mostly another vsock-proxy: `ss -lp --vsock` "
                  "shows it; end that, or give another local_port");
    vsock_proxy_start_words(&addr, "cannot start 4 workers: Out of memory", &err);
    assert_string_equal(err.text, "Could not create proxy: cannot start 4 workers: Out of memory");
    assert_int_equal(addr_parse("tcp://127.0.0.1:80", &addr, NULL), 0);
    vsock_proxy_start_words(&addr,
                            "listener vsock-proxy: cannot listen at tcp://127.0.0.1:80: Permission denied",
                            &err);
    assert_string_equal(
        err.text,
        "Could not listen for connections: Could not bind to tcp://127.0.0.1:80: Permission denied");
}

/* What a call wrote to one of the standard descriptors. */
struct capture {
    int target; /* 1 or 2 */
    int saved;
    int fd;
    char text[4096];
};

static void capture_begin(struct capture *capture, int target)
{
    char path[] = "/tmp/capture-XXXXXX";
    fflush(NULL);
    capture->target = target;
    capture->saved = dup(target);
    capture->fd = mkstemp(path);
    assert_true(capture->saved >= 0 && capture->fd >= 0);
    unlink(path);
    assert_int_equal(dup2(capture->fd, target), target);
}

static const char *capture_end(struct capture *capture)
{
    fflush(NULL);
    assert_int_equal(dup2(capture->saved, capture->target), capture->target);
    ssize_t length = pread(capture->fd, capture->text, sizeof(capture->text) - 1, 0);
    capture->text[length > 0 ? length : 0] = '\0';
    close(capture->saved);
    close(capture->fd);
    return capture->text;
}

/* ---- A whole start ---- */

static char list_path[] = "/tmp/allowlist-XXXXXX";

static int write_list(void **state)
{
    static const char list[] =
        "allowlist:\n- {address: a.example, port: 443}\n- {address: 10.0.0.1, port: 8443}\n";
    int fd = mkstemp(list_path);
    (void)state;
    if (fd < 0 || write(fd, list, sizeof(list) - 1) != sizeof(list) - 1) {
        return -1;
    }
    return close(fd);
}

static int remove_list(void **state)
{
    (void)state;
    return unlink(list_path);
}

static int start(const char *host, const char *port, const char *option, struct capture *capture)
{
    const char *argv[] = {"vsock-proxy", "8000", host, port, "--config", list_path, option, NULL};
    capture_begin(capture, 2);
    int code = vsock_proxy_main(option != NULL ? 7 : 6, (char **)(uintptr_t)argv);
    capture_end(capture);
    return code;
}

static void test_a_start_hands_over_to_the_engine(void **state)
{
    struct capture capture;
    (void)state;
    answer("192.0.2.1");
    engine.code = 7;
    assert_int_equal(start("a.example", "443", "-4", &capture), 7);
    assert_int_equal(engine.calls, 1);
    assert_null(engine.config_file);
    assert_string_equal(engine.config->routes[0].to.host, "a.example");
    assert_int_equal(engine.config->routes[0].family, AF_INET);
    assert_non_null(strstr(capture.text, "Checking allowlist configuration"));
    assert_non_null(strstr(capture.text, "Matched with host name"));
    assert_non_null(strstr(capture.text, "Proxy is now in listening state"));
    assert_non_null(strstr(capture.text, "vsock://parent:8000"));
}

static void test_a_start_that_cannot_bind(void **state)
{
    struct capture capture;
    (void)state;
    setenv("RUST_LOG", "error", 1);
    answer("192.0.2.1");
    engine.code = 1;
    engine.failure = "listener vsock-proxy: cannot listen at vsock://parent:8000: Address already in use";
    assert_int_equal(start("a.example", "443", NULL, &capture), 1);
    assert_string_equal(capture.text,
                        "Error: \"Could not listen for connections: Could not bind to cid: 3 port: 8000: "
                        "Address already in use\"\n");
}

static void test_messages_are_quoted(void **state)
{
    struct capture capture;
    (void)state;
    setenv("RUST_LOG", "error", 1);
    assert_int_equal(start("a.example", "4\"4\\3\n\x1b[31m", NULL, &capture), 1);
    assert_string_equal(
        capture.text,
        "Error: \"Remote port is not valid: 4\\\"4\\\\3\\n\\u001b[31m: expected a TCP port from "
        "1 to 65535\"\n");
}

static void test_a_start_by_address(void **state)
{
    struct capture capture;
    (void)state;
    answer("10.0.0.1");
    setenv("RUST_LOG", "warn", 1);
    assert_int_equal(start("b.example", "8443", NULL, &capture), 0);
    assert_string_equal(engine.config->routes[0].to.host, "10.0.0.1");
    assert_null(strstr(capture.text, "Checking allowlist configuration"));
    assert_non_null(strstr(capture.text, "Matched with host IP"));
}

static void test_a_refused_start(void **state)
{
    struct capture capture;
    (void)state;
    setenv("RUST_LOG", "error", 1);
    answer("192.0.2.1");
    assert_int_equal(start("a.example", "80", NULL, &capture), 1);
    assert_int_equal(
        strncmp(capture.text,
                "Error: \"Error at checking the allowlist: The given address and port are not allowed: ", 85),
        0);
    assert_int_equal(start("a.example", "65979", NULL, &capture), 1);
    assert_string_equal(capture.text,
                        "Error: \"Remote port is not valid: 65979: expected a TCP port from 1 to 65535\"\n");
    assert_int_equal(start("16", "443", NULL, &capture), 1);
    assert_int_equal(strncmp(capture.text,
                             "Error: \"Error at checking the allowlist: Could not parse domain name: 16 ",
                             73),
                     0);
    assert_int_equal(start("a.example", "443", "--listen=nowhere", &capture), 1);
    assert_int_equal(strncmp(capture.text, "Error: \"Could not listen for connections: ", 42), 0);
    names.rc = EAI_AGAIN;
    assert_int_equal(start("a.example", "443", NULL, &capture), 1);
    assert_int_equal(strncmp(capture.text,
                             "Error: \"Error at checking the allowlist: DNS lookup failed!: a.example: ", 72),
                     0);
    assert_int_equal(engine.calls, 0);
}

static void test_no_allowlist(void **state)
{
    const char *argv[] = {"vsock-proxy", "8000", "a.example", "443", "--config", "/nonexistent/list.yaml",
                          NULL};
    struct capture capture;
    (void)state;
    setenv("RUST_LOG", "error", 1);
    capture_begin(&capture, 2);
    assert_int_equal(vsock_proxy_main(6, (char **)(uintptr_t)argv), 1);
    assert_string_equal(
        capture_end(&capture),
        "Error: \"Error at checking the allowlist: Could not open the file: "
        "/nonexistent/list.yaml: No such file or directory; name the allowlist that you have, "
        "or write one there: see vsock-proxy(8)\"\n");
    assert_int_equal(names.asked, 0);
}

static void start_once(void *arg)
{
    struct capture *capture = arg;
    answer("192.0.2.1");
    names.ips[1] = "2001:db8::1";
    int code = start("a.example", "443", NULL, capture);
    assert_int_equal(code, engine.config != NULL ? 0 : 1);
    assert_int_equal(strncmp(capture->text, "Error: \"", 8) == 0, engine.config == NULL);
    assert_int_equal(names.outstanding, 0);
    config_unref(engine.config);
    engine.config = NULL;
}

static void test_out_of_memory(void **state)
{
    struct capture capture;
    (void)state;
    setenv("RUST_LOG", "error", 1);
    assert_true(fault_loop("vsock-proxy", FAULT_MEMORY, start_once, &capture) >= 10);
    assert_true(fault_loop("vsock-proxy, memory gone", FAULT_MEMORY | FAULT_STICKY, start_once, &capture) >=
                10);
    assert_true(fault_loop("vsock-proxy files", FAULT_READ, start_once, &capture) >= 1);
}

static void test_help_goes_to_standard_output(void **state)
{
    const char *argv[] = {"vsock-proxy", "--help", NULL};
    struct capture capture;
    (void)state;
    capture_begin(&capture, 1);
    int code = vsock_proxy_main(2, (char **)(uintptr_t)argv);
    assert_non_null(strstr(capture_end(&capture), "Usage: vsock-proxy"));
    assert_int_equal(code, 0);

    /* Nobody could read it: that is no success. */
    fflush(stdout);
    int saved = dup(1);
    int full = open("/dev/full", O_WRONLY);
    assert_true(saved >= 0 && full >= 0);
    assert_int_equal(dup2(full, 1), 1);
    code = vsock_proxy_main(2, (char **)(uintptr_t)argv);
    assert_int_equal(dup2(saved, 1), 1);
    clearerr(stdout);
    close(saved);
    close(full);
    assert_int_equal(code, 1);
}

static void test_usage_goes_to_standard_error(void **state)
{
    const char *argv[] = {"vsock-proxy", "8000", NULL};
    struct capture capture;
    (void)state;
    capture_begin(&capture, 2);
    int code = vsock_proxy_main(2, (char **)(uintptr_t)argv);
    assert_int_equal(strncmp(capture_end(&capture), "error: the following required arguments", 39), 0);
    assert_int_equal(code, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_configuration, reset),
        cmocka_unit_test_teardown(test_options_reach_the_configuration, reset),
        cmocka_unit_test_teardown(test_a_match_by_address_leads_to_the_entry, reset),
        cmocka_unit_test_teardown(test_listen_elsewhere, reset),
        cmocka_unit_test_teardown(test_listen_nowhere, reset),
        cmocka_unit_test_teardown(test_start_words, reset),
        cmocka_unit_test_teardown(test_a_start_that_cannot_bind, reset),
        cmocka_unit_test_teardown(test_messages_are_quoted, reset),
        cmocka_unit_test_teardown(test_a_start_hands_over_to_the_engine, reset),
        cmocka_unit_test_teardown(test_a_start_by_address, reset),
        cmocka_unit_test_teardown(test_a_refused_start, reset),
        cmocka_unit_test_teardown(test_no_allowlist, reset),
        cmocka_unit_test_teardown(test_out_of_memory, reset),
        cmocka_unit_test_teardown(test_help_goes_to_standard_output, reset),
        cmocka_unit_test_teardown(test_usage_goes_to_standard_error, reset),
    };
    return cmocka_run_group_tests(tests, write_list, remove_list);
}
