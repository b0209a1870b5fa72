/*
 * Wycheproof's vectors, where they are at hand (SHARED_DATA/wycheproof), through what the project uses: signatures as attestation documents
 * have them, and RSA-OAEP and AES-CBC in the envelopes that KMS writes. Skipped, and said so, where they are not.
 *
 *     WYCHEPROOF_FIGURE=1    a line for the scorecard
 */
#include "attest/es384.h"
#include "envelope.h"
#include <errno.h>
#include <jansson.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct error err;
static unsigned files, vectors, wrong;

/* The next key that is "made" is this one. */
static EVP_PKEY *next_key;

EVP_PKEY *__wrap_EVP_PKEY_Q_keygen(OSSL_LIB_CTX *context, const char *properties, const char *type, ...);

EVP_PKEY *__wrap_EVP_PKEY_Q_keygen(OSSL_LIB_CTX *context, const char *properties, const char *type, ...)
{
    (void)context;
    (void)properties;
    (void)type;
    EVP_PKEY *key = next_key;
    next_key = NULL;
    return key;
}

/* ---- Files ---- */

static json_t *load(const char *name)
{
    char path[1024];

    snprintf(path, sizeof path, "%s/wycheproof/%s", SHARED_DATA, name);
    json_t *all = json_load_file(path, 0, NULL);
    if (!all) {
        print_message("skipped: there is no %s\n", path);
        skip();
    }
    files++;
    return all;
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    assert_non_null(text);
    return text;
}

static void bytes_of(const json_t *object, const char *name, struct bytes *ret)
{
    const char *hex = text_of(object, name);
    unsigned byte;

    ret->size = strlen(hex) / 2;
    assert_true(ret->size <= sizeof ret->data);
    for (size_t i = 0; i < ret->size; i++) {
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        ret->data[i] = (uint8_t)byte;
    }
}

static void expect(const json_t *vector, bool valid, bool taken)
{
    vectors++;
    if (valid != taken) {
        wrong++;
        print_message("vector %d (%s): %s\n", (int)json_integer_value(json_object_get(vector, "tcId")),
                      text_of(vector, "comment"), taken ? "taken" : "refused");
    }
}

/* Judges every group of a file, and none of its vectors may be judged otherwise than it says. */
static void each_group(const char *file, void (*judge)(json_t *group))
{
    json_t *all = load(file);
    json_t *group;
    size_t i;

    json_array_foreach(json_object_get(all, "testGroups"), i, group)
    {
        judge(group);
    }
    json_decref(all);
    assert_int_equal(wrong, 0);
}

static bool is_valid(const json_t *vector)
{
    return strcmp(text_of(vector, "result"), "valid") == 0;
}

/* ---- Signatures ---- */

static void verify_group(json_t *group)
{
    struct bytes der, message, signature;
    json_t *vector;
    size_t i;

    bytes_of(group, "publicKeyDer", &der);
    const uint8_t *at = der.data;
    EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)der.size);
    assert_non_null(key);
    json_array_foreach(json_object_get(group, "tests"), i, vector)
    {
        bytes_of(vector, "msg", &message);
        bytes_of(vector, "sig", &signature);
        const struct attest_bytes part = {.data = message.data, .size = message.size};
        const struct attest_bytes both = {.data = signature.data, .size = signature.size};
        expect(vector, is_valid(vector), es384_verify(key, &part, 1, &both) == 0);
    }
    EVP_PKEY_free(key);
}

static void test_signatures(void **state)
{
    (void)state;
    each_group("ecdsa_secp384r1_sha384_p1363_test.json", verify_group);
}

/* ---- Keys ---- */

/* One for whom the vectors are. */
static struct recipient *recipient_of(const json_t *group)
{
    struct recipient *recipient;
    struct bytes der;

