/* Sealing and opening with a KMS that answers as it is told to: what it is asked, and what becomes of answers that are none. */
#include "postern/seal.h"

#include "fault.h"
#include "scripted_kms.h"
#include "sealed.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DATA_KEY "0123456789abcdef0123456789abcdef"
#define ENCODED  "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
#define KEY      "arn:aws:kms:us-east-1:111122223333:key/k"
#define ANSWER   "{\"CiphertextBlob\": \"AQID\", \"KeyId\": \"" KEY "\"}"
#define OPENLY   "{\"CiphertextBlob\": \"AQID\", \"KeyId\": \"" KEY "\", \"Plaintext\": \"" ENCODED "\"}"

static struct postern_error err;
static const struct postern_kms_context context[] = {{"b", "2"}, {"a", "1"}};
static const char *const tokens[] = {"token"};

static int set_up(void **state)
{
    (void)state;
    scripted_kms_reset();
    scripted_kms.body = ANSWER;
    scripted_kms.secret = DATA_KEY;
    return 0;
}

/* No secret is left behind. */
static int tear_down(void **state)
{
    (void)state;
    return scripted_kms_secrets();
}

static struct postern_seal_options seal_options(unsigned flags)
{
    struct postern_seal_options options;
    postern_seal_options_init(&options);
    options.flags = flags;
    options.key_id = KEY;
    options.call.context = context;
    options.call.context_count = 2;
    options.call.grant_tokens = tokens;
    options.call.grant_token_count = 1;
    return options;
}

static struct postern_unseal_options unseal_options(const struct postern_kms_context *pairs, size_t count)
{
    struct postern_unseal_options options;
    postern_unseal_options_init(&options);
    options.call.context = pairs;
    options.call.context_count = count;
    return options;
}

static int seal_with(const struct postern_seal_options *options, struct sealed_bytes *ret)
{
    static uint8_t text[] = "hello";
    struct sealed_io io = {.in = {.data = text, .size = 5}};
    struct postern_seal_io callbacks = sealed_io(&io);
    int r = postern_seal(NULL, options, &callbacks, &err);
    *ret = io.out;
    return r;
}

static int open_with(const struct postern_unseal_options *options, struct sealed_bytes sealed,
                     struct sealed_bytes *ret)
{
    struct sealed_io io = {.in = sealed};
    struct postern_seal_io callbacks = sealed_io(&io);
    int r = postern_unseal(NULL, options, &callbacks, &err);
    *ret = io.out;
    return r;
}

static struct sealed_bytes sealed_hello(unsigned flags)
{
    struct postern_seal_options options = seal_options(flags);
    struct sealed_bytes sealed;
    assert_int_equal(seal_with(&options, &sealed), 0);
    return sealed;
}

static void assert_opens(struct sealed_bytes sealed)
{
    struct postern_unseal_options options = unseal_options(context + 1, 1);
    struct sealed_bytes opened;
    assert_int_equal(open_with(&options, sealed, &opened), 0);
    assert_int_equal(opened.size, 5);
    assert_memory_equal(opened.data, "hello", 5);
    sealed_free(&opened);
}

static void test_with_attestation(void **state)
{
    (void)state;
    struct sealed_bytes sealed = sealed_hello(0);
    assert_true(scripted_kms.attested);
    assert_string_equal(scripted_kms.operation, "GenerateDataKey");
    assert_non_null(strstr(scripted_kms.request, "\"KeyId\":\"" KEY "\""));
    assert_non_null(strstr(scripted_kms.request, "\"KeySpec\":\"AES_256\""));
    assert_non_null(strstr(scripted_kms.request, "\"token\""));
    assert_opens(sealed);
    assert_true(scripted_kms.attested);
    assert_string_equal(scripted_kms.operation, "Decrypt");
    assert_non_null(strstr(scripted_kms.request, "\"CiphertextBlob\":\"AQID\""));
    assert_non_null(strstr(scripted_kms.request, "\"KeyId\":\"" KEY "\""));
    assert_non_null(strstr(scripted_kms.request, "\"EncryptionContext\":{\"a\":\"1\",\"b\":\"2\"}"));
    sealed_free(&sealed);
}

