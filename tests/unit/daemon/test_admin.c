/* What may be asked where, by which method, and what is done about it. */
#include "daemon/admin.h"
#include "daemon/metrics.h"
#include "fake_control.h"
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct server server;
static struct http_answer response;

static int setup(void **state)
{
    (void)state;
    return fake_init(&server) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    text_release(&response.body);
    fake_release(&server);
    return 0;
}

static const char *ask_with(enum admin_role role, const char *method, const char *target, const char *headers)
{
    struct http_message request;
    struct text bytes;
    text_init(&bytes, 0);
    text_addf(&bytes, "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, target, headers);
    assert_false(bytes.failed);
    http_message_init(&request, HTTP_MESSAGE_REQUEST, 4096, 4096);
    assert_int_equal(http_message_feed(&request, bytes.data, bytes.length), 1);
    text_release(&response.body);
    response = (struct http_answer){.status = 200, .content_type = "text/plain"};
    text_init(&response.body, 0);
    admin_answer(&server, role, &request, &response);
    http_message_release(&request);
    text_release(&bytes);
    return text_string(&response.body);
}

static const char *ask(enum admin_role role, const char *method, const char *target)
{
    return ask_with(role, method, target, "");
}

static void pages_on_both_sockets(void **state)
{
    (void)state;
    static const enum admin_role roles[] = {ADMIN_ROLE_ADMIN, ADMIN_ROLE_METRICS};
    for (size_t i = 0; i < ARRAY_SIZE(roles); i++) {
        assert_string_equal(ask(roles[i], "GET", "/healthz"), "ok\n");
        assert_int_equal(response.status, 200);
        assert_string_equal(ask(roles[i], "GET", "/readyz"), "ready\n");
        assert_int_equal(response.status, 200);
        assert_non_null(strstr(ask(roles[i], "GET", "/metrics?x=y"), "postern_build_info"));
        assert_int_equal(response.status, 200);
        assert_string_equal(response.content_type, METRICS_CONTENT_TYPE);
    }
}

static void the_status_is_for_the_admin_only(void **state)
{
    (void)state;
    assert_non_null(strstr(ask(ADMIN_ROLE_ADMIN, "GET", "/status"), "\"schema\": 1"));
    assert_string_equal(response.content_type, "application/json");
    ask(ADMIN_ROLE_METRICS, "GET", "/status");
    assert_int_equal(response.status, 404);
}

static void unknown_pages_list_the_known(void **state)
{
    (void)state;
    assert_non_null(strstr(ask(ADMIN_ROLE_ADMIN, "GET", "/"), "POST /reload\n"));
    assert_int_equal(response.status, 404);
    assert_null(strstr(ask(ADMIN_ROLE_METRICS, "GET", "/metrics/"), "/reload"));
    assert_int_equal(response.status, 404);
    ask(ADMIN_ROLE_ADMIN, "POST", "/nothing");
    assert_int_equal(response.status, 404);
}

static void wrong_methods_are_told_the_right_one(void **state)
{
    (void)state;
    static const char *const methods[] = {"POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"};
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
        ask(ADMIN_ROLE_METRICS, methods[i], i % 2 == 0 ? "/metrics" : "/nothing");
        assert_int_equal(response.status, 405);
        assert_string_equal(response.allow, "GET");
    }
    ask(ADMIN_ROLE_ADMIN, "POST", "/status");
    assert_int_equal(response.status, 405);
    assert_string_equal(response.allow, "GET");
    ask(ADMIN_ROLE_ADMIN, "GET", "/reload");
    assert_int_equal(response.status, 405);
    assert_string_equal(response.allow, "POST");
}

static void the_metrics_listener_commands_nothing(void **state)
{
    (void)state;
    ask(ADMIN_ROLE_METRICS, "POST", "/reload");
    assert_int_equal(response.status, 405);
    ask(ADMIN_ROLE_METRICS, "POST", "/drain");
    assert_int_equal(response.status, 405);
    assert_int_equal(server.reloads + server.drains, 0);
}

static void a_web_page_commands_nothing(void **state)
{
    (void)state;
    ask_with(ADMIN_ROLE_ADMIN, "POST", "/reload", "Origin: http://evil.example\r\n");
    assert_int_equal(response.status, 403);
    ask_with(ADMIN_ROLE_ADMIN, "POST", "/drain", "Origin: null\r\n");
    assert_int_equal(response.status, 403);
    assert_int_equal(server.reloads + server.drains, 0);
}

