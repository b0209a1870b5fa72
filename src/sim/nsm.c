/* A software NSM: see nsm.h. */
#include "sim/nsm.h"
#include "nsm/answer.h"
#include "nsm/nsm.h"
#include "sim/cbor.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#define EXTEND_MAX 512 /* bytes that one ExtendPCR takes */

/* The names of errors, as the API has them. */
#define INVALID_ARGUMENT  "InvalidArgument"
#define INVALID_INDEX     "InvalidIndex"
#define READ_ONLY_INDEX   "ReadOnlyIndex"
#define INVALID_OPERATION "InvalidOperation"
#define INPUT_TOO_LARGE   "InputTooLarge"
#define INTERNAL_ERROR    "InternalError"

int sim_nsm_init(struct sim_nsm *nsm, const struct sim_chain *chain, const struct sim_clock *clock,
                 const char *module_id)
{
    unsigned char id[8];

    memset(nsm, 0, sizeof *nsm);
    nsm->chain = chain;
    nsm->clock = clock;
    for (unsigned i = 0; i < SIM_PCR_LOCKED; i++) {
        nsm->locked[i] = true;
    }
    if (RAND_bytes(id, sizeof id) != 1) {
        return -EIO;
    }
    if (module_id[0] != '\0') {
        snprintf(nsm->module_id, sizeof nsm->module_id, "%s", module_id);
    } else {
        snprintf(nsm->module_id, sizeof nsm->module_id, "%s-enc%02x%02x%02x%02x%02x%02x%02x%02x",
                 chain->instance_id, id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7]);
    }
    return -pthread_mutex_init(&nsm->lock, NULL);
}

void sim_nsm_release(struct sim_nsm *nsm)
{
    pthread_mutex_destroy(&nsm->lock);
    sim_leaf_release(&nsm->leaf);
}

void sim_nsm_error(struct text *out, const char *name)
{
    sim_cbor_map(out, 1);
    sim_cbor_text(out, "Error");
    sim_cbor_text(out, name);
}

/* ---- Requests ---- */

/* What is asked: a name alone, or a map of one entry. */
struct asked {
    const char *name; /* not terminated */
    size_t name_size;
    struct answer arguments;
    bool has_arguments;
};

static bool read_request(const uint8_t *request, size_t size, struct asked *ret)
{
    struct answer whole, key, more;
    struct answer_walk walk;

    memset(ret, 0, sizeof *ret);
    if (!answer_is_whole(request, size, ANSWER_ITEMS_MAX, &whole)) {
        return false;
    }
    if (answer_text(&whole, &ret->name, &ret->name_size)) {
        return true;
    }
    ret->has_arguments = true;
    return answer_walk_map(&whole, &walk) && answer_next(&walk, &key, &ret->arguments) &&
           answer_text(&key, &ret->name, &ret->name_size) && !answer_next(&walk, &key, &more);
}

/* An index of a PCR. NULL, or the error. */
static const char *read_index(const struct asked *asked, unsigned *ret)
{
    struct answer at;
    uint64_t value;

    if (!answer_find(&asked->arguments, "index", &at) || !answer_uint(&at, &value) || value > UINT16_MAX) {
        return INVALID_ARGUMENT;
    }
    if (value >= ATTEST_PCRS) {
        return INVALID_INDEX;
    }
    *ret = (unsigned)value;
    return NULL;
}

/* What the enclave has put in; absent or null is the same. */
static const char *read_given(const struct asked *asked, const char *name, struct attest_bytes *ret)
{
    struct answer at;

    *ret = (struct attest_bytes){.data = NULL};
    if (!answer_find(&asked->arguments, name, &at) || answer_is_null(&at)) {
        return NULL;
    }
    if (!answer_bytes(&at, &ret->data, &ret->size)) {
        return INVALID_ARGUMENT;
    }
    return ret->size > ATTEST_FIELD_MAX ? INPUT_TOO_LARGE : NULL;
}

/* ---- Answers ---- */

typedef const char *(*handler)(struct sim_nsm *nsm, const struct asked *asked, struct text *out);

static void begin(struct text *out, const char *name, size_t entries)
{
    sim_cbor_map(out, 1);
    sim_cbor_text(out, name);
    sim_cbor_map(out, entries);
}

