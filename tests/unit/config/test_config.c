/* The configuration: that every value arrives where it belongs, how files are read, and who owns what. */
#include "base/text.h"
#include "config/config.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct config *load(const char *path)
{
    struct diags diags;
    struct config *config = NULL;
    struct text said = TEXT_INIT;
    diags_init(&diags, path);
    if (config_load(path, &config, &diags) != 0) {
        diags_format(&diags, &said);
        fail_msg("%s", text_string(&said));
    }
    diags_release(&diags);
    return config;
}

/* The code, and in `said` what was told. */
static int try_load(const char *path, char *said, size_t room)
{
    struct diags diags;
    struct config *config = NULL;
    struct text text = TEXT_INIT;
    diags_init(&diags, path);
    int r = config_load(path, &config, &diags);
    diags_format(&diags, &text);
    snprintf(said, room, "%s", text_string(&text));
    assert_int_equal(r == 0, config != NULL);
    config_unref(config);
    text_release(&text);
    diags_release(&diags);
    return r;
}

static void assert_addr(const struct addr *addr, const char *text)
{
    char buffer[ADDR_TEXT_MAX];
    assert_string_equal(addr_format(addr, buffer), text);
}

static void test_singles(void **state)
{
    struct config *config = load(TEST_DATA "/good/everything.yaml");
    (void)state;
    assert_string_equal(config->file, TEST_DATA "/good/everything.yaml");
    assert_int_equal(config->workers, 4);
    assert_int_equal(config->drain_timeout_ms, 0);
    assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(config->log_format, LOG_FORMAT_JSON);
    assert_int_equal(config->admin.kind, ADDR_NONE);
    assert_addr(&config->metrics, "unix:///run/postern/metrics.sock");
    assert_int_equal(config->max_streams, 1000000);
    assert_string_equal(config->dns.servers, "10.0.0.2:53,10.0.0.3:5353,[::1]:53,[fd00::2]:5353");
    assert_int_equal(config->dns.timeout_ms, 1500);
    assert_int_equal(config->dns.min_ttl_ms, 1000);
    assert_int_equal(config->dns.max_ttl_ms, 90 * 60 * 1000);
    assert_int_equal(config->dns.stale_ms, 0);
    assert_int_equal(config->dns.cache_size, 16);
    assert_int_equal(config->vsock.buffer_size, 256 * 1024);
    assert_int_equal(config->vsock.write_size, 64 * 1024);
    config_unref(config);
}

static void test_enclaves(void **state)
{
    struct config *config = load(TEST_DATA "/good/everything.yaml");
    (void)state;
    assert_int_equal(config->enclave_count, 2);
    assert_string_equal(config->enclaves[0].name, "payroll");
    assert_int_equal(config->enclaves[0].cid, 16);
    assert_int_equal(config->enclaves[0].max_streams, 10);
    assert_int_equal(config->enclaves[0].max_sessions, 2);
    assert_int_equal(config->enclaves[0].place.line, 19);
    assert_int_equal(config->enclaves[0].place.column, 3);
    assert_int_equal(config->enclaves[1].cid, 4294967294u);
    assert_int_equal(config->enclaves[1].max_streams, 1024);
    assert_int_equal(config->enclaves[1].max_sessions, 8);
    config_unref(config);
}

static void test_listeners(void **state)
{
    struct config *config = load(TEST_DATA "/good/everything.yaml");
    const struct config_listener *all = config->listeners;
    (void)state;
    assert_int_equal(config->listener_count, 11);
    assert_string_equal(all[0].name, "kms-raw");
    assert_addr(&all[0].listen, "vsock://any:8000");
    assert_int_equal(all[0].route, 0);
    assert_false(all[0].allow_any);
    assert_true(all[0].allow[0] && all[0].allow[1]);
    assert_int_equal(all[0].peer, CONFIG_NOBODY);
    assert_true(all[1].allow_any);
    assert_false(all[1].allow[0] || all[1].allow[1]);
    assert_int_equal(all[1].route, 2);
    assert_int_equal(all[2].peer, 1);
    assert_int_equal(all[3].listen.port, 0);
    assert_int_equal(all[5].peer, 0);
    assert_int_equal(all[5].mode, 0600);
    assert_int_equal(all[5].route, 1);
    assert_addr(&all[6].listen, "hybrid:///run/vm/v.sock:8000");
    assert_int_equal(all[6].mode, 0777);
    assert_int_equal(all[7].mode, 0660);
    assert_true(all[10].allow[1] && !all[10].allow[0]);
    config_unref(config);
}

