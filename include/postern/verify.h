/*
 * libpostern-kms: attestation documents verified, by whoever holds one: a data owner, or another enclave.
 *
 *     struct postern_attest_expected expected;
 *     struct postern_attest_statement said;
 *
 *     postern_attest_expected_init(&expected);
 *     expected.pcrs[0].data = measurement;
 *     expected.pcrs[0].length = 48;
 *     expected.nonce.data = nonce;
 *     expected.nonce.length = sizeof nonce;
 *     if (postern_attest_verify(document, length, &expected, &said, &err) < 0)
 *         die(err.message);
 *
 * WHAT IS NOT EXPECTED IS NOT LOOKED AT: without a PCR the document says that it is of some enclave, by whomever, in AWS; without a
 * nonce it may be an old one. docs/attestation.md tells what to ask for.
 *
 * `err` is that of <postern/postern.h>, and may be NULL. All functions may be called by any thread.
 */
#ifndef POSTERN_VERIFY_H
#define POSTERN_VERIFY_H

#include <postern/attest.h>

#ifdef __cplusplus
extern "C" {
#endif

struct postern_attest_bytes {
    const void *data; /* NULL: absent */
    size_t length;
};

/* It is valid if it was at the time that it gives itself: for a document that was kept. Who made it chose that time. Not with a max_age_ms. */
#define POSTERN_ATTEST_AT_ITS_TIME 1u
/* Of an enclave in debug mode, too, whose console its parent reads: PCR0 is zero then. */
#define POSTERN_ATTEST_DEBUG_TOO 2u
/* INSECURE: one that nobody has signed, too, as QEMU's nitro-enclave machine makes them. */
#define POSTERN_ATTEST_INSECURE_UNSIGNED_TOO 4u

/* Fill it in after postern_attest_expected_init(). 0 and NULL stand for the default everywhere. */
struct postern_attest_expected {
    size_t size;
    unsigned flags;
    const void *
        root; /* SHA-256 (32 bytes) of the root certificate's DER; NULL: AWS's, of its commercial partition */
    int64_t at;          /* when it has to be valid: seconds since 1970; 0: now */
    uint64_t max_age_ms; /* since the time that it gives itself; 0: some three hours, by its certificates */
    struct postern_attest_bytes pcrs[POSTERN_NSM_PCRS];       /* absent: any */
    struct postern_attest_bytes nonce, user_data, public_key; /* the same */
};

static inline void postern_attest_expected_init(struct postern_attest_expected *expected)
{
    memset(expected, 0, sizeof *expected);
    expected->size = sizeof *expected;
}

/* What a document says. It points into the document, and lives as long. */
struct postern_attest_statement {
    uint64_t timestamp_ms;                 /* since 1970, UTC */
    struct postern_attest_bytes module_id; /* printable, not terminated */
    struct postern_attest_bytes pcrs[POSTERN_NSM_PCRS];
    struct postern_attest_bytes nonce, user_data, public_key;
};

/*
 * 0: the document is signed by an NSM under that root, valid at that time, and has what is expected in it. `ret` (it may be NULL)
 * is filled in then only. `expected` may be NULL.
 *
 * -EBADMSG: it is no attestation document; -EKEYREJECTED: its chain or its signature does not hold; -EKEYEXPIRED: not at that time;
 * -EPERM: what it says is not what is expected; -EINVAL, -ENOMEM.
 */
POSTERN_API int postern_attest_verify(const void *document, size_t length,
                                      const struct postern_attest_expected *expected,
                                      struct postern_attest_statement *ret, struct postern_error *err);

#ifdef __cplusplus
}
#endif

#endif