static const char *describe(struct sim_nsm *nsm, const struct asked *asked, struct text *out)
{
    size_t locked = 0;

    (void)asked;
    begin(out, "DescribeNSM", 7);
    sim_cbor_text(out, "version_major");
    sim_cbor_uint(out, 1);
    sim_cbor_text(out, "version_minor");
    sim_cbor_uint(out, 0);
    sim_cbor_text(out, "version_patch");
    sim_cbor_uint(out, 0);
    sim_cbor_text(out, "module_id");
    sim_cbor_text(out, nsm->module_id);
    sim_cbor_text(out, "max_pcrs");
    sim_cbor_uint(out, ATTEST_PCRS);
    sim_cbor_text(out, "locked_pcrs");
    for (unsigned i = 0; i < ATTEST_PCRS; i++) {
        locked += nsm->locked[i];
    }
    sim_cbor_array(out, locked);
    for (unsigned i = 0; i < ATTEST_PCRS; i++) {
        if (nsm->locked[i]) {
            sim_cbor_uint(out, i);
        }
    }
    sim_cbor_text(out, "digest");
    sim_cbor_text(out, "SHA384");
    return NULL;
}

static const char *random_bytes(struct sim_nsm *nsm, const struct asked *asked, struct text *out)
{
    unsigned char bytes[NSM_RANDOM_MAX];

    (void)nsm;
    (void)asked;
    if (RAND_bytes(bytes, sizeof bytes) != 1) {
        return INTERNAL_ERROR;
    }
    begin(out, "GetRandom", 1);
    sim_cbor_text(out, "random");
    sim_cbor_bytes(out, bytes, sizeof bytes);
    return NULL;
}

static const char *describe_pcr(struct sim_nsm *nsm, const struct asked *asked, struct text *out)
{
    unsigned index = 0;
    const char *error = read_index(asked, &index);

    if (!error) {
        begin(out, "DescribePCR", 2);
        sim_cbor_text(out, "lock");
        sim_cbor_bool(out, nsm->locked[index]);
        sim_cbor_text(out, "data");
        sim_cbor_bytes(out, nsm->pcrs[index], SIM_PCR);
    }
    return error;
}

/* The raw data, and not its hash. */
void sim_pcr_extend(uint8_t pcr[SIM_PCR], const void *data, size_t size)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();

    if (!digest || EVP_DigestInit_ex(digest, EVP_sha384(), NULL) != 1 ||
        EVP_DigestUpdate(digest, pcr, SIM_PCR) != 1 || EVP_DigestUpdate(digest, data, size) != 1 ||
        EVP_DigestFinal_ex(digest, pcr, NULL) != 1) {
        memset(pcr, 0xff, SIM_PCR); /* nobody's policy has that */
    }
    EVP_MD_CTX_free(digest);
}

static const char *extend_pcr(struct sim_nsm *nsm, const struct asked *asked, struct text *out)
{
    struct answer at;
    const uint8_t *data = NULL;
    size_t size = 0;
    unsigned index = 0;
    const char *error = read_index(asked, &index);

    if (error) {
        return error;
    }
    if (!answer_find(&asked->arguments, "data", &at) || !answer_bytes(&at, &data, &size) || size == 0) {
        return INVALID_ARGUMENT;
    }
    if (size > EXTEND_MAX) {
        return INPUT_TOO_LARGE;
    }
    if (nsm->locked[index]) {
        return READ_ONLY_INDEX;
    }
    sim_pcr_extend(nsm->pcrs[index], data, size);
    begin(out, "ExtendPCR", 1);
    sim_cbor_text(out, "data");
    sim_cbor_bytes(out, nsm->pcrs[index], SIM_PCR);
    return NULL;
}

static const char *lock_pcr(struct sim_nsm *nsm, const struct asked *asked, struct text *out)
{
    unsigned index = 0;
    const char *error = read_index(asked, &index);

    if (!error && nsm->locked[index]) {
        error = READ_ONLY_INDEX;
    }
    if (!error) {
        nsm->locked[index] = true;
        sim_cbor_text(out, "LockPCR");
    }
    return error;
}

