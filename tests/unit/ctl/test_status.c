/* status and top: what they make of what the daemon says. */
#include "ctl/top.h"

#include "contains.h"
#include "fake_daemon.h"
#include "run_ctl.h"
#include <errno.h>
#include <signal.h>

static struct fake_daemon daemon_;

static void start(void)
{
    fake_daemon_start(&daemon_, ADMIN_ROLE_ADMIN);
}

static void status_is_a_page(void **state)
{
    (void)state;
    struct ran ran;
    fake_daemon_init(&daemon_);
    struct route_counters *kms = daemon_.server.counters.routes;
    assert_non_null(counters_route(&daemon_.server.counters, "old"));
    counter_set(&daemon_.server.counters.reload_last_ok, 1);
    counter_set(&daemon_.server.counters.reload_time_s, 1700000000);
    counter_set(&kms->active, 3);
    counter_set(&kms->bytes_out, 3 << 20);
    counter_set(&kms->ended[REASON_DENIED_SNI], 7);
    counter_set(&kms->ended[REASON_FINISHED], 9);
    counter_set(&daemon_.server.counters.sessions, 5);
    counter_set(&daemon_.server.counters.sessions_ended[SESSION_CODE_NO_ERROR], 11);
    counter_set(&daemon_.server.counters.sessions_ended[SESSION_CODE_LOST], 12);
    counter_set(&daemon_.server.counters.opens_refused[REASON_DENIED_ROUTE], 13);
    counter_set(&daemon_.server.counters.enclaves->next->sessions_active, 3);
    histogram_add(&daemon_.server.counters.round_trip, 2000);
    start();
    run_ctl(&ran, "status", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_string_equal(ran.err, "");
    assert_contains(ran.out, "posternd " POSTERN_VERSION ", ready, up 1h");
    assert_contains(ran.out, "/etc/postern/postern.yaml, last read 2023-11-1");
    assert_contains(ran.out, ", accepted\n");
    assert_contains(ran.out, "tcp://kms.us-east-1.amazonaws.com:443");
    assert_contains(ran.out, "3/1024");
    assert_contains(ran.out, "old (removed)");
    assert_contains(ran.out, "kms   denied_sni       7\n");
    assert_contains(ran.out, "vsock://any:8000");
    assert_null(strstr(ran.out, "finished"));
    assert_contains(ran.out, "sessions 5 open, at most 100; round trip 2ms over 1 PING\n");
    assert_contains(ran.out, " 3/8 ");
    assert_contains(ran.out, "(framed)");
    assert_contains(ran.out, "ended        lost            12\n");
    assert_contains(ran.out, "open refused denied_route    13\n");
    assert_null(strstr(ran.out, "no_error"));
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
}

static void status_tells_of_trouble(void **state)
{
    (void)state;
    struct ran ran;
    fake_daemon_init(&daemon_);
    server_drain(&daemon_.server, 5000);
    daemon_.server.view.last_error = "p.yaml:1:1: no\np.yaml:2:1: nor this";
    start();
    run_ctl(&ran, "--socket", daemon_.address, "status", NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_contains(ran.out, "draining (at most 5s more)");
    assert_contains(ran.out, "last read never, REFUSED");
    assert_contains(ran.out, "\n         p.yaml:1:1: no\n         p.yaml:2:1: nor this\nstreams ");
    assert_null(strstr(ran.out, "ENDED"));
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
}

static void status_tells_of_requests(void **state)
{
    (void)state;
    struct ran ran;
    fake_daemon_init(&daemon_);
    struct route_counters *kms = daemon_.server.counters.routes;
    assert_true(counters_requests(kms));
    counter_set(&kms->requests->answered[2], 40);
    counter_set(&kms->requests->kept, 2);
    counter_set(&kms->requests->refused[HTTP_REFUSED_METHOD], 7);
    counter_set(&kms->requests->body_in, 1 << 20);
    histogram_add(&kms->requests->duration, 3000);
    start();
    run_ctl(&ran, "status", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_contains(ran.out, "ROUTE REQUESTS 2XX KEPT BODIES IN OUT MEAN\n");
    assert_contains(ran.out, "kms         49  40    2     1 MiB 0 B  3ms\n");
    assert_contains(ran.out, http_refusal_word(HTTP_REFUSED_METHOD));
    assert_null(strstr(ran.out, "kms   kept"));
    assert_null(strstr(ran.out, "kms   2xx"));
    assert_null(strstr(ran.out, "\nspool "));
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
}

static void status_tells_of_the_spool(void **state)
{
    (void)state;
    struct ran ran;
    struct spool_options options = {.manual = true};
    char folder[] = "/tmp/postern-test-XXXXXX", path[64], command[80];
    struct error err = ERROR_INIT;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/spool", folder);
    options.path = path;
    fake_daemon_init(&daemon_);
    struct spool_keeper *keeper = &daemon_.server.spool;
    daemon_.server.view.spool = keeper;
    daemon_.server.config.spool = (struct config_spool){.path = path, .max_bytes = 10 << 20};
    assert_int_equal(spool_open(&options, &keeper->spool, &err), 0);
    start();
    run_ctl(&ran, "status", "--socket", daemon_.address, NULL);
    assert_contains(ran.out, "spool    0 ready, 0 waiting, 0 dead, 0 damaged; oldest 0");
    assert_contains(ran.out, " of 10 MiB\n");
    ran_release(&ran);
    run_ctl(&ran, "top", "--once", "--interval", "20ms", "--socket", daemon_.address, NULL);
    assert_contains(ran.out, "\nspool 0 to be delivered, oldest 0");
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
    spool_close(keeper->spool);
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
}

static void status_tells_of_a_spool_that_is_not_open(void **state)
{
    (void)state;
    struct ran ran;
    fake_daemon_init(&daemon_);
    daemon_.server.config.spool.path = "/var/lib/postern/spool";
    daemon_.server.view.spool = &daemon_.server.spool;
    error_set(&daemon_.server.spool.why, -EROFS, "the file system is read-only");
    start();
    run_ctl(&ran, "status", "--socket", daemon_.address, NULL);
    assert_contains(ran.out, "spool    NOT OPEN: the file system is read-only\n");
    ran_release(&ran);
    run_ctl(&ran, "top", "--json", "--once", "--interval", "20ms", "--socket", daemon_.address, NULL);
    json_t *rates = parse_json(ran.out);
    assert_true(json_is_null(json_object_get(rates, "spool")));
    json_decref(rates);
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
}

static void status_as_json_is_the_daemons_own(void **state)
{
    (void)state;
    struct ran ran;
    fake_daemon_init(&daemon_);
    start();
    run_ctl(&ran, "status", "--json", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_DONE);
    json_t *status = parse_json(ran.out);
    assert_int_equal(json_integer_value(json_object_get(status, "schema")), 1);
    json_decref(status);
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
}

static void top_shows_rates(void **state)
{
    (void)state;
    struct ran ran;
    fake_daemon_init(&daemon_);
    counter_set(&daemon_.server.counters.sessions, 5);
    counter_set(&daemon_.server.counters.enclaves->next->sessions_active, 2);
    start();
    run_ctl(&ran, "top", "--once", "--interval", "20ms", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_contains(ran.out, "posternd " POSTERN_VERSION ", ready   streams 0/4096   sessions 5   ");
    assert_contains(ran.out, "SESSIONS\n");
    assert_contains(ran.out, "ROUTE");
    assert_contains(ran.out, "0/1024");
    assert_contains(ran.out, "payroll");
    assert_null(strstr(ran.out, "\033["));
    ran_release(&ran);
    run_ctl(&ran, "top", "--json", "--once", "--interval", "20ms", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_DONE);
    json_t *json = parse_json(ran.out);
    assert_true(json_integer_value(json_object_get(json, "elapsed_ms")) >= 20);
    assert_int_equal(json_array_size(json_object_get(json, "routes")), 4);
    const json_t *payroll = json_array_get(json_object_get(json, "enclaves"), 1);
    assert_int_equal(json_integer_value(json_object_get(payroll, "sessions")), 2);
    json_decref(json);
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
}

static void rates_are_differences(void **state)
{
    (void)state;
    assert_int_equal(top_rate(100, 200, 1000), 100);
    assert_int_equal(top_rate(100, 200, 500), 200);
    assert_int_equal(top_rate(0, 1, 3000), 0);
    assert_int_equal(top_rate(0, 2, 3000), 1);
    assert_int_equal(top_rate(200, 100, 1000), 0);
    assert_int_equal(top_rate(100, 200, 0), 0);
    json_t *before =
        parse_json("{\"routes\": [{\"name\": \"a\", \"opened\": 10}, {\"name\": \"b\", \"bytes_in\": 1000,"
                   " \"requests\": {\"outcomes\": {\"2xx\": 3, \"method\": 1}}}],"
                   " \"spool\": {\"open\": true, \"accepted\": 10}}");
    json_t *after =
        parse_json("{\"routes\": [{\"name\": \"b\", \"bytes_in\": 5000, \"active\": 2,"
                   " \"requests\": {\"outcomes\": {\"2xx\": 6, \"method\": 2, \"kept\": 4}}},"
                   " {\"name\": \"new\", \"opened\": 4}], \"enclaves\": [{\"name\": \"-\"}],"
                   " \"spool\": {\"open\": true, \"accepted\": 30, \"delivered\": 8, \"oldest_age_s\": 9,"
                   " \"records\": {\"ready\": 1, \"waiting\": 2, \"dead\": 4}}}");
    json_t *rates = top_rates(before, after, 2000);
    assert_non_null(rates);
    const json_t *b = json_array_get(json_object_get(rates, "routes"), 0);
    assert_string_equal(json_string_value(json_object_get(b, "name")), "b");
    assert_int_equal(json_integer_value(json_object_get(b, "bytes_in_per_s")), 2000);
    assert_int_equal(json_integer_value(json_object_get(b, "active")), 2);
    assert_int_equal(json_integer_value(json_object_get(b, "requests_per_s")), 4);
    const json_t *spool = json_object_get(rates, "spool");
    assert_int_equal(json_integer_value(json_object_get(spool, "records")), 3);
    assert_int_equal(json_integer_value(json_object_get(spool, "oldest_age_s")), 9);
    assert_int_equal(json_integer_value(json_object_get(spool, "accepted_per_s")), 10);
    assert_int_equal(json_integer_value(json_object_get(spool, "delivered_per_s")), 4);
    const json_t *new = json_array_get(json_object_get(rates, "routes"), 1);
    assert_int_equal(json_integer_value(json_object_get(new, "streams_per_s")), 2);
    json_decref(before);
    json_decref(after);
    json_decref(rates);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_is_a_page),
        cmocka_unit_test(status_tells_of_trouble),
        cmocka_unit_test(status_tells_of_requests),
        cmocka_unit_test(status_tells_of_the_spool),
        cmocka_unit_test(status_tells_of_a_spool_that_is_not_open),
        cmocka_unit_test(status_as_json_is_the_daemons_own),
        cmocka_unit_test(top_shows_rates),
        cmocka_unit_test(rates_are_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
