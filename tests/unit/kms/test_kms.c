/* Tests of the client for KMS, whole: the five operations, as programs call them, and connections that are kept. */
#include "fake_kms.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct fake_kms fake;
static struct postern_kms *kms;
static struct postern_error err;

static int set_up(void **state)
{
    struct postern_kms_options options;
    (void)state;

    fake_kms_open(&fake, "DNS:" FAKE_HOST, 3600);
    fake_kms_options(&fake, &options);
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

static int decrypt(struct postern_kms *client, const char *text, struct postern_secret *ret)
{
    struct postern_kms_decrypt_request request;

    postern_kms_decrypt_request_init(&request);
    request.ciphertext = text;
    request.ciphertext_length = strlen(text);
    memset(&err, 0, sizeof err);
    return postern_kms_decrypt(client, &request, ret, &err);
}

static void assert_decrypts(struct postern_kms *client, const char *text)
{
    struct postern_secret secret;

    if (decrypt(client, text, &secret) != 0) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(secret.length, strlen(text));
    assert_memory_equal(secret.data, text, secret.length);
    postern_secret_wipe(&secret);
}

/* ---- Operations ---- */

static void test_decrypt(void **state)
{
    (void)state;
    const struct postern_kms_context context[] = {{"purpose", "test"}, {"grün", "ja"}};
    const char *const grants[] = {"token-1", "token-2"};
    struct postern_kms_decrypt_request request;
    struct postern_secret secret;

    assert_decrypts(kms, "abc");
    postern_kms_decrypt_request_init(&request);
    request.ciphertext = "xyz";
    request.ciphertext_length = 3;
    request.key_id = "alias/mine";
    request.algorithm = "RSAES_OAEP_SHA_256";
    request.call.context = context;
    request.call.context_count = 2;
    request.call.grant_tokens = grants;
    request.call.grant_token_count = 2;
    assert_int_equal(postern_kms_decrypt(kms, &request, &secret, &err), 0);
    postern_secret_wipe(&secret);
    assert_non_null(strstr(fake.script->last, "POST / HTTP/1.1\r\nhost: " FAKE_HOST "\r\n"));
    assert_non_null(strstr(fake.script->last, "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"));
    assert_non_null(strstr(fake.script->last, "/test-1/kms/aws4_request"));
    assert_non_null(strstr(fake.script->last, "\"CiphertextBlob\":\"eHl6\""));
    assert_non_null(strstr(fake.script->last, "\"KeyId\":\"alias/mine\""));
    assert_non_null(strstr(fake.script->last, "\"EncryptionAlgorithm\":\"RSAES_OAEP_SHA_256\""));
    assert_non_null(
        strstr(fake.script->last, "\"EncryptionContext\":{\"purpose\":\"test\",\"grün\":\"ja\"}"));
    assert_non_null(strstr(fake.script->last, "\"GrantTokens\":[\"token-1\",\"token-2\"]"));
    assert_non_null(strstr(fake.script->last, "\"KeyEncryptionAlgorithm\":\"RSAES_OAEP_SHA_256\""));
}

static void test_data_keys(void **state)
{
    (void)state;
    struct postern_kms_data_key_request request;
    struct postern_kms_data_key made;

    postern_kms_data_key_request_init(&request);
    request.key_id = "1";
    assert_int_equal(postern_kms_generate_data_key(kms, &request, &made, &err), 0);
    assert_int_equal(made.plaintext.length, 32);
    assert_int_equal(made.ciphertext_length, 6);
    assert_memory_equal(made.ciphertext, "sealed", 6);
    assert_string_equal(made.key_id, "arn:aws:kms:test-1:1:key/1");
    postern_kms_data_key_release(&made);
    assert_null(made.key_id);
    request.key_spec = "AES_128";
    assert_int_equal(postern_kms_generate_data_key(kms, &request, &made, &err), 0);
    assert_int_equal(made.plaintext.length, 16);
    postern_kms_data_key_release(&made);
    request.key_spec = NULL;
    request.bytes = 77;
    assert_int_equal(postern_kms_generate_data_key(kms, &request, &made, &err), 0);
    assert_int_equal(made.plaintext.length, 77);
    postern_kms_data_key_release(&made);
    fake_kms_answer(&fake, FAKE_SHORT, 1);
    assert_int_equal(postern_kms_generate_data_key(kms, &request, &made, &err), -EPROTO);
    assert_non_null(strstr(err.message, "77 bytes were asked for"));
    postern_kms_data_key_release(NULL);
}

static void test_data_key_pairs(void **state)
{
    (void)state;
    struct postern_kms_data_key_pair_request request;
    struct postern_kms_data_key_pair made;

    postern_kms_data_key_pair_request_init(&request);
    request.key_id = "1";
    request.key_pair_spec = "ECC_NIST_P256";
    assert_int_equal(postern_kms_generate_data_key_pair(kms, &request, &made, &err), 0);
    assert_int_equal(made.private_key.length, 32);
    assert_memory_equal(made.private_key_ciphertext, "sealed", 6);
    assert_int_equal(made.public_key_length, 6);
    assert_memory_equal(made.public_key, "public", 6);
    postern_kms_data_key_pair_release(&made);
    postern_kms_data_key_pair_release(NULL);
    fake_kms_answer(&fake, FAKE_MISSING, 1);
    assert_int_equal(postern_kms_generate_data_key_pair(kms, &request, &made, &err), -EBADMSG);
}

static void test_random(void **state)
{
    (void)state;
    struct postern_kms_random_request request;
    struct postern_secret secret;

    postern_kms_random_request_init(&request);
    request.bytes = 1024;
    assert_int_equal(postern_kms_generate_random(kms, &request, &secret, &err), 0);
    assert_int_equal(secret.length, 1024);
    postern_secret_wipe(&secret);
    fake_kms_answer(&fake, FAKE_SHORT, 1);
    assert_int_equal(postern_kms_generate_random(kms, &request, &secret, &err), -EPROTO);
}

static void test_shared_secrets(void **state)
{
    (void)state;
    struct postern_kms_shared_secret_request request;
    struct postern_secret secret;

    postern_kms_shared_secret_request_init(&request);
    request.key_id = "1";
    request.public_key = "key";
    request.public_key_length = 3;
    assert_int_equal(postern_kms_derive_shared_secret(kms, &request, &secret, &err), 0);
    assert_int_equal(secret.length, 32);
    assert_non_null(strstr(fake.script->last, "\"KeyAgreementAlgorithm\":\"ECDH\""));
    postern_secret_wipe(&secret);
}

/* ---- Connections and documents ---- */

static void test_connections_are_kept(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        assert_decrypts(kms, "abc");
    }
    assert_int_equal(atomic_load(&fake.script->connections), 1);
    assert_int_equal(atomic_load(&fake.script->documents), 1);
}

