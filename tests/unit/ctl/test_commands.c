/* status, top, reload and drain against a daemon, and against what is none. */
#include "ctl/client.h"
#include "ctl/top.h"
#include "fake_daemon.h"
#include "run_ctl.h"
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <signal.h>

#include <cmocka.h>

static struct fake_daemon daemon_;

static void start(void)
{
    fake_daemon_start(&daemon_, ADMIN_ROLE_ADMIN);
}

static void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        fail_msg("expected \"%s\" in:\n%s", part, text);
    }
}

static json_t *parse(const char *text)
{
    json_error_t error;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        fail_msg("%s in:\n%s", error.text, text);
    }
    return json;
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
    assert_contains(ran.out, "sessions 5 open, at most 100; round trip 2ms over 1 PINGs\n");
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
    daemon_.server.view.last_error = "p.yaml:1:1: no";
    start();
    run_ctl(&ran, "--socket", daemon_.address, "status", NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_contains(ran.out, "draining (at most 5s more)");
    assert_contains(ran.out, "last read never, REFUSED");
    assert_contains(ran.out, "p.yaml:1:1: no");
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
    json_t *rates = parse(ran.out);
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
    json_t *status = parse(ran.out);
    assert_int_equal(json_integer_value(json_object_get(status, "schema")), 1);
    json_decref(status);
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
}

static void the_socket_may_be_in_the_environment(void **state)
{
    (void)state;
    struct ran ran;
    fake_daemon_init(&daemon_);
    start();
    setenv("POSTERN_ADMIN", daemon_.address, 1);
    run_ctl(&ran, "status", NULL);
    unsetenv("POSTERN_ADMIN");
    assert_int_equal(ran.code, CTL_DONE);
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
}

