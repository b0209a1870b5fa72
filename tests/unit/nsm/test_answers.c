/* What an NSM answers, in all the shapes that CBOR has: documents of every making, and what else may stand in an answer. */
#include "nsm/answer.h"
#include "nsm/nsm.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* No letter of a name is read as a digit of the escape before it. */
#define JOIN(head, name) head name
#define ATTEST(x)        JOIN("\xa1\x6b", "Attestation") x

static struct {
    const uint8_t *bytes;
    size_t length;
} answered;

static int ask(void *user, const uint8_t *request, size_t asked, uint64_t deadline,
               uint8_t response[NSM_RESPONSE_MAX], size_t *ret_size, struct error *why)
{
    (void)user;
    (void)request;
    (void)asked;
    (void)deadline;
    (void)why;
    memcpy(response, answered.bytes, answered.length);
    *ret_size = answered.length;
    return 0;
}

static void closed(void *user)
{
    (void)user;
}

static struct nsm *nsm;
static struct error err;
static uint8_t document[NSM_RESPONSE_MAX], bytes[NSM_RANDOM_MAX];
static size_t size;
static uint64_t ms;

static int setup(void **state)
{
    const struct nsm_way way = {.ask = ask, .close = closed};

    (void)state;
    return nsm_open_way(&way, &nsm);
}

static int teardown(void **state)
{
    (void)state;
    nsm_close(nsm);
    return 0;
}

static void answer_with(const void *answer, size_t length)
{
    answered.bytes = answer;
    answered.length = length;
}

static int do_time(void)
{
    return nsm_time(nsm, &ms, &err);
}

static int do_attest(void)
{
    static const struct nsm_attest_request nothing;

    return nsm_attest(nsm, &nothing, document, &size, &err);
}

static int do_random(void)
{
    return nsm_random(nsm, bytes, &size, &err);
}

static int run_with(int (*run)(void), const void *answer, size_t length)
{
    answer_with(answer, length);
    return run();
}

#define RUN(run, literal) run_with(run, literal, sizeof(literal) - 1)

/* ---- The time ---- */

/* {"Attestation": {"document": [protected, {}, {"module_id": "i", "timestamp": 1700000000123}, signature]}}, with
 * what the payload's map and the document's array begin with left to the test. */
#define PAYLOAD(map, end) map "\x69module_id\x61i\x69timestamp\x1b\x00\x00\x01\x8b\xcf\xe5\x68\x7b" end

static size_t wrap_document(const char *tag, const void *payload, size_t length, uint8_t *out)
{
    static const char head[] = ATTEST(JOIN("\xa1\x68", "document\x58"));
    size_t whole = strlen(tag) + 1 + 2 + 1 + 2 + length + 3, at = sizeof head - 1;

    assert_true(whole < 256 && length < 256);
    memcpy(out, head, at);
    out[at++] = (uint8_t)whole;
    memcpy(out + at, tag, strlen(tag));
    at += strlen(tag);
    memcpy(out + at, "\x84\x41\xa0\xa0\x58", 5);
    at += 5;
    out[at++] = (uint8_t)length;
    memcpy(out + at, payload, length);
    at += length;
    memcpy(out + at, "\x42zz", 3);
    return at + 3;
}

static int time_of(const char *tag, const void *payload, size_t length)
{
    uint8_t answer[512];

    ms = 0;
    answer_with(answer, wrap_document(tag, payload, length, answer));
    return do_time();
}

#define TIME_OF(tag, literal) time_of(tag, literal, sizeof(literal) - 1)

static void test_documents_of_every_making(void **state)
{
    (void)state;
    assert_int_equal(TIME_OF("", PAYLOAD("\xa2", "")), 0);
    assert_int_equal(ms, 1700000000123);
    assert_int_equal(TIME_OF("\xd2", PAYLOAD("\xa2", "")), 0); /* tagged */
    assert_int_equal(ms, 1700000000123);
    assert_int_equal(TIME_OF("", PAYLOAD("\xbf", "\xff")), 0); /* a map of indefinite length */
    assert_int_equal(ms, 1700000000123);
}

