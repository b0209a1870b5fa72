/* What operators ask of the spool: the pages of the admin socket, and the metrics, in front of a real spool. */
#include "daemon/admin.h"
#include "daemon/spool_keeper.h"
#include "daemon/spool_metrics.h"
#include "fake_control.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define TURNS 60000 /* each waits a millisecond at most; a test that uses them up fails */

struct world {
    struct server server;
    struct admin admin;
    uv_loop_t loop;
    struct config_forward forward;
    struct sockaddr_un address;
    socklen_t address_size;
    char folder[64], path[80];
    struct text heard;
    unsigned closed, done;
    uint64_t id;
};

static void turn(struct world *world)
{
    (void)uv_run(&world->loop, UV_RUN_NOWAIT);
    (void)poll(NULL, 0, 1);
}

/* ---- A daemon that is nothing but its view, with a route `results` that spools ---- */

static void configure(struct world *world)
{
    struct server *server = &world->server;
    strcpy(world->folder, "/tmp/postern-test-XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    snprintf(world->path, sizeof world->path, "%s/spool", world->folder);
    world->forward = (struct config_forward){.delivery = CONFIG_SPOOL, .spool_max_bytes = 1 << 20};
    server->routes[3] =
        (struct config_route){.name = "results", .type = CONFIG_FORWARD, .forward = &world->forward};
    server->config.spool = (struct config_spool){.path = world->path, .max_bytes = 1 << 30};
    server->view.spool = &server->spool;
    assert_non_null(counters_route(&server->counters, "results"));
}

static void listen_for_operators(struct world *world)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    world->address.sun_family = AF_UNIX;
    assert_int_equal(bind(fd, (struct sockaddr *)&world->address, sizeof(sa_family_t)), 0);
    world->address_size = sizeof world->address;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&world->address, &world->address_size), 0);
    assert_int_equal(admin_start(&world->admin, &world->loop, fd, ADMIN_ROLE_ADMIN, &world->server), 0);
}

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    assert_true(fake_init(&world->server));
    configure(world);
    assert_int_equal(uv_loop_init(&world->loop), 0);
    assert_int_equal(spool_keeper_init(&world->server.spool, &world->loop), 0);
    listen_for_operators(world);
    *state = world;
    return 0;
}

static void on_closed(void *data)
{
    ((struct world *)data)->closed++;
}

static int teardown(void **state)
{
    struct world *world = *state;
    char command[128];
    admin_close(&world->admin, on_closed, world);
    spool_keeper_close(&world->server.spool);
    (void)uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(world->closed, 1);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    fake_release(&world->server);
    text_release(&world->heard);
    snprintf(command, sizeof command, "rm -rf '%s'", world->folder);
    assert_int_equal(system(command), 0);
    free(world);
    return 0;
}

static void open_spool(struct world *world)
{
    spool_keeper_open(&world->server.spool, &world->server.config);
    assert_string_equal(world->server.spool.why.text, "");
    assert_non_null(world->server.spool.spool);
    spool_keeper_apply(&world->server.spool, &world->server.config);
}

/* ---- Questions ---- */

static int reach(struct world *world, const char *method, const char *target)
{
    char request[300];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&world->address, world->address_size), 0);
    int size = snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: x\r\n\r\n", method, target);
    assert_int_equal(send(fd, request, (size_t)size, MSG_NOSIGNAL), size);
    return fd;
}

/* Returns the body. */
static const char *ask(struct world *world, const char *method, const char *target, int status)
{
    static char data[65536];
    char line[32];
    int fd = reach(world, method, target);
    text_release(&world->heard);
    for (unsigned i = 0; i < TURNS; i++) {
        struct pollfd client = {.fd = fd, .events = POLLIN};
        turn(world);
        if (poll(&client, 1, 0) == 0) {
            continue;
        }
        ssize_t count = recv(fd, data, sizeof data, 0);
        if (count <= 0) {
            break;
        }
        text_add_bytes(&world->heard, data, (size_t)count);
    }
    close(fd);
    snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
    if (strncmp(text_string(&world->heard), line, strlen(line)) != 0) {
        fail_msg("%s: expected %s, got %.200s", target, line, text_string(&world->heard));
    }
    const char *body = strstr(text_string(&world->heard), "\r\n\r\n");
    assert_non_null(body);
    return body + 4;
}

