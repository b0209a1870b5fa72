/* Records on their way out, with an exchange that does as it is told. */
#include "forward/delivery.h"
#include "spool_fixture.h"
#include <errno.h>
#include <unistd.h>

#define RECORDS_MAX 16

/* ---- An exchange that the test plays ---- */

struct played {
    struct exchange *exchange;
    const struct exchange_ops *ops;
    struct exchange_options options;
    char body[300000];
    size_t size;
    bool over, cancelled;
};

static struct played played[RECORDS_MAX];
static unsigned playing; /* begun, since the test's start */
static size_t takes;     /* bytes at a time */
static bool sends_all;   /* what it takes goes out */

static struct played *of_exchange(const struct exchange *exchange)
{
    for (unsigned i = playing; i-- > 0;) {
        if (played[i].exchange == exchange) {
            return &played[i];
        }
    }
    fail_msg("%s", "an exchange that never began");
    return NULL;
}

void exchange_start(struct exchange *exchange, struct forward_worker *worker, const struct exchange_ops *ops,
                    const struct exchange_options *options)
{
    (void)worker;
    assert_true(playing < RECORDS_MAX);
    exchange->ops = ops;
    struct played *one = &played[playing++];
    one->exchange = exchange;
    one->ops = ops;
    one->options = *options;
    one->size = 0;
    one->over = one->cancelled = false;
}

size_t exchange_body(struct exchange *exchange, const char *data, size_t size)
{
    struct played *one = of_exchange(exchange);
    size_t taken = size < takes ? size : takes;
    assert_false(one->over);
    assert_true(one->size + taken <= sizeof one->body);
    memcpy(one->body + one->size, data, taken);
    one->size += taken;
    return taken;
}

void exchange_body_end(struct exchange *exchange)
{
    of_exchange(exchange)->over = true;
}

void exchange_resume(struct exchange *exchange)
{
    (void)exchange;
}

void exchange_cancel(struct exchange *exchange)
{
    of_exchange(exchange)->cancelled = true;
}

/* ---- A worker with deliveries ---- */

struct world {
    struct fixture fixture;
    struct forward_worker worker;
    struct deliveries deliveries;
    struct config *config;
    struct config_forward *forward;
    unsigned reports[VERDICT_OUTCOMES];
    char cause[SPOOL_CAUSE_MAX + 1];
    unsigned ups, downs;
    bool busy;
};

static void on_attempted(void *data, const struct delivery_report *report)
{
    struct world *world = data;
    world->reports[report->verdict->outcome]++;
    snprintf(world->cause, sizeof world->cause, "%s", report->verdict->cause);
    assert_string_equal(report->record->route, report->route->name);
}

static void on_turned(void *data, const struct config_route *route, bool up, const char *cause)
{
    struct world *world = data;
    (void)route;
    (void)cause;
    world->ups += up;
    world->downs += !up;
}

static void on_busy(void *data, bool busy)
{
    struct world *world = data;
    assert_int_equal(world->busy, !busy);
    world->busy = busy;
}

static const struct delivery_ops delivery_ops = {.attempted = on_attempted,
                                                 .turned = on_turned,
                                                 .busy = on_busy};

/* A configuration with the route `results`, if `in_flight` is not 0. */
static struct config *make_config(struct world *world, unsigned in_flight)
{
    struct config *config = config_new("test");
    assert_non_null(config);
    if (in_flight == 0) {
        return config;
    }
    config->routes = config_alloc(config, 1, sizeof *config->routes);
    world->forward = config_alloc(config, 1, sizeof *world->forward);
    assert_non_null(config->routes);
    assert_non_null(world->forward);
    config->route_count = 1;
    config_route_init(config->routes);
    config->routes->name = "results";
    config->routes->type = CONFIG_FORWARD;
    config->routes->forward = world->forward;
    http_rules_init(&world->forward->rules);
    world->forward->delivery = CONFIG_SPOOL;
    world->forward->in_flight = in_flight;
    world->forward->retry.min_pause_ms = 1;
    world->forward->retry.max_pause_ms = 2;
    return config;
}

static void adopt(struct world *world, unsigned in_flight)
{
    struct config *config = make_config(world, in_flight);
    assert_int_equal(deliveries_adopt(&world->deliveries, config), 0);
    config_unref(world->config);
    world->config = config;
    fixture_turn(&world->fixture);
}

static void open_world(struct world *world, unsigned in_flight)
{
    memset(world, 0, sizeof *world);
    playing = 0;
    takes = SIZE_MAX;
    sends_all = true;
    fixture_open(&world->fixture);
    world->worker.loop = &world->fixture.loop;
    deliveries_init(&world->deliveries, &world->worker, &world->fixture.spool, &delivery_ops, world);
    adopt(world, in_flight);
}

