/* Attestation documents, taken apart: see document.h. One table says what the payload holds. */
#include "attest/document.h"

#include "nsm/answer.h"
#include <errno.h>
#include <string.h>

/* libcbor (0.8 at least) takes this tag for malformed. */
#define COSE_SIGN1_TAG 0xd2

/* The protected header is a map {1: algorithm} in its one deterministic form: ES384 is -35. */
static const uint8_t es384_header[] = {0xa1, 0x01, 0x38, 0x22};
static const uint8_t unsigned_header[] = {0xa1, 0x01, 0x20};

static int wrong(struct error *err, const char *what)
{
    return error_set(err, -EBADMSG, "not an attestation document: %s", what);
}

static bool is_text(const struct answer *at, const char *word)
{
    const char *text;
    size_t size;

    return answer_text(at, &text, &size) && size == strlen(word) && !memcmp(text, word, size);
}

static bool take_bytes(const struct answer *at, size_t least, size_t most, struct attest_bytes *ret)
{
    return answer_bytes(at, &ret->data, &ret->size) && ret->size >= least && ret->size <= most;
}

/* ---- The payload's fields ---- */

static bool take_module_id(const struct answer *at, struct attest_document *document)
{
    struct attest_bytes *id = &document->module_id;
    const char *text;

    if (!answer_text(at, &text, &id->size) || id->size == 0 || id->size > ATTEST_FIELD_MAX) {
        return false;
    }
    id->data = (const uint8_t *)text;
    for (size_t i = 0; i < id->size; i++) {
        if (id->data[i] <= ' ' || id->data[i] > '~') {
            return false;
        }
    }
    return true;
}

static bool take_digest(const struct answer *at, struct attest_document *document UNUSED)
{
    return is_text(at, "SHA384");
}

static bool take_timestamp(const struct answer *at, struct attest_document *document)
{
    return answer_uint(at, &document->timestamp_ms) && document->timestamp_ms > 0;
}

static bool is_pcr_size(size_t size)
{
    return size == 32 || size == 48 || size == 64;
}

static bool take_pcrs(const struct answer *at, struct attest_document *document)
{
    struct answer_walk walk;
    struct answer key, value;
    unsigned count = 0;

    if (!answer_walk_map(at, &walk)) {
        return false;
    }
    while (answer_next(&walk, &key, &value)) {
        uint64_t index;
        if (!answer_uint(&key, &index) || index >= ATTEST_PCRS || document->pcrs[index].data ||
            !take_bytes(&value, 32, ATTEST_PCR_MAX, &document->pcrs[index]) ||
            !is_pcr_size(document->pcrs[index].size)) {
            return false;
        }
        count++;
    }
    return count > 0;
}

static bool take_certificate(const struct answer *at, struct attest_document *document)
{
    return take_bytes(at, 1, ATTEST_FIELD_MAX, &document->certificate);
}

static bool take_bundle(const struct answer *at, struct attest_document *document)
{
    struct answer_walk walk;
    struct answer value;

    if (!answer_walk_array(at, &walk)) {
        return false;
    }
    while (answer_next(&walk, NULL, &value)) {
        if (document->bundle_count == ATTEST_BUNDLE_MAX ||
            !take_bytes(&value, 1, ATTEST_FIELD_MAX, &document->bundle[document->bundle_count])) {
            return false;
        }
        document->bundle_count++;
    }
    return document->bundle_count > 0;
}

/* Absent, or null, which is the same; a string may be empty. */
static bool take_given(const struct answer *at, size_t least, struct attest_bytes *ret)
{
    return answer_is_null(at) || take_bytes(at, least, ATTEST_FIELD_MAX, ret);
}

static bool take_public_key(const struct answer *at, struct attest_document *document)
{
    return take_given(at, 1, &document->public_key);
}

static bool take_user_data(const struct answer *at, struct attest_document *document)
{
    return take_given(at, 0, &document->user_data);
}

static bool take_nonce(const struct answer *at, struct attest_document *document)
{
    return take_given(at, 0, &document->nonce);
}

static const struct field {
    const char *name;
    bool (*take)(const struct answer *at, struct attest_document *document);
    bool required;
} fields[] = {
    {"module_id", take_module_id, true},
    {"digest", take_digest, true},
    {"timestamp", take_timestamp, true},
    {"pcrs", take_pcrs, true},
    {"certificate", take_certificate, true},
    {"cabundle", take_bundle, true},
    {"public_key", take_public_key, false},
    {"user_data", take_user_data, false},
    {"nonce", take_nonce, false},
};

#define FIELDS (sizeof fields / sizeof *fields)