static void expect(struct world *world, const char *method, const char *target, int status, const char *part)
{
    const char *body = ask(world, method, target, status);
    if (strstr(body, part) == NULL) {
        fail_msg("%s: expected %s in %s", target, part, body);
    }
}

/* ---- Records ---- */

static void on_room(void *arg)
{
    (void)arg;
}

static void on_done(void *arg, int result, uint64_t id, const struct error *err)
{
    struct world *world = arg;
    (void)err;
    assert_int_equal(result, 0);
    world->done++;
    world->id = id;
}

static uint64_t keep(struct world *world, const char *route, const char *head, const char *body)
{
    static const struct spool_put_ops ops = {.room = on_room, .done = on_done};
    const struct spool_request request = {
        .route = route, .enclave = "payroll", .key = "k", .head = head, .head_size = strlen(head)};
    struct error err = ERROR_INIT;
    struct spool_put *put;
    unsigned done = world->done;
    assert_int_equal(spool_put_begin(world->server.spool.port, &request, &ops, world, &put, &err), 0);
    assert_int_equal(spool_put_write(put, body, strlen(body), &err), strlen(body));
    spool_put_commit(put);
    for (unsigned i = 0; i < TURNS && world->done == done; i++) {
        turn(world);
    }
    assert_int_equal(world->done, done + 1);
    return world->id;
}

#define HEAD "postern-spool/1 cid=16 request=id-1\r\nPOST /a HTTP/1.1\r\nhost: x\r\n\r\n"

/* ---- Tests ---- */

static void without_a_spool(void **state)
{
    struct world *world = *state;
    struct text metrics = TEXT_INIT;
    expect(world, "GET", "/spool/stats", 200, "\"open\":false");
    expect(world, "GET", "/spool/stats?x=1", 400, "no parameters");
    static const char *const targets[] = {"/spool/list", "/spool/show?id=1", "/spool/export?id=1"};
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        expect(world, "GET", targets[i], 503, "there is no spool");
    }
    expect(world, "POST", "/spool/verify", 503, "there is no spool");
    expect(world, "POST", "/spool/drop?id=1", 503, "there is no spool");
    spool_metrics_write(&world->server.view, &metrics);
    assert_int_equal(metrics.length, 0);
    assert_non_null(strstr(ask(world, "GET", "/status", 200), "\"spool\": null"));
}

/* What /spool/stats has, in the document of the whole. */
static void the_status_has_it(void **state)
{
    struct world *world = *state;
    open_spool(world);
    keep(world, "results", HEAD, "hello");
    const char *status = ask(world, "GET", "/status", 200);
    assert_non_null(strstr(status, "\"spool\": {"));
    assert_non_null(strstr(status, "\"open\": true"));
    assert_non_null(strstr(status, "\"ready\": 1"));
    assert_non_null(strstr(status, "\"oldest_age_s\": "));
}

static void the_status_says_why_there_is_none(void **state)
{
    struct world *world = *state;
    error_set(&world->server.spool.why, -EROFS, "read-only");
    const char *status = ask(world, "GET", "/status", 200);
    assert_non_null(strstr(status, "\"open\": false"));
    assert_non_null(strstr(status, "\"error\": \"read-only\""));
}

