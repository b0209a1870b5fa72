/*
 * The NSM: what is asked, and what is made of an answer. The device is /dev/null with the driver played by a wrapped ioctl(), or a way.
 */
#include "nsm/call.h"

#include "fault.h"
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

/* ---- The driver ---- */

static struct {
    const uint8_t *answer;
    size_t length; /* that it says, which may be more than there is room for */
    int code;
    unsigned calls;
    uint8_t asked[NSM_REQUEST_MAX];
    size_t asked_length;
} driver;

/* No letter of a name is read as a digit of the escape before it. */
#define JOIN(head, name) head name

static struct nsm *nsm;
static struct error err;

struct raw {
    uint64_t request, request_length, response, response_length;
};

int __wrap_ioctl(int fd, unsigned long number, void *argument);

int __wrap_ioctl(int fd, unsigned long number, void *argument)
{
    struct raw *raw = argument;

    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(number, 0xc0200a00);
    assert_true(raw->request_length <= NSM_REQUEST_MAX);
    assert_int_equal(raw->response_length, NSM_RESPONSE_MAX);
    driver.calls++;
    if (driver.code < 0) {
        errno = -driver.code;
        return -1;
    }
    memcpy(driver.asked, (const void *)(uintptr_t)raw->request, raw->request_length);
    driver.asked_length = raw->request_length;
    memcpy((void *)(uintptr_t)raw->response, driver.answer,
           driver.length < NSM_RESPONSE_MAX ? driver.length : NSM_RESPONSE_MAX);
    raw->response_length = driver.length;
    return 0;
}

static void answer_with(const void *bytes, size_t length)
{
    driver.answer = bytes;
    driver.length = length;
    driver.code = 0;
}

#define ANSWER(literal) answer_with(literal, sizeof(literal) - 1)
#define ASSERT_ASKED(literal)                                            \
    do {                                                                 \
        assert_int_equal(driver.asked_length, sizeof(literal) - 1);      \
        assert_memory_equal(driver.asked, literal, sizeof(literal) - 1); \
    } while (0)

static int setup(void **state)
{
    (void)state;
    memset(&driver, 0, sizeof driver);
    err.text[0] = '\0';
    return nsm_open("/dev/null", &nsm, &err);
}

static int teardown(void **state)
{
    (void)state;
    nsm_close(nsm);
    nsm = NULL;
    return 0;
}

/* ---- All operations, each by its own shape of an answer ---- */

static uint8_t document[NSM_RESPONSE_MAX], bytes[NSM_RANDOM_MAX];
static size_t size;
static uint64_t ms;
static struct nsm_description description;
static struct nsm_pcr pcr;

static const struct nsm_attest_request nothing;

static int do_attest(void)
{
    return nsm_attest(nsm, &nothing, document, &size, &err);
}

static int do_time(void)
{
    return nsm_time(nsm, &ms, &err);
}

static int do_random(void)
{
    return nsm_random(nsm, bytes, &size, &err);
}

static int do_describe(void)
{
    return nsm_describe(nsm, &description, &err);
}

static int do_describe_pcr(void)
{
    return nsm_describe_pcr(nsm, 4, &pcr, &err);
}

static int do_extend_pcr(void)
{
    return nsm_extend_pcr(nsm, 31, "data", 4, &pcr, &err);
}

static int do_lock_pcr(void)
{
    return nsm_lock_pcr(nsm, 16, &err);
}

static int do_lock_pcrs(void)
{
    return nsm_lock_pcrs(nsm, 300, &err);
}

#define DOCUMENT "\x84\x41\xa0\xa0\x4c\xa1\x69timestamp\x07\x42zz"
#define ATTEST(x) \
    "\xa1\x6b"    \
    "Attestation" x
/* In the order of no device, with what nobody knows. */
#define DESCRIPTION(locked)                          \
    "\xa1\x6b"                                       \
    "DescribeNSM"                                    \
    "\xbf\x66"                                       \
    "digest\x66SHA384"                               \
    "\x65"                                           \
    "other\xf6"                                      \
    "\x68"                                           \
    "max_pcrs\x18\x20"                               \
    "\x6blocked_pcrs" locked "\x6dversion_major\x01" \
    "\x6dversion_minor\x19\x01\x02"                  \
    "\x6dversion_patch\x03"                          \
    "\x69module_id\x63i-1\xff"