static void test_documents_that_are_none(void **state)
{
    (void)state;
    /* As many entries as there are numbers are not an open end. */
    assert_int_equal(TIME_OF("", PAYLOAD("\xbb\xff\xff\xff\xff\xff\xff\xff\xff", "\xff")), -EBADMSG);
    for (int (*const *run)(void) = (int (*const[])(void)){do_time, do_attest, NULL}; *run; run++) {
        assert_int_equal(RUN(*run, ATTEST("\xf6")), -EBADMSG);
        assert_int_equal(RUN(*run, ATTEST(JOIN("\xa1\x68", "document\x01"))), -EBADMSG);
        assert_int_equal(RUN(*run, ATTEST(JOIN("\xa1\x68", "document\x40"))), -EBADMSG);
    }
    ms = 0;
    assert_int_equal(RUN(do_time, ATTEST(JOIN("\xa1\x68", "document\x41\x84"))), -EBADMSG);
    assert_int_equal(RUN(do_time, ATTEST(JOIN("\xa1\x68", "document\x42\x01\x01"))), -EBADMSG);
    assert_int_equal(RUN(do_time, ATTEST(JOIN("\xa1\x68", "document\x41\xa0"))), -EBADMSG);
    assert_int_equal(RUN(do_time, ATTEST(JOIN("\xa1\x68", "document\x42\x81\x01"))), -EBADMSG);
    assert_int_equal(RUN(do_time, ATTEST(JOIN("\xa1\x68", "document\x45\x84\x01\x01\x01\x01"))), -EBADMSG);
    assert_int_equal(TIME_OF("", "\xa1\x69timestamp\x61x"), -EBADMSG);
    assert_int_equal(TIME_OF("", "\xa1\x69timestamq\x01"), -EBADMSG);
    assert_int_equal(TIME_OF("", "\xa1\x69timestamp\x00"), -EBADMSG);
    assert_int_equal(TIME_OF("", "\xa1\x69timestamp"), -EBADMSG);
    assert_int_equal(ms, 0);
}

/* Items of every kind are passed over on the way to the one that is looked for. */
static void test_what_else_may_be_there(void **state)
{
    static const char answer[] = JOIN("\xa1\x69GetRandom\xbf\x61", "a\x20") /* a negative integer */
        JOIN("\x61", "b\xf6")                                               /* null */
        JOIN("\x61", "c\xfb\x01\x02\x03\x04\x05\x06\x07\x08")               /* a float */
        JOIN("\x61", "d\x7f\x61x\x61y\xff")                                 /* text in pieces */
        JOIN("\x61", "e\x9f\x01\x19\x01\x02\x1a\x01\x02\x03\x04\xff")       /* integers in an open array */
        JOIN("\x61", "f\x82\x81\xf5\xa1\x01\x02")                           /* a map in an array */
        "\x61g\xc1\x18\x2a"                                                 /* a tag */
        "\x66random\x41r\xff";

    (void)state;
    assert_int_equal(run_with(do_random, answer, sizeof answer - 1), 0);
    assert_int_equal(size, 1);
    assert_int_equal(bytes[0], 'r');
    /* Cut anywhere, it is no answer. */
    for (size_t cut = 0; cut < sizeof answer - 1; cut++) {
        assert_int_equal(run_with(do_random, answer, cut), -EBADMSG);
    }
}

/* What nobody asks for, so deep. */
static int random_beside(unsigned levels)
{
    static const char head[] = "\xa1\x69GetRandom\xa2\x61x", end[] = "\x01\x66random\x41r";
    uint8_t answer[256];

    memcpy(answer, head, sizeof head - 1);
    memset(answer + sizeof head - 1, 0x81, levels);
    memcpy(answer + sizeof head - 1 + levels, end, sizeof end - 1);
    return run_with(do_random, answer, sizeof head - 1 + levels + sizeof end - 1);
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    assert_int_equal(random_beside(5), 0);
    assert_int_equal(random_beside(6), -EBADMSG);
    assert_int_equal(random_beside(200), -EBADMSG);
}

/* An answer to GetRandom with so many items: the map, its key, the map in it, two keys, two values, and those in an array. */
static int random_of_items(unsigned items)
{
    static const char head[] = "\xa1\x69GetRandom\xa2\x61x\x99", end[] = "\x66random\x41r";
    uint8_t answer[2 * ANSWER_ITEMS_MAX];
    size_t at = sizeof head - 1, inside = items - 7;

    memcpy(answer, head, at);
    answer[at++] = (uint8_t)(inside >> 8);
    answer[at++] = (uint8_t)inside;
    memset(answer + at, 0, inside);
    memcpy(answer + at + inside, end, sizeof end - 1);
    return run_with(do_random, answer, at + inside + sizeof end - 1);
}

static void test_items_are_bounded(void **state)
{
    (void)state;
    assert_int_equal(random_of_items(ANSWER_ITEMS_MAX), 0);
    assert_int_equal(random_of_items(ANSWER_ITEMS_MAX + 1), -EBADMSG);
}

static void test_counts_cost_nothing(void **state)
{
    (void)state;
    assert_int_equal(RUN(do_random, "\xa1\x69GetRandom\xbb\x7f\xff\xff\xff\xff\xff\xff\xff\x61x\x01"),
                     -EBADMSG);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_documents_of_every_making), TEST(test_documents_that_are_none),
        TEST(test_what_else_may_be_there),    TEST(test_depth_is_bounded),
        TEST(test_counts_cost_nothing),       TEST(test_items_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
