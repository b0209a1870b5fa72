/* What becomes of a record after an attempt, and what Retry-After says. */
#include "forward/verdict.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct verdict judge(struct verdict_attempt attempt)
{
    struct verdict verdict;
    memset(&verdict, 0xff, sizeof verdict);
    verdict_reach(&attempt, &verdict);
    return verdict;
}

static void every_status_has_its_verdict(void **state)
{
    (void)state;
    for (unsigned status = 200; status < 600; status++) {
        struct verdict verdict =
            judge((struct verdict_attempt){.status = status, .whole = true, .reached = true});
        bool passing = status == 408 || status == 425 || status == 429 || status >= 500;
        enum verdict_outcome outcome = status < 300 ? VERDICT_DONE : passing ? VERDICT_RETRY : VERDICT_BURIED;
        assert_int_equal(verdict.outcome, outcome);
        assert_int_equal(verdict.spool.verdict, outcome == VERDICT_DONE    ? SPOOL_DONE
                                                : outcome == VERDICT_RETRY ? SPOOL_RETRY
                                                                           : SPOOL_BURY);
        assert_false(verdict.spool.blameless);
        assert_int_equal(verdict.cause[0] == '\0', status < 300);
    }
}

/* Where the route signs, or adds a secret, the upstream may have refused that. */
static void who_asks_is_the_routes_to_say(void **state)
{
    (void)state;
    for (unsigned status = 400; status < 500; status++) {
        struct verdict_attempt attempt = {.status = status, .whole = true, .reached = true};
        enum verdict_outcome without = judge(attempt).outcome;
        attempt.vouched = true;
        struct verdict verdict = judge(attempt);
        bool told = strstr(verdict.cause, "see that the route's key, secret or certificate is good") != NULL;
        assert_int_equal(told, status == 401 || status == 403);
        assert_int_equal(verdict.outcome, told ? VERDICT_RETRY : without);
        assert_false(verdict.spool.blameless);
    }
}

/* Services that speak JSON have one status for all that they do not take. */
static void aws_says_it_by_its_code(void **state)
{
    (void)state;
    struct verdict_attempt attempt = {.status = 400, .whole = true, .reached = true, .vouched = true};
    attempt.code = "ThrottlingException";
    struct verdict verdict = judge(attempt);
    assert_int_equal(verdict.outcome, VERDICT_RETRY);
    assert_string_equal(verdict.cause, "the upstream answered 400 (ThrottlingException)");
    assert_true(verdict_asks_for_time(&attempt));
    attempt.code = "ExpiredTokenException";
    assert_false(verdict_asks_for_time(&attempt));
    verdict = judge(attempt);
    assert_int_equal(verdict.outcome, VERDICT_RETRY);
    assert_string_equal(verdict.cause,
                        "the upstream answered 400 (ExpiredTokenException): see that the route's key, "
                        "secret or certificate is good");
    attempt.code = "ValidationException";
    verdict = judge(attempt);
    assert_int_equal(verdict.outcome, VERDICT_BURIED);
    assert_string_equal(verdict.cause, "the upstream answered 400 (ValidationException)");
}

static void half_a_request_is_not_delivered(void **state)
{
    (void)state;
    struct verdict verdict = judge((struct verdict_attempt){.status = 200, .reached = true});
    assert_int_equal(verdict.outcome, VERDICT_RETRY);
    assert_string_equal(verdict.cause, "the upstream answered 200 before it had the whole request");
    /* That it is not wanted is known from half of it. */
    assert_int_equal(judge((struct verdict_attempt){.status = 413, .reached = true}).outcome, VERDICT_BURIED);
}

static void an_answer_that_breaks_off_counts_by_its_status(void **state)
{
    (void)state;
    struct verdict_attempt attempt = {.status = 201,
                                      .whole = true,
                                      .reached = true,
                                      .why = HTTP_REFUSED_RESPONSE_CUT};
    assert_int_equal(judge(attempt).outcome, VERDICT_DONE);
    attempt.cut = true;
    assert_int_equal(judge(attempt).outcome, VERDICT_DONE);
}

static void silence_counts_only_if_the_upstream_was_reached(void **state)
{
    (void)state;
    struct verdict_attempt attempt = {.why = HTTP_REFUSED_RESPONSE_CUT, .reached = true};
    struct verdict verdict = judge(attempt);
    assert_int_equal(verdict.outcome, VERDICT_RETRY);
    assert_false(verdict.spool.blameless);
    assert_non_null(strstr(verdict.cause, "response_cut_off: the upstream closed"));
    attempt = (struct verdict_attempt){.why = HTTP_REFUSED_HEADER_VALUE, .detail = "header x: no such file"};
    verdict = judge(attempt);
    assert_int_equal(verdict.outcome, VERDICT_UNREACHED);
    assert_true(verdict.spool.blameless);
    assert_int_equal(verdict.spool.verdict, SPOOL_RETRY);
    assert_string_equal(verdict.cause, "header_unavailable: header x: no such file");
    assert_int_equal(judge((struct verdict_attempt){.why = HTTP_REFUSED_BODY_SIZE}).outcome, VERDICT_BURIED);
    assert_int_equal(judge((struct verdict_attempt){.why = HTTP_REFUSED_UNSIGNABLE}).outcome, VERDICT_BURIED);
}

