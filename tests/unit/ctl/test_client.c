/* How the daemon is reached, and what is said of a peer that is none. */
#include "ctl/client.h"

#include "contains.h"
#include "fake_daemon.h"
#include "run_ctl.h"
#include <errno.h>
#include <signal.h>

static struct fake_daemon daemon_;

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
    assert_contains(ran.err, "nothing was drained: this is the listener for metrics");
    ran_release(&ran);
    fake_daemon_stop(&daemon_);
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
    json_t *json = parse_json(ran.out);
    assert_contains(json_string_value(json_object_get(json, "error")), "cannot reach");
    json_decref(json);
    ran_release(&ran);
    run_ctl(&ran, "status", "--socket", "tcp://127.0.0.1:1", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "nobody listens there any more");
    ran_release(&ran);
    run_ctl(&ran, "status", "--socket", "unix:///dev/null", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "cannot reach the daemon at unix:///dev/null: that is no socket");
    ran_release(&ran);
    setenv("POSTERN_ADMIN", "/run/postern/admin.sock", 1);
    run_ctl(&ran, "status", NULL);
    unsetenv("POSTERN_ADMIN");
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err,
                    "$POSTERN_ADMIN, the admin socket's address: \"/run/postern/admin.sock\": the scheme is "
                    "missing");
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

static int save_piece(void *data, const char *bytes, size_t size)
{
    struct text *saved = data;
    text_add_bytes(saved, bytes, size);
    return saved->length > 5 ? -ENOSPC : 0;
}

/* What is saved as it comes, and may be larger than an answer that is kept. */
static void what_is_saved_is_whole_or_told(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        int result;
        const char *words, *saved, *kept;
    } samples[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 0, "", "hello", ""},
        {"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone", 0, "", "", "gone"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", -ECONNRESET, "ended its answer in the middle",
         "hel", ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nmuch more", -ENOSPC,
         "cannot write what the daemon sent", "much more", ""},
        {"220 mail.example.com ESMTP\r\n", -EBADMSG, "is it posternd?", "", ""},
        {NULL, -ETIMEDOUT, "did not answer /status within", "", ""},
    };
    unsigned patience = client_time_ms;
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        char address[64];
        uv_thread_t thread;
        struct error err = ERROR_INIT;
        struct client_answer answer;
        struct text saved = TEXT_INIT;
        struct peer peer = {.listener = fake_socket(address, sizeof address), .answer = samples[i].answer};
        client_time_ms = samples[i].answer == NULL ? 50 : patience;
        assert_int_equal(uv_thread_create(&thread, peer_run, &peer), 0);
        assert_int_equal(client_save(address, "/status", save_piece, &saved, &answer, &err),
                         samples[i].result);
        assert_int_equal(uv_thread_join(&thread), 0);
        close(peer.listener);
        assert_contains(err.text, samples[i].words);
        assert_string_equal(text_string(&saved), samples[i].saved);
        assert_string_equal(text_string(&answer.body), samples[i].kept);
        text_release(&saved);
        text_release(&answer.body);
    }
    client_time_ms = patience;
}

static void a_target_that_is_too_long_is_not_sent(void **state)
{
    (void)state;
    char address[64], target[1024];
    struct error err = ERROR_INIT;
    struct client_answer answer;
    int listener = fake_socket(address, sizeof address);
    memset(target, 'x', sizeof target - 1);
    target[sizeof target - 1] = '\0';
    assert_int_equal(client_ask(address, "GET", target, &answer, &err), -EMSGSIZE);
    text_release(&answer.body);
    close(listener);
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
                   {"NO\n", -EPROTO},
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

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_metrics_listener_is_no_admin_socket),
        cmocka_unit_test(no_daemon_is_told),
        cmocka_unit_test(other_answers_are_told),
        cmocka_unit_test(what_is_saved_is_whole_or_told),
        cmocka_unit_test(a_target_that_is_too_long_is_not_sent),
        cmocka_unit_test(other_statuses_are_refused),
        cmocka_unit_test(hybrid_addresses_shake_hands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
