/* The operations of an NSM: what each asks, and what it makes of the answer. */
#include "nsm/nsm.h"
#include "nsm/call.h"

#include <errno.h>
#include <string.h>

/* ---- Documents ---- */

static int read_document(const struct answer *at, const uint8_t **ret, size_t *ret_size, struct error *err)
{
    struct answer inner;

    if (!answer_find(at, "document", &inner) || !answer_bytes(&inner, ret, ret_size) || *ret_size == 0) {
        nsm_malformed("Attestation", err);
        return -EBADMSG;
    }
    return 0;
}

/* A COSE_Sign1 is tagged or not. libcbor (0.8 at least) takes its tag for malformed, so it is passed over here. */
#define COSE_SIGN1_TAG 0xd2

/* [protected, unprotected, payload, signature], and in the payload a map. Whoever signed it is on the other side of the
 * device, so the signature tells nothing here. */
static bool timestamp_of(const uint8_t *document, size_t size, uint64_t *ret_ms)
{
    size_t tag = document[0] == COSE_SIGN1_TAG ? 1 : 0;
    struct answer at, payload;
    const uint8_t *bytes;
    uint64_t ms;

    if (!answer_is_whole(document + tag, size - tag, ANSWER_ITEMS_MAX, &at) ||
        !answer_entry(&at, 2, 4, &payload) || !answer_bytes(&payload, &bytes, &size) ||
        !answer_is_whole(bytes, size, ANSWER_ITEMS_MAX, &at) || !answer_find(&at, "timestamp", &at) ||
        !answer_uint(&at, &ms) || ms == 0) {
        return false;
    }
    *ret_ms = ms;
    return true;
}

static int read_time(const struct answer *at, uint64_t *ret_ms, struct error *err)
{
    const uint8_t *document;
    size_t size;
    int code = read_document(at, &document, &size, err);

    if (code < 0) {
        return code;
    }
    return timestamp_of(document, size, ret_ms) ? 0 : nsm_malformed("Attestation", err);
}

static int add_field(struct nsm_request *request, const char *name, const struct nsm_bytes *value,
                     struct error *err)
{
    if (value->data && value->size > NSM_FIELD_MAX) {
        return error_set(err, -EMSGSIZE, "a document's %s has at most %u bytes, and here are %zu", name,
                         NSM_FIELD_MAX, value->size);
    }
    nsm_request_text(request, name);
    nsm_request_bytes(request, value);
    return 0;
}

/* An absent field is asked for as null: not every device takes a map without it. */
static int request_document(struct nsm_request *out, const struct nsm_attest_request *request,
                            struct error *err)
{
    int code;

    nsm_request_init(out, "Attestation", 3);
    code = add_field(out, "user_data", &request->user_data, err);
    code = code < 0 ? code : add_field(out, "nonce", &request->nonce, err);
    return code < 0 ? code : add_field(out, "public_key", &request->public_key, err);
}

int nsm_attest(struct nsm *nsm, const struct nsm_attest_request *request, uint8_t document[NSM_RESPONSE_MAX],
               size_t *ret_size, struct error *err)
{
    return nsm_attest_until(nsm, request, NSM_NEVER, document, ret_size, err);
}

int nsm_attest_until(struct nsm *nsm, const struct nsm_attest_request *request, uint64_t deadline,
                     uint8_t document[NSM_RESPONSE_MAX], size_t *ret_size, struct error *err)
{
    struct nsm_request asked;
    struct nsm_reply reply;
    struct answer at;
    const uint8_t *bytes;
    size_t size;
    int code = request_document(&asked, request, err);

    asked.deadline = deadline;
    code = code < 0 ? code : nsm_call(nsm, &asked, &reply, &at, err);
    code = code < 0 ? code : read_document(&at, &bytes, &size, err);
    if (code == 0) {
        memcpy(document, bytes, size);
        *ret_size = size;
    }
    return code;
}

int nsm_time(struct nsm *nsm, uint64_t *ret_ms, struct error *err)
{
    static const struct nsm_attest_request nothing;
    struct nsm_request asked;
    struct nsm_reply reply;
    struct answer at;
    int code = request_document(&asked, &nothing, err);

    code = code < 0 ? code : nsm_call(nsm, &asked, &reply, &at, err);
    return code < 0 ? code : read_time(&at, ret_ms, err);
}

/* ---- Random bytes ---- */

static int read_random(const struct answer *at, uint8_t bytes[NSM_RANDOM_MAX], size_t *ret_length,
                       struct error *err)
{
    struct answer inner;
    const uint8_t *random;
    size_t got;

    if (!answer_find(at, "random", &inner) || !answer_bytes(&inner, &random, &got) || got == 0) {
        return nsm_malformed("GetRandom", err);
    }
    *ret_length = got < NSM_RANDOM_MAX ? got : NSM_RANDOM_MAX;
    memcpy(bytes, random, *ret_length);
    return 0;
}

int nsm_random(struct nsm *nsm, uint8_t bytes[NSM_RANDOM_MAX], size_t *ret_length, struct error *err)
{
    struct nsm_request asked;
    struct nsm_reply reply;
    struct answer at;
    int code;

    nsm_request_init(&asked, "GetRandom", 0);
    code = nsm_call(nsm, &asked, &reply, &at, err);
    code = code < 0 ? code : read_random(&at, bytes, ret_length, err);
    explicit_bzero(&reply, sizeof reply);
    return code;
}