/* The row that a key names. FIELDS: none, which a later NSM may have put in. */
static size_t field_of(const struct answer *key)
{
    const char *text;
    size_t i = 0, size;

    if (!answer_text(key, &text, &size)) {
        return FIELDS;
    }
    while (i < FIELDS && (size != strlen(fields[i].name) || memcmp(text, fields[i].name, size) != 0)) {
        i++;
    }
    return i;
}

static int take_field(size_t i, const struct answer *value, unsigned *seen, struct attest_document *document,
                      struct error *err)
{
    if (*seen & 1u << i) {
        return error_set(err, -EBADMSG, "not an attestation document: %s is there twice", fields[i].name);
    }
    *seen |= 1u << i;
    if (!fields[i].take(value, document)) {
        return error_set(err, -EBADMSG, "not an attestation document: %s is not what it should be",
                         fields[i].name);
    }
    return 0;
}

static int parse_payload(struct attest_document *document, struct error *err)
{
    struct answer map, key, value;
    struct answer_walk walk;
    unsigned seen = 0;
    int rv = 0;

    if (!answer_is_whole(document->payload.data, document->payload.size, ANSWER_ITEMS_MAX, &map) ||
        !answer_walk_map(&map, &walk)) {
        return wrong(err, "its payload is no map");
    }
    while (rv == 0 && answer_next(&walk, &key, &value)) {
        size_t i = field_of(&key);
        rv = i < FIELDS ? take_field(i, &value, &seen, document, err) : 0;
    }
    for (size_t i = 0; rv == 0 && i < FIELDS; i++) {
        if (fields[i].required && !(seen & 1u << i)) {
            rv = error_set(err, -EBADMSG, "not an attestation document: it has no %s", fields[i].name);
        }
    }
    return rv;
}

/* ---- The COSE_Sign1 around it ---- */

static bool is_header(const struct attest_bytes *header, const uint8_t *bytes, size_t size)
{
    return header->size == size && !memcmp(header->data, bytes, size);
}

static int parse_algorithm(struct attest_document *document, struct error *err)
{
    const struct attest_bytes *header = &document->protected_header;

    if (is_header(header, es384_header, sizeof es384_header)) {
        document->algorithm = ATTEST_ES384;
        return 0;
    }
    if (is_header(header, unsigned_header, sizeof unsigned_header)) {
        document->algorithm = ATTEST_UNSIGNED;
        return 0;
    }
    return wrong(err, "it is signed by another algorithm than ES384");
}

/* [protected, unprotected, payload, signature] */
static int parse_sign1(const struct answer *all, struct attest_document *document, struct error *err)
{
    struct answer entry;
    struct answer_walk walk;

    if (!answer_entry(all, 0, 4, &entry) ||
        !take_bytes(&entry, 0, ATTEST_FIELD_MAX, &document->protected_header)) {
        return wrong(err, "it is no COSE_Sign1");
    }
    if (!answer_entry(all, 1, 4, &entry) || !answer_walk_map(&entry, &walk) ||
        answer_next(&walk, &entry, &entry)) {
        return wrong(err, "its unprotected header is not empty");
    }
    if (!answer_entry(all, 2, 4, &entry) || !take_bytes(&entry, 1, ATTEST_PAYLOAD_MAX, &document->payload)) {
        return wrong(err, "its payload is missing, or too large");
    }
    int rv = parse_algorithm(document, err);
    size_t least = document->algorithm == ATTEST_ES384 ? ATTEST_SIGNATURE : 1;
    if (rv == 0 && (!answer_entry(all, 3, 4, &entry) ||
                    !take_bytes(&entry, least, ATTEST_SIGNATURE, &document->signature))) {
        rv = wrong(err, "its signature is not one of ES384");
    }
    return rv;
}

int attest_parse(const uint8_t *bytes, size_t size, struct attest_document *ret, struct error *err)
{
    size_t tag = size > 0 && bytes[0] == COSE_SIGN1_TAG ? 1 : 0;
    struct answer all;

    memset(ret, 0, sizeof *ret);
    if (size > ATTEST_DOCUMENT_MAX) {
        return wrong(err, "it is too large");
    }
    if (!answer_is_whole(bytes + tag, size - tag, ANSWER_ITEMS_MAX, &all)) {
        return wrong(err, "it is cut off, malformed, or has bytes behind it");
    }
    int rv = parse_sign1(&all, ret, err);
    return rv == 0 ? parse_payload(ret, err) : rv;
}

bool attest_pcr_is_zero(const struct attest_document *document, unsigned index)
{
    const struct attest_bytes *pcr = &document->pcrs[index];
    uint8_t any = 0;

    for (size_t i = 0; i < pcr->size; i++) {
        any |= pcr->data[i];
    }
    return pcr->data && any == 0;
}
