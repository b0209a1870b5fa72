/* Tests of the client for KMS on bad days: what KMS, the way to it, or the NSM may do instead of what they should. */
#include "fake_kms.h"
#include "kms/call.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct fake_kms fake;
static struct postern_kms_options options;
static struct postern_kms *kms;
static struct postern_error err;

/* ---- Names ---- */

int __wrap_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret);
void __wrap_freeaddrinfo(struct addrinfo *found);

static struct sockaddr_in addresses[2];
static struct addrinfo found[2];

/* two.test is at 127.0.0.2, where nobody listens, and at 127.0.0.1. */
int __wrap_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret)
{
    (void)hints;
    if (strcmp(name, "two.test") != 0) {
        return strcmp(name, "memory.test") == 0 ? EAI_MEMORY : EAI_NONAME;
    }
    for (int i = 0; i < 2; i++) {
        addresses[i] = (struct sockaddr_in){.sin_family = AF_INET,
                                            .sin_port = htons((uint16_t)atoi(service)),
                                            .sin_addr = {htonl(INADDR_LOOPBACK + 1 - (unsigned)i)}};
        found[i] = (struct addrinfo){.ai_family = AF_INET,
                                     .ai_socktype = SOCK_STREAM,
                                     .ai_addr = (struct sockaddr *)&addresses[i],
                                     .ai_addrlen = sizeof addresses[i],
                                     .ai_next = i == 0 ? &found[1] : NULL};
    }
    *ret = found;
    return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *list)
{
    assert_ptr_equal(list, found);
}

/* ---- A client ---- */

static int set_up(void **state)
{
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

#define SECRET "a secret that nobody tells"

static int decrypt(void)
{
    struct postern_kms_decrypt_request request;
    struct postern_secret secret = {.data = NULL};

    postern_kms_decrypt_request_init(&request);
    request.ciphertext = SECRET;
    request.ciphertext_length = sizeof SECRET - 1;
    memset(&err, 0, sizeof err);
    int status = postern_kms_decrypt(kms, &request, &secret, &err);
    assert_true((status == 0) == (secret.data != NULL));
    assert_null(strstr(err.message, "a secret"));
    postern_secret_wipe(&secret);
    return status;
}

static void assert_fails(int status, const char *words)
{
    int got = decrypt();

    if (got != status || !strstr(err.message, words)) {
        fail_msg("%d instead of %d, or without \"%s\": %s", got, status, words, err.message);
    }
    assert_int_equal(err.status, status);
}

static void assert_works(void)
{
    if (decrypt() != 0) {
        fail_msg("%s", err.message);
    }
}

static unsigned requests(void)
{
    return atomic_exchange(&fake.script->requests, 0);
}

/* ---- What KMS answers ---- */

static void test_errors_by_their_names(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        int status;
        const char *word;
    } cases[] = {
        {"AccessDeniedException", -EACCES, "AccessDeniedException"},
        {"com.amazonaws.kms#NotFoundException", -EREMOTEIO, "NotFoundException"},
        {"InvalidCiphertextException", -EREMOTEIO, "InvalidCiphertextException"},
        {"ValidationException", -EREMOTEIO, "ValidationException"},
        {"UnrecognizedClientException", -ENOKEY, "UnrecognizedClientException"},
        {"ExpiredTokenException", -ENOKEY, "ExpiredTokenException"},
        {"NeverHeardOfException", -EREMOTEIO, "unknown"},
        {"what is no name", -EREMOTEIO, ""},
        {"", -EREMOTEIO, ""},
    };
    char json[256];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(json, sizeof json, "{\"__type\":\"%s\",\"message\":\"no \\u0007\\nway\"}", cases[i].type);
        fake_kms_answer_json(&fake, 1, 400, "x-amzn-RequestId: abc-123\r\n", json);
        assert_fails(cases[i].status, "Decrypt: KMS answers ");
        assert_non_null(strstr(err.message, ": no \\u0007\\nway (status 400), request abc-123"));
        assert_string_equal(err.word, cases[i].word);
        assert_int_equal(err.retryable, 0);
        assert_int_equal(requests(), 1); /* none is worth another try, and these keys are all there are */
    }
    assert_works();
}

