/*
 * Requests on their way into the spool, and records on their way out of it, whose every allocation and every look at the disk
 * fails once. Whoever is told that a request is kept finds it, whoever is told that it is not finds nothing, and a
 * record is there until an upstream took the whole of it.
 */
#include "fault.h"
#include "forward/delivery.h"
#include "intake_head.h"
#include "spool_fixture.h"
#include <unistd.h>

#define LARGE 200000 /* a file's */

/* Nothing here is about power, and there are thousands of these. Every library in the program takes them from here. */
int fsync(int fd)
{
    (void)fd;
    return 0;
}

int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

static struct fixture fixture;

static uint64_t records(enum spool_state state)
{
    return bench_stats(&fixture.bench, NULL).records[state];
}

/* By then, what SQLite makes once and keeps has its size. */
static int set_up(void **state)
{
    (void)state;
    fixture_open(&fixture);
    for (unsigned i = 0; i < 100; i++) {
        bench_give(&fixture.bench, "results", i == 0 ? LARGE : 60000, i);
    }
    for (unsigned i = 0; i < 100; i++) {
        bench_deliver(&fixture.bench, "results", 1 + i, SPOOL_DONE);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_close(&fixture);
    return 0;
}

/* ---- In ---- */

struct client {
    struct intake intake;
    struct intake_head head;
    unsigned ends;
    struct intake_end end;
};

static struct client *of(struct intake *intake)
{
    return CONTAINER_OF(intake, struct client, intake);
}

static void on_want(struct intake *intake)
{
    (void)intake;
}

static void on_intake_end(struct intake *intake, const struct intake_end *end)
{
    of(intake)->ends++;
    of(intake)->end = *end; /* what it points to is the intake's */
}

static const struct intake_ops intake_ops = {.want = on_want, .go_on = on_want, .end = on_intake_end};

static void judge(struct client *client, const char *head)
{
    memset(client, 0, sizeof *client);
    intake_head_read(&client->head, head);
}

static void give(struct client *client, const char *body, size_t size)
{
    while (size > 0) {
        size_t taken = intake_body(&client->intake, body, size);
        body += taken;
        size -= taken;
        fixture_turn(&fixture);
    }
    intake_body_end(&client->intake);
    fixture_turn(&fixture);
}

static void check_answer(const struct client *client)
{
    struct text answer = TEXT_INIT;
    const struct http_refusal_note note = {.request_id = "id-1", .date = "now"};
    intake_answer(&client->end, &note, true, &answer);
    const char *line = client->end.why == HTTP_REFUSED_NONE ? "HTTP/1.1 202 " : "HTTP/1.1 50";
    assert_true(answer.failed || strncmp(answer.data, line, strlen(line)) == 0);
    text_release(&answer);
}

struct kept {
    const char *head;
    size_t size;
};

static void keep_one(void *arg)
{
    const struct kept *kept = arg;
    struct client client;
    fault_spare(true);
    char *body = bench_body(kept->size, 1);
    judge(&client, kept->head);
    fault_spare(false);
    intake_start(&client.intake, &fixture.spool, &intake_ops, &client.head.route, &client.head.request,
                 &client.head.values);
    assert_int_equal(client.ends, 0);
    give(&client, body, kept->size);
    assert_int_equal(client.ends, 1);
    check_answer(&client);
    fault_spare(true);
    fixture_turn(&fixture);
    bool told = client.end.why == HTTP_REFUSED_NONE;
    assert_int_equal(records(SPOOL_READY), told);
    assert_int_equal(bench_stats(&fixture.bench, NULL).incoming_bytes, 0);
    if (told) {
        struct bench_take take;
        bench_take(&fixture.bench, &take, "results");
        assert_int_equal(spool_take_record(take.take)->id, client.end.id);
        bench_assert_body(&fixture.bench, &take, kept->size, 1);
        bench_verdict(&fixture.bench, &take, SPOOL_DONE);
    }
    http_request_release(&client.head.request);
    http_rules_release(&client.head.rules);
    free(body);
    fixture_turn(&fixture);
    fault_spare(false);
}

#define POST "POST /a?b=c HTTP/1.1\r\nHost: store.example\r\nX-Mine: 1\r\n"

static void test_keeping(void **state)
{
    (void)state;
    struct kept small = {POST "Content-Length: 5\r\n\r\n", 5};
    struct kept waiting = {POST "Expect: 100-continue\r\nIdempotency-Key: k\r\nContent-Length: 5\r\n\r\n", 5};
    struct kept large = {POST "Transfer-Encoding: chunked\r\n\r\n", LARGE};
    assert_true(fault_loop("intake, small", FAULT_MEMORY, keep_one, &small) >= 10);
    assert_true(fault_loop("intake, with a key", FAULT_MEMORY, keep_one, &waiting) >= 10);
    assert_true(fault_loop("intake, large", FAULT_MEMORY | FAULT_OPEN, keep_one, &large) >= 15);
}

/* The client goes in the middle of the body: nothing is kept, whatever fails meanwhile. */
static void go_early(void *arg)
{
    struct client client;
    (void)arg;
    fault_spare(true);
    char *body = bench_body(LARGE, 1);
    judge(&client, POST "Transfer-Encoding: chunked\r\n\r\n");
    fault_spare(false);
    intake_start(&client.intake, &fixture.spool, &intake_ops, &client.head.route, &client.head.request,
                 &client.head.values);
    assert_true(intake_body(&client.intake, body, LARGE) > 0);
    fixture_turn(&fixture);
    if (client.ends == 0) {
        intake_cancel(&client.intake);
    }
    fixture_turn(&fixture);
    fault_spare(true);
    fixture_turn(&fixture);
    assert_int_equal(records(SPOOL_READY), 0);
    assert_int_equal(bench_stats(&fixture.bench, NULL).incoming_bytes, 0);
    http_request_release(&client.head.request);
    http_rules_release(&client.head.rules);
    free(body);
    fault_spare(false);
}

static void test_going_early(void **state)
{
    (void)state;
    assert_true(fault_loop("intake, cancelled", FAULT_MEMORY | FAULT_OPEN, go_early, NULL) >= 10);
}

/* ---- A port ---- */

static void open_port(void *arg)
{
    struct forward_spool spool;
    struct error err = ERROR_INIT;
    struct client client;
    (void)arg;
    assert_int_equal(forward_spool_init(&spool, &fixture.loop), 0);
    int rv = forward_spool_attach(&spool, fixture.bench.spool, &err);
    assert_int_equal(rv == 0, spool.port != NULL);
    if (rv != 0) {
        fault_spare(true);
        assert_non_null(strstr(err.text, "port"));
        judge(&client, POST "Content-Length: 5\r\n\r\n");
        intake_start(&client.intake, &spool, &intake_ops, &client.head.route, &client.head.request,
                     &client.head.values);
        fixture_turn(&fixture);
        assert_int_equal(client.ends, 1);
        assert_int_equal(client.end.why, HTTP_REFUSED_SPOOL_UNAVAILABLE);
        assert_non_null(strstr(client.end.detail, "memory"));
        http_request_release(&client.head.request);
        http_rules_release(&client.head.rules);
        assert_int_equal(forward_spool_attach(&spool, fixture.bench.spool, &err), 0);
        fault_spare(false);
    }
    forward_spool_close(&spool);
    fixture_turn(&fixture);
}

static void test_a_port(void **state)
{
    (void)state;
    assert_true(fault_loop("a worker's port", FAULT_MEMORY, open_port, NULL) >= 1);
}

/* ---- Out, with an exchange that the test plays ---- */

static struct {
    struct exchange *exchange; /* NULL: none is under way */
    unsigned begun;
    size_t size;
    bool over, cancelled;
} played;

void exchange_start(struct exchange *exchange, struct forward_worker *worker, const struct exchange_ops *ops,
                    const struct exchange_options *options)
{
    (void)worker;
    assert_null(played.exchange);
    assert_true(http_span_is(options->request->method_name, "POST"));
    exchange->ops = ops;
    played.exchange = exchange;
    played.begun++;
    played.size = 0;
    played.over = played.cancelled = false;
}

size_t exchange_body(struct exchange *exchange, const char *data, size_t size)
{
    (void)data;
    assert_ptr_equal(exchange, played.exchange);
    played.size += size;
    return size;
}

void exchange_body_end(struct exchange *exchange)
{
    assert_ptr_equal(exchange, played.exchange);
    played.over = true;
}

void exchange_resume(struct exchange *exchange)
{
    (void)exchange;
}

void exchange_cancel(struct exchange *exchange)
{
    assert_ptr_equal(exchange, played.exchange);
    played.cancelled = true;
}

struct world {
    struct forward_worker worker;
    struct deliveries deliveries;
    struct config *config;
    unsigned attempts, taken; /* taken: with a 200 for the whole */
};

static void on_attempted(void *data, const struct delivery_report *report)
{
    struct world *world = data;
    world->attempts++;
    world->taken += report->verdict->outcome == VERDICT_DONE;
}

static void on_turned(void *data, const struct config_route *route, bool up, const char *cause)
{
    (void)data;
    (void)route;
    (void)up;
    (void)cause;
}

static void on_busy(void *data, bool busy)
{
    (void)data;
    (void)busy;
}

static const struct delivery_ops delivery_ops = {.attempted = on_attempted,
                                                 .turned = on_turned,
                                                 .busy = on_busy};

static struct config *make_config(void)
{
    struct config *config = config_new("test");
    assert_non_null(config);
    struct config_route *route = config_alloc(config, 1, sizeof *route);
    struct config_forward *forward = config_alloc(config, 1, sizeof *forward);
    assert_true(route != NULL && forward != NULL);
    config->routes = route;
    config->route_count = 1;
    config_route_init(route);
    route->name = "results";
    route->type = CONFIG_FORWARD;
    route->forward = forward;
    http_rules_init(&forward->rules);
    forward->delivery = CONFIG_SPOOL;
    forward->in_flight = 1;
    forward->retry.min_pause_ms = 1;
    forward->retry.max_pause_ms = 2;
    return config;
}

static void answer(unsigned status)
{
    const struct exchange_end end = {.answered = true, .reached = true};
    struct http_limits limits = HTTP_LIMITS_INIT;
    struct http_response response;
    struct exchange *exchange = played.exchange;
    http_response_init(&response, &limits, false);
    response.status = status;
    exchange->ops->head(exchange, &response);
    http_response_release(&response);
    played.exchange = NULL;
    exchange->ops->end(exchange, &end);
}

static void cut(void)
{
    const struct exchange_end end = {.why = HTTP_REFUSED_REQUEST_CUT, .reached = true};
    struct exchange *exchange = played.exchange;
    played.exchange = NULL;
    exchange->ops->end(exchange, &end);
}

/* What the upstream does: it takes what is whole. */
static void play(size_t size)
{
    fixture_turn(&fixture);
    if (played.exchange != NULL && played.cancelled) {
        cut();
    } else if (played.exchange != NULL && played.over) {
        assert_int_equal(played.size, size);
        answer(200);
    }
    fixture_turn(&fixture);
}

static void put_record(size_t size)
{
    static const char head[] = "postern-spool/1 cid=16 request=id-1\r\n"
                               "POST /a HTTP/1.1\r\nhost: x\r\nidempotency-key: k\r\n\r\n";
    const struct spool_request request = {
        .route = "results", .enclave = "payroll", .key = "k", .head = head, .head_size = sizeof head - 1};
    struct bench_put put = {.done = false};
    char *body = bench_body(size, 1);
    assert_int_equal(spool_put_begin(fixture.bench.port, &request, &bench_put_ops, &put, &put.put,
                                     &put.error),
                     0);
    assert_int_equal(bench_write(&fixture.bench, &put, body, size), 0);
    spool_put_commit(put.put);
    bench_turn(&fixture.bench);
    assert_true(put.done && put.result == 0);
    free(body);
}

/* Of what waits for a time, that time comes. */
static void empty_the_spool(size_t size)
{
    for (unsigned i = 0; i < 2; i++) {
        bench_now += 120000;
        bench_turn(&fixture.bench);
    }
    while (records(SPOOL_READY) > 0) {
        struct bench_take take;
        bench_take(&fixture.bench, &take, "results");
        bench_assert_body(&fixture.bench, &take, size, 1);
        bench_verdict(&fixture.bench, &take, SPOOL_DONE);
    }
}

static void deliver_one(void *arg)
{
    size_t size = *(size_t *)arg;
    struct world world = {.worker = {.loop = &fixture.loop}};
    fault_spare(true);
    played.exchange = NULL;
    played.begun = 0;
    put_record(size);
    world.config = make_config();
    fault_spare(false);
    deliveries_init(&world.deliveries, &world.worker, &fixture.spool, &delivery_ops, &world);
    if (deliveries_adopt(&world.deliveries, world.config) == 0) {
        play(size);
        play(size);
    }
    deliveries_stop(&world.deliveries);
    play(size);
    assert_true(deliveries_over(&world.deliveries));
    fault_spare(true);
    fixture_turn(&fixture);
    config_unref(world.config);
    uint64_t left = records(SPOOL_READY) + records(SPOOL_WAITING);
    assert_int_equal(left + records(SPOOL_DEAD) + records(SPOOL_DAMAGED),
                     left); /* no failure of ours is its fault */
    assert_true(left == 1 || world.taken == 1);
    assert_true(world.attempts >= played.begun);
    empty_the_spool(size);
    fixture_turn(&fixture);
    fault_spare(false);
}

static void test_delivering(void **state)
{
    (void)state;
    size_t small = 1000, large = LARGE;
    assert_true(fault_loop("delivery, small", FAULT_MEMORY, deliver_one, &small) >= 5);
    assert_true(fault_loop("delivery, large", FAULT_MEMORY | FAULT_OPEN, deliver_one, &large) >= 8);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_keeping),
        TEST(test_going_early),
        TEST(test_a_port),
        TEST(test_delivering),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
