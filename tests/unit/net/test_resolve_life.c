/* The resolver: many questions at once, their ends before the answer, bounds, and failing memory. */
#include "fault.h"
#include "resolve_fixture.h"

#include <ares_version.h>
#include <unistd.h>

/* ---- Many at once ---- */

static void a_hundred_questions_are_one_query(void **state)
{
    struct fixture *fixture = *state;
    struct question *questions = calloc(100, sizeof(*questions));
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "name.test");
    rule->a = 1;
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(start(fixture, &questions[i], i % 2 ? "name.test" : "Name.TEST"), 0);
    }
    for (unsigned i = 0; i < 100; i++) {
        wait_for(&questions[i], 1);
        assert_int_equal(questions[i].why, REASON_NONE);
    }
    uv_run(&fixture->loop, UV_RUN_DEFAULT); /* and nothing keeps the loop running */
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(questions[i].calls, 1);
    }
    assert_int_equal(fixture->stats.queries, 1);
    assert_int_equal(rule->asked_a, 1);
    assert_int_equal(rule->asked_aaaa, 1);
    free(questions);
}

/* Of a name that is known not to exist, all are told on the same turn. */
static void many_questions_with_a_known_answer(void **state)
{
    struct fixture *fixture = *state;
    struct question one = {.calls = 0}, two = {.calls = 0};
    assert_asks(fixture, "nowhere.test", 0, REASON_DNS_NOT_FOUND);
    start(fixture, &one, "nowhere.test");
    start(fixture, &two, "nowhere.test");
    uv_run(&fixture->loop, UV_RUN_NOWAIT);
    assert_int_equal(one.calls + two.calls, 2);
    assert_int_equal(fixture->stats.hits, 2);
}

static void different_names_are_different_queries(void **state)
{
    struct fixture *fixture = *state;
    struct question one = {.calls = 0}, two = {.calls = 0};
    dns_fake_rule(&fixture->dns, "one.test")->a = 1;
    dns_fake_rule(&fixture->dns, "two.test")->a = 2;
    start(fixture, &one, "one.test");
    start(fixture, &two, "two.test");
    wait_for(&one, 1);
    wait_for(&two, 1);
    assert_int_equal(one.answer.count, 1);
    assert_int_equal(two.answer.count, 2);
    assert_int_equal(fixture->stats.queries, 2);
    assert_int_equal(fixture->stats.cached, 2);
}

/* ---- The bound of the queries ---- */

static void too_many_queries_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct question *questions = calloc(RESOLVE_QUERIES_MAX + 1, sizeof(*questions));
    char name[32];
    assert_non_null(questions);
    fixture->options.timeout_ms = MINUTE_MS; /* a slow machine must not reach it */
    reopen(fixture);
    fixture->dns.silent = true;
    for (unsigned i = 0; i <= RESOLVE_QUERIES_MAX; i++) {
        snprintf(name, sizeof(name), "n%u.test", i);
        assert_int_equal(start(fixture, &questions[i], name), 0);
    }
    wait_for(&questions[RESOLVE_QUERIES_MAX], 1);
    assert_int_equal(questions[RESOLVE_QUERIES_MAX].why, REASON_LIMIT_DAEMON);
    assert_int_equal(questions[0].calls, 0);
    assert_int_equal(fixture->stats.queries, RESOLVE_QUERIES_MAX);
    close_resolver(fixture);
    fixture->resolver = NULL;
    assert_int_equal(questions[0].calls, 0);
    free(questions);
}

static void start_as(struct fixture *fixture, struct question *question, uint32_t asker, const char *name)
{
    memset(question, 0, sizeof(*question));
    question->request.asker = asker;
    assert_int_equal(start(fixture, question, name), 0);
}

/* Begins as many queries as an asker may have, whose answers do not come, and lets go of them. */
static void use_share_up(struct fixture *fixture, uint32_t asker)
{
    struct question question;
    char name[32];
    for (unsigned i = 0; i < RESOLVE_SHARE_MAX; i++) {
        snprintf(name, sizeof(name), "n%u-%u.test", (unsigned)asker, i);
        start_as(fixture, &question, asker, name);
        resolve_cancel(&question.request);
    }
}

/* Who goes away does not get his share back before its queries have come to an end. */
static void too_many_queries_of_one_asker(void **state)
{
    struct fixture *fixture = *state;
    struct question more, again, other;
    fixture->options.timeout_ms = MINUTE_MS;
    reopen(fixture);
    fixture->dns.silent = true;
    use_share_up(fixture, 16);
    start_as(fixture, &more, 16, "more.test");
    wait_for(&more, 1);
    assert_int_equal(more.why, REASON_LIMIT_ENCLAVE);
    start_as(fixture, &again, 16, "n16-0.test"); /* no query more */
    pass(fixture, 1);
    assert_int_equal(again.calls, 0);
    resolve_cancel(&again.request);
    fixture->dns.silent = false;
    dns_fake_rule(&fixture->dns, "other.test")->a = 1;
    start_as(fixture, &other, 17, "other.test");
    wait_for(&other, 1);
    assert_int_equal(other.why, REASON_NONE);
    start_as(fixture, &other, 0, "another.test");
    wait_for(&other, 1);
    assert_int_equal(other.why, REASON_DNS_NOT_FOUND);
}

