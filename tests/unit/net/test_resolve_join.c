/*
 * Resolvers of several loops that share what they know: on one thread, where each loop turns when the test says
 * so, and on several.
 */
#include "fault.h"
#include "resolve_fixture.h"

#define THREADS   4
#define QUESTIONS 50
#define ROUNDS    200

/* Another loop, with a resolver beside the fixture's. */
struct other {
    uv_loop_t loop;
    struct resolver *resolver;
};

static void open_other(struct fixture *fixture, struct other *other)
{
    struct error err = ERROR_INIT;
    assert_int_equal(uv_loop_init(&other->loop), 0);
    if (resolver_join(&other->loop, fixture->resolver, &other->resolver, &err) != 0) {
        fail_msg("%s", err.text);
    }
}

static void close_other(struct other *other)
{
    resolver_close(other->resolver, NULL, NULL);
    uv_run(&other->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&other->loop), 0);
}

static int start_at(struct other *other, struct question *question, const char *name)
{
    question->request.data = question;
    uv_update_time(&other->loop);
    return resolve_start(other->resolver, name, &question->request, on_resolved, &question->answer);
}

/* The fake server is on the fixture's loop, so both turn. */
static void wait_at(struct fixture *fixture, struct other *other, struct question *question)
{
    while (question->calls == 0) {
        uv_run(&other->loop, UV_RUN_NOWAIT);
        pass(fixture, 1);
    }
}

/* ---- One cache ---- */

static void a_question_of_two_loops_is_one_query(void **state)
{
    struct fixture *fixture = *state;
    struct question here = {.calls = 0}, there = {.calls = 0};
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "name.test");
    struct other other;
    rule->a = 2;
    open_other(fixture, &other);
    assert_int_equal(start(fixture, &here, "name.test"), 0);
    assert_int_equal(start_at(&other, &there, "NAME.test"), 0);
    wait_for(&here, 1);
    assert_int_equal(there.calls, 0); /* nobody but its own loop calls it back */
    uv_run(&other.loop, UV_RUN_DEFAULT);
    assert_int_equal(there.calls, 1);
    assert_int_equal(there.answer.count, 2);
    assert_int_equal(rule->asked_a, 1);
    assert_int_equal(rule->asked_aaaa, 1);
    assert_int_equal(fixture->stats.queries, 1);
    close_other(&other);
}

static void what_one_learnt_the_other_knows(void **state)
{
    struct fixture *fixture = *state;
    struct question question = {.calls = 0}, none = {.calls = 0};
    struct other other;
    dns_fake_rule(&fixture->dns, "name.test")->a = 1;
    open_other(fixture, &other);
    assert_int_equal(start_at(&other, &question, "name.test"), 0);
    wait_at(fixture, &other, &question);
    assert_asks(fixture, "name.test", 1, REASON_NONE);
    assert_asks(fixture, "nowhere.test", 0, REASON_DNS_NOT_FOUND);
    assert_int_equal(start_at(&other, &none, "nowhere.test"), 0);
    uv_run(&other.loop, UV_RUN_DEFAULT);
    assert_int_equal(none.why, REASON_DNS_NOT_FOUND);
    assert_int_equal(fixture->stats.queries, 2);
    assert_int_equal(fixture->stats.hits, 2);
    assert_int_equal(fixture->stats.not_found, 1);
    assert_int_equal(fixture->stats.cached, 2);
    close_other(&other);
}

static void an_old_answer_serves_all(void **state)
{
    struct fixture *fixture = *state;
    struct question question = {.calls = 0};
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "name.test");
    struct other other;
    fixture->options.min_ttl_ms = 1;
    reopen(fixture);
    open_other(fixture, &other);
    rule->a = 1;
    rule->ttl = 0;
    assert_asks(fixture, "name.test", 0, REASON_NONE);
    rule->rcode = DNS_SERVFAIL;
    pass(fixture, 2);
    assert_int_equal(start_at(&other, &question, "name.test"), 0);
    wait_at(fixture, &other, &question);
    assert_int_equal(question.why, REASON_NONE);
    assert_true(question.answer.stale);
    assert_int_equal(fixture->stats.stale_served, 1);
    close_other(&other);
}