static void test_throttling_is_waited_out(void **state)
{
    (void)state;
    fake_kms_answer_json(&fake, 3, 400, "", "{\"__type\":\"ThrottlingException\"}");
    assert_works();
    assert_int_equal(requests(), 4);
    fake_kms_answer_json(&fake, 1, 503, "", "<html>");
    assert_works();
    assert_int_equal(requests(), 2);
    fake_kms_answer_json(&fake, 1, 500, "", "{\"__type\":\"KMSInternalException\"}");
    assert_works();
}

static void test_throttling_to_the_end(void **state)
{
    (void)state;
    options.timeout_ms = 400;
    fake_kms_client(&options, &kms);
    fake_kms_answer_json(&fake, 1000, 400, "",
                         "{\"__type\":\"ThrottlingException\",\"message\":\"Rate exceeded\"}");
    int status = decrypt();
    /* On a slow machine the time may be over in the middle of a try. */
    assert_true(status == -EBUSY || status == -ETIMEDOUT);
    assert_int_equal(err.retryable, 1);
    if (status == -EBUSY) {
        assert_string_equal(err.word, "ThrottlingException");
        assert_non_null(strstr(err.message, "Rate exceeded"));
    }
}

static void test_plaintext_is_refused(void **state)
{
    (void)state;
    static const char *const fields[] = {"Plaintext", "PrivateKeyPlaintext", "SharedSecret"};

    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        strcpy(fake.script->field, fields[i]);
        fake_kms_answer(&fake, FAKE_CLEAR, 1);
        assert_fails(-EBADMSG, "KMS answered in the clear (");
        assert_non_null(strstr(err.message, fields[i]));
    }
    fake_kms_answer_json(&fake, 1, 200, "",
                         "{\"Plaintext\":[\"c2VjcmV0\"],\"CiphertextForRecipient\":\"AAAA\"}");
    assert_fails(-EBADMSG, "in the clear");
    assert_works();
}

static void test_what_cannot_be_opened_is_refused(void **state)
{
    (void)state;
    fake_kms_answer(&fake, FAKE_MISSING, 1);
    assert_fails(-EBADMSG, "KMS's answer has no CiphertextForRecipient");
    fake_kms_answer(&fake, FAKE_BAD_BLOB, 1);
    assert_fails(-EBADMSG, "no CiphertextForRecipient that can be read");
    fake_kms_answer(&fake, FAKE_WRONG_KEY, 1);
    assert_fails(-EBADMSG, "not for this enclave");
    fake_kms_answer_json(&fake, 1, 200, "", "{\"CiphertextForRecipient\":\"AAAA\"}");
    assert_fails(-EBADMSG, "cannot open");
    fake_kms_answer_json(&fake, 1, 200, "", "{\"CiphertextForRecipient\":7}");
    assert_fails(-EBADMSG, "no CiphertextForRecipient");
    fake_kms_answer_json(&fake, 1, 200, "", "");
    assert_fails(-EBADMSG, "no CiphertextForRecipient");
}

