/* One question for all who wait, renewal before the end, and what is kept when nobody answers. */
#include "base/log.h"
#include "credentials_bench.h"
#include "fault.h"

static void test_instance(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
    assert_int_equal(bench_ask(&bench, &asker), 1);
    WAIT_FOR(&bench.loopback, asker.ends == 1);
    assert_string_equal(asker.id, "ID1");
    assert_int_equal(bench_ask(&bench, &asker), 0);
    assert_string_equal(asker.id, "ID1");
    assert_int_equal(bench.endpoint.requests, 3);
    bench_close(&bench);
}

static void test_one_question_for_all(void **state)
{
    struct bench bench;
    struct asker askers[5];
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
    for (size_t i = 0; i < ARRAY_SIZE(askers); i++) {
        assert_int_equal(bench_ask(&bench, &askers[i]), 1);
    }
    askers[1].asks_again = true;
    credentials_cancel(&askers[2].waiter);
    credentials_cancel(&askers[2].waiter);
    WAIT_FOR(&bench.loopback, askers[4].ends == 1);
    for (size_t i = 0; i < ARRAY_SIZE(askers); i++) {
        assert_int_equal(askers[i].ends, i == 2 ? 0 : 1);
        assert_string_equal(askers[i].id, i == 2 ? "" : "ID1");
    }
    assert_int_equal(bench.endpoint.requests, 3);
    bench_close(&bench);
}

static void test_routes_share_a_source(void **state)
{
    struct bench bench;
    struct config_sign other = {.credentials = CONFIG_CREDENTIALS_FILE, .profile = "a"};
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
    struct credentials_source *same = credentials_source_get(&bench.store, &bench.sign);
    assert_ptr_equal(same, bench.source);
    struct credentials_source *a = credentials_source_get(&bench.store, &other);
    other.profile = "b";
    struct credentials_source *b = credentials_source_get(&bench.store, &other);
    other.credentials_file = "/nowhere";
    struct credentials_source *c = credentials_source_get(&bench.store, &other);
    assert_true(a != b && b != c && a != c && a != same);
    credentials_source_put(a);
    credentials_source_put(b);
    credentials_source_put(c);
    credentials_source_put(same);
    credentials_source_put(NULL);
    bench_close(&bench);
}

/* Keys are renewed some minutes before they end, while requests go on with the old ones. */
static void test_renewal(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
    assert_string_equal(bench_get(&bench, &asker), "ID1");
    bench_pass(3600 - 301);
    assert_int_equal(bench_ask(&bench, &asker), 0);
    loopback_turn(&bench.loopback);
    assert_int_equal(bench.endpoint.requests, 3);
    bench_pass(152);
    assert_int_equal(bench_ask(&bench, &asker), 0);
    assert_string_equal(asker.id, "ID1");
    assert_int_equal(bench_ask(&bench, &asker), 0); /* the question is asked already */
    WAIT_FOR(&bench.loopback, bench_ask(&bench, &asker) == 0 && strcmp(asker.id, "ID2") == 0);
    assert_int_equal(bench.endpoint.requests, 5);
    assert_int_equal(bench.service.tokens, 1);
    bench_close(&bench);
}

/* An instance that is given another role has keys of it at once; those of the old one would have served for hours. */
static void test_keys_that_are_refused(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
    credentials_refused(bench.source); /* by whom, there are none yet */
    assert_string_equal(bench_get(&bench, &asker), "ID1");
    assert_int_equal(bench.endpoint.requests, 3);
    credentials_refused(bench.source);
    assert_int_equal(bench_ask(&bench, &asker), 0);
    assert_string_equal(asker.id, "ID1");
    WAIT_FOR(&bench.loopback, bench_ask(&bench, &asker) == 0 && strcmp(asker.id, "ID2") == 0);

    /* The new ones are not good either: it is not asked as often as that is said. */
    credentials_refused(bench.source);
    bench_pass(59);
    credentials_refused(bench.source);
    loopback_pass(&bench.loopback, 50);
    assert_int_equal(bench.endpoint.requests, 5);
    bench_pass(1);
    credentials_refused(bench.source);
    WAIT_FOR(&bench.loopback, bench_ask(&bench, &asker) == 0 && strcmp(asker.id, "ID3") == 0);
    assert_int_equal(bench.endpoint.requests, 7);
    bench_close(&bench);
}

/* The first questions come late: who asks then has to wait, and joins one that is under way. */
static void test_keys_that_expired_unused(void **state)
{
    struct bench bench;
    struct asker asker, other;
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
    assert_string_equal(bench_get(&bench, &asker), "ID1");
    bench_pass(3599);
    assert_int_equal(bench_ask(&bench, &asker), 0);
    bench_pass(1);
    assert_int_equal(bench_ask(&bench, &asker), 1);
    assert_int_equal(bench_ask(&bench, &other), 1);
    WAIT_FOR(&bench.loopback, other.ends == 1);
    assert_string_equal(asker.id, "ID2");
    assert_int_equal(bench.endpoint.requests, 5);
    bench_close(&bench);
}

