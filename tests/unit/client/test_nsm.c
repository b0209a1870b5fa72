/* The functions of include/postern/attest.h: what a program gives and gets. The driver is played by a wrapped ioctl(). */
#include "postern/attest.h"

#include "base/compiler.h"
#include "fault.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct raw {
    uint64_t request, request_length, response, response_length;
};

static const char *answer;
static size_t answer_length;
static uint8_t asked[4096];
static size_t asked_length;
static unsigned calls;

int __wrap_ioctl(int fd, unsigned long number, void *argument);

int __wrap_ioctl(int fd UNUSED, unsigned long number UNUSED, void *argument)
{
    struct raw *raw = argument;

    calls++;
    memcpy(asked, (const void *)(uintptr_t)raw->request, raw->request_length);
    asked_length = raw->request_length;
    memcpy((void *)(uintptr_t)raw->response, answer, answer_length);
    raw->response_length = answer_length;
    return 0;
}

#define ANSWER(literal) (answer = (literal), answer_length = sizeof(literal) - 1)

/* A head of CBOR, so that no letter of a name is read as a digit of its escape. */
#define TEXT(length, name) length name

static struct postern_nsm *nsm;
static struct postern_error err;

static int setup(void **state)
{
    struct postern_nsm_options options;

    (void)state;
    postern_nsm_options_init(&options);
    options.device = "/dev/null";
    memset(&err, 0, sizeof err);
    calls = 0;
    return postern_nsm_open(&options, &nsm, &err);
}

static int teardown(void **state)
{
    (void)state;
    postern_nsm_close(nsm);
    return 0;
}

#define ATTESTED TEXT("\xa1\x6b", "Attestation") TEXT("\xa1\x68", "document") "\x43key"

static void test_a_document(void **state)
{
    static const char expected[] =
        TEXT("\xa1\x6b", "Attestation") "\xa3\x69user_data\x42hi\x65nonce\x40\x6apublic_key\xf6";
    struct postern_attest_request request;
    char document[8] = "";

    (void)state;
    ANSWER(ATTESTED);
    postern_attest_request_init(&request);
    request.user_data = "hi";
    request.user_data_length = 2;
    request.nonce = "";
    assert_int_equal(postern_attest(nsm, &request, document, sizeof document, &err), 3);
    assert_string_equal(document, "key");
    assert_int_equal(asked_length, sizeof expected - 1);
    assert_memory_equal(asked, expected, sizeof expected - 1);
    assert_int_equal(postern_attest(nsm, NULL, document, 3, NULL), 3);
    assert_int_equal(postern_attest(nsm, NULL, document, 2, &err), -EMSGSIZE);
    assert_string_equal(err.message, "the attestation document is larger than the buffer for it");
    request.public_key = document;
    request.public_key_length = POSTERN_ATTEST_FIELD_MAX + 1;
    assert_int_equal(postern_attest(nsm, &request, document, sizeof document, &err), -EMSGSIZE);
    assert_int_equal(err.status, -EMSGSIZE);
    assert_string_equal(err.message, "a document's public_key has at most 1024 bytes, and here are 1025");
}

/* A nonce that is left out in silence would be one that nobody checks. */
static void test_a_length_without_bytes(void **state)
{
    struct postern_attest_request request;
    char document[8];

    (void)state;
    postern_attest_request_init(&request);
    request.nonce_length = 1;
    assert_int_equal(postern_attest(nsm, &request, document, sizeof document, &err), -EINVAL);
    assert_string_equal(err.message, "a length is given without bytes: the pointer is NULL");
    request.nonce_length = 0;
    request.user_data_length = 1;
    assert_int_equal(postern_attest(nsm, &request, document, sizeof document, &err), -EINVAL);
    request.user_data_length = 0;
    request.public_key_length = 1;
    assert_int_equal(postern_attest(nsm, &request, document, sizeof document, &err), -EINVAL);
    assert_int_equal(postern_attest(nsm, NULL, NULL, sizeof document, &err), -EINVAL);
    assert_int_equal(postern_nsm_random(nsm, NULL, 1, &err), -EINVAL);
    assert_int_equal(calls, 0);
}

static void test_what_the_module_says_of_itself(void **state)
{
    struct postern_nsm_description description;

    (void)state;
    ANSWER(TEXT("\xa1\x6b",
                "DescribeNSM") "\xa7\x69module_id\x63i-1\x6dversion_major\x01\x6dversion_minor\x02"
                               "\x6dversion_patch\x03" TEXT(
                                   "\x66",
                                   "digest") "\x66SHA384\x68max_pcrs\x18\x20\x6blocked_pcrs\x82\x00\x04");
    assert_int_equal(postern_nsm_describe(nsm, &description, &err), 0);
    assert_string_equal(description.module_id, "i-1");
    assert_string_equal(description.digest, "SHA384");
    assert_true(description.version[0] == 1 && description.version[1] == 2 && description.version[2] == 3);
    assert_int_equal(description.pcrs, 32);
    assert_int_equal(description.locked, 0x11);
    ANSWER("\xf6");
    assert_int_equal(postern_nsm_describe(nsm, &description, &err), -EBADMSG);
}