static void test_garbage(void **state)
{
    (void)state;
    fake_kms_answer_raw(&fake, 1, "SSH-2.0-OpenSSH_9.2\r\n\r\n");
    assert_fails(-EPROTO, "reading the answer: ");
    fake_kms_answer_json(&fake, 1, 200, "", "<html>");
    assert_fails(-EPROTO, "no JSON object");
    fake_kms_answer_json(&fake, 1, 200, "", "[]");
    assert_fails(-EPROTO, "no JSON object");
    fake_kms_answer_raw(&fake, 1,
                        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_fails(-EPROTO, "reading the answer: ");
    fake_kms_answer_raw(&fake, 1, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}and what nobody asked for");
    assert_fails(-EBADMSG, "no CiphertextForRecipient");
    assert_works(); /* on a connection of its own */
}

static void test_too_much(void **state)
{
    (void)state;
    fake_kms_answer(&fake, FAKE_HUGE, 1);
    assert_fails(-EPROTO, "over a bound");
    fake_kms_answer_raw(&fake, 1, "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
    assert_fails(-EPROTO, "over a bound");
    assert_works();
}

static void test_half_an_answer(void **state)
{
    (void)state;
    atomic_store(&fake.script->close_after, true);
    fake_kms_answer_raw(&fake, 1, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"Ke");
    assert_fails(-ENOTCONN, "reading the answer: ");
    fake_kms_answer_raw(&fake, 1, "HTTP/1.1 200 O");
    assert_fails(-ENOTCONN, "reading the answer: ");
    assert_int_equal(requests(), 2);
}

static void test_silence(void **state)
{
    (void)state;
    struct postern_kms_decrypt_request request;
    struct postern_secret secret;

    assert_works();
    requests();
    postern_kms_decrypt_request_init(&request);
    request.ciphertext = "abc";
    request.ciphertext_length = 3;
    request.call.timeout_ms = 100;
    /* Whether the request comes to the one who is silent within that time, or later, or was never sent, is the machine's choice. */
    fake_kms_answer(&fake, FAKE_SILENT, UINT_MAX);
    assert_int_equal(postern_kms_decrypt(kms, &request, &secret, &err), -ETIMEDOUT);
    assert_int_equal(err.retryable, 1);
    fake_kms_answer(&fake, FAKE_GOOD, 0);
    assert_works();
}

static void test_closed_instead(void **state)
{
    (void)state;
    fake_kms_answer(&fake, FAKE_CLOSE, 1);
    assert_fails(-ENOTCONN, "reading the answer: ");
    assert_works();
    /* A kept one may have died while nobody looked: once more, on a new one. */
    fake_kms_answer(&fake, FAKE_CLOSE, 1);
    assert_works();
    fake_kms_answer(&fake, FAKE_CLOSE, 2);
    assert_fails(-ENOTCONN, "reading the answer: ");
}

static bool outcome_unknown; /* of the last call() */

static int call(const char *operation)
{
    struct kms_answer answer;
    struct error why = ERROR_INIT;
    json_t *request = json_object();
    int status = kms_call(kms, operation, request, kms_deadline(kms, 0), &answer, &why);

    snprintf(err.message, sizeof err.message, "%s", why.text);
    outcome_unknown = answer.unknown;
    kms_answer_release(&answer);
    json_decref(request);
    return status;
}

/* What was sent, and cut off, may have been carried out. */
static void test_what_is_not_repeated(void **state)
{
    (void)state;
    static const char *const harmless[] = {"Decrypt", "GenerateDataKeyWithoutPlaintext", "ListKeys", "Sign"};
    static const char *const others[] = {"CreateKey", "DisableKey", "ScheduleKeyDeletion", "NeverHeardOf"};

    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++) {
        assert_int_equal(call(harmless[i]), 0);
        fake_kms_answer(&fake, FAKE_CLOSE, 1);
        assert_int_equal(call(harmless[i]), 0);
        fake_kms_answer_json(&fake, 1, 500, "", "{\"__type\":\"KMSInternalException\"}");
        assert_int_equal(call(harmless[i]), 0);
        assert_int_equal(requests(), 5);
        fake_kms_answer_json(&fake, 1, 200, "", "no JSON");
        assert_int_equal(call(harmless[i]), -EPROTO);
        assert_false(outcome_unknown);
        requests();
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(call(others[i]), 0);
        fake_kms_answer(&fake, FAKE_CLOSE, 1);
        assert_int_equal(call(others[i]), -ENOTCONN);
        assert_true(outcome_unknown);
        assert_non_null(
            strstr(err.message, "whether KMS carried it out is not known, and it is not repeated"));
        fake_kms_answer_json(&fake, 1, 500, "", "{\"__type\":\"KMSInternalException\"}");
        assert_int_equal(call(others[i]), -EBUSY);
        assert_false(outcome_unknown); /* KMS has told */
        assert_int_equal(requests(), 3);
        fake_kms_answer_json(&fake, 1, 200, "", "no JSON");
        assert_int_equal(call(others[i]), -EPROTO);
        assert_true(outcome_unknown);
        requests();
        /* Nothing was done, or nothing was sent. */
        fake_kms_answer_json(&fake, 1, 400, "", "{\"__type\":\"ThrottlingException\"}");
        assert_int_equal(call(others[i]), 0);
        fake_kms_answer_json(&fake, 1, 429, "", "{}");
        assert_int_equal(call(others[i]), 0);
        assert_int_equal(requests(), 4);
    }
    /* All connections end behind their next answer, the one that is there maybe before that. */
    atomic_store(&fake.script->close_after, true);
    assert_int_equal(call("ListKeys"), 0);
    while (atomic_load(&fake.script->closed) != atomic_load(&fake.script->connections)) {
        usleep(1000);
    }
    requests();
    assert_int_equal(call("CreateKey"), 0);
    assert_int_equal(requests(), 1);
}

/* A request of that many bytes in all. */
static int encrypt_much(size_t size)
{
    static const char frame[] = "{\"Plaintext\":\"\"}";
    struct kms_answer answer;
    struct error why;
    char *text = malloc(size);

    assert_non_null(text);
    memset(text, 'A', size);
    json_t *request = json_pack("{s:s#}", "Plaintext", text, (int)(size - (sizeof frame - 1)));
    int status = kms_call(kms, "Encrypt", request, kms_deadline(kms, 0), &answer, &why);
    if (status != 0) {
        snprintf(err.message, sizeof err.message, "%s", why.text);
    }
    kms_answer_release(&answer);
    json_decref(request);
    free(text);
    return status;
}

static void test_large_requests(void **state)
{
    (void)state;
    assert_int_equal(encrypt_much(KMS_REQUEST_MAX - 1), 0);
    assert_int_equal(encrypt_much(KMS_REQUEST_MAX), 0);
    assert_int_equal(encrypt_much(KMS_REQUEST_MAX + 1), -EINVAL);
    assert_string_equal(err.message, "Encrypt: the request is larger than 524288 bytes");
    assert_int_equal(requests(), 2);
}

/* ---- Who answers ---- */

static void test_another_name(void **state)
{
    (void)state;
    options.host = "kms.other-1.amazonaws.com";
    fake_kms_client(&options, &kms);
    assert_fails(-EKEYREJECTED, "who answers is not kms.other-1.amazonaws.com");
    assert_non_null(strstr(err.message, "see where the way leads"));
    options.host = "127.0.0.1";
    fake_kms_client(&options, &kms);
    assert_fails(-EKEYREJECTED, "who answers is not 127.0.0.1");
    assert_int_equal(requests(), 0);
}

static void test_another_issuer(void **state)
{
    (void)state;
    struct authority other;

    authority_open(&other);
    options.ca_file = other.ca_file;
    fake_kms_client(&options, &kms);
    assert_fails(-EKEYREJECTED, other.ca_file);
    assert_int_equal(requests(), 0);
    authority_close(&other);
}

static void test_an_expired_certificate(void **state)
{
    (void)state;
    fake_kms_close(&fake);
    fake_kms_open(&fake, "DNS:" FAKE_HOST, -60);
    fake_kms_options(&fake, &options);
    fake_kms_client(&options, &kms);
    assert_fails(-EKEYREJECTED, "see that the enclave's clock is right");
    assert_int_equal(requests(), 0);
}

static void test_an_address_for_a_name(void **state)
{
    (void)state;
    fake_kms_close(&fake);
    fake_kms_open(&fake, "IP:127.0.0.1", 3600);
    fake_kms_options(&fake, &options);
    options.host = "127.0.0.1";
    fake_kms_client(&options, &kms);
    assert_works();
}

static void test_nobody_answers(void **state)
{
    (void)state;
    options.raw_address = "unix:///nowhere/at/all";
    fake_kms_client(&options, &kms);
    assert_fails(-ENOTCONN, "cannot connect to unix:///nowhere/at/all: No such file or directory");
    options.raw_address = "tcp://nowhere.invalid:443";
    fake_kms_client(&options, &kms);
    assert_fails(-ENOTCONN, "the name was not found");
    options.raw_address = "tcp://memory.test:443";
    fake_kms_client(&options, &kms);
    assert_fails(-ENOMEM, "the name was not found");
    /* The NSM is no TLS server. */
    options.raw_address = fake.nsm;
    options.timeout_ms = 5000;
    fake_kms_client(&options, &kms);
    int status = decrypt();
    assert_true(status == -ENOTCONN || status == -EPROTO || status == -ETIMEDOUT);
}

static void test_a_name_of_several_addresses(void **state)
{
    (void)state;
    char address[64];

    snprintf(address, sizeof address, "tcp://two.test:%s", strrchr(fake.address, ':') + 1);
    options.raw_address = address;
    fake_kms_client(&options, &kms);
    assert_works();
}

/* ---- Keys, and time ---- */

static void test_a_wrong_clock(void **state)
{
    (void)state;
    char head[64];
    time_t then = time(NULL) - 7200;
    struct tm tm;

    strftime(head, sizeof head, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime_r(&then, &tm));
    fake_kms_answer_json(&fake, 1, 400, head, "{\"__type\":\"InvalidSignatureException\"}");
    assert_fails(-ENOKEY, "seconds ahead of that of KMS: set it");
    then += 4 * 7200;
    strftime(head, sizeof head, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime_r(&then, &tm));
    fake_kms_answer_json(&fake, 1, 400, head, "{\"__type\":\"InvalidSignatureException\"}");
    assert_fails(-ENOKEY, "seconds behind that of KMS: set it");
    fake_kms_answer_json(&fake, 1, 400, "Date: now\r\n", "{\"__type\":\"InvalidSignatureException\"}");
    assert_fails(-ENOKEY, "InvalidSignatureException");
    assert_null(strstr(err.message, "clock"));
    fake_kms_answer_json(&fake, 1, 400, head, "{\"__type\":\"UnrecognizedClientException\"}");
    assert_fails(-ENOKEY, "UnrecognizedClientException");
    assert_null(strstr(err.message, "clock"));
}

static void write_file(const char *path, const char *id)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fprintf(file, "[default]\naws_access_key_id = %s\naws_secret_access_key = s\n", id);
    assert_int_equal(fclose(file), 0);
}