/* The end of the `number`th exchange that began. */
static void end_with(struct world *world, unsigned number, const struct exchange_end *end)
{
    played[number].cancelled = false;
    played[number].ops->end(played[number].exchange, end);
    fixture_turn(&world->fixture);
}

static void cancelled_ends(struct world *world)
{
    const struct exchange_end end = {.why = HTTP_REFUSED_REQUEST_CUT, .reached = true};
    for (unsigned i = 0; i < playing; i++) {
        if (played[i].cancelled) {
            end_with(world, i, &end);
        }
    }
}

static void close_world(struct world *world)
{
    deliveries_stop(&world->deliveries);
    cancelled_ends(world);
    fixture_turn(&world->fixture);
    assert_true(deliveries_over(&world->deliveries));
    assert_false(world->busy);
    config_unref(world->config);
    fixture_close(&world->fixture);
}

/* A record whose head is as the intake writes it. */
static uint64_t keep(struct world *world, const char *head, size_t size)
{
    struct bench_put put = {.done = false};
    struct error err = ERROR_INIT;
    char *body = bench_body(size, 3);
    char whole[1000];
    snprintf(whole, sizeof whole, "postern-spool/1 cid=16 request=id-1\r\n%s", head);
    const struct spool_request request = {
        .route = "results", .enclave = "payroll", .key = "k", .head = whole, .head_size = strlen(whole)};
    assert_int_equal(spool_put_begin(world->fixture.bench.port, &request, &bench_put_ops, &put, &put.put,
                                     &err),
                     0);
    assert_int_equal(bench_write(&world->fixture.bench, &put, body, size), 0);
    spool_put_commit(put.put);
    while (!put.done) {
        bench_turn(&world->fixture.bench);
    }
    assert_int_equal(put.result, 0);
    free(body);
    fixture_turn(&world->fixture);
    return put.id;
}

#define HEAD "POST /a?b=c HTTP/1.1\r\nhost: x\r\nidempotency-key: k\r\n\r\n"

static void answer(struct world *world, unsigned number, unsigned status)
{
    const struct exchange_end end = {.answered = true, .reached = true, .sent = sends_all};
    struct http_limits limits = HTTP_LIMITS_INIT;
    struct http_response response;
    http_response_init(&response, &limits, false);
    response.status = status;
    played[number].ops->head(played[number].exchange, &response);
    http_response_release(&response);
    end_with(world, number, &end);
}

static void unreached(struct world *world, unsigned number)
{
    const struct exchange_end end = {.why = HTTP_REFUSED_RESPONSE_CUT, .detail = "nobody there"};
    end_with(world, number, &end);
}

static uint64_t in_state(struct world *world, enum spool_state state)
{
    return bench_stats(&world->fixture.bench, NULL).records[state];
}

/* Until so many exchanges have begun: pauses of the loop's clock and of the spool's have to pass. */
static void wait_for(struct world *world, unsigned count)
{
    for (unsigned i = 0; i < 60000 && playing < count; i++) {
        bench_now += 5;
        usleep(1000);
        fixture_turn(&world->fixture);
    }
    assert_int_equal(playing, count);
}

/* ---- Tests ---- */

static void a_record_is_delivered(void **state)
{
    struct world world;
    char *body = bench_body(200000, 3);
    (void)state;
    open_world(&world, 2);
    takes = 1000;
    keep(&world, HEAD, 200000);
    assert_int_equal(playing, 1);
    assert_true(world.busy);
    const struct http_request *request = played[0].options.request;
    assert_true(http_span_is(request->method_name, "POST"));
    assert_int_equal(request->framing.length, 200000);
    assert_string_equal(played[0].options.values->enclave, "payroll");
    assert_string_equal(played[0].options.values->request_id, "id-1");
    assert_int_equal(played[0].options.values->cid, 16);
    assert_int_equal(played[0].size, 1000);
    while (!played[0].over) {
        played[0].ops->want(played[0].exchange);
        fixture_turn(&world.fixture);
    }
    assert_int_equal(played[0].size, 200000);
    assert_memory_equal(played[0].body, body, 200000);
    played[0].ops->want(played[0].exchange); /* nothing more comes */
    answer(&world, 0, 201);
    assert_int_equal(world.reports[VERDICT_DONE], 1);
    assert_int_equal(in_state(&world, SPOOL_READY) + in_state(&world, SPOOL_WAITING), 0);
    free(body);
    close_world(&world);
}