static void test_routes(void **state)
{
    struct config *config = load(TEST_DATA "/good/everything.yaml");
    const struct config_route *all = config->routes;
    (void)state;
    assert_int_equal(config->route_count, 6);
    assert_string_equal(all[0].name, "kms");
    assert_int_equal(all[0].to_kind, CONFIG_TO_ADDRESS);
    assert_addr(&all[0].to, "tcp://kms.us-east-1.amazonaws.com:443");
    assert_int_equal(all[0].sni_count, 1);
    assert_string_equal(all[0].sni[0].pattern, "kms.us-east-1.amazonaws.com");
    assert_int_equal(all[0].family, AF_INET);
    assert_true(all[0].allow_private);
    assert_int_equal(all[0].connect_timeout_ms, 1);
    assert_int_equal(all[0].hello_timeout_ms, 1000);
    assert_int_equal(all[0].first_byte_timeout_ms, 30ull * 24 * 3600 * 1000);
    assert_int_equal(all[0].idle_timeout_ms, 120 * 1000);
    assert_int_equal(all[0].half_closed_timeout_ms, 24 * 3600 * 1000);
    assert_int_equal(all[0].max_streams, 7);
    assert_int_equal(all[1].to_kind, CONFIG_TO_SNI);
    assert_int_equal(all[1].port, 8443);
    assert_int_equal(all[1].sni_count, 2);
    assert_addr(&all[2].to, "vsock://16:8443");
    assert_false(all[2].to.cid_by_name);
    assert_int_equal(all[2].sni_count, 0);
    assert_int_equal(all[2].port, 443);
    assert_int_equal(all[2].connect_timeout_ms, 5000);
    assert_int_equal(all[2].hello_timeout_ms, 10000);
    assert_int_equal(all[2].first_byte_timeout_ms, 60000);
    assert_int_equal(all[2].idle_timeout_ms, 300000);
    assert_int_equal(all[2].half_closed_timeout_ms, 3600000);
    assert_int_equal(all[2].max_streams, 1024);
    assert_int_equal(all[2].family, 0);
    assert_false(all[2].allow_private);
    assert_int_equal(all[3].to_kind, CONFIG_TO_SNI_MAP);
    assert_int_equal(all[3].sni_count, 3);
    assert_string_equal(all[3].sni[0].pattern, "*.deep.fraud.example.com"); /* sorted */
    assert_addr(&all[3].sni[0].to, "unix:///run/deep.sock");
    assert_string_equal(all[3].sni[1].pattern, "*.fraud.example.com");
    assert_int_equal(all[3].sni[1].to.cid, 4294967294u);
    assert_string_equal(all[3].sni[2].pattern, "pay.example.com");
    assert_addr(&all[4].to, "vsock://17:8443");
    assert_int_equal(all[5].family, AF_INET6);
    config_unref(config);
}

static void assert_permit(const struct config_permit *permit, int enclave, int route, const char *name)
{
    assert_int_equal(permit->enclave, enclave);
    assert_int_equal(permit->route, route);
    assert_string_equal(permit->name, name);
}

static void test_framed(void **state)
{
    struct config *config = load(TEST_DATA "/good/framed.yaml");
    const struct config_listener *all = config->listeners;
    const struct config_route *routes = config->routes;
    (void)state;
    assert_int_equal(config->max_sessions, 5);
    assert_int_equal(config->sessions.budget, 2 << 20);
    assert_int_equal(config->sessions.handshake_timeout_ms, 1000);
    assert_int_equal(config->sessions.ping_interval_ms, 60000);
    assert_int_equal(config->sessions.pong_timeout_ms, 500);
    assert_int_equal(all[0].protocol, CONFIG_FRAMED);
    assert_int_equal(all[0].route, CONFIG_NO_ROUTE);
    assert_false(all[0].allow_any);
    assert_true(all[0].allow[0] && all[0].allow[1] && !all[0].allow[2] && !all[0].allow[3]);
    assert_int_equal(all[0].permit_count, 4);
    assert_permit(&all[0].permits[0], 0, 0, "kms"); /* sorted */
    assert_permit(&all[0].permits[1], 0, 2, "logs");
    assert_permit(&all[0].permits[2], 0, 1, "results");
    assert_permit(&all[0].permits[3], 1, 1, "results");
    assert_int_equal(all[1].peer, 0);
    assert_int_equal(all[1].mode, 0660);
    assert_int_equal(all[2].protocol, CONFIG_RAW);
    assert_int_equal(all[2].route, 2);
    assert_int_equal(all[2].permit_count, 0);
    assert_int_equal(routes[0].type, CONFIG_RELAY);
    assert_int_equal(routes[2].type, CONFIG_LOG);
    assert_int_equal(routes[2].level, LOG_LEVEL_WARN);
    assert_int_equal(routes[2].lines_per_second, 7);
    assert_int_equal(routes[2].max_streams, 3);
    assert_int_equal(routes[2].sni_count, 0);
    assert_int_equal(routes[3].level, LOG_LEVEL_INFO);
    assert_int_equal(routes[3].lines_per_second, 200);
    config_unref(config);
}