static const struct operation {
    const char *name;
    int (*run)(void);
    const char *asks;
    size_t asks_size;
    const char *answer;
    size_t answer_size;
} operations[] = {
#define OPERATION(name, run, asks, answer)                            \
    {                                                                 \
        name, run, asks, sizeof(asks) - 1, answer, sizeof(answer) - 1 \
    }
    OPERATION("Attestation", do_attest, ATTEST("\xa3\x69user_data\xf6\x65nonce\xf6\x6apublic_key\xf6"),
              ATTEST(JOIN("\xa1\x68", "document\x54") DOCUMENT)),
    OPERATION("Attestation", do_time, ATTEST("\xa3\x69user_data\xf6\x65nonce\xf6\x6apublic_key\xf6"),
              ATTEST(JOIN("\xa1\x68", "document\x54") DOCUMENT)),
    OPERATION("GetRandom", do_random, "\x69GetRandom", "\xa1\x69GetRandom\xa1\x66random\x44\x01\x02\x03\x04"),
    OPERATION("DescribeNSM", do_describe, JOIN("\x6b", "DescribeNSM"), DESCRIPTION("\x83\x00\x02\x18\x1f")),
    OPERATION("DescribePCR", do_describe_pcr, JOIN("\xa1\x6b", "DescribePCR\xa1\x65index\x04"),
              JOIN(JOIN("\xa1\x6b", "DescribePCR\xa2\x64"), "data\x42pq\x64lock\xf5")),
    OPERATION("ExtendPCR", do_extend_pcr,
              JOIN(JOIN(JOIN("\xa1\x69", "ExtendPCR\xa2\x65index\x18\x1f\x64"), "data\x44"), "data"),
              JOIN(JOIN("\xa1\x69", "ExtendPCR\xa1\x64"), "data\x43new")),
    OPERATION("LockPCR", do_lock_pcr, "\xa1\x67LockPCR\xa1\x65index\x10", "\x67LockPCR"),
    OPERATION("LockPCRs", do_lock_pcrs, "\xa1\x68LockPCRs\xa1\x65range\x19\x01\x2c", "\x68LockPCRs"),
#undef OPERATION
};

static void test_what_is_asked_and_taken_out_of_the_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
        answer_with(operations[i].answer, operations[i].answer_size);
        if (operations[i].run() != 0) {
            fail_msg("%s (%zu): %s", operations[i].name, i, err.text);
        }
        assert_int_equal(driver.asked_length, operations[i].asks_size);
        assert_memory_equal(driver.asked, operations[i].asks, operations[i].asks_size);
        if (operations[i].run == do_attest) {
            assert_int_equal(size, sizeof DOCUMENT - 1);
            assert_memory_equal(document, DOCUMENT, size);
        }
        if (operations[i].run == do_random) {
            assert_int_equal(size, 4);
            assert_memory_equal(bytes, "\x01\x02\x03\x04", 4);
        }
        if (operations[i].run == do_describe_pcr) {
            assert_true(pcr.locked && pcr.size == 2 && !memcmp(pcr.value, "pq", 2));
        }
    }
    assert_int_equal(ms, 7);
    assert_true(!pcr.locked && pcr.size == 3 && !memcmp(pcr.value, "new", 3));
    assert_int_equal(description.locked, UINT32_C(0x80000005));
    assert_int_equal(description.max_pcrs, 32);
    assert_true(description.version[0] == 1 && description.version[1] == 258 && description.version[2] == 3);
    assert_string_equal(description.module_id, "i-1");
    assert_string_equal(description.digest, "SHA384");
}

/* ---- What a document is to hold ---- */

static void test_a_document_with_everything_in_it(void **state)
{
    static const uint8_t large[NSM_FIELD_MAX];
    const struct nsm_attest_request request = {.user_data = {large, sizeof large},
                                               .nonce = {"", 0},
                                               .public_key = {"key", 3}};

    (void)state;
    answer_with(operations[0].answer, operations[0].answer_size);
    assert_int_equal(nsm_attest(nsm, &request, document, &size, &err), 0);
    assert_int_equal(driver.asked_length, 13 + 1 + 10 + 3 + 1024 + 6 + 1 + 11 + 4);
    assert_memory_equal(driver.asked, ATTEST("\xa3\x69user_data\x59\x04\x00\x00\x00"), 29);
    assert_memory_equal(driver.asked + 13 + 1 + 10 + 3 + 1024, "\x65nonce\x40\x6apublic_key\x43key", 22);
}

