/* A software NSM's documents, judged by the verifier of genuine ones, and told from genuine ones by nothing but their root. Its
 * requests one by one: tests/system/test_sim_nsm.py. */
#include "sim/nsm.h"

#include "attest/verify.h"
#include "fault.h"
#include "nsm/answer.h"
#include "nsm/nsm.h"
#include "sim/cbor.h"
#include "sim/certificate.h"
#include <errno.h>
#include <openssl/err.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct sim_chain chain;
static struct sim_clock its_time;
static struct sim_nsm nsm;
static struct error err;

static int setup(void **state)
{
    (void)state;
    return sim_chain_open(&chain, NULL, "us-east-1", "i-0123456789abcdef0", time(NULL), &err) ||
           sim_nsm_init(&nsm, &chain, &its_time, "");
}

static int teardown(void **state)
{
    (void)state;
    sim_nsm_release(&nsm);
    sim_chain_close(&chain);
    return 0;
}

static void add_request(struct text *out, size_t nonce_size)
{
    static const uint8_t nonce[2000];

    sim_cbor_map(out, 1);
    sim_cbor_text(out, "Attestation");
    sim_cbor_map(out, 1);
    sim_cbor_text(out, "nonce");
    sim_cbor_bytes(out, nonce, nonce_size);
}

/* The answer to a request for a document; its size, and where the document is in it. */
static struct text attest(struct attest_bytes *ret)
{
    struct text request = TEXT_INIT, answer = TEXT_INIT;
    struct answer whole, inner, document;
    const char *operation;

    add_request(&request, 20);
    assert_int_equal(sim_nsm_answer(&nsm, (const uint8_t *)request.data, request.length, &answer, &operation),
                     0);
    assert_string_equal(operation, "Attestation");
    assert_true(answer_is_whole((const uint8_t *)answer.data, answer.length, ANSWER_ITEMS_MAX, &whole));
    assert_true(answer_find(&whole, "Attestation", &inner));
    assert_true(answer_find(&inner, "document", &document));
    assert_true(answer_bytes(&document, &ret->data, &ret->size));
    text_release(&request);
    return answer;
}

static void expect(struct attest_expected *expected)
{
    attest_expect(expected, sim_now(&its_time));
    memcpy(expected->root, chain.fingerprint, sizeof expected->root);
    expected->debug_too = true;
    expected->max_age_ms = 5000;
}

static void test_a_document_verifies(void **state)
{
    (void)state;
    struct attest_bytes bytes;
    struct attest_document document;
    struct attest_expected expected;
    struct text answer = attest(&bytes);

    assert_int_equal(attest_parse(bytes.data, bytes.size, &document, &err), 0);
    expect(&expected);
    if (attest_verify(&document, &expected, &err) != 0) {
        fail_msg("%s", err.text);
    }
    memcpy(expected.root, attest_aws_root, sizeof expected.root);
    assert_int_equal(attest_verify(&document, &expected, &err), -EKEYREJECTED);
    assert_int_equal(document.bundle_count, SIM_CHAIN_DEPTH);
    assert_int_equal(document.nonce.size, 20);
    assert_null(document.public_key.data);
    assert_non_null(document.pcrs[15].data);
    assert_null(document.pcrs[16].data);
    text_release(&answer);
}

/* The clock of the simulator goes on by itself: a leaf of three hours is made anew in time. */
static void test_the_leaf_is_renewed(void **state)
{
    (void)state;
    static const int64_t hours[] = {0, 1, 2, 4, 7, 0};

    for (size_t i = 0; i < sizeof hours / sizeof *hours; i++) {
        struct attest_bytes bytes;
        struct attest_document document;
        struct attest_expected expected;
        atomic_store(&its_time.offset_ms, hours[i] * 3600 * 1000);
        struct text answer = attest(&bytes);
        assert_int_equal(attest_parse(bytes.data, bytes.size, &document, &err), 0);
        expect(&expected);
        if (attest_verify(&document, &expected, &err) != 0) {
            fail_msg("%s", err.text);
        }
        text_release(&answer);
    }
}

/* ---- As genuine ones ---- */

/* What a text of OpenSSL's says of a certificate, without what is its own: numbers, keys, names, times. */
static void describe(const struct attest_bytes *der, char *text, size_t size)
{
    const uint8_t *at = der->data;
    X509 *certificate = d2i_X509(NULL, &at, (long)der->size);
    size_t length = 0;

    assert_non_null(certificate);
    length += (size_t)snprintf(text, size, "version %ld, %s, key %d;", X509_get_version(certificate),
                               OBJ_nid2sn(X509_get_signature_nid(certificate)),
                               EVP_PKEY_get_bits(X509_get0_pubkey(certificate)));
    const X509_NAME *subject = X509_get_subject_name(certificate);
    for (int i = 0; i < X509_NAME_entry_count(subject); i++) {
        X509_NAME_ENTRY *entry = X509_NAME_get_entry(subject, i);
        length += (size_t)snprintf(text + length, size - length, " %s",
                                   OBJ_nid2sn(OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry))));
    }
    for (int i = 0; i < X509_get_ext_count(certificate); i++) {
        X509_EXTENSION *extension = X509_get_ext(certificate, i);
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
        if (nid == NID_crl_distribution_points) {
            continue; /* which leads nowhere that a verifier could go */
        }
        length += (size_t)snprintf(text + length, size - length, ", %s%s", OBJ_nid2sn(nid),
                                   X509_EXTENSION_get_critical(extension) ? "!" : "");
        ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(extension);
        for (int byte = 0;
             byte < ASN1_STRING_length(value) && (nid == NID_basic_constraints || nid == NID_key_usage);
             byte++) {
            length +=
                (size_t)snprintf(text + length, size - length, "%02x", ASN1_STRING_get0_data(value)[byte]);
        }
    }
    X509_free(certificate);
}