static void lists_and_records(void **state)
{
    struct world *world = *state;
    open_spool(world);
    expect(world, "GET", "/spool/list", 200, "{\"records\":[],\"next\":0}");
    assert_int_equal(keep(world, "results", HEAD, "hello"), 1);
    keep(world, "results", "not ours", "");
    expect(world, "GET", "/spool/list", 200, "\"id\":1");
    expect(world, "GET", "/spool/list?after=1&limit=1", 200, "\"id\":2");
    expect(world, "GET", "/spool/list?route=other&state=ready", 200, "\"records\":[]");
    expect(world, "GET", "/spool/list?state=dead", 200, "\"records\":[]");
    static const char *const wrong[] = {"state=odd", "x=1",  "after",   "after=-1",
                                        "limit=x",   "id=1", "all=yes", "state=0123456789012345678"};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        char target[100];
        snprintf(target, sizeof target, "/spool/list?%s", wrong[i]);
        ask(world, "GET", target, 400);
    }
    expect(world, "GET", "/spool/show?id=1", 200,
           "\"head\":\"POST /a HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 5");
    expect(world, "GET", "/spool/show?id=1", 200, "\"request_id\":\"id-1\"");
    expect(world, "GET", "/spool/show?id=2", 200, "\"head\":\"content-length: 0");
    expect(world, "GET", "/spool/show?id=3", 404, "3");
    expect(world, "GET", "/spool/show", 400, "which record");
    assert_string_equal(ask(world, "GET", "/spool/export?id=1", 200),
                        "POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello");
    ask(world, "GET", "/spool/export?id=2", 200);
    expect(world, "GET", "/spool/export?id=3", 404, "3");
}

static void changes(void **state)
{
    struct world *world = *state;
    open_spool(world);
    for (unsigned i = 0; i < 4; i++) {
        keep(world, "results", HEAD, "hello");
    }
    expect(world, "POST", "/spool/retry?id=1", 200, "{\"changed\":");
    expect(world, "POST", "/spool/retry?all=yes&route=results", 200, "{\"changed\":");
    expect(world, "POST", "/spool/drop?id=2", 200, "{\"changed\":1}");
    expect(world, "POST", "/spool/drop?id=2", 404, "2");
    expect(world, "POST", "/spool/drop?all=yes&state=dead", 200, "{\"changed\":0}");
    static const char *const wrong[] = {"",
                                        "id=1&all=yes",
                                        "id=1&route=results",
                                        "all=no",
                                        "state=odd&all=yes",
                                        "all=yes&route=",
                                        "all=yes&state="};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        char target[100];
        snprintf(target, sizeof target, "/spool/drop?%s", wrong[i]);
        ask(world, "POST", target, 400);
    }
    expect(world, "POST", "/spool/verify", 200, "\"records\":3");
    expect(world, "POST", "/spool/verify?x=1", 400, "no parameters");
    expect(world, "POST", "/spool/drop?all=yes", 200, "{\"changed\":3}");
    expect(world, "GET", "/spool/drop", 405, "POST");
}

static int probe_result;

static int probe(void *data, const char *route)
{
    (void)data;
    (void)route;
    return probe_result;
}

static void a_retry_probes_what_is_held(void **state)
{
    struct world *world = *state;
    open_spool(world);
    world->server.spool.probe = probe;
    keep(world, "results", HEAD, "hello");
    probe_result = 0;
    expect(world, "POST", "/spool/retry?all=yes", 200, "{\"changed\":");
    probe_result = -ENOMEM;
    expect(world, "POST", "/spool/retry?all=yes", 500, "does not probe its upstream before its time: ");
}

/* Whoever goes before the answer leaves nothing behind; the sanitizers see to it. */
static void operators_may_leave(void **state)
{
    struct world *world = *state;
    static const char *const targets[] = {"/spool/list", "/spool/show?id=1", "/spool/export?id=1"};
    open_spool(world);
    keep(world, "results", HEAD, "hello");
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        close(reach(world, "GET", targets[i]));
        turn(world);
    }
    close(reach(world, "POST", "/spool/verify"));
    for (unsigned i = 0; i < 20; i++) {
        turn(world);
    }
    expect(world, "GET", "/spool/list", 200, "\"id\":1");
}