/* Three fields at their limit are less than a request may be. */
static void test_fields_that_are_too_large(void **state)
{
    static const uint8_t large[NSM_FIELD_MAX + 1];
    struct nsm_attest_request request = {{large, 1024}, {large, 1024}, {large, 1024}};

    (void)state;
    answer_with(operations[0].answer, operations[0].answer_size);
    assert_int_equal(nsm_attest(nsm, &request, document, &size, &err), 0);
    driver.calls = 0;
    request.nonce.size++;
    assert_int_equal(nsm_attest(nsm, &request, document, &size, &err), -EMSGSIZE);
    assert_string_equal(err.text, "a document's nonce has at most 1024 bytes, and here are 1025");
    request.user_data.size++;
    assert_int_equal(nsm_attest(nsm, &request, document, &size, &err), -EMSGSIZE);
    assert_string_equal(err.text, "a document's user_data has at most 1024 bytes, and here are 1025");
    request = (struct nsm_attest_request){.public_key = {large, 1025}};
    assert_int_equal(nsm_attest(nsm, &request, document, &size, &err), -EMSGSIZE);
    assert_string_equal(err.text, "a document's public_key has at most 1024 bytes, and here are 1025");
    assert_int_equal(driver.calls, 0);
}

/* 27 bytes of a request to extend are not data. */
static void test_requests_that_are_too_large(void **state)
{
    static const uint8_t large[NSM_REQUEST_MAX + 1];

    (void)state;
    ANSWER(JOIN(JOIN("\xa1\x69", "ExtendPCR\xa1\x64"), "data\x43new"));
    assert_int_equal(nsm_extend_pcr(nsm, 16, large, NSM_REQUEST_MAX - 27, &pcr, &err), 0);
    assert_int_equal(driver.asked_length, NSM_REQUEST_MAX);
    driver.calls = 0;
    assert_int_equal(nsm_extend_pcr(nsm, 16, large, NSM_REQUEST_MAX - 26, &pcr, &err), -EMSGSIZE);
    assert_string_equal(err.text, "ExtendPCR would be 4097 bytes, and the NSM's driver takes 4096 at most");
    assert_int_equal(nsm_extend_pcr(nsm, 16, large, NSM_REQUEST_MAX + 1, &pcr, &err), -EMSGSIZE);
    assert_int_equal(nsm_extend_pcr(nsm, 16, large, SIZE_MAX / 4, &pcr, &err), -EMSGSIZE);
    assert_int_equal(driver.calls, 0);
}

/* ---- What goes wrong ---- */

static void test_a_driver_that_fails(void **state)
{
    (void)state;
    driver.code = -ETIMEDOUT;
    for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
        assert_int_equal(operations[i].run(), -ETIMEDOUT);
        assert_non_null(strstr(err.text, "the NSM's driver failed: "));
    }
}

static void test_answers_that_were_cut(void **state)
{
    static uint8_t answer[NSM_RESPONSE_MAX + 1000] = "\xa1\x69GetRandom\xa1\x66random\x59\x40\x00";

    (void)state;
    answer_with(answer, NSM_RESPONSE_MAX);
    assert_int_equal(do_random(), -EMSGSIZE);
    assert_string_equal(
        err.text, "the NSM's answer to GetRandom is longer than 12288 bytes, and was cut by its driver");
    answer_with(answer, sizeof answer); /* whatever a driver says about what it did not write */
    assert_int_equal(do_random(), -EMSGSIZE);
}

static void test_the_words_of_the_device(void **state)
{
    static const struct {
        const char *word;
        int code;
    } words[] = {
        {"InvalidArgument", -EINVAL},
        {"InvalidIndex", -ERANGE},
        {"ReadOnlyIndex", -EROFS},
        {"InvalidOperation", -EOPNOTSUPP},
        {"BufferTooSmall", -ENOBUFS},
        {"InputTooLarge", -EMSGSIZE},
        {"InternalError", -EIO},
        {"InvalidResponse", -EIO},
        {"Success", -EIO},
        {"x", -EIO},
    };
    uint8_t answer[64];
    char text[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        int length = snprintf((char *)answer, sizeof answer, JOIN("\xa1\x65", "Error%c%s"),
                              (char)(0x60 + strlen(words[i].word)), words[i].word);
        for (size_t k = 0; k < ARRAY_SIZE(operations); k++) {
            answer_with(answer, (size_t)length);
            assert_int_equal(operations[k].run(), words[i].code);
            snprintf(text, sizeof text, "the NSM refuses %s: %s", operations[k].name, words[i].word);
            assert_string_equal(err.text, text);
        }
    }
}

static void refused(const void *answer, size_t length)
{
    for (size_t k = 0; k < ARRAY_SIZE(operations); k++) {
        char text[128];

        answer_with(answer, length);
        if (operations[k].run() != -EBADMSG) {
            fail_msg("%s takes what is no answer", operations[k].name);
        }
        snprintf(text, sizeof text, "the NSM's answer to %s is not what it should be", operations[k].name);
        assert_string_equal(err.text, text);
    }
}

