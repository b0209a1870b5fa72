/* Envelopes: byte for byte in the structure that KMS's own have, and opened by what the enclave opens them with. */
#include "sim/cms.h"

#include "attest/recipient.h"
#include "fault.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct recipient *recipient;
static EVP_PKEY *key;
static struct error err;

static int setup(void **state)
{
    size_t size;

    (void)state;
    if (recipient_new(&recipient, &err) != 0) {
        return -1;
    }
    const uint8_t *at = recipient_public_key(recipient, &size);
    key = d2i_PUBKEY(NULL, &at, (long)size);
    return key ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    recipient_free(recipient);
    return 0;
}

static int seal(const struct sim_cms_kind *kind, const void *secret, size_t size, struct text *out)
{
    size_t der_size;
    const uint8_t *der = recipient_public_key(recipient, &der_size);

    return sim_cms_seal(kind, key, der, der_size, secret, size, out);
}

static void assert_opens(const struct text *out, const void *secret, size_t size)
{
    struct recipient_secret opened;

    if (recipient_open(recipient, (const uint8_t *)out->data, out->length, &opened, &err) != 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(opened.size, size);
    assert_memory_equal(opened.data, secret, size);
    recipient_wipe(&opened);
}

static void test_every_size_in_every_shape(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,   15,  16,  17,  32,  111,  112,  127, 128,
                                   239, 240, 256, 983, 984, 1000, 2001, 4096};
    uint8_t secret[4096];

    memset(secret, 's', sizeof secret);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int shape = SIM_CMS_SCATTERED; shape <= SIM_CMS_PIECES; shape++) {
            struct text out = TEXT_INIT;
            assert_int_equal(seal(&(struct sim_cms_kind){.shape = (enum sim_cms_shape)shape}, secret,
                                  sizes[i], &out),
                             0);
            assert_opens(&out, secret, sizes[i]);
            text_release(&out);
        }
    }
}

static void test_a_wrong_hash_is_not_opened(void **state)
{
    (void)state;
    struct text out = TEXT_INIT;
    struct recipient_secret opened;

    assert_int_equal(seal(&(struct sim_cms_kind){.hash = "SHA1"}, "secret", 6, &out), 0);
    assert_int_equal(recipient_open(recipient, (const uint8_t *)out.data, out.length, &opened, &err),
                     -EBADMSG);
    text_release(&out);
    assert_int_equal(seal(&(struct sim_cms_kind){.hash = "NONE"}, "secret", 6, &out), -EIO);
    text_release(&out);
}

/* Where a genuine envelope of a secret of 32 to 47 bytes has what differs from one to the next: the recipient's name, the encrypted
 * key, the vector, the content. */
static const struct {
    size_t at, size;
} own[] = {{33, 32}, {131, 256}, {415, 16}, {435, 48}};

static void blank(uint8_t *bytes)
{
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        memset(bytes + own[i].at, 0, own[i].size);
    }
}

#define GENUINE_SIZE 493

static void test_as_a_genuine_one(void **state)
{
    (void)state;
    uint8_t genuine[GENUINE_SIZE + 1];
    struct text out = TEXT_INIT;
    FILE *in = fopen(SHARED_DATA "/kms-cms-1.bin", "r");

    if (!in) {
        print_message("skipped: there is no %s/kms-cms-1.bin\n", SHARED_DATA);
        skip();
    }
    assert_int_equal(fread(genuine, 1, sizeof genuine, in), GENUINE_SIZE);
    fclose(in);
    assert_int_equal(seal(&(struct sim_cms_kind){.hash = NULL}, "0123456789abcdef0123456789abcdef", 32, &out),
                     0);
    assert_int_equal(out.length, GENUINE_SIZE);
    blank(genuine);
    blank((uint8_t *)out.data);
    assert_memory_equal(out.data, genuine, GENUINE_SIZE);
    text_release(&out);
}

static void seal_one(void *arg)
{
    struct text out = TEXT_INIT;

    (void)arg;
    if (seal(&(struct sim_cms_kind){.hash = NULL}, "secret", 6, &out) == 0) {
        assert_opens(&out, "secret", 6);
    }
    text_release(&out);
    ERR_clear_error();
}

/* What opens it is not to fail here. */
static void seal_only(void *arg)
{
    struct text out = TEXT_INIT;

    (void)arg;
    (void)!seal(&(struct sim_cms_kind){.hash = NULL}, "secret", 6, &out);
    text_release(&out);
    ERR_clear_error();
}

static void test_out_of_memory(void **state)
{
    (void)state;
    seal_one(NULL);
    assert_true(fault_loop("seal", FAULT_MEMORY, seal_only, NULL) >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_size_in_every_shape),
        cmocka_unit_test(test_a_wrong_hash_is_not_opened),
        cmocka_unit_test(test_as_a_genuine_one),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
