/*
 * The Nitro Security Module: the device through which an enclave asks its hypervisor, and no parent stands between.
 *
 * Each call is one request and one answer in CBOR, made by the driver in one ioctl, during which the thread waits; several
 * threads may call, and wait for each other. The driver gives a device that does not answer two minutes, and nothing ends that
 * earlier. A deadline bounds everything else: waiting for other threads, and a software NSM.
 *
 * What can go wrong is the same everywhere: -EMSGSIZE, the request is larger than the driver or the device takes (nothing was
 * sent), or the answer was cut; -EBADMSG, the answer is none; what the device answers by {"Error": name}: InvalidArgument -EINVAL,
 * InvalidIndex -ERANGE, ReadOnlyIndex -EROFS, InvalidOperation -EOPNOTSUPP, BufferTooSmall -ENOBUFS, InputTooLarge -EMSGSIZE,
 * -EIO all others; and what the driver or a software NSM's connection fails with, -ETIMEDOUT among them.
 */
#ifndef POSTERN_NSM_NSM_H
#define POSTERN_NSM_NSM_H

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NSM_DEVICE       "/dev/nsm"
#define NSM_RANDOM_MAX   256u   /* most bytes that one call yields */
#define NSM_REQUEST_MAX  4096u  /* the driver takes no more */
#define NSM_RESPONSE_MAX 12288u /* the driver cuts what is longer, and does not say so */
#define NSM_FIELD_MAX    1024u  /* of each thing that a document is to hold */
#define NSM_PCRS         32u
#define NSM_PCR_MAX      64u  /* bytes of a value; 48 with SHA-384 */
#define NSM_NAME_MAX     128u /* of the names that a device has for things */
#define NSM_NEVER        UINT64_MAX

struct nsm;

/* The device; `path` is NSM_DEVICE but for tests. -ENOENT where there is no NSM, or what else failed. */
int nsm_open(const char *path, struct nsm **ret, struct error *err) MUST_CHECK;

/*
 * Anything else that takes a request and gives an answer, in the device's own CBOR: a software NSM. One call at a time.
 * `ask` fills in up to NSM_RESPONSE_MAX bytes, and returns 0 or a negative errno value with its text; `deadline` is in ms of the
 * monotonic clock, or NSM_NEVER. `close` takes back `user`.
 */
struct nsm_way {
    int (*ask)(void *user, const uint8_t *request, size_t size, uint64_t deadline,
               uint8_t response[NSM_RESPONSE_MAX], size_t *ret_size, struct error *err);
    void (*close)(void *user);
    void *user;
    bool insecure; /* what it vouches for, anybody could */
};

/* -ENOMEM: then `user` is the caller's still. */
int nsm_open_way(const struct nsm_way *way, struct nsm **ret) MUST_CHECK;

bool nsm_is_insecure(const struct nsm *nsm);
void nsm_close(struct nsm *nsm); /* NULL is let pass */

struct nsm_bytes {
    const void *data; /* NULL: absent */
    size_t size;
};

/* What an attestation document is to hold besides what the device puts in: each at most NSM_FIELD_MAX bytes, or absent. */
struct nsm_attest_request {
    struct nsm_bytes user_data, nonce, public_key;
};

/* An attestation document: a COSE_Sign1 of 1 to NSM_RESPONSE_MAX bytes, in which nothing was checked. */
int nsm_attest(struct nsm *nsm, const struct nsm_attest_request *request, uint8_t document[NSM_RESPONSE_MAX],
               size_t *ret_size, struct error *err) MUST_CHECK;

/* The same up to a deadline, in ms of the monotonic clock: -ETIMEDOUT. */
int nsm_attest_until(struct nsm *nsm, const struct nsm_attest_request *request, uint64_t deadline,
                     uint8_t document[NSM_RESPONSE_MAX], size_t *ret_size, struct error *err) MUST_CHECK;

/* Random bytes of the hypervisor's: 1 to NSM_RANDOM_MAX. */
int nsm_random(struct nsm *nsm, uint8_t bytes[NSM_RANDOM_MAX], size_t *ret_length,
               struct error *err) MUST_CHECK;

/* The hypervisor's time, out of an attestation document asked for to this end: milliseconds since 1970 in UTC. */
int nsm_time(struct nsm *nsm, uint64_t *ret_ms, struct error *err) MUST_CHECK;

struct nsm_description {
    uint16_t version[3];
    uint16_t max_pcrs;
    uint32_t locked; /* bit i: PCR i cannot be changed any more */
    char module_id[NSM_NAME_MAX], digest[NSM_NAME_MAX];
};
int nsm_describe(struct nsm *nsm, struct nsm_description *ret, struct error *err) MUST_CHECK;

struct nsm_pcr {
    bool locked;
    size_t size;
    uint8_t value[NSM_PCR_MAX];
};
int nsm_describe_pcr(struct nsm *nsm, uint16_t index, struct nsm_pcr *ret, struct error *err) MUST_CHECK;

/* The PCR becomes the digest of its value and `data` behind it. ret->locked is false: else this fails. */
int nsm_extend_pcr(struct nsm *nsm, uint16_t index, const void *data, size_t size, struct nsm_pcr *ret,
                   struct error *err) MUST_CHECK;

/* That PCR, or all below `range`, cannot be changed any more until the enclave ends. */
int nsm_lock_pcr(struct nsm *nsm, uint16_t index, struct error *err) MUST_CHECK;
int nsm_lock_pcrs(struct nsm *nsm, uint16_t range, struct error *err) MUST_CHECK;

#endif
