/* The resolver's cache: how long an answer holds, what is served when there is no newer one, and the bound. */
#include "resolve_fixture.h"

static const char *text_at(const struct resolved *answer, unsigned i)
{
    static char buffer[ADDR_TEXT_MAX];
    return sockaddr_format(&answer->address[i], buffer);
}

/* ---- How long an answer holds ---- */

static void the_second_question_is_answered_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct question question;
    dns_fake_rule(&fixture->dns, "name.test")->a = 1;

    assert_asks(fixture, "name.test", 0, REASON_NONE);
    assert_int_equal(fixture->dns.asked, 2); /* A and AAAA */
    assert_int_equal(ask(fixture, &question, "NAME.test"), 1);
    assert_string_equal(text_at(&question.answer, 0), "192.0.2.1:0");
    assert_int_equal(question.calls, 0);
    assert_int_equal(fixture->dns.asked, 2);
    assert_int_equal(fixture->stats.queries, 1);
    assert_int_equal(fixture->stats.hits, 1);
    assert_int_equal(fixture->stats.cached, 1);
}

static void a_ttl_has_a_floor(void **state)
{
    struct fixture *fixture = *state;
    dns_fake_rule(&fixture->dns, "zero.test")->a = 1;
    dns_fake_rule(&fixture->dns, "zero.test")->ttl = 0;
    assert_asks(fixture, "zero.test", 0, REASON_NONE);
    pass(fixture, 10);
    assert_asks(fixture, "zero.test", 1, REASON_NONE);
}

static void a_ttl_has_a_ceiling(void **state)
{
    struct fixture *fixture = *state;
    dns_fake_rule(&fixture->dns, "long.test")->a = 1;
    dns_fake_rule(&fixture->dns, "long.test")->ttl = 0x7fffffff;
    fixture->options.min_ttl_ms = 0;
    fixture->options.max_ttl_ms = 20;
    reopen(fixture);
    assert_asks(fixture, "long.test", 0, REASON_NONE);
    pass(fixture, 21);
    assert_asks(fixture, "long.test", 0, REASON_NONE);
    assert_int_equal(fixture->stats.queries, 2);
}

/* The least TTL of all counts; one with its highest bit set is 0. */
static void the_least_ttl_counts(void **state)
{
    struct fixture *fixture = *state;
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "alias.test");
    rule->cname = "target.test";
    rule->a = 1;
    rule = dns_fake_rule(&fixture->dns, "negative.test");
    rule->a = 1;
    rule->ttl = 0x80000000;
    rule = dns_fake_rule(&fixture->dns, "minute.test");
    rule->a = 1;
    fixture->options.min_ttl_ms = 20;
    reopen(fixture);

    assert_asks(fixture, "alias.test", 0, REASON_NONE);
    assert_asks(fixture, "negative.test", 0, REASON_NONE);
    assert_asks(fixture, "minute.test", 0, REASON_NONE);
    pass(fixture, 21);
    assert_asks(fixture, "alias.test", 0, REASON_NONE);
    assert_asks(fixture, "negative.test", 0, REASON_NONE);
    assert_asks(fixture, "minute.test", 1, REASON_NONE);
}

static void a_changed_answer_replaces_the_old_one(void **state)
{
    struct fixture *fixture = *state;
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "moves.test");
    struct question question;
    rule->a = 2;
    fixture->options.max_ttl_ms = fixture->options.min_ttl_ms = 20;
    reopen(fixture);

    ask(fixture, &question, "moves.test");
    assert_int_equal(question.answer.count, 2);
    rule->a = 1;
    rule->base = 9;
    pass(fixture, 21);
    ask(fixture, &question, "moves.test");
    assert_int_equal(question.answer.count, 1);
    assert_string_equal(text_at(&question.answer, 0), "192.0.2.10:0");
}

static struct dns_rule *with_stale_answer(struct fixture *fixture, uint64_t ttl_ms, uint64_t stale_ms,
                                          uint64_t timeout_ms)
{
    struct question question;
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "stale.test");
    rule->a = 1;
    fixture->options.max_ttl_ms = fixture->options.min_ttl_ms = ttl_ms;
    fixture->options.stale_ms = stale_ms;
    fixture->options.timeout_ms = timeout_ms;
    ask_in_time(fixture, &question, "stale.test");
    pass(fixture, ttl_ms + 1);
    return rule;
}

static void an_old_answer_is_served_when_the_server_dies(void **state)
{
    struct fixture *fixture = *state;
    struct question question;
    with_stale_answer(fixture, 300, MINUTE_MS, 100);
    fixture->dns.silent = true;

    uint64_t served_at = uv_now(&fixture->loop);
    assert_int_equal(ask(fixture, &question, "stale.test"), 0);
    assert_int_equal(question.why, REASON_NONE);
    assert_true(question.answer.stale);
    assert_string_equal(text_at(&question.answer, 0), "192.0.2.1:0");
    assert_int_equal(fixture->stats.stale_served, 1);
    assert_int_equal(fixture->stats.timeouts, 1);

    /* Not asked again within min_ttl (unless the machine had that much else to do) ... */
    unsigned asked = fixture->dns.asked;
    assert_int_equal(ask(fixture, &question, "stale.test"), 0);
    assert_true(question.answer.stale);
    if (uv_now(&fixture->loop) - served_at < 300) {
        assert_int_equal(fixture->dns.asked, asked);
        assert_int_equal(fixture->stats.queries, 2);
        assert_int_equal(fixture->stats.stale_served, 2);
    }
    /* ... but after it, and then the server is back. */
    fixture->dns.silent = false;
    for (unsigned i = 0; i < TRIES && question.answer.stale; i++) {
        pass(fixture, 301);
        assert_int_equal(ask(fixture, &question, "stale.test"), 0);
    }
    assert_false(question.answer.stale);
}