static void figures(void **state)
{
    struct world *world = *state;
    struct text metrics = TEXT_INIT;
    open_spool(world);
    keep(world, "results", HEAD, "hello");
    keep(world, "gone", HEAD, "hello");
    counter_add(&counters_route(&world->server.counters, "results")->deliveries[VERDICT_RETRY], 3);
    spool_metrics_write(&world->server.view, &metrics);
    static const char *const parts[] = {
        "\npostern_spool_up 1\n",
        "\npostern_spool_records{route=\"results\",state=\"ready\"} 1\n",
        "\npostern_spool_records{route=\"gone\",state=\"dead\"} 0\n",
        "\npostern_spool_accepted_total{route=\"results\"} 1\n",
        "\npostern_spool_attempts_total{route=\"results\"} 3\n",
        "\npostern_spool_outcomes_total{route=\"results\",outcome=\"retry\"} 3\n",
        "\npostern_spool_outcomes_total{route=\"results\",outcome=\"delivered\"} 0\n",
        "\npostern_spool_held{route=\"results\"} 0\n",
        "# TYPE postern_spool_oldest_age_seconds gauge\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        if (strstr(metrics.data, parts[i]) == NULL) {
            fail_msg("expected %s in %s", parts[i], metrics.data);
        }
    }
    text_release(&metrics);
    expect(world, "GET", "/spool/stats", 200, "\"route\":\"results\",\"configured\":true,\"held\":false");
    expect(world, "GET", "/spool/stats", 200, "\"route\":\"gone\",\"configured\":false");
    expect(world, "GET", "/spool/stats", 200, "\"health\":{\"good\":true");
    /* A route that is none any more is told of, and kept. */
    spool_keeper_apply(&world->server.spool, &world->server.config);
    assert_false(spool_keeper_differs(&world->server.spool, &world->server.config));
    world->server.config.spool.path = "/elsewhere";
    assert_true(spool_keeper_differs(&world->server.spool, &world->server.config));
}

static void one_that_cannot_be_opened(void **state)
{
    struct world *world = *state;
    struct spool_keeper *keeper = &world->server.spool;
    struct text metrics = TEXT_INIT;
    char file[100];
    assert_int_equal(mkdir(world->path, 0700), 0);
    snprintf(file, sizeof file, "%s/spool.db", world->path);
    int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(write(fd, "no database ", 12), 12);
    }
    close(fd);
    spool_keeper_open(keeper, &world->server.config);
    assert_null(keeper->spool);
    assert_non_null(strstr(keeper->why.text, world->path));
    spool_keeper_apply(keeper, &world->server.config);
    expect(world, "GET", "/spool/list", 503, world->path);
    expect(world, "GET", "/spool/stats", 200, "\"open\":false,\"error\":\"");
    spool_metrics_write(&world->server.view, &metrics);
    assert_non_null(strstr(text_string(&metrics), "\npostern_spool_up 0\n"));
    text_release(&metrics);
    assert_int_equal(unlink(file), 0);
    open_spool(world);
    spool_keeper_open(keeper, &world->server.config); /* is open already */
    keep(world, "results", HEAD, "hello");
}

static void one_that_another_process_has(void **state)
{
    struct world *world = *state;
    const struct spool_options options = {.path = world->path, .manual = true};
    struct error err = ERROR_INIT;
    struct spool *other;
    assert_int_equal(spool_open(&options, &other, &err), 0);
    spool_keeper_open(&world->server.spool, &world->server.config);
    assert_null(world->server.spool.spool);
    spool_close(other);
    open_spool(world);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WORLD(without_a_spool),
        WITH_WORLD(the_status_has_it),
        WITH_WORLD(the_status_says_why_there_is_none),
        WITH_WORLD(lists_and_records),
        WITH_WORLD(changes),
        WITH_WORLD(a_retry_probes_what_is_held),
        WITH_WORLD(operators_may_leave),
        WITH_WORLD(figures),
        WITH_WORLD(one_that_cannot_be_opened),
        WITH_WORLD(one_that_another_process_has),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