static void test_without_attestation(void **state)
{
    (void)state;
    scripted_kms.body = OPENLY;
    struct sealed_bytes sealed = sealed_hello(POSTERN_SEAL_WITHOUT_ATTESTATION);
    assert_false(scripted_kms.attested);
    assert_non_null(strstr(scripted_kms.request, "\"KeySpec\":\"AES_256\""));
    assert_non_null(strstr(scripted_kms.request, "\"EncryptionContext\":{\"b\":\"2\",\"a\":\"1\"}"));
    assert_non_null(strstr(scripted_kms.request, "\"GrantTokens\":[\"token\"]"));
    scripted_kms.body = ANSWER;
    assert_opens(sealed);
    sealed_free(&sealed);
}

static void refused(const char *body, int expected)
{
    struct postern_seal_options options = seal_options(POSTERN_SEAL_WITHOUT_ATTESTATION);
    struct sealed_bytes sealed;
    scripted_kms.body = body;
    assert_int_equal(seal_with(&options, &sealed), expected);
    assert_int_equal(err.status, expected);
    assert_null(sealed.data);
    assert_null(strstr(err.message, ENCODED));
}

static void test_answers_that_are_none(void **state)
{
    (void)state;
    refused("{}", -EPROTO);
    refused(ANSWER, -EPROTO);
    refused("{\"CiphertextBlob\": \"AQID\", \"Plaintext\": \"" ENCODED "\"}", -EPROTO);
    refused("{\"KeyId\": \"" KEY "\", \"Plaintext\": \"" ENCODED "\"}", -EPROTO);
    refused("{\"CiphertextBlob\": \"AQ!D\", \"KeyId\": \"" KEY "\", \"Plaintext\": \"" ENCODED "\"}",
            -EPROTO);
    refused("{\"CiphertextBlob\": \"AQID\", \"KeyId\": \"" KEY "\", \"Plaintext\": \"?\"}", -EPROTO);
    refused("{\"CiphertextBlob\": \"AQID\", \"KeyId\": \"" KEY "\", \"Plaintext\": \"AAAA\"}", -EPROTO);
    refused("{\"CiphertextBlob\": \"AQID\", \"KeyId\": \"a b\", \"Plaintext\": \"" ENCODED "\"}", -EINVAL);
    scripted_kms.result = -EACCES;
    scripted_kms.error = "denied";
    refused("{}", -EACCES);
    assert_non_null(strstr(err.message, "denied"));
}

static void test_attested_keys_of_another_length(void **state)
{
    struct postern_seal_options options = seal_options(0);
    struct postern_unseal_options opening = unseal_options(NULL, 0);
    struct sealed_bytes sealed = sealed_hello(0), other;
    (void)state;
    scripted_kms.secret = "short";
    assert_int_equal(seal_with(&options, &other), -EPROTO);
    assert_int_equal(open_with(&opening, sealed, &other), -EBADMSG);
    scripted_kms.secret = "another key, which has 32 bytes.";
    assert_int_equal(open_with(&opening, sealed, &other), -EBADMSG);
    assert_null(other.data);
    sealed_free(&sealed);
}