/* The other loop is late: what it is to be told stays until then, though the cache has no room for it. */
static void an_answer_waits_for_a_late_loop(void **state)
{
    struct fixture *fixture = *state;
    struct question here = {.calls = 0}, late = {.calls = 0};
    struct other other;
    dns_fake_rule(&fixture->dns, "one.test")->a = 1;
    dns_fake_rule(&fixture->dns, "two.test")->a = 2;
    fixture->options.cache_size = 1;
    reopen(fixture);
    open_other(fixture, &other);
    assert_int_equal(start(fixture, &here, "one.test"), 0);
    assert_int_equal(start_at(&other, &late, "one.test"), 0);
    wait_for(&here, 1);
    assert_asks(fixture, "two.test", 0, REASON_NONE);
    assert_int_equal(fixture->stats.cached, 1);
    uv_run(&other.loop, UV_RUN_DEFAULT);
    assert_int_equal(late.why, REASON_NONE);
    assert_int_equal(late.answer.count, 1);
    assert_int_equal(fixture->stats.cached, 1);
    close_other(&other);
}

static void the_bound_holds_for_all(void **state)
{
    struct fixture *fixture = *state;
    struct question *questions = calloc(RESOLVE_QUERIES_MAX, sizeof(*questions));
    struct question more = {.calls = 0};
    struct other other;
    char name[32];
    assert_non_null(questions);
    fixture->dns.silent = true;
    open_other(fixture, &other);
    for (unsigned i = 0; i < RESOLVE_QUERIES_MAX; i++) {
        snprintf(name, sizeof(name), "n%u.test", i);
        assert_int_equal(start(fixture, &questions[i], name), 0);
    }
    assert_int_equal(start_at(&other, &more, "more.test"), 0);
    uv_run(&other.loop, UV_RUN_DEFAULT);
    assert_int_equal(more.why, REASON_LIMIT_DAEMON);
    assert_int_equal(fixture->stats.queries, RESOLVE_QUERIES_MAX);
    close_resolver(fixture);
    fixture->resolver = NULL;
    close_other(&other);
    free(questions);
}

/* ---- Ends ---- */

static void cancelled_on_another_loop(void **state)
{
    struct fixture *fixture = *state;
    struct question here = {.calls = 0}, waits = {.calls = 0}, ready = {.calls = 0};
    struct other other;
    dns_fake_rule(&fixture->dns, "name.test")->a = 1;
    open_other(fixture, &other);
    assert_int_equal(start(fixture, &here, "name.test"), 0);
    assert_int_equal(start_at(&other, &waits, "name.test"), 0);
    assert_int_equal(start_at(&other, &ready, "name.test"), 0);
    resolve_cancel(&waits.request);
    wait_for(&here, 1);
    resolve_cancel(&ready.request);
    uv_run(&other.loop, UV_RUN_DEFAULT);
    assert_int_equal(waits.calls + ready.calls, 0);
    close_other(&other);
}

static void the_one_that_waits_is_closed(void **state)
{
    struct fixture *fixture = *state;
    struct question here = {.calls = 0}, waits = {.calls = 0};
    struct other other;
    dns_fake_rule(&fixture->dns, "name.test")->a = 1;
    open_other(fixture, &other);
    assert_int_equal(start(fixture, &here, "name.test"), 0);
    assert_int_equal(start_at(&other, &waits, "name.test"), 0);
    close_other(&other);
    resolve_cancel(&waits.request); /* idle, though its resolver is gone */
    wait_for(&here, 1);
    assert_int_equal(here.why, REASON_NONE);
    assert_int_equal(waits.calls, 0);
}

static void one_with_an_answer_that_it_did_not_tell_is_closed(void **state)
{
    struct fixture *fixture = *state;
    struct question here = {.calls = 0}, ready = {.calls = 0};
    struct other other;
    dns_fake_rule(&fixture->dns, "fails.test")->rcode = DNS_SERVFAIL;
    open_other(fixture, &other);
    assert_int_equal(start(fixture, &here, "fails.test"), 0);
    assert_int_equal(start_at(&other, &ready, "fails.test"), 0);
    wait_for(&here, 1);
    close_other(&other);
    assert_int_equal(ready.calls, 0);
    assert_int_equal(fixture->stats.cached, 0);
}

