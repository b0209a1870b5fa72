/* The metrics, against the file metrics.golden and against promtool. */
#include "daemon/metrics.h"
#include "fake_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cmocka.h>

static void count_things(void)
{
    struct route_counters *kms = server.counters.routes;
    struct enclave_counters *payroll = server.counters.enclaves->next;
    struct listener_counters *raw = server.counters.listeners;
    counter_add(&server.counters.active, 3);
    counter_add(&server.counters.reloads_ok, 2);
    counter_add(&server.counters.reloads_failed, 1);
    counter_set(&server.counters.reload_time_s, 1700000000);
    counter_set(&server.counters.reload_last_ok, 1);
    counter_add(&server.counters.stalls, 4);
    counter_add(&kms->active, 3);
    counter_add(&kms->accepted, 100);
    counter_add(&kms->ended[REASON_FINISHED], 90);
    counter_add(&kms->ended[REASON_DENIED_SNI], 7);
    counter_add(&kms->bytes_in, 1234567);
    counter_add(&kms->bytes_out, UINT64_C(9876543210123));
    histogram_add(&kms->connect, 900);
    histogram_add(&kms->connect, 1100);
    histogram_add(&kms->connect, 7000000);
    counter_add(&payroll->active, 3);
    counter_add(&payroll->accepted, 100);
    counter_add(&payroll->refused, 7);
    counter_add(&payroll->bytes_in, 11);
    counter_add(&payroll->bytes_out, 22);
    counter_add(&payroll->sessions_active, 1);
    counter_add(&payroll->sessions_opened, 5);
    counter_add(&payroll->sessions_refused, 2);
    counter_add(&payroll->stream_stalls, 33);
    counter_add(&payroll->session_stalls, 44);
    counter_add(&payroll->lines, 55);
    counter_add(&payroll->lines_dropped, 66);
    counter_add(&server.counters.sessions, 1);
    counter_add(&server.counters.sessions_ended[SESSION_CODE_NO_ERROR], 3);
    counter_add(&server.counters.sessions_ended[SESSION_CODE_OTHER], 1);
    counter_add(&server.counters.opens_refused[REASON_DENIED_ROUTE], 8);
    counter_add(&server.counters.opens_refused[OPEN_UNSUPPORTED], 9);
    histogram_add(&server.counters.round_trip, 0);
    histogram_add(&server.counters.round_trip, 300000);
    counter_add(&raw->accepted, 107);
    counter_add(&raw->refused, 7);
    counter_add(&raw->denied, 4);
    counter_add(&raw->accept_errors, 1);
    counter_add(&server.dns[0].queries, 5);
    counter_add(&server.dns[1].queries, 6);
    counter_add(&server.dns[0].timeouts, 1);
    counter_add(&server.dns[1].cached, 2);
    counter_add(&server.upstreams[0].opened, 12);
    counter_add(&server.upstreams[1].opened, 3);
    counter_add(&server.upstreams[1].failed, 4);
    counter_add(&server.upstreams[0].open, 7);
    counter_add(&server.upstreams[0].idle, 6);
    counter_add(&server.upstreams[1].reused, 500);
    counter_add(&server.upstreams[0].retried, 2);
    counter_add(&server.upstreams[0].resumed, 5);
    server.view.body_memory = 8388609;
}

static char *read_golden(void)
{
    static char golden[65536];
    FILE *file = fopen(TEST_DATA "/metrics.golden", "re");
    assert_non_null(file);
    size_t size = fread(golden, 1, sizeof golden - 1, file);
    assert_true(feof(file));
    fclose(file);
    golden[size] = '\0';
    return golden;
}

/* The figures of the process differ from run to run, and the version from release to release. */
static void take_out_what_changes(struct text *text)
{
    char *process = strstr(text->data, "# HELP process_");
    assert_non_null(process);
    *process = '\0';
    char *version = strstr(text->data, "\"" POSTERN_VERSION "\"");
    assert_non_null(version);
    memmove(version + 3, version + 1 + strlen(POSTERN_VERSION),
            strlen(version + 1 + strlen(POSTERN_VERSION)) + 1);
    memcpy(version, "\"V\"", 3);
    memmove(version + 3, version + 4, strlen(version + 4) + 1);
}

static void the_golden_file_is_met(void **state)
{
    (void)state;
    struct text text;
    text_init(&text, 0);
    count_things();
    metrics_write(&server.view, &text);
    assert_false(text.failed);
    take_out_what_changes(&text);
    if (getenv("UPDATE_GOLDEN") != NULL) {
        FILE *file = fopen(TEST_DATA "/metrics.golden", "we");
        assert_non_null(file);
        assert_true(fputs(text.data, file) >= 0);
        assert_int_equal(fclose(file), 0);
    }
    assert_string_equal(text.data, read_golden());
    text_release(&text);
}