static void test_pcrs(void **state)
{
    struct postern_nsm_pcr pcr;

    (void)state;
    ANSWER(TEXT("\xa1\x6b", "DescribePCR") "\xa2\x64lock\xf5" TEXT("\x64", "data") "\x42pq");
    assert_int_equal(postern_nsm_describe_pcr(nsm, 3, &pcr, &err), 0);
    assert_true(pcr.locked && pcr.length == 2 && !memcmp(pcr.value, "pq", 2));
    ANSWER(TEXT("\xa1\x69", "ExtendPCR") TEXT("\xa1\x64", "data") "\x43new");
    assert_int_equal(postern_nsm_extend_pcr(nsm, 16, "x", 1, &pcr, &err), 0);
    assert_true(!pcr.locked && pcr.length == 3 && !memcmp(pcr.value, "new", 3));
    assert_int_equal(postern_nsm_extend_pcr(nsm, 16, NULL, 0, NULL, &err), 0);
    ANSWER("\x67LockPCR");
    assert_int_equal(postern_nsm_lock_pcr(nsm, 16, &err), 0);
    ANSWER("\x68LockPCRs");
    assert_int_equal(postern_nsm_lock_pcrs(nsm, 20, &err), 0);
    ANSWER("\xa1\x65"
           "Error\x6dReadOnlyIndex");
    assert_int_equal(postern_nsm_extend_pcr(nsm, 16, "x", 1, &pcr, &err), -EROFS);
    assert_string_equal(err.message, "the NSM refuses ExtendPCR: ReadOnlyIndex");
    assert_false(err.retryable);
}

/* 65552 is not 16. */
static void test_numbers_that_are_none(void **state)
{
    struct postern_nsm_pcr pcr;

    (void)state;
    assert_int_equal(postern_nsm_describe_pcr(nsm, 65552, &pcr, &err), -ERANGE);
    assert_int_equal(postern_nsm_extend_pcr(nsm, 65552, "x", 1, &pcr, &err), -ERANGE);
    assert_int_equal(postern_nsm_lock_pcr(nsm, 65552, &err), -ERANGE);
    assert_int_equal(postern_nsm_lock_pcrs(nsm, 65552, &err), -ERANGE);
    assert_string_equal(err.message, "there is no PCR of that number");
    assert_int_equal(postern_nsm_extend_pcr(nsm, 16, NULL, 1, &pcr, &err), -EINVAL);
    assert_int_equal(calls, 0);
}

static void test_random_bytes(void **state)
{
    char bytes[10] = "";

    (void)state;
    ANSWER("\xa1\x69GetRandom\xa1\x66random\x44wxyz");
    assert_int_equal(postern_nsm_random(nsm, bytes, 9, &err), 0);
    assert_string_equal(bytes, "wxyzwxyzw");
    assert_int_equal(calls, 3);
    ANSWER("\xf6");
    assert_int_equal(postern_nsm_random(nsm, bytes, 1, &err), -EBADMSG);
    assert_int_equal(postern_nsm_random(nsm, bytes, 0, &err), 0);
}

static void test_options(void **state)
{
    struct {
        struct postern_nsm_options known;
        int more;
    } newer = {.more = 1};
    struct postern_nsm_options options;
    struct postern_nsm *other;

    (void)state;
    postern_nsm_options_init(&options);
    options.device = "/nowhere/nsm";
    assert_int_equal(postern_nsm_open(&options, &other, &err), -ENODEV);
    assert_non_null(strstr(err.message, "/nowhere/nsm"));
    options.insecure_nsm = "unix:///nowhere/nsm";
    assert_int_equal(postern_nsm_open(&options, &other, &err), -EINVAL);
    options.device = NULL;
    assert_int_equal(postern_nsm_open(&options, &other, &err), 0);
    assert_int_equal(postern_nsm_lock_pcr(other, 16, &err), -ENODEV);
    postern_nsm_close(other);
    options.insecure_nsm = "nowhere";
    assert_int_equal(postern_nsm_open(&options, &other, &err), -EINVAL);
    options.size = 0;
    assert_int_equal(postern_nsm_open(&options, &other, &err), -EINVAL);
    newer.known.size = sizeof newer;
    assert_int_equal(postern_nsm_open(&newer.known, &other, &err), -EINVAL);
    postern_nsm_close(NULL);
    struct postern_attest_request request = {.size = 1};
    assert_int_equal(postern_attest(nsm, &request, NULL, 0, &err), -EINVAL);
}

static void open_one(void *argument UNUSED)
{
    struct postern_nsm_options options;
    struct postern_nsm *one;

    postern_nsm_options_init(&options);
    options.device = "/dev/null";
    if (postern_nsm_open(&options, &one, &err) == 0) {
        postern_nsm_close(one);
    }
    postern_nsm_options_init(&options);
    options.insecure_nsm = "unix:///nowhere/nsm";
    if (postern_nsm_open(&options, &one, &err) == 0) {
        postern_nsm_close(one);
    }
}

static void test_out_of_memory_and_descriptors(void **state)
{
    (void)state;
    assert_true(fault_loop("nsm", FAULT_MEMORY | FAULT_OPEN, open_one, NULL) >= 5);
}

/* Programs were built with them, and they have no `size` to tell how large they were then. */
static void test_structs_that_may_not_change(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct postern_error), 512);
    assert_int_equal(sizeof(struct postern_meta), 24);
    assert_int_equal(sizeof(struct postern_header), 16);
    assert_int_equal(sizeof(struct postern_nsm_description), 180);
    assert_int_equal(sizeof(struct postern_nsm_pcr), 80);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_document),
        TEST(test_a_length_without_bytes),
        TEST(test_what_the_module_says_of_itself),
        TEST(test_pcrs),
        TEST(test_numbers_that_are_none),
        TEST(test_random_bytes),
        TEST(test_options),
        TEST(test_out_of_memory_and_descriptors),
        TEST(test_structs_that_may_not_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
