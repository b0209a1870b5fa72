/* The NSM: what is asked, and what is made of an answer. The driver is played by a wrapped ioctl(). */
#include "nsm/nsm.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FD 77

/* ---- The driver ---- */

static const uint8_t *driver_answer;
static size_t driver_length;
static int driver_code;
static char driver_asked[NSM_REQUEST_MAX];
static size_t driver_asked_length;

struct raw {
    uint64_t request, request_length, response, response_length;
};

int __wrap_ioctl(int fd, unsigned long number, void *argument);

int __wrap_ioctl(int fd, unsigned long number, void *argument)
{
    struct raw *raw = argument;

    assert_int_equal(fd, FD);
    assert_int_equal(number, 0xc0200a00);
    assert_true(raw->request_length <= NSM_REQUEST_MAX);
    assert_int_equal(raw->response_length, NSM_RESPONSE_MAX);
    if (driver_code < 0) {
        errno = -driver_code;
        return -1;
    }
    memcpy(driver_asked, (const void *)(uintptr_t)raw->request, raw->request_length);
    driver_asked_length = raw->request_length;
    memcpy((void *)(uintptr_t)raw->response, driver_answer, driver_length);
    raw->response_length = driver_length;
    return 0;
}

static void answer_with(const void *bytes, size_t length)
{
    driver_answer = bytes;
    driver_length = length;
    driver_code = 0;
}

#define ANSWER(literal) answer_with(literal, sizeof(literal) - 1)

/* ---- Random bytes ---- */

static void test_random(void **state)
{
    uint8_t bytes[NSM_RANDOM_MAX];
    size_t length;
    struct error err = ERROR_INIT;

    (void)state;
    ANSWER("\xa1\x69GetRandom\xa1\x66random\x44\x01\x02\x03\x04");
    assert_int_equal(nsm_random(FD, bytes, &length, &err), 0);
    assert_int_equal(length, 4);
    assert_memory_equal(bytes, "\x01\x02\x03\x04", 4);
    assert_int_equal(driver_asked_length, 10);
    assert_memory_equal(driver_asked, "\x69GetRandom", 10);
}

/* A map of indefinite length, keys that nobody knows, and more bytes than were expected. */
static void test_random_of_another_making(void **state)
{
    uint8_t answer[400] = "\xbf\x69GetRandom\xbf\x65other\x01\x66random\x59\x01\x2c", bytes[NSM_RANDOM_MAX];
    size_t head = 29, length;

    (void)state;
    for (size_t i = 0; i < 300; i++) {
        answer[head + i] = (uint8_t)i;
    }
    memcpy(answer + head + 300, "\xff\xff", 2);
    assert_int_equal(nsm_parse_random(answer, head + 302, bytes, &length, NULL), 0);
    assert_int_equal(length, NSM_RANDOM_MAX);
    assert_memory_equal(bytes, answer + head, NSM_RANDOM_MAX);
}

static void test_answers_that_are_none(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
        int code;
        const char *text;
    } cases[] = {
#define CASE(literal, code, text) {literal, sizeof(literal) - 1, code, text}
        CASE("\xa1\x65"
             "Error\x6fInvalidArgument",
             -EIO, "the NSM refuses GetRandom: InvalidArgument"),
        CASE("", -EBADMSG, "the NSM's answer to GetRandom is not what it should be"),
        CASE("\xa1\x65"
             "Error\x01",
             -EBADMSG, NULL),
        CASE("\xa1\x65"
             "Error\x7f\x61x\xff",
             -EBADMSG, NULL),
        CASE("\x69GetRandom", -EBADMSG, NULL),
        CASE("\xa1\x69GetRandom\x01", -EBADMSG, NULL),
        CASE("\xa1\x69GetRandom\xa1\x66random\x61x", -EBADMSG, NULL),
        CASE("\xa1\x69GetRandom\xa1\x66random\x40", -EBADMSG, NULL),
        CASE("\xa1\x69GetRandom\xa1\x66random\x5f\x41x\xff", -EBADMSG, NULL),
        CASE("\xa1\x69GetRandom\xa1\x66random\x44\x01\x02", -EBADMSG, NULL),
        CASE("\xa1\x69GetRandom\xa1\x66random\x41x_", -EBADMSG, NULL),
        CASE("\xa1\x01\xa1\x66random\x41x", -EBADMSG, NULL),
#undef CASE
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[NSM_RANDOM_MAX];
        size_t length;
        struct error err = ERROR_INIT;
        int code = nsm_parse_random((const uint8_t *)cases[i].bytes, cases[i].length, bytes, &length, &err);

        if (code != cases[i].code) {
            fail_msg("case %zu gave %d: %s", i, code, err.text);
        }
        if (cases[i].text) {
            assert_string_equal(err.text, cases[i].text);
        }
    }
}

