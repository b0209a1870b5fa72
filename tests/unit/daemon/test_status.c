/* The status document: its members, what a reload leaves behind, and want of memory at every step. */
#include "daemon/status.h"
#include "fake_fixture.h"
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static json_t *status(void)
{
    struct text text;
    json_error_t error;
    text_init(&text, 0);
    assert_int_equal(status_write(&server.view, &text), 0);
    json_t *root = json_loads(text.data, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        fail_msg("%s", error.text);
    }
    text_release(&text);
    return root;
}

/* The value at a path such as "routes/0/name". */
static json_t *at(json_t *value, const char *path)
{
    char key[64];
    while (*path != '\0') {
        size_t length = strcspn(path, "/");
        snprintf(key, sizeof key, "%.*s", (int)length, path);
        path += length + (path[length] == '/');
        value = json_is_array(value) ? json_array_get(value, (size_t)atoi(key)) : json_object_get(value, key);
        if (value == NULL) {
            fail_msg("no member %s", key);
        }
    }
    return value;
}

static long long integer(json_t *root, const char *path)
{
    assert_true(json_is_integer(at(root, path)));
    return json_integer_value(at(root, path));
}

static const char *string(json_t *root, const char *path)
{
    assert_true(json_is_string(at(root, path)));
    return json_string_value(at(root, path));
}

static void the_daemon_is_described(void **state)
{
    (void)state;
    counter_set(&server.counters.reload_last_ok, 1);
    counter_set(&server.counters.active, 3);
    json_t *root = status();
    assert_int_equal(integer(root, "schema"), 1);
    assert_string_equal(string(root, "version"), POSTERN_VERSION);
    assert_string_equal(string(root, "state"), "ready");
    assert_int_equal(integer(root, "uptime_s"), 3600);
    assert_true(json_is_null(at(root, "drain_left_ms")));
    assert_string_equal(string(root, "config/file"), "/etc/postern/postern.yaml");
    assert_string_equal(string(root, "config/admin"), "unix:///run/postern/admin.sock");
    assert_true(json_is_null(at(root, "config/metrics")));
    assert_true(json_is_true(at(root, "config/last_reload/accepted")));
    assert_true(json_is_null(at(root, "config/last_reload/error")));
    assert_int_equal(integer(root, "streams/active"), 3);
    assert_int_equal(integer(root, "streams/limit"), 4096);
    assert_int_equal(integer(root, "workers/1/busy_ms"), 1500);
    assert_int_equal(integer(root, "workers/0/active"), 2);
    assert_true(integer(root, "process/pid") > 0);
    assert_true(integer(root, "process/resident_bytes") > 0);
    json_decref(root);
}

static void routes_enclaves_and_listeners_are_described(void **state)
{
    (void)state;
    struct route_counters *kms = server.counters.routes;
    counter_set(&kms->accepted, 5);
    counter_set(&kms->ended[REASON_FINISHED], 4);
    counter_set(&kms->connect.count, 2);
    counter_set(&kms->connect.sum_us, 3000);
    json_t *root = status();
    assert_string_equal(string(root, "routes/0/name"), "kms");
    assert_string_equal(string(root, "routes/0/to"), "tcp://kms.us-east-1.amazonaws.com:443");
    assert_string_equal(string(root, "routes/0/sni/0"), "kms.us-east-1.amazonaws.com");
    assert_int_equal(integer(root, "routes/0/limit"), 1024);
    assert_int_equal(integer(root, "routes/0/opened"), 5);
    assert_int_equal(integer(root, "routes/0/ended/finished"), 4);
    assert_int_equal(json_object_size(at(root, "routes/0/ended")), 1);
    assert_int_equal(integer(root, "routes/0/connect/mean_us"), 1500);
    assert_string_equal(string(root, "routes/1/to"), "sni");
    assert_int_equal(integer(root, "routes/1/port"), 443);
    assert_string_equal(string(root, "routes/1/sni/1"), "*.example.com");
    assert_string_equal(string(root, "routes/2/to"), "sni");
    assert_string_equal(string(root, "routes/2/to_by_sni/pay.example.com"), "vsock://16:8443");
    assert_int_equal(integer(root, "routes/1/connect/mean_us"), 0);
    assert_string_equal(string(root, "enclaves/0/name"), "-");
    assert_true(json_is_false(at(root, "enclaves/0/configured")));
    assert_string_equal(string(root, "enclaves/1/name"), "payroll");
    assert_int_equal(integer(root, "enclaves/1/cid"), 16);
    assert_string_equal(string(root, "listeners/0/listen"), "vsock://any:8000");
    assert_string_equal(string(root, "listeners/0/route"), "kms");
    assert_string_equal(string(root, "listeners/0/allow/0"), "payroll");
    assert_int_equal(json_array_size(at(root, "listeners/0/allow")), 1);
    assert_string_equal(string(root, "listeners/1/allow"), "any");
    json_decref(root);
}