static void test_dead_ones_are_replaced(void **state)
{
    (void)state;
    atomic_store(&fake.script->close_after, true);
    for (unsigned i = 0; i < 3; i++) {
        assert_decrypts(kms, "abc");
    }
    assert_int_equal(atomic_load(&fake.script->connections), 3);
    assert_int_equal(atomic_load(&fake.script->requests), 3);
    /* The first of them made a session, which the others went on with. */
    assert_int_equal(atomic_load(&fake.script->resumed), 2);
}

static void push(const char *bytes)
{
    unsigned before = atomic_load(&fake.script->pushed);

    strcpy(fake.script->raw, bytes);
    atomic_store(&fake.script->push, false);
    fake_kms_answer(&fake, FAKE_PUSH, 1);
    assert_decrypts(kms, "abc");
    atomic_store(&fake.script->push, true);
    while (atomic_load(&fake.script->pushed) == before) {
        usleep(1000);
    }
}

/* What comes over a kept connection before anything was asked is nobody's answer. */
static void test_what_nobody_asked_for(void **state)
{
    (void)state;
    push("HTTP/1.1 400 No\r\nContent-Length: 34\r\n\r\n{\"__type\":\"AccessDeniedException\"}");
    assert_decrypts(kms, "xyz");
    assert_int_equal(atomic_load(&fake.script->connections), 2);
    push("H");
    assert_decrypts(kms, "xyz");
    assert_int_equal(atomic_load(&fake.script->connections), 3);
    assert_decrypts(kms, "abc"); /* the last one is quiet, and kept */
    assert_int_equal(atomic_load(&fake.script->connections), 3);
    assert_int_equal(atomic_load(&fake.script->requests), 5);
}

static void test_a_key_per_call(void **state)
{
    (void)state;
    struct postern_kms_options options;
    struct postern_kms *other = NULL;

    fake_kms_options(&fake, &options);
    options.flags = POSTERN_KMS_KEY_PER_CALL;
    fake_kms_client(&options, &other);
    assert_decrypts(other, "abc");
    assert_decrypts(other, "abc");
    assert_int_equal(atomic_load(&fake.script->documents), 2);
    postern_kms_close(other);
}

#define THREADS 8
#define CALLS   25

static void *many_calls(void *data)
{
    struct postern_kms_decrypt_request request;
    unsigned *good = data;
    char text[32];

    for (unsigned i = 0; i < CALLS; i++) {
        struct postern_secret secret;
        postern_kms_decrypt_request_init(&request);
        request.ciphertext = text;
        request.ciphertext_length = (size_t)snprintf(text, sizeof text, "%p-%u", data, i);
        if (postern_kms_decrypt(kms, &request, &secret, NULL) == 0) {
            *good +=
                secret.length == request.ciphertext_length && memcmp(secret.data, text, secret.length) == 0;
            postern_secret_wipe(&secret);
        }
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    unsigned good[THREADS] = {0};

    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, many_calls, &good[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(good[i], CALLS);
    }
    assert_in_range(atomic_load(&fake.script->connections), 1, THREADS);
    assert_int_equal(atomic_load(&fake.script->documents), 1);
}

static void test_few_connections_are_shared_out(void **state)
{
    (void)state;
    struct postern_kms_options options;
    pthread_t threads[THREADS];
    unsigned good[THREADS] = {0};

    fake_kms_options(&fake, &options);
    options.connections = 2;
    fake_kms_client(&options, &kms);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, many_calls, &good[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(good[i], CALLS);
    }
    assert_in_range(atomic_load(&fake.script->connections), 1, 2);
}

static void test_a_child_process_has_none(void **state)
{
    (void)state;
    int status;

    assert_decrypts(kms, "abc");
    pid_t child = fork();
    if (child == 0) {
        struct postern_secret secret;
        int result = decrypt(kms, "abc", &secret);
        postern_kms_close(kms);
        _exit(result == -ECHILD ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_decrypts(kms, "abc"); /* the connection is as it was */
    assert_int_equal(atomic_load(&fake.script->connections), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_decrypt),
        TEST(test_data_keys),
        TEST(test_data_key_pairs),
        TEST(test_random),
        TEST(test_shared_secrets),
        TEST(test_connections_are_kept),
        TEST(test_dead_ones_are_replaced),
        TEST(test_what_nobody_asked_for),
        TEST(test_a_key_per_call),
        TEST(test_many_threads),
        TEST(test_few_connections_are_shared_out),
        TEST(test_a_child_process_has_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
