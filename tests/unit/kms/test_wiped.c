/* What the client has let go of: nothing of the credentials is left in it. */
#include "fake_kms.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MARK      "IQoJb3JpZ2lu"
#define TIMES8(x) x x x x x x x x

/* As long as AWS's are, so that what it is written to has to grow. */
static const char token[] = TIMES8(TIMES8(MARK)) TIMES8(MARK);
static const char secret_key[] = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

static struct fake_kms fake;
static struct postern_kms *kms;
static atomic_bool watching;
static atomic_uint left_behind;

void __real_free(void *memory);
void __wrap_free(void *memory);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);

static void look_at(void *memory)
{
    size_t size = memory ? malloc_usable_size(memory) : 0;

    if (atomic_load(&watching) && memory &&
        (memmem(memory, size, MARK, sizeof MARK - 1) ||
         memmem(memory, size, secret_key, sizeof secret_key - 1))) {
        atomic_fetch_add(&left_behind, 1);
    }
}

void __wrap_free(void *memory)
{
    look_at(memory);
    __real_free(memory);
}

/* All of it can be looked at. */
void *__wrap_malloc(size_t size)
{
    return calloc(1, size);
}

/* As one that never finds room behind the old piece. */
void *__wrap_realloc(void *memory, size_t size)
{
    size_t had = memory ? malloc_usable_size(memory) : 0;
    void *grown = calloc(1, size);

    if (grown && memory) {
        memcpy(grown, memory, had < size ? had : size);
        __wrap_free(memory);
    }
    return grown;
}

static void decrypt_once(void)
{
    struct postern_kms_decrypt_request request;
    struct postern_secret secret;
    struct postern_error err;

    postern_kms_decrypt_request_init(&request);
    request.ciphertext = "abc";
    request.ciphertext_length = 3;
    if (postern_kms_decrypt(kms, &request, &secret, &err) != 0) {
        fail_msg("%s", err.message);
    }
    postern_secret_wipe(&secret);
}

static void test_credentials(void **state)
{
    struct postern_kms_options options;

    (void)state;
    fake_kms_open(&fake, "DNS:" FAKE_HOST, 3600);
    fake_kms_options(&fake, &options);
    options.session_token = token;
    fake_kms_client(&options, &kms);
    atomic_store(&watching, true);
    decrypt_once();
    decrypt_once();
    postern_kms_close(kms);
    atomic_store(&watching, false);
    assert_int_equal(atomic_load(&left_behind), 0);
    /* It was there. */
    assert_non_null(strstr(fake.script->last, token));
    fake_kms_close(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_credentials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