/* Those below `range`, whether they are locked already or not. */
static const char *lock_pcrs(struct sim_nsm *nsm, const struct asked *asked, struct text *out)
{
    struct answer at;
    uint64_t range;

    if (!answer_find(&asked->arguments, "range", &at) || !answer_uint(&at, &range) || range > UINT16_MAX) {
        return INVALID_ARGUMENT;
    }
    if (range > ATTEST_PCRS) {
        return INVALID_INDEX;
    }
    for (unsigned i = 0; i < range; i++) {
        nsm->locked[i] = true;
    }
    sim_cbor_text(out, "LockPCRs");
    return NULL;
}

/* ---- Documents ---- */

/* The leaf is renewed when half of its life is over, so that a document never has one that ends soon. */
static int ready_leaf(struct sim_nsm *nsm, time_t now)
{
    if (nsm->leaf.key && nsm->leaf.to - now > SIM_LEAF_LIFETIME / 2 &&
        nsm->leaf.to - now <= SIM_LEAF_LIFETIME) {
        return 0;
    }
    sim_leaf_release(&nsm->leaf);
    return sim_chain_leaf(nsm->chain, nsm->module_id, now, &nsm->leaf);
}

/* Locked PCRs alone: the others may still change. */
static int make_document(struct sim_nsm *nsm, struct sim_document *document, struct text *out)
{
    struct sim_papers papers;
    int rv = ready_leaf(nsm, sim_now(nsm->clock));

    if (rv != 0) {
        return rv;
    }
    for (unsigned i = 0; i < ATTEST_PCRS; i++) {
        if (nsm->locked[i]) {
            document->pcrs[i] = (struct attest_bytes){nsm->pcrs[i], SIM_PCR};
        }
    }
    sim_chain_papers(nsm->chain, &nsm->leaf, &papers);
    return sim_document_sign(document, &papers, out);
}

static const char *attest(struct sim_nsm *nsm, const struct asked *asked, struct text *out)
{
    struct text signed_ = TEXT_INIT;
    struct sim_document document = {.module_id = nsm->module_id,
                                    .digest = "SHA384",
                                    .timestamp_ms = sim_now_ms(nsm->clock),
                                    .open_map = nsm->open_map,
                                    .tagged = nsm->tagged};
    const char *error = read_given(asked, "user_data", &document.user_data);

    error = error ? error : read_given(asked, "nonce", &document.nonce);
    error = error ? error : read_given(asked, "public_key", &document.public_key);
    if (!error && document.public_key.data && document.public_key.size == 0) {
        error = INVALID_ARGUMENT;
    }
    if (!error && make_document(nsm, &document, &signed_) != 0) {
        error = INTERNAL_ERROR;
    }
    if (!error) {
        begin(out, "Attestation", 1);
        sim_cbor_text(out, "document");
        sim_cbor_bytes(out, signed_.data, signed_.length);
    }
    text_release(&signed_);
    return error;
}

/* ---- Which is which ---- */

static const struct {
    const char *name;
    handler handler;
    bool has_arguments;
} requests[] = {
    {"Attestation", attest, true},   {"DescribeNSM", describe, false},   {"DescribePCR", describe_pcr, true},
    {"ExtendPCR", extend_pcr, true}, {"GetRandom", random_bytes, false}, {"LockPCR", lock_pcr, true},
    {"LockPCRs", lock_pcrs, true},
};

int sim_nsm_answer(struct sim_nsm *nsm, const uint8_t *request, size_t size, struct text *out,
                   const char **ret_operation)
{
    struct asked asked;
    const char *error = INVALID_OPERATION;
    bool readable = size <= NSM_REQUEST_MAX && read_request(request, size, &asked);

    *ret_operation = "";
    for (size_t i = 0; readable && i < ARRAY_SIZE(requests); i++) {
        if (strlen(requests[i].name) == asked.name_size && requests[i].has_arguments == asked.has_arguments &&
            !memcmp(requests[i].name, asked.name, asked.name_size)) {
            *ret_operation = requests[i].name;
            pthread_mutex_lock(&nsm->lock);
            error = requests[i].handler(nsm, &asked, out);
            pthread_mutex_unlock(&nsm->lock);
        }
    }
    if (error) {
        sim_nsm_error(out, size > NSM_REQUEST_MAX ? INPUT_TOO_LARGE : error);
    }
    ERR_clear_error();
    return out->failed ? -ENOMEM : 0;
}
