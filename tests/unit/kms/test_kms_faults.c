/* Every allocation and every fallible call of a client for KMS made to fail once: nothing crashes, hangs or leaks, and no call half succeeds. */
#include "fake_kms.h"
#include "kms/attested.h"

#include "fault.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define CALLS \
    (FAULT_MEMORY | FAULT_OPEN | FAULT_SOCKET | FAULT_CONNECT | FAULT_READ | FAULT_WRITE | FAULT_OWN)

static struct fake_kms fake;
static struct postern_kms_options options;

void *__real_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset);

/* Memory for secrets. */
void *__wrap_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (fault_strikes(FAULT_OWN)) {
        errno = ENOMEM;
        return (void *)-1;
    }
    return __real_mmap(at, length, protection, flags, fd, offset);
}

static int set_up(void **state)
{
    (void)state;
    fake_kms_open(&fake, "DNS:" FAKE_HOST, 3600);
    fake_kms_options(&fake, &options);
    options.session_token = "token==";
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_kms_close(&fake);
    return 0;
}

static void assert_told(int status, const struct postern_error *err)
{
    assert_true(status < 0 && err->status == status && err->message[0] != '\0');
}

/* ---- A client ---- */

static void open_and_close(void *arg)
{
    struct postern_kms *kms = NULL;
    struct postern_error err;
    int status = postern_kms_open(&options, &kms, &err);

    (void)arg;
    if (status != 0) {
        assert_told(status, &err);
        assert_null(kms);
    }
    postern_kms_close(kms);
}

static void test_opening(void **state)
{
    (void)state;
    assert_true(fault_loop("kms open", CALLS & ~(unsigned)FAULT_MEMORY, open_and_close, NULL) >= 1);
    /* OpenSSL's context takes two thousand allocations: ours come before it, and a sanitizer sees what leaks. */
    for (unsigned long nth = 1; nth <= 40; nth++) {
        fault_arm(FAULT_MEMORY, nth);
        open_and_close(NULL);
        assert_true(fault_disarm() <= 1);
    }
}

/* ---- Calls ---- */

static struct postern_kms *open_client(void)
{
    struct postern_kms *kms = NULL;
    struct postern_error err;

    if (postern_kms_open(&options, &kms, &err) != 0) {
        fail_msg("%s", err.message);
    }
    return kms;
}

/* On a connection that is kept, and with a recipient that is there: what each call does. */
static void decrypt(void *arg)
{
    struct postern_kms_decrypt_request request;
    const struct postern_kms_context context = {"purpose", "test"};
    const char *const grant = "grant";
    struct postern_secret secret = {.data = NULL};
    struct postern_error err;

    postern_kms_decrypt_request_init(&request);
    request.ciphertext = "abc";
    request.ciphertext_length = 3;
    request.key_id = "1";
    request.call.context = &context;
    request.call.context_count = 1;
    request.call.grant_tokens = &grant;
    request.call.grant_token_count = 1;
    int status = postern_kms_decrypt(arg, &request, &secret, &err);
    if (status == 0) {
        assert_int_equal(secret.length, 3);
        assert_memory_equal(secret.data, "abc", 3);
    } else {
        assert_told(status, &err);
        assert_null(secret.data);
    }
    postern_secret_wipe(&secret);
}

static void test_decrypting(void **state)
{
    struct postern_kms *kms = open_client();
    (void)state;

    /* Whatever a failure costs is a connection; so that each begins with one that is kept, there is a new one each time. */
    decrypt(kms);
    unsigned long count = fault_loop("kms decrypt", FAULT_OWN, decrypt, kms);
    assert_true(count >= 1);
    postern_kms_close(kms);
}

static void data_key(void *arg)
{
    struct postern_kms_data_key_request request;
    struct postern_kms_data_key made = {.key_id = NULL};
    struct postern_error err;

    postern_kms_data_key_request_init(&request);
    request.key_id = "1";
    int status = postern_kms_generate_data_key(arg, &request, &made, &err);
    if (status == 0) {
        assert_int_equal(made.plaintext.length, 32);
    } else {
        assert_told(status, &err);
        assert_true(!made.key_id && !made.ciphertext && !made.plaintext.data);
    }
    postern_kms_data_key_release(&made);
}

/* A client of its own for each: a kept connection that a failure has cost would be a descriptor less than before. */
static void one_client(void *arg)
{
    struct postern_kms *kms = NULL;
    void (*operation)(void *) = *(void (**)(void *))arg;

    fault_spare(true);
    kms = open_client();
    fault_spare(false);
    operation(kms);
    fault_spare(true);
    postern_kms_close(kms);
    fault_spare(false);
}

static void plain_call(void *arg)
{
    struct kms_answer answer;
    struct error err = ERROR_INIT;
    json_t *request;

    fault_spare(true);
    request = json_pack("{s:i}", "NumberOfBytes", 16);
    fault_spare(false);
    int status = kms_call(arg, "GenerateRandom", request, kms_deadline(arg, 0), &answer, &err);
    assert_true(status == 0 ? json_object_get(answer.body, "Plaintext") != NULL : err.text[0] != '\0');
    kms_answer_release(&answer);
    json_decref(request);
}

/* Memory alone, on a connection that is kept: what a failure costs is made good before the books are looked at. */
static void kept_call(void *arg)
{
    plain_call(arg);
    fault_spare(true);
    plain_call(arg);
    fault_spare(false);
}

static void test_calling_without_memory(void **state)
{
    struct postern_kms *kms = open_client();
    (void)state;

    assert_true(fault_loop("kms kept call", FAULT_MEMORY, kept_call, kms) >= 20);
    postern_kms_close(kms);
}

static void test_calling(void **state)
{
    void (*operation)(void *) = plain_call;
    (void)state;

    /* A socket, connect(), and at least three writes and two reads: how many reads it takes is up to the scheduler. */
    assert_true(fault_loop("kms call", CALLS & ~(unsigned)FAULT_MEMORY, one_client, &operation) >= 7);
}

static void prepared_data_key(void *arg)
{
    struct error err;

    fault_spare(true);
    assert_int_equal(kms_attested_prepare(arg, &err), 0);
    fault_spare(false);
    data_key(arg);
}

static void test_attested_calls(void **state)
{
    void (*operation)(void *) = prepared_data_key;
    (void)state;

    assert_true(fault_loop("kms data key",
                           FAULT_SOCKET | FAULT_CONNECT | FAULT_READ | FAULT_WRITE | FAULT_OWN, one_client,
                           &operation) >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_opening, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_decrypting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_calling_without_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_calling, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_attested_calls, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
