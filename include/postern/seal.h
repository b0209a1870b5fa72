/*
 * Sealed files: any number of bytes, encrypted under a data key that KMS makes and, with the key's policy behind it, gives back to
 * nobody but the enclave it is meant for. docs/sealed.md is the format's specification. Part of libpostern-kms.
 *
 *     static ssize_t read_in(void *user, void *buffer, size_t size);
 *     static int write_out(void *user, const void *data, size_t size);
 *
 *     struct postern_seal_io io = {.read = read_in, .write = write_out, .user = files};
 *     struct postern_seal_options options;
 *
 *     postern_seal_options_init(&options);
 *     options.key_id = "arn:aws:kms:us-east-1:111122223333:alias/results";
 *     if (postern_seal(kms, &options, &io, &err) < 0)
 *         die(err.message);
 *
 * WHO SEALED IT is not told by a sealed file: whoever may have the KMS key make data keys, or encrypt under it, can make one. It tells that
 * nothing was changed since.
 *
 * NAME KEYS BY THEIR ARN, or by the ARN of an alias. What is not an ARN is looked for in the account that the AWS credentials are of, and those come to
 * an enclave from outside: whoever gives them can have an alias of the same name in another account. So a bare alias/NAME is refused.
 *
 * OPENING writes nothing of a chunk (64 KiB) before it was checked, but whether the file ends where it ended is known at the end alone: until
 * postern_unseal() has returned 0, take what was written for nothing.
 *
 * Both work in constant memory (some 200 KiB), and return 0 or a negative errno value: those of <postern/kms.h>, and
 *
 *     -EBADMSG  (opening) it is no sealed file, or it is not as it was sealed
 *     -ENOTSUP  (opening) it is one of a version that this release does not know
 *     -EPERM    (opening) it was sealed with another context, or under another key, than was asked for
 *     -E2BIG    (sealing) the context is too large
 *     -EFBIG    (sealing) there is more than 256 TiB
 *
 * or what a callback failed with. `err` may be NULL.
 */
#ifndef POSTERN_SEAL_H
#define POSTERN_SEAL_H

#include <postern/kms.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where bytes come from and where they go. */
struct postern_seal_io {
    ssize_t (*read)(void *user, void *buffer,
                    size_t size); /* how many, 1 to `size`; 0: the end; or a negative errno value */
    int (*write)(void *user, const void *data, size_t size); /* all of them: 0; or a negative errno value */
    void *user;
};

/* The data key comes from KMS in the clear, by TLS: for the owner of the data, who seals outside of any enclave. */
#define POSTERN_SEAL_WITHOUT_ATTESTATION 1u

/* Fill it in after postern_seal_options_init(). */
struct postern_seal_options {
    size_t size;
    unsigned flags;
    const char *key_id; /* that encrypts the data key: ARN or ID; without attestation alias/NAME, too */
    struct postern_kms_call
        call; /* the context's pairs stand in the file, for all to read: at most 64, and 8 KiB */
};

static inline void postern_seal_options_init(struct postern_seal_options *options)
{
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
}

POSTERN_API int postern_seal(struct postern_kms *kms, const struct postern_seal_options *options,
                             const struct postern_seal_io *io, struct postern_error *err);

/* Fill it in after postern_unseal_options_init(). */
struct postern_unseal_options {
    size_t size;
    unsigned flags;
    /* The key that it has to be sealed under: ARN or ID. NULL: whichever the file names, which says nothing about who sealed it. */
    const char *key_id;
    struct postern_kms_call call; /* pairs that the file's context has to have, and may have more than */
};

static inline void postern_unseal_options_init(struct postern_unseal_options *options)
{
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
}

POSTERN_API int postern_unseal(struct postern_kms *kms, const struct postern_unseal_options *options,
                               const struct postern_seal_io *io, struct postern_error *err);

/* What a sealed file says of itself. It is not checked: anybody may have written it. */
struct postern_sealed {
    const char *key_id; /* the ARN of the key that it is said to be sealed under */
    size_t context_count;
    const struct postern_kms_context *context;
    void *memory; /* private: what the others point into */
};

/* Reads no more than the header; `write` is not called. *ret is the caller's, until postern_sealed_release(). */
POSTERN_API int postern_sealed_describe(const struct postern_seal_io *io, struct postern_sealed *ret,
                                        struct postern_error *err);
POSTERN_API void postern_sealed_release(struct postern_sealed *sealed);

#ifdef __cplusplus
}
#endif

#endif