/* Before anybody is asked. */
static void test_options(void **state)
{
    struct postern_kms_context twice[] = {{"a", "1"}, {"a", "2"}};
    struct postern_seal_options options = seal_options(2);
    struct postern_unseal_options opening = unseal_options(NULL, 0);
    struct sealed_bytes none = {.data = NULL}, out;
    (void)state;
    assert_int_equal(seal_with(&options, &out), -EINVAL);
    options = seal_options(0);
    options.key_id = NULL;
    assert_int_equal(seal_with(&options, &out), -EINVAL);
    options = seal_options(0);
    options.size = 0;
    assert_int_equal(seal_with(&options, &out), -EINVAL);
    options = seal_options(0);
    options.call.context = twice;
    assert_int_equal(seal_with(&options, &out), -EINVAL);
    for (unsigned flags = 0; flags <= POSTERN_SEAL_WITHOUT_ATTESTATION; flags++) {
        const char *const incomplete[] = {"token", NULL};
        options = seal_options(flags);
        options.call.grant_tokens = NULL;
        options.call.grant_token_count = 1;
        assert_int_equal(seal_with(&options, &out), -EINVAL);
        assert_non_null(strstr(err.message, "grant tokens"));
        options.call.grant_tokens = incomplete;
        options.call.grant_token_count = 2;
        assert_int_equal(seal_with(&options, &out), -EINVAL);
        assert_non_null(strstr(err.message, "a grant token is missing"));
        options = seal_options(flags);
        options.call.reserved[3] = "something new";
        assert_int_equal(seal_with(&options, &out), -EINVAL);
        assert_non_null(strstr(err.message, "not known to this version"));
    }
    opening.flags = 1;
    assert_int_equal(open_with(&opening, none, &out), -EINVAL);
    opening = unseal_options(NULL, 0);
    opening.size = 0;
    assert_int_equal(open_with(&opening, none, &out), -EINVAL);
    opening = unseal_options(NULL, 0);
    assert_int_equal(open_with(&opening, none, &out), -EBADMSG);
    assert_int_equal(scripted_kms.calls, 0);
}

static void test_another_key(void **state)
{
    struct postern_unseal_options options = unseal_options(NULL, 0);
    struct sealed_bytes sealed = sealed_hello(0), out;
    (void)state;
    options.key_id = "other";
    scripted_kms.result = -EREMOTEIO;
    scripted_kms.type = "IncorrectKeyException";
    assert_int_equal(open_with(&options, sealed, &out), -EPERM);
    assert_int_equal(err.status, -EPERM);
    assert_string_equal(err.word, "IncorrectKeyException");
    assert_non_null(strstr(err.message, "it was sealed under another key than other"));
    options.key_id = NULL;
    assert_int_equal(open_with(&options, sealed, &out), -EPERM);
    assert_non_null(strstr(err.message, "it was sealed under another key than " KEY));
    scripted_kms.type = "DisabledException";
    assert_int_equal(open_with(&options, sealed, &out), -EREMOTEIO);
    sealed_free(&sealed);
}

/* Built with a header that has more in it: that counts only if it is set. */
static void test_newer_options(void **state)
{
    struct {
        struct postern_seal_options known;
        size_t more;
    } sealing = {.known = seal_options(0)};
    struct {
        struct postern_unseal_options known;
        size_t more;
    } opening = {.known = unseal_options(NULL, 0)};
    struct sealed_bytes sealed, out;

    (void)state;
    sealing.known.size = sizeof sealing;
    opening.known.size = sizeof opening;
    assert_int_equal(seal_with(&sealing.known, &sealed), 0);
    assert_int_equal(open_with(&opening.known, sealed, &out), 0);
    sealed_free(&out);
    sealing.more = opening.more = 1;
    assert_int_equal(seal_with(&sealing.known, &out), -EINVAL);
    assert_int_equal(open_with(&opening.known, sealed, &out), -EINVAL);
    sealed_free(&sealed);
}

/* The parent gives the enclave its AWS credentials, and an alias is of their account. */
static void test_aliases(void **state)
{
    struct postern_seal_options sealing = seal_options(0);
    struct sealed_bytes sealed = sealed_hello(0), out;
    struct postern_unseal_options opening = unseal_options(NULL, 0);
    unsigned calls = scripted_kms.calls;
    (void)state;
    sealing.key_id = opening.key_id = "alias/results";
    assert_int_equal(seal_with(&sealing, &out), -EINVAL);
    assert_non_null(strstr(err.message, "alias/results may be of any account"));
    assert_int_equal(out.size, 0);
    assert_int_equal(open_with(&opening, sealed, &out), -EINVAL);
    assert_non_null(strstr(err.message, "name the KMS key by its ARN"));
    assert_int_equal(scripted_kms.calls, calls);
    /* The ARN of an alias says which account; who seals outside of enclaves has credentials of the right one. */
    sealing.key_id = "arn:aws:kms:us-east-1:111122223333:alias/results";
    sealed_free(&sealed);
    assert_int_equal(seal_with(&sealing, &sealed), 0);
    assert_non_null(strstr(scripted_kms.request, sealing.key_id));
    sealed_free(&sealed);
    sealing.key_id = "alias/results";
    sealing.flags = POSTERN_SEAL_WITHOUT_ATTESTATION;
    scripted_kms.body = OPENLY;
    assert_int_equal(seal_with(&sealing, &sealed), 0);
    sealed_free(&sealed);
}