#define REFUSED(literal) refused(literal, sizeof(literal) - 1)

static void test_what_no_operation_takes(void **state)
{
    uint8_t long_word[128] = JOIN("\xa1\x65", "Error\x78\x41");

    (void)state;
    REFUSED("");
    REFUSED("\xff");
    REFUSED("\x01");
    REFUSED("\x68LockPCRt");
    REFUSED("\xa0");
    REFUSED(JOIN("\xa1\x65", "Error\x01"));
    REFUSED(JOIN("\xa1\x65", "Error\x60"));
    REFUSED(JOIN("\xa1\x65", "Error\x62\x1b["));
    REFUSED(JOIN("\xa1\x65", "Error\x7f\x61x\xff"));
    REFUSED(JOIN("\xa2\x65", "Error\x61x\x65other\x61x"));
    REFUSED(JOIN("\xa1\x65", "Error\x61x_"));
    memset(long_word + 9, 'x', 65);
    refused(long_word, 9 + 65);
    /* A pair besides what was asked for. */
    REFUSED(JOIN("\xa2\x69GetRandom\xa1\x66random\x41x\x65", "Error\x61x"));
    REFUSED("\xa1\x69GetRandom\x01");
    REFUSED("\xa1\x01\xa1\x66random\x41x");
}

/* An answer of each operation's, cut short anywhere, or to another operation. */
static void test_truncated_and_mistaken_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
        for (size_t cut = 0; cut < operations[i].answer_size; cut++) {
            answer_with(operations[i].answer, cut);
            assert_int_equal(operations[i].run(), -EBADMSG);
        }
        for (size_t k = 0; k < ARRAY_SIZE(operations); k++) {
            answer_with(operations[k].answer, operations[k].answer_size);
            assert_int_equal(operations[i].run(),
                             strcmp(operations[i].name, operations[k].name) ? -EBADMSG : 0);
        }
    }
}

static int run_with(int (*run)(void), const void *answer, size_t length)
{
    answer_with(answer, length);
    return run();
}

#define RUN(run, literal) run_with(run, literal, sizeof(literal) - 1)

static void test_parts_that_are_none(void **state)
{
    static const char *const pcrs[] = {
        JOIN(JOIN("\xa1\x6b", "DescribePCR\xa1\x64"), "data\x42pq"),
        JOIN("\xa1\x6b", "DescribePCR\xa1\x64lock\xf5"),
        JOIN(JOIN("\xa1\x6b", "DescribePCR\xa2\x64"), "data\x42pq\x64lock\x01"),
        JOIN(JOIN("\xa1\x6b", "DescribePCR\xa2\x64"), "data\x40\x64lock\xf4"),
        JOIN(JOIN("\xa1\x6b", "DescribePCR\xa2\x64"), "data\x62pq\x64lock\xf4"),
        JOIN("\xa1\x6b", "DescribePCR\xf6"),
    };
    uint8_t wide[128] = JOIN(JOIN("\xa1\x69", "ExtendPCR\xa1\x64"), "data\x58\x41");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(pcrs); i++) {
        assert_int_equal(run_with(do_describe_pcr, pcrs[i], strlen(pcrs[i])), -EBADMSG);
    }
    assert_int_equal(run_with(do_extend_pcr, wide, 19 + 65), -EBADMSG);
    assert_int_equal(RUN(do_random, "\xa1\x69GetRandom\xa1\x66random\x61x"), -EBADMSG);
    assert_int_equal(RUN(do_random, "\xa1\x69GetRandom\xa1\x66random\x40"), -EBADMSG);
    assert_int_equal(RUN(do_random, "\xa1\x69GetRandom\xa1\x66random\x5f\x41x\xff"), -EBADMSG);
    assert_int_equal(RUN(do_lock_pcr, "\xa1\x67LockPCR\xf6"), -EBADMSG);
}