static void compare(const struct attest_bytes *own, const struct attest_bytes *genuine)
{
    char ours[512], theirs[512];

    describe(own, ours, sizeof ours);
    describe(genuine, theirs, sizeof theirs);
    assert_string_equal(ours, theirs);
}

static void test_certificates_as_genuine_ones(void **state)
{
    (void)state;
    uint8_t data[ATTEST_DOCUMENT_MAX];
    struct attest_document own, genuine;
    struct attest_bytes bytes;
    FILE *in = fopen(SHARED_DATA "/attestation-1.cbor", "r");

    if (!in) {
        print_message("skipped: there is no %s/attestation-1.cbor\n", SHARED_DATA);
        skip();
    }
    size_t size = fread(data, 1, sizeof data, in);
    fclose(in);
    assert_int_equal(attest_parse(data, size, &genuine, &err), 0);
    struct text answer = attest(&bytes);
    assert_int_equal(attest_parse(bytes.data, bytes.size, &own, &err), 0);
    assert_int_equal(own.bundle_count, genuine.bundle_count);
    for (unsigned i = 0; i < own.bundle_count; i++) {
        compare(&own.bundle[i], &genuine.bundle[i]);
    }
    compare(&own.certificate, &genuine.certificate);
    assert_int_equal(own.protected_header.size, genuine.protected_header.size);
    assert_memory_equal(own.protected_header.data, genuine.protected_header.data,
                        genuine.protected_header.size);
    /* Up to the module's id: the tag, the head, the map and its first key. */
    assert_memory_equal(bytes.data, data, 8);
    assert_memory_equal(own.payload.data, genuine.payload.data, 11);
    text_release(&answer);
}

/* ---- The rest ---- */

static void test_a_request_that_is_too_large(void **state)
{
    (void)state;
    uint8_t request[NSM_REQUEST_MAX + 1] = {0};
    struct text answer = TEXT_INIT;
    struct answer whole, name;
    const char *operation, *text = NULL;
    size_t length = 0;

    assert_int_equal(sim_nsm_answer(&nsm, request, sizeof request, &answer, &operation), 0);
    assert_true(answer_is_whole((const uint8_t *)answer.data, answer.length, ANSWER_ITEMS_MAX, &whole));
    assert_true(answer_find(&whole, "Error", &name) && answer_text(&name, &text, &length));
    assert_int_equal(length, strlen("InputTooLarge"));
    assert_memory_equal(text, "InputTooLarge", length);
    text_release(&answer);
}

/* The largest that there can be still fits into what the driver gives. */
static void test_the_largest_document(void **state)
{
    (void)state;
    static uint8_t field[ATTEST_FIELD_MAX];
    struct text request = TEXT_INIT, answer = TEXT_INIT;
    const char *operation;

    sim_cbor_map(&request, 1);
    sim_cbor_text(&request, "Attestation");
    sim_cbor_map(&request, 3);
    static const char *const names[] = {"user_data", "nonce", "public_key"};
    for (size_t i = 0; i < 3; i++) {
        sim_cbor_text(&request, names[i]);
        sim_cbor_bytes(&request, field, sizeof field);
    }
    assert_true(request.length <= NSM_REQUEST_MAX);
    assert_int_equal(sim_nsm_answer(&nsm, (const uint8_t *)request.data, request.length, &answer, &operation),
                     0);
    assert_in_range(answer.length, 3 * ATTEST_FIELD_MAX, NSM_RESPONSE_MAX);
    text_release(&request);
    text_release(&answer);
}

static void test_extending(void **state)
{
    (void)state;
    uint8_t pcr[SIM_PCR] = {0};

    sim_pcr_extend(pcr, "i-04fd167167daacf3b", 19);
    /* What PCR4 of a genuine document of that instance begins with. */
    assert_memory_equal(pcr, "\x45\x54\x04\x23\x39\xe6\xa1\xdd\xfa\xc8\x9d\xb7", 12);
}

static void ask(void *arg)
{
    const struct text *request = arg;
    struct text answer = TEXT_INIT;
    const char *operation;

    (void)!sim_nsm_answer(&nsm, (const uint8_t *)request->data, request->length, &answer, &operation);
    text_release(&answer);
    ERR_clear_error();
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct text request = TEXT_INIT;

    add_request(&request, 20);
    assert_true(fault_loop("document", FAULT_MEMORY, ask, &request) >= 10);
    text_release(&request);
}

static void certify(void *arg)
{
    X509 *paper = sim_certify(&(struct sim_paper){.subject = "C=US/CN=leaf",
                                                  .key = chain.keys[1],
                                                  .issuer = chain.papers[0],
                                                  .signer = chain.keys[0],
                                                  .constraints = "critical,CA:FALSE",
                                                  .usage = "digitalSignature",
                                                  .identifiers = true,
                                                  .from = 1000,
                                                  .to = 2000});

    (void)arg;
    X509_free(paper);
    ERR_clear_error();
}

static void test_out_of_memory_for_a_certificate(void **state)
{
    (void)state;
    assert_true(fault_loop("certificate", FAULT_MEMORY, certify, NULL) >= 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_document_verifies),
        cmocka_unit_test(test_the_leaf_is_renewed),
        cmocka_unit_test(test_certificates_as_genuine_ones),
        cmocka_unit_test(test_a_request_that_is_too_large),
        cmocka_unit_test(test_the_largest_document),
        cmocka_unit_test(test_extending),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_out_of_memory_for_a_certificate),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