static void a_share_comes_back_with_the_answers(void **state)
{
    struct fixture *fixture = *state;
    struct question question;
    char name[32];
    for (unsigned i = 0; i < 2 * RESOLVE_SHARE_MAX; i++) {
        snprintf(name, sizeof(name), "n%u.test", i);
        start_as(fixture, &question, 16, name);
        wait_for(&question, 1);
        assert_int_equal(question.why, REASON_DNS_NOT_FOUND);
    }
}

/* What was known once does, as when the resolver fails. */
static void too_many_queries_and_an_old_answer(void **state)
{
    struct fixture *fixture = *state;
    struct question question;
    fixture->options.timeout_ms = MINUTE_MS;
    fixture->options.min_ttl_ms = fixture->options.max_ttl_ms = 1;
    fixture->options.stale_ms = MINUTE_MS;
    reopen(fixture);
    dns_fake_rule(&fixture->dns, "known.test")->a = 1;
    start_as(fixture, &question, 16, "known.test");
    wait_for(&question, 1);
    assert_int_equal(question.why, REASON_NONE);
    fixture->dns.silent = true;
    use_share_up(fixture, 16);
    pass(fixture, 5);
    start_as(fixture, &question, 16, "known.test");
    wait_for(&question, 1);
    assert_int_equal(question.why, REASON_NONE);
    assert_true(question.answer.stale);
    assert_int_equal(fixture->stats.stale_served, 1);
}

/* ---- Cancelling ---- */

static void a_cancelled_question_is_not_answered(void **state)
{
    struct fixture *fixture = *state;
    struct question gone = {.calls = 0}, kept = {.calls = 0}, idle = {.calls = 0};
    dns_fake_rule(&fixture->dns, "name.test")->a = 1;
    start(fixture, &gone, "name.test");
    start(fixture, &kept, "name.test");
    resolve_cancel(&gone.request);
    resolve_cancel(&gone.request);
    resolve_cancel(&idle.request);
    wait_for(&kept, 1);
    resolve_cancel(&kept.request);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(gone.calls, 0);
    assert_int_equal(kept.calls, 1);
}

static void a_cancelled_query_goes_on_for_the_cache(void **state)
{
    struct fixture *fixture = *state;
    struct question question = {.calls = 0};
    dns_fake_rule(&fixture->dns, "name.test")->a = 1;
    start(fixture, &question, "name.test");
    resolve_cancel(&question.request);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(question.calls, 0);
    assert_asks(fixture, "name.test", 1, REASON_NONE);
    assert_int_equal(fixture->stats.queries, 1);
}

/* Of a query that failed without anybody waiting, nothing is left. */
static void a_cancelled_query_that_fails(void **state)
{
    struct fixture *fixture = *state;
    struct question question = {.calls = 0};
    dns_fake_rule(&fixture->dns, "fails.test")->rcode = DNS_SERVFAIL;
    start(fixture, &question, "fails.test");
    resolve_cancel(&question.request);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(question.calls, 0);
    assert_int_equal(fixture->stats.failures, 1);
    assert_int_equal(fixture->stats.cached, 0);
}

static void a_request_can_be_used_again_after_cancelling(void **state)
{
    struct fixture *fixture = *state;
    struct question question = {.calls = 0};
    dns_fake_rule(&fixture->dns, "one.test")->a = 1;
    dns_fake_rule(&fixture->dns, "two.test")->a = 2;
    start(fixture, &question, "one.test");
    resolve_cancel(&question.request);
    start(fixture, &question, "two.test");
    wait_for(&question, 1);
    assert_int_equal(question.answer.count, 2);
}

/* ---- From inside a callback ---- */

static void cancel_other(struct question *question)
{
    resolve_cancel(&question->request);
    resolve_cancel(&question->other->request);
}

static void a_callback_cancels_another(void **state)
{
    struct fixture *fixture = *state;
    struct question one = {.then = cancel_other}, two = {.then = cancel_other};
    one.other = &two;
    two.other = &one;
    dns_fake_rule(&fixture->dns, "name.test")->a = 1;
    start(fixture, &one, "name.test");
    start(fixture, &two, "name.test");
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(one.calls + two.calls, 1);
}

