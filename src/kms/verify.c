/* The function of include/postern/verify.h. */
#include "postern/verify.h"
#include "attest/verify.h"
#include "kms/kms_private.h"
#include "kms/struct.h"

#include <errno.h>
#include <string.h>
#include <time.h>

static struct attest_bytes given(const struct postern_attest_bytes *bytes)
{
    return (struct attest_bytes){.data = bytes->data, .size = bytes->length};
}

static struct postern_attest_bytes shown(const struct attest_bytes *bytes)
{
    return (struct postern_attest_bytes){.data = bytes->data, .length = bytes->size};
}

static void expect(const struct postern_attest_expected *expected, struct attest_expected *ret)
{
    attest_expect(ret, expected->at != 0 ? (time_t)expected->at : time(NULL));
    if (expected->root) {
        memcpy(ret->root, expected->root, sizeof ret->root);
    }
    ret->at_timestamp = (expected->flags & POSTERN_ATTEST_AT_ITS_TIME) != 0;
    ret->debug_too = (expected->flags & POSTERN_ATTEST_DEBUG_TOO) != 0;
    ret->unsigned_too = (expected->flags & POSTERN_ATTEST_INSECURE_UNSIGNED_TOO) != 0;
    ret->max_age_ms = expected->max_age_ms;
    for (unsigned i = 0; i < ATTEST_PCRS; i++) {
        ret->pcrs[i] = given(&expected->pcrs[i]);
    }
    ret->nonce = given(&expected->nonce);
    ret->user_data = given(&expected->user_data);
    ret->public_key = given(&expected->public_key);
}

static void show(const struct attest_document *document, struct postern_attest_statement *ret)
{
    ret->timestamp_ms = document->timestamp_ms;
    ret->module_id = shown(&document->module_id);
    for (unsigned i = 0; i < ATTEST_PCRS; i++) {
        ret->pcrs[i] = shown(&document->pcrs[i]);
    }
    ret->nonce = shown(&document->nonce);
    ret->user_data = shown(&document->user_data);
    ret->public_key = shown(&document->public_key);
}

/* Something was to be expected, and is not there: that must not mean that anything will do. */
static bool is_missing(const struct postern_attest_bytes *bytes)
{
    return bytes->length != 0 && !bytes->data;
}

static bool lacks_something(const struct postern_attest_expected *expected)
{
    bool lacks =
        is_missing(&expected->nonce) || is_missing(&expected->user_data) || is_missing(&expected->public_key);

    for (unsigned i = 0; i < ATTEST_PCRS; i++) {
        lacks = lacks || is_missing(&expected->pcrs[i]);
    }
    return lacks;
}

/* A flag of a later version might ask for more, and must not be passed over. */
static int read_expected(const struct postern_attest_expected *expected, struct postern_attest_expected *ret,
                         struct postern_error *err)
{
    struct error why = ERROR_INIT;
    int status = expected ? kms_read_struct(ret, sizeof *ret, expected, expected->size, err) : 0;

    if (status == 0 && (ret->flags & ~7u) != 0) {
        status = error_set(&why, -EINVAL, "a flag is set that this version of libpostern-kms does not know");
        return kms_fail(err, status, NULL, &why);
    }
    if (status == 0 && (ret->flags & POSTERN_ATTEST_AT_ITS_TIME) != 0 && ret->max_age_ms > 0) {
        status = error_set(&why, -EINVAL, "at its own time no document is older than a bound");
        return kms_fail(err, status, NULL, &why);
    }
    if (status == 0 && lacks_something(ret)) {
        status = error_set(&why, -EINVAL, "something that is expected has a length and no bytes");
        return kms_fail(err, status, NULL, &why);
    }
    return status;
}

int postern_attest_verify(const void *document, size_t length, const struct postern_attest_expected *expected,
                          struct postern_attest_statement *ret, struct postern_error *err)
{
    struct postern_attest_expected known = {0};
    struct attest_document parsed;
    struct attest_expected wanted;
    struct error why = ERROR_INIT;
    int status = read_expected(expected, &known, err);

    if (status != 0) {
        return status;
    }
    if (!document && length > 0) {
        status = error_set(&why, -EINVAL, "the document has a length and no bytes");
        return kms_fail(err, status, NULL, &why);
    }
    expect(&known, &wanted);
    status = attest_parse(document, length, &parsed, &why);
    status = status == 0 ? attest_verify(&parsed, &wanted, &why) : status;
    if (status != 0) {
        return kms_fail(err, status, NULL, &why);
    }
    if (ret) {
        show(&parsed, ret);
    }
    return 0;
}