static void test_contexts(void **state)
{
    static const struct postern_kms_context other[] = {{"a", "2"}}, missing[] = {{"c", "1"}};
    struct sealed_bytes sealed = sealed_hello(0), out;
    struct postern_unseal_options options = unseal_options(other, 1);
    unsigned calls = scripted_kms.calls;
    (void)state;
    assert_int_equal(open_with(&options, sealed, &out), -EPERM);
    options = unseal_options(missing, 1);
    assert_int_equal(open_with(&options, sealed, &out), -EPERM);
    options = unseal_options((struct postern_kms_context[]){{"a", NULL}}, 1);
    assert_int_equal(open_with(&options, sealed, &out), -EINVAL);
    options = unseal_options(NULL, 1);
    assert_int_equal(open_with(&options, sealed, &out), -EINVAL);
    assert_int_equal(scripted_kms.calls, calls);
    options.call.context_count = 0;
    options.key_id = "mine";
    scripted_kms.result = -EREMOTEIO;
    assert_int_equal(open_with(&options, sealed, &out), -EREMOTEIO);
    assert_non_null(strstr(scripted_kms.request, "\"KeyId\":\"mine\""));
    sealed_free(&sealed);
}

static void test_failing_io(void **state)
{
    struct postern_seal_options options = seal_options(0);
    struct sealed_io io = {.write_max = 1};
    struct postern_seal_io callbacks = sealed_io(&io);
    (void)state;
    assert_int_equal(postern_seal(NULL, &options, &callbacks, &err), -ENOSPC);
    assert_non_null(strstr(err.message, "cannot write"));
    assert_int_equal(postern_seal(NULL, &options, &callbacks, NULL), -ENOSPC);
}

static void test_describe(void **state)
{
    struct sealed_bytes sealed = sealed_hello(0);
    struct sealed_io io = {.in = sealed};
    struct postern_seal_io callbacks = sealed_io(&io);
    struct postern_sealed said;
    (void)state;
    assert_int_equal(postern_sealed_describe(&callbacks, &said, &err), 0);
    assert_string_equal(said.key_id, KEY);
    assert_int_equal(said.context_count, 2);
    assert_string_equal(said.context[0].key, "a");
    postern_sealed_release(&said);
    assert_int_equal(postern_sealed_describe(&callbacks, &said, &err), -EBADMSG);
    sealed_free(&sealed);
}

static void both_ways(void *arg)
{
    struct postern_seal_options options = seal_options(*(const unsigned *)arg);
    struct postern_unseal_options opening = unseal_options(context, 2);
    struct sealed_bytes sealed, opened = {.data = NULL};
    int r = seal_with(&options, &sealed);
    if (r == 0) {
        r = open_with(&opening, sealed, &opened);
    }
    assert_true(r <= 0);
    if (r == 0) {
        assert_int_equal(opened.size, 5);
    }
    sealed_free(&opened);
    sealed_free(&sealed);
    assert_int_equal(scripted_kms_secrets(), 0);
}

static void test_out_of_memory(void **state)
{
    unsigned attested = 0, openly = POSTERN_SEAL_WITHOUT_ATTESTATION;
    (void)state;
    scripted_kms.body = OPENLY;
    assert_true(fault_loop("seal_kms", FAULT_MEMORY, both_ways, &openly) >= 10);
    scripted_kms.body = ANSWER;
    assert_true(fault_loop("seal_kms attested", FAULT_MEMORY, both_ways, &attested) >= 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_with_attestation),
        TEST(test_without_attestation),
        TEST(test_answers_that_are_none),
        TEST(test_attested_keys_of_another_length),
        TEST(test_options),
        TEST(test_another_key),
        TEST(test_newer_options),
        TEST(test_aliases),
        TEST(test_contexts),
        TEST(test_failing_io),
        TEST(test_describe),
        TEST(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("kms/seal_kms", tests, NULL, NULL);
}
