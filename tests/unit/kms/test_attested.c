/* Tests of attested calls: whose turn it is with the NSM, and how old a document may grow. */
#include "fake_kms.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct fake_kms fake;
static struct postern_kms_options options;
static struct postern_kms *kms;
static struct postern_error err;

/* ---- Time since boot ---- */

int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);

static _Atomic long boot_s_later,
    boot_s_a_request; /* by how much it is later, and with every request that came */

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
    int r = __real_clock_gettime(clock, ret);

    if (clock == CLOCK_BOOTTIME) {
        ret->tv_sec += boot_s_later + boot_s_a_request * atomic_load(&fake.script->requests);
    }
    return r;
}

/* ---- A client ---- */

static int set_up(void **state)
{
    (void)state;
    fake_kms_open(&fake, "DNS:" FAKE_HOST, 3600);
    fake_kms_options(&fake, &options);
    boot_s_later = boot_s_a_request = 0;
    fake_kms_client(&options, &kms);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    postern_kms_close(kms);
    kms = NULL;
    fake_kms_close(&fake);
    return 0;
}

/* 0: the client's own time. */
static int decrypt(uint32_t timeout_ms, struct postern_error *ret_error)
{
    struct postern_kms_decrypt_request request;
    struct postern_secret secret = {.data = NULL};

    postern_kms_decrypt_request_init(&request);
    request.ciphertext = "abc";
    request.ciphertext_length = 3;
    request.call.timeout_ms = timeout_ms;
    int status = postern_kms_decrypt(kms, &request, &secret, ret_error);
    postern_secret_wipe(&secret);
    return status;
}

static void assert_works(void)
{
    if (decrypt(0, &err) != 0) {
        fail_msg("%s", err.message);
    }
}

static void assert_is_late(void)
{
    assert_int_equal(decrypt(50, &err), -ETIMEDOUT);
}

static void *decrypt_in_a_thread(void *result)
{
    *(int *)result = decrypt(0, NULL);
    return NULL;
}

static unsigned requests(void)
{
    return atomic_exchange(&fake.script->requests, 0);
}

/* ---- Tests ---- */

/* It holds up nobody for longer than the call may take. */
static void test_an_nsm_that_hangs(void **state)
{
    (void)state;
    atomic_store(&fake.script->nsm_hangs, true);
    assert_is_late();
    options.flags = POSTERN_KMS_KEY_PER_CALL;
    fake_kms_client(&options, &kms);
    assert_is_late();
    atomic_store(&fake.script->nsm_hangs, false);
    assert_works();
}

/* While it is renewed, the document that there is serves the others. */
static void test_an_nsm_that_hangs_later(void **state)
{
    (void)state;
    pthread_t thread;
    int result = 1;

    assert_works();
    boot_s_later = 200;
    atomic_store(&fake.script->nsm_hangs, true);
    assert_int_equal(pthread_create(&thread, NULL, decrypt_in_a_thread, &result), 0);
    while (atomic_load(&fake.script->nsm_hung) < 1) {
        usleep(1000);
    }
    assert_works();
    boot_s_later = 250;
    assert_is_late();
    assert_non_null(strstr(err.message, "the NSM has not answered another call yet"));
    atomic_store(&fake.script->nsm_hangs, false);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(result, 0);
}

/* KMS takes no document that is older than five minutes, and trying again may take as long as it likes. */
static void test_a_document_that_grows_old(void **state)
{
    (void)state;
    boot_s_a_request = 200;
    fake_kms_answer_json(&fake, 2, 400, "", "{\"__type\":\"ThrottlingException\"}");
    assert_works();
    assert_int_equal(requests(), 3);
    assert_int_equal(atomic_load(&fake.script->documents), 3);
    options.flags = POSTERN_KMS_KEY_PER_CALL;
    fake_kms_client(&options, &kms);
    fake_kms_answer_json(&fake, 2, 400, "", "{\"__type\":\"ThrottlingException\"}");
    assert_works();
    assert_int_equal(requests(), 3);
    assert_int_equal(atomic_load(&fake.script->documents), 6);
    atomic_store(&fake.script->nsm_fails, true);
    fake_kms_answer_json(&fake, 2, 400, "", "{\"__type\":\"ThrottlingException\"}");
    assert_int_equal(decrypt(0, &err), -EIO);
    assert_non_null(strstr(err.message, "the NSM refuses Attestation"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_an_nsm_that_hangs),
        TEST(test_an_nsm_that_hangs_later),
        TEST(test_a_document_that_grows_old),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
