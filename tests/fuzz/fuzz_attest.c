/* Any bytes as an attestation document: refused with a text, or all that is taken out of them lies in them, within bounds. */
#include "attest/verify.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *begin, *end;

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void require_inside(const struct attest_bytes *bytes, size_t least, size_t most)
{
    if (bytes->data) {
        require(bytes->data >= begin && bytes->data + bytes->size <= end);
        require(bytes->size >= least && bytes->size <= most);
    }
}

static void check(const struct attest_document *document)
{
    require(document->certificate.data && document->payload.data && document->module_id.data);
    require_inside(&document->protected_header, 1, ATTEST_FIELD_MAX);
    require_inside(&document->payload, 1, ATTEST_PAYLOAD_MAX);
    require_inside(&document->module_id, 1, ATTEST_FIELD_MAX);
    require_inside(&document->certificate, 1, ATTEST_FIELD_MAX);
    require_inside(&document->public_key, 1, ATTEST_FIELD_MAX);
    require_inside(&document->user_data, 0, ATTEST_FIELD_MAX);
    require_inside(&document->nonce, 0, ATTEST_FIELD_MAX);
    require(document->bundle_count >= 1 && document->bundle_count <= ATTEST_BUNDLE_MAX);
    for (unsigned i = 0; i < document->bundle_count; i++) {
        require_inside(&document->bundle[i], 1, ATTEST_FIELD_MAX);
    }
    for (unsigned i = 0; i < ATTEST_PCRS; i++) {
        require_inside(&document->pcrs[i], 32, ATTEST_PCR_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct attest_document document;
    struct attest_expected expected;
    struct error err = ERROR_INIT;

    begin = data;
    end = data + size;
    if (attest_parse(data, size, &document, &err) < 0) {
        require(err.text[0] != '\0');
        return 0;
    }
    check(&document);
    attest_expect(&expected, 1700000000);
    require(attest_verify(&document, &expected, &err) < 0 && err.text[0] != '\0');
    /* What follows the chain, too. */
    expected.unsigned_too = true;
    err.text[0] = '\0';
    require(attest_verify(&document, &expected, &err) == 0 || err.text[0] != '\0');
    return 0;
}