static void reload_tells_the_verdict(void **state)
{
    (void)state;
    struct ran ran;
    fake_daemon_init(&daemon_);
    daemon_.server.verdict = "1 route added\n";
    start();
    run_ctl(&ran, "reload", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_string_equal(ran.out, "1 route added\n");
    ran_release(&ran);
    run_ctl(&ran, "--json", "reload", "--socket", daemon_.address, NULL);
    json_t *json = parse(ran.out);
    assert_int_equal(ran.code, CTL_DONE);
    assert_true(json_is_true(json_object_get(json, "accepted")));
    assert_string_equal(json_string_value(json_object_get(json, "verdict")), "1 route added\n");
    json_decref(json);
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
    assert_int_equal(daemon_.server.reloads, 2);
}

static void a_refused_reload_fails(void **state)
{
    (void)state;
    struct ran ran;
    fake_daemon_init(&daemon_);
    daemon_.server.verdict = "p.yaml:3:1: unknown key\n";
    daemon_.server.reload_result = -EINVAL;
    start();
    run_ctl(&ran, "reload", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_string_equal(ran.out, "");
    assert_contains(ran.err, "goes on with the old one:\np.yaml:3:1: unknown key\n");
    ran_release(&ran);
    run_ctl(&ran, "reload", "--json", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.out, "\"accepted\": false");
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
}

static void drain_takes_a_deadline(void **state)
{
    (void)state;
    struct ran ran;
    fake_daemon_init(&daemon_);
    start();
    run_ctl(&ran, "drain", "--deadline", "5s", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_string_equal(ran.out, "draining: 0 streams have at most 5s to finish\n");
    ran_release(&ran);
    run_ctl(&ran, "drain", "--json", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_contains(ran.out, "\"draining\": true");
    ran_release(&ran);
    run_ctl(&ran, "drain", "--deadline", "5", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_USAGE);
    assert_contains(ran.err, "--deadline is \"5\", and should be a duration such as 30s or 2m");
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
    assert_int_equal(daemon_.server.drains, 2);
}

static void the_metrics_listener_is_no_admin_socket(void **state)
{
    (void)state;
    struct ran ran;
    fake_daemon_init(&daemon_);
    fake_daemon_start(&daemon_, ADMIN_ROLE_METRICS);
    run_ctl(&ran, "status", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "answered 404 when asked for /status");
    ran_release(&ran);
    run_ctl(&ran, "drain", "--socket", daemon_.address, NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "takes GET");
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
    json_t *json = parse(ran.out);
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
        parse("{\"routes\": [{\"name\": \"a\", \"opened\": 10}, {\"name\": \"b\", \"bytes_in\": 1000,"
              " \"requests\": {\"outcomes\": {\"2xx\": 3, \"method\": 1}}}],"
              " \"spool\": {\"open\": true, \"accepted\": 10}}");
    json_t *after =
        parse("{\"routes\": [{\"name\": \"b\", \"bytes_in\": 5000, \"active\": 2,"
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

static void no_daemon_is_told(void **state)
{
    (void)state;
    static const char *const commands[] = {"status", "top", "reload", "drain"};
    struct ran ran;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        run_ctl(&ran, commands[i], "--socket", "unix:///nonexistent/admin.sock", NULL);
        assert_int_equal(ran.code, CTL_FAILED);
        assert_contains(ran.err,
                        "cannot reach the daemon at unix:///nonexistent/admin.sock: there is no such socket");
        assert_contains(ran.err, "systemctl status postern");
        ran_release(&ran);
    }
    run_ctl(&ran, "status", "--json", "--socket", "unix:///nonexistent/admin.sock", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    json_t *json = parse(ran.out);
    assert_contains(json_string_value(json_object_get(json, "error")), "cannot reach");
    json_decref(json);
    ran_release(&ran);
    run_ctl(&ran, "status", "--socket", "tcp://127.0.0.1:1", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "nobody listens there any more");
    ran_release(&ran);
    run_ctl(&ran, "status", "--socket", "/run/postern/admin.sock", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "the admin socket's address \"/run/postern/admin.sock\": ");
    ran_release(&ran);
}

/* A peer that says `answer`, whatever it is asked, then closes; or nothing, and stays. */
struct peer {
    int listener;
    const char *handshake;
    const char *answer;
    char heard[1024];
};

static void peer_run(void *data)
{
    struct peer *peer = data;
    size_t length = 0;
    int fd = accept(peer->listener, NULL, NULL);
    ssize_t count;
    if (peer->handshake != NULL && (count = recv(fd, peer->heard, sizeof peer->heard - 1, 0)) > 0) {
        length = (size_t)count;
        send(fd, peer->handshake, strlen(peer->handshake), MSG_NOSIGNAL);
    }
    count = recv(fd, peer->heard + length, sizeof peer->heard - 1 - length, 0);
    if (peer->answer != NULL && count > 0) {
        send(fd, peer->answer, strlen(peer->answer), MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
    }
    while (recv(fd, peer->heard + sizeof peer->heard / 2, 1, 0) > 0) {
    }
    close(fd);
}

static int ask_peer(struct peer *peer, const char *address, struct error *err, struct client_answer *answer)
{
    uv_thread_t thread;
    assert_int_equal(uv_thread_create(&thread, peer_run, peer), 0);
    int r = client_ask(address, "GET", "/status", answer, err);
    assert_int_equal(uv_thread_join(&thread), 0);
    close(peer->listener);
    return r;
}

static void other_answers_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        int result;
        const char *words;
    } samples[] = {
        {NULL, -ETIMEDOUT, "did not answer /status within"},
        {"220 mail.example.com ESMTP\r\n", -EBADMSG, "is it posternd?"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", -EBADMSG, "is it posternd?"},
        {"", -EBADMSG, "is it posternd?"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", -EMSGSIZE, "is it posternd?"},
        {"HTTP/1.1 204 No Content\r\n\r\n", 0, ""},
    };
    unsigned patience = client_time_ms;
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        char address[64];
        struct error err = ERROR_INIT;
        struct client_answer answer;
        struct peer peer = {.listener = fake_socket(address, sizeof address), .answer = samples[i].answer};
        client_time_ms = samples[i].answer == NULL ? 50 : patience;
        assert_int_equal(ask_peer(&peer, address, &err, &answer), samples[i].result);
        assert_contains(err.text, samples[i].words);
        assert_contains(peer.heard, "GET /status HTTP/1.1\r\n");
        text_release(&answer.body);
    }
    client_time_ms = patience;
}

static void other_statuses_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        const char *words;
    } samples[] = {
        {"HTTP/1.1 200 OK\r\n\r\n{\"schema\": 2}", "schema 2, and this posternctl knows 1"},
        {"HTTP/1.1 200 OK\r\n\r\n{}", "schema 0"},
        {"HTTP/1.1 200 OK\r\n\r\n{\"schema\": 1", "no JSON"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        char address[64];
        uv_thread_t thread;
        struct ran ran;
        struct peer peer = {.listener = fake_socket(address, sizeof address), .answer = samples[i].answer};
        assert_int_equal(uv_thread_create(&thread, peer_run, &peer), 0);
        run_ctl(&ran, "status", "--socket", address, NULL);
        assert_int_equal(uv_thread_join(&thread), 0);
        assert_int_equal(ran.code, CTL_FAILED);
        assert_contains(ran.err, samples[i].words);
        ran_release(&ran);
        close(peer.listener);
    }
}

static void hybrid_addresses_shake_hands(void **state)
{
    (void)state;
    static const struct {
        const char *handshake;
        int result;
    } samples[] = {{"OK 1073741824\n", 0},
                   {"NO\n", -ECONNREFUSED},
                   {"0123456789012345678901234567890123456789", -EPROTO}};
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        char path[] = "/tmp/posternctl-test-XXXXXX", address[128];
        struct sockaddr_un sockaddr = {.sun_family = AF_UNIX};
        struct error err = ERROR_INIT;
        struct client_answer answer;
        assert_non_null(mkdtemp(path));
        snprintf(sockaddr.sun_path, sizeof sockaddr.sun_path, "%s/v.sock", path);
        snprintf(address, sizeof address, "hybrid://%s:7000", sockaddr.sun_path);
        struct peer peer = {.listener = socket(AF_UNIX, SOCK_STREAM, 0),
                            .handshake = samples[i].handshake,
                            .answer = "HTTP/1.1 204 No Content\r\n\r\n"};
        assert_int_equal(bind(peer.listener, (struct sockaddr *)&sockaddr, sizeof sockaddr), 0);
        assert_int_equal(listen(peer.listener, 1), 0);
        assert_int_equal(ask_peer(&peer, address, &err, &answer), samples[i].result);
        assert_int_equal(strncmp(peer.heard, "CONNECT 7000\n", 13), 0);
        text_release(&answer.body);
        unlink(sockaddr.sun_path);
        rmdir(path);
    }
}

static void wrong_usage_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[4];
        const char *words;
    } samples[] = {
        {{NULL}, "a command is missing, such as status"},
        {{"statsu", NULL}, "did you mean status?"},
        {{"xyzzy", NULL}, "there is no command \"xyzzy\"\n"},
        {{"status", "now", NULL}, "status takes no arguments, but got \"now\""},
        {{"top", "--interval", "1", NULL}, "--interval is \"1\""},
        {{"top", "--interval", "2h", NULL}, "--interval is \"2h\""},
        {{"top", "x", NULL}, "top takes no arguments"},
        {{"drain", "x", NULL}, "drain takes no arguments"},
        {{"status", "--frobnicate", NULL},
         "posternctl: --frobnicate is no option here\ntry `posternctl status --help`"},
        {{"--socket", NULL}, "posternctl: --socket needs a value\ntry `posternctl --help`"},
        {{"drain", "--deadline", NULL}, "--deadline needs a value"},
        {{"top", "-x", NULL}, "-x is no option here"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct ran ran;
        run_ctl(&ran, samples[i].arguments[0], samples[i].arguments[1], samples[i].arguments[2],
                samples[i].arguments[3]);
        assert_int_equal(ran.code, CTL_USAGE);
        assert_contains(ran.err, samples[i].words);
        assert_string_equal(ran.out, "");
        ran_release(&ran);
    }
}

static void help_and_version_are_told(void **state)
{
    (void)state;
    struct ran ran;
    run_ctl(&ran, "--help", NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_contains(ran.out, "usage: posternctl [--socket ADDRESS]");
    assert_contains(ran.out, "  explain [CODE");
    ran_release(&ran);
    run_ctl(&ran, "drain", "--help", NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_contains(ran.out, "usage: posternctl drain [--deadline DURATION]\n");
    ran_release(&ran);
    run_ctl(&ran, "--version", NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_string_equal(ran.out, "posternctl " POSTERN_VERSION "\n");
    ran_release(&ran);
}

/* Each command of the help is in the manual. */
static void the_manual_is_complete(void **state)
{
    (void)state;
    static char manual[65536];
    char name[32], wanted[64];
    struct ran ran;
    FILE *file = fopen(PROJECT_DIR "/docs/man/posternctl.8", "re");
    assert_non_null(file);
    assert_true(fread(manual, 1, sizeof manual - 1, file) > 0);
    fclose(file);
    run_ctl(&ran, "--help", NULL);
    unsigned commands = 0;
    for (const char *at = strstr(ran.out, "\n\n") + 1; strncmp(at, "\n\n", 2) != 0;
         at = strchr(at + 1, '\n')) {
        if (strncmp(at, "\n  ", 3) == 0 && at[3] != ' ') {
            assert_int_equal(sscanf(at, " %31s", name), 1);
            snprintf(wanted, sizeof wanted, "\n.It Cm %s", name);
            assert_contains(manual, wanted);
            commands++;
        }
    }
    assert_true(commands >= 7);
    ran_release(&ran);
}

static void a_full_disk_is_told(void **state)
{
    (void)state;
    char name[] = "posternctl", command[] = "explain";
    char *argv[] = {name, command, NULL};
    FILE *full = fopen("/dev/full", "we");
    assert_non_null(full);
    assert_int_equal(ctl_main(2, argv, full, stderr), CTL_FAILED);
    fclose(full);
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
        cmocka_unit_test(the_socket_may_be_in_the_environment),
        cmocka_unit_test(reload_tells_the_verdict),
        cmocka_unit_test(a_refused_reload_fails),
        cmocka_unit_test(drain_takes_a_deadline),
        cmocka_unit_test(the_metrics_listener_is_no_admin_socket),
        cmocka_unit_test(top_shows_rates),
        cmocka_unit_test(rates_are_differences),
        cmocka_unit_test(no_daemon_is_told),
        cmocka_unit_test(other_answers_are_told),
        cmocka_unit_test(other_statuses_are_refused),
        cmocka_unit_test(hybrid_addresses_shake_hands),
        cmocka_unit_test(wrong_usage_is_told),
        cmocka_unit_test(help_and_version_are_told),
        cmocka_unit_test(the_manual_is_complete),
        cmocka_unit_test(a_full_disk_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