static void reload_tells_the_verdict(void **state)
{
    (void)state;
    static const struct {
        int result;
        const char *verdict;
        int status;
        const char *body;
    } samples[] = {
        {0, "2 routes added\n", 200, "2 routes added\n"},
        {0, "nothing changed", 200, "nothing changed\n"},
        {0, "", 200, "the configuration was read again\n"},
        {-EINVAL, "f:1:2: no\nf:3:4: no\n", 422, "f:1:2: no\nf:3:4: no\n"},
        {-EBUSY, "draining", 409, "draining\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        server.reload_result = samples[i].result;
        server.verdict = samples[i].verdict;
        assert_string_equal(ask(ADMIN_ROLE_ADMIN, "POST", "/reload"), samples[i].body);
        assert_int_equal(response.status, samples[i].status);
    }
    server.reload_result = -ENOENT;
    server.verdict = NULL;
    assert_string_not_equal(ask(ADMIN_ROLE_ADMIN, "POST", "/reload"), "");
    assert_int_equal(response.status, 422);
    assert_int_equal(server.reloads, ARRAY_SIZE(samples) + 1);
    ask(ADMIN_ROLE_ADMIN, "POST", "/reload?file=x");
    assert_int_equal(response.status, 400);
    assert_int_equal(server.reloads, ARRAY_SIZE(samples) + 1);
}

static void drain_takes_a_deadline(void **state)
{
    (void)state;
    counter_set(&server.counters.active, 3);
    assert_string_equal(ask(ADMIN_ROLE_ADMIN, "POST", "/drain?deadline=30s"),
                        "draining: 3 streams with at most 30s to finish\n");
    assert_int_equal(response.status, 202);
    assert_int_equal(server.drain_deadline_ms, 30000);
    ask(ADMIN_ROLE_ADMIN, "POST", "/drain");
    assert_int_equal(server.drain_deadline_ms, 0);
    assert_int_equal(server.drains, 2);
    static const char *const wrong[] = {
        "/drain?deadline=30",     "/drain?deadline=",       "/drain?x=1s",
        "/drain?deadline=1s&x=1", "/drain?deadline=30d1ms", "/drain?deadline=18446744073709551615ms"};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        ask(ADMIN_ROLE_ADMIN, "POST", wrong[i]);
        assert_int_equal(response.status, 400);
    }
    assert_int_equal(server.drains, 2);
    ask(ADMIN_ROLE_ADMIN, "POST", "/drain?deadline=30d");
    assert_int_equal(response.status, 202);
}

static void ready_only_while_streams_are_opened(void **state)
{
    (void)state;
    server.view.state = SERVER_STARTING;
    assert_string_equal(ask(ADMIN_ROLE_METRICS, "GET", "/readyz"), "starting\n");
    assert_int_equal(response.status, 503);
    server.view.state = SERVER_DRAINING;
    assert_string_equal(ask(ADMIN_ROLE_METRICS, "GET", "/readyz"), "draining\n");
    assert_int_equal(response.status, 503);
    assert_string_equal(ask(ADMIN_ROLE_METRICS, "GET", "/healthz"), "ok\n");
}

static void a_hung_worker_is_not_healthy(void **state)
{
    (void)state;
    server.workers[1].busy_ms = ADMIN_HUNG_MS;
    assert_non_null(strstr(ask(ADMIN_ROLE_METRICS, "GET", "/healthz"), "worker 1"));
    assert_int_equal(response.status, 503);
}

static void a_status_without_memory_fails(void **state)
{
    (void)state;
    struct http_message request;
    static const char bytes[] = "GET /status HTTP/1.0\r\n\r\n";
    http_message_init(&request, HTTP_MESSAGE_REQUEST, 4096, 4096);
    assert_int_equal(http_message_feed(&request, bytes, sizeof bytes - 1), 1);
    text_init(&response.body, 10);
    admin_answer(&server, ADMIN_ROLE_ADMIN, &request, &response);
    assert_true(response.body.failed);
    http_message_release(&request);
}

static void on_closed(void *data)
{
    *(bool *)data = true;
}

static void requests_arrive_over_a_socket(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct admin admin;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof(sa_family_t);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    size = sizeof address;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(admin_start(&admin, &loop, fd, ADMIN_ROLE_ADMIN, &server), 0);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, size), 0);
    static const char request[] = "POST /reload HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_int_equal(send(client, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
    char answer[1024];
    ssize_t count = -1;
    time_t end = time(NULL) + 60;
    while (count < 0) {
        uv_run(&loop, UV_RUN_NOWAIT);
        count = recv(client, answer, sizeof answer - 1, MSG_DONTWAIT);
        assert_true(time(NULL) <= end);
    }
    answer[count] = '\0';
    assert_non_null(strstr(answer, "HTTP/1.1 200 OK\r\n"));
    assert_int_equal(server.reloads, 1);
    close(client);
    bool closed = false;
    admin_close(&admin, on_closed, &closed);
    while (uv_run(&loop, UV_RUN_NOWAIT) != 0) {
        assert_true(time(NULL) <= end);
    }
    assert_true(closed);
    assert_int_equal(uv_loop_close(&loop), 0);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(pages_on_both_sockets),
        WITH_SERVER(the_status_is_for_the_admin_only),
        WITH_SERVER(unknown_pages_list_the_known),
        WITH_SERVER(wrong_methods_are_told_the_right_one),
        WITH_SERVER(the_metrics_listener_commands_nothing),
        WITH_SERVER(a_web_page_commands_nothing),
        WITH_SERVER(reload_tells_the_verdict),
        WITH_SERVER(drain_takes_a_deadline),
        WITH_SERVER(ready_only_while_streams_are_opened),
        WITH_SERVER(a_hung_worker_is_not_healthy),
        WITH_SERVER(a_status_without_memory_fails),
        WITH_SERVER(requests_arrive_over_a_socket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