static void ask_again(struct question *question)
{
    if (question->calls < 3) {
        assert_int_equal(start(question->fixture, question, "fails.test"), 0);
    }
}

static void a_callback_asks_again(void **state)
{
    struct fixture *fixture = *state;
    struct question question = {.then = ask_again};
    dns_fake_rule(&fixture->dns, "fails.test")->rcode = DNS_SERVFAIL;
    assert_int_equal(start(fixture, &question, "fails.test"), 0);
    wait_for(&question, 3);
    assert_int_equal(fixture->stats.failures, 3);
}

/* One that fails without any wait must not keep the loop from its other work. */
static void ask_for_ever(struct question *question)
{
    assert_int_equal(start(question->fixture, question, "nowhere.test"), 0);
}

static void a_callback_that_always_asks_again(void **state)
{
    struct fixture *fixture = *state;
    struct question question = {.then = ask_for_ever};
    assert_int_equal(start(fixture, &question, "nowhere.test"), 0);
    wait_for(&question, 5);
    unsigned calls = question.calls;
    uv_run(&fixture->loop, UV_RUN_NOWAIT);
    assert_int_equal(question.calls, calls + 1);
    resolve_cancel(&question.request);
}

static void start_other(struct question *question)
{
    assert_int_equal(start(question->fixture, question->other, "other.test"), 0);
}

static void a_callback_asks_for_another_name(void **state)
{
    struct fixture *fixture = *state;
    struct question other = {.calls = 0}, question = {.then = start_other, .other = &other};
    dns_fake_rule(&fixture->dns, "name.test")->a = 1;
    dns_fake_rule(&fixture->dns, "other.test")->a = 2;
    start(fixture, &question, "name.test");
    wait_for(&question, 1);
    wait_for(&other, 1);
    assert_int_equal(other.answer.count, 2);
}

static void close_from_inside(struct question *question)
{
    resolver_close(question->fixture->resolver, on_closed, question->fixture);
    resolver_close(question->fixture->resolver, NULL, NULL); /* harmless */
}

/* Of three that wait for the same name and one for another, one is called back, and closes. */
static void a_callback_closes_the_resolver(void **state)
{
    struct fixture *fixture = *state;
    struct question questions[4] = {{.calls = 0}};
    unsigned calls = 0;
    dns_fake_rule(&fixture->dns, "name.test")->a = 1;
    dns_fake_rule(&fixture->dns, "other.test")->a = 1;
    for (unsigned i = 0; i < 4; i++) {
        questions[i].then = close_from_inside;
        start(fixture, &questions[i], i < 3 ? "name.test" : "other.test");
    }
    wait_closed(fixture);
    fixture->resolver = NULL;
    for (unsigned i = 0; i < 4; i++) {
        calls += questions[i].calls;
        resolve_cancel(&questions[i].request); /* idle, though its resolver is gone */
    }
    assert_int_equal(calls, 1);
    assert_int_equal(fixture->stats.cached, 0);
}

/* ---- Closing ---- */

static void close_with_questions_outstanding(void **state)
{
    struct fixture *fixture = *state;
    struct question waiting = {.calls = 0}, cancelled = {.calls = 0}, ready = {.calls = 0};
    dns_fake_rule(&fixture->dns, "silent.test")->drop = true;
    dns_fake_rule(&fixture->dns, "gone.test")->drop = true;
    start(fixture, &waiting, "silent.test");
    start(fixture, &cancelled, "gone.test");
    start(fixture, &ready, "localhost"); /* answered already, not called back yet */
    resolve_cancel(&cancelled.request);
    uv_run(&fixture->loop, UV_RUN_NOWAIT);
    close_resolver(fixture);
    fixture->resolver = NULL;
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(waiting.calls + cancelled.calls, 0);
    assert_true(ready.calls <= 1);
    resolve_cancel(&waiting.request);
}

static void close_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct question question = {.calls = 0};
    start(fixture, &question, "localhost");
    close_resolver(fixture);
    fixture->resolver = NULL;
    assert_int_equal(question.calls, 0);
    assert_null(question.request.resolver);
}

static void close_without_a_callback(void **state)
{
    struct fixture *fixture = *state;
    struct question question = {.calls = 0};
    dns_fake_rule(&fixture->dns, "silent.test")->drop = true;
    start(fixture, &question, "silent.test");
    resolver_close(fixture->resolver, NULL, NULL);
    fixture->resolver = NULL;
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(question.calls, 0);
}

/* ---- When memory, or anything else, fails ---- */