static void test_a_token_is_renewed_once(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
    assert_string_equal(bench_get(&bench, &asker), "ID1");
    bench.service.tokens += 5; /* the service was started anew, and knows ours no more */
    bench_pass(3600);
    assert_string_equal(bench_get(&bench, &asker), "ID2");
    assert_int_equal(bench.service.unknown, 1);
    bench.service.role_status = 401;
    bench_pass(3600);
    assert_refused(&bench, "status 401");
    bench_close(&bench);
}

static void test_keys_that_come_expired(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
    bench.service.life_s = -1;
    assert_refused(&bench, "expired already");
    bench_close(&bench);
}

static void test_old_keys_serve_until_they_expire(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
    assert_string_equal(bench_get(&bench, &asker), "ID1");
    bench.service.down = true;
    bench_pass(3590);
    WAIT_FOR(&bench.loopback,
             bench_ask(&bench, &asker) == 0 && bench.endpoint.requests == 6); /* two failures */
    assert_string_equal(asker.id, "ID1");
    WAIT_FOR(&bench.loopback, bench.endpoint.lines == NULL);
    bench_pass(10);
    WAIT_FOR(&bench.loopback, strcmp(bench_get(&bench, &asker), "") == 0);
    assert_non_null(strstr(asker.err.text, "status 500"));
    bench.service.down = false;
    bench_get_in_the_end(&bench, "ID2");
    bench_close(&bench);
}

static void test_an_endpoint_that_failed_is_left_in_peace(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
    bench.service.down = true;
    assert_refused(&bench, "status 500");
    unsigned before = bench.endpoint.requests;
    assert_int_equal(bench_ask(&bench, &asker), -EAGAIN);
    assert_non_null(strstr(asker.err.text, "status 500"));
    assert_int_equal(bench.endpoint.requests, before);
    bench.service.down = false;
    bench_get_in_the_end(&bench, "ID1");
    bench_close(&bench);
}

static void test_waiters_that_ask_again_meet_the_pause(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
    bench.service.down = true;
    assert_int_equal(bench_ask(&bench, &asker), 1);
    asker.asks_again = true;
    WAIT_FOR(&bench.loopback, asker.ends == 1);
    assert_int_equal(bench.endpoint.requests, 1);
    bench_close(&bench);
}

static void test_source_goes_while_it_asks(void **state)
{
    struct bench bench;
    struct asker asker;
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
    assert_int_equal(bench_ask(&bench, &asker), 1);
    credentials_cancel(&asker.waiter);
    credentials_source_put(bench.source);
    bench.source = NULL;
    loopback_turn(&bench.loopback);
    bench_close(&bench);
}

static void ask_once(void *arg)
{
    struct bench *bench = arg;
    struct asker asker;
    bench->source = credentials_source_get(&bench->store, &bench->sign);
    if (bench->source != NULL) {
        (void)bench_get(bench, &asker);
        assert_true((asker.id[0] == '\0') == (asker.err.text[0] != '\0'));
        credentials_source_put(bench->source);
        bench->source = NULL;
    }
    WAIT_FOR(&bench->loopback, bench->endpoint.lines == NULL);
    loopback_turn(&bench->loopback);
    loopback_turn(&bench->loopback);
}

static void test_failing_calls(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench, CONFIG_CREDENTIALS_INSTANCE);
    credentials_source_put(bench.source);
    bench.source = NULL;
    bench.sign.profile = "some";
    bench.sign.credentials_file = "/nowhere";
    assert_true(fault_loop("credentials", FAULT_MEMORY | FAULT_SOCKET | FAULT_CONNECT, ask_once, &bench) >=
                20);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instance),
        cmocka_unit_test(test_one_question_for_all),
        cmocka_unit_test(test_routes_share_a_source),
        cmocka_unit_test(test_renewal),
        cmocka_unit_test(test_keys_that_are_refused),
        cmocka_unit_test(test_keys_that_expired_unused),
        cmocka_unit_test(test_a_token_is_renewed_once),
        cmocka_unit_test(test_keys_that_come_expired),
        cmocka_unit_test(test_old_keys_serve_until_they_expire),
        cmocka_unit_test(test_an_endpoint_that_failed_is_left_in_peace),
        cmocka_unit_test(test_waiters_that_ask_again_meet_the_pause),
        cmocka_unit_test(test_source_goes_while_it_asks),
        cmocka_unit_test(test_failing_calls),
    };
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_JSON);
    credentials_prepare();
    loopback_spare_libuv();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