static void test_defaults(void **state)
{
    struct config *config = load(TEST_DATA "/good/minimal.yaml");
    (void)state;
    assert_int_equal(config->workers, 0);
    assert_int_equal(config->drain_timeout_ms, 30000);
    assert_int_equal(config->log_level, LOG_LEVEL_INFO);
    assert_int_equal(config->log_format, LOG_FORMAT_AUTO);
    assert_addr(&config->admin, "unix:///run/postern/admin.sock");
    assert_addr(&config->metrics, "tcp://127.0.0.1:9464");
    assert_int_equal(config->max_streams, 10000);
    assert_null(config->dns.servers);
    assert_int_equal(config->dns.timeout_ms, 5000);
    assert_int_equal(config->dns.min_ttl_ms, 5000);
    assert_int_equal(config->dns.max_ttl_ms, 300000);
    assert_int_equal(config->dns.stale_ms, 3600000);
    assert_int_equal(config->dns.cache_size, 1024);
    assert_int_equal(config->vsock.buffer_size, 1024 * 1024);
    assert_int_equal(config->vsock.write_size, 31 * 1024);
    assert_int_equal(config->enclave_count + config->listener_count + config->route_count, 0);
    config_unref(config);
}

static void test_route_init(void **state)
{
    struct config_route route;
    (void)state;
    memset(&route, 0xff, sizeof route);
    config_route_init(&route);
    assert_null(route.name);
    assert_null(route.sni);
    assert_int_equal(route.sni_count, 0);
    assert_int_equal(route.to.kind, ADDR_NONE);
    assert_int_equal(route.port, 443);
    assert_int_equal(route.max_streams, 1024);
    assert_int_equal(route.idle_timeout_ms, 300000);
}

static void test_own_memory(void **state)
{
    char name[] = "name";
    struct config *config = config_new(name);
    (void)state;
    name[0] = 'X';
    assert_string_equal(config->file, "name");
    char *copy = config_strdup(config, name);
    name[1] = 'X';
    assert_string_equal(copy, "Xame");
    unsigned *numbers = config_alloc(config, 3, sizeof *numbers);
    assert_int_equal(numbers[0] + numbers[1] + numbers[2], 0);
    assert_null(config_alloc(config, SIZE_MAX, 2));
    config_unref(config);
    config_unref(NULL);
}

static void *take_and_drop(void *arg)
{
    for (unsigned i = 0; i < 20000; i++) {
        config_unref(config_ref(arg));
    }
    config_unref(arg);
    return NULL;
}

/* Two threads, each with a reference of its own; ThreadSanitizer and LeakSanitizer are the judges. */
static void test_references(void **state)
{
    pthread_t threads[2];
    struct config *config = load(TEST_DATA "/good/everything.yaml");
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_drop, config_ref(config)), 0);
    }
    assert_string_equal(config->routes[0].name, "kms");
    config_unref(config);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

static void test_unreadable(void **state)
{
    char said[1024];
    (void)state;
    assert_int_equal(try_load("/no/such/postern.yaml", said, sizeof said), -ENOENT);
    assert_string_equal(said,
                        "/no/such/postern.yaml: cannot read the configuration: No such file or directory: "
                        "see that it is there, or give another path with --config\n");
}