static void test_a_driver_that_fails(void **state)
{
    uint8_t bytes[NSM_RANDOM_MAX];
    size_t length;
    uint64_t ms;
    struct error err = ERROR_INIT;

    (void)state;
    driver_code = -ETIMEDOUT;
    assert_int_equal(nsm_random(FD, bytes, &length, &err), -ETIMEDOUT);
    assert_non_null(strstr(err.text, "the NSM's driver failed: "));
    assert_int_equal(nsm_time(FD, &ms, &err), -ETIMEDOUT);
}

/* ---- The time ---- */

/* {"Attestation": {"document": [protected, {}, {"module_id": "i", "timestamp": 1700000000123}, signature]}}, with
 * what the payload's map and the document's array begin with left to the test. */
#define PAYLOAD(map, end) map "\x69module_id\x61i\x69timestamp\x1b\x00\x00\x01\x8b\xcf\xe5\x68\x7b" end

static size_t wrap_document(const char *tag, const void *payload, size_t length, uint8_t *out)
{
    static const char head[] = "\xa1\x6b"
                               "Attestation\xa1\x68"
                               "document\x58";
    size_t document = strlen(tag) + 1 + 2 + 1 + 2 + length + 3, at = sizeof head - 1;

    assert_true(document < 256 && length < 256);
    memcpy(out, head, at);
    out[at++] = (uint8_t)document;
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

static int time_of(const char *tag, const void *payload, size_t length, uint64_t *ret)
{
    uint8_t answer[512];
    size_t total = wrap_document(tag, payload, length, answer);

    return nsm_parse_time(answer, total, ret, NULL);
}

#define TIME_OF(tag, literal, ret) time_of(tag, literal, sizeof(literal) - 1, ret)

static void test_time(void **state)
{
    uint8_t answer[512];
    uint64_t ms = 0;
    struct error err = ERROR_INIT;

    (void)state;
    answer_with(answer, wrap_document("", PAYLOAD("\xa2", ""), sizeof PAYLOAD("\xa2", "") - 1, answer));
    assert_int_equal(nsm_time(FD, &ms, &err), 0);
    assert_int_equal(ms, 1700000000123);
    assert_int_equal(driver_asked_length, 44);
    assert_memory_equal(driver_asked,
                        "\xa1\x6b"
                        "Attestation\xa3\x69user_data\xf6\x65nonce\xf6\x6apublic_key\xf6",
                        44);
}

static void test_documents_of_every_making(void **state)
{
    uint64_t ms = 0;

    (void)state;
    assert_int_equal(TIME_OF("\xd2", PAYLOAD("\xa2", ""), &ms), 0); /* tagged */
    assert_int_equal(ms, 1700000000123);
    ms = 0;
    assert_int_equal(TIME_OF("", PAYLOAD("\xbf", "\xff"), &ms), 0); /* a map of indefinite length */
    assert_int_equal(ms, 1700000000123);
}

static void test_documents_that_are_none(void **state)
{
    static const char *const none[] = {
        "\xa1\x6b"
        "Attestation\xa1\x68"
        "document\x01",
        "\xa1\x6b"
        "Attestation\xa1\x68"
        "document\x41\xa0",
        "\xa1\x6b"
        "Attestation\xa1\x68"
        "document\x42\x81\x01",
        "\xa1\x6b"
        "Attestation\xa1\x68"
        "document\x45\x84\x01\x01\x01\x01",
    };
    uint64_t ms = 0;
    struct error err = ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_int_equal(nsm_parse_time((const uint8_t *)none[i], strlen(none[i]), &ms, &err), -EBADMSG);
        assert_string_equal(err.text, "the NSM's answer to Attestation is not what it should be");
    }
    assert_int_equal(TIME_OF("", "\xa1\x69timestamp\x61x", &ms), -EBADMSG);
    assert_int_equal(TIME_OF("", "\xa1\x69timestamq\x01", &ms), -EBADMSG);
    assert_int_equal(TIME_OF("", "\xa1\x69timestamp", &ms), -EBADMSG);
    assert_int_equal(nsm_parse_time((const uint8_t *)"\xa1\x65"
                                                     "Error\x61x",
                                    9, &ms, &err),
                     -EIO);
    assert_string_equal(err.text, "the NSM refuses Attestation: x");
    assert_int_equal(ms, 0);
}

