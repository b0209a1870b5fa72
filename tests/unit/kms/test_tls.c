/* TLS to KMS: how long a connection may go on with what an earlier one has verified. */
#include "fake_kms.h"
#include "kms/tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <time.h>

static struct fake_kms fake;
static struct postern_kms *kms;

/* ---- Time since boot ---- */

int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);

static _Atomic long boot_s_later;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
    int r = __real_clock_gettime(clock, ret);

    if (clock == CLOCK_BOOTTIME) {
        ret->tv_sec += boot_s_later;
    }
    return r;
}

/* ---- A client that connects for each call ---- */

static int set_up(void **state)
{
    struct postern_kms_options options;

    (void)state;
    boot_s_later = 0;
    fake_kms_open(&fake, "DNS:" FAKE_HOST, 3600);
    fake_kms_options(&fake, &options);
    fake_kms_client(&options, &kms);
    atomic_store(&fake.script->close_after, true);
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

/* Whether the connection of another call went on with what an earlier one had verified. */
static bool resumes(void)
{
    struct postern_kms_decrypt_request request;
    struct postern_secret secret = {.data = NULL};
    struct postern_error err;
    unsigned before = atomic_load(&fake.script->resumed);

    postern_kms_decrypt_request_init(&request);
    request.ciphertext = "abc";
    request.ciphertext_length = 3;
    assert_int_equal(postern_kms_decrypt(kms, &request, &secret, &err), 0);
    postern_secret_wipe(&secret);
    return atomic_load(&fake.script->resumed) > before;
}

static void test_a_session_is_gone_on_with(void **state)
{
    (void)state;
    assert_false(resumes());
    assert_true(resumes());
    assert_true(resumes());
}

/* A ticket of a resumed one is no younger than what was verified. */
static void test_a_session_grows_old(void **state)
{
    const long most = KMS_SESSION_MAX_MS / 1000;

    (void)state;
    assert_false(resumes());
    boot_s_later = most / 2;
    assert_true(resumes());
    boot_s_later = most - 60;
    assert_true(resumes());
    boot_s_later = most + 1;
    assert_false(resumes());
    assert_true(resumes());
    boot_s_later = 2 * most - 60;
    assert_true(resumes());
    boot_s_later = 2 * most + 60;
    assert_false(resumes());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_session_is_gone_on_with, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_session_grows_old, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("tls", tests, NULL, NULL);
}