/* Only a regular file: others have no end, or are waited for. */
static void test_irregular(void **state)
{
    static const struct {
        const char *path, *what;
    } cases[] = {{"/", "a directory"},
                 {"/dev/zero", "a device or a socket"},
                 {"/dev/null", "a device or a socket"}};
    char said[1024];
    char folder[] = "/tmp/postern-test-XXXXXX", path[64];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(try_load(cases[i].path, said, sizeof said), -EINVAL);
        assert_non_null(strstr(said, ": cannot read the configuration: this is "));
        assert_non_null(strstr(said, cases[i].what));
    }
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(try_load(path, said, sizeof said), -EINVAL); /* though nobody writes */
    assert_non_null(strstr(said, "this is a FIFO, and only a regular file is read"));
    unlink(path);
    rmdir(folder);
}

static void test_no_permission(void **state)
{
    char said[1024];
    char path[] = "/tmp/postern-test-XXXXXX";
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, 0), 0);
    close(fd);
    int r = try_load(path, said, sizeof said);
    unlink(path);
    if (geteuid() == 0) {
        assert_int_equal(r, -EINVAL); /* root reads it all the same: it is empty */
        return;
    }
    assert_int_equal(r, -EACCES);
    assert_non_null(strstr(said, "the daemon's user must be able to read it"));
}

/* 10 MiB, most of it a hole that is never read. */
static void test_huge(void **state)
{
    char said[1024];
    char path[] = "/tmp/postern-test-XXXXXX";
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 10 * 1024 * 1024), 0);
    int r = try_load(path, said, sizeof said);
    close(fd);
    unlink(path);
    assert_int_equal(r, -EINVAL);
    assert_non_null(strstr(said, ": the file is larger than 1024 KiB: this is no configuration\n"));
}

static void test_descriptors(void **state)
{
    (void)state;
    assert_int_equal(config_descriptors(100, 10), 100 * 2 + 10 + 1024);
    assert_true(config_descriptors(UINT32_MAX, UINT32_MAX) > UINT32_MAX);
}

/* As many entries as a file may hold, and as many mistakes: the work stays in proportion. */
static void test_large(void **state)
{
    struct text text = TEXT_INIT;
    struct diags diags;
    struct config *config = NULL;
    (void)state;
    text_add(&text, "version: 1\nroutes: {r: {type: relay, to: \"unix:///r\"}}\nenclaves:\n");
    for (unsigned i = 0; i < 3000; i++) {
        text_addf(&text, "  e%u: {cid: %u}\n", i, i + 4);
    }
    text_add(&text, "listeners:\n");
    for (unsigned i = 0; i < 3000; i++) {
        text_addf(&text, "  l%u: {listen: \"vsock://any:%u\", route: r, allow: [e%u]}\n", i, i + 1, i);
    }
    clock_t start = clock();
    diags_init(&diags, "t");
    assert_int_equal(config_parse("t", text_string(&text), text.length, &config, &diags), 0);
    assert_int_equal(config->listener_count, 3000);
    assert_true(config->listeners[2999].allow[2999]);
    config_unref(config);
    diags_release(&diags);

    text_clear(&text);
    text_add(&text, "version: 1\nroutes: {r: {type: relay, to: \"unix:///r\"}}\nenclaves:\n");
    for (unsigned i = 0; i < 3000; i++) {
        text_addf(&text, "  e%u: {cid: 16}\n", i);
    }
    text_add(&text, "listeners:\n");
    for (unsigned i = 0; i < 3000; i++) {
        text_addf(&text, "  l%u: {listen: \"vsock://any:1\", rout: r, allow: [f%u]}\n", i, i);
    }
    config = NULL;
    diags_init(&diags, "t");
    assert_int_equal(config_parse("t", text_string(&text), text.length, &config, &diags), -EINVAL);
    assert_null(config);
    assert_int_equal(diags.count, DIAGS_MAX);
    diags_release(&diags);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 20);
    text_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_singles),    cmocka_unit_test(test_enclaves),
        cmocka_unit_test(test_listeners),  cmocka_unit_test(test_routes),
        cmocka_unit_test(test_defaults),   cmocka_unit_test(test_route_init),
        cmocka_unit_test(test_own_memory), cmocka_unit_test(test_references),
        cmocka_unit_test(test_unreadable), cmocka_unit_test(test_no_permission),
        cmocka_unit_test(test_huge),       cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_irregular),  cmocka_unit_test(test_large),
        cmocka_unit_test(test_framed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
