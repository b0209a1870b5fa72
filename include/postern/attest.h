/*
 * libpostern: the Nitro Security Module (NSM), from inside an enclave: attestation documents, PCRs, random bytes.
 *
 *     struct postern_nsm *nsm;
 *     struct postern_attest_request request;
 *     unsigned char document[POSTERN_ATTEST_DOCUMENT_MAX];
 *
 *     postern_attest_request_init(&request);
 *     request.nonce = nonce;
 *     request.nonce_length = sizeof nonce;
 *     if (postern_nsm_open(NULL, &nsm, &err) < 0 ||
 *         (length = postern_attest(nsm, &request, document, sizeof document, &err)) < 0)
 *         die(err.message);
 *     postern_nsm_close(nsm);
 *
 * WHAT A DOCUMENT PROVES, and what not, is told by docs/attestation.md. To verify one, see <postern/verify.h>; for KMS, which wants a
 * document with each call, <postern/kms.h> does all of it.
 *
 * RESULTS. A function that can fail returns 0 (or a number of bytes), or a negative errno value:
 *
 *     -ENODEV      there is no NSM: this is no enclave; or nobody answers at the address of `insecure_nsm`
 *     -EACCES      this user may not open it
 *     -EMSGSIZE    what was asked is more than the NSM or its driver takes, or a buffer is too small for the answer
 *     -ERANGE      there is no PCR of that number
 *     -EROFS       the PCR is locked
 *     -EINVAL      an argument is not what it may be, or the NSM says so
 *     -ETIMEDOUT   the NSM's driver has waited two minutes
 *     -EBADMSG     the answer is none
 *     -EIO         the NSM failed; `message` has its word for it
 *     -ENOMEM, -EMFILE
 *
 * `err` is that of <postern/postern.h>, and may be NULL.
 *
 * THREADS. Any thread may call with the same NSM at any time, and they wait for each other, but for postern_nsm_close(): nobody
 * else may be in a function with it. A child process opens its own.
 *
 * TIME. All functions wait for the device: some milliseconds as a rule, two minutes at most. A signal does not interrupt that.
 */
#ifndef POSTERN_ATTEST_H
#define POSTERN_ATTEST_H

#include <postern/postern.h>

#ifdef __cplusplus
extern "C" {
#endif

#define POSTERN_ATTEST_DOCUMENT_MAX 12288u /* no document is longer */
#define POSTERN_ATTEST_FIELD_MAX    1024u  /* of each thing that it is to hold */
#define POSTERN_NSM_PCRS            32u
#define POSTERN_NSM_PCR_MAX         64u /* bytes of a PCR; 48 with SHA-384 */

struct postern_nsm;

/* Fill it in after postern_nsm_options_init(). */
struct postern_nsm_options {
    size_t size;
    const char *device; /* NULL: /dev/nsm */
    /* INSECURE: a software NSM at this address, for tests, instead of the enclave's own. What it vouches for, anybody could. */
    const char *insecure_nsm;
};

static inline void postern_nsm_options_init(struct postern_nsm_options *options)
{
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
}

/* `options` may be NULL. A software NSM is not asked for anything yet. */
POSTERN_API int postern_nsm_open(const struct postern_nsm_options *options, struct postern_nsm **ret,
                                 struct postern_error *err);
POSTERN_API void postern_nsm_close(struct postern_nsm *nsm); /* NULL is let pass */

/* What a document is to hold besides what the NSM puts in: each up to POSTERN_ATTEST_FIELD_MAX bytes; NULL and 0: absent. Fill it
 * in after postern_attest_request_init(). */
struct postern_attest_request {
    size_t size;
    const void *user_data; /* whatever the enclave wants to be believed to have said */
    size_t user_data_length;
    const void *nonce; /* what the verifier has sent, so that the document is no old one */
    size_t nonce_length;
    const void *public_key; /* to encrypt for this enclave with: DER, if it is for KMS */
    size_t public_key_length;
};

static inline void postern_attest_request_init(struct postern_attest_request *request)
{
    memset(request, 0, sizeof *request);
    request->size = sizeof *request;
}

/* An attestation document, of which nothing was checked. `request` may be NULL. Returns its length; -EMSGSIZE if `room` is
 * less, then nothing is written. */
POSTERN_API ssize_t postern_attest(struct postern_nsm *nsm, const struct postern_attest_request *request,
                                   void *document, size_t room, struct postern_error *err);

struct postern_nsm_description {
    char module_id[128]; /* of this enclave: "i-...-enc..."; printable */
    char digest[32];     /* "SHA384" */
    unsigned version[3]; /* of the NSM's API */
    unsigned pcrs;       /* how many it has */
    uint32_t locked;     /* bit i: PCR i cannot be changed any more */
};

POSTERN_API int postern_nsm_describe(struct postern_nsm *nsm, struct postern_nsm_description *ret,
                                     struct postern_error *err);

struct postern_nsm_pcr {
    int locked;
    size_t length;
    unsigned char value[POSTERN_NSM_PCR_MAX];
};

POSTERN_API int postern_nsm_describe_pcr(struct postern_nsm *nsm, unsigned index, struct postern_nsm_pcr *ret,
                                         struct postern_error *err);

/* The PCR becomes the digest of its value with `data` behind it, which `ret` (it may be NULL) is told. PCRs 16 to 31 are the
 * enclave's own to extend, and are in documents once they are locked. */
POSTERN_API int postern_nsm_extend_pcr(struct postern_nsm *nsm, unsigned index, const void *data,
                                       size_t length, struct postern_nsm_pcr *ret, struct postern_error *err);

/* That PCR, or all below `count`, cannot be changed any more until the enclave ends. */
POSTERN_API int postern_nsm_lock_pcr(struct postern_nsm *nsm, unsigned index, struct postern_error *err);
POSTERN_API int postern_nsm_lock_pcrs(struct postern_nsm *nsm, unsigned count, struct postern_error *err);

/* Random bytes of the hypervisor's: all `size` of them, 256 for each question asked. 0. The kernel's own, getrandom(), are as
 * good once `postern run` has seeded it. */
POSTERN_API int postern_nsm_random(struct postern_nsm *nsm, void *buffer, size_t size,
                                   struct postern_error *err);

#ifdef __cplusplus
}
#endif

#endif