/* What the failure strikes may be a query of c-ares', which then goes unanswered or fails. */
static void some_questions(void *arg)
{
    struct fixture *fixture = arg;
    static const char *const names[] = {"both.test", "localhost", "nowhere.test", "alias.test"};
    struct question questions[8];
    struct error err = ERROR_INIT;
    int r = resolver_new(&fixture->loop, &fixture->options, &fixture->stats, &fixture->resolver, &err);
    if (r != 0) {
        assert_string_not_equal(err.text, "");
        return;
    }
    fixture->closed = false;
    memset(questions, 0, sizeof(questions));
    for (unsigned i = 0; i < ARRAY_SIZE(questions); i++) {
        r = start(fixture, &questions[i], names[i % ARRAY_SIZE(names)]);
        if (r == 0 && i < ARRAY_SIZE(names)) {
            wait_for(&questions[i], 1);
            assert_int_equal(questions[i].calls, 1);
        }
        assert_true(r == 0 || r == 1 || r == -ENOMEM);
    }
    close_resolver(fixture);
    fixture->resolver = NULL;
}

static void run_with_faults(struct fixture *fixture, unsigned calls, const char *name)
{
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "both.test");
    rule->a = rule->aaaa = 2;
    rule = dns_fake_rule(&fixture->dns, "alias.test");
    rule->cname = "both.test";
    rule->a = 1;
    close_resolver(fixture);
    fixture->resolver = NULL;
    fixture->options.timeout_ms = 60;
    assert_true(fault_loop(name, calls, some_questions, fixture) >= 1);
}

static void out_of_memory(void **state)
{
    if (ARES_VERSION >= 0x011600) {
        print_message("c-ares " ARES_VERSION_STR " loses memory of its own when it has none: not tested\n");
        skip();
    }
    run_with_faults(*state, FAULT_MEMORY, "resolve memory");
}

static void out_of_descriptors(void **state)
{
    run_with_faults(*state, FAULT_OPEN | FAULT_SOCKET, "resolve descriptors");
}

/* A socket that cannot be watched: the question ends by its timeout. */
static void a_socket_that_is_not_watched(void **state)
{
    struct fixture *fixture = *state;
    struct question question = {.calls = 0};
    dns_fake_rule(&fixture->dns, "name.test")->a = 1;
    fixture->options.timeout_ms = 40;
    reopen(fixture);
    fault_arm(FAULT_EPOLL, 1);
    assert_int_equal(start(fixture, &question, "name.test"), 0);
    assert_int_equal(fault_disarm(), 1);
    wait_for(&question, 1);
    assert_int_equal(question.why, REASON_DNS_TIMEOUT);
}

/* resolv.conf was changed, and memory is short: the old settings must do, until it is looked at again. */
static void settings_that_cannot_be_read_again(void **state)
{
    struct fixture *fixture = *state;
    char path[] = "/tmp/resolv.conf-XXXXXX";
    int fd = mkstemp(path);
    struct question question = {.calls = 0};
    assert_true(fd >= 0);
    dns_fake_rule(&fixture->dns, "host.two.test")->a = 1;
    fixture->options.min_ttl_ms = 0;
    fixture->options.resolv_conf = path;
    reopen(fixture);
    assert_int_equal(write(fd, "search two.test\n", 16), 16);
    close(fd);

    pass(fixture, 1001);
    fault_arm(FAULT_MEMORY, 4); /* after the entry, its place in the tree, and the query */
    assert_int_equal(start(fixture, &question, "host"), 0);
    assert_int_equal(fault_disarm(), 1);
    wait_for(&question, 1);
    assert_int_equal(question.why, REASON_DNS_NOT_FOUND);
    pass(fixture, 1001);
    assert_asks(fixture, "host", 0, REASON_NONE);
    unlink(path);
}

static void no_network(void **state)
{
    run_with_faults(*state, FAULT_CONNECT | FAULT_SOCKOPT | FAULT_FILE, "resolve network");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_hundred_questions_are_one_query),
        TEST(many_questions_with_a_known_answer),
        TEST(different_names_are_different_queries),
        TEST(too_many_queries_at_once),
        TEST(too_many_queries_of_one_asker),
        TEST(a_share_comes_back_with_the_answers),
        TEST(too_many_queries_and_an_old_answer),
        TEST(a_cancelled_question_is_not_answered),
        TEST(a_cancelled_query_goes_on_for_the_cache),
        TEST(a_cancelled_query_that_fails),
        TEST(a_request_can_be_used_again_after_cancelling),
        TEST(a_callback_cancels_another),
        TEST(a_callback_asks_again),
        TEST(a_callback_that_always_asks_again),
        TEST(a_callback_asks_for_another_name),
        TEST(a_callback_closes_the_resolver),
        TEST(close_with_questions_outstanding),
        TEST(close_at_once),
        TEST(close_without_a_callback),
        TEST(out_of_memory),
        TEST(out_of_descriptors),
        TEST(no_network),
        TEST(a_socket_that_is_not_watched),
        TEST(settings_that_cannot_be_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