/* An exchange takes all, and throws it away, when its connection takes no more. */
static void an_answer_to_half_a_record(void **state)
{
    struct world world;
    (void)state;
    open_world(&world, 1);
    keep(&world, HEAD, 200000);
    assert_true(played[0].over);
    sends_all = false;
    answer(&world, 0, 200);
    assert_int_equal(world.reports[VERDICT_DONE], 0);
    assert_int_equal(world.reports[VERDICT_RETRY], 1);
    assert_string_equal(world.cause, "the upstream answered 200 before it had the whole request");
    assert_int_equal(in_state(&world, SPOOL_READY) + in_state(&world, SPOOL_WAITING), 1);
    close_world(&world);
}

static void so_many_at_once(void **state)
{
    struct world world;
    (void)state;
    open_world(&world, 3);
    for (unsigned i = 0; i < 5; i++) {
        keep(&world, HEAD, 10);
    }
    assert_int_equal(playing, 3);
    answer(&world, 1, 200);
    assert_int_equal(playing, 4);
    answer(&world, 0, 404);
    assert_int_equal(playing, 5);
    assert_int_equal(world.reports[VERDICT_BURIED], 1);
    assert_int_equal(in_state(&world, SPOOL_DEAD), 1);
    close_world(&world);
    assert_int_equal(world.reports[VERDICT_RELEASED], 3);
}

static void an_upstream_that_is_down_is_probed(void **state)
{
    struct world world;
    (void)state;
    open_world(&world, 3);
    for (unsigned i = 0; i < 6; i++) {
        keep(&world, HEAD, 10);
    }
    assert_int_equal(playing, 3);
    unreached(&world, 0);
    unreached(&world, 1);
    unreached(&world, 2);
    assert_int_equal(world.downs, 1);
    assert_int_equal(world.reports[VERDICT_UNREACHED], 3);
    wait_for(&world, 4);
    fixture_turn(&world.fixture);
    assert_int_equal(playing, 4); /* one at a time */
    unreached(&world, 3);
    wait_for(&world, 5);
    answer(&world, 4, 200);
    assert_int_equal(world.ups, 1);
    wait_for(&world, 8);
    assert_int_equal(world.downs, 1);
    for (unsigned i = 5; i < 8; i++) {
        answer(&world, i, 200);
    }
    close_world(&world);
}

/* The pause of an hour would be outwaited by no test. */
static void an_operator_has_it_probed_at_once(void **state)
{
    struct world world;
    (void)state;
    open_world(&world, 3);
    world.forward->retry.min_pause_ms = world.forward->retry.max_pause_ms = 3600000;
    assert_int_equal(deliveries_adopt(&world.deliveries, world.config), 0);
    for (unsigned i = 0; i < 4; i++) {
        keep(&world, HEAD, 10);
    }
    unreached(&world, 0);
    unreached(&world, 1);
    unreached(&world, 2);
    assert_int_equal(playing, 3);
    deliveries_probe(&world.deliveries, "other");
    fixture_turn(&world.fixture);
    assert_int_equal(playing, 3);
    deliveries_probe(&world.deliveries, "results");
    fixture_turn(&world.fixture);
    assert_int_equal(playing, 4); /* one, for it is still held */
    assert_int_equal(world.ups, 0);
    deliveries_probe(&world.deliveries, NULL); /* is on its way */
    fixture_turn(&world.fixture);
    assert_int_equal(playing, 4);
    answer(&world, 3, 200);
    assert_int_equal(world.ups, 1);
    deliveries_probe(&world.deliveries, NULL); /* is not held */
    close_world(&world);
}

static void rules_of_now_count(void **state)
{
    struct world world;
    struct error err = ERROR_INIT;
    (void)state;
    open_world(&world, 1);
    assert_int_equal(http_policy_add_path(&world.forward->rules.policy, "/other", &err), 0);
    keep(&world, HEAD, 10);
    assert_int_equal(playing, 0);
    assert_int_equal(in_state(&world, SPOOL_DEAD), 1);
    assert_non_null(strstr(world.cause, "denied_path"));
    http_policy_release(&world.forward->rules.policy);
    http_policy_init(&world.forward->rules.policy);
    keep(&world, "no head at all", 10);
    keep(&world, "x", 0);
    assert_int_equal(in_state(&world, SPOOL_DEAD), 3);
    assert_non_null(strstr(world.cause, "bad_request_line"));
    close_world(&world);
}

static void what_the_intake_adds_is_not_counted(void **state)
{
    struct world world;
    (void)state;
    open_world(&world, 1);
    world.forward->rules.limits.head.fields = 1;
    world.forward->rules.limits.head.bytes = 40;
    keep(&world, HEAD, 10);
    assert_int_equal(playing, 1);
    answer(&world, 0, 200);
    close_world(&world);
}