/* ---- What it is ---- */

static bool take_u16(const struct answer *map, const char *key, uint16_t *ret)
{
    struct answer at;
    uint64_t value;

    if (!answer_find(map, key, &at) || !answer_uint(&at, &value) || value > UINT16_MAX) {
        return false;
    }
    *ret = (uint16_t)value;
    return true;
}

/* Printable ASCII: it is shown to people. */
static bool take_name(const struct answer *map, const char *key, char ret[NSM_NAME_MAX])
{
    struct answer at;
    const char *text;
    size_t length;

    if (!answer_find(map, key, &at) || !answer_text(&at, &text, &length) || length >= NSM_NAME_MAX) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (text[i] < ' ' || text[i] > '~') {
            return false;
        }
    }
    memcpy(ret, text, length);
    ret[length] = '\0';
    return true;
}

static bool take_locked(const struct answer *map, uint32_t *ret)
{
    struct answer_walk walk;
    struct answer at;
    uint64_t index;

    if (!answer_find(map, "locked_pcrs", &at) || !answer_walk_array(&at, &walk)) {
        return false;
    }
    while (answer_next(&walk, NULL, &at)) {
        if (!answer_uint(&at, &index) || index >= NSM_PCRS) {
            return false;
        }
        *ret |= UINT32_C(1) << index;
    }
    return true;
}

static int read_description(const struct answer *at, struct nsm_description *ret, struct error *err)
{
    memset(ret, 0, sizeof *ret);
    if (!take_u16(at, "version_major", &ret->version[0]) ||
        !take_u16(at, "version_minor", &ret->version[1]) ||
        !take_u16(at, "version_patch", &ret->version[2]) || !take_u16(at, "max_pcrs", &ret->max_pcrs) ||
        !take_name(at, "module_id", ret->module_id) || !take_name(at, "digest", ret->digest) ||
        !take_locked(at, &ret->locked)) {
        return nsm_malformed("DescribeNSM", err);
    }
    return 0;
}

int nsm_describe(struct nsm *nsm, struct nsm_description *ret, struct error *err)
{
    struct nsm_request asked;
    struct nsm_reply reply;
    struct answer at;
    int code;

    nsm_request_init(&asked, "DescribeNSM", 0);
    code = nsm_call(nsm, &asked, &reply, &at, err);
    return code < 0 ? code : read_description(&at, ret, err);
}

/* ---- PCRs ---- */

static int read_pcr(const struct answer *at, bool with_lock, const char *name, struct nsm_pcr *ret,
                    struct error *err)
{
    struct answer inner;
    const uint8_t *value;
    size_t size;

    memset(ret, 0, sizeof *ret);
    if ((with_lock && (!answer_find(at, "lock", &inner) || !answer_bool(&inner, &ret->locked))) ||
        !answer_find(at, "data", &inner) || !answer_bytes(&inner, &value, &size) || size == 0 ||
        size > sizeof ret->value) {
        return nsm_malformed(name, err);
    }
    memcpy(ret->value, value, size);
    ret->size = size;
    return 0;
}

static void request_number(struct nsm_request *out, const char *name, unsigned arguments, const char *key,
                           uint16_t value)
{
    nsm_request_init(out, name, arguments);
    nsm_request_text(out, key);
    nsm_request_uint(out, value);
}

int nsm_describe_pcr(struct nsm *nsm, uint16_t index, struct nsm_pcr *ret, struct error *err)
{
    struct nsm_request asked;
    struct nsm_reply reply;
    struct answer at;
    int code;

    request_number(&asked, "DescribePCR", 1, "index", index);
    code = nsm_call(nsm, &asked, &reply, &at, err);
    return code < 0 ? code : read_pcr(&at, true, asked.name, ret, err);
}

int nsm_extend_pcr(struct nsm *nsm, uint16_t index, const void *data, size_t size, struct nsm_pcr *ret,
                   struct error *err)
{
    struct nsm_request asked;
    struct nsm_reply reply;
    struct answer at;
    int code;

    request_number(&asked, "ExtendPCR", 2, "index", index);
    nsm_request_text(&asked, "data");
    nsm_request_bytes(&asked, &(struct nsm_bytes){.data = data, .size = size});
    code = nsm_call(nsm, &asked, &reply, &at, err);
    return code < 0 ? code : read_pcr(&at, false, asked.name, ret, err);
}

static int lock(struct nsm *nsm, const char *name, const char *key, uint16_t value, struct error *err)
{
    struct nsm_request asked;
    struct nsm_reply reply;

    request_number(&asked, name, 1, key, value);
    return nsm_call(nsm, &asked, &reply, NULL, err);
}

int nsm_lock_pcr(struct nsm *nsm, uint16_t index, struct error *err)
{
    return lock(nsm, "LockPCR", "index", index, err);
}

int nsm_lock_pcrs(struct nsm *nsm, uint16_t range, struct error *err)
{
    return lock(nsm, "LockPCRs", "range", range, err);
}