static void what_is_the_daemons_own_is_no_attempt(void **state)
{
    (void)state;
    struct verdict_attempt attempt = {.why = HTTP_REFUSED_REQUEST_CUT, .cut = true, .reached = true};
    struct verdict verdict = judge(attempt);
    assert_int_equal(verdict.outcome, VERDICT_RELEASED);
    assert_int_equal(verdict.spool.verdict, SPOOL_RELEASE);
    attempt.unreadable = true;
    attempt.detail = "cannot read";
    verdict = judge(attempt);
    assert_int_equal(verdict.outcome, VERDICT_UNREACHED);
    assert_true(verdict.spool.blameless);
    assert_string_equal(verdict.cause, "cannot read");
    attempt.damaged = true;
    verdict = judge(attempt);
    assert_int_equal(verdict.outcome, VERDICT_DAMAGED);
    attempt.detail = NULL;
    assert_string_equal(judge(attempt).cause, "");
    attempt.damaged = false;
    assert_string_equal(judge(attempt).cause, "");
}

static void the_newest_rules_may_refuse(void **state)
{
    (void)state;
    struct verdict verdict;
    verdict_refuse(HTTP_REFUSED_DENIED_PATH, &verdict);
    assert_int_equal(verdict.outcome, VERDICT_BURIED);
    assert_non_null(strstr(verdict.cause, "denied_path"));
    verdict_refuse(HTTP_REFUSED_NO_MEMORY, &verdict);
    assert_int_equal(verdict.outcome, VERDICT_UNREACHED);
}

static void causes_are_cut(void **state)
{
    (void)state;
    char detail[2000];
    memset(detail, 'x', sizeof detail - 1);
    detail[sizeof detail - 1] = '\0';
    struct verdict verdict =
        judge((struct verdict_attempt){.why = HTTP_REFUSED_RESPONSE_CUT, .detail = detail});
    assert_int_equal(strlen(verdict.cause), SPOOL_CAUSE_MAX);
}

static void every_outcome_has_a_word(void **state)
{
    (void)state;
    for (unsigned i = 0; i < VERDICT_OUTCOMES; i++) {
        assert_true(strlen(verdict_word((enum verdict_outcome)i)) > 0);
    }
}

/* Sun, 06 Nov 1994 08:49:37 GMT */
#define THEN_MS (UINT64_C(784111777) * 1000)

static void retry_after_is_seconds_or_a_date(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        uint64_t now, expected;
    } cases[] = {
        {"0", 0, 0},
        {"1", 0, 1000},
        {"120", THEN_MS, 120000},
        {"86400", 0, SPOOL_DELAY_MAX_MS},
        {"99999999999999", 0, SPOOL_DELAY_MAX_MS},
        {"99999999999999999999999", 0, 0},
        {"-1", 0, 0},
        {"+1", 0, 0},
        {"1.5", 0, 0},
        {" 1", 0, 0},
        {"", 0, 0},
        {"soon", 0, 0},
        {"Sun, 06 Nov 1994 08:49:37 GMT", THEN_MS - 5000, 5000},
        {"Sun, 06 Nov 1994 08:49:37 GMT", THEN_MS - SPOOL_DELAY_MAX_MS * 2, SPOOL_DELAY_MAX_MS},
        {"Sun, 06 Nov 1994 08:49:37 GMT", THEN_MS, 0},
        {"Sun, 06 Nov 1994 08:49:37 GMT", THEN_MS + 1, 0},
        {"Sun, 06 Nov 1994 08:49:37 GMT!", THEN_MS - 5000, 0},
        {"Sun, 06 Nov 1994 08:49:37 CET", THEN_MS - 5000, 0},
        {"Sun, 06 ovD 1994 08:49:37 GMT", THEN_MS - 5000, 0},
        {"Sun, 06 No 1994 08:49:37 GMT", THEN_MS - 5000, 0},
        {"Sun, 06 Xyz 1994 08:49:37 GMT", THEN_MS - 5000, 0},
        {"Sun, 06 Nov 1894 08:49:37 GMT", 0, 0},
        {"Sunday, 06-Nov-94 08:49:37 GMT", THEN_MS - 5000, 0},
        {"Sun, 06 Nov 1994 08:49:37 GMT and so on and on", THEN_MS - 5000, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t got = verdict_retry_after(http_span_of(cases[i].value), cases[i].now);
        if (got != cases[i].expected) {
            fail_msg("%s: %llu", cases[i].value, (unsigned long long)got);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_verdict),
        cmocka_unit_test(who_asks_is_the_routes_to_say),
        cmocka_unit_test(aws_says_it_by_its_code),
        cmocka_unit_test(half_a_request_is_not_delivered),
        cmocka_unit_test(an_answer_that_breaks_off_counts_by_its_status),
        cmocka_unit_test(silence_counts_only_if_the_upstream_was_reached),
        cmocka_unit_test(what_is_the_daemons_own_is_no_attempt),
        cmocka_unit_test(the_newest_rules_may_refuse),
        cmocka_unit_test(causes_are_cut),
        cmocka_unit_test(every_outcome_has_a_word),
        cmocka_unit_test(retry_after_is_seconds_or_a_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