static void a_route_that_goes_keeps_its_records(void **state)
{
    struct world world;
    (void)state;
    open_world(&world, 1);
    keep(&world, HEAD, 10);
    keep(&world, HEAD, 10);
    assert_int_equal(playing, 1);
    adopt(&world, 0);
    assert_false(deliveries_over(&world.deliveries)); /* one is on its way, and goes on */
    answer(&world, 0, 200);
    assert_true(deliveries_over(&world.deliveries));
    assert_int_equal(in_state(&world, SPOOL_READY), 1);
    adopt(&world, 2);
    assert_int_equal(playing, 2);
    answer(&world, 1, 200);
    close_world(&world);
}

static void a_drain_takes_nothing_more(void **state)
{
    struct world world;
    (void)state;
    open_world(&world, 1);
    keep(&world, HEAD, 10);
    keep(&world, HEAD, 10);
    deliveries_drain(&world.deliveries);
    answer(&world, 0, 200);
    assert_int_equal(playing, 1);
    assert_false(world.busy);
    adopt(&world, 4); /* nor does a reload */
    assert_int_equal(playing, 1);
    assert_int_equal(in_state(&world, SPOOL_READY), 1);
    close_world(&world);
}

static void a_stop_cuts_and_counts_nothing(void **state)
{
    struct world world;
    (void)state;
    open_world(&world, 2);
    keep(&world, HEAD, 10);
    deliveries_stop(&world.deliveries);
    assert_true(played[0].cancelled);
    assert_false(deliveries_over(&world.deliveries));
    cancelled_ends(&world);
    assert_true(deliveries_over(&world.deliveries));
    assert_int_equal(world.reports[VERDICT_RELEASED], 1);
    assert_int_equal(in_state(&world, SPOOL_READY), 1);
    close_world(&world);
}

static void an_answer_has_a_bound(void **state)
{
    struct world world;
    static char piece[40000];
    (void)state;
    open_world(&world, 1);
    keep(&world, HEAD, 0);
    assert_true(played[0].over);
    assert_int_equal(played[0].ops->piece(played[0].exchange, piece, sizeof piece), sizeof piece);
    assert_false(played[0].cancelled);
    assert_int_equal(played[0].ops->piece(played[0].exchange, piece, sizeof piece), sizeof piece);
    assert_true(played[0].cancelled);
    answer(&world, 0, 200);
    assert_int_equal(world.reports[VERDICT_DONE], 1);
    close_world(&world);
}

static void a_damaged_body_is_cut(void **state)
{
    struct world world;
    char file[200];
    (void)state;
    open_world(&world, 1);
    adopt(&world, 0);
    keep(&world, HEAD, 200000);
    snprintf(file, sizeof file,
             "sh -c 'for f in %s/bodies/*; do echo damage | dd of=$f bs=1 seek=1000 conv=notrunc "
             "status=none; done'",
             world.fixture.bench.path);
    assert_int_equal(system(file), 0);
    adopt(&world, 1);
    fixture_turn(&world.fixture);
    assert_int_equal(playing, 1);
    assert_true(played[0].cancelled);
    assert_false(played[0].over); /* the upstream never has the whole of it */
    cancelled_ends(&world);
    assert_int_equal(world.reports[VERDICT_DAMAGED], 1);
    assert_int_equal(in_state(&world, SPOOL_DAMAGED), 1);
    close_world(&world);
}

static void each_route_has_one_worker(void **state)
{
    static const char *const names[] = {"results", "kept", "a", "b", "something-else", "route-7"};
    (void)state;
    for (unsigned count = 1; count < 20; count++) {
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
            unsigned owners = 0;
            for (unsigned index = 0; index < count; index++) {
                owners += deliveries_owns(names[i], index, count);
            }
            assert_int_equal(owners, 1);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_delivered),
        cmocka_unit_test(an_answer_to_half_a_record),
        cmocka_unit_test(so_many_at_once),
        cmocka_unit_test(an_upstream_that_is_down_is_probed),
        cmocka_unit_test(an_operator_has_it_probed_at_once),
        cmocka_unit_test(rules_of_now_count),
        cmocka_unit_test(what_the_intake_adds_is_not_counted),
        cmocka_unit_test(a_route_that_goes_keeps_its_records),
        cmocka_unit_test(a_drain_takes_nothing_more),
        cmocka_unit_test(a_stop_cuts_and_counts_nothing),
        cmocka_unit_test(an_answer_has_a_bound),
        cmocka_unit_test(a_damaged_body_is_cut),
        cmocka_unit_test(each_route_has_one_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