static void sessions_and_log_routes_are_described(void **state)
{
    (void)state;
    struct enclave_counters *payroll = server.counters.enclaves->next;
    counter_set(&server.counters.sessions, 2);
    counter_set(&server.counters.sessions_ended[SESSION_CODE_CALM], 3);
    counter_set(&server.counters.opens_refused[OPEN_UNSUPPORTED], 4);
    histogram_add(&server.counters.round_trip, 5000);
    counter_set(&payroll->sessions_active, 5);
    counter_set(&payroll->session_stalls, 6);
    counter_set(&payroll->lines_dropped, 7);
    json_t *root = status();
    assert_int_equal(integer(root, "sessions/active"), 2);
    assert_int_equal(integer(root, "sessions/limit"), 100);
    assert_int_equal(integer(root, "sessions/ended/calm"), 3);
    assert_int_equal(json_object_size(at(root, "sessions/ended")), 1);
    assert_int_equal(integer(root, "sessions/opens_refused/unsupported_kind"), 4);
    assert_int_equal(json_object_size(at(root, "sessions/opens_refused")), 1);
    assert_int_equal(integer(root, "sessions/round_trip/mean_us"), 5000);
    assert_int_equal(integer(root, "enclaves/1/sessions_active"), 5);
    assert_int_equal(integer(root, "enclaves/1/sessions_limit"), 8);
    assert_int_equal(integer(root, "enclaves/1/session_stalls"), 6);
    assert_int_equal(integer(root, "enclaves/1/log_lines_dropped"), 7);
    assert_string_equal(string(root, "listeners/0/protocol"), "raw");
    assert_string_equal(string(root, "listeners/2/protocol"), "framed");
    assert_true(json_is_null(at(root, "listeners/2/route")));
    assert_string_equal(string(root, "listeners/2/allow/1"), "fraud");
    assert_string_equal(string(root, "listeners/2/allow_routes/payroll/1"), "logs");
    assert_int_equal(json_array_size(at(root, "listeners/2/allow_routes/fraud")), 1);
    assert_string_equal(string(root, "routes/0/type"), "relay");
    assert_string_equal(string(root, "routes/3/type"), "log");
    assert_string_equal(string(root, "routes/3/to"), "log");
    assert_int_equal(integer(root, "workers/0/sessions"), 1);
    json_decref(root);
}

static void removed_names_are_told_as_such(void **state)
{
    (void)state;
    server.config.route_count = 1;
    server.config.listener_count = 1;
    server.config.enclave_count = 0;
    json_t *root = status();
    assert_true(json_is_true(at(root, "routes/0/configured")));
    assert_true(json_is_false(at(root, "routes/1/configured")));
    assert_null(json_object_get(at(root, "routes/1"), "limit"));
    assert_true(json_is_false(at(root, "enclaves/1/configured")));
    assert_true(json_is_false(at(root, "listeners/1/configured")));
    json_decref(root);
}

static void a_refused_reload_is_quoted(void **state)
{
    (void)state;
    server.view.last_error = "x.yaml:3:1: unknown key";
    server.config.file = "/etc/\xe4.yaml"; /* not UTF-8 */
    json_t *root = status();
    assert_true(json_is_false(at(root, "config/last_reload/accepted")));
    assert_string_equal(string(root, "config/last_reload/error"), "x.yaml:3:1: unknown key");
    assert_string_equal(string(root, "config/file"), "/etc/?.yaml");
    json_decref(root);
}

static void the_states_have_words(void **state)
{
    (void)state;
    assert_string_equal(status_state_word(SERVER_STARTING), "starting");
    assert_string_equal(status_state_word(SERVER_READY), "ready");
    assert_string_equal(status_state_word(SERVER_DRAINING), "draining");
    assert_string_equal(status_state_word((enum server_state)7), "unknown");
    server_drain(&server, 250);
    json_t *root = status();
    assert_string_equal(string(root, "state"), "draining");
    assert_int_equal(integer(root, "drain_left_ms"), 250);
    json_decref(root);
}

/* jansson's allocations fail from the n-th on, for every n. */

static long allowed;

static void *scarce_malloc(size_t size)
{
    return allowed-- > 0 ? malloc(size) : NULL;
}

static void want_of_memory_is_told(void **state)
{
    (void)state;
    json_malloc_t old_malloc;
    json_free_t old_free;
    struct text text;
    text_init(&text, 0);
    server.config.file = "/etc/\xe4.yaml";
    json_get_alloc_funcs(&old_malloc, &old_free);
    json_set_alloc_funcs(scarce_malloc, free);
    int r = -ENOMEM;
    long count = 0;
    for (; count < 10000 && r != 0; count++) {
        allowed = count;
        r = status_write(&server.view, &text);
        assert_true(r == 0 || r == -ENOMEM);
        assert_true(r == 0 || text.length == 0);
    }
    json_set_alloc_funcs(old_malloc, old_free);
    assert_in_range(count, 100, 9999);
    text_release(&text);
}

static void a_text_that_is_full_is_told(void **state)
{
    (void)state;
    struct text text;
    text_init(&text, 100);
    assert_int_equal(status_write(&server.view, &text), -ENOMEM);
    text_release(&text);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(the_daemon_is_described),        WITH_SERVER(routes_enclaves_and_listeners_are_described),
        WITH_SERVER(removed_names_are_told_as_such), WITH_SERVER(a_refused_reload_is_quoted),
        WITH_SERVER(the_states_have_words),          WITH_SERVER(want_of_memory_is_told),
        WITH_SERVER(a_text_that_is_full_is_told),    WITH_SERVER(sessions_and_log_routes_are_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