static void test_descriptions_that_are_none(void **state)
{
    static const char good[] = DESCRIPTION("\x83\x00\x02\x18\x1f");
    static const char *const names[] = {"digest",        "max_pcrs",      "locked_pcrs", "version_major",
                                        "version_minor", "version_patch", "module_id"};
    char changed[sizeof good];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) { /* each is missed */
        memcpy(changed, good, sizeof good);
        char *at = memmem(changed, sizeof good, names[i], strlen(names[i]));
        at[0] = '_';
        assert_int_equal(run_with(do_describe, changed, sizeof good - 1), -EBADMSG);
    }
    memcpy(changed, good, sizeof good);
    *(char *)memmem(changed, sizeof good, "i-1", 3) = '\n'; /* not to be shown to people */
    assert_int_equal(run_with(do_describe, changed, sizeof good - 1), -EBADMSG);
    assert_int_equal(RUN(do_describe, DESCRIPTION("\x81\x18\x20")), -EBADMSG);
    assert_int_equal(RUN(do_describe, DESCRIPTION("\x81\x61x")), -EBADMSG);
    assert_int_equal(RUN(do_describe, DESCRIPTION("\x01")), -EBADMSG);
    assert_int_equal(RUN(do_describe, DESCRIPTION("\x80")), 0);
    assert_int_equal(description.locked, 0);
    assert_int_equal(RUN(do_describe, DESCRIPTION("\x9f\x01\x01\xff")), 0);
    assert_int_equal(description.locked, 2);
}

/* ---- Random bytes ---- */

/* A map of indefinite length, keys that nobody knows, and more bytes than were expected. */
static void test_random_of_another_making(void **state)
{
    uint8_t answer[400] = "\xbf\x69GetRandom\xbf\x65other\x01\x66random\x59\x01\x2c";
    size_t head = 29;

    (void)state;
    for (size_t i = 0; i < 300; i++) {
        answer[head + i] = (uint8_t)i;
    }
    memcpy(answer + head + 300, "\xff\xff", 2);
    assert_int_equal(run_with(do_random, answer, head + 302), 0);
    assert_int_equal(size, NSM_RANDOM_MAX);
    assert_memory_equal(bytes, answer + head, NSM_RANDOM_MAX);
}

/* ---- The device, and what is none ---- */

static void test_open(void **state)
{
    struct nsm *none = NULL;

    (void)state;
    assert_int_equal(nsm_open("/nowhere/nsm", &none, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nowhere/nsm"));
    assert_null(none);
    assert_false(nsm_is_insecure(nsm));
    nsm_close(NULL);
}

static int way_ask(void *user, const uint8_t *request, size_t asked, uint64_t deadline,
                   uint8_t response[NSM_RESPONSE_MAX], size_t *ret_size, struct error *why)
{
    assert_ptr_equal(user, &driver);
    (void)deadline;
    memcpy(driver.asked, request, asked);
    driver.asked_length = asked;
    memcpy(response, driver.answer, driver.length);
    *ret_size = driver.length;
    return driver.code < 0 ? error_set(why, driver.code, "played") : 0;
}

static void way_close(void *user)
{
    assert_ptr_equal(user, &driver);
    driver.calls++;
}

static void test_another_way(void **state)
{
    const struct nsm_way way = {.ask = way_ask, .close = way_close, .user = &driver, .insecure = true};

    (void)state;
    nsm_close(nsm);
    assert_int_equal(nsm_open_way(&way, &nsm), 0);
    assert_true(nsm_is_insecure(nsm));
    test_what_is_asked_and_taken_out_of_the_answer(state);
    driver.code = -EPIPE;
    assert_int_equal(do_random(), -EPIPE);
    assert_string_equal(err.text, "played");
    nsm_close(nsm);
    nsm = NULL;
    assert_int_equal(driver.calls, 1);
}

static void open_both(void *argument)
{
    const struct nsm_way way = {.ask = way_ask, .close = way_close, .user = &driver};
    struct nsm *one;

    (void)argument;
    if (nsm_open("/dev/null", &one, &err) == 0) {
        nsm_close(one);
    }
    if (nsm_open_way(&way, &one) == 0) {
        nsm_close(one);
    }
}

static void test_out_of_memory_and_descriptors(void **state)
{
    (void)state;
    assert_true(fault_loop("nsm", FAULT_MEMORY | FAULT_OPEN, open_both, NULL) >= 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_asked_and_taken_out_of_the_answer),
        TEST(test_a_document_with_everything_in_it),
        TEST(test_fields_that_are_too_large),
        TEST(test_requests_that_are_too_large),
        TEST(test_a_driver_that_fails),
        TEST(test_answers_that_were_cut),
        TEST(test_the_words_of_the_device),
        TEST(test_what_no_operation_takes),
        TEST(test_truncated_and_mistaken_answers),
        TEST(test_parts_that_are_none),
        TEST(test_descriptions_that_are_none),
        TEST(test_random_of_another_making),
        TEST(test_open),
        TEST(test_another_way),
        TEST(test_out_of_memory_and_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