    bytes_of(group, "privateKeyPkcs8", &der);
    const uint8_t *at = der.data;
    next_key = d2i_AutoPrivateKey(NULL, &at, (long)der.size);
    assert_non_null(next_key);
    assert_int_equal(recipient_new(&recipient, &err), 0);
    return recipient;
}

/* A vector's message is the content's key. It opens if it is one of AES-256, and was encrypted without a label: the envelope says that
 * there is none. */
static void unwrap_group(json_t *group)
{
    struct recipient *recipient = recipient_of(group);
    EVP_PKEY *key = envelope_key_of(recipient);
    struct bytes wrapped, message, cms;
    struct recipient_secret secret;
    json_t *vector;
    size_t i;

    json_array_foreach(json_object_get(group, "tests"), i, vector)
    {
        bytes_of(vector, "ct", &wrapped);
        bytes_of(vector, "msg", &message);
        bool valid = is_valid(vector) && message.size == 32 && text_of(vector, "label")[0] == '\0';
        const struct envelope envelope = {
            .wrapped_key = {wrapped.data, wrapped.size},
            .key = {message.data, valid ? message.size : 0},
        };
        envelope_make(&cms, &envelope, key);
        bool taken = recipient_open(recipient, cms.data, cms.size, &secret, &err) == 0;
        if (taken) {
            assert_int_equal(secret.size, strlen("the secret"));
            assert_memory_equal(secret.data, "the secret", secret.size);
            recipient_wipe(&secret);
        }
        expect(vector, valid, taken);
    }
    EVP_PKEY_free(key);
    recipient_free(recipient);
}

static void test_keys(void **state)
{
    (void)state;
    each_group("rsa_oaep_2048_sha256_mgf1sha256_test.json", unwrap_group);
}

/* ---- Contents ---- */

static EVP_PKEY *own_key(void)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *key = NULL;

    assert_int_equal(EVP_PKEY_keygen_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(context, 2048), 1);
    assert_int_equal(EVP_PKEY_generate(context, &key), 1);
    EVP_PKEY_CTX_free(context);
    return key;
}

/* Other keys than AES-256's, and contents of no bytes, are refused. */
static void decrypt_vector(json_t *vector, struct recipient *recipient, EVP_PKEY *to)
{
    struct bytes key, iv, ciphertext, message, cms;
    struct recipient_secret secret = {.data = NULL};

    bytes_of(vector, "key", &key);
    bytes_of(vector, "iv", &iv);
    bytes_of(vector, "ct", &ciphertext);
    bytes_of(vector, "msg", &message);
    const struct envelope envelope = {
        .key = {key.data, key.size},
        .iv = {iv.data, iv.size},
        .ciphertext = {ciphertext.data, ciphertext.size},
        .primitive = true,
    };
    envelope_make(&cms, &envelope, to);
    bool taken = recipient_open(recipient, cms.data, cms.size, &secret, &err) == 0;
    if (taken) {
        assert_int_equal(secret.size, message.size);
        assert_memory_equal(secret.data, message.data, message.size);
        recipient_wipe(&secret);
    }
    expect(vector, is_valid(vector) && key.size == 32 && message.size > 0, taken);
}

static void test_contents(void **state)
{
    (void)state;
    json_t *all = load("aes_cbc_pkcs5_test.json");
    json_t *group, *vector;
    struct recipient *recipient;
    size_t i, j;

    next_key = own_key();
    assert_int_equal(recipient_new(&recipient, &err), 0);
    EVP_PKEY *to = envelope_key_of(recipient);
    json_array_foreach(json_object_get(all, "testGroups"), i, group)
    {
        json_array_foreach(json_object_get(group, "tests"), j, vector)
        {
            decrypt_vector(vector, recipient, to);
        }
    }
    EVP_PKEY_free(to);
    recipient_free(recipient);
    json_decref(all);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_contents),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    if (getenv("WYCHEPROOF_FIGURE")) {
        printf("%u vectors of Wycheproof, %u judged otherwise\n", vectors, wrong);
        failed += files < 3;
    }
    return failed;
}