/* Whoever was first may go first; the cache stays with the other. */
static void the_one_that_asks_is_closed(void **state)
{
    struct fixture *fixture = *state;
    struct question here = {.calls = 0}, waits = {.calls = 0}, known = {.calls = 0};
    struct other other;
    dns_fake_rule(&fixture->dns, "name.test")->a = 1;
    dns_fake_rule(&fixture->dns, "silent.test")->drop = true;
    dns_fake_rule(&fixture->dns, "gone.test")->drop = true;
    open_other(fixture, &other);
    assert_asks(fixture, "name.test", 0, REASON_NONE);
    assert_int_equal(start(fixture, &here, "silent.test"), 0);
    assert_int_equal(start_at(&other, &waits, "silent.test"), 0);
    assert_int_equal(start(fixture, &known, "gone.test"), 0); /* nobody else waits for this one */
    close_resolver(fixture);
    fixture->resolver = NULL;
    assert_int_equal(here.calls, 0);
    uv_run(&other.loop, UV_RUN_DEFAULT);
    assert_int_equal(waits.calls, 1);
    assert_int_equal(waits.why, REASON_DNS_FAILED);
    assert_int_equal(fixture->stats.failures, 1);
    assert_int_equal(start_at(&other, &known, "name.test"), 1);
    close_other(&other);
}

/* ---- When memory, or anything else, fails ---- */

static void join_and_ask(void *arg)
{
    struct fixture *fixture = arg;
    struct question question = {.calls = 0};
    struct error err = ERROR_INIT;
    struct resolver *resolver;
    int r = resolver_join(&fixture->loop, fixture->resolver, &resolver, &err);
    if (r != 0) {
        assert_string_not_equal(err.text, "");
        uv_run(&fixture->loop, UV_RUN_NOWAIT); /* what is left closes */
        return;
    }
    question.request.data = &question;
    r = resolve_start(resolver, "known.test", &question.request, on_resolved, &question.answer);
    assert_int_equal(r, 1);
    r = resolve_start(resolver, "new.test", &question.request, on_resolved, &question.answer);
    assert_true(r == 0 || r == -ENOMEM);
    fixture->closed = false;
    resolver_close(resolver, on_closed, fixture);
    wait_closed(fixture);
    fixture->closed = false;
    assert_int_equal(question.calls, 0);
}

static void joining_without_memory_or_descriptors(void **state)
{
    struct fixture *fixture = *state;
    dns_fake_rule(&fixture->dns, "known.test")->a = 1;
    dns_fake_rule(&fixture->dns, "new.test")->drop = true;
    assert_asks(fixture, "known.test", 0, REASON_NONE);
    assert_true(fault_loop("join memory", FAULT_MEMORY, join_and_ask, fixture) >= 4);
    assert_true(fault_loop("join descriptors", FAULT_OPEN | FAULT_SOCKET, join_and_ask, fixture) >= 1);
}

/* ---- Threads ---- */

struct asker {
    uv_thread_t thread;
    struct other other;
    uv_sem_t *asked;
    unsigned number;
    unsigned left; /* questions without an answer */
    unsigned rounds;
    struct resolve_request requests[QUESTIONS];
};

static void count_down(struct resolve_request *request, enum reason why, const struct resolved *answer)
{
    struct asker *asker = request->data;
    if (why == REASON_NONE && answer->count == 1) {
        asker->left--;
    }
}

static void ask_all(void *data)
{
    struct asker *asker = data;
    struct resolved answer;
    for (unsigned i = 0; i < QUESTIONS; i++) {
        asker->requests[i].data = asker;
        if (resolve_start(asker->other.resolver, "slow.test", &asker->requests[i], count_down, &answer) ==
            0) {
            asker->left++;
        }
    }
    uv_sem_post(asker->asked);
    uv_run(&asker->other.loop, UV_RUN_DEFAULT);
    resolver_close(asker->other.resolver, NULL, NULL);
    uv_run(&asker->other.loop, UV_RUN_DEFAULT);
}

static void start_askers(struct fixture *fixture, struct asker *askers, uv_sem_t *asked, void (*run)(void *))
{
    assert_int_equal(uv_sem_init(asked, 0), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        askers[i].asked = asked;
        askers[i].number = i;
        open_other(fixture, &askers[i].other);
        assert_int_equal(uv_thread_create(&askers[i].thread, run, &askers[i]), 0);
    }
}