/* ---- The device ---- */

static void test_open(void **state)
{
    struct error err = ERROR_INIT;
    int fd;

    (void)state;
    assert_int_equal(nsm_open("/nowhere/nsm", &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nowhere/nsm"));
    fd = nsm_open("/dev/null", &err);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(fd);
}

/* Items of every kind are passed over on the way to the one that is looked for. */
static void test_what_else_may_be_there(void **state)
{
    static const char answer[] =
        "\xa1\x69GetRandom\xbf"
        "\x61"
        "a\x20" /* a negative integer */
        "\x61"
        "b\xf6" /* null */
        "\x61"
        "c\xfb\x01\x02\x03\x04\x05\x06\x07\x08" /* a float */
        "\x61"
        "d\x7f\x61x\x61y\xff" /* text in pieces */
        "\x61"
        "e\x9f\x01\x19\x01\x02\x1a\x01\x02\x03\x04\xff" /* integers in an open array */
        "\x61"
        "f\x82\x81\xf5\xa1\x01\x02" /* a map in an array */
        "\x61"
        "g\xc1\x18\x2a" /* a tag */
        "\x66random\x41r\xff";
    uint8_t bytes[NSM_RANDOM_MAX];
    size_t length;

    (void)state;
    assert_int_equal(nsm_parse_random((const uint8_t *)answer, sizeof answer - 1, bytes, &length, NULL), 0);
    assert_int_equal(length, 1);
    assert_int_equal(bytes[0], 'r');
    /* Cut anywhere, it is no answer. */
    for (size_t cut = 0; cut < sizeof answer - 1; cut++) {
        assert_int_equal(nsm_parse_random((const uint8_t *)answer, cut, bytes, &length, NULL), -EBADMSG);
    }
}

static void test_depth_and_counts_are_bounded(void **state)
{
    static const char counted[] = "\xa1\x69GetRandom\xbb\x7f\xff\xff\xff\xff\xff\xff\xff\x61x\x01";
    uint8_t deep[100], bytes[NSM_RANDOM_MAX];
    size_t length;

    (void)state;
    memset(deep, 0x81, sizeof deep);
    deep[sizeof deep - 1] = 0;
    assert_int_equal(nsm_parse_random(deep, sizeof deep, bytes, &length, NULL), -EBADMSG);
    assert_int_equal(nsm_parse_random((const uint8_t *)counted, sizeof counted - 1, bytes, &length, NULL),
                     -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_random_of_another_making),
        cmocka_unit_test(test_answers_that_are_none),
        cmocka_unit_test(test_a_driver_that_fails),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_documents_of_every_making),
        cmocka_unit_test(test_documents_that_are_none),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_what_else_may_be_there),
        cmocka_unit_test(test_depth_and_counts_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