static void names_that_reload_removed_are_still_told(void **state)
{
    (void)state;
    struct text text;
    text_init(&text, 0);
    server.config.route_count = 0;
    server.config.enclave_count = 0;
    server.config.listener_count = 0;
    metrics_write(&server.view, &text);
    assert_non_null(strstr(text.data, "\npostern_streams_active{route=\"kms\"} 0\n"));
    assert_null(strstr(text.data, "\npostern_streams_limit{"));
    assert_null(strstr(text.data, "\npostern_enclave_streams_limit{"));
    text_release(&text);
}

static void label_values_are_escaped(void **state)
{
    (void)state;
    struct text text;
    text_init(&text, 0);
    assert_non_null(counters_route(&server.counters, "a\"b\\c\nd"));
    metrics_write(&server.view, &text);
    assert_non_null(strstr(text.data, "postern_streams_active{route=\"a\\\"b\\\\c\\nd\"} 0\n"));
    text_release(&text);
}

/* Every outcome there can be has its series from the beginning, and no route has any that forwards nothing. */
static void requests_are_counted_by_outcome(void **state)
{
    (void)state;
    struct text text;
    char line[160];
    text_init(&text, 0);
    struct route_counters *kms = server.counters.routes;
    assert_true(counters_requests(kms));
    struct request_counters *requests = kms->requests;
    assert_true(counters_requests(kms));
    assert_ptr_equal(kms->requests, requests);
    counter_add(&requests->answered[2], 90);
    counter_add(&requests->kept, 3);
    counter_add(&requests->refused[HTTP_REFUSED_BOTH_LENGTHS], 4);
    counter_add(&requests->body_in, 1000);
    counter_add(&requests->body_out, 2000);
    histogram_add(&requests->duration, 900);
    metrics_write(&server.view, &text);
    assert_non_null(strstr(text.data, "\npostern_requests_total{route=\"kms\",outcome=\"2xx\"} 90\n"));
    assert_non_null(strstr(text.data, "\npostern_requests_total{route=\"kms\",outcome=\"kept\"} 3\n"));
    assert_non_null(
        strstr(text.data, "\npostern_requests_total{route=\"kms\",outcome=\"both_lengths\"} 4\n"));
    assert_non_null(
        strstr(text.data, "\npostern_request_body_bytes_total{route=\"kms\",direction=\"out\"} 2000\n"));
    assert_non_null(strstr(text.data, "\npostern_request_duration_seconds_count{route=\"kms\"} 1\n"));
    for (unsigned why = HTTP_REFUSED_NONE + 1; why < HTTP_REFUSED_COUNT; why++) {
        snprintf(line, sizeof line, "\npostern_requests_total{route=\"kms\",outcome=\"%s\"} ",
                 http_refusal_word((enum http_refusal)why));
        assert_non_null(strstr(text.data, line));
    }
    assert_null(strstr(text.data, "postern_requests_total{route=\"any\""));
    text_release(&text);
}

static void a_worker_may_have_no_resolver_yet(void **state)
{
    (void)state;
    struct text text;
    text_init(&text, 0);
    count_things();
    server.workers[0].dns = NULL;
    server.workers[0].upstreams = NULL;
    metrics_write(&server.view, &text);
    assert_non_null(strstr(text.data, "\npostern_dns_queries_total 6\n"));
    assert_non_null(strstr(text.data, "\npostern_upstream_connections_opened_total 3\n"));
    text_release(&text);
}

static void figures_of_the_process_are_real(void **state)
{
    (void)state;
    static const char *const names[] = {"process_resident_memory_bytes", "process_virtual_memory_bytes",
                                        "process_open_fds", "process_max_fds", "process_start_time_seconds"};
    struct text text;
    text_init(&text, 0);
    metrics_write(&server.view, &text);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char line[64];
        snprintf(line, sizeof line, "\n%s ", names[i]);
        char *at = strstr(text.data, line);
        assert_non_null(at);
        assert_true(strtoull(at + strlen(line), NULL, 10) > 0);
    }
    text_release(&text);
}

static void promtool_has_nothing_to_say(void **state)
{
    (void)state;
    struct text text;
    char said[4096];
    if (system("command -v promtool >/dev/null") != 0) {
        print_message(
            "SKIPPED: promtool is not installed (package prometheus), the metrics were not linted\n");
        skip();
    }
    text_init(&text, 0);
    assert_true(counters_requests(server.counters.routes));
    count_things();
    metrics_write(&server.view, &text);
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(fwrite(text.data, 1, text.length, file), text.length);
    rewind(file);
    char command[128];
    snprintf(command, sizeof command, "promtool check metrics 2>&1 </dev/fd/%d", fileno(file));
    FILE *promtool = popen(command, "r");
    assert_non_null(promtool);
    size_t size = fread(said, 1, sizeof said - 1, promtool);
    said[size] = '\0';
    int status = pclose(promtool);
    assert_string_equal(said, "");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    fclose(file);
    text_release(&text);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(the_golden_file_is_met),
        WITH_SERVER(names_that_reload_removed_are_still_told),
        WITH_SERVER(label_values_are_escaped),
        WITH_SERVER(requests_are_counted_by_outcome),
        WITH_SERVER(a_worker_may_have_no_resolver_yet),
        WITH_SERVER(figures_of_the_process_are_real),
        WITH_SERVER(promtool_has_nothing_to_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