static void join_askers(struct asker *askers, uv_sem_t *asked)
{
    for (unsigned i = 0; i < THREADS; i++) {
        uv_thread_join(&askers[i].thread);
        assert_int_equal(uv_loop_close(&askers[i].other.loop), 0);
        assert_int_equal(askers[i].left, 0);
    }
    uv_sem_destroy(asked);
}

/* The server holds its answers back until all threads have asked, and all their packets have been read. */
static void many_threads_ask_once(void **state)
{
    struct fixture *fixture = *state;
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "slow.test");
    struct asker *askers = calloc(THREADS, sizeof(*askers));
    uv_sem_t asked;
    assert_non_null(askers);
    fixture->options.timeout_ms = 60 * MINUTE_MS; /* so that nothing is repeated */
    reopen(fixture);
    rule->a = 1;
    rule->delay_ms = 60 * MINUTE_MS;
    start_askers(fixture, askers, &asked, ask_all);
    for (unsigned i = 0; i < THREADS; i++) {
        uv_sem_wait(&asked);
    }
    while (rule->asked_a == 0 || rule->asked_aaaa == 0) {
        pass(fixture, 1);
    }
    for (unsigned i = 0; i < 2 * THREADS; i++) {
        pass(fixture, 1);
    }
    dns_fake_hurry(&fixture->dns);
    join_askers(askers, &asked);
    assert_int_equal(rule->asked_a, 1);
    assert_int_equal(rule->asked_aaaa, 1);
    assert_int_equal(fixture->stats.queries, 1);
    free(askers);
}

static void next_round(struct asker *asker);

static void on_round(struct resolve_request *request, enum reason why, const struct resolved *answer)
{
    (void)why;
    (void)answer;
    next_round(request->data);
}

/* Three names by turns, some questions taken back, each answer old as soon as it came. */
static void next_round(struct asker *asker)
{
    static const char *const names[] = {"one.test", "two.test", "nowhere.test"};
    struct resolved answer;
    while (asker->rounds < ROUNDS) {
        unsigned round = asker->rounds++;
        struct resolve_request *request = &asker->requests[round % QUESTIONS], *taken = &asker->requests[0];
        request->data = asker;
        resolve_cancel(request);
        int r = resolve_start(asker->other.resolver, names[(round + asker->number) % 3], request, on_round,
                              &answer);
        if (round % 5 == 0) {
            resolve_cancel(taken);
        } else if (r == 0) {
            return;
        }
    }
}

static void ask_in_rounds(void *data)
{
    struct asker *asker = data;
    next_round(asker);
    uv_run(&asker->other.loop, UV_RUN_DEFAULT);
    resolver_close(asker->other.resolver, NULL, NULL);
    uv_run(&asker->other.loop, UV_RUN_DEFAULT);
    uv_sem_post(asker->asked);
}

static void threads_that_ask_take_back_and_close(void **state)
{
    struct fixture *fixture = *state;
    struct asker *askers = calloc(THREADS, sizeof(*askers));
    unsigned done = 0;
    uv_sem_t asked;
    assert_non_null(askers);
    fixture->options.min_ttl_ms = 0;
    fixture->options.max_ttl_ms = 0;
    fixture->options.cache_size = 1;
    reopen(fixture);
    dns_fake_rule(&fixture->dns, "one.test")->a = 1;
    dns_fake_rule(&fixture->dns, "two.test")->a = 1;
    start_askers(fixture, askers, &asked, ask_in_rounds);
    while (done < THREADS) {
        pass(fixture, 1);
        done += uv_sem_trywait(&asked) == 0 ? 1 : 0;
    }
    join_askers(askers, &asked);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(askers[i].rounds, ROUNDS);
    }
    assert_true(fixture->stats.queries >= 3);
    free(askers);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_question_of_two_loops_is_one_query),
        TEST(what_one_learnt_the_other_knows),
        TEST(an_old_answer_serves_all),
        TEST(an_answer_waits_for_a_late_loop),
        TEST(the_bound_holds_for_all),
        TEST(cancelled_on_another_loop),
        TEST(the_one_that_waits_is_closed),
        TEST(one_with_an_answer_that_it_did_not_tell_is_closed),
        TEST(the_one_that_asks_is_closed),
        TEST(joining_without_memory_or_descriptors),
        TEST(many_threads_ask_once),
        TEST(threads_that_ask_take_back_and_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