static void test_keys_that_were_replaced(void **state)
{
    (void)state;
    char path[128];

    snprintf(path, sizeof path, "%s/credentials", fake.authority.directory);
    write_file(path, "FIRST");
    options.access_key_id = options.secret_access_key = NULL;
    options.credentials = "file";
    options.credentials_file = path;
    fake_kms_client(&options, &kms);
    assert_works();
    assert_non_null(strstr(fake.script->last, "Credential=FIRST/"));
    write_file(path, "SECOND");
    fake_kms_answer_json(&fake, 1, 400, "", "{\"__type\":\"ExpiredTokenException\"}");
    assert_works();
    assert_non_null(strstr(fake.script->last, "Credential=SECOND/"));
    requests();
    fake_kms_answer_json(&fake, 5, 400, "", "{\"__type\":\"ExpiredTokenException\"}");
    assert_fails(-ENOKEY, "ExpiredTokenException");
    assert_int_equal(requests(), 2); /* it is tried once */
    assert_int_equal(unlink(path), 0);
    assert_fails(-ENOKEY, "cannot open it");
}

/* ---- The NSM ---- */

static void test_an_nsm_that_fails(void **state)
{
    (void)state;
    atomic_store(&fake.script->nsm_fails, true);
    assert_fails(-EIO, "the NSM refuses Attestation: InvalidOperation");
    atomic_store(&fake.script->nsm_fails, false);
    atomic_store(&fake.script->nsm_babbles, true);
    assert_fails(-EIO, "not what it should be");
    atomic_store(&fake.script->nsm_babbles, false);
    atomic_store(&fake.script->nsm_closes, true);
    assert_fails(-EIO, "gave no answer");
    atomic_store(&fake.script->nsm_closes, false);
    assert_int_equal(requests(), 0);
    assert_works();
    options.insecure_nsm = "unix:///nowhere/at/all";
    fake_kms_client(&options, &kms);
    assert_fails(-ENODEV, "the INSECURE software NSM: cannot connect");
    options.insecure_nsm = "nowhere";
    fake_kms_client(&options, &kms);
    assert_fails(-EINVAL, "the INSECURE software NSM");
}