static void an_old_answer_is_served_when_the_server_fails(void **state)
{
    struct fixture *fixture = *state;
    struct question question;
    with_stale_answer(fixture, 20, MINUTE_MS, MINUTE_MS)->rcode = DNS_SERVFAIL;
    assert_int_equal(ask(fixture, &question, "stale.test"), 0);
    assert_true(question.answer.stale);
    assert_int_equal(fixture->stats.failures, 1);
}

static void an_old_answer_does_not_live_for_ever(void **state)
{
    struct fixture *fixture = *state;
    with_stale_answer(fixture, 10, 10, MINUTE_MS)->rcode = DNS_SERVFAIL;
    pass(fixture, 11);
    assert_asks(fixture, "stale.test", 0, REASON_DNS_FAILED);
    assert_int_equal(fixture->stats.cached, 0);
}

/* That a name is gone is an answer, not a failure. */
static void an_old_answer_gives_way_to_no_such_name(void **state)
{
    struct fixture *fixture = *state;
    with_stale_answer(fixture, 20, MINUTE_MS, MINUTE_MS)->rcode = DNS_NXDOMAIN;
    assert_asks(fixture, "stale.test", 0, REASON_DNS_NOT_FOUND);
    assert_int_equal(fixture->stats.stale_served, 0);
}

/* ---- The bound of the cache ---- */

static void the_name_used_longest_ago_goes_first(void **state)
{
    struct fixture *fixture = *state;
    static const char *const names[] = {"a.test", "b.test", "c.test", "d.test"};
    for (unsigned i = 0; i < 4; i++) {
        dns_fake_rule(&fixture->dns, names[i])->a = 1;
    }
    fixture->options.cache_size = 3;
    reopen(fixture);

    for (unsigned i = 0; i < 3; i++) {
        assert_asks(fixture, names[i], 0, REASON_NONE);
    }
    assert_asks(fixture, "a.test", 1, REASON_NONE);
    assert_asks(fixture, "d.test", 0, REASON_NONE); /* b.test goes */
    assert_int_equal(fixture->stats.cached, 3);
    assert_asks(fixture, "a.test", 1, REASON_NONE);
    assert_asks(fixture, "c.test", 1, REASON_NONE);
    assert_asks(fixture, "d.test", 1, REASON_NONE);
    assert_asks(fixture, "b.test", 0, REASON_NONE);
    assert_int_equal(fixture->stats.cached, 3);
}

static void names_that_do_not_exist_count_too(void **state)
{
    struct fixture *fixture = *state;
    char name[32];
    fixture->options.cache_size = 3;
    reopen(fixture);
    for (unsigned i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "no-%u.test", i);
        assert_asks(fixture, name, 0, REASON_DNS_NOT_FOUND);
        assert_true(fixture->stats.cached <= 3);
    }
    assert_int_equal(fixture->stats.cached, 3);
}

static void no_cache_at_all(void **state)
{
    struct fixture *fixture = *state;
    struct question question;
    dns_fake_rule(&fixture->dns, "name.test")->a = 1;
    fixture->options.cache_size = 0;
    reopen(fixture);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(ask(fixture, &question, "name.test"), 0);
        assert_int_equal(question.answer.count, 1);
        assert_int_equal(fixture->stats.cached, 0);
    }
}

static void start_other(struct question *question)
{
    assert_int_equal(start(question->fixture, question->other, "localhost"), 0);
}

/* What was answered at once, from inside a callback, is kept until it has been told. */
static void no_cache_and_an_answer_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct question other = {.calls = 0}, question = {.then = start_other, .other = &other};
    fixture->options.cache_size = 0;
    reopen(fixture);
    assert_int_equal(start(fixture, &question, "nowhere.test"), 0);
    wait_for(&question, 1);
    wait_for(&other, 1);
    assert_int_equal(other.why, REASON_NONE);
    assert_true(other.answer.count > 0);
}

/* A name whose old answer had to go while it was asked for again. */
static void a_name_that_leaves_the_cache_while_asked_for(void **state)
{
    struct fixture *fixture = *state;
    struct question question = {.calls = 0};
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "slow.test");
    dns_fake_rule(&fixture->dns, "other.test")->a = 1;
    rule->a = 1;
    fixture->options.cache_size = 1;
    fixture->options.min_ttl_ms = fixture->options.max_ttl_ms = 5;
    reopen(fixture);
    assert_asks(fixture, "slow.test", 0, REASON_NONE);
    pass(fixture, 6);
    rule->delay_ms = 60 * MINUTE_MS;
    assert_int_equal(start(fixture, &question, "slow.test"), 0);
    assert_asks(fixture, "other.test", 0, REASON_NONE);
    assert_int_equal(fixture->stats.cached, 1);
    dns_fake_hurry(&fixture->dns);
    wait_for(&question, 1);
    assert_int_equal(question.why, REASON_NONE);
    assert_int_equal(fixture->stats.cached, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_second_question_is_answered_at_once),
        TEST(a_ttl_has_a_floor),
        TEST(a_ttl_has_a_ceiling),
        TEST(the_least_ttl_counts),
        TEST(a_changed_answer_replaces_the_old_one),
        TEST(an_old_answer_is_served_when_the_server_dies),
        TEST(an_old_answer_is_served_when_the_server_fails),
        TEST(an_old_answer_does_not_live_for_ever),
        TEST(an_old_answer_gives_way_to_no_such_name),
        TEST(the_name_used_longest_ago_goes_first),
        TEST(names_that_do_not_exist_count_too),
        TEST(no_cache_at_all),
        TEST(no_cache_and_an_answer_at_once),
        TEST(a_name_that_leaves_the_cache_while_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