static void test_no_enclave(void **state)
{
    (void)state;
    if (access("/dev/nsm", F_OK) == 0) {
        skip();
    }
    options.insecure_nsm = NULL;
    fake_kms_client(&options, &kms);
    assert_fails(-ENODEV, "this is no Nitro Enclave");
    options.flags = POSTERN_KMS_KEY_PER_CALL;
    fake_kms_client(&options, &kms);
    assert_fails(-ENODEV, "this is no Nitro Enclave");
    assert_int_equal(requests(), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_errors_by_their_names),
        TEST(test_throttling_is_waited_out),
        TEST(test_throttling_to_the_end),
        TEST(test_plaintext_is_refused),
        TEST(test_what_cannot_be_opened_is_refused),
        TEST(test_garbage),
        TEST(test_too_much),
        TEST(test_half_an_answer),
        TEST(test_silence),
        TEST(test_closed_instead),
        TEST(test_what_is_not_repeated),
        TEST(test_large_requests),
        TEST(test_another_name),
        TEST(test_another_issuer),
        TEST(test_an_expired_certificate),
        TEST(test_an_address_for_a_name),
        TEST(test_nobody_answers),
        TEST(test_a_name_of_several_addresses),
        TEST(test_a_wrong_clock),
        TEST(test_keys_that_were_replaced),
        TEST(test_an_nsm_that_fails),
        TEST(test_no_enclave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
